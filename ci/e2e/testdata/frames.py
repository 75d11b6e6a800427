"""Makes the frames that the end-to-end tests send, with scapy and nothing of paca.

Prints {"fabric": [...], "guest": [...], "last": [...]}. Each case is a frame (hex),
the rule it is about and what must become of it: either "out", the frame that comes
out on the other side, or "reason", the name of the drop that counts it. A guest's is
sent by "port", blue1 if there is none; the last are from the fabric, and leave marks.
"""
import json
import logging

logging.getLogger("scapy.runtime").setLevel(logging.ERROR)
from scapy.all import (ARP, BOOTP, DHCP, GRE, ICMP, IP, UDP, Dot1Q, Ether, ICMPv6EchoRequest, ICMPv6ND_NS,  # noqa: E402
                       ICMPv6ND_RA, ICMPv6NDOptSrcLLAddr, IPv6, Raw, raw)

ROUTER, HOST1 = "02:00:00:00:01:01", "02:00:00:00:01:0a"
PA1, PA2 = "192.168.1.10", "192.168.2.20"
PA1_6, PA2_6 = "2001:db8:1::10", "2001:db8:2::20"
BLUE1, BLUE2 = "10:10:10:10:11:05", "10:10:10:10:11:07"
BLUE3, RED1 = "10:10:10:10:13:05", "10:10:10:10:12:05"
EVERYONE = "ff:ff:ff:ff:ff:ff"
VSID = 6001
TEB = 0x6558
IN_GRE = 14 + 20  # where GRE begins in an untagged frame with IPv4 PAs


def echo(src="10.1.1.12", dst="10.1.1.11"):
    return IP(src=src, dst=dst, id=0x1234, ttl=64) / ICMP(id=1, seq=1) / b"HNV!"


def echo6(src="fd00:10:1:1::12", dst="fd00:10:1:1::11"):
    return IPv6(src=src, dst=dst, hlim=64) / ICMPv6EchoRequest(id=1, seq=1, data=b"HNV!")


def inner(payload, **kw):
    return Ether(**{"src": BLUE2, "dst": BLUE1, **kw}) / payload


def gre(vsid=VSID, flow=0x5A, **kw):
    return GRE(**{"key_present": 1, "key": vsid << 8 | flow, "proto": TEB, **kw})


def outer(payload, tag=None, **kw):
    eth = Ether(src=ROUTER, dst=HOST1)
    if tag is not None:
        eth = eth / Dot1Q(vlan=tag)
    return eth / IP(**{"src": PA2, "dst": PA1, "proto": 47, "flags": "DF", "ttl": 127, "id": 7, **kw}) / payload


def outer6(payload, **kw):
    return Ether(src=ROUTER, dst=HOST1) / IPv6(**{"src": PA2_6, "dst": PA1_6, "nh": 47, "hlim": 127, **kw}) / payload


def patched(packet, at, value):
    """The packet with one byte changed behind scapy's back, checksums left as they were."""
    b = bytearray(raw(packet))
    b[at] = value
    return bytes(b)


