package dpdk

/*
#include <rte_log.h>
#include "shim.h"
*/
import "C"

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// logPipe carries what DPDK logs, and what C code prints, into a slog.Logger.
// Writers never wait: what does not fit the pipe is lost.
type logPipe struct {
	log *slog.Logger
	w   int

	calls  sync.Mutex // one explain at a time
	mu     sync.Mutex
	errors []string      // since explain began
	marked chan struct{} // the reader met the mark
}

// mark is a message that only explain writes.
const mark = "\x00"

func openLog(log *slog.Logger) (*logPipe, error) {
	var fds [2]int
	// O_DIRECT keeps messages apart: one write is one read.
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_DIRECT); err != nil {
		return nil, fmt.Errorf("dpdk: log pipe: %w", err)
	}
	// A message takes at least a page of the pipe, which has 16 by default: too
	// few for what the EAL says at start. Best effort.
	_, _ = unix.FcntlInt(uintptr(fds[1]), unix.F_SETPIPE_SZ, 1<<20)
	l := &logPipe{log: log, w: fds[1], marked: make(chan struct{}, 1)}
	go l.read(os.NewFile(uintptr(fds[0]), "dpdk log"))
	if err := errnoOf(C.shim_log_open(C.int(fds[1]))); err != nil {
		return nil, fmt.Errorf("dpdk: log stream: %w", err)
	}
	return l, nil
}

func (l *logPipe) read(r *os.File) {
	buf := make([]byte, 4096)
	for {
		n, err := r.Read(buf)
		if err != nil {
			return
		}
		if string(buf[:n]) == mark {
			l.marked <- struct{}{}
			continue
		}
		level := levelOf(C.uint32_t(buf[0] - '0'))
		for line := range strings.Lines(string(buf[1:n])) {
			if line = strings.TrimSpace(line); line == "" {
				continue
			}
			l.log.Log(context.Background(), level, line)
			if level >= slog.LevelError {
				l.mu.Lock()
				if !slices.Contains(l.errors, line) {
					l.errors = append(l.errors, line)
				}
				l.mu.Unlock()
			}
		}
	}
}

func levelOf(level C.uint32_t) slog.Level {
	switch {
	case level <= C.RTE_LOG_ERR:
		return slog.LevelError
	case level == C.RTE_LOG_WARNING:
		return slog.LevelWarn
	case level <= C.RTE_LOG_INFO:
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

// explain does call and, should it fail, adds the errors that DPDK logged
// meanwhile: its error numbers alone rarely tell what was wrong.
func (l *logPipe) explain(call func() error) error {
	l.calls.Lock()
	defer l.calls.Unlock()
	l.mu.Lock()
	l.errors = nil
	l.mu.Unlock()

	err := call()
	if err == nil {
		return nil
	}
	for {
		_, werr := unix.Write(l.w, []byte(mark))
		if werr == nil {
			break
		}
		if werr != unix.EAGAIN && werr != unix.EINTR {
			return err
		}
		time.Sleep(time.Millisecond) // full: the reader will make room
	}
	<-l.marked
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.errors) == 0 {
		return err
	}
	return fmt.Errorf("%w (%s)", err, strings.Join(l.errors, "; "))
}
