package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// What verify knows of bbolt's file format, version 2: pages of one size, the
// first two of which are meta pages; the newer of them names the root of a tree
// of buckets, and a bucket is a tree of branch and leaf pages. A page may
// overflow into the next ones. A small bucket is a page within a value.
const (
	boltMagic   = 0xED0CDAED
	boltVersion = 2

	pageHeader   = 16 // id u64, flags u16, count u16, overflow u32
	elementSize  = 16 // branch: pos u32, key u32, page u64; leaf: flags u32, pos u32, key u32, value u32
	metaSize     = 64 // magic, version, page size, flags u32; root, sequence, free list, pages, transaction, checksum u64
	bucketHeader = 16 // root u64, sequence u64

	branchPage = 1
	leafPage   = 2
	bucketFlag = 1 // of a leaf's element
)

// native is the byte order of bbolt's files.
var native = binary.NativeEndian

// verify reads a whole file as bbolt would, but trusts nothing in it, and
// returns its head when that is borne out by what is there.
func verify(f *os.File) (head, error) {
	info, err := f.Stat()
	if err != nil {
		return head{}, err
	}
	return verifyFile(f, info.Size())
}

func verifyFile(f io.ReaderAt, size int64) (head, error) {
	v := verifier{file: f}
	if err := v.meta(size); err != nil {
		return head{}, err
	}
	v.seen = make([]bool, v.pages)
	var found head // what is there
	var stated head
	buckets := 0
	err := v.tree(v.root, func(flags uint32, name, value []byte) error {
		if buckets++; buckets > 1 || flags != bucketFlag || !bytes.Equal(name, bucket) || len(value) < bucketHeader {
			return corrupt("%q is no bucket of paca", name)
		}
		first := true
		entry := func(flags uint32, key, value []byte) error {
			if first {
				first = false
				if !bytes.Equal(key, headKey) {
					return corrupt("no head")
				}
				return stated.decode(value)
			}
			if flags != 0 {
				return corrupt("a bucket among objects")
			}
			found.add(key, value)
			return nil
		}
		if root := native.Uint64(value); root != 0 {
			return v.tree(root, entry)
		}
		w := walk{verifier: &v, entry: entry}
		return w.leaf(value[bucketHeader:], 0, nil, nil)
	})
	switch {
	case err != nil:
		return head{}, err
	case stated.format == 0:
		return head{}, corrupt("no policy of paca")
	case found.objects != stated.objects || found.sum != stated.sum:
		return head{}, corrupt("%d objects with sum %x, should be %d with %x", found.objects, found.sum, stated.objects, stated.sum)
	}
	return stated, nil
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, ErrCorrupt)...)
}

type verifier struct {
	file  io.ReaderAt
	size  int64 // of a page
	pages uint64
	root  uint64
	seen  []bool // pages that are part of something
}

// meta reads both meta pages. One that is not whole could be the trace of a
// commit that was never acknowledged, but a page is written at once and its 80
// bytes lie in one sector: it is much rather the trace of damage to the newest.
func (v *verifier) meta(fileSize int64) error {
	var newest uint64
	for n := range int64(2) {
		b := make([]byte, pageHeader+metaSize)
		if _, err := v.file.ReadAt(b, n*v.size); err != nil {
			return corrupt("page %d: %v", n, err)
		}
		m := b[pageHeader:]
		if native.Uint32(m) != boltMagic {
			return corrupt("page %d does not begin a store", n)
		}
		sum := fnv.New64a()
		sum.Write(m[:metaSize-8])
		if sum.Sum64() != native.Uint64(m[metaSize-8:]) {
			return corrupt("page %d does not match its checksum", n)
		}
		if id := native.Uint64(b); id != uint64(n) { // the other one, of an older revision
			return corrupt("page %d says that it is page %d", n, id)
		}
		if version := native.Uint32(m[4:]); version > boltVersion {
			return fmt.Errorf("bbolt file version %d, this release reads %d: %w", version, boltVersion, ErrNewer)
		} else if version < boltVersion {
			return corrupt("bbolt file version %d", version)
		}
		pageSize := int64(native.Uint32(m[8:]))
		if pageSize < 512 || pageSize > 1<<16 || pageSize&(pageSize-1) != 0 || n == 1 && pageSize != v.size {
			return corrupt("page %d: pages of %d bytes", n, pageSize)
		}
		v.size = pageSize
		if transaction := native.Uint64(m[48:]); n == 0 || transaction > newest {
			newest = transaction
			v.root, v.pages = native.Uint64(m[16:]), native.Uint64(m[40:])
		}
	}
	if v.pages > uint64(fileSize/v.size) {
		return corrupt("%d pages in a file of %d bytes", v.pages, fileSize)
	}
	return nil
}

