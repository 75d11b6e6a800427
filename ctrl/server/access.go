package server

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Peer is who is at the other end of a connection, by what the kernel says
// (SO_PEERCRED), when it was made.
type Peer struct {
	UID, GID uint32
	PID      int32
}

func (p Peer) String() string { return fmt.Sprintf("uid %d gid %d pid %d", p.UID, p.GID, p.PID) }

// conn is a connection with the Peer behind it.
type conn struct {
	*net.UnixConn
	peer  Peer
	busy  atomic.Int32 // requests under way
	used  atomic.Bool  // a request came through once
	crowd *crowd
}

type connKey struct{}

// withConn is the http.Server.ConnContext that makes peerOf work.
func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

func connOf(ctx context.Context) *conn {
	c, _ := ctx.Value(connKey{}).(*conn)
	return c
}

// peerOf is the client behind a request.
func peerOf(ctx context.Context) Peer {
	if c := connOf(ctx); c != nil {
		return c.peer
	}
	return Peer{}
}

// Close leaves the crowd.
func (c *conn) Close() error {
	c.crowd.leave(c)
	return c.UnixConn.Close()
}

// crowd is the connections of one socket. It never grows beyond most: the oldest
// that does nothing has to go for a new one, first among those that never asked
// anything. So whoever opens connections by the thousand holds up nobody.
type crowd struct {
	net.Listener // of Unix connections
	most         int

	mu    sync.Mutex
	conns []*conn // oldest first
}

// Accept implements net.Listener.
func (w *crowd) Accept() (net.Conn, error) {
	for {
		accepted, err := w.Listener.Accept()
		if err != nil {
			return nil, err
		}
		unixConn, ok := accepted.(*net.UnixConn)
		if !ok {
			_ = accepted.Close()
			return nil, fmt.Errorf("server: a connection of %v is no Unix one", w.Addr())
		}
		peer, err := credentials(unixConn)
		c := &conn{UnixConn: unixConn, peer: peer, crowd: w}
		if err == nil && w.enter(c) {
			return c, nil
		}
		_ = unixConn.Close()
	}
}

func (w *crowd) enter(c *conn) bool {
	out, room := w.admit(c)
	if out != nil {
		_ = out.UnixConn.Close()
	}
	return room
}

// admit says who has to go for c, if anyone, and whether there is room.
func (w *crowd) admit(c *conn) (out *conn, room bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.conns) >= w.most {
		at := -1
		for i, other := range w.conns {
			if other.busy.Load() > 0 {
				continue
			}
			if !other.used.Load() {
				at = i
				break
			}
			if at < 0 {
				at = i
			}
		}
		if at < 0 {
			return nil, false
		}
		out = w.conns[at]
		w.conns = append(w.conns[:at], w.conns[at+1:]...)
	}
	w.conns = append(w.conns, c)
	return out, true
}

func (w *crowd) leave(c *conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, other := range w.conns {
		if other == c {
			w.conns = append(w.conns[:i], w.conns[i+1:]...)
			return
		}
	}
}

func credentials(c *net.UnixConn) (Peer, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return Peer{}, err
	}
	var ucred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) { ucred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return Peer{}, err
	}
	if credErr != nil {
		return Peer{}, credErr
	}
	return Peer{UID: ucred.Uid, GID: ucred.Gid, PID: ucred.Pid}, nil
}

// budget is bytes that many requests share.
type budget struct {
	left atomic.Int64
}

func newBudget(bytes int64) *budget {
	b := &budget{}
	b.left.Store(bytes)
	return b
}

func (b *budget) take(n int64) bool {
	if b.left.Add(-n) < 0 {
		b.left.Add(n)
		return false
	}
	return true
}

func (b *budget) give(n int64) { b.left.Add(n) }

// meter bounds how many requests one user makes in a second.
type meter struct {
	rate, burst float64

	mu    sync.Mutex
	users map[uint32]*bucket
}

type bucket struct {
	tokens float64
	filled time.Time
	told   time.Time // when a refusal was last logged
}

// maxUsers is how many users a meter remembers; then it forgets all, which is
// no harm to those who have rested for a second.
const maxUsers = 1024

// allow counts a request of a user. If it is one too many, tell says whether that
// is worth a line in the log: one a second is.
func (m *meter) allow(user uint32, now time.Time) (ok, tell bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.users[user]
	if b == nil {
		if len(m.users) >= maxUsers {
			clear(m.users)
		}
		b = &bucket{tokens: m.burst, filled: now}
		m.users[user] = b
	}
	b.tokens = min(m.burst, b.tokens+now.Sub(b.filled).Seconds()*m.rate)
	b.filled = now
	if b.tokens < 1 {
		tell = now.Sub(b.told) >= time.Second
		if tell {
			b.told = now
		}
		return false, tell
	}
	b.tokens--
	return true, false
}
