package neigh

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"paca/dataplane/packet"
)

var seedFlag = flag.Uint64("seed", 0, "repeat the random test of this seed")

var (
	start = time.Date(2013, 10, 17, 0, 0, 0, 0, time.UTC)

	ours4   = Source{packet.MAC{2, 0, 0, 0, 1, 0x0a}, netip.MustParseAddr("192.168.1.10")}
	ours6   = Source{packet.MAC{2, 0, 0, 0, 1, 0x0a}, netip.MustParseAddr("2001:db8:1::10")}
	router4 = Key{3, 0, netip.MustParseAddr("192.168.1.1")}
	tagged4 = Key{3, 103, netip.MustParseAddr("192.168.1.1")}
	router6 = Key{3, 0, netip.MustParseAddr("2001:db8:1::aa:bbcc")}
	mac1    = packet.MAC{2, 0, 0, 0, 1, 1}
	mac2    = packet.MAC{2, 0, 0, 0, 1, 2}
)

// sim runs a table through time that costs nothing. What it sends is read by
// gopacket and kept as one line each: when (from start), and what.
type sim struct {
	*Table
	t       *testing.T
	now     time.Time
	sent    []string
	changes int // Ticks that reported one
}

func newSim(t *testing.T, cfg Config) *sim {
	cfg.Random = func(time.Duration) time.Duration { return 0 }
	return &sim{Table: New(cfg), t: t, now: start}
}

// run lets time pass up to at, from start, ticking whenever Next says so.
func (s *sim) run(at time.Duration) {
	s.t.Helper()
	for until := start.Add(at); ; {
		if next := s.Next(); !next.IsZero() && !next.After(until) {
			if next.After(s.now) {
				s.now = next
			}
		} else {
			s.now = until
		}
		if s.Tick(s.now, s.send) {
			s.changes++
		}
		if next := s.Next(); !next.IsZero() && !next.After(s.now) {
			s.t.Fatalf("at %v Next is %v: not after the Tick", s.now.Sub(start), next.Sub(start))
		}
		if s.now.Equal(until) {
			return
		}
	}
}

func (s *sim) send(port uint16, frame []byte) {
	s.sent = append(s.sent, fmt.Sprintf("%v port %d %s", s.now.Sub(start), port, describe(s.t, frame)))
}

func (s *sim) want(lines ...string) {
	s.t.Helper()
	if !slices.Equal(s.sent, lines) {
		s.t.Errorf("sent\n\t%s\nwant\n\t%s", strings.Join(s.sent, "\n\t"), strings.Join(lines, "\n\t"))
	}
	s.sent = nil
}

func (s *sim) wantState(k Key, state State, mac packet.MAC) {
	s.t.Helper()
	if m, st := s.Lookup(k); st != state || m != mac {
		s.t.Errorf("at %v: %v is %v at %v, want %v at %v", s.now.Sub(start), k.Addr, st, m, state, mac)
	}
}

// describe says in one line what gopacket reads in a frame.
func describe(t *testing.T, frame []byte) string {
	t.Helper()
	p := gopacket.NewPacket(slices.Clone(frame), layers.LayerTypeEthernet, gopacket.Default)
	if e := p.ErrorLayer(); e != nil {
		t.Fatalf("gopacket cannot read %x: %v", frame, e.Error())
	}
	eth := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	s := fmt.Sprintf("%v > %v", eth.SrcMAC, eth.DstMAC)
	if tag, ok := p.Layer(layers.LayerTypeDot1Q).(*layers.Dot1Q); ok {
		s += fmt.Sprintf(" vlan %d", tag.VLANIdentifier)
	}
	if arp, ok := p.Layer(layers.LayerTypeARP).(*layers.ARP); ok {
		return s + fmt.Sprintf(" ARP %d %v is %x, who is %v (%x)", arp.Operation,
			netip.AddrFrom4([4]byte(arp.SourceProtAddress)), arp.SourceHwAddress,
			netip.AddrFrom4([4]byte(arp.DstProtAddress)), arp.DstHwAddress)
	}
	ip := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
	icmp := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
	sum := icmp.Checksum
	icmp.SetNetworkLayerForChecksum(ip)
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{ComputeChecksums: true}, icmp, gopacket.Payload(icmp.LayerPayload())); err != nil {
		t.Fatal(err)
	}
	if icmp.Checksum != sum || ip.HopLimit != 255 {
		t.Errorf("ICMPv6 checksum %#x, want %#x; hop limit %d", sum, icmp.Checksum, ip.HopLimit)
	}
	s += fmt.Sprintf(" %v > %v", ip.SrcIP, ip.DstIP)
	if ns, ok := p.Layer(layers.LayerTypeICMPv6NeighborSolicitation).(*layers.ICMPv6NeighborSolicitation); ok {
		return s + fmt.Sprintf(" NS %v %v", ns.TargetAddress, ns.Options)
	}
	na := p.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement)
	return s + fmt.Sprintf(" NA %#x %v %v", na.Flags, na.TargetAddress, na.Options)
}

