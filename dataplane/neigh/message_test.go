package neigh

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"paca/dataplane/packet"
)

var (
	ours4b   = ours4.Addr.As4()
	router4b = router4.Addr.As4()
	ours6b   = ours6.Addr.As16()
	router6b = router6.Addr.As16()
)

func arp(dst packet.MAC, vlan uint16, f packet.ARPFields) []byte {
	return packet.AppendARP(nil, &packet.ARPFrame{DstMAC: dst, SrcMAC: f.SenderMAC, VLAN: vlan, ARPFields: f})
}

// messages are the frames of the tests and the seed of the fuzzer.
var messages = []struct {
	name  string
	frame []byte
	want  Message // Kind 0: not a message
}{
	{"ARP request", arp(packet.Broadcast, 0, packet.ARPFields{Op: packet.ARPOpRequest, SenderMAC: mac1, SenderIP: router4b, TargetIP: ours4b}),
		Message{ARPRequest, router4.Addr, mac1, ours4.Addr, false, true, mac1}},
	{"ARP reply to us", arp(ours4.MAC, 103, packet.ARPFields{Op: packet.ARPOpReply, SenderMAC: mac1, SenderIP: router4b, TargetMAC: ours4.MAC, TargetIP: ours4b}),
		Message{ARPReply, router4.Addr, mac1, ours4.Addr, true, true, mac1}},
	{"ARP reply to all", arp(packet.Broadcast, 0, packet.ARPFields{Op: packet.ARPOpReply, SenderMAC: mac1, SenderIP: router4b, TargetIP: router4b}),
		Message{ARPReply, router4.Addr, mac1, router4.Addr, false, true, mac1}},
	{"ARP probe (RFC 5227)", arp(packet.Broadcast, 0, packet.ARPFields{Op: packet.ARPOpRequest, SenderMAC: mac1, TargetIP: ours4b}),
		Message{ARPRequest, netip.IPv4Unspecified(), mac1, ours4.Addr, false, true, mac1}},
	{"RARP's operation", arp(packet.Broadcast, 0, packet.ARPFields{Op: 3, SenderMAC: mac1, SenderIP: router4b, TargetIP: ours4b}), Message{}},
	{"ARP of another network", func() []byte {
		b := arp(packet.Broadcast, 0, packet.ARPFields{Op: 1, SenderMAC: mac1, SenderIP: router4b, TargetIP: ours4b})
		b[packet.EthernetLen+1] = 6
		return b
	}(), Message{}},
	{"NS", packet.AppendNS(nil, &packet.NSFrame{DstMAC: packet.GroupMAC(packet.SolicitedNode(ours6b)), SrcMAC: mac1, Src: router6b, Dst: packet.SolicitedNode(ours6b), Target: ours6b}),
		Message{NS, router6.Addr, mac1, ours6.Addr, false, true, mac1}},
	{"NS for duplicate address detection", packet.AppendNS(nil, &packet.NSFrame{DstMAC: packet.GroupMAC(packet.SolicitedNode(ours6b)), SrcMAC: mac1, Dst: packet.SolicitedNode(ours6b), Target: ours6b}),
		Message{NS, netip.IPv6Unspecified(), packet.MAC{}, ours6.Addr, false, true, mac1}},
	{"NA to us", packet.AppendNA(nil, &packet.NAFrame{DstMAC: ours6.MAC, SrcMAC: mac1, VLAN: 7, Src: router6b, Dst: ours6b, Target: router6b, TargetMAC: mac1, Flags: packet.NDRouter | packet.NDSolicited}),
		Message{NA, router6.Addr, mac1, router6.Addr, true, false, mac1}},
	{"NA to all", packet.AppendNA(nil, &packet.NAFrame{DstMAC: packet.GroupMAC(packet.AllNodes), SrcMAC: mac1, Src: router6b, Dst: packet.AllNodes, Target: router6b, TargetMAC: mac1, Flags: packet.NDOverride}),
		Message{NA, router6.Addr, mac1, router6.Addr, false, true, mac1}},
	{"NA with a wrong checksum", func() []byte {
		b := packet.AppendNA(nil, &packet.NAFrame{DstMAC: ours6.MAC, SrcMAC: mac1, Src: router6b, Dst: ours6b, Target: router6b, TargetMAC: mac1, Flags: packet.NDSolicited})
		b[len(b)-1]++
		return b
	}(), Message{}},
	{"NS that was forwarded", func() []byte {
		b := packet.AppendNS(nil, &packet.NSFrame{DstMAC: ours6.MAC, SrcMAC: mac1, Src: router6b, Dst: ours6b, Target: ours6b})
		packet.IPv6(b[packet.EthernetLen:]).SetHopLimit(254)
		return b
	}(), Message{}},
	{"IPv4", append(make([]byte, 12), 8, 0, 0x45, 0, 0, 20, 0, 0, 0, 0, 64, 1, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2), Message{}},
	{"IPv6 without payload", append(make([]byte, 12), append([]byte{0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 59, 255}, make([]byte, 32)...)...), Message{}},
}

func TestClassify(t *testing.T) {
	for _, tt := range messages {
		t.Run(tt.name, func(t *testing.T) {
			var l packet.Layout
			if packet.Parse(tt.frame, &l) == packet.OK {
				if got, ok := Classify(tt.frame, &l); got != tt.want || ok != (tt.want.Kind != 0) {
					t.Errorf("got %+v, %v, want %+v", got, ok, tt.want)
				}
			} else if tt.want.Kind != 0 {
				t.Error("Parse refuses it")
			}
		})
	}
}

