package fib

import (
	"cmp"
	"encoding/binary"
	"flag"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"paca/dataplane/packet"
	"paca/dataplane/policy"
)

var seedFlag = flag.Uint64("seed", 0, "repeat the random tests of this seed")

func random(t *testing.T) *rand.Rand {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("repeat with -seed=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func addr4(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, n)))
}

// twin answers from the policy set itself, slowly and plainly.
type twin struct {
	set     *policy.Set
	subnets map[policy.VSID]*policy.VirtualSubnet
	records map[twinKey]*policy.LookupRecord
	routers map[twinKey]twinRouter
}

type twinKey struct {
	rdid policy.RDID
	ca   netip.Addr
}

type twinRouter struct {
	vsid policy.VSID
	mac  packet.MAC
}

func newTwin(set *policy.Set) *twin {
	t := &twin{set, map[policy.VSID]*policy.VirtualSubnet{}, map[twinKey]*policy.LookupRecord{}, map[twinKey]twinRouter{}}
	for i := range set.VirtualSubnets {
		vs := &set.VirtualSubnets[i]
		t.subnets[vs.VSID] = vs
		for _, p := range vs.Prefixes {
			if ca, ok := policy.RouterCA(p); ok {
				t.routers[twinKey{vs.RDID, ca}] = twinRouter{vs.VSID, DefaultRouterMAC}
			}
		}
	}
	for i := range set.LookupRecords {
		r := &set.LookupRecords[i]
		k := twinKey{t.subnets[r.VSID].RDID, r.CA}
		switch {
		case r.CA.IsUnspecified():
		case r.Router():
			t.routers[k] = twinRouter{r.VSID, r.MAC}
		default:
			t.records[k] = r
		}
	}
	return t
}

// localPA is the index of a PA of this host, or -1.
func (t *twin) localPA(a netip.Addr) int {
	return slices.IndexFunc(t.set.ProviderAddresses, func(p policy.ProviderAddress) bool { return p.Prefix.Addr() == a })
}

// checkRoute sorts all routes of a domain to some CA, and takes the first that can
// be used of those as long as the longest (P9, P11, P12).
func (t *twin) checkRoute(tt *testing.T, f *FIB, r *rand.Rand) int {
	vs, ca := pick(r, t.set.VirtualSubnets), randomCA(r)
	var all []policy.CustomerRoute
	for _, c := range t.set.CustomerRoutes {
		if c.RDID == vs.RDID && c.Prefix.Contains(ca) {
			c.Metric++ // a subnet's own prefix comes first
			all = append(all, c)
		}
	}
	for _, o := range t.set.VirtualSubnets {
		for _, p := range o.Prefixes {
			if o.RDID == vs.RDID && p.Contains(ca) {
				all = append(all, policy.CustomerRoute{VSID: o.VSID, Prefix: p, NextHop: unspecified(p)})
			}
		}
	}
	slices.SortFunc(all, func(a, b policy.CustomerRoute) int {
		return cmp.Or(b.Prefix.Bits()-a.Prefix.Bits(), cmp.Compare(a.Metric, b.Metric), cmp.Compare(a.VSID, b.VSID), a.NextHop.Compare(b.NextHop))
	})
	var want *policy.LookupRecord
	for _, c := range all {
		if c.Prefix.Bits() < all[0].Prefix.Bits() || c.NextHop.IsUnspecified() {
			break
		}
		if rec := t.records[twinKey{c.RDID, c.NextHop}]; rec != nil && rec.VSID == c.VSID {
			want = rec
			break
		}
	}
	got := f.Route(f.Domain(uint32(vs.VSID)), ca)
	switch {
	case want == nil && got != nil, want != nil && (got == nil || got.VSID != uint32(want.VSID) || got.MAC != want.MAC):
		tt.Fatalf("%v in %v is routed to %+v, want %+v of %+v", ca, vs.RDID, got, want, all)
	case want == nil:
		return 0
	}
	return 1
}

// sameLink lists the PAs of this host on the link of PA s that have a on link.
func (t *twin) sameLink(s int, a netip.Addr) (all []int) {
	src := t.set.ProviderAddresses[s]
	for i, p := range t.set.ProviderAddresses {
		if p.Port == src.Port && p.VLAN == src.VLAN && p.Prefix.Contains(a) {
			all = append(all, i)
		}
	}
	return all
}

// nextHop sorts all ways from PA s to dst and takes the first (P16).
func (t *twin) nextHop(s int, dst netip.Addr) (netip.Addr, bool) {
	type way struct {
		bits   int
		metric uint32
		hop    netip.Addr
	}
	var ways []way
	for _, i := range t.sameLink(s, dst) {
		ways = append(ways, way{t.set.ProviderAddresses[i].Prefix.Bits(), 0, dst})
	}
	for _, r := range t.set.ProviderRoutes {
		if r.Port != t.set.ProviderAddresses[s].Port || !r.Prefix.Contains(dst) {
			continue
		}
		if r.NextHop.IsUnspecified() {
			ways = append(ways, way{r.Prefix.Bits(), r.Metric, dst})
		} else if r.NextHop.IsLinkLocalUnicast() || len(t.sameLink(s, r.NextHop)) > 0 {
			ways = append(ways, way{r.Prefix.Bits(), r.Metric, r.NextHop})
		}
	}
	if len(ways) == 0 {
		return netip.Addr{}, false
	}
	slices.SortStableFunc(ways, func(a, b way) int {
		if a.bits != b.bits {
			return b.bits - a.bits
		}
		return int(a.metric) - int(b.metric)
	})
	return ways[0].hop, true
}

// bookOf is a Book of a valid set.
func bookOf(s *policy.Set) *policy.Book {
	b := policy.NewBook()
	if _, err := b.Apply(puts(s)); err != nil {
		panic(err)
	}
	return b
}

// puts is the set as changes.
func puts(s *policy.Set) (all []policy.Change) {
	all = make([]policy.Change, 0, len(s.LookupRecords)+len(s.VirtualSubnets)+100)
	all = appendPuts(all, s.Ports)
	all = appendPuts(all, s.ProviderAddresses)
	all = appendPuts(all, s.ProviderRoutes)
	all = appendPuts(all, s.VirtualSubnets)
	all = appendPuts(all, s.CustomerRoutes)
	return appendPuts(all, s.LookupRecords)
}

func appendPuts[O policy.Object](to []policy.Change, objects []O) []policy.Change {
	for _, o := range objects {
		to = append(to, policy.Change{Verb: policy.Put, Object: o})
	}
	return to
}

// devicesOf has all ports open, in their order.
func devicesOf(s *policy.Set) Devices {
	d := Devices{}
	for i, p := range s.Ports {
		d[p.Name] = Device{uint16(i), p.MAC}
	}
	return d
}

// compile makes a FIB of a valid set.
func compile(s *policy.Set, r Resolve) *FIB { return NewCompiler().Compile(bookOf(s), devicesOf(s), r) }

func pick[T any](r *rand.Rand, of []T) T { return of[r.IntN(len(of))] }

// Small pools make collisions: CAs shared by domains, PAs near one another.
func randomCA(r *rand.Rand) netip.Addr {
	b := [16]byte{0: 0xfd, 3: byte(r.IntN(8)), 15: byte(r.IntN(24))}
	if r.IntN(2) == 0 {
		return netip.AddrFrom4([4]byte{10, 0, b[3], b[15]})
	}
	return netip.AddrFrom16(b)
}

func randomPA(r *rand.Rand) netip.Addr {
	if r.IntN(4) == 0 {
		return netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 7: byte(r.IntN(3)), 15: byte(1 + r.IntN(12))})
	}
	return netip.AddrFrom4([4]byte{192, 168, byte(r.IntN(4)), byte(1 + r.IntN(12))})
}

