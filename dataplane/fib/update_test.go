package fib

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"paca/dataplane/packet"
	"paca/dataplane/policy"
)

// content is all that can be asked of a FIB, without the indexes by which it
// knows things and without what nothing refers to.
func content(f *FIB) []string {
	domain := map[uint32]uint32{} // its smallest VSID
	for s := range f.subnets.slots() {
		if v, ok := domain[s.rd]; !ok || s.vsid < v {
			domain[s.rd] = s.vsid
		}
	}
	var all []string
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	for s := range f.subnets.slots() {
		add("subnet %d in %d", s.vsid, domain[s.rd])
	}
	pas := func(entries []Entry) (all []string) {
		for i := range entries {
			r := f.Remote(&entries[i])
			all = append(all, fmt.Sprint(unflat(r.Addr, r.V6), r.Limit))
		}
		slices.Sort(all)
		return all
	}
	for s := range f.subnets.slots() {
		v := *f.Subnet(s.vsid)
		slices.SortFunc(v.Groups, func(a, b Group) int { return a.CA.Compare(b.CA) })
		add("subnet %d %v ports %v behind %v routers %v L2Only %v %d", v.VSID, v.Mode, v.Ports, pas(v.Remotes), v.Routers, v.L2Only, v.l2only)
		for _, g := range v.Groups {
			add("subnet %d group %v to %v", v.VSID, g.CA, pas(g.To))
		}
		d := f.domains.at(s.rd)
		gateways := make([]Entry, len(d.gateways))
		for i := range gateways {
			gateways[i].Dest = d.gateways[i]
		}
		add("domain of %d gateways %v", s.vsid, pas(gateways))
		for p, hops := range d.routes.All() {
			add("domain of %d %v by %v", s.vsid, p, hops)
		}
	}
	for s := range f.macs.slots() {
		add("MAC %x in %d: %v flags %d", s.key, s.vsid, s.Entry.MAC, s.Flags)
	}
	for _, g := range f.groups {
		add("group %v", unflat(g.addr, g.v6))
	}
	for i, p := range f.Ports {
		p.RD = domain[p.RD]
		add("port %d %+v", i, p)
	}
	for i, p := range f.PAs {
		add("PA %d %+v, shared at %d", i, p, shared(f, p.IP()))
	}
	owners := 0
	entry := func(rd uint32, ca netip.Addr, e *Entry) {
		at := fmt.Sprintf("%v in %d: VSID %d %v %v flags %d", ca, domain[rd], e.VSID, e.MAC, e.Mode, e.Flags)
		if e.owner() {
			pa := netip.AddrFrom16(f.paOf(e)).Unmap()
			if inRD, has, o := owner(f, pa); o == nil || inRD != rd || has != ca || *o != *e {
				add("%s IS NOT WHAT %v LEADS TO: %v in %d, %+v", at, pa, has, domain[inRD], o)
			}
			owners++
		}
		if f.Lookup(rd, ca) != e && *f.Lookup(rd, ca) != *e {
			add("%s CANNOT BE FOUND", at)
		}
		switch e.Flags &^ OwnMAC {
		case LocalVM:
			add("%s local %+v", at, f.Locals[e.Dest])
		case RouterCA:
			add("%s", at)
		default:
			r := f.Remote(e)
			add("%s behind %v", at, unflat(r.Addr, r.V6))
			for s := range f.PAs {
				a := *f.Adj(e, uint16(s))
				hop := Neighbor{}
				if a.NextHop != NoRoute {
					hop = f.NextHops[a.NextHop]
					a.NextHop = 0
				}
				add("%s from PA %d %+v over %+v", at, s, a, hop)
			}
		}
	}
	n := 0
	for s := range f.table4.slots() {
		entry(s.RD(), addr4(s.CA()), &s.Entry)
		n++
	}
	for s := range f.table6.slots() {
		entry(s.RD, netip.AddrFrom16(s.CA), &s.Entry)
		n++
	}
	if n += f.macs.all; n != f.Records() {
		add("%d RECORDS COUNTED AS %d", n, f.Records())
	}
	if all := f.owners4.all + f.owners6.all; owners != all {
		add("%d PAS OF %d RECORDS", all, owners)
	}
	slices.Sort(all)
	return all
}

