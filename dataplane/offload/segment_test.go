package offload

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"paca/dataplane/count"
	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
)

const room = mbuf.DefaultDataRoom - mbuf.Headroom

// longHeaders are the longest that sent makes: IPv6, tagged.
const longHeaders = 18 + 40 + 24 + 60

// check cuts what s says and compares with what s says.
func check(t *testing.T, h *mbuf.Heap, sg *Segmenter, s *sent, sizes ...int) {
	t.Helper()
	before := h.Available()
	whole := s.whole()
	m := h.Packet(whole, sizes...)
	if m == nil {
		t.Fatal("pool too small")
	}
	l := s.layout(t, m)
	ident := sg.ident
	frames, reason := sg.Segment(h, m, &l, s.pending(), Nothing)
	if reason != count.Kept || len(frames) != s.pieces() {
		t.Fatalf("%d frames, %v, want %d of %v", len(frames), reason, s.pieces(), s)
	}
	if n := s.pending().Pieces(whole, &l); n != len(frames) {
		t.Fatalf("Pieces says %d, it is %d", n, len(frames))
	}
	for i, f := range frames {
		want := s.piece(i)
		got := f.AppendTo(nil)
		if s.V6 && s.UDP && len(frames) > 1 {
			at := int(l.L4) + 4
			binary.BigEndian.PutUint32(want[at:], ident)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("piece %d of %d of %v\n got %x\nwant %x", i, len(frames), s, got, want)
		}
		if f.Len() != len(got) || f.Headroom() < mbuf.Headroom && f != m || f.Flags() != 0 {
			t.Fatalf("piece %d: %d bytes, headroom %d, flags %#x", i, f.Len(), f.Headroom(), f.Flags())
		}
		judge(t, got)
	}
	if s.V6 && s.UDP && len(frames) > 1 && sg.ident == ident {
		t.Fatal("the next packet's fragments would have the same identification")
	}
	if frames[0] != m {
		if got := m.AppendTo(nil); !bytes.Equal(got, whole) {
			t.Fatalf("the long frame was changed\n from %x\n   to %x", whole, got)
		}
		h.Free([]*mbuf.Mbuf{m})
	}
	h.Free(frames)
	if h.Available() != before {
		t.Fatalf("%d of %d buffers back; %v", h.Available(), before, s)
	}
}

// O9: every segment is what the guest would
// have sent itself, and gopacket finds every length and checksum right.
func TestO9Segments(t *testing.T) {
	r := random(t)
	h, sg := mbuf.NewHeap(3000, mbuf.DefaultDataRoom), NewSegmenter(1)
	for range 3000 {
		s := anything(r)
		check(t, h, sg, s, splits(r, longHeaders, room)...)
	}
}

// O26: what rte_gso cannot: IPv4 and IPv6, TCP and UDP, at 64 KiB.
func TestO26EveryFamily(t *testing.T) {
	r := random(t)
	h, sg := mbuf.NewHeap(3000, mbuf.DefaultDataRoom), NewSegmenter(1)
	for _, v6 := range []bool{false, true} {
		for _, udp := range []bool{false, true} {
			s := &sent{V6: v6, UDP: udp, Flags: packet.TCPAck | packet.TCPPsh,
				DF: true, ID: 7, TTL: 64, Size: 1400, Payload: fill(r, 65000),
				TCPOptions: []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}}
			check(t, h, sg, s, room)
		}
	}
}

