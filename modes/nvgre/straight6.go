package nvgre

import (
	"encoding/binary"

	"paca/dataplane/fib"
	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
)

// domain is the routing domain of the packet before, for the next one may have the same.
type domain struct{ vsid, rd uint32 }

// straight6 is straight for what has plain IPv6 in it: outside, inside, or both.
func straight6(f *fib.FIB, m *mbuf.Mbuf, a *fib.Arrival, known *domain) bool {
	front := m.Front()
	if front == nil || !m.Whole(0) || a.Outer.Flags != 0 {
		return false
	}
	outer4, outer6 := (*packet.Plain4)(front[:]), (*packet.Plain6)(front[:])
	v6 := a.Outer.EtherType == packet.EtherTypeIPv6
	gre := packet.EthernetLen + packet.IPv4Len
	if v6 {
		gre = packet.EthernetLen + packet.IPv6Len
	}
	switch {
	case int(a.Outer.L4) != gre:
		return false
	case v6 && outer6.TOS()&1 != 0, !v6 && (outer4.TOS()&1 != 0 || !a.Verified && !outer4.Verify()):
		return false
	}
	start := gre + packet.NVGRELen // of the inner frame
	size := int(a.Outer.End) - start
	inner4, inner6 := (*packet.Plain4)(front[start:]), (*packet.Plain6)(front[start:])
	key := binary.BigEndian.Uint64(front[gre:])
	if uint32(key>>32) != keyed {
		return false
	}
	vsid := uint32(key) >> 8
	if vsid != known.vsid {
		known.vsid, known.rd = vsid, f.Domain(vsid)
	}
	var src, dst *fib.Entry
	switch inner6.EtherType() {
	case packet.EtherTypeIPv6:
		if inner6.End(size) == 0 {
			return false
		}
		dst, src = f.Lookup6(known.rd, inner6.DstIP()), f.Lookup6(known.rd, inner6.SrcIP())
	case packet.EtherTypeIPv4:
		if inner4.End(size) == 0 {
			return false
		}
		dst, src = f.Lookup4(known.rd, inner4.DstU32()), f.Lookup4(known.rd, inner4.SrcU32())
	}
	if dst == nil || dst.Flags != fib.LocalVM || dst.VSID != vsid || dst.Mode != fib.NVGRE || !inner6.To(&dst.MAC) {
		return false
	}
	if src == nil || v6 && !f.BehindPA(src, outer6.SrcIP(), true) || !v6 && !f.BehindPA4(src, outer4.SrcU32()) {
		return false
	}
	local := f.Locals[dst.Dest]
	if local.PA != a.PA || local.Port == fib.None || size-packet.EthernetLen > int(f.Ports[local.Port].MTU) {
		return false
	}
	a.Port = local.Port
	m.Cut(uint16(start), a.Outer.End)
	return true
}
