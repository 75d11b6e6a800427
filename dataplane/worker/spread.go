package worker

import (
	"sync/atomic"

	"paca/dataplane/count"
	"paca/dataplane/fib"
	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
	"paca/dataplane/port"
	"paca/dataplane/unseen"
)

// All NVGRE between two hosts has one pair of outer addresses, so a network card that
// does not look inside has one queue for it, and one worker would do all the work. Of
// a queue that is to be spread, the worker that polls it keeps what is its own and
// gives the rest to its peers, by what is inside:
//
//	Rx ─┬─ own flows ────────────────────────────────► carry
//	    └─ a peer's ──► belt, published once per burst ──► (there) take ──► carry
//
// A flow is always one worker's while there are as many of them, so that its order
// stays. A belt that is full drops; nobody waits.

// Spread says what of a receive queue's packets is dealt out to all workers.
type Spread uint8

// The choices.
const (
	SpreadNone    Spread = iota // nothing: whoever receives a packet carries it
	SpreadTunnels               // NVGRE for PAs of this host, by its inner flow: the device spreads the rest
	SpreadFlows                 // all flows: the device has fewer queues than there are workers
)

// BeltSize is how many packets one worker can have given to another that has not taken
// them yet, a power of two.
const BeltSize = 1024

// belt carries packets from one worker to one other.
type belt struct {
	tail atomic.Uint32 // published; the giver writes it
	_    [60]byte
	head atomic.Uint32 // next to take; the taker writes it
	_    [60]byte

	// The giver's alone.
	next uint32 // where the next packet goes, published or not
	free uint32 // up to where there was room when head was looked at last
	to   *Worker
	_    [48]byte

	slots [BeltSize]unseen.Ref[mbuf.Mbuf]
}

// put lays a packet on the belt, to be taken after publish. It reports false when there
// is no room.
func (b *belt) put(m *mbuf.Mbuf) bool {
	if b.next == b.free {
		if b.free = b.head.Load() + BeltSize; b.next == b.free {
			return false
		}
	}
	b.slots[b.next%BeltSize] = unseen.To(m)
	b.next++
	return true
}

// publish lets the taker have what was put, and says how many those are.
func (b *belt) publish() int {
	n := b.next - b.tail.Load()
	if n > 0 {
		b.tail.Store(b.next)
		b.to.wake()
	}
	return int(n)
}

// Crew makes workers those of one host, before any of them runs: they hold the rates of
// ports together, and give packets to each other.
func Crew(workers []*Worker) {
	for i, w := range workers {
		w.limits = workers[0].limits
		w.place = i
		w.to, w.from = make([]*belt, len(workers)), nil
	}
	for i, giver := range workers {
		for j, taker := range workers {
			if i != j {
				b := &belt{to: taker, free: BeltSize}
				giver.to[j] = b
				taker.from = append(taker.from, b)
			}
		}
	}
}

// deal gives the packets of a burst that are peers' to them, and returns the others, valid
// until the next call.
func (w *Worker) deal(f *fib.FIB, q Queue, pkts []*mbuf.Mbuf) []*mbuf.Mbuf {
	w.in = q.Port
	own := 0
	for _, m := range pkts {
		to := w.place
		if hash, ok := flowOf(f, m, q.Spread); ok {
			to = int(uint64(hash) * uint64(len(w.to)) >> 32)
		}
		if to == w.place {
			w.own[own] = unseen.To(m)
			own++
			continue
		}
		m.SetPort(q.Port)
		if !w.to[to].put(m) {
			w.drop(m, count.WorkerQueue)
		}
	}
	given := 0
	for _, b := range w.to {
		if b != nil {
			given += b.publish()
		}
	}
	if given > 0 {
		count.Add(&w.Count.Given, uint64(given))
	}
	return unseen.Pointers(w.own[:own])
}

// flowOf is a hash of the flow that a packet from an uplink belongs to, the same for
// all of them; ok is false for one that stays with who received it: what hosts say to
// each other, and what cannot be read.
func flowOf(f *fib.FIB, m *mbuf.Mbuf, s Spread) (hash uint32, ok bool) {
	frame := m.Data()
	if hash, ok = plainFlow(f, frame); ok {
		return hash, ok
	}
	var l packet.Layout
	if packet.ParseHead(frame, m.Len(), &l) != packet.OK || frame[0]&1 != 0 {
		return 0, false
	}
	own := fib.None
	switch l.EtherType {
	case packet.EtherTypeIPv4:
		if l.Proto == packet.ProtoGRE {
			own = f.SharedPA4(packet.IPv4(frame[l.L3:]).DstU32())
		}
	case packet.EtherTypeIPv6:
		if l.Proto == packet.ProtoGRE {
			pa := packet.IPv6(frame[l.L3:]).Dst()
			own = f.SharedPA6(&pa)
		}
	default:
		return 0, false
	}
	switch {
	case own != fib.None:
		return innerFlow(m, &l)
	case s != SpreadFlows || l.Proto == packet.ProtoICMP || l.Proto == packet.ProtoICMPv6:
		return 0, false
	}
	return packet.FlowHash(frame, &l), true
}

