package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpcreflect"

	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/api/paca/v1/pacav1connect"
	"paca/ctrl/client"
	"paca/ctrl/server"
	"paca/ctrl/server/servertest"
	"paca/ctrl/store"
	"paca/dataplane/policy"
)

func impatient(after time.Duration) func(server.Host, server.Policy, *slog.Logger) *server.Server {
	return func(h server.Host, p server.Policy, log *slog.Logger) *server.Server {
		return server.NewImpatient(h, p, log, after)
	}
}

// A watch rests for as long as nothing happens, whatever a client may wait for
// otherwise: over HTTP/2 the deadline of the last event once ended it.
func TestWatchRests(t *testing.T) {
	const patience = 100 * time.Millisecond
	s := startAs(t, servertest.New(), impatient(patience))
	for i, c := range []pacav1connect.ControlClient{s.client(t), pacav1connect.NewControlClient(h2(s.socket), "http://paca", connect.WithGRPC())} {
		stream, err := c.Watch(context.Background(), connect.NewRequest(&pacav1.WatchRequest{}))
		if err != nil || !stream.Receive() {
			t.Fatal(err, stream.Err())
		}
		for round := range 2 {
			time.Sleep(3 * patience)
			answer := mustApply(t, s.client(t), put(subnet(6001, fmt.Sprintf("10.%d.%d.0/24", i, round))))
			if !stream.Receive() || stream.Msg().Revision != answer.Revision {
				t.Fatalf("client %d, event %d: %v", i, round, stream.Err())
			}
		}
	}
}

// watched tells when a watch has ended.
type watched struct {
	*servertest.Host
	ended chan struct{}
}

func (w *watched) Watch(ctx context.Context, after uint64) (iter.Seq2[store.Event, error], error) {
	events, err := w.Host.Watch(ctx, after)
	return func(yield func(store.Event, error) bool) {
		defer close(w.ended)
		events(yield)
	}, err
}

