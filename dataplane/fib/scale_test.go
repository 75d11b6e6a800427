package fib

import (
	"encoding/binary"
	"flag"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"

	"paca/dataplane/packet"
	"paca/dataplane/policy"
	"paca/dataplane/unseen"
)

var large = flag.Bool("large", false, "benchmarks with 8 M records too, which take several GiB")

// What tables cost, small and large. The largest by itself:
//
//	go test ./dataplane/fib -run '^$' -bench 'Scale/8M/' -large -timeout 1h
func BenchmarkScale(b *testing.B) {
	for _, size := range []struct {
		name string
		n    int
	}{{"1k", 1000}, {"64k", 64_000}, {"1M", 1_000_000}, {"8M", 8_000_000}} {
		if size.n > 1_000_000 && !*large {
			continue
		}
		b.Run(size.name, func(b *testing.B) {
			for _, mode := range []policy.Mode{policy.NVGRE, policy.Rewrite} {
				b.Run(mode.String(), func(b *testing.B) { newScale(size.n, mode).bench(b) })
			}
		})
	}
}

// scale is a host among many.
type scale struct {
	n    int
	mode policy.Mode
	book *policy.Book
	d    Devices
	c    *Compiler
	f    *FIB
}

// hostsAtScale is how many PAs serve all records in NVGRE.
const hostsAtScale = 1000

// newScale has n records as records makes them, in NVGRE behind hostsAtScale PAs, or
// rewritten, each with a PA of its own, over a router; and a VM of its own.
func newScale(n int, mode policy.Mode) *scale {
	s := &scale{n: n, mode: mode, book: policy.NewBook(), c: NewCompiler()}
	base := routed(records(0, 1))
	s.d = devicesOf(base)
	s.apply(puts(base))
	set := make([]policy.Change, 0, 10_000)
	for i := range n {
		if i%perDomain == 0 {
			vs := domainOf(i)
			vs.Mode = mode
			set = append(set, policy.Change{Verb: policy.Put, Object: vs})
		}
		set = append(set, policy.Change{Verb: policy.Put, Object: s.record(i)})
		if len(set) >= cap(set)-1 || i == n-1 {
			s.apply(set)
			set = set[:0]
		}
	}
	return s
}

func (s *scale) record(i int) policy.LookupRecord {
	if s.mode != policy.Rewrite {
		return recordOf(i, hostsAtScale)
	}
	rec := recordOf(i, s.n)
	if i == comes {
		rec.PA = addr("192.168.1.77")
	}
	return rec
}

// comes is the record whose PA becomes this host's.
const comes = 7

func (s *scale) apply(changes []policy.Change) []policy.Change {
	applied, err := s.book.Apply(changes)
	if err != nil {
		panic(err)
	}
	return applied
}

// update brings changes into force.
func (s *scale) update(changes ...policy.Change) {
	s.f = s.c.Update(s.apply(changes), s.book, s.d, hopMAC)
}

func (s *scale) bench(b *testing.B) {
	b.Run("build", func(b *testing.B) {
		var bytes int64
		for b.Loop() {
			s.c, s.f = NewCompiler(), nil
			b.StopTimer()
			bytes = heap()
			b.StartTimer()
			s.f = s.c.Compile(s.book, s.d, hopMAC)
		}
		with := heap()
		s.c = nil
		f := s.f
		b.ReportMetric(float64(with-heap())/float64(s.n), "compiler-B/record")
		b.ReportMetric(float64(heap()-bytes)/float64(s.n), "B/record")
		runtime.KeepAlive(f)
	})
	s.c = NewCompiler()
	s.f = s.c.Compile(s.book, s.d, hopMAC)
	r := rand.New(rand.NewPCG(1, 2))
	b.Run("uniform", func(b *testing.B) { s.lookup(b, func(n int) int { return r.IntN(n) }) })
	zipf := func(n int) func() uint64 { return rand.NewZipf(r, 1.1, 1, uint64(n-1)).Uint64 }
	domains, within := zipf((s.n+perDomain-1)/perDomain), zipf(min(s.n, perDomain))
	b.Run("zipf", func(b *testing.B) {
		s.lookup(b, func(n int) int {
			if n == min(s.n, perDomain) {
				return int(within())
			}
			return int(domains())
		})
	})
	s.changes(b, r)
}

