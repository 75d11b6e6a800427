package worker

import (
	"paca/dataplane/count"
	"paca/dataplane/fib"
	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
	"paca/dataplane/port"
	"paca/dataplane/respond"
)

// inbound gathers the tunnel packets of a burst.
type inbound struct {
	n        int
	pkts     [port.MaxBurst]*mbuf.Mbuf
	arrivals [port.MaxBurst]fib.Arrival
}

// fromFabric carries a burst from an uplink to its VMs.
//
//  1. outer headers: runts and lies out (W21)
//  2. ARP and ND of the provider side are answered and learned from (A13)
//  3. tunnel traffic is what is for a PA of this host, in its VLAN, with
//     protocol 47 (W20)
//  4. the mode checks it and restores the tenant's frame (W21-W30, L21, L22)
//  5. to the VM's port (L23)
func (w *Worker) fromFabric(f *fib.FIB, pkts []*mbuf.Mbuf) {
	for _, m := range pkts {
		w.classify(f, m)
	}
	if w.inbound.n > 0 {
		w.decap(f, w.Modes[policy.NVGRE])
	}
}

// classify is steps 1 to 3.
func (w *Worker) classify(f *fib.FIB, m *mbuf.Mbuf) {
	frame := m.Data()
	a := &w.inbound.arrivals[w.inbound.n]
	l := &a.Outer
	if m.Segments() != 1 {
		w.drop(m, count.MultiSegment)
		return
	}
	if fault := packet.Parse(frame, l); fault != packet.OK {
		w.drop(m, count.Reason(fault))
		return
	}
	own := fib.None
	switch l.EtherType {
	case packet.EtherTypeIPv4:
		own = f.LocalPA4(packet.IPv4(frame[l.L3:]).DstU32())
	case packet.EtherTypeIPv6:
		if l.Proto == packet.ProtoICMPv6 && l.L4 != 0 {
			if kind := packet.ICMPv6(frame[l.L4:]).Type(); kind == packet.ICMPv6NeighborSolicit || kind == packet.ICMPv6NeighborAdvert {
				w.control(f, m, l, respond.ProviderND(f, w.in, m, l))
				return
			}
		}
		pa := packet.IPv6(frame[l.L3:]).Dst()
		own = f.LocalPA(&pa, true)
	case packet.EtherTypeARP:
		w.control(f, m, l, respond.ProviderARP(f, w.in, m, l))
		return
	default:
		w.drop(m, count.OuterOther)
		return
	}
	if own == fib.None || f.PAs[own].Port != w.in || l.Proto != packet.ProtoGRE {
		w.drop(m, count.OuterOther) // W20; the host's exception port comes here
		return
	}
	if l.TCI&0xfff != f.PAs[own].VLAN || l.Tags > 1 {
		w.drop(m, count.OuterVLAN) // W20
		return
	}
	a.PA = own
	w.inbound.pkts[w.inbound.n] = m
	w.inbound.n++
}

// control does what respond says with an ARP or ND frame of the provider side.
func (w *Worker) control(f *fib.FIB, m *mbuf.Mbuf, l *packet.Layout, v respond.Verdict) {
	learned := v.Learn && w.punt(Neighbor, m.Data())
	if v.Reply {
		v = respond.Answer(f, w.in, m, l)
	}
	switch {
	case v.Drop != count.Kept:
		w.drop(m, v.Drop)
	case v.Reply:
		w.send(w.in, m)
	case learned:
		w.consumed(m)
	default:
		w.drop(m, count.ControlQueue)
	}
}

// consumed ends a frame that the control plane has a copy of.
func (w *Worker) consumed(m *mbuf.Mbuf) {
	count.Add(&w.Count.Ports[w.in].Control, 1)
	w.dead = append(w.dead, m)
	if len(w.dead) == cap(w.dead) {
		w.bury()
	}
}

// decap is steps 4 and 5.
func (w *Worker) decap(f *fib.FIB, mode Mode) {
	pkts := w.inbound.pkts[:w.inbound.n]
	w.inbound.n = 0
	reasons := w.reasons[:len(pkts)]
	clear(reasons)
	mode.Ingress(f, pkts, w.inbound.arrivals[:len(pkts)], reasons)
	for i, m := range pkts {
		if reasons[i] != count.Kept {
			w.drop(m, reasons[i])
			continue
		}
		w.send(w.inbound.arrivals[i].Port, m)
	}
}