// sameAs fails when two FIBs answer differently.
func sameAs(t *testing.T, got, want *FIB) {
	t.Helper()
	same(t, content(got), content(want))
}

func same(t *testing.T, got, want []string) {
	t.Helper()
	if slices.Equal(got, want) {
		return
	}
	for _, s := range got {
		if _, found := slices.BinarySearch(want, s); !found {
			t.Errorf("too much: %s", s)
		}
	}
	for _, s := range want {
		if _, found := slices.BinarySearch(got, s); !found {
			t.Errorf("missing: %s", s)
		}
	}
	t.FailNow()
}

// randomChanges is a change set, of what randomSet makes and of what is there;
// whether it is valid, the Book finds out.
func randomChanges(r *rand.Rand, b *policy.Book, next *policy.Set) (all []policy.Change) {
	now := b.Set()
	used := map[policy.Key]bool{}
	add := func(v policy.Verb, o policy.Object) {
		if !used[o.Key()] {
			used[o.Key()] = true
			all = append(all, policy.Change{Verb: v, Object: o})
		}
	}
	for range 1 + r.IntN(6) {
		switch k := r.IntN(24); {
		case k < 8 && len(next.LookupRecords) > 0:
			rec := pick(r, next.LookupRecords)
			rec.MAC = randomMAC(r)
			for _, old := range now.LookupRecords { // its CA is another's, whose place it takes
				if old.VSID == rec.VSID && old.CA == rec.CA && old.MAC != rec.MAC && !rec.CA.IsUnspecified() {
					add(policy.Delete, old)
				}
			}
			add(policy.Put, rec)
		case k < 11 && len(now.LookupRecords) > 0:
			rec := pick(r, now.LookupRecords)
			if o := pick(r, now.LookupRecords); r.IntN(4) == 0 && !rec.Router() && !o.Router() { // two swap places
				rec.PA, o.PA = o.PA, rec.PA
				add(policy.Put, o)
			} else if !rec.Router() {
				rec.PA = randomPA(r)
			}
			if vs, _ := b.Subnet(rec.VSID); vs.Mode == policy.Rewrite && !rec.Router() && r.IntN(3) == 0 {
				rec.UseVMMAC = !rec.UseVMMAC
			}
			add(policy.Put, rec)
		case k < 15 && len(now.LookupRecords) > 0:
			add(policy.Delete, pick(r, now.LookupRecords))
		case k < 17:
			add(policy.Put, pick(r, next.VirtualSubnets))
		case k == 17 && len(now.VirtualSubnets) > 0:
			vs := pick(r, now.VirtualSubnets)
			add(policy.Delete, vs)
			for _, rec := range now.LookupRecords {
				if rec.VSID == vs.VSID {
					add(policy.Delete, rec)
				}
			}
		case k == 18 && len(now.VirtualSubnets) > 1: // two subnets swap prefixes, and their routers
			x, y := pick(r, now.VirtualSubnets), pick(r, now.VirtualSubnets)
			for _, rec := range now.LookupRecords {
				if rec.VSID == x.VSID || rec.VSID == y.VSID {
					add(policy.Delete, rec)
				}
			}
			x.Prefixes, y.Prefixes = y.Prefixes, x.Prefixes
			if r.IntN(2) == 0 {
				x.Mode = policy.Rewrite - x.Mode
			}
			add(policy.Put, x)
			add(policy.Put, y)
			if ca, ok := policy.RouterCA(x.Prefixes[0]); ok && r.IntN(2) == 0 {
				add(policy.Put, policy.LookupRecord{VSID: x.VSID, CA: ca, MAC: randomMAC(r), PA: policy.RouterPA})
			}
		case k == 19:
			add(policy.Put, pick(r, next.Ports))
		case k == 20 && len(now.Ports) > 0:
			add(policy.Delete, pick(r, now.Ports))
		case k == 21 && len(next.ProviderAddresses) > 0:
			add(policy.Put, pick(r, next.ProviderAddresses))
		case k == 22 && len(now.ProviderAddresses) > 0:
			add(policy.Delete, pick(r, now.ProviderAddresses))
		case k == 23 && len(next.ProviderRoutes) > 0 && r.IntN(2) == 0:
			add(policy.Put, pick(r, next.ProviderRoutes))
		case k == 23 && len(now.ProviderRoutes) > 0:
			add(policy.Delete, pick(r, now.ProviderRoutes))
		}
	}
	return all
}

