package packet

import (
	"encoding/binary"
	"math/bits"
)

// Plain4 is the front of a frame of the kind that most are: untagged, of IPv4 without
// options, and no fragment. It is a view like IPv4, of a fixed size, so that nothing is
// checked at each access. Where such a frame is TCP's or UDP's, all that is looked at is
// in it.
type Plain4 [EthernetLen + IPv4Len + tcpChecksum + 2]byte

// End is one past the network packet, from the frame's start, if the frame, of size
// bytes and no more than 65535, is of that kind and as Parse would accept it; else 0.
func (b *Plain4) End(size int) int {
	const (
		plain    = 0x45<<16 | 0x0008 // EtherType, version and header length, as read; then TOS
		fragment = 0xff3f            // IPv4MoreFragments and the offset, as read
		longest  = TCPLen            // of transportLen
	)
	x := binary.LittleEndian.Uint64(b[ethType:])
	end := EthernetLen + int(bits.ReverseBytes16(uint16(x>>32)))
	if uint32(x)<<8 != plain<<8 || binary.LittleEndian.Uint16(b[EthernetLen+ip4Fragment:])&fragment != 0 || end > size ||
		end < EthernetLen+IPv4Len+longest && end < EthernetLen+IPv4Len+int(transportLen[b.Proto()]) {
		return 0
	}
	return end
}

// Fits says whether End is not 0, of a frame whose EtherType is known to be IPv4.
func (b *Plain4) Fits(size uint16) bool {
	const first = 0xff | uint64(IPv4MoreFragments|ip4OffsetMask)>>8<<48 | 0xff<<56 // version and IHL, fragments: the eight bytes as the machine reads them
	length := binary.BigEndian.Uint16(b[EthernetLen+ip4TotalLen:])
	return binary.LittleEndian.Uint64(b[EthernetLen:])&first == 0x45 &&
		int(length) >= IPv4Len+int(transportLen[b.Proto()]) && EthernetLen+int(length) <= int(size)
}

// Link is the source MAC and the EtherType, as MAC.Link has them.
func (b *Plain4) Link() uint64 { return binary.LittleEndian.Uint64(b[ethSrc:]) }

// Link is what a frame from m has from its source address on, if its EtherType is t:
// one word to compare.
func (m MAC) Link(t uint16) uint64 {
	var b [8]byte
	copy(b[:], m[:])
	binary.BigEndian.PutUint16(b[6:], t)
	return binary.LittleEndian.Uint64(b[:])
}

// SYN says whether the packet opens a TCP connection.
func (b *Plain4) SYN() bool {
	return b.Proto() == ProtoTCP && b[EthernetLen+IPv4Len+tcpFlags]&TCPSyn != 0
}

// EtherType is that of an untagged frame.
func (b *Plain4) EtherType() uint16 { return binary.BigEndian.Uint16(b[ethType:]) }

func (b *Plain4) Proto() uint8   { return b[EthernetLen+ip4Protocol] }
func (b *Plain4) TOS() uint8     { return b[EthernetLen+ip4TOS] }
func (b *Plain4) SrcU32() uint32 { return binary.BigEndian.Uint32(b[EthernetLen+ip4Src:]) }
func (b *Plain4) DstU32() uint32 { return binary.BigEndian.Uint32(b[EthernetLen+ip4Dst:]) }

func (b *Plain4) SetDst(m *MAC) { move((*MAC)(b[ethDst:]), m) }
func (b *Plain4) SetSrc(m *MAC) { move((*MAC)(b[ethSrc:]), m) }

// To says whether the destination MAC is m.
func (b *Plain4) To(m *MAC) bool { return b.DstWord() == m.Word()<<16 }

// DstWord is the Word of the destination MAC, 16 bits to the left.
func (b *Plain4) DstWord() uint64 { return binary.LittleEndian.Uint64(b[ethDst:]) << 16 }

// SetMACs sets the destination MAC, of which it takes the Word, and the source MAC.
func (b *Plain4) SetMACs(dst uint64, src *MAC) {
	binary.LittleEndian.PutUint64(b[ethDst:], dst|uint64(binary.LittleEndian.Uint16(src[:]))<<48)
	binary.LittleEndian.PutUint32(b[ethSrc+2:], binary.LittleEndian.Uint32(src[2:]))
}

// Word is a MAC as one word to compare: the first byte is the lowest, the upper two are 0.
func (m *MAC) Word() uint64 {
	return uint64(binary.LittleEndian.Uint32(m[:])) | uint64(binary.LittleEndian.Uint16(m[4:]))<<32
}