// randomPAFor is one for a record of a subnet, which if that is a rewrite subnet is of
// the CA's family (R21) and nobody else's (R6); none, if that needs too much luck.
func randomPAFor(r *rand.Rand, s *policy.Set, mode policy.Mode, ca netip.Addr) (pa netip.Addr, ok bool) {
	pa = randomPA(r)
	if b := pa.As16(); mode == policy.Rewrite && pa.Is4() && r.IntN(2) == 0 {
		pa = netip.AddrFrom4([4]byte{192, 168, b[14], byte(20 + r.IntN(200))})
	}
	if mode == policy.Rewrite && pa.Is4() != ca.Is4() {
		return pa, false
	}
	for _, o := range s.LookupRecords {
		at := slices.IndexFunc(s.VirtualSubnets, func(vs policy.VirtualSubnet) bool { return vs.VSID == o.VSID })
		if o.PA == pa && (mode == policy.Rewrite || s.VirtualSubnets[at].Mode == policy.Rewrite) {
			return pa, false
		}
	}
	return pa, true
}

var randomModes = []policy.Mode{policy.NVGRE, policy.NVGRE, policy.Rewrite}

func randomMAC(r *rand.Rand) packet.MAC { return packet.MAC{2, 0, 0, 0, 0, byte(r.IntN(6))} }

