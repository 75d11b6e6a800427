package mbuf

import "unsafe"

// Field is the place of one member of Mbuf: its name in rte_mbuf, its offset
// and size in bytes.
type Field struct {
	Name         string
	Offset, Size uintptr
}

// Size is the size of a Mbuf in bytes (sizeof(struct rte_mbuf)).
const Size = unsafe.Sizeof(Mbuf{})

// Layout lists every member that Go touches, for dataplane/dpdk to compare with
// the C library's own offsets before the first packet.
func Layout() []Field {
	var m Mbuf
	return []Field{
		{"buf_addr", unsafe.Offsetof(m.bufAddr), unsafe.Sizeof(m.bufAddr)},
		{"data_off", unsafe.Offsetof(m.dataOff), unsafe.Sizeof(m.dataOff)},
		{"refcnt", unsafe.Offsetof(m.refcnt), unsafe.Sizeof(m.refcnt)},
		{"nb_segs", unsafe.Offsetof(m.nbSegs), unsafe.Sizeof(m.nbSegs)},
		{"port", unsafe.Offsetof(m.port), unsafe.Sizeof(m.port)},
		{"ol_flags", unsafe.Offsetof(m.olFlags), unsafe.Sizeof(m.olFlags)},
		{"packet_type", unsafe.Offsetof(m.ptype), unsafe.Sizeof(m.ptype)},
		{"pkt_len", unsafe.Offsetof(m.pktLen), unsafe.Sizeof(m.pktLen)},
		{"data_len", unsafe.Offsetof(m.dataLen), unsafe.Sizeof(m.dataLen)},
		{"vlan_tci", unsafe.Offsetof(m.vlanTCI), unsafe.Sizeof(m.vlanTCI)},
		{"hash", unsafe.Offsetof(m.rssHash), 8},
		{"buf_len", unsafe.Offsetof(m.bufLen), unsafe.Sizeof(m.bufLen)},
		{"pool", unsafe.Offsetof(m.pool), unsafe.Sizeof(m.pool)},
		{"next", unsafe.Offsetof(m.next), unsafe.Sizeof(m.next)},
		{"tx_offload", unsafe.Offsetof(m.txOffload), unsafe.Sizeof(m.txOffload)},
		{"priv_size", unsafe.Offsetof(m.privSize), unsafe.Sizeof(m.privSize)},
	}
}

// Constant is a number that Go and the library must agree on, by its name there.
type Constant struct {
	Name  string
	Value uint64
}

// Constants lists all of them, for the same comparison.
func Constants() []Constant {
	return []Constant{
		{"sizeof(struct rte_mbuf)", uint64(Size)},
		{"RTE_PKTMBUF_HEADROOM", Headroom},
		{"RTE_MBUF_DEFAULT_BUF_SIZE", DefaultDataRoom},

		{"RTE_MBUF_F_RX_VLAN", RxVLAN},
		{"RTE_MBUF_F_RX_VLAN_STRIPPED", RxVLANStripped},
		{"RTE_MBUF_F_RX_LRO", RxLRO},
		{"RTE_MBUF_F_RX_IP_CKSUM_MASK", RxIPChecksumMask},
		{"RTE_MBUF_F_RX_IP_CKSUM_BAD", RxIPChecksumBad},
		{"RTE_MBUF_F_RX_IP_CKSUM_GOOD", RxIPChecksumGood},
		{"RTE_MBUF_F_RX_IP_CKSUM_NONE", RxIPChecksumNone},
		{"RTE_MBUF_F_RX_OUTER_IP_CKSUM_BAD", RxOuterIPChecksumBad},
		{"RTE_MBUF_F_RX_L4_CKSUM_MASK", RxL4ChecksumMask},
		{"RTE_MBUF_F_RX_L4_CKSUM_BAD", RxL4ChecksumBad},
		{"RTE_MBUF_F_RX_L4_CKSUM_GOOD", RxL4ChecksumGood},
		{"RTE_MBUF_F_RX_L4_CKSUM_NONE", RxL4ChecksumNone},

		{"RTE_MBUF_F_TX_UDP_SEG", TxUDPSegment},
		{"RTE_MBUF_F_TX_TUNNEL_GRE", TxTunnelGRE},
		{"RTE_MBUF_F_TX_TUNNEL_MASK", TxTunnelMask},
		{"RTE_MBUF_F_TX_TCP_SEG", TxTCPSegment},
		{"RTE_MBUF_F_TX_L4_MASK", TxL4Mask},
		{"RTE_MBUF_F_TX_TCP_CKSUM", TxTCPChecksum},
		{"RTE_MBUF_F_TX_UDP_CKSUM", TxUDPChecksum},
		{"RTE_MBUF_F_TX_IP_CKSUM", TxIPChecksum},
		{"RTE_MBUF_F_TX_IPV4", TxIPv4},
		{"RTE_MBUF_F_TX_IPV6", TxIPv6},
		{"RTE_MBUF_F_TX_VLAN", TxVLAN},
		{"RTE_MBUF_F_TX_OUTER_IP_CKSUM", TxOuterIPChecksum},
		{"RTE_MBUF_F_TX_OUTER_IPV4", TxOuterIPv4},
		{"RTE_MBUF_F_TX_OUTER_IPV6", TxOuterIPv6},
		{"RTE_MBUF_F_EXTERNAL", external},
		{"RTE_MBUF_F_INDIRECT", indirect},

		{"RTE_MBUF_L2_LEN_OFS", l2Shift},
		{"RTE_MBUF_L2_LEN_BITS", l2Bits},
		{"RTE_MBUF_L3_LEN_OFS", l3Shift},
		{"RTE_MBUF_L3_LEN_BITS", l3Bits},
		{"RTE_MBUF_L4_LEN_OFS", l4Shift},
		{"RTE_MBUF_L4_LEN_BITS", l4Bits},
		{"RTE_MBUF_TSO_SEGSZ_OFS", segmentShift},
		{"RTE_MBUF_TSO_SEGSZ_BITS", segmentBits},
		{"RTE_MBUF_OUTL3_LEN_OFS", outerL3Shift},
		{"RTE_MBUF_OUTL3_LEN_BITS", outerL3Bits},
		{"RTE_MBUF_OUTL2_LEN_OFS", outerL2Shift},
		{"RTE_MBUF_OUTL2_LEN_BITS", outerL2Bits},
	}
}
