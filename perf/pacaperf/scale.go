package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"connectrpc.com/connect"

	pacav1 "paca/ctrl/api/paca/v1"
)

const (
	scaleRounds = 1
	scaleSet    = 100_000   // changes in a set
	scaleMost   = 8_000_000 // records; there are no more CAs
)

// sizes are how many records are measured.
func (b *bench) sizes() []int {
	switch {
	case b.records > 0:
		return []int{b.records}
	case b.quick:
		return []int{1_000_000}
	}
	return []int{1_000_000, scaleMost}
}

func scaleTakes(b *bench) (sum time.Duration) {
	for _, n := range b.sizes() {
		sum += scaleCost(n) * time.Duration(b.roundsOr(scaleRounds))
	}
	return sum
}

// scaleCost is about how long it takes to measure so many records once.
func scaleCost(records int) time.Duration {
	return time.Duration(1+records/1_000_000) * 8 * time.Second
}

// scaleFigures is what scaleOnce measures.
type scaleFigures struct {
	applied, restart time.Duration
	empty            footprint // before any record
	filled           footprint // when they were applied
	restarted        footprint
}

// scale measures a million lookup records or more: through the socket in sets, and at a
// restart; while the host forwards.
func scale(ctx context.Context, b *bench) (all []Row, err error) {
	for _, n := range b.sizes() {
		rows, err := scaleTo(ctx, b, n)
		if err != nil {
			return nil, err
		}
		all = append(all, rows...)
	}
	return all, nil
}

func scaleTo(ctx context.Context, b *bench, records int) ([]Row, error) {
	resident := (*Goal)(nil)
	if records == scaleMost {
		resident = &Goal{Hold: 1536, Aim: 512}
	}
	perMillion := func(s float64) float64 { return s * float64(records) / 1_000_000 }
	measures := []struct {
		name, unit string
		goal       *Goal
		of         func(f *scaleFigures) float64
	}{
		{"applied through the socket in sets of " + grouped(scaleSet) + ", durable and in force", "s", &Goal{Hold: perMillion(20), Aim: perMillion(3)},
			func(f *scaleFigures) float64 { return f.applied.Seconds() }},
		{"restart, to the first packet forwarded", "s", nil, func(f *scaleFigures) float64 { return f.restart.Seconds() }},
		{"resident memory before any", "MiB", nil, func(f *scaleFigures) float64 { return f.empty.resident }},
		{"resident memory while they were applied, at most", "MiB", resident, func(f *scaleFigures) float64 { return f.filled.peak }},
		{"resident memory after they were applied", "MiB", resident, func(f *scaleFigures) float64 { return f.filled.resident }},
		{"resident memory after the restart", "MiB", resident, func(f *scaleFigures) float64 { return f.restarted.resident }},
		{"of that, DPDK's and pages of files", "MiB", nil, func(f *scaleFigures) float64 { return f.restarted.resident - f.restarted.anonymous }},
		{"huge pages besides, all of them DPDK's", "MiB", nil, func(f *scaleFigures) float64 { return f.restarted.huge }},
	}
	what := counted(records, "record")
	rows := make([]Row, len(measures))
	for i, m := range measures {
		rows[i] = Row{Scenario: "scale", What: what + ": " + m.name, Unit: m.unit, Less: true, Goal: m.goal, Series: []Series{{Name: "pacad"}}}
	}
	for range b.roundsOr(scaleRounds) {
		figures, err := scaleOnce(ctx, b, records)
		if err != nil {
			return nil, err
		}
		for i, m := range measures {
			rows[i].Series[0].Samples = append(rows[i].Series[0].Samples, m.of(&figures))
		}
		b.tell(scaleCost(records), "scale: %s: applied in %.1f s, restart in %.1f s, %.0f MiB", what, figures.applied.Seconds(), figures.restart.Seconds(), figures.restarted.resident)
		if err := b.forget(); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

func scaleOnce(ctx context.Context, b *bench, records int) (f scaleFigures, err error) {
	p := b.plain()
	j, err := b.job(ctx, p)
	if err != nil {
		return f, err
	}
	j.policy = b.path("scale.db")
	p.Records = records
	r, err := pacad{}.start(ctx, j)
	if err != nil {
		return f, err
	}
	d := r.(*daemon)
	f.empty = d.footprint()
	begin := time.Now()
	for first := 0; first < p.Records && err == nil; first += scaleSet {
		err = d.fill(ctx, p, first, min(first+scaleSet, p.Records))
	}
	f.applied, f.filled = time.Since(begin), d.footprint()
	if err := errors.Join(err, d.stop()); err != nil {
		return f, err
	}

	if r, err = (pacad{}).start(ctx, j); err != nil {
		return f, err
	}
	d = r.(*daemon)
	err = untilSending(ctx, d)
	f.restart, f.restarted = time.Since(d.started), d.footprint()
	if err == nil {
		var status *connect.Response[pacav1.StatusResponse]
		if status, err = d.Status(ctx, connect.NewRequest(&pacav1.StatusRequest{})); err == nil {
			if n := status.Msg.Counts.LookupRecords; n != uint32(p.Records)+1 {
				err = fmt.Errorf("%d lookup records after the restart", n)
			}
		}
	}
	return f, errors.Join(err, d.stop())
}

// footprint is what a process has of the machine's, in MiB.
type footprint struct {
	resident, peak float64
	anonymous      float64 // of resident: what is neither DPDK's nor pages of files
	huge           float64 // besides
}

func (d *daemon) footprint() footprint {
	status := read(proc(d.pid()) + "/status")
	mib := func(key string) float64 {
		kib, _ := strconv.Atoi(find(status, key+`:\s+(\d+)`))
		return float64(kib >> 10)
	}
	return footprint{mib("VmRSS"), mib("VmHWM"), mib("RssAnon"), mib("HugetlbPages")}
}
