package modes_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/gopacket/layers"

	"paca/dataplane/count"
	"paca/dataplane/fib"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
	"paca/dataplane/worker"
	"paca/modes/nvgre"
)

// W15: between virtual subnets the key has the destination's VSID; the router's MAC
// there becomes the source, and TTL is one less. The frame's own destination MAC plays
// no part (L7).
func TestL7_L12_L14_W15RoutedBetweenSubnets(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		for _, c := range []struct {
			name     string
			in       int
			from, to vm
			out      int // uplink: across the fabric
			vsid     uint32
			pa       string
			router   packet.MAC
		}{
			{"here", blue1, vmBlue1, vmBlue5, blue5, 0, "", macRouter2},
			{"far", blue1, vmBlue1, vmBlue6, uplink, 6002, paFar, macRouter2},
			{"back here", blue5, vmBlue5, vmBlue1, blue1, 0, "", fib.DefaultRouterMAC},
			{"back far", blue5, vmBlue5, vmBlue4, uplink, 6001, "192.168.2.21", fib.DefaultRouterMAC},
		} {
			t.Run(c.name, func(t *testing.T) {
				r := newRig(t, wholePolicy(), nvgre.Config{})
				for _, mac := range []packet.MAC{fib.DefaultRouterMAC, macRouter2, {2, 9, 9, 9, 9, 9}} {
					sent := between(c.from, c.to, mac, v6).frame()
					got := r.only(r.trip(c.in, sent), c.out)[0]
					if c.out == uplink {
						w := unwrap(t, got)
						if w.vsid != c.vsid || w.from != paHere || w.to != c.pa {
							t.Errorf("key of VSID %d from %s to %s, want %d from %s to %s", w.vsid, w.from, w.to, c.vsid, paHere, c.pa)
						}
						got = w.inner
					}
					if f := read(t, got); f.src != c.router || f.dst != c.to.mac {
						t.Errorf("from %v to %v, want from the router %v to %v", f.src, f.dst, c.router, c.to.mac)
					}
					sameBut(t, got, sent, 1)
				}
				if e := r.events(); e["routed"] != 3 {
					t.Errorf("events %v", e)
				}
				r.balance(0)
			})
		}
	})
}

// What a router of another host sent arrives: its key has our VSID, its source is of
// another virtual subnet of the routing domain (L22).
func TestL21_L22RoutedFromFabric(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		r := newRig(t, wholePolicy(), nvgre.Config{})
		d := between(vmBlue6, vmBlue1, macBlue1, v6)
		d.from = fib.DefaultRouterMAC
		sent := d.frame()
		if got := r.only(r.trip(uplink, tunnel(6001, paFar, paHere, sent)), blue1)[0]; !bytes.Equal(got, sent) {
			t.Errorf("%x became %x", sent, got)
		}
		r.dropped(r.trip(uplink, tunnel(6002, paFar, paHere, sent)), uplink, 1, count.InnerUnknown) // not blue1's VSID
		r.dropped(r.trip(uplink, tunnel(6001, "192.168.2.21", paHere, sent)), uplink, 1, count.InnerSpoofed)
		r.balance(0)
	})
}

func TestL14NoCountDownWithinSubnet(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		r := newRig(t, wholePolicy(), nvgre.Config{})
		for _, ttl := range []uint8{1, 2, 64, 255} {
			for _, to := range []vm{vmBlue2, vmBlue3} {
				d := between(vmBlue1, to, to.mac, v6)
				d.ttl = ttl
				out := r.trip(blue1, d.frame())
				if to.mac == macBlue2 {
					got := unwrap(t, r.only(out, uplink)[0]).inner
					sameBut(t, got, d.frame(), 0)
					continue
				}
				got := r.only(out, blue3)[0]
				sameBut(t, got, d.frame(), 0)
				if f := read(t, got); f.src != macBlue1 || f.dst != macBlue3 {
					t.Errorf("from %v to %v", f.src, f.dst)
				}
			}
		}
		if e := r.events(); e["routed"] != 0 || e["looped_back"] != 4 {
			t.Errorf("events %v", e)
		}
		r.balance(0)
	})
}

// By setting, routers leave TTL alone.
func TestL14KeepTTL(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		r := newRig(t, wholePolicy(), nvgre.Config{}, router(worker.Router{KeepTTL: true}))
		for _, ttl := range []uint8{1, 64} {
			d := between(vmBlue1, vmBlue5, fib.DefaultRouterMAC, v6)
			d.ttl = ttl
			got := r.only(r.trip(blue1, d.frame()), blue5)[0]
			sameBut(t, got, d.frame(), 0)
			if f := read(t, got); f.src != macRouter2 {
				t.Errorf("source MAC %v is not the router's", f.src)
			}
		}
		r.balance(0)
	})
}

