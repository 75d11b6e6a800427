package daemon

import (
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
