package policy

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"paca/dataplane/packet"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func prefixes(s ...string) []netip.Prefix {
	all := make([]netip.Prefix, len(s))
	for i := range s {
		all[i] = netip.MustParsePrefix(s[i])
	}
	return all
}

func prefix(s string) netip.Prefix { return prefixes(s)[0] }

var blue, red, green = RDID{1}, RDID{2}, RDID{3}

func mac(n byte) packet.MAC { return packet.MAC{2, 0, 0, 0, 0, n} }

// goodSet has every kind of object, and what is close to a fault without being
// one: overlapping CAs in two routing domains (P4), several wildcards in one
// VSID (P6), a router record (P21), a PA shared by encapsulated records.
func goodSet() *Set {
	return &Set{
		VirtualSubnets: []VirtualSubnet{
			{VSID: MinVSID, RDID: blue, Prefixes: prefixes("10.1.1.0/24", "fd00:1::/64")},
			{VSID: 6002, RDID: blue, Prefixes: prefixes("10.1.2.0/24")},
			{VSID: MaxVSID, RDID: red, Prefixes: prefixes("10.1.1.0/24")},
			{VSID: 7001, RDID: green, Prefixes: prefixes("10.1.0.0/16", "fd00:1::/64"), Mode: Rewrite},
		},
		LookupRecords: []LookupRecord{
			{VSID: MinVSID, CA: addr("10.1.1.11"), MAC: mac(1), PA: addr("192.168.1.10")},
			{VSID: MinVSID, CA: addr("fd00:1::11"), MAC: mac(1), PA: addr("192.168.1.10")},
			{VSID: 6002, CA: addr("10.1.2.12"), MAC: mac(2), PA: addr("2001:db8::20"), Type: Dynamic},
			{VSID: MaxVSID, CA: addr("10.1.1.11"), MAC: mac(1), PA: addr("192.168.1.10")},
			{VSID: 7001, CA: addr("10.1.1.11"), MAC: mac(1), PA: addr("192.168.1.11"), UseVMMAC: true},
			{VSID: 7001, CA: addr("fd00:1::11"), MAC: mac(1), PA: addr("2001:db8::11")},
			{VSID: MinVSID, CA: addr("10.1.1.1"), MAC: mac(9), PA: RouterPA},
			{VSID: 7001, CA: addr("10.1.0.1"), MAC: mac(9), PA: RouterPA},
			{VSID: MinVSID, CA: addr("0.0.0.0"), MAC: mac(3), PA: addr("192.168.1.30"), Type: GatewayWildcard},
			{VSID: MinVSID, CA: addr("0.0.0.0"), MAC: mac(4), PA: addr("192.168.1.30"), Type: L2Only},
			{VSID: MinVSID, CA: addr("::"), MAC: mac(3), PA: addr("192.168.1.30"), Type: GatewayWildcard},
		},
		CustomerRoutes: []CustomerRoute{
			{RDID: blue, VSID: MinVSID, Prefix: prefix("0.0.0.0/0"), NextHop: addr("10.1.1.254"), Metric: 255},
			{RDID: blue, VSID: MinVSID, Prefix: prefix("0.0.0.0/0"), NextHop: addr("10.1.1.253"), Metric: 1},
			{RDID: blue, VSID: MinVSID, Prefix: prefix("10.1.1.0/24"), NextHop: addr("0.0.0.0")},
			{RDID: blue, VSID: MinVSID, Prefix: prefix("::/0"), NextHop: addr("fd00:1::fe")},
		},
		ProviderAddresses: []ProviderAddress{
			{Prefix: prefix("192.168.1.10/24"), Port: "uplink0"},
			{Prefix: prefix("192.168.1.11/24"), Port: "uplink0", VLAN: 4094, MAC: mac(8)},
			{Prefix: prefix("2001:db8::10/64"), Port: "uplink0", VLAN: 103},
		},
		ProviderRoutes: []ProviderRoute{
			{Port: "uplink0", Prefix: prefix("0.0.0.0/0"), NextHop: addr("192.168.1.1")},
			{Port: "uplink0", Prefix: prefix("0.0.0.0/0"), NextHop: addr("192.168.1.2"), Metric: 5},
			{Port: "uplink0", Prefix: prefix("172.16.0.0/12"), NextHop: addr("0.0.0.0")},
			{Port: "uplink0", Prefix: prefix("::/0"), NextHop: addr("fe80::1")},
		},
		Ports: []Port{
			{Name: "uplink0", Role: Uplink, MAC: mac(100), MTU: 1500},
			{Name: "blue1", Role: VM, VSID: MinVSID, MAC: mac(1), MTU: 1500},
			{Name: "red1", Role: VM, VSID: MaxVSID, MAC: mac(1), MTU: 1500}, // L30: same MAC, other VSID
			{Name: "later1", Role: VM, VSID: 8000, MAC: mac(1), MTU: 1500},  // its policy may come later
			{Name: "plain", Role: VM, MTU: 1500},                            // P1
			{Name: "host0", Role: Host, MTU: 1500},
		},
	}
}

