package ps1

import (
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"

	"paca/dataplane/policy"
)

// item is one object as it was and as the script leaves it.
type item struct {
	obj, before policy.Object // nil: not there
	rule        policy.Mode   // of a lookup record
	prefix      bool          // an on-link route that is a prefix of its virtual subnet
	implied     bool          // a route that is there only as such a prefix (P11)
	line        int           // of the last change; 0: none
}

// state is policy while a script changes it.
type state struct {
	byKey   map[policy.Key]*item
	items   [policy.KindLookupRecord + 1][]*item // by kind, in order of appearance
	records map[policy.VSID][]*item
	cas     map[concreteCA]*item // P6
	touched map[policy.VSID]int  // the last line that says something about a virtual subnet
	order   []policy.VSID        // in which they were touched
}

type concreteCA struct {
	vsid policy.VSID
	ca   netip.Addr
}

// newState takes policy as it is. An on-link prefix of a virtual subnet is a
// customer route in HNV, so each is here, whether or not it is one in policy.
func newState(objects iter.Seq[policy.Object]) *state {
	s := &state{
		byKey:   map[policy.Key]*item{},
		records: map[policy.VSID][]*item{},
		cas:     map[concreteCA]*item{},
		touched: map[policy.VSID]int{},
	}
	if objects != nil {
		for o := range objects {
			s.put(&item{obj: o, before: o})
		}
	}
	if s.items[policy.KindGlobal] == nil {
		s.put(&item{obj: policy.Global{}, before: policy.Global{}})
	}
	for _, it := range s.items[policy.KindVirtualSubnet] {
		vs := it.obj.(policy.VirtualSubnet)
		for _, r := range s.records[vs.VSID] {
			r.rule = vs.Mode
		}
		for _, p := range vs.Prefixes {
			r := policy.CustomerRoute{RDID: vs.RDID, VSID: vs.VSID, Prefix: p, NextHop: unspecified(p), Metric: 255}
			if have := s.byKey[r.Key()]; have != nil {
				have.prefix = true
			} else {
				s.put(&item{obj: r, prefix: true, implied: true})
			}
		}
	}
	return s
}

