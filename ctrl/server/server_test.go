package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"paca/ctrl/api"
	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/api/paca/v1/pacav1connect"
	"paca/ctrl/client"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
)

var quiet = slog.New(slog.DiscardHandler)

// fake is a Host with as many records as asked for: two VSIDs, even and odd.
type fake struct {
	Host    // what is not asked for here
	records int
	pause   time.Duration // before each batch
}

func (f *fake) Status() *pacav1.StatusResponse {
	return &pacav1.StatusResponse{Name: "host1", Pid: 42, Counts: &pacav1.Counts{LookupRecords: uint32(f.records)}}
}

func (f *fake) Workers() *pacav1.WorkersResponse {
	return &pacav1.WorkersResponse{Workers: []*pacav1.Worker{{Core: 1, Load: 0.5}}, Seconds: 10, Imbalance: 1}
}

func (f *fake) Ports() []*pacav1.Port {
	return []*pacav1.Port{{Name: "uplink0", Role: "uplink"}, {Name: "blue-vm1", Role: "vm", Vsid: 6001}}
}

func (f *fake) LookupRecords(match Match) iter.Seq[*pacav1.LookupRecord] {
	return func(yield func(*pacav1.LookupRecord) bool) {
		for i := range f.records {
			if i%batch == 0 {
				time.Sleep(f.pause)
			}
			vsid := policy.VSID(6000 + i%2)
			ca := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
			pa := netip.AddrFrom4([4]byte{192, 168, 1, byte(i % 3)})
			mac := packet.MAC{2, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)}
			if match(vsid, ca, pa, mac) && !yield(&pacav1.LookupRecord{Vsid: uint32(vsid), Ca: ca.String(), Pa: pa.String(), Mac: mac.String()}) {
				return
			}
		}
	}
}

func (f *fake) Drops() []*pacav1.Drop {
	return []*pacav1.Drop{{Port: "uplink0", Reason: "runt"}, {Port: "uplink0", Reason: "gre_version", Packets: 7}}
}

func (f *fake) Neighbors() []*pacav1.Neighbor {
	return []*pacav1.Neighbor{{Port: "uplink0", Address: "192.168.1.1", State: "reachable"}}
}

// start serves host on a socket of its own.
func start(t *testing.T, host Host, p patience) (socket string, s *Server) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	l, err := Listen(Socket{Path: socket, Group: "root"}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	s = newServer(host, &silent{}, quiet, p, defaultLimits)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = s.Shutdown(ctx)
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return socket, s
}

// The three protocols that Connect speaks, over both versions of HTTP.
func clients(socket string) map[string]pacav1connect.ControlClient {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	http1 := &http.Client{Transport: &http.Transport{DialContext: dial}}
	var unencrypted http.Protocols
	unencrypted.SetUnencryptedHTTP2(true)
	http2 := &http.Client{Transport: &http.Transport{Protocols: &unencrypted, DialContext: dial, TLSClientConfig: &tls.Config{}}}
	return map[string]pacav1connect.ControlClient{
		"client package":         client.Dial(socket),
		"connect over HTTP/1.1":  pacav1connect.NewControlClient(http1, "http://paca"),
		"JSON over HTTP/1.1":     pacav1connect.NewControlClient(http1, "http://paca", connect.WithProtoJSON()),
		"gRPC-Web over HTTP/1.1": pacav1connect.NewControlClient(http1, "http://paca", connect.WithGRPCWeb()),
		"connect over h2c":       pacav1connect.NewControlClient(http2, "http://paca"),
		"gRPC over h2c":          pacav1connect.NewControlClient(http2, "http://paca", connect.WithGRPC()),
	}
}

