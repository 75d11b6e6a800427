package packet

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/ip4defrag"
	"github.com/google/gopacket/layers"
)

// datagram is an IPv4 frame with those options, which fill whole words, that
// fragment word and that payload.
func datagram(tags int, options []byte, fragment uint16, payload []byte) []byte {
	frame := make([]byte, 0, EthernetLen+8+60+len(payload))
	frame = append(frame, macB[:]...)
	frame = append(frame, macA[:]...)
	for i := range tags {
		frame = append(frame, 0x81, 0, byte(i), 7)
	}
	frame = append(frame, 8, 0)
	l3 := len(frame)
	frame = append(frame, make([]byte, IPv4Len)...)
	frame = append(frame, options...)
	frame = append(frame, payload...)
	ip := IPv4(frame[l3:])
	ip.Encode(IPv4Fields{TOS: 0x2e, TotalLen: uint16(len(ip)), ID: 0x1234, Fragment: fragment, TTL: 63, Protocol: 253, Src: ip4A, Dst: ip4B})
	ip[0] = 0x45 + byte(len(options)/4)
	ip.SetChecksum(0)
	ip.SetChecksum(slowSum(ip[:IPv4Len+len(options)], 0))
	return frame
}

// ipv4 is the header of a frame as gopacket reads it, whatever is behind it.
func ipv4(t *testing.T, frame []byte) *layers.IPv4 {
	t.Helper()
	return layer[*layers.IPv4](t, gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default))
}

// split is what WriteFragment makes of a frame that must be good.
func split(t testing.TB, frame []byte, mtu int) [][]byte {
	t.Helper()
	var l Layout
	if f := Parse(frame, &l); f != OK {
		t.Fatalf("Parse(%x) = %v", frame, f)
	}
	var fragments [][]byte
	for i := range Fragments(frame, &l, mtu) {
		dst := bytes.Repeat([]byte{0xee}, int(l.L3)+mtu+10)
		n := WriteFragment(dst[:int(l.L3)+mtu], frame, &l, mtu, i)
		if n == 0 || bytes.Trim(dst[l.L3+uint16(mtu):], "\xee") != nil {
			t.Fatalf("fragment %d of %x at MTU %d: %d bytes, %x", i, frame, mtu, n, dst)
		}
		fragments = append(fragments, dst[:n])
	}
	return fragments
}

