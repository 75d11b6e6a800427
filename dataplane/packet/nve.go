package packet

import "net/netip"

// NVEKind is what one network virtualization endpoint tells another.
type NVEKind uint8

const (
	// NVEUnreachable: a frame came that no policy here is for (N3).
	NVEUnreachable NVEKind = iota + 1
	// NVERedirect: a frame came for a VM that has moved to another PA (N2).
	NVERedirect
)

func (k NVEKind) String() string { return [...]string{"", "unreachable", "redirect"}[k] }

// Type and code of the ICMP messages (N2, N3). Redirect's code is no one else's;
// unreachable's is "administratively prohibited", which firewalls send too.
const (
	nveUnreachableCode4 uint8 = 10
	nveRedirectCode4    uint8 = 10
	nveUnreachableCode6 uint8 = 1
	nveRedirectCode6    uint8 = 1
)

// nveTTL is what Windows gives inner and outer header (N4).
const nveTTL = 128

// NVEFields are the values of an NVE control message: of the frame inside the
// tunnel packet that carries it.
type NVEFields struct {
	Kind           NVEKind
	DstMAC, SrcMAC MAC // of the host that is told, and ours (N5)
	// Src is the PA that received the packet quoted. Dst is the PA that the VM
	// has moved to, or of who is told that it is unreachable (N5). They are of one
	// family.
	Src, Dst netip.Addr
	// Quote is the packet that was received, from its outer IP header or its GRE
	// header on (N6).
	Quote []byte
}

// AppendNVE appends the frame to b, with as much of the quote as makes it no
// longer than room bytes. It appends nothing if its headers do not fit, or Src
// and Dst are not of one family.
func AppendNVE(b []byte, n *NVEFields, room int) []byte {
	start, redirect := len(b), n.Kind == NVERedirect
	switch headers := EthernetLen + IPv4Len + ICMPLen; {
	case n.Src.Is4() && n.Dst.Is4() && room >= headers:
		quote := n.Quote[:min(len(n.Quote), room-headers, ip4MaxLen-IPv4Len-ICMPLen)]
		b = appendEthernet(b, n.DstMAC, n.SrcMAC, 0, EtherTypeIPv4)
		b = append(b, make([]byte, IPv4Len+ICMPLen)...)
		b = append(b, quote...)
		ip := IPv4(b[start+EthernetLen:])
		ip.Encode(IPv4Fields{TotalLen: uint16(len(ip)), Fragment: IPv4DontFragment, TTL: nveTTL, Protocol: ProtoICMP, Src: n.Src.As4(), Dst: n.Dst.As4()})
		f := ICMPFields{Type: ICMPv4Unreachable, Code: nveUnreachableCode4}
		if redirect { // RFC 792 has the new address in the message itself
			f = ICMPFields{Type: ICMPv4Redirect, Code: nveRedirectCode4, Rest: ip.DstU32()}
		}
		ICMPv4(ip[IPv4Len:]).Encode(f)
	case n.Src.Is6() && n.Dst.Is6() && room >= headers+IPv6Len-IPv4Len:
		headers += IPv6Len - IPv4Len
		quote := n.Quote[:min(len(n.Quote), room-headers, ip4MaxLen-ICMPLen)]
		b = appendEthernet(b, n.DstMAC, n.SrcMAC, 0, EtherTypeIPv6)
		b = append(b, make([]byte, IPv6Len+ICMPLen)...)
		b = append(b, quote...)
		ip, src, dst := IPv6(b[start+EthernetLen:]), n.Src.As16(), n.Dst.As16()
		ip.Encode(IPv6Fields{PayloadLen: uint16(len(ip) - IPv6Len), NextHeader: ProtoICMPv6, HopLimit: nveTTL, Src: src, Dst: dst})
		f := ICMPFields{Type: ICMPv6Unreachable, Code: nveUnreachableCode6}
		if redirect {
			f = ICMPFields{Type: ICMPv6Redirect, Code: nveRedirectCode6}
		}
		ICMPv6(ip[IPv6Len:]).Encode(f, src, dst)
	}
	return b
}

