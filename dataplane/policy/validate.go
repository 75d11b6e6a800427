package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"paca/dataplane/packet"
)

// Validate checks every object and the set as a whole, and reports all faults
// at once, joined; nil means that the set may be put in force.
func (s *Set) Validate() error {
	c := checker{set: s}
	c.subnets()
	c.records()
	c.customerRoutes()
	c.providerAddresses()
	c.providerRoutes()
	c.ports()
	return errors.Join(c.faults...)
}

type checker struct {
	set    *Set
	faults []error

	byVSID map[VSID]*VirtualSubnet
}

func (c *checker) fault(object string, index int, field, rule, format string, args ...any) {
	c.faults = append(c.faults, &Fault{Object: object, Index: index, Field: field, Problem: fmt.Sprintf(format, args...), Rule: rule})
}

func (c *checker) vsid(object string, index int, v VSID) bool {
	if !v.Valid() {
		c.fault(object, index, "vsid", "W4", "%d is reserved; use %d to %d", v, MinVSID, MaxVSID)
		return false
	}
	return true
}

func (c *checker) mac(object string, index int, m packet.MAC) {
	if m.IsZero() || m.IsMulticast() {
		c.fault(object, index, "mac", "P5", "%v is not the address of one machine", m)
	}
}

// knownSubnet is the virtual subnet of v, or nil after a fault.
func (c *checker) knownSubnet(object string, index int, v VSID) *VirtualSubnet {
	if !c.vsid(object, index, v) {
		return nil
	}
	vs := c.byVSID[v]
	if vs == nil {
		c.fault(object, index, "vsid", "P3", "no virtual_subnet has VSID %d", v)
	}
	return vs
}

func (c *checker) subnets() {
	const object = "virtual_subnet"
	c.byVSID = make(map[VSID]*VirtualSubnet, len(c.set.VirtualSubnets))
	type onLink struct {
		prefix netip.Prefix
		vsid   VSID
	}
	domains := map[RDID][]onLink{}
	for i := range c.set.VirtualSubnets {
		vs := &c.set.VirtualSubnets[i]
		if c.vsid(object, i, vs.VSID) {
			if c.byVSID[vs.VSID] != nil {
				c.fault(object, i, "vsid", "P3", "VSID %d is already another virtual subnet", vs.VSID)
			} else {
				c.byVSID[vs.VSID] = vs
			}
		}
		if vs.RDID == (RDID{}) {
			c.fault(object, i, "rdid", "P3", "a virtual subnet needs a routing domain id")
		}
		if vs.Mode >= NumModes {
			c.fault(object, i, "mode", "P22", "%v is unknown", vs.Mode)
		}
		if len(vs.Prefixes) == 0 {
			c.fault(object, i, "prefixes", "P11", "a virtual subnet needs at least one on-link prefix")
		}
		for _, p := range vs.Prefixes {
			if !p.IsValid() || p != p.Masked() {
				c.fault(object, i, "prefixes", "P11", "%v has bits set behind its length", p)
				continue
			}
			for _, o := range domains[vs.RDID] {
				if o.prefix.Overlaps(p) {
					c.fault(object, i, "prefixes", "P4", "%v overlaps %v of VSID %d in the same routing domain", p, o.prefix, o.vsid)
				}
			}
			domains[vs.RDID] = append(domains[vs.RDID], onLink{p, vs.VSID})
		}
	}
}

