package modes_test

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strings"
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
	"paca/modes/nvgre"
)

// The picture of these tests: the host with PA 192.168.1.10 (and VLAN 103's
// 192.168.3.10, and 2001:db8:1::10) has Blue's 10.1.1.11 and 10.1.1.13 and Red's
// 10.1.1.11. Blue's and Red's 10.1.1.12 live behind 192.168.2.20. The ports behind
// red1 are those of wholePolicy.
const (
	uplink = iota
	blue1
	blue3
	red1
	blue5
	gate
	fresh
	kernel
	nports
)

var (
	macBlue1  = packet.MAC{0x10, 0x10, 0x10, 0x10, 0x11, 0x05}
	macBlue2  = packet.MAC{0x10, 0x10, 0x10, 0x10, 0x11, 0x07}
	macBlue3  = packet.MAC{0x10, 0x10, 0x10, 0x10, 0x11, 0x09}
	macRed1   = packet.MAC{0x10, 0x10, 0x10, 0x10, 0x12, 0x05}
	macRed2   = packet.MAC{0x10, 0x10, 0x10, 0x10, 0x12, 0x07}
	macUplink = packet.MAC{2, 0, 0, 0, 1, 0x0a}
	macRouter = packet.MAC{2, 0, 0, 0, 1, 1}
)

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func testPolicy() *policy.Set {
	blue, red := policy.RDID{1}, policy.RDID{2}
	return &policy.Set{
		VirtualSubnets: []policy.VirtualSubnet{
			{VSID: 6001, RDID: blue, Prefixes: []netip.Prefix{prefix("10.1.1.0/24"), prefix("fd00:1::/64")}},
			{VSID: 6002, RDID: blue, Prefixes: []netip.Prefix{prefix("10.1.2.0/24")}},
			{VSID: 5001, RDID: red, Prefixes: []netip.Prefix{prefix("10.1.1.0/24")}},
			{VSID: 7001, RDID: policy.RDID{3}, Prefixes: []netip.Prefix{prefix("10.7.0.0/24")}, Mode: policy.Rewrite},
		},
		LookupRecords: []policy.LookupRecord{
			{VSID: 6001, CA: addr("10.1.1.11"), MAC: macBlue1, PA: addr("192.168.1.10")},
			{VSID: 6001, CA: addr("10.1.1.12"), MAC: macBlue2, PA: addr("192.168.2.20")},
			{VSID: 6001, CA: addr("10.1.1.13"), MAC: macBlue3, PA: addr("192.168.1.10")},
			{VSID: 6001, CA: addr("10.1.1.14"), MAC: packet.MAC{2, 0, 0, 0, 9, 1}, PA: addr("192.168.1.10")}, // no port
			{VSID: 6001, CA: addr("10.1.1.15"), MAC: packet.MAC{2, 0, 0, 0, 9, 2}, PA: addr("172.16.0.1")},   // no route
			{VSID: 6001, CA: addr("10.1.1.16"), MAC: packet.MAC{2, 0, 0, 0, 9, 3}, PA: addr("2001:db8:2::20")},
			{VSID: 6001, CA: addr("10.1.1.17"), MAC: packet.MAC{2, 0, 0, 0, 9, 4}, PA: addr("192.168.1.77")}, // silent
			{VSID: 6001, CA: addr("10.1.1.18"), MAC: packet.MAC{2, 0, 0, 0, 9, 5}, PA: addr("192.168.1.78")}, // failed
			{VSID: 6001, CA: addr("10.1.1.19"), MAC: macBlue1, PA: addr("192.168.9.9")},                      // not ours
			{VSID: 6001, CA: addr("fd00:1::11"), MAC: macBlue1, PA: addr("192.168.1.10")},
			{VSID: 6001, CA: addr("fd00:1::12"), MAC: macBlue2, PA: addr("192.168.2.20")},
			{VSID: 6002, CA: addr("10.1.2.12"), MAC: macBlue2, PA: addr("192.168.2.20")},
			{VSID: 5001, CA: addr("10.1.1.11"), MAC: macRed1, PA: addr("192.168.1.10")},
			{VSID: 5001, CA: addr("10.1.1.12"), MAC: macRed2, PA: addr("192.168.2.20")},
		},
		ProviderAddresses: []policy.ProviderAddress{{Prefix: prefix("192.168.1.10/24"), Port: "uplink"}},
		ProviderRoutes:    []policy.ProviderRoute{{Port: "uplink", Prefix: prefix("192.168.0.0/16"), NextHop: addr("192.168.1.1")}},
		Ports: []policy.Port{
			{Name: "uplink", Role: policy.Uplink, MAC: macUplink, MTU: 1500},
			{Name: "blue1", Role: policy.VM, VSID: 6001, MAC: macBlue1, MTU: 1500},
			{Name: "blue3", Role: policy.VM, VSID: 6001, MAC: macBlue3, MTU: 1500},
			{Name: "red1", Role: policy.VM, VSID: 5001, MAC: macRed1, MTU: 1500},
		},
	}
}