// tree gives each element of the leaves below page root to entry, in order.
func (v *verifier) tree(root uint64, entry func(flags uint32, key, value []byte) error) error {
	w := walk{verifier: v, entry: entry}
	return w.page(root, nil, nil, 0)
}

// walk goes through a tree from left to right.
type walk struct {
	*verifier
	entry func(flags uint32, key, value []byte) error
	last  []byte // key of the last entry
}

// page walks the tree below a page, all of whose keys must lie from low to
// below high; nil is no bound.
func (w *walk) page(id uint64, low, high []byte, depth int) error {
	if depth > 64 {
		return corrupt("page %d lies too deep", id)
	}
	b, err := w.read(id)
	if err != nil {
		return err
	}
	if native.Uint16(b[8:]) == leafPage {
		return w.leaf(b, id, low, high)
	}
	children, err := elements(b, id, branchPage)
	if err != nil {
		return err
	}
	keys := make([][]byte, len(children)+1)
	for i, e := range children {
		if keys[i], err = part(e, id, native.Uint32(e), native.Uint32(e[4:])); err != nil {
			return err
		}
	}
	keys[len(children)] = high
	for i, e := range children {
		if err := w.inOrder(keys[i], low, high, id); err != nil {
			return err
		}
		if err := w.page(native.Uint64(e[8:]), keys[i], keys[i+1], depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) leaf(b []byte, id uint64, low, high []byte) error {
	entries, err := elements(b, id, leafPage)
	if err != nil {
		return err
	}
	for _, e := range entries {
		pos, keySize := native.Uint32(e[4:]), native.Uint32(e[8:])
		key, err := part(e, id, pos, keySize)
		if err != nil {
			return err
		}
		value, err := part(e, id, pos+keySize, native.Uint32(e[12:]))
		if err != nil {
			return err
		}
		if err := w.inOrder(key, low, high, id); err != nil {
			return err
		}
		w.last = append(w.last[:0], key...)
		if err := w.entry(native.Uint32(e), key, value); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) inOrder(key, low, high []byte, id uint64) error {
	if len(key) == 0 || bytes.Compare(key, low) < 0 || w.last != nil && bytes.Compare(key, w.last) <= 0 ||
		high != nil && bytes.Compare(key, high) >= 0 {
		return corrupt("page %d has key %x out of order", id, key)
	}
	return nil
}

// read reads a page with its overflow, which must be part of nothing else.
func (v *verifier) read(id uint64) ([]byte, error) {
	if id < 2 || id >= v.pages {
		return nil, corrupt("there is no page %d", id)
	}
	b := make([]byte, v.size)
	if _, err := v.file.ReadAt(b, int64(id)*v.size); err != nil {
		return nil, corrupt("page %d: %v", id, err)
	}
	overflow := uint64(native.Uint32(b[12:]))
	if native.Uint64(b) != id || overflow >= v.pages-id {
		return nil, corrupt("page %d says it is %d with %d more", id, native.Uint64(b), overflow)
	}
	for n := id; n <= id+overflow; n++ {
		if v.seen[n] {
			return nil, corrupt("page %d is part of two", n)
		}
		v.seen[n] = true
	}
	if overflow > 0 {
		b = make([]byte, int64(overflow+1)*v.size)
		if _, err := v.file.ReadAt(b, int64(id)*v.size); err != nil {
			return nil, corrupt("page %d: %v", id, err)
		}
	}
	return b, nil
}

// elements are those of a page, each with all that is behind it.
func elements(b []byte, id uint64, kind uint16) ([][]byte, error) {
	if len(b) < pageHeader {
		return nil, corrupt("page %d is short", id)
	}
	flags, count := native.Uint16(b[8:]), int(native.Uint16(b[10:]))
	if flags != kind || kind == branchPage && count == 0 || pageHeader+count*elementSize > len(b) {
		return nil, corrupt("page %d has flags %x and %d elements", id, flags, count)
	}
	all := make([][]byte, count)
	for i := range all {
		all[i] = b[pageHeader+i*elementSize:]
	}
	return all, nil
}

// part is size bytes at pos from an element.
func part(e []byte, id uint64, pos, size uint32) ([]byte, error) {
	if pos < elementSize || uint64(pos)+uint64(size) > uint64(len(e)) {
		return nil, corrupt("page %d is torn", id)
	}
	return e[pos : pos+size], nil
}
