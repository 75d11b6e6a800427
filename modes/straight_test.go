package modes_test

import (
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"paca/dataplane/fib"
	"paca/dataplane/fib/fibtest"
	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
	"paca/dataplane/port"
	"paca/dataplane/worker"
	"paca/modes/nvgre"
)

// The straight way of most packets leads where the other one does: two workers get the
// same bursts, and one of them has buffers too small for it by a byte. What they send,
// drop, count and tell is the same, byte for byte and in the same order.
func TestStraightIsTheSame(t *testing.T) {
	ordinary := func(in int, frames [][]byte) []input { return []input{{in: in, frames: frames}} }
	mixed := wholePolicy()
	mixed.CustomerRoutes = defaults(vmGate2)
	mixed.Ports[blue3].MTU = 80
	mixed.ProviderAddresses = append(mixed.ProviderAddresses, policy.ProviderAddress{Prefix: prefix("192.168.1.11/24"), Port: "uplink"})
	one := between(vmBlue2, vmBlue1, macBlue1, false)
	rewritten := rewritePolicy(1)
	for _, c := range []struct {
		name   string
		set    *policy.Set
		rounds []func(testing.TB) (*rig, func())
		more   []input
	}{
		{"nvgre", mixed, []func(testing.TB) (*rig, func()){pairs, detours, alone}, slices.Concat(
			ordinary(blue1, append(flows(64), between(vmBlue1, vmBlue2, macBlue2, false).syn(1460, nil))),
			ordinary(uplink, append(fabricFlows(t)[:64], tunnel(6001, paFar, "192.168.1.11", one.frame()))))},
		{"rewrite", rewritten, []func(testing.TB) (*rig, func()){rewriting},
			append(ordinary(blue1, rewriteFlows(64, macBlue2, macBlue1, vmBlue1.v4, vmBlue2.v4)), ordinary(uplink, rewriteFlows(64, macUplink, macRouter, paBlue2.v4, paBlue1.v4))...)},
	} {
		t.Run(c.name, func(t *testing.T) {
			rng := random(t)
			settings := router(worker.Router{AnswerPing: true, ClampMSS: true})
			straight := newRigOf(t, mbuf.Headroom+mbuf.FrontLen, c.set, nvgre.Config{}, listening, settings)
			around := newRigOf(t, mbuf.Headroom+mbuf.FrontLen-1, c.set, nvgre.Config{}, listening, settings)
			book, compiler := straight.compile(c.set)

			rare, often := [nports][][]byte{}, [nports][][]byte{}
			for _, x := range c.more {
				often[x.in] = append(often[x.in], x.frames...)
			}
			for _, make := range c.rounds {
				of, round := make(t)
				of.remember = true
				round()
				for _, x := range of.inputs {
					rare[x.in] = append(rare[x.in], x.frames...)
				}
			}
			same := 0
			for range 3000 {
				now := time.Duration(rng.IntN(int(time.Second)))
				straight.now += now
				around.now += now
				if rng.IntN(20) == 0 {
					compiler.SetPathMTU(addr(paFar), []uint16{0, 100, 106, 600}[rng.IntN(4)])
					silent := rng.IntN(4) == 0
					f := compiler.Update(nil, book, fibtest.Devices(c.set), func(_, _ uint16, _ netip.Addr) (packet.MAC, fib.AdjState) {
						if silent {
							return packet.MAC{}, fib.AdjFailed
						}
						return macRouter, fib.AdjReady
					})
					straight.fib.Store(f)
					around.fib.Store(f)
				}
				in := []int{blue1, uplink, blue1, uplink, rng.IntN(nports)}[rng.IntN(5)]
				var burst [][]byte
				for range 1 + rng.IntN(port.MaxBurst) {
					from := often[in]
					if rng.IntN(8) == 0 || len(from) == 0 {
						from = rare[in]
					}
					if len(from) == 0 {
						continue
					}
					f := from[rng.IntN(len(from))]
					if rng.IntN(8) == 0 {
						f = garble(rng, f)
					}
					if len(f) < mbuf.FrontLen {
						burst = append(burst, f)
					}
				}
				if len(burst) == 0 {
					continue
				}
				a, b := straight.trip(in, burst...), around.trip(in, burst...)
				for p := range a {
					if len(a[p]) != len(b[p]) {
						t.Fatalf("port %d sent %d and %d frames of a burst from %d: %x", p, len(a[p]), len(b[p]), in, burst)
					}
					for i := range a[p] {
						if string(a[p][i]) != string(b[p][i]) {
							t.Fatalf("port %d sent\n%x\n%x", p, a[p][i], b[p][i])
						}
						same++
					}
				}
				if straight.punted() != around.punted() {
					t.Fatalf("the control plane was not told the same of a burst from %d: %x", in, burst)
				}
			}
			if a, b := straight.drops(), around.drops(); !maps.Equal(a, b) {
				t.Errorf("drops\n%v\n%v", a, b)
			}
			if a, b := straight.events(), around.events(); !maps.Equal(a, b) {
				t.Errorf("events\n%v\n%v", a, b)
			}
			straight.balance(0)
			around.balance(0)
			t.Log(same, "frames,", straight.drops(), straight.events())
		})
	}
}