// The checksum stays right whatever TTL it counts down from: RFC 1624's corner cases
// are among 255 of them and many payload lengths.
func TestL14ChecksumOfEveryTTL(t *testing.T) {
	r := newRig(t, wholePolicy(), nvgre.Config{})
	for ttl := 2; ttl < 256; ttl++ {
		d := between(vmBlue1, vmBlue5, fib.DefaultRouterMAC, false)
		d.ttl, d.size = uint8(ttl), 28+ttl*5
		sameBut(t, r.only(r.trip(blue1, d.frame()), blue5)[0], d.frame(), 1)
	}
	r.balance(0)
}

// checkError fails unless got is an ICMP error about sent, from the router (mac, ca)
// to its sender, with that second word behind the checksum.
func checkError(t testing.TB, got, sent []byte, mac packet.MAC, ca string, typ, code uint8, rest uint32) {
	t.Helper()
	was, is := read(t, sent), read(t, got)
	if is.dst != was.src || is.src != mac || is.to != was.from || is.from != addr(ca) {
		t.Errorf("error from %v %v to %v %v, want from %v %v to %v %v", is.src, is.from, is.dst, is.to, mac, ca, was.src, was.from)
	}
	var quote []byte
	switch {
	case is.icmp != nil && !was.from.Is6():
		if is.icmp.TypeCode != layers.CreateICMPv4TypeCode(typ, code) || uint32(is.icmp.Id)<<16|uint32(is.icmp.Seq) != rest {
			t.Errorf("ICMP %v %d %d, want %d/%d %#x", is.icmp.TypeCode, is.icmp.Id, is.icmp.Seq, typ, code, rest)
		}
		quote = is.icmp.Payload
		if is.size > 576 || len(quote) < 28 {
			t.Errorf("IP packet of %d bytes quotes %d", is.size, len(quote))
		}
	case is.six != nil && was.from.Is6():
		if is.six.TypeCode != layers.CreateICMPv6TypeCode(typ, code) || binary.BigEndian.Uint32(is.six.Payload) != rest {
			t.Errorf("ICMPv6 %v %x, want %d/%d %#x", is.six.TypeCode, is.six.Payload[:4], typ, code, rest)
		}
		quote = is.six.Payload[4:]
		if is.size > 1280 {
			t.Errorf("IP packet of %d bytes", is.size)
		}
	default:
		t.Fatalf("no ICMP error of its family: %x", got)
	}
	if !bytes.HasPrefix(sent[14:], quote) {
		t.Errorf("quotes %x of %x", quote, sent[14:])
	}
}

// What traceroute sees: the router of the sender's own virtual subnet, wherever the
// destination is.
func TestL14_M8TimeExceeded(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		r := newRig(t, wholePolicy(), nvgre.Config{})
		typ := uint8(11)
		if v6 {
			typ = 3
		}
		for _, ttl := range []uint8{1, 255} { // 255 stands for 0
			for _, c := range []struct {
				in        int
				from, to  vm
				routerMAC packet.MAC
				routerCA  vm
			}{
				{blue1, vmBlue1, vmBlue5, fib.DefaultRouterMAC, vm{v4: "10.1.1.1", v6: "fd00:1::1"}},
				{blue1, vmBlue1, vmBlue6, fib.DefaultRouterMAC, vm{v4: "10.1.1.1", v6: "fd00:1::1"}},
				{blue5, vmBlue5, vmBlue1, macRouter2, vm{v4: "10.1.2.1", v6: "fd00:2::1"}},
			} {
				d := between(c.from, c.to, c.routerMAC, v6)
				d.ttl = ttl
				sent := d.frame()
				if ttl == 255 {
					sent = zeroTTL(sent)
				}
				got := r.only(r.trip(c.in, sent), c.in)[0]
				checkError(t, got, sent, c.routerMAC, c.routerCA.ca(v6), typ, 0, 0)
			}
		}
		if e := r.events(); e["icmp_sent"] != 6 || e["routed"] != 0 {
			t.Errorf("events %v", e)
		}
		r.balance(0)
	})
}

