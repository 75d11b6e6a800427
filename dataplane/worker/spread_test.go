package worker

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"paca/dataplane/fib"
	"paca/dataplane/fib/fibtest"
	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
)

// Whatever is around it, tagged or with options, over IPv4 or IPv6, padded, with any
// FlowID, in one buffer or several, a packet of a flow goes to the worker that its flow's
// others go to; those of other flows and tenants elsewhere.
func TestW5_O32FlowsStayTogether(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	f := fibtest.Compile(t, &policy.Set{
		Ports: []policy.Port{{Name: "up", Role: policy.Uplink, MTU: 1500}},
		ProviderAddresses: []policy.ProviderAddress{
			{Prefix: netip.MustParsePrefix("192.0.2.1/24"), Port: "up"}, {Prefix: netip.MustParsePrefix("2001:db8::1/64"), Port: "up"},
		},
	}, func(uint16, uint16, netip.Addr) (mac packet.MAC, s fib.AdjState) { return mac, fib.AdjUnresolved })
	pool := mbuf.NewHeap(16, 2048)
	seen := map[uint32]int{}
	for flow := range 500 {
		vsid := uint32(6000 + r.IntN(2))
		hashes := map[uint32]string{}
		var plain []byte // of the inner header, but for lengths
		v6, proto := r.IntN(3) == 0, []uint8{packet.ProtoUDP, packet.ProtoTCP, packet.ProtoICMP}[r.IntN(3)]
		for range 40 {
			inner, what := innerPacket(r, v6, proto, r.IntN(3) == 0, &plain)
			frame := make([]byte, 0, 2048)
			v6Outside, tagged, options := r.IntN(3) == 0, r.IntN(4) == 0, r.IntN(4) == 0
			frame = append(frame, make([]byte, 12)...)
			if tagged {
				frame, what = append(frame, 0x81, 0, 0, 7), what+" tagged"
			}
			if v6Outside {
				frame, what = binary.BigEndian.AppendUint16(frame, packet.EtherTypeIPv6), what+" over IPv6"
				ip := make(packet.IPv6, packet.IPv6Len)
				ip.Encode(packet.IPv6Fields{NextHeader: packet.ProtoGRE, PayloadLen: uint16(packet.NVGRELen + len(inner)), HopLimit: 9, Dst: netip.MustParseAddr("2001:db8::1").As16()})
				frame = append(frame, ip...)
			} else {
				frame = binary.BigEndian.AppendUint16(frame, packet.EtherTypeIPv4)
				ip := make(packet.IPv4, packet.IPv4Len)
				n := packet.IPv4Len
				if options {
					n, what = n+4, what+" with options"
				}
				ip.Encode(packet.IPv4Fields{Protocol: packet.ProtoGRE, TotalLen: uint16(n + packet.NVGRELen + len(inner)), TTL: 9, Dst: [4]byte{192, 0, 2, 1}})
				if options {
					ip[0] = 0x46
					ip = append(ip, 1, 1, 1, 1)
				}
				frame = append(frame, ip...)
			}
			gre := make(packet.NVGRE, packet.NVGRELen)
			gre.Encode(packet.NVGREFields{VSID: vsid, FlowID: byte(r.Uint32())})
			frame = append(append(frame, gre...), inner...)
			headers := len(frame) - len(inner) + packet.EthernetLen + 40 + 8 + 20 // that are in the first buffer
			if r.IntN(3) == 0 {
				frame, what = append(frame, make([]byte, r.IntN(20))...), what+" padded"
			}
			sizes := []int{len(frame)}
			if len(frame) > headers && r.IntN(2) == 0 {
				sizes, what = []int{headers + r.IntN(len(frame)-headers), 500}, what+" in several buffers"
			}
			m := pool.Packet(frame, sizes...)
			for _, s := range []Spread{SpreadTunnels, SpreadFlows} {
				hash, ok := flowOf(f, m, s)
				if !ok {
					t.Fatalf("flow %d stays: %s: %x", flow, what, frame)
				}
				hashes[hash] = what
			}
			pool.Free([]*mbuf.Mbuf{m})
		}
		if len(hashes) != 1 {
			t.Fatalf("flow %d goes several ways: %v", flow, hashes)
		}
		for h := range hashes {
			seen[h]++
		}
	}
	if len(seen) < 490 {
		t.Errorf("500 flows have %d hashes", len(seen))
	}
}

