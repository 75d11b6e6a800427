package metrics

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"paca/dataplane/count"
	"paca/dataplane/port"
)

// fake has two ports and two workers.
type fake struct {
	workers []Worker
}

func newFake() *fake {
	return &fake{[]Worker{{1, count.NewWorker(2), 0.25}, {3, count.NewWorker(2), 0.75}}}
}

func (f *fake) Ports() []Port {
	ports := []Port{
		{Name: "uplink0", LinkUp: true, Stats: port.Stats{RxPackets: 1, RxBytes: 2, TxPackets: 3, TxBytes: 4, RxMissed: 5, RxNoBuffer: 6, RxErrors: 7, TxErrors: 8}},
		{Name: "blue-vm1"},
	}
	for _, w := range f.workers {
		for i := range ports {
			w.Counters.Ports[i].AddTo(&ports[i].Counters)
		}
	}
	return ports
}
func (f *fake) Workers() ([]Worker, float64) {
	workers := slices.Clone(f.workers)
	for i := range workers {
		workers[i].Counters = workers[i].Counters.Snapshot()
	}
	return workers, 1.5
}
func (f *fake) FIB() FIB { return FIB{Version: 9, VirtualSubnets: 2, LookupRecords: 4, Neighbors: 1} }
func (f *fake) Provider() Provider {
	return Provider{Addresses: map[string]int{"preferred": 3, "duplicate": 1}, Duplicates: 5, PathMTUs: 7, NoticesTold: 8, NoticesLost: 9}
}
func (f *fake) NVE() NVE { return NVE{1, 2, 3, 4} }

func TestOutput(t *testing.T) {
	f := newFake()
	for i, w := range f.workers {
		n := uint64(i + 1)
		w.Counters.PollsEmpty, w.Counters.PollsValid, w.Counters.Sleeps = 100*n, 10*n, n
		w.Counters.Idle, w.Counters.Given, w.Counters.Taken = 1_500_000_000*n, 18*n, 19*n
		p := &w.Counters.Ports[1]
		p.RxPackets, p.RxBytes, p.TxPackets, p.TxBytes, p.Control = 11*n, 12*n, 13*n, 14*n, 15*n
		p.Drops[count.Runt] = 16 * n
		p.Events[count.Routed] = 17 * n
	}
	c := NewCollector(f, "1.0")

	golden, err := os.ReadFile("testdata/metrics.txt")
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	many := map[string]map[string]float64{"paca_drops_total": {}, "paca_events_total": {}}
	for _, family := range gather(t, c) {
		switch family.GetName() {
		case "paca_drops_total", "paca_events_total": // too many to be read in a file
			for _, m := range family.Metric { // labels come by name: event, port, reason
				many[family.GetName()][m.Label[0].GetValue()+" "+m.Label[1].GetValue()] = m.Counter.GetValue()
			}
			continue
		case "paca_build_info": // a label is the compiler's version
			if m := family.Metric[0]; m.Gauge.GetValue() != 1 || m.Label[1].GetValue() != "1.0" {
				t.Errorf("build info is %v", family)
			}
			continue
		}
		if _, err := expfmt.MetricFamilyToText(&got, family); err != nil {
			t.Fatal(err)
		}
	}
	if got.String() != string(golden) {
		t.Errorf("a scrape gives\n%s\nwant\n%s", &got, golden)
	}

	// Every reason and every event of every port is there, zero or not.
	for name, want := range map[string]struct {
		series  int
		nonzero map[string]float64
	}{
		"paca_drops_total":  {2 * (int(count.NumReasons) - 1), map[string]float64{"blue-vm1 runt": 48}},
		"paca_events_total": {2 * int(count.NumEvents), map[string]float64{"routed blue-vm1": 51}},
	} {
		if len(many[name]) != want.series {
			t.Errorf("%d series of %s, want %d", len(many[name]), name, want.series)
		}
		for labels, n := range many[name] {
			if n != want.nonzero[labels] {
				t.Errorf("%s of %s is %v, want %v", name, labels, n, want.nonzero[labels])
			}
		}
	}
}

// gather scrapes a collector whose every metric is checked against its
// description.
func gather(t *testing.T, c prometheus.Collector) []*dto.MetricFamily {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(c); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return families
}

func TestLint(t *testing.T) {
	families := gather(t, NewCollector(newFake(), "1.0"))
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	for _, f := range families { // promlint lets these pass
		if counter := f.GetType() == dto.MetricType_COUNTER; counter != strings.HasSuffix(f.GetName(), "_total") {
			t.Errorf("%s is a %v", f.GetName(), f.GetType())
		}
		if !strings.HasPrefix(f.GetName(), "paca_") {
			t.Errorf("%s does not begin with paca_", f.GetName())
		}
	}
}

// A scrape while workers count: run with -race.
func TestScrapeWhileCounting(t *testing.T) {
	f := newFake()
	stop := make(chan struct{})
	var workers sync.WaitGroup
	for _, w := range f.workers {
		workers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					count.Add(&w.Counters.PollsValid, 1)
					count.Add(&w.Counters.Ports[0].RxPackets, 1)
					count.Add(&w.Counters.Ports[0].Drops[count.Runt], 1)
				}
			}
		})
	}
	c := NewCollector(f, "1.0")
	last := 0.0
	for range 50 {
		for _, family := range gather(t, c) {
			if family.GetName() != "paca_port_receive_packets_total" {
				continue
			}
			for _, m := range family.Metric {
				if m.Label[0].GetValue() != "uplink0" {
					continue
				}
				if v := m.Counter.GetValue(); v < last {
					t.Fatalf("counter went back from %v to %v", last, v)
				} else {
					last = v
				}
			}
		}
	}
	close(stop)
	workers.Wait()
}

func TestServer(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	s, err := Listen("127.0.0.1:0", newFake(), "1.0", quiet)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	for path, want := range map[string]struct {
		status int
		words  []string
	}{
		"/metrics": {200, []string{"\npaca_fib_version 9\n", "\ngo_goroutines ", "\nprocess_cpu_seconds_total ", `paca_build_info{goversion="go1`}},
		"/":        {200, []string{"/metrics"}},
		"/debug":   {404, nil},
	} {
		r, err := http.Get("http://" + s.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil || r.StatusCode != want.status {
			t.Errorf("%s: %s, %v", path, r.Status, err)
		}
		for _, w := range want.words {
			if !strings.Contains(string(body), w) {
				t.Errorf("%s has no %q", path, w)
			}
		}
	}

	if _, err := Listen(s.Addr().String(), newFake(), "1.0", quiet); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("an address in use gives %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}

	// One that was never served lets go of its address too.
	again, err := Listen(s.Addr().String(), newFake(), "1.0", quiet)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	third, err := Listen(s.Addr().String(), newFake(), "1.0", quiet)
	if err != nil {
		t.Fatal(err)
	}
	_ = third.Shutdown(ctx)
}
