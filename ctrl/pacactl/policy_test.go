package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/server"
	"paca/ctrl/server/servertest"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
)

// serve puts a host of policy behind a socket.
func serve(t *testing.T, h interface {
	server.Host
	server.Policy
}) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	quiet := slog.New(slog.DiscardHandler)
	l, err := server.Listen(server.Socket{Path: socket, Group: "root"}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	s := server.New(h, h, quiet)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Shutdown(context.Background()) })
	return socket
}

// furnished is a host with testdata/policy.toml.
func furnished(t *testing.T) string {
	t.Helper()
	socket := serve(t, servertest.New())
	done(t, socket, "apply", "-f", "testdata/policy.toml")
	return socket
}

// done runs a command that must succeed, and returns what it says.
func done(t *testing.T, socket string, args ...string) string {
	t.Helper()
	code, out, errOut := call(socket, args...)
	if code != 0 || errOut != "" {
		t.Fatalf("%q: exit code %d, %s", args, code, errOut)
	}
	for line := range strings.Lines(out) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > pageWidth && args[0] != "export" && args[0] != "ps1" { // files and commands are not tables
			t.Errorf("%q: line of %d characters: %s", args, n, line)
		}
	}
	return out
}

// refused runs a command that must not, and returns what it complains of.
func refused(t *testing.T, want int, socket string, args ...string) string {
	t.Helper()
	code, out, errOut := call(socket, args...)
	if code != want || errOut == "" || out != "" {
		t.Fatalf("%q: exit code %d, want %d\n%s%s", args, code, want, out, errOut)
	}
	return errOut
}

// Every example in the help, and so in the man pages, does what it says.
func TestExamples(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"policy.toml", "setup.ps1"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	ran := 0
	for _, command := range commands((&ctl{format: formatTable, out: io.Discard}).root()) {
		for line := range strings.Lines(command.Example) {
			args := strings.Fields(line)[1:]
			for _, form := range []string{"table", "json", "yaml"} {
				h := servertest.New()
				socket := serve(t, h)
				done(t, socket, "apply", "-f", "policy.toml")
				if args[0] == "watch" {
					watchFor(t, socket, append(args, "-o", form)...)
					continue
				}
				if args[0] == "diff" {
					done(t, socket, args...)
				}
				if slices.Contains(args, "-o") && form != "table" {
					continue
				}
				all := append([]string{"-o", form}, args...)
				code, out, errOut := call(socket, all...)
				if code != 0 || errOut != "" {
					t.Errorf("%q: exit code %d, %s", all, code, errOut)
				}
				checkForm(t, form, args, out)
				ran++
			}
		}
	}
	if ran < 100 {
		t.Errorf("only %d examples", ran)
	}
}

func checkForm(t *testing.T, form string, args []string, out string) {
	t.Helper()
	if i := slices.Index(args, "-o"); i >= 0 {
		form = args[i+1]
	}
	var v any
	switch form {
	case "json":
		if err := json.Unmarshal([]byte(out), &v); err != nil {
			t.Errorf("%q: %v in %s", args, err, out)
		}
	case "yaml":
		if err := yaml.Unmarshal([]byte(out), &v); err != nil || strings.HasPrefix(out, "{") {
			t.Errorf("%q: %v in %s", args, err, out)
		}
	case "table":
		for line := range strings.Lines(out) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > pageWidth && args[0] != "ps1" {
				t.Errorf("%q: line of %d characters: %s", args, n, line)
			}
		}
	}
}

// watchFor watches until something was said, and a little longer.
func watchFor(t *testing.T, socket string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	time.AfterFunc(300*time.Millisecond, cancel)
	var out, errOut bytes.Buffer
	if code := run(ctx, append([]string{"--socket", socket}, args...), strings.NewReader(""), &out, &errOut); code != 0 || errOut.Len() > 0 {
		t.Errorf("%q: exit code %d, %s", args, code, &errOut)
	}
	return out.String()
}

