package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"paca/dataplane/packet"
	"paca/dataplane/policy"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func record(n int) policy.LookupRecord {
	return policy.LookupRecord{
		VSID: 6001, CA: netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), MAC: packet.MAC{2, 0, 0, 0, 0, 1},
		PA: netip.AddrFrom4([4]byte{192, 168, byte(n % 7), 1}),
	}
}

// oneOfEach is an object of each kind, as odd as may be.
func oneOfEach() []policy.Object {
	return []policy.Object{
		policy.Global{UseExternalRouter: true},
		policy.Port{Name: "blue-vm1", Role: policy.VM, VSID: 6001, MAC: packet.MAC{2, 0, 0, 0, 0, 1}, MTU: 1458, Device: "vhost-user:/run/paca/blue.sock",
			MACSpoofing: true, DHCPGuard: true, RouterGuard: true, DynamicIPLimit: 3, StormLimit: 70000, Queues: 3},
		policy.ProviderAddress{Prefix: netip.MustParsePrefix("192.168.1.10/24"), Port: "uplink0", VLAN: 4094},
		policy.ProviderRoute{Port: "uplink0", Prefix: netip.MustParsePrefix("::/0"), NextHop: netip.MustParseAddr("fe80::1"), Metric: 4294967295},
		policy.VirtualSubnet{VSID: 6001, RDID: policy.RDID{1}, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/64")}, Mode: policy.Rewrite,
			DHCP: true, DNS: []netip.Addr{netip.MustParseAddr("10.0.0.53")}},
		policy.CustomerRoute{RDID: policy.RDID{1}, VSID: 6001, Prefix: netip.MustParsePrefix("0.0.0.0/0"), NextHop: netip.MustParseAddr("10.0.0.254"), Metric: 255},
		policy.LookupRecord{VSID: 6001, CA: netip.MustParseAddr("10.1.1.11"), MAC: packet.MAC{2, 0, 0, 0, 0, 2}, PA: netip.MustParseAddr("2001:db8::1"),
			Type: policy.Dynamic, UseVMMAC: true, VMName: "blue 1", CustomerID: "Ωmega", Context: strings.Repeat("x", 1000)},
		policy.LookupRecord{VSID: 6001, CA: netip.MustParseAddr("::"), MAC: packet.MAC{2, 0, 0, 0, 0, 2}, PA: netip.MustParseAddr("192.168.1.10"), Type: policy.L2Only},
	}
}

func puts(objects ...policy.Object) (set []policy.Change) {
	for _, o := range objects {
		set = append(set, policy.Change{Verb: policy.Put, Object: o})
	}
	return set
}

func deletes(objects ...policy.Object) (set []policy.Change) {
	for _, o := range objects {
		set = append(set, policy.Change{Verb: policy.Delete, Object: o})
	}
	return set
}

// held is what a store has now.
func held(t testing.TB, s Store) (Revision, []policy.Object) {
	t.Helper()
	r, all := s.Load()
	var objects []policy.Object
	for o, err := range all {
		if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, o)
	}
	return r, objects
}

func expect(t *testing.T, s Store, revision Revision, objects ...policy.Object) {
	t.Helper()
	r, got := held(t, s)
	if r != revision || !reflect.DeepEqual(got, objects) {
		t.Fatalf("revision %d holds %v\nwant %d with %v", r, got, revision, objects)
	}
}

// take reads n events, no longer than 5 s.
func take(t *testing.T, events iter.Seq2[Event, error], n int) (all []Event) {
	t.Helper()
	if n == 0 {
		return nil
	}
	for e, err := range events {
		if err != nil {
			t.Fatalf("after %d events: %v", len(all), err)
		}
		if all = append(all, e); len(all) == n {
			break
		}
	}
	if len(all) != n {
		t.Fatalf("%d events, want %d", len(all), n)
	}
	return all
}

// TestContract is what every store promises. reopen is nil where nothing stays.
func TestContract(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		contract(t, func(t *testing.T) Store { return must(Open("memory")) }, nil)
	})
	t.Run("bolt", func(t *testing.T) {
		var path string
		contract(t, func(t *testing.T) Store {
			path = filepath.Join(t.TempDir(), "policy.db")
			return must(Open("bolt:" + path))
		}, func(t *testing.T, s Store) Store {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			return must(Open("bolt:" + path))
		})
	})
}

