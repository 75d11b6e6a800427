package respond

import (
	"slices"
	"testing"

	"paca/dataplane/count"
	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
)

// every is a frame for each end that a frame can come to, from a VM and from
// the fabric.
func every() [][]byte {
	return [][]byte{
		arp(packet.Broadcast, macVM, 0, 1, macVM, "10.1.1.11", "10.1.1.12"),
		arp(packet.Broadcast, macVM, 0, 1, macVM, "10.1.1.11", "10.1.1.99"),
		arp(packet.Broadcast, macVM, 0, 1, macVM, "10.1.1.11", "10.1.1.11"),
		arp(packet.Broadcast, macVM, 0, 1, macVM, "10.1.1.12", "10.1.1.13"),
		arp(packet.Broadcast, macVM, 0, 1, macPeer, "10.1.1.11", "10.1.1.12"),
		arp(packet.Broadcast, macVM, 0, 3, macVM, "10.1.1.11", "10.1.1.12"),
		arp(macPeer, macVM, 0, 1, macVM, "10.1.1.11", "10.1.1.12"),
		arp(macPeer, macVM, 0, 2, macVM, "10.1.1.11", "10.1.1.12"),
		ns(macVM, 0, "fd00:1::11", "fd00:1::12"),
		ns(macVM, 0, "fd00:1::11", "fd00:1::1"),
		ns(macVM, 0, "fd00:1::11", "fd00:1::99"),
		ns(macVM, 0, "fd00:1::11", "fd00:1::11"),
		ns(macVM, 0, "fd00:1::12", "fd00:1::11"),
		ns(macVM, 0, "::", "fd00:1::12"),
		nud("fd00:1::11", "fd00:1::12"),
		na(macVM, macVM, 0, "fd00:1::11", "fd00:1::12", "fd00:1::11", packet.NDSolicited),
		na(macVM, macVM, 0, "fd00:1::11", "fd00:1::12", "fd00:1::12", packet.NDSolicited),
		na(macVM, macVM, 0, "fd00:1::11", "ff02::1", "fd00:1::11", 0),
		mod(ns(macVM, 0, "fd00:1::11", "fd00:1::12"), func(f []byte) { f[21] = 1 }),
		icmp6(packet.ICMPv6EchoRequest),

		arp(packet.Broadcast, macFabric, 0, 1, macFabric, fabric, pa),
		arp(packet.Broadcast, macFabric, 103, 1, macFabric, "192.168.3.1", paVLAN),
		arp(packet.Broadcast, macFabric, 0, 1, macFabric, fabric, fabric),
		arp(packet.Broadcast, macFabric, 0, 1, macFabric, pa, pa),
		arp(packet.Broadcast, macUplink, 0, 1, macUplink, pa, pa),
		arp(macUplink, macFabric, 0, 2, macFabric, fabric, pa),
		double(arp(packet.Broadcast, macFabric, 7, 1, macFabric, "192.168.3.1", paVLAN), 103),
		ns(macFabric, 104, router, pa6),
		ns(macFabric, 104, "::", pa6),
		ns(macFabric, 104, pa6, router),
		na(macFabric, macFabric, 104, router, pa6, router, packet.NDSolicited),
		na(macFabric, macFabric, 104, router, "2001:db8:1::99", router, packet.NDSolicited),
		na(macFabric, macFabric, 104, pa6, "ff02::1", pa6, packet.NDOverride),
	}
}

