package modes_test

import (
	"bytes"
	"testing"

	"github.com/google/gopacket/layers"

	"paca/dataplane/count"
	"paca/dataplane/fib"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
	"paca/modes/nvgre"
)

// A VM that is a gateway: what leaves the routing domain goes to it by customer
// routes, the address untouched, and what it sends may come from any address outside.
func TestG3_G4_G5_G7_L3_L10Gateway(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		t.Run("here", func(t *testing.T) {
			set := wholePolicy()
			set.CustomerRoutes = defaults(vmGate)
			r := newRig(t, set, nvgre.Config{})

			// To the outside, of a VM here and of one there (L21 by wildcard).
			sent := between(vmBlue1, outside, fib.DefaultRouterMAC, v6).frame()
			got := r.only(r.trip(blue1, sent), gate)[0]
			if f := read(t, got); f.dst != vmGate.mac || f.src != fib.DefaultRouterMAC {
				t.Errorf("from %v to %v", f.src, f.dst)
			}
			sameBut(t, got, sent, 1)
			d := between(vmBlue6, outside, vmGate.mac, v6)
			d.from = fib.DefaultRouterMAC
			if got := r.only(r.trip(uplink, tunnel(6003, paFar, paHere, d.frame())), gate)[0]; !bytes.Equal(got, d.frame()) {
				t.Errorf("%x became %x", d.frame(), got)
			}
			// It is no VM whose CA there is to learn (A16).
			lease := d
			lease.sport, lease.dport = 67, 68
			if !v6 {
				r.only(r.trip(uplink, tunnel(6003, paFar, paHere, lease.dhcp4(layers.DHCPOpReply, layers.DHCPMsgTypeAck, vmGate.mac))), gate)
				r.untold()
			}
			// To another MAC than the gateway's, or with another VSID, nobody is meant.
			d.to = vmGate2.mac
			r.dropped(r.trip(uplink, tunnel(6003, paFar, paHere, d.frame())), uplink, 1, count.InnerUnknown)
			d.to = vmGate.mac
			r.dropped(r.trip(uplink, tunnel(6001, paFar, paHere, d.frame())), uplink, 1, count.InnerUnknown)

			// From the outside, to VMs here and there; and from the gateway itself.
			for _, from := range []vm{outside, vmGate} {
				d := between(from, vmBlue1, fib.DefaultRouterMAC, v6)
				d.from = vmGate.mac
				got := r.only(r.trip(gate, d.frame()), blue1)[0]
				sameBut(t, got, d.frame(), 1)
				if f := read(t, got); f.src != fib.DefaultRouterMAC || f.dst != macBlue1 {
					t.Errorf("from %v to %v", f.src, f.dst)
				}
				d.dst = vmBlue6.ca(v6)
				w := unwrap(t, r.only(r.trip(gate, d.frame()), uplink)[0])
				if w.vsid != 6002 || w.to != paFar {
					t.Errorf("%+v", w)
				}
				sameBut(t, w.inner, d.frame(), 1)
				if f := read(t, w.inner); f.src != macRouter2 || f.dst != vmBlue6.mac {
					t.Errorf("from %v to %v", f.src, f.dst)
				}
			}
			r.balance(0)
		})
		t.Run("far", func(t *testing.T) {
			set := wholePolicy()
			set.CustomerRoutes = defaults(vmGate2)
			r := newRig(t, set, nvgre.Config{})
			sent := between(vmBlue1, outside, fib.DefaultRouterMAC, v6).frame()
			w := unwrap(t, r.only(r.trip(blue1, sent), uplink)[0])
			if w.vsid != 6003 || w.to != "192.168.2.30" {
				t.Errorf("%+v", w)
			}
			sameBut(t, w.inner, sent, 1)
			if f := read(t, w.inner); f.dst != vmGate2.mac || f.src != fib.DefaultRouterMAC {
				t.Errorf("from %v to %v", f.src, f.dst)
			}
			back := between(outside, vmBlue1, macBlue1, v6)
			back.from = fib.DefaultRouterMAC
			if got := r.only(r.trip(uplink, tunnel(6001, "192.168.2.30", paHere, back.frame())), blue1)[0]; !bytes.Equal(got, back.frame()) {
				t.Errorf("%x became %x", back.frame(), got)
			}
			r.balance(0)
		})
	})
}

// Several gateways, two of them in one virtual subnet: the sender picks one by the
// longest prefix, the receiver takes what comes from any of them.
func TestG6_L22TwoGateways(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		set := wholePolicy()
		third := vm{packet.MAC{2, 0, 0, 1, 3, 0x52}, "10.1.3.252", "fd00:3::252"}
		set.LookupRecords = append(set.LookupRecords, records(6003, third, "192.168.2.31")...)
		set.LookupRecords = append(set.LookupRecords, unnumbered(6003, policy.GatewayWildcard, third, "192.168.2.31")...)
		set.CustomerRoutes = append(defaults(vmGate2),
			via("203.0.113.0/24", third.v4, 6003, 255), via("2001:db8:eeee::/48", third.v6, 6003, 255))
		branch := vm{v4: "203.0.113.9", v6: "2001:db8:eeee::9"}
		r := newRig(t, set, nvgre.Config{})
		for _, c := range []struct {
			to vm
			pa string
			by vm
		}{{outside, "192.168.2.30", vmGate2}, {branch, "192.168.2.31", third}} {
			w := unwrap(t, r.only(r.trip(blue1, between(vmBlue1, c.to, fib.DefaultRouterMAC, v6).frame()), uplink)[0])
			if w.to != c.pa || w.vsid != 6003 || read(t, w.inner).dst != c.by.mac {
				t.Errorf("to %v: %+v", c.to, w)
			}
			for _, pa := range []string{"192.168.2.30", "192.168.2.31"} {
				back := between(c.to, vmBlue1, macBlue1, v6)
				back.from = fib.DefaultRouterMAC
				r.only(r.trip(uplink, tunnel(6001, pa, paHere, back.frame())), blue1)
			}
		}
		r.balance(0)
	})
}

