package mbuf

import "unsafe"

// Heap is a pool of buffers in Go memory, for tests, benchmarks and memport. It
// is one worker's: not safe for concurrent use.
type Heap struct {
	bufs []Mbuf
	room []byte
	free []*Mbuf
}

// NewHeap makes a pool of n buffers of dataRoom bytes each, headroom included.
func NewHeap(n, dataRoom int) *Heap {
	h := &Heap{
		bufs: make([]Mbuf, n),
		room: make([]byte, n*dataRoom),
		free: make([]*Mbuf, 0, n),
	}
	for i := range h.bufs {
		m := &h.bufs[i]
		m.bufAddr = unsafe.Pointer(&h.room[i*dataRoom])
		m.bufLen = uint16(dataRoom)
		m.refcnt = 1
		m.Reset()
		h.free = append(h.free, m)
	}
	return h
}

// Alloc fills pkts with empty buffers, all or none; false means that the pool
// has too few.
func (h *Heap) Alloc(pkts []*Mbuf) bool {
	rest := len(h.free) - len(pkts)
	if rest < 0 {
		return false
	}
	copy(pkts, h.free[rest:])
	h.free = h.free[:rest]
	for _, m := range pkts {
		m.Reset()
	}
	return true
}

// Free gives packets of this pool back, with all their segments.
func (h *Heap) Free(pkts []*Mbuf) {
	for _, m := range pkts {
		if m.refcnt > 1 { // shared, and so of one segment
			m.refcnt--
			continue
		}
		for s := m; s != nil; s = s.Next() {
			h.free = append(h.free, s)
		}
	}
}

// Available is the number of buffers in the pool.
func (h *Heap) Available() int { return len(h.free) }
