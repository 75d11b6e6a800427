package server

import (
	"context"
	"iter"
	"log/slog"

	"connectrpc.com/connect"

	"paca/ctrl/api"
	"paca/ctrl/api/convert"
	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/store"
	"paca/dataplane/policy"
)

const (
	maxChanges = 4 << 20 // in one set
	maxApplied = 10_000  // changes told in answer to one set

	// changeSize is what one change of a set that is still arriving takes in memory,
	// in bytes, without its labels.
	changeSize = 192
)

// Apply takes a set of changes in one message.
func (c *control) Apply(ctx context.Context, r *connect.Request[pacav1.ApplyRequest]) (*connect.Response[pacav1.ApplyResponse], error) {
	changes, err := convert.Changes(make([]policy.Change, 0, len(r.Msg.Changes)), r.Msg.Changes)
	return c.apply(ctx, r.Msg, changes, err)
}

// ApplyStream takes a set of changes in many messages. It is applied when the
// client has ended the stream, and never when the stream just breaks off.
func (c *control) ApplyStream(ctx context.Context, stream *connect.ClientStream[pacav1.ApplyRequest]) (*connect.Response[pacav1.ApplyResponse], error) {
	var (
		asked   *pacav1.ApplyRequest // but for its changes
		changes []policy.Change
		held    int64
	)
	defer func() { c.pending.give(held) }()
	for stream.Receive() {
		m := stream.Msg()
		if asked == nil {
			asked = &pacav1.ApplyRequest{DryRun: m.DryRun, ExpectedRevision: m.ExpectedRevision, ListApplied: m.ListApplied}
		}
		if len(changes)+len(m.Changes) > maxChanges {
			return c.apply(ctx, asked, changes, api.Refuse(pacav1.ErrorCode_ERROR_CODE_TOO_LARGE, "changes", "", "a set has at most %d changes", maxChanges))
		}
		size := int64(len(m.Changes)) * changeSize
		for _, change := range m.Changes {
			size += labels(change)
		}
		if !c.pending.take(size) {
			return c.apply(ctx, asked, changes, api.Refuse(pacav1.ErrorCode_ERROR_CODE_RATE_LIMITED, "changes", "", "too many large sets at once; try again later"))
		}
		held += size
		var err error
		if changes, err = convert.Changes(changes, m.Changes); err != nil {
			return c.apply(ctx, asked, changes, err)
		}
	}
	if asked == nil {
		asked = &pacav1.ApplyRequest{}
	}
	err := stream.Err()
	if err != nil && connect.CodeOf(err) == connect.CodeResourceExhausted {
		err = tooLarge()
	}
	return c.apply(ctx, asked, changes, err)
}

// labels is how many bytes of free text a change carries.
func labels(c *pacav1.Change) int64 {
	var o *pacav1.Object
	switch c := c.GetChange().(type) {
	case *pacav1.Change_Add:
		o = c.Add
	case *pacav1.Change_Replace:
		o = c.Replace
	case *pacav1.Change_Put:
		o = c.Put
	case *pacav1.Change_Delete:
		return 0
	}
	r := o.GetLookupRecord()
	return int64(len(r.GetVmName()) + len(r.GetCustomerId()) + len(r.GetContext()) + len(o.GetPort().GetDevice()) +
		(len(o.GetVirtualSubnet().GetPrefixes())+len(o.GetVirtualSubnet().GetDns()))*32)
}

// apply is the one way by which policy changes, and leaves a line in the audit log
// whatever comes of it; err is what was wrong before.
func (c *control) apply(ctx context.Context, asked *pacav1.ApplyRequest, changes []policy.Change, err error) (*connect.Response[pacav1.ApplyResponse], error) {
	var revision uint64
	var applied []policy.Change
	if err == nil {
		revision, applied, err = c.policy.Apply(ctx, changes, asked.DryRun, asked.ExpectedRevision)
	}
	err = refuse(err)
	audit(ctx, c.log, err, slog.Uint64("revision", revision), slog.Int("changes", len(changes)), slog.Int("changed", len(applied)), slog.Bool("dry_run", asked.DryRun))
	if err != nil {
		return nil, err
	}
	answer := &pacav1.ApplyResponse{Revision: revision, Changed: uint64(len(applied))}
	if asked.ListApplied {
		answer.Applied = convert.FromChanges(applied[:min(len(applied), maxApplied)])
	}
	return connect.NewResponse(answer), nil
}

