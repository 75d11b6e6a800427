package policy

import (
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"paca/dataplane/packet"
)

// outcome is one set of changes of a good Book, and the faults that it must have:
// "object[index].field (rule)", joined by "; ".
type outcome struct {
	name    string
	changes []Change
	want    string
	cause   error
}

// judged applies each set to a Book of its own, and holds the twin to the same.
func judged(t *testing.T, good *Set, cases []outcome) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := NewBook()
			if _, err := b.Apply(changesOf(good)); err != nil {
				t.Fatal(err)
			}
			w := twin{}
			for _, o := range b.Objects() {
				w[o.Key()] = o
			}
			_, _, _, theirs := w.apply(nil, c.changes)
			_, err := b.Apply(c.changes)
			var got []string
			for _, f := range Faults(err) {
				got = append(got, f.Key()+" ("+f.Rule+")")
			}
			if g := strings.Join(got, "; "); g != c.want || (err == nil) != (theirs == nil) {
				t.Errorf("faults %s\nwant %s\n%v\ntwin: %v", g, c.want, err, theirs)
			}
			if c.cause != nil && !errors.Is(err, c.cause) {
				t.Errorf("cause of %v is not %v", err, c.cause)
			}
		})
	}
}

func TestL31_L32SwitchesOfVMPorts(t *testing.T) {
	vm := Port{Name: "vm", Role: VM, VSID: 6002, MAC: mac(9), MTU: 1500, MACSpoofing: true, DHCPGuard: true, RouterGuard: true,
		DynamicIPLimit: MaxDynamicIPLimit, StormLimit: MaxStormLimit}
	over, under, uplink, host := vm, vm, vm, vm
	over.DynamicIPLimit, over.StormLimit = MaxDynamicIPLimit+1, MaxStormLimit+1
	under.DynamicIPLimit, under.StormLimit = 0, 0
	uplink.Name, uplink.Role, uplink.VSID = "up", Uplink, 0
	host.Name, host.Role, host.VSID = "host0", Host, 0
	all := func(index string) string {
		return strings.ReplaceAll("port[#].mac_spoofing (L31); port[#].dhcp_guard (L31); port[#].router_guard (L31); port[#].dynamic_ip_limit (L32); port[#].storm_limit (A21)", "#", index)
	}
	judged(t, goodSet(), []outcome{
		{"the most", []Change{{Add, vm}}, "", nil},
		{"the least", []Change{{Add, under}}, "", nil},
		{"not virtualized (P1)", []Change{{Add, Port{Name: "vm", Role: VM, MACSpoofing: true, StormLimit: 1}}}, "", nil},
		{"too much", []Change{{Add, over}}, "port[0].dynamic_ip_limit (L32); port[0].storm_limit (A21)", nil},
		{"uplink", []Change{{Put, Global{}}, {Add, uplink}}, all("1"), nil},
		{"host", []Change{{Put, host}}, all("0"), nil},
	})
}

