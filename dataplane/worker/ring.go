package worker

import "sync/atomic"

// MaxControlFrame is the largest frame in bytes that passes between a worker
// and the control plane: ARP and neighbor discovery, tagged, with options.
const MaxControlFrame = 154

// ControlFrame is a frame with the port it came from or goes to.
type ControlFrame struct {
	Port uint16
	n    uint16
	data [MaxControlFrame]byte
}

// Bytes is the frame. It is valid as long as the ControlFrame.
func (c *ControlFrame) Bytes() []byte { return c.data[:c.n] }

// RingSize is how many frames a ring holds, a power of two.
const RingSize = 256

// Ring carries control frames, by copy, from one goroutine to one other; it
// never blocks and never allocates.
type Ring struct {
	head  atomic.Uint32 // next to read; written by the reader
	_     [60]byte
	tail  atomic.Uint32 // next to write; written by the writer
	_     [60]byte
	slots [RingSize]ControlFrame
}

// Push copies frame in. It reports false when the ring is full or the frame too
// long.
func (r *Ring) Push(port uint16, frame []byte) bool {
	tail := r.tail.Load()
	if tail-r.head.Load() == RingSize || len(frame) > MaxControlFrame {
		return false
	}
	s := &r.slots[tail%RingSize]
	s.Port = port
	s.n = uint16(copy(s.data[:], frame))
	r.tail.Store(tail + 1)
	return true
}

// Peek is the oldest frame, or nil. It stays in the ring until Pop.
func (r *Ring) Peek() *ControlFrame {
	head := r.head.Load()
	if head == r.tail.Load() {
		return nil
	}
	return &r.slots[head%RingSize]
}

// Pop takes the frame that Peek showed out of the ring.
func (r *Ring) Pop() { r.head.Store(r.head.Load() + 1) }
