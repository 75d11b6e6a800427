package offload

import (
	"encoding/binary"

	"paca/dataplane/count"
	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
	"paca/dataplane/port"
)

// MaxPieces is how many frames one frame may become: as many as 64 KiB have with a
// segment size of 256 bytes. A guest that asks for more asks for work, not for
// speed.
const MaxPieces = 256

// maxBuffers is how many buffers those may need. One is more than all but jumbo
// frames do.
const maxBuffers = 2 * MaxPieces

// Segmenter cuts long frames. It is one worker's.
type Segmenter struct {
	ident uint32 // next identification of IPv6 fragments
	bufs  [maxBuffers]*mbuf.Mbuf
}

// NewSegmenter makes a Segmenter whose IPv6 fragments have identifications from seed
// on. What other workers and hosts count from is better another number.
func NewSegmenter(seed uint32) *Segmenter { return &Segmenter{ident: seed} }

// Segment makes what p wants of the packet that l describes, that Read accepted and
// perhaps Fit made smaller, outer bytes into m
// (0: without outer header; else those that modes/nvgre put in front), and returns
// the frames in the order in which they must be sent; they are valid until the next
// call. If there was nothing to cut, the one frame is m itself, finished. If there
// was, m is as before and the caller's to free, and everything is in buffers of
// their own: nothing is shared. With a reason there are no frames, and m is as
// before.
//
// Where the device shall complete the checksums, m's flags ask it for that; then
// they are not computed here, and each segment has the flags and lengths of m but
// for what is done. Checksums of IP headers are always right.
//
//	outer Ethernet │ IP │ GRE │ Ethernet │ IP │ TCP │ payload......................
//	                 │                     │    │     ├── size ──┼── size ──┼─ rest ─┤
//	          length, ID +1         length, ID +1
//	             (O9)                  (O9)     │
//	                                 sequence number, FIN and PSH on the last,
//	                                 CWR on the first
func (s *Segmenter) Segment(pool port.Pool, m *mbuf.Mbuf, l *packet.Layout, outer int, p Pending) ([]*mbuf.Mbuf, count.Reason) {
	var c cut
	reason := c.measure(m, l, outer, p)
	switch {
	case reason != count.Kept:
		return nil, reason
	case c.n <= 1 && m.Segments() == 1 || p.Kind <= Checksum:
		m.SetFlags(m.Flags() &^ (mbuf.TxTCPSegment | mbuf.TxUDPSegment))
		if p.Kind != Nothing && m.Flags()&mbuf.TxL4Mask == 0 {
			Finish(m, l, outer)
		}
		s.bufs[0] = m
		return s.bufs[:1], count.Kept
	case c.n > MaxPieces:
		return nil, count.GSOUnsupported
	}
	if !s.alloc(pool, &c) {
		return nil, count.NoBuffer
	}
	if p.Kind == TCPSegments {
		s.tcp(&c)
	} else {
		s.udp(&c)
	}
	return s.bufs[:c.n], count.Kept
}

// cut is a frame while it is cut.
type cut struct {
	m       *mbuf.Mbuf
	l       *packet.Layout
	outer   int
	headers int // length of all that each piece begins with, of m
	insert  int // and of what comes behind that: an IPv6 fragment header
	payload int // in all
	size    int // of the payload of each piece but the last
	n       int // pieces
	per     int // buffers of each piece but the last
	flags   uint64
	tx      mbuf.TxOffload

	net [2]network // inner, outer
	end int        // of the packet, from the start of m
}

// measure finds what there is to do.
func (c *cut) measure(m *mbuf.Mbuf, l *packet.Layout, outer int, p Pending) count.Reason {
	frame := m.Data()[outer:]
	c.m, c.l, c.outer = m, l, outer
	c.end = outer + end(frame, l)
	c.headers = outer + int(l.L4)
	c.size = int(p.Size)
	switch p.Kind {
	case TCPSegments:
		c.headers += packet.TCP(frame[l.L4:]).HeaderLen()
	case UDPFragments:
		// Options would be for some fragments only, extension headers likewise.
		switch {
		case l.EtherType == packet.EtherTypeIPv4 && l.L4-l.L3 == packet.IPv4Len:
		case l.EtherType == packet.EtherTypeIPv6 && l.L4-l.L3 == packet.IPv6Len:
			c.insert = packet.IPv6FragmentLen
		default:
			return count.GSOUnsupported
		}
		if c.size >= c.end-c.headers {
			c.insert = 0
			break // one packet, and no fragment
		}
		c.size &^= 7
		if c.size == 0 {
			return count.GSOUnsupported
		}
	default:
		return count.Kept
	}
	c.payload = c.end - c.headers
	c.n = max((c.payload+c.size-1)/c.size, 1)
	return count.Kept
}

