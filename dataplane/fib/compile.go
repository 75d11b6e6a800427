package fib

import (
	"cmp"
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"

	"paca/dataplane/packet"
	"paca/dataplane/policy"
)

// DefaultRouterMAC is the distributed router's MAC where no router record names
// one: locally administered and the same on every host, so that a migration
// goes unnoticed (A3).
var DefaultRouterMAC = packet.MAC{0x02, 0x70, 0x61, 0x63, 0x61, 0x01}

// Devices are the ports that are open, by name: facts of the moment, not policy.
type Devices map[string]Device

// Device is an open port.
type Device struct {
	Index uint16
	MAC   packet.MAC // the device's own
}

// Compiler makes the versions of a FIB, each from the one before and what
// changed. One goroutine has it.
type Compiler struct {
	fib *FIB // the last version, or the one being made

	// What fib was made of.
	devices Devices
	subnets map[policy.VSID]subnet
	domains map[policy.RDID]uint32
	ports   map[string]uint16 // those open
	vnics   map[vnic]uint16
	own     map[paKey]uint16 // index into fib.PAs
	locals  roster[local]
	remotes roster[paKey]
	behind  map[uint64]uint32   // records, by VSID<<32 | remote
	groups  map[groupKey]uint32 // records of multicast PAs
	places  map[uint32]uint32   // of Subnets in their pages, by VSID
	spoofer map[uint32][]uint16 // ports that may spoof, by VSID
	closed  map[vnic]bool       // whose port is not open
	provider

	// What the control plane found out, and what of it is not in fib yet.
	pathMTU   map[paKey]uint16
	duplicate map[paKey]bool
	measured  []paKey // whose path MTU is another
	disputed  bool    // some PA is a duplicate, or is none any more

	// Edits of the version being made.
	edits4  []edit[slot4]
	edits6  []edit[slot6]
	macs    []edit[slotMAC]
	owners4 []edit[slotPA4]
	owners6 []edit[slotPA6]
	owners  map[caKey]paKey // records of rewrite subnets that an Update puts, with their PAs, or deletes
	was     *FIB            // the version before an Update
	remoded map[uint32]bool // virtual subnets whose mode is another
	routers []router
	pages   draft[Subnet]
	domain  draft[domain]
	moved   bool              // local VMs came or went
	former  map[uint32]uint32 // routing domains of VSIDs that are virtual subnets no more
}

type subnet struct {
	policy.VirtualSubnet
	rd uint32
}

type vnic struct {
	vsid uint32
	mac  packet.MAC
}

// local is what Local is made of.
type local struct {
	vnic
	pa paKey
}

// caKey is a CA in a routing domain.
type caKey struct {
	rd uint32
	ca netip.Addr
}

// paKey is a PA, v4 mapped into v6: as a map's key, it is free of pointers.
type paKey [16]byte

// groupKey is a group of PAs that a virtual subnet's packets go to.
type groupKey struct {
	pa   paKey
	vsid uint32
}

// router is a router address (P20) that may have to get its default record, or
// to lose it.
type router struct {
	subnet
	ca netip.Addr
}

// NewCompiler makes a Compiler, which knows nothing yet.
func NewCompiler() *Compiler {
	c := &Compiler{fib: &FIB{}}
	c.forget()
	return c
}

// forget is the state in which everything has to be added. The version stays, and
// so does what the control plane found out.
func (c *Compiler) forget() {
	*c = Compiler{
		fib: &FIB{
			Version: c.fib.Version,
			table4:  newTable[slot4](0, golden),
			table6:  newTable[slot6](0, golden),
			macs:    newTable[slotMAC](0, golden),
			owners4: newTable[slotPA4](0, golden),
			owners6: newTable[slotPA6](0, golden),
			subnets: newTable[subnetSlot](0, golden),
		},
		subnets:   map[policy.VSID]subnet{},
		domains:   map[policy.RDID]uint32{},
		owners:    map[caKey]paKey{},
		remoded:   map[uint32]bool{},
		locals:    newRoster[local](),
		remotes:   newRoster[paKey](),
		behind:    map[uint64]uint32{},
		groups:    map[groupKey]uint32{},
		places:    map[uint32]uint32{},
		pathMTU:   c.pathMTU,
		duplicate: c.duplicate,
	}
}

