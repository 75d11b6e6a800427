package conf

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Config is the host file: what this machine contributes.
type Config struct {
	Host              Host
	EAL               EAL
	Workers           Workers
	Ports             []Port
	ProviderAddresses []ProviderAddress
	ProviderRoutes    []ProviderRoute
	Neighbors         []Neighbor
	Router            Router
	NVGRE             NVGRE
	Policy            PolicySource
	Control           Control
	Metrics           Metrics
	Log               Log

	doc *document
}

// Host is [host].
type Host struct {
	Name               string // default: the machine's name
	DuplicateDetection bool   // whether other machines are asked for the PAs (P14)
}

// EAL is [eal], what DPDK's environment layer is started with.
type EAL struct {
	Memory    int       // MiB
	Buffers   int       // packets that they hold; 0: enough for all ports there may be, if half the memory is
	Hugepages Hugepages // which pages the memory is made of
	Args      []string  // appended as they are
}

// Hugepages names a page size.
type Hugepages string

// The choices of eal.hugepages.
const (
	HugepagesAuto Hugepages = "auto"
	Hugepages2M   Hugepages = "2M"
	Hugepages1G   Hugepages = "1G"
	HugepagesNone Hugepages = "none" // ordinary memory
)

// Workers is [workers].
type Workers struct {
	Cores  []int // one poll-mode worker on each; at least one
	Idle   Idle
	Spread Spread
}

// Spread is who deals NVGRE from other hosts out to the workers, by what is inside: two
// hosts' has but one pair of addresses outside. // O32
type Spread string

// The choices of workers.spread.
const (
	SpreadAuto     Spread = "auto"     // the uplink's device if it can, else the workers
	SpreadNIC      Spread = "nic"      // the device
	SpreadSoftware Spread = "software" // the workers
	SpreadNone     Spread = "none"     // nobody: who receives a packet carries it
)

// Idle is what a worker does when nothing arrives.
type Idle string

// The choices of workers.idle.
const (
	IdlePoll     Idle = "poll"     // keeps polling
	IdleAdaptive Idle = "adaptive" // backs off to short sleeps
)

// Role is what a port is for.
type Role string

// The choices of port.role.
const (
	RoleUplink Role = "uplink" // the provider network
	RoleVM     Role = "vm"     // one vNIC
	RoleHost   Role = "host"   // exception path to the kernel
)

// Port is one [[port]].
type Port struct {
	Name   string
	Role   Role
	Device string  // PCI address or kind:argument
	MTU    int     // largest L3 packet in bytes
	VSID   uint32  // role vm only
	MAC    [6]byte // role vm only

	// Role vm only (L31, L32).
	MACSpoofing    bool
	DHCPGuard      bool
	RouterGuard    bool
	DynamicIPLimit uint32 // CAs that may be learned from it
	StormLimit     uint32 // packets per second that its broadcasts and multicasts become; 0 = any number

	Queues uint32 // to receive; 0 = one for each worker, or as many as the device has if those are fewer

	Uplink string // role host only: name of an uplink; "" = the only one (W20)

	NoOffload []string // of Offloads, in their order: what the device shall not do though it could
}

// Offloads are the keys of port.offload. // O23
var Offloads = []string{"tso", "gre_tso", "tx_checksum", "outer_checksum", "rx_checksum", "multi_segment", "vlan"}

// ProviderAddress is one [[provider_address]].
type ProviderAddress struct {
	Address netip.Prefix // the PA with its subnet's prefix length
	Port    string       // name of an uplink
	VLAN    uint16       // 0 = untagged
	MAC     [6]byte      // zero = the uplink's own; policy files only
}

// ProviderRoute is one [[provider_route]]. // P16
type ProviderRoute struct {
	Port    string // name of an uplink
	Prefix  netip.Prefix
	NextHop netip.Addr // unspecified = on-link
	Metric  uint32     // lowest wins for the same prefix; policy files only
}

// Neighbor is one [[neighbor]]: a next hop whose MAC is not asked for.
type Neighbor struct {
	Port    string // name of an uplink
	Address netip.Addr
	MAC     [6]byte
}