// Whatever the changes, an Update answers as a Compile of the same policy does,
// and every version before it as it did.
func TestUpdateIsCompile(t *testing.T) {
	r := random(t)
	const steps = 60
	updates, recompiled := 0, 0
	for range 25 {
		b := bookOf(randomSet(r))
		d := Devices{}
		plug := func() {
			for _, p := range b.Set().Ports {
				if _, open := d[p.Name]; !open && r.IntN(8) > 0 {
					taken := map[uint16]bool{}
					for _, dev := range d {
						taken[dev.Index] = true
					}
					i := uint16(r.IntN(4))
					for taken[i] {
						i++
					}
					d[p.Name] = Device{i, packet.MAC{2, 8, byte(r.IntN(3))}}
				}
			}
			for name := range d {
				if _, exists := b.Get(policy.Port{Name: name}.Key()); !exists || r.IntN(40) == 0 {
					delete(d, name)
				}
			}
		}
		plug()
		mood := neighbors
		c := NewCompiler()
		f := c.Compile(b, d, mood)
		type version struct {
			f       *FIB
			content []string
		}
		versions := []version{{f, content(f)}}
		for range steps {
			var applied []policy.Change
			for range 1 + r.IntN(2) { // several sets may come into force at once
				next := randomSet(r)
				if len(b.Set().VirtualSubnets) > 0 {
					next.VirtualSubnets = append(next.VirtualSubnets, b.Set().VirtualSubnets...)
				}
				for range 20 {
					changes := randomChanges(r, b, next)
					if some, err := b.Apply(changes); err == nil {
						r.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
						applied = append(applied, some...)
						break
					}
				}
			}
			if r.IntN(4) == 0 {
				d = maps.Clone(d)
				plug()
			}
			switch r.IntN(10) {
			case 0:
				mood = unresolved
			case 1, 2:
				mood = neighbors
			case 3:
				mood = hopMAC
			}
			g := c.Update(applied, b, d, mood)
			updates++
			if len(g.remotes) > 0 && len(f.remotes) > 0 && &g.remotes[0] != &f.remotes[0] {
				recompiled++
			}
			if g.Version != f.Version+1 {
				t.Fatalf("version %d after %d", g.Version, f.Version)
			}
			now := content(g)
			same(t, now, content(NewCompiler().Compile(b, d, mood)))
			versions = append(versions, version{g, now})
			if r.IntN(3) == 0 {
				h := g.WithNeighbors(hopMAC)
				versions = append(versions, version{h, content(h)})
			}
			f = g
		}
		for _, v := range versions {
			same(t, content(v.f), v.content)
		}
		c.audit(t)
	}
	t.Logf("%d updates, %d with other PAs of the fabric", updates, recompiled)
}

// audit counts references again, and what is kept without any.
func (c *Compiler) audit(t *testing.T) {
	t.Helper()
	remotes, locals := make([]uint32, len(c.remotes.refs)), make([]uint32, len(c.locals.refs))
	behind := map[uint64]uint32{}
	count := func(e *Entry) {
		switch {
		case e.Flags&RouterCA != 0:
		case e.Flags&LocalVM != 0:
			locals[e.Dest]++
		default:
			remotes[e.Dest]++
			if e.Mode != policy.Rewrite {
				behind[uint64(e.VSID)<<32|uint64(e.Dest)]++
			}
		}
	}
	for s := range c.fib.macs.slots() {
		count(&s.Entry)
	}
	for s := range c.fib.table4.slots() {
		count(&s.Entry)
	}
	for s := range c.fib.table6.slots() {
		count(&s.Entry)
	}
	for s := range c.fib.subnets.slots() {
		for _, g := range c.fib.Subnet(s.vsid).Groups {
			remotes[g.To[0].Dest]++
		}
	}
	if !maps.Equal(behind, c.behind) {
		t.Fatalf("records by VSID and PA counted %v, are %v", c.behind, behind)
	}
	if !slices.Equal(remotes, c.remotes.refs) || !slices.Equal(locals, c.locals.refs) {
		t.Fatalf("references counted %v and %v, are %v and %v", c.remotes.refs, c.locals.refs, remotes, locals)
	}
	idle := 0
	for _, n := range remotes {
		if n == 0 {
			idle++
		}
	}
	if idle != c.remotes.idle+len(c.remotes.free) || c.remotes.untidy() || c.locals.untidy() {
		t.Fatalf("%d of %d PAs without references, %d counted", idle, len(remotes), c.remotes.idle)
	}
}

