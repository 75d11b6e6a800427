package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/gopacket"
)

// ovs is Open vSwitch with its DPDK datapath and a GRE port: frames of the VM's
// port leave through a tunnel with a key, and those of the tunnel arrive at the
// VM's port. It has two rules in all and knows no record: whatever the VM says
// goes to one host with one key, so all that it pays for is its flow cache and the
// header.
type ovs struct{}

func (ovs) name() string { return "OVS-DPDK" }

// ovsPrograms are where Debian's openvswitch-switch-dpdk has the daemon, or else
// who builds it himself.
var ovsPrograms = []string{"/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk", "/usr/local/sbin/ovs-vswitchd"}

// findOVS is a daemon with DPDK, if there is one.
func findOVS() (program string, ok bool) {
	for _, program := range ovsPrograms {
		if strings.Contains(output(program, "--version"), "DPDK ") {
			return program, true
		}
	}
	return "", false
}

func (ovs) why(p Params) string {
	if p.queues() < p.Cores {
		return testpmd{}.why(p)
	}
	if _, ok := findOVS(); !ok {
		return "OVS-DPDK is not installed"
	}
	if p.Mode != "nvgre" {
		return "OVS-DPDK is measured as a tunnel only"
	}
	if p.Records > recordsPerHost {
		return "OVS-DPDK has one tunnel here, not one for each host"
	}
	return ""
}

func (ovs) takes(Params) time.Duration { return 3 * time.Second }

func (ovs) wants(p Params, f flow, size int) (l []gopacket.SerializableLayer, anyMAC bool) {
	return pacad{}.wants(p, f, size)
}

// ovsRun are its two daemons, in a network namespace and a folder of their own.
type ovsRun struct {
	dir     string
	db      *child
	switchd *child
	counted string // port that sends
}

func (o ovs) start(ctx context.Context, j job) (_ running, err error) {
	r := new(ovsRun)
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("OVS: %w", err), r.stop())
		}
	}()
	if r.dir, err = os.MkdirTemp(j.b.dir, "ovs"); err != nil {
		return nil, err
	}
	if err := r.startDatabase(ctx); err != nil {
		return nil, err
	}
	if err := r.startSwitch(ctx, j); err != nil {
		return nil, err
	}
	return r, r.plug(ctx, j)
}

func (r *ovsRun) file(name string) string { return filepath.Join(r.dir, name) }

func (r *ovsRun) startDatabase(ctx context.Context) error {
	if _, err := r.run(ctx, "ovsdb-tool", "create", r.file("conf.db"), "/usr/share/openvswitch/vswitch.ovsschema"); err != nil {
		return err
	}
	c, err := spawn(r.command(ctx, "ovsdb-server", r.file("conf.db"), "--remote=punix:"+r.file("db.sock"), "--unixctl="+r.file("db.ctl"), "--no-chdir"))
	if err != nil {
		return err
	}
	r.db = c
	return c.until("its socket", 30*time.Second, func() bool { return exists(r.file("db.sock")) })
}

func (r *ovsRun) startSwitch(ctx context.Context, j job) error {
	extra := strings.Join(eal(j.Pages, j.memory()), " ")
	if j.Pages == ordinary {
		extra = "--legacy-mem " + extra // else it adds --in-memory, which contradicts --no-huge
	}
	mask := 0
	for _, core := range j.forwards {
		mask |= 1 << core
	}
	set := []string{"set", "Open_vSwitch", ".", "other_config:dpdk-init=true",
		fmt.Sprintf("other_config:pmd-cpu-mask=0x%x", mask), fmt.Sprintf("other_config:dpdk-lcore-mask=0x%x", 1<<j.control),
		// A pool to each port, of about as many buffers as the others have.
		"other_config:per-port-memory=true",
		fmt.Sprintf("other_config:dpdk-extra=%q", extra)}
	for _, args := range [][]string{{"--no-wait", "init"}, append([]string{"--no-wait"}, set...)} {
		if _, err := r.run(ctx, r.vsctl(args...)...); err != nil {
			return err
		}
	}
	program, _ := findOVS()
	cmd := r.command(ctx, program, "unix:"+r.file("db.sock"), "--unixctl="+r.file("switch.ctl"), "--no-chdir")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET} // for its bridges' interfaces
	c, err := spawn(cmd)
	if err != nil {
		return err
	}
	r.switchd = c
	return c.until("its socket", 30*time.Second, func() bool { return exists(r.file("switch.ctl")) })
}

// Numbers of the ports of br-int and br-phy: rules are there before the ports.
const (
	ofVM     = 1
	ofGRE    = 2
	ofUplink = 1
)

