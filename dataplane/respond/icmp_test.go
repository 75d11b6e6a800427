package respond

import (
	"bytes"
	"encoding/binary"
	"flag"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
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

// write is a frame of those layers, tagged as often as tags says, as gopacket
// writes it.
func write(t testing.TB, tags int, stack ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, stack...); err != nil {
		t.Fatal(err)
	}
	etherType := layers.EthernetTypeIPv4
	if _, v6 := stack[0].(*layers.IPv6); v6 {
		etherType = layers.EthernetTypeIPv6
	}
	frame := append(append([]byte(nil), macRouter[:]...), macVM[:]...)
	for i := range tags {
		frame = append(frame, 0x81, 0, 0x60, byte(10+i))
	}
	return append(binary.BigEndian.AppendUint16(frame, uint16(etherType)), buf.Bytes()...)
}

func header4(proto layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, Id: 0x4321, Flags: layers.IPv4DontFragment, TTL: 1, Protocol: proto, SrcIP: net.IP{10, 1, 1, 11}, DstIP: net.IP{10, 1, 2, 12}}
}

func header6(proto layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 1, NextHeader: proto, SrcIP: net.ParseIP("fd00:1::11"), DstIP: net.ParseIP("fd00:2::12")}
}

// udp4 and udp6 are datagrams with n bytes of payload.
func udp4(t testing.TB, tags, n int) []byte {
	ip, udp := header4(layers.IPProtocolUDP), &layers.UDP{SrcPort: 0xc000, DstPort: 0xc001}
	udp.SetNetworkLayerForChecksum(ip)
	return write(t, tags, ip, udp, gopacket.Payload(bytes.Repeat([]byte{0xa5}, n)))
}

func udp6(t testing.TB, tags, n int) []byte {
	ip, udp := header6(layers.IPProtocolUDP), &layers.UDP{SrcPort: 0xc000, DstPort: 0xc001}
	udp.SetNetworkLayerForChecksum(ip)
	return write(t, tags, ip, udp, gopacket.Payload(bytes.Repeat([]byte{0xa5}, n)))
}

// message4 and message6 are ICMP messages of that type, 24 bytes long.
func message4(t testing.TB, typ, code uint8) []byte {
	return write(t, 0, header4(layers.IPProtocolICMPv4), &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(typ, code), Id: 7, Seq: 9}, gopacket.Payload("0123456789abcdef"))
}

func message6(t testing.TB, typ, code uint8) []byte {
	ip := header6(layers.IPProtocolICMPv6)
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(typ, code)}
	icmp.SetNetworkLayerForChecksum(ip)
	return write(t, 0, ip, icmp, gopacket.Payload("\x00\x07\x00\x090123456789abcdef"))
}

var router4, router6 = addr("10.1.1.1"), addr("fd00:1::1")

// answer has one function look at a frame; layout is that of the frame.
func answer(t testing.TB, frame []byte, m *mbuf.Mbuf, turn func(m *mbuf.Mbuf, l *packet.Layout) bool) bool {
	t.Helper()
	var l packet.Layout
	if fault := packet.Parse(frame, &l); fault != packet.OK {
		t.Fatalf("the test made a bad frame %x: %v", frame, fault)
	}
	return turn(m, &l)
}

func tooBig(ca netip.Addr, mtu int) func(m *mbuf.Mbuf, l *packet.Layout) bool {
	return func(m *mbuf.Mbuf, l *packet.Layout) bool { return TooBig(m, l, macRouter, ca, mtu) }
}

func timeExceeded(ca netip.Addr) func(m *mbuf.Mbuf, l *packet.Layout) bool {
	return func(m *mbuf.Mbuf, l *packet.Layout) bool { return TimeExceeded(m, l, macRouter, ca) }
}

// checkSums lets gopacket compute the checksums of IP and ICMP anew.
func checkSums(t testing.TB, p gopacket.Packet) {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{ComputeChecksums: true}
	if ip, ok := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4); ok {
		icmp := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
		ipSum, sum := ip.Checksum, icmp.Checksum
		if err := gopacket.SerializeLayers(buf, opts, ip, icmp, gopacket.Payload(icmp.LayerPayload())); err != nil {
			t.Fatal(err)
		}
		if ip.Checksum != ipSum || icmp.Checksum != sum {
			t.Errorf("checksums %#04x and %#04x, gopacket computes %#04x and %#04x", ipSum, sum, ip.Checksum, icmp.Checksum)
		}
		return
	}
	ip, icmp := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6), p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
	sum := icmp.Checksum
	icmp.SetNetworkLayerForChecksum(ip)
	if err := gopacket.SerializeLayers(buf, opts, icmp, gopacket.Payload(icmp.LayerPayload())); err != nil {
		t.Fatal(err)
	}
	if icmp.Checksum != sum {
		t.Errorf("ICMPv6 checksum %#04x, gopacket computes %#04x", sum, icmp.Checksum)
	}
}

