package fib

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"slices"
	"testing"

	"paca/dataplane/packet"
	"paca/dataplane/policy"
	"paca/dataplane/unseen"
)

// However entries come and go, one by one or all at once, no chunk gets full and
// not too many are empty.
func TestChunkLoad(t *testing.T) {
	r := random(t)
	check := func(tab *table[slot4], n int) {
		t.Helper()
		if have := len(tab.chunks); tab.all != n || n > have*crowded || have > 1 && n < have*deserted {
			t.Fatalf("%d entries, counted %d, in %d chunks", n, tab.all, have)
		}
		for i, c := range tab.chunks {
			used := 0
			for _, s := range c {
				if !s.empty() {
					used++
				}
			}
			if used != int(tab.used[i]) || used > full {
				t.Fatalf("%d entries in a chunk, counted %d", used, tab.used[i])
			}
		}
	}
	gone := 0
	count := func(slot4) { gone++ }
	for _, n := range []int{0, 1, 2, 3, 10, crowded, crowded + 1, 3000, 30_000} {
		all := make([]edit[slot4], n)
		for i, k := range r.Perm(n) {
			all[i].slot.Key = Key4(1, uint32(k))
		}
		one := newTable[slot4](0, golden)
		for i := range min(n, 2000) {
			one = one.with(all[i:i+1], count)
			if i%50 == 0 {
				check(&one, i+1)
			}
			again := all[i]
			again.op = fill
			one = one.with([]edit[slot4]{again}, count)
		}
		tab := newTable[slot4](0, golden).with(all, count)
		check(&tab, n)
		if gone != 0 {
			t.Fatalf("%d entries replaced, all were new", gone)
		}
		tab = tab.with(all, count)
		check(&tab, n)
		if gone != n {
			t.Fatalf("%d entries replaced, want %d", gone, n)
		}
		gone = 0
		for i := range all {
			all[i].op = remove
		}
		for left := n; left > 0; {
			k := min(left, 1+r.IntN(1+n/4))
			tab = tab.with(all[:k], count)
			all = all[k:]
			left -= k
			check(&tab, left)
			for _, e := range all[:min(len(all), 100)] {
				if find4(&tab, e.slot.Key) == nil {
					t.Fatalf("%#x is gone with others", e.slot.Key)
				}
			}
		}
		if gone != n {
			t.Fatalf("%d entries removed, want %d", gone, n)
		}
		gone = 0
	}
}

// Look-ups of a burst are look-ups one by one, in small tables and in those that are
// fetched from memory.
func TestLookupAll(t *testing.T) {
	r := random(t)
	for _, size := range []struct{ n, domains int }{{0, 3}, {1, 3}, {500, 250}, {600, 600}, {5000, 3}, {2 * cached * roomy, 3}} {
		n, domains := size.n, size.domains
		f := &FIB{table4: newTable[slot4](n, golden), table6: newTable[slot6](n, r.Uint64()|1)}
		six := func(ca uint32) (a [16]byte) { // two records in a prefix each
			binary.BigEndian.PutUint32(a[4:], ca/2)
			a[15] = byte(ca % 2)
			return a
		}
		for i := range n {
			rd, ca := 1+uint32(i%domains), uint32(i/domains)
			f.table4.build(slot4{Owner4{Key4(rd, ca), Entry{Dest: uint32(i)}}})
			f.table6.build(slot6{Owner6{six(ca), rd, Entry{Dest: uint32(i)}}})
		}
		if fetched := len(f.table4.chunks) > cached; fetched != (n > 5000) || fetched != (len(f.table6.chunks) > cached) {
			t.Fatalf("%d entries in %d and %d chunks", n, len(f.table4.chunks), len(f.table6.chunks))
		}
		hits := 0
		for range 10_000 {
			rd, cas := uint32(r.IntN(domains+2)), make([]uint32, r.IntN(65))
			cas6 := make([][16]byte, len(cas))
			for i := range cas {
				cas[i] = r.Uint32N(uint32(n/domains + n/8 + 2))
				cas6[i] = six(cas[i])
			}
			entries := make([]unseen.Ref[Entry], len(cas)+r.IntN(3))
			f.LookupAll4(rd, cas, entries)
			for i, ca := range cas {
				want := f.Lookup4(rd, ca)
				if entries[i].Get() != want {
					t.Fatalf("%d entries: %d in domain %d is %v among %d, %v alone", n, ca, rd, entries[i].Get(), len(cas), want)
				}
				if want != nil {
					hits++
				}
			}
			f.LookupAll6(rd, cas6, entries)
			for i := range cas6 {
				if want := f.Lookup6(rd, &cas6[i]); entries[i].Get() != want || (want == nil) != (f.Lookup4(rd, cas[i]) == nil) {
					t.Fatalf("%d entries: %x in domain %d is %v among %d, %v alone", n, cas6[i], rd, entries[i].Get(), len(cas6), want)
				}
			}
		}
		if n > 600 && hits < 10_000 {
			t.Errorf("%d entries: %d hits", n, hits)
		}
	}
}

