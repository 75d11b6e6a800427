// Package probe is one end of a loop through whatever forwards packets: it sends
// frames out of one port at a set rate, takes them back from another, and says how
// long each was on its way and what became of those that did not come.
//
//	plan ──► stamp ──► Tx ──► pacad or testpmd ──► Rx ──► tally ──► Result
//
// A frame's way begins when the plan wants it sent, not when it was: if the far
// side's ring is full, or the probe itself was late, the frames that are due wait, and
// their time runs. So a stall shows in every frame that it held up (that is, there is no
// coordinated omission).
//
// No more frames are on their way at once than a ring holds, so that none is lost only
// because the probe was not there to fetch it. On a wire, a frame that finds the ring
// full is lost; here it waits and counts as refused, unless the probe is behind because
// it was away itself.
//
// Floor 4. It is built on ports only; who forwards is not its business.
package probe

import (
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"paca/dataplane/mbuf"
	"paca/dataplane/port"
	"paca/dataplane/timeslice"
)

// Plan is one run of a probe.
type Plan struct {
	Rate   float64       // frames per second; 0: as many as the loop takes
	Length time.Duration // of sending
	WarmUp time.Duration // before that, at the same rate, not counted
	Frames [][]byte      // sent in turn; each ends in StampLen zeros
}

// Result is what became of a run's frames.
type Result struct {
	Planned    uint64 // frames; with rate 0 those sent
	Sent       uint64 // fewer than planned if the loop took too few
	Received   uint64 // each once
	Lost       uint64 // sent and not received
	Duplicated uint64 // received more often than once
	Reordered  uint64 // received after one that was sent later
	Strange    uint64 // received, but not sent in this run, or damaged
	Refused    uint64 // due while a window of frames was on its way, or the loop full; they waited

	Elapsed time.Duration // until the last frame was back
	Late    time.Duration // the most that a frame was sent after its time
	Gaps    uint64        // turns of the probe's own loop that took longer than Gap
	Away    time.Duration // all of those together

	Latency hdrhistogram.Snapshot // in nanoseconds, of every frame received
	Present hdrhistogram.Snapshot // without those on whose way the probe had a gap
}

// Gap is the longest turn of the probe's loop in which it was surely at work.
const Gap = 20 * time.Microsecond

const (
	burst   = 32                     // frames sent before those that came back are looked for
	overrun = time.Second            // that a run may take longer than its plan
	silence = 500 * time.Millisecond // after which nothing more will come back
)

// Probe sends by one port and receives by another.
type Probe struct {
	Out, Back port.Port
	Pool      port.Pool // of frames to send
	Window    int       // frames that may be on their way: as many as a ring of the ports holds

	frames  [][]byte
	next    int // of frames
	run     uint16
	tally   *tally
	tx      [burst]*mbuf.Mbuf
	stamped []*mbuf.Mbuf // of tx: not taken yet
	rx      [port.MaxBurst]*mbuf.Mbuf

	judged  uint64 // frames below this number were taken, refused or excused
	excused bool   // the probe was away, and has not caught up with its plan
}

// Run carries out a plan. The calling goroutine is locked to a thread that DPDK
// knows, and alone at queue 0 of both ports.
func (p *Probe) Run(plan Plan) (*Result, error) {
	if len(plan.Frames) == 0 || plan.Length <= 0 || plan.Rate < 0 {
		return nil, fmt.Errorf("probe: %d frames at %v/s for %v are no plan", len(plan.Frames), plan.Rate, plan.Length)
	}
	for i, f := range plan.Frames {
		if len(f) < StampLen || len(f)%2 != 0 {
			return nil, fmt.Errorf("probe: frame %d has %d bytes; an even number is wanted, at least %d", i, len(f), StampLen)
		}
	}
	if p.tally == nil {
		p.tally = newTally()
	}
	p.frames, p.next = plan.Frames, 0
	p.drain(10 * time.Millisecond)
	if plan.WarmUp > 0 {
		if err := p.loop(plan.Rate, plan.WarmUp); err != nil {
			return nil, err
		}
	}
	if err := p.loop(plan.Rate, plan.Length); err != nil {
		return nil, err
	}
	return p.tally.result(), nil
}

