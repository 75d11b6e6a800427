package modes_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"paca/dataplane/packet"
	"paca/dataplane/policy"
	"paca/dataplane/worker"
	"paca/modes/nvgre"
)

// The picture of the tests of rewriting: Blue's 6001 and 6002 and Green's 7001 are in
// rewrite, each VM with a PA of its own, Blue's 6003 and Red's 5001 in nvgre, all over
// the same uplinks. Host 1 has the VMs with PAs in 192.168.1.0/24 and
// 2001:db8:1::/64, host 2 those in 192.168.2.0/24 and 2001:db8:2::/64. Green has
// Blue's addresses.
var (
	vmGreen1 = vm{packet.MAC{2, 0, 0, 3, 1, 0x11}, "10.1.1.11", "fd00:1::11"}
	vmGreen2 = vm{packet.MAC{2, 0, 0, 3, 1, 0x12}, "10.1.1.12", "fd00:1::12"}
	vmAway   = vm{packet.MAC{2, 0, 0, 1, 1, 0x14}, "10.1.1.14", "fd00:1::14"} // of host 1, without a port
)

// pas are the PAs of rewritten VMs, and of the hosts.
type pas struct{ v4, v6 string }

func (p pas) pa(v6 bool) string {
	if v6 {
		return p.v6
	}
	return p.v4
}

var (
	paBlue1  = pas{"192.168.1.10", "2001:db8:1::10"}
	paBlue2  = pas{"192.168.2.20", "2001:db8:2::20"}
	paBlue3  = pas{"192.168.1.13", "2001:db8:1::13"}
	paBlue5  = pas{"192.168.1.15", "2001:db8:1::15"}
	paBlue6  = pas{"192.168.2.26", "2001:db8:2::26"}
	paGreen1 = pas{"192.168.1.71", "2001:db8:1::71"}
	paGreen2 = pas{"192.168.2.72", "2001:db8:2::72"}
	paAway   = pas{"192.168.1.14", "2001:db8:1::14"}
	paHost1  = "192.168.1.100"
	paHost2  = "192.168.2.100"
)

// rewritePolicy is that of host 1 or 2.
func rewritePolicy(host byte) *policy.Set {
	green := policy.RDID{3}
	both := []netip.Prefix{prefix("10.1.1.0/24"), prefix("fd00:1::/64")}
	set := &policy.Set{
		VirtualSubnets: []policy.VirtualSubnet{
			{VSID: 6001, RDID: blue, Prefixes: both, Mode: policy.Rewrite},
			{VSID: 6002, RDID: blue, Prefixes: []netip.Prefix{prefix("10.1.2.0/24"), prefix("fd00:2::/64")}, Mode: policy.Rewrite},
			{VSID: 6003, RDID: blue, Prefixes: []netip.Prefix{prefix("10.1.3.0/24"), prefix("fd00:3::/64")}},
			{VSID: 5001, RDID: red, Prefixes: both},
			{VSID: 7001, RDID: green, Prefixes: both, Mode: policy.Rewrite},
		},
		LookupRecords: []policy.LookupRecord{
			{VSID: 6002, CA: addr("10.1.2.1"), MAC: macRouter2, PA: policy.RouterPA},
			{VSID: 6002, CA: addr("fd00:2::1"), MAC: macRouter2, PA: policy.RouterPA},
		},
		ProviderRoutes: []policy.ProviderRoute{
			{Port: "uplink", Prefix: prefix("0.0.0.0/0"), NextHop: netip.AddrFrom4([4]byte{192, 168, host, 1})},
			{Port: "uplink", Prefix: prefix("::/0"), NextHop: netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 5: host, 15: 1})},
		},
		Ports: []policy.Port{{Name: "uplink", Role: policy.Uplink, MAC: macUplink, MTU: 1500}},
	}
	own := func(vsid policy.VSID, v vm, p pas) {
		set.LookupRecords = append(set.LookupRecords,
			policy.LookupRecord{VSID: vsid, CA: addr(v.v4), MAC: v.mac, PA: addr(p.v4)},
			policy.LookupRecord{VSID: vsid, CA: addr(v.v6), MAC: v.mac, PA: addr(p.v6)})
	}
	own(6001, vmBlue1, paBlue1)
	own(6001, vmBlue2, paBlue2)
	own(6001, vmBlue3, paBlue3)
	own(6001, vmAway, paAway)
	own(6002, vmBlue5, paBlue5)
	own(6002, vmBlue6, paBlue6)
	own(7001, vmGreen1, paGreen1)
	own(7001, vmGreen2, paGreen2)
	for _, all := range [][]policy.LookupRecord{
		records(6003, vmGate, paHost1), records(6003, vmGate2, paHost2),
		records(5001, vmRed1, paHost1), records(5001, vmRed2, paHost2),
	} {
		set.LookupRecords = append(set.LookupRecords, all...)
	}
	assigned := map[netip.Addr]bool{}
	for _, r := range set.LookupRecords {
		b := r.PA.As16()
		if here := r.PA.Is4() && b[14] == host || r.PA.Is6() && b[5] == host; here && !assigned[r.PA] && !r.Router() {
			assigned[r.PA] = true
			set.ProviderAddresses = append(set.ProviderAddresses, policy.ProviderAddress{Prefix: netip.PrefixFrom(r.PA, 24+40*(r.PA.BitLen()/128)), Port: "uplink"})
		}
	}
	ports := []struct {
		name string
		vsid policy.VSID
		here [2]vm
	}{
		{"blue1", 6001, [2]vm{vmBlue1, vmBlue2}},
		{"blue3", 6001, [2]vm{vmBlue3, {mac: packet.MAC{2, 0, 0, 9, 9, 9}}}},
		{"red1", 5001, [2]vm{vmRed1, vmRed2}},
		{"blue5", 6002, [2]vm{vmBlue5, vmBlue6}},
		{"gate", 6003, [2]vm{vmGate, vmGate2}},
		{"fresh", 7001, [2]vm{vmGreen1, vmGreen2}},
	}
	for _, p := range ports {
		set.Ports = append(set.Ports, policy.Port{Name: p.name, Role: policy.VM, VSID: p.vsid, MAC: p.here[host-1].mac, MTU: 1500})
	}
	set.Ports = append(set.Ports, policy.Port{Name: "kernel", Role: policy.Host, MAC: macKernel, MTU: 1500})
	return set
}

