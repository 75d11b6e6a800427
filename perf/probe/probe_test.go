package probe

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"paca/dataplane/mbuf"
	"paca/dataplane/port"
)

// wire is both ends of a loop in memory: what is sent comes back when its delay has
// passed, and what tamper makes of it.
type wire struct {
	pool   *mbuf.Heap
	room   int // frames that it holds; then it takes no more
	delay  time.Duration
	tamper func(n int, frame []byte) [][]byte // nil: nothing happens to them

	uses mbuf.Offloads

	way   []transit
	taken int
}

type transit struct {
	frame []byte
	until time.Time
}

func (w *wire) Tx(_ int, pkts []*mbuf.Mbuf) int {
	n := min(len(pkts), w.room-len(w.way))
	for _, m := range pkts[:n] {
		frames := [][]byte{m.AppendTo(nil)}
		if w.tamper != nil {
			frames = w.tamper(w.taken, frames[0])
		}
		w.taken++
		for _, f := range frames {
			w.way = append(w.way, transit{f, time.Now().Add(w.delay)})
		}
	}
	w.pool.Free(pkts[:n])
	return n
}

func (w *wire) Rx(_ int, pkts []*mbuf.Mbuf) int {
	n := 0
	for n < min(len(pkts), len(w.way)) && !time.Now().Before(w.way[n].until) {
		if !w.pool.Alloc(pkts[n:n+1]) || !pkts[n].SetData(w.way[n].frame) {
			panic("no buffer")
		}
		n++
	}
	w.way = w.way[n:]
	return n
}

func (w *wire) Info() port.Info         { return port.Info{} }
func (w *wire) Offloads() port.Offloads { return port.Offloads{Uses: w.uses} }
func (w *wire) Stats() port.Stats       { return port.Stats{} }
func (w *wire) Close() error            { return nil }

const poolSize = 512

func newWire() *wire {
	return &wire{pool: mbuf.NewHeap(poolSize, mbuf.DefaultDataRoom), room: 256}
}

// run carries out a plan on a wire, and checks what holds of every run.
func run(t *testing.T, w *wire, plan Plan) *Result {
	t.Helper()
	if plan.Frames == nil {
		plan.Frames = [][]byte{make([]byte, 60), make([]byte, 64)}
	}
	p := &Probe{Out: w, Back: w, Pool: w.pool, Window: 1024}
	r, err := p.Run(plan)
	if err != nil {
		t.Fatal(err)
	}
	if got := w.pool.Available(); got != poolSize {
		t.Errorf("%d of %d buffers are left", got, poolSize)
	}
	if got := hdrhistogram.Import(&r.Latency).TotalCount(); got != int64(r.Received) {
		t.Errorf("%d latencies of %d frames", got, r.Received)
	}
	return r
}

func TestNothingLost(t *testing.T) {
	w := newWire()
	r := run(t, w, Plan{Rate: 20_000, Length: 100 * time.Millisecond, WarmUp: 10 * time.Millisecond})
	if r.Planned != 2000 || r.Sent != 2000 || r.Received != 2000 || r.Lost != 0 || r.Duplicated != 0 || r.Reordered != 0 || r.Strange != 0 {
		t.Errorf("%+v", counts(r))
	}
	if w.taken != 2200 {
		t.Errorf("%d frames were sent in all", w.taken)
	}
	if r.Elapsed < 99*time.Millisecond {
		t.Errorf("2,000 frames at 20,000 a second took %v", r.Elapsed)
	}
}

// counts are a result without its histograms.
func counts(r *Result) Result {
	c := *r
	c.Latency, c.Present = hdrhistogram.Snapshot{}, hdrhistogram.Snapshot{}
	return c
}

