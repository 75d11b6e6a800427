package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

// goodBook holds goodSet.
func goodBook(t *testing.T) *Book {
	t.Helper()
	b := NewBook()
	if _, err := b.Apply(changesOf(goodSet())); err != nil {
		t.Fatal(err)
	}
	return b
}

// Each case is one set of changes of goodSet; want is the error, its faults in
// a line each, or what was applied.
func TestApply(t *testing.T) {
	s := goodSet()
	vm, subnet, route, pa, uplink := s.LookupRecords[0], s.VirtualSubnets[0], s.CustomerRoutes[0], s.ProviderAddresses[0], s.Ports[0]
	other := LookupRecord{VSID: MinVSID, CA: addr("10.1.1.77"), MAC: mac(7), PA: addr("192.168.1.10")}
	changed := func(o LookupRecord, f func(*LookupRecord)) LookupRecord { f(&o); return o }
	moved := changed(vm, func(r *LookupRecord) { r.PA = addr("192.168.1.99") })
	shrunk := VirtualSubnet{VSID: MinVSID, RDID: blue, Prefixes: prefixes("10.1.1.128/25", "fd00:1::/64")}
	const (
		first = "lookup_record 10.1.1.11 with MAC 02:00:00:00:00:01 in VSID 4096"
		named = "lookup_record 10.1.1.77 with MAC 02:00:00:00:00:07 in VSID 4096"
	)
	for _, c := range []struct {
		name    string
		changes []Change
		want    string
		cause   error
	}{
		{"nothing", nil, "", nil},
		{"add", []Change{{Add, other}}, "put " + named, nil},
		{"add what exists", []Change{{Add, vm}}, "lookup_record[0].ca: " + first + " exists already (P6)", ErrExists},
		{"add what another has", []Change{{Add, changed(vm, func(r *LookupRecord) { r.MAC = mac(9) })}},
			"lookup_record[0].ca: " + first + " already has the CA (P6)", ErrExists},
		{"put anew", []Change{{Put, other}}, "put " + named, nil},
		{"put over", []Change{{Put, moved}}, "put " + first, nil},
		{"put the same", []Change{{Put, vm}, {Put, subnet}, {Replace, route}, {Put, pa}, {Put, Global{}}}, "", nil},
		{"replace", []Change{{Replace, moved}}, "put " + first, nil},
		{"replace nothing", []Change{{Replace, other}}, "lookup_record[0].ca: " + named + " does not exist (P6)", ErrNotFound},
		{"delete", []Change{{Delete, vm}}, "delete " + first, nil},
		{"delete by identity", []Change{{Delete, LookupRecord{VSID: vm.VSID, CA: vm.CA, MAC: vm.MAC}}}, "delete " + first, nil},
		{"delete nothing", []Change{{Delete, other}}, "lookup_record[0].ca: " + named + " does not exist (P6)", ErrNotFound},
		{"delete with another MAC (P5)", []Change{{Delete, LookupRecord{VSID: vm.VSID, CA: vm.CA, MAC: mac(9)}}},
			"lookup_record[0].ca: lookup_record 10.1.1.11 with MAC 02:00:00:00:00:09 in VSID 4096 does not exist (P6)", ErrNotFound},
		// The zero Addr once had the Key of ::.
		{"delete without CA", []Change{{Delete, LookupRecord{VSID: MinVSID, MAC: mac(3)}}},
			"lookup_record[0].ca: lookup_record invalid IP with MAC 02:00:00:00:00:03 in VSID 4096 does not exist (P6)", ErrNotFound},
		{"delete without next hop", []Change{{Delete, CustomerRoute{RDID: blue, VSID: MinVSID, Prefix: prefix("10.1.1.0/24")}}},
			"customer_route[0].prefix: customer_route 10.1.1.0/24 via invalid IP of VSID 4096 in " + blue.String() + " does not exist (P8)", ErrNotFound},
		{"P5 the type stays", []Change{{Replace, changed(vm, func(r *LookupRecord) { r.Type = Dynamic })}},
			"lookup_record[0].type: a record stays static for life: delete it and add it anew (P5)", nil},
		{"twice", []Change{{Put, moved}, {Delete, vm}}, "lookup_record[1].ca: " + first + " is in change 0 already (P6)", nil},
		{"twice, nothing new", []Change{{Put, vm}, {Put, vm}}, "lookup_record[1].ca: " + first + " is in change 0 already (P6)", nil},
		{"twice, not a record", []Change{{Put, pa}, {Delete, pa}}, "provider_address[1].address: provider_address 192.168.1.10 is in change 0 already (P13)", nil},
		{"no object", []Change{{Put, nil}}, "object[0].kind: <nil> is no object of policy (API)", nil},
		{"a pointer", []Change{{Put, &vm}}, "object[0].kind: *policy.LookupRecord is no object of policy (API)", nil},
		{"no verb", []Change{{0, vm}}, "lookup_record[0].verb: 0 is no verb (API)", nil},
		{"no verb yet", []Change{{Delete + 1, pa}}, "provider_address[0].verb: 5 is no verb (API)", nil},
		{"C5", []Change{{Put, Global{UseExternalRouter: true}}}, "put global", nil},
		{"C5 there is always one", []Change{{Delete, Global{}}}, "global[0].use_external_router: the settings of the host cannot be deleted (C5)", nil},

		// Order does not matter.
		{"a CA goes to another MAC", []Change{{Add, changed(vm, func(r *LookupRecord) { r.MAC = mac(9) })}, {Delete, vm}},
			"put lookup_record 10.1.1.11 with MAC 02:00:00:00:00:09 in VSID 4096; delete " + first, nil},
		{"ports swap their MACs", []Change{
			{Put, Port{Name: "blue1", Role: VM, VSID: MaxVSID, MAC: mac(1), MTU: 1500}},
			{Put, Port{Name: "red1", Role: VM, VSID: MinVSID, MAC: mac(1), MTU: 1500}}},
			`put port "blue1"; put port "red1"`, nil},
		{"PAs change hands (R6)", []Change{
			{Put, changed(s.LookupRecords[4], func(r *LookupRecord) { r.PA = addr("192.168.1.77") })},
			{Put, changed(vm, func(r *LookupRecord) { r.PA = s.LookupRecords[4].PA })}},
			"put " + fmt.Sprintf("lookup_record %v with MAC %v in VSID 7001", s.LookupRecords[4].CA, s.LookupRecords[4].MAC) + "; put " + first, nil},
		{"subnets swap their prefixes", []Change{
			{Put, VirtualSubnet{VSID: 5002, RDID: red, Prefixes: prefixes("10.3.0.0/16")}},
			{Put, VirtualSubnet{VSID: 5001, RDID: red, Prefixes: prefixes("10.2.0.0/16")}}},
			"put virtual_subnet 5002; put virtual_subnet 5001", nil},

		// What others need stays.
		{"P3 records", []Change{{Delete, subnet}}, "virtual_subnet[0].vsid: lookup_record", ErrInUse},
		{"P11 records", []Change{{Put, shrunk}}, "virtual_subnet[0].vsid: lookup_record", ErrInUse},
		// A change that changes nothing once took its record out of the count.
		{"P11 records that stay", []Change{{Put, VirtualSubnet{VSID: 6002, RDID: blue, Prefixes: prefixes("10.1.2.128/25")}}, {Put, s.LookupRecords[2]}, {Put, Global{}}},
			"virtual_subnet[0].vsid: lookup_record", ErrInUse},
		{"P3 routes that stay", []Change{{Put, VirtualSubnet{VSID: MinVSID, RDID: green, Prefixes: prefixes("10.9.1.0/24")}}, {Put, route}},
			"virtual_subnet[0].rdid: customer_route", ErrInUse},
		{"P13 uplink", []Change{{Delete, uplink}}, `port[0].name: provider_address 192.168.1.10 needs port "uplink0" as an uplink (P13)`, ErrInUse},
		{"P13 uplink no more", []Change{{Put, Port{Name: "uplink0", Role: Host}}}, `port[0].role: provider_address 192.168.1.10 needs port "uplink0" as an uplink (P13)`, ErrInUse},
		{"P16", []Change{{Delete, pa}, {Delete, s.ProviderAddresses[1]}},
			`provider_address[0].address: provider_route 0.0.0.0/0 via 192.168.1.1 on port "uplink0" would be on no link (P16)`, ErrInUse},
		{"P16 routes that stay", []Change{{Delete, pa}, {Delete, s.ProviderAddresses[1]}, {Put, s.ProviderRoutes[0]}, {Delete, s.ProviderRoutes[1]}},
			`provider_address[0].address: provider_route 0.0.0.0/0 via 192.168.1.1 on port "uplink0" would be on no link (P16)`, ErrInUse},
		{"P16 all of it goes", []Change{{Delete, pa}, {Delete, s.ProviderAddresses[1]}, {Delete, s.ProviderRoutes[0]}, {Delete, s.ProviderRoutes[1]}},
			"delete provider_address 192.168.1.10; delete provider_address 192.168.1.11; " +
				`delete provider_route 0.0.0.0/0 via 192.168.1.1 on port "uplink0"; delete provider_route 0.0.0.0/0 via 192.168.1.2 on port "uplink0"`, nil},

		// Who refers to what is wrong by itself is not to blame.
		{"only the subnet", []Change{{Add, VirtualSubnet{VSID: 5001, RDID: red}}, {Add, LookupRecord{VSID: 5001, CA: addr("10.5.0.2"), MAC: mac(1), PA: addr("10.0.0.1")}}},
			"virtual_subnet[0].prefixes: a virtual subnet needs at least one on-link prefix (P11)", nil},
		{"only the port", []Change{{Add, Port{Name: "u2", MTU: -1}}, {Add, ProviderAddress{Prefix: prefix("10.0.0.1/24"), Port: "u2"}}},
			"port[0].mtu: -1 is not the size of an IP packet (M1)", nil},
		{"only the PA", []Change{{Add, ProviderAddress{Prefix: prefix("10.0.0.2/24"), Port: "uplink0", VLAN: 5000}},
			{Add, ProviderRoute{Port: "uplink0", Prefix: prefix("10.0.0.0/8"), NextHop: addr("10.0.0.1")}}},
			"provider_address[0].vlan: 5000 is not a VLAN; use 0 (untagged) to 4094 (W11)", nil},

		{"P26 labels", []Change{{Add, changed(other, func(r *LookupRecord) { r.VMName, r.Context = strings.Repeat("x", 1025), "\xff" })}},
			"lookup_record[0].vm_name: a label is at most 1024 bytes of UTF-8 (P26)\nlookup_record[0].context: a label is at most 1024 bytes of UTF-8 (P26)", nil},
		{"P1 names", []Change{{Add, Port{Role: VM}}, {Add, Port{Name: "a\x00b", Role: VM}}},
			"port[0].name: \"\" is not a name (P1)\nport[1].name: \"a\\x00b\" is not a name (P1)", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := goodBook(t)
			before := b.Set()
			applied, err := b.Apply(c.changes)
			var got string
			if err != nil {
				got = err.Error()
				if after := b.Set(); !reflect.DeepEqual(before, after) {
					t.Error("refused, and the Book is another")
				}
			} else {
				var done []string
				for _, a := range applied {
					done = append(done, [...]string{Put: "put ", Delete: "delete "}[a.Verb]+name(a.Object))
				}
				got = strings.Join(done, "; ")
			}
			if got != c.want && !(c.cause == ErrInUse && strings.HasPrefix(got, c.want)) {
				t.Errorf("says %s\nwant %s", got, c.want)
			}
			if c.cause != nil && !errors.Is(err, c.cause) {
				t.Errorf("cause of %v is not %v", err, c.cause)
			}
		})
	}
}

