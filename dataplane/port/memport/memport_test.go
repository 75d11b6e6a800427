package memport

import (
	"bytes"
	"runtime"
	"testing"

	"paca/dataplane/mbuf"
	"paca/dataplane/port"
	"paca/dataplane/port/porttest"
)

func open(t testing.TB, c Config) *Port {
	t.Helper()
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func TestO23_O29Contract(t *testing.T) {
	porttest.Run(t, func(t *testing.T) porttest.Subject {
		pool := mbuf.NewHeap(512, mbuf.DefaultDataRoom)
		p := open(t, Config{MAC: [6]byte{2, 0, 0, 0, 0, 1}, Depth: 128, Pool: pool})
		return porttest.Subject{
			Port: p, Pool: pool,
			Send:    func(fs [][]byte) { p.Inject(0, fs...) },
			Receive: func() [][]byte { return p.Drain(0) },
			Backlog: 128,
		}
	})
}

func TestContractOfPair(t *testing.T) {
	porttest.Run(t, func(t *testing.T) porttest.Subject {
		pool, far := mbuf.NewHeap(512, mbuf.DefaultDataRoom), mbuf.NewHeap(512, mbuf.DefaultDataRoom)
		p, q, err := NewPair(Config{Depth: 128, Pool: pool}, Config{Depth: 128, Pool: far})
		if err != nil {
			t.Fatal(err)
		}
		return porttest.Subject{
			Port: p, Pool: pool,
			Send: func(fs [][]byte) {
				for _, f := range fs {
					m := make([]*mbuf.Mbuf, 1)
					far.Alloc(m)
					m[0].SetData(f)
					q.Tx(0, m)
				}
			},
			Receive: func() (fs [][]byte) {
				m := make([]*mbuf.Mbuf, 32)
				n := q.Rx(0, m)
				for _, m := range m[:n] {
					fs = append(fs, bytes.Clone(m.Data()))
				}
				far.Free(m[:n])
				return fs
			},
			Backlog: 128,
		}
	})
}

func TestLosses(t *testing.T) {
	pool := mbuf.NewHeap(4, mbuf.DefaultDataRoom)
	p := open(t, Config{MTU: 100, Depth: 6, Pool: pool})
	fs := make([][]byte, 8)
	for i := range fs {
		fs[i] = porttest.Frame(i, 60)
	}
	fs[1] = porttest.Frame(1, 123) // MTU + 14 + 8 = 122

	if n := p.Inject(0, fs...); n != 6 {
		t.Errorf("%d frames injected into a queue of 6", n)
	}
	pkts := make([]*mbuf.Mbuf, 8)
	if n := p.Rx(0, pkts[:2]); n != 2 {
		t.Fatalf("%d of 2 received", n)
	}
	if n := p.Rx(0, pkts[2:]); n != 0 {
		t.Errorf("%d received into 2 buffers, all or none can be", n)
	}
	pkts[1].Append(80)
	if n := p.Tx(0, pkts[:2]); n != 2 || len(p.Drain(0)) != 1 {
		t.Errorf("an oversized frame is to be taken and lost")
	}
	if pool.Available() != 4 {
		t.Errorf("%d of 4 buffers back", pool.Available())
	}
	want := port.Stats{RxPackets: 2, RxBytes: 120, TxPackets: 1, TxBytes: 60, RxMissed: 1, RxNoBuffer: 4, RxErrors: 1, TxErrors: 1}
	if got := p.Stats(); got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if p.Close() != nil || p.Close() == nil {
		t.Error("Close works once, then is an error")
	}
}

func TestSegmentsAreGathered(t *testing.T) {
	pool := mbuf.NewHeap(2, mbuf.DefaultDataRoom)
	f := porttest.Frame(0, 200)
	for uses, sent := range map[mbuf.Offloads]int{mbuf.SendSegments: 1, 0: 0} {
		p := open(t, Config{Pool: pool, Offloads: port.Offloads{Uses: uses}})
		if p.Tx(0, []*mbuf.Mbuf{pool.Packet(f, 90, 110)}) != 1 {
			t.Fatal("not taken")
		}
		got := p.Drain(0)
		if len(got) != sent || sent == 1 && !bytes.Equal(got[0], f) || pool.Available() != 2 || p.Stats().TxErrors != uint64(1-sent) {
			t.Errorf("offloads %b: sent %x, %d buffers back", uses, got, pool.Available())
		}
	}
}

// What a packet asks for is seen; what a device found is told.
func TestO20_O31Notes(t *testing.T) {
	pool := mbuf.NewHeap(64, mbuf.DefaultDataRoom)
	p := open(t, Config{Pool: pool, Depth: 4, Offloads: port.Offloads{Uses: mbuf.AllOffloads}})
	asked := Notes{Flags: mbuf.TxTCPSegment | mbuf.TxIPv6, Lengths: mbuf.TxOffload{L2Len: 14, L3Len: 40, L4Len: 32, SegmentSize: 1400}, TCI: 7, Segments: 3}
	f := porttest.Frame(1, 60000)
	m := pool.Packet(f[:5000], 2000)
	m.SetFlags(asked.Flags)
	m.SetTxOffload(asked.Lengths)
	m.SetVLANTCI(asked.TCI)
	p.Tx(0, []*mbuf.Mbuf{m})
	p.VisitNoted(0, func(got []byte, n Notes) {
		if n != asked || !bytes.Equal(got, f[:5000]) {
			t.Errorf("%d bytes with %+v, want %+v", len(got), n, asked)
		}
	})
	found := Notes{Flags: mbuf.RxLRO | mbuf.RxL4ChecksumNone, Lengths: mbuf.TxOffload{SegmentSize: 1448}, TCI: 9, Type: 0x111}
	p.InjectNoted(0, f, found)
	pkts := make([]*mbuf.Mbuf, 1)
	if p.Rx(0, pkts) != 1 {
		t.Fatal("not received")
	}
	found.Segments = 30 // of 2048 bytes
	if got := notesOf(pkts[0]); got != found || !bytes.Equal(pkts[0].AppendTo(nil), f) {
		t.Errorf("%d bytes with %+v, want %+v", pkts[0].Len(), got, found)
	}
	pool.Free(pkts)
	p.InjectNoted(0, f, found)
	pool.Alloc(make([]*mbuf.Mbuf, 40))
	if p.Rx(0, pkts) != 0 || pool.Available() != 24 {
		t.Errorf("a frame of 30 buffers is received with 24, %d are left", pool.Available())
	}
}

// A wire of virtio's kind: what was left to be done by the one is to be done by the
// other.
func TestPairCarriesWhatIsLeftToDo(t *testing.T) {
	pool := mbuf.NewHeap(64, mbuf.DefaultDataRoom)
	c := Config{Depth: 4, Pool: pool, Offloads: port.Offloads{Uses: mbuf.AllOffloads}}
	p, q, err := NewPair(c, c)
	if err != nil {
		t.Fatal(err)
	}
	for asked, found := range map[uint64]uint64{
		0:                                0,
		mbuf.TxIPv4 | mbuf.TxUDPChecksum: mbuf.RxL4ChecksumNone,
		mbuf.TxIPv6 | mbuf.TxTCPSegment:  mbuf.RxL4ChecksumNone | mbuf.RxLRO,
	} {
		m := pool.Packet(porttest.Frame(1, 5000), 2000)
		m.SetFlags(asked)
		m.SetTxOffload(mbuf.TxOffload{L2Len: 14, SegmentSize: 1448})
		p.Tx(0, []*mbuf.Mbuf{m})
		pkts := make([]*mbuf.Mbuf, 1)
		if q.Rx(0, pkts) != 1 || pkts[0].Flags() != found || found&mbuf.RxLRO != 0 && pkts[0].TxOffload().SegmentSize != 1448 {
			t.Fatalf("flags %#x arrive as %#x, want %#x", asked, pkts[0].Flags(), found)
		}
		pool.Free(pkts)
	}
}

// TestConcurrentSides is for the race detector: one goroutine on either side.
func TestConcurrentSides(t *testing.T) {
	const total = 20000
	pool := mbuf.NewHeap(128, mbuf.DefaultDataRoom)
	p := open(t, Config{Depth: 32, Pool: pool})
	go func() { // the worker: echoes
		pkts := make([]*mbuf.Mbuf, 16)
		for n := 0; n < total; {
			k := p.Rx(0, pkts)
			for sent := 0; sent < k; {
				sent += p.Tx(0, pkts[sent:k])
				runtime.Gosched()
			}
			n += k
			runtime.Gosched()
		}
	}()
	injected, seen := 0, 0
	for seen < total {
		if injected < total && p.Inject(0, porttest.Frame(injected, 60)) == 1 {
			injected++
		}
		p.Visit(0, func(f []byte) {
			if !bytes.Equal(f, porttest.Frame(seen, 60)) {
				t.Fatalf("frame %d: %x", seen, f)
			}
			seen++
		})
		runtime.Gosched()
	}
}

func TestConfigFaults(t *testing.T) {
	pool := mbuf.NewHeap(1, mbuf.DefaultDataRoom)
	for _, c := range []Config{{}, {Pool: pool, MTU: -1}, {Pool: pool, MTU: 70000}, {Pool: pool, Queues: -1}, {Pool: pool, Depth: -1}} {
		if _, err := New(c); err == nil {
			t.Errorf("%+v accepted", c)
		}
	}
	if _, _, err := NewPair(Config{Pool: pool, Queues: 1}, Config{Pool: pool, Queues: 2}); err == nil {
		t.Error("pair of 1 and 2 queues accepted")
	}
}

func BenchmarkEcho(b *testing.B) {
	pool := mbuf.NewHeap(512, mbuf.DefaultDataRoom)
	p := open(b, Config{Pool: pool})
	fs := make([][]byte, 32)
	for i := range fs {
		fs[i] = porttest.Frame(i, 60)
	}
	pkts := make([]*mbuf.Mbuf, 32)
	discard := func([]byte) {}
	b.ReportAllocs()
	for range b.N {
		p.Inject(0, fs...)
		p.Tx(0, pkts[:p.Rx(0, pkts)])
		p.Visit(0, discard)
	}
}

func TestPairOfUnequalMTU(t *testing.T) {
	pool := mbuf.NewHeap(4, mbuf.DefaultDataRoom)
	p, q, err := NewPair(Config{MTU: 200, Pool: pool}, Config{MTU: 100, Pool: pool})
	if err != nil {
		t.Fatal(err)
	}
	pkts := make([]*mbuf.Mbuf, 2)
	pool.Alloc(pkts)
	pkts[0].SetData(porttest.Frame(0, 123)) // MTU + 14 + 8 = 122
	pkts[1].SetData(porttest.Frame(1, 122))
	if n := p.Tx(0, pkts); n != 2 {
		t.Fatalf("%d of 2 taken", n)
	}
	if n := q.Rx(0, pkts); n != 1 || !bytes.Equal(pkts[0].Data(), porttest.Frame(1, 122)) {
		t.Errorf("%d received", n)
	}
	pool.Free(pkts[:1])
	if s := q.Stats(); s.RxErrors != 1 || pool.Available() != 4 {
		t.Errorf("%+v, %d of 4 buffers back", s, pool.Available())
	}
}
