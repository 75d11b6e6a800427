package worker

import (
	"paca/dataplane/fib"
	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
)

// Most packets are alike: whole, plain, from the VM whose port it is to a record of its
// own virtual subnet, or from a PA to a PA. Those are recognized here, and go straight on
// to their mode. Nothing is dropped, answered or decided here: whatever is not found to be
// so, by the tests that admit, route and classify make, in other words, takes the way
// through those.

// straightOut puts packets of a burst from a VM on the way over the fabric, from its
// front to the first that is none of those, and returns how many that are.
func (w *Worker) straightOut(f *fib.FIB, p *fib.Port, pkts []*mbuf.Mbuf) int {
	if p.Flags != 0 || p.RD == 0 { // guards; no routing domain
		return 0
	}
	var (
		link = p.MAC.Link(packet.EtherTypeIPv4)
		ca   uint32 // source CA of the packet before, 0 for none
		pa   uint16 // of that
		mode policy.Mode
		lane *lane
	)
	for n, m := range pkts {
		front := m.Front()
		if front == nil {
			return n
		}
		h4 := (*packet.Plain4)(front[:])
		size := m.Len()
		end := h4.End(size)
		if !m.Whole(unfinished) || h4.Link() != link || end == 0 {
			return n
		}
		if proto := h4.Proto(); proto == packet.ProtoTCP && w.Router.ClampMSS {
			return n
		}
		if src := h4.SrcU32(); src != ca || ca == 0 {
			e := f.Lookup4(p.RD, src)
			if !p.Owns(e) || e.Flags&(fib.RouterCA|fib.LocalVM) != fib.LocalVM || w.Modes[e.Mode] == nil {
				return n
			}
			ca, pa, mode = src, f.Locals[e.Dest].PA, e.Mode
			lane = &w.lanes[mode]
		}
		dst := f.Lookup4(p.RD, h4.DstU32())
		if dst == nil || dst.VSID != p.VSID || dst.Mode != mode || dst.Flags&(fib.LocalVM|fib.RouterCA) != 0 {
			return n
		}
		to := f.Remote(dst)
		adj := f.AdjTo(to, pa)
		if adj.State != fib.AdjReady || size-packet.EthernetLen > int(min(adj.Limit[mode], to.Limit[mode])) {
			return n
		}
		if lane.to != fib.None || lane.n >= len(lane.pkts) {
			w.encap(mode)
		}
		h4.SetDst(dst.MAC)
		hop := &lane.hops[lane.n]
		hop.Entry, hop.PA, hop.Adj = dst, to, adj
		h4.Layout(end, &hop.Layout)
		if mode == policy.NVGRE {
			hop.Hash = h4.FlowHash()
		}
		lane.pkts[lane.n] = m
		lane.n++
	}
	return len(pkts)
}

// straightIn puts packets of a burst from an uplink on the way to their mode, as
// straightOut does.
func (w *Worker) straightIn(f *fib.FIB, pkts []*mbuf.Mbuf) int {
	var (
		pa   uint32 // destination PA of the packet before, 0 for none
		own  uint16
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
			if o := f.Owner4(dst); o != nil && o.Flags&fib.LocalVM != 0 {
				own, mode = f.Locals[o.Dest].PA, o.Mode
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
		lane.pkts[lane.n] = m
		lane.n++
	}
	return len(pkts)
}
