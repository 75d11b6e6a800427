package policy

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"

	"paca/dataplane/packet"
)

// Book is all policy of one host, indexed, so that a set of changes costs what
// it touches and not what there is. One goroutine changes it; there are no
// locks inside, and readers must keep clear of changes.
type Book struct {
	global         Global
	ports          map[Key]Port
	addresses      map[Key]ProviderAddress
	providerRoutes map[Key]ProviderRoute
	subnets        map[VSID]VirtualSubnet
	routes         map[Key]CustomerRoute
	records        *records

	vnics    map[vnic]Key    // the port of a VM in a virtual subnet
	edges    map[string]Role // of the ports that are no VM's
	uplinks  map[string]*uplink
	onLink   map[RDID][]onLink         // sorted; disjoint but for moments within Apply
	routesOf map[VSID]map[Key]struct{} // by the VSID of their next hop

	pinned  map[Key]struct{}
	journal []step // since Begin
	group   bool   // between Begin and End or Rollback
}

// vnic is what only one port may have (P1).
type vnic struct {
	vsid VSID
	mac  packet.MAC
}

// uplink is what refers to a port by name.
type uplink struct {
	addresses int
	links     map[netip.Prefix]int // on-link prefixes of its PAs, counted
	routes    map[Key]struct{}
}

// onLink is a prefix of a virtual subnet.
type onLink struct {
	prefix netip.Prefix
	vsid   VSID
}

func (a onLink) compare(b onLink) int {
	return cmp.Or(a.prefix.Addr().Compare(b.prefix.Addr()), cmp.Compare(a.prefix.Bits(), b.prefix.Bits()), cmp.Compare(a.vsid, b.vsid))
}

// NewBook is a Book with nothing in it but the default Global.
func NewBook() *Book {
	return &Book{
		ports:          map[Key]Port{},
		addresses:      map[Key]ProviderAddress{},
		providerRoutes: map[Key]ProviderRoute{},
		subnets:        map[VSID]VirtualSubnet{},
		routes:         map[Key]CustomerRoute{},
		records:        newRecords(),
		vnics:          map[vnic]Key{},
		edges:          map[string]Role{},
		uplinks:        map[string]*uplink{},
		onLink:         map[RDID][]onLink{},
		routesOf:       map[VSID]map[Key]struct{}{},
		pinned:         map[Key]struct{}{},
	}
}

// Pin makes Apply refuse to delete or to change the objects of keys, which the
// host's file holds.
func (b *Book) Pin(keys ...Key) {
	for _, k := range keys {
		b.pinned[k] = struct{}{}
	}
}

// Pinned says whether the object of k is the host file's.
func (b *Book) Pinned(k Key) bool {
	_, ok := b.pinned[k]
	return ok
}

// Get is the object that k identifies. Objects share their slices with the
// Book: do not write to them.
func (b *Book) Get(k Key) (Object, bool) {
	switch k.Kind() {
	case KindGlobal:
		return b.global, k == b.global.Key()
	case KindPort:
		return get(b.ports, k)
	case KindProviderAddress:
		return get(b.addresses, k)
	case KindProviderRoute:
		return get(b.providerRoutes, k)
	case KindVirtualSubnet:
		if v, ok := subnetKey(k); ok {
			return get(b.subnets, v)
		}
	case KindCustomerRoute:
		return get(b.routes, k)
	case KindLookupRecord:
		if id, ok := recordKey(k); ok {
			if n := b.records.find(id); n != 0 {
				return b.records.record(n), true
			}
		}
	}
	return nil, false
}

// get keeps a nil Object nil.
func get[K comparable, T Object](m map[K]T, k K) (Object, bool) {
	if o, ok := m[k]; ok {
		return o, true
	}
	return nil, false
}

// Subnet is the virtual subnet of v.
func (b *Book) Subnet(v VSID) (VirtualSubnet, bool) {
	vs, ok := b.subnets[v]
	return vs, ok
}

// Len is how many objects of a kind there are.
func (b *Book) Len(kind Kind) int {
	switch kind {
	case KindGlobal:
		return 1
	case KindPort:
		return len(b.ports)
	case KindProviderAddress:
		return len(b.addresses)
	case KindProviderRoute:
		return len(b.providerRoutes)
	case KindVirtualSubnet:
		return len(b.subnets)
	case KindCustomerRoute:
		return len(b.routes)
	case KindLookupRecord:
		return b.records.len()
	}
	return 0
}

