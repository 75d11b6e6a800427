package modes_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"paca/dataplane/count"
	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
	"paca/dataplane/port/memport"
	"paca/modes/nvgre"
)

// groupMAC is where frames for a multicast or broadcast address go.
func groupMAC(a netip.Addr) packet.MAC {
	if a.Is6() {
		return packet.GroupMAC(a.As16())
	}
	if b := a.As4(); b[0]>>4 == 14 {
		return packet.MAC{1, 0, 0x5e, b[1] & 0x7f, b[2], b[3]}
	}
	return packet.Broadcast
}

// toGroup is a datagram from an address of blue1 to several receivers.
func toGroup(src, dst string) datagram {
	return datagram{from: macBlue1, to: groupMAC(addr(dst)), src: src, dst: dst}
}

// mdns is a question that a VM asks everyone.
func mdns(src, dst string) []byte {
	d := toGroup(src, dst)
	d.ttl = 255
	return d.with(&layers.UDP{SrcPort: 5353, DstPort: 5353}, &layers.DNS{Questions: []layers.DNSQuestion{{Name: []byte("printer.local"), Type: layers.DNSTypeA, Class: layers.DNSClassIN}}})
}

// copies fails unless a frame came out as it was of each of those ports once and, in
// tunnel packets of that VSID, to each of those PAs once, and nowhere else.
func (r *rig) copies(out [nports][][]byte, frame []byte, vsid uint32, ports []int, pas ...string) {
	r.t.Helper()
	for i := range out {
		if i == uplink {
			continue
		}
		want := 0
		if slices.Contains(ports, i) {
			want = 1
		}
		if len(out[i]) != want {
			r.t.Errorf("port %d sent %d copies, want %d; drops %v", i, len(out[i]), want, r.drops())
		}
		for _, f := range out[i] {
			if !bytes.Equal(f, frame) {
				r.t.Errorf("%x became %x", frame, f)
			}
		}
	}
	var to []string
	for _, f := range out[uplink] {
		w := unwrap(r.t, f)
		to = append(to, w.to)
		if w.vsid != vsid || !bytes.Equal(w.inner, frame) {
			r.t.Errorf("VSID %d: %x became %x", w.vsid, frame, w.inner)
		}
	}
	slices.Sort(to)
	if slices.Sort(pas); !slices.Equal(to, pas) {
		r.t.Errorf("copies to %v, want %v; drops %v", to, pas, r.drops())
	}
}

// Once to each PA with VMs of the virtual subnet, however many, and once to each
// other port of it; not to the sender, not to other virtual subnets, not to the
// tenant with the same addresses.
func TestA21_A22_A24_L6_W18HeadEndReplication(t *testing.T) {
	set := wholePolicy()
	set.LookupRecords = append(set.LookupRecords, records(6001, vm{packet.MAC{2, 0, 0, 1, 1, 0x23}, "10.1.1.23", "fd00:1::23"}, "192.168.2.21")...)
	for _, c := range []struct {
		name     string
		frame    []byte
		multi    bool
		sameSize bool
	}{
		{"limited broadcast", toGroup("10.1.1.11", "255.255.255.255").frame(), false, true},
		{"directed broadcast", toGroup("10.1.1.11", "10.1.1.255").frame(), false, true},
		{"multicast", toGroup("10.1.1.11", "239.1.2.3").frame(), true, true},
		{"multicast of the link", toGroup("10.1.1.11", "224.0.0.5").frame(), true, true},
		{"mDNS", mdns("10.1.1.11", "224.0.0.251"), true, true},
		{"IPv6 multicast", toGroup("fd00:1::11", "ff05::1:3").frame(), true, true},
		{"all nodes", toGroup("fd00:1::11", "ff02::1").frame(), true, true},
		{"IPv6 from link-local", toGroup("fe80::1", "ff02::1:2").frame(), true, true},
		{"mDNS over IPv6", mdns("fe80::1", "ff02::fb"), true, true},
		{"router solicitation", toGroup("fe80::1", "ff02::2").icmp6(133, "\x00\x00\x00\x00"), true, true},
		{"router solicitation before there is an address", toGroup("::", "ff02::2").icmp6(133, "\x00\x00\x00\x00"), true, true},
		{"tagged", tagged(7, toGroup("10.1.1.11", "255.255.255.255").frame()), false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, set, nvgre.Config{})
			out := r.trip(blue1, c.frame)
			want := c.frame
			if !c.sameSize { // W7
				want = append(append([]byte(nil), want[:12]...), want[16:]...)
			}
			r.copies(out, want, 6001, []int{blue3}, paFar, "192.168.2.21")
			sent := "broadcast_sent"
			if c.multi {
				sent = "multicast_sent"
			}
			if e := r.events(); e[sent] != 1 || e["replicated"] != 2 || len(e) != 2 {
				t.Errorf("events %v", e)
			}
			if d := r.drops(); len(d) != 0 {
				t.Errorf("drops %v", d)
			}
			r.balance(0)
		})
	}
}

