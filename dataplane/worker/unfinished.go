package worker

import (
	"math"

	"paca/dataplane/count"
	"paca/dataplane/fib"
	"paca/dataplane/mbuf"
	"paca/dataplane/offload"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
	"paca/dataplane/unseen"
)

// A frame may come unfinished: without its TCP or UDP checksum, or larger than any
// link takes and to be cut, up to 64 KiB in several buffers. Who left that to others
// says so in the buffer's flags, which are tested once, where the frame comes in.
// What is left to do then stays with it until it leaves:
//
//	to a port whose device does it ──► handed over (O20-O24, O28)
//	to one whose device does not ──► done here, before a mode sees it (Segmenter), but
//	                                 for the checksums of what was cut, if it does these
//
// so that the wire sees the same bytes either way. Detours that make, copy or cut
// frames have checksums completed first.

// unfinished are the flags that a finished frame has none of. RxL4ChecksumBad is the
// half of None that Good does not have.
const unfinished = mbuf.RxLRO | mbuf.RxL4ChecksumBad

// Unfinished is what takes the place of a Mode's Egress for frames that are left
// unfinished for the device, which it tells so.
type Unfinished = func(pkts []*mbuf.Mbuf, hops []fib.Hop, left []offload.Pending, drops []count.Reason, events *count.Events)

// way is how unfinished frames leave by a port.
type way struct {
	uses   mbuf.Offloads
	most   int                           // buffers of a packet
	egress [policy.NumModes]Unfinished   // nil: none does
	upTo   [policy.NumModes]offload.Kind // what egress may be given
}

// adopt takes a Plug into use and chooses how unfinished frames leave by its ports.
func (w *Worker) adopt(plug *Plug) {
	was := w.ports
	w.plug, w.ports = plug, plug.Ports
	clear(w.ways)
	for i, p := range plug.Ports {
		if p == nil {
			if i < len(was) && was[i] != nil {
				w.limits[i].forget()
			}
			continue
		}
		way := &w.ways[i]
		o := p.Offloads()
		way.uses, way.most = o.Uses, o.Buffers
		if way.most == 0 {
			way.most = math.MaxInt
		}
		for mode, m := range w.Modes {
			if m != nil {
				way.egress[mode], way.upTo[mode] = m.Offload(way.uses)
			}
		}
	}
}

// received is inspect for a frame from an uplink, whose device may have taken a tag out.
// Of tunnel traffic the layout has it, whatever the data have; to others it is put
// back.
func (w *Worker) received(m *mbuf.Mbuf, l *packet.Layout, left *offload.Pending) bool {
	switch {
	case m.Flags()&mbuf.RxVLANStripped == 0:
	case l.Proto == packet.ProtoGRE && l.Tags == 0:
		l.Tags, l.TCI = 1, m.VLANTCI()
	case !tag(m):
		w.drop(m, count.Headroom)
		return false
	default:
		if fault := packet.ParseHead(m.Data(), m.Len(), l); fault != packet.OK {
			w.drop(m, count.Reason(fault))
			return false
		}
	}
	if m.Flags()&unfinished == 0 && m.Segments() == 1 {
		return true
	}
	return w.inspect(m, l, left)
}

// fault ends a frame that Parse did not accept, unless the fault is that it has several
// buffers, and ParseHead does.
func (w *Worker) fault(m *mbuf.Mbuf, l *packet.Layout, fault packet.Fault) bool {
	if m.Segments() != 1 {
		fault = packet.ParseHead(m.Data(), m.Len(), l)
	}
	if fault != packet.OK {
		w.drop(m, count.Reason(fault))
		return true
	}
	return false
}

// inspect finds out what is left to do for a frame with a flag of unfinished, or in
// several buffers. It reports false for one that goes no further.
func (w *Worker) inspect(m *mbuf.Mbuf, l *packet.Layout, left *offload.Pending) bool {
	var reason count.Reason
	if *left, reason = offload.Read(m, l); reason != count.Kept {
		w.drop(m, reason)
		return false
	}
	return true
}

// sizeOf is the largest IP packet in bytes that a frame becomes: what limits are
// compared with (M12).
func sizeOf(m *mbuf.Mbuf, l *packet.Layout, left offload.Pending) int {
	whole := m.Len() - int(l.L3)
	size := int(l.L4-l.L3) + int(left.Size)
	switch left.Kind {
	case offload.TCPSegments:
		size += packet.TCP(m.Data()[l.L4:]).HeaderLen()
	case offload.UDPFragments:
		if l.EtherType == packet.EtherTypeIPv6 {
			size += packet.IPv6FragmentLen
		}
	default:
		return whole
	}
	return min(size, whole)
}

// leastCut is the smallest segment in bytes of payload that a card is asked to make: some
// refuse smaller ones (256 is i40e's), and nobody is in a hurry with such.
const leastCut = 256