// A gateway speaks for those outside, and not for the tenant's other VMs (G5).
func TestG5_L3_L22SpoofedThroughGateway(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		set := wholePolicy()
		set.CustomerRoutes = defaults(vmGate2)
		r := newRig(t, set, nvgre.Config{})
		for _, of := range []vm{vmBlue3, vmBlue4, vmBlue6, vmGate2, {v4: "10.1.3.1", v6: "fd00:3::1"}} { // here, far, another gateway's, the router's
			d := between(of, vmBlue1, fib.DefaultRouterMAC, v6)
			d.from = vmGate.mac
			r.dropped(r.trip(gate, d.frame()), gate, 1, count.SourceCA)
		}
		for _, c := range []struct {
			name string
			from vm
			pa   string
		}{
			{"another's CA, by a gateway's host", vmBlue4, "192.168.2.30"},
			{"a CA of this host, by a gateway's host", vmBlue3, "192.168.2.30"},
			{"an address outside, by a host without gateway", outside, paFar},
			{"an address outside, by nobody", outside, "192.168.2.99"},
			{"an address outside, by ourselves", outside, paHere},
			{"the router's", vm{v4: "10.1.2.1", v6: "fd00:2::1"}, "192.168.2.30"},
		} {
			d := between(c.from, vmBlue1, macBlue1, v6)
			d.from = fib.DefaultRouterMAC
			r.dropped(r.trip(uplink, tunnel(6001, c.pa, paHere, d.frame())), uplink, 1, count.InnerSpoofed)
		}
		// Another tenant's gateway is none of ours.
		d := between(outside, vmRed1, macRed1, v6)
		d.from = fib.DefaultRouterMAC
		r.dropped(r.trip(uplink, tunnel(5001, "192.168.2.30", paHere, d.frame())), uplink, 1, count.InnerSpoofed)
		// A VM that is no gateway may not send from outside.
		r.dropped(r.trip(blue1, datagram{from: macBlue1, to: macBlue2, src: outside.ca(v6), dst: vmBlue2.ca(v6)}.frame()), blue1, 1, count.SourceCA)
		r.balance(0)
	})
}

// A gateway without wildcard is known by the customer routes to the source (L22).
func TestL22SourceByRoute(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		set := wholePolicy()
		plain := vm{packet.MAC{2, 0, 0, 1, 3, 0x51}, "10.1.3.251", "fd00:3::251"}
		set.LookupRecords = append(set.LookupRecords, records(6003, plain, "192.168.2.32")...)
		set.CustomerRoutes = []policy.CustomerRoute{via("198.51.100.0/24", plain.v4, 6003, 255), via("2001:db8:ffff::/48", plain.v6, 6003, 255)}
		r := newRig(t, set, nvgre.Config{})
		from := func(src vm, pa string) []byte {
			d := between(src, vmBlue1, macBlue1, v6)
			d.from = fib.DefaultRouterMAC
			return tunnel(6001, pa, paHere, d.frame())
		}
		r.only(r.trip(uplink, from(outside, "192.168.2.32")), blue1)
		r.dropped(r.trip(uplink, from(outside, paFar)), uplink, 1, count.InnerSpoofed)
		elsewhere := vm{v4: "203.0.113.9", v6: "2001:db8:eeee::9"} // no route leads there
		r.dropped(r.trip(uplink, from(elsewhere, "192.168.2.32")), uplink, 1, count.InnerSpoofed)
		r.only(r.trip(uplink, from(elsewhere, "192.168.2.30")), blue1) // but a wildcard is for all
		r.balance(0)
	})
}

// TTL of what comes through a gateway ends at the router of the gateway's subnet, who
// tells the sender by way of the gateway.
func TestG7_L14TimeExceededThroughGateway(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		r := newRig(t, wholePolicy(), nvgre.Config{})
		d := between(outside, vmBlue1, fib.DefaultRouterMAC, v6)
		d.from, d.ttl = vmGate.mac, 1
		typ := uint8(11)
		if v6 {
			typ = 3
		}
		got := r.only(r.trip(gate, d.frame()), gate)[0]
		checkError(t, got, d.frame(), fib.DefaultRouterMAC, vm{v4: "10.1.3.1", v6: "fd00:3::1"}.ca(v6), typ, 0, 0)
		r.balance(0)
	})
}

// A gateway that sends to the outside by way of itself, since its routes are not what
// they should be, would get its own packets back until their TTL ends.
func TestL7GatewayDoesNotReachItself(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		set := wholePolicy()
		set.CustomerRoutes = defaults(vmGate)
		r := newRig(t, set, nvgre.Config{})
		for _, from := range []vm{vmGate, outside} {
			d := between(from, outside, fib.DefaultRouterMAC, v6)
			d.from = vmGate.mac
			r.dropped(r.trip(gate, d.frame()), gate, 1, count.LookupFailed)
			// Nor by another of its subnet, whose MAC it says: routes decide (L7).
			d.to = vmGate2.mac
			r.dropped(r.trip(gate, d.frame()), gate, 1, count.LookupFailed)
		}
		r.balance(0)
	})
}
