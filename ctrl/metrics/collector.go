package metrics

import (
	"runtime"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"paca/dataplane/count"
	"paca/dataplane/port"
)

// Source is what a scrape reads. Its methods may be called by many goroutines at
// once.
type Source interface {
	Ports() []Port                              // in any order
	Workers() (all []Worker, imbalance float64) // in any order; the busiest's load over the mean
	FIB() FIB
	Provider() Provider
	NVE() NVE
}

// Port is one port.
type Port struct {
	Name     string
	LinkUp   bool
	Stats    port.Stats // of the device
	Counters count.Port // of all workers together
}

// Worker is one poll-mode worker; what it counted by port is in Port.
type Worker struct {
	Core     int
	Counters *count.Worker // a Snapshot
	Load     float64       // part of the last seconds in which there was something to do, 0 to 1
}

// FIB is the table that the workers read, by its size.
type FIB struct {
	Version        uint64
	VirtualSubnets int
	LookupRecords  int
	Neighbors      int
}

// Provider is what the control plane of the provider side knows.
type Provider struct {
	Addresses  map[string]int // PAs of this host by state, P14's
	Duplicates uint64         // times that one of them was found to be another machine's (E5)
	PathMTUs   int            // PAs of the fabric of whose path less was learned than the port carries (M10)

	NoticesTold, NoticesLost uint64 // to those who watch, or for want of any (E10)
}

// NVE is how many NVE control messages were sent, and were received and believed
// (E9).
type NVE struct {
	RedirectsSent, UnreachablesSent         uint64
	RedirectsBelieved, UnreachablesBelieved uint64
}

// perPort is a counter that each port has once.
type perPort struct {
	desc  *prometheus.Desc
	value func(*count.Port, *port.Stats) uint64
}

func portCounter(name, help string, value func(*count.Port, *port.Stats) uint64) perPort {
	return perPort{prometheus.NewDesc(name, help, []string{"port"}, nil), value}
}

var perPorts = []perPort{
	portCounter("paca_port_receive_packets_total", "Packets that the workers took from the port.",
		func(c *count.Port, _ *port.Stats) uint64 { return c.RxPackets }),
	portCounter("paca_port_receive_bytes_total", "Bytes of the packets that the workers took from the port.",
		func(c *count.Port, _ *port.Stats) uint64 { return c.RxBytes }),
	portCounter("paca_port_transmit_packets_total", "Packets that the workers gave to the port and it took.",
		func(c *count.Port, _ *port.Stats) uint64 { return c.TxPackets }),
	portCounter("paca_port_transmit_bytes_total", "Bytes of the packets that the workers gave to the port and it took.",
		func(c *count.Port, _ *port.Stats) uint64 { return c.TxBytes }),
	portCounter("paca_port_control_packets_total", "Packets from the port that went to the control plane: ARP and ND of next hops, ICMP for a provider address, DHCP.",
		func(c *count.Port, _ *port.Stats) uint64 { return c.Control }),

	portCounter("paca_device_receive_packets_total", "Packets received, as the device counts them.",
		func(_ *count.Port, s *port.Stats) uint64 { return s.RxPackets }),
	portCounter("paca_device_receive_bytes_total", "Bytes received, as the device counts them.",
		func(_ *count.Port, s *port.Stats) uint64 { return s.RxBytes }),
	portCounter("paca_device_transmit_packets_total", "Packets sent, as the device counts them.",
		func(_ *count.Port, s *port.Stats) uint64 { return s.TxPackets }),
	portCounter("paca_device_transmit_bytes_total", "Bytes sent, as the device counts them.",
		func(_ *count.Port, s *port.Stats) uint64 { return s.TxBytes }),
	portCounter("paca_device_receive_missed_packets_total", "Packets that the device lost because nobody polled in time.",
		func(_ *count.Port, s *port.Stats) uint64 { return s.RxMissed }),
	portCounter("paca_device_receive_no_buffer_packets_total", "Packets that the device lost for want of a buffer.",
		func(_ *count.Port, s *port.Stats) uint64 { return s.RxNoBuffer }),
	portCounter("paca_device_receive_errors_total", "Packets that the device received with errors.",
		func(_ *count.Port, s *port.Stats) uint64 { return s.RxErrors }),
	portCounter("paca_device_transmit_errors_total", "Packets that the device failed to send.",
		func(_ *count.Port, s *port.Stats) uint64 { return s.TxErrors }),
}

