package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"paca/ctrl/api/convert"
	pacav1 "paca/ctrl/api/paca/v1"
	"paca/dataplane/policy"
	"paca/perf/probe"

	"connectrpc.com/connect"
)

const bulkRounds = 3

// Bulk data of TCP: frames as large as IP has them, of whole segments.
const (
	segment    = 1500 - 20 - 32 // bytes of payload: a timestamp is in the header
	segments   = 45
	flight     = 512 << 10 // bytes that are on their way: what rings hold of segments
	bulkRing   = 1024
	bulkMemory = 512 // MiB of each program
)

// bulkWay is one way from one VM to the other.
type bulkWay struct {
	what, name string // of the row and the series
	mode       string // of the virtual subnet; "": OVS-DPDK, as a switch
	hosts      int    // pacads
	tso        bool   // the VM sends large frames
}

// bulkWays: in the first row a core has the sending host, and the probe is at the other
// end of the wire; in the second a core has both hosts, and the probe is both VMs.
var bulkWays = []bulkWay{
	{oneHost, "rewrite, cut by the card", "rewrite", 1, true},
	{oneHost, "nvgre, cut by pacad", "nvgre", 1, true},
	{oneHost, "nvgre, cut by the VM", "nvgre", 1, false},
	{oneHost, "OVS-DPDK without tunnel, cut by the card", "", 0, true},
	{twoHosts, "rewrite, cut by the card", "rewrite", 2, true},
	{twoHosts, "nvgre, cut by pacad", "nvgre", 2, true},
	{twoHosts, "nvgre, cut by the VM", "nvgre", 2, false},
}

const (
	oneHost  = "TCP payload, VM to wire, one core"
	twoHosts = "TCP payload, VM to wire to VM, both hosts on one core"
)

func bulkTakes(b *bench) time.Duration {
	sum := time.Duration(0)
	for _, w := range bulkWays {
		sum += w.takes(b)
	}
	return time.Duration(b.roundsOr(bulkRounds)) * sum
}

// bulk measures the bytes of TCP payload that one core carries, from a VM that leaves
// checksums and cutting to others, over a network card that does both, but knows no
// GRE: a pair of vhost-user and virtio-user, as VMs have it.
func bulk(ctx context.Context, b *bench) ([]Row, error) {
	rows := newRows("bulk")
	for range b.roundsOr(bulkRounds) {
		for _, w := range bulkWays {
			if w.why() != "" {
				continue
			}
			r, err := w.measure(ctx, b)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", w.what, w.name, err)
			}
			gbps := float64(r.Received) * 8 / r.Elapsed.Seconds() / 1e9
			rows.add(w.what, "Gbit/s", w.name, gbps)
			b.tell(w.takes(b), "bulk: %s: %s: %.2f Gbit/s in frames of %d bytes of payload", w.what, w.name, gbps, r.Received/max(r.Frames, 1))
		}
	}
	for i := range rows.rows {
		r := &rows.rows[i]
		for _, s := range r.Series[1:] {
			r.compare(r.Series[0].Name, s.Name, nil)
		}
		for _, w := range bulkWays {
			if why := w.why(); why != "" && w.what == r.What {
				r.Notes = append(r.Notes, why)
			}
		}
	}
	return rows.rows, nil
}

// takes is about how long it takes to measure this way once.
func (w bulkWay) takes(b *bench) time.Duration {
	return time.Duration(max(w.hosts, 1))*2*time.Second + warmUp + b.window
}

func (w bulkWay) why() string {
	if _, ok := findOVS(); w.mode == "" && !ok {
		return "OVS-DPDK is not installed"
	}
	return ""
}

