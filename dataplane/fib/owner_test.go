package fib

import (
	"net/netip"
	"slices"
	"testing"

	"paca/dataplane/packet"
	"paca/dataplane/policy"
)

// ownerPolicy is two rewrite subnets of two routing domains and an NVGRE one, on a
// host with two PAs of each family that are VMs' and one that is nobody's.
func ownerPolicy() *policy.Set {
	s := outerPolicy("192.168.2.20", 1500)
	for i, prefixes := range [][]netip.Prefix{{prefix("10.1.0.0/24"), prefix("fd00:1::/64")}, {prefix("10.1.0.0/24"), prefix("fd00:1::/64")}} {
		s.VirtualSubnets = append(s.VirtualSubnets, policy.VirtualSubnet{VSID: policy.VSID(7001 + i), RDID: policy.RDID{byte(7 + i)}, Prefixes: prefixes, Mode: policy.Rewrite})
	}
	s.ProviderAddresses = append(s.ProviderAddresses,
		policy.ProviderAddress{Prefix: prefix("192.168.1.50/24"), Port: "uplink0"},
		policy.ProviderAddress{Prefix: prefix("192.168.1.51/24"), Port: "uplink0", MAC: packet.MAC{2, 51}},
		policy.ProviderAddress{Prefix: prefix("2001:db8:1::50/64"), Port: "uplink0"},
		policy.ProviderAddress{Prefix: prefix("2001:db8:1::51/64"), Port: "uplink0", VLAN: 5})
	return s
}

// PAs go from record to record, VMs' MACs with them, tenants' PAs change places,
// all in any order: after each change a PA leads where a Compile says that it does,
// and this host's have the MACs that they have after a Compile.
func TestR6_R7OwnersFollow(t *testing.T) {
	r := random(t)
	set := ownerPolicy()
	b, d, c := bookOf(set), devicesOf(set), NewCompiler()
	f := c.Compile(b, d, hopMAC)
	type version struct {
		f       *FIB
		content []string
	}
	var versions []version
	moved, dressed := 0, 0
	for range 3000 {
		var applied []policy.Change
		for range 1 + r.IntN(3) { // sets that come into force at once
			var changes []policy.Change
			used := map[policy.Key]bool{}
			var there []policy.LookupRecord
			for rec := range b.Records() {
				if rec.VSID > 7000 {
					there = append(there, rec)
				}
			}
			add := func(v policy.Verb, rec policy.LookupRecord) {
				if !used[rec.Key()] {
					used[rec.Key()] = true
					changes = append(changes, policy.Change{Verb: v, Object: rec})
				}
			}
			for range 1 + r.IntN(4) {
				n := byte(r.IntN(2))
				rec := policy.LookupRecord{VSID: policy.VSID(7001 + int(n)), MAC: packet.MAC{2, 3, n, byte(r.IntN(3))}, UseVMMAC: r.IntN(2) == 0}
				last := byte(10 + r.IntN(4))
				if r.IntN(2) == 0 {
					rec.CA, rec.PA = netip.AddrFrom4([4]byte{10, 1, 0, last}), netip.AddrFrom4([4]byte{192, 168, 1, byte(50 + r.IntN(6))})
				} else {
					rec.CA, rec.PA = netip.AddrFrom16([16]byte{0: 0xfd, 3: 1, 15: last}), netip.AddrFrom16([16]byte{0: 0x20, 1: 1, 2: 0xd, 3: 0xb8, 5: 1, 15: byte(0x50 + r.IntN(6))})
				}
				at := slices.IndexFunc(there, func(o policy.LookupRecord) bool { return o.VSID == rec.VSID && o.CA == rec.CA })
				old, exists := policy.LookupRecord{}, at >= 0
				if exists {
					old = there[at]
				}
				switch {
				case exists && r.IntN(3) == 0:
					add(policy.Delete, old)
				case exists && old.MAC != rec.MAC:
					add(policy.Delete, old)
					fallthrough
				default:
					for _, other := range there { // gets the old one's place, or none
						if other.PA == rec.PA && other.Key() != rec.Key() && !used[other.Key()] {
							if exists && r.IntN(2) == 0 && old.PA.Is4() == other.PA.Is4() {
								other.PA = old.PA
								add(policy.Put, other)
							} else {
								add(policy.Delete, other)
							}
						}
					}
					add(policy.Put, rec)
				}
			}
			some, err := b.Apply(changes)
			if err != nil {
				continue
			}
			r.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
			applied = append(applied, some...)
		}
		if len(applied) == 0 {
			continue
		}
		g := c.Update(applied, b, d, hopMAC)
		now := content(g)
		same(t, now, content(NewCompiler().Compile(b, d, hopMAC)))
		moved++
		if !slices.Equal(f.PAs, g.PAs) {
			dressed++
		}
		if f = g; r.IntN(10) == 0 {
			versions = append(versions, version{g, now})
		}
	}
	for _, v := range versions {
		same(t, content(v.f), v.content)
	}
	c.audit(t)
	t.Logf("%d updates, %d with other MACs of PAs", moved, dressed)
	if moved < 1000 || dressed < 300 {
		t.Error("the generator is too tame")
	}
}