// IsNVE says that the inner frame of a tunnel packet, which Parse accepted, has
// the form of an NVE control message: the type, and the quote of an NVGRE packet.
// Tenants' firewalls send the type of unreachable too, and whoever runs NVGRE in
// a VM could quote it: the message is one between hosts only if its source is
// the outer source (N10).
func IsNVE(inner []byte, l *Layout) bool {
	_, gre := nveMessage(inner, l)
	return gre != nil
}

// nveMessage is the kind of a control message and its quote from the GRE header
// on, nil if the frame is none.
func nveMessage(inner []byte, l *Layout) (kind NVEKind, gre []byte) {
	if l.L4 == 0 || l.Tags != 0 || l.Flags&IsFragment != 0 {
		return 0, nil
	}
	switch {
	case l.EtherType == EtherTypeIPv4 && l.Proto == ProtoICMP:
		switch icmp := ICMPv4(inner[l.L4:]); {
		case icmp.Type() == ICMPv4Unreachable && icmp.Code() == nveUnreachableCode4:
			kind = NVEUnreachable
		case icmp.Type() == ICMPv4Redirect && icmp.Code() == nveRedirectCode4:
			kind = NVERedirect
		}
	case l.EtherType == EtherTypeIPv6 && l.Proto == ProtoICMPv6:
		switch icmp := ICMPv6(inner[l.L4:]); {
		case icmp.Type() == ICMPv6Unreachable && icmp.Code() == nveUnreachableCode6:
			kind = NVEUnreachable
		case icmp.Type() == ICMPv6Redirect && icmp.Code() == nveRedirectCode6:
			kind = NVERedirect
		}
	}
	if kind == 0 {
		return 0, nil
	}
	gre = inner[l.L4+ICMPLen : l.End]
	if !isNVGRE(gre) { // 0x20 is the version of no IP header
		gre = quotedGRE(gre)
	}
	if !isNVGRE(gre) {
		return 0, nil
	}
	return kind, gre
}

// NVEMessage is what a control message says.
type NVEMessage struct {
	Kind NVEKind
	Src  netip.Addr // PA of the host that says it
	Dst  netip.Addr // redirect: PA that the VM is at now
	VSID uint32     // of the packet quoted, with MAC and CA that it was for
	MAC  MAC
	CA   netip.Addr
}

// ParseNVE reads the control message in the inner frame of a tunnel packet,
// which Parse accepted. ok is false for any other frame, a damaged message, and
// one whose quote does not reach to the address of the VM. What it says is to be
// believed only if Src is the outer source, VSID that of the tunnel packet (N9),
// and the PA of that CA's record Src (N10).
func ParseNVE(inner []byte, l *Layout) (m NVEMessage, ok bool) {
	kind, gre := nveMessage(inner, l)
	if kind == 0 {
		return m, false
	}
	msg := inner[l.L4:l.End]
	if l.EtherType == EtherTypeIPv4 {
		ip := IPv4(inner[l.L3:])
		if !VerifyIPv4(ip) || Checksum(msg, 0) != 0 {
			return m, false
		}
		m.Src, m.Dst = ip.Src(), ip.Dst()
	} else {
		ip := IPv6(inner[l.L3:])
		if Checksum(msg, PseudoHeader6(ip.Src(), ip.Dst(), ProtoICMPv6, uint32(len(msg)))) != 0 {
			return m, false
		}
		m.Src, m.Dst = ip.SrcAddr(), ip.DstAddr()
	}
	m.Kind, m.VSID = kind, NVGRE(gre).VSID()
	frame := gre[NVGRELen:]
	if len(frame) < EthernetLen {
		return NVEMessage{}, false
	}
	m.MAC = Ethernet(frame).Dst()
	switch b := frame[EthernetLen:]; {
	case Ethernet(frame).EtherType() == EtherTypeIPv4 && len(b) >= IPv4Len && IPv4(b).Version() == 4:
		m.CA = IPv4(b).Dst()
	case Ethernet(frame).EtherType() == EtherTypeIPv6 && len(b) >= IPv6Len && IPv6(b).Version() == 6:
		m.CA = IPv6(b).DstAddr()
	case Ethernet(frame).EtherType() == EtherTypeARP && len(b) >= ARPLen && ARP(b).IsEthernetIPv4():
		m.CA = netip.AddrFrom4(ARP(b).TargetIP()) // asked for by unicast (A8)
	default:
		return NVEMessage{}, false
	}
	return m, true
}