// resolved knows every next hop but two.
func resolved(_, _ uint16, a netip.Addr) (packet.MAC, fib.AdjState) {
	switch a {
	case addr("192.168.1.77"):
		return packet.MAC{}, fib.AdjUnresolved
	case addr("192.168.1.78"):
		return packet.MAC{}, fib.AdjFailed
	}
	return macRouter, fib.AdjReady
}

// rig is one worker with memports.
type rig struct {
	t        testing.TB
	w        *worker.Worker
	fib      atomic.Pointer[fib.FIB]
	pool     *mbuf.Heap
	ports    [nports]*memport.Port
	now      time.Duration // of the worker's rate limits
	woken    int
	kinds    [8]int        // frames that the control plane was told, by kind (lap)
	injected int           // frames by the control plane, which nobody received
	before   *count.Worker // counters as the last trip began

	inputs   []input // of laps, if it shall remember them
	remember bool
}

const poolSize = 1024

func newRig(t testing.TB, set *policy.Set, c nvgre.Config, options ...func(*worker.Config)) *rig {
	t.Helper()
	return newRigOf(t, mbuf.DefaultDataRoom, set, c, options...)
}

// newRigOf is newRig with buffers of another size.
func newRigOf(t testing.TB, dataRoom int, set *policy.Set, c nvgre.Config, options ...func(*worker.Config)) *rig {
	t.Helper()
	r := &rig{t: t, pool: mbuf.NewHeap(poolSize, dataRoom)}
	r.fib.Store(fibtest.Compile(t, set, resolved))
	var ports []port.Port
	var poll []worker.Queue
	for i := range r.ports {
		p, err := memport.New(memport.Config{Pool: r.pool, MTU: 2000})
		if err != nil {
			t.Fatal(err)
		}
		r.ports[i] = p
		ports = append(ports, p)
		poll = append(poll, worker.Queue{Port: uint16(i)})
	}
	config := worker.Config{
		FIB: &r.fib, Modes: modes.New(modes.Config{NVGRE: c}), MaxPorts: nports, Pool: r.pool,
		Wake: func() { r.woken++ }, Now: func() time.Duration { return r.now },
	}
	for _, o := range options {
		o(&config)
	}
	r.w = worker.New(config)
	r.w.Plug.Store(&worker.Plug{Ports: ports, Poll: poll})
	return r
}

// trip injects frames into a port and returns what came out, by port.
func (r *rig) trip(in int, frames ...[]byte) (out [nports][][]byte) {
	r.t.Helper()
	r.before = r.w.Count.Snapshot()
	if n := r.ports[in].Inject(0, frames...); n != len(frames) {
		r.t.Fatalf("%d of %d frames injected", n, len(frames))
	}
	r.w.PollOnce()
	for i, p := range r.ports {
		out[i] = p.Drain(0)
	}
	return out
}

