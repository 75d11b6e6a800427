package worker

import (
	"encoding/binary"

	"paca/dataplane/count"
	"paca/dataplane/fib"
	"paca/dataplane/mbuf"
	"paca/dataplane/offload"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
	"paca/dataplane/port"
	"paca/dataplane/respond"
	"paca/dataplane/unseen"
)

// outbound is a frame from a VM that passed the first checks.
type outbound struct {
	m    *mbuf.Mbuf
	l    packet.Layout   // Partial if m has several buffers
	left offload.Pending // what is left to do for it
	size int32           // of the largest IP packet that it becomes, in bytes
}

// fromVM carries a burst from a VM to where it goes. Steps 1 to 3 are done for
// the whole burst before 4 to 6, so that look-ups of different packets overlap.
//
//  1. headers: runts and lies out (W21's twin on this side), tags off (W7); what its VM
//     left to be done (unfinished.go)
//  2. sender: the port's MAC (L2), nothing that its guards forbid (L31)
//  3. ARP and ND are answered here (A1-A10)
//  4. source and destination CA are looked up (L3, L9); detour.go has what is not
//     from one VM's record to another's: gateways (L7), broadcasts (A20), the
//     router itself (L11)
//  5. between virtual subnets: TTL and router's MAC (L12, L14)
//  6. where to: a local port (L15), or a PA of the fabric (L16) with the mode of
//     its virtual subnet; what is too large for there is answered or cut (M5-M7)
//  7. the modes write outer headers
func (w *Worker) fromVM(f *fib.FIB, pkts []*mbuf.Mbuf) {
	p, try := &f.Ports[w.in], len(pkts)
	for len(pkts) > 0 {
		n, next := 0, pkts[:min(try, len(pkts))]
		switch etherType(pkts[0]) {
		case packet.EtherTypeIPv4:
			n = w.straightOut(f, p, next)
		case packet.EtherTypeIPv6:
			n = w.straightOut6(f, p, next)
		}
		try = 2*n + 1 // where few went straight, few more are looked up in vain
		if n == 0 {
			w.outbound.m = pkts[0]
			if w.admit(f, p, &w.outbound) {
				w.route(f, p, &w.outbound)
			}
			n = 1
		}
		pkts = pkts[n:]
	}
	w.encapAll()
}

func (w *Worker) encapAll() {
	for mode := range w.lanes {
		if w.lanes[mode].n > 0 {
			w.encap(policy.Mode(mode))
		}
	}
}

// admit is steps 1 to 3: true for a frame that goes on.
func (w *Worker) admit(f *fib.FIB, p *fib.Port, o *outbound) bool {
	frame := o.m.Data()
	if fault := packet.Parse(frame, &o.l); fault != packet.OK && w.fault(o.m, &o.l, fault) {
		return false
	}
	if o.l.Tags != 0 {
		frame = untag(o)
	}
	o.left, o.size = offload.Pending{}, int32(o.m.Len()-packet.EthernetLen)
	if o.m.Flags()&unfinished != 0 || o.m.Segments() != 1 {
		if !w.inspect(o.m, &o.l, &o.left) {
			return false
		}
		o.size = int32(sizeOf(o.m, &o.l, o.left))
	}
	if p.RD == 0 {
		reason := count.VSIDUnknown
		if p.VSID == 0 {
			reason = count.PortNoVSID // L1
		}
		w.drop(o.m, reason)
		return false
	}
	if p.Flags != 0 {
		if p = w.guarded(p, o); p == nil {
			return false
		}
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
		return w.answer(f, p, o, respond.ND(f, p, o.m, &o.l))
	case packet.EtherTypeARP:
		return w.answer(f, p, o, respond.ARP(f, p, o.m, &o.l))
	}
	w.drop(o.m, count.NotIP) // L5
	return false
}

