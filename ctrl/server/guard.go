package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"connectrpc.com/connect"

	"paca/ctrl/api"
	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/api/paca/v1/pacav1connect"
)

// limits bound what all clients of one socket together can make the server hold;
// each socket has its own places, so that those who look lock out nobody who changes.
type limits struct {
	conns    int   // connections
	requests int   // under way at once, but for watches, tests and reflection
	streams  int   // of those, sets that are still arriving
	watches  int   // Watch, which rest for as long as nothing happens
	tests    int   // TestPath, which sends packets
	tools    int   // streams of reflection, and requests for nothing that there is
	reads    int   // lists and exports, over both sockets; the one for reading has half of them at most
	decoding int   // large messages being turned into objects at once
	bodies   int64 // bytes of large requests, together
	pending  int64 // bytes of sets that are still arriving, together
	rate     float64
	burst    float64 // mutating requests of one user: a second, and at once
}

var defaultLimits = limits{conns: 512, requests: 1024, streams: 16, watches: 256, tests: 4, tools: 16, reads: 8, decoding: 8, bodies: 64 << 20, pending: 1 << 30, rate: 50_000, burst: 50_000}

const (
	maxRequest  = 1 << 20  // bytes of one message
	maxHeader   = 16 << 10 // bytes of HTTP header
	smallBody   = 4 << 10  // bytes that every request may have at any time
	maxStream   = 5 * time.Minute
	envelope    = 5 // bytes before a message, in streams and in gRPC
	batch       = 1000
	mutateApply = pacav1connect.ControlApplyProcedure
	mutateMany  = pacav1connect.ControlApplyStreamProcedure
)

// guard stands before the service. It lets a request through when it is whole, so
// that a slow client holds nothing but its own connection and few bytes; only sets
// in many messages, and what asks for reflection, pass as they arrive.
type guard struct {
	next     http.Handler
	log      *slog.Logger
	patience patience
	readOnly bool

	errors   *connect.ErrorWriter
	meter    *meter
	bodies   *budget
	requests chan struct{}
	streams  chan struct{}
	watches  chan struct{}
	tests    chan struct{}
	tools    chan struct{}
	reads    chan struct{} // of both sockets
	share    chan struct{} // how many of reads this socket may have
	decoding chan struct{}
}

