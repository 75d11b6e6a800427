package modes_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"paca/dataplane/count"
	"paca/dataplane/fib"
	"paca/dataplane/fib/fibtest"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
	"paca/modes/nvgre"
)

// dhcp4 is a DHCPv4 message about the VM with a MAC, of that operation, from one
// address and port to another.
func (d datagram) dhcp4(op layers.DHCPOp, typ layers.DHCPMsgType, client packet.MAC) []byte {
	return d.with(&layers.UDP{SrcPort: layers.UDPPort(d.sport), DstPort: layers.UDPPort(d.dport)},
		&layers.DHCPv4{Operation: op, HardwareType: layers.LinkTypeEthernet, HardwareLen: 6, Xid: 0xcafe, ClientHWAddr: client[:],
			Options: layers.DHCPOptions{layers.NewDHCPOption(layers.DHCPOptMessageType, []byte{byte(typ)}), layers.NewDHCPOption(layers.DHCPOptEnd, nil)}})
}

// discover is a DHCP client's first message.
func discover(v vm) []byte {
	return datagram{from: v.mac, to: packet.Broadcast, src: "0.0.0.0", dst: "255.255.255.255", sport: 68, dport: 67}.dhcp4(layers.DHCPOpRequest, layers.DHCPMsgTypeDiscover, v.mac)
}

// offer is a DHCP server's answer to a client, sent to an address and a MAC.
func offer(server, client vm, dst string, to packet.MAC) []byte {
	return datagram{from: server.mac, to: to, src: server.v4, dst: dst, sport: 67, dport: 68}.dhcp4(layers.DHCPOpReply, layers.DHCPMsgTypeOffer, client.mac)
}

// DHCP guard: no server's message leaves the port, whoever it is for; clients' and all
// else do. Off, it passes.
func TestL31DHCPGuard(t *testing.T) {
	of := func(d datagram) []byte { return d.frame() }
	six := func(dst string, sport, dport uint16) datagram {
		return datagram{from: macBlue1, to: groupMAC(addr(dst)), src: "fe80::1", dst: dst, sport: sport, dport: dport}
	}
	unicast := between(vmBlue1, vmBlue3, macBlue3, true)
	unicast.sport, unicast.dport = 547, 546
	for _, c := range []struct {
		name   string
		frame  []byte
		server bool
	}{
		{"offer", offer(vmBlue1, vmBlue3, "255.255.255.255", packet.Broadcast), true},
		{"offer to one VM", offer(vmBlue1, vmBlue3, vmBlue3.v4, macBlue3), true},
		{"offer, tagged", tagged(5, offer(vmBlue1, vmBlue3, vmBlue3.v4, macBlue3)), true},
		{"offer from another port", datagram{from: macBlue1, to: macBlue3, src: vmBlue1.v4, dst: vmBlue3.v4, sport: 0xc000, dport: 68}.dhcp4(layers.DHCPOpReply, layers.DHCPMsgTypeAck, macBlue3), true},
		{"offer cut in fragments", first(offer(vmBlue1, vmBlue3, vmBlue3.v4, macBlue3)), true},
		{"DHCPv6 advertise", of(unicast), true},
		{"DHCPv6 advertise from link-local", of(six("ff02::1", 547, 546)), true},
		{"request", datagram{from: macBlue1, to: packet.Broadcast, src: vmBlue1.v4, dst: "255.255.255.255", sport: 68, dport: 67}.dhcp4(layers.DHCPOpRequest, layers.DHCPMsgTypeRequest, macBlue1), false},
		{"DHCPv6 solicit", of(six("ff02::1:2", 546, 547)), false},
		{"other", of(between(vmBlue1, vmBlue3, macBlue3, false)), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			set := wholePolicy()
			for range 2 {
				r := newRig(t, set, nvgre.Config{})
				if out := r.trip(blue1, c.frame); len(out[blue3]) != 1 {
					t.Errorf("without guard %d delivered, drops %v", len(out[blue3]), r.drops())
				}
				r.balance(0)
				set.Ports[blue1].RouterGuard, set.Ports[blue1].MACSpoofing = true, true // another switch
			}
			set.Ports[blue1].DHCPGuard = true
			r := newRig(t, set, nvgre.Config{})
			if out := r.trip(blue1, c.frame); c.server {
				r.dropped(out, blue1, 1, count.DHCPGuard)
			} else if len(out[blue3]) != 1 || len(r.drops()) != 0 {
				t.Errorf("%d delivered, drops %v", len(out[blue3]), r.drops())
			}
			r.balance(0)
		})
	}
}

