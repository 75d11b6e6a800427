package modes_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/ip4defrag"
	"github.com/google/gopacket/layers"

	"paca/dataplane/count"
	"paca/dataplane/fib"
	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
	"paca/dataplane/port"
	"paca/dataplane/worker"
	"paca/modes/nvgre"
)

// wholeAgain fails unless fragments of at most limit bytes of IP are, put together by
// gopacket, the packet in sent.
func wholeAgain(t testing.TB, fragments [][]byte, sent []byte, limit int) {
	t.Helper()
	d := ip4defrag.NewIPv4Defragmenter()
	var whole *layers.IPv4
	for i, f := range fragments {
		r := read(t, f)
		if r.size > limit || len(f) != 14+r.size {
			t.Errorf("fragment %d is of %d bytes in a frame of %d, the limit is %d", i, r.size, len(f), limit)
		}
		in := r.ip4
		out, err := d.DefragIPv4WithTimestamp(in, time.Unix(0, 0))
		if err != nil {
			t.Fatal(err)
		}
		if out != nil {
			if i != len(fragments)-1 {
				t.Errorf("whole after %d of %d fragments", i+1, len(fragments))
			}
			whole = out
		}
	}
	if whole == nil {
		t.Fatalf("%d fragments make no packet", len(fragments))
	}
	was := gopacket.NewPacket(sent, layers.LayerTypeEthernet, gopacket.Default).Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	if !bytes.Equal(whole.Payload, was.Payload) || !whole.SrcIP.Equal(was.SrcIP) || !whole.DstIP.Equal(was.DstIP) || whole.Id != was.Id || whole.Protocol != was.Protocol {
		t.Errorf("put together: %+v, want %+v", whole, was)
	}
}

// tooBig fails unless a frame is answered by the error that says what would fit: from
// the router (mac, ca) to the port it came from.
func (r *rig) tooBig(in int, sent []byte, mac packet.MAC, ca vm, mtu uint32) {
	r.t.Helper()
	v6 := sent[12] == 0x86
	got := r.only(r.trip(in, sent), in)[0]
	if v6 {
		checkError(r.t, got, sent, mac, ca.v6, 2, 0, mtu)
	} else {
		checkError(r.t, got, sent, mac, ca.v4, 3, 4, mtu)
	}
}

var router1 = vm{fib.DefaultRouterMAC, "10.1.1.1", "fd00:1::1"} // of 6001

// six is the IPv6 PA that stands for an IPv4 one.
func six(pa string) string {
	b := addr(pa).As4()
	return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 0, 0, b[2], 15: b[3]}).String()
}

// sixPA is wholePolicy over an IPv6 fabric.
func sixPA() *policy.Set {
	set := wholePolicy()
	for i := range set.LookupRecords {
		if r := &set.LookupRecords[i]; !r.Router() {
			r.PA = addr(six(r.PA.String()))
		}
	}
	set.ProviderAddresses = []policy.ProviderAddress{{Prefix: netip.PrefixFrom(addr(six(paHere)), 64), Port: "uplink"}}
	set.ProviderRoutes = []policy.ProviderRoute{{Port: "uplink", Prefix: prefix("::/0"), NextHop: addr(six("192.168.1.1"))}}
	return set
}

