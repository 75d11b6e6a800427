package worker

import (
	"net/netip"

	"paca/dataplane/count"
	"paca/dataplane/fib"
	"paca/dataplane/mbuf"
	"paca/dataplane/offload"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
	"paca/dataplane/respond"
)

// detour ends, answers or carries on a packet that Decide does not let go from src
// to dst, the records of its addresses, as they are.
//
//	to several receivers ──► group (A20-A24)
//	from a gateway, whatever its source CA ──► on (L3, G5)
//	to a CA without a record ──► a gateway's, by customer routes (L7); a VM's whose
//	                             CA is not known, by its MAC (L10)
//	to another virtual subnet, by an external router ──► that router's (L18)
//	to the router itself ──► DHCP, and ping if wanted (L11)
//	too large ──► ICMP error, or fragments (M6, M7)
//	next hop's MAC not known ──► wait
func (w *Worker) detour(f *fib.FIB, p *fib.Port, o *outbound, src, dst *fib.Entry, v Verdict) {
	m, l := o.m, &o.l
	frame := m.Data()
	s := f.Subnet(p.VSID)
	if dst == nil {
		if sent, ok := groupOf(frame, l, s); ok {
			if s.DHCP && packet.DHCPClient(frame, l) {
				w.consult(DHCP, o)
				return
			}
			w.group(f, p, o, s, sent)
			return
		}
	}
	if l.EtherType != packet.EtherTypeARP {
		dst, v = w.reconsider(f, p, src, dst, destinationCA(frame, l), packet.Ethernet(frame).Dst(), int(o.size), v)
	}
	switch v.Drop {
	case count.Kept:
		w.forward(f, p, o, dst, v)
	case count.NeighborQueue:
		w.wait(f, m, v.Adj.NextHop)
	case count.MTUExceeded:
		w.tooBig(f, p, o, v.Limit)
	case count.RouterCA:
		w.toRouter(o, s)
	case count.LookupFailed:
		w.miss(m.Data())
		w.drop(m, count.LookupFailed) // L13
	default:
		w.drop(m, v.Drop)
	}
}

// Ask is steps 4 to 6 for a packet between two CAs: whose they are, and where it
// goes. It is for the dry run of a next hop (C6), from any goroutine.
func (w *Worker) Ask(f *fib.FIB, p *fib.Port, src, dst netip.Addr) (from, to *fib.Entry, v Verdict) {
	from, to = f.Lookup(p.RD, src), f.Lookup(p.RD, dst)
	v = w.Decide(f, p, from, to, 0)
	to, v = w.reconsider(f, p, from, to, dst, packet.MAC{}, 0, v)
	return from, to, v
}

// reconsider asks Decide again, for a packet to ca and mac, if it may have its
// source CA for its MAC's sake, and if it goes to another than the owner of ca.
func (w *Worker) reconsider(f *fib.FIB, p *fib.Port, src, dst *fib.Entry, ca netip.Addr, mac packet.MAC, size int, v Verdict) (*fib.Entry, Verdict) {
	if v.Drop == count.SourceCA && (src == nil || f.ExternalRouter) {
		if e := f.ByMAC(p.VSID, p.MAC, ca.Is6()); e != nil && e.Flags&fib.Wildcard != 0 {
			src = e
			v = w.Decide(f, p, src, dst, size)
		}
	}
	if v.Drop == count.LookupFailed || v.Drop == count.OtherSubnet {
		if to := instead(f, p, ca, mac, v.Drop == count.LookupFailed); to != nil {
			dst = to
			if v = w.Decide(f, p, src, dst, size); dst.Mode != policy.NVGRE && v.Adj != nil {
				v = Verdict{Drop: count.RewriteGateway} // R25: on the other host, its PA would stand for its own CA
			}
		}
	}
	return dst, v
}

