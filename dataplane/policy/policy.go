// Package policy holds the objects of Hyper-V Network Virtualization as an
// operator means them: virtual subnets, lookup records, customer routes,
// provider addresses and routes, and the VSIDs on ports (spec section P). Every
// object validates itself; a Book of them takes sets of changes, all or none,
// and judges each by what it touches; each Fault names the object, the field
// and the rule.
//
// Floor 1. It imports packet for addresses, and knows no port, mode, file
// format or API. Workers do not read it: dataplane/fib compiles it for them.
package policy

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"paca/dataplane/packet"
)

// VSID is a virtual subnet id, 24 bits (W4). 0 means "not virtualized" on a
// port (P1).
type VSID uint32

// The VSIDs a tenant may have; those outside are reserved (W4).
const (
	MinVSID VSID = 4096
	MaxVSID VSID = 16777214
)

// Valid says whether a tenant may have v (W4).
func (v VSID) Valid() bool { return v >= MinVSID && v <= MaxVSID }

// RDID is a routing domain id, a GUID in the byte order in which it is written.
type RDID [16]byte

// ParseRDID reads a GUID of 32 hex digits in the usual five groups, with or
// without braces.
func ParseRDID(s string) (RDID, error) {
	var r RDID
	t := s
	if inner, ok := strings.CutPrefix(s, "{"); ok {
		if t, ok = strings.CutSuffix(inner, "}"); !ok {
			return r, fmt.Errorf("routing domain id %q: brace not closed", s)
		}
	}
	if len(t) != 36 || t[8] != '-' || t[13] != '-' || t[18] != '-' || t[23] != '-' {
		return r, fmt.Errorf("routing domain id %q is not a GUID like {11111111-2222-3333-4444-000000000000}", s)
	}
	digits := t[:8] + t[9:13] + t[14:18] + t[19:23] + t[24:]
	if _, err := hex.Decode(r[:], []byte(digits)); err != nil {
		return RDID{}, fmt.Errorf("routing domain id %q: %w", s, err)
	}
	return r, nil
}

// String writes the GUID in braces.
func (r RDID) String() string {
	return fmt.Sprintf("{%x-%x-%x-%x-%x}", r[0:4], r[4:6], r[6:8], r[8:10], r[10:16])
}

// Mode is how a virtual subnet's packets cross the fabric.
type Mode uint8

// The modes. HNV calls the choice a record's Rule: Encap and Nat (P22).
const (
	NVGRE Mode = iota
	Rewrite
	NumModes
)

// String is the mode's name in configuration.
func (m Mode) String() string {
	switch m {
	case NVGRE:
		return "nvgre"
	case Rewrite:
		return "rewrite"
	}
	return fmt.Sprintf("mode %d", uint8(m))
}

// ParseMode is the inverse of String; empty means NVGRE.
func ParseMode(s string) (Mode, error) {
	if s == "" {
		return NVGRE, nil
	}
	for m := range NumModes {
		if s == m.String() {
			return m, nil
		}
	}
	return 0, fmt.Errorf("mode %q is not nvgre or rewrite", s)
}

// RecordType is a lookup record's Type (C1.1).
type RecordType uint8

// The record types with the values HNV gives them (P22).
const (
	Static  RecordType = iota
	Dynamic            // learned by the VM's host; gives way to a Static one of its CA (A17)
	GatewayWildcard
	L2Only
	numRecordTypes
)

var recordTypeNames = [numRecordTypes]string{"static", "dynamic", "gateway-wildcard", "l2-only"}

