package neigh

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

var (
	far4 = netip.MustParseAddr("192.168.2.20")
	far6 = netip.MustParseAddr("2001:db8:2::20")
)

func TestM10_M11PathMTU(t *testing.T) {
	// Each row is what was told, one after the other, of a path from a port of that
	// MTU: of a packet of so many bytes, or of one as large as may be. want is the
	// path's MTU after each, 0: as good as the port's.
	for _, tt := range []struct {
		name  string
		pa    netip.Addr
		port  int
		told  []int
		want  []int
		sizes []int
	}{
		{"lower and lower", far4, 1500, []int{1400, 1300, 576}, []int{1400, 1300, 576}, nil},
		{"never higher", far4, 1500, []int{1300, 1400, 1500, 9000, 65535}, []int{1300, 1300, 1300, 1300, 1300}, nil},
		{"the port's own, and more", far4, 1500, []int{1500, 1501, 9000}, []int{0, 0, 0}, nil},
		{"a little less than the port's", far4, 1500, []int{1499}, []int{1499}, nil},
		{"about a packet that others joined from several", far4, 1500, []int{1400}, []int{1400}, []int{60000}},
		{"about a packet from before", far4, 1500, []int{1400, 1300}, []int{1400, 1300}, []int{1500, 1500}},
		{"M11: below the floor", far4, 1500, []int{575, 68, 67, 1, 576, 575}, []int{0, 0, 0, 0, 576, 576}, nil},
		{"M11: below 1280", far6, 1500, []int{1279, 68, 0, 1280, 1279}, []int{0, 0, 0, 1280, 1280}, nil},
		{"IPv6", far6, 9000, []int{8000, 1500}, []int{8000, 1500}, nil},
		{"beyond 16 bits", far6, 9000, []int{1 << 20}, []int{0}, nil},
		{"RFC 1191: routers that do not tell", far4, 65535, []int{0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
			[]int{32000, 17914, 8166, 4352, 2002, 1492, 1006, 576, 576, 576}, nil},
		{"RFC 1191: from what is known", far4, 1500, []int{1400, 0, 900, 0, 0}, []int{1400, 1006, 900, 576, 576}, nil},
		{"RFC 1191: from the port's", far4, 1492, []int{0}, []int{1006}, nil},
		{"RFC 1191: many at once", far4, 1500, []int{0, 0, 0, 0, 0}, []int{1492, 1492, 1492, 1492, 1492}, []int{1500, 1500, 1500, 1500, 1500}},
		{"RFC 1191: below the packet", far4, 1500, []int{0, 0}, []int{1006, 576}, []int{1200, 900}},
		{"RFC 1191: longer than was sent", far4, 1500, []int{0, 0}, []int{0, 0}, []int{1501, 65535}},
		{"RFC 1191: shorter than the floor", far4, 1500, []int{0, 0}, []int{0, 0}, []int{576, 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, now := NewPaths(), start
			before := 0
			for i, mtu := range tt.told {
				now = now.Add(time.Second)
				size := tt.port
				if before != 0 {
					size = before
				}
				if tt.sizes != nil {
					size = tt.sizes[i]
				}
				changed, evicted := p.TooBig(now, tt.pa, size, mtu, tt.port)
				got := 0
				for pa, path := range p.All() {
					if got = path.MTU; pa != tt.pa || changed && path.Told != now {
						t.Errorf("%v: %+v", pa, path)
					}
				}
				if got != tt.want[i] || changed != (got != before) || evicted.IsValid() {
					t.Errorf("told %d: %d, changed %v, evicted %v; want %d", mtu, got, changed, evicted, tt.want[i])
				}
				before = got
			}
		})
	}
}

// A port whose MTU became smaller than what is known of the path: what is told is
// measured by what can be sent.
func TestM10SmallerPort(t *testing.T) {
	p := NewPaths()
	p.TooBig(start, far4, 1500, 1400, 1500)
	if changed, _ := p.TooBig(start, far4, 1500, 1350, 1300); changed {
		t.Error("1350 is believed of a port of 1300")
	}
	if changed, _ := p.TooBig(start, far4, 1500, 1299, 1300); !changed {
		t.Error("1299 is not believed of a port of 1300")
	}
}

func TestM11Ageing(t *testing.T) {
	p := NewPaths()
	if !p.Next().IsZero() {
		t.Error("nothing is known, and something is due")
	}
	var forgotten []netip.Addr
	forget := func(pa netip.Addr) { forgotten = append(forgotten, pa) }
	p.TooBig(start, far4, 1500, 1400, 1500)
	p.TooBig(start.Add(time.Minute), far6, 1500, 1400, 1500)
	p.TooBig(start.Add(2*time.Minute), far4, 1500, 1400, 1500) // known: as old as it was
	p.Age(start.Add(pathAge-1), forget)
	if len(forgotten) != 0 || !p.Next().Equal(start.Add(pathAge)) {
		t.Errorf("%v forgotten, next at %v", forgotten, p.Next().Sub(start))
	}
	p.Age(p.Next(), forget)
	if len(forgotten) != 1 || forgotten[0] != far4 || p.Len() != 1 || !p.Next().Equal(start.Add(11*time.Minute)) {
		t.Errorf("%v forgotten, next at %v", forgotten, p.Next().Sub(start))
	}
	p.TooBig(start.Add(10*time.Minute), far6, 1500, 1300, 1500) // lower: as new as that
	p.Age(p.Next(), forget)
	if len(forgotten) != 1 || !p.Next().Equal(start.Add(20*time.Minute)) {
		t.Errorf("%v forgotten, next at %v", forgotten, p.Next().Sub(start))
	}
	p.Age(start.Add(time.Hour), forget)
	if len(forgotten) != 2 || p.Len() != 0 || !p.Next().IsZero() {
		t.Errorf("%v forgotten, %d left, next at %v", forgotten, p.Len(), p.Next().Sub(start))
	}
	// And then it is found out anew, the same or not.
	if changed, _ := p.TooBig(start.Add(time.Hour), far4, 1500, 1450, 1500); !changed {
		t.Error("what was forgotten is remembered")
	}
}

// However many paths there are, so many are known, those told last.
func TestM10Bounded(t *testing.T) {
	p := NewPaths()
	pa := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}) }
	for i := range maxPaths + 10 {
		changed, evicted := p.TooBig(start.Add(time.Duration(i)*time.Millisecond), pa(i), 1500, 1400, 1500)
		if !changed || evicted.IsValid() != (i >= maxPaths) || evicted.IsValid() && evicted != pa(i-maxPaths) {
			t.Fatalf("path %d: changed %v, evicted %v", i, changed, evicted)
		}
	}
	if _, evicted := p.TooBig(start.Add(time.Minute), pa(maxPaths), 1500, 1300, 1500); evicted.IsValid() {
		t.Error("one that is known evicts another")
	}
	if p.Len() != maxPaths {
		t.Errorf("%d paths", p.Len())
	}
}

