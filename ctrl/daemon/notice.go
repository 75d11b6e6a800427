package daemon

import (
	"context"
	"iter"
	"sync"
	"time"

	"paca/ctrl/server"
)

// maxHeard is how many notices are kept for a listener that is slow.
const maxHeard = 512

// notices passes what the host notices on to those who listen. Who publishes waits
// for none of them: each has a few notices kept, and those beyond are lost to it,
// which it is told. The zero value has no listeners.
type notices struct {
	mu        sync.Mutex
	listeners map[*listener]struct{}
	told      uint64 // notices kept for listeners, each time counted (E10)
	lost      uint64 // notices for which a listener had no room, or that nobody listened to (E10)
}

// listener is one who listens. Its fields are guarded by notices.mu.
type listener struct {
	heard server.Heard
	news  chan struct{} // has one when heard is not empty
}

// publish tells all listeners. It never blocks.
func (n *notices) publish(all ...server.Notice) {
	now := time.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, one := range all {
		if one.Time.IsZero() {
			one.Time = now
		}
		if len(n.listeners) == 0 {
			n.lost++
		}
		for l := range n.listeners {
			if l.heard.Lost > 0 || len(l.heard.Notices) == maxHeard {
				// Once one is lost, so are all until it is told: it hears no gaps.
				l.heard.Lost++
				n.lost++
				continue
			}
			l.heard.Notices = append(l.heard.Notices, one)
			n.told++
			select {
			case l.news <- struct{}{}:
			default: // it has been woken
			}
		}
	}
}

// listen yields what is published from now on, as it comes, until ctx ends. The
// caller need not read it.
func (n *notices) listen(ctx context.Context) iter.Seq[server.Heard] {
	l := &listener{news: make(chan struct{}, 1)}
	n.mu.Lock()
	if n.listeners == nil {
		n.listeners = map[*listener]struct{}{}
	}
	n.listeners[l] = struct{}{}
	n.mu.Unlock()
	leave := func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.listeners, l)
	}
	context.AfterFunc(ctx, leave)
	return func(yield func(server.Heard) bool) {
		defer leave()
		for {
			select {
			case <-ctx.Done():
				return
			case <-l.news:
			}
			n.mu.Lock()
			heard := l.heard
			l.heard = server.Heard{}
			n.mu.Unlock()
			if !yield(heard) {
				return
			}
		}
	}
}

// counts is how often a notice was told to a listener, and lost to one or to
// nobody (E10).
func (n *notices) counts() (told, lost uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.told, n.lost
}
