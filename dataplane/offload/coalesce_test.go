package offload

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"paca/dataplane/count"
	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
)

// data is something to send that coalescing can restore: plain data, untagged.
func data(r *rand.Rand) *sent {
	s := anything(r)
	s.Tag, s.UDP, s.IPOptions, s.Extension = false, false, nil, nil
	s.Flags &^= packet.TCPFin | packet.TCPCwr
	s.TOS &= 0xfc
	return s
}

// GRO(GSO(x)) is x, to the last byte, flags and lengths included.
func TestO27CutAndPutTogether(t *testing.T) {
	r := random(t)
	h, sg := mbuf.NewHeap(3000, mbuf.DefaultDataRoom), NewSegmenter(1)
	c := Coalescer{Believe: true, Most: 1 << 16}
	for range 1000 {
		s := data(r)
		m := h.Packet(s.whole(), splits(r, 120, room)...)
		l := s.layout(t, m)
		frames, reason := sg.Segment(h, m, &l, s.pending(), Nothing)
		if reason != count.Kept {
			t.Fatalf("%v: %v", s, reason)
		}
		pieces := len(frames)
		if frames[0] != m {
			h.Free([]*mbuf.Mbuf{m})
		}
		if n := c.Coalesce(frames); n != 1 || pieces > 1 && frames[0].Segments() < pieces {
			t.Fatalf("%v: %d frames of %d, the first of %d segments and %d bytes", s, n, pieces, frames[0].Segments(), frames[0].Len())
		}
		got := frames[0].AppendTo(nil)
		if pieces == 1 {
			if !bytes.Equal(got, s.piece(0)) {
				t.Fatalf("%v: changed", s)
			}
		} else {
			if !bytes.Equal(got, s.whole()) {
				t.Fatalf("%v\n got %x\nwant %x", s, got, s.whole())
			}
			// What a guest's driver would read of it is what was pending.
			want := h.Packet(nil, 0)
			want.SetData(s.whole()[:l.L4+20])
			Delegate(want, &l, s.pending())
			if frames[0].Flags() != want.Flags() || frames[0].TxOffload() != want.TxOffload() {
				t.Fatalf("%v: flags %#x, %+v", s, frames[0].Flags(), frames[0].TxOffload())
			}
			h.Free([]*mbuf.Mbuf{want})
		}
		h.Free(frames[:1])
	}
	if h.Available() != 3000 {
		t.Errorf("%d of 3000 buffers back", h.Available())
	}
}

// arrived is a frame of a burst, with what the device says of it; delegated, it comes
// without its checksum.
type arrived struct {
	frame []byte
	flags uint64
	share bool
}

// mend makes the checksums of a plain frame right again.
func mend(b []byte) {
	var l packet.Layout
	if packet.Parse(b, &l) != packet.OK {
		return
	}
	if l.EtherType == packet.EtherTypeIPv4 {
		ip := packet.IPv4(b[l.L3:])
		ip.SetChecksum(0)
		ip.SetChecksum(^slowSum(ip[:ip.HeaderLen()]))
	}
	finish(b)
}

// finish makes the checksum of TCP right, whatever it was.
func finish(b []byte) {
	if tcp, seed := seedOf(b); tcp != nil {
		tcp.SetChecksum(seed)
		tcp.SetChecksum(^slowSum(tcp))
	}
}

// unfinish undoes it: what is left is the sum of the pseudo-header.
func unfinish(b []byte) {
	if tcp, seed := seedOf(b); tcp != nil {
		tcp.SetChecksum(seed)
	}
}

// seedOf is the TCP packet of a frame, nil if there is none, and the sum of its
// pseudo-header.
func seedOf(b []byte) (tcp packet.TCP, seed uint16) {
	var l packet.Layout
	if packet.Parse(b, &l) != packet.OK || l.L4 == 0 || l.Proto != packet.ProtoTCP {
		return nil, 0
	}
	tcp = packet.TCP(b[l.L4:l.End])
	pseudo := bytes.Clone(b[l.L3+8 : l.L3+40])
	if l.EtherType == packet.EtherTypeIPv4 {
		pseudo = bytes.Clone(b[l.L3+12 : l.L3+20])
	}
	return tcp, slowSum(append(binary.BigEndian.AppendUint32(pseudo, uint32(len(tcp))), 0, 6))
}

