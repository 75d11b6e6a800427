package worker

import (
	"net/netip"

	"paca/dataplane/count"
	"paca/dataplane/fib"
	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
	"paca/dataplane/unseen"
)

// groupOf is what a frame to several receivers counts as, BroadcastSent or
// MulticastSent; ok is false for one that goes to one receiver.
func groupOf(frame []byte, l *packet.Layout, s *fib.Subnet) (sent count.Event, ok bool) {
	switch l.EtherType {
	case packet.EtherTypeIPv4:
		dst := packet.IPv4(frame[l.L3:]).DstU32()
		switch {
		case dst == 0xffffffff || s.Directed(dst): // A24
			return count.BroadcastSent, true
		case dst>>28 == 0xe:
			return count.MulticastSent, true
		}
	case packet.EtherTypeIPv6:
		if frame[l.L3+24] == 0xff {
			return count.MulticastSent, true
		}
	case packet.EtherTypeARP:
		return count.BroadcastSent, packet.Ethernet(frame).Dst().IsMulticast()
	}
	return 0, false
}

// group carries a broadcast or multicast of a VM to its virtual subnet (A20-A24):
// to a group of PAs if a record says so, else one copy to each PA with VMs of it,
// and to its VMs on this host.
func (w *Worker) group(f *fib.FIB, p *fib.Port, o *outbound, s *fib.Subnet, sent count.Event) {
	m, l := o.m, &o.l
	frame := m.Data()
	from := sourceCA(frame, l)
	src := f.Lookup(p.RD, from)
	switch {
	case !packet.Ethernet(frame).Dst().IsMulticast() && sent == count.BroadcastSent:
		w.drop(m, count.Broadcast) // to one MAC (RFC 1122 3.3.6)
		return
	case !packet.Ethernet(frame).Dst().IsMulticast():
		w.drop(m, count.Multicast)
		return
	case l.EtherType != packet.EtherTypeARP && !speaks(f, p, src, from): // respond has looked at ARP
		w.drop(m, count.SourceCA) // L3
		return
	case s.Mode != policy.NVGRE && sent == count.BroadcastSent:
		w.drop(m, count.Broadcast) // R20
		return
	case s.Mode != policy.NVGRE, l.EtherType == packet.EtherTypeIPv6 && frame[l.L3+25]&0xf <= 1:
		w.drop(m, count.Multicast) // R20; interface-local scope (RFC 4291 2.7)
		return
	}
	to, pa := receivers(s, frame, l), fib.None
	if len(to) > 0 {
		if pa = homePA(f, p, src); pa == fib.None {
			w.drop(m, count.PASource)
			return
		}
	}
	here := w.hearers(f, s, fib.None)
	left := here // copies to be made, or not to be made and counted
	for i := range to {
		if f.Adj(&to[i], pa).State != fib.AdjFamily { // whoever lives behind both families gets one
			left++
		}
	}
	if left == 0 {
		w.drop(m, count.NoReceiver)
		return
	}
	if p.StormLimit != 0 && !w.limits[w.in].storm.takeAll(w.clock(), left, int(p.StormLimit)) {
		w.drop(m, count.Storm)
		return
	}
	if limit := w.groupLimit(f, s, to, pa); int(o.size) > limit {
		w.tooBig(f, p, o, limit)
		return
	}

	if !w.finish(o) {
		return
	}
	w.events[sent]++
	w.events[count.Replicated] += uint32(left - 1)
	hash, tos := packet.FlowHash(frame, l), packet.TOS(frame, l)
	for i := range to {
		e := &to[i]
		adj := f.Adj(e, pa)
		if adj.State == fib.AdjFamily {
			continue
		}
		left--
		if reason := w.unready(e, adj); reason != count.Kept {
			w.forgo(reason)
			continue
		}
		c := m
		if left == 0 {
			m = nil
		} else if c = w.copyOf(m, left-max(here, 1)); c == nil {
			w.forgo(count.NoBuffer)
			continue
		}
		h := w.through(c, e.Mode)
		h.Entry, h.PA, h.Adj, h.Layout, h.Hash, h.TOS = unseen.To(e), unseen.To(f.Remote(e)), unseen.To(adj), *l, hash, tos
	}
	if w.ncopies > 0 {
		w.Pool.Free(w.copies[:w.ncopies])
		w.ncopies = 0
	}
	switch {
	case here > 0:
		w.share(f, m, l, s, fib.None, here)
	case m != nil: // the last copy could not be sent, and was counted
		w.discard(m)
	}
}

