package respond

import (
	"slices"
	"testing"

	"paca/dataplane/count"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
)

func TestA1_A2_A3_A4_A7ARPAnswers(t *testing.T) {
	for _, c := range []struct {
		rule           string
		dst            packet.MAC
		sender, target string
		mac            packet.MAC
	}{
		{"A2 remote VM", packet.Broadcast, "10.1.1.11", "10.1.1.12", macPeer},
		{"A2 local VM", packet.Broadcast, "10.1.1.11", "10.1.1.13", packet.MAC{2, 13}},
		{"A3 router record", packet.Broadcast, "10.1.1.11", "10.1.1.1", macRouter},
		{"A3 router, unicast", macRouter, "10.1.1.11", "10.1.1.1", macRouter}, // no VM is there to answer (A8)
		{"A7 probe of another's CA", packet.Broadcast, "0.0.0.0", "10.1.1.12", macPeer},
		{"A7 probe of the router CA", packet.Broadcast, "0.0.0.0", "10.1.1.1", macRouter},
		{"A7 announcement of another's CA", packet.Broadcast, "10.1.1.12", "10.1.1.12", macPeer},
		{"A7 announcement of the router CA", packet.Broadcast, "10.1.1.1", "10.1.1.1", macRouter},
		{"A7 announcement, unicast", macPeer, "10.1.1.12", "10.1.1.12", macPeer},
	} {
		t.Run(c.rule, func(t *testing.T) {
			before := arp(c.dst, macVM, 0, 1, macVM, c.sender, c.target)
			v, after := fromVM(t, slices.Clone(before))
			checkVerdict(t, v, replied, before, after)
			checkARPReply(t, after, 0, c.mac, c.target, macVM, c.sender)
		})
	}
	// Padding to the shortest Ethernet frame does no harm and stays.
	before := append(arp(packet.Broadcast, macVM, 0, 1, macVM, "10.1.1.11", "10.1.1.12"), make([]byte, 18)...)
	v, after := fromVM(t, before)
	if v != replied || len(after) != 60 {
		t.Errorf("padded request: %+v, %d bytes", v, len(after))
	}
	checkARPReply(t, after, 0, macPeer, "10.1.1.12", macVM, "10.1.1.11")
}

