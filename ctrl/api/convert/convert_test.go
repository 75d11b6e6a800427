package convert

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	pacav1 "paca/ctrl/api/paca/v1"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
)

var (
	someRDID = policy.RDID{0x11, 0x11, 0x11, 0x11, 0x22, 0x22, 0x33, 0x33, 0x44, 0x44}
	someMAC  = packet.MAC{0x10, 0x10, 0x10, 0x10, 0x11, 0x05}
	zero4    = netip.IPv4Unspecified()
)

// One or more of every kind, with every field used.
var objects = []policy.Object{
	policy.Global{},
	policy.Global{UseExternalRouter: true},
	policy.Port{Name: "vm1", Role: policy.VM, VSID: 6001, MAC: someMAC, MTU: 9000, Device: "tap:vm1",
		MACSpoofing: true, DHCPGuard: true, RouterGuard: true, DynamicIPLimit: 4096, StormLimit: 10_000_000},
	policy.Port{Name: "up.link_0-1", Role: policy.Uplink, MTU: 1500, Device: "0000:3b:00.0", Queues: 1024},
	policy.Port{Name: "k", Role: policy.Host, MTU: 1280, Device: "tap:k"},
	policy.ProviderAddress{Prefix: netip.MustParsePrefix("192.168.1.10/24"), Port: "uplink0", VLAN: 4094, MAC: someMAC},
	policy.ProviderAddress{Prefix: netip.MustParsePrefix("2001:db8::10/64"), Port: "uplink0"},
	policy.ProviderRoute{Port: "uplink0", Prefix: netip.MustParsePrefix("0.0.0.0/0"), NextHop: netip.MustParseAddr("192.168.1.1"), Metric: 1<<32 - 1},
	policy.ProviderRoute{Port: "uplink0", Prefix: netip.MustParsePrefix("::/0"), NextHop: netip.IPv6Unspecified()},
	policy.VirtualSubnet{VSID: 6001, RDID: someRDID, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.1.1.0/24"), netip.MustParsePrefix("fd00:1::/64")}, Mode: policy.Rewrite},
	policy.VirtualSubnet{VSID: 4096, RDID: someRDID},
	policy.CustomerRoute{RDID: someRDID, VSID: 6001, Prefix: netip.MustParsePrefix("0.0.0.0/0"), NextHop: netip.MustParseAddr("10.1.1.254"), Metric: 255},
	policy.LookupRecord{VSID: 6001, CA: netip.MustParseAddr("10.1.1.11"), MAC: someMAC, PA: netip.MustParseAddr("192.168.1.10"), Type: policy.Dynamic, UseVMMAC: true, VMName: "blue 1", CustomerID: "{}", Context: "größer"},
	policy.LookupRecord{VSID: 6001, CA: netip.IPv6Unspecified(), MAC: someMAC, PA: netip.MustParseAddr("2001:db8::1"), Type: policy.L2Only},
	policy.Port{Name: "h", Role: policy.Host, MTU: 1500, Device: "tap:h", Uplink: "uplink0"},
	policy.Port{Name: "o", Role: policy.Uplink, MTU: 1500, Device: "tap:o", NoOffload: policy.OffloadsOf(policy.TSO, policy.VLANTag)},
	policy.Port{Name: "vm2", Role: policy.VM, VSID: 6001, MAC: someMAC, MTU: 1500, Device: "tap:vm2"}, // 0 is not absent
	policy.VirtualSubnet{VSID: 6002, RDID: someRDID, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.1.2.0/24")}, DHCP: true, DNS: []netip.Addr{netip.MustParseAddr("10.1.2.53"), netip.MustParseAddr("192.0.2.53")}},
	policy.LookupRecord{VSID: 6001, CA: netip.MustParseAddr("239.1.2.3"), MAC: packet.MAC{1, 0, 0x5e, 1, 2, 3}, PA: netip.MustParseAddr("239.255.0.1")},
	policy.LookupRecord{VSID: 6001, CA: zero4, MAC: someMAC, PA: netip.MustParseAddr("192.168.1.10"), Type: policy.GatewayWildcard},
}

// What came from policy comes back as it was, over the wire.
func TestRoundTrip(t *testing.T) {
	for _, o := range objects {
		for _, verb := range []policy.Verb{policy.Add, policy.Replace, policy.Put} {
			wire, err := proto.Marshal(&pacav1.ApplyRequest{Changes: FromChanges([]policy.Change{{Verb: verb, Object: o}})})
			if err != nil {
				t.Fatal(err)
			}
			var m pacav1.ApplyRequest
			if err := proto.Unmarshal(wire, &m); err != nil {
				t.Fatal(err)
			}
			got, err := Changes(nil, m.Changes)
			if want := []policy.Change{{Verb: verb, Object: o}}; err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%+v came back as %+v, %v", want, got, err)
			}
		}
		gone, err := Changes(nil, []*pacav1.Change{FromChange(policy.Change{Verb: policy.Delete, Object: o})})
		if err != nil || gone[0].Verb != policy.Delete || gone[0].Object.Key() != o.Key() {
			t.Errorf("delete of %+v came back as %+v, %v", o, gone, err)
		}
		if read, err := Object(FromObject(o)); err != nil || !reflect.DeepEqual(read, o) {
			t.Errorf("%+v came back as %+v, %v", o, read, err)
		}
	}
}

// A delete needs the identity and nothing else, and reads nothing else.
func TestIdentity(t *testing.T) {
	for _, m := range []*pacav1.Object{
		{Object: &pacav1.Object_Global{}},
		{Object: &pacav1.Object_Port{Port: &pacav1.Port{Name: "vm1", Role: "?", Mtu: 1}}},
		{Object: &pacav1.Object_ProviderAddress{ProviderAddress: &pacav1.ProviderAddress{Address: "192.168.1.10", Vlan: 1 << 20}}},
		{Object: &pacav1.Object_ProviderAddress{ProviderAddress: &pacav1.ProviderAddress{Address: "192.168.1.10/24"}}},
		{Object: &pacav1.Object_ProviderRoute{ProviderRoute: &pacav1.ProviderRoute{Port: "uplink0", Prefix: "0.0.0.0/0", NextHop: "192.168.1.1"}}},
		{Object: &pacav1.Object_VirtualSubnet{VirtualSubnet: &pacav1.VirtualSubnet{Vsid: 6001, Mode: "?"}}},
		{Object: &pacav1.Object_CustomerRoute{CustomerRoute: &pacav1.CustomerRoute{Rdid: someRDID.String(), Vsid: 6001, Prefix: "0.0.0.0/0", NextHop: "10.1.1.254"}}},
		{Object: &pacav1.Object_LookupRecord{LookupRecord: &pacav1.LookupRecord{Vsid: 6001, Ca: "10.1.1.11", Mac: "101010101105", Pa: "?", Type: "?"}}},
	} {
		got, err := Identity(m)
		if err != nil {
			t.Errorf("%v: %v", m, err)
			continue
		}
		known := false
		for _, o := range objects {
			known = known || o.Key() == got.Key()
		}
		if !known {
			t.Errorf("%v is read as %+v, which is none of the objects", m, got)
		}
	}
}

// Each object is right but for one field.
func TestFaults(t *testing.T) {
	record := func(change func(*pacav1.LookupRecord)) *pacav1.Object {
		o := FromObject(objects[12])
		change(o.GetLookupRecord())
		return o
	}
	port := func(change func(*pacav1.Port)) *pacav1.Object {
		o := FromObject(objects[2])
		change(o.GetPort())
		return o
	}
	uplink := func(change func(*pacav1.Port)) *pacav1.Object {
		o := FromObject(objects[3])
		change(o.GetPort())
		return o
	}
	pa := func(change func(*pacav1.ProviderAddress)) *pacav1.Object {
		o := FromObject(objects[5])
		change(o.GetProviderAddress())
		return o
	}
	subnet := func(change func(*pacav1.VirtualSubnet)) *pacav1.Object {
		o := FromObject(objects[9])
		change(o.GetVirtualSubnet())
		return o
	}
	route := func(change func(*pacav1.CustomerRoute)) *pacav1.Object {
		o := FromObject(objects[11])
		change(o.GetCustomerRoute())
		return o
	}
	long := strings.Repeat("ä", 600)
	for _, tt := range []struct {
		m                    *pacav1.Object
		field, rule, problem string
	}{
		{record(func(r *pacav1.LookupRecord) { r.Ca = "" }), "ca", "C1.2", "is missing"},
		{record(func(r *pacav1.LookupRecord) { r.Ca = "10.1.1.011" }), "ca", "C1.2", `"10.1.1.011" is not an IP address`},
		{record(func(r *pacav1.LookupRecord) { r.Ca = "fe80::1%eth0" }), "ca", "C1.2", `"fe80::1%eth0" has a zone`},
		{record(func(r *pacav1.LookupRecord) { r.Pa = "::ffff:192.168.1.10" }), "pa", "C1.2", `"::ffff:192.168.1.10" is IPv4 in the guise of IPv6; write 192.168.1.10`},
		{record(func(r *pacav1.LookupRecord) { r.Mac = "10-10-10-10-11" }), "mac", "C1.2", `"10-10-10-10-11" is not a MAC address`},
		{record(func(r *pacav1.LookupRecord) { r.Type = "Static" }), "type", "P22", `"Static" is not static, dynamic, gateway-wildcard or l2-only`},
		{record(func(r *pacav1.LookupRecord) { r.Context = long }), "context", "C1.2", "1200 bytes are too long; use up to 1024"},
		{record(func(r *pacav1.LookupRecord) { r.Ca = long }), "ca", "C1.2", `"` + long[:64] + `…" is not an IP address`},
		{port(func(p *pacav1.Port) { p.Name = "" }), "name", "P1", "is missing"},
		{port(func(p *pacav1.Port) { p.Name = "a\x00b" }), "name", "P1", `"a\x00b" is not a name; use up to 63 letters, digits, dots, dashes and underscores, the first a letter or digit`},
		{port(func(p *pacav1.Port) { p.Role = "" }), "role", "P1", `"" is not uplink, vm or host`},
		{port(func(p *pacav1.Port) { p.VmMac = "" }), "vm_mac", "C1.2", "is missing"},
		{port(func(p *pacav1.Port) { p.Device = "" }), "device", "P1", "is missing"},
		{port(func(p *pacav1.Port) { p.Offload = map[string]bool{"tso": true, "lro": true} }), "offload", "O23",
			`"lro" is not one of tso, gre_tso, tx_checksum, outer_checksum, rx_checksum, multi_segment, vlan`},
		{port(func(p *pacav1.Port) { p.Mtu = 1279 }), "mtu", "", "1279 is not in 1280 to 9702"},
		{port(func(p *pacav1.Port) { p.Mtu = 1<<32 - 1 }), "mtu", "", "4294967295 is not in 1280 to 9702"},
		{uplink(func(p *pacav1.Port) { p.Vsid = 6001 }), "vsid", "P1", "only a port of role vm has one"},
		{uplink(func(p *pacav1.Port) { p.VmMac = "101010101105" }), "vm_mac", "P1", "only a port of role vm has one"},
		{pa(func(a *pacav1.ProviderAddress) { a.Address = "192.168.1.10" }), "address", "C1.2", `"192.168.1.10" is not an address with prefix length`},
		{pa(func(a *pacav1.ProviderAddress) { a.Address = "::ffff:1.2.3.4/100" }), "address", "C1.2", `"::ffff:1.2.3.4/100" is IPv4 in the guise of IPv6`},
		{pa(func(a *pacav1.ProviderAddress) { a.Vlan = 65536 + 7 }), "vlan", "W11", "65543 is not a VLAN; use 0 (untagged) to 4094"},
		{pa(func(a *pacav1.ProviderAddress) { a.Mac = "no" }), "mac", "C1.2", `"no" is not a MAC address`},
		{subnet(func(v *pacav1.VirtualSubnet) { v.Rdid = "" }), "rdid", "C1.2", "is missing"},
		{subnet(func(v *pacav1.VirtualSubnet) { v.Rdid = "{1}" }), "rdid", "C1.2", `"{1}" is not a GUID like {11111111-2222-3333-4444-000000000000}`},
		{subnet(func(v *pacav1.VirtualSubnet) { v.Prefixes[1] = "ten" }), "prefixes", "C1.2", `"ten" is not an address with prefix length`},
		{subnet(func(v *pacav1.VirtualSubnet) { v.Dns = []string{"8.8.8.8", "dns"} }), "dns", "C1.2", `"dns" is not an IP address`},
		{uplink(func(p *pacav1.Port) { p.Uplink = "a b" }), "uplink", "P1", `"a b" is not a name; use up to 63 letters, digits, dots, dashes and underscores, the first a letter or digit`},
		{subnet(func(v *pacav1.VirtualSubnet) { v.Mode = "vxlan" }), "mode", "P22", `"vxlan" is not nvgre or rewrite`},
		{route(func(r *pacav1.CustomerRoute) { r.NextHop = "on-link" }), "next_hop", "C1.2", `"on-link" is not an IP address`},
		{route(func(r *pacav1.CustomerRoute) { r.Prefix = "0.0.0.0/33" }), "prefix", "C1.2", `"0.0.0.0/33" is not an address with prefix length`},
		{nil, "object", "", "holds no object"},
		{&pacav1.Object{}, "object", "", "holds no object"},
	} {
		_, err := Changes([]policy.Change{{}, {}}, []*pacav1.Change{{Change: &pacav1.Change_Put{Put: tt.m}}})
		faults := policy.Faults(err)
		if len(faults) != 1 {
			t.Errorf("%v: %v", tt.m, err)
			continue
		}
		if f := faults[0]; f.Index != 2 || f.Field != tt.field || f.Rule != tt.rule || f.Problem != tt.problem {
			t.Errorf("%v:\n got %+v\nwant %s: %s (%s)", tt.m, f, tt.field, tt.problem, tt.rule)
		}
	}
}

// Empty choices are the usual ones.
func TestDefaults(t *testing.T) {
	for _, tt := range []struct {
		m    *pacav1.Port
		want policy.Port
	}{
		{&pacav1.Port{Name: "vm1", Role: "vm", Device: "tap:vm1", VmMac: someMAC.String()},
			policy.Port{Name: "vm1", Role: policy.VM, Device: "tap:vm1", MAC: someMAC, MTU: 1500, DynamicIPLimit: 8, StormLimit: 1000}},
		{&pacav1.Port{Name: "u", Role: "uplink", Device: "tap:u"}, policy.Port{Name: "u", Role: policy.Uplink, Device: "tap:u", MTU: 1500}},
		{&pacav1.Port{Name: "h", Role: "host", Device: "tap:h"}, policy.Port{Name: "h", Role: policy.Host, Device: "tap:h", MTU: 1500}},
	} {
		if got, err := Object(&pacav1.Object{Object: &pacav1.Object_Port{Port: tt.m}}); err != nil || got != tt.want {
			t.Errorf("%v is read as %+v, %v", tt.m, got, err)
		}
	}
}

// What only a VM's port has is refused of others, and is not lost on the way to
// who refuses it.
func TestL31_L32_W20SwitchesOfPorts(t *testing.T) {
	const vm, uplink, host = "vm", "uplink", "host"
	for _, tt := range []struct {
		role   string
		change func(*pacav1.Port)
		field  string // "": taken
		rule   string
	}{
		{vm, func(p *pacav1.Port) { p.MacSpoofing, p.DhcpGuard, p.RouterGuard = true, true, true }, "", ""},
		{vm, func(p *pacav1.Port) { p.DynamicIpLimit, p.StormLimit = proto.Uint32(0), proto.Uint32(0) }, "", ""},
		{vm, func(p *pacav1.Port) { p.DynamicIpLimit = proto.Uint32(4097) }, "dynamic_ip_limit", "L32"},
		{vm, func(p *pacav1.Port) { p.StormLimit = proto.Uint32(10_000_001) }, "storm_limit", "A21"},
		{vm, func(p *pacav1.Port) { p.Uplink = "uplink0" }, "uplink", "W20"},
		{uplink, func(p *pacav1.Port) { p.MacSpoofing = true }, "mac_spoofing", "L31"},
		{uplink, func(p *pacav1.Port) { p.DhcpGuard = true }, "dhcp_guard", "L31"},
		{uplink, func(p *pacav1.Port) { p.RouterGuard = true }, "router_guard", "L31"},
		{uplink, func(p *pacav1.Port) { p.DynamicIpLimit = proto.Uint32(1) }, "dynamic_ip_limit", "L32"},
		{uplink, func(p *pacav1.Port) { p.StormLimit = proto.Uint32(1) }, "storm_limit", "A21"},
		{uplink, func(p *pacav1.Port) { p.StormLimit = proto.Uint32(0) }, "", ""},
		{uplink, func(p *pacav1.Port) { p.Uplink = "uplink0" }, "uplink", "W20"},
		{host, func(p *pacav1.Port) { p.Uplink = "uplink0" }, "", ""},
		{uplink, func(p *pacav1.Port) { p.Offload = map[string]bool{"tso": true, "vlan": false} }, "", ""},
		{host, func(p *pacav1.Port) { p.Uplink = "uplink9" }, "uplink", "W20"},
		{vm, func(p *pacav1.Port) { p.Queues = 1024 }, "", ""},
		{uplink, func(p *pacav1.Port) { p.Queues = 1025 }, "queues", "O32"},
	} {
		p := &pacav1.Port{Name: "p", Role: tt.role, Device: "tap:p"}
		if tt.role == vm {
			p.VmMac = someMAC.String()
		}
		tt.change(p)
		o, err := Object(&pacav1.Object{Object: &pacav1.Object_Port{Port: p}})
		if err != nil {
			t.Errorf("%v: %v", p, err)
			continue
		}
		_, err = policy.NewBook().Apply([]policy.Change{{Verb: policy.Add, Object: o},
			{Verb: policy.Add, Object: policy.Port{Name: "uplink0", Role: policy.Uplink, MTU: 1500}}})
		faults := policy.Faults(err)
		if tt.field == "" && err != nil || tt.field != "" && (len(faults) != 1 || faults[0].Field != tt.field || faults[0].Rule != tt.rule) {
			t.Errorf("%v: %v, want %s (%s)", p, err, tt.field, tt.rule)
		}
	}
}

// Any bytes, as a set of changes: what can be read is judged by a Book, and what
// the Book takes comes back as it was.
func FuzzChanges(f *testing.F) {
	for _, o := range objects {
		for _, verb := range []policy.Verb{policy.Put, policy.Delete} {
			b, err := proto.Marshal(&pacav1.ApplyRequest{Changes: FromChanges([]policy.Change{{Verb: verb, Object: o}})})
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	}
	all, err := proto.Marshal(&pacav1.ApplyRequest{Changes: FromChanges([]policy.Change{
		{Verb: policy.Add, Object: policy.Port{Name: "uplink0", Role: policy.Uplink, MTU: 1500, Device: "tap:u"}},
		{Verb: policy.Add, Object: objects[5]}, {Verb: policy.Add, Object: objects[7]}, {Verb: policy.Add, Object: objects[9]}, {Verb: policy.Add, Object: objects[11]}, {Verb: policy.Put, Object: objects[1]},
	})})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, b []byte) {
		var m pacav1.ApplyRequest
		if proto.Unmarshal(b, &m) != nil {
			return
		}
		changes, err := Changes(nil, m.Changes)
		if err != nil {
			for _, fault := range policy.Faults(err) {
				if fault.Object == "" || fault.Field == "" || fault.Problem == "" || fault.Index >= len(m.Changes) {
					t.Errorf("fault %+v", fault)
				}
			}
			if len(policy.Faults(err)) == 0 {
				t.Errorf("error without a fault: %v", err)
			}
			return
		}
		book := policy.NewBook()
		applied, err := book.Apply(changes)
		if err != nil {
			if len(policy.Faults(err)) == 0 {
				t.Errorf("error without a fault: %v", err)
			}
			return
		}
		for _, c := range applied {
			if c.Verb != policy.Put {
				continue
			}
			back, err := Object(FromObject(c.Object))
			if err != nil || !reflect.DeepEqual(back, c.Object) {
				t.Errorf("%+v came back as %+v, %v", c.Object, back, err)
			}
			if held, ok := book.Get(c.Object.Key()); !ok || !reflect.DeepEqual(held, c.Object) {
				t.Errorf("%+v is held as %+v", c.Object, held)
			}
		}
	})
}
