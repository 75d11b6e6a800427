package daemon

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"paca/ctrl/server"
	"paca/dataplane/fib"
	"paca/dataplane/fib/fibtest"
	"paca/dataplane/neigh"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
	"paca/dataplane/worker"
)

var (
	here2PA    = netip.MustParseAddr("192.168.1.11")
	here6PA    = netip.MustParseAddr("2001:db8::10")
	there6PA   = netip.MustParseAddr("2001:db8::20")
	else6PA    = netip.MustParseAddr("2001:db8::30")
	movedMAC   = packet.MAC{2, 0, 0, 0, 0x33, 1} // of a VM that lives behind elsePA
	strangerPA = netip.MustParseAddr("192.168.9.90")
)

// neighbors is a host with a VM in VSID 6001, VMs behind therePA in 6001 and 6002 of
// the same routing domain, and some that moved.
func neighbors() *policy.Set {
	a, p := netip.MustParseAddr, netip.MustParsePrefix
	rec := func(vsid policy.VSID, ca string, mac packet.MAC, pa netip.Addr, typ policy.RecordType) policy.LookupRecord {
		return policy.LookupRecord{VSID: vsid, CA: a(ca), MAC: mac, PA: pa, Type: typ}
	}
	return &policy.Set{
		VirtualSubnets: []policy.VirtualSubnet{
			{VSID: 6001, RDID: policy.RDID{1}, Prefixes: []netip.Prefix{p("10.1.1.0/24"), p("fd00:1::/64")}, DHCP: true},
			{VSID: 6002, RDID: policy.RDID{1}, Prefixes: []netip.Prefix{p("10.1.2.0/24")}},
			{VSID: 7001, RDID: policy.RDID{2}, Prefixes: []netip.Prefix{p("10.1.1.0/24")}},
		},
		LookupRecords: []policy.LookupRecord{
			rec(6001, "10.1.1.11", hereMAC, herePA, policy.Static),
			rec(6001, "10.1.1.12", thereMAC, therePA, policy.Static),
			rec(6001, "10.1.1.13", movedMAC, elsePA, policy.Static),
			rec(6001, "10.1.1.14", movedMAC, elsePA, policy.Dynamic),
			rec(6001, "fd00:1::13", movedMAC, elsePA, policy.Static),
			rec(6001, "0.0.0.0", movedMAC, elsePA, policy.L2Only),
			rec(6001, "10.1.1.15", packet.MAC{2, 0, 0, 0, 0x33, 5}, herePA, policy.Static), // without a port
			rec(6001, "10.1.1.16", packet.MAC{2, 0, 0, 0, 0x33, 6}, else6PA, policy.Static),
			rec(6001, "10.1.1.17", packet.MAC{2, 0, 0, 0, 0x33, 7}, there6PA, policy.Static),
			rec(6001, "10.1.1.18", hereMAC, here2PA, policy.Static),
			rec(6001, "10.1.1.19", packet.MAC{2, 0, 0, 0, 0x33, 9}, here2PA, policy.Static), // without a port
			rec(6002, "10.1.2.12", thereMAC, netip.MustParseAddr("192.168.2.21"), policy.Static),
			rec(7001, "10.1.1.12", thereMAC, strangerPA, policy.Static),
		},
		ProviderAddresses: []policy.ProviderAddress{
			{Prefix: netip.PrefixFrom(herePA, 24), Port: "uplink", VLAN: 7},
			{Prefix: netip.PrefixFrom(here6PA, 64), Port: "uplink"},
			{Prefix: netip.PrefixFrom(here2PA, 24), Port: "uplink", VLAN: 7},
		},
		ProviderRoutes: []policy.ProviderRoute{{Port: "uplink", Prefix: p("0.0.0.0/0"), NextHop: router}},
		Ports: []policy.Port{
			{Name: "uplink", Role: policy.Uplink, MAC: uplinkMAC, MTU: 1500},
			{Name: "vm", Role: policy.VM, VSID: 6001, MAC: hereMAC, MTU: 1500},
		},
	}
}

// exchange is the control plane of a host whose next hops are known, with a worker
// that sends nothing: what it should send is in its ring.
type exchange struct {
	*control
	t       *testing.T
	fib     atomic.Pointer[fib.FIB]
	now     time.Time
	notices []server.Notice
	log     bytes.Buffer
}

