package ps1

import (
	"fmt"
	"slices"
	"strings"

	"paca/dataplane/packet"
	"paca/dataplane/policy"
)

// cmdlet is a command with its parameters.
type cmdlet struct {
	name   string
	params []param
	input  bool // takes objects from a pipe
	run    func(*call) value
}

// param is one parameter of a cmdlet.
type param struct {
	name     string
	alias    []string
	convert  convert // nil: a switch
	many     bool    // an array
	required bool
	position int    // from 1; 0: by name only
	rest     bool   // takes all that have no name
	refuse   string // why, where nothing here could do what it says
}

// call is one run of a cmdlet: its arguments, converted, by the parameters' full
// names.
type call struct {
	*cmdlet
	r     *runner
	line  int
	args  map[string]value // []value where many
	input value
	piped bool
}

func (c *call) fail(format string, args ...any) {
	c.r.fail(c.line, "%s: %s", c.name, fmt.Sprintf(format, args...))
}

func (c *call) has(name string) bool { _, ok := c.args[name]; return ok }
func (c *call) on(name string) bool  { on, _ := c.args[name].(bool); return on }

// quiet says whether the script does not mind finding nothing.
func (c *call) quiet() bool {
	action, _ := c.args["ErrorAction"].(string)
	return action == "silentlycontinue" || action == "ignore"
}

// Parameters that many cmdlets have.
var (
	common = []param{
		{name: "ErrorAction", alias: []string{"EA"}, convert: errorAction},
		{name: "WarningAction", alias: []string{"WA"}, convert: label},
		{name: "InformationAction", alias: []string{"INFA"}, convert: label},
		{name: "Verbose", alias: []string{"VB"}},
		{name: "Debug", alias: []string{"DB"}},
		{name: "ErrorVariable", alias: []string{"EV"}, convert: label, refuse: "an error stops the script"},
		{name: "WarningVariable", alias: []string{"WV"}, convert: label, refuse: noVariable},
		{name: "InformationVariable", alias: []string{"IV"}, convert: label, refuse: noVariable},
		{name: "OutVariable", alias: []string{"OV"}, convert: label, refuse: noVariable},
		{name: "OutBuffer", alias: []string{"OB"}, convert: label, refuse: "it has no use here"},
		{name: "PipelineVariable", alias: []string{"PV"}, convert: label, refuse: noVariable},
	}
	cim = []param{
		{name: "AsJob"}, // done when the script is: nobody waits less
		{name: "ThrottleLimit", convert: uint32s},
		{name: "CimSession", alias: []string{"Session"}, convert: anything, many: true, refuse: elsewhere},
	}
	careful = []param{{name: "WhatIf", alias: []string{"WI"}}, {name: "Confirm", alias: []string{"CF"}}}
	remote  = []param{{name: "ComputerName", convert: label, many: true, refuse: elsewhere}}
)

const (
	noVariable = "write $name = … in front of the line"
	elsewhere  = "a script changes the host on which it is run; run it on the other"
)

func anything(_ *runner, v value) (value, error) { return v, nil }

func errorAction(_ *runner, v value) (value, error) {
	s, err := text(v)
	if err != nil {
		return nil, err
	}
	s = strings.ToLower(s)
	if !slices.Contains([]string{"stop", "continue", "silentlycontinue", "ignore"}, s) {
		return nil, fmt.Errorf("%q is not Stop, Continue, SilentlyContinue or Ignore", s)
	}
	return s, nil
}

