package daemon

import (
	"net/netip"
	"testing"
	"time"

	"paca/ctrl/server"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
	"paca/dataplane/worker"
)

var farPA = netip.MustParseAddr("192.168.2.20")

// tooBig is a router's "fragmentation needed" to the bench's PA, about a packet of a
// VSID from src to dst.
func tooBig(src, dst netip.Addr, protocol uint8, vsid uint32, mtu uint16) []byte {
	quote := make([]byte, packet.IPv4Len+packet.NVGRELen)
	packet.IPv4(quote).Encode(packet.IPv4Fields{TotalLen: 1500, TTL: 127, Protocol: protocol, Src: src.As4(), Dst: dst.As4()})
	packet.NVGRE(quote[packet.IPv4Len:]).Encode(packet.NVGREFields{VSID: vsid, FlowID: 3})
	return toPA(packet.ICMPFields{Type: packet.ICMPv4Unreachable, Code: packet.ICMPv4FragmentationNeeded, Rest: uint32(mtu)}, router, quote)
}

// toPA is an ICMP message to the bench's PA, in its VLAN.
func toPA(f packet.ICMPFields, from netip.Addr, body []byte) []byte {
	frame := append(uplinkMAC[:], routerMAC[:]...)
	frame = append(frame, 0x81, 0, 0, 7, 8, 0)
	ip := make([]byte, packet.IPv4Len+packet.ICMPLen+len(body))
	copy(ip[packet.IPv4Len+packet.ICMPLen:], body)
	packet.ICMPv4(ip[packet.IPv4Len:]).Encode(f)
	packet.IPv4(ip).Encode(packet.IPv4Fields{TotalLen: uint16(len(ip)), TTL: 64, Protocol: packet.ProtoICMP, Src: from.As4(), Dst: benchPA.As4()})
	return append(frame, ip...)
}

// tell has the control plane take in ICMP from the uplink.
func (b *bench) tell(port uint16, frame []byte) {
	b.w.Punt.Push(port, worker.ICMP, frame)
	b.pass(0)
}

// limit is the largest inner packet to the far PA that the FIB knows of, 0xffff if
// the fabric told nothing.
func (b *bench) limit() int {
	f := b.fib.Load()
	return int(f.Remote(f.Lookup(f.Domain(6001), netip.MustParseAddr("10.1.1.12"))).Limit[policy.NVGRE])
}

// What of the fabric's ICMP is believed (M10, M11).
func TestM10_M11WhoIsBelieved(t *testing.T) {
	const unknown = 0xffff
	stranger := netip.MustParseAddr("192.168.2.99")
	for _, tt := range []struct {
		name  string
		frame []byte
		want  int
	}{
		{"a router", tooBig(benchPA, farPA, packet.ProtoGRE, 6001, 1400), 1400 - 42},
		{"a router that tells no MTU", tooBig(benchPA, farPA, packet.ProtoGRE, 6001, 0), 1492 - 42},
		{"M11: the least there is", tooBig(benchPA, farPA, packet.ProtoGRE, 6001, 576), 576 - 42},
		{"M11: less than that", tooBig(benchPA, farPA, packet.ProtoGRE, 6001, 575), unknown},
		{"as much as the port carries", tooBig(benchPA, farPA, packet.ProtoGRE, 6001, 1500), unknown},
		{"about a PA nobody knows", tooBig(benchPA, stranger, packet.ProtoGRE, 6001, 1400), unknown},
		{"about a VSID nobody knows", tooBig(benchPA, farPA, packet.ProtoGRE, 6002, 1400), unknown},
		{"about somebody else's packet", tooBig(stranger, farPA, packet.ProtoGRE, 6001, 1400), unknown},
		{"about TCP", tooBig(benchPA, farPA, packet.ProtoTCP, 6001, 1400), unknown},
		{"an echo reply", toPA(packet.ICMPFields{Type: packet.ICMPv4EchoReply}, farPA, make([]byte, 64)), unknown},
		{"no frame at all", []byte{1, 2, 3}, unknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := ready(t)
			b.tell(0, tt.frame)
			if got := b.limit(); got != tt.want {
				t.Errorf("limit %d, want %d", got, tt.want)
			}
		})
	}
	for name, change := range map[string]func(frame []byte){
		"in another VLAN":       func(frame []byte) { frame[15] = 8 },
		"with a wrong checksum": func(frame []byte) { frame[len(frame)-1]++ },
	} {
		b := ready(t)
		frame := tooBig(benchPA, farPA, packet.ProtoGRE, 6001, 1400)
		change(frame)
		b.tell(0, frame)
		if got := b.limit(); got != unknown {
			t.Errorf("%s: limit %d", name, got)
		}
	}
	b := ready(t)
	b.tell(1, tooBig(benchPA, farPA, packet.ProtoGRE, 6001, 1400))
	if got := b.limit(); got != unknown {
		t.Errorf("by another port: limit %d", got)
	}
}

// Lower is believed and higher is not, until ten minutes later all is forgotten; and
// however much is told, it makes few versions of the FIB.
func TestM11AgedAndFew(t *testing.T) {
	b := ready(t)
	before := b.fib.Load().Version
	b.tell(0, tooBig(benchPA, farPA, packet.ProtoGRE, 6001, 1499))
	b.noticed(server.PathMTU, farPA, "1499")
	for mtu := uint16(1498); mtu >= 1300; mtu-- {
		b.tell(0, tooBig(benchPA, farPA, packet.ProtoGRE, 6001, mtu))
		b.now = b.now.Add(time.Millisecond)
	}
	if n := b.fib.Load().Version - before; n > 3 {
		t.Errorf("%d versions for 200 ms", n)
	}
	b.pass(100 * time.Millisecond)
	if got := b.limit(); got != 1300-42 {
		t.Errorf("limit %d", got)
	}
	b.tell(0, tooBig(benchPA, farPA, packet.ProtoGRE, 6001, 1400))
	b.pass(9 * time.Minute)
	if got := b.limit(); got != 1300-42 {
		t.Errorf("limit %d after nine minutes", got)
	}
	b.pass(61 * time.Second)
	if n := len(b.notices); n == 0 || b.notices[n-1].Reason != "unknown" {
		t.Errorf("noticed %+v", b.notices)
	}
	if got := b.limit(); got != 0xffff {
		t.Errorf("limit %d after ten minutes", got)
	}
}

// However many packets are under way to a hop that tells no MTU, one step is taken.
func TestM10OldRouterManyAtOnce(t *testing.T) {
	b := ready(t)
	for range 5 {
		b.tell(0, tooBig(benchPA, farPA, packet.ProtoGRE, 6001, 0)) // each of 1500 bytes
		b.now = b.now.Add(time.Millisecond)
	}
	b.pass(200 * time.Millisecond)
	if got := b.limit(); got != 1492-42 {
		t.Errorf("limit %d", got)
	}
}