// Router guard: no advertisement and no redirect of a router leaves the port.
func TestL31RouterGuard(t *testing.T) {
	zeros := func(n int) string { return string(make([]byte, n)) }
	six := func(dst string) datagram {
		return datagram{from: macBlue1, to: groupMAC(addr(dst)), src: "fe80::1", dst: dst, ttl: 255}
	}
	four := func(typ, code uint8) []byte {
		return between(vmBlue1, vmBlue3, macBlue3, false).with(&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(typ, code)}, gopacket.Payload(make([]byte, 28)))
	}
	unicast := between(vmBlue1, vmBlue3, macBlue3, true)
	unicast.ttl = 255
	for _, c := range []struct {
		name   string
		frame  []byte
		router bool
	}{
		{"advertisement", six("ff02::1").icmp6(134, zeros(12)), true},
		{"advertisement to one VM", unicast.icmp6(134, zeros(12)), true},
		{"redirect", unicast.icmp6(137, zeros(36)), true},
		{"IPv4 redirect", four(5, 1), true},
		{"IPv4 advertisement", four(9, 0), true},
		{"solicitation", six("ff02::2").icmp6(133, zeros(4)), false},
		{"ping", unicast.ping(), false},
		{"IPv4 ping", four(8, 0), false},
		{"unreachable", four(3, 1), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			set := wholePolicy()
			for range 2 {
				r := newRig(t, set, nvgre.Config{})
				if out := r.trip(blue1, c.frame); len(out[blue3]) != 1 {
					t.Errorf("without guard %d delivered, drops %v", len(out[blue3]), r.drops())
				}
				r.balance(0)
				set.Ports[blue1].DHCPGuard, set.Ports[blue1].MACSpoofing = true, true // another switch
			}
			set.Ports[blue1].RouterGuard = true
			r := newRig(t, set, nvgre.Config{})
			if out := r.trip(blue1, c.frame); c.router {
				r.dropped(out, blue1, 1, count.RouterGuard)
			} else if len(out[blue3]) != 1 || len(r.drops()) != 0 {
				t.Errorf("%d delivered, drops %v", len(out[blue3]), r.drops())
			}
			r.balance(0)
		})
	}
}

