package modes_test

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"

	"paca/dataplane/packet"
)

// sample makes IP packets of every kind that a VM may send, with every checksum made
// from scratch. The same seed makes the same packet between other addresses, which is
// what rewriting must make of it.
type sample struct {
	*rand.Rand
	v6 bool

	wrong  uint16 // what checksums are off by
	kinds  map[string]int
	longer int // bytes of payload at most
}

// samples are the packets of a seed: one, or all fragments of one. right says that
// their checksums are, quotes that one may be an ICMP error.
func samples(seed uint64, kinds map[string]int, src, dst netip.Addr, quotes bool) (all [][]byte, right bool) {
	s := &sample{Rand: rand.New(rand.NewPCG(seed, 1)), v6: src.Is6(), kinds: kinds, longer: 1200}
	if s.IntN(8) == 0 {
		s.wrong = uint16(1 + s.IntN(0xfffe))
		s.count("wrong checksums")
	}
	return s.packets(src, dst, quotes), s.wrong == 0
}

func (s *sample) count(kind string) {
	if s.kinds != nil {
		s.kinds[kind]++
	}
}

// bytes are n random ones.
func (s *sample) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(s.Uint32())
	}
	return b
}

// sum is the Internet checksum, by the book (RFC 1071).
func sum(parts ...[]byte) uint16 {
	total := uint32(0)
	for _, b := range parts {
		for i, c := range b { // all but the last part are of even length
			total += uint32(c) << (8 * (1 - i%2))
		}
	}
	for total>>16 != 0 {
		total = total>>16 + total&0xffff
	}
	return ^uint16(total)
}

func pseudo(src, dst netip.Addr, proto byte, length int) []byte {
	b := append(src.AsSlice(), dst.AsSlice()...)
	if src.Is4() {
		return append(b, 0, proto, byte(length>>8), byte(length))
	}
	return append(b, 0, 0, byte(length>>8), byte(length), 0, 0, 0, proto)
}

// seal writes a checksum over parts, of which the last is b, whose covered bytes
// count. Zero means none where zeroMeansNone says so.
func (s *sample) seal(b []byte, at, covered int, zeroMeansNone bool, parts ...[]byte) {
	b[at], b[at+1] = 0, 0
	c := sum(append(parts, b[:covered])...)
	if s.wrong != 0 {
		total := uint32(^c) + uint32(s.wrong)
		c = ^uint16(total>>16 + total)
	}
	if c == 0 && zeroMeansNone {
		c = 0xffff
	}
	binary.BigEndian.PutUint16(b[at:], c)
}

