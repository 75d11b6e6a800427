package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"

	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpcreflect"

	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/api/paca/v1/pacav1connect"
	"paca/ctrl/client"
	"paca/ctrl/server"
)

// What people type without any program of ours.
func TestCurl(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("needs curl")
	}
	s := start(t)
	curl := func(method, body string) map[string]any {
		t.Helper()
		out, err := exec.Command("curl", "-s", "--unix-socket", s.socket, "-H", "Content-Type: application/json", "-d", body, "http://paca/paca.v1.Control/"+method).Output()
		if err != nil {
			t.Fatalf("%s: %v", method, err)
		}
		var answer map[string]any
		if err := json.Unmarshal(out, &answer); err != nil {
			t.Fatalf("%s: %q: %v", method, out, err)
		}
		return answer
	}
	// As in the package's documentation.
	answer := curl("Apply", `{"changes": [{"put": {"virtualSubnet": {"vsid": 6001,
		"rdid": "{11111111-2222-3333-4444-000000000000}", "prefixes": ["10.1.1.0/24"]}}}]}`)
	if answer["revision"] != "2" || answer["changed"] != "1" {
		t.Errorf("Apply gives %v", answer)
	}
	// Names of the .proto are as good.
	answer = curl("Apply", `{"changes": [{"add": {"lookup_record": {"vsid": 6001, "ca": "10.1.1.11", "mac": "101010101105", "pa": "192.168.1.10"}}}], "list_applied": true}`)
	if answer["revision"] != "3" {
		t.Errorf("Apply gives %v", answer)
	}
	answer = curl("Get", `{"object": {"lookupRecord": {"vsid": 6001, "ca": "10.1.1.11", "mac": "10-10-10-10-11-05"}}}`)
	record, _ := answer["object"].(map[string]any)["lookupRecord"].(map[string]any)
	if record["pa"] != "192.168.1.10" || record["mac"] != "10:10:10:10:11:05" {
		t.Errorf("Get gives %v", answer)
	}
	answer = curl("Apply", `{"changes": [{"add": {"virtualSubnet": {"vsid": 12, "rdid": "{11111111-2222-3333-4444-000000000000}", "prefixes": ["10.2.0.0/16"]}}}]}`)
	if answer["code"] != "invalid_argument" || !strings.Contains(answer["message"].(string), "reserved") {
		t.Errorf("a reserved VSID gives %v", answer)
	}
	answer = curl("Apply", `{"changes": [{"make": {}}]}`)
	if answer["code"] != "invalid_argument" {
		t.Errorf("an unknown word gives %v", answer)
	}
	answer = curl("NextHop", `{"vsid": 6001, "dstCa": "10.1.1.11"}`)
	if answer["pa"] != "192.168.1.10" {
		t.Errorf("NextHop gives %v", answer)
	}
}

