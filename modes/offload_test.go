package modes_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"paca/dataplane/count"
	"paca/dataplane/fib"
	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
	"paca/dataplane/port"
	"paca/dataplane/port/memport"
	"paca/dataplane/worker"
	"paca/modes/nvgre"
)

// Cards that there are, by what they do.
const (
	receives   = mbuf.ReceiveL4Checksum | mbuf.ReceiveLarge | mbuf.ReceiveSegments
	smartCard  = mbuf.AllOffloads &^ (receives | mbuf.SendVLAN | mbuf.ReceiveVLAN)
	plainCard  = mbuf.SendIPv4Checksum | mbuf.SendL4Checksum | mbuf.SendTSO | mbuf.SendSegments
	virtioCard = mbuf.SendL4Checksum | mbuf.SendTSO | mbuf.SendSegments | receives
	nothing    = mbuf.Offloads(0)
)

// claim puts ports that do what offloads say in the place of those that do nothing.
func (r *rig) claim(offloads map[int]mbuf.Offloads) *rig {
	r.t.Helper()
	plug := *r.w.Plug.Load()
	plug.Ports = slices.Clone(plug.Ports)
	for i, uses := range offloads {
		p, err := memport.New(memport.Config{Pool: r.pool, MTU: 2000, Depth: 256, Offloads: port.Offloads{Has: uses, Uses: uses}})
		if err != nil {
			r.t.Fatal(err)
		}
		r.ports[i] = p
		plug.Ports[i] = p
	}
	r.w.Plug.Store(&plug)
	return r
}

// sent is a frame with what was asked of the device that sent it.
type sent struct {
	frame []byte
	notes memport.Notes
}

// pass has one unfinished frame arrive at a port, and returns what came out of all.
func (r *rig) pass(in int, u unfinished) (out [nports][]sent) {
	r.t.Helper()
	r.before = r.w.Count.Snapshot()
	if r.ports[in].InjectNoted(0, u.frame, u.notes) != 1 {
		r.t.Fatalf("a frame of %d bytes does not arrive", len(u.frame))
	}
	r.w.PollOnce()
	for i, p := range r.ports {
		p.VisitNoted(0, func(f []byte, n memport.Notes) { out[i] = append(out[i], sent{bytes.Clone(f), n}) })
	}
	return out
}

// from fails unless frames came out of one port alone.
func (r *rig) from(out [nports][]sent, want int) []sent {
	r.t.Helper()
	for i := range out {
		if i != want && len(out[i]) > 0 {
			r.t.Fatalf("port %d sent %x", i, out[i][0].frame)
		}
	}
	if len(out[want]) == 0 {
		r.t.Fatalf("nothing sent by port %d; drops: %v", want, r.drops())
	}
	return out[want]
}

// unfinished is a frame as a VM hands it over that leaves work to others, and what its
// driver says of that.
type unfinished struct {
	frame []byte
	notes memport.Notes
}

// make is what a VM sends.
type content struct {
	v6      bool
	proto   uint8  // TCP or UDP
	options int    // bytes of TCP options, a multiple of 4
	between []byte // IPv4 options, or IPv6 extension headers, the first of kind first
	first   uint8
	final   string // where a source route ends, "" without one
	payload int
	size    int // of the payload of each segment; 0: not to be cut
	flags   uint8
	from    vm // unless said, Blue's first
	to      vm // and second
	random  *rand.Rand
}

// unfinished makes the frame: its IP header is right, its checksum field has the sum of
// the pseudo-header.
func (c content) unfinished() unfinished {
	if c.from == (vm{}) {
		c.from = vmBlue1
	}
	if c.to == (vm{}) {
		c.to = vmBlue2
	}
	if c.random == nil {
		c.random = rand.New(rand.NewPCG(1, 2))
	}
	header := packet.UDPLen
	if c.proto == packet.ProtoTCP {
		header = packet.TCPLen + c.options
	}
	l4 := make([]byte, header+c.payload)
	for i := range l4 {
		l4[i] = byte(c.random.Uint32())
	}
	binary.BigEndian.PutUint16(l4, 0xc000|uint16(c.random.Uint32()))
	binary.BigEndian.PutUint16(l4[2:], 80)
	at := 6
	if c.proto == packet.ProtoTCP {
		at = 16
		binary.BigEndian.PutUint16(l4[12:], uint16(header/4)<<12|uint16(c.flags))
		for i := range c.options {
			l4[20+i] = 1 // NOP
		}
	} else {
		binary.BigEndian.PutUint16(l4[4:], uint16(len(l4)))
	}
	f := append(append([]byte(nil), c.to.mac[:]...), c.from.mac[:]...)
	final := addr(c.to.ca(c.v6))
	var seed uint32
	if c.v6 {
		src, dst := addr(c.from.v6).As16(), final.As16()
		ip := make(packet.IPv6, 40)
		ip.Encode(packet.IPv6Fields{PayloadLen: uint16(len(c.between) + len(l4)), NextHeader: c.proto, HopLimit: 64, Src: src, Dst: dst})
		if len(c.between) > 0 {
			ip.SetNextHeader(c.first)
		}
		f = append(append(append(f, 0x86, 0xdd), ip...), c.between...)
		if c.final != "" {
			dst = addr(c.final).As16()
		}
		seed = packet.PseudoHeader6(src, dst, c.proto, uint32(len(l4)))
	} else {
		src, dst := addr(c.from.v4).As4(), final.As4()
		ip := make(packet.IPv4, 20)
		ip.Encode(packet.IPv4Fields{TotalLen: uint16(20 + len(c.between) + len(l4)), ID: uint16(c.random.Uint32()), Fragment: packet.IPv4DontFragment, TTL: 64, Protocol: c.proto, Src: src, Dst: dst})
		ip[0] += byte(len(c.between) / 4)
		f = append(append(append(f, 8, 0), ip...), c.between...)
		mend(f)
		if c.final != "" {
			dst = addr(c.final).As4()
		}
		seed = packet.PseudoHeader4(src, dst, c.proto, uint16(len(l4)))
	}
	binary.BigEndian.PutUint16(l4[at:], folded(seed))
	u := unfinished{frame: append(f, l4...), notes: memport.Notes{Flags: mbuf.RxL4ChecksumNone}}
	if c.size > 0 {
		u.notes.Flags |= mbuf.RxLRO
		u.notes.Lengths.SegmentSize = uint16(c.size)
	}
	return u
}

