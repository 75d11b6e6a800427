package e2e

import (
	"net"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"paca/ci/topo"
)

var pingCount = regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`)

// A VM moves from host1 to host2 and back under a TCP stream each way and pings
// every millisecond, from its own subnet on host2 and from another on host1: its
// connection stays, and few pings are lost.
func TestL40Migration(t *testing.T) {
	l := newLabWith(t, topo.Options{Subnet2: true, Movable: []string{topo.Blue1}})
	vm := l.vm(topo.Blue1)
	l.run(world{plugged: []string{vm.Name}})
	l.plug(topo.Host1, vm)
	l.ping(topo.Blue2, vm.CA4)
	on := topo.Host1
	for moves, attempts := 0, 0; moves < 2 && !t.Failed(); attempts++ {
		from := on
		on = map[string]string{topo.Host1: topo.Host2, topo.Host2: topo.Host1}[from]
		lost, spread := l.migrate(t, vm, from, on)
		t.Logf("%s to %s: of 2000 pings lost %v; the orders were carried out within %v", from, on, lost, spread)
		switch {
		case max(lost[topo.Blue2], lost[topo.Blue3]) <= 10:
			moves++
		case spread < 5*time.Millisecond || attempts == 5:
			t.Errorf("more than 10 pings lost")
		}
		// Else this machine was too busy to give three orders at once.
	}
}

// migrate moves a VM while it is talked to, and says how many pings of each pinger
// were lost, and how long the parts of the move were apart.
func (l *lab) migrate(t *testing.T, vm topo.VM, from, to string) (lost map[string]int, spread time.Duration) {
	near, far, err := l.connect(topo.Blue2, vm.Name, vm.CA4)
	if err != nil {
		t.Fatal(err)
	}
	var moved atomic.Int64
	var all sync.WaitGroup
	stop := make(chan struct{})
	for i, way := range [][2]net.Conn{{near, far}, {far, near}} {
		all.Go(func() {
			// A quarter of a megabyte after another, until the VM has moved and a
			// while longer.
			for n := uint64(i); ; n += 2 {
				select {
				case <-stop:
					return
				default:
				}
				for _, c := range way {
					_ = c.SetDeadline(time.Now().Add(10 * time.Second))
				}
				if err := stream(way[0], way[1], 1<<18, n); err != nil {
					t.Errorf("way %d of the stream: %v", i, err)
					return
				}
				moved.Add(1 << 18)
			}
		})
	}
	lost = map[string]int{topo.Blue2: 2000, topo.Blue3: 2000}
	var mu sync.Mutex
	for pinger := range lost {
		all.Go(func() {
			out, err := l.output(pinger, "ping", "-q", "-c", "2000", "-i", "0.001", "-W", "1", vm.CA4)
			m := pingCount.FindStringSubmatch(out)
			if m == nil || m[1] != "2000" {
				t.Errorf("%s: %v\n%s", pinger, err, out)
				return
			}
			received, _ := strconv.Atoi(m[2])
			mu.Lock()
			lost[pinger] -= received
			mu.Unlock()
		})
	}

	time.Sleep(500 * time.Millisecond) // the stream is up, the pings are on their way
	spread = l.move(vm, from, to)
	time.Sleep(500 * time.Millisecond)
	close(stop)
	all.Wait()
	_, _ = near.Close(), far.Close()
	if moved.Load() < 4<<20 {
		t.Errorf("%d bytes of TCP in all", moved.Load())
	}
	return lost, spread
}

// move is what a manager does: the port is there before the VM is, the policy of
// all hosts changes with the VM, the old port goes when nobody is behind it.
func (l *lab) move(vm topo.VM, from, to string) (spread time.Duration) {
	l.plug(to, vm)
	ends := make([]time.Time, 3)
	var all sync.WaitGroup
	for i, host := range []string{from, to} {
		all.Go(func() {
			l.pacactl(host, "migrate", "--vsid", strconv.Itoa(vm.VSID), "--ca", vm.CA4, "--to", hostSide[to].pa)
			ends[i] = time.Now()
		})
	}
	all.Go(func() {
		if err := l.Move(vm.Name, to); err != nil {
			l.t.Error(err)
		}
		ends[2] = time.Now()
	})
	all.Wait()
	l.pacactl(from, "port", "del", vm.Name)
	return slices.MaxFunc(ends, time.Time.Compare).Sub(slices.MinFunc(ends, time.Time.Compare))
}
