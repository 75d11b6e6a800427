package packet

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

var (
	pa4A, pa4B = netip.MustParseAddr("192.168.2.20"), netip.MustParseAddr("192.168.3.30")
	pa6A, pa6B = netip.MustParseAddr("2001:db8:2::20"), netip.MustParseAddr("2001:db8:3::30")
)

// nveOf is a control message, as long as it likes to be.
func nveOf(kind NVEKind, src, dst netip.Addr, quote []byte) []byte {
	return AppendNVE(nil, &NVEFields{Kind: kind, DstMAC: macA, SrcMAC: macB, Src: src, Dst: dst, Quote: quote}, 1500)
}

func TestN1_N6Message(t *testing.T) {
	for _, tt := range []struct {
		name       string
		kind       NVEKind
		src, dst   netip.Addr
		typ, code4 uint8
	}{
		{"N3 unreachable", NVEUnreachable, pa4A, pa4B, 3, 10},
		{"N2 redirect", NVERedirect, pa4A, pa4B, 5, 10},
		{"N3 unreachable, IPv6", NVEUnreachable, pa6A, pa6B, 1, 1},
		{"N2 redirect, IPv6", NVERedirect, pa6A, pa6B, 137, 1},
	} {
		for _, quote := range [][]byte{quoteAs(vector1), quoteAs(vector3), quoteAs(vector1)[20:]} {
			t.Run(tt.name, func(t *testing.T) {
				frame := nveOf(tt.kind, tt.src, tt.dst, quote)
				p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
				var msg []byte
				if tt.src.Is4() {
					checkEthernet(t, p, macA, macB, 0, layers.EthernetTypeIPv4)
					ip, icmp := layer[*layers.IPv4](t, p), layer[*layers.ICMPv4](t, p)
					if ip.TTL != 128 || ip.Flags != layers.IPv4DontFragment || !ip.SrcIP.Equal(tt.src.AsSlice()) || !ip.DstIP.Equal(tt.dst.AsSlice()) || int(ip.Length) != len(frame)-14 {
						t.Errorf("%+v", ip)
					}
					if icmp.TypeCode != layers.CreateICMPv4TypeCode(tt.typ, tt.code4) {
						t.Errorf("ICMP %v", icmp.TypeCode)
					}
					if rest := icmp.Contents[4:8]; tt.kind == NVERedirect && !bytes.Equal(rest, tt.dst.AsSlice()) || tt.kind != NVERedirect && !bytes.Equal(rest, make([]byte, 4)) {
						t.Errorf("second word %x", rest)
					}
					sum, ipSum := icmp.Checksum, ip.Checksum
					if serialize(t, ip, icmp, gopacket.Payload(icmp.Payload)); icmp.Checksum != sum || ip.Checksum != ipSum {
						t.Errorf("checksums %#x, %#x, gopacket says %#x, %#x", ipSum, sum, ip.Checksum, icmp.Checksum)
					}
					msg = icmp.Payload
				} else {
					checkEthernet(t, p, macA, macB, 0, layers.EthernetTypeIPv6)
					ip, icmp := layer[*layers.IPv6](t, p), layer[*layers.ICMPv6](t, p)
					if ip.HopLimit != 128 || !ip.SrcIP.Equal(tt.src.AsSlice()) || !ip.DstIP.Equal(tt.dst.AsSlice()) || int(ip.Length) != len(frame)-54 {
						t.Errorf("%+v", ip)
					}
					if icmp.TypeCode != layers.CreateICMPv6TypeCode(tt.typ, tt.code4) {
						t.Errorf("ICMPv6 %v", icmp.TypeCode)
					}
					checkICMPv6(t, p)
					msg = icmp.Payload[4:] // gopacket counts the second word to the payload
				}
				if !bytes.Equal(msg, quote) {
					t.Errorf("quote %x, want %x", msg, quote)
				}

				var l Layout
				if f := Parse(frame, &l); f != OK {
					t.Fatal(f)
				}
				want := NVEMessage{Kind: tt.kind, Src: tt.src, Dst: tt.dst, VSID: 6001, MAC: MAC{0x10, 0x10, 0x10, 0x10, 0x11, 7}, CA: netip.MustParseAddr("10.1.1.12")}
				if quote[0]>>4 == 6 {
					want.VSID = 0xfffffe
				}
				if got, ok := ParseNVE(frame, &l); !ok || got != want || !IsNVE(frame, &l) {
					t.Errorf("ParseNVE = %+v, %v, want %+v", got, ok, want)
				}
			})
		}
	}
}

