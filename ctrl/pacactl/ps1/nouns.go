package ps1

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"paca/dataplane/packet"
	"paca/dataplane/policy"
)

// noun is what the NetWNV cmdlets are about, with the table of spec section C.
type noun struct {
	name    string // behind "NetVirtualization", and in messages
	kind    policy.Kind
	columns []column
	values  func(*item) []value // of the columns; nil where diagnostic
	object  func(vals []value) (policy.Object, policy.Mode, error)
}

// column is one property and the parameters of its name.
type column struct {
	name    string
	convert convert // nil: a diagnostic, which policy does not hold
	new     use
	set     use
}

type use uint8

const (
	never use = iota
	optional
	required
	selector // chooses which objects Set- changes
	fresh    // what Set- changes them to
)

func (c *column) diagnostic() bool { return c.convert == nil }

// column is the index of a property, or -1.
func (n *noun) column(name string) int {
	return slices.IndexFunc(n.columns, func(c column) bool {
		return strings.EqualFold(c.name, name) || c.name == "InterfaceIndex" && strings.EqualFold(name, "ifIndex")
	})
}

// describe is an object as Get- shows it.
func (n *noun) describe(it *item) string {
	var names, values []string
	for i, v := range n.values(it) {
		if v == nil {
			continue
		}
		s, _ := text(v)
		names, values = append(names, n.columns[i].name), append(values, s)
	}
	return lined(names, values)
}

// C1
var lookupRecord = noun{
	name: "LookupRecord", kind: policy.KindLookupRecord,
	columns: []column{
		{"CustomerAddress", address, required, selector},
		{"VirtualSubnetID", vsid, required, selector},
		{"MACAddress", mac, required, selector},
		{"ProviderAddress", address, required, fresh},
		{"Rule", rule, required, fresh},
		{"CustomerID", label, optional, fresh},
		{"Context", label, optional, fresh},
		{"VMName", label, optional, fresh},
		{"UseVmMACAddress", boolean, optional, fresh},
		{"Type", recordType, optional, never},
		{"Unusable", nil, never, never},
		{"Unsynchronized", nil, never, never},
	},
	values: func(it *item) []value {
		r := it.obj.(policy.LookupRecord)
		return []value{r.CA, r.VSID, r.MAC, r.PA, it.rule, r.CustomerID, r.Context, r.VMName, r.UseVMMAC, r.Type, nil, nil}
	},
	object: func(v []value) (policy.Object, policy.Mode, error) {
		r := policy.LookupRecord{CA: v[0].(netip.Addr), VSID: v[1].(policy.VSID), MAC: v[2].(packet.MAC), PA: v[3].(netip.Addr)}
		mode := v[4].(policy.Mode)
		r.CustomerID, _ = v[5].(string)
		r.Context, _ = v[6].(string)
		r.VMName, _ = v[7].(string)
		r.UseVMMAC, _ = v[8].(bool)
		typed := v[9] != nil
		if r.Type, _ = v[9].(policy.RecordType); !typed && r.CA.IsUnspecified() {
			r.Type = policy.GatewayWildcard // what the address alone says in the release without types (G3)
		}
		wildcard := r.Type == policy.GatewayWildcard || r.Type == policy.L2Only
		switch {
		case !r.VSID.Valid():
			return nil, 0, fmt.Errorf("-VirtualSubnetID: %s", reserved(r.VSID))
		case r.UseVMMAC && mode != policy.Rewrite:
			return nil, 0, errors.New("-UseVmMACAddress: true goes with -Rule TranslationMethodNat only (P24)")
		case wildcard != r.CA.IsUnspecified():
			return nil, 0, fmt.Errorf("-CustomerAddress: %v does not go with -Type %s; GatewayWildcard and L2Only have 0.0.0.0 or ::, others do not (C1.1)", r.CA, typeNames[r.Type])
		}
		return r, mode, nil
	},
}

// C2
var customerRoute = noun{
	name: "CustomerRoute", kind: policy.KindCustomerRoute,
	columns: []column{
		{"RoutingDomainID", guid, required, selector},
		{"VirtualSubnetID", vsid, required, selector},
		{"DestinationPrefix", prefix, required, selector},
		{"NextHop", address, required, selector},
		{"Metric", uint32s, optional, fresh},
	},
	values: func(it *item) []value {
		r := it.obj.(policy.CustomerRoute)
		return []value{r.RDID, r.VSID, r.Prefix, r.NextHop, r.Metric}
	},
	object: func(v []value) (policy.Object, policy.Mode, error) {
		r := policy.CustomerRoute{RDID: v[0].(policy.RDID), VSID: v[1].(policy.VSID), Prefix: v[2].(netip.Prefix), NextHop: v[3].(netip.Addr), Metric: 255} // P12
		if v[4] != nil {
			r.Metric = v[4].(uint32)
		}
		switch {
		case !r.VSID.Valid():
			return nil, 0, fmt.Errorf("-VirtualSubnetID: %s", reserved(r.VSID))
		case r.RDID == policy.RDID{}:
			return nil, 0, errors.New("-RoutingDomainID: a routing domain is not the zero GUID (P3)")
		}
		return r, 0, checkRoute(r.Prefix, r.NextHop)
	},
}

