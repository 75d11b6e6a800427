package mbuf

// Receive flags: what a driver says of a packet that it received.
const (
	RxVLAN         uint64 = 1 << 0 // VLANTCI is valid
	RxVLANStripped uint64 = 1 << 6 // the tag is not in the data any more

	// RxLRO: the packet is several that were put together, or one that its sender
	// left to be cut; TxOffload has the SegmentSize.
	RxLRO uint64 = 1 << 16

	// The verdict on the IP header's checksum; of a tunnel that the device
	// recognised, on the inner one's (O31). None: it is not in the data, but the
	// header is right.
	RxIPChecksumMask            = RxIPChecksumBad | RxIPChecksumGood
	RxIPChecksumBad      uint64 = 1 << 4
	RxIPChecksumGood     uint64 = 1 << 7
	RxIPChecksumNone            = RxIPChecksumBad | RxIPChecksumGood
	RxOuterIPChecksumBad uint64 = 1 << 5 // of the outermost

	// The verdict on the checksum of TCP, UDP or SCTP. None: it is not in the data,
	// but these are right. virtio and vhost say so of what a VM left to be done,
	// and the field then has the sum of the pseudo-header (R23).
	RxL4ChecksumMask        = RxL4ChecksumBad | RxL4ChecksumGood
	RxL4ChecksumBad  uint64 = 1 << 3
	RxL4ChecksumGood uint64 = 1 << 8
	RxL4ChecksumNone        = RxL4ChecksumBad | RxL4ChecksumGood
)

// Transmit flags: what a device is asked to do, with the lengths of TxOffload
// (O20, O21). Those without Outer are about the inner headers of a tunnel packet.
const (
	TxUDPSegment      uint64 = 1 << 42 // cut UDP into IP fragments of SegmentSize bytes of payload
	TxTunnelGRE       uint64 = 2 << 45
	TxTunnelMask      uint64 = 15 << 45
	TxTCPSegment      uint64 = 1 << 50 // implies TxTCPChecksum
	TxL4Mask                 = TxUDPChecksum
	TxTCPChecksum     uint64 = 1 << 52
	TxUDPChecksum     uint64 = 3 << 52
	TxIPChecksum      uint64 = 1 << 54
	TxIPv4            uint64 = 1 << 55
	TxIPv6            uint64 = 1 << 56
	TxVLAN            uint64 = 1 << 57 // insert a tag of VLANTCI
	TxOuterIPChecksum uint64 = 1 << 58
	TxOuterIPv4       uint64 = 1 << 59
	TxOuterIPv6       uint64 = 1 << 60

	// TxMask has all flags above.
	TxMask = TxUDPSegment | TxTunnelMask | TxTCPSegment | TxL4Mask | TxIPChecksum | TxIPv4 | TxIPv6 | TxVLAN |
		TxOuterIPChecksum | TxOuterIPv4 | TxOuterIPv6
)

// Flags of the buffer, not of the packet in it: its memory is another's. They stay
// when flags are set.
const (
	external uint64 = 1 << 61
	indirect uint64 = 1 << 62
)

// Flags are the offload flags, RTE_MBUF_F_*.
func (m *Mbuf) Flags() uint64 { return m.olFlags }

// SetFlags replaces the offload flags.
func (m *Mbuf) SetFlags(f uint64) {
	const mine = external | indirect
	m.olFlags = m.olFlags&mine | f&^mine
}

// TxOffload are the lengths that a device needs to know for what it is asked to
// do, in bytes. Without outer header L2Len is Ethernet's; with one, it begins
// behind the outer IP header: GRE and the inner Ethernet header (O20).
type TxOffload struct {
	L2Len       uint8  // below 128
	L3Len       uint16 // with options and extension headers; below 512
	L4Len       uint8
	SegmentSize uint16 // payload of each segment
	OuterL3Len  uint16 // below 512
	OuterL2Len  uint8  // below 128
}

// Where the lengths lie in tx_offload, and how many bits they have.
const (
	l2Shift, l2Bits           = 0, 7
	l3Shift, l3Bits           = l2Shift + l2Bits, 9
	l4Shift, l4Bits           = l3Shift + l3Bits, 8
	segmentShift, segmentBits = l4Shift + l4Bits, 16
	outerL3Shift, outerL3Bits = segmentShift + segmentBits, 9
	outerL2Shift, outerL2Bits = outerL3Shift + outerL3Bits, 7
)

// TxOffload are the lengths as they were set, by Go or by a driver.
func (m *Mbuf) TxOffload() TxOffload {
	v := m.txOffload
	return TxOffload{
		L2Len:       uint8(v >> l2Shift & (1<<l2Bits - 1)),
		L3Len:       uint16(v >> l3Shift & (1<<l3Bits - 1)),
		L4Len:       uint8(v >> l4Shift),
		SegmentSize: uint16(v >> segmentShift),
		OuterL3Len:  uint16(v >> outerL3Shift & (1<<outerL3Bits - 1)),
		OuterL2Len:  uint8(v >> outerL2Shift & (1<<outerL2Bits - 1)),
	}
}

// SetTxOffload sets the lengths. It reports false, and sets nothing, when one is
// longer than its field.
func (m *Mbuf) SetTxOffload(o TxOffload) bool {
	if o.L2Len>>l2Bits != 0 || o.L3Len>>l3Bits != 0 || o.OuterL3Len>>outerL3Bits != 0 || o.OuterL2Len>>outerL2Bits != 0 {
		return false
	}
	m.txOffload = uint64(o.L2Len)<<l2Shift | uint64(o.L3Len)<<l3Shift | uint64(o.L4Len)<<l4Shift |
		uint64(o.SegmentSize)<<segmentShift | uint64(o.OuterL3Len)<<outerL3Shift | uint64(o.OuterL2Len)<<outerL2Shift
	return true
}

// VLANTCI is the tag control information that a driver stripped or shall insert, in
// host order; it means nothing unless Flags says so.
func (m *Mbuf) VLANTCI() uint16 { return m.vlanTCI }

// SetVLANTCI sets the tag control information for TxVLAN.
func (m *Mbuf) SetVLANTCI(tci uint16) { m.vlanTCI = tci }

// PacketType is the driver's RTE_PTYPE_* verdict.
func (m *Mbuf) PacketType() uint32 { return m.ptype }

// SetPacketType sets the verdict, as a driver would.
func (m *Mbuf) SetPacketType(ptype uint32) { m.ptype = ptype }
