package packet

import "net/netip"

// The least MTUs that a path can have, in bytes (M11).
const (
	MinMTU4 = 68
	MinMTU6 = 1280
)

// ParseTooBig reads "fragmentation needed" or "packet too big" in a frame that
// Parse accepted, if it is about an NVGRE packet that its receiver sent: from src
// to dst, size bytes long, where the next hop takes no IP packet longer than mtu bytes
// (M10). mtu is 0 where an old router does not say (RFC 1191 5). ok is false for any
// other message, a damaged one, and an mtu that no path has (M11).
func ParseTooBig(frame []byte, l *Layout) (src, dst netip.Addr, size, mtu int, ok bool) {
	if l.L4 == 0 || l.Flags&IsFragment != 0 {
		return
	}
	msg := frame[l.L4:l.End]
	switch {
	case l.EtherType == EtherTypeIPv4 && l.Proto == ProtoICMP:
		ip, icmp := IPv4(frame[l.L3:]), ICMPv4(msg)
		quote := IPv4(msg[ICMPLen:])
		mtu = int(icmp.MTU())
		if icmp.Type() != ICMPv4Unreachable || icmp.Code() != ICMPv4FragmentationNeeded || mtu != 0 && mtu < MinMTU4 ||
			!VerifyIPv4(ip) || Checksum(msg, 0) != 0 ||
			!isNVGRE(quotedGRE(quote)) || quote.Version() != 4 || quote.SrcU32() != ip.DstU32() {
			return src, dst, 0, 0, false
		}
		return quote.Src(), quote.Dst(), int(quote.TotalLen()), mtu, true
	case l.EtherType == EtherTypeIPv6 && l.Proto == ProtoICMPv6:
		ip, icmp := IPv6(frame[l.L3:]), ICMPv6(msg)
		quote := IPv6(msg[ICMPLen:])
		mtu = int(icmp.MTU())
		if icmp.Type() != ICMPv6PacketTooBig || mtu < MinMTU6 ||
			Checksum(msg, PseudoHeader6(ip.Src(), ip.Dst(), ProtoICMPv6, uint32(len(msg)))) != 0 ||
			!isNVGRE(quotedGRE(quote)) || quote.Version() != 6 || quote.Src() != ip.Dst() {
			return src, dst, 0, 0, false
		}
		return quote.SrcAddr(), quote.DstAddr(), IPv6Len + int(quote.PayloadLen()), mtu, true
	}
	return
}

// quotedGRE is what an ICMP error has of the GRE packet that it quotes from the
// IP header on: nil if the quote is not of one, or of a later fragment.
func quotedGRE(quote []byte) []byte {
	switch {
	case len(quote) >= IPv4Len && IPv4(quote).Version() == 4:
		ip := IPv4(quote)
		if header := ip.HeaderLen(); header >= IPv4Len && header <= len(ip) && ip.Protocol() == ProtoGRE && ip.FragmentOffset() == 0 {
			return ip[header:]
		}
	case len(quote) >= IPv6Len && IPv6(quote).Version() == 6:
		if ip := IPv6(quote); ip.NextHeader() == ProtoGRE { // W1: no extension headers
			return ip[IPv6Len:]
		}
	}
	return nil
}

// isNVGRE says that b begins with the header that W2 prescribes, up to the key.
func isNVGRE(b []byte) bool {
	return len(b) >= NVGRELen && NVGRE(b).Flags() == GREKey && NVGRE(b).Protocol() == EtherTypeTEB
}
