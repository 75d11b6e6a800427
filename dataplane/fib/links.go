package fib

import (
	"cmp"
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
	for source, column := range f.adjs {
		column = slices.Clone(column)
		for i := range column {
			if a := &column[i]; a.NextHop != NoRoute {
				a.over(&f.NextHops[a.NextHop])
			}
		}
		f.adjs[source] = column
	}
}

// over sends a over a next hop.
func (a *Adj) over(n *Neighbor) {
	a.State, a.Ready = n.State, Limits{}
	if n.State == AdjReady {
		a.Ready = a.Limit
	}
	copy(a.Header[:6], n.MAC[:])
}

// provider is what a Compiler knows of the provider side.
type provider struct {
	sources []source // as FIB.PAs
	links   []link   // in order
	routes  []route
	hops    map[hop]uint32    // index into FIB.NextHops
	ways    map[string]uint32 // by what appendWay writes
	made    []column          // as FIB.adjs
	key     []byte            // of ways, at hand
}

// source is what a PA of this host is besides what FIB.PAs tells.
type source struct {
	prefix netip.Prefix
	mtu    uint16
	mac    packet.MAC // but for the MAC of a VM that uses its own (R7)
}

// column is what the ways from one PA are made of besides where they lead.
type column struct {
	PA
	mtu uint16
}

// link is a network that PAs of this host of one IP family are on. Which of them a
// packet comes from makes no difference to its next hop.
type link struct {
	port, vlan uint16
	v6         bool
	prefixes   []netip.Prefix // in order
}

func linkOf(pa *PA) link { return link{port: pa.Port, vlan: pa.VLAN, v6: pa.V6} }