// randomSet is a policy that is valid and has little else to recommend it.
func randomSet(r *rand.Rand) *policy.Set {
	s := &policy.Set{}
	s.Ports = []policy.Port{
		{Name: "uplink0", Role: policy.Uplink, MAC: packet.MAC{2, 1}, MTU: 1500},
		{Name: "uplink1", Role: policy.Uplink, MAC: packet.MAC{2, 2}, MTU: 9000},
	}
	vsid := policy.MinVSID
	for d := range 1 + r.IntN(5) {
		for i := range 1 + r.IntN(6) {
			vsid += policy.VSID(1 + r.IntN(100))
			s.VirtualSubnets = append(s.VirtualSubnets, policy.VirtualSubnet{VSID: vsid, RDID: policy.RDID{byte(d + 1)}, Mode: pick(r, randomModes), Prefixes: []netip.Prefix{
				netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i)}), 24),
				netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 3: byte(i)}), 64),
			}})
			for range r.IntN(3) {
				s.Ports = append(s.Ports, policy.Port{Role: policy.VM, VSID: vsid, MAC: randomMAC(r), MTU: 1500})
			}
		}
	}
	for i := range s.Ports {
		if p := &s.Ports[i]; p.Name == "" {
			p.Name = string(rune('a' + i))
		}
	}
	s.Ports = slices.DeleteFunc(s.Ports, func(p policy.Port) bool { // one port for each vNIC
		at := slices.IndexFunc(s.Ports, func(q policy.Port) bool { return q.VSID == p.VSID && q.MAC == p.MAC })
		return s.Ports[at].Name != p.Name
	})
	for range r.IntN(6) {
		a := policy.ProviderAddress{Port: s.Ports[r.IntN(2)].Name, VLAN: pick(r, []uint16{0, 0, 103})}
		pa := randomPA(r)
		a.Prefix = netip.PrefixFrom(pa, pa.BitLen()-pick(r, []int{0, 8, 9, 16}))
		if r.IntN(3) == 0 {
			a.MAC = randomMAC(r)
		}
		if !slices.ContainsFunc(s.ProviderAddresses, func(b policy.ProviderAddress) bool { return b.Prefix.Addr() == pa }) {
			s.ProviderAddresses = append(s.ProviderAddresses, a)
		}
	}
	for range r.IntN(12) {
		hop := randomPA(r)
		p := policy.ProviderRoute{Port: s.Ports[r.IntN(2)].Name, NextHop: hop, Metric: uint32(r.IntN(3))}
		p.Prefix = netip.PrefixFrom(hop, pick(r, []int{0, 16, 24, 30, 32})).Masked()
		switch {
		case r.IntN(4) == 0 && hop.Is4():
			p.NextHop = netip.IPv4Unspecified()
		case r.IntN(4) == 0 && hop.Is6():
			p.NextHop = pick(r, []netip.Addr{netip.IPv6Unspecified(), addr("fe80::1")})
		}
		reachable := func(a policy.ProviderAddress) bool {
			return a.Port == p.Port && (a.Prefix.Contains(p.NextHop) || p.NextHop.IsLinkLocalUnicast())
		}
		same := func(q policy.ProviderRoute) bool {
			return q.Port == p.Port && q.Prefix == p.Prefix && q.NextHop == p.NextHop
		}
		if (p.NextHop.IsUnspecified() || slices.ContainsFunc(s.ProviderAddresses, reachable)) && !slices.ContainsFunc(s.ProviderRoutes, same) {
			s.ProviderRoutes = append(s.ProviderRoutes, p)
		}
	}
	wild := map[string]bool{} // which no look-up by CA may find
	for range r.IntN(12) {
		vs := pick(r, s.VirtualSubnets)
		rec := policy.LookupRecord{VSID: vs.VSID, CA: unspecified(netip.PrefixFrom(randomCA(r), 8)), MAC: randomMAC(r), Type: pick(r, []policy.RecordType{policy.GatewayWildcard, policy.L2Only})}
		if vs.Mode == policy.Rewrite {
			rec.Type = policy.L2Only // R25
		}
		pa, ok := randomPAFor(r, s, vs.Mode, rec.CA)
		rec.PA = pa
		if k := string(rec.Key()); !wild[k] && ok {
			wild[k] = true
			s.LookupRecords = append(s.LookupRecords, rec)
		}
	}
	seen := map[twinKey]bool{}
	for range r.IntN(200) {
		vs := pick(r, s.VirtualSubnets)
		rec := policy.LookupRecord{VSID: vs.VSID, CA: randomCA(r), MAC: randomMAC(r)}
		rec.UseVMMAC = vs.Mode == policy.Rewrite && r.IntN(2) == 0
		k := twinKey{vs.RDID, rec.CA}
		at := slices.IndexFunc(vs.Prefixes, func(p netip.Prefix) bool { return p.Contains(rec.CA) })
		if at < 0 || seen[k] {
			continue
		}
		if ca, _ := policy.RouterCA(vs.Prefixes[at]); rec.CA == ca {
			rec.PA, rec.UseVMMAC = policy.RouterPA, false
		} else if pa, ok := randomPAFor(r, s, vs.Mode, rec.CA); ok {
			rec.PA = pa
		} else {
			continue
		}
		seen[k] = true
		s.LookupRecords = append(s.LookupRecords, rec)
	}
	for range r.IntN(20) {
		vs, ca := pick(r, s.VirtualSubnets), randomCA(r)
		c := policy.CustomerRoute{RDID: vs.RDID, VSID: vs.VSID, NextHop: ca, Metric: uint32(r.IntN(3))}
		if len(s.LookupRecords) > 0 && r.IntN(4) > 0 {
			rec := pick(r, s.LookupRecords)
			at := slices.IndexFunc(s.VirtualSubnets, func(v policy.VirtualSubnet) bool { return v.VSID == rec.VSID })
			c.RDID, c.VSID, c.NextHop = s.VirtualSubnets[at].RDID, rec.VSID, rec.CA // perhaps of a wildcard: on-link
		}
		for ca.Is4() != c.NextHop.Is4() {
			ca = randomCA(r)
		}
		c.Prefix = netip.PrefixFrom(ca, pick(r, []int{0, 8, 24, ca.BitLen()})).Masked()
		if !slices.ContainsFunc(s.CustomerRoutes, func(o policy.CustomerRoute) bool { return o.Key() == c.Key() }) {
			s.CustomerRoutes = append(s.CustomerRoutes, c)
		}
	}
	return s
}

