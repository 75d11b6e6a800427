package ethdev

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"paca/dataplane/dpdk"
	"paca/dataplane/mbuf"
	"paca/dataplane/port/porttest"
)

func TestNumbersOfQueues(t *testing.T) {
	card := dpdk.DevInfo{Driver: "net_ice", MaxRxQueues: 8, MaxTxQueues: 4}
	memif := dpdk.DevInfo{Driver: memifDriver, MaxRxQueues: 255, MaxTxQueues: 255}
	for _, c := range []struct {
		workers, queues int
		info            dpdk.DevInfo
		paired          bool
		rx, tx          int
	}{
		{1, 0, card, false, 1, 1},
		{4, 0, card, false, 4, 4},
		{16, 0, card, false, 8, 4},
		{4, 2, card, false, 2, 4},
		{2, 8, card, false, 8, 2},
		{2, 9, card, false, 0, 0},
		{16, 0, card, true, 4, 4},
		{4, 1, card, true, 1, 1},
		{4, 0, memif, false, 1, 1},
		{4, 3, memif, false, 3, 3},
	} {
		cfg := Config{Workers: c.workers, Queues: c.queues}
		rx, tx, err := cfg.numbers(&c.info, c.paired)
		if rx != c.rx || tx != c.tx || (err != nil) != (c.rx == 0) || err != nil && !errors.Is(err, ErrQueues) {
			t.Errorf("%+v: %d and %d, %v", c, rx, tx, err)
		}
	}
}

// sendBy sends one frame by a worker's queue.
func sendBy(t *testing.T, p *Port, pool *dpdk.Mempool, worker, seq int) bool {
	t.Helper()
	m := make([]*mbuf.Mbuf, 1)
	if !pool.Alloc(m) || !m[0].SetData(porttest.Frame(seq, 60)) {
		t.Fatal("no buffer")
	}
	sent := p.Tx(worker, m)
	pool.Free(m[sent:])
	return sent == 1
}

// receivedBy is how many test frames each queue of a port has, once there are as many as
// are due, or it is in vain to wait: vhost receives nothing from a queue while it is told
// of a change to it.
func receivedBy(p *Port, pool *dpdk.Mempool, due int) []int {
	n := make([]int, p.Info().RxQueues)
	pkts := make([]*mbuf.Mbuf, 64)
	within(func() bool {
		for q := range n {
			k := p.Rx(q, pkts)
			for _, m := range pkts[:k] {
				if porttest.Ours(m.Data()) {
					n[q]++
					due--
				}
			}
			pool.Free(pkts[:k])
		}
		return due <= 0
	})
	return n
}

// A VM's driver takes from fewer queues than there are workers, and another from more:
// what any worker sends arrives, each worker's in order by one queue.
func TestQueuesThatAVMTakesFrom(t *testing.T) {
	pool, farPool := newPool(t, poolSize, mbuf.DefaultDataRoom), newPool(t, poolSize, mbuf.DefaultDataRoom)
	path := filepath.Join(t.TempDir(), "vhost.sock")
	p := newPort(t, Config{Device: "vhost-user:" + path, Workers: 4, Pool: pool})
	if i := p.Info(); i.RxQueues != 4 || i.TxQueues != 4 || !i.TxShared {
		t.Fatalf("%+v", i)
	}
	for _, queues := range []int{1, 4, 3, 1} {
		far, err := New(Config{Device: "virtio-user:" + path, Queues: queues, Pool: farPool})
		if err != nil {
			t.Fatal(err)
		}
		waitForLink(t, true, p, far)
		if !within(func() bool { return bits.TrailingZeros64(^atomic.LoadUint64(p.shared.open)) == queues }) {
			t.Errorf("%d queues, and %b are open", queues, *p.shared.open)
		}
		for worker := range 4 {
			if !sendBy(t, p, pool, worker, worker) {
				t.Errorf("%d queues: nothing is taken from worker %d", queues, worker)
			}
		}
		got := receivedBy(far, farPool, 4)
		for q := range got {
			want := 0
			for worker := range 4 {
				if worker%queues == q {
					want++
				}
			}
			if got[q] != want {
				t.Errorf("%d queues: %d frames arrived by queue %d, want %d", queues, got[q], q, want)
			}
		}
		// And the other way: whatever queue the driver sends by is polled.
		for q := range queues {
			if !sendBy(t, far, farPool, q, q) {
				t.Errorf("queue %d of the VM takes nothing", q)
			}
		}
		for q, n := range receivedBy(p, pool, queues) {
			if want := map[bool]int{true: 1}[q < queues]; n != want {
				t.Errorf("%d queues: %d frames came by queue %d, want %d", queues, n, q, want)
			}
		}
		if err := far.Close(); err != nil {
			t.Fatal(err)
		}
		waitForLink(t, false, p)
	}
}

