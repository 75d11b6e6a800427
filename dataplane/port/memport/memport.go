// Package memport is a network device in memory: a port whose wire is a test,
// or a second port. Like a real device it owns no packet buffers between
// bursts; frames cross the wire by copy, so each side may have a pool of its
// own and no pool is touched by two goroutines.
//
// Floor 1. It imports buffers and the port contract, never packets or policy.
package memport

import (
	"errors"
	"fmt"
	"sync/atomic"

	"paca/dataplane/mbuf"
	"paca/dataplane/port"
)

// Driver is the Info.Driver of every port of this package.
const Driver = "mem"

// overhead is what a frame may have beyond the MTU: Ethernet and two VLAN tags.
const overhead = 14 + 4 + 4

// Config describes a port. Only Pool is required.
type Config struct {
	Name   string    // default "mem"
	MAC    [6]byte   // default zero
	MTU    int       // default 1500
	Queues int       // of either direction, default 1
	Depth  int       // frames a queue holds before it is full, default 1024
	Pool   port.Pool // gives buffers to Rx and takes those that Tx sent

	// Offloads are what the port claims to do. It does none of it: what packets ask
	// for is in the Notes that Visit shows, and on the wire of a pair the other port
	// says what is left to be done. With ReceiveLarge or SendTSO the wire carries
	// frames of 64 KiB.
	Offloads port.Offloads
}

// room is the largest frame of a queue in bytes.
func (c *Config) room(large mbuf.Offloads) int {
	if c.Offloads.Uses&large != 0 {
		return 1<<16 - 1
	}
	return c.MTU + overhead
}

func (c *Config) complete() error {
	if c.Name == "" {
		c.Name = "mem"
	}
	if c.MTU == 0 {
		c.MTU = 1500
	}
	if c.Queues == 0 {
		c.Queues = 1
	}
	if c.Depth == 0 {
		c.Depth = 1024
	}
	switch {
	case c.Pool == nil:
		return fmt.Errorf("memport: port %s: no buffer pool", c.Name)
	case c.MTU < 0 || c.MTU > 65535-overhead:
		return fmt.Errorf("memport: port %s: mtu %d is out of range", c.Name, c.MTU)
	case c.Queues < 0 || c.Depth < 0:
		return fmt.Errorf("memport: port %s: %d queues of depth %d", c.Name, c.Queues, c.Depth)
	}
	return nil
}

// Port is one device. Each queue and direction serves one goroutine on the
// port's side (Rx, Tx) and one on the wire's side (Inject, Drain).
type Port struct {
	cfg     Config
	in, out []*ring // by queue; in is what Rx reads
	paired  bool
	tails   [64]*mbuf.Mbuf // of a large frame, at hand
	closed  atomic.Bool

	rxPackets, rxBytes, rxMissed, rxNoBuffer, rxErrors atomic.Uint64
	txPackets, txBytes, txErrors                       atomic.Uint64
}

var _ port.Port = (*Port)(nil)

// New makes a port whose wire is the caller: Inject and Drain.
func New(c Config) (*Port, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	p := &Port{cfg: c}
	for range c.Queues {
		p.in = append(p.in, newRing(c.Depth, p.cfg.room(mbuf.ReceiveLarge)))
		p.out = append(p.out, newRing(c.Depth, p.cfg.room(mbuf.SendTSO|mbuf.SendGRETSO)))
	}
	return p, nil
}

// NewPair makes two ports wired to each other, queue by queue. A frame larger
// than the receiver's MTU is lost as a receive error of the receiver.
func NewPair(a, b Config) (*Port, *Port, error) {
	pa, errA := New(a)
	pb, errB := New(b)
	if err := errors.Join(errA, errB); err != nil {
		return nil, nil, err
	}
	if pa.cfg.Queues != pb.cfg.Queues {
		return nil, nil, fmt.Errorf("memport: pair %s, %s: %d and %d queues", pa.cfg.Name, pb.cfg.Name, pa.cfg.Queues, pb.cfg.Queues)
	}
	pa.in, pb.in = pb.out, pa.out
	pa.paired, pb.paired = true, true
	return pa, pb, nil
}

// Rx implements port.Port. Frames for which the pool has no buffer are lost, as
// a device with an empty ring of descriptors loses them.
func (p *Port) Rx(queue int, pkts []*mbuf.Mbuf) int {
	r := p.in[queue]
	at, n := r.readable()
	n = min(n, len(pkts))
	if n == 0 {
		return 0
	}
	if !p.cfg.Pool.Alloc(pkts[:n]) {
		p.rxNoBuffer.Add(uint64(n))
		r.consume(n)
		return 0
	}
	got, bytes := 0, 0
	for i := range n {
		f := r.frame(at + uint32(i))
		if len(f) > p.cfg.room(mbuf.ReceiveLarge) || !p.receive(pkts[got], f) {
			continue
		}
		if p.cfg.Offloads.Uses != 0 {
			p.note(pkts[got], r.notes[(at+uint32(i))&r.mask])
		}
		got++
		bytes += len(f)
	}
	r.consume(n)
	if got < n {
		p.rxErrors.Add(uint64(n - got))
		p.cfg.Pool.Free(pkts[got:n])
	}
	p.rxPackets.Add(uint64(got))
	p.rxBytes.Add(uint64(bytes))
	return got
}

