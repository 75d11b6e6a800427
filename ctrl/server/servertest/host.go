// Package servertest has a host made of nothing but policy, for tests of the
// control API from either side of the socket.
//
// Floor 3. Only tests import it.
package servertest

import (
	"context"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"sync"

	"paca/ctrl/api"
	"paca/ctrl/api/convert"
	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/server"
	"paca/ctrl/store"
	"paca/dataplane/policy"
)

// Host is a policy.Book before a store in memory. It has one uplink, "uplink0", of
// the host file.
type Host struct {
	mu       sync.Mutex
	book     *policy.Book
	store    store.Store
	revision uint64

	heard []server.Heard
	news  chan struct{} // closed when there is more
}

var (
	_ server.Host   = (*Host)(nil)
	_ server.Policy = (*Host)(nil)
)

// New makes a host at revision 1.
func New() *Host {
	s, err := store.Open("memory")
	if err != nil {
		panic(err)
	}
	s.Load()
	h := &Host{book: policy.NewBook(), store: s, news: make(chan struct{})}
	uplink := policy.Port{Name: "uplink0", Role: policy.Uplink, MTU: 1500, Device: "tap:uplink0"}
	if _, _, err := h.Apply(context.Background(), []policy.Change{{Verb: policy.Add, Object: uplink}}, false, 0); err != nil {
		panic(err)
	}
	h.book.Pin(uplink.Key())
	return h
}

// Apply implements server.Policy.
func (h *Host) Apply(_ context.Context, changes []policy.Change, dryRun bool, expect uint64) (uint64, []policy.Change, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if expect != 0 && expect != h.revision {
		return h.revision, nil, fmt.Errorf("%w: expected %d, it is %d", server.ErrConflict, expect, h.revision)
	}
	if dryRun {
		applied, err := h.book.Check(changes)
		return h.revision, applied, err
	}
	applied, err := h.book.Apply(changes)
	if err != nil || len(applied) == 0 {
		return h.revision, applied, err
	}
	last, err := h.store.Commit([][]policy.Change{applied})
	h.revision = uint64(last)
	return h.revision, applied, err
}

// Watch implements server.Policy.
func (h *Host) Watch(ctx context.Context, after uint64) (iter.Seq2[store.Event, error], error) {
	return h.store.Watch(ctx, store.Revision(after))
}

// Export implements server.Policy.
func (h *Host) Export(kinds ...policy.Kind) (uint64, iter.Seq[policy.Object]) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.revision, slices.Values(h.book.Objects(kinds...))
}

// Get implements server.Policy.
func (h *Host) Get(k policy.Key) (uint64, policy.Object, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	o, ok := h.book.Get(k)
	return h.revision, o, ok
}

// HostFile implements server.Policy.
func (h *Host) HostFile(k policy.Key) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.book.Pinned(k)
}

// NextHop implements server.Policy: it finds the record of dst in the VSID, and no
// routes.
func (h *Host) NextHop(vsid policy.VSID, _, dst netip.Addr) (*pacav1.NextHopResponse, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.book.Subnet(vsid); !ok {
		return nil, fmt.Errorf("virtual subnet %d: %w", vsid, policy.ErrNotFound)
	}
	for r := range h.book.Records() {
		if r.VSID == vsid && r.CA == dst {
			return &pacav1.NextHopResponse{
				NextHopCa: dst.String(), NextHopMac: r.MAC.String(), EgressVsid: uint32(vsid), Pa: r.PA.String(), Verdict: "forward",
				Steps: []*pacav1.Step{{Text: fmt.Sprintf("%v has a lookup record", dst), Rule: "L8"}},
			}, nil
		}
	}
	return &pacav1.NextHopResponse{Verdict: "no_record", Steps: []*pacav1.Step{{Text: fmt.Sprintf("%v has no lookup record", dst), Rule: "L8"}}}, nil
}

// Workers implements server.Host.
func (h *Host) Workers() *pacav1.WorkersResponse { return &pacav1.WorkersResponse{} }

// Status implements server.Host.
func (h *Host) Status() *pacav1.StatusResponse {
	h.mu.Lock()
	defer h.mu.Unlock()
	return &pacav1.StatusResponse{Name: "host1", Pid: 42, PolicyVersion: h.revision, Counts: &pacav1.Counts{LookupRecords: uint32(h.book.Len(policy.KindLookupRecord))}}
}

