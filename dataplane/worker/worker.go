// Package worker is the poll-mode loop, and the one place where a packet's trip
// can be read from end to end. egress.go is the way from a VM to the fabric,
// ingress.go the way from the fabric to a VM; straight.go and straight6.go are both
// ways for what most packets are. detour.go is where else a VM's packet may go,
// group.go what has several receivers, unfinished.go what a frame leaves to be done
// by others, hold.go what waits for a next hop's MAC, ring.go what passes between a
// worker and the control plane, spread.go what passes between workers.
//
//	Run ─┬─ poll ──► Rx ─┬─ VM port ──► fromVM ──────┐
//	     │               ├─ uplink  ──► fromFabric ──┤
//	     │               └─ host    ──► fromHost ────┤
//	     ├─ given by peers ──► fromFabric ───────────┤
//	     │                                           ├─► drop, by reason
//	     ├─ new FIB ──► held packets ──► fromVM ─────┤
//	     └─ inject (control plane's ARP and ND) ─────┴─► send ──► Tx
//
// Floor 1, on top of all of it: ports, tables, counters, answers. It knows no
// mode, only the Mode interface it consumes.
package worker

import (
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"time"

	"paca/dataplane/count"
	"paca/dataplane/fib"
	"paca/dataplane/mbuf"
	"paca/dataplane/offload"
	"paca/dataplane/policy"
	"paca/dataplane/port"
	"paca/dataplane/timeslice"
	"paca/dataplane/unseen"
)

// Mode is what is done to a packet on its way over the fabric. A worker calls
// its own Modes only, one burst at a time.
type Mode interface {
	// Egress makes tenant frames ready for the wire: untagged, of IPv4, IPv6
	// or ARP, within the limit of their Adj. Where it sets drops[i], packet i
	// is not sent.
	Egress(pkts []*mbuf.Mbuf, hops []fib.Hop, drops []count.Reason, events *count.Events)
	// Ingress makes tenant frames of packets for a local PA, and sets the Port
	// of each arrival, or drops[i].
	Ingress(f *fib.FIB, pkts []*mbuf.Mbuf, arrivals []fib.Arrival, drops []count.Reason, events *count.Events)

	// Offload chooses, when a port starts, what takes the place of Egress for frames
	// that are left unfinished for its device, which does what o says, and up to
	// which kind of them it may be given: others are finished first. Layouts may be
	// Partial.
	Offload(o mbuf.Offloads) (egress Unfinished, upTo offload.Kind)
	// IngressUnfinished is Ingress for packets whose checksum, or cutting, was left to
	// others on their way. They stay so.
	IngressUnfinished(f *fib.FIB, pkts []*mbuf.Mbuf, arrivals []fib.Arrival, drops []count.Reason, events *count.Events)
}

// Queue is a receive queue of a port.
type Queue struct {
	Port   uint16 // index
	Queue  int
	Spread Spread // of an uplink's
}

// Plug is what a worker is plugged into. It is replaced as a whole when a port
// comes or goes, or what its device does in software's place, and never changed.
type Plug struct {
	Ports []port.Port // by port index, as long as MaxPorts; nil where there is none
	Poll  []Queue     // the queues that the worker owns
}

// Config is what a worker works on.
type Config struct {
	FIB      *atomic.Pointer[fib.FIB] // published by the control plane, never nil
	Modes    [policy.NumModes]Mode    // nil where there is none
	MaxPorts int                      // port indexes are below it
	Pool     port.Pool                // of the buffers that ports receive into
	TxQueue  int                      // this worker's transmit queue on every port
	Adaptive bool                     // sleep when nothing arrives
	Wake     func()                   // called after a Punt, at most once per burst; must not block
	Router   Router
	NVE      bool                 // the control plane wants strays and NVE messages; they are dropped otherwise (N12)
	Now      func() time.Duration // a clock that only grows, for rate limits; nil: the machine's
}

// Router is how the distributed router behaves.
type Router struct {
	KeepTTL    bool // do not count TTL and hop limit down between virtual subnets (L14)
	AnswerPing bool // answer echo requests to its own CA (L11)
	ClampMSS   bool // lower TCP's maximum segment size to what fits (M13)
	ErrorRate  int  // ICMP errors per second and port; 0: DefaultErrorRate (M9)
}

// DefaultErrorRate is Router.ErrorRate where that is 0.
const DefaultErrorRate = 100

