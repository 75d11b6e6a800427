package server

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

func TestListenMakesTheSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	l, err := Listen(Socket{Path: path, Group: "root"}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if st.Mode() != fs.ModeSocket|0o660 {
		t.Errorf("mode %v", st.Mode())
	}
	if gid := st.Sys().(*syscall.Stat_t).Gid; gid != 0 {
		t.Errorf("group %d", gid)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Close: %v", err)
	}
}

func TestListenGivesTheSocketToTheGroup(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(Socket{Path: path, Group: "daemon"}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	st, err := os.Lstat(path)
	if err != nil || st.Sys().(*syscall.Stat_t).Gid != 1 {
		t.Errorf("group of %v, %v", st, err)
	}
}

func TestListenMissingGroup(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))

	_, err := Listen(Socket{Path: path, Group: "no-such"}, logger)
	var key *KeyError
	if !errors.As(err, &key) || key.Key != "control.group" || !errors.Is(err, ErrNoGroup) || log.Len() != 0 {
		t.Errorf("a missing group gives %v and the log %q", err, &log)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("a socket was made all the same")
	}

	l, err := Listen(Socket{Path: path, Group: "no-such", GroupOptional: true}, logger)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "control.group") {
		t.Errorf("the default group, missing, logs %q", &log)
	}
}

func TestListenRefusesALivingSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first, err := Listen(Socket{Path: path, Group: "root"}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	_, err = Listen(Socket{Path: path, Group: "root"}, quiet)
	var key *KeyError
	if !errors.As(err, &key) || key.Key != "control.socket" || !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), path) {
		t.Errorf("second Listen: %v", err)
	}
	if c, err := net.Dial("unix", path); err != nil {
		t.Errorf("the first no longer answers: %v", err)
	} else {
		c.Close()
	}
}

// What kill -9 leaves behind must not keep the next one from starting.
func TestListenReplacesAStaleSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	l, err := Listen(Socket{Path: path, Group: "root"}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

func TestListenLeavesOtherFilesAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(Socket{Path: path, Group: "root"}, quiet); !errors.Is(err, ErrNotSocket) {
		t.Errorf("a file in the way gives %v", err)
	}
	if b, err := os.ReadFile(path); string(b) != "precious" {
		t.Errorf("the file is %q, %v", b, err)
	}
}

// Close takes away its own socket, not that of a successor.
func TestCloseLeavesASuccessorAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(Socket{Path: path, Group: "root"}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	successor, err := Listen(Socket{Path: path, Group: "root"}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer successor.Close()
	l.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the successor's socket: %v", err)
	}
}

func TestListenMakesOneDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	path := filepath.Join(dir, "s")
	l, err := Listen(Socket{Path: path, Group: "root"}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory that Listen made: %v", err)
	}

	l, err = Listen(Socket{Path: path, Group: "root"}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "other"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l.Close()
	if _, err := os.Lstat(filepath.Join(dir, "other")); err != nil {
		t.Errorf("another's file: %v", err)
	}

	_, err = Listen(Socket{Path: filepath.Join(dir, "a", "b", "s"), Group: "root"}, quiet)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("two missing directories give %v", err)
	}
}

// Of many that start at once over a stale socket, one wins and goes on answering.
func TestListenRace(t *testing.T) {
	for range 20 {
		path := filepath.Join(t.TempDir(), "s")
		stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		stale.SetUnlinkOnClose(false)
		stale.Close()

		winners := make(chan net.Listener, 8)
		var all sync.WaitGroup
		for range cap(winners) {
			all.Go(func() {
				l, err := Listen(Socket{Path: path, Group: "root"}, quiet)
				switch {
				case err == nil:
					winners <- l
				case !errors.Is(err, ErrInUse):
					t.Error(err)
				}
			})
		}
		all.Wait()
		close(winners)
		n := 0
		for l := range winners {
			n++
			c, err := net.Dial("unix", path)
			if err != nil {
				t.Error(fmt.Errorf("the winner does not answer: %w", err))
			} else {
				c.Close()
			}
			l.Close()
		}
		if n != 1 {
			t.Fatalf("%d won", n)
		}
	}
}
