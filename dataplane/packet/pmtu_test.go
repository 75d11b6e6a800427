package packet

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// tooBig4 is "fragmentation needed" from 192.168.1.1 to the quote's source, as
// gopacket writes it, and tooBig6 "packet too big".
func tooBig4(t testing.TB, quote []byte, mtu uint16) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: macA[:], DstMAC: macB[:], EthernetType: layers.EthernetTypeIPv4},
		&layers.IPv4{Version: 4, TTL: 255, Protocol: layers.IPProtocolICMPv4, SrcIP: []byte{192, 168, 1, 1}, DstIP: []byte{192, 168, 1, 10}},
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 4), Seq: mtu}, gopacket.Payload(quote)); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func tooBig6(t testing.TB, quote []byte, mtu uint32) []byte {
	t.Helper()
	ip := &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6,
		SrcIP: netip.MustParseAddr("2001:db8:1::1").AsSlice(), DstIP: netip.MustParseAddr("2001:db8:1::10").AsSlice()}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(2, 0)}
	icmp.SetNetworkLayerForChecksum(ip)
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: macA[:], DstMAC: macB[:], EthernetType: layers.EthernetTypeIPv6},
		ip, icmp, gopacket.Payload(append(binary.BigEndian.AppendUint32(nil, mtu), quote...))); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// quoteAs is what the NVGRE vectors send, from the outer IP header on.
func quoteAs(vector string) []byte {
	frame := unhex(vector)
	var l Layout
	Parse(frame, &l)
	return frame[l.L3:]
}

func TestM10_M11ParseTooBig(t *testing.T) {
	v4, v6 := quoteAs(vector1), quoteAs(vector3)
	tunnelled := func(quote []byte, change func(q []byte)) []byte { return mod(bytes.Clone(quote), change) }
	for _, tt := range []struct {
		name  string
		frame []byte
		mtu   int // -1: not believed
	}{
		{"fragmentation needed", tooBig4(t, v4, 1400), 1400},
		{"with the 8 bytes of RFC 792", tooBig4(t, v4[:28], 1400), 1400},
		{"with less", tooBig4(t, v4[:27], 1400), -1},
		{"without a whole IP header", tooBig4(t, v4[:19], 1400), -1},
		{"without a quote", tooBig4(t, nil, 1400), -1},
		{"with options in the quote", tooBig4(t, append(append(tunnelled(v4[:20], func(q []byte) { q[0] = 0x46 }), 1, 1, 1, 1), v4[20:]...), 1400), 1400},
		{"with options beyond the quote", tooBig4(t, tunnelled(v4[:28], func(q []byte) { q[0] = 0x4f }), 1400), -1},
		{"with a header length that none has", tooBig4(t, tunnelled(v4, func(q []byte) { q[0] = 0x44 }), 1400), -1},
		{"from a router that says no MTU", tooBig4(t, v4, 0), 0},
		{"MTU 67", tooBig4(t, v4, 67), -1},
		{"MTU 68", tooBig4(t, v4, 68), 68},
		{"MTU 65535", tooBig4(t, v4, 65535), 65535},
		{"about UDP", tooBig4(t, tunnelled(v4, func(q []byte) { q[9] = ProtoUDP }), 1400), -1},
		{"about a later fragment", tooBig4(t, tunnelled(v4, func(q []byte) { q[7] = 1 }), 1400), -1},
		{"about GRE without a key", tooBig4(t, tunnelled(v4, func(q []byte) { q[20] = 0 }), 1400), -1},
		{"about GRE with a checksum", tooBig4(t, tunnelled(v4, func(q []byte) { q[20] = 0xa0 }), 1400), -1},
		{"about GRE with IP in it", tooBig4(t, tunnelled(v4, func(q []byte) { q[22], q[23] = 8, 0 }), 1400), -1},
		{"about another's packet", tooBig4(t, tunnelled(v4, func(q []byte) { q[15]++ }), 1400), -1},
		{"about IPv6", tooBig4(t, v6, 1400), -1},
		{"about IPv6 with the receiver's address in it", tooBig4(t, tunnelled(v6, func(q []byte) { copy(q[12:], []byte{192, 168, 1, 10}) }), 1400), -1},
		{"host unreachable", tunnelled(tooBig4(t, v4, 1400), func(f []byte) { f[35], f[37] = 1, f[37]+3 }), -1},
		{"damaged", tunnelled(tooBig4(t, v4, 1400), func(f []byte) { f[80]++ }), -1},
		{"with a damaged header", tunnelled(tooBig4(t, v4, 1400), func(f []byte) { f[22]++ }), -1},
		{"in a fragment", tunnelled(tooBig4(t, v4, 1400), func(f []byte) {
			f[20] = 0x20
			IPv4(f[14:]).SetChecksum(0)
			IPv4(f[14:]).SetChecksum(slowSum(f[14:34], 0))
		}), -1},

		{"packet too big", tooBig6(t, v6, 1400), 1400},
		{"with a whole GRE header", tooBig6(t, v6[:48], 1400), 1400},
		{"with part of one", tooBig6(t, v6[:47], 1400), -1},
		{"without a whole IPv6 header", tooBig6(t, v6[:39], 1400), -1},
		{"MTU 1280", tooBig6(t, v6, 1280), 1280},
		{"MTU 1279", tooBig6(t, v6, 1279), -1},
		{"MTU 0 of IPv6", tooBig6(t, v6, 0), -1},
		{"MTU 9000 of IPv6", tooBig6(t, v6, 9000), 9000},
		{"about UDP over IPv6", tooBig6(t, tunnelled(v6, func(q []byte) { q[6] = ProtoUDP }), 1400), -1},
		{"about another's packet of IPv6", tooBig6(t, tunnelled(v6, func(q []byte) { q[23]++ }), 1400), -1},
		{"about IPv4 from IPv6", tooBig6(t, v4, 1400), -1},
		{"damaged, of IPv6", tunnelled(tooBig6(t, v6, 1400), func(f []byte) { f[100]++ }), -1},
		{"time exceeded of IPv6", mod(tooBig6(t, v6, 1400), func(f []byte) {
			f[atND] = ICMPv6TimeExceeded
			var l Layout
			Parse(f, &l)
			reseal(f, &l)
		}), -1},

		{"UDP", udpFrame, -1},
		{"ARP", AppendARP(nil, &ARPFrame{}), -1},
		{"the packet itself", unhex(vector1), -1},
	} {
		var l Layout
		if f := Parse(tt.frame, &l); f != OK {
			t.Fatalf("%s: Parse = %v", tt.name, f)
		}
		src, dst, size, mtu, ok := ParseTooBig(tt.frame, &l)
		if tt.mtu < 0 {
			if ok || size != 0 || mtu != 0 || src.IsValid() || dst.IsValid() {
				t.Errorf("%s: %v to %v, %d, %v", tt.name, src, dst, mtu, ok)
			}
			continue
		}
		from, to, long := "192.168.1.10", "192.168.2.20", len(v4)
		if l.EtherType == EtherTypeIPv6 {
			from, to, long = "2001:db8:1::10", "2001:db8:2::20", len(v6)
		}
		if !ok || mtu != tt.mtu || size != long || src.String() != from || dst.String() != to {
			t.Errorf("%s: %v to %v, %d of %d, %v; want %s to %s, %d of %d", tt.name, src, dst, mtu, size, ok, from, to, tt.mtu, long)
		}
	}
}

