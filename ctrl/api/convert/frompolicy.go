package convert

import (
	"fmt"
	"net/netip"

	"google.golang.org/protobuf/proto"

	pacav1 "paca/ctrl/api/paca/v1"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
)

// FromChange is the message of a change.
func FromChange(c policy.Change) *pacav1.Change {
	o := FromObject(c.Object)
	switch c.Verb {
	case policy.Add:
		return &pacav1.Change{Change: &pacav1.Change_Add{Add: o}}
	case policy.Replace:
		return &pacav1.Change{Change: &pacav1.Change_Replace{Replace: o}}
	case policy.Put:
		return &pacav1.Change{Change: &pacav1.Change_Put{Put: o}}
	case policy.Delete:
		return &pacav1.Change{Change: &pacav1.Change_Delete{Delete: o}}
	}
	panic(fmt.Sprintf("convert: verb %d", c.Verb))
}

// FromChanges is the messages of changes.
func FromChanges(changes []policy.Change) []*pacav1.Change {
	all := make([]*pacav1.Change, len(changes))
	for i, c := range changes {
		all[i] = FromChange(c)
	}
	return all
}

// FromObject is the message of an object. What only the running host can tell
// stays empty.
func FromObject(o policy.Object) *pacav1.Object {
	switch o := o.(type) {
	case policy.LookupRecord:
		return &pacav1.Object{Object: &pacav1.Object_LookupRecord{LookupRecord: fromLookupRecord(&o)}}
	case policy.VirtualSubnet:
		return &pacav1.Object{Object: &pacav1.Object_VirtualSubnet{VirtualSubnet: fromVirtualSubnet(&o)}}
	case policy.CustomerRoute:
		return &pacav1.Object{Object: &pacav1.Object_CustomerRoute{CustomerRoute: fromCustomerRoute(&o)}}
	case policy.ProviderAddress:
		return &pacav1.Object{Object: &pacav1.Object_ProviderAddress{ProviderAddress: fromProviderAddress(&o)}}
	case policy.ProviderRoute:
		return &pacav1.Object{Object: &pacav1.Object_ProviderRoute{ProviderRoute: fromProviderRoute(&o)}}
	case policy.Port:
		return &pacav1.Object{Object: &pacav1.Object_Port{Port: fromPort(&o)}}
	case policy.Global:
		return &pacav1.Object{Object: &pacav1.Object_Global{Global: &pacav1.Global{UseExternalRouter: o.UseExternalRouter}}}
	}
	panic(fmt.Sprintf("convert: no message for %T", o))
}

func fromLookupRecord(r *policy.LookupRecord) *pacav1.LookupRecord {
	return &pacav1.LookupRecord{
		Vsid:       uint32(r.VSID),
		Ca:         address(r.CA),
		Mac:        r.MAC.String(),
		Pa:         address(r.PA),
		Type:       r.Type.String(),
		UseVmMac:   r.UseVMMAC,
		VmName:     r.VMName,
		CustomerId: r.CustomerID,
		Context:    r.Context,
	}
}

func fromVirtualSubnet(v *policy.VirtualSubnet) *pacav1.VirtualSubnet {
	m := &pacav1.VirtualSubnet{Vsid: uint32(v.VSID), Rdid: v.RDID.String(), Mode: v.Mode.String()}
	for _, p := range v.Prefixes {
		m.Prefixes = append(m.Prefixes, p.String())
	}
	m.Dhcp = v.DHCP
	for _, a := range v.DNS {
		m.Dns = append(m.Dns, address(a))
	}
	return m
}

func fromCustomerRoute(r *policy.CustomerRoute) *pacav1.CustomerRoute {
	return &pacav1.CustomerRoute{Rdid: r.RDID.String(), Vsid: uint32(r.VSID), Prefix: r.Prefix.String(), NextHop: address(r.NextHop), Metric: r.Metric}
}

func fromProviderAddress(a *policy.ProviderAddress) *pacav1.ProviderAddress {
	return &pacav1.ProviderAddress{Address: a.Prefix.String(), Port: a.Port, Vlan: uint32(a.VLAN), Mac: mac(a.MAC)}
}

func fromProviderRoute(r *policy.ProviderRoute) *pacav1.ProviderRoute {
	return &pacav1.ProviderRoute{Port: r.Port, Prefix: r.Prefix.String(), NextHop: address(r.NextHop), Metric: r.Metric}
}

func fromPort(p *policy.Port) *pacav1.Port {
	m := &pacav1.Port{Name: p.Name, Role: p.Role.String(), Device: p.Device, Mtu: uint32(p.MTU), Vsid: uint32(p.VSID)}
	m.MacSpoofing, m.DhcpGuard, m.RouterGuard, m.Uplink = p.MACSpoofing, p.DHCPGuard, p.RouterGuard, p.Uplink
	m.Queues = p.Queues
	for o := range policy.NumOffloads {
		if p.NoOffload.Has(o) {
			if m.Offload == nil {
				m.Offload = map[string]bool{}
			}
			m.Offload[o.String()] = false
		}
	}
	if p.Role == policy.VM {
		m.VmMac = mac(p.MAC)
		m.DynamicIpLimit, m.StormLimit = proto.Uint32(p.DynamicIPLimit), proto.Uint32(p.StormLimit)
	}
	return m
}

// address is empty for none, as in the API everywhere.
func address(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func mac(m packet.MAC) string {
	if m.IsZero() {
		return ""
	}
	return m.String()
}
