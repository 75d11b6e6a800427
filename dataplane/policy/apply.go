package policy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// Apply makes all changes or none. Their order does not matter; two changes of
// one Key are a Fault. What holds after the whole set must satisfy every rule.
// applied is what really changed, as Put and Delete with whole objects, in the
// order of changes; behind them come the Dynamic records that gave way to Static
// ones of their CA, and to virtual subnets that have no room for them any more (A17).
// err joins Faults, whose Index is that of the change.
func (b *Book) Apply(changes []Change) (applied []Change, err error) {
	t := trip{book: b, changes: changes}
	if err := t.run(); err != nil {
		b.undo(t.done)
		return nil, err
	}
	if b.group {
		b.journal = append(b.journal, t.done...)
	}
	return t.applied, nil
}

// Check answers as Apply would and leaves the Book as it was. It changes it for
// a moment, so it is for the goroutine that may Apply.
func (b *Book) Check(changes []Change) (applied []Change, err error) {
	t := trip{book: b, changes: changes}
	err = t.run()
	b.undo(t.done)
	if err != nil {
		return nil, err
	}
	return t.applied, nil
}

// Begin starts a group of Apply calls which Rollback can take back, for when
// storing them fails; End closes the group and lets them stand.
func (b *Book) Begin() { b.group = true }

// Rollback takes back every Apply since Begin and closes the group.
func (b *Book) Rollback() {
	b.undo(b.journal)
	b.End()
}

// End closes the group that Begin opened.
func (b *Book) End() { b.group, b.journal = false, nil }

// step is one object taking the place of another; nil is none.
type step struct {
	from, to Object
	index    int // of the change
}

func (s *step) kind() Kind {
	if s.to != nil {
		return s.to.Kind()
	}
	return s.from.Kind()
}

func (b *Book) undo(steps []step) {
	for _, s := range slices.Backward(steps) {
		b.swap(s.to, s.from)
	}
}

// trip is one Apply on its way:
//  1. read: each change by itself, its verb and its object;
//  2. change: the Book changes, in an order in which what must be unique and
//     what is counted comes out right whatever the order of changes;
//  3. check: each change against what there is now, and those that refer to it
//     against the change; nothing else can have become wrong.
//
// If there was a fault, who called takes back what was done.
type trip struct {
	judge
	book    *Book
	changes []Change
	applied []Change

	plan []step // one for each object that changes
	done []step // what the Book went through

	// The change that each object is in, if there is more than one change;
	// complemented once that change turns out to change nothing.
	keys map[Key]int
	ids  map[place]int // of lookup records

	// What faulty changes would have brought: those who refer to it are not to
	// blame.
	dueSubnet map[VSID]bool
	duePort   map[string]bool
	dueLink   map[string]bool // PAs of a port
}

func (t *trip) run() error {
	t.read()
	t.change()
	t.check()
	return t.err()
}

// identity is the field and the rule that say which object it is.
var identity = [numKinds]struct{ field, rule string }{
	KindGlobal:          {"use_external_router", "C5"},
	KindPort:            {"name", "P1"},
	KindProviderAddress: {"address", "P13"},
	KindProviderRoute:   {"prefix", "P16"},
	KindVirtualSubnet:   {"vsid", "P3"},
	KindCustomerRoute:   {"prefix", "P8"},
	KindLookupRecord:    {"ca", "P6"},
}

func (t *trip) read() {
	t.plan = make([]step, 0, len(t.changes))
	t.applied = make([]Change, 0, len(t.changes))
	for i := range t.changes {
		c := &t.changes[i]
		switch o := c.Object.(type) {
		case LookupRecord:
			t.at(KindLookupRecord, i)
			t.readRecord(c, &o)
		case Global, Port, ProviderAddress, ProviderRoute, VirtualSubnet, CustomerRoute:
			t.at(o.Kind(), i)
			t.readObject(c)
		default:
			t.at(0, i)
			t.fault("kind", "API", "%T is no object of policy", o)
		}
		if t.bad {
			t.excuse(c.Object)
		}
	}
}

