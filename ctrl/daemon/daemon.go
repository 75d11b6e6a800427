// Package daemon knits: configuration, policy, ports, modes, workers, the
// control plane of the provider side, the control socket and the metrics
// endpoint become one running host. Run is the order in which that happens, and
// its reverse is the order in which it ends.
//
// Floor 3. conf's types stop here: what goes down to dataplane and modes are
// theirs.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"paca/conf"
	"paca/ctrl/metrics"
	"paca/ctrl/server"
	"paca/dataplane/count"
	"paca/dataplane/dpdk"
	"paca/dataplane/fib"
	"paca/dataplane/neigh"
	"paca/dataplane/packet"
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

	set     *policy.Set
	fib     atomic.Pointer[fib.FIB]
	pool    *dpdk.Mempool
	ports   []*ethdev.Port
	workers []*worker.Worker
	control *control

	closers []func() // what Run undoes, last first
}

// Run starts a host from a host file, serves until ctx ends, and undoes all it
// did. An error that holds a *conf.Fault is a fault of configuration, or of the
// machine that was configured for; nothing is left behind either way.
func Run(ctx context.Context, file, version string) error {
	c, err := conf.Load(file)
	if err != nil {
		return err
	}
	h := &host{conf: c, version: version, log: slog.Default(), started: time.Now()}
	slog.SetLogLoggerLevel(c.Log.Level)
	if h.set, err = plan(c); err != nil {
		return err
	}
	defer h.undo()
	for _, step := range []func(context.Context) error{
		h.claimSocket, // first of what touches the machine: it tells whether we run already
		h.openPorts,
		h.publish,
		h.startWorkers,
		h.startControl,
		h.serveMetrics,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	h.log.Info("forwarding", "host", c.Host.Name, "version", version, "ports", len(h.ports), "workers", len(h.workers),
		"lookup_records", len(h.set.LookupRecords), "socket", c.Control.Socket)
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

// claimSocket opens the control socket and, at the end of all steps, closes it.
// Requests that come before the host is whole wait in its backlog.
func (h *host) claimSocket(context.Context) error {
	c := h.conf.Control
	l, err := server.Listen(server.Socket{Path: c.Socket, Group: c.Group, GroupOptional: c.Group == conf.DefaultGroup}, h.log)
	var wrong *server.KeyError
	if errors.As(err, &wrong) {
		return h.fault(wrong.Key, wrong.Err)
	} else if err != nil {
		return err
	}
	h.atEnd(func() { _ = l.Close() })
	s := server.New((*report)(h), nil, h.log)
	h.control = &control{wake: make(chan struct{}, 1), log: h.log, fib: &h.fib, table: neigh.New(neigh.Config{})}
	h.atEnd(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = s.Shutdown(ctx)
	})
	// Requests wait until there is a FIB to answer from.
	go func() {
		for h.fib.Load() == nil {
			time.Sleep(10 * time.Millisecond)
		}
		if err := s.Serve(l); err != nil {
			h.log.Error("control socket", "error", err)
		}
	}()
	return nil
}

// openPorts starts DPDK and the devices.
func (h *host) openPorts(context.Context) error {
	c := h.conf
	others, err := cores(c)
	if err != nil {
		return err
	}
	args, err := ealArgs(c)
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
	for _, p := range c.Ports {
		mtu = max(mtu, p.MTU)
	}
	n := buffers(len(c.Ports), len(c.Workers.Cores))
	if h.pool, err = dpdk.NewMempool("paca", n, poolCache, ethdev.DataRoom(mtu)); err != nil {
		return h.fault("eal.memory", err)
	}
	for i, p := range c.Ports {
		e, err := ethdev.New(ethdev.Config{Name: p.Name, Device: p.Device, MTU: p.MTU, TxQueues: len(c.Workers.Cores), Descriptors: descriptors, Pool: h.pool})
		if err != nil {
			return h.fault(key("port", i, "device"), err)
		}
		h.ports = append(h.ports, e)
		h.atEnd(func() {
			if err := e.Close(); err != nil {
				h.log.Error("port", "error", err)
			}
		})
		info := e.Info()
		if h.set.Ports[i].Role == policy.Uplink {
			h.set.Ports[i].MAC = info.MAC
		}
		h.log.Info("port open", "port", p.Name, "role", p.Role, "device", p.Device, "driver", info.Driver, "mac", packet.MAC(info.MAC), "mtu", p.MTU)
	}
	return nil
}

// Sizes of rings and pools, in packets.
const (
	descriptors = 1024
	poolCache   = 256
)

// buffers is enough for every ring to be full, every worker to hold bursts, and
// every cache to be filled.
func buffers(ports, workers int) int {
	perQueue := 2 * descriptors
	return ports*workers*perQueue + workers*(4*port.MaxBurst+2*poolCache+1024) + 4096
}

// publish compiles policy, so that it is in force before the first packet.
func (h *host) publish(context.Context) error {
	for _, n := range h.conf.Neighbors {
		for _, k := range h.static(n) {
			h.control.table.AddStatic(k, n.MAC)
		}
	}
	h.fib.Store(fib.Compile(h.set, h.control.resolve))
	return nil
}

// static gives the table keys of a static neighbor: one for each VLAN in which a
// PA of the port has it on link.
func (h *host) static(n conf.Neighbor) (keys []neigh.Key) {
	for _, a := range h.set.ProviderAddresses {
		if a.Port != n.Port || !a.Prefix.Contains(n.Address) {
			continue
		}
		for i, p := range h.set.Ports {
			if p.Name == n.Port {
				keys = append(keys, neigh.Key{Port: uint16(i), VLAN: a.VLAN, Addr: n.Address})
			}
		}
	}
	if len(keys) == 0 {
		h.log.Warn("neighbor is on link of no provider address and has no effect", "port", n.Port, "address", n.Address)
	}
	return keys
}

// startWorkers puts one worker on each core. Queues of one port are dealt out to
// the workers in turn, ports of one queue likewise.
func (h *host) startWorkers(context.Context) error {
	n := len(h.conf.Workers.Cores)
	ports := make([]port.Port, len(h.ports))
	poll := make([][]worker.Queue, n)
	for i, p := range h.ports {
		ports[i] = p
		for q := range p.Info().RxQueues {
			w := (i + q) % n
			if p.Info().RxQueues == n {
				w = q
			}
			poll[w] = append(poll[w], worker.Queue{Port: uint16(i), Queue: q})
		}
	}
	var running sync.WaitGroup
	h.atEnd(func() {
		for _, w := range h.workers {
			w.Stop()
		}
		running.Wait()
	})
	choices := modes.Config{NVGRE: nvgre.Config{
		ZeroFlowID: h.conf.NVGRE.FlowID == conf.FlowIDZero,
		ZeroTOS:    h.conf.NVGRE.DSCPECN == conf.DSCPECNZero,
	}}
	for i, core := range h.conf.Workers.Cores {
		w := worker.New(worker.Config{
			FIB:      &h.fib,
			Modes:    modes.New(choices),
			Ports:    ports,
			Pool:     h.pool,
			Poll:     poll[i],
			TxQueue:  i,
			Adaptive: h.conf.Workers.Idle == conf.IdleAdaptive,
			Wake:     h.control.wakeUp,
		})
		h.workers = append(h.workers, w)
		ready := make(chan error)
		running.Go(func() {
			runtime.LockOSThread() // never unlocked: the thread ends with the worker
			err := pin(core)
			ready <- err
			if err == nil {
				w.Run()
				dpdk.UnregisterThread()
			}
		})
		if err := <-ready; err != nil {
			h.workers = h.workers[:i]
			return h.fault(fmt.Sprintf("workers.cores[%d]", i), err)
		}
	}
	h.control.workers = h.workers
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

// startControl starts the control plane of the provider side.
func (h *host) startControl(context.Context) error {
	ctx, cancel := context.WithCancel(context.Background())
	h.control.start(time.Now())
	var running sync.WaitGroup
	running.Go(func() { h.control.run(ctx) })
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

// totals adds up what the workers counted.
func (h *host) totals() *count.Worker {
	sum := count.NewWorker(len(h.ports))
	for _, w := range h.workers {
		w.Count.AddTo(sum)
	}
	return sum
}
