package e2e

import (
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"

	"paca/ci/topo"
)

// Broadcast and multicast from a VM's kernel come to every other VM of its subnet
// once, on its own host and on the other, behind whichever PA of that, and to nobody
// else.
func TestL6_L25_A21_A22_A24_W18Groups(t *testing.T) {
	l := newLabWith(t, topo.Options{Subnet2: true})
	// Blue3, on host1, and Blue4, on host2 behind a PA of its own, are the first
	// subnet's here.
	const otherPA = "192.168.2.21"
	third, fourth := l.vm(topo.Blue3), l.vm(topo.Blue4)
	w := world{
		unknown: []string{topo.Blue3, topo.Blue4},
		hosts:   map[string]string{topo.Host2: "[[provider_address]]\naddress = \"" + otherPA + "/24\"\nport = \"uplink0\"\n"},
		policy: record(6001, "10.1.1.13", third.MAC, topo.PA1) + record(6001, "fd00:10:1:1::13", third.MAC, topo.PA1) +
			record(6001, "10.1.1.14", fourth.MAC, otherPA) + record(6001, "fd00:10:1:1::14", fourth.MAC, otherPA),
	}
	l.write("policy.toml", w.policyFile(l))
	for host := range hostSide {
		l.write(host+".toml", strings.Replace(w.hostFile(l, host), "vsid = 6002", "vsid = 6001", 1))
	}
	l.start(topo.Host1)
	l.start(topo.Host2)

	wires := map[string]*topo.Wire{}
	for _, vm := range l.VMs() {
		wires[vm.Name] = l.open(vm.Name, "eth0")
	}
	const times = 10
	for _, to := range []string{"255.255.255.255", "10.1.1.255", "224.0.0.251", "239.1.2.3", "ff02::fb", "ff05::2"} {
		t.Run(to, func(t *testing.T) {
			for _, w := range wires {
				w.Drain()
			}
			mark := "to the group " + to
			if err := l.sendUDP(topo.Blue1, net.JoinHostPort(to, "9999"), []byte(mark), times); err != nil {
				t.Fatal(err)
			}
			heard := map[string]int{}
			l.until("all copies arrive", func() bool {
				for vm, w := range wires {
					heard[vm] += marked(w, []byte(mark))
				}
				return heard[topo.Blue2] >= times && heard[topo.Blue3] >= times && heard[topo.Blue4] >= times
			})
			for vm, w := range wires {
				want := map[string]int{topo.Blue2: times, topo.Blue3: times, topo.Blue4: times}[vm]
				if n := heard[vm] + marked(w, []byte(mark)); n != want {
					t.Errorf("%s heard it %d times, want %d", vm, n, want)
				}
			}
		})
	}
}

// sendUDP sends datagrams from inside a VM, as a program there would, to groups
// and broadcast addresses too.
func (l *lab) sendUDP(ns, to string, payload []byte, times int) error {
	return l.Enter(ns, func() error {
		dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
			if e := c.Control(func(fd uintptr) {
				err = errors.Join(
					syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_BROADCAST, 1),
					syscall.BindToDevice(int(fd), "eth0"))
			}); e != nil {
				return e
			}
			return err
		}}
		c, err := dialer.Dial("udp", to)
		if err != nil {
			return err
		}
		defer c.Close()
		for range times {
			if _, err := c.Write(payload); err != nil {
				return err
			}
		}
		return nil
	})
}
