package server

import (
	"context"
	"iter"
	"log/slog"
	"net/netip"
	"slices"

	"connectrpc.com/connect"

	"paca/ctrl/api"
	"paca/ctrl/api/convert"
	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/api/paca/v1/pacav1connect"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
)

// control implements the service.
type control struct {
	host    Host
	policy  Policy
	log     *slog.Logger
	pending *budget       // bytes of change sets that are still arriving
	stop    chan struct{} // closed when the server is to end
}

var _ pacav1connect.ControlHandler = (*control)(nil)

func (c *control) Status(context.Context, *connect.Request[pacav1.StatusRequest]) (*connect.Response[pacav1.StatusResponse], error) {
	return connect.NewResponse(c.host.Status()), nil
}

func (c *control) Workers(context.Context, *connect.Request[pacav1.WorkersRequest]) (*connect.Response[pacav1.WorkersResponse], error) {
	return connect.NewResponse(c.host.Workers()), nil
}

func (c *control) ListPorts(_ context.Context, r *connect.Request[pacav1.ListPortsRequest], to *connect.ServerStream[pacav1.ListPortsResponse]) error {
	names := texts(r.Msg.Name)
	roles, err := words("role", r.Msg.Role, "uplink, vm or host", policy.Uplink.String(), policy.VM.String(), policy.Host.String())
	if err != nil {
		return err
	}
	in, err := vsids(r.Msg.Vsid)
	if err != nil {
		return err
	}
	vmMACs, err := macs("vm_mac", r.Msg.VmMac)
	if err != nil {
		return err
	}
	ports := slices.DeleteFunc(c.host.Ports(), func(p *pacav1.Port) bool {
		mac, _ := packet.ParseMAC(p.VmMac) // none is zero, and nobody's
		return !names.selects(p.Name) || !roles.selects(p.Role) || !in.selects(policy.VSID(p.Vsid)) || !vmMACs.selects(mac)
	})
	for _, p := range ports {
		p.HostFile = c.policy.HostFile(policy.Port{Name: p.Name}.Key())
	}
	for ports := range slices.Chunk(ports, batch) {
		if err := to.Send(&pacav1.ListPortsResponse{Ports: ports}); err != nil {
			return err
		}
	}
	return nil
}

func (c *control) ListLookupRecords(_ context.Context, r *connect.Request[pacav1.ListLookupRecordsRequest], to *connect.ServerStream[pacav1.ListLookupRecordsResponse]) error {
	in, err := vsids(r.Msg.Vsid)
	if err != nil {
		return err
	}
	cas, err := addresses("ca", r.Msg.Ca)
	if err != nil {
		return err
	}
	pas, err := addresses("pa", r.Msg.Pa)
	if err != nil {
		return err
	}
	of, err := macs("mac", r.Msg.Mac)
	if err != nil {
		return err
	}
	types, err := words("type", r.Msg.Type, "static, dynamic, gateway-wildcard or l2-only",
		policy.Static.String(), policy.Dynamic.String(), policy.GatewayWildcard.String(), policy.L2Only.String())
	if err != nil {
		return err
	}
	records := c.host.LookupRecords(func(vsid policy.VSID, ca, pa netip.Addr, mac packet.MAC) bool {
		return in.selects(vsid) && cas.selects(ca) && pas.selects(pa) && of.selects(mac)
	})
	wanted := func(yield func(*pacav1.LookupRecord) bool) {
		for record := range records {
			if types.selects(record.Type) && !yield(record) {
				return
			}
		}
	}
	return inBatches(wanted, func(records []*pacav1.LookupRecord) error {
		return to.Send(&pacav1.ListLookupRecordsResponse{LookupRecords: records})
	})
}