// zeroTTL makes TTL or hop limit 0, which gopacket takes for a default.
func zeroTTL(f []byte) []byte {
	if f[12] == 0x86 {
		f[21] = 0
		return f
	}
	f[22], f[24], f[25] = 0, 0, 0
	binary.BigEndian.PutUint16(f[24:], packet.Checksum(f[14:34], 0))
	return f
}

// So many errors a second and port, then silence by name; another port has its own.
func TestL14_M9ErrorRate(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		r := newRig(t, wholePolicy(), nvgre.Config{}, router(worker.Router{ErrorRate: 8}))
		d := between(vmBlue1, vmBlue5, fib.DefaultRouterMAC, v6)
		d.ttl = 1
		errors := func() (n int) {
			for range 20 {
				n += len(r.trip(blue1, d.frame())[blue1])
			}
			return n
		}
		if n := errors(); n != 8/4+1 { // a quarter of a second's, and one
			t.Errorf("%d errors at once", n)
		}
		if n := r.drops()[count.TTLExceeded.Name()]; n != 17 {
			t.Errorf("%d drops, want 17", n)
		}
		r.now += time.Second / 8
		if n := errors(); n != 1 {
			t.Errorf("%d errors after an eighth of a second", n)
		}
		r.now += time.Hour
		if n := errors(); n != 3 {
			t.Errorf("%d errors after a long time", n)
		}
		d = between(vmBlue5, vmBlue1, macRouter2, v6)
		d.ttl = 1
		r.only(r.trip(blue5, d.frame()), blue5)
		r.balance(0)
	})
	t.Run("default", func(t *testing.T) {
		r := newRig(t, wholePolicy(), nvgre.Config{})
		d := between(vmBlue1, vmBlue5, fib.DefaultRouterMAC, false)
		d.ttl = 1
		n := 0
		for i := range 400 { // two seconds
			r.now = time.Duration(i) * time.Second / 200
			n += len(r.trip(blue1, d.frame())[blue1])
		}
		if n < 200 || n > 226 {
			t.Errorf("%d errors in two seconds, want 200 to 226", n)
		}
		r.balance(0)
	})
}

// No error about an error, a later fragment, or what came as a group's frame.
func TestL14_M9NoErrorAbout(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		r := newRig(t, wholePolicy(), nvgre.Config{})
		d := between(vmBlue1, vmBlue5, fib.DefaultRouterMAC, v6)
		d.ttl = 1
		group := d
		group.to = packet.Broadcast
		for _, c := range []struct {
			name  string
			frame []byte
		}{
			{"an ICMP error", d.complaint()},
			{"a later fragment", later(d.frame(), 8)},
			{"a broadcast frame", group.frame()},
		} {
			t.Run(c.name, func(t *testing.T) {
				r.t = t
				r.dropped(r.trip(blue1, c.frame), blue1, 1, count.TTLExceeded)
			})
		}
		r.t = t
		// A query and a first fragment are answered.
		r.only(r.trip(blue1, d.ping()), blue1)
		r.only(r.trip(blue1, first(d.frame())), blue1)
		r.balance(0)
	})
}

// later makes the packet in a frame a later fragment, at an offset in units of 8
// bytes; first makes it a first one.
func later(f []byte, offset uint16) []byte { return fragment(f, offset, false) }
func first(f []byte) []byte                { return fragment(f, 0, true) }

func fragment(f []byte, offset uint16, more bool) []byte {
	if f[12] == 0x08 {
		word := offset
		if more {
			word |= packet.IPv4MoreFragments
		}
		binary.BigEndian.PutUint16(f[20:], word)
		f[24], f[25] = 0, 0
		binary.BigEndian.PutUint16(f[24:], packet.Checksum(f[14:34], 0))
		return f
	}
	word := offset << 3
	if more {
		word |= 1
	}
	header := binary.BigEndian.AppendUint16([]byte{f[20], 0}, word)
	header = append(header, 0, 0, 0x43, 0x21)
	g := append(append(append([]byte(nil), f[:54]...), header...), f[54:]...)
	g[20] = packet.ProtoFragment
	binary.BigEndian.PutUint16(g[18:], uint16(len(g)-54))
	return g
}