// C3
var providerAddress = noun{
	name: "ProviderAddress", kind: policy.KindProviderAddress,
	columns: []column{
		{"ProviderAddress", address, required, selector},
		{"InterfaceIndex", index, required, selector},
		{"PrefixLength", byte8, required, fresh},
		{"VlanID", uint16s, optional, fresh},
		{"MACAddress", mac, optional, fresh},
		{"AddressState", nil, never, selector},
		{"ManagedByCluster", nil, never, never},
	},
	values: func(it *item) []value {
		a := it.obj.(policy.ProviderAddress)
		return []value{a.Prefix.Addr(), uplink(a.Port), uint8(a.Prefix.Bits()), a.VLAN, a.MAC, nil, nil}
	},
	object: func(v []value) (policy.Object, policy.Mode, error) {
		pa, bits := v[0].(netip.Addr), int(v[2].(uint8))
		a := policy.ProviderAddress{Prefix: netip.PrefixFrom(pa, bits), Port: string(v[1].(uplink))}
		a.VLAN, _ = v[3].(uint16)
		a.MAC, _ = v[4].(packet.MAC)
		if !a.Prefix.IsValid() {
			return nil, 0, fmt.Errorf("-PrefixLength: %v cannot have %d", pa, bits)
		}
		return a, 0, nil
	},
}

// C4
var providerRoute = noun{
	name: "ProviderRoute", kind: policy.KindProviderRoute,
	columns: []column{
		{"InterfaceIndex", index, required, selector},
		{"DestinationPrefix", prefix, required, selector},
		{"NextHop", address, required, selector},
		{"Metric", uint32s, optional, fresh},
	},
	values: func(it *item) []value {
		r := it.obj.(policy.ProviderRoute)
		return []value{uplink(r.Port), r.Prefix, r.NextHop, r.Metric}
	},
	object: func(v []value) (policy.Object, policy.Mode, error) {
		r := policy.ProviderRoute{Port: string(v[0].(uplink)), Prefix: v[1].(netip.Prefix), NextHop: v[2].(netip.Addr)}
		r.Metric, _ = v[3].(uint32)
		return r, 0, checkRoute(r.Prefix, r.NextHop)
	},
}

// C5
var global = noun{
	name: "Global", kind: policy.KindGlobal,
	columns: []column{{"UseExternalRouter", boolean, never, fresh}},
	values:  func(it *item) []value { return []value{it.obj.(policy.Global).UseExternalRouter} },
	object: func(v []value) (policy.Object, policy.Mode, error) {
		return policy.Global{UseExternalRouter: v[0].(bool)}, 0, nil
	},
}

func checkRoute(p netip.Prefix, nextHop netip.Addr) error {
	switch {
	case p != p.Masked():
		return fmt.Errorf("-DestinationPrefix: %v has bits set behind its length; write %v", p, p.Masked())
	case p.Addr().Is4() != nextHop.Is4():
		return fmt.Errorf("-NextHop: %v is not a next hop for %v", nextHop, p)
	}
	return nil
}

// netWNV is the module's 19 cmdlets (C1 to C6).
func netWNV() []cmdlet {
	const module = "NetVirtualization"
	input := []param{{name: "InputObject", convert: anything, many: true}, {name: "PassThru"}}
	var all []cmdlet
	for _, n := range []*noun{&lookupRecord, &customerRoute, &providerAddress, &providerRoute, &global} {
		var made, filters, sets []param
		for _, c := range n.columns {
			p := param{name: c.name, convert: c.convert}
			if c.diagnostic() {
				p.convert, p.refuse = anything, "it is a state of the host, not policy; pacactl shows it"
			}
			if c.new != never {
				p.required = c.new == required
				made = append(made, p)
			}
			p.required, p.many = false, true
			filters = append(filters, p)
			if c.set != never {
				p.many = c.set == selector
				sets = append(sets, p)
			}
		}
		if n != &global {
			all = append(all,
				cmdlet{name: "New-" + module + n.name, params: slices.Concat(made, cim, careful), run: func(c *call) value { return c.create(n) }},
				cmdlet{name: "Remove-" + module + n.name, params: slices.Concat(filters, input, cim, careful), input: true, run: func(c *call) value { return c.remove(n) }},
			)
		}
		all = append(all,
			cmdlet{name: "Get-" + module + n.name, params: slices.Concat(filters, cim), run: func(c *call) value { return c.get(n) }},
			cmdlet{name: "Set-" + module + n.name, params: slices.Concat(sets, input, cim, careful), input: true, run: func(c *call) value { return c.change(n) }},
		)
	}
	return append(all, cmdlet{name: "Select-" + module + "NextHop", run: selectNextHop, params: slices.Concat([]param{
		{name: "SourceCustomerAddress", convert: address, position: 1},
		{name: "DestinationCustomerAddress", convert: address, position: 2, required: true},
		{name: "SourceVirtualSubnetID", convert: vsid, position: 3, required: true},
	}, cim, careful)})
}

