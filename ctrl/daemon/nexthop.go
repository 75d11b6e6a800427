package daemon

import (
	"context"
	"fmt"
	"iter"
	"net/netip"
	"slices"

	"paca/ctrl/api"
	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/server"
	"paca/ctrl/store"
	"paca/dataplane/count"
	"paca/dataplane/fib"
	"paca/dataplane/policy"
)

var _ server.Policy = (*host)(nil)

// Watch implements server.Policy.
func (h *host) Watch(ctx context.Context, after uint64) (iter.Seq2[store.Event, error], error) {
	return h.store.Watch(ctx, store.Revision(after))
}

// Export implements server.Policy.
func (h *host) Export(kinds ...policy.Kind) (uint64, iter.Seq[policy.Object]) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	// Gathered before it is told: who reads slowly must not hold h.mu.
	return h.revision, slices.Values(h.book.Objects(kinds...))
}

// Get implements server.Policy.
func (h *host) Get(k policy.Key) (uint64, policy.Object, bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	o, ok := h.book.Get(k)
	return h.revision, o, ok
}

// HostFile implements server.Policy.
func (h *host) HostFile(k policy.Key) bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.book.Pinned(k)
}

// NextHop implements server.Policy (C6): it asks the tables in force, and decides
// with the workers' own code.
func (h *host) NextHop(vsid policy.VSID, src, dst netip.Addr) (*pacav1.NextHopResponse, error) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	vs, ok := h.book.Subnet(vsid)
	if !ok {
		return nil, api.Refuse(pacav1.ErrorCode_ERROR_CODE_NOT_FOUND, "vsid", "P3", "no virtual subnet has VSID %d", vsid)
	}
	f := h.fib.Load()
	rd := f.Domain(uint32(vsid))
	r := &pacav1.NextHopResponse{}
	step := func(rule, format string, args ...any) {
		r.Steps = append(r.Steps, &pacav1.Step{Text: fmt.Sprintf(format, args...), Rule: rule})
	}
	step("P3", "VSID %d belongs to routing domain %v", vsid, vs.RDID)
	if !src.IsValid() {
		if src = h.anySource(f, vsid, dst); !src.IsValid() {
			step("L3", "no VM of this host is in VSID %d with a CA of %v's family", vsid, dst)
			r.Verdict = count.SourceCA.Name()
			return r, nil
		}
	}

	p := fib.Port{VSID: uint32(vsid), RD: rd, MTU: ^uint16(0)}
	if e := f.Lookup(rd, src); e != nil {
		p.MAC = e.MAC
	}
	from, to, v := h.workers[0].Ask(f, &p, src, dst)
	if from == nil {
		step("L3", "source %v has no lookup record in the routing domain", src)
	} else {
		step("L3", "source %v is %v in VSID %d, on %s", src, from.MAC, from.VSID, h.place(f, from))
		r.SourceMac = from.MAC.String()
	}
	owner := f.Lookup(rd, dst)
	r.NextHopCa = dst.String()
	switch {
	case to == nil:
		step("L9", "destination %v has no lookup record in the routing domain, and no customer route leads to one", dst)
		r.NextHopCa = ""
	case to.Flags&fib.RouterCA != 0:
		step("L11", "destination %v is the distributed router of VSID %d", dst, to.VSID)
		r.NextHopCa = ""
	case owner == to:
		step("L9", "destination %v is %v in VSID %d, on %s", dst, to.MAC, to.VSID, h.place(f, to))
	case f.ExternalRouter:
		step("L18", "destination %v is for the external router, %v in VSID %d, on %s", dst, to.MAC, to.VSID, h.place(f, to))
		r.NextHopCa = h.owner(to, dst)
	default:
		r.NextHopCa = h.owner(to, dst)
		step("L7", "no record of %v: the customer routes lead to %s, which is %v in VSID %d, on %s", dst, r.NextHopCa, to.MAC, to.VSID, h.place(f, to))
	}
	if r.NextHopCa != "" {
		r.NextHopMac, r.EgressVsid = to.MAC.String(), to.VSID
	}
	if r.NextHopCa != "" && from != nil && to.VSID != from.VSID {
		if router := f.Subnet(to.VSID).Router(dst); router != nil {
			r.SourceMac = router.MAC.String()
		}
		step("L12", "routed from VSID %d to VSID %d: source MAC becomes %s, the TTL one less (L14)", from.VSID, to.VSID, r.SourceMac)
	}

	if from != nil && from.Flags&fib.LocalVM != 0 && f.Locals[from.Dest].Port == fib.None {
		r.Verdict = count.NoLocalPort.Name()
		step("L15", "no port of this host has the source's VSID and MAC: nothing comes from it")
		return r, nil
	}
	switch {
	case v.Adj != nil:
		pa := f.PAs[f.Locals[from.Dest].PA]
		r.Pa = f.Remote(to).IP().String()
		step("L16", "from PA %v to PA %s", pa.IP(), r.Pa)
		if v.Adj.NextHop != fib.NoRoute {
			n := &f.NextHops[v.Adj.NextHop]
			step("L16", "PA next hop %v by port %s: %v", n.Addr, h.portName(n.Port), v.Adj.State)
		}
		step("M5", "carries inner IP packets of up to %d bytes", f.Limit(to, v.Adj))
	case v.Drop == count.Kept:
		r.LocalPort = h.portName(v.Port)
		step("L15", "delivered on this host, by port %s", r.LocalPort)
	}
	r.Verdict = "forward"
	if v.Drop != count.Kept {
		r.Verdict = v.Drop.Name()
		step("", "dropped: %s", v.Drop.Help())
	}
	return r, nil
}

// place says where an entry's VM lives.
func (h *host) place(f *fib.FIB, e *fib.Entry) string {
	switch {
	case e.Flags&fib.RouterCA != 0:
		return "every host"
	case e.Flags&fib.LocalVM == 0:
		return "the host with PA " + f.Remote(e).IP().String()
	}
	if name := h.portName(f.Locals[e.Dest].Port); name != "" {
		return "this host's port " + name
	}
	return "this host, without a port"
}

// owner is the CA, of like's family, of the record that e was made of.
func (h *host) owner(e *fib.Entry, like netip.Addr) string {
	for r := range h.book.RecordsIn(policy.VSID(e.VSID)) {
		if r.MAC == e.MAC && r.CA.Is4() == like.Is4() && !r.CA.IsUnspecified() {
			return r.CA.String()
		}
	}
	return ""
}

// anySource is the CA, of like's family, of some VM of this host in a VSID.
func (h *host) anySource(f *fib.FIB, vsid policy.VSID, like netip.Addr) netip.Addr {
	for r := range h.book.Records() {
		if r.VSID != vsid || r.CA.Is4() != like.Is4() || r.CA.IsUnspecified() || r.CA == like {
			continue
		}
		if e := f.Lookup(f.Domain(uint32(vsid)), r.CA); e != nil && e.Flags&fib.LocalVM != 0 {
			return r.CA
		}
	}
	return netip.Addr{}
}
