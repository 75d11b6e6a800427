package modes_test

import (
	"bytes"
	"maps"
	"slices"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"paca/dataplane/count"
	"paca/dataplane/fib"
	"paca/dataplane/fib/fibtest"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
	"paca/dataplane/worker"
	"paca/modes/nvgre"
)

const (
	hostIP  = "192.168.1.200" // the kernel's own
	hostIP6 = "2001:db8:1::200"
	paHere6 = "2001:db8:1::10"
)

var fabric = vm{macRouter, "192.168.1.1", "2001:db8:1::1"}

// dual is wholePolicy with a PA of each family, in VLANs or not.
func dual(vlan4, vlan6 uint16) *policy.Set {
	set := wholePolicy()
	set.ProviderAddresses = []policy.ProviderAddress{
		{Prefix: prefix(paHere + "/24"), Port: "uplink", VLAN: vlan4},
		{Prefix: prefix(paHere6 + "/64"), Port: "uplink", VLAN: vlan6},
	}
	return set
}

// without takes the kernel's port out.
func without(set *policy.Set) *policy.Set {
	set.Ports = set.Ports[:kernel]
	return set
}

// fromFabricTo is a datagram of the provider side, from the fabric's router.
func fromFabricTo(dst string) datagram {
	d := datagram{from: macRouter, to: macUplink, src: fabric.v4, dst: dst}
	if addr(dst).Is6() {
		d.src = fabric.v6
	}
	return d
}

// W20, W24: what is not tunnel traffic for a PA is the host's kernel's, byte for byte,
// and without a port for it dropped by name.
func TestW20_W24ToHost(t *testing.T) {
	arp := func(target string) []byte {
		return packet.AppendARP(nil, &packet.ARPFrame{DstMAC: packet.Broadcast, SrcMAC: macRouter,
			ARPFields: packet.ARPFields{Op: packet.ARPOpRequest, SenderMAC: macRouter, SenderIP: addr(fabric.v4).As4(), TargetIP: addr(target).As4()}})
	}
	ns := func(target string) []byte { return solicit(fabric, fabric.v6, target) }
	gre := func(change func(f []byte)) []byte {
		f := fromFabric()
		change(f)
		return reseal(f)
	}
	tcp := fromFabricTo(paHere).with(&layers.TCP{SrcPort: 0xc000, DstPort: 179, SYN: true}, gopacket.Payload(nil))
	lldp := append(ether(packet.MAC{1, 0x80, 0xc2, 0, 0, 0xe}, macRouter, 0x88cc), make([]byte, 46)...)
	v6Fragment := later(fromFabricTo(paHere6).frame(), 8)
	for _, c := range []struct {
		name   string
		frame  []byte
		reason count.Reason // without the port
	}{
		{"ARP for the host's own address", arp(hostIP), count.PAForeign},
		{"ARP reply to it", arpReply(fabric, fabric.v4, vm{macUplink, hostIP, ""}, macUplink), count.PAForeign},
		{"NS for the host's own address", ns(hostIP6), count.PAForeign},
		{"NA to it", advertise(fabric, fabric.v6, hostIP6, macUplink, packet.NDSolicited), count.PAForeign},
		{"router advertisement", fromFabricTo("ff02::1").icmp6(134, string(make([]byte, 12))), count.OuterOther},
		{"SSH to its own address", fromFabricTo(hostIP).frame(), count.OuterOther},
		{"IPv6 to its own address", fromFabricTo(hostIP6).frame(), count.OuterOther},
		{"ping of its own address", fromFabricTo(hostIP).ping(), count.OuterOther},
		{"BGP to a PA", tcp, count.OuterOther},
		{"UDP to an IPv6 PA", fromFabricTo(paHere6).frame(), count.OuterOther},
		{"fragment to an IPv6 PA", v6Fragment, count.OuterOther},
		{"broadcast", fromFabricTo("192.168.1.255").frame(), count.OuterOther},
		{"multicast", fromFabricTo("224.0.0.5").frame(), count.OuterOther},
		{"tunnel packet for another PA", tunnel(6001, paFar, "192.168.1.11", unhex(inner1)), count.OuterOther},
		{"tunnel packet for its own address", tunnel(6001, paFar, hostIP, unhex(inner1)), count.OuterOther},
		{"in a VLAN that no PA has", tagged(104, fromFabric()), count.OuterVLAN},
		{"priority and VLAN", tagged(0x6000|104, fromFabric()), count.OuterVLAN},
		{"of its own, in a VLAN", tagged(104, fromFabricTo(hostIP).frame()), count.OuterOther},
		{"two tags", tagged(7, tagged(0, fromFabric())), count.OuterVLAN},
		{"two tags, the outer one the PA's", tagged(0, tagged(7, fromFabric())), count.OuterVLAN},
		{"LLDP", lldp, count.OuterOther},
		{"GRE without key", gre(func(f []byte) { f[34] = 0 }), count.GREOther},
		{"GRE of IP", gre(func(f []byte) { f[36], f[37] = 8, 0 }), count.GREOther},
		{"GRE of ERSPAN", gre(func(f []byte) { f[36], f[37] = 0x88, 0xbe }), count.GREOther},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, dual(0, 0), nvgre.Config{})
			if got := r.only(r.trip(uplink, c.frame), kernel)[0]; !bytes.Equal(got, c.frame) {
				t.Errorf("%x became %x", c.frame, got)
			}
			if e := r.events(); e["to_host"] != 1 || len(e) != 1 || len(r.drops()) != 0 {
				t.Errorf("events %v, drops %v", e, r.drops())
			}
			r.balance(0)
			r = newRig(t, without(dual(0, 0)), nvgre.Config{})
			r.dropped(r.trip(uplink, c.frame), uplink, 1, c.reason)
			r.balance(0)
		})
	}
}