func folded(sum uint32) uint16 {
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// prepare does what drivers do to a frame before they hand it over, all with one
// function of DPDK's: the seed is made anew, of what the IP header itself says, and for
// what is to be cut without the length (O22).
func prepare(f []byte, n memport.Notes, l3, l4 int) {
	at := l4 + 6
	switch {
	case n.Flags&mbuf.TxL4Mask == mbuf.TxTCPChecksum, n.Flags&mbuf.TxTCPSegment != 0:
		at = l4 + 16
	case n.Flags&mbuf.TxL4Mask != mbuf.TxUDPChecksum:
		return
	}
	var seed uint32
	if n.Flags&mbuf.TxIPv4 != 0 {
		ip := packet.IPv4(f[l3:])
		length := ip.TotalLen() - uint16(ip.HeaderLen())
		if n.Flags&mbuf.TxTCPSegment != 0 {
			length = 0
		}
		seed = packet.PseudoHeader4(ip.Src4(), ip.Dst4(), ip.Protocol(), length)
	} else {
		ip := packet.IPv6(f[l3:])
		length := ip.PayloadLen()
		if n.Flags&mbuf.TxTCPSegment != 0 {
			length = 0
		}
		seed = packet.PseudoHeader6(ip.Src(), ip.Dst(), ip.NextHeader(), uint32(length))
	}
	binary.BigEndian.PutUint16(f[at:], folded(seed))
}

// device does to a sent frame what its flags and lengths ask for, as a card and its
// driver do: by the lengths, with hardly a look at what the frame is. It returns what is
// on the wire.
func device(t *testing.T, s sent) [][]byte {
	t.Helper()
	f, n := bytes.Clone(s.frame), s.notes
	tunnel := n.Flags&mbuf.TxTunnelMask == mbuf.TxTunnelGRE
	outer := 0
	if tunnel {
		outer = int(n.Lengths.OuterL2Len) + int(n.Lengths.OuterL3Len)
	}
	l3 := outer + int(n.Lengths.L2Len)
	l4 := l3 + int(n.Lengths.L3Len)
	prepare(f, n, l3, l4)
	switch {
	case n.Flags&mbuf.TxMask == 0:
		return [][]byte{f}
	case n.Flags&mbuf.TxTCPSegment == 0:
		complete(t, f, n, l3, l4)
		return [][]byte{f}
	}
	headers := l4 + int(n.Lengths.L4Len)
	var wire [][]byte
	for i := 0; headers+i*int(n.Lengths.SegmentSize) < len(f); i++ {
		from := headers + i*int(n.Lengths.SegmentSize)
		to := min(from+int(n.Lengths.SegmentSize), len(f))
		c := append(bytes.Clone(f[:headers]), f[from:to]...)
		tcp := packet.TCP(c[l4:])
		tcp.SetSeq(tcp.Seq() + uint32(from-headers))
		flags := tcp.Flags()
		if i > 0 {
			flags &^= packet.TCPCwr
		}
		if to < len(f) {
			flags &^= packet.TCPFin | packet.TCPPsh
		}
		tcp.SetFlags(flags)
		tcp.SetChecksum(folded(uint32(tcp.Checksum()) + uint32(len(c)-l4)))
		at := []int{l3}
		if tunnel {
			at = append(at, int(n.Lengths.OuterL2Len))
		}
		for _, l3 := range at {
			if c[l3]>>4 == 4 {
				ip := packet.IPv4(c[l3:])
				ip.SetTotalLen(uint16(len(c) - l3))
				ip.SetID(ip.ID() + uint16(i))
				if !tunnel && n.Flags&mbuf.TxIPChecksum == 0 { // who cuts makes new headers
					mendAt(c, l3)
				}
			} else {
				packet.IPv6(c[l3:]).SetPayloadLen(uint16(len(c) - l3 - 40))
			}
		}
		complete(t, c, n, l3, l4)
		wire = append(wire, c)
	}
	return wire
}

// complete computes the checksums that are asked for.
func complete(t *testing.T, f []byte, n memport.Notes, l3, l4 int) {
	t.Helper()
	header := func(asked uint64, at int) {
		if n.Flags&asked == 0 {
			return
		}
		ip := packet.IPv4(f[at:])
		if ip.Checksum() != 0 {
			t.Errorf("the IPv4 header at %d has a checksum already (O22)", at)
		}
		ip.SetChecksum(0)
		ip.SetChecksum(packet.Checksum(ip[:ip.HeaderLen()], 0))
	}
	header(mbuf.TxIPChecksum, l3)
	header(mbuf.TxOuterIPChecksum, int(n.Lengths.OuterL2Len))
	switch {
	case n.Flags&mbuf.TxL4Mask == mbuf.TxTCPChecksum, n.Flags&mbuf.TxTCPSegment != 0:
		binary.BigEndian.PutUint16(f[l4+16:], packet.Checksum(f[l4:], 0))
	case n.Flags&mbuf.TxL4Mask == mbuf.TxUDPChecksum:
		sum := packet.Checksum(f[l4:], 0)
		if sum == 0 {
			sum = 0xffff
		}
		binary.BigEndian.PutUint16(f[l4+6:], sum)
	}
}

// sound fails unless every checksum of a frame is right: of an outer IPv4 header, of an
// inner one, of TCP and UDP.
func sound(t *testing.T, f []byte) {
	t.Helper()
	var l packet.Layout
	if fault := packet.Parse(f, &l); fault != packet.OK {
		t.Fatalf("%v: %x", fault, f)
	}
	if l.EtherType == packet.EtherTypeIPv4 && !packet.VerifyIPv4(f[l.L3:]) {
		t.Errorf("IPv4 header checksum: %x", f[:l.L3+20])
	}
	if l.Proto == packet.ProtoGRE {
		sound(t, f[l.L4+packet.NVGRELen:l.End])
		return
	}
	if l.L4 == 0 || l.Flags&packet.IsFragment != 0 || l.Proto != packet.ProtoTCP && l.Proto != packet.ProtoUDP {
		return
	}
	seg := f[l.L4:l.End]
	var pseudo uint32
	if l.EtherType == packet.EtherTypeIPv4 {
		ip := packet.IPv4(f[l.L3:])
		pseudo = packet.PseudoHeader4(ip.Src4(), ip.Dst4(), l.Proto, uint16(len(seg)))
	} else {
		ip := packet.IPv6(f[l.L3:])
		pseudo = packet.PseudoHeader6(ip.Src(), ip.Dst(), l.Proto, uint32(len(seg)))
	}
	if packet.Checksum(seg, pseudo) != 0 {
		t.Errorf("checksum of protocol %d: %x", l.Proto, f)
	}
}

// fabric is testPolicy whose hosts have PAs of a family, in a VLAN of it.
func fabricOf(v6 bool, vlan uint16) *policy.Set {
	set := testPolicy()
	if v6 {
		for i := range set.LookupRecords {
			switch r := &set.LookupRecords[i]; r.PA {
			case addr("192.168.1.10"):
				r.PA = addr("2001:db8:1::10")
			case addr("192.168.2.20"):
				r.PA = addr("2001:db8:2::20")
			}
		}
		set.ProviderAddresses[0].Prefix = prefix("2001:db8:1::10/64")
		set.ProviderRoutes[0].Prefix, set.ProviderRoutes[0].NextHop = prefix("::/0"), addr("2001:db8:1::1")
	}
	set.ProviderAddresses[0].VLAN = vlan
	return set
}

// crossing is a fabric, by its outer headers, and a rig on it for each card.
type crossing struct {
	outer6 bool
	vlan   uint16
	rigs   []*rig
}

// cross goes over every kind of fabric with a rig for each card, of whose VMs one sends
// unfinished frames.
func cross(t *testing.T, cards []mbuf.Offloads, test func(crossing)) {
	for _, outer6 := range []bool{false, true} {
		for _, vlan := range []uint16{0, 103} {
			c := crossing{outer6: outer6, vlan: vlan}
			for _, card := range cards {
				c.rigs = append(c.rigs, newRig(t, fabricOf(outer6, vlan), nvgre.Config{}).claim(map[int]mbuf.Offloads{uplink: card, blue1: virtioCard}))
			}
			test(c)
			for _, r := range c.rigs {
				r.balance(0)
			}
		}
	}
}

// contents are frames to be cut and not.
func contents() (all []content) {
	for _, v6 := range []bool{false, true} {
		for _, c := range []content{
			{proto: packet.ProtoTCP, flags: packet.TCPAck, payload: 3 * 1378, size: 1378},
			{proto: packet.ProtoTCP, flags: packet.TCPAck | packet.TCPPsh | packet.TCPFin, options: 12, payload: 60000, size: 1366},
			{proto: packet.ProtoTCP, flags: packet.TCPAck, payload: 100, size: 1000},
			{proto: packet.ProtoTCP, flags: packet.TCPAck, payload: 5000, size: 700},
			{proto: packet.ProtoTCP, flags: packet.TCPAck, payload: 2500, size: 1000}, // a little beyond one buffer
			{proto: packet.ProtoTCP, flags: packet.TCPSyn, options: 20},
			{proto: packet.ProtoTCP, flags: packet.TCPAck, payload: 1001},
			{proto: packet.ProtoUDP, payload: 777},
			{proto: packet.ProtoUDP},
		} {
			c.v6 = v6
			all = append(all, c)
		}
	}
	return all
}

// O20-O22: for a card that knows GRE, every flag, every length, and what must be in the
// data.
func TestO20_O21_O22_O23TunnelFields(t *testing.T) {
	cross(t, []mbuf.Offloads{smartCard}, func(x crossing) {
		for _, c := range contents() {
			name := fmt.Sprintf("outer6=%v vlan=%d %+v", x.outer6, x.vlan, c)
			got := x.rigs[0].from(x.rigs[0].pass(blue1, c.unfinished()), uplink)
			if len(got) != 1 {
				t.Errorf("%s: %d frames", name, len(got))
				continue
			}
			want := memport.Notes{Flags: mbuf.TxTunnelGRE, Segments: got[0].notes.Segments}
			want.Lengths = mbuf.TxOffload{OuterL2Len: 14, OuterL3Len: 20, L2Len: 22, L3Len: 20}
			if x.vlan != 0 {
				want.Lengths.OuterL2Len = 18
			}
			outer := int(want.Lengths.OuterL2Len)
			if x.outer6 {
				want.Lengths.OuterL3Len = 40
				want.Flags |= mbuf.TxOuterIPv6
			} else {
				want.Flags |= mbuf.TxOuterIPv4 | mbuf.TxOuterIPChecksum
			}
			inner := outer + int(want.Lengths.OuterL3Len) + 22
			if c.v6 {
				want.Lengths.L3Len = 40
				want.Flags |= mbuf.TxIPv6
			} else {
				want.Flags |= mbuf.TxIPv4 | mbuf.TxIPChecksum
			}
			at := 6
			if c.proto == packet.ProtoTCP {
				want.Lengths.L4Len, at = uint8(20+c.options), 16
				want.Flags |= mbuf.TxTCPChecksum
				if c.size > 0 {
					want.Flags |= mbuf.TxTCPSegment
					want.Lengths.SegmentSize = uint16(c.size)
				}
			} else {
				want.Lengths.L4Len = 8
				want.Flags |= mbuf.TxUDPChecksum
			}
			if got[0].notes != want {
				t.Errorf("%s:\n got %+v\nwant %+v", name, got[0].notes, want)
			}
			f := got[0].frame
			l4 := inner + int(want.Lengths.L3Len)
			if !x.outer6 && packet.IPv4(f[outer:]).Checksum() != 0 {
				t.Errorf("%s: the outer IPv4 header has a checksum", name)
			}
			length := uint32(len(f) - l4)
			if c.size > 0 {
				length = 0 // O20
			}
			var seed uint32
			if c.v6 {
				seed = packet.PseudoHeader6(packet.IPv6(f[inner:]).Src(), packet.IPv6(f[inner:]).Dst(), c.proto, length)
			} else {
				if packet.IPv4(f[inner:]).Checksum() != 0 {
					t.Errorf("%s: the inner IPv4 header has a checksum", name)
				}
				seed = packet.PseudoHeader4(packet.IPv4(f[inner:]).Src4(), packet.IPv4(f[inner:]).Dst4(), c.proto, uint16(length))
			}
			if got := binary.BigEndian.Uint16(f[l4+at:]); got != folded(seed) {
				t.Errorf("%s: seed %04x, want %04x", name, got, folded(seed))
			}
		}
	})
}

// O24: for a card that knows only checksums, the outer headers are the link layer.
func TestO24PlainFields(t *testing.T) {
	cards := []mbuf.Offloads{plainCard, virtioCard, mbuf.SendL4Checksum}
	cross(t, cards, func(x crossing) {
		for i, r := range x.rigs {
			for _, c := range contents() {
				if c.size > 0 {
					continue
				}
				got := r.from(r.pass(blue1, c.unfinished()), uplink)
				want := memport.Notes{Segments: 1, Lengths: mbuf.TxOffload{L2Len: 56, L3Len: 20, L4Len: 8}}
				if x.outer6 {
					want.Lengths.L2Len += 20
				}
				if x.vlan != 0 {
					want.Lengths.L2Len += 4
				}
				want.Flags = mbuf.TxUDPChecksum
				if c.proto == packet.ProtoTCP {
					want.Lengths.L4Len, want.Flags = uint8(20+c.options), mbuf.TxTCPChecksum
				}
				if c.v6 {
					want.Lengths.L3Len = 40
					want.Flags |= mbuf.TxIPv6
				} else {
					want.Flags |= mbuf.TxIPv4
					if cards[i].Has(mbuf.SendIPv4Checksum) {
						want.Flags |= mbuf.TxIPChecksum
					}
				}
				if len(got) != 1 || got[0].notes != want {
					t.Errorf("%b, outer6=%v vlan=%d %+v:\n got %+v\nwant %+v", cards[i], x.outer6, x.vlan, c, got[0].notes, want)
				}
			}
		}
	})
}

// O9, O20-O24, M12: whatever the card does of it, the wire sees the same bytes, segment
// by segment, and they are sound.
func TestO9_O20_O24SameOnTheWire(t *testing.T) {
	cards := []mbuf.Offloads{nothing, smartCard, plainCard, virtioCard, mbuf.SendL4Checksum}
	cross(t, cards, func(x crossing) {
		for _, c := range contents() {
			pieces := 1
			if c.size > 0 {
				pieces = (c.payload + c.size - 1) / c.size
			}
			x.same(t, cards, c.unfinished(), pieces)
		}
	})
}

// The same for what nobody thought of.
func TestO9RandomSameOnTheWire(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	cards := []mbuf.Offloads{nothing, smartCard, virtioCard}
	cross(t, cards, func(x crossing) {
		for range 50 {
			c := content{v6: random.IntN(2) == 0, proto: packet.ProtoTCP, random: random}
			c.options, c.flags = 4*random.IntN(11), packet.TCPAck|uint8(random.IntN(2))*packet.TCPPsh
			c.size = 8 + random.IntN(1500)
			c.payload = min(1+random.IntN(60000), c.size*200)
			if random.IntN(3) == 0 {
				c.proto, c.size, c.payload, c.options = packet.ProtoUDP, 0, random.IntN(1380), 0
			}
			x.same(t, cards, c.unfinished(), 0)
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
	})
}

// O22, R23: what drivers get wrong is not left to them: they make seeds of what the IP
// header itself says, which is not the transport behind extension headers, nor where a
// source route ends; and take a TCP header for as long as it says.
func TestO22_R23NotLeftToDrivers(t *testing.T) {
	cards := []mbuf.Offloads{nothing, smartCard, plainCard, virtioCard, mbuf.SendL4Checksum}
	var odd []content
	for _, c := range []content{
		{v6: true, first: packet.ProtoDestination, between: []byte{0, 0, 1, 4, 0, 0, 0, 0}},
		{v6: true, first: packet.ProtoHopByHop, between: []byte{0, 0, 1, 4, 0, 0, 0, 0}},
		{v6: true, first: packet.ProtoRouting, between: append([]byte{0, 2, 0, 1, 0, 0, 0, 0}, addr("fd99::5").AsSlice()...), final: "fd99::5"},
		{between: []byte{1, 1, 1, 0}},
		{between: []byte{0x83, 7, 4, 192, 0, 2, 5, 0}, final: "192.0.2.5"}, // loose source route
	} {
		for _, what := range []content{
			{proto: packet.ProtoTCP, flags: packet.TCPAck, payload: 5000, size: 700},
			{proto: packet.ProtoTCP, flags: packet.TCPAck, payload: 500},
			{proto: packet.ProtoUDP, payload: 501},
		} {
			what.v6, what.first, what.between, what.final = c.v6, c.first, bytes.Clone(c.between), c.final
			if c.v6 {
				what.between[0] = what.proto
			}
			odd = append(odd, what)
		}
	}
	same := func(rigs []*rig, c content, out int) {
		var software [][]byte
		for i, r := range rigs {
			var wire [][]byte
			for _, s := range r.from(r.pass(blue1, c.unfinished()), out) {
				wire = append(wire, device(t, s)...)
			}
			if i == 0 {
				software = wire
			} else if err := sameFrames(wire, software); err != nil {
				t.Errorf("card %b, %+v: %v", cards[i], c, err)
			}
		}
	}
	cross(t, cards, func(x crossing) {
		for _, c := range odd {
			same(x.rigs, c, uplink)
		}
	})
	var rewriting, here []*rig
	for _, card := range cards {
		rewriting = append(rewriting, newRig(t, rewritePolicy(1), nvgre.Config{}).claim(map[int]mbuf.Offloads{uplink: card, blue1: virtioCard}))
		here = append(here, newRig(t, rewritePolicy(1), nvgre.Config{}).claim(map[int]mbuf.Offloads{blue3: card, blue1: virtioCard}))
	}
	for _, c := range odd {
		same(rewriting, c, uplink)
		c.to = vmBlue3
		same(here, c, blue3)
	}
}

// same has every rig pass a frame and compares what its card puts on the wire with what
// the first rig, which has none, does. pieces is how many frames there are, 0: not known.
func (x *crossing) same(t *testing.T, cards []mbuf.Offloads, u unfinished, pieces int) {
	t.Helper()
	var software [][]byte
	for i, r := range x.rigs {
		var wire [][]byte
		for _, s := range r.from(r.pass(blue1, u), uplink) {
			wire = append(wire, device(t, s)...)
		}
		if i > 0 {
			if err := sameFrames(wire, software); err != nil {
				t.Errorf("outer6=%v vlan=%d, card %b: %v", x.outer6, x.vlan, cards[i], err)
			}
			continue
		}
		software = wire
		if pieces != 0 && len(wire) != pieces {
			t.Errorf("%d frames, want %d", len(wire), pieces)
		}
		for _, f := range wire {
			sound(t, f)
			if n := len(f) - 14; n > 1500 && (x.vlan == 0 || n > 1504) {
				t.Errorf("an IP packet of %d bytes (M12)", n)
			}
		}
	}
}

func sameFrames(got, want [][]byte) error {
	if len(got) != len(want) {
		return fmt.Errorf("%d frames, %d by software", len(got), len(want))
	}
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			return fmt.Errorf("frame %d:\n got %x\nwant %x", i, got[i], want[i])
		}
	}
	return nil
}

