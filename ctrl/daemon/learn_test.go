package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"paca/conf"
	"paca/ctrl/server"
	"paca/ctrl/store"
	"paca/dataplane/fib"
	"paca/dataplane/fib/fibtest"
	"paca/dataplane/neigh"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
	"paca/dataplane/worker"
)

var (
	hereMAC   = packet.MAC{2, 0, 0, 0, 0x11, 1} // of the VM behind port "vm1"
	alsoMAC   = packet.MAC{2, 0, 0, 0, 0x11, 2} // of the VM behind port "vm2"
	thereMAC  = packet.MAC{2, 0, 0, 0, 0x22, 1} // of a VM of another host
	herePA    = netip.MustParseAddr("192.168.1.10")
	therePA   = netip.MustParseAddr("192.168.2.20")
	elsePA    = netip.MustParseAddr("192.168.3.30")
	benchVSID = policy.VSID(6001)
)

// learners is a virtual subnet of VMs that learn their CAs: two of them here, one
// behind therePA, and some with static ones.
func learners() *policy.Set {
	a, p := netip.MustParseAddr, netip.MustParsePrefix
	l2 := func(mac packet.MAC, pa netip.Addr, any string) policy.LookupRecord {
		return policy.LookupRecord{VSID: benchVSID, CA: a(any), MAC: mac, PA: pa, Type: policy.L2Only}
	}
	return &policy.Set{
		VirtualSubnets: []policy.VirtualSubnet{
			{VSID: benchVSID, RDID: policy.RDID{1}, Prefixes: []netip.Prefix{p("10.1.1.0/24"), p("10.9.0.0/31"), p("fd00:1::/64")}, DHCP: true},
			{VSID: 6002, RDID: policy.RDID{1}, Prefixes: []netip.Prefix{p("10.1.2.0/24")}},
		},
		LookupRecords: []policy.LookupRecord{
			l2(hereMAC, herePA, "0.0.0.0"), l2(hereMAC, herePA, "::"),
			l2(alsoMAC, herePA, "0.0.0.0"),
			{VSID: benchVSID, CA: a("::"), MAC: alsoMAC, PA: herePA, Type: policy.GatewayWildcard},
			l2(thereMAC, therePA, "0.0.0.0"),
			{VSID: benchVSID, CA: a("10.1.1.50"), MAC: packet.MAC{2, 0, 0, 0, 0x33, 1}, PA: therePA},
			{VSID: benchVSID, CA: a("10.1.1.51"), MAC: hereMAC, PA: herePA},
			{VSID: benchVSID, CA: a("10.1.1.60"), MAC: thereMAC, PA: therePA, Type: policy.Dynamic, VMName: "theirs"},
		},
		ProviderAddresses: []policy.ProviderAddress{{Prefix: netip.PrefixFrom(herePA, 24), Port: "uplink"}},
		ProviderRoutes:    []policy.ProviderRoute{{Port: "uplink", Prefix: p("0.0.0.0/0"), NextHop: router}},
		Ports: []policy.Port{
			{Name: "uplink", Role: policy.Uplink, MAC: uplinkMAC, MTU: 1500},
			{Name: "vm1", Role: policy.VM, VSID: benchVSID, MAC: hereMAC, MTU: 1500, DynamicIPLimit: 3},
			{Name: "vm2", Role: policy.VM, VSID: benchVSID, MAC: alsoMAC, MTU: 1500, DynamicIPLimit: 3},
		},
	}
}

// arpFrom is an ARP frame of the VM with that MAC.
func arpFrom(op uint16, mac, dst packet.MAC, sender, target string) []byte {
	return packet.AppendARP(nil, &packet.ARPFrame{DstMAC: dst, SrcMAC: mac, ARPFields: packet.ARPFields{
		Op: op, SenderMAC: mac, SenderIP: netip.MustParseAddr(sender).As4(), TargetIP: netip.MustParseAddr(target).As4(),
	}})
}

func nsFrom(mac packet.MAC, src, target string) []byte {
	to := netip.MustParseAddr(target).As16()
	return packet.AppendNS(nil, &packet.NSFrame{DstMAC: packet.GroupMAC(packet.SolicitedNode(to)), SrcMAC: mac,
		Src: netip.MustParseAddr(src).As16(), Dst: packet.SolicitedNode(to), Target: to})
}

func naFrom(mac packet.MAC, dst, target string, flags uint8) []byte {
	to, ca := netip.MustParseAddr(dst).As16(), netip.MustParseAddr(target).As16()
	return packet.AppendNA(nil, &packet.NAFrame{DstMAC: packet.GroupMAC(to), SrcMAC: mac, Src: ca, Dst: to, Target: ca, TargetMAC: mac, Flags: flags})
}

