package e2e

import (
	"net"
	"regexp"
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

	for _, way := range []struct{ from, to string }{{topo.Host1, topo.Host2}, {topo.Host2, topo.Host1}} {
		t.Run(way.from+" to "+way.to, func(t *testing.T) { l.migrate(t, vm, way.from, way.to) })
	}
}

func (l *lab) migrate(t *testing.T, vm topo.VM, from, to string) {
	near, far, err := l.connect(topo.Blue2, vm.Name, vm.CA4)
	if err != nil {
		t.Fatal(err)
	}
	var moved atomic.Int64
	var all sync.WaitGroup
	stop := make(chan struct{})
	for i, way := range [][2]net.Conn{{near, far}, {far, near}} {
		all.Go(func() {
			// A megabyte after another, until the VM has moved and a while longer.
			for n := uint64(i); ; n += 2 {
				select {
				case <-stop:
					return
				default:
				}
				for _, c := range way {
					_ = c.SetDeadline(time.Now().Add(10 * time.Second))
				}
				if err := stream(way[0], way[1], 1<<20, n); err != nil {
					t.Errorf("way %d of the stream: %v", i, err)
					return
				}
				moved.Add(1 << 20)
			}
		})
	}
	for _, pinger := range []string{topo.Blue2, topo.Blue3} {
		all.Go(func() {
			out, err := l.output(pinger, "ping", "-q", "-c", "2000", "-i", "0.001", "-W", "1", vm.CA4)
			m := pingCount.FindStringSubmatch(out)
			if m == nil {
				t.Errorf("%s: %v\n%s", pinger, err, out)
				return
			}
			sent, _ := strconv.Atoi(m[1])
			received, _ := strconv.Atoi(m[2])
			t.Logf("%s: %d of %d pings lost", pinger, sent-received, sent)
			if sent != 2000 || sent-received > 10 {
				t.Errorf("%s: %d of %d pings lost", pinger, sent-received, sent)
			}
		})
	}

	time.Sleep(500 * time.Millisecond) // the stream is up, the pings are on their way
	l.move(vm, from, to)
	time.Sleep(500 * time.Millisecond)
	close(stop)
	all.Wait()
	_, _ = near.Close(), far.Close()
	t.Logf("%d MiB of TCP meanwhile", moved.Load()>>20)
	if moved.Load() < 4<<20 {
		t.Errorf("%d bytes of TCP in all", moved.Load())
	}
}

// move is what a manager does: the port is there before the VM is, the policy of
// all hosts changes with the VM, the old port goes when nobody is behind it.
func (l *lab) move(vm topo.VM, from, to string) {
	pa := hostSide[to].pa
	l.plug(to, vm)
	var all sync.WaitGroup
	for host := range hostSide {
		all.Go(func() {
			l.pacactl(host, "migrate", "--vsid", strconv.Itoa(vm.VSID), "--ca", vm.CA4, "--to", pa)
		})
	}
	if err := l.Move(vm.Name, to); err != nil {
		l.t.Error(err)
	}
	all.Wait()
	l.pacactl(from, "port", "del", vm.Name)
}