// alloc takes all buffers that the pieces need: their first ones, then the others.
func (s *Segmenter) alloc(pool port.Pool, c *cut) bool {
	heads := s.bufs[:c.n]
	if !pool.Alloc(heads) {
		return false
	}
	room := heads[0].Tailroom()
	if room < c.headers+c.insert+packet.UDPLen {
		pool.Free(heads)
		return false
	}
	buffers := func(payload int) int { return max((c.headers+c.insert+payload+room-1)/room, 1) }
	c.per = buffers(min(c.size, c.payload))
	more := (c.n-1)*(c.per-1) + buffers(c.payload-(c.n-1)*c.size) - 1
	if c.n+more > len(s.bufs) || more > 0 && !pool.Alloc(s.bufs[c.n:c.n+more]) {
		pool.Free(heads)
		return false
	}
	return true
}

// piece fills the buffers of piece i with headers as they are in m, and payload; it
// returns the former, and the sum of the latter, unless that is the device's.
func (s *Segmenter) piece(c *cut, i int, r *reader) (d []byte, payload int, sum uint32) {
	out := s.bufs[i]
	payload = min(c.size, c.payload-i*c.size)
	n := min(payload, out.Tailroom()-c.headers-c.insert)
	d = out.Append(c.headers + c.insert + n)
	copy(d, c.m.Data()[:c.headers])
	if c.flags&mbuf.TxL4Mask != 0 {
		r.copy(d[c.headers+c.insert:])
	} else {
		sum = r.copySum(d[c.headers+c.insert:])
	}
	for at, more := n, c.n+i*(c.per-1); at < payload; more++ {
		next := s.bufs[more]
		b := next.Append(min(payload-at, next.Tailroom()))
		sum += turned(r.copySum(b), at)
		at += len(b)
		out.Join(next)
	}
	out.SetFlags(c.flags)
	out.SetTxOffload(c.tx)
	out.SetVLANTCI(c.m.VLANTCI())
	return d[:c.headers+c.insert], payload, sum
}

// tcp makes the segments.
func (s *Segmenter) tcp(c *cut) {
	c.delegated()
	frame := c.m.Data()
	l4 := c.outer + int(c.l.L4)
	header := packet.TCP(frame[l4:c.headers])
	seq, flags := header.Seq(), header.Flags()
	length := c.headers - l4

	// What all segments have in common of the sum, and of the seed: what the first
	// has less what will change, which in one's complement is more of the opposite.
	pseudo := uint32(fold(uint32(header.Checksum()) + uint32(^uint16(c.end-l4))))
	base := sumOf(header) + uint32(^uint16(seq>>16)) + uint32(^uint16(seq)) + uint32(^uint16(flags)) + uint32(^header.Checksum()) + pseudo
	base = uint32(fold(base))

	c.networks()
	r := readFrom(c.m, c.headers)
	for i := range c.n {
		d, payload, sum := s.piece(c, i, &r)
		c.net[0].write(d, c.headers+payload, uint16(i), c.net[0].fragment)
		c.net[1].write(d, c.headers+payload, uint16(i), c.net[1].fragment)
		f := flags
		if i > 0 {
			f &^= packet.TCPCwr
		}
		if i < c.n-1 {
			f &^= packet.TCPFin | packet.TCPPsh
		}
		tcp := packet.TCP(d[l4:])
		tcp.SetSeq(seq)
		tcp.SetFlags(f)
		if c.flags&mbuf.TxL4Mask != 0 {
			tcp.SetChecksum(fold(pseudo + uint32(length+payload)))
		} else {
			tcp.SetChecksum(^fold(base + seq>>16 + seq&0xffff + uint32(f) + uint32(length+payload) + sum))
		}
		seq += uint32(payload)
	}
}

