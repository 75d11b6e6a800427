package e2e

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"paca/ci/topo"
)

// A guest that is root in its own kernel and means harm: what it sends under
// another MAC, another CA, or a CA of another subnet reaches nobody, and what it
// says by ARP and ND is believed by nobody.
func TestL2_L3_L30_A12SpoofingGuest(t *testing.T) {
	l := newLabWith(t, topo.Options{Subnet2: true})
	l.run(world{})
	l.ping(topo.Blue1, "10.1.1.12")
	mark := "not my words"
	wires := map[string]*topo.Wire{}
	for _, vm := range []string{topo.Blue2, topo.Blue3, topo.Blue4, topo.Red1, topo.Red2} {
		wires[vm] = l.open(vm, "eth0")
	}
	fabric := l.open(topo.Router, topo.ToHost1)

	// ip runs a script of commands of `ip` inside the guest.
	ip := func(lines ...string) {
		t.Helper()
		for _, line := range lines {
			if out, err := l.output(topo.Blue1, append([]string{"ip"}, strings.Fields(line)...)...); err != nil {
				t.Fatalf("ip %s: %v\n%s", line, err, out)
			}
		}
	}
	for _, c := range []struct {
		name     string
		do, undo []string
		from     string
		to       []string
		reason   string
	}{
		{
			name: "another MAC", reason: "source_mac",
			do:   []string{"link set eth0 address 10:10:10:10:11:07"},
			undo: []string{"link set eth0 address " + blue1MAC},
			from: "10.1.1.11", to: []string{"10.1.1.12", "10.1.2.12"},
		},
		{
			name: "a CA of nobody", reason: "source_ca",
			do: []string{"address add 10.1.1.99/24 dev eth0"}, undo: []string{"address del 10.1.1.99/24 dev eth0"},
			from: "10.1.1.99", to: []string{"10.1.1.12", "10.1.2.12"},
		},
		{
			name: "a CA of another VM", reason: "source_ca",
			do: []string{"address add 10.1.1.12/32 dev eth0"}, undo: []string{"address del 10.1.1.12/32 dev eth0"},
			from: "10.1.1.12", to: []string{"10.1.2.11", "10.1.2.12"},
		},
		{
			name: "a CA of another subnet", reason: "source_ca",
			do: []string{"address add 10.1.2.11/32 dev eth0"}, undo: []string{"address del 10.1.2.11/32 dev eth0"},
			from: "10.1.2.11", to: []string{"10.1.1.12", "10.1.2.12"},
		},
		{
			name: "an IPv6 CA of another VM", reason: "source_ca",
			do: []string{"-6 address add fd00:10:1:1::12/128 dev eth0 nodad"}, undo: []string{"-6 address del fd00:10:1:1::12/128 dev eth0"},
			from: "fd00:10:1:1::12", to: []string{"fd00:10:1:2::11", "fd00:10:1:2::12"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			fabric.Drain()
			before := l.drops(topo.Host1)[c.reason]
			// The neighbours' MACs are known: it is not for want of an answer that
			// nothing comes.
			neighbours := []string{"10.1.1.12 lladdr 10:10:10:10:11:07", "10.1.1.1 lladdr 02:00:00:00:00:01", "fd00:10:1:1::1 lladdr 02:00:00:00:00:01"}
			ip(c.do...)
			for _, n := range neighbours {
				ip("neighbour replace " + n + " dev eth0")
			}
			ip("route replace default via 10.1.1.1", "-6 route replace default via fd00:10:1:1::1")
			for _, to := range c.to {
				if out, err := l.output(topo.Blue1, "ping", "-c", "2", "-i", "0.01", "-W", "0.1", "-I", c.from, "-p", hexOf(mark), to); err == nil {
					t.Errorf("%s answers:\n%s", to, out)
				}
			}
			for _, n := range neighbours {
				address, _, _ := strings.Cut(n, " ")
				ip("neighbour del " + address + " dev eth0")
			}
			ip(c.undo...)
			ip("route replace default via 10.1.1.1", "-6 route replace default via fd00:10:1:1::1")
			if n := l.drops(topo.Host1)[c.reason] - before; n < 2*len(c.to) {
				t.Errorf("%d counted as %s, want %d", n, c.reason, 2*len(c.to))
			}
			for vm, w := range wires {
				if n := marked(w, []byte(mark)); n > 0 {
					t.Errorf("%s received %d of its frames", vm, n)
				}
			}
			if n := marked(fabric, []byte(mark)); n > 0 {
				t.Errorf("%d went over the wire", n)
			}
		})
	}

	// What it claims: broadcast, unicast to the one who is to believe it, and by ND.
	t.Run("ARP and ND", func(t *testing.T) {
		var lies map[string]string
		ask(t, "lies.py", map[string]string{"mac": blue1MAC, "ca": "10.1.1.13", "ca6": "fd00:10:1:1::13", "gateway": "10.1.1.1", "gateway6": "fd00:10:1:1::1",
			"victim": "10.1.1.12", "victim6": "fd00:10:1:1::12", "victim_mac": blue2MAC}, &lies)
		if len(lies) < 8 {
			t.Fatalf("%d lies", len(lies))
		}
		vm := l.open(topo.Blue1, "eth0")
		for _, w := range wires {
			w.Drain()
		}
		sent := map[string]string{}
		for name, lie := range lies {
			frame, err := hex.DecodeString(lie)
			if err != nil {
				t.Fatal(err)
			}
			sent[string(frame[14:])] = name
			if err := vm.Send(frame); err != nil {
				t.Fatal(err)
			}
		}
		l.ping(topo.Blue1, "10.1.1.12") // behind them all
		for name, w := range wires {
			for frame, err := w.Recv(0); err == nil; frame, err = w.Recv(0) {
				if lie := sent[string(frame[14:])]; lie != "" {
					t.Errorf("%s: %s received it", lie, name)
				}
			}
		}
		for _, known := range []string{"10.1.1.13", "10.1.1.1", "fd00:10:1:1::13", "fd00:10:1:1::1"} {
			if out, _ := l.output(topo.Blue2, "ip", "neighbour", "show", known); strings.Contains(out, blue1MAC) {
				t.Errorf("believed: %s", out)
			}
		}
	})

	t.Run("a tag does not change the subnet", func(t *testing.T) {
		for _, vsid := range []int{6002, 5001} {
			frame := unhex(t, "101010101305"+"101010101105"+fmt.Sprintf("8100%04x", vsid&0xfff)+vectorInner[24:])
			vm := l.open(topo.Blue1, "eth0")
			if err := vm.Send(frame); err != nil {
				t.Fatal(err)
			}
		}
		n := 0
		l.until("both arrive at Blue2, as its own subnet's", func() bool {
			n += marked(wires[topo.Blue2], []byte("HNV!"))
			return n == 2
		})
		time.Sleep(20 * time.Millisecond)
		for vm, w := range wires {
			if n := marked(w, []byte("HNV!")); n > 0 {
				t.Errorf("%s received %d", vm, n)
			}
		}
	})
	l.ping(topo.Blue1, "10.1.1.12") // as itself it is welcome
}