// SetPathMTU tells the largest outer IP packet in bytes that gets to a PA of the
// fabric (M10); 0: that of this host's port. It is in force with the next Update.
func (c *Compiler) SetPathMTU(pa netip.Addr, mtu uint16) {
	if c.pathMTU == nil {
		c.pathMTU = map[paKey]uint16{}
	}
	if c.measured = append(c.measured, pa.As16()); mtu == 0 {
		delete(c.pathMTU, pa.As16())
		return
	}
	c.pathMTU[pa.As16()] = mtu
}

// SetDuplicate tells whether another machine has a PA of this host: nothing is sent
// from it then (P14). It is in force with the next Update.
func (c *Compiler) SetDuplicate(pa netip.Addr, dup bool) {
	if c.duplicate == nil {
		c.duplicate = map[paKey]bool{}
	}
	if c.disputed = true; !dup {
		delete(c.duplicate, pa.As16())
		return
	}
	c.duplicate[pa.As16()] = true
}

// Compile makes a FIB of all that is in b.
func (c *Compiler) Compile(b *policy.Book, d Devices, r Resolve) *FIB {
	c.forget()
	for o := range b.All(policy.KindGlobal) {
		c.fib.ExternalRouter = o.(policy.Global).UseExternalRouter
	}
	subnets := map[policy.VSID]bool{}
	for o := range b.All(policy.KindVirtualSubnet) {
		subnets[o.(policy.VirtualSubnet).VSID] = true
	}
	c.changeSubnets(b, subnets)
	for o := range b.All(policy.KindCustomerRoute) {
		c.changeRoute(o.(policy.CustomerRoute), false)
	}
	c.changePorts(b, d)
	c.changeSources(b)
	c.makeRoom(b)
	for rec := range b.Records() {
		c.changeRecord(&rec, false)
	}
	return c.finish(subnets, false, true, r)
}

// makeRoom makes the large tables for as many records as there are, for each to be
// put where it belongs: lists of edits would be larger than the tables.
func (c *Compiler) makeRoom(b *policy.Book) {
	var n4, n6, owners4, owners6 int
	for rec := range b.Records() {
		owner := 0
		if c.subnets[rec.VSID].Mode == policy.Rewrite {
			owner = 1
		}
		if rec.CA.Is4() {
			n4++
			owners4 += owner
		} else {
			n6++
			owners6 += owner
		}
	}
	f := c.fib
	f.table4, f.table6 = newTable[slot4](n4, golden), newTable[slot6](n6, golden)
	f.owners4, f.owners6 = newTable[slotPA4](owners4, golden), newTable[slotPA6](owners6, golden)
}

// Update makes a FIB of b, given what was applied to it since the last one was
// made. What it costs is what the changes touch: records and virtual subnets
// themselves; ports, PAs of this host and what was found out of PAs also as much as
// there are ports, VMs and PAs on this host; another mode of a virtual subnet as many
// records as it has; provider routes, links and uplinks as many PAs as there are in
// the fabric. Another routing domain of a virtual subnet, or another Global, makes it
// a Compile.
func (c *Compiler) Update(applied []policy.Change, b *policy.Book, d Devices, r Resolve) *FIB {
	subnets := map[policy.VSID]bool{}
	ports := !maps.Equal(c.devices, d)
	links := ports || c.disputed
	for _, ch := range applied {
		switch o := ch.Object.(type) {
		case policy.VirtualSubnet:
			now, exists := b.Subnet(o.VSID)
			was, existed := c.subnets[o.VSID]
			if exists && existed && was.RDID != now.RDID {
				return c.Compile(b, d, r)
			}
			if exists && existed && was.Mode != now.Mode {
				c.remoded[uint32(o.VSID)] = true
			}
			subnets[o.VSID] = true
			ports = true // whose routing domain may be another
		case policy.Global:
			return c.Compile(b, d, r) // the router's addresses are everywhere
		case policy.Port:
			ports, links = true, true
		case policy.ProviderAddress, policy.ProviderRoute:
			links = true
		}
	}
	next := *c.fib
	c.was, c.fib = c.fib, &next
	c.pages, c.domain = next.subnetPages.edit(), next.domains.edit()
	c.changeSubnets(b, subnets)
	if ports {
		c.changePorts(b, d)
	}
	var moved []netip.Addr
	ways := false
	if links {
		moved, ways = c.changeSources(b)
	}
	for i := range applied {
		switch o := applied[i].Object.(type) {
		case policy.LookupRecord:
			c.changeRecord(&o, applied[i].Verb == policy.Delete)
		case policy.CustomerRoute:
			c.changeRoute(o, applied[i].Verb == policy.Delete)
		}
	}
	for _, pa := range moved {
		for rec := range b.RecordsAt(pa) {
			c.changeRecord(&rec, false)
		}
	}
	for vsid := range c.remoded {
		for rec := range b.RecordsIn(policy.VSID(vsid)) {
			c.changeRecord(&rec, false)
		}
	}
	return c.finish(subnets, ports || len(moved) > 0, ways, r)
}

