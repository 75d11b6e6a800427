package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"iter"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/server"
	"paca/ctrl/server/servertest"
	"paca/dataplane/count"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
)

var update = flag.Bool("update", false, "write testdata/*.txt anew")

// fake is a host with one of everything that prints differently.
type fake struct{ server.Host }

func (fake) Status() *pacav1.StatusResponse {
	return &pacav1.StatusResponse{
		Name: "host1", Version: "1.0", Pid: 4242, Started: 1767225600, UptimeSeconds: 3723, PolicyVersion: 1, FibVersion: 12,
		Counts:  &pacav1.Counts{VirtualSubnets: 2, LookupRecords: 1, ProviderAddresses: 1, ProviderRoutes: 2, Ports: 3, Neighbors: 1},
		Workers: []*pacav1.Worker{{Core: 1, PollsEmpty: 9000000000, PollsValid: 1000000000, Sleeps: 77}, {Core: 2}},
	}
}

func (fake) Workers() *pacav1.WorkersResponse {
	return &pacav1.WorkersResponse{
		Workers: []*pacav1.Worker{
			{Core: 1, Load: 0.7312, PacketsPerSecond: 1234567.8, RxPackets: 9000000000, TxPackets: 5000000000, GivenPackets: 4000000000, DroppedPackets: 14, QueueDrops: 12,
				Queues: []string{"uplink0/0", "blue-vm1/0", "red-vm1/0", "a-port-with-a-long-name/0", "host0/0"}},
			{Core: 2, Load: 0.5, TakenPackets: 4000000000, TxPackets: 4000000000},
		},
		Seconds: 9.6, Imbalance: 1.1877,
	}
}

func (fake) Ports() []*pacav1.Port {
	return []*pacav1.Port{
		{Name: "uplink0", Role: "uplink", Device: "0000:3b:00.0", Driver: "net_ixgbe", Mac: "02:00:00:00:00:01", Mtu: 1600, LinkUp: true,
			RxPackets: 1000000, TxPackets: 1000001, DeviceStats: &pacav1.DeviceStats{RxMissed: 3}, DroppedPackets: 12, Queues: 1, RxQueues: 1, TxQueues: 2, TxShared: true, Spread: "software", Offload: map[string]bool{"vlan": false, "gre_tso": false},
			Offloads: []*pacav1.PortOffload{
				{Name: "TCP segmentation", Word: "tso", Device: true, Used: true},
				{Name: "TCP segmentation in GRE", Word: "gre_tso", Device: true, Software: "frames are cut", Reason: "switched off"},
				{Name: "IPv4 header checksum", Word: "tx_checksum", Software: "computed", Reason: "the device lacks it"},
			}},
		{Name: "blue-vm1", Role: "vm", Device: "vhost-user:/run/paca/a-directory-of-its-own/blue-vm1.sock,client", Mtu: 1500,
			Vsid: 6001, VmMac: "10:10:10:10:11:05", MacSpoofing: true, DhcpGuard: true, RouterGuard: true,
			DynamicIpLimit: proto.Uint32(8), StormLimit: proto.Uint32(1000)},
		{Name: "host0", Role: "host", Device: "tap:paca0", Mtu: 1500, LinkUp: true, Peer: "uplink0"},
	}
}

func (fake) LookupRecords(match server.Match) iter.Seq[*pacav1.LookupRecord] {
	return func(yield func(*pacav1.LookupRecord) bool) {
		for _, r := range []*pacav1.LookupRecord{
			{Vsid: 5001, Ca: "10.1.1.11", Mac: "10:10:10:10:11:05", Pa: "192.168.1.10", Type: "static", Mode: "nvgre", Port: "red-vm1"},
			{Vsid: 6001, Ca: "10.1.1.12", Mac: "10:10:10:10:11:06", Pa: "192.168.2.20", Type: "static", Mode: "nvgre", NextHop: "192.168.1.1", NextHopState: "reachable"},
			{Vsid: 6001, Ca: "fd00:1111:2222:3333:4444:5555:6666:7777", Mac: "10:10:10:10:11:06", Pa: "2001:db8:1111:2222:3333:4444:5555:6666",
				Type: "gateway-wildcard", Mode: "rewrite", NextHopState: "no-route"},
			{Vsid: 16777214, Ca: "10.1.1.1", Mac: "10:10:10:10:11:01", Pa: "169.254.254.254", Type: "static", Mode: "nvgre"},
		} {
			ca, pa := netip.MustParseAddr(r.Ca), netip.MustParseAddr(r.Pa)
			mac, _ := packet.ParseMAC(r.Mac)
			if match(policy.VSID(r.Vsid), ca, pa, mac) && !yield(r) {
				return
			}
		}
	}
}

