package worker

import (
	"paca/dataplane/count"
	"paca/dataplane/fib"
	"paca/dataplane/mbuf"
)

// Packets whose next hop has no MAC yet wait here, untagged, and start their trip
// anew when the FIB knows something new of next hops. A few of them: a
// dataplane that buffers more turns one silent next hop into everybody's loss.
const (
	heldPerNextHop = 8
	heldInAll      = 256
	heldBuffers    = 4 * heldInAll // a large frame is dozens
)

type hold struct {
	n       int
	buffers int // that they are made of
	pkts    [heldInAll]held
	// How many wait for each next hop; those that share a place share its limit.
	waiting [heldInAll]uint8
	hops    []fib.Neighbor // of the FIB they wait in
	plug    *Plug          // their ports are of
	retried bool           // what comes to wait now has waited before
}

type held struct {
	m  *mbuf.Mbuf
	in uint16 // port it came from
}

// of says whether what waits, and there is something, does so for the next hops of
// f as they stand, and came from ports of plug: a FIB that knows nothing new of
// next hops shares them with the one before, and an index may be another port's in
// another plug.
func (h *hold) of(f *fib.FIB, plug *Plug) bool {
	return h.plug == plug && len(h.hops) == len(f.NextHops) && &h.hops[0] == &f.NextHops[0]
}

// wait holds a packet for its next hop in f, or drops it when too many wait
// already.
func (w *Worker) wait(f *fib.FIB, m *mbuf.Mbuf, nextHop uint32) {
	h := &w.held
	h.hops, h.plug = f.NextHops, w.plug
	waiting := &h.waiting[nextHop%heldInAll]
	if *waiting == heldPerNextHop || h.n == heldInAll || h.buffers+m.Segments() > heldBuffers {
		w.drop(m, count.NeighborQueue)
		return
	}
	if *waiting++; !h.retried {
		w.events[count.Held]++
	}
	h.pkts[h.n] = held{m, w.in}
	h.n++
	h.buffers += m.Segments()
}

// retryHeld sends held packets through a new FIB, in the order in which they
// came. Those that must go on waiting are held again.
func (w *Worker) retryHeld(f *fib.FIB) {
	n := w.held.n
	w.held.n, w.held.buffers = 0, 0
	clear(w.held.waiting[:])
	w.held.retried = true
	for i := range n { // wait writes at most as far as i has read
		p := w.held.pkts[i]
		w.rx[0] = p.m
		w.carry(f, p.in, w.rx[:1])
	}
	w.held.retried = false
}

// releaseHeld drops what still waits, by name, when the worker ends.
func (w *Worker) releaseHeld() {
	for _, p := range w.held.pkts[:w.held.n] {
		w.in = p.in
		w.drop(p.m, count.NeighborQueue)
		w.flush()
	}
	w.held.n = 0
}
