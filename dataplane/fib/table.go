package fib

import (
	"encoding/binary"
	"iter"
	"math/bits"
	"math/rand/v2"
	"slices"
	"unsafe"

	"paca/dataplane/packet"
	"paca/dataplane/unseen"
)

// A table is a directory of chunks of one size. A key's hash is a fraction of the
// directory: its integral part there is the chunk, what is left is a fraction of
// the chunk, from where the search goes on to the next empty slot. Nothing of it
// changes once it was published. A new version copies the directory and the
// chunks that an edit touches, and shares the others.
type table[S slot[S]] struct {
	chunks []*[chunkSlots]S // at least one
	spread uint64           // of the hash; odd
	used   []int32          // entries in each chunk
	all    int              // entries in all
}

// slot is an entry with its key, or empty when it is zero.
type slot[S any] interface {
	empty() bool
	hash(spread uint64) uint64
	same(S) bool // has the same key
	is(S) bool   // stands for the same object of policy, whatever its other fields
}

// A change among a million IPv4 records copies 13 kB of directory and 24 kB of
// chunk. A table is built with room for two thirds more entries than it has, and
// again when chunks are on average as full as crowded, or as empty as deserted,
// or one of them is full.
const (
	chunkBits  = 10
	chunkSlots = 1 << chunkBits

	roomy    = chunkSlots * 3 / 5
	crowded  = chunkSlots * 5 / 7
	deserted = chunkSlots / 4
	full     = chunkSlots * 7 / 8
)

// golden is 2^64 over the golden ratio: multiples of it lie well apart, and so do
// addresses handed out in order.
const golden = 0x9E3779B97F4A7C15

// mix spreads a key over 64 bits, the upper ones best. The multiply alone leaves
// keys that differ only in the routing domain too close together.
func mix(key, spread uint64) uint64 { return (key ^ key>>29) * spread }

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

// newTable makes a table for so many entries.
func newTable[S slot[S]](entries int, spread uint64) table[S] {
	n := entries/roomy + 1
	t := table[S]{chunks: make([]*[chunkSlots]S, n), used: make([]int32, n), spread: spread}
	var none [chunkSlots]S
	for i := range t.chunks {
		t.chunks[i] = &none
	}
	return t
}

// build puts an entry, whose key no other has, into a table that nobody reads yet.
func (t *table[S]) build(s S) {
	at, from := t.home(&s)
	if t.used[at] == 0 {
		t.chunks[at] = new([chunkSlots]S)
	}
	if t.used[at] == full {
		t.grow()
		t.build(s)
		return
	}
	i, _ := find(t.chunks[at], from, &s)
	t.chunks[at][i] = s
	t.used[at]++
	t.all++
}

// with is the table after the edits, which are made in their order. gone is told
// of every slot that was removed, or replaced.
func (t table[S]) with(edits []edit[S], gone func(S)) table[S] {
	if len(edits) == 0 {
		return t
	}
	ends, before := t.fit(edits), t.all
	t.chunks, t.used = slices.Clone(t.chunks), slices.Clone(t.used)

	// Sorted by chunk, in their order within each.
	sorted := make([]edit[S], len(edits))
	for i := range edits {
		at, _ := t.home(&edits[i].slot)
		sorted[ends[at]] = edits[i]
		ends[at]++
	}
	start := 0
	for at := range t.chunks {
		if end := ends[at]; end > start {
			t.edit(at, sorted[start:end], gone)
			start = end
		}
	}
	if n := len(t.chunks); n > 1 && t.all < min(before, n*deserted) { // not what was just made roomy
		t.resize(t.all, t.spread)
	}
	return t
}

// fit makes the table one that has room for what the edits add, and says where
// the edits of each chunk begin when they are sorted by chunk.
func (t *table[S]) fit(edits []edit[S]) (starts []int) {
	for {
		starts = make([]int, len(t.chunks)+1)
		used, all := slices.Clone(t.used), t.all
		for i := range edits {
			at, from := t.home(&edits[i].slot)
			starts[at+1]++
			if _, found := find(t.chunks[at], from, &edits[i].slot); !found && edits[i].op != remove {
				used[at]++
				all++
			}
		}
		n := len(t.chunks)
		switch {
		case all > n*crowded:
			t.resize(all, t.spread)
		case slices.Max(used) > full:
			t.grow()
		default:
			for i := range n {
				starts[i+1] += starts[i]
			}
			return starts
		}
	}
}

