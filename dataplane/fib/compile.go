package fib

import (
	"net/netip"

	"paca/dataplane/packet"
	"paca/dataplane/policy"
)

// DefaultRouterMAC is the distributed router's MAC where no router record names
// one: locally administered and the same on every host, so that a migration
// goes unnoticed (A3).
var DefaultRouterMAC = packet.MAC{0x02, 0x70, 0x61, 0x63, 0x61, 0x01}

// Resolve says what is known of a next hop of the provider side: AdjReady with
// its MAC, AdjFailed or AdjUnresolved.
type Resolve func(port, vlan uint16, addr netip.Addr) (packet.MAC, AdjState)

// Compile makes a FIB, of version 1, of a valid set.
func Compile(set *policy.Set, resolve Resolve) *FIB {
	f := &FIB{Version: 1}
	c := compiler{set: set, fib: f, domains: map[policy.RDID]uint32{}, portOf: map[string]uint16{}, vnics: map[vnic]uint16{}}
	c.compileSubnets()
	c.compilePorts()
	c.compilePAs()
	c.compileRecords()
	c.compileAdjacencies(resolve)
	return f
}

// WithNeighbors is a new version of f that differs in what is known of the next
// hops and shares everything else.
func (f *FIB) WithNeighbors(resolve Resolve) *FIB {
	g := *f
	g.Version++
	g.NextHops = append([]Neighbor(nil), f.NextHops...)
	g.adjs = append([]Adj(nil), f.adjs...)
	g.resolve(resolve)
	return &g
}

type vnic struct {
	vsid uint32
	mac  packet.MAC
}

type compiler struct {
	set     *policy.Set
	fib     *FIB
	domains map[policy.RDID]uint32
	subnet  map[policy.VSID]*policy.VirtualSubnet
	portOf  map[string]uint16
	vnics   map[vnic]uint16
}

func (c *compiler) compileSubnets() {
	c.fib.subnets = newSubnets(len(c.set.VirtualSubnets))
	c.subnet = make(map[policy.VSID]*policy.VirtualSubnet, len(c.set.VirtualSubnets))
	for i := range c.set.VirtualSubnets {
		vs := &c.set.VirtualSubnets[i]
		rd, ok := c.domains[vs.RDID]
		if !ok {
			rd = uint32(len(c.domains) + 1)
			c.domains[vs.RDID] = rd
		}
		c.subnet[vs.VSID] = vs
		c.fib.subnets.insert(uint32(vs.VSID), rd)
	}
}

func (c *compiler) compilePorts() {
	for i, p := range c.set.Ports {
		c.portOf[p.Name] = uint16(i)
		port := Port{Role: p.Role, VSID: uint32(p.VSID), MAC: p.MAC, MTU: uint16(p.MTU)}
		if p.Role == policy.VM && p.VSID != 0 {
			port.RD = c.fib.subnets.find(port.VSID)
			c.vnics[vnic{port.VSID, port.MAC}] = uint16(i)
		}
		c.fib.Ports = append(c.fib.Ports, port)
	}
}

func (c *compiler) compilePAs() {
	for _, a := range c.set.ProviderAddresses {
		pa := PA{Port: c.portOf[a.Port], VLAN: a.VLAN, MAC: a.MAC}
		pa.Addr, pa.V6 = flat(a.Prefix.Addr())
		if pa.MAC.IsZero() {
			pa.MAC = c.fib.Ports[pa.Port].MAC // W10
		}
		c.fib.PAs = append(c.fib.PAs, pa)
	}
}

func (c *compiler) compileRecords() {
	f := c.fib
	type routerKey struct {
		rd uint32
		ca netip.Addr
	}
	routers := map[routerKey]Entry{}
	for vsid, vs := range c.subnet {
		for _, p := range vs.Prefixes {
			if ca, ok := policy.RouterCA(p); ok {
				routers[routerKey{c.domains[vs.RDID], ca}] = Entry{VSID: uint32(vsid), MAC: DefaultRouterMAC, Mode: vs.Mode, Flags: RouterCA}
			}
		}
	}
	n4, n6 := 0, 0
	count := func(ca netip.Addr) {
		if ca.Is4() {
			n4++
		} else {
			n6++
		}
	}
	for k := range routers {
		count(k.ca)
	}
	for i := range c.set.LookupRecords {
		count(c.set.LookupRecords[i].CA)
	}
	f.table4, f.table6 = newTable4(n4), newTable6(n6)

	remotes := map[netip.Addr]uint32{}
	for i := range c.set.LookupRecords {
		r := &c.set.LookupRecords[i]
		vs := c.subnet[r.VSID]
		rd := c.domains[vs.RDID]
		if r.Router() {
			k := routerKey{rd, r.CA}
			e := routers[k]
			e.MAC = r.MAC
			routers[k] = e
			continue
		}
		if r.CA.IsUnspecified() {
			continue // wildcards resolve by MAC, not by CA
		}
		e := Entry{VSID: uint32(r.VSID), MAC: r.MAC, Mode: vs.Mode}
		pa, v6 := flat(r.PA)
		if own := f.LocalPA(&pa, v6); own != None {
			port, ok := c.vnics[vnic{e.VSID, e.MAC}]
			if !ok {
				port = None
			}
			e.Flags = LocalVM
			e.Dest = uint32(len(f.Locals))
			f.Locals = append(f.Locals, Local{port, own})
		} else {
			dest, ok := remotes[r.PA]
			if !ok {
				dest = uint32(len(f.remote))
				remotes[r.PA] = dest
				f.remote = append(f.remote, remote{pa, v6})
			}
			e.Dest = dest
		}
		c.insert(rd, r.CA, e)
	}
	for k, e := range routers {
		c.insert(k.rd, k.ca, e)
	}
}

