package offload

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
)

var seedFlag = flag.Uint64("seed", 0, "repeat the random tests of this seed")

// random returns a source that the test's log can repeat.
func random(t testing.TB) *rand.Rand {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("repeat with -seed=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// sent is what a guest wants to send: frame writes it as one long frame or as the
// frames that it would have sent without offload, one by one, with nothing but
// these numbers in hand. It is the slow twin of Segment and the maker of its input.
type sent struct {
	V6        bool
	Tag       bool   // VLAN tag of the guest
	IPOptions []byte // IPv4
	Extension []byte // IPv6: hop-by-hop options, or a routing header
	DF        bool
	ID        uint16
	TOS, TTL  uint8

	UDP        bool
	TCPOptions []byte
	Flags      uint8
	Seq        uint32
	Payload    []byte
	Size       int // of a piece
}

func (s *sent) String() string {
	short := *s
	short.Payload = nil
	return fmt.Sprintf("%+v with %d bytes", short, len(s.Payload))
}

func (s *sent) pieces() int {
	n := len(s.Payload)
	size := s.Size
	if s.UDP {
		if n += 8; n <= size {
			return 1
		}
		size &^= 7
	}
	return max((n+size-1)/size, 1)
}

// piece is segment i, whole and right, as it must be on the wire.
func (s *sent) piece(i int) []byte {
	if s.UDP {
		return s.fragment(i)
	}
	from := i * s.Size
	to := min(from+s.Size, len(s.Payload))
	flags := s.Flags
	if i > 0 {
		flags &^= packet.TCPCwr
	}
	if to < len(s.Payload) {
		flags &^= packet.TCPFin | packet.TCPPsh
	}
	return s.segment(i, from, to, flags)
}

// segment is the one with that part of the payload, in packet i.
func (s *sent) segment(i, from, to int, flags uint8) []byte {
	l4 := s.tcp(s.Seq+uint32(from), flags, s.Payload[from:to])
	binary.BigEndian.PutUint16(l4[16:], ^slowSum(s.pseudo(len(l4)), l4))
	return s.network(l4, s.ID+uint16(i), 0, false)
}

// fragment is fragment i of the UDP packet.
func (s *sent) fragment(i int) []byte {
	l4 := s.udp()
	sum := ^slowSum(s.pseudo(len(l4)), l4)
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(l4[6:], sum)
	if len(l4) <= s.Size {
		return s.network(l4, s.ID, 0, false)
	}
	from := i * (s.Size &^ 7)
	to := min(from+s.Size&^7, len(l4))
	return s.network(l4[from:to], s.ID, from, to < len(l4))
}

// whole is the long frame, with the checksum as virtio leaves it.
func (s *sent) whole() []byte {
	if s.UDP {
		l4 := s.udp()
		binary.BigEndian.PutUint16(l4[6:], slowSum(s.pseudo(len(l4))))
		return s.network(l4, s.ID, 0, false)
	}
	l4 := s.tcp(s.Seq, s.Flags, s.Payload)
	binary.BigEndian.PutUint16(l4[16:], slowSum(s.pseudo(len(l4))))
	return s.network(l4, s.ID, 0, false)
}

func (s *sent) tcp(seq uint32, flags uint8, payload []byte) []byte {
	b := []byte{0xc0, 0x12, 0xc0, 0x34}
	b = binary.BigEndian.AppendUint32(b, seq)
	b = append(b, 0x11, 0x22, 0x33, 0x44, uint8((20+len(s.TCPOptions))/4<<4), flags, 0x55, 0x66, 0, 0, 0, 0)
	b = append(b, s.TCPOptions...)
	return append(b, payload...)
}

func (s *sent) udp() []byte {
	b := []byte{0xc0, 0x12, 0xc0, 0x34}
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(s.Payload)))
	return append(append(b, 0, 0), s.Payload...)
}

var (
	ca4 = [2][]byte{{10, 1, 1, 11}, {10, 1, 1, 12}}
	ca6 = [2][]byte{packet16(0x11), packet16(0x12)}
)

func packet16(last byte) []byte {
	return []byte{0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last}
}

