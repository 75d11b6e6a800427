package packet

import "encoding/binary"

// ARP is an ARP packet for IPv4 over Ethernet (RFC 826).
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|         Hardware type         |         Protocol type         |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   HW length   | Proto length  |           Operation           |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                    Sender hardware address                    |
//	+                               +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                               |    Sender protocol address    |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|    Sender protocol address    |                               |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+                               +
//	|                    Target hardware address                    |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                    Target protocol address                    |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type ARP []byte

const (
	arpHardware  = 0
	arpProtocol  = 2
	arpHWLen     = 4
	arpProtoLen  = 5
	arpOp        = 6
	arpSenderMAC = 8
	arpSenderIP  = 14
	arpTargetMAC = 18
	arpTargetIP  = 24

	ARPLen = 28

	ARPOpRequest uint16 = 1
	ARPOpReply   uint16 = 2

	arpHardwareEthernet uint16 = 1
)

// ARPFields are the values of an ARP packet.
type ARPFields struct {
	Op        uint16
	SenderMAC MAC
	SenderIP  [4]byte
	TargetMAC MAC
	TargetIP  [4]byte
}

func (b ARP) Encode(f ARPFields) {
	_ = b[ARPLen-1]
	binary.BigEndian.PutUint16(b[arpHardware:], arpHardwareEthernet)
	binary.BigEndian.PutUint16(b[arpProtocol:], EtherTypeIPv4)
	b[arpHWLen] = 6
	b[arpProtoLen] = 4
	b.SetOp(f.Op)
	b.SetSenderMAC(f.SenderMAC)
	b.SetSenderIP(f.SenderIP)
	b.SetTargetMAC(f.TargetMAC)
	b.SetTargetIP(f.TargetIP)
}

// IsEthernetIPv4 reports that the packet maps IPv4 to Ethernet addresses: the
// getters below mean nothing otherwise.
func (b ARP) IsEthernetIPv4() bool {
	// Ethernet, IPv4, lengths 6 and 4, read as one word.
	return binary.BigEndian.Uint64(b[arpHardware:])>>16 == 0x0001_0800_06_04
}

func (b ARP) Op() uint16        { return binary.BigEndian.Uint16(b[arpOp:]) }
func (b ARP) SenderMAC() MAC    { return MAC(b[arpSenderMAC : arpSenderMAC+6]) }
func (b ARP) SenderIP() [4]byte { return [4]byte(b[arpSenderIP : arpSenderIP+4]) }
func (b ARP) TargetMAC() MAC    { return MAC(b[arpTargetMAC : arpTargetMAC+6]) }
func (b ARP) TargetIP() [4]byte { return [4]byte(b[arpTargetIP : arpTargetIP+4]) }

func (b ARP) SetOp(op uint16)        { binary.BigEndian.PutUint16(b[arpOp:], op) }
func (b ARP) SetSenderMAC(m MAC)     { *(*MAC)(b[arpSenderMAC : arpSenderMAC+6]) = m }
func (b ARP) SetSenderIP(ip [4]byte) { *(*[4]byte)(b[arpSenderIP : arpSenderIP+4]) = ip }
func (b ARP) SetTargetMAC(m MAC)     { *(*MAC)(b[arpTargetMAC : arpTargetMAC+6]) = m }
func (b ARP) SetTargetIP(ip [4]byte) { *(*[4]byte)(b[arpTargetIP : arpTargetIP+4]) = ip }

// ARPReply turns the ARP request in frame into its answer, in place: the target
// is at mac, told to the requester alone (A4). Tags and padding stay as they
// are.
func ARPReply(frame []byte, l *Layout, mac MAC) {
	arp := ARP(frame[l.L3:])
	requester, requesterIP, target := arp.SenderMAC(), arp.SenderIP(), arp.TargetIP()
	arp.SetOp(ARPOpReply)
	arp.SetSenderMAC(mac)
	arp.SetSenderIP(target)
	arp.SetTargetMAC(requester)
	arp.SetTargetIP(requesterIP)
	eth := Ethernet(frame)
	eth.SetDst(requester)
	eth.SetSrc(mac)
}

// ARPFrame is a whole ARP frame.
type ARPFrame struct {
	DstMAC, SrcMAC MAC
	VLAN           uint16 // TCI of an 802.1Q tag; 0 = untagged
	ARPFields
}

// AppendARP appends the frame to dst.
func AppendARP(dst []byte, f *ARPFrame) []byte {
	dst = appendEthernet(dst, f.DstMAC, f.SrcMAC, f.VLAN, EtherTypeARP)
	var b [ARPLen]byte
	ARP(b[:]).Encode(f.ARPFields)
	return append(dst, b[:]...)
}