// What tells tenants with the same addresses apart, on all bits of a hash.
const golden = 0x9e3779b1

// plainFlow is flowOf for nearly all tunnel packets: without tags, IPv4 outside and inside,
// without options or fragments. What it finds is what innerFlow finds.
func plainFlow(f *fib.FIB, frame []byte) (hash uint32, ok bool) {
	const headers = packet.EthernetLen + packet.IPv4Len + packet.NVGRELen
	if len(frame) < headers+len(packet.Plain4{}) {
		return 0, false
	}
	outer, inner := (*packet.Plain4)(frame), (*packet.Plain4)(frame[headers:])
	if outer.EtherType() != packet.EtherTypeIPv4 || inner.EtherType() != packet.EtherTypeIPv4 || outer.Proto() != packet.ProtoGRE {
		return 0, false
	}
	end, gre := outer.End(len(frame)), packet.NVGRE(frame[headers-packet.NVGRELen:])
	if end < headers+len(inner) || inner.End(end-headers) == 0 || frame[0]&1 != 0 || !tunnels(gre) || f.SharedPA4(outer.DstU32()) == fib.None {
		return 0, false
	}
	return packet.Hash(inner.Addrs(), inner.Ports()) ^ gre.VSID()*golden, true
}

// tunnels says whether a GRE header may be NVGRE's: any other is the host's (W24).
func tunnels(gre packet.NVGRE) bool {
	return gre.Flags()&packet.GREKey != 0 && gre.Protocol() == packet.EtherTypeTEB
}

// innerFlow is flowOf for a packet of GRE. Its FlowID alone would not do: some peers
// send 0 in all (W5).
func innerFlow(m *mbuf.Mbuf, l *packet.Layout) (hash uint32, ok bool) {
	if l.L4 == 0 {
		return 0, false
	}
	gre := packet.NVGRE(m.Data()[l.L4:l.End])
	if len(gre) < packet.NVGRELen || !tunnels(gre) {
		return 0, false
	}
	var inner packet.Layout
	frame := gre[packet.NVGRELen:]
	// Of a packet in several buffers the rest is behind, and its flow's others may be in one.
	if packet.ParseHead(frame, m.Len()-int(l.L4)-packet.NVGRELen, &inner) != packet.OK {
		return gre.Key() * golden, true
	}
	return packet.FlowHash(frame, &inner) ^ gre.VSID()*golden, true
}

// take carries what peers have given until now, before anything new is received: what
// was received first is finished first. It reports whether there was anything.
func (w *Worker) take(f *fib.FIB) bool {
	busy := false
	for _, b := range w.from {
		head, tail := b.head.Load(), b.tail.Load()
		for head != tail {
			busy = true
			at := head % BeltSize
			n := min(tail-head, port.MaxBurst, BeltSize-at)
			pkts := unseen.Pointers(b.slots[at:][:n])
			count.Add(&w.Count.Taken, uint64(n))
			w.fetch(pkts)
			for len(pkts) > 0 {
				in, same := pkts[0].Port(), 1
				for same < len(pkts) && pkts[same].Port() == in {
					same++
				}
				w.carry(f, in, pkts[:same])
				pkts = pkts[same:]
			}
			head += n
			b.head.Store(head)
		}
	}
	return busy
}

// fetch touches the headers of packets that another core has touched last: none waits
// for the one before, as it would where they are carried.
func (w *Worker) fetch(pkts []*mbuf.Mbuf) {
	for _, m := range pkts {
		if d := m.Data(); len(d) > 64 {
			w.touched ^= d[0] ^ d[64]
		}
	}
}

// waiting says whether peers have given anything.
func (w *Worker) waiting() bool {
	for _, b := range w.from {
		if b.tail.Load() != b.head.Load() {
			return true
		}
	}
	return false
}

// Release drops what was given to a worker that has ended, by name, after all its
// peers have ended too.
func (w *Worker) Release() {
	for _, b := range w.from {
		head := b.head.Load()
		for ; head != b.tail.Load(); head++ {
			m := b.slots[head%BeltSize].Get()
			w.in = m.Port()
			w.drop(m, count.WorkerQueue)
			w.flush()
		}
		b.head.Store(head)
	}
}
