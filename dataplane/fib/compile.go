package fib

import (
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"

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
	links

	// Edits of the version being made.
	edits4  []edit[slot4]
	edits6  []edit[slot6]
	routers []router
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
	pa uint16
}

// paKey is a PA, v4 mapped into v6: as a map's key, it is free of pointers.
type paKey [16]byte

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

// forget is the state in which everything has to be added. The version stays.
func (c *Compiler) forget() {
	*c = Compiler{
		fib: &FIB{
			Version: c.fib.Version,
			table4:  newTable[slot4](1, golden),
			table6:  newTable[slot6](1, golden),
			subnets: newTable[subnetSlot](1, golden),
		},
		subnets: map[policy.VSID]subnet{},
		domains: map[policy.RDID]uint32{},
		locals:  newRoster[local](),
		remotes: newRoster[paKey](),
	}
}

// Compile makes a FIB of all that is in b.
func (c *Compiler) Compile(b *policy.Book, d Devices, r Resolve) *FIB {
	c.forget()
	subnets := map[policy.VSID]bool{}
	for o := range b.All(policy.KindVirtualSubnet) {
		subnets[o.(policy.VirtualSubnet).VSID] = true
	}
	c.changeSubnets(b, subnets)
	c.changePorts(b, d)
	c.changeSources(b)
	for rec := range b.Records() {
		c.changeRecord(&rec, false)
	}
	return c.finish(subnets, false, false, r)
}

