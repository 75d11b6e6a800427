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
