package daemon

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"paca/dataplane/fib"
	"paca/dataplane/fib/fibtest"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
)

// Reports go out when a group is joined, soon again, and every minute; from each PA
// of the group's family; none without a group, or a VM that wants it.
func TestA20GroupsAreJoined(t *testing.T) {
	set := &policy.Set{
		VirtualSubnets: []policy.VirtualSubnet{{VSID: 6001, RDID: policy.RDID{1}, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.1.1.0/24")}}},
		ProviderAddresses: []policy.ProviderAddress{
			{Prefix: netip.MustParsePrefix("192.168.1.10/24"), Port: "uplink", VLAN: 7},
			{Prefix: netip.MustParsePrefix("2001:db8::10/64"), Port: "uplink"},
		},
		Ports: []policy.Port{{Name: "uplink", Role: policy.Uplink, MTU: 1500}},
	}
	resolve := func(uint16, uint16, netip.Addr) (packet.MAC, fib.AdjState) { return packet.MAC{}, fib.AdjUnresolved }
	compile := func() *fib.FIB { return fibtest.Compile(t, set, resolve) }
	now := time.Unix(1000, 0)
	var m membership
	sent := 0
	tick := func(f *fib.FIB) time.Duration {
		sent = 0
		next := m.tick(now, f, func(port uint16, frame []byte) {
			var l packet.Layout
			if packet.Parse(frame, &l) != packet.OK || l.TCI != 7 || port != 0 {
				t.Errorf("port %d, %x", port, frame)
			}
			sent++
		})
		if next.IsZero() {
			return 0
		}
		return next.Sub(now)
	}
	if next := tick(compile()); next != 0 || sent != 0 {
		t.Errorf("without a group %d reports, the next in %v", sent, next)
	}
	set.LookupRecords = []policy.LookupRecord{{VSID: 6001, CA: netip.MustParseAddr("224.0.0.251"), MAC: packet.MAC{1, 0, 0x5e, 0, 0, 0xfb}, PA: netip.MustParseAddr("239.1.1.1")}}
	if next := tick(compile()); next != 0 || sent != 0 {
		t.Errorf("without a VM %d reports, the next in %v", sent, next)
	}
	set.Ports = append(set.Ports, policy.Port{Name: "vm", Role: policy.VM, VSID: 6001, MAC: packet.MAC{2}, MTU: 1500})
	f := compile()
	for i, want := range []struct {
		after, next time.Duration
		sent        int
	}{
		{0, reportAgain, 1},
		{time.Second, time.Second, 0},
		{time.Second, reportEvery, 1},
		{time.Minute, reportEvery, 1},
	} {
		now = now.Add(want.after)
		if next := tick(f); next != want.next || sent != want.sent {
			t.Errorf("%d: %d reports, the next in %v; want %+v", i, sent, next, want)
		}
	}
}

// A link is joined when its first PA comes, and not from a PA that another machine
// has (P14); several PAs of one link make one report.
func TestA20_P14GroupsOnEachLink(t *testing.T) {
	a, p := netip.MustParseAddr, netip.MustParsePrefix
	set := &policy.Set{
		VirtualSubnets: []policy.VirtualSubnet{{VSID: 6001, RDID: policy.RDID{1}, Prefixes: []netip.Prefix{p("10.1.1.0/24")}}},
		LookupRecords: []policy.LookupRecord{
			{VSID: 6001, CA: a("224.0.0.251"), MAC: packet.MAC{1, 0, 0x5e, 0, 0, 0xfb}, PA: a("239.1.1.1")},
			{VSID: 6001, CA: a("224.0.0.252"), MAC: packet.MAC{1, 0, 0x5e, 0, 0, 0xfc}, PA: a("ff05::1")},
		},
		ProviderAddresses: []policy.ProviderAddress{{Prefix: p("192.168.1.10/24"), Port: "uplink"}, {Prefix: p("192.168.1.11/24"), Port: "uplink"}},
		Ports: []policy.Port{
			{Name: "uplink", Role: policy.Uplink, MAC: uplinkMAC, MTU: 1500},
			{Name: "vm", Role: policy.VM, VSID: 6001, MAC: packet.MAC{2}, MTU: 1500},
		},
	}
	compiler := fib.NewCompiler()
	duplicate := map[netip.Addr]bool{}
	now := time.Unix(1000, 0)
	var m membership
	for i, c := range []struct {
		change func()
		want   string
	}{
		{func() {}, "0 192.168.1.10 239.1.1.1; "},
		{func() {
			set.ProviderAddresses = append(set.ProviderAddresses, policy.ProviderAddress{Prefix: p("192.168.7.10/24"), Port: "uplink", VLAN: 7})
		}, "0 192.168.1.10 239.1.1.1; 7 192.168.7.10 239.1.1.1; "},
		{func() { duplicate[a("192.168.7.10")] = true }, "0 192.168.1.10 239.1.1.1; "},
		{func() { duplicate[a("192.168.1.10")] = true }, "0 192.168.1.11 239.1.1.1; "},
		{func() { clear(duplicate) }, "0 192.168.1.10 239.1.1.1; 7 192.168.7.10 239.1.1.1; "},
		{func() {
			set.ProviderAddresses = append(set.ProviderAddresses, policy.ProviderAddress{Prefix: p("2001:db8::10/64"), Port: "uplink", VLAN: 8})
		}, "0 192.168.1.10 239.1.1.1; 7 192.168.7.10 239.1.1.1; 8 fe80::ff:fe00:10a ff05::1; "},
		{func() { set.ProviderAddresses = set.ProviderAddresses[:1] }, "0 192.168.1.10 239.1.1.1; "},
	} {
		c.change()
		for _, pa := range set.ProviderAddresses {
			compiler.SetDuplicate(pa.Prefix.Addr(), duplicate[pa.Prefix.Addr()])
		}
		f := compiler.Compile(fibtest.Book(t, set), fibtest.Devices(set), func(uint16, uint16, netip.Addr) (packet.MAC, fib.AdjState) {
			return packet.MAC{}, fib.AdjUnresolved
		})
		got := ""
		next := m.tick(now, f, func(_ uint16, frame []byte) {
			var l packet.Layout
			if packet.Parse(frame, &l) != packet.OK {
				t.Fatalf("%x", frame)
			}
			src, dst := addresses(frame, &l)
			got += fmt.Sprintf("%d %v %v; ", l.TCI, src, dst)
		})
		if got != c.want || next.Sub(now) != reportAgain {
			t.Errorf("%d: %q, the next in %v; want %q", i, got, next.Sub(now), c.want)
		}
	}
}
