package server_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"connectrpc.com/connect"

	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/client"
	"paca/ctrl/server"
	"paca/ctrl/server/servertest"
)

func TestM1PathMTUs(t *testing.T) {
	c := start(t).client(t)
	for _, tt := range []struct {
		q    *pacav1.ListPathMTUsRequest
		want int
	}{
		{&pacav1.ListPathMTUsRequest{}, 3},
		{&pacav1.ListPathMTUsRequest{Vsid: []uint32{6001}}, 2},
		{&pacav1.ListPathMTUsRequest{Pa: []string{"2001:DB8:0::30", "192.168.9.9"}}, 1},
		{&pacav1.ListPathMTUsRequest{Vsid: []uint32{6002}, Pa: []string{"2001:db8::30"}}, 0},
	} {
		got, err := client.All(c.ListPathMTUs(context.Background(), connect.NewRequest(tt.q)))
		if err != nil || len(got.PathMtus) != tt.want {
			t.Errorf("%v: %v, %v", tt.q, got, err)
		}
	}
	_, err := client.All(c.ListPathMTUs(context.Background(), connect.NewRequest(&pacav1.ListPathMTUsRequest{Vsid: []uint32{1}})))
	wants(t, err, pacav1.ErrorCode_ERROR_CODE_BAD_SELECTOR, "vsid")
	_, err = client.All(c.ListPathMTUs(context.Background(), connect.NewRequest(&pacav1.ListPathMTUsRequest{Pa: []string{"x"}})))
	wants(t, err, pacav1.ErrorCode_ERROR_CODE_BAD_SELECTOR, "pa")
}

func TestM1TestPath(t *testing.T) {
	s := start(t)
	c := s.client(t)
	test := func(c *client.Client, q *pacav1.TestPathRequest) (*pacav1.TestPathResponse, error) {
		r, err := c.TestPath(context.Background(), connect.NewRequest(q))
		if err != nil {
			return nil, err
		}
		return r.Msg, nil
	}
	r, err := test(c, &pacav1.TestPathRequest{Pa: "192.168.2.20"})
	if err != nil || r.Largest != 1400 || r.Attempts != 4 || len(r.Probes) != 4 || r.SourcePa != "192.168.1.10" {
		t.Errorf("%v, %v", r, err)
	}
	r, err = test(c, &pacav1.TestPathRequest{Pa: "192.168.2.20", SourcePa: "192.168.1.10", Size: 1401})
	if err != nil || r.Largest != 0 || len(r.Probes) != 1 || r.Probes[0].Passed {
		t.Errorf("%v, %v", r, err)
	}
	for _, tt := range []struct {
		q     *pacav1.TestPathRequest
		code  pacav1.ErrorCode
		field string
	}{
		{&pacav1.TestPathRequest{}, pacav1.ErrorCode_ERROR_CODE_INVALID, "pa"},
		{&pacav1.TestPathRequest{Pa: "host2"}, pacav1.ErrorCode_ERROR_CODE_INVALID, "pa"},
		{&pacav1.TestPathRequest{Pa: "0.0.0.0"}, pacav1.ErrorCode_ERROR_CODE_INVALID, "pa"},
		{&pacav1.TestPathRequest{Pa: "127.0.0.1"}, pacav1.ErrorCode_ERROR_CODE_INVALID, "pa"},
		{&pacav1.TestPathRequest{Pa: "239.1.1.1"}, pacav1.ErrorCode_ERROR_CODE_INVALID, "pa"},
		{&pacav1.TestPathRequest{Pa: "255.255.255.255"}, pacav1.ErrorCode_ERROR_CODE_INVALID, "pa"},
		{&pacav1.TestPathRequest{Pa: "fe80::1%eth0"}, pacav1.ErrorCode_ERROR_CODE_INVALID, "pa"},
		{&pacav1.TestPathRequest{Pa: "::ffff:192.168.2.20"}, pacav1.ErrorCode_ERROR_CODE_INVALID, "pa"},
		{&pacav1.TestPathRequest{Pa: "192.168.2.20", SourcePa: "?"}, pacav1.ErrorCode_ERROR_CODE_INVALID, "source_pa"},
		{&pacav1.TestPathRequest{Pa: "192.168.2.20", SourcePa: "2001:db8::10"}, pacav1.ErrorCode_ERROR_CODE_INVALID, "source_pa"},
		{&pacav1.TestPathRequest{Pa: "192.168.2.20", SourcePa: "192.168.1.11"}, pacav1.ErrorCode_ERROR_CODE_NOT_FOUND, "source_pa"},
		{&pacav1.TestPathRequest{Pa: "192.168.2.20", Size: 67}, pacav1.ErrorCode_ERROR_CODE_INVALID, "size"},
		{&pacav1.TestPathRequest{Pa: "192.168.2.20", Size: 9703}, pacav1.ErrorCode_ERROR_CODE_INVALID, "size"},
	} {
		_, err := test(c, tt.q)
		if d := wants(t, err, tt.code); d.GetField() != tt.field {
			t.Errorf("%v: field %q of %v, want %q", tt.q, d.GetField(), err, tt.field)
		}
	}
	// Who may only look sends no packets.
	reader := client.Dial(s.socket + ".ro")
	defer reader.Close()
	_, err = test(reader, &pacav1.TestPathRequest{Pa: "192.168.2.20"})
	wants(t, err, pacav1.ErrorCode_ERROR_CODE_READ_ONLY)
}

// probed is a host that says when a path is being tested.
type probed struct {
	*servertest.Host
	asked chan struct{}
}

func (h *probed) TestPath(ctx context.Context, pa, source netip.Addr, size int) (*pacav1.TestPathResponse, error) {
	h.asked <- struct{}{}
	return h.Host.TestPath(ctx, pa, source, size)
}

// Tests take their time: few run at once, in nobody's way, and they end with their
// client or with the server.
func TestPathTestsAreFew(t *testing.T) {
	h := &probed{servertest.New(), make(chan struct{}, 2)}
	s := startAs(t, h, server.NewNarrow)
	c := s.client(t)
	endless := connect.NewRequest(&pacav1.TestPathRequest{Pa: "192.0.2.1"})
	ended := make(chan error, 1)
	test := func(ctx context.Context) {
		go func() {
			_, err := c.TestPath(ctx, endless)
			ended <- err
		}()
		select {
		case <-h.asked:
		case err := <-ended:
			t.Fatalf("no test: %v", err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	test(ctx)
	_, err := c.TestPath(context.Background(), endless)
	wants(t, err, pacav1.ErrorCode_ERROR_CODE_RATE_LIMITED, "tests")
	if _, err := c.Status(context.Background(), connect.NewRequest(&pacav1.StatusRequest{})); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-ended; connect.CodeOf(err) != connect.CodeCanceled {
		t.Errorf("the client left: %v", err)
	}
	time.Sleep(100 * time.Millisecond) // until the server knows

	test(context.Background())
	ctx, cancel = context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	go func() { _ = s.server.Shutdown(ctx) }()
	select {
	case err := <-ended:
		wants(t, err, pacav1.ErrorCode_ERROR_CODE_UNAVAILABLE, "stopping")
	case <-time.After(5 * time.Second):
		t.Error("the test does not end with the server")
	}
}
