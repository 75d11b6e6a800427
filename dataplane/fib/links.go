package fib

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"paca/dataplane/packet"
	"paca/dataplane/policy"
)

// Resolve says what is known of a next hop of the provider side: AdjReady with
// its MAC, AdjFailed or AdjUnresolved.
type Resolve func(port, vlan uint16, addr netip.Addr) (packet.MAC, AdjState)

// WithNeighbors is a new version of f that differs in what is known of the next
// hops and shares everything else.
func (f *FIB) WithNeighbors(resolve Resolve) *FIB {
	g := *f
	g.Version++
	g.resolve(resolve)
	return &g
}

// resolve takes in what is known of the next hops by now. f is not published
// yet; what it shares with older versions is copied when it changes.
func (f *FIB) resolve(resolve Resolve) {
	changed := false
	for i := range f.NextHops {
		n := &f.NextHops[i]
		mac, state := resolve(n.Port, n.VLAN, n.Addr)
		if mac == n.MAC && state == n.State {
			continue
		}
		if !changed {
			changed = true
			f.NextHops = slices.Clone(f.NextHops)
		}
		f.NextHops[i].MAC, f.NextHops[i].State = mac, state
	}
	if !changed {
		return
	}
	f.adjs = slices.Clone(f.adjs)
	for i := range f.adjs {
		if a := &f.adjs[i]; a.NextHop != NoRoute {
			a.over(&f.NextHops[a.NextHop])
		}
	}
}

// over sends a over a next hop.
func (a *Adj) over(n *Neighbor) {
	a.State = n.State
	copy(a.Header[:6], n.MAC[:])
}

// links is what a Compiler knows of the provider side.
type links struct {
	sources []source // as FIB.PAs
	routes  []route
	hops    map[hop]uint32    // index into FIB.NextHops
	ways    map[string]uint32 // by the next hops from each source
	key     []byte            // of ways, at hand
}

type source struct {
	prefix netip.Prefix
	mtu    uint16
	mac    packet.MAC // but for the MAC of a VM that uses its own (R7)
}

type route struct {
	port    uint16
	prefix  netip.Prefix
	nextHop netip.Addr
	metric  uint32
}

type hop struct {
	port, vlan uint16
	addr       netip.Addr
}

// changeSources takes in the provider addresses and routes, and reports whether
// they changed anything.
func (c *Compiler) changeSources(b *policy.Book) bool {
	f, was, pas := c.fib, c.links, c.fib.PAs
	c.links, f.PAs, c.own = links{}, nil, map[paKey]uint16{}
	for o := range b.All(policy.KindProviderAddress) {
		a := o.(policy.ProviderAddress)
		pa := PA{Port: c.portIndex(a.Port), VLAN: a.VLAN, MAC: a.MAC, Duplicate: c.duplicate[a.Prefix.Addr().As16()]}
		src := source{prefix: a.Prefix}
		pa.Addr, pa.V6 = flat(a.Prefix.Addr())
		if pa.Port != None {
			src.mtu = f.Ports[pa.Port].MTU
			if pa.MAC.IsZero() {
				pa.MAC = f.Ports[pa.Port].MAC // W10
			}
		}
		src.mac = pa.MAC
		c.own[a.Prefix.Addr().As16()] = uint16(len(f.PAs))
		f.PAs = append(f.PAs, pa)
		c.sources = append(c.sources, src)
	}
	c.dress(f.PAs)
	for o := range b.All(policy.KindProviderRoute) {
		r := o.(policy.ProviderRoute)
		c.routes = append(c.routes, route{c.portIndex(r.Port), r.Prefix, r.NextHop, r.Metric})
	}
	if slices.Equal(f.PAs, pas) && slices.Equal(c.sources, was.sources) && slices.Equal(c.routes, was.routes) && was.ways != nil {
		f.PAs, c.links = pas, was
		return false
	}
	c.forgetWays()
	return true
}

// dress gives PAs of this host the MACs of the VMs that they belong to and that use
// their own (R7), and all others those they have otherwise. It reports whether that
// changed any.
func (c *Compiler) dress(pas []PA) (changed bool) {
	for i := range pas {
		mac := c.sources[i].mac
		if e := c.fib.ownerOf(&pas[i]); e != nil && e.Flags&OwnMAC != 0 {
			mac = e.MAC
		}
		changed = changed || mac != pas[i].MAC
		pas[i].MAC = mac
	}
	return changed
}

// share lists the PAs of this host that are no VM's alone.
func (f *FIB) share() {
	f.shared4, f.shared6 = nil, nil
	for i := range f.PAs {
		switch pa := &f.PAs[i]; {
		case f.ownerOf(pa) != nil:
		case pa.V6:
			f.shared6 = append(f.shared6, shared6{pa.Addr, uint16(i)})
		default:
			f.shared4 = append(f.shared4, shared4{binary.BigEndian.Uint32(pa.Addr[:]), uint16(i)})
		}
	}
}