// does is what a port's device, that is given all up to some kind, does of what is left
// to do for a frame: all of it, Checksum where it does not cut, or Nothing.
func (y *way) does(upTo offload.Kind, m *mbuf.Mbuf, l *packet.Layout, left offload.Pending) offload.Kind {
	switch {
	case !offload.Plain(m.Data(), l):
		return offload.Nothing
	case m.Segments() > y.most, left.Kind == offload.TCPSegments && left.Size < leastCut:
		upTo = min(upTo, offload.Checksum)
	}
	switch {
	case left.Kind <= upTo:
		return left.Kind
	case left.Kind == offload.TCPSegments:
		return upTo
	}
	return offload.Nothing // UDPFragments have none of their own
}

// deliver sends an unfinished frame to a VM, or to the host's kernel: as it is, if
// the port takes it so, else finished as far as it does not.
func (w *Worker) deliver(to uint16, m *mbuf.Mbuf, l *packet.Layout, left offload.Pending) {
	y, upTo := &w.ways[to], offload.Nothing
	switch {
	case y.uses.Has(mbuf.SendTSO):
		upTo = offload.TCPSegments
	case y.uses.Has(mbuf.SendL4Checksum):
		upTo = offload.Checksum
	}
	frames, left := w.finished(m, l, left, y.does(upTo, m, l, left))
	for _, c := range frames {
		if left.Kind != offload.Nothing {
			offload.Delegate(c, l, left)
		}
		if y.uses.Has(mbuf.SendIPv4Checksum) {
			offload.DelegateHeader(c)
		}
		w.send(to, c)
	}
}

// leave puts an unfinished frame on the way over the fabric to dst.
func (w *Worker) leave(f *fib.FIB, dst *fib.Entry, adj *fib.Adj, o *outbound) {
	y := &w.ways[adj.Port]
	hash, tos := packet.FlowHash(o.m.Data(), &o.l), packet.TOS(o.m.Data(), &o.l)
	frames, left := w.finished(o.m, &o.l, o.left, y.does(y.upTo[dst.Mode], o.m, &o.l, o.left))
	for _, c := range frames {
		var h *fib.Hop
		if left.Kind == offload.Nothing {
			h = w.through(c, dst.Mode)
		} else {
			h = w.throughUnfinished(c, dst.Mode, adj.Port, left)
		}
		h.Entry, h.PA, h.Adj, h.Hash, h.TOS = unseen.To(dst), unseen.To(f.Remote(dst)), unseen.To(adj), hash, tos
		packet.ParseHead(c.Data(), c.Len(), &h.Layout)
	}
}

// throughUnfinished is through for a frame of which something is left to the device of
// the port that it leaves by.
func (w *Worker) throughUnfinished(m *mbuf.Mbuf, mode policy.Mode, to uint16, left offload.Pending) *fib.Hop {
	lane := &w.lanes[mode]
	if lane.n > 0 && lane.to != to || lane.n == len(lane.pkts) {
		w.encap(mode) // in the order in which they came
	}
	lane.to, lane.egress = to, w.ways[to].egress[mode]
	n := lane.n
	lane.n++
	lane.several = true
	lane.pkts[n], lane.left[n] = unseen.To(m), left
	return &lane.hops[n]
}

// finished does in software what is left to do for a frame but for rest, which is the
// device's, and returns what it becomes and what is left for each; the frames are valid
// until the next call.
func (w *Worker) finished(m *mbuf.Mbuf, l *packet.Layout, left offload.Pending, rest offload.Kind) ([]*mbuf.Mbuf, offload.Pending) {
	if left.Kind == rest {
		w.largePkt[0] = m
		return w.largePkt[:], left
	}
	frames, reason := w.cutter.Segment(w.Pool, m, l, left, rest)
	if reason != count.Kept {
		w.drop(m, reason)
		return nil, left
	}
	switch {
	case frames[0] != m:
		w.events[count.Segments] += uint32(len(frames) - 1)
		w.discard(m)
	case rest == offload.Nothing:
		w.events[count.Checksums]++
	}
	return frames, offload.Pending{Kind: rest}
}

// finish completes the checksum of a frame that goes by a detour, in place. It
// reports false for one that cannot be finished without being cut, and was dropped.
func (w *Worker) finish(o *outbound) bool {
	switch o.left.Kind {
	case offload.Nothing:
	case offload.Checksum:
		offload.Finish(o.m, &o.l)
		w.events[count.Checksums]++
		o.left = offload.Pending{}
	default:
		w.drop(o.m, count.GSOUnsupported)
		return false
	}
	return true
}

// shrink has an unfinished frame cut into pieces that fit into limit bytes (M12). It
// reports false for one that is not to be cut, or has headers that do not fit.
func (o *outbound) shrink(limit int) bool {
	if o.left.Kind <= offload.Checksum {
		return false
	}
	left, ok := o.left.Fit(o.m.Data(), &o.l, limit)
	if !ok {
		return false
	}
	o.left = left
	size := int32(sizeOf(o.m, &o.l, left))
	smaller := size < o.size
	o.size = size
	return smaller
}