func TestL2_L3_A5_A6_A7_A8ARPVerdicts(t *testing.T) {
	request := func(sender, target string) []byte {
		return arp(packet.Broadcast, macVM, 0, 1, macVM, sender, target)
	}
	for _, c := range []struct {
		rule  string
		frame []byte
		want  Verdict
	}{
		{"A5", request("10.1.1.11", "10.1.1.99"), refused(count.ARPUnknown)},
		{"A5 probe", request("0.0.0.0", "10.1.1.99"), refused(count.ARPUnknown)},
		{"A5 announcement", request("10.1.1.99", "10.1.1.99"), refused(count.ARPUnknown)},
		{"A5 unicast", arp(macPeer, macVM, 0, 1, macVM, "10.1.1.11", "10.1.1.99"), refused(count.ARPUnknown)},
		{"A5 nobody", request("0.0.0.0", "0.0.0.0"), refused(count.ARPUnknown)},
		{"A6", request("10.1.1.11", "10.1.2.12"), refused(count.ARPUnknown)},
		{"A6 other subnet's router", request("10.1.1.11", "10.1.2.1"), refused(count.ARPUnknown)},
		{"A6 unicast", arp(macPeer, macVM, 0, 1, macVM, "10.1.1.11", "10.1.2.12"), refused(count.ARPUnknown)},
		{"A7 announcement", request("10.1.1.11", "10.1.1.11"), refused(count.ARPSelf)},
		{"A7 probe", request("0.0.0.0", "10.1.1.11"), refused(count.ARPSelf)},
		{"A7 announcing reply", arp(packet.Broadcast, macVM, 0, 2, macVM, "10.1.1.11", "10.1.1.11"), refused(count.ARPSelf)},
		{"A7 unicast announcing reply", arp(macPeer, macVM, 0, 2, macVM, "10.1.1.11", "10.1.1.11"), refused(count.ARPSelf)},
		{"A8 request", arp(macPeer, macVM, 0, 1, macVM, "10.1.1.11", "10.1.1.12"), forwarded},
		{"A8 request to a stale MAC", arp(packet.MAC{2, 99}, macVM, 0, 1, macVM, "10.1.1.11", "10.1.1.12"), forwarded},
		{"A8 reply", arp(macPeer, macVM, 0, 2, macVM, "10.1.1.11", "10.1.1.12"), forwarded},
		{"L2", arp(packet.Broadcast, macVM, 0, 1, macPeer, "10.1.1.11", "10.1.1.12"), refused(count.SourceMAC)},
		{"L2 reply", arp(macPeer, macVM, 0, 2, macPeer, "10.1.1.11", "10.1.1.12"), refused(count.SourceMAC)},
		{"L3 another's CA", request("10.1.1.12", "10.1.1.13"), refused(count.SourceCA)},
		{"L3 no CA", request("10.1.1.99", "10.1.1.12"), refused(count.SourceCA)},
		{"L3 own CA in another subnet", request("10.1.2.12", "10.1.1.12"), refused(count.SourceCA)},
		{"L3 router CA", request("10.1.1.1", "10.1.1.12"), refused(count.SourceCA)},
		{"L3 unicast", arp(macPeer, macVM, 0, 1, macVM, "10.1.1.13", "10.1.1.12"), refused(count.SourceCA)},
		{"operation 0", arp(packet.Broadcast, macVM, 0, 0, macVM, "10.1.1.11", "10.1.1.12"), refused(count.ARPMalformed)},
		{"operation 3", arp(packet.Broadcast, macVM, 0, 3, macVM, "10.1.1.11", "10.1.1.12"), refused(count.ARPMalformed)},
		{"hardware type", mod(request("10.1.1.11", "10.1.1.12"), func(f []byte) { f[15] = 6 }), refused(count.ARPMalformed)},
		{"protocol type", mod(request("10.1.1.11", "10.1.1.12"), func(f []byte) { f[17] = 1 }), refused(count.ARPMalformed)},
		{"hardware length", mod(request("10.1.1.11", "10.1.1.12"), func(f []byte) { f[18] = 8 }), refused(count.ARPMalformed)},
		{"protocol length", mod(request("10.1.1.11", "10.1.1.12"), func(f []byte) { f[19] = 16 }), refused(count.ARPMalformed)},
	} {
		t.Run(c.rule, func(t *testing.T) {
			v, after := fromVM(t, slices.Clone(c.frame))
			checkVerdict(t, v, c.want, c.frame, after)
		})
	}
}

func TestA1_A3_A7_A9NDAnswers(t *testing.T) {
	const solicited, dad = packet.NDSolicited | packet.NDOverride, packet.NDOverride
	for _, c := range []struct {
		rule     string
		frame    []byte
		mac      packet.MAC
		target   string
		dstMAC   string
		dst      string
		flags    uint8
		shortens int // bytes by which the question was shorter than the answer
	}{
		{"A9", ns(macVM, 0, "fd00:1::11", "fd00:1::12"), macPeer, "fd00:1::12", macVM.String(), "fd00:1::11", solicited, 0},
		{"A9 router", ns(macVM, 0, "fd00:1::11", "fd00:1::1"), macRouter, "fd00:1::1", macVM.String(), "fd00:1::11", solicited | packet.NDRouter, 0},
		{"A9 router, unicast", nud("fd00:1::11", "fd00:1::1"), macRouter, "fd00:1::1", macVM.String(), "fd00:1::11", solicited | packet.NDRouter, 0},
		{"A9 from link-local", ns(macVM, 0, "fe80::11", "fd00:1::12"), macPeer, "fd00:1::12", macVM.String(), "fe80::11", solicited, 0},
		{"A9 from link-local, unicast", nud("fe80::11", "fd00:1::12"), macPeer, "fd00:1::12", macVM.String(), "fe80::11", solicited, 0},
		{"A7 DAD of another's CA", ns(macVM, 0, "::", "fd00:1::12"), macPeer, "fd00:1::12", "33:33:00:00:00:01", "ff02::1", dad, 8},
		{"A7 DAD of the router CA", ns(macVM, 0, "::", "fd00:1::1"), macRouter, "fd00:1::1", "33:33:00:00:00:01", "ff02::1", dad | packet.NDRouter, 8},
	} {
		t.Run(c.rule, func(t *testing.T) {
			v, after := fromVM(t, slices.Clone(c.frame))
			checkVerdict(t, v, replied, c.frame, after)
			if len(after) != packet.NDFrameLen || len(c.frame) != packet.NDFrameLen-c.shortens {
				t.Errorf("%d bytes answered by %d", len(c.frame), len(after))
			}
			checkNA(t, after, 0, c.mac, c.target, c.dstMAC, c.dst, c.flags)
		})
	}
}

