package neigh

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"paca/dataplane/packet"
)

// What is sent for the tests' own addresses, read by gopacket.
const (
	dad4  = " port 3 02:00:00:00:01:0a > ff:ff:ff:ff:ff:ff vlan 103 ARP 1 0.0.0.0 is 02000000010a, who is 192.168.1.10 (000000000000)"
	dad6  = " port 3 02:00:00:00:01:0a > 33:33:ff:00:00:10 :: > ff02::1:ff00:10 NS 2001:db8:1::10 []"
	mine4 = " port 3 02:00:00:00:01:0a > ff:ff:ff:ff:ff:ff vlan 103 ARP 1 192.168.1.10 is 02000000010a, who is 192.168.1.10 (000000000000)"
	mine6 = " port 3 02:00:00:00:01:0a > 33:33:00:00:00:01 2001:db8:1::10 > ff02::1 NA 0x20 2001:db8:1::10 [ICMPv6Option(TargetAddress:02:00:00:00:01:0a)]"
)

// families are the two that everything is shown for.
var families = []struct {
	name       string
	k          Key
	from       Source
	dad, mine  string
	claim      Message // the address is another machine's
	probe      Message // another machine asks whether it is anybody's
	probe2     Message // likewise, our own frame
	ours       Message
	stranger   Message
	advertised Message
}{
	{
		"ARP", Key{3, 103, ours4.Addr}, ours4, dad4, mine4,
		Message{Kind: ARPReply, Sender: ours4.Addr, SenderMAC: mac2, Target: ours4.Addr, Override: true, By: mac2},
		Message{Kind: ARPRequest, Sender: netip.IPv4Unspecified(), SenderMAC: mac2, Target: ours4.Addr, Override: true, By: mac2},
		Message{Kind: ARPRequest, Sender: netip.IPv4Unspecified(), SenderMAC: ours4.MAC, Target: ours4.Addr, Override: true, By: ours4.MAC},
		Message{Kind: ARPRequest, Sender: ours4.Addr, SenderMAC: ours4.MAC, Target: ours4.Addr, Override: true, By: ours4.MAC},
		Message{Kind: ARPRequest, Sender: router4.Addr, SenderMAC: mac2, Target: ours4.Addr, Override: true, By: mac2},
		Message{Kind: ARPRequest, Sender: ours4.Addr, SenderMAC: mac2, Target: router4.Addr, Override: true, By: mac2},
	},
	{
		"ND", Key{3, 0, ours6.Addr}, ours6, dad6, mine6,
		Message{Kind: NA, Sender: ours6.Addr, SenderMAC: mac2, Target: ours6.Addr, Override: true, By: mac2},
		Message{Kind: NS, Sender: netip.IPv6Unspecified(), Target: ours6.Addr, Override: true, By: mac2},
		Message{Kind: NS, Sender: netip.IPv6Unspecified(), Target: ours6.Addr, Override: true, By: ours6.MAC},
		Message{Kind: NA, Sender: ours6.Addr, Target: ours6.Addr, By: ours6.MAC},
		Message{Kind: NS, Sender: router6.Addr, SenderMAC: mac2, Target: ours6.Addr, Override: true, By: mac2},
		Message{Kind: NA, Sender: ours6.Addr, Target: ours6.Addr, By: mac2}, // without the option that tells the MAC
	},
}

