package packet

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/bits"
	"testing"
)

// hashOf parses and hashes a frame that must be good.
func hashOf(t testing.TB, frame []byte) uint32 {
	t.Helper()
	var l Layout
	if f := Parse(frame, &l); f != OK {
		t.Fatalf("Parse(%x) = %v", frame, f)
	}
	return FlowHash(frame, &l)
}

// chiSquare judges a histogram that should be flat: for k bins the value is
// near k, and beyond k + 6·√(2k) once in 10^8 or so.
func chiSquare(t *testing.T, what string, bins []int) {
	t.Helper()
	total := 0
	for _, n := range bins {
		total += n
	}
	mean, sum := float64(total)/float64(len(bins)), 0.0
	for _, n := range bins {
		sum += (float64(n) - mean) * (float64(n) - mean) / mean
	}
	if k := float64(len(bins)); sum > k+6*math.Sqrt(2*k) {
		t.Errorf("%s: chi square %.0f over %d bins", what, sum, len(bins))
	}
}

// Flows as they come in life: neighbouring addresses and ports. Every byte of
// the hash and the FlowID must spread them.
func TestW5Distribution(t *testing.T) {
	for _, tt := range []struct {
		name  string
		frame []byte
		next  func(ip []byte, n uint32) // makes flow n of the frame
	}{
		{"IPv4, source ports", udpFrame, func(ip []byte, n uint32) { binary.BigEndian.PutUint16(ip[20:], uint16(n)) }},
		{"IPv4, destination ports", udpFrame, func(ip []byte, n uint32) { binary.BigEndian.PutUint16(ip[22:], uint16(n)) }},
		{"IPv4, hosts of a /24 talking to each other", udpFrame, func(ip []byte, n uint32) { ip[15], ip[19] = byte(n), byte(n>>8) }},
		{"IPv4, one address each in 65,536 subnets", udpFrame, func(ip []byte, n uint32) { binary.BigEndian.PutUint16(ip[16:], uint16(n)) }},
		{"IPv6, source ports", udp6Frame, func(ip []byte, n uint32) { binary.BigEndian.PutUint16(ip[40:], uint16(n)) }},
		{"IPv6, hosts of a subnet talking to each other", udp6Frame, func(ip []byte, n uint32) { ip[23], ip[39] = byte(n), byte(n>>8) }},
		{"IPv6, subnets", udp6Frame, func(ip []byte, n uint32) { binary.BigEndian.PutUint16(ip[30:], uint16(n)) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			frame := bytes.Clone(tt.frame)
			var bytesOfHash [4][]int
			for i := range bytesOfHash {
				bytesOfHash[i] = make([]int, 256)
			}
			flowIDs := make([]int, 256)
			seen := map[uint32]bool{}
			for n := range uint32(1 << 16) {
				tt.next(frame[EthernetLen:], n)
				h := hashOf(t, frame)
				for i := range bytesOfHash {
					bytesOfHash[i][byte(h>>(8*i))]++
				}
				flowIDs[FlowID(h)]++
				seen[h] = true
			}
			for i, bins := range bytesOfHash {
				chiSquare(t, "byte "+string('0'+rune(i)), bins)
			}
			chiSquare(t, "FlowID", flowIDs)
			// 2^32/2 / 2^32 collisions are expected among 2^16 flows: less than one.
			if lost := 1<<16 - len(seen); lost > 8 {
				t.Errorf("%d of 65536 flows collide in all 32 bits", lost)
			}
		})
	}
}

// One flipped bit of the tuple flips each bit of the hash half of the time.
func TestFlowHashAvalanche(t *testing.T) {
	r := random(t)
	for _, tt := range []struct {
		name   string
		frame  []byte
		at, to int // the tuple
	}{
		{"IPv4", udpFrame, EthernetLen + 12, EthernetLen + 24},
		{"IPv6", udp6Frame, EthernetLen + 8, EthernetLen + 44},
	} {
		frame := bytes.Clone(tt.frame)
		const rounds = 4000
		for bit := range 8 * (tt.to - tt.at) {
			flips, each := 0, [32]int{}
			for range rounds {
				fill(r, frame[tt.at:tt.to])
				before := hashOf(t, frame)
				frame[tt.at+bit/8] ^= 1 << (bit % 8)
				diff := before ^ hashOf(t, frame)
				flips += bits.OnesCount32(diff)
				for i := range each {
					each[i] += int(diff >> i & 1)
				}
			}
			if mean := float64(flips) / rounds; mean < 15.5 || mean > 16.5 {
				t.Errorf("%s: bit %d of the tuple flips %.2f bits of the hash", tt.name, bit, mean)
			}
			for i, n := range each {
				if n < rounds*4/10 || n > rounds*6/10 {
					t.Errorf("%s: bit %d of the tuple flips bit %d of the hash %d times of %d", tt.name, bit, i, n, rounds)
				}
			}
		}
	}
}