// MAC spoofing, on and off: a VM may send from other MACs than its port's if records
// tell of them, and what is for those MACs gets to its port.
func TestL2_L3_L31MACSpoofing(t *testing.T) {
	inner := vm{packet.MAC{2, 0, 0, 1, 1, 0x31}, "10.1.1.31", "fd00:1::31"} // behind blue1, no port of its own
	policyOf := func(spoofing ...int) *policy.Set {
		set := wholePolicy()
		set.LookupRecords = append(set.LookupRecords, records(6001, inner, paHere)...)
		for _, p := range spoofing {
			set.Ports[p].MACSpoofing = true
		}
		return set
	}
	families(t, func(t *testing.T, v6 bool) {
		off := newRig(t, policyOf(), nvgre.Config{})
		on := newRig(t, policyOf(blue1), nvgre.Config{})
		for _, to := range []vm{vmBlue2, vmBlue5} {
			sent := between(inner, to, to.mac, v6).frame()
			off.dropped(off.trip(blue1, sent), blue1, 1, count.SourceMAC)
			out := on.trip(blue1, sent)
			if to == vmBlue2 {
				if w := unwrap(t, on.only(out, uplink)[0]); !bytes.Equal(w.inner, sent) {
					t.Errorf("%x became %x", sent, w.inner)
				}
			} else {
				on.only(out, blue5)
			}
		}
		on.only(on.trip(blue1, between(vmBlue1, vmBlue3, macBlue3, v6).frame()), blue3) // the port's own still

		// A MAC of no record, another VM's CA, a CA with another MAC than its record's.
		stranger := inner
		stranger.mac[5]++
		on.dropped(on.trip(blue1, between(stranger, vmBlue2, macBlue2, v6).frame()), blue1, 1, count.SourceCA)
		mixed := inner
		mixed.mac = macBlue1
		on.dropped(on.trip(blue1, between(mixed, vmBlue2, macBlue2, v6).frame()), blue1, 1, count.SourceCA)
		for _, mac := range []packet.MAC{packet.Broadcast, {1, 0, 0x5e, 1, 2, 3}, {}} { // nobody's
			nobody := inner
			nobody.mac = mac
			on.dropped(on.trip(blue1, between(nobody, vmBlue2, macBlue2, v6).frame()), blue1, 1, count.SourceMAC)
		}
		// Another VM of the subnet, by its MAC and CA: that is what spoofing allows.
		if out := on.trip(blue1, between(vmBlue3, vmBlue2, macBlue2, v6).frame()); len(out[uplink]) != 1 {
			t.Errorf("drops %v", on.drops())
		}
		// But not the router, nor one of another subnet.
		on.dropped(on.trip(blue1, between(router1, vmBlue2, macBlue2, v6).frame()), blue1, 1, count.SourceCA)
		b := toGroup("10.1.1.1", "255.255.255.255")
		if v6 {
			b = toGroup("fd00:1::1", "ff02::1")
		}
		b.from = router1.mac
		on.dropped(on.trip(blue1, b.frame()), blue1, 1, count.SourceCA)
		on.dropped(on.trip(blue1, between(vmBlue5, vmBlue2, macBlue2, v6).frame()), blue1, 1, count.SourceCA)

		// Delivered to the port that may spoof: from here and from the fabric.
		sent := between(vmBlue3, inner, inner.mac, v6).frame()
		off.dropped(off.trip(blue3, sent), blue3, 1, count.NoLocalPort)
		if got := on.only(on.trip(blue3, sent), blue1)[0]; !bytes.Equal(got, sent) {
			t.Errorf("%x became %x", sent, got)
		}
		sent = between(vmBlue2, inner, inner.mac, v6).frame()
		off.dropped(off.trip(uplink, tunnel(6001, paFar, paHere, sent)), uplink, 1, count.NoLocalPort)
		on.only(on.trip(uplink, tunnel(6001, paFar, paHere, sent)), blue1)

		// The router's answers go to the MAC that asked.
		d := between(inner, vmBlue5, fib.DefaultRouterMAC, v6)
		d.ttl = 1
		typ := uint8(11)
		if v6 {
			typ = 3
		}
		checkError(t, on.only(on.trip(blue1, d.frame()), blue1)[0], d.frame(), fib.DefaultRouterMAC, router1.ca(v6), typ, 0, 0)
		d.ttl, d.size, d.df = 64, 1600, true
		on.tooBig(blue1, d.frame(), fib.DefaultRouterMAC, router1, 1500)
		if !v6 {
			d.df = false
			wholeAgain(t, routedOnce(t, on.only(on.trip(blue1, d.frame()), blue5)), d.frame(), 1500)
		}

		// With two ports that may spoof nobody knows whose it is.
		two := newRig(t, policyOf(blue1, blue3), nvgre.Config{})
		two.dropped(two.trip(uplink, tunnel(6001, paFar, paHere, sent)), uplink, 1, count.NoLocalPort)

		// A VM whose own port is not open is not behind one that may spoof.
		set := policyOf(blue1)
		devices := fibtest.Devices(set)
		delete(devices, set.Ports[blue3].Name)
		on.fib.Store(fib.NewCompiler().Compile(fibtest.Book(t, set), devices, resolved))
		on.dropped(on.trip(uplink, tunnel(6001, paFar, paHere, between(vmBlue2, vmBlue3, macBlue3, v6).frame())), uplink, 1, count.NoLocalPort)
		on.only(on.trip(uplink, tunnel(6001, paFar, paHere, sent)), blue1)
		off.balance(0)
		on.balance(0)
		two.balance(0)
	})
	t.Run("ARP and ND", func(t *testing.T) {
		off := newRig(t, policyOf(), nvgre.Config{})
		on := newRig(t, policyOf(blue1), nvgre.Config{})
		ask := arpRequest(inner, vmBlue2.v4, packet.Broadcast)
		off.dropped(off.trip(blue1, ask), blue1, 1, count.SourceMAC)
		if got := read(t, on.only(on.trip(blue1, ask), blue1)[0]); got.dst != inner.mac || packet.MAC(got.arp.SourceHwAddress) != macBlue2 {
			t.Errorf("%+v", got.arp)
		}
		lie := slices.Clone(ask) // one MAC outside, another inside
		copy(lie[6:], macBlue1[:])
		on.dropped(on.trip(blue1, lie), blue1, 1, count.SourceMAC)
		unicast := arpRequest(inner, vmBlue2.v4, macBlue2) // A8
		if w := unwrap(t, on.only(on.trip(blue1, unicast), uplink)[0]); !bytes.Equal(w.inner, unicast) {
			t.Errorf("%x", w.inner)
		}
		ns := solicit(inner, inner.v6, vmBlue2.v6)
		off.dropped(off.trip(blue1, ns), blue1, 1, count.SourceMAC)
		if got := read(t, on.only(on.trip(blue1, ns), blue1)[0]); got.dst != inner.mac || got.src != macBlue2 {
			t.Errorf("%+v", got)
		}
		// Broadcasts of either, which do not come back.
		b := toGroup(inner.v4, "255.255.255.255")
		b.from = inner.mac
		on.copies(on.trip(blue1, b.frame()), b.frame(), 6001, []int{blue3}, paFar, "192.168.2.21")
		off.balance(0)
		on.balance(0)
	})
}