func TestP14_A13AddressLife(t *testing.T) {
	for _, f := range families {
		// Each row is a life: what is heard when, and what was sent and is so at
		// its end.
		type heard struct {
			at     time.Duration
			m      Message
			claims bool
		}
		const s = time.Second
		for _, tt := range []struct {
			name  string
			heard []heard
			end   time.Duration
			sent  []string
			state AddressState
			by    packet.MAC
			times uint64 // that it became a duplicate
		}{
			{"before the first answer could come", nil, 3999 * time.Millisecond,
				[]string{"0s" + f.dad, "1s" + f.dad, "2s" + f.dad}, Tentative, packet.MAC{}, 0},
			{"nobody answers", nil, time.Hour,
				[]string{"0s" + f.dad, "1s" + f.dad, "2s" + f.dad, "4s" + f.mine, "5s" + f.mine, "6s" + f.mine}, Preferred, packet.MAC{}, 0},
			{"an answer to the first probe", []heard{{s / 2, f.claim, true}}, 59 * s,
				[]string{"0s" + f.dad}, Duplicate, mac2, 1},
			{"an answer to the last probe", []heard{{3900 * time.Millisecond, f.claim, true}}, 59 * s,
				[]string{"0s" + f.dad, "1s" + f.dad, "2s" + f.dad}, Duplicate, mac2, 1},
			{"another who probes at the same time", []heard{{s / 2, f.probe, true}}, 59 * s,
				[]string{"0s" + f.dad}, Duplicate, mac2, 1},
			{"our own frames, come back", []heard{{s / 2, f.probe2, false}, {9 * s / 2, f.ours, false}, {11 * s / 2, f.ours, false}}, time.Hour,
				[]string{"0s" + f.dad, "1s" + f.dad, "2s" + f.dad, "4s" + f.mine, "5s" + f.mine, "6s" + f.mine}, Preferred, packet.MAC{}, 0},
			{"somebody who asks for it", []heard{{s / 2, f.stranger, false}, {10 * s, f.stranger, false}}, time.Hour,
				[]string{"0s" + f.dad, "1s" + f.dad, "2s" + f.dad, "4s" + f.mine, "5s" + f.mine, "6s" + f.mine}, Preferred, packet.MAC{}, 0},
			{"probed by another later: the answer is the worker's", []heard{{100 * s, f.probe, false}, {101 * s, f.probe, false}}, 110 * s,
				[]string{"0s" + f.dad, "1s" + f.dad, "2s" + f.dad, "4s" + f.mine, "5s" + f.mine, "6s" + f.mine}, Preferred, packet.MAC{}, 0},
			{"one claim later: defended once", []heard{{100 * s, f.claim, true}}, 200 * s,
				[]string{"0s" + f.dad, "1s" + f.dad, "2s" + f.dad, "4s" + f.mine, "5s" + f.mine, "6s" + f.mine, "1m40s" + f.mine}, Preferred, mac2, 0},
			{"one claim during the announcements: the next is due at once", []heard{{4500 * time.Millisecond, f.claim, true}}, 200 * s,
				[]string{"0s" + f.dad, "1s" + f.dad, "2s" + f.dad, "4s" + f.mine, "4.5s" + f.mine, "5.5s" + f.mine}, Preferred, mac2, 0},
			{"claims 10 s apart: each defended", []heard{{100 * s, f.claim, true}, {110 * s, f.advertised, true}}, 200 * s,
				[]string{"0s" + f.dad, "1s" + f.dad, "2s" + f.dad, "4s" + f.mine, "5s" + f.mine, "6s" + f.mine, "1m40s" + f.mine, "1m50s" + f.mine}, Preferred, mac2, 0},
			{"two claims within 10 s: given up", []heard{{100 * s, f.advertised, true}, {109 * s, f.advertised, true}}, 168 * s,
				[]string{"0s" + f.dad, "1s" + f.dad, "2s" + f.dad, "4s" + f.mine, "5s" + f.mine, "6s" + f.mine, "1m40s" + f.mine}, Duplicate, mac2, 1},
			{"a duplicate is probed again after a minute", []heard{{s / 2, f.claim, true}}, 61 * s,
				[]string{"0s" + f.dad, "1m0.5s" + f.dad}, Duplicate, mac2, 1},
			{"and preferred again when nobody answers", []heard{{s / 2, f.claim, true}}, time.Hour,
				[]string{"0s" + f.dad, "1m0.5s" + f.dad, "1m1.5s" + f.dad, "1m2.5s" + f.dad, "1m4.5s" + f.mine, "1m5.5s" + f.mine, "1m6.5s" + f.mine}, Preferred, mac2, 1},
			{"and left alone for another minute when somebody does", []heard{{s / 2, f.claim, true}, {61 * s, f.claim, true}}, 122 * s,
				[]string{"0s" + f.dad, "1m0.5s" + f.dad, "2m1s" + f.dad, "2m2s" + f.dad}, Duplicate, mac2, 1},
			{"a duplicate whose owner is heard is not probed", []heard{{s / 2, f.claim, true}, {50 * s, f.claim, true}}, 109 * s,
				[]string{"0s" + f.dad}, Duplicate, mac2, 1},
			{"a duplicate that others probe is no more of one", []heard{{s / 2, f.claim, true}, {50 * s, f.probe, false}}, 61 * s,
				[]string{"0s" + f.dad, "1m0.5s" + f.dad}, Duplicate, mac2, 1},
			{"given up, regained, given up: claims of the life before do not count", []heard{{s / 2, f.claim, true}, {66 * s, f.claim, true}, {70 * s, f.claim, true}}, 100 * s,
				[]string{"0s" + f.dad, "1m0.5s" + f.dad, "1m1.5s" + f.dad, "1m2.5s" + f.dad, "1m4.5s" + f.mine, "1m5.5s" + f.mine, "1m6s" + f.mine}, Duplicate, mac2, 2},
		} {
			t.Run(f.name+"/"+tt.name, func(t *testing.T) {
				s := newSim(t, Config{})
				s.Assign(s.now, f.k.Port, f.k.VLAN, f.from)
				for _, h := range tt.heard {
					s.run(h.at)
					if got := s.Contest(s.now, f.k.Port, f.k.VLAN, h.m); got != h.claims {
						t.Errorf("at %v: a claim: %v", h.at, got)
					}
				}
				s.run(tt.end)
				s.want(tt.sent...)
				if got := s.Address(f.k); got != (Address{f.from.MAC, tt.state, tt.by}) {
					t.Errorf("is %+v, want %v by %v", got, tt.state, tt.by)
				}
				if s.Duplicates() != tt.times {
					t.Errorf("became a duplicate %d times, want %d", s.Duplicates(), tt.times)
				}
				if s.changes != 0 {
					t.Error("no neighbor changed, yet it is said")
				}
			})
		}
	}
}

