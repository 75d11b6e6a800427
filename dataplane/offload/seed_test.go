package offload

import (
	"encoding/binary"
	"testing"

	"paca/dataplane/packet"
)

// R23: a seed changes as its addresses do, whatever it is: where its complement is 0, or
// becomes it, UDP must not take it for the absence of a checksum (R10).
func TestR23_R10InvertSeed(t *testing.T) {
	f := make([]byte, 14+20+8)
	f[12], f[13], f[14], f[23] = 8, 0, 0x45, packet.ProtoUDP
	binary.BigEndian.PutUint16(f[16:], 28)
	binary.BigEndian.PutUint16(f[38:], 8)
	var l packet.Layout
	if fault := packet.Parse(f, &l); fault != packet.OK {
		t.Fatal(fault)
	}
	rest := uint32(packet.ProtoUDP + 8)
	for src := range uint32(1 << 16) {
		packet.IPv4(f[14:]).SetSrcU32(src)
		binary.BigEndian.PutUint16(f[40:], fold(src+rest))
		InvertSeed(f, &l)
		packet.Readdress4(f, &l, 0x0a0b0c0d, 0)
		InvertSeed(f, &l)
		got, want := uint32(binary.BigEndian.Uint16(f[40:])), uint32(fold(0x0a0b+0x0c0d+rest))
		if got%0xffff != want%0xffff {
			t.Fatalf("from %#x: seed %#x, want %#x", src, got, want)
		}
		packet.IPv4(f[14:]).SetDst4([4]byte{})
	}
}

// O20, O22: without the length.
func TestO20_O22SeedWithoutLength(t *testing.T) {
	f := make([]byte, 14+40+20+1000)
	f[12], f[13], f[14], f[20] = 0x86, 0xdd, 0x60, packet.ProtoTCP
	binary.BigEndian.PutUint16(f[18:], 1020)
	var l packet.Layout
	if fault := packet.Parse(f, &l); fault != packet.OK {
		t.Fatal(fault)
	}
	for x := range uint32(1 << 16) {
		binary.BigEndian.PutUint16(f[14+40+16:], fold(x+1020))
		SeedWithoutLength(f, &l)
		if got := uint32(binary.BigEndian.Uint16(f[14+40+16:])); got%0xffff != x%0xffff {
			t.Fatalf("%#x, want %#x", got, x)
		}
	}
}