// Flags, sequence numbers and identifications of TestO9Segments once in plain sight.
func TestO9PlainSight(t *testing.T) {
	h, sg := mbuf.NewHeap(20, mbuf.DefaultDataRoom), NewSegmenter(1)
	s := &sent{ID: 0xfffe, Seq: 0xfffffff0, Size: 100, Payload: make([]byte, 250), TTL: 64,
		Flags: packet.TCPAck | packet.TCPPsh | packet.TCPFin | packet.TCPCwr | packet.TCPEce}
	m := h.Packet(s.whole(), room)
	l := s.layout(t, m)
	frames, reason := sg.Segment(h, m, &l, s.pending(), Nothing)
	if reason != count.Kept || len(frames) != 3 {
		t.Fatalf("%d frames, %v", len(frames), reason)
	}
	const always = packet.TCPAck | packet.TCPEce
	for i, want := range []struct {
		id     uint16
		seq    uint32
		flags  uint8
		length int
	}{
		{0xfffe, 0xfffffff0, always | packet.TCPCwr, 100},
		{0xffff, 0x00000054, always, 100},
		{0x0000, 0x000000b8, always | packet.TCPPsh | packet.TCPFin, 50},
	} {
		b := frames[i].Data()
		ip, tcp := packet.IPv4(b[14:]), packet.TCP(b[34:])
		if ip.ID() != want.id || tcp.Seq() != want.seq || tcp.Flags() != want.flags || len(b) != 54+want.length || int(ip.TotalLen()) != len(b)-14 {
			t.Errorf("segment %d: identification %#x, sequence number %#x, flags %#x, %d bytes, of which the IP header tells %d", i, ip.ID(), tcp.Seq(), tcp.Flags(), len(b), ip.TotalLen())
		}
	}
}

// Behind jumbo frames a segment may need several buffers itself.
func TestO9JumboSegments(t *testing.T) {
	r := random(t)
	sg := NewSegmenter(1)
	h, odd := mbuf.NewHeap(1000, mbuf.DefaultDataRoom), mbuf.NewHeap(1000, mbuf.DefaultDataRoom-1)
	for range 300 {
		h, odd = odd, h
		s := anything(r)
		s.Size = 2000 + r.IntN(7000)
		s.Payload = fill(r, r.IntN(65000))
		check(t, h, sg, s, splits(r, longHeaders, room-1)...)
	}
}

// M12: segments get smaller until they fit the path; the frame is not dropped for
// its own length.
func TestM12Fit(t *testing.T) {
	for _, tt := range []struct {
		name  string
		s     sent
		limit int
		want  int // size; 0: does not fit
	}{
		{"fits", sent{Size: 1400}, 1458, 1400},
		{"exactly", sent{Size: 1418}, 1458, 1418},
		{"O20: 1500 - 42 - 40", sent{Size: 1460}, 1458, 1418},
		{"O20: with timestamps", sent{Size: 1448, TCPOptions: make([]byte, 12)}, 1458, 1406},
		{"IPv6", sent{Size: 1440, V6: true}, 1458, 1398},
		{"IPv6 in IPv6", sent{Size: 1440, V6: true}, 1438, 1378},
		{"IPv4 options", sent{Size: 1440, IPOptions: make([]byte, 8)}, 1458, 1410},
		{"extension header", sent{Size: 1440, V6: true, Extension: []byte{6, 0, 1, 4, 0, 0, 0, 0}}, 1458, 1390},
		{"one byte left", sent{Size: 1440}, 41, 1},
		{"nothing left", sent{Size: 1440}, 40, 0},
		{"limit below the headers", sent{Size: 1440}, 20, 0},
		{"fragments", sent{Size: 1480, UDP: true}, 1458, 1432},
		{"fragments that fit", sent{Size: 1400, UDP: true}, 1458, 1400},
		{"IPv6 fragments", sent{Size: 1432, UDP: true, V6: true}, 1438, 1384},
		{"no room for a fragment", sent{Size: 1432, UDP: true}, 27, 0},
	} {
		tt.s.Payload = make([]byte, 3000)
		h := mbuf.NewHeap(10, mbuf.DefaultDataRoom)
		m := h.Packet(tt.s.whole(), room)
		l := tt.s.layout(t, m)
		p, ok := tt.s.pending().Fit(m.Data(), &l, tt.limit)
		if ok != (tt.want != 0) || ok && int(p.Size) != tt.want {
			t.Errorf("%s: size %d, %v, want %d", tt.name, p.Size, ok, tt.want)
			continue
		}
		if !ok {
			continue
		}
		frames, reason := NewSegmenter(0).Segment(mbuf.NewHeap(4000, mbuf.DefaultDataRoom), m, &l, p, Nothing)
		if tt.want == 1 {
			if reason != count.GSOUnsupported {
				t.Errorf("%s: %v", tt.name, reason)
			}
			continue
		}
		for _, f := range frames {
			if f.Len()-14 > tt.limit {
				t.Errorf("%s: a packet of %d bytes", tt.name, f.Len()-14)
			}
		}
		if reason != count.Kept {
			t.Errorf("%s: %v", tt.name, reason)
		}
	}
	for _, p := range []Pending{{}, {Kind: Checksum}} {
		var l packet.Layout
		if got, ok := p.Fit(nil, &l, 10); !ok || got != p {
			t.Errorf("%+v, which is not to be cut, became %+v", p, got)
		}
	}
}