func TestL2_L3_A5_A6_A7_A8_A10_A12NDVerdicts(t *testing.T) {
	const from, peer = "fd00:1::11", "fd00:1::12"
	good := func() []byte { return ns(macVM, 0, from, peer) }
	// A fragment header between IPv6 and the solicitation, of a packet in one piece.
	fragment := func() []byte {
		f := good()
		f = append(f[:54:54], append([]byte{58, 0, 0, 0, 0, 0, 0, 1}, f[54:]...)...)
		f[19] += 8
		f[20] = 44
		return f
	}
	for _, c := range []struct {
		rule  string
		frame []byte
		want  Verdict
	}{
		{"A5", ns(macVM, 0, from, "fd00:1::99"), refused(count.NDUnknown)},
		{"A5 DAD", ns(macVM, 0, "::", "fd00:1::99"), refused(count.NDUnknown)},
		{"A5 unicast", nud(from, "fd00:1::99"), refused(count.NDUnknown)},
		{"A6", ns(macVM, 0, from, "fd00:2::12"), refused(count.NDUnknown)},
		{"A7", ns(macVM, 0, from, from), refused(count.NDSelf)},
		{"A7 DAD", ns(macVM, 0, "::", from), refused(count.NDSelf)},
		{"A7 unsolicited advertisement", na(macVM, macVM, 0, from, "ff02::1", from, packet.NDOverride), refused(count.NDSelf)},
		{"A8 solicitation", nud(from, peer), forwarded},
		{"A8 advertisement", na(macVM, macVM, 0, from, peer, from, packet.NDSolicited), forwarded},
		{"A11 target link-local", ns(macVM, 0, "fe80::11", "fe80::12"), refused(count.NDUnknown)},

		{"A10 hop limit", mod(good(), func(f []byte) { f[21] = 254 }), refused(count.NDInvalid)},
		{"A10 checksum", mod(good(), func(f []byte) { f[56]++ }), refused(count.NDInvalid)},
		{"A10 checksum, answer", mod(na(macVM, macVM, 0, from, peer, from, 0), func(f []byte) { f[56]++ }), refused(count.NDInvalid)},
		{"A10 code", recode(good(), 1), refused(count.NDInvalid)},
		{"A10 hop limit, answer", mod(na(macVM, macVM, 0, from, peer, from, 0), func(f []byte) { f[21] = 64 }), refused(count.NDInvalid)},
		{"A10 solicited to a group", na(macVM, macVM, 0, from, "ff02::1", from, packet.NDSolicited), refused(count.NDInvalid)},
		{"A10 in a fragment", fragment(), refused(count.NDInvalid)},

		{"L2 option", reoption(good(), macPeer), refused(count.SourceMAC)},
		{"L2 option, answer", na(macVM, macPeer, 0, from, peer, from, packet.NDSolicited), refused(count.SourceMAC)},
		{"L3 another's CA", ns(macVM, 0, peer, from), refused(count.SourceCA)},
		{"L3 no CA", ns(macVM, 0, "fd00:1::99", peer), refused(count.SourceCA)},
		{"L3 router CA", ns(macVM, 0, "fd00:1::1", peer), refused(count.SourceCA)},
		// An advertisement tells of its target: it was once carried whatever that was.
		{"A12 speaks for another", na(macVM, macVM, 0, from, peer, "fd00:1::1", packet.NDSolicited|packet.NDOverride), refused(count.SourceCA)},
		{"A12 speaks for nobody", na(macVM, macVM, 0, from, peer, "fd00:1::99", packet.NDOverride), refused(count.SourceCA)},
		{"A11 speaks for link-local", na(macVM, macVM, 0, "fe80::11", peer, "fe80::11", packet.NDSolicited), refused(count.SourceCA)},

		{"echo", icmp6(packet.ICMPv6EchoRequest), forwarded},
		{"router solicitation", icmp6(packet.ICMPv6RouterSolicit), forwarded},
		{"redirect", icmp6(packet.ICMPv6Redirect), forwarded},
	} {
		t.Run(c.rule, func(t *testing.T) {
			v, after := fromVM(t, slices.Clone(c.frame))
			checkVerdict(t, v, c.want, c.frame, after)
		})
	}
}