func (l link) compare(o link) int {
	six := func(l link) int {
		if l.v6 {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(l.port, o.port), cmp.Compare(l.vlan, o.vlan), cmp.Compare(six(l), six(o)))
}

// has says whether an address is on the link.
func (l *link) has(a netip.Addr) bool {
	return a.IsLinkLocalUnicast() || slices.ContainsFunc(l.prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
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

// changeSources takes in the provider addresses and routes. It returns the PAs that
// are this host's now and were not, or were and are not, and whether the ways to PAs
// of the fabric are others. They are not where links stay as they are, however many
// PAs come and go on them.
func (c *Compiler) changeSources(b *policy.Book) (moved []netip.Addr, ways bool) {
	f, was, own := c.fib, c.provider, c.own
	c.sources, c.links, c.routes, f.PAs, c.own = nil, nil, nil, nil, map[paKey]uint16{}
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
			c.join(linkOf(&pa), a.Prefix.Masked())
		}
		src.mac = pa.MAC
		k := paKey(a.Prefix.Addr().As16())
		if _, known := own[k]; !known {
			moved = append(moved, a.Prefix.Addr())
		}
		c.own[k] = uint16(len(f.PAs))
		f.PAs = append(f.PAs, pa)
		c.sources = append(c.sources, src)
	}
	for k := range own {
		if _, stays := c.own[k]; !stays {
			moved = append(moved, netip.AddrFrom16(k).Unmap())
		}
	}
	for o := range b.All(policy.KindProviderRoute) {
		r := o.(policy.ProviderRoute)
		c.routes = append(c.routes, route{c.portIndex(r.Port), r.Prefix, r.NextHop, r.Metric})
	}
	same := slices.Equal(c.routes, was.routes) && slices.EqualFunc(c.links, was.links, func(l, o link) bool {
		return l.compare(o) == 0 && slices.Equal(l.prefixes, o.prefixes)
	})
	return moved, !same
}

// join notes that a PA of a link has a prefix on it.
func (c *Compiler) join(l link, p netip.Prefix) {
	at, known := slices.BinarySearchFunc(c.links, l, link.compare)
	if !known {
		c.links = slices.Insert(c.links, at, l)
	}
	on := &c.links[at].prefixes
	if at, known := slices.BinarySearchFunc(*on, p, netip.Prefix.Compare); !known {
		*on = slices.Insert(*on, at, p)
	}
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
	c.fib.NextHops, c.made = nil, nil
	c.changeColumns()
}

// columns is what the ways from each PA of this host are to be made of.
func (c *Compiler) columns() []column {
	all := make([]column, len(c.fib.PAs))
	for s, pa := range c.fib.PAs {
		all[s] = column{pa, c.sources[s].mtu}
	}
	return all
}

// changeColumns makes the ways from those PAs of this host anew that are not what
// they were, and keeps those from the others.
func (c *Compiler) changeColumns() {
	f, was := c.fib, map[column][]Adj{}
	for i, m := range c.made {
		was[m] = f.adjs[i]
	}
	c.made, f.adjs = c.columns(), make([][]Adj, len(f.PAs))
	for s, m := range c.made {
		adjs, known := was[m]
		if !known {
			adjs = make([]Adj, len(c.ways))
			for way, i := range c.ways {
				adjs[i] = c.adj(s, way)
			}
		}
		f.adjs[s] = adjs
	}
	f.NextHops = slices.Clone(f.NextHops)
	for i := range f.NextHops {
		n := &f.NextHops[i]
		n.From = c.asker(link{port: n.Port, vlan: n.VLAN, v6: n.Addr.Is6()}, n.Addr)
	}
}

// way is the index of the ways to a PA of the fabric, from every PA of this host
// (L16). Where the next hops have been the same before, the way is.
func (c *Compiler) way(dst netip.Addr, resolve Resolve) uint32 {
	c.key = c.appendWay(c.key[:0], dst, resolve)
	way, known := c.ways[string(c.key)]
	if !known {
		way = uint32(len(c.ways))
		key := string(c.key)
		c.ways[key] = way
		for s := range c.fib.adjs {
			c.fib.adjs[s] = append(c.fib.adjs[s], c.adj(s, key)) // older versions see no further than they did
		}
	}
	return way
}

// What the way to a PA begins with. Behind it come indexes into NextHops, one for each
// link, but if it is a group the PA itself, for nobody is asked for a group's MAC.
const (
	wayV6 = 1 << iota
	wayGroup
)

// appendWay finds the next hop to a PA of the fabric on every link, by provider
// routes (L16).
func (c *Compiler) appendWay(way []byte, dst netip.Addr, resolve Resolve) []byte {
	kind := byte(0)
	if dst.Is6() {
		kind = wayV6
	}
	if dst.IsMulticast() {
		return append(append(way, kind|wayGroup), dst.AsSlice()...)
	}
	way = append(way, kind)
	for i := range c.links {
		l, n := &c.links[i], NoRoute
		if l.v6 == dst.Is6() {
			if addr := c.nextHop(l, dst); addr.IsValid() {
				n = c.hop(l, addr, resolve)
			}
		}
		way = binary.NativeEndian.AppendUint32(way, n)
	}
	return way
}

// adj is a way from PA s of this host.
func (c *Compiler) adj(s int, way string) Adj {
	src, a := &c.fib.PAs[s], Adj{NextHop: NoRoute}
	switch kind := way[0]; {
	case src.V6 != (kind&wayV6 != 0):
		a.State = AdjFamily
	case src.Duplicate:
		a.State = AdjDuplicate
	case src.Port == None:
	case kind&wayGroup != 0:
		dst, _ := netip.AddrFromSlice([]byte(way[1:]))
		a.outer(src, c.sources[s].mtu)
		a.over(&Neighbor{MAC: packet.MulticastMAC(dst), State: AdjReady})
	default:
		at, _ := slices.BinarySearchFunc(c.links, linkOf(src), link.compare)
		if n := binary.NativeEndian.Uint32([]byte(way[1+4*at:])); n != NoRoute {
			a.NextHop = n
			a.outer(src, c.sources[s].mtu)
			a.over(&c.fib.NextHops[n])
		}
	}
	return a
}

// hop is the index of a next hop on a link.
func (c *Compiler) hop(l *link, addr netip.Addr, resolve Resolve) uint32 {
	h := hop{l.port, l.vlan, addr}
	i, known := c.hops[h]
	if !known {
		i = uint32(len(c.fib.NextHops))
		c.hops[h] = i
		n := Neighbor{Port: h.port, VLAN: h.vlan, Addr: h.addr, From: c.asker(*l, addr)}
		n.MAC, n.State = resolve(n.Port, n.VLAN, n.Addr)
		c.fib.NextHops = append(c.fib.NextHops, n)
	}
	return i
}

// asker is the PA that asks for the MAC of a next hop on a link.
func (c *Compiler) asker(on link, addr netip.Addr) uint16 {
	first := None
	for i := range c.fib.PAs {
		if linkOf(&c.fib.PAs[i]).compare(on) != 0 {
			continue
		}
		if c.sources[i].prefix.Contains(addr) {
			return uint16(i)
		}
		first = min(first, uint16(i)) // the next hop is link-local
	}
	return first
}

// nextHop finds where packets for dst are sent on a link: the longest prefix wins,
// then the lowest metric (P16). A route counts when its next hop is on the link.
func (c *Compiler) nextHop(l *link, dst netip.Addr) (addr netip.Addr) {
	best, metric := -1, uint32(0)
	for _, p := range l.prefixes {
		if p.Bits() > best && p.Contains(dst) {
			best, addr = p.Bits(), dst
		}
	}
	for i := range c.routes {
		r := &c.routes[i]
		if r.port != l.port || !r.prefix.Contains(dst) {
			continue
		}
		if bits := r.prefix.Bits(); bits < best || bits == best && r.metric >= metric {
			continue
		}
		hop := r.nextHop
		if hop.IsUnspecified() {
			hop = dst
		} else if !l.has(hop) {
			continue
		}
		best, metric, addr = r.prefix.Bits(), r.metric, hop
	}
	return addr
}
