package modes_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/google/gopacket/layers"

	"paca/dataplane/count"
	"paca/dataplane/fib"
	"paca/dataplane/packet"
	"paca/modes/nvgre"
)

// checkReply fails unless got is the ARP answer for a CA, from its owner's MAC to the
// VM that asked (A2-A4).
func checkReply(t testing.TB, got []byte, ca string, mac packet.MAC, asker vm) {
	t.Helper()
	r := read(t, got)
	if r.arp == nil || r.arp.Operation != layers.ARPReply || r.src != mac || r.dst != asker.mac ||
		packet.MAC(r.arp.SourceHwAddress) != mac || !bytes.Equal(r.arp.SourceProtAddress, addr(ca).AsSlice()) ||
		packet.MAC(r.arp.DstHwAddress) != asker.mac {
		t.Errorf("%x is no answer for %s at %v", got, ca, mac)
	}
}

// checkAdvert fails unless got is the neighbor advertisement for a CA with those flags
// (A9).
func checkAdvert(t testing.TB, got []byte, ca string, mac packet.MAC, to packet.MAC, dst string, flags uint8) {
	t.Helper()
	r := read(t, got)
	if r.six == nil || r.six.TypeCode != layers.CreateICMPv6TypeCode(136, 0) || r.ttl != 255 {
		t.Fatalf("%x is no advertisement", got)
	}
	var na layers.ICMPv6NeighborAdvertisement
	if err := na.DecodeFromBytes(r.six.Payload, nil); err != nil {
		t.Fatal(err)
	}
	target := unmapped(na.TargetAddress)
	if target != addr(ca) || r.from != addr(ca) || r.to != addr(dst) || r.src != mac || r.dst != to || na.Flags != flags ||
		len(na.Options) != 1 || na.Options[0].Type != layers.ICMPv6OptTargetAddress || packet.MAC(na.Options[0].Data) != mac {
		t.Errorf("advertisement %+v from %v %v to %v %v, want one for %s at %v to %v %s with flags %#x", na, r.from, r.src, r.to, r.dst, ca, mac, to, dst, flags)
	}
}

// Who answers for what: VMs here and far by their own MAC, the router by its record's
// or the one that is the same everywhere, and with the router flag it alone.
func TestA1_A2_A3_A4_A9_P21Answers(t *testing.T) {
	for _, c := range []struct {
		in    int
		asker vm
		asked vm
		mac   packet.MAC
		flags uint8
	}{
		{blue1, vmBlue1, vmBlue2, macBlue2, 0},
		{blue1, vmBlue1, vmBlue3, macBlue3, 0},
		{blue1, vmBlue1, router1, fib.DefaultRouterMAC, packet.NDRouter},
		{blue5, vmBlue5, vm{v4: "10.1.2.1", v6: "fd00:2::1"}, macRouter2, packet.NDRouter},
		{red1, vmRed1, vmRed2, macRed2, 0},
		{fresh, vmFresh, vmServer, vmServer.mac, 0},
	} {
		r := newRig(t, wholePolicy(), nvgre.Config{})
		ask := arpRequest(c.asker, c.asked.v4, packet.Broadcast)
		if c.in == fresh { // without a CA it can but probe
			copy(ask[28:], []byte{0, 0, 0, 0})
		}
		checkReply(t, r.only(r.trip(c.in, ask), c.in)[0], c.asked.v4, c.mac, c.asker)
		src := c.asker.v6
		if c.in == fresh {
			src = "fe80::1"
		}
		checkAdvert(t, r.only(r.trip(c.in, solicit(c.asker, src, c.asked.v6)), c.in)[0], c.asked.v6, c.mac, c.asker.mac, src, c.flags|packet.NDSolicited|packet.NDOverride)
		r.balance(0)
	}
}

// To duplicate address detection the answer goes to all nodes, unsolicited.
func TestA7_A9DuplicateDetectionAnswered(t *testing.T) {
	r := newRig(t, wholePolicy(), nvgre.Config{})
	all := packet.GroupMAC(packet.AllNodes)
	for _, asked := range []vm{vmBlue2, vmBlue3} {
		checkAdvert(t, r.only(r.trip(blue1, solicit(vmBlue1, "::", asked.v6)), blue1)[0], asked.v6, asked.mac, all, "ff02::1", packet.NDOverride)
	}
	checkAdvert(t, r.only(r.trip(blue1, solicit(vmBlue1, "::", router1.v6)), blue1)[0], router1.v6, router1.mac, all, "ff02::1", packet.NDOverride|packet.NDRouter)
	r.balance(0)
}