func TestW20HostPort(t *testing.T) {
	one := goodSet() // uplink0, and host0 which does not name it
	up1 := Port{Name: "up1", Role: Uplink, MTU: 1500}
	host := func(name, uplink string) Port { return Port{Name: name, Role: Host, MTU: 1500, Uplink: uplink} }
	two := goodSet()
	two.Ports[5].Uplink = "uplink0"
	two.Ports = append(two.Ports, up1)

	judged(t, one, []outcome{
		{"names the only one", []Change{{Put, host("host0", "uplink0")}}, "", nil},
		{"names none", []Change{{Put, host("host0", "up1")}}, "port[0].uplink (W20)", nil},
		{"names a VM", []Change{{Put, host("host0", "blue1")}}, "port[0].uplink (W20)", nil},
		{"names itself", []Change{{Put, host("host0", "host0")}}, "port[0].uplink (W20)", nil},
		{"two for one", []Change{{Add, host("host1", "uplink0")}}, "port[0].uplink (W20)", nil},
		{"two for the only one", []Change{{Add, host("host1", "")}}, "port[0].uplink (W20)", nil},
		{"a VM's port names one", []Change{{Put, Port{Name: "plain", Role: VM, Uplink: "uplink0"}}}, "port[0].uplink (W20)", nil},
		{"an uplink names one", []Change{{Put, Port{Name: "uplink0", Role: Uplink, Uplink: "uplink0"}}}, "port[0].uplink (W20)", nil},
		{"which, once there are two", []Change{{Put, Global{}}, {Add, up1}}, "port[1].role (W20)", ErrInUse},
		{"a second one that is said", []Change{{Add, up1}, {Put, host("host0", "up1")}, {Add, host("host1", "uplink0")}}, "", nil},
		{"a faulty second one", []Change{{Add, Port{Name: "up1", Role: Uplink, MTU: -1}}, {Put, host("host0", "up1")}}, "port[0].mtu (M1)", nil},
	})
	judged(t, two, []outcome{
		{"the other's", []Change{{Add, host("host1", "up1")}}, "", nil},
		{"not said", []Change{{Add, host("host1", "")}}, "port[0].uplink (W20)", nil},
		{"an uplink goes", []Change{{Delete, up1}}, "", nil},
		{"theirs goes", []Change{{Delete, up1}, {Add, host("host1", "up1")}}, "port[1].uplink (W20)", nil},
		{"they change places", []Change{{Put, host("host0", "up1")}, {Add, host("host1", "uplink0")}}, "", nil},
	})
	none := &Set{Ports: []Port{{Name: "vm", Role: VM}}}
	judged(t, none, []outcome{
		{"no uplink", []Change{{Add, host("host0", "")}}, "port[0].uplink (W20)", nil},
		{"it comes with it", []Change{{Add, host("host0", "")}, {Add, up1}}, "", nil},
	})
	alone := &Set{Ports: []Port{up1, host("host0", "up1")}}
	judged(t, alone, []outcome{
		{"it goes", []Change{{Delete, up1}}, "port[0].name (W20)", ErrInUse},
		{"it is one no more", []Change{{Put, Port{Name: "up1", Role: VM}}}, "port[0].role (W20)", ErrInUse},
		{"both go", []Change{{Delete, up1}, {Delete, host("host0", "")}}, "", nil},
	})
}

func TestA14DHCPNeedsAnIPv4Router(t *testing.T) {
	subnet := func(dns string, p ...string) VirtualSubnet {
		vs := VirtualSubnet{VSID: 9000, RDID: RDID{9}, Prefixes: prefixes(p...), DHCP: true}
		for s := range strings.FieldsSeq(dns) {
			vs.DNS = append(vs.DNS, addr(s))
		}
		return vs
	}
	idle := subnet("10.0.0.53", "fd00::/64")
	idle.DHCP = false
	judged(t, goodSet(), []outcome{
		{"good", []Change{{Add, subnet("10.0.0.53 8.8.8.8", "fd00::/64", "10.0.0.0/30")}}, "", nil},
		{"without name servers", []Change{{Add, subnet("", "10.0.0.0/24")}}, "", nil},
		{"switched off", []Change{{Add, idle}}, "", nil},
		{"IPv6 only", []Change{{Add, subnet("", "fd00::/64")}}, "virtual_subnet[0].dhcp (A14)", nil},
		{"no router (P20)", []Change{{Add, subnet("", "10.0.0.0/31", "fd00::/64")}}, "virtual_subnet[0].dhcp (A14)", nil},
		{"IPv6 name server", []Change{{Add, subnet("fd00::53", "10.0.0.0/24")}}, "virtual_subnet[0].dns (A14)", nil},
		{"group", []Change{{Add, subnet("224.0.0.251", "10.0.0.0/24")}}, "virtual_subnet[0].dns (A14)", nil},
		{"nobody", []Change{{Add, subnet("0.0.0.0", "10.0.0.0/24")}}, "virtual_subnet[0].dns (A14)", nil},
		{"twice", []Change{{Add, subnet("10.0.0.53 10.0.0.53", "10.0.0.0/24")}}, "virtual_subnet[0].dns (A14)", nil},
		{"too many", []Change{{Add, subnet("1.0.0.1 1.0.0.2 1.0.0.3 1.0.0.4 1.0.0.5 1.0.0.6 1.0.0.7 1.0.0.8 1.0.0.9", "10.0.0.0/24")}}, "virtual_subnet[0].dns (A14)", nil},
	})
	// Who gave the changes may use their memory again.
	b, vs := NewBook(), subnet("8.8.8.8", "10.0.0.0/24")
	if _, err := b.Apply([]Change{{Add, vs}}); err != nil {
		t.Fatal(err)
	}
	vs.DNS[0] = addr("9.9.9.9")
	if got, _ := b.Subnet(9000); got.DNS[0] != addr("8.8.8.8") {
		t.Errorf("the name server is %v now", got.DNS[0])
	}
	if Equal(vs, subnet("8.8.8.8", "10.0.0.0/24")) || Equal(vs, VirtualSubnet{VSID: 9000, RDID: RDID{9}, Prefixes: vs.Prefixes, DNS: vs.DNS}) {
		t.Error("virtual subnets with other DHCP are equal")
	}
}

