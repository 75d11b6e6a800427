package modes_test

import (
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"paca/dataplane/count"
	"paca/dataplane/fib"
	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
	"paca/dataplane/port"
	"paca/dataplane/worker"
	"paca/modes/nvgre"
)

// input is frames of one burst, so often, to a port.
type input struct {
	in     int
	times  int // 0: once
	frames [][]byte
}

func one(in int, frame []byte) input          { return input{in, 1, [][]byte{frame}} }
func often(n int, in int, frame []byte) input { return input{in, n, [][]byte{frame}} }
func together(in int, frames ...[]byte) input { return input{in, 1, frames} }
func many(in int, frames map[string][]byte) (all []input) {
	for _, f := range frames {
		all = append(all, one(in, f))
	}
	return all
}

// lap has a rig take every input, each a second after the one before, and the control
// plane hear what it is told.
func (r *rig) lap(mix []input) {
	if r.remember {
		r.inputs = append(r.inputs, mix...)
	}
	for _, x := range mix {
		r.now += time.Second
		for range x.times {
			r.ports[x.in].Inject(0, x.frames...)
			r.w.PollOnce()
			for c := r.w.Punt.Peek(); c != nil; c = r.w.Punt.Peek() {
				r.kinds[c.Kind]++
				r.w.Punt.Pop()
			}
		}
	}
	for _, p := range r.ports {
		p.Visit(0, func([]byte) {})
	}
}

// No verdict's branch may allocate: whatever way a packet takes through the loop, over
// and over. And every way is taken: each reason, each event and each kind of frame for
// the control plane is met.
func TestNoAllocations(t *testing.T) {
	rigs := []func(t testing.TB) (*rig, func()){pairs, detours, alone, externally, rewriting, bridging, cramped, leavingAll, leavingChecksum, leavingNothing}
	drops, events, kinds := map[string]uint64{}, map[string]uint64{}, [8]int{}
	for i, make := range rigs {
		t.Run([]string{"pairs", "detours", "alone", "externally", "rewriting", "bridging", "cramped", "leavingAll", "leavingChecksum", "leavingNothing"}[i], func(t *testing.T) {
			r, round := make(t)
			round()
			if n := testing.AllocsPerRun(10, round); n != 0 {
				t.Errorf("%v allocations in a round", n)
			}
			r.balance(0)
			maps.Copy(drops, r.drops())
			maps.Copy(events, r.events())
			for k, n := range r.kinds {
				kinds[k] += n
			}
		})
	}
	beyond := map[count.Reason]string{
		count.WorkerQueue: "a peer must be behind: TestO32NoAllocations",
	}
	for why := count.Kept + 1; why < count.NumReasons; why++ {
		if drops[why.Name()] == 0 && beyond[why] == "" {
			t.Errorf("no packet was dropped by %v", why)
		}
	}
	for e := range count.NumEvents {
		if events[e.Name()] == 0 {
			t.Errorf("event %s was not met", e.Name())
		}
	}
	for k := worker.Neighbor; k <= worker.NVE; k++ {
		if kinds[k] == 0 {
			t.Errorf("the control plane was told nothing of kind %d", k)
		}
	}
}

// pairs is from one VM to another of its virtual subnet: all fatal frames, answers,
// holding, retrying, injecting.
func pairs(t testing.TB) (*rig, func()) {
	r := newRig(t, testPolicy(), nvgre.Config{})
	var mix []input
	for _, c := range fatals() {
		mix = append(mix, one(c.in, c.frame))
	}
	target := addr("fd00:1::12").As16()
	hold := unhex(inner1)
	hold[33] = 17
	local := unhex(inner1)
	local[33] = 13
	mark := fromFabric()
	mark[15], mark[57] = 3, 2
	extension := between(vmBlue1, vmBlue2, macBlue2, true).frame()
	extension[20] = packet.ProtoHopByHop
	extension[55] = 0xff
	question := packet.AppendARP(nil, &packet.ARPFrame{DstMAC: packet.Broadcast, SrcMAC: macRouter,
		ARPFields: packet.ARPFields{Op: packet.ARPOpRequest, SenderMAC: macRouter, SenderIP: [4]byte{192, 168, 1, 1}, TargetIP: [4]byte{192, 168, 1, 10}}})
	mix = append(mix,
		one(blue1, unhex(inner1)), one(blue1, local), one(blue1, tagged(5, local)), one(blue1, extension), one(kernel, local),
		together(blue1, hold, hold, hold, hold, hold, hold, hold, hold, hold, hold),
		one(uplink, fromFabric()), one(uplink, reseal(mark)),
		one(blue1, packet.AppendARP(nil, &packet.ARPFrame{DstMAC: packet.Broadcast, SrcMAC: macBlue1,
			ARPFields: packet.ARPFields{Op: packet.ARPOpRequest, SenderMAC: macBlue1, SenderIP: [4]byte{10, 1, 1, 11}, TargetIP: [4]byte{10, 1, 1, 12}}})),
		one(blue1, packet.AppendNS(nil, &packet.NSFrame{DstMAC: packet.GroupMAC(packet.SolicitedNode(target)), SrcMAC: macBlue1,
			Src: addr("fd00:1::11").As16(), Dst: packet.SolicitedNode(target), Target: target})),
		one(uplink, question),
	)
	unresolved := r.fib.Load()
	again := unresolved.WithNeighbors(resolved)
	ready := again.WithNeighbors(func(_, _ uint16, _ netip.Addr) (packet.MAC, fib.AdjState) { return macRouter, fib.AdjReady })
	return r, func() {
		for _, f := range []*fib.FIB{unresolved, again, ready} {
			r.fib.Store(f)
			r.lap(mix)
			r.w.Inject.Push(uplink, worker.Neighbor, question)
			r.injected++
			r.w.PollOnce()
		}
	}
}