// measure runs one way once.
func (w bulkWay) measure(ctx context.Context, b *bench) (_ *probe.BulkResult, err error) {
	dir, err := os.MkdirTemp(b.dir, "bulk")
	if err != nil {
		return nil, err
	}
	var ends []func() error
	defer func() {
		for i := len(ends) - 1; i >= 0; i-- {
			err = errors.Join(err, ends[i]())
		}
	}()
	forwards, control, err := b.forwarding(1)
	if err != nil {
		return nil, err
	}
	out, back := filepath.Join(dir, "vm1"), filepath.Join(dir, "wire")
	if w.mode == "" {
		j := job{Params: b.plain(), b: b, forwards: forwards, control: control, buffers: spare}
		r, err := startSwitch(ctx, j)
		if err != nil {
			return nil, err
		}
		ends = append(ends, r.stop)
		out, back = r.file("vm1"), r.file("wire")
	}
	var hosts []*daemon
	for n := range w.hosts {
		d, err := w.host(ctx, b, n+1, dir, forwards[0])
		if err != nil {
			return nil, err
		}
		hosts, ends = append(hosts, d), append(ends, d.stop)
	}
	if w.hosts == 2 {
		back = filepath.Join(dir, "vm2")
	}
	server := 0
	if w.mode == "" {
		server = 1 // the only kind of port for which OVS takes large frames is a client
	}
	card := func(i int, path string) string {
		return fmt.Sprintf("vdev:net_virtio_user%d,path=%s,queue_size=%d,server=%d", i, path, bulkRing, server)
	}
	p, err := startProbe(ctx, probe.Setup{
		EAL:  eal(b.plain().Pages, bulkMemory),
		Core: control, Out: card(0, out), Back: card(1, back), Ring: bulkRing, Offload: true, GiveWay: true,
	})
	if err != nil {
		return nil, err
	}
	ends = append(ends, p.Close)
	for _, d := range hosts {
		if err := d.untilCuts(ctx, "uplink"); err != nil {
			return nil, err
		}
	}
	if w.tso && w.hosts == 2 {
		if err := hosts[1].untilCuts(ctx, "vm"); err != nil {
			return nil, err
		}
	}
	plan := probe.Bulk{Headers: w.headers(), Payload: segments * segment, Segment: segment, Flight: flight, Length: b.window, WarmUp: warmUp}
	if !w.tso {
		plan.Payload, plan.Segment = segment, 0
	}
	if w.mode == "nvgre" && w.hosts == 1 {
		plan.Added = 42 // IPv4, GRE, the VM's Ethernet header
	}
	return p.RunBulk(plan)
}

// headers are those of the VM's TCP.
func (w bulkWay) headers() []byte {
	far := remote(0, w.mode)
	ip := &layers.IPv4{Version: 4, TTL: 64, Flags: layers.IPv4DontFragment, Protocol: layers.IPProtocolTCP, SrcIP: vm.ca4.AsSlice(), DstIP: far.ca4.AsSlice()}
	tcp := &layers.TCP{SrcPort: 1024, DstPort: 5001, ACK: true, Window: 1 << 15,
		Options: []layers.TCPOption{{OptionType: layers.TCPOptionKindNop}, {OptionType: layers.TCPOptionKindNop},
			{OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: make([]byte, 8)}}}
	_ = tcp.SetNetworkLayerForChecksum(ip) // it is an IP layer
	payload := segments * segment
	if !w.tso {
		payload = segment
	}
	b := frame(gopacket.NewSerializeBuffer(), []gopacket.SerializableLayer{
		&layers.Ethernet{SrcMAC: vm.mac, DstMAC: far.mac, EthernetType: layers.EthernetTypeIPv4}, ip, tcp, gopacket.Payload(make([]byte, payload)),
	})
	return b[:len(b)-payload]
}