// checkError holds a frame to what an ICMP error about before must be. rest is
// its second word.
func checkError(t testing.TB, got, before []byte, typ, code uint8, rest uint32) {
	t.Helper()
	p := gopacket.NewPacket(got, layers.LayerTypeEthernet, gopacket.Default)
	if e := p.ErrorLayer(); e != nil {
		t.Fatalf("gopacket cannot read %x: %v", got, e.Error())
	}
	var l packet.Layout
	packet.Parse(before, &l)
	if !bytes.Equal(got[:6], before[6:12]) || !bytes.Equal(got[6:12], macRouter[:]) || !bytes.Equal(got[12:l.L3], before[12:l.L3]) {
		t.Errorf("Ethernet header %x in answer to %x", got[:l.L3], before[:l.L3])
	}
	checkSums(t, p)
	whole := before[l.L3:l.End]
	var quote []byte
	headers := 28
	if ip, ok := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4); ok {
		quote = whole[:min(len(whole), 576-headers)]
		icmp := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
		if !ip.SrcIP.Equal(router4.AsSlice()) || !ip.DstIP.Equal(before[l.L3+12:l.L3+16]) || ip.TTL != 64 || ip.TOS != 0xc0 || ip.Id != 0x4321 || ip.IHL != 5 ||
			ip.FragOffset != 0 || ip.Flags != 0 || int(ip.Length) != len(got)-int(l.L3) || ip.Length > 576 {
			t.Errorf("IPv4 %+v", ip)
		}
		if icmp.TypeCode != layers.CreateICMPv4TypeCode(typ, code) || uint32(icmp.Id)<<16|uint32(icmp.Seq) != rest {
			t.Errorf("ICMP %v, %#x %#x, want %d/%d, %#x", icmp.TypeCode, icmp.Id, icmp.Seq, typ, code, rest)
		}
	} else {
		headers = 48
		quote = whole[:min(len(whole), 1280-headers)]
		ip, icmp := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6), p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
		if !ip.SrcIP.Equal(router6.AsSlice()) || !ip.DstIP.Equal(before[l.L3+8:l.L3+24]) || ip.HopLimit != 64 ||
			int(ip.Length) != len(got)-int(l.L3)-40 || ip.Length+40 > 1280 {
			t.Errorf("IPv6 %+v", ip)
		}
		if icmp.TypeCode != layers.CreateICMPv6TypeCode(typ, code) || binary.BigEndian.Uint32(icmp.LayerPayload()) != rest {
			t.Errorf("ICMPv6 %v, %x, want %d/%d, %#x", icmp.TypeCode, icmp.LayerPayload()[:4], typ, code, rest)
		}
	}
	if !bytes.HasSuffix(got, quote) || len(got) != int(l.L3)+headers+len(quote) {
		t.Errorf("quote of %x\nis %x", whole, got)
	}
}

// M6: the right error with the right MTU. M8: from the router, with as much of
// the packet as fits.
func TestM6_M8TooBig(t *testing.T) {
	for _, tags := range []int{0, 1, 2} {
		for _, n := range []int{0, 8, 519, 520, 521, 1183, 1184, 1185, 1600} {
			for _, tt := range []struct {
				frame     []byte
				ca        netip.Addr
				mtu       int
				typ, code uint8
				rest      uint32
			}{
				{udp4(t, tags, n), router4, 1458, 3, 4, 1458},
				{udp4(t, tags, n), router4, 0, 3, 4, 68},
				{udp4(t, tags, n), router4, 70000, 3, 4, 65535},
				{udp6(t, tags, n), router6, 1438, 2, 0, 1438},
				{udp6(t, tags, n), router6, 1279, 2, 0, 1280},
				{udp6(t, tags, n), router6, 70000, 2, 0, 70000},
			} {
				// Padding of a short frame is no part of the packet.
				m := buffer(t, append(slices.Clone(tt.frame), 0xee, 0xee, 0xee))
				if !answer(t, tt.frame, m, tooBig(tt.ca, tt.mtu)) {
					t.Fatalf("%d bytes of payload, %d tags, MTU %d: no error", n, tags, tt.mtu)
				}
				if m.Len() != len(m.Data()) {
					t.Errorf("mbuf of %d bytes with %d bytes of data", m.Len(), len(m.Data()))
				}
				checkError(t, m.Data(), tt.frame, tt.typ, tt.code, tt.rest)
			}
		}
	}
}

