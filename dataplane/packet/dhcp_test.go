package packet

import (
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// udpFrom is a UDP packet of either version from port to port, of gopacket's.
func udpFrom(t testing.TB, v6 bool, src, dst uint16, fragment uint16) []byte {
	t.Helper()
	udp := &layers.UDP{SrcPort: layers.UDPPort(src), DstPort: layers.UDPPort(dst)}
	var network gopacket.SerializableLayer
	etherType := layers.EthernetTypeIPv4
	if v6 {
		ip := &layers.IPv6{Version: 6, HopLimit: 1, NextHeader: layers.IPProtocolUDP, SrcIP: ip6A[:], DstIP: ip6B[:]}
		udp.SetNetworkLayerForChecksum(ip)
		network, etherType = ip, layers.EthernetTypeIPv6
	} else {
		ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: ip4A[:], DstIP: ip4B[:],
			Flags: layers.IPv4Flag(fragment >> 13), FragOffset: fragment & 0x1fff}
		udp.SetNetworkLayerForChecksum(ip)
		network = ip
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: macA[:], DstMAC: macB[:], EthernetType: etherType}, network, udp, gopacket.Payload("0123456789012345")); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestA14_L31DHCPPorts(t *testing.T) {
	for _, tt := range []struct {
		name           string
		frame          []byte
		client, server bool
	}{
		{"client", udpFrom(t, false, 68, 67, 0), true, false},
		{"client, from another port", udpFrom(t, false, 1068, 67, 0), false, false},
		{"relay", udpFrom(t, false, 67, 67, 0), false, false},
		{"server", udpFrom(t, false, 67, 68, 0), false, true},
		{"server that hides its port", udpFrom(t, false, 1067, 68, 0), false, true},
		{"first fragment of a client", udpFrom(t, false, 68, 67, 0x2000), false, false},
		{"first fragment of a server", udpFrom(t, false, 67, 68, 0x2000), false, true},
		{"later fragment", udpFrom(t, false, 67, 68, 1), false, false},
		{"client of IPv6", udpFrom(t, true, 546, 547, 0), false, false},
		{"server of IPv6", udpFrom(t, true, 547, 546, 0), false, true},
		{"server of IPv6 that hides its port", udpFrom(t, true, 5470, 546, 0), false, true},
		{"IPv4's ports over IPv6", udpFrom(t, true, 67, 68, 0), false, false},
		{"IPv4's client ports over IPv6", udpFrom(t, true, 68, 67, 0), false, false},
		{"IPv6's ports over IPv4", udpFrom(t, false, 547, 546, 0), false, false},
		{"other UDP", udpFrame, false, false},
		{"TCP to port 68", mod(udpFrom(t, false, 67, 68, 0), func(f []byte) { f[EthernetLen+ip4Protocol] = ProtoTCP }), false, false},
		{"ARP", AppendARP(nil, &ARPFrame{}), false, false},
	} {
		var l Layout
		if f := Parse(tt.frame, &l); f != OK {
			t.Fatalf("%s: Parse = %v", tt.name, f)
		}
		if client, server := DHCPClient(tt.frame, &l), DHCPServer(tt.frame, &l); client != tt.client || server != tt.server {
			t.Errorf("%s: client %v, server %v", tt.name, client, server)
		}
	}
}

func TestL31RouterMessages(t *testing.T) {
	icmp4 := func(typ uint8) []byte {
		return mod(udpFrom(t, false, 0xc000, 0xc001, 0), func(f []byte) { f[EthernetLen+ip4Protocol] = ProtoICMP; f[34] = typ })
	}
	icmp6 := func(typ uint8) []byte {
		return mod(udpFrom(t, true, 0xc000, 0xc001, 0), func(f []byte) { f[EthernetLen+ip6NextHeader] = ProtoICMPv6; f[atND] = typ })
	}
	check := func(name string, frame []byte, want bool) {
		t.Helper()
		var l Layout
		if f := Parse(frame, &l); f != OK {
			t.Fatalf("%s: Parse = %v", name, f)
		}
		if got := RouterMessage(frame, &l); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	for typ := range 256 {
		check("ICMP", icmp4(uint8(typ)), typ == 5 || typ == 9)
		check("ICMPv6", icmp6(uint8(typ)), typ == 134 || typ == 137)
	}
	check("ICMPv6 in IPv4", mod(icmp4(134), func(f []byte) { f[EthernetLen+ip4Protocol] = ProtoICMPv6 }), false)
	check("ICMP in IPv6", mod(icmp6(5), func(f []byte) { f[EthernetLen+ip6NextHeader] = ProtoICMP }), false)
	check("later fragment", mod(icmp4(5), func(f []byte) { f[EthernetLen+ip4Fragment+1] = 3 }), false)
	check("first fragment", mod(icmp4(5), func(f []byte) { f[EthernetLen+ip4Fragment] = 0x20 }), true)
	check("tagged", func() []byte { f := icmp6(134); return append(append(f[:12:12], 0x81, 0, 0, 5), f[12:]...) }(), true)
	check("UDP", udpFrame, false)
	check("ARP", AppendARP(nil, &ARPFrame{}), false)
}

// mod changes a frame.
func mod(frame []byte, change func(f []byte)) []byte {
	change(frame)
	return frame
}
