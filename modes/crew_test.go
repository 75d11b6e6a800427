package modes_test

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"paca/dataplane/count"
	"paca/dataplane/fib"
	"paca/dataplane/fib/fibtest"
	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
	"paca/dataplane/port"
	"paca/dataplane/port/memport"
	"paca/dataplane/worker"
	"paca/modes"
)

// sharedPool is a pool that several workers use, as DPDK's can be.
type sharedPool struct {
	sync.Mutex
	heap *mbuf.Heap
}

func (p *sharedPool) Alloc(pkts []*mbuf.Mbuf) bool {
	p.Lock()
	defer p.Unlock()
	return p.heap.Alloc(pkts)
}

func (p *sharedPool) Free(pkts []*mbuf.Mbuf) {
	p.Lock()
	defer p.Unlock()
	p.heap.Free(pkts)
}

func (p *sharedPool) Available() int {
	p.Lock()
	defer p.Unlock()
	return p.heap.Available()
}

// crew is a host of several workers: the uplink has some queues, which are spread, and
// each VM's port one for each worker.
type crew struct {
	t       testing.TB
	workers []*worker.Worker
	fib     atomic.Pointer[fib.FIB]
	pool    *sharedPool
	size    int // of the pool
	ports   []*memport.Port
	queues  int           // of the uplink that are polled
	now     atomic.Int64  // of the workers' rate limits, in nanoseconds
	order   map[flow]next // see arrived
}

// flow is one of a VM's; next is the number that its next packet has, and where the
// last came out.
type flow struct{ port, id int }
type next struct{ seq, queue int }

func newCrew(t testing.TB, set *policy.Set, workers, queues int, spread worker.Spread, options ...func(*worker.Config)) *crew {
	t.Helper()
	c := &crew{t: t, size: 4096 + 2*workers*worker.BeltSize, queues: queues, order: map[flow]next{}}
	c.pool = &sharedPool{heap: mbuf.NewHeap(c.size, 512)}
	c.fib.Store(fibtest.Compile(t, set, resolved))
	var ports []port.Port
	polls := make([][]worker.Queue, workers)
	for i := range set.Ports {
		p, err := memport.New(memport.Config{Pool: c.pool, MTU: 350, Queues: max(workers, queues), Depth: 4096})
		if err != nil {
			t.Fatal(err)
		}
		c.ports = append(c.ports, p)
		ports = append(ports, p)
		if i == uplink {
			for q := range queues {
				polls[q%workers] = append(polls[q%workers], worker.Queue{Port: uint16(i), Queue: q, Spread: spread})
			}
			continue
		}
		for q := range workers {
			polls[q] = append(polls[q], worker.Queue{Port: uint16(i), Queue: q})
		}
	}
	for i := range workers {
		config := worker.Config{
			FIB: &c.fib, Modes: modes.New(modes.Config{}), MaxPorts: len(ports), Pool: c.pool, TxQueue: i,
			Wake: func() {}, Now: func() time.Duration { return time.Duration(c.now.Load()) },
		}
		for _, o := range options {
			o(&config)
		}
		w := worker.New(config)
		w.Plug.Store(&worker.Plug{Ports: ports, Poll: polls[i]})
		c.workers = append(c.workers, w)
	}
	worker.Crew(c.workers)
	return c
}

// poll lets all workers take turns, in any order, until none has anything to do.
func (c *crew) poll(rng *rand.Rand) {
	for idle := 0; idle < 2; {
		idle++
		for _, i := range rng.Perm(len(c.workers)) {
			if c.workers[i].PollOnce() {
				idle = 0
			}
		}
	}
}

// total is what all workers counted.
func (c *crew) total() *count.Worker {
	sum := count.NewWorker(len(c.ports))
	for _, w := range c.workers {
		w.Count.AddTo(sum)
	}
	return sum
}

// balance fails unless every packet ended in a port, in a named drop or with the control
// plane, and every buffer is in the pool.
func (c *crew) balance() {
	c.t.Helper()
	var rx, ends uint64
	sum := c.total()
	for _, p := range sum.Ports {
		rx += p.RxPackets + p.Events[count.Replicated]
		ends += p.TxPackets + p.Control
		for _, n := range p.Drops {
			ends += n
		}
	}
	if rx != ends || sum.Given != sum.Taken {
		c.t.Errorf("%d packets received, %d accounted for; %d given to peers, %d taken", rx, ends, sum.Given, sum.Taken)
	}
	if n := c.pool.Available(); n != c.size {
		c.t.Errorf("%d buffers in the pool, want %d", n, c.size)
	}
}