// move copies by way of registers, since an assignment would go by way of the stack.
func move(to, from *MAC) {
	lo, hi := binary.LittleEndian.Uint32(from[:]), binary.LittleEndian.Uint16(from[4:])
	binary.LittleEndian.PutUint32(to[:], lo)
	binary.LittleEndian.PutUint16(to[4:], hi)
}

// Verify says that the checksum of the IPv4 header is right.
func (b *Plain4) Verify() bool {
	sum, carry := bits.Add64(binary.LittleEndian.Uint64(b[EthernetLen:]), binary.LittleEndian.Uint64(b[EthernetLen+8:]), 0)
	sum, carry = bits.Add64(sum, uint64(binary.LittleEndian.Uint32(b[EthernetLen+16:])), carry)
	sum, _ = bits.Add64(sum, 0, carry)
	return sum%0xffff == 0 // as 2^16 is 1 then, it is the sum of all words; and it is not 0
}

// Readdress is Readdress4, for TCP and UDP; for all else it reports false and changes
// nothing. addrs are the new source and destination address as Addrs reads them.
func (b *Plain4) Readdress(addrs uint64) bool {
	proto := b.Proto()
	if proto != ProtoTCP && proto != ProtoUDP {
		return false
	}
	delta := Change(b.Addrs(), addrs)
	b.SetAddrs(addrs, delta)
	if proto == ProtoTCP {
		b.MendTCP(delta)
	} else {
		b.MendUDP(delta)
	}
	return true
}

// SetAddrs gives the packet other addresses, as Addrs reads them, and mends the header's
// checksum. delta is Change from what they were.
func (b *Plain4) SetAddrs(addrs uint64, delta uint32) {
	binary.LittleEndian.PutUint64(b[EthernetLen+ip4Src:], addrs)
	sum := (*[2]byte)(b[EthernetLen+ip4Checksum:])
	binary.LittleEndian.PutUint16(sum[:], mended(binary.LittleEndian.Uint16(sum[:]), delta))
}

// MendTCP mends the checksum of a TCP packet whose shortest header is in it, as End sees to.
func (b *Plain4) MendTCP(delta uint32) {
	sum := (*[2]byte)(b[EthernetLen+IPv4Len+tcpChecksum:])
	binary.LittleEndian.PutUint16(sum[:], mended(binary.LittleEndian.Uint16(sum[:]), delta))
}

// MendUDP is MendTCP for UDP, where zero means that there is none: it stays, and none
// becomes it (R10).
func (b *Plain4) MendUDP(delta uint32) {
	sum := (*[2]byte)(b[EthernetLen+IPv4Len+udpChecksum:])
	is := binary.LittleEndian.Uint16(sum[:])
	if is == 0 {
		return
	}
	if is = mended(is, delta); is == 0 {
		is = 0xffff
	}
	binary.LittleEndian.PutUint16(sum[:], is)
}

// Change is what the sum over addresses changes by when others take their place, of
// words as the machine reads them: so are the checksums (RFC 1071 2(B)).
func Change(was, is uint64) uint32 {
	sum, carry := bits.Add64(^was, is, 0)
	sum, _ = bits.Add64(sum, 0, carry)
	half := uint32((sum + bits.RotateLeft64(sum, 32)) >> 32) // both halves, and the carry of their sum
	return (half + bits.RotateLeft32(half, 16)) >> 16
}

// mended is a checksum after what it covers changed by delta, which is below 2^16: one's
// complement subtraction, where what was borrowed is taken off at the other end. That is
// RFC 1624 equation 3, ^(^sum + delta), to the bit.
func mended(sum uint16, delta uint32) uint16 {
	x := uint32(sum) - delta
	return uint16(x + x>>16)
}

// Addrs is the source and destination address, the former in the lower half, each with
// its first byte lowest.
func (b *Plain4) Addrs() uint64 { return binary.LittleEndian.Uint64(b[EthernetLen+ip4Src:]) }

// Layout is what Parse finds, end being what End is.
func (b *Plain4) Layout(end int, l *Layout) {
	// Field by field: a literal would be made on the stack and copied.
	l.EtherType = EtherTypeIPv4
	l.TCI = 0
	l.L3 = EthernetLen
	l.L4 = EthernetLen + IPv4Len
	l.End = uint16(end)
	l.Proto = b.Proto()
	l.Tags = 0
	l.Flags = 0
}

// Ports are what FlowHash takes of the transport header: with Addrs, Hash makes it of
// them.
func (b *Plain4) Ports() uint64 {
	proto := b.Proto()
	if proto != ProtoTCP && proto != ProtoUDP {
		return 0
	}
	return uint64(proto)<<32 | uint64(binary.LittleEndian.Uint32(b[EthernetLen+IPv4Len:]))
}
