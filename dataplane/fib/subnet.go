package fib

import (
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"

	"paca/dataplane/packet"
	"paca/dataplane/policy"
)

// Subnet is what is known of a virtual subnet besides whom its addresses belong
// to. It is for packets that are not one VM's for another.
type Subnet struct {
	VSID, RD uint32
	Mode     policy.Mode
	Ports    []uint16 // of VMs in it
	Remotes  []Entry  // one for each PA of the fabric with VMs of it, in NVGRE (A21)
	Groups   []Group  // broadcast and multicast CAs mapped to a group of PAs (A20)
	Routers  []Router // one for each prefix that has one (P20)
	L2Only   bool     // a VM of it may have a CA that no record tells (A5, A15)
	DHCP     bool     // its VMs' DHCPv4 requests are answered here (A14)
	DNS      []netip.Addr

	l2only int // records
}

// Router is the distributed router in one prefix of a virtual subnet.
type Router struct {
	Prefix netip.Prefix
	CA     netip.Addr
	MAC    packet.MAC
}

// Group is a broadcast or multicast CA whose packets go to a group of PAs.
type Group struct {
	CA netip.Addr
	To []Entry // one, whose PA is the group
	pa netip.Addr
}

// Subnet finds a virtual subnet, or nil.
func (f *FIB) Subnet(vsid uint32) *Subnet {
	s := findSubnet(&f.subnets, vsid)
	if s.vsid == 0 {
		return nil
	}
	return f.subnetPages.at(s.at)
}

// Router is the router of the prefix that has ca, else the first of ca's family,
// else nil.
func (s *Subnet) Router(ca netip.Addr) *Router {
	var first *Router
	for i := range s.Routers {
		r := &s.Routers[i]
		if r.Prefix.Contains(ca) {
			return r
		}
		if first == nil && r.CA.Is4() == ca.Is4() {
			first = r
		}
	}
	return first
}

// Directed says whether ca is the last address of an IPv4 prefix, a broadcast to
// those in it (A24).
func (s *Subnet) Directed(ca uint32) bool {
	for i := range s.Routers {
		p := s.Routers[i].Prefix
		if !p.Addr().Is4() {
			continue
		}
		host := ^uint32(0) >> p.Bits()
		if ca&host == host && p.Contains(packet.Addr4(ca)) {
			return true
		}
	}
	return false
}

// Behind says whether some VM of s lives behind a PA of the fabric, v4 in the
// first four bytes.
func (f *FIB) Behind(s *Subnet, pa *[16]byte, v6 bool) bool {
	for i := range s.Remotes {
		if f.BehindPA(&s.Remotes[i], pa, v6) {
			return true
		}
	}
	return false
}

// domain is what is known of a routing domain.
type domain struct {
	routes   *bart.Table[[]customerHop] // by prefix, best first; nil: none leads to a gateway
	gateways []uint32                   // PAs of the fabric with GatewayWildcard records
}

// customerHop is one of the routes to a prefix.
type customerHop struct {
	vsid   uint32     // of the next hop (P10)
	addr   netip.Addr // unspecified: on-link (P9)
	metric uint32
	own    bool // the virtual subnet's prefix itself (P11)
}

// Route follows the customer routes of a routing domain to a CA without a record:
// the longest prefix decides, then the lowest metric of those whose next hop has a
// record (P12). It returns that record, or nil.
func (f *FIB) Route(rd uint32, ca netip.Addr) *Entry {
	d := f.domains.at(rd)
	if d == nil || d.routes == nil {
		return nil
	}
	hops, _ := d.routes.Lookup(ca)
	for i := range hops {
		h := &hops[i]
		if h.addr.IsUnspecified() {
			return nil // on-link, and nobody has it
		}
		if e := f.Lookup(rd, h.addr); e != nil && e.VSID == h.vsid && e.Flags&RouterCA == 0 {
			return e
		}
	}
	return nil
}

// Gateway says whether a gateway of the routing domain lives behind a PA of the
// fabric, v4 in the first four bytes: what comes from there may have any source
// CA (L22, G5).
func (f *FIB) Gateway(rd uint32, pa *[16]byte, v6 bool) bool {
	d := f.domains.at(rd)
	if d == nil {
		return false
	}
	for _, g := range d.gateways {
		if r := &f.remotes[g]; r.V6 == v6 && r.Addr == *pa {
			return true
		}
	}
	return false
}

func cloneSubnet(s *Subnet) *Subnet {
	if s == nil {
		return &Subnet{}
	}
	c := *s
	c.Remotes, c.Groups = slices.Clone(s.Remotes), slices.Clone(s.Groups)
	return &c
}

func cloneDomain(d *domain) *domain {
	if d == nil {
		return &domain{}
	}
	c := *d
	c.gateways = slices.Clone(d.gateways)
	return &c
}