func TestM7Fragments(t *testing.T) {
	payload := make([]byte, 100)
	for i := range payload {
		payload[i] = byte(i)
	}
	router := []byte{0x94, 4, 0, 0} // router alert: copied
	record := []byte{7, 7, 4, 0, 0, 0, 0, 0}
	type fragment struct {
		word    uint16
		options []byte
		payload []byte
	}
	for _, tt := range []struct {
		name     string
		options  []byte
		fragment uint16
		mtu      int
		want     []fragment
	}{
		{"fits", nil, 0, 120, []fragment{{0, nil, payload}}},
		{"fits, with DF", nil, IPv4DontFragment, 120, []fragment{{IPv4DontFragment, nil, payload}}},
		{"one byte too long", nil, 0, 119, []fragment{{0x2000, nil, payload[:96]}, {12, nil, payload[96:]}}},
		{"three", nil, 0, 68, []fragment{{0x2000, nil, payload[:48]}, {0x2006, nil, payload[48:96]}, {12, nil, payload[96:]}}},
		{"room that is no multiple of 8", nil, 0, 75, []fragment{{0x2000, nil, payload[:48]}, {0x2006, nil, payload[48:96]}, {12, nil, payload[96:]}}},
		{"DF", nil, IPv4DontFragment, 119, nil},
		{"DF of a fragment", nil, IPv4DontFragment | 5, 119, nil},
		{"no room for 8 bytes", nil, 0, 27, nil},
		{"no room for the header", nil, 0, 10, nil},
		{"no MTU", nil, 0, 0, nil},
		{"last fragment", nil, 10, 100, []fragment{{0x2000 | 10, nil, payload[:80]}, {20, nil, payload[80:]}}},
		{"last of all", nil, 8179, 100, []fragment{{0x2000 | 8179, nil, payload[:80]}, {8189, nil, payload[80:]}}},
		{"beyond any datagram", nil, 8180, 100, nil},
		{"first fragment with an odd end", nil, IPv4MoreFragments, 100, nil},
		{"reserved flag", nil, 0x8000, 100, []fragment{{0xa000, nil, payload[:80]}, {0x800a, nil, payload[80:]}}},
		{"copied option", router, 0, 104, []fragment{{0x2000, router, payload[:80]}, {10, router, payload[80:]}}},
		{"option of the first alone", record, 0, 108, []fragment{{0x2000, record, payload[:80]}, {10, nil, payload[80:]}}},
		{"both", slices.Concat(record[:7], router, []byte{0}), 0, 112,
			[]fragment{{0x2000, slices.Concat(record[:7], router, []byte{0}), payload[:80]}, {10, router, payload[80:]}}},
		{"copied option that needs padding", []byte{1, 1, 0x88, 4, 0, 5, 0x83, 3, 4, 1, 1, 1}, 0, 112,
			[]fragment{{0x2000, []byte{1, 1, 0x88, 4, 0, 5, 0x83, 3, 4, 1, 1, 1}, payload[:80]}, {10, []byte{0x88, 4, 0, 5, 0x83, 3, 4, 0}, payload[80:]}}},
		{"behind the end of options", []byte{0, 0x94, 4, 0}, 0, 104, []fragment{{0x2000, []byte{0, 0x94, 4, 0}, payload[:80]}, {10, nil, payload[80:]}}},
		{"option of length 0", []byte{0x94, 0, 4, 0}, 0, 104, []fragment{{0x2000, []byte{0x94, 0, 4, 0}, payload[:80]}, {10, nil, payload[80:]}}},
		{"option of length 1", []byte{0x94, 1, 0x94, 1}, 0, 104, []fragment{{0x2000, []byte{0x94, 1, 0x94, 1}, payload[:80]}, {10, nil, payload[80:]}}},
		{"option beyond the header", []byte{0x94, 5, 4, 0}, 0, 104, []fragment{{0x2000, []byte{0x94, 5, 4, 0}, payload[:80]}, {10, nil, payload[80:]}}},
		{"option without a length", []byte{1, 1, 1, 0x94}, 0, 104, []fragment{{0x2000, []byte{1, 1, 1, 0x94}, payload[:80]}, {10, nil, payload[80:]}}},
	} {
		for tags := range 3 {
			frame := datagram(tags, tt.options, tt.fragment, payload)
			var want [][]byte
			for _, f := range tt.want {
				want = append(want, datagram(tags, f.options, f.word, f.payload))
			}
			// Padding of a short frame is no payload (W21).
			got := split(t, append(bytes.Clone(frame), 0xee, 0xee), tt.mtu)
			if !slices.EqualFunc(got, want, bytes.Equal) {
				t.Errorf("%s, %d tags:\n got %x\nwant %x", tt.name, tags, got, want)
			}
		}
	}
}

// No datagram is longer than 65,535 bytes.
func TestM7LongestDatagram(t *testing.T) {
	for n, want := range map[int]int{103: 2, 104: 0} {
		if got := len(split(t, datagram(0, nil, 8179, make([]byte, n)), 100)); got != want {
			t.Errorf("%d bytes at 65,432: %d fragments, want %d", n, got, want)
		}
	}
}

// A destination without room is not written to.
func TestM7ShortDestination(t *testing.T) {
	frame := datagram(0, nil, 0, make([]byte, 100))
	var l Layout
	Parse(frame, &l)
	for _, mtu := range []int{100, 120} {
		for i := range Fragments(frame, &l, mtu) {
			n := WriteFragment(make([]byte, 200), frame, &l, mtu, i)
			dst := make([]byte, n-1)
			if got := WriteFragment(dst, frame, &l, mtu, i); got != 0 || len(bytes.Trim(dst, "\x00")) != 0 {
				t.Errorf("MTU %d, fragment %d of %d bytes: %d bytes into %d", mtu, i, n, got, n-1)
			}
		}
	}
}

func TestM7OnlyIPv4(t *testing.T) {
	for _, frame := range [][]byte{udp6Frame, unhex(vector3), AppendARP(nil, &ARPFrame{})} {
		var l Layout
		if f := Parse(frame, &l); f != OK || Fragments(frame, &l, 20) != 0 || Fragments(frame, &l, 1500) != 0 {
			t.Errorf("%x is fragmented", frame)
		}
	}
}

