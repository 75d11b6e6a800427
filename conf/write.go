package conf

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Write writes a policy file that reads back as p. Defaults that say nothing to
// people are left out.
func (p *Policy) Write(w io.Writer) error {
	b := &writer{to: bufio.NewWriter(w)}
	if g := p.Global; g != nil {
		b.table("[global]")
		b.set("use_external_router", strconv.FormatBool(g.UseExternalRouter))
	}
	for _, o := range p.Ports {
		b.table("[[port]]")
		b.text("name", o.Name)
		b.text("role", string(o.Role))
		b.text("device", o.Device)
		b.number("mtu", uint32(o.MTU))
		if o.VSID != 0 {
			b.number("vsid", o.VSID)
		}
		b.mac(o.MAC)
		b.yes("mac_spoofing", o.MACSpoofing)
		b.yes("dhcp_guard", o.DHCPGuard)
		b.yes("router_guard", o.RouterGuard)
		if o.Role == RoleVM && o.DynamicIPLimit != defaultDynamicIPLimit {
			b.number("dynamic_ip_limit", o.DynamicIPLimit)
		}
		if o.Role == RoleVM && o.StormLimit != defaultStormLimit {
			b.number("storm_limit", o.StormLimit)
		}
		if o.Queues != 0 {
			b.number("queues", o.Queues)
		}
		b.label("uplink", o.Uplink)
		if len(o.NoOffload) > 0 {
			b.set("offload", "{ "+strings.Join(o.NoOffload, " = false, ")+" = false }")
		}
	}
	for _, a := range p.ProviderAddresses {
		b.table("[[provider_address]]")
		b.text("address", a.Address.String())
		b.text("port", a.Port)
		if a.VLAN != 0 {
			b.number("vlan", uint32(a.VLAN))
		}
		b.mac(a.MAC)
	}
	for _, r := range p.ProviderRoutes {
		b.table("[[provider_route]]")
		b.text("port", r.Port)
		b.text("prefix", r.Prefix.String())
		b.text("next_hop", r.NextHop.String())
		if r.Metric != 0 {
			b.number("metric", r.Metric)
		}
	}
	for _, s := range p.VirtualSubnets {
		b.table("[[virtual_subnet]]")
		b.number("vsid", s.VSID)
		b.rdid(s.RDID)
		if len(s.Prefixes) > 0 {
			b.list("prefixes", texts(s.Prefixes))
		}
		b.text("mode", string(s.Mode))
		b.yes("dhcp", s.DHCP)
		if len(s.DNS) > 0 {
			b.list("dns", texts(s.DNS))
		}
	}
	for _, r := range p.CustomerRoutes {
		b.table("[[customer_route]]")
		b.rdid(r.RDID)
		b.number("vsid", r.VSID)
		b.text("prefix", r.Prefix.String())
		b.text("next_hop", r.NextHop.String())
		b.number("metric", r.Metric)
	}
	for _, r := range p.LookupRecords {
		b.table("[[lookup_record]]")
		b.number("vsid", r.VSID)
		b.text("ca", r.CA.String())
		b.mac(r.MAC)
		b.text("pa", r.PA.String())
		if r.Type != defaultRecord.Type {
			b.text("type", string(r.Type))
		}
		b.yes("use_vm_mac", r.UseVMMAC)
		b.label("vm_name", r.VMName)
		b.label("customer_id", r.CustomerID)
		b.label("context", r.Context)
	}
	return b.to.Flush() // bufio keeps the first error
}

// writer writes TOML.
type writer struct {
	to    *bufio.Writer
	begun bool
}

func (w *writer) table(header string) {
	if w.begun {
		w.to.WriteByte('\n')
	}
	w.begun = true
	w.to.WriteString(header + "\n")
}

func (w *writer) set(key, value string) { w.to.WriteString(key + " = " + value + "\n") }

func (w *writer) text(key, value string) { w.set(key, quote(value)) }

func (w *writer) number(key string, n uint32) { w.set(key, strconv.FormatUint(uint64(n), 10)) }

// label is a text that need not be there.
func (w *writer) label(key, value string) {
	if value != "" {
		w.text(key, value)
	}
}

func (w *writer) mac(m [6]byte) {
	if m != [6]byte{} {
		w.text("mac", fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]))
	}
}

func (w *writer) rdid(g [16]byte) {
	w.text("rdid", fmt.Sprintf("{%x-%x-%x-%x-%x}", g[0:4], g[4:6], g[6:8], g[8:10], g[10:16]))
}

// yes is a switch that is off unless it is there.
func (w *writer) yes(key string, on bool) {
	if on {
		w.set(key, "true")
	}
}

func (w *writer) list(key string, all []string) {
	quoted := make([]string, len(all))
	for i, s := range all {
		quoted[i] = quote(s)
	}
	w.set(key, "["+strings.Join(quoted, ", ")+"]")
}

func texts[T fmt.Stringer](all []T) []string {
	words := make([]string, len(all))
	for i, v := range all {
		words[i] = v.String()
	}
	return words
}

// quote makes a basic string. strconv's escapes are not all TOML's.
func quote(s string) string {
	b := append(make([]byte, 0, len(s)+2), '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < ' ' || r == 0x7f:
			b = fmt.Appendf(b, `\u%04X`, r)
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return string(append(b, '"'))
}