func (fake) Drops() []*pacav1.Drop {
	var all []*pacav1.Drop
	for _, port := range []string{"uplink0", "blue-vm1"} {
		for r := count.Kept + 1; r < count.NumReasons; r++ {
			d := &pacav1.Drop{Port: port, Reason: r.Name(), Help: r.Help()}
			if port == "uplink0" {
				d.Packets = map[count.Reason]uint64{count.Runt: 1, count.InnerUnknown: 50, count.InnerSpoofed: 52}[r]
			}
			all = append(all, d)
		}
	}
	return all
}

func (fake) Neighbors() []*pacav1.Neighbor {
	return []*pacav1.Neighbor{
		{Port: "uplink0", Address: "192.168.1.1", Mac: "02:00:00:00:01:01", State: "reachable"},
		{Port: "uplink0", Vlan: 100, Address: "2001:db8:1::1", State: "incomplete"},
	}
}

// start serves the fake on a socket.
func start(t *testing.T) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	quiet := slog.New(slog.DiscardHandler)
	l, err := server.Listen(server.Socket{Path: socket, Group: "root"}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	s := server.New(fake{servertest.New()}, servertest.New(), quiet)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Shutdown(context.Background()) })
	return socket
}

// call runs pacactl as a shell would.
func call(socket string, args ...string) (code int, out, errOut string) {
	var o, e bytes.Buffer
	code = run(context.Background(), append([]string{"--socket", socket}, args...), strings.NewReader(""), &o, &e)
	return code, o.String(), e.String()
}

var questions = map[string][]string{
	"status":             {"status"},
	"port-list":          {"port", "list"},
	"port-show":          {"port", "show", "uplink0"},
	"lookup-record-list": {"lookup-record", "list"},
	"one-subnet":         {"lookup-record", "list", "--vsid", "6001"},
	"two-selectors":      {"lookup-record", "list", "--vsid", "6001,5001", "--ca", "10.1.1.11", "--ca", "10.1.1.12", "--pa", "192.168.2.20", "--mac", "101010101106"},
	"drops":              {"drops"},
	"drops-all":          {"drops", "--all"},
	"neighbor-list":      {"neighbor", "list"},
	"workers":            {"workers"},
}

