package modes_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"paca/dataplane/packet"
	"paca/dataplane/policy"
	"paca/dataplane/worker"
	"paca/modes/nvgre"
)

// What the fabric does to rewritten packets, and what comes from it that no VM sent.

// fault is an ICMP error about the packet that begins with quote, from a router.
func fault(src, dst netip.Addr, typ, code byte, rest uint32, quote []byte) []byte {
	msg := binary.BigEndian.AppendUint32([]byte{typ, code, 0, 0}, rest)
	msg = append(msg, quote...)
	if src.Is6() {
		h := make([]byte, 40)
		h[0], h[6], h[7] = 0x60, packet.ProtoICMPv6, 60
		binary.BigEndian.PutUint16(h[4:], uint16(len(msg)))
		copy(h[8:], src.AsSlice())
		copy(h[24:], dst.AsSlice())
		binary.BigEndian.PutUint16(msg[2:], sum(pseudo(src, dst, packet.ProtoICMPv6, len(msg)), msg))
		return append(h, msg...)
	}
	h := make([]byte, 20)
	h[0], h[1], h[8], h[9] = 0x45, 0xc0, 250, packet.ProtoICMP
	binary.BigEndian.PutUint16(h[2:], uint16(20+len(msg)))
	copy(h[12:], src.AsSlice())
	copy(h[16:], dst.AsSlice())
	binary.BigEndian.PutUint16(h[10:], sum(h))
	binary.BigEndian.PutUint16(msg[2:], sum(msg))
	return append(h, msg...)
}

var fabricRouter = pas{"172.16.9.1", "2001:db8:9::1"}

// Whatever a VM sent, what a router of the fabric says about it reaches the VM as if
// the distributed router of its virtual subnet had said it about what it sent: every
// checksum from scratch, all that follows the quote as it was.
func TestM14_R14_R16_R17_R18FabricErrors(t *testing.T) {
	one, _ := hosts(t, router(worker.Router{KeepTTL: true}))
	seed := seeded(t)
	for i := range uint64(6000) {
		v6 := i%2 == 1
		c := []struct {
			in       int
			src, dst vm
			from, to pas
			router   vm
		}{
			{blue1, vmBlue1, vmBlue2, paBlue1, paBlue2, router1},
			{blue1, vmBlue1, vmBlue6, paBlue1, paBlue6, router1},
			{blue5, vmBlue5, vmBlue2, paBlue5, paBlue2, vm{macRouter2, "10.1.2.1", "fd00:2::1"}},
			{green1, vmGreen1, vmGreen2, paGreen1, paGreen2, router1},
		}[i/2%4]
		sent, _ := samples(seed+i, nil, addr(c.src.ca(v6)), addr(c.dst.ca(v6)), false)
		wire, _ := samples(seed+i, nil, addr(c.from.pa(v6)), addr(c.to.pa(v6)), false)
		r := rand.New(rand.NewPCG(seed+i, 2))
		at := r.IntN(len(sent))
		header := 40
		if !v6 {
			header = int(sent[at][0]&15) * 4
		}
		n := header + 2*r.IntN(min(600, len(sent[at])-header)/2+1)
		tail, rest := []byte(nil), r.Uint32()
		typ := []byte{3, 11, 12, 4}[r.IntN(4)]
		if v6 {
			typ = 1 + byte(r.IntN(4))
		}
		if r.IntN(3) == 0 && n >= 128 { // an extension (RFC 4884), of which the message says how long the quote is
			n &^= 7
			tail = []byte{0x20, 0, 0, 0, 0, 8, 1, 1, byte(i), 2, 3, 4}
			rest = rest&^0xff0000 | uint32(n/4)<<16
			if v6 {
				rest = rest&0xffffff | uint32(n/8)<<24
			}
		} else {
			rest &^= 0xff0000
			if v6 {
				rest &= 0xffffff
			}
		}
		told := func(quote []byte) []byte { return append(append([]byte(nil), quote[:n]...), tail...) }
		in := fault(addr(fabricRouter.pa(v6)), addr(c.from.pa(v6)), typ, byte(i%7), rest, told(wire[at]))
		want := fault(addr(c.router.ca(v6)), addr(c.src.ca(v6)), typ, byte(i%7), rest, told(sent[at]))
		got := one.only(one.trip(uplink, framed(macUplink, macRouter, in)), c.in)[0]
		if want := framed(c.src.mac, c.router.mac, want); !bytes.Equal(got, want) {
			t.Fatalf("-seed=%d:\nsent %x\n  in %x\n got %x\nwant %x", seed+i, sent[at], in, got, want)
		}
	}
	one.balance(0)
	if e := one.events(); e["fabric_error"] != 6000 {
		t.Errorf("events %v", e)
	}
}