func TestL14TimeExceeded(t *testing.T) {
	for _, n := range []int{0, 40, 1600} {
		frame := udp4(t, 0, n)
		binary.BigEndian.PutUint16(frame[20:], 0) // without DF: unlike TooBig's
		packet.IPv4(frame[14:]).SetChecksum(0)
		m := buffer(t, frame)
		if !answer(t, frame, m, timeExceeded(router4)) {
			t.Fatal("no error")
		}
		checkError(t, m.Data(), frame, 11, 0, 0)

		frame = udp6(t, 0, n)
		m = buffer(t, frame)
		if !answer(t, frame, m, timeExceeded(router6)) {
			t.Fatal("no error")
		}
		checkError(t, m.Data(), frame, 3, 0, 0)
	}
	// traceroute -I: an error for an echo request.
	for _, tt := range []struct {
		frame []byte
		ca    netip.Addr
		typ   uint8
	}{{message4(t, 8, 0), router4, 11}, {message6(t, 128, 0), router6, 3}} {
		m := buffer(t, tt.frame)
		if !answer(t, tt.frame, m, timeExceeded(tt.ca)) {
			t.Fatal("no error for an echo request")
		}
		checkError(t, m.Data(), tt.frame, tt.typ, 0, 0)
	}
}

// M9: for which packets no error is sent.
func TestM9Silence(t *testing.T) {
	ip := func(src, dst string) func(f []byte) {
		return func(f []byte) {
			if s := addr(src); s.Is4() {
				copy(f[26:], s.AsSlice())
				copy(f[30:], addr(dst).AsSlice())
			} else {
				copy(f[22:], s.AsSlice())
				copy(f[38:], addr(dst).AsSlice())
			}
		}
	}
	word := func(v uint16) func(f []byte) { return func(f []byte) { binary.BigEndian.PutUint16(f[20:], v) } }
	// behind6 makes the payload of udp6 a fragment header, at that offset.
	behind6 := func(offset uint16) func(f []byte) {
		return func(f []byte) {
			f[20] = packet.ProtoFragment
			packet.IPv6Fragment(f[54:]).Encode(packet.IPv6FragmentFields{NextHeader: packet.ProtoUDP, Offset: int(offset), More: true})
		}
	}
	for _, tt := range []struct {
		name  string
		frame []byte
		ca    netip.Addr
		sent  bool
	}{
		{"UDP", udp4(t, 0, 50), router4, true},
		{"first fragment", mod(udp4(t, 0, 50), word(0x6000)), router4, true},
		{"later fragment", mod(udp4(t, 0, 50), word(0x4001)), router4, false},
		{"to everyone", mod(udp4(t, 0, 50), ip("10.1.1.11", "255.255.255.255")), router4, false},
		{"to this network", mod(udp4(t, 0, 50), ip("10.1.1.11", "0.0.0.0")), router4, false},
		{"to a group", mod(udp4(t, 0, 50), ip("10.1.1.11", "224.0.0.1")), router4, false},
		{"to the last group", mod(udp4(t, 0, 50), ip("10.1.1.11", "239.255.255.255")), router4, false},
		{"to a host below the groups", mod(udp4(t, 0, 50), ip("10.1.1.11", "223.255.255.255")), router4, true},
		{"to a broadcast MAC", mod(udp4(t, 0, 50), func(f []byte) { copy(f, packet.Broadcast[:]) }), router4, false},
		{"from a group MAC", mod(udp4(t, 0, 50), func(f []byte) { f[6] |= 1 }), router4, false},
		{"from nobody", mod(udp4(t, 0, 50), ip("0.0.0.0", "10.1.2.12")), router4, false},
		{"from loopback", mod(udp4(t, 0, 50), ip("127.0.0.1", "10.1.2.12")), router4, false},
		{"from a group", mod(udp4(t, 0, 50), ip("224.0.0.5", "10.1.2.12")), router4, false},
		{"from class E", mod(udp4(t, 0, 50), ip("240.0.0.1", "10.1.2.12")), router4, false},
		{"from everyone", mod(udp4(t, 0, 50), ip("255.255.255.255", "10.1.2.12")), router4, false},
		{"with a router of the other family", udp4(t, 0, 50), router6, false},
		{"with a mapped router", udp4(t, 0, 50), addr("::ffff:10.1.1.1"), false},
		{"without a router", udp4(t, 0, 50), netip.Addr{}, false},
		{"ARP", arp(macVM, macVM, 0, 1, macVM, "10.1.1.11", "10.1.1.12"), router4, false},
		{"GRE", mod(udp4(t, 0, 50), func(f []byte) { f[23] = packet.ProtoGRE }), router4, true},

		{"UDP over IPv6", udp6(t, 0, 50), router6, true},
		{"first fragment of IPv6", mod(udp6(t, 0, 50), behind6(0)), router6, true},
		{"later fragment of IPv6", mod(udp6(t, 0, 50), behind6(8)), router6, false},
		{"to a group of IPv6", mod(udp6(t, 0, 50), ip("fd00:1::11", "ff02::1")), router6, false},
		{"to a group MAC of IPv6", mod(udp6(t, 0, 50), func(f []byte) { copy(f, "\x33\x33") }), router6, false},
		{"from ::", mod(udp6(t, 0, 50), ip("::", "fd00:2::12")), router6, false},
		{"from ::1", mod(udp6(t, 0, 50), ip("::1", "fd00:2::12")), router6, false},
		{"from ::2", mod(udp6(t, 0, 50), ip("::2", "fd00:2::12")), router6, true},
		{"from a group of IPv6", mod(udp6(t, 0, 50), ip("ff02::1", "fd00:2::12")), router6, false},
		{"IPv6 with a router of the other family", udp6(t, 0, 50), router4, false},
		{"IPv6 with a mapped router", udp6(t, 0, 50), addr("::ffff:10.1.1.1"), false},
		{"IPv6 without a router", udp6(t, 0, 50), netip.Addr{}, false},
		{"no next header", mod(udp6(t, 0, 50), func(f []byte) { f[20] = packet.ProtoNone }), router6, true},
	} {
		for name, turn := range map[string]func(m *mbuf.Mbuf, l *packet.Layout) bool{"too big": tooBig(tt.ca, 1280), "time exceeded": timeExceeded(tt.ca)} {
			m := buffer(t, tt.frame)
			if sent := answer(t, tt.frame, m, turn); sent != tt.sent {
				t.Errorf("%s, %s: error sent: %v", tt.name, name, sent)
			}
			if !tt.sent && !bytes.Equal(m.Data(), tt.frame) {
				t.Errorf("%s, %s: frame changed", tt.name, name)
			}
		}
	}
}