func TestWhatTheLoopDoes(t *testing.T) {
	var kept []byte
	for name, c := range map[string]struct {
		tamper                               func(n int, frame []byte) [][]byte
		lost, duplicated, reordered, strange uint64
	}{
		"loses one": {tamper: func(n int, f []byte) [][]byte {
			if n == 700 {
				return nil
			}
			return [][]byte{f}
		}, lost: 1},
		"loses the last": {tamper: func(n int, f []byte) [][]byte {
			if n == 1999 {
				return nil
			}
			return [][]byte{f}
		}, lost: 1},
		"sends some twice": {tamper: func(n int, f []byte) [][]byte {
			if n == 3 || n == 900 {
				return [][]byte{f, f}
			}
			return [][]byte{f}
		}, duplicated: 2},
		"swaps two": {tamper: func(n int, f []byte) [][]byte {
			switch n {
			case 100:
				kept = f
				return nil
			case 101:
				return [][]byte{f, kept}
			}
			return [][]byte{f}
		}, reordered: 1},
		"holds one back until its number is long forgotten": {tamper: func(n int, f []byte) [][]byte {
			switch n {
			case 0:
				kept = f
				return nil
			case 1999:
				return [][]byte{f, kept}
			}
			return [][]byte{f}
		}, reordered: 1},
		"damages one": {tamper: func(n int, f []byte) [][]byte {
			if n == 100 {
				f[len(f)-5] ^= 0x10
			}
			return [][]byte{f}
		}, lost: 1, strange: 1},
		"adds some of its own": {tamper: func(n int, f []byte) [][]byte {
			if n == 100 {
				return [][]byte{make([]byte, 60), f, {1, 2, 3}}
			}
			return [][]byte{f}
		}, strange: 2},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWire()
			w.tamper = c.tamper
			r := run(t, w, Plan{Rate: 100_000, Length: 20 * time.Millisecond})
			if r.Sent != 2000 || r.Received != 2000-c.lost || r.Lost != c.lost || r.Duplicated != c.duplicated || r.Reordered != c.reordered || r.Strange != c.strange {
				t.Errorf("%+v", counts(r))
			}
		})
	}
}

// Frames of an earlier run that come late are of no other run.
func TestRunsAreApart(t *testing.T) {
	w := newWire()
	p := &Probe{Out: w, Back: w, Pool: w.pool, Window: 1024}
	plan := Plan{Rate: 10_000, Length: 10 * time.Millisecond, Frames: [][]byte{make([]byte, 60)}}
	var old []byte
	w.tamper = func(n int, f []byte) [][]byte { old = f; return [][]byte{f} }
	if _, err := p.Run(plan); err != nil {
		t.Fatal(err)
	}
	w.tamper = func(n int, f []byte) [][]byte { return [][]byte{old, f} }
	r, err := p.Run(plan)
	if err != nil {
		t.Fatal(err)
	}
	if r.Received != 100 || r.Lost != 0 || r.Strange != 100 {
		t.Errorf("%+v", counts(r))
	}
}

// No frame is faster than the wire, and what a full wire holds up is as late as it
// is, not as when the wire took it.
func TestLatency(t *testing.T) {
	const delay = 2 * time.Millisecond
	w := newWire()
	w.delay = delay
	r := run(t, w, Plan{Rate: 10_000, Length: 50 * time.Millisecond})
	h := hdrhistogram.Import(&r.Latency)
	if least := time.Duration(h.Min()); least < delay*999/1000 {
		t.Errorf("a frame took %v", least)
	}

	// A wire that holds 10 frames for 2 ms takes 5,000 a second. Of 10,000, the last
	// has waited about as long again as sending took.
	w = newWire()
	w.delay, w.room = delay, 10
	r = run(t, w, Plan{Rate: 10_000, Length: 100 * time.Millisecond})
	h = hdrhistogram.Import(&r.Latency)
	if r.Received != 1000 {
		t.Errorf("%+v", counts(r))
	}
	if most := time.Duration(h.Max()); most < 95*time.Millisecond {
		t.Errorf("the last frame took %v", most)
	}
	if half := time.Duration(h.ValueAtQuantile(50)); half < 45*time.Millisecond {
		t.Errorf("half of the frames took %v", half)
	}
	if r.Late < 90*time.Millisecond {
		t.Errorf("no frame was sent later than %v after its time", r.Late)
	}
}