// M12: what is cut is cut so that it fits, whatever its sender thought; a frame that is
// not to be cut is answered or fragmented as ever.
func TestM12_O8CutToFit(t *testing.T) {
	for _, card := range []mbuf.Offloads{nothing, smartCard, virtioCard} {
		r := newRig(t, testPolicy(), nvgre.Config{}).claim(map[int]mbuf.Offloads{uplink: card, blue1: virtioCard, blue3: virtioCard})
		for _, v6 := range []bool{false, true} {
			ip := 20
			if v6 {
				ip = 40
			}
			c := content{v6: v6, proto: packet.ProtoTCP, flags: packet.TCPAck, options: 12, payload: 30000, size: 8000}
			longest := 0
			for _, s := range r.from(r.pass(blue1, c.unfinished()), uplink) {
				for _, f := range device(t, s) {
					sound(t, f)
					longest = max(longest, len(f))
				}
			}
			if longest != 1514 { // 1458 of inner IP
				t.Errorf("card %b: the longest frame has %d bytes, want 1514", card, longest)
			}
			// To a VM here, whose MTU is the limit.
			if c.to = vmBlue3; !v6 {
				got := r.from(r.pass(blue1, c.unfinished()), blue3)
				if len(got) != 1 || int(got[0].notes.Lengths.SegmentSize) != 1500-ip-32 {
					t.Errorf("%d frames, to be cut into %d bytes", len(got), got[0].notes.Lengths.SegmentSize)
				}
			}
		}
		r.balance(0)
	}
	// So little room that headers do not fit, or almost nothing beside them.
	for mtu, reason := range map[int]count.Reason{42 + 52: count.MTUExceeded, 42 + 53: count.GSOUnsupported} {
		set := testPolicy()
		set.Ports[uplink].MTU = mtu
		r := newRig(t, set, nvgre.Config{}).claim(map[int]mbuf.Offloads{blue1: virtioCard})
		c := content{proto: packet.ProtoTCP, flags: packet.TCPAck, options: 12, payload: 1000, size: 500}
		r.pass(blue1, c.unfinished())
		if got := r.drops(); got[reason.Name()] != 1 {
			t.Errorf("mtu %d: drops %v, want %v", mtu, got, reason)
		}
	}
}