// What only looks like a broadcast, or does not leave its sender.
func TestA22_A24NoBroadcast(t *testing.T) {
	to := func(mac packet.MAC, d datagram) []byte { d.to = mac; return d.frame() }
	for _, c := range []struct {
		name   string
		frame  []byte
		reason count.Reason
	}{
		{"of another subnet", toGroup("10.1.1.11", "10.1.2.255").frame(), count.LookupFailed},
		{"of no subnet", toGroup("10.1.1.11", "198.51.100.255").frame(), count.LookupFailed},
		{"to one MAC", to(macBlue3, toGroup("10.1.1.11", "10.1.1.255")), count.Broadcast},
		{"limited, to one MAC", to(macBlue3, toGroup("10.1.1.11", "255.255.255.255")), count.Broadcast},
		{"multicast to one MAC", to(macBlue3, toGroup("10.1.1.11", "239.1.2.3")), count.Multicast},
		{"IPv6 multicast to one MAC", to(macBlue3, toGroup("fd00:1::11", "ff02::1")), count.Multicast},
		{"interface-local", toGroup("fd00:1::11", "ff01::1").frame(), count.Multicast},
		{"reserved scope", toGroup("fd00:1::11", "ff00::1").frame(), count.Multicast},
		{"from a group", toGroup("224.0.0.5", "224.0.0.5").frame(), count.SourceCA},
		{"ARP for another subnet", arpRequest(vmBlue1, "10.1.2.99", packet.Broadcast), count.ARPUnknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, wholePolicy(), nvgre.Config{})
			r.dropped(r.trip(blue1, c.frame), blue1, 1, c.reason)
			r.balance(0)
		})
	}
}

// A unicast packet in a broadcast frame is its receiver's alone: the frame's
// destination MAC plays no part.
func TestL7UnicastInBroadcastFrame(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		r := newRig(t, wholePolicy(), nvgre.Config{})
		got := r.only(r.trip(blue1, between(vmBlue1, vmBlue3, packet.Broadcast, v6).frame()), blue3)[0]
		if f := read(t, got); f.dst != macBlue3 {
			t.Errorf("destination %v", f.dst)
		}
		r.balance(0)
	})
}

