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
// Floor 4. It is built on ports only; who forwards is not its business.
package probe

import (
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"paca/dataplane/mbuf"
	"paca/dataplane/port"
)

// Plan is one run of a probe.
type Plan struct {
	Rate   float64       // frames per second; 0: as many as the loop takes
	Length time.Duration // of sending
	WarmUp time.Duration // before that, at the same rate, not counted
	Frames [][]byte      // sent in turn; each ends in StampLen bytes of Room
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
	Full       uint64 // turns in which frames were due and the loop took none, or not all

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
	silence = 100 * time.Millisecond // after which nothing more will come back
)

// Probe sends by one port and receives by another.
type Probe struct {
	Out, Back port.Port
	Pool      port.Pool // of frames to send

	run    uint16
	tally  *tally
	tx     [burst]*mbuf.Mbuf
	due    []*mbuf.Mbuf // of tx: stamped, and not taken yet
	rx     [port.MaxBurst]*mbuf.Mbuf
	frames [][]byte
	next   int // of frames
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
	r := &p.tally.Result
	each := 0.0 // ns between frames
	if rate > 0 {
		each = 1e9 / rate
		r.Planned = uint64(length.Seconds() * rate)
	}
	begin := time.Now()
	now, last := time.Duration(0), time.Duration(0)
	for quiet := now; ; {
		switch {
		case rate == 0 && now < length:
			if err := p.send(burst, each, now); err != nil {
				return err
			}
		case rate > 0 && r.Sent < r.Planned && now < length+overrun:
			if n := min(burst, 1+uint64(float64(now)/each)-r.Sent, r.Planned-r.Sent); n > 0 {
				if err := p.send(int(n), each, now); err != nil {
					return err
				}
			}
		case r.Received == r.Sent || now-quiet > silence:
			if rate == 0 {
				r.Planned = r.Sent
			}
			r.Elapsed = quiet
			p.Pool.Free(p.due)
			p.due = nil
			return nil
		}
		n := p.Back.Rx(0, p.rx[:])
		now = time.Since(begin)
		if now-last > Gap {
			p.tally.away(last, now)
		}
		last = now
		if n > 0 {
			quiet = now
			p.received(p.rx[:n], now)
		}
	}
}

// send hands up to n frames over that are due now, each ns after the other; those
// first that were not taken before.
func (p *Probe) send(n int, each float64, now time.Duration) error {
	r := &p.tally.Result
	if len(p.due) == 0 {
		p.due = p.tx[:n]
		if !p.Pool.Alloc(p.due) {
			p.due = nil
			return fmt.Errorf("probe: no buffer for frame %d", r.Sent)
		}
		for i, m := range p.due {
			seq := r.Sent + uint64(i)
			at := now
			if each > 0 {
				at = time.Duration(float64(seq) * each)
			}
			f := p.frames[p.next]
			if p.next++; p.next == len(p.frames) {
				p.next = 0
			}
			if !m.SetData(f) {
				p.Pool.Free(p.due)
				p.due = nil
				return fmt.Errorf("probe: a frame of %d bytes is longer than a buffer", len(f))
			}
			stamp{run: p.run, seq: seq, at: at}.put(m.Data())
		}
	}
	if each > 0 {
		r.Late = max(r.Late, now-time.Duration(float64(r.Sent)*each))
	}
	taken := p.Out.Tx(0, p.due)
	r.Sent += uint64(taken)
	if p.due = p.due[taken:]; len(p.due) > 0 {
		r.Full++
	}
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
