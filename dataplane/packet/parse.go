// Package packet reads and writes headers: views over the bytes of a frame,
// Parse, which finds where they lie, checksums, the flow hash, and the ARP and
// neighbor discovery messages that more than one part of paca sends.
//
// A view such as IPv4 is the bytes from the start of its header on; it checks
// nothing. Parse checks once, at the door; behind it, views index freely.
//
// Floor 1, and the lowest of it: it imports nothing of paca, keeps no state,
// knows no policy, and allocates nothing.
package packet

import "encoding/binary"

// Layout is where the headers of one frame lie.
type Layout struct {
	EtherType uint16 // of the payload, behind any tags
	TCI       uint16 // of the outer tag; 0 if untagged
	L3        uint16 // network header, from the frame's start
	L4        uint16 // transport header, behind options and extension headers; 0 if there is none to reach
	End       uint16 // one past the network packet, or of what there is of it; padding may follow
	Proto     uint8  // IP protocol of L4; for IPv6 the last next-header
	Tags      uint8  // VLAN tags found
	Flags     LayoutFlags
}

// LayoutFlags are facts that Parse learns on its way.
type LayoutFlags uint8

const (
	// IsFragment is set for every fragment, the first too, and for any IPv6
	// packet with a fragment header, even one that is whole (RFC 6946).
	IsFragment LayoutFlags = 1 << iota
	// LaterFragment is set when the fragment offset is not zero: no transport
	// header, L4 is 0.
	LaterFragment
	// Partial is set when the packet goes on behind End, in further segments.
	Partial
)

// Fault says what is wrong with a frame. Values are those of the reasons of the
// same names in dataplane/count.
type Fault uint8

const (
	OK            Fault = iota
	Runt                // shorter than the headers it claims to have
	IPVersion           // version field contradicts the EtherType
	IPHeader            // IPv4 header length below 20 bytes or beyond the frame
	IPLength            // IP length beyond the frame or below the header
	IPv6Extension       // extension headers malformed or more than maxExtensions
	VLANTags            // more than two VLAN tags
	MultiSegment        // headers reach beyond the first of several segments
)

func (f Fault) String() string {
	return [...]string{"ok", "runt", "IP version", "IP header length", "IP length", "IPv6 extension header", "VLAN tags", "segments"}[f]
}

// maxFrame is what the offsets of a Layout can tell.
const maxFrame = 1<<16 - 1

// maxExtensions is how many IPv6 extension headers are followed: RFC 8200 4.1
// lets five precede the transport header, and one of them twice.
const maxExtensions = 6

// transportLen is the shortest header of each IP protocol in bytes.
var transportLen = [256]uint8{
	ProtoICMP:   ICMPLen,
	ProtoTCP:    TCPLen,
	ProtoUDP:    UDPLen,
	ProtoGRE:    GRELen,
	ProtoICMPv6: ICMPLen,
}

// Parse finds the headers of frame. After OK the network header lies whole
// inside the frame and End inside it too; so does, when L4 is not 0, the
// shortest form of the transport header of ICMP, TCP, UDP, GRE and ICMPv6. ARP
// has its 28 bytes. Any other EtherType is OK, with End at the frame's end.
// After a fault l holds what was found so far; its offsets lie inside the frame.
func Parse(frame []byte, l *Layout) Fault {
	if len(frame) >= len(Plain4{}) && len(frame) <= maxFrame {
		b := (*Plain4)(frame)
		if end := b.End(len(frame)); end != 0 {
			b.Layout(end, l)
			return OK
		}
	}
	return parse(frame, len(frame), l)
}

// ParseHead is Parse for a frame of size bytes of which only the first segment, head,
// can be seen. After OK all that Parse promises lies inside head, and so does End;
// Partial says that the packet is longer.
func ParseHead(head []byte, size int, l *Layout) Fault {
	if size == len(head) {
		return Parse(head, l)
	}
	return parse(head, size, l)
}

