package server_test

import (
	"bytes"
	"context"

	"fmt"

	"log/slog"
	"net"
	"net/http"

	"path/filepath"

	"strings"
	"sync"

	"testing"
	"time"

	"connectrpc.com/connect"

	"google.golang.org/protobuf/proto"

	"paca/ctrl/api"
	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/api/paca/v1/pacav1connect"
	"paca/ctrl/client"
	"paca/ctrl/server"
	"paca/ctrl/server/servertest"
)

// syncBuffer is a log that many goroutines write to.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

type served struct {
	socket string
	server *server.Server
	log    *syncBuffer
}

// start serves a host on a socket of its own, and read-only on another.
func start(t testing.TB) *served {
	t.Helper()
	return startWith(t, servertest.New())
}

// host is what servertest.Host is, and what stands before one.
type host interface {
	server.Host
	server.Policy
}

func startWith(t testing.TB, h host) *served {
	t.Helper()
	return startAs(t, h, server.New)
}

func startAs(t testing.TB, h host, serverOf func(server.Host, server.Policy, *slog.Logger) *server.Server) *served {
	t.Helper()
	s := &served{socket: filepath.Join(t.TempDir(), "s"), log: &syncBuffer{}}
	log := slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelInfo}))
	s.server = serverOf(h, h, log)
	ended := make(chan error, 2)
	for path, serve := range map[string]func(net.Listener) error{s.socket: s.server.Serve, s.socket + ".ro": s.server.ServeReadOnly} {
		l, err := server.Listen(server.Socket{Path: path, Group: "root"}, log)
		if err != nil {
			t.Fatal(err)
		}
		go func() { ended <- serve(l) }()
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.server.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		for range 2 {
			if err := <-ended; err != nil {
				t.Errorf("Serve: %v", err)
			}
		}
	})
	return s
}

func (s *served) client(t testing.TB) *client.Client {
	c := client.Dial(s.socket)
	t.Cleanup(c.Close)
	return c
}