func TestA20_W18GroupRecords(t *testing.T) {
	group := func(ca, pa string, m packet.MAC) LookupRecord {
		return LookupRecord{VSID: 6002, CA: addr(ca), MAC: m, PA: addr(pa)}
	}
	of := func(change func(*LookupRecord)) []Change {
		r := group("239.1.2.3", "239.255.0.1", packet.MAC{1, 0, 0x5e, 1, 2, 3})
		change(&r)
		return []Change{{Add, r}}
	}
	good := []LookupRecord{
		group("255.255.255.255", "239.255.0.1", packet.Broadcast),
		group("239.129.2.3", "239.255.0.1", packet.MAC{1, 0, 0x5e, 1, 2, 3}), // 23 bits of the CA (RFC 1112)
		group("224.0.0.251", "ff0e::1", packet.Broadcast),
		group("ff0e::1:2:3:4", "ff0e::1", packet.MAC{0x33, 0x33, 0, 3, 0, 4}), // 32 bits (RFC 2464)
		group("ff02::1", "239.255.0.2", packet.Broadcast),
	}
	var all []Change
	for _, r := range good {
		all = append(all, Change{Add, r})
		if !r.Group() {
			t.Errorf("%v is no group", r.CA)
		}
	}
	judged(t, goodSet(), []outcome{
		{"good", all, "", nil},
		{"CA group, PA a machine", of(func(r *LookupRecord) { r.PA = addr("192.168.1.10") }), "lookup_record[0].pa (A20)", nil},
		{"CA group, PA broadcast", of(func(r *LookupRecord) { r.PA = packet.LimitedBroadcast }), "lookup_record[0].pa (A20)", nil},
		{"CA group, PA within a machine", of(func(r *LookupRecord) { r.PA = addr("ff01::1") }), "lookup_record[0].pa (A20)", nil},
		{"CA group, PA of the router (P21)", of(func(r *LookupRecord) { r.PA = RouterPA }), "lookup_record[0].pa (A20)", nil},
		{"CA group, no PA", of(func(r *LookupRecord) { r.PA = netip.Addr{} }), "lookup_record[0].pa (A20)", nil},
		{"CA a machine, PA group", of(func(r *LookupRecord) { r.CA, r.MAC = addr("10.1.2.3"), mac(1) }), "lookup_record[0].pa (A20)", nil},
		{"wildcard, PA group", of(func(r *LookupRecord) { r.CA, r.MAC, r.Type = addr("0.0.0.0"), mac(1), L2Only }), "lookup_record[0].pa (A20)", nil},
		{"MAC of another group", of(func(r *LookupRecord) { r.MAC[5]++ }), "lookup_record[0].mac (A20)", nil},
		{"MAC of a machine", of(func(r *LookupRecord) { r.MAC = mac(1) }), "lookup_record[0].mac (A20)", nil},
		{"no MAC", of(func(r *LookupRecord) { r.MAC = packet.MAC{} }), "lookup_record[0].mac (A20)", nil},
		{"CA with a zone", of(func(r *LookupRecord) { r.CA, r.MAC = addr("ff02::1%x"), packet.Broadcast }), "lookup_record[0].ca (A20)", nil},
		{"dynamic", of(func(r *LookupRecord) { r.Type = Dynamic }), "lookup_record[0].type (A20)", nil},
		{"wildcard", of(func(r *LookupRecord) { r.Type = GatewayWildcard }), "lookup_record[0].ca (C1.1)", nil},
		{"VM's MAC (P24)", of(func(r *LookupRecord) { r.UseVMMAC = true }), "lookup_record[0].use_vm_mac (P24)", nil},
		{"rewrite (R20)", of(func(r *LookupRecord) { r.VSID = 7001 }), "lookup_record[0].ca (R20)", nil},
		{"twice (P6)", append(of(func(*LookupRecord) {}), of(func(r *LookupRecord) { r.MAC = packet.Broadcast })...), "lookup_record[1].ca (P6)", nil},
	})
	// A virtual subnet with one cannot become a rewrite subnet.
	s := goodSet()
	s.LookupRecords = append(s.LookupRecords, good[0])
	for i := range s.LookupRecords {
		if s.LookupRecords[i].VSID == 6002 && !s.LookupRecords[i].Group() {
			s.LookupRecords[i].VSID, s.LookupRecords[i].CA = MinVSID, addr("10.1.1.99")
		}
	}
	judged(t, s, []outcome{
		{"it becomes rewrite", []Change{{Put, VirtualSubnet{VSID: 6002, RDID: blue, Prefixes: prefixes("10.1.2.0/24"), Mode: Rewrite}}}, "virtual_subnet[0].vsid (R20)", ErrInUse},
	})
}