// The ports of Green's VMs, and those of host 2.
const (
	green1 = fresh
	blue2  = blue1
	blue6  = blue5
	green2 = green1
)

// hosts are the two, back to back.
func hosts(t testing.TB, options ...func(*worker.Config)) (one, two *rig) {
	return newRig(t, rewritePolicy(1), nvgre.Config{}, options...), newRig(t, rewritePolicy(2), nvgre.Config{}, options...)
}

// framed is an IP packet in an Ethernet frame.
func framed(to, from packet.MAC, ip []byte) []byte {
	etherType := packet.EtherTypeIPv4
	if ip[0]>>4 == 6 {
		etherType = packet.EtherTypeIPv6
	}
	return append(ether(to, from, etherType), ip...)
}

// routed is a frame of the fabric as its last router sends it to a host, with the
// TTL as it is.
func routed(f []byte) []byte { return framed(macUplink, macRouter, f[14:]) }

// The vectors of spec section R: IP packets from Blue's 10.1.1.11 to 10.1.1.12, and
// what must be on the wire.
var rewritten = []struct{ name, inner, wire string }{
	{"R-V1", "4500002800070000800624b10a01010b0a01010cc000005001020304000000005002ffffd5730000",
		"45000028000700008006b65ac0a8010ac0a80214c000005001020304000000005002ffff671d0000"},
	{"R-V2", "4500002000080000801124ad0a01010b0a01010c13881389000c00007a65726f",
		"45000020000800008011b656c0a8010ac0a8021413881389000c00007a65726f"},
	{"R-V3", "4500001e00090000801124ae0a01010b0a01010c13881389000a6e56545a",
		"4500001e000900008011b657c0a8010ac0a8021413881389000affff545a"},
	{"R-V4", "45000020000a0000400164bb0a01010b0a01010c0800598e00010001484e5621",
		"45000020000a00004001f664c0a8010ac0a802140800598e00010001484e5621"},
	{"R-V5", "45000024000b0002801124a40a01010b0a01010c78787878787878787878787878787878",
		"45000024000b00028011b64dc0a8010ac0a8021478787878787878787878787878787878"},
}

