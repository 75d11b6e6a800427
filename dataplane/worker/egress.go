package worker

import (
	"encoding/binary"

	"paca/dataplane/count"
	"paca/dataplane/fib"
	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
	"paca/dataplane/respond"
)

// outbound is a frame from a VM that passed the first checks.
type outbound struct {
	m *mbuf.Mbuf
	l packet.Layout
}

// fromVM carries a burst from a VM to where it goes. Steps 1 to 3 are done for
// the whole burst before 4 and 5, so that look-ups of different packets overlap.
//
//  1. headers: runts and lies out (W21's twin on this side), tags off (W7)
//  2. sender: the port's MAC (L2)
//  3. ARP and ND are answered here (A1-A10)
//  4. source and destination CA are looked up (L3, L9)
//  5. where to: a local port (L15), or a PA of the fabric (L16) with the mode of
//     its virtual subnet
//  6. the modes write outer headers
func (w *Worker) fromVM(f *fib.FIB, pkts []*mbuf.Mbuf) {
	p := &f.Ports[w.in]
	n := 0
	for _, m := range pkts {
		o := &w.outbound[n]
		o.m = m
		if w.admit(f, p, o) {
			n++
		}
	}
	for i := range w.outbound[:n] {
		w.route(f, p, &w.outbound[i])
	}
	for mode := range w.lanes {
		if w.lanes[mode].n > 0 {
			w.encap(w.Modes[mode], &w.lanes[mode])
		}
	}
}

// admit is steps 1 to 3: true for a frame that goes on.
func (w *Worker) admit(f *fib.FIB, p *fib.Port, o *outbound) bool {
	frame := o.m.Data()
	if o.m.Segments() != 1 {
		w.drop(o.m, count.MultiSegment)
		return false
	}
	if fault := packet.Parse(frame, &o.l); fault != packet.OK {
		w.drop(o.m, count.Reason(fault))
		return false
	}
	if o.l.Tags != 0 {
		frame = untag(o)
	}
	if p.RD == 0 {
		reason := count.VSIDUnknown
		if p.VSID == 0 {
			reason = count.PortNoVSID // L1
		}
		w.drop(o.m, reason)
		return false
	}
	if packet.Ethernet(frame).Src() != p.MAC { // L2
		w.drop(o.m, count.SourceMAC)
		return false
	}
	switch o.l.EtherType {
	case packet.EtherTypeIPv4:
		return true
	case packet.EtherTypeIPv6:
		if o.l.Proto != packet.ProtoICMPv6 || o.l.L4 == 0 {
			return true
		}
		return w.answer(o.m, respond.ND(f, p, o.m, &o.l))
	case packet.EtherTypeARP:
		return w.answer(o.m, respond.ARP(f, p, o.m, &o.l))
	}
	w.drop(o.m, count.NotIP) // L5
	return false
}

// answer does what respond says with a frame: true for one that goes on.
func (w *Worker) answer(m *mbuf.Mbuf, v respond.Verdict) bool {
	switch {
	case v.Forward:
		return true
	case v.Drop != count.Kept:
		w.drop(m, v.Drop)
	default:
		w.send(w.in, m)
	}
	return false
}

// route is steps 4 and 5.
func (w *Worker) route(f *fib.FIB, p *fib.Port, o *outbound) {
	m, l := o.m, &o.l
	frame := m.Data()
	var src, dst *fib.Entry
	switch l.EtherType {
	case packet.EtherTypeIPv4:
		ip := packet.IPv4(frame[packet.EthernetLen:])
		src, dst = f.Lookup4(p.RD, ip.SrcU32()), f.Lookup4(p.RD, ip.DstU32())
	case packet.EtherTypeIPv6:
		ip := frame[packet.EthernetLen:]
		src, dst = f.Lookup6(p.RD, (*[16]byte)(ip[8:])), f.Lookup6(p.RD, (*[16]byte)(ip[24:]))
	default: // ARP between VMs (A8)
		arp := packet.ARP(frame[packet.EthernetLen:])
		s, d := arp.SenderIP(), arp.TargetIP()
		src = f.Lookup4(p.RD, binary.BigEndian.Uint32(s[:]))
		dst = f.Lookup4(p.RD, binary.BigEndian.Uint32(d[:]))
	}

	v := w.Decide(f, p, src, dst, m.Len()-packet.EthernetLen)
	switch {
	case v.Drop != count.Kept:
		w.refuse(f, m, l, v)
	case v.Adj != nil:
		lane := &w.lanes[dst.Mode]
		lane.pkts[lane.n] = m
		lane.hops[lane.n] = fib.Hop{Entry: dst, PA: f.Remote(dst), Adj: v.Adj, Hash: packet.FlowHash(frame, l)}
		lane.n++
	default:
		packet.Ethernet(frame).SetDst(dst.MAC) // L12
		w.send(v.Port, m)
	}
}

// Verdict is where a packet from one CA to another goes.
type Verdict struct {
	Drop count.Reason // not Kept: it does not go
	Port uint16       // of a VM of this host (L15), without Adj
	Adj  *fib.Adj     // the way over the fabric, also when it is not ready
}

