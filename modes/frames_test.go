package modes_test

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"paca/dataplane/packet"
)

// Frames as gopacket writes them, and what it reads in those that came out.

// vm is a virtual NIC with its customer addresses.
type vm struct {
	mac    packet.MAC
	v4, v6 string
}

// ca is its address of one family.
func (v vm) ca(v6 bool) string {
	if v6 {
		return v.v6
	}
	return v.v4
}

// datagram is a UDP datagram from one CA to another.
type datagram struct {
	from, to     packet.MAC
	src, dst     string
	ttl          uint8 // 0: 64
	df           bool
	size         int    // of the IP packet in bytes; 0: 100
	sport, dport uint16 // 0: 0xc000 and 0xc001, of no protocol that gopacket knows
}

// between is a datagram from one VM to another, by the MAC to.
func between(a, b vm, to packet.MAC, v6 bool) datagram {
	return datagram{from: a.mac, to: to, src: a.ca(v6), dst: b.ca(v6)}
}

func (d datagram) frame() []byte {
	if d.sport == 0 {
		d.sport, d.dport = 0xc000, 0xc001
	}
	headers := 20 + 8
	if addr(d.dst).Is6() {
		headers = 40 + 8
	}
	if d.size == 0 {
		d.size = 100
	}
	payload := make(gopacket.Payload, d.size-headers)
	for i := range payload {
		payload[i] = byte(i*7 + i>>8)
	}
	return d.with(&layers.UDP{SrcPort: layers.UDPPort(d.sport), DstPort: layers.UDPPort(d.dport)}, payload)
}

// checksummed is a transport header whose checksum covers addresses.
type checksummed interface {
	gopacket.SerializableLayer
	SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
}

// with is a frame of the datagram's addresses with other content than UDP.
func (d datagram) with(content ...gopacket.SerializableLayer) []byte {
	var network gopacket.SerializableLayer
	if d.ttl == 0 {
		d.ttl = 64
	}
	etherType, proto := packet.EtherTypeIPv4, layers.IPProtocolUDP
	switch content[0].(type) {
	case *layers.TCP:
		proto = layers.IPProtocolTCP
	case *layers.ICMPv4:
		proto = layers.IPProtocolICMPv4
	case *layers.ICMPv6:
		proto = layers.IPProtocolICMPv6
	}
	if addr(d.dst).Is4() {
		ip := &layers.IPv4{Version: 4, Id: 0x4321, TTL: d.ttl, Protocol: proto, SrcIP: net.ParseIP(d.src), DstIP: net.ParseIP(d.dst)}
		if d.df {
			ip.Flags = layers.IPv4DontFragment
		}
		network = ip
	} else {
		etherType = packet.EtherTypeIPv6
		network = &layers.IPv6{Version: 6, HopLimit: d.ttl, NextHeader: proto, SrcIP: net.ParseIP(d.src), DstIP: net.ParseIP(d.dst)}
	}
	if c, ok := content[0].(checksummed); ok {
		if err := c.SetNetworkLayerForChecksum(network.(gopacket.NetworkLayer)); err != nil {
			panic(err)
		}
	}
	return append(ether(d.to, d.from, etherType), serialized(append([]gopacket.SerializableLayer{network}, content...)...)...)
}

// ether is an Ethernet header; gopacket's pads frames to 60 bytes.
func ether(to, from packet.MAC, etherType uint16) []byte {
	return binary.BigEndian.AppendUint16(append(append([]byte(nil), to[:]...), from[:]...), etherType)
}

func serialized(stack ...gopacket.SerializableLayer) []byte {
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, stack...); err != nil {
		panic(err)
	}
	return buf.Bytes()
}

// ping is an echo request of the datagram's addresses.
func (d datagram) ping() []byte {
	if addr(d.dst).Is4() {
		return d.with(&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0), Id: 7, Seq: 9}, gopacket.Payload("how far is it?"))
	}
	return d.icmp6(layers.ICMPv6TypeEchoRequest, "\x00\x07\x00\x09how far is it?")
}

// pong is an echo reply of the datagram's addresses.
func (d datagram) pong() []byte {
	if addr(d.dst).Is4() {
		return d.with(&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(0, 0), Id: 7, Seq: 9}, gopacket.Payload("so far"))
	}
	return d.icmp6(layers.ICMPv6TypeEchoReply, "\x00\x07\x00\x09so far")
}

