package daemon

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"paca/dataplane/fib"
	"paca/dataplane/fib/fibtest"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
	"paca/dataplane/respond/dhcp"
	"paca/dataplane/worker"
)

// What DHCP would tell a VM follows from policy and the ports (A14, M1, M2).
func TestA14_M1_M2Lease(t *testing.T) {
	a, p := netip.MustParseAddr, netip.MustParsePrefix
	dns := []netip.Addr{a("10.1.1.53"), a("192.0.2.53")}
	base := func() *policy.Set {
		return &policy.Set{
			VirtualSubnets: []policy.VirtualSubnet{{VSID: 6001, RDID: policy.RDID{1}, DHCP: true, DNS: dns,
				Prefixes: []netip.Prefix{p("10.1.2.0/25"), p("10.1.1.0/24"), p("10.9.0.0/31"), p("fd00:1::/64")}}},
			LookupRecords: []policy.LookupRecord{
				{VSID: 6001, CA: a("fd00:1::11"), MAC: hereMAC, PA: herePA},
				{VSID: 6001, CA: a("10.1.2.5"), MAC: hereMAC, PA: herePA},
				{VSID: 6001, CA: a("10.1.1.11"), MAC: hereMAC, PA: herePA, Type: policy.Dynamic},
				{VSID: 6001, CA: a("10.1.1.12"), MAC: hereMAC, PA: herePA},
				{VSID: 6001, CA: a("10.1.1.5"), MAC: thereMAC, PA: therePA},
				{VSID: 6001, CA: a("0.0.0.0"), MAC: hereMAC, PA: herePA, Type: policy.L2Only},
				{VSID: 6001, CA: a("10.1.1.1"), MAC: packet.MAC{2, 1}, PA: policy.RouterPA},
			},
			ProviderAddresses: []policy.ProviderAddress{{Prefix: netip.PrefixFrom(herePA, 24), Port: "uplink"}},
			Ports: []policy.Port{
				{Name: "uplink", Role: policy.Uplink, MAC: uplinkMAC, MTU: 1500},
				{Name: "vm", Role: policy.VM, VSID: 6001, MAC: hereMAC, MTU: 1500},
			},
		}
	}
	want := dhcp.Lease{CA: a("10.1.1.12"), Prefix: p("10.1.1.0/24"), Router: a("10.1.1.1"), DNS: dns, MTU: 1458, MAC: packet.MAC{2, 1}}
	mtu := func(n uint16) dhcp.Lease { w := want; w.MTU = n; return w }
	for _, c := range []struct {
		name   string
		change func(*policy.Set)
		want   dhcp.Lease
		why    string
	}{
		{"the lowest CA that is static", func(*policy.Set) {}, want, ""},
		{"the lowest that was learned", func(s *policy.Set) { s.LookupRecords = append(s.LookupRecords[2:3:3], s.LookupRecords[5:]...) }, func() dhcp.Lease {
			w := want
			w.CA = a("10.1.1.11")
			return w
		}(), ""},
		{"M1 an IPv6 PA too", func(s *policy.Set) {
			s.ProviderAddresses = append(s.ProviderAddresses, policy.ProviderAddress{Prefix: netip.PrefixFrom(here6PA, 64), Port: "uplink"})
		}, mtu(1438), ""},
		{"M3 jumbo frames on the uplink", func(s *policy.Set) { s.Ports[0].MTU = 9000 }, mtu(1500), ""},
		{"M1 jumbo frames on both", func(s *policy.Set) { s.Ports[0].MTU, s.Ports[1].MTU = 9000, 9000 }, mtu(8958), ""},
		{"a port of less", func(s *policy.Set) { s.Ports[1].MTU = 1400 }, mtu(1400), ""},
		{"no PA", func(s *policy.Set) { s.ProviderAddresses = nil }, mtu(1500), ""},
		{"A3 no router record", func(s *policy.Set) { s.LookupRecords = s.LookupRecords[:6] }, func() dhcp.Lease {
			w := want
			w.MAC = fib.DefaultRouterMAC
			return w
		}(), ""},
		{"its second prefix", func(s *policy.Set) { s.LookupRecords = s.LookupRecords[:2] },
			dhcp.Lease{CA: a("10.1.2.5"), Prefix: p("10.1.2.0/25"), Router: a("10.1.2.1"), DNS: dns, MTU: 1458, MAC: fib.DefaultRouterMAC}, ""},
		{"P21 the MAC of its router record", func(s *policy.Set) { s.LookupRecords[6].MAC = hereMAC }, func() dhcp.Lease {
			w := want
			w.MAC = hereMAC
			return w
		}(), ""},
		{"no dhcp", func(s *policy.Set) { s.VirtualSubnets[0].DHCP = false }, dhcp.Lease{}, "no dhcp"},
		{"no IPv4 CA", func(s *policy.Set) { s.LookupRecords = s.LookupRecords[:1] }, dhcp.Lease{}, "no IPv4 record"},
		{"only an L2Only record", func(s *policy.Set) { s.LookupRecords = s.LookupRecords[4:6] }, dhcp.Lease{}, "no IPv4 record"},
		{"another virtual subnet's", func(s *policy.Set) {
			s.VirtualSubnets = append(s.VirtualSubnets, policy.VirtualSubnet{VSID: 6002, RDID: policy.RDID{1}, DHCP: true, Prefixes: []netip.Prefix{p("10.3.0.0/24")}})
			s.Ports[1].VSID = 6002
		}, dhcp.Lease{}, "no IPv4 record"},
		{"a prefix without a router", func(s *policy.Set) {
			s.LookupRecords = []policy.LookupRecord{{VSID: 6001, CA: a("10.9.0.1"), MAC: hereMAC, PA: herePA}}
		},
			dhcp.Lease{}, "with a router"},
		{"one of two prefixes without a router", func(s *policy.Set) {
			s.LookupRecords = append(s.LookupRecords, policy.LookupRecord{VSID: 6001, CA: a("10.9.0.1"), MAC: hereMAC, PA: herePA})
		}, want, ""},
	} {
		set := base()
		c.change(set)
		var g guests
		g.read(fibtest.Book(t, set))
		f := fibtest.Compile(t, set, func(uint16, uint16, netip.Addr) (packet.MAC, fib.AdjState) { return routerMAC, fib.AdjReady })
		got, why := g.lease(f, &f.Ports[1], netip.Addr{})
		if !reflect.DeepEqual(got, c.want) || (why == "") != (c.why == "") || !strings.Contains(why, c.why) {
			t.Errorf("%s: %+v, %q\nwant %+v", c.name, got, why, c.want)
		}
	}
}

