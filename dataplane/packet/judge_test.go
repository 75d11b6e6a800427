package packet

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// The tests of this file let gopacket judge: it reads what our encoders wrote,
// and Parse reads what it wrote.

// decode is gopacket's view of frame; anything it cannot read is an error.
func decode(t *testing.T, frame []byte) gopacket.Packet {
	t.Helper()
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
	if e := p.ErrorLayer(); e != nil {
		t.Fatalf("gopacket cannot read %x: %v", frame, e.Error())
	}
	return p
}

// layer is the first layer of type T in p.
func layer[T gopacket.Layer](t *testing.T, p gopacket.Packet) T {
	t.Helper()
	for _, l := range p.Layers() {
		if l, ok := l.(T); ok {
			return l
		}
	}
	var none T
	t.Fatalf("no %T in %v", none, p)
	return none
}

// checkEthernet compares the first two layers with what was asked for.
func checkEthernet(t *testing.T, p gopacket.Packet, dst, src MAC, vlan uint16, etherType layers.EthernetType) {
	t.Helper()
	eth := layer[*layers.Ethernet](t, p)
	if !bytes.Equal(eth.DstMAC, dst[:]) || !bytes.Equal(eth.SrcMAC, src[:]) {
		t.Errorf("Ethernet %v to %v, want %v to %v", eth.SrcMAC, eth.DstMAC, src, dst)
	}
	got := eth.EthernetType
	if vlan != 0 {
		tag := layer[*layers.Dot1Q](t, p)
		if got != layers.EthernetTypeDot1Q || tag.VLANIdentifier != vlan&VIDMask || tag.Priority != uint8(vlan>>13) {
			t.Errorf("tag %d priority %d, want TCI %#x", tag.VLANIdentifier, tag.Priority, vlan)
		}
		got = tag.Type
	}
	if got != etherType {
		t.Errorf("EtherType %v, want %v", got, etherType)
	}
}

// checkICMPv6 lets gopacket compute the checksum anew.
func checkICMPv6(t *testing.T, p gopacket.Packet) {
	t.Helper()
	ip, icmp := layer[*layers.IPv6](t, p), layer[*layers.ICMPv6](t, p)
	sum := icmp.Checksum
	icmp.SetNetworkLayerForChecksum(ip)
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{ComputeChecksums: true}, icmp, gopacket.Payload(icmp.LayerPayload())); err != nil {
		t.Fatal(err)
	}
	if icmp.Checksum != sum {
		t.Errorf("ICMPv6 checksum %#x, gopacket says %#x", sum, icmp.Checksum)
	}
}

var (
	macA, macB = MAC{2, 0, 0, 0, 0, 0xa}, MAC{2, 0, 0, 0, 0, 0xb}
	ip4A, ip4B = [4]byte{10, 1, 1, 11}, [4]byte{10, 1, 1, 12}
	ip6A       = [16]byte{0: 0xfd, 3: 1, 15: 0x11}
	ip6B       = [16]byte{0: 0xfd, 3: 1, 13: 0xaa, 14: 0xbb, 15: 0x12}
)