// lookup is of destinations a burst at a time, as workers do it: of those of a VM,
// which are of one routing domain, by CA; of those that rewritten packets come from by
// PA. pick chooses one of n.
func (s *scale) lookup(b *testing.B, pick func(n int) int) {
	const size = 32
	type burst struct {
		rd  uint32
		cas [size]uint32
		pas [size]uint32
	}
	bursts := make([]burst, 1<<16)
	for i := range bursts {
		first := pick((s.n+perDomain-1)/perDomain) * perDomain
		for j := range size {
			rec := s.record(first + pick(min(s.n, perDomain)))
			bursts[i].rd = s.f.Domain(uint32(rec.VSID))
			bursts[i].cas[j], bursts[i].pas[j] = host4(rec.CA), host4(rec.PA)
		}
	}
	var sum uint32
	run := func(name string, all func(of *burst)) {
		b.Run(name, func(b *testing.B) {
			for i := 0; i < b.N; i += size {
				all(&bursts[i/size%len(bursts)])
			}
		})
	}
	var entries [size]unseen.Ref[Entry]
	run("ca", func(of *burst) {
		s.f.LookupAll4(of.rd, of.cas[:], entries[:])
		for _, e := range entries {
			sum += e.Get().VSID
		}
	})
	if s.mode == policy.Rewrite {
		run("pa", func(of *burst) {
			for _, pa := range of.pas {
				sum += s.f.Owner4(pa).VSID
			}
		})
	}
	if sum == 0 {
		b.Log("nothing was looked up")
	}
}