// What tunnel traffic or a PA's own is, the kernel does not get, good or bad.
func TestW20_W21_W22_W23NotToHost(t *testing.T) {
	r := newRig(t, dual(103, 103), nvgre.Config{})
	for _, tci := range []uint16{103, 0x6000 | 103, 0x1000 | 103} { // whatever its priority
		r.only(r.trip(uplink, tagged(tci, fromFabric())), blue1)
	}
	r.balance(0)
	r = newRig(t, dual(0, 0), nvgre.Config{})
	r.only(r.trip(uplink, fromFabric()), blue1)
	r.only(r.trip(uplink, tagged(0x6000, fromFabric())), blue1) // a priority is no VLAN
	for _, c := range []struct {
		change func(f []byte)
		reason count.Reason
	}{
		{func(f []byte) { f[20] = 0x20 }, count.OuterFragment},
		{func(f []byte) { f[35] = 1 }, count.GREVersion},
		{func(f []byte) { f[34] |= 0x80 }, count.GREOptions},
		{func(f []byte) { f[75] = 99 }, count.InnerUnknown},
	} {
		f := fromFabric()
		c.change(f)
		r.dropped(r.trip(uplink, reseal(f)), uplink, 1, c.reason)
	}
	r.dropped(r.trip(uplink, fromFabric()[:30]), uplink, 1, count.Runt)
	r.balance(0)
}

// Whatever the kernel sends goes out of its uplink as it is: another's source, tags,
// tunnel packets, runts.
func TestW20FromHost(t *testing.T) {
	r := newRig(t, dual(0, 0), nvgre.Config{})
	kernelSays := vm{macKernel, hostIP, hostIP6}
	frames := [][]byte{
		between(kernelSays, fabric, macRouter, false).frame(),
		between(kernelSays, fabric, macRouter, true).frame(),
		arpRequest(kernelSays, fabric.v4, packet.Broadcast),
		tagged(104, between(kernelSays, fabric, macRouter, false).frame()),
		tunnel(6001, paHere, paFar, unhex(inner1)),
		{1, 2, 3},
	}
	out := r.only(r.trip(kernel, frames...), uplink)
	if !slices.EqualFunc(out, frames, bytes.Equal) {
		t.Errorf("%x became %x", frames, out)
	}
	if e := r.events(); e["from_host"] != uint64(len(frames)) || len(e) != 1 {
		t.Errorf("events %v", e)
	}
	r.balance(0)
}

// A host port whose uplink is not open has nowhere to send; an uplink whose host port is
// not open yet, nobody to give to.
func TestW20HostPortWithoutUplink(t *testing.T) {
	set := dual(0, 0)
	book, compiler := fibtest.Book(t, set), fib.NewCompiler()
	devices := fibtest.Devices(set)
	some := func(name string) fib.Devices {
		d := maps.Clone(devices)
		delete(d, name)
		return d
	}
	r := newRig(t, set, nvgre.Config{})
	r.fib.Store(compiler.Compile(book, some("uplink"), resolved))
	r.dropped(r.trip(kernel, unhex(inner1)), kernel, 1, count.PortDown)
	r.fib.Store(compiler.Update(nil, book, some("kernel"), resolved))
	r.dropped(r.trip(uplink, fromFabricTo(hostIP).frame()), uplink, 1, count.OuterOther)
	r.dropped(r.trip(kernel, unhex(inner1)), kernel, 1, count.PortDown)
	r.fib.Store(compiler.Update(nil, book, devices, resolved))
	r.only(r.trip(kernel, unhex(inner1)), uplink)
	r.only(r.trip(uplink, fromFabricTo(hostIP).frame()), kernel)
	r.balance(0)
}

