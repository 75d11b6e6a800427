package modes_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/gopacket/layers"

	"paca/dataplane/count"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
	"paca/dataplane/worker"
	"paca/modes/nvgre"
)

// told fails unless the control plane got one frame, of that kind, from or for that
// port, and as it was.
func (r *rig) told(kind worker.Kind, port uint16, frame []byte) {
	r.t.Helper()
	c := r.w.Punt.Peek()
	if c == nil {
		r.t.Error("the control plane was told nothing")
		return
	}
	if c.Kind != kind || c.Port != port || !bytes.Equal(c.Bytes(), frame) || int(c.Len) != len(frame) {
		r.t.Errorf("told of kind %d, port %d: %x; want %d, %d: %x", c.Kind, c.Port, c.Bytes(), kind, port, frame)
	}
	r.w.Punt.Pop()
	r.untold()
	if r.woken == 0 {
		r.t.Error("the control plane was not woken")
	}
	r.woken = 0
}

// untold fails if the control plane got anything.
func (r *rig) untold() {
	r.t.Helper()
	for c := r.w.Punt.Peek(); c != nil; c = r.w.Punt.Peek() {
		r.t.Errorf("told of kind %d, port %d: %x", c.Kind, c.Port, c.Bytes())
		r.w.Punt.Pop()
	}
}

// A16: what a VM whose CA no record tells says of its CA is for the control plane, and
// goes nowhere until that has made a record of it.
func TestA16LearnedFromARPAndND(t *testing.T) {
	all := packet.GroupMAC(packet.AllNodes)
	announce := arpRequest(vmFresh, vmFresh.v4, packet.Broadcast)
	for _, c := range []struct {
		name  string
		frame []byte
	}{
		{"request", arpRequest(vmFresh, vmServer.v4, packet.Broadcast)},
		{"unicast request", arpRequest(vmFresh, vmServer.v4, vmServer.mac)},
		{"announcement", announce},
		{"announcement by a reply", arpReply(vmFresh, vmFresh.v4, vmFresh, packet.Broadcast)},
		{"reply", arpReply(vmFresh, vmFresh.v4, vmServer, vmServer.mac)},
		{"solicitation", solicit(vmFresh, vmFresh.v6, vmServer.v6)},
		{"unicast solicitation", probe(vmFresh, vmServer.v6, vmServer.mac)},
		{"advertisement", advertise(vmFresh, vmFresh.v6, vmServer.v6, vmServer.mac, packet.NDSolicited)},
		{"announcement of IPv6", advertise(vmFresh, vmFresh.v6, "ff02::1", all, packet.NDOverride)},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, wholePolicy(), nvgre.Config{})
			r.dropped(r.trip(fresh, c.frame), fresh, 1, count.Learning)
			r.told(worker.Learn, fresh, c.frame)
			r.balance(0)
		})
	}
	for _, c := range []struct {
		name   string
		in     int
		frame  []byte
		reason count.Reason // Kept: answered or sent
	}{
		{"of a VM with records", blue1, arpRequest(vmBlue1, vmBlue2.v4, packet.Broadcast), count.Kept},
		{"spoofed by a VM with records", blue1, arpRequest(vm{macBlue1, "10.1.1.77", ""}, vmBlue2.v4, packet.Broadcast), count.SourceCA},
		{"of another VM's CA", fresh, arpReply(vmFresh, vmServer.v4, vmServer, vmServer.mac), count.ARPSelf},
		{"announcement of another VM's CA", fresh, arpRequest(vm{vmFresh.mac, vmServer.v4, ""}, vmServer.v4, packet.Broadcast), count.Kept}, // A7
		{"spoofed MAC", fresh, arpRequest(vm{vmFresh2.mac, vmFresh.v4, ""}, vmServer.v4, packet.Broadcast), count.SourceMAC},
		{"probe", fresh, solicit(vmFresh, "::", vmServer.v6), count.Kept},
		{"link-local", fresh, advertise(vmFresh, "fe80::1", vmServer.v6, vmServer.mac, 0), count.SourceCA},
		{"an IP packet", fresh, between(vmFresh, vmServer, vmServer.mac, false).frame(), count.SourceCA},
		{"an IPv6 packet", fresh, between(vmFresh, vmServer, vmServer.mac, true).frame(), count.SourceCA},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, wholePolicy(), nvgre.Config{})
			out := r.trip(c.in, c.frame)
			if c.reason == count.Kept {
				r.only(out, c.in)
			} else {
				r.dropped(out, c.in, 1, c.reason)
			}
			r.untold()
			r.balance(0)
		})
	}
}

