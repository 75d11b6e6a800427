package daemon

import (
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
)

// garbage is how many bytes of it may pile up before the collector runs, whatever
// policy there is. Each collection stops the workers twice, for a moment: with the
// runtime's own measure, as much as is in use, a host with little policy that changes
// often would have several in a second, and one with millions of records would take
// twice the memory that they do, though they are no work for the collector, which finds
// no pointers in them. Where the process may have little memory, it is a quarter of that.
const garbage = 128 << 20

// pacer keeps the collector to that. GOGC, if it is set, has the last word.
type pacer struct {
	garbage uint64
	percent int // as it was set
	live    [1]metrics.Sample
}

func newPacer() *pacer {
	p := &pacer{garbage: min(garbage, memoryLimit("/")/4), percent: 100}
	p.live[0].Name = "/gc/heap/live:bytes"
	return p
}

// adjust is to be called now and then. Setting the measure stops the workers, too, so
// that small differences are left alone.
func (p *pacer) adjust() {
	if os.Getenv("GOGC") != "" {
		return
	}
	metrics.Read(p.live[:])
	percent := measure(p.live[0].Value.Uint64(), p.garbage)
	if percent > p.percent+p.percent/4 || percent < p.percent-p.percent/4 {
		p.percent = percent
		debug.SetGCPercent(percent)
	}
}

// memoryLimit is how many bytes the process's control group may have, and those that it
// is in (cgroup v2); root is where /proc and /sys are.
func memoryLimit(root string) uint64 {
	limit := uint64(math.MaxUint64)
	groups, _ := os.ReadFile(filepath.Join(root, "proc/self/cgroup")) // none: no limit
	for line := range strings.Lines(string(groups)) {
		group, found := strings.CutPrefix(strings.TrimSpace(line), "0::/")
		for dir := filepath.Clean(group); found; dir = filepath.Dir(dir) {
			text, _ := os.ReadFile(filepath.Join(root, "sys/fs/cgroup", dir, "memory.max"))
			if n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err == nil { // it is no "max"
				limit = min(limit, n)
			}
			found = dir != "."
		}
	}
	return limit
}

// measure is the percentage of live bytes that may be added before they are looked
// through again.
func measure(live, garbage uint64) int {
	const (
		least = 10
		most  = 2000 // of a heap that is hardly there
	)
	return int(min(most, max(least, 100*garbage/max(live, 1))))
}
