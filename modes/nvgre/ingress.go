package nvgre

import (
	"encoding/binary"

	"paca/dataplane/count"
	"paca/dataplane/fib"
	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
)

// Bits of GRE's first word that have one right value (W2, W23, W25); bits 6 to
// 12 are ignored.
const greChecked = packet.GREChecksum | packet.GREKey | packet.GRESequence | packet.GREReserved | packet.GREVersion

// Ingress takes the outer header off each packet that is for a PA of this host
// in its VLAN, of protocol 47 (W20), and says who gets the rest. drops[i] says why
// packet i gets nowhere; it is then unchanged.
//
//  1. outer header: checksum, fragments (W21, W22)
//  2. GRE header (W23-W25)
//  3. VSID (W26)
//  4. inner frame (W28, W29)
//  5. policy: whom it is for, who sent it (L21, L22)
//  6. outer header and padding off
func (n *NVGRE) Ingress(f *fib.FIB, pkts []*mbuf.Mbuf, arrivals []fib.Arrival, drops []count.Reason, _ *count.Events) {
	arrivals, drops = arrivals[:len(pkts)], drops[:len(pkts)]
	var known domain
	for i := 0; i < len(pkts); {
		n := straight(f, pkts[i:], arrivals[i:])
		if n == 0 {
			if !straight6(f, pkts[i], &arrivals[i], &known) {
				drops[i] = ingress(f, pkts[i], &arrivals[i])
			}
			n = 1
		}
		i += n
	}
}

const (
	keyed = uint32(packet.GREKey)<<16 | uint32(packet.EtherTypeTEB) // first word of a GRE header (W2)
	gre   = packet.EthernetLen + packet.IPv4Len                     // in a plain packet
	start = gre + packet.NVGRELen                                   // of the inner frame there
)

// straight is ingress for what most packets are: plain IPv4 from the record of one VM to
// that of another inside plain IPv4, nothing in it to be told to anybody. It does all
// that ingress does for such, from the front of a burst to the first that is none, and
// returns how many they are.
func straight(f *fib.FIB, pkts []*mbuf.Mbuf, arrivals []fib.Arrival) int {
	arrivals = arrivals[:len(pkts)]
	var to receiver // of the packet before
	for i, m := range pkts {
		a := &arrivals[i]
		if !a.Plain {
			return i
		}
		front := m.Start()
		outer, inner := (*packet.Plain4)(front[:]), (*packet.Plain4)(front[start:])
		if (binary.LittleEndian.Uint64(front[gre:])<<8 != to.gre || inner.DstWord() != to.mac || inner.DstU32() != to.ca || a.PA != to.pa) &&
			!to.find(f, front, a.PA) {
			return i
		}
		size := int(a.Outer.End) - start
		if size > to.size || inner.End(size) == 0 || outer.TOS()&1 != 0 || !a.Verified && !outer.Verify() {
			return i
		}
		src := f.Record4(fib.Key4(to.rd, inner.SrcU32()))
		if src == nil || !f.BehindPA4(&src.Entry, outer.SrcU32()) {
			return i
		}
		a.Port = to.port
		m.Cut(start, a.Outer.End)
	}
	return len(pkts)
}

// receiver is a VM and how packets for it look.
type receiver struct {
	gre  uint64 // header as the machine reads it, one byte to the left: without the FlowID
	mac  uint64 // DstWord
	ca   uint32 // in host order
	pa   uint16
	port uint16
	size int // of frames that it takes, in bytes
	vsid uint32
	rd   uint32
}

// find is the receiver of packets that look like that at their front, if there is one here
// that they may go to straight (W23-W26, L21).
func (r *receiver) find(f *fib.FIB, front *[mbuf.FrontLen]byte, pa uint16) bool {
	inner := (*packet.Plain4)(front[start:])
	if binary.BigEndian.Uint32(front[gre:]) != keyed || inner.EtherType() != packet.EtherTypeIPv4 {
		return false
	}
	r.gre, r.mac, r.ca, r.pa = binary.LittleEndian.Uint64(front[gre:])<<8, inner.DstWord(), inner.DstU32(), pa
	if vsid := binary.BigEndian.Uint32(front[gre+4:]) >> 8; vsid != r.vsid {
		r.vsid, r.rd = vsid, f.Domain(vsid)
	}
	dst := f.Lookup4(r.rd, r.ca)
	if dst == nil || dst.Flags != fib.LocalVM || dst.VSID != r.vsid || dst.Mode != fib.NVGRE || !inner.To(&dst.MAC) {
		return false
	}
	local := f.Locals[dst.Dest]
	if local.PA != pa || local.Port == fib.None {
		return false
	}
	r.port, r.size = local.Port, packet.EthernetLen+int(f.Ports[local.Port].MTU)
	return true
}