func TestClassifyDoesNotAllocate(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() {
		for i := range messages {
			var l packet.Layout
			if packet.Parse(messages[i].frame, &l) == packet.OK {
				Classify(messages[i].frame, &l)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// RFC 4861 7.2.5, as far as it concerns hosts that are no routers.
func TestHearAdvertisement(t *testing.T) {
	for _, tt := range []struct {
		name    string
		before  State
		m       Message
		state   State
		mac     packet.MAC
		changed bool
	}{
		{"answer", Incomplete, Message{SenderMAC: mac2, Solicited: true, Override: true}, Reachable, mac2, true},
		{"answer of a proxy, no override", Incomplete, Message{SenderMAC: mac2, Solicited: true}, Reachable, mac2, true},
		{"unasked, while resolving", Incomplete, Message{SenderMAC: mac2, Override: true}, Probe, mac2, true},
		{"no link-layer address, while resolving", Incomplete, Message{Solicited: true}, Incomplete, packet.MAC{}, false},
		{"other MAC, override, unasked", Reachable, Message{SenderMAC: mac2, Override: true}, Probe, mac2, true},
		{"other MAC, no override", Reachable, Message{SenderMAC: mac2, Solicited: true}, Probe, mac1, false},
		{"other MAC, no override, while probing", Probe, Message{SenderMAC: mac2, Solicited: true}, Probe, mac1, false},
		{"other MAC, override, while probing", Probe, Message{SenderMAC: mac2, Solicited: true, Override: true}, Reachable, mac2, true},
		{"same MAC, while probing", Probe, Message{SenderMAC: mac1, Solicited: true}, Reachable, mac1, false},
		{"no link-layer address, while probing", Probe, Message{Solicited: true}, Reachable, mac1, false},
		{"same MAC, unasked, while probing", Probe, Message{SenderMAC: mac1, Override: true}, Probe, mac1, false},
		{"static", Static, Message{SenderMAC: mac2, Solicited: true, Override: true}, Static, mac1, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSim(t, Config{})
			if tt.before == Static {
				s.AddStatic(router6, mac1)
			} else {
				s.Want(s.now, router6, ours6)
			}
			if tt.before == Reachable || tt.before == Probe {
				s.Learn(s.now, router6, mac1, true)
			}
			if tt.before == Probe {
				s.run(30 * time.Second)
			}
			_, state := s.Lookup(router6)
			if state != tt.before {
				t.Fatalf("set up as %v", state)
			}
			tt.m.Kind, tt.m.Sender, tt.m.Target = NA, router6.Addr, router6.Addr
			if changed := s.Hear(s.now, router6.Port, router6.VLAN, tt.m); changed != tt.changed {
				t.Errorf("changed = %v", changed)
			}
			s.wantState(router6, tt.state, tt.mac)
		})
	}
}

// Two tables that only have each other: frames of one are answered in the way
// a host answers, and heard by the other.
func TestFramesAreUnderstood(t *testing.T) {
	for _, tt := range []struct {
		k    Key
		from Source
	}{{router4, ours4}, {tagged4, ours4}, {router6, ours6}} {
		s := newSim(t, Config{})
		s.Want(s.now, tt.k, tt.from)
		var question []byte
		s.Tick(s.now, func(port uint16, frame []byte) { question = bytes.Clone(frame) })
		var l packet.Layout
		if f := packet.Parse(question, &l); f != packet.OK {
			t.Fatal(f)
		}
		m, ok := Classify(question, &l)
		if !ok || m.Sender != tt.from.Addr || m.SenderMAC != tt.from.MAC || m.Target != tt.k.Addr || l.TCI != tt.k.VLAN {
			t.Fatalf("question reads as %+v, %v", m, ok)
		}
		answer := question
		if m.Kind == ARPRequest {
			packet.ARPReply(answer, &l, mac1)
		} else {
			answer = packet.AppendNA(nil, &packet.NAFrame{DstMAC: m.SenderMAC, SrcMAC: mac1, VLAN: l.TCI, Src: m.Target.As16(), Dst: m.Sender.As16(),
				Target: m.Target.As16(), TargetMAC: mac1, Flags: packet.NDSolicited | packet.NDOverride})
			packet.Parse(answer, &l)
		}
		m, ok = Classify(answer, &l)
		if !ok || !s.Hear(s.now, tt.k.Port, l.TCI&packet.VIDMask, m) {
			t.Fatalf("answer reads as %+v, %v", m, ok)
		}
		s.wantState(tt.k, Reachable, mac1)
	}
}

func FuzzClassify(f *testing.F) {
	for _, m := range messages {
		f.Add(m.frame)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		var l packet.Layout
		if packet.Parse(frame, &l) != packet.OK {
			return
		}
		m, ok := Classify(frame, &l)
		if !ok {
			if m != (Message{}) {
				t.Fatalf("not a message, yet %+v", m)
			}
			return
		}
		if m.Kind < ARPRequest || m.Kind > NA || !m.Sender.IsValid() || !m.Target.IsValid() {
			t.Fatalf("%+v", m)
		}
		v4 := m.Kind == ARPRequest || m.Kind == ARPReply
		if m.Sender.Is4() != v4 || m.Target.Is4() != v4 || !bytes.Contains(frame, m.Target.AsSlice()) || !bytes.Contains(frame, m.SenderMAC[:]) && !m.SenderMAC.IsZero() {
			t.Fatalf("%+v is not what %x says", m, frame)
		}
		// Whatever it is, a table takes it and stays sane.
		table := New(Config{})
		from := ours4
		if !v4 {
			from = ours6
		}
		k := Key{Addr: m.Sender}
		wanted := table.Want(start, k, from)
		table.Hear(start, 0, 0, m)
		mac, state := table.Lookup(k)
		if wanted != (state != None) || state.Resolved() == mac.IsZero() || mac.IsMulticast() {
			t.Fatalf("%+v: wanted %v, then %v at %v", m, wanted, state, mac)
		}
	})
}