// sealICMP makes the checksums of a frame with ICMP right, and says if it has any.
func sealICMP(frame []byte, l *Layout) bool {
	if l.L4 == 0 {
		return false
	}
	switch {
	case l.EtherType == EtherTypeIPv4 && l.Proto == ProtoICMP:
		ip := IPv4(frame[l.L3:])
		ip.SetChecksum(0)
		ip.SetChecksum(slowSum(ip[:ip.HeaderLen()], 0))
		msg := ICMPv4(frame[l.L4:l.End])
		msg.SetChecksum(0)
		msg.SetChecksum(slowSum(msg, 0))
		return true
	case l.EtherType == EtherTypeIPv6 && l.Proto == ProtoICMPv6:
		reseal(frame, l)
		return true
	}
	return false
}

// slowGRE finds the GRE header of an NVGRE packet that was quoted from its IP
// header on: address family, source and destination with it.
func slowGRE(quote []byte) (gre, src, dst []byte) {
	switch {
	case len(quote) >= 28 && quote[0]>>4 == 4:
		n := 4 * int(quote[0]&15)
		if n < 20 || len(quote) < n+8 || quote[9] != 47 || quote[6]&0x1f != 0 || quote[7] != 0 {
			return nil, nil, nil
		}
		gre, src, dst = quote[n:], quote[12:16], quote[16:20]
	case len(quote) >= 48 && quote[0]>>4 == 6 && quote[6] == 47:
		gre, src, dst = quote[40:], quote[8:24], quote[24:40]
	default:
		return nil, nil, nil
	}
	if !bytes.HasPrefix(gre, []byte{0x20, 0, 0x65, 0x58}) {
		return nil, nil, nil
	}
	return gre, src, dst
}

func FuzzParseTooBig(f *testing.F) {
	v4, v6 := quoteAs(vector1), quoteAs(vector3)
	for _, frame := range [][]byte{tooBig4(f, v4, 1400), tooBig4(f, v4[:28], 0), tooBig6(f, v6, 1400), tooBig6(f, v6[:48], 1280), tooBig4(f, v6, 1400)} {
		f.Add(frame, true)
	}
	f.Fuzz(func(t *testing.T, frame []byte, seal bool) {
		var l Layout
		if Parse(frame, &l) != OK {
			return
		}
		frame = bytes.Clone(frame)
		sealed := seal && sealICMP(frame, &l) // else few inputs get past the checksum
		src, dst, size, mtu, ok := ParseTooBig(frame, &l)
		if !ok && (size != 0 || mtu != 0 || src.IsValid() || dst.IsValid()) || ok && !sealed && seal {
			t.Fatalf("ParseTooBig(%x) = %v, %v, %d, %v", frame, src, dst, mtu, ok)
		}
		if !sealed {
			return
		}
		// The same as a checklist.
		msg := frame[l.L4:l.End]
		gre, from, to := slowGRE(msg[8:])
		want := gre != nil && l.Flags == 0
		if l.EtherType == EtherTypeIPv4 {
			size := int(msg[6])<<8 | int(msg[7])
			want = want && msg[0] == 3 && msg[1] == 4 && bytes.Equal(from, frame[l.L3+16:l.L3+20]) && (size == 0 || size >= 68)
		} else {
			want = want && msg[0] == 2 && bytes.Equal(from, frame[l.L3+24:l.L3+40]) && binary.BigEndian.Uint32(msg[4:]) >= 1280
		}
		if ok != want || ok && (!bytes.Equal(src.AsSlice(), from) || !bytes.Equal(dst.AsSlice(), to)) {
			t.Fatalf("ParseTooBig(%x) = %v, %v, %d, %v, want %v", frame, src, dst, mtu, ok, want)
		}
	})
}