// What was learned gives way to what is said, by whatever verb it is said, unless
// the same set says something of it too.
func TestA17StaticWins(t *testing.T) {
	static := LookupRecord{VSID: MinVSID, CA: addr("10.1.1.77"), MAC: mac(7), PA: addr("192.168.1.10")}
	learned := static
	learned.Type = Dynamic
	theirs := learned
	theirs.MAC = mac(8)
	moved := theirs
	moved.PA = addr("192.168.1.99")
	const (
		own   = "lookup_record 10.1.1.77 with MAC 02:00:00:00:00:07 in VSID 4096"
		other = "lookup_record 10.1.1.77 with MAC 02:00:00:00:00:08 in VSID 4096"
	)
	for _, c := range []struct {
		name    string
		there   LookupRecord
		changes []Change
		want    string
	}{
		{"put", learned, []Change{{Put, static}}, "put " + own},
		{"add", learned, []Change{{Add, static}}, "put " + own},
		{"replace", learned, []Change{{Replace, static}}, "put " + own},
		{"put, of another MAC", theirs, []Change{{Put, static}}, "put " + own + "; delete " + other},
		{"add, of another MAC", theirs, []Change{{Add, static}}, "put " + own + "; delete " + other},
		{"and is deleted by name", theirs, []Change{{Put, static}, {Delete, theirs}}, "put " + own + "; delete " + other},
		{"and is said to move", theirs, []Change{{Put, static}, {Put, moved}}, "lookup_record[0].ca: " + other + " already has the CA (P6)"},
		{"and is said to stay", theirs, []Change{{Put, static}, {Put, theirs}}, "lookup_record[0].ca: " + other + " already has the CA (P6)"},
		{"the other way", static, []Change{{Put, learned}}, "lookup_record[0].type: a record stays static for life: delete it and add it anew (P5)"},
		{"the other way, of another MAC", static, []Change{{Put, theirs}}, "lookup_record[0].ca: " + own + " already has the CA (P6)"},
		{"learned twice", learned, []Change{{Put, theirs}}, "lookup_record[0].ca: " + own + " already has the CA (P6)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := goodBook(t)
			if _, err := b.Apply([]Change{{Put, c.there}}); err != nil {
				t.Fatal(err)
			}
			before := b.Set()
			_, checkErr := b.Check(c.changes)
			if !reflect.DeepEqual(before, b.Set()) {
				t.Error("Check changed the Book")
			}
			applied, err := b.Apply(c.changes)
			got := fmt.Sprint(err)
			if err == nil {
				var done []string
				for _, a := range applied {
					done = append(done, [...]string{Put: "put ", Delete: "delete "}[a.Verb]+name(a.Object))
				}
				got = strings.Join(done, "; ")
				if r, ok := b.Holder(static.VSID, static.CA); !ok || r != static {
					t.Errorf("the CA is %v's", r)
				}
			}
			if got != c.want || fmt.Sprint(err) != fmt.Sprint(checkErr) {
				t.Errorf("says %s (Check: %v)\nwant %s", got, checkErr, c.want)
			}
		})
	}
}

