package packet

import (
	"encoding/binary"
	"math/bits"
)

// TCP is a TCP header (RFC 9293); it may be longer than the header.
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|          Source Port          |       Destination Port        |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                        Sequence Number                        |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                    Acknowledgment Number                      |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|  Data |       |C|E|U|A|P|R|S|F|                               |
//	| Offset| Rsrvd |W|C|R|C|S|S|Y|I|            Window             |
//	|       |       |R|E|G|K|H|T|N|N|                               |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|           Checksum            |         Urgent Pointer        |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type TCP []byte

const (
	tcpSrcPort    = 0
	tcpDstPort    = 2
	tcpSeq        = 4
	tcpAck        = 8
	tcpDataOffset = 12
	tcpFlags      = 13
	tcpWindow     = 14
	tcpChecksum   = 16
	tcpUrgent     = 18

	TCPLen = 20 // without options

	TCPFin uint8 = 1 << 0
	TCPSyn uint8 = 1 << 1
	TCPRst uint8 = 1 << 2
	TCPPsh uint8 = 1 << 3
	TCPAck uint8 = 1 << 4
	TCPUrg uint8 = 1 << 5
	TCPEce uint8 = 1 << 6
	TCPCwr uint8 = 1 << 7
)

// TCPFields are the values of a header without options.
type TCPFields struct {
	SrcPort, DstPort uint16
	Seq, Ack         uint32
	Flags            uint8
	Window           uint16
	Checksum         uint16
	Urgent           uint16
}

func (b TCP) Encode(f TCPFields) {
	_ = b[TCPLen-1]
	b.SetSrcPort(f.SrcPort)
	b.SetDstPort(f.DstPort)
	binary.BigEndian.PutUint32(b[tcpSeq:], f.Seq)
	binary.BigEndian.PutUint32(b[tcpAck:], f.Ack)
	b[tcpDataOffset] = TCPLen / 4 << 4
	b[tcpFlags] = f.Flags
	binary.BigEndian.PutUint16(b[tcpWindow:], f.Window)
	b.SetChecksum(f.Checksum)
	binary.BigEndian.PutUint16(b[tcpUrgent:], f.Urgent)
}

func (b TCP) SrcPort() uint16 { return binary.BigEndian.Uint16(b[tcpSrcPort:]) }
func (b TCP) DstPort() uint16 { return binary.BigEndian.Uint16(b[tcpDstPort:]) }
func (b TCP) Seq() uint32     { return binary.BigEndian.Uint32(b[tcpSeq:]) }
func (b TCP) Ack() uint32     { return binary.BigEndian.Uint32(b[tcpAck:]) }

// HeaderLen is in bytes, options included. Parse does not vouch for it.
func (b TCP) HeaderLen() int   { return int(b[tcpDataOffset]>>4) * 4 }
func (b TCP) Flags() uint8     { return b[tcpFlags] }
func (b TCP) Window() uint16   { return binary.BigEndian.Uint16(b[tcpWindow:]) }
func (b TCP) Checksum() uint16 { return binary.BigEndian.Uint16(b[tcpChecksum:]) }
func (b TCP) Urgent() uint16   { return binary.BigEndian.Uint16(b[tcpUrgent:]) }

func (b TCP) SetSrcPort(v uint16)  { binary.BigEndian.PutUint16(b[tcpSrcPort:], v) }
func (b TCP) SetDstPort(v uint16)  { binary.BigEndian.PutUint16(b[tcpDstPort:], v) }
func (b TCP) SetSeq(v uint32)      { binary.BigEndian.PutUint32(b[tcpSeq:], v) }
func (b TCP) SetFlags(v uint8)     { b[tcpFlags] = v }
func (b TCP) SetChecksum(v uint16) { binary.BigEndian.PutUint16(b[tcpChecksum:], v) }

// Kinds of options.
const (
	tcpOptEnd uint8 = 0
	tcpOptNop uint8 = 1
	tcpOptMSS uint8 = 2

	tcpOptMSSLen = 4
)

// ClampMSS lowers the maximum segment size that the SYN in a frame that Parse
// accepted announces to mss bytes, and mends the checksum; it reports whether it
// changed anything (M13). A SYN that announces none, which means 536 or 1220
// bytes (RFC 9293 3.7.1), is not told to.
func ClampMSS(frame []byte, l *Layout, mss uint16) (clamped bool) {
	if l.Proto != ProtoTCP || l.L4 == 0 || TCP(frame[l.L4:]).Flags()&TCPSyn == 0 {
		return false
	}
	b := TCP(frame[l.L4:l.End])
	end := min(b.HeaderLen(), len(b))
	for at := TCPLen; at < end; {
		kind := b[at]
		if kind == tcpOptEnd {
			break
		}
		if kind == tcpOptNop {
			at++
			continue
		}
		if at+1 >= end || b[at+1] < 2 || at+int(b[at+1]) > end {
			break
		}
		if kind == tcpOptMSS && b[at+1] == tcpOptMSSLen {
			if old := binary.BigEndian.Uint16(b[at+2:]); old > mss {
				binary.BigEndian.PutUint16(b[at+2:], mss)
				from, to := old, mss
				if at%2 != 0 { // across two words of the sum: each byte has the other's weight
					from, to = bits.ReverseBytes16(from), bits.ReverseBytes16(to)
				}
				b.SetChecksum(ChecksumUpdate16(b.Checksum(), from, to))
				clamped = true
			}
		}
		at += int(b[at+1])
	}
	return clamped
}
