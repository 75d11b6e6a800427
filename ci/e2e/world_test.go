package e2e

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"paca/ci/topo"
)

// world is what a picture's hosts run on: a port for each of its VMs, and policy
// with all their records. Fields add to that, as TOML.
type world struct {
	kind    string            // of the VMs' ports: af_packet if empty, or tap
	ports   map[string]string // more of a VM's port
	hosts   map[string]string // more of a host's file
	subnets map[int]string    // more of a virtual subnet, by VSID
	policy  string            // more policy
	unknown []string          // VMs without records
	plugged []string          // VMs whose ports come later, by plug
	v6      bool              // IPv6 provider addresses
	workers string            // [workers] of both hosts, if not one on a core of its own
	uplink  string            // more of both uplinks
}

// overIPv6 turns the examples' and the picture's provider addresses into IPv6.
var overIPv6 = strings.NewReplacer(
	"192.168.1.10/24", "2001:db8:1::10/64", "192.168.2.20/24", "2001:db8:2::20/64",
	"192.168.1.10", "2001:db8:1::10", "192.168.2.20", "2001:db8:2::20",
	"0.0.0.0/0", "::/0", "192.168.1.1", "2001:db8:1::1", "192.168.2.1", "2001:db8:2::1")

var hostSide = map[string]struct {
	core        int
	pa, nextHop string
}{
	topo.Host1: {0, topo.PA1, "192.168.1.1"},
	topo.Host2: {1, topo.PA2, "192.168.2.1"},
}

func (w world) hostFile(l *lab, host string) string {
	side := hostSide[host]
	workers := w.workers
	if workers == "" {
		workers = fmt.Sprintf("cores = [%d]", side.core)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `
[host]
name = %[1]q
[eal]
memory = "256MiB"
hugepages = "none"
[workers]
%[2]s
[[port]]
name = "uplink0"
role = "uplink"
device = "af_packet:uplink0"
%[6]s
[[provider_address]]
address = "%[3]s/24"
port = "uplink0"
[[provider_route]]
port = "uplink0"
prefix = "0.0.0.0/0"
next_hop = %[4]q
[policy]
store = "memory"
seed = "policy.toml"
[control]
socket = %[5]q
[metrics]
listen = "127.0.0.1:9470"
`, host, workers, side.pa, side.nextHop, l.socket(host), w.uplink)
	for _, vm := range l.VMs() {
		if vm.Host == host && !slices.Contains(w.plugged, vm.Name) {
			device := "af_packet:" + vm.Name
			if w.kind == "tap" {
				device = "tap:" + tapOf(vm)
			}
			fmt.Fprintf(&b, "[[port]]\nname = %q\nrole = \"vm\"\ndevice = %q\nvsid = %d\nmac = %q\n%s\n", vm.Name, device, vm.VSID, vm.MAC, w.ports[vm.Name])
		}
	}
	return b.String() + w.hosts[host]
}

func (w world) policyFile(l *lab) string {
	var b strings.Builder
	for _, s := range []struct {
		vsid, tenant int
		net          string
	}{{6001, 0, "1"}, {6002, 0, "2"}, {5001, 1, "1"}} {
		fmt.Fprintf(&b, `
[[virtual_subnet]]
vsid = %d
rdid = "{11111111-2222-3333-4444-%012d}"
prefixes = ["10.1.%[3]s.0/24", "fd00:10:1:%[3]s::/64"]
%[4]s
`, s.vsid, s.tenant, s.net, w.subnets[s.vsid])
	}
	for _, vm := range l.VMs() {
		if !slices.Contains(w.unknown, vm.Name) {
			for _, ca := range []string{vm.CA4, vm.CA6} {
				b.WriteString(record(vm.VSID, ca, vm.MAC, hostSide[vm.Host].pa))
			}
		}
	}
	return b.String() + w.policy
}

// tapOf is the name of the tap that is to become a VM's eth0.
func tapOf(vm topo.VM) string { return "tap-" + vm.Name }