// What was learned keeps no operator from changing a virtual subnet; what was said
// does, and what is said in the same set.
func TestA17SubnetsWin(t *testing.T) {
	learned := LookupRecord{VSID: MinVSID, CA: addr("10.1.1.129"), MAC: mac(8), PA: addr("192.168.1.10"), Type: Dynamic}
	static := learned
	static.Type = Static
	split := VirtualSubnet{VSID: MinVSID, RDID: blue, Prefixes: prefixes("10.1.1.0/25", "10.1.1.128/25", "fd00:1::/64")}
	smaller := split
	smaller.Prefixes = prefixes("10.1.1.0/25", "fd00:1::/64")
	same := split
	same.Prefixes = prefixes("10.1.1.0/24", "10.77.0.0/24", "fd00:1::/64")
	const other = "lookup_record 10.1.1.129 with MAC 02:00:00:00:00:08 in VSID 4096"
	for _, c := range []struct {
		name    string
		there   LookupRecord
		changes []Change
		want    string
	}{
		{"it has the router's address now", learned, []Change{{Put, split}}, "put virtual_subnet 4096; delete " + other},
		{"it lies outside", learned, []Change{{Put, smaller}}, "put virtual_subnet 4096; delete " + other},
		{"it is where it was", learned, []Change{{Put, same}}, "put virtual_subnet 4096"},
		{"and is deleted by name", learned, []Change{{Put, smaller}, {Delete, learned}}, "put virtual_subnet 4096; delete " + other},
		{"and is said to stay", learned, []Change{{Put, smaller}, {Put, learned}}, "virtual_subnet[0].vsid: " + other + ": ca: 10.1.1.129 lies in no on-link prefix of VSID 4096 (P11)"},
		{"a static one", static, []Change{{Put, split}}, "virtual_subnet[0].vsid: " + other + ": ca: 10.1.1.129 is"},
	} {
		b := goodBook(t)
		if _, err := b.Apply([]Change{{Put, c.there}}); err != nil {
			t.Fatal(err)
		}
		before := b.Set()
		_, checkErr := b.Check(c.changes)
		if !reflect.DeepEqual(before, b.Set()) {
			t.Errorf("%s: Check changed the Book", c.name)
		}
		applied, err := b.Apply(c.changes)
		got := fmt.Sprint(err)
		if err == nil {
			var done []string
			for _, a := range applied {
				done = append(done, [...]string{Put: "put ", Delete: "delete "}[a.Verb]+name(a.Object))
			}
			got = strings.Join(done, "; ")
		}
		if got != c.want && (err == nil || !strings.HasPrefix(got, c.want)) || fmt.Sprint(err) != fmt.Sprint(checkErr) {
			t.Errorf("%s: says %s (Check: %v)\nwant %s", c.name, got, checkErr, c.want)
		}
	}
}

