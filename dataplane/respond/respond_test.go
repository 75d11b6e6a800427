package respond

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"paca/dataplane/count"
	"paca/dataplane/fib"
	"paca/dataplane/fib/fibtest"
	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
)

// The picture of these tests: VSID 6001 has .11 (the VM that speaks), .12 and
// .13 with the router at .1; VSID 6002 of the same domain has 10.1.2.12. This
// host has 192.168.1.10 untagged, 192.168.3.10 in VLAN 103 and 2001:db8:1::10 in
// VLAN 104.
const (
	vmPort = iota
	uplinkPort
	otherUplink
)

var (
	macVM     = packet.MAC{0x10, 0x10, 0x10, 0x10, 0x11, 0x05}
	macPeer   = packet.MAC{0x10, 0x10, 0x10, 0x10, 0x11, 0x07}
	macRouter = packet.MAC{0x10, 0x10, 0x10, 0x10, 0x11, 0x01}
	macUplink = packet.MAC{2, 0, 0, 0, 1, 0x0a}
	macPA     = packet.MAC{2, 0, 0, 0, 1, 0x0b}
	macFabric = packet.MAC{2, 0, 0, 0, 1, 1}
)

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func ip4(s string) [4]byte         { return addr(s).As4() }
func ip6(s string) [16]byte        { return addr(s).As16() }

func testFIB(t testing.TB) *fib.FIB {
	t.Helper()
	return compile(t, testPolicy())
}

func compile(t testing.TB, set *policy.Set) *fib.FIB {
	t.Helper()
	return fibtest.Compile(t, set, func(uint16, uint16, netip.Addr) (packet.MAC, fib.AdjState) { return packet.MAC{}, fib.AdjUnresolved })
}

func testPolicy() *policy.Set {
	return &policy.Set{
		VirtualSubnets: []policy.VirtualSubnet{
			{VSID: 6001, RDID: policy.RDID{1}, Prefixes: []netip.Prefix{prefix("10.1.1.0/24"), prefix("fd00:1::/64")}},
			{VSID: 6002, RDID: policy.RDID{1}, Prefixes: []netip.Prefix{prefix("10.1.2.0/24"), prefix("fd00:2::/64")}},
		},
		LookupRecords: []policy.LookupRecord{
			{VSID: 6001, CA: addr("10.1.1.11"), MAC: macVM, PA: addr("192.168.1.10")},
			{VSID: 6001, CA: addr("10.1.1.12"), MAC: macPeer, PA: addr("192.168.2.20")},
			{VSID: 6001, CA: addr("10.1.1.13"), MAC: packet.MAC{2, 13}, PA: addr("192.168.1.10")},
			{VSID: 6002, CA: addr("10.1.2.12"), MAC: macPeer, PA: addr("192.168.2.20")},
			{VSID: 6001, CA: addr("fd00:1::11"), MAC: macVM, PA: addr("192.168.1.10")},
			{VSID: 6001, CA: addr("fd00:1::12"), MAC: macPeer, PA: addr("192.168.2.20")},
			{VSID: 6002, CA: addr("fd00:2::12"), MAC: macPeer, PA: addr("192.168.2.20")},
			{VSID: 6001, CA: addr("10.1.1.1"), MAC: macRouter, PA: policy.RouterPA},
			{VSID: 6001, CA: addr("fd00:1::1"), MAC: macRouter, PA: policy.RouterPA},
		},
		ProviderAddresses: []policy.ProviderAddress{
			{Prefix: prefix("192.168.1.10/24"), Port: "uplink0"},
			{Prefix: prefix("192.168.3.10/24"), Port: "uplink0", VLAN: 103, MAC: macPA},
			{Prefix: prefix("2001:db8:1::10/64"), Port: "uplink0", VLAN: 104},
		},
		Ports: []policy.Port{
			{Name: "vm", Role: policy.VM, VSID: 6001, MAC: macVM, MTU: 1500},
			{Name: "uplink0", Role: policy.Uplink, MAC: macUplink, MTU: 1500},
			{Name: "uplink1", Role: policy.Uplink, MAC: packet.MAC{2, 2}, MTU: 1500},
		},
	}
}