// What fits exactly passes, with DF and without; a byte more is answered, or cut for
// IPv4 without DF. The router of the sender's own subnet says so, to whatever subnet
// it was sent; a VLAN tag of the PA does not count.
func TestM1_M5_M6_M7_M8_W19Limit(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		for _, c := range []struct {
			name  string
			set   func() *policy.Set
			limit int
		}{
			{"IPv4 PA", wholePolicy, 1458},
			{"IPv4 PA with VLAN", func() *policy.Set { s := wholePolicy(); s.ProviderAddresses[0].VLAN = 103; return s }, 1458},
			{"IPv6 PA", sixPA, 1438},
			{"larger uplink", func() *policy.Set { s := wholePolicy(); s.Ports[uplink].MTU = 1700; return s }, 1658},
			{"smaller uplink", func() *policy.Set { s := wholePolicy(); s.Ports[uplink].MTU = 1400; return s }, 1358},
		} {
			t.Run(c.name, func(t *testing.T) {
				r := newRig(t, c.set(), nvgre.Config{})
				for _, to := range []vm{vmBlue2, vmBlue6} {
					for _, df := range []bool{false, true} {
						d := between(vmBlue1, to, macBlue2, v6)
						d.df, d.size = df, c.limit
						w := unwrap(t, r.only(r.trip(blue1, d.frame()), uplink)[0])
						if got := read(t, w.inner); got.size != c.limit {
							t.Errorf("%d bytes of %d arrive", got.size, c.limit)
						}
						d.size++
						if v6 || df {
							r.tooBig(blue1, d.frame(), router1.mac, router1, uint32(c.limit))
							continue
						}
						d.size += 8 // gopacket knows no fragments of less than 8 bytes
						hops := uint8(0)
						if to == vmBlue6 {
							hops = 1
						}
						var fragments [][]byte
						for _, f := range r.only(r.trip(blue1, d.frame()), uplink) {
							w := unwrap(t, f)
							fragments = append(fragments, w.inner)
							if got := read(t, w.inner); got.ttl != 64-hops || got.dst != to.mac {
								t.Errorf("fragment with TTL %d for %v", got.ttl, got.dst)
							}
						}
						wholeAgain(t, fragments, d.frame(), c.limit)
					}
				}
				e := r.events()
				if v6 && (e["icmp_sent"] != 4 || e["fragments"] != 0) || !v6 && (e["icmp_sent"] != 2 || e["fragments"] != 2) {
					t.Errorf("events %v", e)
				}
				r.balance(0)
			})
		}
	})
}

// A VM of this host is behind its port, whose own MTU is the limit.
func TestM5_M6_M7LimitOfLocalPort(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		set := wholePolicy()
		set.Ports[blue3].MTU, set.Ports[blue5].MTU = 1400, 1700
		r := newRig(t, set, nvgre.Config{})
		for _, c := range []struct {
			to    vm
			out   int
			limit int
		}{{vmBlue3, blue3, 1400}, {vmBlue5, blue5, 1700}} {
			d := between(vmBlue1, c.to, c.to.mac, v6)
			d.size, d.df = c.limit, true
			r.only(r.trip(blue1, d.frame()), c.out)
			d.size++
			r.tooBig(blue1, d.frame(), router1.mac, router1, uint32(c.limit))
			if !v6 {
				d.df, d.size = false, 1990
				wholeAgain(t, r.only(r.trip(blue1, d.frame()), c.out), d.frame(), c.limit)
			}
		}
		// From the fabric nobody is told: what is too large for the port is dropped.
		d := between(vmBlue2, vmBlue3, macBlue3, v6)
		d.size = 1400
		r.only(r.trip(uplink, tunnel(6001, paFar, paHere, d.frame())), blue3)
		d.size = 1401
		r.dropped(r.trip(uplink, tunnel(6001, paFar, paHere, d.frame())), uplink, 1, count.MTUExceeded)
		r.balance(0)
	})
}

// What the fabric told of the path to one PA is the limit to that PA and no other,
// until it is forgotten; more than the uplink carries it never is.
func TestM5_M6_M7_M10PathMTU(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		set := wholePolicy()
		r := newRig(t, set, nvgre.Config{})
		book, compiler := r.compile(set)
		limited := func(to vm, limit int) {
			t.Helper()
			d := between(vmBlue1, to, to.mac, v6)
			d.size, d.df = limit, true
			r.only(r.trip(blue1, d.frame()), uplink)
			d.size++
			r.tooBig(blue1, d.frame(), router1.mac, router1, uint32(limit))
			if !v6 {
				d.df, d.size = false, 1500
				var fragments [][]byte
				for _, f := range r.only(r.trip(blue1, d.frame()), uplink) {
					fragments = append(fragments, unwrap(t, f).inner)
				}
				wholeAgain(t, fragments, d.frame(), limit)
			}
		}
		compiler.SetPathMTU(addr(paFar), 1400)
		r.apply(book, compiler, set)
		limited(vmBlue2, 1358)
		limited(vmBlue6, 1358)
		limited(vmBlue4, 1458)
		compiler.SetPathMTU(addr(paFar), 1420)
		r.apply(book, compiler, set)
		limited(vmBlue2, 1378)
		compiler.SetPathMTU(addr(paFar), 9000)
		r.apply(book, compiler, set)
		limited(vmBlue2, 1458)
		compiler.SetPathMTU(addr(paFar), 0)
		r.apply(book, compiler, set)
		limited(vmBlue2, 1458)

		// A link that carries no 1,280 bytes of IPv6 behind the headers: the VM is not
		// told so (M6, M11). IPv4 goes on in small pieces.
		compiler.SetPathMTU(addr(paFar), 576)
		r.apply(book, compiler, set)
		d := between(vmBlue1, vmBlue2, macBlue2, v6)
		d.size = 1500
		if v6 {
			r.tooBig(blue1, d.frame(), router1.mac, router1, 1280)
			d.size = 1280
			r.tooBig(blue1, d.frame(), router1.mac, router1, 1280)
		} else {
			limited(vmBlue2, 534)
		}
		r.balance(0)

		// What a path carries is for broadcasts too.
		compiler.SetPathMTU(addr(paFar), 1400)
		r.apply(book, compiler, set)
		b := toGroup("10.1.1.11", "255.255.255.255")
		b.size = 1366
		out := r.trip(blue1, b.frame())
		wholeAgain(t, out[blue3], b.frame(), 1358)
		if len(out[uplink]) != 4 {
			t.Errorf("%d copies of fragments", len(out[uplink]))
		}
		r.balance(0)
	})
}

