package policy

import (
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
)

const million = 1_000_000

func benchRecord(n int) LookupRecord {
	return LookupRecord{
		VSID: VSID(5000 + n%16), CA: netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), MAC: mac(1),
		PA: netip.AddrFrom4([4]byte{192, 168, byte(n >> 8 % 4), byte(n)}),
	}
}

// benchChanges is 16 virtual subnets, then 1 M records.
func benchChanges() (subnets, records []Change) {
	for n := range 16 {
		subnets = append(subnets, Change{Add, VirtualSubnet{VSID: VSID(5000 + n), RDID: RDID{byte(n + 1)}, Prefixes: prefixes("10.0.0.0/8")}})
	}
	for _, n := range rand.Perm(million) {
		records = append(records, Change{Add, benchRecord(n + 2)})
	}
	return subnets, records
}

// BenchmarkApplyMillion adds 1 M records in sets of 1,000, in random order.
func BenchmarkApplyMillion(b *testing.B) {
	subnets, records := benchChanges()
	for b.Loop() {
		book := NewBook()
		for at := -1; at < million/1000; at++ {
			set := subnets
			if at >= 0 {
				set = records[at*1000 : at*1000+1000]
			}
			if _, err := book.Apply(set); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkApply is one change, and sets of 1,000, where there are 1 M records.
func BenchmarkApply(b *testing.B) {
	subnets, records := benchChanges()
	book := NewBook()
	for _, set := range [][]Change{subnets, records} {
		if _, err := book.Apply(set); err != nil {
			b.Fatal(err)
		}
	}
	for name, size := range map[string]int{"1": 1, "1000": 1000} {
		b.Run(name, func(b *testing.B) {
			n := 0
			for b.Loop() {
				set := make([]Change, size)
				for i := range set {
					n += 7919
					r := benchRecord(n%million + 2)
					r.PA = netip.AddrFrom4([4]byte{172, 16, byte(n >> 8), byte(n)})
					set[i] = Change{Put, r}
				}
				if _, err := book.Apply(set); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*size), "ns/change")
		})
	}
}

// BenchmarkReadMillion reads them all, sorted and not.
func BenchmarkReadMillion(b *testing.B) {
	subnets, records := benchChanges()
	book := NewBook()
	for _, set := range [][]Change{subnets, records} {
		if _, err := book.Apply(set); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("All", func(b *testing.B) {
		for b.Loop() {
			for range book.All(KindLookupRecord) {
			}
		}
	})
	b.Run("RecordsOf", func(b *testing.B) { // in a virtual subnet of 62,500
		for b.Loop() {
			for range book.RecordsOf(5001, mac(2)) {
			}
		}
	})
	b.Run("Records", func(b *testing.B) {
		for b.Loop() {
			for range book.Records() {
			}
		}
	})
}

// TestMemory holds a Book to so many bytes a record, with and without labels.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("makes 400,000 records")
	}
	const records = 200_000
	for name, c := range map[string]struct {
		mode  Mode
		label string
		most  uint64
	}{
		"encapsulated":        {NVGRE, "", 64},
		"rewritten":           {Rewrite, "", 112}, // each has a PA to itself
		"encapsulated, named": {NVGRE, "some-virtual-machine", 160},
	} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		book := NewBook()
		set := []Change{{Put, VirtualSubnet{VSID: 5000, RDID: blue, Prefixes: prefixes("10.0.0.0/8"), Mode: c.mode}}}
		for n := range records {
			r := benchRecord(n + 2)
			r.VSID, r.VMName = 5000, c.label
			if c.mode == Rewrite {
				r.PA = netip.AddrFrom4([4]byte{172, byte(n >> 16), byte(n >> 8), byte(n)})
			}
			if set = append(set, Change{Put, r}); len(set) >= 1000 || n == records-1 {
				if _, err := book.Apply(set); err != nil {
					t.Fatal(err)
				}
				set = nil
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if each := (after.HeapAlloc - before.HeapAlloc) / records; each > c.most {
			t.Errorf("%s: %d B a record, at most %d", name, each, c.most)
		} else {
			t.Logf("%s: %d B a record", name, each)
		}
		runtime.KeepAlive(book)
	}
}