// L15, O28: a VM here gets a large frame as it is if it takes such, else what a card
// would have made of it.
func TestL15_O28ToVMOfThisHost(t *testing.T) {
	for _, takes := range []mbuf.Offloads{virtioCard, plainCard, mbuf.SendL4Checksum, nothing} {
		r := newRig(t, testPolicy(), nvgre.Config{}).claim(map[int]mbuf.Offloads{blue1: virtioCard, blue3: takes})
		for _, c := range contents() {
			if c.v6 || c.payload > 50000 {
				continue
			}
			c.to = vmBlue3
			u := c.unfinished()
			got := r.from(r.pass(blue1, u), blue3)
			whole := c.size == 0 || takes.Has(mbuf.SendTSO)
			if whole && len(got) != 1 || !whole && len(got) != max(1, (c.payload+c.size-1)/c.size) {
				t.Errorf("%b, %+v: %d frames", takes, c, len(got))
			}
			if asks := got[0].notes.Flags&mbuf.TxMask != 0; asks != takes.Has(mbuf.SendL4Checksum) {
				t.Errorf("%b, %+v: flags %#x", takes, c, got[0].notes.Flags)
			}
			if asked := got[0].notes.Flags&mbuf.TxIPChecksum != 0; asked && !takes.Has(mbuf.SendIPv4Checksum) {
				t.Errorf("%b, %+v: asks for the IPv4 header's checksum", takes, c)
			}
			var data []byte
			for _, s := range got {
				for _, f := range device(t, s) {
					if takes == nothing {
						sound(t, f)
					}
					if packet.Ethernet(f).Dst() != macBlue3 {
						t.Errorf("%b, %+v: to %v", takes, c, packet.Ethernet(f).Dst())
					}
					data = append(data, f[len(u.frame)-c.payload:]...)
				}
			}
			if !bytes.Equal(data, u.frame[len(u.frame)-c.payload:]) {
				t.Errorf("%b, %+v: %d bytes of payload arrive otherwise than they were sent", takes, c, c.payload)
			}
		}
		r.balance(0)
	}
}

// Frames that no port takes, or that nobody can do anything about, end by name.
func TestR23_M12UnfinishedDrops(t *testing.T) {
	tcp := content{proto: packet.ProtoTCP, flags: packet.TCPAck, payload: 4000, size: 1000}
	odd := func(c content, change func(*unfinished)) unfinished {
		u := c.unfinished()
		change(&u)
		return u
	}
	for name, c := range map[string]struct {
		u    unfinished
		want count.Reason
	}{
		"large, not to be cut":   {odd(tcp, func(u *unfinished) { u.notes = memport.Notes{} }), count.MultiSegment},
		"large, a checksum only": {odd(tcp, func(u *unfinished) { u.notes.Flags = mbuf.RxL4ChecksumNone }), count.MultiSegment},
		"no size":                {odd(tcp, func(u *unfinished) { u.notes.Lengths.SegmentSize = 0 }), count.GSOUnsupported},
		"checksum is there":      {odd(tcp, func(u *unfinished) { u.notes.Flags = mbuf.RxLRO }), count.GSOUnsupported},
		"too many pieces":        {odd(tcp, func(u *unfinished) { u.notes.Lengths.SegmentSize = 1 }), count.GSOUnsupported},
		"a SYN":                  {odd(tcp, func(u *unfinished) { u.frame[47] = packet.TCPSyn }), count.GSOUnsupported},
		"a header beyond":        {odd(tcp, func(u *unfinished) { u.frame[46] = 0x10 }), count.GSOUnsupported},
		"a protocol without":     {odd(tcp, func(u *unfinished) { u.frame[23] = 132; mend(u.frame) }), count.GSOUnsupported},
		"headers to the end": {odd(tcp, func(u *unfinished) {
			u.frame = u.frame[:14+40]
			u.frame[46] = 0xf0
			packet.IPv4(u.frame[14:]).SetTotalLen(40)
			mend(u.frame)
		}), count.GSOUnsupported},
		"ICMP without a checksum": {odd(content{proto: packet.ProtoUDP}, func(u *unfinished) { u.frame[23] = 1; mend(u.frame) }), count.ChecksumUnsupported},
	} {
		for _, card := range []mbuf.Offloads{nothing, smartCard, virtioCard} {
			for _, set := range []*policy.Set{testPolicy(), rewritePolicy(1)} {
				r := newRig(t, set, nvgre.Config{}).claim(map[int]mbuf.Offloads{blue1: virtioCard, uplink: card})
				r.pass(blue1, c.u)
				if got := r.drops(); got[c.want.Name()] != 1 || len(got) != 1 {
					t.Errorf("%s, card %b: drops %v, want %v", name, card, got, c.want)
				}
				r.balance(0)
			}
		}
	}
}

// What is behind the packet in an unfinished frame is nobody's, and does not become part
// of it, though devices go by the frame's length. A large one with more is refused.
func TestO22_W21Padding(t *testing.T) {
	cards := []mbuf.Offloads{nothing, smartCard, plainCard, virtioCard}
	wires := func(c content, padding ...byte) (all [][][]byte) {
		for _, card := range cards {
			r := newRig(t, testPolicy(), nvgre.Config{}).claim(map[int]mbuf.Offloads{uplink: card, blue1: virtioCard})
			u := c.unfinished()
			u.frame = append(u.frame, padding...)
			var wire [][]byte
			for _, s := range r.from(r.pass(blue1, u), uplink) {
				wire = append(wire, device(t, s)...)
			}
			all = append(all, wire)
			r.balance(0)
		}
		return all
	}
	for _, c := range contents() {
		if c.payload > 1500 {
			continue // several buffers
		}
		want, got := wires(c), wires(c, 1, 2, 3)
		for i, card := range cards {
			if err := sameFrames(got[i], want[i]); err != nil {
				t.Errorf("card %b, %+v: %v", card, c, err)
			}
		}
	}
	r := newRig(t, testPolicy(), nvgre.Config{}).claim(map[int]mbuf.Offloads{blue1: virtioCard, uplink: smartCard})
	u := content{proto: packet.ProtoTCP, flags: packet.TCPAck, payload: 5000, size: 1000}.unfinished()
	u.frame = append(u.frame, 1)
	r.pass(blue1, u)
	if got := r.drops(); got["gso_unsupported"] != 1 || len(got) != 1 {
		t.Errorf("drops %v", got)
	}
	r.balance(0)
}

// mend mends the IPv4 checksum of an untagged frame.
func mend(f []byte) { mendAt(f, 14) }

func mendAt(f []byte, l3 int) {
	ip := packet.IPv4(f[l3:])
	ip.SetChecksum(0)
	ip.SetChecksum(packet.Checksum(ip[:ip.HeaderLen()], 0))
}

// R22, R23, O28: a rewritten frame is left to a card as any other is, and the wire sees
// what software would have made of it.
func TestR22_R23_O28RewriteSameOnTheWire(t *testing.T) {
	for _, vlan := range []uint16{0, 103} {
		set := rewritePolicy(1)
		for i := range set.ProviderAddresses {
			set.ProviderAddresses[i].VLAN = vlan
		}
		cards := []mbuf.Offloads{nothing, smartCard, plainCard, virtioCard, mbuf.SendL4Checksum}
		x := crossing{vlan: vlan}
		for _, card := range cards {
			x.rigs = append(x.rigs, newRig(t, set, nvgre.Config{}).claim(map[int]mbuf.Offloads{uplink: card, blue1: virtioCard}))
		}
		for _, c := range contents() {
			pieces := 1
			if c.size > 0 {
				pieces = (c.payload + c.size - 1) / c.size
			}
			x.same(t, cards, c.unfinished(), pieces)

			got := x.rigs[3].from(x.rigs[3].pass(blue1, c.unfinished()), uplink)
			want := memport.Notes{Segments: got[0].notes.Segments, Lengths: mbuf.TxOffload{L2Len: 14, L3Len: 20, L4Len: 8, SegmentSize: uint16(c.size)}}
			want.Flags = mbuf.TxUDPChecksum
			if vlan != 0 {
				want.Lengths.L2Len = 18
			}
			if c.proto == packet.ProtoTCP {
				want.Lengths.L4Len, want.Flags = uint8(20+c.options), mbuf.TxTCPChecksum
			}
			if c.v6 {
				want.Lengths.L3Len = 40
				want.Flags |= mbuf.TxIPv6
			} else {
				want.Flags |= mbuf.TxIPv4
			}
			if c.size > 0 {
				want.Flags |= mbuf.TxTCPSegment
			}
			if len(got) != 1 || got[0].notes != want {
				t.Errorf("vlan %d, %+v: %d frames\n got %+v\nwant %+v", vlan, c, len(got), got[0].notes, want)
			}
			for i := range x.rigs { // which has sent one more
				if i != 3 {
					x.rigs[i].pass(blue1, c.unfinished())
				}
			}
		}
		for _, r := range x.rigs {
			r.balance(0)
		}
	}
}