// The tiniest paths, which nobody should tell of: pieces of 8 bytes or none at all.
func TestM7SmallestFragments(t *testing.T) {
	set := wholePolicy()
	r := newRig(t, set, nvgre.Config{})
	book, compiler := r.compile(set)
	d := between(vmBlue1, vmBlue2, macBlue2, false)
	for _, c := range []struct {
		mtu    uint16
		size   int
		pieces int
		drop   count.Reason
	}{
		{42 + 28, 28 + 8*20, 21, count.Kept},
		{42 + 28, 20 + 8*port.MaxBurst, port.MaxBurst, count.Kept},
		{42 + 28, 20 + 8*port.MaxBurst + 8, 0, count.NoBuffer},
		{42 + 27, 100, 0, count.MTUExceeded},
		{42, 100, 0, count.MTUExceeded},
		{20, 100, 0, count.MTUExceeded},
	} {
		compiler.SetPathMTU(addr(paFar), c.mtu)
		r.apply(book, compiler, set)
		d.size = c.size
		out := r.trip(blue1, d.frame())
		if c.pieces == 0 {
			r.dropped(out, blue1, 1, c.drop)
			continue
		}
		var fragments [][]byte
		for _, f := range r.only(out, uplink) {
			fragments = append(fragments, unwrap(t, f).inner)
		}
		if len(fragments) != c.pieces {
			t.Errorf("%d pieces of %d bytes, want %d", len(fragments), c.size, c.pieces)
		}
		wholeAgain(t, fragments, d.frame(), int(c.mtu)-42)
	}
	r.balance(0)
}

// Fragments are made of buffers of the pool: too few, and the packet is dropped.
func TestM7NoBuffers(t *testing.T) {
	r := newRig(t, wholePolicy(), nvgre.Config{})
	spent := make([]*mbuf.Mbuf, poolSize-2)
	if !r.pool.Alloc(spent) {
		t.Fatal("no buffers")
	}
	d := between(vmBlue1, vmBlue2, macBlue2, false)
	d.size = 1500
	out := r.trip(blue1, d.frame())
	r.pool.Free(spent)
	r.dropped(out, blue1, 1, count.NoBuffer)
	r.balance(0)
}

// What is a fragment already is cut again, in its place: gopacket puts all of it
// together.
func TestM7FragmentsOfFragments(t *testing.T) {
	r := newRig(t, wholePolicy(), nvgre.Config{})
	d := between(vmBlue1, vmBlue2, macBlue2, false)
	d.size = 1980
	whole := d.frame()
	const cut = 20 + 1480 // not where we cut
	a := fragment(slices.Clone(whole[:14+cut]), 0, true)
	b := later(append(slices.Clone(whole[:34]), whole[14+cut:]...), (cut-20)/8)
	for _, f := range [][]byte{a, b} {
		binary.BigEndian.PutUint16(f[16:], uint16(len(f)-14))
		binary.BigEndian.PutUint16(f[24:], 0)
		binary.BigEndian.PutUint16(f[24:], packet.Checksum(f[14:34], 0))
	}
	var fragments [][]byte
	for _, f := range r.only(r.trip(blue1, a, b), uplink) {
		fragments = append(fragments, unwrap(t, f).inner)
	}
	if len(fragments) != 3 {
		t.Errorf("%d fragments", len(fragments))
	}
	wholeAgain(t, fragments, whole, 1458)
	r.balance(0)
}