var (
	linkUp     = prometheus.NewDesc("paca_port_link_up", "1 if the port's link is up, else 0.", []string{"port"}, nil)
	drops      = prometheus.NewDesc("paca_drops_total", "Packets dropped, by the port that they came from and the reason; pacactl drops explains each.", []string{"port", "reason"}, nil)
	events     = prometheus.NewDesc("paca_events_total", "What was done with packets besides passing them on or dropping them, by the port that they came from; docs/events.md explains each.", []string{"port", "event"}, nil)
	polls      = prometheus.NewDesc("paca_worker_polls_total", "Polls of a receive queue: empty brought nothing, valid brought packets.", []string{"core", "result"}, nil)
	idle       = prometheus.NewDesc("paca_worker_idle_seconds_total", "Seconds in which the worker had nothing to do, asleep or not.", []string{"core"}, nil)
	received   = prometheus.NewDesc("paca_worker_receive_packets_total", "Packets that the worker received from devices.", []string{"core"}, nil)
	sent       = prometheus.NewDesc("paca_worker_transmit_packets_total", "Packets that the worker sent to devices.", []string{"core"}, nil)
	handed     = prometheus.NewDesc("paca_worker_handed_packets_total", "Packets handed from worker to worker, to be carried by whose flow they are: given to peers, or taken from them.", []string{"core", "direction"}, nil)
	lost       = prometheus.NewDesc("paca_worker_drops_total", "Packets that the worker dropped; paca_drops_total has the reasons.", []string{"core"}, nil)
	load       = prometheus.NewDesc("paca_worker_load_ratio", "Part of the last seconds in which the worker had something to do.", []string{"core"}, nil)
	uneven     = prometheus.NewDesc("paca_worker_imbalance_ratio", "The busiest worker's load over the mean of all: 1 is even, 0 is nothing to do.", nil, nil)
	sleeps     = prometheus.NewDesc("paca_worker_sleeps_total", "Times that the idle worker slept.", []string{"core"}, nil)
	fibVersion = prometheus.NewDesc("paca_fib_version", "Version of the forwarding table that the workers read.", nil, nil)
	fibEntries = prometheus.NewDesc("paca_fib_entries", "Entries of the forwarding table that the workers read.", []string{"kind"}, nil)
	addresses  = prometheus.NewDesc("paca_provider_addresses", "Provider addresses of this host, by state of duplicate address detection.", []string{"state"}, nil)
	duplicates = prometheus.NewDesc("paca_provider_address_duplicates_total", "Times that a provider address of this host was found to be another machine's.", nil, nil)
	pathMTUs   = prometheus.NewDesc("paca_path_mtus", "Provider addresses of other hosts whose path was found to carry less than the port.", nil, nil)
	notices    = prometheus.NewDesc("paca_notices_total", "Notices for those who watch: told to one, or lost because one was slow or there was none.", []string{"result"}, nil)
	messages   = prometheus.NewDesc("paca_nve_messages_total", "NVE control messages, sent or received and believed: of VMs that moved (redirect), of no policy for one (unreachable).", []string{"direction", "kind"}, nil)
	buildInfo  = prometheus.NewDesc("paca_build_info", "Always 1; the labels say what runs.", []string{"version", "goversion"}, nil)
)

// Collector reads a Source at every scrape.
type Collector struct {
	source  Source
	version string
}

// NewCollector makes a collector; version is pacad's.
func NewCollector(source Source, version string) *Collector {
	return &Collector{source, version}
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(to chan<- *prometheus.Desc) {
	for _, m := range perPorts {
		to <- m.desc
	}
	for _, d := range []*prometheus.Desc{linkUp, drops, events, polls, idle, received, sent, handed, lost, load, uneven, sleeps, fibVersion, fibEntries, addresses, duplicates, pathMTUs, notices, messages, buildInfo} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}

	ports := c.source.Ports()
	workers, imbalance := c.source.Workers()
	gauge(uneven, imbalance)
	for _, w := range workers {
		s, sum := w.Counters, w.Counters.Sum()
		core := strconv.Itoa(w.Core)
		counter(polls, s.PollsEmpty, core, "empty")
		counter(polls, s.PollsValid, core, "valid")
		counter(sleeps, s.Sleeps, core)
		to <- prometheus.MustNewConstMetric(idle, prometheus.CounterValue, float64(s.Idle)/1e9, core)
		counter(received, sum.RxPackets, core)
		counter(sent, sum.TxPackets, core)
		counter(handed, s.Given, core, "given")
		counter(handed, s.Taken, core, "taken")
		dropped := uint64(0)
		for _, n := range sum.Drops {
			dropped += n
		}
		counter(lost, dropped, core)
		gauge(load, w.Load, core)
	}
	for i := range ports {
		p := &ports[i]
		counted := &p.Counters
		for _, m := range perPorts {
			counter(m.desc, m.value(counted, &p.Stats), p.Name)
		}
		up := 0.0
		if p.LinkUp {
			up = 1
		}
		gauge(linkUp, up, p.Name)
		for r := count.Kept + 1; r < count.NumReasons; r++ {
			counter(drops, counted.Drops[r], p.Name, r.Name())
		}
		for e := range count.NumEvents {
			counter(events, counted.Events[e], p.Name, e.Name())
		}
	}

	fib := c.source.FIB()
	gauge(fibVersion, float64(fib.Version))
	gauge(fibEntries, float64(fib.VirtualSubnets), "virtual_subnet")
	gauge(fibEntries, float64(fib.LookupRecords), "lookup_record")
	gauge(fibEntries, float64(fib.Neighbors), "neighbor")
	provider := c.source.Provider()
	for state, n := range provider.Addresses {
		gauge(addresses, float64(n), state)
	}
	counter(duplicates, provider.Duplicates)
	gauge(pathMTUs, float64(provider.PathMTUs))
	counter(notices, provider.NoticesTold, "told")
	counter(notices, provider.NoticesLost, "lost")
	nve := c.source.NVE()
	counter(messages, nve.RedirectsSent, "sent", "redirect")
	counter(messages, nve.UnreachablesSent, "sent", "unreachable")
	counter(messages, nve.RedirectsBelieved, "received", "redirect")
	counter(messages, nve.UnreachablesBelieved, "received", "unreachable")
	gauge(buildInfo, 1, c.version, runtime.Version())
}
