package main

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"paca/ctrl/api/convert"
	pacav1 "paca/ctrl/api/paca/v1"
	dp "paca/dataplane/policy"
)

// churn measures what changing policy costs a host that forwards at full speed:
// first single-record change sets by concurrent clients, then sets of a thousand.
// Policy is durable all the while: every set is on disk before it is
// acknowledged.
func churn(dir string) error {
	s := egress()
	capture := filepath.Join(dir, "churn.pcap")
	if err := writeCapture(capture, s.frames); err != nil {
		return err
	}
	host := fmt.Sprintf(s.host, capture, *core) + fmt.Sprintf("\n[policy]\nstore = \"bolt:%s\"\nseed = \"policy.toml\"\n", filepath.Join(dir, "policy.db"))
	p, err := start(dir, host, fmt.Sprintf(policy, s.mode)+bigSubnet)
	if err != nil {
		return err
	}
	defer p.stop()
	if err := p.untilSending(s.out); err != nil {
		return err
	}
	const records = 100_000
	if err := p.fill(records); err != nil {
		return err
	}
	time.Sleep(warmUp)
	d := time.Duration(*seconds) * time.Second

	fmt.Println("| policy | changes/s | Mpps | packets dropped |")
	fmt.Println("|---|---|---|---|")
	// Every visit moves a record from one PA to the other. A set is one client's:
	// the number of sets is a multiple of that of clients.
	behind := make([]uint8, records)
	for i := range behind {
		behind[i] = 20
	}
	for _, c := range []struct {
		name             string
		clients, perSet  int
		changesPerSecond int // 0: as many as can be
	}{
		{"at rest", 0, 1, 0},
		{"single changes, 10,000/s wanted", 32, 1, 10_000},
		{"single changes, as many as can be", 32, 1, 0},
		{"sets of 1,000, as many as can be", 4, 1000, 0},
		{"at rest", 0, 1, 0},
	} {
		before, err := p.port("vm")
		if err != nil {
			return err
		}
		stop := make(chan struct{})
		var changes atomic.Int64
		var clients sync.WaitGroup
		var failed atomic.Pointer[error]
		for i := range c.clients {
			clients.Go(func() {
				due, pause := time.Now(), time.Duration(0)
				if c.changesPerSecond > 0 {
					pause = time.Second * time.Duration(c.clients) / time.Duration(c.changesPerSecond)
				}
				for n := i; ; n = (n + c.clients) % (records / c.perSet) {
					select {
					case <-stop:
						return
					default:
					}
					due = due.Add(pause)
					time.Sleep(time.Until(due))
					set := make([]dp.Change, c.perSet)
					for j := range set {
						r := n*c.perSet + j
						behind[r] ^= 20 ^ 21
						set[j] = dp.Change{Verb: dp.Put, Object: record(r, int(behind[r]))}
					}
					answer, err := p.Apply(context.Background(), connect.NewRequest(&pacav1.ApplyRequest{Changes: convert.FromChanges(set)}))
					if err == nil && answer.Msg.Changed != uint64(c.perSet) {
						err = fmt.Errorf("%d of %d changes changed anything", answer.Msg.Changed, c.perSet)
					}
					if err != nil {
						failed.Store(&err)
						return
					}
					changes.Add(int64(c.perSet))
				}
			})
		}
		start := time.Now()
		rate, err := p.rate(s.out, d)
		took := time.Since(start)
		done := changes.Load()
		close(stop)
		clients.Wait()
		if e := failed.Load(); e != nil {
			return *e
		}
		if err != nil {
			return err
		}
		after, err := p.port("vm")
		if err != nil {
			return err
		}
		fmt.Printf("| %s | %.0f | %.1f | %d |\n", c.name, float64(done)/took.Seconds(), rate/1e6, after.DroppedPackets-before.DroppedPackets)
	}
	return nil
}

// bigSubnet has room for a million records.
const bigSubnet = `
[[virtual_subnet]]
vsid = 7001
rdid = "{11111111-2222-3333-4444-000000000001}"
prefixes = ["10.128.0.0/9"]
mode = "nvgre"
`

// record is number i of the big subnet, behind the PA 192.168.2.pa.
func record(i, pa int) dp.LookupRecord {
	n := i + 2 // 10.128.0.1 is the router's
	return dp.LookupRecord{
		VSID: 7001,
		CA:   netip.AddrFrom4([4]byte{10, 128 | byte(n>>16), byte(n >> 8), byte(n)}),
		MAC:  [6]byte{2, 0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)},
		PA:   netip.AddrFrom4([4]byte{192, 168, 2, byte(pa)}),
	}
}

// fill adds n records to the big subnet, in one set.
func (p *running) fill(n int) error {
	stream := p.ApplyStream(context.Background())
	set := make([]dp.Change, 0, 1000)
	for i := range n {
		set = append(set, dp.Change{Verb: dp.Put, Object: record(i, 20)})
		if len(set) < cap(set) && i < n-1 {
			continue
		}
		if err := stream.Send(&pacav1.ApplyRequest{Changes: convert.FromChanges(set)}); err != nil {
			break // CloseAndReceive tells why
		}
		set = set[:0]
	}
	_, err := stream.CloseAndReceive()
	return err
}
