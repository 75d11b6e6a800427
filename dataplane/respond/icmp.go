package respond

import (
	"encoding/binary"
	"net/netip"

	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
)

// hopLimit is the TTL or hop limit of what the router says itself. 64 is what
// IANA recommends and Linux routers use; whom it speaks to is on link, or as far
// behind a gateway as any other host.
const hopLimit = 64

// The largest ICMP errors, IP header included: what every host must be able to
// reassemble (RFC 1812 4.3.2.3) and the least MTU of IPv6 (RFC 4443 2.4 c).
const (
	maxError4 = 576
	maxError6 = packet.MinMTU6
)

// tosError is the precedence of a router's ICMP errors: internetwork control
// (RFC 1812 4.3.2.5).
const tosError = 0xc0

// TooBig turns a frame whose IP packet is larger than mtu into the ICMP error
// that says so: "fragmentation needed" for IPv4 with DF, "packet too big" for
// IPv6 (M6). It comes from the router (mac, ca) and quotes what fits (M8). It
// reports false, and leaves the frame alone, if no error may be sent for it (M9)
// or there is no room for one.
func TooBig(m *mbuf.Mbuf, l *packet.Layout, mac packet.MAC, ca netip.Addr, mtu int) bool {
	if l.EtherType == packet.EtherTypeIPv4 && !packet.IPv4(m.Data()[l.L3:]).DontFragment() {
		return false // such a packet is fragmented (M7)
	}
	return icmpError(m, l, mac, ca,
		packet.ICMPFields{Type: packet.ICMPv4Unreachable, Code: packet.ICMPv4FragmentationNeeded, Rest: uint32(min(max(mtu, packet.MinMTU4), 0xffff))},
		packet.ICMPFields{Type: packet.ICMPv6PacketTooBig, Rest: uint32(max(mtu, packet.MinMTU6))})
}

// TimeExceeded is TooBig for a packet whose TTL or hop limit does not let it
// pass the router (L14).
func TimeExceeded(m *mbuf.Mbuf, l *packet.Layout, mac packet.MAC, ca netip.Addr) bool {
	return icmpError(m, l, mac, ca,
		packet.ICMPFields{Type: packet.ICMPv4TimeExceeded},
		packet.ICMPFields{Type: packet.ICMPv6TimeExceeded})
}

// icmpError turns a frame into the error for it, one of f4 and f6. The packet
// becomes the quote where it lies: headers go in front of it.
func icmpError(m *mbuf.Mbuf, l *packet.Layout, mac packet.MAC, ca netip.Addr, f4, f6 packet.ICMPFields) bool {
	if m.Segments() != 1 || !mayComplain(m.Data(), l) {
		return false
	}
	l3, quote, headers := int(l.L3), int(l.End-l.L3), 0
	switch {
	case l.EtherType == packet.EtherTypeIPv4 && ca.Is4():
		headers = packet.IPv4Len + packet.ICMPLen
		quote = min(quote, maxError4-headers)
	case l.EtherType == packet.EtherTypeIPv6 && ca.Is6() && !ca.Is4In6():
		headers = packet.IPv6Len + packet.ICMPLen
		quote = min(quote, maxError6-headers)
	default:
		return false
	}
	if m.Headroom() < headers {
		return false
	}
	m.Trim(m.Len() - l3 - quote)
	b := m.Prepend(headers)
	copy(b, b[headers:headers+l3]) // MACs, tags and EtherType
	eth := packet.Ethernet(b)
	eth.SetDst(eth.Src())
	eth.SetSrc(mac)
	if l.EtherType == packet.EtherTypeIPv4 {
		ip, old := packet.IPv4(b[l3:]), packet.IPv4(b[l3+headers:])
		ip.Encode(packet.IPv4Fields{
			TOS:      tosError,
			TotalLen: uint16(headers + quote),
			ID:       old.ID(), // no less unique than one of our own
			TTL:      hopLimit,
			Protocol: packet.ProtoICMP,
			Src:      ca.As4(),
			Dst:      old.Src4(),
		})
		packet.ICMPv4(ip[packet.IPv4Len:]).Encode(f4)
		return true
	}
	ip, to, from := packet.IPv6(b[l3:]), packet.IPv6(b[l3+headers:]).Src(), ca.As16()
	ip.Encode(packet.IPv6Fields{
		PayloadLen: uint16(packet.ICMPLen + quote),
		NextHeader: packet.ProtoICMPv6,
		HopLimit:   hopLimit,
		Src:        from,
		Dst:        to,
	})
	packet.ICMPv6(ip[packet.IPv6Len:]).Encode(f6, from, to)
	return true
}

// queries are the ICMPv4 messages that are no errors, by type: echo, router
// discovery, timestamp, information and address mask. Others, unknown ones too,
// get no error.
const queries = 1<<0 | 1<<8 | 1<<9 | 1<<10 | 1<<13 | 1<<14 | 1<<15 | 1<<16 | 1<<17 | 1<<18