// known is every cmdlet by its name in lower case.
var known = catalogue(slices.Concat(netWNV(), []cmdlet{
	{name: "Get-NetAdapter", params: adapterName, run: getNetAdapter},
	{name: "Enable-NetAdapterBinding", input: true, run: enableBinding,
		params: append(slices.Clone(adapterName), slices.Concat(careful, []param{{name: "ComponentID", convert: label, many: true, required: true}, {name: "PassThru"}})...)},
	{name: "Get-VMNetworkAdapter", params: slices.Concat(vmAdapterName, remote, []param{{name: "All"}}), run: getVMNetworkAdapter},
	{name: "Set-VMNetworkAdapter", input: true, run: setVMNetworkAdapter,
		params: slices.Concat(vmAdapterName, remote, careful, []param{
			{name: "VMNetworkAdapter", convert: anything},
			{name: "StaticMacAddress", convert: mac},
			{name: "VirtualSubnetId", convert: vsid},
			{name: "MacAddressSpoofing", convert: onOff},
			{name: "DhcpGuard", convert: onOff},
			{name: "RouterGuard", convert: onOff},
			{name: "DynamicIPAddressLimit", convert: uint32s},
			{name: "PassThru", alias: []string{"Passthru"}},
		})},
	{name: "Import-Module", run: importModule,
		params: []param{{name: "Name", convert: label, many: true, required: true, position: 1}, {name: "Force"}, {name: "DisableNameChecking"}}},
	{name: "Write-Host", input: true, run: write,
		params: []param{{name: "Object", convert: anything, many: true, rest: true}, {name: "ForegroundColor", convert: label}, {name: "BackgroundColor", convert: label}, {name: "NoNewline"}}},
	{name: "Write-Output", input: true, run: write, params: words},
	{name: "Echo", input: true, run: write, params: words},
	{name: "Write-Verbose", input: true, run: swallow, params: words},
	{name: "Clear-Host", run: swallow},
	{name: "Cls", run: swallow},
	{name: "Out-Null", input: true, run: swallow},
	{name: "Out-Host", input: true, run: pass},
	{name: "Format-List", input: true, run: pass},
	{name: "FL", input: true, run: pass},
	{name: "Format-Table", input: true, run: pass, params: table1},
	{name: "FT", input: true, run: pass, params: table1},
}))

var (
	words  = []param{{name: "Object", convert: anything, many: true, rest: true}}
	table1 = []param{{name: "AutoSize"}, {name: "Wrap"}}
)

func catalogue(all []cmdlet) map[string]*cmdlet {
	byName := make(map[string]*cmdlet, len(all))
	for i := range all {
		all[i].params = append(slices.Clip(all[i].params), common...)
		byName[strings.ToLower(all[i].name)] = &all[i]
	}
	return byName
}

// refused is what scripts of this kind also say, and why it stops them.
var refused = map[string]string{
	"disable-netadapterbinding":     "on Windows it clears all policy; remove what is meant by Remove-NetVirtualization… with a selector",
	"foreach-object":                "say each change by a line of its own",
	"%":                             "say each change by a line of its own",
	"invoke-command":                elsewhere,
	"enter-pssession":               elsewhere,
	"new-pssession":                 elsewhere,
	"new-cimsession":                elsewhere,
	"set-vmnetworkadapterisolation": "a port has one VSID; give it with Set-VMNetworkAdapter -VirtualSubnetId",
	"add-vmnetworkadapterroutingdomainmapping": "a port has one VSID; give it with Set-VMNetworkAdapter -VirtualSubnetId",
	"set-vmnetworkadaptervlan":                 "a port has a VLAN or a VSID, and this is not policy (P2)",
}

// command runs one command of a pipe.
func (r *runner) command(cmd *command, input value, piped bool) value {
	if cmd.where != nil {
		if !piped {
			r.fail(cmd.line, "%s needs objects from a pipe", cmd.name)
		}
		return r.where(cmd, input)
	}
	k := known[strings.ToLower(cmd.name)] // or parse would have stopped
	c := &call{cmdlet: k, r: r, line: cmd.line, args: map[string]value{}, input: input, piped: piped}
	if piped && !k.input {
		c.fail("takes nothing from a pipe")
	}
	c.bind(cmd.args)
	if c.on("Confirm") {
		c.fail("-Confirm: nothing is asked here; use --dry-run to see what would be done")
	}
	if c.on("WhatIf") {
		r.show(cmd.line, fmt.Sprintf("What if: %s on line %d is left out.", k.name, cmd.line))
		return nil
	}
	return k.run(c)
}

