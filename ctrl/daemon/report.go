package daemon

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"os"
	"slices"
	"time"

	"paca/ctrl/api/convert"
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
	h.mu.RLock()
	defer h.mu.RUnlock()
	f := h.fib.Load()
	r := &pacav1.StatusResponse{
		Name:          h.conf.Host.Name,
		Version:       h.version,
		Pid:           int32(os.Getpid()),
		Started:       h.started.Unix(),
		UptimeSeconds: uint64(time.Since(h.started).Seconds()),
		PolicyVersion: h.revision,
		FibVersion:    f.Version,
		Counts: &pacav1.Counts{
			VirtualSubnets:    uint32(h.book.Len(policy.KindVirtualSubnet)),
			LookupRecords:     uint32(h.book.Len(policy.KindLookupRecord)),
			CustomerRoutes:    uint32(h.book.Len(policy.KindCustomerRoute)),
			ProviderAddresses: uint32(h.book.Len(policy.KindProviderAddress)),
			ProviderRoutes:    uint32(h.book.Len(policy.KindProviderRoute)),
			Ports:             uint32(h.book.Len(policy.KindPort)),
			Neighbors:         uint32(len(f.NextHops)),
		},
	}
	r.Workers = (*host)(h).workersReport().Workers
	return r
}

// Workers implements server.Host.
func (h *report) Workers() *pacav1.WorkersResponse {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return (*host)(h).workersReport()
}

// workersReport is what the workers do. The caller holds h.mu.
func (h *host) workersReport() *pacav1.WorkersResponse {
	counted := snapshots(h.workers)
	shares, over := h.loads.until(momentOf(time.Now(), counted))
	r := &pacav1.WorkersResponse{Seconds: over.Seconds(), Imbalance: imbalance(shares)}
	for i, c := range counted {
		w := &pacav1.Worker{
			Core:            uint32(h.conf.Workers.Cores[i]),
			PollsEmpty:      c.PollsEmpty,
			PollsValid:      c.PollsValid,
			Sleeps:          c.Sleeps,
			IdleNanoseconds: c.Idle,
			GivenPackets:    c.Given,
			TakenPackets:    c.Taken,
		}
		sum := c.Sum()
		w.RxPackets, w.TxPackets, w.QueueDrops = sum.RxPackets, sum.TxPackets, sum.Drops[count.WorkerQueue]
		for _, n := range sum.Drops {
			w.DroppedPackets += n
		}
		if shares != nil {
			w.Load, w.PacketsPerSecond = shares[i].load, shares[i].rate
		}
		for _, q := range h.workers[i].Plug.Load().Poll {
			w.Queues = append(w.Queues, fmt.Sprintf("%s/%d", h.portName(q.Port), q.Queue))
		}
		r.Workers = append(r.Workers, w)
	}
	return r
}

// openSlots yields the ports that are open, with their index. The caller holds h.mu.
func (h *host) openSlots() iter.Seq2[int, *slot] {
	return func(yield func(int, *slot) bool) {
		for i, s := range h.slots {
			if s != nil && !yield(i, s) {
				return
			}
		}
	}
}

// Ports implements server.Host.
func (h *report) Ports() []*pacav1.Port {
	h.mu.RLock()
	defer h.mu.RUnlock()
	f := h.fib.Load()
	var all []*pacav1.Port
	for i, s := range (*host)(h).openSlots() {
		info, stats, c := s.dev.Info(), s.dev.Stats(), (*host)(h).totals(i)
		r := convert.FromObject(s.asked).GetPort()
		r.Driver, r.Mac, r.LinkUp = info.Driver, packet.MAC(info.MAC).String(), s.dev.LinkUp()
		r.HostFile = h.book.Pinned(s.asked.Key())
		if i < len(f.Ports) {
			r.Peer = (*host)(h).portName(f.Ports[i].Peer)
		}
		r.RxPackets, r.RxBytes, r.TxPackets, r.TxBytes = c.RxPackets, c.RxBytes, c.TxPackets, c.TxBytes
		r.ControlPackets = c.Control
		r.DeviceStats = &pacav1.DeviceStats{
			RxPackets:  stats.RxPackets,
			RxBytes:    stats.RxBytes,
			TxPackets:  stats.TxPackets,
			TxBytes:    stats.TxBytes,
			RxMissed:   stats.RxMissed,
			RxNoBuffer: stats.RxNoBuffer,
			RxErrors:   stats.RxErrors,
			TxErrors:   stats.TxErrors,
		}
		r.RxQueues, r.TxQueues, r.TxShared, r.Spread = uint32(info.RxQueues), uint32(info.TxQueues), info.TxShared, s.how
		r.Offloads = offloadReport(&s.asked, s.dev.Offloads(), r.HostFile)
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
		for _, r := range h.matching(match) {
			if !yield(r) {
				return
			}
		}
	}
}