// Router is [router], the distributed router of every virtual subnet.
type Router struct {
	DecrementTTL bool // when a packet changes its virtual subnet (L14)
	AnswerPing   bool // for the router's address (L11)
	ClampMSS     bool // of TCP connections to what their path carries (M13)
	ICMPRate     int  // ICMP errors per second and port (M9)
}

// NVGRE is [nvgre].
type NVGRE struct {
	FlowID          FlowID
	DSCPECN         DSCPECN
	ControlMessages ControlMessages
}

// ControlMessages is what is done with the NVE-to-NVE messages of HNV. // N12
type ControlMessages string

// The choices of nvgre.control_messages.
const (
	ControlMessagesOff    ControlMessages = "off"    // none is sent, none is read
	ControlMessagesNotify ControlMessages = "notify" // sent; those that come are told on Watch
	ControlMessagesAct    ControlMessages = "act"    // and REDIRECT moves the record
)

// FlowID is what goes into the low 8 bits of the GRE key. // W5
type FlowID string

// The choices of nvgre.flow_id.
const (
	FlowIDHash FlowID = "hash" // of the inner flow
	FlowIDZero FlowID = "zero" // for peers that match the whole key
)

// DSCPECN is what the outer header says of class and congestion. // W16
type DSCPECN string

// The choices of nvgre.dscp_ecn.
const (
	DSCPECNCopy DSCPECN = "copy" // of the tenant's packet
	DSCPECNZero DSCPECN = "zero" // for fabrics where tenants must not choose a class
)

// PolicySource is [policy]: where policy lives.
type PolicySource struct {
	Store string // "bolt:FILE" or "memory"
	Seed  string // policy file, applied when the store is empty; "" = none. Relative paths are taken from the host file's directory
}

// Control is [control].
type Control struct {
	Socket    string // absolute path of the Unix socket
	Group     string // who besides root may use it
	ReadGroup string // who may look, over Socket + ReadOnlySuffix; "" = nobody else
}

// Metrics is [metrics].
type Metrics struct {
	Listen string // host:port; "" = no endpoint
}

// Log is [log].
type Log struct {
	Level slog.Level
}

// ReadOnlySuffix is what the path of the socket for control.read_group ends in.
const ReadOnlySuffix = ".ro"

// DefaultGroup is control.group unless the file says otherwise.
const DefaultGroup = "paca"

// Defaults is what holds where a host file is silent. It is no complete
// configuration: workers.cores has no default.
func Defaults() Config {
	machine, err := os.Hostname()
	if err != nil || !validName.MatchString(machine) {
		machine = "localhost"
	}
	return Config{
		Host:    Host{Name: machine, DuplicateDetection: true},
		EAL:     EAL{Memory: 512, Hugepages: HugepagesAuto},
		Workers: Workers{Idle: IdleAdaptive, Spread: SpreadAuto},
		Router:  Router{DecrementTTL: true, ICMPRate: 100},
		NVGRE:   NVGRE{FlowID: FlowIDHash, DSCPECN: DSCPECNCopy, ControlMessages: ControlMessagesNotify},
		Policy:  PolicySource{Store: "bolt:/var/lib/paca/policy.db"},
		Control: Control{Socket: "/run/paca/paca.sock", Group: DefaultGroup},
		Log:     Log{Level: slog.LevelInfo},
	}
}

// What a port has unless the file says otherwise.
const (
	defaultMTU            = 1500
	defaultDynamicIPLimit = 8    // of a VM's
	defaultStormLimit     = 1000 // of a VM's
)

// Load reads a host file. The error holds a *Fault for each thing wrong with it.
func Load(path string) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	return Parse(path, data)
}

// Parse reads a host file's text; file is what faults call it, and where the
// relative path of policy.seed starts.
func Parse(file string, data []byte) (*Config, error) {
	doc, root, err := parse(file, data)
	if err != nil {
		return nil, err
	}
	c := Defaults()
	c.doc = doc
	c.read(root)
	root.unknown()
	c.check()
	if len(doc.faults) > 0 {
		return nil, join(doc.faults)
	}
	return &c, nil
}

// Line is where key stands in the file; if it does not, where the nearest table
// around it begins.
func (c *Config) Line(key string) int { return c.doc.lines().at(key) }