func ingress(f *fib.FIB, m *mbuf.Mbuf, a *fib.Arrival) count.Reason {
	frame := m.Data()
	outer := &a.Outer
	outerIP := frame[outer.L3:]
	v4 := outer.EtherType == packet.EtherTypeIPv4

	if v4 && !a.Verified && !packet.VerifyIPv4(outerIP) {
		return count.OuterChecksum // W21
	}
	if outer.Flags&packet.IsFragment != 0 {
		return count.OuterFragment // W22
	}

	gre := packet.NVGRE(frame[outer.L4:outer.End])
	if flags := gre.Flags(); flags&greChecked != packet.GREKey || gre.Protocol() != packet.EtherTypeTEB {
		return greFault(gre)
	}
	if len(gre) < packet.NVGRELen {
		return count.Runt
	}

	vsid := gre.VSID()
	if vsid < 4096 || vsid == 0xffffff {
		return count.VSIDReserved // W26
	}

	inner := gre[packet.NVGRELen:]
	if len(inner) < packet.EthernetLen {
		return count.InnerRunt // W28
	}
	var l packet.Layout
	if fault := packet.Parse(inner, &l); fault != packet.OK || l.Tags != 0 {
		if l.Tags != 0 || fault == packet.VLANTags {
			return count.InnerTagged // W28
		}
		return count.InnerMalformed
	}

	rd := f.Domain(vsid)
	if rd == 0 {
		return count.VSIDUnknown
	}
	var src, dst *fib.Entry
	switch l.EtherType {
	case packet.EtherTypeIPv4:
		ip := packet.IPv4(inner[packet.EthernetLen:])
		src, dst = f.Lookup4(rd, ip.SrcU32()), f.Lookup4(rd, ip.DstU32())
	case packet.EtherTypeIPv6:
		ip := inner[packet.EthernetLen:]
		src, dst = f.Lookup6(rd, (*[16]byte)(ip[8:])), f.Lookup6(rd, (*[16]byte)(ip[24:]))
	case packet.EtherTypeARP:
		arp := packet.ARP(inner[packet.EthernetLen:])
		if !arp.IsEthernetIPv4() {
			return count.InnerMalformed
		}
		s, d := arp.SenderIP(), arp.TargetIP()
		src, dst = f.Lookup4(rd, binary.BigEndian.Uint32(s[:])), f.Lookup4(rd, binary.BigEndian.Uint32(d[:]))
	default:
		return count.InnerNotIP // W29
	}
	if inner[0]&1 != 0 {
		if reason := group(f, vsid, a, src, outerIP, v4); reason != count.Kept {
			return reason
		}
	} else {
		if dst == nil {
			// Whose CA no record tells: a VM before it has one (L10), a gateway
			// for addresses outside (G4).
			dst = f.ByMAC(vsid, packet.Ethernet(inner).Dst(), l.EtherType == packet.EtherTypeIPv6)
		}
		if dst != nil && dst.Flags&(fib.L2Only|fib.Learned) != 0 && packet.DHCPServer(inner, &l) {
			a.Kind = fib.ToNewVM // perhaps a lease, or a longer one (A16)
		}
		if reason := deliver(f, vsid, a, dst, inner); reason != count.Kept {
			if (reason == count.InnerUnknown || reason == count.InnerMAC) && packet.IsNVE(inner, &l) {
				a.Kind = fib.ToControl
				return count.Kept
			}
			return reason
		}
		if l.EtherType == packet.EtherTypeARP && src != nil && src.VSID != vsid {
			return count.InnerSpoofed // A6
		}
		if (src == nil || !cameFrom(f, src, outerIP, v4)) && !routedFrom(f, rd, src, inner, &l, outerIP, v4) {
			return count.InnerSpoofed // L22
		}
	}

	if !congestion(outerIP, v4, inner, &l) {
		return count.OuterECN // W16
	}
	m.Trim(len(frame) - int(outer.End))
	m.Adj(int(outer.L4) + packet.NVGRELen)
	return count.Kept
}

// deliver says whether a packet for one VM has one here (L21), and by which port.
func deliver(f *fib.FIB, vsid uint32, a *fib.Arrival, dst *fib.Entry, inner []byte) count.Reason {
	if dst == nil || dst.Flags&fib.LocalVM == 0 || dst.VSID != vsid {
		return count.InnerUnknown
	}
	local := f.Locals[dst.Dest]
	if local.PA != a.PA {
		return count.InnerUnknown
	}
	if packet.Ethernet(inner).Dst() != dst.MAC {
		return count.InnerMAC
	}
	if dst.Mode != fib.NVGRE {
		return count.ModeMissing // R4
	}
	if local.Port == fib.None {
		return count.NoLocalPort
	}
	if len(inner)-packet.EthernetLen > int(f.Ports[local.Port].MTU) {
		return count.MTUExceeded
	}
	a.Port = local.Port
	return count.Kept
}

