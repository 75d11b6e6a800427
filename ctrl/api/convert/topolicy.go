package convert

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	pacav1 "paca/ctrl/api/paca/v1"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
)

// Bounds of what is read; the files hold the same.
const (
	maxText    = 1024 // bytes of a label or a device
	maxName    = 63   // bytes of a port's name
	defaultMTU = 1500
	minMTU     = 1280
	maxMTU     = 9702
)

// Changes appends to all what a list of changes means. Faults count their Index
// from the start of all, and are joined.
func Changes(all []policy.Change, list []*pacav1.Change) ([]policy.Change, error) {
	r := reader{}
	for _, m := range list {
		r.index = len(all)
		all = append(all, r.change(m))
	}
	return all, errors.Join(r.faults...)
}

// Object is the object that a message describes.
func Object(m *pacav1.Object) (policy.Object, error) {
	r := reader{}
	o := r.whole(m)
	return o, errors.Join(r.faults...)
}

// Identity is an object of which only the identity is what the message says, and
// the rest unknown: enough to find it by its Key.
func Identity(m *pacav1.Object) (policy.Object, error) {
	r := reader{}
	o := r.identity(m)
	return o, errors.Join(r.faults...)
}

// reader reads one object after the other and keeps what is wrong with them.
type reader struct {
	object string // what is being read, for faults
	index  int
	faults []error
}

// rule is the one against which text that cannot be read offends.
const rule = "C1.2"

func (r *reader) fault(field, rule, format string, args ...any) {
	r.faults = append(r.faults, &policy.Fault{Object: r.object, Index: r.index, Field: field, Problem: fmt.Sprintf(format, args...), Rule: rule})
}

func (r *reader) change(m *pacav1.Change) policy.Change {
	switch c := m.GetChange().(type) {
	case *pacav1.Change_Add:
		return policy.Change{Verb: policy.Add, Object: r.whole(c.Add)}
	case *pacav1.Change_Replace:
		return policy.Change{Verb: policy.Replace, Object: r.whole(c.Replace)}
	case *pacav1.Change_Put:
		return policy.Change{Verb: policy.Put, Object: r.whole(c.Put)}
	case *pacav1.Change_Delete:
		return policy.Change{Verb: policy.Delete, Object: r.identity(c.Delete)}
	}
	r.object = "change"
	r.fault("change", "", "is none of add, replace, put and delete")
	return policy.Change{}
}

func (r *reader) whole(m *pacav1.Object) policy.Object {
	switch o := m.GetObject().(type) {
	case *pacav1.Object_LookupRecord:
		return r.lookupRecord(o.LookupRecord)
	case *pacav1.Object_VirtualSubnet:
		return r.virtualSubnet(o.VirtualSubnet)
	case *pacav1.Object_CustomerRoute:
		v := r.customerRoute(o.CustomerRoute)
		v.Metric = o.CustomerRoute.GetMetric()
		return v
	case *pacav1.Object_ProviderAddress:
		return r.providerAddress(o.ProviderAddress)
	case *pacav1.Object_ProviderRoute:
		v := r.providerRoute(o.ProviderRoute)
		v.Metric = o.ProviderRoute.GetMetric()
		return v
	case *pacav1.Object_Port:
		return r.port(o.Port)
	case *pacav1.Object_Global:
		return policy.Global{UseExternalRouter: o.Global.GetUseExternalRouter()}
	}
	r.none()
	return nil
}

func (r *reader) identity(m *pacav1.Object) policy.Object {
	switch o := m.GetObject().(type) {
	case *pacav1.Object_LookupRecord:
		return r.recordIdentity(o.LookupRecord)
	case *pacav1.Object_VirtualSubnet:
		return policy.VirtualSubnet{VSID: policy.VSID(o.VirtualSubnet.GetVsid())}
	case *pacav1.Object_CustomerRoute:
		return r.customerRoute(o.CustomerRoute)
	case *pacav1.Object_ProviderAddress:
		r.object = "provider_address"
		s, _, _ := strings.Cut(o.ProviderAddress.GetAddress(), "/")
		a := r.addr("address", s)
		if !a.IsValid() {
			return policy.ProviderAddress{}
		}
		return policy.ProviderAddress{Prefix: netip.PrefixFrom(a, a.BitLen())}
	case *pacav1.Object_ProviderRoute:
		return r.providerRoute(o.ProviderRoute)
	case *pacav1.Object_Port:
		r.object = "port"
		return policy.Port{Name: r.name("name", o.Port.GetName())}
	case *pacav1.Object_Global:
		return policy.Global{}
	}
	r.none()
	return nil
}

