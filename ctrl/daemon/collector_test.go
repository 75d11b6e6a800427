package daemon

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestMeasureOfGarbage(t *testing.T) {
	for _, tt := range []struct {
		live uint64
		want int
	}{
		{0, 2000}, {1 << 20, 2000}, {16 << 20, 800}, {64 << 20, 200}, {128 << 20, 100}, {1 << 30, 12}, {1 << 40, 10},
	} {
		if got := measure(tt.live); got != tt.want {
			t.Errorf("of %d bytes: %d %%, want %d", tt.live, got, tt.want)
		}
	}
}

// The collector's measure follows the heap, and GOGC is left alone.
func TestPacer(t *testing.T) {
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	set := func() int {
		now := debug.SetGCPercent(100)
		debug.SetGCPercent(now)
		return now
	}
	t.Setenv("GOGC", "100")
	runtime.GC()
	newPacer().adjust()
	if got := set(); got != 100 {
		t.Errorf("with GOGC: %d %%", got)
	}
	t.Setenv("GOGC", "")
	p := newPacer()
	p.adjust()
	if got := set(); got != p.percent || got < 150 {
		t.Errorf("of a small heap: %d %%", got)
	}
	large := make([]byte, 2*garbage)
	runtime.GC()
	p.adjust()
	runtime.KeepAlive(large)
	if got := set(); got != p.percent || got > 60 {
		t.Errorf("of a large heap: %d %%", got)
	}
}
