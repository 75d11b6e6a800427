//go:build !race

package daemon

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"paca/dataplane/dpdk"
	"paca/dataplane/fib"
	"paca/dataplane/fib/fibtest"
	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
	"paca/dataplane/port"
	"paca/dataplane/port/ethdev"
	"paca/dataplane/worker"
	"paca/modes"
)

// Two hosts in one process, on DPDK's ports. Between them is a vhost-user socket: a
// network card that takes large frames and leaves checksums out, and knows no GRE.
// Before each is a VM, whose card is another:
//
//	VM ─ virtio-user ── vhost-user ─ host 1 ─ vhost-user ── virtio-user ─ host 2 ─ vhost-user ── virtio-user ─ VM
type wireHost struct {
	fib    atomic.Pointer[fib.FIB]
	w      *worker.Worker
	uplink *ethdev.Port
	vm     *ethdev.Port // the host's side of the VM's card
	guest  *ethdev.Port // the VM's
	pool   *dpdk.Mempool
}

var wireMACs = [2]packet.MAC{{2, 0, 0, 0, 1, 0x11}, {2, 0, 0, 0, 1, 0x12}}

// wirePolicy is that of host 0 or 1, whose VMs are in a subnet of mode, but for
// without.
func wirePolicy(host int, mode policy.Mode) *policy.Set {
	pas := [2]string{"192.168.1.10", "192.168.1.20"}
	set := &policy.Set{
		VirtualSubnets:    []policy.VirtualSubnet{{VSID: 6001, RDID: policy.RDID{1}, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.1.1.0/24")}, Mode: mode}},
		ProviderAddresses: []policy.ProviderAddress{{Prefix: netip.MustParsePrefix(pas[host] + "/24"), Port: "uplink"}},
		Ports: []policy.Port{
			{Name: "uplink", Role: policy.Uplink, MTU: 1500, MAC: packet.MAC{2, 0, 0, 0, 2, byte(host)}},
			{Name: "vm", Role: policy.VM, VSID: 6001, MTU: 1500, MAC: wireMACs[host]},
		},
	}
	for i, pa := range pas {
		set.LookupRecords = append(set.LookupRecords, policy.LookupRecord{
			VSID: 6001, CA: netip.AddrFrom4([4]byte{10, 1, 1, byte(11 + i)}), MAC: wireMACs[i], PA: netip.MustParseAddr(pa)})
	}
	return set
}

func wirePort(t *testing.T, c ethdev.Config) *ethdev.Port {
	t.Helper()
	p, err := ethdev.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// wireHosts are both, with the links up. without are offloads that uplinks do without,
// guest those that VMs' drivers use.
func wireHosts(t *testing.T, mode policy.Mode, without policy.Offloads, guest mbuf.Offloads) (hosts [2]*wireHost) {
	t.Helper()
	dir := t.TempDir()
	for i := range hosts {
		set := wirePolicy(i, mode)
		pool, err := dpdk.NewMempool(fmt.Sprintf("wire%d-%d-%d-%d", i, mode, without, guest), 4095, 0, mbuf.DefaultDataRoom)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if n := pool.Available(); n != 4095 {
				t.Errorf("%d of 4095 buffers came back", n)
			}
			pool.Close()
		})
		h := &wireHost{pool: pool}
		hosts[i] = h
		set.Ports[0].NoOffload = without
		uplink, vm := filepath.Join(dir, "uplink"), filepath.Join(dir, fmt.Sprint("vm", i))
		kind := []string{"vhost-user:", "virtio-user:"}[i]
		h.uplink = wirePort(t, ethdev.Config{Device: kind + uplink, MTU: 1500, Pool: pool, Offloads: wanted(&set.Ports[0])})
		h.vm = wirePort(t, ethdev.Config{Device: "vhost-user:" + vm, MTU: 1500, Pool: pool, Offloads: wanted(&set.Ports[1])})
		h.guest = wirePort(t, ethdev.Config{Device: "virtio-user:" + vm, MTU: 1500, Pool: pool, Offloads: guest})
		h.fib.Store(fibtest.Compile(t, set, func(_, _ uint16, _ netip.Addr) (packet.MAC, fib.AdjState) {
			return packet.MAC{2, 0, 0, 0, 2, byte(1 - i)}, fib.AdjReady
		}))
		h.w = worker.New(worker.Config{FIB: &h.fib, Modes: modes.New(modes.Config{}), MaxPorts: 2, Pool: pool, Wake: func() {}})
	}
	up := func() bool {
		for _, h := range hosts {
			if !h.uplink.LinkUp() || !h.vm.LinkUp() || !h.guest.LinkUp() {
				return false
			}
		}
		return true
	}
	for end := time.Now().Add(10 * time.Second); !up(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the links do not come up")
		}
	}
	for _, h := range hosts { // as host.plug does when it learns what drivers take
		h.w.Plug.Store(&worker.Plug{Ports: []port.Port{h.uplink, h.vm}, Poll: []worker.Queue{{Port: 0}, {Port: 1}}})
	}
	return hosts
}