// M9: no error for an error, nor for what is not known to be none.
func TestM9ErrorForError(t *testing.T) {
	queries4 := []uint8{0, 8, 9, 10, 13, 14, 15, 16, 17, 18}
	for typ := range 256 {
		typ := uint8(typ)
		frame := message4(t, typ, 0)
		if sent := answer(t, frame, buffer(t, frame), timeExceeded(router4)); sent != slices.Contains(queries4, typ) {
			t.Errorf("ICMP type %d: error sent: %v", typ, sent)
		}
		frame = message6(t, typ, 0)
		if sent := answer(t, frame, buffer(t, frame), timeExceeded(router6)); sent != (typ >= 128 && typ != 137) {
			t.Errorf("ICMPv6 type %d: error sent: %v", typ, sent)
		}
	}
}

// M7 is what happens without DF.
func TestM6NotWithoutDF(t *testing.T) {
	frame := mod(udp4(t, 0, 50), func(f []byte) { f[20] = 0 })
	m := buffer(t, frame)
	if answer(t, frame, m, tooBig(router4, 68)) || !bytes.Equal(m.Data(), frame) {
		t.Error("error sent")
	}
}

// Without headroom there is no answer, and nothing has changed.
func TestM8Headroom(t *testing.T) {
	for _, tt := range []struct {
		frame   []byte
		ca      netip.Addr
		headers int
	}{{udp4(t, 1, 700), router4, 28}, {udp6(t, 1, 700), router6, 48}} {
		for room := range tt.headers + 1 {
			m := buffer(t, tt.frame)
			copy(m.Prepend(mbuf.Headroom-room), tt.frame)
			m.Trim(mbuf.Headroom - room)
			if m.Headroom() != room {
				t.Fatalf("headroom %d, want %d", m.Headroom(), room)
			}
			sent := answer(t, tt.frame, m, tooBig(tt.ca, 1280))
			if sent != (room == tt.headers) || !sent && !bytes.Equal(m.Data(), tt.frame) {
				t.Errorf("headroom %d of %d: error sent: %v", room, tt.headers, sent)
			}
		}
	}
}