// guarded is the part of step 2 for a port with switches (L31): the port as the
// frame has it, with another MAC if that is allowed, or nil for a frame that its
// guards do not let pass.
func (w *Worker) guarded(p *fib.Port, o *outbound) *fib.Port {
	frame := o.m.Data()
	switch {
	case p.Flags&fib.DHCPGuard != 0 && packet.DHCPServer(frame, &o.l):
		w.drop(o.m, count.DHCPGuard)
		return nil
	case p.Flags&fib.RouterGuard != 0 && packet.RouterMessage(frame, &o.l):
		w.drop(o.m, count.RouterGuard)
		return nil
	}
	return w.disguised(p, frame)
}

// disguised is p, with the MAC of the frame if its VM may send from others.
func (w *Worker) disguised(p *fib.Port, frame []byte) *fib.Port {
	if mac := packet.Ethernet(frame).Src(); p.Flags&fib.MACSpoofing != 0 && !mac.IsMulticast() && !mac.IsZero() {
		w.guise = *p
		w.guise.MAC = mac
		return &w.guise
	}
	return p
}

// answer does what respond says with a frame: true for one that goes on.
func (w *Worker) answer(f *fib.FIB, p *fib.Port, o *outbound, v respond.Verdict) bool {
	if v.Learn && w.limits[w.in].learn.take(w.clock(), puntRate) {
		w.punt(Learn, o.m.Data()) // a full ring: its next frame will do (A16)
	}
	switch {
	case v.Forward:
		return true
	case v.Drop != count.Kept:
		w.drop(o.m, v.Drop)
	default:
		w.send(w.in, o.m)
	}
	return false
}

// route is steps 4 to 6.
func (w *Worker) route(f *fib.FIB, p *fib.Port, o *outbound) {
	m, l := o.m, &o.l
	frame := m.Data()
	if p.Flags != 0 {
		p = w.disguised(p, frame)
	}
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
	v := w.Decide(f, p, src, dst, int(o.size))
	if v.Drop == count.Kept {
		w.forward(f, p, o, dst, v)
	} else {
		w.detour(f, p, o, src, dst, v)
	}
}

// forward is steps 5 and 6 for a packet that Decide lets go to dst.
func (w *Worker) forward(f *fib.FIB, p *fib.Port, o *outbound, dst *fib.Entry, v Verdict) {
	m, l := o.m, &o.l
	frame := m.Data()
	if dst.VSID != p.VSID && !w.crossed(f, p, o, dst) {
		return
	}
	packet.Ethernet(frame).SetDst(dst.MAC) // L12
	if v.Adj == nil {
		w.events[count.LoopedBack]++
		if dst.Flags&(fib.L2Only|fib.Learned) != 0 && packet.DHCPServer(frame, l) {
			w.puntFor(v.Port, frame) // A16
		}
		if o.left.Kind != offload.Nothing {
			w.deliver(v.Port, m, l, o.left)
			return
		}
		w.send(v.Port, m)
		return
	}
	pa := f.Remote(dst)
	if w.Router.ClampMSS && l.Proto == packet.ProtoTCP && l.L4 != 0 {
		w.clamp(o, f.Limit(dst, v.Adj))
	}
	if o.left.Kind != offload.Nothing {
		w.leave(f, dst, v.Adj, o)
		return
	}
	h := w.through(m, dst.Mode)
	h.Entry, h.PA, h.Adj, h.Layout = unseen.To(dst), unseen.To(pa), unseen.To(v.Adj), *l
	if dst.Mode == policy.NVGRE {
		h.Hash, h.TOS = packet.FlowHash(frame, l), packet.TOS(frame, l)
	}
}

// through puts a packet on the way over the fabric, by the hop that the caller fills
// in.
func (w *Worker) through(m *mbuf.Mbuf, mode policy.Mode) *fib.Hop {
	lane := &w.lanes[mode]
	if lane.to != fib.None || lane.n >= len(lane.pkts) { // copies and fragments make a burst longer
		w.encap(mode)
	}
	n := lane.n
	lane.n++
	lane.several = true // its port is not known yet
	lane.pkts[n] = unseen.To(m)
	return &lane.hops[n]
}

