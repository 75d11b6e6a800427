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

// Packet makes a packet of b in as many segments as there are sizes, and more, of
// the last size, if those do not suffice; nil if the pool has too few buffers or
// they have too little room.
func (h *Heap) Packet(b []byte, sizes ...int) *Mbuf {
	var head *Mbuf
	for i := 0; head == nil || len(b) > 0; i++ {
		var m [1]*Mbuf
		ok := h.Alloc(m[:])
		if ok {
			n := min(sizes[min(i, len(sizes)-1)], len(b))
			ok = m[0].SetData(b[:n])
			b = b[n:]
			if head == nil {
				head = m[0]
			} else {
				head.Join(m[0])
			}
		}
		if !ok {
			if head != nil {
				h.Free([]*Mbuf{head})
			}
			return nil
		}
	}
	return head
}

// Free gives packets of this pool back, with all their segments.
func (h *Heap) Free(pkts []*Mbuf) {
	for _, m := range pkts {
		for m != nil {
			next := m.Next()
			if m.refcnt > 1 {
				m.refcnt--
			} else {
				h.free = append(h.free, m)
			}
			m = next
		}
	}
}

// Available is the number of buffers in the pool.
func (h *Heap) Available() int { return len(h.free) }
