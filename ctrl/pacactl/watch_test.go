package main

import (
	"bytes"
	"context"
	"iter"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"paca/ctrl/server"
	"paca/ctrl/server/servertest"
	"paca/dataplane/packet"
)

// page is what a command prints while a test looks on.
type page struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (p *page) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.b.Write(b)
}

func (p *page) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.b.String()
}

// waitFor waits until the page has a text n times.
func (p *page) waitFor(t *testing.T, text string, n int) {
	t.Helper()
	for range 500 {
		if strings.Count(p.String(), text) >= n {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%q is not %d times in\n%s", text, n, p)
}

// heard is a host that says when someone listens.
type heard struct {
	*servertest.Host
	listens chan struct{}
}

func (h *heard) Notices(ctx context.Context) iter.Seq[server.Heard] {
	defer func() { h.listens <- struct{}{} }()
	return h.Host.Notices(ctx)
}

// Notices stand between changes, in words.
func TestE11_E12WatchNotices(t *testing.T) {
	addr := netip.MustParseAddr
	at := time.Date(2026, 1, 2, 15, 4, 5, 6e6, time.FixedZone("", 3600))
	mac := packet.MAC{2, 0, 0, 0, 0, 0x20}
	notices := []server.Notice{
		{Kind: server.PolicyMismatch, Time: at, VSID: 6001, CA: addr("10.1.1.77")},
		{Kind: server.Redirect, Time: at, VSID: 6001, CA: addr("10.1.1.20"), MAC: mac, PA: addr("192.168.2.20"), NewPA: addr("192.168.3.30")},
		{Kind: server.Unreachable, Time: at, VSID: 6001, CA: addr("fd00:1111:2222:3333:4444:5555:6666:20"), MAC: mac, PA: addr("2001:db8:1111:2222:3333:4444:5555:20")},
		{Kind: server.CustomerAddress, Time: at, VSID: 6001, CA: addr("10.1.1.20"), MAC: mac, PA: addr("192.168.1.10"), Reason: "added"},
		{Kind: server.ProviderAddress, Time: at, PA: addr("192.168.1.10"), Reason: "duplicate"},
		{Kind: server.PathMTU, Time: at, PA: addr("192.168.2.20"), Reason: "1400 bytes, says 192.168.1.1"},
	}
	for _, form := range []string{"table", "json", "yaml"} {
		t.Run(form, func(t *testing.T) {
			h := &heard{servertest.New(), make(chan struct{}, 1)}
			socket := serve(t, h)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			var out, errOut page
			ended := make(chan int)
			go func() {
				ended <- run(ctx, []string{"--socket", socket, "watch", "-o", form}, strings.NewReader(""), &out, &errOut)
			}()
			<-h.listens
			h.Tell(server.Heard{Notices: notices})
			out.waitFor(t, "path-mtu", 1)
			done(t, socket, "virtual-subnet", "add", "7001", "--rdid", "{77777777-2222-3333-4444-000000000000}", "--prefix", "10.7.1.0/24")
			out.waitFor(t, "10.7.1.0/24", 1)
			h.Tell(server.Heard{Notices: notices[:1], Lost: 7})
			out.waitFor(t, "policy-mismatch", 2)
			cancel()
			if code := <-ended; code != 0 || errOut.String() != "" {
				t.Errorf("exit code %d, %s", code, &errOut)
			}
			golden(t, "notices-"+form+".txt", out.String())
			for line := range strings.Lines(out.String()) {
				if form == "table" && len(line) > pageWidth+1 {
					t.Errorf("line of %d characters: %s", len(line)-1, line)
				}
			}
		})
	}
}