// A claim on another port or in another VLAN is of another link.
func TestP14OtherLinks(t *testing.T) {
	s := newSim(t, Config{})
	s.Assign(s.now, 3, 103, ours4)
	for _, k := range []Key{{3, 0, ours4.Addr}, {4, 103, ours4.Addr}, {3, 103, router4.Addr}} {
		m := families[0].claim
		m.Sender = k.Addr
		if s.Contest(s.now, k.Port, k.VLAN, m) {
			t.Errorf("contested by %+v", k)
		}
	}
	if a := s.Address(Key{3, 103, ours4.Addr}); a.State != Tentative {
		t.Errorf("is %v", a.State)
	}
}

// Without detection an address is announced at once, and whoever claims it changes
// nothing; that it is claimed is said.
func TestP14NoDetection(t *testing.T) {
	for _, f := range families {
		s := newSim(t, Config{NoDetection: true})
		s.Assign(s.now, f.k.Port, f.k.VLAN, f.from)
		for i := range 5 {
			s.run(time.Duration(10+i) * time.Second)
			if !s.Contest(s.now, f.k.Port, f.k.VLAN, f.claim) {
				t.Error("not a claim")
			}
		}
		s.run(time.Hour)
		s.want("0s"+f.mine, "1s"+f.mine, "2s"+f.mine)
		if a := s.Address(f.k); a != (Address{f.from.MAC, Preferred, mac2}) || s.Duplicates() != 0 {
			t.Errorf("%s: %+v", f.name, a)
		}
	}
}

// An address that is assigned again, with another MAC perhaps, begins anew; one
// that is not ours any more is silent.
func TestA13AssignAgainAndDelete(t *testing.T) {
	s := newSim(t, Config{})
	k := Key{3, 103, ours4.Addr}
	s.Assign(s.now, 3, 103, Source{mac1, ours4.Addr})
	s.run(0)
	s.Contest(s.now, 3, 103, families[0].claim)
	s.Assign(s.now, 3, 103, ours4)
	if a := s.Address(k); a != (Address{ours4.MAC, Tentative, packet.MAC{}}) {
		t.Errorf("assigned again: %+v", a)
	}
	s.sent = nil
	s.run(time.Second)
	s.want("0s"+dad4, "1s"+dad4)
	s.Delete(k)
	s.run(time.Hour)
	s.want()
	if a := s.Address(k); a != (Address{}) || !s.Next().IsZero() {
		t.Errorf("deleted: %+v", a)
	}
	if s.Contest(s.now, 3, 103, families[0].claim) {
		t.Error("an address that is nobody's was claimed")
	}
}