// A packet that is cut between subnets counts its TTL down once; with none left the
// first fragment alone is complained about.
func TestM7_M9_L14FragmentsRouted(t *testing.T) {
	r := newRig(t, wholePolicy(), nvgre.Config{})
	d := between(vmBlue1, vmBlue6, fib.DefaultRouterMAC, false)
	d.size = 1500
	for _, f := range r.only(r.trip(blue1, d.frame()), uplink) {
		if got := read(t, unwrap(t, f).inner); got.ttl != 63 || got.src != macRouter2 {
			t.Errorf("TTL %d from %v", got.ttl, got.src)
		}
	}
	d.ttl = 1
	out := r.trip(blue1, d.frame())
	if len(out[blue1]) != 1 || len(out[uplink]) != 0 || r.drops()["ttl_exceeded"] != 1 {
		t.Errorf("%d errors, %d sent, drops %v", len(out[blue1]), len(out[uplink]), r.drops())
	}
	if got := read(t, out[blue1][0]); got.icmp.TypeCode != layers.CreateICMPv4TypeCode(11, 0) {
		t.Errorf("%v", got.icmp.TypeCode)
	}
	r.balance(0)
}

// Fragments of a packet whose next hop is not known yet wait like any other.
func TestM7_L16FragmentsHeld(t *testing.T) {
	set := wholePolicy()
	set.LookupRecords = append(set.LookupRecords, policy.LookupRecord{VSID: 6001, CA: addr("10.1.1.17"), MAC: packet.MAC{2, 0, 0, 0, 9, 4}, PA: addr("192.168.1.77")})
	r := newRig(t, set, nvgre.Config{})
	// The way over a silent next hop has a limit all the same, but is not ready: the
	// packet waits whole.
	d := between(vmBlue1, vm{v4: "10.1.1.17"}, macBlue2, false)
	d.size = 1500
	if out := r.trip(blue1, d.frame()); len(out[uplink]) != 0 {
		t.Error("sent")
	}
	r.balance(1)
	r.fib.Store(r.fib.Load().WithNeighbors(func(_, _ uint16, _ netip.Addr) (packet.MAC, fib.AdjState) { return macRouter, fib.AdjReady }))
	r.w.PollOnce()
	var fragments [][]byte
	for _, f := range r.ports[uplink].Drain(0) {
		fragments = append(fragments, unwrap(t, f).inner)
	}
	wholeAgain(t, fragments, d.frame(), 1458)
	r.balance(0)
}

// No error about an error, a later fragment, a group's frame, and no more than so many
// a second.
func TestM9NoErrorAbout(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		r := newRig(t, wholePolicy(), nvgre.Config{}, router(worker.Router{ErrorRate: 4}))
		d := between(vmBlue1, vmBlue2, macBlue2, v6)
		d.size, d.df = 1500, true
		complaint := d.with(&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 3)}, gopacket.Payload(make([]byte, 1480)))
		if v6 {
			complaint = d.with(&layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(1, 4)}, gopacket.Payload(make([]byte, 1480)))
		}
		group := d
		group.to = packet.Broadcast
		fragment := later(d.frame(), 8)
		if !v6 { // with DF, which no fragment should have
			fragment[20] |= 0x40
			binary.BigEndian.PutUint16(fragment[24:], 0)
			binary.BigEndian.PutUint16(fragment[24:], packet.Checksum(fragment[14:34], 0))
		}
		for _, f := range [][]byte{complaint, group.frame(), fragment} {
			r.now += time.Hour
			r.dropped(r.trip(blue1, f), blue1, 1, count.MTUExceeded)
		}
		r.now += time.Hour
		errors := 0
		for range 10 {
			errors += len(r.trip(blue1, d.frame())[blue1])
		}
		if errors != 2 {
			t.Errorf("%d errors at once", errors)
		}
		for range 100 {
			r.now += 100 * time.Millisecond
			errors += len(r.trip(blue1, d.frame())[blue1])
		}
		if errors < 40 || errors > 43 {
			t.Errorf("%d errors in ten seconds, want 40", errors)
		}
		r.balance(0)
	})
}

