package server

import (
	"log/slog"
	"time"
)

// NewImpatient is New with little patience: for what arrives, rests and is stuck.
func NewImpatient(host Host, p Policy, log *slog.Logger, after time.Duration) *Server {
	return newServer(host, p, log, patience{read: after, idle: 100 * after, stuck: after}, defaultLimits)
}

// NewNarrow is New for few clients.
func NewNarrow(host Host, p Policy, log *slog.Logger) *Server {
	return newServer(host, p, log, defaultPatience, limits{conns: 512, requests: 2, streams: 1, watches: 2, tests: 1, tools: 1, reads: 2, decoding: 1, bodies: 100_000, pending: 1000 * changeSize, rate: 1, burst: 5})
}