// From which source a VM may speak to several: its own CA, none before it has one, any
// outside if it is a gateway, a link-local one always.
func TestL3_A15SourcesOfBroadcasts(t *testing.T) {
	for _, c := range []struct {
		name     string
		in       int
		mac      packet.MAC
		src, dst string
		passes   bool
	}{
		{"own", blue1, macBlue1, "10.1.1.11", "255.255.255.255", true},
		{"another's", blue1, macBlue1, "10.1.1.13", "255.255.255.255", false},
		{"a distant VM's", blue1, macBlue1, "10.1.1.12", "255.255.255.255", false},
		{"of another subnet", blue1, macBlue1, "10.1.2.11", "255.255.255.255", false},
		{"nobody's", blue1, macBlue1, "10.1.1.99", "255.255.255.255", false},
		{"the router's", blue1, macBlue1, "10.1.1.1", "255.255.255.255", false},
		{"none, but it has one", blue1, macBlue1, "0.0.0.0", "255.255.255.255", false},
		{"none yet", fresh, vmFresh.mac, "0.0.0.0", "255.255.255.255", true},
		{"not known", fresh, vmFresh.mac, "10.1.4.11", "255.255.255.255", false},
		{"outside, by a gateway", gate, vmGate.mac, outside.v4, "224.0.0.5", true},
		{"another's, by a gateway", gate, vmGate.mac, "10.1.3.253", "224.0.0.5", false},
		{"of another subnet, by a gateway", gate, vmGate.mac, "10.1.1.11", "224.0.0.5", false},
		{"own IPv6", blue1, macBlue1, "fd00:1::11", "ff02::1", true},
		{"another's IPv6", blue1, macBlue1, "fd00:1::13", "ff02::1", false},
		{"nobody's IPv6", blue1, macBlue1, "fd00:1::99", "ff02::1", false},
		{"link-local", blue1, macBlue1, "fe80::1234", "ff02::1", true},
		{"unspecified", blue1, macBlue1, "::", "ff02::16", true},
		{"not known IPv6", fresh, vmFresh.mac, "fd00:4::11", "ff02::1", false},
		{"outside IPv6, by a gateway", gate, vmGate.mac, outside.v6, "ff02::5", true},
		{"outside IPv6, by no gateway", blue1, macBlue1, outside.v6, "ff02::5", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, wholePolicy(), nvgre.Config{})
			d := toGroup(c.src, c.dst)
			d.from = c.mac
			out := r.trip(c.in, d.frame())
			if !c.passes {
				r.dropped(out, c.in, 1, count.SourceCA)
			} else if len(out[uplink]) == 0 || len(r.drops()) != 0 {
				t.Errorf("%d copies, drops %v", len(out[uplink]), r.drops())
			}
			r.balance(0)
		})
	}
}

// Nobody else is there.
func TestA21NoReceiver(t *testing.T) {
	set := wholePolicy()
	set.LookupRecords = slices.DeleteFunc(set.LookupRecords, func(r policy.LookupRecord) bool { return r.VSID == 6002 && r.MAC == vmBlue6.mac })
	r := newRig(t, set, nvgre.Config{})
	for _, d := range []datagram{toGroup("10.1.2.11", "10.1.2.255"), toGroup("fe80::1", "ff02::1")} {
		d.from = vmBlue5.mac
		r.dropped(r.trip(blue5, d.frame()), blue5, 1, count.NoReceiver)
	}
	if e := r.events(); len(e) != 0 {
		t.Errorf("events %v", e)
	}
	r.balance(0)
}

// A port's broadcasts and multicasts may become so many packets a second, here three
// of each; unicast does not count, nor does another port's, and time gives new ones.
func TestA21StormLimit(t *testing.T) {
	set := wholePolicy()
	set.Ports[blue1].StormLimit = 3 * 20
	r := newRig(t, set, nvgre.Config{})
	storm := func(n int) (passed int) {
		for i := range n {
			f := toGroup("10.1.1.11", "255.255.255.255").frame()
			if i%2 == 0 {
				f = toGroup("fe80::1", "ff02::1").frame()
			}
			passed += len(r.trip(blue1, f)[blue3])
		}
		return passed
	}
	if n := storm(100); n != 20/4+1 {
		t.Errorf("%d at once", n)
	}
	if n := r.drops()["storm"]; n != 94 {
		t.Errorf("%d drops", n)
	}
	for range 50 {
		r.only(r.trip(blue1, between(vmBlue1, vmBlue3, macBlue3, false).frame()), blue3)
	}
	d := toGroup("10.1.1.13", "255.255.255.255")
	d.from = macBlue3
	for range 50 {
		if out := r.trip(blue3, d.frame()); len(out[blue1]) != 1 {
			t.Fatal("another port's broadcasts are limited")
		}
	}
	r.now += time.Second / 20
	if n := storm(100); n != 1 {
		t.Errorf("%d after a twentieth of a second", n)
	}
	// The rate holds: ten seconds of a thousand a second.
	passed := 0
	for range 10000 {
		r.now += time.Millisecond
		passed += storm(1)
	}
	if passed < 200 || passed > 206 {
		t.Errorf("%d in ten seconds, want 200", passed)
	}
	r.now += time.Hour
	if n := storm(100); n != 6 {
		t.Errorf("%d at once after a long time", n)
	}
	r.balance(0)
}