func unspecified(p netip.Prefix) netip.Addr {
	if p.Addr().Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

func (s *state) put(it *item) {
	k := it.obj.Kind()
	s.byKey[it.obj.Key()] = it
	s.items[k] = append(s.items[k], it)
	if r, ok := it.obj.(policy.LookupRecord); ok {
		s.records[r.VSID] = append(s.records[r.VSID], it)
		s.cas[concreteCA{r.VSID, r.CA}] = it
	}
}

// touch notes that line says something about the virtual subnet of o.
func (s *state) touch(o policy.Object, line int) {
	var v policy.VSID
	switch o := o.(type) {
	case policy.LookupRecord:
		v = o.VSID
	case policy.CustomerRoute:
		v = o.VSID
	default:
		return
	}
	if s.touched[v] == 0 {
		s.order = append(s.order, v)
	}
	s.touched[v] = line
}

var errExists = errors.New("it is there already")

// add makes a new object. One that is there already, just so, stays as it is: a
// script may be run again.
func (s *state) add(o policy.Object, rule policy.Mode, line int) (*item, error) {
	it := s.byKey[o.Key()]
	if it != nil && it.obj != nil {
		record, isRecord := it.obj.(policy.LookupRecord)
		switch {
		case it.line > 0:
			return nil, fmt.Errorf("line %d has made it already", it.line)
		case isRecord && record.Router():
			return it, nil // whose PA is a dummy (P21)
		case it.obj == o && it.rule == rule:
			return it, nil
		}
		return nil, errExists
	}
	if r, ok := o.(policy.LookupRecord); ok && !r.CA.IsUnspecified() {
		if other := s.cas[concreteCA{r.VSID, r.CA}]; other != nil && other.obj != nil {
			return nil, fmt.Errorf("VSID %d has CA %v already, with MAC %v; remove that record first (P6)", r.VSID, r.CA, other.obj.(policy.LookupRecord).MAC)
		}
	}
	if it == nil {
		it = &item{obj: o}
		s.put(it)
	} else if r, ok := o.(policy.LookupRecord); ok {
		s.cas[concreteCA{r.VSID, r.CA}] = it
	}
	if r, ok := o.(policy.CustomerRoute); ok {
		it.prefix = it.prefix || r.NextHop.IsUnspecified()
	}
	s.set(it, o, rule, line)
	return it, nil
}

// set gives an object other values.
func (s *state) set(it *item, o policy.Object, rule policy.Mode, line int) {
	it.obj, it.rule, it.line, it.implied = o, rule, line, false
	s.touch(o, line)
}

func (s *state) remove(it *item, line int) {
	if it.obj == nil {
		return // twice in one selection
	}
	s.touch(it.obj, line)
	it.obj, it.line = nil, line
}

// find is the objects that have, in each column with a filter, one of its values.
func (s *state) find(n *noun, filters []map[value]bool) []*item {
	among := s.items[n.kind]
	if n == &lookupRecord && filters != nil && filters[1] != nil {
		among = nil
		for v := range filters[1] {
			among = append(among, s.records[v.(policy.VSID)]...)
		}
		if len(filters[1]) > 1 { // a map has no order
			slices.SortStableFunc(among, func(a, b *item) int { return a.vsid() - b.vsid() })
		}
	}
	var found []*item
next:
	for _, it := range among {
		if it.obj == nil {
			continue
		}
		if filters != nil {
			for i, v := range n.values(it) {
				if filters[i] != nil && !filters[i][folded(v)] {
					continue next
				}
			}
		}
		found = append(found, it)
	}
	return found
}

// vsid is a lookup record's, for sorting; gone ones have none.
func (it *item) vsid() int {
	r, _ := it.obj.(policy.LookupRecord)
	return int(r.VSID)
}

// settle gives each virtual subnet that the script spoke of what its records and
// routes say: the mode by the records' Rule, the routing domain and the prefixes
// by the routes.
func (r *runner) settle() {
	routes := map[policy.VSID][]*item{}
	for _, it := range r.state.items[policy.KindCustomerRoute] {
		if it.obj != nil {
			v := it.obj.(policy.CustomerRoute).VSID
			routes[v] = append(routes[v], it)
		}
	}
	for _, v := range r.state.order {
		r.settleSubnet(v, routes[v])
	}
}

func (r *runner) settleSubnet(v policy.VSID, routes []*item) {
	s := r.state
	last := s.touched[v]
	subnet := policy.VirtualSubnet{VSID: v}
	it := s.byKey[subnet.Key()]
	if it != nil {
		subnet = it.obj.(policy.VirtualSubnet)
	}
	records := slices.DeleteFunc(slices.Clone(s.records[v]), func(it *item) bool { return it.obj == nil })

	// The routing domain (P3) and the prefixes (P11), old ones first.
	var first *item
	onLink := map[netip.Prefix]bool{}
	for _, route := range routes {
		if route.prefix {
			onLink[route.obj.(policy.CustomerRoute).Prefix] = true
		}
	}
	subnet.Prefixes = slices.DeleteFunc(slices.Clone(subnet.Prefixes), func(p netip.Prefix) bool { return !onLink[p] })
	for _, route := range routes {
		c := route.obj.(policy.CustomerRoute)
		if first == nil {
			first = route
			subnet.RDID = c.RDID
		} else if f := first.obj.(policy.CustomerRoute); f.RDID != c.RDID {
			r.fail(max(first.line, route.line), "VSID %d is in one routing domain, not in %v and %v (P3)", v, f.RDID, c.RDID)
		}
		if route.prefix && !slices.Contains(subnet.Prefixes, c.Prefix) {
			subnet.Prefixes = append(subnet.Prefixes, c.Prefix)
		}
	}
	if len(subnet.Prefixes) == 0 {
		if len(records)+len(routes) > 0 {
			r.fail(last, "VSID %d needs an on-link route, New-NetVirtualizationCustomerRoute -NextHop 0.0.0.0 with its prefix (P11)", v)
		}
		if it != nil {
			it.obj, it.line = nil, last
		}
		return
	}

	// The mode (P22).
	r.routerRecords(subnet, records)
	var ruled *item
	for _, rec := range records {
		if o := rec.obj.(policy.LookupRecord); o.Router() && len(records) > 1 {
			continue // it goes nowhere, so its Rule says nothing
		}
		if ruled == nil {
			ruled = rec
			subnet.Mode = rec.rule
		} else if ruled.rule != rec.rule {
			if ruled.line > rec.line {
				ruled, rec = rec, ruled
			}
			where := "in force"
			if ruled.line > 0 {
				where = fmt.Sprintf("of line %d", ruled.line)
			}
			r.fail(rec.line, "VSID %d has one Rule: this is %s, the record %s is %s", v, ruleNames[rec.rule], where, ruleNames[ruled.rule])
		}
	}

	if it == nil {
		it = &item{obj: subnet}
		s.put(it)
	}
	s.set(it, subnet, 0, last)
}

// routerRecords finds records that give the distributed router its MAC: those
// of the router's CA. The PA in them is a dummy; where the script wrote one of
// this host, it becomes the one that says so (P21). With any other PA, and for a
// VM of this host, policy refuses the CA (P20).
func (r *runner) routerRecords(subnet policy.VirtualSubnet, records []*item) {
	for _, it := range records {
		o := it.obj.(policy.LookupRecord)
		if it.line == 0 || o.Router() || o.Type != policy.Static {
			continue
		}
		router := slices.ContainsFunc(subnet.Prefixes, func(p netip.Prefix) bool {
			ca, ok := policy.RouterCA(p)
			return ok && ca == o.CA
		})
		ours := slices.ContainsFunc(r.state.items[policy.KindProviderAddress], func(a *item) bool {
			return a.obj != nil && a.obj.(policy.ProviderAddress).Prefix.Addr() == o.PA
		})
		vm := slices.ContainsFunc(r.state.items[policy.KindPort], func(p *item) bool {
			port := p.obj.(policy.Port)
			return port.Role == policy.VM && port.VSID == o.VSID && port.MAC == o.MAC
		})
		if router && ours && !vm {
			o.PA, o.UseVMMAC = policy.RouterPA, false
			it.obj = o
		}
	}
}

// changes puts what differs from before into p. What refers to others goes
// before them and comes after them.
func (s *state) changes(p *Program) {
	emit := func(it *item, verb policy.Verb, o policy.Object) {
		p.Changes = append(p.Changes, policy.Change{Verb: verb, Object: o})
		p.lines = append(p.lines, it.line)
		p.before = append(p.before, it.before)
	}
	for _, items := range slices.Backward(s.items[:]) {
		for _, it := range items {
			if it.obj == nil && it.before != nil {
				emit(it, policy.Delete, it.before)
			}
		}
	}
	for _, items := range s.items {
		for _, it := range items {
			switch {
			case it.obj == nil || it.implied:
			case it.before == nil:
				emit(it, policy.Add, it.obj)
			case !policy.Equal(it.before, it.obj):
				emit(it, policy.Replace, it.obj)
			}
		}
	}
}