// icmp6 is an ICMPv6 message of that type and code 0; body is what follows the
// checksum.
func (d datagram) icmp6(typ uint8, body string) []byte {
	return d.with(&layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(typ, 0)}, gopacket.Payload(body))
}

// complaint is an ICMP error of the datagram's addresses: port unreachable.
func (d datagram) complaint() []byte {
	if addr(d.dst).Is4() {
		return d.with(&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 3)}, gopacket.Payload(make([]byte, 28)))
	}
	return d.with(&layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(1, 4)}, gopacket.Payload(make([]byte, 52)))
}

// tunnel is a tunnel packet, from the fabric to this host's uplink.
func tunnel(vsid uint32, from, to string, inner []byte) []byte {
	f := ether(macUplink, macRouter, packet.EtherTypeIPv4)
	var ip gopacket.SerializableLayer = &layers.IPv4{Version: 4, Flags: layers.IPv4DontFragment, TTL: 120, Protocol: layers.IPProtocolGRE, SrcIP: net.ParseIP(from), DstIP: net.ParseIP(to)}
	if addr(to).Is6() {
		f = ether(macUplink, macRouter, packet.EtherTypeIPv6)
		ip = &layers.IPv6{Version: 6, HopLimit: 120, NextHeader: layers.IPProtocolGRE, SrcIP: net.ParseIP(from), DstIP: net.ParseIP(to)}
	}
	gre := &layers.GRE{KeyPresent: true, Key: vsid<<8 | 0x5a, Protocol: layers.EthernetTypeTransparentEthernetBridging}
	return append(f, serialized(ip, gre, gopacket.Payload(inner))...)
}

// tagged is a frame with an 802.1Q tag.
func tagged(vid uint16, f []byte) []byte {
	t := append(append([]byte(nil), f[:12]...), 0x81, 0)
	return append(binary.BigEndian.AppendUint16(t, vid), f[12:]...)
}

// told is what gopacket reads in an untagged tenant's frame.
type told struct {
	dst, src packet.MAC
	from, to netip.Addr
	ttl      uint8
	size     int // of the IP packet in bytes

	ip4  *layers.IPv4
	ip6  *layers.IPv6
	arp  *layers.ARP
	udp  *layers.UDP
	tcp  *layers.TCP
	icmp *layers.ICMPv4
	six  *layers.ICMPv6
}

// read has gopacket read a tenant's frame. It fails at lengths or checksums that are
// not what gopacket makes of the same packet.
func read(t testing.TB, frame []byte) (r told) {
	t.Helper()
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
	if e := p.ErrorLayer(); e != nil {
		t.Fatalf("gopacket cannot read %x: %v", frame, e.Error())
	}
	eth := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	r.dst, r.src = packet.MAC(eth.DstMAC), packet.MAC(eth.SrcMAC)
	r.ip4, _ = p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	r.ip6, _ = p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
	r.arp, _ = p.Layer(layers.LayerTypeARP).(*layers.ARP)
	r.udp, _ = p.Layer(layers.LayerTypeUDP).(*layers.UDP)
	r.tcp, _ = p.Layer(layers.LayerTypeTCP).(*layers.TCP)
	r.icmp, _ = p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
	r.six, _ = p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)

	var stack []gopacket.SerializableLayer
	var network gopacket.NetworkLayer
	var behind []byte // what the network header carries, if nothing below says more
	switch {
	case r.ip4 != nil:
		r.from, r.to, r.ttl, r.size = unmapped(r.ip4.SrcIP), unmapped(r.ip4.DstIP), r.ip4.TTL, int(r.ip4.Length)
		stack, network, behind = append(stack, r.ip4), r.ip4, r.ip4.Payload
	case r.ip6 != nil:
		r.from, r.to, r.ttl, r.size = unmapped(r.ip6.SrcIP), unmapped(r.ip6.DstIP), r.ip6.HopLimit, 40+int(r.ip6.Length)
		stack, network, behind = append(stack, r.ip6), r.ip6, r.ip6.Payload
	default:
		return r
	}
	var transport gopacket.SerializableLayer
	switch {
	case r.udp != nil:
		transport, behind = r.udp, r.udp.Payload
	case r.tcp != nil:
		transport, behind = r.tcp, r.tcp.Payload
	case r.icmp != nil:
		transport, behind = r.icmp, r.icmp.Payload
	case r.six != nil:
		transport, behind = r.six, r.six.Payload
	}
	if c, ok := transport.(checksummed); ok {
		c.SetNetworkLayerForChecksum(network)
	}
	if transport != nil {
		stack = append(stack, transport)
	}
	if again := serialized(append(stack, gopacket.Payload(behind))...); !bytes.Equal(frame[14:], again) {
		t.Fatalf("frame\n%x\nis not what gopacket makes of it:\n%x", frame[14:], again)
	}
	return r
}