// audit says who tried to change policy, and what came of it.
func audit(ctx context.Context, log *slog.Logger, err error, what ...slog.Attr) {
	who := peerOf(ctx)
	attrs := append([]slog.Attr{slog.Uint64("uid", uint64(who.UID)), slog.Uint64("gid", uint64(who.GID)), slog.Int("pid", int(who.PID))}, what...)
	if err == nil {
		log.LogAttrs(ctx, slog.LevelInfo, "policy change", append(attrs, slog.String("outcome", "done"))...)
		return
	}
	outcome := connect.CodeOf(err).String()
	if d := api.Detail(err); d != nil {
		outcome = d.Code.String()
	}
	log.LogAttrs(ctx, slog.LevelWarn, "policy change", append(attrs, slog.String("outcome", outcome), slog.String("error", err.Error()))...)
}

// untilStop is ctx until the server is to end; that is then its cause.
func (c *control) untilStop(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-c.stop:
			cancel(stopping())
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

func stopping() error {
	return api.Refuse(pacav1.ErrorCode_ERROR_CODE_UNAVAILABLE, "", "", "pacad is stopping")
}

// Watch sends events and notices as they come. It keeps none back for a slow client:
// the store does, within its window, and the host keeps a few notices.
func (c *control) Watch(ctx context.Context, r *connect.Request[pacav1.WatchRequest], to *connect.ServerStream[pacav1.WatchResponse]) error {
	ctx, cancel := c.untilStop(ctx)
	defer cancel()

	after := r.Msg.GetAfterRevision()
	if r.Msg.AfterRevision == nil {
		after, _, _ = c.policy.Get(policy.Global{}.Key())
	}
	events, err := c.policy.Watch(ctx, after)
	if err != nil {
		return refuse(err)
	}
	heard := channel(ctx, c.host.Notices(ctx))
	if err := to.Send(&pacav1.WatchResponse{Revision: after}); err != nil {
		return err
	}
	changes := channel(ctx, func(yield func(change) bool) {
		for event, err := range events {
			if !yield(change{event, err}) {
				return
			}
		}
	})
	for told := after; ; {
		select {
		case some, ok := <-heard:
			if !ok {
				heard = nil
				continue
			}
			if err := to.Send(&pacav1.WatchResponse{Revision: told, Notices: messages(some.Notices), NoticesLost: some.Lost}); err != nil {
				return err
			}
		case one, ok := <-changes:
			switch {
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case !ok:
				return stopping()
			case one.err != nil:
				return refuse(one.err)
			}
			if err := tell(to, one.Event); err != nil {
				return err
			}
			told = uint64(one.Revision)
		}
	}
}

// change is what a watched Policy says.
type change struct {
	store.Event
	err error
}

// tell sends an event, in several messages if it is large.
func tell(to *connect.ServerStream[pacav1.WatchResponse], event store.Event) error {
	for rest := event.Changes; ; {
		n := min(len(rest), batch)
		m := &pacav1.WatchResponse{Revision: uint64(event.Revision), Changes: convert.FromChanges(rest[:n]), Partial: n < len(rest)}
		if err := to.Send(m); err != nil {
			return err
		}
		if rest = rest[n:]; len(rest) == 0 {
			return nil
		}
	}
}

// channel gives what all yields, one by one, until it ends or ctx does.
func channel[T any](ctx context.Context, all iter.Seq[T]) <-chan T {
	c := make(chan T)
	go func() {
		defer close(c)
		for v := range all {
			select {
			case c <- v:
			case <-ctx.Done():
				return
			}
		}
	}()
	return c
}