// Copies that cannot be sent are dropped by name, at the sender's port, and the
// others go.
func TestA21SomePAsNotReady(t *testing.T) {
	set := wholePolicy()
	for i, pa := range []string{"192.168.1.77", "192.168.1.78", "172.16.0.1", "2001:db8:2::20"} { // silent, failed, no route; of the other family, and not for this sender
		set.LookupRecords = append(set.LookupRecords, policy.LookupRecord{VSID: 6001, CA: addr("10.1.1.100").Next(), MAC: packet.MAC{2, 0, 0, 3, 0, byte(i)}, PA: addr(pa)})
		set.LookupRecords[len(set.LookupRecords)-1].CA = netip.AddrFrom4([4]byte{10, 1, 1, byte(100 + i)})
	}
	want := map[string]uint64{"neighbor_queue": 1, "neighbor_failed": 1, "provider_route": 1}
	r := newRig(t, set, nvgre.Config{})
	f := toGroup("10.1.1.11", "255.255.255.255").frame()
	r.copies(r.trip(blue1, f), f, 6001, []int{blue3}, paFar, "192.168.2.21")
	drops := r.w.Count.Snapshot().Ports[blue1].Drops
	for name, n := range want {
		if why, _ := count.ReasonOf(name); drops[why] != n {
			t.Errorf("%d drops by %s at the sender's port, want %d", drops[why], name, n)
		}
	}
	r.balance(0)

	// Nobody else: the frame itself ends too.
	set.Ports[blue3].VSID = 0
	set.LookupRecords = slices.DeleteFunc(set.LookupRecords, func(r policy.LookupRecord) bool {
		return r.PA == addr(paFar) || r.PA == addr("192.168.2.21") || r.MAC == macBlue3
	})
	r = newRig(t, set, nvgre.Config{})
	r.copies(r.trip(blue1, f), f, 6001, nil)
	r.balance(0)
}

// More PAs than a burst has packets, and more copies than there are buffers.
func TestA21ManyPAs(t *testing.T) {
	set := wholePolicy()
	var pas []string
	for i := range 200 {
		pa := fmt.Sprintf("192.168.3.%d", i+1)
		pas = append(pas, pa)
		set.LookupRecords = append(set.LookupRecords, policy.LookupRecord{VSID: 6002, CA: netip.AddrFrom4([4]byte{10, 1, 2, byte(i + 20)}), MAC: packet.MAC{2, 0, 0, 3, 0, byte(i)}, PA: addr(pa)})
	}
	pas = append(pas, paFar)
	r := newRig(t, set, nvgre.Config{})
	f := toGroup("10.1.2.11", "255.255.255.255")
	f.from = vmBlue5.mac
	r.copies(r.trip(blue5, f.frame()), f.frame(), 6002, nil, pas...)
	if e := r.events(); e["replicated"] != 200 {
		t.Errorf("events %v", e)
	}
	r.balance(0)
	// A burst of them, of which the uplink's queue takes 1,024.
	out := r.trip(blue5, f.frame(), f.frame(), f.frame(), f.frame(), f.frame(), f.frame())
	if n := uint64(len(out[uplink])); n != 1024 || r.drops()["tx_full"] != 6*201-n {
		t.Errorf("%d copies, drops %v", n, r.drops())
	}
	r.balance(0)

	// As many buffers as are needed are enough.
	exact := newRig(t, wholePolicy(), nvgre.Config{})
	spent := make([]*mbuf.Mbuf, poolSize-3)
	exact.pool.Alloc(spent)
	b := toGroup("10.1.1.11", "255.255.255.255").frame()
	exact.copies(exact.trip(blue1, b), b, 6001, []int{blue3}, paFar, "192.168.2.21")
	exact.pool.Free(spent)
	exact.balance(0)

	spent = make([]*mbuf.Mbuf, poolSize-20)
	if !r.pool.Alloc(spent) {
		t.Fatal("no buffers")
	}
	out = r.trip(blue5, f.frame())
	r.pool.Free(spent)
	if n := uint64(len(out[uplink])); n == 0 || n+r.drops()["no_buffer"] != 201 {
		t.Errorf("%d copies, drops %v", n, r.drops())
	}
	r.balance(0)
}

