package fib

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"paca/dataplane/packet"
	"paca/dataplane/policy"
)

// outerPolicy is one record behind pa, seen from an uplink of the given MTU with
// three PAs: IPv4, IPv4 in VLAN 103 with a MAC of its own, and IPv6.
func outerPolicy(pa string, mtu int) *policy.Set {
	return &policy.Set{
		VirtualSubnets: []policy.VirtualSubnet{{VSID: 6001, RDID: policy.RDID{1}, Prefixes: []netip.Prefix{prefix("10.1.1.0/24")}}},
		LookupRecords:  []policy.LookupRecord{{VSID: 6001, CA: addr("10.1.1.12"), MAC: packet.MAC{2, 5}, PA: addr(pa)}},
		ProviderAddresses: []policy.ProviderAddress{
			{Prefix: prefix("192.168.1.10/24"), Port: "uplink0"},
			{Prefix: prefix("192.168.1.11/24"), Port: "uplink0", VLAN: 103, MAC: packet.MAC{2, 8}},
			{Prefix: prefix("2001:db8:1::10/64"), Port: "uplink0"},
		},
		ProviderRoutes: []policy.ProviderRoute{
			{Port: "uplink0", Prefix: prefix("0.0.0.0/0"), NextHop: addr("192.168.1.1")},
			{Port: "uplink0", Prefix: prefix("::/0"), NextHop: addr("2001:db8:1::1")},
		},
		Ports: []policy.Port{{Name: "vm", Role: policy.VM}, {Name: "uplink0", MAC: packet.MAC{2, 1}, MTU: mtu}},
	}
}

func hopMAC(uint16, uint16, netip.Addr) (packet.MAC, AdjState) {
	return packet.MAC{2, 0, 0, 1, 1, 1}, AdjReady
}

// The prepared header, completed for the given inner frame as a mode would.
func complete(a *Adj, pa *Remote, inner []byte) []byte {
	frame := append(a.Header[:a.Len:a.Len], inner...)
	ip := frame[packet.EthernetLen:]
	if packet.Ethernet(frame).EtherType() == packet.EtherTypeVLAN {
		ip = ip[packet.VLANLen:]
	}
	if a.V6 {
		packet.IPv6(ip).SetPayloadLen(uint16(len(ip) - packet.IPv6Len))
		copy(ip[24:40], pa.Addr[:])
		return frame
	}
	packet.IPv4(ip).SetTotalLen(uint16(len(ip)))
	copy(ip[16:20], pa.Addr[:4])
	sum := a.Sum + uint32(len(ip)) + uint32(pa.Sum)
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	packet.IPv4(ip).SetChecksum(^uint16(sum))
	return frame
}