// N6: as much of the packet as fits, and nothing if not even headers do.
func TestN6Room(t *testing.T) {
	quote := bytes.Repeat([]byte{0xa5}, 100)
	for _, tt := range []struct {
		dst, src netip.Addr
		headers  int
	}{{pa4A, pa4B, 42}, {pa6A, pa6B, 62}} {
		n := NVEFields{Kind: NVERedirect, Src: tt.src, Dst: tt.dst, Quote: quote}
		for room := range 200 {
			want := min(room, tt.headers+len(quote))
			if room < tt.headers {
				want = 0
			}
			b := AppendNVE([]byte("before"), &n, room)
			if len(b) != 6+want || string(b[:6]) != "before" {
				t.Errorf("%d bytes in a room of %d, want %d", len(b)-6, room, want)
			}
		}
	}
	for _, n := range []NVEFields{{Src: pa4A, Dst: pa6A}, {Src: pa6A, Dst: pa4A}, {}} {
		if b := AppendNVE(nil, &n, 1500); b != nil {
			t.Errorf("%v to %v: %x", n.Src, n.Dst, b)
		}
	}
	// No IP packet is longer than its length field can say.
	var l Layout
	frame := AppendNVE(nil, &NVEFields{Kind: NVERedirect, Src: pa4A, Dst: pa4B, Quote: make([]byte, 1<<17)}, 1<<17)
	if f := Parse(frame[:maxFrame], &l); len(frame) != EthernetLen+65535 || IPv4(frame[14:]).TotalLen() != 65535 {
		t.Errorf("Parse = %v, %d bytes", f, len(frame))
	}
}