// neighbors knows some next hops and not others, by their last byte.
func neighbors(port, vlan uint16, a netip.Addr) (packet.MAC, AdjState) {
	b := a.As16()
	switch b[15] % 4 {
	case 0:
		return packet.MAC{}, AdjUnresolved
	case 1:
		return packet.MAC{}, AdjFailed
	}
	return packet.MAC{2, 7, byte(port), byte(vlan), b[14], b[15]}, AdjReady
}

func TestTwin(t *testing.T) {
	r := random(t)
	states, hits, routed, owned := map[AdjState]int{}, 0, 0, 0
	for range 300 {
		set := bookOf(randomSet(r)).Set() // with its lists in the order in which a Book has them
		f, w := compile(set, neighbors), newTwin(set)
		w.checkDomains(t, f, r)
		w.checkPAs(t, f, r)
		for range 400 {
			hits += w.probe(t, f, r)
			routed += w.checkRoute(t, f, r)
			owned += w.checkOwner(t, f, r)
		}
		for s := range set.ProviderAddresses {
			for _, rec := range w.records {
				w.checkAdj(t, f, s, rec, states)
			}
		}
	}
	if routed < 100 || owned < 1000 {
		t.Errorf("%d packets to gateways, %d to a VM's own PA: the generator is too tame", routed, owned)
	}
	t.Logf("%d hits; adjacencies by state: %v", hits, states)
	for s := AdjNoRoute; s <= AdjReady; s++ {
		if states[s] < 100 && s != AdjDuplicate { // which policy does not tell
			t.Errorf("state %d met %d times: the generator is too tame", s, states[s])
		}
	}
}

