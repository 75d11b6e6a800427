package nvgre

import (
	"encoding/binary"

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
		size := m.Len()
		d := m.Prepend(int(h.Adj.Get().Len))
		switch {
		case d == nil:
			drops[i] = count.Headroom
		case h.Adj.Get().Len == untagged4 && len(d) >= usual:
			n.untagged4((*[usual]byte)(d), h, size)
		default:
			n.write(d, h, size)
		}
	}
}

// write puts the header in front of size bytes of a frame.
func (n *NVGRE) write(d []byte, h *fib.Hop, size int) {
	a := h.Adj.Get()
	copy(d, a.Header[:a.Len])
	inner := int(a.Len)
	tos := innerTOS(d[inner:]) & n.tosMask
	flow := h.Hash & n.flowMask
	if !a.V6 {
		ip := d[inner-ip4FromInner:]
		*(*[4]byte)(ip[16:]) = [4]byte(h.PA.Get().Addr[:4])
		length := uint16(ip4FromInner + size)
		ip[1] = tos
		binary.BigEndian.PutUint16(ip[2:], length)
		binary.BigEndian.PutUint16(ip[4:], n.id)
		binary.BigEndian.PutUint16(ip[10:], checksum4(h, tos, length, n.id))
		n.id++
	} else {
		ip := packet.IPv6(d[inner-ip6FromInner:])
		ip.SetTrafficClass(tos)
		ip.SetFlowLabel(flow & 0xfffff) // W17
		ip.SetPayloadLen(uint16(packet.NVGRELen + size))
		ip.SetDst(h.PA.Get().Addr)
	}
	binary.BigEndian.PutUint32(d[inner-keyFromInner:], h.Entry.Get().VSID<<8|uint32(packet.FlowID(flow)))
}

// untagged4 is write for the usual outer header: made in words, of which each is
// written once.
func (n *NVGRE) untagged4(d *[usual]byte, h *fib.Hop, size int) {
	const ip = packet.EthernetLen
	a := h.Adj.Get()
	tos := innerTOS(d[untagged4:]) & n.tosMask
	length := uint16(ip4FromInner + size)
	*(*[ip]byte)(d[:]) = *(*[ip]byte)(a.Header[:])
	binary.BigEndian.PutUint64(d[ip:], binary.BigEndian.Uint64(a.Header[ip:])|uint64(tos)<<48|uint64(length)<<32|uint64(n.id)<<16)
	binary.BigEndian.PutUint64(d[ip+8:], binary.BigEndian.Uint64(a.Header[ip+8:])|uint64(checksum4(h, tos, length, n.id))<<32)
	binary.BigEndian.PutUint64(d[ip+16:], binary.BigEndian.Uint64(a.Header[ip+16:])|uint64(h.PA.Get().U32())<<32)
	binary.BigEndian.PutUint32(d[ip+24:], h.Entry.Get().VSID<<8|uint32(packet.FlowID(h.Hash&n.flowMask)))
	n.id++
}

// checksum4 is that of the outer IPv4 header, the sum of all that is in it.
func checksum4(h *fib.Hop, tos uint8, length, id uint16) uint16 {
	sum := h.Adj.Get().Sum + uint32(h.PA.Get().Sum) + uint32(tos) + uint32(length) + uint32(id)
	sum = sum>>16 + sum&0xffff
	return ^uint16(sum>>16 + sum)
}

const (
	untagged4 = packet.EthernetLen + ip4FromInner  // length of the usual outer header: no tag, IPv4
	usual     = untagged4 + packet.EthernetLen + 4 // as far as write reads with it
)

// innerTOS is the DSCP and ECN byte of an untagged frame's IP header, 0 for ARP.
func innerTOS(frame []byte) uint8 {
	_ = frame[packet.EthernetLen+1]
	switch binary.BigEndian.Uint16(frame[12:]) {
	case packet.EtherTypeIPv4:
		return frame[packet.EthernetLen+1]
	case packet.EtherTypeIPv6:
		return packet.IPv6(frame[packet.EthernetLen:]).TrafficClass()
	}
	return 0
}
