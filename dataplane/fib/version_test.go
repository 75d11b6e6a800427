package fib

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"paca/dataplane/packet"
	"paca/dataplane/policy"
)

func unresolved(uint16, uint16, netip.Addr) (packet.MAC, AdjState) {
	return packet.MAC{}, AdjUnresolved
}

// A version with other neighbours is a version of its own: it shares the
// tables, and the one before it stays as it was.
func TestWithNeighborsSharesTables(t *testing.T) {
	r := random(t)
	for range 50 {
		set := randomSet(r)
		f := compile(set, unresolved)
		hops, adjs := slices.Clone(f.NextHops), flatten(f.adjs)
		g := f.WithNeighbors(neighbors)

		if g.Version != f.Version+1 {
			t.Fatalf("version %d after %d", g.Version, f.Version)
		}
		if unsafe.SliceData(g.table4.chunks) != unsafe.SliceData(f.table4.chunks) || unsafe.SliceData(g.table6.chunks) != unsafe.SliceData(f.table6.chunks) ||
			unsafe.SliceData(g.remotes) != unsafe.SliceData(f.remotes) {
			t.Fatal("tables were copied")
		}
		if !slices.Equal(f.NextHops, hops) || !slices.Equal(flatten(f.adjs), adjs) {
			t.Fatal("the old version changed")
		}
		sameAs(t, g, compile(set, neighbors))
		// And back again: nothing is left of a MAC that is not known any more.
		if h := g.WithNeighbors(unresolved); !slices.Equal(h.NextHops, f.NextHops) || !slices.Equal(flatten(h.adjs), adjs) {
			t.Fatal("forgetting the neighbours left something behind")
		}
	}
}

func flatten(adjs [][]Adj) []Adj { return slices.Concat(adjs...) }

// Readers load the pointer and must find each version whole, while new ones are
// compiled and published: run with -race.
func TestPublishWhileReading(t *testing.T) {
	// Version v has CAs 10.1.1.2 to 10.1.1.1+v, all with MAC 02:…:v behind PA
	// 192.168.2.v, and next hop MAC 02:01:…:v.
	compile := func(v byte) *FIB {
		set := outerPolicy("192.168.2.20", 1500)
		set.LookupRecords = nil
		for ca := range v {
			set.LookupRecords = append(set.LookupRecords, policy.LookupRecord{
				VSID: 6001, CA: netip.AddrFrom4([4]byte{10, 1, 1, 2 + ca}), MAC: packet.MAC{2, 5: v}, PA: netip.AddrFrom4([4]byte{192, 168, 2, v}),
			})
		}
		f := compile(set, unresolved).WithNeighbors(func(uint16, uint16, netip.Addr) (packet.MAC, AdjState) {
			return packet.MAC{2, 1, 5: v}, AdjReady
		})
		f.Version = uint64(v)
		return f
	}
	const last = 200
	var published atomic.Pointer[FIB]
	published.Store(compile(1))
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for seen := uint64(0); seen < last; {
				f := published.Load()
				if f.Version < seen {
					t.Errorf("version %d after %d", f.Version, seen)
					return
				}
				seen = f.Version
				v := byte(seen)
				for ca := range uint32(last) {
					e := f.Lookup4(1, 0x0a010102+ca)
					if (e != nil) != (ca < uint32(v)) {
						t.Errorf("version %d: 10.1.1.%d is %v", v, 2+ca, e)
						return
					}
					if e == nil {
						break
					}
					a := f.Adj(e, 0)
					pa := [16]byte{192, 168, 2, v}
					if e.MAC != (packet.MAC{2, 5: v}) || !f.BehindPA(e, &pa, false) || packet.Ethernet(a.Header[:]).Dst() != (packet.MAC{2, 1, 5: v}) {
						t.Errorf("version %d: 10.1.1.%d is %v behind %v", v, 2+ca, e, a)
						return
					}
				}
			}
		})
	}
	for v := byte(2); v <= last; v++ {
		published.Store(compile(v))
	}
	readers.Wait()
}

// A fabric on one link has a next hop for each PA, however many.
func TestManyNextHops(t *testing.T) {
	const n = 1<<16 + 10
	set := records(n, n)
	f := compile(set, neighbors)
	if len(f.NextHops) != n {
		t.Fatalf("%d next hops, want %d", len(f.NextHops), n)
	}
	for i := range set.LookupRecords {
		rec := &set.LookupRecords[i]
		a := f.Adj(f.Lookup(f.Domain(uint32(rec.VSID)), rec.CA), 0)
		if f.NextHops[a.NextHop].Addr != rec.PA {
			t.Fatalf("%v is reached over %v", rec.PA, f.NextHops[a.NextHop].Addr)
		}
	}
}

// Look-ups of every outcome make no garbage.
func TestNoAllocations(t *testing.T) {
	f := compile(outerPolicy("192.168.2.20", 1500), hopMAC)
	hits := 0
	if n := testing.AllocsPerRun(100, func() {
		ca, pa := [16]byte{0: 0xfd}, [16]byte{192, 168, 2, 20}
		rd := f.Domain(6001)
		if e := f.Lookup4(rd, 0x0a01010c); e != nil && f.BehindPA(e, &pa, false) && f.Adj(e, 0).State == AdjReady {
			hits++
		}
		if f.Lookup4(rd, 1) != nil || f.Lookup6(rd, &ca) != nil || f.LocalPA(&pa, false) != None || f.Domain(1) != 0 {
			hits = -1 << 30
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if hits <= 0 {
		t.Error("not every look-up ended as it should")
	}
}