// host starts the pacad of one of the two VMs.
func (w bulkWay) host(ctx context.Context, b *bench, number int, dir string, core int) (*daemon, error) {
	here, there := vm, remote(0, w.mode)
	uplink := "vhost-user:" + dir + "/wire"
	idle := "poll"
	if w.hosts == 2 {
		idle = "adaptive" // the other one wants to run
	}
	if number == 2 {
		here, there = there, here
		uplink = fmt.Sprintf("vdev:net_virtio_user9,path=%s/wire,queue_size=%d,mac=%s", dir, bulkRing, macGateway)
	}
	file := fmt.Sprintf(`
[host]
name = "host%d"
duplicate_detection = false
[eal]
memory = "%dMiB"
hugepages = %q
[workers]
cores = [%d]
idle = %q
[[port]]
name = "vm"
role = "vm"
mtu = 1500
vsid = %d
mac = %q
device = "vhost-user:%s/vm%d"
offload = { tso = %v }
[[port]]
name = "uplink"
role = "uplink"
mtu = 1600
device = %q
[[provider_address]]
address = "%s/24"
port = "uplink"
[[provider_route]]
port = "uplink"
prefix = "0.0.0.0/0"
next_hop = %q
[[neighbor]]
port = "uplink"
address = %q
mac = %q
[policy]
store = "memory"
`, number, bulkMemory, hostPages(b.plain().Pages), core, idle, vsid, here.mac, dir, number, w.tso, uplink, here.pa4, here.pa4.Next(), here.pa4.Next(), macGateway)
	d, err := start(ctx, b, file)
	if err != nil {
		return nil, err
	}
	mode := policy.NVGRE
	if w.mode == "rewrite" {
		mode = policy.Rewrite
	}
	set := []policy.Change{{Verb: policy.Put, Object: policy.VirtualSubnet{VSID: vsid, RDID: policy.RDID{1}, Prefixes: subnets, Mode: mode}}}
	for _, e := range []end{here, there} {
		set = append(set, policy.Change{Verb: policy.Put, Object: policy.LookupRecord{VSID: vsid, CA: e.ca4, MAC: [6]byte(e.mac), PA: e.pa4}})
	}
	if _, err := d.Apply(ctx, connect.NewRequest(&pacav1.ApplyRequest{Changes: convert.FromChanges(set)})); err != nil {
		return nil, errors.Join(err, d.stop())
	}
	return d, nil
}

// untilCuts waits until pacad has heard that the other end of a port takes large
// frames.
func (d *daemon) untilCuts(ctx context.Context, port string) error {
	for deadline := time.Now().Add(10 * time.Second); ; {
		p, err := d.port(ctx, port)
		if err != nil {
			return err
		}
		for _, o := range p.Offloads {
			if o.Name == "send: TCP segmentation" && o.Used {
				return nil
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("pacad cuts for port %s itself: %v; it said:\n%s", port, p.Offloads, d.said.tail())
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// startSwitch starts OVS-DPDK between a VM and a wire, with large frames on. It takes
// those through no tunnel (3.1 drops them there), so it switches.
func startSwitch(ctx context.Context, j job) (_ *ovsRun, err error) {
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
	for _, args := range [][]string{{"--no-wait", "init"}, {"--no-wait", "set", "Open_vSwitch", ".", "other_config:userspace-tso-enable=true"}} {
		if _, err := r.run(ctx, r.vsctl(args...)...); err != nil {
			return nil, err
		}
	}
	if err := r.startSwitch(ctx, j); err != nil {
		return nil, err
	}
	for _, args := range [][]string{
		r.vsctl("add-br", "br", "--", "set", "bridge", "br", "datapath_type=netdev", "fail-mode=secure"),
		r.vsctl("add-port", "br", "vm1", "--", "set", "Interface", "vm1", "type=dpdkvhostuserclient", "options:vhost-server-path="+r.file("vm1"), "ofport_request=1"),
		r.vsctl("add-port", "br", "wire", "--", "set", "Interface", "wire", "type=dpdkvhostuserclient", "options:vhost-server-path="+r.file("wire"), "ofport_request=2"),
		r.addFlow("br", "in_port=1,actions=output:2"),
		r.addFlow("br", "in_port=2,actions=output:1"),
	} {
		if out, err := r.run(ctx, args...); err != nil {
			return nil, err
		} else if strings.Contains(out, "rror") {
			return nil, errors.New(out)
		}
	}
	return r, nil
}
