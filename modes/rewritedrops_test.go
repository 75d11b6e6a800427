package modes_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"paca/dataplane/count"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
	"paca/dataplane/worker"
	"paca/modes/nvgre"
)

// unrewritable is the host of the drops: with customer routes to gateways in rewrite
// subnets, VMs whose CAs no record tells, and no port for its kernel.
func unrewritable() *policy.Set {
	set := rewritePolicy(1)
	set.Ports[kernel] = policy.Port{Name: "spare", Role: policy.VM}
	set.CustomerRoutes = []policy.CustomerRoute{
		{RDID: blue, VSID: 6001, Prefix: prefix("0.0.0.0/0"), NextHop: addr(vmBlue2.v4)},
		{RDID: blue, VSID: 6001, Prefix: prefix("::/0"), NextHop: addr(vmBlue2.v6)},
	}
	for _, v6 := range []bool{false, true} {
		set.LookupRecords = append(set.LookupRecords, policy.LookupRecord{VSID: 7001, CA: map[bool]netip.Addr{false: netip.IPv4Unspecified(), true: netip.IPv6Unspecified()}[v6],
			MAC: vmFresh.mac, PA: addr(pas{"192.168.2.88", "2001:db8:2::88"}.pa(v6)), Type: policy.L2Only})
	}
	return set
}

// raw is an IP packet of any protocol from one address to another, perhaps a fragment:
// offset in bytes, with more to come.
func raw(src, dst string, proto byte, offset int, more bool, body []byte) []byte {
	if addr(src).Is4() {
		h := make([]byte, 20)
		h[0], h[8], h[9] = 0x45, 64, proto
		binary.BigEndian.PutUint16(h[2:], uint16(20+len(body)))
		fragment := uint16(offset / 8)
		if more {
			fragment |= packet.IPv4MoreFragments
		}
		binary.BigEndian.PutUint16(h[6:], fragment)
		copy(h[12:], addr(src).AsSlice())
		copy(h[16:], addr(dst).AsSlice())
		binary.BigEndian.PutUint16(h[10:], sum(h))
		return append(h, body...)
	}
	h := make([]byte, 40)
	h[0], h[6], h[7] = 0x60, proto, 64
	copy(h[8:], addr(src).AsSlice())
	copy(h[24:], addr(dst).AsSlice())
	if offset != 0 || more {
		h[6] = packet.ProtoFragment
		f := make([]byte, 8)
		packet.IPv6Fragment(f).Encode(packet.IPv6FragmentFields{NextHeader: proto, Offset: offset, More: more})
		h = append(h, f...)
	}
	binary.BigEndian.PutUint16(h[4:], uint16(len(h)-40+len(body)))
	return append(h, body...)
}