// buffer is one mbuf with the frame in it.
func buffer(t testing.TB, frame []byte) *mbuf.Mbuf {
	t.Helper()
	pkts := make([]*mbuf.Mbuf, 1)
	mbuf.NewHeap(1, mbuf.DefaultDataRoom).Alloc(pkts)
	if !pkts[0].SetData(frame) {
		t.Fatal("frame too long for a buffer")
	}
	return pkts[0]
}

// fromVM has respond look at a frame as a worker does, and returns its verdict
// and the frame as it is then.
func fromVM(t testing.TB, frame []byte) (Verdict, []byte) {
	t.Helper()
	return fromVMWith(t, testPolicy(), frame)
}

func fromVMWith(t testing.TB, set *policy.Set, frame []byte) (Verdict, []byte) {
	t.Helper()
	f, m := compile(t, set), buffer(t, frame)
	var l packet.Layout
	if fault := packet.Parse(m.Data(), &l); fault != packet.OK {
		t.Fatalf("the test made a bad frame: %v", fault)
	}
	if l.EtherType == packet.EtherTypeARP {
		return ARP(f, &f.Ports[vmPort], m, &l), m.Data()
	}
	return ND(f, &f.Ports[vmPort], m, &l), m.Data()
}

// fromFabric is fromVM for the uplink of index in; a request is answered.
func fromFabric(t testing.TB, in uint16, frame []byte) (Verdict, []byte) {
	t.Helper()
	f, m := testFIB(t), buffer(t, frame)
	var l packet.Layout
	if fault := packet.Parse(m.Data(), &l); fault != packet.OK {
		t.Fatalf("the test made a bad frame: %v", fault)
	}
	v := provider(f, in, m, &l)
	if string(m.Data()) != string(frame) {
		t.Fatal("changed before whoever learns had a copy")
	}
	if v.Reply {
		if a := Answer(f, in, m, &l); a != (Verdict{Reply: true}) {
			t.Fatalf("answer: %+v", a)
		}
	}
	return v, m.Data()
}

func provider(f *fib.FIB, in uint16, m *mbuf.Mbuf, l *packet.Layout) Verdict {
	if l.EtherType == packet.EtherTypeARP {
		return ProviderARP(f, in, m, l)
	}
	return ProviderND(f, in, m, l)
}

func arp(dst, src packet.MAC, vlan, op uint16, sha packet.MAC, sender, target string) []byte {
	return packet.AppendARP(nil, &packet.ARPFrame{DstMAC: dst, SrcMAC: src, VLAN: vlan,
		ARPFields: packet.ARPFields{Op: op, SenderMAC: sha, SenderIP: ip4(sender), TargetIP: ip4(target)}})
}

// ns is a multicast solicitation; from "::" it is duplicate address detection.
func ns(src packet.MAC, vlan uint16, from, target string) []byte {
	group := packet.SolicitedNode(ip6(target))
	return packet.AppendNS(nil, &packet.NSFrame{DstMAC: packet.GroupMAC(group), SrcMAC: src, VLAN: vlan, Src: ip6(from), Dst: group, Target: ip6(target)})
}

// nud is a unicast solicitation.
func nud(from, target string) []byte {
	return packet.AppendNS(nil, &packet.NSFrame{DstMAC: macPeer, SrcMAC: macVM, Src: ip6(from), Dst: ip6(target), Target: ip6(target)})
}

func na(src, ll packet.MAC, vlan uint16, from, to, target string, flags uint8) []byte {
	dst := ip6(to)
	mac := macPeer
	if dst[0] == 0xff {
		mac = packet.GroupMAC(dst)
	}
	return packet.AppendNA(nil, &packet.NAFrame{DstMAC: mac, SrcMAC: src, VLAN: vlan, Src: ip6(from), Dst: dst, Target: ip6(target), TargetMAC: ll, Flags: flags})
}

func mod(frame []byte, change func(f []byte)) []byte {
	change(frame)
	return frame
}

// double puts an outer tag in front of what a frame has.
func double(frame []byte, tci uint16) []byte {
	tagged := append(append([]byte(nil), frame[:12]...), 0x81, 0, byte(tci>>8), byte(tci))
	return append(tagged, frame[12:]...)
}

// read takes the frame apart with gopacket, which must understand all of it.
func read(t *testing.T, frame []byte) gopacket.Packet {
	t.Helper()
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
	if e := p.ErrorLayer(); e != nil {
		t.Fatalf("gopacket cannot read %x: %v", frame, e.Error())
	}
	return p
}

