package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"paca/perf/probe"
)

const latencyRounds = 5

// Loads of the loop, in percent of pacad's rate without loss.
var loads = []int{10, 50, 90}

// quantiles of a latency.
var quantiles = []struct {
	name string
	q    float64
}{{"p50", 50}, {"p90", 90}, {"p99", 99}, {"p99.9", 99.9}, {"p99.99", 99.99}, {"max", 100}}

// macswap is what latency is measured beside: DPDK's program, which writes MAC
// addresses and looks nothing up.
var macswap = testpmd{"macswap"}

func latencyTakes(b *bench) time.Duration {
	once := searchTakes + time.Duration(len(loads))*(b.window+latencyExtra)
	return time.Duration(b.roundsOr(latencyRounds)) * (2*once + b.window + latencyExtra + pacad{}.takes(plainParams) + macswap.takes(plainParams))
}

// latencyExtra is what a run takes besides its window.
const latencyExtra = 200 * time.Millisecond

// latency measures how long frames are on their way through pacad, and through testpmd
// at the same rates; and through pacad while its policy changes.
func latency(ctx context.Context, b *bench) ([]Row, error) {
	rows := newRows("latency")
	noDrop := 0.0 // of pacad, in the first round
	for range b.roundsOr(latencyRounds) {
		for _, p := range []program{pacad{}, macswap} {
			if err := latencyRound(ctx, b, p, rows, &noDrop); err != nil {
				return nil, err
			}
		}
	}
	for i := range rows.rows {
		r := &rows.rows[i]
		if len(r.Series) < 2 {
			continue
		}
		var goal *Goal
		if r.What == "p99.9 at 50 %" {
			goal = &Goal{Hold: 2, Aim: 1.2}
		}
		r.compare(r.Series[0].Name, r.Series[1].Name, goal)
	}
	return rows.rows, nil
}

func latencyRound(ctx context.Context, b *bench, p program, rows *rowSet, noDrop *float64) (err error) {
	l, d, err := openChurnLoop(ctx, b, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	found, err := l.noDrop()
	if err != nil {
		return err
	}
	if *noDrop == 0 {
		*noDrop = found
	}
	b.tell(searchTakes, "latency: %s: no drop at %.2f Mpps", p.name(), found/1e6)
	rows.add("rate without loss", "Mpps", p.name(), found/1e6)
	for _, load := range loads {
		r, err := l.send(*noDrop*float64(load)/100, b.window)
		if err != nil {
			return err
		}
		rows.latencies(fmt.Sprintf("at %d %%", load), p.name(), r)
		b.tell(b.window+latencyExtra, "latency: %s at %d %%: %s", p.name(), load, brief(r))
	}
	if d == nil {
		return nil
	}
	var r *probe.Result
	changes, err := new(changer).under(ctx, d, loopChurn, func() (err error) {
		r, err = l.send(*noDrop/2, b.window)
		return err
	})
	if err != nil {
		return err
	}
	what := "at 50 %, policy changing"
	rows.latencies(what, p.name(), r)
	b.tell(b.window+latencyExtra, "latency: %s %s, %.0f/s: %s", p.name(), what, changes, brief(r))
	return nil
}

// latencyPanels: the quantiles at every load.
func latencyPanels(r *Report) (panels []panel) {
	for _, load := range loads {
		p := panel{title: fmt.Sprintf("On their way at %d %% of pacad's rate without loss: microseconds", load), xlabel: "of all packets"}
		for _, q := range quantiles[:len(quantiles)-1] {
			for _, row := range r.Rows {
				if row.Scenario != "latency" || strings.TrimSuffix(row.What, ", "+onOrdinary) != fmt.Sprintf("%s at %d %%", q.name, load) {
					continue
				}
				for _, s := range row.Series {
					c := p.curveOf(s.Name)
					c.points = append(c.points, at(float64(len(p.groups)), s))
				}
				p.groups = append(p.groups, q.name)
			}
		}
		if p.groups != nil {
			panels = append(panels, p)
		}
	}
	return panels
}

// brief is a result in a line.
func brief(r *probe.Result) string {
	h := hdrhistogram.Import(&r.Latency)
	s := ""
	for _, q := range quantiles {
		s += fmt.Sprintf("%s %.1f µs, ", q.name, float64(h.ValueAtQuantile(q.q))/1e3)
	}
	return s + fmt.Sprintf("%d lost, %d refused, away %v in %d gaps", r.Lost, r.Refused, r.Away.Round(time.Microsecond), r.Gaps)
}

// rowSet is rows that come into being with their first sample.
type rowSet struct {
	scenario string
	rows     []Row
}

func newRows(scenario string) *rowSet { return &rowSet{scenario: scenario} }

// add adds a sample of a program; a row's first is pacad's.
func (s *rowSet) add(what, unit, program string, v float64) *Row {
	var row *Row
	for i := range s.rows {
		if s.rows[i].What == what {
			row = &s.rows[i]
		}
	}
	if row == nil {
		s.rows = append(s.rows, Row{Scenario: s.scenario, What: what, Unit: unit, Less: unit != "Mpps" && unit != "Gbit/s"})
		row = &s.rows[len(s.rows)-1]
	}
	series := row.series(program)
	if series == nil {
		row.Series = append(row.Series, Series{Name: program})
		series = &row.Series[len(row.Series)-1]
	}
	series.Samples = append(series.Samples, v)
	return row
}

// latencies adds the quantiles of a run, in microseconds: of all frames, and of the
// same without those during which the probe was away.
func (s *rowSet) latencies(when, program string, r *probe.Result) {
	all, present := hdrhistogram.Import(&r.Latency), hdrhistogram.Import(&r.Present)
	for _, q := range quantiles {
		s.add(q.name+" "+when, "µs", program, float64(all.ValueAtQuantile(q.q))/1e3)
	}
	for _, q := range quantiles[3:5] {
		s.add(q.name+" "+when+", the probe present", "µs", program, float64(present.ValueAtQuantile(q.q))/1e3)
	}
}