// restore brings an unfinished packet of the fabric to the VM whose PA it is for. It
// stays unfinished if the VM takes it so.
func (w *Worker) restore(f *fib.FIB, m *mbuf.Mbuf, left offload.Pending, mode policy.Mode, arrival fib.Arrival) {
	if w.Modes[mode] == nil {
		w.drop(m, count.ModeMissing)
		return
	}
	if before := &w.inbound[mode]; before.n > 0 {
		w.decap(f, w.Modes[mode], before) // in the order in which they came
	}
	pkts, reasons := w.largePkt[:], w.reasons[:1]
	pkts[0], reasons[0] = m, count.Kept
	a := &w.large
	a[0] = arrival
	a[0].Cut = left.Kind != offload.Checksum
	w.Modes[mode].IngressUnfinished(f, pkts, a[:], reasons, &w.events)
	switch {
	case reasons[0] != count.Kept:
		w.drop(m, reasons[0])
	case a[0].Kind != fib.ToVM: // ICMP is never unfinished
		w.drop(m, count.ChecksumUnsupported)
	default:
		packet.ParseHead(m.Data(), m.Len(), &a[0].Outer)
		fits, ok := left.Fit(m.Data(), &a[0].Outer, int(f.Ports[a[0].Port].MTU)) // M12
		if !ok {
			w.drop(m, count.MTUExceeded)
			return
		}
		w.deliver(a[0].Port, m, &a[0].Outer, fits)
	}
}

// wholeToHost sends a frame from an uplink to the host's kernel, which wants it
// finished and tagged.
func (w *Worker) wholeToHost(peer uint16, m *mbuf.Mbuf) {
	if !tag(m) {
		w.drop(m, count.Headroom)
		return
	}
	l := &w.part.l
	packet.ParseHead(m.Data(), m.Len(), l) // was OK before
	var left offload.Pending
	switch {
	case m.Flags()&unfinished != 0 && !w.inspect(m, l, &left):
	case left.Kind == offload.Nothing:
		w.send(peer, m)
	default:
		w.deliver(peer, m, l, left)
	}
}

// tag puts the VLAN tag back that a device took out of a frame. It reports false for
// one without the room.
func tag(m *mbuf.Mbuf) bool {
	if m.Flags()&mbuf.RxVLANStripped == 0 {
		return true
	}
	frame := m.Prepend(packet.VLANLen)
	if frame == nil {
		return false
	}
	copy(frame, frame[packet.VLANLen:][:2*len(packet.MAC{})])
	packet.VLAN(frame[2*len(packet.MAC{}):]).Encode(packet.VLANFields{TPID: packet.EtherTypeVLAN, TCI: m.VLANTCI()})
	m.SetFlags(m.Flags() &^ (mbuf.RxVLAN | mbuf.RxVLANStripped))
	return true
}

// join puts TCP segments from the fabric together into longer frames, for a VM that
// takes such: it handles each as one packet.
func (w *Worker) join(to uint16, pkts []*mbuf.Mbuf) []*mbuf.Mbuf {
	y := &w.ways[to]
	w.joiner.Believe, w.joiner.Most = w.ways[w.in].uses.Has(mbuf.ReceiveL4Checksum), y.most
	n := w.joiner.Coalesce(pkts)
	if n == len(pkts) {
		return pkts
	}
	w.events[count.Coalesced] += uint32(len(pkts) - n)
	if y.uses.Has(mbuf.SendIPv4Checksum) {
		for _, m := range pkts[:n] {
			offload.DelegateHeader(m)
		}
	}
	return pkts[:n]
}

// forgetOuter takes back what a device said of the checksum of TCP or UDP, unless it was
// of the inner headers (O31).
func forgetOuter(pkts []*mbuf.Mbuf) {
	const innerL4 = 0xf000000 // RTE_PTYPE_INNER_L4_MASK
	for _, m := range pkts {
		if m.Flags()&mbuf.RxL4ChecksumMask != 0 && m.PacketType()&innerL4 == 0 {
			m.SetFlags(m.Flags() &^ mbuf.RxL4ChecksumMask)
		}
	}
}

// forgetVerdicts is for when packets come from another uplink: most devices have none,
// and nothing is written for them.
func (w *Worker) forgetVerdicts() {
	for mode := range w.inbound {
		for i := range w.inbound[mode].arrivals {
			w.inbound[mode].arrivals[i].Verified = false
		}
	}
}

// verified says whether a device that looks at outer checksums found that of a tunnel
// packet right: only of what it knew for a tunnel does it tell (O30, O31).
func verified(m *mbuf.Mbuf) bool {
	const (
		tunnels  = 0xf000 // RTE_PTYPE_TUNNEL_MASK
		gre      = 0x2000
		nvgre    = 0x4000
		greOther = 0x6000   // RTE_PTYPE_TUNNEL_GRENAT
		inner    = 0xf00000 // RTE_PTYPE_INNER_L3_MASK
	)
	switch t := m.PacketType(); {
	case t&inner == 0:
		return false
	case t&tunnels != gre && t&tunnels != nvgre && t&tunnels != greOther:
		return false
	}
	return m.Flags()&mbuf.RxOuterIPChecksumBad == 0
}
