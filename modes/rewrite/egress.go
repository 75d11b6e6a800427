package rewrite

import (
	"paca/dataplane/count"
	"paca/dataplane/fib"
	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
)

// Egress makes each frame one between PAs: untagged Ethernet with IPv4 or IPv6 in it,
// within the limits of Adj and PA, whose source and destination CA are those of the
// records of the PAs that Adj and PA have. drops[i] is set where that could not be
// done, and packet i is then unchanged.
//
//  1. what is not rewritten: ARP and neighbor discovery (R19)
//  2. addresses, and the checksums that cover them (R3, R8-R13, R16)
//  3. Ethernet header: next hop's MAC, the PA's own, its VLAN (R3, R7)
func (r *Rewrite) Egress(pkts []*mbuf.Mbuf, hops []fib.Hop, drops []count.Reason, events *count.Events) {
	hops, drops = hops[:len(pkts)], drops[:len(pkts)]
	for i, m := range pkts {
		h := &hops[i]
		switch {
		case h.Layout.EtherType == 0:
			if straightOut(h) {
				continue
			}
			frame := h.Plain.Get()
			frame.Layout(frame.End(m.Len()), &h.Layout)
		case straightOut6(m, h):
			continue
		}
		drops[i] = egress(m, h, events)
	}
}

// straightOut is egress for what most packets are: plain TCP or UDP of IPv4, to an
// untagged network. It does all that egress does for such, or nothing, and reports false.
func straightOut(h *fib.Hop) bool {
	frame, a := h.Plain.Get(), h.Adj.Get()
	if a.Len != fib.Outer4 || !frame.Readdress(h.Addrs4()) {
		return false
	}
	*(*[packet.EthernetLen]byte)(frame[:]) = *(*[packet.EthernetLen]byte)(a.Header[:])
	return true
}

func egress(m *mbuf.Mbuf, h *fib.Hop, events *count.Events) count.Reason {
	frame, l, a := m.Data(), &h.Layout, h.Adj.Get()
	link := a.Link()
	if len(link) > packet.EthernetLen && m.Headroom() < packet.VLANLen {
		return count.Headroom
	}
	switch l.EtherType {
	case packet.EtherTypeIPv4:
		if a.V6 {
			return count.PAFamily // R21
		}
		if !packet.Readdress4(frame, l, a.Source4(), h.PA.Get().U32()) {
			return count.ShortFragment // R13
		}
	case packet.EtherTypeIPv6:
		if !a.V6 {
			return count.PAFamily // R21
		}
		if l.L4 != 0 {
			switch l.Proto {
			case packet.ProtoICMPv6:
				if kind := packet.ICMPv6(frame[l.L4:]).Type(); kind >= packet.ICMPv6RouterSolicit && kind <= packet.ICMPv6Redirect {
					return count.RewriteARP // R19: the fabric's routers would believe it
				}
			case packet.ProtoUDP:
				if packet.UDP(frame[l.L4:]).Checksum() == 0 {
					events[count.NoChecksum]++ // R10
				}
			}
		}
		if !packet.Readdress6(frame, l, a.Source6(), &h.PA.Get().Addr) {
			return count.ShortFragment // R13
		}
	default:
		return count.RewriteARP // R19
	}
	if len(link) > packet.EthernetLen {
		frame = m.Prepend(packet.VLANLen)
		copy(frame, link)
		return count.Kept
	}
	*(*[packet.EthernetLen]byte)(frame) = *(*[packet.EthernetLen]byte)(link)
	return count.Kept
}