// oddities are what may happen to one segment of a flow; each leaves a frame that a
// guest must get as it is.
var oddities = []func(r *rand.Rand, a *arrived, l4 int){
	func(r *rand.Rand, a *arrived, l4 int) { a.frame[l4-1]++ },                                         // another address
	func(r *rand.Rand, a *arrived, l4 int) { a.frame[6]++ },                                            // another source MAC
	func(r *rand.Rand, a *arrived, l4 int) { a.frame[15] ^= 4 },                                        // TOS, or flow label
	func(r *rand.Rand, a *arrived, l4 int) { a.frame[15] ^= 0x31 },                                     // congestion marked
	func(r *rand.Rand, a *arrived, l4 int) { a.frame[l4-12]++ },                                        // TTL (v4); an address (v6)
	func(r *rand.Rand, a *arrived, l4 int) { a.frame[21]++ },                                           // hop limit (v6)
	func(r *rand.Rand, a *arrived, l4 int) { a.frame[19]++ },                                           // identification (v4), payload length
	func(r *rand.Rand, a *arrived, l4 int) { a.frame[20] ^= 0x40 },                                     // DF (v4)
	func(r *rand.Rand, a *arrived, l4 int) { a.frame[20] ^= 0x20 },                                     // MF (v4)
	func(r *rand.Rand, a *arrived, l4 int) { a.frame[21]++ },                                           // fragment offset (v4)
	func(r *rand.Rand, a *arrived, l4 int) { a.frame[l4+7]++ },                                         // sequence number
	func(r *rand.Rand, a *arrived, l4 int) { a.frame[l4+11]++ },                                        // acknowledgment
	func(r *rand.Rand, a *arrived, l4 int) { a.frame[l4+15]++ },                                        // window
	func(r *rand.Rand, a *arrived, l4 int) { a.frame[l4+19]++ },                                        // urgent pointer
	func(r *rand.Rand, a *arrived, l4 int) { a.frame[l4+20]++ },                                        // an option, or payload
	func(r *rand.Rand, a *arrived, l4 int) { a.frame[l4+12] ^= 1 },                                     // a reserved bit
	func(r *rand.Rand, a *arrived, l4 int) { a.frame[l4+13] ^= 1 << r.IntN(8) },                        // a flag
	func(r *rand.Rand, a *arrived, l4 int) { a.frame[l4+13] |= packet.TCPPsh },                         // pushed
	func(r *rand.Rand, a *arrived, l4 int) { a.frame[l4+13] |= packet.TCPPsh },                         // again
	func(r *rand.Rand, a *arrived, l4 int) { a.frame[l4+12] += 0x10 },                                  // data offset
	func(r *rand.Rand, a *arrived, l4 int) { a.frame[l4+12] = 0x40 },                                   // data offset
	func(r *rand.Rand, a *arrived, l4 int) { a.frame[l4+3]++ },                                         // another flow
	func(r *rand.Rand, a *arrived, l4 int) { a.flags = mbuf.RxL4ChecksumNone },                         // as from a VM of this host
	func(r *rand.Rand, a *arrived, l4 int) { a.flags = mbuf.RxL4ChecksumNone | mbuf.RxLRO },            // long
	func(r *rand.Rand, a *arrived, l4 int) { a.flags = mbuf.TxIPv4 | mbuf.TxTCPChecksum },              // delegated
	func(r *rand.Rand, a *arrived, l4 int) { a.flags = mbuf.RxL4ChecksumBad },                          // found broken
	func(r *rand.Rand, a *arrived, l4 int) { a.share = true },                                          // somebody else's too
	func(r *rand.Rand, a *arrived, l4 int) { a.frame = append(a.frame, fill(r, 1+r.IntN(30))...) },     // padding
	func(r *rand.Rand, a *arrived, l4 int) { a.frame = a.frame[:min(l4+20+r.IntN(20), len(a.frame))] }, // cut short
}

