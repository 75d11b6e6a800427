package fib

import "slices"

// pages is an array of pointers, of which versions share what did not change: a
// new version copies the directory and the pages that it writes to.
type pages[T any] struct {
	dir []*[pageLen]*T
}

const pageLen = 256

// at is element i; nil if it was never set.
func (p *pages[T]) at(i uint32) *T {
	if int(i/pageLen) >= len(p.dir) {
		return nil
	}
	return p.dir[i/pageLen][i%pageLen]
}

// draft is a version of pages in the making.
type draft[T any] struct {
	pages[T]
	own   map[uint32]bool // pages copied by now
	fresh map[uint32]bool // elements copied by now
}

// edit begins a new version.
func (p pages[T]) edit() draft[T] {
	return draft[T]{pages: p}
}

// set replaces element i.
func (d *draft[T]) set(i uint32, t *T) {
	if d.own == nil {
		d.dir, d.own, d.fresh = slices.Clone(d.dir), map[uint32]bool{}, map[uint32]bool{}
	}
	page := i / pageLen
	for int(page) >= len(d.dir) {
		d.dir = append(d.dir, new([pageLen]*T))
		d.own[uint32(len(d.dir)-1)] = true
	}
	if !d.own[page] {
		c := *d.dir[page]
		d.dir[page], d.own[page] = &c, true
	}
	d.dir[page][i%pageLen] = t
	d.fresh[i] = true
}

// write is element i, to be changed: a copy of it the first time, which clone
// makes of the one before, perhaps nil.
func (d *draft[T]) write(i uint32, clone func(*T) *T) *T {
	if !d.fresh[i] {
		d.set(i, clone(d.at(i)))
	}
	return d.at(i)
}