// All is every object of a kind in the order of their Keys. The Book must not
// change meanwhile.
func (b *Book) All(kind Kind) iter.Seq[Object] {
	switch kind {
	case KindGlobal:
		return func(yield func(Object) bool) { yield(b.global) }
	case KindPort:
		return sorted(b.ports)
	case KindProviderAddress:
		return sorted(b.addresses)
	case KindProviderRoute:
		return sorted(b.providerRoutes)
	case KindVirtualSubnet:
		return sorted(b.subnets)
	case KindCustomerRoute:
		return sorted(b.routes)
	}
	return func(yield func(Object) bool) {
		if kind != KindLookupRecord {
			return
		}
		for _, n := range b.records.sorted() {
			if !yield(b.records.record(n)) {
				return
			}
		}
	}
}

func sorted[K cmp.Ordered, T Object](m map[K]T) iter.Seq[Object] {
	return func(yield func(Object) bool) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !yield(m[k]) {
				return
			}
		}
	}
}

// Records is every lookup record in no order, for those who read them all: it
// neither sorts nor allocates. The Book must not change meanwhile.
func (b *Book) Records() iter.Seq[LookupRecord] {
	return func(yield func(LookupRecord) bool) {
		for n := range b.records.all() {
			if !yield(b.records.record(n)) {
				return
			}
		}
	}
}

// RecordsIn is Records of one virtual subnet.
func (b *Book) RecordsIn(v VSID) iter.Seq[LookupRecord] {
	return func(yield func(LookupRecord) bool) {
		for n := range b.records.in(v) {
			if !yield(b.records.record(n)) {
				return
			}
		}
	}
}

// RecordsOf is RecordsIn of some MACs: it looks at no more of the others than that.
func (b *Book) RecordsOf(v VSID, macs ...packet.MAC) iter.Seq[LookupRecord] {
	return func(yield func(LookupRecord) bool) {
		for n := range b.records.in(v) {
			if slices.Contains(macs, b.records.slot(n).mac) && !yield(b.records.record(n)) {
				return
			}
		}
	}
}

// RecordsAt is Records behind one PA.
func (b *Book) RecordsAt(pa netip.Addr) iter.Seq[LookupRecord] {
	return func(yield func(LookupRecord) bool) {
		for n := range b.records.behind(pa) {
			if !yield(b.records.record(n)) {
				return
			}
		}
	}
}

// Holder is the record that has a concrete CA, whatever its MAC (P6).
func (b *Book) Holder(v VSID, ca netip.Addr) (LookupRecord, bool) {
	if n := b.records.at.find(identityOf(v, ca, packet.MAC{}).place()); n != 0 {
		return b.records.record(n), true
	}
	return LookupRecord{}, false
}

// Objects is what All yields of each of these kinds, of all if none is named, one
// kind after the other.
func (b *Book) Objects(kinds ...Kind) (all []Object) {
	if len(kinds) == 0 {
		for k := Kind(1); k < numKinds; k++ {
			kinds = append(kinds, k)
		}
	}
	for _, k := range kinds {
		all = slices.AppendSeq(all, b.All(k))
	}
	return all
}

// Set is everything in the Book as a plain Set, each list in the order of Keys.
func (b *Book) Set() *Set {
	return &Set{
		Global:            b.global,
		VirtualSubnets:    list[VirtualSubnet](b),
		LookupRecords:     list[LookupRecord](b),
		CustomerRoutes:    list[CustomerRoute](b),
		ProviderAddresses: list[ProviderAddress](b),
		ProviderRoutes:    list[ProviderRoute](b),
		Ports:             list[Port](b),
	}
}

func list[T Object](b *Book) []T {
	var none T
	all := make([]T, 0, b.Len(none.Kind()))
	for o := range b.All(none.Kind()) {
		all = append(all, o.(T))
	}
	return all
}

// swap replaces from by to in the Book and its indexes; nil is nothing. Neither
// is judged here: what must be unique was looked at before.
func (b *Book) swap(from, to Object) {
	kind := to
	if to == nil {
		kind = from
	}
	switch kind.(type) {
	case Global:
		b.global = to.(Global)
	case Port:
		b.swapPort(from, to)
	case ProviderAddress:
		b.swapAddress(from, to)
	case ProviderRoute:
		if r, ok := from.(ProviderRoute); ok {
			delete(b.providerRoutes, r.Key())
			delete(b.uplink(r.Port).routes, r.Key())
			b.settle(r.Port)
		}
		if r, ok := to.(ProviderRoute); ok {
			b.providerRoutes[r.Key()] = r
			b.uplink(r.Port).routes[r.Key()] = struct{}{}
		}
	case VirtualSubnet:
		b.swapSubnet(from, to)
	case CustomerRoute:
		if r, ok := from.(CustomerRoute); ok {
			delete(b.routes, r.Key())
			if delete(b.routesOf[r.VSID], r.Key()); len(b.routesOf[r.VSID]) == 0 {
				delete(b.routesOf, r.VSID)
			}
		}
		if r, ok := to.(CustomerRoute); ok {
			b.routes[r.Key()] = r
			if b.routesOf[r.VSID] == nil {
				b.routesOf[r.VSID] = map[Key]struct{}{}
			}
			b.routesOf[r.VSID][r.Key()] = struct{}{}
		}
	case LookupRecord:
		old, leaves := from.(LookupRecord)
		r, enters := to.(LookupRecord)
		rewrite := b.subnets[max(old.VSID, r.VSID)].Mode == Rewrite
		switch {
		case !enters:
			b.records.remove(&old, rewrite)
		case !leaves:
			b.records.insert(&r, rewrite)
		default:
			b.records.replace(&r, rewrite)
		}
	}
}