// What the host's file says is changed in the host's file.
func TestPin(t *testing.T) {
	b, s := goodBook(t), goodSet()
	pa, uplink, vm := s.ProviderAddresses[0], s.Ports[0], s.LookupRecords[0]
	b.Pin(pa.Key(), uplink.Key(), vm.Key())
	if !b.Pinned(pa.Key()) || b.Pinned(s.Ports[1].Key()) {
		t.Error("pinned are others")
	}
	other := pa
	other.VLAN = 7
	for _, c := range []Change{{Delete, pa}, {Replace, other}, {Put, other}, {Delete, uplink}, {Delete, vm}} {
		_, err := b.Apply([]Change{c})
		if f := Faults(err); len(f) != 1 || f[0].Rule != "host file" || !errors.Is(err, ErrPinned) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	// As it is, it may be said again: export is taken back to no change.
	if applied, err := b.Apply([]Change{{Put, pa}, {Put, uplink}, {Put, vm}}); err != nil || len(applied) > 0 {
		t.Errorf("said again: %v, %v", applied, err)
	}
}

// A million faults are refused with a thousand.
func TestManyFaults(t *testing.T) {
	var changes []Change
	for n := range 5000 {
		changes = append(changes, Change{Delete, benchRecord(n)})
	}
	_, err := NewBook().Apply(changes)
	if n := len(Faults(err)); n != maxFaults || !strings.HasSuffix(err.Error(), "\nand 4000 more") {
		t.Errorf("%d faults, ending %q", n, err.Error()[len(err.Error())-40:])
	}
}

// Who gave the changes may use their memory again.
func TestBookOwnsPrefixes(t *testing.T) {
	b := NewBook()
	vs := VirtualSubnet{VSID: 5000, RDID: blue, Prefixes: prefixes("10.0.0.0/24")}
	applied, err := b.Apply([]Change{{Add, vs}})
	if err != nil {
		t.Fatal(err)
	}
	vs.Prefixes[0] = prefix("10.9.0.0/24")
	for _, got := range []VirtualSubnet{applied[0].Object.(VirtualSubnet), b.Set().VirtualSubnets[0]} {
		if got.Prefixes[0] != prefix("10.0.0.0/24") {
			t.Errorf("the prefix is %v now", got.Prefixes[0])
		}
	}
}

// Records is All without order.
func TestRecords(t *testing.T) {
	b := goodBook(t)
	seen := map[LookupRecord]bool{}
	for r := range b.Records() {
		seen[r] = true
	}
	if b.Len(KindLookupRecord) != len(seen) {
		t.Errorf("%d records of %d", len(seen), b.Len(KindLookupRecord))
	}
	for o := range b.All(KindLookupRecord) {
		if !seen[o.(LookupRecord)] {
			t.Errorf("without %v", o)
		}
	}
	for range b.Records() {
		break
	}
	for v := range b.subnets {
		for r := range b.RecordsIn(v) {
			if !seen[r] || r.VSID != v {
				t.Errorf("%v in VSID %d", r, v)
			}
			if h, ok := b.Holder(v, r.CA); !r.CA.IsUnspecified() && (!ok || h != r) {
				t.Errorf("CA of %v is %v's", r, h)
			}
			delete(seen, r)
		}
	}
	if len(seen) > 0 {
		t.Errorf("in no virtual subnet: %v", seen)
	}
	for k := Kind(0); k <= numKinds; k++ {
		n, last := 0, Key("")
		for o := range b.All(k) {
			if o.Kind() != k || o.Key() <= last {
				t.Errorf("%v after %x", o, last)
			}
			n, last = n+1, o.Key()
		}
		if n != b.Len(k) {
			t.Errorf("%d of %d of kind %v", n, b.Len(k), k)
		}
	}
	if vs, ok := b.Subnet(MinVSID); !ok || vs.RDID != blue {
		t.Errorf("subnet %v, %v", vs, ok)
	}
}

func TestEqual(t *testing.T) {
	vs := func(vsid VSID, prefixes ...string) Object {
		o := VirtualSubnet{VSID: vsid}
		for _, p := range prefixes {
			o.Prefixes = append(o.Prefixes, netip.MustParsePrefix(p))
		}
		return o
	}
	for i, c := range []struct {
		a, b Object
		want bool
	}{
		{nil, nil, true},
		{vs(6001), nil, false},
		{vs(6001, "10.1.0.0/16"), vs(6001, "10.1.0.0/16"), true},
		{vs(6001, "10.1.0.0/16"), vs(6001, "10.2.0.0/16"), false},
		{vs(6001), vs(6002), false},
		{vs(6001), VirtualSubnet{VSID: 6001, Mode: Rewrite}, false},
		{vs(6001), VirtualSubnet{VSID: 6001, RDID: RDID{1}}, false},
		{vs(6001), Global{}, false},
		{Global{}, Global{}, true},
		{Global{}, Global{UseExternalRouter: true}, false},
		{Port{Name: "a"}, Port{Name: "a"}, true},
		{Port{Name: "a"}, Port{Name: "a", MTU: 1500}, false},
	} {
		if Equal(c.a, c.b) != c.want || Equal(c.b, c.a) != c.want {
			t.Errorf("%d: %v and %v: not %v", i, c.a, c.b, c.want)
		}
	}
}
