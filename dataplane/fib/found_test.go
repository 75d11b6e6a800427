package fib_test

import (
	"net/netip"
	"testing"

	"paca/dataplane/fib"
	"paca/dataplane/fib/fibtest"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
)

// What was found out about PAs is in force with the next version, though policy did
// not change, and outlives a FIB that is made from scratch (M10, P14).
func TestM10_P14FoundOut(t *testing.T) {
	own, far, ca := netip.MustParseAddr("192.168.1.10"), netip.MustParseAddr("192.168.2.20"), netip.MustParseAddr("10.1.1.12")
	set := &policy.Set{
		VirtualSubnets:    []policy.VirtualSubnet{{VSID: 6001, RDID: policy.RDID{1}, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.1.1.0/24")}}},
		LookupRecords:     []policy.LookupRecord{{VSID: 6001, CA: ca, MAC: packet.MAC{2, 12}, PA: far}},
		ProviderAddresses: []policy.ProviderAddress{{Prefix: netip.PrefixFrom(own, 16), Port: "uplink"}},
		Ports:             []policy.Port{{Name: "uplink", Role: policy.Uplink, MAC: packet.MAC{2, 1}, MTU: 1500}},
	}
	book, devices := fibtest.Book(t, set), fibtest.Devices(set)
	resolve := func(uint16, uint16, netip.Addr) (packet.MAC, fib.AdjState) { return packet.MAC{2, 2}, fib.AdjReady }
	c := fib.NewCompiler()
	c.Compile(book, devices, resolve)
	update := func() *fib.FIB { return c.Update(nil, book, devices, resolve) }
	check := func(step string, f *fib.FIB, limit uint16, state fib.AdjState) {
		t.Helper()
		e := f.Lookup(f.Domain(6001), ca)
		if got := f.Remote(e).Limit[policy.NVGRE]; got != limit {
			t.Errorf("%s: limit %d, want %d", step, got, limit)
		}
		if got := f.Adj(e, 0).State; got != state || f.PAs[0].Duplicate != (state == fib.AdjDuplicate) {
			t.Errorf("%s: %v, want %v; PA %+v", step, got, state, f.PAs[0])
		}
	}
	check("nothing", update(), 0xffff, fib.AdjReady)
	c.SetPathMTU(far, 1400)
	check("path MTU", update(), 1358, fib.AdjReady)
	c.SetDuplicate(own, true)
	check("duplicate", update(), 1358, fib.AdjDuplicate)
	check("no news", update(), 1358, fib.AdjDuplicate)
	check("from scratch", c.Compile(book, devices, resolve), 1358, fib.AdjDuplicate)
	c.SetDuplicate(own, false)
	check("no duplicate", update(), 1358, fib.AdjReady)
	c.SetPathMTU(far, 0)
	check("no path MTU", update(), 0xffff, fib.AdjReady)
}