// A VM that announces or probes its own CA hears nothing; another's, it is told whose
// that is, and nobody else hears of it (A12).
func TestA7_A12ProbesAndAnnouncements(t *testing.T) {
	probe4 := func(target string) []byte {
		f := arpRequest(vmBlue1, target, packet.Broadcast)
		copy(f[28:], []byte{0, 0, 0, 0})
		return f
	}
	announce := func(ca string) []byte {
		f := arpRequest(vmBlue1, ca, packet.Broadcast)
		copy(f[28:], addr(ca).AsSlice())
		return f
	}
	unicast := func(f []byte, to packet.MAC) []byte { copy(f, to[:]); return f }
	everyone := vm{mac: packet.MAC{}, v4: vmBlue1.v4}
	for _, c := range []struct {
		name   string
		frame  []byte
		owner  vm // of the answer; none: dropped
		reason count.Reason
	}{
		{"own, probed", probe4(vmBlue1.v4), vm{}, count.ARPSelf},
		{"own, announced", announce(vmBlue1.v4), vm{}, count.ARPSelf},
		{"own, announced by a reply", arpReply(vmBlue1, vmBlue1.v4, everyone, packet.Broadcast), vm{}, count.ARPSelf},
		{"another's, probed", probe4(vmBlue3.v4), vmBlue3, 0},
		{"a distant one's, probed", probe4(vmBlue2.v4), vmBlue2, 0},
		{"the router's, probed", probe4(router1.v4), router1, 0},
		{"another's, announced", announce(vmBlue3.v4), vmBlue3, 0},
		{"the router's, announced", announce(router1.v4), router1, 0},
		{"another's, announced by a reply", arpReply(vmBlue1, vmBlue3.v4, vm{v4: vmBlue3.v4}, packet.Broadcast), vm{}, count.ARPSelf},
		{"another's, told to one", arpReply(vmBlue1, vmBlue3.v4, vmBlue2, macBlue2), vm{}, count.SourceCA},
		{"the router's, told to one", arpReply(vmBlue1, router1.v4, vmBlue2, macBlue2), vm{}, count.SourceCA},
		{"another's, probed of himself", unicast(probe4(vmBlue3.v4), macBlue3), vmBlue3, 0},
		{"another's, announced to himself", unicast(announce(vmBlue3.v4), macBlue3), vmBlue3, 0},
		{"own, told to all", arpReply(vmBlue1, vmBlue1.v4, vmBlue3, packet.Broadcast), vm{}, count.ARPSelf},
		{"nobody's, probed", probe4("10.1.1.99"), vm{}, count.ARPUnknown},
		{"nobody's, announced", announce("10.1.1.99"), vm{}, count.ARPUnknown},
		{"of another subnet, probed", probe4(vmBlue5.v4), vm{}, count.ARPUnknown},
		{"own, IPv6, probed", solicit(vmBlue1, "::", vmBlue1.v6), vm{}, count.NDSelf},
		{"own, IPv6, announced", advertise(vmBlue1, vmBlue1.v6, "ff02::1", packet.GroupMAC(packet.AllNodes), packet.NDOverride), vm{}, count.NDSelf},
		{"another's, IPv6, announced", advertise(vmBlue1, vmBlue3.v6, "ff02::1", packet.GroupMAC(packet.AllNodes), packet.NDOverride), vm{}, count.NDSelf},
		{"another's, IPv6, told to one", advertise(vmBlue1, vmBlue3.v6, vmBlue2.v6, macBlue2, packet.NDSolicited), vm{}, count.SourceCA},
		{"another's, IPv6, told to one by itself", packet.AppendNA(nil, &packet.NAFrame{DstMAC: macBlue2, SrcMAC: macBlue1, Src: addr(vmBlue1.v6).As16(),
			Dst: addr(vmBlue2.v6).As16(), Target: addr(vmBlue3.v6).As16(), TargetMAC: macBlue1, Flags: packet.NDSolicited}), vm{}, count.SourceCA},
		{"own, IPv6, with another's MAC", packet.AppendNA(nil, &packet.NAFrame{DstMAC: macBlue2, SrcMAC: macBlue1, Src: addr(vmBlue1.v6).As16(),
			Dst: addr(vmBlue2.v6).As16(), Target: addr(vmBlue1.v6).As16(), TargetMAC: macBlue3, Flags: packet.NDSolicited}), vm{}, count.SourceMAC},
		{"asked, with another's MAC", packet.AppendNS(nil, &packet.NSFrame{DstMAC: packet.GroupMAC(packet.SolicitedNode(addr(vmBlue2.v6).As16())), SrcMAC: macBlue3,
			Src: addr(vmBlue1.v6).As16(), Dst: packet.SolicitedNode(addr(vmBlue2.v6).As16()), Target: addr(vmBlue2.v6).As16()}), vm{}, count.SourceMAC},
		{"the router's, IPv6, told to one", advertise(vmBlue1, router1.v6, vmBlue2.v6, macBlue2, packet.NDSolicited), vm{}, count.SourceCA},
		{"nobody's, IPv6, probed", solicit(vmBlue1, "::", "fd00:1::99"), vm{}, count.NDUnknown},
		{"link-local, probed", solicit(vmBlue1, "::", "fe80::1"), vm{}, count.NDUnknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, wholePolicy(), nvgre.Config{})
			copy(c.frame[6:], macBlue1[:])
			out := r.trip(blue1, c.frame)
			if c.owner == (vm{}) {
				r.dropped(out, blue1, 1, c.reason)
			} else {
				checkReply(t, r.only(out, blue1)[0], c.owner.v4, c.owner.mac, vmBlue1)
			}
			r.balance(0)
		})
	}
}