// Fault words a finding about key that only others could make.
func (c *Config) Fault(key, format string, args ...any) *Fault {
	return c.doc.fault(key, format, args...)
}

func (c *Config) read(root *table) {
	root.table("host", func(t *table) {
		optional(t, "name", &c.Host.Name, name)
		optional(t, "duplicate_detection", &c.Host.DuplicateDetection, boolean)
	})
	root.table("eal", func(t *table) {
		optional(t, "memory", &c.EAL.Memory, mebibytes)
		optional(t, "buffers", &c.EAL.Buffers, integer(1024, 1<<26))
		optional(t, "hugepages", &c.EAL.Hugepages, oneOf(HugepagesAuto, Hugepages2M, Hugepages1G, HugepagesNone))
		list(t, "args", &c.EAL.Args, text)
	})
	root.table("workers", func(t *table) {
		if _, ok := t.values["cores"]; !ok {
			t.doc.addFault(t.key("cores"), "is missing; list the cores that paca may have for itself, like [1]")
		}
		if list(t, "cores", &c.Workers.Cores, integer(0, 1023)) {
			if len(c.Workers.Cores) == 0 {
				t.doc.addFault(t.key("cores"), "is empty; at least one core must work, like [1]")
			}
			unique(t.doc, c.Workers.Cores, "workers.cores[%d]", "one worker to a core; remove it",
				func(core int) (int, bool) { return core, true })
		}
		optional(t, "idle", &c.Workers.Idle, oneOf(IdlePoll, IdleAdaptive))
		optional(t, "spread", &c.Workers.Spread, oneOf(SpreadAuto, SpreadNIC, SpreadSoftware, SpreadNone))
	})
	root.tables("port", func(t *table) {
		p := Port{MTU: defaultMTU}
		_, virtual := t.values["vsid"]
		if readPort(t, &p, vsid) && p.Role == RoleVM && !virtual {
			t.doc.addFault(t.key("vsid"), "is missing; say which virtual subnet the VM is in, 4096 to 16777214")
		}
		c.Ports = append(c.Ports, p)
	})
	root.tables("provider_address", func(t *table) {
		c.ProviderAddresses = append(c.ProviderAddresses, readProviderAddress(t))
	})
	root.tables("provider_route", func(t *table) {
		c.ProviderRoutes = append(c.ProviderRoutes, readProviderRoute(t))
	})
	root.tables("neighbor", func(t *table) {
		var n Neighbor
		required(t, "port", &n.Port, name, "name the uplink that the neighbor is behind")
		required(t, "address", &n.Address, unicast, "write the neighbor's address")
		required(t, "mac", &n.MAC, unicastMAC, "write the neighbor's MAC")
		c.Neighbors = append(c.Neighbors, n)
	})
	root.table("router", func(t *table) {
		optional(t, "decrement_ttl", &c.Router.DecrementTTL, boolean)
		optional(t, "answer_ping", &c.Router.AnswerPing, boolean)
		optional(t, "clamp_mss", &c.Router.ClampMSS, boolean)
		optional(t, "icmp_rate", &c.Router.ICMPRate, integer(1, 100_000))
	})
	root.table("nvgre", func(t *table) {
		optional(t, "flow_id", &c.NVGRE.FlowID, oneOf(FlowIDHash, FlowIDZero))
		optional(t, "dscp_ecn", &c.NVGRE.DSCPECN, oneOf(DSCPECNCopy, DSCPECNZero))
		optional(t, "control_messages", &c.NVGRE.ControlMessages, oneOf(ControlMessagesOff, ControlMessagesNotify, ControlMessagesAct))
	})
	root.table("policy", func(t *table) {
		optional(t, "store", &c.Policy.Store, store)
		if optional(t, "seed", &c.Policy.Seed, text) && c.Policy.Seed != "" && !filepath.IsAbs(c.Policy.Seed) {
			c.Policy.Seed = filepath.Join(filepath.Dir(c.doc.file), c.Policy.Seed)
		}
	})
	root.table("control", func(t *table) {
		optional(t, "socket", &c.Control.Socket, socketPath)
		optional(t, "group", &c.Control.Group, name)
		if optional(t, "read_group", &c.Control.ReadGroup, name) {
			if err := checkSocketPath(c.Control.Socket + ReadOnlySuffix); err != nil {
				t.doc.addFault(t.key("read_group"), "the socket for it would be %s%s: %v", c.Control.Socket, ReadOnlySuffix, err)
			}
		}
	})
	root.table("metrics", func(t *table) {
		optional(t, "listen", &c.Metrics.Listen, listenAddress)
	})
	root.table("log", func(t *table) {
		optional(t, "level", &c.Log.Level, logLevel)
	})
}

