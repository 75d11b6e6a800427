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

// What drivers say of a frame, in flags: vhost's and virtio's receive side in DPDK
// 22.11, and what none of them should say.
func TestR23Read(t *testing.T) {
	const none, long = mbuf.RxL4ChecksumNone, mbuf.RxLRO
	frag := []byte{0x20, 0} // more fragments
	for _, tt := range []struct {
		name  string
		s     sent
		flags uint64
		patch []byte // over the fragment word
		want  Pending
		drop  count.Reason
	}{
		{name: "no flags"},
		{name: "NIC: good", flags: mbuf.RxL4ChecksumGood | mbuf.RxIPChecksumGood},
		{name: "NIC: bad", flags: mbuf.RxL4ChecksumBad | mbuf.RxIPChecksumBad},
		{name: "tag stripped", flags: mbuf.RxVLAN | mbuf.RxVLANStripped},
		{name: "NEEDS_CSUM, TCP", flags: none, want: Pending{Kind: Checksum}},
		{name: "NEEDS_CSUM, TCP, IPv6", s: sent{V6: true}, flags: none, want: Pending{Kind: Checksum}},
		{name: "NEEDS_CSUM, UDP", s: sent{UDP: true}, flags: none, want: Pending{Kind: Checksum}},
		{name: "GSO_TCPV4", s: sent{Size: 1448}, flags: none | long, want: Pending{TCPSegments, 1448}},
		{name: "GSO_TCPV6", s: sent{Size: 1428, V6: true}, flags: none | long, want: Pending{TCPSegments, 1428}},
		{name: "GSO_UDP", s: sent{Size: 1480, UDP: true}, flags: none | long, want: Pending{UDPFragments, 1480}},
		{name: "GSO, no size", flags: none | long, drop: count.GSOUnsupported},
		{name: "LRO of a NIC", s: sent{Size: 1448}, flags: mbuf.RxL4ChecksumGood | long, drop: count.GSOUnsupported},
		{name: "NEEDS_CSUM, fragment", patch: frag, flags: none, drop: count.ChecksumUnsupported},
		{name: "GSO, fragment", s: sent{Size: 1448}, patch: frag, flags: none | long, drop: count.GSOUnsupported},
	} {
		h := mbuf.NewHeap(1, mbuf.DefaultDataRoom)
		tt.s.Payload = make([]byte, 100)
		b := tt.s.whole()
		copy(b[20:], tt.patch)
		m := h.Packet(b, room)
		l := tt.s.layout(t, m)
		m.SetFlags(tt.flags)
		m.SetTxOffload(mbuf.TxOffload{SegmentSize: uint16(tt.s.Size)})
		if got, drop := Read(m, &l); got != tt.want || drop != tt.drop {
			t.Errorf("%s: %+v, %v; want %+v, %v", tt.name, got, drop, tt.want, tt.drop)
		}
	}

	// SCTP has a CRC, which no sum completes.
	h := mbuf.NewHeap(1, mbuf.DefaultDataRoom)
	m := h.Packet((&sent{Payload: make([]byte, 100)}).whole(), room)
	packet.IPv4(m.Data()[14:]).SetProtocol(132)
	for flags, want := range map[uint64]count.Reason{none: count.ChecksumUnsupported, none | long: count.GSOUnsupported} {
		var l packet.Layout
		packet.Parse(m.Data(), &l)
		m.SetFlags(flags)
		if _, drop := Read(m, &l); drop != want {
			t.Errorf("SCTP, flags %#x: %v, want %v", flags, drop, want)
		}
	}
}