// Datagrams of all sizes, cut to an MTU and what came of it to a smaller one, in
// any order, are the original when they are put together again: by gopacket where
// it can, which knows no options and no last fragment below 8 bytes, and by the
// slow way always.
func TestM7Reassembly(t *testing.T) {
	r := random(t)
	judged := 0
	for range 2000 {
		var options []byte
		for range r.IntN(4) {
			options = append(options, [][]byte{{0x94, 4, 0, 0}, {1, 1, 1, 1}, {7, 7, 4, 0, 0, 0, 0, 1}, {0x83, 7, 4, 10, 0, 0, 1, 0}}[r.IntN(4)]...)
		}
		tags := r.IntN(3)
		payload := bytesOf(r, 1+r.IntN(1<<r.IntN(15)))
		fragments := [][]byte{datagram(tags, options, 0, payload)}
		for range 1 + r.IntN(2) {
			mtu := 68 + r.IntN(1<<r.IntN(12))
			var finer [][]byte
			for _, f := range fragments {
				pieces := split(t, f, mtu)
				if len(pieces) == 0 {
					t.Fatalf("%x is not cut to %d", f, mtu)
				}
				for _, p := range pieces {
					checkFragment(t, p, mtu, options)
				}
				finer = append(finer, pieces...)
			}
			fragments = finer
		}
		r.Shuffle(len(fragments), func(i, j int) { fragments[i], fragments[j] = fragments[j], fragments[i] })
		if got := slowReassemble(t, fragments); !bytes.Equal(got, payload) {
			t.Fatalf("%d fragments of\n%x became\n%x", len(fragments), payload, got)
		}
		if options != nil || slices.ContainsFunc(fragments, func(f []byte) bool { return len(f) < EthernetLen+tags*VLANLen+IPv4Len+8 }) {
			continue
		}
		judged++
		got := reassemble(t, fragments)
		if got == nil || !bytes.Equal(got.Payload, payload) || got.Id != 0x1234 || got.TOS != 0x2e || got.TTL != 63 || got.Protocol != 253 ||
			!bytes.Equal(got.SrcIP, ip4A[:]) || !bytes.Equal(got.DstIP, ip4B[:]) {
			t.Fatalf("%d bytes of payload in %d fragments became %+v", len(payload), len(fragments), got)
		}
	}
	if judged < 100 {
		t.Errorf("gopacket put only %d datagrams together", judged)
	}
}

// slowReassemble writes every fragment's bytes to their place; each place must be
// written once.
func slowReassemble(t *testing.T, fragments [][]byte) []byte {
	t.Helper()
	whole, end := map[int]byte{}, -1
	for _, f := range fragments {
		ip := ipv4(t, f)
		for i, b := range ip.Payload {
			at := int(ip.FragOffset)*8 + i
			if _, twice := whole[at]; twice {
				t.Fatalf("byte %d is in two fragments", at)
			}
			whole[at] = b
		}
		if ip.Flags&layers.IPv4MoreFragments == 0 {
			end = int(ip.FragOffset)*8 + len(ip.Payload)
		}
	}
	b := make([]byte, len(whole))
	for i := range b {
		b[i] = whole[i]
	}
	if end != len(b) {
		t.Fatalf("%d bytes in fragments, of %d", len(b), end)
	}
	return b
}

// checkFragment holds one fragment to its MTU, its checksum and, as gopacket
// reads them, its options.
func checkFragment(t *testing.T, frame []byte, mtu int, options []byte) {
	t.Helper()
	ip := ipv4(t, frame)
	header := ip.Contents
	if len(ip.Contents)+len(ip.Payload) > mtu || int(ip.Length) != len(ip.Contents)+len(ip.Payload) || slowSum(header, 0) != 0 ||
		ip.Flags&layers.IPv4MoreFragments != 0 && len(ip.Payload)%8 != 0 {
		t.Fatalf("fragment at MTU %d: %+v, header %x", mtu, ip, header)
	}
	if ip.FragOffset == 0 {
		if !bytes.Equal(header[IPv4Len:], options) {
			t.Fatalf("options of the first fragment %x, want %x", header[IPv4Len:], options)
		}
		return
	}
	for _, o := range ip.Options {
		if o.OptionType&0x80 == 0 && o.OptionType != 0 {
			t.Fatalf("option %d in a later fragment", o.OptionType)
		}
	}
}

func reassemble(t *testing.T, fragments [][]byte) *layers.IPv4 {
	t.Helper()
	defragmenter := ip4defrag.NewIPv4Defragmenter()
	for i, f := range fragments {
		in := ipv4(t, f)
		out, err := defragmenter.DefragIPv4WithTimestamp(in, time.Unix(0, 0))
		if err != nil {
			t.Fatalf("gopacket: %v", err)
		}
		if out != nil {
			if i != len(fragments)-1 {
				t.Fatalf("whole after %d of %d fragments", i+1, len(fragments))
			}
			return out
		}
	}
	return nil
}

