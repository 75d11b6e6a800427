package memport

import (
	"sync/atomic"

	"paca/dataplane/mbuf"
)

// Notes are what a packet says of itself besides its bytes: what is asked of the
// device, or what the device found.
type Notes struct {
	Flags    uint64 // mbuf.Tx…, mbuf.Rx…
	Lengths  mbuf.TxOffload
	TCI      uint16
	Type     uint32 // RTE_PTYPE_*
	Segments int    // buffers that it was sent in; received in as few as it needs
}

func notesOf(m *mbuf.Mbuf) Notes {
	return Notes{m.Flags(), m.TxOffload(), m.VLANTCI(), m.PacketType(), m.Segments()}
}

// arrive is what becomes of a sender's notes when a wire of virtio's kind has no
// checksums computed and nothing cut on its way.
func (n Notes) arrive() Notes {
	var r Notes
	if n.Flags&mbuf.TxL4Mask != 0 || n.Flags&mbuf.TxTCPSegment != 0 {
		r.Flags |= mbuf.RxL4ChecksumNone
	}
	if n.Flags&(mbuf.TxTCPSegment|mbuf.TxUDPSegment) != 0 {
		r.Flags |= mbuf.RxLRO
		r.Lengths.SegmentSize = n.Lengths.SegmentSize
	}
	return r
}

// ring carries frames, by copy, from one goroutine to one other.
type ring struct {
	room  []byte
	lens  []uint32
	notes []Notes
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
		notes: make([]Notes, slots),
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