func parse(frame []byte, size int, l *Layout) Fault {
	*l = Layout{}
	if len(frame) > maxFrame {
		frame, size = frame[:maxFrame], maxFrame
	}
	if len(frame) < EthernetLen {
		return missing(EthernetLen, size, Runt)
	}
	l.EtherType = Ethernet(frame).EtherType()
	l3 := EthernetLen
	for l.EtherType == EtherTypeVLAN || l.EtherType == EtherTypeQinQ || l.EtherType == EtherTypeQinQOld {
		if l.Tags == 2 {
			return VLANTags
		}
		if len(frame) < l3+VLANLen {
			return missing(l3+VLANLen, size, Runt)
		}
		if l.Tags == 0 {
			l.TCI = VLAN(frame[ethType:]).TCI()
		}
		l.Tags++
		l3 += VLANLen
		l.EtherType = binary.BigEndian.Uint16(frame[l3-2:])
	}
	l.L3 = uint16(l3)
	switch l.EtherType {
	case EtherTypeIPv4:
		return parseIPv4(frame, size, l)
	case EtherTypeIPv6:
		return parseIPv6(frame, size, l)
	case EtherTypeARP:
		if len(frame) < l3+ARPLen {
			return missing(l3+ARPLen, size, Runt)
		}
		l.End = uint16(l3 + ARPLen)
		return OK
	}
	l.ends(frame, size)
	return OK
}

// ends records the end of the network packet, or of what can be seen of it.
func (l *Layout) ends(frame []byte, end int) {
	if end > len(frame) {
		l.Flags |= Partial
		end = len(frame)
	}
	l.End = uint16(end)
}

func parseIPv4(frame []byte, size int, l *Layout) Fault {
	ip := IPv4(frame[l.L3:])
	if len(ip) < IPv4Len {
		return missing(int(l.L3)+IPv4Len, size, Runt)
	}
	if ip.Version() != 4 {
		return IPVersion
	}
	header, total := ip.HeaderLen(), int(ip.TotalLen())
	if header < IPv4Len || int(l.L3)+header > size {
		return IPHeader
	}
	if header > len(ip) {
		return MultiSegment
	}
	end := int(l.L3) + total
	if total < header || end > size {
		return IPLength
	}
	l.ends(frame, end)
	l.Proto = ip.Protocol()
	if ip.MoreFragments() {
		l.Flags |= IsFragment
	}
	if ip.FragmentOffset() != 0 {
		l.Flags |= IsFragment | LaterFragment
		return OK
	}
	return l.transport(int(l.L3)+header, end)
}

func parseIPv6(frame []byte, size int, l *Layout) Fault {
	ip := IPv6(frame[l.L3:])
	if len(ip) < IPv6Len {
		return missing(int(l.L3)+IPv6Len, size, Runt)
	}
	if ip.Version() != 6 {
		return IPVersion
	}
	end := int(l.L3) + IPv6Len + int(ip.PayloadLen())
	if end > size {
		return IPLength
	}
	l.ends(frame, end)
	l.Proto = ip.NextHeader()
	at := int(l.L3) + IPv6Len
	for n := 0; ; n++ {
		// AH and ESP are transports here: what is behind them is not looked at (R9).
		switch l.Proto {
		case ProtoHopByHop, ProtoRouting, ProtoFragment, ProtoDestination:
		case ProtoNone:
			return OK
		default:
			return l.transport(at, end)
		}
		if n == maxExtensions || l.Proto == ProtoHopByHop && n > 0 {
			return IPv6Extension
		}
		ext := frame[at:l.End]
		if len(ext) < 8 {
			return missing(at+8, end, IPv6Extension)
		}
		length := 8 + int(ext[1])*8
		if l.Proto == ProtoFragment {
			l.Flags |= IsFragment
			length = IPv6FragmentLen
		} else if length > len(ext) {
			return missing(at+length, end, IPv6Extension)
		}
		later := l.Proto == ProtoFragment && IPv6Fragment(ext).Offset() != 0
		l.Proto = ext[0]
		if later {
			l.Flags |= LaterFragment
			return OK
		}
		at += length
	}
}

// transport records the transport header at offset at of a packet that ends at end,
// if it is whole.
func (l *Layout) transport(at, end int) Fault {
	if need := at + int(transportLen[l.Proto]); need > int(l.End) {
		return missing(need, end, Runt)
	}
	l.L4 = uint16(at)
	return OK
}

// TOS is the byte of DSCP and ECN of a frame that Parse accepted, 0 of what is no IP.
func TOS(frame []byte, l *Layout) uint8 {
	switch l.EtherType {
	case EtherTypeIPv4:
		return IPv4(frame[l.L3:]).TOS()
	case EtherTypeIPv6:
		return IPv6(frame[l.L3:]).TrafficClass()
	}
	return 0
}

// missing is the fault of a packet that ends at end, a header of which reaches to
// need, beyond what can be seen.
func missing(need, end int, otherwise Fault) Fault {
	if need <= end {
		return MultiSegment
	}
	return otherwise
}
