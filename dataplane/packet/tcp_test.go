package packet

import (
	"bytes"
	"slices"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// segment is a TCP segment with those options, which must fill whole words, and
// the flags that set gives it; gopacket writes its checksum.
func segment(t testing.TB, v6 bool, options, payload []byte, set func(tcp *layers.TCP)) []byte {
	t.Helper()
	tcp := &layers.TCP{SrcPort: 0xc000, DstPort: 0xc001, Seq: 0x01020304, SYN: true, Window: 0xffff}
	if set != nil {
		set(tcp)
	}
	for i := 0; i < len(options); i += 4 { // room for raw bytes, however malformed they are
		tcp.Options = append(tcp.Options, slices.Repeat([]layers.TCPOption{{OptionType: layers.TCPOptionKindNop}}, 4)...)
	}
	var network gopacket.NetworkLayer
	var ip gopacket.SerializableLayer
	etherType := layers.EthernetTypeIPv4
	if v6 {
		h := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolTCP, SrcIP: ip6A[:], DstIP: ip6B[:]}
		network, ip, etherType = h, h, layers.EthernetTypeIPv6
	} else {
		h := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: ip4A[:], DstIP: ip4B[:]}
		network, ip = h, h
	}
	tcp.SetNetworkLayerForChecksum(network)
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: macA[:], DstMAC: macB[:], EthernetType: etherType}, ip, tcp, gopacket.Payload(payload)); err != nil {
		t.Fatal(err)
	}
	frame := buf.Bytes()
	var l Layout
	if f := Parse(frame, &l); f != OK {
		t.Fatalf("Parse = %v", f)
	}
	copy(frame[l.L4+TCPLen:], options)
	sealTCP(frame, &l)
	return frame[:l.End]
}

func sealTCP(frame []byte, l *Layout) {
	b := TCP(frame[l.L4:l.End])
	b.SetChecksum(0)
	b.SetChecksum(slowSum(b, pseudo(frame, l)))
}

// pseudo is the sum of the pseudo-header of a frame's transport.
func pseudo(frame []byte, l *Layout) uint32 {
	if l.EtherType == EtherTypeIPv6 {
		ip := IPv6(frame[l.L3:])
		return PseudoHeader6(ip.Src(), ip.Dst(), l.Proto, uint32(l.End-l.L4))
	}
	ip := IPv4(frame[l.L3:])
	return PseudoHeader4(ip.Src4(), ip.Dst4(), l.Proto, l.End-l.L4)
}

func TestM13ClampMSS(t *testing.T) {
	for _, tt := range []struct {
		name    string
		options []byte
		set     func(tcp *layers.TCP)
		want    []byte // nil: as it was
	}{
		{"SYN", []byte{2, 4, 5, 0xb4}, nil, []byte{2, 4, 5, 0x8a}},
		{"SYN, ACK", []byte{2, 4, 5, 0xb4}, func(tcp *layers.TCP) { tcp.ACK = true }, []byte{2, 4, 5, 0x8a}},
		{"Linux", []byte{2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7}, nil, []byte{2, 4, 5, 0x8a, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7}},
		{"at an odd place", []byte{1, 2, 4, 0xff, 0xff, 0, 0, 0}, nil, []byte{1, 2, 4, 5, 0x8a, 0, 0, 0}},
		{"behind others", []byte{8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 1, 2, 4, 5, 0xb4}, nil, []byte{8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 1, 2, 4, 5, 0x8a}},
		{"twice", []byte{2, 4, 5, 0xb4, 2, 4, 0xff, 0xff}, nil, []byte{2, 4, 5, 0x8a, 2, 4, 5, 0x8a}},
		{"as large as it may be", []byte{2, 4, 5, 0x8a}, nil, nil},
		{"smaller", []byte{2, 4, 2, 0x18}, nil, nil},
		{"no SYN", []byte{2, 4, 5, 0xb4}, func(tcp *layers.TCP) { tcp.SYN, tcp.ACK = false, true }, nil},
		{"none", nil, nil, nil},
		{"behind the end", []byte{0, 2, 2, 4, 5, 0xb4, 0, 0}, nil, nil},
		{"of another length", []byte{2, 3, 0xff, 0}, nil, nil},
		{"behind length 0", []byte{3, 0, 2, 4, 5, 0xb4, 0, 0}, nil, nil},
		{"behind length 1", []byte{3, 1, 2, 4, 5, 0xb4, 0, 0}, nil, nil},
		{"beyond the header", []byte{1, 1, 2, 4}, nil, nil},
		{"without a length", []byte{1, 1, 1, 2}, nil, nil},
	} {
		for i := range 4 {
			v6, payload := i/2 != 0, []byte{5, 0xb4, 9} // data on a SYN looks like the rest of an option, and ends at an odd place
			if i%2 != 0 {
				payload = nil
			}
			frame := segment(t, v6, tt.options, payload, tt.set)
			want, changes := segment(t, v6, tt.options, payload, tt.set), tt.want != nil
			if changes {
				want = segment(t, v6, tt.want, payload, tt.set)
			}
			var l Layout
			Parse(frame, &l)
			if got := ClampMSS(frame, &l, 1418); got != changes || !bytes.Equal(frame, want) {
				t.Errorf("%s, IPv6 %v: %v\n got %x\nwant %x", tt.name, v6, got, frame, want)
			}
		}
	}
}

