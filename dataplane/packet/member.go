package packet

import (
	"encoding/binary"
	"net/netip"
)

// ReportFrame is a membership report: a host tells the multicast routers and the
// switches of a link which group it receives.
type ReportFrame struct {
	SrcMAC MAC
	VLAN   uint16     // 0: untagged
	Src    netip.Addr // of an IPv4 report
	Group  netip.Addr
}

// Protocol numbers and types of membership reports.
const (
	ProtoIGMP uint8 = 2

	igmpV2Report uint8 = 0x16
	mldReport    uint8 = 131
)

// MulticastMAC is the Ethernet address of a multicast group (RFC 1112 6.4, RFC 2464 7).
func MulticastMAC(group netip.Addr) MAC {
	if group.Is6() {
		return GroupMAC(group.As16())
	}
	b := group.As4()
	return MAC{0x01, 0x00, 0x5e, b[1] & 0x7f, b[2], b[3]}
}

// AppendReport appends an IGMPv2 report (RFC 2236) or an MLDv1 one (RFC 2710), as a
// whole frame to the group it is of. Both have hop limit 1 and the router alert
// option (RFC 2113, RFC 2711). An MLD report is from the link-local address of
// SrcMAC: routers and switches ignore one from any other (RFC 2710 3, RFC 3590).
func AppendReport(dst []byte, r *ReportFrame) []byte {
	mac := MulticastMAC(r.Group)
	dst = append(append(dst, mac[:]...), r.SrcMAC[:]...)
	if r.VLAN != 0 {
		dst = binary.BigEndian.AppendUint16(dst, EtherTypeVLAN)
		dst = binary.BigEndian.AppendUint16(dst, r.VLAN)
	}
	at := len(dst) + 2
	if r.Group.Is4() {
		dst = binary.BigEndian.AppendUint16(dst, EtherTypeIPv4)
		dst = append(dst, 0x46, 0xc0, 0, 32, 0, 0, 0, 0, 1, ProtoIGMP, 0, 0) // class CS6: control
		src, group := r.Src.As4(), r.Group.As4()
		dst = append(append(dst, src[:]...), group[:]...)
		dst = append(dst, 0x94, 4, 0, 0)
		binary.BigEndian.PutUint16(dst[at+ip4Checksum:], Checksum(dst[at:at+24], 0))
		dst = append(dst, igmpV2Report, 0, 0, 0)
		dst = append(dst, group[:]...)
		binary.BigEndian.PutUint16(dst[at+26:], Checksum(dst[at+24:], 0))
		return dst
	}
	dst = binary.BigEndian.AppendUint16(dst, EtherTypeIPv6)
	dst = append(dst, 0x60, 0, 0, 0, 0, 32, 0, 1) // hop-by-hop options
	src, group := linkLocal(r.SrcMAC), r.Group.As16()
	dst = append(append(dst, src[:]...), group[:]...)
	dst = append(dst, ProtoICMPv6, 0, 5, 2, 0, 0, 1, 0)
	dst = append(dst, mldReport, 0, 0, 0, 0, 0, 0, 0)
	dst = append(dst, group[:]...)
	msg := dst[at+IPv6Len+8:]
	binary.BigEndian.PutUint16(msg[2:], Checksum(msg, PseudoHeader6(src, group, ProtoICMPv6, uint32(len(msg)))))
	return dst
}

// linkLocal is the link-local address of a MAC's modified EUI-64 (RFC 4291 2.5.6).
func linkLocal(m MAC) [16]byte {
	return [16]byte{0: 0xfe, 1: 0x80, 8: m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]}
}
