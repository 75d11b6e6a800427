package modes_test

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
	"paca/dataplane/port"
	"paca/modes/nvgre"
)

// loose is a port whose frames come in buffers of any sizes, with anything said of them,
// and that looks at what is asked of it as a card would that hangs itself up.
type loose struct {
	port.Port
	t    testing.TB
	uses mbuf.Offloads
	card bool // it is a network card's
	any  bool // length is right: the kernel gets what there is
	next *mbuf.Mbuf
}

func (p *loose) Rx(_ int, pkts []*mbuf.Mbuf) int {
	if p.next == nil {
		return 0
	}
	pkts[0], p.next = p.next, nil
	return 1
}

func (p *loose) Offloads() port.Offloads { return port.Offloads{Has: p.uses, Uses: p.uses} }

func (p *loose) Tx(queue int, pkts []*mbuf.Mbuf) int {
	for _, m := range pkts {
		if wrong := p.look(m); wrong != "" {
			p.t.Errorf("%s: flags %#x, %+v, %d bytes, %d in the first of %d buffers: %x", wrong, m.Flags(), m.TxOffload(), m.Len(), len(m.Data()), m.Segments(), m.Data())
		}
	}
	return p.Port.Tx(queue, pkts)
}

// look says what is wrong with a packet: it asks for what the card does not do, or lies about where its
// headers are.
func (p *loose) look(m *mbuf.Mbuf) string {
	flags, n := m.Flags(), m.TxOffload()
	total, buffers := 0, 0
	for s := m; s != nil; s = s.Next() {
		total, buffers = total+len(s.Data()), buffers+1
	}
	if total != m.Len() || buffers != m.Segments() {
		return "lengths that do not add up"
	}
	for asked, needs := range map[uint64]mbuf.Offloads{
		mbuf.TxTCPSegment:      mbuf.SendTSO,
		mbuf.TxTCPChecksum:     mbuf.SendL4Checksum,
		mbuf.TxUDPChecksum:     mbuf.SendL4Checksum,
		mbuf.TxIPChecksum:      mbuf.SendIPv4Checksum,
		mbuf.TxTunnelGRE:       mbuf.SendGRETSO,
		mbuf.TxOuterIPChecksum: mbuf.SendOuterChecksum,
		mbuf.TxUDPSegment:      0, // nobody
		mbuf.TxVLAN:            0,
	} {
		if flags&asked == asked && (needs == 0 || !p.uses.Has(needs)) {
			return "asks for what nobody does"
		}
	}
	if m.Segments() > 1 && (flags&mbuf.TxTCPSegment == 0 || !p.uses.Has(mbuf.SendSegments)) {
		return "several buffers"
	}
	if flags&mbuf.TxMask == 0 {
		if m.Len() > 14+4+1500 && !p.any {
			return "too long"
		}
		return ""
	}
	outer := 0
	if flags&mbuf.TxTunnelMask != 0 {
		outer = int(n.OuterL2Len) + int(n.OuterL3Len)
	}
	l3 := outer + int(n.L2Len)
	l4 := l3 + int(n.L3Len)
	if l4+int(n.L4Len) > len(m.Data()) {
		return "headers beyond the first buffer"
	}
	ip := m.Data()[l3:]
	proto, size := byte(0), 0
	switch {
	case flags&mbuf.TxIPv4 != 0 && ip[0] == 0x45 && n.L3Len == 20:
		proto, size = ip[9], int(packet.IPv4(ip).TotalLen())
	case flags&mbuf.TxIPv6 != 0 && ip[0]>>4 == 6 && n.L3Len == 40:
		proto, size = ip[6], 40+int(packet.IPv6(ip).PayloadLen())
	default:
		return "no plain IP header"
	}
	if l3+size != m.Len() {
		return "something behind the packet"
	}
	tcp := m.Data()[l4:]
	switch {
	case flags&mbuf.TxL4Mask == mbuf.TxTCPChecksum && proto == packet.ProtoTCP && int(n.L4Len) == packet.TCP(tcp).HeaderLen() && n.L4Len >= 20 && l4+int(n.L4Len) <= m.Len():
	case flags&mbuf.TxL4Mask == mbuf.TxUDPChecksum && proto == packet.ProtoUDP && n.L4Len == 8:
	default:
		return "no such transport header"
	}
	longest := m.Len() - l3
	if flags&mbuf.TxTCPSegment != 0 {
		if n.SegmentSize == 0 || p.card && n.SegmentSize < 256 || tcp[13]&(packet.TCPSyn|packet.TCPRst) != 0 || (m.Len()-l4-int(n.L4Len))/int(n.SegmentSize) >= 256 {
			return "what nobody should cut"
		}
		longest = int(n.L3Len) + int(n.L4Len) + int(n.SegmentSize)
	}
	if flags&mbuf.TxTunnelMask != 0 {
		longest += int(n.OuterL3Len) + packet.NVGRELen + packet.EthernetLen
	}
	if longest > 1500 {
		return "segments too long"
	}
	return ""
}