// What each verb prints, and that the next one sees what it did.
func TestNouns(t *testing.T) {
	socket := furnished(t)
	var page strings.Builder
	for _, line := range strings.Split(strings.TrimSpace(`
virtual-subnet add 7001 --rdid {77777777-2222-3333-4444-000000000000} --prefix 10.7.1.0/24 --prefix fd00:7:1::/64,fd00:7:2::/64
virtual-subnet list
virtual-subnet set 7001 --prefix 10.7.0.0/16 --dry-run
virtual-subnet set 7001 --prefix 10.7.0.0/16
virtual-subnet set 7001 --dhcp --dns 10.7.0.53 --dns 192.0.2.53 --dry-run
virtual-subnet set 7001 --dhcp --dns 10.7.0.53,192.0.2.53
virtual-subnet show 7001
virtual-subnet del --vsid 7001
lookup-record add --vsid 6001 --ca 255.255.255.255 --mac ff:ff:ff:ff:ff:ff --pa 239.255.0.1
lookup-record add --vsid 6002 --ca fd00:1:2::1234:5678:9abc:def0 --mac 101010101207 --pa 2001:db8:1111:2222:3333:4444:5555:6666 --vm-name blue --context moved
lookup-record list --vsid 6001,6002
lookup-record set --vsid 6001 --ca 10.1.1.12 --pa 192.168.3.30 --vm-name blue2
lookup-record show --pa 192.168.3.30
lookup-record del --vsid 6001 --dry-run
lookup-record del --vsid 6001
lookup-record del --all
lookup-record del --all
customer-route add --rdid 11111111-2222-3333-4444-000000000000 --vsid 6002 --prefix 10.9.0.0/16 --next-hop 10.1.2.9
customer-route set --vsid 6001 --metric 7
customer-route list
customer-route show --prefix 0.0.0.0/0
customer-route del --next-hop 10.1.2.9,10.1.1.12
provider-address add 2001:db8:1::10/64 --port uplink0
provider-address set 192.168.1.11 --prefix-length 25 --vlan 0
provider-address set 192.168.1.11/24 --mac 02:00:00:00:01:12 --dry-run
provider-address list
provider-address show 192.168.1.11/24
provider-address del 192.168.1.11 2001:db8:1::10
provider-route add --port uplink0 --prefix 0.0.0.0/0 --next-hop 192.168.1.1 --metric 9
provider-route set --prefix 0.0.0.0/0 --metric 10
provider-route list
provider-route show --next-hop 192.168.1.1
provider-route del --all
port add red-vm1 --role vm --device tap:red1 --mtu 1400 --mac 101010101108
port set red-vm1 --vsid 5001 --mac 10-10-10-10-11-05
port set red-vm1 --mac-spoofing --dhcp-guard=true --router-guard --dynamic-ip-limit 0 --storm-limit 200 --dry-run
port set red-vm1 --mac-spoofing --dhcp-guard=true --router-guard --dynamic-ip-limit 0 --storm-limit 200
port set red-vm1 --mac-spoofing=false --storm-limit 0
port add host0 --role host --device tap:paca0 --uplink uplink0 --queues 2
port show host0
port list
port show red-vm1
port set red-vm1 --vsid 0
port del --role vm
port del --all
global show
global set --use-external-router
global show
next-hop 10.1.1.11 10.1.1.12 --vsid 6001
`), "\n") {
		fmt.Fprintf(&page, "$ pacactl %s\n%s\n", line, done(t, socket, strings.Fields(line)...))
	}
	golden(t, "nouns.txt", page.String())
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || got != string(want) {
		t.Errorf("%s (%v): got\n%s", name, err, got)
	}
}