// String is the type's name in configuration.
func (t RecordType) String() string {
	if t < numRecordTypes {
		return recordTypeNames[t]
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// ParseRecordType is the inverse of String; the empty string is Static.
func ParseRecordType(s string) (RecordType, error) {
	if s == "" {
		return Static, nil
	}
	for t, name := range recordTypeNames {
		if s == name {
			return RecordType(t), nil
		}
	}
	return 0, fmt.Errorf("record type %q is not one of %s", s, strings.Join(recordTypeNames[:], ", "))
}

// RouterPA is the dummy PA of a router record, which only names the MAC of the
// distributed router in a virtual subnet (P21).
var RouterPA = netip.AddrFrom4([4]byte{169, 254, 254, 254})

// VirtualSubnet is one broadcast domain of a tenant (P3, P4).
type VirtualSubnet struct {
	VSID     VSID
	RDID     RDID
	Prefixes []netip.Prefix // on-link routes follow from these (P11)
	Mode     Mode
	DHCP     bool         // answer its VMs' DHCPv4 requests from their records (A14)
	DNS      []netip.Addr // name servers that DHCP tells of
}

// RouterCA is the address of the distributed router in an on-link prefix, its
// lowest host address (P20). Prefixes with no more than two addresses have none.
func RouterCA(p netip.Prefix) (netip.Addr, bool) {
	if p.Bits() >= p.Addr().BitLen()-1 {
		return netip.Addr{}, false
	}
	return p.Masked().Addr().Next(), true
}

// LookupRecord says behind which provider address a customer address lives
// (P5).
type LookupRecord struct {
	VSID     VSID
	CA       netip.Addr // unspecified for GatewayWildcard and L2Only
	MAC      packet.MAC
	PA       netip.Addr
	Type     RecordType
	UseVMMAC bool // rewrite only (P24)

	VMName, CustomerID, Context string // labels without effect (P26)
}

// Router says whether the record names the distributed router's MAC (P21).
func (r *LookupRecord) Router() bool { return r.PA == RouterPA }

// Group says whether the record names the PA multicast group that frames for a
// broadcast or multicast CA go to (A20), and so no machine.
func (r *LookupRecord) Group() bool { return isGroup(r.CA) }

func isGroup(a netip.Addr) bool { return a.IsMulticast() || a == packet.LimitedBroadcast }

// groupMAC is where frames for a broadcast or multicast CA go.
func groupMAC(ca netip.Addr) packet.MAC {
	if ca == packet.LimitedBroadcast {
		return packet.Broadcast
	}
	return packet.MulticastMAC(ca)
}

// wildcard says whether the record stands for a MAC whatever its CA (C1.1).
func (r *LookupRecord) wildcard() bool { return r.Type == GatewayWildcard || r.Type == L2Only }

// CustomerRoute is one route of a routing domain (P8).
type CustomerRoute struct {
	RDID    RDID
	VSID    VSID // where the next hop lives (P10)
	Prefix  netip.Prefix
	NextHop netip.Addr // unspecified: on-link (P9)
	Metric  uint32     // lowest wins for the same prefix (P12)
}

// ProviderAddress is a PA assigned on this host (P13).
type ProviderAddress struct {
	Prefix netip.Prefix // the address and its on-link prefix length
	Port   string       // the uplink
	VLAN   uint16       // 0: untagged (W11)
	MAC    packet.MAC   // zero: the uplink's own (W10)
}

// ProviderRoute is a route of the physical network (P16).
type ProviderRoute struct {
	Port    string
	Prefix  netip.Prefix
	NextHop netip.Addr // unspecified: on-link
	Metric  uint32
}

// Role is what a port is connected to.
type Role uint8

// The roles.
const (
	Uplink Role = iota
	VM
	Host
)

// String is the role's name in configuration.
func (r Role) String() string {
	if r <= Host {
		return [...]string{"uplink", "vm", "host"}[r]
	}
	return fmt.Sprintf("role %d", uint8(r))
}

// Port is what policy knows of a port: for a VM's, its VSID and MAC (P1).
type Port struct {
	Name string
	Role Role
	VSID VSID
	MAC  packet.MAC // of the VM; for an uplink, the device's own
	MTU  int        // largest IP packet in bytes

	// What a VM port may do (L31, L32). Ports of other roles have none of it.
	MACSpoofing    bool   // send from other MACs than its own
	DHCPGuard      bool   // no DHCP server's messages
	RouterGuard    bool   // no router advertisements or redirects
	DynamicIPLimit uint32 // CAs that may be learned from it (A16); 0: none
	StormLimit     uint32 // packets per second that its broadcasts and multicasts become; 0: any number

	// Uplink is, for a Host port, the uplink whose other traffic it carries
	// (W20); empty: the only one.
	Uplink string

	// Queues is how many receive queues the port has; 0: one for each worker, or as
	// many as the device has if those are fewer (O32).
	Queues uint32

	// NoOffload is what the device shall not do for the port though it could.
	NoOffload Offloads

	// Device is what the port is made of, in the host file's words
	// ("vhost-user:/run/vm1.sock"). Policy keeps it for ports that come and go
	// at run time and does not read it.
	Device string
}

// What a VM port has unless its operator says otherwise.
const (
	DefaultDynamicIPLimit = 8
	DefaultStormLimit     = 1000
)

// The most that a VM port may be given. More than MaxStormLimit is no limit: no
// worker forwards so many.
const (
	MaxDynamicIPLimit = 4096
	MaxStormLimit     = 10_000_000
)

// MaxQueues is how many queues DPDK knows of a port at most.
const MaxQueues = 1024

// MaxDNS is how many name servers DHCP tells of: its answer is one small packet.
const MaxDNS = 8

// Set is all policy of one host. A worker's port index is the index in Ports.
type Set struct {
	Global            Global
	VirtualSubnets    []VirtualSubnet
	LookupRecords     []LookupRecord
	CustomerRoutes    []CustomerRoute
	ProviderAddresses []ProviderAddress
	ProviderRoutes    []ProviderRoute
	Ports             []Port
}

// Fault is one violation of one rule.
type Fault struct {
	Object  string // in configuration's words: "lookup_record"
	Index   int    // in its list
	Field   string
	Problem string
	Rule    string // of the spec: "P6"

	// Cause tells apart what a program may react to: ErrExists, ErrNotFound,
	// ErrInUse, ErrPinned, or nil where the object itself is wrong.
	Cause error
}

// Unwrap makes errors.Is find the Cause.
func (f *Fault) Unwrap() error { return f.Cause }

// What a Fault may be caused by.
var (
	ErrExists   = errors.New("exists already")             // Add
	ErrNotFound = errors.New("does not exist")             // Replace, Delete
	ErrInUse    = errors.New("others refer to it")         // Delete, Replace
	ErrPinned   = errors.New("belongs to the host's file") // Replace, Delete
)

// Key locates the fault in configuration's words: "lookup_record[3].ca".
func (f *Fault) Key() string { return fmt.Sprintf("%s[%d].%s", f.Object, f.Index, f.Field) }

// Text is the problem with the rule it violates.
func (f *Fault) Text() string { return fmt.Sprintf("%s (%s)", f.Problem, f.Rule) }

func (f *Fault) Error() string { return f.Key() + ": " + f.Text() }

// Faults takes the faults out of an error that Validate returned.
func Faults(err error) []*Fault {
	var all []*Fault
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			all = append(all, Faults(e)...)
		}
		return all
	}
	var f *Fault
	if errors.As(err, &f) {
		all = append(all, f)
	}
	return all
}