// innerPacket is a frame of the flow of which head has the addresses and ports, or of a
// new one, with any payload.
func innerPacket(r *rand.Rand, v6 bool, proto uint8, options bool, head *[]byte) (frame []byte, what string) {
	payload := 1 + r.IntN(900)
	if r.IntN(3) == 0 {
		payload = r.IntN(20)
	}
	if *head == nil {
		for range 36 {
			*head = append(*head, byte(r.Uint32()))
		}
	}
	transport := slices.Concat((*head)[32:36], make([]byte, 16+payload))
	if proto == packet.ProtoTCP {
		transport[12] = 0x50
	}
	frame = make([]byte, 12)
	if v6 {
		ip := make(packet.IPv6, packet.IPv6Len)
		ip.Encode(packet.IPv6Fields{NextHeader: proto, PayloadLen: uint16(len(transport)), HopLimit: 9, Src: [16]byte((*head)[:16]), Dst: [16]byte((*head)[16:])})
		if options {
			ip[6] = packet.ProtoDestination
			ip.SetPayloadLen(uint16(8 + len(transport)))
			ip = append(ip, proto, 0, 1, 4, 0, 0, 0, 0)
			what = "inner options"
		}
		frame = binary.BigEndian.AppendUint16(frame, packet.EtherTypeIPv6)
		return slices.Concat(frame, ip, transport), what + " inner IPv6"
	}
	n := packet.IPv4Len
	if options {
		n, what = n+4, "inner options"
	}
	ip := make(packet.IPv4, packet.IPv4Len)
	ip.Encode(packet.IPv4Fields{Protocol: proto, TotalLen: uint16(n + len(transport)), TTL: 9, Src: [4]byte((*head)[:4]), Dst: [4]byte((*head)[16:])})
	if options {
		ip[0] = 0x46
		ip = append(ip, 1, 1, 1, 1)
	}
	frame = binary.BigEndian.AppendUint16(frame, packet.EtherTypeIPv4)
	return slices.Concat(frame, ip, transport), what
}

// W24, O32: GRE that is no NVGRE is what hosts say to each other: it stays with who
// receives it, and in its order.
func TestW24_O32OtherGREStays(t *testing.T) {
	f := fibtest.Compile(t, &policy.Set{
		Ports:             []policy.Port{{Name: "up", Role: policy.Uplink, MTU: 1500}},
		ProviderAddresses: []policy.ProviderAddress{{Prefix: netip.MustParsePrefix("192.0.2.1/24"), Port: "up"}},
	}, nil)
	pool := mbuf.NewHeap(1, 2048)
	for name, head := range map[string][4]byte{"IPv4 without a key": {0, 0, 8, 0}, "IPv4 with a key": {0x20, 0, 8, 0}, "frames without a key": {0, 0, 0x65, 0x58}} {
		for _, n := range []int{8, 60, 61} {
			frame := make([]byte, 14+20+n)
			binary.BigEndian.PutUint16(frame[12:], packet.EtherTypeIPv4)
			packet.IPv4(frame[14:]).Encode(packet.IPv4Fields{Protocol: packet.ProtoGRE, TotalLen: uint16(20 + n), TTL: 9, Dst: [4]byte{192, 0, 2, 1}})
			copy(frame[34:], head[:])
			copy(frame[38:], []byte{0x45, 0, 0, byte(n)})
			m := pool.Packet(frame, len(frame))
			for _, s := range []Spread{SpreadTunnels, SpreadFlows} {
				if hash, ok := flowOf(f, m, s); ok {
					t.Errorf("%s, %d bytes: given away by %x", name, n, hash)
				}
			}
			pool.Free([]*mbuf.Mbuf{m})
		}
	}
}
