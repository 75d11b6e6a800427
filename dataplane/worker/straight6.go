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
	if !p.Owns(src) || src.Flags&(fib.RouterCA|fib.LocalVM) != fib.LocalVM || w.Modes[src.Mode] == nil {
		return 0
	}
	mode := src.Mode
	lane := &w.lanes[mode]
	if lane.to != fib.None || lane.n+len(pkts) > len(lane.pkts) {
		w.encap(mode)
	}
	hops := lane.hops[lane.n:][:len(pkts)]
	link := p.MAC.Link(packet.EtherTypeIPv6)
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
		h6 := (*packet.Plain6)(front[:])
		end := h6.End(m.Len())
		if h6.Link() != link || *h6.SrcIP() != ca || end == 0 || clamps && h6.SYN() {
			break
		}
		w.cas6[n] = *h6.DstIP()
		hop.Plain = unseen.To((*packet.Plain4)(front[:])) // for its MACs
		if mode == policy.NVGRE {
			hop.Hash, hop.TOS = h6.Hash(), h6.TOS()
		} else {
			h6.Layout(end, &hop.Layout)
		}
	}
	f.LookupAll6(p.RD, w.cas6[:n], w.entries[:])
	n = lane.over(f.From(f.Locals[src.Dest].PA), pkts[:n], hops, w.entries[:n], p.VSID, mode)
	unseen.Copy(lane.pkts[lane.n:], pkts[:n])
	lane.n += n
	return n
}