// What is not open has no index: its PA stays one of this host's, and leads
// nowhere. An index without a port is Absent and matches nothing.
func TestClosedPorts(t *testing.T) {
	set := outerPolicy("192.168.1.20", 1500)
	set.LookupRecords = append(set.LookupRecords, policy.LookupRecord{VSID: 6001, CA: addr("10.1.1.11"), MAC: packet.MAC{2, 4}, PA: addr("192.168.1.10")})
	set.Ports[0] = policy.Port{Name: "vm", Role: policy.VM, VSID: 6001, MAC: packet.MAC{2, 4}, MTU: 1500}
	b, c := bookOf(set), NewCompiler()

	f := c.Compile(b, Devices{"vm": {Index: 2}}, hopMAC)
	if len(f.Ports) != 3 || f.Ports[0] != (Port{Role: Absent}) || f.Ports[1].Role != Absent || f.Ports[2].RD != f.Domain(6001) {
		t.Errorf("ports %+v", f.Ports)
	}
	local, other := f.Lookup4(1, 0x0a01010b), f.Lookup4(1, 0x0a01010c)
	if local.Flags != LocalVM || f.Locals[local.Dest] != (Local{Port: 2, PA: 0}) {
		t.Errorf("%+v is local at %+v", local, f.Locals)
	}
	if a := f.Adj(other, 0); a.State != AdjNoRoute || a.NextHop != NoRoute || f.PAs[0].Port != None || len(f.NextHops) != 0 {
		t.Errorf("out of a closed uplink: %+v over %v from %+v", a, f.NextHops, f.PAs[0])
	}

	f = c.Update(nil, b, Devices{"uplink0": {0, packet.MAC{2, 1}}}, hopMAC)
	if a := f.Adj(f.Lookup4(1, 0x0a01010c), 0); a.State != AdjReady || a.Port != 0 || len(f.Ports) != 1 {
		t.Errorf("out of an uplink that was opened: %+v, ports %+v", a, f.Ports)
	}
	if l := f.Locals[f.Lookup4(1, 0x0a01010b).Dest]; l.Port != None {
		t.Errorf("a VM whose port was closed is at %+v", l)
	}
}

// Next hops that nobody is behind any more are not asked for for ever.
func TestIdleNextHopsGo(t *testing.T) {
	const hosts = 200
	set := records(4000, hosts)
	b, d, c := bookOf(set), devicesOf(set), NewCompiler()
	c.Compile(b, d, neighbors)
	for i := range 20 * hosts { // hosts come, get a VM, and go
		rec := set.LookupRecords[0]
		rec.PA = addr4(0xac100000 + 16 + hosts + uint32(i))
		f := c.Update([]policy.Change{{Verb: policy.Put, Object: rec}}, b, d, neighbors)
		if len(f.NextHops) > hosts+hosts/4 || len(f.remotes) > hosts+hosts/4 {
			t.Fatalf("%d next hops and %d PAs, of which %d are in use", len(f.NextHops), len(f.remotes), hosts+1)
		}
	}
}

