package packet

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
)

// laid is an IP packet in an Ethernet frame, with its layout.
func laid(t testing.TB, ip []byte) (frame []byte, l Layout) {
	t.Helper()
	frame = make([]byte, EthernetLen, EthernetLen+len(ip))
	Ethernet(frame).SetEtherType(EtherTypeIPv4)
	if ip[0]>>4 == 6 {
		Ethernet(frame).SetEtherType(EtherTypeIPv6)
	}
	frame = append(frame, ip...)
	if fault := Parse(frame, &l); fault != OK {
		t.Fatalf("%x: %v", ip, fault)
	}
	return frame, l
}

const ca1, ca2, pa1, pa2 = 0x0a01010b, 0x0a01010c, 0xc0a8010a, 0xc0a80214

// The vectors of spec section R, both ways.
func TestR8_R9_R10_R12ReaddressVectors(t *testing.T) {
	for _, v := range [][3]string{
		{"R-V1", "4500002800070000800624b10a01010b0a01010cc000005001020304000000005002ffffd5730000", "45000028000700008006b65ac0a8010ac0a80214c000005001020304000000005002ffff671d0000"},
		{"R-V2", "4500002000080000801124ad0a01010b0a01010c13881389000c00007a65726f", "45000020000800008011b656c0a8010ac0a8021413881389000c00007a65726f"},
		{"R-V3", "4500001e00090000801124ae0a01010b0a01010c13881389000a6e56545a", "4500001e000900008011b657c0a8010ac0a8021413881389000affff545a"},
		{"R-V4", "45000020000a0000400164bb0a01010b0a01010c0800598e00010001484e5621", "45000020000a00004001f664c0a8010ac0a802140800598e00010001484e5621"},
		{"R-V5", "45000024000b0002801124a40a01010b0a01010c78787878787878787878787878787878", "45000024000b00028011b64dc0a8010ac0a8021478787878787878787878787878787878"},
	} {
		f, l := laid(t, unhex(v[1]))
		if !Readdress4(f, &l, pa1, pa2) || !bytes.Equal(f[EthernetLen:], unhex(v[2])) {
			t.Errorf("%s: %x, want %s", v[0], f[EthernetLen:], v[2])
		}
		if !Readdress4(f, &l, ca1, ca2) || !bytes.Equal(f[EthernetLen:], unhex(v[1])) {
			t.Errorf("%s back: %x, want %s", v[0], f[EthernetLen:], v[1])
		}
	}
}

func TestR17_R18ReaddressErrorVector(t *testing.T) {
	f, l := laid(t, unhex("45000038000d0000fe01395cc0a80101c0a8010a030481200000057845000026000c40008011764cc0a8010ac0a802141388138900124f40"))
	src, dst, ok := Quoted4(f, &l)
	if !ok || src != pa1 || dst != pa2 {
		t.Fatalf("quoted %x to %x, %v", src, dst, ok)
	}
	const want = "45000038000d0000fe01a6aa0a0101010a01010b030412ca0000057845000026000c40008011e4a20a01010b0a01010c138813890012bd96"
	if !ReaddressError4(f, &l, 0x0a010101, ca1, ca2) || !bytes.Equal(f[EthernetLen:], unhex(want)) {
		t.Errorf("R-V6: %x, want %s", f[EthernetLen:], want)
	}
}

// error4 and error6 are ICMP errors from pa2 to pa1, and their IPv6 likes.
func error4(typ byte, rest uint32, quote []byte) []byte {
	b := make([]byte, IPv4Len+ICMPLen, 600)
	b = append(b, quote...)
	ICMPv4(b[IPv4Len:]).Encode(ICMPFields{Type: typ, Rest: rest})
	IPv4(b).Encode(IPv4Fields{TotalLen: uint16(len(b)), TTL: 64, Protocol: ProtoICMP, Src: a4(pa2), Dst: a4(pa1)})
	return b
}

func a4(a uint32) (b [4]byte) {
	binary.BigEndian.PutUint32(b[:], a)
	return b
}

