package daemon

import (
	"context"
	"fmt"
	"iter"
	"runtime"
	"sync"
	"testing"
	"time"

	"paca/ctrl/server"
)

// next is one thing heard, or none in a second.
func next(t *testing.T, pull func() (server.Heard, bool)) server.Heard {
	t.Helper()
	c := make(chan server.Heard, 1)
	go func() {
		if heard, ok := pull(); ok {
			c <- heard
		}
		close(c)
	}()
	select {
	case heard := <-c:
		return heard
	case <-time.After(5 * time.Second):
		t.Fatal("nothing is heard")
		return server.Heard{}
	}
}

func TestE10_E12Notices(t *testing.T) {
	var n notices
	n.publish(server.Notice{Reason: "to nobody"})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	one, stopOne := iter.Pull(n.listen(ctx))
	defer stopOne()
	before := time.Now()
	at := time.Unix(1, 0)
	n.publish(server.Notice{Kind: server.CustomerAddress, Reason: "added"}, server.Notice{Kind: server.ProviderAddress, Time: at})
	two, stopTwo := iter.Pull(n.listen(ctx)) // too late for those
	defer stopTwo()
	heard := next(t, one)
	if len(heard.Notices) != 2 || heard.Lost != 0 || heard.Notices[0].Reason != "added" || heard.Notices[0].Time.Before(before) || !heard.Notices[1].Time.Equal(at) {
		t.Errorf("heard %+v", heard)
	}
	n.publish(server.Notice{Reason: "to both"})
	for _, pull := range []func() (server.Heard, bool){one, two} {
		if heard := next(t, pull); len(heard.Notices) != 1 || heard.Notices[0].Reason != "to both" {
			t.Errorf("heard %+v", heard)
		}
	}
	if told, lost := n.counts(); told != 4 || lost != 1 {
		t.Errorf("told %d, lost %d; want 4 and 1", told, lost)
	}
	cancel()
	if heard, ok := one(); ok {
		t.Errorf("heard %+v after the end", heard)
	}
}

// One who does not read costs the others nothing, loses what it has no room for,
// and is told how much.
func TestE10SlowListener(t *testing.T) {
	var n notices
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	slow, stopSlow := iter.Pull(n.listen(ctx))
	defer stopSlow()
	quick, stopQuick := iter.Pull(n.listen(ctx))
	defer stopQuick()
	const all = 3*maxHeard + 7
	for i := range all {
		n.publish(server.Notice{Reason: fmt.Sprint(i)})
		if heard := next(t, quick); len(heard.Notices) != 1 || heard.Notices[0].Reason != fmt.Sprint(i) || heard.Lost != 0 {
			t.Fatalf("the quick one heard %+v at %d", heard, i)
		}
	}
	heard := next(t, slow)
	if len(heard.Notices) != maxHeard || heard.Lost != all-maxHeard || heard.Notices[maxHeard-1].Reason != fmt.Sprint(maxHeard-1) {
		t.Errorf("the slow one heard %d, lost %d", len(heard.Notices), heard.Lost)
	}
	n.publish(server.Notice{Reason: "after"})
	if heard := next(t, slow); len(heard.Notices) != 1 || heard.Lost != 0 || heard.Notices[0].Reason != "after" {
		t.Errorf("then the slow one heard %+v", heard)
	}
	if told, lost := n.counts(); told != all+1+maxHeard+1 || lost != all-maxHeard {
		t.Errorf("told %d, lost %d", told, lost)
	}
}

// Who listened and never read leaves nothing behind.
func TestNoticesForget(t *testing.T) {
	var n notices
	for i := range 100 {
		ctx, cancel := context.WithCancel(context.Background())
		all := n.listen(ctx)
		n.publish(server.Notice{})
		if i%2 == 0 {
			for range all {
				break
			}
		}
		cancel()
	}
	for range 1000 {
		n.mu.Lock()
		left := len(n.listeners)
		n.mu.Unlock()
		if left == 0 {
			return
		}
		runtime.Gosched()
		time.Sleep(time.Millisecond)
	}
	t.Errorf("%d listeners are left", len(n.listeners))
}

// Many publish while listeners come, read, are slow and go; every notice that was
// kept for a listener or lost to it is accounted for.
func TestNoticesAtOnce(t *testing.T) {
	var n notices
	var publishers, listeners sync.WaitGroup
	var heard, lost uint64
	var mu sync.Mutex
	ctx, cancel := context.WithCancel(context.Background())
	for i := range 4 {
		all := n.listen(ctx)
		listeners.Go(func() {
			var h, l uint64
			for some := range all {
				h, l = h+uint64(len(some.Notices)), l+some.Lost
				if i == 0 {
					time.Sleep(time.Millisecond)
				}
			}
			mu.Lock()
			heard, lost = heard+h, lost+l
			mu.Unlock()
		})
	}
	const each = 5000
	for range 4 {
		publishers.Go(func() {
			for range each {
				n.publish(server.Notice{})
			}
		})
	}
	publishers.Wait()
	for { // until all of it is heard
		n.mu.Lock()
		waiting := 0
		for l := range n.listeners {
			waiting += len(l.heard.Notices)
		}
		n.mu.Unlock()
		if waiting == 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	listeners.Wait()
	told, gone := n.counts()
	if heard != told || lost != gone || heard+lost != 4*4*each {
		t.Errorf("heard %d of %d, lost %d of %d, of %d", heard, told, lost, gone, 4*4*each)
	}
}
