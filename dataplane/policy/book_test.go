package policy

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"paca/dataplane/packet"
)

// twin is a Book the plain way: a map, copied for every set of changes, and
// Set.Validate for a judge.
type twin map[Key]Object

func (w twin) set() *Set {
	s := &Set{}
	for _, k := range slices.Sorted(maps.Keys(w)) {
		switch o := w[k].(type) {
		case Global:
			s.Global = o
		case Port:
			s.Ports = append(s.Ports, o)
		case ProviderAddress:
			s.ProviderAddresses = append(s.ProviderAddresses, o)
		case ProviderRoute:
			s.ProviderRoutes = append(s.ProviderRoutes, o)
		case VirtualSubnet:
			s.VirtualSubnets = append(s.VirtualSubnets, o)
		case CustomerRoute:
			s.CustomerRoutes = append(s.CustomerRoutes, o)
		case LookupRecord:
			s.LookupRecords = append(s.LookupRecords, o)
		}
	}
	return s
}

// wrong says whether an object is at fault by itself.
func wrong(o Object) bool {
	var j judge
	switch o := o.(type) {
	case Port:
		j.port(&o)
	case ProviderAddress:
		j.providerAddress(&o)
	case ProviderRoute:
		j.providerRoute(&o)
	case VirtualSubnet:
		j.subnet(&o)
	case CustomerRoute:
		j.customerRoute(&o)
	case LookupRecord:
		j.record(&o)
	}
	return j.bad
}

