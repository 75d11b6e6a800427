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
