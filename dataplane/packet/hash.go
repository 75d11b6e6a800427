package packet

import (
	"encoding/binary"
	"math/bits"
)

// Odd constants with as many ones as zeros, from the digits of pi.
const (
	hashKey0 = 0x243f6a8885a308d3
	hashKey1 = 0x13198a2e03707344
	hashKey2 = 0xa4093822299f31d0
	hashKey3 = 0x082efa98ec4e6c89
)

// FlowHash spreads flows over all 32 bits. It takes addresses, protocol and
// ports of a TCP or UDP packet; addresses alone of any other and of every
// fragment, because later fragments have no ports (W5). Anything but IP hashes
// to 0. Parse must have accepted the frame.
func FlowHash(frame []byte, l *Layout) uint32 {
	var ports uint64
	if (l.Proto == ProtoTCP || l.Proto == ProtoUDP) && l.Flags&IsFragment == 0 {
		ports = uint64(l.Proto)<<32 | uint64(binary.LittleEndian.Uint32(frame[l.L4:]))
	}
	switch l.EtherType {
	case EtherTypeIPv4:
		return Hash(binary.LittleEndian.Uint64(frame[l.L3+ip4Src:]), ports)
	case EtherTypeIPv6:
		a := (*[32]byte)(frame[l.L3+ip6Src:])
		return Hash(addrs6((*[16]byte)(a[:]), (*[16]byte)(a[16:])), ports)
	}
	return 0
}

// addrs6 folds two IPv6 addresses, for Hash.
func addrs6(src, dst *[16]byte) uint64 {
	s := mix(binary.LittleEndian.Uint64(src[:8])^hashKey0, binary.LittleEndian.Uint64(src[8:])^hashKey1)
	d := mix(binary.LittleEndian.Uint64(dst[:8])^hashKey2, binary.LittleEndian.Uint64(dst[8:])^hashKey3)
	return s ^ bits.RotateLeft64(d, 32)
}

// Hash is the end of FlowHash.
func Hash(addrs, ports uint64) uint32 {
	return uint32(mix(addrs^hashKey0, ports^hashKey1) * hashKey2 >> 32) // where all bits have come together
}

// mix folds a 128-bit product: every input bit reaches every output bit.
func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// FlowID is what of a hash goes into NVGRE's 8 bits (W5): the best mixed.
func FlowID(hash uint32) uint8 { return uint8(hash >> 24) }