// dhcpFrame puts a DHCP message into a frame.
func dhcpFrame(t *testing.T, m *dhcpv4.DHCPv4, srcMAC, dstMAC packet.MAC, src, dst string, from, to uint16) []byte {
	t.Helper()
	body := m.ToBytes()
	f := make([]byte, packet.EthernetLen+packet.IPv4Len+packet.UDPLen+len(body))
	packet.Ethernet(f).Encode(packet.EthernetFields{Dst: dstMAC, Src: srcMAC, EtherType: packet.EtherTypeIPv4})
	ip := packet.IPv4(f[packet.EthernetLen:])
	ip.Encode(packet.IPv4Fields{TotalLen: uint16(len(ip)), TTL: 64, Protocol: packet.ProtoUDP, Src: netip.MustParseAddr(src).As4(), Dst: netip.MustParseAddr(dst).As4()})
	packet.UDP(ip[packet.IPv4Len:]).Encode(packet.UDPFields{SrcPort: from, DstPort: to, Length: uint16(packet.UDPLen + len(body))})
	copy(ip[packet.IPv4Len+packet.UDPLen:], body)
	return f
}

func discover(t *testing.T, mac packet.MAC) []byte {
	t.Helper()
	m, err := dhcpv4.NewDiscovery(mac[:])
	if err != nil {
		t.Fatal(err)
	}
	return dhcpFrame(t, m, mac, packet.Broadcast, "0.0.0.0", "255.255.255.255", 68, 67)
}

// A VM that asks is answered on its own port, at the rate that is meant; who has no
// record hears nothing, and nobody fills the log.
func TestA14Answered(t *testing.T) {
	x := newExchange(t, learners())
	offers := 0
	for range 100 {
		for _, f := range x.hand(1, worker.DHCP, discover(t, hereMAC)) {
			offers++
			var l packet.Layout
			if packet.Parse(f, &l) != packet.OK {
				t.Fatalf("answer %x", f)
			}
			m, err := dhcpv4.FromBytes(f[l.L4+packet.UDPLen : l.End])
			if err != nil || m.MessageType() != dhcpv4.MessageTypeOffer || m.YourIPAddr.String() != "10.1.1.51" ||
				len(m.Router()) != 1 || m.Router()[0].String() != "10.1.1.1" {
				t.Errorf("answer %v, %v", m, err)
			}
		}
	}
	if offers != int(dhcpRate.burst) {
		t.Errorf("%d offers to 100 requests at once", offers)
	}
	x.now = x.now.Add(time.Second)
	for range 100 {
		if len(x.hand(2, worker.DHCP, discover(t, alsoMAC)))+len(x.hand(0, worker.DHCP, discover(t, hereMAC)))+len(x.hand(9, worker.DHCP, discover(t, hereMAC))) > 0 {
			t.Error("somebody without a lease is answered")
		}
		x.hand(1, worker.DHCP, fromVM())
	}
	if n := strings.Count(x.log.String(), "\n"); n == 0 || n > 25 {
		t.Errorf("%d lines of log", n)
	}
}