// A frame that a full wire refuses is told once, however long it waits; one that comes
// due while the probe is away, or catches up, is not.
func TestRefused(t *testing.T) {
	p := &Probe{Window: 1024, tally: newTally(), frames: [][]byte{make([]byte, 60)}, Pool: mbuf.NewHeap(poolSize, mbuf.DefaultDataRoom)}
	w := newWire()
	p.Out, w.pool = w, p.Pool.(*mbuf.Heap)
	const each = 1000 // ns
	at := func(room int, due uint64) uint64 {
		w.room = room
		if err := p.send(due, each, time.Duration(due*each)); err != nil {
			t.Fatal(err)
		}
		return p.tally.Refused
	}
	for i, step := range []struct {
		room          int
		due           uint64
		away          bool
		sent, refused uint64
	}{
		{10, 10, false, 10, 0},
		{10, 15, false, 10, 5}, // full
		{10, 16, false, 10, 6}, // one more
		{12, 16, false, 12, 6}, // two of them were taken in the end
		{12, 18, false, 12, 8}, // two more
		{18, 18, false, 15, 8}, // what was stamped before
		{18, 18, false, 18, 8}, // caught up
		{18, 40, true, 18, 8},  // away, and full meanwhile
		{20, 42, false, 20, 8}, // still behind for that
		{100, 42, false, 40, 8},
		{100, 42, false, 42, 8},    // caught up
		{100, 142, false, 74, 8},   // a burst is all that is sent at once: not refused
		{100, 142, false, 100, 50}, // but now
		{2000, 142, false, 106, 50},
		{2000, 142, false, 138, 50},
		{2000, 142, false, 142, 50},
		{2000, 2000, true, 174, 50},
	} {
		p.excused = p.excused || step.away
		if got := at(step.room, step.due); got != step.refused || p.tally.Sent != step.sent {
			t.Fatalf("step %d: %d refused, %d sent; want %d and %d", i, got, p.tally.Sent, step.refused, step.sent)
		}
	}
	for range 100 {
		at(2000, 2000)
	}
	if p.tally.Sent != uint64(p.Window) {
		t.Errorf("%d frames are on their way", p.tally.Sent)
	}
}

// Frames on whose way the probe was away are told apart.
func TestAway(t *testing.T) {
	w := newWire()
	w.tamper = func(n int, f []byte) [][]byte {
		if n == 500 {
			time.Sleep(20 * time.Millisecond)
		}
		return [][]byte{f}
	}
	r := run(t, w, Plan{Rate: 10_000, Length: 100 * time.Millisecond})
	if r.Gaps == 0 || r.Away < 20*time.Millisecond {
		t.Errorf("%+v", counts(r))
	}
	all, present := hdrhistogram.Import(&r.Latency), hdrhistogram.Import(&r.Present)
	if r.Received != 1000 || all.Max() < int64(19*time.Millisecond) {
		t.Errorf("%d frames, of which the slowest took %v", r.Received, time.Duration(all.Max()))
	}
	if missing := all.TotalCount() - present.TotalCount(); missing < 190 { // 20 ms of them
		t.Errorf("%d frames are told apart", missing)
	}
}

func TestUnpaced(t *testing.T) {
	w := newWire()
	r := run(t, w, Plan{Length: 20 * time.Millisecond})
	if r.Sent == 0 || r.Planned != r.Sent || r.Received != r.Sent || r.Lost != 0 || r.Reordered != 0 || r.Duplicated != 0 {
		t.Errorf("%+v", counts(r))
	}
}

