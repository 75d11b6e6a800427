package daemon

import (
	"bytes"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"paca/ctrl/server"
	"paca/dataplane/count"
	"paca/dataplane/fib"
	"paca/dataplane/fib/fibtest"
	"paca/dataplane/mbuf"
	"paca/dataplane/neigh"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
	"paca/dataplane/port"
	"paca/dataplane/port/memport"
	"paca/dataplane/worker"
	"paca/modes"
)

// bench is the control plane and one worker of a host whose uplink (port 0) and
// VM (port 1) are memports. Time is the test's.
type bench struct {
	t       *testing.T
	c       *control
	fib     atomic.Pointer[fib.FIB]
	publish func() // what the policy goroutine does when it is told that there are facts
	told    bool   // it was
	w       *worker.Worker
	uplink  *memport.Port
	vm      *memport.Port
	now     time.Time
	written bytes.Buffer
	notices []server.Notice
}

var (
	vmMAC     = packet.MAC{0x10, 0x10, 0x10, 0x10, 0x11, 0x05}
	uplinkMAC = packet.MAC{2, 0, 0, 0, 1, 0x0a}
	routerMAC = packet.MAC{2, 0, 0, 0, 1, 1}
	otherMAC  = packet.MAC{2, 0, 0, 0, 9, 9}
	router    = netip.MustParseAddr("192.168.1.1")
	benchPA   = netip.MustParseAddr("192.168.1.10")
)

