// Package ethdev is a port.Port over a DPDK Ethernet device: it knows which
// device a configuration's device string means, plugs it in, and starts it.
//
// Floor 1. It imports dataplane/dpdk and the port contract, never packets or
// policy.
//
// Device strings are
//
//	0000:3b:00.0[,devargs]                a PCI device
//	tap:NAME                              a tap interface, made here
//	af_packet:IFACE                       an interface of the kernel
//	af_xdp:IFACE                          the same, through XDP
//	vhost-user:PATH[,client]              the host's side of a VM's card
//	virtio-user:PATH                      the VM's side
//	memif:PATH[,id=N,role=server|client]  shared memory; server unless told
//	vdev:ANY                              any virtual device, as DPDK writes it
//
// What the drivers do that a user of ports should know:
//
//   - af_packet also receives what the host's own kernel sends on the interface;
//     VLAN tags are in the data, both ways.
//   - af_packet, af_xdp, tap, vhost-user, virtio-user and memif have as many receive
//     as transmit queues, and frames arrive on all of them.
//   - memif and virtio-user have one queue unless told: the other side must have as
//     many, and does not say.
//   - vhost-user: the VM's driver takes from as many queues as it likes, and may
//     change its mind; what goes to others is lost.
//   - tap polls with a system call each time, and carries an MTU of at most 1504.
//   - vhost-user sends nothing and is down until a VM's driver is there; the
//     library looks for new ones once a second.
//   - af_xdp may hold a sent frame back until the next burst, and keeps 2,048
//     buffers of the pool when it is closed.
//   - memif: should both ends be closed at the same instant, the driver may free
//     memory twice, as the library's log then says.
package ethdev

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"

	"paca/dataplane/dpdk"
	"paca/dataplane/mbuf"
	"paca/dataplane/port"
)

// overhead is what a frame may have beyond the MTU: Ethernet and two VLAN tags.
const overhead = 14 + 4 + 4

// Config describes a port. Device and Pool are required.
type Config struct {
	Name        string        // of the port, for errors
	Device      string        // as above
	MTU         int           // largest L3 packet in bytes; 0: what the device has
	Workers     int           // send by queues below it, each by its own; default 1
	Queues      int           // to receive; 0: as many as Workers, or as the device has if those are fewer
	Inner       bool          // NVGRE shall be spread over them by what is inside, if the device can
	Descriptors int           // per queue, rounded to what the device can have; default 1024
	Pool        *dpdk.Mempool // fills the receive queues
	MAC         [6]byte       // of a tap; zero: one made up. Other devices have their own

	// Offloads are what the device shall do, if it can, in software's place: what of it
	// has any use is up to port.Usable.
	Offloads mbuf.Offloads
}

// Port is one started device.
type Port struct {
	id    dpdk.PortID
	plug  plug
	name  string // for errors: "port uplink0: af_packet:eth0"
	info  port.Info
	capas dpdk.DevInfo
	wants mbuf.Offloads

	shared *shared // nil: each worker has a transmit queue to itself
	flat   error   // see Flat

	prepares bool          // packets may ask for offloads
	refused  atomic.Uint64 // packets that asked for what the driver could not do

	mu     sync.Mutex // of control; bursts take no lock
	closed bool
	last   port.Stats // once closed
}

var _ port.Port = (*Port)(nil)

// control lets one port at a time be plugged in or out.
var control sync.Mutex

