package worker_test

import (
	"sync/atomic"
	"testing"
	"time"

	"paca/dataplane/fib"
	"paca/dataplane/fib/fibtest"
	"paca/dataplane/mbuf"
	"paca/dataplane/policy"
	"paca/dataplane/port"
	"paca/dataplane/worker"
)

// script is a port that receives so many runts at each poll, and ends the worker.
type script struct {
	port.Port
	polls []int
	pool  *mbuf.Heap
	work  func(n int) // what it takes to receive so many
	end   func()
}

func (s *script) Offloads() port.Offloads { return port.Offloads{} }

func (s *script) Rx(_ int, pkts []*mbuf.Mbuf) int {
	if len(s.polls) == 0 {
		s.end()
		return 0
	}
	n := s.polls[0]
	s.polls = s.polls[1:]
	s.pool.Alloc(pkts[:n])
	s.work(n)
	return n
}

// Idle is the time in which polls brought nothing, whatever the order of those that did,
// and the clock is not asked while they do.
func TestIdleTime(t *testing.T) {
	const emptyPoll, busyPoll, readClock = 50 * time.Nanosecond, 3000 * time.Nanosecond, 10 * time.Nanosecond
	for _, c := range []struct {
		name  string
		polls func(i int) int
		idle  float64 // of the time
	}{
		{"nothing", func(int) int { return 0 }, 1},
		{"always something", func(i int) int { return 32 }, 0},
		{"every other", func(i int) int { return i % 2 * 32 }, 60.0 / 3060},
		{"in bursts", func(i int) int { return i / 100 % 2 * 8 }, 60.0 / 3060},
	} {
		var now time.Duration
		asked := 0
		pool := mbuf.NewHeap(64, mbuf.DefaultDataRoom)
		var f atomic.Pointer[fib.FIB]
		f.Store(fibtest.Compile(t, &policy.Set{Ports: []policy.Port{{Name: "up", Role: policy.Uplink, MTU: 1500}}}, nil))
		w := worker.New(worker.Config{FIB: &f, MaxPorts: 1, Pool: pool, Wake: func() {}, Now: func() time.Duration {
			now += readClock
			asked++
			return now
		}})
		s := &script{pool: pool, end: w.Stop, work: func(n int) {
			now += emptyPoll
			if n > 0 {
				now += busyPoll - emptyPoll
			}
		}}
		for i := range 10_000 {
			s.polls = append(s.polls, c.polls(i+200))
		}
		// Long enough without anything to know what that takes.
		s.polls = append(make([]int, 100), s.polls...)
		w.Plug.Store(&worker.Plug{Ports: []port.Port{s}, Poll: []worker.Queue{{}}})
		w.Run()
		idle := time.Duration(w.Count.Snapshot().Idle)
		before := 100 * (emptyPoll + readClock)
		if got := float64(idle-before) / float64(now-before); got < c.idle-0.001 || got > c.idle+0.001 {
			t.Errorf("%s: idle for %.4f of the time, want %.4f", c.name, got, c.idle)
		}
		if c.idle == 0 && asked > 102 {
			t.Errorf("%s: the clock was asked %d times", c.name, asked)
		}
		if n := pool.Available(); n != 64 {
			t.Errorf("%s: %d of 64 buffers", c.name, n)
		}
	}
}
