package daemon

import (
	"math"
	"os"
	"path/filepath"
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
		if got := measure(tt.live, garbage); got != tt.want {
			t.Errorf("of %d bytes: %d %%, want %d", tt.live, got, tt.want)
		}
	}
}

// A control group that may have little, or is in one that may, is not filled with garbage.
func TestMemoryLimit(t *testing.T) {
	for _, tt := range []struct {
		name, cgroup string
		max          map[string]string
		want         uint64
	}{
		{"no control groups", "", nil, math.MaxUint64},
		{"no limit", "0::/system.slice/pacad.service\n", map[string]string{"system.slice/pacad.service": "max\n", "system.slice": "max\n"}, math.MaxUint64},
		{"its own", "0::/system.slice/pacad.service\n", map[string]string{"system.slice/pacad.service": "268435456\n", "system.slice": "max\n"}, 256 << 20},
		{"of the one around it", "0::/a/b/c\n", map[string]string{"a/b/c": "268435456\n", "a": "1048576\n"}, 1 << 20},
		{"a container's", "0::/\n", map[string]string{".": "268435456\n"}, 256 << 20},
		{"beside those of version 1", "4:memory:/x\n0::/y\n", map[string]string{"x": "1\n", "y": "2\n"}, 2},
	} {
		root := t.TempDir()
		write := func(text string, path ...string) {
			file := filepath.Join(append([]string{root}, path...)...)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if tt.cgroup != "" {
			write(tt.cgroup, "proc/self/cgroup")
		}
		for group, text := range tt.max {
			write(text, "sys/fs/cgroup", group, "memory.max")
		}
		if got := memoryLimit(root); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
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
