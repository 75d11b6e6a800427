package worker

import (
	"math/bits"

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
	if p.Flags != 0 || p.RD == 0 { // guards; no routing domain
		return 0
	}
	front := pkts[0].Front()
	if front == nil {
		return 0
	}
	// The first one's source CA is that of all others.
	first := (*packet.Plain4)(front[:])
	src := f.Lookup4(p.RD, first.SrcU32())
	lane := w.laneOf(p, src, len(pkts))
	if lane == nil {
		return 0
	}
	hops := lane.hops[lane.n:]
	n := w.alike(pkts, hops, p.MAC.Link(packet.EtherTypeIPv4), uint32(first.Addrs()), src.Mode)
	f.LookupAll4(p.RD, w.cas[:n], w.entries[:])
	n = lane.over(f.From(f.Locals[src.Dest].PA), hops, w.entries[:n], p.VSID, src.Mode)
	unseen.Copy(lane.pkts[lane.n:], pkts[:n])
	lane.n += n
	return n
}

// laneOf has the lane of the mode of a VM's packets, with room for n of them; nil if src is
// no record of the VM's own that a mode carries.
func (w *Worker) laneOf(p *fib.Port, src *fib.Entry, n int) *lane {
	if !p.Owns(src) || src.Flags&(fib.RouterCA|fib.LocalVM) != fib.LocalVM || w.Modes[src.Mode] == nil {
		return nil
	}
	lane := &w.lanes[src.Mode]
	if lane.to != fib.None || lane.n+n > len(lane.pkts) {
		w.encap(src.Mode)
	}
	return lane
}

// alike says how many packets of a burst are plain, and from the same sender: of link and
// CA as packet.Plain4 has them. It notes whom they are for, and what their mode wants to
// know of them.
func (w *Worker) alike(pkts []*mbuf.Mbuf, hops []fib.Hop, link uint64, ca uint32, mode policy.Mode) int {
	cas, hops, clamps := w.cas[:len(pkts)], hops[:len(pkts)], w.Router.ClampMSS
	for i, m := range pkts {
		front, size, ok := m.Plain(unfinished)
		if !ok {
			return i
		}
		h4 := (*packet.Plain4)(front[:])
		addrs := h4.Addrs()
		if h4.Link() != link || uint32(addrs) != ca || !h4.Fits(size) || clamps && h4.SYN() {
			return i
		}
		hop := &hops[i]
		if mode == policy.NVGRE {
			hop.Hash, hop.TOS = packet.Hash(addrs, h4.Ports()), h4.TOS()
		} else {
			hop.Layout.EtherType = 0
		}
		hop.Plain, hop.Size = unseen.To(h4), size-packet.EthernetLen
		cas[i] = bits.ReverseBytes32(uint32(addrs >> 32))
	}
	return len(pkts)
}

// over finds the way over the fabric to what the destinations of packets were found to
// be, and says how many of them have one that is ready and wide enough.
func (l *lane) over(ways fib.Ways, hops []fib.Hop, entries []unseen.Ref[fib.Entry], vsid uint32, mode policy.Mode) int {
	hops = hops[:len(entries)]
	for i := range hops {
		hop, dst := &hops[i], entries[i].Get()
		if dst == nil || dst.VSID != vsid || dst.Mode != mode || dst.Flags&(fib.LocalVM|fib.RouterCA) != 0 {
			return i
		}
		to, adj := ways.To(dst)
		if hop.Size > adj.Ready[mode%policy.NumModes] || to.Limit.Any() && hop.Size > to.Limit[mode%policy.NumModes] {
			return i
		}
		if adj.Port != l.by {
			l.several = l.several || l.n+i > 0
			l.by = adj.Port
		}
		hop.Plain.Get().SetDst(&dst.MAC)
		hop.Entry, hop.PA, hop.Adj = unseen.To(dst), unseen.To(to), unseen.To(adj)
	}
	return len(hops)
}

// straightIn puts packets of a burst from an uplink that are for PAs of one mode on the
// way to it, as straightOut does.
func (w *Worker) straightIn(f *fib.FIB, pkts []*mbuf.Mbuf) int {
	if !pkts[0].IsPlain(unfinished | mbuf.RxVLANStripped) {
		return 0
	}
	var pa whose
	if !pa.find(f, w.in, (*packet.Plain4)(pkts[0].Start()[:]).DstU32()) {
		return 0
	}
	lane := &w.inbound[pa.mode]
	n := pa.alike(f, w.in, pkts, lane.arrivals[lane.n:])
	unseen.Copy(lane.pkts[lane.n:], pkts[:n])
	lane.n += n
	return n
}

// whose is what is known of a destination PA. Packets in a row often have the same.
type whose struct {
	pa   uint32
	own  uint16
	mode policy.Mode
	to   unseen.Ref[fib.Owner4]
}

// find finds out whose a PA is, and says whether it is one that packets from the uplink
// may be for.
func (w *whose) find(f *fib.FIB, uplink uint16, pa uint32) bool {
	w.pa, w.own, w.mode = pa, fib.None, policy.NVGRE
	to := f.Owner4(pa)
	if to != nil && to.Flags&fib.LocalVM != 0 {
		w.own, w.mode = f.Locals[to.Dest].PA, to.Mode
	} else {
		w.own = f.SharedPA4(pa)
	}
	w.to = unseen.To(to)
	return w.own != fib.None && f.PAs[w.own].Port == uplink && f.PAs[w.own].VLAN == 0
}

// alike says how many packets of a burst are plain, for PAs of the same mode, and tunnel
// traffic or whatever they like. It notes so.
func (w *whose) alike(f *fib.FIB, uplink uint16, pkts []*mbuf.Mbuf, arrivals []fib.Arrival) int {
	arrivals = arrivals[:len(pkts)]
	mode, tunnel := w.mode, w.mode == policy.NVGRE
	for i, m := range pkts {
		if !m.IsPlain(unfinished | mbuf.RxVLANStripped) {
			return i
		}
		h4 := (*packet.Plain4)(m.Start()[:])
		end := h4.End(m.Size())
		if end == 0 || tunnel && h4.Proto() != packet.ProtoGRE {
			return i
		}
		if dst := h4.DstU32(); dst != w.pa && (!w.find(f, uplink, dst) || w.mode != mode) {
			return i
		}
		a := &arrivals[i]
		h4.Layout(end, &a.Outer)
		a.PA, a.Kind, a.Plain = w.own, fib.ToVM, true
		a.To4 = w.to
	}
	return len(pkts)
}