// What the kernel may learn from it gets as well as the control plane; the question for
// a PA is paca's alone to answer.
func TestW20_A13SharedARPAndND(t *testing.T) {
	announcement := arpRequest(vm{macRouter, fabric.v4, ""}, fabric.v4, packet.Broadcast)
	reply := arpReply(fabric, fabric.v4, vm{macUplink, paHere, ""}, macUplink)
	na := advertise(fabric, fabric.v6, paHere6, macUplink, packet.NDSolicited)
	unsolicited := advertise(fabric, fabric.v6, "ff02::1", packet.GroupMAC(packet.AllNodes), packet.NDOverride)
	for _, f := range [][]byte{announcement, reply, na, unsolicited} {
		r := newRig(t, dual(0, 0), nvgre.Config{})
		if got := r.only(r.trip(uplink, f), kernel)[0]; !bytes.Equal(got, f) {
			t.Errorf("%x became %x", f, got)
		}
		r.told(worker.Neighbor, uplink, f)
		r.balance(0)
		r = newRig(t, without(dual(0, 0)), nvgre.Config{})
		r.dropped(r.trip(uplink, f), uplink, 0, count.Kept)
		r.told(worker.Neighbor, uplink, f)
		if n := r.w.Count.Snapshot().Ports[uplink].Control; n != 1 {
			t.Errorf("%d frames are the control plane's", n)
		}
		// Nobody can take it.
		for r.w.Punt.Push(0, worker.Neighbor, nil) {
		}
		r.dropped(r.trip(uplink, f), uplink, 1, count.ControlQueue)
		r.balance(0)
	}
	r := newRig(t, dual(0, 0), nvgre.Config{})
	for _, f := range [][]byte{arpRequest(vm{macRouter, fabric.v4, ""}, paHere, packet.Broadcast), solicit(fabric, fabric.v6, paHere6)} {
		got := r.only(r.trip(uplink, f), uplink)[0]
		if is := read(t, got); is.src != macUplink || is.dst != macRouter {
			t.Errorf("%+v", is)
		}
		r.told(worker.Neighbor, uplink, f)
	}
	r.balance(0)
}

// A PA answers pings, in its VLAN; other ICMP for it is told to the control plane, and
// given to the kernel too.
func TestW20_M10PingOfPA(t *testing.T) {
	for _, vlan := range []uint16{0, 103} {
		in := func(f []byte) []byte {
			if vlan != 0 {
				return tagged(vlan, f)
			}
			return f
		}
		for _, set := range []*policy.Set{dual(vlan, vlan), without(dual(vlan, vlan))} {
			r := newRig(t, set, nvgre.Config{})
			for _, pa := range []string{paHere, paHere6} {
				sent := fromFabricTo(pa).ping()
				got := r.only(r.trip(uplink, in(sent)), uplink)[0]
				if vlan != 0 {
					if tci := uint16(got[14])<<8 | uint16(got[15]); got[12] != 0x81 || tci != vlan {
						t.Errorf("tag %x", got[12:16])
					}
					got = append(got[:12:12], got[16:]...)
				}
				was, is := read(t, sent), read(t, got)
				if is.from != addr(pa) || is.to != was.from || is.src != macUplink || is.dst != macRouter || is.ttl != 64 {
					t.Errorf("%+v", is)
				}
				if is.icmp != nil && (is.icmp.TypeCode.Type() != layers.ICMPv4TypeEchoReply || is.icmp.Id != 7 || is.icmp.Seq != 9) ||
					is.six != nil && is.six.TypeCode.Type() != layers.ICMPv6TypeEchoReply {
					t.Errorf("%+v %+v", is.icmp, is.six)
				}
				r.untold()

				for _, f := range [][]byte{in(fromFabricTo(pa).complaint()), in(fromFabricTo(pa).pong())} {
					out := r.trip(uplink, f)
					if len(set.Ports) > kernel {
						if back := r.only(out, kernel)[0]; !bytes.Equal(back, f) {
							t.Errorf("%x became %x", f, back)
						}
					} else {
						r.dropped(out, uplink, 0, count.Kept)
					}
					r.told(worker.ICMP, uplink, f)
				}
			}
			if vlan != 0 && len(set.Ports) > kernel { // a ping in no VLAN is not the PA's
				r.only(r.trip(uplink, fromFabricTo(paHere).ping()), kernel)
				r.untold()
			}
			r.balance(0)
		}
	}
}

