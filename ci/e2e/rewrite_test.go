package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"paca/ci/topo"
)

// ownPAs are the provider addresses of Blue's VMs, each its own.
var ownPAs = map[string]struct{ v4, v6 string }{
	topo.Blue1: {"192.168.1.11", "2001:db8:1::11"},
	topo.Blue2: {"192.168.2.12", "2001:db8:2::12"},
	topo.Blue3: {"192.168.1.13", "2001:db8:1::13"},
	topo.Blue4: {"192.168.2.14", "2001:db8:2::14"},
}

// runRewritten starts both hosts with Blue in rewrite and Red in nvgre. All ports are
// taps: af_packet would put fragments together, on uplinks too. Blue's guests have
// their cards' whole MTU (R15).
func (l *lab) runRewritten() { l.runRewrittenAs(world{}) }

// runRewrittenAs is runRewritten for hosts whose [workers] and uplinks are those of w.
func (l *lab) runRewrittenAs(w world) {
	l.t.Helper()
	w.kind, w.subnets, w.hosts = "tap", map[int]string{6001: "mode = \"rewrite\"", 6002: "mode = \"rewrite\""}, map[string]string{}
	for _, vm := range l.VMs() {
		own, ok := ownPAs[vm.Name]
		if !ok {
			continue
		}
		w.unknown = append(w.unknown, vm.Name)
		more := ""
		if vm.Name == topo.Blue3 {
			more = "use_vm_mac = true\n"
		}
		w.policy += record(vm.VSID, vm.CA4, vm.MAC, own.v4) + more + record(vm.VSID, vm.CA6, vm.MAC, own.v6) + more
		w.hosts[vm.Host] += fmt.Sprintf("[[provider_address]]\naddress = \"%s/24\"\nport = \"uplink0\"\n[[provider_address]]\naddress = \"%s/64\"\nport = \"uplink0\"\n", own.v4, own.v6)
	}
	last := topo.Router
	if l.Hop != 0 {
		last = topo.Router2
	}
	legs := []struct{ host, router, iface, mac, addr4, addr6 string }{
		{topo.Host1, topo.Router, topo.ToHost1, topo.RouterMAC1, "192.168.1.1", "2001:db8:1::1"},
		{topo.Host2, last, topo.ToHost2, topo.RouterMAC2, "192.168.2.1", "2001:db8:2::1"},
	}
	l.write("policy.toml", w.policyFile(l))
	for _, leg := range legs {
		w.hosts[leg.host] += fmt.Sprintf("[[provider_route]]\nport = \"uplink0\"\nprefix = \"::/0\"\nnext_hop = %q\n", leg.addr6)
		l.write(leg.host+".toml", strings.Replace(w.hostFile(l, leg.host), "af_packet:uplink0", "tap:uplink0", 1))
		l.do(leg.router, "ip", "link", "delete", leg.iface)
		l.start(leg.host)
		l.do(leg.host, "ip", "link", "set", topo.Uplink, "netns", l.NS(leg.router), "name", leg.iface, "address", leg.mac)
		l.do(leg.router, "ip", "link", "set", leg.iface, "up")
		l.do(leg.router, "ip", "address", "add", leg.addr4+"/24", "dev", leg.iface)
		l.do(leg.router, "ip", "address", "add", leg.addr6+"/64", "dev", leg.iface, "nodad")
	}
	for _, vm := range l.VMs() {
		if err := l.Adopt(vm, tapOf(vm)); err != nil {
			l.t.Fatal(err)
		}
		if vm.Tenant == "Blue" {
			l.do(vm.Name, "ip", "link", "set", "eth0", "mtu", "1500")
		}
	}
}

// do runs a command inside a namespace that has to succeed.
func (l *lab) do(ns string, args ...string) {
	l.t.Helper()
	if out, err := l.output(ns, args...); err != nil {
		l.t.Fatalf("%s: %v: %v\n%s", ns, args, err, out)
	}
}