// udp makes the fragments. The checksum, in the first of them, is of all.
func (s *Segmenter) udp(c *cut) {
	c.flags = c.m.Flags() & mbuf.TxVLAN
	c.networks()
	v6 := c.l.EtherType == packet.EtherTypeIPv6
	r := readFrom(c.m, c.headers)
	var first []byte
	var total uint32
	for i := range c.n {
		d, payload, sum := s.piece(c, i, &r)
		total += uint32(fold(sum)) // pieces begin at even offsets
		fragment := uint16(i * c.size / 8)
		if i < c.n-1 {
			fragment |= packet.IPv4MoreFragments
		}
		if c.n == 1 {
			fragment = c.net[0].fragment
		}
		c.net[0].write(d, c.headers+c.insert+payload, 0, fragment)
		c.net[1].write(d, c.headers+c.insert+payload, uint16(i), c.net[1].fragment)
		if c.insert > 0 {
			packet.IPv6(d[c.net[0].at:]).SetNextHeader(packet.ProtoFragment)
			packet.IPv6Fragment(d[c.headers:]).Encode(packet.IPv6FragmentFields{
				NextHeader: packet.ProtoUDP, Offset: i * c.size, More: i < c.n-1, ID: s.ident,
			})
		}
		if i == 0 {
			first = s.bufs[0].Data()[c.headers+c.insert:]
		}
	}
	if v6 {
		s.ident++
	}
	sum := ^fold(total)
	if sum == 0 {
		sum = 0xffff
	}
	packet.UDP(first).SetChecksum(sum)
}

// delegated finds what each segment still asks of the device.
func (c *cut) delegated() {
	const done = mbuf.TxTCPSegment | mbuf.TxUDPSegment | mbuf.TxIPChecksum | mbuf.TxOuterIPChecksum
	c.flags = c.m.Flags() & mbuf.TxMask &^ done
	if c.flags&mbuf.TxL4Mask == 0 {
		c.flags &= mbuf.TxVLAN
		return
	}
	c.tx = c.m.TxOffload()
	c.tx.SegmentSize = 0
}

// network is an IP header of which each piece has one of its own.
type network struct {
	at       int // in the frame
	v4       bool
	sum      uint32 // of IPv4's header, without what changes
	id       uint16
	fragment uint16 // the word of flags and offset
}

// networks finds the IP headers. The outer one is that of modes/nvgre, and ends
// where GRE begins.
func (c *cut) networks() {
	frame := c.m.Data()
	c.net[0].find(frame, c.outer+int(c.l.L3), c.l.EtherType == packet.EtherTypeIPv4)
	c.net[1] = network{}
	if c.outer == 0 {
		return
	}
	etherType := packet.Ethernet(frame).EtherType()
	if etherType == packet.EtherTypeVLAN {
		etherType = binary.BigEndian.Uint16(frame[packet.EthernetLen+2:])
	}
	length := packet.IPv6Len
	if etherType == packet.EtherTypeIPv4 {
		length = packet.IPv4Len
	}
	c.net[1].find(frame, c.outer-packet.NVGRELen-length, etherType == packet.EtherTypeIPv4)
}

func (h *network) find(frame []byte, at int, v4 bool) {
	*h = network{at: at, v4: v4}
	if !v4 {
		return
	}
	ip := packet.IPv4(frame[at:])
	h.id, h.fragment = ip.ID(), ip.Fragment()
	h.sum = sumOf(ip[:ip.HeaderLen()]) +
		uint32(^ip.TotalLen()) + uint32(^h.id) + uint32(^h.fragment) + uint32(^ip.Checksum())
}

// write makes the header in d right for a piece that ends at end: its length, and for
// IPv4 identification, fragment word and checksum. There is none at 0.
func (h *network) write(d []byte, end int, id, fragment uint16) {
	switch {
	case h.at == 0:
	case h.v4:
		ip := packet.IPv4(d[h.at:])
		length := uint16(end - h.at)
		id += h.id
		ip.SetTotalLen(length)
		ip.SetID(id)
		ip.SetFragment(fragment)
		ip.SetChecksum(^fold(h.sum + uint32(length) + uint32(id) + uint32(fragment)))
	default:
		packet.IPv6(d[h.at:]).SetPayloadLen(uint16(end - h.at - packet.IPv6Len))
	}
}
