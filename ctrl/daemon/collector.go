package daemon

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
)

// garbage is how many bytes of it may pile up before the collector runs, whatever
// policy there is. Each collection stops the workers twice, for a moment: with the
// runtime's own measure, as much as is in use, a host with little policy that changes
// often would have several in a second, and one with millions of records would take
// twice the memory that they do, though they are no work for the collector, which finds
// no pointers in them.
const garbage = 128 << 20

// pacer keeps the collector to that. GOGC, if it is set, has the last word.
type pacer struct {
	percent int // as it was set
	live    [1]metrics.Sample
}

func newPacer() *pacer {
	p := &pacer{percent: 100}
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
	percent := measure(p.live[0].Value.Uint64())
	if percent > p.percent+p.percent/4 || percent < p.percent-p.percent/4 {
		p.percent = percent
		debug.SetGCPercent(percent)
	}
}

// measure is the percentage of live bytes that may be added before they are looked
// through again.
func measure(live uint64) int {
	const (
		least = 10
		most  = 2000 // of a heap that is hardly there
	)
	return int(min(most, max(least, 100*garbage/max(live, 1))))
}