// plug makes the bridges: br-int has the VM and the tunnel, br-phy the network card
// and the PA. Rules come last: until then all that is received is dropped.
func (r *ovsRun) plug(ctx context.Context, j job) error {
	far, near, gateway, bits := remote(0, j.Mode).pa(j.PA), vm.pa(j.PA), gateway4, 24
	if j.PA == 6 {
		gateway, bits = gateway6, 64
	}
	vmDevice, uplinkDevice := j.in, j.out
	r.counted = "uplink"
	if j.Direction == "ingress" {
		vmDevice, uplinkDevice = j.out, j.in
		r.counted = "vm"
	}
	for _, command := range [][]string{
		r.vsctl("add-br", "br-int", "--", "set", "bridge", "br-int", "datapath_type=netdev", "fail-mode=secure"),
		r.vsctl("add-br", "br-phy", "--", "set", "bridge", "br-phy", "datapath_type=netdev", "fail-mode=secure",
			fmt.Sprintf(`other-config:hwaddr="%s"`, macUplink), "--", "set", "Interface", "br-phy", "mtu_request=1600"),
		r.vsctl("add-port", "br-int", "gre", "--", "set", "Interface", "gre", "type=gre", "options:key=flow", fmt.Sprint("ofport_request=", ofGRE),
			fmt.Sprintf(`options:remote_ip="%s"`, far), fmt.Sprintf(`options:local_ip="%s"`, near)),
		r.device("br-int", "vm", ofVM, vmDevice, j.Cores),
		r.device("br-phy", "uplink", ofUplink, uplinkDevice, j.Cores),
		r.ip("link", "set", "br-phy", "up", "addrgenmode", "none"), // the kernel says nothing there
		r.ip("address", "add", fmt.Sprintf("%s/%d", near, bits), "dev", "br-phy", "nodad"),
		r.ip("route", "add", far.String(), "via", gateway.String(), "dev", "br-phy"),
		r.appctl("tnl/arp/set", "br-phy", gateway.String(), macGateway.String()),
		r.addFlow("br-int", fmt.Sprintf("in_port=%d,actions=set_field:%d->tun_id,output:%d", ofVM, vsid<<8, ofGRE)),
		r.addFlow("br-int", fmt.Sprintf("in_port=%d,actions=output:%d", ofGRE, ofVM)),
		r.addFlow("br-phy", fmt.Sprintf("in_port=LOCAL,actions=output:%d", ofUplink)),
		r.addFlow("br-phy", fmt.Sprintf("in_port=%d,actions=output:LOCAL", ofUplink)),
	} {
		if _, err := r.run(ctx, command...); err != nil {
			return err
		}
	}
	return nil
}

// device adds a port over a DPDK device.
func (r *ovsRun) device(bridge, name string, number int, vdev string, queues int) []string {
	return r.vsctl("add-port", bridge, name, "--", "set", "Interface", name, "type=dpdk", fmt.Sprintf(`options:dpdk-devargs="%s"`, vdev),
		fmt.Sprint("options:n_rxq=", queues), fmt.Sprint("ofport_request=", number), "mtu_request=1600")
}

func (r *ovsRun) vsctl(args ...string) []string {
	return append([]string{"ovs-vsctl", "--db=unix:" + r.file("db.sock"), "--timeout=30"}, args...)
}

func (r *ovsRun) appctl(args ...string) []string {
	return append([]string{"ovs-appctl", "-t", r.file("switch.ctl"), "--timeout=30"}, args...)
}

func (r *ovsRun) addFlow(bridge, rule string) []string {
	return []string{"ovs-ofctl", "--timeout=30", "add-flow", "unix:" + r.file(bridge+".mgmt"), rule}
}

// ip is of the network namespace of the switch.
func (r *ovsRun) ip(args ...string) []string {
	return append([]string{"nsenter", "--net", "--target", strconv.Itoa(r.pid()), "ip"}, args...)
}

// environment keeps OVS's programs to its folder.
func (r *ovsRun) environment() []string {
	return append(os.Environ(), "OVS_RUNDIR="+r.dir, "OVS_DBDIR="+r.dir, "OVS_LOGDIR="+r.dir, "OVS_SYSCONFDIR="+r.dir)
}

func (r *ovsRun) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = r.environment()
	return cmd
}

func (r *ovsRun) run(ctx context.Context, args ...string) (string, error) {
	out, err := r.command(ctx, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

func (r *ovsRun) sent(ctx context.Context) (uint64, error) {
	text, err := r.run(ctx, r.appctl("dpctl/show", "-s")...)
	if err != nil {
		return 0, err
	}
	return ovsSent(text, r.counted)
}

// ovsSent reads what a port has sent out of the statistics of all.
func ovsSent(text, port string) (uint64, error) {
	n, err := strconv.ParseUint(find(text, `(?s)port \d+: `+regexp.QuoteMeta(port)+` .*?TX packets:(\d+)`), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("OVS's statistics say nothing of %s: %w\n%s", port, err, text)
	}
	return n, nil
}

func (r *ovsRun) pid() int { return r.switchd.pid() }

func (r *ovsRun) stop() error {
	var faults []error
	for _, c := range []*child{r.switchd, r.db} {
		if c != nil {
			faults = append(faults, c.stop())
		}
	}
	return errors.Join(append(faults, os.RemoveAll(r.dir))...)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