// routedOnce gives frames their TTL of 64 back, for wholeAgain.
func routedOnce(t *testing.T, frames [][]byte) [][]byte {
	t.Helper()
	for _, f := range frames {
		if f[22] != 63 {
			t.Errorf("TTL %d", f[22])
		}
	}
	return frames
}

// solicit is a neighbor solicitation of a VM from one of its addresses, multicast.
func solicit(v vm, src, target string) []byte {
	to := addr(target).As16()
	return packet.AppendNS(nil, &packet.NSFrame{DstMAC: packet.GroupMAC(packet.SolicitedNode(to)), SrcMAC: v.mac,
		Src: addr(src).As16(), Dst: packet.SolicitedNode(to), Target: to})
}

// probe is a neighbor solicitation of a VM to a MAC.
func probe(v vm, target string, to packet.MAC) []byte {
	return packet.AppendNS(nil, &packet.NSFrame{DstMAC: to, SrcMAC: v.mac, Src: addr(v.v6).As16(), Dst: addr(target).As16(), Target: addr(target).As16()})
}

// advertise is a neighbor advertisement of a VM for a target, to an address and MAC.
func advertise(v vm, target, dst string, to packet.MAC, flags uint8) []byte {
	return packet.AppendNA(nil, &packet.NAFrame{DstMAC: to, SrcMAC: v.mac, Src: addr(target).As16(), Dst: addr(dst).As16(), Target: addr(target).As16(), TargetMAC: v.mac, Flags: flags})
}

// arpReply is a VM's word that it has an IPv4 CA, to another.
func arpReply(v vm, sender string, to vm, dst packet.MAC) []byte {
	return packet.AppendARP(nil, &packet.ARPFrame{DstMAC: dst, SrcMAC: v.mac,
		ARPFields: packet.ARPFields{Op: packet.ARPOpReply, SenderMAC: v.mac, SenderIP: addr(sender).As4(), TargetMAC: to.mac, TargetIP: addr(to.v4).As4()}})
}
