package packet

import "encoding/binary"

// sumAt is where, in bytes from the transport header's start, the checksum is that
// covers the addresses as well; 0 where none does (R9).
var sumAt = [256]uint8{
	ProtoTCP:     tcpChecksum,
	ProtoUDP:     udpChecksum,
	ProtoDCCP:    6,
	ProtoICMPv6:  icmpChecksum, // over IPv6 alone
	ProtoUDPLite: udpChecksum,
}

// Readdress4 gives the IPv4 packet in a frame that Parse accepted other addresses, in
// host order, and mends by the difference every checksum that covers them, so that a
// wrong one stays wrong (R8-R10). What an ICMP error quotes gets the same addresses,
// if it is a packet on its way back (R16, R17). It reports false, and changes nothing,
// if the packet is a first fragment that ends before such a checksum (R13).
func Readdress4(frame []byte, l *Layout, src, dst uint32) bool {
	return readdress4(frame, l, src, dst, IPv4(frame[l.L3:]).SrcU32(), src)
}

// ReaddressError4 is Readdress4 for an ICMP error of a router on the way: whom the
// packet that it quotes went to becomes far.
func ReaddressError4(frame []byte, l *Layout, src, dst, far uint32) bool {
	_, was, _ := Quoted4(frame, l)
	return readdress4(frame, l, src, dst, was, far)
}

func readdress4(frame []byte, l *Layout, src, dst, wasFar, far uint32) bool {
	ip := IPv4(frame[l.L3:l.End])
	_ = ip[IPv4Len-1]
	wasDst := ip.DstU32()
	delta := uint64(^ip.SrcU32()) + uint64(^wasDst) + uint64(src) + uint64(dst)
	switch at := int(sumAt[l.Proto]); {
	case l.L4 == 0 || l.Proto == ProtoICMPv6:
	case at != 0:
		if at += int(l.L4); at+2 > int(l.End) {
			return false
		}
		mend(frame[at:], l.Proto, delta)
	case l.Proto == ProtoICMP:
		requote4(frame, l, wasDst, wasFar, dst, far)
	}
	ip.SetChecksum(^fold(uint64(^ip.Checksum()) + delta))
	binary.BigEndian.PutUint32(ip[ip4Src:], src)
	binary.BigEndian.PutUint32(ip[ip4Dst:], dst)
	return true
}

// mend changes the checksum at the front of b by delta (RFC 1624 equation 3). In UDP
// and UDP-Lite, zero means that there is none: it stays, and none becomes it (R10).
func mend(b []byte, proto uint8, delta uint64) {
	sum := binary.BigEndian.Uint16(b)
	if proto != ProtoUDP && proto != ProtoUDPLite {
		binary.BigEndian.PutUint16(b, ^fold(uint64(^sum)+delta))
		return
	}
	if sum == 0 {
		return
	}
	if sum = ^fold(uint64(^sum) + delta); sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(b, sum)
}

// Quoted4 reads the addresses of the packet that an ICMP error quotes, in host order.
// ok is false for anything else, and for a quote without a whole IP header.
func Quoted4(frame []byte, l *Layout) (src, dst uint32, ok bool) {
	q := quoted4(frame, l)
	if q == nil {
		return 0, 0, false
	}
	return q.SrcU32(), q.DstU32(), true
}

// errors4 are the ICMPv4 messages that quote a packet, by type: unreachable, source
// quench, redirect, time exceeded, parameter problem.
const errors4 = 1<<3 | 1<<4 | 1<<5 | 1<<11 | 1<<12

// quoted4 is the packet that an ICMP error quotes, its header whole and as much as
// there is of what follows; nil for anything else.
func quoted4(frame []byte, l *Layout) IPv4 {
	if l.Proto != ProtoICMP || l.EtherType != EtherTypeIPv4 || l.L4 == 0 {
		return nil
	}
	msg := ICMPv4(frame[l.L4:l.End])
	if errors4>>msg.Type()&1 == 0 {
		return nil
	}
	q := IPv4(msg[ICMPLen:])
	if n := int(msg[5]) * 4; n != 0 && n < len(q) && msg.Type() != 5 { // of a redirect, that is its gateway
		q = q[:n] // extensions follow (RFC 4884 4)
	}
	if len(q) < IPv4Len || q.Version() != 4 || q.HeaderLen() < IPv4Len || q.HeaderLen() > len(q) {
		return nil
	}
	return q
}

// requote4 gives the packet from src to dst that an ICMP error quotes other addresses.
// Their change and that of the quoted header's checksum cancel out, so that the ICMP
// checksum changes with the quoted transport's alone (R17).
func requote4(frame []byte, l *Layout, wasSrc, wasDst, src, dst uint32) {
	q := quoted4(frame, l)
	if q == nil || q.SrcU32() != wasSrc || q.DstU32() != wasDst {
		return
	}
	delta := uint64(^wasSrc) + uint64(^wasDst) + uint64(src) + uint64(dst)
	q.SetChecksum(^fold(uint64(^q.Checksum()) + delta))
	binary.BigEndian.PutUint32(q[ip4Src:], src)
	binary.BigEndian.PutUint32(q[ip4Dst:], dst)
	proto := q.Protocol()
	at := int(sumAt[proto])
	if at == 0 || proto == ProtoICMPv6 || q.FragmentOffset() != 0 {
		return
	}
	if at += q.HeaderLen(); at+2 <= len(q) {
		was := binary.BigEndian.Uint16(q[at:])
		mend(q[at:], proto, delta)
		msg := ICMPv4(frame[l.L4:])
		msg.SetChecksum(ChecksumUpdate16(msg.Checksum(), was, binary.BigEndian.Uint16(q[at:])))
	}
}

