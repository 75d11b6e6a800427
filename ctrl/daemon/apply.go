package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"

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
// acknowledged.
func (h *host) apply(batch []*request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.book.Begin()
	defer h.book.End()
	var sets []*accepted
	for _, r := range batch {
		revision := h.revision + uint64(len(sets))
		switch a, err := h.accept(r, revision); {
		case err != nil:
			r.done <- outcome{revision, nil, err}
		case r.dryRun || len(a.applied) == 0:
			r.done <- outcome{revision, a.applied, nil}
		default:
			sets = append(sets, a)
		}
	}
	if len(sets) == 0 {
		return
	}
	var all []policy.Change
	commits := make([][]policy.Change, len(sets))
	for i, a := range sets {
		commits[i] = a.applied
		all = append(all, a.applied...)
	}
	if _, err := h.store.Commit(commits); err != nil {
		h.book.Rollback()
		for _, a := range sets {
			h.plugOut(a.opened)
			a.request.done <- outcome{h.revision, nil, fmt.Errorf("%w: %w", server.ErrUnavailable, err)}
		}
		return
	}
	h.publish(all)
	h.portsChanged(all)
	for _, a := range sets {
		h.revision++
		a.request.done <- outcome{h.revision, a.applied, nil}
	}
}

// accept lets the Book judge a set, and plugs in the ports it adds.
func (h *host) accept(r *request, revision uint64) (*accepted, error) {
	if r.expect != 0 && r.expect != revision {
		return nil, fmt.Errorf("%w: expected revision %d, policy is at %d", server.ErrConflict, r.expect, revision)
	}
	a := &accepted{request: r}
	hasPort := slices.ContainsFunc(r.changes, func(c policy.Change) bool { return c.Object != nil && c.Object.Kind() == policy.KindPort })
	if r.dryRun || hasPort { // a device is opened only for a set that is good
		applied, err := h.book.Check(r.changes)
		if err != nil || r.dryRun {
			a.applied = applied
			return a, err
		}
		if err := h.plugIn(a, applied); err != nil {
			h.plugOut(a.opened)
			return nil, err
		}
	}
	applied, err := h.book.Apply(r.changes)
	if err != nil {
		h.plugOut(a.opened)
		return nil, err
	}
	a.applied = applied
	return a, nil
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
			if was := h.slots[i].asked; was.Device != p.Device || was.Role != p.Role || was.MTU != p.MTU {
				fault("device", errNotHotPluggable)
			}
			continue
		}
		if err := h.open(p); err != nil {
			fault("device", err)
			continue
		}
		a.opened = append(a.opened, p.Name)
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

// portsChanged is what is left to do for ports once the FIB knows.
func (h *host) portsChanged(applied []policy.Change) {
	for _, c := range applied {
		p, ok := c.Object.(policy.Port)
		if !ok {
			continue
		}
		if c.Verb == policy.Delete {
			h.plugOut([]string{p.Name})
		} else if i := h.slotOf(p.Name); i >= 0 {
			h.slots[i].asked = p
		}
	}
}

// publish puts the Book's policy in force for the workers, given what changed.
func (h *host) publish(applied []policy.Change) {
	h.control.mu.Lock()
	defer h.control.mu.Unlock()
	f := h.compiler.Update(applied, h.book, h.devices(), h.control.resolve)
	f.Version = h.fib.Load().Version + 1
	h.fib.Store(f)
	h.control.wakeUp()
}