var (
	ca6, cb6 = netip.MustParseAddr("fd00:1::11").As16(), netip.MustParseAddr("fd00:1::12").As16()
	pa6, pb6 = netip.MustParseAddr("2001:db8:1::10").As16(), netip.MustParseAddr("2001:db8:2::20").As16()
)

func error6(typ byte, rest uint32, quote []byte) []byte {
	b := make([]byte, IPv6Len+ICMPLen, 600)
	b = append(b, quote...)
	IPv6(b).Encode(IPv6Fields{PayloadLen: uint16(len(b) - IPv6Len), NextHeader: ProtoICMPv6, HopLimit: 64, Src: pb6, Dst: pa6})
	ICMPv6(b[IPv6Len:]).Encode(ICMPFields{Type: typ, Rest: rest}, pb6, pa6)
	return b
}

// udp4 and udp6 are what the error is about: a datagram from pa1 to dst.
func udp4(dst uint32) []byte {
	b := make([]byte, IPv4Len+UDPLen+4)
	IPv4(b).Encode(IPv4Fields{TotalLen: uint16(len(b)), TTL: 64, Protocol: ProtoUDP, Src: a4(pa1), Dst: a4(dst)})
	UDP(b[IPv4Len:]).Encode(UDPFields{SrcPort: 0xc000, DstPort: 0xc001, Length: 12, Checksum: 0x1234})
	return b
}

func udp6(dst [16]byte, chain []byte) []byte {
	b := make([]byte, IPv6Len, 600)
	next := ProtoUDP
	if chain != nil {
		next = ProtoDestination
	}
	b = append(append(b, chain...), 0xc0, 0, 0xc0, 1, 0, 12, 0x12, 0x34, 1, 2, 3, 4)
	IPv6(b).Encode(IPv6Fields{PayloadLen: uint16(len(b) - IPv6Len), NextHeader: next, HopLimit: 64, Src: pa6, Dst: dst})
	return b
}

// What of an ICMP message is rewritten, and what is not.
func TestR16_R18Requoted(t *testing.T) {
	chain := append([]byte{ProtoUDP, 9, 1, 76}, make([]byte, 76)...) // 80 bytes, so that UDP begins behind 120
	cut6 := udp6(pb6, chain)[:128]
	for _, c := range []struct {
		name   string
		packet []byte
		from   int // of the quote
		sum    int // of the transport's checksum in it; 0: nothing changes but the addresses
		quoted bool
	}{
		{"IPv4", error4(3, 0, udp4(pa2)), 28, 26, true},
		{"IPv4 redirect whose gateway is like a length", error4(5, 0x0a010101, udp4(pa2)), 28, 26, true},
		{"IPv4 whose quote is said to be a header", error4(11, 5<<16, udp4(pa2)), 28, 0, true},
		{"IPv4 whose quote is said to be less", error4(11, 4<<16, udp4(pa2)), 28, 0, false},
		{"IPv4 about a packet to another", error4(3, 0, udp4(ca2)), 28, 0, false},
		{"IPv4 echo that looks like it", error4(8, 0, udp4(pa2)), 28, 0, false},
		{"IPv4 message of an unknown type", error4(35, 0, udp4(pa2)), 28, 0, false},
		{"IPv6", error6(1, 0, udp6(pb6, nil)), 48, 46, true},
		{"IPv6 too big", error6(2, 1400, udp6(pb6, nil)), 48, 46, true},
		{"IPv6 too big, said to be less, which it cannot", error6(2, 1<<24, udp6(pb6, nil)), 48, 46, true},
		{"IPv6 of an unknown type", error6(100, 0, udp6(pb6, nil)), 48, 46, true},
		{"IPv6 about a packet to another", error6(1, 0, udp6(cb6, nil)), 48, 0, false},
		{"IPv6 echo that looks like it", error6(128, 0, udp6(pb6, nil)), 48, 0, false},
		{"IPv6 with extension headers", error6(3, 0, udp6(pb6, chain)), 48, 126, true},
		{"IPv6 whose quote ends before the checksum, where an extension is", error6(3, 15<<24, append(cut6[:120:120], 0x20, 0, 0, 0, 0, 8, 1, 1)), 48, 0, true},
	} {
		f, l := laid(t, c.packet)
		was := bytes.Clone(f)
		v6 := l.EtherType == EtherTypeIPv6
		if v6 {
			Readdress6(f, &l, &cb6, &ca6)
		} else {
			Readdress4(f, &l, ca2, ca1)
		}
		want := bytes.Clone(was)
		at := EthernetLen + c.from
		switch {
		case !v6 && c.quoted:
			copy(want[at+12:], unhex("0a01010b0a01010c"))
			copy(want[at+10:], f[at+10:at+12])
			if Checksum(f[at:at+20], 0) != 0 {
				t.Errorf("%s: quoted header %x", c.name, f[at:at+20])
			}
		case v6 && c.quoted:
			copy(want[at+8:], ca6[:])
			copy(want[at+24:], cb6[:])
		}
		if c.sum != 0 {
			copy(want[at+c.sum:], f[at+c.sum:at+c.sum+2])
			sum, back := f[at+c.sum:], f[at+c.sum:][:2:2]
			if bytes.Equal(back, []byte{0x12, 0x34}) || binary.BigEndian.Uint16(sum) == 0 {
				t.Errorf("%s: quoted checksum %x", c.name, back)
			}
		}
		if !bytes.Equal(f[at:], want[at:]) {
			t.Errorf("%s: quote\n%x, want\n%x", c.name, f[at:], want[at:])
		}
		if !right(f, &l) {
			t.Errorf("%s: wrong checksums in %x", c.name, f)
		}
		if v6 {
			Readdress6(f, &l, &pb6, &pa6)
		} else {
			Readdress4(f, &l, pa2, pa1)
		}
		if !bytes.Equal(f, was) {
			t.Errorf("%s: came back as\n%x, not\n%x", c.name, f, was)
		}
	}
}