// A TCP sender whose wire cuts what it sends, or loses it.
func TestBulk(t *testing.T) {
	const segment, segments, added = 1000, 8, 42
	headers := make([]byte, 14+20+32)
	plan := Bulk{Headers: headers, Payload: segment * segments, Segment: segment, Flight: 3 * segment * segments, Added: added, Length: 50 * time.Millisecond}
	loop := func() (*wire, *Probe) {
		w := newWire()
		w.uses = mbuf.AllOffloads
		return w, &Probe{Out: w, Back: w, Pool: w.pool}
	}
	w, p := loop()
	seq, most := uint32(0), 0
	w.tamper = func(_ int, f []byte) (cut [][]byte) {
		if len(f) != len(headers)+segment*segments {
			t.Fatalf("a frame of %d bytes", len(f))
		}
		if got := binary.BigEndian.Uint32(f[tcpSeq:]); got != seq {
			t.Fatalf("sequence number %d, want %d", got, seq)
		}
		seq += segment * segments
		for range segments {
			cut = append(cut, make([]byte, len(headers)+added+segment))
		}
		most = max(most, len(w.way)+len(cut))
		return append(cut, make([]byte, 60)) // and something else
	}
	r, err := p.RunBulk(plan)
	if err != nil {
		t.Fatal(err)
	}
	if r.Sent == 0 || r.Sent-r.Received > uint64(plan.Flight) || r.Received != r.Frames*segment || r.Largest != len(headers)+added+segment || r.Stalls != 0 {
		t.Errorf("%+v", r)
	}
	if most > 3*(segments+1) {
		t.Errorf("%d frames were on their way", most)
	}

	w, p = loop()
	w.tamper = func(n int, f []byte) [][]byte {
		if n%5 == 4 {
			return nil
		}
		return [][]byte{f[:len(headers)+added+500]}
	}
	plan.Length = 10 * stall
	if r, err = p.RunBulk(plan); err != nil {
		t.Fatal(err)
	}
	if r.Stalls == 0 || r.Received == 0 {
		t.Errorf("%+v", r)
	}

	for name, spoil := range map[string]func(w *wire, b *Bulk){
		"no offload": func(w *wire, _ *Bulk) { w.uses = mbuf.SendL4Checksum },
		"no window":  func(_ *wire, b *Bulk) { b.Flight = 10 },
		"no headers": func(_ *wire, b *Bulk) { b.Headers = nil },
	} {
		w, p := loop()
		b := plan
		spoil(w, &b)
		if _, err := p.RunBulk(b); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestNoPlan(t *testing.T) {
	w := newWire()
	p := &Probe{Out: w, Back: w, Pool: w.pool, Window: 1024}
	good := Plan{Rate: 1000, Length: time.Millisecond, Frames: [][]byte{make([]byte, 60)}}
	for name, spoil := range map[string]func(*Plan){
		"no frames":     func(p *Plan) { p.Frames = nil },
		"a short frame": func(p *Plan) { p.Frames = [][]byte{make([]byte, StampLen-2)} },
		"an odd frame":  func(p *Plan) { p.Frames = [][]byte{make([]byte, 61)} },
		"a long frame":  func(p *Plan) { p.Frames = [][]byte{make([]byte, mbuf.DefaultDataRoom)} },
		"no time":       func(p *Plan) { p.Length = 0 },
		"negative rate": func(p *Plan) { p.Rate = -1 },
	} {
		plan := good
		spoil(&plan)
		if _, err := p.Run(plan); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if got := w.pool.Available(); got != poolSize {
			t.Errorf("%s: %d of %d buffers are left", name, got, poolSize)
		}
	}
}

// A checksum over zeros holds of every stamp.
func TestStampKeepsChecksums(t *testing.T) {
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: []byte{10, 1, 1, 11}, DstIP: []byte{10, 1, 1, 12}}
	udp := &layers.UDP{SrcPort: 1, DstPort: 2}
	_ = udp.SetNetworkLayerForChecksum(ip)
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ip, udp, gopacket.Payload(make([]byte, StampLen))); err != nil {
		t.Fatal(err)
	}
	frame := b.Bytes()
	for i := range uint64(100_000) {
		want := stamp{run: uint16(i * 7), seq: i * i * 12345 & (1<<48 - 1), at: time.Duration(i * 987654321)}
		want.put(frame)
		if got, ok := stampOf(frame); !ok || got != want {
			t.Fatalf("%+v became %+v, %v", want, got, ok)
		}
		var words uint32 // of the pseudo-header, then of UDP
		for j := 12; j < len(frame); j += 2 {
			words += uint32(frame[j])<<8 | uint32(frame[j+1])
		}
		words += uint32(layers.IPProtocolUDP) + uint32(8+StampLen)
		for words>>16 != 0 {
			words = words>>16 + words&0xffff
		}
		if words != 0xffff {
			t.Fatalf("stamp %+v: sum %#x", want, words)
		}
	}
}