// readRecord is readObject without making a Key or an Object, since there may
// be a million.
func (t *trip) readRecord(c *Change, r *LookupRecord) {
	id := identityOf(r.VSID, r.CA, r.MAC)
	if len(t.changes) > 1 && id.six != noAddr {
		if t.ids == nil {
			t.ids = make(map[place]int, len(t.changes)-t.index)
		}
		if first, twice := t.ids[id]; twice {
			t.twice(first, c.Object)
			return
		}
		t.ids[id] = t.index
	}
	n := t.book.records.find(id)
	gives := n != 0 && c.Verb != Delete && r.Type == Static && t.book.records.slot(n).typ == Dynamic // A17
	if !t.verb(c, n != 0 && !(gives && c.Verb == Add)) {
		return
	}
	if c.Verb != Delete {
		if t.record(r); t.bad {
			return
		}
	}
	if n == 0 {
		t.plan = append(t.plan, step{nil, c.Object, t.index})
		t.applied = append(t.applied, Change{Put, c.Object})
		return
	}
	old := t.book.records.record(n)
	if c.Verb == Delete {
		t.replace(old, nil)
	} else if old.Type != r.Type && !gives {
		t.fault("type", "P5", "a record stays %v for life: delete it and add it anew", old.Type)
	} else if old != *r {
		t.replace(old, c.Object)
	} else if t.ids != nil {
		t.ids[id] = ^t.index
	}
}

func (t *trip) readObject(c *Change) {
	k := c.Object.Key()
	if len(t.changes) > 1 {
		if t.keys == nil {
			t.keys = map[Key]int{}
		}
		if first, twice := t.keys[k]; twice {
			t.twice(first, c.Object)
			return
		}
		t.keys[k] = t.index
	}
	old, exists := t.book.Get(k)
	if !t.verb(c, exists) {
		return
	}
	to := c.Object
	switch o := to.(type) {
	case Global:
		if c.Verb == Delete {
			t.fault("use_external_router", "C5", "the settings of the host cannot be deleted")
		}
	case Port:
		if c.Verb != Delete {
			t.port(&o)
		}
	case ProviderAddress:
		if c.Verb != Delete {
			t.providerAddress(&o)
		}
	case ProviderRoute:
		if c.Verb != Delete {
			t.providerRoute(&o)
		}
	case VirtualSubnet:
		if c.Verb != Delete {
			t.subnet(&o)
			o.Prefixes, o.DNS = slices.Clone(o.Prefixes), slices.Clone(o.DNS)
			to = o
		}
	case CustomerRoute:
		if c.Verb != Delete {
			t.customerRoute(&o)
		}
	}
	switch {
	case t.bad:
	case c.Verb == Delete:
		t.replace(old, nil)
	case !Equal(old, to):
		t.replace(old, to)
	case t.keys != nil:
		t.keys[k] = ^t.index
	}
}

// replace plans to put to in the place of from, unless the host's file says
// from.
func (t *trip) replace(from, to Object) {
	if from != nil && len(t.book.pinned) > 0 && t.book.Pinned(from.Key()) {
		t.cause(ErrPinned, identity[t.kind].field, "host file", "%s is in the host's file: change it there", name(from))
		return
	}
	t.plan = append(t.plan, step{from, to, t.index})
	if to == nil {
		t.applied = append(t.applied, Change{Delete, from})
	} else {
		t.applied = append(t.applied, Change{Put, to})
	}
}

// Equal says whether two objects are the same in every field; nil equals nil alone. A
// VirtualSubnet has a slice, so that == on two of them panics.
func Equal(a, b Object) bool {
	if x, ok := a.(VirtualSubnet); ok {
		y, ok := b.(VirtualSubnet)
		return ok && x.VSID == y.VSID && x.RDID == y.RDID && x.Mode == y.Mode && slices.Equal(x.Prefixes, y.Prefixes) &&
			x.DHCP == y.DHCP && slices.Equal(x.DNS, y.DNS)
	}
	return a == b // of different types, also without a panic
}

// verb says whether the change may be made of what exists.
func (t *trip) verb(c *Change, exists bool) bool {
	id := identity[t.kind]
	switch {
	case c.Verb < Add || c.Verb > Delete:
		t.fault("verb", "API", "%d is no verb", c.Verb)
	case c.Verb == Add && exists:
		t.cause(ErrExists, id.field, id.rule, "%s exists already", name(c.Object))
	case (c.Verb == Replace || c.Verb == Delete) && !exists:
		t.cause(ErrNotFound, id.field, id.rule, "%s does not exist", name(c.Object))
	}
	return !t.bad
}

func (t *trip) twice(first int, o Object) {
	first = max(first, ^first)
	t.fault(identity[t.kind].field, identity[t.kind].rule, "%s is in change %d already", name(o), first)
}

// changed says whether the object is judged as one that the set changes.
func changed[K comparable](in map[K]int, k K) bool {
	index, ok := in[k]
	return ok && index >= 0
}