// instead is the record that a packet goes to when that of its destination CA is
// unknown, or is in another virtual subnet and an external router's to reach; nil
// for none. A gateway or router is not its own next hop.
func instead(f *fib.FIB, p *fib.Port, ca netip.Addr, mac packet.MAC, unknown bool) *fib.Entry {
	if !f.ExternalRouter {
		if e := f.Route(p.RD, ca); e != nil && (e.VSID != p.VSID || e.MAC != p.MAC) {
			return e // L7
		}
	} else if r := f.Subnet(p.VSID).Router(ca); r != nil && !r.Prefix.Contains(ca) {
		if e := f.Lookup(p.RD, r.CA); e != nil && e.VSID == p.VSID && e.MAC != p.MAC && e.Flags&fib.RouterCA == 0 {
			return e // L18
		}
	}
	if e := f.ByMAC(p.VSID, mac, ca.Is6()); unknown && e != nil && e.Flags&fib.L2Only != 0 {
		return e // L10
	}
	return nil
}

// crossed is step 5, for a packet to another virtual subnet: false for one that
// went no further.
func (w *Worker) crossed(f *fib.FIB, p *fib.Port, o *outbound, dst *fib.Entry) bool {
	m, l := o.m, &o.l
	frame := m.Data()
	if !w.Router.KeepTTL && !countDown(frame, l) {
		ca := sourceCA(frame, l)
		r := f.Subnet(p.VSID).Router(ca)
		if o.left.Kind == offload.Checksum {
			w.finish(o) // for the quote
		}
		if r != nil && w.mayAnswer() && respond.TimeExceeded(m, l, r.MAC, r.CA) {
			w.reply(m)
		} else {
			w.drop(m, count.TTLExceeded) // L14
		}
		return false
	}
	if s := f.Subnet(dst.VSID); s != nil {
		if r := s.Router(destinationCA(frame, l)); r != nil {
			packet.Ethernet(frame).SetSrc(r.MAC) // L12
		}
	}
	w.events[count.Routed]++
	return true
}

// countDown takes one off TTL or hop limit. It reports false, and changes nothing,
// when that leaves none (L14).
func countDown(frame []byte, l *packet.Layout) bool {
	switch l.EtherType {
	case packet.EtherTypeIPv4:
		ip := packet.IPv4(frame[l.L3:])
		ttl := ip.TTL()
		if ttl <= 1 {
			return false
		}
		proto := uint16(ip.Protocol())
		ip.SetChecksum(packet.ChecksumUpdate16(ip.Checksum(), uint16(ttl)<<8|proto, uint16(ttl-1)<<8|proto))
		ip.SetTTL(ttl - 1)
	case packet.EtherTypeIPv6:
		ip := packet.IPv6(frame[l.L3:])
		if ip.HopLimit() <= 1 {
			return false
		}
		ip.SetHopLimit(ip.HopLimit() - 1)
	}
	return true
}

// tooBig answers a packet that is larger than limit, or sends it in fragments
// (M6, M7).
func (w *Worker) tooBig(f *fib.FIB, p *fib.Port, o *outbound, limit int) {
	m, l := o.m, &o.l
	switch {
	case o.shrink(limit): // M12
		w.route(f, p, o)
		return
	case o.left.Kind > offload.Checksum:
		w.drop(m, count.MTUExceeded) // headers and all
		return
	}
	w.finish(o)
	if n := packet.Fragments(m.Data(), l, limit); n > 1 {
		w.fragment(f, p, o, limit, n)
		return
	}
	r := f.Subnet(p.VSID).Router(sourceCA(m.Data(), l))
	if r != nil && w.mayAnswer() && respond.TooBig(m, l, r.MAC, r.CA, limit) { // M8
		w.reply(m)
		return
	}
	w.drop(m, count.MTUExceeded) // M9
}

// fragment sends a packet in n fragments, each of which starts its trip anew (M7).
func (w *Worker) fragment(f *fib.FIB, p *fib.Port, o *outbound, limit, n int) {
	m, l := o.m, o.l
	pkts := w.spare[:min(n, len(w.spare))]
	if n > len(pkts) || !w.Pool.Alloc(pkts) {
		w.drop(m, count.NoBuffer)
		return
	}
	frame := m.Data()
	w.events[count.Fragments] += uint32(n - 1)
	for i, c := range pkts {
		d := c.Append(packet.EthernetLen + limit)
		if d == nil {
			w.drop(c, count.NoBuffer)
			continue
		}
		c.Trim(len(d) - packet.WriteFragment(d, frame, &l, limit, i))
		w.part.m = c
		if fault := packet.Parse(c.Data(), &w.part.l); fault != packet.OK {
			w.drop(c, count.Reason(fault))
			continue
		}
		w.part.size = int32(c.Len() - packet.EthernetLen)
		w.route(f, p, &w.part)
	}
	w.discard(m)
}

