"""Looks with scapy for an NVE control message among frames of a wire, and at it.

Reads {"frames": [hex], "type": ICMP type, "from", "to": PAs, "ca": of the packet it is about, "vsid", "new_pa"}
and prints a list of faults.
"""
import json
import logging
import sys

logging.getLogger("scapy.runtime").setLevel(logging.ERROR)
from scapy.all import GRE, ICMP, IP, Ether, raw  # noqa: E402

q = json.load(sys.stdin)
faults, messages = [], []
for frame in q["frames"]:
    e = Ether(bytes.fromhex(frame))
    if e.haslayer(GRE) and isinstance(e[GRE].payload, Ether) and e[GRE].payload.haslayer(ICMP):
        inner = e[GRE].payload
        if inner[ICMP].type == q["type"] and inner[ICMP].code == 10:
            messages.append(e)
if not messages:
    print(json.dumps([f"no message of type {q['type']} code 10 among {len(q['frames'])} frames"]))
    sys.exit()


def check(what, got, want):
    if got != want:
        faults.append(f"{what}: {got!r}, want {want!r}")


outer = messages[0][IP]
gre = messages[0][GRE]
inner = gre.payload
check("outer source", outer.src, q["from"])
check("outer destination", outer.dst, q["to"])
check("outer TTL", outer.ttl, 128)
check("GRE", raw(gre)[:4].hex(), "20006558")
check("VSID", gre.key >> 8, q["vsid"])
check("inner source", inner[IP].src, q["from"])
check("inner tag", inner.type, 0x0800)
check("inner destination", inner[IP].dst, q["new_pa"] if q["type"] == 5 else q["to"])
check("inner TTL", inner[IP].ttl, 128)
icmp = raw(inner[ICMP])
total = sum(int.from_bytes(icmp[i:i + 2].ljust(2, b"\0"), "big") for i in range(0, len(icmp), 2))
while total >> 16:
    total = (total & 0xFFFF) + (total >> 16)
check("ICMP checksum", total, 0xFFFF)
quote = icmp[8:]
if quote[0] >> 4 == 4:  # from the outer IP header on
    quote = quote[20:]
check("quoted GRE", quote[:4].hex(), "20006558")
check("quoted VSID", int.from_bytes(quote[4:7], "big"), q["vsid"])
check("quoted destination CA", IP(quote[8 + 14:]).dst, q["ca"])
print(json.dumps(faults))