// capture takes down all that passes an interface until the function that it returns
// is called; that has tshark read it, by filter, and counts the packets.
func (l *lab) capture(ns, iface string) (read func(filter string) int) {
	l.t.Helper()
	file := filepath.Join(l.dir, iface+".pcap")
	cmd := l.Command(l.t.Context(), ns, "tcpdump", "-i", iface, "-s", "0", "-U", "--immediate-mode", "-B", "16384", "-w", file)
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.until("tcpdump listens", func() bool { s, err := os.Stat(file); return err == nil && s.Size() > 0 })
	ended := false
	end := func() {
		if !ended {
			ended = true
			_ = cmd.Process.Signal(os.Interrupt)
			_ = cmd.Wait()
		}
	}
	l.t.Cleanup(end)
	return func(filter string) int {
		l.t.Helper()
		for size := int64(-1); !ended; time.Sleep(300 * time.Millisecond) { // until what passed last is there
			s, err := os.Stat(file)
			if err != nil {
				l.t.Fatal(err)
			}
			if s.Size() == size {
				end()
			}
			size = s.Size()
		}
		out, err := exec.CommandContext(l.t.Context(), "tshark", "-r", file, "-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE",
			"-o", "udp.check_checksum:TRUE", "-Y", filter).Output()
		if err != nil {
			l.t.Fatalf("tshark: %v", err)
		}
		n := strings.Count(string(out), "\n")
		if n > 0 && strings.Contains(filter, "== 0") {
			l.t.Logf("%s:\n%s", filter, out[:min(len(out), 2000)])
		}
		return n
	}
}

// badSums is the filter for bad checksums. Those of what an ICMP error quotes do not
// count: tshark does not know that routers quote the beginning only.
const badSums = "icmp.checksum.status == 0 || icmpv6.checksum.status == 0 ||" +
	"(ip.checksum.status == 0 || tcp.checksum.status == 0 || udp.checksum.status == 0) && !(icmp.type == 3 || icmp.type == 11 || icmpv6.type < 128)"

// Blue is rewritten and Red encapsulated, on the same two hosts at once, with the same
// addresses: pings, TCP, iperf3, traceroutes that show the fabric's router as the
// virtual subnet's, ports that are unreachable, of both families. tshark finds nothing
// wrong on the wire.
func TestR1_R5_R7_R14_R16_R18_R22BlueAndRed(t *testing.T) {
	l := newLabWith(t, topo.Options{Subnet2: true})
	l.runRewritten()
	read := l.capture(topo.Router, topo.ToHost1)

	blue1, blue2, blue3, blue4 := l.vm(topo.Blue1), l.vm(topo.Blue2), l.vm(topo.Blue3), l.vm(topo.Blue4)
	for _, c := range []struct{ from, to topo.VM }{{blue1, blue2}, {blue2, blue1}, {l.vm(topo.Red1), l.vm(topo.Red2)}, {blue1, blue4}, {blue4, blue3}, {blue3, blue1}} {
		for _, ca := range []string{c.to.CA4, c.to.CA6} {
			t.Run(c.from.Name+" "+c.to.Name+" "+ca, func(t *testing.T) {
				if out, err := l.output(c.from.Name, "ping", "-c", "3", "-i", "0.05", "-W", "2", ca); err != nil {
					t.Errorf("%v\n%s", err, out)
				}
				l.exchange(t, c.from.Name, c.to.Name, ca, 1<<20)
				l.transfer(t, c.from.Name, c.to.Name, ca)
				l.unreachable(t, c.from.Name, ca)
			})
		}
	}
	t.Run("R15 1500 bytes pass", func(t *testing.T) {
		for ca, size := range map[string]string{blue2.CA4: "1472", blue2.CA6: "1452"} {
			if out, err := l.output(topo.Blue1, "ping", "-c", "1", "-W", "2", "-M", "do", "-s", size, ca); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		}
	})
	t.Run("R14 R18 traceroute", func(t *testing.T) {
		for _, c := range []struct {
			from topo.VM
			path []string
		}{
			{blue1, []string{blue1.Gateway4, blue2.CA4}},
			{blue1, []string{blue1.Gateway6, blue2.CA6}},
			{blue1, []string{blue1.Gateway4, blue1.Gateway4, blue4.CA4}}, // paca's router, then the fabric's
			{blue4, []string{blue4.Gateway6, blue4.Gateway6, blue1.CA6}},
		} {
			for _, kind := range []string{"-U", "-I"} {
				out, err := l.output(c.from.Name, "traceroute", "-n", "-q", "1", "-w", "2", "-m", "4", kind, c.path[len(c.path)-1])
				var path []string
				for _, line := range strings.Split(out, "\n")[1:] {
					path = append(path, strings.Fields(line)[1])
				}
				if err != nil || strings.Join(path, " ") != strings.Join(c.path, " ") {
					t.Errorf("%s: %v\n%s\nwant %v", c.from.Name, err, out, c.path)
				}
			}
		}
	})
	t.Run("R7 the VM's own MAC", func(t *testing.T) {
		for _, pa := range []string{ownPAs[topo.Blue3].v4, ownPAs[topo.Blue3].v6} {
			if out, err := l.output(topo.Router, "ip", "neighbour", "show", pa); err != nil || !strings.Contains(out, blue3.MAC) {
				t.Errorf("the router has %q for %s (%v)", out, pa, err)
			}
		}
	})
	t.Run("R5 a PA answers its own pings", func(t *testing.T) {
		for _, pa := range []string{ownPAs[topo.Blue1].v4, ownPAs[topo.Blue1].v6} {
			if out, err := l.output(topo.Router, "ping", "-c", "1", "-W", "2", pa); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		}
	})

	if n := read(badSums); n != 0 {
		t.Errorf("%d packets with bad checksums", n)
	}
	for filter, least := range map[string]int{
		"!gre && tcp.checksum.status == 1 && ip.addr == 192.168.1.11 && ip.addr == 192.168.2.12":         100,
		"!gre && tcp.checksum.status == 1 && ipv6.addr == 2001:db8:1::11 && ipv6.addr == 2001:db8:2::12": 100,
		"!gre && ip.checksum.status == 1":                         100,
		"!gre && icmp.type == 3 && icmp.code == 3":                1,
		"!gre && icmpv6.type == 1":                                1,
		"!gre && icmp.type == 11 && ip.src == 192.168.1.1":        1,
		"!gre && icmpv6.type == 3 && ipv6.src == 2001:db8:1::1":   1,
		"gre && tcp.checksum.status == 1 && ip.addr == 10.1.1.11": 100,
	} {
		if n := read(filter); n < least {
			t.Errorf("%d packets are %s", n, filter)
		}
	}
	if n := read("!gre && (ip.addr == 10.0.0.0/8 || ipv6.addr == fd00::/8) && !icmp && !icmpv6"); n != 0 {
		t.Errorf("%d packets with customer addresses", n)
	}
}