func (c *control) ListVirtualSubnets(_ context.Context, r *connect.Request[pacav1.ListVirtualSubnetsRequest], to *connect.ServerStream[pacav1.ListVirtualSubnetsResponse]) error {
	of, err := vsids(r.Msg.Vsid)
	if err != nil {
		return err
	}
	in, err := rdids(r.Msg.Rdid)
	if err != nil {
		return err
	}
	modes, err := words("mode", r.Msg.Mode, "nvgre or rewrite", policy.NVGRE.String(), policy.Rewrite.String())
	if err != nil {
		return err
	}
	revision, subnets := list(c, policy.KindVirtualSubnet, (*pacav1.Object).GetVirtualSubnet, func(v policy.VirtualSubnet) bool {
		return of.selects(v.VSID) && in.selects(v.RDID) && modes.selects(v.Mode.String())
	})
	return inBatches(subnets, func(all []*pacav1.VirtualSubnet) error {
		return to.Send(&pacav1.ListVirtualSubnetsResponse{Revision: revision, VirtualSubnets: all})
	})
}

func (c *control) ListCustomerRoutes(_ context.Context, r *connect.Request[pacav1.ListCustomerRoutesRequest], to *connect.ServerStream[pacav1.ListCustomerRoutesResponse]) error {
	in, err := rdids(r.Msg.Rdid)
	if err != nil {
		return err
	}
	of, err := vsids(r.Msg.Vsid)
	if err != nil {
		return err
	}
	dst, err := prefixes("prefix", r.Msg.Prefix)
	if err != nil {
		return err
	}
	by, err := addresses("next_hop", r.Msg.NextHop)
	if err != nil {
		return err
	}
	revision, routes := list(c, policy.KindCustomerRoute, (*pacav1.Object).GetCustomerRoute, func(v policy.CustomerRoute) bool {
		return in.selects(v.RDID) && of.selects(v.VSID) && dst.selects(v.Prefix) && by.selects(v.NextHop)
	})
	return inBatches(routes, func(all []*pacav1.CustomerRoute) error {
		return to.Send(&pacav1.ListCustomerRoutesResponse{Revision: revision, CustomerRoutes: all})
	})
}

func (c *control) ListProviderAddresses(_ context.Context, r *connect.Request[pacav1.ListProviderAddressesRequest], to *connect.ServerStream[pacav1.ListProviderAddressesResponse]) error {
	of, err := addresses("address", r.Msg.Address)
	if err != nil {
		return err
	}
	ports := texts(r.Msg.Port)
	revision, pas := list(c, policy.KindProviderAddress, (*pacav1.Object).GetProviderAddress, func(v policy.ProviderAddress) bool {
		return of.selects(v.Prefix.Addr()) && ports.selects(v.Port)
	})
	return inBatches(pas, func(all []*pacav1.ProviderAddress) error {
		return to.Send(&pacav1.ListProviderAddressesResponse{Revision: revision, ProviderAddresses: all})
	})
}

func (c *control) ListProviderRoutes(_ context.Context, r *connect.Request[pacav1.ListProviderRoutesRequest], to *connect.ServerStream[pacav1.ListProviderRoutesResponse]) error {
	ports := texts(r.Msg.Port)
	dst, err := prefixes("prefix", r.Msg.Prefix)
	if err != nil {
		return err
	}
	by, err := addresses("next_hop", r.Msg.NextHop)
	if err != nil {
		return err
	}
	revision, routes := list(c, policy.KindProviderRoute, (*pacav1.Object).GetProviderRoute, func(v policy.ProviderRoute) bool {
		return ports.selects(v.Port) && dst.selects(v.Prefix) && by.selects(v.NextHop)
	})
	return inBatches(routes, func(all []*pacav1.ProviderRoute) error {
		return to.Send(&pacav1.ListProviderRoutesResponse{Revision: revision, ProviderRoutes: all})
	})
}

func (c *control) ListDrops(_ context.Context, r *connect.Request[pacav1.ListDropsRequest], to *connect.ServerStream[pacav1.ListDropsResponse]) error {
	drops := c.host.Drops()
	if !r.Msg.IncludeZero {
		drops = slices.DeleteFunc(drops, func(d *pacav1.Drop) bool { return d.Packets == 0 })
	}
	for drops := range slices.Chunk(drops, batch) {
		if err := to.Send(&pacav1.ListDropsResponse{Drops: drops}); err != nil {
			return err
		}
	}
	return nil
}

