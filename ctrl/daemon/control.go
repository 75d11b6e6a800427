package daemon

import (
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"paca/ctrl/server"
	"paca/dataplane/fib"
	"paca/dataplane/neigh"
	"paca/dataplane/packet"
	"paca/dataplane/worker"
)

// control is the control plane of the provider side: one goroutine that keeps
// every next hop of the FIB resolved, announces this host's PAs, and publishes a
// new FIB when something about a next hop changed. It also does what workers leave
// to it of what VMs and other hosts say: DHCP and what tells of CAs (guest.go,
// learn.go), NVE messages (nve.go). Workers reach it, and it them, through their
// rings.
type control struct {
	fib     *atomic.Pointer[fib.FIB]
	workers []*worker.Worker
	wake    chan struct{}
	log     *slog.Logger

	republish func()                 // has the policy goroutine publish what is known by now; must not block
	notify    func(...server.Notice) // tells who watches; must not block
	proposals chan proposal          // see propose
	testing   chan struct{}          // full while a path is tested

	mu      sync.Mutex // of what follows, and of who publishes
	table   *neigh.Table
	groups  membership
	paths   *neigh.Paths
	test    *pathTest // or nil
	full    bool      // the table was, and it was said
	claimed map[claim]time.Time
	states  map[neigh.Key]neigh.AddressState // of this host's PAs, as they were told
	facts   facts
	news    bool      // there are facts that republish was not called for
	told    time.Time // when it was called last

	// What comes from VMs and from other hosts, and how much of it.
	guests    guests
	nve       *nve
	asking    buckets[uint16] // DHCP, by port
	learning  buckets[uint16] // CAs, by port
	leasing   buckets[uint16] // likewise, of what DHCP servers say
	noticed   map[server.NoticeKind]*recent[server.Notice]
	unsaid    uint64 // notices for which noticed had no room (E10)
	logged    bucket
	whispered bucket
}

// newControl makes the control plane of a host that has no FIB yet, nor workers.
func newControl(f *atomic.Pointer[fib.FIB], log *slog.Logger, cfg neigh.Config, republish func(), notify func(...server.Notice)) *control {
	return &control{
		fib:       f,
		wake:      make(chan struct{}, 1),
		log:       log,
		proposals: make(chan proposal, maxBatch),
		republish: republish,
		notify:    notify,
		testing:   make(chan struct{}, 1),
		table:     neigh.New(cfg),
		paths:     neigh.NewPaths(),
		claimed:   map[claim]time.Time{},
		states:    map[neigh.Key]neigh.AddressState{},
		facts:     newFacts(),
		nve:       newNVE(),
		noticed:   map[server.NoticeKind]*recent[server.Notice]{},
	}
}

// claim is another machine's of a PA of this host.
type claim struct {
	addr netip.Addr
	mac  packet.MAC
}

// Claims are logged once in a while, and so many at most.
const (
	claimPause = time.Minute
	maxClaims  = 256
)

// dispute logs a claim (P14), unless it did so lately.
func (c *control) dispute(now time.Time, by claim) {
	maps.DeleteFunc(c.claimed, func(_ claim, last time.Time) bool { return now.Sub(last) >= claimPause })
	if _, lately := c.claimed[by]; lately || len(c.claimed) == maxClaims {
		return
	}
	c.claimed[by] = now
	c.log.Error("another machine claims a provider address of this host", "address", by.addr, "mac", by.mac, "rule", "P14")
}

// wakeUp is the workers' Wake.
func (c *control) wakeUp() {
	select {
	case c.wake <- struct{}{}:
	default: // it is about to look anyway
	}
}

// start assigns the PAs and asks for the next hops.
func (c *control) start(now time.Time) {
	c.mu.Lock()
	c.assign(now, nil)
	c.mu.Unlock()
	c.turn(now)
}