// checkTag fails unless the only tag, or none for 0, has that TCI.
func checkTag(t *testing.T, p gopacket.Packet, tci uint16) {
	t.Helper()
	tag, tagged := p.Layer(layers.LayerTypeDot1Q).(*layers.Dot1Q)
	if tagged != (tci != 0) {
		t.Fatalf("tagged: %v, want TCI %#x", tagged, tci)
	}
	if tagged && uint16(tag.Priority)<<13|tag.VLANIdentifier != tci {
		t.Errorf("tag %+v, want TCI %#x", tag, tci)
	}
}

// checkARPReply holds a frame to A4.
func checkARPReply(t *testing.T, frame []byte, tci uint16, mac packet.MAC, target string, to packet.MAC, toIP string) {
	t.Helper()
	p := read(t, frame)
	checkTag(t, p, tci)
	eth := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	if eth.SrcMAC.String() != mac.String() || eth.DstMAC.String() != to.String() {
		t.Errorf("Ethernet %v to %v, want %v to %v", eth.SrcMAC, eth.DstMAC, mac, to)
	}
	a, ok := p.Layer(layers.LayerTypeARP).(*layers.ARP)
	if !ok {
		t.Fatalf("no ARP in %v", p)
	}
	if a.Operation != layers.ARPReply || a.AddrType != layers.LinkTypeEthernet || a.Protocol != layers.EthernetTypeIPv4 ||
		net.HardwareAddr(a.SourceHwAddress).String() != mac.String() || net.IP(a.SourceProtAddress).String() != target ||
		net.HardwareAddr(a.DstHwAddress).String() != to.String() || net.IP(a.DstProtAddress).String() != toIP {
		t.Errorf("ARP %+v, want %s at %v, told to %s", a, target, mac, toIP)
	}
}

// checkNA holds a frame to A9.
func checkNA(t *testing.T, frame []byte, tci uint16, mac packet.MAC, target, dstMAC, dst string, flags uint8) {
	t.Helper()
	p := read(t, frame)
	checkTag(t, p, tci)
	eth := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	if eth.SrcMAC.String() != mac.String() || eth.DstMAC.String() != dstMAC {
		t.Errorf("Ethernet %v to %v, want %v to %s", eth.SrcMAC, eth.DstMAC, mac, dstMAC)
	}
	ip := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
	if ip.HopLimit != 255 || ip.NextHeader != layers.IPProtocolICMPv6 || ip.SrcIP.String() != target || ip.DstIP.String() != dst || int(ip.Length) != len(ip.Payload) {
		t.Errorf("IPv6 %+v, want %s to %s", ip, target, dst)
	}
	adv, ok := p.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement)
	if !ok {
		t.Fatalf("no neighbor advertisement in %v", p)
	}
	if adv.Flags != flags || adv.TargetAddress.String() != target || len(adv.Options) != 1 || adv.Options[0].Type != layers.ICMPv6OptTargetAddress ||
		net.HardwareAddr(adv.Options[0].Data).String() != mac.String() {
		t.Errorf("advertisement %+v, want %s at %v, flags %#x", adv, target, mac, flags)
	}
	// gopacket's own checksum of the same message.
	icmp := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
	again, want := *icmp, icmp.Checksum
	if err := again.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	buf := gopacket.NewSerializeBuffer()
	payload := gopacket.Payload(icmp.Payload)
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{ComputeChecksums: true}, &again, payload); err != nil {
		t.Fatal(err)
	}
	if got := binary.BigEndian.Uint16(buf.Bytes()[2:]); got != want {
		t.Errorf("checksum %#04x, gopacket computes %#04x", want, got)
	}
}

// verdict fails unless the verdict is want; a frame that is not answered must
// not have changed either.
func checkVerdict(t *testing.T, got, want Verdict, before, after []byte) {
	t.Helper()
	if got != want {
		t.Errorf("verdict %+v (%v), want %+v (%v)", got, got.Drop, want, want.Drop)
	}
	if !want.Reply && string(before) != string(after) {
		t.Errorf("frame changed\nfrom %x\n  to %x", before, after)
	}
}

func refused(r count.Reason) Verdict { return Verdict{Drop: r} }

var forwarded, replied = Verdict{Forward: true}, Verdict{Reply: true}