// A few entries, then very many at once: the table that was made roomy for them
// must not shrink again before they are in it (it did, and grew, and shrank).
func TestManyOntoFew(t *testing.T) {
	set := outerPolicy("192.168.2.20", 1500)
	b := bookOf(set)
	d := devicesOf(set)
	c := NewCompiler()
	c.Compile(b, d, hopMAC)
	var changes []policy.Change
	vs := set.VirtualSubnets[0]
	for i := range 200 {
		changes = append(changes, policy.Change{Verb: policy.Put, Object: policy.LookupRecord{
			VSID: vs.VSID, CA: netip.AddrFrom4([4]byte{10, 1, 1, byte(20 + i)}), MAC: packet.MAC{2, 0, 0, 0, 1, byte(i)}, PA: netip.MustParseAddr("192.168.2.20"),
		}})
	}
	wide := policy.VirtualSubnet{VSID: 7001, RDID: policy.RDID{9}, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.128.0.0/9")}}
	changes = append(changes, policy.Change{Verb: policy.Put, Object: wide})
	for i := range 50000 {
		changes = append(changes, policy.Change{Verb: policy.Put, Object: policy.LookupRecord{
			VSID: 7001, CA: netip.AddrFrom4([4]byte{10, 128, byte((i + 2) >> 8), byte(i + 2)}), MAC: packet.MAC{2, 0, 0, 1, byte(i >> 8), byte(i)}, PA: netip.MustParseAddr("192.168.2.20"),
		}})
	}
	applied, err := b.Apply(changes)
	if err != nil {
		t.Fatal(err)
	}
	f := c.Update(applied, b, d, hopMAC)
	if n := f.Records(); n < 50200 {
		t.Errorf("%d records", n)
	}
}

// Changes in whatever order they come leave what a Compile would make.
func TestUpdateOfGroupsAndExternalRouters(t *testing.T) {
	set := &policy.Set{
		Ports: []policy.Port{
			{Name: "uplink", Role: policy.Uplink, MAC: packet.MAC{2, 1}, MTU: 1500},
			{Name: "vm", Role: policy.VM, VSID: 5000, MAC: packet.MAC{2, 2}, MTU: 1500},
		},
		ProviderAddresses: []policy.ProviderAddress{{Prefix: prefix("192.168.1.1/24"), Port: "uplink"}},
		VirtualSubnets:    []policy.VirtualSubnet{{VSID: 5000, RDID: policy.RDID{1}, Prefixes: []netip.Prefix{prefix("10.0.0.0/24")}}},
	}
	b, c := bookOf(set), NewCompiler()
	f := c.Compile(b, devicesOf(set), neighbors)
	step := func(changes ...policy.Change) {
		t.Helper()
		applied, err := b.Apply(changes)
		if err != nil {
			t.Fatal(err)
		}
		old := f
		f = c.Update(applied, b, devicesOf(set), neighbors)
		sameAs(t, f, NewCompiler().Compile(b, devicesOf(set), neighbors))
		old.Way(addr("192.168.1.3"), 0) // must not see what came later
	}
	g := policy.LookupRecord{VSID: 5000, CA: addr("224.0.0.5"), MAC: packet.MAC{1, 0, 0x5e, 0, 0, 5}, PA: addr("239.1.1.1")}
	h := g
	h.MAC, h.PA = packet.Broadcast, addr("239.1.1.2")
	step(policy.Change{Verb: policy.Add, Object: g})
	step(policy.Change{Verb: policy.Add, Object: h}, policy.Change{Verb: policy.Delete, Object: g})
	step(policy.Change{Verb: policy.Delete, Object: h})

	step(policy.Change{Verb: policy.Put, Object: policy.Global{UseExternalRouter: true}})
	router := policy.LookupRecord{VSID: 5000, CA: addr("10.0.0.1"), MAC: packet.MAC{2, 9}, PA: addr("192.168.1.2")}
	step(policy.Change{Verb: policy.Add, Object: router})
	if got := f.Subnet(5000).Routers[0].MAC; got != router.MAC {
		t.Errorf("the router's MAC is %v", got)
	}
	router.PA = addr("192.168.1.3")
	step(policy.Change{Verb: policy.Put, Object: router})
	step(policy.Change{Verb: policy.Delete, Object: router})
}
