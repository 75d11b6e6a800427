package server

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
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

	// Workers tells what the workers do, in the order of configuration.
	Workers() *pacav1.WorkersResponse

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

	// AddressState is what duplicate address detection knows of a PA of this host
	// (P14).
	AddressState(pa netip.Addr) string

	// PathMTUs lists what packets may be on their way to each PA of another host that
	// has VMs of a virtual subnet, in the order of VSID and PA.
	PathMTUs() []*pacav1.PathMTU

	// TestPath sends packets to a PA of another host until it knows what the way
	// there carries, or ctx ends. source may be the zero Addr: one that reaches pa.
	// size is that of the only outer IP packet to try, in bytes; 0 is to find the
	// largest. Errors are refusals, or ErrUnavailable.
	TestPath(ctx context.Context, pa, source netip.Addr, size int) (*pacav1.TestPathResponse, error)

	// Notices tells what the host notices from now on, until ctx ends. It keeps a
	// bounded number for a caller that is slow, and counts what is lost beyond. Who
	// has called it need not read it.
	Notices(ctx context.Context) iter.Seq[Heard]
}

// Match says whether a lookup record is wanted.
type Match func(vsid policy.VSID, ca, pa netip.Addr, mac packet.MAC) bool

// patience is how long a client may keep a connection for nothing.
type patience struct {
	read  time.Duration // for a whole request to arrive
	idle  time.Duration // between two requests
	stuck time.Duration // for an answer to move on
}

var defaultPatience = patience{read: 10 * time.Second, idle: 60 * time.Second, stuck: 30 * time.Second}

// Server answers requests about one host, on one socket for all and one for those
// who may only look.
type Server struct {
	main, readOnly *http.Server
	limits         limits
	stop           chan struct{}
	stopOnce       sync.Once
}

// New makes a server for host and its policy.
func New(host Host, p Policy, log *slog.Logger) *Server {
	return newServer(host, p, log, defaultPatience, defaultLimits)
}

func newServer(host Host, pol Policy, log *slog.Logger, p patience, most limits) *Server {
	s := &Server{limits: most, stop: make(chan struct{})}
	// Between two processes of one machine compression only costs, and what a small
	// request would unpack to is unbounded.
	plain := connect.WithCompression("gzip", nil, nil)
	mux := http.NewServeMux()
	mux.Handle(pacav1connect.NewControlHandler(
		&control{host: host, policy: pol, log: log, pending: newBudget(most.pending), stop: s.stop},
		connect.WithReadMaxBytes(maxRequest), plain))
	reflection(mux, connect.WithReadMaxBytes(smallBody), plain)

	reads := make(chan struct{}, most.reads)
	s.main = serve(newGuard(mux, log, p, most, reads, false), p, log)
	s.readOnly = serve(newGuard(mux, log, p, most, reads, true), p, log)
	return s
}

func serve(h http.Handler, p patience, log *slog.Logger) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           h,
		Protocols:         &protocols,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 16, SendPingTimeout: p.idle, PingTimeout: p.read},
		MaxHeaderBytes:    maxHeader,
		ReadHeaderTimeout: p.read,
		ReadTimeout:       p.read,
		IdleTimeout:       p.idle,
		ConnContext:       withConn,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// Serve answers what comes in on l, which Listen made, until Shutdown, and then
// returns nil.
func (s *Server) Serve(l net.Listener) error { return s.serve(s.main, l) }

// ServeReadOnly is Serve for those who may look and not change.
func (s *Server) ServeReadOnly(l net.Listener) error { return s.serve(s.readOnly, l) }

func (s *Server) serve(h *http.Server, l net.Listener) error {
	if err := h.Serve(&crowd{Listener: l, most: s.limits.conns}); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown closes the listeners, ends every Watch, lets other running requests end
// until ctx does, then cuts what is left.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stopOnce.Do(func() { close(s.stop) })
	var errs []error
	for _, h := range []*http.Server{s.main, s.readOnly} {
		if err := h.Shutdown(ctx); err != nil {
			errs = append(errs, err, h.Close())
		}
	}
	return errors.Join(errs...)
}