// right says whether the checksums of an IP packet are that cover all of it: its
// header's, and the transport's if it is no fragment.
func right(frame []byte, l *Layout) bool {
	ip, transport := frame[l.L3:l.End], []byte(nil)
	if l.L4 != 0 {
		transport = frame[l.L4:l.End]
	}
	if l.EtherType == EtherTypeIPv4 {
		header := IPv4(ip).HeaderLen()
		if Checksum(ip[:header], 0) != 0 {
			return false
		}
		switch {
		case l.Flags&IsFragment != 0:
		case l.Proto == ProtoICMP:
			return Checksum(transport, 0) == 0
		case l.Proto == ProtoTCP, l.Proto == ProtoUDP && UDP(transport).Checksum() != 0:
			return Checksum(transport, PseudoHeader4(IPv4(ip).Src4(), IPv4(ip).Dst4(), l.Proto, uint16(len(transport)))) == 0
		}
		return true
	}
	if l.Flags&IsFragment == 0 && (l.Proto == ProtoICMPv6 || l.Proto == ProtoTCP || l.Proto == ProtoUDP && UDP(transport).Checksum() != 0) && !routed(ip) {
		return Checksum(transport, PseudoHeader6(IPv6(ip).Src(), IPv6(ip).Dst(), l.Proto, uint32(len(transport)))) == 0
	}
	return true
}