// mayComplain says whether an ICMP error may answer a frame (M9, RFC 1122 3.2.2,
// RFC 4443 2.4 e).
func mayComplain(frame []byte, l *packet.Layout) bool {
	if !betweenHosts(frame, l) || l.Flags&packet.LaterFragment != 0 {
		return false
	}
	if l.L4 == 0 {
		return true
	}
	switch {
	case l.EtherType == packet.EtherTypeIPv4 && l.Proto == packet.ProtoICMP:
		typ := packet.ICMPv4(frame[l.L4:]).Type()
		return typ < 32 && queries>>typ&1 != 0
	case l.EtherType == packet.EtherTypeIPv6 && l.Proto == packet.ProtoICMPv6:
		typ := packet.ICMPv6(frame[l.L4:]).Type()
		return typ >= packet.ICMPv6EchoRequest && typ != packet.ICMPv6Redirect
	}
	return true
}

// betweenHosts says that an IP packet is for one host, and from one that can be
// answered.
func betweenHosts(frame []byte, l *packet.Layout) bool {
	if eth := packet.Ethernet(frame); eth.Dst().IsMulticast() || eth.Src().IsMulticast() {
		return false
	}
	switch l.EtherType {
	case packet.EtherTypeIPv4:
		ip := packet.IPv4(frame[l.L3:])
		src, dst := ip.SrcU32()>>24, ip.DstU32()
		// No host has an address of 0/8, 127/8 or above 223 (RFC 1122 3.2.1.3).
		return src != 0 && src != 127 && src < 224 && dst != 0 && dst>>28 != 14 && dst != 0xffffffff
	case packet.EtherTypeIPv6:
		ip := packet.IPv6(frame[l.L3:])
		src, dst := ip.Src(), ip.Dst()
		unspecified := binary.BigEndian.Uint64(src[:8]) == 0 && binary.BigEndian.Uint64(src[8:]) <= 1 // or loopback
		return !unspecified && src[0] != 0xff && dst[0] != 0xff
	}
	return false
}

// Echo turns an echo request into its reply, of IPv4 or IPv6, tagged or not:
// whoever calls it owns the destination. It reports false, and leaves the frame
// alone, for anything else: a fragment, a request to a group, and one with IP
// options or extension headers, which could ask for a way back of their own.
func Echo(m *mbuf.Mbuf, l *packet.Layout) bool {
	frame := m.Data()
	if l.L4 == 0 || l.Flags&packet.IsFragment != 0 || m.Segments() != 1 || !betweenHosts(frame, l) {
		return false
	}
	switch {
	case l.EtherType == packet.EtherTypeIPv4 && l.Proto == packet.ProtoICMP:
		ip, msg := packet.IPv4(frame[l.L3:]), packet.ICMPv4(frame[l.L4:])
		if ip.HeaderLen() != packet.IPv4Len || msg.Type() != packet.ICMPv4EchoRequest || msg.Code() != 0 {
			return false
		}
		// Swapped addresses sum up as before. Checksums are updated, not made
		// anew: a wrong one stays wrong, for the sender to see.
		src := ip.Src4()
		ip.SetSrc4(ip.Dst4())
		ip.SetDst4(src)
		was := uint16(ip.TTL()) << 8
		ip.SetTTL(hopLimit)
		ip.SetChecksum(packet.ChecksumUpdate16(ip.Checksum(), was, hopLimit<<8))
		msg.SetType(packet.ICMPv4EchoReply)
		msg.SetChecksum(packet.ChecksumUpdate16(msg.Checksum(), uint16(packet.ICMPv4EchoRequest)<<8, uint16(packet.ICMPv4EchoReply)<<8))
	case l.EtherType == packet.EtherTypeIPv6 && l.Proto == packet.ProtoICMPv6:
		ip, msg := packet.IPv6(frame[l.L3:]), packet.ICMPv6(frame[l.L4:])
		if l.L4 != l.L3+packet.IPv6Len || msg.Type() != packet.ICMPv6EchoRequest || msg.Code() != 0 {
			return false
		}
		src := ip.Src()
		ip.SetSrc(ip.Dst())
		ip.SetDst(src)
		ip.SetHopLimit(hopLimit)
		msg.SetType(packet.ICMPv6EchoReply)
		msg.SetChecksum(packet.ChecksumUpdate16(msg.Checksum(), uint16(packet.ICMPv6EchoRequest)<<8, uint16(packet.ICMPv6EchoReply)<<8))
	default:
		return false
	}
	eth := packet.Ethernet(frame)
	src := eth.Src()
	eth.SetSrc(eth.Dst())
	eth.SetDst(src)
	return true
}