// wireFrame is TCP from the VM of a host to that of the other, its checksum left out.
func wireFrame(from, payload int) []byte {
	f := append(append([]byte(nil), wireMACs[1-from][:]...), wireMACs[from][:]...)
	f = append(f, 8, 0)
	ip := make(packet.IPv4, 20)
	ip.Encode(packet.IPv4Fields{TotalLen: uint16(40 + payload), ID: 7, Fragment: packet.IPv4DontFragment, TTL: 64, Protocol: packet.ProtoTCP, Src: [4]byte{10, 1, 1, byte(11 + from)}, Dst: [4]byte{10, 1, 1, byte(12 - from)}})
	f = append(f, ip...)
	tcp := make(packet.TCP, 20, 20+payload)
	binary.BigEndian.PutUint16(tcp, 0xc001)
	binary.BigEndian.PutUint16(tcp[2:], 80)
	tcp.SetSeq(1)
	tcp[12], tcp[13] = 0x50, packet.TCPAck
	for i := range payload {
		tcp = append(tcp, byte(i*7+i>>8))
	}
	return append(f, tcp...)
}

// cross sends a frame, to be cut into size bytes of payload, from the one VM and returns
// what the other receives, and how many frames were on the wire.
func cross(t *testing.T, from, to *wireHost, frame []byte, size int) (arrived []*mbuf.Mbuf, onWire uint64) {
	t.Helper()
	before := to.uplink.Stats().RxPackets
	pkts := make([]*mbuf.Mbuf, (len(frame)+1999)/2000)
	if !from.pool.Alloc(pkts) {
		t.Fatal("no buffers")
	}
	for i, m := range pkts {
		m.SetData(frame[i*2000 : min(len(frame), (i+1)*2000)])
		if i > 0 {
			pkts[0].JoinAfter(pkts[i-1], m)
		}
	}
	pkts[0].SetFlags(mbuf.TxTCPSegment | mbuf.TxIPv4)
	if size == 0 {
		pkts[0].SetFlags(mbuf.TxTCPChecksum | mbuf.TxIPv4)
	}
	pkts[0].SetTxOffload(mbuf.TxOffload{L2Len: 14, L3Len: 20, L4Len: 20, SegmentSize: uint16(size)})
	if from.guest.Tx(0, pkts[:1]) != 1 {
		t.Fatal("the VM's card takes no frame")
	}
	bytes := 0
	for end := time.Now().Add(5 * time.Second); bytes < len(frame)-54; {
		from.w.PollOnce()
		to.w.PollOnce()
		got := make([]*mbuf.Mbuf, 64)
		for _, m := range got[:to.guest.Rx(0, got)] {
			arrived = append(arrived, m)
			bytes += m.Len() - 54
		}
		if time.Now().After(end) {
			t.Fatalf("%d of %d bytes arrive; drops %v", bytes, len(frame)-54, from.w.Count.Snapshot().Ports[1].Drops)
		}
	}
	return arrived, to.uplink.Stats().RxPackets - before
}

