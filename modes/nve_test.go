package modes_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"paca/dataplane/count"
	"paca/dataplane/packet"
	"paca/dataplane/worker"
	"paca/modes/nvgre"
)

// listening is an option of newRig: the control plane wants strays and messages of other
// hosts.
func listening(c *worker.Config) { c.NVE = true }

// strayed are tunnel packets of VMs that are not here.
func strayed(v6 bool) map[string][]byte {
	gone := vm{packet.MAC{2, 0, 0, 1, 1, 0x99}, "10.1.1.99", "fd00:1::99"}
	return map[string][]byte{
		"nobody's":                 tunnel(6001, paFar, paHere, between(vmBlue2, gone, gone.mac, v6).frame()),
		"behind another PA now":    tunnel(6001, paFar, paHere, between(vmBlue2, vmBlue4, vmBlue4.mac, v6).frame()),
		"of another subnet":        tunnel(6001, paFar, paHere, between(vmBlue2, vmBlue5, vmBlue5.mac, v6).frame()),
		"spoofed, but that is not": tunnel(6001, "192.168.2.21", paHere, between(vmBlue2, gone, gone.mac, v6).frame()),
	}
}

// L24, N7, N8: a tunnel packet for a VM that is not here is dropped, never sent on; the
// control plane is told, with all of the packet, so many times a second, if it wants.
func TestL24_N7_N8Stray(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		for name, f := range strayed(v6) {
			t.Run(name, func(t *testing.T) {
				r := newRig(t, wholePolicy(), nvgre.Config{}, listening)
				r.dropped(r.trip(uplink, f), uplink, 1, count.InnerUnknown)
				r.told(worker.Stray, uplink, f)
				if e := r.events(); e["stray"] != 1 {
					t.Errorf("events %v", e)
				}
				for range 100 {
					r.trip(uplink, f)
				}
				if n := r.punted(); n != 50 || r.events()["stray"] != 51 {
					t.Errorf("told of %d of 100, events %v", n, r.events())
				}
				r.now += time.Second
				r.trip(uplink, f)
				if n := r.punted(); n != 1 {
					t.Errorf("told of %d a second later", n)
				}
				r.balance(0)
			})
		}
	})
}

// N12: off, nobody is told.
func TestN12_L24StrayUntold(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		r := newRig(t, wholePolicy(), nvgre.Config{})
		for _, f := range strayed(v6) {
			r.dropped(r.trip(uplink, f), uplink, 1, count.InnerUnknown)
		}
		if e := r.events(); len(e) != 0 || r.woken != 0 {
			t.Errorf("events %v, woken %d times", e, r.woken)
		}
		r.untold()
		r.balance(0)
	})
}

// What is dropped for another reason is no stray: a spoofer learns nothing.
func TestL22_L24NoStray(t *testing.T) {
	r := newRig(t, wholePolicy(), nvgre.Config{}, listening)
	for _, c := range []struct {
		frame  []byte
		reason count.Reason
	}{
		{tunnel(6001, "192.168.2.21", paHere, between(vmBlue2, vmBlue1, macBlue1, false).frame()), count.InnerSpoofed},
		{tunnel(4242, paFar, paHere, between(vmBlue2, vmBlue1, macBlue1, false).frame()), count.VSIDUnknown},
		{tunnel(6001, paFar, paHere, []byte{1, 2, 3}), count.InnerRunt},
		{tunnel(5009, "192.168.2.60", paHere, discover(vmRed6)), count.InnerBroadcast},
	} {
		r.dropped(r.trip(uplink, c.frame), uplink, 1, c.reason)
	}
	r.untold()
	r.balance(0)
}

// A VM whose MAC is another by now, or that has no port here any more, is not here.
func TestL21_L24_N8StrayByMACOrPort(t *testing.T) {
	portless := vm{packet.MAC{2, 0, 0, 0, 9, 1}, "10.1.1.14", ""}
	for _, c := range []struct {
		frame  []byte
		reason count.Reason
	}{
		{tunnel(6001, "192.168.2.20", paHere, between(vmBlue2, vmBlue1, macBlue3, false).frame()), count.InnerMAC},
		{tunnel(6001, "192.168.2.20", paHere, between(vmBlue2, portless, portless.mac, false).frame()), count.NoLocalPort},
	} {
		r := newRig(t, testPolicy(), nvgre.Config{}, listening)
		r.dropped(r.trip(uplink, c.frame), uplink, 1, c.reason)
		r.told(worker.Stray, uplink, c.frame)
		r.balance(0)
	}
}