func (c *checker) records() {
	const object = "lookup_record"
	type concrete struct {
		vsid VSID
		ca   netip.Addr
	}
	type wildcard struct {
		concrete
		mac packet.MAC
	}
	type user struct {
		index int
		mode  Mode
	}
	seen := make(map[concrete]int, len(c.set.LookupRecords))
	wild := map[wildcard]int{}
	users := map[netip.Addr]user{} // of a PA, the first
	for i := range c.set.LookupRecords {
		r := &c.set.LookupRecords[i]
		c.mac(object, i, r.MAC)
		if !usable(r.PA) {
			c.fault(object, i, "pa", "P5", "%v is not a unicast address", r.PA)
		}
		if r.Type >= numRecordTypes {
			c.fault(object, i, "type", "P22", "%v is unknown", r.Type)
		}
		vs := c.knownSubnet(object, i, r.VSID)

		if r.wildcard() {
			if !r.CA.IsUnspecified() {
				c.fault(object, i, "ca", "C1.1", "a %v record has CA 0.0.0.0 or ::, not %v", r.Type, r.CA)
			}
			if r.Router() {
				c.fault(object, i, "pa", "P21", "%v marks a router record, which is static", r.PA)
			}
			key := wildcard{concrete{r.VSID, r.CA}, r.MAC}
			if first, dup := wild[key]; dup {
				c.fault(object, i, "mac", "P6", "lookup_record[%d] is already a wildcard of VSID %d with MAC %v", first, r.VSID, r.MAC)
			}
			wild[key] = i
		} else {
			key := concrete{r.VSID, r.CA}
			first, dup := seen[key]
			switch {
			case !usable(r.CA):
				c.fault(object, i, "ca", "P5", "%v is not a unicast address", r.CA)
			case dup:
				c.fault(object, i, "ca", "P6", "lookup_record[%d] already has CA %v in VSID %d", first, r.CA, r.VSID)
			default:
				seen[key] = i
				if vs != nil {
					c.concreteCA(i, r, vs)
				}
			}
		}

		if vs == nil || r.Router() {
			continue
		}
		if r.UseVMMAC && vs.Mode != Rewrite {
			c.fault(object, i, "use_vm_mac", "P24", "only records of a rewrite subnet may use the VM's MAC")
		}
		if vs.Mode == Rewrite {
			if usable(r.PA) && r.CA.IsValid() && r.CA.Is4() != r.PA.Is4() {
				c.fault(object, i, "pa", "R21", "%v is not of the IP family of CA %v, and a rewrite subnet translates none", r.PA, r.CA)
			}
			if r.Type == GatewayWildcard {
				c.fault(object, i, "type", "R25", "a gateway wildcard cannot work in a rewrite subnet")
			}
		}
		first, taken := users[r.PA]
		switch {
		case !usable(r.PA):
		case !taken:
			users[r.PA] = user{i, vs.Mode}
		case first.mode == Rewrite || vs.Mode == Rewrite:
			c.fault(object, i, "pa", "R6", "%v is already the PA of lookup_record[%d]; each record of a rewrite subnet has a PA to itself", r.PA, first.index)
		}
	}
}

// concreteCA checks one VM's (or router's) address against its virtual subnet.
func (c *checker) concreteCA(i int, r *LookupRecord, vs *VirtualSubnet) {
	at := slices.IndexFunc(vs.Prefixes, func(p netip.Prefix) bool { return p.Contains(r.CA) })
	if at < 0 {
		c.fault("lookup_record", i, "ca", "P11", "%v lies in no on-link prefix of VSID %d", r.CA, r.VSID)
		return
	}
	router, ok := RouterCA(vs.Prefixes[at])
	isRouter := ok && r.CA == router
	if isRouter && !r.Router() {
		c.fault("lookup_record", i, "ca", "P20", "%v is the router address of %v; no VM may have it (a router record has PA %v)", r.CA, vs.Prefixes[at], RouterPA)
	}
	if !isRouter && r.Router() {
		c.fault("lookup_record", i, "pa", "P21", "%v marks a router record, but %v is not a router address", r.PA, r.CA)
	}
}

func (c *checker) customerRoutes() {
	const object = "customer_route"
	type identity struct {
		rdid    RDID
		vsid    VSID
		prefix  netip.Prefix
		nextHop netip.Addr
	}
	seen := map[identity]int{}
	for i, r := range c.set.CustomerRoutes {
		if vs := c.knownSubnet(object, i, r.VSID); vs != nil && vs.RDID != r.RDID {
			c.fault(object, i, "rdid", "P3", "VSID %d belongs to routing domain %v", r.VSID, vs.RDID)
		}
		c.route(object, i, "P9", r.Prefix, r.NextHop)
		id := identity{r.RDID, r.VSID, r.Prefix, r.NextHop}
		if first, dup := seen[id]; dup {
			c.fault(object, i, "prefix", "P8", "%s[%d] is the same route", object, first)
		}
		seen[id] = i
	}
}