// A port that takes no more has no share in the buffer that others still read.
func TestA21FullPort(t *testing.T) {
	r := newRig(t, wholePolicy(), nvgre.Config{})
	small, err := memport.New(memport.Config{Pool: r.pool, Depth: 2})
	if err != nil {
		t.Fatal(err)
	}
	r.w.Plug.Load().Ports[blue3] = small
	var frames [][]byte
	for i := range 6 {
		d := toGroup("10.1.1.12", "255.255.255.255")
		d.from, d.size = macBlue2, 100+i
		frames = append(frames, tunnel(6001, paFar, paHere, d.frame()))
	}
	out := r.trip(uplink, frames...)
	if n, m := len(out[blue1]), len(small.Drain(0)); n != 6 || m != 2 || r.drops()["tx_full"] != 4 {
		t.Errorf("%d and %d delivered, drops %v", n, m, r.drops())
	}
	for i, f := range out[blue1] {
		if read(t, f).size != 100+i {
			t.Errorf("frame %d is %x", i, f)
		}
	}
	r.balance(0)
}

// L25: from the fabric to all ports of the VSID, once each, and to no other host.
func TestL25_L23BroadcastToAllPorts(t *testing.T) {
	from2 := func(d datagram) []byte { d.from = macBlue2; return d.frame() }
	for _, c := range []struct {
		name     string
		frame    []byte
		received string
	}{
		{"broadcast", from2(toGroup("10.1.1.12", "255.255.255.255")), "broadcast_received"},
		{"directed", from2(toGroup("10.1.1.12", "10.1.1.255")), "broadcast_received"},
		{"before it has an address", from2(toGroup("0.0.0.0", "255.255.255.255")), "broadcast_received"},
		{"multicast", from2(toGroup("10.1.1.12", "239.1.2.3")), "multicast_received"},
		{"IPv6", from2(toGroup("fd00:1::12", "ff02::1")), "multicast_received"},
		{"IPv6 link-local", from2(toGroup("fe80::12", "ff02::1")), "multicast_received"},
		{"ARP", arpRequest(vmBlue2, "10.1.1.99", packet.Broadcast), "broadcast_received"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, wholePolicy(), nvgre.Config{})
			r.copies(r.trip(uplink, tunnel(6001, paFar, paHere, c.frame)), c.frame, 6001, []int{blue1, blue3})
			if e := r.events(); e[c.received] != 1 || e["replicated"] != 1 || len(e) != 2 {
				t.Errorf("events %v", e)
			}
			if d := r.drops(); len(d) != 0 {
				t.Errorf("drops %v", d)
			}
			r.balance(0)
		})
	}
	t.Run("other tenant", func(t *testing.T) {
		r := newRig(t, wholePolicy(), nvgre.Config{})
		d := toGroup("10.1.1.12", "255.255.255.255")
		d.from = macRed2
		r.copies(r.trip(uplink, tunnel(5001, paFar, paHere, d.frame())), d.frame(), 5001, []int{red1})
		r.balance(0)
	})
	t.Run("nobody here", func(t *testing.T) {
		r := newRig(t, wholePolicy(), nvgre.Config{})
		d := toGroup(vmRed6.v4, "255.255.255.255")
		d.from = vmRed6.mac
		r.dropped(r.trip(uplink, tunnel(5009, "192.168.2.60", paHere, d.frame())), uplink, 1, count.InnerBroadcast)
		r.balance(0)
	})
}

