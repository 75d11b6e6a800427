package offload

import (
	"math/rand/v2"
	"testing"

	"paca/dataplane/count"
	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
)

var timestamps = []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}

// super is a TSO frame as Linux sends it at most: 45 segments of 1406 bytes, what fits
// a path of 1500 bytes behind 42 (O20).
func super(v6, udp bool) *sent {
	s := &sent{V6: v6, UDP: udp, Flags: packet.TCPAck, DF: true, TTL: 64, Size: 1406, TCPOptions: timestamps,
		Payload: make([]byte, 45*1406)}
	r := rand.New(rand.NewPCG(1, 1))
	for i := range s.Payload {
		s.Payload[i] = byte(r.Uint32())
	}
	return s
}

func BenchmarkSegment(b *testing.B) {
	for _, bb := range []struct {
		name string
		s    *sent
		rest Kind
	}{
		{"tcp4", super(false, false), Nothing},
		{"tcp6", super(true, false), Nothing},
		{"tcp4-checksum-by-device", super(false, false), Checksum},
		{"udp4", super(false, true), Nothing},
	} {
		b.Run(bb.name, func(b *testing.B) {
			h, sg := mbuf.NewHeap(4096, mbuf.DefaultDataRoom), NewSegmenter(1)
			m := h.Packet(bb.s.whole(), room)
			l := bb.s.layout(b, m)
			p := bb.s.pending()
			b.SetBytes(int64(m.Len()))
			b.ReportAllocs()
			for b.Loop() {
				frames, reason := sg.Segment(h, m, &l, p, bb.rest)
				if reason != count.Kept {
					b.Fatal(reason)
				}
				h.Free(frames)
			}
		})
	}
}

func BenchmarkFinish(b *testing.B) {
	for name, n := range map[string]int{"60": 60, "1400": 1400, "64K": 45 * 1406} {
		b.Run(name, func(b *testing.B) {
			s := super(false, false)
			s.Payload = s.Payload[:n]
			m := mbuf.NewHeap(64, mbuf.DefaultDataRoom).Packet(s.whole(), room)
			l := s.layout(b, m)
			b.SetBytes(int64(m.Len()))
			for b.Loop() {
				Finish(m, &l)
			}
		})
	}
}

// BenchmarkCoalesce has the cost of filling the buffers subtracted by nobody: see
// fill.
func BenchmarkCoalesce(b *testing.B) {
	for _, bb := range []struct {
		name  string
		flags uint64
		merge bool
	}{{"fill", 0, false}, {"verified-by-device", mbuf.RxL4ChecksumGood, true}, {"verified-here", 0, true}} {
		b.Run(bb.name, func(b *testing.B) {
			h := mbuf.NewHeap(64, mbuf.DefaultDataRoom)
			s := super(false, false)
			var frames [][]byte
			for i := range s.pieces() {
				frames = append(frames, s.piece(i))
			}
			pkts := make([]*mbuf.Mbuf, len(frames))
			c := Coalescer{Believe: true, Most: 1 << 16}
			b.SetBytes(int64(len(s.Payload)))
			b.ReportAllocs()
			for b.Loop() {
				h.Alloc(pkts)
				for i, f := range frames {
					pkts[i].SetData(f)
					pkts[i].SetFlags(bb.flags)
				}
				left := len(pkts)
				if bb.merge {
					if left = c.Coalesce(pkts); left != 1 {
						b.Fatal(left)
					}
				}
				h.Free(pkts[:left])
			}
		})
	}
}
