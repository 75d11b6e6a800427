package modes_test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"paca/dataplane/count"
	"paca/dataplane/fib"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
	"paca/dataplane/port"
	"paca/dataplane/port/memport"
	"paca/dataplane/worker"
	"paca/modes/nvgre"
)

// L15, L12: two VMs of one host and VSID, nothing on the wire.
func TestL12_L15LocalDelivery(t *testing.T) {
	r := newRig(t, testPolicy(), nvgre.Config{})
	f := unhex(inner1)
	f[33] = 13
	got := r.only(r.trip(blue1, f), blue3)[0]
	if packet.Ethernet(got).Dst() != macBlue3 {
		t.Errorf("destination MAC %v, want the record's %v", packet.Ethernet(got).Dst(), macBlue3)
	}
	r.balance(0)
}

// L30: equal CAs in two tenants; the VSID comes from the port alone.
func TestL17_L23_L30TenantsApart(t *testing.T) {
	r := newRig(t, testPolicy(), nvgre.Config{})
	red := unhex(inner1)
	copy(red[6:], macRed1[:])
	got := r.only(r.trip(red1, red), uplink)[0]
	if vsid := binary.BigEndian.Uint32(got[38:]) >> 8; vsid != 5001 {
		t.Errorf("Red's packet has VSID %d", vsid)
	}
	if packet.Ethernet(got[42:]).Dst() != macRed2 {
		t.Errorf("inner destination MAC %v is not Red's", packet.Ethernet(got[42:]).Dst())
	}
	back := fromFabric() // Blue's VSID and MAC: never to Red
	r.only(r.trip(uplink, back), blue1)
	r.balance(0)
}

// W7: the sender takes tags off, one or two, of any kind.
func TestW7TagsStripped(t *testing.T) {
	for _, tags := range []string{"8100 0005", "88a8 0005 8100 0006", "9100 0001"} {
		r := newRig(t, testPolicy(), nvgre.Config{ZeroFlowID: true})
		plain := r.only(r.trip(blue1, unhex(inner1)), uplink)[0]
		f := unhex(inner1)
		tagged := append(append(append([]byte(nil), f[:12]...), unhex(tags)...), f[12:]...)
		got := r.only(r.trip(blue1, tagged), uplink)[0]
		if string(got[42:]) != string(plain[42:]) || len(got) != len(plain) {
			t.Errorf("tags %s: inner frame %x, want %x", tags, got[42:], plain[42:])
		}
		r.balance(0)
	}
}

// A1, A2: the proxy answers with the remote VM's own MAC. A3: the router's.
func TestL4_A1_A2_A3ARPAnswered(t *testing.T) {
	r := newRig(t, testPolicy(), nvgre.Config{})
	for _, c := range []struct {
		last byte
		mac  packet.MAC
	}{{12, macBlue2}, {13, macBlue3}, {1, fib.DefaultRouterMAC}} {
		f := packet.AppendARP(nil, &packet.ARPFrame{DstMAC: packet.Broadcast, SrcMAC: macBlue1,
			ARPFields: packet.ARPFields{Op: packet.ARPOpRequest, SenderMAC: macBlue1, SenderIP: [4]byte{10, 1, 1, 11}, TargetIP: [4]byte{10, 1, 1, c.last}}})
		got := r.only(r.trip(blue1, f), blue1)[0]
		arp := packet.ARP(got[14:])
		if arp.Op() != packet.ARPOpReply || arp.SenderMAC() != c.mac || packet.Ethernet(got).Dst() != macBlue1 {
			t.Errorf("answer for .%d: %x", c.last, got)
		}
	}
	r.balance(0)
}