// readPort reads a port of a host or policy file, and says whether the role is
// good.
func readPort(t *table, p *Port, vsid func(any) (uint32, error)) (role bool) {
	required(t, "name", &p.Name, name, "give the port a name")
	role = required(t, "role", &p.Role, oneOf(RoleUplink, RoleVM, RoleHost), `use "uplink", "vm" or "host"`)
	required(t, "device", &p.Device, device, "use a PCI address or kind:argument, like \"tap:vm1\"")
	optional(t, "mtu", &p.MTU, integer(1280, 9702))
	optional(t, "queues", &p.Queues, integer[uint32](1, 1024))
	t.table("offload", func(t *table) {
		for _, word := range Offloads {
			use := true
			if optional(t, word, &use, boolean); !use {
				p.NoOffload = append(p.NoOffload, word)
			}
		}
	})
	if role && p.Role != RoleVM {
		t.refuse("vsid", "only a port of role \"vm\" has one")
		t.refuse("mac", "only a port of role \"vm\" has one here")
		for _, key := range []string{"mac_spoofing", "dhcp_guard", "router_guard", "dynamic_ip_limit", "storm_limit"} {
			t.refuse(key, "only a port of role \"vm\" has it")
		}
	} else { // or the role is wrong already: nothing is said that depends on it
		optional(t, "vsid", &p.VSID, vsid)
		if role {
			required(t, "mac", &p.MAC, unicastMAC, "write the MAC of the VM's network card")
			p.DynamicIPLimit, p.StormLimit = defaultDynamicIPLimit, defaultStormLimit
		} else {
			optional(t, "mac", &p.MAC, unicastMAC)
		}
		optional(t, "mac_spoofing", &p.MACSpoofing, boolean)
		optional(t, "dhcp_guard", &p.DHCPGuard, boolean)
		optional(t, "router_guard", &p.RouterGuard, boolean)
		optional(t, "dynamic_ip_limit", &p.DynamicIPLimit, integer[uint32](0, 4096))
		optional(t, "storm_limit", &p.StormLimit, integer[uint32](0, 10_000_000))
	}
	if role && p.Role != RoleHost {
		t.refuse("uplink", "only a port of role \"host\" stands behind one")
	} else {
		optional(t, "uplink", &p.Uplink, name)
	}
	return role
}

func readProviderAddress(t *table) (a ProviderAddress) {
	required(t, "address", &a.Address, hostAddress, "write the PA and its prefix length, like 192.168.1.10/24")
	required(t, "port", &a.Port, name, "name the uplink that has the PA")
	optional(t, "vlan", &a.VLAN, integer[uint16](0, 4094))
	return a
}

func readProviderRoute(t *table) (r ProviderRoute) {
	required(t, "port", &r.Port, name, "name the uplink that the route leaves by")
	good := required(t, "prefix", &r.Prefix, prefix, "write the destination, like 0.0.0.0/0")
	good = required(t, "next_hop", &r.NextHop, address, "write the router's address, or 0.0.0.0 or :: for on-link") && good
	if good {
		checkNextHop(t, r.Prefix, r.NextHop)
	}
	return r
}

