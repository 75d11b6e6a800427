package ps1

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"paca/dataplane/policy"
)

// maxOutput bounds what one script may show, in bytes, of which the shortest
// takes perOutput.
const (
	maxOutput = 16 << 20
	perOutput = 64
)

// maxSpent bounds the bytes of text and values of arrays that one script may
// make of others, however long it is.
const maxSpent = 4 << 20

// Translate understands script, whose name in messages is file. An error of the
// script is an *Error.
func Translate(file string, script []byte, env Env) (p *Program, err error) {
	r := &runner{file: file, state: newState(env.Objects), explicit: env.Uplink != "", vars: map[string]value{"true": true, "false": false, "null": nil}}
	if err := r.findUplinks(env.Uplink); err != nil {
		return nil, err
	}
	defer func() {
		switch e := recover().(type) {
		case nil:
		case *Error:
			p, err = nil, e
		default:
			panic(e)
		}
	}()
	body := parse(file, script)
	for i := range body {
		r.statement(&body[i], true)
	}
	r.settle()
	p = &Program{Output: r.output, file: file}
	r.state.changes(p)
	return p, nil
}

// runner does what statements say to a state.
type runner struct {
	file   string
	state  *state
	vars   map[string]value
	output []Output
	shown  int // bytes of output
	spent  int // on values made

	uplinks  []string
	uplink   string          // stands for adapters that no uplink is called after
	explicit bool            // the operator chose uplink
	foreign  map[bool]string // adapters bound to uplink so far: a name, a number
}

func (r *runner) fail(line int, format string, args ...any) { stop(r.file, line, format, args...) }

func (r *runner) show(line int, s string) {
	if r.shown += len(s) + perOutput; r.shown > maxOutput {
		r.fail(line, "more than %d MiB of output", maxOutput>>20)
	}
	r.output = append(r.output, Output{Line: line, Text: s})
}

func (r *runner) findUplinks(chosen string) error {
	for _, it := range r.state.items[policy.KindPort] {
		if p := it.obj.(policy.Port); p.Role == policy.Uplink {
			r.uplinks = append(r.uplinks, p.Name)
		}
	}
	r.foreign = map[bool]string{}
	r.uplink = chosen
	switch {
	case chosen == "" && len(r.uplinks) == 1:
		r.uplink = r.uplinks[0]
	case chosen != "" && !slices.Contains(r.uplinks, chosen):
		return fmt.Errorf("ps1: no uplink is called %q; there is %s", chosen, listed(r.uplinks))
	}
	return nil
}

