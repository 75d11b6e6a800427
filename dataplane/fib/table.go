package fib

import (
	"encoding/binary"
	"math/bits"
)

// The tables are open-addressed with linear probing, never more than three
// quarters full and never changed once built. A slot with routing domain 0 is
// empty: compiled domains count from 1.

type slot4 struct {
	key uint64 // routing domain << 32 | CA
	Entry
}

type table4 struct {
	slots []slot4 // a power of two
	shift uint8   // 64 - log2(len(slots))
	used  int
}

// Any odd constant with well-spread bits serves to multiply; this is 2^64 over
// the golden ratio.
const spread = 0x9E3779B97F4A7C15

func hash4(key uint64) uint64 {
	// The multiply alone leaves keys that differ only in the routing domain
	// too close together.
	key ^= key >> 29
	return key * spread
}

func (t *table4) find(rd, ca uint32) *Entry {
	key := uint64(rd)<<32 | uint64(ca)
	mask := uint64(len(t.slots) - 1)
	if key>>32 == 0 {
		return nil
	}
	for i := hash4(key) >> (t.shift & 63); ; i++ {
		s := &t.slots[i&mask]
		if s.key == key {
			return &s.Entry
		}
		if s.key == 0 {
			return nil
		}
	}
}

// sizeFor is the number of slots, and its shift, for n entries.
func sizeFor(n int) (slots int, shift uint8) {
	log := max(bits.Len(uint(n+n/3)), 2)
	return 1 << log, uint8(64 - log)
}

func newTable4(n int) table4 {
	slots, shift := sizeFor(n)
	return table4{slots: make([]slot4, slots), shift: shift}
}

func (t *table4) insert(rd, ca uint32, e Entry) {
	key := uint64(rd)<<32 | uint64(ca)
	mask := uint64(len(t.slots) - 1)
	i := hash4(key) >> t.shift
	for t.slots[i&mask].key != 0 {
		i++
	}
	t.slots[i&mask] = slot4{key, e}
	t.used++
}

type slot6 struct {
	hi, lo uint64 // CA, big-endian
	rd     uint32
	Entry
}

type table6 struct {
	slots []slot6
	shift uint8
	used  int
}

func hash6(rd uint32, hi, lo uint64) uint64 {
	return hash4(lo ^ bits.RotateLeft64(hi*spread, 32) ^ uint64(rd)<<32)
}

func (t *table6) find(rd uint32, ca *[16]byte) *Entry {
	hi, lo := binary.BigEndian.Uint64(ca[:8]), binary.BigEndian.Uint64(ca[8:])
	mask := uint64(len(t.slots) - 1)
	if rd == 0 {
		return nil
	}
	for i := hash6(rd, hi, lo) >> (t.shift & 63); ; i++ {
		s := &t.slots[i&mask]
		if s.rd == rd && s.lo == lo && s.hi == hi {
			return &s.Entry
		}
		if s.rd == 0 {
			return nil
		}
	}
}

func newTable6(n int) table6 {
	slots, shift := sizeFor(n)
	return table6{slots: make([]slot6, slots), shift: shift}
}

func (t *table6) insert(rd uint32, ca [16]byte, e Entry) {
	hi, lo := binary.BigEndian.Uint64(ca[:8]), binary.BigEndian.Uint64(ca[8:])
	mask := uint64(len(t.slots) - 1)
	i := hash6(rd, hi, lo) >> t.shift
	for t.slots[i&mask].rd != 0 {
		i++
	}
	t.slots[i&mask] = slot6{hi, lo, rd, e}
	t.used++
}

// subnets maps a VSID to its routing domain.
type subnets struct {
	slots []subnetSlot
	shift uint8
}

type subnetSlot struct{ vsid, rd uint32 }

func newSubnets(n int) subnets {
	slots, shift := sizeFor(n)
	return subnets{make([]subnetSlot, slots), shift}
}

func (t *subnets) find(vsid uint32) uint32 {
	mask := uint64(len(t.slots) - 1)
	for i := hash4(uint64(vsid)) >> (t.shift & 63); ; i++ {
		s := &t.slots[i&mask]
		if s.vsid == vsid {
			return s.rd
		}
		if s.vsid == 0 {
			return 0
		}
	}
}

func (t *subnets) insert(vsid, rd uint32) {
	mask := uint64(len(t.slots) - 1)
	i := hash4(uint64(vsid)) >> t.shift
	for t.slots[i&mask].vsid != 0 {
		i++
	}
	t.slots[i&mask] = subnetSlot{vsid, rd}
}
