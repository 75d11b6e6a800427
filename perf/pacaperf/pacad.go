package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/google/gopacket"

	"paca/ctrl/api/convert"
	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/client"
	"paca/dataplane/policy"
)

// pacad is the program that all this is about. Every check of the specification
// is on: there is no other way to run it.
type pacad struct{}

func (pacad) name() string      { return "pacad" }
func (pacad) why(Params) string { return "" }

func (pacad) takes(p Params) time.Duration {
	return 600*time.Millisecond + time.Duration(p.Flows+p.Records)*4*time.Microsecond
}

func (pacad) wants(p Params, f flow, size int) (l []gopacket.SerializableLayer, anyMAC bool) {
	if p.Direction == "egress" {
		return p.fabric(f, size, macUplink), true // of the uplink, whichever it has
	}
	return p.tenant(f, size), false
}

func (pacad) start(ctx context.Context, j job) (running, error) {
	p, err := start(ctx, j.b, hostFile(j))
	if err != nil {
		return nil, err
	}
	p.out = "uplink"
	if j.Direction == "ingress" {
		p.out = "vm"
	}
	return p, nil
}

// daemon is a pacad of our own.
type daemon struct {
	*child
	*client.Client
	out     string // port that is measured
	started time.Time
}

// start runs pacad with a host file, and waits until it answers.
func start(ctx context.Context, b *bench, host string) (*daemon, error) {
	dir, err := os.MkdirTemp(b.dir, "pacad")
	if err != nil {
		return nil, err
	}
	file, socket := filepath.Join(dir, "host.toml"), filepath.Join(dir, "paca.sock")
	host += fmt.Sprintf("\n[control]\nsocket = %q\n", socket)
	if err := os.WriteFile(file, []byte(host), 0o600); err != nil {
		return nil, err
	}
	d := &daemon{started: time.Now()}
	if d.child, err = spawn(exec.CommandContext(ctx, b.pacad, "run", "-c", file)); err != nil {
		return nil, err
	}
	d.Client = client.Dial(socket)
	err = d.until("answer", time.Minute, func() bool {
		ask, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		_, err := d.Status(ask, connect.NewRequest(&pacav1.StatusRequest{}))
		return err == nil || ctx.Err() != nil
	})
	if err = errors.Join(err, ctx.Err()); err != nil {
		return nil, errors.Join(err, d.stop())
	}
	return d, nil
}

// port asks for the counters of one port.
func (d *daemon) port(ctx context.Context, name string) (*pacav1.Port, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	all, err := client.All(d.ListPorts(ctx, connect.NewRequest(&pacav1.ListPortsRequest{})))
	if err != nil {
		return nil, fmt.Errorf("pacad: %w; it said:\n%s", err, d.said.tail())
	}
	for _, port := range all.Ports {
		if port.Name == name {
			return port, nil
		}
	}
	return nil, fmt.Errorf("pacad has no port %s", name)
}

func (d *daemon) sent(ctx context.Context) (uint64, error) {
	port, err := d.port(ctx, d.out)
	return port.GetTxPackets(), err
}

// hostFile is a host with a VM that speaks, or hears.
func hostFile(j job) string {
	cores := strings.ReplaceAll(fmt.Sprint(j.forwards), " ", ", ")
	vmDevice, uplinkDevice := j.in, j.out
	if j.Direction == "ingress" {
		vmDevice, uplinkDevice = j.out, j.in
	}
	// A queue to each worker is what a card makes that looks into NVGRE; else pacad
	// deals out what comes by fewer.
	spread := "none"
	if j.queues() < j.Cores {
		spread = "software"
	}
	return fmt.Sprintf(`
[host]
name = "pacaperf"
duplicate_detection = false
[eal]
memory = "%dMiB"
buffers = %d
hugepages = %q
[workers]
cores = %s
idle = "poll"
spread = %q
[[port]]
name = "vm"
role = "vm"
vsid = %d
mac = %q
device = "vdev:%s"
[[port]]
name = "uplink"
role = "uplink"
mtu = %d
device = "vdev:%s"
[[provider_address]]
address = "%s/24"
port = "uplink"
[[provider_address]]
address = "%s/64"
port = "uplink"
[[provider_route]]
port = "uplink"
prefix = "0.0.0.0/0"
next_hop = %q
[[provider_route]]
port = "uplink"
prefix = "::/0"
next_hop = %q
[[neighbor]]
port = "uplink"
address = %q
mac = %q
[[neighbor]]
port = "uplink"
address = %q
mac = %q
[policy]
store = "bolt:%s"
`, j.memory(), j.buffers, hostPages(j.Pages), cores, spread, vsid, vm.mac, vmDevice, cmp.Or(j.mtu, 1600), uplinkDevice, vm.pa4, vm.pa6, gateway4, gateway6, gateway4, macGateway, gateway6, macGateway, j.policy)
}

// records are lookup records first to last, but not last, of remote VMs.
func (p Params) records(first, last int) []policy.Change {
	var set []policy.Change
	for i := first; i < last; i++ {
		far := remote(i, p.Mode)
		set = append(set, policy.Change{Verb: policy.Put, Object: policy.LookupRecord{VSID: vsid, CA: far.ca(p.CA), MAC: [6]byte(far.mac), PA: far.pa(p.PA)}})
	}
	return set
}

// setUp gives a pacad the virtual subnet and the records of a scenario, as one set.
func (d *daemon) setUp(ctx context.Context, p Params) error { return d.fill(ctx, p, 0, p.Records) }

// fill gives a pacad records first to last, but not last, of a scenario as one set, and
// with the first what they are in.
func (d *daemon) fill(ctx context.Context, p Params, first, last int) error {
	stream := d.ApplyStream(ctx)
	var set []policy.Change
	if first == 0 {
		mode := policy.NVGRE
		if p.Mode == "rewrite" {
			mode = policy.Rewrite
		}
		set = []policy.Change{
			{Verb: policy.Put, Object: policy.VirtualSubnet{VSID: vsid, RDID: policy.RDID{1}, Prefixes: subnets, Mode: mode}},
			{Verb: policy.Put, Object: policy.LookupRecord{VSID: vsid, CA: vm.ca(p.CA), MAC: [6]byte(vm.mac), PA: vm.pa(p.PA)}},
		}
	}
	const chunk = 1000
	for i := first; i < last; i += chunk {
		set = append(set, p.records(i, min(i+chunk, last))...)
		if err := stream.Send(&pacav1.ApplyRequest{Changes: convert.FromChanges(set)}); err != nil {
			break // CloseAndReceive tells why
		}
		set = set[:0]
	}
	_, err := stream.CloseAndReceive()
	return err
}

// store makes a policy store with the records of a scenario, once.
func (b *bench) store(ctx context.Context, p Params) (string, error) {
	file := b.path(fmt.Sprintf("policy-%s-%d-%d-%d.db", p.Mode, p.Records, p.CA, p.PA))
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	j, err := b.bareJob(p)
	if err != nil {
		return "", err
	}
	j.in, j.out, j.policy = "net_null0,no-rx=1", "net_null1,no-rx=1", file
	d, err := start(ctx, b, hostFile(j))
	if err != nil {
		return "", err
	}
	return file, errors.Join(d.setUp(ctx, p), d.stop())
}