// R23, O28: over a wire on which nothing is finished, a large frame goes as one from VM
// to VM, and is what was sent; a VM that does not take it so gets its segments, finished.
func TestR11_R23_O28LargeFrameCrosses(t *testing.T) {
	for _, takes := range []mbuf.Offloads{virtioCard, nothing} {
		one, two := hosts(t)
		one.claim(map[int]mbuf.Offloads{uplink: virtioCard, blue1: virtioCard})
		two.claim(map[int]mbuf.Offloads{uplink: virtioCard, blue2: takes})
		for _, c := range contents() {
			u := c.unfinished()
			got := one.from(one.pass(blue1, u), uplink)
			if len(got) != 1 {
				t.Fatalf("%+v: %d frames on the wire", c, len(got))
			}
			got = two.from(two.pass(uplink, unfinished{routed(got[0].frame), arrived(got[0].notes)}), blue2)
			if takes == nothing {
				pieces := 1
				if c.size > 0 {
					pieces = (c.payload + c.size - 1) / c.size
				}
				for _, s := range got {
					sound(t, s.frame)
				}
				if len(got) != pieces || got[0].notes.Flags&mbuf.TxMask != 0 {
					t.Errorf("%+v: %d frames arrive, flags %#x", c, len(got), got[0].notes.Flags)
				}
				continue
			}
			want := bytes.Clone(u.frame)
			if !c.v6 { // a router of the fabric did nothing to it here
				want = u.frame
			}
			if len(got) != 1 || !bytes.Equal(got[0].frame, want) {
				t.Errorf("%+v: %d frames arrive\n got %x\nwant %x", c, len(got), got[0].frame[:80], want[:min(80, len(want))])
			}
			if n := got[0].notes; n.Flags&mbuf.TxL4Mask == 0 || int(n.Lengths.SegmentSize) != c.size || n.Lengths.L2Len != 14 {
				t.Errorf("%+v: arrives with %+v", c, n)
			}
		}
		one.balance(0)
		two.balance(0)
	}
}

// M12: what comes in one is cut so that the VM's link takes it; what is not to be cut is
// dropped if that does not.
func TestM12_R23CutToFitTheVM(t *testing.T) {
	set := rewritePolicy(1)
	set.Ports[blue1].MTU = 1400
	for _, takes := range []mbuf.Offloads{virtioCard, nothing} {
		r := newRig(t, set, nvgre.Config{}).claim(map[int]mbuf.Offloads{uplink: virtioCard, blue1: takes})
		c := content{proto: packet.ProtoTCP, flags: packet.TCPAck, payload: 6000, size: 1460,
			from: vm{macRouter, paBlue2.v4, paBlue2.v6}, to: vm{macUplink, paBlue1.v4, paBlue1.v6}}
		for _, s := range r.from(r.pass(uplink, c.unfinished()), blue1) {
			for _, f := range device(t, s) {
				sound(t, f)
				if len(f) > 1414 {
					t.Errorf("a frame of %d bytes", len(f))
				}
			}
		}
		c.payload, c.size = 1400, 0
		r.pass(uplink, c.unfinished())
		if got := r.drops(); got["mtu_exceeded"] != 1 || len(got) != 1 {
			t.Errorf("drops %v", got)
		}
		r.balance(0)
	}
}

// arrived is what the driver of a virtio wire says of a packet that was sent so.
func arrived(n memport.Notes) (a memport.Notes) {
	if n.Flags&mbuf.TxL4Mask != 0 {
		a.Flags |= mbuf.RxL4ChecksumNone
	}
	if n.Flags&mbuf.TxTCPSegment != 0 {
		a.Flags |= mbuf.RxLRO
		a.Lengths.SegmentSize = n.Lengths.SegmentSize
	}
	return a
}

// What is not for a VM reaches the host's kernel finished.
func TestW20_R23UnfinishedToHost(t *testing.T) {
	r := newRig(t, wholePolicy(), nvgre.Config{}).claim(map[int]mbuf.Offloads{uplink: virtioCard | mbuf.ReceiveVLAN})
	for _, c := range contents() {
		c.from.v4, c.from.v6, c.to.v4, c.to.v6 = "192.168.1.1", "2001:db8:1::1", "192.168.1.200", "2001:db8:1::200"
		pieces := 1
		if c.size > 0 {
			pieces = (c.payload + c.size - 1) / c.size
		}
		got := r.from(r.pass(uplink, c.unfinished()), kernel)
		for _, s := range got {
			sound(t, s.frame)
		}
		if len(got) != pieces || got[0].notes.Flags&mbuf.TxMask != 0 {
			t.Errorf("%+v: %d frames to the kernel, flags %#x", c, len(got), got[0].notes.Flags)
		}
	}
	// And with the tag that the card took out.
	u := content{proto: packet.ProtoUDP, payload: 100}.unfinished()
	plain := r.from(r.pass(uplink, u), kernel)[0].frame
	u.notes.Flags |= mbuf.RxVLAN | mbuf.RxVLANStripped
	u.notes.TCI = 0x6007
	got := r.from(r.pass(uplink, u), kernel)[0].frame
	if want := slices.Concat(plain[:12], []byte{0x81, 0, 0x60, 7}, plain[12:]); !bytes.Equal(got, want) {
		t.Errorf("tagged:\n got %x\nwant %x", got, want)
	}
	r.balance(0)
}

// W20, W11: tunnel traffic whose tag the card took out is in that VLAN all the same, and
// in no other; what is answered or told is tagged again.
func TestW20VLANTakenOut(t *testing.T) {
	r := newRig(t, fabricOf(false, 103), nvgre.Config{}).claim(map[int]mbuf.Offloads{uplink: mbuf.ReceiveVLAN})
	for tci, want := range map[uint16]int{103: blue1, 0xe000 | 103: blue1, 104: -1, 0: -1} {
		u := unfinished{fromFabric(), memport.Notes{Flags: mbuf.RxVLAN | mbuf.RxVLANStripped, TCI: tci}}
		before := r.drops()["outer_vlan"]
		out := r.pass(uplink, u)
		if want < 0 {
			if r.drops()["outer_vlan"] != before+1 {
				t.Errorf("tag %d: drops %v", tci, r.drops())
			}
			continue
		}
		if got := r.from(out, want)[0].frame; !bytes.Equal(got, fromFabric()[42:]) {
			t.Errorf("tag %d: %x", tci, got)
		}
	}
	ask := packet.AppendARP(nil, &packet.ARPFrame{DstMAC: packet.Broadcast, SrcMAC: macRouter,
		ARPFields: packet.ARPFields{Op: packet.ARPOpRequest, SenderMAC: macRouter, SenderIP: [4]byte{192, 168, 1, 1}, TargetIP: [4]byte{192, 168, 1, 10}}})
	answer := r.from(r.pass(uplink, unfinished{ask, memport.Notes{Flags: mbuf.RxVLAN | mbuf.RxVLANStripped, TCI: 103}}), uplink)[0].frame
	var l packet.Layout
	if packet.Parse(answer, &l) != packet.OK || l.Tags != 1 || l.TCI != 103 || packet.ARP(answer[l.L3:]).Op() != packet.ARPOpReply {
		t.Errorf("answer %x", answer)
	}
	r.balance(0)
}

// What goes straight behind a frame that is left to the uplink's card leaves nothing to
// it.
func TestO20PlainBehindUnfinished(t *testing.T) {
	r := newRig(t, wholePolicy(), nvgre.Config{}).claim(map[int]mbuf.Offloads{blue1: virtioCard, uplink: smartCard})
	u := content{proto: packet.ProtoUDP, payload: 100}.unfinished()
	plain := between(vmBlue1, vmBlue2, macBlue2, false).frame()
	for _, burst := range [][]unfinished{{u, u}, {u, {frame: plain}}} {
		r.ports[blue1].InjectNoted(0, burst[0].frame, burst[0].notes)
		got := r.from(r.pass(blue1, burst[1]), uplink)
		for i, asked := range []bool{true, burst[1].notes.Flags != 0} {
			if (got[i].notes.Flags&mbuf.TxMask != 0) != asked {
				t.Errorf("frame %d: flags %#x", i, got[i].notes.Flags)
			}
		}
	}
	r.balance(0)
}

