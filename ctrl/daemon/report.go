package daemon

import (
	"cmp"
	"iter"
	"os"
	"slices"
	"time"

	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/metrics"
	"paca/ctrl/server"
	"paca/dataplane/count"
	"paca/dataplane/fib"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
)

// report is a host as the control socket shows it.
type report host

var _ server.Host = (*report)(nil)

// Status implements server.Host.
func (h *report) Status() *pacav1.StatusResponse {
	r := &pacav1.StatusResponse{
		Name:          h.conf.Host.Name,
		Version:       h.version,
		Pid:           int32(os.Getpid()),
		Started:       h.started.Unix(),
		UptimeSeconds: uint64(time.Since(h.started).Seconds()),
		PolicyVersion: 1, // this version applies policy once, at start
		FibVersion:    h.fib.Load().Version,
		Counts: &pacav1.Counts{
			VirtualSubnets:    uint32(len(h.set.VirtualSubnets)),
			LookupRecords:     uint32(len(h.set.LookupRecords)),
			CustomerRoutes:    uint32(len(h.set.CustomerRoutes)),
			ProviderAddresses: uint32(len(h.set.ProviderAddresses)),
			ProviderRoutes:    uint32(len(h.set.ProviderRoutes)),
			Ports:             uint32(len(h.ports)),
			Neighbors:         uint32(len(h.fib.Load().NextHops)),
		},
	}
	for i, w := range h.workers {
		s := w.Count.Snapshot()
		r.Workers = append(r.Workers, &pacav1.Worker{
			Core:       uint32(h.conf.Workers.Cores[i]),
			PollsEmpty: s.PollsEmpty,
			PollsValid: s.PollsValid,
			Sleeps:     s.Sleeps,
		})
	}
	return r
}

// Ports implements server.Host.
func (h *report) Ports() []*pacav1.Port {
	totals := (*host)(h).totals()
	var all []*pacav1.Port
	for i, p := range h.ports {
		asked, info, stats, c := h.conf.Ports[i], p.Info(), p.Stats(), &totals.Ports[i]
		r := &pacav1.Port{
			Name:   asked.Name,
			Role:   string(asked.Role),
			Device: asked.Device,
			Driver: info.Driver,
			Mac:    packet.MAC(info.MAC).String(),
			Mtu:    uint32(asked.MTU),
			Vsid:   asked.VSID,
			LinkUp: p.LinkUp(),

			RxPackets:      c.RxPackets,
			RxBytes:        c.RxBytes,
			TxPackets:      c.TxPackets,
			TxBytes:        c.TxBytes,
			ControlPackets: c.Control,
			DeviceStats: &pacav1.DeviceStats{
				RxPackets:  stats.RxPackets,
				RxBytes:    stats.RxBytes,
				TxPackets:  stats.TxPackets,
				TxBytes:    stats.TxBytes,
				RxMissed:   stats.RxMissed,
				RxNoBuffer: stats.RxNoBuffer,
				RxErrors:   stats.RxErrors,
				TxErrors:   stats.TxErrors,
			},
		}
		if asked.VSID != 0 {
			r.VmMac = packet.MAC(asked.MAC).String()
		}
		for _, n := range c.Drops {
			r.DroppedPackets += n
		}
		all = append(all, r)
	}
	return all
}

// LookupRecords implements server.Host.
func (h *report) LookupRecords(match server.Match) iter.Seq[*pacav1.LookupRecord] {
	return func(yield func(*pacav1.LookupRecord) bool) {
		f := h.fib.Load()
		modeOf := map[policy.VSID]policy.Mode{}
		for _, vs := range h.set.VirtualSubnets {
			modeOf[vs.VSID] = vs.Mode
		}
		records := slices.SortedFunc(slices.Values(h.set.LookupRecords), func(a, b policy.LookupRecord) int {
			return cmp.Or(cmp.Compare(a.VSID, b.VSID), a.CA.Compare(b.CA), slices.Compare(a.MAC[:], b.MAC[:]))
		})
		for _, r := range records {
			if !match(r.VSID, r.CA, r.PA, r.MAC) {
				continue
			}
			m := &pacav1.LookupRecord{
				Vsid:       uint32(r.VSID),
				Ca:         r.CA.String(),
				Mac:        r.MAC.String(),
				Pa:         r.PA.String(),
				Type:       r.Type.String(),
				Mode:       modeOf[r.VSID].String(),
				UseVmMac:   r.UseVMMAC,
				VmName:     r.VMName,
				CustomerId: r.CustomerID,
				Context:    r.Context,
			}
			h.whereabouts(f, &r, m)
			if !yield(m) {
				return
			}
		}
	}
}

// whereabouts says where the dataplane sends what is for a record.
func (h *report) whereabouts(f *fib.FIB, r *policy.LookupRecord, m *pacav1.LookupRecord) {
	e := f.Lookup(f.Domain(uint32(r.VSID)), r.CA)
	switch {
	case e == nil || e.Flags&fib.RouterCA != 0:
	case e.Flags&fib.LocalVM != 0:
		if p := f.Locals[e.Dest].Port; p != fib.None {
			m.Port = h.conf.Ports[p].Name
		}
	case len(f.PAs) > 0:
		adj := f.BestAdj(e)
		m.NextHopState = adj.State.String()
		if adj.NextHop != fib.None {
			m.NextHop = f.NextHops[adj.NextHop].Addr.String()
		}
	}
}

// Drops implements server.Host.
func (h *report) Drops() []*pacav1.Drop {
	totals := (*host)(h).totals()
	var all []*pacav1.Drop
	for i := range h.ports {
		for r := count.Kept + 1; r < count.NumReasons; r++ {
			all = append(all, &pacav1.Drop{Port: h.conf.Ports[i].Name, Reason: r.Name(), Help: r.Help(), Packets: totals.Ports[i].Drops[r]})
		}
	}
	return all
}

// Neighbors implements server.Host.
func (h *report) Neighbors() []*pacav1.Neighbor {
	h.control.mu.Lock()
	defer h.control.mu.Unlock()
	var all []*pacav1.Neighbor
	for k, e := range h.control.table.All() {
		n := &pacav1.Neighbor{Port: h.conf.Ports[k.Port].Name, Vlan: uint32(k.VLAN), Address: k.Addr.String(), State: e.State.String()}
		if !e.MAC.IsZero() {
			n.Mac = e.MAC.String()
		}
		all = append(all, n)
	}
	return all
}

// scrape is a host as a scrape sees it.
type scrape host

var _ metrics.Source = (*scrape)(nil)

// Ports implements metrics.Source.
func (h *scrape) Ports() []metrics.Port {
	var all []metrics.Port
	for i, p := range h.ports {
		all = append(all, metrics.Port{Name: h.conf.Ports[i].Name, LinkUp: p.LinkUp(), Stats: p.Stats()})
	}
	return all
}

// Workers implements metrics.Source.
func (h *scrape) Workers() []metrics.Worker {
	var all []metrics.Worker
	for i, w := range h.workers {
		all = append(all, metrics.Worker{Core: h.conf.Workers.Cores[i], Counters: w.Count})
	}
	return all
}

// FIB implements metrics.Source.
func (h *scrape) FIB() metrics.FIB {
	f := h.fib.Load()
	return metrics.FIB{Version: f.Version, VirtualSubnets: len(h.set.VirtualSubnets), LookupRecords: len(h.set.LookupRecords), Neighbors: len(f.NextHops)}
}