// excuse those who refer to what a faulty change would have brought.
func (t *trip) excuse(o Object) {
	switch o := o.(type) {
	case VirtualSubnet:
		mark(&t.dueSubnet, o.VSID)
	case Port:
		mark(&t.duePort, o.Name)
	case ProviderAddress:
		mark(&t.dueLink, o.Port)
	}
}

func mark[K comparable](m *map[K]bool, k K) {
	if *m == nil {
		*m = map[K]bool{}
	}
	(*m)[k] = true
}

func (t *trip) do(from, to Object) {
	t.book.swap(from, to)
	t.done = append(t.done, step{from: from, to: to})
}

// change takes out what is unique by more than its Key before it puts anything
// in: two ports may swap their MACs, a CA may go to another MAC. Records leave
// before and enter after their virtual subnets change, since PAs count their
// users by mode; those that stay are counted anew when it does.
func (t *trip) change() {
	t.done = make([]step, 0, len(t.plan))
	var others bool
	for i := range t.plan {
		s := &t.plan[i]
		switch k := s.kind(); {
		case k != KindLookupRecord && k != KindPort:
			others = true
		case s.from != nil && (k == KindPort || s.to == nil):
			t.do(s.from, nil)
		}
	}
	if others {
		for _, s := range t.plan {
			if k := s.kind(); k != KindLookupRecord && k != KindPort {
				t.do(s.from, s.to)
			}
		}
	}
	for i := range t.plan {
		s := &t.plan[i]
		switch o := s.to.(type) {
		case LookupRecord:
			if s.from != nil {
				t.do(s.from, s.to)
				continue
			}
			n := t.book.records.at.find(identityOf(o.VSID, o.CA, o.MAC).place())
			if n != 0 && !(o.Type == Static && t.giveWay(n)) {
				t.at(KindLookupRecord, s.index)
				t.cause(ErrExists, "ca", "P6", "%s already has the CA", name(t.book.records.record(n)))
				continue
			}
			t.do(nil, s.to)
		case Port:
			if k, taken := t.book.vnics[vnic{o.VSID, o.MAC}]; taken && o.vnic() {
				t.at(KindPort, s.index)
				t.cause(ErrExists, "mac", "P1", "%s already has MAC %v in VSID %d", name(t.book.ports[k]), o.MAC, o.VSID)
				t.excuse(o)
				continue
			}
			t.do(nil, s.to)
		}
	}
	for i := range t.plan {
		vs, is := t.plan[i].to.(VirtualSubnet)
		old, was := t.plan[i].from.(VirtualSubnet)
		if is && was && (old.Mode != vs.Mode || !slices.Equal(old.Prefixes, vs.Prefixes)) {
			t.makeRoom(&vs)
		}
	}
}

// makeRoom takes out the records that were only learned, that the set says nothing of,
// and that a virtual subnet, having changed, has no room for: no guest decides what
// becomes of a subnet (A17).
func (t *trip) makeRoom(vs *VirtualSubnet) {
	var learned []LookupRecord
	for n := range t.book.records.in(vs.VSID) {
		if t.book.records.slot(n).typ != Dynamic {
			continue
		}
		r := t.book.records.record(n)
		if _, named := t.ids[identityOf(r.VSID, r.CA, r.MAC)]; named || len(t.book.pinned) > 0 && t.book.Pinned(r.Key()) {
			continue
		}
		j := judge{externalRouter: t.book.global.UseExternalRouter}
		j.at(KindLookupRecord, 0)
		if j.recordIn(&r, vs); j.bad {
			learned = append(learned, r)
		}
	}
	slices.SortFunc(learned, func(a, b LookupRecord) int { return cmp.Compare(a.Key(), b.Key()) })
	for _, r := range learned {
		t.do(r, nil)
		t.applied = append(t.applied, Change{Delete, r})
	}
}

// giveWay takes out the record in slot n, which has the CA of a Static one that
// comes, if it was only learned (A17) and the set says nothing of it.
func (t *trip) giveWay(n uint32) bool {
	r := t.book.records.record(n)
	if _, named := t.ids[identityOf(r.VSID, r.CA, r.MAC)]; named || r.Type != Dynamic || len(t.book.pinned) > 0 && t.book.Pinned(r.Key()) {
		return false
	}
	t.do(r, nil)
	t.applied = append(t.applied, Change{Delete, r})
	return true
}