// The PA of a VM that uses its own MAC has that, until it does not (R7); overhead is
// the mode's (R15).
func TestR6_R7_R15OwnersPA(t *testing.T) {
	set := ownerPolicy()
	vm := policy.LookupRecord{VSID: 7001, CA: addr("10.1.0.10"), MAC: packet.MAC{2, 3}, PA: addr("192.168.1.51"), UseVMMAC: true}
	far := policy.LookupRecord{VSID: 7001, CA: addr("10.1.0.11"), MAC: packet.MAC{2, 4}, PA: addr("192.168.1.60"), UseVMMAC: true}
	set.LookupRecords = append(set.LookupRecords, vm, far)
	b, d, c := bookOf(set), devicesOf(set), NewCompiler()
	f := c.Compile(b, d, hopMAC)
	check := func(f *FIB, mac packet.MAC) {
		t.Helper()
		pa := localPA(f, "192.168.1.51")
		if f.PAs[pa].MAC != mac {
			t.Errorf("the PA's MAC is %v, want %v", f.PAs[pa].MAC, mac)
		}
		a := f.Adj(f.Lookup4(f.Domain(7001), 0x0a01000b), pa)
		if packet.Ethernet(a.Header[:]).Src() != mac {
			t.Errorf("frames come from %v, want %v", packet.Ethernet(a.Header[:]).Src(), mac)
		}
		if e := f.Lookup4(f.Domain(7001), 0x0a01000b); f.Limit(e, a) != 1500 || f.Limit(f.Lookup4(f.Domain(6001), 0x0a01010c), a) != 1458 {
			t.Errorf("limits %v", a.Limit)
		}
	}
	check(f, vm.MAC)
	update := func(v policy.Verb, o policy.Object) *FIB {
		t.Helper()
		applied, err := b.Apply([]policy.Change{{Verb: v, Object: o}})
		if err != nil {
			t.Fatal(err)
		}
		return c.Update(applied, b, d, hopMAC)
	}
	if o := f.Owner4(0xc0a80133); o == nil || o.CA() != 0x0a01000a || o.RD() != f.Domain(7001) || o.Flags != LocalVM|OwnMAC || f.Locals[o.Dest].PA != localPA(f, "192.168.1.51") {
		t.Errorf("the PA belongs to %+v", o)
	}
	if o := f.Owner4(0xc0a80214); o != nil {
		t.Errorf("a PA that NVGRE's VMs share belongs to %+v", o)
	}
	vm.UseVMMAC = false
	check(update(policy.Put, vm), packet.MAC{2, 51})
	vm.UseVMMAC = true
	check(update(policy.Put, vm), vm.MAC)
	check(c.Update(nil, b, d, hopMAC), vm.MAC)
	g := update(policy.Delete, vm)
	check(g, packet.MAC{2, 51})
	if o := g.Owner4(0xc0a80133); o != nil {
		t.Errorf("the PA of a record that went belongs to %+v", o)
	}
	if o := f.Owner4(0xc0a80133); o == nil {
		t.Error("the version before has changed")
	}
}

func localPA(f *FIB, pa string) uint16 {
	b, v6 := flat(addr(pa))
	return f.LocalPA(&b, v6)
}