// Worker is one poll-mode worker. New makes it, one goroutine locked to its
// thread runs it.
type Worker struct {
	Config
	Count  *count.Worker
	Punt   Ring                 // frames for the control plane
	Inject Ring                 // frames from the control plane, to be sent as they are
	Plug   atomic.Pointer[Plug] // published by the control plane before Run, never nil

	_      [64]byte      // peers look at asleep with each burst: nothing else is on its line
	asleep atomic.Uint32 // 1: it is, and may be woken
	_      [64]byte

	stop  atomic.Bool
	turns atomic.Uint64
	plug  *Plug       // of this turn
	ports []port.Port // of plug
	ways  []way       // likewise, by port index

	// The burst at hand.
	rx       [port.MaxBurst]*mbuf.Mbuf
	spare    [port.MaxBurst]*mbuf.Mbuf // fragments
	copies   [port.MaxBurst]*mbuf.Mbuf // to be made of the broadcast at hand
	ncopies  int
	cas      [port.MaxBurst]uint32                // that are looked up
	cas6     [port.MaxBurst][16]byte              // likewise
	entries  [port.MaxBurst]unseen.Ref[fib.Entry] // what they belong to
	part     outbound                             // the fragment at hand
	outbound outbound                             // the frame at hand
	inbound  [policy.NumModes]inbound
	large    [1]fib.Arrival // an unfinished packet, at hand
	largePkt [1]*mbuf.Mbuf
	lanes    [policy.NumModes]lane
	cutter   *offload.Segmenter
	joiner   offload.Coalescer
	reasons  [port.MaxBurst]count.Reason
	in       uint16   // port it came from
	uplink   bool     // that is one
	verdicts bool     // whose device looks at outer checksums (O31)
	guise    fib.Port // that, with the MAC of a frame
	punted   bool
	forgone  bool // a copy was counted in dropped that was never made
	timed    bool // now is of this turn
	now      time.Duration

	out     []outQueue // by port index
	pending []uint16   // ports whose outQueue is not empty
	dropped [count.NumReasons]uint32
	events  count.Events
	limits  []limits     // by port index; the crew's
	dead    []*mbuf.Mbuf // dropped, to be freed
	held    hold

	place   int     // in its crew
	to      []*belt // by place, nil at its own
	from    []*belt
	own     [port.MaxBurst]unseen.Ref[mbuf.Mbuf] // of a burst that was dealt out
	touched byte                                 // see fetch
}

// lane gathers the packets of a burst that take the same mode.
type lane struct {
	n       int
	egress  Unfinished // nil: the mode's Egress
	to      uint16     // uplink that egress is for; None without it
	by      uint16     // uplink that all leave by
	several bool       // they may leave by others, too
	pkts    [port.MaxBurst]unseen.Ref[mbuf.Mbuf]
	hops    [port.MaxBurst]fib.Hop
	left    [port.MaxBurst]offload.Pending // with egress
}

// outQueue gathers what a burst sends to one port.
type outQueue struct {
	n       int
	pending bool // is in Worker.pending
	pkts    [port.MaxBurst]unseen.Ref[mbuf.Mbuf]
}

// start is where the clock of all workers begins.
var start = time.Now()

// New makes a worker.
func New(c Config) *Worker {
	if c.Now == nil {
		c.Now = func() time.Duration { return time.Since(start) }
	}
	if c.Router.ErrorRate == 0 {
		c.Router.ErrorRate = DefaultErrorRate
	}
	w := &Worker{
		Config:  c,
		ways:    make([]way, c.MaxPorts),
		cutter:  offload.NewSegmenter(rand.Uint32()),
		limits:  make([]limits, c.MaxPorts),
		Count:   count.NewWorker(c.MaxPorts),
		out:     make([]outQueue, c.MaxPorts),
		pending: make([]uint16, 0, c.MaxPorts),
		dead:    make([]*mbuf.Mbuf, 0, 2*port.MaxBurst),
	}
	for i := range w.lanes {
		w.lanes[i].to = fib.None
	}
	return w
}

// Stop makes Run return soon. Any goroutine may call it.
func (w *Worker) Stop() { w.stop.Store(true) }

// Idle back-off: after so many empty polls of every queue, sleep, twice as long
// each time.
const (
	idlePolls  = 256
	shortSleep = 10 * time.Microsecond
	longSleep  = 500 * time.Microsecond
)

// renewal is how many turns a worker's time slice is good for: together they must take
// less than the runtime's 10 ms, however full the bursts are, and the belts of 15 peers.
const renewal = 8

