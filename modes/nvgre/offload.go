package nvgre

import (
	"paca/dataplane/count"
	"paca/dataplane/fib"
	"paca/dataplane/mbuf"
	"paca/dataplane/offload"
	"paca/dataplane/packet"
)

// Offload chooses what takes the place of Egress for frames that are left unfinished
// for a device that does what o says:
//
//	tunnels, as a whole ──► tunnel: all of it (O20-O22)
//	TCP and UDP checksums ──► plain: those, of what looks like no tunnel (O24)
//	neither ──► nothing; frames are finished first
func (n *NVGRE) Offload(o mbuf.Offloads) (func([]*mbuf.Mbuf, []fib.Hop, []offload.Pending, []count.Reason, *count.Events), offload.Kind) {
	switch {
	case o.Has(mbuf.SendGRETSO):
		return n.tunnel, offload.TCPSegments
	case o.Has(mbuf.SendL4Checksum | mbuf.SendIPv4Checksum):
		return n.plainIP, offload.Checksum
	case o.Has(mbuf.SendL4Checksum):
		return n.plain, offload.Checksum
	}
	return nil, offload.Nothing
}

// tunnel is Egress for a device that knows GRE, which gets both headers' lengths:
//
//	┌──────────┬───────┬────────────────┬────────┬───────────┬─────────┐
//	│ Ethernet │ PA IP │ GRE ‖ Ethernet │ CA  IP │ TCP, UDP  │ payload │
//	└──────────┴───────┴────────────────┴────────┴───────────┴─────────┘
//	  OuterL2   OuterL3         L2          L3        L4        segments
//
// The device completes every checksum: those of the IP headers are zero (O22), that of
// TCP and UDP has the sum of the pseudo-header, for TCP that is to be cut without the
// length. Of what it cuts, each segment takes an identification (O9).
func (n *NVGRE) tunnel(pkts []*mbuf.Mbuf, hops []fib.Hop, left []offload.Pending, drops []count.Reason, events *count.Events) {
	hops, left, drops = hops[:len(pkts)], left[:len(pkts)], drops[:len(pkts)]
	for i, m := range pkts {
		a, l := hops[i].Adj.Get(), &hops[i].Layout
		n.leave(pkts, hops, left, drops, events, i)
		if drops[i] != count.Kept {
			continue
		}
		n.id += uint16(left[i].Pieces(m.Data()[a.Len:], l) - 1)
		d, flags, lengths := m.Data(), m.Flags()|mbuf.TxTunnelGRE, m.TxOffload()
		outerIP := d[int(a.Len)-ip4FromInner:]
		lengths.OuterL3Len = packet.IPv4Len
		if a.V6 {
			lengths.OuterL3Len = packet.IPv6Len
			flags |= mbuf.TxOuterIPv6
		} else {
			flags |= mbuf.TxOuterIPv4 | mbuf.TxOuterIPChecksum
			packet.IPv4(outerIP).SetChecksum(0)
		}
		lengths.OuterL2Len = a.Len - packet.NVGRELen - uint8(lengths.OuterL3Len)
		lengths.L2Len = packet.NVGRELen + packet.EthernetLen
		inner := d[a.Len:]
		if flags&mbuf.TxIPv4 != 0 {
			flags |= mbuf.TxIPChecksum
			packet.IPv4(inner[l.L3:]).SetChecksum(0)
		}
		if left[i].Kind == offload.TCPSegments {
			offload.SeedWithoutLength(inner, l)
		}
		m.SetTxOffload(lengths)
		m.SetFlags(flags)
	}
}

// plain is Egress for a device that computes checksums and knows no tunnel: all up to
// the inner IP header is the link layer to it, 56 bytes without a tag. That is sound
// since no header in there has a checksum of what is behind (O24).
func (n *NVGRE) plain(pkts []*mbuf.Mbuf, hops []fib.Hop, left []offload.Pending, drops []count.Reason, events *count.Events) {
	for i, m := range pkts {
		n.leave(pkts, hops, left, drops, events, i)
		if drops[i] == count.Kept {
			lengths := m.TxOffload()
			lengths.L2Len += hops[i].Adj.Get().Len
			m.SetTxOffload(lengths)
		}
	}
}

// plainIP is plain for a device that computes the checksum of IPv4 headers as well.
func (n *NVGRE) plainIP(pkts []*mbuf.Mbuf, hops []fib.Hop, left []offload.Pending, drops []count.Reason, events *count.Events) {
	n.plain(pkts, hops, left, drops, events)
	for i, m := range pkts {
		if drops[i] == count.Kept && m.Flags()&mbuf.TxIPv4 != 0 {
			m.SetFlags(m.Flags() | mbuf.TxIPChecksum)
			packet.IPv4(m.Data()[uint16(hops[i].Adj.Get().Len)+hops[i].Layout.L3:]).SetChecksum(0)
		}
	}
}

// leave is Egress for one frame, which has the flags and lengths of its own headers
// afterwards.
func (n *NVGRE) leave(pkts []*mbuf.Mbuf, hops []fib.Hop, left []offload.Pending, drops []count.Reason, events *count.Events, i int) {
	offload.Delegate(pkts[i], &hops[i].Layout, left[i])
	n.Egress(pkts[i:i+1], hops[i:i+1], drops[i:i+1], events)
}

// IngressUnfinished drops what cannot be: no driver leaves the checksum of a tunnel
// packet's inner headers to be computed.
func (n *NVGRE) IngressUnfinished(_ *fib.FIB, _ []*mbuf.Mbuf, _ []fib.Arrival, drops []count.Reason, _ *count.Events) {
	for i := range drops {
		drops[i] = count.ChecksumUnsupported
	}
}