// resize builds the table anew, for so many entries.
func (t *table[S]) resize(entries int, spread uint64) {
	was := *t
	*t = newTable[S](entries, spread)
	for s := range was.slots() {
		t.build(s)
	}
}

// grow is for when a chunk is full: by chance, or because somebody chooses addresses
// for it, which nobody can for a spread that is not known.
func (t *table[S]) grow() { t.resize(len(t.chunks)*roomy*5/4, rand.Uint64()|1) }

// edit makes edits of one chunk in a copy of it.
func (t *table[S]) edit(at int, edits []edit[S], gone func(S)) {
	c := (*[chunkSlots]S)(slices.Clone(t.chunks[at][:]))
	t.chunks[at] = c
	for i := range edits {
		e := &edits[i]
		_, from := t.home(&e.slot)
		i, found := find(c, from, &e.slot)
		switch {
		case e.op == remove:
			if found && c[i].is(e.slot) {
				gone(c[i])
				t.empty(c, i)
				t.used[at]--
				t.all--
			}
		case !found:
			c[i] = e.slot
			t.used[at]++
			t.all++
		case e.op == put:
			gone(c[i])
			c[i] = e.slot
		}
	}
}

// home is the chunk of a key and where the search begins in it.
func (t *table[S]) home(s *S) (at, from uint64) {
	at, rest := bits.Mul64((*s).hash(t.spread), uint64(len(t.chunks)))
	return at, rest >> (64 - chunkBits)
}

// find is the slot that has the key of s, or the empty one where it belongs.
func find[S slot[S]](c *[chunkSlots]S, from uint64, s *S) (i uint64, found bool) {
	for i = from; !c[i%chunkSlots].empty(); i++ {
		if c[i%chunkSlots].same(*s) {
			return i % chunkSlots, true
		}
	}
	return i % chunkSlots, false
}

// empty empties slot i and moves those behind it up, as far as an empty slot in
// their way would hide them.
func (t *table[S]) empty(c *[chunkSlots]S, i uint64) {
	for j := i + 1; !c[j%chunkSlots].empty(); j++ {
		if _, from := t.home(&c[j%chunkSlots]); (j-from)%chunkSlots >= (j-i)%chunkSlots {
			c[i%chunkSlots] = c[j%chunkSlots]
			i = j
		}
	}
	var none S
	c[i%chunkSlots] = none
}

// slots is every entry.
func (t *table[S]) slots() iter.Seq[S] {
	return func(yield func(S) bool) {
		for _, c := range t.chunks {
			for i := range c {
				if !c[i].empty() && !yield(c[i]) {
					return
				}
			}
		}
	}
}

// slot4 is empty when its routing domain is 0: compiled domains count from 1.
type slot4 struct{ Owner4 }

func (s slot4) empty() bool               { return s.Key == 0 }
func (s slot4) hash(spread uint64) uint64 { return mix(s.Key, spread) }
func (s slot4) same(o slot4) bool         { return s.Key == o.Key }
func (s slot4) is(o slot4) bool           { return s.Entry.is(&o.Entry) }

// find4 finds the record of a CA, or nil. It, find6 and findSubnet are home and find
// once more, since a call by way of an interface costs as much as they do.
func find4(t *table[slot4], key uint64) *Owner4 {
	at, rest := bits.Mul64(mix(key, t.spread), uint64(len(t.chunks)))
	c := t.chunks[at]
	for i := rest >> (64 - chunkBits); ; i++ {
		s := &c[i%chunkSlots]
		if s.Key == 0 {
			return nil // also for key 0, which nothing has
		}
		if s.Key == key {
			return &s.Owner4
		}
	}
}

// cached is of how many chunks a table is that caches hold, more or less: 12 MB.
const cached = 512