// detours is all else that a host of wholePolicy does, with its settings on.
func detours(t testing.TB) (*rig, func()) {
	set := wholePolicy()
	set.CustomerRoutes = defaults(vmGate)
	set.VirtualSubnets[1].DHCP = true
	set.Ports[red1].MACSpoofing, set.Ports[red1].DHCPGuard, set.Ports[red1].RouterGuard, set.Ports[red1].StormLimit = true, true, true, 8
	set.Ports[blue3].MTU = 1400
	spoofed := vm{packet.MAC{2, 0, 0, 1, 1, 0x31}, "10.1.1.31", "fd00:1::31"}
	set.LookupRecords = append(set.LookupRecords, records(5001, spoofed, paHere)...)
	set.LookupRecords = append(set.LookupRecords,
		policy.LookupRecord{VSID: 6001, CA: addr("239.1.2.3"), MAC: groupMAC(addr("239.1.2.3")), PA: addr("239.255.128.7")},
		policy.LookupRecord{VSID: 6001, CA: addr("10.1.1.18"), MAC: packet.MAC{2, 0, 0, 0, 9, 5}, PA: addr("192.168.1.78")}) // failed: a copy that is not made
	r := newRig(t, set, nvgre.Config{}, listening, router(worker.Router{AnswerPing: true, ClampMSS: true, ErrorRate: 8}))

	redAll := toGroup("10.1.1.11", "255.255.255.255")
	redAll.from = macRed1
	mix := []input{
		one(uplink, fromFabricTo(paHere).ping()), often(60, uplink, fromFabricTo(paHere).complaint()),
		one(uplink, fromFabricTo(hostIP).frame()), one(kernel, fromFabricTo(hostIP).frame()),
		one(uplink, arpRequest(vm{macRouter, "192.168.1.1", ""}, hostIP, packet.Broadcast)),
		one(uplink, arpReply(vm{mac: macRouter}, "192.168.1.1", vm{macUplink, paHere, ""}, macUplink)),
		often(8, red1, redAll.frame()),
		one(red1, offer(vmRed1, vmRed2, vmRed2.v4, macRed2)),
		one(red1, datagram{from: macRed1, to: groupMAC(addr("ff02::1")), src: "fe80::1", dst: "ff02::1", ttl: 255}.icmp6(134, string(make([]byte, 12)))),
		one(red1, between(spoofed, vmRed2, macRed2, false).frame()),
		one(uplink, tunnel(5001, paFar, paHere, between(vmRed2, spoofed, spoofed.mac, false).frame())),
		one(blue1, arpRequest(vmBlue1, vmBlue2.v4, macBlue2)), one(blue1, probe(vmBlue1, vmBlue2.v6, macBlue2)),
		often(60, fresh, arpRequest(vmFresh, vmServer.v4, packet.Broadcast)), one(fresh, solicit(vmFresh, vmFresh.v6, vmServer.v6)),
		one(fresh, solicit(vmFresh, "::", "fd00:4::99")), one(fresh, discover(vmFresh)),
		one(fresh, advertise(vmFresh, vmFresh.v6, "ff02::1", packet.GroupMAC(packet.AllNodes), packet.NDOverride)),
		often(60, blue5, discover(vmBlue5)),
		one(uplink, tunnel(6004, paFar, paHere, offer(vmServer, vmFresh, vmFresh.v4, vmFresh.mac))),
		one(uplink, tunnel(6004, paFar, paHere, offer(vmServer, vmFresh, "255.255.255.255", packet.Broadcast))),
		one(blue1, toGroup("10.1.1.11", "239.1.2.3").frame()),
		one(gate, func() []byte { d := toGroup(outside.v4, "224.0.0.5"); d.from = vmGate.mac; return d.frame() }()),
		one(gate, func() []byte { d := between(vmBlue1, vmBlue2, macBlue2, false); d.from = vmGate.mac; return d.frame() }()),
	}
	for _, v6 := range []bool{false, true} {
		to := func(v vm) datagram { return between(vmBlue1, v, v.mac, v6) }
		ttl, big, cut := to(vmBlue6), to(vmBlue2), to(vmBlue2)
		ttl.ttl, big.size, big.df, cut.size = 1, 1500, true, 1980
		back := between(outside, vmBlue1, fib.DefaultRouterMAC, v6)
		back.from = vmGate.mac
		all := toGroup("10.1.1.11", "10.1.1.255")
		if v6 {
			all = toGroup("fd00:1::11", "ff02::1")
		}
		large := all
		large.size = 1980
		received := all
		received.from, received.src, received.size = macBlue2, vmBlue2.ca(v6), 1440 // too large for blue3
		mix = append(mix,
			one(blue1, to(vmBlue5).frame()), one(blue1, to(vmBlue6).frame()),
			often(8, blue1, ttl.frame()), often(8, blue1, big.frame()), one(blue1, cut.frame()),
			one(blue1, later(big.frame(), 8)), one(blue1, big.complaint()),
			one(blue1, to(router1).ping()), one(blue1, to(router1).frame()),
			one(blue1, to(outside).frame()), one(gate, back.frame()), one(gate, between(vmGate, outside, fib.DefaultRouterMAC, v6).frame()),
			often(60, blue1, to(vm{v4: "10.1.1.99", v6: "fd00:1::99"}).frame()),
			one(blue1, to(vmBlue2).syn(1460, nil)),
			one(blue1, all.frame()), one(blue1, large.frame()),
			one(uplink, tunnel(6001, paFar, paHere, received.frame())),
			one(uplink, tunnel(6003, paFar, paHere, between(vmBlue6, outside, vmGate.mac, v6).frame())),
			one(uplink, tunnel(6001, "192.168.2.30", paHere, between(outside, vmBlue1, macBlue1, v6).frame())),
			one(uplink, tunnel(6001, "192.168.2.21", paHere, between(outside, vmBlue1, macBlue1, v6).frame())),
		)
		for _, f := range strayed(v6) {
			mix = append(mix, often(20, uplink, f))
		}
	}
	for _, f := range said(false) {
		mix = append(mix, often(60, uplink, f))
	}
	spent := make([]*mbuf.Mbuf, poolSize-2)
	scarce := []input{one(blue1, toGroup("10.1.1.11", "255.255.255.255").frame()), one(blue1, func() []byte { d := between(vmBlue1, vmBlue2, macBlue2, false); d.size = 1980; return d.frame() }())}
	return r, func() {
		r.lap(mix)
		r.pool.Alloc(spent)
		r.lap(scarce)
		r.pool.Free(spent)
	}
}

