package rewrite

import (
	"encoding/binary"
	"math/bits"
	"net/netip"

	"paca/dataplane/count"
	"paca/dataplane/fib"
	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
)

// Ingress gives each packet for a VM's own PA its CAs back, and says by which port
// the VM is reached. drops[i] says why packet i gets nowhere; it is then unchanged.
//
//  1. whose the destination PA is, and whose the source PA: of one routing domain,
//     the former here (R5)
//  2. what no VM sent: an ICMP error of the fabric about what the VM did (R18)
//  3. addresses, and the checksums that cover them (R5, R8-R13, R16, R17)
//  4. Ethernet header of the virtual subnet (R5), tag and padding off
func (r *Rewrite) Ingress(f *fib.FIB, pkts []*mbuf.Mbuf, arrivals []fib.Arrival, drops []count.Reason, events *count.Events) {
	arrivals, drops = arrivals[:len(pkts)], drops[:len(pkts)]
	for i := 0; i < len(pkts); i++ {
		if i += straightIn(f, pkts[i:], arrivals[i:]); i == len(pkts) {
			break
		}
		if m, a := pkts[i], &arrivals[i]; a.To4 != 0 {
			drops[i] = ingress4(f, m, a, events)
		} else if !straightIn6(f, m, a) {
			drops[i] = ingress6(f, m, a, events)
		}
	}
}

// straightIn is ingress4 for what most packets are: plain TCP or UDP from a VM of the
// same virtual subnet. It does all that ingress4 does for such, from the front of a burst
// to the first that is none, and returns how many they are.
func straightIn(f *fib.FIB, pkts []*mbuf.Mbuf, arrivals []fib.Arrival) int {
	arrivals = arrivals[:len(pkts)]
	var (
		to   *fib.Owner4 // of the packet before, whose
		port uint16      // is that and takes frames of
		size int         // bytes
		dst  uint64      // CA, in its place of addresses
		mac  uint64
	)
	for i, m := range pkts {
		a := &arrivals[i]
		if !a.Plain {
			return i
		}
		if before := to; a.To4.Get() != before {
			to = a.To4.Get()
			if port = f.Locals[to.Dest].Port; port == fib.None {
				return i
			}
			size = packet.EthernetLen + int(f.Ports[port].MTU)
			dst = uint64(bits.ReverseBytes32(to.CA())) << 32
			mac = to.MAC.Word()
		}
		frame := (*packet.Plain4)(m.Start()[:])
		proto := frame.Proto()
		from := f.Record4(f.KeyOf4(frame.SrcU32()))
		if from == nil || from.VSID != to.VSID || from.Flags&fib.LocalVM != 0 || int(a.Outer.End) > size ||
			proto != packet.ProtoTCP && proto != packet.ProtoUDP {
			return i
		}
		a.Port = port
		m.Cut(0, a.Outer.End)
		frame.SetMACs(mac, &from.MAC)
		addrs := dst | uint64(bits.ReverseBytes32(from.CA()))
		delta := packet.Change(frame.Addrs(), addrs)
		frame.SetAddrs(addrs, delta)
		if proto == packet.ProtoTCP {
			frame.MendTCP(delta)
		} else {
			frame.MendUDP(delta)
		}
	}
	return len(pkts)
}

func ingress4(f *fib.FIB, m *mbuf.Mbuf, a *fib.Arrival, events *count.Events) count.Reason {
	frame, l, to := m.Data(), &a.Outer, a.To4.Get()
	from := f.Owner4(packet.IPv4(frame[l.L3:]).SrcU32())
	if from == nil {
		return fabric4(f, m, a, to, events)
	}
	if from.RD() != to.RD() || from.Flags&fib.LocalVM != 0 {
		return count.RewriteSource
	}
	if reason := local(f, a, &to.Entry); reason != count.Kept {
		return reason
	}
	if !packet.Readdress4(frame, l, from.CA(), to.CA()) {
		return count.ShortFragment // R13
	}
	mac := from.MAC
	if from.VSID != to.VSID {
		mac = routerOf(f, to.VSID, packet.Addr4(to.CA())).MAC
	}
	deliver(m, l, to.MAC, mac)
	return count.Kept
}

// local says whether the VM of e can be delivered to, and by which port.
func local(f *fib.FIB, a *fib.Arrival, e *fib.Entry) count.Reason {
	port := f.Locals[e.Dest].Port
	switch {
	case port == fib.None:
		return count.NoLocalPort
	case int(a.Outer.End-a.Outer.L3) > int(f.Ports[port].MTU) && !a.Cut:
		return count.MTUExceeded
	}
	a.Port = port
	return count.Kept
}

