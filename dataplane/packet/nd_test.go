package packet

import (
	"bytes"
	"testing"
)

// reseal makes the ICMPv6 checksum of frame right again.
func reseal(frame []byte, l *Layout) {
	ip, msg := IPv6(frame[l.L3:]), ICMPv6(frame[l.L4:l.End])
	msg.SetChecksum(0)
	msg.SetChecksum(Checksum(msg, PseudoHeader6(ip.Src(), ip.Dst(), ProtoICMPv6, uint32(len(msg)))))
}

// behind appends options to the ND message of an untagged frame.
func behind(frame []byte, options ...byte) []byte {
	frame = append(bytes.Clone(frame), options...)
	ip := IPv6(frame[EthernetLen:])
	ip.SetPayloadLen(uint16(len(ip) - IPv6Len))
	return frame
}

var (
	goodNS = AppendNS(nil, &NSFrame{DstMAC: GroupMAC(SolicitedNode(ip6B)), SrcMAC: macA, Src: ip6A, Dst: SolicitedNode(ip6B), Target: ip6B})
	dadNS  = AppendNS(nil, &NSFrame{DstMAC: GroupMAC(SolicitedNode(ip6B)), SrcMAC: macA, Dst: SolicitedNode(ip6B), Target: ip6B})
	goodNA = AppendNA(nil, &NAFrame{DstMAC: macA, SrcMAC: macB, Src: ip6B, Dst: ip6A, Target: ip6B, TargetMAC: macB, Flags: NDSolicited | NDOverride})
)

const atND = EthernetLen + IPv6Len // of the message in an untagged frame without extensions

// A10: what RFC 4861 7.1.1 and 7.1.2 say to discard, one lie at a time, the
// checksum always right but where it is the lie.
func TestA10Discard(t *testing.T) {
	for _, tt := range []struct {
		name   string
		frame  []byte
		change func(frame []byte)
		ok     bool
	}{
		{"NS", goodNS, func([]byte) {}, true},
		{"NS, hop limit 254", goodNS, func(b []byte) { b[EthernetLen+ip6HopLimit] = 254 }, false},
		{"NS, code 1", goodNS, func(b []byte) { b[atND+icmpCode] = 1 }, false},
		// A fuzzer found it answered: no machine is called by a group's address.
		{"NS from a multicast source", goodNS, func(b []byte) {
			src := IPv6(b[EthernetLen:]).Src()
			src[0] = 0xff
			IPv6(b[EthernetLen:]).SetSrc(src)
		}, false},
		{"NS for a multicast target", goodNS, func(b []byte) { b[atND+ndTarget] = 0xff }, false},
		{"NS with an option of length 0", goodNS, func(b []byte) { b[atND+ndOptions+1] = 0 }, false},
		{"NS with an option beyond the message", goodNS, func(b []byte) { b[atND+ndOptions+1] = 2 }, false},
		{"NS with another option", goodNS, func(b []byte) { b[atND+ndOptions] = 14 }, true},
		{"NS with a second option of length 0", behind(goodNS, 14, 0, 0, 0, 0, 0, 0, 0), func([]byte) {}, false},
		{"NS with a second option", behind(goodNS, 14, 1, 0, 0, 0, 0, 0, 0), func([]byte) {}, true},
		{"NS with half an option", behind(goodNS, 14, 1, 0, 0), func([]byte) {}, false},
		{"NS for duplicate address detection", dadNS, func([]byte) {}, true},
		{"NS from :: to a unicast address", dadNS, func(b []byte) { IPv6(b[EthernetLen:]).SetDst(ip6B) }, false},
		{"NS from :: to all nodes", dadNS, func(b []byte) { IPv6(b[EthernetLen:]).SetDst(AllNodes) }, false},
		{"NS from :: with a source link-layer address", goodNS, func(b []byte) { IPv6(b[EthernetLen:]).SetSrc([16]byte{}) }, false},
		{"router solicitation", goodNS, func(b []byte) { b[atND+icmpType] = ICMPv6RouterSolicit }, false},

		{"NA", goodNA, func([]byte) {}, true},
		{"NA, hop limit 1", goodNA, func(b []byte) { b[EthernetLen+ip6HopLimit] = 1 }, false},
		{"NA, code 255", goodNA, func(b []byte) { b[atND+icmpCode] = 255 }, false},
		{"NA for a multicast target", goodNA, func(b []byte) { b[atND+ndTarget] = 0xff }, false},
		{"NA, solicited, to a multicast group", goodNA, func(b []byte) { IPv6(b[EthernetLen:]).SetDst(AllNodes) }, false},
		{"NA, unsolicited, to a multicast group", goodNA, func(b []byte) {
			IPv6(b[EthernetLen:]).SetDst(AllNodes)
			b[atND+ndFlags] = NDOverride
		}, true},
		{"NA with an option of length 0", goodNA, func(b []byte) { b[atND+ndOptions+1] = 0 }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			frame := bytes.Clone(tt.frame)
			tt.change(frame)
			var l Layout
			if f := Parse(frame, &l); f != OK {
				t.Fatal(f)
			}
			reseal(frame, &l)
			if ok := acceptsND(frame, &l); ok != tt.ok {
				t.Errorf("accepted: %v, want %v", ok, tt.ok)
			}
			if !tt.ok {
				return
			}
			for bit := range 8 * (len(frame) - atND) {
				frame[atND+bit/8] ^= 1 << (bit % 8)
				if acceptsND(frame, &l) {
					t.Errorf("bit %d of the message flipped, checksum not noticed", bit)
				}
				frame[atND+bit/8] ^= 1 << (bit % 8)
			}
		})
	}
}

