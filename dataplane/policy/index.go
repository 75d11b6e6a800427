package policy

import (
	"hash/maphash"
	"math/bits"
)

// index finds things that have numbers, from 1, by their keys. It keeps the numbers
// and some of the keys' hashes, and asks whoever has the things for their keys: 11
// bytes for each, where a map with the keys of records takes 50. It consists of many
// tables, so that when it grows, it does so in small steps.
type index[K comparable] struct {
	key    func(n uint32) K
	seed   maphash.Seed
	tables [1 << tableBits]struct {
		places []entry // at most seven in eight have something
		used   int
	}
	all int
}

// entry is a number with the upper bits of what is left of its key's hash when
// tableBits are gone. Number 0: there is none.
type entry struct{ hash, n uint32 }

const tableBits = 8

func newIndex[K comparable](key func(n uint32) K) index[K] {
	return index[K]{key: key, seed: maphash.MakeSeed()}
}

func (x *index[K]) hash(k K) (table int, rest uint32) {
	h := maphash.Comparable(x.seed, k)
	return int(h >> (64 - tableBits)), uint32(h << tableBits >> 32)
}

// home is where the search for a hash begins.
func home(in []entry, hash uint32) int {
	at, _ := bits.Mul32(hash, uint32(len(in)))
	return int(at)
}

func next(in []entry, i int) int {
	if i++; i < len(in) {
		return i
	}
	return 0
}

// find is the number of what has the key, 0 if nothing has.
func (x *index[K]) find(k K) uint32 {
	table, hash := x.hash(k)
	if x.tables[table].used == 0 {
		return 0
	}
	in := x.tables[table].places
	for i := home(in, hash); ; i = next(in, i) {
		if p := in[i]; p.n == 0 || p.hash == hash && x.key(p.n) == k {
			return p.n
		}
	}
}

// add takes in what has a number, and a key that nothing has.
func (x *index[K]) add(n uint32) {
	table, hash := x.hash(x.key(n))
	t := &x.tables[table]
	if (t.used+1)*8 > len(t.places)*7 {
		was := t.places
		t.places = make([]entry, len(was)+len(was)/2+4)
		for _, p := range was {
			if p.n != 0 {
				p.into(t.places)
			}
		}
	}
	entry{hash, n}.into(t.places)
	t.used++
	x.all++
}

// into puts p where it is found.
func (p entry) into(in []entry) {
	i := home(in, p.hash)
	for in[i].n != 0 {
		i = next(in, i)
	}
	in[i] = p
}

// remove takes out what has a number and still has its key.
func (x *index[K]) remove(n uint32) {
	table, hash := x.hash(x.key(n))
	x.tables[table].used--
	x.all--
	in := x.tables[table].places
	i := home(in, hash)
	for in[i].n != n {
		i = next(in, i)
	}
	// Those behind it move up, as far as an empty place in their way would hide them.
	for j := next(in, i); in[j].n != 0; j = next(in, j) {
		if from := home(in, in[j].hash); (j-from+len(in))%len(in) >= (j-i+len(in))%len(in) {
			in[i] = in[j]
			i = j
		}
	}
	in[i] = entry{}
}
