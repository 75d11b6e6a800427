package memport

import "sync/atomic"

// ring carries frames, by copy, from one goroutine to one other.
type ring struct {
	room  []byte
	lens  []uint32
	size  int // bytes of room per frame
	depth uint32
	mask  uint32
	_     [64]byte
	head  atomic.Uint32 // next to read; counts on, wraps at 2³²
	_     [64]byte
	tail  atomic.Uint32 // next to write
	_     [64]byte
}

// newRing makes a ring of depth frames of at most size bytes.
func newRing(depth, size int) *ring {
	slots := 1
	for slots < depth {
		slots *= 2
	}
	return &ring{
		room:  make([]byte, slots*size),
		lens:  make([]uint32, slots),
		size:  size,
		depth: uint32(depth),
		mask:  uint32(slots - 1),
	}
}

// slot is the room of the frame at position i.
func (r *ring) slot(i uint32) []byte {
	at := int(i&r.mask) * r.size
	return r.room[at : at+r.size]
}

// frame is the content of position i.
func (r *ring) frame(i uint32) []byte { return r.slot(i)[:r.lens[i&r.mask]] }

// writable is the position of the first free slot and how many are free;
// publish hands n of them to the reader.
func (r *ring) writable() (at uint32, n int) {
	at = r.tail.Load()
	return at, int(r.depth - (at - r.head.Load()))
}

func (r *ring) publish(n int) { r.tail.Add(uint32(n)) }

// readable is the position of the first unread frame and how many there are;
// consume gives n of them back to the writer.
func (r *ring) readable() (at uint32, n int) {
	at = r.head.Load()
	return at, int(r.tail.Load() - at)
}

func (r *ring) consume(n int) { r.head.Add(uint32(n)) }