// Many addresses at once are spread over a second (RFC 5227: PROBE_WAIT). Two hosts
// that find each other while both probe do not do so for ever: in the end one has
// the address.
func TestA13_P14Spread(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("repeat with -seed=%d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	s := newSim(t, Config{})
	s.cfg.Random = func(below time.Duration) time.Duration { return time.Duration(r.Int64N(int64(below))) }
	const n = 1000
	for i := range n {
		s.Assign(s.now, 1, 0, Source{mac1, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})})
	}
	s.run(0)
	if len(s.sent) > n/20 {
		t.Errorf("%d of %d probes at once", len(s.sent), n)
	}
	s.run(time.Second)
	if len(s.sent) < n {
		t.Errorf("%d of %d probes within a second", len(s.sent), n)
	}

	// Two hosts, one link: both assign the address at the same time.
	for range 20 {
		hosts := [2]*sim{newSim(t, Config{}), newSim(t, Config{})}
		k := Key{1, 0, ours4.Addr}
		for i, h := range hosts {
			h.cfg.Random = s.cfg.Random
			h.Assign(start, 1, 0, Source{packet.MAC{2, 0, 0, 0, 0, byte(i)}, ours4.Addr})
		}
		hear := func(to *sim, frame []byte) {
			var l packet.Layout
			if packet.Parse(frame, &l) != packet.OK {
				t.Fatalf("sent %x", frame)
			}
			m, _ := Classify(frame, &l)
			to.Contest(to.now, 1, l.TCI, m)
		}
		owners := 0
		for at := time.Duration(0); at < 20*time.Minute; at += 50 * time.Millisecond {
			for i, h := range hosts {
				other := hosts[1-i]
				h.now, other.now = start.Add(at), start.Add(at)
				h.Tick(h.now, func(_ uint16, frame []byte) {
					hear(other, frame)
					// The other's worker answers a probe of what it may use.
					if m := strings.Contains(describe(t, frame), "ARP 1 0.0.0.0"); m && other.Address(k).State != Duplicate {
						reply := slices.Clone(frame)
						var l packet.Layout
						packet.Parse(reply, &l)
						packet.ARPReply(reply, &l, other.Address(k).MAC)
						hear(h, reply)
					}
				})
			}
		}
		for _, h := range hosts {
			if h.Address(k).State == Preferred {
				owners++
			}
		}
		if owners != 1 {
			t.Fatalf("after 20 minutes %d of two hosts have the address: %v", owners, fmt.Sprint(hosts[0].Address(k), hosts[1].Address(k)))
		}
	}
}

func TestAddressesAreSorted(t *testing.T) {
	s := newSim(t, Config{})
	keys := []Key{{0, 0, ours4.Addr}, {0, 0, ours6.Addr}, {0, 5, router4.Addr}, {1, 0, router4.Addr}}
	for _, i := range []int{2, 0, 3, 1} {
		s.Assign(s.now, keys[i].Port, keys[i].VLAN, Source{mac1, keys[i].Addr})
	}
	var got []Key
	for k, a := range s.Addresses() {
		got = append(got, k)
		if a.State != Tentative || a.MAC != mac1 {
			t.Errorf("%v: %+v", k, a)
		}
	}
	if !slices.Equal(got, keys) {
		t.Errorf("order %v", got)
	}
	for range s.Addresses() {
		break // may be left early
	}
}

// HNV's numbers.
func TestP14StateNumbers(t *testing.T) {
	for number, name := range []string{"invalid", "tentative", "duplicate", "deprecated", "preferred"} {
		if got := AddressState(number).String(); got != name {
			t.Errorf("%d is %s, want %s", number, got, name)
		}
	}
	if Unassigned != 0 || Tentative != 1 || Duplicate != 2 || Preferred != 4 {
		t.Error("other numbers")
	}
}