func TestA4ARPFrames(t *testing.T) {
	for _, vlan := range []uint16{0, 103, 0x6067} {
		request := ARPFrame{DstMAC: Broadcast, SrcMAC: macA, VLAN: vlan,
			ARPFields: ARPFields{Op: ARPOpRequest, SenderMAC: macA, SenderIP: ip4A, TargetIP: ip4B}}
		frame := AppendARP(nil, &request)
		p := decode(t, frame)
		checkEthernet(t, p, Broadcast, macA, vlan, layers.EthernetTypeARP)
		arp := layer[*layers.ARP](t, p)
		if arp.Operation != layers.ARPRequest || arp.AddrType != layers.LinkTypeEthernet || arp.Protocol != layers.EthernetTypeIPv4 ||
			arp.HwAddressSize != 6 || arp.ProtAddressSize != 4 ||
			!bytes.Equal(arp.SourceHwAddress, macA[:]) || !bytes.Equal(arp.SourceProtAddress, ip4A[:]) ||
			!bytes.Equal(arp.DstHwAddress, make([]byte, 6)) || !bytes.Equal(arp.DstProtAddress, ip4B[:]) {
			t.Errorf("vlan %d: request reads as %+v", vlan, arp)
		}

		// A4: sent from, and telling, the answered MAC; to the requester alone.
		frame = append(frame, 0xee, 0xee) // padding stays
		var l Layout
		if f := Parse(frame, &l); f != OK || !ARP(frame[l.L3:]).IsEthernetIPv4() {
			t.Fatalf("vlan %d: Parse = %v", vlan, f)
		}
		ARPReply(frame, &l, macB)
		p = decode(t, frame)
		checkEthernet(t, p, macA, macB, vlan, layers.EthernetTypeARP)
		arp = layer[*layers.ARP](t, p)
		if arp.Operation != layers.ARPReply ||
			!bytes.Equal(arp.SourceHwAddress, macB[:]) || !bytes.Equal(arp.SourceProtAddress, ip4B[:]) ||
			!bytes.Equal(arp.DstHwAddress, macA[:]) || !bytes.Equal(arp.DstProtAddress, ip4A[:]) {
			t.Errorf("vlan %d: reply reads as %+v", vlan, arp)
		}
		if !bytes.HasSuffix(frame, []byte{0xee, 0xee}) {
			t.Errorf("vlan %d: padding was touched", vlan)
		}
	}
}

func TestARPOfOtherNetworks(t *testing.T) {
	frame := AppendARP(nil, &ARPFrame{ARPFields: ARPFields{Op: ARPOpRequest}})
	for i := range 6 { // hardware, protocol, both lengths
		other := bytes.Clone(frame[EthernetLen:])
		other[i]++
		if ARP(other).IsEthernetIPv4() {
			t.Errorf("byte %d differs, still taken for IPv4 over Ethernet", i)
		}
	}
}

func TestNSFrames(t *testing.T) {
	for _, tt := range []struct {
		name string
		f    NSFrame
		ll   bool
	}{
		{"multicast", NSFrame{DstMAC: GroupMAC(SolicitedNode(ip6B)), SrcMAC: macA, Src: ip6A, Dst: SolicitedNode(ip6B), Target: ip6B}, true},
		{"multicast, VLAN", NSFrame{DstMAC: GroupMAC(SolicitedNode(ip6B)), SrcMAC: macA, VLAN: 103, Src: ip6A, Dst: SolicitedNode(ip6B), Target: ip6B}, true},
		{"unicast probe", NSFrame{DstMAC: macB, SrcMAC: macA, Src: ip6A, Dst: ip6B, Target: ip6B}, true},
		{"duplicate address detection", NSFrame{DstMAC: GroupMAC(SolicitedNode(ip6A)), SrcMAC: macA, Dst: SolicitedNode(ip6A), Target: ip6A}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			frame := AppendNS(nil, &tt.f)
			p := decode(t, frame)
			checkEthernet(t, p, tt.f.DstMAC, macA, tt.f.VLAN, layers.EthernetTypeIPv6)
			checkICMPv6(t, p)
			ip := layer[*layers.IPv6](t, p)
			if ip.HopLimit != 255 || !ip.SrcIP.Equal(tt.f.Src[:]) || !ip.DstIP.Equal(tt.f.Dst[:]) {
				t.Errorf("IPv6 %v to %v, hop limit %d", ip.SrcIP, ip.DstIP, ip.HopLimit)
			}
			ns := layer[*layers.ICMPv6NeighborSolicitation](t, p)
			if !ns.TargetAddress.Equal(tt.f.Target[:]) {
				t.Errorf("target %v", ns.TargetAddress)
			}
			if tt.ll {
				if len(ns.Options) != 1 || ns.Options[0].Type != layers.ICMPv6OptSourceAddress || !bytes.Equal(ns.Options[0].Data, macA[:]) {
					t.Errorf("options %v", ns.Options)
				}
			} else if len(ns.Options) != 0 {
				t.Errorf("options %v from the unspecified address", ns.Options)
			}

			var l Layout
			if f := Parse(frame, &l); f != OK {
				t.Fatal(f)
			}
			target, ll, hasLL, ok := ParseNS(frame, &l)
			if !ok || target != tt.f.Target || hasLL != tt.ll || hasLL && ll != macA {
				t.Errorf("ParseNS = %x %v %v %v", target, ll, hasLL, ok)
			}
			if _, _, _, _, ok := ParseNA(frame, &l); ok {
				t.Error("ParseNA takes a solicitation")
			}
		})
	}
}