// A VM that lives on another host by its record is not learned here.
func TestA16_P13NotLearnedElsewhere(t *testing.T) {
	set := wholePolicy()
	set.Ports[fresh].MAC = vmFresh2.mac
	r := newRig(t, set, nvgre.Config{})
	r.dropped(r.trip(fresh, arpRequest(vmFresh2, vmServer.v4, packet.Broadcast)), fresh, 1, count.SourceCA)
	r.dropped(r.trip(fresh, solicit(vmFresh2, vmFresh2.v6, vmServer.v6)), fresh, 1, count.SourceCA)
	r.untold()
	r.balance(0)
}

// Once there is a Dynamic record the VM is one like any other; without it again, it is
// learned anew.
func TestA16_A17LearnedAndForgotten(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		set := wholePolicy()
		r := newRig(t, set, nvgre.Config{})
		book, compiler := r.compile(set)
		ask := arpRequest(vmFresh, vmServer.v4, packet.Broadcast)
		if v6 {
			ask = solicit(vmFresh, vmFresh.v6, vmServer.v6)
		}
		sent := between(vmFresh, vmServer, vmServer.mac, v6).frame()
		back := tunnel(6004, paFar, paHere, between(vmServer, vmFresh, vmFresh.mac, v6).frame())
		record := policy.LookupRecord{VSID: 6004, CA: addr(vmFresh.ca(v6)), MAC: vmFresh.mac, PA: addr(paHere), Type: policy.Dynamic}
		for range 2 {
			r.dropped(r.trip(fresh, ask), fresh, 1, count.Learning)
			r.told(worker.Learn, fresh, ask)
			r.dropped(r.trip(fresh, sent), fresh, 1, count.SourceCA)

			r.apply(book, compiler, set, policy.Change{Verb: policy.Put, Object: record})
			r.only(r.trip(fresh, ask), fresh)
			r.only(r.trip(fresh, sent), uplink)
			r.only(r.trip(uplink, back), fresh)
			// Others are answered for it.
			r.untold()
			r.apply(book, compiler, set, policy.Change{Verb: policy.Delete, Object: record})
		}
		r.balance(0)
	})
}

// So many a second and port: the rest of a flood is dropped all the same, untold.
func TestA16_L32LearnRate(t *testing.T) {
	r := newRig(t, wholePolicy(), nvgre.Config{})
	ask := arpRequest(vmFresh, vmServer.v4, packet.Broadcast)
	for range 200 {
		r.trip(fresh, ask)
	}
	if n := r.punted(); n != 51 { // of 200 a second
		t.Errorf("told of %d at once", n)
	}
	r.now += time.Second
	r.dropped(r.trip(fresh, ask), fresh, 1, count.Learning)
	r.told(worker.Learn, fresh, ask)
	r.balance(0)
}

// One thing that a VM makes the control plane hear of does not keep another from it.
func TestL13_A14_A16LimitedApart(t *testing.T) {
	set := wholePolicy()
	set.VirtualSubnets[3].DHCP = true
	set.LookupRecords = append(set.LookupRecords, policy.LookupRecord{VSID: 6004, CA: addr(vmFresh.v4), MAC: vmFresh.mac, PA: addr(paHere), Type: policy.Dynamic})
	r := newRig(t, set, nvgre.Config{})
	ask := solicit(vmFresh, vmFresh.v6, vmServer.v6)
	lease := tunnel(6004, paFar, paHere, offer(vmServer, vmFresh, vmFresh.v4, vmFresh.mac))
	all := []input{
		one(fresh, between(vmFresh, vm{v4: "10.1.4.99"}, vmServer.mac, false).frame()), one(fresh, discover(vmFresh)), one(fresh, ask), one(uplink, lease),
	}
	kinds := []worker.Kind{worker.Miss, worker.DHCP, worker.Learn, worker.Learn}
	for spent := range all {
		r.now += time.Hour
		for range 100 {
			r.trip(all[spent].in, all[spent].frames[0])
			r.punted()
		}
		for i, x := range all {
			r.trip(x.in, x.frames[0])
			c := r.w.Punt.Peek()
			if told := c != nil; told != (i != spent) || told && (c.Kind != kinds[i] || c.Port != fresh) {
				t.Errorf("kind %d after many of %d: told %v", kinds[i], kinds[spent], told)
			}
			r.punted()
		}
	}
	r.balance(0)
}

