package offload

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"paca/dataplane/count"
	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
)

// FuzzSegment has any bytes cut that Parse accepts, in any two segments, with any
// numbers: no panic, no buffer lost, the long frame as before, and, if it was cut,
// whole frames with right checksums that together have its payload.
func FuzzSegment(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 40 {
		s := anything(r)
		s.Payload = s.Payload[:min(len(s.Payload), 600)]
		f.Add(s.whole(), uint16(200), uint16(1+r.IntN(300)), uint16(1500))
	}
	h, sg := mbuf.NewHeap(3000, mbuf.DefaultDataRoom), NewSegmenter(1)
	f.Fuzz(func(t *testing.T, b []byte, first, size, limit uint16) {
		if len(b) > 60000 || int(first) > room {
			return
		}
		before := h.Available()
		m := h.Packet(b, int(first), room)
		defer func() {
			h.Free([]*mbuf.Mbuf{m})
			if h.Available() != before {
				t.Fatalf("%d of %d buffers back", h.Available(), before)
			}
		}()
		var l packet.Layout
		if packet.ParseHead(m.Data(), m.Len(), &l) != packet.OK {
			return
		}
		m.SetFlags(mbuf.RxL4ChecksumNone | mbuf.RxLRO)
		m.SetTxOffload(mbuf.TxOffload{SegmentSize: size})
		p, reason := Read(m, &l)
		if reason != count.Kept {
			return
		}
		stop := end(b, &l)
		at := int(l.L4) + tcpChecksum
		if p.Kind == UDPFragments {
			at = int(l.L4) + udpChecksum
		}
		pseudo := func(f []byte, length int) []byte {
			var b []byte
			if l.EtherType == packet.EtherTypeIPv4 {
				b = append(b, f[l.L3+12:l.L3+20]...)
			} else {
				b = append(b, f[l.L3+8:l.L3+40]...)
			}
			return append(binary.BigEndian.AppendUint32(b, uint32(length)), 0, l.Proto)
		}
		binary.BigEndian.PutUint16(m.Data()[at:], slowSum(pseudo(b, stop-int(l.L4))))
		b = m.AppendTo(nil)
		if l.EtherType == packet.EtherTypeIPv4 {
			// Only what a sender got wrong can stay wrong.
			if ip := packet.IPv4(b[l.L3:]); slowSum(ip[:ip.HeaderLen()]) != 0xffff {
				return
			}
		}
		p, ok := p.Fit(m.Data(), &l, int(limit))
		if !ok {
			return
		}
		frames, reason := sg.Segment(h, m, &l, p, Nothing)
		if reason != count.Kept {
			if !bytes.Equal(m.AppendTo(nil), b) {
				t.Fatal("the frame was changed")
			}
			return
		}
		var payload, udp []byte
		for i, f := range frames {
			got := f.AppendTo(nil)
			var k packet.Layout
			if fault := packet.Parse(got, &k); fault != packet.OK || int(k.End) != len(got) {
				t.Fatalf("frame %d: %v, %+v, %d bytes\n%x\nfrom %x", i, fault, k, len(got), got, b)
			}
			if k.EtherType == packet.EtherTypeIPv4 && !packet.VerifyIPv4(got[k.L3:]) {
				t.Fatalf("frame %d: IP checksum\n%x\nfrom %x", i, got, b)
			}
			if len(frames) > 1 && int(k.End-k.L3) > int(limit) {
				t.Fatalf("frame %d: %d bytes, limit %d", i, k.End-k.L3, limit)
			}
			if p.Kind == UDPFragments {
				from := int(l.L4)
				if len(frames) > 1 && l.EtherType == packet.EtherTypeIPv6 {
					from += packet.IPv6FragmentLen
				}
				udp = append(udp, got[from:]...)
				continue
			}
			l4 := got[k.L4:]
			if slowSum(pseudo(got, len(l4)), l4) != 0xffff {
				t.Fatalf("frame %d: TCP checksum\n%x\nfrom %x", i, got, b)
			}
			payload = append(payload, l4[packet.TCP(l4).HeaderLen():]...)
		}
		if p.Kind == UDPFragments {
			if slowSum(pseudo(b, len(udp)), udp) != 0xffff || !bytes.Equal(udp[8:], b[int(l.L4)+8:stop]) {
				t.Fatalf("UDP checksum or payload\n%x\nfrom %x", udp, b)
			}
		} else if want := b[int(l.L4)+packet.TCP(b[l.L4:]).HeaderLen() : stop]; !bytes.Equal(payload, want) {
			t.Fatalf("payload\n%x\nfrom %x", payload, b)
		}
		if frames[0] == m {
			return
		}
		if !bytes.Equal(m.AppendTo(nil), b) {
			t.Fatal("the long frame was changed")
		}
		h.Free(frames)
	})
}

// FuzzCoalesce has any frames put together, each behind a byte of what the device says
// and two of its length: nothing is lost, changed, or out of order within its flow.
func FuzzCoalesce(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 20 {
		var b []byte
		for _, a := range burst(r) {
			if len(a.frame) > 400 || len(b) > 4000 {
				continue
			}
			b = append(b, byte(r.IntN(8)))
			b = binary.BigEndian.AppendUint16(b, uint16(len(a.frame)))
			b = append(b, a.frame...)
		}
		f.Add(b)
	}
	h := mbuf.NewHeap(3000, mbuf.DefaultDataRoom)
	f.Fuzz(func(t *testing.T, b []byte) {
		var in []arrived
		for len(b) > 3 && len(in) < 200 {
			what, n := b[0], int(binary.BigEndian.Uint16(b[1:]))
			b = b[3:]
			n = min(n, len(b), room)
			a := arrived{frame: b[:n:n], share: what&7 == 7}
			b = b[n:]
			if what&8 != 0 {
				mend(a.frame)
			}
			switch what & 7 {
			case 5:
				a.flags = mbuf.TxIPv4 | mbuf.TxTCPChecksum
			case 6:
				a.flags = mbuf.RxL4ChecksumNone
			}
			in = append(in, a)
		}
		c := Coalescer{Believe: true, Most: 1 << 16}
		together(t, h, &c, in, func([]byte) []int { return []int{room} })
	})
}