// only fails unless frames came out of one port alone, and returns them.
func (r *rig) only(out [nports][][]byte, want int) [][]byte {
	r.t.Helper()
	for i := range out {
		if i != want && len(out[i]) > 0 {
			r.t.Fatalf("port %d sent %x", i, out[i][0])
		}
	}
	if len(out[want]) == 0 {
		r.t.Fatalf("nothing sent by port %d; drops: %v", want, r.drops())
	}
	return out[want]
}

// drops lists all drops by name.
func (r *rig) drops() map[string]uint64 {
	m := map[string]uint64{}
	for _, p := range r.w.Count.Snapshot().Ports {
		for reason, n := range p.Drops {
			if n > 0 {
				m[count.Reason(reason).Name()] += n
			}
		}
	}
	return m
}

// balance fails unless every packet received, or made of one, ended in a port, in a
// named drop, with the control plane or on hold, and every buffer is where it belongs.
func (r *rig) balance(held int) {
	r.t.Helper()
	var rx, ends uint64
	for _, p := range r.w.Count.Snapshot().Ports {
		rx += p.RxPackets + p.Events[count.Replicated] + p.Events[count.Fragments] + p.Events[count.Segments]
		ends += p.TxPackets + p.Control + p.Events[count.Coalesced]
		for _, n := range p.Drops {
			ends += n
		}
	}
	if rx += uint64(r.injected); rx != ends+uint64(held) {
		r.t.Errorf("%d packets received or made, %d accounted for, %d held", rx, ends, held)
	}
	if n := r.pool.Available(); n != poolSize-held {
		r.t.Errorf("%d buffers in the pool, want %d", n, poolSize-held)
	}
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		panic(err)
	}
	return b
}

// The vectors of spec section W: inner frame and what must be on the wire.
const (
	inner1  = "101010101107 101010101105 0800 45000020123400004001 5291 0a01010b 0a01010c 0800598e00010001484e5621"
	vector1 = `02000000010102000000010a08004500004a00014000802f7615c0a8010ac0a8
		0214200065580017710010101010110710101010110508004500002012340000
		400152910a01010b0a01010c0800598e00010001484e5621`
	vector2 = `02000000010102000000010a8100006708004500004a00024000802f7614c0a8
		010ac0a80214200065580017715a101010101107101010101105080045000020
		12340000400152910a01010b0a01010c0800598e00010001484e5621`
	vector3 = `02000000010102000000010a86dd6000000000362f8020010db8000100000000
		00000000001020010db800020000000000000000002020006558fffffe001010
		1010110710101010110508004500002012340000400152910a01010b0a01010c
		0800598e00010001484e5621`
)

// V1: W1-W4, W10, W12-W14, byte for byte, but for the identification, which
// starts at 0 and is checked to grow by one.
func TestW1_W2_W3_W6_W10_W12_W13_W14Vector1(t *testing.T) {
	r := newRig(t, testPolicy(), nvgre.Config{ZeroFlowID: true})
	r.trip(blue1, unhex(inner1)) // spends identification 0
	got := r.only(r.trip(blue1, unhex(inner1)), uplink)[0]
	if want := unhex(vector1); string(got) != string(want) {
		t.Errorf("\n got %x\nwant %x", got, want)
	}
	r.balance(0)
}

// V2: W11 (VLAN of the PA), FlowID in its place (W3).
func TestW3_W11Vector2(t *testing.T) {
	set := testPolicy()
	set.ProviderAddresses[0].VLAN = 103
	r := newRig(t, set, nvgre.Config{})
	r.trip(blue1, unhex(inner1))
	r.trip(blue1, unhex(inner1))
	got := r.only(r.trip(blue1, unhex(inner1)), uplink)[0]
	want := unhex(vector2)
	want[18+27] = got[18+27] // the vector's FlowID is made up; ours is a hash
	if string(got) != string(want) {
		t.Errorf("\n got %x\nwant %x", got, want)
	}
	r.balance(0)
}

