package worker

import (
	"paca/dataplane/count"
	"paca/dataplane/fib"
	"paca/dataplane/mbuf"
	"paca/dataplane/offload"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
	"paca/dataplane/port"
	"paca/dataplane/respond"
	"paca/dataplane/unseen"
)

// inbound gathers the packets of a burst from the fabric that are one mode's.
type inbound struct {
	n        int
	pkts     [port.MaxBurst]unseen.Ref[mbuf.Mbuf]
	arrivals [port.MaxBurst]fib.Arrival
}

// fromFabric carries a burst from an uplink to its VMs.
//
//  1. outer headers: runts and lies out (W21)
//  2. ARP and ND of the provider side are answered and learned from (A13)
//  3. what is for a PA of this host, in its VLAN, is its VM's if one has it to
//     itself (R5), else tunnel traffic if it is of protocol 47 (W20); a PA answers
//     pings and hears of path MTUs (M10)
//  4. all else goes to the host's kernel, if it has a port here (W20, W24)
//  5. the mode checks it and restores the tenant's frame (W21-W30, L21, L22; R5,
//     R16-R18)
//  6. to the VM's port (L23), to all of its virtual subnet (L25), or to the
//     control plane (L24, N8)
func (w *Worker) fromFabric(f *fib.FIB, pkts []*mbuf.Mbuf) {
	if v := w.ways[w.in].uses.Has(mbuf.ReceiveOuterChecksum); v != w.verdicts {
		w.verdicts = v
		w.forgetVerdicts()
	}
	for len(pkts) > 0 {
		n := 0
		switch etherType(pkts[0]) {
		case packet.EtherTypeIPv4:
			n = w.straightIn(f, pkts)
		case packet.EtherTypeIPv6:
			n = w.straightIn6(f, pkts)
		}
		if n == 0 {
			w.classify(f, pkts[0])
			n = 1
		}
		pkts = pkts[n:]
	}
	for mode := range w.inbound {
		if w.inbound[mode].n > 0 {
			w.decap(f, w.Modes[mode], &w.inbound[mode])
		}
	}
}

// fromHost carries a burst from the host's kernel to its uplink, as it is.
func (w *Worker) fromHost(f *fib.FIB, pkts []*mbuf.Mbuf) {
	peer := f.Ports[w.in].Peer
	if peer == fib.None {
		w.dropAll(pkts, count.PortDown)
		return
	}
	for _, m := range pkts {
		w.events[count.FromHost]++
		w.send(peer, m)
	}
}

// toHost gives a frame from an uplink to the host's kernel, or drops it when that
// has no port here (W20).
func (w *Worker) toHost(f *fib.FIB, m *mbuf.Mbuf, otherwise count.Reason) {
	peer := f.Ports[w.in].Peer
	if peer == fib.None {
		w.drop(m, otherwise)
		return
	}
	w.events[count.ToHost]++
	if m.Flags()&(unfinished|mbuf.RxVLANStripped) != 0 {
		w.wholeToHost(peer, m)
		return
	}
	w.send(peer, m)
}

