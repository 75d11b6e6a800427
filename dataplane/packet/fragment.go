package packet

// ip4MaxLen is the longest IPv4 datagram in bytes, whole.
const ip4MaxLen = 1<<16 - 1

// ip4Copied is the bit of an option's type that says that every fragment has
// the option (RFC 791 3.1).
const ip4Copied = 0x80

// Fragments is how many fragments the IPv4 packet in a frame that Parse accepted
// makes when none may be longer than mtu bytes, Ethernet header not counted: 1
// if it fits as it is. It is 0 for a packet that must not be fragmented (DF), for
// an mtu without room for 8 bytes of payload, for a fragment that no datagram can
// have, for a packet of several segments, and for anything but IPv4 (M7).
func Fragments(frame []byte, l *Layout, mtu int) int {
	if l.EtherType != EtherTypeIPv4 || l.Flags&Partial != 0 {
		return 0
	}
	total := int(l.End - l.L3)
	if total <= mtu {
		return 1
	}
	ip := IPv4(frame[l.L3:])
	header := ip.HeaderLen()
	payload, per := total-header, fragmentPayload(header, mtu)
	if ip.DontFragment() || per <= 0 ||
		ip.FragmentOffset()+payload > ip4MaxLen || ip.MoreFragments() && payload%8 != 0 {
		return 0
	}
	return (payload + per - 1) / per
}

// WriteFragment writes fragment i of those that Fragments counts to dst, with the
// Ethernet header and the tags of the frame, and returns its length in bytes; 0
// if dst is too short. dst is no part of frame; with room for l.L3 + mtu bytes it
// has room for any fragment.
//
// What already is a fragment keeps its place in the datagram. Options are in the
// first fragment; in the others too if they say so (RFC 791 3.2).
func WriteFragment(dst, frame []byte, l *Layout, mtu, i int) int {
	l3 := int(l.L3)
	old := IPv4(frame[l3:l.End])
	if len(old) <= mtu {
		if len(dst) < int(l.End) {
			return 0
		}
		return copy(dst, frame[:l.End])
	}
	header := old.HeaderLen()
	per := fragmentPayload(header, mtu)
	payload := old[header:][i*per:]
	last := len(payload) <= per
	payload = payload[:min(per, len(payload))]
	if len(dst) < l3+header+len(payload) {
		return 0
	}
	copy(dst, frame[:l3+IPv4Len])
	ip := IPv4(dst[l3:])
	switch {
	case header == IPv4Len:
	case i == 0:
		copy(ip[IPv4Len:], old[IPv4Len:header])
	default:
		header = IPv4Len + copiedOptions(ip[IPv4Len:header], old[IPv4Len:header])
		ip[ip4VersionIHL] = 0x40 | uint8(header/4)
	}
	// Offsets count in units of 8 bytes, and flags stand above them.
	word := old.Fragment() + uint16(i*per/8)
	if !last {
		word |= IPv4MoreFragments
	}
	ip.SetFragment(word)
	ip.SetTotalLen(uint16(header + len(payload)))
	ip.SetChecksum(0)
	ip.SetChecksum(Checksum(ip[:header], 0))
	return l3 + header + copy(ip[header:], payload)
}

// fragmentPayload is how many bytes of payload all fragments but the last have,
// behind a header of that length: as many in the later ones, whose header may be
// shorter.
func fragmentPayload(header, mtu int) int { return (mtu - header) &^ 7 }

// copiedOptions writes those of options that every fragment has to dst, which is
// as long, and returns their length with padding to whole words. It ends at the
// first option that is malformed.
func copiedOptions(dst, options []byte) int {
	const end, nop = 0, 1
	n := 0
	for len(options) > 0 && options[0] != end {
		length := 1
		if options[0] != nop {
			if len(options) < 2 || options[1] < 2 || int(options[1]) > len(options) {
				break
			}
			length = int(options[1])
		}
		if options[0]&ip4Copied != 0 {
			n += copy(dst[n:], options[:length])
		}
		options = options[length:]
	}
	for n%4 != 0 {
		dst[n] = end
		n++
	}
	return n
}