// Unicast requests reach the VM itself, here or there, and its answer comes back; the
// router, which is nowhere, answers by proxy.
func TestA8UnicastCarriedBothWays(t *testing.T) {
	r := newRig(t, wholePolicy(), nvgre.Config{})
	for _, c := range []struct {
		name        string
		ask, answer []byte
		to          vm
	}{
		{"ARP far", arpRequest(vmBlue1, vmBlue2.v4, macBlue2), arpReply(vmBlue2, vmBlue2.v4, vmBlue1, macBlue1), vmBlue2},
		{"NS far", probe(vmBlue1, vmBlue2.v6, macBlue2), advertise(vmBlue2, vmBlue2.v6, vmBlue1.v6, macBlue1, packet.NDSolicited), vmBlue2},
		{"ARP here", arpRequest(vmBlue1, vmBlue3.v4, macBlue3), arpReply(vmBlue3, vmBlue3.v4, vmBlue1, macBlue1), vmBlue3},
		{"NS here", probe(vmBlue1, vmBlue3.v6, macBlue3), advertise(vmBlue3, vmBlue3.v6, vmBlue1.v6, macBlue1, packet.NDSolicited), vmBlue3},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.t = t
			out := r.trip(blue1, c.ask)
			var got []byte
			if c.to == vmBlue2 {
				got = unwrap(t, r.only(out, uplink)[0]).inner
				out = r.trip(uplink, tunnel(6001, paFar, paHere, c.answer))
			} else {
				got = r.only(out, blue3)[0]
				out = r.trip(blue3, c.answer)
			}
			if !bytes.Equal(got, c.ask) {
				t.Errorf("%x became %x", c.ask, got)
			}
			if got := r.only(out, blue1)[0]; !bytes.Equal(got, c.answer) {
				t.Errorf("%x became %x", c.answer, got)
			}
		})
	}
	r.t = t
	checkReply(t, r.only(r.trip(blue1, arpRequest(vmBlue1, router1.v4, router1.mac)), blue1)[0], router1.v4, router1.mac, vmBlue1)
	checkAdvert(t, r.only(r.trip(blue1, probe(vmBlue1, router1.v6, router1.mac)), blue1)[0], router1.v6, router1.mac, macBlue1, vmBlue1.v6, packet.NDRouter|packet.NDSolicited|packet.NDOverride)
	r.dropped(r.trip(blue1, arpRequest(vmBlue1, vmBlue5.v4, vmBlue5.mac)), blue1, 1, count.ARPUnknown) // A6
	r.dropped(r.trip(blue1, probe(vmBlue1, vmBlue5.v6, vmBlue5.mac)), blue1, 1, count.NDUnknown)
	r.balance(0)
}

