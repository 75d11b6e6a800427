package modes_test

import (
	"encoding/binary"
	"sync/atomic"
	"testing"

	"paca/dataplane/fib"
	"paca/dataplane/fib/fibtest"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
	"paca/modes/nvgre"
)

// Policy changes as fast as it can while packets pass: none is lost, none goes
// where it never should, and of a set that moves two VMs at once no burst ever
// sees half. The core of live migration (L40).
func TestL40NothingLostOrMisdeliveredWhilePolicyChanges(t *testing.T) {
	set := testPolicy()
	r := newRig(t, set, nvgre.Config{})
	book := fibtest.Book(t, set)
	// Two VMs that move together, and one that stays.
	movers := func(pa string) []policy.Change {
		return []policy.Change{
			{Verb: policy.Put, Object: policy.LookupRecord{VSID: 6001, CA: addr("10.1.1.51"), MAC: packet.MAC{2, 0, 0, 0, 5, 1}, PA: addr(pa)}},
			{Verb: policy.Put, Object: policy.LookupRecord{VSID: 6001, CA: addr("10.1.1.52"), MAC: packet.MAC{2, 0, 0, 0, 5, 2}, PA: addr(pa)}},
		}
	}
	if _, err := book.Apply(movers("192.168.2.20")); err != nil {
		t.Fatal(err)
	}
	devices := fibtest.Devices(set)
	compiler := fib.NewCompiler()
	r.fib.Store(compiler.Compile(book, devices, resolved))

	const updates = 20000
	var done atomic.Bool
	go func() {
		defer done.Store(true)
		for i := range updates {
			changes := movers([]string{"192.168.2.21", "192.168.2.20"}[i%2])
			// And others come and go.
			other := policy.LookupRecord{VSID: 5001, CA: addr("10.1.1.90").Next(), MAC: packet.MAC{2, 0, 0, 0, 6, byte(i % 7)}, PA: addr("192.168.2.20")}
			verb := policy.Add
			if i%2 == 1 {
				verb, other.MAC[5] = policy.Delete, byte((i-1)%7)
			}
			applied, err := book.Apply(append(changes, policy.Change{Verb: verb, Object: other}))
			if err != nil {
				t.Error(err)
				return
			}
			f := compiler.Update(applied, book, devices, resolved)
			f.Version = r.fib.Load().Version + 1
			r.fib.Store(f)
		}
	}()

	to := func(last byte) []byte { f := unhex(inner1); f[33] = last; return f }
	burst := [][]byte{to(51), to(12), to(52), to(51), to(12), to(52)}
	seen := map[byte]int{}
	bursts := 0
	for ; !done.Load() || bursts == 0; bursts++ {
		out := r.only(r.trip(blue1, burst...), uplink)
		if len(out) != len(burst) {
			t.Fatalf("%d of %d packets sent; drops %v", len(out), len(burst), r.drops())
		}
		pa := out[0][33]
		seen[pa]++
		for i, f := range out {
			want := pa // where the movers are, both of them
			if burst[i][33] == 12 {
				want = 20
			}
			dst := packet.IPv4(f[14:]).Dst4()
			if dst != [4]byte{192, 168, 2, want} || binary.BigEndian.Uint32(f[38:])>>8 != 6001 || f[42+33] != burst[i][33] {
				t.Fatalf("burst %d: packet for .%d went to %v: %x", bursts, burst[i][33], dst, f)
			}
			if mac := packet.Ethernet(f[42:]).Dst(); burst[i][33] != 12 && mac != (packet.MAC{2, 0, 0, 0, 5, burst[i][33] - 50}) {
				t.Fatalf("packet for .%d has MAC %v", burst[i][33], mac)
			}
		}
	}
	if len(seen) != 2 || seen[20] == 0 || seen[21] == 0 {
		t.Errorf("packets saw the movers at %v: both places are wanted", seen)
	}
	if d := r.drops(); len(d) != 0 {
		t.Errorf("drops %v", d)
	}
	r.balance(0)
	t.Logf("%d updates during %d bursts", updates, bursts)
}