func (w *twin) checkDomains(t *testing.T, f *FIB, r *rand.Rand) {
	t.Helper()
	byDomain := map[uint32]policy.RDID{}
	for vsid, vs := range w.subnets {
		d := f.Domain(uint32(vsid))
		if known, ok := byDomain[d]; d == 0 || ok && known != vs.RDID {
			t.Fatalf("VSID %d of %v got domain %d, which is %v's", vsid, vs.RDID, d, known)
		}
		byDomain[d] = vs.RDID
	}
	for range 100 {
		v := uint32(r.IntN(1 << 13))
		if vs := w.subnets[policy.VSID(v)]; (vs != nil) != (f.Domain(v) != 0) {
			t.Fatalf("VSID %d, subnet %v, has domain %d", v, vs, f.Domain(v))
		}
	}
	if len(f.Ports) != len(w.set.Ports) {
		t.Fatalf("%d ports, want %d", len(f.Ports), len(w.set.Ports))
	}
	for i, p := range w.set.Ports { // indexes are as devicesOf gives them
		if got := f.Ports[i]; got.Role != p.Role || got.VSID != uint32(p.VSID) || got.MAC != p.MAC || int(got.MTU) != p.MTU || got.RD != f.Domain(uint32(p.VSID)) {
			t.Fatalf("port %v compiled to %v", p, got)
		}
	}
}

func (w *twin) checkPAs(t *testing.T, f *FIB, r *rand.Rand) {
	t.Helper()
	for i, a := range w.set.ProviderAddresses {
		port := int(f.PAs[i].Port)
		mac := a.MAC
		if mac.IsZero() {
			mac = w.set.Ports[port].MAC // W10
		}
		if rec := w.owner(a.Prefix.Addr()); rec != nil && rec.UseVMMAC {
			mac = rec.MAC // R7
		}
		if got := f.PAs[i]; unflat(got.Addr, got.V6) != a.Prefix.Addr() || w.set.Ports[port].Name != a.Port || got.VLAN != a.VLAN || got.MAC != mac {
			t.Fatalf("PA %v compiled to %v", a, got)
		}
	}
	for range 50 {
		pa := randomPA(r)
		b, v6 := flat(pa)
		want := None
		if i := w.localPA(pa); i >= 0 {
			want = uint16(i)
		}
		if got := f.LocalPA(&b, v6); got != want {
			t.Fatalf("local PA %v is %d, want %d", pa, got, want)
		}
		if w.owner(pa) != nil {
			want = None
		}
		if got := shared(f, pa); got != want {
			t.Fatalf("PA %v that is no VM's alone is %d, want %d", pa, got, want)
		}
	}
}

