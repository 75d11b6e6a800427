package ps1

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"paca/dataplane/packet"
	"paca/dataplane/policy"
)

var update = flag.Bool("update", false, "write the golden files anew")

func testMAC(s string) packet.MAC {
	m, err := packet.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}

// bare is a host on which no script has run.
func bare() []policy.Object {
	return []policy.Object{
		policy.Global{},
		policy.Port{Name: "uplink0", Role: policy.Uplink, MAC: testMAC("020000000001"), MTU: 1500},
		policy.Port{Name: "blue1", Role: policy.VM, MAC: testMAC("101010101105"), MTU: 1500},
		policy.Port{Name: "red1", Role: policy.VM, MAC: testMAC("101010101205"), MTU: 1500},
		policy.Port{Name: "gw-left", Role: policy.VM, MAC: testMAC("00155D0700FE"), MTU: 1500},
		policy.Port{Name: "twin1", Role: policy.VM, MAC: testMAC("101010101307"), MTU: 1500}, // L30
		policy.Port{Name: "twin2", Role: policy.VM, MAC: testMAC("101010101307"), MTU: 1500},
		policy.Port{Name: "host0", Role: policy.Host, MTU: 1500},
	}
}

func bookOf(t testing.TB, objects []policy.Object) *policy.Book {
	t.Helper()
	b := policy.NewBook()
	var all []policy.Change
	for _, o := range objects {
		all = append(all, policy.Change{Verb: policy.Put, Object: o})
	}
	if _, err := b.Apply(all); err != nil {
		t.Fatal(err)
	}
	return b
}

func objectsOf(b *policy.Book) []policy.Object {
	var all []policy.Object
	for k := policy.KindGlobal; k <= policy.KindLookupRecord; k++ {
		all = slices.AppendSeq(all, b.All(k))
	}
	return all
}

func envOf(objects []policy.Object) Env { return Env{Objects: slices.Values(objects)} }

// after is policy when a script was run on it, judged by policy itself.
func after(t testing.TB, objects []policy.Object, file string) ([]policy.Object, *Program) {
	t.Helper()
	script, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Translate(filepath.Base(file), script, envOf(objects))
	if err != nil {
		t.Fatal(err)
	}
	b := bookOf(t, objects)
	applied, err := b.Apply(p.Changes)
	if err != nil {
		t.Fatal(p.Locate(err))
	}
	if len(applied) != len(p.Changes) {
		t.Errorf("of %d changes %d change anything", len(p.Changes), len(applied))
	}
	return objectsOf(b), p
}

const host1, host2 = "../../../conf/examples/blue-host1.ps1", "../../../conf/examples/blue-host2.ps1"

// told is all that a program says, for people.
func told(p *Program) string {
	var b strings.Builder
	for _, c := range p.Commands() {
		fmt.Fprintln(&b, c)
	}
	for _, o := range p.Output {
		fmt.Fprintf(&b, "-- line %d\n", o.Line)
		if o.NextHop != nil {
			fmt.Fprintf(&b, "next hop of %v from %v in %d\n", o.NextHop.Dst, o.NextHop.Src, o.NextHop.VSID)
			continue
		}
		fmt.Fprintln(&b, strings.TrimSuffix(o.Text, "\n"))
	}
	return b.String()
}

