// Package porttest is the contract of port.Port as a test. Every kind of port
// runs it; a worker may rely on what it checks and on nothing else.
//
// Floor 1, tests only.
package porttest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"paca/dataplane/mbuf"
	"paca/dataplane/port"
)

// Subject is an open port and the far end of its wire.
type Subject struct {
	Port port.Port
	Pool interface {
		port.Pool
		Available() int
	}

	// Send makes frames arrive at the port.
	Send func(frames [][]byte)
	// Receive returns frames that the port has sent, at least one if any
	// comes within a moment. Foreign frames may be among them.
	Receive func() [][]byte

	// Backlog, if not 0, is a number of packets that the port cannot have
	// taken all while nobody received; 0 means that the device never fills
	// up (it hands frames to a kernel that drops).
	Backlog int
	// NoBytes says that the device counts packets alone.
	NoBytes bool
}

// etherType is IEEE 802's Local Experimental 1: no kernel makes or answers it,
// so frames of the test stand out from the noise of a live interface.
const etherType = 0x88B5

// patience is how long frames may be on the wire.
const patience = 5 * time.Second

// Frame makes the test frame number seq of n bytes, Ethernet header included.
func Frame(seq, n int) []byte {
	f := make([]byte, n)
	copy(f, []byte{0x02, 0, 0, 0, 0, 0x02, 0x02, 0, 0, 0, 0, 0x01})
	binary.BigEndian.PutUint16(f[12:], etherType)
	binary.BigEndian.PutUint32(f[14:], uint32(seq))
	for i := 18; i < n; i++ {
		f[i] = byte(seq + i)
	}
	return f
}

// Ours tells whether a frame was made by Frame.
func Ours(f []byte) bool {
	return len(f) >= 18 && binary.BigEndian.Uint16(f[12:]) == etherType
}

// Run holds a fresh port of open to the contract, once per rule. open registers
// the clean-up, Close included, with t.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	for _, c := range []struct {
		name string
		test func(*testing.T, Subject)
	}{
		{"Info", info},
		{"EmptyBursts", emptyBursts},
		{"RxDeliversInOrder", rxInOrder},
		{"RxFillsNoMoreThanAsked", rxBounded},
		{"RxLeavesHeadroom", rxHeadroom},
		{"TxSendsInOrder", txInOrder},
		{"TxSendsPrepended", txPrepended},
		{"O23TxSendsSegments", txSegments},
		{"O23Offloads", offloads},
		{"TxLeavesTheRestToTheCaller", txBounded},
		{"StatsCount", stats},
		{"NoBufferIsLost", conservation},
		{"NoAllocation", noAllocation},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

// sizes are frame lengths from Ethernet's least to the port's MTU. The least is
// 60 so that no device needs to pad.
func sizes(s Subject) []int { return []int{60, 61, 128, 590, s.Port.Info().MTU + 14} }

func frames(first, n int, sizes []int) [][]byte {
	fs := make([][]byte, n)
	for i := range fs {
		fs[i] = Frame(first+i, sizes[i%len(sizes)])
	}
	return fs
}

// buffers makes packets of frames.
func buffers(t *testing.T, s Subject, frames [][]byte) []*mbuf.Mbuf {
	t.Helper()
	pkts := make([]*mbuf.Mbuf, len(frames))
	if !s.Pool.Alloc(pkts) {
		t.Fatalf("pool has only %d buffers", s.Pool.Available())
	}
	for i, f := range frames {
		if !pkts[i].SetData(f) {
			t.Fatalf("a frame of %d bytes does not fit a buffer", len(f))
		}
	}
	return pkts
}

// receive polls queue 0 until n test frames came, freeing all buffers.
func receive(t *testing.T, s Subject, n, burst int) [][]byte {
	t.Helper()
	var got [][]byte
	pkts := make([]*mbuf.Mbuf, burst)
	for end := time.Now().Add(patience); len(got) < n; {
		k := s.Port.Rx(0, pkts)
		if k < 0 || k > burst {
			t.Fatalf("Rx returned %d for room of %d", k, burst)
		}
		for _, m := range pkts[:k] {
			if m.Segments() != 1 || m.Len() != len(m.Data()) {
				t.Fatalf("received %d segments, %d of %d bytes in the first", m.Segments(), len(m.Data()), m.Len())
			}
			if Ours(m.Data()) {
				got = append(got, bytes.Clone(m.Data()))
			}
		}
		s.Pool.Free(pkts[:k])
		if k == 0 && time.Now().After(end) {
			t.Fatalf("%d of %d frames received", len(got), n)
		}
	}
	return got
}

// fetch takes n test frames off the far end of the wire.
func fetch(t *testing.T, s Subject, n int) [][]byte {
	t.Helper()
	var got [][]byte
	for end := time.Now().Add(patience); len(got) < n; {
		for _, f := range s.Receive() {
			if Ours(f) {
				got = append(got, bytes.Clone(f))
			}
		}
		if len(got) < n && time.Now().After(end) {
			t.Fatalf("%d of %d frames sent", len(got), n)
		}
	}
	return got
}

// transmit sends all pkts, fetching the far end's frames where the queue is
// full.
func transmit(t *testing.T, s Subject, pkts []*mbuf.Mbuf) (fetched [][]byte) {
	t.Helper()
	for end := time.Now().Add(patience); len(pkts) > 0; {
		burst := pkts[:min(len(pkts), port.MaxBurst)]
		n := s.Port.Tx(0, burst)
		if n < 0 || n > len(burst) {
			t.Fatalf("Tx returned %d for %d packets", n, len(burst))
		}
		pkts = pkts[n:]
		if n < len(burst) {
			for _, f := range s.Receive() {
				if Ours(f) {
					fetched = append(fetched, bytes.Clone(f))
				}
			}
			if time.Now().After(end) {
				t.Fatalf("%d packets not taken", len(pkts))
			}
		}
	}
	return fetched
}

func same(got, want [][]byte) error {
	if len(got) != len(want) {
		return fmt.Errorf("%d frames, want %d", len(got), len(want))
	}
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			return fmt.Errorf("frame %d:\n got %x\nwant %x", i, got[i], want[i])
		}
	}
	return nil
}