// datagrams are numbered packets of a VM that is received from the fabric: which flow
// is in the ports, the number behind.
func numbered(to, id, seq int) []byte {
	d := between(vmBlue2, vmBlue1, macBlue1, id%4 == 3)
	vsid := uint32(6001)
	if to == red1 {
		d, vsid = between(vmRed2, vmRed1, macRed1, false), 5001
	}
	d.sport, d.dport = uint16(1+id), uint16(1+id>>16)
	f := tunnel(vsid, paFar, paHere, d.frame())
	binary.BigEndian.PutUint32(f[len(f)-4:], uint32(seq)) // no checksum of UDP is looked at
	return f
}

// arrived takes what VMs got and fails unless each flow is in order and comes out of
// one queue only: all of it went the same way. It says how many packets came out of
// each queue.
func (c *crew) arrived(vms ...int) []int {
	c.t.Helper()
	n := make([]int, len(c.workers))
	for _, vm := range vms {
		for q := range n {
			c.ports[vm].Visit(q, func(f []byte) {
				n[q]++
				var l packet.Layout
				if packet.Parse(f, &l) != packet.OK {
					c.t.Fatalf("port %d got %x", vm, f)
				}
				udp := packet.UDP(f[l.L4:])
				k := flow{vm, int(udp.SrcPort()) - 1 | (int(udp.DstPort())-1)<<16}
				seq := int(binary.BigEndian.Uint32(f[len(f)-4:]))
				was, known := c.order[k]
				if seq != was.seq || known && was.queue != q {
					c.t.Fatalf("flow %v: packet %d by queue %d, after %d by queue %d", k, seq, q, was.seq-1, was.queue)
				}
				c.order[k] = next{seq + 1, q}
			})
		}
	}
	return n
}

// through says whether so many packets of each of so many flows have arrived.
func (c *crew) through(flows, packets int) bool {
	for _, n := range c.order {
		if n.seq != packets {
			return false
		}
	}
	return len(c.order) == flows
}

// even fails unless n are as evenly spread as chance has it.
func even(t testing.TB, n []int) {
	t.Helper()
	all := 0
	for _, k := range n {
		all += k
	}
	p := 1 / float64(len(n))
	mean, sigma := float64(all)*p, math.Sqrt(float64(all)*p*(1-p))
	for i, k := range n {
		if math.Abs(float64(k)-mean) > 6*sigma {
			t.Errorf("worker %d carried %d, of %d in all: %v", i, k, all, n)
		}
	}
}

func crews(t *testing.T, f func(t *testing.T, workers int)) {
	for _, n := range []int{1, 2, 4, 16} {
		t.Run(fmt.Sprintf("%d workers", n), func(t *testing.T) { f(t, n) })
	}
}

// O32: every tunnel packet arrives once, and in the order of its flow, whatever the
// queue on which it came, be that one queue for all or one for each worker; flows, here
// all of one pair of outer addresses, are evenly spread.
func TestO32_W5EveryPacketOnceInOrder(t *testing.T) {
	crews(t, func(t *testing.T, workers int) {
		for _, queues := range slices.Compact([]int{1, workers, 2 * workers}) {
			t.Run(fmt.Sprintf("%d queues", queues), func(t *testing.T) {
				const flows, packets = 4096, 4
				rng := random(t)
				c := newCrew(t, wholePolicy(), workers, queues, worker.SpreadTunnels)
				sum := make([]int, workers)
				left := rng.Perm(flows * packets) // flows in any order, each flow's packets in theirs
				seq := map[int]int{}
				for len(left) > 0 {
					n := min(1+rng.IntN(300), len(left))
					for _, x := range left[:n] {
						id := x % flows
						to := []int{blue1, red1}[id%2]
						if c.ports[uplink].Inject(id%queues, numbered(to, id, seq[id])) != 1 {
							t.Fatal("the queue is full")
						}
						seq[id]++
					}
					left = left[n:]
					c.poll(rng)
					for q, n := range c.arrived(blue1, red1) {
						sum[q] += n
					}
				}
				if !c.through(flows, packets) {
					t.Error("not all packets of all flows arrived")
				}
				perFlow := make([]int, workers)
				for _, n := range c.order {
					perFlow[n.queue]++
				}
				even(t, perFlow)
				c.balance()
				for i, w := range c.workers {
					s := w.Count.Snapshot()
					if carried := s.Ports[uplink].RxPackets - s.Given + s.Taken; carried != uint64(sum[i]) {
						t.Errorf("worker %d sent %d and counts %d", i, sum[i], carried)
					}
				}
			})
		}
	})
}