// unrewritten is one frame for every way in which rewriting refuses one, of either
// family.
func unrewritten(v6 bool) (all []fatal) {
	ca := func(v vm) string { return v.ca(v6) }
	pa := func(p pas) string { return p.pa(v6) }
	out := func(rule string, to vm, ip []byte, reason count.Reason) {
		all = append(all, fatal{rule, blue1, framed(to.mac, macBlue1, ip), reason})
	}
	in := func(rule string, ip []byte, reason count.Reason) {
		all = append(all, fatal{rule, uplink, framed(macUplink, macRouter, ip), reason})
	}
	udp := make([]byte, 32)
	binary.BigEndian.PutUint16(udp[4:], 32)
	icmp := packet.ProtoICMP
	if v6 {
		icmp = packet.ProtoICMPv6
	}

	out("R4 to a VM of this host", vmGate, raw(ca(vmBlue1), ca(vmGate), 17, 0, false, udp), count.ModeMixed)
	out("R4 to a VM of another", vmGate2, raw(ca(vmBlue1), ca(vmGate2), 17, 0, false, udp), count.ModeMixed)
	all = append(all, fatal{"R4 from NVGRE", gate, framed(macBlue2, vmGate.mac, raw(ca(vmGate), ca(vmBlue2), 17, 0, false, udp)), count.ModeMixed})
	for _, proto := range []byte{packet.ProtoUDPLite, packet.ProtoDCCP} {
		out("R13 fragment", vmBlue2, raw(ca(vmBlue1), ca(vmBlue2), proto, 0, true, make([]byte, 0)), count.ShortFragment)
		out("R13 whole", vmBlue2, raw(ca(vmBlue1), ca(vmBlue2), proto, 0, false, make([]byte, 7)), count.ShortFragment)
		in("R13 in", raw(pa(paBlue2), pa(paBlue1), proto, 0, true, make([]byte, 0)), count.ShortFragment)
	}
	out("R13 TCP", vmBlue2, raw(ca(vmBlue1), ca(vmBlue2), 6, 0, true, make([]byte, 16)), count.Runt)
	in("R13 TCP in", raw(pa(paBlue2), pa(paBlue1), 6, 0, true, make([]byte, 16)), count.Runt)
	out("R25 by a route", vmBlue2, raw(ca(vmBlue1), ca(outside), 17, 0, false, udp), count.RewriteGateway)
	all = append(all, fatal{"R25 to a VM without a CA", green1, framed(vmFresh.mac, vmGreen1.mac, raw(ca(vmGreen1), ca(vmFresh), 17, 0, false, udp)), count.RewriteGateway})

	in("R5 from nobody", raw(pa(fabricRouter), pa(paBlue1), 17, 0, false, udp), count.RewriteSource)
	in("R5 from another tenant", raw(pa(paGreen2), pa(paBlue1), 17, 0, false, udp), count.RewriteSource)
	in("R5 from a VM of this host", raw(pa(paBlue3), pa(paBlue1), 17, 0, false, udp), count.RewriteSource)
	in("R5 from itself", raw(pa(paBlue1), pa(paBlue1), 17, 0, false, udp), count.RewriteSource)
	in("R5 later fragment of nobody's ICMP", raw(pa(fabricRouter), pa(paBlue1), icmp, 64, false, udp), count.RewriteSource)
	in("R5 NVGRE of nobody", raw(pa(fabricRouter), pa(paBlue1), 47, 0, false, unhex("2000655800177100 101010101105101010101107 0800")), count.RewriteSource)
	in("R5 another tenant's error", fault(addr(pa(paGreen2)), addr(pa(paBlue1)), 3, 1, 0, raw(pa(paBlue1), pa(paBlue2), 17, 0, false, udp)), count.RewriteSource)
	in("R5 no port", raw(pa(paBlue2), pa(paAway), 17, 0, false, udp), count.NoLocalPort)
	in("R18 no port", fault(addr(pa(fabricRouter)), addr(pa(paAway)), map[bool]byte{false: 3, true: 1}[v6], 1, 0, raw(pa(paAway), pa(paBlue2), 17, 0, false, udp)), count.NoLocalPort)
	in("R15 larger than the VM's port takes", raw(pa(paBlue2), pa(paBlue1), 17, 0, false, make([]byte, 1500)), count.MTUExceeded)
	in("R18 error in fragments", raw(pa(fabricRouter), pa(paBlue1), icmp, 0, true, append([]byte{3, 1, 0, 0, 0, 0, 0, 0}, raw(pa(paBlue1), pa(paBlue2), 17, 0, false, udp)...)), count.RewriteSource)

	if !v6 {
		arp := packet.AppendARP(nil, &packet.ARPFrame{DstMAC: macBlue2, SrcMAC: macBlue1,
			ARPFields: packet.ARPFields{Op: packet.ARPOpReply, SenderMAC: macBlue1, SenderIP: [4]byte{10, 1, 1, 11}, TargetMAC: macBlue2, TargetIP: [4]byte{10, 1, 1, 12}}})
		all = append(all, fatal{"R19 ARP", blue1, arp, count.RewriteARP})
		out("R20", vm{mac: packet.Broadcast}, raw(ca(vmBlue1), "10.1.1.255", 17, 0, false, udp), count.Broadcast)
		out("R20 multicast", vm{mac: packet.MAC{1, 0, 0x5e, 0, 0, 9}}, raw(ca(vmBlue1), "224.0.0.9", 17, 0, false, udp), count.Multicast)
		return all
	}
	out("R20 multicast", vm{mac: packet.MAC{0x33, 0x33, 0, 0, 0, 9}}, raw(ca(vmBlue1), "ff02::9", 17, 0, false, udp), count.Multicast)
	na := packet.AppendNA(nil, &packet.NAFrame{DstMAC: macBlue2, SrcMAC: macBlue1, Src: addr(vmBlue1.v6).As16(), Dst: addr(vmBlue2.v6).As16(),
		Target: addr(vmBlue1.v6).As16(), TargetMAC: macBlue1, Flags: packet.NDSolicited})
	all = append(all, fatal{"R19 neighbor advertisement", blue1, na, count.RewriteARP})
	d := between(vmBlue1, vmBlue2, macBlue2, true)
	d.ttl = 255
	for _, typ := range []uint8{133, 134, 137} {
		all = append(all, fatal{"R19 neighbor discovery", blue1, d.icmp6(typ, strings.Repeat("\x00", 40)), count.RewriteARP})
	}
	// And behind an extension header, where a filter might not look.
	hidden := append([]byte(nil), d.icmp6(134, strings.Repeat("\x00", 40))...)
	hidden = append(hidden[:54:54], append([]byte{packet.ProtoICMPv6, 0, 1, 4, 0, 0, 0, 0}, hidden[54:]...)...)
	hidden[20] = packet.ProtoDestination
	binary.BigEndian.PutUint16(hidden[18:], uint16(len(hidden)-54))
	return append(all, fatal{"R19 hidden advertisement", blue1, hidden, count.RewriteARP})
}