// Addresses that were chosen to fall into one chunk do not.
func TestChosenAddresses(t *testing.T) {
	var all []edit[slot4]
	for i := range 50_000 {
		all = append(all, edit[slot4]{slot: slot4{Owner4{Key: Key4(1, uint32(i))}}})
	}
	tab := newTable[slot4](0, golden).with(all, nil)
	n := len(tab.chunks)
	var chosen []edit[slot4]
	for i := uint32(0); len(chosen) < 2000; i++ {
		e := edit[slot4]{slot: slot4{Owner4{Key: Key4(2, i)}}}
		if at, _ := tab.home(&e.slot); at == 0 {
			chosen = append(chosen, e)
		}
	}
	tab = tab.with(chosen, nil)
	if tab.all != 52_000 || len(tab.chunks) > 2*n || slices.Max(tab.used) > full {
		t.Fatalf("%d entries in %d chunks, the largest %d; there were %d", tab.all, len(tab.chunks), slices.Max(tab.used), n)
	}
	for i := range uint32(50_000) {
		if find4(&tab, Key4(1, i)) == nil {
			t.Fatalf("entry %d is gone", i)
		}
	}
}

func TestEmpty(t *testing.T) {
	f := compile(&policy.Set{}, neighbors)
	var ca [16]byte
	if f.Lookup4(1, 0) != nil || f.Lookup4(0, 0) != nil || f.Lookup6(1, &ca) != nil || f.Domain(0) != 0 || f.Domain(6001) != 0 || f.LocalPA(&ca, true) != None || f.Records() != 0 {
		t.Error("something was found in an empty policy")
	}
	f = f.WithNeighbors(neighbors)
	if f.Lookup4(1, 0) != nil || f.Version != 2 {
		t.Error("second version of an empty policy")
	}
}

func TestOneRecord(t *testing.T) {
	f := compile(&policy.Set{
		VirtualSubnets: []policy.VirtualSubnet{{VSID: 6001, RDID: policy.RDID{1}, Prefixes: []netip.Prefix{prefix("10.1.1.10/31")}}},
		LookupRecords:  []policy.LookupRecord{{VSID: 6001, CA: addr("10.1.1.11"), MAC: packet.MAC{2, 1}, PA: addr("192.168.1.10")}},
	}, neighbors)
	if e := f.Lookup4(f.Domain(6001), 0x0a01010b); e == nil || e.VSID != 6001 || e.Flags != 0 {
		t.Errorf("the one record is %v", e)
	}
	if f.Lookup4(f.Domain(6001), 0x0a01010a) != nil || f.Records() != 1 {
		t.Errorf("%d records, want 1", f.Records())
	}
}

// P20, P21: a router record names the MAC of the distributed router in one
// virtual subnet, all others have the default.
func TestA3_P21RouterMAC(t *testing.T) {
	set := &policy.Set{
		VirtualSubnets: []policy.VirtualSubnet{
			{VSID: 6001, RDID: policy.RDID{1}, Prefixes: []netip.Prefix{prefix("10.1.1.0/24"), prefix("fd00:1::/64")}},
			{VSID: 5001, RDID: policy.RDID{2}, Prefixes: []netip.Prefix{prefix("10.1.1.0/24")}, Mode: policy.Rewrite},
		},
		LookupRecords: []policy.LookupRecord{{VSID: 6001, CA: addr("10.1.1.1"), MAC: packet.MAC{2, 9}, PA: policy.RouterPA}},
	}
	f := compile(set, neighbors)
	for _, c := range []struct {
		vsid uint32
		ca   string
		want Entry
	}{
		{6001, "10.1.1.1", Entry{VSID: 6001, MAC: packet.MAC{2, 9}, Flags: RouterCA}},
		{6001, "fd00:1::1", Entry{VSID: 6001, MAC: DefaultRouterMAC, Flags: RouterCA}},
		{5001, "10.1.1.1", Entry{VSID: 5001, MAC: DefaultRouterMAC, Flags: RouterCA, Mode: policy.Rewrite}},
	} {
		if e := lookup(f, f.Domain(c.vsid), addr(c.ca)); e == nil || *e != c.want {
			t.Errorf("router %s of VSID %d is %+v, want %+v", c.ca, c.vsid, e, c.want)
		}
	}
	if DefaultRouterMAC[0]&3 != 2 {
		t.Errorf("%v is not a locally administered unicast address (A3)", DefaultRouterMAC)
	}
}

