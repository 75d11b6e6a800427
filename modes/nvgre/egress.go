package nvgre

import (
	"encoding/binary"
	"math/bits"

	"paca/dataplane/count"
	"paca/dataplane/fib"
	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
)

// Offsets from the end of the outer header, which is the start of the inner
// frame: they hold whatever the VLAN tag.
const (
	ip4FromInner = packet.IPv4Len + packet.NVGRELen
	ip6FromInner = packet.IPv6Len + packet.NVGRELen
	keyFromInner = 4
)

// Egress puts the outer header in front of each frame: untagged Ethernet with
// IPv4, IPv6 or ARP in it, addressed as it shall arrive (L12), within the limits of
// Adj and PA. drops[i] is set where that
// could not be done, and packet i is then unchanged.
//
//  1. copy the prepared outer header, set the destination PA
//  2. length, identification, DSCP and ECN, checksum (W12, W16)
//  3. key: the destination's VSID and the FlowID (W3, W5, W15)
func (n *NVGRE) Egress(pkts []*mbuf.Mbuf, hops []fib.Hop, drops []count.Reason, _ *count.Events) {
	hops, drops = hops[:len(pkts)], drops[:len(pkts)]
	for i, m := range pkts {
		h := &hops[i]
		a, to := h.Adj.Get(), h.PA.Get()
		if a.Len != fib.Outer4 || m.Headroom() < fib.Outer4 {
			if a.Len == fib.Outer6 {
				drops[i] = n.write6(m, h)
			} else {
				drops[i] = n.write(m, h)
			}
			continue
		}
		// The same for the usual outer header, in words as they lie in memory: each is
		// written once.
		tos, length, id := uint32(h.TOS)&n.tosMask, uint16(ip4FromInner+m.Len()), n.id
		n.id = id + 1
		sum := checksum4(a, to, tos, length, id)
		d := mbuf.PrependA[[fib.Outer4]byte](m)
		word.PutUint64(d[0:], word.Uint64(a.Header[0:]))
		word.PutUint64(d[8:], word.Uint64(a.Header[8:])|uint64(tos)<<56)
		word.PutUint64(d[16:], word.Uint64(a.Header[16:])|uint64(bits.ReverseBytes32(uint32(length)<<16|uint32(id))))
		word.PutUint64(d[24:], word.Uint64(a.Header[24:])|uint64(uint16(bits.ReverseBytes32(sum))))
		word.PutUint64(d[30:], word.Uint64(a.Header[30:])|uint64(word.Uint32(to.Addr[:])))
		word.PutUint32(d[38:], bits.ReverseBytes32(key(h, h.Hash&n.flowMask)))
	}
}

var word = binary.LittleEndian

// write puts the header in front of a frame.
func (n *NVGRE) write(m *mbuf.Mbuf, h *fib.Hop) count.Reason {
	a, size := h.Adj.Get(), m.Len()
	inner := int(a.Len)
	d := m.Prepend(inner)
	if d == nil {
		return count.Headroom
	}
	copy(d, a.Header[:inner])
	tos, flow := uint32(h.TOS)&n.tosMask, h.Hash&n.flowMask
	if !a.V6 {
		ip := d[inner-ip4FromInner:]
		*(*[4]byte)(ip[16:]) = [4]byte(h.PA.Get().Addr[:4])
		length := uint16(ip4FromInner + size)
		ip[1] = uint8(tos)
		binary.BigEndian.PutUint16(ip[2:], length)
		binary.BigEndian.PutUint16(ip[4:], n.id)
		binary.BigEndian.PutUint16(ip[10:], uint16(checksum4(a, h.PA.Get(), tos, length, n.id)>>16))
		n.id++
	} else {
		ip := packet.IPv6(d[inner-ip6FromInner:])
		ip.SetTrafficClass(uint8(tos))
		ip.SetFlowLabel(flow & 0xfffff) // W17
		ip.SetPayloadLen(uint16(packet.NVGRELen + size))
		ip.SetDst(h.PA.Get().Addr)
	}
	binary.BigEndian.PutUint32(d[inner-keyFromInner:], key(h, flow))
	return count.Kept
}

// write6 is write for the usual outer header of IPv6.
func (n *NVGRE) write6(m *mbuf.Mbuf, h *fib.Hop) count.Reason {
	const ip = packet.EthernetLen
	a, to, length := h.Adj.Get(), h.PA.Get(), uint16(packet.NVGRELen+m.Len())
	d := mbuf.PrependA[[fib.Outer6]byte](m)
	if d == nil {
		return count.Headroom
	}
	tos, flow := uint32(h.TOS)&n.tosMask, h.Hash&n.flowMask
	*d = *(*[fib.Outer6]byte)(a.Header[:])
	binary.BigEndian.PutUint32(d[ip:], 6<<28|tos<<20|flow&0xfffff) // W17
	binary.BigEndian.PutUint16(d[ip+4:], length)
	*(*[16]byte)(d[ip+24:]) = to.Addr
	binary.BigEndian.PutUint32(d[fib.Outer6-keyFromInner:], key(h, flow))
	return count.Kept
}

// key is that of the GRE header.
func key(h *fib.Hop, flow uint32) uint32 {
	return h.Entry.Get().VSID<<8 | uint32(packet.FlowID(flow))
}

// checksum4 is that of the outer IPv4 header, the sum of all that is in it, in the upper
// half. What the lower one has means nothing.
func checksum4(a *fib.Adj, to *fib.Remote, tos uint32, length, id uint16) uint32 {
	sum := a.Sum + uint32(to.Sum) + tos + uint32(length) + uint32(id)
	return ^(sum + bits.RotateLeft32(sum, 16)) // both halves, and the carry of their sum
}
