package respond

import (
	"paca/dataplane/count"
	"paca/dataplane/fib"
	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
)

// ProviderARP looks at an ARP frame from the uplink of index in: requests for
// this host's PAs are answered in their VLAN (A13), what tells of a next hop's
// MAC is learned from.
func ProviderARP(f *fib.FIB, in uint16, m *mbuf.Mbuf, l *packet.Layout) Verdict {
	frame := m.Data()
	arp := packet.ARP(frame[l.L3:])
	if !arp.IsEthernetIPv4() || arp.Op() != packet.ARPOpRequest && arp.Op() != packet.ARPOpReply {
		return drop(count.ARPMalformed)
	}
	if arp.SenderMAC().IsMulticast() {
		return drop(count.ARPMalformed) // never believe that a machine is a group (RFC 1812 3.3.2)
	}
	s, t := arp.SenderIP(), arp.TargetIP()
	var sender, target [16]byte
	copy(sender[:], s[:])
	copy(target[:], t[:])

	if claimed := assigned(f, in, l, &sender, false); claimed != nil {
		return claim(claimed, arp.SenderMAC())
	}
	own := assigned(f, in, l, &target, false)
	switch {
	case own == nil && s == t:
		return Verdict{Learn: true} // an announcement, perhaps of a next hop
	case own == nil:
		return drop(count.PAForeign)
	case arp.SenderMAC() == own.MAC:
		return drop(count.PAForeign) // our own, come back
	case own.Duplicate:
		return Verdict{Drop: count.PADuplicate, Learn: true}
	case arp.Op() == packet.ARPOpReply:
		return Verdict{Learn: true}
	}
	return Verdict{Reply: true, Learn: true}
}

// ProviderND is ProviderARP for a neighbor solicitation or advertisement.
func ProviderND(f *fib.FIB, in uint16, m *mbuf.Mbuf, l *packet.Layout) Verdict {
	frame := m.Data()
	ip := packet.IPv6(frame[l.L3:])
	if target, ll, _, ok := packet.ParseNS(frame, l); ok {
		if ll.IsMulticast() || packet.Ethernet(frame).Src().IsMulticast() {
			return drop(count.NDInvalid)
		}
		src := ip.Src()
		if claimed := assigned(f, in, l, &src, true); claimed != nil {
			return claim(claimed, packet.Ethernet(frame).Src())
		}
		switch own := assigned(f, in, l, &target, true); {
		case own == nil || packet.Ethernet(frame).Src() == own.MAC:
			return drop(count.PAForeign)
		case own.Duplicate:
			return Verdict{Drop: count.PADuplicate, Learn: true}
		}
		return Verdict{Reply: true, Learn: true}
	}
	target, ll, _, _, ok := packet.ParseNA(frame, l)
	if !ok || ll.IsMulticast() {
		return drop(count.NDInvalid) // A10
	}
	if claimed := assigned(f, in, l, &target, true); claimed != nil {
		return claim(claimed, packet.Ethernet(frame).Src())
	}
	dst := ip.Dst()
	if dst != packet.AllNodes && assigned(f, in, l, &dst, true) == nil {
		return drop(count.PAForeign)
	}
	return Verdict{Learn: true}
}

// Answer turns a request that ProviderARP or ProviderND had a Reply for into
// the answer, once whoever learns from it has its copy.
func Answer(f *fib.FIB, in uint16, m *mbuf.Mbuf, l *packet.Layout) Verdict {
	frame := m.Data()
	if l.EtherType == packet.EtherTypeARP {
		t := packet.ARP(frame[l.L3:]).TargetIP()
		var target [16]byte
		copy(target[:], t[:])
		packet.ARPReply(frame, l, assigned(f, in, l, &target, false).MAC)
		return Verdict{Reply: true}
	}
	target := packet.NDSolicit(frame[l.L4:]).Target()
	na := answerNS(frame, l, target, assigned(f, in, l, &target, true).MAC)
	return advertise(m, &na)
}

// claim is what a message gets whose sender, with that MAC, says it has a PA of
// this host.
func claim(own *fib.PA, mac packet.MAC) Verdict {
	if mac == own.MAC {
		return drop(count.PAForeign) // our own, come back
	}
	return Verdict{Drop: count.PADuplicate, Learn: true} // P14
}

// assigned is the PA of this host with that address on the uplink and in the
// VLAN of the frame, or nil.
func assigned(f *fib.FIB, in uint16, l *packet.Layout, addr *[16]byte, v6 bool) *fib.PA {
	i := f.LocalPA(addr, v6)
	if i == fib.None || f.PAs[i].Port != in || f.PAs[i].VLAN != l.TCI&packet.VIDMask || l.Tags > 1 {
		return nil
	}
	return &f.PAs[i]
}
