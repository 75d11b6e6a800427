package worker

import (
	"sync/atomic"

	"paca/dataplane/mbuf"
)

// MaxControlFrame is how much of a frame in bytes passes between a worker and the
// control plane: an NVE message that quotes as much as fits into a usual packet
// (N6), tagged, since its checksum covers all of it; an ICMPv6 error of any length
// (RFC 4443 2.4); a DHCP message.
const MaxControlFrame = 18 + 1500

// Kind says why a worker hands a frame to the control plane.
type Kind uint8

// The kinds. Those up to Miss are whole unless Len says otherwise.
const (
	Neighbor Kind = iota // ARP or ND of the provider side, to learn from (A13)
	ICMP                 // ICMP or ICMPv6 for a PA of this host: path MTU (M10), answers to our own echo requests
	DHCP                 // DHCPv4 from a VM that paca answers itself (A14)
	Learn                // tells of the CA of a VM with an L2Only record on this host (A16): ARP or ND from it, DHCPACK to it
	Miss                 // from a VM, for a CA without a record (L13)
	Stray                // tunnel packet for a PA of this host, of a VM that is not here (L24)
	NVE                  // NVE control message (N1-N11), its outer header included
	numKinds
)

// ControlFrame is a frame with the port it came from or goes to.
type ControlFrame struct {
	Port uint16
	Kind Kind   // of a frame for the control plane
	Len  uint16 // of the whole frame in bytes; from the control plane: zeros are appended up to it
	n    uint16
	data [MaxControlFrame]byte
}

// Bytes is the frame, as far as there was room for it. It is valid as long as the
// ControlFrame.
func (c *ControlFrame) Bytes() []byte { return c.data[:c.n] }

// into makes m the whole frame. It reports false when that is too long for it.
func (c *ControlFrame) into(m *mbuf.Mbuf) bool {
	if !m.SetData(c.Bytes()) {
		return false
	}
	d := m.Append(int(c.Len - c.n))
	clear(d[min(len(d), int(c.n)):])
	return d != nil
}

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

// Push copies frame in, or as much of it as there is room for. It reports false
// when the ring is full.
func (r *Ring) Push(port uint16, kind Kind, frame []byte) bool {
	return r.PushPadded(port, kind, frame, len(frame))
}

// PushPadded is Push for a frame of size bytes, of which those after frame are
// zero.
func (r *Ring) PushPadded(port uint16, kind Kind, frame []byte, size int) bool {
	tail := r.tail.Load()
	if tail-r.head.Load() == RingSize {
		return false
	}
	s := &r.slots[tail%RingSize]
	s.Port, s.Kind, s.Len = port, kind, uint16(size)
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
