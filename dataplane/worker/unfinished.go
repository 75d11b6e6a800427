package worker

import (
	"paca/dataplane/count"
	"paca/dataplane/fib"
	"paca/dataplane/mbuf"
	"paca/dataplane/offload"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
)

// A frame may come unfinished: without its TCP or UDP checksum, or larger than any
// link takes and to be cut, up to 64 KiB in several buffers. Who left that to others
// says so in the buffer's flags, which are tested once, where the frame comes in.
// What is left to do then stays with it until it leaves:
//
//	to a port whose device does it ──► handed over (O20-O24, O28)
//	to one whose device does not ──► done here, before a mode sees it (Segmenter)
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
	egress [policy.NumModes]Unfinished   // nil: none does
	upTo   [policy.NumModes]offload.Kind // what egress may be given
}

// adopt takes a Plug into use and chooses how unfinished frames leave by its ports.
func (w *Worker) adopt(plug *Plug) {
	w.plug, w.ports = plug, plug.Ports
	clear(w.ways)
	for i, p := range plug.Ports {
		if p == nil {
			continue
		}
		way := &w.ways[i]
		way.uses = p.Offloads().Uses
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

// takes says whether a port's device does what is left to do for a frame.
func (y *way) takes(m *mbuf.Mbuf, l *packet.Layout, left offload.Pending) bool {
	if !offload.Plain(m.Data(), l) {
		return false
	}
	switch left.Kind {
	case offload.Nothing:
		return true
	case offload.Checksum:
		return y.uses.Has(mbuf.SendL4Checksum)
	case offload.TCPSegments:
		return y.uses.Has(mbuf.SendTSO)
	}
	return false // UDPFragments
}

// deliver sends an unfinished frame to a VM, or to the host's kernel: as it is, if
// the port takes it so, else finished.
func (w *Worker) deliver(to uint16, m *mbuf.Mbuf, l *packet.Layout, left offload.Pending) {
	y := &w.ways[to]
	if y.takes(m, l, left) {
		offload.Delegate(m, l, left)
		switch {
		case m.Flags()&mbuf.TxIPChecksum == 0:
		case y.uses.Has(mbuf.SendIPv4Checksum):
			packet.IPv4(m.Data()[l.L3:]).SetChecksum(0) // O22
		default:
			m.SetFlags(m.Flags() &^ mbuf.TxIPChecksum) // it is right as it is
		}
		w.send(to, m)
		return
	}
	for _, c := range w.finished(m, l, left) {
		w.send(to, c)
	}
}

// leave puts an unfinished frame on the way over the fabric to dst.
func (w *Worker) leave(f *fib.FIB, dst *fib.Entry, adj *fib.Adj, o *outbound) {
	y := &w.ways[adj.Port]
	hash := packet.FlowHash(o.m.Data(), &o.l)
	if o.left.Kind > y.upTo[dst.Mode] || !offload.Plain(o.m.Data(), &o.l) {
		for _, c := range w.finished(o.m, &o.l, o.left) {
			h := w.through(c, dst.Mode)
			h.Entry, h.PA, h.Adj, h.Hash = dst, f.Remote(dst), adj, hash
			packet.ParseHead(c.Data(), c.Len(), &h.Layout)
		}
		return
	}
	lane := &w.lanes[dst.Mode]
	if lane.n > 0 && lane.to != adj.Port || lane.n == len(lane.pkts) {
		w.encap(dst.Mode) // in the order in which they came
	}
	lane.to, lane.egress = adj.Port, y.egress[dst.Mode]
	n := lane.n
	lane.n++
	lane.pkts[n], lane.left[n] = o.m, o.left
	h := &lane.hops[n]
	h.Entry, h.PA, h.Adj, h.Layout, h.Hash = dst, f.Remote(dst), adj, o.l, hash
}

// finished does in software what is left to do for a frame, and returns what it
// becomes; those are valid until the next call.
func (w *Worker) finished(m *mbuf.Mbuf, l *packet.Layout, left offload.Pending) []*mbuf.Mbuf {
	frames, reason := w.cutter.Segment(w.Pool, m, l, 0, left)
	if reason != count.Kept {
		w.drop(m, reason)
		return nil
	}
	if frames[0] == m {
		w.events[count.Checksums]++
		return frames
	}
	w.events[count.Segments] += uint32(len(frames) - 1)
	w.discard(m)
	return frames
}

// finish completes the checksum of a frame that goes by a detour, in place. It
// reports false for one that cannot be finished without being cut, and was dropped.
func (w *Worker) finish(o *outbound) bool {
	switch o.left.Kind {
	case offload.Nothing:
	case offload.Checksum:
		offload.Finish(o.m, &o.l, 0)
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
func (w *Worker) restore(f *fib.FIB, m *mbuf.Mbuf, l *packet.Layout, left offload.Pending, own uint16, mode policy.Mode) {
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
	a[0] = fib.Arrival{Outer: *l, PA: own, Cut: left.Kind != offload.Checksum}
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
func (w *Worker) join(pkts []*mbuf.Mbuf) []*mbuf.Mbuf {
	w.joiner.Believe = w.ways[w.in].uses.Has(mbuf.ReceiveL4Checksum)
	n := w.joiner.Coalesce(pkts)
	if n == len(pkts) {
		return pkts
	}
	w.events[count.Coalesced] += uint32(len(pkts) - n)
	for _, m := range pkts[:n] {
		m.SetFlags(m.Flags() &^ mbuf.TxIPChecksum) // IPv4 headers are right as they are
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
