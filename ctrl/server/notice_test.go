package server_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/api/paca/v1/pacav1connect"
	"paca/ctrl/server"
	"paca/ctrl/server/servertest"
	"paca/dataplane/packet"
)

// What the host notices is told between what changes, with all that its kind speaks
// of and nothing else.
func TestE11_E12Notices(t *testing.T) {
	h := servertest.New()
	s := startWith(t, h)
	addr := netip.MustParseAddr
	at := time.UnixMilli(1767225600123)
	for name, c := range map[string]pacav1connect.ControlClient{
		"connect over HTTP/1.1": s.client(t),
		"gRPC over h2c":         pacav1connect.NewControlClient(h2(s.socket), "http://paca", connect.WithGRPC()),
	} {
		t.Run(name, func(t *testing.T) {
			h.Tell(server.Heard{Notices: []server.Notice{{Kind: server.PathMTU}}}) // before anyone listens
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			stream, err := c.Watch(ctx, connect.NewRequest(&pacav1.WatchRequest{}))
			if err != nil || !stream.Receive() || len(stream.Msg().Notices) != 0 {
				t.Fatal("no first message", err, stream.Err())
			}
			revision := stream.Msg().Revision
			next := func(want *pacav1.WatchResponse) {
				t.Helper()
				if !stream.Receive() {
					t.Fatal(stream.Err())
				}
				if !proto.Equal(stream.Msg(), want) {
					t.Errorf("told %v\nwant %v", stream.Msg(), want)
				}
			}
			h.Tell(server.Heard{Notices: []server.Notice{
				{Kind: server.PolicyMismatch, Time: at, VSID: 6001, CA: addr("10.1.1.77")},
				{Kind: server.Redirect, Time: at, VSID: 6001, CA: addr("fd00::77"), PA: addr("192.168.2.20"), NewPA: addr("2001:db8::30"), MAC: packet.MAC{2, 0, 0, 0, 0, 7}},
			}})
			next(&pacav1.WatchResponse{Revision: revision, Notices: []*pacav1.Notice{
				{Kind: "policy-mismatch", TimeMs: 1767225600123, Vsid: 6001, Ca: "10.1.1.77"},
				{Kind: "redirect", TimeMs: 1767225600123, Vsid: 6001, Ca: "fd00::77", Pa: "192.168.2.20", NewPa: "2001:db8::30", Mac: "02:00:00:00:00:07"},
			}})
			prefix := fmt.Sprintf("10.%d.0.0/16", revision)
			changed := mustApply(t, s.client(t), put(subnet(uint32(5000+revision), prefix)))
			next(&pacav1.WatchResponse{Revision: changed.Revision, Changes: []*pacav1.Change{put(subnet(uint32(5000+revision), prefix))}})
			h.Tell(server.Heard{Notices: []server.Notice{{Kind: server.CustomerAddress, Time: at, Reason: "moved"}}, Lost: 7})
			next(&pacav1.WatchResponse{Revision: changed.Revision, NoticesLost: 7, Notices: []*pacav1.Notice{
				{Kind: "customer-address", TimeMs: 1767225600123, Reason: "moved"}}})
		})
	}
}

func TestNoticeKinds(t *testing.T) {
	seen := map[string]bool{}
	for k := server.PolicyMismatch; k <= server.PathMTU; k++ {
		seen[k.String()] = true
	}
	if len(seen) != 6 || seen[""] || (server.PathMTU+1).String() != "notice 7" || server.NoticeKind(0).String() != "notice 0" {
		t.Errorf("kinds %v", seen)
	}
}