const (
	ask4   = " port 3 02:00:00:00:01:0a > ff:ff:ff:ff:ff:ff ARP 1 192.168.1.10 is 02000000010a, who is 192.168.1.1 (000000000000)"
	probe4 = " port 3 02:00:00:00:01:0a > 02:00:00:00:01:01 ARP 1 192.168.1.10 is 02000000010a, who is 192.168.1.1 (020000000101)"
	ask6   = " port 3 02:00:00:00:01:0a > 33:33:ff:aa:bb:cc 2001:db8:1::10 > ff02::1:ffaa:bbcc NS 2001:db8:1::aa:bbcc [ICMPv6Option(SourceAddress:02:00:00:00:01:0a)]"
	probe6 = " port 3 02:00:00:00:01:0a > 02:00:00:00:01:01 2001:db8:1::10 > 2001:db8:1::aa:bbcc NS 2001:db8:1::aa:bbcc [ICMPv6Option(SourceAddress:02:00:00:00:01:0a)]"
)

func TestL16Resolve(t *testing.T) {
	for _, tt := range []struct {
		name     string
		k        Key
		from     Source
		question string
	}{
		{"ARP", router4, ours4, ask4},
		{"ARP in a VLAN (W11)", tagged4, ours4, strings.Replace(ask4, " ARP", " vlan 103 ARP", 1)},
		{"ND", router6, ours6, ask6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSim(t, Config{})
			if !s.Next().IsZero() {
				t.Error("an empty table has something to do")
			}
			for range 100 { // every packet of a burst asks
				if !s.Want(s.now, tt.k, tt.from) {
					t.Fatal("refused")
				}
			}
			s.wantState(tt.k, Incomplete, packet.MAC{})
			s.run(0)
			s.want("0s" + tt.question)
			s.run(100 * time.Millisecond)
			s.want()
			s.Want(s.now, tt.k, tt.from)
			if !s.Learn(s.now, tt.k, mac1, true) {
				t.Error("an answer changes nothing")
			}
			s.wantState(tt.k, Reachable, mac1)
			s.run(20 * time.Second)
			s.want()
			if s.changes != 2 { // incomplete, reachable
				t.Errorf("%d changes reported, want 2", s.changes)
			}
		})
	}
}

func TestRetransmitGiveUpAndRetry(t *testing.T) {
	for _, tt := range []struct {
		k        Key
		from     Source
		question string
	}{{router4, ours4, ask4}, {router6, ours6, ask6}} {
		s := newSim(t, Config{})
		s.Want(s.now, tt.k, tt.from)
		s.run(2249 * time.Millisecond)
		s.want("0s"+tt.question, "250ms"+tt.question, "1.25s"+tt.question)
		s.wantState(tt.k, Incomplete, packet.MAC{})
		s.run(2250 * time.Millisecond)
		s.wantState(tt.k, Failed, packet.MAC{})

		// Wanted while failed: asked again, but not before its time.
		s.Want(s.now, tt.k, tt.from)
		s.run(3249 * time.Millisecond)
		s.want()
		s.run(3250 * time.Millisecond)
		s.want("3.25s" + tt.question)
		s.wantState(tt.k, Incomplete, packet.MAC{})

		// Nobody wants it any more: forgotten.
		s.run(6500 * time.Millisecond)
		s.want("3.5s"+tt.question, "4.5s"+tt.question)
		s.wantState(tt.k, None, packet.MAC{})
		if !s.Next().IsZero() {
			t.Error("an empty table has something to do")
		}
	}
}