// said are control messages that the host behind .20 sends about V1's packet.
func said(v6 bool) map[string][]byte {
	quote := fromFabric()[34:] // GRE header and all behind it
	macFar := packet.MAC{2, 0, 0, 0, 2, 0x14}
	d := datagram{from: macFar, to: macUplink, src: paFar, dst: paHere, ttl: 128}
	here, far := paHere, paFar
	if v6 {
		here, far = six(paHere), six(paFar)
		d.src, d.dst = far, here
		rest := append([]byte{0, 0, 0, 0}, quote...)
		return map[string][]byte{
			"unreachable": tunnel(6001, far, here, d.with(&layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(1, 1)}, gopacket.Payload(rest))),
			"redirect":    tunnel(6001, far, here, d.with(&layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(137, 1)}, gopacket.Payload(rest))),
		}
	}
	moved := d
	moved.dst = "192.168.2.30"
	return map[string][]byte{
		"unreachable": tunnel(6001, far, here, d.with(&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 10)}, gopacket.Payload(quote))),
		"redirect":    tunnel(6001, far, here, moved.with(&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(5, 10)}, gopacket.Payload(quote))),
	}
}

// N1-N3, N5, N12: another host's message is the control plane's, outer header and all;
// off, it is dropped by name. It is never a VM's.
func TestN1_N2_N3_N5_N12ControlMessage(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		for name, f := range said(v6) {
			t.Run(name, func(t *testing.T) {
				set := wholePolicy()
				if v6 {
					set = sixPA()
				}
				r := newRig(t, set, nvgre.Config{}, listening)
				r.dropped(r.trip(uplink, f), uplink, 0, count.Kept)
				r.told(worker.NVE, uplink, f)
				if n := r.w.Count.Snapshot().Ports[uplink].Control; n != 1 {
					t.Errorf("%d frames are the control plane's", n)
				}
				for range 100 {
					r.trip(uplink, f)
				}
				if n := r.punted(); n != 50 || r.drops()["nve_control"] != 50 {
					t.Errorf("told of %d of 100, drops %v", n, r.drops())
				}
				// Strays are counted by themselves.
				for _, s := range strayed(false) {
					if v6 {
						break
					}
					r.trip(uplink, s)
					r.told(worker.Stray, uplink, s)
				}
				r.now += time.Second
				for r.w.Punt.Push(0, worker.Neighbor, nil) {
				}
				r.dropped(r.trip(uplink, f), uplink, 1, count.NVEControl)
				r.balance(0)

				r = newRig(t, set, nvgre.Config{})
				r.dropped(r.trip(uplink, f), uplink, 1, count.NVEControl)
				r.untold()
				r.balance(0)
			})
		}
	})
}

// What a tenant sends is the tenant's, though it looks like such a message.
func TestN10TenantsMessageIsData(t *testing.T) {
	r := newRig(t, wholePolicy(), nvgre.Config{}, listening)
	quote := fromFabric()[34:]
	for _, code := range []layers.ICMPv4TypeCode{layers.CreateICMPv4TypeCode(3, 10), layers.CreateICMPv4TypeCode(5, 10)} {
		f := between(vmBlue2, vmBlue1, macBlue1, false).with(&layers.ICMPv4{TypeCode: code}, gopacket.Payload(quote))
		if got := r.only(r.trip(uplink, tunnel(6001, paFar, paHere, f)), blue1)[0]; !bytes.Equal(got, f) {
			t.Errorf("%x became %x", f, got)
		}
		f = between(vmBlue1, vmBlue2, macBlue2, false).with(&layers.ICMPv4{TypeCode: code}, gopacket.Payload(quote))
		if w := unwrap(t, r.only(r.trip(blue1, f), uplink)[0]); !bytes.Equal(w.inner, f) {
			t.Errorf("%x became %x", f, w.inner)
		}
	}
	r.untold()
	r.balance(0)

	// Nor is it the control plane's if the VM cannot have it.
	set := wholePolicy()
	set.Ports[blue1].MTU = 80
	r = newRig(t, set, nvgre.Config{}, listening)
	f := between(vmBlue2, vmBlue1, macBlue1, false).with(&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 10)}, gopacket.Payload(quote))
	r.dropped(r.trip(uplink, tunnel(6001, paFar, paHere, f)), uplink, 1, count.MTUExceeded)
	r.untold()
	r.balance(0)
}

// L24, L25: what came from the fabric never goes back to it, whatever it is for; not
// even to a VM whose record is of another host.
func TestL24_L25NoTransit(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		set := wholePolicy()
		set.CustomerRoutes = defaults(vmGate2)
		r := newRig(t, without(set), nvgre.Config{}, listening)
		for _, to := range []vm{vmBlue4, vmBlue6, vmGate2, outside, vmRed6, router1} {
			for _, vsid := range []uint32{6001, 6002, 6003, 6004, 5001} {
				d := between(vmBlue2, to, to.mac, v6)
				if out := r.trip(uplink, tunnel(vsid, paFar, paHere, d.frame())); len(out[uplink]) != 0 {
					t.Errorf("to %v in VSID %d: sent %x", to, vsid, out[uplink])
				}
			}
		}
		r.punted()
		r.balance(0)
	})
}