// Ports implements server.Host.
func (h *Host) Ports() []*pacav1.Port {
	_, ports := h.Export(policy.KindPort)
	var all []*pacav1.Port
	for p := range ports {
		all = append(all, convert.FromObject(p).GetPort())
	}
	return all
}

// LookupRecords implements server.Host.
func (h *Host) LookupRecords(match server.Match) iter.Seq[*pacav1.LookupRecord] {
	_, records := h.Export(policy.KindLookupRecord)
	return func(yield func(*pacav1.LookupRecord) bool) {
		for o := range records {
			if r := o.(policy.LookupRecord); match(r.VSID, r.CA, r.PA, r.MAC) && !yield(convert.FromObject(r).GetLookupRecord()) {
				return
			}
		}
	}
}

// Drops implements server.Host.
func (h *Host) Drops() []*pacav1.Drop {
	return []*pacav1.Drop{{Port: "uplink0", Reason: "runt"}, {Port: "uplink0", Reason: "gre_version", Packets: 7}}
}

// AddressState implements server.Host: all is well.
func (h *Host) AddressState(netip.Addr) string { return "preferred" }

// PathMTUs implements server.Host: a way that is as wide as the uplink, and one of
// which less was learned.
func (h *Host) PathMTUs() []*pacav1.PathMTU {
	return []*pacav1.PathMTU{
		{Vsid: 6001, Pa: "192.168.2.20", SourcePa: "192.168.1.10", Limit: 1458, LimitedBy: "port", Port: "uplink0", PortMtu: 1500},
		{Vsid: 6001, Pa: "2001:db8::30", SourcePa: "2001:db8::10", Limit: 1338, LimitedBy: "path", Port: "uplink0", PortMtu: 1500, PathMtu: 1400, AgeSeconds: 61},
		{Vsid: 6002, Pa: "192.168.2.20", SourcePa: "192.168.1.10", Limit: 1458, LimitedBy: "port", Port: "uplink0", PortMtu: 1500},
	}
}

// pathSize is what the way to every PA carries, in bytes.
const pathSize = 1400

// TestPath implements server.Host: only 192.168.2.20 answers, and 192.0.2.1 never
// comes to an end.
func (h *Host) TestPath(ctx context.Context, pa, source netip.Addr, size int) (*pacav1.TestPathResponse, error) {
	if pa == netip.MustParseAddr("192.0.2.1") {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if !source.IsValid() {
		source = netip.MustParseAddr("192.168.1.10")
	}
	if source != netip.MustParseAddr("192.168.1.10") {
		return nil, api.Refuse(pacav1.ErrorCode_ERROR_CODE_NOT_FOUND, "source_pa", "P13", "%v is not a provider address of this host", source)
	}
	sizes := []int{1500, 1280, pathSize, pathSize + 1}
	if size != 0 {
		sizes = []int{size}
	}
	r := &pacav1.TestPathResponse{Pa: pa.String(), SourcePa: source.String()}
	for _, n := range sizes {
		p := &pacav1.PathProbe{Size: uint32(n), Passed: n <= pathSize, RoundTripUs: 250}
		switch {
		case pa != netip.MustParseAddr("192.168.2.20"):
			p.Passed, p.RoundTripUs, p.Reason = false, 0, "no answer"
		case !p.Passed:
			p.RoundTripUs, p.Reason = 0, fmt.Sprintf("too big: a router of the way says %d", pathSize)
		default:
			r.Largest, r.RoundTripUs = max(r.Largest, p.Size), p.RoundTripUs
		}
		r.Attempts++
		r.Probes = append(r.Probes, p)
	}
	return r, nil
}

// Tell has all who listen hear something.
func (h *Host) Tell(some server.Heard) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.heard = append(h.heard, some)
	close(h.news)
	h.news = make(chan struct{})
}

// Notices implements server.Host.
func (h *Host) Notices(ctx context.Context) iter.Seq[server.Heard] {
	h.mu.Lock()
	from := len(h.heard)
	h.mu.Unlock()
	return func(yield func(server.Heard) bool) {
		for {
			h.mu.Lock()
			some, news := h.heard[from:], h.news
			h.mu.Unlock()
			from += len(some)
			for _, one := range some {
				if !yield(one) {
					return
				}
			}
			select {
			case <-news:
			case <-ctx.Done():
				return
			}
		}
	}
}

// Neighbors implements server.Host.
func (h *Host) Neighbors() []*pacav1.Neighbor {
	return []*pacav1.Neighbor{{Port: "uplink0", Address: "192.168.1.1", State: "reachable"}}
}
