// Package policyfile makes objects of policy of a policy file, and a policy file
// of objects of policy. Both conversions lose nothing: what Write writes, Parse
// reads as the same objects.
//
// Floor 3. It imports conf and policy; nothing of it needs DPDK or a daemon.
package policyfile

import (
	"fmt"
	"io"
	"iter"
	"os"

	"paca/conf"
	"paca/dataplane/policy"
)

// File is a policy file that was read.
type File struct {
	Objects []policy.Object // kind by kind, in the file's order

	conf  faulter
	first [policy.KindLookupRecord + 1]int // where the objects of a kind begin
}

// faulter is a file of conf's.
type faulter interface {
	Fault(key, format string, args ...any) *conf.Fault
}

// Host takes the objects out of a host file: its ports, provider addresses and
// provider routes.
func Host(c *conf.Config) *File {
	f := New(&conf.Policy{Ports: c.Ports, ProviderAddresses: c.ProviderAddresses, ProviderRoutes: c.ProviderRoutes})
	f.conf = c
	return f
}

// Load reads a policy file. The error holds a *conf.Fault for each thing wrong
// with it.
func Load(path string) (*File, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, data)
}

// Parse reads a policy file's text; name is what faults call it.
func Parse(name string, data []byte) (*File, error) {
	p, err := conf.ParsePolicy(name, data)
	if err != nil {
		return nil, err
	}
	return New(p), nil
}

// New takes the objects out of a policy file.
func New(p *conf.Policy) *File {
	f := &File{conf: p}
	if p.Global != nil {
		f.begin(policy.KindGlobal)
		f.add(policy.Global{UseExternalRouter: p.Global.UseExternalRouter})
	}
	f.begin(policy.KindPort)
	for _, o := range p.Ports {
		f.add(policy.Port{
			Name: o.Name, Role: roles[o.Role], Device: o.Device, VSID: policy.VSID(o.VSID), MAC: o.MAC, MTU: o.MTU,
			MACSpoofing: o.MACSpoofing, DHCPGuard: o.DHCPGuard, RouterGuard: o.RouterGuard,
			DynamicIPLimit: o.DynamicIPLimit, StormLimit: o.StormLimit, Queues: o.Queues, Uplink: o.Uplink, NoOffload: offloads(o.NoOffload),
		})
	}
	f.begin(policy.KindProviderAddress)
	for _, o := range p.ProviderAddresses {
		f.add(policy.ProviderAddress{Prefix: o.Address, Port: o.Port, VLAN: o.VLAN, MAC: o.MAC})
	}
	f.begin(policy.KindProviderRoute)
	for _, o := range p.ProviderRoutes {
		f.add(policy.ProviderRoute{Port: o.Port, Prefix: o.Prefix, NextHop: o.NextHop, Metric: o.Metric})
	}
	f.begin(policy.KindVirtualSubnet)
	for _, o := range p.VirtualSubnets {
		f.add(policy.VirtualSubnet{VSID: policy.VSID(o.VSID), RDID: o.RDID, Prefixes: o.Prefixes, Mode: modes[o.Mode], DHCP: o.DHCP, DNS: o.DNS})
	}
	f.begin(policy.KindCustomerRoute)
	for _, o := range p.CustomerRoutes {
		f.add(policy.CustomerRoute{RDID: o.RDID, VSID: policy.VSID(o.VSID), Prefix: o.Prefix, NextHop: o.NextHop, Metric: o.Metric})
	}
	f.begin(policy.KindLookupRecord)
	for _, o := range p.LookupRecords {
		f.add(policy.LookupRecord{
			VSID: policy.VSID(o.VSID), CA: o.CA, MAC: o.MAC, PA: o.PA, Type: types[o.Type], UseVMMAC: o.UseVMMAC,
			VMName: o.VMName, CustomerID: o.CustomerID, Context: o.Context,
		})
	}
	return f
}

func (f *File) begin(k policy.Kind) { f.first[k] = len(f.Objects) }

func (f *File) add(o policy.Object) { f.Objects = append(f.Objects, o) }

