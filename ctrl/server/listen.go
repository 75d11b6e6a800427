package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Socket is where and for whom to listen.
type Socket struct {
	Path  string // absolute
	Group string // who besides root may connect
	// GroupKey is what faults call the group: by default "control.group".
	GroupKey string
	// GroupOptional lets a missing group pass with a warning: it is the default,
	// nobody asked for it.
	GroupOptional bool
}

// Errors of Listen, inside a KeyError.
var (
	ErrInUse     = errors.New("another process answers on it")
	ErrNotSocket = errors.New("is in the way and not a socket")
	ErrNoGroup   = errors.New("no such group")
)

// KeyError is a fault of configuration that shows only on the machine.
type KeyError struct {
	Key string // of the host file: "control.socket"
	Err error
}

func (e *KeyError) Error() string { return e.Key + ": " + e.Err.Error() }

// Unwrap gives the fault without the key.
func (e *KeyError) Unwrap() error { return e.Err }

// Listen makes the socket, mode 0660 for root and the group. It takes the place
// of a socket that nobody answers on, and never that of a living process. Closing
// the listener removes the socket, and the directory if Listen made that, unless
// something else stands there by then.
func Listen(s Socket, log *slog.Logger) (net.Listener, error) {
	gid, err := s.gid(log)
	if err != nil {
		return nil, &KeyError{cmp.Or(s.GroupKey, "control.group"), err}
	}
	l, err := s.listen(gid)
	if err != nil {
		return nil, &KeyError{"control.socket", err}
	}
	return l, nil
}

// gid finds the group; -1 leaves the process's own.
func (s Socket) gid(log *slog.Logger) (int, error) {
	g, err := user.LookupGroup(s.Group)
	if err != nil {
		if s.GroupOptional {
			log.Warn("no such group: only root may use the control socket", "key", cmp.Or(s.GroupKey, "control.group"), "group", s.Group, "socket", s.Path)
			return -1, nil
		}
		return 0, fmt.Errorf("%w: %q; create it with groupadd --system %s, or name another", ErrNoGroup, s.Group, s.Group)
	}
	return strconv.Atoi(g.Gid)
}

func (s Socket) listen(gid int) (net.Listener, error) {
	dir := filepath.Dir(s.Path)
	madeDir := os.Mkdir(dir, 0o755) == nil

	l, err := s.claim(dir, gid)
	if err != nil {
		if madeDir {
			_ = os.Remove(dir)
		}
		return nil, err
	}
	if madeDir {
		l.dir = dir
	}
	return l, nil
}

// claim binds the path. A lock on the directory makes "nobody answers, so I take
// it" one step for all who try; it falls with the process if that is killed.
func (s Socket) claim(dir string, gid int) (*listener, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("%w; create the directory or choose another", err)
	}
	defer d.Close()
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX); err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	if err := removeStale(s.Path); err != nil {
		return nil, err
	}

	// Nobody may connect before the group is right: a socket file is born with
	// the mode of its socket.
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var chmod error
		err := c.Control(func(fd uintptr) { chmod = unix.Fchmod(int(fd), 0o600) })
		return errors.Join(err, chmod)
	}}
	l, err := config.Listen(context.Background(), "unix", s.Path)
	if err != nil {
		return nil, err
	}
	u := l.(*net.UnixListener)
	u.SetUnlinkOnClose(false)
	if gid >= 0 {
		err = os.Chown(s.Path, -1, gid)
	}
	err = errors.Join(err, os.Chmod(s.Path, 0o660))
	made, statErr := os.Lstat(s.Path)
	if err = errors.Join(err, statErr); err != nil {
		return nil, errors.Join(err, l.Close(), os.Remove(s.Path))
	}
	return &listener{UnixListener: u, path: s.Path, made: made}, nil
}

// removeStale clears path of a socket that a process left behind.
func removeStale(path string) error {
	there, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case there.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s %w; remove it or choose another path", path, ErrNotSocket)
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case errors.Is(err, unix.ECONNREFUSED): // nobody has it open
		return os.Remove(path)
	case err == nil, errors.Is(err, unix.EAGAIN): // the latter is too busy to accept
		if c != nil {
			_ = c.Close()
		}
		return fmt.Errorf("%s: %w; stop that process or choose another path", path, ErrInUse)
	default:
		return fmt.Errorf("whether a process answers on %s is unclear: %w", path, err)
	}
}

// listener removes what Listen made, once.
type listener struct {
	*net.UnixListener
	path string
	made fs.FileInfo
	dir  string // made by Listen too; empty if not
}

func (l *listener) Close() error {
	if there, err := os.Lstat(l.path); err == nil && os.SameFile(there, l.made) {
		_ = os.Remove(l.path)
		if l.dir != "" {
			_ = os.Remove(l.dir) // fails, rightly, when others use it
		}
	}
	return l.UnixListener.Close()
}