// What is not spread stays with who received it: as received, everything; of tunnels
// alone, what hosts say to each other.
func TestO32WhatStays(t *testing.T) {
	ordinary := [][]byte{
		fromFabricTo(hostIP).frame(),
		fromFabricTo(paHere).ping(),
		arpRequest(vm{macRouter, "192.168.1.1", ""}, hostIP, packet.Broadcast),
		solicit(fabric, fabric.v6, hostIP6),
		tunnel(6001, paFar, hostIP, between(vmBlue2, vmBlue1, macBlue1, false).frame()),
		unhex(inner1)[:20],
	}
	for _, x := range []struct {
		spread worker.Spread
		frames [][]byte
		given  bool
	}{
		{worker.SpreadNone, [][]byte{fromFabric()}, false},
		{worker.SpreadTunnels, ordinary, false},
		{worker.SpreadFlows, ordinary[1:4], false},
		{worker.SpreadFlows, ordinary[:1], true},
		{worker.SpreadFlows, ordinary[4:5], true},
	} {
		given := false
		for _, f := range x.frames {
			// On each queue in turn: on all but one, it is another worker's.
			c := newCrew(t, wholePolicy(), 4, 4, x.spread)
			for q := range 4 {
				c.ports[uplink].Inject(q, f)
			}
			c.poll(random(t))
			given = given || c.total().Given > 0
			c.balance()
		}
		if given != x.given {
			t.Errorf("spread %d: given %v, want %v: %x", x.spread, given, x.given, x.frames)
		}
	}
}

// R22, O32: of a device with one queue, packets of rewrite subnets are spread too, by
// their own addresses and ports.
func TestR22_O32RewriteOfOneQueue(t *testing.T) {
	rng := random(t)
	c := newCrew(t, rewritePolicy(1), 4, 1, worker.SpreadFlows)
	const flows = 1024
	for seq := range 3 {
		for id := range flows {
			d := datagram{from: macRouter, to: macUplink, src: paBlue2.v4, dst: paBlue1.v4, sport: uint16(1 + id), dport: 1}
			f := d.frame()
			binary.BigEndian.PutUint32(f[len(f)-4:], uint32(seq))
			c.ports[uplink].Inject(0, f)
		}
		c.poll(rng)
		even(t, c.arrived(blue1))
	}
	if len(c.order) != flows {
		t.Errorf("%d of %d flows arrived; drops %v", len(c.order), flows, c.total().Ports[uplink].Drops)
	}
	c.balance()
}

// W5: peers that send FlowID 0, or one for all, are spread no worse; a packet that
// cannot be read goes somewhere, always the same, and is dropped by name.
func TestW5_O32FlowIDOfNoUse(t *testing.T) {
	for _, id := range []byte{0, 0x5a} {
		c := newCrew(t, wholePolicy(), 4, 1, worker.SpreadTunnels)
		for i := range 1024 {
			f := numbered(blue1, i, 0)
			f[41] = id
			c.ports[uplink].Inject(0, f)
		}
		c.poll(random(t))
		even(t, c.arrived(blue1))
		c.balance()
	}
	c := newCrew(t, wholePolicy(), 4, 1, worker.SpreadTunnels)
	for i := range 1024 {
		f := numbered(blue1, i, 0)
		f[41], f[42+14] = byte(i/256), 0x15 // no such IP version
		c.ports[uplink].Inject(0, f)
	}
	c.poll(random(t))
	for i, w := range c.workers {
		if n := w.Count.Snapshot().Ports[uplink].Drops[count.InnerMalformed]; n%256 != 0 {
			t.Errorf("worker %d dropped %d, a part of a flow", i, n)
		}
	}
	if n := c.total().Ports[uplink].Drops[count.InnerMalformed]; n != 1024 {
		t.Errorf("%d of 1024 dropped", n)
	}
	c.balance()
}

// A worker that is behind loses what its queue does not hold, by name, and holds up
// nobody.
func TestO32FullQueue(t *testing.T) {
	rng := random(t)
	c := newCrew(t, wholePolicy(), 2, 1, worker.SpreadTunnels)
	inject := func() int {
		n := 0
		for i := range 4000 {
			n += c.ports[uplink].Inject(0, numbered(blue1, i, 0))
			if i%64 == 63 {
				c.workers[0].PollOnce()
			}
		}
		c.workers[0].PollOnce()
		return n
	}
	n := inject()
	own := c.arrived(blue1)
	s := c.workers[0].Count.Snapshot()
	lost := s.Ports[uplink].Drops[count.WorkerQueue]
	if s.Given != worker.BeltSize || lost == 0 || own[1] != 0 || uint64(own[0])+s.Given+lost != uint64(n) {
		t.Fatalf("%d received, %d carried, %d given, %d lost", n, own[0], s.Given, lost)
	}
	if free := c.pool.Available(); free != c.size-worker.BeltSize {
		t.Errorf("%d buffers in the pool, want %d", free, c.size-worker.BeltSize)
	}
	c.poll(rng)
	if rest := c.arrived(blue1); rest[1] != worker.BeltSize {
		t.Errorf("%d of what was given arrived", rest[1])
	}
	c.balance()

	// And what is given to a worker that has ended is dropped at the end.
	clear(c.order)
	inject()
	c.arrived(blue1)
	c.workers[1].Release()
	sum := c.total()
	if sum.Given != 2*worker.BeltSize || sum.Taken != worker.BeltSize || sum.Ports[uplink].Drops[count.WorkerQueue] != 2*lost+worker.BeltSize {
		t.Errorf("given %d, taken %d, lost %d", sum.Given, sum.Taken, sum.Ports[uplink].Drops[count.WorkerQueue])
	}
	if free := c.pool.Available(); free != c.size {
		t.Errorf("%d buffers in the pool, want %d", free, c.size)
	}
}