// assign makes the PAs this host's that were not before (A13). The caller holds
// c.mu.
func (c *control) assign(now time.Time, before []fib.PA) {
	f := c.fib.Load()
	for i := range f.PAs {
		pa := &f.PAs[i]
		same := func(b fib.PA) bool {
			b.Duplicate = pa.Duplicate // which was found out, not assigned
			return b == *pa
		}
		if pa.Port != fib.None && !slices.ContainsFunc(before, same) {
			c.table.Assign(now, pa.Port, pa.VLAN, source(pa))
		}
	}
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
		// No more than fits in a ring: a flood must not keep the turn from ending.
		n := 0
		for p := w.Punt.Peek(); p != nil && n < worker.RingSize; p = w.Punt.Peek() {
			c.take(now, p)
			w.Punt.Pop()
			n++
		}
		if n == worker.RingSize {
			c.wakeUp()
		}
	}
	f := c.fib.Load()
	c.want(now, f)
	c.table.Tick(now, c.send)
	c.judge(f)
	c.paths.Age(now, func(pa netip.Addr) { c.pathMTU(pa, 0) })
	next := soonest(soonest(c.table.Next(), c.paths.Next()), c.groups.tick(now, f, c.send))
	if c.test != nil && !c.test.over {
		next = soonest(next, c.test.step(now, f, c.sendPadded))
	}
	switch {
	case !c.news:
	case now.Before(c.told.Add(republishPause)):
		next = soonest(next, c.told.Add(republishPause))
	default:
		c.news, c.told = false, now
		c.republish()
	}
	if g := f.WithNeighbors(c.resolve); changed(f.NextHops, g.NextHops) {
		c.fib.Store(g)
	}
	return next
}

// However much the fabric tells, so much of the time goes into new FIBs for it.
const republishPause = 100 * time.Millisecond

// soonest is the earlier of two times, of which zero is never.
func soonest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// take brings a frame to whom it concerns: it is theirs until take returns. The
// caller holds c.mu, but not the host's lock, which comes first.
func (c *control) take(now time.Time, p *worker.ControlFrame) {
	switch p.Kind {
	case worker.Neighbor:
		c.learn(now, p)
	case worker.ICMP:
		c.heardICMP(now, p)
	case worker.DHCP:
		c.answerDHCP(now, p)
	case worker.Learn:
		c.learnCA(now, p)
	case worker.Miss:
		c.missed(now, p)
	case worker.Stray:
		c.strayed(now, p)
	case worker.NVE:
		c.heardNVE(now, p)
	}
}

// want asks for the next hops of f, and forgets what f has no use for any more: a
// neighbor that is asked on behalf of a PA that left this host would send that
// PA's packets here.
func (c *control) want(now time.Time, f *fib.FIB) {
	used := make(map[neigh.Key]bool, len(f.NextHops)+len(f.PAs))
	full := false
	for i := range f.NextHops {
		n := &f.NextHops[i]
		k := neigh.Key{Port: n.Port, VLAN: n.VLAN, Addr: n.Addr}
		from, ok := asker(f, n)
		if !ok {
			continue
		}
		used[k] = true
		if !c.table.Want(now, k, from) {
			if !full && !c.full {
				c.log.Error("a next hop cannot be resolved: there are too many, or it is no neighbor's address", "first", n.Addr)
			}
			full = true
		}
	}
	c.full = full
	for i := range f.PAs {
		pa := &f.PAs[i]
		used[neigh.Key{Port: pa.Port, VLAN: pa.VLAN, Addr: pa.IP()}] = true
	}
	c.table.Keep(used)
	c.forget(used)
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
	vlan := l.TCI & packet.VIDMask
	if !c.table.Contest(now, p.Port, vlan, m) {
		c.table.Hear(now, p.Port, vlan, m)
		return
	}
	pa := m.Sender
	if pa.IsUnspecified() {
		pa = m.Target
	}
	if c.table.Address(neigh.Key{Port: p.Port, VLAN: vlan, Addr: pa}).State != neigh.Duplicate { // which is said already
		c.dispute(now, claim{pa, m.By})
	}
}

// send has a worker send a frame.
func (c *control) send(port uint16, frame []byte) {
	if !c.workers[0].Inject.Push(port, worker.Neighbor, frame) {
		c.log.Warn("a worker is too busy to send ARP or neighbor discovery; it will be sent again")
	}
}

// sendPadded has a worker send a frame of size bytes, zeros behind what is here.
func (c *control) sendPadded(port uint16, frame []byte, size int) {
	c.workers[0].Inject.PushPadded(port, worker.ICMP, frame, size) // if not, the next try may be
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

func source(pa *fib.PA) neigh.Source { return neigh.Source{MAC: pa.MAC, Addr: pa.IP()} }
