package neigh

import (
	"iter"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// Paths is what the fabric told of the path MTU to its PAs (M10, RFC 1191, RFC
// 8201): to each that it said "too big" of, the largest outer IP packet that gets
// there. Like Table it is owned by one goroutine, and time is passed in.
//
// What is told is a hint that anyone may forge who knows what to quote. It can only
// lower the MTU, to the floor at worst, and for ten minutes: then the path is
// found out anew (M11), by the next packet that is too big for it.
type Paths struct {
	paths map[netip.Addr]Path
	next  time.Time // not later than the first is forgotten; zero: there is none
}

// Path is what is known of the path to a PA.
type Path struct {
	MTU  int       // of the outer IP packet, in bytes
	Told time.Time // when it became that
}

const (
	pathAge  = 10 * time.Minute // M11
	maxPaths = 4096

	minMTU6 = 1280 // RFC 8200

	// RFC 791 lets a hop carry as little as 68, but with 42 bytes of it taken by the
	// outer headers, guests could not be told of that (RFC 1191: 68 at least), and who
	// forges it would have each of their packets cut into dozens. 576 is what every
	// IPv4 host takes; links of less are long gone, kernels believe no less than 552.
	minMTU4 = 576
)

// plateaus are the MTUs that networks have, for routers that tell none (RFC 1191
// 7.1), down to the floor.
var plateaus = [...]int{32000, 17914, 8166, 4352, 2002, 1492, 1006, minMTU4}

// NewPaths makes an empty Paths.
func NewPaths() *Paths { return &Paths{paths: map[netip.Addr]Path{}} }

// TooBig takes in that a packet of size bytes to pa was too big for a hop that carries
// at most mtu bytes, 0 if it did not say. port is the MTU of the port towards it: no path
// carries more. It reports whether the path's MTU is another now. When there are too
// many paths, the one told longest ago gives way and is returned.
func (p *Paths) TooBig(now time.Time, pa netip.Addr, size, mtu, port int) (changed bool, evicted netip.Addr) {
	known, ok := p.paths[pa]
	current := port
	if ok {
		current = min(port, known.MTU)
	}
	floor := minMTU4
	if pa.Is6() {
		floor = minMTU6
	}
	if mtu == 0 && pa.Is4() {
		// The next plateau below the packet, if it is none from before what is known
		// now: of many that are under way at once, one counts (RFC 1191 5).
		below := slices.IndexFunc(plateaus[:], func(plateau int) bool { return plateau < size })
		if below < 0 || size > current {
			return false, evicted
		}
		mtu = plateaus[below]
	}
	if mtu < floor || mtu >= current {
		return false, evicted // M11; and nothing that anybody says makes it larger
	}
	if !ok && len(p.paths) == maxPaths {
		evicted = p.oldest()
		delete(p.paths, evicted)
	}
	p.paths[pa] = Path{mtu, now}
	p.next = earlier(p.next, now.Add(pathAge))
	return true, evicted
}

func (p *Paths) oldest() (pa netip.Addr) {
	var told time.Time
	for a, path := range p.paths {
		if !pa.IsValid() || path.Told.Before(told) || path.Told.Equal(told) && a.Less(pa) {
			pa, told = a, path.Told
		}
	}
	return pa
}

// Age forgets what was told too long ago.
func (p *Paths) Age(now time.Time, forgotten func(pa netip.Addr)) {
	if p.next.IsZero() || now.Before(p.next) {
		return
	}
	p.next = time.Time{}
	for pa, path := range p.paths {
		if end := path.Told.Add(pathAge); now.Before(end) {
			p.next = earlier(p.next, end)
		} else {
			delete(p.paths, pa)
			forgotten(pa)
		}
	}
}

// Next is when Age has something to do; zero if it has not.
func (p *Paths) Next() time.Time { return p.next }

// MTU is what was told of the path to pa, 0 for nothing.
func (p *Paths) MTU(pa netip.Addr) int { return p.paths[pa].MTU }

// Len is how many paths are known.
func (p *Paths) Len() int { return len(p.paths) }

// All yields what is known, by PA.
func (p *Paths) All() iter.Seq2[netip.Addr, Path] {
	return func(yield func(netip.Addr, Path) bool) {
		for _, pa := range slices.SortedFunc(maps.Keys(p.paths), netip.Addr.Compare) {
			if !yield(pa, p.paths[pa]) {
				return
			}
		}
	}
}

// Until is when the path is forgotten.
func (p Path) Until() time.Time { return p.Told.Add(pathAge) }
