// Package daemon knits: configuration, policy, ports, modes, workers, the
// control plane of the provider side, the control socket and the metrics
// endpoint become one running host. Run is the order in which that happens, and
// its reverse is the order in which it ends.
//
// Floor 3. conf's types stop here: what goes down to dataplane and modes are
// theirs.
package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"paca/conf"
	"paca/ctrl/metrics"
	"paca/ctrl/server"
	"paca/ctrl/store"
	"paca/dataplane/dpdk"
	"paca/dataplane/fib"
	"paca/dataplane/mbuf"
	"paca/dataplane/neigh"
	"paca/dataplane/policy"
	"paca/dataplane/port"
	"paca/dataplane/port/ethdev"
	"paca/dataplane/worker"
	"paca/modes"
	"paca/modes/nvgre"
)

// host is one running host.
type host struct {
	conf    *conf.Config
	version string // of pacad
	log     *slog.Logger
	started time.Time

	store     store.Store
	requests  chan *request
	facts     chan struct{} // the control plane has some that the compiler does not know
	stopped   chan struct{} // closes when no request is answered any more
	fib       atomic.Pointer[fib.FIB]
	pool      *dpdk.Mempool
	workers   []*worker.Worker
	running   bool // workers are
	control   *control
	notices   notices // to who watches
	collector *pacer
	loads     loads // of the workers

	mu       sync.RWMutex // of what follows; reports read, applyAll writes
	book     *policy.Book
	revision uint64 // of the Book, as the store counts
	compiler *fib.Compiler
	slots    [dpdk.MaxPorts]*slot

	closers []func() // what Run undoes, last first
}

// Run starts a host from a host file, serves until ctx ends, and undoes all it
// did. An error that holds a *conf.Fault is a fault of configuration, or of the
// machine that was configured for; nothing is left behind either way.
//
// recoverFrom, unless empty, is a policy file that takes the place of a store
// that cannot be read; the store's file is kept under another name.
func Run(ctx context.Context, file, recoverFrom, version string) error {
	c, err := conf.Load(file)
	if err != nil {
		return err
	}
	h := &host{conf: c, version: version, log: slog.Default(), started: time.Now(), requests: make(chan *request, maxBatch), facts: make(chan struct{}, 1), stopped: make(chan struct{}), compiler: fib.NewCompiler(), collector: newPacer()}
	slog.SetLogLoggerLevel(c.Log.Level)
	if h.book, err = hostBook(c); err != nil {
		return err
	}
	defer h.undo()
	for _, step := range []func(context.Context) error{
		h.claimSocket, // first of what touches the machine: it tells whether we run already
		func(context.Context) error { return h.openStore(recoverFrom) },
		h.startDPDK,
		h.makeWorkers,
		h.openPorts,
		h.compile, // policy is in force before the first packet
		h.startWorkers,
		h.startControl,
		h.serveMetrics,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	h.log.Info("forwarding", "host", c.Host.Name, "version", version, "ports", h.book.Len(policy.KindPort), "workers", len(h.workers),
		"lookup_records", h.book.Len(policy.KindLookupRecord), "revision", h.revision, "socket", c.Control.Socket)
	notify(daemon.SdNotifyReady)
	<-ctx.Done()
	notify(daemon.SdNotifyStopping)
	h.log.Info("stopping")
	return nil
}

// notify tells systemd, if it started us.
func notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		slog.Warn("systemd is not told", "state", state, "error", err)
	}
}

func (h *host) atEnd(f func()) { h.closers = append(h.closers, f) }

func (h *host) undo() {
	for i := len(h.closers) - 1; i >= 0; i-- {
		h.closers[i]()
	}
}

// fault words an error of the machine as one of the configuration's key.
func (h *host) fault(key string, err error) error { return h.conf.Fault(key, "%v", err) }

