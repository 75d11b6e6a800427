// Package topo builds the picture that the demo and the end-to-end tests share:
// two hosts of paca with two tenants' VMs each, and a router between the
// hosts, all of it network namespaces of one Linux machine.
//
//	blue1 ─┐                                            ┌─ blue2
//	       ├─ host1 ── uplink0 ── router ── uplink0 ── host2
//	red1  ─┘   192.168.1.0/24            192.168.2.0/24 └─ red2
//
// The router is the kernel's own forwarding. On the hosts the kernel holds no
// address at all: whatever the wire says there, pacad said. A VM's eth0 is the
// far end of a veth whose near end, in the host, has the VM's name.
//
// Options add to the picture: a second virtual subnet of Blue's, a fabric hop that
// carries less, a VM that can move to the other host.
//
// Part of ci. It imports nothing of paca: it knows namespaces and processes,
// and what it takes for pacad's readiness is an answering control socket.
package topo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The namespaces of the picture.
const (
	Router = "router"
	Host1  = "host1"
	Host2  = "host2"
	Blue1  = "blue1"
	Red1   = "red1"
	Blue2  = "blue2"
	Red2   = "red2"

	// With Options.
	Router2 = "router2"
	Blue3   = "blue3"
	Blue4   = "blue4"
)

// Provider side. A host's uplink and the router's leg to it are the addresses
// of the spec's byte vectors.
const (
	Uplink = "uplink0" // in a host

	Host1MAC       = "02:00:00:00:01:0a"
	Host2MAC       = "02:00:00:00:02:0a"
	RouterMAC1     = "02:00:00:00:01:01"
	RouterMAC2     = "02:00:00:00:02:01"
	PA1            = "192.168.1.10"
	PA2            = "192.168.2.20"
	ToHost1        = "to-host1" // in the router
	ToHost2        = "to-host2"
	tenantMTU      = 1458 // 1500 less 42 bytes of outer headers (W19)
	tenantMTUForV6 = 1438 // with IPv6 provider addresses

	toRouter  = "to-router" // between two routers
	toRouter2 = "to-router2"
)

// A VM as policy knows it. Gateways are the router CAs of its subnet.
type VM struct {
	Name, Tenant, Host string
	VSID               int
	MAC, CA4, CA6      string
	Gateway4, Gateway6 string
}

// VMs of both tenants: the same customer addresses twice.
var VMs = []VM{
	{Blue1, "Blue", Host1, 6001, "10:10:10:10:11:05", "10.1.1.11", "fd00:10:1:1::11", "10.1.1.1", "fd00:10:1:1::1"},
	{Blue2, "Blue", Host2, 6001, "10:10:10:10:11:07", "10.1.1.12", "fd00:10:1:1::12", "10.1.1.1", "fd00:10:1:1::1"},
	{Red1, "Red", Host1, 5001, "10:10:10:10:12:05", "10.1.1.11", "fd00:10:1:1::11", "10.1.1.1", "fd00:10:1:1::1"},
	{Red2, "Red", Host2, 5001, "10:10:10:10:12:07", "10.1.1.12", "fd00:10:1:1::12", "10.1.1.1", "fd00:10:1:1::1"},
}

// Subnet2 are the VMs of Blue's second virtual subnet, which Options.Subnet2 adds.
var Subnet2 = []VM{
	{Blue3, "Blue", Host1, 6002, "10:10:10:10:13:05", "10.1.2.11", "fd00:10:1:2::11", "10.1.2.1", "fd00:10:1:2::1"},
	{Blue4, "Blue", Host2, 6002, "10:10:10:10:13:07", "10.1.2.12", "fd00:10:1:2::12", "10.1.2.1", "fd00:10:1:2::1"},
}

// namespaces are all that a picture can have.
var namespaces = []string{Router, Router2, Host1, Host2, Blue1, Red1, Blue2, Red2, Blue3, Blue4}

// ErrExists says that an instance of the same name is there already.
var ErrExists = errors.New("topo: namespaces exist already")