// Nobody's CA: silence where every CA is known; where a VM's may not be, everyone in
// the virtual subnet is asked, here and there.
func TestA5_A15_A20UnknownTargetFlooded(t *testing.T) {
	set := wholePolicy()
	static := vm{packet.MAC{2, 0, 0, 1, 4, 0x13}, "10.1.4.13", "fd00:4::13"}
	set.LookupRecords = append(set.LookupRecords, records(6004, static, paHere)...)
	set.Ports[blue3].VSID, set.Ports[blue3].MAC = 6004, static.mac
	r := newRig(t, set, nvgre.Config{})
	all := []string{paFar, "192.168.2.40"}

	for _, c := range []struct {
		name  string
		in    int
		frame []byte
		ports []int
	}{
		{"ARP", blue3, arpRequest(static, "10.1.4.99", packet.Broadcast), []int{fresh}},
		{"ARP probe of a VM without CA", fresh, func() []byte {
			f := arpRequest(vmFresh, "10.1.4.99", packet.Broadcast)
			copy(f[28:], []byte{0, 0, 0, 0})
			return f
		}(), []int{blue3}},
		{"NS", blue3, solicit(static, static.v6, "fd00:4::99"), []int{fresh}},
		{"NS from link-local", blue3, solicit(static, "fe80::1", "fd00:4::99"), []int{fresh}},
		{"duplicate detection of a VM without CA", fresh, solicit(vmFresh, "::", "fd00:4::99"), []int{blue3}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.t = t
			r.copies(r.trip(c.in, c.frame), c.frame, 6004, c.ports, all...)
			// And as others flood it here.
			if c.in == blue3 {
				inner := bytes.ReplaceAll(c.frame, static.mac[:], vmServer.mac[:])
				inner = bytes.ReplaceAll(inner, addr(static.v4).AsSlice(), addr(vmServer.v4).AsSlice())
				inner = bytes.ReplaceAll(inner, addr(static.v6).AsSlice(), addr(vmServer.v6).AsSlice())
				r.copies(r.trip(uplink, tunnel(6004, paFar, paHere, inner)), inner, 6004, []int{blue3, fresh})
			}
		})
	}
	r.t = t
	// A record is answered for; a question to one MAC, or from an address that is not
	// the VM's, is nobody's.
	checkReply(t, r.only(r.trip(blue3, arpRequest(static, vmServer.v4, packet.Broadcast)), blue3)[0], vmServer.v4, vmServer.mac, static)
	r.dropped(r.trip(blue3, arpRequest(static, "10.1.4.99", vmFresh.mac)), blue3, 1, count.ARPUnknown)
	r.dropped(r.trip(blue3, probe(static, "fd00:4::99", vmFresh.mac)), blue3, 1, count.NDUnknown)
	other := static
	other.v4 = vmServer.v4
	r.dropped(r.trip(blue3, arpRequest(other, "10.1.4.99", packet.Broadcast)), blue3, 1, count.SourceCA)
	r.dropped(r.trip(blue3, arpRequest(static, "10.1.1.11", packet.Broadcast)), blue3, 1, count.ARPUnknown) // A6
	r.dropped(r.trip(blue3, solicit(static, static.v6, "fe80::99")), blue3, 1, count.NDUnknown)
	claim := arpRequest(static, "10.1.4.99", packet.Broadcast) // not its own to announce
	copy(claim[28:], addr("10.1.4.99").AsSlice())
	r.dropped(r.trip(blue3, claim), blue3, 1, count.ARPUnknown)
	// Where all CAs are known, silence.
	r.dropped(r.trip(blue1, arpRequest(vmBlue1, "10.1.1.99", packet.Broadcast)), blue1, 1, count.ARPUnknown)
	r.dropped(r.trip(blue1, solicit(vmBlue1, vmBlue1.v6, "fd00:1::99")), blue1, 1, count.NDUnknown)
	r.balance(0)
}