func TestA9NAFrames(t *testing.T) { // A9
	for _, f := range []NAFrame{
		{DstMAC: macA, SrcMAC: macB, Src: ip6B, Dst: ip6A, Target: ip6B, TargetMAC: macB, Flags: NDSolicited | NDOverride},
		{DstMAC: macA, SrcMAC: macB, VLAN: 0x6067, Src: ip6B, Dst: ip6A, Target: ip6B, TargetMAC: macB, Flags: NDRouter | NDSolicited | NDOverride},
		{DstMAC: GroupMAC(AllNodes), SrcMAC: macB, Src: ip6B, Dst: AllNodes, Target: ip6B, TargetMAC: macB, Flags: NDOverride},
	} {
		frame := AppendNA(nil, &f)
		p := decode(t, frame)
		checkEthernet(t, p, f.DstMAC, macB, f.VLAN, layers.EthernetTypeIPv6)
		checkICMPv6(t, p)
		ip := layer[*layers.IPv6](t, p)
		if ip.HopLimit != 255 || !ip.SrcIP.Equal(f.Src[:]) || !ip.DstIP.Equal(f.Dst[:]) {
			t.Errorf("IPv6 %v to %v, hop limit %d", ip.SrcIP, ip.DstIP, ip.HopLimit)
		}
		na := layer[*layers.ICMPv6NeighborAdvertisement](t, p)
		if !na.TargetAddress.Equal(f.Target[:]) || na.Flags != f.Flags || na.Router() != (f.Flags&NDRouter != 0) ||
			na.Solicited() != (f.Flags&NDSolicited != 0) || na.Override() != (f.Flags&NDOverride != 0) ||
			len(na.Options) != 1 || na.Options[0].Type != layers.ICMPv6OptTargetAddress || !bytes.Equal(na.Options[0].Data, macB[:]) {
			t.Errorf("advertisement reads as %+v", na)
		}

		var l Layout
		if f := Parse(frame, &l); f != OK {
			t.Fatal(f)
		}
		target, ll, hasLL, flags, ok := ParseNA(frame, &l)
		if !ok || target != f.Target || !hasLL || ll != macB || flags != f.Flags {
			t.Errorf("ParseNA = %x %v %v %#x %v", target, ll, hasLL, flags, ok)
		}
		if _, _, _, ok := ParseNS(frame, &l); ok {
			t.Error("ParseNS takes an advertisement")
		}
	}
}