// group says whether a packet to several receivers has any here, and comes from
// where a VM of its virtual subnet lives (L22, L25).
func group(f *fib.FIB, vsid uint32, a *fib.Arrival, src *fib.Entry, outerIP []byte, v4 bool) count.Reason {
	s := f.Subnet(vsid)
	if s == nil || len(s.Ports) == 0 || s.Mode != fib.NVGRE {
		return count.InnerBroadcast
	}
	if src != nil {
		if src.VSID != vsid || !cameFrom(f, src, outerIP, v4) {
			return count.InnerSpoofed
		}
	} else if pa, v6 := outerSource(outerIP, v4); !f.Behind(s, &pa, v6) {
		return count.InnerSpoofed
	}
	a.Kind, a.VSID = fib.ToGroup, vsid
	return count.Kept
}

// routedFrom says whether what has the source CA of no VM behind the outer source,
// or of none at all, comes from a gateway that lives there: one with a wildcard
// record, or the one that customer routes to the source lead to (L22).
func routedFrom(f *fib.FIB, rd uint32, src *fib.Entry, inner []byte, l *packet.Layout, outerIP []byte, v4 bool) bool {
	if src != nil && !f.ExternalRouter {
		return false
	}
	pa, v6 := outerSource(outerIP, v4)
	if f.Gateway(rd, &pa, v6) {
		return true
	}
	var g *fib.Entry
	switch l.EtherType {
	case packet.EtherTypeIPv4:
		g = f.Route(rd, packet.IPv4(inner[l.L3:]).Src())
	case packet.EtherTypeIPv6:
		g = f.Route(rd, packet.IPv6(inner[l.L3:]).SrcAddr())
	}
	return g != nil && f.BehindPA(g, &pa, v6)
}

// outerSource is the outer source PA, v4 in the first four bytes.
func outerSource(outerIP []byte, v4 bool) (pa [16]byte, v6 bool) {
	if !v4 {
		return packet.IPv6(outerIP).Src(), true
	}
	b := packet.IPv4(outerIP).Src4()
	copy(pa[:], b[:])
	return pa, false
}

// greFault says what is wrong with a GRE header that is not NVGRE's.
func greFault(gre packet.NVGRE) count.Reason {
	flags := gre.Flags()
	switch {
	case flags&packet.GREVersion != 0:
		return count.GREVersion // W23
	case flags&packet.GREReserved != 0:
		return count.GREReserved // W23
	case gre.Protocol() != packet.EtherTypeTEB || flags&packet.GREKey == 0:
		return count.GREOther // W24
	}
	return count.GREOptions // W25
}

// cameFrom says whether the outer source is the PA that src lives behind.
func cameFrom(f *fib.FIB, src *fib.Entry, outerIP []byte, v4 bool) bool {
	if v4 {
		return f.BehindPA4(src, packet.IPv4(outerIP).SrcU32())
	}
	pa := packet.IPv6(outerIP).Src()
	return f.BehindPA(src, &pa, true)
}

// Values of the ECN field (RFC 3168).
const (
	notECT = 0
	ect1   = 1
	ect0   = 2
	ce     = 3
)

// congestion carries a mark that the fabric set on the outer header over to the
// inner one, as RFC 6040 4.2 says (W16). It reports false for a packet that must
// be dropped: congestion was met, and the inner transport cannot be told.
func congestion(outerIP []byte, v4 bool, inner []byte, l *packet.Layout) bool {
	mark := outerIP[1] & 3
	if !v4 {
		mark = outerIP[1] >> 4 & 3
	}
	if mark == notECT || mark == ect0 {
		return true // neither changes anything
	}
	switch l.EtherType {
	case packet.EtherTypeIPv4:
		ip := packet.IPv4(inner[l.L3:])
		old := ip.TOS()
		ecn, ok := decap(old&3, mark)
		tos := old&^3 | ecn
		ip.SetChecksum(packet.ChecksumUpdate16(ip.Checksum(), uint16(old), uint16(tos)))
		ip.SetTOS(tos)
		return ok
	case packet.EtherTypeIPv6:
		ip := packet.IPv6(inner[l.L3:])
		class := ip.TrafficClass()
		ecn, ok := decap(class&3, mark)
		ip.SetTrafficClass(class&^3 | ecn)
		return ok
	}
	return true // ARP has no such field
}

// decap is the table of RFC 6040 figure 4 for an outer mark of ect1 or ce.
func decap(inner, mark uint8) (ecn uint8, ok bool) {
	switch {
	case mark == ce && inner == notECT:
		return inner, false
	case mark == ce:
		return ce, true
	case inner == ect0:
		return ect1, true
	}
	return inner, true
}
