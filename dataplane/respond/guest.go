package respond

import (
	"encoding/binary"

	"paca/dataplane/count"
	"paca/dataplane/fib"
	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
)

// ARP looks at an untagged ARP frame from a VM, whose Ethernet source is the
// port's. One that goes on is for the VM that owns the target (A8), or to all of the
// virtual subnet if its destination is a group's (A5).
func ARP(f *fib.FIB, p *fib.Port, m *mbuf.Mbuf, l *packet.Layout) Verdict {
	frame := m.Data()
	arp := packet.ARP(frame[l.L3:])
	if !arp.IsEthernetIPv4() || arp.Op() != packet.ARPOpRequest && arp.Op() != packet.ARPOpReply {
		return drop(count.ARPMalformed)
	}
	if arp.SenderMAC() != p.MAC {
		return drop(count.SourceMAC) // L2
	}
	s, t := arp.SenderIP(), arp.TargetIP()
	sender, target := binary.BigEndian.Uint32(s[:]), binary.BigEndian.Uint32(t[:])
	unicast := !packet.Ethernet(frame).Dst().IsMulticast()
	from := f.Lookup4(p.RD, sender)
	if sender != 0 && unknown(from, p) && mayLearn(f, p, false) {
		return Verdict{Drop: count.Learning, Learn: true} // A16
	}

	if arp.Op() == packet.ARPOpReply {
		if !unicast || sender == target {
			return drop(count.ARPSelf) // an announcement (A7)
		}
		if to := f.Lookup4(p.RD, target); to != nil && to.VSID != p.VSID {
			return drop(count.ARPUnknown) // A6
		}
		return Verdict{Forward: true} // A8
	}
	// A probe has no sender address (RFC 5227), an announcement of what is
	// another's has a wrong one: both are answered, so that the VM sees the
	// conflict (A7).
	claims := sender == 0 || sender == target
	outside := !claims && from == nil && isGateway(f, p, false)
	if !claims && !outside && !p.Owns(from) {
		return drop(count.SourceCA) // L3
	}
	e := f.Lookup4(p.RD, target)
	switch {
	case e == nil && !unicast && (sender == 0 || p.Owns(from)) && f.Subnet(p.VSID).L2Only:
		return Verdict{Forward: true} // A5: whose it is, its owner knows
	case e == nil || e.VSID != p.VSID:
		return drop(count.ARPUnknown) // A5, A6
	case e.MAC == p.MAC:
		return drop(count.ARPSelf) // A7
	case unicast && !claims && !outside && reached(e):
		return Verdict{Forward: true} // A8
	}
	packet.ARPReply(frame, l, e.MAC) // A2, A3, A4
	return Verdict{Reply: true}
}

// isGateway says whether the VM behind p may speak for addresses outside, that have
// no records (L3). Kernels look for their neighbors from the address of the packet
// that waits: it gets an answer, but is not carried.
func isGateway(f *fib.FIB, p *fib.Port, v6 bool) bool {
	e := f.ByMAC(p.VSID, p.MAC, v6)
	return e != nil && e.Flags&fib.Wildcard != 0
}

// mayLearn says whether the VM behind p has a record that tells its MAC and not its
// CA: what it says of its CA is for the control plane to believe (A16).
func mayLearn(f *fib.FIB, p *fib.Port, v6 bool) bool {
	e := f.ByMAC(p.VSID, p.MAC, v6)
	return e != nil && e.Flags&(fib.L2Only|fib.LocalVM) == fib.L2Only|fib.LocalVM
}

// ND looks at an untagged ICMPv6 frame from a VM, whose Ethernet source is the
// port's. All but neighbor discovery goes on its way.
func ND(f *fib.FIB, p *fib.Port, m *mbuf.Mbuf, l *packet.Layout) Verdict {
	switch packet.ICMPv6(m.Data()[l.L4:]).Type() {
	case packet.ICMPv6NeighborSolicit:
		return solicitation(f, p, m, l)
	case packet.ICMPv6NeighborAdvert:
		return advertisement(f, p, m, l)
	}
	return Verdict{Forward: true}
}