// bind gives arguments to parameters: by name, by its beginning, or by place.
func (c *call) bind(args []argument) {
	var unnamed []argument
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case a.splat:
			h, ok := c.r.eval(a.value).(*hash)
			if !ok {
				c.r.fail(a.line, "%s: only a table @{Name = value} can be given with @", c.name)
			}
			for k, name := range h.keys {
				c.set(c.find(name, a.line), h.values[k], a.line)
			}
		case a.param == "":
			unnamed = append(unnamed, a)
		default:
			p := c.find(a.param, a.line)
			switch {
			case a.value != nil:
				c.set(p, c.r.eval(a.value), a.line)
			case p.convert == nil:
				c.set(p, true, a.line)
			case i+1 < len(args) && args[i+1].param == "" && !args[i+1].splat:
				i++
				c.set(p, c.r.eval(args[i].value), a.line)
			default:
				c.r.fail(a.line, "%s: -%s needs a value", c.name, p.name)
			}
		}
	}
	c.place(unnamed)
	var missing []string
	for _, p := range c.params {
		if p.required && !c.has(p.name) {
			missing = append(missing, "-"+p.name)
		}
	}
	if missing != nil {
		c.fail("needs %s", strings.Join(missing, ", "))
	}
}

// place gives arguments without a name to the parameters that take such.
func (c *call) place(unnamed []argument) {
	next := 1
	for i, a := range unnamed {
		at := slices.IndexFunc(c.params, func(p param) bool { return p.rest })
		if at >= 0 {
			var all []value
			for _, a := range unnamed {
				all = append(all, flat(c.r.eval(a.value))...)
			}
			c.set(&c.params[at], all, a.line)
			return
		}
		for at = -1; at < 0 && next <= len(c.params); next++ {
			at = slices.IndexFunc(c.params, func(p param) bool { return p.position == next && !c.has(p.name) })
		}
		if at < 0 {
			v := c.r.eval(a.value)
			s, err := text(v)
			if err != nil {
				s = fmt.Sprintf("value %d", i+1)
			}
			c.r.fail(a.line, "%s: %q has no parameter's name in front", c.name, s)
		}
		c.set(&c.params[at], c.r.eval(a.value), a.line)
	}
}

// find is the parameter that name means: all of a name or alias, or a beginning
// that no other has.
func (c *call) find(name string, line int) *param {
	var begins []string
	var found *param
	for i := range c.params {
		p := &c.params[i]
		if strings.EqualFold(p.name, name) || slices.ContainsFunc(p.alias, func(a string) bool { return strings.EqualFold(a, name) }) {
			return p
		}
		if len(name) <= len(p.name) && strings.EqualFold(p.name[:len(name)], name) {
			begins = append(begins, "-"+p.name)
			found = p
		}
	}
	switch len(begins) {
	case 0:
		c.r.fail(line, "%s: no parameter -%s is known", c.name, name)
	case 1:
		return found
	}
	c.r.fail(line, "%s: -%s may be %s", c.name, name, strings.Join(begins, ", "))
	return nil
}

func (c *call) set(p *param, v value, line int) {
	fail := func(format string, args ...any) {
		c.r.fail(line, "%s: -%s: %s", c.name, p.name, fmt.Sprintf(format, args...))
	}
	if p.refuse != "" {
		fail("%s", p.refuse)
	}
	if c.has(p.name) {
		fail("given twice")
	}
	convert := p.convert
	if convert == nil {
		convert = boolean
	}
	if v == nil {
		fail("the value is $null")
	}
	all := flat(v)
	switch {
	case len(all) == 0:
		fail("the array is empty")
	case !p.many && len(all) != 1:
		fail("takes one value, not %d", len(all))
	}
	converted := make([]value, len(all))
	for i, e := range all {
		var err error
		if converted[i], err = convert(c.r, e); err != nil {
			fail("%v", err)
		}
	}
	c.r.spend(line, len(all)-1)
	if p.many {
		c.args[p.name] = converted
	} else {
		c.args[p.name] = converted[0]
	}
}

// where keeps of its input what the conditions hold for.
func (r *runner) where(cmd *command, input value) value {
	for _, w := range cmd.where {
		var err error
		switch in := input.(type) {
		case nil:
		case *selection:
			input, err = r.whereObjects(in, w)
		case *vmAdapter:
			input, err = in.where(r, w)
		case adapter:
			input, err = r.whereAdapter(in, w)
		default:
			r.fail(cmd.line, "%s: only policy objects and network adapters are filtered here", cmd.name)
		}
		if err != nil {
			r.fail(w.line, "%s: %s: %v", cmd.name, w.property, err)
		}
	}
	return input
}