// L8 too: the record of the destination itself comes before any route.
func TestL7_L8_L9_P9_P10_P12CustomerRoutes(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		// A third gateway behind .31.
		third := vm{packet.MAC{2, 0, 0, 1, 3, 0x52}, "10.1.3.252", "fd00:3::252"}
		all, some, host := "0.0.0.0/0", "198.51.100.0/24", "198.51.100.7/32"
		subnet2, own := "10.1.2.0/25", "10.1.1.0/24"
		if v6 {
			all, some, host, subnet2 = "::/0", "2001:db8:ffff::/48", "2001:db8:ffff::7/128", "fd00:2::/65"
			own = "fd00:1::/64"
		}
		nobody := vm{v4: "10.1.3.99", v6: "fd00:3::99"}
		wrong := vmBlue6 // of 6002, not of the route's 6003
		unspecified := "0.0.0.0"
		if v6 {
			unspecified = "::"
		}
		for _, c := range []struct {
			name   string
			routes []policy.CustomerRoute
			to     string
			pa     string // "": lookup failed
			vsid   uint32
		}{
			{"no route", nil, outside.ca(v6), "", 0},
			{"default", []policy.CustomerRoute{via(all, vmGate2.ca(v6), 6003, 255)}, outside.ca(v6), "192.168.2.30", 6003},
			{"longest prefix, though its metric is worse", []policy.CustomerRoute{via(all, vmGate2.ca(v6), 6003, 1), via(some, third.ca(v6), 6003, 255)}, outside.ca(v6), "192.168.2.31", 6003},
			{"longest of three", []policy.CustomerRoute{via(host, vmGate2.ca(v6), 6003, 255), via(all, third.ca(v6), 6003, 1), via(some, third.ca(v6), 6003, 1)}, outside.ca(v6), "192.168.2.30", 6003},
			{"lowest metric", []policy.CustomerRoute{via(all, vmGate2.ca(v6), 6003, 20), via(all, third.ca(v6), 6003, 10)}, outside.ca(v6), "192.168.2.31", 6003},
			{"lowest metric, the other way round", []policy.CustomerRoute{via(all, vmGate2.ca(v6), 6003, 10), via(all, third.ca(v6), 6003, 20)}, outside.ca(v6), "192.168.2.30", 6003},
			{"unusable next hop skipped", []policy.CustomerRoute{via(all, nobody.ca(v6), 6003, 1), via(all, vmGate2.ca(v6), 6003, 255)}, outside.ca(v6), "192.168.2.30", 6003},
			{"next hop of another subnet skipped", []policy.CustomerRoute{via(all, wrong.ca(v6), 6003, 1), via(all, vmGate2.ca(v6), 6003, 255)}, outside.ca(v6), "192.168.2.30", 6003},
			{"router's own address skipped", []policy.CustomerRoute{via(all, vm{v4: "10.1.2.1", v6: "fd00:2::1"}.ca(v6), 6002, 1), via(all, vmGate2.ca(v6), 6003, 255)}, outside.ca(v6), "192.168.2.30", 6003},
			{"all unusable", []policy.CustomerRoute{via(all, nobody.ca(v6), 6003, 1)}, outside.ca(v6), "", 0},
			{"unusable longer prefix is not passed over", []policy.CustomerRoute{via(all, vmGate2.ca(v6), 6003, 1), via(some, nobody.ca(v6), 6003, 1)}, outside.ca(v6), "", 0},
			{"on-link of the same subnet and nobody there", []policy.CustomerRoute{via(all, vmGate2.ca(v6), 6003, 255)}, vm{v4: "10.1.1.99", v6: "fd00:1::99"}.ca(v6), "", 0},
			{"on-link of another subnet and nobody there", []policy.CustomerRoute{via(all, vmGate2.ca(v6), 6003, 255)}, vm{v4: "10.1.2.99", v6: "fd00:2::99"}.ca(v6), "", 0},
			{"on-link by a route and nobody there", []policy.CustomerRoute{via(all, vmGate2.ca(v6), 6003, 255), via(some, unspecified, 6003, 255)}, outside.ca(v6), "", 0},
			{"on-link, though a route to the same prefix leads away", []policy.CustomerRoute{via(own, vmGate2.ca(v6), 6003, 0)}, vm{v4: "10.1.1.99", v6: "fd00:1::99"}.ca(v6), "", 0},
			{"on-link by a route that is better", []policy.CustomerRoute{via(all, unspecified, 6003, 1), via(all, vmGate2.ca(v6), 6003, 2)}, outside.ca(v6), "", 0},
			{"on-link by a route that is worse", []policy.CustomerRoute{via(all, unspecified, 6003, 2), via(all, vmGate2.ca(v6), 6003, 1)}, outside.ca(v6), "192.168.2.30", 6003},
			{"a record comes first", []policy.CustomerRoute{via(subnet2, vmGate2.ca(v6), 6003, 1)}, vmBlue6.ca(v6), paFar, 6002},
			{"a next hop that is a VM without wildcard", []policy.CustomerRoute{via(all, vmBlue4.ca(v6), 6001, 1)}, outside.ca(v6), "192.168.2.21", 6001},
		} {
			t.Run(c.name, func(t *testing.T) {
				set := wholePolicy()
				set.LookupRecords = append(set.LookupRecords, records(6003, third, "192.168.2.31")...)
				set.CustomerRoutes = c.routes
				r := newRig(t, set, nvgre.Config{})
				d := between(vmBlue1, vmBlue1, fib.DefaultRouterMAC, v6)
				d.dst = c.to
				out := r.trip(blue1, d.frame())
				if c.pa == "" {
					r.dropped(out, blue1, 1, count.LookupFailed)
				} else if w := unwrap(t, r.only(out, uplink)[0]); w.to != c.pa || w.vsid != c.vsid {
					t.Errorf("sent to %s with VSID %d, want %s with %d", w.to, w.vsid, c.pa, c.vsid)
				}
				r.balance(0)
			})
		}
	})
}