func TestTables(t *testing.T) {
	socket := start(t)
	for name, args := range questions {
		code, out, errOut := call(socket, args...)
		if code != 0 || errOut != "" {
			t.Errorf("%s: exit code %d, %s", name, code, errOut)
		}
		for line := range strings.Lines(out) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > pageWidth {
				t.Errorf("%s: line of %d characters: %s", name, n, line)
			}
		}
		file := filepath.Join("testdata", name+".txt")
		if name == "drops-all" { // one list of reasons is enough
			if n := strings.Count(out, "uplink0"); n != int(count.NumReasons)-1 {
				t.Errorf("%d reasons of uplink0, want %d", n, count.NumReasons-1)
			}
			continue
		}
		if *update {
			if err := os.WriteFile(file, []byte(out), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if out != string(want) {
			t.Errorf("%s prints\n%s\nwant\n%s", name, out, want)
		}
	}
}

func TestJSON(t *testing.T) {
	socket := start(t)
	for name, args := range questions {
		code, out, errOut := call(socket, append(args, "-o", "json")...)
		var v map[string]any
		if err := json.Unmarshal([]byte(out), &v); err != nil || code != 0 || errOut != "" {
			t.Errorf("%s: %v, exit code %d, %s", name, err, code, errOut)
		}
		switch name {
		case "status":
			if v["name"] != "host1" || v["counts"].(map[string]any)["customer_routes"] != 0.0 || v["uptime_seconds"] != "3723" {
				t.Errorf("status is %s", out)
			}
		case "one-subnet":
			records := v["lookup_records"].([]any)
			if len(records) != 2 || records[1].(map[string]any)["next_hop_state"] != "no-route" {
				t.Errorf("records are %s", out)
			}
		case "drops":
			if drops := v["drops"].([]any); len(drops) != 3 || drops[0].(map[string]any)["reason"] != "runt" {
				t.Errorf("drops are %s", out)
			}
		}
	}
	code, out, _ := call(socket, "lookup-record", "list", "--vsid", "7777", "-o", "json")
	if code != 0 || strings.Join(strings.Fields(out), "") != `{"lookup_records":[]}` {
		t.Errorf("no records are %q", out)
	}
}

func TestExitCodes(t *testing.T) {
	socket := start(t)
	dead := filepath.Join(t.TempDir(), "dead")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	absent := filepath.Join(t.TempDir(), "absent")
	silent := filepath.Join(t.TempDir(), "silent")
	hangsUp, err := net.Listen("unix", silent)
	if err != nil {
		t.Fatal(err)
	}
	defer hangsUp.Close()
	go func() {
		for {
			c, err := hangsUp.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	for _, tt := range []struct {
		socket string
		args   []string
		code   int
		says   string
	}{
		{socket, []string{"status"}, 0, ""},
		{socket, []string{"version"}, 0, ""},
		{absent, []string{"version"}, 0, ""},
		{socket, []string{"--help"}, 0, ""},
		{socket, []string{"lookup-record", "list", "--vsid", "4095"}, 1, "vsid 4095 is not in 4096 to 16777214 (W4)"},
		{socket, []string{"lookup-record", "list", "--vsid", "4294967296"}, 2, `"4294967296" is not a number of 32 bits`},
		{socket, []string{"lookup-record", "list", "--ca", "ten"}, 1, `ca "ten" is not an IP address`},
		{socket, []string{"lookup-record", "list", "--vsid", "-1"}, 2, `"-1" is not a number of 32 bits`},
		{socket, []string{"lookup-record"}, 2, "lookup-record needs a verb: add, del, list, set, show"},
		{socket, []string{"port", "open"}, 2, "unknown command"},
		{socket, []string{"gateway"}, 2, "unknown command"},
		{socket, []string{"drops", "uplink0"}, 2, "unknown command"},
		{socket, []string{"status", "--loud"}, 2, "unknown flag"},
		{socket, []string{"status", "-o", "yaml"}, 0, ""},
		{socket, []string{"status", "-o", "xml"}, 2, "use table, json or yaml"},
		{absent, []string{"status"}, 3, "no pacad answers on " + absent + ": no such file or directory; is it running?"},
		{absent, []string{"port", "list"}, 3, "no pacad answers on " + absent + ": no such file or directory; is it running?"},
		{dead, []string{"drops"}, 3, "connection refused"},
		{silent, []string{"status"}, 3, "went silent"},
		{silent, []string{"drops"}, 3, "went silent"},
	} {
		code, out, errOut := call(tt.socket, tt.args...)
		if code != tt.code || !strings.Contains(errOut, tt.says) || (code != 0) != (errOut != "") || strings.Count(errOut, "\n") > 1 {
			t.Errorf("%q: exit code %d, %q; want %d, %q", tt.args, code, errOut, tt.code, tt.says)
		}
		if code != 0 && out != "" {
			t.Errorf("%q fails and prints %q", tt.args, out)
		}

		args := append([]string{"-o", "json"}, tt.args...)
		code, _, errOut = call(tt.socket, args...)
		if tt.says == "use table, json or yaml" { // the later -o stands
			continue
		}
		if code != tt.code {
			t.Errorf("%q: exit code %d, want %d", args, code, tt.code)
		}
		if code == 0 {
			continue
		}
		var v struct{ Error failure }
		if err := json.Unmarshal([]byte(errOut), &v); err != nil || v.Error.ExitCode != code || !strings.Contains(v.Error.Message, tt.says) {
			t.Errorf("%q: %v in %s", args, err, errOut)
		}
		if strings.Contains(tt.says, "W4") && (v.Error.Rule != "W4" || v.Error.Field != "vsid" || v.Error.Code != "ERROR_CODE_BAD_SELECTOR") {
			t.Errorf("%q: %+v", args, v.Error)
		}
	}
}

func TestInterrupt(t *testing.T) {
	mute := filepath.Join(t.TempDir(), "mute")
	l, err := net.Listen("unix", mute) // takes the question, never answers
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	var out, errOut bytes.Buffer
	if code := run(ctx, []string{"status", "--socket", mute}, strings.NewReader(""), &out, &errOut); code != exitUnreachable || !strings.Contains(errOut.String(), "went silent") {
		t.Errorf("exit code %d, %s", code, &errOut)
	}
	ctx, cancel = context.WithCancel(context.Background())
	time.AfterFunc(100*time.Millisecond, cancel)
	errOut.Reset()
	if code := run(ctx, []string{"status", "--socket", mute}, strings.NewReader(""), &out, &errOut); code != exitRefused || !strings.Contains(errOut.String(), "interrupted") {
		t.Errorf("exit code %d, %s", code, &errOut)
	}
}

// Text gives way to numbers, and none of it is lost.
func TestLayOut(t *testing.T) {
	long, huge := strings.Repeat("ä", 90), decimal(math.MaxUint64)
	got := layOut([]column{{"A", text}, {"N", number}, {"TEXT", text}},
		[][]string{{long, huge, "one two three " + strings.Repeat("x", 70)}, {"b", "1", ""}})
	for line := range strings.Lines(got) {
		if n := utf8.RuneCountInString(line) - 1; n > pageWidth {
			t.Errorf("line of %d characters: %s", n, line)
		}
	}
	if strings.Count(got, "ä") != 90 || strings.Count(got, "x") != 70 || !strings.Contains(got, huge) || !strings.Contains(got, "one two three") {
		t.Errorf("something is lost in\n%s", got)
	}
	if got := layOut([]column{{"NAME", text}, {"N", number}}, nil); got != "NAME  N\n" {
		t.Errorf("an empty table is %q", got)
	}
}