func (r *runner) whereObjects(in *selection, w condition) (value, error) {
	at := in.noun.column(w.property)
	if at < 0 || in.noun.columns[at].diagnostic() {
		return nil, fmt.Errorf("a %s has no such property here", in.noun.name)
	}
	want, err := in.noun.columns[at].convert(r, r.eval(w.value))
	if err != nil {
		return nil, err
	}
	out := &selection{noun: in.noun}
	for i := range in.items {
		if (folded(in.noun.values(&in.items[i].item)[at]) == folded(want)) != w.negate {
			out.items = append(out.items, in.items[i])
		}
	}
	return out, nil
}

func (r *runner) whereAdapter(in adapter, w condition) (value, error) {
	name, err := text(r.eval(w.value))
	switch p := strings.ToLower(w.property); {
	case err != nil:
		return nil, err
	case w.negate || in.name != "" || p != "name" && p != "interfacealias" && p != "ifalias":
		return nil, fmt.Errorf("network adapters are chosen by {$_.Name -eq …} only")
	}
	return adapter{name}, nil
}

var adapterName = []param{
	{name: "Name", alias: []string{"InterfaceAlias", "ifAlias"}, convert: label, position: 1},
	{name: "InterfaceDescription", alias: []string{"ifDesc"}, convert: label},
	{name: "CimSession", alias: []string{"Session"}, convert: anything, many: true, refuse: elsewhere},
}

func getNetAdapter(c *call) value {
	name, _ := c.args["Name"].(string)
	if description, ok := c.args["InterfaceDescription"].(string); ok {
		if name != "" {
			c.fail("choose an adapter by -Name or -InterfaceDescription")
		}
		name = description
	}
	return adapter{name}
}

// enableBinding has nothing to do: paca is bound to its uplinks by the host file.
func enableBinding(c *call) value {
	for _, id := range c.args["ComponentID"].([]value) {
		if !strings.EqualFold(id.(string), "ms_netwnv") {
			c.fail("-ComponentID: %q is not understood; the binding of network virtualization is ms_netwnv", id)
		}
	}
	return nil
}

func importModule(c *call) value {
	for _, m := range c.args["Name"].([]value) {
		if !slices.Contains([]string{"netwnv", "netadapter", "nettcpip", "hyper-v"}, strings.ToLower(m.(string))) {
			c.fail("module %q is not understood; NetWNV, NetAdapter, NetTCPIP and Hyper-V are", m)
		}
	}
	return nil
}

func write(c *call) value {
	all, _ := c.args["Object"].([]value)
	if c.piped {
		all = append(flat(c.input), all...)
	}
	s, err := text(all)
	if err != nil {
		c.fail("%v", err)
	}
	c.r.show(c.line, s)
	return nil
}

func swallow(*call) value { return nil }
func pass(c *call) value  { return c.input }

// vmAdapter is the network adapters of a VM, as far as the script has said which.
type vmAdapter struct {
	names []string // of the VM or the adapter; any, if none
	mac   packet.MAC
}

var vmAdapterName = []param{
	{name: "VMName", convert: label, position: 1},
	{name: "Name", alias: []string{"VMNetworkAdapterName"}, convert: label},
	{name: "ManagementOS", refuse: "a port is a VM's here"},
	{name: "SwitchName", convert: label, refuse: "paca is the switch"},
	{name: "CimSession", alias: []string{"Session"}, convert: anything, many: true, refuse: elsewhere},
}

func (c *call) vmAdapter() *vmAdapter {
	a := &vmAdapter{}
	for _, p := range []string{"VMName", "Name"} {
		if name, ok := c.args[p].(string); ok && name != "*" {
			a.names = append(a.names, name)
		}
	}
	return a
}

func getVMNetworkAdapter(c *call) value { return c.vmAdapter() }

func (a *vmAdapter) where(r *runner, w condition) (value, error) {
	if w.negate {
		return nil, fmt.Errorf("network adapters are chosen by -eq only")
	}
	out := *a
	switch strings.ToLower(w.property) {
	case "macaddress":
		m, err := mac(r, r.eval(w.value))
		if err != nil {
			return nil, err
		}
		if err := out.narrow(m.(packet.MAC)); err != nil {
			return nil, err
		}
	case "vmname", "name":
		name, err := text(r.eval(w.value))
		if err != nil {
			return nil, err
		}
		out.names = append(slices.Clone(a.names), name)
	default:
		return nil, fmt.Errorf("network adapters are chosen by MacAddress, VMName or Name")
	}
	return &out, nil
}