// A route takes effect, and goes, with an update of policy; so does a next hop's
// record.
func TestL7_L9_P8RoutesChange(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		set := wholePolicy()
		r := newRig(t, set, nvgre.Config{})
		book, compiler := r.compile(set)
		d := between(vmBlue1, outside, fib.DefaultRouterMAC, v6)
		route := defaults(vmGate2)[0]
		if v6 {
			route = defaults(vmGate2)[1]
		}
		better := route
		better.NextHop = addr(vmGate.ca(v6))
		r.dropped(r.trip(blue1, d.frame()), blue1, 1, count.LookupFailed)
		r.apply(book, compiler, set, policy.Change{Verb: policy.Put, Object: route})
		r.only(r.trip(blue1, d.frame()), uplink)
		better.Metric = 1
		r.apply(book, compiler, set, policy.Change{Verb: policy.Put, Object: better})
		r.only(r.trip(blue1, d.frame()), gate)
		better.Metric = 300 // only the metric changes
		r.apply(book, compiler, set, policy.Change{Verb: policy.Put, Object: better})
		r.only(r.trip(blue1, d.frame()), uplink)
		for _, rec := range records(6003, vmGate2, "192.168.2.30") {
			r.apply(book, compiler, set, policy.Change{Verb: policy.Delete, Object: rec})
		}
		r.only(r.trip(blue1, d.frame()), gate)
		r.apply(book, compiler, set, policy.Change{Verb: policy.Delete, Object: better}, policy.Change{Verb: policy.Delete, Object: route})
		r.dropped(r.trip(blue1, d.frame()), blue1, 1, count.LookupFailed)
		r.balance(0)
	})
}

// Blue cannot reach an address that only Red has, nor can Red's key bring Blue's
// packets to Red; equal addresses do not matter.
func TestL17_L30OtherDomainsNever(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		set := wholePolicy()
		r := newRig(t, set, nvgre.Config{})
		d := between(vmBlue1, vmRed6, fib.DefaultRouterMAC, v6)
		r.dropped(r.trip(blue1, d.frame()), blue1, 1, count.LookupFailed)
		d.to = vmRed6.mac
		r.dropped(r.trip(blue1, d.frame()), blue1, 1, count.LookupFailed)
		red := between(vmRed1, vmRed6, fib.DefaultRouterMAC, v6)
		if w := unwrap(t, r.only(r.trip(red1, red.frame()), uplink)[0]); w.vsid != 5009 || w.to != "192.168.2.60" {
			t.Errorf("%+v", w)
		}
		r.dropped(r.trip(red1, between(vmRed1, vmBlue5, fib.DefaultRouterMAC, v6).frame()), red1, 1, count.LookupFailed)

		// With a default route: to Blue's gateway, never to Red.
		set.CustomerRoutes = defaults(vmGate2)
		r2 := newRig(t, set, nvgre.Config{})
		if w := unwrap(t, r2.only(r2.trip(blue1, d.frame()), uplink)[0]); w.vsid != 6003 || w.to != "192.168.2.30" {
			t.Errorf("%+v", w)
		}

		// From the fabric: Blue's host says Red's VSID.
		f := between(vmBlue6, vmRed1, macRed1, v6).frame()
		r.dropped(r.trip(uplink, tunnel(5001, paFar, paHere, f)), uplink, 1, count.InnerSpoofed)
		// And Red's VM, Blue's VSID: the key decides who gets it.
		f = between(vmRed6, vmBlue1, macBlue1, v6).frame()
		r.dropped(r.trip(uplink, tunnel(6001, "192.168.2.60", paHere, f)), uplink, 1, count.InnerSpoofed)
		f = between(vmRed6, vmRed1, macRed1, v6).frame()
		r.only(r.trip(uplink, tunnel(5001, "192.168.2.60", paHere, f)), red1)
		r.dropped(r.trip(uplink, tunnel(6001, "192.168.2.60", paHere, f)), uplink, 1, count.InnerMAC)
		r.balance(0)
		r2.balance(0)
	})
}