// create is New-.
func (c *call) create(n *noun) value {
	vals := make([]value, len(n.columns))
	for i, col := range n.columns {
		vals[i] = c.args[col.name]
	}
	obj, mode, err := n.object(vals)
	if err == nil {
		var it *item
		it, err = c.r.state.add(obj, mode, c.line)
		switch {
		case errors.Is(err, errExists):
			c.fail("%v with other values; change it with Set-NetVirtualization%s", err, n.name)
		case err == nil:
			return &selection{noun: n, items: snapshots([]*item{it}), made: true}
		}
	}
	c.fail("%v", err)
	return nil
}

// get is Get-.
func (c *call) get(n *noun) value {
	filters := c.filters(n, func(*column) bool { return true })
	return &selection{noun: n, items: snapshots(c.r.state.find(n, filters)), all: filters == nil}
}

func snapshots(items []*item) []snapshot {
	all := make([]snapshot, len(items))
	for i, it := range items {
		all[i] = snapshot{*it, it}
	}
	return all
}

// filters is what the arguments ask of the columns that choose: for each column
// any of the values; nil if there are none at all.
func (c *call) filters(n *noun, chooses func(*column) bool) []map[value]bool {
	var filters []map[value]bool
	for i := range n.columns {
		wanted, ok := c.args[n.columns[i].name].([]value)
		if !ok || !chooses(&n.columns[i]) {
			continue
		}
		if filters == nil {
			filters = make([]map[value]bool, len(n.columns))
		}
		filters[i] = make(map[value]bool, len(wanted))
		for _, w := range wanted {
			filters[i][folded(w)] = true
		}
	}
	return filters
}

// change is Set-.
func (c *call) change(n *noun) value {
	var fresher []int
	for i := range n.columns {
		if n.columns[i].set == fresh && c.has(n.columns[i].name) {
			fresher = append(fresher, i)
		}
	}
	if fresher == nil {
		c.fail("says nothing to change")
	}
	chosen := c.chosen(n, func(col *column) bool { return col.set == selector })
	for _, it := range chosen {
		vals := n.values(it)
		for _, i := range fresher {
			vals[i] = c.args[n.columns[i].name]
		}
		obj, mode, err := n.object(vals)
		if err != nil {
			c.fail("%v", err)
		}
		c.r.state.set(it, obj, mode, c.line)
	}
	if !c.on("PassThru") {
		return nil
	}
	return &selection{noun: n, items: snapshots(chosen)}
}

// remove is Remove-.
func (c *call) remove(n *noun) value {
	chosen := c.chosen(n, func(*column) bool { return true })
	gone := &selection{noun: n, items: snapshots(chosen)}
	for _, it := range chosen {
		c.r.state.remove(it, c.line)
	}
	if !c.on("PassThru") {
		return nil
	}
	return gone
}

// chosen is the objects that Set- and Remove- are about. Where the original
// takes everything on the host for want of a choice, this stops.
func (c *call) chosen(n *noun, chooses func(*column) bool) []*item {
	filters := c.filters(n, chooses)
	given, ok := c.args["InputObject"].([]value)
	if c.piped {
		if ok {
			c.fail("takes objects from the pipe or -InputObject")
		}
		if ok = true; c.input != nil {
			given = flat(c.input)
		}
	}
	switch {
	case n == &global:
		return c.r.state.find(n, nil)
	case ok && filters != nil:
		c.fail("takes the objects it is given; a filter beside them is not understood")
	case ok:
		var all []*item
		for _, v := range given {
			s, ok := v.(*selection)
			if !ok || s.noun != n {
				c.fail("takes objects of Get-NetVirtualization%s only", n.name)
			}
			if s.all {
				c.everything(n, chooses)
			}
			for _, shot := range s.items {
				if shot.of.obj == nil {
					c.fail("line %d removed this %s", shot.of.line, n.name)
				}
				all = append(all, shot.of)
			}
		}
		return all
	case filters == nil:
		c.everything(n, chooses)
	}
	all := c.r.state.find(n, filters)
	if len(all) == 0 && !c.quiet() {
		c.fail("there is no such %s", n.name)
	}
	return all
}

// everything refuses what would mean all objects of a kind.
func (c *call) everything(n *noun, chooses func(*column) bool) {
	var by []string
	for i := range n.columns {
		if col := &n.columns[i]; chooses(col) && !col.diagnostic() {
			by = append(by, "-"+col.name)
		}
	}
	c.fail("this means every %s on the host, and is refused; choose by %s", n.name, strings.Join(by, ", "))
}

// selectNextHop is answered when the changes are in force (C6).
func selectNextHop(c *call) value {
	q := &NextHop{VSID: c.args["SourceVirtualSubnetID"].(policy.VSID), Dst: c.args["DestinationCustomerAddress"].(netip.Addr)}
	q.Src, _ = c.args["SourceCustomerAddress"].(netip.Addr)
	if !q.VSID.Valid() {
		c.fail("-SourceVirtualSubnetID: %s", reserved(q.VSID))
	}
	c.r.output = append(c.r.output, Output{Line: c.line, NextHop: q})
	return nil
}