// alone is a host without kernel port, and whose control plane wants nothing: it has
// no room for more.
func alone(t testing.TB) (*rig, func()) {
	set := without(dual(0, 0))
	set.Ports[red1].VSID = 0
	set.LookupRecords = slices.DeleteFunc(set.LookupRecords, func(r policy.LookupRecord) bool { return r.VSID == 6002 && r.MAC == vmBlue6.mac })
	r := newRig(t, set, nvgre.Config{})
	lonely := toGroup("10.1.2.11", "255.255.255.255")
	lonely.from = vmBlue5.mac
	mix := []input{
		one(red1, unhex(inner1)), one(blue5, lonely.frame()),
		one(uplink, fromFabricTo(hostIP).frame()), one(uplink, solicit(fabric, fabric.v6, hostIP6)), one(uplink, tagged(9, fromFabric())),
		one(uplink, fromFabricTo(paHere).complaint()), one(uplink, fromFabricTo(paHere6).ping()),
		one(uplink, advertise(fabric, fabric.v6, "ff02::1", packet.GroupMAC(packet.AllNodes), packet.NDOverride)),
		one(blue1, between(vmBlue1, router1, router1.mac, false).ping()),
	}
	mix = append(mix, many(uplink, strayed(false))...)
	mix = append(mix, many(uplink, strayed(true))...)
	mix = append(mix, many(uplink, said(false))...)
	var burst [][]byte
	for range port.MaxBurst {
		burst = append(burst, toGroup("10.1.1.11", "255.255.255.255").frame())
	}
	crowd := []input{input{blue1, 9, burst}} // the uplink takes 1,024
	full := []input{one(uplink, arpReply(fabric, fabric.v4, vm{macUplink, paHere, ""}, macUplink)), one(blue1, between(vmBlue1, outside, router1.mac, false).frame())}
	return r, func() {
		r.lap(mix)
		r.lap(crowd)
		for r.w.Punt.Push(0, worker.Neighbor, nil) {
		}
		r.lap(full)
	}
}