func TestGoodSet(t *testing.T) {
	if err := goodSet().Validate(); err != nil {
		t.Fatal(err)
	}
	if err := (&Set{}).Validate(); err != nil {
		t.Fatal(err)
	}
}

// Each case spoils a good set; what is reported must be that, all of it, in
// this order, and nothing else.
func TestW4_P3_P4_P6_P13_R6_R21_R25Faults(t *testing.T) {
	record := func(s *Set, r LookupRecord) { s.LookupRecords = append(s.LookupRecords, r) }
	for _, c := range []struct {
		name  string
		spoil func(*Set)
		want  string // "key (rule)", joined by "; "
	}{
		{"W4 below", func(s *Set) { s.VirtualSubnets[1].VSID = 4095; s.LookupRecords[2].VSID = 4095 },
			"virtual_subnet[1].vsid (W4); lookup_record[2].vsid (W4)"},
		{"W4 above", func(s *Set) {
			record(s, LookupRecord{VSID: 16777215, CA: addr("10.1.1.9"), MAC: mac(1), PA: addr("192.168.1.10")})
		},
			"lookup_record[11].vsid (W4)"},
		{"W4 on a route", func(s *Set) { s.CustomerRoutes[0].VSID = 0 }, "customer_route[0].vsid (W4)"},
		{"W4 on a port", func(s *Set) { s.Ports[1].VSID = 4095 }, "port[1].vsid (W4)"},
		{"W4 on a port, vendor's", func(s *Set) { s.Ports[1].VSID = 0xffffff }, "port[1].vsid (W4)"},

		{"P1 port name", func(s *Set) { s.Ports[5].Name = "blue1" }, "port[5].name (P1)"},
		{"P1 vNIC twice", func(s *Set) { s.Ports[2].VSID = MinVSID }, "port[2].mac (P1)"},
		{"P5 port MAC", func(s *Set) { s.Ports[1].MAC = packet.MAC{} }, "port[1].mac (P5)"},

		{"P3 VSID twice", func(s *Set) {
			s.VirtualSubnets = append(s.VirtualSubnets, VirtualSubnet{VSID: 6002, RDID: red, Prefixes: prefixes("10.3.0.0/16")})
		}, "virtual_subnet[4].vsid (P3)"},
		{"P3 no domain", func(s *Set) { s.VirtualSubnets[2].RDID = RDID{} }, "virtual_subnet[2].rdid (P3)"},
		{"P3 second domain by a route", func(s *Set) { s.CustomerRoutes[3].RDID = red }, "customer_route[3].rdid (P3)"},
		{"P3 route to nowhere", func(s *Set) { s.CustomerRoutes[3].VSID = 6003 }, "customer_route[3].vsid (P3)"},
		{"P3 record of no subnet", func(s *Set) { s.LookupRecords[0].VSID = 6003 }, "lookup_record[0].vsid (P3)"},
		{"P4", func(s *Set) { s.VirtualSubnets[1].Prefixes = prefixes("10.1.2.0/24", "10.1.1.128/25") }, "virtual_subnet[1].prefixes (P4)"},
		{"P4 in one subnet", func(s *Set) { s.VirtualSubnets[1].Prefixes = prefixes("10.1.2.0/24", "10.1.2.0/24") }, "virtual_subnet[1].prefixes (P4)"},

		{"P5 MAC zero", func(s *Set) { s.LookupRecords[0].MAC = packet.MAC{} }, "lookup_record[0].mac (P5)"},
		{"P5 MAC group", func(s *Set) { s.LookupRecords[0].MAC = packet.Broadcast }, "lookup_record[0].mac (P5)"},
		{"P5 PA missing", func(s *Set) { s.LookupRecords[0].PA = netip.Addr{} }, "lookup_record[0].pa (P5)"},
		{"P5 PA missing, rewrite", func(s *Set) { s.LookupRecords[4].PA, s.LookupRecords[5].PA = netip.Addr{}, netip.Addr{} },
			"lookup_record[4].pa (P5); lookup_record[5].pa (P5)"},
		{"A20 PA group", func(s *Set) { s.LookupRecords[0].PA = addr("ff0e::1") }, "lookup_record[0].pa (A20)"},
		{"P5 PA with zone", func(s *Set) { s.LookupRecords[0].PA = addr("fe80::1%eth0") }, "lookup_record[0].pa (P5)"},
		{"P5 PA IPv4 in IPv6", func(s *Set) { s.LookupRecords[0].PA = addr("::ffff:192.168.1.10") }, "lookup_record[0].pa (P5)"},
		{"P5 CA missing", func(s *Set) { s.LookupRecords[0].CA, s.LookupRecords[1].CA = netip.Addr{}, netip.Addr{} },
			"lookup_record[0].ca (P5); lookup_record[1].ca (P5)"},
		{"P5 CA unspecified", func(s *Set) { s.LookupRecords[0].CA = addr("0.0.0.0") }, "lookup_record[0].ca (P5)"},
		{"A20 CA broadcast", func(s *Set) { s.LookupRecords[0].CA = addr("255.255.255.255") }, "lookup_record[0].mac (A20); lookup_record[0].pa (A20)"},

		{"P6", func(s *Set) {
			record(s, LookupRecord{VSID: MinVSID, CA: addr("10.1.1.11"), MAC: mac(7), PA: addr("192.168.1.10")})
		},
			"lookup_record[11].ca (P6)"},
		{"P6 wildcard", func(s *Set) { s.LookupRecords[9].MAC = mac(3) }, "lookup_record[9].mac (P6)"},
		{"P8", func(s *Set) { s.CustomerRoutes[1].NextHop = addr("10.1.1.254") }, "customer_route[1].prefix (P8)"},
		{"P9 prefix", func(s *Set) { s.CustomerRoutes[2].Prefix = netip.PrefixFrom(addr("10.1.1.1"), 24) }, "customer_route[2].prefix (P9)"},
		{"P9 no prefix", func(s *Set) { s.CustomerRoutes[2].Prefix = netip.Prefix{} }, "customer_route[2].prefix (P9)"},
		{"P9 no next hop", func(s *Set) { s.CustomerRoutes[2].NextHop = netip.Addr{} }, "customer_route[2].next_hop (P9)"},
		{"P9 group", func(s *Set) { s.CustomerRoutes[0].NextHop = addr("224.0.0.1") }, "customer_route[0].next_hop (P9)"},
		{"P9 families", func(s *Set) { s.CustomerRoutes[0].NextHop = addr("fd00:1::fe") }, "customer_route[0].next_hop (P9)"},
		{"P9 families, on-link", func(s *Set) { s.CustomerRoutes[2].NextHop = addr("::") }, "customer_route[2].next_hop (P9)"},
		{"P11 no prefix", func(s *Set) { s.VirtualSubnets[2].Prefixes = nil; s.LookupRecords = s.LookupRecords[:1] }, "virtual_subnet[2].prefixes (P11)"},
		{"P11 host bits", func(s *Set) { s.VirtualSubnets[1].Prefixes[0] = netip.PrefixFrom(addr("10.1.2.1"), 24) }, "virtual_subnet[1].prefixes (P11)"},
		{"P11 prefix invalid", func(s *Set) { s.VirtualSubnets[1].Prefixes = append(prefixes("10.1.2.0/24"), netip.Prefix{}) }, "virtual_subnet[1].prefixes (P11)"},
		{"P11 CA off link", func(s *Set) { s.LookupRecords[2].CA = addr("10.1.3.12") }, "lookup_record[2].ca (P11)"},

		{"P13 no port", func(s *Set) { s.ProviderAddresses[1].Port = "uplink9" }, "provider_address[1].port (P13)"},
		{"P13 VM port", func(s *Set) { s.ProviderAddresses[1].Port = "blue1" }, "provider_address[1].port (P13)"},
		{"P13 twice", func(s *Set) { s.ProviderAddresses[1].Prefix = prefix("192.168.1.10/16") }, "provider_address[1].address (P13)"},
		{"P13 missing", func(s *Set) {
			s.ProviderAddresses[1].Prefix, s.ProviderAddresses[2].Prefix = netip.Prefix{}, netip.Prefix{}
			s.ProviderRoutes = nil
		},
			"provider_address[1].address (P13); provider_address[2].address (P13)"},
		{"P13 group", func(s *Set) { s.ProviderAddresses[1].Prefix = prefix("224.0.0.1/24") }, "provider_address[1].address (P13)"},
		{"W10", func(s *Set) { s.ProviderAddresses[0].MAC = packet.Broadcast }, "provider_address[0].mac (W10)"},
		{"W11", func(s *Set) { s.ProviderAddresses[0].VLAN = 4095 }, "provider_address[0].vlan (W11)"},

		{"P16 prefix", func(s *Set) { s.ProviderRoutes[0].Prefix = netip.PrefixFrom(addr("10.0.0.1"), 8) }, "provider_route[0].prefix (P16)"},
		{"P16 families", func(s *Set) { s.ProviderRoutes[0].NextHop = addr("2001:db8::1") }, "provider_route[0].next_hop (P16)"},
		{"P16 no next hop", func(s *Set) { s.ProviderRoutes[0].NextHop = netip.Addr{} }, "provider_route[0].next_hop (P16)"},
		{"P16 zone", func(s *Set) { s.ProviderRoutes[3].NextHop = addr("fe80::1%eth0") }, "provider_route[3].next_hop (P16)"},
		{"P16 off link", func(s *Set) { s.ProviderRoutes[0].NextHop = addr("192.168.2.1") }, "provider_route[0].next_hop (P16)"},
		{"P16 twice", func(s *Set) { s.ProviderRoutes[1].NextHop = addr("192.168.1.1") }, "provider_route[1].prefix (P16)"},
		{"P13 no port for a route", func(s *Set) { s.ProviderRoutes[2].Port = "" }, "provider_route[2].port (P13)"},

		{"P20", func(s *Set) { s.LookupRecords[6].PA = addr("192.168.1.10") }, "lookup_record[6].ca (P20)"},
		{"P20 IPv6", func(s *Set) { s.LookupRecords[1].CA = addr("fd00:1::1") }, "lookup_record[1].ca (P20)"},
		{"P21", func(s *Set) { s.LookupRecords[6].CA = addr("10.1.1.2") }, "lookup_record[6].pa (P21)"},
		// A wildcard with the router's PA once became an entry for 0.0.0.0 without a destination.
		{"P21 wildcard", func(s *Set) { s.LookupRecords[8].PA = RouterPA }, "lookup_record[8].pa (P21)"},
		{"P22 mode", func(s *Set) { s.VirtualSubnets[2].Mode = NumModes }, "virtual_subnet[2].mode (P22)"},
		{"P22 type", func(s *Set) { s.LookupRecords[0].Type = numRecordTypes }, "lookup_record[0].type (P22)"},
		{"P24", func(s *Set) { s.LookupRecords[0].UseVMMAC = true }, "lookup_record[0].use_vm_mac (P24)"},
		{"C1.1", func(s *Set) { s.LookupRecords[8].CA = addr("10.1.1.30") }, "lookup_record[8].ca (C1.1)"},

		{"R6 two rewritten", func(s *Set) {
			record(s, LookupRecord{VSID: 7001, CA: addr("10.1.1.12"), MAC: mac(2), PA: addr("192.168.1.11")})
		}, "lookup_record[11].pa (R6)"},
		{"R6 encapsulated first", func(s *Set) { s.LookupRecords[4].PA = addr("192.168.1.10") }, "lookup_record[4].pa (R6)"},
		{"R6 rewritten first", func(s *Set) {
			record(s, LookupRecord{VSID: MinVSID, CA: addr("10.1.1.12"), MAC: mac(2), PA: addr("192.168.1.11")})
		}, "lookup_record[11].pa (R6)"},
		{"R21", func(s *Set) { s.LookupRecords[4].PA = addr("2001:db8::12") }, "lookup_record[4].pa (R21)"},
		{"R25", func(s *Set) {
			record(s, LookupRecord{VSID: 7001, CA: addr("0.0.0.0"), MAC: mac(2), PA: addr("192.168.1.12"), Type: GatewayWildcard})
		}, "lookup_record[11].type (R25)"},

		{"all at once", func(s *Set) {
			s.Ports[5].Name = "blue1"
			s.ProviderAddresses[0].VLAN = 4095
			for i := range 10 { // many PAs, whose faults once came in the order of a map
				n := byte(i)
				pa := netip.AddrFrom4([4]byte{192, 168, 5, n})
				record(s, LookupRecord{VSID: 6002, CA: netip.AddrFrom4([4]byte{10, 1, 2, 100 + n}), MAC: mac(n), PA: pa})
				record(s, LookupRecord{VSID: 7001, CA: netip.AddrFrom4([4]byte{10, 1, 9, 100 + n}), MAC: mac(n), PA: pa})
			}
			s.VirtualSubnets[0].Mode = 9
		}, "virtual_subnet[0].mode (P22); lookup_record[12].pa (R6); lookup_record[14].pa (R6); lookup_record[16].pa (R6); " +
			"lookup_record[18].pa (R6); lookup_record[20].pa (R6); lookup_record[22].pa (R6); lookup_record[24].pa (R6); " +
			"lookup_record[26].pa (R6); lookup_record[28].pa (R6); lookup_record[30].pa (R6); provider_address[0].vlan (W11); port[5].name (P1)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := goodSet()
			c.spoil(s)
			err := s.Validate()
			var got []string
			for _, f := range Faults(err) {
				got = append(got, f.Key()+" ("+f.Rule+")")
			}
			if g := strings.Join(got, "; "); g != c.want {
				t.Errorf("faults %s\nwant %s\n%v", g, c.want, err)
			}
			// A Book refuses the same for the same reasons, though it may take
			// another of two that cannot both be for the culprit.
			_, err = NewBook().Apply(changesOf(s))
			if g, want := rules(err), rules(s.Validate()); !slices.Equal(g, want) {
				t.Errorf("a Book says %q, want %q: %v", g, want, err)
			}
		})
	}
}