func listed(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// bind finds the uplink that a network adapter's name, or # and its number,
// stands for. Two different adapters are not one uplink, unless the operator
// said so.
func (r *runner) bind(name string) (value, error) {
	for _, u := range r.uplinks {
		if strings.EqualFold(u, name) {
			return uplink(u), nil
		}
	}
	if r.uplink == "" {
		return nil, fmt.Errorf("which uplink is meant? This host has %s; choose one with --uplink", listed(r.uplinks))
	}
	isNumber := strings.HasPrefix(name, "#")
	if first := r.foreign[isNumber]; first != "" && name != "" && !strings.EqualFold(first, name) && !r.explicit {
		return nil, fmt.Errorf("adapter %s stands for uplink %s already, so %s must be another; choose one for both with --uplink", first, r.uplink, name)
	}
	if name != "" {
		r.foreign[isNumber] = name
	}
	return uplink(r.uplink), nil
}

// statement runs one; its value is shown if nobody takes it.
func (r *runner) statement(s *statement, shown bool) value {
	v := r.pipeline(s.pipe, s.line)
	switch {
	case s.assign != "":
		if _, fixed := fixedVariables[s.assign]; fixed {
			r.fail(s.line, "$%s cannot be set: %s", s.assign, fixedVariables[s.assign])
		}
		if v, ok := v.(*selection); ok {
			v.made = false
		}
		r.vars[s.assign] = v
		return nil
	case shown:
		r.showValue(s.line, v)
		return nil
	}
	return v
}

// fixedVariables would change what later lines do without being seen there.
var fixedVariables = map[string]string{
	"true": "it is a constant", "false": "it is a constant", "null": "it is a constant",
	"_": "it belongs to where", "psitem": "it belongs to where",
	"whatifpreference":           "use --dry-run",
	"confirmpreference":          "nothing is asked; use --dry-run to see what would be done",
	"psdefaultparametervalues":   "each line says its parameters itself",
	"psmoduleautoloadpreference": "modules have no use here",
}

func (r *runner) showValue(line int, v value) {
	switch v := v.(type) {
	case nil:
	case *selection:
		if !v.made {
			for i := range v.items {
				r.show(line, v.noun.describe(&v.items[i].item))
			}
		}
	case *vmAdapter:
		for _, it := range v.ports(r) {
			p := it.obj.(policy.Port)
			mac, _ := text(p.MAC)
			r.show(line, lined(
				[]string{"Name", "MacAddress", "VirtualSubnetId", "MacAddressSpoofing", "DhcpGuard", "RouterGuard", "DynamicIPAddressLimit"},
				[]string{p.Name, mac, fmt.Sprint(uint32(p.VSID)), onOffText(p.MACSpoofing), onOffText(p.DHCPGuard), onOffText(p.RouterGuard), fmt.Sprint(p.DynamicIPLimit)}))
		}
	case adapter:
		r.show(line, lined([]string{"Name"}, []string{v.name}))
	case []value:
		for _, e := range v {
			r.showValue(line, e)
		}
	default:
		s, err := text(v)
		if err != nil {
			r.fail(line, "%v", err)
		}
		r.show(line, s)
	}
}

// lined writes properties one a line, as Format-List does.
func lined(names, values []string) string {
	width := 0
	for _, n := range names {
		width = max(width, len(n))
	}
	var b strings.Builder
	for i, n := range names {
		fmt.Fprintf(&b, "%-*s : %s\n", width, n, values[i])
	}
	return b.String()
}

func (r *runner) pipeline(p *pipeline, line int) value {
	var v value
	piped := false
	if p.head != nil {
		v, piped = r.eval(p.head), true
	}
	for _, c := range p.commands {
		v = r.command(c, v, piped)
		piped = true
	}
	return v
}

func (r *runner) eval(e expr) value {
	switch e := e.(type) {
	case *literal:
		return e.v
	case *variable:
		v, ok := r.vars[e.name]
		if !ok {
			r.fail(e.line, "$%s has no value", e.name)
		}
		return v
	case *interpolated:
		var b strings.Builder
		for _, part := range e.parts {
			s, err := text(r.eval(part))
			if err != nil {
				r.fail(e.line, "within a string: %v", err)
			}
			if b.WriteString(s); b.Len() > maxText {
				r.fail(e.line, "a string of more than %d bytes", maxText)
			}
			r.spend(e.line, len(s))
		}
		return b.String()
	case *list:
		all := []value{}
		for _, i := range e.items {
			if v := r.eval(i); v != nil {
				all = append(all, flat(v)...)
			}
			r.bound(e.line, all)
		}
		return all
	case *sub:
		var all []value
		for i := range e.body {
			if v := r.statement(&e.body[i], false); v != nil {
				all = append(all, flat(v)...)
			}
			r.bound(e.body[i].line, all)
		}
		switch len(all) {
		case 0:
			return nil
		case 1:
			return all[0]
		}
		return all
	case *table:
		h := &hash{keys: e.keys}
		for _, v := range e.values {
			h.values = append(h.values, r.eval(v))
		}
		return h
	case *property:
		v, err := r.property(r.eval(e.of), e.name)
		if err != nil {
			r.fail(e.line, ".%s: %v", e.name, err)
		}
		return v
	}
	return nil
}

// bound keeps arrays, and what is made of arrays in all, within reason.
func (r *runner) bound(line int, all []value) {
	if len(all) > maxList {
		r.fail(line, "an array of more than %d values", maxList)
	}
	r.spend(line, len(all))
}

func (r *runner) spend(line, n int) {
	if r.spent += n; r.spent > maxSpent {
		r.fail(line, "the script computes too much")
	}
}

// property is $of.name.
func (r *runner) property(of value, name string) (value, error) {
	switch of := of.(type) {
	case adapter:
		switch strings.ToLower(name) {
		case "interfaceindex", "ifindex":
			return of, nil
		case "name", "interfacealias", "ifalias":
			if of.name == "" {
				u, err := r.bind("")
				if err != nil {
					return nil, err
				}
				return text(u)
			}
			return of.name, nil
		}
		return nil, errors.New("a network adapter has Name and InterfaceIndex here, nothing else")
	case *vmAdapter:
		it, err := of.port(r)
		if err != nil {
			return nil, err
		}
		p := it.obj.(policy.Port)
		switch strings.ToLower(name) {
		case "macaddress":
			return p.MAC, nil
		case "virtualsubnetid":
			return p.VSID, nil
		case "macaddressspoofing":
			return onOffText(p.MACSpoofing), nil
		case "dhcpguard":
			return onOffText(p.DHCPGuard), nil
		case "routerguard":
			return onOffText(p.RouterGuard), nil
		case "dynamicipaddresslimit":
			return fmt.Sprint(p.DynamicIPLimit), nil
		case "name", "vmname":
			return p.Name, nil
		}
		return nil, errors.New("a VM's network adapter has Name, MacAddress, VirtualSubnetId, MacAddressSpoofing, DhcpGuard, RouterGuard and DynamicIPAddressLimit here, nothing else")
	case *selection:
		at := of.noun.column(name)
		if at < 0 || of.noun.columns[at].diagnostic() {
			return nil, fmt.Errorf("a %s has no such property here", of.noun.name)
		}
		if len(of.items) != 1 {
			return nil, fmt.Errorf("these are %d objects, and only one has a property", len(of.items))
		}
		return of.noun.values(&of.items[0].item)[at], nil
	case *hash:
		for i, k := range of.keys {
			if strings.EqualFold(k, name) {
				return of.values[i], nil
			}
		}
		return nil, errors.New("the table has no such key")
	}
	return nil, errors.New("this value has no properties here")
}