func TestEveryCall(t *testing.T) {
	host := &fake{records: 2*batch + 1}
	socket, _ := start(t, host, defaultPatience)
	ctx := context.Background()
	for name, c := range clients(socket) {
		t.Run(name, func(t *testing.T) {
			status, err := c.Status(ctx, connect.NewRequest(&pacav1.StatusRequest{}))
			if err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(status.Msg, host.Status()) {
				t.Errorf("status %v", status.Msg)
			}
			workers, err := c.Workers(ctx, connect.NewRequest(&pacav1.WorkersRequest{}))
			if err != nil || !proto.Equal(workers.Msg, host.Workers()) {
				t.Errorf("workers %v, %v", workers, err)
			}
			ports, err := client.All(c.ListPorts(ctx, connect.NewRequest(&pacav1.ListPortsRequest{})))
			if err != nil || !proto.Equal(ports, &pacav1.ListPortsResponse{Ports: host.Ports()}) {
				t.Errorf("ports %v, %v", ports, err)
			}
			neighbors, err := client.All(c.ListNeighbors(ctx, connect.NewRequest(&pacav1.ListNeighborsRequest{})))
			if err != nil || !proto.Equal(neighbors, &pacav1.ListNeighborsResponse{Neighbors: host.Neighbors()}) {
				t.Errorf("neighbors %v, %v", neighbors, err)
			}
			drops, err := client.All(c.ListDrops(ctx, connect.NewRequest(&pacav1.ListDropsRequest{IncludeZero: true})))
			if err != nil || !proto.Equal(drops, &pacav1.ListDropsResponse{Drops: host.Drops()}) {
				t.Errorf("all drops %v, %v", drops, err)
			}
			drops, err = client.All(c.ListDrops(ctx, connect.NewRequest(&pacav1.ListDropsRequest{})))
			if err != nil || len(drops.Drops) != 1 || drops.Drops[0].Reason != "gre_version" {
				t.Errorf("drops %v, %v", drops, err)
			}
			records, err := client.All(c.ListLookupRecords(ctx, connect.NewRequest(&pacav1.ListLookupRecordsRequest{})))
			if err != nil || len(records.LookupRecords) != host.records {
				t.Fatalf("%d records, %v", len(records.GetLookupRecords()), err)
			}
			for i, r := range records.LookupRecords {
				if want := fmt.Sprintf("10.0.%d.%d", i>>8, i&255); r.Ca != want {
					t.Fatalf("record %d is of %s, want %s", i, r.Ca, want)
				}
			}
		})
	}
}

func TestSelectors(t *testing.T) {
	host := &fake{records: 100}
	socket, _ := start(t, host, defaultPatience)
	c := client.Dial(socket)
	defer c.Close()
	for _, tt := range []struct {
		selector *pacav1.ListLookupRecordsRequest
		want     int
	}{
		{&pacav1.ListLookupRecordsRequest{Vsid: []uint32{6000}}, 50},
		{&pacav1.ListLookupRecordsRequest{Vsid: []uint32{6000, 6001}}, 100},
		{&pacav1.ListLookupRecordsRequest{Vsid: []uint32{7000}}, 0},
		{&pacav1.ListLookupRecordsRequest{Ca: []string{"10.0.0.7", "10.0.0.8"}}, 2},
		{&pacav1.ListLookupRecordsRequest{Ca: []string{"10.0.0.7", "10.0.0.8"}, Vsid: []uint32{6000}}, 1},
		{&pacav1.ListLookupRecordsRequest{Pa: []string{"192.168.1.0"}}, 34},
		{&pacav1.ListLookupRecordsRequest{Mac: []string{"02-00-00-00-00-09"}}, 1},
	} {
		got, err := client.All(c.ListLookupRecords(context.Background(), connect.NewRequest(tt.selector)))
		if err != nil || len(got.LookupRecords) != tt.want {
			t.Errorf("%v selects %d, %v; want %d", tt.selector, len(got.GetLookupRecords()), err, tt.want)
		}
	}
	for _, tt := range []struct {
		selector           *pacav1.ListLookupRecordsRequest
		field, rule, words string
	}{
		{&pacav1.ListLookupRecordsRequest{Vsid: []uint32{4095}}, "vsid", "W4", "vsid 4095 is not in 4096 to 16777214"},
		{&pacav1.ListLookupRecordsRequest{Vsid: []uint32{16777215}}, "vsid", "W4", "vsid 16777215 is not in 4096 to 16777214"},
		{&pacav1.ListLookupRecordsRequest{Ca: []string{"10.0.0"}}, "ca", "", `ca "10.0.0" is not an IP address`},
		{&pacav1.ListLookupRecordsRequest{Pa: []string{"host2"}}, "pa", "", `pa "host2" is not an IP address`},
		{&pacav1.ListLookupRecordsRequest{Mac: []string{"1"}}, "mac", "", `mac "1" is not a MAC address`},
	} {
		_, err := client.All(c.ListLookupRecords(context.Background(), connect.NewRequest(tt.selector)))
		d := api.Detail(err)
		if d.GetCode() != pacav1.ErrorCode_ERROR_CODE_BAD_SELECTOR || d.GetField() != tt.field || d.GetRule() != tt.rule || !strings.Contains(err.Error(), tt.words) {
			t.Errorf("%v gives %v, %v", tt.selector, err, d)
		}
	}
}

func TestRequestSizeIsBounded(t *testing.T) {
	socket, _ := start(t, &fake{records: 1}, defaultPatience)
	c := client.Dial(socket)
	defer c.Close()
	many := slices.Repeat([]string{"10.0.0.1"}, maxRequest/8)
	_, err := client.All(c.ListLookupRecords(context.Background(), connect.NewRequest(&pacav1.ListLookupRecordsRequest{Ca: many})))
	if connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Errorf("a request of more than %d bytes gives %v", maxRequest, err)
	}
}

