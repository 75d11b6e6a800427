package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	"paca/dataplane/packet"
)

// maxFaults bounds what a set of a million bad changes costs to refuse.
const maxFaults = 1000

// judge checks objects, each by itself and against what it refers to, and
// collects the faults of the one at hand. Set and Book differ in how they find
// what an object refers to; the rules are here, once.
type judge struct {
	faults []error
	more   int // faults not kept

	kind  Kind
	index int
	bad   bool // the object at hand has a fault

	externalRouter bool // router CAs may be VMs' (L18)
}

// at turns to the next object.
func (j *judge) at(k Kind, index int) { j.kind, j.index, j.bad = k, index, false }

func (j *judge) fault(field, rule, format string, args ...any) {
	j.cause(nil, field, rule, format, args...)
}

func (j *judge) cause(cause error, field, rule, format string, args ...any) {
	j.bad = true
	if len(j.faults) == maxFaults {
		j.more++
		return
	}
	j.faults = append(j.faults, &Fault{Object: j.kind.String(), Index: j.index, Field: field, Problem: fmt.Sprintf(format, args...), Rule: rule, Cause: cause})
}

// err joins what was found; nil if nothing was.
func (j *judge) err() error {
	if j.more > 0 {
		return errors.Join(append(j.faults, fmt.Errorf("and %d more", j.more))...)
	}
	return errors.Join(j.faults...)
}

func (j *judge) vsid(v VSID) {
	if !v.Valid() {
		j.fault("vsid", "W4", "%d is reserved; use %d to %d", v, MinVSID, MaxVSID)
	}
}

func (j *judge) mac(m packet.MAC) {
	if m.IsZero() || m.IsMulticast() {
		j.fault("mac", "P5", "%v is not the address of one machine", m)
	}
}

// maxLabel bounds a record's labels, in bytes.
const maxLabel = 1024

func (j *judge) label(field, s string) {
	if len(s) > maxLabel || !utf8.ValidString(s) {
		j.fault(field, "P26", "a label is at most %d bytes of UTF-8", maxLabel)
	}
}

// subnet checks a virtual subnet by itself.
func (j *judge) subnet(vs *VirtualSubnet) {
	j.vsid(vs.VSID)
	if vs.RDID == (RDID{}) {
		j.fault("rdid", "P3", "a virtual subnet needs a routing domain id")
	}
	if vs.Mode >= NumModes {
		j.fault("mode", "P22", "%v is unknown", vs.Mode)
	}
	if len(vs.Prefixes) == 0 {
		j.fault("prefixes", "P11", "a virtual subnet needs at least one on-link prefix")
	}
	for _, p := range vs.Prefixes {
		if !wellFormed(p) {
			j.fault("prefixes", "P11", "%v has bits set behind its length", p)
		}
	}
	if vs.DHCP && !slices.ContainsFunc(vs.Prefixes, leasable) {
		j.fault("dhcp", "A14", "DHCPv4 needs an IPv4 prefix with room for a router")
	}
	for i, a := range vs.DNS {
		if !usable(a) || !a.Is4() {
			j.fault("dns", "A14", "%v is no name server that DHCPv4 can tell of: one machine's IPv4 address", a)
		} else if slices.Contains(vs.DNS[:i], a) {
			j.fault("dns", "A14", "%v is there already", a)
		}
	}
	if len(vs.DNS) > MaxDNS {
		j.fault("dns", "A14", "%d name servers; DHCP tells of %d at most", len(vs.DNS), MaxDNS)
	}
}

// leasable says whether DHCPv4 can give out addresses of a prefix.
func leasable(p netip.Prefix) bool {
	_, ok := RouterCA(p)
	return ok && p.Addr().Is4()
}

// overlap reports that p of the subnet at hand overlaps o of VSID v.
func (j *judge) overlap(p, o netip.Prefix, v VSID) {
	j.fault("prefixes", "P4", "%v overlaps %v of VSID %d in the same routing domain", p, o, v)
}

// record checks a lookup record by itself.
func (j *judge) record(r *LookupRecord) {
	j.vsid(r.VSID)
	if r.Group() {
		j.group(r)
	} else {
		j.mac(r.MAC)
		switch {
		case usable(r.PA):
		case r.PA.IsMulticast():
			j.fault("pa", "A20", "%v is a multicast group, and CA %v is not", r.PA, r.CA)
		default:
			j.fault("pa", "P5", "%v is not a unicast address", r.PA)
		}
	}
	if r.Type >= numRecordTypes {
		j.fault("type", "P22", "%v is unknown", r.Type)
	}
	switch {
	case r.Group() && !r.wildcard():
	case !r.wildcard():
		if !usable(r.CA) {
			j.fault("ca", "P5", "%v is not a unicast address", r.CA)
		}
	case !r.CA.IsUnspecified():
		j.fault("ca", "C1.1", "a %v record has CA 0.0.0.0 or ::, not %v", r.Type, r.CA)
	case r.Router():
		j.fault("pa", "P21", "%v marks a router record, which is static", r.PA)
	}
	j.label("vm_name", r.VMName)
	j.label("customer_id", r.CustomerID)
	j.label("context", r.Context)
}