// The error comes from the router of the prefix that the sender's CA is in.
func TestM8RouterOfThePrefix(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		set := wholePolicy()
		set.VirtualSubnets[0].Prefixes = append(set.VirtualSubnets[0].Prefixes, prefix("10.1.5.0/24"), prefix("fd00:5::/64"))
		second := vm{macBlue1, "10.1.5.11", "fd00:5::11"}
		set.LookupRecords = append(set.LookupRecords, records(6001, second, paHere)...)
		r := newRig(t, set, nvgre.Config{})
		for _, c := range []struct{ from, router vm }{{vmBlue1, router1}, {second, vm{router1.mac, "10.1.5.1", "fd00:5::1"}}} {
			d := between(c.from, vmBlue2, macBlue2, v6)
			d.size, d.df = 1500, true
			r.tooBig(blue1, d.frame(), c.router.mac, c.router, 1458)
		}
		// What a gateway sends on is complained about to the sender outside, by way of
		// the gateway.
		d := between(outside, vmBlue2, fib.DefaultRouterMAC, v6)
		d.from, d.size, d.df = vmGate.mac, 1500, true
		r.tooBig(gate, d.frame(), fib.DefaultRouterMAC, vm{v4: "10.1.3.1", v6: "fd00:3::1"}, 1458)
		r.balance(0)
	})
	t.Run("none", func(t *testing.T) { // a prefix of two addresses has no router
		set := wholePolicy()
		set.VirtualSubnets = append(set.VirtualSubnets, policy.VirtualSubnet{VSID: 6009, RDID: blue, Prefixes: []netip.Prefix{prefix("10.1.6.0/31")}})
		set.LookupRecords = append(set.LookupRecords,
			policy.LookupRecord{VSID: 6009, CA: addr("10.1.6.0"), MAC: vmGate.mac, PA: addr(paHere)},
			policy.LookupRecord{VSID: 6009, CA: addr("10.1.6.1"), MAC: macBlue2, PA: addr(paFar)})
		set.Ports[gate].VSID = 6009
		r := newRig(t, set, nvgre.Config{})
		d := datagram{from: vmGate.mac, to: macBlue2, src: "10.1.6.0", dst: "10.1.6.1", size: 1500, df: true}
		r.dropped(r.trip(gate, d.frame()), gate, 1, count.MTUExceeded)
		d.df = false
		r.only(r.trip(gate, d.frame()), uplink)
		r.balance(0)
	})
}

// syn is a TCP segment with those flags that announces a maximum segment size.
func (d datagram) syn(mss uint16, change func(*layers.TCP)) []byte {
	tcp := &layers.TCP{SrcPort: 0xc000, DstPort: 0xc001, Seq: 0x12345678, SYN: true, Window: 64240, Options: []layers.TCPOption{
		{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: binary.BigEndian.AppendUint16(nil, mss)},
		{OptionType: layers.TCPOptionKindSACKPermitted, OptionLength: 2},
		{OptionType: layers.TCPOptionKindNop}, {OptionType: layers.TCPOptionKindNop},
	}}
	if change != nil {
		change(tcp)
	}
	return d.with(tcp, gopacket.Payload(nil))
}

