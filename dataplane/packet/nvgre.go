package packet

import "encoding/binary"

// NVGRE is the GRE header of RFC 7637, and the first words of any GRE header.
// Parse vouches for four bytes only: Key, VSID and FlowID need eight.
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|C| |K|S|   Reserved0     | Ver |   Protocol Type 0x6558        |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|               Virtual Subnet ID (VSID)        |    FlowID     |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type NVGRE []byte

const (
	greFlags    = 0
	greProtocol = 2
	greKey      = 4
	greFlowID   = 7

	NVGRELen = 8
	GRELen   = 4 // without key, checksum and sequence number

	// Bits of the flags word.
	GREChecksum uint16 = 0x8000 // C
	GREKey      uint16 = 0x2000 // K
	GRESequence uint16 = 0x1000 // S
	GREReserved uint16 = 0x4c00 // bits 1, 4 and 5: a receiver must discard (W23)
	GREVersion  uint16 = 0x0007
)

// NVGREFields are the values that vary.
type NVGREFields struct {
	VSID   uint32 // 24 bits
	FlowID uint8
}

// Encode writes the header of W2 and W3.
func (b NVGRE) Encode(f NVGREFields) {
	_ = b[NVGRELen-1]
	binary.BigEndian.PutUint16(b[greFlags:], GREKey)
	binary.BigEndian.PutUint16(b[greProtocol:], EtherTypeTEB)
	binary.BigEndian.PutUint32(b[greKey:], f.VSID<<8|uint32(f.FlowID))
}

// Flags is the first word: the GRE… bits above.
func (b NVGRE) Flags() uint16    { return binary.BigEndian.Uint16(b[greFlags:]) }
func (b NVGRE) Version() uint8   { return uint8(b.Flags() & GREVersion) }
func (b NVGRE) Protocol() uint16 { return binary.BigEndian.Uint16(b[greProtocol:]) }

// Key is VSID and FlowID together (W3).
func (b NVGRE) Key() uint32   { return binary.BigEndian.Uint32(b[greKey:]) }
func (b NVGRE) VSID() uint32  { return b.Key() >> 8 }
func (b NVGRE) FlowID() uint8 { return b[greFlowID] }