// matching is gathered before it is told: who reads slowly must not hold h.mu.
func (h *report) matching(match server.Match) (all []*pacav1.LookupRecord) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	var records []policy.LookupRecord
	for r := range h.book.Records() {
		if match(r.VSID, r.CA, r.PA, r.MAC) {
			records = append(records, r)
		}
	}
	slices.SortFunc(records, func(a, b policy.LookupRecord) int {
		return cmp.Or(cmp.Compare(a.VSID, b.VSID), a.CA.Compare(b.CA), slices.Compare(a.MAC[:], b.MAC[:]))
	})
	f := h.fib.Load()
	for _, r := range records {
		vs, _ := h.book.Subnet(r.VSID)
		m := convert.FromObject(r).GetLookupRecord()
		m.Mode = vs.Mode.String()
		(*host)(h).whereabouts(f, &r, m)
		all = append(all, m)
	}
	return all
}

// whereabouts says where the dataplane sends what is for a record.
func (h *host) whereabouts(f *fib.FIB, r *policy.LookupRecord, m *pacav1.LookupRecord) {
	e := f.Lookup(f.Domain(uint32(r.VSID)), r.CA)
	switch {
	case e == nil || e.Flags&fib.RouterCA != 0:
	case e.Flags&fib.LocalVM != 0:
		m.Port = h.portName(f.Locals[e.Dest].Port)
	case len(f.PAs) > 0:
		adj := f.BestAdj(e)
		m.NextHopState = adj.State.String()
		if adj.NextHop != fib.NoRoute {
			m.NextHop = f.NextHops[adj.NextHop].Addr.String()
		}
	}
}

// portName is the name of the port with an index, empty if there is none. The
// caller holds h.mu.
func (h *host) portName(index uint16) string {
	if int(index) >= len(h.slots) || h.slots[index] == nil {
		return ""
	}
	return h.slots[index].asked.Name
}

// Drops implements server.Host.
func (h *report) Drops() []*pacav1.Drop {
	h.mu.RLock()
	defer h.mu.RUnlock()
	var all []*pacav1.Drop
	for i, s := range (*host)(h).openSlots() {
		c := (*host)(h).totals(i)
		for r := count.Kept + 1; r < count.NumReasons; r++ {
			all = append(all, &pacav1.Drop{Port: s.asked.Name, Reason: r.Name(), Help: r.Help(), Packets: c.Drops[r]})
		}
	}
	return all
}

// Neighbors implements server.Host.
func (h *report) Neighbors() []*pacav1.Neighbor {
	h.mu.RLock()
	defer h.mu.RUnlock()
	h.control.mu.Lock()
	defer h.control.mu.Unlock()
	var all []*pacav1.Neighbor
	for k, e := range h.control.table.All() {
		n := &pacav1.Neighbor{Port: (*host)(h).portName(k.Port), Vlan: uint32(k.VLAN), Address: k.Addr.String(), State: e.State.String()}
		if !e.MAC.IsZero() {
			n.Mac = e.MAC.String()
		}
		all = append(all, n)
	}
	return all
}

// Notices implements server.Host.
func (h *report) Notices(ctx context.Context) iter.Seq[server.Heard] { return h.notices.listen(ctx) }

// scrape is a host as Prometheus sees it.
type scrape host

var _ metrics.Source = (*scrape)(nil)

// Ports implements metrics.Source.
func (h *scrape) Ports() []metrics.Port {
	h.mu.RLock()
	defer h.mu.RUnlock()
	var all []metrics.Port
	for i, s := range (*host)(h).openSlots() {
		all = append(all, metrics.Port{Name: s.asked.Name, LinkUp: s.dev.LinkUp(), Stats: s.dev.Stats(), Counters: (*host)(h).totals(i)})
	}
	return all
}

// Workers implements metrics.Source.
func (h *scrape) Workers() ([]metrics.Worker, float64) {
	counted := snapshots(h.workers)
	shares, _ := h.loads.until(momentOf(time.Now(), counted))
	var all []metrics.Worker
	for i, c := range counted {
		w := metrics.Worker{Core: h.conf.Workers.Cores[i], Counters: c}
		if shares != nil {
			w.Load = shares[i].load
		}
		all = append(all, w)
	}
	return all, imbalance(shares)
}

// FIB implements metrics.Source.
func (h *scrape) FIB() metrics.FIB {
	h.mu.RLock()
	defer h.mu.RUnlock()
	f := h.fib.Load()
	return metrics.FIB{
		Version:        f.Version,
		VirtualSubnets: h.book.Len(policy.KindVirtualSubnet),
		LookupRecords:  f.Records(),
		Neighbors:      len(f.NextHops),
	}
}

// NVE implements metrics.Source.
func (h *scrape) NVE() metrics.NVE { return h.control.messages() }