func newExchange(t *testing.T, set *policy.Set) *exchange {
	t.Helper()
	x := &exchange{t: t, now: time.Unix(1000, 0)}
	log := slog.New(slog.NewTextHandler(&x.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	x.control = newControl(&x.fib, log, neigh.Config{}, func() {}, nil)
	x.control.notify = func(all ...server.Notice) { x.notices = append(x.notices, all...) }
	x.workers = []*worker.Worker{worker.New(worker.Config{FIB: &x.fib, MaxPorts: 2, Wake: func() {}})}
	x.fib.Store(fibtest.Compile(t, set, func(uint16, uint16, netip.Addr) (packet.MAC, fib.AdjState) { return routerMAC, fib.AdjReady }))
	x.guests.read(fibtest.Book(t, set))
	return x
}

// hand gives the control plane a frame as a worker does, and returns what is sent
// for it.
func (x *exchange) hand(port uint16, kind worker.Kind, frame []byte) (sent [][]byte) {
	x.t.Helper()
	ring := &x.workers[0].Punt
	if !ring.Push(port, kind, frame) {
		x.t.Fatal("the ring is full")
	}
	x.mu.Lock()
	x.take(x.now, ring.Peek())
	x.mu.Unlock()
	ring.Pop()
	for p := x.workers[0].Inject.Peek(); p != nil; p = x.workers[0].Inject.Peek() {
		sent = append(sent, bytes.Clone(p.Bytes()))
		x.workers[0].Inject.Pop()
	}
	return sent
}

// words is the notices since the last time.
func (x *exchange) words() (all []string) {
	for _, n := range x.notices {
		if !n.Time.Equal(x.now) {
			x.t.Errorf("notice of %v", n.Time)
		}
		all = append(all, fmt.Sprintf("%d %d %v %v %v %v%s", n.Kind, n.VSID, n.CA, n.PA, n.NewPA, n.MAC, n.Reason))
	}
	x.notices = nil
	return all
}

// tenant is an inner frame of IPv4 or IPv6.
func tenant(dstMAC packet.MAC, src, dst string, payload int) []byte {
	s, d := netip.MustParseAddr(src), netip.MustParseAddr(dst)
	f := make([]byte, packet.EthernetLen)
	packet.Ethernet(f).Encode(packet.EthernetFields{Dst: dstMAC, Src: packet.MAC{2, 7}, EtherType: packet.EtherTypeIPv4})
	if s.Is4() {
		f = append(f, make([]byte, packet.IPv4Len+payload)...)
		packet.IPv4(f[14:]).Encode(packet.IPv4Fields{TotalLen: uint16(packet.IPv4Len + payload), TTL: 64, Protocol: 253, Src: s.As4(), Dst: d.As4()})
		return f
	}
	packet.Ethernet(f).SetEtherType(packet.EtherTypeIPv6)
	f = append(f, make([]byte, packet.IPv6Len+payload)...)
	packet.IPv6(f[14:]).Encode(packet.IPv6Fields{PayloadLen: uint16(payload), NextHeader: 59, HopLimit: 64, Src: s.As16(), Dst: d.As16()})
	return f
}

// tunneled is a tenant's frame behind an outer header, as the host at src puts it there. It
// is gopacket's.
func tunneled(t *testing.T, src, dst netip.Addr, vsid uint32, inner []byte) []byte {
	t.Helper()
	eth := &layers.Ethernet{SrcMAC: routerMAC[:], DstMAC: uplinkMAC[:], EthernetType: layers.EthernetTypeIPv4}
	gre := &layers.GRE{KeyPresent: true, Protocol: 0x6558, Key: vsid<<8 | 0x5a}
	all := []gopacket.SerializableLayer{eth}
	if src.Is4() {
		all = append(all, &layers.IPv4{Version: 4, IHL: 5, TTL: 128, Protocol: 47, Flags: layers.IPv4DontFragment, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()})
	} else {
		eth.EthernetType = layers.EthernetTypeIPv6
		all = append(all, &layers.IPv6{Version: 6, HopLimit: 128, NextHeader: 47, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()})
	}
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, append(all, gre, gopacket.Payload(inner))...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// read lets gopacket read an NVE message that was sent, and says it in words.
func read(t *testing.T, frame, trigger []byte) string {
	t.Helper()
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
	var outer, inner []gopacket.Layer
	var gre *layers.GRE
	for _, l := range p.Layers() {
		if g, ok := l.(*layers.GRE); ok && gre == nil {
			gre = g
		} else if gre == nil {
			outer = append(outer, l)
		} else {
			inner = append(inner, l)
		}
	}
	if gre == nil || !gre.KeyPresent || gre.ChecksumPresent || gre.SeqPresent || gre.Protocol != 0x6558 || gre.Key&0xff != 0 {
		t.Fatalf("GRE %+v in %x", gre, frame)
	}
	var s strings.Builder
	for _, l := range outer {
		if tag, ok := l.(*layers.Dot1Q); ok {
			fmt.Fprintf(&s, "vlan %d ", tag.VLANIdentifier)
		}
	}
	ip := func(all []gopacket.Layer) {
		for _, l := range all {
			switch l := l.(type) {
			case *layers.IPv4:
				fmt.Fprintf(&s, "%v>%v ttl %d ", l.SrcIP, l.DstIP, l.TTL)
			case *layers.IPv6:
				fmt.Fprintf(&s, "%v>%v ttl %d ", l.SrcIP, l.DstIP, l.HopLimit)
			}
		}
	}
	ip(outer)
	fmt.Fprintf(&s, "vsid %d ", gre.Key>>8)
	eth := inner[0].(*layers.Ethernet)
	if !bytes.Equal(eth.SrcMAC, uplinkMAC[:]) || !bytes.Equal(eth.DstMAC, routerMAC[:]) { // N5
		t.Errorf("inner Ethernet %v to %v", eth.SrcMAC, eth.DstMAC)
	}
	ip(inner[:2])
	var message []byte
	switch l := inner[2].(type) {
	case *layers.ICMPv4:
		fmt.Fprintf(&s, "icmp %d/%d", l.TypeCode.Type(), l.TypeCode.Code())
		message = append(bytes.Clone(l.Contents), l.Payload...)
		if packet.Checksum(message, 0) != 0 {
			t.Errorf("checksum of %x", message)
		}
	case *layers.ICMPv6:
		fmt.Fprintf(&s, "icmp6 %d/%d", l.TypeCode.Type(), l.TypeCode.Code())
		message = append(bytes.Clone(l.Contents), l.Payload...)
	default:
		t.Fatalf("inner %v", inner)
	}
	quote := message[8:]
	at := bytes.Index(trigger, []byte{0x20, 0x00, 0x65, 0x58}) // N6
	if len(quote) < packet.NVGRELen+packet.EthernetLen+packet.IPv4Len || !bytes.HasPrefix(trigger[at:], quote) {
		t.Errorf("quotes %x\nof %x", quote, trigger[at:])
	}
	return s.String()
}

// What a sender is told for a packet that is not for a VM of this host: outer and
// inner header, VSID of the packet that caused it, the new PA or the sender's own.
func TestN1_N2_N3_N4_N5_N6_N7_N8_N9_L24Sent(t *testing.T) {
	other := packet.MAC{2, 0, 0, 0, 0x33, 6}
	const back = "vlan 7 192.168.1.10>192.168.2.20 ttl 128 vsid 6001 192.168.1.10>"
	const unreachable = back + "192.168.2.20 ttl 128 icmp 3/10"
	for _, c := range []struct {
		name  string
		frame []byte
		want  string
	}{
		{"moved", tunneled(t, therePA, herePA, 6001, tenant(movedMAC, "10.1.1.12", "10.1.1.13", 100)), back + "192.168.3.30 ttl 128 icmp 5/10"},
		{"moved, nothing behind IP", tunneled(t, therePA, herePA, 6001, tenant(movedMAC, "10.1.1.12", "10.1.1.13", 0)), back + "192.168.3.30 ttl 128 icmp 5/10"},
		{"moved, a large packet", tunneled(t, therePA, herePA, 6001, tenant(movedMAC, "10.1.1.12", "10.1.1.13", 1400)), back + "192.168.3.30 ttl 128 icmp 5/10"},
		{"moved, IPv6", tunneled(t, therePA, herePA, 6001, tenant(movedMAC, "fd00:1::12", "fd00:1::13", 100)), back + "192.168.3.30 ttl 128 icmp 5/10"},
		{"moved, told by its MAC alone (L10)", tunneled(t, therePA, herePA, 6001, tenant(movedMAC, "10.1.1.12", "10.1.1.99", 100)), back + "192.168.3.30 ttl 128 icmp 5/10"},
		{"moved, from another VSID of the routing domain", tunneled(t, netip.MustParseAddr("192.168.2.21"), herePA, 6001, tenant(movedMAC, "10.1.2.12", "10.1.1.13", 9)),
			"vlan 7 192.168.1.10>192.168.2.21 ttl 128 vsid 6001 192.168.1.10>192.168.3.30 ttl 128 icmp 5/10"},
		{"moved, IPv6 PAs", tunneled(t, there6PA, here6PA, 6001, tenant(other, "10.1.1.17", "10.1.1.16", 100)),
			"2001:db8::10>2001:db8::20 ttl 128 vsid 6001 2001:db8::10>2001:db8::30 ttl 128 icmp6 137/1"},
		{"moved to a PA that the message cannot name", tunneled(t, therePA, herePA, 6001, tenant(other, "10.1.1.12", "10.1.1.16", 100)), unreachable},
		{"moved to the sender itself", tunneled(t, therePA, herePA, 6001, tenant(thereMAC, "10.1.1.12", "10.1.1.12", 9)), unreachable},
		{"with another MAC", tunneled(t, therePA, herePA, 6001, tenant(hereMAC, "10.1.1.12", "10.1.1.13", 9)), unreachable},
		{"without a port yet", tunneled(t, therePA, herePA, 6001, tenant(packet.MAC{2, 0, 0, 0, 0x33, 5}, "10.1.1.12", "10.1.1.15", 9)), unreachable},
		{"without a port, behind another PA of ours", tunneled(t, therePA, herePA, 6001, tenant(packet.MAC{2, 0, 0, 0, 0x33, 9}, "10.1.1.12", "10.1.1.19", 9)), unreachable},
		{"here, behind another PA of ours", tunneled(t, therePA, herePA, 6001, tenant(hereMAC, "10.1.1.12", "10.1.1.18", 9)), back + "192.168.1.11 ttl 128 icmp 5/10"},
		{"here, behind the PA of the other family", tunneled(t, there6PA, here6PA, 6001, tenant(hereMAC, "10.1.1.17", "10.1.1.11", 9)),
			"2001:db8::10>2001:db8::20 ttl 128 vsid 6001 2001:db8::10>2001:db8::20 ttl 128 icmp6 1/1"},
		{"nobody", tunneled(t, therePA, herePA, 6001, tenant(packet.MAC{2, 8}, "10.1.1.12", "10.1.1.77", 9)), unreachable},
		{"nobody, IPv6 PAs", tunneled(t, there6PA, here6PA, 6001, tenant(packet.MAC{2, 8}, "10.1.1.17", "10.1.1.77", 9)),
			"2001:db8::10>2001:db8::20 ttl 128 vsid 6001 2001:db8::10>2001:db8::20 ttl 128 icmp6 1/1"},
		{"its own VM moved away from what it thinks", tunneled(t, therePA, herePA, 6001, tenant(packet.MAC{2, 8}, "10.1.1.13", "10.1.1.77", 9)), unreachable},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := newExchange(t, neighbors())
			sent := x.hand(0, worker.Stray, c.frame)
			if len(sent) != 1 {
				t.Fatalf("%d messages", len(sent))
			}
			if len(sent[0]) > maxMessage {
				t.Errorf("a message of %d bytes", len(sent[0]))
			}
			if got := read(t, sent[0], c.frame); got != c.want {
				t.Errorf("%s\nwant %s", got, c.want)
			}
			redirects := uint64(strings.Count(c.want, "5/10") + strings.Count(c.want, "137/1"))
			if n := x.messages(); n.RedirectsSent != redirects || n.UnreachablesSent != 1-redirects { // E9
				t.Errorf("counts %+v", n)
			}
			// What we say is read by the other side's code as it was meant.
			var far tunnel
			if !far.open(sent[0]) {
				t.Fatal("the message is no tunnel packet")
			}
			l, _ := far.layout()
			m, ok := packet.ParseNVE(far.inner, &l)
			var near tunnel
			near.open(c.frame)
			if !ok || m.CA != near.to || m.MAC != near.dstMAC || m.VSID != near.vsid || m.Src != far.src {
				t.Errorf("%+v, %v", m, ok)
			}
		})
	}
}

// Nobody is told who policy does not know there, and messages make no messages.
func TestL24_N10NotReflected(t *testing.T) {
	moved := tenant(movedMAC, "10.1.1.12", "10.1.1.13", 9)
	tagged := append(bytes.Clone(moved[:12]), append([]byte{0x81, 0, 0, 5}, moved[12:]...)...)
	message := func(kind packet.NVEKind, src, dst netip.Addr) []byte {
		return packet.AppendNVE(nil, &packet.NVEFields{Kind: kind, DstMAC: movedMAC, SrcMAC: routerMAC, Src: src, Dst: dst,
			Quote: append([]byte{0x20, 0, 0x65, 0x58, 0, 0x17, 0x71, 0}, moved...)}, 600)
	}
	for name, frame := range map[string][]byte{
		"from a stranger":              tunneled(t, strangerPA, herePA, 6001, moved),
		"from ourselves":               tunneled(t, herePA, herePA, 6001, moved),
		"for a VSID without policy":    tunneled(t, therePA, herePA, 6999, moved),
		"from another routing domain":  tunneled(t, therePA, herePA, 7001, moved),
		"for a PA that is not ours":    tunneled(t, therePA, elsePA, 6001, moved),
		"broadcast":                    tunneled(t, therePA, herePA, 6001, tenant(packet.Broadcast, "10.1.1.12", "10.1.1.255", 9)),
		"a REDIRECT":                   tunneled(t, therePA, herePA, 6001, message(packet.NVERedirect, therePA, elsePA)),
		"an UNREACHABLE":               tunneled(t, therePA, herePA, 6001, message(packet.NVEUnreachable, therePA, herePA)),
		"a REDIRECT of IPv6":           tunneled(t, therePA, herePA, 6001, message(packet.NVERedirect, there6PA, else6PA)),
		"tagged":                       tunneled(t, therePA, herePA, 6001, tagged),
		"less than Ethernet":           tunneled(t, therePA, herePA, 6001, moved[:13]),
		"less than IP":                 tunneled(t, therePA, herePA, 6001, moved[:20]),
		"no tunnel packet":             tenant(uplinkMAC, "192.168.2.20", "192.168.1.10", 40),
		"an outer header and no more":  tunneled(t, therePA, herePA, 6001, nil)[:34],
		"an outer header of IPv6 only": tunneled(t, there6PA, here6PA, 6001, nil)[:54],
	} {
		x := newExchange(t, neighbors())
		if sent := x.hand(0, worker.Stray, frame); len(sent) > 0 {
			t.Errorf("%s: sent %x", name, sent)
		}
	}
	// A next hop that is not known: nothing is held for it.
	x := newExchange(t, neighbors())
	x.fib.Store(fibtest.Compile(t, neighbors(), func(uint16, uint16, netip.Addr) (m packet.MAC, s fib.AdjState) { return m, fib.AdjUnresolved }))
	if sent := x.hand(0, worker.Stray, tunneled(t, therePA, herePA, 6001, moved)); len(sent) > 0 {
		t.Errorf("unresolved: sent %x", sent)
	}
}

// A flood is answered at the rate that is meant, and one sender's does not use up
// another's.
func TestN7RateLimits(t *testing.T) {
	set := neighbors()
	for i := range 40 {
		set.LookupRecords = append(set.LookupRecords, policy.LookupRecord{VSID: 6001, CA: netip.AddrFrom4([4]byte{10, 1, 1, byte(100 + i)}),
			MAC: packet.MAC{2, 1, 1, 1, 1, byte(i)}, PA: netip.AddrFrom4([4]byte{192, 168, 7, byte(i)})})
	}
	x := newExchange(t, set)
	flood := func(pa netip.Addr, n int) (sent int) {
		f := tunneled(t, pa, herePA, 6001, tenant(movedMAC, "10.1.1.12", "10.1.1.13", 9))
		for range n {
			sent += len(x.hand(0, worker.Stray, f))
		}
		return sent
	}
	if n := flood(therePA, 1000); n != 10 {
		t.Errorf("%d of 1,000 at once", n)
	}
	x.now = x.now.Add(500 * time.Millisecond)
	if n := flood(therePA, 1000); n != 5 {
		t.Errorf("%d after half a second", n)
	}
	x.now = x.now.Add(time.Hour)
	all := 0
	for i := range 40 {
		all += flood(netip.AddrFrom4([4]byte{192, 168, 7, byte(i)}), 20)
	}
	if all != 100 {
		t.Errorf("%d to 40 senders at once", all)
	}
}

// said is a message that comes from a host.
func said(t *testing.T, from netip.Addr, vsid uint32, m packet.NVEFields, about []byte, quoted uint32) []byte {
	t.Helper()
	m.DstMAC, m.SrcMAC = uplinkMAC, routerMAC
	m.Quote = append([]byte{0x20, 0, 0x65, 0x58, byte(quoted >> 16), byte(quoted >> 8), byte(quoted), 0}, about...)
	own := herePA
	if from.Is6() {
		own = here6PA
	}
	return tunneled(t, from, own, vsid, packet.AppendNVE(nil, &m, 1458+packet.EthernetLen))
}

// Who is believed, and what is told then. With act, policy follows a REDIRECT, in
// no other case.
func TestN10_N11_N12_E11Heard(t *testing.T) {
	redirect := func(src, dst netip.Addr) packet.NVEFields {
		return packet.NVEFields{Kind: packet.NVERedirect, Src: src, Dst: dst}
	}
	unreachable := packet.NVEFields{Kind: packet.NVEUnreachable, Src: elsePA, Dst: herePA}
	about := tenant(movedMAC, "10.1.1.11", "10.1.1.13", 9)
	newPA := netip.MustParseAddr("192.168.4.40")
	good := said(t, elsePA, 6001, redirect(elsePA, newPA), about, 6001)
	told := func(k server.NoticeKind, ca string, pa, newPA netip.Addr, mac packet.MAC) string {
		return fmt.Sprintf("%d 6001 %s %v %v %v", k, ca, pa, newPA, mac)
	}
	for _, c := range []struct {
		name  string
		frame []byte
		told  string // empty: not believed
		acts  bool
	}{
		{"REDIRECT", good, told(server.Redirect, "10.1.1.13", elsePA, newPA, movedMAC), true},
		{"UNREACHABLE", said(t, elsePA, 6001, unreachable, about, 6001), told(server.Unreachable, "10.1.1.13", elsePA, netip.Addr{}, movedMAC), false},
		{"REDIRECT that quotes what fits", said(t, elsePA, 6001, redirect(elsePA, newPA), tenant(movedMAC, "10.1.1.11", "10.1.1.13", 1438), 6001),
			told(server.Redirect, "10.1.1.13", elsePA, newPA, movedMAC), true},
		{"REDIRECT, IPv6 CA", said(t, elsePA, 6001, redirect(elsePA, newPA), tenant(movedMAC, "fd00:1::11", "fd00:1::13", 9), 6001),
			told(server.Redirect, "fd00:1::13", elsePA, newPA, movedMAC), true},
		{"REDIRECT, IPv6 PAs", said(t, else6PA, 6001, redirect(else6PA, there6PA), tenant(packet.MAC{2, 0, 0, 0, 0x33, 6}, "10.1.1.11", "10.1.1.16", 9), 6001),
			told(server.Redirect, "10.1.1.16", else6PA, there6PA, packet.MAC{2, 0, 0, 0, 0x33, 6}), true},
		{"REDIRECT of a VM without a CA", said(t, elsePA, 6001, redirect(elsePA, newPA), tenant(movedMAC, "10.1.1.11", "10.1.1.99", 9), 6001),
			told(server.Redirect, "10.1.1.99", elsePA, newPA, movedMAC), true},
		{"inner source is another", said(t, elsePA, 6001, redirect(therePA, newPA), about, 6001), "", false},
		{"not the PA of the VM", said(t, therePA, 6001, redirect(therePA, newPA), about, 6001), "", false},
		{"UNREACHABLE not from the PA of the VM", said(t, therePA, 6001, packet.NVEFields{Kind: packet.NVEUnreachable, Src: therePA, Dst: herePA}, about, 6001), "", false},
		{"a stranger's", said(t, strangerPA, 6001, redirect(strangerPA, newPA), about, 6001), "", false},
		{"in another VSID", said(t, elsePA, 6002, redirect(elsePA, newPA), about, 6001), "", false},
		{"of another VSID", said(t, elsePA, 6002, redirect(elsePA, newPA), about, 6002), "", false},
		{"of no VSID here", said(t, elsePA, 6999, redirect(elsePA, newPA), about, 6999), "", false},
		{"of another MAC", said(t, elsePA, 6001, redirect(elsePA, newPA), tenant(thereMAC, "10.1.1.11", "10.1.1.13", 9), 6001), "", false},
		{"from ourselves, of a VM of ours", said(t, herePA, 6001, redirect(herePA, newPA), tenant(hereMAC, "10.1.1.13", "10.1.1.11", 9), 6001), "", false},
		{"of a VM of ours", said(t, elsePA, 6001, redirect(elsePA, newPA), tenant(hereMAC, "10.1.1.13", "10.1.1.11", 9), 6001), "", false},
		{"of the router", said(t, elsePA, 6001, redirect(elsePA, newPA), tenant(fib.DefaultRouterMAC, "10.1.1.11", "10.1.1.1", 9), 6001), "", false},
		{"of nobody", said(t, elsePA, 6001, redirect(elsePA, newPA), tenant(packet.MAC{2, 8}, "10.1.1.11", "10.1.1.77", 9), 6001), "", false},
		{"to where it is", said(t, elsePA, 6001, redirect(elsePA, elsePA), about, 6001), "", false},
		{"to nowhere", said(t, elsePA, 6001, redirect(elsePA, netip.IPv4Unspecified()), about, 6001), "", false},
		{"to all", said(t, elsePA, 6001, redirect(elsePA, packet.LimitedBroadcast), about, 6001), "", false},
		{"to a group", said(t, elsePA, 6001, redirect(elsePA, netip.MustParseAddr("239.1.1.1")), about, 6001), "", false},
		{"to the sender itself", said(t, elsePA, 6001, redirect(elsePA, netip.MustParseAddr("127.0.0.1")), about, 6001), "", false},
		{"to the router records' PA", said(t, elsePA, 6001, redirect(elsePA, policy.RouterPA), about, 6001), "", false},
		{"to us, where the VM is not", said(t, elsePA, 6001, redirect(elsePA, herePA), about, 6001), "", false},
		{"no message at all", tunneled(t, elsePA, herePA, 6001, about), "", false},
	} {
		for _, act := range []bool{false, true} {
			x := newExchange(t, neighbors())
			x.nve.act = act
			if sent := x.hand(0, worker.NVE, c.frame); len(sent) > 0 {
				t.Errorf("%s: answered by %x", c.name, sent)
			}
			if got := strings.Join(x.words(), "; "); got != c.told {
				t.Errorf("%s: told %q, want %q", c.name, got, c.told)
			}
			if n := len(x.proposals); n > 0 != (act && c.acts) {
				t.Errorf("%s: %d proposals", c.name, n)
			}
			n := x.messages()
			if n.RedirectsBelieved+n.UnreachablesBelieved != uint64(min(1, len(c.told))) || n.RedirectsSent+n.UnreachablesSent != 0 { // E9
				t.Errorf("%s: counts %+v", c.name, n)
			}
		}
	}

	// A VM that comes here is redirected here.
	set := neighbors()
	set.Ports = append(set.Ports, policy.Port{Name: "moved", Role: policy.VM, VSID: 6001, MAC: movedMAC, MTU: 1500})
	x := newExchange(t, set)
	if x.hand(0, worker.NVE, said(t, elsePA, 6001, redirect(elsePA, herePA), about, 6001)); len(x.notices) != 1 {
		t.Error("a VM that is here may not come here")
	}
	// Where no PA is of the family, nothing is sent there.
	set = neighbors()
	set.ProviderAddresses = set.ProviderAddresses[:1]
	x = newExchange(t, set)
	about = tenant(packet.MAC{2, 0, 0, 0, 0x33, 6}, "10.1.1.11", "10.1.1.16", 9)
	if x.hand(0, worker.NVE, said(t, else6PA, 6001, redirect(else6PA, there6PA), about, 6001)); len(x.notices) != 0 {
		t.Error("redirected to a PA of a family that this host does not have")
	}

	// What is repeated is told once a second, and little is logged of the rest.
	x = newExchange(t, neighbors())
	x.nve.act = true
	for range 50 {
		x.hand(0, worker.NVE, good)
		x.hand(0, worker.NVE, said(t, therePA, 6001, redirect(therePA, newPA), about, 6001))
		x.now = x.now.Add(30 * time.Millisecond)
	}
	if len(x.notices) != 2 || len(x.proposals) != 2 {
		t.Errorf("in a second and a half, %d notices and %d proposals", len(x.notices), len(x.proposals))
	}
	if n := strings.Count(x.log.String(), "\n"); n > 25 {
		t.Errorf("%d lines of log", n)
	}

	// One host that speaks of ever other VMs is heard as often as it may.
	x.now, x.notices = x.now.Add(time.Hour), nil
	for i := range 100 {
		x.hand(0, worker.NVE, said(t, elsePA, 6001, redirect(elsePA, newPA), tenant(movedMAC, "10.1.1.11", fmt.Sprintf("10.1.1.%d", 100+i), 9), 6001))
	}
	if n := len(x.notices); n != int(nvePerPA.burst) {
		t.Errorf("%d notices of one host at once", n)
	}
}

// VMs that look for everybody fill no room but their own: a REDIRECT is told and acted
// on all the same, and what is not told is counted.
func TestN12_E10_E11ScanHidesNothing(t *testing.T) {
	x := newExchange(t, neighbors())
	x.nve.act = true
	for i := range maxKeys + 44 {
		x.hand(1, worker.Miss, tenant(packet.MAC{2, 8}, "10.1.1.11", fmt.Sprintf("10.2.%d.%d", i/250, i%250), 9))
	}
	if n := len(x.words()); n != maxKeys || x.unsaid != 44 {
		t.Errorf("told %d, %d are lost", n, x.unsaid)
	}
	for i := range 2 * maxKeys { // nor do messages of hosts that there are not
		pa := netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)})
		m := packet.NVEFields{Kind: packet.NVERedirect, Src: pa, Dst: herePA}
		x.hand(0, worker.NVE, said(t, pa, 6001, m, tenant(movedMAC, "10.1.1.11", "10.1.1.13", 9), 6001))
	}
	h := host{control: x.control}
	if n := (*scrape)(&h).Provider().NoticesLost; n != 44 {
		t.Errorf("%d notices are counted as lost", n)
	}
	m := packet.NVEFields{Kind: packet.NVERedirect, Src: elsePA, Dst: netip.MustParseAddr("192.168.4.40")}
	f := said(t, elsePA, 6001, m, tenant(movedMAC, "10.1.1.11", "10.1.1.13", 9), 6001)
	x.hand(0, worker.NVE, f)
	if told, proposed := len(x.words()), len(x.proposals); told != 1 || proposed != 1 {
		t.Errorf("REDIRECT: %d told, %d acted on", told, proposed)
	}
}