func TestAnswerWhileFailed(t *testing.T) {
	s := newSim(t, Config{})
	s.Want(s.now, router4, ours4)
	s.run(3 * time.Second)
	s.wantState(router4, Failed, packet.MAC{})
	if !s.Learn(s.now, router4, mac1, true) {
		t.Error("late answer changes nothing")
	}
	s.wantState(router4, Reachable, mac1)
}

func TestReprobeKeepsMAC(t *testing.T) {
	for _, tt := range []struct {
		k               Key
		from            Source
		question, probe string
	}{{router4, ours4, ask4, probe4}, {router6, ours6, ask6, probe6}} {
		s := newSim(t, Config{})
		s.Want(s.now, tt.k, tt.from)
		s.Learn(s.now, tt.k, mac1, true)
		s.run(29 * time.Second)
		s.wantState(tt.k, Reachable, mac1)
		s.want()
		before := s.changes

		s.run(30 * time.Second)
		s.wantState(tt.k, Probe, mac1)
		s.want("30s" + tt.probe)
		if s.Learn(s.now, tt.k, mac1, true) {
			t.Error("confirmation of the same MAC is told to workers")
		}
		s.wantState(tt.k, Reachable, mac1)

		// Next time nobody answers: the MAC serves until three probes are lost.
		s.run(62249 * time.Millisecond)
		s.wantState(tt.k, Probe, mac1)
		s.want("1m0s"+tt.probe, "1m0.25s"+tt.probe, "1m1.25s"+tt.probe)
		if s.changes != before {
			t.Errorf("%d changes reported while the MAC was in use", s.changes-before)
		}
		s.run(62250 * time.Millisecond)
		s.wantState(tt.k, Incomplete, packet.MAC{})
		s.want("1m2.25s" + tt.question)
		if s.changes != before+1 {
			t.Error("loss of the MAC was not reported")
		}
	}
}

func TestMACChange(t *testing.T) {
	k, from := router4, ours4
	known := func(t *testing.T) *sim {
		s := newSim(t, Config{})
		s.Want(s.now, k, from)
		s.Learn(s.now, k, mac1, true)
		s.run(time.Second)
		return s
	}
	t.Run("unasked: used at once, and asked back", func(t *testing.T) {
		s := known(t)
		if !s.Learn(s.now, k, mac2, false) {
			t.Error("no change reported")
		}
		s.wantState(k, Probe, mac2)
		s.run(time.Second)
		s.want("1s" + strings.NewReplacer("> 02:00:00:00:01:01", "> 02:00:00:00:01:02", "020000000101", "020000000102").Replace(probe4))
		s.Learn(s.now, k, mac2, true)
		s.wantState(k, Reachable, mac2)
	})
	t.Run("an answer nobody asked for is asked back too", func(t *testing.T) {
		s := known(t)
		if !s.Learn(s.now, k, mac2, true) {
			t.Error("no change reported")
		}
		s.wantState(k, Probe, mac2)
	})
	t.Run("in answer to a probe", func(t *testing.T) {
		s := known(t)
		s.run(30 * time.Second)
		if !s.Learn(s.now, k, mac2, true) {
			t.Error("no change reported")
		}
		s.wantState(k, Reachable, mac2)
	})
	t.Run("unasked, same MAC: confirms nothing", func(t *testing.T) {
		s := known(t)
		s.run(20 * time.Second)
		if s.Learn(s.now, k, mac1, false) {
			t.Error("change reported")
		}
		s.run(30 * time.Second)
		s.wantState(k, Probe, mac1)
		if s.Learn(s.now, k, mac1, false) {
			t.Error("change reported")
		}
		s.wantState(k, Probe, mac1)
	})
	t.Run("unasked, while resolving: used, and asked back", func(t *testing.T) {
		s := newSim(t, Config{})
		s.Want(s.now, k, from)
		if !s.Learn(s.now, k, mac1, false) {
			t.Error("no change reported")
		}
		s.wantState(k, Probe, mac1)
		s.run(0)
		s.want("0s" + probe4)
	})
	t.Run("not a station's address", func(t *testing.T) {
		s := known(t)
		for _, mac := range []packet.MAC{{}, packet.Broadcast, {0x33, 0x33, 0, 0, 0, 1}} {
			if s.Learn(s.now, k, mac, true) {
				t.Errorf("%v taken", mac)
			}
		}
		s.wantState(k, Reachable, mac1)
	})
}