func solicitation(f *fib.FIB, p *fib.Port, m *mbuf.Mbuf, l *packet.Layout) Verdict {
	frame := m.Data()
	target, ll, hasLL, ok := packet.ParseNS(frame, l)
	if !ok {
		return drop(count.NDInvalid) // A10
	}
	if hasLL && ll != p.MAC {
		return drop(count.SourceMAC) // L2
	}
	ip := packet.IPv6(frame[l.L3:])
	src, dst := ip.Src(), ip.Dst()
	// Link-local addresses have no records (A11), and kernels probe their
	// neighbors from them: like the unspecified address they get an answer,
	// but are not carried.
	carried := src != [16]byte{} && !linkLocal(src)
	if carried {
		switch from := f.Lookup6(p.RD, &src); {
		case unknown(from, p) && mayLearn(f, p, true):
			return Verdict{Drop: count.Learning, Learn: true} // A16
		case p.Owns(from):
		case from == nil && isGateway(f, p, true):
			carried = false
		default:
			return drop(count.SourceCA) // L3
		}
	}
	e := f.Lookup6(p.RD, &target)
	switch {
	case e == nil && dst[0] == 0xff && !linkLocal(target) && f.Subnet(p.VSID).L2Only:
		return Verdict{Forward: true} // A5
	case e == nil || e.VSID != p.VSID:
		return drop(count.NDUnknown) // A5, A6
	case e.MAC == p.MAC:
		return drop(count.NDSelf) // A7
	case dst[0] != 0xff && carried && reached(e):
		if elsewhere(f, p, &dst) {
			return drop(count.NDUnknown) // A6
		}
		return Verdict{Forward: true} // A8
	}
	na := answerNS(frame, l, target, e.MAC)
	if e.Flags&fib.RouterCA != 0 {
		na.Flags |= packet.NDRouter // A9
	}
	return advertise(m, &na)
}

func advertisement(f *fib.FIB, p *fib.Port, m *mbuf.Mbuf, l *packet.Layout) Verdict {
	frame := m.Data()
	target, ll, hasLL, _, ok := packet.ParseNA(frame, l)
	switch {
	case !ok:
		return drop(count.NDInvalid)
	case hasLL && ll != p.MAC:
		return drop(count.SourceMAC) // L2
	case !linkLocal(target) && unknown(f.Lookup6(p.RD, &target), p) && mayLearn(f, p, true):
		return Verdict{Drop: count.Learning, Learn: true} // A16
	case packet.IPv6(frame[l.L3:]).Dst()[0] == 0xff:
		return drop(count.NDSelf) // an announcement (A7)
	case !p.Owns(f.Lookup6(p.RD, &target)):
		return drop(count.SourceCA) // what ARP's sender is to L3: no VM speaks for another (A12)
	}
	if dst := packet.IPv6(frame[l.L3:]).Dst(); elsewhere(f, p, &dst) {
		return drop(count.NDUnknown) // A6
	}
	return Verdict{Forward: true} // A8
}

// unknown says whether what the VM behind p says of a CA with record e is news: there
// is none, or one that was learned, of another VM or on the host that this one came
// from (A12, L40).
func unknown(e *fib.Entry, p *fib.Port) bool {
	return e == nil || e.Flags&fib.Learned != 0 && (!p.Owns(e) || e.Flags&fib.LocalVM == 0)
}

// elsewhere says whether a CA is in another virtual subnet of the routing domain:
// neighbors are not sought there (A6).
func elsewhere(f *fib.FIB, p *fib.Port, ca *[16]byte) bool {
	e := f.Lookup6(p.RD, ca)
	return e != nil && e.VSID != p.VSID
}

// reached says whether a request for the CA of e goes to its VM (A8). The distributed
// router is no VM, and no ARP or neighbor discovery leaves a host rewritten (R19).
func reached(e *fib.Entry) bool {
	return e.Flags&fib.RouterCA == 0 && (e.Mode == fib.NVGRE || e.Flags&fib.LocalVM != 0)
}

func linkLocal(a [16]byte) bool { return a[0] == 0xfe && a[1]&0xc0 == 0x80 }