// findAll4 is find4 for many CAs of a routing domain: the look-ups overlap. In a table
// that is larger than caches they overlap as far as a processor guesses right which
// slot a search ends at, so all of them are fetched first: a look-up among a million
// random records takes three quarters of the time.
func findAll4(t *table[slot4], rd uint32, cas []uint32, entries []unseen.Ref[Entry]) {
	chunks, spread, domain := t.chunks, t.spread, Key4(rd, 0)
	entries = entries[:len(cas)]
	if rd == 0 { // an empty slot is like 0 in it
		clear(entries)
		return
	}
	if len(chunks) > cached {
		for n, ca := range cas {
			at, rest := bits.Mul64(mix(domain|uint64(ca), spread), uint64(len(chunks)))
			entries[n] = unseen.To(&chunks[at][rest>>(64-chunkBits)].Entry)
		}
		unseen.Fetch(entries, 2*unsafe.Sizeof(slot4{}))
	}
	for n, ca := range cas {
		key := domain | uint64(ca)
		at, rest := bits.Mul64(mix(key, spread), uint64(len(chunks)))
		from := rest >> (64 - chunkBits)
		s := &chunks[at][from]
		e := unseen.To(&s.Entry)
		if s.Key != key {
			e = further(chunks[at], from, key)
		}
		entries[n] = e
	}
}

// further is the end of a search that is not where it began.
func further(c *[chunkSlots]slot4, from, key uint64) unseen.Ref[Entry] {
	for i := from; c[i%chunkSlots].Key != 0; i++ {
		if s := &c[i%chunkSlots]; s.Key == key {
			return unseen.To(&s.Entry)
		}
	}
	return 0
}

// slot6 is likewise.
type slot6 struct{ Owner6 }

func hash6(rd uint32, a *[16]byte, spread uint64) uint64 {
	hi, lo := binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(a[8:])
	return mix(lo^bits.RotateLeft64(hi*spread, 32)^uint64(rd)<<32, spread)
}

func (s slot6) empty() bool               { return s.RD == 0 }
func (s slot6) hash(spread uint64) uint64 { return hash6(s.RD, &s.CA, spread) }
func (s slot6) same(o slot6) bool         { return s.CA == o.CA && s.RD == o.RD }
func (s slot6) is(o slot6) bool           { return s.Entry.is(&o.Entry) }

// find6 finds the record of a CA, or nil.
func find6(t *table[slot6], rd uint32, ca *[16]byte) *Owner6 {
	at, rest := bits.Mul64(hash6(rd, ca, t.spread), uint64(len(t.chunks)))
	c := t.chunks[at]
	for i := rest >> (64 - chunkBits); ; i++ {
		s := &c[i%chunkSlots]
		if s.RD == 0 {
			return nil
		}
		if s.CA == *ca && s.RD == rd {
			return &s.Owner6
		}
	}
}

// findAll6 is findAll4 for IPv6.
func findAll6(t *table[slot6], rd uint32, cas [][16]byte, entries []unseen.Ref[Entry]) {
	chunks, spread := t.chunks, t.spread
	entries = entries[:len(cas)]
	if rd == 0 {
		clear(entries)
		return
	}
	if len(chunks) > cached {
		for n := range cas {
			at, rest := bits.Mul64(hash6(rd, &cas[n], spread), uint64(len(chunks)))
			entries[n] = unseen.To(&chunks[at][rest>>(64-chunkBits)].Entry)
		}
		unseen.Fetch(entries, 2*unsafe.Sizeof(slot6{}))
	}
	for n := range cas {
		ca := &cas[n]
		at, rest := bits.Mul64(hash6(rd, ca, spread), uint64(len(chunks)))
		from := rest >> (64 - chunkBits)
		s := &chunks[at][from]
		e := unseen.To(&s.Entry)
		if s.CA != *ca || s.RD != rd {
			e = further6(chunks[at], from, rd, ca)
		}
		entries[n] = e
	}
}

