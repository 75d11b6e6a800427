package worker

import (
	"sync/atomic"
	"time"
)

// bucket limits a rate: so many in a second, a quarter of that at once. The zero
// value is full. All workers of a host take from it, so that a rate is the host's
// however a port's packets are spread.
type bucket struct {
	due atomic.Int64 // when the next one is, at the steady rate
}

// tolerance is how far ahead of the steady rate a bucket lets get.
const tolerance = time.Second / 4

// take says whether one more is within rate per second.
func (b *bucket) take(now time.Duration, rate int) bool { return b.takeAll(now, 1, rate) }

// takeAll says whether n more, all or none, are within rate per second. The first
// of them decides: more than a bucket ever holds take long, but get through.
func (b *bucket) takeAll(now time.Duration, n, rate int) bool {
	for {
		was := b.due.Load()
		due := max(time.Duration(was), now)
		if due-now > tolerance {
			return false
		}
		if b.due.CompareAndSwap(was, int64(due+time.Duration(n)*time.Second/time.Duration(rate))) {
			return true
		}
	}
}

// limits are those of one port, on all workers together.
type limits struct {
	storm bucket // copies of broadcasts and multicasts from its VM
	icmp  bucket // ICMP to its VM (M9)
	learn bucket // what its VM tells of its CA (A16)
	lease bucket // what others tell it (A16)
	dhcp  bucket // what its VM asks for (A14)
	miss  bucket // whom its VM asks for in vain (L13)
	punt  bucket // ICMP from the fabric (M10)
	stray bucket // what the fabric makes it do (L24)
	nve   bucket // what other hosts say (N1)
}

// forget is for when a port is plugged out, and its index may be another's. Every worker
// does it, all of them before there is another (Settle).
func (l *limits) forget() {
	for _, b := range []*bucket{&l.storm, &l.icmp, &l.learn, &l.lease, &l.dhcp, &l.miss, &l.punt, &l.stray, &l.nve} {
		b.due.Store(0)
	}
}

// puntRate is how many frames per second and port the control plane gets of those
// kinds that anyone can send as many of as he likes.
const puntRate = 200

// clock is the time of this turn, asked for when it is first needed.
func (w *Worker) clock() time.Duration {
	if !w.timed {
		w.now, w.timed = w.Now(), true
	}
	return w.now
}

// mayAnswer says whether one more ICMP message may go to the VM behind w.in.
func (w *Worker) mayAnswer() bool {
	return w.limits[w.in].icmp.take(w.clock(), w.Router.ErrorRate)
}