// breaks are oddities behind which no checksum is mended.
var breaks = []func(r *rand.Rand, a *arrived, l4 int){
	func(r *rand.Rand, a *arrived, l4 int) { a.frame[len(a.frame)-1] ^= 1 },
	func(r *rand.Rand, a *arrived, l4 int) { a.frame[l4+17]++ },
	func(r *rand.Rand, a *arrived, l4 int) { a.frame[25]++ }, // checksum (v4), source (v6)
}

// burst is segments of a few flows, in order within each, with oddities.
func burst(r *rand.Rand) []arrived {
	flows := make([][]arrived, 1+r.IntN(5))
	for f := range flows {
		s := data(r)
		l4 := 34
		if s.V6 {
			l4 = 54
		}
		s.Size = []int{1, 2, 7, 536, 1400, 1448}[r.IntN(6)]
		s.Payload = s.Payload[:min(len(s.Payload), s.Size*(1+r.IntN(20))-r.IntN(s.Size), 9000)]
		if r.IntN(20) == 0 {
			s.Size, s.Payload = 1448, fill(r, 70000) // more than one frame can have
		}
		always := func(*arrived) {}
		switch r.IntN(20) {
		case 0:
			s.Flags |= 1 << r.IntN(8)
		case 1:
			odd, seed := oddities[r.IntN(len(oddities))], r.Uint64()
			always = func(a *arrived) { odd(rand.New(rand.NewPCG(seed, 0)), a, l4) }
		}
		for i, from := 0, 0; from < len(s.Payload); i++ {
			to := min(from+s.Size, len(s.Payload))
			if r.IntN(20) == 0 {
				to = from + r.IntN(to-from+1) // shorter, or nothing
			}
			a := arrived{frame: s.segment(i, from, to, s.Flags)}
			from = to
			a.frame[l4+1] += byte(f) // its port
			if r.IntN(2) == 0 {
				a.flags = mbuf.RxL4ChecksumGood | mbuf.RxIPChecksumGood
			}
			if len(a.frame) > l4+20 {
				always(&a)
			}
			if r.IntN(12) == 0 && len(a.frame) > l4+20 {
				oddities[r.IntN(len(oddities))](r, &a, l4)
			}
			mend(a.frame)
			if r.IntN(40) == 0 && len(a.frame) > l4+20 {
				breaks[r.IntN(len(breaks))](r, &a, l4)
				a.flags = 0 // or the device would be lying
			}
			switch r.IntN(40) {
			case 0: // lost
			case 1: // twice
				flows[f] = append(flows[f], a, arrived{bytes.Clone(a.frame), a.flags, a.share})
			case 2: // too early
				at := r.IntN(len(flows[f]) + 1)
				flows[f] = append(flows[f][:at:at], append([]arrived{a}, flows[f][at:]...)...)
			default:
				flows[f] = append(flows[f], a)
			}
		}
	}
	var all []arrived
	for len(flows) > 0 {
		f := r.IntN(len(flows))
		if len(flows[f]) == 0 {
			flows = append(flows[:f], flows[f+1:]...)
			continue
		}
		n := 1 + r.IntN(min(len(flows[f]), 6))
		all = append(all, flows[f][:n]...)
		flows[f] = flows[f][n:]
	}
	return all
}

// name is the flow of a frame: addresses, and ports if there are any. Fragments of
// one flow are not told from others between the same addresses.
func name(b []byte) string {
	var l packet.Layout
	if packet.Parse(b, &l) != packet.OK || l.EtherType != packet.EtherTypeIPv4 && l.EtherType != packet.EtherTypeIPv6 {
		return "other"
	}
	n := fmt.Sprint(l.EtherType, l.Proto)
	if l.EtherType == packet.EtherTypeIPv4 {
		n += string(b[l.L3+12 : l.L3+20])
	} else {
		n += string(b[l.L3+8 : l.L3+40])
	}
	if l.L4 != 0 && l.Proto == packet.ProtoTCP && l.Flags&packet.IsFragment == 0 {
		n += string(b[l.L4 : l.L4+4])
	}
	return n
}