// lookup asks f for a CA of either family.
func lookup(f *FIB, rd uint32, ca netip.Addr) *Entry {
	if ca.Is4() {
		return f.Lookup4(rd, host4(ca))
	}
	b := ca.As16()
	return f.Lookup6(rd, &b)
}

// probe compares one random look-up, and returns 1 for a hit.
func (w *twin) probe(t *testing.T, f *FIB, r *rand.Rand) int {
	t.Helper()
	vs := pick(r, w.set.VirtualSubnets)
	ca := randomCA(r)
	if n := len(w.set.LookupRecords); n > 0 && r.IntN(2) == 0 { // wildcards too
		rec := &w.set.LookupRecords[r.IntN(n)]
		ca, vs = rec.CA, *w.subnets[rec.VSID]
	}
	rd := f.Domain(uint32(vs.VSID))
	if lookup(f, 0, ca) != nil || lookup(f, rd+1000, ca) != nil {
		t.Fatalf("%v found in a domain that does not exist", ca)
	}
	e := lookup(f, rd, ca)
	k := twinKey{vs.RDID, ca}
	router, isRouter := w.routers[k]
	rec := w.records[k]
	switch {
	case isRouter: // P20, P21
		if e == nil || e.Flags != RouterCA || e.VSID != uint32(router.vsid) || e.MAC != router.mac {
			t.Fatalf("router %v of %v compiled to %+v", router, vs.RDID, e)
		}
		pa, v6 := flat(randomPA(r))
		if f.BehindPA(e, &pa, v6) {
			t.Fatalf("router address %v is behind %v", ca, pa)
		}
		return 1
	case rec == nil:
		if e != nil {
			t.Fatalf("%v of %v found: %+v", ca, vs.RDID, e)
		}
		return 0
	case e == nil:
		t.Fatalf("%v of %v not found", ca, vs.RDID)
	}
	if e.VSID != uint32(rec.VSID) || e.MAC != rec.MAC || e.Mode != w.subnets[rec.VSID].Mode {
		t.Fatalf("record %v compiled to %+v", rec, e)
	}
	own := w.localPA(rec.PA)
	if (own >= 0) != (e.Flags&^OwnMAC == LocalVM) || rec.UseVMMAC != (e.Flags&OwnMAC != 0) {
		t.Fatalf("record %v, local PA %d, compiled to %+v", rec, own, e)
	}
	if own >= 0 {
		port := slices.IndexFunc(w.set.Ports, func(p policy.Port) bool {
			return p.Role == policy.VM && p.VSID == rec.VSID && p.MAC == rec.MAC
		})
		want := Local{uint16(port), uint16(own)} // -1 is None
		if got := f.Locals[e.Dest]; got != want {
			t.Fatalf("record %v is local at %v, want %v", rec, got, want)
		}
	}
	for _, pa := range []netip.Addr{rec.PA, randomPA(r)} { // L22
		b, v6 := flat(pa)
		if got, want := f.BehindPA(e, &b, v6), own < 0 && pa == rec.PA; got != want {
			t.Fatalf("record %v behind %v: %v", rec, pa, got)
		}
	}
	return 1
}

// owner is the record of a rewrite subnet with that PA, or nil (R6).
func (w *twin) owner(pa netip.Addr) *policy.LookupRecord {
	for _, rec := range w.records {
		if rec.PA == pa && w.subnets[rec.VSID].Mode == policy.Rewrite {
			return rec
		}
	}
	return nil
}

