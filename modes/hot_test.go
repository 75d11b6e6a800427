package modes_test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"paca/dataplane/fib"
	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
	"paca/dataplane/port"
	"paca/dataplane/worker"
	"paca/modes/nvgre"
)

// No verdict's branch may allocate: every fatal frame, every answer, holding,
// retrying and injecting, over and over.
func TestNoAllocations(t *testing.T) {
	r := newRig(t, testPolicy(), nvgre.Config{})
	type input struct {
		in    int
		frame []byte
	}
	var mix []input
	for _, c := range fatals() {
		mix = append(mix, input{c.in, c.frame})
	}
	target := addr("fd00:1::12").As16()
	hold := unhex(inner1)
	hold[33] = 17
	local := unhex(inner1)
	local[33] = 13
	tagged := append(append(append([]byte(nil), local[:12]...), unhex("8100 0005")...), local[12:]...)
	mark := fromFabric()
	mark[15], mark[57] = 3, 2
	mix = append(mix,
		input{blue1, unhex(inner1)}, input{blue1, local}, input{blue1, tagged}, input{blue1, hold},
		input{uplink, fromFabric()}, input{uplink, reseal(mark)},
		input{blue1, packet.AppendARP(nil, &packet.ARPFrame{DstMAC: packet.Broadcast, SrcMAC: macBlue1,
			ARPFields: packet.ARPFields{Op: packet.ARPOpRequest, SenderMAC: macBlue1, SenderIP: [4]byte{10, 1, 1, 11}, TargetIP: [4]byte{10, 1, 1, 12}}})},
		input{blue1, packet.AppendNS(nil, &packet.NSFrame{DstMAC: packet.GroupMAC(packet.SolicitedNode(target)), SrcMAC: macBlue1,
			Src: addr("fd00:1::11").As16(), Dst: packet.SolicitedNode(target), Target: target})},
		input{uplink, packet.AppendARP(nil, &packet.ARPFrame{DstMAC: packet.Broadcast, SrcMAC: macRouter,
			ARPFields: packet.ARPFields{Op: packet.ARPOpRequest, SenderMAC: macRouter, SenderIP: [4]byte{192, 168, 1, 1}, TargetIP: [4]byte{192, 168, 1, 10}}})},
	)
	unresolved := r.fib.Load()
	again := unresolved.WithNeighbors(resolved)
	ready := again.WithNeighbors(func(_, _ uint16, _ netip.Addr) (packet.MAC, fib.AdjState) { return macRouter, fib.AdjReady })
	ignore := func([]byte) {}
	round := func() {
		for _, f := range []*fib.FIB{unresolved, again, ready} {
			r.fib.Store(f)
			for _, x := range mix {
				r.ports[x.in].Inject(0, x.frame)
				r.w.PollOnce()
				for r.w.Punt.Peek() != nil {
					r.w.Punt.Pop()
				}
			}
			r.w.Inject.Push(uplink, worker.Neighbor, mix[len(mix)-1].frame)
			r.w.PollOnce()
			for _, p := range r.ports {
				p.Visit(0, ignore)
			}
		}
	}
	round()
	if n := testing.AllocsPerRun(20, round); n != 0 {
		t.Errorf("%v allocations in a round of %d frames", n, 3*len(mix))
	}
}

// flows is n UDP frames of 60 bytes, each a flow of its own, from a to b.
func flows(n int) [][]byte {
	frames := make([][]byte, n)
	for i := range frames {
		f := make([]byte, 60)
		copy(f, unhex(inner1))
		f[23] = packet.ProtoUDP
		binary.BigEndian.PutUint16(f[16:], 46)
		binary.BigEndian.PutUint16(f[24:], 0)
		binary.BigEndian.PutUint16(f[24:], packet.Checksum(f[14:34], 0))
		binary.BigEndian.PutUint16(f[34:], uint16(1024+i))
		binary.BigEndian.PutUint16(f[36:], 4789)
		binary.BigEndian.PutUint16(f[38:], 26)
		binary.BigEndian.PutUint16(f[40:], 0)
		frames[i] = f
	}
	return frames
}

