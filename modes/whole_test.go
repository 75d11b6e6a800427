package modes_test

import (
	"net/netip"

	"paca/dataplane/count"
	"paca/dataplane/fib"
	"paca/dataplane/fib/fibtest"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
	"paca/dataplane/worker"
)

// What the tests of the router, of gateways, of broadcasts and of all else that is
// not from one VM to another of its virtual subnet have in common.
//
// Blue is 6001 with blue1 and blue3 here and VMs behind .20 and .21, 6002 with blue5
// here and a VM behind .20, whose router has a MAC of its own, 6003 with gateways
// here (gate) and behind .30, and 6004, where fresh, here, and a VM behind .40 have no
// CA yet, and whose DHCP server is behind .20. Red has the same addresses. The host's
// kernel has a port.
var (
	vmBlue1  = vm{macBlue1, "10.1.1.11", "fd00:1::11"}
	vmBlue2  = vm{macBlue2, "10.1.1.12", "fd00:1::12"} // behind .20
	vmBlue3  = vm{macBlue3, "10.1.1.13", "fd00:1::13"}
	vmBlue4  = vm{packet.MAC{2, 0, 0, 1, 1, 0x22}, "10.1.1.22", "fd00:1::22"} // behind .21
	vmBlue5  = vm{packet.MAC{2, 0, 0, 1, 2, 0x11}, "10.1.2.11", "fd00:2::11"}
	vmBlue6  = vm{packet.MAC{2, 0, 0, 1, 2, 0x12}, "10.1.2.12", "fd00:2::12"}   // behind .20
	vmGate   = vm{packet.MAC{2, 0, 0, 1, 3, 0x54}, "10.1.3.254", "fd00:3::254"} // a gateway
	vmGate2  = vm{packet.MAC{2, 0, 0, 1, 3, 0x53}, "10.1.3.253", "fd00:3::253"} // another, behind .30
	vmFresh  = vm{packet.MAC{2, 0, 0, 1, 4, 0x11}, "10.1.4.11", "fd00:4::11"}   // no record tells the CAs
	vmServer = vm{packet.MAC{2, 0, 0, 1, 4, 0x12}, "10.1.4.12", "fd00:4::12"}   // behind .20
	vmFresh2 = vm{packet.MAC{2, 0, 0, 1, 4, 0x40}, "10.1.4.40", "fd00:4::40"}   // behind .40, no record tells the CAs
	vmRed1   = vm{macRed1, "10.1.1.11", "fd00:1::11"}
	vmRed2   = vm{macRed2, "10.1.1.12", "fd00:1::12"} // behind .20
	vmRed6   = vm{packet.MAC{2, 0, 0, 2, 9, 0x12}, "10.1.9.12", "fd00:9::12"}
	outside  = vm{v4: "198.51.100.7", v6: "2001:db8:ffff::7"}

	macRouter2 = packet.MAC{2, 0, 0, 1, 2, 1} // of Blue's router in 6002
	macKernel  = packet.MAC{2, 0, 0, 0, 1, 0x0b}
)

const (
	paHere = "192.168.1.10"
	paFar  = "192.168.2.20"
)

// records are those of a VM, of both families.
func records(vsid policy.VSID, v vm, pa string) []policy.LookupRecord {
	return []policy.LookupRecord{
		{VSID: vsid, CA: addr(v.v4), MAC: v.mac, PA: addr(pa)},
		{VSID: vsid, CA: addr(v.v6), MAC: v.mac, PA: addr(pa)},
	}
}

// unnumbered are a VM's records of a type that tells no CA, of both families.
func unnumbered(vsid policy.VSID, typ policy.RecordType, v vm, pa string) []policy.LookupRecord {
	return []policy.LookupRecord{
		{VSID: vsid, CA: netip.IPv4Unspecified(), MAC: v.mac, PA: addr(pa), Type: typ},
		{VSID: vsid, CA: netip.IPv6Unspecified(), MAC: v.mac, PA: addr(pa), Type: typ},
	}
}

var blue, red = policy.RDID{1}, policy.RDID{2}

