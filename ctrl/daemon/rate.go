package daemon

import (
	"maps"
	"time"
)

// rate is how often something may happen: so many times at once, and so many more
// with each second.
type rate struct{ burst, perSecond float64 }

// bucket holds something to a rate. The zero bucket is full.
type bucket struct {
	spent float64   // of the burst
	at    time.Time // then
}

func (b *bucket) left(now time.Time, r rate) float64 {
	return r.burst - max(0, b.spent-now.Sub(b.at).Seconds()*r.perSecond)
}

// take says whether it may happen once more.
func (b *bucket) take(now time.Time, r rate) bool {
	left := b.left(now, r)
	b.spent, b.at = r.burst-left, now
	if left < 1 {
		return false
	}
	b.spent++
	return true
}

// maxKeys bounds what buckets and recent remember.
const maxKeys = 256

// buckets hold each K to a rate. When there are too many at once, new ones have to
// wait.
type buckets[K comparable] struct{ of map[K]bucket }

func (b *buckets[K]) take(now time.Time, k K, r rate) bool {
	e, known := b.of[k]
	if !known && len(b.of) >= maxKeys {
		maps.DeleteFunc(b.of, func(_ K, e bucket) bool { return e.left(now, r) == r.burst })
		if len(b.of) >= maxKeys {
			return false
		}
	}
	if b.of == nil {
		b.of = map[K]bucket{}
	}
	ok := e.take(now, r)
	b.of[k] = e
	return ok
}

// recent remembers what was said lately.
type recent[K comparable] struct{ at map[K]time.Time }

// again says whether k was said within the pause; if not, it is now, unless there is no
// room to remember it.
func (r *recent[K]) again(now time.Time, k K, pause time.Duration) (again, room bool) {
	if last, said := r.at[k]; said && now.Sub(last) < pause {
		return true, true
	}
	if len(r.at) >= maxKeys {
		maps.DeleteFunc(r.at, func(_ K, last time.Time) bool { return now.Sub(last) >= pause })
		if len(r.at) >= maxKeys {
			return false, false
		}
	}
	if r.at == nil {
		r.at = map[K]time.Time{}
	}
	r.at[k] = now
	return false, true
}