// What is read from a frame of a VM with an L2Only record.
func TestA16_A11Sightings(t *testing.T) {
	const any = "0.0.0.0"
	for _, c := range []struct {
		name  string
		frame []byte
		want  string // the CA, "firm" if it may move; empty: nothing
	}{
		{"ARP request", arpFrom(packet.ARPOpRequest, hereMAC, packet.Broadcast, "10.1.1.20", "10.1.1.1"), "10.1.1.20"},
		{"ARP reply", arpFrom(packet.ARPOpReply, hereMAC, alsoMAC, "10.1.1.20", "10.1.1.30"), "10.1.1.20"},
		{"gratuitous request", arpFrom(packet.ARPOpRequest, hereMAC, packet.Broadcast, "10.1.1.20", "10.1.1.20"), "10.1.1.20 firm"},
		{"gratuitous reply", arpFrom(packet.ARPOpReply, hereMAC, packet.Broadcast, "10.1.1.20", "10.1.1.20"), "10.1.1.20 firm"},
		{"reply to all", arpFrom(packet.ARPOpReply, hereMAC, packet.Broadcast, "10.1.1.20", "10.1.1.30"), "10.1.1.20 firm"},
		{"ARP probe", arpFrom(packet.ARPOpRequest, hereMAC, packet.Broadcast, any, "10.1.1.20"), ""},
		{"ARP of another operation", arpFrom(3, hereMAC, packet.Broadcast, "10.1.1.20", "10.1.1.1"), ""},
		{"another's ARP", arpFrom(packet.ARPOpRequest, alsoMAC, packet.Broadcast, "10.1.1.20", "10.1.1.1"), ""},
		{"another's ARP in an own frame", func() []byte {
			f := arpFrom(packet.ARPOpRequest, alsoMAC, packet.Broadcast, "10.1.1.20", "10.1.1.1")
			packet.Ethernet(f).SetSrc(hereMAC)
			return f
		}(), ""},
		{"an own ARP in another's frame", func() []byte {
			f := arpFrom(packet.ARPOpRequest, hereMAC, packet.Broadcast, "10.1.1.20", "10.1.1.1")
			packet.Ethernet(f).SetSrc(alsoMAC)
			return f
		}(), ""},
		{"loopback", arpFrom(packet.ARPOpRequest, hereMAC, packet.Broadcast, "127.0.0.1", "10.1.1.1"), ""},
		{"169.254", arpFrom(packet.ARPOpRequest, hereMAC, packet.Broadcast, "169.254.1.1", "10.1.1.1"), ""},
		{"multicast", arpFrom(packet.ARPOpRequest, hereMAC, packet.Broadcast, "224.0.0.1", "10.1.1.1"), ""},
		{"NS", nsFrom(hereMAC, "fd00:1::20", "fd00:1::1"), "fd00:1::20"},
		{"NS, duplicate detection", nsFrom(hereMAC, "::", "fd00:1::20"), ""},
		{"NS, link-local", nsFrom(hereMAC, "fe80::1", "fd00:1::1"), ""},
		{"another's NS", nsFrom(alsoMAC, "fd00:1::20", "fd00:1::1"), ""},
		{"NA, asked for", naFrom(hereMAC, "fd00:1::9", "fd00:1::20", packet.NDSolicited|packet.NDOverride), "fd00:1::20"},
		{"NA, announcement", naFrom(hereMAC, "ff02::1", "fd00:1::20", packet.NDOverride), "fd00:1::20 firm"},
		{"NA, announcement that replaces nothing", naFrom(hereMAC, "ff02::1", "fd00:1::20", 0), "fd00:1::20"},
		{"NA, link-local", naFrom(hereMAC, "ff02::1", "fe80::20", packet.NDOverride), ""},
		{"IPv4", fromVM(), ""},
	} {
		var l packet.Layout
		if fault := packet.Parse(c.frame, &l); fault != packet.OK {
			t.Fatalf("%s: %v", c.name, fault)
		}
		s, ok := sight(c.frame, &l, &fib.Port{Role: policy.VM, VSID: 6001, MAC: hereMAC})
		got := ""
		if ok {
			if got = s.ca.String(); s.firm {
				got += " firm"
			}
			if s.vnic != (vnic{benchVSID, hereMAC}) {
				t.Errorf("%s: of %v", c.name, s.vnic)
			}
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// What a DHCP server's answer tells, and does not.
func TestA16_A17SeenInDHCP(t *testing.T) {
	discovery, err := dhcpv4.NewDiscovery(hereMAC[:])
	if err != nil {
		t.Fatal(err)
	}
	answer := func(typ dhcpv4.MessageType, more ...dhcpv4.Modifier) []byte {
		m, err := dhcpv4.NewReplyFromRequest(discovery, append([]dhcpv4.Modifier{dhcpv4.WithMessageType(typ), dhcpv4.WithYourIP(net.IP{10, 1, 1, 20}),
			dhcpv4.WithLeaseTime(600)}, more...)...)
		if err != nil {
			t.Fatal(err)
		}
		return dhcpFrame(t, m, thereMAC, hereMAC, "10.1.1.53", "10.1.1.20", 67, 68)
	}
	to := func(mac packet.MAC) dhcpv4.Modifier {
		return func(m *dhcpv4.DHCPv4) { m.ClientHWAddr = mac[:] }
	}
	for _, c := range []struct {
		name  string
		frame []byte
		want  bool
	}{
		{"ACK", answer(dhcpv4.MessageTypeAck), true},
		{"OFFER", answer(dhcpv4.MessageTypeOffer), false},
		{"NAK", answer(dhcpv4.MessageTypeNak), false},
		{"ACK for another VM", answer(dhcpv4.MessageTypeAck, to(alsoMAC)), false},
		{"ACK of an INFORM", answer(dhcpv4.MessageTypeAck, dhcpv4.WithYourIP(net.IPv4zero)), false},
		{"ACK of 169.254", answer(dhcpv4.MessageTypeAck, dhcpv4.WithYourIP(net.IP{169, 254, 1, 1})), false},
	} {
		x := newExchange(t, learners())
		x.hand(1, worker.Learn, c.frame)
		if got := len(x.proposals) == 1; got != c.want {
			t.Errorf("%s: learned %v", c.name, got)
		}
		if !c.want {
			continue
		}
		changes, err := (<-x.proposals).decide(fibtest.Book(t, learners()))
		if got, want := says(changes, err), "put dynamic 10.1.1.20 02:00:00:00:11:01 at 192.168.1.10"; got != want {
			t.Errorf("%s: %s\nwant %s", c.name, got, want)
		}
	}
}

// How much may be learned of a port at once; what is known costs nothing.
func TestA16Rate(t *testing.T) {
	x := newExchange(t, learners())
	for range 100 {
		x.hand(1, worker.Learn, arpFrom(packet.ARPOpRequest, hereMAC, packet.Broadcast, "10.1.1.51", "10.1.1.1"))
		x.hand(0, worker.Learn, arpFrom(packet.ARPOpRequest, uplinkMAC, packet.Broadcast, "10.1.1.21", "10.1.1.1"))
		x.hand(9, worker.Learn, arpFrom(packet.ARPOpRequest, hereMAC, packet.Broadcast, "10.1.1.21", "10.1.1.1"))
	}
	if n := len(x.proposals); n != 0 {
		t.Fatalf("%d proposals of what is known, or not a VM's", n)
	}
	for i := range 200 {
		x.hand(1, worker.Learn, arpFrom(packet.ARPOpRequest, hereMAC, packet.Broadcast, fmt.Sprintf("10.1.1.%d", 52+i), "10.1.1.1"))
	}
	if n := len(x.proposals); n != int(learnRate.burst) {
		t.Errorf("%d proposals at once", n)
	}
	x.hand(2, worker.Learn, arpFrom(packet.ARPOpRequest, alsoMAC, packet.Broadcast, "10.1.1.21", "10.1.1.1"))
	if n := len(x.proposals); n != int(learnRate.burst)+1 {
		t.Errorf("%d proposals with one of another port", n)
	}
	x.now = x.now.Add(time.Hour)
	for range 10 { // nobody takes them: there is no room, and nobody waits
		for i := range 40 {
			x.hand(1, worker.Learn, arpFrom(packet.ARPOpRequest, hereMAC, packet.Broadcast, fmt.Sprintf("10.1.1.%d", 52+i), "10.1.1.1"))
		}
		x.now = x.now.Add(time.Hour)
	}
	if n := len(x.proposals); n != cap(x.proposals) {
		t.Errorf("%d proposals of %d", n, cap(x.proposals))
	}
}

func says(changes []policy.Change, err error) string {
	if err != nil {
		return err.Error()
	}
	var all []string
	for _, c := range changes {
		r := c.Object.(policy.LookupRecord)
		verb := map[policy.Verb]string{policy.Put: "put", policy.Delete: "delete"}[c.Verb]
		if c.Verb == policy.Put {
			verb += " " + r.Type.String()
		}
		all = append(all, fmt.Sprintf("%s %v %v at %v", verb, r.CA, r.MAC, r.PA))
	}
	return strings.Join(all, "; ")
}

// What policy becomes of what was seen. Every set that is decided on is one that
// the Book takes.
func TestA15_A16_A17_A12_L32Decide(t *testing.T) {
	const put20 = "put dynamic 10.1.1.20 02:00:00:00:11:01 at 192.168.1.10"
	here, also, there := vnic{benchVSID, hereMAC}, vnic{benchVSID, alsoMAC}, vnic{benchVSID, thereMAC}
	for _, c := range []struct {
		name        string
		of          vnic
		ca          string
		firm        bool
		have, limit int
		want        string
		leased      bool // a DHCP server said so
		moves       bool // the CA did, lately
	}{
		{"a new CA", here, "10.1.1.20", false, 0, 3, put20, false, false},
		{"the last that may be", here, "10.1.1.20", false, 2, 3, put20, false, false},
		{"of IPv6", here, "fd00:1::20", false, 0, 3, "put dynamic fd00:1::20 02:00:00:00:11:01 at 192.168.1.10", false, false},
		{"L32 one too many", here, "10.1.1.20", true, 3, 3, errLearnLimit.Error(), false, false},
		{"L32 none may be", here, "10.1.1.20", true, 0, 0, errLearnLimit.Error(), false, false},
		{"A15 no L2Only record of the family", also, "fd00:1::20", true, 0, 3, errLearnL2.Error(), false, false},
		{"A15 no L2Only record at all", vnic{benchVSID, packet.MAC{2, 9}}, "10.1.1.20", true, 0, 3, errLearnL2.Error(), false, false},
		{"A15 of another host", there, "10.1.1.20", true, 0, 3, errLearnL2.Error(), false, false},
		{"no such virtual subnet", vnic{7000, hereMAC}, "10.1.1.20", true, 0, 3, errLearnL2.Error(), false, false},
		{"P11 of no prefix", here, "10.1.2.20", true, 0, 3, errLearnWhere.Error(), false, false},
		{"P20 the router's", here, "10.1.1.1", true, 0, 3, errLearnWhere.Error(), false, false},
		{"P20 the router's, IPv6", here, "fd00:1::1", true, 0, 3, errLearnWhere.Error(), false, false},
		{"the prefix's own", here, "10.1.1.0", true, 0, 3, errLearnWhere.Error(), false, false},
		{"the prefix's own, IPv6", here, "fd00:1::", true, 0, 3, errLearnWhere.Error(), false, false},
		{"the broadcast address", here, "10.1.1.255", true, 0, 3, errLearnWhere.Error(), false, false},
		{"the last of IPv6 is one as others are", here, "fd00:1::ffff:ffff:ffff:ffff", false, 0, 3, "put dynamic fd00:1::ffff:ffff:ffff:ffff 02:00:00:00:11:01 at 192.168.1.10", false, false},
		{"one of two (RFC 3021)", here, "10.9.0.1", false, 0, 3, "put dynamic 10.9.0.1 02:00:00:00:11:01 at 192.168.1.10", false, false},
		{"A17 another's for good", here, "10.1.1.50", true, 0, 3, errLearnFixed.Error(), false, false},
		{"A17 its own for good", here, "10.1.1.51", true, 0, 3, "", false, false},
		{"A12 another was seen with it", here, "10.1.1.60", false, 0, 3, errLearnOther.Error(), false, false},
		{"A12 and it moves", here, "10.1.1.60", true, 0, 3,
			"delete 10.1.1.60 02:00:00:00:22:01 at 192.168.2.20; put dynamic 10.1.1.60 02:00:00:00:11:01 at 192.168.1.10", false, false},
		{"A12 and there is no room", here, "10.1.1.60", true, 3, 3, errLearnLimit.Error(), false, false},
		{"A16 leased", here, "10.1.1.20", false, 0, 2, put20, true, false},
		{"A16 leased, and half is used", here, "10.1.1.20", false, 1, 3, errLearnTold.Error(), true, false},
		{"A16 leased, and one may be", here, "10.1.1.20", false, 0, 1, errLearnTold.Error(), true, false},
		{"L32 leased, and all is used", here, "10.1.1.20", false, 3, 3, errLearnLimit.Error(), true, false},
		{"A12 leased, and another was seen with it", here, "10.1.1.60", false, 0, 3, errLearnOther.Error(), true, false},
		{"A12 leased after the other's lease", here, "10.1.1.60", true, 0, 3,
			"delete 10.1.1.60 02:00:00:00:22:01 at 192.168.2.20; put dynamic 10.1.1.60 02:00:00:00:11:01 at 192.168.1.10", true, false},
		{"A12 and it moved lately", here, "10.1.1.60", true, 0, 3, errLearnMoves.Error(), false, true},
		{"A12 and it is nobody's by now", here, "10.1.1.20", true, 0, 3, put20, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := fibtest.Book(t, learners())
			s := sighting{c.of, netip.MustParseAddr(c.ca), c.firm, 0}
			if c.leased {
				s.lease = time.Hour
			}
			changes, err := s.decide(b, c.have, c.limit, !c.moves)
			if got := says(changes, err); got != c.want {
				t.Errorf("%s\nwant %s", got, c.want)
			}
			if _, err := b.Apply(changes); err != nil {
				t.Errorf("the Book says %v", err)
			}
			if len(changes) > 0 {
				if again, err := s.decide(b, c.limit, c.limit, false); len(again) > 0 || err != nil {
					t.Errorf("the second time: %s", says(again, err))
				}
			}
		})
	}
}

// A VM that came here from another host, with what was learned of it there.
func TestA16_L40LearnedElsewhere(t *testing.T) {
	set := learners()
	set.LookupRecords[4].PA = herePA // the L2Only record of thereMAC
	b := fibtest.Book(t, set)
	s := sighting{vnic{benchVSID, thereMAC}, netip.MustParseAddr("10.1.1.60"), false, 0}
	changes, err := s.decide(b, 3, 3, true)
	if got, want := says(changes, err), "put dynamic 10.1.1.60 02:00:00:00:22:01 at 192.168.1.10"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if r := changes[0].Object.(policy.LookupRecord); r.VMName != "theirs" {
		t.Errorf("its labels became %v", r)
	}
}

// paper is a host without devices: policy, its store, and those who change it.
type paper struct {
	*host
	t      *testing.T
	heard  sync.Mutex
	said   []server.Notice
	logged strings.Builder
}

func newPaper(t *testing.T, set *policy.Set) *paper {
	t.Helper()
	p := &paper{t: t}
	book := fibtest.Book(t, set)
	st, err := store.Open("memory")
	if err != nil {
		t.Fatal(err)
	}
	var all []policy.Change
	for _, o := range book.Objects() {
		all = append(all, policy.Change{Verb: policy.Put, Object: o})
	}
	if _, err := st.Commit([][]policy.Change{all}); err != nil {
		t.Fatal(err)
	}
	p.host = &host{
		collector: newPacer(),
		conf:      &conf.Config{}, log: slog.New(slog.NewTextHandler(&p.logged, nil)), store: st, book: book, revision: 1,
		requests: make(chan *request, maxBatch), facts: make(chan struct{}, 1), stopped: make(chan struct{}), compiler: fib.NewCompiler(),
	}
	p.control = newControl(&p.fib, p.log, neigh.Config{}, func() {}, nil)
	p.control.notify = func(all ...server.Notice) {
		p.heard.Lock()
		defer p.heard.Unlock()
		p.said = append(p.said, all...)
	}
	if err := p.compile(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { p.applyAll(ctx) })
	running.Go(func() { p.proposeAll(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return p
}

// see proposes what was seen, and waits until the host is done with all of it.
func (p *paper) see(all ...sighting) {
	p.t.Helper()
	for _, s := range all {
		p.control.propose(p.control.sighted(time.Now(), s))
	}
	done := make(chan struct{}, len(all))
	for _, s := range all { // behind all that was proposed of the same VM
		p.control.propose(proposal{vnic: s.vnic, decide: func(*policy.Book) ([]policy.Change, error) {
			done <- struct{}{}
			return nil, nil
		}})
	}
	for range all {
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			p.t.Fatal("nothing comes of it")
		}
	}
}

func (p *paper) apply(changes ...policy.Change) []policy.Change { return p.try(changes, false) }

// try is Apply for a host whose ports have no devices.
func (p *paper) try(changes []policy.Change, dryRun bool) []policy.Change {
	p.t.Helper()
	r := &request{changes: changes, dryRun: dryRun, done: make(chan outcome, 1)}
	_, r.alone = kinds(changes)
	if err := p.submit(p.t.Context(), r); err != nil {
		p.t.Fatal(err)
	}
	o := p.wait(r)
	if o.err != nil {
		p.t.Fatal(o.err)
	}
	return o.applied
}

// told is the notices since the last time, in words.
func (p *paper) told() (all []string) {
	p.heard.Lock()
	defer p.heard.Unlock()
	for _, n := range p.said {
		if n.Kind != server.CustomerAddress || n.VSID != benchVSID {
			p.t.Errorf("notice %+v", n)
		}
		all = append(all, fmt.Sprintf("%s %v %v at %v", n.Reason, n.CA, n.MAC, n.PA))
	}
	p.said = nil
	slices.Sort(all)
	return all
}

// dynamics is what was learned, in the Book and, the same, in the store.
func (p *paper) dynamics() (all []string) {
	p.t.Helper()
	revision, _, _ := p.Get(policy.Global{}.Key())
	list := func(r policy.LookupRecord) string { return fmt.Sprintf("%v %v at %v", r.CA, r.MAC, r.PA) }
	p.mu.RLock()
	for r := range p.book.RecordsIn(benchVSID) {
		if r.Type == policy.Dynamic {
			all = append(all, list(r))
		}
	}
	p.mu.RUnlock()
	slices.Sort(all)
	var kept []string
	at, objects := p.store.Load()
	for o := range objects {
		if r, ok := o.(policy.LookupRecord); ok && r.Type == policy.Dynamic {
			kept = append(kept, list(r))
		}
	}
	slices.Sort(kept)
	if uint64(at) != revision || !slices.Equal(all, kept) {
		p.t.Errorf("in force at %d: %q\nkept at %d: %q", revision, all, at, kept)
	}
	return all
}

func (p *paper) check(what string, got, want []string) {
	p.t.Helper()
	if !slices.Equal(got, want) {
		p.t.Errorf("%s: %q\nwant %q", what, got, want)
	}
}

func seen(mac packet.MAC, ca string, firm bool) sighting {
	return sighting{vnic{benchVSID, mac}, netip.MustParseAddr(ca), firm, 0}
}

// What is learned is durable, in force, told as a change of policy and as a notice
// (E12); what is learned twice is one record.
func TestA16_E12_P25Learned(t *testing.T) {
	p := newPaper(t, learners())
	events, err := p.Watch(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	p.see(seen(hereMAC, "10.1.1.20", false), seen(hereMAC, "10.1.1.20", true), seen(hereMAC, "fd00:1::20", false), seen(alsoMAC, "10.1.1.21", false))
	p.check("learned", p.dynamics(), []string{
		"10.1.1.20 02:00:00:00:11:01 at 192.168.1.10", "10.1.1.21 02:00:00:00:11:02 at 192.168.1.10",
		"10.1.1.60 02:00:00:00:22:01 at 192.168.2.20", "fd00:1::20 02:00:00:00:11:01 at 192.168.1.10"})
	p.check("told", p.told(), []string{
		"added 10.1.1.20 02:00:00:00:11:01 at 192.168.1.10", "added 10.1.1.21 02:00:00:00:11:02 at 192.168.1.10",
		"added fd00:1::20 02:00:00:00:11:01 at 192.168.1.10"})
	f := p.fib.Load()
	if e := f.Lookup(f.Domain(uint32(benchVSID)), netip.MustParseAddr("10.1.1.20")); e == nil || e.MAC != hereMAC || e.Flags&fib.LocalVM == 0 {
		t.Errorf("the FIB has %+v", e)
	}
	n := 0
	for e, err := range events {
		if err != nil {
			t.Fatal(err)
		}
		if n += len(e.Changes); n >= 3 {
			break
		}
	}

	// It moves, here and to here (A12).
	p.see(seen(alsoMAC, "10.1.1.20", true), seen(hereMAC, "10.1.1.60", true))
	p.check("moved", p.dynamics(), []string{
		"10.1.1.20 02:00:00:00:11:02 at 192.168.1.10", "10.1.1.21 02:00:00:00:11:02 at 192.168.1.10",
		"10.1.1.60 02:00:00:00:11:01 at 192.168.1.10", "fd00:1::20 02:00:00:00:11:01 at 192.168.1.10"})
	p.check("told", p.told(), []string{
		"moved 10.1.1.20 02:00:00:00:11:02 at 192.168.1.10", "moved 10.1.1.60 02:00:00:00:11:01 at 192.168.1.10"})

	// And to another host, whose manager says so.
	p.apply(
		policy.Change{Verb: policy.Delete, Object: policy.LookupRecord{VSID: benchVSID, CA: netip.MustParseAddr("10.1.1.60"), MAC: hereMAC}},
		policy.Change{Verb: policy.Put, Object: policy.LookupRecord{VSID: benchVSID, CA: netip.MustParseAddr("10.1.1.60"), MAC: thereMAC, PA: therePA, Type: policy.Dynamic}},
		policy.Change{Verb: policy.Delete, Object: policy.LookupRecord{VSID: benchVSID, CA: netip.MustParseAddr("10.1.1.21"), MAC: alsoMAC}})
	p.check("told", p.told(), []string{"deleted 10.1.1.21 02:00:00:00:11:02 at 192.168.1.10", "moved 10.1.1.60 02:00:00:00:22:01 at 192.168.2.20"})
}

// However many CAs a VM shows at once, so many are learned and no more.
func TestL32LimitIsExact(t *testing.T) {
	p := newPaper(t, learners())
	var all []sighting
	for i := range 100 {
		all = append(all, seen(hereMAC, fmt.Sprintf("10.1.1.%d", 100+i), true))
	}
	p.see(all...)
	if got := p.dynamics(); len(got) != 1+3 {
		t.Errorf("learned %q", got)
	}
	p.check("told", p.told(), []string{"added 10.1.1.100 02:00:00:00:11:01 at 192.168.1.10", "added 10.1.1.101 02:00:00:00:11:01 at 192.168.1.10",
		"added 10.1.1.102 02:00:00:00:11:01 at 192.168.1.10", errLearnLimit.Error() + " invalid IP 02:00:00:00:11:01 at invalid IP"})

	// A limit that is raised holds for the next.
	port := learners().Ports[1]
	port.DynamicIPLimit = 4
	p.apply(policy.Change{Verb: policy.Put, Object: port})
	p.see(all[50:]...)
	if got := p.dynamics(); len(got) != 1+4 {
		t.Errorf("with a limit of 4, learned %q", got)
	}
	if n := strings.Count(p.logged.String(), "\n"); n > 30 {
		t.Errorf("%d lines of log:\n%s", n, p.logged.String())
	}
}

// What was learned goes with the VM's port or its L2Only record, in the same set,
// and for a Static record.
func TestA17WhatWasLearnedGoes(t *testing.T) {
	a := netip.MustParseAddr
	l2 := func(mac packet.MAC, any string) policy.LookupRecord {
		return policy.LookupRecord{VSID: benchVSID, CA: a(any), MAC: mac}
	}
	static := policy.LookupRecord{VSID: benchVSID, CA: a("10.1.1.20"), MAC: packet.MAC{2, 0, 0, 0, 0x44, 4}, PA: therePA}
	own := static
	own.MAC, own.PA = hereMAC, herePA
	port := learners().Ports[1]
	rehomed := port
	rehomed.VSID = 6002
	renamed := port
	renamed.Name = "vm1-again"
	wider := port
	wider.DynamicIPLimit = 9
	const (
		v4, more, v6, also, theirs = "10.1.1.20 02:00:00:00:11:01 at 192.168.1.10", "10.1.1.22 02:00:00:00:11:01 at 192.168.1.10",
			"fd00:1::20 02:00:00:00:11:01 at 192.168.1.10", "10.1.1.21 02:00:00:00:11:02 at 192.168.1.10", "10.1.1.60 02:00:00:00:22:01 at 192.168.2.20"
	)
	put := func(o policy.Object) []policy.Change { return []policy.Change{{Verb: policy.Put, Object: o}} }
	del := func(o ...policy.Object) (all []policy.Change) {
		for _, o := range o {
			all = append(all, policy.Change{Verb: policy.Delete, Object: o})
		}
		return all
	}
	for _, c := range []struct {
		name    string
		changes []policy.Change
		stays   []string
		told    []string
	}{
		{"port deleted", del(port), []string{also, theirs}, []string{"deleted " + v4, "deleted " + more, "deleted " + v6}},
		{"port to another virtual subnet", put(rehomed), []string{also, theirs}, []string{"deleted " + v4, "deleted " + more, "deleted " + v6}},
		{"port renamed", append(del(port), put(renamed)...), []string{v4, also, more, theirs, v6}, nil},
		{"port changed otherwise", put(wider), []string{v4, also, more, theirs, v6}, nil},
		{"L2Only of IPv4", del(l2(hereMAC, "0.0.0.0")), []string{also, theirs, v6}, []string{"deleted " + v4, "deleted " + more}},
		{"L2Only of IPv6", del(l2(hereMAC, "::")), []string{v4, also, more, theirs}, []string{"deleted " + v6}},
		{"L2Only of another host's", del(l2(thereMAC, "0.0.0.0")), []string{v4, also, more, theirs, v6}, nil},
		{"all that is the VM's, and one of them by name", del(port, l2(hereMAC, "::"), l2(hereMAC, "0.0.0.0"), policy.LookupRecord{VSID: benchVSID, CA: a("10.1.1.22"), MAC: hereMAC}),
			[]string{also, theirs}, []string{"deleted " + v4, "deleted " + more, "deleted " + v6}},
		{"static for another", put(static), []string{also, more, theirs, v6}, []string{"deleted " + v4}},
		{"static for itself", put(own), []string{also, more, theirs, v6}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPaper(t, learners())
			p.see(seen(hereMAC, "10.1.1.20", false), seen(hereMAC, "fd00:1::20", false), seen(alsoMAC, "10.1.1.21", false), seen(hereMAC, "10.1.1.22", false))
			p.told()
			before, _, _ := p.Get(policy.Global{}.Key())
			would := p.try(c.changes, true)
			did := p.apply(c.changes...)
			if len(did) != len(would) {
				t.Errorf("a dry run says %v, and then %v", would, did)
			}
			if after, _, _ := p.Get(policy.Global{}.Key()); after != before+1 {
				t.Errorf("%d revisions", after-before)
			}
			p.check("stays", p.dynamics(), c.stays)
			p.check("told", p.told(), c.told)
		})
	}
}

// leased is that a DHCP server gave a CA to a VM.
func leased(mac packet.MAC, ca string, d time.Duration) sighting {
	s := seen(mac, ca, false)
	s.lease = d
	return s
}

// leases is how many are remembered, of all VMs.
func (p *paper) leases() (n int) {
	p.control.mu.Lock()
	defer p.control.mu.Unlock()
	for _, vm := range p.control.guests.of {
		n += len(vm.leases)
	}
	return n
}

// end lets all time pass until then, for leases.
func (p *paper) end(now time.Time) int {
	p.control.mu.Lock()
	all := p.control.guests.ended(now)
	p.control.mu.Unlock()
	for _, e := range all {
		p.control.propose(e)
	}
	return len(all)
}

// A lease that ends takes its record with it; one that was renewed, or whose CA has
// another record by then, does not. It is given an eighth more than it has.
func TestA17LeaseEnds(t *testing.T) {
	p := newPaper(t, learners())
	start := time.Now()
	p.see(seen(hereMAC, "10.1.1.20", true), seen(hereMAC, "10.1.1.21", true), seen(hereMAC, "10.1.1.22", true), seen(alsoMAC, "10.1.1.23", true))
	p.see(leased(hereMAC, "10.1.1.20", 800*time.Second), leased(hereMAC, "10.1.1.21", 800*time.Second), leased(hereMAC, "10.1.1.22", 0),
		leased(hereMAC, "10.1.1.51", 800*time.Second)) // the last is static
	if n := p.leases(); n != 2 {
		t.Errorf("%d leases", n)
	}
	if p.end(start.Add(899*time.Second)) != 0 {
		t.Error("something ended before its time")
	}
	p.see(leased(hereMAC, "10.1.1.21", 1600*time.Second))
	if n := p.end(start.Add(1000 * time.Second)); n != 1 || p.leases() != 1 {
		t.Errorf("%d ended, %d are left", n, p.leases())
	}
	p.see(seen(hereMAC, "10.1.1.22", true)) // nothing new, and behind what ended
	p.check("left", p.dynamics(), []string{"10.1.1.21 02:00:00:00:11:01 at 192.168.1.10", "10.1.1.22 02:00:00:00:11:01 at 192.168.1.10",
		"10.1.1.23 02:00:00:00:11:02 at 192.168.1.10", "10.1.1.60 02:00:00:00:22:01 at 192.168.2.20"})
	if p.end(start.Add(1700*time.Second)) != 0 || p.end(start.Add(1900*time.Second)) != 1 || p.end(start.Add(9000*time.Second)) != 0 {
		t.Error("the renewed lease does not end once, when it should")
	}
}

// A lease goes with the record that it is of, and there is none without one: what
// servers say of CAs that nobody may have costs no room.
func TestA17_L32LeasesGoWithRecords(t *testing.T) {
	p := newPaper(t, learners())
	var junk []sighting
	for i := range 50 {
		junk = append(junk, leased(hereMAC, fmt.Sprintf("172.16.0.%d", i), 1<<32*time.Second), leased(hereMAC, fmt.Sprintf("10.1.1.%d", 100+i), 1<<32*time.Second))
	}
	p.see(junk...)
	if n, have := p.leases(), len(p.dynamics()); n != 1 || have != 1+1 {
		t.Errorf("%d leases of %d learned CAs", n, have)
	}
	// There is room for what the VM itself says.
	p.see(seen(hereMAC, "10.1.1.20", false), seen(hereMAC, "10.1.1.21", false), leased(hereMAC, "10.1.1.20", time.Hour), leased(alsoMAC, "10.1.1.30", time.Hour))
	if n, have := p.leases(), len(p.dynamics()); n != 3 || have != 1+4 {
		t.Errorf("%d leases of %d learned CAs", n, have)
	}
	p.see(seen(alsoMAC, "10.1.1.20", true)) // moves
	if n := p.leases(); n != 2 {
		t.Errorf("%d leases after a move", n)
	}
	p.apply(policy.Change{Verb: policy.Delete, Object: policy.LookupRecord{VSID: benchVSID, CA: netip.MustParseAddr("10.1.1.30"), MAC: alsoMAC}})
	if n := p.leases(); n != 1 {
		t.Errorf("%d leases after a record went", n)
	}
	p.apply(policy.Change{Verb: policy.Delete, Object: learners().Ports[1]})
	if n := p.leases(); n != 0 {
		t.Errorf("%d leases after the port went", n)
	}
}

// What one VM can make another's host believe by acknowledgements that nobody asked
// for: a lease is not made shorter, a CA not taken, a VM's room not used up.
func TestA12_A16_A17UnsolicitedAcks(t *testing.T) {
	set := learners()
	a := netip.MustParseAddr
	dynamic := func(ca string, mac packet.MAC) {
		set.LookupRecords = append(set.LookupRecords, policy.LookupRecord{VSID: benchVSID, CA: a(ca), MAC: mac, PA: herePA, Type: policy.Dynamic})
	}
	dynamic("10.1.1.20", hereMAC)
	dynamic("10.1.1.21", alsoMAC)
	set.Ports[2].DynamicIPLimit = 8
	x := newExchange(t, set)
	ack := func(port uint16, mac packet.MAC, ca string, seconds uint32) {
		t.Helper()
		discovery, err := dhcpv4.NewDiscovery(mac[:])
		if err != nil {
			t.Fatal(err)
		}
		m, err := dhcpv4.NewReplyFromRequest(discovery, dhcpv4.WithMessageType(dhcpv4.MessageTypeAck), dhcpv4.WithYourIP(net.ParseIP(ca)), dhcpv4.WithLeaseTime(seconds))
		if err != nil {
			t.Fatal(err)
		}
		x.hand(port, worker.Learn, dhcpFrame(t, m, thereMAC, mac, "10.1.1.53", ca, 67, 68))
	}
	ack(1, hereMAC, "10.1.1.20", 800)
	ack(1, hereMAC, "10.1.1.20", 1)
	x.now = x.now.Add(800 * time.Second)
	if n := len(x.guests.ended(x.now)); n != 0 {
		t.Error("a lease was made shorter")
	}
	decide := func() string {
		t.Helper()
		if len(x.proposals) != 1 {
			t.Fatalf("%d proposals", len(x.proposals))
		}
		return says((<-x.proposals).decide(fibtest.Book(t, set)))
	}
	ack(1, hereMAC, "10.1.1.21", 800)
	if got := decide(); got != errLearnOther.Error() {
		t.Errorf("of a VM that was seen with it: %s", got)
	}
	// One whose own lease ended is another's by now.
	ack(2, alsoMAC, "10.1.1.20", 800)
	if got, want := decide(), "delete 10.1.1.20 02:00:00:00:11:01 at 192.168.1.10; put dynamic 10.1.1.20 02:00:00:00:11:02 at 192.168.1.10"; got != want {
		t.Errorf("of a VM whose lease ended: %s\nwant %s", got, want)
	}
	// However many they are, the VM itself is heard.
	for i := range 100 {
		ack(1, hereMAC, fmt.Sprintf("10.1.1.%d", 100+i), 800)
	}
	before := len(x.proposals)
	x.hand(1, worker.Learn, arpFrom(packet.ARPOpRequest, hereMAC, packet.Broadcast, "10.1.1.99", "10.1.1.1"))
	if before > int(learnRate.burst) || len(x.proposals) != before+1 {
		t.Errorf("%d proposals, and %d with the VM's own", before, len(x.proposals))
	}
}

// A CA that several VMs announce in turn stays with each for longer and longer, and
// at last makes one revision a minute; one that stays is free to move again.
func TestA12_P25Flapping(t *testing.T) {
	p := newPaper(t, learners())
	before, _, _ := p.Get(policy.Global{}.Key())
	for range 100 {
		p.see(seen(hereMAC, "10.1.1.20", true))
		p.see(seen(alsoMAC, "10.1.1.20", true))
	}
	if after, _, _ := p.Get(policy.Global{}.Key()); after > before+2+3 { // learned, moved, and as often as it is slow
		t.Errorf("%d revisions for 200 announcements", after-before)
	}

	var g guests
	at, now := spot{benchVSID, netip.MustParseAddr("10.1.1.20")}, time.Unix(1000, 0)
	moves, last := 0, time.Duration(0)
	for range 10 * 60 * 10 { // ten minutes, ten announcements a second
		if g.settled(now, at) {
			g.moved(now, at)
			moves++
			last = g.moves[at].until.Sub(now)
		}
		now = now.Add(100 * time.Millisecond)
	}
	if moves < 10 || moves > 6+10 || last != movePauseMost {
		t.Errorf("%d moves in ten minutes, the last for %v", moves, last)
	}
	if !g.settled(now.Add(time.Second), spot{benchVSID, netip.MustParseAddr("10.1.1.21")}) {
		t.Error("another CA must stay")
	}
	now = g.moves[at].until.Add(movePauseMost)
	if g.moved(now, at); !g.settled(now.Add(movePause), at) {
		t.Error("a CA that stayed must stay")
	}
	for i := range 10 * maxKeys {
		now = now.Add(time.Second)
		g.moved(now, spot{benchVSID, netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})})
	}
	if len(g.moves) > maxKeys {
		t.Errorf("%d moves remembered", len(g.moves))
	}
}

// A store that fails is said, not for every frame of every guest, and nothing is
// in force that is not kept.
func TestA16StoreFails(t *testing.T) {
	p := newPaper(t, learners())
	if err := p.store.Close(); err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		p.see(seen(hereMAC, fmt.Sprintf("10.1.1.%d", 2+i), true))
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	if n := p.book.Len(policy.KindLookupRecord); n != len(learners().LookupRecords) {
		t.Errorf("%d records", n)
	}
	if n := strings.Count(p.logged.String(), "cannot be kept"); n == 0 || n > 40 {
		t.Errorf("said %d times", n)
	}
}

var errTest = errors.New("test")

// A host that stops while something is proposed just stops.
func TestProposalsEnd(t *testing.T) {
	p := newPaper(t, learners())
	for range 3 * maxBatch {
		p.control.propose(proposal{vnic: vnic{benchVSID, hereMAC}, decide: func(*policy.Book) ([]policy.Change, error) { return nil, errTest }})
	}
}
