package modes_test

import (
	"encoding/binary"
	"flag"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"paca/dataplane/fib"
	"paca/dataplane/fib/fibtest"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
	"paca/dataplane/port"
	"paca/dataplane/worker"
	"paca/modes/nvgre"
)

var seedFlag = flag.Uint64("seed", 0, "repeat the random tests of this seed")

// random returns a source that the test's log can repeat.
func random(t testing.TB) *rand.Rand {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("repeat with -seed=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// Whatever comes, from whomever, in bursts of all sorts, while objects of policy, ports
// and next hops come and go: every packet is accounted for, tenants stay apart (L17, L30), nothing that came from the fabric goes back to it but
// answers for our own PAs (L24, L25), and what is sent is well-formed (W2, W3, W21).
func TestL17_L24_L25_L30AnythingAtAll(t *testing.T) {
	rng := random(t)
	set := wholePolicy()
	set.CustomerRoutes = defaults(vmGate2)
	set.VirtualSubnets[1].DHCP = true
	set.Ports[blue3].MTU, set.Ports[blue3].MACSpoofing = 1400, true
	r := newRig(t, set, nvgre.Config{}, listening, router(worker.Router{AnswerPing: true, ClampMSS: true}))
	book, compiler := r.compile(set)
	objects := book.Objects()

	type seed struct {
		in    int
		frame []byte
	}
	var seeds []seed
	for _, make := range []func(testing.TB) (*rig, func()){pairs, detours, alone, externally} {
		of, round := make(t)
		of.remember = true
		round()
		for _, x := range of.inputs {
			for _, f := range x.frames {
				seeds = append(seeds, seed{x.in, f})
			}
		}
	}
	tenant := map[int]policy.RDID{blue1: blue, blue3: blue, blue5: blue, gate: blue, fresh: blue, red1: red}
	domain := map[uint32]policy.RDID{}
	for _, vs := range set.VirtualSubnets {
		domain[uint32(vs.VSID)] = vs.RDID
	}

	rounds := 20000
	if testing.Short() {
		rounds = 2000
	}
	refused := 0
	for range rounds {
		r.now += time.Duration(rng.IntN(int(time.Second)))
		if rng.IntN(20) == 0 {
			compiler.SetPathMTU(addr(paFar), []uint16{0, 68, 600, 1300, 1400}[rng.IntN(5)])
			compiler.SetDuplicate(addr(paHere), rng.IntN(4) == 0)
			var changes []policy.Change
			for range rng.IntN(8) {
				verb := policy.Put // most of policy is there most of the time
				if rng.IntN(4) == 0 {
					verb = policy.Delete
				}
				changes = append(changes, policy.Change{Verb: verb, Object: objects[rng.IntN(len(objects))]})
			}
			changes = append(changes, policy.Change{Verb: policy.Put, Object: policy.Global{UseExternalRouter: rng.IntN(4) == 0}})
			devices := fibtest.Devices(set)
			if rng.IntN(4) == 0 {
				delete(devices, set.Ports[rng.IntN(nports)].Name)
			}
			silent := rng.IntN(4) == 0
			resolve := func(_, _ uint16, _ netip.Addr) (packet.MAC, fib.AdjState) {
				if silent {
					return packet.MAC{}, fib.AdjFailed
				}
				return macRouter, fib.AdjReady
			}
			applied, err := book.Apply(changes)
			if err != nil {
				refused++ // all of them: others refer to what should go
			}
			r.fib.Store(compiler.Update(applied, book, devices, resolve))
		}
		in := rng.IntN(nports)
		burst := make([][]byte, 0, port.MaxBurst)
		for range 1 + rng.IntN(port.MaxBurst) {
			if s := seeds[rng.IntN(len(seeds))]; s.in == in || rng.IntN(16) == 0 {
				burst = append(burst, garble(rng, s.frame))
			}
		}
		if len(burst) == 0 {
			continue
		}
		out := r.trip(in, burst...)
		r.punted()
		for o, frames := range out {
			for _, f := range frames {
				switch {
				case o == kernel, in == kernel && o == uplink:
					continue // as it is
				case o != uplink:
					if in != uplink && tenant[in] != tenant[o] {
						t.Fatalf("from port %d to %d: %x", in, o, f)
					}
				case in == uplink:
					var l packet.Layout
					if packet.Parse(f, &l) != packet.OK || l.Proto == packet.ProtoGRE {
						t.Fatalf("from the fabric, and back to it: %x", f)
					}
					continue
				default:
					w := unwrap(t, f)
					if domain[w.vsid] != tenant[in] {
						t.Fatalf("from port %d in VSID %d: %x", in, w.vsid, f)
					}
					f = w.inner
				}
				var l packet.Layout
				if fault := packet.Parse(f, &l); fault != packet.OK || l.Tags != 0 {
					t.Fatalf("from port %d to %d: %v: %x", in, o, fault, f)
				}
			}
		}
		if t.Failed() {
			t.Fatalf("in the burst from port %d", in)
		}
		r.balance(0)
		if t.Failed() {
			t.Fatalf("in the burst from port %d: %x", in, burst)
		}
	}
	t.Log(refused, r.drops(), r.events())
}

// garble changes some of a frame: bytes, mostly of headers, its length, its tags; and
// often mends the outer checksum, so that more than that is looked at.
func garble(rng *rand.Rand, f []byte) []byte {
	f = slices.Clone(f)
	for range rng.IntN(4) {
		switch rng.IntN(8) {
		case 0:
			f = f[:rng.IntN(len(f)+1)]
		case 1:
			f = append(f, make([]byte, rng.IntN(60))...)
		case 2:
			if len(f) >= 12 {
				f = tagged(uint16(rng.IntN(3)), f)
			}
		case 3:
			if len(f) > 100 {
				f[rng.IntN(len(f))] ^= 1 << rng.IntN(8)
			}
		case 4:
			if len(f) >= 14 {
				copy(f[6*rng.IntN(2):], [][]byte{macBlue1[:], macBlue2[:], macRed1[:], packet.Broadcast[:], vmFresh.mac[:]}[rng.IntN(5)])
			}
		default:
			if len(f) > 0 {
				f[rng.IntN(min(len(f), 100))] = byte(rng.Uint32())
			}
		}
		if len(f) == 0 {
			f = []byte{0}
		}
	}
	if len(f) >= 34 && f[12] == 8 && f[13] == 0 && rng.IntN(4) > 0 {
		binary.BigEndian.PutUint16(f[24:], 0)
		binary.BigEndian.PutUint16(f[24:], packet.Checksum(f[14:34], 0))
	}
	return f[:min(len(f), 2000)]
}
