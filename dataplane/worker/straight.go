package worker

import (
	"paca/dataplane/fib"
	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
	"paca/dataplane/unseen"
)

// Most packets are alike: whole, plain, from the VM whose port it is to a record of its
// own virtual subnet, or from a PA to a PA. Those are recognized here, and go straight on
// to their mode. Nothing is dropped, answered or decided here: whatever is not found to be
// so, by the tests that admit, route and classify make, in other words, takes the way
// through those.

// etherType is that of a frame that may go straight on, else 0 or any.
func etherType(m *mbuf.Mbuf) uint16 {
	front := m.Front()
	if front == nil {
		return 0
	}
	return (*packet.Plain4)(front[:]).EtherType()
}

// straightOut puts packets of a burst from a VM on the way over the fabric, from its
// front to the first that is none of those, and returns how many that are. Whom they
// are for is looked up for all of them before the way there, so that look-ups of
// different packets overlap.
func (w *Worker) straightOut(f *fib.FIB, p *fib.Port, pkts []*mbuf.Mbuf) int {
	if len(pkts) == 0 || p.Flags != 0 || p.RD == 0 { // guards; no routing domain
		return 0
	}
	front := pkts[0].Front()
	if front == nil {
		return 0
	}
	// The first one's source CA is that of all others.
	ca := (*packet.Plain4)(front[:]).SrcU32()
	src := f.Lookup4(p.RD, ca)
	if !p.Owns(src) || src.Flags&(fib.RouterCA|fib.LocalVM) != fib.LocalVM || w.Modes[src.Mode] == nil {
		return 0
	}
	mode := src.Mode
	lane := &w.lanes[mode]
	if lane.to != fib.None || lane.n+len(pkts) > len(lane.pkts) {
		w.encap(mode)
	}
	hops := lane.hops[lane.n:][:len(pkts)]
	link := p.MAC.Link(packet.EtherTypeIPv4)
	var (
		n      int
		clamps = w.Router.ClampMSS
	)
	for ; n < len(pkts); n++ {
		m, hop := pkts[n], &hops[n]
		front := m.Front()
		if front == nil || !m.Whole(unfinished) {
			break
		}
		h4 := (*packet.Plain4)(front[:])
		end := h4.End(m.Len())
		if h4.Link() != link || h4.SrcU32() != ca || end == 0 || clamps && h4.SYN() {
			break
		}
		w.cas[n] = h4.DstU32()
		if mode == policy.NVGRE {
			hop.Hash = packet.Hash(h4.Addrs(), h4.Ports())
		} else {
			h4.Layout(end, &hop.Layout)
		}
	}
	f.LookupAll4(p.RD, w.cas[:n], w.entries[:])
	from := f.Locals[src.Dest].PA
	pkts = pkts[:n]
	hops = hops[:n]
	for i, m := range pkts {
		dst := w.entries[i].Get()
		if dst == nil || dst.VSID != p.VSID || dst.Mode != mode || dst.Flags&(fib.LocalVM|fib.RouterCA) != 0 {
			n = i
			break
		}
		to := f.Remote(dst)
		adj := f.AdjTo(to, from)
		if adj.State != fib.AdjReady || m.Len()-packet.EthernetLen > int(min(adj.Limit[mode], to.Limit[mode])) {
			n = i
			break
		}
		(*packet.Plain4)(m.Front()[:]).SetDst(&dst.MAC)
		hop := &hops[i]
		hop.Entry, hop.PA, hop.Adj = w.entries[i], unseen.To(to), unseen.To(adj)
	}
	unseen.Copy(lane.pkts[lane.n:], pkts[:n])
	lane.n += n
	return n
}

// straightIn puts packets of a burst from an uplink on the way to their mode, as
// straightOut does.
func (w *Worker) straightIn(f *fib.FIB, pkts []*mbuf.Mbuf) int {
	var (
		pa   uint32 // destination PA of the packet before, 0 for none
		own  uint16
		to   *fib.Owner4
		mode policy.Mode
		lane *inbound
	)
	for n, m := range pkts {
		front := m.Front()
		if front == nil {
			return n
		}
		h4 := (*packet.Plain4)(front[:])
		end := h4.End(m.Len())
		if !m.Whole(unfinished|mbuf.RxVLANStripped) || h4.EtherType() != packet.EtherTypeIPv4 || end == 0 {
			return n
		}
		if dst := h4.DstU32(); dst != pa || pa == 0 {
			if to = f.Owner4(dst); to != nil && to.Flags&fib.LocalVM != 0 {
				own, mode = f.Locals[to.Dest].PA, to.Mode
			} else {
				own, mode = f.SharedPA4(dst), policy.NVGRE
			}
			if own == fib.None || f.PAs[own].Port != w.in || f.PAs[own].VLAN != 0 {
				return n
			}
			pa, lane = dst, &w.inbound[mode]
		}
		if mode == policy.NVGRE && h4.Proto() != packet.ProtoGRE {
			return n
		}
		a := &lane.arrivals[lane.n]
		h4.Layout(end, &a.Outer)
		a.PA, a.Kind = own, fib.ToVM
		if mode != policy.NVGRE {
			a.To4 = unseen.To(to)
		}
		lane.pkts[lane.n] = unseen.To(m)
		lane.n++
	}
	return len(pkts)
}