func TestFaultText(t *testing.T) {
	s := goodSet()
	s.LookupRecords[3].CA = addr("10.1.1.1")
	const want = "lookup_record[3].ca: 10.1.1.1 is the router address of 10.1.1.0/24; no VM may have it (a router record has PA 169.254.254.254) (P20)"
	if err := s.Validate(); err == nil || err.Error() != want {
		t.Errorf("error %v\nwant %s", err, want)
	}
	if f := Faults(nil); f != nil {
		t.Errorf("faults of no error: %v", f)
	}
}

func TestP20RouterCA(t *testing.T) {
	for p, want := range map[string]string{
		"10.0.0.0/24": "10.0.0.1", "10.0.0.8/30": "10.0.0.9", "10.0.0.0/8": "10.0.0.1", "fd00::/64": "fd00::1",
		"10.0.0.8/31": "", "10.0.0.8/32": "", "fd00::/127": "", "fd00::/128": "",
	} {
		ca, ok := RouterCA(prefix(p))
		if ok != (want != "") || ok && ca != addr(want) {
			t.Errorf("router address of %s is %v, %v; want %q", p, ca, ok, want)
		}
	}
}

func TestP22Names(t *testing.T) {
	for m := range NumModes {
		if got, err := ParseMode(m.String()); err != nil || got != m {
			t.Errorf("mode %v read back as %v, %v", m, got, err)
		}
	}
	for r := range numRecordTypes {
		if got, err := ParseRecordType(r.String()); err != nil || got != r {
			t.Errorf("record type %v read back as %v, %v", r, got, err)
		}
	}
	if r, err := ParseRecordType(""); err != nil || r != Static {
		t.Errorf("no record type is %v, %v; want static", r, err)
	}
	if m, err := ParseMode(""); err != nil || m != NVGRE {
		t.Errorf("no mode is %v, %v; want nvgre", m, err)
	}
	for _, s := range []string{"NVGRE", "nat", NumModes.String()} {
		if m, err := ParseMode(s); err == nil {
			t.Errorf("mode %q read as %v", s, m)
		}
	}
	for _, s := range []string{"Static", "l2only", numRecordTypes.String()} {
		if r, err := ParseRecordType(s); err == nil {
			t.Errorf("record type %q read as %v", s, r)
		}
	}
	names := []string{Uplink.String(), VM.String(), Host.String(), Role(3).String()}
	if want := []string{"uplink", "vm", "host", "role 3"}; !slices.Equal(names, want) {
		t.Errorf("roles %q, want %q", names, want)
	}
}