// route checks what customer and provider routes have in common.
func (c *checker) route(object string, i int, rule string, p netip.Prefix, nextHop netip.Addr) {
	if !p.IsValid() || p != p.Masked() {
		c.fault(object, i, "prefix", rule, "%v has bits set behind its length", p)
	}
	if !usable(nextHop) && !nextHop.IsUnspecified() || p.IsValid() && nextHop.Is4() != p.Addr().Is4() {
		c.fault(object, i, "next_hop", rule, "%v is not a next hop for %v", nextHop, p)
	}
}

func (c *checker) port(object string, i int, name string) {
	at := slices.IndexFunc(c.set.Ports, func(p Port) bool { return p.Name == name })
	switch {
	case at < 0:
		c.fault(object, i, "port", "P13", "there is no port %q", name)
	case c.set.Ports[at].Role != Uplink:
		c.fault(object, i, "port", "P13", "port %q is not an uplink", name)
	}
}

func (c *checker) providerAddresses() {
	const object = "provider_address"
	pas := make(map[netip.Addr]int, len(c.set.ProviderAddresses))
	for i, a := range c.set.ProviderAddresses {
		addr := a.Prefix.Addr()
		first, dup := pas[addr]
		switch {
		case !usable(addr):
			c.fault(object, i, "address", "P13", "%v is not a unicast address", addr)
		case dup:
			c.fault(object, i, "address", "P13", "%v is already provider_address[%d]", addr, first)
		default:
			pas[addr] = i
		}
		if a.VLAN > 4094 {
			c.fault(object, i, "vlan", "W11", "%d is not a VLAN; use 0 (untagged) to 4094", a.VLAN)
		}
		if a.MAC.IsMulticast() {
			c.fault(object, i, "mac", "W10", "%v is not the address of one machine", a.MAC)
		}
		c.port(object, i, a.Port)
	}
}

func (c *checker) providerRoutes() {
	const object = "provider_route"
	type identity struct {
		port    string
		prefix  netip.Prefix
		nextHop netip.Addr
	}
	seen := map[identity]int{}
	for i, r := range c.set.ProviderRoutes {
		c.route(object, i, "P16", r.Prefix, r.NextHop)
		c.port(object, i, r.Port)
		id := identity{r.Port, r.Prefix, r.NextHop}
		if first, dup := seen[id]; dup {
			c.fault(object, i, "prefix", "P16", "%s[%d] is the same route", object, first)
			continue
		}
		seen[id] = i
		if !usable(r.NextHop) {
			continue
		}
		onLink := slices.ContainsFunc(c.set.ProviderAddresses, func(a ProviderAddress) bool {
			return a.Port == r.Port && (a.Prefix.Contains(r.NextHop) || r.NextHop.IsLinkLocalUnicast())
		})
		if !onLink {
			c.fault(object, i, "next_hop", "P16", "%v is on no link of port %q: no provider_address there has a prefix with it", r.NextHop, r.Port)
		}
	}
}

func (c *checker) ports() {
	const object = "port"
	type vnic struct {
		vsid VSID
		mac  packet.MAC
	}
	names := map[string]int{}
	vnics := map[vnic]int{}
	for i, p := range c.set.Ports {
		if first, dup := names[p.Name]; dup {
			c.fault(object, i, "name", "P1", "%q is already port[%d]", p.Name, first)
		}
		names[p.Name] = i
		if p.Role != VM || p.VSID == 0 {
			continue
		}
		c.vsid(object, i, p.VSID)
		c.mac(object, i, p.MAC)
		id := vnic{p.VSID, p.MAC}
		if first, dup := vnics[id]; dup {
			c.fault(object, i, "mac", "P1", "port[%d] already has MAC %v in VSID %d", first, p.MAC, p.VSID)
		}
		vnics[id] = i
	}
}

// usable says whether one machine may have the address.
func usable(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && !a.Is4In6() &&
		a != netip.AddrFrom4([4]byte{255, 255, 255, 255}) && a.Zone() == ""
}