// What was given by a port that is then closed is dropped as such, and never taken for
// what came by the next port of that index.
func TestO32PortClosedMeanwhile(t *testing.T) {
	c := newCrew(t, wholePolicy(), 2, 1, worker.SpreadTunnels)
	for i := range 64 {
		c.ports[uplink].Inject(0, numbered(blue1, i, 0))
	}
	c.workers[0].PollOnce()
	given := c.total().Given
	for _, w := range c.workers {
		plug := *w.Plug.Load()
		plug.Ports = slices.Clone(plug.Ports)
		plug.Ports[uplink], plug.Poll = nil, plug.Poll[:0:0]
		w.Plug.Store(&plug)
	}
	c.workers[1].PollOnce()
	if n := c.total().Ports[uplink].Drops[count.PortDown]; n != given || n == 0 {
		t.Errorf("%d of %d dropped", n, given)
	}
	c.balance()
}

// Workers that run, sleep and are woken on threads of their own, while policy changes:
// run with -race.
func TestO32Concurrent(t *testing.T) {
	for _, workers := range []int{2, 4, 16} {
		t.Run(fmt.Sprintf("%d workers", workers), func(t *testing.T) {
			began := time.Now()
			set := wholePolicy()
			c := newCrew(t, set, workers, 1, worker.SpreadTunnels, func(c *worker.Config) {
				c.Adaptive, c.Now = true, func() time.Duration { return time.Since(began) }
			})
			var running sync.WaitGroup
			for _, w := range c.workers {
				running.Go(func() {
					runtime.LockOSThread()
					w.Run()
				})
			}
			stop := make(chan struct{})
			var changing sync.WaitGroup
			changing.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						c.fib.Store(fibtest.Compile(t, set, resolved)) // all of it new
						runtime.Gosched()
					}
				}
			})

			const flows, packets = 256, 40
			sent := 0
			for seq := range packets {
				for id := range flows {
					for f := numbered(blue1, id, seq); c.ports[uplink].Inject(0, f) == 0; {
						runtime.Gosched()
					}
					sent++
				}
				if seq%8 == 0 {
					time.Sleep(2 * time.Millisecond) // long enough to fall asleep
				}
				// No more on its way than a belt holds: nothing may be lost.
				for !c.through(flows, seq+1) {
					c.arrived(blue1)
					runtime.Gosched()
				}
			}
			close(stop)
			changing.Wait()
			for _, w := range c.workers {
				w.Stop()
			}
			running.Wait()
			if sum := c.total(); sum.Ports[blue1].TxPackets != uint64(sent) {
				t.Errorf("%d of %d arrived", sum.Ports[blue1].TxPackets, sent)
			}
			c.balance()
		})
	}
}

// M9, and all limits of a rate: they are the port's, on however many workers its packets
// come.
func TestM9_L31RatesAreTheHosts(t *testing.T) {
	set := wholePolicy()
	set.Ports[red1].StormLimit = 40
	for _, x := range []struct {
		name  string
		in    int
		frame []byte
		want  int
		got   func(*count.Worker) uint64
	}{
		{"ICMP errors", blue1, func() []byte { d := between(vmBlue1, vmBlue5, macRouter2, false); d.ttl = 1; return d.frame() }(), 25,
			func(s *count.Worker) uint64 { return s.Ports[blue1].Events[count.ICMPSent] }},
		{"storm", red1, func() []byte { d := toGroup("10.1.1.11", "255.255.255.255"); d.from = macRed1; return d.frame() }(), 10,
			func(s *count.Worker) uint64 { return s.Ports[red1].Events[count.BroadcastSent] }},
	} {
		t.Run(x.name, func(t *testing.T) {
			for _, workers := range []int{1, 2, 4} {
				c := newCrew(t, set, workers, 1, worker.SpreadNone)
				for range 50 {
					for q := range workers {
						c.ports[x.in].Inject(q, x.frame)
					}
				}
				c.poll(random(t))
				if n := x.got(c.total()); n > uint64(x.want)+1 || n < uint64(x.want) {
					t.Errorf("%d workers: %d, want %d", workers, n, x.want)
				}
				for _, p := range c.ports {
					for q := range workers {
						p.Drain(q)
					}
				}
				c.balance()
			}
		})
	}
}

