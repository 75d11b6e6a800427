package packet

import (
	"encoding/binary"
	"testing"
)

// slowSum is RFC 1071 section 4.1, a 16-bit word at a time.
func slowSum(b []byte, initial uint32) uint16 {
	sum := uint64(initial)
	for ; len(b) > 1; b = b[2:] {
		sum += uint64(b[0])<<8 | uint64(b[1])
	}
	if len(b) == 1 {
		sum += uint64(b[0]) << 8
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

func TestChecksum(t *testing.T) {
	// RFC 1071 section 3: the sum is ddf2.
	if got := Checksum(unhex("0001 f203 f4f5 f6f7"), 0); got != ^uint16(0xddf2) {
		t.Errorf("RFC 1071's example: %#x", got)
	}
	r := random(t)
	buf := make([]byte, 2000)
	for range 20_000 {
		b := buf[:r.IntN(len(buf))]
		fill := byte(r.Uint32())
		mode := r.IntN(3)
		for i := range b {
			switch mode {
			case 0:
				b[i] = byte(r.Uint32())
			case 1:
				b[i] = 0xff // carries wherever there can be any
			case 2:
				b[i] = fill
			}
		}
		initial := r.Uint32() >> r.IntN(32)
		if got, want := Checksum(b, initial), slowSum(b, initial); got != want {
			t.Fatalf("Checksum(%x, %#x) = %#x, want %#x", b, initial, got, want)
		}
	}
}

func FuzzChecksum(f *testing.F) {
	f.Add([]byte{}, uint32(0))
	f.Add([]byte{0xff}, uint32(0xffff))
	f.Add(unhex(vector1), uint32(0xffffffff))
	f.Fuzz(func(t *testing.T, b []byte, initial uint32) {
		if got, want := Checksum(b, initial), slowSum(b, initial); got != want {
			t.Fatalf("Checksum = %#x, want %#x", got, want)
		}
		if len(b) < 2 || len(b)%2 != 0 {
			return
		}
		// A checksum written into the data makes the whole come out as 0.
		b = append([]byte(nil), b...)
		binary.BigEndian.PutUint16(b, 0)
		sum := Checksum(b, initial)
		binary.BigEndian.PutUint16(b, sum)
		if got := Checksum(b, initial); got != 0 && got != 0xffff {
			t.Fatalf("with its checksum: %#x", got)
		}
	})
}

func TestVerifyIPv4(t *testing.T) {
	for _, v := range []string{vector1, inner} {
		ip := IPv4(unhex(v)[EthernetLen:])
		if !VerifyIPv4(ip) {
			t.Errorf("%x: right checksum refused", ip[:IPv4Len])
		}
		for bit := range IPv4Len * 8 {
			ip[bit/8] ^= 1 << (bit % 8)
			if bit/8 != 0 && VerifyIPv4(ip) { // the first byte says how long the header is
				t.Errorf("bit %d flipped, not noticed", bit)
			}
			ip[bit/8] ^= 1 << (bit % 8)
		}
	}
	withOptions := IPv4(unhex("46 00 0018 0001 4000 40 fd 0000 0a01010b 0a01010c 94040000"))
	withOptions.SetChecksum(slowSum(withOptions, 0))
	if !VerifyIPv4(withOptions) {
		t.Error("header with options: right checksum refused")
	}
	withOptions[23]++
	if VerifyIPv4(withOptions) {
		t.Error("options are not covered")
	}
}

// R-V1 to R-V5: both addresses change, by RFC 1624 equation 3 (R8, R9).
func TestR8Vectors(t *testing.T) {
	ca, pa := [2]uint32{0x0a01010b, 0x0a01010c}, [2]uint32{0xc0a8010a, 0xc0a80214}
	translate := func(sum uint16) uint16 {
		return ChecksumUpdate32(ChecksumUpdate32(sum, ca[0], pa[0]), ca[1], pa[1])
	}
	for _, tt := range []struct {
		name         string
		before, want string
		l4           int // offset of the transport checksum; 0 = none that covers addresses
	}{
		{"R-V1 TCP SYN",
			"4500002800070000800624b10a01010b0a01010cc000005001020304000000005002ffffd5730000",
			"45000028000700008006b65ac0a8010ac0a80214c000005001020304000000005002ffff671d0000", 36},
		{"R-V2 UDP without checksum",
			"4500002000080000801124ad0a01010b0a01010c13881389000c00007a65726f",
			"45000020000800008011b656c0a8010ac0a8021413881389000c00007a65726f", 26},
		{"R-V3 UDP checksum that becomes 0",
			"4500001e00090000801124ae0a01010b0a01010c13881389000a6e56545a",
			"4500001e000900008011b657c0a8010ac0a8021413881389000affff545a", 26},
		{"R-V4 ICMP echo",
			"45000020000a0000400164bb0a01010b0a01010c0800598e00010001484e5621",
			"45000020000a00004001f664c0a8010ac0a802140800598e00010001484e5621", 0},
		{"R-V5 second UDP fragment",
			"45000024000b0002801124a40a01010b0a01010c78787878787878787878787878787878",
			"45000024000b00028011b64dc0a8010ac0a8021478787878787878787878787878787878", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, want := unhex(tt.before), unhex(tt.want)
			ip := IPv4(b)
			if ip.SrcU32() != ca[0] || ip.DstU32() != ca[1] {
				t.Fatalf("addresses read as %#x, %#x", ip.SrcU32(), ip.DstU32())
			}
			ip.SetChecksum(translate(ip.Checksum()))
			ip.SetSrcU32(pa[0])
			ip.SetDstU32(pa[1])
			if !VerifyIPv4(ip) {
				t.Error("IPv4 checksum wrong")
			}
			if tt.l4 != 0 {
				sum := binary.BigEndian.Uint16(b[tt.l4:])
				if ip.Protocol() != ProtoUDP || sum != 0 { // R10
					sum = translate(sum)
					if sum == 0 && ip.Protocol() == ProtoUDP {
						sum = 0xffff
					}
				}
				binary.BigEndian.PutUint16(b[tt.l4:], sum)
			}
			if string(b) != string(want) {
				t.Errorf("got\n%x, want\n%x", b, want)
			}
		})
	}
}

// RFC 1624 section 4: equation 2 gives ffff here, which is wrong.
func TestChecksumUpdateRFC1624(t *testing.T) {
	if got := ChecksumUpdate16(0xdd2f, 0x5555, 0x3285); got != 0 {
		t.Errorf("got %#x, want 0", got)
	}
}

func TestChecksumUpdateRandom(t *testing.T) {
	r := random(t)
	b := make([]byte, 64)
	for range 50_000 {
		for i := range b {
			b[i] = byte(r.Uint32()) * byte(r.IntN(2)) // many zeros
		}
		b[0] |= 1 // a header is never all zeros: its sum would have two forms
		sum := slowSum(b, 0)

		at := 16 + 2*r.IntN(16)
		old := binary.BigEndian.Uint16(b[at:])
		word := uint16(r.Uint32()) * uint16(r.IntN(2))
		binary.BigEndian.PutUint16(b[at:], word)
		if sum = ChecksumUpdate16(sum, old, word); sum != slowSum(b, 0) {
			t.Fatalf("16 bits, %#x to %#x: %#x, want %#x", old, word, sum, slowSum(b, 0))
		}

		old32 := binary.BigEndian.Uint32(b[at:])
		word32 := r.Uint32() >> r.IntN(32)
		binary.BigEndian.PutUint32(b[at:], word32)
		if sum = ChecksumUpdate32(sum, old32, word32); sum != slowSum(b, 0) {
			t.Fatalf("32 bits, %#x to %#x: %#x, want %#x", old32, word32, sum, slowSum(b, 0))
		}

		old128 := [16]byte(b[at:])
		var word128 [16]byte
		binary.BigEndian.PutUint64(word128[8*r.IntN(2):], r.Uint64())
		copy(b[at:], word128[:])
		if sum = ChecksumUpdate128(sum, old128, word128); sum != slowSum(b, 0) {
			t.Fatalf("128 bits, %x to %x: %#x, want %#x", old128, word128, sum, slowSum(b, 0))
		}
	}
}
