package store

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"

	"paca/dataplane/policy"
)

// The window of events kept for Watch. The bound on changes keeps large sets
// from holding memory long after they were applied.
const (
	windowEvents  = 1024
	windowChanges = 128 << 10
)

// history is the latest events and those who wait for the next.
type history struct {
	mu      sync.Mutex
	last    Revision
	events  []Event       // of consecutive revisions, up to last
	changes int           // in events
	more    chan struct{} // closed when last grows, and replaced
	closed  bool
}

func (h *history) revision() Revision {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last
}

func (h *history) isClosed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closed
}

// append gives each set a revision and returns the last.
func (h *history) append(sets [][]policy.Change) Revision {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, set := range sets {
		h.last++
		h.events = append(h.events, Event{h.last, set})
		h.changes += len(set)
	}
	drop := 0
	for len(h.events)-drop > windowEvents || h.changes > windowChanges && len(h.events)-drop > 1 {
		h.changes -= len(h.events[drop].Changes)
		h.events[drop] = Event{}
		drop++
	}
	h.events = h.events[drop:]
	if len(sets) > 0 {
		close(h.more)
		h.more = make(chan struct{})
	}
	return h.last
}

// after is the events since a revision, or a channel that closes when there
// are some.
func (h *history) after(r Revision) ([]Event, <-chan struct{}, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	oldest := h.last - Revision(len(h.events)) // whose successors are all here
	switch {
	case r > h.last:
		return nil, nil, fmt.Errorf("store: watch after revision %d of %d: %w", r, h.last, ErrCompacted)
	case r < oldest:
		return nil, nil, fmt.Errorf("store: watch after revision %d, the oldest is %d: %w", r, oldest, ErrCompacted)
	case h.closed && r == h.last:
		return nil, nil, ErrClosed
	}
	// A copy: what leaves the window is cleared, and a reader may take its time.
	return slices.Clone(h.events[r-oldest:]), h.more, nil
}

func (h *history) watch(ctx context.Context, r Revision) (iter.Seq2[Event, error], error) {
	if _, _, err := h.after(r); err != nil {
		return nil, err
	}
	return func(yield func(Event, error) bool) {
		at := r
		for ctx.Err() == nil {
			events, more, err := h.after(at)
			if err != nil {
				yield(Event{}, err)
				return
			}
			for _, e := range events {
				if ctx.Err() != nil || !yield(e, nil) {
					return
				}
				at = e.Revision
			}
			if len(events) == 0 {
				select {
				case <-more:
				case <-ctx.Done():
				}
			}
		}
	}, nil
}

func (h *history) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.closed = true
		close(h.more)
	}
}