// What the VM sent is on the wire between PAs, byte for byte as the vectors have it,
// from the uplink's MAC to the next hop's; and on the other host what the VM sent.
func TestR1_R2_R3_R5_R8_R9_R10_R12_R15Vectors(t *testing.T) {
	for _, v := range rewritten {
		t.Run(v.name, func(t *testing.T) {
			one, two := hosts(t)
			sent := framed(macBlue2, macBlue1, unhex(v.inner))
			wire := one.only(one.trip(blue1, sent), uplink)[0]
			if want := framed(macRouter, macUplink, unhex(v.wire)); !bytes.Equal(wire, want) {
				t.Errorf("\n got %x\nwant %x", wire, want)
			}
			got := two.only(two.trip(uplink, routed(wire)), blue2)[0]
			if !bytes.Equal(got, sent) {
				t.Errorf("\n got %x\nwant %x", got, sent)
			}
			one.balance(0)
			two.balance(0)
		})
	}
}

// R-V6: the fabric's "fragmentation needed" becomes the router's, about the packet
// that the VM sent.
func TestR16_R17_R18Vector(t *testing.T) {
	one, _ := hosts(t)
	in := unhex("45000038000d0000fe01395cc0a80101c0a8010a030481200000057845000026000c40008011764cc0a8010ac0a802141388138900124f40")
	want := unhex("45000038000d0000fe01a6aa0a0101010a01010b030412ca0000057845000026000c40008011e4a20a01010b0a01010c138813890012bd96")
	got := one.only(one.trip(uplink, framed(macUplink, macRouter, in)), blue1)[0]
	if want := framed(macBlue1, router1.mac, want); !bytes.Equal(got, want) {
		t.Errorf("\n got %x\nwant %x", got, want)
	}
	if e := one.events(); e["fabric_error"] != 1 {
		t.Errorf("events %v", e)
	}
	// A quote that ends before the transport's checksum: the ICMP checksum stays (R17).
	short := append([]byte(nil), in[:54]...)
	short[3] -= 2
	binary.BigEndian.PutUint16(short[10:], 0)
	binary.BigEndian.PutUint16(short[10:], sum(short[:20]))
	binary.BigEndian.PutUint16(short[22:], 0)
	binary.BigEndian.PutUint16(short[22:], sum(short[20:]))
	got = one.only(one.trip(uplink, framed(macUplink, macRouter, short)), blue1)[0]
	if !bytes.Equal(got[14+22:14+24], short[22:24]) || sum(got[34:]) != 0 || sum(got[14:34]) != 0 {
		t.Errorf("short quote: %x became %x", short, got)
	}
	one.balance(0)
}

// seeded is the seed of a test whose packets each have one of their own.
func seeded(t *testing.T) uint64 {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("repeat with -seed=%d", seed)
	return seed
}

// trips are the pairs of VMs that rewritten packets go between: from host 1 to 2 and
// back, in one virtual subnet, from one to another, and as another tenant.
var trips = []struct {
	back     bool // from host 2 to 1
	in, out  int
	src, dst vm
	from, to pas
	mac      packet.MAC // that it comes from in the end; zero: the sender's
}{
	{false, blue1, blue2, vmBlue1, vmBlue2, paBlue1, paBlue2, packet.MAC{}},
	{true, blue2, blue1, vmBlue2, vmBlue1, paBlue2, paBlue1, packet.MAC{}},
	{false, blue1, blue6, vmBlue1, vmBlue6, paBlue1, paBlue6, macRouter2},
	{true, blue6, blue1, vmBlue6, vmBlue1, paBlue6, paBlue1, router1.mac},
	{false, green1, green2, vmGreen1, vmGreen2, paGreen1, paGreen2, packet.MAC{}},
}