// L22 for groups: the source lives behind the outer source in that virtual subnet, or
// is nobody's and a VM of it lives there.
func TestL22_L25SpoofedBroadcast(t *testing.T) {
	for _, c := range []struct {
		name, src, dst, pa string
	}{
		{"another host's CA", "10.1.1.22", "255.255.255.255", paFar},
		{"a CA of this host", "10.1.1.13", "255.255.255.255", paFar},
		{"by ourselves", "10.1.1.11", "255.255.255.255", paHere},
		{"of another subnet", "10.1.2.12", "255.255.255.255", paFar},
		{"the router's", "10.1.1.1", "255.255.255.255", paFar},
		{"no address, by a host without VMs of it", "0.0.0.0", "255.255.255.255", "192.168.2.30"},
		{"outside, by a gateway of another subnet", "198.51.100.7", "255.255.255.255", "192.168.2.30"},
		{"nobody's, by nobody", "10.1.1.99", "255.255.255.255", "192.168.2.99"},
		{"another host's IPv6 CA", "fd00:1::22", "ff02::1", paFar},
		{"link-local, by a host without VMs of it", "fe80::1", "ff02::1", "192.168.2.30"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, wholePolicy(), nvgre.Config{})
			d := toGroup(c.src, c.dst)
			d.from = macBlue2
			r.dropped(r.trip(uplink, tunnel(6001, c.pa, paHere, d.frame())), uplink, 1, count.InnerSpoofed)
			r.balance(0)
		})
	}
	t.Run("ARP", func(t *testing.T) {
		r := newRig(t, wholePolicy(), nvgre.Config{})
		r.dropped(r.trip(uplink, tunnel(6001, paFar, paHere, arpRequest(vmBlue4, "10.1.1.99", packet.Broadcast))), uplink, 1, count.InnerSpoofed)
		r.balance(0)
	})
}

// A received broadcast that some port is too small for does not get there, by name.
func TestL25_M5BroadcastToSmallPort(t *testing.T) {
	set := wholePolicy()
	set.Ports[blue1].MTU = 1400
	r := newRig(t, set, nvgre.Config{})
	for _, size := range []int{1400, 1401} {
		d := toGroup("10.1.1.12", "255.255.255.255")
		d.from, d.size = macBlue2, size
		ports := []int{blue1, blue3}
		if size > 1400 {
			ports = []int{blue3}
		}
		r.copies(r.trip(uplink, tunnel(6001, paFar, paHere, d.frame())), d.frame(), 6001, ports)
	}
	if d := r.drops(); len(d) != 1 || d["mtu_exceeded"] != 1 {
		t.Errorf("drops %v", d)
	}
	r.balance(0)
}

// grouped is wholePolicy with a multicast and the limited broadcast of 6001 mapped to
// groups of PAs.
func grouped() *policy.Set {
	set := wholePolicy()
	set.LookupRecords = append(set.LookupRecords,
		policy.LookupRecord{VSID: 6001, CA: addr("239.1.2.3"), MAC: groupMAC(addr("239.1.2.3")), PA: addr("239.255.128.7")},
		policy.LookupRecord{VSID: 6001, CA: addr("255.255.255.255"), MAC: packet.Broadcast, PA: addr("239.255.128.8")},
		policy.LookupRecord{VSID: 6001, CA: addr("ff05::1:3"), MAC: groupMAC(addr("ff05::1:3")), PA: addr("239.255.128.7")})
	return set
}

// A20: what a record maps goes to the group of PAs in one copy, and to the other ports
// here; all else by head-end replication.
func TestA20_W18GroupOfPAs(t *testing.T) {
	for _, vlan := range []uint16{0, 103} {
		set := grouped()
		set.ProviderAddresses[0].VLAN = vlan
		r := newRig(t, set, nvgre.Config{})
		for _, c := range []struct {
			src, dst string
			pa       string
			mac      packet.MAC
		}{
			{"10.1.1.11", "239.1.2.3", "239.255.128.7", packet.MAC{1, 0, 0x5e, 0x7f, 0x80, 7}},
			{"10.1.1.11", "255.255.255.255", "239.255.128.8", packet.MAC{1, 0, 0x5e, 0x7f, 0x80, 8}},
			{"fd00:1::11", "ff05::1:3", "239.255.128.7", packet.MAC{1, 0, 0x5e, 0x7f, 0x80, 7}},
		} {
			f := toGroup(c.src, c.dst).frame()
			out := r.trip(blue1, f)
			r.copies(out, f, 6001, []int{blue3}, c.pa)
			if w := unwrap(t, out[uplink][0]); w.hop != c.mac || w.vlan != vlan || w.from != paHere {
				t.Errorf("%+v", w)
			}
		}
		for _, d := range []datagram{toGroup("10.1.1.11", "239.1.2.4"), toGroup("10.1.1.11", "10.1.1.255"), toGroup("fd00:1::11", "ff02::1")} {
			r.copies(r.trip(blue1, d.frame()), d.frame(), 6001, []int{blue3}, paFar, "192.168.2.21")
		}
		if e := r.events(); e["replicated"] != 3*1+3*2 {
			t.Errorf("events %v", e)
		}
		r.balance(0)
	}
}

