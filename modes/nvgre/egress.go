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
		a := h.Adj
		size := m.Len()
		d := m.Prepend(int(a.Len))
		if d == nil {
			drops[i] = count.Headroom
			continue
		}
		if a.Len == untagged4 && len(d) >= untagged4 {
			*(*[untagged4]byte)(d) = *(*[untagged4]byte)(a.Header[:])
		} else {
			copy(d, a.Header[:a.Len])
		}
		inner := int(a.Len)
		tos := innerTOS(d[inner:]) & n.tosMask
		flow := h.Hash & n.flowMask
		if !a.V6 {
			ip := d[inner-ip4FromInner:]
			*(*[4]byte)(ip[16:]) = [4]byte(h.PA.Addr[:4])
			length := uint16(ip4FromInner + size)
			ip[1] = tos
			binary.BigEndian.PutUint16(ip[2:], length)
			binary.BigEndian.PutUint16(ip[4:], n.id)
			sum := a.Sum + uint32(h.PA.Sum) + uint32(tos) + uint32(length) + uint32(n.id)
			sum = sum>>16 + sum&0xffff
			binary.BigEndian.PutUint16(ip[10:], ^uint16(sum>>16+sum))
			n.id++
		} else {
			ip := packet.IPv6(d[inner-ip6FromInner:])
			ip.SetTrafficClass(tos)
			ip.SetFlowLabel(flow & 0xfffff) // W17
			ip.SetPayloadLen(uint16(packet.NVGRELen + size))
			ip.SetDst(h.PA.Addr)
		}
		binary.BigEndian.PutUint32(d[inner-keyFromInner:], h.Entry.VSID<<8|uint32(packet.FlowID(flow)))
	}
}

// untagged4 is the usual outer header's length: no tag, IPv4.
const untagged4 = packet.EthernetLen + ip4FromInner

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