// What a VM has, it keeps: a CA of its own is confirmed whatever others it has, also
// one that was learned. Another's is not, nor one that policy has no more.
func TestA14KeepsWhatItHas(t *testing.T) {
	set := learners()
	for _, ca := range []string{"10.1.1.5", "10.1.1.70", "10.9.0.1"} {
		set.LookupRecords = append(set.LookupRecords, policy.LookupRecord{VSID: benchVSID, CA: netip.MustParseAddr(ca), MAC: hereMAC, PA: herePA, Type: policy.Dynamic})
	}
	const ack, nak = dhcpv4.MessageTypeAck, dhcpv4.MessageTypeNak
	for _, c := range []struct {
		typ  dhcpv4.MessageType
		ca   string
		want dhcpv4.MessageType // none: no answer
	}{
		{dhcpv4.MessageTypeRequest, "10.1.1.51", ack},
		{dhcpv4.MessageTypeRequest, "10.1.1.5", ack},
		{dhcpv4.MessageTypeRequest, "10.1.1.70", ack},
		{dhcpv4.MessageTypeInform, "10.1.1.70", ack},
		{dhcpv4.MessageTypeRequest, "10.1.1.60", nak}, // another's
		{dhcpv4.MessageTypeRequest, "10.1.1.71", nak}, // nobody's
		{dhcpv4.MessageTypeRequest, "10.9.0.1", nak},  // in a prefix without a router
		{dhcpv4.MessageTypeInform, "10.1.1.60", dhcpv4.MessageTypeNone},
	} {
		x := newExchange(t, set)
		m, err := dhcpv4.New(dhcpv4.WithHwAddr(hereMAC[:]), dhcpv4.WithMessageType(c.typ), dhcpv4.WithClientIP(net.ParseIP(c.ca)))
		if err != nil {
			t.Fatal(err)
		}
		got := dhcpv4.MessageTypeNone
		for _, f := range x.hand(1, worker.DHCP, dhcpFrame(t, m, hereMAC, packet.Broadcast, c.ca, "10.1.1.1", 68, 67)) {
			var l packet.Layout
			packet.Parse(f, &l)
			m, err := dhcpv4.FromBytes(f[l.L4+packet.UDPLen : l.End])
			if err != nil {
				t.Fatal(err)
			}
			if got = m.MessageType(); got == ack && c.typ == dhcpv4.MessageTypeRequest && m.YourIPAddr.String() != c.ca {
				t.Errorf("%v of %s: has %v", c.typ, c.ca, m.YourIPAddr)
			}
		}
		if got != c.want {
			t.Errorf("%v of %s: %v, want %v", c.typ, c.ca, got, c.want)
		}
	}
}

// Who is behind a VM with mac_spoofing is not given that VM's CA.
func TestA14_L31NotForOthers(t *testing.T) {
	set := learners()
	set.Ports[1].MACSpoofing = true
	x := newExchange(t, set)
	if sent := x.hand(1, worker.DHCP, discover(t, packet.MAC{2, 0, 0, 0, 0x77, 7})); len(sent) > 0 {
		t.Errorf("answered: %x", sent)
	}
	if sent := x.hand(1, worker.DHCP, discover(t, hereMAC)); len(sent) != 1 {
		t.Error("the port's own VM is not answered")
	}
}

// An answer goes to the port that asked.
func TestA14ToThePortThatAsked(t *testing.T) {
	x := newExchange(t, learners())
	x.workers[0].Punt.Push(1, worker.DHCP, discover(t, hereMAC))
	x.mu.Lock()
	x.take(x.now, x.workers[0].Punt.Peek())
	x.mu.Unlock()
	if p := x.workers[0].Inject.Peek(); p == nil || p.Port != 1 {
		t.Errorf("sent %+v", p)
	}
}

// naive is what guests know, found by looking at everything.
func naive(b *policy.Book) guests {
	g := guests{of: map[vnic]*guest{}, ports: map[string]vnic{}}
	for o := range b.All(policy.KindPort) {
		p := o.(policy.Port)
		if p.Role != policy.VM || p.VSID == 0 {
			continue
		}
		v := vnic{p.VSID, p.MAC}
		vm := &guest{limit: int(p.DynamicIPLimit), cas: map[netip.Addr]holding{}}
		for r := range b.Records() {
			if r.VSID == p.VSID && r.MAC == p.MAC && !r.CA.IsUnspecified() && !r.Router() {
				vm.cas[r.CA] = holding{r.PA, r.Type == policy.Dynamic}
			}
		}
		g.of[v], g.ports[p.Name] = vm, v
	}
	return g
}

