package count

import "sync/atomic"

// Worker is the counters of one poll-mode worker. Its worker alone adds, once
// per burst, through the add methods; any goroutine may take a Snapshot. Every
// total only grows.
type Worker struct {
	PollsEmpty uint64 // polls of a queue that brought nothing
	PollsValid uint64 // polls that brought packets
	Sleeps     uint64 // times the idle back-off slept
	Idle       uint64 // nanoseconds in which there was nothing to do, asleep or not
	Given      uint64 // packets handed to peers
	Taken      uint64 // packets that peers handed over
	Ports      []Port // by port index
	_          [64]byte
}

// Port is what one worker did with the packets of one port.
type Port struct {
	RxPackets, RxBytes uint64
	TxPackets, TxBytes uint64
	Control            uint64             // received and given to the control plane (ARP and ND of next hops, DHCP, ICMP for a PA)
	Drops              [NumReasons]uint64 // by reason, charged to the port the packet came from
	Events             [NumEvents]uint64  // likewise
	_                  [64]byte
}

// NewWorker makes zeroed counters for a worker that serves ports of index below
// nports.
func NewWorker(nports int) *Worker {
	return &Worker{Ports: make([]Port, nports)}
}

// Add adds n to *p so that a concurrent Snapshot sees a whole value. Only the
// worker that owns the counter may call it.
func Add(p *uint64, n uint64) { atomic.StoreUint64(p, *p+n) }

// AddTo adds all of w to the totals in sum, which must have as many ports.
// Values are whole, but not all of one instant.
func (w *Worker) AddTo(sum *Worker) {
	sum.PollsEmpty += atomic.LoadUint64(&w.PollsEmpty)
	sum.PollsValid += atomic.LoadUint64(&w.PollsValid)
	sum.Sleeps += atomic.LoadUint64(&w.Sleeps)
	sum.Idle += atomic.LoadUint64(&w.Idle)
	sum.Given += atomic.LoadUint64(&w.Given)
	sum.Taken += atomic.LoadUint64(&w.Taken)
	for i := range w.Ports {
		w.Ports[i].AddTo(&sum.Ports[i])
	}
}

// AddTo adds p to the totals in sum.
func (p *Port) AddTo(sum *Port) {
	sum.RxPackets += atomic.LoadUint64(&p.RxPackets)
	sum.RxBytes += atomic.LoadUint64(&p.RxBytes)
	sum.TxPackets += atomic.LoadUint64(&p.TxPackets)
	sum.TxBytes += atomic.LoadUint64(&p.TxBytes)
	sum.Control += atomic.LoadUint64(&p.Control)
	for r := range p.Drops {
		sum.Drops[r] += atomic.LoadUint64(&p.Drops[r])
	}
	for e := range p.Events {
		sum.Events[e] += atomic.LoadUint64(&p.Events[e])
	}
}

// Since takes what was counted before, in earlier, off the totals in p.
func (p *Port) Since(earlier *Port) {
	p.RxPackets -= earlier.RxPackets
	p.RxBytes -= earlier.RxBytes
	p.TxPackets -= earlier.TxPackets
	p.TxBytes -= earlier.TxBytes
	p.Control -= earlier.Control
	for r := range p.Drops {
		p.Drops[r] -= earlier.Drops[r]
	}
	for e := range p.Events {
		p.Events[e] -= earlier.Events[e]
	}
}

// Sum adds up what the worker counted on all ports.
func (w *Worker) Sum() (sum Port) {
	for i := range w.Ports {
		w.Ports[i].AddTo(&sum)
	}
	return sum
}

// Snapshot copies the counters.
func (w *Worker) Snapshot() *Worker {
	s := NewWorker(len(w.Ports))
	w.AddTo(s)
	return s
}