// A packet of several segments is left alone.
func TestM8Segments(t *testing.T) {
	for _, frame := range [][]byte{udp4(t, 0, 100), message4(t, 8, 0)} {
		pkts := make([]*mbuf.Mbuf, 2)
		mbuf.NewHeap(2, mbuf.DefaultDataRoom).Alloc(pkts)
		pkts[0].SetData(frame)
		pkts[1].SetData([]byte("tail"))
		pkts[0].Join(pkts[1])
		for _, turn := range []func(m *mbuf.Mbuf, l *packet.Layout) bool{tooBig(router4, 68), timeExceeded(router4), Echo} {
			if answer(t, frame, pkts[0], turn) || !bytes.Equal(pkts[0].Data(), frame) {
				t.Error("answered")
			}
		}
	}
}

// L11's exception and pings to a PA: the request comes back as the reply.
func TestL11EchoReply(t *testing.T) {
	for _, tags := range []int{0, 1} {
		for _, n := range []int{0, 1, 56, 1400} {
			payload := bytes.Repeat([]byte{0x5a, 0xff}, n)[:n]
			ip4 := header4(layers.IPProtocolICMPv4)
			ip4.TOS = 0x28
			ip6 := header6(layers.IPProtocolICMPv6)
			icmp6 := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(128, 0)}
			icmp6.SetNetworkLayerForChecksum(ip6)
			for _, frame := range [][]byte{
				write(t, tags, ip4, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0), Id: 0x0102, Seq: 0x0304}, gopacket.Payload(payload)),
				write(t, tags, ip6, icmp6, gopacket.Payload("\x01\x02\x03\x04"+string(payload))),
			} {
				m := buffer(t, append(slices.Clone(frame), 0xee))
				if !answer(t, frame, m, Echo) {
					t.Fatalf("%x is not answered", frame)
				}
				got := m.Data()
				if len(got) != len(frame)+1 {
					t.Fatalf("reply of %d bytes to %d", len(got), len(frame)+1)
				}
				p := gopacket.NewPacket(got, layers.LayerTypeEthernet, gopacket.Default)
				if e := p.ErrorLayer(); e != nil {
					t.Fatalf("gopacket cannot read %x: %v", got, e.Error())
				}
				checkSums(t, p)
				eth := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
				if !bytes.Equal(eth.SrcMAC, macRouter[:]) || !bytes.Equal(eth.DstMAC, macVM[:]) {
					t.Errorf("%v to %v", eth.SrcMAC, eth.DstMAC)
				}
				checkTag(t, p, uint16(tags)*0x600a)
				if ip, ok := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4); ok {
					icmp := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
					if ip.SrcIP.String() != "10.1.2.12" || ip.DstIP.String() != "10.1.1.11" || ip.TTL != 64 || ip.TOS != 0x28 ||
						icmp.TypeCode != layers.CreateICMPv4TypeCode(0, 0) || icmp.Id != 0x0102 || icmp.Seq != 0x0304 || !bytes.Equal(icmp.Payload, payload) {
						t.Errorf("%+v %+v", ip, icmp)
					}
					continue
				}
				ip, icmp := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6), p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
				if ip.SrcIP.String() != "fd00:2::12" || ip.DstIP.String() != "fd00:1::11" || ip.HopLimit != 64 ||
					icmp.TypeCode != layers.CreateICMPv6TypeCode(129, 0) || string(icmp.Payload) != "\x01\x02\x03\x04"+string(payload) {
					t.Errorf("%+v %+v", ip, icmp)
				}
			}
		}
	}
}