// With act, all records of the VM that lived behind the PA which spoke move, in one
// set, and no others.
func TestN7_N12_L40Acts(t *testing.T) {
	set := neighbors()
	set.LookupRecords = append(set.LookupRecords,
		policy.LookupRecord{VSID: 6002, CA: netip.MustParseAddr("10.1.2.13"), MAC: movedMAC, PA: elsePA},
		policy.LookupRecord{VSID: 6001, CA: netip.MustParseAddr("10.1.1.20"), MAC: movedMAC, PA: therePA},
		policy.LookupRecord{VSID: 6001, CA: netip.MustParseAddr("10.1.1.21"), MAC: packet.MAC{2, 6, 6}, PA: elsePA})
	p := newPaper(t, set)
	p.control.nve.act = true
	newPA := netip.MustParseAddr("192.168.4.40")
	r := redirect{vnic{6001, movedMAC}, netip.MustParseAddr("10.1.1.13"), elsePA, newPA}
	for range 3 {
		p.control.propose(proposal{vnic: r.vnic, decide: r.decide})
	}
	p.see(seen(movedMAC, "10.1.1.200", false)) // behind them
	moved := 0
	for o := range p.book.All(policy.KindLookupRecord) {
		r := o.(policy.LookupRecord)
		if r.PA == newPA {
			moved++
			if r.VSID != 6001 || r.MAC != movedMAC {
				t.Errorf("moved %v", r)
			}
		}
		if r.MAC == movedMAC && r.VSID == 6001 && r.PA == elsePA {
			t.Errorf("did not move: %v", r)
		}
	}
	revision, _, _ := p.Get(policy.Global{}.Key())
	if moved != 4 || revision != 2 {
		t.Errorf("%d records moved in %d sets", moved, revision-1)
	}
}