func (b *Book) swapPort(from, to Object) {
	if p, ok := from.(Port); ok {
		delete(b.ports, p.Key())
		delete(b.edges, p.Name)
		if p.vnic() {
			delete(b.vnics, vnic{p.VSID, p.MAC})
		}
	}
	if p, ok := to.(Port); ok {
		b.ports[p.Key()] = p
		if p.Role != VM {
			b.edges[p.Name] = p.Role
		}
		if p.vnic() {
			b.vnics[vnic{p.VSID, p.MAC}] = p.Key()
		}
	}
}

func (b *Book) swapAddress(from, to Object) {
	if a, ok := from.(ProviderAddress); ok {
		delete(b.addresses, a.Key())
		u := b.uplink(a.Port)
		u.addresses--
		link := a.Prefix.Masked()
		if u.links[link]--; u.links[link] == 0 {
			delete(u.links, link)
		}
		b.settle(a.Port)
	}
	if a, ok := to.(ProviderAddress); ok {
		b.addresses[a.Key()] = a
		u := b.uplink(a.Port)
		u.addresses++
		u.links[a.Prefix.Masked()]++
	}
}

func (b *Book) swapSubnet(from, to Object) {
	old, _ := from.(VirtualSubnet)
	vs, ok := to.(VirtualSubnet)
	for _, p := range old.Prefixes {
		o := onLink{p, old.VSID}
		in := b.onLink[old.RDID]
		if at, found := slices.BinarySearchFunc(in, o, onLink.compare); found {
			in = slices.Delete(in, at, at+1)
		}
		if b.onLink[old.RDID] = in; len(in) == 0 {
			delete(b.onLink, old.RDID)
		}
	}
	for _, p := range vs.Prefixes {
		o := onLink{p, vs.VSID}
		in := b.onLink[vs.RDID]
		at, _ := slices.BinarySearchFunc(in, o, onLink.compare)
		b.onLink[vs.RDID] = slices.Insert(in, at, o)
	}
	// Without a virtual subnet its records count as encapsulated.
	if ok {
		b.subnets[vs.VSID] = vs
	} else {
		delete(b.subnets, old.VSID)
	}
	if old.Mode != vs.Mode {
		b.records.remode(max(old.VSID, vs.VSID), vs.Mode == Rewrite)
	}
}

func (b *Book) uplink(port string) *uplink {
	u := b.uplinks[port]
	if u == nil {
		u = &uplink{links: map[netip.Prefix]int{}, routes: map[Key]struct{}{}}
		b.uplinks[port] = u
	}
	return u
}

// settle forgets a port that nothing refers to.
func (b *Book) settle(port string) {
	if u := b.uplinks[port]; u.addresses == 0 && len(u.routes) == 0 {
		delete(b.uplinks, port)
	}
}

// reaches says whether a next hop is on a link of the port (P16).
func (u *uplink) reaches(nextHop netip.Addr) bool {
	if !usable(nextHop) || nextHop.IsLinkLocalUnicast() && u.addresses > 0 {
		return true
	}
	for link := range u.links {
		if link.Contains(nextHop) {
			return true
		}
	}
	return false
}

// name says which object it is to people.
func name(o Object) string {
	switch o := o.(type) {
	case Port:
		return fmt.Sprintf("port %q", o.Name)
	case ProviderAddress:
		return fmt.Sprintf("provider_address %v", o.Prefix.Addr())
	case ProviderRoute:
		return fmt.Sprintf("provider_route %v via %v on port %q", o.Prefix, o.NextHop, o.Port)
	case VirtualSubnet:
		return fmt.Sprintf("virtual_subnet %d", o.VSID)
	case CustomerRoute:
		return fmt.Sprintf("customer_route %v via %v of VSID %d in %v", o.Prefix, o.NextHop, o.VSID, o.RDID)
	case LookupRecord:
		return fmt.Sprintf("lookup_record %v with MAC %v in VSID %d", o.CA, o.MAC, o.VSID)
	}
	return o.Kind().String()
}