func (c *control) ListNeighbors(_ context.Context, _ *connect.Request[pacav1.ListNeighborsRequest], to *connect.ServerStream[pacav1.ListNeighborsResponse]) error {
	for neighbors := range slices.Chunk(c.host.Neighbors(), batch) {
		if err := to.Send(&pacav1.ListNeighborsResponse{Neighbors: neighbors}); err != nil {
			return err
		}
	}
	return nil
}

func (c *control) Get(_ context.Context, r *connect.Request[pacav1.GetRequest]) (*connect.Response[pacav1.GetResponse], error) {
	wanted, err := convert.Identity(r.Msg.Object)
	if err != nil {
		return nil, refuse(err)
	}
	revision, object, found := c.policy.Get(wanted.Key())
	if !found {
		return nil, api.Refuse(pacav1.ErrorCode_ERROR_CODE_NOT_FOUND, "object", "", "there is no such %s", wanted.Kind())
	}
	return connect.NewResponse(&pacav1.GetResponse{Revision: revision, Object: c.told(object)}), nil
}

func (c *control) Export(_ context.Context, _ *connect.Request[pacav1.ExportRequest], to *connect.ServerStream[pacav1.ExportResponse]) error {
	revision, objects := c.policy.Export()
	if err := to.Send(&pacav1.ExportResponse{Revision: revision}); err != nil {
		return err
	}
	told := func(yield func(*pacav1.Object) bool) {
		for o := range objects {
			if !yield(c.told(o)) {
				return
			}
		}
	}
	return inBatches(told, func(all []*pacav1.Object) error {
		return to.Send(&pacav1.ExportResponse{Revision: revision, Objects: all})
	})
}

func (c *control) NextHop(_ context.Context, r *connect.Request[pacav1.NextHopRequest]) (*connect.Response[pacav1.NextHopResponse], error) {
	const bad = pacav1.ErrorCode_ERROR_CODE_INVALID
	if !policy.VSID(r.Msg.Vsid).Valid() {
		return nil, api.Refuse(bad, "vsid", "W4", "vsid %d is not in %d to %d", r.Msg.Vsid, policy.MinVSID, policy.MaxVSID)
	}
	var src netip.Addr
	if r.Msg.SrcCa != "" {
		var err error
		if src, err = netip.ParseAddr(r.Msg.SrcCa); err != nil {
			return nil, api.Refuse(bad, "src_ca", "", "src_ca %q is not an IP address", clip(r.Msg.SrcCa))
		}
	}
	dst, err := netip.ParseAddr(r.Msg.DstCa)
	if err != nil {
		return nil, api.Refuse(bad, "dst_ca", "", "dst_ca %q is not an IP address", clip(r.Msg.DstCa))
	}
	if src.IsValid() && src.Is4() != dst.Is4() {
		return nil, api.Refuse(bad, "src_ca", "", "src_ca %v and dst_ca %v are not of one address family", src, dst)
	}
	answer, err := c.policy.NextHop(policy.VSID(r.Msg.Vsid), src, dst)
	if err != nil {
		return nil, refuse(err)
	}
	return connect.NewResponse(answer), nil
}

func (c *control) ListPathMTUs(_ context.Context, r *connect.Request[pacav1.ListPathMTUsRequest], to *connect.ServerStream[pacav1.ListPathMTUsResponse]) error {
	in, err := vsids(r.Msg.Vsid)
	if err != nil {
		return err
	}
	pas, err := addresses("pa", r.Msg.Pa)
	if err != nil {
		return err
	}
	mtus := slices.DeleteFunc(c.host.PathMTUs(), func(m *pacav1.PathMTU) bool {
		pa, _ := netip.ParseAddr(m.Pa)
		return !in.selects(policy.VSID(m.Vsid)) || !pas.selects(pa)
	})
	for mtus := range slices.Chunk(mtus, batch) {
		if err := to.Send(&pacav1.ListPathMTUsResponse{PathMtus: mtus}); err != nil {
			return err
		}
	}
	return nil
}