func TestN1_N10Refused(t *testing.T) {
	quote := quoteAs(vector1)
	good, good6 := nveOf(NVERedirect, pa4A, pa4B, quote), nveOf(NVEUnreachable, pa6A, pa6B, quote)
	change := func(frame []byte, seal bool, change func(f []byte)) []byte {
		frame = mod(bytes.Clone(frame), change)
		var l Layout
		if f := Parse(frame, &l); f != OK {
			t.Fatal(f)
		}
		if seal {
			sealICMP(frame, &l)
		}
		return frame
	}
	requoted := func(change func(q []byte)) []byte {
		return nveOf(NVERedirect, pa4A, pa4B, mod(bytes.Clone(quote), change))
	}
	const atGRE, atInner = 20, 28 // in the quote
	arp := AppendARP(nil, &ARPFrame{DstMAC: macB, SrcMAC: macA, ARPFields: ARPFields{Op: ARPOpRequest, SenderIP: ip4A, TargetIP: ip4B}})
	for _, tt := range []struct {
		name   string
		frame  []byte
		is, ok bool
	}{
		{"redirect", good, true, true},
		{"unreachable of IPv6", good6, true, true},
		{"quote without the VM's address", nveOf(NVERedirect, pa4A, pa4B, quote[:atInner+33]), true, false},
		{"quote with it", nveOf(NVERedirect, pa4A, pa4B, quote[:atInner+34]), true, true},
		{"quote without an Ethernet header", nveOf(NVERedirect, pa4A, pa4B, quote[:atInner+13]), true, false},
		{"quote without a GRE header", nveOf(NVERedirect, pa4A, pa4B, quote[:atInner-1]), false, false},
		{"quote of a GRE header alone", nveOf(NVERedirect, pa4A, pa4B, quote[atGRE:atInner]), true, false},
		{"no quote", nveOf(NVERedirect, pa4A, pa4B, nil), false, false},
		{"quote of a tenant's packet", nveOf(NVEUnreachable, pa4A, pa4B, quote[atInner+14:]), false, false},
		{"quote of GRE without a key", requoted(func(q []byte) { q[atGRE] = 0 }), false, false},
		{"quote of GRE with a sequence number", requoted(func(q []byte) { q[atGRE] = 0x30 }), false, false},
		{"quote of GRE with IP in it", requoted(func(q []byte) { q[atGRE+2] = 8 }), false, false},
		{"quote of UDP", requoted(func(q []byte) { q[9] = ProtoUDP }), false, false},
		{"quote of a tagged frame", requoted(func(q []byte) { q[atInner+12], q[atInner+13] = 0x81, 0 }), true, false},
		{"quote of another version of IP", requoted(func(q []byte) { q[atInner+14] = 0x65 }), true, false},
		{"quote of IPv6 in an IPv4 frame", requoted(func(q []byte) { q[atInner+12], q[atInner+13] = 0x86, 0xdd }), true, false},
		{"quote of ARP (A8)", nveOf(NVERedirect, pa4A, pa4B, append(bytes.Clone(quote[:atInner]), arp...)), true, true},
		{"quote of half of an ARP", nveOf(NVERedirect, pa4A, pa4B, append(bytes.Clone(quote[:atInner]), arp[:41]...)), true, false},
		{"quote of an ARP that is not for IPv4", nveOf(NVERedirect, pa4A, pa4B, append(bytes.Clone(quote[:atInner]), mod(bytes.Clone(arp), func(f []byte) { f[15] = 6 })...)), true, false},
		{"quote of IPv6", nveOf(NVERedirect, pa4A, pa4B, append(bytes.Clone(quote[:atInner]), udp6Frame...)), true, true},
		{"quote of half of an IPv6 header", nveOf(NVERedirect, pa4A, pa4B, append(bytes.Clone(quote[:atInner]), udp6Frame[:53]...)), true, false},
		{"host unreachable", change(good, true, func(f []byte) { f[34], f[35] = 3, 1 }), false, false},
		{"redirect for a host", change(good, true, func(f []byte) { f[35] = 1 }), false, false},
		{"no route, of IPv6", change(good6, true, func(f []byte) { f[55] = 0 }), false, false},
		{"redirect of neighbor discovery", change(good6, true, func(f []byte) { f[54], f[55] = 137, 0 }), false, false},
		{"damaged", change(good, false, func(f []byte) { f[len(f)-1]++ }), true, false},
		{"damaged header", change(good, false, func(f []byte) { f[22]++ }), true, false},
		{"damaged, of IPv6", change(good6, false, func(f []byte) { f[len(f)-1]++ }), true, false},
		{"fragment", change(good, true, func(f []byte) { f[20] = 0x20 }), false, false},
		{"tagged", append(append(bytes.Clone(good[:12]), 0x81, 0, 0, 5), good[12:]...), false, false},
		{"UDP", udpFrame, false, false},
		{"ARP", arp, false, false},
	} {
		var l Layout
		if f := Parse(tt.frame, &l); f != OK {
			t.Fatalf("%s: Parse = %v", tt.name, f)
		}
		m, ok := ParseNVE(tt.frame, &l)
		if is := IsNVE(tt.frame, &l); is != tt.is || ok != tt.ok || !ok && m != (NVEMessage{}) {
			t.Errorf("%s: IsNVE %v, ParseNVE %+v, %v, want %v, %v", tt.name, is, m, ok, tt.is, tt.ok)
		}
	}
	var l Layout
	frame := nveOf(NVERedirect, pa4A, pa4B, append(bytes.Clone(quote[:atInner]), arp...))
	Parse(frame, &l)
	if m, _ := ParseNVE(frame, &l); m.CA != netip.AddrFrom4(ip4B) || m.MAC != macB {
		t.Errorf("ARP: %+v", m)
	}
	frame = nveOf(NVERedirect, pa4A, pa4B, append(bytes.Clone(quote[:atInner]), udp6Frame...))
	Parse(frame, &l)
	if m, _ := ParseNVE(frame, &l); m.CA.String() != "fd00:1::12" {
		t.Errorf("IPv6: %+v", m)
	}
}

// What comes over the fabric never fools the parser: the same as a checklist.
func FuzzParseNVE(f *testing.F) {
	for _, quote := range [][]byte{quoteAs(vector1), quoteAs(vector3), quoteAs(vector1)[20:], quoteAs(vector1)[:61]} {
		f.Add(nveOf(NVERedirect, pa4A, pa4B, quote), true)
		f.Add(nveOf(NVEUnreachable, pa6A, pa6B, quote), true)
	}
	f.Fuzz(func(t *testing.T, frame []byte, seal bool) {
		var l Layout
		if Parse(frame, &l) != OK {
			return
		}
		frame = bytes.Clone(frame)
		sealed := seal && sealICMP(frame, &l)
		m, ok := ParseNVE(frame, &l)
		if ok && !IsNVE(frame, &l) || !ok && m != (NVEMessage{}) {
			t.Fatalf("ParseNVE(%x) = %+v, %v", frame, m, ok)
		}
		if !sealed {
			return
		}
		want := slowNVE(frame, &l)
		if (want != nil) != ok || ok && *want != m {
			t.Fatalf("ParseNVE(%x) = %+v, %v, want %+v", frame, m, ok, want)
		}
	})
}