func (t *trip) check() {
	t.externalRouter = t.book.global.UseExternalRouter
	var edges bool             // a port that is no VM's changes
	var losing map[string]bool // ports whose routes were looked at for a lost PA
	for i := range t.plan {
		s := &t.plan[i]
		k := s.kind()
		t.at(k, s.index)
		switch k {
		case KindGlobal:
			if s.from.(Global).UseExternalRouter && !t.externalRouter {
				t.checkRouters()
			}
		case KindPort:
			t.checkPort(s)
			edges = edges || s.edge()
		case KindProviderAddress:
			if a, ok := s.to.(ProviderAddress); ok {
				t.onUplink(a.Port)
			}
			if a, ok := s.from.(ProviderAddress); ok && !losing[a.Port] {
				mark(&losing, a.Port)
				t.checkLost(a)
			}
		case KindProviderRoute:
			if r, ok := s.to.(ProviderRoute); ok {
				t.onUplink(r.Port)
				if !t.dueLink[r.Port] && !t.book.uplinks[r.Port].reaches(r.NextHop) {
					t.offLink(&r)
				}
			}
		case KindVirtualSubnet:
			t.checkSubnet(s)
		case KindCustomerRoute:
			if r, ok := s.to.(CustomerRoute); ok && !t.dueSubnet[r.VSID] {
				if vs, ok := t.book.subnets[r.VSID]; ok {
					t.customerRouteIn(&r, &vs)
				} else {
					t.noSubnet(r.VSID)
				}
			}
		case KindLookupRecord:
			if r, ok := s.to.(LookupRecord); ok && !t.dueSubnet[r.VSID] {
				t.checkRecord(&r)
			}
		}
	}
	if edges {
		t.checkHosts()
	}
}

// edge says whether the step is of a port that was or is no VM's.
func (s *step) edge() bool {
	from, was := s.from.(Port)
	to, is := s.to.(Port)
	return was && from.Role != VM || is && to.Role != VM
}

// checkRouters looks for a VM that has a router CA, now that paca is the router
// again (L18, P20).
func (t *trip) checkRouters() {
	b := t.book
	for _, v := range slices.Sorted(maps.Keys(b.subnets)) {
		for _, p := range b.subnets[v].Prefixes {
			ca, ok := RouterCA(p)
			if !ok {
				continue
			}
			r, taken := b.Holder(v, ca)
			if taken && !r.Router() && !changed(t.ids, identityOf(v, ca, r.MAC)) {
				t.cause(ErrInUse, "use_external_router", "L18", "%s has the address of the router of %v, which only an external router may", name(r), p)
				return
			}
		}
	}
}

// checkHosts sees that every host port carries one uplink's other traffic, and
// none of them the same as another (W20). To blame is the host port if the set
// changes it, else the first change of another port that is no VM's.
func (t *trip) checkHosts() {
	b := t.book
	index := map[string]int{} // of the change
	first, field := -1, "role"
	for i := range t.plan {
		s := &t.plan[i]
		if s.kind() != KindPort || !s.edge() {
			continue
		}
		if first < 0 {
			if first = s.index; s.to == nil {
				field = "name"
			}
		}
		if p, ok := s.to.(Port); ok {
			index[p.Name] = s.index
		}
	}
	var uplinks, standing, fresh []string
	for _, name := range slices.Sorted(maps.Keys(b.edges)) {
		_, changes := index[name]
		switch {
		case b.edges[name] == Uplink:
			uplinks = append(uplinks, name)
		case changes:
			fresh = append(fresh, name)
		default:
			standing = append(standing, name)
		}
	}
	of := map[string]string{}                         // host ports by what they carry
	for _, host := range append(standing, fresh...) { // so that a new one is told of what stands
		p := b.ports[Port{Name: host}.Key()]
		carries := p.carries(uplinks)
		other, twice := of[carries]
		if carries != "" && !twice {
			of[carries] = host
			continue
		}
		if carries == "" && (t.duePort[p.Uplink] || p.Uplink == "" && len(t.duePort) > 0) {
			continue
		}
		problem := p.astray(uplinks)
		if carries != "" {
			problem = fmt.Sprintf("port %q already carries the other traffic of uplink %q", other, carries)
		}
		if at, ok := index[host]; ok {
			t.at(KindPort, at)
			t.fault("uplink", "W20", "%s", problem)
		} else {
			t.at(KindPort, first)
			t.cause(ErrInUse, field, "W20", "%s would be left: %s", name(p), problem)
		}
	}
}

func (t *trip) onUplink(name string) {
	if !t.duePort[name] {
		p, exists := t.book.ports[Port{Name: name}.Key()]
		t.uplink(name, p, exists)
	}
}