// A solicitation that RFC 4861 calls invalid is dropped, whoever sends it.
func TestA10InvalidSolicitations(t *testing.T) {
	r := newRig(t, wholePolicy(), nvgre.Config{})
	good := solicit(vmBlue1, vmBlue1.v6, vmBlue2.v6)
	for _, change := range []func(f []byte){
		func(f []byte) { f[21] = 254 },
		func(f []byte) { f[55] = 1 },   // code
		func(f []byte) { f[60]++ },     // checksum
		func(f []byte) { f[62] = 255 }, // target a group
		func(f []byte) { f[79] = 0 },   // option of no length
	} {
		f := append([]byte(nil), good...)
		change(f)
		if f[60] == good[60] { // else the checksum is what is wrong
			binary.BigEndian.PutUint16(f[56:], 0)
			ip := packet.IPv6(f[14:])
			binary.BigEndian.PutUint16(f[56:], packet.Checksum(f[54:], packet.PseudoHeader6(ip.Src(), ip.Dst(), packet.ProtoICMPv6, uint32(len(f)-54))))
		}
		r.dropped(r.trip(blue1, f), blue1, 1, count.NDInvalid)
	}
	r.only(r.trip(blue1, good), blue1)
	r.balance(0)
}

// A gateway's kernel may look for its neighbors from an address outside: it is
// answered. What another VM has it may not use.
func TestA1_L3_G5GatewayAsksFromOutside(t *testing.T) {
	r := newRig(t, wholePolicy(), nvgre.Config{})
	asker := vmGate
	asker.v4, asker.v6 = outside.v4, outside.v6
	checkReply(t, r.only(r.trip(gate, arpRequest(asker, "10.1.3.1", packet.Broadcast)), gate)[0], "10.1.3.1", fib.DefaultRouterMAC, asker)
	checkAdvert(t, r.only(r.trip(gate, solicit(asker, asker.v6, "fd00:3::1")), gate)[0], "fd00:3::1", fib.DefaultRouterMAC, vmGate.mac, asker.v6, packet.NDRouter|packet.NDSolicited|packet.NDOverride)
	asker.v4, asker.v6 = vmBlue1.v4, vmBlue1.v6
	r.dropped(r.trip(gate, arpRequest(asker, "10.1.3.1", packet.Broadcast)), gate, 1, count.SourceCA)
	r.dropped(r.trip(gate, solicit(asker, asker.v6, "fd00:3::1")), gate, 1, count.SourceCA)
	asker = vmBlue1
	asker.v4, asker.v6 = outside.v4, outside.v6
	r.dropped(r.trip(blue1, arpRequest(asker, "10.1.1.1", packet.Broadcast)), blue1, 1, count.SourceCA)
	r.dropped(r.trip(blue1, solicit(asker, asker.v6, "fd00:1::1")), blue1, 1, count.SourceCA)
	r.balance(0)
}

// Neighbors are sought in the own subnet alone: what one says to one in another, asked
// or not, goes nowhere (A6), and is not taken from there.
func TestA6_A22NoNeighborsElsewhere(t *testing.T) {
	other := vm{macBlue2, "10.1.2.12", ""}
	r := newRig(t, testPolicy(), nvgre.Config{})
	r.dropped(r.trip(blue1, arpReply(vmBlue1, vmBlue1.v4, other, fib.DefaultRouterMAC)), blue1, 1, count.ARPUnknown)
	r.dropped(r.trip(uplink, tunnel(6001, "192.168.2.20", paHere, arpReply(other, other.v4, vmBlue1, vmBlue1.mac))), uplink, 1, count.InnerSpoofed)
	r.balance(0)

	r = newRig(t, wholePolicy(), nvgre.Config{})
	r.dropped(r.trip(blue1, advertise(vmBlue1, vmBlue1.v6, vmBlue5.v6, vmBlue5.mac, packet.NDSolicited)), blue1, 1, count.NDUnknown)
	astray := packet.AppendNS(nil, &packet.NSFrame{DstMAC: vmBlue5.mac, SrcMAC: macBlue1, Src: addr(vmBlue1.v6).As16(), Dst: addr(vmBlue5.v6).As16(), Target: addr(vmBlue3.v6).As16()})
	r.dropped(r.trip(blue1, astray), blue1, 1, count.NDUnknown)
	r.balance(0)
}
