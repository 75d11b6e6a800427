package daemon

import (
	"context"
	"slices"
	"sync"
	"time"

	"paca/dataplane/count"
	"paca/dataplane/worker"
)

// The loads of workers are those of the last loadWindow, which one look at them is
// enough to tell: what they counted is kept once every loadInterval.
const (
	loadWindow   = 10 * time.Second
	loadInterval = time.Second
)

// loads remembers what workers had counted lately.
type loads struct {
	mu   sync.Mutex
	kept []moment // the oldest first
}

// moment is what workers had counted at a time.
type moment struct {
	at      time.Time
	workers []tally
}

// tally is what load is made of.
type tally struct {
	idle    uint64 // nanoseconds
	carried uint64 // packets
}

func momentOf(now time.Time, workers []*count.Worker) moment {
	m := moment{at: now}
	for _, w := range workers {
		sum := w.Sum()
		m.workers = append(m.workers, tally{idle: w.Idle, carried: sum.RxPackets - w.Given - sum.Drops[count.WorkerQueue] + w.Taken})
	}
	return m
}

// snapshots is what workers have counted.
func snapshots(workers []*worker.Worker) []*count.Worker {
	all := make([]*count.Worker, len(workers))
	for i, w := range workers {
		all[i] = w.Count.Snapshot()
	}
	return all
}

// keep works until ctx ends.
func (l *loads) keep(ctx context.Context, workers []*worker.Worker) {
	tick := time.NewTicker(loadInterval)
	defer tick.Stop()
	for {
		l.add(momentOf(time.Now(), snapshots(workers)))
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// add keeps a moment, and forgets those that are out of the window then.
func (l *loads) add(m moment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = slices.DeleteFunc(append(l.kept, m), func(k moment) bool { return m.at.Sub(k.at) > loadWindow })
}

// share is what one worker did in a time.
type share struct {
	load float64 // part of it in which there was something to do, 0 to 1
	rate float64 // packets carried in a second
}

// until is what workers did from the oldest moment that is kept to now; nil before
// there is any.
func (l *loads) until(now moment) (shares []share, over time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.kept) == 0 || !now.at.After(l.kept[0].at) {
		return nil, 0
	}
	was := l.kept[0]
	over = now.at.Sub(was.at)
	for i, t := range now.workers {
		idle := float64(t.idle-was.workers[i].idle) / float64(over)
		shares = append(shares, share{
			load: min(1, max(0, 1-idle)),
			rate: max(0, float64(int64(t.carried-was.workers[i].carried))) / over.Seconds(), // counters are not all of one instant
		})
	}
	return shares, over
}

// imbalance is the busiest worker's load over the mean: 1 if they are even, as many as
// there are workers if one does all; 0 if none does anything.
func imbalance(shares []share) float64 {
	busiest, sum := 0.0, 0.0
	for _, s := range shares {
		busiest = max(busiest, s.load)
		sum += s.load
	}
	if sum == 0 {
		return 0
	}
	return busiest * float64(len(shares)) / sum
}