// check is what one value cannot tell by itself. It stays silent about values
// that are absent or were refused already: those are zero.
func (c *Config) check() {
	unique(c.doc, c.Ports, "port[%d].name", "give each port its own name",
		func(p Port) (string, bool) { return p.Name, p.Name != "" })
	unique(c.doc, c.Ports, "port[%d].device", "a device serves one port",
		func(p Port) (string, bool) { return deviceIdentity(p.Device), p.Device != "" })
	type vnic struct {
		vsid uint32
		mac  [6]byte
	}
	unique(c.doc, c.Ports, "port[%d].mac", "within a virtual subnet a MAC is one VM's",
		func(p Port) (vnic, bool) { return vnic{p.VSID, p.MAC}, p.VSID != 0 && p.MAC != [6]byte{} })

	unique(c.doc, c.ProviderAddresses, "provider_address[%d].address", "a PA is assigned once",
		func(a ProviderAddress) (netip.Addr, bool) { return a.Address.Addr(), a.Address.IsValid() })
	for i, p := range c.Ports {
		c.checkUplink(element("port", i)+".uplink", p.Uplink)
	}
	for i, a := range c.ProviderAddresses {
		c.checkUplink(element("provider_address", i)+".port", a.Port)
	}

	type route struct {
		port   string
		prefix netip.Prefix
	}
	unique(c.doc, c.ProviderRoutes, "provider_route[%d].prefix", "a port has one route to a prefix; remove one",
		func(r ProviderRoute) (route, bool) {
			return route{r.Port, r.Prefix}, r.Port != "" && r.Prefix.IsValid()
		})
	for i, r := range c.ProviderRoutes {
		c.checkUplink(element("provider_route", i)+".port", r.Port)
	}

	type neighbor struct {
		port    string
		address netip.Addr
	}
	unique(c.doc, c.Neighbors, "neighbor[%d].address", "a neighbor has one MAC; remove one",
		func(n Neighbor) (neighbor, bool) {
			return neighbor{n.Port, n.Address}, n.Port != "" && n.Address.IsValid()
		})
	for i, n := range c.Neighbors {
		c.checkUplink(element("neighbor", i)+".port", n.Port)
	}
}

// unique reports every element whose value an earlier one has. Elements without
// a good value do not count; key has the place of the element's number.
func unique[E any, V comparable](d *document, elements []E, key, advice string, value func(E) (V, bool)) {
	first := map[V]string{}
	for i, e := range elements {
		v, ok := value(e)
		if !ok {
			continue
		}
		here := fmt.Sprintf(key, i)
		if other, taken := first[v]; taken {
			d.addFault(here, "is the same as %s on line %d; %s", other, d.lines().at(other), advice)
		} else {
			first[v] = here
		}
	}
}

// checkUplink says whether port is the name of an uplink of this file.
func (c *Config) checkUplink(key, port string) {
	if port == "" {
		return
	}
	var uplinks []string
	for i, p := range c.Ports {
		if p.Role == RoleUplink && p.Name != "" {
			uplinks = append(uplinks, p.Name)
		}
		if p.Name != port {
			continue
		}
		if p.Role != RoleUplink && p.Role != "" {
			c.doc.addFault(key, "%q (%s) has role %q; name an uplink", port, element("port", i), p.Role)
		}
		return
	}
	if len(uplinks) == 0 {
		c.doc.addFault(key, "no port is called %q; add it as a [[port]] of role \"uplink\"", port)
		return
	}
	c.doc.addFault(key, "no port is called %q; the uplinks are %s", port, strings.Join(uplinks, ", "))
}

// checkNextHop holds a route to one address family.
func checkNextHop(t *table, prefix netip.Prefix, nextHop netip.Addr) {
	if prefix.Addr().Is4() != nextHop.Is4() {
		t.doc.addFault(t.key("next_hop"), "%s and prefix %s are not of one address family; use one of the prefix's", nextHop, prefix)
	} else if nextHop.IsMulticast() {
		t.doc.addFault(t.key("next_hop"), "%s is a multicast address; use one machine's, or %s for on-link", nextHop, unspecified(nextHop))
	}
}