// Update makes a FIB of b, given what was applied to it since the last one was
// made. Changes of lookup records and virtual subnets cost what they touch, those
// of ports and devices as much as there are ports, those of the provider side as
// much as there are PAs in the fabric. Other PAs on this host, or another routing
// domain or mode of a subnet, make it a Compile.
func (c *Compiler) Update(applied []policy.Change, b *policy.Book, d Devices, r Resolve) *FIB {
	subnets := map[policy.VSID]bool{}
	ports := !maps.Equal(c.devices, d)
	links := ports
	for _, ch := range applied {
		switch o := ch.Object.(type) {
		case policy.VirtualSubnet:
			now, exists := b.Subnet(o.VSID)
			if was, existed := c.subnets[o.VSID]; exists && existed && (was.RDID != now.RDID || was.Mode != now.Mode) {
				return c.Compile(b, d, r)
			}
			subnets[o.VSID] = true
			ports = true // whose routing domain may be another
		case policy.Port:
			ports, links = true, true
		case policy.ProviderAddress, policy.ProviderRoute:
			links = true
		}
	}
	next := *c.fib
	c.fib = &next
	c.changeSubnets(b, subnets)
	if ports {
		c.changePorts(b, d)
	}
	if links {
		pas := next.PAs
		links = c.changeSources(b)
		if !slices.EqualFunc(pas, next.PAs, func(x, y PA) bool { return x.Addr == y.Addr && x.V6 == y.V6 }) {
			return c.Compile(b, d, r)
		}
	}
	for i := range applied {
		if rec, ok := applied[i].Object.(policy.LookupRecord); ok {
			c.changeRecord(&rec, applied[i].Verb == policy.Delete)
		}
	}
	return c.finish(subnets, ports, links, r)
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
			edits = append(edits, edit[subnetSlot]{subnetSlot{uint32(v), rd}, put})
			vsids[v] = true
		case existed:
			edits = append(edits, edit[subnetSlot]{subnetSlot{uint32(v), was.rd}, remove})
			vsids[v] = false
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

func (c *Compiler) changePorts(b *policy.Book, d Devices) {
	c.devices, c.ports, c.vnics = maps.Clone(d), map[string]uint16{}, map[vnic]uint16{}
	n := 0
	for _, dev := range d {
		n = max(n, int(dev.Index)+1)
	}
	c.fib.Ports = slices.Repeat([]Port{{Role: Absent}}, n)
	for o := range b.All(policy.KindPort) {
		p := o.(policy.Port)
		dev, open := d[p.Name]
		if !open {
			continue
		}
		c.ports[p.Name] = dev.Index
		port := Port{Role: p.Role, VSID: uint32(p.VSID), MAC: p.MAC, MTU: uint16(p.MTU)}
		if p.Role != policy.VM {
			port.MAC = dev.MAC
		} else if p.VSID != 0 {
			port.RD = c.fib.Domain(port.VSID)
			c.vnics[vnic{port.VSID, port.MAC}] = dev.Index
		}
		c.fib.Ports[dev.Index] = port
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
	if !known || r.CA.IsUnspecified() {
		return // subnet and record came and went between two versions; wildcards resolve by MAC, not by CA
	}
	e := Entry{VSID: uint32(r.VSID), MAC: r.MAC, Mode: s.Mode}
	op := put
	if deleted {
		op = remove
	}
	if r.Router() {
		e.Flags = RouterCA
		c.routers = append(c.routers, router{s, r.CA})
	} else if !deleted {
		pa := paKey(r.PA.As16())
		if own, ok := c.own[pa]; ok {
			e.Flags = LocalVM
			e.Dest = c.locals.hold(local{vnic{e.VSID, e.MAC}, own})
		} else {
			e.Dest = c.remotes.hold(pa)
		}
	}
	c.edit(s.rd, r.CA, e, op)
}

func (c *Compiler) edit(rd uint32, ca netip.Addr, e Entry, op op) {
	b := ca.As16()
	if ca.Is4() {
		key := uint64(rd)<<32 | uint64(binary.BigEndian.Uint32(b[12:]))
		c.edits4 = append(c.edits4, edit[slot4]{slot4{key, e}, op})
		return
	}
	hi, lo := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
	c.edits6 = append(c.edits6, edit[slot6]{slot6{hi, lo, rd, e}, op})
}

// finish makes the next version of what was taken in: subnets says of each VSID
// that changed whether it has a subnet now, ports and links whether those changed
// under what there was already.
func (c *Compiler) finish(subnets map[policy.VSID]bool, ports, links bool, r Resolve) *FIB {
	for v, exists := range subnets {
		if !exists {
			delete(c.subnets, v)
		}
	}
	// A router address without a record has the default one (P21). All that goes
	// goes first: a prefix may have moved from one subnet to another.
	for _, op := range []op{remove, fill} {
		for _, a := range c.routers {
			now := c.subnets[policy.VSID(a.VSID)]
			has := slices.ContainsFunc(now.Prefixes, func(p netip.Prefix) bool {
				ca, ok := policy.RouterCA(p)
				return ok && ca == a.ca
			})
			if has == (op == fill) {
				c.edit(a.rd, a.ca, Entry{VSID: uint32(a.VSID), MAC: DefaultRouterMAC, Mode: a.Mode, Flags: RouterCA}, op)
			}
		}
	}
	f := c.fib
	f.table4 = f.table4.with(c.edits4, func(s slot4) { c.drop(&s.Entry) })
	f.table6 = f.table6.with(c.edits6, func(s slot6) { c.drop(&s.Entry) })
	c.edits4, c.edits6, c.routers = nil, nil, nil

	f.Locals = indexed(&c.locals, f.Locals, ports, func(l local) Local {
		port, ok := c.vnics[l.vnic]
		if !ok {
			port = None
		}
		return Local{port, l.pa}
	})
	if links || c.remotes.untidy() {
		links = true
		c.forgetWays()
	} else {
		f.resolve(r)
	}
	f.remotes = indexed(&c.remotes, f.remotes, links, func(k paKey) Remote {
		pa := netip.AddrFrom16(k).Unmap()
		rem := Remote{way: c.way(pa, r)}
		rem.Addr, rem.V6 = flat(pa)
		if !rem.V6 {
			sum := uint32(k[12])<<8 + uint32(k[13]) + uint32(k[14])<<8 + uint32(k[15])
			rem.Sum = uint16(sum>>16 + sum)
		}
		return rem
	})
	f.Version++
	return f
}

// drop counts one reference less to what e refers to.
func (c *Compiler) drop(e *Entry) {
	switch e.Flags {
	case 0:
		c.remotes.drop(e.Dest)
	case LocalVM:
		c.locals.drop(e.Dest)
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
