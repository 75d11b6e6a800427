package ethdev

import (
	"errors"
	"fmt"
	"math/bits"
	"path/filepath"
	"sync/atomic"

	"paca/dataplane/dpdk"
	"paca/dataplane/mbuf"
)

// ErrQueues marks a number of queues that a device does not have.
var ErrQueues = errors.New("queues")

const memifDriver = "net_memif"

// pairs is how many queues of both directions a driver is told of, if they come in
// pairs.
func (c *Config) pairs() int {
	if c.Queues > 0 {
		return c.Queues
	}
	return c.Workers
}

// agreed is pairs for a device whose other side decides: it has as many as it was told
// of, and the driver loses what is sent by more than those. One that nobody told of any
// has one.
func (c *Config) agreed() int { return max(c.Queues, 1) }

// numbers are how many queues the device gets.
func (c *Config) numbers(i *dpdk.DevInfo, paired bool) (rx, tx int, err error) {
	rx, tx = c.pairs(), c.Workers
	if i.Driver == memifDriver {
		rx, paired = c.agreed(), true
	}
	if paired {
		tx = rx
	}
	if c.Queues > i.MaxRxQueues {
		return 0, 0, fmt.Errorf("%w: %d asked for, the device has %d", ErrQueues, c.Queues, i.MaxRxQueues)
	}
	rx, tx = min(rx, i.MaxRxQueues), min(tx, i.MaxTxQueues)
	if paired {
		rx, tx = min(rx, tx), min(rx, tx)
	}
	return rx, tx, nil
}

// rxQueuesOf is how many receive queues a kernel's interface has.
func rxQueuesOf(iface string) int {
	queues, err := filepath.Glob(filepath.Join("/sys/class/net", iface, "queues/rx-*"))
	if err != nil || len(queues) == 0 { // another namespace's /sys
		return 1
	}
	return len(queues)
}

// shared are the transmit queues of a device that has fewer than there are workers, or
// whose other side may come to take from fewer.
type shared struct {
	queues []lock
	open   *uint64 // of a vhost port: the queues that the VM's driver takes from, a bit for each
}

// lock is held for one burst by the worker whose it is.
type lock struct {
	taken atomic.Uint32
	_     [60]byte
}

func (l *lock) acquire() {
	for !l.taken.CompareAndSwap(0, 1) {
		for l.taken.Load() != 0 {
		}
	}
}

func (l *lock) release() { l.taken.Store(0) }

// share prepares what Tx needs if workers are to share queues.
func (p *Port) share(workers, tx int) error {
	if tx >= workers && (p.capas.Driver != vhost || workers == 1) {
		return nil
	}
	p.shared = &shared{queues: make([]lock, tx)}
	if p.capas.Driver == vhost {
		open, err := dpdk.VhostWatch(p.id)
		if err != nil {
			return err
		}
		p.shared.open = open
	}
	return nil
}

// queue is the device's queue for a worker's packets. Of a VM, those that its driver
// takes from are the first so many.
func (s *shared) queue(worker int) int {
	n := len(s.queues)
	if s.open != nil {
		n = max(1, min(n, bits.TrailingZeros64(^atomic.LoadUint64(s.open))))
	}
	if worker < n {
		return worker
	}
	return worker % n
}

// txShared is Tx by a queue that others may use too.
func (p *Port) txShared(worker int, pkts []*mbuf.Mbuf) int {
	queue := p.shared.queue(worker)
	l := &p.shared.queues[queue]
	l.acquire()
	n := p.tx(queue, pkts)
	l.release()
	return n
}