// naiveForsaken is what must go with a set, found likewise.
func naiveForsaken(b *policy.Book, set []policy.Change) map[policy.Key]bool {
	gone := map[policy.Key]bool{}
	forget := func(v vnic, v4, v6 bool) {
		for r := range b.Records() {
			if r.VSID == v.vsid && r.MAC == v.mac && r.Type == policy.Dynamic && r.PA == herePA && (r.CA.Is4() && v4 || r.CA.Is6() && v6) {
				gone[r.Key()] = true
			}
		}
	}
	stays := func(v vnic) bool {
		return slices.ContainsFunc(set, func(c policy.Change) bool {
			p, ok := c.Object.(policy.Port)
			return ok && c.Verb != policy.Delete && p.VSID == v.vsid && p.MAC == v.mac
		})
	}
	for _, c := range set {
		old, _ := b.Get(c.Object.Key())
		switch was := old.(type) {
		case policy.Port:
			if !stays(vnic{was.VSID, was.MAC}) {
				forget(vnic{was.VSID, was.MAC}, true, true)
			}
		case policy.LookupRecord:
			v := vnic{was.VSID, was.MAC}
			if c.Verb == policy.Delete && was.Type == policy.L2Only && naive(b).of[v] != nil {
				forget(v, was.CA.Is4(), was.CA.Is6())
			}
		}
	}
	for _, c := range set {
		delete(gone, c.Object.Key())
	}
	return gone
}

func (g guests) String() string {
	all := map[vnic]guest{}
	for v, vm := range g.of {
		all[v] = *vm
	}
	return fmt.Sprint(all, g.ports)
}

// Whatever is applied, in batches of several sets, guests know what is in force;
// what a set takes away with it is all that was learned of those that it takes
// from this host, and no more.
func TestA17GuestsAgainstNaive(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	macs := []packet.MAC{hereMAC, alsoMAC, thereMAC}
	pas := []netip.Addr{herePA, therePA}
	b := fibtest.Book(t, learners())
	var g guests
	g.read(b)
	random := func() policy.Change {
		c := policy.Change{Verb: []policy.Verb{policy.Put, policy.Put, policy.Delete}[r.IntN(3)]}
		vsid, mac := policy.VSID(6001+r.IntN(2)), macs[r.IntN(3)]
		if r.IntN(5) == 0 {
			c.Object = policy.Port{Name: []string{"vm1", "vm2", "vm3"}[r.IntN(3)], Role: policy.VM, VSID: vsid, MAC: mac, MTU: 1500, DynamicIPLimit: uint32(r.IntN(3))}
			return c
		}
		rec := policy.LookupRecord{VSID: vsid, CA: netip.AddrFrom4([4]byte{10, 1, byte(vsid - 6000), byte(2 + r.IntN(5))}), MAC: mac, PA: pas[r.IntN(2)]}
		switch r.IntN(6) {
		case 0:
			rec.CA, rec.Type = netip.IPv4Unspecified(), policy.L2Only
		case 1, 2, 3:
			rec.Type = policy.Dynamic
		}
		c.Object = rec
		return c
	}
	took := 0
	for range 10_000 {
		var batch []policy.Change
		for range 1 + r.IntN(3) {
			set := make([]policy.Change, 1+r.IntN(3))
			for i := range set {
				set[i] = random()
			}
			var more []policy.Change
			if _, alone := kinds(set); alone {
				if len(batch) > 0 {
					break
				}
				more = g.forsaken(b, set)
				want := naiveForsaken(b, set)
				for _, c := range more {
					delete(want, c.Object.Key())
				}
				if len(want) > 0 || len(more) != len(naiveForsaken(b, set)) {
					t.Fatalf("seed %d: with %v go %v, and not %v", seed, set, more, want)
				}
			}
			applied, err := b.Apply(append(set[:len(set):len(set)], more...))
			if err != nil {
				continue
			}
			took += len(more)
			batch = append(batch, applied...)
			if more != nil {
				break
			}
		}
		g.update(time.Now(), b, batch)
		if got, want := g.String(), naive(b).String(); got != want {
			t.Fatalf("seed %d: after %v guests are\n%s\nwant\n%s", seed, batch, got, want)
		}
	}
	if took < 100 {
		t.Errorf("only %d records went with others: this shows nothing", took)
	}
}