// New plugs in and starts a device. The network namespace is the calling
// thread's. Info says how many queues it has; all receive queues want to be polled.
func New(c Config) (*Port, error) {
	if c.Descriptors == 0 {
		c.Descriptors = 1024
	}
	c.Workers = max(c.Workers, 1)

	runtime.LockOSThread() // one namespace for all steps
	defer runtime.UnlockOSThread()
	control.Lock()
	defer control.Unlock()

	p := &Port{name: c.Device}
	if c.Name != "" {
		p.name = "port " + c.Name + ": " + c.Device
	}
	err := p.plugIn(&c)
	if err == nil {
		if err = p.start(c); err != nil {
			err = errors.Join(err, dpdk.Detach(p.id))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("ethdev: %s: %w", p.name, errors.Join(err, p.unplug()))
	}
	return p, nil
}

func (p *Port) plugIn(c *Config) (err error) {
	if p.plug, err = open(c); err != nil {
		return err
	}
	if p.id, err = dpdk.Probe(p.plug.devargs); err != nil && p.plug.hint != "" {
		return fmt.Errorf("%w: %s", err, p.plug.hint)
	}
	return err
}

// start takes the plugged device through DPDK's steps.
func (p *Port) start(c Config) error {
	var rx, tx int
	var inner string
	rxDescriptors, txDescriptors := c.Descriptors, c.Descriptors
	mtu := c.MTU
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"device info", func() (err error) { p.capas, err = dpdk.DevInfoGet(p.id); return }},
		{"queues", func() (err error) { rx, tx, err = c.numbers(&p.capas, p.plug.paired); return }},
		{"mtu", func() (err error) {
			if mtu == 0 {
				if mtu, err = p.mtu(); err != nil {
					return err
				}
			}
			if p.plug.iface == "" {
				err = p.carries(mtu)
			}
			return errors.Join(err, holds(c.Pool, mtu))
		}},
		{"configure", func() error {
			conf := dpdk.DevConf{RxQueues: rx, TxQueues: tx}
			conf.RxOffloads, conf.TxOffloads = p.asks(c.Offloads)
			if p.plug.iface == "" {
				conf.MTU = mtu
			}
			if rx > 1 {
				conf.RSS, inner = hashes(&p.capas, c.Inner)
			}
			return dpdk.DevConfigure(p.id, conf)
		}},
		{fmt.Sprintf("set mtu %d", c.MTU), func() error {
			switch {
			case c.MTU == 0:
				return nil
			case p.plug.iface != "":
				return setInterfaceMTU(p.plug.iface, c.MTU)
			}
			return optional(dpdk.SetMTU(p.id, c.MTU))
		}},
		{"descriptors", func() (err error) {
			rxDescriptors, txDescriptors, err = dpdk.AdjustDescriptors(p.id, rxDescriptors, txDescriptors)
			return
		}},
		{"receive queue", func() error {
			return each(rx, func(q int) error { return dpdk.RxQueueSetup(p.id, q, rxDescriptors, c.Pool) })
		}},
		{"transmit queue", func() error {
			return each(tx, func(q int) error { return dpdk.TxQueueSetup(p.id, q, txDescriptors) })
		}},
		{"promiscuous", func() error {
			if !p.plug.promiscuous {
				return nil
			}
			return optional(dpdk.PromiscuousEnable(p.id))
		}},
		{"start", func() error { return dpdk.DevStart(p.id) }},
		{"shared queues", func() error { return p.share(c.Workers, tx) }},
		{"describe", func() error { return p.describe(c.Device, rx, tx, inner) }},
	} {
		if err := step.do(); err != nil {
			if errors.Is(err, ErrQueues) { // says what
				return err
			}
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	p.spread(rx, c.Inner)
	return nil
}

// mtu is the device's present MTU.
func (p *Port) mtu() (int, error) {
	if p.plug.iface != "" {
		return interfaceMTU(p.plug.iface)
	}
	return dpdk.MTU(p.id)
}

// carries tells whether the device takes packets of mtu bytes.
func (p *Port) carries(mtu int) error {
	switch {
	case mtu > p.capas.MaxMTU:
		return fmt.Errorf("%d is above the device's maximum of %d", mtu, p.capas.MaxMTU)
	case mtu < p.capas.MinMTU:
		return fmt.Errorf("%d is below the device's minimum of %d", mtu, p.capas.MinMTU)
	}
	return nil
}

// holds tells whether a packet of mtu bytes fits one buffer.
func holds(pool *dpdk.Mempool, mtu int) error {
	if room := pool.DataRoom() - mbuf.Headroom; mtu+overhead > room {
		return fmt.Errorf("%d, but the pool's buffers hold frames of %d bytes", mtu, room)
	}
	return nil
}

// describe fills info, which holds from now on, and begins the counting.
func (p *Port) describe(device string, rx, tx int, inner string) error {
	p.info = port.Info{Device: device, Driver: p.capas.Driver, RxQueues: rx, TxQueues: tx, TxShared: p.shared != nil, Inner: inner}
	link, err := dpdk.LinkGet(p.id)
	if err := optional(err); err != nil {
		return err
	}
	p.info.LinkUp = link.Up || err != nil // no link state: up
	if p.info.MAC, err = dpdk.MACAddr(p.id); err != nil {
		return err
	}
	if p.info.MTU, err = p.mtu(); err != nil {
		return err
	}
	return optional(dpdk.StatsReset(p.id))
}

// optional forgives a driver that lacks a step.
func optional(err error) error {
	if errors.Is(err, syscall.ENOTSUP) {
		return nil
	}
	return err
}

func each(queues int, do func(queue int) error) error {
	for q := range queues {
		if err := do(q); err != nil {
			return fmt.Errorf("%d: %w", q, err)
		}
	}
	return nil
}

// Rx implements port.Port.
func (p *Port) Rx(queue int, pkts []*mbuf.Mbuf) int { return dpdk.RxBurst(p.id, queue, pkts) }

// Tx implements port.Port. A packet that asks for what the driver cannot do for it is
// taken and lost, and counts as an error.
func (p *Port) Tx(queue int, pkts []*mbuf.Mbuf) int {
	if p.shared != nil {
		return p.txShared(queue, pkts)
	}
	return p.tx(queue, pkts)
}

func (p *Port) tx(queue int, pkts []*mbuf.Mbuf) int {
	if !p.prepares {
		return dpdk.TxBurst(p.id, queue, pkts)
	}
	taken, refused := dpdk.TxPrepareBurst(p.id, queue, pkts)
	if refused > 0 {
		p.refused.Add(uint64(refused))
	}
	return taken
}

// Info implements port.Port.
func (p *Port) Info() port.Info { return p.info }

// LinkUp is the state of the wire now.
func (p *Port) LinkUp() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	link, err := dpdk.LinkGet(p.id)
	return link.Up || errors.Is(err, syscall.ENOTSUP)
}

