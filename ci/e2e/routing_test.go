package e2e

import (
	"fmt"
	"strings"
	"testing"

	"paca/ci/topo"
)

// Two virtual subnets of one routing domain, on one host and across hosts, in both
// families: ping, TCP, and a traceroute that names the router.
func TestL7_L12_L14_W15Routing(t *testing.T) {
	l := newLabWith(t, topo.Options{Subnet2: true})
	l.run(world{})

	blue1, blue3, blue4 := l.vm(topo.Blue1), l.vm(topo.Blue3), l.vm(topo.Blue4)
	for _, c := range []struct {
		name     string
		from, to topo.VM
	}{
		{"on one host", blue1, blue3},
		{"across hosts", blue1, blue4},
		{"and back", blue4, blue1},
	} {
		for _, family := range []struct {
			ca, gateway string
		}{{c.to.CA4, c.from.Gateway4}, {c.to.CA6, c.from.Gateway6}} {
			t.Run(c.name+" "+family.ca, func(t *testing.T) {
				out, err := l.output(c.from.Name, "ping", "-c", "3", "-i", "0.05", "-W", "2", family.ca)
				// L14: one router on the way.
				if err != nil || !strings.Contains(out, "ttl=63") {
					t.Errorf("%v\n%s", err, out)
				}
				l.exchange(t, c.from.Name, c.to.Name, family.ca, 1<<20)

				out, err = l.output(c.from.Name, "traceroute", "-n", "-q", "1", "-w", "2", "-m", "3", family.ca)
				lines := strings.Split(out, "\n")
				if err != nil || len(lines) != 3 || strings.Fields(lines[1])[1] != family.gateway || strings.Fields(lines[2])[1] != family.ca {
					t.Errorf("%v\n%s\nwant %s, then %s", err, out, family.gateway, family.ca)
				}
			})
		}
	}

	t.Run("L14 nothing is counted down within a subnet", func(t *testing.T) {
		for _, ca := range []string{"10.1.1.12", "fd00:10:1:1::12"} {
			if out, err := l.output(topo.Blue1, "ping", "-c", "1", "-W", "2", "-t", "1", ca); err != nil || !strings.Contains(out, "ttl=64") {
				t.Errorf("%v\n%s", err, out)
			}
		}
	})
	t.Run("L11 the router answers no ping", func(t *testing.T) {
		before := l.drops(topo.Host1)
		for _, ca := range []string{blue1.Gateway4, blue1.Gateway6} {
			if out, err := l.output(topo.Blue1, "ping", "-c", "1", "-W", "0.3", ca); err == nil {
				t.Errorf("%s", out)
			}
		}
		l.expectDrops(topo.Host1, before, map[string]int{"router_ca": 2})
	})
}

// L17, L30: Red has the addresses that Blue has; what is sent between Blue's
// subnets arrives there and never in Red, which has the first of them alone.
func TestL17_L30RoutedAndApart(t *testing.T) {
	l := newLabWith(t, topo.Options{Subnet2: true})
	l.run(world{})
	mark := "from Blue3!!"
	wires := map[string]*topo.Wire{}
	for _, vm := range []string{topo.Blue1, topo.Blue2, topo.Red1, topo.Red2} {
		wires[vm] = l.open(vm, "eth0")
	}
	for _, ca := range []string{"10.1.1.11", "10.1.1.12", "fd00:10:1:1::11", "fd00:10:1:1::12"} {
		if out, err := l.output(topo.Blue3, "ping", "-c", "10", "-i", "0.01", "-W", "2", "-p", hexOf(mark), ca); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
	for vm, w := range wires {
		want := map[string]int{topo.Blue1: 20, topo.Blue2: 20}[vm]
		if n := marked(w, []byte(mark)); n != want {
			t.Errorf("%s received %d marked frames, want %d", vm, n, want)
		}
	}
	// Red has no second subnet: there is no way to Blue's.
	before := l.drops(topo.Host1)
	for _, ca := range []string{"10.1.2.11", "fd00:10:1:2::11"} {
		if out, err := l.output(topo.Red1, "ping", "-c", "1", "-W", "0.3", ca); err == nil {
			t.Errorf("Red reaches Blue:\n%s", out)
		}
	}
	l.expectDrops(topo.Host1, before, map[string]int{"lookup_failed": 2})
}

// A VM is the tenant's gateway: what is for addresses that nobody in the tenant has
// goes to it by the customer routes, what it sends from such addresses is let in, on
// its own host and from the other. Nobody else may do the same.
func TestL3_L7_L22_G3_G4_G5Gateway(t *testing.T) {
	l := newLabWith(t, topo.Options{Subnet2: true})
	gateway := l.vm(topo.Blue4)
	policy := ""
	for _, family := range []struct{ any, prefix, ca string }{{"0.0.0.0", "0.0.0.0/0", gateway.CA4}, {"::", "::/0", gateway.CA6}} {
		policy += record(gateway.VSID, family.any, gateway.MAC, topo.PA2) + "type = \"gateway-wildcard\"\n" +
			fmt.Sprintf("[[customer_route]]\nrdid = \"{11111111-2222-3333-4444-000000000000}\"\nvsid = %d\nprefix = %q\nnext_hop = %q\n",
				gateway.VSID, family.prefix, family.ca)
	}
	l.run(world{policy: policy})
	outside := []string{"198.51.100.1", "2001:db8:ffff::1"}
	for _, address := range outside {
		for _, vm := range []string{gateway.Name, topo.Blue2, topo.Red2} { // and who would like to be one
			if out, err := l.output(vm, "ip", "address", "add", address, "dev", "lo"); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		}
	}
	for _, address := range outside {
		for _, vm := range []string{topo.Blue1, topo.Blue3} {
			t.Run(vm+" "+address, func(t *testing.T) {
				l.ping(vm, address)
				l.exchange(t, vm, gateway.Name, address, 1<<18)
				// And from outside, to it.
				ca := l.vm(vm).CA4
				if strings.Contains(address, ":") {
					ca = l.vm(vm).CA6
				}
				if out, err := l.output(gateway.Name, "ping", "-c", "2", "-i", "0.05", "-W", "2", "-I", address, ca); err != nil {
					t.Errorf("%v\n%s", err, out)
				}
				if out, err := l.output(topo.Blue2, "ping", "-c", "1", "-W", "0.2", "-I", address, ca); err == nil {
					t.Errorf("Blue2, which is no gateway, gets through as %s:\n%s", address, out)
				}
			})
		}
		if out, err := l.output(topo.Red1, "ping", "-c", "1", "-W", "0.2", address); err == nil {
			t.Errorf("Red gets out:\n%s", out)
		}
	}
}