// pseudo is the pseudo-header: 12 or 40 bytes. With segments left in a routing
// header the final destination is in it, and the IP header has another.
func (s *sent) pseudo(length int) []byte {
	proto := byte(6)
	if s.UDP {
		proto = 17
	}
	if !s.V6 {
		b := append(append([]byte{}, ca4[0]...), ca4[1]...)
		return binary.BigEndian.AppendUint16(append(b, 0, proto), uint16(length))
	}
	b := append(append([]byte{}, ca6[0]...), ca6[1]...)
	if len(s.Extension) == 24 {
		copy(b[16:], s.Extension[8:])
	}
	b = binary.BigEndian.AppendUint32(b, uint32(length))
	return append(b, 0, 0, 0, proto)
}

// network puts everything in front of a transport packet, or of a part of it that
// begins at an offset.
func (s *sent) network(l4 []byte, id uint16, offset int, more bool) []byte {
	frag := offset > 0 || more
	proto := byte(6)
	if s.UDP {
		proto = 17
	}
	eth := []byte{0x10, 0x10, 0x10, 0x10, 0x11, 0x07, 0x10, 0x10, 0x10, 0x10, 0x11, 0x05}
	if s.Tag {
		eth = append(eth, 0x81, 0, 0, 7)
	}
	var ip []byte
	if s.V6 {
		eth = append(eth, 0x86, 0xdd)
		ip = append(ip, 0x60|s.TOS>>4, s.TOS<<4|3, 0x45, 0x67)
		next, ext := proto, s.Extension
		if frag {
			// The identification is not the twin's to know.
			word := uint16(offset)
			if more {
				word |= 1
			}
			next, ext = 44, binary.BigEndian.AppendUint16([]byte{proto, 0}, word)
			ext = append(ext, 0, 0, 0, 0)
		} else if len(ext) == 24 {
			next = 43
		} else if ext != nil {
			next = 0
		}
		ip = binary.BigEndian.AppendUint16(ip, uint16(len(ext)+len(l4)))
		ip = append(ip, next, s.TTL)
		ip = append(append(ip, ca6[0]...), ca6[1]...)
		ip = append(ip, ext...)
	} else {
		eth = append(eth, 0x08, 0x00)
		ip = append(ip, 0x45+byte(len(s.IPOptions)/4), s.TOS)
		ip = binary.BigEndian.AppendUint16(ip, uint16(20+len(s.IPOptions)+len(l4)))
		ip = binary.BigEndian.AppendUint16(ip, id)
		word := uint16(offset / 8)
		if more {
			word |= 0x2000
		}
		if s.DF && !frag {
			word |= 0x4000
		}
		ip = binary.BigEndian.AppendUint16(ip, word)
		ip = append(ip, s.TTL, proto, 0, 0)
		ip = append(append(ip, ca4[0]...), ca4[1]...)
		ip = append(ip, s.IPOptions...)
		binary.BigEndian.PutUint16(ip[10:], ^slowSum(ip))
	}
	return append(append(eth, ip...), l4...)
}

// slowSum is the one's complement sum of the words of all parts, as RFC 1071 says it.
func slowSum(parts ...[]byte) uint16 {
	var words []byte
	for _, p := range parts {
		words = append(words, p...)
	}
	if len(words)%2 != 0 {
		words = append(words, 0)
	}
	sum := 0
	for i := 0; i < len(words); i += 2 {
		sum += int(words[i])<<8 | int(words[i+1])
		if sum > 0xffff {
			sum = sum&0xffff + 1
		}
	}
	return uint16(sum)
}

func (s *sent) pending() Pending {
	if s.UDP {
		return Pending{UDPFragments, uint16(s.Size)}
	}
	return Pending{TCPSegments, uint16(s.Size)}
}

// layout is as the worker found it.
func (s *sent) layout(t testing.TB, m *mbuf.Mbuf) packet.Layout {
	t.Helper()
	var l packet.Layout
	if fault := packet.ParseHead(m.Data(), m.Len(), &l); fault != packet.OK {
		t.Fatalf("%+v: %v", s, fault)
	}
	return l
}