// claimSocket opens the control socket, and the one for those who may only look.
// Requests that come before the host is whole wait in the backlog.
func (h *host) claimSocket(context.Context) error {
	c := h.conf.Control
	h.control = newControl(&h.fib, h.log, neigh.Config{NoDetection: !h.conf.Host.DuplicateDetection}, func() {
		select {
		case h.facts <- struct{}{}:
		default: // it is about to publish anyway
		}
	}, h.notices.publish)
	h.control.nve.act = h.conf.NVGRE.ControlMessages == conf.ControlMessagesAct
	s := server.New((*report)(h), h, h.log)
	h.atEnd(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = s.Shutdown(ctx)
	})
	err := h.listen(server.Socket{Path: c.Socket, Group: c.Group, GroupOptional: c.Group == conf.DefaultGroup}, s.Serve)
	if err != nil || c.ReadGroup == "" {
		return err
	}
	return h.listen(server.Socket{Path: c.Socket + conf.ReadOnlySuffix, Group: c.ReadGroup, GroupKey: "control.read_group"}, s.ServeReadOnly)
}

// listen opens one socket.
func (h *host) listen(socket server.Socket, serve func(net.Listener) error) error {
	l, err := server.Listen(socket, h.log)
	var wrong *server.KeyError
	if errors.As(err, &wrong) {
		return h.fault(wrong.Key, wrong.Err)
	} else if err != nil {
		return err
	}
	h.atEnd(func() { _ = l.Close() })
	go func() {
		for h.fib.Load() == nil { // there is nothing to answer from yet
			time.Sleep(10 * time.Millisecond)
		}
		if err := serve(l); err != nil {
			h.log.Error("control socket", "socket", socket.Path, "error", err)
		}
	}()
	return nil
}

// openStore reads the policy that was in force when the host last ran, or the
// seed when there never was any.
func (h *host) openStore(recoverFrom string) error {
	c := h.conf.Policy
	open := func() (err error) { h.store, err = store.Open(c.Store); return }
	err := open()
	if recoverFrom != "" && (errors.Is(err, store.ErrCorrupt) || errors.Is(err, store.ErrNewer)) {
		scratch, faults := hostBook(h.conf)
		if faults == nil {
			_, faults = seed(scratch, recoverFrom)
		}
		if faults != nil { // before anything is moved
			return faults
		}
		aside, moveErr := setAside(c.Store)
		if moveErr != nil {
			return h.fault("policy.store", moveErr)
		}
		h.log.Warn("the store cannot be read and was set aside", "error", err, "kept_as", aside, "policy_from", recoverFrom)
		err = open()
	}
	if err != nil {
		return h.fault("policy.store", err)
	}
	h.atEnd(func() {
		if err := h.store.Close(); err != nil {
			h.log.Error("store", "error", err)
		}
	})
	revision, objects := h.store.Load()
	h.revision = uint64(revision)
	if h.revision == 0 {
		if aside := unreadable(c.Store); len(aside) > 0 && recoverFrom == "" {
			return h.fault("policy.store", fmt.Errorf("the store is empty, and %s was set aside: start once more with --recover-from, or move that file away", aside[0]))
		}
		return h.seed(cmp.Or(recoverFrom, c.Seed))
	}
	if recoverFrom != "" {
		h.log.Warn("the store is sound: --recover-from is not needed and has no effect", "revision", h.revision)
	}
	var chunk []policy.Change
	apply := func() error {
		_, err := h.book.Apply(chunk)
		chunk = chunk[:0]
		if err != nil {
			return h.fault("policy.store", fmt.Errorf("stored policy and the host file contradict each other: %w", err))
		}
		return nil
	}
	for o, err := range objects {
		if err != nil {
			return h.fault("policy.store", err)
		}
		if chunk = append(chunk, policy.Change{Verb: policy.Put, Object: o}); len(chunk) == 10000 {
			h.collector.adjust()
			if err := apply(); err != nil {
				return err
			}
		}
	}
	return apply()
}

// seed is the first policy of a store.
func (h *host) seed(file string) error {
	if file == "" {
		return nil
	}
	applied, err := seed(h.book, file)
	if err != nil || len(applied) == 0 {
		return err
	}
	revision, err := h.store.Commit([][]policy.Change{applied})
	if err != nil {
		return h.fault("policy.store", err)
	}
	h.revision = uint64(revision)
	return nil
}

// unreadable are the files of a bolt store that setAside kept.
func unreadable(spec string) []string {
	_, path, _ := strings.Cut(spec, ":")
	found, err := filepath.Glob(path + asideSuffix + "*")
	if err != nil { // the path itself looks like a pattern
		return nil
	}
	return found
}