// ownerOf is the record that has a PA of this host to itself, or nil.
func (f *FIB) ownerOf(pa *PA) *Entry {
	if pa.V6 {
		if o := f.Owner6(&pa.Addr); o != nil {
			return &o.Entry
		}
	} else if o := f.Owner4(binary.BigEndian.Uint32(pa.Addr[:])); o != nil {
		return &o.Entry
	}
	return nil
}

// forgetWays is for when all ways are found anew.
func (c *Compiler) forgetWays() {
	c.hops, c.ways = map[hop]uint32{}, map[string]uint32{}
	c.fib.NextHops, c.fib.adjs = nil, nil
}

// way finds, for a PA of the fabric and every PA of this host, the provider route
// and its next hop (L16). Where the next hops have been the same before, the way
// is.
func (c *Compiler) way(dst netip.Addr, resolve Resolve) uint32 {
	const (
		otherFamily = NoRoute - 1
		duplicate   = NoRoute - 2
		onLink      = NoRoute - 3 // of a group
	)
	f := c.fib
	c.key = c.key[:0]
	if dst.IsMulticast() { // a way to itself: nobody is asked for a group's MAC
		c.key = append(c.key, dst.AsSlice()...)
	}
	from := len(c.key)
	for s := range f.PAs {
		n := NoRoute
		switch src := &f.PAs[s]; {
		case src.V6 != dst.Is6():
			n = otherFamily
		case src.Duplicate:
			n = duplicate
		case src.Port != None && dst.IsMulticast():
			n = onLink
		case src.Port != None:
			if addr, from := c.nextHop(uint16(s), dst); addr.IsValid() {
				n = c.hop(hop{src.Port, src.VLAN, addr}, from, resolve)
			}
		}
		c.key = binary.NativeEndian.AppendUint32(c.key, n)
	}
	way, known := c.ways[string(c.key)]
	if known {
		return way
	}
	way = uint32(len(c.ways))
	c.ways[string(c.key)] = way
	for s := range f.PAs {
		var a Adj // AdjNoRoute
		a.NextHop = binary.NativeEndian.Uint32(c.key[from+4*s:])
		switch a.NextHop {
		case otherFamily:
			a.NextHop, a.State = NoRoute, AdjFamily
		case duplicate:
			a.NextHop, a.State = NoRoute, AdjDuplicate
		case onLink:
			a.outer(&f.PAs[s], c.sources[s].mtu)
			a.over(&Neighbor{MAC: packet.MulticastMAC(dst), State: AdjReady})
			a.NextHop = NoRoute
		case NoRoute:
		default:
			a.outer(&f.PAs[s], c.sources[s].mtu)
			a.over(&f.NextHops[a.NextHop])
		}
		f.adjs = append(f.adjs, a) // older versions see no further than they did
	}
	return way
}

// hop is the index of a next hop, which PA from asks for.
func (c *Compiler) hop(h hop, from uint16, resolve Resolve) uint32 {
	i, known := c.hops[h]
	if !known {
		i = uint32(len(c.fib.NextHops))
		c.hops[h] = i
		n := Neighbor{Port: h.port, VLAN: h.vlan, Addr: h.addr, From: from}
		n.MAC, n.State = resolve(n.Port, n.VLAN, n.Addr)
		c.fib.NextHops = append(c.fib.NextHops, n)
	}
	return i
}

// nextHop finds where PA s of this host sends packets for dst, and which PA asks
// for its MAC: the longest prefix wins, then the lowest metric (P16). A route
// counts when its next hop is on the link of s, in the on-link prefix of a PA of
// the same port and VLAN.
func (c *Compiler) nextHop(s uint16, dst netip.Addr) (addr netip.Addr, from uint16) {
	pas := c.fib.PAs
	src := &pas[s]
	onLink := func(a netip.Addr) (asker uint16, ok bool) {
		for i := range pas {
			if pas[i].Port == src.Port && pas[i].VLAN == src.VLAN && c.sources[i].prefix.Contains(a) {
				return uint16(i), true
			}
		}
		return s, a.IsLinkLocalUnicast()
	}
	best, metric := -1, uint32(0)
	for i := range pas {
		p := c.sources[i].prefix
		if p.Bits() > best && pas[i].Port == src.Port && pas[i].VLAN == src.VLAN && p.Contains(dst) {
			best, addr = p.Bits(), dst
		}
	}
	for i := range c.routes {
		r := &c.routes[i]
		if r.port != src.Port || !r.prefix.Contains(dst) {
			continue
		}
		if bits := r.prefix.Bits(); bits < best || bits == best && r.metric >= metric {
			continue
		}
		hop := r.nextHop
		if hop.IsUnspecified() {
			hop = dst
		} else if _, ok := onLink(hop); !ok {
			continue
		}
		best, metric, addr = r.prefix.Bits(), r.metric, hop
	}
	from, _ = onLink(addr)
	return addr, from
}