func unmapped(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

// wrapped is what gopacket reads in a tunnel packet.
type wrapped struct {
	hop      packet.MAC // outer destination
	from, to string     // PAs
	vlan     uint16
	vsid     uint32
	inner    []byte
}

// unwrap has gopacket read a tunnel packet that an uplink sent.
func unwrap(t testing.TB, frame []byte) (w wrapped) {
	t.Helper()
	var (
		eth layers.Ethernet
		tag layers.Dot1Q
		ip4 layers.IPv4
		ip6 layers.IPv6
		gre layers.GRE
	)
	rest, next := frame, gopacket.LayerType(layers.LayerTypeEthernet)
	for next != layers.LayerTypeEthernet || eth.DstMAC == nil {
		var layer gopacket.DecodingLayer
		switch next {
		case layers.LayerTypeEthernet:
			layer = &eth
		case layers.LayerTypeDot1Q:
			layer = &tag
		case layers.LayerTypeIPv4:
			layer = &ip4
		case layers.LayerTypeIPv6:
			layer = &ip6
		case layers.LayerTypeGRE:
			layer = &gre
		default:
			t.Fatalf("%v in tunnel packet %x", next, frame)
		}
		if err := layer.DecodeFromBytes(rest, gopacket.NilDecodeFeedback); err != nil {
			t.Fatalf("tunnel packet %x: %v", frame, err)
		}
		rest, next = layer.LayerPayload(), layer.NextLayerType()
	}
	w = wrapped{hop: packet.MAC(eth.DstMAC), vlan: tag.VLANIdentifier, vsid: gre.Key >> 8, inner: rest}
	want := serialized(&layers.GRE{KeyPresent: true, Key: gre.Key, Protocol: layers.EthernetTypeTransparentEthernetBridging})
	if !bytes.Equal(gre.Contents, want) {
		t.Errorf("GRE header %x, want %x", gre.Contents, want)
	}
	if packet.MAC(eth.SrcMAC) != macUplink {
		t.Errorf("outer source MAC %v", eth.SrcMAC)
	}
	if ip4.Version == 4 {
		w.from, w.to = ip4.SrcIP.String(), ip4.DstIP.String()
		if again := serialized(&ip4, &gre, gopacket.Payload(w.inner)); !bytes.Equal(again, frame[len(frame)-len(again):]) || ip4.Flags != layers.IPv4DontFragment || ip4.TTL != 128 {
			t.Errorf("outer header %x", ip4.Contents)
		}
	} else {
		w.from, w.to = ip6.SrcIP.String(), ip6.DstIP.String()
		if again := serialized(&ip6, &gre, gopacket.Payload(w.inner)); !bytes.Equal(again, frame[len(frame)-len(again):]) || ip6.HopLimit != 128 {
			t.Errorf("outer header %x", ip6.Contents)
		}
	}
	return w
}

// sameBut fails unless got is the frame sent, but for its MACs and, by hops, its TTL.
func sameBut(t testing.TB, got, sent []byte, hops uint8) {
	t.Helper()
	was, is := read(t, sent), read(t, got)
	if is.ttl != was.ttl-hops {
		t.Errorf("TTL %d became %d, want %d less", was.ttl, is.ttl, hops)
	}
	same := append([]byte(nil), got...)
	copy(same[:12], sent[:12])
	switch {
	case was.ip4 != nil:
		same[22] = sent[22]
		copy(same[24:26], sent[24:26]) // read has looked at the checksum
	case was.ip6 != nil:
		same[21] = sent[21]
	}
	if !bytes.Equal(same, sent) {
		t.Errorf("frame\n%x\nbecame\n%x", sent, got)
	}
}

// families runs a test for IPv4 and IPv6.
func families(t *testing.T, f func(t *testing.T, v6 bool)) {
	t.Run("IPv4", func(t *testing.T) { f(t, false) })
	t.Run("IPv6", func(t *testing.T) { f(t, true) })
}