// receive makes m a packet of f. A large one takes more buffers from the pool.
func (p *Port) receive(m *mbuf.Mbuf, f []byte) bool {
	if m.SetData(f) {
		return true
	}
	room := m.Tailroom()
	tails := (len(f) - 1) / room
	if tails > len(p.tails) || !p.cfg.Offloads.Uses.Has(mbuf.ReceiveSegments) || !p.cfg.Pool.Alloc(p.tails[:tails]) {
		return false
	}
	m.SetData(f[:room])
	last := m
	for _, tail := range p.tails[:tails] {
		f = f[room:]
		tail.SetData(f[:min(room, len(f))])
		m.JoinAfter(last, tail)
		last = tail
	}
	return true
}

// note tells a received packet what the device found out.
func (p *Port) note(m *mbuf.Mbuf, n Notes) {
	if p.paired {
		n = n.arrive()
	}
	m.SetFlags(n.Flags)
	m.SetTxOffload(n.Lengths)
	m.SetVLANTCI(n.TCI)
	m.SetPacketType(n.Type)
}

// Tx implements port.Port. A frame larger than the MTU is taken and lost, and
// counts as an error, as with a device; so is one in several buffers by a port that
// does not claim to send such.
func (p *Port) Tx(queue int, pkts []*mbuf.Mbuf) int {
	r := p.out[queue]
	at, n := r.writable()
	n = min(n, len(pkts))
	if n == 0 {
		return 0
	}
	sent, bytes := 0, 0
	for _, m := range pkts[:n] {
		if m.Len() > r.size || m.Segments() > 1 && !p.cfg.Offloads.Uses.Has(mbuf.SendSegments) {
			continue
		}
		pos := at + uint32(sent)
		r.lens[pos&r.mask] = uint32(m.Len())
		r.notes[pos&r.mask] = notesOf(m)
		for slot, s := r.slot(pos), m; s != nil; s = s.Next() {
			slot = slot[copy(slot, s.Data()):]
		}
		sent++
		bytes += m.Len()
	}
	r.publish(sent)
	p.cfg.Pool.Free(pkts[:n])
	p.txPackets.Add(uint64(sent))
	p.txBytes.Add(uint64(bytes))
	if sent < n {
		p.txErrors.Add(uint64(n - sent))
	}
	return n
}

// Inject makes frames arrive at a queue of a port made by New and returns how
// many fitted; those that did not are missed. The frames are copied.
func (p *Port) Inject(queue int, frames ...[]byte) int {
	n := 0
	for _, f := range frames {
		n += p.InjectNoted(queue, f, Notes{})
	}
	return n
}

// InjectNoted is Inject for one frame that the device says more of.
func (p *Port) InjectNoted(queue int, f []byte, notes Notes) int {
	p.wireIsFree()
	r := p.in[queue]
	at, room := r.writable()
	switch {
	case len(f) > r.size:
		p.rxErrors.Add(1)
		return 0
	case room == 0:
		p.rxMissed.Add(1)
		return 0
	}
	r.lens[at&r.mask] = uint32(copy(r.slot(at), f))
	r.notes[at&r.mask] = notes
	r.publish(1)
	return 1
}

// Drain returns copies of all frames that a queue of a port made by New has
// sent since the last Drain.
func (p *Port) Drain(queue int) [][]byte {
	var frames [][]byte
	p.Visit(queue, func(f []byte) { frames = append(frames, append([]byte(nil), f...)) })
	return frames
}

// Visit is Drain without copies: it shows each frame to f, for whose call alone
// the slice is valid, and returns how many there were.
func (p *Port) Visit(queue int, f func(frame []byte)) int {
	return p.VisitNoted(queue, func(frame []byte, _ Notes) { f(frame) })
}

// VisitNoted is Visit for those who want to know what each packet asked for.
func (p *Port) VisitNoted(queue int, f func(frame []byte, notes Notes)) int {
	p.wireIsFree()
	r := p.out[queue]
	at, n := r.readable()
	for i := range n {
		f(r.frame(at+uint32(i)), r.notes[(at+uint32(i))&r.mask])
	}
	r.consume(n)
	return n
}

func (p *Port) wireIsFree() {
	if p.paired {
		panic("memport: the wire of port " + p.cfg.Name + " is another port's")
	}
}

// Info implements port.Port.
func (p *Port) Info() port.Info {
	return port.Info{
		Device:   p.cfg.Name,
		Driver:   Driver,
		MAC:      p.cfg.MAC,
		MTU:      p.cfg.MTU,
		RxQueues: p.cfg.Queues,
		TxQueues: p.cfg.Queues,
		LinkUp:   true,
	}
}

// Offloads implements port.Port.
func (p *Port) Offloads() port.Offloads { return p.cfg.Offloads }

// Stats implements port.Port.
func (p *Port) Stats() port.Stats {
	return port.Stats{
		RxPackets:  p.rxPackets.Load(),
		RxBytes:    p.rxBytes.Load(),
		TxPackets:  p.txPackets.Load(),
		TxBytes:    p.txBytes.Load(),
		RxMissed:   p.rxMissed.Load(),
		RxNoBuffer: p.rxNoBuffer.Load(),
		RxErrors:   p.rxErrors.Load(),
		TxErrors:   p.txErrors.Load(),
	}
}

// Close implements port.Port. Closing twice is an error, as with a device.
func (p *Port) Close() error {
	if p.closed.Swap(true) {
		return fmt.Errorf("memport: port %s: already closed", p.cfg.Name)
	}
	return nil
}
