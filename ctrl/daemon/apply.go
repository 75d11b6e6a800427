package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"paca/ctrl/server"
	"paca/dataplane/policy"
)

// request is a change set on its way into force.
type request struct {
	changes []policy.Change
	dryRun  bool
	expect  uint64 // revision, 0 for any
	done    chan outcome
}

type outcome struct {
	revision uint64
	applied  []policy.Change
	err      error
}

// maxBatch is how many change sets are made durable and published at once: the
// cost of both is shared, and the order among them kept.
const maxBatch = 256

// Apply implements server.Policy: it queues a change set and waits for its
// outcome. When ctx ends first, the set may still come into force.
func (h *host) Apply(ctx context.Context, _ server.Peer, changes []policy.Change, dryRun bool, expect uint64) (uint64, []policy.Change, error) {
	r := &request{changes, dryRun, expect, make(chan outcome, 1)}
	select {
	case h.requests <- r:
	case <-ctx.Done():
		return 0, nil, ctx.Err()
	}
	select {
	case o := <-r.done:
		return o.revision, o.applied, o.err
	case <-ctx.Done():
		return 0, nil, ctx.Err()
	}
}

// applyAll brings change sets into force, one goroutine for all, until ctx ends.
func (h *host) applyAll(ctx context.Context) {
	for {
		var batch []*request
		select {
		case <-ctx.Done():
			return
		case r := <-h.requests:
			batch = append(batch, r)
		}
		for more := true; more && len(batch) < maxBatch; {
			select {
			case r := <-h.requests:
				batch = append(batch, r)
			default:
				more = false
			}
		}
		h.apply(batch)
	}
}

// accepted is a change set that the Book has taken and the store has not yet.
type accepted struct {
	request *request
	applied []policy.Change
	opened  []string // ports
}

// apply brings a batch into force: each set by itself into the Book, or refused;
// then all of them durable; then in force for the workers, at once; then
// acknowledged. Only this goroutine changes the Book, so it reads without h.mu.
func (h *host) apply(batch []*request) {
	h.book.Begin()
	outcomes := make([]outcome, len(batch))
	var sets []*accepted
	judged := len(batch) // those from here on were judged after a set that is not durable yet
	for i, r := range batch {
		revision := h.revision + uint64(len(sets))
		a, err := h.accept(r, revision)
		outcomes[i] = outcome{revision, a.applied, err}
		if err != nil || r.dryRun || len(a.applied) == 0 {
			continue
		}
		judged = min(judged, i)
		sets = append(sets, a)
		outcomes[i].revision++
	}
	if err := h.commit(sets); err != nil {
		for i := range outcomes[judged:] {
			outcomes[judged+i] = outcome{h.revision, nil, fmt.Errorf("%w: %w", server.ErrUnavailable, err)}
		}
	}
	for i, r := range batch {
		r.done <- outcomes[i]
	}
}

// commit makes sets that the Book has taken durable and puts them in force, or has
// the Book take all of them back.
func (h *host) commit(sets []*accepted) error {
	if len(sets) == 0 {
		h.book.End()
		return nil
	}
	var all []policy.Change
	commits := make([][]policy.Change, len(sets))
	for i, a := range sets {
		commits[i] = a.applied
		all = append(all, a.applied...)
	}
	if _, err := h.store.Commit(commits); err != nil {
		h.mu.Lock()
		h.book.Rollback()
		h.mu.Unlock()
		for _, a := range sets {
			h.plugOut(a.opened)
		}
		return err
	}
	h.mu.Lock()
	h.book.End()
	h.revision += uint64(len(sets))
	h.mu.Unlock()
	h.publish(all)
	h.portsChanged(all)
	return nil
}

// accept lets the Book judge a set, and plugs in the ports it adds.
func (h *host) accept(r *request, revision uint64) (*accepted, error) {
	a := &accepted{request: r}
	if r.expect != 0 && r.expect != revision {
		return a, fmt.Errorf("%w: expected revision %d, policy is at %d", server.ErrConflict, r.expect, revision)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	hasPort := slices.ContainsFunc(r.changes, func(c policy.Change) bool { return c.Object != nil && c.Object.Kind() == policy.KindPort })
	if r.dryRun || hasPort { // a device is opened only for a set that is good
		applied, err := h.book.Check(r.changes)
		if err != nil || r.dryRun {
			a.applied = applied
			return a, err
		}
		h.mu.Unlock() // devices take their time
		err = h.plugIn(a, applied)
		h.mu.Lock()
		if err != nil {
			return a, err
		}
	}
	var err error
	a.applied, err = h.book.Apply(r.changes)
	return a, err
}

// plugIn opens the ports that a set adds, and refuses changes of a port's that
// only a new port can have.
func (h *host) plugIn(a *accepted, applied []policy.Change) error {
	var faults []error
	for _, c := range applied {
		p, ok := c.Object.(policy.Port)
		if !ok || c.Verb == policy.Delete {
			continue
		}
		fault := func(field string, err error) {
			faults = append(faults, &policy.Fault{Object: "port", Index: indexOf(a.request.changes, p.Key()), Field: field, Problem: err.Error(), Rule: "hot-plug"})
		}
		if i := h.slotOf(p.Name); i >= 0 {
			switch was := h.slots[i].asked; {
			case was.Device != p.Device:
				fault("device", errNotHotPluggable)
			case was.Role != p.Role:
				fault("role", errNotHotPluggable)
			case was.MTU != p.MTU:
				fault("mtu", errNotHotPluggable)
			}
			continue
		}
		if err := h.open(p); err != nil {
			fault("device", err)
			continue
		}
		a.opened = append(a.opened, p.Name)
	}
	if len(faults) > 0 {
		h.plugOut(a.opened)
	}
	return errors.Join(faults...)
}

// plugOut closes ports that were opened for a set that came to nothing.
func (h *host) plugOut(names []string) {
	for _, name := range names {
		if err := h.close(name); err != nil {
			h.log.Error("port", "error", err)
		}
	}
}

func indexOf(changes []policy.Change, k policy.Key) int {
	for i, c := range changes {
		if c.Object.Key() == k {
			return i
		}
	}
	return 0
}

// portsChanged is what is left to do for ports once the FIB knows. The Book tells
// which of them there still are: one may have gone and come within a batch.
func (h *host) portsChanged(applied []policy.Change) {
	for _, c := range applied {
		p, ok := c.Object.(policy.Port)
		if !ok {
			continue
		}
		now, exists := h.book.Get(p.Key())
		if !exists {
			h.plugOut([]string{p.Name})
		} else if i := h.slotOf(p.Name); i >= 0 {
			h.mu.Lock()
			h.slots[i].asked = now.(policy.Port)
			h.mu.Unlock()
		}
	}
}

// publish puts the Book's policy in force for the workers, given what changed, and
// tells the control plane of the provider side.
func (h *host) publish(applied []policy.Change) {
	h.control.mu.Lock()
	defer h.control.mu.Unlock()
	for _, c := range applied {
		if g, ok := c.Object.(policy.Global); ok && g.UseExternalRouter {
			h.log.Warn("use_external_router is kept, but has no effect before this release routes between virtual subnets (L18)")
		}
	}
	old := h.fib.Load()
	f := h.compiler.Update(applied, h.book, h.devices(), h.control.resolve)
	f.Version = old.Version + 1
	h.fib.Store(f)
	if !slices.Equal(old.PAs, f.PAs) {
		h.staticNeighbors()
		h.control.announce(time.Now(), old.PAs)
	}
	h.control.wakeUp()
}