const asideSuffix = ".unreadable-"

// setAside renames the file of a bolt store and says how.
func setAside(spec string) (string, error) {
	_, path, _ := strings.Cut(spec, ":")
	aside := path + asideSuffix + time.Now().UTC().Format("20060102T150405")
	return aside, os.Rename(path, aside)
}

// startDPDK starts the EAL and makes the pool of buffers.
func (h *host) startDPDK(context.Context) error {
	c := h.conf
	others, err := cores(c)
	if err != nil {
		return err
	}
	args, err := h.ealArgs()
	if err != nil {
		return err
	}
	if err := stayOff(len(c.Workers.Cores), &others); err != nil {
		return err
	}
	if err := dpdk.Init(dpdk.Config{Args: args, Log: h.log}); err != nil {
		return h.fault("eal", err)
	}
	mtu := 0
	for p := range h.ports() {
		mtu = max(mtu, p.MTU)
	}
	room := ethdev.DataRoom(mtu)
	if h.pool, err = dpdk.NewMempool("paca", h.buffers(room), poolCache, room); err != nil {
		return h.fault("eal.memory", err)
	}
	return nil
}

// ports are those of policy, in the order of the host file, then by name.
func (h *host) ports() iter.Seq[policy.Port] {
	return func(yield func(policy.Port) bool) {
		own := map[string]bool{}
		for _, p := range h.conf.Ports {
			own[p.Name] = true
			if o, ok := h.book.Get(policy.Port{Name: p.Name}.Key()); ok && !yield(o.(policy.Port)) {
				return
			}
		}
		for o := range h.book.All(policy.KindPort) {
			if p := o.(policy.Port); !own[p.Name] && !yield(p) {
				return
			}
		}
	}
}

// openPorts opens the ports of policy.
func (h *host) openPorts(context.Context) error {
	h.atEnd(h.closeAll)
	for _, p := range slices.SortedStableFunc(h.ports(), uplinksFirst) {
		if err := h.open(p); err != nil {
			if i := slices.IndexFunc(h.conf.Ports, func(c conf.Port) bool { return c.Name == p.Name }); i >= 0 {
				key := fmt.Sprintf("port[%d].device", i)
				switch {
				case errors.Is(err, ethdev.ErrQueues):
					key = fmt.Sprintf("port[%d].queues", i)
				case errors.Is(err, errFlat):
					key = "workers.spread"
				}
				return h.fault(key, err)
			}
			// A VM's port that was plugged in and whose other side is gone by
			// now must not keep the others from running.
			h.log.Error("port of stored policy does not open; delete it and add it anew", "port", p.Name, "error", err)
		}
	}
	return nil
}

// Sizes of rings and pools, in packets.
const (
	descriptors = 1024
	poolCache   = 256
)

// buffers is enough for every ring of every port there may be to be full, and of every
// worker to every other, every worker to hold bursts, and every cache to be filled; less
// where half the memory configured holds less, for drivers want some too. What was
// configured goes first.
func (h *host) buffers(room int) int {
	if h.conf.EAL.Buffers > 0 {
		return h.conf.EAL.Buffers
	}
	workers := len(h.conf.Workers.Cores)
	want := dpdk.MaxPorts*workers*2*descriptors + workers*(4*port.MaxBurst+2*poolCache+1024) + workers*(workers-1)*worker.BeltSize + 4096
	return min(want, h.conf.EAL.Memory<<20/2/(room+int(mbuf.Size)+128))
}

// compile makes the first FIB.
func (h *host) compile(context.Context) error {
	h.staticNeighbors()
	h.control.guests.read(h.book)
	h.fib.Store(h.compiler.Compile(h.book, h.devices(), h.control.resolve))
	return nil
}