// ICMP that concerns no VM is the PA's: it answers pings, the host hears the rest.
func TestR5_R18FabricICMPOfNoVM(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		one, _ := hosts(t)
		from, to := addr(fabricRouter.pa(v6)), addr(paBlue1.pa(v6))
		quoted := func(src, dst pas) []byte {
			q, _ := samples(7, nil, addr(src.pa(v6)), addr(dst.pa(v6)), false)
			return q[0][:48]
		}
		unreachable := byte(3)
		if v6 {
			unreachable = 1
		}
		for name, quote := range map[string][]byte{
			"another PA's packet":             quoted(paBlue3, paBlue2),
			"to a PA of nobody":               quoted(paBlue1, pas{"192.168.2.99", "2001:db8:2::99"}),
			"to another tenant":               quoted(paBlue1, paGreen2),
			"a packet of CAs":                 quoted(pas{vmBlue1.v4, vmBlue1.v6}, pas{vmBlue2.v4, vmBlue2.v6}),
			"on its way back":                 quoted(paBlue2, paBlue1),
			"no IP":                           make([]byte, 48),
			"hardly anything":                 {1, 2, 3},
			"of another family, or no header": append([]byte{0x4f}, make([]byte, 30)...),
		} {
			f := framed(macUplink, macRouter, fault(from, to, unreachable, 3, 0, quote))
			if got := one.only(one.trip(uplink, f), kernel)[0]; !bytes.Equal(got, f) {
				t.Errorf("%s: %x became %x", name, f, got)
			}
			if c := one.w.Punt.Peek(); c == nil || c.Kind != worker.ICMP || !bytes.Equal(c.Bytes(), f) {
				t.Errorf("%s: not told to the control plane", name)
			} else {
				one.w.Punt.Pop()
			}
		}
		if !v6 { // a redirect, to a router of the fabric, is the host's
			f := framed(macUplink, macRouter, fault(from, to, 5, 1, 0xc0a80102, quoted(paBlue1, paBlue2)))
			if got := one.only(one.trip(uplink, f), kernel)[0]; !bytes.Equal(got, f) {
				t.Errorf("a redirect became %x", got)
			}
			one.w.Punt.Pop()
		}
		d := datagram{from: macRouter, to: macUplink, src: fabricRouter.pa(v6), dst: paBlue1.pa(v6)}
		got := read(t, one.only(one.trip(uplink, d.ping()), uplink)[0])
		if got.from != to || got.to != from || got.dst != macRouter {
			t.Errorf("ping answered by %v %v to %v %v", got.src, got.from, got.dst, got.to)
		}
		one.balance(0)
	})
}

// A router of the fabric counts TTL down and fragments what may be: the VM sees
// both, and puts together what was sent.
func TestR12_R14_R15FragmentedInTheFabric(t *testing.T) {
	one, two := hosts(t)
	d := between(vmBlue1, vmBlue2, macBlue2, false)
	d.size = 1400
	sent := d.frame()
	wire := one.only(one.trip(blue1, sent), uplink)[0]
	var l packet.Layout
	packet.Parse(wire, &l)
	ip := packet.IPv4(wire[14:])
	ip.SetTTL(ip.TTL() - 3)
	ip.SetChecksum(0)
	ip.SetChecksum(sum(ip[:20]))
	var got [][]byte
	for i := range packet.Fragments(wire, &l, 620) {
		f := make([]byte, 1514)
		f = f[:packet.WriteFragment(f, wire, &l, 620, i)]
		got = append(got, two.only(two.trip(uplink, f), blue2)...)
	}
	if len(got) != 3 || got[0][22] != 61 {
		t.Errorf("%d fragments, TTL %d", len(got), got[0][22])
	}
	for _, f := range got {
		f[22] = 64
		binary.BigEndian.PutUint16(f[24:], 0)
		binary.BigEndian.PutUint16(f[24:], sum(f[14:34]))
	}
	wholeAgain(t, got, sent, 620)
	two.balance(0)
}

// An ICMP error cut in the middle of its quote: what is whole of it is rewritten, the
// checksum of the message is right on the wire, and everything is as it was in the end.
func TestR12_R16ErrorCutInItsQuote(t *testing.T) {
	one, two := hosts(t)
	for cut := 16; cut <= 64; cut += 8 {
		quote, _ := samples(11, nil, addr(vmBlue2.v4), addr(vmBlue1.v4), false)
		whole := fault(addr(vmBlue1.v4), addr(vmBlue2.v4), 3, 3, 0, quote[0][:min(len(quote[0]), 80)])
		var wire []byte
		for i, part := range [][]byte{whole[20 : 20+cut], whole[20+cut:]} {
			h := append([]byte(nil), whole[:20]...)
			binary.BigEndian.PutUint16(h[2:], uint16(20+len(part)))
			binary.BigEndian.PutUint16(h[6:], []uint16{0x2000, uint16(cut / 8)}[i])
			binary.BigEndian.PutUint16(h[10:], 0)
			binary.BigEndian.PutUint16(h[10:], sum(h))
			sent := framed(macBlue2, macBlue1, append(h, part...))
			f := one.only(one.trip(blue1, sent), uplink)[0]
			if sum(f[14:34]) != 0 {
				t.Errorf("cut at %d: header checksum of %x", cut, f)
			}
			wire = append(wire, f[34:]...)
			if got := two.only(two.trip(uplink, routed(f)), blue2)[0]; !bytes.Equal(got, sent) {
				t.Errorf("cut at %d: %x became %x", cut, sent, got)
			}
		}
		if sum(wire) != 0 {
			t.Errorf("cut at %d: checksum of %x on the wire", cut, wire)
		}
	}
}