// classify is steps 1 to 4.
func (w *Worker) classify(f *fib.FIB, m *mbuf.Mbuf) {
	frame := m.Data()
	lane := &w.inbound[policy.NVGRE]
	l := &lane.arrivals[lane.n].Outer
	if fault := packet.Parse(frame, l); fault != packet.OK && w.fault(m, l, fault) {
		return
	}
	var left offload.Pending
	if m.Flags()&(unfinished|mbuf.RxVLANStripped) != 0 || m.Segments() != 1 {
		if !w.received(m, l, &left) {
			return
		}
		frame = m.Data()
	}
	own, mode := fib.None, policy.NVGRE
	var to4 *fib.Owner4
	var to6 *fib.Owner6
	switch l.EtherType {
	case packet.EtherTypeIPv4:
		pa := packet.IPv4(frame[l.L3:]).DstU32()
		if to4 = f.Owner4(pa); to4 != nil && to4.Flags&fib.LocalVM != 0 {
			own, mode = f.Locals[to4.Dest].PA, to4.Mode
		} else {
			own = f.SharedPA4(pa)
		}
	case packet.EtherTypeIPv6:
		if l.Proto == packet.ProtoICMPv6 && l.L4 != 0 {
			if kind := packet.ICMPv6(frame[l.L4:]).Type(); kind == packet.ICMPv6NeighborSolicit || kind == packet.ICMPv6NeighborAdvert {
				w.control(f, m, l, respond.ProviderND(f, w.in, m, l))
				return
			}
		}
		pa := packet.IPv6(frame[l.L3:]).Dst()
		if to6 = f.Owner6(&pa); to6 != nil && to6.Flags&fib.LocalVM != 0 {
			own, mode = f.Locals[to6.Dest].PA, to6.Mode
		} else {
			own = f.SharedPA6(&pa)
		}
	case packet.EtherTypeARP:
		w.control(f, m, l, respond.ProviderARP(f, w.in, m, l))
		return
	default:
		w.toHost(f, m, count.OuterOther)
		return
	}
	switch {
	case own == fib.None && l.Proto == packet.ProtoGRE && w.toPAGroup(f, frame, l): // A20
	case own == fib.None || f.PAs[own].Port != w.in:
		w.toHost(f, m, count.OuterOther) // W20
		return
	case l.TCI&packet.VIDMask != f.PAs[own].VLAN || l.Tags > 1:
		w.toHost(f, m, count.OuterVLAN) // W20
		return
	case mode != policy.NVGRE:
		if left.Kind != offload.Nothing {
			w.restore(f, m, left, mode, fib.Arrival{Outer: *l, To4: unseen.To(to4), To6: unseen.To(to6), PA: own})
			return
		}
		lane = &w.inbound[mode]
		lane.arrivals[lane.n].Outer = *l
	case l.Proto != packet.ProtoGRE:
		w.toPA(f, m, l, &f.PAs[own])
		return
	}
	a := &lane.arrivals[lane.n]
	a.PA, a.Kind, a.Plain, a.To4, a.To6 = own, fib.ToVM, false, unseen.To(to4), unseen.To(to6)
	lane.pkts[lane.n] = unseen.To(m)
	lane.n++
}

// toPAGroup says whether a frame is for a group of PAs that this host receives, in
// the VLAN of one of its PAs.
func (w *Worker) toPAGroup(f *fib.FIB, frame []byte, l *packet.Layout) bool {
	var dst [16]byte
	v6 := l.EtherType == packet.EtherTypeIPv6
	if v6 {
		dst = packet.IPv6(frame[l.L3:]).Dst()
	} else {
		v4 := packet.IPv4(frame[l.L3:]).Dst4()
		copy(dst[:], v4[:])
	}
	if !f.PAGroup(&dst, v6) {
		return false
	}
	for i := range f.PAs {
		if pa := &f.PAs[i]; pa.Port == w.in && pa.V6 == v6 && pa.VLAN == l.TCI&packet.VIDMask && l.Tags <= 1 {
			return true
		}
	}
	return false
}

// toPA is for what is for a PA of this host and no tunnel traffic.
func (w *Worker) toPA(f *fib.FIB, m *mbuf.Mbuf, l *packet.Layout, own *fib.PA) {
	if l.L4 != 0 && (l.Proto == packet.ProtoICMP || l.Proto == packet.ProtoICMPv6) {
		if !own.Duplicate && respond.Echo(m, l) { // P14
			w.send(w.in, m)
			return
		}
		if w.limits[w.in].punt.take(w.clock(), puntRate) && w.punt(ICMP, m.Data()) && f.Ports[w.in].Peer == fib.None {
			w.consumed(m)
			return
		}
	}
	w.toHost(f, m, count.OuterOther)
}

// control does what respond says with an ARP or ND frame of the provider side. The
// host's kernel hears what it may want to know too.
func (w *Worker) control(f *fib.FIB, m *mbuf.Mbuf, l *packet.Layout, v respond.Verdict) {
	learned := v.Learn && w.punt(Neighbor, m.Data())
	if v.Reply {
		v = respond.Answer(f, w.in, m, l)
	}
	switch {
	case v.Drop == count.PAForeign:
		w.toHost(f, m, v.Drop)
	case v.Drop != count.Kept:
		w.drop(m, v.Drop)
	case v.Reply:
		w.send(w.in, m)
	case learned && f.Ports[w.in].Peer == fib.None:
		w.consumed(m)
	default:
		w.toHost(f, m, count.ControlQueue)
	}
}

