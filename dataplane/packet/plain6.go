package packet

import (
	"encoding/binary"
	"math/bits"
)

// Plain6 is Plain4 for IPv6: the front of an untagged frame of TCP, UDP or GRE right
// behind the IPv6 header. ICMPv6 is not of that kind, since neighbor discovery is looked
// into and answered.
type Plain6 [plain6 + tcpChecksum + 2]byte

const plain6 = EthernetLen + IPv6Len // where the transport header of a Plain6 begins

// End is one past the network packet, from the frame's start, if the frame, of size
// bytes in one buffer and EtherType IPv6, is of that kind and as Parse would accept it;
// else 0.
func (b *Plain6) End(size int) int {
	x := binary.BigEndian.Uint64(b[EthernetLen:])
	end := plain6 + int(x>>16&0xffff)
	switch proto := uint8(x >> 8); {
	case x>>60 != 6 || end > size:
		return 0
	case proto == ProtoUDP:
		if end < plain6+UDPLen {
			return 0
		}
	case proto == ProtoTCP:
		if end < plain6+TCPLen {
			return 0
		}
	case proto != ProtoGRE || end < plain6+GRELen:
		return 0
	}
	return end
}

// What is the same in all untagged frames.

func (b *Plain6) EtherType() uint16 { return (*Plain4)(b[:]).EtherType() }
func (b *Plain6) Link() uint64      { return (*Plain4)(b[:]).Link() }
func (b *Plain6) To(m *MAC) bool    { return (*Plain4)(b[:]).To(m) }
func (b *Plain6) SetDst(m *MAC)     { (*Plain4)(b[:]).SetDst(m) }
func (b *Plain6) SetSrc(m *MAC)     { (*Plain4)(b[:]).SetSrc(m) }

// SYN says whether the packet opens a TCP connection.
func (b *Plain6) SYN() bool { return b.Proto() == ProtoTCP && b[plain6+tcpFlags]&TCPSyn != 0 }

func (b *Plain6) Proto() uint8 { return b[EthernetLen+ip6NextHeader] }

// TOS is the traffic class: DSCP and ECN.
func (b *Plain6) TOS() uint8 { return uint8(binary.BigEndian.Uint16(b[EthernetLen:]) >> 4) }

// SrcIP and DstIP are the addresses where they lie in the packet.
func (b *Plain6) SrcIP() *[16]byte { return (*[16]byte)(b[EthernetLen+ip6Src:]) }
func (b *Plain6) DstIP() *[16]byte { return (*[16]byte)(b[EthernetLen+ip6Dst:]) }

// Layout is what Parse finds, end being what End is.
func (b *Plain6) Layout(end int, l *Layout) {
	// Field by field: a literal would be made on the stack and copied.
	l.EtherType = EtherTypeIPv6
	l.TCI = 0
	l.L3 = EthernetLen
	l.L4 = plain6
	l.End = uint16(end)
	l.Proto = b.Proto()
	l.Tags = 0
	l.Flags = 0
}

// Hash is FlowHash.
func (b *Plain6) Hash() uint32 {
	var ports uint64
	if proto := b.Proto(); proto == ProtoTCP || proto == ProtoUDP {
		ports = uint64(proto)<<32 | uint64(binary.LittleEndian.Uint32(b[plain6:]))
	}
	return Hash(addrs6(b.SrcIP(), b.DstIP()), ports)
}

// Readdress is Readdress6, for TCP, and UDP with a checksum; for all else it reports
// false and changes nothing.
func (b *Plain6) Readdress(src, dst *[16]byte) bool {
	udp := b.Proto() == ProtoUDP
	at := b[plain6+udpChecksum:][:2]
	if !udp {
		if b.Proto() != ProtoTCP {
			return false
		}
		at = b[plain6+tcpChecksum:][:2]
	}
	sum := binary.LittleEndian.Uint16(at)
	if udp && sum == 0 {
		return false // R10
	}
	s0, s1 := binary.LittleEndian.Uint64(src[:8]), binary.LittleEndian.Uint64(src[8:])
	d0, d1 := binary.LittleEndian.Uint64(dst[:8]), binary.LittleEndian.Uint64(dst[8:])
	was := b[EthernetLen+ip6Src:][:32]
	delta, carry := bits.Add64(s0, s1, 0) // of words as the machine reads them: so are the checksums (RFC 1071 2(B))
	delta, carry = bits.Add64(delta, d0, carry)
	delta, carry = bits.Add64(delta, d1, carry)
	delta, carry = bits.Add64(delta, ^binary.LittleEndian.Uint64(was), carry)
	delta, carry = bits.Add64(delta, ^binary.LittleEndian.Uint64(was[8:]), carry)
	delta, carry = bits.Add64(delta, ^binary.LittleEndian.Uint64(was[16:]), carry)
	delta, carry = bits.Add64(delta, ^binary.LittleEndian.Uint64(was[24:]), carry)
	if sum = mended(sum, uint32(fold(delta+carry))); sum == 0 && udp {
		sum = 0xffff
	}
	binary.LittleEndian.PutUint16(at, sum)
	binary.LittleEndian.PutUint64(was, s0)
	binary.LittleEndian.PutUint64(was[8:], s1)
	binary.LittleEndian.PutUint64(was[16:], d0)
	binary.LittleEndian.PutUint64(was[24:], d1)
	return true
}