// V3: IPv6 PA, highest VSID (W4, W9).
func TestW4_W9_W12Vector3(t *testing.T) {
	set := testPolicy()
	set.VirtualSubnets[0].VSID = policy.MaxVSID
	set.LookupRecords = []policy.LookupRecord{
		{VSID: policy.MaxVSID, CA: addr("10.1.1.11"), MAC: macBlue1, PA: addr("2001:db8:1::10")},
		{VSID: policy.MaxVSID, CA: addr("10.1.1.12"), MAC: macBlue2, PA: addr("2001:db8:2::20")},
	}
	set.ProviderAddresses = []policy.ProviderAddress{{Prefix: prefix("2001:db8:1::10/64"), Port: "uplink"}}
	set.ProviderRoutes = []policy.ProviderRoute{{Port: "uplink", Prefix: prefix("::/0"), NextHop: addr("2001:db8:1::1")}}
	set.Ports[blue1].VSID = policy.MaxVSID
	set.Ports[blue3].VSID = policy.MaxVSID
	r := newRig(t, set, nvgre.Config{ZeroFlowID: true})
	got := r.only(r.trip(blue1, unhex(inner1)), uplink)[0]
	if want := unhex(vector3); string(got) != string(want) {
		t.Errorf("\n got %x\nwant %x", got, want)
	}
	// And the way back: the mirrored packet arrives.
	back := append([]byte(nil), got...)
	copy(back[0:6], macUplink[:])
	copy(back[22:38], got[38:54])
	copy(back[38:54], got[22:38])
	swapInner(back[62:])
	r.only(r.trip(uplink, back), blue1)
	r.balance(0)
}

// swapInner turns an untagged IPv4 frame's addresses around.
func swapInner(f []byte) {
	var m [6]byte
	copy(m[:], f[:6])
	copy(f[:6], f[6:12])
	copy(f[6:12], m[:])
	var a [4]byte
	copy(a[:], f[26:30])
	copy(f[26:30], f[30:34])
	copy(f[30:34], a[:])
}

// fromFabric is a good tunnel packet to Blue's 10.1.1.11, V1 turned around.
func fromFabric() []byte {
	f := unhex(vector1)
	copy(f[0:6], macUplink[:])
	copy(f[6:12], macRouter[:])
	copy(f[26:30], []byte{192, 168, 2, 20})
	copy(f[30:34], []byte{192, 168, 1, 10})
	swapInner(f[42:])
	return f
}

// reseal mends the outer IPv4 checksum of an untagged frame.
func reseal(f []byte) []byte {
	f[24], f[25] = 0, 0
	binary.BigEndian.PutUint16(f[24:], packet.Checksum(f[14:34], 0))
	return f
}

func TestW21_W23FromFabricToVM(t *testing.T) {
	r := newRig(t, testPolicy(), nvgre.Config{})
	f := fromFabric()
	got := r.only(r.trip(uplink, append(f, 1, 2, 3)), blue1)[0] // W21: Ethernet padding is not the tenant's
	if want := f[42:]; string(got) != string(want) {
		t.Errorf("\n got %x\nwant %x", got, want)
	}
	f[34] |= 3 // reserved bits 6-12 are ignored (W23)
	f[35] |= 0xf8
	r.only(r.trip(uplink, f), blue1)
	r.balance(0)
}

// fatal is a frame that does not arrive, and why.
type fatal struct {
	rule   string
	in     int
	frame  []byte
	reason count.Reason
}

// tall is a tunnel packet whose inner IP packet is larger than the VM's port
// carries.
func tall() []byte {
	f := append(fromFabric(), make([]byte, 1501-32)...)
	binary.BigEndian.PutUint16(f[16:], uint16(len(f)-14))
	binary.BigEndian.PutUint16(f[42+16:], 1501)
	return reseal(f)
}