func (r *reader) none() {
	r.object = "change"
	r.fault("object", "", "holds no object")
}

func (r *reader) recordIdentity(m *pacav1.LookupRecord) policy.LookupRecord {
	r.object = "lookup_record"
	return policy.LookupRecord{VSID: policy.VSID(m.GetVsid()), CA: r.addr("ca", m.GetCa()), MAC: r.mac("mac", m.GetMac())}
}

func (r *reader) lookupRecord(m *pacav1.LookupRecord) policy.LookupRecord {
	v := r.recordIdentity(m)
	v.PA = r.addr("pa", m.GetPa())
	t, err := policy.ParseRecordType(m.GetType())
	if err != nil {
		r.fault("type", "P22", "%q is not static, dynamic, gateway-wildcard or l2-only", clip(m.GetType()))
	}
	v.Type = t
	v.UseVMMAC = m.GetUseVmMac()
	v.VMName = r.text("vm_name", m.GetVmName())
	v.CustomerID = r.text("customer_id", m.GetCustomerId())
	v.Context = r.text("context", m.GetContext())
	return v
}

func (r *reader) virtualSubnet(m *pacav1.VirtualSubnet) policy.VirtualSubnet {
	r.object = "virtual_subnet"
	v := policy.VirtualSubnet{VSID: policy.VSID(m.GetVsid()), RDID: r.rdid(m.GetRdid())}
	for _, p := range m.GetPrefixes() {
		v.Prefixes = append(v.Prefixes, r.prefix("prefixes", p))
	}
	mode, err := policy.ParseMode(m.GetMode())
	if err != nil {
		r.fault("mode", "P22", "%q is not nvgre or rewrite", clip(m.GetMode()))
	}
	v.Mode = mode
	v.DHCP = m.GetDhcp()
	for _, a := range m.GetDns() {
		v.DNS = append(v.DNS, r.addr("dns", a))
	}
	return v
}

func (r *reader) customerRoute(m *pacav1.CustomerRoute) policy.CustomerRoute {
	r.object = "customer_route"
	return policy.CustomerRoute{
		RDID:    r.rdid(m.GetRdid()),
		VSID:    policy.VSID(m.GetVsid()),
		Prefix:  r.prefix("prefix", m.GetPrefix()),
		NextHop: r.addr("next_hop", m.GetNextHop()),
	}
}

func (r *reader) providerAddress(m *pacav1.ProviderAddress) policy.ProviderAddress {
	r.object = "provider_address"
	v := policy.ProviderAddress{Prefix: r.prefix("address", m.GetAddress()), Port: r.name("port", m.GetPort())}
	if m.GetVlan() > 4094 {
		r.fault("vlan", "W11", "%d is not a VLAN; use 0 (untagged) to 4094", m.GetVlan())
	} else {
		v.VLAN = uint16(m.GetVlan())
	}
	if m.GetMac() != "" {
		v.MAC = r.mac("mac", m.GetMac())
	}
	return v
}

func (r *reader) providerRoute(m *pacav1.ProviderRoute) policy.ProviderRoute {
	r.object = "provider_route"
	return policy.ProviderRoute{
		Port:    r.name("port", m.GetPort()),
		Prefix:  r.prefix("prefix", m.GetPrefix()),
		NextHop: r.addr("next_hop", m.GetNextHop()),
	}
}

