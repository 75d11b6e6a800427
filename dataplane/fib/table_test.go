package fib

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"

	"paca/dataplane/packet"
	"paca/dataplane/policy"
)

// No number of entries, however it lies to a power of two, fills a table above
// three quarters or leaves it more than twice as large as it must be.
func TestTableLoad(t *testing.T) {
	check := func(n int) {
		slots, shift := sizeFor(n)
		if slots&(slots-1) != 0 || slots != 1<<(64-shift) {
			t.Fatalf("%d entries: %d slots, shift %d", n, slots, shift)
		}
		if 4*n > 3*slots || slots > 4 && 8*(n+1) < 3*slots {
			t.Fatalf("%d entries in %d slots", n, slots)
		}
	}
	for n := range 1 << 13 {
		check(n)
	}
	for log := 13; log < 31; log++ {
		for _, n := range []int{1 << log, 3 << (log - 2), 2 << log / 3} {
			for d := -2; d <= 2; d++ {
				check(n + d)
			}
		}
	}
}

func TestEmpty(t *testing.T) {
	f := Compile(&policy.Set{}, neighbors)
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
	f := Compile(&policy.Set{
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
func TestP21RouterMAC(t *testing.T) {
	set := &policy.Set{
		VirtualSubnets: []policy.VirtualSubnet{
			{VSID: 6001, RDID: policy.RDID{1}, Prefixes: []netip.Prefix{prefix("10.1.1.0/24"), prefix("fd00:1::/64")}},
			{VSID: 5001, RDID: policy.RDID{2}, Prefixes: []netip.Prefix{prefix("10.1.1.0/24")}, Mode: policy.Rewrite},
		},
		LookupRecords: []policy.LookupRecord{{VSID: 6001, CA: addr("10.1.1.1"), MAC: packet.MAC{2, 9}, PA: policy.RouterPA}},
	}
	if err := set.Validate(); err != nil {
		t.Fatal(err)
	}
	f := Compile(set, neighbors)
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
// At three quarters full, a perfect hash takes 2.5 slots to find an entry.
func TestProbes(t *testing.T) {
	const n = 3<<14 - 1 // in 1<<16 slots: as full as can be
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
		tab := newTable4(n)
		for i := range n {
			rd, ca := key(i)
			tab.insert(rd, ca, Entry{})
		}
		mask := uint64(len(tab.slots) - 1)
		far := make([]uint64, 0, n)
		for at, s := range tab.slots {
			if s.key != 0 {
				far = append(far, 1+(uint64(at)-hash4(s.key)>>tab.shift)&mask)
			}
		}
		checkProbes(t, "IPv4, "+name, far)
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
		tab := newTable6(n)
		for i := range n {
			rd, hi, lo := key(i)
			var ca [16]byte
			binary.BigEndian.PutUint64(ca[:], hi)
			binary.BigEndian.PutUint64(ca[8:], lo)
			tab.insert(rd, ca, Entry{})
		}
		mask := uint64(len(tab.slots) - 1)
		far := make([]uint64, 0, n)
		for at, s := range tab.slots {
			if s.rd != 0 {
				far = append(far, 1+(uint64(at)-hash6(s.rd, s.hi, s.lo)>>tab.shift)&mask)
			}
		}
		checkProbes(t, "IPv6, "+name, far)
	}
}

func checkProbes(t *testing.T, name string, far []uint64) {
	t.Helper()
	sum, longest := uint64(0), uint64(0)
	for _, n := range far {
		sum += n
		longest = max(longest, n)
	}
	mean := float64(sum) / float64(len(far))
	t.Logf("%-27s %.2f slots on average, %d at most", name, mean, longest)
	if mean > 4 || longest > 1000 {
		t.Errorf("%s: %.2f slots on average, %d at most", name, mean, longest)
	}
}

// records is n IPv4 records over hosts PAs: domains of 4000 records, all with
// the same CAs.
func records(n, hosts int) *policy.Set {
	const perDomain = 4000
	s := &policy.Set{
		ProviderAddresses: []policy.ProviderAddress{{Prefix: prefix("172.16.0.1/12"), Port: "uplink0"}},
		Ports:             []policy.Port{{Name: "uplink0", MAC: packet.MAC{2, 1}, MTU: 1500}},
		LookupRecords:     make([]policy.LookupRecord, n),
	}
	for i := range s.LookupRecords {
		d, v := i/perDomain, i%perDomain
		vsid := policy.MinVSID + policy.VSID(d)
		if v == 0 {
			rdid := policy.RDID{1}
			binary.BigEndian.PutUint32(rdid[4:], uint32(d))
			s.VirtualSubnets = append(s.VirtualSubnets, policy.VirtualSubnet{VSID: vsid, RDID: rdid, Prefixes: []netip.Prefix{prefix("10.1.0.0/16")}})
		}
		s.LookupRecords[i] = policy.LookupRecord{
			VSID: vsid,
			CA:   addr4(0x0a010000 + 10 + uint32(v)),
			MAC:  packet.MAC{2, 0, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)},
			PA:   addr4(0xac100000 + 16 + uint32(i%hosts)),
		}
	}
	return s
}

// One million records cost no more than 96 bytes each, all that a FIB holds
// counted in.
func TestMemoryPerRecord(t *testing.T) {
	const n = 1_000_000
	set := records(n, 1000)
	f, grown := heapGrowth(func() *FIB { return Compile(set, neighbors) })
	if f.Records() != n+len(set.VirtualSubnets) {
		t.Fatalf("%d records, want %d and %d routers", f.Records(), n, len(set.VirtualSubnets))
	}
	per := float64(grown) / n
	t.Logf("%.1f bytes per record", per)
	if per > 96 {
		t.Errorf("%.1f bytes per record, want no more than 96", per)
	}
	runtime.KeepAlive(set)
}

func heapGrowth(build func() *FIB) (*FIB, int64) {
	live := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := live()
	f := build()
	return f, live() - before
}

func BenchmarkLookup4(b *testing.B) {
	for _, c := range []struct {
		name string
		n    int
	}{{"1k", 1000}, {"1M", 1_000_000}} {
		b.Run(c.name, func(b *testing.B) {
			set := records(c.n, 1000)
			f := Compile(set, neighbors)
			type key struct{ rd, ca uint32 }
			keys := make([]key, 1<<20)
			r := rand.New(rand.NewPCG(1, 2))
			for i := range keys {
				rec := &set.LookupRecords[r.IntN(c.n)]
				ca := rec.CA.As4()
				keys[i] = key{f.Domain(uint32(rec.VSID)), binary.BigEndian.Uint32(ca[:])}
			}
			b.ResetTimer()
			for i := range b.N {
				k := &keys[i&(len(keys)-1)]
				if f.Lookup4(k.rd, k.ca) == nil {
					b.Fatal("missed")
				}
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	for _, c := range []struct {
		name string
		n    int
	}{{"1k", 1000}, {"1M", 1_000_000}} {
		b.Run(c.name, func(b *testing.B) {
			set := records(c.n, 1000)
			b.ResetTimer()
			for range b.N {
				Compile(set, neighbors)
			}
		})
	}
}

func BenchmarkWithNeighbors(b *testing.B) {
	f := Compile(records(1_000_000, 1000), neighbors)
	b.ResetTimer()
	for range b.N {
		f.WithNeighbors(neighbors)
	}
}
