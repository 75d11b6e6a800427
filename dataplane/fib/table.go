package fib

import (
	"encoding/binary"
	"iter"
	"math/bits"
	"slices"
)

// A table is a directory of chunks: the top bits of a key's hash choose the
// chunk, the others a place in it, from where the search goes on to the next
// empty slot. Nothing of it changes once it was published. A new version copies
// the directory and the chunks that an edit touches, and shares the others.
type table[S slot[S]] struct {
	chunks []chunk[S] // a power of two
	shift  uint8      // 63 - log2(len(chunks))
	used   int
}

// chunk is an open-addressed hash table with linear probing, never more than
// three quarters full.
type chunk[S slot[S]] struct {
	slots []S // any number but none; free of pointers
	used  int
}

// slot is an entry with its key, or empty when it is zero.
type slot[S any] interface {
	empty() bool
	hash() uint64
	same(S) bool // has the same key
	is(S) bool   // stands for the same object of policy, whatever its other fields
}

// perChunk is how many entries a chunk has on average, at most. Directory and
// chunks share the work of a change: at a million records, one change copies 64
// kB of directory and a chunk of about 20 kB.
const perChunk = 512

// edit is one change of a table.
type edit[S slot[S]] struct {
	slot S
	op   op
}

type op uint8

const (
	put    op = iota // whatever the key has now
	fill             // if the key has nothing
	remove           // if the key has slot
)

// Any odd constant with well-spread bits serves to multiply; this is 2^64 over
// the golden ratio.
const spread = 0x9E3779B97F4A7C15

// mix folds both halves of the product together: the upper bits of a product
// are good in its lower half, the lower ones in its upper half.
func mix(key uint64) uint64 {
	hi, lo := bits.Mul64(key, spread)
	return hi ^ lo
}

// chunk is the chunk that a hash belongs to. The mask tells the compiler that
// the shift needs no test.
func (t *table[S]) chunk(hash uint64) int { return int(hash >> 1 >> (t.shift & 63)) }

// place is where in n slots the search for a hash begins. It takes the lower
// half, since the upper bits are the same in all of a chunk.
func place(hash uint64, n int) int { return int(uint64(uint32(hash)) * uint64(n) >> 32) }

// directory is the logarithm of the number of chunks for n entries.
func directory(n int) int { return bits.Len(uint(n / perChunk)) }

func newTable[S slot[S]](log int) table[S] {
	t := table[S]{chunks: make([]chunk[S], 1<<log), shift: uint8(63 - log)}
	none := chunk[S]{slots: make([]S, 1)}
	for i := range t.chunks {
		t.chunks[i] = none
	}
	return t
}

// with is the table after the edits, which are made in their order. gone is told
// of every slot that was removed, or replaced.
func (t table[S]) with(edits []edit[S], gone func(S)) table[S] {
	if len(edits) == 0 {
		return t
	}
	n := t.used
	for i := range edits {
		if edits[i].op != remove {
			n++
		}
	}
	// The directory grows when it must and shrinks when it is far too large.
	if have, want := len(t.chunks), 1<<directory(n); have < want || have > 4*want {
		all := make([]edit[S], 0, n)
		for s := range t.all() {
			all = append(all, edit[S]{slot: s})
		}
		edits = append(all, edits...)
		t = newTable[S](directory(n))
	} else {
		t.chunks = slices.Clone(t.chunks)
	}

	// Sorted by chunk, in their order within each.
	ends := make([]int, len(t.chunks)+1)
	for i := range edits {
		ends[t.chunk(edits[i].slot.hash())+1]++
	}
	for i := range t.chunks {
		ends[i+1] += ends[i]
	}
	sorted := make([]edit[S], len(edits))
	for i := range edits {
		at := &ends[t.chunk(edits[i].slot.hash())]
		sorted[*at] = edits[i]
		*at++
	}
	start := 0
	for i := range t.chunks {
		if end := ends[i]; end > start {
			c := &t.chunks[i]
			t.used -= c.used
			*c = c.with(sorted[start:end], gone)
			t.used += c.used
			start = end
		}
	}
	return t
}

func (t *table[S]) all() iter.Seq[S] {
	return func(yield func(S) bool) {
		for _, c := range t.chunks {
			for _, s := range c.slots {
				if !s.empty() && !yield(s) {
					return
				}
			}
		}
	}
}

// with is a copy of c with the edits made.
func (c chunk[S]) with(edits []edit[S], gone func(S)) chunk[S] {
	n := c.used
	for i := range edits {
		if edits[i].op != remove {
			n++
		}
	}
	c = c.sized(n)
	for i := range edits {
		e := &edits[i]
		at, found := c.find(e.slot)
		switch {
		case e.op == remove:
			if found && c.slots[at].is(e.slot) {
				gone(c.slots[at])
				c.removeAt(at)
			}
		case !found:
			c.slots[at] = e.slot
			c.used++
		case e.op == put:
			gone(c.slots[at])
			c.slots[at] = e.slot
		}
	}
	if sparse(c.used, len(c.slots)) {
		c = c.sized(c.used)
	}
	return c
}