// Stats implements port.Port.
func (p *Port) Stats() port.Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stats()
}

func (p *Port) stats() port.Stats {
	if p.closed {
		return p.last
	}
	s, err := dpdk.StatsGet(p.id)
	if err != nil {
		return p.last
	}
	p.last = port.Stats{
		RxPackets: s.IPackets, RxBytes: s.IBytes, TxPackets: s.OPackets, TxBytes: s.OBytes,
		RxMissed: s.IMissed, RxNoBuffer: s.RxNoMbuf, RxErrors: s.IErrors, TxErrors: s.OErrors + p.refused.Load(),
	}
	return p.last
}

// XStats are the counters that only this device has.
func (p *Port) XStats() ([]dpdk.XStat, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, fmt.Errorf("ethdev: %s: closed", p.name)
	}
	return dpdk.XStatsGet(p.id)
}

// Close implements port.Port. Closing twice is an error.
func (p *Port) Close() error {
	control.Lock()
	defer control.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return fmt.Errorf("ethdev: %s: already closed", p.name)
	}
	p.stats()
	p.closed = true
	if p.shared != nil && p.shared.open != nil {
		dpdk.VhostUnwatch(p.id)
	}
	if err := errors.Join(dpdk.DevStop(p.id), dpdk.Detach(p.id), p.unplug()); err != nil {
		return fmt.Errorf("ethdev: %s: close: %w", p.name, err)
	}
	return nil
}

// unplug undoes what open did beyond DPDK.
func (p *Port) unplug() error {
	if p.plug.close == nil {
		return nil
	}
	return p.plug.close()
}
