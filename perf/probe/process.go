package probe

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"paca/dataplane/dpdk"
	"paca/dataplane/mbuf"
	"paca/dataplane/port/ethdev"
)

// Setup is what a process that is a probe needs to know before its first plan.
type Setup struct {
	EAL       []string // arguments
	Core      int      // that it runs on, alone of this process
	Out, Back string   // devices, as a host file has them
	Ring      int      // packets that a ring of theirs holds
	Offload   bool     // for Bulk: the ports do all that they can
	GiveWay   bool     // to all else that wants to run on the core
}

// request is a plan of either kind.
type request struct {
	Plan *Plan
	Bulk *Bulk
}

// answer is what the process says to a plan, and to its setup.
type answer struct {
	Result *Result
	Bulk   *BulkResult
	Error  string
}

// Serve is a probe that is a process of its own, since a process has one EAL: it reads
// a Setup and then Plans, as JSON, and writes an answer to each, until in ends.
func Serve(in io.Reader, out io.Writer) error {
	requests, answers := json.NewDecoder(in), json.NewEncoder(out)
	var s Setup
	if err := requests.Decode(&s); err != nil {
		return fmt.Errorf("probe: setup: %w", err)
	}
	// Between runs there is little to collect, and within one nothing.
	debug.SetGCPercent(-1)
	p, end, err := s.open()
	if err != nil {
		return errors.Join(err, answers.Encode(answer{Error: err.Error()}))
	}
	defer end()
	if err := answers.Encode(answer{}); err != nil {
		return err
	}
	for {
		var r request
		if err := requests.Decode(&r); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("probe: plan: %w", err)
		}
		runtime.GC()
		var a answer
		switch {
		case r.Plan != nil:
			a.Result, err = p.Run(*r.Plan)
		case r.Bulk != nil:
			a.Bulk, err = p.RunBulk(*r.Bulk)
		}
		if err != nil {
			a.Error = err.Error()
		}
		if err := answers.Encode(a); err != nil {
			return err
		}
	}
}

// open makes a probe of the process. The calling goroutine stays on its thread.
func (s Setup) open() (_ *Probe, end func(), err error) {
	var only unix.CPUSet
	only.Set(s.Core)
	if err := pinAll(&only); err != nil {
		return nil, nil, err
	}
	if err := dpdk.Init(dpdk.Config{Args: s.EAL, Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))}); err != nil {
		return nil, nil, err
	}
	runtime.LockOSThread()
	if err := dpdk.RegisterThread(); err != nil {
		return nil, nil, err
	}
	if s.GiveWay {
		if err := unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}, 0); err != nil {
			return nil, nil, fmt.Errorf("probe: scheduling policy: %w", err)
		}
	}
	pool, err := dpdk.NewMempool("probe", 4*s.Ring+4095, 256, mbuf.DefaultDataRoom)
	if err != nil {
		return nil, nil, err
	}
	var offloads mbuf.Offloads
	if s.Offload {
		offloads = mbuf.AllOffloads
	}
	var ports [2]*ethdev.Port
	for i, device := range []string{s.Out, s.Back} {
		if ports[i], err = ethdev.New(ethdev.Config{Device: device, Pool: pool, Descriptors: s.Ring, Offloads: offloads}); err != nil {
			return nil, nil, err
		}
	}
	for deadline := time.Now().Add(10 * time.Second); !ports[0].LinkUp() || !ports[1].LinkUp(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return nil, nil, errors.New("probe: nobody is at the other end")
		}
	}
	p := &Probe{Out: ports[0], Back: ports[1], Pool: pool, Window: s.Ring}
	return p, func() {
		for _, port := range ports {
			_ = port.Close() // the process is about to end
		}
	}, nil
}

// pinAll keeps every thread of the process, and those they start, on some cores.
func pinAll(cores *unix.CPUSet) error {
	threads, err := filepath.Glob("/proc/self/task/*")
	if err != nil {
		return err
	}
	for _, t := range threads {
		tid, err := strconv.Atoi(filepath.Base(t))
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(tid, cores); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("probe: cpu affinity of thread %d: %w", tid, err)
		}
	}
	return nil
}