func TestL11EchoSilence(t *testing.T) {
	options := header4(layers.IPProtocolICMPv4)
	options.Options = []layers.IPv4Option{{OptionType: 131, OptionLength: 7, OptionData: []byte{4, 10, 9, 9, 9}}, {OptionType: 0}}
	hop := func() []byte { // an echo request behind a destination options header
		f := message6(t, 128, 0)
		f = append(f[:54:54], append([]byte{packet.ProtoICMPv6, 0, 1, 4, 0, 0, 0, 0}, f[54:]...)...)
		f[20] = packet.ProtoDestination
		packet.IPv6(f[14:]).SetPayloadLen(uint16(len(f) - 54))
		return f
	}
	for name, frame := range map[string][]byte{
		"reply":               message4(t, 0, 0),
		"code":                message4(t, 8, 1),
		"UDP":                 udp4(t, 0, 0),
		"first fragment":      mod(message4(t, 8, 0), func(f []byte) { f[20] = 0x20 }),
		"later fragment":      mod(message4(t, 8, 0), func(f []byte) { f[21] = 8 }),
		"to a group":          mod(message4(t, 8, 0), func(f []byte) { f[30] = 224 }),
		"to everyone":         mod(message4(t, 8, 0), func(f []byte) { copy(f[30:], "\xff\xff\xff\xff") }),
		"to a group MAC":      mod(message4(t, 8, 0), func(f []byte) { f[0] = 1 }),
		"from a group":        mod(message4(t, 8, 0), func(f []byte) { f[26] = 224 }),
		"from nobody":         mod(message4(t, 8, 0), func(f []byte) { copy(f[26:], "\x00\x00\x00\x00") }),
		"source route":        write(t, 0, options, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0)}),
		"reply of IPv6":       message6(t, 129, 0),
		"code of IPv6":        message6(t, 128, 1),
		"UDP over IPv6":       udp6(t, 0, 0),
		"to a group of IPv6":  mod(message6(t, 128, 0), func(f []byte) { f[38] = 0xff }),
		"from ::":             mod(message6(t, 128, 0), func(f []byte) { clear(f[22:38]) }),
		"extension header":    hop(),
		"ARP":                 arp(macVM, macVM, 0, 1, macVM, "10.1.1.11", "10.1.1.12"),
		"ICMPv6 over IPv4":    mod(message4(t, 128, 0), func(f []byte) { f[23] = packet.ProtoICMPv6 }),
		"IPv4's ICMP in IPv6": mod(message6(t, 8, 0), func(f []byte) { f[20] = packet.ProtoICMP }),
	} {
		m := buffer(t, frame)
		if answer(t, frame, m, Echo) || !bytes.Equal(m.Data(), frame) {
			t.Errorf("%s: answered", name)
		}
	}
}

// A request that was damaged on its way is no better as a reply.
func TestL11EchoDamaged(t *testing.T) {
	for _, frame := range [][]byte{message4(t, 8, 0), message6(t, 128, 0)} {
		frame[len(frame)-1] ^= 4
		m := buffer(t, frame)
		answer(t, frame, m, Echo)
		var l packet.Layout
		packet.Parse(m.Data(), &l)
		initial := uint32(0)
		if l.EtherType == packet.EtherTypeIPv6 {
			ip := packet.IPv6(m.Data()[l.L3:])
			initial = packet.PseudoHeader6(ip.Src(), ip.Dst(), packet.ProtoICMPv6, uint32(l.End-l.L4))
		}
		if packet.Checksum(m.Data()[l.L4:l.End], initial) == 0 {
			t.Errorf("%x: the damage was mended", m.Data())
		}
	}
}

// icmpBranches is all of icmp.go, on frames that take every way through it.
func icmpBranches(t testing.TB) (frames [][]byte, try func(m *mbuf.Mbuf, frame []byte) (answered int)) {
	frames = [][]byte{
		udp4(t, 0, 1400), udp4(t, 1, 10), mod(udp4(t, 0, 10), func(f []byte) { f[21] = 1 }), udp6(t, 0, 1400), udp6(t, 2, 10),
		message4(t, 8, 0), message4(t, 3, 4), message6(t, 128, 0), message6(t, 2, 0), message6(t, 137, 0),
		arp(macVM, macVM, 0, 1, macVM, "10.1.1.11", "10.1.1.12"),
	}
	return frames, func(m *mbuf.Mbuf, frame []byte) (answered int) {
		var l packet.Layout
		if packet.Parse(frame, &l) != packet.OK {
			return 0
		}
		for i := range 4 {
			m.SetData(frame)
			ca := router4
			if l.EtherType == packet.EtherTypeIPv6 {
				ca = router6
			}
			var ok bool
			switch i {
			case 0:
				ok = TooBig(m, &l, macRouter, ca, 1280)
			case 1:
				ok = TimeExceeded(m, &l, macRouter, ca)
			case 2:
				ok = Echo(m, &l)
			case 3:
				ok = TimeExceeded(m, &l, macRouter, netip.Addr{})
			}
			if ok {
				answered++
			}
		}
		return answered
	}
}

