package packet

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// What a Plain6 says of a frame is what Parse, FlowHash and Readdress6 make of it,
// whatever lies behind its end.
func TestR8_R10_R12_W5Plain6(t *testing.T) {
	r := random(t)
	seeds := [][]byte{udp6Frame}
	for _, f := range unhexed {
		if len(f) > plain6 && Ethernet(f).EtherType() == EtherTypeIPv6 {
			seeds = append(seeds, f)
		}
	}
	for _, proto := range []uint8{ProtoTCP, ProtoUDP, ProtoGRE, ProtoICMPv6} {
		ip := make([]byte, IPv6Len+30)
		IPv6(ip).Encode(IPv6Fields{PayloadLen: 30, NextHeader: proto, HopLimit: 64, Src: ca6, Dst: cb6})
		f, _ := laid(t, ip)
		seeds = append(seeds, f)
	}
	meaningful := []byte{0, 6, 7, 8, 17, 19, 20, 43, 44, 47, 58, 59, 60, 0x60, 0xff}
	plain, swapped := 0, map[uint8]int{}
	for range 300_000 {
		frame := bytes.Clone(seeds[r.IntN(len(seeds))])
		for range r.IntN(4) {
			v, at := byte(r.Uint32()), r.IntN(min(len(frame)-EthernetLen, 10))
			if r.IntN(2) == 0 {
				v = meaningful[r.IntN(len(meaningful))]
			}
			if r.IntN(3) == 0 {
				at = r.IntN(len(frame) - EthernetLen)
			}
			frame[EthernetLen+at] = v
		}
		switch r.IntN(6) {
		case 0:
			frame = frame[:r.IntN(len(frame)+1)]
		case 1:
			frame = append(frame, make([]byte, r.IntN(40))...)
		}
		for at := plain6 + 4; at < len(frame) && r.IntN(3) > 0; at++ { // checksums of all sorts, and none
			frame[at] = []byte{0, 0xff, byte(r.Uint32())}[r.IntN(3)]
		}

		front := bytes.Clone(frame)
		for len(front) < len(Plain6{}) {
			front = append(front, byte(r.Uint32()))
		}
		b := (*Plain6)(front)
		if len(frame) < EthernetLen || Ethernet(frame).EtherType() != EtherTypeIPv6 {
			if len(frame) < EthernetLen && b.End(len(frame)) != 0 {
				t.Fatalf("%x ends at %d", frame, b.End(len(frame)))
			}
			continue
		}
		var want Layout
		l := Layout{1, 2, 3, 4, 5, 6, 7, 8} // of the packet before
		fault := Parse(frame, &want)
		is := fault == OK && want.L4 == plain6 && (want.Proto == ProtoTCP || want.Proto == ProtoUDP || want.Proto == ProtoGRE)
		end := b.End(len(frame))
		if (end != 0) != is {
			t.Fatalf("End of %x is %d; %v, %+v", frame, end, fault, want)
		}
		if !is {
			continue
		}
		plain++
		if b.Layout(end, &l); l != want {
			t.Fatalf("%x: %+v, want %+v", frame, l, want)
		}
		ip := IPv6(frame[EthernetLen:])
		if b.EtherType() != EtherTypeIPv6 || b.Proto() != want.Proto || *b.SrcIP() != ip.Src() || *b.DstIP() != ip.Dst() || b.TOS() != ip.TrafficClass() ||
			b.Hash() != FlowHash(frame, &want) || b.Link() != Ethernet(frame).Src().Link(EtherTypeIPv6) {
			t.Fatalf("%x is read as %x", frame, *b)
		}
		if syn := want.Proto == ProtoTCP && TCP(frame[want.L4:]).Flags()&TCPSyn != 0; b.SYN() != syn {
			t.Fatalf("%x opens a connection: %v", frame, b.SYN())
		}

		src, dst := pa6, pb6
		for _, a := range []*[16]byte{&src, &dst} {
			for i := range a {
				switch r.IntN(8) {
				case 0:
					a[i] = byte(r.Uint32())
				case 1:
					a[i] = 0xff
				}
			}
		}
		if at := map[uint8]int{ProtoTCP: plain6 + tcpChecksum, ProtoUDP: plain6 + udpChecksum}[want.Proto]; at != 0 && r.IntN(4) == 0 {
			to := bytes.Clone(frame) // such that the sum is all ones, or zero
			Readdress6(to, &want, &src, &dst)
			binary.BigEndian.PutUint16(src[:], fold(uint64(binary.BigEndian.Uint16(src[:]))+uint64(binary.BigEndian.Uint16(to[at:]))))
		}
		was := bytes.Clone(front)
		if !b.Readdress(&src, &dst) {
			if !bytes.Equal(front, was) || want.Proto == ProtoTCP || want.Proto == ProtoUDP && binary.BigEndian.Uint16(frame[plain6+udpChecksum:]) != 0 {
				t.Fatalf("%x is not given other addresses, and is %x", was, front)
			}
			continue
		}
		swapped[want.Proto]++
		Readdress6(frame, &want, &src, &dst)
		if !bytes.Equal(front[:len(frame)], frame) || !bytes.Equal(front[len(frame):], was[len(frame):]) {
			t.Fatalf("%x became\n%x, want\n%x", was, front, frame)
		}
	}
	if plain < 20_000 || swapped[ProtoTCP] < 5_000 || swapped[ProtoUDP] < 4_000 {
		t.Errorf("%d plain, other addresses for %v", plain, swapped)
	}
}