// h2 is a client of HTTP/2 without encryption, which gRPC needs.
func h2(socket string) *http.Client {
	var unencrypted http.Protocols
	unencrypted.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: &http.Transport{Protocols: &unencrypted, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
}

const rdid = "{11111111-2222-3333-4444-000000000000}"

func put(o *pacav1.Object) *pacav1.Change { return &pacav1.Change{Change: &pacav1.Change_Put{Put: o}} }
func add(o *pacav1.Object) *pacav1.Change { return &pacav1.Change{Change: &pacav1.Change_Add{Add: o}} }
func drop(o *pacav1.Object) *pacav1.Change {
	return &pacav1.Change{Change: &pacav1.Change_Delete{Delete: o}}
}

func subnet(vsid uint32, prefixes ...string) *pacav1.Object {
	return &pacav1.Object{Object: &pacav1.Object_VirtualSubnet{VirtualSubnet: &pacav1.VirtualSubnet{Vsid: vsid, Rdid: rdid, Prefixes: prefixes, Mode: "nvgre"}}}
}

func record(vsid uint32, ca, pa string) *pacav1.Object {
	return &pacav1.Object{Object: &pacav1.Object_LookupRecord{LookupRecord: &pacav1.LookupRecord{Vsid: vsid, Ca: ca, Mac: "10:10:10:10:11:05", Pa: pa, Type: "static"}}}
}

func port(name string, vsid uint32) *pacav1.Object {
	return &pacav1.Object{Object: &pacav1.Object_Port{Port: &pacav1.Port{Name: name, Role: "vm", Device: "tap:" + name, Vsid: vsid, VmMac: "10:10:10:10:11:05", Mtu: 1500}}}
}

func apply(c pacav1connect.ControlClient, r *pacav1.ApplyRequest) (*pacav1.ApplyResponse, error) {
	answer, err := c.Apply(context.Background(), connect.NewRequest(r))
	if err != nil {
		return nil, err
	}
	return answer.Msg, nil
}

func mustApply(t *testing.T, c pacav1connect.ControlClient, changes ...*pacav1.Change) *pacav1.ApplyResponse {
	t.Helper()
	answer, err := apply(c, &pacav1.ApplyRequest{Changes: changes, ListApplied: true})
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// wants holds an error to its code and some of its words.
func wants(t *testing.T, err error, code pacav1.ErrorCode, words ...string) *pacav1.ErrorDetail {
	t.Helper()
	d := api.Detail(err)
	if d.GetCode() != code {
		t.Errorf("got %v with detail %v, want %v", err, d, code)
		return d
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
	return d
}

func TestApply(t *testing.T) {
	s := start(t)
	c := s.client(t)
	first := mustApply(t, c, put(subnet(6001, "10.1.1.0/24")), add(record(6001, "10.1.1.11", "192.168.1.10")), add(port("vm1", 6001)))
	if first.Revision != 2 || first.Changed != 3 || len(first.Applied) != 3 {
		t.Errorf("first answer %v", first)
	}
	again := mustApply(t, c, put(subnet(6001, "10.1.1.0/24")))
	if again.Revision != 2 || again.Changed != 0 {
		t.Errorf("a set that changes nothing gives %v", again)
	}

	dry, err := apply(c, &pacav1.ApplyRequest{DryRun: true, ListApplied: true, Changes: []*pacav1.Change{put(record(6001, "10.1.1.11", "192.168.2.20"))}})
	if err != nil || dry.Revision != 2 || dry.Changed != 1 || !proto.Equal(dry.Applied[0], put(record(6001, "10.1.1.11", "192.168.2.20"))) {
		t.Errorf("dry run gives %v, %v", dry, err)
	}
	if n := pa(t, c, "10.1.1.11"); n != "192.168.1.10" {
		t.Errorf("a dry run moved the record to %s", n)
	}

	_, err = apply(c, &pacav1.ApplyRequest{ExpectedRevision: 1, Changes: []*pacav1.Change{put(record(6001, "10.1.1.11", "192.168.2.20"))}})
	wants(t, err, pacav1.ErrorCode_ERROR_CODE_CONFLICT, "expected 1", "2")
	third, err := apply(c, &pacav1.ApplyRequest{ExpectedRevision: 2, Changes: []*pacav1.Change{put(record(6001, "10.1.1.11", "192.168.2.20"))}})
	if err != nil || third.Revision != 3 || third.Applied != nil {
		t.Errorf("at the expected revision: %v, %v", third, err)
	}
}

func pa(t *testing.T, c pacav1connect.ControlClient, ca string) string {
	t.Helper()
	answer, err := c.Get(context.Background(), connect.NewRequest(&pacav1.GetRequest{Object: record(6001, ca, "")}))
	if err != nil {
		t.Fatal(err)
	}
	return answer.Msg.Object.GetLookupRecord().Pa
}

// Every refusal has a stable code, and leaves policy as it was.
func TestRefusals(t *testing.T) {
	s := start(t)
	c := s.client(t)
	mustApply(t, c, put(subnet(6001, "10.1.1.0/24")), add(record(6001, "10.1.1.11", "192.168.1.10")))
	bad := func(change func(*pacav1.LookupRecord)) *pacav1.Change {
		o := record(6001, "10.1.1.12", "192.168.1.10")
		change(o.GetLookupRecord())
		return put(o)
	}
	for _, tt := range []struct {
		name        string
		changes     []*pacav1.Change
		code        pacav1.ErrorCode
		field, rule string
	}{
		{"add what is there", []*pacav1.Change{add(record(6001, "10.1.1.11", "192.168.1.10"))}, pacav1.ErrorCode_ERROR_CODE_ALREADY_EXISTS, "", ""},
		{"delete what is not", []*pacav1.Change{drop(record(6001, "10.1.1.12", ""))}, pacav1.ErrorCode_ERROR_CODE_NOT_FOUND, "", ""},
		{"replace what is not", []*pacav1.Change{{Change: &pacav1.Change_Replace{Replace: record(6001, "10.1.1.12", "192.168.1.10")}}}, pacav1.ErrorCode_ERROR_CODE_NOT_FOUND, "", ""},
		{"delete what others need", []*pacav1.Change{drop(subnet(6001))}, pacav1.ErrorCode_ERROR_CODE_IN_USE, "", ""},
		{"delete what the host file has", []*pacav1.Change{drop(port("uplink0", 0))}, pacav1.ErrorCode_ERROR_CODE_READ_ONLY, "", ""},
		{"reserved VSID", []*pacav1.Change{put(subnet(4095, "10.9.0.0/16"))}, pacav1.ErrorCode_ERROR_CODE_INVALID, "virtual_subnet[0].vsid", "W4"},
		{"overlap", []*pacav1.Change{put(subnet(6001, "10.1.1.0/24")), put(subnet(6002, "10.1.0.0/16"))}, pacav1.ErrorCode_ERROR_CODE_INVALID, "virtual_subnet[1].prefixes", "P4"},
		{"CA that cannot be read", []*pacav1.Change{bad(func(r *pacav1.LookupRecord) { r.Ca = "10.1.1" })}, pacav1.ErrorCode_ERROR_CODE_INVALID, "lookup_record[0].ca", "C1.2"},
		{"MAC that cannot be read", []*pacav1.Change{bad(func(r *pacav1.LookupRecord) { r.Mac = "10" })}, pacav1.ErrorCode_ERROR_CODE_INVALID, "lookup_record[0].mac", "C1.2"},
		{"PA missing", []*pacav1.Change{bad(func(r *pacav1.LookupRecord) { r.Pa = "" })}, pacav1.ErrorCode_ERROR_CODE_INVALID, "lookup_record[0].pa", "C1.2"},
		{"router address", []*pacav1.Change{bad(func(r *pacav1.LookupRecord) { r.Ca = "10.1.1.1" })}, pacav1.ErrorCode_ERROR_CODE_INVALID, "lookup_record[0].ca", "P20"},
		{"second in a row of good ones", []*pacav1.Change{bad(func(*pacav1.LookupRecord) {}), put(subnet(1, "10.9.0.0/16"))}, pacav1.ErrorCode_ERROR_CODE_INVALID, "virtual_subnet[1].vsid", "W4"},
		{"several causes", []*pacav1.Change{add(record(6001, "10.1.1.11", "192.168.1.10")), drop(record(6001, "10.1.1.12", ""))}, pacav1.ErrorCode_ERROR_CODE_INVALID, "lookup_record[0].ca", "P6"},
		{"no verb", []*pacav1.Change{{}}, pacav1.ErrorCode_ERROR_CODE_INVALID, "change[0].change", ""},
		{"no object", []*pacav1.Change{put(nil)}, pacav1.ErrorCode_ERROR_CODE_INVALID, "change[0].object", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := apply(c, &pacav1.ApplyRequest{Changes: tt.changes})
			d := wants(t, err, tt.code)
			if tt.field != "" && (d.GetField() != tt.field || d.GetRule() != tt.rule) {
				t.Errorf("says %q %q of %v, want %q %q", d.GetField(), d.GetRule(), err, tt.field, tt.rule)
			}
			if len(d.GetFaults()) == 0 || d.GetFaultCount() == 0 {
				t.Errorf("detail %v has no faults", d)
			}
			if status, err := c.Status(context.Background(), connect.NewRequest(&pacav1.StatusRequest{})); err != nil || status.Msg.PolicyVersion != 2 {
				t.Errorf("afterwards: %v, %v", status, err)
			}
		})
	}

	var many []*pacav1.Change
	for i := range 1000 {
		many = append(many, add(record(6001, strings.Repeat("x", 500), fmt.Sprint(i))))
	}
	_, err := apply(c, &pacav1.ApplyRequest{Changes: many})
	d := wants(t, err, pacav1.ErrorCode_ERROR_CODE_INVALID, "2000 faults")
	if d.FaultCount != 2000 || len(d.Faults) != 20 || proto.Size(d) > 8<<10 {
		t.Errorf("%d faults, %d told in %d bytes", d.FaultCount, len(d.Faults), proto.Size(d))
	}

	_, err = c.Get(context.Background(), connect.NewRequest(&pacav1.GetRequest{Object: subnet(6009)}))
	wants(t, err, pacav1.ErrorCode_ERROR_CODE_NOT_FOUND, "virtual_subnet")
	_, err = c.NextHop(context.Background(), connect.NewRequest(&pacav1.NextHopRequest{Vsid: 6009, DstCa: "10.1.1.1"}))
	wants(t, err, pacav1.ErrorCode_ERROR_CODE_NOT_FOUND, "6009")
	_, err = c.NextHop(context.Background(), connect.NewRequest(&pacav1.NextHopRequest{Vsid: 6001, DstCa: "ten"}))
	wants(t, err, pacav1.ErrorCode_ERROR_CODE_INVALID, `"ten"`)
}

func TestListsOfPolicy(t *testing.T) {
	s := start(t)
	c := s.client(t)
	ctx := context.Background()
	pa := &pacav1.ProviderAddress{Address: "192.168.1.10/24", Port: "uplink0", Vlan: 7}
	route := &pacav1.ProviderRoute{Port: "uplink0", Prefix: "0.0.0.0/0", NextHop: "192.168.1.1", Metric: 5}
	customer := &pacav1.CustomerRoute{Rdid: rdid, Vsid: 6001, Prefix: "0.0.0.0/0", NextHop: "10.1.1.254", Metric: 255}
	mustApply(t, c,
		put(subnet(6001, "10.1.1.0/24")), put(subnet(6002, "10.1.2.0/24")), put(record(6001, "10.1.1.254", "192.168.1.10")), put(port("vm1", 6001)),
		put(&pacav1.Object{Object: &pacav1.Object_ProviderAddress{ProviderAddress: pa}}),
		put(&pacav1.Object{Object: &pacav1.Object_ProviderRoute{ProviderRoute: route}}),
		put(&pacav1.Object{Object: &pacav1.Object_CustomerRoute{CustomerRoute: customer}}),
		put(&pacav1.Object{Object: &pacav1.Object_Global{Global: &pacav1.Global{UseExternalRouter: true}}}))

	subnets, err := client.All(c.ListVirtualSubnets(ctx, connect.NewRequest(&pacav1.ListVirtualSubnetsRequest{Vsid: []uint32{6002}, Rdid: []string{rdid}, Mode: []string{"nvgre"}})))
	if err != nil || subnets.Revision != 2 || len(subnets.VirtualSubnets) != 1 || !proto.Equal(subnets.VirtualSubnets[0], subnet(6002, "10.1.2.0/24").GetVirtualSubnet()) {
		t.Errorf("virtual subnets %v, %v", subnets, err)
	}
	pas, err := client.All(c.ListProviderAddresses(ctx, connect.NewRequest(&pacav1.ListProviderAddressesRequest{Address: []string{"192.168.1.10"}})))
	pa.State = "preferred" // told only
	if err != nil || len(pas.ProviderAddresses) != 1 || !proto.Equal(pas.ProviderAddresses[0], pa) {
		t.Errorf("provider addresses %v, %v", pas, err)
	}
	routes, err := client.All(c.ListProviderRoutes(ctx, connect.NewRequest(&pacav1.ListProviderRoutesRequest{Port: []string{"uplink0"}, Prefix: []string{"0.0.0.0/0"}})))
	if err != nil || len(routes.ProviderRoutes) != 1 || !proto.Equal(routes.ProviderRoutes[0], route) {
		t.Errorf("provider routes %v, %v", routes, err)
	}
	customers, err := client.All(c.ListCustomerRoutes(ctx, connect.NewRequest(&pacav1.ListCustomerRoutesRequest{NextHop: []string{"10.1.1.254"}})))
	if err != nil || len(customers.CustomerRoutes) != 1 || !proto.Equal(customers.CustomerRoutes[0], customer) {
		t.Errorf("customer routes %v, %v", customers, err)
	}
	ports, err := client.All(c.ListPorts(ctx, connect.NewRequest(&pacav1.ListPortsRequest{Role: []string{"uplink"}})))
	if err != nil || len(ports.Ports) != 1 || ports.Ports[0].Name != "uplink0" || !ports.Ports[0].HostFile {
		t.Errorf("uplinks %v, %v", ports, err)
	}
	ports, err = client.All(c.ListPorts(ctx, connect.NewRequest(&pacav1.ListPortsRequest{Vsid: []uint32{6001}, VmMac: []string{"101010101105"}})))
	if err != nil || len(ports.Ports) != 1 || ports.Ports[0].Name != "vm1" || ports.Ports[0].HostFile {
		t.Errorf("ports of VMs %v, %v", ports, err)
	}
	none, err := client.All(c.ListLookupRecords(ctx, connect.NewRequest(&pacav1.ListLookupRecordsRequest{Type: []string{"l2-only"}})))
	if err != nil || len(none.LookupRecords) != 0 {
		t.Errorf("wildcards %v, %v", none, err)
	}
	hop, err := c.NextHop(ctx, connect.NewRequest(&pacav1.NextHopRequest{Vsid: 6001, SrcCa: "10.1.1.11", DstCa: "10.1.1.254"}))
	if err != nil || hop.Msg.Pa != "192.168.1.10" || len(hop.Msg.Steps) != 1 {
		t.Errorf("next hop %v, %v", hop, err)
	}

	for name, err := range map[string]error{
		"mode":     last(client.All(c.ListVirtualSubnets(ctx, connect.NewRequest(&pacav1.ListVirtualSubnetsRequest{Mode: []string{"vxlan"}})))),
		"rdid":     last(client.All(c.ListCustomerRoutes(ctx, connect.NewRequest(&pacav1.ListCustomerRoutesRequest{Rdid: []string{"{}"}})))),
		"prefix":   last(client.All(c.ListProviderRoutes(ctx, connect.NewRequest(&pacav1.ListProviderRoutesRequest{Prefix: []string{"10.0.0.0"}})))),
		"address":  last(client.All(c.ListProviderAddresses(ctx, connect.NewRequest(&pacav1.ListProviderAddressesRequest{Address: []string{"10.0.0.0/8"}})))),
		"role":     last(client.All(c.ListPorts(ctx, connect.NewRequest(&pacav1.ListPortsRequest{Role: []string{"guest"}})))),
		"type":     last(client.All(c.ListLookupRecords(ctx, connect.NewRequest(&pacav1.ListLookupRecordsRequest{Type: []string{"moving"}})))),
		"next_hop": last(client.All(c.ListCustomerRoutes(ctx, connect.NewRequest(&pacav1.ListCustomerRoutesRequest{NextHop: []string{"on-link"}})))),
	} {
		if d := wants(t, err, pacav1.ErrorCode_ERROR_CODE_BAD_SELECTOR); d.GetField() != name {
			t.Errorf("a bad %s is said to be of %q", name, d.GetField())
		}
	}
}

func last[M any](_ M, err error) error { return err }

// What Export tells, applied to an empty host, makes the same policy.
func TestExportRoundTrip(t *testing.T) {
	s := start(t)
	c := s.client(t)
	changes := []*pacav1.Change{put(subnet(6001, "10.1.0.0/16", "fd00:1::/64"))}
	for i := range 2500 {
		changes = append(changes, put(record(6001, fmt.Sprintf("10.1.%d.%d", 1+i/250, 1+i%250), "192.168.1.10")))
	}
	mustApply(t, c, changes...)
	exported, err := client.All(c.Export(context.Background(), connect.NewRequest(&pacav1.ExportRequest{})))
	if err != nil || exported.Revision != 2 || len(exported.Objects) != 2503 {
		t.Fatalf("%d objects, revision %d, %v", len(exported.GetObjects()), exported.GetRevision(), err)
	}
	other := start(t)
	var again []*pacav1.Change
	for _, o := range exported.Objects {
		if !o.GetPort().GetHostFile() {
			again = append(again, put(o))
		}
	}
	mustApply(t, other.client(t), again...)
	back, err := client.All(other.client(t).Export(context.Background(), connect.NewRequest(&pacav1.ExportRequest{})))
	if err != nil || !proto.Equal(back, exported) {
		t.Errorf("exported differently the second time (%v)", err)
	}
}

func TestWatch(t *testing.T) {
	s := start(t)
	for name, c := range map[string]pacav1connect.ControlClient{
		"connect over HTTP/1.1": s.client(t),
		"gRPC over h2c":         pacav1connect.NewControlClient(h2(s.socket), "http://paca", connect.WithGRPC()),
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			stream, err := c.Watch(ctx, connect.NewRequest(&pacav1.WatchRequest{}))
			if err != nil || !stream.Receive() || len(stream.Msg().Changes) != 0 {
				t.Fatal("no first message", err, stream.Err())
			}
			at := stream.Msg().Revision
			vsid := uint32(5000 + at)
			set := []*pacav1.Change{put(subnet(vsid, fmt.Sprintf("10.%d.0.0/16", at)))}
			for i := range 2200 {
				set = append(set, put(record(vsid, fmt.Sprintf("10.%d.%d.%d", at, 1+i/250, 1+i%250), "192.168.1.10")))
			}
			answer := mustApply(t, c, set...)
			var got []*pacav1.Change
			for partial := true; partial; {
				if !stream.Receive() {
					t.Fatal(stream.Err())
				}
				if stream.Msg().Revision != answer.Revision {
					t.Errorf("event of revision %d, want %d", stream.Msg().Revision, answer.Revision)
				}
				got = append(got, stream.Msg().Changes...)
				partial = stream.Msg().Partial
			}
			if len(got) != len(set) || answer.Changed != uint64(len(set)) {
				t.Errorf("%d of %d changes", len(got), len(set))
			}
			// From the past, the same event comes again.
			past, err := c.Watch(ctx, connect.NewRequest(&pacav1.WatchRequest{AfterRevision: &at}))
			if err != nil || !past.Receive() || !past.Receive() || past.Msg().Revision != answer.Revision || len(past.Msg().Changes) != 1000 || !past.Msg().Partial {
				t.Errorf("watch after %d: %v", at, past.Err())
			}
			future := answer.Revision + 100
			early, err := c.Watch(ctx, connect.NewRequest(&pacav1.WatchRequest{AfterRevision: &future}))
			if err == nil {
				for early.Receive() {
				}
				err = early.Err()
			}
			wants(t, err, pacav1.ErrorCode_ERROR_CODE_COMPACTED)
		})
	}
}