// Nor is such a packet for a PA in no VLAN, however plain it looks, unless its tag has
// but a priority.
func TestW20VLANTakenOutOfNone(t *testing.T) {
	for _, c := range []struct {
		set   *policy.Set
		frame []byte
	}{{testPolicy(), fromFabric()}, {sixPA(), over6(fromFabric())}} {
		r := newRig(t, c.set, nvgre.Config{}).claim(map[int]mbuf.Offloads{uplink: mbuf.ReceiveVLAN})
		for tci, want := range map[uint16]int{0: 2, 0xe000: 2, 9: 1, 0xe009: 1} {
			r.ports[uplink].Inject(0, c.frame) // before it, one that had none
			out := r.pass(uplink, unfinished{c.frame, memport.Notes{Flags: mbuf.RxVLAN | mbuf.RxVLANStripped, TCI: tci}})
			if len(out[blue1]) != want {
				t.Errorf("tag %#x: the VM got %d, drops %v", tci, len(out[blue1]), r.drops())
			}
		}
		r.balance(0)
	}
}

// O30, O31, W21: a device is believed about an outer checksum if it looks at such, and
// knew the packet for a tunnel; else software looks.
func TestO30_O31_W21Verdicts(t *testing.T) {
	const (
		tunnel  = 0x4000 | 0x100000 | 0x11 // NVGRE with inner IPv4
		gre     = 0x2000 | 0x100000 | 0x11
		grenat  = 0x6000 | 0x100000 | 0x11
		noInner = 0x4000 | 0x11
		vxlan   = 0x3000 | 0x100000 | 0x11
	)
	for _, c := range []struct {
		name     string
		uses     mbuf.Offloads
		ptype    uint32
		flags    uint64
		wrong    bool
		believed bool // so that it arrives though wrong
	}{
		{"right", smartCard, tunnel, 0, false, true},
		{"right, unknown", smartCard, 0, 0, false, true},
		{"wrong, and the card knows", smartCard, tunnel, mbuf.RxOuterIPChecksumBad, true, false},
		{"right, and the card says wrong", smartCard, tunnel, mbuf.RxOuterIPChecksumBad, false, true},
		{"wrong, but the card says right", smartCard, tunnel, 0, true, true},
		{"the same as GRE", smartCard, gre, 0, true, true},
		{"the same as what it cannot tell from VXLAN", smartCard, grenat, 0, true, true},
		{"wrong, the card does not look", plainCard, tunnel, 0, true, false},
		{"wrong, no tunnel to the card", smartCard, 0, mbuf.RxIPChecksumGood, true, false},
		{"wrong, nothing inside to the card", smartCard, noInner, 0, true, false},
		{"wrong, another tunnel to the card", smartCard, vxlan, 0, true, false},
	} {
		uses := c.uses
		if uses == smartCard {
			uses |= mbuf.ReceiveOuterChecksum
		}
		r := newRig(t, testPolicy(), nvgre.Config{}).claim(map[int]mbuf.Offloads{uplink: uses})
		f := fromFabric()
		if c.wrong {
			f[24] ^= 1
		}
		out := r.pass(uplink, unfinished{f, memport.Notes{Flags: c.flags, Type: c.ptype}})
		if arrives := len(out[blue1]) == 1; arrives != c.believed || !arrives && r.drops()["outer_checksum"] != 1 {
			t.Errorf("%s: arrives=%v, drops %v", c.name, arrives, r.drops())
		}
		r.balance(0)
	}
}

// O30: what a device takes for NVGRE is looked at all the same.
func TestO30GREIsCheckedAllTheSame(t *testing.T) {
	r := newRig(t, testPolicy(), nvgre.Config{}).claim(map[int]mbuf.Offloads{uplink: smartCard | mbuf.ReceiveOuterChecksum})
	for bit, reason := range map[byte]string{0x10: "gre_options", 0x80: "gre_options", 0x40: "gre_reserved"} {
		f := fromFabric()
		f[34] |= bit
		r.pass(uplink, unfinished{f, memport.Notes{Type: 0x4000 | 0x100000 | 0x11}})
		if r.drops()[reason] == 0 {
			t.Errorf("bit %#x: drops %v", bit, r.drops())
		}
	}
	r.balance(0)
}

// What leaves the straight way is finished first: copies, answers, fragments, what the
// control plane reads. What waits is finished when it goes on.
func TestR23Detours(t *testing.T) {
	claims := map[int]mbuf.Offloads{blue1: virtioCard, uplink: smartCard}
	t.Run("broadcast", func(t *testing.T) {
		r := newRig(t, wholePolicy(), nvgre.Config{}).claim(claims)
		c := content{proto: packet.ProtoUDP, payload: 100, to: vm{mac: packet.Broadcast, v4: "255.255.255.255", v6: "ff02::1"}}
		out := r.pass(blue1, c.unfinished())
		if len(out[uplink]) != 2 || len(out[blue3]) != 1 {
			t.Errorf("%d and %d copies, drops %v", len(out[uplink]), len(out[blue3]), r.drops())
		}
		for _, s := range append(out[uplink], out[blue3]...) {
			sound(t, s.frame)
			if s.notes.Flags&mbuf.TxMask != 0 {
				t.Errorf("flags %#x", s.notes.Flags)
			}
		}
		c.payload, c.size = 4000, 1000 // UDP to be cut into fragments
		r.pass(blue1, c.unfinished())
		if r.drops()["gso_unsupported"] != 1 {
			t.Errorf("drops %v", r.drops())
		}
		r.balance(0)
	})
	t.Run("fragments", func(t *testing.T) {
		r := newRig(t, testPolicy(), nvgre.Config{}).claim(claims)
		u := content{proto: packet.ProtoUDP, payload: 1460}.unfinished()
		u.frame[20] = 0 // may be fragmented
		mend(u.frame)
		got := r.from(r.pass(blue1, u), uplink)
		if len(got) != 2 {
			t.Fatalf("%d fragments", len(got))
		}
		whole := got[0].frame[42:]
		whole = append(whole, got[1].frame[42+34:]...)
		packet.IPv4(whole[14:]).SetTotalLen(uint16(len(whole) - 14))
		packet.IPv4(whole[14:]).SetFragment(0)
		mend(whole)
		sound(t, whole)
		r.balance(0)
	})
	t.Run("too large", func(t *testing.T) {
		r := newRig(t, testPolicy(), nvgre.Config{}).claim(claims)
		u := content{v6: true, proto: packet.ProtoUDP, payload: 1420}.unfinished()
		sound(t, r.from(r.pass(blue1, u), blue1)[0].frame)
		r.balance(0)
	})
	t.Run("UDP to be cut", func(t *testing.T) {
		for _, v6 := range []bool{false, true} {
			r := newRig(t, testPolicy(), nvgre.Config{}).claim(claims)
			u := content{v6: v6, proto: packet.ProtoUDP, payload: 8000, size: 1480}.unfinished()
			got := r.from(r.pass(blue1, u), uplink)
			n := 0
			for _, s := range got {
				sound(t, s.frame)
				if len(s.frame) > 1514 {
					t.Errorf("a frame of %d bytes", len(s.frame))
				}
				var l packet.Layout
				packet.Parse(s.frame[42:], &l)
				if l.Flags&packet.IsFragment == 0 {
					t.Errorf("no fragment: %x", s.frame)
				}
				n += len(s.frame) - 42 - 34
				if v6 {
					n -= 28
				}
			}
			if n != 8008 {
				t.Errorf("%d bytes in %d fragments, want 8008", n, len(got))
			}
			r.balance(0)
		}
	})
	t.Run("hold", func(t *testing.T) {
		for _, card := range []mbuf.Offloads{nothing, smartCard} {
			r := newRig(t, testPolicy(), nvgre.Config{}).claim(map[int]mbuf.Offloads{blue1: virtioCard, uplink: card})
			c := content{proto: packet.ProtoTCP, flags: packet.TCPAck, payload: 5000, size: 1400, to: vm{macBlue2, "10.1.1.17", ""}}
			if out := r.pass(blue1, c.unfinished()); len(out[uplink]) != 0 {
				t.Fatal("sent to whom nobody knows")
			}
			r.fib.Store(r.fib.Load().WithNeighbors(func(_, _ uint16, _ netip.Addr) (packet.MAC, fib.AdjState) { return macRouter, fib.AdjReady }))
			r.w.PollOnce()
			n := 0
			r.ports[uplink].VisitNoted(0, func(f []byte, notes memport.Notes) {
				for _, f := range device(t, sent{bytes.Clone(f), notes}) {
					sound(t, f)
					n++
				}
			})
			if n != 4 {
				t.Errorf("card %b: %d segments after waiting", card, n)
			}
			r.balance(0)
		}
	})
	t.Run("MSS", func(t *testing.T) { // M13: a seed is of no header
		for _, card := range []mbuf.Offloads{nothing, smartCard} {
			r := newRig(t, testPolicy(), nvgre.Config{}, router(worker.Router{ClampMSS: true})).claim(map[int]mbuf.Offloads{blue1: virtioCard, uplink: card})
			u := content{proto: packet.ProtoTCP, flags: packet.TCPSyn, options: 4}.unfinished()
			copy(u.frame[54:], []byte{2, 4, 0x05, 0xb4})
			f := device(t, r.from(r.pass(blue1, u), uplink)[0])[0]
			sound(t, f)
			if mss := binary.BigEndian.Uint16(f[42+56:]); mss != 1418 {
				t.Errorf("MSS %d", mss)
			}
		}
	})
	t.Run("TTL", func(t *testing.T) {
		r := newRig(t, wholePolicy(), nvgre.Config{}).claim(claims)
		for size, answered := range map[int]bool{0: true, 1400: false} {
			c := content{proto: packet.ProtoTCP, flags: packet.TCPAck, payload: 100 + 4*size, size: size, to: vmBlue5}
			u := c.unfinished()
			u.frame[22] = 1
			mend(u.frame)
			out := r.pass(blue1, u)
			if len(out[blue1]) == 1 != answered {
				t.Errorf("size %d: answered %v, drops %v", size, !answered, r.drops())
			}
			if answered { // what is quoted is what would have been sent
				sound(t, append(ether(vmBlue5.mac, macBlue1, packet.EtherTypeIPv4), out[blue1][0].frame[14+28:]...))
			}
		}
		r.balance(0)
	})
	t.Run("DHCP", func(t *testing.T) {
		set := wholePolicy()
		set.VirtualSubnets[0].DHCP = true
		r := newRig(t, set, nvgre.Config{}).claim(claims)
		u := content{proto: packet.ProtoUDP, payload: 300, to: vm{mac: packet.Broadcast, v4: "255.255.255.255"}}.unfinished()
		binary.BigEndian.PutUint16(u.frame[34:], 68)
		binary.BigEndian.PutUint16(u.frame[36:], 67)
		r.pass(blue1, u)
		c := r.w.Punt.Peek()
		if c == nil || c.Kind != worker.DHCP {
			t.Fatalf("the control plane was told %+v; drops %v", c, r.drops())
		}
		sound(t, c.Bytes())
	})
	t.Run("gateway", func(t *testing.T) {
		set := wholePolicy()
		set.CustomerRoutes = defaults(vmGate2)
		r := newRig(t, set, nvgre.Config{}).claim(claims)
		u := content{proto: packet.ProtoTCP, flags: packet.TCPAck, payload: 20000, size: 1400, to: outside}.unfinished()
		got := r.from(r.pass(blue1, u), uplink)
		if len(got) != 1 || got[0].notes.Flags&mbuf.TxTCPSegment == 0 {
			t.Errorf("%d frames, flags %#x", len(got), got[0].notes.Flags)
		}
		for _, f := range device(t, got[0]) {
			sound(t, f)
		}
		r.balance(0)
	})
}