// netto is a frame without padding, and without the identification of an IPv4
// packet that must not be fragmented, which means nothing.
func netto(b []byte) []byte {
	var l packet.Layout
	b = bytes.Clone(b)
	if packet.Parse(b, &l) != packet.OK || l.Proto != packet.ProtoTCP {
		return b
	}
	if l.EtherType == packet.EtherTypeIPv4 && packet.VerifyIPv4(b[l.L3:]) {
		if ip := packet.IPv4(b[l.L3:]); ip.DontFragment() {
			ip.SetID(0)
			ip.SetChecksum(0)
			ip.SetChecksum(^slowSum(ip[:ip.HeaderLen()]))
		}
	}
	return b[:l.End]
}

// slowGroups says which frames of a burst become one, flow by flow, each with the
// frame before it: they do if nothing but what TSO changes tells their headers apart.
func slowGroups(in []arrived) map[string][]int {
	type state struct {
		headers []byte // of the group, what may change blanked
		size    int    // of its segments
		next    uint32 // sequence number
		id      uint16 // identification
		length  int
		open    bool
	}
	groups := map[string][]int{}
	states := map[string]*state{}
	for _, a := range in {
		var l packet.Layout
		n := name(a.frame)
		if packet.Parse(a.frame, &l) != packet.OK || l.Proto != packet.ProtoTCP {
			groups[n] = append(groups[n], 1)
			continue
		}
		if l.L4 == 0 || l.Flags&packet.IsFragment != 0 {
			clear(states)
			groups[n] = append(groups[n], 1)
			continue
		}
		b := bytes.Clone(a.frame[:l.End])
		tcp := packet.TCP(b[l.L4:])
		headers := min(int(l.L4)+tcp.HeaderLen(), len(b))
		size := len(b) - headers
		sound := a.flags&mbuf.RxL4ChecksumMask == mbuf.RxL4ChecksumGood || a.flags&mbuf.RxL4ChecksumMask == 0
		ipSound := true
		id, df := uint16(0), true
		if l.EtherType == packet.EtherTypeIPv4 {
			ip := packet.IPv4(b[l.L3:])
			ipSound = slowSum(ip[:ip.HeaderLen()]) == 0xffff
			id, df = ip.ID(), ip.DontFragment()
		}
		if a.flags&mbuf.RxL4ChecksumMask == 0 {
			c := bytes.Clone(b)
			mend(c)
			sound = bytes.Equal(c[l.L4:], b[l.L4:]) || a.flags&mbuf.TxTCPChecksum != 0
		}
		plain := a.flags&mbuf.RxLRO == 0 && !a.share && l.Tags == 0 &&
			tcp.Flags()&^(packet.TCPPsh|packet.TCPEce) == packet.TCPAck && tcp.HeaderLen() >= 20 && size > 0 &&
			(l.EtherType == packet.EtherTypeIPv4 && l.L4-l.L3 == 20 || l.EtherType == packet.EtherTypeIPv6 && l.L4-l.L3 == 40)
		broken := !sound || !ipSound

		push := tcp.Flags()&packet.TCPPsh != 0
		seq := tcp.Seq()
		tcp.SetFlags(tcp.Flags() &^ packet.TCPPsh)
		tcp.SetSeq(0)
		tcp.SetChecksum(0)
		if l.EtherType == packet.EtherTypeIPv4 {
			clear(b[l.L3+2 : l.L3+6])
			clear(b[l.L3+10 : l.L3+12])
		} else {
			clear(b[l.L3+4 : l.L3+6])
		}
		s := states[n]
		if s != nil && s.open && plain && !broken && bytes.Equal(s.headers, b[:headers]) && seq == s.next && size <= s.size &&
			(df || id == s.id+1) && s.length+size <= 65535 {
			groups[n][len(groups[n])-1]++
			s.next += uint32(size)
			s.id = id
			s.length += size
			s.open = size == s.size && !push
			continue
		}
		groups[n] = append(groups[n], 1)
		states[n] = &state{b[:headers], size, seq + uint32(size), id, headers + size, plain && !broken && !push}
	}
	return groups
}