// group checks what is particular to the record of a broadcast or multicast CA.
func (j *judge) group(r *LookupRecord) {
	if want := groupMAC(r.CA); r.MAC != want && r.MAC != packet.Broadcast {
		j.fault("mac", "A20", "frames for %v go to %v, not to %v", r.CA, want, r.MAC)
	}
	if !r.PA.IsMulticast() || r.PA.IsInterfaceLocalMulticast() || r.PA.Is4In6() || r.PA.Zone() != "" {
		j.fault("pa", "A20", "%v is not a multicast group of the provider network, which the record of CA %v must name", r.PA, r.CA)
	}
	if r.CA.Is4In6() || r.CA.Zone() != "" {
		j.fault("ca", "A20", "%v is not an address that a packet has", r.CA)
	}
	if r.Type == Dynamic {
		j.fault("type", "A20", "the record of a group is static: nobody learns it")
	}
}

// noSubnet reports that the object at hand refers to nothing.
func (j *judge) noSubnet(v VSID) {
	j.fault("vsid", "P3", "no virtual_subnet has VSID %d", v)
}

// recordIn checks a record that is right by itself against its virtual subnet.
func (j *judge) recordIn(r *LookupRecord, vs *VirtualSubnet) {
	if r.Group() {
		if vs.Mode == Rewrite {
			j.fault("ca", "R20", "a rewrite subnet carries no broadcast or multicast, so %v goes nowhere", r.CA)
		}
		if r.UseVMMAC {
			j.fault("use_vm_mac", "P24", "a group has no VM")
		}
		return
	}
	if !r.wildcard() {
		j.concreteCA(r, vs)
	}
	if r.Router() {
		return
	}
	if vs.Mode != Rewrite {
		if r.UseVMMAC {
			j.fault("use_vm_mac", "P24", "only records of a rewrite subnet may use the VM's MAC")
		}
		return
	}
	if r.CA.Is4() != r.PA.Is4() {
		j.fault("pa", "R21", "%v is not of the IP family of CA %v, and a rewrite subnet translates none", r.PA, r.CA)
	}
	if r.Type == GatewayWildcard {
		j.fault("type", "R25", "a gateway wildcard cannot work in a rewrite subnet")
	}
}

// concreteCA checks one VM's (or router's) address against its virtual subnet.
func (j *judge) concreteCA(r *LookupRecord, vs *VirtualSubnet) {
	at := -1
	for i := range vs.Prefixes {
		if vs.Prefixes[i].Contains(r.CA) {
			at = i
			break
		}
	}
	if at < 0 {
		j.fault("ca", "P11", "%v lies in no on-link prefix of VSID %d", r.CA, r.VSID)
		return
	}
	router, ok := RouterCA(vs.Prefixes[at])
	isRouter := ok && r.CA == router
	if isRouter && !r.Router() && !j.externalRouter {
		j.fault("ca", "P20", "%v is the router address of %v; no VM may have it (a router record has PA %v)", r.CA, vs.Prefixes[at], RouterPA)
	}
	if !isRouter && r.Router() {
		j.fault("pa", "P21", "%v marks a router record, but %v is not a router address", r.PA, r.CA)
	}
}

// customerRoute checks a route by itself.
func (j *judge) customerRoute(r *CustomerRoute) {
	j.vsid(r.VSID)
	j.route("P9", r.Prefix, r.NextHop)
}

// customerRouteIn checks a route against the virtual subnet of its next hop.
func (j *judge) customerRouteIn(r *CustomerRoute, vs *VirtualSubnet) {
	if vs.RDID != r.RDID {
		j.fault("rdid", "P3", "VSID %d belongs to routing domain %v", r.VSID, vs.RDID)
	}
}

// route checks what customer and provider routes have in common.
func (j *judge) route(rule string, p netip.Prefix, nextHop netip.Addr) {
	if !wellFormed(p) {
		j.fault("prefix", rule, "%v has bits set behind its length", p)
	}
	if !usable(nextHop) && !nextHop.IsUnspecified() || p.IsValid() && nextHop.Is4() != p.Addr().Is4() {
		j.fault("next_hop", rule, "%v is not a next hop for %v", nextHop, p)
	}
}

// providerAddress checks a PA by itself.
func (j *judge) providerAddress(a *ProviderAddress) {
	if !usable(a.Prefix.Addr()) {
		j.fault("address", "P13", "%v is not a unicast address", a.Prefix.Addr())
	} else if !a.Prefix.IsValid() {
		j.fault("address", "P13", "%v has no prefix length", a.Prefix.Addr())
	}
	if a.VLAN > 4094 {
		j.fault("vlan", "W11", "%d is not a VLAN; use 0 (untagged) to 4094", a.VLAN)
	}
	if a.MAC.IsMulticast() {
		j.fault("mac", "W10", "%v is not the address of one machine", a.MAC)
	}
}

