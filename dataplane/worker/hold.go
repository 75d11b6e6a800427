package worker

import (
	"paca/dataplane/count"
	"paca/dataplane/fib"
	"paca/dataplane/mbuf"
)

// Packets whose next hop has no MAC yet wait here, as the VM sent them, and
// start their trip anew with the next version of the FIB. A few of them: a
// dataplane that buffers more turns one silent next hop into everybody's loss.
const (
	heldPerNextHop = 8
	heldInAll      = 256
)

type hold struct {
	n    int
	pkts [heldInAll]held
}

type held struct {
	m       *mbuf.Mbuf
	in      uint16 // port it came from
	nextHop uint32 // in the FIB of Worker.version
}

// wait holds a packet for its next hop, or drops it when too many wait already.
func (w *Worker) wait(m *mbuf.Mbuf, nextHop uint32) {
	h := &w.held
	same := 0
	for i := range h.pkts[:h.n] {
		if h.pkts[i].nextHop == nextHop {
			same++
		}
	}
	if same == heldPerNextHop || h.n == heldInAll {
		w.drop(m, count.NeighborQueue)
		return
	}
	h.pkts[h.n] = held{m, w.in, nextHop}
	h.n++
}

// retryHeld sends held packets through a new FIB, in the order in which they
// came. Those that must go on waiting are held again.
func (w *Worker) retryHeld(f *fib.FIB) {
	n := w.held.n
	w.held.n = 0
	for i := range n { // wait writes at most as far as i has read
		p := w.held.pkts[i]
		w.rx[0] = p.m
		w.carry(f, p.in, w.rx[:1])
	}
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
