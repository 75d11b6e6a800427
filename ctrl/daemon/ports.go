package daemon

import (
	"errors"
	"fmt"

	"paca/conf"
	"paca/dataplane/count"
	"paca/dataplane/dpdk"
	"paca/dataplane/fib"
	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
	"paca/dataplane/port"
	"paca/dataplane/port/ethdev"
	"paca/dataplane/worker"
)

// slot is an open port. Its index in host.slots is its port index everywhere.
type slot struct {
	dev   *ethdev.Port
	asked policy.Port
	uses  mbuf.Offloads // as the workers know it
	base  count.Port    // what earlier ports of this index had counted

	spread worker.Spread // what workers deal out of an uplink's queues
	how    string        // who deals NVGRE out to the workers, for people
}

// open plugs a device in: it gets an index, and the workers poll it. Policy does
// not send to it before the next FIB. Like all that changes slots it is for the
// goroutine that changes policy; others read them under h.mu.
func (h *host) open(p policy.Port) error {
	i := h.freeSlot()
	if i < 0 {
		return fmt.Errorf("port %s: %d ports are open, and DPDK has room for no more", p.Name, dpdk.MaxPorts)
	}
	workers := len(h.conf.Workers.Cores)
	c := ethdev.Config{Name: p.Name, Device: p.Device, MTU: p.MTU, Workers: workers, Queues: int(p.Queues), Descriptors: descriptors, Pool: h.pool, Offloads: wanted(&p)}
	c.Inner = p.Role == policy.Uplink && (h.conf.Workers.Spread == conf.SpreadAuto || h.conf.Workers.Spread == conf.SpreadNIC)
	if p.Role == policy.Host {
		// So that the kernel takes for its own what is for the network card (W24).
		c.MAC = h.uplinkMAC(p.Uplink)
	}
	dev, err := ethdev.New(c)
	if err != nil {
		return err
	}
	s := &slot{dev: dev, asked: p}
	if p.Role == policy.Uplink {
		if s.spread, s.how, err = spread(h.conf.Workers.Spread, workers, dev.Info(), dev.Flat()); err != nil {
			return errors.Join(fmt.Errorf("port %s: %w", p.Name, err), dev.Close())
		}
	}
	for _, w := range h.workers {
		w.Count.Ports[i].AddTo(&s.base)
	}
	h.mu.Lock()
	h.slots[i] = s
	h.mu.Unlock()
	h.plug()
	info := dev.Info()
	log := h.log.With("port", p.Name, "role", p.Role, "device", p.Device, "driver", info.Driver, "mac", packet.MAC(info.MAC), "mtu", p.MTU)
	if workers > 1 {
		log = log.With("rx_queues", info.RxQueues, "tx_queues", info.TxQueues)
	}
	if s.how != "" {
		log = log.With("spread", s.how)
	}
	log.Info("port open")
	return nil
}

// errFlat is that of spread.
var errFlat = errors.New("the device does not spread NVGRE")

// spread is what workers are to deal out of the queues of an uplink, and in words who
// deals out NVGRE (O32), and why they do if the device might. It is an error if the device
// should, and does not: flat says why, unless it has but one queue.
func spread(by conf.Spread, workers int, info port.Info, flat error) (s worker.Spread, how string, err error) {
	s = worker.SpreadTunnels
	if info.RxQueues < workers {
		s = worker.SpreadFlows
	}
	if info.RxQueues == 1 {
		flat = errors.New("it has one queue")
	}
	why := fmt.Errorf("%w: %w", errFlat, flat)
	switch {
	case workers == 1:
		return worker.SpreadNone, "", nil
	case by == conf.SpreadNone:
		return worker.SpreadNone, "none", nil
	case by == conf.SpreadSoftware:
		return s, "software", nil
	case info.Inner == "" && by == conf.SpreadNIC:
		return s, "", why
	case info.Inner == "":
		return s, "software: " + why.Error(), nil
	case by == conf.SpreadAuto && info.RxQueues < workers:
		return s, "software: the device has fewer queues than there are workers", nil
	}
	return worker.SpreadNone, info.Inner, nil
}

// close plugs a device out. Packets that a FIB still sends to it are dropped.
func (h *host) close(name string) error {
	i := h.slotOf(name)
	if i < 0 {
		return nil
	}
	s := h.slots[i]
	h.settle()
	h.mu.Lock()
	h.slots[i] = nil
	h.mu.Unlock()
	h.plug()
	h.settle()
	err := s.dev.Close()
	h.log.Info("port closed", "port", name)
	return err
}

// uplinkMAC is the MAC of the open uplink of that name, or if it is empty of the only
// one; zero if there is none.
func (h *host) uplinkMAC(name string) (mac [6]byte) {
	for _, s := range h.slots {
		if s != nil && s.asked.Role == policy.Uplink && (name == "" || name == s.asked.Name) {
			mac = s.dev.Info().MAC
		}
	}
	return mac
}

// uplinksFirst orders ports in the way they are opened: a host port wants to know
// its uplink.
func uplinksFirst(a, b policy.Port) int {
	last := func(p policy.Port) int {
		if p.Role == policy.Host {
			return 1
		}
		return 0
	}
	return last(a) - last(b)
}

func (h *host) slotOf(name string) int {
	for i, s := range h.slots {
		if s != nil && s.asked.Name == name {
			return i
		}
	}
	return -1
}

// freeSlot is the first index without a port, so that what indexes do not leave
// behind stays short; -1 when there is none.
func (h *host) freeSlot() int {
	for i, s := range h.slots {
		if s == nil {
			return i
		}
	}
	return -1
}

// plug gives the workers the ports that are open. Queues of one port are dealt
// out to the workers in turn, ports of one queue likewise.
func (h *host) plug() {
	n := len(h.workers)
	plugs := make([]*worker.Plug, n)
	for i := range plugs {
		plugs[i] = &worker.Plug{Ports: make([]port.Port, len(h.slots))}
	}
	for i, s := range h.slots {
		if s == nil {
			continue
		}
		s.uses = s.dev.Offloads().Uses
		queues := s.dev.Info().RxQueues
		for _, p := range plugs {
			p.Ports[i] = s.dev
		}
		for q := range queues {
			w := (i + q) % n
			if queues == n {
				w = q
			}
			plugs[w].Poll = append(plugs[w].Poll, worker.Queue{Port: uint16(i), Queue: q, Spread: s.spread})
		}
	}
	for i, w := range h.workers {
		w.Plug.Store(plugs[i])
	}
}

// settle waits until no worker uses what was in force before.
func (h *host) settle() {
	if h.running {
		worker.Settle(h.workers)
	}
}

// closeAll is the end of all ports. No worker runs any more.
func (h *host) closeAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, s := range h.slots {
		if s == nil {
			continue
		}
		if err := s.dev.Close(); err != nil {
			h.log.Error("port", "error", err)
		}
		h.slots[i] = nil
	}
}

// devices is what the compiler must know of open ports.
func (h *host) devices() fib.Devices {
	d := fib.Devices{}
	for i, s := range h.slots {
		if s != nil {
			d[s.asked.Name] = fib.Device{Index: uint16(i), MAC: s.dev.Info().MAC}
		}
	}
	return d
}

// totals adds up what the workers counted on the port in a slot.
func (h *host) totals(i int) (sum count.Port) {
	for _, w := range h.workers {
		w.Count.Ports[i].AddTo(&sum)
	}
	sum.Since(&h.slots[i].base)
	return sum
}

// errNotHotPluggable says why a port's change is refused.
var errNotHotPluggable = errors.New("a port keeps its device, role, MTU, queues and offloads; delete it and add it anew")
