package modes_test

import (
	"encoding/binary"
	"testing"

	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
	"paca/dataplane/port"
	"paca/modes/nvgre"
)

// rewriteFlows is n UDP frames of 60 bytes with checksums, each a flow of its own,
// between two addresses.
func rewriteFlows(n int, to, from packet.MAC, src, dst string) [][]byte {
	frames := make([][]byte, n)
	for i := range frames {
		udp := make([]byte, 26)
		packet.UDP(udp).Encode(packet.UDPFields{SrcPort: uint16(1024 + i), DstPort: 4789, Length: 26})
		binary.BigEndian.PutUint16(udp[6:], sum(pseudo(addr(src), addr(dst), packet.ProtoUDP, len(udp)), udp))
		frames[i] = framed(to, from, raw(src, dst, packet.ProtoUDP, 0, false, udp))
	}
	return frames
}

// again is a loop whose frames are written to: it sends by making the front of each,
// as far as the UDP checksum, what it was.
type again struct {
	loop
	fronts [][42]byte
	sent   int
}

func (p *again) Tx(_ int, pkts []*mbuf.Mbuf) int {
	for _, m := range pkts {
		*(*[42]byte)(m.Data()) = p.fronts[p.sent]
		if p.sent++; p.sent == len(p.fronts) {
			p.sent = 0
		}
	}
	return len(pkts)
}

func benchmarkRewrite(b *testing.B, in, out int, frames [][]byte) {
	r := newRig(b, rewritePolicy(1), nvgre.Config{})
	l := &again{loop: loop{pkts: loaded(frames)}}
	for _, f := range frames {
		l.fronts = append(l.fronts, [42]byte(f))
	}
	plug := r.w.Plug.Load()
	plug.Ports[in], plug.Ports[out] = l, l
	plug.Poll = plug.Poll[in : in+1]
	b.ReportAllocs()
	n := 0
	for b.ResetTimer(); n < b.N; n += port.MaxBurst {
		r.w.PollOnce()
	}
	b.StopTimer()
	if sent := r.w.Count.Snapshot().Ports[out].TxPackets; sent != uint64(n) {
		b.Fatalf("%d of %d packets arrived; drops: %v", sent, n, r.drops())
	}
}

// The trip alone, beside BenchmarkEgressBare and BenchmarkIngressBare: 60-byte UDP
// frames in 1,024 flows. It includes making each frame what it was.
func BenchmarkRewriteEgressBare(b *testing.B) {
	benchmarkRewrite(b, blue1, uplink, rewriteFlows(1024, macBlue2, macBlue1, vmBlue1.v4, vmBlue2.v4))
}
func BenchmarkRewriteIngressBare(b *testing.B) {
	benchmarkRewrite(b, uplink, blue1, rewriteFlows(1024, macUplink, macRouter, paBlue2.v4, paBlue1.v4))
}