func info(t *testing.T, s Subject) {
	i := s.Port.Info()
	if i.Device == "" || i.Driver == "" || i.MTU < 68 || i.RxQueues < 1 || i.TxQueues < 1 {
		t.Errorf("incomplete: %+v", i)
	}
	if j := s.Port.Info(); i != j {
		t.Errorf("Info changed from %+v to %+v", i, j)
	}
	if i.MAC[0]&1 != 0 {
		t.Errorf("MAC %x is a group address", i.MAC)
	}
}

func emptyBursts(t *testing.T, s Subject) {
	if n := s.Port.Rx(0, nil); n != 0 {
		t.Errorf("Rx into no room: %d", n)
	}
	if n := s.Port.Tx(0, nil); n != 0 {
		t.Errorf("Tx of nothing: %d", n)
	}
	pkts := make([]*mbuf.Mbuf, 4)
	for range 10 {
		n := s.Port.Rx(0, pkts)
		for _, m := range pkts[:n] {
			if Ours(m.Data()) {
				t.Errorf("received %x, which nobody sent", m.Data())
			}
		}
		s.Pool.Free(pkts[:n])
	}
}

func rxInOrder(t *testing.T, s Subject) {
	want := frames(0, 100, sizes(s))
	s.Send(want)
	if err := same(receive(t, s, len(want), 32), want); err != nil {
		t.Error(err)
	}
}

func rxBounded(t *testing.T, s Subject) {
	want := frames(0, 12, sizes(s))
	for _, burst := range []int{1, 3, 4, 12} {
		s.Send(want)
		if err := same(receive(t, s, len(want), burst), want); err != nil {
			t.Fatalf("in bursts of %d: %v", burst, err)
		}
	}
}

func rxHeadroom(t *testing.T, s Subject) {
	s.Send([][]byte{Frame(7, 60)})
	pkts := make([]*mbuf.Mbuf, 1)
	for end := time.Now().Add(patience); ; {
		n := s.Port.Rx(0, pkts)
		found := n == 1 && Ours(pkts[0].Data())
		if found && pkts[0].Headroom() < mbuf.Headroom {
			t.Errorf("headroom %d, outer headers rely on %d", pkts[0].Headroom(), mbuf.Headroom)
		}
		s.Pool.Free(pkts[:n])
		if found {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the frame did not come")
		}
	}
}

func txInOrder(t *testing.T, s Subject) {
	want := frames(1000, 100, sizes(s))
	got := transmit(t, s, buffers(t, s, want))
	got = append(got, fetch(t, s, len(want)-len(got))...)
	if err := same(got, want); err != nil {
		t.Error(err)
	}
}

func txPrepended(t *testing.T, s Subject) {
	inner, whole := Frame(3, 100), Frame(4, 142)
	copy(whole[42:], inner)
	pkts := buffers(t, s, [][]byte{inner})
	copy(pkts[0].Prepend(42), whole[:42])
	transmit(t, s, pkts)
	if err := same(fetch(t, s, 1), [][]byte{whole}); err != nil {
		t.Error(err)
	}
}

// segments makes one packet of a frame, in buffers of size bytes.
func segments(t *testing.T, s Subject, frame []byte, size int) *mbuf.Mbuf {
	t.Helper()
	var parts [][]byte
	for rest := frame; len(rest) > 0; rest = rest[min(size, len(rest)):] {
		parts = append(parts, rest[:min(size, len(rest))])
	}
	pkts := buffers(t, s, parts)
	for _, tail := range pkts[1:] {
		pkts[0].Join(tail)
	}
	return pkts[0]
}

