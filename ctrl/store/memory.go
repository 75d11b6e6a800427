package store

import (
	"context"
	"iter"
	"maps"
	"slices"
	"sync"

	"paca/dataplane/policy"
)

// memory keeps policy as long as the process lives.
type memory struct {
	history
	mu      sync.Mutex
	objects map[policy.Key]policy.Object
}

func newMemory() *memory {
	return &memory{objects: map[policy.Key]policy.Object{}, history: history{more: make(chan struct{})}}
}

func (m *memory) Load() (Revision, iter.Seq2[policy.Object, error]) {
	m.mu.Lock()
	defer m.mu.Unlock()
	objects := maps.Clone(m.objects)
	return m.revision(), func(yield func(policy.Object, error) bool) {
		for _, k := range slices.Sorted(maps.Keys(objects)) {
			if !yield(objects[k], nil) {
				return
			}
		}
	}
}

func (m *memory) Commit(sets [][]policy.Change) (Revision, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.isClosed() {
		return 0, ErrClosed
	}
	for _, set := range sets {
		for _, c := range set {
			if c.Verb == policy.Delete {
				delete(m.objects, c.Object.Key())
			} else {
				m.objects[c.Object.Key()] = c.Object
			}
		}
	}
	return m.append(sets), nil
}

func (m *memory) Watch(ctx context.Context, after Revision) (iter.Seq2[Event, error], error) {
	return m.watch(ctx, after)
}

func (m *memory) Close() error {
	m.close()
	return nil
}