// What is refused, with every fault and its rule on a line.
func TestRefusals(t *testing.T) {
	socket := furnished(t)
	for _, tt := range []struct {
		code int
		args string
		says []string
	}{
		// What only some ports, subnets and records may have.
		{1, "port add up1 --role uplink --device tap:u --mac-spoofing --storm-limit 5", []string{"port name=up1: mac-spoofing: only a port of role vm has this (L31)", "port name=up1: storm-limit: only a port of role vm has this (A21)"}},
		{1, "port add v --role vm --device tap:v --mac 101010101109 --dynamic-ip-limit 4097", []string{"port name=v: dynamic-ip-limit: 4097 is more than 4096 (L32)"}},
		{1, "port add v --role vm --device tap:v --mac 101010101109 --queues 1025", []string{"port name=v: queues: 1025 is more than 1024; 0 is one for each worker (O32)"}},
		{2, "port add v --role vm --device tap:v --mac 101010101109 --storm-limit none", []string{`"none" is not a number of 32 bits`}},
		{2, "port set blue-vm1 --dhcp-guard=On", []string{`"On" is neither true nor false`}},
		{1, "port add h --role host --device tap:h --uplink nowhere", []string{`port name=h: uplink: no uplink is called "nowhere" (W20)`}},
		{1, "port set blue-vm1 --uplink uplink0", []string{"port name=blue-vm1: uplink: only a port of role host has this (W20)"}},
		{1, "virtual-subnet set 6002 --dns fd00::53", []string{"virtual-subnet vsid=6002: dns: fd00::53 is no name server that DHCPv4 can tell of: one machine's IPv4 address (A14)"}},
		{1, "virtual-subnet add 7001 --rdid {77777777-2222-3333-4444-000000000000} --prefix fd00:7::/64 --dhcp", []string{"dhcp: DHCPv4 needs an IPv4 prefix with room for a router (A14)"}},
		{1, "lookup-record add --vsid 6001 --ca 239.1.2.3 --mac 01005e010203 --pa 192.168.1.10", []string{"pa: 192.168.1.10 is not a multicast group of the provider network, which the record of CA 239.1.2.3 must name (A20)"}},
		{1, "lookup-record add --vsid 6001 --ca 10.1.1.20 --mac 101010101120 --pa 239.1.1.1", []string{"pa: 239.1.1.1 is a multicast group, and CA 10.1.1.20 is not (A20)"}},
		{1, "lookup-record add --vsid 5001 --ca 239.1.2.3 --mac 01005e010203 --pa 239.1.1.1", []string{"ca: a rewrite subnet carries no broadcast or multicast, so 239.1.2.3 goes nowhere (R20)"}},
		{1, "lookup-record add --vsid 6001 --ca 10.1.1.1 --mac 101010101120 --pa 192.168.2.20", []string{"(P20)"}},

		// C: deletes refuse without a selector, and say what selects.
		{2, "lookup-record del", []string{"lookup-record del needs to know which: --vsid, --ca, --mac, --pa, --type, --all"}},
		{2, "virtual-subnet del", []string{"virtual-subnet del needs to know which: --vsid, --rdid, --mode, --all"}},
		{2, "customer-route del --dry-run", []string{"needs to know which"}},
		{2, "provider-address del", []string{"needs to know which"}},
		{2, "provider-route del", []string{"needs to know which"}},
		{2, "port del", []string{"needs to know which"}},
		{2, "port del blue-vm1 --all", []string{"contradict"}},
		{2, "port set blue-vm1", []string{"port set needs something to set: --role, --device, --mtu, --vsid, --mac"}},
		{2, "port set --mtu 1400", []string{"needs to know which"}},
		{2, "port add", []string{"port add needs --name, --role, --device"}},
		{2, "port add a b", []string{"accepts at most 1 arg"}},
		{2, "port add a --role guest --device tap:a", []string{"use uplink, vm or host"}},
		{2, "lookup-record add --vsid six", []string{`"six" is not a number of 32 bits`}},
		{2, "lookup-record add --vsid 6001 --ca 10.1.1.13", []string{"lookup-record add needs --mac, --pa"}},
		{2, "lookup-record set --ca 10.1.1.11 --type dynamic", []string{"unknown flag: --type"}}, // P5
		{2, "lookup-record set --ca 10.1.1.11 --use-vm-mac=maybe", []string{"neither true nor false"}},
		{2, "virtual-subnet show seven", []string{`"seven" is not a number of 32 bits`}},
		{2, "provider-address set 192.168.1.11 --prefix-length long", []string{`"long" is not a number of bits`}},
		{2, "apply", []string{`"file" not set`}},
		{2, "next-hop 10.1.1.11", []string{`"vsid" not set`}},
		{2, "global set", []string{`"use-external-router" not set`}},
		{2, "status -o xml", []string{"use table, json or yaml"}},

		{1, "port show nobody", []string{"there is no such port"}},
		{1, "lookup-record set --ca 10.1.1.99 --pa 192.168.1.9", []string{"there is no such lookup record"}},
		{1, "virtual-subnet del 7777", []string{"there is no such virtual subnet"}},
		{1, "lookup-record add --vsid 6001 --ca 10.1.1.1 --mac 101010101199 --pa 192.168.1.10", []string{"(P20)"}},
		{1, "lookup-record add --vsid 6001 --ca 10.9.9.9 --mac 111010101199 --pa 224.0.0.1", []string{": mac: 11:10:10:10:11:99", "(P5)\n", ": pa: 224.0.0.1"}},
		{1, "lookup-record add --vsid 6001 --ca ten --mac 101010101199 --pa 192.168.1.10", []string{`lookup-record vsid=6001 ca=ten mac=101010101199: ca: "ten"`}},
		{1, "lookup-record add --vsid 6001 --ca 10.1.1.11 --mac 101010101105 --pa 192.168.1.10", []string{"lookup-record vsid=6001 ca=10.1.1.11"}},
		{1, "virtual-subnet add 6003 --rdid {11111111-2222-3333-4444-000000000000} --prefix 10.1.2.0/25", []string{"virtual-subnet vsid=6003: prefix: ", "(P4)"}},
		{1, "virtual-subnet del 6001", []string{"virtual-subnet vsid=6001"}},
		{1, "provider-address del 192.168.1.10 192.168.1.11", []string{"provider_route", "(P16)"}},
		{1, "port del uplink0", []string{"host file"}},
		{1, "port set uplink0 --mtu 9000", []string{"host file"}},
		{1, "global set --use-external-router --expected-revision 1", []string{"revision"}},
		{2, "apply -f testdata/none.toml", []string{"testdata/none.toml"}},
		{2, "diff -f testdata/none.toml", []string{"testdata/none.toml"}},
		{2, "diff -f testdata/setup.ps1", []string{"testdata/setup.ps1:"}},
		{2, "ps1 testdata/none.ps1", []string{"testdata/none.ps1"}},
		{2, "ps1 testdata/policy.toml", []string{"testdata/policy.toml:2: "}},
	} {
		before := done(t, socket, "export", "-o", "json")
		got := refused(t, tt.code, socket, strings.Fields(tt.args)...)
		for _, want := range tt.says {
			if !strings.Contains(got, want) {
				t.Errorf("%s says\n%swant %q", tt.args, got, want)
			}
		}
		for line := range strings.Lines(got) {
			if !strings.HasPrefix(line, "pacactl: ") || strings.Contains(tt.args, "testdata/") && strings.Contains(line, "--help") {
				t.Errorf("%s says %q", tt.args, line)
			}
		}
		var v struct{ Error failure }
		inJSON := refused(t, tt.code, socket, append([]string{"-o", "json"}, strings.Fields(tt.args)...)...)
		if err := json.Unmarshal([]byte(inJSON), &v); !strings.Contains(tt.args, "-o xml") && (err != nil || v.Error.ExitCode != tt.code || v.Error.Message == "") {
			t.Errorf("%s: %v in %s", tt.args, err, inJSON)
		}
		if after := done(t, socket, "export", "-o", "json"); after != before {
			t.Errorf("%s is refused and changes policy", tt.args)
		}
	}
}