// W1, W2, W10-W14 by somebody else's reading: gopacket takes the header apart.
func TestW1_W2_W10_W11_W12_W13_W14OuterHeader(t *testing.T) {
	inner := packet.AppendARP(nil, &packet.ARPFrame{DstMAC: packet.MAC{2, 5}, SrcMAC: packet.MAC{2, 6}})
	for _, c := range []struct {
		name     string
		source   uint16
		pa       string
		src, mac string
		vlan     uint16
		size     uint8
	}{
		{"IPv4", 0, "192.168.2.20", "192.168.1.10", "02:01:00:00:00:00", 0, 42},
		{"IPv4 tagged", 1, "192.168.2.20", "192.168.1.11", "02:08:00:00:00:00", 103, 46},
		{"IPv6", 2, "2001:db8:2::20", "2001:db8:1::10", "02:01:00:00:00:00", 0, 62},
	} {
		t.Run(c.name, func(t *testing.T) {
			set := outerPolicy(c.pa, 1500)
			f := compile(set, hopMAC)
			e := f.Lookup4(1, 0x0a01010c)
			a := f.Adj(e, c.source)
			if a.State != AdjReady || a.Port != 1 || a.Len != c.size || a.V6 != (c.source == 2) {
				t.Fatalf("adjacency %+v", a)
			}
			for _, b := range a.Header[a.Len:] {
				if b != 0 {
					t.Fatalf("bytes behind the header: %x", a.Header)
				}
			}

			p := gopacket.NewPacket(complete(a, f.Remote(e), inner), layers.LayerTypeEthernet, gopacket.Default)
			if e := p.ErrorLayer(); e != nil {
				t.Fatal(e.Error())
			}
			rest := p.Layers()
			next := func() gopacket.Layer {
				l := rest[0]
				rest = rest[1:]
				return l
			}
			eth := next().(*layers.Ethernet)
			if eth.DstMAC.String() != "02:00:00:01:01:01" || eth.SrcMAC.String() != c.mac {
				t.Errorf("Ethernet %v to %v", eth.SrcMAC, eth.DstMAC)
			}
			if c.vlan != 0 {
				if tag := next().(*layers.Dot1Q); eth.EthernetType != layers.EthernetTypeDot1Q || tag.VLANIdentifier != c.vlan || tag.Priority != 0 || tag.DropEligible {
					t.Errorf("tag %+v", tag)
				}
			}
			switch ip := next().(type) {
			case *layers.IPv4:
				if ip.IHL != 5 || ip.TTL != 128 || ip.Protocol != layers.IPProtocolGRE || ip.Flags != layers.IPv4DontFragment ||
					ip.FragOffset != 0 || ip.TOS != 0 || ip.Id != 0 || int(ip.Length) != 28+len(inner) {
					t.Errorf("IPv4 %+v", ip)
				}
				if !ip.SrcIP.Equal(net.ParseIP(c.src)) || !ip.DstIP.Equal(net.ParseIP(c.pa)) {
					t.Errorf("IPv4 %v to %v", ip.SrcIP, ip.DstIP)
				}
				// gopacket's own checksum of the same fields is the judge of Sum.
				again, want := *ip, ip.Checksum
				buf := gopacket.NewSerializeBuffer()
				if err := again.SerializeTo(buf, gopacket.SerializeOptions{ComputeChecksums: true}); err != nil || again.Checksum != want {
					t.Errorf("checksum %#04x from Sum, %#04x by gopacket, %v", want, again.Checksum, err)
				}
			case *layers.IPv6:
				if ip.HopLimit != 128 || ip.NextHeader != layers.IPProtocolGRE || ip.TrafficClass != 0 || ip.FlowLabel != 0 || int(ip.Length) != 8+len(inner) {
					t.Errorf("IPv6 %+v", ip)
				}
				if !ip.SrcIP.Equal(net.ParseIP(c.src)) || !ip.DstIP.Equal(net.ParseIP(c.pa)) {
					t.Errorf("IPv6 %v to %v", ip.SrcIP, ip.DstIP)
				}
			default:
				t.Fatalf("%v behind Ethernet", ip.LayerType())
			}
			gre := next().(*layers.GRE)
			if !gre.KeyPresent || gre.ChecksumPresent || gre.SeqPresent || gre.RoutingPresent || gre.Version != 0 || gre.Flags != 0 ||
				gre.RecursionControl != 0 || gre.Protocol != layers.EthernetTypeTransparentEthernetBridging || gre.Key != 0 {
				t.Errorf("GRE %+v", gre)
			}
			if in := next().(*layers.Ethernet); in.DstMAC.String() != "02:05:00:00:00:00" {
				t.Errorf("inner frame %v", in)
			}
		})
	}
}

// M5: what a VM may send is the uplink's MTU less what NVGRE takes (W19).
func TestM1_M3_M5_W19Limit(t *testing.T) {
	for _, c := range []struct {
		mtu    int
		source uint16
		pa     string
		want   uint16
	}{
		{1500, 0, "192.168.2.20", 1458},
		{1500, 1, "192.168.2.20", 1458}, // the tag is no part of the IP MTU
		{1500, 2, "2001:db8:2::20", 1438},
		{1280, 2, "2001:db8:2::20", 1218},
		{9702, 0, "192.168.2.20", 9660},
	} {
		f := compile(outerPolicy(c.pa, c.mtu), hopMAC)
		if got := f.Adj(f.Lookup4(1, 0x0a01010c), c.source).Limit[policy.NVGRE]; got != c.want {
			t.Errorf("MTU %d, to %s: limit %d, want %d", c.mtu, c.pa, got, c.want)
		}
	}
}
