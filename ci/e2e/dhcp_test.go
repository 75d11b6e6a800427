package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"paca/ci/topo"
)

// leaseScript is what udhcpc calls: it writes down what it was given, and uses it
// as any guest would.
const leaseScript = `#!/bin/sh
[ "$1" = bound ] || exit 0
env > %[1]q.new && mv %[1]q.new %[1]q
ip address flush dev eth0 scope global
ip address add "$ip/$mask" dev eth0
[ -n "$mtu" ] && ip link set eth0 mtu "$mtu"
[ -n "$router" ] && ip route replace default via "$router"
exit 0
`

// lease runs a guest's DHCP client until it has a lease or has given up.
func (l *lab) lease(vm string) map[string]string {
	l.t.Helper()
	given := filepath.Join(l.dir, vm+".lease")
	script := l.write(vm+".script", fmt.Sprintf(leaseScript, given))
	if err := os.Chmod(script, 0o755); err != nil {
		l.t.Fatal(err)
	}
	out, err := l.output(vm, "busybox", "udhcpc", "-i", "eth0", "-f", "-n", "-q", "-t", "5", "-T", "1",
		"-O", "mtu", "-O", "dns", "-O", "router", "-O", "subnet", "-s", script)
	if err != nil {
		l.t.Fatalf("%s has no lease: %v\n%s", vm, err, out)
	}
	text, err := os.ReadFile(given)
	if err != nil {
		l.t.Fatal(err)
	}
	env := map[string]string{}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		env[key] = value
	}
	return env
}

// without takes a VM's addresses away, as a guest is before it asks for one.
func (l *lab) without(vm string) {
	l.t.Helper()
	for _, line := range []string{"address flush dev eth0 scope global", "link set eth0 mtu 1458"} {
		if out, err := l.output(vm, append([]string{"ip"}, strings.Fields(line)...)...); err != nil {
			l.t.Fatalf("%v\n%s", err, out)
		}
	}
}

// A guest asks by DHCP and has from its own host what policy knows: nothing of it
// crosses the fabric, and with it the guest can speak to its subnet and beyond.
func TestA14_M2_M4DHCPFromPolicy(t *testing.T) {
	l := newLabWith(t, topo.Options{Subnet2: true})
	l.run(world{subnets: map[int]string{6001: "dhcp = true\ndns = [\"10.1.2.53\", \"10.1.1.53\"]"}})
	l.without(topo.Blue1)
	if out, err := l.output(topo.Blue1, "ip", "link", "set", "eth0", "mtu", "1500"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	fabric := l.open(topo.Router, topo.ToHost1)

	got := l.lease(topo.Blue1)
	for key, want := range map[string]string{
		"ip": "10.1.1.11", "subnet": "255.255.255.0", "router": "10.1.1.1", "dns": "10.1.2.53 10.1.1.53", "mtu": "1458",
	} {
		if got[key] != want {
			t.Errorf("%s is %q, want %q", key, got[key], want)
		}
	}
	if n := marked(fabric, []byte("\x63\x82\x53\x63")); n > 0 { // DHCP's cookie
		t.Errorf("%d messages crossed the fabric", n)
	}
	l.ping(topo.Blue1, "10.1.1.12")
	l.ping(topo.Blue1, "10.1.2.12")
	// Full packets, of what the guest was told.
	if out, err := l.output(topo.Blue1, "ping", "-c", "1", "-W", "2", "-M", "do", "-s", "1430", "10.1.1.12"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// A tenant's own DHCP server on host2, a client on host1 that policy knows by its
// MAC alone. It gets its lease over the fabric; the address that it then uses is
// learned, works on its own host, and is told to the manager; and once he has told
// the other host, it works there.
func TestA15_A16_L10TenantsDHCPServer(t *testing.T) {
	l := newLabWith(t, topo.Options{Subnet2: true})
	blue1 := l.vm(topo.Blue1)
	l.run(world{
		unknown: []string{topo.Blue1},
		policy:  fmt.Sprintf("%stype = \"l2-only\"\n", record(6001, "0.0.0.0", blue1.MAC, topo.PA1)),
	})
	l.without(topo.Blue1)

	config := l.write("udhcpd.conf", fmt.Sprintf(`
start 10.1.1.100
end 10.1.1.110
interface eth0
lease_file %[1]s/udhcpd.leases
pidfile %[1]s/udhcpd.pid
option subnet 255.255.255.0
option router 10.1.1.1
option mtu 1458
option lease 600
`, l.dir))
	l.write("udhcpd.leases", "")
	ctx, stop := context.WithCancel(t.Context())
	server := l.Command(ctx, topo.Blue2, "busybox", "udhcpd", "-f", "-S", config)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { stop(); _ = server.Wait() }()

	watch := l.watch(topo.Host1)
	got := l.lease(topo.Blue1)
	ca := got["ip"]
	if !strings.HasPrefix(ca, "10.1.1.10") || got["serverid"] != "10.1.1.12" || got["router"] != "10.1.1.1" {
		t.Fatalf("lease of %s from %s, router %s", ca, got["serverid"], got["router"])
	}
	l.until("the learned address is a Dynamic record", func() bool {
		records := l.pacactl(topo.Host1, "lookup-record", "list", "--vsid", "6001", "--type", "dynamic")
		return strings.Contains(records, ca) && strings.Contains(records, blue1.MAC)
	})
	l.until("the manager is told", func() bool { return strings.Contains(watch.String(), ca) })
	l.ping(topo.Blue1, "10.1.2.11") // on its own host
	l.pacactl(topo.Host2, "lookup-record", "add", "--vsid", "6001", "--ca", ca, "--mac", blue1.MAC, "--pa", topo.PA1, "--type", "dynamic")
	l.ping(topo.Blue1, "10.1.1.12")
	l.ping(topo.Blue2, ca)
	l.ping(topo.Blue4, ca)
	l.exchange(t, topo.Blue1, topo.Blue2, "10.1.1.12", 1<<20)
}

// watch runs `pacactl watch` and returns what it has said so far.
func (l *lab) watch(host string) fmt.Stringer {
	l.t.Helper()
	said := &log{path: filepath.Join(l.dir, host+".watch")}
	out, err := os.Create(said.path)
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	cmd := l.Command(ctx, host, pacactl(), "watch", "--socket", l.socket(host))
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		stop()
		_ = cmd.Wait()
		_ = out.Close()
	})
	time.Sleep(50 * time.Millisecond) // it listens
	return said
}

// log is a file that someone writes.
type log struct{ path string }

func (l *log) String() string {
	text, err := os.ReadFile(l.path)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