// hostile are hosts, by what their card and their VMs' do.
func hostile(t testing.TB) (all []*rig, ports [][nports]*loose) {
	for _, uses := range []struct{ uplink, vm mbuf.Offloads }{{nothing, nothing}, {smartCard, virtioCard}, {plainCard, mbuf.SendL4Checksum}, {virtioCard, plainCard}} {
		for _, set := range []int{0, 1} {
			policies := rewritePolicy(1)
			if set == 0 {
				policies = wholePolicy()
			}
			r := newRig(t, policies, nvgre.Config{})
			r.claim(map[int]mbuf.Offloads{uplink: uses.uplink | receives, blue1: uses.vm | receives, blue3: uses.vm | receives})
			plug := *r.w.Plug.Load()
			plug.Ports = append([]port.Port(nil), plug.Ports...)
			var of [nports]*loose
			for i, p := range plug.Ports {
				of[i] = &loose{Port: p, t: t, uses: p.Offloads().Uses, card: i == uplink, any: i == kernel}
				plug.Ports[i] = of[i]
			}
			r.w.Plug.Store(&plug)
			all, ports = append(all, r), append(ports, of)
		}
	}
	return all, ports
}

// mayLeave says whether a frame that a VM of Blue made may come out of a port: on the
// fabric only as what comes from its PA, in no other tenant's name, and to VMs only of
// its own.
func mayLeave(frame []byte, port int, rewritten bool) bool {
	var l, inner packet.Layout
	if packet.ParseHead(frame, len(frame), &l) != packet.OK {
		return false
	}
	if port != uplink {
		return port == blue1 || port == blue3 || port == blue5 || port == gate || port == fresh && !rewritten
	}
	from := func(l *packet.Layout, frame []byte) netip.Addr {
		if l.EtherType == packet.EtherTypeIPv6 {
			return packet.IPv6(frame[l.L3:]).SrcAddr()
		}
		return packet.IPv4(frame[l.L3:]).Src()
	}
	if rewritten {
		src := from(&l, frame)
		return src == addr(paBlue1.v4) || src == addr(paBlue1.v6)
	}
	if l.Proto != packet.ProtoGRE || from(&l, frame) != addr(paHere) {
		return false
	}
	gre := packet.NVGRE(frame[l.L4:])
	return gre.VSID() >= 6001 && gre.VSID() <= 6004 && packet.ParseHead(gre[packet.NVGRELen:], len(gre)-packet.NVGRELen, &inner) == packet.OK && inner.Tags == 0 &&
		(inner.EtherType == packet.EtherTypeIPv4 || inner.EtherType == packet.EtherTypeIPv6 || inner.EtherType == packet.EtherTypeARP)
}