// checkOwner compares one random look-up by PA, and returns 1 for a hit (R6).
func (w *twin) checkOwner(t *testing.T, f *FIB, r *rand.Rand) int {
	t.Helper()
	pa := randomPA(r)
	if n := len(w.set.LookupRecords); n > 0 && r.IntN(2) == 0 {
		pa = w.set.LookupRecords[r.IntN(n)].PA
	}
	rec := w.owner(pa)
	rd, ca, e := owner(f, pa)
	switch {
	case rec == nil && e != nil, rec != nil && e == nil:
		t.Fatalf("PA %v belongs to %+v, want %+v", pa, e, rec)
	case rec == nil:
		return 0
	}
	if want := lookup(f, rd, rec.CA); rd != f.Domain(uint32(rec.VSID)) || ca != rec.CA || *e != *want {
		t.Fatalf("PA %v belongs to %v in domain %d, %+v; want %+v, %+v", pa, ca, rd, e, rec, want)
	}
	return 1
}

// shared asks f for a PA of this host, of either family, that is no VM's alone.
func shared(f *FIB, pa netip.Addr) uint16 {
	if b := pa.As16(); pa.Is6() {
		return f.SharedPA6(&b)
	}
	return f.SharedPA4(host4(pa))
}

// owner asks f for a PA of either family.
func owner(f *FIB, pa netip.Addr) (rd uint32, ca netip.Addr, e *Entry) {
	if pa.Is4() {
		if o := f.Owner4(host4(pa)); o != nil {
			return o.RD(), addr4(o.CA()), &o.Entry
		}
	} else {
		b := pa.As16()
		if o := f.Owner6(&b); o != nil {
			return o.RD, netip.AddrFrom16(o.CA), &o.Entry
		}
	}
	return 0, netip.Addr{}, nil
}

// checkAdj compares the way from PA s of this host to the PA of rec.
func (w *twin) checkAdj(t *testing.T, f *FIB, s int, rec *policy.LookupRecord, states map[AdjState]int) {
	t.Helper()
	if w.localPA(rec.PA) >= 0 {
		return
	}
	src := w.set.ProviderAddresses[s]
	a := f.Adj(lookup(f, f.Domain(uint32(rec.VSID)), rec.CA), uint16(s))
	states[a.State]++
	hop, ok := w.nextHop(s, rec.PA)
	switch {
	case src.Prefix.Addr().Is4() != rec.PA.Is4(): // W14
		if a.State != AdjFamily || a.NextHop != NoRoute {
			t.Fatalf("from %v to %v: %+v, want a clash of families", src, rec.PA, a)
		}
		return
	case !ok:
		if a.State != AdjNoRoute || a.NextHop != NoRoute {
			t.Fatalf("from %v to %v: %+v, want no route", src, rec.PA, a)
		}
		return
	case a.NextHop == NoRoute:
		t.Fatalf("from %v to %v: %+v, want next hop %v", src, rec.PA, a, hop)
	}
	n := f.NextHops[a.NextHop]
	mac, state := neighbors(n.Port, n.VLAN, hop)
	if n.Addr != hop || n.VLAN != src.VLAN || w.set.Ports[n.Port].Name != src.Port || n.MAC != mac || n.State != state || a.State != state {
		t.Fatalf("from %v to %v: %+v over %+v, want next hop %v, %v in state %d", src, rec.PA, a, n, hop, mac, state)
	}
	asker := w.set.ProviderAddresses[n.From]
	if asker.Port != src.Port || asker.VLAN != src.VLAN || asker.Prefix.Addr().Is4() != hop.Is4() {
		t.Fatalf("next hop %v of %v is asked for from %v, another link", hop, src, asker)
	}
	if on := w.sameLink(s, hop); len(on) > 0 && !slices.Contains(on, int(n.From)) {
		t.Fatalf("next hop %v is asked for from %v, which does not have it on link", hop, asker)
	}
	if packet.Ethernet(a.Header[:]).Dst() != mac || packet.Ethernet(a.Header[:]).Src() != f.PAs[s].MAC || int(a.Port) != int(n.Port) {
		t.Fatalf("from %v to %v: header %x out of port %d", src, rec.PA, a.Header[:a.Len], a.Port)
	}
}