func TestR4ModesDoNotMix(t *testing.T)         { unrewritableDrops(t, "R4 ") }
func TestR5SourceOfAnotherDomain(t *testing.T) { unrewritableDrops(t, "R5 ") }
func TestR13ShortFragment(t *testing.T)        { unrewritableDrops(t, "R13 ") }
func TestR15LargerThanThePort(t *testing.T)    { unrewritableDrops(t, "R15 ") }
func TestR18ErrorsNotPassedOn(t *testing.T)    { unrewritableDrops(t, "R18 ") }
func TestR19NoARPOnTheWire(t *testing.T)       { unrewritableDrops(t, "R19 ") }
func TestR20NotCarried(t *testing.T)           { unrewritableDrops(t, "R20") }
func TestR25NoGateway(t *testing.T)            { unrewritableDrops(t, "R25 ") }

func unrewritableDrops(t *testing.T, rule string) {
	families(t, func(t *testing.T, v6 bool) {
		for _, c := range unrewritten(v6) {
			if strings.HasPrefix(c.rule, rule) {
				t.Run(strings.ReplaceAll(c.rule, " ", "_"), func(t *testing.T) {
					r := newRig(t, unrewritable(), nvgre.Config{})
					r.dropped(r.trip(c.in, c.frame), c.in, 1, c.reason)
					r.balance(0)
				})
			}
		}
	})
}

// Between two VMs of one host nothing is rewritten; ARP and neighbor discovery pass
// from one to the other (A8), and are answered for VMs elsewhere.
func TestA8_L15_R19WithinOneHost(t *testing.T) {
	one, _ := hosts(t)
	for _, v6 := range []bool{false, true} {
		f := between(vmBlue1, vmBlue3, macBlue3, v6).frame()
		if got := one.only(one.trip(blue1, f), blue3)[0]; !bytes.Equal(got, f) {
			t.Errorf("%x became %x", f, got)
		}
	}
	for _, to := range []vm{vmBlue2, vmBlue3} {
		ask := packet.AppendARP(nil, &packet.ARPFrame{DstMAC: to.mac, SrcMAC: macBlue1,
			ARPFields: packet.ARPFields{Op: packet.ARPOpRequest, SenderMAC: macBlue1, SenderIP: [4]byte{10, 1, 1, 11}, TargetMAC: to.mac, TargetIP: addr(to.v4).As4()}})
		target := addr(to.v6).As16()
		ns := packet.AppendNS(nil, &packet.NSFrame{DstMAC: to.mac, SrcMAC: macBlue1, Src: addr(vmBlue1.v6).As16(), Dst: target, Target: target})
		for _, f := range [][]byte{ask, ns} {
			if to == vmBlue3 {
				if got := one.only(one.trip(blue1, f), blue3)[0]; !bytes.Equal(got, f) {
					t.Errorf("%x became %x", f, got)
				}
				continue
			}
			got := one.only(one.trip(blue1, f), blue1)[0]
			if packet.Ethernet(got).Src() != to.mac || packet.Ethernet(got).Dst() != macBlue1 {
				t.Errorf("%x is answered by %x", f, got)
			}
		}
	}
	one.balance(0)
}