// gRPC tools find the service and every message by themselves.
func TestReflection(t *testing.T) {
	s := start(t)
	for name, c := range map[string]*grpcreflect.Client{
		"gRPC":    grpcreflect.NewClient(h2(s.socket), "http://paca", connect.WithGRPC()),
		"Connect": grpcreflect.NewClient(h2(s.socket), "http://paca"),
	} {
		stream := c.NewStream(context.Background())
		services, err := stream.ListServices()
		if err != nil || !slices.Contains(services, "paca.v1.Control") {
			t.Errorf("%s: services %v, %v", name, services, err)
		}
		files, err := stream.FileContainingSymbol("paca.v1.Control")
		if err != nil || len(files) == 0 || len(files[0].GetService()) != 1 || len(files[0].GetService()[0].GetMethod()) != 18 {
			t.Errorf("%s: %d files, %v", name, len(files), err)
		}
		if _, err := stream.FileContainingSymbol("paca.v1.Nothing"); err == nil {
			t.Errorf("%s: there is a symbol that is not", name)
		}
		if _, err := stream.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The second socket shows all and changes nothing.
func TestReadOnlySocket(t *testing.T) {
	s := start(t)
	mustApply(t, s.client(t), put(subnet(6001, "10.1.1.0/24")))
	for name, c := range map[string]pacav1connect.ControlClient{
		"connect over HTTP/1.1": client.Dial(s.socket + ".ro"),
		"gRPC over h2c":         pacav1connect.NewControlClient(h2(s.socket+".ro"), "http://paca", connect.WithGRPC()),
	} {
		subnets, err := client.All(c.ListVirtualSubnets(context.Background(), connect.NewRequest(&pacav1.ListVirtualSubnetsRequest{})))
		if err != nil || len(subnets.VirtualSubnets) != 1 {
			t.Errorf("%s: %v, %v", name, subnets, err)
		}
		_, err = apply(c, &pacav1.ApplyRequest{Changes: []*pacav1.Change{put(subnet(6001, "10.1.2.0/24"))}})
		wants(t, err, pacav1.ErrorCode_ERROR_CODE_READ_ONLY)
		_, err = apply(c, &pacav1.ApplyRequest{DryRun: true})
		wants(t, err, pacav1.ErrorCode_ERROR_CODE_READ_ONLY)
		stream := c.ApplyStream(context.Background())
		_ = stream.Send(&pacav1.ApplyRequest{Changes: []*pacav1.Change{put(subnet(6001, "10.1.2.0/24"))}})
		_, err = stream.CloseAndReceive()
		wants(t, err, pacav1.ErrorCode_ERROR_CODE_READ_ONLY)
	}
	s.alive(t, 2)
	if n := strings.Count(s.log.String(), "outcome=ERROR_CODE_READ_ONLY"); n != 6 {
		t.Errorf("%d refusals in the log:\n%s", n, s.log)
	}
}

// Who changed what is in the log, and who tried to.
func TestAudit(t *testing.T) {
	s := start(t)
	c := s.client(t)
	mustApply(t, c, put(subnet(6001, "10.1.1.0/24")), put(record(6001, "10.1.1.11", "192.168.1.10")))
	if _, err := apply(c, &pacav1.ApplyRequest{DryRun: true, Changes: []*pacav1.Change{drop(record(6001, "10.1.1.11", ""))}}); err != nil {
		t.Error(err)
	}
	_, _ = apply(c, &pacav1.ApplyRequest{Changes: []*pacav1.Change{drop(subnet(6001))}})
	_, _ = apply(c, &pacav1.ApplyRequest{ExpectedRevision: 7})
	stream := c.ApplyStream(context.Background())
	_ = stream.Send(&pacav1.ApplyRequest{Changes: []*pacav1.Change{drop(record(6001, "10.1.1.11", ""))}})
	if _, err := stream.CloseAndReceive(); err != nil {
		t.Error(err)
	}
	var lines []string
	for line := range strings.Lines(s.log.String()) {
		if strings.Contains(line, "policy change") {
			lines = append(lines, line)
		}
	}
	me := whoami()
	for i, want := range []string{
		"level=INFO|revision=2 changes=2 changed=2 dry_run=false outcome=done",
		"level=INFO|revision=2 changes=1 changed=1 dry_run=true outcome=done",
		"level=WARN|changes=1 changed=0 dry_run=false outcome=ERROR_CODE_IN_USE",
		"level=WARN|outcome=ERROR_CODE_CONFLICT",
		"level=INFO|revision=3 changes=1 changed=1 dry_run=false outcome=done",
	} {
		for part := range strings.SplitSeq(want+"|"+me, "|") {
			if i >= len(lines) || !strings.Contains(lines[i], part) {
				t.Errorf("line %d is not with %q:\n%s", i, part, strings.Join(lines, ""))
				break
			}
		}
	}
	if len(lines) != 5 {
		t.Errorf("%d lines, want 5", len(lines))
	}
}

// Shutdown tells those who watch, and does not wait for them.
func TestShutdownEndsWatches(t *testing.T) {
	s := start(t)
	stream, err := s.client(t).Watch(context.Background(), connect.NewRequest(&pacav1.WatchRequest{}))
	if err != nil || !stream.Receive() {
		t.Fatal(err, stream.Err())
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	go func() { _ = s.server.Shutdown(ctx) }()
	if stream.Receive() {
		t.Errorf("an event: %v", stream.Msg())
	}
	wants(t, stream.Err(), pacav1.ErrorCode_ERROR_CODE_UNAVAILABLE, "stopping")
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("it took %v", d)
	}
}

func TestListenNamesTheReadGroup(t *testing.T) {
	_, err := server.Listen(server.Socket{Path: filepath.Join(t.TempDir(), "s"), Group: "no-such", GroupKey: "control.read_group"}, slog.New(slog.DiscardHandler))
	if err == nil || !strings.HasPrefix(err.Error(), "control.read_group: ") {
		t.Errorf("a missing group gives %v", err)
	}
}

func whoami() string {
	return fmt.Sprintf("uid=%d gid=%d pid=%d", os.Getuid(), os.Getgid(), os.Getpid())
}