func TestScripts(t *testing.T) {
	blue, _ := after(t, bare(), host1)
	host2Ports := bare()
	host2Ports[2] = policy.Port{Name: "blue2", Role: policy.VM, MAC: testMAC("101010101107"), MTU: 1500}
	for _, c := range []struct {
		file string
		on   []policy.Object
		back []policy.Object // what it must come to, if that is something known
	}{
		{file: host1, on: bare(), back: blue},
		{file: host2, on: host2Ports},
		{file: "testdata/gateway.ps1", on: bare()},
		{file: "testdata/rewrite.ps1", on: bare()},
		{file: "testdata/update.ps1", on: blue},
		{file: "testdata/remove.ps1", on: blue, back: bare()},
		{file: "testdata/ports.ps1", on: blue},
	} {
		name := strings.TrimSuffix(filepath.Base(c.file), ".ps1")
		t.Run(name, func(t *testing.T) {
			left, p := after(t, c.on, c.file)
			golden := "testdata/" + name + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(told(p)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got := told(p); got != string(want) {
				t.Errorf("%s says\n%s\nwant\n%s", c.file, got, want)
			}
			if c.back != nil {
				if got, want := objectsOf(bookOf(t, left)), objectsOf(bookOf(t, c.back)); !slices.EqualFunc(got, want, func(a, b policy.Object) bool { return a.Key() == b.Key() && policy.Equal(a, b) }) {
					t.Errorf("%s leaves\n%v\nwant\n%v", c.file, got, want)
				}
			}
		})
	}
}

// The five steps, object by object: the one place where what a script comes to is
// not written by the code under test.
func TestFiveSteps(t *testing.T) {
	blue := policy.RDID{0x11, 0x11, 0x11, 0x11, 0x22, 0x22, 0x33, 0x33, 0x44, 0x44}
	prefix := netip.MustParsePrefix("10.1.1.0/24")
	_, p := after(t, bare(), host1)
	want := []policy.Change{
		{Verb: policy.Replace, Object: policy.Port{Name: "blue1", Role: policy.VM, VSID: 6001, MAC: testMAC("101010101105"), MTU: 1500}},
		{Verb: policy.Add, Object: policy.ProviderAddress{Prefix: netip.MustParsePrefix("192.168.1.10/24"), Port: "uplink0"}},
		{Verb: policy.Add, Object: policy.ProviderRoute{Port: "uplink0", Prefix: netip.MustParsePrefix("0.0.0.0/0"), NextHop: netip.MustParseAddr("192.168.1.1")}},
		{Verb: policy.Add, Object: policy.VirtualSubnet{VSID: 6001, RDID: blue, Prefixes: []netip.Prefix{prefix}, Mode: policy.NVGRE}},
		{Verb: policy.Add, Object: policy.CustomerRoute{RDID: blue, VSID: 6001, Prefix: prefix, NextHop: netip.IPv4Unspecified(), Metric: 255}},
		{Verb: policy.Add, Object: policy.LookupRecord{VSID: 6001, CA: netip.MustParseAddr("10.1.1.11"), MAC: testMAC("101010101105"), PA: netip.MustParseAddr("192.168.1.10"), VMName: "blue1"}},
		{Verb: policy.Add, Object: policy.LookupRecord{VSID: 6001, CA: netip.MustParseAddr("10.1.1.12"), MAC: testMAC("101010101107"), PA: netip.MustParseAddr("192.168.2.20"), VMName: "blue2"}},
	}
	if !slices.EqualFunc(p.Changes, want, func(a, b policy.Change) bool {
		return a.Verb == b.Verb && a.Object.Kind() == b.Object.Kind() && policy.Equal(a.Object, b.Object)
	}) {
		t.Errorf("the script comes to\n%v\nwant\n%v", p.Changes, want)
	}
}

// A script may be run again: what is there just so is left alone.
func TestAgain(t *testing.T) {
	for _, file := range []string{host1, "testdata/gateway.ps1", "testdata/rewrite.ps1"} {
		left, _ := after(t, bare(), file)
		if _, p := after(t, left, file); len(p.Changes) > 0 {
			t.Errorf("%s, run again, changes %v", file, p.Changes)
		}
	}
}

// Faults that only policy finds come with the line that asked for it.
func TestP20Located(t *testing.T) {
	script := "\n" + onLink + "\n\n" + record("-CustomerAddress 10.9.1.1")
	p, err := Translate("setup.ps1", []byte(script), envOf(bare()))
	if err != nil {
		t.Fatal(err)
	}
	_, err = bookOf(t, bare()).Apply(p.Changes)
	if err = p.Locate(err); err == nil || !strings.HasPrefix(err.Error(), "setup.ps1:4: lookup_record.ca: 10.9.1.1 is the router address") {
		t.Errorf("policy says %v", err)
	}
	if err := os.ErrClosed; p.Locate(err) != err || p.Locate(nil) != nil {
		t.Error("errors that are no faults are not left alone")
	}
}

const onLink = `New-NetVirtualizationCustomerRoute -RoutingDomainID "{99999999-0000-0000-0000-000000000000}" -VirtualSubnetID 9001 -DestinationPrefix 10.9.1.0/24 -NextHop 0.0.0.0`

// record is a good one, but for what is said otherwise: "-CustomerAddress …".
func record(otherwise ...string) string {
	all := []string{"-CustomerAddress 10.9.1.9", "-VirtualSubnetID 9001", "-MACAddress 020000000909", "-ProviderAddress 192.168.1.9", "-Rule TranslationMethodEncap"}
	for _, o := range otherwise {
		name, _, _ := strings.Cut(o, " ")
		if at := slices.IndexFunc(all, func(s string) bool { return strings.HasPrefix(s, name+" ") }); at >= 0 {
			all[at] = o
		} else {
			all = append(all, o)
		}
	}
	return "New-NetVirtualizationLookupRecord " + strings.Join(all, " ")
}

// seeded is a host whose policy came from a file: on-link routes are prefixes of
// the virtual subnets there, and routes need not be in the order of prefixes.
func seeded() []policy.Object {
	blue := policy.RDID{0x11, 0x11, 0x11, 0x11, 0x22, 0x22, 0x33, 0x33, 0x44, 0x44}
	prefix := netip.MustParsePrefix
	return append(bare(),
		policy.VirtualSubnet{VSID: 6001, RDID: blue, Prefixes: []netip.Prefix{prefix("10.1.1.0/24"), prefix("fd00:10:1:1::/64"), prefix("10.1.7.0/24")}},
		policy.CustomerRoute{RDID: blue, VSID: 6001, Prefix: prefix("10.1.7.0/24"), NextHop: netip.IPv4Unspecified(), Metric: 7},
		policy.CustomerRoute{RDID: blue, VSID: 6001, Prefix: prefix("10.0.0.0/8"), NextHop: netip.IPv4Unspecified(), Metric: 9}, // no prefix
		policy.LookupRecord{VSID: 6001, CA: netip.MustParseAddr("10.1.1.11"), MAC: testMAC("101010101105"), PA: netip.MustParseAddr("192.168.1.10"), VMName: "blue1"},
	)
}

func TestP11Prefixes(t *testing.T) {
	const vs6001 = "-VirtualSubnetID 6001"
	for _, c := range []struct{ script, want string }{
		// Nothing but what the script lacks is added to what the file said.
		{"FILE " + host1, `pacactl port set blue1 --vsid 6001
pacactl provider-address add 192.168.1.10/24 --port uplink0
pacactl provider-route add --port uplink0 --prefix 0.0.0.0/0 --next-hop 192.168.1.1
pacactl lookup-record add --vsid 6001 --ca 10.1.1.12 --mac 10:10:10:10:11:07 --pa 192.168.2.20 --vm-name blue2`},
		{"Set-NetVirtualizationLookupRecord " + vs6001 + " -ProviderAddress 192.168.9.9",
			"pacactl lookup-record set --vsid 6001 --ca 10.1.1.11 --mac 10:10:10:10:11:05 --pa 192.168.9.9"},
		{"Remove-NetVirtualizationLookupRecord -VMName Nobody, BLUE1 -Type static", "pacactl lookup-record del --vsid 6001 --ca 10.1.1.11 --mac 10:10:10:10:11:05"},
		{"(Get-NetVirtualizationCustomerRoute " + vs6001 + " -DestinationPrefix fd00:10:1:1::/64).Metric", "255"},
		{"Set-NetVirtualizationCustomerRoute -DestinationPrefix 10.1.1.0/24 -Metric 3",
			"pacactl customer-route add --rdid {11111111-2222-3333-4444-000000000000} --vsid 6001 --prefix 10.1.1.0/24 --next-hop 0.0.0.0 --metric 3"},
		{"Remove-NetVirtualizationCustomerRoute -DestinationPrefix fd00:10:1:1::/64", "pacactl virtual-subnet set 6001 --prefix 10.1.1.0/24,10.1.7.0/24"},
		{"Remove-NetVirtualizationCustomerRoute -DestinationPrefix 10.1.7.0/24", `pacactl customer-route del --rdid {11111111-2222-3333-4444-000000000000} --vsid 6001 --prefix 10.1.7.0/24 --next-hop 0.0.0.0
pacactl virtual-subnet set 6001 --prefix 10.1.1.0/24,fd00:10:1:1::/64`},
		{"Remove-NetVirtualizationCustomerRoute -DestinationPrefix 10.0.0.0/8",
			"pacactl customer-route del --rdid {11111111-2222-3333-4444-000000000000} --vsid 6001 --prefix 10.0.0.0/8 --next-hop 0.0.0.0"},
		// Away and back again is no change.
		{"$r = Get-NetVirtualizationCustomerRoute -DestinationPrefix 10.1.7.0/24\n$r | Remove-NetVirtualizationCustomerRoute\n" +
			"New-NetVirtualizationCustomerRoute -RoutingDomainID $r.RoutingDomainID -VirtualSubnetID $r.VirtualSubnetID -DestinationPrefix $r.DestinationPrefix -NextHop $r.NextHop -Metric 7", ""},
		{"$r = Get-NetVirtualizationLookupRecord " + vs6001 + "\n$r | Remove-NetVirtualizationLookupRecord\n" +
			"New-NetVirtualizationLookupRecord -CustomerAddress $r.CustomerAddress -VirtualSubnetID $r.VirtualSubnetID -MACAddress $r.MACAddress -ProviderAddress $r.ProviderAddress -Rule $r.Rule -VMName $r.VMName -Type $r.Type -UseVmMACAddress $r.UseVmMACAddress", ""},
		// An object is as it was when it was asked for.
		{"$r = Get-NetVirtualizationLookupRecord " + vs6001 + "\n$r | Remove-NetVirtualizationLookupRecord\n$s = $r | where VMName -eq BLUE1\n$s.ProviderAddress",
			"pacactl lookup-record del --vsid 6001 --ca 10.1.1.11 --mac 10:10:10:10:11:05\n192.168.1.10"},
		// The mode follows the records when there are none of the other.
		{"Set-NetVirtualizationLookupRecord " + vs6001 + " -Rule TranslationMethodNat -UseVmMACAddress $true",
			"pacactl virtual-subnet set 6001 --mode rewrite\npacactl lookup-record set --vsid 6001 --ca 10.1.1.11 --mac 10:10:10:10:11:05 --use-vm-mac=true"},
	} {
		script := []byte(c.script)
		if file, ok := strings.CutPrefix(c.script, "FILE "); ok {
			var err error
			if script, err = os.ReadFile(file); err != nil {
				t.Fatal(err)
			}
		}
		p, err := Translate("x.ps1", script, envOf(seeded()))
		if err != nil {
			t.Errorf("%s: %v", c.script, err)
			continue
		}
		got := p.Commands()
		for _, o := range p.Output {
			got = append(got, o.Text)
		}
		if g := strings.Join(got, "\n"); g != c.want {
			t.Errorf("%s\ncomes to %s\nwant %s", c.script, g, c.want)
		}
		if _, err := bookOf(t, seeded()).Apply(p.Changes); err != nil {
			t.Errorf("%s: %v", c.script, p.Locate(err))
		}
	}
}

// A record of the router's CA is the router's where its PA is a dummy: the one
// that always is, or one of this host, unless a VM here has the MAC. Any other is
// a VM's that may not have the CA (P20).
func TestP21RouterRecords(t *testing.T) {
	const pa = "New-NetVirtualizationProviderAddress -InterfaceIndex 1 -ProviderAddress 192.168.1.9 -PrefixLength 24"
	const vm = "Set-VMNetworkAdapter blue1 -VirtualSubnetId 9001"
	router := record("-CustomerAddress 10.9.1.1", "-MACAddress 101010101105")
	for _, c := range []struct {
		script []string
		router bool
	}{
		{[]string{onLink, router, pa}, true},
		{[]string{pa, record("-CustomerAddress 10.9.1.1", "-ProviderAddress 169.254.254.254"), onLink}, true},
		{[]string{onLink, router}, false},
		{[]string{onLink, router, pa, vm}, false},
		{[]string{onLink, router, pa, vm, "Set-VMNetworkAdapter blue1 -VirtualSubnetId 9002"}, true},
	} {
		script := strings.Join(c.script, "\n")
		p, err := Translate("x.ps1", []byte(script), envOf(bare()))
		if err != nil {
			t.Errorf("%s\n%v", script, err)
			continue
		}
		r := p.Changes[len(p.Changes)-1].Object.(policy.LookupRecord)
		_, err = bookOf(t, bare()).Apply(p.Changes)
		if r.Router() != c.router || (err == nil) != c.router {
			t.Errorf("%s\nmakes %v, and policy says %v", script, r, err)
		}
	}
}

// L30: two ports may have one MAC; then the name decides.
func TestTwins(t *testing.T) {
	for script, want := range map[string]string{
		`Get-VMNetworkAdapter TWIN2 | where {$_.MacAddress -eq "10-10-10-10-13-07"} | Set-VMNetworkAdapter -VirtualSubnetId 9001`:                                          "pacactl port set twin2 --vsid 9001",
		`Get-VMNetworkAdapter | where {$_.MacAddress -eq "101010101307" -and $_.VMName -eq "twin1"} | Set-VMNetworkAdapter -V 9001`:                                        "",
		`$a = Get-VMNetworkAdapter | where {$_.MacAddress -eq "101010101307" -and $_.VMName -eq "twin1"}; Set-VMNetworkAdapter -VMNetworkAdapter $a -VirtualSubnetId 9001`: "pacactl port set twin1 --vsid 9001",
		`Get-VMNetworkAdapter twin1 | where {$_.MacAddress -eq "101010101105"} | Set-VMNetworkAdapter -VirtualSubnetId 9001`:                                               "pacactl port set blue1 --vsid 9001", // the MAC before the name
	} {
		p, err := Translate("x.ps1", []byte(script), envOf(bare()))
		if want == "" {
			if err == nil || !strings.Contains(err.Error(), "-V may be -VMName, -VMNetworkAdapter, -VirtualSubnetId, -Verbose") {
				t.Errorf("%s: %v", script, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", script, err)
			continue
		}
		if got := strings.Join(p.Commands(), "\n"); got != want {
			t.Errorf("%s comes to %s, want %s", script, got, want)
		}
	}
}

// Switches and limit of a port, set and seen (C7).
func TestL31_L32VMNetworkAdapter(t *testing.T) {
	book := bookOf(t, bare())
	run := func(script string) string {
		t.Helper()
		p, err := Translate("s.ps1", []byte(script), envOf(objectsOf(book)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := book.Apply(p.Changes); err != nil {
			t.Fatal(p.Locate(err))
		}
		return told(p)
	}
	get := func() policy.Port {
		o, _ := book.Get(policy.Port{Name: "blue1"}.Key())
		return o.(policy.Port)
	}
	want := get()
	for _, step := range []struct {
		script string
		change func(*policy.Port)
		says   string
	}{
		{"Set-VMNetworkAdapter blue1 -MacAddressSpoofing On", func(p *policy.Port) { p.MACSpoofing = true }, "pacactl port set blue1 --mac-spoofing=true\n"},
		{"Set-VMNetworkAdapter blue1 -DhcpGuard on -RouterGuard 'ON'", func(p *policy.Port) { p.DHCPGuard, p.RouterGuard = true, true }, "pacactl port set blue1 --dhcp-guard=true --router-guard=true\n"},
		{"Set-VMNetworkAdapter blue1 -DynamicIPAddressLimit 3", func(p *policy.Port) { p.DynamicIPLimit = 3 }, "pacactl port set blue1 --dynamic-ip-limit 3\n"},
		{"Set-VMNetworkAdapter blue1 -DynamicIPAddressLimit 3 -DhcpGuard On", func(*policy.Port) {}, ""},
		{"$a = Get-VMNetworkAdapter blue1; Set-VMNetworkAdapter -VMNetworkAdapter $a -RouterGuard $a.DhcpGuard -MacAddressSpoofing Off", func(p *policy.Port) { p.MACSpoofing = false }, "pacactl port set blue1 --mac-spoofing=false\n"},
		{"Set-VMNetworkAdapter blue1 -VirtualSubnetId 9001 -RouterGuard Off", func(p *policy.Port) { p.VSID, p.RouterGuard = 9001, false }, "pacactl port set blue1 --vsid 9001 --router-guard=false\n"},
	} {
		got := run(step.script)
		if step.change(&want); got != step.says || get() != want {
			t.Errorf("%s: %s%+v, want\n%s%+v", step.script, got, get(), step.says, want)
		}
	}
	p, err := Translate("s.ps1", []byte("\nSet-VMNetworkAdapter blue1 -DynamicIPAddressLimit 4097"), envOf(objectsOf(book)))
	if err != nil {
		t.Fatal(err)
	}
	_, err = book.Apply(p.Changes)
	if err = p.Locate(err); err == nil || err.Error() != "s.ps1:2: port.dynamic_ip_limit: 4097 is more than 4096 (L32)" {
		t.Errorf("too many: %v", err)
	}
}
