"""Makes what a guest says that wants to be taken for another, with scapy.

Reads {"mac": own, "ca", "ca6": another VM's or nobody's, "gateway", "gateway6", "victim", "victim6", "victim_mac"}
and prints {name: frame}.
"""
import json
import logging
import sys

logging.getLogger("scapy.runtime").setLevel(logging.ERROR)
from scapy.all import (ARP, ICMP, IP, UDP, Ether, ICMPv6ND_NA, ICMPv6ND_RA, ICMPv6NDOptDstLLAddr, ICMPv6NDOptSrcLLAddr,  # noqa: E402
                       IPv6, raw)

q = json.load(sys.stdin)
mac, victim = q["mac"], q["victim_mac"]
everyone = "ff:ff:ff:ff:ff:ff"


def arp(dst, ca, op=2, **kw):
    return Ether(src=mac, dst=dst) / ARP(**{"op": op, "hwsrc": mac, "psrc": ca, "hwdst": dst, "pdst": q["victim"], **kw})


def na(dst_mac, dst, ca, src=None):
    return Ether(src=mac, dst=dst_mac) / IPv6(src=src or ca, dst=dst, hlim=255) / \
        ICMPv6ND_NA(tgt=ca, R=1, S=0, O=1) / ICMPv6NDOptDstLLAddr(lladdr=mac)


lies = {
    "ARP reply: I am another": arp(victim, q["ca"]),
    "ARP reply: I am the router": arp(victim, q["gateway"]),
    "gratuitous ARP": arp(everyone, q["ca"], pdst=q["ca"]),
    "gratuitous ARP for the router": arp(everyone, q["gateway"], pdst=q["gateway"]),
    "ARP announcement for the router": arp(everyone, q["gateway"], op=1, pdst=q["gateway"]),
    "NA: I am another": na(victim, q["victim6"], q["ca6"]),
    "NA: I am the router": na(victim, q["victim6"], q["gateway6"]),
    "NA to all: I am the router": na("33:33:00:00:00:01", "ff02::1", q["gateway6"]),
    "RA in the router's name": Ether(src=mac, dst="33:33:00:00:00:01") / IPv6(src=q["gateway6"], dst="ff02::1", hlim=255) /
    ICMPv6ND_RA() / ICMPv6NDOptSrcLLAddr(lladdr=mac),
    "ICMP redirect in the router's name": Ether(src=mac, dst=victim) / IP(src=q["gateway"], dst=q["victim"]) /
    ICMP(type=5, code=1, gw=q["ca"]) / IP(src=q["victim"], dst="10.9.9.9") / UDP(),
}
print(json.dumps({name: raw(frame).hex() for name, frame in lies.items()}))