// The sizes that TestPath takes: every link of IPv4 carries the least (RFC 791).
const (
	minTestSize = 68
	maxTestSize = 9702
)

func (c *control) TestPath(ctx context.Context, r *connect.Request[pacav1.TestPathRequest]) (*connect.Response[pacav1.TestPathResponse], error) {
	pa, err := machine("pa", r.Msg.Pa)
	if err != nil {
		return nil, err
	}
	var source netip.Addr
	if r.Msg.SourcePa != "" {
		if source, err = machine("source_pa", r.Msg.SourcePa); err != nil {
			return nil, err
		}
		if source.Is4() != pa.Is4() {
			return nil, api.Refuse(pacav1.ErrorCode_ERROR_CODE_INVALID, "source_pa", "", "source_pa %v and pa %v are not of one address family", source, pa)
		}
	}
	if n := r.Msg.Size; n != 0 && (n < minTestSize || n > maxTestSize) {
		return nil, api.Refuse(pacav1.ErrorCode_ERROR_CODE_INVALID, "size", "M1", "size %d is not in %d to %d bytes", n, minTestSize, maxTestSize)
	}
	ctx, cancel := c.untilStop(ctx)
	defer cancel()
	answer, err := c.host.TestPath(ctx, pa, source, int(r.Msg.Size))
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	if err != nil {
		return nil, refuse(err)
	}
	return connect.NewResponse(answer), nil
}

// machine reads the address of one machine.
func machine(field, s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		return a, api.Refuse(pacav1.ErrorCode_ERROR_CODE_INVALID, field, "", "%s %q is not an IP address", field, clip(s))
	case a.IsUnspecified() || a.IsMulticast() || a.Is4In6() || a.Zone() != "" || a.IsLoopback() || a == packet.LimitedBroadcast:
		return a, api.Refuse(pacav1.ErrorCode_ERROR_CODE_INVALID, field, "P13", "%s %q is not the address of another machine on the provider network", field, clip(s))
	}
	return a, nil
}

// told is the message of an object, and whether the host file has it.
func (c *control) told(o policy.Object) *pacav1.Object {
	m := convert.FromObject(o)
	switch t := m.Object.(type) {
	case *pacav1.Object_Port:
		t.Port.HostFile = c.policy.HostFile(o.Key())
	case *pacav1.Object_ProviderAddress:
		t.ProviderAddress.HostFile = c.policy.HostFile(o.Key())
		t.ProviderAddress.State = c.host.AddressState(o.(policy.ProviderAddress).Prefix.Addr())
	case *pacav1.Object_ProviderRoute:
		t.ProviderRoute.HostFile = c.policy.HostFile(o.Key())
	}
	return m
}

// list is the messages of all objects of one kind that are wanted.
func list[O policy.Object, M any](c *control, kind policy.Kind, message func(*pacav1.Object) M, wanted func(O) bool) (revision uint64, all iter.Seq[M]) {
	revision, objects := c.policy.Export(kind)
	return revision, func(yield func(M) bool) {
		for o := range objects {
			if v, ok := o.(O); ok && wanted(v) && !yield(message(c.told(o))) {
				return
			}
		}
	}
}

// inBatches sends what all yields in messages of bounded size.
func inBatches[M any](all iter.Seq[M], send func([]M) error) error {
	some := make([]M, 0, batch)
	for m := range all {
		if some = append(some, m); len(some) < batch {
			continue
		}
		if err := send(some); err != nil {
			return err
		}
		clear(some)
		some = some[:0]
	}
	if len(some) == 0 {
		return nil
	}
	return send(some)
}