func contract(t *testing.T, open func(*testing.T) Store, reopen func(*testing.T, Store) Store) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	start := func(t *testing.T) Store {
		s := open(t)
		t.Cleanup(func() { s.Close() })
		return s
	}

	t.Run("objects", func(t *testing.T) {
		s := start(t)
		expect(t, s, 0)
		all := oneOfEach()
		shuffled := slices.Clone(all)
		rand.Shuffle(len(all), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if r, err := s.Commit([][]policy.Change{puts(shuffled...)}); r != 1 || err != nil {
			t.Fatal(r, err)
		}
		expect(t, s, 1, all...)
		if reopen != nil {
			s = reopen(t, s)
			expect(t, s, 1, all...)
		}
		// Several sets at once, the later over the earlier.
		other := all[5].(policy.CustomerRoute)
		other.Metric = 1
		r, err := s.Commit([][]policy.Change{deletes(all[5], all[0]), puts(all[5]), puts(other, record(1)), deletes(record(1)), nil})
		if r != 6 || err != nil {
			t.Fatal(r, err)
		}
		want := slices.Concat(all[1:5], []policy.Object{other}, all[6:])
		expect(t, s, 6, want...)
		if r, err := s.Commit(nil); r != 6 || err != nil {
			t.Fatal(r, err)
		}
		if reopen != nil {
			s = reopen(t, s)
			expect(t, s, 6, want...)
		}
		if r, err := s.Commit([][]policy.Change{deletes(want...)}); r != 7 || err != nil {
			t.Fatal(r, err)
		}
		expect(t, s, 7)
	})

	t.Run("watch", func(t *testing.T) {
		s := start(t)
		sets := [][]policy.Change{puts(record(1)), puts(record(2), record(3)), deletes(record(2))}
		must(s.Commit(sets[:2]))
		must(s.Commit(sets[2:]))
		for after := range Revision(4) {
			for i, e := range take(t, must(s.Watch(ctx, after)), 3-int(after)) {
				if e.Revision != after+1+Revision(i) || !reflect.DeepEqual(e.Changes, sets[e.Revision-1]) {
					t.Errorf("after %d comes %v", after, e)
				}
			}
		}
		if _, err := s.Watch(ctx, 4); !errors.Is(err, ErrCompacted) {
			t.Errorf("after a revision to come: %v", err)
		}

		// Live, many watchers, one that leaves, one whose context ends.
		done := make(chan []Event)
		const watchers = 4
		for range watchers {
			events := must(s.Watch(ctx, 3))
			go func() {
				var all []Event
				for e, err := range events {
					if err != nil {
						break
					}
					if all = append(all, e); len(all) == 50 {
						break
					}
				}
				done <- all
			}()
		}
		short, leave := context.WithCancel(ctx)
		left := make(chan error)
		events := must(s.Watch(short, 3))
		go func() {
			for _, err := range events {
				if err != nil {
					left <- err
					return
				}
			}
			left <- nil
		}()
		for n := range 50 {
			must(s.Commit([][]policy.Change{puts(record(n))}))
		}
		for range watchers {
			all := <-done
			for i, e := range all {
				if e.Revision != Revision(4+i) || e.Changes[0].Object != policy.Object(record(i)) {
					t.Fatalf("event %d is %v", i, e)
				}
			}
			if len(all) != 50 {
				t.Errorf("%d events", len(all))
			}
		}
		leave()
		if err := <-left; err != nil {
			t.Error(err)
		}

		// Closing wakes who waits.
		events = must(s.Watch(ctx, 53))
		go func() {
			var last error
			for _, err := range events {
				last = err
			}
			left <- last
		}()
		time.Sleep(time.Millisecond)
		s.Close()
		if err := <-left; !errors.Is(err, ErrClosed) {
			t.Errorf("watching a store that closes ends with %v", err)
		}
		if _, err := s.Commit([][]policy.Change{puts(record(1))}); !errors.Is(err, ErrClosed) {
			t.Errorf("a closed store takes changes: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("closed twice: %v", err)
		}
	})

	t.Run("window", func(t *testing.T) {
		s := start(t)
		sets := make([][]policy.Change, windowEvents)
		for i := range sets {
			sets[i] = puts(record(i))
		}
		must(s.Commit(sets))
		slow := must(s.Watch(ctx, 0))
		take(t, slow, windowEvents)
		must(s.Commit(sets[:1]))
		if _, err := s.Watch(ctx, 0); !errors.Is(err, ErrCompacted) {
			t.Errorf("after 0 of %d: %v", windowEvents+1, err)
		}
		take(t, must(s.Watch(ctx, 1)), windowEvents)
		for _, err := range slow {
			if !errors.Is(err, ErrCompacted) {
				t.Errorf("a watcher too slow gets %v", err)
			}
		}
		// Large sets push others out sooner, but the last one always stays.
		large := make([]policy.Change, windowChanges+1)
		for i := range large {
			large[i] = policy.Change{Verb: policy.Put, Object: policy.Global{UseExternalRouter: i%2 == 0}}
		}
		r := must(s.Commit([][]policy.Change{large}))
		take(t, must(s.Watch(ctx, r-1)), 1)
		if _, err := s.Watch(ctx, r-2); !errors.Is(err, ErrCompacted) {
			t.Errorf("a large set left others: %v", err)
		}
		// It does not crowd the window once it has left it.
		for _, set := range sets[:10] {
			must(s.Commit([][]policy.Change{set}))
		}
		take(t, must(s.Watch(ctx, r)), 10)
		r += 10
		if reopen != nil {
			s = reopen(t, s)
			if _, err := s.Watch(ctx, r-1); !errors.Is(err, ErrCompacted) {
				t.Errorf("events outlived the process: %v", err)
			}
			if events, err := s.Watch(ctx, r); err != nil {
				t.Error(err)
			} else {
				must(s.Commit(sets[:1]))
				take(t, events, 1)
			}
		}
	})

	t.Run("random", func(t *testing.T) {
		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		r := rand.New(rand.NewPCG(seed, 0))
		s, want := start(t), map[policy.Key]policy.Object{}
		var revision Revision
		for range 60 {
			sets := make([][]policy.Change, r.IntN(4))
			for i := range sets {
				for range r.IntN(200) {
					rec := record(r.IntN(500))
					rec.VMName = fmt.Sprint(r.IntN(3))
					if r.IntN(3) == 0 {
						sets[i] = append(sets[i], deletes(rec)...)
						delete(want, rec.Key())
					} else {
						sets[i] = append(sets[i], puts(rec)...)
						want[rec.Key()] = rec
					}
				}
			}
			revision += Revision(len(sets))
			if got, err := s.Commit(sets); got != revision || err != nil {
				t.Fatal(got, err)
			}
			if reopen != nil && r.IntN(4) == 0 {
				s = reopen(t, s)
			}
			var objects []policy.Object
			for _, k := range slices.Sorted(maps.Keys(want)) {
				objects = append(objects, want[k])
			}
			expect(t, s, revision, objects...)
		}
	})
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	for spec, want := range map[string]string{
		"":                      "not memory or bolt:FILE",
		"memory:x":              "not memory or bolt:FILE",
		"bolt":                  "not memory or bolt:FILE",
		"bolt:":                 "not memory or bolt:FILE",
		"file:/x":               "not memory or bolt:FILE",
		"etcd:https://a:2379":   "later release",
		"bolt:" + dir:           "is a directory",
		"bolt:" + dir + "/no/x": "no such file or directory",
	} {
		s, err := Open(spec)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "store: ") {
			t.Errorf("%q opens as %v, %v; want %q", spec, s, err, want)
		}
	}
	if left := must(os.ReadDir(dir)); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A store whose making was cut short is made again.
func TestUnborn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy.db")
	os.WriteFile(path+".new", bytes.Repeat([]byte("x"), 5000), 0o600)
	s := must(Open("bolt:" + path))
	expect(t, s, 0)
	s.Close()
	info := must(os.Stat(path))
	if info.Mode() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if left, _ := filepath.Glob(path + "?*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A commit that fails leaves nothing behind, and the next is as if it had not
// been; one of which nobody knows whether it failed is the last.
func TestCommitFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy.db")
	s := must(Open("bolt:" + path))
	defer s.Close()
	must(s.Commit([][]policy.Change{puts(record(1))}))
	tooLong := policy.Port{Name: strings.Repeat("x", 40_000)} // for a key of bbolt; policy refuses it sooner
	if r, err := s.Commit([][]policy.Change{puts(record(2)), puts(record(3), tooLong)}); err == nil || r != 0 {
		t.Fatalf("a name of 40 kB is revision %d", r)
	}
	expect(t, s, 1, record(1))
	if r, err := s.Commit([][]policy.Change{puts(record(2))}); r != 2 || err != nil {
		t.Fatal(r, err)
	}
	expect(t, s, 2, record(1), record(2))

	s.(*bolt).db.Close()
	_, first := s.Commit([][]policy.Change{puts(record(3))})
	_, second := s.Commit([][]policy.Change{puts(record(3))})
	if first == nil || second != first {
		t.Errorf("after a commit of unknown outcome, %v, comes %v", first, second)
	}
	if s.(*bolt).revision() != 2 {
		t.Error("a failed commit counts")
	}
}

// A reader that rests while more is committed than is kept gets what it was given
// before, then ErrCompacted; never a gap.
func TestWatchThatRests(t *testing.T) {
	s, err := Open("memory")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	commit := func(n int) {
		for i := range n {
			vs := policy.VirtualSubnet{VSID: 6001, RDID: policy.RDID{1, byte(i), byte(i >> 8)}}
			if _, err := s.Commit([][]policy.Change{{{Verb: policy.Put, Object: vs}}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	commit(10)
	events, err := s.Watch(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	at := Revision(0)
	for e, err := range events {
		if err != nil {
			if !errors.Is(err, ErrCompacted) || at != 10 {
				t.Errorf("after revision %d: %v", at, err)
			}
			return
		}
		if e.Revision != at+1 || len(e.Changes) != 1 {
			t.Fatalf("revision %d with %d changes after %d", e.Revision, len(e.Changes), at)
		}
		if at++; at == 1 {
			commit(2 * windowEvents)
		}
	}
	t.Error("the watch ended without a word")
}