// together coalesces a burst and compares: each flow's frames come out in order,
// whole and unchanged, for cut again they are the same. It returns how many frames
// went into each that came out, by flow.
func together(t *testing.T, h *mbuf.Heap, c *Coalescer, in []arrived, sizes func(frame []byte) []int) map[string][]int {
	t.Helper()
	before := h.Available()
	want, got, groups := map[string][][]byte{}, map[string][][]byte{}, map[string][]int{}
	var pkts []*mbuf.Mbuf
	for _, a := range in {
		n := name(a.frame)
		frame := bytes.Clone(a.frame)
		if a.flags&mbuf.TxTCPChecksum != 0 {
			finish(frame)
		}
		want[n] = append(want[n], netto(frame))
		if a.flags&mbuf.TxTCPChecksum != 0 {
			unfinish(frame)
		}
		m := h.Packet(frame, sizes(frame)...)
		m.SetFlags(a.flags)
		if a.share {
			m.Share(1)
		}
		pkts = append(pkts, m)
	}
	all := append([]*mbuf.Mbuf(nil), pkts...)
	left := c.Coalesce(pkts)
	sg := NewSegmenter(1)
	for _, m := range pkts[:left] {
		b := m.AppendTo(nil)
		n := name(b)
		if len(b) != m.Len() {
			t.Fatalf("%d bytes, says %d", len(b), m.Len())
		}
		if m.Flags()&mbuf.TxTCPSegment == 0 || m.Segments() == 1 {
			if m.Flags()&mbuf.TxTCPChecksum != 0 {
				finish(b)
			}
			got[n] = append(got[n], netto(b))
			groups[n] = append(groups[n], 1)
			continue
		}
		var l packet.Layout
		packet.ParseHead(m.Data(), m.Len(), &l)
		p := Pending{TCPSegments, m.TxOffload().SegmentSize}
		m.SetFlags(0)
		frames, reason := sg.Segment(h, m, &l, p, Nothing)
		if reason != count.Kept {
			t.Fatalf("%v: %x", reason, b)
		}
		for _, f := range frames {
			got[n] = append(got[n], netto(f.AppendTo(nil)))
		}
		groups[n] = append(groups[n], len(frames))
		h.Free(frames)
	}
	h.Free(pkts[:left])
	for i, a := range in {
		if a.share {
			h.Free(all[i : i+1])
		}
	}
	if h.Available() != before {
		t.Fatalf("%d of %d buffers back", h.Available(), before)
	}
	for n := range want {
		for i := range want[n] {
			if i >= len(got[n]) || !bytes.Equal(got[n][i], want[n][i]) {
				t.Fatalf("flow %x, frame %d of %d\n got %x\nwant %x", n, i, len(want[n]), got[n][min(i, len(got[n])):min(i+1, len(got[n]))], want[n][i])
			}
		}
	}
	return groups
}

// Whatever comes in a burst: nothing is lost or changed, and what can be put
// together is, and nothing else, by the slow twin.
func TestO27Bursts(t *testing.T) {
	r := random(t)
	h := mbuf.NewHeap(6000, mbuf.DefaultDataRoom)
	c := Coalescer{Believe: true, Most: 1 << 16}
	merged := 0
	for range 3000 {
		in := burst(r)
		expect := slowGroups(in)
		groups := together(t, h, &c, in, func(frame []byte) []int {
			var l packet.Layout
			packet.Parse(frame, &l)
			if r.IntN(3) == 0 && len(frame) > 130 && int(l.End) == len(frame) { // padding beyond a first segment is left alone
				return []int{130, 1 + r.IntN(100), room}
			}
			return []int{room}
		})
		for n := range expect {
			if fmt.Sprint(groups[n]) != fmt.Sprint(expect[n]) {
				t.Fatalf("flow %x: grouped as %v, want %v", n, groups[n], expect[n])
			}
			merged += len(groups[n])
		}
		merged -= len(in)
	}
	if merged > -1000 {
		t.Errorf("only %d frames put together in all", -merged)
	}
}

