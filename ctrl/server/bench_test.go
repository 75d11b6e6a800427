package server_test

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"golang.org/x/sys/unix"

	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/server/servertest"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
)

// timed is a host that knows how long its own part took.
type timed struct {
	*servertest.Host
	spent atomic.Int64 // of the clock
	cpu   atomic.Int64 // of the processors
}

// processors is how long they worked for this process, which is what a benchmark
// on a shared machine can tell.
func processors() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func (h *timed) Apply(ctx context.Context, changes []policy.Change, dryRun bool, expect uint64) (uint64, []policy.Change, error) {
	began, cpu := time.Now(), processors()
	defer func() {
		h.spent.Add(int64(time.Since(began)))
		h.cpu.Add(int64(processors() - cpu))
	}()
	return h.Host.Apply(ctx, changes, dryRun, expect)
}

// BenchmarkApplyStream is a million lookup records as one set, through a socket.
// "wire" is the time without that of policy: transport and conversion, and both ends.
func BenchmarkApplyStream(b *testing.B) {
	const records, chunk = 1_000_000, 4000
	messages := make([]*pacav1.ApplyRequest, 0, records/chunk+1)
	messages = append(messages, &pacav1.ApplyRequest{Changes: []*pacav1.Change{put(subnet(6001, "10.0.0.0/8"))}})
	for i := 0; i < records; i += chunk {
		m := &pacav1.ApplyRequest{}
		for j := i; j < i+chunk; j++ {
			o := record(6001, fmt.Sprintf("10.%d.%d.%d", 1+j>>16, j>>8&255, j&255), fmt.Sprintf("192.168.%d.10", j%200))
			o.GetLookupRecord().Mac = fmt.Sprintf("02:00:00:%02x:%02x:%02x", j>>16, j>>8&255, j&255)
			m.Changes = append(m.Changes, put(o))
		}
		messages = append(messages, m)
	}
	for b.Loop() {
		b.StopTimer()
		h := &timed{Host: servertest.New()}
		s := startWith(b, h)
		c := s.client(b)
		runtime.GC()
		b.StartTimer()
		began, cpu := time.Now(), processors()
		stream := c.ApplyStream(context.Background())
		for _, m := range messages {
			if err := stream.Send(m); err != nil {
				b.Fatal(err)
			}
		}
		answer, err := stream.CloseAndReceive()
		if err != nil || answer.Msg.Changed != records+1 {
			b.Fatal(answer, err)
		}
		took := time.Since(began)
		b.ReportMetric((processors() - cpu - time.Duration(h.cpu.Load())).Seconds(), "wire-cpu-s/op")
		b.ReportMetric((took - time.Duration(h.spent.Load())).Seconds(), "wire-s/op")
		b.ReportMetric(took.Seconds(), "all-s/op")
	}
}

// BenchmarkApply is one record changed at a time, by one client.
func BenchmarkApply(b *testing.B) {
	s := startWith(b, &timed{Host: servertest.New()})
	c := s.client(b)
	if _, err := apply(c, &pacav1.ApplyRequest{Changes: []*pacav1.Change{put(subnet(6001, "10.0.0.0/8"))}}); err != nil {
		b.Fatal(err)
	}
	i := 0
	for b.Loop() {
		i++
		if _, err := apply(c, &pacav1.ApplyRequest{Changes: []*pacav1.Change{put(record(6001, "10.1.1.11", fmt.Sprintf("192.168.%d.%d", i>>8&127, 1+i&127)))}}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkExport is a million lookup records told.
func BenchmarkExport(b *testing.B) {
	h := &timed{Host: servertest.New()}
	s := startWith(b, h)
	changes := []policy.Change{{Verb: policy.Put, Object: policy.VirtualSubnet{VSID: 6001, RDID: policy.RDID{1}, Prefixes: prefixes10}}}
	for i := range 1_000_000 {
		changes = append(changes, policy.Change{Verb: policy.Put, Object: aRecord(i)})
	}
	if _, _, err := h.Host.Apply(context.Background(), changes, false, 0); err != nil {
		b.Fatal(err)
	}
	c := s.client(b)
	for b.Loop() {
		stream, err := c.Export(context.Background(), connect.NewRequest(&pacav1.ExportRequest{}))
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		for stream.Receive() {
			n += len(stream.Msg().Objects)
		}
		if stream.Err() != nil || n != 1_000_003 {
			b.Fatal(n, stream.Err())
		}
	}
}

var prefixes10 = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}

func aRecord(i int) policy.LookupRecord {
	return policy.LookupRecord{
		VSID: 6001, CA: netip.AddrFrom4([4]byte{10, byte(1 + i>>16), byte(i >> 8), byte(i)}),
		MAC: packet.MAC{2, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)}, PA: netip.AddrFrom4([4]byte{192, 168, byte(i % 200), 10}),
	}
}
