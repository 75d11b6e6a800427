package daemon

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"paca/dataplane/fib"
	"paca/dataplane/neigh"
	"paca/dataplane/packet"
	"paca/dataplane/worker"
)

// control is the control plane of the provider side: one goroutine that keeps
// every next hop of the FIB resolved, announces this host's PAs, and publishes a
// new FIB when something about a next hop changed. Workers reach it, and it them,
// through their rings.
type control struct {
	fib     *atomic.Pointer[fib.FIB]
	workers []*worker.Worker
	wake    chan struct{}
	log     *slog.Logger

	mu    sync.Mutex // the table is also read for reports
	table *neigh.Table
}

// wakeUp is the workers' Wake.
func (c *control) wakeUp() {
	select {
	case c.wake <- struct{}{}:
	default: // it is about to look anyway
	}
}

// start announces the PAs and asks for the next hops.
func (c *control) start(now time.Time) {
	f := c.fib.Load()
	for i := range f.PAs {
		pa := &f.PAs[i]
		c.table.Announce(now, pa.Port, pa.VLAN, source(pa))
	}
	c.turn(now)
}

// run works until ctx ends.
func (c *control) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		case <-timer.C:
		}
		now := time.Now()
		if next := c.turn(now); next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(next.Sub(now))
		}
	}
}

// turn takes in what the workers learned, sends what is due, publishes what
// changed, and says when it wants its next turn; zero: when something is learned.
func (c *control) turn(now time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.workers {
		for p := w.Punt.Peek(); p != nil; p = w.Punt.Peek() {
			c.learn(now, p)
			w.Punt.Pop()
		}
	}
	f := c.fib.Load()
	for i := range f.NextHops {
		n := &f.NextHops[i]
		c.table.Want(now, neigh.Key{Port: n.Port, VLAN: n.VLAN, Addr: n.Addr}, source(&f.PAs[n.From]))
	}
	c.table.Tick(now, c.send)
	if g := f.WithNeighbors(c.resolve); changed(f.NextHops, g.NextHops) {
		c.fib.Store(g)
	}
	return c.table.Next()
}

// learn takes in one ARP or ND frame.
func (c *control) learn(now time.Time, p *worker.ControlFrame) {
	frame := p.Bytes()
	var l packet.Layout
	if packet.Parse(frame, &l) != packet.OK {
		return
	}
	m, ok := neigh.Classify(frame, &l)
	if !ok {
		return
	}
	vlan := l.TCI & 0xfff
	f := c.fib.Load()
	for i := range f.PAs {
		pa := &f.PAs[i]
		if pa.Port == p.Port && pa.VLAN == vlan && addrOf(pa) == m.Sender && !m.SenderMAC.IsZero() && pa.MAC != m.SenderMAC {
			c.log.Error("another machine claims a provider address of this host", "address", m.Sender, "mac", m.SenderMAC, "rule", "P14")
			return
		}
	}
	c.table.Hear(now, p.Port, vlan, m)
}

// send has a worker send a frame.
func (c *control) send(port uint16, frame []byte) {
	if !c.workers[0].Inject.Push(port, frame) {
		c.log.Warn("a worker is too busy to send ARP or neighbor discovery; it will be sent again")
	}
}

// resolve is the fib.Resolve of this table.
func (c *control) resolve(port, vlan uint16, addr netip.Addr) (packet.MAC, fib.AdjState) {
	mac, state := c.table.Lookup(neigh.Key{Port: port, VLAN: vlan, Addr: addr})
	switch {
	case state == neigh.Failed:
		return mac, fib.AdjFailed
	case mac.IsZero():
		return mac, fib.AdjUnresolved
	}
	return mac, fib.AdjReady
}

func changed(old, new []fib.Neighbor) bool {
	for i := range old {
		if old[i].MAC != new[i].MAC || old[i].State != new[i].State {
			return true
		}
	}
	return false
}

func source(pa *fib.PA) neigh.Source { return neigh.Source{MAC: pa.MAC, Addr: addrOf(pa)} }

func addrOf(pa *fib.PA) netip.Addr { return address(&pa.Addr, pa.V6) }

// address is an address as the FIB has it.
func address(b *[16]byte, v6 bool) netip.Addr {
	if v6 {
		return netip.AddrFrom16(*b)
	}
	return netip.AddrFrom4([4]byte(b[:4]))
}
