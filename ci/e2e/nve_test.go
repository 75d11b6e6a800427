package e2e

import (
	"strings"
	"testing"
	"time"

	"paca/ci/topo"
)

// What hosts tell each other when their policies disagree, and whom they tell: an
// UNREACHABLE for a VM that is not there, a REDIRECT for one that has moved, and
// to the manager who watches what each of them learned.
func TestL13_L24_N1_N2_N3_N4_N5_N6_N7_N8_N9_N11_N12ControlMessages(t *testing.T) {
	l := newLab(t, false)
	const nobody, mac = "10.1.1.50", "10:10:10:10:11:50"
	l.run(world{})
	l.ping(topo.Blue1, "10.1.1.12")
	watch := l.watch(topo.Host1)
	fabric := l.open(topo.Router, topo.ToHost2) // what host2 says
	told := func(words ...string) bool {
		for line := range strings.Lines(watch.String()) {
			all := strings.Contains(line, " ! ") || strings.HasPrefix(strings.TrimSpace(line), "!")
			for _, w := range words {
				all = all && strings.Contains(line, w)
			}
			if all {
				return true
			}
		}
		return false
	}
	send := func(ca string) {
		t.Helper()
		if out, err := l.output(topo.Blue1, "ip", "neighbour", "replace", ca, "lladdr", mac, "dev", "eth0"); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if out, err := l.output(topo.Blue1, "ping", "-c", "2", "-i", "0.05", "-W", "0.2", ca); err == nil {
			t.Errorf("%s answers:\n%s", ca, out)
		}
	}

	// L13: no host knows it.
	send(nobody)
	l.until("the manager of host1 is told of the miss: "+watch.String(), func() bool { return told("policy-mismatch", nobody) })

	// N8: host1 thinks that it lives on host2, which does not.
	l.pacactl(topo.Host1, "lookup-record", "add", "--vsid", "6001", "--ca", nobody, "--mac", mac, "--pa", topo.PA2)
	fabric.Drain()
	send(nobody)
	l.until("the manager of host1 is told of the UNREACHABLE: "+watch.String(), func() bool { return told("unreachable", nobody, topo.PA2) })
	l.judgeNVE(t, fabric, nobody, 3)

	// N7: host2 knows that it has moved to a third host, host1 does not.
	const third = "192.168.3.30"
	l.pacactl(topo.Host2, "lookup-record", "add", "--vsid", "6001", "--ca", nobody, "--mac", mac, "--pa", topo.PA2)
	l.pacactl(topo.Host2, "migrate", "--vsid", "6001", "--ca", nobody, "--to", third)
	fabric.Drain()
	send(nobody)
	l.until("the manager of host1 is told of the REDIRECT: "+watch.String(), func() bool { return told("redirect", nobody, third) })
	l.judgeNVE(t, fabric, nobody, 5)
	// N12: to be told is not to act.
	if out := l.pacactl(topo.Host1, "lookup-record", "list", "--ca", nobody); !strings.Contains(out, topo.PA2) {
		t.Errorf("host1 has changed its policy by itself:\n%s", out)
	}
	// L24: what host2 could not deliver, it sent nowhere.
	time.Sleep(50 * time.Millisecond)
	l.ping(topo.Blue1, "10.1.1.12")
}

// judgeNVE finds the control message about a CA at the router and has scapy look at
// it.
func (l *lab) judgeNVE(t *testing.T, fabric *topo.Wire, ca string, kind int) {
	t.Helper()
	seen := []string{}
	for frame, err := fabric.Recv(0); err == nil; frame, err = fabric.Recv(0) {
		seen = append(seen, hexOf(string(frame)))
	}
	var faults []string
	ask(t, "nve.py", map[string]any{"frames": seen, "type": kind, "from": topo.PA2, "to": topo.PA1, "ca": ca, "vsid": 6001, "new_pa": "192.168.3.30"}, &faults)
	for _, f := range faults {
		t.Errorf("scapy: %s", f)
	}
}
