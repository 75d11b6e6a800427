package packet

// NDSolicit is a neighbor solicitation, ICMPv6 header included (RFC 4861 4.3).
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|     Type      |     Code      |          Checksum             |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                           Reserved                            |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                                                               |
//	+                                                               +
//	|                       Target Address                          |
//	+                                                               +
//	|                                                               |
//	+                                                               +
//	|                                                               |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   Options ...
//	+-+-+-+-+-+-+-+-+-+-+-+-
type NDSolicit []byte

// NDAdvert is a neighbor advertisement, ICMPv6 header included (RFC 4861 4.4):
// drawn as NDSolicit, with flags R, S and O on top of the reserved word.
type NDAdvert []byte

const (
	ndFlags   = 4
	ndTarget  = 8
	ndOptions = 24

	NDLen = 24 // of either, without options

	NDRouter    uint8 = 0x80
	NDSolicited uint8 = 0x40
	NDOverride  uint8 = 0x20

	ndOptSourceLL uint8 = 1
	ndOptTargetLL uint8 = 2
	ndOptLLLen          = 8 // type, length in units of 8 bytes, MAC

	ndHopLimit = 255 // proof that no router forwarded the message
)

func (b NDSolicit) Target() [16]byte { return [16]byte(b[ndTarget : ndTarget+16]) }
func (b NDAdvert) Target() [16]byte  { return [16]byte(b[ndTarget : ndTarget+16]) }

// Flags are NDRouter, NDSolicited and NDOverride.
func (b NDAdvert) Flags() uint8 { return b[ndFlags] }

// ParseNS reads the neighbor solicitation in an IPv6 frame that Parse accepted.
// ok is false for any other message and for one that RFC 4861 7.1.1 says to
// discard (A10).
func ParseNS(frame []byte, l *Layout) (target [16]byte, srcLL MAC, hasLL, ok bool) {
	msg := ndMessage(frame, l, ICMPv6NeighborSolicit)
	if msg == nil {
		return
	}
	target = NDSolicit(msg).Target()
	srcLL, hasLL, ok = linkLayerOption(msg[ndOptions:], ndOptSourceLL)
	if ip := IPv6(frame[l.L3:]); ip.Src() == [16]byte{} { // duplicate address detection
		dst := ip.Dst()
		ok = ok && !hasLL && dst == SolicitedNode(dst)
	}
	return target, srcLL, hasLL, ok
}

// ParseNA reads the neighbor advertisement in an IPv6 frame that Parse
// accepted. ok is false for any other message and for one that RFC 4861 7.1.2
// says to discard.
func ParseNA(frame []byte, l *Layout) (target [16]byte, targetLL MAC, hasLL bool, flags uint8, ok bool) {
	msg := ndMessage(frame, l, ICMPv6NeighborAdvert)
	if msg == nil {
		return
	}
	target = NDAdvert(msg).Target()
	flags = NDAdvert(msg).Flags()
	targetLL, hasLL, ok = linkLayerOption(msg[ndOptions:], ndOptTargetLL)
	if flags&NDSolicited != 0 && IPv6(frame[l.L3:])[ip6Dst] == 0xff {
		ok = false
	}
	return target, targetLL, hasLL, flags, ok
}

// ndMessage returns the ICMPv6 message of type typ in frame if the checks that
// solicitation and advertisement share hold, else nil.
func ndMessage(frame []byte, l *Layout, typ uint8) ICMPv6 {
	if l.EtherType != EtherTypeIPv6 || l.Proto != ProtoICMPv6 || l.L4 == 0 ||
		l.Flags&IsFragment != 0 { // RFC 6980
		return nil
	}
	ip, msg := IPv6(frame[l.L3:]), ICMPv6(frame[l.L4:l.End])
	if ip.HopLimit() != ndHopLimit || ip[ip6Src] == 0xff || len(msg) < NDLen || msg.Type() != typ || msg.Code() != 0 ||
		msg[ndTarget] == 0xff ||
		Checksum(msg, PseudoHeader6(ip.Src(), ip.Dst(), ProtoICMPv6, uint32(len(msg)))) != 0 {
		return nil
	}
	return msg
}

// linkLayerOption finds the first option of type typ. ok is false when options
// are malformed.
func linkLayerOption(options []byte, typ uint8) (mac MAC, found, ok bool) {
	for len(options) > 0 {
		if len(options) < 8 {
			return mac, found, false
		}
		length := int(options[1]) * 8
		if length == 0 || length > len(options) {
			return mac, found, false
		}
		if options[0] == typ && !found {
			mac, found = MAC(options[2:8]), true
		}
		options = options[length:]
	}
	return mac, found, true
}

// NSFrame is a whole neighbor solicitation.
type NSFrame struct {
	DstMAC, SrcMAC MAC    // GroupMAC(Dst) unless it probes a known MAC
	VLAN           uint16 // TCI of an 802.1Q tag; 0 = untagged
	Src, Dst       [16]byte
	Target         [16]byte
}

// NAFrame is a whole neighbor advertisement.
type NAFrame struct {
	DstMAC, SrcMAC MAC
	VLAN           uint16 // TCI of an 802.1Q tag; 0 = untagged
	Src, Dst       [16]byte
	Target         [16]byte
	TargetMAC      MAC
	Flags          uint8 // NDRouter, NDSolicited, NDOverride
}

// Lengths of untagged frames in bytes. A solicitation from the unspecified
// address is 8 bytes shorter.
const (
	ARPFrameLen = EthernetLen + ARPLen
	NDFrameLen  = EthernetLen + IPv6Len + NDLen + ndOptLLLen
)

// AppendNS appends the frame to dst. SrcMAC goes along as the source link-layer
// address unless Src is the unspecified address (duplicate address detection).
func AppendNS(dst []byte, f *NSFrame) []byte {
	dst = appendEthernet(dst, f.DstMAC, f.SrcMAC, f.VLAN, EtherTypeIPv6)
	return appendND(dst, f.Src, f.Dst, ICMPFields{Type: ICMPv6NeighborSolicit}, f.Target,
		ndOptSourceLL, f.SrcMAC, f.Src != [16]byte{})
}

// AppendNA appends the frame to dst.
func AppendNA(dst []byte, f *NAFrame) []byte {
	dst = appendEthernet(dst, f.DstMAC, f.SrcMAC, f.VLAN, EtherTypeIPv6)
	return appendND(dst, f.Src, f.Dst, ICMPFields{Type: ICMPv6NeighborAdvert, Rest: uint32(f.Flags) << 24}, f.Target,
		ndOptTargetLL, f.TargetMAC, true)
}

func appendND(dst []byte, from, to [16]byte, f ICMPFields, target [16]byte, option uint8, ll MAC, withLL bool) []byte {
	var b [IPv6Len + NDLen + ndOptLLLen]byte
	msg := b[IPv6Len:]
	if withLL {
		msg[ndOptions], msg[ndOptions+1] = option, ndOptLLLen/8
		copy(msg[ndOptions+2:], ll[:])
	} else {
		msg = msg[:NDLen]
	}
	copy(msg[ndTarget:], target[:])
	IPv6(b[:]).Encode(IPv6Fields{
		PayloadLen: uint16(len(msg)),
		NextHeader: ProtoICMPv6,
		HopLimit:   ndHopLimit,
		Src:        from,
		Dst:        to,
	})
	ICMPv6(msg).Encode(f, from, to)
	return append(dst, b[:IPv6Len+len(msg)]...)
}