// Pings to the router CA: dropped, as in 2012; by setting answered, also from another
// virtual subnet.
func TestL11PingOfRouter(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		own, other := vm{v4: "10.1.1.1", v6: "fd00:1::1"}, vm{v4: "10.1.2.1", v6: "fd00:2::1"}
		silent := newRig(t, wholePolicy(), nvgre.Config{})
		talks := newRig(t, wholePolicy(), nvgre.Config{}, router(worker.Router{AnswerPing: true}))
		for _, to := range []vm{own, other} {
			d := between(vmBlue1, to, fib.DefaultRouterMAC, v6)
			silent.dropped(silent.trip(blue1, d.ping()), blue1, 1, count.RouterCA)

			sent := d.ping()
			got := talks.only(talks.trip(blue1, sent), blue1)[0]
			was, is := read(t, sent), read(t, got)
			if is.from != addr(to.ca(v6)) || is.to != was.from || is.dst != macBlue1 || is.src != fib.DefaultRouterMAC || is.ttl != 64 {
				t.Errorf("%+v", is)
			}
			if v6 {
				if is.six.TypeCode.Type() != layers.ICMPv6TypeEchoReply || !bytes.Equal(is.six.Payload, was.six.Payload) {
					t.Errorf("%+v", is.six)
				}
			} else if is.icmp.TypeCode.Type() != layers.ICMPv4TypeEchoReply || is.icmp.Id != 7 || is.icmp.Seq != 9 || !bytes.Equal(is.icmp.Payload, was.icmp.Payload) {
				t.Errorf("%+v", is.icmp)
			}
			// All else is still dropped.
			talks.dropped(talks.trip(blue1, d.frame()), blue1, 1, count.RouterCA)
			talks.dropped(talks.trip(blue1, d.complaint()), blue1, 1, count.RouterCA)
		}
		// Not for another's address, and so many a second.
		d := between(vmBlue2, own, fib.DefaultRouterMAC, v6)
		d.from = macBlue1
		talks.dropped(talks.trip(blue1, d.ping()), blue1, 1, count.SourceCA)
		d = between(vmBlue1, own, fib.DefaultRouterMAC, v6)
		n := 0
		for range 50 {
			n += len(talks.trip(blue1, d.ping())[blue1])
		}
		if n != 20 { // 26 at once, six of which were asked for above
			t.Errorf("%d answers at once", n)
		}
		silent.balance(0)
		talks.balance(0)
	})
}