// Fault words a finding about Objects[i] as one about the file and its line.
func (f *File) Fault(i int, field, format string, args ...any) *conf.Fault {
	k := f.Objects[i].Kind()
	key := k.String()
	if k != policy.KindGlobal {
		key = fmt.Sprintf("%s[%d]", key, i-f.first[k])
	}
	if field != "" {
		key += "." + field
	}
	return f.conf.Fault(key, format, args...)
}

// The words of files for the numbers of policy. conf admits no others.
var (
	roles = map[conf.Role]policy.Role{conf.RoleUplink: policy.Uplink, conf.RoleVM: policy.VM, conf.RoleHost: policy.Host}
	modes = map[conf.Mode]policy.Mode{conf.ModeNVGRE: policy.NVGRE, conf.ModeRewrite: policy.Rewrite}
	types = map[conf.RecordType]policy.RecordType{
		conf.TypeStatic: policy.Static, conf.TypeDynamic: policy.Dynamic,
		conf.TypeGatewayWildcard: policy.GatewayWildcard, conf.TypeL2Only: policy.L2Only,
	}
)

// offloads are those of conf's words, all of which policy has.
func offloads(words []string) (s policy.Offloads) {
	for _, w := range words {
		if o, err := policy.ParseOffload(w); err == nil {
			s |= policy.OffloadsOf(o)
		}
	}
	return s
}

func offloadWords(s policy.Offloads) (words []string) {
	for o := range policy.NumOffloads {
		if s.Has(o) {
			words = append(words, o.String())
		}
	}
	return words
}

// Write writes a policy file of objects, kind by kind in the order given.
func Write(w io.Writer, objects iter.Seq[policy.Object]) error {
	p := &conf.Policy{}
	for object := range objects {
		switch o := object.(type) {
		case policy.Global:
			p.Global = &conf.Global{UseExternalRouter: o.UseExternalRouter}
		case policy.Port:
			p.Ports = append(p.Ports, conf.Port{
				Name: o.Name, Role: conf.Role(o.Role.String()), Device: o.Device, VSID: uint32(o.VSID), MAC: o.MAC, MTU: o.MTU,
				MACSpoofing: o.MACSpoofing, DHCPGuard: o.DHCPGuard, RouterGuard: o.RouterGuard,
				DynamicIPLimit: o.DynamicIPLimit, StormLimit: o.StormLimit, Queues: o.Queues, Uplink: o.Uplink, NoOffload: offloadWords(o.NoOffload),
			})
		case policy.ProviderAddress:
			p.ProviderAddresses = append(p.ProviderAddresses, conf.ProviderAddress{Address: o.Prefix, Port: o.Port, VLAN: o.VLAN, MAC: o.MAC})
		case policy.ProviderRoute:
			p.ProviderRoutes = append(p.ProviderRoutes, conf.ProviderRoute{Port: o.Port, Prefix: o.Prefix, NextHop: o.NextHop, Metric: o.Metric})
		case policy.VirtualSubnet:
			p.VirtualSubnets = append(p.VirtualSubnets, conf.VirtualSubnet{
				VSID: uint32(o.VSID), RDID: o.RDID, Prefixes: o.Prefixes, Mode: conf.Mode(o.Mode.String()), DHCP: o.DHCP, DNS: o.DNS,
			})
		case policy.CustomerRoute:
			p.CustomerRoutes = append(p.CustomerRoutes, conf.CustomerRoute{
				RDID: o.RDID, VSID: uint32(o.VSID), Prefix: o.Prefix, NextHop: o.NextHop, Metric: o.Metric,
			})
		case policy.LookupRecord:
			p.LookupRecords = append(p.LookupRecords, conf.LookupRecord{
				VSID: uint32(o.VSID), CA: o.CA, MAC: o.MAC, PA: o.PA, Type: conf.RecordType(o.Type.String()), UseVMMAC: o.UseVMMAC,
				VMName: o.VMName, CustomerID: o.CustomerID, Context: o.Context,
			})
		default:
			return fmt.Errorf("policyfile: no words for %T", o)
		}
	}
	return p.Write(w)
}