// What others send to the group is received, in a VLAN of our PAs, if its source lives
// behind the sender; and is for groups alone.
func TestA20_W20_L22_L25FromGroupOfPAs(t *testing.T) {
	d := toGroup("10.1.1.12", "239.1.2.3")
	d.from = macBlue2
	set := grouped()
	set.ProviderAddresses[0].VLAN = 103
	r := newRig(t, set, nvgre.Config{})
	toGroup := func(pa string, inner []byte) []byte {
		f := tunnel(6001, paFar, pa, inner)
		copy(f, []byte{1, 0, 0x5e, 0x7f, 0x80, 7})
		return f
	}
	r.copies(r.trip(uplink, tagged(103, toGroup("239.255.128.7", d.frame()))), d.frame(), 6001, []int{blue1, blue3})

	for _, c := range []struct {
		name   string
		frame  []byte
		reason count.Reason
	}{
		{"untagged", toGroup("239.255.128.7", d.frame()), count.OuterOther},
		{"other VLAN", tagged(104, toGroup("239.255.128.7", d.frame())), count.OuterOther},
		{"other group", tagged(103, toGroup("239.255.128.9", d.frame())), count.OuterOther},
		{"spoofed", tagged(103, tunnel(6001, "192.168.2.21", "239.255.128.7", d.frame())), count.InnerSpoofed},
		{"for one VM", tagged(103, toGroup("239.255.128.7", between(vmBlue2, vmBlue1, macBlue1, false).frame())), count.InnerUnknown},
		{"fragment", tagged(103, fragment(toGroup("239.255.128.7", d.frame()), 0, true)), count.OuterFragment},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.t = t
			out := r.trip(uplink, c.frame)
			if c.reason == count.OuterOther { // the host's, which may be in that group
				if got := r.only(out, kernel)[0]; !bytes.Equal(got, c.frame) {
					t.Errorf("%x became %x", c.frame, got)
				}
				return
			}
			r.dropped(out, uplink, 1, c.reason)
		})
	}
	r.t = t
	r.balance(0)
}

// The same over IPv6 PAs.
func TestA20_W18GroupOfIPv6PAs(t *testing.T) {
	const here, far, group = "2001:db8:1::10", "2001:db8:2::20", "ff35::8:7"
	set := wholePolicy()
	set.ProviderAddresses = []policy.ProviderAddress{{Prefix: prefix(here + "/64"), Port: "uplink"}}
	set.ProviderRoutes = []policy.ProviderRoute{{Port: "uplink", Prefix: prefix("::/0"), NextHop: addr("2001:db8:1::1")}}
	set.LookupRecords = slices.Concat(records(6001, vmBlue1, here), records(6001, vmBlue3, here), records(6001, vmBlue2, far),
		[]policy.LookupRecord{{VSID: 6001, CA: addr("239.1.2.3"), MAC: groupMAC(addr("239.1.2.3")), PA: addr(group)}})
	r := newRig(t, set, nvgre.Config{})
	d := toGroup("10.1.1.11", "239.1.2.3")
	out := r.trip(blue1, d.frame())
	r.copies(out, d.frame(), 6001, []int{blue3}, group)
	if w := unwrap(t, out[uplink][0]); w.hop != (packet.MAC{0x33, 0x33, 0, 8, 0, 7}) || w.from != here {
		t.Errorf("%+v", w)
	}
	d.from, d.src = macBlue2, "10.1.1.12"
	r.copies(r.trip(uplink, tunnel(6001, far, group, d.frame())), d.frame(), 6001, []int{blue1, blue3})
	out = r.trip(uplink, tunnel(6001, "2001:db8:2::21", group, d.frame()))
	r.dropped(out, uplink, 1, count.InnerSpoofed)
	r.balance(0)
}

