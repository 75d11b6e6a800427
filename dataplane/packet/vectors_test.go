package packet

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

// unhex reads hex digits; what follows // on a line is comment.
func unhex(s string) []byte {
	var digits strings.Builder
	for line := range strings.Lines(s) {
		line, _, _ = strings.Cut(line, "//")
		digits.WriteString(strings.Join(strings.Fields(line), ""))
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		panic(err)
	}
	return b
}

// The byte vectors of the specification, field by field. inner is the same
// frame in all of them.
const (
	inner = `
		101010101107             // destination MAC
		101010101105             // source MAC
		0800                     // IPv4
		45 00 0020 1234 0000     // version 4, IHL 5, total length 32, id, no fragment
		40 01 5291               // TTL 64, ICMP, checksum
		0a01010b 0a01010c        // 10.1.1.11 to 10.1.1.12
		08 00 598e 0001 0001     // echo request, id 1, sequence 1
		484e5621                 // "HNV!"`
	vector1 = `
		020000000101             // destination MAC
		02000000010a             // source MAC
		0800                     // IPv4
		45 00 004a 0001 4000     // total length 74, id 1, DF
		80 2f 7615               // TTL 128, GRE, checksum
		c0a8010a c0a80214        // 192.168.1.10 to 192.168.2.20
		2000 6558 001771 00      // K, Transparent Ethernet Bridging, VSID 6001, FlowID 0
		` + inner
	vector2 = `
		020000000101             // destination MAC
		02000000010a             // source MAC
		8100 0067                // VLAN 103
		0800                     // IPv4
		45 00 004a 0002 4000     // total length 74, id 2, DF
		80 2f 7614               // TTL 128, GRE, checksum
		c0a8010a c0a80214        // 192.168.1.10 to 192.168.2.20
		2000 6558 001771 5a      // VSID 6001, FlowID 0x5a
		` + inner
	vector3 = `
		020000000101             // destination MAC
		02000000010a             // source MAC
		86dd                     // IPv6
		60000000 0036 2f 80      // payload length 54, GRE, hop limit 128
		20010db8000100000000000000000010
		20010db8000200000000000000000020
		2000 6558 fffffe 00      // VSID 0xFFFFFE, FlowID 0
		` + inner
)

func TestVectors(t *testing.T) {
	dst := MAC{2, 0, 0, 0, 1, 1}
	src := MAC{2, 0, 0, 0, 1, 0x0a}
	pa4 := [2][4]byte{{192, 168, 1, 10}, {192, 168, 2, 20}}
	pa6 := [2][16]byte{
		{0: 0x20, 1: 0x01, 2: 0x0d, 3: 0xb8, 5: 1, 15: 0x10},
		{0: 0x20, 1: 0x01, 2: 0x0d, 3: 0xb8, 5: 2, 15: 0x20},
	}
	tests := []struct {
		name   string
		want   []byte
		layout Layout
		vlan   uint16
		v6     bool
		id     uint16
		nvgre  NVGREFields
	}{
		{"V1", unhex(vector1), Layout{EtherType: EtherTypeIPv4, L3: 14, L4: 34, End: 88, Proto: ProtoGRE}, 0, false, 1, NVGREFields{6001, 0}},
		{"V2", unhex(vector2), Layout{EtherType: EtherTypeIPv4, TCI: 103, Tags: 1, L3: 18, L4: 38, End: 92, Proto: ProtoGRE}, 103, false, 2, NVGREFields{6001, 0x5a}},
		{"V3", unhex(vector3), Layout{EtherType: EtherTypeIPv6, L3: 14, L4: 54, End: 108, Proto: ProtoGRE}, 0, true, 0, NVGREFields{0xfffffe, 0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var l Layout
			if f := Parse(tt.want, &l); f != OK || l != tt.layout {
				t.Fatalf("Parse = %v, %+v, want %+v", f, l, tt.layout)
			}
			gre := NVGRE(tt.want[l.L4:])
			if gre.VSID() != tt.nvgre.VSID || gre.FlowID() != tt.nvgre.FlowID || gre.Flags() != GREKey ||
				gre.Version() != 0 || gre.Protocol() != EtherTypeTEB || gre.Key() != tt.nvgre.VSID<<8|uint32(tt.nvgre.FlowID) {
				t.Errorf("NVGRE header reads as VSID %d FlowID %#x flags %#x", gre.VSID(), gre.FlowID(), gre.Flags())
			}
			frame := tt.want[l.L4+NVGRELen:]
			var in Layout
			if f := Parse(frame, &in); f != OK || in != (Layout{EtherType: EtherTypeIPv4, L3: 14, L4: 34, End: 46, Proto: ProtoICMP}) {
				t.Errorf("Parse of the inner frame = %v, %+v", f, in)
			}

			// The same bytes again, written by the encoders.
			got := make([]byte, len(tt.want))
			copy(got[l.L4+NVGRELen:], frame)
			eth := EthernetFields{Dst: dst, Src: src, EtherType: l.EtherType}
			if tt.vlan != 0 {
				VLAN(got[12:]).Encode(VLANFields{TPID: EtherTypeVLAN, TCI: tt.vlan})
				Ethernet(got).SetDst(dst)
				Ethernet(got).SetSrc(src)
				Ethernet(got[4:]).SetEtherType(l.EtherType)
			} else {
				Ethernet(got).Encode(eth)
			}
			if tt.v6 {
				IPv6(got[l.L3:]).Encode(IPv6Fields{PayloadLen: uint16(8 + len(frame)), NextHeader: ProtoGRE, HopLimit: 128, Src: pa6[0], Dst: pa6[1]})
			} else {
				IPv4(got[l.L3:]).Encode(IPv4Fields{TotalLen: uint16(28 + len(frame)), ID: tt.id, Fragment: IPv4DontFragment, TTL: 128, Protocol: ProtoGRE, Src: pa4[0], Dst: pa4[1]})
			}
			NVGRE(got[l.L4:]).Encode(tt.nvgre)
			if !bytes.Equal(got, tt.want) {
				t.Errorf("encoded\n%x, want\n%x", got, tt.want)
			}
		})
	}
}