// Verdict is where a packet from one CA to another goes.
type Verdict struct {
	Drop  count.Reason // not Kept: it does not go
	Port  uint16       // of a VM of this host (L15), without Adj
	Adj   *fib.Adj     // the way over the fabric, also when it is not ready
	Limit int          // of MTUExceeded: the largest IP packet in bytes that goes there
}

// Decide is steps 4 to 6 for a frame of size bytes behind its Ethernet header
// from the VM behind p, given what its source and destination CA were found to
// be, nil for nothing. It is what the loop and the dry run of a next hop (C6) both
// ask, the latter from any goroutine.
func (w *Worker) Decide(f *fib.FIB, p *fib.Port, src, dst *fib.Entry, size int) Verdict {
	switch {
	case !p.Owns(src) || src.Flags&fib.RouterCA != 0:
		return Verdict{Drop: count.SourceCA} // L3
	case src.Flags&fib.LocalVM == 0:
		return Verdict{Drop: count.PASource} // P13
	case dst == nil:
		return Verdict{Drop: count.LookupFailed} // L9
	case dst.Flags&fib.RouterCA != 0:
		return Verdict{Drop: count.RouterCA} // L11
	case f.ExternalRouter && dst.VSID != p.VSID:
		return Verdict{Drop: count.OtherSubnet} // L18
	case src.Mode != dst.Mode:
		return Verdict{Drop: count.ModeMixed} // R4
	}
	if dst.Flags&fib.LocalVM != 0 {
		to := f.Locals[dst.Dest].Port
		switch {
		case to == fib.None:
			return Verdict{Drop: count.NoLocalPort}
		case size > int(f.Ports[to].MTU):
			return Verdict{Drop: count.MTUExceeded, Limit: int(f.Ports[to].MTU)}
		}
		return Verdict{Port: to} // L15
	}
	adj := f.Adj(dst, f.Locals[src.Dest].PA)
	if adj.State != fib.AdjReady || w.Modes[dst.Mode] == nil {
		return Verdict{Drop: w.unready(dst, adj), Adj: adj}
	}
	if limit := f.Limit(dst, adj); size > limit {
		return Verdict{Drop: count.MTUExceeded, Adj: adj, Limit: limit} // M5
	}
	return Verdict{Adj: adj} // L16
}

// unready says why nothing can be sent to e by way of adj now, or Kept.
func (w *Worker) unready(e *fib.Entry, adj *fib.Adj) count.Reason {
	switch {
	case w.Modes[e.Mode] == nil:
		return count.ModeMissing
	case adj.State == fib.AdjReady:
		return count.Kept
	case adj.State == fib.AdjUnresolved:
		return count.NeighborQueue // unless there is room to wait
	case adj.State == fib.AdjFailed:
		return count.NeighborFailed
	case adj.State == fib.AdjFamily:
		return count.PAFamily
	case adj.State == fib.AdjDuplicate:
		return count.PADuplicate
	}
	return count.ProviderRoute
}

var allKept [port.MaxBurst]count.Reason

// encap is step 7 for one mode.
func (w *Worker) encap(mode policy.Mode) {
	lane := &w.lanes[mode]
	pkts := unseen.Pointers(lane.pkts[:lane.n])
	lane.n = 0
	w.reasons = allKept
	reasons := w.reasons[:len(pkts)]
	if lane.to == fib.None {
		w.Modes[mode].Egress(pkts, lane.hops[:len(pkts)], reasons, &w.events)
	} else {
		lane.egress(pkts, lane.hops[:len(pkts)], lane.left[:len(pkts)], reasons, &w.events)
		lane.to = fib.None
	}
	if !lane.several && w.reasons == allKept {
		w.sendAll(lane.by, pkts)
		return
	}
	lane.several = false
	hops := lane.hops[:len(pkts)]
	for i := 0; i < len(pkts); {
		if reasons[i] != count.Kept {
			w.drop(pkts[i], reasons[i])
			i++
			continue
		}
		first, to := i, hops[i].Adj.Get().Port
		for i++; i < len(pkts) && reasons[i] == count.Kept && hops[i].Adj.Get().Port == to; i++ {
		}
		w.sendAll(to, pkts[first:i])
	}
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