// Frames of one flow leave in the order in which they came, though some are left to the
// card and some are not.
func TestO24OrderWithinABurst(t *testing.T) {
	for _, card := range []mbuf.Offloads{nothing, virtioCard, smartCard} {
		r := newRig(t, testPolicy(), nvgre.Config{}).claim(map[int]mbuf.Offloads{blue1: virtioCard, uplink: card})
		want, next := 0, 0
		for round := range 3 {
			for i := range 20 {
				c := content{proto: packet.ProtoTCP, flags: packet.TCPAck, payload: 500}
				if i%3 == round {
					c.payload, c.size = 3000, 1000
				}
				u := c.unfinished()
				if (i+round)%5 == 0 {
					u = unfinished{frame: unhex(inner1)}
					c.payload = 0
				} else {
					packet.TCP(u.frame[34:]).SetSeq(uint32(want))
				}
				want += c.payload
				r.ports[blue1].InjectNoted(0, u.frame, u.notes)
			}
			r.w.PollOnce()
			plain := 0
			r.ports[uplink].VisitNoted(0, func(f []byte, n memport.Notes) {
				if f[42+23] != packet.ProtoTCP {
					if n.Flags&mbuf.TxMask != 0 {
						t.Errorf("card %b: asked for %#x, for a finished frame", card, n.Flags)
					}
					sound(t, f)
					plain++
					return
				}
				for _, f := range device(t, sent{bytes.Clone(f), n}) {
					sound(t, f)
					if seq := int(packet.TCP(f[42+34:]).Seq()); seq != next {
						t.Errorf("card %b: %d, expected %d", card, seq, next)
					}
					next += len(f) - 42 - 54
				}
			})
			if next != want || plain != 4 {
				t.Errorf("card %b: %d bytes of %d, %d others", card, next, want, plain)
			}
		}
		r.balance(0)
	}
}

// O23: a card takes a packet in so many buffers only: a frame of more is cut for it, and
// what is put together has no more.
func TestO23MostBuffers(t *testing.T) {
	for most, whole := range map[int]bool{0: true, 3: true, 2: false} {
		for in, out := range map[int]int{blue1: uplink, uplink: blue1} {
			r := newRig(t, rewritePolicy(1), nvgre.Config{}).claim(map[int]mbuf.Offloads{blue1: virtioCard, uplink: virtioCard})
			plug := *r.w.Plug.Load()
			plug.Ports = slices.Clone(plug.Ports)
			plug.Ports[out] = narrow{plug.Ports[out], most}
			r.w.Plug.Store(&plug)
			c := content{proto: packet.ProtoTCP, flags: packet.TCPAck, payload: 5000, size: 1000} // in three buffers
			if in == uplink {
				c.from, c.to = vm{macRouter, paBlue2.v4, paBlue2.v6}, vm{macUplink, paBlue1.v4, paBlue1.v6}
			}
			got := r.from(r.pass(in, c.unfinished()), out)
			want := map[bool]int{true: 1, false: 5}[whole]
			if in == uplink && !whole { // cut, they are put together again, two by two
				want = 3
			}
			if len(got) != want {
				t.Errorf("%d buffers at most, out of port %d: %d frames, want %d", most, out, len(got), want)
			}
			var data []byte
			for _, s := range got {
				if most != 0 && s.notes.Segments > most {
					t.Errorf("a frame in %d buffers, %d at most", s.notes.Segments, most)
				}
				for _, f := range device(t, s) {
					sound(t, f)
					data = append(data, f[54:]...)
				}
			}
			if u := c.unfinished(); !bytes.Equal(data, u.frame[54:]) {
				t.Errorf("%d buffers at most, out of port %d: other data", most, out)
			}
			r.balance(0)
		}
	}
}

// narrow is a port that takes packets in so many buffers only.
type narrow struct {
	port.Port
	most int
}

func (p narrow) Offloads() port.Offloads {
	o := p.Port.Offloads()
	o.Buffers = p.most
	return o
}

// Large frames that wait are few: a VM that sends them to dead hosts must not have all
// buffers.
func TestL16LargeFramesHeld(t *testing.T) {
	set := testPolicy()
	for i := range byte(40) {
		set.LookupRecords = append(set.LookupRecords, policy.LookupRecord{VSID: 6001, CA: netip.AddrFrom4([4]byte{10, 1, 1, 100 + i}), MAC: packet.MAC{2, 0, 0, 0, 8, i}, PA: netip.AddrFrom4([4]byte{192, 168, 1, 100 + i})})
	}
	const large = 2048
	pool := mbuf.NewHeap(large, mbuf.DefaultDataRoom)
	r := newRig(t, set, nvgre.Config{}, func(c *worker.Config) { c.Pool = pool })
	r.pool = pool
	r.claim(map[int]mbuf.Offloads{blue1: virtioCard})
	next := func(state fib.AdjState) {
		r.fib.Store(r.fib.Load().WithNeighbors(func(_, _ uint16, _ netip.Addr) (packet.MAC, fib.AdjState) { return packet.MAC{}, state }))
		r.w.PollOnce()
	}
	for round := range uint64(2) {
		next(fib.AdjUnresolved)
		for i := range 40 {
			c := content{proto: packet.ProtoTCP, flags: packet.TCPAck, payload: 60000, size: 1400, to: vm{macBlue2, fmt.Sprint("10.1.1.", 100+i), ""}}
			r.pass(blue1, c.unfinished())
		}
		if waits := large - pool.Available(); waits > 1024 || waits < 1000 || r.drops()["neighbor_queue"] != (round+1)*6 {
			t.Errorf("%d buffers wait, drops %v", waits, r.drops())
		}
		next(fib.AdjFailed)
		if n := pool.Available(); n != large {
			t.Errorf("%d of %d buffers back", n, large)
		}
	}
}