// Many workers send by one queue at once: nothing is lost or mixed up.
func TestSharedQueue(t *testing.T) {
	const workers, packets = 4, 5000
	pool, farPool := newPool(t, poolSize, mbuf.DefaultDataRoom), newPool(t, poolSize, mbuf.DefaultDataRoom)
	path := filepath.Join(t.TempDir(), "memif.sock")
	p := newPort(t, Config{Device: "memif:" + path, Workers: workers, Pool: pool})
	t.Cleanup(func() { waitForLink(t, false, p); time.Sleep(20 * time.Millisecond) })
	far := newPort(t, Config{Device: "memif:" + path + ",role=client", Workers: workers, Pool: farPool})
	waitForLink(t, true, p, far)
	if i := p.Info(); i.TxQueues != 1 || i.RxQueues != 1 || !i.TxShared {
		t.Fatalf("%+v", i)
	}
	var sending sync.WaitGroup
	for worker := range workers {
		sending.Go(func() {
			pkts := make([]*mbuf.Mbuf, 8)
			for seq := 0; seq < packets; {
				if !pool.Alloc(pkts) {
					runtime.Gosched() // the far end is behind
					continue
				}
				for i, m := range pkts {
					m.SetData(porttest.Frame(worker<<16|(seq+i), 60))
				}
				sent := p.Tx(worker, pkts)
				pool.Free(pkts[sent:])
				seq += sent
			}
		})
	}
	var next [workers]int
	pkts := make([]*mbuf.Mbuf, 64)
	for n := 0; n < workers*packets; {
		k := far.Rx(0, pkts)
		for _, m := range pkts[:k] {
			if !porttest.Ours(m.Data()) {
				t.Fatalf("received %x", m.Data())
			}
			seq := int(binary.BigEndian.Uint32(m.Data()[14:]))
			if w := seq >> 16; seq&0xffff != next[w] {
				t.Fatalf("packet %d of worker %d, want %d", seq&0xffff, w, next[w])
			} else {
				next[w]++
			}
		}
		n += k
		farPool.Free(pkts[:k])
	}
	sending.Wait()
}

// O32: how a device spreads NVGRE, by what its driver says it has.
func TestO32Hashes(t *testing.T) {
	const ip = dpdk.RSSInner
	for _, c := range []struct {
		driver string
		has    uint64
		inner  bool
		rss    uint64
		how    string
	}{
		{"net_ice", 0, true, 0, ""},
		{"net_ice", ip, true, ip, ""},
		{"net_cnxk", ip | dpdk.RSSNVGRE | dpdk.RSSLevelMask, true, ip | dpdk.RSSNVGRE | dpdk.RSSLevelInnermost, innerRSS},
		{"net_cnxk", ip | dpdk.RSSNVGRE | dpdk.RSSLevelMask, false, ip | dpdk.RSSNVGRE, ""},
		{"net_cnxk", ip | dpdk.RSSLevelMask&^dpdk.RSSLevelInnermost, true, ip, ""},
		{"net_enic", ip | dpdk.RSSNVGRE, true, ip | dpdk.RSSNVGRE, keyRSS},
		{"net_cnxk", ip | dpdk.RSSChecksums, false, ip, ""}, // which differ within a flow
		{"net_af_packet", 0, true, 0, innerKernel},
		{"net_af_packet", 0, false, 0, ""},
	} {
		if rss, how := hashes(&dpdk.DevInfo{Driver: c.driver, RSSOffloads: c.has}, c.inner); rss != c.rss || how != c.how {
			t.Errorf("%+v: %x, %q", c, rss, how)
		}
	}
}

// O32: a device is set up to do what it says, and one that cannot says why.
func TestO32_O33Devices(t *testing.T) {
	pool := newPool(t, poolSize, mbuf.DefaultDataRoom)
	open := func(device string, workers int) *Port {
		return newPort(t, Config{Device: fmt.Sprintf(device, serial.Add(1)), Workers: workers, Inner: true, Pool: pool})
	}
	if p := open("vdev:net_null%d,no-rx=1", 2); p.Info().Inner != keyRSS || p.Flat() != nil {
		t.Errorf("net_null: %q, %v", p.Info().Inner, p.Flat())
	}
	if p := open("vdev:net_null%d,no-rx=1", 1); p.Info().Inner != "" || p.Flat() != nil {
		t.Errorf("net_null of one queue: %q, %v", p.Info().Inner, p.Flat())
	}
	if p := open("vdev:net_ring%d", 2); p.Info().Inner != "" || p.Flat() == nil || !strings.Contains(p.Flat().Error(), "no RSS") {
		t.Errorf("net_ring: %q, %v", p.Info().Inner, p.Flat())
	}
}

