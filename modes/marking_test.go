package modes_test

import (
	"runtime"
	"slices"
	"testing"
	"time"
	"unsafe"

	"paca/dataplane/mbuf"
	"paca/dataplane/port"
	"paca/dataplane/unseen"
	"paca/modes/nvgre"
)

// driver is a loop that hands packets over as one in C does: the collector hears nothing
// of it.
type driver struct{ loop }

func (p *driver) Rx(_ int, pkts []*mbuf.Mbuf) int {
	n := unseen.Copy(unsafe.Slice((*unseen.Ref[mbuf.Mbuf])(unsafe.Pointer(unsafe.SliceData(pkts))), len(pkts)), p.pkts[p.at:])
	if p.at += n; p.at == len(p.pkts) {
		p.at = 0
	}
	return n
}

// BenchmarkEgressMarking is BenchmarkEgressBare while the garbage collector runs, again
// and again, on another core. Half of the bursts see nothing of it; the slowest in a
// hundred are those during which it marks.
func BenchmarkEgressMarking(b *testing.B) {
	type node struct{ next *node }
	nodes := make([]*node, 1<<21) // take the collector a while
	for i := range nodes {
		nodes[i] = &node{nodes[max(i-1, 0)]}
	}
	frames := flows(1024)
	r := newRig(b, testPolicy(), nvgre.Config{})
	l := &driver{loop{pkts: loaded(frames), grown: 42}}
	plug := r.w.Plug.Load()
	plug.Ports[blue1], plug.Ports[uplink] = l, l
	plug.Poll = plug.Poll[blue1 : blue1+1]

	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				runtime.GC()
			}
		}
	}()
	runtime.LockOSThread()
	took := make([]time.Duration, 0, b.N/port.MaxBurst+1)
	for n := 0; n < b.N; n += port.MaxBurst {
		begin := time.Now()
		r.w.PollOnce()
		took = append(took, time.Since(begin))
	}
	runtime.UnlockOSThread()
	close(stop)
	<-stopped
	slices.Sort(took)
	for _, q := range []struct {
		unit string
		at   int
	}{{"ns/packet-p50", len(took) / 2}, {"ns/packet-p99", len(took) * 99 / 100}} {
		b.ReportMetric(float64(took[q.at].Nanoseconds())/port.MaxBurst, q.unit)
	}
	runtime.KeepAlive(nodes)
}
