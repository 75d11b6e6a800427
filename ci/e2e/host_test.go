package e2e

import (
	"net"
	"strings"
	"sync"
	"testing"

	"paca/ci/topo"
)

// hostPort gives the host's kernel a way out over the uplink that pacad has.
const hostPort = `
[[port]]
name = "mgmt0"
role = "host"
device = "tap:mgmt0"
uplink = "uplink0"
`

// The hypervisor keeps its own traffic on the NIC that carries the tenants': both
// ways, ping and TCP, from the fabric and to it, while tunnels run.
func TestW20_W24HostPort(t *testing.T) {
	l := newLab(t, false)
	l.run(world{hosts: map[string]string{topo.Host1: hostPort, topo.Host2: hostPort}})
	for host, side := range map[string]struct{ address, via string }{
		topo.Host1: {"192.168.1.100/24", "192.168.1.1"},
		topo.Host2: {"192.168.2.100/24", "192.168.2.1"},
	} {
		for _, line := range []string{"link set mgmt0 up", "address add " + side.address + " dev mgmt0", "route add default via " + side.via} {
			if out, err := l.output(host, append([]string{"ip"}, strings.Fields(line)...)...); err != nil {
				t.Fatalf("%s: ip %s: %v\n%s", host, line, err, out)
			}
		}
	}
	var tunnels sync.WaitGroup
	tunnels.Go(func() {
		out, err := l.output(topo.Blue1, "ping", "-q", "-c", "150", "-i", "0.01", "-W", "2", "10.1.1.12")
		if err != nil || !strings.Contains(out, " 150 received") {
			t.Errorf("%v\n%s", err, out)
		}
	})
	tunnels.Go(func() { l.exchange(t, topo.Red1, topo.Red2, "10.1.1.12", 4<<20) })
	l.ping(topo.Router, "192.168.1.100")
	l.ping(topo.Host1, "192.168.1.1")
	l.ping(topo.Host1, "192.168.2.1")
	l.ping(topo.Host2, "192.168.1.100")
	l.ping(topo.Router, topo.PA1) // which pacad answers
	for _, c := range []struct{ client, server, address string }{
		{topo.Router, topo.Host1, "192.168.1.100"},
		{topo.Host1, topo.Host2, "192.168.2.100"},
	} {
		l.exchange(t, c.client, c.server, c.address, 1<<20)
	}
	tunnels.Wait()

	// GRE that is not the tenants' is the kernel's too: it says that it has no use for it.
	var silent net.Conn
	if err := l.Enter(topo.Router, func() (err error) {
		silent, err = net.Dial("ip4:47", "192.168.1.100")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	mgmt := l.open(topo.Host1, "mgmt0")
	if _, err := silent.Write([]byte("\x00\x00\x08\x00some GRE of the host's own")); err != nil {
		t.Fatal(err)
	}
	l.until("the host's GRE arrives at the host", func() bool { return marked(mgmt, []byte("some GRE of the host's own")) > 0 })
}