// Nothing but a whole TCP header is looked at.
func TestM13OnlyTCP(t *testing.T) {
	syn := segment(t, false, []byte{2, 4, 5, 0xb4}, nil, nil)
	for name, frame := range map[string][]byte{
		"later fragment":              mod(bytes.Clone(syn), func(f []byte) { f[21] = 1 }),
		"UDP":                         mod(bytes.Clone(syn), func(f []byte) { f[23] = ProtoUDP }),
		"ARP":                         AppendARP(nil, &ARPFrame{}),
		"header shorter than itself":  mod(bytes.Clone(syn), func(f []byte) { f[46] = 0x10 }),
		"header longer than the rest": mod(segment(t, false, []byte{1, 1, 2, 4}, nil, nil), func(f []byte) { f[46] = 0xf0 }),
	} {
		before := bytes.Clone(frame)
		var l Layout
		if Parse(frame, &l); ClampMSS(frame, &l, 100) || !bytes.Equal(frame, before) {
			t.Errorf("%s: clamped", name)
		}
	}
}

// Options in any order and place, judged by gopacket: only MSS changed, the
// checksum is right.
func TestM13Random(t *testing.T) {
	r := random(t)
	clamped := 0
	for range 5000 {
		var options []byte
		for len(options) < 28 && r.IntN(6) != 0 {
			options = append(options, [][]byte{{1}, {2, 4, byte(r.Uint32()), byte(r.Uint32())}, {3, 3, 7}, {4, 2}, {8, 10, 1, 2, 3, 4, 5, 6, 7, 8}}[r.IntN(5)]...)
		}
		for len(options)%4 != 0 {
			options = append(options, 0)
		}
		frame := segment(t, r.IntN(2) == 0, options, bytesOf(r, r.IntN(10)), nil)
		before := layer[*layers.TCP](t, decode(t, bytes.Clone(frame)))
		mss := uint16(r.Uint32())
		var l Layout
		Parse(frame, &l)
		changed := ClampMSS(frame, &l, mss)
		after := layer[*layers.TCP](t, decode(t, frame))
		want := false
		if len(before.Options) != len(after.Options) {
			t.Fatalf("options %v became %v", before.Options, after.Options)
		}
		for i, o := range before.Options {
			if o.OptionType == layers.TCPOptionKindMSS && uint16(o.OptionData[0])<<8|uint16(o.OptionData[1]) > mss {
				o.OptionData = []byte{byte(mss >> 8), byte(mss)}
				want = true
			}
			if a := after.Options[i]; a.OptionType != o.OptionType || !bytes.Equal(a.OptionData, o.OptionData) {
				t.Fatalf("clamped to %d, option %v became %v", mss, o, a)
			}
		}
		if changed != want || slowSum(frame[l.L4:l.End], pseudo(frame, &l)) != 0 {
			t.Fatalf("%x clamped to %d: %v", frame, mss, changed)
		}
		if changed {
			clamped++
		}
	}
	if clamped < 100 {
		t.Errorf("only %d clamped", clamped)
	}
}

// Any bytes as options: a right checksum stays right, a wrong one stays wrong.
func FuzzClampMSS(f *testing.F) {
	for _, options := range [][]byte{{2, 4, 5, 0xb4}, {1, 2, 4, 0xff, 0xff, 0, 0, 0}, {3, 0, 2, 4, 5, 0xb4, 0, 0}, {2, 4, 5, 0xb4, 2, 4, 5}} {
		f.Add(segment(f, false, slices.Grow(options, 4)[:len(options)/4*4], nil, nil), uint16(1000))
		f.Add(segment(f, true, options[:len(options)/4*4], []byte("data"), nil), uint16(1))
	}
	f.Fuzz(func(t *testing.T, frame []byte, mss uint16) {
		var l Layout
		frame = bytes.Clone(frame)
		if Parse(frame, &l) != OK {
			return
		}
		tcp := l.Proto == ProtoTCP && l.L4 != 0
		if tcp {
			sealTCP(frame, &l)
		}
		before := bytes.Clone(frame)
		changed := ClampMSS(frame, &l, mss)
		if changed == bytes.Equal(before, frame) || changed && !tcp {
			t.Fatalf("%x clamped to %d: %v, %x", before, mss, changed, frame)
		}
		if !tcp {
			return
		}
		if slowSum(frame[l.L4:l.End], pseudo(frame, &l)) != 0 ||
			!bytes.Equal(frame[:l.L4+16], before[:l.L4+16]) || !bytes.Equal(frame[min(int(l.End), int(l.L4)+60):], before[min(int(l.End), int(l.L4)+60):]) {
			t.Fatalf("%x clamped to %d: %x", before, mss, frame)
		}
	})
}
