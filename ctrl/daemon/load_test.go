package daemon

import (
	"errors"
	"math"
	"testing"
	"time"

	"paca/conf"
	"paca/dataplane/count"
	"paca/dataplane/port"
	"paca/dataplane/worker"
)

// counted is what a worker has counted that was busy for some of the time and carried
// packets, a part of which a peer gave it.
func counted(busy, all time.Duration, carried uint64) *count.Worker {
	w := count.NewWorker(2)
	w.Idle = uint64(all - busy)
	w.Ports[0].RxPackets, w.Ports[1].RxPackets, w.Given, w.Taken = carried, 7, 10, 3
	return w
}

func TestLoads(t *testing.T) {
	var l loads
	start := time.Unix(1000, 0)
	at := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
	moment := func(s float64, busy ...float64) moment {
		var all []*count.Worker
		for _, b := range busy {
			all = append(all, counted(at(b), at(s), uint64(1000*b)))
		}
		return momentOf(start.Add(at(s)), all)
	}
	if shares, over := l.until(moment(0, 0, 0)); shares != nil || over != 0 {
		t.Errorf("before there was anything: %v of %v", shares, over)
	}
	// The first is busy half of the time, the second three quarters; from 20 s on all of it.
	for s := 0.0; s <= 20; s++ {
		l.add(moment(s, s/2, s*3/4))
	}
	for _, c := range []struct {
		s, first, second float64 // what they did since the start
		loads            [2]float64
		rates            [2]float64
		over             time.Duration
	}{
		{20, 10, 15, [2]float64{0.5, 0.75}, [2]float64{500, 750}, 10 * time.Second},
		{20.5, 10.5, 15.5, [2]float64{0.5 + 0.25/10.5, (7.5 + 0.5) / 10.5}, [2]float64{5500 / 10.5, 8000 / 10.5}, 10500 * time.Millisecond},
	} {
		shares, over := l.until(moment(c.s, c.first, c.second))
		if over != c.over || len(shares) != 2 {
			t.Fatalf("%+v: %v of %v", c, shares, over)
		}
		for i, s := range shares {
			if math.Abs(s.load-c.loads[i]) > 1e-9 || math.Abs(s.rate-c.rates[i]) > 1e-6 {
				t.Errorf("%+v: worker %d: %+v", c, i, s)
			}
		}
	}
}

func TestImbalance(t *testing.T) {
	for _, c := range []struct {
		loads []float64
		want  float64
	}{
		{nil, 0}, {[]float64{0, 0}, 0}, {[]float64{0.3}, 1}, {[]float64{0.5, 0.5}, 1}, {[]float64{1, 0, 0, 0}, 4}, {[]float64{0.75, 0.25}, 1.5},
	} {
		var shares []share
		for _, l := range c.loads {
			shares = append(shares, share{load: l})
		}
		if got := imbalance(shares); got != c.want {
			t.Errorf("%v: %v, want %v", c.loads, got, c.want)
		}
	}
}

// O32: who deals NVGRE out, by what was asked for and what the device does.
func TestO32WhoSpreads(t *testing.T) {
	inner, why := "RSS by inner headers", errors.New("it cannot")
	for _, c := range []struct {
		by      conf.Spread
		workers int
		queues  int
		inner   string
		want    worker.Spread
		how     string
		refused bool
	}{
		{conf.SpreadAuto, 1, 1, "", worker.SpreadNone, "", false},
		{conf.SpreadNIC, 1, 1, "", worker.SpreadNone, "", false},
		{conf.SpreadAuto, 2, 2, inner, worker.SpreadNone, inner, false},
		{conf.SpreadAuto, 2, 4, inner, worker.SpreadNone, inner, false},
		{conf.SpreadAuto, 4, 2, inner, worker.SpreadFlows, "software: the device has fewer queues than there are workers", false},
		{conf.SpreadAuto, 2, 2, "", worker.SpreadTunnels, "software: the device does not spread NVGRE: it cannot", false},
		{conf.SpreadAuto, 2, 1, "", worker.SpreadFlows, "software: the device does not spread NVGRE: it has one queue", false},
		{conf.SpreadNIC, 2, 2, inner, worker.SpreadNone, inner, false},
		{conf.SpreadNIC, 4, 2, inner, worker.SpreadNone, inner, false},
		{conf.SpreadNIC, 2, 2, "", 0, "", true},
		{conf.SpreadNIC, 2, 1, "", 0, "", true},
		{conf.SpreadSoftware, 2, 2, "", worker.SpreadTunnels, "software", false},
		{conf.SpreadNone, 2, 1, "", worker.SpreadNone, "none", false},
	} {
		s, how, err := spread(c.by, c.workers, port.Info{RxQueues: c.queues, Inner: c.inner}, why)
		if c.refused != errors.Is(err, errFlat) || err == nil && (s != c.want || how != c.how) {
			t.Errorf("%+v: %v, %q, %v", c, s, how, err)
		}
		if c.refused && errors.Is(err, why) != (c.queues > 1) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