// R23: the field has the sum of the pseudo-header, not complemented; what it becomes is
// right by the twin and by gopacket, over any number of segments of any length.
func TestR23Finish(t *testing.T) {
	r := random(t)
	h := mbuf.NewHeap(300, mbuf.DefaultDataRoom)
	for range 3000 {
		s := anything(r)
		s.Payload = s.Payload[:min(len(s.Payload), 5000)]
		s.Size = 1 << 20
		b := s.whole()
		padding := 0
		if r.IntN(4) == 0 {
			padding = 1 + r.IntN(20)
			b = append(b, fill(r, padding)...)
		}
		m := h.Packet(b, splits(r, longHeaders, room)...)
		if m == nil {
			continue // thousands of one-byte segments
		}
		l := s.layout(t, m)
		m.SetFlags(mbuf.RxL4ChecksumNone | mbuf.RxLRO | mbuf.RxIPChecksumGood)
		Finish(m, &l)
		got, want := m.AppendTo(nil), s.piece(0)
		if !bytes.Equal(got[:len(got)-padding], want) || !bytes.Equal(got[len(want):], b[len(want):]) {
			t.Fatalf("%v\n got %x\nwant %x", s, got, want)
		}
		judge(t, got[:len(want)])
		if m.Flags() != mbuf.RxIPChecksumGood {
			t.Fatalf("still pending: flags %#x", m.Flags())
		}
		h.Free([]*mbuf.Mbuf{m})
	}
}

// A UDP checksum that comes out as 0, which would say that there is none, is written
// as its other name (RFC 768); TCP's stays.
func TestR23Zero(t *testing.T) {
	for _, udp := range []bool{false, true} {
		for _, v6 := range []bool{false, true} {
			s := &sent{UDP: udp, V6: v6, Payload: make([]byte, 3000), Size: 1 << 20}
			at := 16
			if udp {
				at = 6
			}
			l4 := 34
			if v6 {
				l4 = 54
			}
			// The word that was the checksum, in the payload, makes the sum all ones.
			copy(s.Payload[8:], s.piece(0)[l4+at:][:2])
			h := mbuf.NewHeap(10, mbuf.DefaultDataRoom)
			m := h.Packet(s.whole(), room)
			l := s.layout(t, m)
			Finish(m, &l)
			want := uint16(0)
			if udp {
				want = 0xffff
			}
			if got := binary.BigEndian.Uint16(m.Data()[l4+at:]); got != want {
				t.Errorf("UDP %v, IPv6 %v: checksum %#04x, want %#04x", udp, v6, got, want)
			}
			if !udp {
				continue
			}
			s.Size = 1000
			m = h.Packet(s.whole(), room)
			frames, reason := NewSegmenter(0).Segment(h, m, &l, s.pending(), Nothing)
			if reason != count.Kept {
				t.Fatal(reason)
			}
			l4 = int(l.L4)
			if v6 {
				l4 += 8
			}
			if got := binary.BigEndian.Uint16(frames[0].Data()[l4+at:]); got != 0xffff {
				t.Errorf("in the first fragment, IPv6 %v: checksum %#04x", v6, got)
			}
		}
	}
}

// The seed that is written is the one that is read.
func TestR23Seed(t *testing.T) {
	r := random(t)
	h := mbuf.NewHeap(100, mbuf.DefaultDataRoom)
	for range 300 {
		s := anything(r)
		s.Extension = nil // with a routing header only the sender knows
		m := h.Packet(s.whole(), room)
		l := s.layout(t, m)
		l4 := s.udp()
		if !s.UDP {
			l4 = s.tcp(0, 0, s.Payload)
		}
		if got, want := seed(m.Data(), &l), slowSum(s.pseudo(len(l4))); got != want {
			t.Fatalf("%v: %#04x, want %#04x", s, got, want)
		}
		h.Free([]*mbuf.Mbuf{m})
	}
}

