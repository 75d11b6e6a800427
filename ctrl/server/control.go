package server

import (
	"context"
	"net/netip"
	"slices"

	"connectrpc.com/connect"

	"paca/ctrl/api"
	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/api/paca/v1/pacav1connect"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
)

// control implements the service.
type control struct {
	pacav1connect.UnimplementedControlHandler
	host   Host
	policy Policy
}

func (c *control) Status(context.Context, *connect.Request[pacav1.StatusRequest]) (*connect.Response[pacav1.StatusResponse], error) {
	return connect.NewResponse(c.host.Status()), nil
}

func (c *control) ListPorts(_ context.Context, _ *connect.Request[pacav1.ListPortsRequest], to *connect.ServerStream[pacav1.ListPortsResponse]) error {
	for ports := range slices.Chunk(c.host.Ports(), batch) {
		if err := to.Send(&pacav1.ListPortsResponse{Ports: ports}); err != nil {
			return err
		}
	}
	return nil
}

func (c *control) ListLookupRecords(_ context.Context, r *connect.Request[pacav1.ListLookupRecordsRequest], to *connect.ServerStream[pacav1.ListLookupRecordsResponse]) error {
	match, err := matcher(r.Msg)
	if err != nil {
		return err
	}
	answer := &pacav1.ListLookupRecordsResponse{}
	for record := range c.host.LookupRecords(match) {
		answer.LookupRecords = append(answer.LookupRecords, record)
		if len(answer.LookupRecords) < batch {
			continue
		}
		if err := to.Send(answer); err != nil {
			return err
		}
		answer.LookupRecords = answer.LookupRecords[:0]
	}
	if len(answer.LookupRecords) == 0 {
		return nil
	}
	return to.Send(answer)
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

// matcher reads the selectors of a request. An empty one selects everything.
func matcher(r *pacav1.ListLookupRecordsRequest) (Match, error) {
	const bad = pacav1.ErrorCode_ERROR_CODE_BAD_SELECTOR
	for _, v := range r.Vsid {
		if !policy.VSID(v).Valid() {
			return nil, api.Refuse(bad, "vsid", "W4", "vsid %d is not in %d to %d", v, policy.MinVSID, policy.MaxVSID)
		}
	}
	addresses := func(field string, texts []string) ([]netip.Addr, error) {
		var all []netip.Addr
		for _, s := range texts {
			a, err := netip.ParseAddr(s)
			if err != nil {
				return nil, api.Refuse(bad, field, "", "%s %q is not an IP address", field, s)
			}
			all = append(all, a)
		}
		return all, nil
	}
	cas, err := addresses("ca", r.Ca)
	if err != nil {
		return nil, err
	}
	pas, err := addresses("pa", r.Pa)
	if err != nil {
		return nil, err
	}
	var macs []packet.MAC
	for _, s := range r.Mac {
		m, err := packet.ParseMAC(s)
		if err != nil {
			return nil, api.Refuse(bad, "mac", "", "mac %q is not a MAC address", s)
		}
		macs = append(macs, m)
	}
	return func(vsid policy.VSID, ca, pa netip.Addr, mac packet.MAC) bool {
		return selects(r.Vsid, uint32(vsid)) && selects(cas, ca) && selects(pas, pa) && selects(macs, mac)
	}, nil
}

func selects[T comparable](wanted []T, v T) bool {
	return len(wanted) == 0 || slices.Contains(wanted, v)
}