// Readdress6 is Readdress4 for IPv6.
func Readdress6(frame []byte, l *Layout, src, dst *[16]byte) bool {
	was := (*[16]byte)(frame[l.L3+ip6Src:])
	return readdress6(frame, l, src, dst, was, src)
}

// ReaddressError6 is ReaddressError4 for IPv6.
func ReaddressError6(frame []byte, l *Layout, src, dst, far *[16]byte) bool {
	_, was, _ := Quoted6(frame, l)
	return readdress6(frame, l, src, dst, &was, far)
}

func readdress6(frame []byte, l *Layout, src, dst, wasFar, far *[16]byte) bool {
	ip := IPv6(frame[l.L3:l.End])
	atSrc, atDst := (*[16]byte)(ip[ip6Src:]), (*[16]byte)(ip[ip6Dst:])
	if at := int(sumAt[l.Proto]); at != 0 && l.L4 != 0 {
		if at += int(l.L4); at+2 > int(l.End) {
			return false
		}
		delta := difference(atSrc, src)
		if l.L4 == l.L3+IPv6Len || !routed(ip) {
			delta += difference(atDst, dst)
		}
		if l.Proto == ProtoICMPv6 {
			delta += requote6(frame, l, atDst, wasFar, dst, far)
		}
		mend(frame[at:], l.Proto, delta)
	}
	*atSrc, *atDst = *src, *dst
	return true
}

// difference is what the sum over an address changes by.
func difference(was, now *[16]byte) (delta uint64) {
	for i := 0; i < 16; i += 4 {
		delta += uint64(^binary.BigEndian.Uint32(was[i:])) + uint64(binary.BigEndian.Uint32(now[i:]))
	}
	return delta
}

// Quoted6 is Quoted4 for IPv6.
func Quoted6(frame []byte, l *Layout) (src, dst [16]byte, ok bool) {
	q := quoted6(frame, l)
	if q == nil {
		return src, dst, false
	}
	return q.Src(), q.Dst(), true
}

// quoted6 is quoted4 for IPv6. All types of errors quote in the same place.
func quoted6(frame []byte, l *Layout) IPv6 {
	if l.Proto != ProtoICMPv6 || l.EtherType != EtherTypeIPv6 || l.L4 == 0 {
		return nil
	}
	msg := ICMPv6(frame[l.L4:l.End])
	typ := msg.Type()
	if typ >= ICMPv6EchoRequest {
		return nil
	}
	q := IPv6(msg[ICMPLen:])
	if n := int(msg[4]) * 8; n != 0 && n < len(q) && (typ == ICMPv6Unreachable || typ == ICMPv6TimeExceeded) {
		q = q[:n] // extensions follow (RFC 4884 4)
	}
	if len(q) < IPv6Len || q.Version() != 6 {
		return nil
	}
	return q
}

// requote6 is requote4 for IPv6, and returns what the sum over the quote changes by.
func requote6(frame []byte, l *Layout, wasSrc, wasDst, src, dst *[16]byte) (delta uint64) {
	q := quoted6(frame, l)
	if q == nil {
		return 0
	}
	atSrc, atDst := (*[16]byte)(q[ip6Src:]), (*[16]byte)(q[ip6Dst:])
	if *atSrc != *wasSrc || *atDst != *wasDst {
		return 0
	}
	dSrc, dDst := difference(atSrc, src), difference(atDst, dst)
	delta = dSrc + dDst
	*atSrc, *atDst = *src, *dst
	proto, header, elsewhere := upper6(q)
	at := int(sumAt[proto])
	if at += header; at == header || header == 0 || at+2 > len(q) {
		return delta
	}
	was := binary.BigEndian.Uint16(q[at:])
	if elsewhere {
		dDst = 0
	}
	mend(q[at:], proto, dSrc+dDst)
	return delta + uint64(^was) + uint64(binary.BigEndian.Uint16(q[at:]))
}

// routed says whether an IPv6 packet is to go on from its destination: what its
// transport's checksum covers is then the last of its destinations, in a routing
// header (RFC 8200 8.1).
func routed(ip IPv6) bool {
	_, _, elsewhere := upper6(ip)
	return elsewhere
}

// upper6 finds what is behind the extension headers of an IPv6 packet that may be cut
// off: its protocol, where it begins, in bytes, 0 if that is not to be had, and
// whether the transport's checksum covers another destination than the header's.
func upper6(ip IPv6) (proto uint8, at int, elsewhere bool) {
	proto, at = ip.NextHeader(), IPv6Len
	for range maxExtensions + 1 {
		switch proto {
		case ProtoHopByHop, ProtoRouting, ProtoFragment, ProtoDestination:
		default:
			return proto, at, elsewhere
		}
		if len(ip) < at+8 {
			return proto, 0, elsewhere
		}
		ext, length := ip[at:], 8+int(ip[at+1])*8
		switch proto {
		case ProtoRouting:
			elsewhere = elsewhere || ext[3] != 0 // segments left
		case ProtoFragment:
			if length = IPv6FragmentLen; IPv6Fragment(ext).Offset() != 0 {
				return ext[0], 0, elsewhere
			}
		}
		proto, at = ext[0], at+length
	}
	return proto, 0, elsewhere
}