// Whatever Parse accepts is cut within its bounds, and put together again it is
// what it was.
func FuzzFragments(f *testing.F) {
	for _, frame := range unhexed {
		f.Add(frame, uint16(28))
	}
	f.Add(datagram(1, []byte{7, 7, 4, 0, 0, 0, 0, 1}, 0, make([]byte, 300)), uint16(100))
	f.Add(datagram(0, []byte{0x94, 4, 0, 0}, IPv4MoreFragments|7, make([]byte, 304)), uint16(68))
	f.Add(datagram(0, []byte{0x94, 0, 1, 1}, 0, make([]byte, 304)), uint16(68))
	f.Fuzz(func(t *testing.T, frame []byte, mtu uint16) {
		var l Layout
		if len(frame) > maxFrame || Parse(frame, &l) != OK {
			return
		}
		n := Fragments(frame, &l, int(mtu))
		if l.EtherType != EtherTypeIPv4 {
			if n != 0 {
				t.Fatalf("%x makes %d fragments", frame, n)
			}
			return
		}
		before := bytes.Clone(frame)
		whole := IPv4(frame[l.L3:l.End])
		payload := make([]byte, 0, len(whole))
		dst := make([]byte, int(l.L3)+max(int(mtu), len(whole)))
		for i := range n {
			size := WriteFragment(dst, frame, &l, int(mtu), i)
			if size < int(l.L3)+IPv4Len || size > int(l.L3)+int(mtu) || !bytes.Equal(dst[:l.L3], frame[:l.L3]) {
				t.Fatalf("fragment %d of %x at %d: %d bytes", i, frame, mtu, size)
			}
			ip := IPv4(dst[l.L3:size])
			header := ip.HeaderLen()
			if n == 1 {
				if !bytes.Equal(ip, whole) {
					t.Fatalf("%x became %x", whole, ip)
				}
			} else if int(ip.TotalLen()) != len(ip) || slowSum(ip[:header], 0) != 0 ||
				ip.FragmentOffset() != whole.FragmentOffset()+len(payload) ||
				ip.MoreFragments() != (i < n-1 || whole.MoreFragments()) || ip.MoreFragments() && (len(ip)-header)%8 != 0 ||
				!bytes.Equal(ip[12:20], whole[12:20]) || ip.ID() != whole.ID() {
				t.Fatalf("fragment %d of %x at %d: %x", i, frame, mtu, ip)
			}
			payload = append(payload, ip[header:]...)
		}
		if n > 0 && !bytes.Equal(payload, whole[whole.HeaderLen():]) || !bytes.Equal(before, frame) {
			t.Fatalf("%x at %d came apart", frame, mtu)
		}
	})
}

// fragmentBranches cuts frames that take every way through fragment.go.
func fragmentBranches(r *rand.Rand) func() {
	frames := [][]byte{
		datagram(0, nil, 0, bytesOf(r, 1400)),
		datagram(1, []byte{0x94, 4, 0, 0}, 0, bytesOf(r, 1400)),
		datagram(0, []byte{7, 7, 4, 0, 0, 0, 0, 1}, 0, bytesOf(r, 1400)),
		datagram(0, nil, IPv4DontFragment, bytesOf(r, 1400)),
		datagram(0, nil, IPv4MoreFragments|3, bytesOf(r, 1400)),
		udp6Frame,
	}
	dst := make([]byte, 2000)
	return func() {
		var l Layout
		for _, frame := range frames {
			Parse(frame, &l)
			for _, mtu := range []int{20, 576, 1500} {
				for i := range Fragments(frame, &l, mtu) {
					sink += uint64(WriteFragment(dst, frame, &l, mtu, i))
				}
			}
		}
	}
}

func TestM7NoAllocations(t *testing.T) {
	cut := fragmentBranches(random(t))
	before := sink
	cut()
	if sink == before {
		t.Error("nothing was cut")
	}
	if n := testing.AllocsPerRun(100, cut); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkWriteFragment(b *testing.B) {
	frame := datagram(0, nil, 0, make([]byte, 1480))
	dst := make([]byte, 2000)
	var l Layout
	Parse(frame, &l)
	for range b.N {
		for i := range Fragments(frame, &l, 1458) {
			sink += uint64(WriteFragment(dst, frame, &l, 1458, i))
		}
	}
}