// loop sends and receives for so long, and waits for what is on its way then.
func (p *Probe) loop(rate float64, length time.Duration) error {
	p.run++
	p.tally.reset()
	p.judged, p.excused = 0, false
	r := &p.tally.Result
	each := 0.0 // ns between frames
	if rate > 0 {
		each = 1e9 / rate
		r.Planned = uint64(length.Seconds() * rate)
	}
	begin := time.Now()
	var now, last, quiet, renewed time.Duration
	for {
		due := r.Sent // the number of frames whose time has come
		switch {
		case rate == 0 && now < length:
			due += burst
		case rate > 0 && now < length+overrun:
			due = min(r.Planned, 1+uint64(float64(now)/each))
		}
		switch {
		case due > r.Sent:
			if err := p.send(due, each, now); err != nil {
				return err
			}
		case r.Sent < r.Planned && now < length+overrun || rate == 0 && now < length: // the next is not due
		case r.Received == r.Sent || now-quiet > silence:
			r.Planned = max(r.Planned, r.Sent)
			r.Elapsed = quiet
			p.Pool.Free(p.stamped)
			p.stamped = nil
			return nil
		}
		n := p.Back.Rx(0, p.rx[:])
		now = time.Since(begin)
		if now-last > Gap {
			p.tally.away(last, now)
			p.excused = true
		}
		last = now
		if now-renewed > time.Millisecond {
			timeslice.Renew()
			renewed = now
		}
		if n > 0 {
			quiet = now
			p.received(p.rx[:n], now)
		}
	}
}

// send hands over frames that are due now, each ns after the other, first those that
// were not taken before. With each 0 they are due when they are stamped.
func (p *Probe) send(due uint64, each float64, now time.Duration) error {
	r := &p.tally.Result
	if len(p.stamped) == 0 {
		n := min(burst, due-r.Sent, uint64(p.Window)-(r.Sent-p.tally.next))
		if err := p.stamp(int(n), each, now); err != nil {
			return err
		}
	}
	if each > 0 {
		r.Late = max(r.Late, now-time.Duration(float64(r.Sent)*each))
	}
	taken := p.Out.Tx(0, p.stamped)
	r.Sent += uint64(taken)
	p.stamped = p.stamped[taken:]
	full := len(p.stamped) > 0 || r.Sent-p.tally.next >= uint64(p.Window)
	switch {
	case r.Sent == due:
		p.excused = false
	case full && each > 0 && due > p.judged:
		if !p.excused {
			r.Refused += due - max(p.judged, r.Sent)
		}
		p.judged = due
	}
	return nil
}

// stamp makes the next n frames ready.
func (p *Probe) stamp(n int, each float64, now time.Duration) error {
	seq := p.tally.Sent
	pkts := p.tx[:n]
	if !p.Pool.Alloc(pkts) {
		return fmt.Errorf("probe: no buffer for frame %d", seq)
	}
	for _, m := range pkts {
		f := p.frames[p.next]
		if p.next++; p.next == len(p.frames) {
			p.next = 0
		}
		if !m.SetData(f) {
			p.Pool.Free(pkts)
			return fmt.Errorf("probe: a frame of %d bytes is longer than a buffer", len(f))
		}
		at := now
		if each > 0 {
			at = time.Duration(float64(seq) * each)
		}
		stamp{run: p.run, seq: seq, at: at}.put(m.Data())
		seq++
	}
	p.stamped = pkts
	return nil
}

// received looks at frames that came back now, and frees them.
func (p *Probe) received(pkts []*mbuf.Mbuf, now time.Duration) {
	for _, m := range pkts {
		s, ok := stampOf(m.Data())
		if !ok || s.run != p.run {
			p.tally.Strange++
			continue
		}
		p.tally.frame(s.seq, s.at, now)
	}
	p.Pool.Free(pkts)
}

// drain takes out what earlier runs, or others, have left, until nothing came for so
// long.
func (p *Probe) drain(quiet time.Duration) {
	for last := time.Now(); time.Since(last) < quiet; {
		if n := p.Back.Rx(0, p.rx[:]); n > 0 {
			p.Pool.Free(p.rx[:n])
			last = time.Now()
		}
	}
}