// Whatever is told in whatever order: within bounds, only ever lower until it is
// forgotten, and forgotten in time.
func TestM10_M11RandomPaths(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("repeat with -seed=%d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 200 {
		p, now := NewPaths(), start
		known := map[netip.Addr]Path{}
		for range 100 {
			now = now.Add(time.Duration(r.Int64N(int64(3 * time.Minute))))
			p.Age(now, func(pa netip.Addr) {
				if now.Before(known[pa].Until()) {
					t.Fatalf("%v forgotten too early", pa)
				}
				delete(known, pa)
			})
			pa, floor := netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(4))}), 576
			if r.IntN(2) == 0 {
				pa, floor = netip.AddrFrom16([16]byte{0xfd, 15: byte(r.IntN(4))}), 1280
			}
			port := 1300 + r.IntN(8000)
			changed, _ := p.TooBig(now, pa, r.IntN(10000), r.IntN(2)*r.IntN(10000), port)
			for pa, path := range p.All() {
				if now.Sub(path.Told) >= pathAge {
					t.Fatalf("%v is remembered for %v", pa, now.Sub(path.Told))
				}
			}
			before, was := known[pa]
			after, is := p.paths[pa]
			switch {
			case !changed && (was != is || before != after):
				t.Fatalf("%v: %+v became %+v, unsaid", pa, before, after)
			case changed && (!is || after.MTU < floor || after.MTU >= port || was && after.MTU >= before.MTU):
				t.Fatalf("%v: %+v became %+v on a port of %d", pa, before, after, port)
			case changed:
				known[pa] = after
			}
		}
	}
}