// narrow leaves the adapter with that MAC.
func (a *vmAdapter) narrow(m packet.MAC) error {
	if m.IsZero() {
		return fmt.Errorf("no VM has %v", m)
	}
	if !a.mac.IsZero() && a.mac != m {
		return fmt.Errorf("this adapter has %v, which is not changed here", a.mac)
	}
	a.mac = m
	return nil
}

// ports are those that a may mean. A MAC decides; names, which are Windows' and
// need not be the ports', decide where there is no MAC or more than one port has
// it.
func (a *vmAdapter) ports(r *runner) []*item {
	var byMAC, byName []*item
	for _, it := range r.state.items[policy.KindPort] {
		p := it.obj.(policy.Port)
		if p.Role != policy.VM || !a.mac.IsZero() && p.MAC != a.mac {
			continue
		}
		byMAC = append(byMAC, it)
		if slices.ContainsFunc(a.names, func(n string) bool { return strings.EqualFold(n, p.Name) }) {
			byName = append(byName, it)
		}
	}
	if len(a.names) == 0 || !a.mac.IsZero() && len(byName) == 0 {
		return byMAC
	}
	return byName
}

// port is the one port that a means.
func (a *vmAdapter) port(r *runner) (*item, error) {
	ports := a.ports(r)
	switch {
	case len(ports) == 1 && (len(a.names) > 0 || !a.mac.IsZero()):
		return ports[0], nil
	case len(ports) == 0 && !a.mac.IsZero():
		return nil, fmt.Errorf("no VM's port of this host has MAC %v", a.mac)
	case len(ports) == 0 && len(a.names) > 0:
		return nil, fmt.Errorf("no VM's port is called %s; choose by MAC, | where {$_.MacAddress -eq \"…\"}", strings.Join(a.names, " or "))
	case len(a.names) == 0 && a.mac.IsZero():
		return nil, fmt.Errorf("this means every VM's port; choose one by MAC, | where {$_.MacAddress -eq \"…\"}")
	}
	var names []string
	for _, it := range ports {
		names = append(names, it.obj.(policy.Port).Name)
	}
	return nil, fmt.Errorf("this may be port %s; choose one with -VMName", strings.Join(names, " or "))
}

// setVMNetworkAdapter sets a port's VSID, switches and limit (C7, P1, L31, L32).
func setVMNetworkAdapter(c *call) value {
	a := c.vmAdapter()
	if given, ok := c.args["VMNetworkAdapter"]; ok || c.piped {
		if c.piped {
			given = c.input
		}
		from, ok := given.(*vmAdapter)
		if !ok || len(a.names) > 0 || c.piped && c.has("VMNetworkAdapter") {
			c.fail("choose a network adapter by a pipe from Get-VMNetworkAdapter, or by -VMName, or by -VMNetworkAdapter")
		}
		b := *from
		a = &b
	}
	if m, ok := c.args["StaticMacAddress"].(packet.MAC); ok {
		if err := a.narrow(m); err != nil {
			c.fail("-StaticMacAddress: %v", err)
		}
	}
	it, err := a.port(c.r)
	if err != nil {
		c.fail("%v", err)
	}
	p := it.obj.(policy.Port)
	was := len(c.args)
	take(c, "VirtualSubnetId", &p.VSID)
	take(c, "MacAddressSpoofing", &p.MACSpoofing)
	take(c, "DhcpGuard", &p.DHCPGuard)
	take(c, "RouterGuard", &p.RouterGuard)
	take(c, "DynamicIPAddressLimit", &p.DynamicIPLimit)
	if len(c.args) == was {
		c.fail("says nothing to change")
	}
	if p.VSID != 0 && !p.VSID.Valid() {
		c.fail("-VirtualSubnetId: %s", reserved(p.VSID))
	}
	c.r.state.set(it, p, it.rule, c.line)
	if c.on("PassThru") {
		return a
	}
	return nil
}

// take moves an argument to where it belongs, if it was given.
func take[T any](c *call, name string, to *T) {
	if v, ok := c.args[name]; ok {
		*to = v.(T)
		delete(c.args, name)
	}
}

func reserved(v policy.VSID) string {
	return fmt.Sprintf("%d is reserved; use %d to %d (W4)", v, policy.MinVSID, policy.MaxVSID)
}