// Options of New.
type Options struct {
	// Instance tells several pictures on one machine apart; "" is the demo's.
	Instance string
	// Silent leaves VMs and router without addresses and without IPv6, so that
	// the only frames on any wire are those that a test or pacad sends.
	Silent bool
	// Subnet2 adds the VMs of that name.
	Subnet2 bool
	// Hop puts a second router before host2, and between the two a link of this
	// MTU: a fabric that carries less than the hosts' uplinks.
	Hop int
	// Movable VMs have a NIC on each host, the near ends called as the VM, and use
	// the one on their own host until Move.
	Movable []string
}

// Topology is a picture that was built.
type Topology struct {
	Options
	daemons []*Daemon
}

// New builds the picture. It needs root. What it made of a picture it could not
// finish is removed again.
func New(o Options) (*Topology, error) {
	t := &Topology{Options: o}
	if left := Leftovers(o.Instance); len(left) > 0 {
		return nil, fmt.Errorf("%w: %s", ErrExists, strings.Join(left, " "))
	}
	if err := t.build(); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// VMs of this picture.
func (t *Topology) VMs() []VM {
	if t.Subnet2 {
		return slices.Concat(VMs, Subnet2)
	}
	return VMs
}

func (t *Topology) build() error {
	routers := []string{Router}
	if t.Hop != 0 {
		routers = append(routers, Router2)
	}
	names := append(routers, Host1, Host2)
	for _, vm := range t.VMs() {
		names = append(names, vm.Name)
	}
	for _, ns := range names {
		if err := t.addNamespace(ns, slices.Contains(routers, ns)); err != nil {
			return err
		}
	}
	if err := t.buildFabric(routers[len(routers)-1]); err != nil {
		return err
	}
	for _, vm := range t.VMs() {
		if err := t.buildVM(vm); err != nil {
			return err
		}
	}
	return nil
}

func (t *Topology) addNamespace(ns string, routes bool) error {
	if err := run("ip", "netns", "add", t.NS(ns)); err != nil {
		return err
	}
	speaks6 := !t.Silent && ns != Host1 && ns != Host2
	if err := t.inside(ns, "sysctl", "-qw",
		"net.ipv6.conf.default.disable_ipv6="+flag(!speaks6),
		"net.ipv6.conf.all.disable_ipv6="+flag(!speaks6),
		"net.ipv6.conf.default.accept_ra=0",
		"net.ipv6.conf.default.accept_dad=0",
		"net.ipv6.conf.default.router_solicitations=0",
		"net.ipv4.conf.all.rp_filter=0",
		"net.ipv4.conf.default.rp_filter=0",
		"net.ipv4.ip_forward="+flag(routes),
		"net.ipv6.conf.all.forwarding="+flag(routes && !t.Silent),
	); err != nil {
		return err
	}
	return t.ip(ns, "link set lo up")
}

// buildFabric connects host1 to the first router, host2 to the last.
func (t *Topology) buildFabric(last string) error {
	if err := t.leg(end{Host1, Uplink, Host1MAC, 1500}, end{Router, ToHost1, RouterMAC1, 1500}, "192.168.1.1/24", "2001:db8:1::1/64"); err != nil {
		return err
	}
	if err := t.leg(end{Host2, Uplink, Host2MAC, 1500}, end{last, ToHost2, RouterMAC2, 1500}, "192.168.2.1/24", "2001:db8:2::1/64"); err != nil {
		return err
	}
	if last == Router {
		return nil
	}
	if err := t.veth(end{Router, toRouter2, "", t.Hop}, end{Router2, toRouter, "", t.Hop}); err != nil || t.Silent {
		return err
	}
	return errors.Join(
		t.ip(Router, "address add 192.168.9.1/24 dev %s", toRouter2),
		t.ip(Router2, "address add 192.168.9.2/24 dev %s", toRouter),
		t.ip(Router, "route add 192.168.2.0/24 via 192.168.9.2"),
		t.ip(Router2, "route add 192.168.1.0/24 via 192.168.9.1"),
		t.ip(Router, "address add 2001:db8:9::1/64 dev %s nodad", toRouter2),
		t.ip(Router2, "address add 2001:db8:9::2/64 dev %s nodad", toRouter),
		t.ip(Router, "-6 route add 2001:db8:2::/64 via 2001:db8:9::2"),
		t.ip(Router2, "-6 route add 2001:db8:1::/64 via 2001:db8:9::1"))
}

func (t *Topology) leg(host, router end, addr4, addr6 string) error {
	if err := t.veth(host, router); err != nil || t.Silent {
		return err
	}
	return errors.Join(
		t.ip(router.ns, "address add %s dev %s", addr4, router.iface),
		t.ip(router.ns, "address add %s dev %s nodad", addr6, router.iface))
}

func (t *Topology) buildVM(vm VM) error {
	var err error
	if slices.Contains(t.Movable, vm.Name) {
		err = t.buildMovable(vm)
	} else {
		err = t.veth(end{vm.Host, vm.Name, "", 1500}, end{vm.Name, "eth0", vm.MAC, tenantMTU})
	}
	if err != nil || t.Silent {
		return err
	}
	return t.addresses(vm)
}

// addresses gives a VM's eth0 what a tenant would configure.
func (t *Topology) addresses(vm VM) error {
	return errors.Join(
		t.ip(vm.Name, "address add %s/24 dev eth0", vm.CA4),
		t.ip(vm.Name, "address add %s/64 dev eth0 nodad", vm.CA6),
		t.ip(vm.Name, "route add default via %s", vm.Gateway4),
		t.ip(vm.Name, "-6 route add default via %s", vm.Gateway6))
}

// buildMovable makes a VM whose eth0 is a bridge with a way to either host, one of
// which is open: what the hypervisors do when a VM stops here and goes on there.
func (t *Topology) buildMovable(vm VM) error {
	if err := errors.Join(
		t.ip(vm.Name, "link add eth0 address %s type bridge forward_delay 0 mcast_snooping 0", vm.MAC),
		t.inside(vm.Name, "ethtool", "-K", "eth0", "tx", "off", "tso", "off", "gso", "off", "gro", "off")); err != nil {
		return err
	}
	for _, host := range []string{Host1, Host2} {
		if err := errors.Join(
			t.veth(end{host, vm.Name, "", 1500}, end{vm.Name, host, "", tenantMTU}),
			t.inside(vm.Name, "sysctl", "-qw", "net.ipv6.conf."+host+".disable_ipv6=1"),
			t.ip(vm.Name, "link set dev %s master eth0", host),
			// Or the bridge would look for its neighbours where it heard them last.
			t.ip(vm.Name, "link set dev %s type bridge_slave learning off", host)); err != nil {
			return err
		}
	}
	return errors.Join(t.ip(vm.Name, "link set dev eth0 mtu %d up", tenantMTU), t.Move(vm.Name, vm.Host))
}

// Move has a Movable VM go on at a host, from one frame to the next.
func (t *Topology) Move(vm, host string) error {
	other := map[string]string{Host1: Host2, Host2: Host1}[host]
	cmd := exec.Command("bridge", "-n", t.NS(vm), "-batch", "-")
	cmd.Stdin = strings.NewReader("link set dev " + other + " state 0\nlink set dev " + host + " state 3\n")
	return finish(cmd)
}

// Adopt makes an interface that pacad made inside a host, a tap, the eth0 of a VM
// in the place of the veth.
func (t *Topology) Adopt(vm VM, iface string) error {
	if err := errors.Join(
		t.ip(vm.Name, "link delete eth0"),
		t.ip(vm.Host, "link set dev %s netns %s name eth0 address %s", iface, t.NS(vm.Name), vm.MAC),
		t.ip(vm.Name, "link set dev eth0 mtu %d up", tenantMTU)); err != nil || t.Silent {
		return err
	}
	return t.addresses(vm)
}

type end struct {
	ns, iface, mac string
	mtu            int
}

// veth connects two namespaces, never showing the devices in the machine's own.
func (t *Topology) veth(a, b end) error {
	if err := t.ip(a.ns, "link add name %s type veth peer name %s netns %s", a.iface, b.iface, t.NS(b.ns)); err != nil {
		return err
	}
	for _, e := range []end{a, b} {
		if e.mac != "" {
			if err := t.ip(e.ns, "link set dev %s address %s", e.iface, e.mac); err != nil {
				return err
			}
		}
		// A veth hands unfinished checksums and super-packets to af_packet:
		// what leaves here is to be what a wire carries.
		if err := t.inside(e.ns, "ethtool", "-K", e.iface, "tx", "off", "tso", "off", "gso", "off", "gro", "off"); err != nil {
			return err
		}
		if err := t.ip(e.ns, "link set dev %s mtu %d up", e.iface, e.mtu); err != nil {
			return err
		}
	}
	return nil
}

// UseIPv6Provider lowers the VMs' MTU to what fits behind IPv6 provider
// addresses.
func (t *Topology) UseIPv6Provider() error {
	for _, vm := range t.VMs() {
		if err := t.ip(vm.Name, "link set dev eth0 mtu %d", tenantMTUForV6); err != nil {
			return err
		}
	}
	return nil
}

// NS is the name of a namespace of this picture, as `ip netns` knows it.
func (t *Topology) NS(name string) string { return nsName(t.Instance, name) }

func nsName(instance, name string) string {
	if instance == "" {
		return "paca-" + name
	}
	return "paca-" + instance + "-" + name
}

// Command is a command that runs inside a namespace until it ends or the context
// does. It has not been started.
func (t *Topology) Command(ctx context.Context, ns string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", t.NS(ns)}, args...)...)
}

func (t *Topology) inside(ns string, args ...string) error {
	return finish(t.Command(context.Background(), ns, args...))
}

func (t *Topology) ip(ns, format string, args ...any) error {
	line := strings.Fields(fmt.Sprintf(format, args...))
	return run("ip", append([]string{"-n", t.NS(ns)}, line...)...)
}

func run(name string, args ...string) error { return finish(exec.Command(name, args...)) }

func finish(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("topo: %s: %w: %s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

func flag(on bool) string {
	if on {
		return "1"
	}
	return "0"
}

// Close stops the daemons and removes every namespace, device and process of
// the picture.
func (t *Topology) Close() error {
	var errs []error
	for _, d := range t.daemons {
		errs = append(errs, d.Stop())
	}
	return errors.Join(append(errs, Remove(t.Instance))...)
}

// Leftovers lists the namespaces that an instance has now.
func Leftovers(instance string) []string {
	var left []string
	for _, ns := range namespaces {
		if _, err := os.Stat(filepath.Join("/run/netns", nsName(instance, ns))); err == nil {
			left = append(left, nsName(instance, ns))
		}
	}
	return left
}

// Remove takes down an instance, whoever built it: it ends the processes inside
// its namespaces, asking first, and deletes the namespaces with their devices.
func Remove(instance string) error {
	left := Leftovers(instance)
	signalAll(left, syscall.SIGTERM)
	for deadline := time.Now().Add(3 * time.Second); len(processes(left)) > 0; {
		if time.Now().After(deadline) {
			signalAll(left, syscall.SIGKILL)
			deadline = time.Now().Add(time.Second)
		}
		time.Sleep(20 * time.Millisecond)
	}
	var errs []error
	for _, ns := range left {
		errs = append(errs, run("ip", "netns", "delete", ns))
	}
	return errors.Join(errs...)
}

// Sweep removes instances called PREFIX followed by the number of a process
// that is no more: what tests that were killed left behind.
func Sweep(prefix string) error {
	entries, err := os.ReadDir("/run/netns")
	if err != nil {
		return nil // no namespace was ever made
	}
	stale := map[string]bool{}
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), "paca-"+prefix)
		pid, _, named := strings.Cut(rest, "-")
		if n, err := strconv.Atoi(pid); ok && named && err == nil && syscall.Kill(n, 0) != nil {
			stale[prefix+pid] = true
		}
	}
	var errs []error
	for instance := range stale {
		errs = append(errs, Remove(instance))
	}
	return errors.Join(errs...)
}

// processes lists who runs inside the namespaces.
func processes(names []string) []int {
	var pids []int
	for _, ns := range names {
		out, _ := exec.Command("ip", "netns", "pids", ns).Output() // fails when the namespace is gone: nobody in it
		for _, f := range strings.Fields(string(out)) {
			if pid, err := strconv.Atoi(f); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

func signalAll(names []string, sig syscall.Signal) {
	for _, pid := range processes(names) {
		_ = syscall.Kill(pid, sig) // gone already is as good
	}
}