// externally is a host whose router is an external one, and that has a rewrite subnet
// and no rewriting.
func externally(t testing.TB) (*rig, func()) {
	set := wholePolicy()
	set.Global.UseExternalRouter = true
	set.LookupRecords = set.LookupRecords[2:]
	ext := vm{packet.MAC{2, 0, 0, 1, 1, 1}, "10.1.1.1", "fd00:1::1"}
	set.LookupRecords = append(set.LookupRecords, records(6001, ext, "192.168.2.50")...)
	set.LookupRecords = append(set.LookupRecords, unnumbered(6001, policy.GatewayWildcard, ext, "192.168.2.50")...)
	set.VirtualSubnets = append(set.VirtualSubnets, policy.VirtualSubnet{VSID: 7001, RDID: policy.RDID{3}, Prefixes: []netip.Prefix{prefix("10.7.0.0/24")}, Mode: policy.Rewrite})
	set.ProviderAddresses = append(set.ProviderAddresses, policy.ProviderAddress{Prefix: prefix("192.168.1.12/24"), Port: "uplink"})
	swap := vm{packet.MAC{2, 0, 0, 7, 0, 1}, "10.7.0.11", ""}
	set.LookupRecords = append(set.LookupRecords,
		policy.LookupRecord{VSID: 7001, CA: addr(swap.v4), MAC: swap.mac, PA: addr("192.168.1.12")},
		policy.LookupRecord{VSID: 7001, CA: addr("10.7.0.12"), MAC: packet.MAC{2, 0, 0, 7, 0, 2}, PA: addr("192.168.2.99")})
	set.Ports[red1].VSID, set.Ports[red1].MAC = 7001, swap.mac
	r := newRig(t, set, nvgre.Config{}, func(c *worker.Config) { c.Modes[policy.Rewrite] = nil })
	var mix []input
	for _, v6 := range []bool{false, true} {
		mix = append(mix, one(blue1, between(vmBlue1, vmBlue5, ext.mac, v6).frame()), one(blue5, between(vmBlue5, vmBlue1, ext.mac, v6).frame()),
			one(uplink, tunnel(6001, "192.168.2.50", paHere, between(vmBlue6, vmBlue1, macBlue1, v6).frame())))
	}
	swapAll := toGroup(swap.v4, "255.255.255.255")
	swapAll.from = swap.mac
	mix = append(mix, one(red1, datagram{from: swap.mac, to: swap.mac, src: swap.v4, dst: "10.7.0.12"}.frame()), one(red1, swapAll.frame()))
	return r, func() { r.lap(mix) }
}

// brim is a port whose frames begin where their buffers do.
type brim struct{ port.Port }

func (p brim) Rx(queue int, pkts []*mbuf.Mbuf) int {
	n := p.Port.Rx(queue, pkts)
	for _, m := range pkts[:n] {
		room := m.Headroom()
		frame := m.Data()
		copy(m.Prepend(room), frame)
		m.Trim(room)
	}
	return n
}

// cramped is a host whose VMs' frames have no room in front of them, and whose PAs are
// in a VLAN.
func cramped(t testing.TB) (*rig, func()) {
	set := rewritePolicy(1)
	for i := range set.ProviderAddresses {
		set.ProviderAddresses[i].VLAN = 5
	}
	r := newRig(t, set, nvgre.Config{})
	ports := r.w.Plug.Load().Ports
	ports[blue1], ports[gate] = brim{ports[blue1]}, brim{ports[gate]}
	var mix []input
	for _, v6 := range []bool{false, true} {
		mix = append(mix, one(blue1, between(vmBlue1, vmBlue2, vmBlue2.mac, v6).frame()), one(gate, between(vmGate, vmGate2, vmGate2.mac, v6).frame()))
	}
	r.lap(mix)
	if d := r.drops(); d["headroom"] != uint64(len(mix)) {
		t.Errorf("drops %v", d)
	}
	return r, func() { r.lap(mix) }
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
func fabricFlows(b testing.TB) [][]byte {
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

func (p *loop) Offloads() port.Offloads { return port.Offloads{} }

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

// loaded are buffers with frames in them.
func loaded(frames [][]byte) []*mbuf.Mbuf {
	pkts := make([]*mbuf.Mbuf, len(frames))
	mbuf.NewHeap(len(frames), mbuf.DefaultDataRoom).Alloc(pkts)
	for i, f := range frames {
		pkts[i].SetData(f)
	}
	return pkts
}

func benchmarkBare(b *testing.B, in, out, grown int, frames [][]byte) {
	r := newRig(b, testPolicy(), nvgre.Config{})
	l := &loop{pkts: loaded(frames), grown: grown}
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