// Too large for one of those that get it: cut for all, so that nobody gets half; an
// error for a broadcast there is none (M9).
func TestM5_M7_M9LargeBroadcast(t *testing.T) {
	r := newRig(t, wholePolicy(), nvgre.Config{})
	d := toGroup("10.1.1.11", "255.255.255.255")
	d.size = 1458
	r.copies(r.trip(blue1, d.frame()), d.frame(), 6001, []int{blue3}, paFar, "192.168.2.21")

	d.size = 1460 // gopacket knows no fragments of less than 8 bytes
	out := r.trip(blue1, d.frame())
	if len(out[uplink]) != 4 || len(out[blue3]) != 2 {
		t.Errorf("%d copies sent, %d here", len(out[uplink]), len(out[blue3]))
	}
	wholeAgain(t, out[blue3], d.frame(), 1458)
	perPA := map[string][][]byte{}
	for _, f := range out[uplink] {
		w := unwrap(t, f)
		perPA[w.to] = append(perPA[w.to], w.inner)
	}
	for pa, fragments := range perPA {
		t.Log(pa)
		wholeAgain(t, fragments, d.frame(), 1458)
	}

	d.df = true
	r.dropped(r.trip(blue1, d.frame()), blue1, 1, count.MTUExceeded)
	six := toGroup("fd00:1::11", "ff02::1")
	six.size = 1459
	r.dropped(r.trip(blue1, six.frame()), blue1, 1, count.MTUExceeded)
	r.balance(0)

	set := wholePolicy()
	set.Ports[blue3].MTU = 1300
	r = newRig(t, set, nvgre.Config{})
	d.df, d.size = false, 1301+7
	out = r.trip(blue1, d.frame())
	wholeAgain(t, out[blue3], d.frame(), 1300)
	if len(out[uplink]) != 4 || len(r.drops()) != 0 {
		t.Errorf("%d copies sent, drops %v", len(out[uplink]), r.drops())
	}
	r.balance(0)
}

// A rewrite subnet carries none (R20).
func TestR20NoBroadcastInRewriteSubnet(t *testing.T) {
	set := wholePolicy()
	set.VirtualSubnets[0].Mode = policy.Rewrite
	set.LookupRecords = []policy.LookupRecord{
		{VSID: 6001, CA: addr("10.1.1.11"), MAC: macBlue1, PA: addr(paHere)},
		{VSID: 6001, CA: addr("10.1.1.12"), MAC: macBlue2, PA: addr(paFar)},
	}
	r := newRig(t, set, nvgre.Config{})
	r.dropped(r.trip(blue1, toGroup("10.1.1.11", "255.255.255.255").frame()), blue1, 1, count.Broadcast)
	r.dropped(r.trip(blue1, toGroup("10.1.1.11", "239.1.2.3").frame()), blue1, 1, count.Multicast)
	r.balance(0)
}

// MLD reports have a hop-by-hop header, behind which they are found all the same.
func TestA21MulticastListenerReport(t *testing.T) {
	r := newRig(t, wholePolicy(), nvgre.Config{})
	d := toGroup("fe80::1", "ff02::16")
	report := d.with(&layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(143, 0)}, gopacket.Payload("\x00\x00\x00\x01"))
	f := append(append(append([]byte(nil), report[:54]...), packet.ProtoICMPv6, 0, 5, 2, 0, 0, 1, 0), report[54:]...) // router alert
	f[20] = packet.ProtoHopByHop
	f[19] += 8
	r.copies(r.trip(blue1, f), f, 6001, []int{blue3}, paFar, "192.168.2.21")
	r.balance(0)
}