// fabric4 is for what comes from no VM: ICMP errors about what the VM sent to another
// of its routing domain appear to come from the router (R18), other ICMP is the PA's.
func fabric4(f *fib.FIB, m *mbuf.Mbuf, a *fib.Arrival, to *fib.Owner4, events *count.Events) count.Reason {
	frame, l := m.Data(), &a.Outer
	if l.Proto != packet.ProtoICMP || l.Flags&packet.IsFragment != 0 {
		return count.RewriteSource
	}
	src, dst, ok := packet.Quoted4(frame, l)
	far := f.Owner4(dst)
	router := routerOf(f, to.VSID, packet.Addr4(to.CA()))
	if !ok || src != packet.IPv4(frame[l.L3:]).DstU32() || far == nil || far.RD() != to.RD() || !router.CA.Is4() ||
		packet.ICMPv4(frame[l.L4:]).Type() == packet.ICMPv4Redirect { // which names a router of the fabric
		a.Kind = fib.ToPA
		return count.Kept
	}
	if reason := local(f, a, &to.Entry); reason != count.Kept {
		return reason
	}
	ca := router.CA.As4()
	packet.ReaddressError4(frame, l, binary.BigEndian.Uint32(ca[:]), to.CA(), far.CA())
	events[count.FabricError]++
	deliver(m, l, to.MAC, router.MAC)
	return count.Kept
}

// ingress6 is ingress4 for IPv6.
func ingress6(f *fib.FIB, m *mbuf.Mbuf, a *fib.Arrival, events *count.Events) count.Reason {
	frame, l, to := m.Data(), &a.Outer, a.To6.Get()
	from := f.Owner6((*[16]byte)(frame[l.L3+8:]))
	if from == nil {
		return fabric6(f, m, a, to, events)
	}
	if from.RD != to.RD || from.Flags&fib.LocalVM != 0 {
		return count.RewriteSource
	}
	if reason := local(f, a, &to.Entry); reason != count.Kept {
		return reason
	}
	if !packet.Readdress6(frame, l, &from.CA, &to.CA) {
		return count.ShortFragment // R13
	}
	mac := from.MAC
	if from.VSID != to.VSID {
		mac = routerOf(f, to.VSID, netip.AddrFrom16(to.CA)).MAC
	}
	deliver(m, l, to.MAC, mac)
	return count.Kept
}

// fabric6 is fabric4 for IPv6.
func fabric6(f *fib.FIB, m *mbuf.Mbuf, a *fib.Arrival, to *fib.Owner6, events *count.Events) count.Reason {
	frame, l := m.Data(), &a.Outer
	if l.Proto != packet.ProtoICMPv6 || l.Flags&packet.IsFragment != 0 {
		return count.RewriteSource
	}
	src, dst, ok := packet.Quoted6(frame, l)
	far := f.Owner6(&dst)
	router := routerOf(f, to.VSID, netip.AddrFrom16(to.CA))
	if !ok || src != packet.IPv6(frame[l.L3:]).Dst() || far == nil || far.RD != to.RD || !router.CA.Is6() {
		a.Kind = fib.ToPA
		return count.Kept
	}
	if reason := local(f, a, &to.Entry); reason != count.Kept {
		return reason
	}
	ca := router.CA.As16()
	packet.ReaddressError6(frame, l, &ca, &to.CA, &far.CA)
	events[count.FabricError]++
	deliver(m, l, to.MAC, router.MAC)
	return count.Kept
}

// routerOf is the distributed router as the VM with a CA in a virtual subnet knows it.
// Where it has no address, it has a MAC all the same.
func routerOf(f *fib.FIB, vsid uint32, ca netip.Addr) fib.Router {
	if s := f.Subnet(vsid); s != nil {
		if r := s.Router(ca); r != nil {
			return *r
		}
	}
	return fib.Router{MAC: fib.DefaultRouterMAC}
}

// deliver makes the frame the virtual subnet's: untagged, without padding, from and to
// the MACs that it has there.
func deliver(m *mbuf.Mbuf, l *packet.Layout, dst, src packet.MAC) {
	if m.Segments() == 1 {
		m.Trim(m.Len() - int(l.End))
	}
	m.Adj(int(l.L3) - packet.EthernetLen)
	eth := packet.Ethernet(m.Data())
	eth.SetDst(dst)
	eth.SetSrc(src)
	eth.SetEtherType(l.EtherType)
}