// changeSubnets takes in the subnets with these VSIDs as they are in b. Those not
// there any more stay known until finish: their records have to be found.
func (c *Compiler) changeSubnets(b *policy.Book, vsids map[policy.VSID]bool) {
	edits := make([]edit[subnetSlot], 0, len(vsids))
	for v := range vsids {
		was, existed := c.subnets[v]
		c.changeRouters(was)
		now, exists := b.Subnet(v)
		switch {
		case exists:
			rd, ok := c.domains[now.RDID]
			if !ok {
				rd = uint32(len(c.domains) + 1)
				c.domains[now.RDID] = rd
			}
			c.subnets[v] = subnet{now, rd}
			c.changeRouters(c.subnets[v])
			s := c.subnet(uint32(v))
			s.VSID, s.RD, s.Mode, s.DHCP, s.DNS = uint32(v), rd, now.Mode, now.DHCP, now.DNS
			edits = append(edits, edit[subnetSlot]{subnetSlot{uint32(v), rd, c.places[uint32(v)]}, put})
			vsids[v] = true
		case existed:
			edits = append(edits, edit[subnetSlot]{subnetSlot{uint32(v), was.rd, c.places[uint32(v)]}, remove})
			vsids[v] = false
		}
		for _, p := range was.Prefixes {
			c.changeHop(was.rd, p, customerHop{vsid: uint32(v), addr: unspecified(p), own: true}, true)
		}
		for _, p := range now.Prefixes { // on-link (P11)
			c.changeHop(c.domains[now.RDID], p, customerHop{vsid: uint32(v), addr: unspecified(p), own: true}, false)
		}
	}
	c.fib.subnets = c.fib.subnets.with(edits, func(subnetSlot) {})
}

// changeRouters has finish look at the router addresses of s.
func (c *Compiler) changeRouters(s subnet) {
	for _, p := range s.Prefixes {
		if ca, ok := policy.RouterCA(p); ok {
			c.routers = append(c.routers, router{s, ca})
		}
	}
}

// subnet is what a VSID's packets need, to be written to. It outlives the virtual
// subnet: a VSID keeps its place.
func (c *Compiler) subnet(vsid uint32) *Subnet {
	at, known := c.places[vsid]
	if !known {
		at = uint32(len(c.places))
		c.places[vsid] = at
	}
	return c.pages.write(at, cloneSubnet)
}