func TestL18_P20ExternalRouter(t *testing.T) {
	inside, outside := goodSet(), goodSet()
	outside.Global.UseExternalRouter = true
	router := LookupRecord{VSID: 6002, CA: addr("10.1.2.1"), MAC: mac(7), PA: addr("192.168.2.20")}
	router6 := LookupRecord{VSID: 7001, CA: addr("fd00:1::1"), MAC: mac(7), PA: addr("2001:db8::77")}
	judged(t, inside, []outcome{
		{"paca routes", []Change{{Add, router}}, "lookup_record[0].ca (P20)", nil},
		{"switched on with it", []Change{{Add, router}, {Add, router6}, {Put, Global{UseExternalRouter: true}}}, "", nil},
	})
	judged(t, outside, []outcome{
		{"an external router", []Change{{Add, router}, {Add, router6}}, "", nil},
		{"a router record stays one (P21)", []Change{{Put, LookupRecord{VSID: 6002, CA: addr("10.1.2.1"), MAC: mac(7), PA: RouterPA}}}, "", nil},
		{"switched off with it", []Change{{Put, Global{}}, {Add, router}}, "lookup_record[1].ca (P20)", nil},
		{"switched off", []Change{{Put, Global{}}}, "", nil},
	})
	outside.LookupRecords = append(outside.LookupRecords, router)
	judged(t, outside, []outcome{
		{"switched off under it", []Change{{Put, Global{}}}, "global[0].use_external_router (L18)", ErrInUse},
		{"switched off under it, and it stays", []Change{{Put, router}, {Put, Global{}}}, "global[1].use_external_router (L18)", ErrInUse},
		{"its virtual subnet grows", []Change{{Put, VirtualSubnet{VSID: 6002, RDID: blue, Prefixes: prefixes("10.1.2.0/24", "10.1.9.0/24")}}}, "", nil},
		{"it goes, too", []Change{{Put, Global{}}, {Delete, router}}, "", nil},
		{"it moves only", []Change{{Put, Global{}}, {Put, LookupRecord{VSID: 6002, CA: router.CA, MAC: router.MAC, PA: addr("192.168.1.10")}}}, "lookup_record[1].ca (P20)", nil},
		{"its prefix goes", []Change{{Put, Global{}}, {Put, VirtualSubnet{VSID: 6002, RDID: blue, Prefixes: prefixes("10.1.0.0/24", "10.1.2.0/25", "10.1.2.128/25")}}}, "global[0].use_external_router (L18); virtual_subnet[1].vsid (P20)", ErrInUse},
	})
	b := NewBook()
	if _, err := b.Apply(changesOf(outside)); err != nil {
		t.Fatal(err)
	}
	_, err := b.Apply([]Change{{Put, Global{}}})
	const want = "global[0].use_external_router: lookup_record 10.1.2.1 with MAC 02:00:00:00:00:07 in VSID 6002 has the address of the router of 10.1.2.0/24, which only an external router may (L18)"
	if err == nil || err.Error() != want {
		t.Errorf("says %v\nwant %s", err, want)
	}
	// A refusal leaves no trace: the same again is refused again, and then done.
	if _, err := b.Apply([]Change{{Delete, router}, {Put, Global{}}}); err != nil || !reflect.DeepEqual(b.Set().Global, Global{}) {
		t.Errorf("%v, %+v", err, b.Set().Global)
	}
}