// Every header, filled with random values by our encoders, read by gopacket and
// by our own getters.
func TestEncodersRandom(t *testing.T) {
	r := random(t)
	for range 2000 {
		payload := make([]byte, r.IntN(64))
		fill(r, payload)
		udp, tcp := r.IntN(3) == 0, r.IntN(2) == 0
		l4Len, proto := ICMPLen, ProtoICMP
		switch v6 := r.IntN(2) == 0; {
		case udp:
			l4Len, proto = UDPLen, ProtoUDP
		case tcp:
			l4Len, proto = TCPLen, ProtoTCP
		case v6:
			proto = ProtoICMPv6
		}
		v6 := proto == ProtoICMPv6 || proto != ProtoICMP && r.IntN(2) == 0
		l3Len := IPv4Len
		if v6 {
			l3Len = IPv6Len
		}
		frame := make([]byte, EthernetLen+l3Len+l4Len+len(payload))
		copy(frame[EthernetLen+l3Len+l4Len:], payload)
		b := frame[EthernetLen+l3Len:]

		eth := EthernetFields{Dst: MAC(bytesOf(r, 6)), Src: MAC(bytesOf(r, 6)), EtherType: EtherTypeIPv4}
		f4 := IPv4Fields{TOS: uint8(r.Uint32()), TotalLen: uint16(l3Len + len(b)), ID: uint16(r.Uint32()),
			Fragment: IPv4DontFragment * uint16(r.IntN(2)), TTL: uint8(r.Uint32()), Protocol: proto,
			Src: [4]byte(bytesOf(r, 4)), Dst: [4]byte(bytesOf(r, 4))}
		f6 := IPv6Fields{TrafficClass: uint8(r.Uint32()), FlowLabel: r.Uint32N(1 << 20), PayloadLen: uint16(len(b)),
			NextHeader: proto, HopLimit: uint8(r.Uint32()), Src: [16]byte(bytesOf(r, 16)), Dst: [16]byte(bytesOf(r, 16))}
		initial := PseudoHeader4(f4.Src, f4.Dst, proto, uint16(len(b)))
		if v6 {
			eth.EtherType = EtherTypeIPv6
			initial = PseudoHeader6(f6.Src, f6.Dst, proto, uint32(len(b)))
			IPv6(frame[EthernetLen:]).Encode(f6)
		} else {
			IPv4(frame[EthernetLen:]).Encode(f4)
		}
		Ethernet(frame).Encode(eth)

		// Ephemeral ports: behind a registered one of either side gopacket decodes the payload too, and may fail on our random bytes.
		ephemeral := func() uint16 { return 0xc000 | uint16(r.Uint32()) }
		fu := UDPFields{SrcPort: ephemeral(), DstPort: ephemeral(), Length: uint16(len(b))}
		ft := TCPFields{SrcPort: ephemeral(), DstPort: ephemeral(), Seq: r.Uint32(), Ack: r.Uint32(),
			Flags: uint8(r.Uint32()), Window: uint16(r.Uint32()), Urgent: uint16(r.Uint32())}
		fi := ICMPFields{Type: ICMPv4EchoRequest, Code: uint8(r.Uint32()), Rest: r.Uint32()}
		switch proto {
		case ProtoUDP:
			UDP(b).Encode(fu)
			fu.Checksum = Checksum(b, initial)
			UDP(b).SetChecksum(fu.Checksum)
		case ProtoTCP:
			TCP(b).Encode(ft)
			ft.Checksum = Checksum(b, initial)
			TCP(b).SetChecksum(ft.Checksum)
		case ProtoICMP:
			ICMPv4(b).Encode(fi)
		case ProtoICMPv6:
			fi.Type = 200 // private experimentation: no decoder behind it
			ICMPv6(b).Encode(fi, f6.Src, f6.Dst)
		}

		p := decode(t, frame)
		checkEthernet(t, p, eth.Dst, eth.Src, 0, layers.EthernetType(eth.EtherType))
		var network gopacket.NetworkLayer
		if v6 {
			ip := layer[*layers.IPv6](t, p)
			network = ip
			got := IPv6Fields{ip.TrafficClass, ip.FlowLabel, ip.Length, uint8(ip.NextHeader), ip.HopLimit, [16]byte(ip.SrcIP), [16]byte(ip.DstIP)}
			b := IPv6(frame[EthernetLen:])
			ours := IPv6Fields{b.TrafficClass(), b.FlowLabel(), b.PayloadLen(), b.NextHeader(), b.HopLimit(), b.SrcAddr().As16(), b.DstAddr().As16()}
			if got != f6 || ours != f6 || b.Version() != 6 {
				t.Fatalf("IPv6: gopacket reads %+v, we %+v, want %+v", got, ours, f6)
			}
		} else {
			ip := layer[*layers.IPv4](t, p)
			network = ip
			got := IPv4Fields{ip.TOS, ip.Length, ip.Id, uint16(ip.Flags)<<13 | ip.FragOffset, ip.TTL, uint8(ip.Protocol), [4]byte(ip.SrcIP.To4()), [4]byte(ip.DstIP.To4())}
			b := IPv4(frame[EthernetLen:])
			ours := IPv4Fields{b.TOS(), b.TotalLen(), b.ID(), b.Fragment(), b.TTL(), b.Protocol(), b.Src().As4(), b.Dst().As4()}
			if got != f4 || ours != f4 || b.DontFragment() != (f4.Fragment != 0) || b.MoreFragments() || !VerifyIPv4(b) {
				t.Fatalf("IPv4: gopacket reads %+v, we %+v, want %+v", got, ours, f4)
			}
			sum := ip.Checksum
			if serialize(t, ip, gopacket.Payload(ip.LayerPayload())); ip.Checksum != sum {
				t.Fatalf("IPv4 checksum %#x, gopacket says %#x", sum, ip.Checksum)
			}
		}
		switch proto {
		case ProtoUDP:
			udp := layer[*layers.UDP](t, p)
			got := UDPFields{uint16(udp.SrcPort), uint16(udp.DstPort), udp.Length, udp.Checksum}
			ours := UDPFields{UDP(b).SrcPort(), UDP(b).DstPort(), UDP(b).Length(), UDP(b).Checksum()}
			if got != fu || ours != fu {
				t.Fatalf("UDP: gopacket reads %+v, we %+v, want %+v", got, ours, fu)
			}
			udp.SetNetworkLayerForChecksum(network)
			if serialize(t, udp, gopacket.Payload(udp.LayerPayload())); udp.Checksum != fu.Checksum {
				t.Fatalf("UDP checksum %#x, gopacket says %#x", fu.Checksum, udp.Checksum)
			}
		case ProtoTCP:
			tcp := layer[*layers.TCP](t, p)
			var flags uint8
			for i, set := range []bool{tcp.FIN, tcp.SYN, tcp.RST, tcp.PSH, tcp.ACK, tcp.URG, tcp.ECE, tcp.CWR} {
				if set {
					flags |= 1 << i
				}
			}
			got := TCPFields{uint16(tcp.SrcPort), uint16(tcp.DstPort), tcp.Seq, tcp.Ack, flags, tcp.Window, tcp.Checksum, tcp.Urgent}
			v := TCP(b)
			ours := TCPFields{v.SrcPort(), v.DstPort(), v.Seq(), v.Ack(), v.Flags(), v.Window(), v.Checksum(), v.Urgent()}
			if got != ft || ours != ft || v.HeaderLen() != TCPLen {
				t.Fatalf("TCP: gopacket reads %+v, we %+v, want %+v", got, ours, ft)
			}
			tcp.SetNetworkLayerForChecksum(network)
			if serialize(t, tcp, gopacket.Payload(tcp.LayerPayload())); tcp.Checksum != ft.Checksum {
				t.Fatalf("TCP checksum %#x, gopacket says %#x", ft.Checksum, tcp.Checksum)
			}
		case ProtoICMP:
			icmp := layer[*layers.ICMPv4](t, p)
			v := ICMPv4(b)
			if icmp.TypeCode != layers.CreateICMPv4TypeCode(fi.Type, fi.Code) || icmp.Id != uint16(fi.Rest>>16) || icmp.Seq != uint16(fi.Rest) ||
				v.Type() != fi.Type || v.Code() != fi.Code || v.Ident() != icmp.Id || v.Sequence() != icmp.Seq || v.MTU() != icmp.Seq || v.Rest() != fi.Rest {
				t.Fatalf("ICMP reads as %+v, want %+v", icmp, fi)
			}
			sum := icmp.Checksum
			if serialize(t, icmp, gopacket.Payload(icmp.LayerPayload())); icmp.Checksum != sum {
				t.Fatalf("ICMP checksum %#x, gopacket says %#x", sum, icmp.Checksum)
			}
		case ProtoICMPv6:
			icmp := layer[*layers.ICMPv6](t, p)
			v := ICMPv6(b)
			if icmp.TypeCode != layers.CreateICMPv6TypeCode(fi.Type, fi.Code) || v.Type() != fi.Type || v.Code() != fi.Code ||
				v.Rest() != fi.Rest || v.MTU() != fi.Rest || v.Ident() != uint16(fi.Rest>>16) || v.Sequence() != uint16(fi.Rest) || v.Checksum() != icmp.Checksum {
				t.Fatalf("ICMPv6 reads as %+v, want %+v", icmp, fi)
			}
			checkICMPv6(t, p)
		}
	}
}