// hearers is how many ports of this host a frame to a virtual subnet goes to: not
// the one it came from, and if it came to a PA, those whose VMs live behind that. A
// host whose VMs live behind several gets a copy for each.
func (w *Worker) hearers(f *fib.FIB, s *fib.Subnet, pa uint16) (n int) {
	for _, port := range s.Ports {
		if w.hears(f, port, pa) {
			n++
		}
	}
	return n
}

func (w *Worker) hears(f *fib.FIB, port, pa uint16) bool {
	p := &f.Ports[port]
	return port != w.in && (pa == fib.None || p.Home4 == pa || p.Home6 == pa)
}

// receivers are the PAs of the fabric that a frame to several receivers goes to.
func receivers(s *fib.Subnet, frame []byte, l *packet.Layout) []fib.Entry {
	if len(s.Groups) > 0 && l.EtherType != packet.EtherTypeARP {
		ca := destinationCA(frame, l)
		for i := range s.Groups {
			if s.Groups[i].CA == ca {
				return s.Groups[i].To // A20
			}
		}
	}
	return s.Remotes // A21
}

// homePA is the PA of this host that a VM's frames to several receivers come from,
// or None: that of the record of their source, or of any of the VM if they have none.
func homePA(f *fib.FIB, p *fib.Port, src *fib.Entry) uint16 {
	switch {
	case !p.Owns(src):
		if p.Home4 == fib.None {
			return p.Home6
		}
		return p.Home4
	case src.Flags&fib.LocalVM == 0:
		return fib.None
	}
	return f.Locals[src.Dest].PA
}

// groupLimit is the largest IP packet in bytes that gets to every receiver.
func (w *Worker) groupLimit(f *fib.FIB, s *fib.Subnet, to []fib.Entry, pa uint16) int {
	limit := 0xffff
	for i := range to {
		if adj := f.Adj(&to[i], pa); adj.State == fib.AdjReady {
			limit = min(limit, f.Limit(&to[i], adj))
		}
	}
	for _, port := range s.Ports {
		if w.hears(f, port, fib.None) {
			limit = min(limit, int(f.Ports[port].MTU))
		}
	}
	return limit
}

// share sends one buffer to the n ports of s that hear it, if it is not too large for
// them (M5). Ports only read it, and the last of them frees it.
func (w *Worker) share(f *fib.FIB, m *mbuf.Mbuf, l *packet.Layout, s *fib.Subnet, pa uint16, n int) {
	m.Share(n - 1)
	if packet.DHCPServer(m.Data(), l) {
		w.learnLease(f, m.Data(), l, s.Ports)
	}
	for _, port := range s.Ports {
		switch {
		case !w.hears(f, port, pa):
		case m.Len()-packet.EthernetLen > int(f.Ports[port].MTU):
			w.drop(m, count.MTUExceeded)
		default:
			w.send(port, m)
		}
	}
}

// copyOf is a packet like m in a buffer of its own, or nil; more is how many others may
// be asked for after it, for the pool is asked for many at once.
func (w *Worker) copyOf(m *mbuf.Mbuf, more int) *mbuf.Mbuf {
	if w.ncopies == 0 {
		n := min(more+1, len(w.copies))
		if !w.Pool.Alloc(w.copies[:n]) {
			return nil
		}
		w.ncopies = n
	}
	c := w.copies[w.ncopies-1]
	if !c.SetData(m.Data()) {
		return nil
	}
	w.ncopies--
	return c
}

// speaks says whether a frame to several receivers may have the source it has (L3):
// that of a record of the VM, any if it is a gateway, none if no record tells its
// CA. IPv6 link-local addresses have no records and may come from every VM, as may
// the unspecified one before it has them (A11).
func speaks(f *fib.FIB, p *fib.Port, src *fib.Entry, from netip.Addr) bool {
	switch {
	case p.Owns(src) && src.Flags&fib.RouterCA == 0:
		return true
	case from.Is6() && (from.IsLinkLocalUnicast() || from.IsUnspecified()):
		return true
	}
	e := f.ByMAC(p.VSID, p.MAC, from.Is6())
	return e != nil && (e.Flags&fib.Wildcard != 0 && src == nil || from.IsUnspecified())
}
