package offload

import (
	"encoding/binary"

	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
)

// Offsets of the checksum in the headers.
const (
	tcpChecksum = 16
	udpChecksum = 6
)

// Finish completes the checksum of the TCP or UDP packet that l describes, over all its
// segments (R23). The field has the sum of the pseudo-header, made by the sender, who
// knows what to take for the addresses: behind a routing header it is not what the IP
// header says. Afterwards nothing is pending.
func Finish(m *mbuf.Mbuf, l *packet.Layout) {
	frame := m.Data()
	r := readFrom(m, int(l.L4))
	sum := ^fold(r.sum(end(frame, l) - int(l.L4)))
	if l.Proto == packet.ProtoUDP && sum == 0 {
		sum = 0xffff // 0 says that there is none (RFC 768)
	}
	binary.BigEndian.PutUint16(frame[checksumAt(l):], sum)
	m.SetFlags(m.Flags() &^ (mbuf.RxL4ChecksumMask | mbuf.RxLRO))
}

// seed is the sum of the pseudo-header with the length of the transport part, for
// the checksum field of what is to be finished.
func seed(frame []byte, l *packet.Layout) uint16 {
	length := end(frame, l) - int(l.L4)
	if l.EtherType == packet.EtherTypeIPv4 {
		ip := packet.IPv4(frame[l.L3:])
		return fold(packet.PseudoHeader4(ip.Src4(), ip.Dst4(), l.Proto, uint16(length)))
	}
	ip := packet.IPv6(frame[l.L3:])
	return fold(packet.PseudoHeader6(ip.Src(), ip.Dst(), l.Proto, uint32(length)))
}

// verified says whether the checksums of a TCP packet are right, by the device's word if
// that is believed. One that its sender left to be made is.
func verified(m *mbuf.Mbuf, l *packet.Layout, believe bool) bool {
	frame := m.Data()
	if l.EtherType == packet.EtherTypeIPv4 && !packet.VerifyIPv4(frame[l.L3:]) {
		return false
	}
	if m.Flags()&mbuf.TxTCPChecksum != 0 {
		return true
	}
	if verdict := m.Flags() & mbuf.RxL4ChecksumMask; believe && verdict != 0 {
		return verdict == mbuf.RxL4ChecksumGood
	}
	r := readFrom(m, int(l.L4))
	return fold(r.sum(end(frame, l)-int(l.L4))+uint32(seed(frame, l))) == 0xffff
}
