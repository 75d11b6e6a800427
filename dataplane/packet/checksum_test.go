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
	}
}