// anything is something random to send.
func anything(r *rand.Rand) *sent {
	s := &sent{
		V6: r.IntN(2) == 0, Tag: r.IntN(8) == 0, DF: r.IntN(2) == 0, ID: uint16(r.Uint32()),
		TOS: uint8(r.Uint32()), TTL: uint8(r.Uint32()),
		UDP: r.IntN(4) == 0, Flags: packet.TCPAck, Seq: r.Uint32(),
	}
	for _, f := range []uint8{packet.TCPFin, packet.TCPPsh, packet.TCPEce, packet.TCPCwr} {
		if r.IntN(3) == 0 {
			s.Flags |= f
		}
	}
	if r.IntN(3) == 0 {
		s.ID = 0xfffe // wraps
		s.Seq = 0xffffff00
	}
	s.TCPOptions = option(r, 253)
	if !s.UDP && r.IntN(3) == 0 {
		s.IPOptions = option(r, 0x9e)
		if s.V6 {
			s.Extension = [][]byte{
				{6, 0, 1, 4, 0, 0, 0, 0},
				{6, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
				append([]byte{6, 2, 0, 1, 0, 0, 0, 0}, packet16(0x99)...),
			}[r.IntN(3)]
		}
	}
	longest := 65535 - 14 - 4 - 200 // with room for all headers
	n := r.IntN(5000)
	if r.IntN(8) == 0 {
		n = longest - r.IntN(200)
	}
	s.Payload = fill(r, n)
	s.Size = 8 + r.IntN(1460)
	if r.IntN(4) == 0 {
		s.Size = []int{1400, 1406, 1418, 1448, 1460, 536, 8948}[r.IntN(7)]
	}
	if m := n/MaxPieces + 16; s.Size < m {
		s.Size = m
	}
	return s
}

// option is none, or one option that fills up to 40 bytes, of an experimental kind.
func option(r *rand.Rand, kind byte) []byte {
	b := fill(r, 4*r.IntN(11))
	if len(b) > 0 {
		b[0], b[1] = kind, byte(len(b))
	}
	return b
}

func fill(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	switch r.IntN(4) {
	case 0: // sums of zero and of all ones
	case 1:
		for i := range b {
			b[i] = 0xff
		}
	default:
		for i := range b {
			b[i] = byte(r.Uint32())
		}
	}
	return b
}

// splits are sizes of segments, of which the first has all headers.
func splits(r *rand.Rand, headers, room int) []int {
	switch r.IntN(4) {
	case 0:
		return []int{headers, room}
	case 1:
		return []int{headers + r.IntN(100), 1 + r.IntN(room), 1 + r.IntN(room), 1 + r.IntN(room), room}
	case 2:
		return []int{headers + r.IntN(100), 1 + r.IntN(9), 1, 0, 3, room - 1}
	}
	return []int{room}
}

// judge has gopacket read a frame and write it anew with lengths and checksums of
// its own making; where these are right, the bytes are the same.
func judge(t testing.TB, frame []byte) {
	t.Helper()
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
	if e := p.ErrorLayer(); e != nil {
		t.Fatalf("gopacket: %v\n%x", e.Error(), frame)
	}
	var network gopacket.NetworkLayer
	var all []gopacket.SerializableLayer
	transport, lengths := false, true
	for _, l := range p.Layers() {
		switch l := l.(type) {
		case *layers.Ethernet:
			lengths = lengths && len(l.Contents)+len(l.Payload) >= 60 // gopacket pads what is shorter
		case *layers.IPv4:
			network = l
		case *layers.IPv6:
			network = l
		case *layers.TCP:
			l.SetNetworkLayerForChecksum(network)
			transport = true
		case *layers.UDP:
			l.SetNetworkLayerForChecksum(network)
			transport = true
			if l.Checksum == 0xffff {
				return // gopacket writes 0, which says that there is none
			}
		}
		switch l := l.(type) {
		case *layers.IPv6HopByHop, *layers.IPv6Routing: // not written by gopacket
			return
		case *layers.IPv6Fragment:
			return
		case gopacket.SerializableLayer:
			all = append(all, l)
		default:
			t.Fatalf("gopacket cannot write %v", l.LayerType())
		}
	}
	if !transport && p.Layer(gopacket.LayerTypeFragment) == nil {
		t.Fatalf("gopacket finds neither TCP, UDP nor a fragment: %v", p)
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: lengths, ComputeChecksums: true}, all...); err != nil {
		t.Fatalf("gopacket: %v", err)
	}
	want := buf.Bytes()
	if !lengths {
		want = want[:min(len(want), len(frame))]
	}
	if !bytes.Equal(want, frame) {
		t.Fatalf("gopacket writes another frame\n have %x\n want %x", frame, want)
	}
}
