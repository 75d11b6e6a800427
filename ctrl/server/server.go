package server

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"connectrpc.com/connect"

	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/api/paca/v1/pacav1connect"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
)

// Host is the machine that the API speaks of. Its methods are called by many
// goroutines at once. What they return is the caller's to keep.
type Host interface {
	Status() *pacav1.StatusResponse

	// Ports lists in the order of configuration.
	Ports() []*pacav1.Port

	// LookupRecords lists the records that match wants, in the order of VSID, CA
	// and MAC, all of one version of policy. It asks match before it makes a
	// message, so that few of a million records cost little.
	LookupRecords(match Match) iter.Seq[*pacav1.LookupRecord]

	// Drops lists every reason of every port, also those with no packets, in the
	// order of ports and then of reasons.
	Drops() []*pacav1.Drop

	// Neighbors lists the next hops on the provider network by port, VLAN and
	// address.
	Neighbors() []*pacav1.Neighbor
}

// Match says whether a lookup record is wanted.
type Match func(vsid policy.VSID, ca, pa netip.Addr, mac packet.MAC) bool

const (
	maxRequest = 1 << 20  // bytes of one message
	maxHeader  = 16 << 10 // bytes of HTTP header
	batch      = 1000     // list elements in one message
)

// patience is how long a client may keep a connection for nothing.
type patience struct {
	read  time.Duration // for a whole request to arrive
	idle  time.Duration // between two requests
	stuck time.Duration // for an answer to move on
}

var defaultPatience = patience{read: 10 * time.Second, idle: 60 * time.Second, stuck: 30 * time.Second}

// Server answers requests about one host.
type Server struct {
	http *http.Server
}

// New makes a server for host.
func New(host Host, p Policy, log *slog.Logger) *Server {
	return newServer(host, p, log, defaultPatience)
}

func newServer(host Host, pol Policy, log *slog.Logger, p patience) *Server {
	mux := http.NewServeMux()
	mux.Handle(pacav1connect.NewControlHandler(&control{host: host, policy: pol}, connect.WithReadMaxBytes(maxRequest)))
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &Server{&http.Server{
		Handler:           unstuck(mux, p.stuck),
		Protocols:         &protocols,
		HTTP2:             &http.HTTP2Config{SendPingTimeout: p.idle, PingTimeout: p.read},
		MaxHeaderBytes:    maxHeader,
		ReadHeaderTimeout: p.read,
		ReadTimeout:       p.read,
		IdleTimeout:       p.idle,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}}
}

// Serve answers what comes in on l until Shutdown, and then returns nil.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown closes the listener, lets running requests end until ctx does, then
// cuts what is left.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		return errors.Join(err, s.http.Close())
	}
	return nil
}

// unstuck gives up on a client that no longer takes what it asked for, after
// stuck. An answer may take for ever as long as it moves.
func unstuck(next http.Handler, stuck time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(&movingWriter{w, http.NewResponseController(w), stuck}, r)
	})
}

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

func (w *movingWriter) Flush() { _ = w.control.Flush() }