// fatals is one frame for every way not to arrive.
func fatals() []fatal {
	mod := func(f []byte, change func([]byte)) []byte { change(f); return f }
	inner := func(change func(f []byte)) []byte { return mod(unhex(inner1), change) }
	outer := func(change func(f []byte)) []byte { return reseal(mod(fromFabric(), change)) }
	to := func(last byte) []byte { return inner(func(f []byte) { f[33] = last }) }
	arp := func(op uint16, dst packet.MAC, sha packet.MAC, sender, target [4]byte) []byte {
		return packet.AppendARP(nil, &packet.ARPFrame{DstMAC: dst, SrcMAC: macBlue1,
			ARPFields: packet.ARPFields{Op: op, SenderMAC: sha, SenderIP: sender, TargetIP: target}})
	}
	ns := func(src, target string) []byte {
		t := addr(target).As16()
		return packet.AppendNS(nil, &packet.NSFrame{DstMAC: packet.GroupMAC(packet.SolicitedNode(t)), SrcMAC: macBlue1,
			Src: addr(src).As16(), Dst: packet.SolicitedNode(t), Target: t})
	}
	paARP := func(op uint16, sha packet.MAC, sender, target [4]byte) []byte {
		f := arp(op, packet.Broadcast, sha, sender, target)
		copy(f[6:], sha[:])
		return f
	}
	blue1CA := [4]byte{10, 1, 1, 11}
	big := make([]byte, 14+1459)
	copy(big, unhex(inner1))
	binary.BigEndian.PutUint16(big[16:], 1459)
	big[20], big[34] = 0x40, packet.ICMPv4Unreachable

	return []fatal{
		{"runt", blue1, unhex(inner1)[:13], count.Runt},
		{"version", blue1, inner(func(f []byte) { f[14] = 0x55 }), count.IPVersion},
		{"IHL", blue1, inner(func(f []byte) { f[14] = 0x44 }), count.IPHeader},
		{"length", blue1, inner(func(f []byte) { f[16] = 0xff }), count.IPLength},
		{"tags", blue1, inner(func(f []byte) { copy(f[12:], unhex("8100 0001 8100 0001 8100 0001 0800")) }), count.VLANTags},
		{"L2", blue1, inner(func(f []byte) { f[11]++ }), count.SourceMAC},
		{"L3 unknown CA", blue1, inner(func(f []byte) { f[29] = 99 }), count.SourceCA},
		{"L3 another's CA", blue1, inner(func(f []byte) { f[29] = 13 }), count.SourceCA},
		{"L5", blue1, inner(func(f []byte) { f[12] = 0x88; f[13] = 0xcc }), count.NotIP},
		{"P13", blue1, inner(func(f []byte) { f[29] = 19 }), count.PASource},
		{"L9", blue1, to(99), count.LookupFailed},
		{"L14 about an error", blue1, inner(func(f []byte) { copy(f[30:], []byte{10, 1, 2, 12}); f[22], f[34] = 1, 3 }), count.TTLExceeded},
		{"L11", blue1, to(1), count.RouterCA},
		{"L15 no port", blue1, to(14), count.NoLocalPort},
		{"L16 no route", blue1, to(15), count.ProviderRoute},
		{"W14 family", blue1, to(16), count.PAFamily},
		{"L16 failed", blue1, to(18), count.NeighborFailed},
		{"M9 about an error", blue1, big, count.MTUExceeded},
		{"M5 behind a short packet", blue1, append(unhex(inner1), make([]byte, 1459)...), count.MTUExceeded},
		{"A23 broadcast", blue1, inner(func(f []byte) { copy(f[30:], []byte{255, 255, 255, 255}) }), count.Broadcast},
		{"L3 broadcast", blue1, inner(func(f []byte) { copy(f, packet.Broadcast[:]); f[29], f[33] = 99, 255 }), count.SourceCA},
		{"A23 DHCP", blue1, inner(func(f []byte) { copy(f[26:], make([]byte, 4)); copy(f[30:], []byte{255, 255, 255, 255}) }), count.Broadcast},
		{"A23 multicast", blue1, inner(func(f []byte) { f[30] = 224 }), count.Multicast},
		{"A5", blue1, arp(1, packet.Broadcast, macBlue1, blue1CA, [4]byte{10, 1, 1, 99}), count.ARPUnknown},
		{"A6", blue1, arp(1, packet.Broadcast, macBlue1, blue1CA, [4]byte{10, 1, 2, 12}), count.ARPUnknown},
		{"A7 announcement", blue1, arp(1, packet.Broadcast, macBlue1, blue1CA, blue1CA), count.ARPSelf},
		{"A7 probe", blue1, arp(1, packet.Broadcast, macBlue1, [4]byte{}, blue1CA), count.ARPSelf},
		{"L2 in ARP", blue1, arp(1, packet.Broadcast, macBlue2, blue1CA, [4]byte{10, 1, 1, 12}), count.SourceMAC},
		{"L3 in ARP", blue1, arp(1, packet.Broadcast, macBlue1, [4]byte{10, 1, 1, 12}, [4]byte{10, 1, 1, 13}), count.SourceCA},
		{"ARP operation", blue1, arp(3, packet.Broadcast, macBlue1, blue1CA, blue1CA), count.ARPMalformed},
		{"A10 hop limit", blue1, mod(ns("fd00:1::11", "fd00:1::12"), func(f []byte) { f[21] = 254 }), count.NDInvalid},
		{"A10 checksum", blue1, mod(ns("fd00:1::11", "fd00:1::12"), func(f []byte) { f[56]++ }), count.NDInvalid},
		{"A5 ND", blue1, ns("fd00:1::11", "fd00:1::99"), count.NDUnknown},
		{"A7 ND", blue1, ns("fd00:1::11", "fd00:1::11"), count.NDSelf},
		{"A7 DAD", blue1, ns("::", "fd00:1::11"), count.NDSelf},
		{"L3 in ND", blue1, ns("fd00:1::12", "fd00:1::11"), count.SourceCA},

		{"W20 other PA", uplink, outer(func(f []byte) { f[33] = 11 }), count.OuterOther},
		{"W20 protocol", uplink, outer(func(f []byte) { f[23] = 17 }), count.OuterOther},
		{"W20 VLAN", uplink, append(fromFabric()[:12:12], append(unhex("8100 0067"), fromFabric()[12:]...)...), count.OuterVLAN},
		{"W21 checksum", uplink, mod(fromFabric(), func(f []byte) { f[24]++ }), count.OuterChecksum},
		{"W21 IHL", uplink, outer(func(f []byte) { f[14] = 0x44 }), count.IPHeader},
		{"W21 length", uplink, outer(func(f []byte) { f[16] = 1 }), count.IPLength},
		{"W21 truncated", uplink, fromFabric()[:30], count.Runt},
		{"W22 first", uplink, outer(func(f []byte) { f[20] = 0x20 }), count.OuterFragment},
		{"W22 later", uplink, outer(func(f []byte) { f[21] = 0x10 }), count.OuterFragment},
		{"W23 version", uplink, outer(func(f []byte) { f[35] = 1 }), count.GREVersion},
		{"W23 bit 1", uplink, outer(func(f []byte) { f[34] |= 0x40 }), count.GREReserved},
		{"W23 bit 4", uplink, outer(func(f []byte) { f[34] |= 0x08 }), count.GREReserved},
		{"W23 bit 5", uplink, outer(func(f []byte) { f[34] |= 0x04 }), count.GREReserved},
		{"W24 protocol", uplink, outer(func(f []byte) { f[36] = 8; f[37] = 0 }), count.GREOther},
		{"W24 no key", uplink, outer(func(f []byte) { f[34] = 0 }), count.GREOther},
		{"W25 C", uplink, outer(func(f []byte) { f[34] |= 0x80 }), count.GREOptions},
		{"W25 S", uplink, outer(func(f []byte) { f[34] |= 0x10 }), count.GREOptions},
		{"W26 4095", uplink, outer(func(f []byte) { copy(f[38:], []byte{0, 0x0f, 0xff}) }), count.VSIDReserved},
		{"W26 0xFFFFFF", uplink, outer(func(f []byte) { copy(f[38:], []byte{0xff, 0xff, 0xff}) }), count.VSIDReserved},
		{"W28 runt", uplink, outer(func(f []byte) { f[16], f[17] = 0, 20+8+13 }), count.InnerRunt},
		{"W28 tag", uplink, outer(func(f []byte) { f[54] = 0x81 }), count.InnerTagged},
		{"W28 0x88A8", uplink, outer(func(f []byte) { f[54], f[55] = 0x88, 0xa8 }), count.InnerTagged},
		{"W28 0x9100", uplink, outer(func(f []byte) { f[54] = 0x91 }), count.InnerTagged},
		{"W29", uplink, outer(func(f []byte) { f[54] = 0x88; f[55] = 0xcc }), count.InnerNotIP},
		{"W30 inner lies", uplink, outer(func(f []byte) { f[58] = 0xff }), count.InnerMalformed},
		{"M5 towards the VM", uplink, tall(), count.MTUExceeded},
		{"L25 nobody here", uplink, outer(func(f []byte) { copy(f[42:], packet.Broadcast[:]); f[40] = 0x72 }), count.InnerBroadcast},
		{"L22 broadcast", uplink, outer(func(f []byte) { copy(f[42:], packet.Broadcast[:]); f[29] = 21 }), count.InnerSpoofed},
		{"L22 broadcast of nobody", uplink, outer(func(f []byte) { copy(f[42:], packet.Broadcast[:]); f[29], f[71] = 21, 99 }), count.InnerSpoofed},
		{"L21 VSID", uplink, outer(func(f []byte) { f[40] = 0x73 }), count.VSIDUnknown},
		{"L21 other subnet of the domain", uplink, outer(func(f []byte) { f[40] = 0x72 }), count.InnerUnknown},
		{"L21 CA", uplink, outer(func(f []byte) { f[75] = 99 }), count.InnerUnknown},
		{"L21 remote CA", uplink, outer(func(f []byte) { f[75] = 12 }), count.InnerUnknown},
		{"L21 MAC", uplink, outer(func(f []byte) { f[47]++ }), count.InnerMAC},
		{"L15 no port, in", uplink, outer(func(f []byte) { f[75] = 14; copy(f[42:], []byte{2, 0, 0, 0, 9, 1}) }), count.NoLocalPort},
		{"L22 CA", uplink, outer(func(f []byte) { f[71] = 99 }), count.InnerSpoofed},
		{"L22 PA", uplink, outer(func(f []byte) { f[29] = 21 }), count.InnerSpoofed},
		{"L22 local CA", uplink, outer(func(f []byte) { f[71] = 13; copy(f[26:30], []byte{192, 168, 1, 10}) }), count.InnerSpoofed},
		{"W16 CE", uplink, outer(func(f []byte) { f[15] = 3 }), count.OuterECN},
		{"PA ARP foreign", uplink, paARP(1, macRouter, [4]byte{192, 168, 1, 1}, [4]byte{192, 168, 1, 99}), count.PAForeign},
		{"PA ARP our own", uplink, paARP(1, macUplink, [4]byte{192, 168, 1, 10}, [4]byte{192, 168, 1, 10}), count.PAForeign},
		{"P14", uplink, paARP(2, macRouter, [4]byte{192, 168, 1, 10}, [4]byte{192, 168, 1, 10}), count.PADuplicate},
	}
}
