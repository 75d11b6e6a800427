package packet

// Ports of DHCP (RFC 2131 4.1, RFC 8415 7.2).
const (
	DHCPServerPort   uint16 = 67
	DHCPClientPort   uint16 = 68
	DHCPv6ClientPort uint16 = 546
)

// DHCPClient says that a frame that Parse accepted is a whole DHCPv4 client's
// message to a server or relay (A14).
func DHCPClient(frame []byte, l *Layout) bool {
	if l.Proto != ProtoUDP || l.L4 == 0 || l.EtherType != EtherTypeIPv4 || l.Flags&IsFragment != 0 {
		return false
	}
	udp := UDP(frame[l.L4:])
	return udp.SrcPort() == DHCPClientPort && udp.DstPort() == DHCPServerPort
}

// DHCPServer says that a frame that Parse accepted is a DHCP message to a client,
// of either version: what only a server sends (L31). Clients take it from any
// source port, and so does this; a first fragment counts as the whole would.
func DHCPServer(frame []byte, l *Layout) bool {
	if l.Proto != ProtoUDP || l.L4 == 0 {
		return false
	}
	port := DHCPClientPort
	if l.EtherType == EtherTypeIPv6 {
		port = DHCPv6ClientPort
	}
	return UDP(frame[l.L4:]).DstPort() == port
}

// RouterMessage says that a frame that Parse accepted is what only a router
// sends: a router advertisement or redirect, of IPv6 or IPv4 (L31).
func RouterMessage(frame []byte, l *Layout) bool {
	switch {
	case l.L4 == 0:
		return false
	case l.Proto == ProtoICMPv6 && l.EtherType == EtherTypeIPv6:
		typ := ICMPv6(frame[l.L4:]).Type()
		return typ == ICMPv6RouterAdvert || typ == ICMPv6Redirect
	case l.Proto == ProtoICMP && l.EtherType == EtherTypeIPv4:
		typ := ICMPv4(frame[l.L4:]).Type()
		return typ == ICMPv4Redirect || typ == ICMPv4RouterAdvert
	}
	return false
}
