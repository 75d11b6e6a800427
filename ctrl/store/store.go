// Package store keeps policy: in memory, or in a file that outlives the process
// and the machine's power. Policy comes in revisions; one set of changes makes
// one revision, whole, and who watches sees the revisions in order.
//
// Floor 3. It imports policy for what is kept and acts on none of it; it knows
// no API, no daemon and no dataplane.
package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"paca/dataplane/policy"
)

// Revision counts the sets of changes that a store has taken; 0 is none.
type Revision uint64

// Event is what one revision changed: Put and Delete with whole objects.
type Event struct {
	Revision Revision
	Changes  []policy.Change
}

// Store is where policy lives. Its methods may be called from any goroutine;
// Load before the first Commit.
type Store interface {
	// Load is everything that is kept, and the revision of it. The order is
	// that of Keys: what an object refers to comes before it.
	Load() (Revision, iter.Seq2[policy.Object, error])

	// Commit takes sets of changes as policy.Book.Apply returned them, all of
	// them or none. Each gets the next revision; last is that of the last set.
	// They are durable when it returns.
	Commit(sets [][]policy.Change) (last Revision, err error)

	// Watch is every event after a revision: those that were, then those to
	// come, until ctx ends or the store closes. A reader too slow for the
	// window gets ErrCompacted and the end.
	Watch(ctx context.Context, after Revision) (iter.Seq2[Event, error], error)

	Close() error
}

// What may be wrong with a store.
var (
	ErrCorrupt   = errors.New("corrupt")
	ErrNewer     = errors.New("written by a newer release")
	ErrLocked    = errors.New("in use by another process")
	ErrCompacted = errors.New("revision is no longer kept") // read all anew
	ErrClosed    = errors.New("closed")
)

// Open opens the store that spec names: "memory" or "bolt:FILE".
func Open(spec string) (Store, error) {
	kind, rest, _ := strings.Cut(spec, ":")
	switch {
	case spec == "memory":
		return newMemory(), nil
	case kind == "bolt" && rest != "":
		return openBolt(rest)
	case kind == "etcd":
		return nil, fmt.Errorf("store: %s: etcd comes with a later release; use memory or bolt:FILE", spec)
	}
	return nil, fmt.Errorf("store: %q is not memory or bolt:FILE", spec)
}