// A8: a unicast request goes to the owner of the address, and his answer back.
func TestA8UnicastARPCarried(t *testing.T) {
	r := newRig(t, testPolicy(), nvgre.Config{})
	ask := packet.AppendARP(nil, &packet.ARPFrame{DstMAC: macBlue2, SrcMAC: macBlue1,
		ARPFields: packet.ARPFields{Op: packet.ARPOpRequest, SenderMAC: macBlue1, SenderIP: [4]byte{10, 1, 1, 11}, TargetMAC: macBlue2, TargetIP: [4]byte{10, 1, 1, 12}}})
	got := r.only(r.trip(blue1, ask), uplink)[0]
	if string(got[42:]) != string(ask) {
		t.Errorf("carried %x, want %x", got[42:], ask)
	}
	answer := packet.AppendARP(nil, &packet.ARPFrame{DstMAC: macBlue1, SrcMAC: macBlue2,
		ARPFields: packet.ARPFields{Op: packet.ARPOpReply, SenderMAC: macBlue2, SenderIP: [4]byte{10, 1, 1, 12}, TargetMAC: macBlue1, TargetIP: [4]byte{10, 1, 1, 11}}})
	f := append(append([]byte(nil), fromFabric()[:42]...), answer...)
	binary.BigEndian.PutUint16(f[16:], uint16(28+len(answer)))
	got = r.only(r.trip(uplink, reseal(f)), blue1)[0]
	if string(got) != string(answer) {
		t.Errorf("delivered %x, want %x", got, answer)
	}
	r.balance(0)
}

// A9: the proxy's advertisement, also to duplicate address detection.
func TestA9Advertisement(t *testing.T) {
	r := newRig(t, testPolicy(), nvgre.Config{})
	target := addr("fd00:1::12").As16()
	for _, src := range []string{"fd00:1::11", "fe80::1", "::"} {
		f := packet.AppendNS(nil, &packet.NSFrame{DstMAC: packet.GroupMAC(packet.SolicitedNode(target)), SrcMAC: macBlue1,
			Src: addr(src).As16(), Dst: packet.SolicitedNode(target), Target: target})
		got := r.only(r.trip(blue1, f), blue1)[0]
		var l packet.Layout
		if fault := packet.Parse(got, &l); fault != packet.OK {
			t.Fatal(fault)
		}
		tgt, mac, hasLL, flags, ok := packet.ParseNA(got, &l)
		want := packet.NDSolicited | packet.NDOverride
		if src == "::" {
			want = packet.NDOverride
		}
		if !ok || tgt != target || mac != macBlue2 || !hasLL || flags != want {
			t.Errorf("from %s: target %x mac %v flags %x ok %v", src, tgt, mac, flags, ok)
		}
	}
	r.balance(0)
}

// A13: the PA is answered for, in its VLAN, and the asker is learned from.
func TestA13ProviderARP(t *testing.T) {
	set := testPolicy()
	set.ProviderAddresses[0].VLAN = 103
	r := newRig(t, set, nvgre.Config{})
	f := packet.AppendARP(nil, &packet.ARPFrame{DstMAC: packet.Broadcast, SrcMAC: macRouter, VLAN: 103,
		ARPFields: packet.ARPFields{Op: packet.ARPOpRequest, SenderMAC: macRouter, SenderIP: [4]byte{192, 168, 1, 1}, TargetIP: [4]byte{192, 168, 1, 10}}})
	got := r.only(r.trip(uplink, f), uplink)[0]
	if packet.ARP(got[18:]).SenderMAC() != macUplink || binary.BigEndian.Uint16(got[14:]) != 103 {
		t.Errorf("answer %x", got)
	}
	if c := r.w.Punt.Peek(); c == nil || string(c.Bytes()) != string(f) || r.woken != 1 {
		t.Error("the control plane did not get the request as it was")
	}
	r.balance(0)
}

// L16: packets wait for a next hop, a few of them, and go out in order.
func TestL16HeldUntilResolved(t *testing.T) {
	r := newRig(t, testPolicy(), nvgre.Config{ZeroFlowID: true})
	var burst [][]byte
	for i := range 10 {
		f := unhex(inner1)
		f[33] = 17
		f[19] = byte(i)
		burst = append(burst, f)
	}
	out := r.trip(blue1, burst...)
	if len(out[uplink]) != 0 || r.drops()["neighbor_queue"] != 2 {
		t.Fatalf("%d sent, drops %v", len(out[uplink]), r.drops())
	}
	r.balance(8)
	// News of other next hops: they wait on, and are counted once (E10b).
	r.fib.Store(r.fib.Load().WithNeighbors(func(p, v uint16, a netip.Addr) (packet.MAC, fib.AdjState) {
		if a == addr("192.168.1.78") {
			return macRouter, fib.AdjReady
		}
		return resolved(p, v, a)
	}))
	r.w.PollOnce()
	if e := r.events(); e["held"] != 8 {
		t.Errorf("events %v", e)
	}
	r.balance(8)
	r.fib.Store(r.fib.Load().WithNeighbors(func(p, v uint16, a netip.Addr) (packet.MAC, fib.AdjState) { return macRouter, fib.AdjReady }))
	r.w.PollOnce()
	got := r.ports[uplink].Drain(0)
	if len(got) != 8 {
		t.Fatalf("%d sent after resolution", len(got))
	}
	for i, f := range got {
		if f[42+19] != byte(i) {
			t.Errorf("packet %d is number %d", i, f[42+19])
		}
	}
	r.balance(0)
}