// ICMP that is not about us can come as fast as it likes: the control plane hears of so
// much a second.
func TestM9_M10ICMPRate(t *testing.T) {
	r := newRig(t, without(dual(0, 0)), nvgre.Config{})
	for range 100 {
		r.trip(uplink, fromFabricTo(paHere).complaint())
	}
	if n := r.punted(); n != 51 || r.drops()["outer_other"] != 49 {
		t.Errorf("told of %d, drops %v", n, r.drops())
	}
	r.balance(0)
}

// P14: from a PA that another machine has nothing is sent and for it nothing answered,
// until it is ours again.
func TestP14DuplicatePA(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		set := wholePolicy()
		pa := paHere
		if v6 {
			set = sixPA()
			pa = six(paHere)
		}
		r := newRig(t, set, nvgre.Config{})
		book, compiler := r.compile(set)
		out := between(vmBlue1, vmBlue2, macBlue2, false).frame()
		here := between(vmBlue1, vmBlue3, macBlue3, false).frame()
		all := toGroup(vmBlue1.v4, "255.255.255.255").frame()
		ping := fromFabricTo(pa).ping()
		ask := solicit(fabric, six("192.168.1.1"), pa)
		if !v6 {
			ask = arpRequest(fabric, pa, packet.Broadcast)
		}

		compiler.SetDuplicate(addr(pa), true)
		r.apply(book, compiler, set)
		r.dropped(r.trip(blue1, out), blue1, 1, count.PADuplicate)
		r.only(r.trip(blue1, here), blue3) // what stays on this host needs no PA
		r.copies(r.trip(blue1, all), all, 6001, []int{blue3})
		if d := r.drops()["pa_duplicate"]; d != 3 {
			t.Errorf("drops %v", r.drops())
		}
		r.dropped(r.trip(uplink, ask), uplink, 1, count.PADuplicate)
		r.punted()
		// Not the PA's answer: the ping goes to the kernel like any other.
		r.only(r.trip(uplink, ping), kernel)
		r.punted()

		compiler.SetDuplicate(addr(pa), false)
		r.apply(book, compiler, set)
		r.only(r.trip(blue1, out), uplink)
		r.only(r.trip(uplink, ask), uplink)
		r.only(r.trip(uplink, ping), uplink)
		r.balance(0)
	})
}

// Another uplink's PA is not reached through this one, and its kernel port is its own.
func TestW20TwoUplinks(t *testing.T) {
	set := dual(0, 0)
	set.ProviderAddresses[1].Port = "uplink2"
	set.Ports[gate] = policy.Port{Name: "uplink2", Role: policy.Uplink, MAC: packet.MAC{2, 0, 0, 0, 1, 0x0c}, MTU: 1500}
	set.Ports[kernel].Uplink = "uplink2"
	set.LookupRecords = slices.DeleteFunc(set.LookupRecords, func(r policy.LookupRecord) bool { return r.MAC == vmGate.mac })
	r := newRig(t, set, nvgre.Config{})
	ping4, ping6 := fromFabricTo(paHere).ping(), fromFabricTo(paHere6).ping()
	r.only(r.trip(uplink, ping4), uplink)
	r.only(r.trip(gate, ping6), gate)
	r.dropped(r.trip(uplink, ping6), uplink, 1, count.OuterOther)
	r.only(r.trip(gate, ping4), kernel)
	r.only(r.trip(kernel, ping4), gate)
	r.only(r.trip(gate, fromFabric()), kernel) // a tunnel packet through the wrong one
	r.only(r.trip(uplink, fromFabric()), blue1)
	tunnel6 := tunnel(6001, "2001:db8:2::20", paHere6, between(vmBlue2, vmBlue1, macBlue1, false).frame())
	r.dropped(r.trip(uplink, tunnel6), uplink, 1, count.OuterOther)
	r.balance(0)
}

// A group of PAs is received on the uplink of a PA in its VLAN, through which copies
// for it are sent (A20); what is not for it goes the ordinary way.
func TestA20_W20GroupOnlyWhereAPAIs(t *testing.T) {
	set := dual(103, 0)
	set.LookupRecords = append(set.LookupRecords, policy.LookupRecord{VSID: 6001, CA: addr("239.1.2.3"), MAC: groupMAC(addr("239.1.2.3")), PA: addr("239.255.128.7")})
	r := newRig(t, set, nvgre.Config{})
	d := toGroup("10.1.1.12", "239.1.2.3")
	d.from = macBlue2
	f := tunnel(6001, paFar, "239.255.128.7", d.frame())
	r.copies(r.trip(uplink, tagged(103, f)), d.frame(), 6001, []int{blue1, blue3})
	r.only(r.trip(uplink, f), kernel) // untagged is the IPv6 PA's
	// An IPv4 packet to the group that is no tunnel's.
	r.only(r.trip(uplink, tagged(103, fromFabricTo("239.255.128.7").frame())), kernel)
	r.balance(0)
}