// checkPort sees who is left behind when an uplink is one no more.
func (t *trip) checkPort(s *step) {
	old, _ := s.from.(Port)
	p, stays := s.to.(Port)
	u := t.book.uplinks[old.Name]
	if s.from == nil || stays && p.Role == Uplink || u == nil {
		return
	}
	var first Key
	for k := range u.routes {
		if first == "" || k < first {
			first = k
		}
	}
	for k, a := range t.book.addresses {
		if a.Port == old.Name && (first == "" || k < first) {
			first = k
		}
	}
	user, _ := t.book.Get(first)
	field := "name"
	if stays {
		field = "role"
	}
	t.cause(ErrInUse, field, "P13", "%s needs port %q as an uplink", name(user), old.Name)
}

// checkLost sees which provider routes hung on a PA that left, or left its link
// (P16).
func (t *trip) checkLost(a ProviderAddress) {
	u := t.book.uplinks[a.Port]
	if u == nil || t.dueLink[a.Port] {
		return
	}
	for _, k := range slices.Sorted(maps.Keys(u.routes)) {
		if !changed(t.keys, k) && !u.reaches(t.book.providerRoutes[k].NextHop) {
			t.cause(ErrInUse, "address", "P16", "%s would be on no link", name(t.book.providerRoutes[k]))
			return
		}
	}
}

func (t *trip) checkSubnet(s *step) {
	b := t.book
	old, _ := s.from.(VirtualSubnet)
	vs, stays := s.to.(VirtualSubnet)
	if !stays {
		if first := b.records.bySubnet[old.VSID].first; first != 0 {
			t.cause(ErrInUse, "vsid", "P3", "%s is in it", name(b.records.record(first)))
		} else if in := b.routesOf[old.VSID]; len(in) > 0 {
			t.cause(ErrInUse, "vsid", "P3", "%s leads to it", name(b.routes[slices.Min(slices.Collect(maps.Keys(in)))]))
		}
		return
	}
	// What was disjoint before can only overlap with something new, and if
	// anything overlaps, then also two neighbours in this order, one of them new.
	in := b.onLink[vs.RDID]
	for _, p := range vs.Prefixes {
		at, _ := slices.BinarySearchFunc(in, onLink{p, vs.VSID}, onLink.compare)
		if at > 0 && in[at-1].prefix.Overlaps(p) {
			t.overlap(p, in[at-1].prefix, in[at-1].vsid)
		}
		if at+1 < len(in) && in[at+1].prefix.Overlaps(p) {
			t.overlap(p, in[at+1].prefix, in[at+1].vsid)
		}
	}
	if s.from == nil {
		return
	}
	if old.RDID != vs.RDID {
		for _, k := range slices.Sorted(maps.Keys(b.routesOf[vs.VSID])) {
			if !changed(t.keys, k) {
				t.cause(ErrInUse, "rdid", "P3", "%s leads to it", name(b.routes[k]))
				break
			}
		}
	}
	if old.Mode != vs.Mode || !slices.Equal(old.Prefixes, vs.Prefixes) {
		t.checkRecordsIn(&vs)
	}
}

// checkRecordsIn looks for a record that was there before and that a virtual
// subnet, having changed, has no room for.
func (t *trip) checkRecordsIn(vs *VirtualSubnet) {
	for n := range t.book.records.in(vs.VSID) {
		r := t.book.records.record(n)
		if changed(t.ids, identityOf(r.VSID, r.CA, r.MAC)) {
			continue
		}
		j := trip{book: t.book}
		j.externalRouter = t.externalRouter
		j.at(KindLookupRecord, 0)
		j.recordIn(&r, vs)
		j.alone(&r)
		for _, f := range Faults(j.err()) {
			t.cause(ErrInUse, "vsid", f.Rule, "%s: %s: %s", name(r), f.Field, f.Problem)
			return
		}
	}
}

func (t *trip) checkRecord(r *LookupRecord) {
	vs, ok := t.book.subnets[r.VSID]
	if !ok {
		t.noSubnet(r.VSID)
		return
	}
	t.recordIn(r, &vs)
	t.alone(r)
}

// alone checks that a record shares its PA with none if one of them is
// rewritten (R6).
func (t *trip) alone(r *LookupRecord) {
	users := t.book.records.usersOf(r.PA)
	if users.rewrite == 0 || users.count < 2 || r.Router() {
		return
	}
	n := t.book.records.find(identityOf(r.VSID, r.CA, r.MAC))
	if n != 0 {
		t.sharedPA(r.PA, name(t.book.records.record(t.book.records.neighbor(n))))
	}
}