// consumed ends a frame that the control plane has a copy of.
func (w *Worker) consumed(m *mbuf.Mbuf) {
	count.Add(&w.Count.Ports[w.in].Control, 1)
	w.discard(m)
}

// decap is steps 5 and 6.
func (w *Worker) decap(f *fib.FIB, mode Mode, lane *inbound) {
	pkts := unseen.Pointers(lane.pkts[:lane.n])
	lane.n = 0
	if mode == nil {
		w.dropAll(pkts, count.ModeMissing)
		return
	}
	reasons := w.reasons[:len(pkts)]
	clear(reasons)
	if w.verdicts {
		for i, m := range pkts {
			lane.arrivals[i].Verified = verified(m)
		}
	}
	mode.Ingress(f, pkts, lane.arrivals[:len(pkts)], reasons, &w.events)
	if w.ways[w.in].uses.Has(mbuf.ReceiveL4Checksum) && lane == &w.inbound[policy.NVGRE] {
		forgetOuter(pkts)
	}
	arrivals := lane.arrivals[:len(pkts)]
	for i := w.handOver(pkts, arrivals, reasons); i < len(pkts); i++ {
		m, a := pkts[i], &arrivals[i]
		switch {
		case reasons[i] == count.Kept && a.Kind == fib.ToVM:
			w.send(a.Port, m)
		case reasons[i] == count.Kept:
			w.arrived(f, m, a)
		case reasons[i] == count.GREOther:
			w.toHost(f, m, reasons[i]) // W24
		case stray(reasons[i]) && w.NVE && w.limits[w.in].stray.take(w.clock(), puntRate):
			w.events[count.Stray]++
			tag(m)
			w.punt(Stray, m.Data()) // L24
			fallthrough
		default:
			w.drop(m, reasons[i])
		}
	}
}

// handOver sends packets that are simply for a VM each, from the front of a burst to the
// first that is not, and returns how many they are.
func (w *Worker) handOver(pkts []*mbuf.Mbuf, arrivals []fib.Arrival, reasons []count.Reason) int {
	arrivals, reasons = arrivals[:len(pkts)], reasons[:len(pkts)]
	to, q := fib.None, (*outQueue)(nil) // of the packet before
	for i, m := range pkts {
		a := &arrivals[i]
		if a.Kind != fib.ToVM || reasons[i] != count.Kept {
			return i
		}
		if a.Port != to {
			to = a.Port
			q = w.queue(to)
		}
		q.pkts[q.n] = unseen.To(m)
		if q.n++; q.n == len(q.pkts) {
			w.transmit(to)
		}
	}
	return len(pkts)
}

// stray says whether a tunnel packet is dropped for want of a VM (L21).
func stray(r count.Reason) bool {
	return r == count.InnerUnknown || r == count.InnerMAC || r == count.NoLocalPort
}

// arrived is for what is not simply for one VM.
func (w *Worker) arrived(f *fib.FIB, m *mbuf.Mbuf, a *fib.Arrival) {
	switch a.Kind {
	case fib.ToNewVM:
		w.puntFor(a.Port, m.Data())
		w.send(a.Port, m)
	case fib.ToGroup:
		var l packet.Layout
		s := f.Subnet(a.VSID)
		n := w.hearers(f, s, a.PA)
		if packet.Parse(m.Data(), &l) != packet.OK || n == 0 {
			w.drop(m, count.InnerBroadcast)
			return
		}
		received := count.MulticastReceived
		if packet.Ethernet(m.Data()).Dst().IsBroadcast() {
			received = count.BroadcastReceived
		}
		w.events[received]++
		w.events[count.Replicated] += uint32(n - 1)
		w.share(f, m, &l, s, a.PA, n) // L25
	case fib.ToPA:
		w.toPA(f, m, &a.Outer, &f.PAs[a.PA])
	case fib.ToControl:
		if w.NVE && w.limits[w.in].nve.take(w.clock(), puntRate) && tag(m) && w.punt(NVE, m.Data()) {
			w.consumed(m)
			return
		}
		w.drop(m, count.NVEControl)
	}
}