// changes is one change of each kind, from the Book to the next version of the FIB,
// and the same undone, each counted.
func (s *scale) changes(b *testing.B, r *rand.Rand) {
	put := func(o policy.Object) policy.Change { return policy.Change{Verb: policy.Put, Object: o} }
	del := func(o policy.Object) policy.Change { return policy.Change{Verb: policy.Delete, Object: o} }
	toggle := func(name string, comes, goes func()) {
		there := false
		b.Run("change/"+name, func(b *testing.B) {
			for b.Loop() {
				if there = !there; there {
					comes()
				} else {
					goes()
				}
			}
		})
		if there {
			goes()
		}
	}
	objects := func(name string, all ...policy.Object) {
		var there, gone []policy.Change
		for _, o := range all {
			there, gone = append(there, put(o)), append(gone, del(o))
		}
		toggle(name, func() { s.update(there...) }, func() { s.update(gone...) })
	}

	move := func() policy.Change {
		rec := s.record(r.IntN(s.n))
		if s.mode == policy.Rewrite {
			rec.PA = addr4(0xac100000 + 16 + uint32(s.n+r.IntN(1<<20)))
		} else {
			rec.PA = s.record(r.IntN(hostsAtScale)).PA
		}
		return put(rec)
	}
	if s.mode == policy.NVGRE {
		b.Run("change/record", func(b *testing.B) {
			for b.Loop() {
				s.update(move())
			}
		})
		b.Run("change/1000 records", func(b *testing.B) {
			for b.Loop() {
				set := map[policy.Key]policy.Change{}
				for range 1000 {
					c := move()
					set[c.Object.Key()] = c
				}
				changes := make([]policy.Change, 0, len(set))
				for _, c := range set {
					changes = append(changes, c)
				}
				s.update(changes...)
			}
		})
	}

	vm := s.record(comes)
	port := policy.Port{Name: "vm", Role: policy.VM, VSID: vm.VSID, MAC: vm.MAC, MTU: 1500}
	pa := policy.ProviderAddress{Prefix: netip.PrefixFrom(addr("192.168.1.77"), 24), Port: "uplink0"}
	far := pa
	far.Prefix = prefix("198.51.100.1/24")
	fresh := vm // that was nowhere
	fresh.CA, fresh.MAC, fresh.PA = addr4(0x0a01fff0), packet.MAC{2, 9}, addr("192.168.1.78")
	freshPA := policy.ProviderAddress{Prefix: netip.PrefixFrom(fresh.PA, 24), Port: "uplink0"}
	objects("PA of this host", pa)
	objects("PA with a prefix that none has", far)
	plugged := port
	plugged.MAC = fresh.MAC
	toggle("VM: port, record and PA here", func() {
		s.d = Devices{"uplink0": s.d["uplink0"], "vm": {Index: 9}}
		s.update(put(plugged), put(fresh), put(freshPA))
	}, func() {
		s.d = Devices{"uplink0": s.d["uplink0"]}
		s.update(del(plugged), del(fresh), del(freshPA))
	})
	toggle("port of a VM", func() {
		s.d = Devices{"uplink0": s.d["uplink0"], "vm": {Index: 9}}
		s.update(put(port))
	}, func() {
		s.d = Devices{"uplink0": s.d["uplink0"]}
		s.update(del(port))
	})
	objects("virtual subnet", policy.VirtualSubnet{VSID: policy.MaxVSID, RDID: policy.RDID{9}, Prefixes: []netip.Prefix{prefix("10.1.0.0/16")}})
	objects("customer route", policy.CustomerRoute{RDID: domainOf(0).RDID, VSID: domainOf(0).VSID, Prefix: prefix("10.9.0.0/16"), NextHop: vm.CA})
	if s.mode == policy.Rewrite {
		vs := domainOf(0)
		there := vs
		vs.Mode = policy.Rewrite
		toggle("mode of a virtual subnet", func() { s.update(put(there)) }, func() { s.update(put(vs)) })
	}
	toggle("path MTU", func() { s.c.SetPathMTU(vm.PA, 1400); s.update() }, func() { s.c.SetPathMTU(vm.PA, 0); s.update() })
	own := addr("192.168.1.10")
	toggle("duplicate PA", func() { s.c.SetDuplicate(own, true); s.update() }, func() { s.c.SetDuplicate(own, false); s.update() })
	toggle("neighbor", func() { s.f = s.f.WithNeighbors(unresolved) }, func() { s.f = s.f.WithNeighbors(hopMAC) })
	objects("provider route", policy.ProviderRoute{Port: "uplink0", Prefix: prefix("203.0.113.0/24"), NextHop: addr("192.168.1.2")})
	toggle("global", func() { s.update(put(policy.Global{UseExternalRouter: true})) }, func() { s.update(put(policy.Global{})) })
}

// perDomain is how many records a routing domain of records has, all with the same CAs.
const perDomain = 4000

// domainOf is the virtual subnet of record i.
func domainOf(i int) policy.VirtualSubnet {
	d := i / perDomain
	rdid := policy.RDID{1}
	binary.BigEndian.PutUint32(rdid[4:], uint32(d))
	return policy.VirtualSubnet{VSID: policy.MinVSID + policy.VSID(d), RDID: rdid, Prefixes: []netip.Prefix{prefix("10.1.0.0/16")}}
}

// recordOf is record i, of those over so many PAs.
func recordOf(i, hosts int) policy.LookupRecord {
	return policy.LookupRecord{
		VSID: policy.MinVSID + policy.VSID(i/perDomain),
		CA:   addr4(0x0a010000 + 10 + uint32(i%perDomain)),
		MAC:  packet.MAC{2, 0, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)},
		PA:   addr4(0xac100000 + 16 + uint32(i%hosts)),
	}
}