// apply is what Apply should do. plain is false if a change by itself was at
// fault, so that Book need not have gone on to look at the rest.
func (w twin) apply(pinned map[Key]bool, changes []Change) (after twin, applied []Change, plain bool, err error) {
	after, plain = maps.Clone(w), true
	seen := map[Key]bool{}
	var faults []error
	for i, c := range changes {
		k := c.Object.Key()
		old, exists := w[k]
		bad := func(cause error) {
			faults = append(faults, &Fault{Index: i, Cause: cause})
			plain = false
		}
		r, isRecord := c.Object.(LookupRecord)
		given := exists && isRecord && r.Type == Static && old.(LookupRecord).Type == Dynamic // A17
		switch {
		case seen[k]:
			bad(nil)
		case c.Verb == Add && exists && !given:
			bad(ErrExists)
		case (c.Verb == Replace || c.Verb == Delete) && !exists:
			bad(ErrNotFound)
		case c.Verb == Delete && k.Kind() == KindGlobal:
			bad(nil)
		case c.Verb != Delete && exists && isRecord && old.(LookupRecord).Type != r.Type && !given:
			bad(nil)
		case c.Verb != Delete && exists && reflect.DeepEqual(old, c.Object):
		case exists && pinned[k]:
			bad(ErrPinned)
		case c.Verb == Delete:
			delete(after, k)
			applied = append(applied, Change{Delete, old})
		default:
			after[k] = c.Object
			applied = append(applied, Change{Put, c.Object})
		}
		seen[k] = true
		plain = plain && (c.Verb == Delete || !wrong(c.Object))
	}
	for _, c := range slices.Clone(applied) {
		if r, ok := c.Object.(LookupRecord); ok && c.Verb == Put && r.Type == Static {
			for k, o := range after {
				d, ok := o.(LookupRecord)
				if ok && d.Type == Dynamic && d.VSID == r.VSID && d.CA == r.CA && !seen[k] && !pinned[k] {
					delete(after, k)
					applied = append(applied, Change{Delete, d})
				}
			}
		}
	}
	for _, c := range slices.Clone(applied) {
		vs, ok := c.Object.(VirtualSubnet)
		old, was := w[c.Object.Key()].(VirtualSubnet)
		if !ok || !was || c.Verb != Put || old.Mode == vs.Mode && slices.Equal(old.Prefixes, vs.Prefixes) {
			continue
		}
		for _, k := range slices.Sorted(maps.Keys(after)) {
			d, ok := after[k].(LookupRecord)
			j := judge{externalRouter: after[Global{}.Key()].(Global).UseExternalRouter}
			if !ok || d.Type != Dynamic || d.VSID != vs.VSID || seen[k] || pinned[k] {
				continue
			}
			if j.recordIn(&d, &vs); j.bad {
				delete(after, k)
				applied = append(applied, Change{Delete, d})
			}
		}
	}
	faults = append(faults, after.set().Validate())
	return after, applied, plain, errors.Join(faults...)
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// randomObject is from a world so small that objects meet in every way that the
// rules know, and a few that none allows.
func randomObject(r *rand.Rand) Object {
	vsid := pick(r, VSID(5000), 5000, 5001, 5001, 5002, 5003)
	rdid := pick(r, blue, blue, blue, red)
	if r.IntN(60) == 0 {
		vsid, rdid = 4095, RDID{}
	}
	m := mac(byte(1 + r.IntN(3)))
	pa := netip.AddrFrom4([4]byte{192, 168, byte(r.IntN(2)), byte(r.IntN(6))})
	if r.IntN(8) == 0 {
		pa = pick(r, addr("2001:db8::1"), RouterPA, RouterPA, netip.Addr{}, addr("fe80::1%x"))
	}
	port := pick(r, "up0", "up0", "up1", "vm0", "vm1")
	switch Kind(1 + r.IntN(int(numKinds)+4)) {
	case KindGlobal:
		return Global{UseExternalRouter: r.IntN(2) == 0}
	case KindPort:
		p := Port{Name: port, Role: VM, MTU: 1500, Device: pick(r, "", "tap:x")}
		if strings.HasPrefix(port, "up") == (r.IntN(20) > 0) {
			p.Role = Uplink
		} else if r.IntN(4) > 0 {
			p.VSID, p.MAC = vsid, m
		}
		if p.Role == VM {
			p.MACSpoofing, p.DHCPGuard, p.RouterGuard = r.IntN(9) == 0, r.IntN(9) == 0, r.IntN(9) == 0
			p.DynamicIPLimit, p.StormLimit = pick(r, uint32(0), DefaultDynamicIPLimit, MaxDynamicIPLimit, 9), pick(r, uint32(0), DefaultStormLimit, MaxStormLimit)
		}
		p.Queues = pick(r, uint32(0), 0, 2)
		switch r.IntN(40) {
		case 6:
			p.Queues = MaxQueues + 1
		case 0:
			p.Role, p.MTU = 3, -1
		case 1:
			p.RouterGuard, p.DynamicIPLimit, p.StormLimit = true, MaxDynamicIPLimit+1, MaxStormLimit+1
		case 2, 3, 4, 5:
			p = Port{Name: port, Role: Host, MTU: 1500, Uplink: pick(r, "", "up0", "up0", "up1"), NoOffload: pick(r, 0, 0, OffloadsOf(TSO, VLANTag))}
		}
		return p
	case KindProviderAddress:
		return ProviderAddress{Prefix: netip.PrefixFrom(pa, pick(r, 24, 31, 32)), Port: port, VLAN: uint16(r.IntN(2)), MAC: pick(r, packet.MAC{}, m)}
	case KindProviderRoute:
		return ProviderRoute{Port: port, Prefix: pick(r, prefixes("0.0.0.0/0", "172.16.0.0/12", "::/0")...),
			NextHop: pick(r, addr("192.168.0.5"), addr("192.168.1.5"), addr("0.0.0.0"), addr("fe80::1"), addr("fe80::1%x")), Metric: r.Uint32N(2)}
	case KindVirtualSubnet:
		vs := VirtualSubnet{VSID: vsid, RDID: rdid, Mode: Mode(r.IntN(int(NumModes)))}
		for range 1 + r.IntN(2) {
			vs.Prefixes = append(vs.Prefixes, pick(r, prefixes("10.0.0.0/24", "10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24", "10.0.0.0/23", "10.0.0.0/8", "10.0.0.128/25", "fd00::/64", "fd00::/48")...))
		}
		vs.DHCP = r.IntN(4) == 0
		if r.IntN(4) == 0 {
			vs.DNS = pick(r, []netip.Addr{addr("10.0.0.53")}, []netip.Addr{addr("10.0.0.53"), addr("8.8.8.8")}, []netip.Addr{addr("fd00::53")})
		}
		return vs
	case KindCustomerRoute:
		return CustomerRoute{RDID: rdid, VSID: vsid, Prefix: pick(r, prefixes("0.0.0.0/0", "10.9.0.0/16", "::/0")...),
			NextHop: pick(r, addr("10.0.0.9"), addr("10.0.0.9"), addr("0.0.0.0"), addr("::"), netip.Addr{}), Metric: r.Uint32N(2)}
	}
	rec := LookupRecord{VSID: vsid, MAC: m, PA: pa, UseVMMAC: r.IntN(6) == 0, VMName: pick(r, "", "a", "b")}
	rec.CA = netip.AddrFrom4([4]byte{10, 0, byte(r.IntN(3)), byte(1 + r.IntN(4))})
	switch r.IntN(12) {
	case 0:
		rec.CA, rec.Type = pick(r, addr("0.0.0.0"), addr("::"), netip.Addr{}), pick(r, L2Only, GatewayWildcard)
	case 1:
		rec.CA = pick(r, addr("fd00::2"), addr("fd00::1"), addr("fd00:0:0:1::2"))
	case 2:
		rec.CA, rec.PA = netip.AddrFrom4([4]byte{10, 0, byte(r.IntN(3)), 1}), RouterPA
	case 3, 4:
		rec.Type = pick(r, Dynamic, Dynamic, Dynamic, numRecordTypes)
	case 5:
		rec.CA, rec.PA, rec.UseVMMAC = pick(r, packet.LimitedBroadcast, addr("239.1.1.1"), addr("ff0e::1")), pick(r, addr("239.255.0.1"), addr("ff0e::2"), pa), false
		if rec.MAC = groupMAC(rec.CA); r.IntN(4) == 0 {
			rec.MAC = packet.Broadcast
		}
	}
	return rec
}

// respin changes what is not identity, so that there is something to replace.
func respin(r *rand.Rand, o Object) Object {
	for range 200 {
		if other := randomObject(r); other.Key() == o.Key() {
			return other
		}
	}
	return o
}

func randomChanges(r *rand.Rand, now twin) []Change {
	n := 1
	if r.IntN(2) == 0 {
		n = 1 + r.IntN(12)
	}
	keys := slices.Sorted(maps.Keys(now))
	changes := make([]Change, n)
	for i := range changes {
		switch r.IntN(12) {
		case 10, 11: // who has a CA, and how he came by it (P5, P6, A17)
			rival := now[pick(r, keys...)]
			if rec, ok := rival.(LookupRecord); ok {
				rec.MAC, rec.Type = mac(byte(1+r.IntN(3))), pick(r, Static, Dynamic)
				rival = rec
			}
			changes[i] = Change{pick(r, Put, Put, Add), rival}
		case 0, 1, 2:
			changes[i] = Change{Delete, now[pick(r, keys...)]}
		case 3, 4:
			changes[i] = Change{Replace, respin(r, now[pick(r, keys...)])}
		case 5:
			changes[i] = Change{Add, randomObject(r)}
		case 6:
			changes[i] = Change{Verb(r.IntN(3)) + Replace, randomObject(r)}
		default:
			changes[i] = Change{Put, randomObject(r)}
		}
	}
	return changes
}

// changesOf puts a whole Set.
func changesOf(s *Set) (changes []Change) {
	changes = append(changes, Change{Put, s.Global})
	for _, o := range s.LookupRecords { // against the order in which they refer to each other
		changes = append(changes, Change{Put, o})
	}
	for _, o := range s.CustomerRoutes {
		changes = append(changes, Change{Put, o})
	}
	for _, o := range s.VirtualSubnets {
		changes = append(changes, Change{Put, o})
	}
	for _, o := range s.ProviderRoutes {
		changes = append(changes, Change{Put, o})
	}
	for _, o := range s.ProviderAddresses {
		changes = append(changes, Change{Put, o})
	}
	for _, o := range s.Ports {
		changes = append(changes, Change{Put, o})
	}
	return changes
}

func rules(err error) []string {
	var all []string
	for _, f := range Faults(err) {
		rule := f.Rule
		if rule == "L18" { // who switches the external router off, a Book blames; its twin, the record
			rule = "P20"
		}
		all = append(all, rule)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func describe(changes []Change) string {
	var b strings.Builder
	for i, c := range changes {
		fmt.Fprintf(&b, "  %d: %v %+v\n", i, [...]string{"?", "add", "replace", "put", "delete"}[c.Verb], c.Object)
	}
	return b.String()
}

func TestBookAgainstTwin(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	sequences := 60
	if testing.Short() {
		sequences = 15
	}
	var accepted, refused, onlyByRules int
	for n := range sequences {
		b, w := NewBook(), twin{Global{}.Key(): Global{}}
		if n%2 == 0 {
			applied, err := b.Apply(changesOf(goodSet()))
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range applied {
				w[c.Object.Key()] = c.Object
			}
		}
		pinned := map[Key]bool{}
		var group twin // what Rollback goes back to
		for range 300 {
			if r.IntN(100) == 0 {
				k := pick(r, slices.Sorted(maps.Keys(w))...)
				b.Pin(k)
				pinned[k] = true
				if len(pinned) > 3 {
					break // nothing would move
				}
			}
			if group == nil && r.IntN(10) == 0 {
				b.Begin()
				group = w
			}
			changes := randomChanges(r, w)
			after, want, plain, wantErr := w.apply(pinned, changes)
			checked, checkErr := b.Check(changes)
			if diff := differ(b, w); diff != "" {
				t.Fatalf("seed %d: Check changed %s\n%s", seed, diff, describe(changes))
			}
			got, err := b.Apply(changes)
			if fmt.Sprint(err) != fmt.Sprint(checkErr) || !reflect.DeepEqual(got, checked) {
				t.Fatalf("seed %d: Check says %v, %v\nApply says %v, %v\n%s", seed, checked, checkErr, got, err, describe(changes))
			}
			if (err == nil) != (wantErr == nil) {
				t.Fatalf("seed %d: Book says %v\ntwin says %v\n%s", seed, err, wantErr, describe(changes))
			}
			for _, f := range Faults(err) {
				if c := changes[f.Index]; f.Object != c.Object.Kind().String() || f.Field == "" || f.Rule == "" {
					t.Fatalf("seed %d: fault %+v\n%s", seed, f, describe(changes))
				}
			}
			if err != nil {
				refused++
				if plain {
					onlyByRules++
					// Both need not name the same: of those whom a change leaves
					// behind, Book names one, and the twin looks no further at the
					// second of two with one CA. TestFaults compares them exactly.
					theirs := rules(wantErr)
					if !slices.ContainsFunc(rules(err), func(rule string) bool { return slices.Contains(theirs, rule) }) {
						t.Fatalf("seed %d: Book says %v\ntwin says %v\n%s", seed, err, wantErr, describe(changes))
					}
				}
			} else {
				accepted++
				if !slices.EqualFunc(got, want, func(a, b Change) bool { return reflect.DeepEqual(a, b) }) {
					t.Fatalf("seed %d: applied\n%swant\n%s", seed, describe(got), describe(want))
				}
				w = after
			}
			if group != nil && r.IntN(4) == 0 {
				if r.IntN(2) == 0 {
					b.Rollback()
					w = group
				} else {
					b.End()
				}
				group = nil
			}
			if diff := differ(b, w); diff != "" {
				t.Fatalf("seed %d: %s\n%s%v", seed, diff, describe(changes), err)
			}
		}
	}
	t.Logf("%d sets accepted, %d refused, %d of them by the rules alone", accepted, refused, onlyByRules)
	if accepted < 20*sequences || onlyByRules < 20*sequences {
		t.Error("the world is too kind or too cruel to show anything")
	}
}

// differ says where a Book is not its twin, in what it holds and in what it
// knows about that.
func differ(b *Book, w twin) string {
	if got, want := b.Set(), w.set(); fmt.Sprint(got) != fmt.Sprint(want) {
		return fmt.Sprintf("holds %+v\nwant %+v", got, want)
	}
	for k, o := range w {
		if got, ok := b.Get(k); !ok || !reflect.DeepEqual(got, o) {
			return fmt.Sprintf("Get %x is %v, %v; want %v", k, got, ok, o)
		}
	}
	// A Book that came there by one step knows the same.
	fresh := NewBook()
	for k, o := range w {
		if k.Kind() != KindLookupRecord {
			fresh.swap(nil, o)
		}
	}
	for k, o := range w {
		if k.Kind() == KindLookupRecord {
			fresh.swap(nil, o)
		}
	}
	for _, pair := range [][2]any{
		{b.vnics, fresh.vnics}, {b.edges, fresh.edges}, {b.uplinks, fresh.uplinks}, {b.onLink, fresh.onLink}, {b.routesOf, fresh.routesOf},
		{counts(b.records.bySubnet), counts(fresh.records.bySubnet)}, {b.records.users(), fresh.records.users()},
		{len(b.records.labels), len(fresh.records.labels)}, {b.records.len(), fresh.records.len()},
	} {
		if !reflect.DeepEqual(pair[0], pair[1]) {
			return fmt.Sprintf("knows %v\nwant %v", pair[0], pair[1])
		}
	}
	for v, c := range b.records.bySubnet {
		if n := len(slices.Collect(b.records.in(v))); n != int(c.count) {
			return fmt.Sprintf("chain of VSID %d has %d of %d", v, n, c.count)
		}
	}
	for pa, u := range b.records.users() {
		if n := len(slices.Collect(b.records.behind(pa.addr()))); n != int(u.count) {
			return fmt.Sprintf("chain of PA %v has %d of %d", pa.addr(), n, u.count)
		}
	}
	return ""
}

// users is those of every PA, without where they are.
func (t *records) users() map[address]users {
	all := map[address]users{}
	for n, u := range t.pas {
		if u.count > 0 && t.byPA.find(u.address) == uint32(n) {
			u.first = 0
			all[u.address] = u
		}
	}
	return all
}

func counts[K comparable](m map[K]chain) map[K]chain {
	all := map[K]chain{}
	for k, c := range m {
		c.first = 0
		all[k] = c
	}
	return all
}