func TestStaticIsNeverOverwritten(t *testing.T) {
	s := newSim(t, Config{})
	s.AddStatic(router4, mac1)
	s.Want(s.now, router6, ours6)
	s.AddStatic(router6, mac1) // one that was being resolved
	for _, k := range []Key{router4, router6} {
		s.wantState(k, Static, mac1)
		s.Want(s.now, k, ours4)
		for _, solicited := range []bool{false, true} {
			if s.Learn(s.now, k, mac2, solicited) {
				t.Error("static entry learned")
			}
		}
	}
	s.run(time.Hour)
	s.wantState(router4, Static, mac1)
	s.wantState(router6, Static, mac1)
	s.want()
	if s.changes != 1 {
		t.Errorf("%d changes, want 1", s.changes)
	}
	s.Delete(router4)
	s.wantState(router4, None, packet.MAC{})
	if s.run(time.Hour); s.changes != 2 {
		t.Error("deletion was not reported")
	}
	s.Want(s.now, router4, ours4)
	s.wantState(router4, Incomplete, packet.MAC{})
}

func TestUnsolicitedCreatesNothing(t *testing.T) {
	s := newSim(t, Config{})
	for _, solicited := range []bool{false, true} {
		if s.Learn(s.now, router4, mac1, solicited) {
			t.Error("learned")
		}
	}
	for _, kind := range []Kind{ARPRequest, ARPReply, NS, NA} {
		if s.Hear(s.now, 3, 0, Message{Kind: kind, Sender: router4.Addr, SenderMAC: mac1, Solicited: true, Override: true}) {
			t.Errorf("%v: learned", kind)
		}
	}
	for k := range s.All() {
		t.Errorf("entry for %v", k)
	}
	// What is heard in one VLAN or on one port says nothing of another.
	s.Want(s.now, tagged4, ours4)
	s.Hear(s.now, 3, 0, Message{Kind: ARPReply, Sender: router4.Addr, SenderMAC: mac1, Solicited: true})
	s.Hear(s.now, 4, 103, Message{Kind: ARPReply, Sender: router4.Addr, SenderMAC: mac1, Solicited: true})
	s.wantState(tagged4, Incomplete, packet.MAC{})
	s.Hear(s.now, 3, 103, Message{Kind: ARPReply, Sender: router4.Addr, SenderMAC: mac1, Solicited: true})
	s.wantState(tagged4, Reachable, mac1)
}

func TestBoundedEntries(t *testing.T) {
	s := newSim(t, Config{MaxEntries: 10})
	key := func(i int) Key { return Key{0, 0, netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)})} }
	for i := range 20 {
		if got := s.Want(s.now, key(i), ours4); got != (i < 10) {
			t.Errorf("entry %d: %v", i, got)
		}
	}
	if !s.Want(s.now, key(0), ours4) {
		t.Error("an entry that is there was refused")
	}
	s.AddStatic(router4, mac1) // configuration is not bounded
	s.wantState(router4, Static, mac1)
	s.Delete(key(1))
	if !s.Want(s.now, key(15), ours4) || s.Want(s.now, key(16), ours4) {
		t.Error("one deleted, room for one")
	}
	s.AddStatic(key(2), mac1)
	if !s.Want(s.now, key(16), ours4) || s.Want(s.now, key(17), ours4) {
		t.Error("one made static, room for one")
	}
	s.run(time.Minute) // nobody answers, nobody asks
	for i := range 10 {
		if !s.Want(s.now, key(20+i), ours4) {
			t.Errorf("entry %d refused after the others failed", 20+i)
		}
	}
	n := 0
	for range s.All() {
		n++
	}
	if n != 12 {
		t.Errorf("%d entries, want 12", n)
	}
}

func TestWantRefusesWhatNoNeighbourHas(t *testing.T) {
	s := newSim(t, Config{})
	for _, tt := range []struct {
		addr string
		from Source
	}{
		{"0.0.0.0", ours4}, {"255.255.255.255", ours4}, {"224.0.0.1", ours4}, {"192.168.1.1", ours6}, {"192.168.1.1", Source{}},
		{"::", ours6}, {"ff02::1", ours6}, {"2001:db8::1", ours4}, {"::ffff:192.168.1.1", ours6}, {"fe80::1%eth0", ours6},
	} {
		if s.Want(s.now, Key{Addr: netip.MustParseAddr(tt.addr)}, tt.from) {
			t.Errorf("%s from %v: accepted", tt.addr, tt.from.Addr)
		}
	}
	if s.Want(s.now, Key{}, ours4) {
		t.Error("no address: accepted")
	}
	s.run(time.Minute)
	s.want()
}