// A watcher that never reads again is cut off.
func TestDeadWatcher(t *testing.T) {
	h := &watched{servertest.New(), make(chan struct{})}
	s := startAs(t, h, impatient(200*time.Millisecond))
	conn, err := net.Dial("unix", s.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = conn.Write(post(pacav1connect.ControlWatchProcedure, "application/connect+proto", make([]byte, 5)))
	time.Sleep(50 * time.Millisecond)
	c := s.client(t)
	var set []*pacav1.Change
	for i := range 2000 {
		set = append(set, put(record(6001, fmt.Sprintf("10.1.%d.%d", 1+i/250, 2+i%250), "192.168.1.10")))
	}
	mustApply(t, c, append(set, put(subnet(6001, "10.1.0.0/16")))...)
	for round := range 5 {
		for i := range set {
			set[i].GetPut().GetLookupRecord().Pa = fmt.Sprintf("192.168.2.%d", round+1)
		}
		mustApply(t, c, set...)
	}
	select {
	case <-h.ended:
	case <-time.After(10 * time.Second):
		t.Error("the watch still waits for a client that does not read")
	}
}

// A set may arrive slowly, as long as it moves, and is given up when it does not.
func TestSlowStream(t *testing.T) {
	const patience = 200 * time.Millisecond
	s := startAs(t, servertest.New(), impatient(patience))
	for _, c := range []pacav1connect.ControlClient{s.client(t), pacav1connect.NewControlClient(h2(s.socket), "http://paca", connect.WithGRPC())} {
		stream := c.ApplyStream(context.Background())
		for range 6 {
			if err := stream.Send(&pacav1.ApplyRequest{DryRun: true}); err != nil {
				t.Error(err)
			}
			time.Sleep(patience / 2)
		}
		if _, err := stream.CloseAndReceive(); err != nil {
			t.Errorf("a stream that moves: %v", err)
		}
		stream = c.ApplyStream(context.Background())
		_ = stream.Send(&pacav1.ApplyRequest{Changes: []*pacav1.Change{put(subnet(6001, "10.1.0.0/16"))}})
		time.Sleep(3 * patience)
		if _, err := stream.CloseAndReceive(); err == nil {
			t.Error("a stream that stops for long is applied")
		}
	}
	s.alive(t, 1)
}

func TestLimits(t *testing.T) {
	s := startAs(t, servertest.New(), server.NewNarrow)
	c := s.client(t)
	ctx := context.Background()
	mustApply(t, c, put(subnet(6001, "10.1.0.0/16")))

	var many []*pacav1.Change
	for i := range 1001 {
		many = append(many, put(record(6001, fmt.Sprintf("10.1.%d.%d", 1+i/250, 2+i%250), "192.168.1.10")))
	}
	_, err := apply(c, &pacav1.ApplyRequest{Changes: many})
	if err != nil {
		t.Errorf("a message that is not too large: %v", err)
	}
	_, err = apply(c, &pacav1.ApplyRequest{Changes: append(many, many...)})
	wants(t, err, pacav1.ErrorCode_ERROR_CODE_RATE_LIMITED, "large requests")

	first := c.ApplyStream(ctx)
	if err := first.Send(&pacav1.ApplyRequest{DryRun: true}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	second := c.ApplyStream(ctx)
	_ = second.Send(&pacav1.ApplyRequest{})
	_, err = second.CloseAndReceive()
	wants(t, err, pacav1.ErrorCode_ERROR_CODE_RATE_LIMITED, "large sets")
	if err := first.Send(&pacav1.ApplyRequest{Changes: many}); err != nil && !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	_, err = first.CloseAndReceive()
	wants(t, err, pacav1.ErrorCode_ERROR_CODE_RATE_LIMITED, "large sets")

	for range 10 {
		if _, err = apply(c, &pacav1.ApplyRequest{}); err != nil {
			break
		}
	}
	wants(t, err, pacav1.ErrorCode_ERROR_CODE_RATE_LIMITED, "changes a second")
	if n := strings.Count(s.log.String(), "outcome=ERROR_CODE_RATE_LIMITED"); n == 0 || n > 4 {
		t.Errorf("%d lines of refusals in the log:\n%s", n, s.log)
	}

	for range 2 {
		watch, err := c.Watch(ctx, connect.NewRequest(&pacav1.WatchRequest{}))
		if err != nil || !watch.Receive() {
			t.Fatal(err)
		}
	}
	third, err := c.Watch(ctx, connect.NewRequest(&pacav1.WatchRequest{}))
	if err != nil || third.Receive() {
		t.Fatal("a third watch", err)
	}
	wants(t, third.Err(), pacav1.ErrorCode_ERROR_CODE_RATE_LIMITED, "watches")
	// Those that rest are in the way of nobody.
	if _, err = c.Status(ctx, connect.NewRequest(&pacav1.StatusRequest{})); err != nil {
		t.Error(err)
	}
}

// held is a host whose answers wait: all places are taken once a test says so.
type held struct {
	*servertest.Host
	asked, answer chan struct{}
}

func newHeld() *held {
	return &held{servertest.New(), make(chan struct{}, 100), make(chan struct{})}
}

func (h *held) wait() {
	h.asked <- struct{}{}
	<-h.answer
}

func (h *held) Status() *pacav1.StatusResponse {
	h.wait()
	return h.Host.Status()
}

func (h *held) Export(kinds ...policy.Kind) (uint64, iter.Seq[policy.Object]) {
	h.wait()
	return h.Host.Export(kinds...)
}

// Reads of all policy are few at once, over both sockets together, and those who may
// only look get half of them.
func TestReadsAreFew(t *testing.T) {
	h := newHeld()
	s := startAs(t, h, server.New)
	release := sync.OnceFunc(func() { close(h.answer) })
	defer release()
	c, looks := s.client(t), client.Dial(s.socket+".ro")
	defer looks.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ended := make(chan error, 8)
	export := func(c *client.Client) error {
		_, err := client.All(c.Export(ctx, connect.NewRequest(&pacav1.ExportRequest{})))
		return err
	}
	list := func(c *client.Client) error {
		_, err := client.All(c.ListVirtualSubnets(ctx, connect.NewRequest(&pacav1.ListVirtualSubnetsRequest{})))
		return err
	}
	for i, c := range []*client.Client{looks, looks, looks, looks, c, c, c, c} {
		if i == 4 {
			wants(t, export(looks), pacav1.ErrorCode_ERROR_CODE_RATE_LIMITED, "lists and exports")
			wants(t, list(looks), pacav1.ErrorCode_ERROR_CODE_RATE_LIMITED, "lists and exports")
		}
		read := export
		if i%2 == 1 {
			read = list
		}
		go func() { ended <- read(c) }()
		select {
		case <-h.asked:
		case err := <-ended:
			t.Fatalf("read %d: %v", i, err)
		}
	}
	wants(t, export(c), pacav1.ErrorCode_ERROR_CODE_RATE_LIMITED, "lists and exports")
	wants(t, list(c), pacav1.ErrorCode_ERROR_CODE_RATE_LIMITED, "lists and exports")
	mustApply(t, c, put(subnet(6001, "10.1.0.0/16")))
	release()
	for range 8 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) { // the place is free soon after the answer
		err := export(c)
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// Those who look have places of their own, and so have tools.
func TestLookersLockOutNobody(t *testing.T) {
	h := newHeld()
	s := startAs(t, h, server.NewNarrow)
	defer close(h.answer)
	ctx := context.Background()
	looks := client.Dial(s.socket + ".ro")
	defer looks.Close()
	for range 2 {
		go func() { _, _ = looks.Status(ctx, connect.NewRequest(&pacav1.StatusRequest{})) }()
		<-h.asked
	}
	get := &pacav1.GetRequest{Object: &pacav1.Object{Object: &pacav1.Object_Global{Global: &pacav1.Global{}}}}
	_, err := looks.Get(ctx, connect.NewRequest(get))
	wants(t, err, pacav1.ErrorCode_ERROR_CODE_RATE_LIMITED, "requests")
	mustApply(t, s.client(t), put(subnet(6001, "10.1.0.0/16")))

	reflection := grpcreflect.NewClient(h2(s.socket), "http://paca", connect.WithGRPC()).NewStream(ctx)
	if _, err := reflection.ListServices(); err != nil {
		t.Fatal(err)
	}
	another := grpcreflect.NewClient(h2(s.socket), "http://paca", connect.WithGRPC()).NewStream(ctx)
	if _, err := another.ListServices(); err == nil {
		t.Error("reflection has no bound")
	}
	stream := s.client(t).ApplyStream(ctx)
	_ = stream.Send(&pacav1.ApplyRequest{Changes: []*pacav1.Change{put(subnet(6001, "10.1.1.0/24"))}})
	if _, err := stream.CloseAndReceive(); err != nil {
		t.Errorf("a set beside reflection: %v", err)
	}
	_, _ = reflection.Close()
}

// What a set took while it arrived is there again for the next, and so is its place.
func TestLimitsAreGivenBack(t *testing.T) {
	s := startAs(t, servertest.New(), server.NewNarrow)
	c := s.client(t)
	some := []*pacav1.Change{put(subnet(6001, "10.1.0.0/16"))}
	for i := range 600 {
		some = append(some, put(record(6001, fmt.Sprintf("10.1.%d.%d", 1+i/250, 2+i%250), "192.168.1.10")))
	}
	for range 2 {
		stream := c.ApplyStream(context.Background())
		_ = stream.Send(&pacav1.ApplyRequest{Changes: some})
		if _, err := stream.CloseAndReceive(); err != nil {
			t.Error(err)
		}
		time.Sleep(50 * time.Millisecond) // the place is free soon after the answer
	}
	for range 3 {
		if _, err := apply(c, &pacav1.ApplyRequest{Changes: append(some, some[1:]...), DryRun: true}); err == nil || strings.Contains(err.Error(), "large requests") {
			t.Error(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