// further6 is further for IPv6.
func further6(c *[chunkSlots]slot6, from uint64, rd uint32, ca *[16]byte) unseen.Ref[Entry] {
	for i := from; c[i%chunkSlots].RD != 0; i++ {
		if s := &c[i%chunkSlots]; s.CA == *ca && s.RD == rd {
			return unseen.To(&s.Entry)
		}
	}
	return 0
}

// subnetSlot gives a VSID its routing domain and its Subnet.
type subnetSlot struct{ vsid, rd, at uint32 } // VSID 0: empty

func (s subnetSlot) empty() bool               { return s.vsid == 0 }
func (s subnetSlot) hash(spread uint64) uint64 { return mix(uint64(s.vsid), spread) }
func (s subnetSlot) same(o subnetSlot) bool    { return s.vsid == o.vsid }
func (s subnetSlot) is(o subnetSlot) bool      { return s == o }

// findSubnet finds a VSID; there is none if the slot is empty.
func findSubnet(t *table[subnetSlot], vsid uint32) *subnetSlot {
	at, rest := bits.Mul64(mix(uint64(vsid), t.spread), uint64(len(t.chunks)))
	c := t.chunks[at]
	for i := rest >> (64 - chunkBits); ; i++ {
		s := &c[i%chunkSlots]
		if s.vsid == vsid || s.vsid == 0 {
			return s
		}
	}
}

// slotMAC is a record without a CA.
type slotMAC struct {
	key  uint64 // of macKey; 0: empty
	vsid uint32
	Entry
}

// macKey is never 0.
func macKey(mac packet.MAC, v6 bool) uint64 {
	key := uint64(binary.BigEndian.Uint32(mac[:]))<<32 | uint64(binary.BigEndian.Uint16(mac[4:]))<<16 | 1
	if v6 {
		key |= 2
	}
	return key
}

func (s slotMAC) empty() bool               { return s.key == 0 }
func (s slotMAC) hash(spread uint64) uint64 { return mix(s.key^uint64(s.vsid)<<40, spread) }
func (s slotMAC) same(o slotMAC) bool       { return s.key == o.key && s.vsid == o.vsid }
func (s slotMAC) is(o slotMAC) bool         { return s.Entry.is(&o.Entry) }

// slotPA4 gives a PA that a VM has to itself the CA of its record (R6). It is no
// second copy of that: look-ups by PA find one after the other.
type slotPA4 struct{ pa, ca, rd uint32 } // PA 0: empty

func (s slotPA4) empty() bool               { return s.pa == 0 }
func (s slotPA4) hash(spread uint64) uint64 { return mix(uint64(s.pa), spread) }
func (s slotPA4) same(o slotPA4) bool       { return s.pa == o.pa }
func (s slotPA4) is(o slotPA4) bool         { return s == o }

// findPA4 is the Key of whose a PA is: 0 if it is nobody's.
func findPA4(t *table[slotPA4], pa uint32) uint64 {
	at, i := bits.Mul64(mix(uint64(pa), t.spread), uint64(len(t.chunks)))
	c := t.chunks[at]
	for i >>= 64 - chunkBits; ; i++ {
		if s := &c[i%chunkSlots]; s.pa == pa || s.pa == 0 {
			return uint64(s.rd)<<32 | uint64(s.ca)
		}
	}
}

type slotPA6 struct {
	pa, ca [16]byte
	rd     uint32 // 0: empty
}

func (s slotPA6) empty() bool               { return s.rd == 0 }
func (s slotPA6) hash(spread uint64) uint64 { return hash6(0, &s.pa, spread) }
func (s slotPA6) same(o slotPA6) bool       { return s.pa == o.pa }
func (s slotPA6) is(o slotPA6) bool         { return s == o }

func findPA6(t *table[slotPA6], pa *[16]byte) *slotPA6 {
	at, rest := bits.Mul64(hash6(0, pa, t.spread), uint64(len(t.chunks)))
	c := t.chunks[at]
	for i := rest >> (64 - chunkBits); ; i++ {
		s := &c[i%chunkSlots]
		if s.pa == *pa || s.rd == 0 {
			return s
		}
	}
}
