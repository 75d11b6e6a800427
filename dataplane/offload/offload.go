// Package offload does in software what a frame's sender left to a network card and
// no card will do: transport checksums (Finish), cutting (Segmenter), and, towards
// a guest that takes long frames, putting together (Coalescer).
//
//	frame of a VM ──► Read ──► Pending ──► Fit ─┬─► Delegate ──► the device does it
//	                                            ├─► Segmenter ──► frames that fit
//	                                            └─► Finish ──► the same frame
//	frames for a VM ──► Coalescer ──► one long frame, with what Delegate says
//
// What virtio calls a frame with its checksum still to be done has in the checksum
// field the sum of the pseudo-header, not complemented, with the length of the whole
// frame's transport part, however often it is to be cut (R23). That is what is read
// and what is written here. Drivers that want another seed make it themselves, of
// the flags, when a burst is prepared (rte_eth_tx_prepare, O22).
//
// UDP is cut into IP fragments, since that is what the flag means in DPDK 22.11 and
// what its vhost offers a guest (VIRTIO_NET_F_HOST_UFO). Segments with UDP headers
// of their own (HOST_USO) no guest can ask of it.
//
// Floor 1. Everything is a function of the frame: no port but its pool, no policy.
package offload

import (
	"paca/dataplane/count"
	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
)

// Kind is what is left to do.
type Kind uint8

const (
	Nothing      Kind = iota
	Checksum          // complete the checksum of TCP or UDP
	TCPSegments       // that, of segments with Size bytes of payload
	UDPFragments      // that, then IP fragments with Size bytes of payload, UDP's header counted
)

// Pending is what a frame still needs.
type Pending struct {
	Kind Kind
	Size uint16 // of one piece in bytes
}

// tcpOnce are the flags that only one segment may have.
const tcpOnce = packet.TCPSyn | packet.TCPRst

// Read says what a received frame needs, by the flags of vhost's and virtio's
// drivers (the former without legacy-ol-flags), and refuses what nobody could do.
// ParseHead has accepted it. Of a frame that needs something, what is behind its packet
// is taken off: devices go by the frame's length. The checksum field of one that is to be
// cut has the sum of the whole pseudo-header afterwards.
func Read(m *mbuf.Mbuf, l *packet.Layout) (Pending, count.Reason) {
	flags := m.Flags()
	long, undone := flags&mbuf.RxLRO != 0, flags&mbuf.RxL4ChecksumMask == mbuf.RxL4ChecksumNone
	known := l.L4 != 0 && l.Flags&packet.IsFragment == 0 && (l.Proto == packet.ProtoTCP || l.Proto == packet.ProtoUDP)
	switch {
	case !long && m.Segments() != 1:
		return Pending{}, count.MultiSegment // too large, and nobody says how to cut it
	case !long && !undone:
		return Pending{}, count.Kept
	case !long && !known:
		return Pending{}, count.ChecksumUnsupported
	case !known || !undone:
		return Pending{}, count.GSOUnsupported
	}
	frame := m.Data()
	stop := end(frame, l)
	if padding := m.Len() - stop; padding > 0 && (m.Segments() != 1 || !m.Trim(padding)) {
		return Pending{}, count.GSOUnsupported
	}
	if !long {
		return Pending{Kind: Checksum}, count.Kept
	}
	p := Pending{Kind: UDPFragments, Size: m.TxOffload().SegmentSize}
	if l.Proto == packet.ProtoTCP {
		p.Kind = TCPSegments
		tcp := packet.TCP(frame[l.L4:])
		switch headers := int(l.L4) + tcp.HeaderLen(); {
		case tcp.HeaderLen() < packet.TCPLen || headers > stop || tcp.Flags()&tcpOnce != 0:
			return Pending{}, count.GSOUnsupported
		case headers > len(frame):
			return Pending{}, count.MultiSegment
		}
	}
	if p.Size == 0 || p.Pieces(frame, l) > MaxPieces {
		return Pending{}, count.GSOUnsupported
	}
	mendSeed(frame, l)
	return p, count.Kept
}