// L10, A15: a DHCP server's answer to a VM that has no CA yet finds it by its MAC,
// here and there, out and in; the control plane of its host is told (A16).
func TestL10_A15_A16DHCPOffer(t *testing.T) {
	set := wholePolicy()
	server := vm{packet.MAC{2, 0, 0, 1, 4, 0x13}, "10.1.4.13", "fd00:4::13"} // on this host
	set.LookupRecords = append(set.LookupRecords, records(6004, server, paHere)...)
	set.Ports[blue3].VSID, set.Ports[blue3].MAC = 6004, server.mac
	r := newRig(t, set, nvgre.Config{})

	t.Run("discover", func(t *testing.T) {
		r.t = t
		r.copies(r.trip(fresh, discover(vmFresh)), discover(vmFresh), 6004, []int{blue3}, paFar, "192.168.2.40")
		r.copies(r.trip(uplink, tunnel(6004, "192.168.2.40", paHere, discover(vmFresh2))), discover(vmFresh2), 6004, []int{blue3, fresh})
		r.dropped(r.trip(uplink, tunnel(6004, "192.168.2.41", paHere, discover(vmFresh2))), uplink, 1, count.InnerSpoofed)
		r.untold()
	})
	t.Run("offer here, to the MAC", func(t *testing.T) {
		r.t = t
		f := offer(server, vmFresh, vmFresh.v4, vmFresh.mac)
		if got := r.only(r.trip(blue3, f), fresh)[0]; !bytes.Equal(got, f) {
			t.Errorf("%x became %x", f, got)
		}
		r.told(worker.Learn, fresh, f)
	})
	t.Run("offer here, to all", func(t *testing.T) {
		r.t = t
		f := offer(server, vmFresh, "255.255.255.255", packet.Broadcast)
		r.copies(r.trip(blue3, f), f, 6004, []int{fresh}, paFar, "192.168.2.40")
		r.told(worker.Learn, fresh, f)
	})
	t.Run("offer to a VM there", func(t *testing.T) {
		r.t = t
		f := offer(server, vmFresh2, vmFresh2.v4, vmFresh2.mac)
		w := unwrap(t, r.only(r.trip(blue3, f), uplink)[0])
		if w.to != "192.168.2.40" || w.vsid != 6004 || !bytes.Equal(w.inner, f) {
			t.Errorf("%+v", w)
		}
		r.untold() // its own host tells
		f = offer(server, vmFresh2, "255.255.255.255", packet.Broadcast)
		r.copies(r.trip(blue3, f), f, 6004, []int{fresh}, paFar, "192.168.2.40")
		r.untold()
	})
	t.Run("offer from there, to the MAC", func(t *testing.T) {
		r.t = t
		f := offer(vmServer, vmFresh, vmFresh.v4, vmFresh.mac)
		if got := r.only(r.trip(uplink, tunnel(6004, paFar, paHere, f)), fresh)[0]; !bytes.Equal(got, f) {
			t.Errorf("%x became %x", f, got)
		}
		r.told(worker.Learn, fresh, f)
		r.dropped(r.trip(uplink, tunnel(6004, "192.168.2.40", paHere, f)), uplink, 1, count.InnerSpoofed)
	})
	t.Run("offer from there, to all", func(t *testing.T) {
		r.t = t
		f := offer(vmServer, vmFresh, "255.255.255.255", packet.Broadcast)
		r.copies(r.trip(uplink, tunnel(6004, paFar, paHere, f)), f, 6004, []int{blue3, fresh})
		r.told(worker.Learn, fresh, f)
	})
	t.Run("offer to a VM with records", func(t *testing.T) {
		r.t = t
		f := offer(vmServer, server, "255.255.255.255", packet.Broadcast)
		r.copies(r.trip(uplink, tunnel(6004, paFar, paHere, f)), f, 6004, []int{blue3, fresh})
		f = offer(vmServer, server, server.v4, server.mac)
		r.only(r.trip(uplink, tunnel(6004, paFar, paHere, f)), blue3)
		r.untold()
	})
	t.Run("IPv6", func(t *testing.T) {
		r.t = t
		d := between(server, vmFresh, vmFresh.mac, true)
		d.sport, d.dport = 547, 546
		r.only(r.trip(blue3, d.frame()), fresh)
		r.told(worker.Learn, fresh, d.frame())
		// Any packet gets there that way: the first answer to it may be one.
		r.only(r.trip(blue3, between(server, vmFresh, vmFresh.mac, true).frame()), fresh)
		r.untold()
	})
	t.Run("nobody's MAC", func(t *testing.T) {
		r.t = t
		f := offer(server, vmFresh, vmFresh.v4, packet.MAC{2, 9, 9, 9, 9, 9})
		r.dropped(r.trip(blue3, f), blue3, 1, count.LookupFailed)
		r.told(worker.Miss, blue3, f)
		// That of a VM with records.
		f = offer(vmServer, server, vmFresh.v4, server.mac)
		r.dropped(r.trip(uplink, tunnel(6004, paFar, paHere, f)), uplink, 1, count.InnerUnknown)
		// That of another subnet's VM.
		d := between(vmBlue1, vmFresh, vmFresh.mac, false)
		r.dropped(r.trip(blue1, d.frame()), blue1, 1, count.LookupFailed)
		r.told(worker.Miss, blue1, d.frame())
	})
	r.t = t
	r.balance(0)
}