func (c *compiler) insert(rd uint32, ca netip.Addr, e Entry) {
	if ca.Is4() {
		b := ca.As4()
		c.fib.table4.insert(rd, uint32(b[0])<<24|uint32(b[1])<<16|uint32(b[2])<<8|uint32(b[3]), e)
		return
	}
	c.fib.table6.insert(rd, ca.As16(), e)
}

// compileAdjacencies finds, for every PA of the fabric and every PA of this
// host, the provider route and its next hop (L16).
func (c *compiler) compileAdjacencies(resolve Resolve) {
	f := c.fib
	type hop struct {
		port, vlan uint16
		addr       netip.Addr
	}
	hops := map[hop]uint16{}
	f.adjs = make([]Adj, len(f.remote)*len(f.PAs))
	for d := range f.remote {
		dst := &f.remote[d]
		for s := range f.PAs {
			src := &f.PAs[s]
			adj := &f.adjs[d*len(f.PAs)+s]
			adj.NextHop = None
			if src.V6 != dst.v6 {
				adj.State = AdjFamily
				continue
			}
			addr, from := c.nextHop(uint16(s), unflat(dst.addr, dst.v6))
			if !addr.IsValid() {
				adj.State = AdjNoRoute
				continue
			}
			k := hop{src.Port, src.VLAN, addr}
			n, ok := hops[k]
			if !ok {
				if len(f.NextHops) == int(None) {
					adj.State = AdjNoRoute // more than an index can name
					continue
				}
				n = uint16(len(f.NextHops))
				hops[k] = n
				f.NextHops = append(f.NextHops, Neighbor{Port: src.Port, VLAN: src.VLAN, Addr: addr, From: from, State: AdjUnresolved})
			}
			adj.NextHop = n
			adj.outer(src, dst, f.Ports[src.Port].MTU)
		}
	}
	f.resolve(resolve)
}

// nextHop finds where PA s of this host sends packets for dst, and which PA asks
// for its MAC: the longest prefix wins, then the lowest metric (P16). A route
// counts when its next hop is on the link of s, in the on-link prefix of a PA of
// the same port and VLAN.
func (c *compiler) nextHop(s uint16, dst netip.Addr) (addr netip.Addr, from uint16) {
	src := &c.fib.PAs[s]
	best, metric := -1, uint32(0)
	onLink := func(a netip.Addr) (asker uint16, ok bool) {
		for i, pa := range c.fib.PAs {
			if pa.Port == src.Port && pa.VLAN == src.VLAN && c.set.ProviderAddresses[i].Prefix.Contains(a) {
				return uint16(i), true
			}
		}
		return s, a.IsLinkLocalUnicast()
	}
	for _, pa := range c.set.ProviderAddresses {
		if pa.Prefix.Bits() > best && pa.Prefix.Contains(dst) && c.portOf[pa.Port] == src.Port && pa.VLAN == src.VLAN {
			best, addr = pa.Prefix.Bits(), dst
		}
	}
	for _, r := range c.set.ProviderRoutes {
		if c.portOf[r.Port] != src.Port || !r.Prefix.Contains(dst) {
			continue
		}
		if bits := r.Prefix.Bits(); bits < best || bits == best && r.Metric >= metric {
			continue
		}
		hop := r.NextHop
		if hop.IsUnspecified() {
			hop = dst
		} else if _, ok := onLink(hop); !ok {
			continue
		}
		best, metric, addr = r.Prefix.Bits(), r.Metric, hop
	}
	from, _ = onLink(addr)
	return addr, from
}

// resolve fills in what is known of the next hops.
func (f *FIB) resolve(resolve Resolve) {
	for i := range f.NextHops {
		n := &f.NextHops[i]
		n.MAC, n.State = resolve(n.Port, n.VLAN, n.Addr)
	}
	for i := range f.adjs {
		a := &f.adjs[i]
		if a.NextHop == None {
			continue
		}
		n := &f.NextHops[a.NextHop]
		a.State = n.State
		copy(a.Header[:6], n.MAC[:])
	}
}

func flat(a netip.Addr) (b [16]byte, v6 bool) {
	if a.Is4() {
		v4 := a.As4()
		copy(b[:], v4[:])
		return b, false
	}
	return a.As16(), true
}

func unflat(b [16]byte, v6 bool) netip.Addr {
	if v6 {
		return netip.AddrFrom16(b)
	}
	return netip.AddrFrom4([4]byte(b[:4]))
}