// toRouter is for what a VM sends to the distributed router itself.
func (w *Worker) toRouter(o *outbound, s *fib.Subnet) {
	switch m := o.m; {
	case s.DHCP && packet.DHCPClient(m.Data(), &o.l):
		w.consult(DHCP, o)
	case w.Router.AnswerPing && w.mayAnswer() && respond.Echo(m, &o.l):
		w.reply(m)
	default:
		w.drop(m, count.RouterCA) // L11
	}
}

// reply sends a frame that has become the answer back to the VM.
func (w *Worker) reply(m *mbuf.Mbuf) {
	w.events[count.ICMPSent]++
	w.send(w.in, m)
}

// consult gives a frame of a VM to the control plane, which answers it.
func (w *Worker) consult(kind Kind, o *outbound) {
	switch {
	case !w.finish(o):
	case !w.limits[w.in].dhcp.take(w.clock(), puntRate) || !w.punt(kind, o.m.Data()):
		w.drop(o.m, count.ControlQueue)
	default:
		w.consumed(o.m)
	}
}

// miss tells the control plane of a packet for a CA that policy does not know.
func (w *Worker) miss(frame []byte) {
	if w.limits[w.in].miss.take(w.clock(), puntRate) {
		w.punt(Miss, frame)
	}
}

// learnLease tells the control plane of a DHCP server's message to one of the VMs
// behind ports (A16).
func (w *Worker) learnLease(f *fib.FIB, frame []byte, l *packet.Layout, ports []uint16) {
	const hardware = packet.UDPLen + 28 // chaddr (RFC 2131 2)
	if l.EtherType != packet.EtherTypeIPv4 || int(l.L4)+hardware+len(packet.MAC{}) > int(l.End) {
		return
	}
	mac := packet.MAC(frame[int(l.L4)+hardware:])
	for _, port := range ports {
		if f.Ports[port].MAC == mac && f.ByMAC(f.Ports[port].VSID, mac, false) != nil {
			w.puntFor(port, frame)
		}
	}
}

// puntFor tells the control plane of a frame to the VM behind a port (A16).
func (w *Worker) puntFor(port uint16, frame []byte) {
	if w.limits[port].lease.take(w.clock(), puntRate) {
		w.punted = true
		w.Punt.Push(port, Learn, frame)
	}
}

// clamp lowers the maximum segment size of a TCP SYN to what fits into limit bytes
// (M13).
func (w *Worker) clamp(o *outbound, limit int) {
	frame, l := o.m.Data(), &o.l
	overhead := packet.IPv4Len + packet.TCPLen
	if l.EtherType == packet.EtherTypeIPv6 {
		overhead = packet.IPv6Len + packet.TCPLen
	}
	sum := packet.TCP(frame[l.L4:]).Checksum()
	if packet.ClampMSS(frame, l, uint16(limit-overhead)) {
		w.events[count.Clamped]++
		if o.left.Kind != offload.Nothing {
			packet.TCP(frame[l.L4:]).SetChecksum(sum) // a seed, which the header is no part of
		}
	}
}

func sourceCA(frame []byte, l *packet.Layout) netip.Addr {
	switch l.EtherType {
	case packet.EtherTypeIPv4:
		return packet.IPv4(frame[l.L3:]).Src()
	case packet.EtherTypeIPv6:
		return packet.IPv6(frame[l.L3:]).SrcAddr()
	}
	return netip.AddrFrom4(packet.ARP(frame[l.L3:]).SenderIP())
}

func destinationCA(frame []byte, l *packet.Layout) netip.Addr {
	switch l.EtherType {
	case packet.EtherTypeIPv4:
		return packet.IPv4(frame[l.L3:]).Dst()
	case packet.EtherTypeIPv6:
		return packet.IPv6(frame[l.L3:]).DstAddr()
	}
	return netip.AddrFrom4(packet.ARP(frame[l.L3:]).TargetIP())
}
