package fib

import (
	"encoding/binary"

	"paca/dataplane/packet"
	"paca/dataplane/policy"
)

// Overheads of NVGRE in bytes of IP MTU: outer IP, GRE with key, inner Ethernet
// (W19).
const (
	Overhead4 = 20 + 8 + 14
	Overhead6 = 40 + 8 + 14
)

// Outer4 is the Len of the usual Adj: untagged, of IPv4 PAs. No other has that.
const Outer4 = packet.EthernetLen + packet.IPv4Len + packet.NVGRELen

// Outer6 is that of an untagged Adj of IPv6 PAs, and of no other either.
const Outer6 = packet.EthernetLen + packet.IPv6Len + packet.NVGRELen

// outer writes the NVGRE header of packets from a PA (W1-W14). The destination
// MAC, and what differs from packet to packet, stays zero.
func (a *Adj) outer(src *PA, mtu uint16) {
	h := a.Header[:0]
	h = append(h, 0, 0, 0, 0, 0, 0)
	h = append(h, src.MAC[:]...) // W10
	if src.VLAN != 0 {
		h = append(h, 0x81, 0x00) // W11
		h = binary.BigEndian.AppendUint16(h, src.VLAN)
	}
	if src.V6 {
		h = append(h, 0x86, 0xdd)
		h = append(h, 0x60, 0, 0, 0, 0, 0, 47, 128) // no extension headers (W1), hop limit 128 (W12)
		h = append(h, src.Addr[:]...)
		h = append(h, make([]byte, 16)...)
	} else {
		h = append(h, 0x08, 0x00)
		ip := len(h)
		h = append(h, 0x45, 0, 0, 0, 0, 0, 0x40, 0, 128, 47, 0, 0) // DF (W13), TTL 128 (W12)
		h = append(h, src.Addr[:4]...)
		h = append(h, 0, 0, 0, 0)
		for i := ip; i < len(h); i += 2 {
			a.Sum += uint32(binary.BigEndian.Uint16(h[i:]))
		}
	}
	h = append(h, 0x20, 0x00, 0x65, 0x58, 0, 0, 0, 0) // W2
	a.Len = uint8(len(h))
	a.V6 = src.V6
	a.Port = src.Port
	a.Limit = limits(mtu, src.V6)
}

// Link is the Ethernet header of packets that go a's way, tagged or not, with the
// EtherType of their PAs.
func (a *Adj) Link() []byte { return a.Header[:a.ip()] }

// Source4 is the IPv4 PA of this host that packets going a's way come from, in host
// order.
func (a *Adj) Source4() uint32 { return binary.BigEndian.Uint32(a.Header[a.ip()+12:]) }

// Source6 is Source4 for IPv6.
func (a *Adj) Source6() *[16]byte { return (*[16]byte)(a.Header[a.ip()+8:]) }

// ip is where the IP header begins in Header.
func (a *Adj) ip() int {
	if a.V6 {
		return int(a.Len) - (40 + 8)
	}
	return int(a.Len) - (20 + 8)
}

// limits are what fits into an outer IP packet of mtu bytes (M5); a rewritten packet
// is that packet (R15).
func limits(mtu uint16, v6 bool) Limits {
	overhead := uint16(Overhead4)
	if v6 {
		overhead = Overhead6
	}
	return Limits{policy.NVGRE: max(mtu, overhead) - overhead, policy.Rewrite: mtu}
}