// gopacket writes frames of every shape; Parse must find each header where it
// stands.
func TestParseJudged(t *testing.T) {
	r := random(t)
	for range 2000 {
		stack := []gopacket.SerializableLayer{}
		etherType := layers.EthernetTypeIPv4
		v6 := r.IntN(2) == 0
		if v6 {
			etherType = layers.EthernetTypeIPv6
		}
		tags := r.IntN(3)
		want := Layout{EtherType: uint16(etherType), L3: uint16(EthernetLen + tags*VLANLen), Tags: uint8(tags)}
		eth := &layers.Ethernet{SrcMAC: macA[:], DstMAC: macB[:], EthernetType: etherType}
		if tags > 0 {
			eth.EthernetType = layers.EthernetTypeDot1Q
		}
		stack = append(stack, eth)
		for i := range tags {
			vid := uint16(r.IntN(4096))
			tag := &layers.Dot1Q{VLANIdentifier: vid, Priority: uint8(r.IntN(8)), Type: layers.EthernetTypeDot1Q}
			if i == 0 {
				want.TCI = uint16(tag.Priority)<<13 | vid
			}
			if i == tags-1 {
				tag.Type = etherType
			}
			stack = append(stack, tag)
		}

		udp := &layers.UDP{SrcPort: layers.UDPPort(r.IntN(65536)), DstPort: layers.UDPPort(r.IntN(65536))}
		if v6 {
			ip := &layers.IPv6{Version: 6, HopLimit: 64, SrcIP: bytesOf(r, 16), DstIP: bytesOf(r, 16), NextHeader: layers.IPProtocolUDP}
			udp.SetNetworkLayerForChecksum(ip)
			stack = append(stack, ip)
			want.L4 = want.L3 + IPv6Len
			if r.IntN(2) == 0 {
				ip.NextHeader = layers.IPProtocolIPv6Destination
				options := &layers.IPv6Destination{}
				options.NextHeader = layers.IPProtocolUDP
				options.Options = []*layers.IPv6DestinationOption{{OptionType: 0x1e, OptionData: bytesOf(r, 4+8*r.IntN(5))}}
				stack = append(stack, options)
				want.L4 += uint16(4 + len(options.Options[0].OptionData))
			}
		} else {
			ip := &layers.IPv4{Version: 4, TTL: 64, SrcIP: bytesOf(r, 4), DstIP: bytesOf(r, 4), Protocol: layers.IPProtocolUDP}
			udp.SetNetworkLayerForChecksum(ip)
			n := r.IntN(11)
			for range n {
				ip.Options = append(ip.Options, layers.IPv4Option{OptionType: 0x94, OptionLength: 4, OptionData: []byte{0, 0}})
			}
			stack = append(stack, ip)
			want.L4 = want.L3 + IPv4Len + uint16(4*n)
		}
		payload := bytesOf(r, r.IntN(50))
		frame := serialize(t, append(stack, udp, gopacket.Payload(payload))...)
		want.End = want.L4 + UDPLen + uint16(len(payload)) // gopacket pads short frames (W21)
		want.Proto = ProtoUDP

		var l Layout
		if f := Parse(frame, &l); f != OK || l != want {
			t.Fatalf("Parse(%x) = %v\n got %+v\nwant %+v", frame, f, l, want)
		}
		if got := UDP(frame[l.L4:l.End]); got.SrcPort() != uint16(udp.SrcPort) || int(got.Length()) != len(got) {
			t.Fatalf("%x: no UDP header at %d", frame, l.L4)
		}
		checkParse(t, frame)
	}
}