// What is given, taken, and lost because the taker is behind, allocates nothing.
func TestO32NoAllocations(t *testing.T) {
	rng := random(t)
	c := newCrew(t, wholePolicy(), 2, 1, worker.SpreadFlows)
	var frames [][]byte
	for i := range 3000 {
		frames = append(frames, numbered(blue1, i, 0))
	}
	frames = append(frames, fromFabricTo(hostIP).frame())
	round := func() {
		for _, f := range frames {
			c.ports[uplink].Inject(0, f)
		}
		for c.workers[0].PollOnce() {
		}
		c.workers[1].PollOnce()
		for _, p := range c.ports {
			for q := range c.workers {
				p.Visit(q, func([]byte) {})
			}
		}
	}
	round()
	if n := testing.AllocsPerRun(10, round); n != 0 {
		t.Errorf("%v allocations in a round", n)
	}
	c.poll(rng)
	c.balance()
	if n := c.total().Ports[uplink].Drops[count.WorkerQueue]; n == 0 {
		t.Error("nothing was lost")
	}
}

// What it costs to give a packet to a peer and to take it there, both on one core: on
// top of BenchmarkIngressBare, which carries the same packets.
func BenchmarkGiveAndTake(b *testing.B) {
	for _, workers := range []int{1, 2, 4} {
		b.Run(fmt.Sprintf("%d workers", workers), func(b *testing.B) {
			c := newCrew(b, testPolicy(), workers, 1, worker.SpreadTunnels)
			frames := fabricFlows(b)
			l := &loop{pkts: loaded(frames), grown: -42}
			for i, w := range c.workers {
				plug := w.Plug.Load()
				plug.Ports[uplink], plug.Ports[blue1] = l, l
				plug.Poll = nil
				if i == 0 {
					plug.Poll = []worker.Queue{{Port: uplink, Spread: worker.SpreadTunnels}}
				}
			}
			runtime.GC() // what it took to get here is not measured
			b.ReportAllocs()
			n := 0
			for b.ResetTimer(); n < b.N; n += port.MaxBurst {
				for _, w := range c.workers {
					w.PollOnce()
				}
			}
			b.StopTimer()
			if sent := c.total().Ports[blue1].TxPackets; sent != uint64(n) {
				b.Fatalf("%d of %d packets arrived", sent, n)
			}
		})
	}
}

// plugged is a port that may be closed: nobody uses it from then on.
type plugged struct {
	*memport.Port
	closed, misused atomic.Bool
}

func (p *plugged) Rx(queue int, pkts []*mbuf.Mbuf) int {
	p.misused.CompareAndSwap(false, p.closed.Load())
	return p.Port.Rx(queue, pkts)
}

func (p *plugged) Tx(queue int, pkts []*mbuf.Mbuf) int {
	p.misused.CompareAndSwap(false, p.closed.Load())
	return p.Port.Tx(queue, pkts)
}

func (p *plugged) Close() error {
	p.closed.Store(true)
	return p.Port.Close()
}

// churn changes all that a crew's host has, as a daemon does it.
type churn struct {
	*crew
	rng   *rand.Rand
	set   *policy.Set
	book  *policy.Book
	c     *fib.Compiler
	d     fib.Devices
	known bool // next hops are
	open  []atomic.Pointer[plugged]
	all   []*plugged // that ever were
}

func (c *churn) resolve(port, vlan uint16, a netip.Addr) (packet.MAC, fib.AdjState) {
	if !c.known {
		return packet.MAC{}, fib.AdjUnresolved
	}
	return resolved(port, vlan, a)
}

func (c *churn) publish(changes ...policy.Change) {
	applied, err := c.book.Apply(changes)
	if err != nil {
		c.t.Error(err)
	}
	c.fib.Store(c.c.Update(applied, c.book, c.d, c.resolve))
}

// plug opens a port at an index, or closes the one that is there.
func (c *churn) plug(i int) {
	name := c.set.Ports[i].Name
	if _, there := c.d[name]; there {
		c.d = maps.Clone(c.d)
		delete(c.d, name)
		c.publish()
		worker.Settle(c.workers)
		p := c.open[i].Load()
		c.rewire(i, nil)
		worker.Settle(c.workers)
		if err := p.Close(); err != nil {
			c.t.Error(err)
		}
		if sum := c.total(); i == uplink && sum.Given != sum.Taken {
			c.t.Errorf("%d packets given to peers, %d taken, and the port that they came by is closed", sum.Given, sum.Taken)
		}
		return
	}
	m, err := memport.New(memport.Config{Pool: c.pool, MTU: 350, Queues: len(c.workers), Depth: 1024})
	if err != nil {
		c.t.Error(err)
		return
	}
	p := &plugged{Port: m}
	c.all = append(c.all, p)
	c.rewire(i, p)
	c.open[i].Store(p)
	c.d = maps.Clone(c.d)
	c.d[name] = fib.Device{Index: uint16(i), MAC: c.set.Ports[i].MAC}
	c.publish()
}

