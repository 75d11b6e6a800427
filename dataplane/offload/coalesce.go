package offload

import (
	"bytes"
	"encoding/binary"

	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
)

// maxFlows is how many flows of one burst are put together at a time; of more, the
// rest stays as it is.
const maxFlows = 64

// maxLong is the longest frame in bytes that is made, Ethernet header included.
const maxLong = 1<<16 - 1

// Coalescer puts the TCP segments of a burst together into long frames, for one guest
// that takes such (VIRTIO_NET_F_GUEST_TSO4 and 6). What it makes, Segmenter would cut
// into what it was made of, but for the identifications of packets that must not be
// fragmented. The frames of one flow stay in order. It is one worker's.
type Coalescer struct {
	// Believe says that the device was asked to look at checksums: drivers say something
	// of them whether it was or not.
	Believe bool
	// Most is how many buffers the guest's card takes one frame in.
	Most int

	hashes [maxFlows]uint32 // of flows
	flows  [maxFlows]flow
	n      int
}

// flow is a frame that may get longer.
type flow struct {
	head, tail *mbuf.Mbuf // its first and last segment
	l          packet.Layout
	seq        uint32 // that comes next
	end        int    // of the packet, with everything that was put behind it
	headers    int    // their length
	size       int    // payload of each segment
	merged     int    // segments behind the first
	push       uint8  // PSH, if the last one had it
}

// Coalesce moves what is left of pkts to its front and returns how much that is. A
// frame that grew is where its first segment was, of several segments, with flags
// for the guest's virtio header; the others are as before, but for padding. Frames whose
// checksum is left to the guest's card (Delegate) are taken as well. Verdicts on
// checksums in the frames' flags, if they are to be believed, must be about the frames as
// they are, not about an outer header that was taken off (O31); without one, what is put
// together is checked first, so that nothing that is broken gets into a frame that a
// guest does not check any more.
func (c *Coalescer) Coalesce(pkts []*mbuf.Mbuf) int {
	left := 0
	for _, m := range pkts {
		if !c.take(m) {
			pkts[left] = m
			left++
		}
	}
	c.flush()
	return left
}

// take says whether m became part of a frame before it.
func (c *Coalescer) take(m *mbuf.Mbuf) bool {
	var f flow
	head := m.Data()
	if packet.ParseHead(head, m.Len(), &f.l) != packet.OK || f.l.Proto != packet.ProtoTCP {
		return false
	}
	if f.l.L4 == 0 || f.l.Flags&packet.IsFragment != 0 {
		c.flush() // of whose flow it is the ports do not tell
		return false
	}
	hash := packet.FlowHash(head, &f.l)
	at := c.find(hash, head, &f.l)
	fit := f.begin(m)
	if at >= 0 {
		e := &c.flows[at]
		if fit && e.takes(&f, c) {
			e.add(&f)
			if f.push != 0 || f.size < e.size {
				c.close(at)
			}
			return true
		}
		c.close(at) // what comes later may not pass this one
	}
	if fit && c.n < maxFlows {
		c.hashes[c.n], c.flows[c.n] = hash, f
		c.n++
	}
	return false
}

// find is the place of the flow that a frame is of, or -1.
func (c *Coalescer) find(hash uint32, frame []byte, l *packet.Layout) int {
	for i, h := range c.hashes[:c.n] {
		if e := &c.flows[i]; h == hash && sameFlow(e.head.Data(), &e.l, frame, l) {
			return i
		}
	}
	return -1
}

// sameFlow compares addresses and ports.
func sameFlow(a []byte, la *packet.Layout, b []byte, lb *packet.Layout) bool {
	if la.EtherType != lb.EtherType || binary.BigEndian.Uint32(a[la.L4:]) != binary.BigEndian.Uint32(b[lb.L4:]) {
		return false
	}
	if la.EtherType == packet.EtherTypeIPv4 {
		x, y := packet.IPv4(a[la.L3:]), packet.IPv4(b[lb.L3:])
		return x.SrcU32() == y.SrcU32() && x.DstU32() == y.DstU32()
	}
	x, y := packet.IPv6(a[la.L3:]), packet.IPv6(b[lb.L3:])
	return x.Src() == y.Src() && x.Dst() == y.Dst()
}