// transport is what an IP packet carries. final is where it goes in the end, which
// checksums cover; quotes says that it may be an error about another packet.
func (s *sample) transport(src, dst, final netip.Addr, quotes bool) (proto byte, b []byte) {
	kind := s.IntN(14)
	if !quotes && (kind == 5 || kind == 6) {
		kind = 4
	}
	length := s.IntN(1 + s.IntN(s.longer))
	payload := s.bytes(length)
	ephemeral := func(b []byte) {
		binary.BigEndian.PutUint16(b, 0xc000|uint16(s.Uint32()))
		binary.BigEndian.PutUint16(b[2:], 0xc000|uint16(s.Uint32()))
	}
	switch kind {
	case 0, 1:
		s.count("TCP")
		options := 4 * s.IntN(11)
		b = append(s.bytes(20+options), payload...)
		ephemeral(b)
		b[12] = byte(5+options/4) << 4
		b[13] &= 0x3f
		for i := 20; i < 20+options; i++ {
			b[i] = 1
		}
		s.seal(b, 16, len(b), false, pseudo(src, final, packet.ProtoTCP, len(b)))
		return packet.ProtoTCP, b
	case 2, 3:
		b = append(make([]byte, 8), payload...)
		ephemeral(b)
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)))
		if s.IntN(4) == 0 {
			s.count("UDP without checksum")
			return packet.ProtoUDP, b
		}
		s.count("UDP")
		s.seal(b, 6, len(b), true, pseudo(src, final, packet.ProtoUDP, len(b)))
		return packet.ProtoUDP, b
	case 4:
		b = append(make([]byte, 8), payload...)
		binary.BigEndian.PutUint32(b[4:], s.Uint32())
		if s.v6 {
			s.count("ICMPv6 echo")
			b[0] = 128 + byte(s.IntN(2))
			s.seal(b, 2, len(b), false, pseudo(src, final, packet.ProtoICMPv6, len(b)))
			return packet.ProtoICMPv6, b
		}
		s.count("ICMP echo")
		b[0] = 8 * byte(s.IntN(2))
		s.seal(b, 2, len(b), false)
		return packet.ProtoICMP, b
	case 5, 6:
		b = make([]byte, 8)
		binary.BigEndian.PutUint32(b[4:], s.Uint32())
		quote, extended := s.quote(dst, src)
		if s.v6 {
			s.count("ICMPv6 error")
			b[0] = 1 + byte(s.IntN(4))
			if b[0] == 1 || b[0] == 3 {
				if b[4] = 0; extended {
					b[4] = byte((len(quote) - 8) / 8)
				}
			}
			b = append(b, quote...)
			s.seal(b, 2, len(b), false, pseudo(src, final, packet.ProtoICMPv6, len(b)))
			return packet.ProtoICMPv6, b
		}
		s.count("ICMP error")
		b[0] = []byte{3, 3, 4, 5, 11, 12}[s.IntN(6)]
		if b[0] != 5 {
			if b[5] = 0; extended && b[0] != 4 {
				b[5] = byte((len(quote) - 8) / 4)
			}
		}
		b = append(b, quote...)
		s.seal(b, 2, len(b), false)
		return packet.ProtoICMP, b
	case 7:
		s.count("UDP-Lite")
		b = append(make([]byte, 8), payload...)
		ephemeral(b)
		covered := len(b)
		if s.IntN(2) == 0 {
			covered = 8 + s.IntN(length+1)
			binary.BigEndian.PutUint16(b[4:], uint16(covered))
		}
		s.seal(b, 6, covered, true, pseudo(src, final, packet.ProtoUDPLite, len(b)))
		return packet.ProtoUDPLite, b
	case 8:
		s.count("DCCP")
		b = append(s.bytes(16), payload...)
		b[4], b[5] = 4, 0 // of 16 bytes; the checksum covers all
		covered := len(b)
		if s.IntN(2) == 0 {
			b[5], covered = 1, 16 // the header alone
		}
		s.seal(b, 6, covered, false, pseudo(src, final, packet.ProtoDCCP, len(b)))
		return packet.ProtoDCCP, b
	}
	// What has no checksum that covers addresses, or one that is not to be touched (R9).
	names := map[byte]string{132: "SCTP", packet.ProtoGRE: "GRE", packet.ProtoESP: "ESP", packet.ProtoAH: "AH", 4: "IPv4 in IP", 253: "an unknown protocol",
		packet.ProtoICMP: "ICMP of the other family", packet.ProtoICMPv6: "ICMP of the other family"}
	proto = []byte{132, packet.ProtoGRE, packet.ProtoESP, packet.ProtoAH, 4, 253, packet.ProtoICMP}[s.IntN(7)]
	if proto == packet.ProtoICMP && !s.v6 {
		proto = packet.ProtoICMPv6
	}
	s.count(names[proto])
	return proto, append(s.bytes(24), payload...)
}

// quote is what an ICMP error quotes: what it can of a packet from src to dst, perhaps
// with an extension behind it (RFC 4884); or of somebody else's, or hardly anything.
func (s *sample) quote(src, dst netip.Addr) (q []byte, extended bool) {
	wrong := s.wrong
	defer func() { s.wrong = wrong }()
	if s.wrong = 0; s.IntN(6) == 0 {
		s.wrong = uint16(1 + s.IntN(0xfffe))
	}
	kinds := s.kinds
	s.kinds = nil
	all := s.packets(src, dst, false)
	from, to := netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("198.51.100.8")
	if s.v6 {
		from, to = netip.MustParseAddr("fd99::7"), netip.MustParseAddr("fd99::8")
	}
	elsewhere := s.packets(from, to, false)
	s.kinds = kinds
	q = all[s.IntN(len(all))]
	header := 40
	if !s.v6 {
		header = int(q[0]&15) * 4
	}
	extended = true
	switch s.IntN(10) {
	case 0:
		s.count("quote of somebody else's packet")
		q, extended = elsewhere[0], false
	case 1:
		s.count("quote without a header")
		return s.bytes(s.IntN(20)), false
	case 2, 3:
		s.count("quote of a header alone")
		q, extended = q[:header], false
	case 4, 5, 6:
		s.count("quote with some bytes more")
		q, extended = q[:header+min(2*s.IntN(30), len(q)-header)], false
	case 7:
		s.count("quote of the packet")
		return q[:min(len(q), 600)], false
	default: // of 128 bytes at least, or the whole packet and zeros
		s.count("quote with an extension")
		q = q[:min(len(q), 128+8*s.IntN(8))]
	}
	if !extended {
		return q, false
	}
	for len(q) < 128 || len(q)%8 != 0 {
		q = append(q, 0)
	}
	return append(q, 0x20, 0, 0, 0, 0, 8, 1, 1), true
}