// FuzzUnfinished has a VM, and the fabric, hand over anything as unfinished: in buffers of
// any sizes, the first of them, too, with any segment size. Nothing is lost, nothing is
// asked of a card that it cannot do, and nothing that is too long is sent.
func FuzzUnfinished(f *testing.F) {
	random := rand.New(rand.NewPCG(7, 7))
	for _, c := range append(contents(), content{proto: packet.ProtoTCP, flags: packet.TCPAck, payload: 3000, size: 200}) {
		c.payload = min(c.payload, 3000)
		what := byte(0) // a checksum, by a VM
		if c.size > 0 {
			what = 2 // large
		}
		for _, first := range []uint16{14, 33, 34, 53, 54, 70, 200, 2000} {
			for _, pair := range [][2]vm{{vmBlue1, vmBlue2}, {vmBlue1, vmBlue3}, {vmBlue1, vmBlue5}, {{macRouter, paBlue2.v4, paBlue2.v6}, {macUplink, paBlue1.v4, paBlue1.v6}}} {
				c.from, c.to = pair[0], pair[1]
				in := byte(0)
				if c.to.mac == macUplink {
					in = 1
				}
				f.Add(c.unfinished().frame, what|in, uint16(c.size), first, uint16(100+random.IntN(1900)))
			}
		}
	}
	for i := range uint64(64) {
		v6 := i%2 == 1
		out, _ := samples(i, nil, addr(vmBlue1.ca(v6)), addr(vmBlue2.ca(v6)), true)
		in, _ := samples(i, nil, addr(paBlue2.pa(v6)), addr(paBlue1.pa(v6)), true)
		f.Add(framed(macBlue2, macBlue1, out[0]), byte(i), uint16(random.IntN(1500)), uint16(14+random.IntN(200)), uint16(1+random.IntN(500)))
		f.Add(framed(macUplink, macRouter, in[0]), byte(i)|1, uint16(random.IntN(1500)), uint16(14+random.IntN(200)), uint16(1+random.IntN(500)))
	}
	rigs, ports := hostile(f)
	flags := []uint64{mbuf.RxL4ChecksumNone, mbuf.RxL4ChecksumNone | mbuf.RxLRO, mbuf.RxLRO, mbuf.RxL4ChecksumGood, mbuf.RxL4ChecksumBad, 0,
		mbuf.RxL4ChecksumNone | mbuf.RxVLAN | mbuf.RxVLANStripped, mbuf.RxL4ChecksumNone | mbuf.RxLRO | mbuf.RxVLAN | mbuf.RxVLANStripped}
	f.Fuzz(func(t *testing.T, frame []byte, what byte, size, first, rest uint16) {
		if len(frame) > 20000 || rest == 0 || first > 2000 || rest > 2000 || len(frame)/int(rest) > 200 {
			return
		}
		in := blue1
		if what&1 != 0 {
			in = uplink
		}
		says := flags[what>>1&7]
		if in == blue1 {
			says &^= mbuf.RxVLAN | mbuf.RxVLANStripped
		}
		for i, r := range rigs {
			r.t = t
			for _, p := range ports[i] {
				p.t = t
			}
			m := r.pool.Packet(frame, int(first), int(rest))
			if m == nil {
				t.Fatal("the pool is empty")
			}
			m.SetFlags(says)
			m.SetTxOffload(mbuf.TxOffload{SegmentSize: size})
			m.SetVLANTCI(binary.BigEndian.Uint16([]byte{0, what >> 4}))
			ports[i][in].next = m
			r.w.PollOnce()
			for j, p := range r.ports {
				p.Visit(0, func(frame []byte) {
					if in == blue1 && !mayLeave(frame, j, i%2 == 1) {
						t.Errorf("port %d sent %x", j, frame)
					}
				})
			}
			for r.w.Punt.Peek() != nil {
				r.w.Punt.Pop()
			}
			r.balance(0)
			if t.Failed() {
				t.Fatalf("host %d, port %d, flags %#x, %d bytes, size %d, buffers of %d and %d: %x", i, in, says, len(frame), size, first, rest, frame[:min(len(frame), 200)])
			}
		}
	})
}
