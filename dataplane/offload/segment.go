package offload

import (
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
// perhaps Fit made smaller, and returns the frames in the order in which they must be
// sent; they are valid until the next call. If there was nothing to cut, the one frame is
// m itself. If there was, m is as before and the caller's to free, and everything is in
// buffers of their own: nothing is shared. With a reason there are no frames, and m is as
// before.
//
// rest is what remains to be done for each frame: Nothing, or Checksum for TCP segments
// whose device completes that.
//
//	Ethernet │ IP │ TCP │ payload......................
//	            │    │     ├── size ──┼── size ──┼─ rest ─┤
//	  length, ID +1  │
//	      (O9)       │
//	            sequence number, FIN and PSH on the last,
//	            CWR on the first
func (s *Segmenter) Segment(pool port.Pool, m *mbuf.Mbuf, l *packet.Layout, p Pending, rest Kind) ([]*mbuf.Mbuf, count.Reason) {
	var c cut
	reason := c.measure(m, l, p)
	switch {
	case reason != count.Kept:
		return nil, reason
	case c.n <= 1 && m.Segments() == 1:
		if rest == Nothing {
			Finish(m, l)
		}
		s.bufs[0] = m
		return s.bufs[:1], count.Kept
	case c.n > MaxPieces:
		return nil, count.GSOUnsupported
	}
	if !s.alloc(pool, &c) {
		return nil, count.NoBuffer
	}
	c.net.find(m.Data(), l)
	if p.Kind == TCPSegments {
		s.tcp(&c, rest)
	} else {
		s.udp(&c)
	}
	return s.bufs[:c.n], count.Kept
}

// cut is a frame while it is cut.
type cut struct {
	m       *mbuf.Mbuf
	l       *packet.Layout
	headers int // length of all that each piece begins with, of m
	insert  int // and of what comes behind that: an IPv6 fragment header
	payload int // in all
	size    int // of the payload of each piece but the last
	n       int // pieces
	per     int // buffers of each piece but the last
	end     int // of the packet, from the start of m
	net     network
}

// measure finds what there is to do.
func (c *cut) measure(m *mbuf.Mbuf, l *packet.Layout, p Pending) count.Reason {
	frame := m.Data()
	c.m, c.l = m, l
	c.end = end(frame, l)
	c.headers = int(l.L4)
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
		c.n = 1
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
// returns the former, and the sum of the latter if that is wanted.
func (s *Segmenter) piece(c *cut, i int, r *reader, want bool) (d []byte, payload int, sum uint32) {
	out := s.bufs[i]
	payload = min(c.size, c.payload-i*c.size)
	n := min(payload, out.Tailroom()-c.headers-c.insert)
	d = out.Append(c.headers + c.insert + n)
	copy(d, c.m.Data()[:c.headers])
	if want {
		sum = r.copySum(d[c.headers+c.insert:])
	} else {
		r.copy(d[c.headers+c.insert:])
	}
	for at, more := n, c.n+i*(c.per-1); at < payload; more++ {
		next := s.bufs[more]
		b := next.Append(min(payload-at, next.Tailroom()))
		sum += turned(r.copySum(b), at)
		at += len(b)
		out.Join(next)
	}
	return d[:c.headers+c.insert], payload, sum
}

// tcp makes the segments.
func (s *Segmenter) tcp(c *cut, rest Kind) {
	frame := c.m.Data()
	l4 := int(c.l.L4)
	header := packet.TCP(frame[l4:c.headers])
	seq, flags := header.Seq(), header.Flags()
	length := c.headers - l4

	// What all segments have in common of the sum, and of the seed: what the first
	// has less what will change, which in one's complement is more of the opposite.
	pseudo := uint32(fold(uint32(header.Checksum()) + uint32(^uint16(c.end-l4))))
	base := sumOf(header) + uint32(^uint16(seq>>16)) + uint32(^uint16(seq)) + uint32(^uint16(flags)) + uint32(^header.Checksum()) + pseudo
	base = uint32(fold(base))

	r := readFrom(c.m, c.headers)
	for i := range c.n {
		d, payload, sum := s.piece(c, i, &r, rest == Nothing)
		c.net.write(d, c.headers+payload, c.net.id+uint16(i), c.net.fragment)
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
		if rest == Nothing {
			tcp.SetChecksum(^fold(base + seq>>16 + seq&0xffff + uint32(f) + uint32(length+payload) + sum))
		} else {
			tcp.SetChecksum(fold(pseudo + uint32(length+payload)))
		}
		seq += uint32(payload)
	}
}

// udp makes the fragments. The checksum, in the first of them, is of all.
func (s *Segmenter) udp(c *cut) {
	r := readFrom(c.m, c.headers)
	var first []byte
	var total uint32
	for i := range c.n {
		d, payload, sum := s.piece(c, i, &r, true)
		total += uint32(fold(sum)) // pieces begin at even offsets
		fragment := uint16(i * c.size / 8)
		if i < c.n-1 {
			fragment |= packet.IPv4MoreFragments
		}
		if c.n == 1 {
			fragment = c.net.fragment
		}
		c.net.write(d, c.headers+c.insert+payload, c.net.id, fragment)
		if c.insert > 0 {
			packet.IPv6(d[c.l.L3:]).SetNextHeader(packet.ProtoFragment)
			packet.IPv6Fragment(d[c.headers:]).Encode(packet.IPv6FragmentFields{
				NextHeader: packet.ProtoUDP, Offset: i * c.size, More: i < c.n-1, ID: s.ident,
			})
		}
		if i == 0 {
			first = s.bufs[0].Data()[c.headers+c.insert:]
		}
	}
	if c.insert > 0 {
		s.ident++
	}
	sum := ^fold(total)
	if sum == 0 {
		sum = 0xffff
	}
	packet.UDP(first).SetChecksum(sum)
}

// network is the IP header of which each piece has one of its own.
type network struct {
	at       int // in the frame
	v4       bool
	sum      uint32 // of IPv4's header, without what changes
	id       uint16
	fragment uint16 // the word of flags and offset
}

func (h *network) find(frame []byte, l *packet.Layout) {
	*h = network{at: int(l.L3), v4: l.EtherType == packet.EtherTypeIPv4}
	if !h.v4 {
		return
	}
	ip := packet.IPv4(frame[h.at:])
	h.id, h.fragment = ip.ID(), ip.Fragment()
	h.sum = sumOf(ip[:ip.HeaderLen()]) +
		uint32(^ip.TotalLen()) + uint32(^h.id) + uint32(^h.fragment) + uint32(^ip.Checksum())
}

// write makes the header in d right for a piece that ends at end: its length, and for
// IPv4 identification, fragment word and checksum.
func (h *network) write(d []byte, end int, id, fragment uint16) {
	if !h.v4 {
		packet.IPv6(d[h.at:]).SetPayloadLen(uint16(end - h.at - packet.IPv6Len))
		return
	}
	ip := packet.IPv4(d[h.at:])
	length := uint16(end - h.at)
	ip.SetTotalLen(length)
	ip.SetID(id)
	ip.SetFragment(fragment)
	ip.SetChecksum(^fold(h.sum + uint32(length) + uint32(id) + uint32(fragment)))
}