// unreachable has the VM's application told that nobody listens there.
func (l *lab) unreachable(t *testing.T, from, ca string) {
	t.Helper()
	if err := l.Enter(from, func() error {
		conn, err := net.Dial("udp", net.JoinHostPort(ca, "49999"))
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
		if _, err := conn.Write([]byte("is anybody there?")); err != nil {
			return err
		}
		if _, err = conn.Read(make([]byte, 100)); !errors.Is(err, syscall.ECONNREFUSED) {
			return fmt.Errorf("the application hears %v, not that its connection is refused", err)
		}
		return nil
	}); err != nil {
		t.Errorf("%s to %s: %v", from, ca, err)
	}
}

// A hop of the fabric carries 1400 bytes: its router says so to the VM itself, as the
// virtual subnet's router, and TCP goes on; it cuts fragments of datagrams again, which
// the far kernel puts together. Red learns of it as ever, and its datagrams are cut as
// ever.
func TestM14_R12_R15_R18PathMTUAndFragments(t *testing.T) {
	l := newLabWith(t, topo.Options{Hop: 1400})
	l.runRewritten()
	near, far := l.capture(topo.Router, topo.ToHost1), l.capture(topo.Router2, topo.ToHost2)

	for _, c := range []struct{ from, to, ca, route string }{
		{topo.Blue1, topo.Blue2, "10.1.1.12", "mtu 1400"},
		{topo.Blue1, topo.Blue2, "fd00:10:1:1::12", "mtu 1400"},
		{topo.Blue2, topo.Blue1, "10.1.1.11", "mtu 1400"},
		{topo.Red2, topo.Red1, "10.1.1.11", "mtu 1358"},
		{topo.Red2, topo.Red1, "fd00:10:1:1::11", "mtu 1358"},
	} {
		l.exchange(t, c.from, c.to, c.ca, 4<<20)
		if out, err := l.output(c.from, "ip", "route", "get", c.ca); err != nil || !strings.Contains(out, c.route) {
			t.Errorf("%s has the route %q (%v), want %s", c.from, out, err, c.route)
		}
	}
	l.do(topo.Blue2, "ip", "route", "flush", "cache")
	out, err := l.output(topo.Blue2, "ping", "-n", "-c", "1", "-W", "1", "-M", "do", "-s", "1472", "10.1.1.11")
	if err == nil || !strings.Contains(out, "From 10.1.1.1") || !strings.Contains(out, "1400") {
		t.Errorf("want an error of 10.1.1.1 with 1400; %v\n%s", err, out)
	}

	payload := make([]byte, 4000)
	rand.NewChaCha8([32]byte{5}).Read(payload)
	for _, vm := range []string{topo.Blue1, topo.Blue2, topo.Red1, topo.Red2} {
		l.do(vm, "sysctl", "-qw", "net.ipv4.ip_no_pmtu_disc=1")
		l.do(vm, "ip", "route", "flush", "cache")
	}
	for _, way := range []struct{ from, to, ca string }{
		{topo.Blue1, topo.Blue2, "10.1.1.12"},
		{topo.Blue2, topo.Blue1, "10.1.1.11"},
		{topo.Blue1, topo.Blue2, "fd00:10:1:1::12"},
		{topo.Blue2, topo.Blue1, "fd00:10:1:1::11"},
		{topo.Red1, topo.Red2, "10.1.1.12"},
		{topo.Red2, topo.Red1, "fd00:10:1:1::11"},
	} {
		var conn net.PacketConn
		if err := l.Enter(way.to, func() (err error) {
			conn, err = net.ListenPacket("udp", net.JoinHostPort(way.ca, "9999"))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		got := make([]byte, 5000)
		n := 0
		for range 3 { // over IPv6, the first may be what tells of the path
			if err := l.sendUDP(way.from, net.JoinHostPort(way.ca, "9999"), payload, 1); err != nil {
				t.Fatal(err)
			}
			_ = conn.SetDeadline(time.Now().Add(time.Second))
			if n, _, err = conn.ReadFrom(got); err == nil {
				break
			}
		}
		if err != nil || !bytes.Equal(got[:n], payload) {
			t.Errorf("%s to %s: %d bytes, %v", way.from, way.ca, n, err)
		}
	}
	for name, read := range map[string]func(string) int{"first": near, "last": far} {
		if n := read(badSums); n != 0 {
			t.Errorf("%d packets with bad checksums on the %s link", n, name)
		}
		for filter, least := range map[string]int{
			"!gre && ip.flags.mf == 1":         2,
			"!gre && ipv6.fraghdr":             2,
			"gre && ip.flags.mf == 1":          2,
			"gre && ipv6.fraghdr":              2,
			"!gre && udp.checksum.status == 1": 1,
		} {
			if n := read(filter); n < least {
				t.Errorf("%d packets of the %s link are %s", n, name, filter)
			}
		}
	}
	if n := near("icmp.type == 3 && icmp.code == 4 && ip.src == 192.168.1.1 && !gre"); n == 0 {
		t.Error("no router said that a packet is too big")
	}
}

// Blue changes from rewrite to nvgre and back under pings and a TCP stream, host by
// host: its connection stays, and what is lost is what was sent between the two.
func TestR4_R6ModeChangesLive(t *testing.T) {
	l := newLabWith(t, topo.Options{})
	l.runRewritten()
	for _, vm := range []string{topo.Blue1, topo.Blue2} {
		l.do(vm, "ip", "link", "set", "eth0", "mtu", "1400") // what both modes carry
	}
	near, far, err := l.connect(topo.Blue1, topo.Blue2, "10.1.1.12")
	if err != nil {
		t.Fatal(err)
	}
	router := l.open(topo.Router, topo.ToHost1)
	seen := func() (rewritten, encapsulated int) {
		for frame, err := router.Recv(0); err == nil; frame, err = router.Recv(0) {
			if len(frame) > 34 && frame[12] == 8 && frame[13] == 0 {
				switch frame[14+9] {
				case 6, 1:
					rewritten++
				case 47:
					encapsulated++
				}
			}
		}
		return rewritten, encapsulated
	}
	talk := func(n uint64) {
		t.Helper()
		for _, c := range []net.Conn{near, far} {
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		}
		if err := stream(near, far, 1<<18, n); err != nil {
			t.Error(err)
		}
		l.ping(topo.Red1, "10.1.1.12")
		l.ping(topo.Blue1, "fd00:10:1:1::12")
	}
	talk(1)
	if r, _ := seen(); r == 0 {
		t.Error("nothing on the wire is rewritten")
	}
	for i, mode := range []string{"nvgre", "rewrite", "nvgre"} {
		pings := l.Command(t.Context(), topo.Blue2, "ping", "-q", "-c", "400", "-i", "0.005", "-W", "1", "10.1.1.11")
		var said bytes.Buffer
		pings.Stdout = &said
		if err := pings.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(500 * time.Millisecond)
		for _, host := range []string{topo.Host1, topo.Host2} {
			l.pacactl(host, "virtual-subnet", "set", "6001", "--mode", mode)
		}
		talk(uint64(i))
		if err := pings.Wait(); err != nil {
			t.Errorf("pings: %v", err)
		}
		t.Logf("to %s: %s", mode, pingCount.FindString(said.String()))
		seen()
		talk(uint64(10 + i))
		if r, e := seen(); mode == "nvgre" && (r != 0 || e == 0) || mode == "rewrite" && r == 0 {
			t.Errorf("in %s, %d rewritten and %d encapsulated packets on the wire", mode, r, e)
		}
	}
}
