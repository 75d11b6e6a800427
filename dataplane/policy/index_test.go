package policy

import (
	"math/rand/v2"
	"testing"
)

// The index finds what a map finds, however things come and go, and takes no more
// room than it says.
func TestIndex(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	keys := []uint64{0} // by number
	x, twin := newIndex(func(n uint32) uint64 { return keys[n] }), map[uint64]uint32{}
	for _, size := range []int{10, 1000, 100_000} {
		for range 300_000 {
			k := r.Uint64N(uint64(size))
			n, there := twin[k]
			if got := x.find(k); got != n || there != (got != 0) {
				t.Fatalf("%d has number %d, want %d", k, got, n)
			}
			if !there {
				keys = append(keys, k)
				n = uint32(len(keys) - 1)
				x.add(n)
				twin[k] = n
			} else if r.IntN(2) == 0 {
				x.remove(n)
				delete(twin, k)
			}
			if x.all != len(twin) {
				t.Fatalf("%d things, want %d", x.all, len(twin))
			}
		}
	}
	for k, n := range twin {
		if x.find(k) != n {
			t.Fatalf("%d has number %d, want %d", k, x.find(k), n)
		}
	}
	for _, table := range x.tables {
		if used, places := table.used, len(table.places); used*8 > places*7 {
			t.Errorf("%d things in %d places", used, places)
		}
	}
}
