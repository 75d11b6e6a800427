package daemon

import (
	"errors"

	"paca/conf"
	"paca/dataplane/policy"
)

// plan turns what was asked for into policy, and validates it as far as that
// can be done without touching the machine.
func plan(c *conf.Config) (*policy.Set, error) {
	seed := &conf.Policy{}
	if c.Policy.Seed != "" {
		var err error
		if seed, err = conf.LoadPolicy(c.Policy.Seed); err != nil {
			return nil, err
		}
	}
	set := &policy.Set{}
	var faults []error
	for i, vs := range seed.VirtualSubnets {
		mode, err := policy.ParseMode(string(vs.Mode))
		if err != nil {
			faults = append(faults, seed.Fault(key("virtual_subnet", i, "mode"), "%v", err))
		}
		set.VirtualSubnets = append(set.VirtualSubnets, policy.VirtualSubnet{
			VSID: policy.VSID(vs.VSID), RDID: vs.RDID, Prefixes: vs.Prefixes, Mode: mode,
		})
	}
	for i, r := range seed.LookupRecords {
		kind, err := policy.ParseRecordType(string(r.Type))
		if err != nil {
			faults = append(faults, seed.Fault(key("lookup_record", i, "type"), "%v", err))
		}
		set.LookupRecords = append(set.LookupRecords, policy.LookupRecord{
			VSID: policy.VSID(r.VSID), CA: r.CA, MAC: r.MAC, PA: r.PA, Type: kind, UseVMMAC: r.UseVMMAC,
			VMName: r.VMName, CustomerID: r.CustomerID, Context: r.Context,
		})
	}
	for _, r := range seed.CustomerRoutes {
		set.CustomerRoutes = append(set.CustomerRoutes, policy.CustomerRoute{
			RDID: r.RDID, VSID: policy.VSID(r.VSID), Prefix: r.Prefix, NextHop: r.NextHop, Metric: r.Metric,
		})
	}
	for _, p := range c.Ports {
		set.Ports = append(set.Ports, policy.Port{Name: p.Name, Role: roles[p.Role], VSID: policy.VSID(p.VSID), MAC: p.MAC, MTU: p.MTU})
	}
	for _, a := range c.ProviderAddresses {
		set.ProviderAddresses = append(set.ProviderAddresses, policy.ProviderAddress{Prefix: a.Address, Port: a.Port, VLAN: a.VLAN})
	}
	for _, r := range c.ProviderRoutes {
		set.ProviderRoutes = append(set.ProviderRoutes, policy.ProviderRoute{Port: r.Port, Prefix: r.Prefix, NextHop: r.NextHop})
	}
	for _, f := range policy.Faults(set.Validate()) {
		faults = append(faults, locate(c, seed, f))
	}
	return set, errors.Join(faults...)
}

var roles = map[conf.Role]policy.Role{
	conf.RoleUplink: policy.Uplink,
	conf.RoleVM:     policy.VM,
	conf.RoleHost:   policy.Host,
}

// locate gives a fault of policy the file and line that it comes from.
func locate(c *conf.Config, seed *conf.Policy, f *policy.Fault) error {
	switch f.Object {
	case "virtual_subnet", "lookup_record", "customer_route":
		return seed.Fault(f.Key(), "%s", f.Text())
	}
	return c.Fault(f.Key(), "%s", f.Text())
}

// Check validates a host file, and the policy file it names, without touching
// the machine. Every fault is a *conf.Fault, all of them joined.
func Check(file string) error {
	c, err := conf.Load(file)
	if err != nil {
		return err
	}
	_, err = plan(c)
	return err
}