// Connections that do nothing, or stop half-way, are closed; others go on
// working beside them.
func TestHalfOpenClients(t *testing.T) {
	short := patience{read: 200 * time.Millisecond, idle: 200 * time.Millisecond, stuck: 200 * time.Millisecond}
	socket, _ := start(t, &fake{records: 1}, short)
	for name, sent := range map[string]string{
		"silent":           "",
		"half a header":    "POST /paca.v1.Control/Status HTTP/1.1\r\nHost: paca\r\n",
		"half a body":      "POST /paca.v1.Control/Status HTTP/1.1\r\nHost: paca\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
		"half an h2 hello": "PRI * HTTP/2.0\r\n\r\nSM",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := net.Dial("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, sent); err != nil {
				t.Fatal(err)
			}
			_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
			if _, err := io.Copy(io.Discard, conn); err != nil {
				t.Errorf("still open: %v", err)
			}
		})
	}
	c := client.Dial(socket)
	defer c.Close()
	if _, err := c.Status(context.Background(), connect.NewRequest(&pacav1.StatusRequest{})); err != nil {
		t.Error(err)
	}
}

// A client that stops reading must not hold an answer, and with it a version of
// policy, for ever.
func TestStuckReader(t *testing.T) {
	short := patience{read: 200 * time.Millisecond, idle: 5 * time.Second, stuck: 200 * time.Millisecond}
	done := make(chan struct{})
	host := &watched{fake{records: 1 << 20}, done}
	socket, _ := start(t, host, short)
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := "\x00\x00\x00\x00\x00"
	fmt.Fprintf(conn, "POST /paca.v1.Control/ListLookupRecords HTTP/1.1\r\nHost: paca\r\nContent-Type: application/connect+proto\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	if line, err := bufio.NewReaderSize(conn, 16).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
		t.Fatalf("answer begins %q, %v", line, err)
	}
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Error("the answer still waits for a client that does not read")
	}
}

type watched struct {
	fake
	done chan struct{}
}

func (w *watched) LookupRecords(match Match) iter.Seq[*pacav1.LookupRecord] {
	return func(yield func(*pacav1.LookupRecord) bool) {
		defer close(w.done)
		w.fake.LookupRecords(match)(yield)
	}
}

// An answer that takes longer than a request may, but moves, arrives whole, and
// the connection serves the next request.
func TestSlowAnswer(t *testing.T) {
	short := patience{read: 100 * time.Millisecond, idle: 5 * time.Second, stuck: time.Second}
	host := &fake{records: 4 * batch, pause: 80 * time.Millisecond}
	socket, _ := start(t, host, short)
	for name, c := range clients(socket) {
		for range 2 {
			got, err := client.All(c.ListLookupRecords(context.Background(), connect.NewRequest(&pacav1.ListLookupRecordsRequest{})))
			if err != nil || len(got.LookupRecords) != host.records {
				t.Errorf("%s: %d records, %v", name, len(got.GetLookupRecords()), err)
			}
		}
		time.Sleep(1100 * time.Millisecond) // deadlines of the last answer pass
		if _, err := c.Status(context.Background(), connect.NewRequest(&pacav1.StatusRequest{})); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The write deadline of an answer must not hit the next one on its connection.
func TestAnswerWithoutBodyAfterAPause(t *testing.T) {
	short := patience{read: 5 * time.Second, idle: 5 * time.Second, stuck: 50 * time.Millisecond}
	socket, _ := start(t, &fake{}, short)
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	for _, ask := range []struct {
		path string
		want int
	}{
		{"/nothing", http.StatusNotFound},                        // with a body
		{"/paca.v1.Control/Status", http.StatusMethodNotAllowed}, // without
	} {
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: paca\r\n\r\n", ask.path)
		r, err := http.ReadResponse(answers, nil)
		if err != nil || r.StatusCode != ask.want {
			t.Fatalf("%s: %v, %v", ask.path, r, err)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		time.Sleep(100 * time.Millisecond)
	}
}

func TestShutdownLetsAnswersEnd(t *testing.T) {
	host := &fake{records: 3 * batch, pause: 50 * time.Millisecond}
	socket, s := start(t, host, defaultPatience)
	c := client.Dial(socket)
	stream, err := c.ListLookupRecords(context.Background(), connect.NewRequest(&pacav1.ListLookupRecordsRequest{}))
	if err != nil || !stream.Receive() {
		t.Fatal(err, stream.Err())
	}
	ended := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		ended <- s.Shutdown(ctx)
	}()
	n := len(stream.Msg().LookupRecords)
	for stream.Receive() {
		n += len(stream.Msg().LookupRecords)
	}
	if stream.Err() != nil || n != host.records {
		t.Errorf("%d of %d records, %v", n, host.records, stream.Err())
	}
	if err := <-ended; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if _, err := net.Dial("unix", socket); err == nil {
		t.Error("someone still answers")
	}
}

// silent is a Policy that knows nothing.
type silent struct{ Policy }

func (silent) HostFile(policy.Key) bool { return false }