func TestL16HeldThenFailed(t *testing.T) {
	r := newRig(t, testPolicy(), nvgre.Config{})
	f := unhex(inner1)
	f[33] = 17
	r.trip(blue1, f)
	r.balance(1)
	r.fib.Store(r.fib.Load().WithNeighbors(func(p, v uint16, a netip.Addr) (packet.MAC, fib.AdjState) { return packet.MAC{}, fib.AdjFailed }))
	r.w.PollOnce()
	if r.drops()["neighbor_failed"] != 1 {
		t.Errorf("drops %v", r.drops())
	}
	r.balance(0)
}

// M5: 1458 bytes of IP pass, 1459 do not (see fatals).
func TestM5LargestPasses(t *testing.T) {
	r := newRig(t, testPolicy(), nvgre.Config{})
	f := make([]byte, 14+1458)
	copy(f, unhex(inner1))
	binary.BigEndian.PutUint16(f[16:], 1458)
	if got := r.only(r.trip(blue1, f), uplink)[0]; len(got) != 14+1500 {
		t.Errorf("frame of %d bytes", len(got))
	}
	r.balance(0)
}

// W5: one FlowID per flow, many over all; fragments by address only.
func TestW5FlowID(t *testing.T) {
	r := newRig(t, testPolicy(), nvgre.Config{})
	flowOf := func(f []byte) byte { return r.only(r.trip(blue1, f), uplink)[0][41] }
	udp := func(port uint16, fragment byte) []byte {
		f := append(unhex(inner1), make([]byte, 20)...)
		f[23] = 17
		binary.BigEndian.PutUint16(f[16:], 40)
		binary.BigEndian.PutUint16(f[34:], port)
		f[20] = fragment
		return f
	}
	seen := map[byte]bool{}
	for port := range uint16(200) {
		a := flowOf(udp(port, 0))
		if flowOf(udp(port, 0)) != a {
			t.Fatal("FlowID of one flow changes")
		}
		seen[a] = true
		if port > 0 && flowOf(udp(port, 0x20)) != flowOf(udp(port-1, 0x20)) {
			t.Fatal("FlowID of fragments depends on the payload")
		}
	}
	if len(seen) < 100 {
		t.Errorf("200 flows share %d FlowIDs", len(seen))
	}
	r.balance(0)
}

// W12: identification grows by one per packet. W16: DSCP and ECN go out, and a
// mark comes in.
func TestW12_W16IdentificationAndTOS(t *testing.T) {
	r := newRig(t, testPolicy(), nvgre.Config{})
	f := unhex(inner1)
	f[15] = 0xb8 | 2 // EF, ECT(0)
	for i := range uint16(70) {
		got := r.only(r.trip(blue1, f), uplink)[0]
		if id := packet.IPv4(got[14:]).ID(); id != i {
			t.Fatalf("packet %d has identification %d", i, id)
		}
		if got[15] != f[15] || !packet.VerifyIPv4(packet.IPv4(got[14:])) {
			t.Fatalf("outer header %x", got[14:34])
		}
	}
	in := fromFabric()
	in[15] = 3 // congestion experienced
	in[57] = 2 // ECT(0)
	binary.BigEndian.PutUint16(in[42+24:], 0)
	binary.BigEndian.PutUint16(in[42+24:], packet.Checksum(in[56:76], 0))
	got := r.only(r.trip(uplink, reseal(in)), blue1)[0]
	if got[15] != 3 || !packet.VerifyIPv4(packet.IPv4(got[14:])) {
		t.Errorf("inner header %x: not marked, or checksum wrong", got[14:34])
	}

	r.balance(0)

	r = newRig(t, testPolicy(), nvgre.Config{ZeroTOS: true})
	if got := r.only(r.trip(blue1, f), uplink)[0]; got[15] != 0 {
		t.Errorf("outer TOS %#x with ZeroTOS", got[15])
	}
	r.balance(0)
}