// W5: constant for one flow, whatever else changes in the packet.
func TestW5Constant(t *testing.T) {
	change := func(frame []byte, f func([]byte)) []byte {
		frame = bytes.Clone(frame)
		f(frame)
		return frame
	}
	tagged := append(append(bytes.Clone(udpFrame[:12]), 0x81, 0, 0, 5), udpFrame[12:]...)
	options4 := append(append(bytes.Clone(udpFrame[:34]), 0x94, 4, 0, 0), udpFrame[34:]...)
	options4[EthernetLen] = 0x46
	for name, frame := range map[string][]byte{
		"id, TTL, TOS, checksum": change(udpFrame, func(b []byte) { b[15], b[19], b[22], b[24] = 0xff, 0xff, 1, 0xff }),
		"MAC addresses":          change(udpFrame, func(b []byte) { copy(b, "abcdefghijkl") }),
		"length and payload":     change(udpFrame, func(b []byte) { b[17], b[39], b[50] = 0x20, 0x0c, 0xff }),
		"don't fragment":         change(udpFrame, func(b []byte) { b[20] = 0x40 }),
		"tag":                    tagged,
		"IP options":             options4,
	} {
		if hashOf(t, frame) != hashOf(t, udpFrame) {
			t.Errorf("IPv4: hash changes with %s", name)
		}
	}
	if hashOf(t, udp6Frame) != hashOf(t, change(udp6Frame, func(b []byte) { b[15], b[16], b[21] = 0x0f, 0xff, 1 })) {
		t.Error("IPv6: hash changes with flow label or hop limit")
	}

	// And not constant over what makes the flow.
	for at := range 12 {
		if hashOf(t, udpFrame) == hashOf(t, change(udpFrame, func(b []byte) { b[EthernetLen+12+at] ^= 1 })) {
			t.Errorf("IPv4: hash does not depend on byte %d of the tuple", at)
		}
	}
	for at := range 36 {
		if hashOf(t, udp6Frame) == hashOf(t, change(udp6Frame, func(b []byte) { b[EthernetLen+8+at] ^= 1 })) {
			t.Errorf("IPv6: hash does not depend on byte %d of the tuple", at)
		}
	}
}

// W5: all fragments of one datagram hash alike, and so do ICMP messages.
func TestW5TwoTuple(t *testing.T) {
	first := bytes.Clone(udpFrame)
	IPv4(first[EthernetLen:]).SetFragment(IPv4MoreFragments)
	later := bytes.Clone(udpFrame)
	IPv4(later[EthernetLen:]).SetFragment(100)
	copy(later[34:], "other bytes")
	if hashOf(t, first) != hashOf(t, later) {
		t.Error("IPv4: first and later fragment differ")
	}
	if hashOf(t, first) == hashOf(t, udpFrame) {
		t.Error("IPv4: fragment hashes over ports")
	}

	const ip6 = hexEthernet + "86dd 60000000 0018 2c 40" + hexAddrs6
	first = unhex(ip6 + "3c 00 0001 00000007   11 00 010400000000   1388 1389 0100 0000") // options, then UDP
	later = unhex(ip6 + "3c 00 0100 00000007   0102030405060708 090a0b0c0d0e0f10")
	if hashOf(t, first) != hashOf(t, later) {
		t.Error("IPv6: first and later fragment differ")
	}

	one, two := unhex(inner), unhex(inner)
	two[38]++ // echo identifier
	if hashOf(t, one) != hashOf(t, two) {
		t.Error("ICMP hashes over its message")
	}

	for _, frame := range []string{hexEthernet + "88b5", hexEthernet + "0806 0001 0800 06 04 0001 101010101105 0a01010b 000000000000 0a01010c"} {
		if h := hashOf(t, unhex(frame)); h != 0 || FlowID(h) != 0 {
			t.Errorf("not IP, hash %#x", h)
		}
	}
}