func unspecified(p netip.Prefix) netip.Addr {
	if p.Addr().Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// changeRoute takes in a customer route that was put or deleted.
func (c *Compiler) changeRoute(r policy.CustomerRoute, deleted bool) {
	rd, known := c.domains[r.RDID]
	if !known {
		return // its subnet came and went between two versions
	}
	c.changeHop(rd, r.Prefix, customerHop{vsid: uint32(r.VSID), addr: r.NextHop, metric: r.Metric}, deleted)
}

// changeHop puts a route to a prefix of a routing domain, or deletes it. Its metric
// is not its identity (P8).
func (c *Compiler) changeHop(rd uint32, p netip.Prefix, h customerHop, deleted bool) {
	d := c.domain.write(rd, cloneDomain)
	if d.routes == nil {
		d.routes = new(bart.Table[[]customerHop])
	}
	was, _ := d.routes.Get(p)
	hops := slices.DeleteFunc(slices.Clone(was), func(o customerHop) bool { return o.vsid == h.vsid && o.addr == h.addr && o.own == h.own })
	if !deleted {
		hops = append(hops, h)
		slices.SortStableFunc(hops, func(a, b customerHop) int {
			if a.own != b.own { // its own link first
				if a.own {
					return -1
				}
				return 1
			}
			return cmp.Or(cmp.Compare(a.metric, b.metric), cmp.Compare(a.vsid, b.vsid), a.addr.Compare(b.addr))
		})
	}
	if len(hops) == 0 {
		d.routes = d.routes.DeletePersist(p)
		return
	}
	d.routes = d.routes.InsertPersist(p, hops)
}

func (c *Compiler) changePorts(b *policy.Book, d Devices) {
	was := c.fib.Ports
	c.devices, c.ports, c.vnics = maps.Clone(d), map[string]uint16{}, map[vnic]uint16{}
	c.spoofer, c.closed = map[uint32][]uint16{}, map[vnic]bool{}
	hosts := map[uint16]string{} // host ports, and their uplinks
	n := 0
	for _, dev := range d {
		n = max(n, int(dev.Index)+1)
	}
	c.fib.Ports = slices.Repeat([]Port{{Role: Absent}}, n)
	for o := range b.All(policy.KindPort) {
		p := o.(policy.Port)
		dev, open := d[p.Name]
		if !open {
			c.closed[vnic{uint32(p.VSID), p.MAC}] = true
			continue
		}
		c.ports[p.Name] = dev.Index
		port := Port{Role: p.Role, VSID: uint32(p.VSID), MAC: p.MAC, MTU: uint16(p.MTU), Flags: portFlags(&p), Home4: None, Home6: None, Peer: None, StormLimit: p.StormLimit}
		switch {
		case p.Role == policy.Host:
			hosts[dev.Index] = p.Uplink
			fallthrough
		case p.Role != policy.VM:
			port.MAC = dev.MAC
		case p.VSID != 0:
			port.RD = c.fib.Domain(port.VSID)
			c.vnics[vnic{port.VSID, port.MAC}] = dev.Index
			if p.MACSpoofing {
				c.spoofer[port.VSID] = append(c.spoofer[port.VSID], dev.Index)
			}
		}
		c.fib.Ports[dev.Index] = port
	}
	for host, uplink := range hosts {
		c.pair(host, uplink)
	}
	c.changeMembers(was)
}

func portFlags(p *policy.Port) (f PortFlags) {
	if p.MACSpoofing {
		f |= MACSpoofing
	}
	if p.DHCPGuard {
		f |= DHCPGuard
	}
	if p.RouterGuard {
		f |= RouterGuard
	}
	return f
}

// pair connects a host port to its uplink, to the only one if it names none (W20).
func (c *Compiler) pair(host uint16, uplink string) {
	peer := c.portIndex(uplink)
	if uplink == "" {
		for i := range c.fib.Ports {
			if c.fib.Ports[i].Role == policy.Uplink {
				peer = uint16(i)
			}
		}
	}
	if peer != None {
		c.fib.Ports[host].Peer, c.fib.Ports[peer].Peer = peer, host
	}
}

// changeMembers brings the Ports of every Subnet up to date whose VM ports are not
// those they were.
func (c *Compiler) changeMembers(was []Port) {
	members := map[uint32][]uint16{}
	for i := range was {
		if p := &was[i]; p.Role == policy.VM && p.VSID != 0 {
			members[p.VSID] = nil
		}
	}
	for i := range c.fib.Ports {
		if p := &c.fib.Ports[i]; p.Role == policy.VM && p.VSID != 0 {
			members[p.VSID] = append(members[p.VSID], uint16(i))
		}
	}
	for vsid, ports := range members {
		if at, known := c.places[vsid]; !known || !slices.Equal(c.pages.at(at).Ports, ports) {
			c.subnet(vsid).Ports = ports
		}
	}
}

func (c *Compiler) portIndex(name string) uint16 {
	if i, open := c.ports[name]; open {
		return i
	}
	return None
}

// changeRecord takes in a record that was put or deleted. A delete edits nothing
// if the CA has another record by then: what took its place may come first.
func (c *Compiler) changeRecord(r *policy.LookupRecord, deleted bool) {
	s, known := c.subnets[r.VSID]
	if !known {
		return // subnet and record came and went between two versions
	}
	e := Entry{VSID: uint32(r.VSID), MAC: r.MAC, Mode: s.Mode}
	op := put
	if deleted {
		op = remove
	}
	switch r.Type {
	case policy.GatewayWildcard:
		e.Flags = Wildcard
	case policy.L2Only:
		e.Flags = L2Only
	case policy.Dynamic:
		e.Flags = Learned
	}
	if r.UseVMMAC {
		e.Flags |= OwnMAC
	}
	if c.fib.ExternalRouter { // whose MAC may be the router's
		for _, p := range s.Prefixes {
			if ca, ok := policy.RouterCA(p); ok && ca == r.CA {
				c.routers = append(c.routers, router{s, ca})
			}
		}
	}
	if r.Router() {
		e.Flags = RouterCA
		c.routers = append(c.routers, router{s, r.CA})
	} else if r.PA.IsMulticast() {
		c.changeGroup(r, e, deleted)
		return
	} else if !deleted {
		c.place(&e, s.rd, paKey(r.PA.As16()))
	}
	if e.Flags&(Wildcard|L2Only) != 0 {
		c.macs = append(c.macs, edit[slotMAC]{slotMAC{macKey(r.MAC, r.CA.Is6()), e.VSID, e}, op})
		return
	}
	c.edit(s.rd, r.CA, e, op)
	if s.Mode != policy.Rewrite && !c.remoded[e.VSID] || e.Flags&RouterCA != 0 {
		return
	}
	k, pa := caKey{s.rd, r.CA}, paKey(r.PA.As16())
	if c.was == nil { // Compile
		c.editOwner(pa, k, put)
	} else if _, known := c.owners[k]; !known || !deleted { // what took its place may come first
		c.owners[k] = pa
	}
}

// place has e refer to the PA its VM lives behind. drop undoes it.
func (c *Compiler) place(e *Entry, rd uint32, pa paKey) {
	if _, own := c.own[pa]; own {
		e.Flags |= LocalVM
		e.Dest = c.locals.hold(local{vnic{e.VSID, e.MAC}, pa})
		c.moved = true
	} else {
		e.Dest = c.remotes.hold(pa)
		if e.Mode != policy.Rewrite { // which has no broadcasts (R20), and a PA for each VM
			k := uint64(e.VSID)<<32 | uint64(e.Dest)
			if c.behind[k]++; c.behind[k] == 1 {
				s := c.subnet(e.VSID)
				s.Remotes = append(s.Remotes, Entry{VSID: e.VSID, Dest: e.Dest, MAC: packet.Broadcast, Mode: e.Mode})
			}
		}
		if e.Flags&Wildcard != 0 {
			d := c.domain.write(rd, cloneDomain)
			d.gateways = append(d.gateways, e.Dest)
		}
	}
	if e.Flags&L2Only != 0 {
		s := c.subnet(e.VSID)
		s.l2only++
		s.L2Only = true
	}
}

// changeGroup takes in a record that maps a broadcast or multicast CA to a group of
// PAs (A20).
func (c *Compiler) changeGroup(r *policy.LookupRecord, e Entry, deleted bool) {
	s := c.subnet(e.VSID)
	at := slices.IndexFunc(s.Groups, func(g Group) bool { // what took its place may come first
		return g.CA == r.CA && (!deleted || g.To[0].MAC == r.MAC)
	})
	if at >= 0 {
		g := &s.Groups[at]
		k := groupKey{g.pa.As16(), e.VSID}
		c.remotes.drop(g.To[0].Dest)
		if c.groups[k]--; c.groups[k] == 0 {
			delete(c.groups, k)
		}
		s.Groups = slices.Delete(s.Groups, at, at+1)
	}
	if !deleted {
		pa := paKey(r.PA.As16())
		e.Dest = c.remotes.hold(pa)
		c.groups[groupKey{pa, e.VSID}]++
		s.Groups = append(s.Groups, Group{r.CA, []Entry{e}, r.PA})
	}
}

// edit changes what a CA leads to.
func (c *Compiler) edit(rd uint32, ca netip.Addr, e Entry, op op) {
	if ca.Is4() {
		change(&c.fib.table4, &c.edits4, slot4{Owner4{Key4(rd, host4(ca)), e}}, op, c.was == nil)
	} else {
		change(&c.fib.table6, &c.edits6, slot6{Owner6{ca.As16(), rd, e}}, op, c.was == nil)
	}
}

// change puts a slot into a table at once if it may be built, or has finish edit it.
func change[S slot[S]](t *table[S], edits *[]edit[S], s S, op op, build bool) {
	if build && op == put {
		t.build(s)
	} else {
		*edits = append(*edits, edit[S]{s, op})
	}
}

// host4 is an IPv4 address in host order.
func host4(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

// editOwner changes what a PA of a rewrite subnet leads to (R6).
func (c *Compiler) editOwner(pa paKey, k caKey, op op) {
	if k.ca.Is4() {
		change(&c.fib.owners4, &c.owners4, slotPA4{pa: binary.BigEndian.Uint32(pa[12:]), rd: k.rd, ca: host4(k.ca)}, op, c.was == nil)
	} else {
		change(&c.fib.owners6, &c.owners6, slotPA6{pa, k.ca.As16(), k.rd}, op, c.was == nil)
	}
}

// changeOwners brings the look-up by PA up to date with that by CA. PAs may have
// gone from one record to another, in any order: all that goes, goes first.
func (c *Compiler) changeOwners() {
	f := c.fib
	for k := range c.owners {
		if e := c.was.Lookup(k.rd, k.ca); e.owner() {
			c.editOwner(c.was.paOf(e), k, remove)
		}
	}
	for k, pa := range c.owners {
		if e := f.Lookup(k.rd, k.ca); e.owner() {
			c.editOwner(pa, k, put)
		}
	}
	f.owners4 = f.owners4.with(c.owners4, func(slotPA4) {})
	f.owners6 = f.owners6.with(c.owners6, func(slotPA6) {})
}

// owner says whether e is a record that has its PA to itself (R6).
func (e *Entry) owner() bool {
	return e != nil && e.Mode == policy.Rewrite && e.Flags&RouterCA == 0
}

// paOf is the PA of e, which must not be RouterCA.
func (f *FIB) paOf(e *Entry) paKey {
	if e.Flags&LocalVM != 0 {
		return paKey(f.PAs[f.Locals[e.Dest].PA].IP().As16())
	}
	return paKey(f.remotes[e.Dest].IP().As16())
}

// finish makes the next version of what was taken in: subnets says of each VSID
// that changed whether it has a subnet now, ports and ways whether the ports of local
// VMs and the ways to PAs of the fabric are to be found anew for what there was already.
func (c *Compiler) finish(subnets map[policy.VSID]bool, ports, ways bool, r Resolve) *FIB {
	c.former = map[uint32]uint32{}
	for v, exists := range subnets {
		if !exists {
			c.former[uint32(v)] = c.subnets[v].rd
			delete(c.subnets, v)
		}
	}
	// A router address without a record has the default one (P21). All that goes
	// goes first: a prefix may have moved from one subnet to another, or a subnet to
	// another mode.
	for _, op := range []op{remove, fill} {
		for _, a := range c.routers {
			now := c.subnets[policy.VSID(a.VSID)]
			has := a.Mode == now.Mode && slices.ContainsFunc(now.Prefixes, func(p netip.Prefix) bool {
				ca, ok := policy.RouterCA(p)
				return ok && ca == a.ca
			})
			if has == (op == fill) && !(op == fill && c.fib.ExternalRouter) {
				c.edit(a.rd, a.ca, Entry{VSID: uint32(a.VSID), MAC: DefaultRouterMAC, Mode: a.Mode, Flags: RouterCA}, op)
			}
		}
	}
	f := c.fib
	f.table4 = f.table4.with(c.edits4, func(s slot4) { c.drop(&s.Entry) })
	f.table6 = f.table6.with(c.edits6, func(s slot6) { c.drop(&s.Entry) })
	f.macs = f.macs.with(c.macs, func(s slotMAC) { c.drop(&s.Entry) })
	c.nameRouters()
	c.changeOwners()
	if pas := slices.Clone(f.PAs); c.dress(pas) {
		f.PAs = pas
	}
	f.share()
	c.edits4, c.edits6, c.macs, c.routers = nil, nil, nil, nil
	c.owners4, c.owners6, c.was = nil, nil, nil
	clear(c.owners)
	clear(c.remoded)

	f.Locals = indexed(&c.locals, f.Locals, ports, func(l local) Local {
		port, ok := c.vnics[l.vnic]
		if spoofers := c.spoofer[l.vsid]; !ok && len(spoofers) == 1 && !c.closed[l.vnic] {
			port = spoofers[0] // whose VM has more MACs than the port tells (L31)
		} else if !ok {
			port = None
		}
		return Local{port, c.own[l.pa]}
	})
	if ports || c.moved {
		c.findHomes()
	}
	if ways = ways || c.remotes.untidy(); ways {
		c.forgetWays()
	} else {
		f.resolve(r)
		if !slices.Equal(c.made, c.columns()) {
			c.changeColumns()
		}
		if len(c.remotes.fresh) > 0 {
			f.adjs = slices.Clone(f.adjs) // which get longer
		}
	}
	f.remotes = indexed(&c.remotes, f.remotes, ways, func(k paKey) Remote {
		pa := netip.AddrFrom16(k).Unmap()
		rem := Remote{Limit: c.limit(k), way: c.way(pa, r)}
		rem.Addr, rem.V6 = flat(pa)
		if !rem.V6 {
			sum := uint32(k[12])<<8 + uint32(k[13]) + uint32(k[14])<<8 + uint32(k[15])
			rem.Sum = uint16(sum>>16 + sum)
		}
		return rem
	})
	if len(c.measured) > 0 {
		f.remotes = slices.Clone(f.remotes)
		for _, k := range c.measured {
			if i, known := c.remotes.index[k]; known {
				f.remotes[i].Limit = c.limit(k)
			}
		}
	}
	f.groups = nil
	for k := range c.groups {
		var g paGroup
		g.addr, g.v6 = flat(netip.AddrFrom16(k.pa).Unmap())
		if s := c.pages.at(c.places[k.vsid]); len(s.Ports) > 0 && !slices.Contains(f.groups, g) {
			f.groups = append(f.groups, g)
		}
	}
	f.subnetPages, f.domains = c.pages.pages, c.domain.pages
	c.pages, c.domain = draft[Subnet]{}, draft[domain]{}
	c.measured, c.disputed = nil, false
	f.Version++
	return f
}

// limit is what was found of the path to a PA of the fabric (M10).
func (c *Compiler) limit(pa paKey) Limits {
	if mtu, known := c.pathMTU[pa]; known {
		return limits(mtu, !netip.AddrFrom16(pa).Is4In6())
	}
	return Limits{^uint16(0), ^uint16(0)}
}

// findHomes tells every VM port which PAs its VM's records name.
func (c *Compiler) findHomes() {
	f := c.fib
	f.Ports = slices.Clone(f.Ports)
	for i := range f.Ports {
		if f.Ports[i].Role != Absent {
			f.Ports[i].Home4, f.Ports[i].Home6 = None, None
		}
	}
	for _, i := range c.locals.index {
		l := f.Locals[i]
		if c.locals.refs[i] == 0 || l.Port == None {
			continue
		}
		home := &f.Ports[l.Port].Home4
		if f.PAs[l.PA].V6 {
			home = &f.Ports[l.Port].Home6
		}
		*home = min(*home, l.PA)
	}
	c.moved = false
}

// nameRouters tells the Subnets of router addresses that changed whose they are now.
func (c *Compiler) nameRouters() {
	done := map[uint32]bool{}
	for _, a := range c.routers {
		now, exists := c.subnets[policy.VSID(a.VSID)]
		if !exists || done[uint32(a.VSID)] {
			continue
		}
		done[uint32(a.VSID)] = true
		s := c.subnet(uint32(a.VSID))
		s.Routers = nil
		for _, p := range now.Prefixes {
			if ca, ok := policy.RouterCA(p); ok {
				r := Router{p, ca, DefaultRouterMAC}
				if e := c.fib.Lookup(now.rd, ca); e != nil {
					r.MAC = e.MAC
				}
				s.Routers = append(s.Routers, r)
			}
		}
	}
}

// drop counts one reference less to what e refers to.
func (c *Compiler) drop(e *Entry) {
	if e.Flags&RouterCA != 0 {
		return
	}
	if e.Flags&L2Only != 0 {
		s := c.subnet(e.VSID)
		s.l2only--
		s.L2Only = s.l2only > 0
	}
	if e.Flags&LocalVM != 0 {
		c.locals.drop(e.Dest)
		c.moved = true
		return
	}
	c.remotes.drop(e.Dest)
	if e.Mode != policy.Rewrite {
		k := uint64(e.VSID)<<32 | uint64(e.Dest)
		if c.behind[k]--; c.behind[k] == 0 {
			delete(c.behind, k)
			s := c.subnet(e.VSID)
			s.Remotes = slices.DeleteFunc(s.Remotes, func(o Entry) bool { return o.Dest == e.Dest })
		}
	}
	if e.Flags&Wildcard != 0 {
		rd, gone := c.former[e.VSID]
		if !gone {
			rd = c.fib.Domain(e.VSID)
		}
		d := c.domain.write(rd, cloneDomain)
		if at := slices.Index(d.gateways, e.Dest); at >= 0 {
			d.gateways = slices.Delete(d.gateways, at, at+1)
		}
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
