package server

import (
	"context"
	"errors"
	"iter"
	"net/netip"

	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/store"
	"paca/dataplane/policy"
)

// Policy is what the host does and what may be changed about it. Its methods are
// called by many goroutines at once; none may wait for a client.
type Policy interface {
	// Apply makes all changes or none, and returns when they are durable and in
	// force: the revision they made, and what really changed, as Put and Delete with
	// full objects. With dryRun it answers so and changes nothing. If expect is not 0
	// and not the present revision, nothing happens but ErrConflict. Other errors
	// hold a *policy.Fault for each fault, or ErrUnavailable.
	Apply(ctx context.Context, changes []policy.Change, dryRun bool, expect uint64) (revision uint64, applied []policy.Change, err error)

	// Watch tells what changes after a revision, until ctx ends. When it is too old,
	// or the caller takes too long between two events, the error is store.ErrCompacted.
	Watch(ctx context.Context, after uint64) (iter.Seq2[store.Event, error], error)

	// Export is one version of policy: the objects of these kinds, or of all if none
	// is named, in the order of their keys. Whoever reads slowly holds nobody up, but
	// may hold a copy of it all.
	Export(kinds ...policy.Kind) (revision uint64, objects iter.Seq[policy.Object])

	// Get finds one object.
	Get(k policy.Key) (revision uint64, object policy.Object, found bool)

	// HostFile says whether the object stands in the host file and so cannot be
	// changed by Apply.
	HostFile(k policy.Key) bool

	// NextHop says where a packet would go and why; src may be the zero Addr.
	NextHop(vsid policy.VSID, src, dst netip.Addr) (*pacav1.NextHopResponse, error)
}

// Errors of a Policy, besides those of faults.
var (
	ErrConflict    = errors.New("policy is at another revision")
	ErrUnavailable = errors.New("changes cannot be kept now")
)