// Run polls until Stop, then frees what it holds, but for what peers go on giving it
// (Release). The calling goroutine must be locked to a thread that DPDK knows.
//
// Time in which there was nothing to do is counted by turns that found nothing, so that
// the clock is never read while there is.
func (w *Worker) Run() {
	idle, sleep := 0, shortSleep
	var since time.Duration // when the last turn ended, if it was empty
	var empty time.Duration // the little that such a turn takes when nothing disturbs it
	for turn := uint(0); !w.stop.Load(); turn++ {
		if turn%renewal == 0 {
			timeslice.Renew()
		}
		if w.PollOnce() {
			idle, sleep = 0, shortSleep
			continue
		}
		now := w.Now()
		if idle++; idle > 1 {
			d := now - since
			if empty == 0 {
				empty = d
			}
			empty = min(d, empty+empty/16+1)
			count.Add(&w.Count.Idle, uint64(d))
		} else {
			count.Add(&w.Count.Idle, uint64(empty))
		}
		if w.Adaptive && idle > idlePolls {
			count.Add(&w.Count.Sleeps, 1)
			w.doze(sleep)
			sleep = min(2*sleep, longSleep)
			slept := w.Now()
			count.Add(&w.Count.Idle, uint64(slept-now))
			now = slept
		}
		since = now
	}
	w.releaseHeld()
}

// Settle waits until every worker of a crew, all of which run, has left the FIB and the
// Plug behind that were in force before, and then until each has carried what others had
// given it by then.
func Settle(crew []*Worker) {
	for range min(2, len(crew)) {
		for _, w := range crew {
			// The turn at hand may have begun before, the next has not.
			for end := w.turns.Load() + 2; w.turns.Load() < end; {
				time.Sleep(settling)
			}
		}
	}
}

const settling = 50 * time.Microsecond

// PollOnce takes every queue's turn once, with one version of the FIB and of the
// Plug. It reports whether there was anything to do.
func (w *Worker) PollOnce() bool {
	f := w.FIB.Load()
	plug := w.Plug.Load() // second: it has every port that f sends to
	if plug != w.plug {
		w.adopt(plug)
	}
	w.timed = false
	if w.held.n > 0 && !w.held.of(f, plug) {
		w.retryHeld(f)
	}
	busy := w.take(f)
	for _, q := range plug.Poll {
		n := w.ports[q.Port].Rx(q.Queue, w.rx[:])
		if n == 0 {
			count.Add(&w.Count.PollsEmpty, 1)
			continue
		}
		busy = true
		count.Add(&w.Count.PollsValid, 1)
		w.burst(f, q, w.rx[:n])
	}
	if w.injected() {
		busy = true
	}
	runtime.KeepAlive(f) // of which packets have had references
	w.turns.Store(w.turns.Load() + 1)
	return busy
}

// burst counts what was received on a queue and carries it to its end, or gives it to
// peers.
func (w *Worker) burst(f *fib.FIB, q Queue, pkts []*mbuf.Mbuf) {
	c := &w.Count.Ports[q.Port]
	count.Add(&c.RxPackets, uint64(len(pkts)))
	count.Add(&c.RxBytes, uint64(total(pkts)))
	if q.Spread != SpreadNone {
		pkts = w.deal(f, q, pkts)
	}
	w.carry(f, q.Port, pkts)
}

// total is how many bytes packets are together.
func total(pkts []*mbuf.Mbuf) int {
	bytes, i := 0, 0
	for ; i < len(pkts)-3; i += 4 { // the loop takes as much as what it does
		bytes += pkts[i].Len() + pkts[i+1].Len() + pkts[i+2].Len() + pkts[i+3].Len()
	}
	for ; i < len(pkts); i++ {
		bytes += pkts[i].Len()
	}
	return bytes
}

// carry brings packets that were already counted to their end.
func (w *Worker) carry(f *fib.FIB, in uint16, pkts []*mbuf.Mbuf) {
	w.in, w.uplink = in, false
	switch {
	case int(in) >= len(f.Ports) || f.Ports[in].Role == fib.Absent || w.ports[in] == nil:
		w.dropAll(pkts, count.PortDown) // it was plugged out, or policy does not know it yet
	case f.Ports[in].Role == policy.VM:
		w.fromVM(f, pkts)
	case f.Ports[in].Role == policy.Uplink:
		w.uplink = true
		w.fromFabric(f, pkts)
	default:
		w.fromHost(f, pkts)
	}
	w.flush()
}

// queue is where packets gather that go to a port, until the burst's end.
func (w *Worker) queue(to uint16) *outQueue {
	q := &w.out[to]
	if !q.pending {
		q.pending = true
		n := len(w.pending)
		w.pending = w.pending[:n+1] // has room for all ports; append would tell the collector
		w.pending[n] = to
	}
	return q
}