func wholePolicy() *policy.Set {
	subnet := func(vsid policy.VSID, rdid policy.RDID, prefixes ...string) policy.VirtualSubnet {
		vs := policy.VirtualSubnet{VSID: vsid, RDID: rdid}
		for _, p := range prefixes {
			vs.Prefixes = append(vs.Prefixes, prefix(p))
		}
		return vs
	}
	set := &policy.Set{
		VirtualSubnets: []policy.VirtualSubnet{
			subnet(6001, blue, "10.1.1.0/24", "fd00:1::/64"),
			subnet(6002, blue, "10.1.2.0/24", "fd00:2::/64"),
			subnet(6003, blue, "10.1.3.0/24", "fd00:3::/64"),
			subnet(6004, blue, "10.1.4.0/24", "fd00:4::/64"),
			subnet(5001, red, "10.1.1.0/24", "fd00:1::/64"),
			subnet(5009, red, "10.1.9.0/24", "fd00:9::/64"),
		},
		LookupRecords: []policy.LookupRecord{
			{VSID: 6002, CA: addr("10.1.2.1"), MAC: macRouter2, PA: policy.RouterPA},
			{VSID: 6002, CA: addr("fd00:2::1"), MAC: macRouter2, PA: policy.RouterPA},
		},
		ProviderAddresses: []policy.ProviderAddress{{Prefix: prefix(paHere + "/24"), Port: "uplink"}},
		ProviderRoutes:    []policy.ProviderRoute{{Port: "uplink", Prefix: prefix("192.168.0.0/16"), NextHop: addr("192.168.1.1")}},
		Ports: []policy.Port{
			{Name: "uplink", Role: policy.Uplink, MAC: macUplink, MTU: 1500},
			{Name: "blue1", Role: policy.VM, VSID: 6001, MAC: macBlue1, MTU: 1500},
			{Name: "blue3", Role: policy.VM, VSID: 6001, MAC: macBlue3, MTU: 1500},
			{Name: "red1", Role: policy.VM, VSID: 5001, MAC: macRed1, MTU: 1500},
			{Name: "blue5", Role: policy.VM, VSID: 6002, MAC: vmBlue5.mac, MTU: 1500},
			{Name: "gate", Role: policy.VM, VSID: 6003, MAC: vmGate.mac, MTU: 1500},
			{Name: "fresh", Role: policy.VM, VSID: 6004, MAC: vmFresh.mac, MTU: 1500},
			{Name: "kernel", Role: policy.Host, MAC: macKernel, MTU: 1500},
		},
	}
	for _, all := range [][]policy.LookupRecord{
		records(6001, vmBlue1, paHere), records(6001, vmBlue2, paFar), records(6001, vmBlue3, paHere), records(6001, vmBlue4, "192.168.2.21"),
		records(6002, vmBlue5, paHere), records(6002, vmBlue6, paFar),
		records(6003, vmGate, paHere), unnumbered(6003, policy.GatewayWildcard, vmGate, paHere),
		records(6003, vmGate2, "192.168.2.30"), unnumbered(6003, policy.GatewayWildcard, vmGate2, "192.168.2.30"),
		unnumbered(6004, policy.L2Only, vmFresh, paHere), records(6004, vmServer, paFar), unnumbered(6004, policy.L2Only, vmFresh2, "192.168.2.40"),
		records(5001, vmRed1, paHere), records(5001, vmRed2, paFar), records(5009, vmRed6, "192.168.2.60"),
	} {
		set.LookupRecords = append(set.LookupRecords, all...)
	}
	return set
}

// via is a customer route of Blue.
func via(pfx, nextHop string, vsid policy.VSID, metric uint32) policy.CustomerRoute {
	return policy.CustomerRoute{RDID: blue, VSID: vsid, Prefix: prefix(pfx), NextHop: addr(nextHop), Metric: metric}
}

// defaults are routes of both families to a gateway of 6003.
func defaults(g vm) []policy.CustomerRoute {
	return []policy.CustomerRoute{via("0.0.0.0/0", g.v4, 6003, 255), via("::/0", g.v6, 6003, 255)}
}

// router is an option of newRig.
func router(r worker.Router) func(*worker.Config) {
	return func(c *worker.Config) { c.Router = r }
}

// events lists all events by name.
func (r *rig) events() map[string]uint64 {
	m := map[string]uint64{}
	for _, p := range r.w.Count.Snapshot().Ports {
		for e, n := range p.Events {
			if n > 0 {
				m[count.Event(e).Name()] += n
			}
		}
	}
	return m
}

// dropped fails unless nothing came out, and all that was dropped since the last call
// of the rig's trip is n frames for that reason, counted for the port they came from.
func (r *rig) dropped(out [nports][][]byte, in int, n uint64, reason count.Reason) {
	r.t.Helper()
	for i := range out {
		for _, f := range out[i] {
			r.t.Errorf("port %d sent %x", i, f)
		}
	}
	for i, p := range r.w.Count.Snapshot().Ports {
		for why, got := range p.Drops {
			want := r.before.Ports[i].Drops[why]
			if i == in && count.Reason(why) == reason {
				want += n
			}
			if got != want {
				r.t.Errorf("port %d: %d drops by %v, want %d", i, got, count.Reason(why), want)
			}
		}
	}
}

// compile is the rig's policy as a Book, and a Compiler that the rig has its FIB from.
func (r *rig) compile(set *policy.Set) (*policy.Book, *fib.Compiler) {
	r.t.Helper()
	book, c := fibtest.Book(r.t, set), fib.NewCompiler()
	r.fib.Store(c.Compile(book, fibtest.Devices(set), resolved))
	return book, c
}

// apply has the worker see changes of policy.
func (r *rig) apply(book *policy.Book, c *fib.Compiler, set *policy.Set, changes ...policy.Change) {
	r.t.Helper()
	applied, err := book.Apply(changes)
	if err != nil {
		r.t.Fatal(err)
	}
	r.fib.Store(c.Update(applied, book, fibtest.Devices(set), resolved))
}