// A packet for the PA of a VM of another host is none of ours (W20).
func TestR5_W20PAOfAnotherHost(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		one, _ := hosts(t)
		d := datagram{from: macRouter, to: macUplink, src: paBlue6.pa(v6), dst: paBlue2.pa(v6)}
		if got := one.only(one.trip(uplink, d.frame()), kernel)[0]; !bytes.Equal(got, d.frame()) {
			t.Errorf("%x became %x", d.frame(), got)
		}
		one.balance(0)
	})
}

// With use_vm_mac, the VM's MAC is its PA's: frames come from it, and neighbors on the
// physical network are told it.
func TestP24_R7_R19OwnMAC(t *testing.T) {
	set := rewritePolicy(1)
	for i := range set.LookupRecords {
		set.LookupRecords[i].UseVMMAC = set.LookupRecords[i].VSID == 6001 && !set.LookupRecords[i].Router()
	}
	families(t, func(t *testing.T, v6 bool) {
		one := newRig(t, set, nvgre.Config{})
		f := one.only(one.trip(blue1, between(vmBlue1, vmBlue2, macBlue2, v6).frame()), uplink)[0]
		if r := read(t, f); r.src != macBlue1 || r.dst != macRouter {
			t.Errorf("on the wire from %v to %v", r.src, r.dst)
		}
		f = one.only(one.trip(blue5, between(vmBlue5, vmBlue6, vmBlue6.mac, v6).frame()), uplink)[0]
		if r := read(t, f); r.src != macUplink {
			t.Errorf("a VM without use_vm_mac is on the wire as %v", r.src)
		}
	})
	one := newRig(t, set, nvgre.Config{})
	ask := packet.AppendARP(nil, &packet.ARPFrame{DstMAC: packet.Broadcast, SrcMAC: macRouter,
		ARPFields: packet.ARPFields{Op: packet.ARPOpRequest, SenderMAC: macRouter, SenderIP: [4]byte{192, 168, 1, 1}, TargetIP: addr(paBlue1.v4).As4()}})
	if got := read(t, one.only(one.trip(uplink, ask), uplink)[0]); !bytes.Equal(got.arp.SourceHwAddress, macBlue1[:]) || got.src != macBlue1 {
		t.Errorf("ARP answer %+v", got.arp)
	}
	target := addr(paBlue3.v6).As16()
	ns := packet.AppendNS(nil, &packet.NSFrame{DstMAC: packet.GroupMAC(packet.SolicitedNode(target)), SrcMAC: macRouter,
		Src: addr("2001:db8:1::1").As16(), Dst: packet.SolicitedNode(target), Target: target})
	got := one.only(one.trip(uplink, ns), uplink)[0]
	var l packet.Layout
	packet.Parse(got, &l)
	if _, mac, _, _, ok := packet.ParseNA(got, &l); !ok || mac != macBlue3 || packet.Ethernet(got).Src() != macBlue3 {
		t.Errorf("advertised %v in %x", mac, got)
	}
	one.balance(0)
}

// The VLAN is the PA's: the tag goes on behind the VM and off before the other.
func TestR3_R5VLAN(t *testing.T) {
	set := rewritePolicy(1)
	for i := range set.ProviderAddresses {
		set.ProviderAddresses[i].VLAN = 103
	}
	one := newRig(t, set, nvgre.Config{})
	for _, v := range rewritten {
		sent := framed(macBlue2, macBlue1, unhex(v.inner))
		want := tagged(103, framed(macRouter, macUplink, unhex(v.wire)))
		if got := one.only(one.trip(blue1, sent), uplink)[0]; !bytes.Equal(got, want) {
			t.Errorf("%s\n got %x\nwant %x", v.name, got, want)
		}
	}
	d := datagram{from: macRouter, to: macUplink, src: paBlue2.v4, dst: paBlue1.v4}
	back := d.frame()
	got := read(t, one.only(one.trip(uplink, tagged(103|3<<13, back)), blue1)[0])
	if got.from != addr(vmBlue2.v4) || got.to != addr(vmBlue1.v4) || got.src != macBlue2 || got.dst != macBlue1 {
		t.Errorf("delivered %+v", got)
	}
	for _, vid := range []uint16{0, 104} {
		f := back
		if vid != 0 {
			f = tagged(vid, back)
		}
		if got := one.only(one.trip(uplink, f), kernel)[0]; !bytes.Equal(got, f) { // W20: not ours
			t.Errorf("in VLAN %d: %x", vid, got)
		}
	}
	one.balance(0)
}

