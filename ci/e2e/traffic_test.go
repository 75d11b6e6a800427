package e2e

import (
	"bytes"
	"encoding/hex"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"paca/ci/topo"
)

// The demo's configuration, a tenant's own kernel at both ends.
func TestA2_A5_W9_W19Traffic(t *testing.T) {
	l := newLab(t, false)
	l.examples()

	for _, from := range topo.VMs {
		to := from
		for _, vm := range topo.VMs {
			if vm.Tenant == from.Tenant && vm.Name != from.Name {
				to = vm
			}
		}
		for _, ca := range []string{to.CA4, to.CA6} {
			t.Run("ping/"+from.Name+" "+ca, func(t *testing.T) {
				if out, err := l.output(from.Name, "ping", "-c", "3", "-i", "0.05", "-W", "2", ca); err != nil {
					t.Errorf("%v\n%s", err, out)
				}
			})
			t.Run("tcp/"+from.Name+" "+ca, func(t *testing.T) { l.transfer(t, from.Name, to.Name, ca) })
		}
	}

	t.Run("A2 each tenant sees its own neighbour", func(t *testing.T) {
		for _, vm := range []struct{ name, mac string }{{topo.Blue1, "10:10:10:10:11:07"}, {topo.Red1, "10:10:10:10:12:07"}} {
			for _, ca := range []string{"10.1.1.12", "fd00:10:1:1::12"} {
				out, err := l.output(vm.name, "ip", "neighbour", "show", ca)
				if err != nil || !strings.Contains(out, vm.mac) {
					t.Errorf("%s sees %s as %q, want %s (%v)", vm.name, ca, out, vm.mac, err)
				}
			}
		}
	})
	t.Run("W19 1458 bytes pass", func(t *testing.T) {
		if out, err := l.output(topo.Blue1, "ping", "-c", "1", "-W", "2", "-M", "do", "-s", "1430", "10.1.1.12"); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	t.Run("A5 silence about a CA without a record", func(t *testing.T) {
		before := l.drops(topo.Host1)["arp_unknown"]
		if out, err := l.output(topo.Blue1, "ping", "-c", "1", "-W", "1", "10.1.1.77"); err == nil {
			t.Errorf("someone answered:\n%s", out)
		}
		if l.drops(topo.Host1)["arp_unknown"] == before {
			t.Error("not counted as arp_unknown")
		}
	})
	t.Run("pacactl", func(t *testing.T) {
		for _, command := range []string{"status", "port list", "lookup-record list", "drops"} {
			for _, format := range []string{"table", "json"} {
				args := append(strings.Fields(command), "--socket", l.socket(topo.Host1), "-o", format)
				if out, err := exec.CommandContext(t.Context(), pacactl(), args...).CombinedOutput(); err != nil || len(out) == 0 {
					t.Errorf("pacactl %s: %v\n%s", strings.Join(args, " "), err, out)
				}
			}
		}
	})
}

// The same picture over IPv6 provider addresses: the next hops are resolved by
// neighbor discovery with the router's kernel, and the way carries 20 bytes less.
func TestW9_W19TrafficOverIPv6(t *testing.T) {
	l := newLab(t, false)
	if err := l.UseIPv6Provider(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"host1.toml", "host2.toml", "policy.toml"} {
		l.write(name, overIPv6.Replace(l.example(name)))
	}
	l.start(topo.Host1)
	l.start(topo.Host2)

	for _, ca := range []string{"10.1.1.12", "fd00:10:1:1::12"} {
		if out, err := l.output(topo.Blue1, "ping", "-c", "3", "-i", "0.05", "-W", "2", ca); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		l.transfer(t, topo.Red1, topo.Red2, ca)
	}
	// W19: 62 bytes of headers leave 1438.
	if out, err := l.output(topo.Blue1, "ping", "-c", "1", "-W", "2", "-M", "do", "-s", "1410", "10.1.1.12"); err != nil {
		t.Errorf("1438 bytes do not pass: %v\n%s", err, out)
	}
}

// transfer sends a megabyte over TCP and looks at the receiving end's count.
func (l *lab) transfer(t *testing.T, client, server, to string) {
	t.Helper()
	listen := l.Command(t.Context(), server, "iperf3", "-s", "-1")
	if err := listen.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listen.Process.Kill(); _ = listen.Wait() }()
	var out string
	var err error
	for range 50 { // until the server listens
		out, err = l.output(client, "iperf3", "-c", to, "-n", "1M", "-i", "0")
		if err == nil || !strings.Contains(out, "Connection refused") {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err != nil || !strings.Contains(out, "receiver") {
		t.Errorf("%v\n%s", err, out)
	}
}

// L17, L30: two tenants with the same addresses. What Blue sends arrives in Blue,
// the same number of times, and never in Red.
func TestL17_L30Isolation(t *testing.T) {
	l := newLab(t, false)
	l.examples()
	mark := []byte("only for Blue")[:12]

	wires := map[string]*topo.Wire{}
	for _, vm := range []string{topo.Blue2, topo.Red2, topo.Red1} {
		wires[vm] = l.open(vm, "eth0")
	}
	const pings = 50
	out, err := l.output(topo.Blue1, "ping", "-c", "50", "-i", "0.01", "-W", "2", "-p", hex.EncodeToString(mark), "10.1.1.12")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	time.Sleep(100 * time.Millisecond)
	for vm, w := range wires {
		n := 0
		for {
			frame, err := w.Recv(0)
			if err != nil {
				break
			}
			if bytes.Contains(frame, mark) {
				n++
			}
		}
		want := map[string]int{topo.Blue2: pings}[vm]
		if n != want {
			t.Errorf("%s received %d marked frames, want %d", vm, n, want)
		}
	}
}

// A host that dies without a word comes back by itself: its socket is still
// there, its PMD threads are gone, the other host knows nothing of it.
func TestKilledHostComesBack(t *testing.T) {
	l := newLab(t, false)
	_, host2 := l.examples()
	ping := func(wait string) error {
		_, err := l.output(topo.Blue1, "ping", "-c", "1", "-W", wait, "10.1.1.12")
		return err
	}
	if err := ping("2"); err != nil {
		t.Fatal("no traffic to begin with")
	}
	if err := host2.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := ping("0.3"); err == nil {
		t.Fatal("traffic without pacad")
	}
	if _, err := os.Stat(host2.Socket); err != nil {
		t.Fatalf("a killed pacad cannot have removed its socket: %v", err)
	}

	began := time.Now()
	l.start(topo.Host2)
	up := time.Since(began)
	for ping("0.1") != nil {
		if time.Since(began) > 10*time.Second {
			t.Fatal("traffic has not resumed in 10 s")
		}
	}
	took := time.Since(began)
	t.Logf("answers after %v, traffic after %v; 2 s is what it may take on a machine of its own", up.Round(time.Millisecond), took.Round(time.Millisecond))
}

func TestStop(t *testing.T) {
	l := newLab(t, false)
	host1, _ := l.examples()
	bystander := l.write("someone-elses.sock", "")

	began := time.Now()
	if err := host1.Stop(); err != nil {
		t.Fatal(err)
	}
	t.Logf("SIGTERM took %v", time.Since(began))
	if _, err := os.Stat(host1.Socket); !os.IsNotExist(err) {
		t.Errorf("its socket is still there: %v", err)
	}
	if _, err := os.Stat(bystander); err != nil {
		t.Errorf("it removed a file that it did not make: %v", err)
	}
}