// packets are one packet, or all fragments of one.
func (s *sample) packets(src, dst netip.Addr, quotes bool) [][]byte {
	final, segments := dst, s.v6 && s.IntN(12) == 0
	if segments {
		s.count("routing header")
		final = netip.MustParseAddr("fd99::5")
	}
	proto, b := s.transport(src, dst, final, quotes)
	least := 24 // bytes of a fragment: what TCP's checksum is in
	if proto == packet.ProtoICMP && !s.v6 && b[0] != 0 && b[0] != 8 || proto == packet.ProtoICMPv6 && s.v6 && b[0] < 128 {
		least = 200 // what a quoted transport's checksum is in
	}
	if len(b) <= least+8 || s.IntN(4) > 0 {
		least = 0 // no fragments
	} else {
		s.count("fragments")
	}
	if s.v6 {
		return s.ip6(src, dst, final, segments, least, proto, b)
	}
	return s.ip4(src, dst, least, proto, b)
}

func (s *sample) ip4(src, dst netip.Addr, least int, proto byte, b []byte) (all [][]byte) {
	options := 0
	if s.IntN(5) == 0 {
		s.count("IPv4 options")
		options = 4 * (1 + s.IntN(10))
	}
	h := s.bytes(20 + options)
	h[0] = 0x45 + byte(options/4)
	h[8] = 2 + h[8]%253
	h[9] = proto
	copy(h[12:], src.AsSlice())
	copy(h[16:], dst.AsSlice())
	for i := 20; i < len(h); i++ {
		h[i] = 1
	}
	flags := uint16(s.IntN(2)) << 14
	if least > 0 {
		flags = 0
	}
	for at := 0; at < len(b) || at == 0; {
		n, more := len(b)-at, uint16(0)
		if least > 0 && n > least+8 {
			n, more = least+8*s.IntN((n-least)/8), packet.IPv4MoreFragments
		}
		f := append(append([]byte(nil), h...), b[at:at+n]...)
		binary.BigEndian.PutUint16(f[2:], uint16(len(f)))
		binary.BigEndian.PutUint16(f[6:], flags|more|uint16(at/8))
		s.seal(f, 10, len(h), false)
		all = append(all, f)
		at += n
	}
	return all
}

func (s *sample) ip6(src, dst, final netip.Addr, segments bool, least int, proto byte, b []byte) (all [][]byte) {
	h := s.bytes(40)
	h[0] = 0x60 | h[0]&15
	h[7] = 2 + h[7]%253
	copy(h[8:], src.AsSlice())
	copy(h[24:], dst.AsSlice())
	next := &h[6]
	var chain, behind []byte
	add := func(to *[]byte, kind byte, ext []byte) {
		*next = kind
		*to = append(*to, ext...)
		next = &(*to)[len(*to)-len(ext)]
	}
	chain, behind = make([]byte, 0, 200), make([]byte, 0, 200) // next stays valid
	if s.IntN(8) == 0 {
		s.count("hop-by-hop options")
		add(&chain, packet.ProtoHopByHop, []byte{0, 0, 1, 4, 0, 0, 0, 0})
	}
	if segments {
		add(&chain, packet.ProtoRouting, append([]byte{0, 2, 0, 1, 0, 0, 0, 0}, final.AsSlice()...))
	} else if s.IntN(12) == 0 {
		s.count("routing header at its end")
		add(&chain, packet.ProtoRouting, append([]byte{0, 2, 0, 0, 0, 0, 0, 0}, src.AsSlice()...))
		copy(chain[len(chain)-16:], netip.MustParseAddr("fd99::6").AsSlice())
	}
	var fragment *byte
	if least > 0 || s.IntN(12) == 0 {
		fragment = next
		if least == 0 {
			s.count("atomic fragment")
		}
		next = new(byte)
	}
	first := next
	if s.IntN(8) == 0 {
		s.count("destination options")
		add(&behind, packet.ProtoDestination, []byte{0, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	}
	*next = proto
	b = append(behind, b...)
	id := s.bytes(4)
	for at := 0; at < len(b) || at == 0; {
		n, more := len(b)-at, byte(0)
		if l := least + len(behind); least > 0 && n > l+8 {
			n, more = l+8*s.IntN((n-l)/8), 1
		}
		var head []byte
		if fragment != nil {
			*fragment = packet.ProtoFragment
			head = append([]byte{*first, 0, byte(at >> 8), byte(at) | more}, id...)
		}
		f := append(append([]byte(nil), h...), chain...)
		f = append(append(f, head...), b[at:at+n]...)
		binary.BigEndian.PutUint16(f[4:], uint16(len(f)-40))
		all = append(all, f)
		at += n
	}
	return all
}