// A CA without a record is told with the VM's own PA, once a second (E11).
func TestL13_E10_E11Miss(t *testing.T) {
	x := newExchange(t, neighbors())
	f := tenant(packet.MAC{2, 8}, "10.1.1.11", "10.1.1.77", 9)
	for range 100 {
		x.hand(1, worker.Miss, f)
	}
	want := fmt.Sprintf("%d 6001 10.1.1.77 192.168.1.10 invalid IP 00:00:00:00:00:00", server.PolicyMismatch)
	if got := x.words(); len(got) != 1 || got[0] != want {
		t.Errorf("told %q, want %q", got, want)
	}
	x.hand(1, worker.Miss, tenant(packet.MAC{2, 8}, "fd00:1::11", "fd00:1::77", 1400)) // only its beginning is there
	want = fmt.Sprintf("%d 6001 fd00:1::77 invalid IP invalid IP 00:00:00:00:00:00", server.PolicyMismatch)
	if got := x.words(); len(got) != 1 || got[0] != want {
		t.Errorf("told %q, want %q", got, want)
	}
	// A VM that looks for everybody makes as much noise as there is room for.
	for i := range 2000 {
		x.hand(1, worker.Miss, tenant(packet.MAC{2, 8}, "10.1.1.11", fmt.Sprintf("10.2.%d.%d", i/250, i%250), 9))
	}
	if n := len(x.words()); n > maxKeys {
		t.Errorf("told %d at once", n)
	}
	x.now = x.now.Add(time.Hour)
	x.hand(1, worker.Miss, tenant(packet.MAC{2, 8}, "10.1.1.12", "10.1.1.77", 9)) // from what is not its own
	want = fmt.Sprintf("%d 6001 10.1.1.77 invalid IP invalid IP 00:00:00:00:00:00", server.PolicyMismatch)
	if got := x.words(); len(got) != 1 || got[0] != want {
		t.Errorf("told %q, want %q", got, want)
	}
	x.hand(0, worker.Miss, f) // not from a VM
	x.hand(9, worker.Miss, f) // from nowhere
	if n := len(x.words()); n > 0 {
		t.Error("told of frames that no VM sent")
	}
}

