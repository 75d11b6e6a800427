package packet

import (
	"encoding/binary"
	"math/bits"
)

// Checksum is the Internet checksum (RFC 1071) of b: the value that its
// checksum field, zero while summing, must be given. initial is the sum of what
// else is covered, from PseudoHeader4 or PseudoHeader6. Over data that includes
// a correct checksum the result is 0.
func Checksum(b []byte, initial uint32) uint16 {
	// One's complement sums may be taken in any word size and byte order
	// (RFC 1071 2(B)): add 8 bytes at a time as the machine reads them, swap
	// the bytes of the result once.
	var sum, carry uint64
	for len(b) >= 32 {
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b), 0)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[8:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[16:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[24:]), carry)
		sum += carry // cannot overflow: a sum that carried is below its largest value
		b = b[32:]
	}
	for len(b) >= 8 {
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b), 0)
		sum += carry
		b = b[8:]
	}
	// Now the end of b, and every addend is short.
	sum = sum>>32 + sum&0xffffffff
	if len(b) >= 4 {
		sum += uint64(binary.LittleEndian.Uint32(b))
		b = b[4:]
	}
	if len(b) >= 2 {
		sum += uint64(binary.LittleEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		sum += uint64(b[0]) // padded with a zero byte behind it
	}
	return ^fold(uint64(bits.ReverseBytes16(fold(sum))) + uint64(initial))
}

// fold adds the carries of a one's complement sum back in: to its upper half, the lower
// one with the carry out of it.
func fold(sum uint64) uint16 {
	half := uint32((sum + bits.RotateLeft64(sum, 32)) >> 32)
	return uint16((half + bits.RotateLeft32(half, 16)) >> 16)
}

// PseudoHeader4 is the sum of IPv4's pseudo-header (RFC 768): length is that of
// transport header and payload in bytes.
func PseudoHeader4(src, dst [4]byte, proto uint8, length uint16) uint32 {
	sum := uint64(binary.BigEndian.Uint32(src[:])) + uint64(binary.BigEndian.Uint32(dst[:]))
	return uint32(fold(sum)) + uint32(proto) + uint32(length)
}

// PseudoHeader6 is the sum of IPv6's pseudo-header (RFC 8200 8.1).
func PseudoHeader6(src, dst [16]byte, proto uint8, length uint32) uint32 {
	return uint32(^Checksum(src[:], uint32(^Checksum(dst[:], 0)))) + uint32(proto) + length>>16 + length&0xffff
}

// VerifyIPv4 reports that the header at the front of b, options included, has
// the right checksum. Parse must have accepted it.
func VerifyIPv4(b IPv4) bool {
	return Checksum(b[:b.HeaderLen()], 0) == 0
}

// ChecksumUpdate16 is the checksum sum after one 16-bit word it covers changed
// from old to new (RFC 1624 equation 3). It is not for a checksum of 0 in UDP
// over IPv4, which means none (R10).
func ChecksumUpdate16(sum, old, new uint16) uint16 {
	return ^fold(uint64(^sum) + uint64(^old) + uint64(new))
}