// The limit is the uplink's own MTU: nothing is added (R15).
func TestM1_R15LimitIsTheUplinks(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		one, _ := hosts(t)
		d := between(vmBlue1, vmBlue2, macBlue2, v6)
		d.df, d.size = true, 1500
		if got := read(t, one.only(one.trip(blue1, d.frame()), uplink)[0]); got.size != 1500 {
			t.Errorf("%d bytes on the wire", got.size)
		}
		d.size++
		one.tooBig(blue1, d.frame(), router1.mac, router1, 1500)
		one.balance(0)
	})
}

// Between virtual subnets the distributed router counts down and speaks for itself,
// and what leaves is right (L12, L14).
func TestL12_L14_R14RoutedAndRewritten(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		one, two := hosts(t)
		d := between(vmBlue1, vmBlue6, router1.mac, v6)
		wire := one.only(one.trip(blue1, d.frame()), uplink)[0]
		if r := read(t, wire); r.ttl != 63 || r.from != addr(paBlue1.pa(v6)) || r.to != addr(paBlue6.pa(v6)) {
			t.Errorf("on the wire: %+v", r)
		}
		d.from, d.to, d.ttl = macRouter2, vmBlue6.mac, 63
		if got := two.only(two.trip(uplink, routed(wire)), blue6)[0]; !bytes.Equal(got[14:], d.frame()[14:]) || packet.Ethernet(got).Src() != macRouter2 || packet.Ethernet(got).Dst() != vmBlue6.mac {
			t.Errorf("delivered %x, want %x", got, d.frame())
		}
		d = between(vmBlue1, vmBlue6, router1.mac, v6)
		d.ttl = 1
		typ := uint8(11)
		if v6 {
			typ = 3
		}
		checkError(t, one.only(one.trip(blue1, d.frame()), blue1)[0], d.frame(), router1.mac, router1.ca(v6), typ, 0, 0)
	})
}

// UDP over IPv6 without a checksum is carried as it is, and counted (R10).
func TestR10UDPWithoutChecksum(t *testing.T) {
	one, two := hosts(t)
	ip := raw(vmBlue1.v6, vmBlue2.v6, 17, 0, false, unhex("c000c001000c0000 01020304"))
	sent := framed(macBlue2, macBlue1, ip)
	wire := one.only(one.trip(blue1, sent), uplink)[0]
	if !bytes.Equal(wire[54:], sent[54:]) || one.events()["udp6_no_checksum"] != 1 {
		t.Errorf("on the wire %x; events %v", wire, one.events())
	}
	if got := two.only(two.trip(uplink, routed(wire)), blue2)[0]; !bytes.Equal(got, sent) {
		t.Errorf("%x became %x", sent, got)
	}
}

// A VM's GRE is a rewritten VM's, on the wire and off it, even if it looks like NVGRE.
func TestR5_R9TenantsGRE(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		one, two := hosts(t)
		inner := framed(vmRed2.mac, vmRed1.mac, raw(vmRed1.v4, vmRed2.v4, 1, 0, false, make([]byte, 16)))
		sent := framed(macBlue2, macBlue1, raw(vmBlue1.ca(v6), vmBlue2.ca(v6), 47, 0, false, append(unhex("2000655800138900"), inner...)))
		got := two.only(two.trip(uplink, routed(one.only(one.trip(blue1, sent), uplink)[0])), blue2)[0]
		if !bytes.Equal(got, sent) {
			t.Errorf("%x became %x", sent, got)
		}
	})
}

// rewriting is all that becomes of rewritten packets, and all that does not.
func rewriting(t testing.TB) (*rig, func()) {
	r := newRig(t, unrewritable(), nvgre.Config{})
	mix := rewrites()
	for _, v6 := range []bool{false, true} {
		for _, c := range unrewritten(v6) {
			mix = append(mix, one(c.in, c.frame))
		}
		d := datagram{from: macRouter, to: macUplink, src: fabricRouter.pa(v6), dst: paBlue1.pa(v6)}
		mix = append(mix, one(uplink, d.ping()), one(uplink, d.complaint()))
	}
	return r, func() { r.lap(mix) }
}