// providerRoute checks a route of the physical network by itself.
func (j *judge) providerRoute(r *ProviderRoute) { j.route("P16", r.Prefix, r.NextHop) }

// uplink checks that the port an object names exists and is one.
func (j *judge) uplink(name string, p Port, exists bool) {
	switch {
	case !exists:
		j.fault("port", "P13", "there is no port %q", name)
	case p.Role != Uplink:
		j.fault("port", "P13", "port %q is not an uplink", name)
	}
}

// offLink reports that a provider route's next hop is nowhere.
func (j *judge) offLink(r *ProviderRoute) {
	j.fault("next_hop", "P16", "%v is on no link of port %q: no provider_address there has a prefix with it", r.NextHop, r.Port)
}

// port checks a port by itself.
func (j *judge) port(p *Port) {
	if p.Name == "" || len(p.Name) > maxLabel || strings.ContainsRune(p.Name, 0) || !utf8.ValidString(p.Name) {
		j.fault("name", "P1", "%q is not a name", p.Name)
	}
	if len(p.Device) > maxLabel || !utf8.ValidString(p.Device) {
		j.fault("device", "P1", "a device is at most %d bytes of UTF-8", maxLabel)
	}
	if p.Role > Host {
		j.fault("role", "P1", "%v is unknown", p.Role)
	}
	if p.MTU < 0 || p.MTU > 0xffff {
		j.fault("mtu", "M1", "%d is not the size of an IP packet", p.MTU)
	}
	if p.vnic() {
		j.vsid(p.VSID)
		j.mac(p.MAC)
	}
	if p.Role != VM {
		const only = "only a port of role vm has this"
		if p.MACSpoofing {
			j.fault("mac_spoofing", "L31", only)
		}
		if p.DHCPGuard {
			j.fault("dhcp_guard", "L31", only)
		}
		if p.RouterGuard {
			j.fault("router_guard", "L31", only)
		}
		if p.DynamicIPLimit != 0 {
			j.fault("dynamic_ip_limit", "L32", only)
		}
		if p.StormLimit != 0 {
			j.fault("storm_limit", "A21", only)
		}
	}
	if p.DynamicIPLimit > MaxDynamicIPLimit {
		j.fault("dynamic_ip_limit", "L32", "%d is more than %d", p.DynamicIPLimit, MaxDynamicIPLimit)
	}
	if p.StormLimit > MaxStormLimit {
		j.fault("storm_limit", "A21", "%d is more than %d; 0 is no limit", p.StormLimit, MaxStormLimit)
	}
	if p.NoOffload>>NumOffloads != 0 {
		j.fault("offload", "O23", "%#x has what is no offload", uint8(p.NoOffload))
	}
	if p.Queues > MaxQueues {
		j.fault("queues", "O32", "%d is more than %d; 0 is one for each worker", p.Queues, MaxQueues)
	}
	if p.Uplink != "" && p.Role != Host {
		j.fault("uplink", "W20", "only a port of role host has this")
	}
}

// carries is the uplink whose other traffic a host port carries, given the names
// of all uplinks: "" if none can be meant.
func (p *Port) carries(uplinks []string) string {
	switch {
	case p.Uplink != "" && slices.Contains(uplinks, p.Uplink):
		return p.Uplink
	case p.Uplink == "" && len(uplinks) == 1:
		return uplinks[0]
	}
	return ""
}

// astray says why a host port carries no uplink's traffic (W20).
func (p *Port) astray(uplinks []string) string {
	switch {
	case p.Uplink != "":
		return fmt.Sprintf("no uplink is called %q", p.Uplink)
	case len(uplinks) == 0:
		return "there is no uplink whose other traffic it could carry"
	}
	return fmt.Sprintf("which uplink's other traffic it carries must be said: there are %d", len(uplinks))
}

// vnic says whether the port is a VM's in a virtual subnet (P1).
func (p *Port) vnic() bool { return p.Role == VM && p.VSID != 0 }

// usable says whether one machine may have the address.
func usable(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && !a.Is4In6() &&
		a != packet.LimitedBroadcast && a.Zone() == ""
}

func wellFormed(p netip.Prefix) bool { return p.IsValid() && p == p.Masked() && !p.Addr().Is4In6() }

// sharedPA reports that the record at hand shares a PA that is another's alone,
// or that it needs for itself.
func (j *judge) sharedPA(pa netip.Addr, other string) {
	j.fault("pa", "R6", "%v is already the PA of %s; each record of a rewrite subnet has a PA to itself", pa, other)
}
