package mbuf

import (
	"bytes"
	"testing"
)

func TestLengths(t *testing.T) {
	h := NewHeap(2, Headroom+100)
	pkts := make([]*Mbuf, 2)
	if !h.Alloc(pkts) {
		t.Fatal("pool of 2 refuses 2")
	}
	if h.Alloc(make([]*Mbuf, 1)) {
		t.Fatal("pool of 2 gives 3")
	}
	m := pkts[0]
	if !m.SetData([]byte("tenant")) || m.SetData(make([]byte, 101)) {
		t.Fatal("SetData: room behind the headroom is 100 bytes")
	}
	m.SetData([]byte("tenant"))
	copy(m.Prepend(6), "outer ")
	if got := string(m.Data()); got != "outer tenant" || m.Len() != 12 {
		t.Fatalf("after Prepend: %q, %d bytes", got, m.Len())
	}
	if m.Prepend(m.Headroom()+1) != nil || m.Append(m.Tailroom()+1) != nil || m.Adj(13) || m.Trim(13) {
		t.Fatal("a length beyond the buffer was accepted")
	}
	if !m.Adj(6) || !m.Trim(3) || string(m.Data()) != "ten" {
		t.Fatalf("after Adj and Trim: %q", m.Data())
	}
	if string(m.Append(4)[:3]) != "ten" || m.Len() != 7 {
		t.Fatalf("after Append: %d bytes", m.Len())
	}
	h.Free(pkts)
	if h.Available() != 2 {
		t.Fatalf("%d of 2 buffers came back", h.Available())
	}
}

func TestSegments(t *testing.T) {
	h := NewHeap(3, Headroom+64)
	pkts := make([]*Mbuf, 3)
	h.Alloc(pkts)
	for i, m := range pkts {
		m.SetData(bytes.Repeat([]byte{byte(i)}, 10))
	}
	pkts[1].Join(pkts[2])
	pkts[0].Join(pkts[1])
	if m := pkts[0]; m.Segments() != 3 || m.Len() != 30 || len(m.Data()) != 10 || m.Next() != pkts[1] {
		t.Fatalf("chain of %d segments, %d bytes", m.Segments(), m.Len())
	}
	h.Free(pkts[:1])
	if h.Available() != 3 {
		t.Fatalf("%d of 3 segments came back", h.Available())
	}
	h.Alloc(pkts)
	for _, m := range pkts {
		if m.Segments() != 1 || m.Next() != nil {
			t.Fatal("Alloc gave a buffer that still has a tail")
		}
	}
}

func TestAllocFree(t *testing.T) {
	h := NewHeap(64, DefaultDataRoom)
	pkts := make([]*Mbuf, 32)
	if n := testing.AllocsPerRun(100, func() { h.Alloc(pkts); h.Free(pkts) }); n != 0 {
		t.Errorf("%v allocations per burst", n)
	}
}

func TestPacketOfSegments(t *testing.T) {
	h := NewHeap(4, Headroom+64)
	b := []byte("a packet in pieces of many sizes")
	for _, sizes := range [][]int{{64}, {10, 22}, {1, 11}, {31, 1}, {20, 0, 12}} {
		m := h.Packet(b, sizes...)
		if m == nil || m.Len() != len(b) || !bytes.Equal(m.AppendTo(nil), b) {
			t.Fatalf("%v: %+v", sizes, m)
		}
		if n := len(m.Data()); n != min(sizes[0], len(b)) {
			t.Errorf("%v: %d bytes in the first segment", sizes, n)
		}
		m.Share(1)
		if !m.Shared() {
			t.Error("not shared")
		}
		h.Free([]*Mbuf{m})
		if h.Available() == 4 || m.Shared() || !bytes.Equal(m.AppendTo(nil), b) {
			t.Errorf("%v: %d buffers free while one owner is left", sizes, h.Available())
		}
		h.Free([]*Mbuf{m})
		if h.Available() != 4 {
			t.Errorf("%v: %d of 4 buffers back", sizes, h.Available())
		}
	}
	if h.Packet(b, 5) != nil || h.Packet(make([]byte, 100), 10, 90) != nil || h.Available() != 4 {
		t.Errorf("a packet that does not fit; %d of 4 buffers back", h.Available())
	}
}

