package rewrite

import (
	"paca/dataplane/count"
	"paca/dataplane/fib"
	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
)

const plain6 = packet.EthernetLen + packet.IPv6Len

// straightOut6 is straightOut for IPv6. What has no checksum is counted in egress (R10).
func straightOut6(m *mbuf.Mbuf, h *fib.Hop) bool {
	front, l, a := m.Front(), &h.Layout, h.Adj.Get()
	if front == nil || l.EtherType != packet.EtherTypeIPv6 || l.L4 != plain6 || l.Flags != 0 || a.Len != fib.Outer6 {
		return false
	}
	src, dst := h.Addrs6()
	if !(*packet.Plain6)(front[:]).Readdress(src, dst) {
		return false
	}
	*(*[packet.EthernetLen]byte)(front[:]) = *(*[packet.EthernetLen]byte)(a.Header[:])
	return true
}

// straightIn6 is straightIn for IPv6.
func straightIn6(f *fib.FIB, m *mbuf.Mbuf, a *fib.Arrival) bool {
	front, l, to := m.Front(), &a.Outer, a.To6.Get()
	if front == nil || !m.Whole(0) || l.L4 != plain6 || l.Flags != 0 {
		return false
	}
	frame := (*packet.Plain6)(front[:])
	from := f.Owner6(frame.SrcIP())
	if from == nil || from.RD != to.RD || from.VSID != to.VSID || from.Flags&fib.LocalVM != 0 ||
		local(f, a, &to.Entry) != count.Kept || !frame.Readdress(&from.CA, &to.CA) {
		return false
	}
	m.Cut(0, l.End)
	frame.SetDst(&to.MAC)
	frame.SetSrc(&from.MAC)
	return true
}
