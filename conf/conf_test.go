package conf

import (
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestHostFile(t *testing.T) {
	got, err := Load("testdata/host.toml")
	if err != nil {
		t.Fatal(err)
	}
	mac := [6]byte{0x10, 0x10, 0x10, 0x10, 0x11, 0x05}
	want := &Config{
		Host:    Host{Name: "host1"},
		EAL:     EAL{Memory: 1024, Buffers: 20000, Hugepages: HugepagesNone, Args: []string{"--log-level=lib.eal:4", "--no-pci"}},
		Workers: Workers{Cores: []int{1, 0}, Idle: IdlePoll, Spread: SpreadSoftware},
		Ports: []Port{
			{Name: "uplink0", Role: RoleUplink, Device: "0000:3b:00.0", MTU: 1600, Queues: 4},
			{Name: "blue-vm1", Role: RoleVM, Device: "vhost-user:/run/paca/blue-vm1.sock,client", MTU: 1500, VSID: 6001, MAC: mac, DynamicIPLimit: 8, StormLimit: 1000},
			{Name: "red-vm1", Role: RoleVM, Device: "memif:/run/paca/memif.sock,id=3,role=server", MTU: 1500, VSID: 5001, MAC: mac, DynamicIPLimit: 8, StormLimit: 1000},
			{Name: "kernel", Role: RoleHost, Device: "tap:paca0", MTU: 1500, Uplink: "uplink0"},
			{Name: "green-vm1", Role: RoleVM, Device: "tap:green1", MTU: 1500, VSID: 7001, MAC: [6]byte{0x10, 0x10, 0x10, 0x10, 0x11, 0x07},
				MACSpoofing: true, DHCPGuard: true, RouterGuard: true, NoOffload: []string{"gre_tso", "vlan"}},
		},
		ProviderAddresses: []ProviderAddress{
			{Address: netip.MustParsePrefix("192.168.1.10/24"), Port: "uplink0"},
			{Address: netip.MustParsePrefix("2001:db8:1::10/64"), Port: "uplink0", VLAN: 100},
		},
		ProviderRoutes: []ProviderRoute{
			{Port: "uplink0", Prefix: netip.MustParsePrefix("0.0.0.0/0"), NextHop: netip.MustParseAddr("192.168.1.1")},
			{Port: "uplink0", Prefix: netip.MustParsePrefix("2001:db8:1::/64"), NextHop: netip.IPv6Unspecified()},
		},
		Neighbors: []Neighbor{{Port: "uplink0", Address: netip.MustParseAddr("192.168.1.1"), MAC: [6]byte{2, 0, 0, 0, 1, 1}}},
		Router:    Router{AnswerPing: true, ClampMSS: true, ICMPRate: 7},
		NVGRE:     NVGRE{FlowID: FlowIDZero, DSCPECN: DSCPECNZero, ControlMessages: ControlMessagesAct},
		Policy:    PolicySource{Store: "memory", Seed: "testdata/policy.toml"},
		Control:   Control{Socket: "/run/paca/host1.sock", Group: "operators", ReadGroup: "watchers"},
		Metrics:   Metrics{Listen: "[::1]:9470"},
		Log:       Log{Level: slog.LevelDebug},
		doc:       got.doc,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read\n%+v, want\n%+v", got, want)
	}
	if n := got.Line("port[2].mac"); n != 32 {
		t.Errorf("port[2].mac is on line %d, want 32", n)
	}
	if n := got.Line("port[2].mtu"); n != 27 {
		t.Errorf("port[2].mtu, which the file leaves out, is on line %d, want that of its port, 27", n)
	}
	late := got.Fault("port[3].device", "no interface %q; create it", "paca0")
	if want := `testdata/host.toml:37: port[3].device: no interface "paca0"; create it`; late.Error() != want {
		t.Errorf("late fault says %q, want %q", late, want)
	}
}

func TestHostFileDefaults(t *testing.T) {
	got, err := Parse("least.toml", []byte("[workers]\ncores = [1]\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := Defaults()
	want.Workers.Cores = []int{1}
	want.doc = got.doc
	if !reflect.DeepEqual(got, &want) {
		t.Errorf("read\n%+v, want\n%+v", got, &want)
	}
	if got.Host.Name == "" || got.Policy.Store != "bolt:/var/lib/paca/policy.db" || got.Control.Group != DefaultGroup || got.Metrics.Listen != "" ||
		!got.Host.DuplicateDetection || got.Router != (Router{DecrementTTL: true, ICMPRate: 100}) || got.NVGRE.ControlMessages != ControlMessagesNotify {
		t.Errorf("defaults are %+v", got)
	}
}

func TestPolicyFile(t *testing.T) {
	got, err := LoadPolicy("testdata/policy.toml")
	if err != nil {
		t.Fatal(err)
	}
	rdid := [16]byte{0x11, 0x11, 0x11, 0x11, 0x22, 0x22, 0x33, 0x33, 0x44, 0x44, 0, 0, 0, 0, 0, 0xab}
	rdid2 := [16]byte{0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x33, 0x33, 0x44, 0x44}
	want := &Policy{
		VirtualSubnets: []VirtualSubnet{
			{VSID: 6001, RDID: rdid, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.1.1.0/24"), netip.MustParsePrefix("fd00:1::/64")}, Mode: ModeRewrite},
			{VSID: 4096, RDID: rdid2, Mode: ModeNVGRE},
			{VSID: 7001, RDID: rdid2, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.7.1.0/24")}, Mode: ModeNVGRE,
				DHCP: true, DNS: []netip.Addr{netip.MustParseAddr("10.7.1.53"), netip.MustParseAddr("192.0.2.53")}},
		},
		LookupRecords: []LookupRecord{
			{VSID: 6001, CA: netip.MustParseAddr("10.1.1.11"), MAC: [6]byte{0x10, 0x10, 0x10, 0x10, 0x11, 0x05}, PA: netip.MustParseAddr("192.168.1.10"), Type: TypeStatic},
			{VSID: 16777214, CA: netip.IPv6Unspecified(), MAC: [6]byte{0x10, 0x10, 0x10, 0x10, 0x11, 0x06}, PA: netip.MustParseAddr("2001:db8:1::10"),
				Type: TypeL2Only, UseVMMAC: true, VMName: "blue 2", CustomerID: "{33333333-2222-3333-4444-000000000000}", Context: "moved on Tuesday"},
			{VSID: 7001, CA: netip.MustParseAddr("239.1.2.3"), MAC: [6]byte{1, 0, 0x5e, 1, 2, 3}, PA: netip.MustParseAddr("239.255.0.1"), Type: TypeStatic},
		},
		CustomerRoutes: []CustomerRoute{
			{RDID: rdid, VSID: 6001, Prefix: netip.MustParsePrefix("0.0.0.0/0"), NextHop: netip.MustParseAddr("10.1.1.254"), Metric: 255},
			{RDID: rdid, VSID: 6001, Prefix: netip.MustParsePrefix("fd00:1::/64"), NextHop: netip.IPv6Unspecified()},
		},
		Global: &Global{UseExternalRouter: true},
		Ports: []Port{
			{Name: "blue-vm2", Role: RoleVM, Device: "tap:blue2", MTU: 1400, VSID: 6001, MAC: [6]byte{0x10, 0x10, 0x10, 0x10, 0x11, 0x06}, DynamicIPLimit: 8, StormLimit: 1000},
			{Name: "new-vm", Role: RoleVM, Device: "tap:new", MTU: 1500, MAC: [6]byte{0x10, 0x10, 0x10, 0x10, 0x11, 0x08}, DynamicIPLimit: 8, StormLimit: 1000},
			{Name: "uplink1", Role: RoleUplink, Device: "0000:3b:00.1", MTU: 9000},
			{Name: "guarded-vm", Role: RoleVM, Device: "tap:guarded", MTU: 1500, MAC: [6]byte{0x10, 0x10, 0x10, 0x10, 0x11, 0x09},
				MACSpoofing: true, DHCPGuard: true, RouterGuard: true, StormLimit: 200},
			{Name: "kernel1", Role: RoleHost, Device: "tap:paca1", MTU: 1500, Uplink: "uplink1"},
			{Name: "kernel2", Role: RoleHost, Device: "tap:paca2", MTU: 1500, Uplink: "uplink2", Queues: 2, NoOffload: []string{"multi_segment"}},
		},
		ProviderAddresses: []ProviderAddress{
			{Address: netip.MustParsePrefix("192.168.1.11/24"), Port: "uplink0", VLAN: 7, MAC: [6]byte{2, 0, 0, 0, 1, 0x11}},
			{Address: netip.MustParsePrefix("2001:db8:1::11/64"), Port: "uplink1"},
		},
		ProviderRoutes: []ProviderRoute{
			{Port: "uplink1", Prefix: netip.MustParsePrefix("2001:db8::/32"), NextHop: netip.MustParseAddr("2001:db8:1::1")},
			{Port: "uplink0", Prefix: netip.MustParsePrefix("0.0.0.0/0"), NextHop: netip.MustParseAddr("192.168.1.1"), Metric: 10},
		},
		doc: got.doc,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read\n%+v, want\n%+v", got, want)
	}
	if n := got.Line("virtual_subnet[0].prefixes[1]"); n != 5 {
		t.Errorf("virtual_subnet[0].prefixes[1] is on line %d, want 5", n)
	}
}

// What Write writes, ParsePolicy reads, whatever the labels hold.
func TestPolicyFileWritten(t *testing.T) {
	trip := func(p *Policy) string {
		t.Helper()
		var b strings.Builder
		if err := p.Write(&b); err != nil {
			t.Fatal(err)
		}
		got, err := ParsePolicy("written.toml", []byte(b.String()))
		if err != nil {
			t.Fatalf("%v\n%s", err, &b)
		}
		got.doc = p.doc
		if !reflect.DeepEqual(got, p) {
			t.Errorf("read\n%+v of\n%s", got, &b)
		}
		return b.String()
	}
	for _, file := range []string{"testdata/policy.toml", "examples/policy.toml"} {
		p, err := LoadPolicy(file)
		if err != nil {
			t.Fatal(err)
		}
		trip(p)
		for i, label := range []string{`"`, `\`, `\u0041`, "\x00\x01\t\r\n\x1f\x7f", "ä 大 \U0001F42E", "'''", "#", `"""`, "\ufeff"} {
			r := p.LookupRecords[i%len(p.LookupRecords)]
			r.VMName, r.CustomerID, r.Context = label, label+"x", "x"+label
			p.LookupRecords = append(p.LookupRecords, r)
		}
		trip(p)
	}
	if empty := trip(&Policy{}); empty != "" {
		t.Errorf("nothing is written as %q", empty)
	}
}

// A file that is right but for one edit gets exactly one fault, on the edit's line.
type edit struct {
	old, new string // the first occurrence of old becomes new
	want     string // the fault, without the file's name
}

func testEdits(t *testing.T, file string, parse func(string, []byte) error, edits []edit) {
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range edits {
		if !strings.Contains(string(good), e.old) {
			t.Errorf("%s has no %q", file, e.old)
			continue
		}
		err := parse("bad.toml", []byte(strings.Replace(string(good), e.old, e.new, 1)))
		if err == nil {
			t.Errorf("%q in place of %q is accepted", e.new, e.old)
			continue
		}
		if got := strings.TrimPrefix(err.Error(), "bad.toml:"); got != e.want {
			t.Errorf("%q in place of %q:\n got %s\nwant %s", e.new, e.old, got, e.want)
		}
		var fault *Fault
		if !errors.As(err, &fault) || fault.Line == 0 || fault.File != "bad.toml" {
			t.Errorf("%q in place of %q: no *Fault with file and line in %#v", e.new, e.old, err)
		}
	}
}

func TestHostFileFaults(t *testing.T) {
	parse := func(file string, data []byte) error { _, err := Parse(file, data); return err }
	const devices = "a PCI address, tap:NAME, af_packet:IFACE, af_xdp:IFACE, vhost-user:PATH, virtio-user:PATH, memif:PATH or vdev:STRING"
	testEdits(t, "testdata/host.toml", parse, []edit{
		// keys
		{`[host]`, `[hosts]`, `2: hosts: unknown key; did you mean host?`},
		{`name = "host1"`, `nane = "host1"`, `3: host.nane: unknown key; did you mean name?`},
		{`name = "host1"`, "name = \"host1\"\nspeed = 11", `4: host.speed: unknown key; known here: name, duplicate_detection`},
		{`name = "host1"`, "name = \"host1\"\n\"per second\" = 11", `4: host."per second": unknown key; known here: name, duplicate_detection`},
		{`mtu = 1600`, `MTU = 1600`, `18: port[0].MTU: unknown key; did you mean mtu?`},
		{`port = "uplink0"`, "port = \"uplink0\"\nnext-hop = \"::\"", `42: provider_address[0].next-hop: unknown key; known here: address, port, vlan`},
		{`[workers]`, "[[ports]]\n[workers]", `10: ports: unknown key; did you mean port?`},
		{`[host]`, `[[host]]`, `2: host: is a list, not a table; write [host]`},
		{"[nvgre]\nflow_id = \"zero\"\ndscp_ecn = \"zero\"\ncontrol_messages = \"act\"", "nvgre = 1", `63: neighbor[0].nvgre: unknown key; known here: port, address, mac`},
		{`[host]`, "log = 3\n[host]", `80: not TOML: Key 'log' has already been defined.`},
		{`name = "host1"`, `name = host1`, `3: host.name: not TOML: expected value but found "host" instead`},
		{`name = "host1"`, `name = "host1"` + "\n" + `name = "host2"`, `4: host.name: not TOML: Key 'host.name' has already been defined.`},

		// [host], [eal], [workers]
		{`name = "host1"`, `name = 1`, `3: host.name: 1 is not a string; put it in quotes`},
		{`name = "host1"`, `name = "host 1"`, `3: host.name: "host 1" is not a name; use up to 63 letters, digits, dots, dashes and underscores, the first a letter or digit`},
		{`"1GiB"`, `"1GB"`, `6: eal.memory: "1GB" is not a size; write it in MiB or GiB, like 512MiB`},
		{`"1GiB"`, `1024`, `6: eal.memory: 1024 is not a string; put it in quotes`},
		{`"1GiB"`, `"1MiB"`, `6: eal.memory: "1MiB" is too little; use at least 64MiB`},
		{`"1GiB"`, `"2000000GiB"`, `6: eal.memory: "2000000GiB" is too much; use at most 1024GiB`},
		{`"none"`, `"4K"`, `7: eal.hugepages: "4K" is unknown; use one of "auto", "2M", "1G", "none"`},
		{`"--no-pci"]`, "\n  17]", `9: eal.args[1]: 17 is not a string; put it in quotes`},
		{`20000`, `1000`, `9: eal.buffers: 1000 is below 1024; use 1024 to 67108864`},
		{`[1, 0]`, `[]`, `11: workers.cores: is empty; at least one core must work, like [1]`},
		{`cores = [1, 0]`, ``, `10: workers.cores: is missing; list the cores that paca may have for itself, like [1]`},
		{`[1, 0]`, `1`, `11: workers.cores: 1 is not a list; write a list, [...]`},
		{`[1, 0]`, `[0, -1]`, `11: workers.cores[1]: -1 is below 0; use 0 to 1023`},
		{`[1, 0]`, "[0,\n1,\n0]", `13: workers.cores[2]: is the same as workers.cores[0] on line 11; one worker to a core; remove it`},
		{`idle = "poll"`, `idle = "lazy"`, `12: workers.idle: "lazy" is unknown; use one of "poll", "adaptive"`},

		// [[port]]
		{`name = "kernel"`, "", `34: port[3].name: is missing; give the port a name`},
		{`name = "blue-vm1"`, `name = "kernel"`, `35: port[3].name: is the same as port[1].name on line 21; give each port its own name`},
		{`role = "host"`, `role = "guest"`, `36: port[3].role: "guest" is unknown; use one of "uplink", "vm", "host"`},
		{`role = "host"`, ``, `34: port[3].role: is missing; use "uplink", "vm" or "host"`},
		{`device = "tap:paca0"`, ``, `34: port[3].device: is missing; use a PCI address or kind:argument, like "tap:vm1"`},
		{`"tap:paca0"`, `"eth0"`, `37: port[3].device: "eth0" is not a device; use ` + devices},
		{`"tap:paca0"`, `"veth:paca0"`, `37: port[3].device: device kind "veth" is unknown; use ` + devices},
		{`"0000:3b:00.0"`, `"0000:3b:00.9"`, `17: port[0].device: device kind "0000" is unknown; use ` + devices},
		{`"tap:paca0"`, `"tap:"`, `37: port[3].device: "" is not an interface name; use one as ip link shows it`},
		{`"tap:paca0"`, `"tap:paca012345678901"`, `37: port[3].device: interface name "paca012345678901" is longer than Linux allows; use at most 15 bytes`},
		{`"tap:paca0"`, `"vdev:"`, `37: port[3].device: "vdev:" names no virtual device; write one of DPDK's, like vdev:net_null0`},
		{`.sock,client"`, `.sock,server"`, `23: port[1].device: device option "server" is unknown; remove it`},
		{`.sock,client"`, `.sock,client=1"`, `23: port[1].device: device option "client=1" has a wrong value; see the device kinds`},
		{`role=server`, `role=master`, `30: port[2].device: device option "role=master" has a wrong value; see the device kinds`},
		{`vhost-user:/run`, `vhost-user:run`, `23: port[1].device: "run/paca/blue-vm1.sock" is not an absolute path; start it with /`},
		{`"tap:paca0"`, `"3B:00.0"`, `37: port[3].device: is the same as port[0].device on line 17; a device serves one port`},
		{`mtu = 1600`, `mtu = 80`, `18: port[0].mtu: 80 is below 1280; use 1280 to 9702`},
		{`mtu = 1600`, `mtu = 9703`, `18: port[0].mtu: 9703 is above 9702; use 1280 to 9702`},
		{`mtu = 1600`, `mtu = "1600"`, `18: port[0].mtu: "1600" is a string, not a whole number; use 1280 to 9702, without quotes`},
		{`mtu = 1600`, `mtu = 1600.0`, `18: port[0].mtu: 1600 is not a whole number; use 1280 to 9702, without quotes`},
		{`vsid = 6001`, `vsid = 4095`, `24: port[1].vsid: 4095 is below 4096; use 4096 to 16777214`},
		{`vsid = 6001`, `vsid = 16777215`, `24: port[1].vsid: 16777215 is above 16777214; use 4096 to 16777214`},
		{`vsid = 6001`, ``, `20: port[1].vsid: is missing; say which virtual subnet the VM is in, 4096 to 16777214`},
		{`mac = "10:10:10:10:11:05"`, ``, `20: port[1].mac: is missing; write the MAC of the VM's network card`},
		{`"10:10:10:10:11:05"`, `"10:10:10:10:11"`, `25: port[1].mac: "10:10:10:10:11" is not a MAC address; write 02:00:00:00:01:01`},
		{`"10:10:10:10:11:05"`, `"10101010110500"`, `25: port[1].mac: "10101010110500" is not a MAC address; write 02:00:00:00:01:01`},
		{`"10:10:10:10:11:05"`, `"10:10:10-10:11:05"`, `25: port[1].mac: "10:10:10-10:11:05" is not a MAC address; write 02:00:00:00:01:01`},
		{`"10:10:10:10:11:05"`, `"11:10:10:10:11:05"`, `25: port[1].mac: "11:10:10:10:11:05" is a multicast address; use one whose first byte is even`},
		{`"10:10:10:10:11:05"`, `"00:00:00:00:00:00"`, `25: port[1].mac: "00:00:00:00:00:00" is no card's address; use one that is not all zero`},
		{`vsid = 5001`, `vsid = 6001`, `32: port[2].mac: is the same as port[1].mac on line 25; within a virtual subnet a MAC is one VM's`},
		{`queues = 4`, `queues = 0`, `19: port[0].queues: 0 is below 1; use 1 to 1024`},
		{`queues = 4`, `queues = 1025`, `19: port[0].queues: 1025 is above 1024; use 1 to 1024`},
		{`"software"`, `"rss"`, `13: workers.spread: "rss" is unknown; use one of "auto", "nic", "software", "none"`},
		{`mtu = 1600`, `vsid = 6001`, `18: port[0].vsid: only a port of role "vm" has one; remove it`},
		{`mtu = 1600`, `mac = "02:00:00:00:00:01"`, `18: port[0].mac: only a port of role "vm" has one here; remove it`},

		// L31, L32, W20
		{`mtu = 1600`, `mac_spoofing = false`, `18: port[0].mac_spoofing: only a port of role "vm" has it; remove it`},
		{`mtu = 1600`, `dhcp_guard = true`, `18: port[0].dhcp_guard: only a port of role "vm" has it; remove it`},
		{`uplink = "uplink0"`, `router_guard = true`, `38: port[3].router_guard: only a port of role "vm" has it; remove it`},
		{`mtu = 1600`, `dynamic_ip_limit = 0`, `18: port[0].dynamic_ip_limit: only a port of role "vm" has it; remove it`},
		{`uplink = "uplink0"`, `storm_limit = 0`, `38: port[3].storm_limit: only a port of role "vm" has it; remove it`},
		{`mtu = 1600`, `uplink = "uplink0"`, `18: port[0].uplink: only a port of role "host" stands behind one; remove it`},
		{`mac_spoofing = true`, `uplink = "uplink0"`, `94: port[4].uplink: only a port of role "host" stands behind one; remove it`},
		{`uplink = "uplink0"`, `uplink = "uplink9"`, `38: port[3].uplink: no port is called "uplink9"; the uplinks are uplink0`},
		{`uplink = "uplink0"`, `uplink = "blue-vm1"`, `38: port[3].uplink: "blue-vm1" (port[1]) has role "vm"; name an uplink`},
		{`uplink = "uplink0"`, `uplink = ""`, `38: port[3].uplink: "" is not a name; use up to 63 letters, digits, dots, dashes and underscores, the first a letter or digit`},
		{`mac_spoofing = true`, `mac_spoofing = 1`, `94: port[4].mac_spoofing: 1 is not a boolean; use true or false`},
		{`dynamic_ip_limit = 0`, `dynamic_ip_limit = 4097`, `97: port[4].dynamic_ip_limit: 4097 is above 4096; use 0 to 4096`},
		{`storm_limit = 0`, `storm_limit = -1`, `98: port[4].storm_limit: -1 is below 0; use 0 to 10000000`},
		{`offload = {`, `offload = { lro = false,`, `99: port[4].offload.lro: unknown key; known here: tso, gre_tso, tx_checksum, outer_checksum, rx_checksum, multi_segment, vlan`},
		{`gre_tso = false`, `gre_tso = "off"`, `99: port[4].offload.gre_tso: "off" is a string, not a boolean; use true or false`},
		{`mtu = 1600`, `offload = false`, `18: port[0].offload: false is not a table; write offload = { ... }`},
		{`storm_limit = 0`, `storm_limit = 10000001`, `98: port[4].storm_limit: 10000001 is above 10000000; use 0 to 10000000`},

		// [[provider_address]], [[provider_route]], [[neighbor]]
		{`"192.168.1.10/24"`, `"192.168.1.10"`, `40: provider_address[0].address: "192.168.1.10" is not an address with a prefix length; write 192.168.1.10/24 or 2001:db8::10/64`},
		{`"192.168.1.10/24"`, `"192.168.1.10/33"`, `40: provider_address[0].address: "192.168.1.10/33" is not an address with a prefix length; write 192.168.1.10/24 or 2001:db8::10/64`},
		{`"192.168.1.10/24"`, `"192.168.1.0/24"`, `40: provider_address[0].address: "192.168.1.0/24" is the address of the subnet itself; use a host's`},
		{`"192.168.1.10/24"`, `"192.168.1.255/24"`, `40: provider_address[0].address: "192.168.1.255/24" is the subnet's broadcast address; use a host's`},
		{`"192.168.1.10/24"`, `"224.0.0.1/24"`, `40: provider_address[0].address: "224.0.0.1" is not one machine's address; use a unicast one`},
		{`"192.168.1.10/24"`, `"::ffff:192.168.1.10/120"`, `40: provider_address[0].address: "::ffff:192.168.1.10/120" is an IPv4 prefix in IPv6 clothes; write it as IPv4`},
		{`"192.168.1.10/24"`, `"2001:db8:1::10/128"`, `44: provider_address[1].address: is the same as provider_address[0].address on line 40; a PA is assigned once`},
		{`port = "uplink0"` + "\nvlan", `port = "uplink1"` + "\nvlan", `45: provider_address[1].port: no port is called "uplink1"; the uplinks are uplink0`},
		{`port = "uplink0"` + "\nvlan", `port = "blue-vm1"` + "\nvlan", `45: provider_address[1].port: "blue-vm1" (port[1]) has role "vm"; name an uplink`},
		{`vlan = 100`, `vlan = 4095`, `46: provider_address[1].vlan: 4095 is above 4094; use 0 to 4094`},
		{`"0.0.0.0/0"`, `"10.0.0.1/8"`, `50: provider_route[0].prefix: "10.0.0.1/8" has bits behind its 8-bit prefix; write 10.0.0.0/8`},
		{`"192.168.1.1"`, `"2001:db8:1::1"`, `51: provider_route[0].next_hop: 2001:db8:1::1 and prefix 0.0.0.0/0 are not of one address family; use one of the prefix's`},
		{`"192.168.1.1"`, `"224.0.0.1"`, `51: provider_route[0].next_hop: 224.0.0.1 is a multicast address; use one machine's, or 0.0.0.0 for on-link`},
		{`"192.168.1.1"`, `"router"`, `51: provider_route[0].next_hop: "router" is not an IP address; write 192.168.1.10 or 2001:db8::10`},
		{`"192.168.1.1"`, `"::ffff:1.2.3.4"`, `51: provider_route[0].next_hop: "::ffff:1.2.3.4" is an IPv4 address in IPv6 clothes; write 1.2.3.4`},
		{`"192.168.1.1"`, `"fe80::1%eth0"`, `51: provider_route[0].next_hop: "fe80::1%eth0" has a zone; write the address without %eth0`},
		{"prefix = \"2001:db8:1::/64\"\nnext_hop = \"::\"", "prefix = \"0.0.0.0/0\"\nnext_hop = \"0.0.0.0\"", `55: provider_route[1].prefix: is the same as provider_route[0].prefix on line 50; a port has one route to a prefix; remove one`},
		{`address = "192.168.1.1"`, `address = "0.0.0.0"`, `60: neighbor[0].address: "0.0.0.0" is no machine's address; use one that is not all zero`},
		{`address = "192.168.1.1"`, `address = "::1"`, `60: neighbor[0].address: "::1" never leaves a machine; use an address of the provider network`},

		// the rest
		{`duplicate_detection = false`, `duplicate_detection = "no"`, `4: host.duplicate_detection: "no" is a string, not a boolean; use true or false`},
		{`control_messages = "act"`, `control_messages = "obey"`, `66: nvgre.control_messages: "obey" is unknown; use one of "off", "notify", "act"`},
		{`decrement_ttl = false`, `decrement_ttl = 0`, `83: router.decrement_ttl: 0 is not a boolean; use true or false`},
		{`answer_ping = true`, `answer_pings = true`, `84: router.answer_pings: unknown key; did you mean answer_ping?`},
		{`clamp_mss = true`, `clamp_mss = 1360`, `85: router.clamp_mss: 1360 is not a boolean; use true or false`},
		{`icmp_rate = 7`, `icmp_rate = 0`, `86: router.icmp_rate: 0 is below 1; use 1 to 100000`},
		{`icmp_rate = 7`, `icmp_rate = 100001`, `86: router.icmp_rate: 100001 is above 100000; use 1 to 100000`},
		{`"zero"`, `"none"`, `64: nvgre.flow_id: "none" is unknown; use one of "hash", "zero"`},
		{`"memory"`, `"bolt:policy.db"`, `68: policy.store: "bolt:policy.db" has no absolute path; use "bolt:/var/lib/paca/policy.db"`},
		{`"memory"`, `"etcd:https://a:2379,https://b:2379"`, `68: policy.store: "etcd:https://a:2379,https://b:2379" is not in this release; use "bolt:FILE" or "memory"`},
		{`"memory"`, `"sqlite:/x"`, `68: policy.store: "sqlite:/x" is not a store; use "bolt:FILE" or "memory"`},
		{`/run/paca/host1.sock`, `host1.sock`, `72: control.socket: "host1.sock" is not an absolute path; start it with /`},
		{`/run/paca/host1.sock`, `/run/` + strings.Repeat("x", 103), `72: control.socket: path of 108 bytes is too long for a socket; use at most 107`},
		{`"watchers"`, `"a b"`, `74: control.read_group: "a b" is not a name; use up to 63 letters, digits, dots, dashes and underscores, the first a letter or digit`},
		{`/run/paca/host1.sock`, `/run/` + strings.Repeat("x", 100), `74: control.read_group: the socket for it would be /run/` + strings.Repeat("x", 100) + `.ro: path of 108 bytes is too long for a socket; use at most 107`},
		{`"[::1]:9470"`, `"9470"`, `77: metrics.listen: "9470" is not host:port; write 127.0.0.1:9470, or "" for none`},
		{`"[::1]:9470"`, `"localhost:http"`, `77: metrics.listen: "http" is not a TCP port; use 1 to 65535`},
		{`"[::1]:9470"`, `"a b:9470"`, `77: metrics.listen: "a b" is neither an address nor a host's name; write 127.0.0.1:9470`},
		{`"debug"`, `"loud"`, `80: log.level: "loud" is unknown; use one of "debug", "info", "warn", "error"`},
	})
}

func TestPolicyFileFaults(t *testing.T) {
	parse := func(file string, data []byte) error { _, err := ParsePolicy(file, data); return err }
	testEdits(t, "testdata/policy.toml", parse, []edit{
		{`vsid = 6001`, `vsid = 4095`, `3: virtual_subnet[0].vsid: 4095 is below 4096; use 4096 to 16777214`},             // W4
		{`vsid = 6001`, `vsid = 16777215`, `3: virtual_subnet[0].vsid: 16777215 is above 16777214; use 4096 to 16777214`}, // W4
		{`0000000000Ab}`, `0000000000Ab`, `4: virtual_subnet[0].rdid: "{11111111-2222-3333-4444-0000000000Ab" is not a GUID; write {11111111-2222-3333-4444-000000000000}`},
		{`0000000000Ab}`, `00000000000g}`, `4: virtual_subnet[0].rdid: "{11111111-2222-3333-4444-00000000000g}" is not a GUID; write {11111111-2222-3333-4444-000000000000}`},
		{`{11111111-2222-3333-4444-0000000000Ab}`, `{00000000-0000-0000-0000-000000000000}`, `4: virtual_subnet[0].rdid: "{00000000-0000-0000-0000-000000000000}" is the empty GUID; give the routing domain one of its own`},
		{`"fd00:1::/64"]`, "\n\"fd00:1::/129\"]", `6: virtual_subnet[0].prefixes[1]: "fd00:1::/129" is not an address with a prefix length; write 192.168.1.10/24 or 2001:db8::10/64`},
		{`"10.1.1.0/24"`, `"10.1.1.1/24"`, `5: virtual_subnet[0].prefixes[0]: "10.1.1.1/24" has bits behind its 24-bit prefix; write 10.1.1.0/24`},
		{`["10.1.1.0/24", "fd00:1::/64"]`, `"10.1.1.0/24"`, `5: virtual_subnet[0].prefixes: "10.1.1.0/24" is a string, not a list; write a list, [...]`},
		{`"rewrite"`, `"vxlan"`, `6: virtual_subnet[0].mode: "vxlan" is unknown; use one of "nvgre", "rewrite"`},
		{`ca = "10.1.1.11"`, ``, `12: lookup_record[0].ca: is missing; give the VM's customer address`},
		{`ca = "10.1.1.11"`, `ca = "10.1.1.1/24"`, `14: lookup_record[0].ca: "10.1.1.1/24" is not an IP address; write 192.168.1.10 or 2001:db8::10`},
		{`"101010101105"`, `"10101010110"`, `15: lookup_record[0].mac: "10101010110" is not a MAC address; write 02:00:00:00:01:01`},
		{`pa = "192.168.1.10"`, `pa = "0.0.0.0"`, `16: lookup_record[0].pa: "0.0.0.0" is no machine's address; use one that is not all zero`},
		{`"l2-only"`, `"L2Only"`, `23: lookup_record[1].type: "L2Only" is unknown; use one of "static", "dynamic", "gateway-wildcard", "l2-only"`},
		{`use_vm_mac = true`, `use_vm_mac = "yes"`, `24: lookup_record[1].use_vm_mac: "yes" is a string, not a boolean; use true or false`},
		{`vm_name`, `vmname`, `25: lookup_record[1].vmname: unknown key; did you mean vm_name?`},
		{`next_hop = "::"`, `next_hop = "0.0.0.0"`, `39: customer_route[1].next_hop: 0.0.0.0 and prefix fd00:1::/64 are not of one address family; use one of the prefix's`},
		{`metric = 0`, `metric = 4294967296`, `40: customer_route[1].metric: 4294967296 is above 4294967295; use 0 to 4294967295`},
		{`metric = 0`, `metric = 2026-01-01`, `40: customer_route[1].metric: a date or time is not a whole number; use 0 to 4294967295, without quotes`},
		{`[[customer_route]]`, `[[customer_routes]]`, `29: customer_routes: unknown key; did you mean customer_route?`},
		{`[global]`, `[[global]]`, `42: global: is a list, not a table; write [global]`},
		{`use_external_router = true`, `use_external_router = 1`, `43: global.use_external_router: 1 is not a boolean; use true or false`},
		{"vsid = 6001\nmac = \"10:10:10:10:11:06\"", "vsid = 1\nmac = \"10:10:10:10:11:06\"", `50: port[0].vsid: 1 is below 4096; use 4096 to 16777214`}, // W4
		{`mac = "10:10:10:10:11:08"`, ``, `53: port[1].mac: is missing; write the MAC of the VM's network card`},
		{`role = "uplink"`, "role = \"uplink\"\nvsid = 0", `62: port[2].vsid: only a port of role "vm" has one; remove it`},
		{`device = "tap:new"`, ``, `53: port[1].device: is missing; use a PCI address or kind:argument, like "tap:vm1"`},
		{`"02:00:00:00:01:11"`, `"03:00:00:00:01:11"`, `69: provider_address[0].mac: "03:00:00:00:01:11" is a multicast address; use one whose first byte is even`},
		{`dhcp = true`, `dhcp = "yes"`, `90: virtual_subnet[2].dhcp: "yes" is a string, not a boolean; use true or false`},
		{`"192.0.2.53"]`, `"2001:db8::53"]`, `91: virtual_subnet[2].dns[1]: "2001:db8::53" is IPv6, which DHCPv4 cannot tell of; use an IPv4 address`},
		{`"192.0.2.53"]`, `"224.0.0.251"]`, `91: virtual_subnet[2].dns[1]: "224.0.0.251" is not one machine's address; use a unicast one`},
		{`storm_limit = 200`, `storm_limit = "200"`, `102: port[3].storm_limit: "200" is a string, not a whole number; use 0 to 10000000, without quotes`},
		{`role = "host"`, "role = \"host\"\nmac_spoofing = true", `107: port[4].mac_spoofing: only a port of role "vm" has it; remove it`},
		{`pa = "239.255.0.1"`, `pa = "255.255.255.255"`, `114: lookup_record[2].pa: "255.255.255.255" is not one machine's address; use a unicast one`}, // A20
		{`metric = 10`, `metric = -1`, `84: provider_route[1].metric: -1 is below 0; use 0 to 4294967295`},
	})
}

// Hosts tell each other where VMs are unless the file says otherwise, and act on it
// only if it says so.
func TestN12ControlMessages(t *testing.T) {
	for text, want := range map[string]ControlMessages{
		"":                               ControlMessagesNotify,
		`control_messages = "off"`:       ControlMessagesOff,
		`control_messages = "notify"`:    ControlMessagesNotify,
		`control_messages = "act"`:       ControlMessagesAct,
		`control_messages = "sometimes"`: "",
		`control_messages = true`:        "",
	} {
		c, err := Parse("host.toml", []byte("[workers]\ncores = [1]\n[nvgre]\n"+text+"\n"))
		if (err == nil) != (want != "") || err == nil && c.NVGRE.ControlMessages != want {
			t.Errorf("%q: %+v, %v, want %q", text, c, err, want)
		}
	}
}

func TestAllFaultsAtOnce(t *testing.T) {
	_, err := Parse("host1.toml", []byte(`
[workers]
cores = [1, 1]
[[port]]
name = "a"
role = "vm"
device = "tap:a"
mtu = 80
colour = "blue"
[[port]]
name = "a"
role = "vm"
device = "tap:a"
vsid = 4095
mac = "x"
[[port]]
[[port]]
role = "uplink"
`))
	if err == nil {
		t.Fatal("accepted")
	}
	var got []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		got = append(got, strings.SplitN(line, ": ", 3)[0]+" "+strings.SplitN(line, ": ", 3)[1])
	}
	want := []string{
		"host1.toml:3 workers.cores[1]",
		"host1.toml:4 port[0].vsid", "host1.toml:4 port[0].mac", "host1.toml:8 port[0].mtu", "host1.toml:9 port[0].colour",
		"host1.toml:11 port[1].name", "host1.toml:13 port[1].device", "host1.toml:14 port[1].vsid", "host1.toml:15 port[1].mac",
		"host1.toml:16 port[2].name", "host1.toml:16 port[2].role", "host1.toml:16 port[2].device",
		"host1.toml:17 port[3].name", "host1.toml:17 port[3].device",
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("faults\n%s\nwant\n%s\nin\n%v", strings.Join(got, "\n"), strings.Join(want, "\n"), err)
	}
}

func TestMissingFile(t *testing.T) {
	for _, load := range []func(string) error{
		func(p string) error { _, err := Load(p); return err },
		func(p string) error { _, err := LoadPolicy(p); return err },
	} {
		if err := load("testdata/none.toml"); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "testdata/none.toml") {
			t.Errorf("a missing file gives %v", err)
		}
	}
}

func TestExamples(t *testing.T) {
	files, err := filepath.Glob("examples/*.toml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		switch base := filepath.Base(file); {
		case strings.HasPrefix(base, "host"):
			_, err = Load(file)
		case strings.HasPrefix(base, "policy"):
			_, err = LoadPolicy(file)
		default:
			t.Errorf("%s is neither a host nor a policy file by its name", file)
		}
		if err != nil {
			t.Error(err)
		}
	}
}

// Whatever the bytes: no panic, and every fault names the file and a line that
// it has.
func checkFaults(t *testing.T, data []byte, err error) {
	joined, ok := err.(interface{ Unwrap() []error })
	faults := []error{err}
	if ok {
		faults = joined.Unwrap()
	}
	for _, err := range faults {
		f, ok := err.(*Fault)
		if !ok {
			t.Fatalf("%#v is not a *Fault", err)
		}
		if f.File != "fuzz.toml" || f.Msg == "" || f.Line < 0 || f.Line > 1+strings.Count(string(data), "\n") {
			t.Fatalf("fault %#v", f)
		}
	}
}

func FuzzHostFile(f *testing.F) {
	seed(f, "testdata/host.toml")
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := Parse("fuzz.toml", data); err != nil {
			checkFaults(t, data, err)
		}
	})
}

func FuzzPolicyFile(f *testing.F) {
	seed(f, "testdata/policy.toml")
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParsePolicy("fuzz.toml", data)
		if err != nil {
			checkFaults(t, data, err)
			return
		}
		// What is a policy file is written as the same one.
		var once, twice strings.Builder
		if err := p.Write(&once); err != nil {
			t.Fatal(err)
		}
		again, err := ParsePolicy("fuzz.toml", []byte(once.String()))
		if err != nil {
			t.Fatalf("%v in\n%s", err, &once)
		}
		if err := again.Write(&twice); err != nil || once.String() != twice.String() {
			t.Fatalf("%v: written\n%s\nthen\n%s", err, &once, &twice)
		}
	})
}

func seed(f *testing.F, file string) {
	data, err := os.ReadFile(file)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	for part := range strings.SplitSeq(string(data), "\n\n") {
		f.Add([]byte(part))
	}
}