// reoption changes the MAC in the option of an untagged solicitation.
func reoption(f []byte, mac packet.MAC) []byte {
	copy(f[80:], mac[:])
	ip := packet.IPv6(f[14:])
	packet.ICMPv6(f[54:]).Encode(packet.ICMPFields{Type: packet.ICMPv6NeighborSolicit}, ip.Src(), ip.Dst())
	return f
}

// recode changes the code of an untagged solicitation.
func recode(f []byte, code uint8) []byte {
	ip := packet.IPv6(f[14:])
	packet.ICMPv6(f[54:]).Encode(packet.ICMPFields{Type: packet.ICMPv6NeighborSolicit, Code: code}, ip.Src(), ip.Dst())
	return f
}

func icmp6(kind uint8) []byte {
	f := nud("fd00:1::11", "fd00:1::12")
	ip := packet.IPv6(f[14:])
	packet.ICMPv6(f[54:]).Encode(packet.ICMPFields{Type: kind}, ip.Src(), ip.Dst())
	return f
}

// A gateway's kernel asks for its neighbors from the address outside of the packet
// that waits for them: it is answered, and not carried. It may not take the CA of
// another, and others may not do as it does.
func TestL3_G5GatewayAsks(t *testing.T) {
	for _, c := range []struct {
		name  string
		frame []byte
		want  Verdict
		plain count.Reason // from a VM that is no gateway
	}{
		{"for the router", arp(packet.Broadcast, macVM, 0, 1, macVM, "198.51.100.1", "10.1.1.1"), replied, count.SourceCA},
		{"for a VM", arp(packet.Broadcast, macVM, 0, 1, macVM, "198.51.100.1", "10.1.1.12"), replied, count.SourceCA},
		{"for a VM, unicast", arp(macPeer, macVM, 0, 1, macVM, "198.51.100.1", "10.1.1.12"), replied, count.SourceCA},
		{"for nobody", arp(packet.Broadcast, macVM, 0, 1, macVM, "198.51.100.1", "10.1.1.99"), refused(count.ARPUnknown), count.SourceCA},
		{"as another VM", arp(packet.Broadcast, macVM, 0, 1, macVM, "10.1.1.13", "10.1.1.12"), refused(count.SourceCA), count.SourceCA},
		{"ND for the router", ns(macVM, 0, "2001:db8:f::1", "fd00:1::1"), replied, count.SourceCA},
		{"ND for a VM", ns(macVM, 0, "2001:db8:f::1", "fd00:1::12"), replied, count.SourceCA},
		{"ND for a VM, unicast", nud("2001:db8:f::1", "fd00:1::12"), replied, count.SourceCA},
		{"ND as another VM", ns(macVM, 0, "fd00:1::12", "fd00:1::1"), refused(count.SourceCA), count.SourceCA},
	} {
		t.Run(c.name, func(t *testing.T) {
			set := testPolicy()
			for _, any := range []string{"0.0.0.0", "::"} {
				set.LookupRecords = append(set.LookupRecords,
					policy.LookupRecord{VSID: 6001, CA: addr(any), MAC: macVM, PA: addr("192.168.1.10"), Type: policy.GatewayWildcard})
			}
			v, after := fromVMWith(t, set, slices.Clone(c.frame))
			checkVerdict(t, v, c.want, c.frame, after)
			v, after = fromVM(t, slices.Clone(c.frame))
			checkVerdict(t, v, refused(c.plain), c.frame, after)
		})
	}
}

// An answer that is longer than the question needs room behind it.
func TestNoRoomForAnswer(t *testing.T) {
	f, m := testFIB(t), buffer(t, ns(macVM, 0, "::", "fd00:1::12"))
	m.Adj(m.Len())
	for m.Tailroom() > packet.NDFrameLen-1 { // move the data back until too little room is left
		m.Append(1)
		m.Adj(1)
	}
	m.Append(packet.NDFrameLen - 8)
	copy(m.Data(), ns(macVM, 0, "::", "fd00:1::12"))
	var l packet.Layout
	packet.Parse(m.Data(), &l)
	if v := ND(f, &f.Ports[vmPort], m, &l); v != refused(count.Headroom) {
		t.Errorf("verdict %+v", v)
	}
}