// Whatever a VM sends is on the wire exactly what the same packet would be if it had
// been made between PAs, every checksum from scratch, wrong ones wrong by as much;
// and reaches the other VM exactly as it was sent. gopacket agrees about what it
// knows.
func TestR5_R8_R9_R10_R11_R12_R15_R16_R17_R22ThereAndBack(t *testing.T) {
	one, two := hosts(t, router(worker.Router{KeepTTL: true})) // which between subnets is the router's, not the mode's
	seed, kinds, judged := seeded(t), map[string]int{}, 0
	for i := range uint64(20000) {
		c := trips[i%uint64(len(trips))]
		v6 := i/uint64(len(trips))%2 == 1
		here, there := one, two
		if c.back {
			here, there = two, one
		}
		sent, right := samples(seed+i, kinds, addr(c.src.ca(v6)), addr(c.dst.ca(v6)), true)
		wire, _ := samples(seed+i, nil, addr(c.from.pa(v6)), addr(c.to.pa(v6)), true)
		mac := c.mac
		if mac.IsZero() {
			mac = c.src.mac
		}
		for j := range sent {
			fail := func(what string, got, want []byte) {
				t.Fatalf("-seed=%d, fragment %d of %d, %s\nsent %x\n got %x\nwant %x", seed+i, j, len(sent), what, sent[j], got, want)
			}
			f := here.only(here.trip(c.in, framed(c.dst.mac, c.src.mac, sent[j])), uplink)[0]
			if want := framed(macRouter, macUplink, wire[j]); !bytes.Equal(f, want) {
				fail("on the wire", f, want)
			}
			if right {
				judged += judge(t, f)
			}
			f = there.only(there.trip(uplink, append(routed(f), make([]byte, i%5)...)), c.out)[0]
			if want := framed(c.dst.mac, mac, sent[j]); !bytes.Equal(f, want) {
				fail("on the other host", f, want)
			}
		}
	}
	one.balance(0)
	two.balance(0)
	t.Log(kinds, judged, "judged by gopacket")
	if judged < 5000 {
		t.Error("gopacket judged too few")
	}
	for _, kind := range []string{"wrong checksums", "TCP", "UDP", "UDP without checksum", "ICMP echo", "ICMPv6 echo", "ICMP error", "ICMPv6 error", "UDP-Lite", "DCCP",
		"SCTP", "GRE", "ESP", "AH", "IPv4 in IP", "an unknown protocol", "ICMP of the other family", "quote of somebody else's packet", "quote without a header", "quote of a header alone",
		"quote with some bytes more", "quote of the packet", "quote with an extension", "routing header", "routing header at its end", "fragments", "IPv4 options",
		"hop-by-hop options", "atomic fragment", "destination options"} {
		if kinds[kind] < 20 {
			t.Errorf("%s: %d", kind, kinds[kind])
		}
	}
}

// judge has gopacket look at the checksums of a frame that it understands.
func judge(t *testing.T, frame []byte) (judged int) {
	t.Helper()
	var network gopacket.NetworkLayer
	var proto layers.IPProtocol
	var rest []byte
	again := func(l gopacket.SerializableLayer, payload []byte, size int) []byte {
		return serialized(l, gopacket.Payload(payload))[:size]
	}
	if frame[12] == 0x08 {
		var ip layers.IPv4
		if err := ip.DecodeFromBytes(frame[14:], gopacket.NilDecodeFeedback); err != nil {
			t.Fatalf("%x: %v", frame, err)
		}
		if want := again(&ip, ip.Payload, 12); !bytes.Equal(frame[14:26], want) {
			t.Fatalf("header of %x is %x for gopacket", frame, want)
		}
		if ip.Flags&layers.IPv4MoreFragments != 0 || ip.FragOffset != 0 {
			return 1
		}
		network, proto, rest = &ip, ip.Protocol, ip.Payload
	} else {
		var ip layers.IPv6
		if err := ip.DecodeFromBytes(frame[14:], gopacket.NilDecodeFeedback); err != nil {
			t.Fatalf("%x: %v", frame, err)
		}
		if ip.HopByHop != nil {
			return 0
		}
		network, proto, rest = &ip, ip.NextHeader, ip.Payload
	}
	var l interface {
		gopacket.DecodingLayer
		gopacket.SerializableLayer
	}
	switch v4 := frame[12] == 0x08; {
	case proto == layers.IPProtocolTCP:
		l = &layers.TCP{}
	case proto == layers.IPProtocolUDP && (rest[6] != 0 || rest[7] != 0): // else there is none (R10)
		l = &layers.UDP{}
	case proto == layers.IPProtocolICMPv4 && v4:
		l = &layers.ICMPv4{}
	case proto == layers.IPProtocolICMPv6 && !v4:
		l = &layers.ICMPv6{}
	default:
		return 0
	}
	if err := l.DecodeFromBytes(rest, gopacket.NilDecodeFeedback); err != nil {
		t.Fatalf("%v: %x: %v", proto, frame, err)
	}
	if c, ok := l.(checksummed); ok {
		c.SetNetworkLayerForChecksum(network)
	}
	want := again(l, l.LayerPayload(), len(rest))
	if proto == layers.IPProtocolUDP && want[6] == 0 && want[7] == 0 { // gopacket does not know that none becomes it
		want[6], want[7] = 0xff, 0xff
	}
	if !bytes.Equal(rest, want) {
		t.Fatalf("%v in %x is for gopacket\n%x, not\n%x", proto, frame, want, rest)
	}
	return 1
}