// Whatever Parse accepts: right checksums stay right and wrong ones wrong, nothing
// changes its length, and the addresses back make it what it was, but for checksums
// that were 0xffff.
func FuzzReaddress(f *testing.F) {
	elsewhere := func(p []byte) []byte { // with other addresses than those it will get
		for _, a := range [][2]uint32{{pa1, ca1}, {pa2, ca2}} {
			was, is := a4(a[0]), a4(a[1])
			p = bytes.ReplaceAll(p, was[:], is[:])
		}
		return bytes.ReplaceAll(bytes.ReplaceAll(p, pa6[:], ca6[:]), pb6[:], cb6[:])
	}
	for _, p := range [][]byte{elsewhere(error4(3, 0, udp4(pa2))), elsewhere(error6(1, 0, udp6(pb6, nil))), udp4(ca2), elsewhere(udp6(pb6, nil)), udp6(cb6, []byte{ProtoUDP, 0, 1, 4, 0, 0, 0, 0}),
		unhex("4500002800070000800624b10a01010b0a01010cc000005001020304000000005002ffffd5730000")} {
		frame, _ := laid(f, p)
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		var l Layout
		if Parse(frame, &l) != OK || l.EtherType != EtherTypeIPv4 && l.EtherType != EtherTypeIPv6 {
			return
		}
		if far := a4(pa2); bytes.Contains(frame, far[:]) || bytes.Contains(frame, pb6[:]) {
			return // a quote that has the new addresses before is taken for one that got them
		}
		was, wasRight := bytes.Clone(frame), right(frame, &l)
		ip := frame[l.L3:]
		var there, back func() bool
		if l.EtherType == EtherTypeIPv4 {
			src, dst := IPv4(ip).SrcU32(), IPv4(ip).DstU32()
			there = func() bool { return Readdress4(frame, &l, pa1, pa2) }
			back = func() bool { return Readdress4(frame, &l, src, dst) }
		} else {
			src, dst := IPv6(ip).Src(), IPv6(ip).Dst()
			there = func() bool { return Readdress6(frame, &l, &pa6, &pb6) }
			back = func() bool { return Readdress6(frame, &l, &src, &dst) }
		}
		if !there() {
			if !bytes.Equal(frame, was) {
				t.Fatalf("refused, and changed from %x to %x", was, frame)
			}
			return
		}
		if right(frame, &l) != wasRight {
			t.Fatalf("right was %v: %x became %x", wasRight, was, frame)
		}
		if !back() || right(frame, &l) != wasRight {
			t.Fatalf("%x came back as %x", was, frame)
		}
		for i := range frame {
			if frame[i] != was[i] && (was[i] != 0xff || frame[i] != 0) {
				t.Fatalf("byte %d of %x came back as %x", i, was, frame)
			}
		}
	})
}

// What changes words at once changes what Readdress4 does, to the last bit: whatever
// the addresses and checksums, of which many are made to carry.
func TestPlain4Readdress(t *testing.T) {
	r := random(t)
	carrying := func() uint32 { // halves of it are often 0 or 0xffff
		x := r.Uint32()
		for _, half := range []uint32{0xffff, 0xffff0000} {
			switch r.IntN(3) {
			case 0:
				x |= half
			case 1:
				x &^= half
			}
		}
		return x
	}
	for range 200_000 {
		var a [EthernetLen + IPv4Len + TCPLen]byte
		binary.BigEndian.PutUint16(a[ethType:], EtherTypeIPv4)
		ip := IPv4(a[EthernetLen:])
		ip[0], ip[ip4Protocol] = 0x45, []uint8{ProtoTCP, ProtoUDP, ProtoUDP, ProtoICMP}[r.IntN(4)]
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
		ip.SetChecksum(uint16(carrying()))
		binary.BigEndian.PutUint32(ip[ip4Src:], carrying())
		binary.BigEndian.PutUint32(ip[ip4Dst:], carrying())
		for _, at := range []int{udpChecksum, tcpChecksum} {
			binary.BigEndian.PutUint16(ip[IPv4Len+at:], uint16(carrying()))
		}
		was, b := a, a
		src, dst := carrying(), carrying()
		addrs := a4(src)
		more := a4(dst)
		to := uint64(binary.LittleEndian.Uint32(addrs[:])) | uint64(binary.LittleEndian.Uint32(more[:]))<<32
		done := (*Plain4)(b[:]).Readdress(to)
		if done != (ip.Protocol() != ProtoICMP) {
			t.Fatalf("%x: %v", was, done)
		}
		if !done {
			if b != was {
				t.Fatalf("refused, and changed from %x to %x", was, b)
			}
			continue
		}
		var l Layout
		if Parse(a[:], &l) != OK || !Readdress4(a[:], &l, src, dst) || a != b {
			t.Fatalf("%x became\n%x, the slow way\n%x", was, b, a)
		}
	}
}
