package daemon

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

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
	w       *worker.Worker
	uplink  *memport.Port
	vm      *memport.Port
	now     time.Time
	written bytes.Buffer
}

var (
	vmMAC     = packet.MAC{0x10, 0x10, 0x10, 0x10, 0x11, 0x05}
	uplinkMAC = packet.MAC{2, 0, 0, 0, 1, 0x0a}
	routerMAC = packet.MAC{2, 0, 0, 0, 1, 1}
	router    = netip.MustParseAddr("192.168.1.1")
)

func newBench(t *testing.T) *bench {
	set := &policy.Set{
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
	b := &bench{t: t, now: time.Unix(1000, 0)}
	pool := mbuf.NewHeap(256, mbuf.DefaultDataRoom)
	b.uplink, b.vm = memPort(t, pool), memPort(t, pool)
	b.c = &control{fib: &b.fib, wake: make(chan struct{}, 1), log: slog.New(slog.NewTextHandler(&b.written, nil)), table: neigh.New(neigh.Config{})}
	b.w = worker.New(worker.Config{
		FIB: &b.fib, Modes: modes.New(modes.Config{}), MaxPorts: 2, Pool: pool, Wake: b.c.wakeUp,
	})
	b.w.Plug.Store(&worker.Plug{Ports: []port.Port{b.uplink, b.vm}, Poll: []worker.Queue{{Port: 0}, {Port: 1}}})
	b.c.workers = []*worker.Worker{b.w}
	b.fib.Store(fibtest.Compile(t, set, b.c.resolve))
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

// P14: a claim of a PA is logged and changes nothing.
func TestP14DuplicateProviderAddress(t *testing.T) {
	b := newBench(t)
	claim := packet.AppendARP(nil, &packet.ARPFrame{DstMAC: packet.Broadcast, SrcMAC: routerMAC, VLAN: 7, ARPFields: packet.ARPFields{
		Op: packet.ARPOpReply, SenderMAC: routerMAC, SenderIP: [4]byte{192, 168, 1, 10}, TargetIP: [4]byte{192, 168, 1, 10},
	}})
	b.uplink.Inject(0, claim)
	b.w.PollOnce()
	b.pass(0)
	if n := dropsOf(b, "pa_duplicate"); n != 1 {
		t.Errorf("%d drops", n)
	}
	if !strings.Contains(b.written.String(), "claims a provider address") {
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
