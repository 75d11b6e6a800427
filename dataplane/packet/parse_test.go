package packet

import (
	"bytes"
	"flag"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
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

// slowParse is Parse as one reads it in the RFCs: one header after the other is
// bitten off the front, lengths are counted, nothing is guessed.
func slowParse(frame []byte) (Layout, Fault) {
	if len(frame) > 65535 {
		frame = frame[:65535]
	}
	var l Layout
	rest := frame
	at := func() uint16 { return uint16(len(frame) - len(rest)) }
	bite := func(n int) []byte {
		if len(rest) < n {
			return nil
		}
		b := rest[:n]
		rest = rest[n:]
		return b
	}
	word := func(b []byte, i int) int { return int(b[i])<<8 + int(b[i+1]) }

	eth := bite(14)
	if eth == nil {
		return l, Runt
	}
	typ := word(eth, 12)
	for typ == 0x8100 || typ == 0x88a8 || typ == 0x9100 {
		if l.Tags == 2 {
			return l, VLANTags
		}
		tag := bite(4)
		if tag == nil {
			return l, Runt
		}
		if l.Tags == 0 {
			l.TCI = uint16(word(tag, 0))
		}
		l.Tags++
		typ = word(tag, 2)
	}
	l.EtherType = uint16(typ)
	l.L3 = at()

	switch typ {
	case 0x0806:
		if bite(28) == nil {
			return l, Runt
		}
		l.End = at()
		return l, OK

	case 0x0800:
		whole := rest
		fixed := bite(20)
		switch {
		case fixed == nil:
			return l, Runt
		case fixed[0]/16 != 4:
			return l, IPVersion
		}
		header, total := int(fixed[0]%16)*4, word(fixed, 2)
		if header < 20 || bite(header-20) == nil {
			return l, IPHeader
		}
		if total < header || total > len(whole) {
			return l, IPLength
		}
		l.End = l.L3 + uint16(total)
		l.Proto = fixed[9]
		offset := word(fixed, 6) % 8192
		if offset != 0 || fixed[6]/32%2 == 1 {
			l.Flags |= IsFragment
		}
		if offset != 0 {
			l.Flags |= LaterFragment
			return l, OK
		}
		rest = rest[:total-header]

	case 0x86dd:
		fixed := bite(40)
		switch {
		case fixed == nil:
			return l, Runt
		case fixed[0]/16 != 6:
			return l, IPVersion
		}
		payload := word(fixed, 4)
		if payload > len(rest) {
			return l, IPLength
		}
		l.End = at() + uint16(payload)
		l.Proto = fixed[6]
		rest = rest[:payload]
		frame = frame[:l.End]
		seen := 0
		for slices.Contains([]uint8{0, 43, 44, 60}, l.Proto) {
			this := l.Proto
			seen++
			if seen > 6 || this == 0 && seen > 1 {
				return l, IPv6Extension
			}
			ext := bite(8)
			if ext == nil {
				return l, IPv6Extension
			}
			l.Proto = ext[0]
			if this != 44 {
				if bite(int(ext[1])*8) == nil {
					return l, IPv6Extension
				}
				continue
			}
			l.Flags |= IsFragment
			if word(ext, 2)/8 != 0 {
				l.Flags |= LaterFragment
				return l, OK
			}
		}
		if l.Proto == 59 {
			return l, OK
		}

	default:
		l.End = uint16(len(frame))
		return l, OK
	}

	// rest is now the transport header and payload.
	need := map[uint8]int{1: 8, 6: 20, 17: 8, 47: 4, 58: 8}[l.Proto]
	if len(rest) < need {
		return l, Runt
	}
	l.L4 = l.End - uint16(len(rest))
	return l, OK
}

// checkParse holds Parse to slowParse and to what it promises for any bytes.
func checkParse(t *testing.T, frame []byte) {
	t.Helper()
	l := Layout{EtherType: 0xdead, TCI: 0xdead, L3: 0xdead, L4: 0xdead, End: 0xdead, Proto: 0xde, Tags: 0xde, Flags: 0xde}
	fault := Parse(frame, &l)
	want, wantFault := slowParse(frame)
	if fault != wantFault {
		t.Fatalf("Parse(%x) = %v, slow twin says %v", frame, fault, wantFault)
	}
	if max(int(l.L3), int(l.L4), int(l.End)) > len(frame) || l.Tags > 2 {
		t.Fatalf("Parse(%x) = %v, outside the frame of %d bytes: %+v", frame, fault, len(frame), l)
	}
	if fault != OK {
		return
	}
	if l != want {
		t.Fatalf("Parse(%x)\n got %+v\nwant %+v", frame, l, want)
	}
	if l.L3 > l.End || l.L4 > l.End || l.L4 != 0 && l.L4 <= l.L3 {
		t.Fatalf("Parse(%x): offsets out of order: %+v", frame, l)
	}
	// Views index freely now.
	switch l.EtherType {
	case EtherTypeARP:
		_ = ARP(frame[l.L3:l.End]).TargetIP()
	case EtherTypeIPv4:
		_ = IPv4(frame[l.L3:l.End]).Dst()
		_ = VerifyIPv4(frame[l.L3:l.End])
	case EtherTypeIPv6:
		_ = IPv6(frame[l.L3:l.End]).Dst()
	}
	if l.L4 != 0 {
		switch b := frame[l.L4:l.End]; l.Proto {
		case ProtoTCP:
			_ = TCP(b).Urgent()
		case ProtoUDP:
			_ = UDP(b).Checksum()
		case ProtoICMP:
			_ = ICMPv4(b).Rest()
		case ProtoICMPv6:
			_ = ICMPv6(b).Rest()
		case ProtoGRE:
			_ = NVGRE(b).Protocol()
		}
	}
	FlowHash(frame, &l)
	ParseNS(frame, &l)
	ParseNA(frame, &l)
}

const (
	hexEthernet = "101010101107 101010101105"
	hexAddrs6   = "fd000001000000000000000000000011 fd000001000000000000000000000012"
)

// parseTests is also the seed of FuzzParse.
var parseTests = []struct {
	name  string
	frame string
	fault Fault
	want  Layout // checked when fault is OK
}{
	{"empty", "", Runt, Layout{}},
	{"13 bytes", "101010101107 101010101105 08", Runt, Layout{}},
	{"bare Ethernet header", hexEthernet + "88b5", OK, Layout{EtherType: 0x88b5, L3: 14, End: 14}},
	{"802.3 length instead of an EtherType", hexEthernet + "0003 424203", OK, Layout{EtherType: 3, L3: 14, End: 17}},
	{"UDP", hexEthernet + `0800
		45 00 001d 0001 4000 40 11 0000 0a01010b 0a01010c
		1388 1389 0009 0000 41`, OK,
		Layout{EtherType: EtherTypeIPv4, L3: 14, L4: 34, End: 43, Proto: ProtoUDP}},
	{"Ethernet padding is not payload (W21)", hexEthernet + `0800
		45 00 001c 0001 4000 40 11 0000 0a01010b 0a01010c
		1388 1389 0008 0000
		000000000000000000000000000000000000`, OK,
		Layout{EtherType: EtherTypeIPv4, L3: 14, L4: 34, End: 42, Proto: ProtoUDP}},
	{"TCP behind options", hexEthernet + `0800
		46 00 002c 0001 4000 40 06 0000 0a01010b 0a01010c
		94040000                                  // router alert
		1388 0050 00000001 00000000 50 02 ffff 0000 0000`, OK,
		Layout{EtherType: EtherTypeIPv4, L3: 14, L4: 38, End: 58, Proto: ProtoTCP}},
	{"unknown protocol with no payload", hexEthernet + `0800
		45 00 0014 0001 4000 40 fd 0000 0a01010b 0a01010c`, OK,
		Layout{EtherType: EtherTypeIPv4, L3: 14, L4: 34, End: 34, Proto: 0xfd}},
	{"first fragment", hexEthernet + `0800
		45 00 001c 0001 2000 40 11 0000 0a01010b 0a01010c
		1388 1389 0100 0000`, OK,
		Layout{EtherType: EtherTypeIPv4, L3: 14, L4: 34, End: 42, Proto: ProtoUDP, Flags: IsFragment}},
	{"later fragment has no ports", hexEthernet + `0800
		45 00 0018 0001 2001 40 11 0000 0a01010b 0a01010c
		41414141`, OK,
		Layout{EtherType: EtherTypeIPv4, L3: 14, End: 38, Proto: ProtoUDP, Flags: IsFragment | LaterFragment}},
	{"first fragment too short for its header (R13)", hexEthernet + `0800
		45 00 001b 0001 2000 40 11 0000 0a01010b 0a01010c
		1388 1389 0100 00`, Runt, Layout{}},
	{"TCP of 19 bytes", hexEthernet + `0800
		45 00 0027 0001 0000 40 06 0000 0a01010b 0a01010c
		1388 0050 00000001 00000000 50 02 ffff 0000 00 ff`, Runt, Layout{}},
	{"GRE of 3 bytes", hexEthernet + `0800
		45 00 0017 0001 0000 40 2f 0000 0a01010b 0a01010c
		200065`, Runt, Layout{}},
	{"IPv4 header cut", hexEthernet + "0800 45 00 0014 0001 0000 40 fd 0000 0a01010b 0a0101", Runt, Layout{}},
	{"IPv6 under IPv4's EtherType", hexEthernet + "0800 65 00 0014 0001 0000 40 fd 0000 0a01010b 0a01010c", IPVersion, Layout{}},
	{"IHL 4", hexEthernet + "0800 44 00 0014 0001 0000 40 fd 0000 0a01010b 0a01010c", IPHeader, Layout{}},
	{"IHL beyond the frame", hexEthernet + "0800 46 00 0018 0001 0000 40 fd 0000 0a01010b 0a01010c", IPHeader, Layout{}},
	{"total length below the header", hexEthernet + "0800 45 00 0013 0001 0000 40 fd 0000 0a01010b 0a01010c", IPLength, Layout{}},
	{"total length beyond the frame", hexEthernet + "0800 45 00 0015 0001 0000 40 fd 0000 0a01010b 0a01010c", IPLength, Layout{}},
	{"total length within IHL", hexEthernet + "0800 46 00 0016 0001 0000 40 fd 0000 0a01010b 0a01010c 94040000", IPLength, Layout{}},

	{"one tag", hexEthernet + `8100 6067 0800
		45 00 0014 0001 4000 40 fd 0000 0a01010b 0a01010c`, OK,
		Layout{EtherType: EtherTypeIPv4, TCI: 0x6067, L3: 18, L4: 38, End: 38, Proto: 0xfd, Tags: 1}},
	{"two tags", hexEthernet + `88a8 0064 8100 0067 86dd
		60000000 0000 3b 40 ` + hexAddrs6, OK,
		Layout{EtherType: EtherTypeIPv6, TCI: 100, L3: 22, End: 62, Proto: ProtoNone, Tags: 2}},
	{"old stacked tags", hexEthernet + "9100 0064 9100 0065 88b5", OK, Layout{EtherType: 0x88b5, TCI: 100, L3: 22, End: 22, Tags: 2}},
	{"three tags", hexEthernet + "88a8 0064 8100 0065 8100 0066 88b5", VLANTags, Layout{}},
	{"tag cut", hexEthernet + "8100 0067 08", Runt, Layout{}},
	{"second tag cut", hexEthernet + "88a8 0067 8100 00", Runt, Layout{}},

	{"ARP", hexEthernet + `0806
		0001 0800 06 04 0001
		101010101105 0a01010b 000000000000 0a01010c
		000000000000000000000000000000000000`, OK,
		Layout{EtherType: EtherTypeARP, L3: 14, End: 42}},
	{"ARP cut", hexEthernet + "0806 0001 0800 06 04 0001 101010101105 0a01010b 000000000000 0a0101", Runt, Layout{}},

	{"IPv6 UDP", hexEthernet + "86dd 60000000 0008 11 40" + hexAddrs6 + "1388 1389 0008 0000 ffff", OK,
		Layout{EtherType: EtherTypeIPv6, L3: 14, L4: 54, End: 62, Proto: ProtoUDP}},
	{"IPv6 header cut", hexEthernet + "86dd 60000000 0000 3b 40" + hexAddrs6[:59], Runt, Layout{}},
	{"IPv4 under IPv6's EtherType", hexEthernet + "86dd 40000000 0000 3b 40" + hexAddrs6, IPVersion, Layout{}},
	{"IPv6 payload beyond the frame", hexEthernet + "86dd 60000000 0001 3b 40" + hexAddrs6, IPLength, Layout{}},
	{"IPv6 with every extension that is followed", hexEthernet + "86dd 60000000 0028 00 40" + hexAddrs6 + `
		3c 00 010400000000      // hop-by-hop, then
		2b 00 010400000000      // destination options
		3c 00 000000000000      // routing
		11 00 010400000000      // destination options again
		1388 1389 0008 0000`, OK,
		Layout{EtherType: EtherTypeIPv6, L3: 14, L4: 86, End: 94, Proto: ProtoUDP}},
	{"IPv6 first fragment", hexEthernet + "86dd 60000000 0010 2c 40" + hexAddrs6 + `
		11 00 0001 00000007     // UDP, offset 0, more
		1388 1389 0100 0000`, OK,
		Layout{EtherType: EtherTypeIPv6, L3: 14, L4: 62, End: 70, Proto: ProtoUDP, Flags: IsFragment}},
	{"IPv6 whole datagram with a fragment header (RFC 6946)", hexEthernet + "86dd 60000000 0010 2c 40" + hexAddrs6 + `
		11 00 0000 00000007
		1388 1389 0008 0000`, OK,
		Layout{EtherType: EtherTypeIPv6, L3: 14, L4: 62, End: 70, Proto: ProtoUDP, Flags: IsFragment}},
	{"IPv6 later fragment", hexEthernet + "86dd 60000000 000c 2c 40" + hexAddrs6 + `
		11 00 0010 00000007     // offset 16
		41414141`, OK,
		Layout{EtherType: EtherTypeIPv6, L3: 14, End: 66, Proto: ProtoUDP, Flags: IsFragment | LaterFragment}},
	{"reserved byte of the fragment header is not a length", hexEthernet + "86dd 60000000 0010 2c 40" + hexAddrs6 + `
		11 ff 0001 00000007
		1388 1389 0100 0000`, OK,
		Layout{EtherType: EtherTypeIPv6, L3: 14, L4: 62, End: 70, Proto: ProtoUDP, Flags: IsFragment}},
	{"IPv6 first fragment without the whole header chain (RFC 7112)", hexEthernet + "86dd 60000000 000c 2c 40" + hexAddrs6 + `
		11 00 0001 00000007
		1388 1389`, Runt, Layout{}},
	{"authentication header is left closed (R9)", hexEthernet + "86dd 60000000 0018 33 40" + hexAddrs6 + `
		11 04 0000 00000001 00000001 00000000 00000000 00000000`, OK,
		Layout{EtherType: EtherTypeIPv6, L3: 14, L4: 54, End: 78, Proto: ProtoAH}},
	{"extension beyond the packet", hexEthernet + "86dd 60000000 0008 3c 40" + hexAddrs6 + "11 01 010400000000 1388 1389 0008 0000", IPv6Extension, Layout{}},
	{"extension cut", hexEthernet + "86dd 60000000 0007 2c 40" + hexAddrs6 + "11 00 0001 000000", IPv6Extension, Layout{}},
	{"hop-by-hop not first", hexEthernet + "86dd 60000000 0010 3c 40" + hexAddrs6 + "00 00 010400000000 3b 00 010400000000", IPv6Extension, Layout{}},
	{"seven extensions", hexEthernet + "86dd 60000000 0038 3c 40" + hexAddrs6 + strings.Repeat("3c 00 010400000000", 6) + "3b 00 010400000000", IPv6Extension, Layout{}},
	{"six extensions", hexEthernet + "86dd 60000000 0030 3c 40" + hexAddrs6 + strings.Repeat("3c 00 010400000000", 5) + "3b 00 010400000000", OK,
		Layout{EtherType: EtherTypeIPv6, L3: 14, End: 102, Proto: ProtoNone}},
}

func TestParse(t *testing.T) {
	for _, tt := range parseTests {
		t.Run(tt.name, func(t *testing.T) {
			frame := unhex(tt.frame)
			var l Layout
			if fault := Parse(frame, &l); fault != tt.fault {
				t.Fatalf("Parse = %v, want %v", fault, tt.fault)
			}
			if tt.fault == OK && l != tt.want {
				t.Errorf("layout\n %+v, want\n %+v", l, tt.want)
			}
			checkParse(t, frame)
		})
	}
}

// Every prefix of every frame of the table: a frame cut anywhere never fools
// either parser.
func TestParseTruncated(t *testing.T) {
	for _, tt := range parseTests {
		frame := unhex(tt.frame)
		for n := range frame {
			checkParse(t, frame[:n:n])
		}
	}
}

// Frames of the table, a few bytes of which were overwritten, often by values
// that mean something to a parser.
func TestParseRandom(t *testing.T) {
	r := random(t)
	meaningful := []byte{0x00, 0x01, 0x06, 0x08, 0x11, 0x2b, 0x2c, 0x2f, 0x3a, 0x3b, 0x3c, 0x45, 0x46, 0x60, 0x81, 0x86, 0xdd, 0xff}
	for range 300_000 {
		frame := unhexed[r.IntN(len(unhexed))]
		frame = append(make([]byte, 0, len(frame)+40), frame...)
		if len(frame) == 0 {
			continue
		}
		for range r.IntN(4) {
			v := byte(r.Uint32())
			if r.IntN(2) == 0 {
				v = meaningful[r.IntN(len(meaningful))]
			}
			frame[r.IntN(len(frame))] = v
		}
		if r.IntN(4) == 0 {
			frame = frame[:r.IntN(len(frame)+1)]
		}
		if r.IntN(4) == 0 {
			frame = append(frame, make([]byte, r.IntN(40))...)
		}
		checkParse(t, frame[:len(frame):len(frame)])
	}
}

var unhexed = func() (frames [][]byte) {
	for _, tt := range parseTests {
		frames = append(frames, unhex(tt.frame))
	}
	return frames
}()

// Offsets have 16 bits: a longer frame is read as if cut there.
func TestParseLongFrames(t *testing.T) {
	for _, n := range []int{65534, 65535, 65536, 70000} {
		frame := make([]byte, n)
		copy(frame, unhex(hexEthernet+"0800 45 00 ffff 0001 4000 40 11 0000 0a01010b 0a01010c"))
		checkParse(t, frame)
		IPv4(frame[14:]).SetTotalLen(uint16(min(n, 65535) - 14))
		checkParse(t, frame)
		Ethernet(frame).SetEtherType(0x88b5)
		checkParse(t, frame)
		Ethernet(frame).SetEtherType(EtherTypeIPv6)
		IPv6(frame[14:]).Encode(IPv6Fields{PayloadLen: uint16(min(n, 65535) - 54), NextHeader: ProtoUDP})
		checkParse(t, frame)
		IPv6(frame[14:]).SetPayloadLen(65535)
		checkParse(t, frame)
	}
}

func FuzzParse(f *testing.F) {
	for _, frame := range unhexed {
		f.Add(frame)
	}
	f.Fuzz(checkParse)
}

// checkParseHead holds ParseHead to Parse: whatever the first segment of a frame
// is, either headers are beyond it or it says what Parse says of the whole.
func checkParseHead(t *testing.T, frame []byte) {
	t.Helper()
	if len(frame) > maxFrame {
		return
	}
	var whole Layout
	fault := Parse(frame, &whole)
	seen := false
	for n := range min(len(frame), 400) {
		head := frame[:n:n]
		l := Layout{EtherType: 0xdead, TCI: 0xdead, L3: 0xdead, L4: 0xdead, End: 0xdead, Proto: 0xde, Tags: 0xde, Flags: 0xde}
		got := ParseHead(head, len(frame), &l)
		if max(int(l.L3), int(l.L4), int(l.End)) > n {
			t.Fatalf("%x, head of %d: outside: %+v", frame, n, l)
		}
		if got == MultiSegment {
			if seen && fault == OK {
				t.Fatalf("%x: headers beyond %d, but not beyond %d bytes", frame, n, n-1)
			}
			// Everything that Parse promises is there: nothing was missing.
			if l4 := int(whole.L4); fault == OK && n >= max(l4, int(whole.L3)+40)+int(transportLen[whole.Proto]) && (l4 != 0 || n >= 200) {
				t.Fatalf("%x: headers beyond %d bytes, but they are %+v", frame, n, whole)
			}
			continue
		}
		seen = true
		if got != fault {
			t.Fatalf("%x, head of %d: %v, the whole is %v", frame, n, got, fault)
		}
		if fault != OK {
			continue
		}
		want := whole
		if int(want.End) > n {
			want.Flags |= Partial
			want.End = uint16(n)
		}
		if l != want {
			t.Fatalf("%x, head of %d:\n got %+v\nwant %+v", frame, n, l, want)
		}
		if l.L3 > l.End || l.L4 > l.End {
			t.Fatalf("%x, head of %d: out of order: %+v", frame, n, l)
		}
		FlowHash(head, &l)
		ParseNS(head, &l)
		ParseNA(head, &l)
		ClampMSS(head, &l, 1400)
	}
}

func TestParseHead(t *testing.T) {
	for _, frame := range unhexed {
		checkParseHead(t, bytes.Clone(frame))
		checkParseHead(t, append(bytes.Clone(frame), make([]byte, 20)...)) // padding
	}
	var l Layout
	frame := unhex(hexEthernet + "0800 45 00 ffff 0001 4000 40 06 0000 0a01010b 0a01010c 1388 0050 00000001 00000000 50 02 ffff 0000 0000")
	if fault := ParseHead(frame, 14+65535, &l); fault != OK || l.Flags != Partial || int(l.End) != len(frame) {
		t.Errorf("%v, %+v: the longest IPv4 packet, longer than offsets can tell", fault, l)
	}
	if Fragments(frame, &l, 1500) != 0 {
		t.Error("fragments of what cannot be seen")
	}
	if fault := ParseHead(frame, 14+65534, &l); fault != IPLength {
		t.Errorf("%v: longer than the frame", fault)
	}
}

func FuzzParseHead(f *testing.F) {
	for _, frame := range unhexed {
		f.Add(frame)
	}
	f.Fuzz(checkParseHead)
}

// A plain frame within a frame may begin behind its end: it was once taken for one that is
// nearly 64 kB long.
func TestPlainOfLessThanNothing(t *testing.T) {
	b := (*Plain4)(udpFrame)
	if b.End(len(udpFrame)) == 0 || b.End(maxFrame) == 0 {
		t.Fatal("a good frame is none")
	}
	for _, size := range []int{-1, -100, -1 << 20, 0} {
		if end := b.End(size); end != 0 {
			t.Errorf("%d bytes: end at %d", size, end)
		}
	}
}