// And arrive in it.
func TestR5_R23OrderWithinABurst(t *testing.T) {
	for _, takes := range []mbuf.Offloads{virtioCard, nothing} {
		r := newRig(t, rewritePolicy(1), nvgre.Config{}).claim(map[int]mbuf.Offloads{uplink: virtioCard, blue1: takes})
		next := 0
		for i := range 30 {
			c := content{proto: packet.ProtoTCP, flags: packet.TCPAck, payload: 500, from: vm{macRouter, paBlue2.v4, paBlue2.v6}, to: vm{macUplink, paBlue1.v4, paBlue1.v6}}
			if i%3 == 0 {
				c.payload, c.size = 3000, 1000
			}
			u := c.unfinished()
			packet.TCP(u.frame[34:]).SetSeq(uint32(next))
			next += c.payload
			if i%3 == 1 {
				binary.BigEndian.PutUint16(u.frame[50:], packet.Checksum(u.frame[34:], 0))
				u.notes = memport.Notes{}
			}
			r.ports[uplink].InjectNoted(0, u.frame, u.notes)
		}
		r.w.PollOnce()
		seq := 0
		r.ports[blue1].VisitNoted(0, func(f []byte, n memport.Notes) {
			for _, f := range device(t, sent{bytes.Clone(f), n}) {
				sound(t, f)
				if got := int(packet.TCP(f[34:]).Seq()); got != seq {
					t.Errorf("takes %b: %d, expected %d", takes, got, seq)
				}
				seq += len(f) - 54
			}
		})
		if seq != next {
			t.Errorf("takes %b: %d bytes of %d", takes, seq, next)
		}
		r.balance(0)
	}
}

// leaving is a host of either mode whose VMs leave work to others: what there is, by
// what its card does, and what a VM takes.
func leaving(t testing.TB, card, takes mbuf.Offloads) (*rig, func()) {
	r := newRig(t, rewritePolicy(1), nvgre.Config{}).claim(map[int]mbuf.Offloads{
		uplink: card | receives | mbuf.ReceiveVLAN | mbuf.ReceiveOuterChecksum, blue1: takes | receives, blue3: takes, red1: receives})
	var mix []struct {
		in int
		u  unfinished
	}
	add := func(in int, u unfinished) {
		mix = append(mix, struct {
			in int
			u  unfinished
		}{in, u})
	}
	udp := content{proto: packet.ProtoUDP, payload: 8000, size: 1400}
	for _, c := range append(contents(), udp) {
		if c.payload > 50000 {
			c.payload = 20000
		}
		add(blue1, c.unfinished())
		c.to = vmBlue3
		add(blue1, c.unfinished())
		c.from, c.to = vmRed1, vmRed2
		add(red1, c.unfinished())
		back := c
		back.from, back.to = vm{macRouter, paBlue2.v4, paBlue2.v6}, vm{macUplink, paBlue1.v4, paBlue1.v6}
		add(uplink, back.unfinished())
		back.to = vm{macUplink, "192.168.1.200", "2001:db8:1::200"}
		u := back.unfinished()
		u.notes.Flags |= mbuf.RxVLAN | mbuf.RxVLANStripped
		add(uplink, u)
	}
	large := content{proto: packet.ProtoTCP, flags: packet.TCPAck, payload: 5000, size: 4000}
	add(blue1, large.unfinished())
	u := large.unfinished()
	u.notes = memport.Notes{}
	add(blue1, u)
	u = large.unfinished()
	u.notes.Lengths.SegmentSize = 1
	add(blue1, u)
	u = large.unfinished()
	u.notes.Lengths.SegmentSize = 0
	add(blue1, u)
	u = content{proto: packet.ProtoUDP}.unfinished()
	u.frame[23] = 1
	mend(u.frame)
	add(blue1, u)
	together := make([][]byte, 3)
	for i := range together {
		c := content{proto: packet.ProtoTCP, flags: packet.TCPAck, payload: 100, from: vm{macRouter, paBlue2.v4, paBlue2.v6}, to: vm{macUplink, paBlue1.v4, paBlue1.v6}}
		u := c.unfinished()
		packet.TCP(u.frame[34:]).SetSeq(uint32(100 * i))
		var l packet.Layout
		packet.Parse(u.frame, &l)
		together[i] = u.frame
		binary.BigEndian.PutUint16(u.frame[50:], packet.Checksum(u.frame[34:], 0))
	}
	add(uplink, unfinished{tunnel(5001, paHost2, paHost1, between(vmRed2, vmRed1, macRed1, false).frame()), memport.Notes{Type: 0x104011}})
	return r, func() {
		for _, x := range mix {
			r.ports[x.in].InjectNoted(0, x.u.frame, x.u.notes)
			r.w.PollOnce()
			for _, p := range r.ports {
				p.Visit(0, func([]byte) {})
			}
		}
		r.ports[uplink].Inject(0, together...)
		r.w.PollOnce()
		r.ports[blue1].Visit(0, func([]byte) {})
	}
}

func leavingAll(t testing.TB) (*rig, func())      { return leaving(t, nothing, nothing) }
func leavingChecksum(t testing.TB) (*rig, func()) { return leaving(t, plainCard, nothing) }
func leavingNothing(t testing.TB) (*rig, func())  { return leaving(t, smartCard, virtioCard) }

// train is a large frame as the fabric brings it: cut, each segment in its outer header.
func train(t *testing.T, vsid uint32, payload, size int) (u unfinished, segments, packets [][]byte) {
	u = content{proto: packet.ProtoTCP, flags: packet.TCPAck, options: 12, payload: payload, size: size, from: vmBlue2, to: vmBlue1}.unfinished()
	n := u.notes
	n.Flags = mbuf.TxTCPSegment | mbuf.TxIPv4 | mbuf.TxTCPChecksum
	n.Lengths.L2Len, n.Lengths.L3Len, n.Lengths.L4Len = 14, 20, 32
	segments = device(t, sent{u.frame, n})
	for _, s := range segments {
		packets = append(packets, tunnel(vsid, paFar, paHere, s))
	}
	return u, segments, packets
}

// O31, R22: segments from the fabric become one frame again for a VM that takes it, and
// only for such; what is broken does not become part of it, unless the card answers for
// it.
func TestO31_R22PutTogetherForTheVM(t *testing.T) {
	u, segments, packets := train(t, 6001, 12000, 1400)
	for _, takes := range []mbuf.Offloads{virtioCard, plainCard, mbuf.SendL4Checksum, nothing} {
		r := newRig(t, wholePolicy(), nvgre.Config{}).claim(map[int]mbuf.Offloads{blue1: takes, uplink: smartCard})
		for _, p := range packets {
			r.ports[uplink].Inject(0, p)
		}
		r.w.PollOnce()
		var got []sent
		r.ports[blue1].VisitNoted(0, func(f []byte, n memport.Notes) { got = append(got, sent{bytes.Clone(f), n}) })
		if !takes.Has(mbuf.SendTSO) {
			if len(got) != len(segments) {
				t.Errorf("%b: %d frames, want %d", takes, len(got), len(segments))
			}
			r.balance(0)
			continue
		}
		if takes.Has(mbuf.SendIPv4Checksum) != (got[0].notes.Flags&mbuf.TxIPChecksum != 0) {
			t.Errorf("%b: flags %#x", takes, got[0].notes.Flags)
		}
		if got[0].notes.Flags&mbuf.TxIPChecksum != 0 {
			mend(got[0].frame)
		}
		if len(got) != 1 || !bytes.Equal(got[0].frame, u.frame) {
			t.Fatalf("%b: %d frames\n got %x\nwant %x", takes, len(got), got[0].frame[:80], u.frame[:80])
		}
		if n := got[0].notes; n.Flags&mbuf.TxMask&^mbuf.TxIPChecksum != mbuf.TxTCPSegment|mbuf.TxTCPChecksum|mbuf.TxIPv4 || n.Lengths.SegmentSize != 1400 {
			t.Errorf("%b: %+v", takes, n)
		}
		r.balance(0)
	}
	const answered = 0x04000000 | 0x00100000 | 0x4000 | 0x11 // NVGRE with inner IPv4 and TCP
	for _, c := range []struct {
		name  string
		card  mbuf.Offloads
		notes memport.Notes
		want  int
	}{
		{"nobody answers for it", smartCard | mbuf.ReceiveL4Checksum, memport.Notes{}, 3},
		{"the card does", smartCard | mbuf.ReceiveL4Checksum, memport.Notes{Flags: mbuf.RxL4ChecksumGood, Type: answered}, 1},
		{"the card does, whom nobody asked", smartCard, memport.Notes{Flags: mbuf.RxL4ChecksumGood, Type: answered}, 3},
		{"the card did not look inside", smartCard | mbuf.ReceiveL4Checksum, memport.Notes{Flags: mbuf.RxL4ChecksumGood, Type: 0x4000 | 0x11}, 3},
		{"the card knows no tunnel", smartCard | mbuf.ReceiveL4Checksum, memport.Notes{Flags: mbuf.RxL4ChecksumGood, Type: 0x11}, 3},
	} {
		r := newRig(t, wholePolicy(), nvgre.Config{}).claim(map[int]mbuf.Offloads{blue1: virtioCard, uplink: c.card})
		for i, p := range packets {
			p = bytes.Clone(p)
			if i == 4 {
				p[len(p)-1] ^= 1
			}
			r.ports[uplink].InjectNoted(0, p, c.notes)
		}
		r.w.PollOnce()
		if n := len(r.ports[blue1].Drain(0)); n != c.want {
			t.Errorf("a broken segment, %s: %d frames, want %d", c.name, n, c.want)
		}
		r.balance(0)
	}
}