// A14: what a VM of a virtual subnet with DHCP asks goes to the control plane, whole,
// and nowhere else; the answer comes back through the same port.
func TestA14DHCPOfOwnHost(t *testing.T) {
	set := wholePolicy()
	set.VirtualSubnets[0].DHCP = true
	r := newRig(t, set, nvgre.Config{})
	renewal := func(dst string, to packet.MAC) []byte {
		return datagram{from: macBlue1, to: to, src: vmBlue1.v4, dst: dst, sport: 68, dport: 67}.dhcp4(layers.DHCPOpRequest, layers.DHCPMsgTypeRequest, macBlue1)
	}
	control := uint64(0)
	for _, c := range []struct {
		name  string
		frame []byte
	}{
		{"discover", discover(vmBlue1)},
		{"request of a new address", datagram{from: macBlue1, to: packet.Broadcast, src: "0.0.0.0", dst: "255.255.255.255", sport: 68, dport: 67}.dhcp4(layers.DHCPOpRequest, layers.DHCPMsgTypeRequest, macBlue1)},
		{"renewal, of the router", renewal("10.1.1.1", router1.mac)},
		{"renewal, of whoever answers", renewal("255.255.255.255", packet.Broadcast)},
		{"inform", renewal("10.1.1.255", packet.Broadcast)},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.t = t
			r.dropped(r.trip(blue1, c.frame), blue1, 0, count.Kept)
			r.told(worker.DHCP, blue1, c.frame)
			if control++; r.w.Count.Snapshot().Ports[blue1].Control != control {
				t.Error("not counted as the control plane's")
			}
			r.balance(0)
		})
	}
	t.Run("tagged", func(t *testing.T) {
		r.t = t
		r.dropped(r.trip(blue1, tagged(7, discover(vmBlue1))), blue1, 0, count.Kept)
		r.told(worker.DHCP, blue1, discover(vmBlue1))
	})
	t.Run("answer", func(t *testing.T) {
		r.t = t
		answer := offer(vm{mac: router1.mac, v4: "10.1.1.1"}, vmBlue1, vmBlue1.v4, macBlue1)
		r.w.Inject.Push(blue1, worker.DHCP, answer)
		r.injected++
		if got := r.only(r.trip(blue1), blue1)[0]; !bytes.Equal(got, answer) {
			t.Errorf("%x became %x", answer, got)
		}
	})
	t.Run("other MAC", func(t *testing.T) {
		r.t = t
		f := discover(vmBlue1)
		f[11]++
		r.dropped(r.trip(blue1, f), blue1, 1, count.SourceMAC)
		r.untold()
	})
	t.Run("to another server", func(t *testing.T) { // a VM's, by its address
		r.t = t
		r.only(r.trip(blue1, renewal(vmBlue2.v4, macBlue2)), uplink)
		r.dropped(r.trip(blue1, renewal("10.1.2.1", router1.mac)), blue1, 0, count.Kept) // a router's of another subnet is ours
		r.told(worker.DHCP, blue1, renewal("10.1.2.1", router1.mac))
	})
	t.Run("DHCPv6", func(t *testing.T) { // is not answered here
		r.t = t
		d := toGroup("fe80::1", "ff02::1:2")
		d.sport, d.dport = 546, 547
		r.copies(r.trip(blue1, d.frame()), d.frame(), 6001, []int{blue3}, paFar, "192.168.2.21")
		r.untold()
	})
	t.Run("a subnet without", func(t *testing.T) {
		r.t = t
		d := discover(vmBlue5)
		r.dropped(r.trip(blue5, d), blue5, 1, count.SourceCA)
		f := datagram{from: vmBlue5.mac, to: macRouter2, src: vmBlue5.v4, dst: "10.1.2.1", sport: 68, dport: 67}.dhcp4(layers.DHCPOpRequest, layers.DHCPMsgTypeRequest, vmBlue5.mac)
		r.dropped(r.trip(blue5, f), blue5, 1, count.RouterCA)
		r.untold()
	})
	t.Run("too many", func(t *testing.T) {
		r.t = t
		r.now += time.Hour
		for range 100 {
			r.trip(blue1, discover(vmBlue1))
		}
		if n := r.punted(); n != 51 || r.drops()["control_queue"] != 49 {
			t.Errorf("told of %d, drops %v", n, r.drops())
		}
		r.now += time.Hour
		for r.w.Punt.Push(0, worker.Neighbor, nil) { // fill the ring
		}
		r.dropped(r.trip(blue1, discover(vmBlue1)), blue1, 1, count.ControlQueue)
		r.punted()
	})
	r.t = t
	r.balance(0)
}