func benchmark(b *testing.B, in, out int, frames [][]byte) {
	r := newRig(b, testPolicy(), nvgre.Config{})
	plug := r.w.Plug.Load()
	plug.Poll = plug.Poll[in : in+1]
	sent := 0
	count := func([]byte) { sent++ }
	b.ReportAllocs()
	b.ResetTimer()
	n := 0
	for n < b.N {
		at := n % len(frames)
		r.ports[in].Inject(0, frames[at:at+port.MaxBurst]...)
		r.w.PollOnce()
		r.ports[out].Visit(0, count)
		n += port.MaxBurst
	}
	b.StopTimer()
	if sent != n {
		b.Fatalf("%d of %d packets arrived; drops: %v", sent, n, r.drops())
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/packet")
}

// The whole trip from VM port to uplink, ports in memory included: 60-byte UDP
// frames in 1,024 flows.
func BenchmarkEgress(b *testing.B) { benchmark(b, blue1, uplink, flows(1024)) }

// And back.
func BenchmarkIngress(b *testing.B) { benchmark(b, uplink, blue1, fabricFlows(b)) }

// fabricFlows is flows as another host sends them.
func fabricFlows(b *testing.B) [][]byte {
	r := newRig(b, testPolicy(), nvgre.Config{})
	var frames [][]byte
	for _, f := range flows(1024) {
		f = r.only(r.trip(blue1, f), uplink)[0]
		copy(f[26:30], []byte{192, 168, 2, 20})
		copy(f[30:34], []byte{192, 168, 1, 10})
		swapInner(f[42:])
		frames = append(frames, reseal(f))
	}
	return frames
}

// loop is the cheapest port there is: it receives the same buffers over and
// over, and sends by undoing what was done to their front.
type loop struct {
	port.Port
	pkts  []*mbuf.Mbuf
	at    int
	grown int // bytes that the trip puts in front; negative: takes away
}

func (p *loop) Rx(_ int, pkts []*mbuf.Mbuf) int {
	n := copy(pkts, p.pkts[p.at:])
	if p.at += n; p.at == len(p.pkts) {
		p.at = 0
	}
	return n
}

func (p *loop) Tx(_ int, pkts []*mbuf.Mbuf) int {
	for _, m := range pkts {
		if p.grown > 0 {
			m.Adj(p.grown)
		} else {
			m.Prepend(-p.grown)
		}
	}
	return len(pkts)
}

func benchmarkBare(b *testing.B, in, out, grown int, frames [][]byte) {
	r := newRig(b, testPolicy(), nvgre.Config{})
	l := &loop{pkts: make([]*mbuf.Mbuf, len(frames)), grown: grown}
	pool := mbuf.NewHeap(len(frames), mbuf.DefaultDataRoom)
	pool.Alloc(l.pkts)
	for i, f := range frames {
		l.pkts[i].SetData(f)
	}
	plug := r.w.Plug.Load()
	plug.Ports[in], plug.Ports[out] = l, l
	plug.Poll = plug.Poll[in : in+1]
	b.ReportAllocs()
	n := 0
	for b.ResetTimer(); n < b.N; n += port.MaxBurst {
		r.w.PollOnce()
	}
	b.StopTimer()
	if sent := r.w.Count.Snapshot().Ports[out].TxPackets; sent != uint64(n) {
		b.Fatalf("%d of %d packets arrived; drops: %v", sent, n, r.drops())
	}
}

// The trip alone, between ports that cost next to nothing.
func BenchmarkEgressBare(b *testing.B) { benchmarkBare(b, blue1, uplink, 42, flows(1024)) }
func BenchmarkIngressBare(b *testing.B) {
	benchmarkBare(b, uplink, blue1, -42, fabricFlows(b))
}
