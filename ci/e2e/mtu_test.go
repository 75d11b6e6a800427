package e2e

import (
	"bytes"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"paca/ci/topo"
)

// 4,000 bytes of UDP, for guests that have not heard of the overhead (M4) and let
// their packets be fragmented: what the guest cut for 1500 bytes is cut again, the
// outer packets are whole, and the far kernel puts it all together.
func TestM4_M7_W13DatagramOf4000(t *testing.T) {
	l := newLab(t, false)
	l.run(world{kind: "tap"}) // af_packet would put the fragments together
	for _, vm := range []string{topo.Blue1, topo.Blue2} {
		if out, err := l.output(vm, "sh", "-c", "ip link set eth0 mtu 1500 && sysctl -qw net.ipv4.ip_no_pmtu_disc=1"); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	router := l.open(topo.Router, topo.ToHost1)
	payload := make([]byte, 4000)
	rand.NewChaCha8([32]byte{4}).Read(payload)

	for _, way := range []struct{ from, to, ca string }{
		{topo.Blue1, topo.Blue2, "10.1.1.12"},
		{topo.Blue2, topo.Blue1, "10.1.1.11"},
	} {
		router.Drain()
		var far net.PacketConn
		if err := l.Enter(way.to, func() (err error) {
			far, err = net.ListenPacket("udp", way.ca+":9999")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		defer far.Close()
		l.ping(way.from, way.ca)
		if err := l.sendUDP(way.from, way.ca+":9999", payload, 1); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 5000)
		_ = far.SetDeadline(time.Now().Add(3 * time.Second))
		n, _, err := far.ReadFrom(got)
		if err != nil || !bytes.Equal(got[:n], payload) {
			t.Errorf("%s to %s: %d bytes, %v", way.from, way.to, n, err)
		}
		outer, largest := 0, 0
		for frame, err := router.Recv(0); err == nil; frame, err = router.Recv(0) {
			if frame[12] != 8 || frame[13] != 0 || frame[14+9] != 47 {
				continue
			}
			outer++
			largest = max(largest, len(frame)-14)
			if frame[14+6] != 0x40 || frame[14+7] != 0 {
				t.Errorf("outer flags and fragment offset %x", frame[20:22])
			}
		}
		if outer < 4 && way.from == topo.Blue1 || largest > 1500 {
			t.Errorf("%d tunnel packets, the largest of %d bytes", outer, largest)
		}
	}
}

// A hop of the fabric carries 1400 bytes only, which no policy says: a router says
// so to the PA, and pacad to the guest when it next sends too much. Its TCP goes on
// with smaller segments, over IPv4 and IPv6, and nothing is lost or changed.
func TestM6_M8_M10PathMTU(t *testing.T) {
	t.Run("IPv4", func(t *testing.T) { newLabWith(t, topo.Options{Hop: 1400}).pathMTU(world{}, topo.PA2, "mtu 1358") })
	t.Run("IPv6", func(t *testing.T) {
		newLabWith(t, topo.Options{Hop: 1400}).pathMTU(world{v6: true}, "2001:db8:2::20", "mtu 1338")
	})
}

// pathMTU has both tenants and both families send what no hop carries; route is what
// the guests' kernels are to know in the end.
func (l *lab) pathMTU(w world, pa, route string) {
	t := l.t
	l.run(w)
	l.ping(topo.Blue1, "10.1.1.12")
	for _, c := range []struct{ from, to, ca string }{
		{topo.Blue1, topo.Blue2, "10.1.1.12"},
		{topo.Blue1, topo.Blue2, "fd00:10:1:1::12"},
		{topo.Red2, topo.Red1, "10.1.1.11"},
		{topo.Red2, topo.Red1, "fd00:10:1:1::11"},
	} {
		began := time.Now()
		l.exchange(t, c.from, c.to, c.ca, 4<<20)
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("%s to %s took %v", c.from, c.ca, took.Round(time.Millisecond))
		}
		if out, err := l.output(c.from, "ip", "route", "get", c.ca); err != nil || !strings.Contains(out, route) {
			t.Errorf("%s has the route %q (%v), want %s", c.from, out, err, route)
		}
	}
	if out := l.pacactl(topo.Host1, "mtu"); !strings.Contains(out, "path MTU 1400") || !strings.Contains(out, strings.TrimPrefix(route, "mtu ")) {
		t.Errorf("pacactl mtu says\n%s", out)
	}
	if out := l.pacactl(topo.Host1, "mtu", "test", pa); !strings.Contains(out, "largest that passed: 1400") {
		t.Errorf("pacactl mtu test says\n%s", out)
	}
}

// M6: the guest's own kernel is told what fits when it asks, from the router CA.
func TestM6_M8_M9TooBigToldToGuest(t *testing.T) {
	l := newLab(t, false)
	l.run(world{})
	if out, err := l.output(topo.Blue1, "ip", "link", "set", "eth0", "mtu", "1500"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, c := range []struct{ ca, gateway, size string }{
		{"10.1.1.12", "10.1.1.1", "1431"},
		{"fd00:10:1:1::12", "fd00:10:1:1::1", "1411"},
	} {
		out, err := l.output(topo.Blue1, "ping", "-n", "-c", "1", "-W", "1", "-M", "do", "-s", c.size, c.ca)
		if err == nil || !strings.Contains(strings.ToLower(out), "from "+c.gateway) || !strings.Contains(out, "1458") {
			t.Errorf("want an error of %s with 1458; %v\n%s", c.gateway, err, out)
		}
		if out, err := l.output(topo.Blue1, "ip", "route", "get", c.ca); err != nil || !strings.Contains(out, "mtu 1458") {
			t.Errorf("the guest's route is %q (%v)", out, err)
		}
		l.exchange(t, topo.Blue1, topo.Blue2, c.ca, 1<<20)
	}
}
