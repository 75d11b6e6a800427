package daemon

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"paca/ctrl/server"
	"paca/dataplane/fib"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
	"paca/dataplane/respond/dhcp"
	"paca/dataplane/worker"
)

// vnic is a VM in a virtual subnet: one port has it (P1).
type vnic struct {
	vsid policy.VSID
	mac  packet.MAC
}

// guests are the VMs behind ports of this host and their CAs, so that nobody has
// to look for them among all records. The goroutine that changes policy changes
// them when a change is in force, under control.mu; it reads them without.
type guests struct {
	of    map[vnic]*guest
	ports map[string]vnic // by name
	moves map[spot]move
	ends  time.Time // not later than the first lease; zero: there is none
}

type guest struct {
	limit int // of learned CAs (L32)
	cas   map[netip.Addr]holding

	// leases are of CAs that were learned. Whoever holds control.mu changes them.
	leases map[netip.Addr]lease
}

// holding is what a lookup record says of one CA.
type holding struct {
	pa      netip.Addr
	learned bool // Dynamic
}

// learned is how many CAs of a VM were learned, and how many may be.
func (g *guests) learned(v vnic) (have, limit int) {
	vm := g.of[v]
	if vm == nil {
		return 0, 0
	}
	for _, h := range vm.cas {
		if h.learned {
			have++
		}
	}
	return have, vm.limit
}

// address is the IPv4 CA that DHCP gives to a VM, of those that fit (A14): the one
// it asks for if that is its own, for what a VM has it keeps; else the lowest that
// policy was told, and the lowest that was learned if it was told none. It is not
// valid if there is none.
func (g *guests) address(v vnic, asked netip.Addr, fits func(netip.Addr) bool) (ca netip.Addr) {
	vm := g.of[v]
	if vm == nil {
		return ca
	}
	if _, own := vm.cas[asked]; own && asked.Is4() && fits(asked) {
		return asked
	}
	var learned bool // ca is
	for a, h := range vm.cas {
		better := !ca.IsValid() || learned && !h.learned || learned == h.learned && a.Less(ca)
		if a.Is4() && better && fits(a) {
			ca, learned = a, h.learned
		}
	}
	return ca
}

// read takes in all of a Book.
func (g *guests) read(b *policy.Book) {
	g.of = nil
	g.readPorts(b)
}

// readPorts takes in the ports as they are now, and the CAs of VMs that are new.
func (g *guests) readPorts(b *policy.Book) {
	was := g.of
	g.of, g.ports = map[vnic]*guest{}, map[string]vnic{}
	fresh := map[policy.VSID][]packet.MAC{}
	for o := range b.All(policy.KindPort) {
		p := o.(policy.Port)
		v, ok := vnicOf(p)
		if !ok {
			continue
		}
		vm := was[v]
		if vm == nil {
			vm = &guest{cas: map[netip.Addr]holding{}, leases: map[netip.Addr]lease{}}
			fresh[p.VSID] = append(fresh[p.VSID], p.MAC)
		}
		vm.limit = int(p.DynamicIPLimit)
		g.of[v], g.ports[p.Name] = vm, v
	}
	for vsid, macs := range fresh {
		for r := range b.RecordsOf(vsid, macs...) {
			g.of[vnic{vsid, r.MAC}].hold(&r)
		}
	}
}

// vnicOf is the VM behind a port in a virtual subnet.
func vnicOf(p policy.Port) (vnic, bool) {
	return vnic{p.VSID, p.MAC}, p.Role == policy.VM && p.VSID != 0
}

func (vm *guest) hold(r *policy.LookupRecord) {
	if !r.CA.IsUnspecified() && !r.Router() {
		vm.cas[r.CA] = holding{r.PA, r.Type == policy.Dynamic}
	}
}

// spot is a CA in a virtual subnet.
type spot struct {
	vsid policy.VSID
	ca   netip.Addr
}

// update takes in what was applied to b, and says which learned CAs came, went or
// moved by it (E12).
func (g *guests) update(now time.Time, b *policy.Book, applied []policy.Change) []server.Notice {
	type touch struct {
		of  vnic
		ca  netip.Addr
		was holding
	}
	var touched []touch
	var left map[spot]bool // learned CAs whose record went, whoever had it
	first := map[policy.Key]bool{}
	ports := false
	for i := range applied {
		switch o := applied[i].Object.(type) {
		case policy.LookupRecord:
			gone := applied[i].Verb == policy.Delete
			if gone && o.Type == policy.Dynamic {
				if left == nil {
					left = map[spot]bool{}
				}
				left[spot{o.VSID, o.CA}] = true
			}
			of := vnic{o.VSID, o.MAC}
			vm := g.of[of]
			if vm == nil || o.CA.IsUnspecified() {
				continue
			}
			if k := o.Key(); !first[k] {
				first[k] = true
				touched = append(touched, touch{of, o.CA, vm.cas[o.CA]})
			}
			delete(vm.cas, o.CA)
			if !gone {
				vm.hold(&o)
			}
		case policy.Port:
			ports = true
		}
	}
	var notices []server.Notice
	for _, t := range touched {
		vm, at := g.of[t.of], spot{t.of.vsid, t.ca}
		is, held := vm.cas[t.ca]
		if !is.learned {
			delete(vm.leases, t.ca)
		}
		n := server.Notice{Kind: server.CustomerAddress, VSID: t.of.vsid, CA: t.ca, MAC: t.of.mac, PA: is.pa}
		switch {
		case is.learned && !t.was.learned:
			n.Reason = "added"
			if left[at] {
				n.Reason = "moved" // from another MAC
				g.moved(now, at)
			}
		case is.learned && is.pa != t.was.pa:
			n.Reason = "moved" // from another host
		case t.was.learned && !held:
			n.Reason, n.PA = "deleted", t.was.pa
			if r, ok := b.Holder(t.of.vsid, t.ca); ok && r.Type == policy.Dynamic {
				if g.of[vnic{r.VSID, r.MAC}] != nil {
					continue // which says that it moved
				}
				n.Reason, n.MAC, n.PA = "moved", r.MAC, r.PA
				g.moved(now, at)
			}
		default:
			continue
		}
		notices = append(notices, n)
	}
	if ports {
		g.readPorts(b)
	}
	return notices
}