// Decide is steps 4 and 5 for a frame of size bytes behind its Ethernet header
// from the VM behind p, given what its source and destination CA were found to
// be, nil for nothing. It is what the loop and the dry run of a next hop (C6) both
// ask, the latter from any goroutine.
func (w *Worker) Decide(f *fib.FIB, p *fib.Port, src, dst *fib.Entry, size int) Verdict {
	switch {
	case src == nil || src.VSID != p.VSID || src.MAC != p.MAC || src.Flags&fib.RouterCA != 0:
		return Verdict{Drop: count.SourceCA} // L3
	case src.Flags&fib.LocalVM == 0:
		return Verdict{Drop: count.PASource} // P13
	case dst == nil:
		return Verdict{Drop: count.LookupFailed} // L9
	case dst.Flags&fib.RouterCA != 0:
		return Verdict{Drop: count.RouterCA} // L11
	case dst.VSID != p.VSID: // routing between subnets, L7 and L12, comes here
		return Verdict{Drop: count.OtherSubnet}
	}
	if dst.Flags&fib.LocalVM != 0 {
		to := f.Locals[dst.Dest].Port
		switch {
		case to == fib.None:
			return Verdict{Drop: count.NoLocalPort}
		case size > int(f.Ports[to].MTU):
			return Verdict{Drop: count.MTUExceeded}
		}
		return Verdict{Port: to} // L15
	}
	adj := f.Adj(dst, f.Locals[src.Dest].PA)
	switch {
	case w.Modes[dst.Mode] == nil:
		return Verdict{Drop: count.ModeMissing, Adj: adj}
	case adj.State == fib.AdjReady && size <= int(adj.Limit):
		return Verdict{Adj: adj} // L16
	case adj.State == fib.AdjReady: // M5; what M6 to M8 answer comes here
		return Verdict{Drop: count.MTUExceeded, Adj: adj}
	case adj.State == fib.AdjUnresolved:
		return Verdict{Drop: count.NeighborQueue, Adj: adj} // unless there is room to wait
	case adj.State == fib.AdjFailed:
		return Verdict{Drop: count.NeighborFailed, Adj: adj}
	case adj.State == fib.AdjFamily:
		return Verdict{Drop: count.PAFamily, Adj: adj}
	}
	return Verdict{Drop: count.ProviderRoute, Adj: adj}
}

// refuse ends, or holds, a packet that Decide does not let go.
func (w *Worker) refuse(f *fib.FIB, m *mbuf.Mbuf, l *packet.Layout, v Verdict) {
	switch v.Drop {
	case count.NeighborQueue:
		w.wait(f, m, v.Adj.NextHop)
	case count.SourceCA, count.LookupFailed:
		// Group traffic has no records, and comes from link-local and
		// unspecified addresses as a matter of course: it is not carried (A23).
		if group := groupOf(m.Data(), l); group != count.Kept {
			v.Drop = group
		}
		w.drop(m, v.Drop)
	default:
		w.drop(m, v.Drop)
	}
}

// encap is step 6 for one mode.
func (w *Worker) encap(mode Mode, lane *lane) {
	pkts := lane.pkts[:lane.n]
	lane.n = 0
	reasons := w.reasons[:len(pkts)]
	clear(reasons)
	mode.Egress(pkts, lane.hops[:len(pkts)], reasons)
	for i, m := range pkts {
		if reasons[i] != count.Kept {
			w.drop(m, reasons[i])
			continue
		}
		w.send(lane.hops[i].Adj.Port, m)
	}
}

// groupOf is Broadcast or Multicast for a frame to such a destination, else
// Kept.
func groupOf(frame []byte, l *packet.Layout) count.Reason {
	switch l.EtherType {
	case packet.EtherTypeIPv4:
		switch dst := packet.IPv4(frame[l.L3:]).DstU32(); {
		case dst == 0xffffffff:
			return count.Broadcast
		case dst>>28 == 0xe:
			return count.Multicast
		}
	case packet.EtherTypeIPv6:
		if frame[l.L3+24] == 0xff {
			return count.Multicast
		}
	}
	if packet.Ethernet(frame).Dst().IsBroadcast() {
		return count.Broadcast // a subnet's own, such as 10.1.1.255 (A24)
	}
	return count.Kept
}

// untag takes the VLAN tags out of a frame (W7) and mends its layout.
func untag(o *outbound) []byte {
	n := uint16(o.l.Tags) * packet.VLANLen
	frame := o.m.Data()
	copy(frame[n:], frame[:2*len(packet.MAC{})])
	o.m.Adj(int(n))
	frame = o.m.Data()
	packet.Ethernet(frame).SetEtherType(o.l.EtherType)
	o.l.Tags, o.l.TCI = 0, 0
	o.l.L3 -= n
	o.l.End -= n
	if o.l.L4 != 0 {
		o.l.L4 -= n
	}
	return frame
}