// rewire gives the workers a port at an index, or takes it from them. One of them has the
// uplink's only queue.
func (c *churn) rewire(i int, p *plugged) {
	receiver := c.rng.IntN(len(c.workers))
	for n, w := range c.workers {
		was := w.Plug.Load()
		plug := &worker.Plug{Ports: slices.Clone(was.Ports), Poll: slices.DeleteFunc(slices.Clone(was.Poll), func(q worker.Queue) bool { return int(q.Port) == i })}
		plug.Ports[i] = nil
		if p != nil {
			plug.Ports[i] = p
			q := worker.Queue{Port: uint16(i), Queue: n}
			switch {
			case i != uplink:
				plug.Poll = append(plug.Poll, q)
			case n == receiver:
				plug.Poll = append(plug.Poll, worker.Queue{Port: uplink, Spread: worker.SpreadFlows})
			}
		}
		w.Plug.Store(plug)
	}
}

// Ports, uplinks too, are closed and opened anew at the same index, PAs and records come
// and go, and next hops become known and unknown, while workers run, sleep, and give
// each other packets: every packet ends somewhere, every buffer comes back, no port is
// used after it was closed, and flows stay in order. Run with -race.
func TestO32EverythingChanges(t *testing.T) {
	for _, workers := range []int{2, 4} {
		t.Run(fmt.Sprintf("%d workers", workers), func(t *testing.T) {
			const frames, steps, far = 40_000, 150, 64
			set := wholePolicy()
			second := policy.ProviderAddress{Prefix: prefix("192.168.1.99/24"), Port: "uplink"}
			record := func(i int, pa netip.Addr) policy.LookupRecord {
				return policy.LookupRecord{VSID: 6001, CA: netip.AddrFrom4([4]byte{10, 1, 1, byte(100 + i)}), MAC: packet.MAC{2, 9, 5: byte(i)}, PA: pa}
			}
			for i := range far {
				set.LookupRecords = append(set.LookupRecords, record(i, addr(paFar)))
			}
			began := time.Now()
			c := &churn{
				crew: newCrew(t, set, workers, 1, worker.SpreadFlows, func(c *worker.Config) {
					c.Adaptive, c.NVE, c.Now = true, true, func() time.Duration { return time.Since(began) }
				}),
				rng: random(t), set: set, book: fibtest.Book(t, set), c: fib.NewCompiler(), d: fibtest.Devices(set), known: true, open: make([]atomic.Pointer[plugged], nports),
			}
			c.fib.Store(c.c.Compile(c.book, c.d, c.resolve))
			for i, p := range c.ports {
				c.open[i].Store(&plugged{Port: p})
				c.all = append(c.all, c.open[i].Load())
				c.rewire(i, c.open[i].Load())
			}
			var running, changing sync.WaitGroup
			for _, w := range c.workers {
				running.Go(func() {
					runtime.LockOSThread()
					w.Run()
				})
			}
			var changed atomic.Int32
			stop := make(chan struct{})
			changing.Go(func() {
				here := false
				for {
					select {
					case <-stop:
						return
					default:
					}
					switch c.rng.IntN(8) {
					case 0:
						c.plug(uplink)
						c.plug(uplink)
					case 1:
						c.plug([]int{blue3, blue5, gate}[c.rng.IntN(3)])
					case 2, 3:
						c.known = !c.known
						c.publish()
					case 4:
						verb := policy.Put
						if here {
							verb = policy.Delete
						}
						here = !here
						c.publish(policy.Change{Verb: verb, Object: second})
					default:
						pa := netip.AddrFrom4([4]byte{192, 168, 2, byte(20 + c.rng.IntN(200))})
						if c.rng.IntN(4) == 0 {
							pa = second.Prefix.Addr()
						}
						c.publish(policy.Change{Verb: policy.Put, Object: record(c.rng.IntN(far), pa)})
					}
					changed.Add(1)
				}
			})

			rng := random(t)
			order := map[int]next{}
			seq := map[int]int{}
			arrived := 0
			look := func() {
				for i := range c.ports {
					for q := range workers {
						c.open[i].Load().Visit(q, func(f []byte) {
							var l packet.Layout
							if i != blue1 || packet.Parse(f, &l) != packet.OK || l.EtherType != packet.EtherTypeIPv4 || packet.IPv4(f[14:]).Src() != addr(vmBlue2.v4) {
								return
							}
							arrived++
							id, n := int(packet.UDP(f[l.L4:]).SrcPort()), int(binary.BigEndian.Uint32(f[len(f)-4:]))
							if was, known := order[id]; known && (n <= was.seq || q != was.queue) {
								t.Errorf("flow %d: packet %d by queue %d, after %d by queue %d", id, n, q, was.seq, was.queue)
							}
							order[id] = next{n, q}
						})
					}
				}
			}
			for n := 0; n < frames || changed.Load() < steps; n++ {
				id := 4 * rng.IntN(64) // of IPv4
				switch q := rng.IntN(workers); rng.IntN(8) {
				case 0:
					c.open[blue1].Load().Inject(q, toGroup("10.1.1.11", "255.255.255.255").frame())
				case 1:
					c.open[blue1].Load().Inject(q, between(vmBlue1, vmBlue3, macBlue3, false).frame(), arpRequest(vmBlue1, vmBlue2.v4, packet.Broadcast))
				case 2, 3:
					d := between(vmBlue1, vmBlue2, macBlue2, false)
					d.dst = record(rng.IntN(far), netip.Addr{}).CA.String()
					c.open[blue1].Load().Inject(q, d.frame())
				case 4:
					c.open[uplink].Load().Inject(0, fromFabricTo(hostIP).frame(), fromFabricTo(paHere).ping())
				default:
					c.open[uplink].Load().Inject(0, numbered(blue1, id, seq[id]))
					seq[id]++
				}
				if n%64 == 0 {
					look()
					runtime.Gosched()
				}
				if n%4096 == 0 {
					time.Sleep(2 * time.Millisecond) // long enough to fall asleep
				}
			}
			close(stop)
			changing.Wait()
			c.plug(uplink)
			for _, w := range c.workers {
				w.Stop()
			}
			running.Wait()
			look()
			for _, p := range c.all {
				if p.misused.Load() {
					t.Error("a port was used after it was closed")
				}
			}
			sum := c.total()
			if sum.Given == 0 || arrived == 0 || sum.Ports[blue1].Events[count.Held] == 0 || sum.Ports[uplink].Drops[count.PortDown] == 0 {
				t.Errorf("%d given, %d arrived, %d held, %d of a port that was closed", sum.Given, arrived, sum.Ports[blue1].Events[count.Held], sum.Ports[uplink].Drops[count.PortDown])
			}
			t.Logf("%d changes, %d frames arrived, %d given to peers", changed.Load(), arrived, sum.Given)
			c.balance()
		})
	}
}