// Late is not never: a Tick that comes long after Next does each thing once.
func TestLateTick(t *testing.T) {
	s := newSim(t, Config{})
	s.Want(s.now, router4, ours4)
	s.Assign(s.now, 3, 0, ours6)
	s.now = s.now.Add(time.Hour)
	s.Tick(s.now, s.send)
	if len(s.sent) != 2 {
		t.Errorf("sent %v", s.sent)
	}
	s.Tick(s.now, s.send)
	if len(s.sent) != 2 {
		t.Errorf("sent %v", s.sent)
	}
}

func TestConfig(t *testing.T) {
	s := newSim(t, Config{FirstRetransmit: time.Second, Retransmit: 2 * time.Second, Tries: 2, Failed: 5 * time.Second, Reachable: time.Minute})
	s.Want(s.now, router4, ours4)
	s.run(10 * time.Second)
	s.want("0s"+ask4, "1s"+ask4) // failed at 3 s, forgotten at 8 s
	s.wantState(router4, None, packet.MAC{})
	s.Want(s.now, router4, ours4)
	s.Learn(s.now, router4, mac1, true)
	s.run(69 * time.Second)
	s.wantState(router4, Reachable, mac1)
	s.run(70 * time.Second)
	s.wantState(router4, Probe, mac1)
}

func TestAllIsSorted(t *testing.T) {
	s := newSim(t, Config{})
	keys := []Key{
		{0, 0, netip.MustParseAddr("10.0.0.2")},
		{0, 0, netip.MustParseAddr("10.0.0.10")},
		{0, 0, netip.MustParseAddr("fe80::1")},
		{0, 5, netip.MustParseAddr("10.0.0.1")},
		{1, 0, netip.MustParseAddr("10.0.0.1")},
	}
	for _, i := range []int{3, 0, 4, 2, 1} {
		s.AddStatic(keys[i], mac1)
	}
	s.Want(s.now, router4, ours4)
	keys = append(keys, router4)
	var got []Key
	for k, e := range s.All() {
		got = append(got, k)
		want := Entry{MAC: mac1, State: Static}
		if k == router4 {
			want = Entry{State: Incomplete, From: ours4}
		}
		if e != want {
			t.Errorf("%v: %+v, want %+v", k.Addr, e, want)
		}
	}
	if !slices.Equal(got, keys) {
		t.Errorf("order %v", got)
	}
	for range s.All() {
		break // may be left early
	}
}

