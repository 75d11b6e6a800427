"""Has scapy build an NVGRE packet from its fields and compares it with one off the wire.

Reads {"got": hex, "pa": [src, dst], "vlan": n, "vsid": n, "flow": n, "id": n, "inner": hex}
and prints a list of differences: none if every byte agrees.
"""
import json
import logging
import sys

logging.getLogger("scapy.runtime").setLevel(logging.ERROR)
from scapy.all import GRE, IP, Dot1Q, Ether, IPv6, Raw, raw  # noqa: E402

q = json.load(sys.stdin)
got = bytes.fromhex(q["got"])

want = Ether(src=q["mac"][0], dst=q["mac"][1])
if q["vlan"]:
    want = want / Dot1Q(vlan=q["vlan"])
src, dst = q["pa"]
if ":" in src:
    want = want / IPv6(src=src, dst=dst, nh=47, hlim=128)
else:
    want = want / IP(src=src, dst=dst, proto=47, flags="DF", ttl=128, id=q["id"])
want = want / GRE(key_present=1, key=q["vsid"] << 8 | q["flow"], proto=0x6558) / Raw(bytes.fromhex(q["inner"]))

differences = []
if raw(want) != got:
    a, b = Ether(raw(want)), Ether(got)
    depth = 0
    while True:
        la, lb = a.getlayer(depth), b.getlayer(depth)
        if la is None or lb is None or la.name != lb.name:
            if la is not lb:
                differences.append(f"layer {depth}: want {la and la.name}, got {lb and lb.name}")
            break
        for f in la.fields_desc:
            va, vb = la.getfieldval(f.name), lb.getfieldval(f.name)
            if va != vb:
                differences.append(f"{la.name}.{f.name}: want {va!r}, got {vb!r}")
        depth += 1
    differences = differences or [f"want {raw(want).hex()}, got {got.hex()}"]
print(json.dumps(differences))