// Addresses are handed out in patterns; none of them may pile up in the table.
// Chunks are three fifths full, where a perfect hash takes 1.75 slots to find an
// entry.
func TestProbes(t *testing.T) {
	const n = 100_000
	r := random(t)
	for name, key := range map[string]func(i int) (rd, ca uint32){
		"one large subnet":    func(i int) (uint32, uint32) { return 1, 0x0a000000 + uint32(i) },
		"twelve per domain":   func(i int) (uint32, uint32) { return uint32(1 + i/12), 0x0a01010a + uint32(i%12) },
		"one per domain":      func(i int) (uint32, uint32) { return uint32(1 + i), 0x0a01010a },
		"one per /24":         func(i int) (uint32, uint32) { return 1, 0x0a000005 + uint32(i)<<8 },
		"one per /16, by 256": func(i int) (uint32, uint32) { return uint32(1 + i/256), 0x0a000005 + uint32(i%256)<<16 },
		"250 per /24, by 64":  func(i int) (uint32, uint32) { return uint32(1 + i/16000), uint32(i/250%64)<<8 + uint32(i%250) },
		"random":              func(int) (uint32, uint32) { return uint32(1 + r.IntN(1000)), r.Uint32() },
	} {
		edits := make([]edit[slot4], n)
		for i := range edits {
			edits[i].slot.Key = Key4(key(i))
		}
		checkProbes(t, "IPv4, "+name, edits)
	}
	for name, key := range map[string]func(i int) (rd uint32, hi, lo uint64){
		"one large subnet":  func(i int) (uint32, uint64, uint64) { return 1, 0xfd000001 << 32, uint64(i) },
		"twelve per domain": func(i int) (uint32, uint64, uint64) { return uint32(1 + i/12), 0xfd000001 << 32, uint64(i % 12) },
		"one per /64":       func(i int) (uint32, uint64, uint64) { return 1, 0xfd000001<<32 + uint64(i), 5 },
		"one per /48":       func(i int) (uint32, uint64, uint64) { return 1, 0xfd00<<48 + uint64(i)<<16, 5 },
		"EUI-64": func(i int) (uint32, uint64, uint64) {
			return 1, 0xfd000001 << 32, 0x0010_10ff_fe00_0000 + uint64(i)<<3
		},
		"random": func(int) (uint32, uint64, uint64) { return uint32(1 + r.IntN(1000)), r.Uint64(), r.Uint64() },
	} {
		edits := make([]edit[slot6], n)
		for i := range edits {
			rd, hi, lo := key(i)
			ca := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, hi), lo)
			edits[i].slot.RD, edits[i].slot.CA = rd, [16]byte(ca)
		}
		checkProbes(t, "IPv6, "+name, edits)
	}
}

func checkProbes[S slot[S]](t *testing.T, name string, edits []edit[S]) {
	t.Helper()
	tab := newTable[S](0, golden).with(edits, func(S) {})
	sum, longest := uint64(0), uint64(0)
	for _, c := range tab.chunks {
		for at, s := range c {
			if !s.empty() {
				_, from := tab.home(&s)
				far := 1 + (uint64(at)-from)%chunkSlots
				sum += far
				longest = max(longest, far)
			}
		}
	}
	mean := float64(sum) / float64(tab.all)
	unequal := float64(slices.Max(tab.used)) * float64(len(tab.chunks)) / float64(tab.all)
	t.Logf("%-27s %.2f slots on average, %d at most; largest chunk %.2f times the average", name, mean, longest, unequal)
	if mean > 2.5 || longest > 200 || unequal > 1.3 || tab.spread != golden {
		t.Errorf("%s: %.2f slots on average, %d at most; largest chunk %.2f times the average", name, mean, longest, unequal)
	}
}