// O20: each length in its field, as wide as that, and none in another's.
func TestO20TxOffload(t *testing.T) {
	h := NewHeap(1, Headroom+64)
	m := h.Packet(nil, 0)
	for _, o := range []TxOffload{
		{L2Len: 127}, {L3Len: 511}, {L4Len: 255}, {SegmentSize: 65535}, {OuterL3Len: 511}, {OuterL2Len: 127},
		{L2Len: 22, L3Len: 20, L4Len: 32, SegmentSize: 1406, OuterL3Len: 20, OuterL2Len: 14},
		{L2Len: 127, L3Len: 511, L4Len: 255, SegmentSize: 65535, OuterL3Len: 511, OuterL2Len: 127},
	} {
		if !m.SetTxOffload(o) || m.TxOffload() != o {
			t.Errorf("%+v became %+v", o, m.TxOffload())
		}
	}
	before := m.TxOffload()
	for _, o := range []TxOffload{{L2Len: 128}, {L3Len: 512}, {OuterL3Len: 512}, {OuterL2Len: 128}} {
		if m.SetTxOffload(o) || m.TxOffload() != before {
			t.Errorf("%+v fits", o)
		}
	}
	m.Reset()
	if m.TxOffload() != (TxOffload{}) {
		t.Error("lengths survive Reset")
	}
}

// A buffer whose memory is another's stays one, or the library would free what
// it does not own.
func TestFlagsOfTheBufferStay(t *testing.T) {
	h := NewHeap(1, Headroom+64)
	m := h.Packet(nil, 0)
	m.olFlags = external
	m.SetFlags(TxIPv4 | indirect)
	if m.Flags() != TxIPv4|external {
		t.Errorf("flags %#x", m.Flags())
	}
	m.Reset()
	if m.Flags() != external {
		t.Errorf("flags %#x after Reset", m.Flags())
	}
}

func TestConstantsAreTold(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Constants() {
		if seen[c.Name] {
			t.Errorf("%s twice", c.Name)
		}
		seen[c.Name] = true
	}
	if TxMask&(external|indirect) != 0 || TxMask&(RxLRO|RxL4ChecksumMask|RxIPChecksumMask) != 0 {
		t.Error("transmit flags overlap others")
	}
}

// Each thing that a plain packet must not be makes it one that is not.
func TestPlain(t *testing.T) {
	plain := func(change func(m *Mbuf)) bool {
		m := NewHeap(1, Headroom+FrontLen).Packet([]byte("tenant"), 60)
		change(m)
		front, size, ok := m.Plain(TxTCPSegment | RxVLANStripped)
		if ok && (front != m.Front() || int(size) != m.Len() || &front[0] != &m.Data()[0]) {
			t.Errorf("plain: %p, %d bytes; front %p, %d bytes", front, size, m.Front(), m.Len())
		}
		return ok
	}
	if !plain(func(*Mbuf) {}) || !plain(func(m *Mbuf) { m.SetFlags(TxIPv4) }) || !plain(func(m *Mbuf) { m.Prepend(20) }) {
		t.Error("a plain packet is none")
	}
	for what, change := range map[string]func(*Mbuf){
		"two buffers":  func(m *Mbuf) { m.Join(NewHeap(1, 200).Packet([]byte("more"), 60)) },
		"a flag":       func(m *Mbuf) { m.SetFlags(TxIPv4 | RxVLANStripped) },
		"too near end": func(m *Mbuf) { m.Adj(1) },
		"another flag": func(m *Mbuf) { m.SetFlags(TxTCPSegment) },
	} {
		if plain(change) {
			t.Errorf("plain with %s", what)
		}
	}
}

// PrependA is Prepend.
func TestPrependA(t *testing.T) {
	type room [Headroom - 1]byte
	h := NewHeap(2, Headroom+64)
	a, b := h.Packet([]byte("tenant"), 60), h.Packet([]byte("tenant"), 60)
	r := PrependA[room](a)
	if d := b.Prepend(len(r)); r == nil || len(d) != a.Len() || len(d) != len(a.Data()) || a.Headroom() != b.Headroom() || &r[0] != &a.Data()[0] {
		t.Errorf("%p, %d bytes, %d in front; Prepend: %d, %d", r, a.Len(), a.Headroom(), b.Len(), b.Headroom())
	}
	if PrependA[[1]byte](a) == nil || a.Headroom() != 0 {
		t.Error("the last byte of headroom is not had")
	}
	if PrependA[[1]byte](a) != nil || a.Headroom() != 0 || a.Len() != len("tenant")+Headroom {
		t.Error("headroom that is not there was given")
	}
}
