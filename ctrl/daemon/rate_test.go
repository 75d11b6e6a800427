package daemon

import (
	"testing"
	"time"
)

func TestBucket(t *testing.T) {
	now, r := time.Unix(1000, 0), rate{burst: 3, perSecond: 2}
	var b bucket
	count := func() (n int) {
		for b.take(now, r) {
			n++
		}
		return n
	}
	for i, c := range []struct {
		wait time.Duration
		want int
	}{
		{0, 3}, {0, 0}, {500 * time.Millisecond, 1}, {250 * time.Millisecond, 0}, {250 * time.Millisecond, 1},
		{time.Hour, 3}, {-time.Hour, 0}, {time.Hour + time.Second, 2},
	} {
		now = now.Add(c.wait)
		if n := count(); n != c.want {
			t.Errorf("%d: %d after %v, want %d", i, n, c.wait, c.want)
		}
	}
}

// A crowd of names costs bounded memory, and those known before keep their share.
func TestBucketsAreBounded(t *testing.T) {
	now, r := time.Unix(1000, 0), rate{burst: 2, perSecond: 1}
	var b buckets[int]
	for k := range 10 * maxKeys {
		if got, want := b.take(now, k, r), k < maxKeys; got != want {
			t.Fatalf("name %d: %v", k, got)
		}
	}
	if !b.take(now, 0, r) || b.take(now, 0, r) {
		t.Error("who was first has not what is his")
	}
	now = now.Add(time.Second)
	if !b.take(now, -1, r) {
		t.Error("a new name has no place after a second")
	}
	if len(b.of) > maxKeys {
		t.Errorf("%d buckets", len(b.of))
	}
}

func TestRecentIsBounded(t *testing.T) {
	now := time.Unix(1000, 0)
	var r recent[int]
	for k := range 10 * maxKeys {
		if again, room := r.again(now, k, time.Second); again || room != (k < maxKeys) {
			t.Fatalf("%d: again %v, room %v", k, again, room)
		}
	}
	for _, c := range []struct {
		k           int
		after       time.Duration
		again, room bool
	}{
		{0, 999 * time.Millisecond, true, true}, {-1, 999 * time.Millisecond, false, false},
		{0, time.Second, false, true}, {-1, time.Second, false, true}, {-1, time.Second, true, true},
	} {
		if again, room := r.again(now.Add(c.after), c.k, time.Second); again != c.again || room != c.room {
			t.Errorf("%d after %v: again %v, room %v", c.k, c.after, again, room)
		}
	}
	if len(r.at) > maxKeys {
		t.Errorf("%d remembered", len(r.at))
	}
}