// A lease that is renewed comes to the CA that was learned, and is told all the same:
// here and from another host. A VM that came from another host is learned anew.
func TestA16_A17_L40RenewedAndMoved(t *testing.T) {
	set := wholePolicy()
	server := vm{packet.MAC{2, 0, 0, 1, 4, 0x13}, "10.1.4.13", "fd00:4::13"} // on this host
	set.LookupRecords = append(set.LookupRecords, records(6004, server, paHere)...)
	set.Ports[blue3].VSID, set.Ports[blue3].MAC = 6004, server.mac
	for _, ca := range []string{vmFresh.v4, vmFresh.v6} {
		set.LookupRecords = append(set.LookupRecords, policy.LookupRecord{VSID: 6004, CA: addr(ca), MAC: vmFresh.mac, PA: addr(paHere), Type: policy.Dynamic})
	}
	r := newRig(t, set, nvgre.Config{})
	f := offer(server, vmFresh, vmFresh.v4, vmFresh.mac)
	r.only(r.trip(blue3, f), fresh)
	r.told(worker.Learn, fresh, f)
	f = offer(vmServer, vmFresh, vmFresh.v4, vmFresh.mac)
	r.only(r.trip(uplink, tunnel(6004, paFar, paHere, f)), fresh)
	r.told(worker.Learn, fresh, f)
	r.only(r.trip(uplink, tunnel(6004, paFar, paHere, between(vmServer, vmFresh, vmFresh.mac, false).frame())), fresh)
	r.untold()
	r.balance(0)

	for i := range set.LookupRecords {
		if rec := &set.LookupRecords[i]; rec.Type == policy.Dynamic {
			rec.PA = addr(paFar)
		}
	}
	r = newRig(t, set, nvgre.Config{})
	for _, f := range [][]byte{
		arpRequest(vmFresh, vmServer.v4, packet.Broadcast),
		arpRequest(vmFresh, vmFresh.v4, packet.Broadcast),
		solicit(vmFresh, vmFresh.v6, vmServer.v6),
		advertise(vmFresh, vmFresh.v6, "ff02::1", packet.GroupMAC(packet.AllNodes), packet.NDOverride),
	} {
		r.dropped(r.trip(fresh, f), fresh, 1, count.Learning)
		r.told(worker.Learn, fresh, f)
	}
	r.balance(0)
}