// What was given by who settles last is carried before all have settled.
func TestO32Settle(t *testing.T) {
	c := newCrew(t, wholePolicy(), 2, 1, worker.SpreadFlows)
	giver, taker := c.workers[0], c.workers[1]
	for i := range 64 {
		c.ports[uplink].Inject(0, numbered(blue1, i, 0))
	}
	settled := make(chan struct{})
	go func() {
		worker.Settle([]*worker.Worker{taker, giver})
		close(settled)
	}()
	turns := func(w *worker.Worker) {
		for range 10 {
			w.PollOnce()
			time.Sleep(time.Millisecond) // Settle looks now and then
		}
	}
	turns(taker)
	turns(giver)
	select {
	case <-settled:
		t.Error("settled before what was given is taken")
	default:
	}
	for done := false; !done; {
		select {
		case <-settled:
			done = true
		default:
			taker.PollOnce()
			giver.PollOnce()
			runtime.Gosched()
		}
	}
	if sum := c.total(); sum.Given == 0 || sum.Taken != sum.Given {
		t.Errorf("%d given, %d taken", sum.Given, sum.Taken)
	}
	c.arrived(blue1)
	c.balance()
}

// Packets of every kind, whole, in fragments, wrong or not, become the same however many
// workers share them: what the fabric sends, and what becomes of what cannot be carried.
func TestO32SameAsOneWorker(t *testing.T) {
	sets := map[string]func() *policy.Set{"nvgre": wholePolicy, "rewrite": func() *policy.Set { return rewritePolicy(1) }}
	for name, set := range sets {
		t.Run(name, func(t *testing.T) {
			rng := random(t)
			one := newCrew(t, set(), 1, 1, worker.SpreadNone)
			crews := []*crew{one, newCrew(t, set(), 4, 1, worker.SpreadFlows), newCrew(t, set(), 3, 3, worker.SpreadTunnels)}
			kinds := map[string]int{}
			for range 300 {
				var frames [][]byte
				for range 20 {
					v6 := rng.IntN(2) == 0
					ips, _ := samples(rng.Uint64(), kinds, addr(vmBlue2.ca(v6)), addr(vmBlue1.ca(v6)), true)
					vsid, to := uint32(6001), macBlue1
					if rng.IntN(4) == 0 {
						vsid, to = 5001, macRed1
					}
					wrap := func(ip []byte) []byte { return tunnel(vsid, paFar, paHere, framed(to, macBlue2, ip)) }
					if name == "rewrite" && rng.IntN(4) > 0 {
						ips, _ = samples(rng.Uint64(), kinds, addr(paBlue2.pa(v6)), addr(paBlue1.pa(v6)), true)
						wrap = func(ip []byte) []byte { return framed(macUplink, macRouter, ip) }
					}
					for _, ip := range ips {
						f := wrap(ip)
						if rng.IntN(10) == 0 {
							f[rng.IntN(len(f))] ^= byte(1 << rng.IntN(8))
						}
						if len(f) < 370 { // what a crew's ports take
							frames = append(frames, f)
						}
					}
				}
				var want map[string]int
				for i, c := range crews {
					c.now.Add(int64(time.Second)) // no rate is exceeded: whose packets those are is chance
					for _, f := range frames {
						if q := rng.IntN(c.queues); c.ports[uplink].Inject(q, f) != 1 {
							t.Fatal("the queue is full")
						}
					}
					c.poll(rng)
					got := map[string]int{}
					for p := range c.ports {
						for q := range c.workers {
							c.ports[p].Visit(q, func(f []byte) { got[fmt.Sprintf("port %d sent %x", p, f)]++ })
						}
					}
					for _, w := range c.workers {
						for ; w.Punt.Peek() != nil; w.Punt.Pop() {
							got[fmt.Sprintf("punted %d %x", w.Punt.Peek().Kind, w.Punt.Peek().Bytes())]++
						}
					}
					for p, n := range c.total().Ports {
						for r, k := range n.Drops {
							got[fmt.Sprintf("port %d dropped as %s", p, count.Reason(r).Name())] += int(k)
						}
					}
					if i == 0 {
						want = got
						continue
					}
					for what := range want {
						if got[what] != want[what] {
							t.Errorf("%d workers: %d, want %d: %s", len(c.workers), got[what], want[what], what)
						}
					}
					for what := range got {
						if want[what] == 0 && got[what] != 0 {
							t.Errorf("%d workers: too much: %s", len(c.workers), what)
						}
					}
				}
				if t.Failed() {
					t.FailNow()
				}
			}
			for _, c := range crews {
				c.balance()
			}
			if n := crews[1].total(); n.Given == 0 || n.Ports[uplink].Drops[count.WorkerQueue] != 0 {
				t.Errorf("%d given", n.Given)
			}
			t.Log(kinds)
		})
	}
}

