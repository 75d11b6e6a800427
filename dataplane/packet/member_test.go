package packet

import (
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// gopacket reads what a multicast router would, and finds the checksums right.
func TestA20_W18MembershipReports(t *testing.T) {
	for _, vlan := range []uint16{0, 103} {
		r := ReportFrame{SrcMAC: MAC{2, 0, 0, 0, 1, 0x0a}, VLAN: vlan, Src: netip.MustParseAddr("192.168.1.10"), Group: netip.MustParseAddr("239.200.1.2")}
		p := decode(t, AppendReport(nil, &r))
		eth := layer[*layers.Ethernet](t, p)
		if got := MAC(eth.DstMAC); got != (MAC{0x01, 0, 0x5e, 0x48, 1, 2}) {
			t.Errorf("to %v", got)
		}
		ip := layer[*layers.IPv4](t, p)
		if ip.TTL != 1 || !ip.DstIP.Equal(r.Group.AsSlice()) || !ip.SrcIP.Equal(r.Src.AsSlice()) || len(ip.Options) != 1 || ip.Options[0].OptionType != 0x94 {
			t.Errorf("IPv4 %+v", ip)
		}
		sum := ip.Checksum
		if serialize(t, ip, gopacket.Payload(ip.LayerPayload())); ip.Checksum != sum {
			t.Errorf("IPv4 checksum %#x, gopacket says %#x", sum, ip.Checksum)
		}
		igmp := layer[*layers.IGMPv1or2](t, p)
		if igmp.Type != layers.IGMPMembershipReportV2 || !igmp.GroupAddress.Equal(r.Group.AsSlice()) || Checksum(ip.LayerPayload(), 0) != 0 {
			t.Errorf("IGMP %+v", igmp)
		}

		r.Src, r.Group = netip.Addr{}, netip.MustParseAddr("ff05::1:2")
		p = decode(t, AppendReport(nil, &r))
		six := layer[*layers.IPv6](t, p)
		if src := six.SrcIP.String(); src != "fe80::ff:fe00:10a" { // RFC 2710 3: link-local, or not heard
			t.Errorf("from %s", src)
		}
		if six.HopLimit != 1 || six.HopByHop == nil || len(six.HopByHop.Options) == 0 || six.HopByHop.Options[0].OptionType != 5 {
			t.Errorf("IPv6 %+v", six)
		}
		icmp := layer[*layers.ICMPv6](t, p)
		if err := icmp.SetNetworkLayerForChecksum(six); err != nil {
			t.Fatal(err)
		}
		sum = icmp.Checksum
		if serialize(t, icmp, gopacket.Payload(icmp.LayerPayload())); icmp.Checksum != sum {
			t.Errorf("ICMPv6 checksum %#x, gopacket says %#x", sum, icmp.Checksum)
		}
		mld := layer[*layers.MLDv1MulticastListenerReportMessage](t, p)
		if !mld.MulticastAddress.Equal(r.Group.AsSlice()) {
			t.Errorf("MLD %+v", mld)
		}
	}
}
