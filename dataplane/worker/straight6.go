package worker

import (
	"paca/dataplane/fib"
	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
	"paca/dataplane/unseen"
)

// straightOut6 is straightOut for IPv6, in the same steps.
func (w *Worker) straightOut6(f *fib.FIB, p *fib.Port, pkts []*mbuf.Mbuf) int {
	if p.Flags != 0 || p.RD == 0 { // guards; no routing domain
		return 0
	}
	front := pkts[0].Front()
	if front == nil {
		return 0
	}
	// The first one's source CA is that of all others.
	ca := *(*packet.Plain6)(front[:]).SrcIP()
	src := f.Lookup6(p.RD, &ca)
	lane := w.laneOf(p, src, len(pkts))
	if lane == nil {
		return 0
	}
	hops := lane.hops[lane.n:]
	n := w.alike6(pkts, hops, p.MAC.Link(packet.EtherTypeIPv6), &ca, src.Mode)
	f.LookupAll6(p.RD, w.cas6[:n], w.entries[:])
	n = lane.over(f.From(f.Locals[src.Dest].PA), hops, w.entries[:n], p.VSID, src.Mode)
	unseen.Copy(lane.pkts[lane.n:], pkts[:n])
	lane.n += n
	return n
}

// alike6 is alike for IPv6.
func (w *Worker) alike6(pkts []*mbuf.Mbuf, hops []fib.Hop, link uint64, ca *[16]byte, mode policy.Mode) int {
	cas, hops, clamps := w.cas6[:len(pkts)], hops[:len(pkts)], w.Router.ClampMSS
	for i, m := range pkts {
		front, size, ok := m.Plain(unfinished)
		if !ok {
			return i
		}
		h6 := (*packet.Plain6)(front[:])
		if h6.Link() != link || *h6.SrcIP() != *ca {
			return i
		}
		end := h6.End(int(size))
		if end == 0 || clamps && h6.SYN() {
			return i
		}
		cas[i] = *h6.DstIP()
		hop := &hops[i]
		hop.Plain, hop.Size = unseen.To((*packet.Plain4)(front[:])), size-packet.EthernetLen // for the Ethernet header
		if mode == policy.NVGRE {
			hop.Hash, hop.TOS = h6.Hash(), h6.TOS()
		} else {
			h6.Layout(end, &hop.Layout)
		}
	}
	return len(pkts)
}

// straightIn6 is straightIn for IPv6.
func (w *Worker) straightIn6(f *fib.FIB, pkts []*mbuf.Mbuf) int {
	var (
		pa   *[16]byte // destination PA of the packet before
		own  uint16
		to   *fib.Owner6
		mode policy.Mode
		lane *inbound
	)
	for n, m := range pkts {
		front := m.Front()
		if front == nil {
			return n
		}
		h6 := (*packet.Plain6)(front[:])
		end := h6.End(m.Len())
		if !m.Whole(unfinished|mbuf.RxVLANStripped) || h6.EtherType() != packet.EtherTypeIPv6 || end == 0 {
			return n
		}
		if dst := h6.DstIP(); pa == nil || *dst != *pa {
			if to = f.Owner6(dst); to != nil && to.Flags&fib.LocalVM != 0 {
				own, mode = f.Locals[to.Dest].PA, to.Mode
			} else {
				own, mode = f.SharedPA6(dst), policy.NVGRE
			}
			if own == fib.None || f.PAs[own].Port != w.in || f.PAs[own].VLAN != 0 {
				return n
			}
			pa, lane = dst, &w.inbound[mode]
		}
		if mode == policy.NVGRE && h6.Proto() != packet.ProtoGRE {
			return n
		}
		a := &lane.arrivals[lane.n]
		h6.Layout(end, &a.Outer)
		a.PA, a.Kind, a.Plain = own, fib.ToVM, false
		a.To4, a.To6 = 0, unseen.To(to)
		lane.pkts[lane.n] = unseen.To(m)
		lane.n++
	}
	return len(pkts)
}