// L31: what a VM has used up of a rate is not held against the next one whose port gets
// the same index.
func TestL31RatesBeginAnew(t *testing.T) {
	set := wholePolicy()
	set.Ports[red1].StormLimit = 1
	c := newCrew(t, set, 2, 1, worker.SpreadNone)
	d := toGroup("10.1.1.11", "255.255.255.255")
	d.from = macRed1
	send := func() (sent, dropped uint64) {
		c.ports[red1].Inject(0, d.frame())
		c.poll(random(t))
		c.ports[uplink].Visit(0, func([]byte) {})
		p := c.total().Ports[red1]
		return p.Events[count.BroadcastSent], p.Drops[count.Storm]
	}
	send()
	if sent, dropped := send(); sent != 1 || dropped != 1 {
		t.Fatalf("%d sent, %d dropped: there is no limit", sent, dropped)
	}
	p, err := memport.New(memport.Config{Pool: c.pool, MTU: 350, Queues: 2})
	if err != nil {
		t.Fatal(err)
	}
	for _, now := range []port.Port{nil, p} {
		for _, w := range c.workers {
			plug := *w.Plug.Load()
			plug.Ports = slices.Clone(plug.Ports)
			plug.Ports[red1] = now
			plug.Poll = slices.DeleteFunc(slices.Clone(plug.Poll), func(q worker.Queue) bool { return q.Port == red1 })
			if now != nil {
				plug.Poll = append(plug.Poll, worker.Queue{Port: red1})
			}
			w.Plug.Store(&plug)
		}
		c.poll(random(t))
	}
	c.ports[red1] = p
	if sent, dropped := send(); sent != 2 || dropped != 1 {
		t.Errorf("%d sent, %d dropped by a new port", sent, dropped)
	}
	if sent, dropped := send(); sent != 2 || dropped != 2 {
		t.Errorf("%d sent, %d dropped: it has no limit", sent, dropped)
	}
	c.balance()
}
