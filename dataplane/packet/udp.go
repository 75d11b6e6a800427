package packet

import "encoding/binary"

// UDP is a UDP header (RFC 768); it may be longer than the header.
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|          Source Port          |       Destination Port        |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|            Length             |           Checksum            |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type UDP []byte

const (
	udpSrcPort  = 0
	udpDstPort  = 2
	udpLength   = 4
	udpChecksum = 6

	UDPLen = 8
)

// UDPFields are the values of a header.
type UDPFields struct {
	SrcPort, DstPort uint16
	Length           uint16 // header and payload, in bytes
	Checksum         uint16
}

func (b UDP) Encode(f UDPFields) {
	_ = b[UDPLen-1]
	b.SetSrcPort(f.SrcPort)
	b.SetDstPort(f.DstPort)
	b.SetLength(f.Length)
	b.SetChecksum(f.Checksum)
}

func (b UDP) SrcPort() uint16 { return binary.BigEndian.Uint16(b[udpSrcPort:]) }
func (b UDP) DstPort() uint16 { return binary.BigEndian.Uint16(b[udpDstPort:]) }

// Length is in bytes, header included. Parse does not vouch for it.
func (b UDP) Length() uint16   { return binary.BigEndian.Uint16(b[udpLength:]) }
func (b UDP) Checksum() uint16 { return binary.BigEndian.Uint16(b[udpChecksum:]) }

func (b UDP) SetSrcPort(v uint16)  { binary.BigEndian.PutUint16(b[udpSrcPort:], v) }
func (b UDP) SetDstPort(v uint16)  { binary.BigEndian.PutUint16(b[udpDstPort:], v) }
func (b UDP) SetLength(v uint16)   { binary.BigEndian.PutUint16(b[udpLength:], v) }
func (b UDP) SetChecksum(v uint16) { binary.BigEndian.PutUint16(b[udpChecksum:], v) }
