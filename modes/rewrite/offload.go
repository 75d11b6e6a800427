package rewrite

import (
	"paca/dataplane/count"
	"paca/dataplane/fib"
	"paca/dataplane/mbuf"
	"paca/dataplane/offload"
	"paca/dataplane/packet"
)

// Offload chooses what takes the place of Egress for frames that are left unfinished
// for a device that does what o says. A rewritten packet is like any other to it (R22),
// so that whatever it does for such it does for these (O28).
func (r *Rewrite) Offload(o mbuf.Offloads) (func([]*mbuf.Mbuf, []fib.Hop, []offload.Pending, []count.Reason, *count.Events), offload.Kind) {
	switch {
	case o.Has(mbuf.SendTSO | mbuf.SendIPv4Checksum):
		return r.withHeader, offload.TCPSegments
	case o.Has(mbuf.SendTSO):
		return r.without, offload.TCPSegments
	case o.Has(mbuf.SendL4Checksum):
		return r.without, offload.Checksum
	}
	return nil, offload.Nothing
}

// without is Egress for frames that the device finishes.
func (r *Rewrite) without(pkts []*mbuf.Mbuf, hops []fib.Hop, left []offload.Pending, drops []count.Reason, events *count.Events) {
	for i, m := range pkts {
		drops[i] = unfinished(m, &hops[i], left[i], events)
	}
}

// withHeader is without for a device that makes the checksums of the IPv4 headers of what
// it cuts itself.
func (r *Rewrite) withHeader(pkts []*mbuf.Mbuf, hops []fib.Hop, left []offload.Pending, drops []count.Reason, events *count.Events) {
	r.without(pkts, hops, left, drops, events)
	for i, m := range pkts {
		if drops[i] == count.Kept {
			offload.DelegateHeader(m)
		}
	}
}

// unfinished is Egress for one frame. What it has in place of a checksum is the sum of
// the pseudo-header, the addresses in it: that changes as they do, and is its complement
// for the time (R23).
func unfinished(m *mbuf.Mbuf, h *fib.Hop, left offload.Pending, events *count.Events) count.Reason {
	l := h.Layout
	offload.InvertSeed(m.Data(), &l)
	reason := egress(m, h, events)
	if reason == count.Kept {
		tag := uint16(len(h.Adj.Get().Link())) - l.L3
		l.L3 += tag
		l.L4 += tag
		l.End += tag
	}
	offload.InvertSeed(m.Data(), &l)
	if reason == count.Kept {
		offload.Delegate(m, &l, left)
	}
	return reason
}

// IngressUnfinished is Ingress for what a sender, or a device on the way, left
// unfinished (R23).
func (r *Rewrite) IngressUnfinished(f *fib.FIB, pkts []*mbuf.Mbuf, arrivals []fib.Arrival, drops []count.Reason, events *count.Events) {
	for i, m := range pkts {
		l := arrivals[i].Outer
		offload.InvertSeed(m.Data(), &l)
		r.Ingress(f, pkts[i:i+1], arrivals[i:i+1], drops[i:i+1], events)
		if drops[i] == count.Kept {
			tag := l.L3 - packet.EthernetLen // which is off
			l.L4 -= tag
			l.L3 -= tag
		}
		offload.InvertSeed(m.Data(), &l)
	}
}