// begin makes a flow of one segment; false if m is none that may be put together
// with others: more than data of TCP, or not all there.
func (f *flow) begin(m *mbuf.Mbuf) bool {
	l, b := &f.l, m.Data()
	const foreign = mbuf.RxLRO | mbuf.TxMask&^(mbuf.TxTCPChecksum|mbuf.TxIPv4|mbuf.TxIPv6) // more than a checksum is left to do
	if m.Shared() || m.Flags()&foreign != 0 || l.Tags != 0 {
		return false
	}
	switch length := l.L4 - l.L3; {
	case l.EtherType == packet.EtherTypeIPv4 && length == packet.IPv4Len:
	case l.EtherType == packet.EtherTypeIPv6 && length == packet.IPv6Len:
	default:
		return false
	}
	tcp := packet.TCP(b[l.L4:])
	flags := tcp.Flags()
	if flags&packet.TCPAck == 0 || flags&^(packet.TCPAck|packet.TCPPsh|packet.TCPEce) != 0 {
		return false
	}
	f.headers = int(l.L4) + tcp.HeaderLen()
	if tcp.HeaderLen() < packet.TCPLen || f.headers >= int(l.End) {
		return false
	}
	f.end = end(b, l)
	if padding := m.Len() - f.end; padding > 0 && (m.Segments() > 1 || !m.Trim(padding)) {
		return false
	}
	f.size = f.end - f.headers
	f.seq = tcp.Seq() + uint32(f.size)
	f.push = flags & packet.TCPPsh
	f.head, f.tail = m, m
	for f.tail.Next() != nil {
		f.tail = f.tail.Next()
	}
	return true
}

// takes says whether g is the next segment of f: with the same in every header but
// for what TSO would change, no longer than the first, and sound.
func (f *flow) takes(g *flow, c *Coalescer) bool {
	a, b := f.head.Data(), g.head.Data()
	if f.headers != g.headers || g.size > f.size || f.end+g.size > maxLong || g.seq-uint32(g.size) != f.seq ||
		f.head.Segments()+g.head.Segments() > c.Most {
		return false
	}
	l3, l4 := int(f.l.L3), int(f.l.L4)
	x, y := packet.TCP(a[l4:f.headers]), packet.TCP(b[l4:f.headers])
	if x.Ack() != y.Ack() || x.Window() != y.Window() || x[12] != y[12] ||
		x.Flags() != y.Flags()&^packet.TCPPsh || x.Urgent() != y.Urgent() ||
		!bytes.Equal(x[packet.TCPLen:], y[packet.TCPLen:]) || !bytes.Equal(a[:l3], b[:l3]) {
		return false
	}
	if f.l.EtherType == packet.EtherTypeIPv4 {
		x, y := packet.IPv4(a[l3:]), packet.IPv4(b[l3:])
		if x.TOS() != y.TOS() || x.TTL() != y.TTL() || x.Fragment() != y.Fragment() ||
			!x.DontFragment() && y.ID() != x.ID()+uint16(f.merged)+1 {
			return false
		}
	} else {
		x, y := packet.IPv6(a[l3:]), packet.IPv6(b[l3:])
		if !bytes.Equal(x[:4], y[:4]) || x.HopLimit() != y.HopLimit() {
			return false
		}
	}
	return (f.merged > 0 || verified(f.head, &f.l, c.Believe)) && verified(g.head, &g.l, c.Believe)
}

// add puts g behind f.
func (f *flow) add(g *flow) {
	g.head.Adj(g.headers)
	f.head.JoinAfter(f.tail, g.head)
	f.tail = g.tail
	f.end += g.size
	f.seq = g.seq
	f.push = g.push
	f.merged++
}

// flush finishes all flows.
func (c *Coalescer) flush() {
	for i := range c.flows[:c.n] {
		c.flows[i].finish()
	}
	c.n = 0
}

// close finishes one.
func (c *Coalescer) close(at int) {
	c.flows[at].finish()
	c.n--
	c.hashes[at], c.flows[at] = c.hashes[c.n], c.flows[c.n]
}

// finish makes one packet of what was put together.
func (f *flow) finish() {
	if f.merged == 0 {
		return
	}
	frame := f.head.Data()
	if f.l.EtherType == packet.EtherTypeIPv4 {
		ip := packet.IPv4(frame[f.l.L3:])
		ip.SetTotalLen(uint16(f.end - int(f.l.L3)))
		ip.SetChecksum(0)
		ip.SetChecksum(^uint16(sumOf(ip[:packet.IPv4Len])))
	} else {
		packet.IPv6(frame[f.l.L3:]).SetPayloadLen(uint16(f.end - int(f.l.L4)))
	}
	f.l.Flags |= packet.Partial
	tcp := packet.TCP(frame[f.l.L4:])
	tcp.SetFlags(tcp.Flags() | f.push)
	tcp.SetChecksum(seed(frame, &f.l))
	Delegate(f.head, &f.l, Pending{Kind: TCPSegments, Size: uint16(f.size)})
}