// With an external router paca neither claims the router CA nor routes: the router's
// record is answered for, what goes to other virtual subnets goes to it, and it may
// speak for anyone.
func TestL18ExternalRouter(t *testing.T) {
	ext := vm{packet.MAC{2, 0, 0, 1, 1, 1}, "10.1.1.1", "fd00:1::1"}  // behind .50
	here := vm{packet.MAC{2, 0, 0, 1, 2, 2}, "10.1.2.1", "fd00:2::1"} // of 6002, on this host
	policyOf := func() *policy.Set {
		set := wholePolicy()
		set.Global.UseExternalRouter = true
		set.LookupRecords = set.LookupRecords[2:] // no router records
		set.LookupRecords = append(set.LookupRecords, records(6001, ext, "192.168.2.50")...)
		set.LookupRecords = append(set.LookupRecords, unnumbered(6001, policy.GatewayWildcard, ext, "192.168.2.50")...)
		set.LookupRecords = append(set.LookupRecords, records(6002, here, paHere)...)
		set.LookupRecords = append(set.LookupRecords, unnumbered(6002, policy.GatewayWildcard, here, paHere)...)
		set.Ports[gate].VSID, set.Ports[gate].MAC = 6002, here.mac
		set.CustomerRoutes = defaults(vmGate2) // of no effect: the router has the routes
		return set
	}
	families(t, func(t *testing.T, v6 bool) {
		r := newRig(t, policyOf(), nvgre.Config{})

		// A3's proxy answers with the router's own MAC, and does not call it a router.
		if v6 {
			target := addr(ext.v6).As16()
			ns := packet.AppendNS(nil, &packet.NSFrame{DstMAC: packet.GroupMAC(packet.SolicitedNode(target)), SrcMAC: macBlue1,
				Src: addr(vmBlue1.v6).As16(), Dst: packet.SolicitedNode(target), Target: target})
			got := r.only(r.trip(blue1, ns), blue1)[0]
			var l packet.Layout
			packet.Parse(got, &l)
			if _, mac, _, flags, ok := packet.ParseNA(got, &l); !ok || mac != ext.mac || flags&packet.NDRouter != 0 {
				t.Errorf("advertisement %x", got)
			}
			read(t, got)
		} else {
			got := read(t, r.only(r.trip(blue1, arpRequest(vmBlue1, ext.v4, packet.Broadcast)), blue1)[0])
			if packet.MAC(got.arp.SourceHwAddress) != ext.mac {
				t.Errorf("answer %+v", got.arp)
			}
		}

		// Other virtual subnets, and what no subnet has: to the router, as they are.
		for _, to := range []vm{vmBlue5, vmBlue6, outside} {
			sent := between(vmBlue1, to, ext.mac, v6).frame()
			w := unwrap(t, r.only(r.trip(blue1, sent), uplink)[0])
			if w.to != "192.168.2.50" || w.vsid != 6001 || !bytes.Equal(w.inner, sent) {
				t.Errorf("to %v: %+v", to, w)
			}
		}
		// Here as there.
		sent := between(vmBlue5, vmBlue1, here.mac, v6).frame()
		if got := r.only(r.trip(blue5, sent), gate)[0]; !bytes.Equal(got, sent) {
			t.Errorf("%x became %x", sent, got)
		}
		// Within a subnet nothing changes; nobody's address there is not the router's.
		r.only(r.trip(blue1, between(vmBlue1, vmBlue3, macBlue3, v6).frame()), blue3)
		r.dropped(r.trip(blue1, between(vmBlue1, vm{v4: "10.1.1.99", v6: "fd00:1::99"}, macBlue3, v6).frame()), blue1, 1, count.LookupFailed)
		// The router itself is a VM like any other: it answers pings or not.
		if w := unwrap(t, r.only(r.trip(blue1, between(vmBlue1, ext, ext.mac, v6).ping()), uplink)[0]); w.to != "192.168.2.50" {
			t.Errorf("%+v", w)
		}

		// It may send from any CA: here, to a VM here and far.
		routed := between(vmBlue1, vmBlue5, vmBlue5.mac, v6)
		routed.from = here.mac
		if got := r.only(r.trip(gate, routed.frame()), blue5)[0]; !bytes.Equal(got, routed.frame()) {
			t.Errorf("%x became %x", routed.frame(), got)
		}
		routed = between(vmBlue1, vmBlue6, vmBlue6.mac, v6)
		routed.from = here.mac
		if w := unwrap(t, r.only(r.trip(gate, routed.frame()), uplink)[0]); w.to != paFar || w.vsid != 6002 {
			t.Errorf("%+v", w)
		}
		// It is not its own next hop.
		own := between(here, vmBlue1, here.mac, v6)
		r.dropped(r.trip(gate, own.frame()), gate, 1, count.OtherSubnet)
		// There: for one with a record behind .20, through .50.
		routed = between(vmBlue6, vmBlue1, macBlue1, v6)
		routed.from = ext.mac
		r.only(r.trip(uplink, tunnel(6001, "192.168.2.50", paHere, routed.frame())), blue1)
		// Nobody else may.
		r.dropped(r.trip(uplink, tunnel(6001, "192.168.2.21", paHere, routed.frame())), uplink, 1, count.InnerSpoofed)
		spoof := between(vmBlue3, vmBlue2, macBlue2, v6)
		spoof.from = macBlue1
		r.dropped(r.trip(blue1, spoof.frame()), blue1, 1, count.SourceCA)
		r.balance(0)

		// Without its record there is no router.
		set := policyOf()
		set.LookupRecords = set.LookupRecords[:len(set.LookupRecords)-8]
		r = newRig(t, set, nvgre.Config{})
		r.dropped(r.trip(blue1, between(vmBlue1, vmBlue5, ext.mac, v6).frame()), blue1, 1, count.OtherSubnet)
		r.dropped(r.trip(blue1, between(vmBlue1, outside, ext.mac, v6).frame()), blue1, 1, count.LookupFailed)
		// Nor is a VM without CA, by its MAC (L10).
		set.LookupRecords = append(set.LookupRecords, unnumbered(6001, policy.L2Only, vmFresh2, paFar)...)
		r2 := newRig(t, set, nvgre.Config{})
		r2.dropped(r2.trip(blue1, between(vmBlue1, vmBlue5, vmFresh2.mac, v6).frame()), blue1, 1, count.OtherSubnet)
		r2.balance(0)
		if !v6 {
			r.dropped(r.trip(blue1, arpRequest(vmBlue1, ext.v4, packet.Broadcast)), blue1, 1, count.ARPUnknown)
		}
		r.balance(0)
	})
}