// forsaken is what must go with changes that take a VM's port, or its L2Only
// record, from this host: what was learned of it here (A17).
func (g *guests) forsaken(b *policy.Book, changes []policy.Change) []policy.Change {
	var gone []policy.Change
	named := map[policy.Key]bool{}
	forget := func(v vnic, wanted func(netip.Addr) bool) {
		vm := g.of[v]
		if vm == nil {
			return
		}
		for _, ca := range slices.SortedFunc(maps.Keys(vm.cas), netip.Addr.Compare) {
			h, k := vm.cas[ca], policy.RecordKey(v.vsid, ca, v.mac)
			if !h.learned || !wanted(ca) || !assigned(b, h.pa) {
				continue
			}
			if len(named) == 0 {
				for _, c := range changes {
					if c.Object != nil {
						named[c.Object.Key()] = true
					}
				}
			}
			if !named[k] {
				named[k] = true
				gone = append(gone, policy.Change{Verb: policy.Delete, Object: policy.LookupRecord{VSID: v.vsid, CA: ca, MAC: v.mac}})
			}
		}
	}
	stays := map[vnic]bool{} // behind another port, or the same
	for _, c := range changes {
		if p, ok := c.Object.(policy.Port); ok && c.Verb != policy.Delete {
			if v, ok := vnicOf(p); ok {
				stays[v] = true
			}
		}
	}
	for _, c := range changes {
		switch o := c.Object.(type) {
		case policy.Port:
			if v, was := g.ports[o.Name]; was && !stays[v] {
				forget(v, netip.Addr.IsValid)
			}
		case policy.LookupRecord:
			if c.Verb != policy.Delete || !o.CA.IsUnspecified() {
				continue
			}
			v := vnic{o.VSID, o.MAC}
			if _, ok := l2Only(b, v, o.CA.Is6()); ok {
				forget(v, func(ca netip.Addr) bool { return ca.Is6() == o.CA.Is6() })
			}
		}
	}
	return gone
}

// dhcpRate is how many requests of one VM are answered.
var dhcpRate = rate{burst: 20, perSecond: 5}

// answerDHCP takes in a DHCPv4 message of a VM (A14).
func (c *control) answerDHCP(now time.Time, p *worker.ControlFrame) {
	f, frame := c.fib.Load(), p.Bytes()
	vm := vmPort(f, p.Port)
	var l packet.Layout
	if vm == nil || !c.asking.take(now, p.Port, dhcpRate) || packet.Parse(frame, &l) != packet.OK {
		return
	}
	if packet.Ethernet(frame).Src() != vm.MAC {
		return // of mac_spoofing: the port's lease is not for who is behind its VM
	}
	lease, why := c.guests.lease(f, vm, dhcp.Asked(frame, &l))
	if why != "" {
		c.quietly(now, "a DHCP request is not answered", "vsid", vm.VSID, "mac", vm.MAC, "why", why, "rule", "A14")
		return
	}
	reply, err := dhcp.Answer(frame, &l, &lease)
	switch {
	case err != nil:
		c.quietly(now, "a DHCP request is not answered", "vsid", vm.VSID, "mac", vm.MAC, "why", err, "rule", "A14")
	case len(reply) > worker.MaxControlFrame:
		c.quietly(now, "a DHCP answer is too long", "vsid", vm.VSID, "mac", vm.MAC, "bytes", len(reply), "rule", "A14")
	case reply != nil:
		c.workers[0].Inject.Push(p.Port, worker.DHCP, reply) // if not, the VM asks again
	}
}

// lease is what DHCP tells a VM which asks for a CA, or for any; why not, if it tells
// nothing.
func (g *guests) lease(f *fib.FIB, vm *fib.Port, asked netip.Addr) (lease dhcp.Lease, why string) {
	vs := f.Subnet(vm.VSID)
	if vs == nil || !vs.DHCP {
		return lease, "the virtual subnet has no dhcp"
	}
	ca := g.address(vnic{policy.VSID(vm.VSID), vm.MAC}, asked, func(ca netip.Addr) bool {
		r := vs.Router(ca)
		return r != nil && r.Prefix.Contains(ca)
	})
	if !ca.IsValid() {
		return lease, "the VM has no IPv4 record in a prefix with a router"
	}
	r := vs.Router(ca)
	return dhcp.Lease{CA: ca, Prefix: r.Prefix, Router: r.CA, DNS: vs.DNS, MTU: guestMTU(f, vm, vs), MAC: r.MAC}, ""
}

// guestMTU is the largest IP packet that a VM may send whichever PA of this host
// carries it (M1).
func guestMTU(f *fib.FIB, vm *fib.Port, vs *fib.Subnet) uint16 {
	mtu := int(vm.MTU)
	for i := range f.PAs {
		pa := &f.PAs[i]
		if pa.Port == fib.None {
			continue
		}
		limit := int(f.Ports[pa.Port].MTU)
		switch {
		case vs.Mode != policy.NVGRE:
		case pa.V6:
			limit -= fib.Overhead6
		default:
			limit -= fib.Overhead4
		}
		mtu = min(mtu, limit)
	}
	return uint16(max(mtu, 0))
}