// slowNVE is N1 to N6 as a checklist; checksums are right.
func slowNVE(frame []byte, l *Layout) *NVEMessage {
	if l.Tags != 0 || l.Flags != 0 {
		return nil
	}
	var m NVEMessage
	msg := frame[l.L4:l.End]
	switch [2]byte(msg) {
	case [2]byte{3, 10}:
		m.Kind = NVEUnreachable
	case [2]byte{5, 10}:
		m.Kind = NVERedirect
	}
	ip := frame[l.L3:]
	if l.EtherType == EtherTypeIPv6 {
		m.Kind = map[[2]byte]NVEKind{{1, 1}: NVEUnreachable, {137, 1}: NVERedirect}[[2]byte(msg)]
		m.Src, m.Dst = netip.AddrFrom16([16]byte(ip[8:])), netip.AddrFrom16([16]byte(ip[24:]))
	} else {
		m.Src, m.Dst = netip.AddrFrom4([4]byte(ip[12:])), netip.AddrFrom4([4]byte(ip[16:]))
	}
	gre := msg[8:]
	if !bytes.HasPrefix(gre, []byte{0x20, 0, 0x65, 0x58}) {
		gre, _, _ = slowGRE(gre)
	}
	if m.Kind == 0 || len(gre) < 8+14 {
		return nil
	}
	m.VSID = uint32(gre[4])<<16 | uint32(gre[5])<<8 | uint32(gre[6])
	m.MAC = MAC(gre[8:])
	etherType, b := uint16(gre[20])<<8|uint16(gre[21]), gre[22:]
	switch {
	case etherType == 0x0800 && len(b) >= 20 && b[0]>>4 == 4:
		m.CA = netip.AddrFrom4([4]byte(b[16:]))
	case etherType == 0x86dd && len(b) >= 40 && b[0]>>4 == 6:
		m.CA = netip.AddrFrom16([16]byte(b[24:]))
	case etherType == 0x0806 && len(b) >= 28 && bytes.HasPrefix(b, []byte{0, 1, 8, 0, 6, 4}):
		m.CA = netip.AddrFrom4([4]byte(b[24:]))
	default:
		return nil
	}
	return &m
}

func TestM10_M13_N6NoAllocations(t *testing.T) {
	quote := quoteAs(vector1)
	frames := [][]byte{
		tooBig4(t, quote, 1400), tooBig6(t, quoteAs(vector3), 1400), udpFrame, segment(t, false, []byte{2, 4, 5, 0xb4}, nil, nil),
		nveOf(NVERedirect, pa4A, pa4B, quote), nveOf(NVEUnreachable, pa6A, pa6B, quote), udpFrom(t, false, 67, 68, 0), AppendARP(nil, &ARPFrame{}),
	}
	buf := make([]byte, 0, 1500)
	n4, n6 := NVEFields{Kind: NVERedirect, Src: pa4A, Dst: pa4B, Quote: quote}, NVEFields{Kind: NVEUnreachable, Src: pa6A, Dst: pa6B, Quote: quote}
	found := 0
	if n := testing.AllocsPerRun(100, func() {
		var l Layout
		for i, frame := range frames {
			Parse(frame, &l)
			_, _, _, _, tooBig := ParseTooBig(frame, &l)
			_, nve := ParseNVE(frame, &l)
			for _, is := range []bool{tooBig, nve, IsNVE(frame, &l), ClampMSS(frame, &l, uint16(1400-i-found%1000)), DHCPClient(frame, &l), DHCPServer(frame, &l), RouterMessage(frame, &l)} {
				if is {
					found++
				}
			}
		}
		sink += uint64(len(AppendNVE(buf, &n4, 600)) + len(AppendNVE(buf, &n6, 600)))
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if found < 8*100 {
		t.Errorf("%d things found", found)
	}
}