// benchPolicy is what the bench's host is given.
func benchPolicy() *policy.Set {
	return &policy.Set{
		VirtualSubnets: []policy.VirtualSubnet{{VSID: 6001, RDID: policy.RDID{1}, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.1.1.0/24")}}},
		LookupRecords: []policy.LookupRecord{
			{VSID: 6001, CA: netip.MustParseAddr("10.1.1.11"), MAC: vmMAC, PA: netip.MustParseAddr("192.168.1.10")},
			{VSID: 6001, CA: netip.MustParseAddr("10.1.1.12"), MAC: packet.MAC{2, 0, 0, 0, 0, 9}, PA: netip.MustParseAddr("192.168.2.20")},
		},
		ProviderAddresses: []policy.ProviderAddress{{Prefix: netip.MustParsePrefix("192.168.1.10/24"), Port: "uplink", VLAN: 7}},
		ProviderRoutes:    []policy.ProviderRoute{{Port: "uplink", Prefix: netip.MustParsePrefix("0.0.0.0/0"), NextHop: router}},
		Ports: []policy.Port{
			{Name: "uplink", Role: policy.Uplink, MAC: uplinkMAC, MTU: 1500},
			{Name: "vm", Role: policy.VM, VSID: 6001, MAC: vmMAC, MTU: 1500},
		},
	}
}

func newBench(t *testing.T) *bench {
	set := benchPolicy()
	b := &bench{t: t, now: time.Unix(1000, 0)}
	pool := mbuf.NewHeap(256, mbuf.DefaultDataRoom)
	b.uplink, b.vm = memPort(t, pool), memPort(t, pool)
	b.c = newControl(&b.fib, slog.New(slog.NewTextHandler(&b.written, nil)), neigh.Config{
		Random: func(time.Duration) time.Duration { return 0 },
	}, func() { b.told = true }, func(all ...server.Notice) { b.notices = append(b.notices, all...) })
	b.w = worker.New(worker.Config{
		FIB: &b.fib, Modes: modes.New(modes.Config{}), MaxPorts: 2, Pool: pool, Wake: b.c.wakeUp,
	})
	b.w.Plug.Store(&worker.Plug{Ports: []port.Port{b.uplink, b.vm}, Poll: []worker.Queue{{Port: 0}, {Port: 1}}})
	b.c.workers = []*worker.Worker{b.w}
	compiler, book := fib.NewCompiler(), fibtest.Book(t, set)
	b.fib.Store(compiler.Compile(book, fibtest.Devices(set), b.c.resolve))
	b.publish = func() {
		b.c.tell(compiler)
		f := compiler.Update(nil, book, fibtest.Devices(set), b.c.resolve)
		f.Version = b.fib.Load().Version + 1
		b.fib.Store(f)
	}
	return b
}

func memPort(t *testing.T, pool port.Pool) *memport.Port {
	p, err := memport.New(memport.Config{Pool: pool})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// pass lets time go by, turn by turn, and returns what left by the uplink.
func (b *bench) pass(d time.Duration) (sent [][]byte) {
	b.t.Helper()
	for end := b.now.Add(d); ; {
		next := b.c.turn(b.now)
		if b.told {
			b.told = false
			b.publish()
			next = b.c.turn(b.now)
		}
		b.w.PollOnce()
		sent = append(sent, b.uplink.Drain(0)...)
		if next.IsZero() || next.After(end) {
			b.now = end
			return sent
		}
		b.now = next
	}
}

// arp picks the ARP frames of one operation and target out of what was sent.
func arp(frames [][]byte, op uint16, target netip.Addr) (found []packet.ARP) {
	for _, f := range frames {
		var l packet.Layout
		if packet.Parse(f, &l) == packet.OK && l.EtherType == packet.EtherTypeARP && l.TCI == 7 {
			if a := packet.ARP(f[l.L3:]); a.Op() == op && a.TargetIP() == target.As4() {
				found = append(found, a)
			}
		}
	}
	return found
}

// reply is what a router at mac answers, in the PA's VLAN.
func reply(mac packet.MAC) []byte {
	return packet.AppendARP(nil, &packet.ARPFrame{DstMAC: uplinkMAC, SrcMAC: mac, VLAN: 7, ARPFields: packet.ARPFields{
		Op: packet.ARPOpReply, SenderMAC: mac, SenderIP: router.As4(), TargetMAC: uplinkMAC, TargetIP: [4]byte{192, 168, 1, 10},
	}})
}

func fromVM() []byte {
	f := make([]byte, 60)
	packet.Ethernet(f).SetSrc(vmMAC)
	packet.Ethernet(f).SetEtherType(packet.EtherTypeIPv4)
	packet.IPv4(f[14:]).Encode(packet.IPv4Fields{TotalLen: 46, TTL: 64, Protocol: 253, Src: [4]byte{10, 1, 1, 11}, Dst: [4]byte{10, 1, 1, 12}})
	return f
}

// From start to first packet: the PA is announced (A13), the next hop asked for
// in the PA's VLAN (W11, L16), the packet that came too early goes out when the
// answer is there.
func TestA13_L16_W11NextHopResolvedThenHeldPacketLeaves(t *testing.T) {
	b := newBench(t)
	b.c.start(b.now)
	b.vm.Inject(0, fromVM())
	sent := b.pass(100 * time.Millisecond)
	if n := len(arp(sent, packet.ARPOpRequest, netip.MustParseAddr("192.168.1.10"))); n != 1 {
		t.Errorf("%d announcements at start", n)
	}
	if n := len(arp(sent, packet.ARPOpRequest, router)); n != 1 {
		t.Errorf("%d requests for the next hop at start", n)
	}
	if len(sent) != 2 {
		t.Errorf("%d frames sent before the next hop is known", len(sent))
	}
	before := b.fib.Load().Version
	b.uplink.Inject(0, reply(routerMAC))
	b.w.PollOnce()
	select {
	case <-b.c.wake:
	default:
		t.Error("the control plane is not woken")
	}
	sent = b.pass(0)
	if b.fib.Load().Version != before+1 {
		t.Errorf("FIB version %d after resolution, was %d", b.fib.Load().Version, before)
	}
	if len(sent) != 1 || len(sent[0]) != 60+4+42 || packet.Ethernet(sent[0]).Dst() != routerMAC {
		t.Errorf("sent %x, want the held packet to the router", sent)
	}

	// Nothing changes: no new version for it.
	b.pass(20 * time.Second)
	if b.fib.Load().Version != before+1 {
		t.Errorf("FIB version grew to %d in idle time", b.fib.Load().Version)
	}
	// The router moves to another MAC and says so.
	moved := packet.MAC{2, 0, 0, 0, 1, 2}
	b.uplink.Inject(0, reply(moved))
	b.w.PollOnce()
	b.pass(0)
	b.vm.Inject(0, fromVM())
	if sent := b.pass(0); len(sent) == 0 || packet.Ethernet(sent[len(sent)-1]).Dst() != moved {
		t.Errorf("sent %x, want a packet to the router's new MAC", sent)
	}
}

// A next hop that does not answer: the packet on hold is dropped by name, and
// the next hop asked for again.
func TestL16NextHopFailsAndIsAskedAgain(t *testing.T) {
	b := newBench(t)
	b.c.start(b.now)
	b.vm.Inject(0, fromVM())
	b.pass(3 * time.Second)
	if n := dropsOf(b, "neighbor_failed"); n != 1 {
		t.Errorf("%d packets dropped as neighbor_failed", n)
	}
	if n := len(arp(b.pass(5*time.Second), packet.ARPOpRequest, router)); n < 3 {
		t.Errorf("a failed next hop was asked for %d times in 5 s", n)
	}
	b.uplink.Inject(0, reply(routerMAC))
	b.w.PollOnce()
	b.vm.Inject(0, fromVM())
	if sent := b.pass(0); len(sent) == 0 {
		t.Error("nothing is sent after the next hop came back")
	}
}

// fromPA is an ARP frame of another machine that says it has the PA, or, in a probe,
// that it would like to.
func fromPA(op uint16, sender netip.Addr) []byte {
	return packet.AppendARP(nil, &packet.ARPFrame{DstMAC: packet.Broadcast, SrcMAC: otherMAC, VLAN: 7, ARPFields: packet.ARPFields{
		Op: op, SenderMAC: otherMAC, SenderIP: sender.As4(), TargetIP: benchPA.As4(),
	}})
}

// hear has frames come in by the uplink.
func (b *bench) hear(frames ...[]byte) {
	b.uplink.Inject(0, frames...)
	b.w.PollOnce()
}

// ready is a bench whose next hop is known and whose PA is what probes made it.
func ready(t *testing.T) *bench {
	b := newBench(t)
	b.c.start(b.now)
	b.pass(time.Second)
	b.hear(reply(routerMAC))
	b.pass(9 * time.Second)
	b.notices = nil
	return b
}

// noticed holds the notices about a PA to what is wanted (E12).
func (b *bench) noticed(kind server.NoticeKind, pa netip.Addr, reasons ...string) {
	b.t.Helper()
	var got []string
	for _, n := range b.notices {
		if n.Kind != kind || n.PA != pa {
			b.t.Errorf("notice %+v", n)
		}
		got = append(got, n.Reason)
	}
	if !slices.Equal(got, reasons) {
		b.t.Errorf("notices %q, want %q", got, reasons)
	}
	b.notices = nil
}

// sends says whether a packet of the VM leaves by the uplink.
func (b *bench) sends() bool {
	b.pass(0)
	b.vm.Inject(0, fromVM())
	b.w.PollOnce()
	for _, f := range b.uplink.Drain(0) {
		if len(f) == 60+4+42 {
			return true
		}
	}
	return false
}

// P14, A13: a PA is probed for, and used meanwhile; who has it makes it a duplicate,
// from which nothing is sent and for which nobody is answered, until nobody claims
// it any more.
func TestP14_A13_E5_E12DuplicateProviderAddress(t *testing.T) {
	b := newBench(t)
	b.c.start(b.now)
	b.hear(reply(routerMAC))
	if probes := arp(b.pass(500*time.Millisecond), packet.ARPOpRequest, benchPA); len(probes) != 1 || probes[0].SenderIP() != [4]byte{} {
		t.Errorf("%d probes at start", len(probes))
	}
	if !b.sends() {
		t.Error("a tentative PA is not sent from")
	}
	version := b.fib.Load().Version
	b.hear(fromPA(packet.ARPOpReply, benchPA))
	if b.sends() {
		t.Error("a duplicate is sent from")
	}
	if n := dropsOf(b, "pa_duplicate"); n == 0 {
		t.Error("a claim is not counted")
	}
	if b.fib.Load().Version == version {
		t.Error("no new FIB")
	}
	b.hear(fromPA(packet.ARPOpRequest, netip.MustParseAddr("192.168.1.77")))
	if sent := b.pass(30 * time.Second); len(sent) != 0 {
		t.Errorf("in the name of a duplicate %x is sent", sent)
	}
	if n := strings.Count(b.written.String(), "another machine has a provider address"); n != 1 || strings.Count(b.written.String(), "\n") != 1 {
		t.Errorf("log: %s", b.written.String())
	}

	// A minute on, nobody answers the probes.
	sent := arp(b.pass(40*time.Second), packet.ARPOpRequest, benchPA)
	if len(sent) != 3+3 || sent[0].SenderIP() != [4]byte{} || sent[5].SenderIP() != benchPA.As4() {
		t.Errorf("%d probes and announcements after a minute", len(sent))
	}
	b.hear(reply(routerMAC))
	if !b.sends() {
		t.Error("the PA is not sent from any more")
	}
	if n := strings.Count(b.written.String(), "it is used again"); n != 1 {
		t.Errorf("log: %s", b.written.String())
	}
	if b.c.table.Duplicates() != 1 {
		t.Errorf("%d failures counted", b.c.table.Duplicates())
	}
	b.noticed(server.ProviderAddress, benchPA, "tentative", "duplicate", "preferred")
}

// A claim of a PA that is in use is answered by an announcement; a second one
// within 10 s is believed (RFC 5227 2.4).
func TestP14Defence(t *testing.T) {
	b := ready(t)
	for i, want := range []int{1, 0} {
		b.hear(fromPA(packet.ARPOpReply, benchPA))
		sent := arp(b.pass(time.Second), packet.ARPOpRequest, benchPA)
		if len(sent) != want {
			t.Errorf("claim %d is answered by %d announcements", i, len(sent))
		}
		if got := b.sends(); got != (i == 0) {
			t.Errorf("claim %d: sends %v", i, got)
		}
	}
	if log := b.written.String(); strings.Count(log, "\n") != 2 || !strings.Contains(log, "claims a provider address") {
		t.Errorf("log: %s", log)
	}
}

// A PA that is this host's no more is told; one that was a duplicate and is assigned
// anew is not said to be free, for nobody has asked yet.
func TestP14_E12AssignedAnewAndGone(t *testing.T) {
	b := ready(t)
	for range 2 {
		b.hear(fromPA(packet.ARPOpReply, benchPA))
		b.pass(time.Second)
	}
	b.c.assign(b.now, nil)
	b.pass(0)
	if log := b.written.String(); !strings.Contains(log, "is assigned anew") || strings.Contains(log, "is used again") {
		t.Errorf("log: %s", log)
	}
	b.hear(reply(routerMAC))
	if !b.sends() {
		t.Error("it is not sent from")
	}
	set := benchPolicy()
	set.ProviderAddresses, set.ProviderRoutes = nil, nil
	b.fib.Store(fibtest.Compile(t, set, b.c.resolve))
	b.c.turn(b.now)
	b.noticed(server.ProviderAddress, benchPA, "duplicate", "tentative", "invalid")
}

// A probe of another machine is answered, and changes nothing; so does our own
// frame, come back.
func TestP14ProbeOfAnother(t *testing.T) {
	b := ready(t)
	b.hear(fromPA(packet.ARPOpRequest, netip.IPv4Unspecified()))
	if sent := arp(b.pass(0), packet.ARPOpReply, netip.IPv4Unspecified()); len(sent) != 1 || sent[0].SenderMAC() != uplinkMAC {
		t.Errorf("answered by %x", sent)
	}
	ours := fromPA(packet.ARPOpRequest, netip.IPv4Unspecified())
	packet.Ethernet(ours).SetSrc(uplinkMAC)
	packet.ARP(ours[18:]).SetSenderMAC(uplinkMAC)
	for range 3 {
		b.hear(ours)
		packet.ARP(ours[18:]).SetSenderIP(benchPA.As4())
	}
	if !b.sends() || b.written.Len() != 0 {
		t.Errorf("log: %s", b.written.String())
	}
}

func dropsOf(b *bench, name string) (n uint64) {
	for _, p := range b.w.Count.Snapshot().Ports {
		for r, c := range p.Drops {
			if count.Reason(r).Name() == name {
				n += c
			}
		}
	}
	return n
}