// Anything in any order: the table keeps its promises.
func TestRandomLife(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("repeat with -seed=%d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 50 {
		table, now := New(Config{MaxEntries: 8, Random: func(below time.Duration) time.Duration { return time.Duration(r.Int64N(int64(below))) }}), start
		macs := []packet.MAC{{}, mac1, mac2, packet.Broadcast}
		known := map[Key]Entry{}       // at the last Tick
		static := map[Key]packet.MAC{} // must never change
		asked := map[Key]time.Time{}   // when the last question to all went out
		key := func() (Key, Source) {
			i := byte(r.IntN(12))
			if r.IntN(2) == 0 {
				return Key{Addr: netip.AddrFrom4([4]byte{10, 0, 0, 1 + i})}, ours4
			}
			return Key{Port: 1, VLAN: 5, Addr: netip.AddrFrom16([16]byte{0: 0xfd, 15: 1 + i})}, ours6
		}
		send := func(port uint16, frame []byte) {
			var l packet.Layout
			if f := packet.Parse(frame, &l); f != packet.OK {
				t.Fatalf("sent %x: %v", frame, f)
			}
			m, ok := Classify(frame, &l)
			if !ok {
				t.Fatalf("sent %x: not a message", frame)
			}
			if table.Address(Key{port, l.TCI, m.Sender}).State == Duplicate && m.Sender == m.Target {
				t.Fatalf("%v is another machine's, and announced", m.Sender)
			}
			if eth := packet.Ethernet(frame); m.Kind != NA && m.Sender != m.Target && !m.Sender.IsUnspecified() && eth.Dst().IsMulticast() {
				k := Key{port, l.TCI, m.Target}
				if last, ok := asked[k]; ok && now.Sub(last) < 250*time.Millisecond && known[k].State == Incomplete {
					t.Fatalf("%v asked for again after %v", k, now.Sub(last))
				}
				asked[k] = now
			}
		}
		for range 400 {
			now = now.Add(time.Duration(r.Int64N(int64(2 * time.Second))))
			k, from := key()
			switch r.IntN(13) {
			case 0, 1, 2, 3:
				table.Want(now, k, from)
			case 4, 5, 6:
				table.Learn(now, k, macs[r.IntN(len(macs))], r.IntN(2) == 0)
			case 7, 8:
				table.Hear(now, k.Port, k.VLAN, Message{Kind: Kind(1 + r.IntN(4)), Sender: k.Addr, SenderMAC: macs[r.IntN(len(macs))], Solicited: r.IntN(2) == 0, Override: r.IntN(2) == 0})
			case 9:
				table.Assign(now, k.Port, k.VLAN, Source{from.MAC, k.Addr})
			case 10:
				if r.IntN(10) == 0 {
					table.AddStatic(k, mac1)
					static[k] = mac1
				}
			case 11:
				table.Delete(k)
				delete(static, k)
				delete(known, k)
				delete(asked, k)
			case 12:
				was, by := table.Address(k), macs[r.IntN(len(macs))]
				claimed := table.Contest(now, k.Port, k.VLAN, Message{Kind: ARPRequest, Sender: k.Addr, Target: k.Addr, By: by})
				if now := table.Address(k); claimed != (was.State != Unassigned && by != was.MAC) || claimed && now.By != by ||
					!claimed && now != was || now.State == Tentative && claimed {
					t.Fatalf("%v: %+v, claimed by %v, %v: %+v", k, was, by, claimed, now)
				}
			}
			changed := table.Tick(now, send)
			if next := table.Next(); !next.IsZero() && !next.After(now) {
				t.Fatalf("Next %v is not after the Tick at %v", next, now)
			}
			seen, dynamic := map[Key]Entry{}, 0
			for k, e := range table.All() {
				seen[k] = e
				if e.State.Resolved() == e.MAC.IsZero() || e.MAC.IsMulticast() || e.State == None {
					t.Fatalf("%v: %+v", k, e)
				}
				if mac, ok := static[k]; ok != (e.State == Static) || ok && mac != e.MAC {
					t.Fatalf("%v: %+v, static %v", k, e, ok)
				}
				if e.State != Static {
					dynamic++
				}
				if before, ok := known[k]; !changed && (!ok || before.MAC != e.MAC || before.State.Resolved() != e.State.Resolved()) {
					t.Fatalf("%v: %+v was %+v, and no change was reported", k, e, before)
				}
			}
			for k := range known {
				if _, ok := seen[k]; !ok && !changed {
					t.Fatalf("%v is gone, and no change was reported", k)
				}
			}
			if dynamic > 8 {
				t.Fatalf("%d entries, want at most 8", dynamic)
			}
			known = seen
		}
	}
}

// What nobody uses any more is forgotten and not asked for again; what is static,
// and what is used, stays.
func TestKeep(t *testing.T) {
	table := New(Config{Random: func(time.Duration) time.Duration { return 0 }})
	now := time.Unix(0, 0)
	key := func(last byte) Key { return Key{1, 0, netip.AddrFrom4([4]byte{192, 168, 1, last})} }
	from := Source{MAC: packet.MAC{2, 0, 0, 0, 0, 1}, Addr: key(9).Addr}
	for last := byte(1); last <= 2; last++ {
		table.Want(now, key(last), from)
	}
	table.AddStatic(key(3), packet.MAC{2, 0, 0, 0, 0, 3})
	table.Assign(now, 1, 0, from)
	table.Assign(now, 1, 0, Source{MAC: from.MAC, Addr: key(8).Addr})
	table.Keep(map[Key]bool{key(1): true, key(8): true})
	for last, want := range map[byte]State{1: Incomplete, 2: None, 3: Static} {
		if _, got := table.Lookup(key(last)); got != want {
			t.Errorf("neighbor .%d is %v, want %v", last, got, want)
		}
	}
	var sent int
	table.Tick(now, func(uint16, []byte) { sent++ })
	if sent != 2 {
		t.Errorf("%d frames sent, want one question and one probe", sent)
	}
}