// O28: what is left to the device, in its words.
func TestO28Delegate(t *testing.T) {
	timestamps := []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}
	for _, tt := range []struct {
		name  string
		s     sent
		kind  Kind
		flags uint64
		tx    mbuf.TxOffload
	}{
		{"checksum", sent{}, Checksum, mbuf.TxIPv4 | mbuf.TxTCPChecksum, mbuf.TxOffload{L2Len: 14, L3Len: 20, L4Len: 20}},
		{"UDP checksum, IPv6", sent{V6: true, UDP: true}, Checksum, mbuf.TxIPv6 | mbuf.TxUDPChecksum, mbuf.TxOffload{L2Len: 14, L3Len: 40, L4Len: 8}},
		{"TSO", sent{TCPOptions: timestamps, Size: 1448}, TCPSegments, mbuf.TxIPv4 | mbuf.TxTCPChecksum | mbuf.TxTCPSegment,
			mbuf.TxOffload{L2Len: 14, L3Len: 20, L4Len: 32, SegmentSize: 1448}},
		{"TSO, IPv6, tagged", sent{V6: true, Tag: true, Size: 1428}, TCPSegments, mbuf.TxIPv6 | mbuf.TxTCPChecksum | mbuf.TxTCPSegment,
			mbuf.TxOffload{L2Len: 18, L3Len: 40, L4Len: 20, SegmentSize: 1428}},
	} {
		h := mbuf.NewHeap(10, mbuf.DefaultDataRoom)
		tt.s.Payload = make([]byte, 3000)
		m := h.Packet(tt.s.whole(), room)
		l := tt.s.layout(t, m)
		m.SetFlags(mbuf.RxLRO | mbuf.RxL4ChecksumNone)
		if Delegate(m, &l, Pending{tt.kind, uint16(tt.s.Size)}); m.Flags() != tt.flags || m.TxOffload() != tt.tx {
			t.Errorf("%s: flags %#x, %+v; want %#x, %+v", tt.name, m.Flags(), m.TxOffload(), tt.flags, tt.tx)
		}
	}
}

// O22: drivers make seeds of their own, which are not those of the transport behind
// options and extension headers; and they believe a TCP header.
func TestO22Plain(t *testing.T) {
	offset := func(words byte) func([]byte) { return func(b []byte) { b[14+20+12] = words << 4 } }
	for _, tt := range []struct {
		name   string
		s      sent
		change func([]byte)
		want   bool
	}{
		{name: "TCP", want: true},
		{name: "IPv6, tagged", s: sent{V6: true, Tag: true}, want: true},
		{name: "UDP", s: sent{UDP: true}, want: true},
		{name: "IPv4 options", s: sent{IPOptions: []byte{1, 1, 1, 0}}},
		{name: "hop-by-hop options", s: sent{V6: true, Extension: []byte{6, 0, 1, 4, 0, 0, 0, 0}}},
		{name: "routing header", s: sent{V6: true, Extension: append([]byte{6, 2, 0, 1, 0, 0, 0, 0}, packet16(0x99)...)}},
		{name: "a header to the end", change: offset(6), want: true},
		{name: "a header beyond the end", change: offset(7)},
		{name: "half a header", change: offset(4)},
		{name: "ESP", change: func(b []byte) { b[14+9] = packet.ProtoESP }, want: true},
		{name: "later fragment", change: func(b []byte) { b[14+7] = 1 }},
	} {
		tt.s.Payload = make([]byte, 4)
		b := tt.s.whole()
		if tt.change != nil {
			tt.change(b)
		}
		var l packet.Layout
		if fault := packet.Parse(b, &l); fault != packet.OK {
			t.Fatal(tt.name, fault)
		}
		if got := Plain(b, &l); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// The block sums against the slow one, at any length, any start, and with bytes that
// carry all the way.
func TestCopySum(t *testing.T) {
	r := random(t)
	for range 5000 {
		src := fill(r, r.IntN(700))
		at := r.IntN(min(len(src), 9) + 1)
		src = src[at:]
		dst := make([]byte, len(src))
		if got, want := fold(copySum(dst, src)), slowSum(src); got != want || !bytes.Equal(dst, src) {
			t.Fatalf("%x: %#04x, want %#04x", src, got, want)
		}
	}
}

func TestFinishAllocatesNothing(t *testing.T) {
	h := mbuf.NewHeap(100, mbuf.DefaultDataRoom)
	s := &sent{Payload: fill(rand.New(rand.NewPCG(1, 1)), 60000)}
	m := h.Packet(s.whole(), 1999)
	l := s.layout(t, m)
	if n := testing.AllocsPerRun(20, func() {
		m.SetFlags(mbuf.RxL4ChecksumNone)
		p, _ := Read(m, &l)
		p.Fit(m.Data(), &l, 1458)
		Delegate(m, &l, p)
		Finish(m, &l)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