// Whatever Parse lets through gets one verdict, and nothing but an answer
// changes the frame.
func FuzzRespond(f *testing.F) {
	for _, frame := range every() {
		f.Add(frame)
	}
	table := testFIB(f)
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) > mbuf.DefaultDataRoom-mbuf.Headroom {
			return
		}
		try := func() {
			var l packet.Layout
			if packet.Parse(frame, &l) != packet.OK {
				return
			}
			nd := l.EtherType == packet.EtherTypeIPv6 && l.Proto == packet.ProtoICMPv6 && l.L4 != 0
			if nd && l.Tags == 0 {
				m := buffer(t, frame)
				judge(t, ND(table, &table.Ports[vmPort], m, &l), frame, m, true)
			}
			if l.EtherType == packet.EtherTypeARP && l.Tags == 0 {
				m := buffer(t, frame)
				judge(t, ARP(table, &table.Ports[vmPort], m, &l), frame, m, true)
			}
			if nd {
				kind := packet.ICMPv6(frame[l.L4:]).Type()
				nd = kind == packet.ICMPv6NeighborSolicit || kind == packet.ICMPv6NeighborAdvert
			}
			if !nd && l.EtherType != packet.EtherTypeARP {
				return
			}
			m := buffer(t, frame)
			v := provider(table, uplinkPort, m, &l)
			judge(t, v, frame, m, false)
			if v.Reply {
				judge(t, Answer(table, uplinkPort, m, &l), frame, m, true)
			}
		}
		try()
		// Once more with what a fuzzer does not guess: hop limit and checksum.
		frame = slices.Clone(frame)
		var l packet.Layout
		if packet.Parse(frame, &l) == packet.OK && l.EtherType == packet.EtherTypeIPv6 && l.Proto == packet.ProtoICMPv6 && l.L4 != 0 {
			ip, msg := packet.IPv6(frame[l.L3:]), packet.ICMPv6(frame[l.L4:l.End])
			ip[7] = 255
			msg.Encode(packet.ICMPFields{Type: msg.Type(), Rest: msg.Rest()}, ip.Src(), ip.Dst())
			try()
		}
	})
}

// judge holds a verdict and what became of the frame to what respond promises.
func judge(t *testing.T, v Verdict, before []byte, m *mbuf.Mbuf, answered bool) {
	t.Helper()
	ends := 0
	for _, is := range []bool{v.Drop != count.Kept, v.Reply, v.Forward} {
		if is {
			ends++
		}
	}
	if ends > 1 || ends == 0 && !v.Learn || v.Forward && v.Learn {
		t.Fatalf("verdict %+v on %x", v, before)
	}
	if !v.Reply || !answered {
		if string(m.Data()) != string(before) {
			t.Fatalf("verdict %+v changed %x to %x", v, before, m.Data())
		}
		return
	}
	var l packet.Layout
	if fault := packet.Parse(m.Data(), &l); fault != packet.OK || m.Len() != len(m.Data()) {
		t.Fatalf("%x answered by %x: %v", before, m.Data(), fault)
	}
	switch l.EtherType {
	case packet.EtherTypeARP:
		if a := packet.ARP(m.Data()[l.L3:]); a.Op() != packet.ARPOpReply || a.SenderMAC() != packet.Ethernet(m.Data()).Src() || a.TargetMAC() != packet.Ethernet(m.Data()).Dst() {
			t.Fatalf("%x answered by %x", before, m.Data())
		}
	default:
		if _, ll, _, _, ok := packet.ParseNA(m.Data(), &l); !ok || ll != packet.Ethernet(m.Data()).Src() {
			t.Fatalf("%x answered by %x", before, m.Data())
		}
	}
}

// No verdict makes garbage.
func TestNoAllocations(t *testing.T) {
	f := testFIB(t)
	heap := mbuf.NewHeap(1, mbuf.DefaultDataRoom)
	pkts := make([]*mbuf.Mbuf, 1)
	heap.Alloc(pkts)
	m := pkts[0]
	frames := every()
	met := map[count.Reason]bool{}
	all := func(look func(v Verdict)) {
		for _, frame := range frames {
			m.SetData(frame)
			var l packet.Layout
			packet.Parse(m.Data(), &l)
			if l.Tags == 0 {
				if l.EtherType == packet.EtherTypeARP {
					look(ARP(f, &f.Ports[vmPort], m, &l))
				} else {
					look(ND(f, &f.Ports[vmPort], m, &l))
				}
				m.SetData(frame)
			}
			v := provider(f, uplinkPort, m, &l)
			look(v)
			if v.Reply {
				look(Answer(f, uplinkPort, m, &l))
			}
		}
	}
	all(func(v Verdict) { met[v.Drop] = true })
	for _, r := range []count.Reason{count.Kept, count.ARPMalformed, count.ARPSelf, count.ARPUnknown, count.NDInvalid, count.NDSelf, count.NDUnknown,
		count.SourceMAC, count.SourceCA, count.PAForeign, count.PADuplicate} {
		if !met[r] {
			t.Errorf("no frame ends as %v", r)
		}
	}
	verdicts := 0
	if n := testing.AllocsPerRun(100, func() { all(func(Verdict) { verdicts++ }) }); n != 0 {
		t.Errorf("%v allocations for %d frames", n, len(frames))
	}
}