// Where the device has checksums but cannot cut (O24), segments leave with the seed.
func TestO24SeedsForTheDevice(t *testing.T) {
	r := random(t)
	h, sg := mbuf.NewHeap(3000, mbuf.DefaultDataRoom), NewSegmenter(1)
	for range 300 {
		s := anything(r)
		if s.UDP {
			continue
		}
		m := h.Packet(s.whole(), splits(r, longHeaders, room)...)
		l := s.layout(t, m)
		frames, reason := sg.Segment(h, m, &l, s.pending(), Checksum)
		if reason != count.Kept || len(frames) != s.pieces() {
			t.Fatalf("%d frames, %v", len(frames), reason)
		}
		for i, f := range frames {
			got, want := f.AppendTo(nil), s.piece(i)
			binary.BigEndian.PutUint16(got[l.L4+16:], ^slowSum(got[l.L4:])) // the device's part
			if !bytes.Equal(got, want) {
				t.Fatalf("segment %d of %v\n got %x\nwant %x", i, s, got, want)
			}
		}
		if frames[0] != m {
			h.Free([]*mbuf.Mbuf{m})
		}
		h.Free(frames)
	}
}

// What cannot be cut says so, and nothing is lost or leaks.
func TestO9Unsupported(t *testing.T) {
	big := make([]byte, 3000)
	for _, tt := range []struct {
		name   string
		s      sent
		change func(b []byte)
		first  int // size of the first segment
		pool   int
		want   count.Reason
	}{
		{name: "good", s: sent{Size: 1000}, pool: 3},
		{name: "pool too small", s: sent{Size: 1000}, pool: 2, want: count.NoBuffer},
		{name: "pool too small for jumbo", s: sent{Size: 2900}, pool: 2, want: count.NoBuffer},
		{name: "too many pieces", s: sent{Size: 11}, pool: 1000, want: count.GSOUnsupported},
		{name: "SYN", s: sent{Size: 1000, Flags: packet.TCPSyn}, pool: 9, want: count.GSOUnsupported},
		{name: "RST", s: sent{Size: 1000, Flags: packet.TCPRst | packet.TCPAck}, pool: 9, want: count.GSOUnsupported},
		{name: "urgent", s: sent{Size: 1000, Flags: packet.TCPUrg | packet.TCPAck}, pool: 9},
		{name: "data offset 4", s: sent{Size: 1000}, change: func(b []byte) { b[34+12] = 0x40 }, pool: 9, want: count.GSOUnsupported},
		{name: "no size", s: sent{}, pool: 9, want: count.GSOUnsupported},
		{name: "options beyond the first segment", s: sent{Size: 1000, TCPOptions: make([]byte, 12)}, first: 14 + 20 + 20, pool: 9, want: count.MultiSegment},
		{name: "options beyond the packet", s: sent{Size: 1000, Payload: []byte{}}, change: func(b []byte) { b[34+12] = 0x60 }, pool: 9, want: count.GSOUnsupported},
		{name: "fragments below 8 bytes", s: sent{Size: 7, UDP: true}, pool: 9, want: count.GSOUnsupported},
		{name: "UDP behind options", s: sent{Size: 1000, UDP: true, IPOptions: make([]byte, 4)}, pool: 9, want: count.GSOUnsupported},
		{name: "UDP behind an extension header", s: sent{Size: 1000, UDP: true, V6: true, Extension: []byte{17, 0, 1, 4, 0, 0, 0, 0}}, pool: 9, want: count.GSOUnsupported},
	} {
		s := tt.s
		if s.Payload == nil {
			s.Payload = big
		}
		if s.Flags == 0 {
			s.Flags = packet.TCPAck
		}
		b := s.whole()
		if tt.change != nil {
			tt.change(b)
		}
		first := room
		if tt.first != 0 {
			first = tt.first
		}
		m := mbuf.NewHeap(10, mbuf.DefaultDataRoom).Packet(b, first, room)
		l := s.layout(t, m)
		m.SetFlags(mbuf.RxLRO | mbuf.RxL4ChecksumNone)
		m.SetTxOffload(mbuf.TxOffload{SegmentSize: uint16(s.Size)})
		h := mbuf.NewHeap(tt.pool, mbuf.DefaultDataRoom)
		p, reason := Read(m, &l)
		var frames []*mbuf.Mbuf
		if reason == count.Kept {
			frames, reason = NewSegmenter(0).Segment(h, m, &l, p, Nothing)
		}
		if reason != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, reason, tt.want)
		}
		if reason != count.Kept && (len(frames) != 0 || h.Available() != tt.pool || !bytes.Equal(m.AppendTo(nil), b)) {
			t.Errorf("%s: %d frames, %d of %d buffers left, or the frame was changed", tt.name, len(frames), h.Available(), tt.pool)
		}
	}
}

