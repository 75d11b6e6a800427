package packet

import (
	"encoding/binary"
	"net/netip"
)

// IPv6 is an IPv6 header (RFC 8200); it may be longer than the header.
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|Version| Traffic Class |           Flow Label                  |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|         Payload Length        |  Next Header  |   Hop Limit   |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                                                               |
//	+                                                               +
//	|                         Source Address                        |
//	+                                                               +
//	|                                                               |
//	+                                                               +
//	|                                                               |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                                                               |
//	+                                                               +
//	|                      Destination Address                      |
//	+                                                               +
//	|                                                               |
//	+                                                               +
//	|                                                               |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type IPv6 []byte

const (
	ip6VersionClassLabel = 0
	ip6PayloadLen        = 4
	ip6NextHeader        = 6
	ip6HopLimit          = 7
	ip6Src               = 8
	ip6Dst               = 24

	IPv6Len = 40
)

// IPv6Fields are the values of a header.
type IPv6Fields struct {
	TrafficClass uint8
	FlowLabel    uint32 // low 20 bits
	PayloadLen   uint16 // extension headers included
	NextHeader   uint8
	HopLimit     uint8
	Src, Dst     [16]byte
}

func (b IPv6) Encode(f IPv6Fields) {
	_ = b[IPv6Len-1]
	binary.BigEndian.PutUint32(b[ip6VersionClassLabel:], 6<<28|uint32(f.TrafficClass)<<20|f.FlowLabel&0xfffff)
	b.SetPayloadLen(f.PayloadLen)
	b[ip6NextHeader] = f.NextHeader
	b[ip6HopLimit] = f.HopLimit
	b.SetSrc(f.Src)
	b.SetDst(f.Dst)
}

func (b IPv6) word() uint32        { return binary.BigEndian.Uint32(b[ip6VersionClassLabel:]) }
func (b IPv6) Version() uint8      { return b[ip6VersionClassLabel] >> 4 }
func (b IPv6) TrafficClass() uint8 { return uint8(b.word() >> 20) }
func (b IPv6) FlowLabel() uint32   { return b.word() & 0xfffff }

// PayloadLen is in bytes, without this header, with extension headers.
func (b IPv6) PayloadLen() uint16  { return binary.BigEndian.Uint16(b[ip6PayloadLen:]) }
func (b IPv6) NextHeader() uint8   { return b[ip6NextHeader] }
func (b IPv6) HopLimit() uint8     { return b[ip6HopLimit] }
func (b IPv6) Src() [16]byte       { return [16]byte(b[ip6Src : ip6Src+16]) }
func (b IPv6) Dst() [16]byte       { return [16]byte(b[ip6Dst : ip6Dst+16]) }
func (b IPv6) SrcAddr() netip.Addr { return netip.AddrFrom16(b.Src()) }
func (b IPv6) DstAddr() netip.Addr { return netip.AddrFrom16(b.Dst()) }

func (b IPv6) SetTrafficClass(v uint8) {
	binary.BigEndian.PutUint32(b[ip6VersionClassLabel:], b.word()&^(0xff<<20)|uint32(v)<<20)
}

// SetFlowLabel takes the low 20 bits of v.
func (b IPv6) SetFlowLabel(v uint32) {
	binary.BigEndian.PutUint32(b[ip6VersionClassLabel:], b.word()&^0xfffff|v&0xfffff)
}
func (b IPv6) SetPayloadLen(v uint16) { binary.BigEndian.PutUint16(b[ip6PayloadLen:], v) }
func (b IPv6) SetNextHeader(v uint8)  { b[ip6NextHeader] = v }
func (b IPv6) SetHopLimit(v uint8)    { b[ip6HopLimit] = v }
func (b IPv6) SetSrc(a [16]byte)      { *(*[16]byte)(b[ip6Src : ip6Src+16]) = a }
func (b IPv6) SetDst(a [16]byte)      { *(*[16]byte)(b[ip6Dst : ip6Dst+16]) = a }

// IPv6Fragment is a fragment extension header (RFC 8200 4.5).
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|  Next Header  |   Reserved    |      Fragment Offset    |Res|M|
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                         Identification                        |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type IPv6Fragment []byte

const (
	fragNextHeader = 0
	fragOffset     = 2
	fragID         = 4

	IPv6FragmentLen = 8
)

// IPv6FragmentFields are the values of a fragment header.
type IPv6FragmentFields struct {
	NextHeader uint8
	Offset     int // in bytes, a multiple of 8
	More       bool
	ID         uint32
}

func (b IPv6Fragment) Encode(f IPv6FragmentFields) {
	b[fragNextHeader] = f.NextHeader
	b[1] = 0
	word := uint16(f.Offset) &^ 7
	if f.More {
		word |= 1
	}
	binary.BigEndian.PutUint16(b[fragOffset:], word)
	binary.BigEndian.PutUint32(b[fragID:], f.ID)
}

func (b IPv6Fragment) NextHeader() uint8 { return b[fragNextHeader] }

// Offset is in bytes.
func (b IPv6Fragment) Offset() int { return int(binary.BigEndian.Uint16(b[fragOffset:]) &^ 7) }
func (b IPv6Fragment) More() bool  { return b[fragOffset+1]&1 != 0 }
func (b IPv6Fragment) ID() uint32  { return binary.BigEndian.Uint32(b[fragID:]) }

// SolicitedNode is the multicast group that a holder of addr listens on for
// neighbor solicitations: ff02::1:ff00:0/104 and its low 24 bits (RFC 4291 2.7.1).
func SolicitedNode(addr [16]byte) [16]byte {
	return [16]byte{0: 0xff, 1: 0x02, 11: 1, 12: 0xff, 13: addr[13], 14: addr[14], 15: addr[15]}
}

// AllNodes is the multicast group of every IPv6 node on a link, ff02::1.
var AllNodes = [16]byte{0: 0xff, 1: 0x02, 15: 1}

// GroupMAC is the Ethernet address of an IPv6 multicast group (RFC 2464 7).
func GroupMAC(group [16]byte) MAC {
	return MAC{0x33, 0x33, group[12], group[13], group[14], group[15]}
}