// O24, O28, R22, R23: a large frame crosses rewrite as one, and comes to the VM as it
// was; over NVGRE, which this card cannot cut, as its segments, every checksum of which
// is right. So it is over rewrite when the uplinks are told to do nothing of the kind.
// A VM that takes large frames gets the segments put together again.
func TestO24_O28_R22_R23Wire(t *testing.T) {
	if err := dpdk.Init(dpdk.Config{
		Args: []string{"--no-huge", "-m", "256", "--no-shconf", "--no-pci", "--no-telemetry"}, Log: slog.New(slog.DiscardHandler),
	}); err != nil {
		t.Fatal(err)
	}
	const all, small = mbuf.AllOffloads, mbuf.AllOffloads &^ mbuf.ReceiveLarge
	for _, c := range []struct {
		name    string
		mode    policy.Mode
		without policy.Offloads
		guest   mbuf.Offloads
		size    int
		onWire  uint64
		arrive  int
	}{
		{"rewrite", policy.Rewrite, 0, all, 1418, 1, 1},
		{"rewrite a checksum", policy.Rewrite, 0, all, 0, 1, 1},
		{"rewrite small guests", policy.Rewrite, 0, small, 1418, 1, 29},
		{"nvgre", policy.NVGRE, 0, all, 1418, 29, 1},
		{"nvgre small guests", policy.NVGRE, 0, small, 1460, 29, 29}, // M12
		{"nvgre a checksum", policy.NVGRE, 0, all, 0, 1, 1},
		{"rewrite without tso", policy.Rewrite, policy.OffloadsOf(policy.TSO), small, 1418, 29, 29},
		{"rewrite without multi_segment", policy.Rewrite, policy.OffloadsOf(policy.MultiSegment), all, 1418, 29, 1},
		{"nvgre without anything", policy.NVGRE, 1<<policy.NumOffloads - 1, small, 0, 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			hosts := wireHosts(t, c.mode, c.without, c.guest)
			payload := 40_000
			if c.size == 0 {
				payload = 1000
			}
			for from := range hosts {
				frame := wireFrame(from, payload)
				arrived, onWire := cross(t, hosts[from], hosts[1-from], frame, c.size)
				if onWire != c.onWire || len(arrived) != c.arrive {
					t.Errorf("%d frames on the wire, want %d; %d arrive, want %d", onWire, c.onWire, len(arrived), c.arrive)
				}
				var data []byte
				for _, m := range arrived {
					f := m.AppendTo(nil)
					if !packet.VerifyIPv4(f[14:]) {
						t.Errorf("IPv4 header checksum of %x", f[:54])
					}
					left := m.Flags()&mbuf.RxL4ChecksumMask == mbuf.RxL4ChecksumNone
					if ip := packet.IPv4(f[14:]); !left && packet.Checksum(f[34:], packet.PseudoHeader4(ip.Src4(), ip.Dst4(), packet.ProtoTCP, uint16(len(f)-34))) != 0 {
						t.Errorf("TCP checksum of %x", f[:54])
					}
					if c.mode == policy.NVGRE && len(arrived) > 1 && left {
						t.Errorf("a segment's checksum is left out: flags %#x", m.Flags())
					}
					data = append(data, f[54:]...)
				}
				if !bytes.Equal(data, frame[54:]) {
					t.Error("the payload is another")
				}
				first := arrived[0]
				if whole := first.Flags()&mbuf.RxLRO != 0; whole != (c.size > 0 && c.arrive == 1) {
					t.Errorf("arrives with flags %#x", first.Flags())
				} else if whole && first.TxOffload().SegmentSize != uint16(c.size) {
					t.Errorf("to be cut into %d bytes, want %d", first.TxOffload().SegmentSize, c.size)
				}
				hosts[1-from].pool.Free(arrived)
			}
		})
	}
}