// M13: by setting, what a SYN announces is lowered to what fits on the way; the rest of
// the segment, and any other, stays as it is.
func TestM13ClampMSS(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		headers := uint16(40)
		if v6 {
			headers = 60
		}
		set := wholePolicy()
		on := newRig(t, set, nvgre.Config{}, router(worker.Router{ClampMSS: true}))
		off := newRig(t, set, nvgre.Config{})
		book, compiler := on.compile(set)
		clamped := uint64(0)
		for _, c := range []struct {
			name   string
			to     vm
			mtu    uint16 // of the path to .20
			mss    uint16
			change func(*layers.TCP)
			want   uint16
		}{
			{"SYN", vmBlue2, 0, 1500 - headers, nil, 1458 - headers},
			{"SYN-ACK", vmBlue2, 0, 1500 - headers, func(tcp *layers.TCP) { tcp.ACK = true }, 1458 - headers},
			{"largest", vmBlue2, 0, 0xffff, nil, 1458 - headers},
			{"routed", vmBlue6, 0, 1500 - headers, nil, 1458 - headers},
			{"by what the path carries", vmBlue2, 1400, 1500 - headers, nil, 1358 - headers},
			{"fits", vmBlue2, 0, 1458 - headers, nil, 1458 - headers},
			{"small", vmBlue2, 0, 536, nil, 536},
			{"no SYN", vmBlue2, 0, 1500 - headers, func(tcp *layers.TCP) { tcp.SYN, tcp.ACK = false, true }, 1500 - headers},
			{"to a VM here", vmBlue3, 0, 1500 - headers, nil, 1500 - headers},
		} {
			t.Run(c.name, func(t *testing.T) {
				compiler.SetPathMTU(addr(paFar), c.mtu)
				on.apply(book, compiler, set)
				sent := between(vmBlue1, c.to, c.to.mac, v6).syn(c.mss, c.change)
				for _, r := range []*rig{on, off} {
					out := r.trip(blue1, sent)
					var got []byte
					if c.to == vmBlue3 {
						got = r.only(out, blue3)[0]
					} else {
						got = unwrap(t, r.only(out, uplink)[0]).inner
					}
					tcp := read(t, got).tcp
					want := c.want
					if r == off {
						want = c.mss
					} else if want != c.mss {
						clamped++
					}
					if mss := binary.BigEndian.Uint16(tcp.Options[0].OptionData); mss != want {
						t.Errorf("MSS %d became %d, want %d", c.mss, mss, want)
					}
					was := read(t, sent).tcp
					was.Options[0], was.Checksum = tcp.Options[0], tcp.Checksum
					if was.BaseLayer, tcp.BaseLayer = (layers.BaseLayer{}), (layers.BaseLayer{}); was.Seq != tcp.Seq || was.Window != tcp.Window || was.SYN != tcp.SYN || was.ACK != tcp.ACK || len(was.Options) != len(tcp.Options) {
						t.Errorf("%+v became %+v", was, tcp)
					}
				}
			})
		}
		if e := on.events()["mss_clamped"]; e != clamped || clamped != 5 {
			t.Errorf("%d SYNs clamped, want %d", e, clamped)
		}
		if e := off.events()["mss_clamped"]; e != 0 {
			t.Errorf("%d SYNs clamped without being asked to", e)
		}
		on.balance(0)
		off.balance(0)
	})
}

// A whole burst of packets that are cut makes more fragments than a burst has room
// for.
func TestM7WholeBurst(t *testing.T) {
	r := newRig(t, wholePolicy(), nvgre.Config{})
	var burst [][]byte
	for i := range port.MaxBurst {
		d := between(vmBlue1, vmBlue2, macBlue2, false)
		d.size, d.sport, d.dport = 1980, uint16(0xc000+i), 0xc100
		burst = append(burst, d.frame())
	}
	out := r.only(r.trip(blue1, burst...), uplink)
	if len(out) != 2*len(burst) {
		t.Fatalf("%d fragments", len(out))
	}
	for i, sent := range burst {
		wholeAgain(t, [][]byte{unwrap(t, out[2*i]).inner, unwrap(t, out[2*i+1]).inner}, sent, 1458)
	}
	r.balance(0)
}

// Over an IPv6 fabric what its routers told is less by 62 (M5, M10, W19).
func TestM5_M10_W19PathMTUOverIPv6(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		set := sixPA()
		r := newRig(t, set, nvgre.Config{}, router(worker.Router{ClampMSS: true}))
		book, compiler := r.compile(set)
		compiler.SetPathMTU(addr(six(paFar)), 1400)
		r.apply(book, compiler, set)
		for to, limit := range map[vm]int{vmBlue2: 1338, vmBlue4: 1438} {
			d := between(vmBlue1, to, to.mac, v6)
			d.size, d.df = limit, true
			r.only(r.trip(blue1, d.frame()), uplink)
			d.size++
			r.tooBig(blue1, d.frame(), router1.mac, router1, uint32(limit))
			headers := 40
			if v6 {
				headers = 60
			}
			got := unwrap(t, r.only(r.trip(blue1, d.syn(1460, nil)), uplink)[0]).inner
			if mss := binary.BigEndian.Uint16(read(t, got).tcp.Options[0].OptionData); int(mss) != limit-headers {
				t.Errorf("MSS %d, want %d", mss, limit-headers)
			}
		}
		r.balance(0)
	})
}