// Both modes in one burst over one uplink, and three tenants with the same addresses:
// everybody's packets arrive at his own.
func TestR2_R6_R22SideBySide(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		one, two := hosts(t)
		var wire [][]byte
		for _, c := range []struct {
			in       int
			src, dst vm
		}{{red1, vmRed1, vmRed2}, {blue1, vmBlue1, vmBlue2}, {green1, vmGreen1, vmGreen2}, {gate, vmGate, vmGate2}} {
			d := between(c.src, c.dst, c.dst.mac, v6)
			for port := range uint16(5) {
				d.sport, d.dport = 0xc000+port, 0xd000
				wire = append(wire, one.only(one.trip(c.in, d.frame()), uplink)...)
			}
		}
		for i := range wire {
			wire[i] = routed(wire[i])
		}
		rand.New(rand.NewPCG(1, 1)).Shuffle(len(wire), func(i, j int) { wire[i], wire[j] = wire[j], wire[i] })
		out := two.trip(uplink, wire...)
		for i, c := range map[int][2]vm{red1: {vmRed1, vmRed2}, blue2: {vmBlue1, vmBlue2}, green2: {vmGreen1, vmGreen2}, gate: {vmGate, vmGate2}} {
			if len(out[i]) != 5 {
				t.Fatalf("port %d: %d packets; drops %v", i, len(out[i]), two.drops())
			}
			for _, f := range out[i] {
				d := between(c[0], c[1], c[1].mac, v6)
				d.sport, d.dport = read(t, f).ports()
				if !bytes.Equal(f, d.frame()) {
					t.Errorf("port %d got %x", i, f)
				}
			}
		}
		one.balance(0)
		two.balance(0)
	})
}

func (r told) ports() (src, dst uint16) { return uint16(r.udp.SrcPort), uint16(r.udp.DstPort) }

// A virtual subnet changes its mode while packets pass, as one change of policy on
// each host: what is sent after it arrives, and of what is on its way nothing arrives
// as anything that it is not. A tunnel packet whose VMs are rewritten by now is a GRE
// packet between two of them, and the VM, which did not expect one, gets it.
func TestR4_R6ModeChangesLive(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		one, two := hosts(t)
		set1, set2 := rewritePolicy(1), rewritePolicy(2)
		book1, c1 := one.compile(set1)
		book2, c2 := two.compile(set2)
		change := func(mode policy.Mode) (all []policy.Change) {
			for _, vsid := range []policy.VSID{6001, 6002} {
				vs, _ := book1.Subnet(vsid)
				vs.Mode = mode
				all = append(all, policy.Change{Verb: policy.Put, Object: vs})
			}
			return all
		}
		sent := between(vmBlue1, vmBlue2, macBlue2, v6).frame()
		cross := func() []byte { return routed(one.only(one.trip(blue1, sent), uplink)[0]) }
		arrives := func(f []byte) {
			t.Helper()
			if got := two.only(two.trip(uplink, f), blue2)[0]; !bytes.Equal(got, sent) {
				t.Errorf("%x arrived as %x", sent, got)
			}
		}
		before := cross()
		arrives(before)

		one.apply(book1, c1, set1, change(policy.NVGRE)...)
		after := one.only(one.trip(blue1, sent), uplink)[0]
		if w := unwrap(t, after); w.vsid != 6001 || w.from != paBlue1.pa(v6) {
			t.Errorf("%+v", w)
		}
		after = routed(after) // from who knows, to who does not
		stray := two.only(two.trip(uplink, after), blue2)[0]
		var l packet.Layout
		if packet.Parse(stray, &l) != packet.OK || l.Proto != packet.ProtoGRE || !bytes.Equal(stray[l.L4:], after[l.L4:]) {
			t.Errorf("a tunnel packet arrived as %x", stray)
		}
		two.apply(book2, c2, set2, change(policy.NVGRE)...)
		arrives(after)
		arrives(cross())
		if got := two.only(two.trip(uplink, before), kernel)[0]; !bytes.Equal(got, before) { // no tunnel packet: the kernel's (W20)
			t.Errorf("%x became %x", before, got)
		}

		one.apply(book1, c1, set1, change(policy.Rewrite)...)
		two.apply(book2, c2, set2, change(policy.Rewrite)...)
		arrives(cross())
		arrives(before)
		one.balance(0)
		two.balance(0)
	})
}