// run starts both hosts.
func (l *lab) run(w world) (host1, host2 *topo.Daemon) {
	l.t.Helper()
	files := map[string]string{"policy.toml": w.policyFile(l)}
	for host := range hostSide {
		files[host+".toml"] = w.hostFile(l, host)
	}
	for name, text := range files {
		if w.v6 {
			text = overIPv6.Replace(text)
		}
		l.write(name, text)
	}
	if w.v6 {
		if err := l.UseIPv6Provider(); err != nil {
			l.t.Fatal(err)
		}
	}
	host1, host2 = l.start(topo.Host1), l.start(topo.Host2)
	if w.kind == "tap" {
		for _, vm := range l.VMs() {
			if err := l.Adopt(vm, tapOf(vm)); err != nil {
				l.t.Fatal(err)
			}
		}
	}
	return host1, host2
}

// plug adds a VM's port to a host that runs.
func (l *lab) plug(host string, vm topo.VM) {
	l.t.Helper()
	l.pacactl(host, "port", "add", vm.Name, "--role", "vm", "--device", "af_packet:"+vm.Name, "--vsid", strconv.Itoa(vm.VSID), "--mac", vm.MAC)
}

// vm finds a VM of the picture.
func (l *lab) vm(name string) topo.VM {
	l.t.Helper()
	all := l.VMs()
	at := slices.IndexFunc(all, func(vm topo.VM) bool { return vm.Name == name })
	if at < 0 {
		l.t.Fatalf("no VM %s", name)
	}
	return all[at]
}

// until tries again until it holds, for the time that a control plane may take.
func (l *lab) until(what string, holds func() bool) {
	l.t.Helper()
	for deadline := time.Now().Add(3 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			l.t.Errorf("not in 3 s: %s", what)
			return
		}
	}
}

// listen opens a TCP port inside a VM.
func (l *lab) listen(ns, address string) net.Listener {
	l.t.Helper()
	var listener net.Listener
	if err := l.Enter(ns, func() (err error) {
		listener, err = net.Listen("tcp", address)
		return err
	}); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = listener.Close() })
	return listener
}

// connect opens a TCP connection between two VMs, both ends of which are the
// VMs' kernels.
func (l *lab) connect(client, server, ca string) (near, far net.Conn, err error) {
	address := net.JoinHostPort(ca, "9000")
	listener := l.listen(server, address)
	defer listener.Close()
	err = l.Enter(client, func() (err error) {
		near, err = net.DialTimeout("tcp", address, 5*time.Second)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	l.t.Cleanup(func() { _ = near.Close() })
	_ = listener.(*net.TCPListener).SetDeadline(time.Now().Add(5 * time.Second))
	if far, err = listener.Accept(); err != nil {
		return nil, nil, err
	}
	l.t.Cleanup(func() { _ = far.Close() })
	return near, far, nil
}

// exchange sends so many bytes both ways at once over one TCP connection, and
// compares what arrived with what was sent.
func (l *lab) exchange(t *testing.T, client, server, ca string, size int) {
	t.Helper()
	near, far, err := l.connect(client, server, ca)
	if err != nil {
		t.Errorf("%s to %s: %v", client, ca, err)
		return
	}
	for _, c := range []net.Conn{near, far} {
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	}
	var ways sync.WaitGroup
	for i, way := range [][2]net.Conn{{near, far}, {far, near}} {
		ways.Go(func() {
			if err := stream(way[0], way[1], size, uint64(size+i)); err != nil {
				t.Errorf("%s to %s, way %d: %v", client, ca, i, err)
			}
		})
	}
	ways.Wait()
	_, _ = near.Close(), far.Close()
}

// stream sends random bytes from one end to the other.
func stream(from, to net.Conn, size int, seed uint64) error {
	sent := make(chan error, 1)
	source := func() io.Reader {
		return io.LimitReader(rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)}), int64(size))
	}
	go func() {
		_, err := io.Copy(from, source())
		sent <- err
	}()
	got, want := sha256.New(), sha256.New()
	n, err := io.CopyN(got, to, int64(size))
	_, _ = io.Copy(want, source())
	switch {
	case err != nil:
		return fmt.Errorf("after %d of %d bytes: %w", n, size, errors.Join(err, from.SetDeadline(time.Now()), <-sent))
	case string(got.Sum(nil)) != string(want.Sum(nil)):
		return errors.New("what arrived is not what was sent")
	}
	return <-sent
}

// marked counts the frames with a mark that have come to a wire.
func marked(w *topo.Wire, mark []byte) int {
	n := 0
	for {
		frame, err := w.Recv(0)
		if errors.Is(err, os.ErrDeadlineExceeded) || err != nil {
			return n
		}
		if strings.Contains(string(frame), string(mark)) {
			n++
		}
	}
}