// bridging is rewriting by a router that counts no TTL down, beside the host's kernel.
func bridging(t testing.TB) (*rig, func()) {
	set := rewritePolicy(1)
	for i := range set.ProviderAddresses {
		set.ProviderAddresses[i].VLAN = 5
	}
	r := newRig(t, set, nvgre.Config{}, router(worker.Router{KeepTTL: true}))
	mix := rewrites()
	for i := range mix {
		if mix[i].in == uplink {
			mix[i].frames[0] = tagged(5, mix[i].frames[0])
		}
	}
	return r, func() { r.lap(mix) }
}

// rewrites are samples from a VM and to it, and errors of the fabric about them.
func rewrites() (mix []input) {
	for i := range uint64(200) {
		v6 := i%2 == 1
		sent, _ := samples(i, nil, addr(vmBlue1.ca(v6)), addr(vmBlue2.ca(v6)), true)
		back, _ := samples(i, nil, addr(paBlue6.pa(v6)), addr(paBlue1.pa(v6)), true)
		wire, _ := samples(i, nil, addr(paBlue1.pa(v6)), addr(paBlue2.pa(v6)), true)
		typ := byte(11)
		if v6 {
			typ = 3
		}
		told := fault(addr(fabricRouter.pa(v6)), addr(paBlue1.pa(v6)), typ, 0, 0, wire[0][:min(len(wire[0]), 500)])
		mix = append(mix, one(blue1, framed(macBlue2, macBlue1, sent[0])), one(uplink, framed(macUplink, macRouter, back[0])), one(uplink, framed(macUplink, macRouter, told)))
	}
	plain := raw(vmBlue1.v6, vmBlue2.v6, 17, 0, false, unhex("c000c001000c0000 01020304"))
	return append(mix, one(blue1, framed(macBlue2, macBlue1, plain)))
}

// Whatever comes from the fabric for a VM's PA: it ends somewhere, nothing that is
// delivered is longer than what came, or has other addresses than those of the VM it
// is delivered to and of one that it may hear from.
func FuzzRewriteIngress(f *testing.F) {
	for i := range uint64(64) {
		v6 := i%2 == 1
		wire, _ := samples(i, nil, addr(paBlue2.pa(v6)), addr(paBlue1.pa(v6)), true)
		f.Add(framed(macUplink, macRouter, wire[0]))
		sent, _ := samples(i, nil, addr(paBlue1.pa(v6)), addr(paBlue2.pa(v6)), true)
		f.Add(framed(macUplink, macRouter, fault(addr(fabricRouter.pa(v6)), addr(paBlue1.pa(v6)), 3, 1, 0, sent[0][:min(len(sent[0]), 100)])))
	}
	for _, v6 := range []bool{false, true} {
		for _, c := range unrewritten(v6) {
			f.Add(c.frame)
		}
	}
	one := newRig(f, rewritePolicy(1), nvgre.Config{})
	hears := map[netip.Addr]bool{}
	for _, v := range []vm{vmBlue2, vmBlue6, router1} {
		hears[addr(v.v4)], hears[addr(v.v6)] = true, true
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) > 1600 {
			return
		}
		one.t = t
		out := one.trip(uplink, frame)
		for one.w.Punt.Peek() != nil {
			one.w.Punt.Pop()
		}
		for _, got := range out[blue1] {
			var l packet.Layout
			if packet.Parse(got, &l) != packet.OK || l.L3 != 14 || int(l.End) != len(got) || len(got) > len(frame) || packet.Ethernet(got).Dst() != macBlue1 {
				t.Fatalf("delivered %x", got)
			}
			from, to := netip.Addr{}, netip.Addr{}
			if l.EtherType == packet.EtherTypeIPv4 {
				from, to = packet.IPv4(got[14:]).Src(), packet.IPv4(got[14:]).Dst()
			} else {
				from, to = packet.IPv6(got[14:]).SrcAddr(), packet.IPv6(got[14:]).DstAddr()
			}
			if !hears[from] || to != addr(vmBlue1.ca(to.Is6())) {
				t.Fatalf("delivered %x", got)
			}
		}
		one.balance(0)
	})
}
