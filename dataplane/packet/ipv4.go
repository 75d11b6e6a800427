package packet

import (
	"encoding/binary"
	"net/netip"
)

// IP protocol numbers.
const (
	ProtoHopByHop    uint8 = 0
	ProtoICMP        uint8 = 1
	ProtoTCP         uint8 = 6
	ProtoUDP         uint8 = 17
	ProtoDCCP        uint8 = 33
	ProtoRouting     uint8 = 43
	ProtoFragment    uint8 = 44
	ProtoGRE         uint8 = 47
	ProtoESP         uint8 = 50
	ProtoAH          uint8 = 51
	ProtoICMPv6      uint8 = 58
	ProtoNone        uint8 = 59
	ProtoDestination uint8 = 60
	ProtoUDPLite     uint8 = 136
)

// LimitedBroadcast is everyone on the link (RFC 919 7).
var LimitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// IPv4 is an IPv4 header (RFC 791); it may be longer than the header.
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|Version|  IHL  |Type of Service|          Total Length         |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|         Identification        |Flags|      Fragment Offset    |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|  Time to Live |    Protocol   |         Header Checksum       |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                       Source Address                          |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                    Destination Address                        |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                    Options                    |    Padding    |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type IPv4 []byte

const (
	ip4VersionIHL = 0
	ip4TOS        = 1
	ip4TotalLen   = 2
	ip4ID         = 4
	ip4Fragment   = 6
	ip4TTL        = 8
	ip4Protocol   = 9
	ip4Checksum   = 10
	ip4Src        = 12
	ip4Dst        = 16

	IPv4Len = 20 // without options

	// Bits of the fragment word.
	IPv4DontFragment  uint16 = 0x4000
	IPv4MoreFragments uint16 = 0x2000
	ip4OffsetMask     uint16 = 0x1fff
)

// IPv4Fields are the values of a header without options.
type IPv4Fields struct {
	TOS      uint8
	TotalLen uint16 // header and payload, in bytes
	ID       uint16
	Fragment uint16 // flags and offset, as on the wire
	TTL      uint8
	Protocol uint8
	Src, Dst [4]byte
}

// Encode writes the header, with its checksum.
func (b IPv4) Encode(f IPv4Fields) {
	_ = b[IPv4Len-1]
	b[ip4VersionIHL] = 0x45
	b[ip4TOS] = f.TOS
	b.SetTotalLen(f.TotalLen)
	b.SetID(f.ID)
	b.SetFragment(f.Fragment)
	b[ip4TTL] = f.TTL
	b[ip4Protocol] = f.Protocol
	b.SetSrc4(f.Src)
	b.SetDst4(f.Dst)
	b.SetChecksum(0)
	b.SetChecksum(Checksum(b[:IPv4Len], 0))
}

func (b IPv4) Version() uint8 { return b[ip4VersionIHL] >> 4 }

// HeaderLen is in bytes, options included.
func (b IPv4) HeaderLen() int { return int(b[ip4VersionIHL]&15) * 4 }
func (b IPv4) TOS() uint8     { return b[ip4TOS] }

// TotalLen is in bytes, header included.
func (b IPv4) TotalLen() uint16 { return binary.BigEndian.Uint16(b[ip4TotalLen:]) }
func (b IPv4) ID() uint16       { return binary.BigEndian.Uint16(b[ip4ID:]) }

// Fragment is the word of flags and fragment offset.
func (b IPv4) Fragment() uint16    { return binary.BigEndian.Uint16(b[ip4Fragment:]) }
func (b IPv4) DontFragment() bool  { return b.Fragment()&IPv4DontFragment != 0 }
func (b IPv4) MoreFragments() bool { return b.Fragment()&IPv4MoreFragments != 0 }

// FragmentOffset is in bytes.
func (b IPv4) FragmentOffset() int { return int(b.Fragment()&ip4OffsetMask) * 8 }
func (b IPv4) TTL() uint8          { return b[ip4TTL] }
func (b IPv4) Protocol() uint8     { return b[ip4Protocol] }
func (b IPv4) Checksum() uint16    { return binary.BigEndian.Uint16(b[ip4Checksum:]) }
func (b IPv4) Src4() [4]byte       { return [4]byte(b[ip4Src : ip4Src+4]) }
func (b IPv4) Dst4() [4]byte       { return [4]byte(b[ip4Dst : ip4Dst+4]) }
func (b IPv4) Src() netip.Addr     { return netip.AddrFrom4(b.Src4()) }
func (b IPv4) Dst() netip.Addr     { return netip.AddrFrom4(b.Dst4()) }

// SrcU32 is the source address read big-endian: 10.0.0.1 is 0x0a000001.
func (b IPv4) SrcU32() uint32 { return binary.BigEndian.Uint32(b[ip4Src:]) }

// DstU32 is the destination address read big-endian.
func (b IPv4) DstU32() uint32 { return binary.BigEndian.Uint32(b[ip4Dst:]) }

// Addr4 is an IPv4 address of SrcU32 or DstU32, in host order, as people write it.
func Addr4(a uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)})
}

func (b IPv4) SetTOS(v uint8)       { b[ip4TOS] = v }
func (b IPv4) SetTotalLen(v uint16) { binary.BigEndian.PutUint16(b[ip4TotalLen:], v) }
func (b IPv4) SetID(v uint16)       { binary.BigEndian.PutUint16(b[ip4ID:], v) }
func (b IPv4) SetFragment(v uint16) { binary.BigEndian.PutUint16(b[ip4Fragment:], v) }
func (b IPv4) SetTTL(v uint8)       { b[ip4TTL] = v }
func (b IPv4) SetProtocol(v uint8)  { b[ip4Protocol] = v }
func (b IPv4) SetChecksum(v uint16) { binary.BigEndian.PutUint16(b[ip4Checksum:], v) }
func (b IPv4) SetSrc4(a [4]byte)    { *(*[4]byte)(b[ip4Src : ip4Src+4]) = a }
func (b IPv4) SetDst4(a [4]byte)    { *(*[4]byte)(b[ip4Dst : ip4Dst+4]) = a }