// A frame grows to 64 KiB and no further, whatever follows.
func TestLongest(t *testing.T) {
	h := mbuf.NewHeap(100, mbuf.DefaultDataRoom)
	c := Coalescer{Believe: true, Most: 1 << 16}
	for _, v6 := range []bool{false, true} {
		s := &sent{V6: v6, Payload: make([]byte, 1448*60), Size: 1448, Flags: packet.TCPAck, DF: true}
		var pkts []*mbuf.Mbuf
		for i := range 60 {
			pkts = append(pkts, h.Packet(s.piece(i), room))
		}
		if left := c.Coalesce(pkts); left != 2 || pkts[0].Segments() != 45 || pkts[1].Segments() != 15 {
			t.Errorf("IPv6 %v: %d frames, of %d and %d segments", v6, left, pkts[0].Segments(), pkts[1].Segments())
		}
		h.Free(pkts[:2])
	}
}

// A frame gets no more buffers than the guest's card takes.
func TestMostBuffers(t *testing.T) {
	h := mbuf.NewHeap(100, mbuf.DefaultDataRoom)
	c := Coalescer{Believe: true, Most: 5}
	s := &sent{Payload: make([]byte, 1448*12), Size: 1448, Flags: packet.TCPAck, DF: true}
	var pkts []*mbuf.Mbuf
	for i := range 12 {
		pkts = append(pkts, h.Packet(s.piece(i), 1000, 1000)) // two buffers each
	}
	if left := c.Coalesce(pkts); left != 6 {
		t.Errorf("%d left", left)
	}
	for _, m := range pkts[:6] {
		if m.Segments() != 4 {
			t.Errorf("%d buffers", m.Segments())
		}
	}
	h.Free(pkts[:6])
}

// A data offset of 16 bytes is no header, however well the next fits.
func TestHeaderTooShort(t *testing.T) {
	h := mbuf.NewHeap(2, mbuf.DefaultDataRoom)
	c := Coalescer{Believe: true, Most: 1 << 16}
	s := &sent{Payload: make([]byte, 200), Size: 100, Flags: packet.TCPAck, DF: true}
	first, second := s.piece(0), s.piece(1)
	first[34+12], second[34+12] = 0x40, 0x40
	second[34+7] += 4
	mend(first)
	mend(second)
	pkts := []*mbuf.Mbuf{h.Packet(first, room), h.Packet(second, room)}
	if left := c.Coalesce(pkts); left != 2 {
		t.Errorf("%d left", left)
	}
}

// More flows than are followed: the rest goes as it is.
func TestManyFlows(t *testing.T) {
	h := mbuf.NewHeap(400, mbuf.DefaultDataRoom)
	c := Coalescer{Believe: true, Most: 1 << 16}
	var pkts []*mbuf.Mbuf
	for i := range 2 {
		for f := range 100 {
			s := &sent{Payload: make([]byte, 200), Size: 100, Flags: packet.TCPAck, DF: true}
			b := s.piece(i)
			b[35] = byte(f)
			mend(b)
			pkts = append(pkts, h.Packet(b, room))
		}
	}
	if left := c.Coalesce(pkts); left != 200-maxFlows {
		t.Errorf("%d frames left, want %d", left, 200-maxFlows)
	}
}

func TestCoalesceAllocatesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	h := mbuf.NewHeap(400, mbuf.DefaultDataRoom)
	c := Coalescer{Believe: true, Most: 1 << 16}
	in := burst(r)
	for len(in) < 30 {
		in = append(in, burst(r)...)
	}
	in = in[:min(len(in), 300)]
	pkts := make([]*mbuf.Mbuf, len(in))
	if n := testing.AllocsPerRun(20, func() {
		h.Alloc(pkts)
		for i, a := range in {
			pkts[i].SetData(a.frame)
			pkts[i].SetFlags(a.flags)
		}
		h.Free(pkts[:c.Coalesce(pkts)])
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
