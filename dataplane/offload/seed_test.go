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
		binary.BigEndian.PutUint32(f[26:], src)
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

// R23: what lacks the length gets it, what has it keeps it, and so does what is of other
// addresses than the header's.
func TestR23MendSeed(t *testing.T) {
	f := make([]byte, 14+20+20+100)
	f[12], f[13], f[14], f[23] = 8, 0, 0x45, packet.ProtoTCP
	binary.BigEndian.PutUint16(f[16:], 140)
	packet.IPv4(f[14:]).SetSrc4([4]byte{10, 1, 2, 3})
	var l packet.Layout
	if fault := packet.Parse(f, &l); fault != packet.OK {
		t.Fatal(fault)
	}
	whole := fold(uint32(0x0a01) + 0x0203 + uint32(packet.ProtoTCP) + 120)
	for was, want := range map[uint16]uint16{whole: whole, whole - 120: whole, whole + 7: whole + 7, 0: 0, 0xffff: 0xffff} {
		binary.BigEndian.PutUint16(f[14+20+16:], was)
		mendSeed(f, &l)
		if got := binary.BigEndian.Uint16(f[14+20+16:]); got != want {
			t.Errorf("%#x becomes %#x, want %#x", was, got, want)
		}
	}
}