func serialize(t *testing.T, stack ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, opts, stack...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func fill(r *rand.Rand, b []byte) {
	for i := range b {
		b[i] = byte(r.Uint32())
	}
}

func bytesOf(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	fill(r, b)
	return b
}

// gopacket reads the NVGRE vectors (W2, W3).
func TestW2_W3VectorsJudged(t *testing.T) {
	for _, v := range []string{vector1, vector2, vector3} {
		frame := unhex(v)
		gre := layer[*layers.GRE](t, decode(t, frame))
		var l Layout
		Parse(frame, &l)
		view := NVGRE(frame[l.L4:])
		if !gre.KeyPresent || gre.ChecksumPresent || gre.SeqPresent || gre.Version != 0 ||
			gre.Protocol != layers.EthernetTypeTransparentEthernetBridging || gre.Key != view.Key() ||
			gre.Key != view.VSID()<<8|uint32(view.FlowID()) {
			t.Errorf("gopacket reads %+v, we key %#x", gre, view.Key())
		}
	}
}

func TestFragmentHeaderJudged(t *testing.T) {
	want := IPv6FragmentFields{NextHeader: ProtoUDP, Offset: 1480, More: true, ID: 0x01020304}
	b := make([]byte, IPv6FragmentLen)
	IPv6Fragment(b).Encode(want)
	p := gopacket.NewPacket(b, layers.LayerTypeIPv6Fragment, gopacket.Default)
	got := layer[*layers.IPv6Fragment](t, p)
	if uint8(got.NextHeader) != want.NextHeader || int(got.FragmentOffset)*8 != want.Offset || !got.MoreFragments || got.Identification != want.ID {
		t.Errorf("gopacket reads %+v", got)
	}
	v := IPv6Fragment(b)
	if ours := (IPv6FragmentFields{v.NextHeader(), v.Offset(), v.More(), v.ID()}); ours != want {
		t.Errorf("we read %+v", ours)
	}
}

func TestMulticastAddresses(t *testing.T) {
	if got := netip.AddrFrom16(SolicitedNode(ip6B)); got != netip.MustParseAddr("ff02::1:ffaa:bb12") {
		t.Errorf("solicited-node group %v", got)
	}
	if got := GroupMAC(SolicitedNode(ip6B)).String(); got != "33:33:ff:aa:bb:12" {
		t.Errorf("group MAC %v", got)
	}
	if got := netip.AddrFrom16(AllNodes); got != netip.IPv6LinkLocalAllNodes() {
		t.Errorf("all-nodes group %v", got)
	}
}

func TestPseudoHeaders(t *testing.T) {
	r := random(t)
	for range 1000 {
		b := bytesOf(r, 40)
		binary.BigEndian.PutUint32(b[36:], uint32(b[39])) // three zero bytes, next header
		if got, want := Checksum(nil, PseudoHeader6([16]byte(b), [16]byte(b[16:]), b[39], binary.BigEndian.Uint32(b[32:]))), slowSum(b, 0); got != want {
			t.Fatalf("IPv6 %x: %#x, want %#x", b, got, want)
		}
		b = b[:12]
		b[8] = 0
		if got, want := Checksum(nil, PseudoHeader4([4]byte(b), [4]byte(b[4:]), b[9], binary.BigEndian.Uint16(b[10:]))), slowSum(b, 0); got != want {
			t.Fatalf("IPv4 %x: %#x, want %#x", b, got, want)
		}
	}
}
