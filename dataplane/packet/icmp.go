package packet

import "encoding/binary"

// ICMPv4 is an ICMP message (RFC 792). The second word is identifier and
// sequence number of an echo, or unused and next-hop MTU of "fragmentation
// needed" (RFC 1191).
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|     Type      |     Code      |          Checksum             |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|     Identifier / unused       |   Sequence number / MTU       |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type ICMPv4 []byte

// ICMPv6 is an ICMPv6 message (RFC 4443), drawn as ICMPv4; "packet too big" has
// a 32-bit MTU in its second word.
type ICMPv6 []byte

const (
	icmpType     = 0
	icmpCode     = 1
	icmpChecksum = 2
	icmpIdent    = 4
	icmpSequence = 6

	ICMPLen = 8 // of either version

	ICMPv4EchoReply           uint8 = 0
	ICMPv4Unreachable         uint8 = 3
	ICMPv4Redirect            uint8 = 5
	ICMPv4EchoRequest         uint8 = 8
	ICMPv4RouterAdvert        uint8 = 9
	ICMPv4TimeExceeded        uint8 = 11
	ICMPv4FragmentationNeeded uint8 = 4 // code of ICMPv4Unreachable

	ICMPv6Unreachable     uint8 = 1
	ICMPv6PacketTooBig    uint8 = 2
	ICMPv6TimeExceeded    uint8 = 3
	ICMPv6EchoRequest     uint8 = 128
	ICMPv6EchoReply       uint8 = 129
	ICMPv6RouterSolicit   uint8 = 133
	ICMPv6RouterAdvert    uint8 = 134
	ICMPv6NeighborSolicit uint8 = 135
	ICMPv6NeighborAdvert  uint8 = 136
	ICMPv6Redirect        uint8 = 137
)

// ICMPFields are the values of the first eight bytes, of either version.
type ICMPFields struct {
	Type, Code uint8
	Rest       uint32 // the second word
}

// Encode writes the first eight bytes and, over all of b, the checksum.
func (b ICMPv4) Encode(f ICMPFields) {
	b[icmpType] = f.Type
	b[icmpCode] = f.Code
	b.SetChecksum(0)
	b.SetRest(f.Rest)
	b.SetChecksum(Checksum(b, 0))
}

func (b ICMPv4) Type() uint8      { return b[icmpType] }
func (b ICMPv4) Code() uint8      { return b[icmpCode] }
func (b ICMPv4) Checksum() uint16 { return binary.BigEndian.Uint16(b[icmpChecksum:]) }
func (b ICMPv4) Ident() uint16    { return binary.BigEndian.Uint16(b[icmpIdent:]) }
func (b ICMPv4) Sequence() uint16 { return binary.BigEndian.Uint16(b[icmpSequence:]) }

// MTU is the next-hop MTU of "fragmentation needed", 0 from old routers.
func (b ICMPv4) MTU() uint16  { return binary.BigEndian.Uint16(b[icmpSequence:]) }
func (b ICMPv4) Rest() uint32 { return binary.BigEndian.Uint32(b[icmpIdent:]) }

func (b ICMPv4) SetType(v uint8)      { b[icmpType] = v }
func (b ICMPv4) SetChecksum(v uint16) { binary.BigEndian.PutUint16(b[icmpChecksum:], v) }
func (b ICMPv4) SetRest(v uint32)     { binary.BigEndian.PutUint32(b[icmpIdent:], v) }

// Encode writes the first eight bytes and, over the pseudo-header and all of b,
// the checksum.
func (b ICMPv6) Encode(f ICMPFields, src, dst [16]byte) {
	b[icmpType] = f.Type
	b[icmpCode] = f.Code
	b.SetChecksum(0)
	b.SetRest(f.Rest)
	b.SetChecksum(Checksum(b, PseudoHeader6(src, dst, ProtoICMPv6, uint32(len(b)))))
}

func (b ICMPv6) Type() uint8      { return b[icmpType] }
func (b ICMPv6) Code() uint8      { return b[icmpCode] }
func (b ICMPv6) Checksum() uint16 { return binary.BigEndian.Uint16(b[icmpChecksum:]) }
func (b ICMPv6) Ident() uint16    { return binary.BigEndian.Uint16(b[icmpIdent:]) }
func (b ICMPv6) Sequence() uint16 { return binary.BigEndian.Uint16(b[icmpSequence:]) }

// MTU is that of "packet too big".
func (b ICMPv6) MTU() uint32  { return b.Rest() }
func (b ICMPv6) Rest() uint32 { return binary.BigEndian.Uint32(b[icmpIdent:]) }

func (b ICMPv6) SetType(v uint8)      { b[icmpType] = v }
func (b ICMPv6) SetChecksum(v uint16) { binary.BigEndian.PutUint16(b[icmpChecksum:], v) }
func (b ICMPv6) SetRest(v uint32)     { binary.BigEndian.PutUint32(b[icmpIdent:], v) }
