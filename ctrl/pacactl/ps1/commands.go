package ps1

import (
	"fmt"
	"net/netip"
	"strings"

	"paca/dataplane/policy"
)

// Commands is the changes and then the questions of p as command lines of
// pacactl. Made one by one they come to the same, but for a change of mode, which
// has states between that policy may refuse.
func (p *Program) Commands() []string {
	var all []string
	for i, c := range p.Changes {
		all = append(all, commandOf(c, p.before[i]))
	}
	for _, o := range p.Output {
		if q := o.NextHop; q != nil {
			l := line{"next-hop"}
			if q.Src.IsValid() {
				l.word(q.Src)
			}
			l.word(q.Dst)
			l.flag("vsid", q.VSID)
			all = append(all, l.String())
		}
	}
	return all
}

// line is a command line in the making.
type line []string

func (l *line) word(v any)              { *l = append(*l, quoted(fmt.Sprint(v))) }
func (l *line) flag(name string, v any) { l.word("--" + name); l.word(v) }
func (l line) String() string           { return "pacactl " + strings.Join(l, " ") }

// changed adds a flag unless the value is what it was, or what add takes anyway.
func changed[T comparable](l *line, name string, is, was T) {
	if is == was {
		return
	}
	if b, ok := any(is).(bool); ok { // cobra takes a bool's value behind = only
		l.word(fmt.Sprintf("--%s=%t", name, b))
		return
	}
	l.flag(name, is)
}

// quoted is a word as a shell takes it.
func quoted(s string) string {
	safe := func(r rune) bool { return isName(r) || strings.ContainsRune("-./:,={}@+%", r) }
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !safe(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// commandOf is one change. For a Replace, before is what it replaces; an Add is
// written as a change of the values that add takes for itself.
func commandOf(c policy.Change, before policy.Object) string {
	verb := map[policy.Verb]string{policy.Add: "add", policy.Replace: "set", policy.Delete: "del"}[c.Verb]
	add := c.Verb == policy.Add
	l := line{strings.ReplaceAll(c.Object.Kind().String(), "_", "-"), verb}
	switch is := c.Object.(type) {
	case policy.Global:
		changed(&l, "use-external-router", is.UseExternalRouter, before.(policy.Global).UseExternalRouter)
	case policy.Port: // scripts only set them
		was := before.(policy.Port)
		l.word(is.Name)
		changed(&l, "vsid", is.VSID, was.VSID)
		changed(&l, "mac-spoofing", is.MACSpoofing, was.MACSpoofing)
		changed(&l, "dhcp-guard", is.DHCPGuard, was.DHCPGuard)
		changed(&l, "router-guard", is.RouterGuard, was.RouterGuard)
		changed(&l, "dynamic-ip-limit", is.DynamicIPLimit, was.DynamicIPLimit)
	case policy.ProviderAddress:
		was, _ := before.(policy.ProviderAddress)
		if add {
			l.word(is.Prefix)
		} else {
			l.word(is.Prefix.Addr())
		}
		if c.Verb == policy.Delete {
			break
		}
		if !add {
			changed(&l, "prefix-length", is.Prefix.Bits(), was.Prefix.Bits())
		}
		changed(&l, "port", is.Port, was.Port)
		changed(&l, "vlan", is.VLAN, was.VLAN)
		changed(&l, "mac", is.MAC, was.MAC)
	case policy.ProviderRoute:
		was, _ := before.(policy.ProviderRoute)
		l.flag("port", is.Port)
		l.flag("prefix", is.Prefix)
		l.flag("next-hop", is.NextHop)
		if c.Verb != policy.Delete {
			changed(&l, "metric", is.Metric, was.Metric)
		}
	case policy.VirtualSubnet:
		was, _ := before.(policy.VirtualSubnet)
		l.word(is.VSID)
		if c.Verb == policy.Delete {
			break
		}
		changed(&l, "rdid", is.RDID, was.RDID)
		changed(&l, "prefix", joined(is.Prefixes), joined(was.Prefixes))
		changed(&l, "mode", is.Mode, was.Mode)
	case policy.CustomerRoute:
		was := policy.CustomerRoute{Metric: 255}
		if !add {
			was = before.(policy.CustomerRoute)
		}
		l.flag("rdid", is.RDID)
		l.flag("vsid", is.VSID)
		l.flag("prefix", is.Prefix)
		l.flag("next-hop", is.NextHop)
		if c.Verb != policy.Delete {
			changed(&l, "metric", is.Metric, was.Metric)
		}
	case policy.LookupRecord:
		was, _ := before.(policy.LookupRecord)
		l.flag("vsid", is.VSID)
		l.flag("ca", is.CA)
		l.flag("mac", is.MAC)
		if c.Verb == policy.Delete {
			break
		}
		changed(&l, "pa", is.PA, was.PA)
		changed(&l, "type", is.Type, was.Type)
		changed(&l, "use-vm-mac", is.UseVMMAC, was.UseVMMAC)
		changed(&l, "vm-name", is.VMName, was.VMName)
		changed(&l, "customer-id", is.CustomerID, was.CustomerID)
		changed(&l, "context", is.Context, was.Context)
	}
	return l.String()
}

func joined(all []netip.Prefix) string {
	words := make([]string, len(all))
	for i, p := range all {
		words[i] = p.String()
	}
	return strings.Join(words, ",")
}