// Whatever a worker hands over, nothing breaks, and no stranger hears of it.
func TestHostileFrames(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	x := newExchange(t, neighbors())
	moved := tenant(movedMAC, "10.1.1.12", "10.1.1.13", 64)
	corpus := [][]byte{
		tunneled(t, therePA, herePA, 6001, moved), tunneled(t, there6PA, here6PA, 6001, tenant(movedMAC, "fd00:1::12", "fd00:1::13", 64)),
		said(t, elsePA, 6001, packet.NVEFields{Kind: packet.NVERedirect, Src: elsePA, Dst: therePA}, moved, 6001),
		said(t, else6PA, 6001, packet.NVEFields{Kind: packet.NVEUnreachable, Src: else6PA, Dst: here6PA}, moved, 6001),
		arpFrom(packet.ARPOpRequest, hereMAC, packet.Broadcast, "10.1.1.20", "10.1.1.20"), nsFrom(hereMAC, "fd00:1::20", "fd00:1::1"),
		naFrom(hereMAC, "ff02::1", "fd00:1::20", packet.NDOverride), moved,
		discover(t, hereMAC),
	}
	known := map[netip.Addr]bool{therePA: true, elsePA: true, there6PA: true, else6PA: true, netip.MustParseAddr("192.168.2.21"): true}
	for range 200_000 {
		f := bytes.Clone(corpus[r.IntN(len(corpus))])
		for range r.IntN(4) {
			f[r.IntN(len(f))] = byte(r.Uint32())
		}
		f = f[:r.IntN(len(f)+1)]
		kind := []worker.Kind{worker.Learn, worker.Miss, worker.Stray, worker.NVE, worker.DHCP}[r.IntN(5)]
		x.now = x.now.Add(time.Duration(r.IntN(int(20 * time.Millisecond))))
		for _, s := range x.hand(uint16(r.IntN(3)), kind, f) {
			var out tunnel
			if kind != worker.DHCP && (kind != worker.Stray || !out.open(s) || !known[out.dst]) {
				t.Fatalf("seed %d: for %v %x sent %x", seed, kind, f, s)
			}
		}
		x.notices = x.notices[:0]
		for len(x.proposals) > 0 {
			<-x.proposals
		}
	}
}

// Nothing that comes from a guest or the fabric costs memory that stays.
func TestControlMessagesAllocate(t *testing.T) {
	n := newNVE()
	f := fibtest.Compile(t, neighbors(), func(uint16, uint16, netip.Addr) (packet.MAC, fib.AdjState) { return routerMAC, fib.AdjReady })
	e := f.Lookup(f.Domain(6001), netip.MustParseAddr("10.1.1.12"))
	inner := tenant(thereMAC, "10.1.1.12", "10.1.1.13", 64)
	var first []byte
	for i := range 1000 { // one buffer, used again and again
		got := n.wrap(f, inner, e, f.Adj(e, 0))
		if got == nil {
			t.Fatalf("message %d does not fit", i)
		}
		if first == nil {
			first = bytes.Clone(got)
		} else if len(got) != len(first) {
			t.Fatalf("message %d is %d bytes long, the first %d", i, len(got), len(first))
		}
	}
	if n.wrap(f, make([]byte, worker.MaxControlFrame+1), e, f.Adj(e, 0)) != nil {
		t.Error("too much fits")
	}
}
