package probe

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// window is how many frames back the tally knows which have come: more than fit into
// the rings of a loop.
const window = 1 << 16

// tally counts frames that come back.
type tally struct {
	Result
	next      uint64 // one behind the highest number received
	seen      [window / 64]uint64
	latency   *hdrhistogram.Histogram
	present   *hdrhistogram.Histogram
	presentAt time.Duration // since when the probe has had no gap
}

func newTally() *tally {
	// From a nanosecond to a minute, in three digits.
	h := func() *hdrhistogram.Histogram { return hdrhistogram.New(1, int64(time.Minute), 3) }
	return &tally{latency: h(), present: h()}
}

func (t *tally) reset() {
	t.Result = Result{}
	t.next, t.presentAt = 0, 0
	clear(t.seen[:])
	t.latency.Reset()
	t.present.Reset()
}

// away notes a gap of the probe's own loop.
func (t *tally) away(from, to time.Duration) {
	t.Gaps++
	t.Away += to - from
	t.presentAt = to
}

// frame counts a frame of this run that came back now.
func (t *tally) frame(seq uint64, at, now time.Duration) {
	word, bit := &t.seen[seq%window/64], uint64(1)<<(seq%64)
	switch {
	case seq >= t.Sent:
		t.Strange++
		return
	case seq >= t.next:
		t.forget(t.next, seq)
		t.next = seq + 1
	case t.next-seq > window:
		t.Strange++ // too old to say whether it has come before
		return
	case *word&bit != 0:
		t.Duplicated++
		return
	default:
		t.Reordered++
	}
	*word |= bit
	t.Received++
	_ = t.latency.RecordValue(min(int64(now-at), int64(time.Minute)))
	if at >= t.presentAt {
		_ = t.present.RecordValue(min(int64(now-at), int64(time.Minute)))
	}
}

// forget makes room in the window for the numbers first to last.
func (t *tally) forget(first, last uint64) {
	if last-first >= window {
		clear(t.seen[:])
		return
	}
	for s := first; s <= last; s++ {
		t.seen[s%window/64] &^= 1 << (s % 64)
	}
}

func (t *tally) result() *Result {
	r := t.Result
	r.Lost = r.Sent - r.Received
	r.Latency, r.Present = *t.latency.Export(), *t.present.Export()
	return &r
}