// staticNeighbors makes the host file's neighbors known, each in every VLAN in
// which a PA of its port has it on link.
func (h *host) staticNeighbors() {
	for _, n := range h.conf.Neighbors {
		slot, found := h.slotOf(n.Port), false
		for o := range h.book.All(policy.KindProviderAddress) {
			if a := o.(policy.ProviderAddress); slot >= 0 && a.Port == n.Port && a.Prefix.Contains(n.Address) {
				h.control.table.AddStatic(neigh.Key{Port: uint16(slot), VLAN: a.VLAN, Addr: n.Address}, n.MAC)
				found = true
			}
		}
		if !found && h.fib.Load() == nil { // at start; it is no news later
			h.log.Warn("neighbor is on link of no provider address and has no effect yet", "port", n.Port, "address", n.Address)
		}
	}
}

// makeWorkers makes one worker for each core.
func (h *host) makeWorkers(context.Context) error {
	cores := len(h.conf.Workers.Cores)
	router := worker.Router{
		KeepTTL:    !h.conf.Router.DecrementTTL,
		AnswerPing: h.conf.Router.AnswerPing,
		ClampMSS:   h.conf.Router.ClampMSS,
		ErrorRate:  h.conf.Router.ICMPRate,
	}
	for i := range cores {
		choices := modes.Config{NVGRE: nvgre.Config{
			ZeroFlowID: h.conf.NVGRE.FlowID == conf.FlowIDZero,
			ZeroTOS:    h.conf.NVGRE.DSCPECN == conf.DSCPECNZero,
			FirstID:    uint16(i * (1 << 16) / cores),
		}}
		h.workers = append(h.workers, worker.New(worker.Config{
			FIB:      &h.fib,
			Modes:    modes.New(choices),
			MaxPorts: len(h.slots),
			Pool:     h.pool,
			TxQueue:  i,
			Adaptive: h.conf.Workers.Idle == conf.IdleAdaptive,
			Wake:     h.control.wakeUp,
			Router:   router,
			NVE:      h.conf.NVGRE.ControlMessages != conf.ControlMessagesOff,
		}))
	}
	worker.Crew(h.workers)
	h.control.workers = h.workers
	h.plug()
	return nil
}

// startWorkers puts each worker on its core.
func (h *host) startWorkers(context.Context) error {
	var running sync.WaitGroup
	h.atEnd(func() {
		for _, w := range h.workers {
			w.Stop()
		}
		running.Wait()
		h.running = false
		for _, w := range h.workers {
			w.Release()
		}
	})
	for i, w := range h.workers {
		ready := make(chan error)
		running.Go(func() {
			runtime.LockOSThread() // never unlocked: the thread ends with the worker
			err := pin(h.conf.Workers.Cores[i])
			ready <- err
			if err == nil {
				w.Run()
				dpdk.UnregisterThread()
			}
		})
		if err := <-ready; err != nil {
			return h.fault(fmt.Sprintf("workers.cores[%d]", i), err)
		}
	}
	h.running = true
	return nil
}

// pin makes the calling thread a worker's, on one core.
func pin(core int) error {
	var only unix.CPUSet
	only.Set(core)
	if err := unix.SchedSetaffinity(0, &only); err != nil {
		return err
	}
	// Short sleeps of the idle back-off shall be short: the kernel adds its
	// slack, 50 us unless told otherwise, to each.
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		return err
	}
	return dpdk.RegisterThread()
}

// startControl starts the control plane of the provider side, and that of policy.
func (h *host) startControl(context.Context) error {
	ctx, cancel := context.WithCancel(context.Background())
	h.control.start(time.Now())
	var running sync.WaitGroup
	running.Go(func() { h.control.run(ctx) })
	running.Go(func() { h.applyAll(ctx) })
	running.Go(func() { h.proposeAll(ctx) })
	running.Go(func() { h.loads.keep(ctx, h.workers) })
	h.atEnd(func() { cancel(); running.Wait() })
	return nil
}

func (h *host) serveMetrics(context.Context) error {
	if h.conf.Metrics.Listen == "" {
		return nil
	}
	s, err := metrics.Listen(h.conf.Metrics.Listen, (*scrape)(h), h.version, h.log)
	if err != nil {
		return h.fault("metrics.listen", err)
	}
	go func() {
		if err := s.Serve(); err != nil {
			h.log.Error("metrics endpoint", "error", err)
		}
	}()
	h.atEnd(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = s.Shutdown(ctx)
	})
	return nil
}