def fixed(frame, at=14):
    """The frame with the checksum of the IPv4 header at `at` made right."""
    b = bytearray(frame)
    b[at + 10:at + 12] = b"\0\0"
    total = sum(int.from_bytes(b[at + i:at + i + 2], "big") for i in range(0, 20, 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    b[at + 10:at + 12] = (~total & 0xFFFF).to_bytes(2, "big")
    return bytes(b)


good, good6 = inner(echo()), inner(echo6())
# These CAs of the same VMs live behind the hosts' IPv6 PAs.
good_over6 = inner(echo(src="10.1.1.22", dst="10.1.1.21"))
good6_over6 = inner(echo6(src="fd00:10:1:1::22", dst="fd00:10:1:1::21"))
whole = outer(gre() / good)
fabric, guest, last = [], [], []


def case(to, rule, name, frame, reason=None, out=None, port=None):
    c = {"rule": rule, "name": name, "frame": raw(frame).hex(), "port": port or ""}
    if reason:
        c["reason"] = reason
    else:
        c["out"] = raw(out).hex()
    c["fragment"] = "fragment" in name
    to.append(c)


def arrives(rule, name, frame, out):
    case(fabric, rule, name, frame, out=out)


def dropped(rule, name, frame, reason):
    case(fabric, rule, name, frame, reason=reason)


# From the fabric, what is right.
arrives("W1", "IPv4 in IPv4", whole, good)
arrives("W9", "IPv6 in IPv4", outer(gre() / good6), good6)
arrives("W9", "IPv4 in IPv6", outer6(gre() / good_over6), good_over6)
arrives("W9", "IPv6 in IPv6", outer6(gre() / good6_over6), good6_over6)
arrives("W21", "Ethernet padding behind the outer packet", raw(whole) + bytes(30), good)
arrives("W21", "IPv6 with Ethernet padding", raw(outer6(gre() / good_over6)) + bytes(30), good_over6)
arrives("W23", "ignored bits 6 to 12 set", patched(patched(whole, IN_GRE, 0x23), IN_GRE + 1, 0xF8), good)
arrives("W27", "FlowID 255", outer(gre(flow=0xFF) / good), good)
arrives("W27", "FlowID 0", outer(gre(flow=0) / good), good)

# W20: not for us.
dropped("W20", "another PA", outer(gre() / good, dst="192.168.1.11"), "outer_other")
dropped("W20", "in a VLAN", outer(gre() / good, tag=7), "outer_vlan")
dropped("W20", "UDP to the PA", outer(UDP(sport=1, dport=2) / b"x", proto=17), "outer_other")
dropped("R5", "UDP for a VM's own PA, of nobody", outer(UDP(sport=1, dport=2) / b"x", proto=17, dst="192.168.1.33"), "rewrite_source")
dropped("W20", "neither IP nor ARP", Ether(src=ROUTER, dst=HOST1, type=0x88B5) / Raw(bytes(46)), "outer_other")

# W21: the outer packet lies.
dropped("W21", "cut inside the outer IP header", raw(whole)[:14 + 12], "runt")
dropped("W21", "cut inside the GRE header", outer(Raw(b"\x20\x00")), "runt")
dropped("W21", "cut before the key", outer(Raw(b"\x20\x00\x65\x58")), "runt")
dropped("W21", "bad header checksum", patched(whole, 14 + 10, raw(whole)[14 + 10] ^ 0xFF), "outer_checksum")
dropped("W21", "IHL 4", fixed(patched(whole, 14, 0x44)), "ip_header")
dropped("W21", "total length beyond the frame", fixed(patched(whole, 14 + 2, 0x01)), "ip_length")
dropped("W21", "version 6 under EtherType 0x0800", fixed(patched(whole, 14, 0x65)), "ip_version")
dropped("W21", "IPv6 length beyond the frame", patched(outer6(gre() / good_over6), 14 + 4, 0x01), "ip_length")

dropped("W22", "first fragment", outer(gre() / good, flags="MF"), "outer_fragment")
dropped("W22", "later fragment", outer(Raw(raw(gre() / good)[8:]), flags=0, frag=1), "outer_fragment")

dropped("W23", "GRE version 1", outer(gre(version=1) / good), "gre_version")
for bit, byte in ((1, 0x60), (4, 0x28), (5, 0x24)):
    dropped("W23", f"reserved bit {bit}", patched(whole, IN_GRE, byte), "gre_reserved")
dropped("W24", "GRE of IPv4", outer(gre(proto=0x0800) / echo()), "gre_other")
dropped("W24", "no key", outer(GRE(proto=TEB) / good), "gre_other")
dropped("W25", "checksum present", outer(gre(chksum_present=1) / good), "gre_options")
dropped("W25", "sequence number present", outer(gre(seqnum_present=1, sequence_number=1) / good), "gre_options")
for vsid in (0, 4095, 0xFFFFFF):
    dropped("W26", f"VSID {vsid}", outer(gre(vsid=vsid) / good), "vsid_reserved")
dropped("W28", "inner frame of 13 bytes", outer(gre() / Raw(raw(good)[:13])), "inner_runt")
for tpid in (0x8100, 0x88A8, 0x9100):
    tagged = Ether(src=BLUE2, dst=BLUE1, type=tpid) / Dot1Q(vlan=5, type=0x0800) / echo()
    dropped("W28", f"inner tag 0x{tpid:04x}", outer(gre() / tagged), "inner_tagged")
dropped("W29", "inner EtherType 0x88b5", outer(gre() / inner(Raw(bytes(46)), type=0x88B5)), "inner_not_ip")

# W30: policy has the last word.
dropped("W30", "inner packet cut short", outer(gre() / Raw(raw(good)[:14 + 12])), "inner_malformed")
dropped("W30", "inner total length beyond the frame", outer(gre() / Raw(fixed(patched(good, 14 + 2, 0x01)))), "inner_malformed")
everyone = inner(echo(dst="255.255.255.255"), dst=EVERYONE)
some = inner(echo(dst="239.1.2.3"), dst="01:00:5e:01:02:03")
arrives("L25", "inner broadcast", outer(gre() / everyone), everyone)
arrives("L25", "inner multicast", outer(gre() / some), some)
dropped("L25", "inner broadcast of a subnet that has no VM here", outer(gre(vsid=6004) / everyone), "inner_broadcast")
dropped("L22", "inner broadcast from behind another PA", outer(gre() / everyone, src="192.168.2.21"), "inner_spoofed")
dropped("L22", "inner broadcast in the name of a VM here", outer(gre() / inner(
    echo(src="10.1.1.11", dst="255.255.255.255"), dst=EVERYONE)), "inner_spoofed")
dropped("W16", "congestion that the inner packet cannot tell", outer(gre() / good, tos=3), "outer_ecn")
quote = gre() / good
dropped("N12", "REDIRECT, which is not wanted", outer(gre() / Ether(src=ROUTER, dst=HOST1) / IP(
    src=PA2, dst="192.168.3.30") / ICMP(type=5, code=10) / quote), "nve_control")
dropped("N12", "UNREACHABLE, which is not wanted", outer(gre() / Ether(src=ROUTER, dst=HOST1) / IP(
    src=PA2, dst=PA1) / ICMP(type=3, code=10) / quote), "nve_control")
dropped("L15", "VM of ours that is plugged out", outer(gre() / inner(
    echo(dst="10.1.1.32"), dst="02:00:00:00:09:01")), "no_local_port")
dropped("W21", "IPv6 extension headers without end", Ether(src=ROUTER, dst=HOST1) / IPv6(
    src=PA2_6, dst=PA1_6, nh=60) / Raw(bytes([60, 0, 1, 4, 0, 0, 0, 0]) * 7 + bytes([47, 0, 1, 4, 0, 0, 0, 0])) / gre() / good_over6, "ipv6_extension")
dropped("L21", "VSID of nobody", outer(gre(vsid=7777) / good), "vsid_unknown")
dropped("L21", "CA of nobody", outer(gre() / inner(echo(dst="10.1.1.99"))), "inner_unknown")
dropped("L21", "CA of the other host", outer(gre() / inner(echo(dst="10.1.1.12"), dst=BLUE2)), "inner_unknown")
dropped("L21", "MAC of another VM", outer(gre() / inner(echo(), dst="10:10:10:10:12:05")), "inner_mac")
dropped("L22", "source CA of nobody", outer(gre() / inner(echo(src="10.1.1.99"))), "inner_spoofed")
dropped("L22", "source CA behind a PA of the other family", outer6(gre() / inner(echo(dst="10.1.1.21"))), "inner_spoofed")
dropped("L21", "CA that lives behind our other PA", outer6(gre() / good), "inner_unknown")
dropped("L22", "source CA behind another PA", outer(gre() / good, src="192.168.2.21"), "inner_spoofed")
dropped("A13", "ARP for a stranger", Ether(src=ROUTER, dst="ff:ff:ff:ff:ff:ff") / ARP(
    hwsrc=ROUTER, psrc="192.168.1.1", pdst="192.168.1.77"), "pa_foreign")


# From a VM.
def carried(rule, name, frame, out):
    case(guest, rule, name, frame, out=out)


def refused(rule, name, frame, reason, port=None):
    case(guest, rule, name, frame, reason=reason, port=port)


ask = echo(src="10.1.1.11", dst="10.1.1.12")
ask6 = echo6(src="fd00:10:1:1::11", dst="fd00:10:1:1::12")


def sent(payload, **kw):
    return Ether(**{"src": BLUE1, "dst": BLUE2, **kw}) / payload


plain = sent(ask)
carried("W1", "IPv4", plain, plain)
carried("W9", "IPv6", sent(ask6), sent(ask6))
carried("W7", "802.1Q tag off", Ether(src=BLUE1, dst=BLUE2) / Dot1Q(vlan=5) / ask, plain)
carried("W7", "802.1ad tag off", Ether(src=BLUE1, dst=BLUE2, type=0x88A8) / Dot1Q(vlan=5, type=0x0800) / ask, plain)
carried("W7", "two tags off", Ether(src=BLUE1, dst=BLUE2) / Dot1Q(vlan=5) / Dot1Q(vlan=6) / ask, plain)
carried("L7", "the destination MAC plays no part", sent(ask, dst="10:10:10:10:12:07"), plain)

for name, frag, flags in (("first", 0, "MF"), ("later", 3, 0)):
    piece = sent(IP(src="10.1.1.11", dst="10.1.1.12", proto=17, frag=frag, flags=flags) / Raw(bytes(24)))
    carried("W1", name + " fragment", piece, piece)
over6 = sent(echo(src="10.1.1.21", dst="10.1.1.22"))
carried("W9", "IPv4 over IPv6", over6, over6)
over6 = sent(echo6(src="fd00:10:1:1::21", dst="fd00:10:1:1::22"))
carried("W9", "IPv6 over IPv6", over6, over6)

refused("W14", "PAs of two families", sent(echo(src="10.1.1.11", dst="10.1.1.22")), "pa_family")
refused("W7", "three tags", Ether(src=BLUE1, dst=BLUE2) / Dot1Q(vlan=5) / Dot1Q(vlan=6) / Dot1Q(vlan=7) / ask, "vlan_tags")
refused("L2", "wrong source MAC", sent(ask, src=BLUE2), "source_mac")
refused("L2", "ARP with another's hardware address", sent(ARP(
    hwsrc=BLUE2, psrc="10.1.1.11", pdst="10.1.1.12"), dst="ff:ff:ff:ff:ff:ff"), "source_mac")
refused("L3", "wrong source CA", sent(echo(src="10.1.1.99", dst="10.1.1.12")), "source_ca")
refused("L3", "source CA of another VM", sent(echo(src="10.1.1.12", dst="10.1.1.12")), "source_ca")
refused("L3", "wrong IPv6 source CA", sent(echo6(src="fd00:10:1:1::99", dst="fd00:10:1:1::12")), "source_ca")
refused("L3", "ARP with another's CA", sent(ARP(
    hwsrc=BLUE1, psrc="10.1.1.99", pdst="10.1.1.12"), dst="ff:ff:ff:ff:ff:ff"), "source_ca")
refused("L5", "neither IP nor ARP", sent(Raw(bytes(46)), type=0x88B5), "not_ip")
refused("L9", "destination CA of nobody", sent(echo(src="10.1.1.11", dst="10.1.1.99")), "lookup_failed")
for name, dst, mac in (("broadcast", "255.255.255.255", EVERYONE), ("directed broadcast", "10.1.1.255", EVERYONE),
                       ("multicast", "224.0.0.251", "01:00:5e:00:00:fb")):
    group = sent(echo(src="10.1.1.11", dst=dst), dst=mac)
    carried("A21", name, group, group)
refused("A22", "broadcast to one MAC", sent(echo(src="10.1.1.11", dst="10.1.1.255")), "broadcast")
refused("A24", "directed broadcast of another subnet", sent(echo(src="10.1.1.11", dst="10.1.2.255")), "lookup_failed")
refused("A22", "multicast to one MAC", sent(echo(src="10.1.1.11", dst="224.0.0.251")), "multicast")
refused("A22", "multicast that stays on its interface", sent(echo6(src="fd00:10:1:1::11", dst="ff01::1"), dst="33:33:00:00:00:01"), "multicast")
refused("L3", "broadcast from another's CA", sent(echo(src="10.1.1.12", dst="255.255.255.255"), dst=EVERYONE), "source_ca")
refused("A21", "broadcast that nobody else would hear", Ether(src=RED1, dst=EVERYONE) / echo(
    src="10.1.1.11", dst="255.255.255.255"), "no_receiver", port="red1")
refused("L1", "VM that is not virtualized", sent(ask), "port_no_vsid", port="plain")
refused("A16", "ARP from a VM whose CA is not known yet", Ether(src=BLUE3, dst=EVERYONE) / ARP(
    hwsrc=BLUE3, psrc="10.1.2.77", pdst="10.1.2.12"), "learning", port="blue3")
refused("L31", "DHCP server behind dhcp_guard", sent(IP(src="10.1.1.11", dst="255.255.255.255") / UDP(
    sport=67, dport=68) / BOOTP(op=2) / DHCP(options=[("message-type", "offer"), "end"]), dst=EVERYONE), "dhcp_guard")
refused("L31", "router behind router_guard", sent(IPv6(src="fe80::11", dst="ff02::1", hlim=255) / ICMPv6ND_RA(), dst="33:33:00:00:00:01"), "router_guard")
refused("L31", "redirect behind router_guard", sent(IP(src="10.1.1.11", dst="10.1.1.12") / ICMP(
    type=5, code=1, gw="10.1.1.11") / IP(src="10.1.1.12", dst="10.9.9.9") / UDP()), "router_guard")
refused("L11", "ping of the router", sent(echo(src="10.1.1.11", dst="10.1.1.1")), "router_ca")
refused("L14", "error whose TTL ends between subnets", sent(IP(src="10.1.1.11", dst="10.1.2.12", ttl=1) / ICMP(
    type=3, code=3) / IP(src="10.1.2.12", dst="10.1.1.11") / UDP()), "ttl_exceeded")
refused("M9", "error that is too big", sent(IP(src="10.1.1.11", dst="10.1.1.12", flags="DF") / ICMP(
    type=3, code=3) / Raw(bytes(1459 - 28))), "mtu_exceeded")
refused("P13", "from a CA that lives elsewhere", sent(echo(src="10.1.1.31", dst="10.1.1.12")), "pa_source")
refused("L15", "to a VM of ours that is plugged out", sent(echo(src="10.1.1.11", dst="10.1.1.32")), "no_local_port")
refused("L16", "to a PA that no route leads to", sent(echo(src="10.1.1.11", dst="10.1.2.33")), "provider_route")
refused("R4", "to a rewrite subnet", sent(echo(src="10.1.1.11", dst="10.1.3.11")), "mode_mixed")
GREEN1, GREEN2 = "10:10:10:10:15:05", "10:10:10:10:15:07"  # in a rewrite subnet


def green(payload, **kw):
    return Ether(**{"src": GREEN1, "dst": GREEN2, **kw}) / payload


refused("R13", "UDP-Lite cut before its checksum", green(IP(
    src="10.1.3.13", dst="10.1.3.11", proto=136, flags="MF") / Raw(bytes(4))), "short_fragment", port="green")
refused("R19", "ARP for a VM elsewhere", green(ARP(
    op=2, hwsrc=GREEN1, psrc="10.1.3.13", hwdst=GREEN2, pdst="10.1.3.11")), "rewrite_arp", port="green")
refused("R25", "to a gateway", green(echo(src="10.1.3.13", dst="203.0.113.5")), "rewrite_gateway", port="green")
refused("W21", "IPv6 extension headers without end", sent(IPv6(src="fd00:10:1:1::11", dst="fd00:10:1:1::12", nh=60) / Raw(
    bytes([60, 0, 1, 4, 0, 0, 0, 0]) * 8)), "ipv6_extension")
refused("A5", "ARP for nobody", sent(ARP(
    hwsrc=BLUE1, psrc="10.1.1.11", pdst="10.1.1.99"), dst="ff:ff:ff:ff:ff:ff"), "arp_unknown")
refused("A7", "ARP announcement", sent(ARP(
    hwsrc=BLUE1, psrc="10.1.1.11", pdst="10.1.1.11"), dst="ff:ff:ff:ff:ff:ff"), "arp_self")
refused("A4", "ARP of another hardware", sent(ARP(
    hwtype=6, hwsrc=BLUE1, psrc="10.1.1.11", pdst="10.1.1.12"), dst="ff:ff:ff:ff:ff:ff"), "arp_malformed")


def ns(target, **kw):
    return Ether(src=BLUE1, dst="33:33:ff:00:00:12") / IPv6(**{"src": "fd00:10:1:1::11", "dst": "ff02::1:ff00:12", "hlim": 255, **kw}) / \
        ICMPv6ND_NS(tgt=target) / ICMPv6NDOptSrcLLAddr(lladdr=BLUE1)


refused("A10", "solicitation with hop limit 64", ns("fd00:10:1:1::12", hlim=64), "nd_invalid")
refused("A10", "solicitation with a bad checksum", patched(ns("fd00:10:1:1::12"), 14 + 40 + 2, 0xAA), "nd_invalid")
refused("A5", "solicitation for nobody", ns("fd00:10:1:1::99"), "nd_unknown")
refused("A7", "solicitation for its own CA", ns("fd00:10:1:1::11"), "nd_self")

refused("W21", "runt IPv4", raw(plain)[:14 + 12], "runt")
refused("W21", "runt ARP", raw(sent(ARP(hwsrc=BLUE1, psrc="10.1.1.11", pdst="10.1.1.12")))[:14 + 20], "runt")
refused("W21", "cut inside ICMP", sent(IP(src="10.1.1.11", dst="10.1.1.12", proto=1) / Raw(b"\x08\x00")), "runt")
refused("W21", "IHL 4", fixed(patched(plain, 14, 0x44)), "ip_header")
refused("W21", "IHL beyond the packet", patched(plain, 14, 0x4F), "ip_header")
refused("W21", "total length beyond the frame", fixed(patched(plain, 14 + 2, 0x01)), "ip_length")
refused("W21", "total length below the header", fixed(patched(plain, 14 + 3, 0x08)), "ip_length")
refused("W21", "IPv6 length beyond the frame", patched(sent(ask6), 14 + 4, 0x01), "ip_length")
refused("W21", "version 4 under EtherType 0x86dd", patched(sent(ask6), 14, 0x40), "ip_version")

case(last, "P14", "another machine that says it has our PA", Ether(src=ROUTER, dst=EVERYONE) / ARP(
    op=2, hwsrc=ROUTER, psrc=PA1, hwdst=EVERYONE, pdst=PA1), reason="pa_duplicate")

print(json.dumps({"fabric": fabric, "guest": guest, "last": last}))