func TestM8_L14NoAllocations(t *testing.T) {
	frames, try := icmpBranches(t)
	m := buffer(t, nil)
	answered := 0
	if n := testing.AllocsPerRun(100, func() {
		for _, frame := range frames {
			answered += try(m, frame)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if answered == 0 {
		t.Error("nothing was answered")
	}
}

// Whatever Parse lets through is answered by a frame with right checksums or
// stays as it is.
func FuzzICMP(f *testing.F) {
	frames, _ := icmpBranches(f)
	for _, frame := range frames {
		f.Add(frame, uint16(1280))
	}
	f.Fuzz(func(t *testing.T, frame []byte, mtu uint16) {
		var l packet.Layout
		if len(frame) > mbuf.DefaultDataRoom-mbuf.Headroom || packet.Parse(frame, &l) != packet.OK {
			return
		}
		ca := router4
		if l.EtherType == packet.EtherTypeIPv6 {
			ca = router6
		}
		for i, turn := range []func(m *mbuf.Mbuf, l *packet.Layout) bool{tooBig(ca, int(mtu)), timeExceeded(ca), Echo} {
			m := buffer(t, frame)
			if !turn(m, &l) {
				if !bytes.Equal(m.Data(), frame) {
					t.Fatalf("%x changed to %x without an answer", frame, m.Data())
				}
				continue
			}
			got := m.Data()
			var after packet.Layout
			if fault := packet.Parse(got, &after); fault != packet.OK || m.Len() != len(got) || after.L4 == 0 || after.L3 != l.L3 {
				t.Fatalf("%x answered by %x: %v", frame, got, fault)
			}
			eth := packet.Ethernet(got)
			if eth.Dst() != packet.Ethernet(frame).Src() || eth.Dst().IsMulticast() || eth.Src().IsMulticast() {
				t.Fatalf("%x answered by %x", frame, got)
			}
			if i == 2 {
				// With right checksums in the request they are right in the reply.
				var again packet.Layout
				if !sealed(frame, &l) {
					continue
				}
				if packet.Parse(got, &again); !sealed(got, &again) {
					t.Fatalf("%x answered by %x", frame, got)
				}
				continue
			}
			most := 1280
			if l.EtherType == packet.EtherTypeIPv4 {
				most = 576
			}
			if int(after.End) != len(got) || !sealed(got, &after) || int(after.End-after.L3) > most ||
				!bytes.HasPrefix(frame[l.L3:l.End], got[after.L4+packet.ICMPLen:]) {
				t.Fatalf("%x answered by %x", frame, got)
			}
			// No error for this error.
			m2 := buffer(t, got)
			if TimeExceeded(m2, &after, macRouter, ca) {
				t.Fatalf("an error for the error %x", got)
			}
		}
	})
}

// sealed says whether the checksums of an ICMP packet are right.
func sealed(frame []byte, l *packet.Layout) bool {
	if l.EtherType == packet.EtherTypeIPv4 {
		return packet.VerifyIPv4(packet.IPv4(frame[l.L3:])) && packet.Checksum(frame[l.L4:l.End], 0) == 0
	}
	ip := packet.IPv6(frame[l.L3:])
	return packet.Checksum(frame[l.L4:l.End], packet.PseudoHeader6(ip.Src(), ip.Dst(), packet.ProtoICMPv6, uint32(l.End-l.L4))) == 0
}

// Random sizes, addresses and tags, judged by gopacket.
func TestM6_M8Random(t *testing.T) {
	r := random(t)
	for range 2000 {
		tags, n, mtu := r.IntN(3), r.IntN(1700), 1280+r.IntN(300)
		frame, ca, typ, code := udp4(t, tags, n), router4, uint8(3), uint8(4)
		if r.IntN(2) == 0 {
			frame, ca, typ, code = udp6(t, tags, n), router6, 2, 0
		}
		m := buffer(t, frame)
		if !answer(t, frame, m, tooBig(ca, mtu)) {
			t.Fatalf("no error for %x", frame)
		}
		checkError(t, m.Data(), frame, typ, code, uint32(mtu))
	}
}