// arpRequest is a VM's question for an IPv4 CA, to a MAC.
func arpRequest(v vm, target string, dst packet.MAC) []byte {
	return packet.AppendARP(nil, &packet.ARPFrame{DstMAC: dst, SrcMAC: v.mac,
		ARPFields: packet.ARPFields{Op: packet.ARPOpRequest, SenderMAC: v.mac, SenderIP: addr(v.v4).As4(), TargetIP: addr(target).As4()}})
}

// L13: what no policy is for is told to the control plane, so often a second, as it was.
func TestL13MissIsTold(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		r := newRig(t, wholePolicy(), nvgre.Config{})
		sent := between(vmBlue1, outside, fib.DefaultRouterMAC, v6).frame()
		r.dropped(r.trip(blue1, sent), blue1, 1, count.LookupFailed)
		c := r.w.Punt.Peek()
		if c == nil || c.Kind != worker.Miss || c.Port != blue1 || !bytes.Equal(c.Bytes(), sent) || r.woken != 1 {
			t.Fatalf("told %+v", c)
		}
		r.w.Punt.Pop()
		for range 100 {
			r.trip(blue1, sent)
		}
		if n := r.punted(); n != 50 { // 51 of 200 a second at once
			t.Errorf("told of %d of 100", n)
		}
		r.now += time.Second
		r.trip(blue1, sent)
		if n := r.punted(); n != 1 {
			t.Errorf("told of %d a second later", n)
		}
		r.balance(0)
	})
}

// punted empties the ring to the control plane and says how many frames were in it.
func (r *rig) punted() (n int) {
	for r.w.Punt.Peek() != nil {
		r.w.Punt.Pop()
		n++
	}
	return n
}

// Many hosts, two subnets, every pair: what comes out of one host's uplink goes into
// the other's, and arrives with TTL one less between subnets, and as it was within
// one.
func TestL12_L14_L15HostToHost(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		here := newRig(t, wholePolicy(), nvgre.Config{})
		there := newRig(t, mirrored(), nvgre.Config{})
		for _, a := range []struct {
			port int
			vm   vm
		}{{blue1, vmBlue1}, {blue5, vmBlue5}} {
			for _, b := range []struct {
				port int
				vm   vm
			}{{blue1, vmBlue2}, {blue5, vmBlue6}} {
				t.Run(fmt.Sprint(a.vm.ca(v6), "-", b.vm.ca(v6)), func(t *testing.T) {
					hops := uint8(0)
					if a.port != b.port {
						hops = 1
					}
					sent := between(a.vm, b.vm, b.vm.mac, v6).frame()
					wire := here.only(here.trip(a.port, sent), uplink)[0]
					copy(wire, macUplink[:])
					got := there.only(there.trip(uplink, wire), b.port)[0]
					sameBut(t, got, sent, hops)
					back := between(b.vm, a.vm, a.vm.mac, v6).frame()
					wire = there.only(there.trip(b.port, back), uplink)[0]
					copy(wire, macUplink[:])
					sameBut(t, here.only(here.trip(uplink, wire), a.port)[0], back, hops)
				})
			}
		}
		here.balance(0)
		there.balance(0)
	})
}

// mirrored is wholePolicy on the host behind .20, whose blue1 and blue5 are Blue's
// 10.1.1.12 and 10.1.2.12.
func mirrored() *policy.Set {
	set := wholePolicy()
	set.ProviderAddresses[0].Prefix = netip.PrefixFrom(addr(paFar), 24)
	set.ProviderRoutes[0].NextHop = addr("192.168.2.1")
	set.Ports[blue1].MAC, set.Ports[blue5].MAC = vmBlue2.mac, vmBlue6.mac
	return set
}
