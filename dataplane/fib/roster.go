package fib

// roster numbers what entries refer to by index, local VMs and PAs of the
// fabric, and counts how many do. An index that nobody refers to is given away
// again only after sweep, which is for when the array that it indexes is copied:
// until then, older versions of the FIB read the same array.
type roster[K comparable] struct {
	index map[K]uint32
	refs  []uint32 // by index
	free  []uint32
	fresh []K // not in the array yet
	idle  int // without references, and not free yet
}

func newRoster[K comparable]() roster[K] { return roster[K]{index: map[K]uint32{}} }

// hold counts one more reference to k.
func (r *roster[K]) hold(k K) uint32 {
	i, known := r.index[k]
	switch {
	case known && r.refs[i] == 0:
		r.idle--
	case !known && len(r.free) > 0:
		i = r.free[len(r.free)-1]
		r.free = r.free[:len(r.free)-1]
	case !known:
		i = uint32(len(r.refs))
		r.refs = append(r.refs, 0)
	}
	if !known {
		r.index[k] = i
		r.fresh = append(r.fresh, k)
	}
	r.refs[i]++
	return i
}

// drop counts one reference less.
func (r *roster[K]) drop(i uint32) {
	if r.refs[i]--; r.refs[i] == 0 {
		r.idle++
	}
}

// untidy says whether the idle are so many that making the array anew pays: its
// cost, divided by them, is that of a few live ones.
func (r *roster[K]) untidy() bool { return 8*r.idle > len(r.refs)-len(r.free) }

// indexed is the array that r indexes, brought up to date: s with what is fresh,
// or all anew, and then without what nobody refers to. of makes an element.
func indexed[K comparable, T any](r *roster[K], s []T, all bool, of func(K) T) []T {
	if !all && !r.untidy() {
		for _, k := range r.fresh {
			if i := r.index[k]; int(i) < len(s) {
				s[i] = of(k)
			} else {
				s = append(s, of(k)) // older versions see no further than they did
			}
		}
		r.fresh = nil
		return s
	}
	s = make([]T, len(r.refs))
	for k, i := range r.index {
		if r.refs[i] == 0 {
			delete(r.index, k)
			r.free = append(r.free, i)
			continue
		}
		s[i] = of(k)
	}
	r.idle, r.fresh = 0, nil
	return s
}
