package conf

import (
	"math"
	"net/netip"
	"os"
)

// Policy is the policy file: what the tenants' networks are and, where the host
// file does not say so already, what this host has of the provider's. Its
// objects are those of the specification's section P.
type Policy struct {
	Global            *Global // nil: the file is silent
	Ports             []Port  // plugged in while pacad runs; those of role vm may have no VSID
	ProviderAddresses []ProviderAddress
	ProviderRoutes    []ProviderRoute
	VirtualSubnets    []VirtualSubnet
	CustomerRoutes    []CustomerRoute
	LookupRecords     []LookupRecord

	doc *document
}

// Global is [global]. // C5
type Global struct {
	UseExternalRouter bool // L18
}

// VirtualSubnet is one [[virtual_subnet]].
type VirtualSubnet struct {
	VSID     uint32
	RDID     [16]byte // in the order in which a GUID is written
	Prefixes []netip.Prefix
	Mode     Mode
	DHCP     bool         // paca answers its VMs' DHCPv4 requests (A14)
	DNS      []netip.Addr // IPv4: what DHCP tells of
}

// Mode is how packets of a virtual subnet cross the provider network.
type Mode string

// The choices of virtual_subnet.mode.
const (
	ModeNVGRE   Mode = "nvgre"
	ModeRewrite Mode = "rewrite"
)

// LookupRecord is one [[lookup_record]]. // P5
type LookupRecord struct {
	VSID       uint32
	CA         netip.Addr // unspecified for the types that have no CA
	MAC        [6]byte
	PA         netip.Addr
	Type       RecordType
	UseVMMAC   bool // P24
	VMName     string
	CustomerID string
	Context    string
}

// RecordType is what a lookup record stands for. // C1.1
type RecordType string

// The choices of lookup_record.type.
const (
	TypeStatic          RecordType = "static"
	TypeDynamic         RecordType = "dynamic"
	TypeGatewayWildcard RecordType = "gateway-wildcard"
	TypeL2Only          RecordType = "l2-only"
)

// CustomerRoute is one [[customer_route]]. // P8
type CustomerRoute struct {
	RDID    [16]byte
	VSID    uint32 // in which the next hop lives (P10)
	Prefix  netip.Prefix
	NextHop netip.Addr // unspecified = on-link
	Metric  uint32
}

// The defaults of a policy file.
var (
	defaultSubnet = VirtualSubnet{Mode: ModeNVGRE}
	defaultRecord = LookupRecord{Type: TypeStatic}
	defaultRoute  = CustomerRoute{Metric: 255} // P12
)

// LoadPolicy reads a policy file. The error holds a *Fault for each thing wrong
// with it.
func LoadPolicy(path string) (*Policy, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	return ParsePolicy(path, data)
}

// ParsePolicy reads a policy file's text; file is what faults call it.
func ParsePolicy(file string, data []byte) (*Policy, error) {
	doc, root, err := parse(file, data)
	if err != nil {
		return nil, err
	}
	p := &Policy{doc: doc}
	p.read(root)
	root.unknown()
	if len(doc.faults) > 0 {
		return nil, join(doc.faults)
	}
	return p, nil
}

// Line is where key stands in the file; if it does not, where the nearest table
// around it begins.
func (p *Policy) Line(key string) int { return p.doc.lines().at(key) }

// Fault words a finding about key that only others could make.
func (p *Policy) Fault(key, format string, args ...any) *Fault {
	return p.doc.fault(key, format, args...)
}

func (p *Policy) read(root *table) {
	const whichVSID = "give the virtual subnet's number, 4096 to 16777214"
	const whichRDID = "give the routing domain's GUID"
	if _, ok := root.values["global"]; ok {
		p.Global = &Global{}
	}
	root.table("global", func(t *table) {
		if p.Global != nil {
			optional(t, "use_external_router", &p.Global.UseExternalRouter, boolean)
		}
	})
	root.tables("virtual_subnet", func(t *table) {
		s := defaultSubnet
		required(t, "vsid", &s.VSID, vsid, whichVSID)
		required(t, "rdid", &s.RDID, guid, whichRDID)
		list(t, "prefixes", &s.Prefixes, prefix)
		optional(t, "mode", &s.Mode, oneOf(ModeNVGRE, ModeRewrite))
		optional(t, "dhcp", &s.DHCP, boolean)
		list(t, "dns", &s.DNS, nameServer)
		p.VirtualSubnets = append(p.VirtualSubnets, s)
	})
	root.tables("lookup_record", func(t *table) {
		r := defaultRecord
		required(t, "vsid", &r.VSID, vsid, whichVSID)
		required(t, "ca", &r.CA, address, "give the VM's customer address")
		required(t, "mac", &r.MAC, anyMAC, "give the VM's MAC")
		required(t, "pa", &r.PA, machineOrGroup, "give the provider address of the VM's host")
		optional(t, "type", &r.Type, oneOf(TypeStatic, TypeDynamic, TypeGatewayWildcard, TypeL2Only))
		optional(t, "use_vm_mac", &r.UseVMMAC, boolean)
		optional(t, "vm_name", &r.VMName, text)
		optional(t, "customer_id", &r.CustomerID, text)
		optional(t, "context", &r.Context, text)
		p.LookupRecords = append(p.LookupRecords, r)
	})
	root.tables("customer_route", func(t *table) {
		r := defaultRoute
		required(t, "rdid", &r.RDID, guid, whichRDID)
		required(t, "vsid", &r.VSID, vsid, "give the virtual subnet in which the next hop lives, 4096 to 16777214")
		good := required(t, "prefix", &r.Prefix, prefix, "write the destination, like 0.0.0.0/0")
		good = required(t, "next_hop", &r.NextHop, address, "write the next hop's CA, or 0.0.0.0 or :: for on-link") && good
		if good {
			checkNextHop(t, r.Prefix, r.NextHop)
		}
		optional(t, "metric", &r.Metric, integer[uint32](0, math.MaxUint32))
		p.CustomerRoutes = append(p.CustomerRoutes, r)
	})
	root.tables("port", func(t *table) {
		o := Port{MTU: defaultMTU}
		readPort(t, &o, portVSID)
		p.Ports = append(p.Ports, o)
	})
	root.tables("provider_address", func(t *table) {
		a := readProviderAddress(t)
		optional(t, "mac", &a.MAC, unicastMAC)
		p.ProviderAddresses = append(p.ProviderAddresses, a)
	})
	root.tables("provider_route", func(t *table) {
		r := readProviderRoute(t)
		optional(t, "metric", &r.Metric, integer[uint32](0, math.MaxUint32))
		p.ProviderRoutes = append(p.ProviderRoutes, r)
	})
}

// portVSID is a vsid, or 0: the port is not virtualized. // P1
func portVSID(v any) (uint32, error) {
	if v == int64(0) {
		return 0, nil
	}
	return vsid(v)
}