// newGuard makes the guard of one socket, with places of its own but for reads.
func newGuard(next http.Handler, log *slog.Logger, p patience, most limits, reads chan struct{}, readOnly bool) *guard {
	share := cap(reads)
	if readOnly {
		share /= 2
	}
	return &guard{
		next:     next,
		log:      log,
		patience: p,
		readOnly: readOnly,
		errors:   connect.NewErrorWriter(),
		meter:    &meter{rate: most.rate, burst: most.burst, users: map[uint32]*bucket{}},
		bodies:   newBudget(most.bodies),
		requests: make(chan struct{}, most.requests),
		streams:  make(chan struct{}, most.streams),
		watches:  make(chan struct{}, most.watches),
		tests:    make(chan struct{}, most.tests),
		tools:    make(chan struct{}, most.tools),
		reads:    reads,
		share:    make(chan struct{}, share),
		decoding: make(chan struct{}, most.decoding),
	}
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	w = &movingWriter{w, control, g.patience.stuck}

	mutates := r.URL.Path == mutateApply || r.URL.Path == mutateMany
	if mutates {
		if err := g.admit(r); err != nil {
			g.refuse(w, r, err)
			return
		}
	}
	if arrives(r) {
		g.stream(w, r, control)
		return
	}

	body, held, err := g.body(r)
	defer g.bodies.give(held)
	if err != nil {
		g.refuse(w, r, err)
		return
	}
	defer busy(r)()
	places, why := g.requests, "too many requests at once"
	switch r.URL.Path {
	case pacav1connect.ControlWatchProcedure:
		places, why = g.watches, "too many watches at once"
	case pacav1connect.ControlTestPathProcedure:
		if g.readOnly {
			g.refuse(w, r, api.Refuse(pacav1.ErrorCode_ERROR_CODE_READ_ONLY, "", "", "this socket is for reading; packets are sent over the other one"))
			return
		}
		places, why = g.tests, "too many tests of paths at once"
	}
	if !g.take(w, r, places, why) {
		return
	}
	defer func() { <-places }()
	if readsAll(r.URL.Path) {
		// The copy that is told lives until the client has it all.
		const why = "too many lists and exports at once"
		if !g.take(w, r, g.share, why) {
			return
		}
		defer func() { <-g.share }()
		if !g.take(w, r, g.reads, why) {
			return
		}
		defer func() { <-g.reads }()
	}
	if mutates && len(body) > smallBody {
		select {
		case g.decoding <- struct{}{}:
			defer func() { <-g.decoding }()
		case <-r.Context().Done():
			return
		}
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ContentLength = int64(len(body))
	g.next.ServeHTTP(w, r)
}

// stream lets a request through as it arrives, as long as it moves.
func (g *guard) stream(w http.ResponseWriter, r *http.Request, control *http.ResponseController) {
	if isControl(r.URL.Path) {
		if !g.take(w, r, g.requests, "too many requests at once") {
			return
		}
		defer func() { <-g.requests }()
		if !g.take(w, r, g.streams, "too many large sets at once") {
			return
		}
		defer func() { <-g.streams }()
	} else {
		if !g.take(w, r, g.tools, "too many streams of reflection at once") {
			return
		}
		defer func() { <-g.tools }()
	}
	defer busy(r)()
	ctx, cancel := context.WithTimeout(r.Context(), maxStream)
	defer cancel()
	r = r.WithContext(ctx)
	r.Body = &movingReader{ReadCloser: r.Body, control: control, stuck: g.patience.read, ctx: ctx}
	g.next.ServeHTTP(w, r)
}

// take takes a place if there is one, and says so to the client if not.
func (g *guard) take(w http.ResponseWriter, r *http.Request, places chan struct{}, why string) bool {
	select {
	case places <- struct{}{}:
		return true
	default:
		g.refuse(w, r, limited("%s", why))
		return false
	}
}

// busy keeps the connection of a request from having to go for another, until what
// it returns is called.
func busy(r *http.Request) (done func()) {
	c := connOf(r.Context())
	if c == nil {
		return func() {}
	}
	c.used.Store(true)
	c.busy.Add(1)
	return func() { c.busy.Add(-1) }
}

// arrives says whether a request comes in many messages.
func arrives(r *http.Request) bool {
	return r.URL.Path == mutateMany || !isControl(r.URL.Path)
}

func isControl(path string) bool {
	return len(path) > len(pacav1connect.ControlName)+1 && path[1:len(pacav1connect.ControlName)+1] == pacav1connect.ControlName
}

// readsAll says whether a request is for all objects of a kind, or of all kinds.
func readsAll(path string) bool {
	return path == pacav1connect.ControlExportProcedure || strings.HasPrefix(path, "/"+pacav1connect.ControlName+"/List")
}

// admit says whether this client may change policy now.
func (g *guard) admit(r *http.Request) error {
	if g.readOnly {
		err := api.Refuse(pacav1.ErrorCode_ERROR_CODE_READ_ONLY, "", "", "this socket is for reading; policy is changed over the other one")
		if ok, tell := g.meter.allow(peerOf(r.Context()).UID, time.Now()); ok || tell {
			audit(r.Context(), g.log, err)
		}
		return err
	}
	ok, tell := g.meter.allow(peerOf(r.Context()).UID, time.Now())
	if ok {
		return nil
	}
	err := limited("more than %.0f changes a second from one user", g.meter.rate)
	if tell {
		audit(r.Context(), g.log, err)
	}
	return err
}

func limited(format string, args ...any) error {
	return api.Refuse(pacav1.ErrorCode_ERROR_CODE_RATE_LIMITED, "", "", format+"; try again later", args...)
}

func tooLarge() error {
	return api.Refuse(pacav1.ErrorCode_ERROR_CODE_TOO_LARGE, "", "", "a message has at most %d bytes; ApplyStream takes large sets in many messages", maxRequest)
}

// body reads a request whole; held is what it took of the budget.
func (g *guard) body(r *http.Request) (body []byte, held int64, err error) {
	const most = maxRequest + envelope
	if r.ContentLength > most {
		return nil, 0, tooLarge()
	}
	var b bytes.Buffer
	for {
		n, err := io.CopyN(&b, r.Body, smallBody)
		switch {
		case errors.Is(err, io.EOF):
			return b.Bytes(), held, nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, held, connect.NewError(connect.CodeDeadlineExceeded, errors.New("the request did not arrive in time"))
		case err != nil:
			return nil, held, connect.NewError(connect.CodeInvalidArgument, err)
		case b.Len() > most:
			return nil, held, tooLarge()
		}
		if !g.bodies.take(n) {
			return nil, held, limited("too many large requests at once")
		}
		held += n
	}
}

func (g *guard) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if !g.errors.IsSupported(r) { // whoever does not speak the protocol
		code := http.StatusBadRequest
		switch connect.CodeOf(err) {
		case connect.CodeResourceExhausted:
			code = http.StatusTooManyRequests
		case connect.CodePermissionDenied:
			code = http.StatusForbidden
		}
		http.Error(w, err.Error(), code)
		return
	}
	_ = g.errors.Write(w, r, err) // a client that is gone misses nothing
}

// movingWriter gives up on a client that no longer takes what it asked for, after
// stuck. An answer may take for ever as long as it moves, or waits for something to
// say.
type movingWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	stuck   time.Duration
}

func (w *movingWriter) Write(b []byte) (int, error) {
	if err := w.control.SetWriteDeadline(time.Now().Add(w.stuck)); err != nil {
		return 0, err
	}
	return w.ResponseWriter.Write(b)
}

func (w *movingWriter) Flush() {
	_ = w.control.SetWriteDeadline(time.Now().Add(w.stuck))
	_ = w.control.Flush()
	// HTTP/2 would end the stream at the deadline even if nothing waits to be sent.
	_ = w.control.SetWriteDeadline(time.Time{})
}

// movingReader gives up on a client that sends nothing for stuck.
type movingReader struct {
	io.ReadCloser
	control *http.ResponseController
	stuck   time.Duration
	ctx     context.Context
	set     time.Time
}

func (r *movingReader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	if now := time.Now(); now.Sub(r.set) > r.stuck/4 {
		if err := r.control.SetReadDeadline(now.Add(r.stuck)); err != nil {
			return 0, err
		}
		r.set = now
	}
	return r.ReadCloser.Read(b)
}