// A file that breaks rules is refused whole, with its lines.
func TestFileFaults(t *testing.T) {
	socket := furnished(t)
	file := filepath.Join(t.TempDir(), "bad.toml")
	text := `[[virtual_subnet]]
vsid = 6003
rdid = "{11111111-2222-3333-4444-000000000000}"
prefixes = ["10.1.2.0/25"]

[[lookup_record]]
vsid = 6001
ca = "10.1.1.1"
mac = "10:10:10:10:11:99"
pa = "192.168.1.10"

[[lookup_record]]
vsid = 6009
ca = "10.1.1.3"
mac = "10:10:10:10:11:99"
pa = "192.168.1.10"
`
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	got := refused(t, 1, socket, "apply", "-f", file)
	for _, want := range []string{
		file + ":4: virtual_subnet[0].prefixes: ", "(P4)\n", file + ":8: lookup_record[0].ca: ", "(P20)\n", file + ":13: lookup_record[1].vsid: ", "(P3)\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	if got := refused(t, 1, socket, "diff", "-f", file); !strings.Contains(got, "(P20)") {
		t.Errorf("diff says %s", got)
	}
	var v struct{ Error failure }
	if err := json.Unmarshal([]byte(refused(t, 1, socket, "apply", "-f", file, "-o", "json")), &v); err != nil || len(v.Error.Faults) < 3 ||
		v.Error.Code != "ERROR_CODE_INVALID" || v.Error.Faults[0].Rule == "" || v.Error.Faults[0].Object == "" {
		t.Errorf("%v: %+v", err, v)
	}
	// Deleting what the rest refers to is no line of the file.
	if err := os.WriteFile(file, []byte("[[port]]\nname = \"a\"\nrole = \"vm\"\ndevice = \"tap:a\"\nmac = \"10:10:10:10:11:09\"\n"+
		"[[provider_route]]\nport = \"uplink0\"\nprefix = \"192.168.2.0/24\"\nnext_hop = \"192.168.1.1\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := refused(t, 1, socket, "apply", "-f", file, "--replace"); !strings.Contains(got, "pacactl: provider-address address=192.168.1.10/24: ") {
		t.Errorf("says %s", got)
	}
	// What is no policy file is refused before anyone is asked.
	if err := os.WriteFile(file, []byte("[[lookup_record]]\nvsid = 1\n[gobal]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	got = refused(t, 2, filepath.Join(t.TempDir(), "nobody"), "apply", "-f", file)
	if !strings.Contains(got, "bad.toml:2: lookup_record[0].vsid: 1 is below 4096") || !strings.Contains(got, "bad.toml:3: gobal: unknown key; did you mean global?") {
		t.Errorf("says %s", got)
	}
}

// apply, diff and export agree: what export writes changes nothing.
func TestRoundTrip(t *testing.T) {
	file := filepath.Join(t.TempDir(), "export.toml")
	export := func(socket string) string {
		t.Helper()
		text := done(t, socket, "export")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return text
	}
	same := func(socket, text string) {
		t.Helper()
		for _, args := range [][]string{{"apply", "-f", file}, {"apply", "-f", file, "--replace"}} {
			if got := done(t, socket, args...); !strings.HasPrefix(got, "nothing to change at revision") {
				t.Errorf("%q after export says %s", args, got)
			}
		}
		for _, args := range [][]string{{"diff", "-f", file}, {"diff", "-f", file, "--replace"}} {
			if got := done(t, socket, args...); got != "" {
				t.Errorf("%q after export says %s", args, got)
			}
		}
		if got := done(t, socket, "export"); got != text {
			t.Errorf("a second export is\n%s, the first\n%s", got, text)
		}
	}
	kept := serve(t, servertest.New()) // goes from policy to policy
	for range 20 {
		seed := rand.Uint64()
		h := servertest.New()
		if _, _, err := h.Apply(context.Background(), randomPolicy(rand.New(rand.NewPCG(seed, 0))), false, 0); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		socket := serve(t, h)
		text := export(socket)
		same(socket, text)
		// On another host it makes the same policy, whatever was there.
		if code, out, _ := call(kept, "diff", "-f", file, "--replace"); code != 1 || !strings.Contains(out, "would change") {
			t.Errorf("seed %d: diff with another policy: exit code %d, %s", seed, code, out)
		}
		done(t, kept, "apply", "-f", file, "--replace")
		same(kept, text)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// randomPolicy is a set that breaks no rule.
func randomPolicy(r *rand.Rand) (set []policy.Change) {
	put := func(o policy.Object) { set = append(set, policy.Change{Verb: policy.Put, Object: o}) }
	labels := []string{"", "", "blue 1", "\"quoted\" \\ back", "new\nline\ttab\x7f", "ünï 🐮", "# not a comment"}
	label := func() string { return labels[r.IntN(len(labels))] }
	mac := func() packet.MAC {
		return packet.MAC{0x02, 0x10, byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())}
	}
	address := func(p string, n int) netip.Addr { // the nth behind a prefix
		a := netip.MustParsePrefix(p).Addr()
		b := a.AsSlice()
		b[len(b)-1], b[len(b)-2] = b[len(b)-1]+byte(n), b[len(b)-2]+byte(n>>8)
		a, _ = netip.AddrFromSlice(b)
		return a
	}
	put(policy.Global{UseExternalRouter: r.IntN(2) == 0})
	put(policy.ProviderAddress{Prefix: netip.MustParsePrefix("192.168.1.10/24"), Port: "uplink0", VLAN: uint16(r.IntN(3) * 7)})
	put(policy.ProviderAddress{Prefix: netip.MustParsePrefix("2001:db8:1::10/64"), Port: "uplink0", MAC: mac()})
	put(policy.ProviderRoute{Port: "uplink0", Prefix: netip.MustParsePrefix("0.0.0.0/0"), NextHop: netip.MustParseAddr("192.168.1.1"), Metric: r.Uint32N(3)})
	put(policy.ProviderRoute{Port: "uplink0", Prefix: netip.MustParsePrefix("2001:db8::/32"), NextHop: netip.IPv6Unspecified()})
	for s := range 1 + r.IntN(5) {
		vsid := policy.VSID(6000 + s)
		rdid := policy.RDID{byte(1 + s/2)}
		v4, v6 := fmt.Sprintf("10.%d.0.0/16", s), fmt.Sprintf("fd00:%d::/64", s)
		subnet := policy.VirtualSubnet{VSID: vsid, RDID: rdid, Prefixes: []netip.Prefix{netip.MustParsePrefix(v4), netip.MustParsePrefix(v6)}, Mode: policy.Mode(r.IntN(2))}
		if r.IntN(2) == 0 {
			subnet.DHCP = true
			for n := range r.IntN(3) {
				subnet.DNS = append(subnet.DNS, address(v4, 53+n))
			}
		}
		put(subnet)
		rewrite := subnet.Mode == policy.Rewrite
		for n := range r.IntN(40) {
			record := policy.LookupRecord{VSID: vsid, CA: address(v4, 10+n), MAC: mac(), PA: netip.MustParseAddr("192.168.1.10"),
				Type: policy.RecordType(r.IntN(2)), VMName: label(), CustomerID: label(), Context: label()}
			if rewrite {
				record.PA, record.UseVMMAC = address(fmt.Sprintf("172.16.%d.0/24", s), 10+n), r.IntN(2) == 0
			}
			switch r.IntN(6) {
			case 0:
				record.CA = address(v6, 10+n)
				if rewrite {
					record.PA = address(fmt.Sprintf("2001:db8:2:%d::/64", s), 10+n)
				}
			case 1:
				if !rewrite {
					record.CA, record.Type = netip.IPv4Unspecified(), policy.GatewayWildcard
				}
			case 2:
				if !rewrite {
					record.CA, record.Type = netip.IPv6Unspecified(), policy.L2Only
				}
			}
			put(record)
		}
		if !rewrite {
			put(policy.LookupRecord{VSID: vsid, CA: netip.MustParseAddr("ff02::1:2"), MAC: packet.MAC{0x33, 0x33, 0, 1, 0, 2}, PA: netip.MustParseAddr("239.255.0.1"), Context: label()})
		}
		for n := range r.IntN(3) {
			put(policy.CustomerRoute{RDID: rdid, VSID: vsid, Prefix: netip.MustParsePrefix(fmt.Sprintf("10.%d.0.0/16", 200+n)), NextHop: address(v4, 9), Metric: r.Uint32()})
		}
		port := policy.Port{Name: fmt.Sprintf("vm-%d.%d", s, r.IntN(9)), Role: policy.VM, Device: fmt.Sprintf("tap:vm%d", s), MAC: mac(), MTU: 1280 + r.IntN(8000)}
		if r.IntN(3) > 0 {
			port.VSID = vsid
		}
		port.MACSpoofing, port.DHCPGuard, port.RouterGuard = r.IntN(2) == 0, r.IntN(2) == 0, r.IntN(2) == 0
		port.Queues = uint32(r.IntN(3))
		port.DynamicIPLimit, port.StormLimit = uint32(r.IntN(3)*4), uint32(r.IntN(3)*500)
		put(port)
	}
	put(policy.Port{Name: "host0", Role: policy.Host, Device: "tap:host0", MTU: 1500, Uplink: []string{"", "uplink0"}[r.IntN(2)]})
	return set
}

// What hosts learned is not in an operator's file, and stays when policy is made what
// the file says; but not what nobody could have learned of it, and not if the file
// has what was learned, as an export does.
func TestA16_A17ReplaceKeepsWhatWasLearned(t *testing.T) {
	const subnet = `
[[virtual_subnet]]
vsid = 6001
rdid = "{11111111-2222-3333-4444-000000000000}"
prefixes = ["10.1.1.0/24"]
`
	record := func(ca, mac, typ string) string {
		return "\n[[lookup_record]]\nvsid = 6001\nca = \"" + ca + "\"\nmac = \"" + mac + "\"\npa = \"192.168.1.10\"\ntype = \"" + typ + "\"\n"
	}
	const a, b = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
	text := subnet + record("0.0.0.0", a, "l2-only") + record("10.1.1.11", b, "static")
	learned := text + record("10.1.1.21", a, "dynamic") + record("10.1.1.22", b, "dynamic")
	socket := serve(t, servertest.New())
	replace := func(text, command string, want ...string) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "policy.toml")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		_, _, errOut := call(socket, command, "-f", file, "--replace")
		if errOut != "" {
			t.Fatal(errOut)
		}
		var got []string
		for _, ca := range []string{"10.1.1.11", "10.1.1.21", "10.1.1.22"} {
			if strings.Contains(done(t, socket, "export"), ca) {
				got = append(got, ca)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s --replace: %v, want %v", command, got, want)
		}
	}
	replace(learned, "apply", "10.1.1.11", "10.1.1.21", "10.1.1.22")
	replace(text, "apply", "10.1.1.11", "10.1.1.21") // b has no l2-only record
	file := filepath.Join(t.TempDir(), "policy.toml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := done(t, socket, "diff", "-f", file, "--replace"); got != "" {
		t.Errorf("diff finds %s", got)
	}
	replace(text+record("10.1.1.22", a, "dynamic"), "apply", "10.1.1.11", "10.1.1.22")
	narrow := strings.Replace(text, "10.1.1.0/24", "10.1.1.0/28", 1) // 10.1.1.22 is of no prefix now
	replace(narrow, "apply", "10.1.1.11")
	replace("", "apply")
}

// diff tells new, gone and changed apart, and says so with its exit code.
func TestDiff(t *testing.T) {
	socket := furnished(t)
	text, err := os.ReadFile("testdata/policy.toml")
	if err != nil {
		t.Fatal(err)
	}
	edited := strings.NewReplacer(`pa = "192.168.2.20"`, `pa = "192.168.3.30"`, `"192.168.1.11/24"`, `"192.168.1.11/25"`,
		`metric = 5`, `metric = 6`, `ca = "10.1.1.11"`, `ca = "10.1.1.21"`, `use_external_router = false`, `use_external_router = true`,
		`prefixes = ["10.1.2.0/24", "fd00:1:2::/64"]`, `prefixes = ["10.1.2.0/24"]`).Replace(string(text))
	file := filepath.Join(t.TempDir(), "edited.toml")
	if err := os.WriteFile(file, []byte(edited), 0o644); err != nil {
		t.Fatal(err)
	}
	before := done(t, socket, "export")
	code, out, errOut := call(socket, "diff", "-f", file, "--replace")
	if code != 1 || errOut != "" {
		t.Errorf("exit code %d, %s", code, errOut)
	}
	golden(t, "diff.txt", out)
	if got := done(t, socket, "apply", "-f", file, "--replace", "--dry-run"); got != out {
		t.Errorf("apply --dry-run says\n%s, diff\n%s", got, out)
	}
	if after := done(t, socket, "export"); after != before {
		t.Error("diff changes policy")
	}
	var in, inErr bytes.Buffer
	if code := run(context.Background(), []string{"--socket", socket, "diff", "-f", "-", "--replace"}, strings.NewReader(edited), &in, &inErr); code != 1 || in.String() != out {
		t.Errorf("from standard input: exit code %d, %s%s", code, &in, &inErr)
	}
	code, out, _ = call(socket, "diff", "-f", file, "--replace", "-o", "json")
	if code != 1 || !strings.Contains(out, `"changed"`) {
		t.Errorf("exit code %d, %s", code, out)
	}
}

func TestWatch(t *testing.T) {
	socket := furnished(t)
	done(t, socket, "lookup-record", "set", "--ca", "10.1.1.12", "--pa", "192.168.3.30")
	done(t, socket, "port", "del", "blue-vm2")
	golden(t, "watch.txt", watchFor(t, socket, "watch", "--after", "2"))
	lines := strings.Split(strings.TrimSpace(watchFor(t, socket, "watch", "--after", "2", "-o", "json")), "\n")
	if len(lines) != 3 {
		t.Fatalf("%d lines: %q", len(lines), lines)
	}
	for _, line := range lines {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
}

// A list can be emptied, and a selector cannot: that would select everything.
func TestA14NoNameServers(t *testing.T) {
	socket := furnished(t)
	done(t, socket, "virtual-subnet", "set", "6001", "--dhcp", "--dns", "10.1.1.53")
	done(t, socket, "virtual-subnet", "set", "6001", "--dns", "")
	if got := done(t, socket, "virtual-subnet", "show", "6001"); !strings.Contains(got, "dhcp      yes\n") || !strings.Contains(got, "dns       -\n") {
		t.Errorf("it is\n%s", got)
	}
	refused(t, 2, socket, "virtual-subnet", "del", "--vsid", "")
	refused(t, 1, socket, "virtual-subnet", "del", "--rdid", "")
}

// A port without limits of its own is not one with the limit 0 (L32).
func TestL32AbsentIsNotZero(t *testing.T) {
	socket := furnished(t)
	limits := func(name string) string {
		t.Helper()
		var limits []string
		for line := range strings.Lines(done(t, socket, "port", "show", name)) {
			if strings.Contains(line, " limit ") {
				limits = append(limits, strings.Join(strings.Fields(line), " "))
			}
		}
		return strings.Join(limits, ", ")
	}
	done(t, socket, "port", "add", "v", "--role", "vm", "--device", "tap:v", "--mac", "101010101109")
	if got, want := limits("v"), "dynamic ip limit 8, storm limit 1000"; got != want {
		t.Errorf("a port has %s, want %s", got, want)
	}
	done(t, socket, "port", "set", "v", "--dynamic-ip-limit", "0")
	if got, want := limits("v"), "dynamic ip limit 0, storm limit 1000"; got != want {
		t.Errorf("a port has %s, want %s", got, want)
	}
	if got, want := limits("uplink0"), "dynamic ip limit -, storm limit -"; got != want {
		t.Errorf("an uplink has %s, want %s", got, want)
	}
	if got := done(t, socket, "port", "show", "uplink0", "-o", "json"); strings.Contains(got, "storm_limit") {
		t.Errorf("an uplink has\n%s", got)
	}
}

// Two who change at once what they have read do not undo each other.
func TestSetTwice(t *testing.T) {
	socket := furnished(t)
	errs := make(chan string)
	for _, flag := range []string{"--vm-name", "--context"} {
		go func() {
			for i := range 20 {
				if code, _, errOut := call(socket, "lookup-record", "set", "--vsid", "6001", flag, fmt.Sprint(i)); code != 0 {
					errs <- errOut
					return
				}
			}
			errs <- ""
		}()
	}
	for range 2 {
		if err := <-errs; err != "" {
			t.Error(err)
		}
	}
	out := done(t, socket, "lookup-record", "show", "--vsid", "6001", "-o", "json")
	if strings.Count(out, `"vm_name": "19"`) != 2 || strings.Count(out, `"context": "19"`) != 2 {
		t.Errorf("records are %s", out)
	}
}

// moving is a host on which policy moves when records were listed for the nth time,
// the first unless told otherwise.
type moving struct {
	*servertest.Host
	nth  int32
	seen atomic.Int32
	move policy.Change
}

func (m *moving) LookupRecords(match server.Match) iter.Seq[*pacav1.LookupRecord] {
	found := slices.Collect(m.Host.LookupRecords(match))
	if m.seen.Add(1) == max(1, m.nth) {
		if _, _, err := m.Apply(context.Background(), []policy.Change{m.move}, false, 0); err != nil {
			panic(err)
		}
	}
	return slices.Values(found)
}

// del takes away what its selectors select when it is done, not what they selected
// before others changed it.
func TestDelSeesWhatMoves(t *testing.T) {
	h := servertest.New()
	done(t, serve(t, h), "apply", "-f", "testdata/policy.toml")
	var move policy.Change
	_, records := h.Export(policy.KindLookupRecord)
	for o := range records {
		if r := o.(policy.LookupRecord); r.CA == netip.MustParseAddr("10.1.1.12") && r.VSID == 6001 {
			r.PA = netip.MustParseAddr("192.168.3.30") // from 192.168.2.20
			move = policy.Change{Verb: policy.Replace, Object: r}
		}
	}
	before := slices.Collect(h.LookupRecords(func(policy.VSID, netip.Addr, netip.Addr, packet.MAC) bool { return true }))
	socket := serve(t, &moving{Host: h, move: move})
	if got := refused(t, 1, socket, "lookup-record", "del", "--vsid", "6001", "--ca", "10.1.1.12", "--pa", "192.168.2.20"); !strings.Contains(got, "there is no such lookup record") {
		t.Errorf("says %s", got)
	}
	if after := slices.Collect(h.LookupRecords(func(policy.VSID, netip.Addr, netip.Addr, packet.MAC) bool { return true })); len(after) != len(before) {
		t.Errorf("%d records, before %d", len(after), len(before))
	}
}

// Sets of more than one message go whole, and lists come whole.
func TestLargeSet(t *testing.T) {
	const n = 20000
	var b strings.Builder
	b.WriteString("[[virtual_subnet]]\nvsid = 8001\nrdid = \"{88888888-2222-3333-4444-000000000000}\"\nprefixes = [\"10.0.0.0/8\"]\n")
	for i := range n {
		fmt.Fprintf(&b, "[[lookup_record]]\nvsid = 8001\nca = \"10.1.%d.%d\"\nmac = \"02:00:00:00:%02x:%02x\"\npa = \"192.168.2.20\"\n", i/250, 1+i%250, i/250, i%250)
	}
	file := filepath.Join(t.TempDir(), "large.toml")
	if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	socket := serve(t, servertest.New())
	if got := done(t, socket, "apply", "-f", file); !strings.HasPrefix(got, fmt.Sprint(n+1, " objects changed, revision ")) {
		t.Errorf("says %s", got)
	}
	if got := strings.Count(done(t, socket, "lookup-record", "list"), "\n"); got != n+1 {
		t.Errorf("%d lines", got)
	}
	if got := done(t, socket, "lookup-record", "del", "--vsid", "8001"); !strings.HasPrefix(got, fmt.Sprint(n, " objects changed")) {
		t.Errorf("says %s", got)
	}
}

func TestPS1(t *testing.T) {
	socket := furnished(t)
	commands := done(t, socket, "ps1", "testdata/setup.ps1", "--dry-run")
	before := done(t, socket, "export")
	// The commands that it prints do the same as the script.
	twin := furnished(t)
	for line := range strings.Lines(commands) {
		args := strings.Fields(line)
		if args[0] != "pacactl" {
			t.Fatalf("%q is no command", line)
		}
		done(t, twin, args[1:]...)
	}
	out := done(t, socket, "ps1", "testdata/setup.ps1")
	golden(t, "ps1.txt", commands+out)
	if got, want := done(t, socket, "export"), done(t, twin, "export"); got != want || got == before {
		t.Errorf("the script makes\n%s, its commands\n%s", got, want)
	}
	// Faults are those of the script's lines.
	script := filepath.Join(t.TempDir(), "bad.ps1")
	if err := os.WriteFile(script, []byte("\nNew-NetVirtualizationLookupRecord -VirtualSubnetID 6001 -CustomerAddress 10.1.1.11 -MACAddress 101010101199 -ProviderAddress 192.168.1.10 -Rule TranslationMethodEncap\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := refused(t, 2, socket, "ps1", script); !strings.Contains(got, script+":2: ") || !strings.Contains(got, "(P6)") {
		t.Errorf("says %s", got)
	}
}

// What a script asks does not hide what it has changed.
func TestPS1Questions(t *testing.T) {
	socket := furnished(t)
	script := filepath.Join(t.TempDir(), "ask.ps1")
	text := `New-NetVirtualizationLookupRecord -VirtualSubnetID 6001 -CustomerAddress 10.1.1.19 -MACAddress 101010101119 -ProviderAddress 192.168.4.40 -Rule TranslationMethodEncap
Select-NetVirtualizationNextHop -SourceVirtualSubnetID 7777 -DestinationCustomerAddress 10.1.1.19
Select-NetVirtualizationNextHop -SourceVirtualSubnetID 6001 -DestinationCustomerAddress 10.1.1.19
Select-NetVirtualizationNextHop -SourceVirtualSubnetID 7778 -DestinationCustomerAddress 10.1.1.19
`
	if err := os.WriteFile(script, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		code  int
		first string
	}{
		{0, "1 object changed, revision 3\n"},
		{1, "nothing to change at revision 3\n"}, // the second time
	} {
		code, out, errOut := call(socket, "ps1", script)
		if code != tt.code || !strings.HasPrefix(out, tt.first+"verdict ") || strings.Count(out, "verdict") != 1 {
			t.Errorf("exit code %d, want %d: %s", code, tt.code, out)
		}
		lines := strings.Split(errOut, "\n")
		if len(lines) != 3 || !strings.HasPrefix(lines[0], "pacactl: line 2: ") || !strings.HasPrefix(lines[1], "pacactl: line 4: ") || !strings.Contains(lines[1], "7778") {
			t.Errorf("stderr says %s", errOut)
		}
	}
}

// Shells are offered what there is.
func TestCompletion(t *testing.T) {
	socket := furnished(t)
	for _, tt := range []struct {
		args string
		want []string
	}{
		{"port show ", []string{"blue-vm1", "blue-vm2", "uplink0"}},
		{"port del --name ", []string{"blue-vm1", "blue-vm2", "uplink0"}},
		{"provider-address add 192.168.1.12/24 --port ", []string{"uplink0"}},
		{"ps1 --uplink ", []string{"uplink0"}},
		{"virtual-subnet set ", []string{"5001\t10.1.1.0/24", "6001\t10.1.1.0/24", "6002\t10.1.2.0/24 fd00:1:2::/64"}},
		{"next-hop --vsid ", []string{"5001\t10.1.1.0/24", "6001\t10.1.1.0/24", "6002\t10.1.2.0/24 fd00:1:2::/64"}},
		{"virtual-subnet set 6001 --mode ", []string{"nvgre", "rewrite"}},
		{"lookup-record add --ca ", nil},
		{"export -o ", []string{"table", "json", "yaml"}},
	} {
		args := append([]string{"__complete", "--socket", socket}, strings.Split(tt.args, " ")...)
		var out, errOut bytes.Buffer
		if code := run(context.Background(), args, strings.NewReader(""), &out, &errOut); code != 0 {
			t.Errorf("%s: exit code %d, %s", tt.args, code, &errOut)
		}
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		offers := lines[:len(lines)-1] // the last says how to take them
		if !slices.Equal(offers, tt.want) && len(offers)+len(tt.want) > 0 {
			t.Errorf("%s: offered %q, want %q", tt.args, offers, tt.want)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		var out, errOut bytes.Buffer
		if code := run(context.Background(), []string{"completion", shell}, strings.NewReader(""), &out, &errOut); code != 0 || out.Len() < 1000 {
			t.Errorf("%s: exit code %d, %s", shell, code, &errOut)
		}
	}
}