func acceptsND(frame []byte, l *Layout) bool {
	_, _, _, ns := ParseNS(frame, l)
	_, _, _, _, na := ParseNA(frame, l)
	return ns || na
}

// A message shorter than 24 bytes is discarded, and never read beyond.
func TestA10Short(t *testing.T) {
	for n := ICMPLen; n < NDLen; n++ {
		frame := bytes.Clone(goodNS[:atND+n])
		IPv6(frame[EthernetLen:]).SetPayloadLen(uint16(n))
		var l Layout
		if f := Parse(frame, &l); f != OK {
			t.Fatal(f)
		}
		reseal(frame, &l)
		if acceptsND(frame, &l) {
			t.Errorf("%d bytes accepted", n)
		}
	}
}

// RFC 6980: no fragment header, not even on a whole message.
func TestA10Fragmented(t *testing.T) {
	frame := append(bytes.Clone(goodNS[:atND]), make([]byte, IPv6FragmentLen)...)
	frame = append(frame, goodNS[atND:]...)
	ip := IPv6(frame[EthernetLen:])
	ip.SetNextHeader(ProtoFragment)
	ip.SetPayloadLen(ip.PayloadLen() + IPv6FragmentLen)
	IPv6Fragment(frame[atND:]).Encode(IPv6FragmentFields{NextHeader: ProtoICMPv6})
	var l Layout
	if f := Parse(frame, &l); f != OK || l.Proto != ProtoICMPv6 || l.Flags != IsFragment {
		t.Fatalf("Parse = %v, %+v", f, l)
	}
	if acceptsND(frame, &l) {
		t.Error("accepted")
	}
}

// slowND is sections 7.1.1 and 7.1.2 of RFC 4861 as a checklist.
func slowND(frame []byte, l *Layout, typ uint8) bool {
	if l.EtherType != EtherTypeIPv6 || l.Proto != ProtoICMPv6 || l.L4 == 0 || l.Flags != 0 {
		return false
	}
	ip, msg := frame[l.L3:l.L3+40], frame[l.L4:l.End]
	pseudo := bytes.Join([][]byte{ip[8:40], {0, 0, byte(len(msg) >> 8), byte(len(msg))}, {0, 0, 0, 58}, msg}, nil)
	if ip[7] != 255 || slowSum(pseudo, 0) != 0 || msg[0] != typ || msg[1] != 0 || len(msg) < 24 || msg[8] == 0xff || ip[8] == 0xff {
		return false
	}
	hasSource := false
	for options := msg[24:]; len(options) != 0; {
		if len(options) < 8 || options[1] == 0 || int(options[1])*8 > len(options) {
			return false
		}
		hasSource = hasSource || options[0] == 1
		options = options[int(options[1])*8:]
	}
	if typ == 136 {
		return ip[24] != 0xff || msg[4]&0x40 == 0
	}
	solicitedNode := unhex("ff02 0000 0000 0000 0000 0001 ff")
	return !bytes.Equal(ip[8:24], make([]byte, 16)) || !hasSource && bytes.HasPrefix(ip[24:40], solicitedNode)
}

func FuzzParseNS(f *testing.F) {
	for _, frame := range [][]byte{goodNS, dadNS, goodNA, behind(goodNS, 14, 1, 0, 0, 0, 0, 0, 0), behind(goodNS, 14, 0)} {
		f.Add(frame, true)
	}
	f.Fuzz(func(t *testing.T, frame []byte, seal bool) {
		var l Layout
		if Parse(frame, &l) != OK {
			return
		}
		if seal && l.EtherType == EtherTypeIPv6 && l.Proto == ProtoICMPv6 && l.L4 != 0 { // else few inputs get past the checksum
			frame = bytes.Clone(frame)
			reseal(frame, &l)
		}
		target, mac, hasLL, ok := ParseNS(frame, &l)
		if want := slowND(frame, &l, 135); ok != want {
			t.Fatalf("ParseNS(%x) = %v, want %v", frame, ok, want)
		}
		if ok && (!bytes.Equal(target[:], frame[l.L4+8:l.L4+24]) || hasLL && !bytes.Contains(frame[l.L4+24:l.End], mac[:])) {
			t.Fatalf("ParseNS(%x): target %x, link-layer address %v", frame, target, mac)
		}
		if _, _, _, _, ok := ParseNA(frame, &l); ok != slowND(frame, &l, 136) {
			t.Fatalf("ParseNA(%x) = %v", frame, ok)
		}
	})
}