func (r *reader) port(m *pacav1.Port) policy.Port {
	r.object = "port"
	v := policy.Port{Name: r.name("name", m.GetName()), VSID: policy.VSID(m.GetVsid()), MTU: defaultMTU, Device: r.text("device", m.GetDevice())}
	switch m.GetRole() {
	case policy.VM.String():
		v.Role = policy.VM
		v.MAC = r.mac("vm_mac", m.GetVmMac())
	case policy.Uplink.String(), policy.Host.String():
		if m.GetRole() == policy.Host.String() {
			v.Role = policy.Host
		}
		if v.VSID != 0 {
			r.fault("vsid", "P1", "only a port of role vm has one")
		}
		if m.GetVmMac() != "" {
			r.fault("vm_mac", "P1", "only a port of role vm has one")
		}
	default:
		r.fault("role", "P1", "%q is not uplink, vm or host", clip(m.GetRole()))
	}
	if v.Device == "" {
		r.fault("device", "P1", "is missing")
	}
	v.MACSpoofing, v.DHCPGuard, v.RouterGuard = m.GetMacSpoofing(), m.GetDhcpGuard(), m.GetRouterGuard()
	if v.Role == policy.VM {
		v.DynamicIPLimit, v.StormLimit = policy.DefaultDynamicIPLimit, policy.DefaultStormLimit
	}
	if m.DynamicIpLimit != nil {
		v.DynamicIPLimit = m.GetDynamicIpLimit()
	}
	if m.StormLimit != nil {
		v.StormLimit = m.GetStormLimit()
	}
	v.Queues = m.GetQueues()
	if m.GetUplink() != "" {
		v.Uplink = r.name("uplink", m.GetUplink())
	}
	for _, word := range slices.Sorted(maps.Keys(m.GetOffload())) {
		o, err := policy.ParseOffload(word)
		if err != nil {
			r.fault("offload", "O23", "%q is not one of tso, gre_tso, tx_checksum, outer_checksum, rx_checksum, multi_segment, vlan", clip(word))
		} else if !m.GetOffload()[word] {
			v.NoOffload |= policy.OffloadsOf(o)
		}
	}
	switch mtu := m.GetMtu(); {
	case mtu == 0:
	case mtu < minMTU, mtu > maxMTU:
		r.fault("mtu", "", "%d is not in %d to %d", mtu, minMTU, maxMTU)
	default:
		v.MTU = int(mtu)
	}
	return v
}

// addr reads an address that can stand in a packet: without a zone, and IPv4 as
// IPv4.
func (r *reader) addr(field, s string) netip.Addr {
	a, err := netip.ParseAddr(s)
	switch {
	case s == "":
		r.fault(field, rule, "is missing")
	case err != nil:
		r.fault(field, rule, "%q is not an IP address", clip(s))
	case a.Zone() != "":
		r.fault(field, rule, "%q has a zone", clip(s))
	case a.Is4In6():
		r.fault(field, rule, "%q is IPv4 in the guise of IPv6; write %v", clip(s), a.Unmap())
	default:
		return a
	}
	return netip.Addr{}
}

func (r *reader) prefix(field, s string) netip.Prefix {
	p, err := netip.ParsePrefix(s)
	switch {
	case s == "":
		r.fault(field, rule, "is missing")
	case err != nil:
		r.fault(field, rule, "%q is not an address with prefix length", clip(s))
	case p.Addr().Is4In6():
		r.fault(field, rule, "%q is IPv4 in the guise of IPv6", clip(s))
	default:
		return p
	}
	return netip.Prefix{}
}

func (r *reader) mac(field, s string) packet.MAC {
	m, err := packet.ParseMAC(s)
	switch {
	case s == "":
		r.fault(field, rule, "is missing")
	case err != nil:
		r.fault(field, rule, "%q is not a MAC address", clip(s))
	}
	return m
}

func (r *reader) rdid(s string) policy.RDID {
	id, err := policy.ParseRDID(s)
	switch {
	case s == "":
		r.fault("rdid", rule, "is missing")
	case err != nil:
		r.fault("rdid", rule, "%q is not a GUID like {11111111-2222-3333-4444-000000000000}", clip(s))
	}
	return id
}

// name reads a port's name, in the letters that the host file allows.
func (r *reader) name(field, s string) string {
	good := s != "" && len(s) <= maxName
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		good = good && (letter || i > 0 && (c == '.' || c == '_' || c == '-'))
	}
	switch {
	case s == "":
		r.fault(field, "P1", "is missing")
	case !good:
		r.fault(field, "P1", "%q is not a name; use up to %d letters, digits, dots, dashes and underscores, the first a letter or digit", clip(s), maxName)
		return ""
	}
	return s
}

// text reads words without a form, but of bounded length.
func (r *reader) text(field, s string) string {
	if len(s) > maxText {
		r.fault(field, rule, "%d bytes are too long; use up to %d", len(s), maxText)
		return ""
	}
	return s
}

// clip keeps what a client sent from growing the answer without bound.
func clip(s string) string {
	const most = 64
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
