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
	ports   bool   // some of the changes are of ports
	alone   bool   // it must be judged by what is in force: see applyAll
	done    chan outcome

	// decide, if there is one, makes the changes when their turn has come.
	decide func(*policy.Book) ([]policy.Change, error)
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
// outcome. ctx may end the queueing, not what is queued.
func (h *host) Apply(ctx context.Context, changes []policy.Change, dryRun bool, expect uint64) (uint64, []policy.Change, error) {
	r := &request{changes: changes, dryRun: dryRun, expect: expect, done: make(chan outcome, 1)}
	r.ports, r.alone = kinds(changes)
	if err := h.submit(ctx, r); err != nil {
		return 0, nil, err
	}
	o := h.wait(r)
	return o.revision, o.applied, o.err
}

var errStopping = fmt.Errorf("%w: pacad is stopping", server.ErrUnavailable)

// submit queues a request, unless ctx ends before there is room.
func (h *host) submit(ctx context.Context, r *request) error {
	select {
	case h.requests <- r:
		return nil
	case <-h.stopped:
		return errStopping
	case <-ctx.Done():
		return ctx.Err()
	}
}

// wait waits for what comes of a queued request.
func (h *host) wait(r *request) outcome {
	select {
	case o := <-r.done:
		return o
	case <-h.stopped:
	}
	select {
	case o := <-r.done: // it was the last
		return o
	default:
		return outcome{err: errStopping}
	}
}

// applyAll brings change sets into force, one goroutine for all, until ctx ends.
func (h *host) applyAll(ctx context.Context) {
	defer close(h.stopped)
	watch := time.NewTicker(watchInterval)
	defer watch.Stop()
	for {
		var batch []*request
		select {
		case <-ctx.Done():
			return
		case <-h.facts:
			h.publish(nil)
			continue
		case <-watch.C:
			h.collector.adjust()
			if h.offloadsChanged() {
				h.plug()
			}
			continue
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
		// A set that changes ports goes by itself: devices take their time. So does
		// one that takes L2Only records away, for what was learned goes with them,
		// and host.control.guests know of what is in force.
		for len(batch) > 0 {
			n := slices.IndexFunc(batch, func(r *request) bool { return r.alone })
			switch n {
			case -1:
				n = len(batch)
			case 0:
				n = 1
			}
			h.apply(batch[:n])
			batch = batch[n:]
		}
	}
}

// kinds says whether changes are of ports, and whether they may take from this host
// what was learned of its VMs (A17).
func kinds(changes []policy.Change) (ports, alone bool) {
	for i := range changes {
		switch o := changes[i].Object.(type) {
		case policy.Port:
			return true, true
		case policy.LookupRecord:
			alone = alone || changes[i].Verb == policy.Delete && o.CA.IsUnspecified()
		}
	}
	return false, alone
}

// apply brings a batch into force: each set by itself into the Book, or refused;
// then all of them durable; then in force for the workers, at once; then
// acknowledged. Nobody sees the Book between the first and the second, and only
// this goroutine changes it. A batch with a set that goes alone has no other.
func (h *host) apply(batch []*request) {
	if r := batch[0]; r.alone {
		r.changes = append(slices.Clip(r.changes), h.control.guests.forsaken(h.book, r.changes)...)
	}
	opened, err := h.plugIn(batch[0])
	if err != nil {
		batch[0].done <- outcome{h.revision, nil, err}
		return
	}
	h.mu.Lock()
	h.book.Begin()
	outcomes := make([]outcome, len(batch))
	var sets [][]policy.Change
	first := len(batch) // of the sets that are not durable yet
	for i, r := range batch {
		o := &outcomes[i]
		o.revision = h.revision + uint64(len(sets))
		if r.decide != nil {
			if r.changes, o.err = r.decide(h.book); o.err != nil {
				continue
			}
		}
		switch {
		case r.expect != 0 && r.expect != o.revision:
			o.err = fmt.Errorf("%w: expected revision %d, policy is at %d", server.ErrConflict, r.expect, o.revision)
		case r.dryRun:
			o.applied, o.err = h.book.Check(r.changes)
		default:
			if o.applied, o.err = h.book.Apply(r.changes); len(o.applied) > 0 {
				sets = append(sets, o.applied)
				o.revision++
				first = min(first, i)
			}
		}
	}
	if len(sets) > 0 {
		_, err = h.store.Commit(sets)
	}
	if err == nil {
		h.book.End()
		h.revision += uint64(len(sets))
	} else {
		h.book.Rollback()
		for i := range outcomes[first:] { // the others were judged by what stands
			outcomes[first+i] = outcome{h.revision, nil, fmt.Errorf("%w: %w", server.ErrUnavailable, err)}
		}
	}
	h.mu.Unlock()

	if all := slices.Concat(sets...); err == nil && len(all) > 0 {
		h.publish(all)
		h.portsChanged(all)
	} else {
		h.plugOut(opened)
	}
	for i, r := range batch {
		r.done <- outcomes[i]
	}
}

// plugIn opens the ports that a set adds, if it is a good one, and refuses changes
// of a port's that only a new port can have. A port's device must be free: one
// that the same set takes from another port is not yet.
func (h *host) plugIn(r *request) (opened []string, err error) {
	if r.dryRun || !r.ports {
		return nil, nil
	}
	h.mu.Lock() // Check changes the Book for a moment
	applied, err := h.book.Check(r.changes)
	h.mu.Unlock()
	if err != nil {
		return nil, err
	}
	var ports []policy.Port
	for _, c := range applied {
		if p, ok := c.Object.(policy.Port); ok && c.Verb != policy.Delete {
			ports = append(ports, p)
		}
	}
	slices.SortStableFunc(ports, uplinksFirst)
	var faults []error
	for _, p := range ports {
		fault := func(field string, err error) {
			faults = append(faults, &policy.Fault{Object: "port", Index: slices.IndexFunc(r.changes, func(c policy.Change) bool { return c.Object.Key() == p.Key() }), Field: field, Problem: err.Error(), Rule: "hot-plug"})
		}
		if i := h.slotOf(p.Name); i >= 0 {
			switch was := h.slots[i].asked; {
			case was.Device != p.Device:
				fault("device", errNotHotPluggable)
			case was.Role != p.Role:
				fault("role", errNotHotPluggable)
			case was.MTU != p.MTU:
				fault("mtu", errNotHotPluggable)
			case was.NoOffload != p.NoOffload:
				fault("offload", errNotHotPluggable)
			case was.Queues != p.Queues:
				fault("queues", errNotHotPluggable)
			}
			continue
		}
		if err := h.open(p); err != nil {
			fault("device", err)
			continue
		}
		opened = append(opened, p.Name)
	}
	if len(faults) > 0 {
		h.plugOut(opened)
		return nil, errors.Join(faults...)
	}
	return opened, nil
}

// plugOut closes ports: of a set that came to nothing, or deleted ones.
func (h *host) plugOut(names []string) {
	for _, name := range names {
		if err := h.close(name); err != nil {
			h.log.Error("port", "error", err)
		}
	}
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
	h.control.tell(h.compiler)
	old := h.fib.Load()
	f := h.compiler.Update(applied, h.book, h.devices(), h.control.resolve)
	f.Version = old.Version + 1
	h.fib.Store(f)
	h.control.notify(h.control.guests.update(time.Now(), h.book, applied)...)
	if !slices.Equal(old.PAs, f.PAs) {
		h.staticNeighbors()
		h.control.assign(time.Now(), old.PAs)
	}
	h.control.wakeUp()
}
