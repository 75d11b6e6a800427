package store

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"paca/dataplane/policy"
)

const million = 1_000_000

// sets is n records in sets of size, made anew for each caller.
func recordSets(n, size int) [][]policy.Change {
	all := make([][]policy.Change, 0, n/size)
	for at := 0; at < n; at += size {
		set := make([]policy.Change, 0, size)
		for i := at; i < at+size; i++ {
			set = append(set, policy.Change{Verb: policy.Put, Object: record(i)})
		}
		all = append(all, set)
	}
	return all
}

// BenchmarkCommitMillion commits 1 M records in sets of 1,000, each on disk
// before the next, and for comparison a hundred sets at a time.
func BenchmarkCommitMillion(b *testing.B) {
	sets := recordSets(million, 1000)
	for name, group := range map[string]int{"one by one": 1, "by the hundred": 100} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				path := filepath.Join(b.TempDir(), "policy.db")
				s := must(Open("bolt:" + path))
				b.StartTimer()
				for at := 0; at < len(sets); at += group {
					must(s.Commit(sets[at : at+group]))
				}
				b.StopTimer()
				s.Close()
				b.ReportMetric(float64(must(os.Stat(path)).Size())/million, "B/record")
				b.StartTimer()
			}
		})
	}
}

// BenchmarkCommitOne is one record changed where there are 1 M, on disk.
func BenchmarkCommitOne(b *testing.B) {
	s := must(Open("bolt:" + filepath.Join(b.TempDir(), "policy.db")))
	defer s.Close()
	must(s.Commit(recordSets(million, 10_000)))
	n := 0
	for b.Loop() {
		n += 7919
		rec := record(n % million)
		rec.PA = netip.AddrFrom4([4]byte{192, 168, byte(n >> 8), byte(n)})
		must(s.Commit([][]policy.Change{puts(rec)}))
	}
}

// BenchmarkLoadMillion is what a start costs the store: the file is opened,
// judged and read.
func BenchmarkLoadMillion(b *testing.B) {
	path := filepath.Join(b.TempDir(), "policy.db")
	s := must(Open("bolt:" + path))
	for _, set := range recordSets(million, 10_000) {
		must(s.Commit([][]policy.Change{set}))
	}
	s.Close()
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			must(Open("bolt:" + path)).Close()
		}
	})
	b.Run("load", func(b *testing.B) {
		s := must(Open("bolt:" + path))
		defer s.Close()
		for b.Loop() {
			n := 0
			_, all := s.Load()
			for _, err := range all {
				if err != nil {
					b.Fatal(err)
				}
				n++
			}
			if n != million {
				b.Fatal(n)
			}
		}
	})
}
