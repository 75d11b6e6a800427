package topo

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if err := Sweep("topo"); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(m.Run())
}

func build(t *testing.T, silent bool) *Topology {
	t.Helper()
	return buildWith(t, Options{Silent: silent})
}

func buildWith(t *testing.T, o Options) *Topology {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIP: needs root")
	}
	o.Instance = fmt.Sprintf("topo%d", os.Getpid())
	net, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := net.Close(); err != nil {
			t.Error(err)
		}
		if left := Leftovers(net.Instance); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
	return net
}

// lend gives the hosts' kernels the provider addresses.
func lend(t *testing.T, net *Topology) {
	t.Helper()
	for _, h := range []struct{ host, addr4, addr6, via4, via6 string }{
		{Host1, PA1, "2001:db8:1::10", "192.168.1.1", "2001:db8:1::1"},
		{Host2, PA2, "2001:db8:2::20", "192.168.2.1", "2001:db8:2::1"},
	} {
		for _, err := range []error{
			net.inside(h.host, "sysctl", "-qw", "net.ipv6.conf."+Uplink+".disable_ipv6=0"),
			net.ip(h.host, "address add %s/24 dev %s", h.addr4, Uplink),
			net.ip(h.host, "address add %s/64 dev %s nodad", h.addr6, Uplink),
			net.ip(h.host, "route add default via %s", h.via4),
			net.ip(h.host, "-6 route add default via %s", h.via6),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

// The picture without pacad: with addresses lent to the hosts' kernels, the
// router carries what goes between them, in both families.
func TestRouterForwards(t *testing.T) {
	net := build(t, false)
	lend(t, net)
	for _, to := range []string{PA2, "2001:db8:2::20"} {
		if out, err := net.Command(t.Context(), Host1, "ping", "-c1", "-W2", to).CombinedOutput(); err != nil {
			t.Errorf("ping %s: %v\n%s", to, err, out)
		}
	}
}

// With a hop that carries less, a router says so.
func TestHop(t *testing.T) {
	net := buildWith(t, Options{Hop: 1400})
	lend(t, net)
	for _, to := range []string{PA2, "2001:db8:2::20"} {
		if out, err := net.Command(t.Context(), Host1, "ping", "-c1", "-W2", "-s", "1200", to).CombinedOutput(); err != nil {
			t.Errorf("ping %s: %v\n%s", to, err, out)
		}
		out, err := net.Command(t.Context(), Host1, "ping", "-c1", "-W2", "-M", "do", "-s", "1420", to).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "mtu = 1400") && !strings.Contains(string(out), "mtu=1400") {
			t.Errorf("ping %s, too big: %v\n%s", to, err, out)
		}
	}
}

// A VM that can move is on one host's wire, or the other's.
func TestMove(t *testing.T) {
	net := buildWith(t, Options{Silent: true, Movable: []string{Blue1}})
	vm, err := net.Open(Blue1, "eth0")
	if err != nil {
		t.Fatal(err)
	}
	defer vm.Close()
	wires := map[string]*Wire{}
	for _, host := range []string{Host1, Host2} {
		if wires[host], err = net.Open(host, Blue1); err != nil {
			t.Fatal(err)
		}
		defer wires[host].Close()
	}
	frame := append([]byte{2, 0, 0, 0, 1, 1, 0x10, 0x10, 0x10, 0x10, 0x11, 0x05, 0x88, 0xb5}, make([]byte, 46)...)
	answer := append([]byte{0x10, 0x10, 0x10, 0x10, 0x11, 0x05, 2, 0, 0, 0, 1, 1, 0x88, 0xb5}, make([]byte, 46)...)
	for _, on := range []string{Host1, Host2, Host1} {
		if err := net.Move(Blue1, on); err != nil {
			t.Fatal(err)
		}
		if err := vm.Send(frame); err != nil {
			t.Fatal(err)
		}
		for host, w := range wires {
			got, err := w.Recv(200 * time.Millisecond)
			if (err == nil) != (host == on) {
				t.Errorf("on %s: at %s %x, %v", on, host, got, err)
			}
			if err := w.Send(answer); err != nil {
				t.Fatal(err)
			}
			got, err = vm.Recv(200 * time.Millisecond)
			if (err == nil) != (host == on) {
				t.Errorf("on %s: from %s %x, %v", on, host, got, err)
			}
		}
	}
}

// Same CA, same picture: without pacad no VM reaches another, and each has the
// MAC that policy gives it.
func TestVMsAreAlone(t *testing.T) {
	net := buildWith(t, Options{Subnet2: true, Movable: []string{Blue1}})
	for _, vm := range net.VMs() {
		out, err := net.Command(t.Context(), vm.Name, "ip", "-o", "link", "show", "eth0").CombinedOutput()
		if err != nil || !strings.Contains(string(out), vm.MAC) || !strings.Contains(string(out), "mtu 1458") {
			t.Errorf("%s: %v\n%s", vm.Name, err, out)
		}
	}
	if out, err := net.Command(t.Context(), Blue1, "ping", "-c1", "-W1", "10.1.1.12").CombinedOutput(); err == nil {
		t.Errorf("blue1 reaches someone without pacad:\n%s", out)
	}
}

func TestWire(t *testing.T) {
	net := build(t, true)
	a, err := net.Open(Host1, Uplink)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := net.Open(Router, ToHost1)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()

	payload := bytes.Repeat([]byte{0xa5}, 46)
	addresses := []byte{2, 0, 0, 0, 1, 1, 2, 0, 0, 0, 1, 0x0a}
	for _, tc := range []struct {
		name   string
		header []byte
	}{
		{"untagged", []byte{0x08, 0x00}},
		{"802.1Q", []byte{0x81, 0x00, 0x00, 0x67, 0x08, 0x00}},
		{"802.1ad", []byte{0x88, 0xa8, 0x00, 0x07, 0x81, 0x00, 0x00, 0x08, 0x08, 0x00}},
	} {
		frame := bytes.Join([][]byte{addresses, tc.header, payload}, nil)
		if err := a.Send(frame); err != nil {
			t.Fatal(err)
		}
		got, err := b.Recv(time.Second)
		if err != nil || !bytes.Equal(got, frame) {
			t.Errorf("%s: sent %x, received %x, %v", tc.name, frame, got, err)
		}
	}
	// Nobody else speaks on a silent picture.
	if got, err := b.Recv(300 * time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the wire is not silent: %x, %v", got, err)
	}
}

func TestSecondOfOneNameIsRefused(t *testing.T) {
	net := build(t, true)
	if _, err := New(Options{Instance: net.Instance}); !errors.Is(err, ErrExists) {
		t.Errorf("second New: %v", err)
	}
	if len(Leftovers(net.Instance)) != 7 {
		t.Error("the refused second took the first one down")
	}
}

func TestSweep(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIP: needs root")
	}
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	instance := fmt.Sprintf("topo%d", gone.Process.Pid)
	if _, err := New(Options{Instance: instance, Silent: true}); err != nil {
		t.Fatal(err)
	}
	if err := Sweep("topo"); err != nil {
		t.Error(err)
	}
	if left := Leftovers(instance); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