func sparse(n, slots int) bool { return slots > 8+5*n/2 }

// sized is a copy of c with room for n entries: 5/3 slots for each when it has
// to be built anew, no less than 4/3.
func (c chunk[S]) sized(n int) chunk[S] {
	if have := len(c.slots); 4*n <= 3*have && n < have && !sparse(n, have) {
		return chunk[S]{slices.Clone(c.slots), c.used}
	}
	slots := slices.Grow([]S(nil), n+2*n/3+1)
	next := chunk[S]{slots: slots[:cap(slots)]} // whatever the allocator gives
	for _, s := range c.slots {
		if !s.empty() {
			at, _ := next.find(s)
			next.slots[at] = s
		}
	}
	next.used = c.used
	return next
}

// find is the slot that has the key of s, or the empty one where it belongs.
func (c *chunk[S]) find(s S) (at int, found bool) {
	for at = place(s.hash(), len(c.slots)); !c.slots[at].empty(); at = c.next(at) {
		if c.slots[at].same(s) {
			return at, true
		}
	}
	return at, false
}

func (c *chunk[S]) next(at int) int {
	if at++; at == len(c.slots) {
		return 0
	}
	return at
}

// removeAt empties a slot and moves those behind it up, as far as an empty slot
// in their way would hide them.
func (c *chunk[S]) removeAt(at int) {
	n := len(c.slots)
	for i := c.next(at); !c.slots[i].empty(); i = c.next(i) {
		home := place(c.slots[i].hash(), n)
		if (i-home+n)%n >= (i-at+n)%n {
			c.slots[at] = c.slots[i]
			at = i
		}
	}
	var none S
	c.slots[at] = none
	c.used--
}

// slot4 is empty when its routing domain is 0: compiled domains count from 1.
type slot4 struct {
	key uint64 // routing domain << 32 | CA
	Entry
}

func (s slot4) empty() bool       { return s.key == 0 }
func (s slot4) hash() uint64      { return mix(s.key) }
func (s slot4) same(o slot4) bool { return s.key == o.key }
func (s slot4) is(o slot4) bool   { return s.Entry.is(&o.Entry) }

// find4 finds the record of a CA.
func find4(t *table[slot4], rd, ca uint32) *Entry {
	if rd == 0 {
		return nil
	}
	key := uint64(rd)<<32 | uint64(ca)
	h := mix(key)
	slots := t.chunks[t.chunk(h)].slots
	for i := place(h, len(slots)); ; {
		s := &slots[i]
		if s.key == key {
			return &s.Entry
		}
		if s.key == 0 {
			return nil
		}
		if i++; i == len(slots) {
			i = 0
		}
	}
}

type slot6 struct {
	hi, lo uint64 // CA, big-endian
	rd     uint32 // 0: empty
	Entry
}

func hash6(rd uint32, hi, lo uint64) uint64 {
	return mix(lo ^ bits.RotateLeft64(hi*spread, 32) ^ uint64(rd)<<32)
}

func (s slot6) empty() bool       { return s.rd == 0 }
func (s slot6) hash() uint64      { return hash6(s.rd, s.hi, s.lo) }
func (s slot6) same(o slot6) bool { return s.lo == o.lo && s.hi == o.hi && s.rd == o.rd }
func (s slot6) is(o slot6) bool   { return s.Entry.is(&o.Entry) }

// find6 finds the record of a CA.
func find6(t *table[slot6], rd uint32, ca *[16]byte) *Entry {
	if rd == 0 {
		return nil
	}
	hi, lo := binary.BigEndian.Uint64(ca[:8]), binary.BigEndian.Uint64(ca[8:])
	h := hash6(rd, hi, lo)
	slots := t.chunks[t.chunk(h)].slots
	for i := place(h, len(slots)); ; {
		s := &slots[i]
		if s.lo == lo && s.hi == hi && s.rd == rd {
			return &s.Entry
		}
		if s.rd == 0 {
			return nil
		}
		if i++; i == len(slots) {
			i = 0
		}
	}
}

// subnetSlot gives a VSID its routing domain.
type subnetSlot struct{ vsid, rd uint32 } // VSID 0: empty

func (s subnetSlot) empty() bool            { return s.vsid == 0 }
func (s subnetSlot) hash() uint64           { return mix(uint64(s.vsid)) }
func (s subnetSlot) same(o subnetSlot) bool { return s.vsid == o.vsid }
func (s subnetSlot) is(o subnetSlot) bool   { return s == o }

// findDomain finds the routing domain of a VSID, or 0.
func findDomain(t *table[subnetSlot], vsid uint32) uint32 {
	h := mix(uint64(vsid))
	slots := t.chunks[t.chunk(h)].slots
	for i := place(h, len(slots)); ; {
		s := &slots[i]
		if s.vsid == vsid || s.vsid == 0 {
			return s.rd // an empty slot's is 0
		}
		if i++; i == len(slots) {
			i = 0
		}
	}
}