// The pool's buffers may be too small for any header.
func TestTinyBuffers(t *testing.T) {
	s := sent{Size: 1000, Payload: make([]byte, 3000), Flags: packet.TCPAck}
	m := mbuf.NewHeap(10, mbuf.DefaultDataRoom).Packet(s.whole(), room)
	l := s.layout(t, m)
	h := mbuf.NewHeap(100, mbuf.Headroom+60)
	if _, reason := NewSegmenter(0).Segment(h, m, &l, s.pending(), Nothing); reason != count.NoBuffer || h.Available() != 100 {
		t.Errorf("%v, %d of 100 buffers left", reason, h.Available())
	}
}

func TestSegmentAllocatesNothing(t *testing.T) {
	h, sg := mbuf.NewHeap(300, mbuf.DefaultDataRoom), NewSegmenter(1)
	r := rand.New(rand.NewPCG(1, 1))
	for _, s := range []*sent{
		{Size: 1406, Payload: fill(r, 60000), Flags: packet.TCPAck},
		{V6: true, Size: 1406, Payload: fill(r, 60000), Flags: packet.TCPAck},
		{UDP: true, Size: 1406, Payload: fill(r, 60000)},
		{Size: 1406, Payload: fill(r, 60000), Flags: packet.TCPSyn},
		{Size: 8000, Payload: fill(r, 60000), Flags: packet.TCPAck},
		{Size: 1406, Payload: fill(r, 1000), Flags: packet.TCPAck},
	} {
		m := h.Packet(s.whole(), room)
		l := s.layout(t, m)
		if n := testing.AllocsPerRun(20, func() {
			frames, reason := sg.Segment(h, m, &l, s.pending(), Nothing)
			if reason == count.Kept && frames[0] != m {
				h.Free(frames)
			}
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
		h.Free([]*mbuf.Mbuf{m})
	}
}