// send puts a packet on the way to a port.
func (w *Worker) send(to uint16, m *mbuf.Mbuf) {
	q := w.queue(to)
	q.pkts[q.n] = unseen.To(m)
	if q.n++; q.n == len(q.pkts) {
		w.transmit(to)
	}
}

// sendAll is send for packets that go the same way.
func (w *Worker) sendAll(to uint16, pkts []*mbuf.Mbuf) {
	q := w.queue(to)
	for len(pkts) > 0 {
		n := unseen.Copy(q.pkts[q.n:], pkts)
		pkts = pkts[n:]
		if q.n += n; q.n == len(q.pkts) {
			w.transmit(to)
		}
	}
}

// drop ends a packet's trip.
func (w *Worker) drop(m *mbuf.Mbuf, reason count.Reason) {
	w.dropped[reason]++
	w.discard(m)
}

// forgo counts a copy that need not be made, since it would be dropped.
func (w *Worker) forgo(reason count.Reason) {
	w.dropped[reason]++
	w.forgone = true
}

func (w *Worker) dropAll(pkts []*mbuf.Mbuf, reason count.Reason) {
	for _, m := range pkts {
		w.drop(m, reason)
	}
}

// transmit hands the gathered packets of one port over. What the port does not
// take is dropped: a slow VM must not hold up the others.
func (w *Worker) transmit(to uint16) {
	q := &w.out[to]
	pkts := unseen.Pointers(q.pkts[:q.n])
	q.n = 0
	if w.ports[to] == nil {
		w.dropAll(pkts, count.PortDown)
		return
	}
	if w.uplink && len(pkts) > 1 && to != w.in && w.ways[to].uses.Has(mbuf.SendTSO) {
		pkts = w.join(to, pkts)
	}
	bytes := total(pkts)
	sent := w.ports[to].Tx(w.TxQueue, pkts)
	for _, m := range pkts[sent:] {
		bytes -= m.Len()
		w.drop(m, count.TxFull)
	}
	c := &w.Count.Ports[to]
	count.Add(&c.TxPackets, uint64(sent))
	count.Add(&c.TxBytes, uint64(bytes))
}

// discard frees a packet without counting it: what became of it was.
func (w *Worker) discard(m *mbuf.Mbuf) {
	w.dead = append(w.dead, m)
	if len(w.dead) == cap(w.dead) {
		w.bury()
	}
}

// flush ends a burst: everything gathered is transmitted, everything dropped is
// freed, and what happened is counted.
func (w *Worker) flush() {
	for _, to := range w.pending {
		w.out[to].pending = false
		if w.out[to].n > 0 {
			w.transmit(to)
		}
	}
	w.pending = w.pending[:0]
	if len(w.dead) > 0 || w.forgone {
		w.bury()
	}
	if w.events != (count.Events{}) {
		w.tell()
	}
	if w.punted {
		w.punted = false
		w.Wake()
	}
}

// tell counts what happened to packets that came from w.in.
func (w *Worker) tell() {
	events := &w.Count.Ports[w.in].Events
	for e, n := range w.events {
		if n != 0 {
			count.Add(&events[e], uint64(n))
			w.events[e] = 0
		}
	}
}

// bury frees and counts the dropped packets, all of which came from w.in.
func (w *Worker) bury() {
	drops := &w.Count.Ports[w.in].Drops
	for r, n := range w.dropped {
		if n != 0 {
			count.Add(&drops[r], uint64(n))
			w.dropped[r] = 0
		}
	}
	w.forgone = false
	w.Pool.Free(w.dead)
	w.dead = w.dead[:0]
}

// injected sends what the control plane wants sent.
func (w *Worker) injected() bool {
	c := w.Inject.Peek()
	if c == nil {
		return false
	}
	for ; c != nil; c = w.Inject.Peek() {
		if int(c.Port) >= len(w.out) {
			w.Inject.Pop() // the port is not open
			continue
		}
		w.in, w.uplink = c.Port, false
		m := w.rx[:1]
		switch {
		case !w.Pool.Alloc(m):
			count.Add(&w.Count.Ports[c.Port].Drops[count.NoBuffer], 1)
		case !c.into(m[0]):
			w.drop(m[0], count.NoBuffer)
		default:
			w.send(c.Port, m[0])
		}
		w.Inject.Pop()
		w.flush()
	}
	return true
}

// punt hands a copy of a frame to the control plane.
func (w *Worker) punt(kind Kind, frame []byte) bool {
	w.punted = true
	return w.Punt.Push(w.in, kind, frame)
}
