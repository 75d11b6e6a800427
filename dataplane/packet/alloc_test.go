package packet

import (
	"bytes"
	"testing"
)

// What the hot path calls never allocates, on any branch.
func TestNoAllocations(t *testing.T) {
	frames := append([][]byte{unhex(vector1), unhex(vector2), unhex(vector3), goodNS, dadNS, goodNA, udpFrame, udp6Frame}, unhexed...)
	request := AppendARP(nil, &ARPFrame{DstMAC: Broadcast, SrcMAC: macA, ARPFields: ARPFields{Op: ARPOpRequest, SenderMAC: macA, SenderIP: ip4A, TargetIP: ip4B}})
	answer := bytes.Clone(request)
	buf := make([]byte, 0, 128)
	arp := ARPFrame{DstMAC: Broadcast, SrcMAC: macA, VLAN: 5}
	ns := NSFrame{DstMAC: Broadcast, SrcMAC: macA, VLAN: 5}
	na := NAFrame{DstMAC: Broadcast, SrcMAC: macA, VLAN: 5}
	if n := testing.AllocsPerRun(100, func() {
		var l Layout
		for _, frame := range frames {
			if Parse(frame, &l) != OK {
				continue
			}
			sink += uint64(FlowID(FlowHash(frame, &l)))
			if l.EtherType == EtherTypeIPv4 {
				ip := IPv4(frame[l.L3:])
				VerifyIPv4(ip)
				sink += uint64(ip.Src().As4()[0]) + uint64(ChecksumUpdate16(ip.Checksum(), ip.ID(), ip.TotalLen()))
			}
			if l.EtherType == EtherTypeIPv6 {
				ip := IPv6(frame[l.L3:])
				sink += uint64(ip.DstAddr().As16()[0])
			}
			ParseNS(frame, &l)
			ParseNA(frame, &l)
		}
		copy(answer, request)
		Parse(answer, &l)
		ARPReply(answer, &l, macB)
		sink += uint64(len(AppendARP(buf, &arp)) + len(AppendNS(buf, &ns)) + len(AppendNA(buf, &na)))
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Whoever makes room for an answer goes by these.
func TestFrameLengths(t *testing.T) {
	for name, tt := range map[string]struct{ got, want int }{
		"ARP":           {len(AppendARP(nil, &ARPFrame{})), ARPFrameLen},
		"ARP, tagged":   {len(AppendARP(nil, &ARPFrame{VLAN: 1})), ARPFrameLen + VLANLen},
		"NS":            {len(goodNS), NDFrameLen},
		"NS from ::":    {len(dadNS), NDFrameLen - 8},
		"NA":            {len(goodNA), NDFrameLen},
		"NA, tagged":    {len(AppendNA(nil, &NAFrame{VLAN: 1})), NDFrameLen + VLANLen},
		"NA, after 'x'": {len(AppendNA([]byte("x"), &NAFrame{})), 1 + NDFrameLen},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %d bytes, want %d", name, tt.got, tt.want)
		}
	}
}