// txSegments is for ports that say they send packets of several buffers.
func txSegments(t *testing.T, s Subject) {
	if !s.Port.Offloads().Uses.Has(mbuf.SendSegments) {
		return // it is given packets of one buffer only
	}
	before := s.Pool.Available()
	for i, size := range []int{60, 61, 500, 1024} {
		inner, whole := Frame(i, s.Port.Info().MTU+14-42), make([]byte, s.Port.Info().MTU+14)
		copy(whole, Frame(i, 42))
		copy(whole[42:], inner)
		m := segments(t, s, inner, size)
		copy(m.Prepend(42), whole[:42]) // in front of the first
		transmit(t, s, []*mbuf.Mbuf{m})
		if err := same(fetch(t, s, 1), [][]byte{whole}); err != nil {
			t.Errorf("buffers of %d bytes: %v", size, err)
		}
	}
	// A device may hold the last that it sent until it sends more.
	if n := before - s.Pool.Available(); n > 4*32 {
		t.Errorf("%d buffers gone", n)
	}
}

func offloads(t *testing.T, s Subject) {
	o := s.Port.Offloads()
	if !o.Has.Has(o.Uses) {
		t.Errorf("uses %b, of which the device has only %b", o.Uses, o.Has)
	}
	if o.Uses != port.Usable(o.Uses) {
		t.Errorf("uses %b, of which only %b are of use", o.Uses, port.Usable(o.Uses))
	}
}

func txBounded(t *testing.T, s Subject) {
	if s.Backlog == 0 {
		return // the device never fills up
	}
	before := s.Pool.Available()
	sent := 0
	for first := 0; ; first += port.MaxBurst {
		pkts := buffers(t, s, frames(first, port.MaxBurst, []int{60}))
		n := s.Port.Tx(0, pkts)
		sent += n
		s.Pool.Free(pkts[n:])
		if n < len(pkts) {
			break
		}
		if sent > s.Backlog {
			t.Fatalf("%d packets taken while nobody received", sent)
		}
	}
	if err := same(fetch(t, s, sent), frames(0, sent, []int{60})); err != nil {
		t.Error(err)
	}
	if n := before - s.Pool.Available(); n > sent {
		t.Errorf("%d buffers gone with %d packets", n, sent)
	}
}

func stats(t *testing.T, s Subject) {
	before := s.Port.Stats()
	in, out := frames(0, 50, sizes(s)), frames(0, 30, sizes(s))
	s.Send(in)
	receive(t, s, len(in), 32)
	n := len(transmit(t, s, buffers(t, s, out)))
	fetch(t, s, len(out)-n)
	after := s.Port.Stats()
	// Other frames may pass on a live interface.
	for _, c := range []struct {
		name      string
		got, want uint64
	}{
		{"RxPackets", after.RxPackets - before.RxPackets, uint64(len(in))},
		{"RxBytes", after.RxBytes - before.RxBytes, total(in)},
		{"TxPackets", after.TxPackets - before.TxPackets, uint64(len(out))},
		{"TxBytes", after.TxBytes - before.TxBytes, total(out)},
	} {
		if s.NoBytes && strings.HasSuffix(c.name, "Bytes") {
			continue
		}
		if c.got < c.want {
			t.Errorf("%s grew by %d, want %d", c.name, c.got, c.want)
		}
	}
}

func total(frames [][]byte) (n uint64) {
	for _, f := range frames {
		n += uint64(len(f))
	}
	return n
}

// conservation passes many times the pool's buffers through the port: one lost
// per burst would empty the pool.
func conservation(t *testing.T, s Subject) {
	const burst = 32
	rounds := 4*s.Pool.Available()/burst + 1
	fs := frames(0, burst, []int{60})
	for range min(rounds, 1000) {
		s.Send(fs)
		receive(t, s, burst, burst)
		n := len(transmit(t, s, buffers(t, s, fs)))
		fetch(t, s, burst-n)
	}
	s.Send(fs)
	if err := same(receive(t, s, burst, burst), fs); err != nil {
		t.Error(err)
	}
}

func noAllocation(t *testing.T, s Subject) {
	fs := frames(0, 16, []int{60})
	pkts := make([]*mbuf.Mbuf, 32)
	out := make([]*mbuf.Mbuf, 16)
	s.Send(fs)
	if n := testing.AllocsPerRun(100, func() {
		n := s.Port.Rx(0, pkts)
		s.Pool.Free(pkts[:n])
		if s.Pool.Alloc(out) {
			for i, m := range out {
				m.SetData(fs[i])
			}
			s.Pool.Free(out[s.Port.Tx(0, out):])
		}
	}); n != 0 {
		t.Errorf("%v allocations per round of Rx and Tx", n)
	}
}