// A full port drops by name and keeps what fitted.
func TestTxFull(t *testing.T) {
	r := newRig(t, testPolicy(), nvgre.Config{})
	small, err := memport.New(memport.Config{Pool: r.pool, Depth: 4})
	if err != nil {
		t.Fatal(err)
	}
	r.w.Plug.Load().Ports[uplink] = small
	var burst [][]byte
	for range 10 {
		burst = append(burst, unhex(inner1))
	}
	r.trip(blue1, burst...)
	if n := len(small.Drain(0)); n != 4 || r.drops()["tx_full"] != 6 {
		t.Errorf("%d sent, drops %v", n, r.drops())
	}
	r.balance(0)
}

// A subnet whose mode this version does not carry, out and in.
func TestModeMissing(t *testing.T) {
	set := testPolicy()
	set.VirtualSubnets[0].Mode = policy.Rewrite
	set.LookupRecords = []policy.LookupRecord{
		{VSID: 6001, CA: addr("10.1.1.11"), MAC: macBlue1, PA: addr("192.168.1.10")},
		{VSID: 6001, CA: addr("10.1.1.12"), MAC: macBlue2, PA: addr("192.168.2.20")},
	}
	r := newRig(t, set, nvgre.Config{}, func(c *worker.Config) { c.Modes[policy.Rewrite] = nil })
	r.dropped(r.trip(blue1, unhex(inner1)), blue1, 1, count.ModeMissing)
	r.dropped(r.trip(uplink, routed(framed(macUplink, macRouter, unhex(rewritten[3].wire)))), uplink, 1, count.OuterOther) // for .2.20
	back := fromFabric()
	r.dropped(r.trip(uplink, back), uplink, 1, count.ModeMissing)
	r.balance(0)
}

// L1: a port without VSID is not virtualized.
func TestL1PortWithoutVSID(t *testing.T) {
	set := testPolicy()
	set.Ports[blue1].VSID = 0
	r := newRig(t, set, nvgre.Config{})
	r.trip(blue1, unhex(inner1))
	if r.drops()["port_no_vsid"] != 1 {
		t.Errorf("drops %v", r.drops())
	}
	r.balance(0)
}

// What the control plane injects is sent as it is.
func TestInject(t *testing.T) {
	r := newRig(t, testPolicy(), nvgre.Config{})
	f := packet.AppendARP(nil, &packet.ARPFrame{DstMAC: packet.Broadcast, SrcMAC: macUplink})
	if !r.w.Inject.Push(uplink, worker.Neighbor, f) {
		t.Fatal("ring full")
	}
	r.injected++
	out := r.trip(blue1)
	if got := r.only(out, uplink)[0]; string(got) != string(f) {
		t.Errorf("sent %x", got)
	}
	// A frame that no buffer is large enough for is dropped by name.
	r.w.Inject.PushPadded(uplink, worker.Neighbor, f, 4000)
	r.injected++
	r.dropped(r.trip(blue1), uplink, 1, count.NoBuffer)
	r.balance(0)
}

// A port that is plugged out, before policy or after it: what is for it, and
// what still comes from it, is dropped by name.
func TestPluggedOut(t *testing.T) {
	r := newRig(t, testPolicy(), nvgre.Config{})
	plug := *r.w.Plug.Load()
	plug.Ports = append([]port.Port(nil), plug.Ports...)
	plug.Ports[blue3] = nil
	plug.Poll = plug.Poll[:blue3]
	r.w.Plug.Store(&plug)
	f := unhex(inner1)
	f[33] = 13
	r.trip(blue1, f)
	if r.drops()["port_down"] != 1 {
		t.Errorf("drops %v", r.drops())
	}
	r.balance(0)
}

// A packet that waits for a next hop does not outlive its port: the index may be
// another tenant's the next time.
func TestHeldPacketGoesWithItsPort(t *testing.T) {
	r := newRig(t, testPolicy(), nvgre.Config{})
	f := unhex(inner1)
	f[33] = 17
	r.trip(blue1, f)
	r.balance(1)
	plug := *r.w.Plug.Load()
	plug.Ports = append([]port.Port(nil), plug.Ports...)
	plug.Ports[blue1] = nil
	plug.Poll = nil
	r.w.Plug.Store(&plug)
	r.w.PollOnce()
	if r.drops()["port_down"] != 1 {
		t.Errorf("drops %v", r.drops())
	}
	r.balance(0)
}