// records is n IPv4 records over hosts PAs.
func records(n, hosts int) *policy.Set {
	s := &policy.Set{
		ProviderAddresses: []policy.ProviderAddress{{Prefix: prefix("172.16.0.1/12"), Port: "uplink0"}},
		Ports:             []policy.Port{{Name: "uplink0", MAC: packet.MAC{2, 1}, MTU: 1500}},
		LookupRecords:     make([]policy.LookupRecord, n),
	}
	for i := range s.LookupRecords {
		if i%perDomain == 0 {
			s.VirtualSubnets = append(s.VirtualSubnets, domainOf(i))
		}
		s.LookupRecords[i] = recordOf(i, hosts)
	}
	return s
}

// routed has the PAs behind a router instead of on link.
func routed(s *policy.Set) *policy.Set {
	s.ProviderAddresses[0].Prefix = prefix("192.168.1.10/24")
	s.ProviderRoutes = []policy.ProviderRoute{{Port: "uplink0", Prefix: prefix("0.0.0.0/0"), NextHop: addr("192.168.1.1")}}
	return s
}

// rewritten has IP rewrite in all subnets.
func rewritten(s *policy.Set) *policy.Set {
	for i := range s.VirtualSubnets {
		s.VirtualSubnets[i].Mode = policy.Rewrite
	}
	return s
}

// ipv6 has IPv6 addresses in the place of all IPv4 ones.
func ipv6(s *policy.Set) *policy.Set {
	six := func(a netip.Addr) netip.Addr {
		b := a.As4()
		return netip.AddrFrom16([16]byte{0: 0xfd, 1: 1, 12: b[0], 13: b[1], 14: b[2], 15: b[3]})
	}
	wide := func(p netip.Prefix) netip.Prefix { return netip.PrefixFrom(six(p.Addr()), p.Bits()+96) }
	for i := range s.VirtualSubnets {
		s.VirtualSubnets[i].Prefixes[0] = wide(s.VirtualSubnets[i].Prefixes[0]).Masked()
	}
	for i := range s.ProviderAddresses {
		s.ProviderAddresses[i].Prefix = wide(s.ProviderAddresses[i].Prefix)
	}
	for i := range s.ProviderRoutes {
		r := &s.ProviderRoutes[i]
		r.Prefix, r.NextHop = netip.PrefixFrom(netip.IPv6Unspecified(), 0), six(r.NextHop)
	}
	for i := range s.LookupRecords {
		r := &s.LookupRecords[i]
		r.CA, r.PA = six(r.CA), six(r.PA)
	}
	return s
}

// One million IPv4 records cost no more than 96 bytes each, all that a FIB holds
// counted in, even with a PA for each and found by that as well.
func TestMemoryPerRecord(t *testing.T) {
	const million, few = 1_000_000, 200_000
	for _, c := range []struct {
		name string
		set  *policy.Set
		most float64
	}{
		{"1,000 PAs on link", records(million, 1000), 48},
		{"a PA for each, over a router", routed(records(million, million)), 96},
		{"rewritten, over a router", rewritten(routed(records(million, million))), 96},
		{"IPv6, 1,000 PAs on link", ipv6(records(few, 1000)), 76},
		{"IPv6, rewritten, over a router", ipv6(rewritten(routed(records(few, few)))), 170},
	} {
		n := len(c.set.LookupRecords)
		b, d := bookOf(c.set), devicesOf(c.set)
		subnets := len(c.set.VirtualSubnets)
		c.set = nil
		before := heap()
		compiler := NewCompiler()
		f := compiler.Compile(b, d, neighbors)
		if f.Records() != n+subnets {
			t.Fatalf("%d records, want %d and %d routers", f.Records(), n, subnets)
		}
		both := float64(heap()-before) / float64(n)
		runtime.KeepAlive(compiler)
		per := float64(heap()-before) / float64(n)
		t.Logf("%-32s %5.1f bytes per record, and %.1f in the compiler", c.name, per, both-per)
		if per > c.most {
			t.Errorf("%s: %.1f bytes per record, want no more than %v", c.name, per, c.most)
		}
		runtime.KeepAlive(f)
		runtime.KeepAlive(b)
	}
}

// heap is how many bytes are in use.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