// Fit is p with pieces so small that no IP packet is longer than limit bytes, outer
// headers not counted; false if the headers alone are (M12). frame begins with the
// Ethernet header that l counts from, and may be the first segment only. Whether a
// frame that is not to be cut fits is not asked here.
func (p Pending) Fit(frame []byte, l *packet.Layout, limit int) (Pending, bool) {
	room := limit - int(l.L4-l.L3)
	switch p.Kind {
	case TCPSegments:
		room -= packet.TCP(frame[l.L4:]).HeaderLen()
	case UDPFragments:
		if l.EtherType == packet.EtherTypeIPv6 {
			room -= packet.IPv6FragmentLen
		}
		room &^= 7
	default:
		return p, true
	}
	if room <= 0 {
		return p, false
	}
	p.Size = uint16(min(int(p.Size), room))
	return p, true
}

// Pieces is how many frames a frame becomes; it uses up as many identifications of
// the outer IPv4 header (O9).
func (p Pending) Pieces(frame []byte, l *packet.Layout) int {
	payload, size := end(frame, l)-int(l.L4), int(p.Size)
	switch p.Kind {
	case TCPSegments:
		payload -= packet.TCP(frame[l.L4:]).HeaderLen()
	case UDPFragments:
		if payload > size {
			size &^= 7
		}
	default:
		return 1
	}
	if size <= 0 || payload <= 0 {
		return 1
	}
	return (payload + size - 1) / size
}

// end is one past the network packet, also where that is behind the first segment.
func end(frame []byte, l *packet.Layout) int {
	if l.Flags&packet.Partial == 0 {
		return int(l.End)
	}
	if l.EtherType == packet.EtherTypeIPv4 {
		return int(l.L3) + int(packet.IPv4(frame[l.L3:]).TotalLen())
	}
	return int(l.L3) + packet.IPv6Len + int(packet.IPv6(frame[l.L3:]).PayloadLen())
}

// Plain says whether something of a frame can be left to a device. Drivers make the sum
// of the pseudo-header anew, of what the IP header itself says (O22): that is wrong behind
// extension headers, and with a source route. And they take a TCP header to be as long as
// it says.
func Plain(frame []byte, l *packet.Layout) bool {
	header := uint16(packet.IPv6Len)
	if l.EtherType == packet.EtherTypeIPv4 {
		header = packet.IPv4Len
	}
	if l.L4 == 0 || l.L4-l.L3 != header {
		return false
	}
	if l.Proto != packet.ProtoTCP {
		return true
	}
	length := packet.TCP(frame[l.L4:]).HeaderLen()
	return length >= packet.TCPLen && int(l.L4)+length <= int(l.End)
}

// Delegate leaves what is pending, a checksum or the cutting of TCP, to the device (O28):
// it sets the flags and lengths of a Plain frame without outer header.
func Delegate(m *mbuf.Mbuf, l *packet.Layout, p Pending) {
	flags := mbuf.TxIPv4
	if l.EtherType == packet.EtherTypeIPv6 {
		flags = mbuf.TxIPv6
	}
	o := mbuf.TxOffload{L2Len: uint8(l.L3), L3Len: l.L4 - l.L3, L4Len: packet.UDPLen}
	if l.Proto == packet.ProtoTCP {
		flags |= mbuf.TxTCPChecksum
		o.L4Len = uint8(packet.TCP(m.Data()[l.L4:]).HeaderLen())
	} else {
		flags |= mbuf.TxUDPChecksum
	}
	if p.Kind == TCPSegments {
		flags |= mbuf.TxTCPSegment
		o.SegmentSize = p.Size
	}
	m.SetTxOffload(o)
	m.SetFlags(flags)
}

// DelegateHeader leaves the checksums of the IPv4 headers of what a device cuts to it too:
// network cards want that, virtio's do not know it (O22). m was delegated.
func DelegateHeader(m *mbuf.Mbuf) {
	const cut4 = mbuf.TxTCPSegment | mbuf.TxIPv4
	if m.Flags()&cut4 == cut4 {
		m.SetFlags(m.Flags() | mbuf.TxIPChecksum)
		packet.IPv4(m.Data()[m.TxOffload().L2Len:]).SetChecksum(0)
	}
}