func unspecified(like netip.Addr) netip.Addr {
	if like.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// mebibytes reads a size like "512MiB" or "1GiB".
func mebibytes(v any) (int, error) {
	const least, most = 64, 1 << 20
	s, err := text(v)
	if err != nil {
		return 0, err
	}
	number, unit := s, 0
	switch {
	case strings.HasSuffix(s, "MiB"):
		number, unit = s[:len(s)-3], 1
	case strings.HasSuffix(s, "GiB"):
		number, unit = s[:len(s)-3], 1024
	}
	n, err := strconv.ParseUint(strings.TrimRight(number, " "), 10, 32)
	switch {
	case err != nil || unit == 0:
		return 0, fmt.Errorf("%q is not a size; write it in MiB or GiB, like 512MiB", s)
	case n*uint64(unit) < least:
		return 0, fmt.Errorf("%q is too little; use at least %dMiB", s, least)
	case n*uint64(unit) > most:
		return 0, fmt.Errorf("%q is too much; use at most %dGiB", s, most/1024)
	}
	return int(n) * unit, nil
}

// store names the place where policy lives.
func store(v any) (string, error) {
	s, err := text(v)
	if err != nil {
		return s, err
	}
	kind, arg, _ := strings.Cut(s, ":")
	switch {
	case s == "memory", kind == "bolt" && filepath.IsAbs(arg):
		return s, nil
	case kind == "bolt":
		return s, fmt.Errorf("%q has no absolute path; use \"bolt:/var/lib/paca/policy.db\"", s)
	case kind == "etcd" && arg != "":
		return s, fmt.Errorf("%q is not in this release; use \"bolt:FILE\" or \"memory\"", s)
	default:
		return s, fmt.Errorf("%q is not a store; use \"bolt:FILE\" or \"memory\"", s)
	}
}

// hostAddress is one that a machine can have on a subnet.
func hostAddress(v any) (netip.Prefix, error) {
	p, err := cidr(v)
	if err != nil {
		return p, err
	}
	if err := checkUnicast(p.Addr()); err != nil {
		return p, err
	}
	if p.Addr().Is4() && p.Bits() < 31 {
		host := p.Addr().As4()
		ones, zeros := true, true
		for bit := p.Bits(); bit < 32; bit++ {
			set := host[bit/8]>>(7-bit%8)&1 == 1
			ones, zeros = ones && set, zeros && !set
		}
		if zeros {
			return p, fmt.Errorf("%q is the address of the subnet itself; use a host's", p)
		}
		if ones {
			return p, fmt.Errorf("%q is the subnet's broadcast address; use a host's", p)
		}
	}
	return p, nil
}

// unicast is an address of one machine.
func unicast(v any) (netip.Addr, error) {
	a, err := address(v)
	if err == nil {
		err = checkUnicast(a)
	}
	return a, err
}

func checkUnicast(a netip.Addr) error {
	if a.IsMulticast() {
		return fmt.Errorf("%q is not one machine's address; use a unicast one", a)
	}
	return checkProvider(a)
}

// machineOrGroup is an address of one machine, or a multicast group.
func machineOrGroup(v any) (netip.Addr, error) {
	a, err := address(v)
	if err == nil {
		err = checkProvider(a)
	}
	return a, err
}

func checkProvider(a netip.Addr) error {
	switch {
	case a.IsUnspecified():
		return fmt.Errorf("%q is no machine's address; use one that is not all zero", a)
	case a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return fmt.Errorf("%q is not one machine's address; use a unicast one", a)
	case a.IsLoopback():
		return fmt.Errorf("%q never leaves a machine; use an address of the provider network", a)
	}
	return nil
}

// nameServer is an address that DHCPv4 tells of. // A14
func nameServer(v any) (netip.Addr, error) {
	a, err := unicast(v)
	if err == nil && !a.Is4() {
		err = fmt.Errorf("%q is IPv6, which DHCPv4 cannot tell of; use an IPv4 address", a)
	}
	return a, err
}

// listenAddress is host:port; an empty host listens on every address.
func listenAddress(v any) (string, error) {
	s, err := text(v)
	if err != nil || s == "" {
		return s, err
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return s, fmt.Errorf("%q is not host:port; write 127.0.0.1:9470, or \"\" for none", s)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return s, fmt.Errorf("%q is not a TCP port; use 1 to 65535", port)
	}
	if strings.ContainsAny(host, "/ \t") {
		return s, fmt.Errorf("%q is neither an address nor a host's name; write 127.0.0.1:9470", host)
	}
	return s, nil
}

func logLevel(v any) (slog.Level, error) {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	s, err := oneOf("debug", "info", "warn", "error")(v)
	return levels[s], err
}
