package policy

import (
	"fmt"
	"net/netip"
	"slices"

	"paca/dataplane/packet"
)

// Validate checks every object and the set as a whole, and reports all faults
// at once, joined; nil means that the set may be put in force. It is the plain
// twin that judges Book.
func (s *Set) Validate() error {
	c := checker{set: s}
	c.externalRouter = s.Global.UseExternalRouter
	c.subnets()
	c.records()
	c.customerRoutes()
	c.providerAddresses()
	c.providerRoutes()
	c.ports()
	return c.err()
}

// checker judges a Set as a whole the plain way.
type checker struct {
	judge
	set    *Set
	byVSID map[VSID]*VirtualSubnet
}

func (c *checker) subnets() {
	c.byVSID = make(map[VSID]*VirtualSubnet, len(c.set.VirtualSubnets))
	type onLink struct {
		prefix netip.Prefix
		vsid   VSID
	}
	domains := map[RDID][]onLink{}
	for i := range c.set.VirtualSubnets {
		vs := &c.set.VirtualSubnets[i]
		c.at(KindVirtualSubnet, i)
		c.subnet(vs)
		if c.byVSID[vs.VSID] != nil {
			c.fault("vsid", "P3", "VSID %d is already another virtual subnet", vs.VSID)
		} else {
			c.byVSID[vs.VSID] = vs
		}
		for _, p := range vs.Prefixes {
			if !wellFormed(p) {
				continue
			}
			for _, o := range domains[vs.RDID] {
				if o.prefix.Overlaps(p) {
					c.overlap(p, o.prefix, o.vsid)
				}
			}
			domains[vs.RDID] = append(domains[vs.RDID], onLink{p, vs.VSID})
		}
	}
}

func (c *checker) records() {
	type identity struct {
		vsid VSID
		ca   netip.Addr
		mac  packet.MAC // of a wildcard
	}
	type user struct {
		index int
		mode  Mode
	}
	seen := make(map[identity]int, len(c.set.LookupRecords))
	users := map[netip.Addr]user{} // of a PA, the first
	for i := range c.set.LookupRecords {
		r := &c.set.LookupRecords[i]
		c.at(KindLookupRecord, i)
		if c.record(r); c.bad {
			continue
		}
		id := identity{r.VSID, r.CA, packet.MAC{}}
		if r.wildcard() {
			id.mac = r.MAC
		}
		if first, dup := seen[id]; dup {
			if r.wildcard() {
				c.fault("mac", "P6", "lookup_record[%d] is already a wildcard of VSID %d with MAC %v", first, r.VSID, r.MAC)
			} else {
				c.fault("ca", "P6", "lookup_record[%d] already has CA %v in VSID %d", first, r.CA, r.VSID)
			}
			continue
		}
		seen[id] = i
		vs := c.byVSID[r.VSID]
		if vs == nil {
			c.noSubnet(r.VSID)
			continue
		}
		c.recordIn(r, vs)
		if r.Router() || r.Group() {
			continue
		}
		if first, taken := users[r.PA]; !taken {
			users[r.PA] = user{i, vs.Mode}
		} else if first.mode == Rewrite || vs.Mode == Rewrite {
			c.sharedPA(r.PA, fmt.Sprintf("lookup_record[%d]", first.index))
		}
	}
}

func (c *checker) customerRoutes() {
	type identity struct {
		rdid    RDID
		vsid    VSID
		prefix  netip.Prefix
		nextHop netip.Addr
	}
	seen := map[identity]int{}
	for i := range c.set.CustomerRoutes {
		r := &c.set.CustomerRoutes[i]
		c.at(KindCustomerRoute, i)
		c.customerRoute(r)
		if vs := c.byVSID[r.VSID]; vs != nil {
			c.customerRouteIn(r, vs)
		} else if r.VSID.Valid() {
			c.noSubnet(r.VSID)
		}
		id := identity{r.RDID, r.VSID, r.Prefix, r.NextHop}
		if first, dup := seen[id]; dup {
			c.fault("prefix", "P8", "customer_route[%d] is the same route", first)
		}
		seen[id] = i
	}
}

// onUplink checks the port that the object at hand names.
func (c *checker) onUplink(name string) {
	at := slices.IndexFunc(c.set.Ports, func(p Port) bool { return p.Name == name })
	if at < 0 {
		c.uplink(name, Port{}, false)
	} else {
		c.uplink(name, c.set.Ports[at], true)
	}
}

func (c *checker) providerAddresses() {
	pas := make(map[netip.Addr]int, len(c.set.ProviderAddresses))
	for i := range c.set.ProviderAddresses {
		a := &c.set.ProviderAddresses[i]
		c.at(KindProviderAddress, i)
		c.providerAddress(a)
		addr := a.Prefix.Addr()
		if first, dup := pas[addr]; dup && usable(addr) {
			c.fault("address", "P13", "%v is already provider_address[%d]", addr, first)
		}
		pas[addr] = i
		c.onUplink(a.Port)
	}
}

func (c *checker) providerRoutes() {
	type identity struct {
		port    string
		prefix  netip.Prefix
		nextHop netip.Addr
	}
	seen := map[identity]int{}
	for i := range c.set.ProviderRoutes {
		r := &c.set.ProviderRoutes[i]
		c.at(KindProviderRoute, i)
		c.providerRoute(r)
		c.onUplink(r.Port)
		id := identity{r.Port, r.Prefix, r.NextHop}
		if first, dup := seen[id]; dup {
			c.fault("prefix", "P16", "provider_route[%d] is the same route", first)
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
			c.offLink(r)
		}
	}
}

func (c *checker) ports() {
	type vnic struct {
		vsid VSID
		mac  packet.MAC
	}
	names := map[string]int{}
	vnics := map[vnic]int{}
	var uplinks []string
	for _, p := range c.set.Ports {
		if p.Role == Uplink {
			uplinks = append(uplinks, p.Name)
		}
	}
	carried := map[string]int{}
	for i := range c.set.Ports {
		p := &c.set.Ports[i]
		c.at(KindPort, i)
		c.port(p)
		if first, dup := names[p.Name]; dup {
			c.fault("name", "P1", "%q is already port[%d]", p.Name, first)
		}
		names[p.Name] = i
		if p.Role == Host {
			switch {
			case p.Uplink != "" && !slices.Contains(uplinks, p.Uplink), p.Uplink == "" && len(uplinks) != 1:
				c.fault("uplink", "W20", "it carries no uplink's traffic")
			default:
				u := p.Uplink
				if u == "" {
					u = uplinks[0]
				}
				if first, dup := carried[u]; dup {
					c.fault("uplink", "W20", "port[%d] already carries that of %q", first, u)
				}
				carried[u] = i
			}
		}
		if !p.vnic() {
			continue
		}
		id := vnic{p.VSID, p.MAC}
		if first, dup := vnics[id]; dup {
			c.fault("mac", "P1", "port[%d] already has MAC %v in VSID %d", first, p.MAC, p.VSID)
		}
		vnics[id] = i
	}
}