// O33: the rule for cards reaches the driver; tap's has rules, but none of tunnels.
func TestO33FlowRuleRefused(t *testing.T) {
	ownNamespace(t)
	pool := newPool(t, poolSize, mbuf.DefaultDataRoom)
	p := newPort(t, Config{Device: "tap:pacaF", Workers: 2, Pool: pool})
	for _, v6 := range []bool{false, true} {
		if err := dpdk.FlowSpreadNVGRE(p.id, 2, v6, dpdk.RSSInner); err == nil {
			t.Errorf("v6 %v: tap took a rule of NVGRE", v6)
		} else {
			t.Log(err)
		}
	}
}

// O32: of the kernel's interfaces, the kernel spreads NVGRE by what is inside, each flow
// by one queue.
func TestO32KernelSpreads(t *testing.T) {
	for _, kind := range []string{"af_packet:pacaA", "tap:pacaT"} {
		t.Run(kind, func(t *testing.T) {
			ownNamespace(t)
			pool := newPool(t, poolSize, mbuf.DefaultDataRoom)
			wire := "pacaT"
			if strings.HasPrefix(kind, "af_packet") {
				run(t, "ip link add pacaA type veth peer name pacaB")
				run(t, "ip link set pacaB up")
				wire = "pacaB"
			}
			p := newPort(t, Config{Device: kind, Workers: 2, Inner: true, Pool: pool})
			if i := p.Info(); i.RxQueues != 2 || i.Inner != innerKernel {
				t.Fatalf("%+v", i)
			}
			if wire == "pacaT" {
				run(t, "ip link set pacaT up")
			}
			s := onInterface(t, p, pool, wire)
			const flows, packets = 64, 4
			seen := map[uint16][2]int{}
			for range packets {
				for i := range uint16(flows) {
					s.Send([][]byte{nvgreFrame(i)})
				}
			}
			pkts := make([]*mbuf.Mbuf, 64)
			n := 0
			if !within(func() bool {
				for q := range 2 {
					k := p.Rx(q, pkts)
					for _, m := range pkts[:k] {
						if d := m.Data(); len(d) == nvgreLen && d[23] == 47 {
							flow := binary.BigEndian.Uint16(d[76:])
							of := seen[flow]
							of[q]++
							seen[flow] = of
							n++
						}
					}
					pool.Free(pkts[:k])
				}
				return n == flows*packets
			}) {
				t.Fatalf("%d of %d frames came", n, flows*packets)
			}
			var by [2]int
			for flow, of := range seen {
				if of[0] > 0 && of[1] > 0 {
					t.Errorf("flow %d came by both queues", flow)
				}
				for q := range by {
					if of[q] > 0 {
						by[q]++
					}
				}
			}
			if by[0] < flows/8 || by[1] < flows/8 {
				t.Errorf("of %d flows, %v by each queue", flows, by)
			}
		})
	}
}

const nvgreLen = 14 + 20 + 8 + 14 + 20 + 8 + 16

// nvgreFrame is a tunnel packet between always the same hosts and VMs, of one UDP flow.
func nvgreFrame(flow uint16) []byte {
	ip := func(b []byte, proto byte, src, dst byte, n int) {
		b[0], b[8], b[9] = 0x45, 64, proto
		binary.BigEndian.PutUint16(b[2:], uint16(n))
		copy(b[12:], []byte{192, 0, 2, src, 192, 0, 2, dst})
	}
	f := make([]byte, nvgreLen)
	copy(f, []byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0})
	ip(f[14:], 47, 1, 2, nvgreLen-14)
	copy(f[34:], []byte{0x20, 0, 0x65, 0x58, 0, 0x17, 0x71, 0})
	copy(f[42:], []byte{2, 0, 0, 0, 1, 2, 2, 0, 0, 0, 1, 1, 8, 0})
	ip(f[56:], 17, 11, 12, nvgreLen-56)
	binary.BigEndian.PutUint16(f[76:], flow)
	binary.BigEndian.PutUint16(f[78:], 4789)
	binary.BigEndian.PutUint16(f[80:], 24)
	return f
}
