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
	scaleRounds  = 1
	scaleRecords = 1_000_000
)

func scaleTakes(b *bench) time.Duration {
	return time.Duration(b.roundsOr(scaleRounds)) * 12 * time.Second
}

// scale measures a million lookup records: through the socket as one set, and at a
// restart; while the host forwards.
func scale(ctx context.Context, b *bench) ([]Row, error) {
	what := counted(scaleRecords, "record")
	row := func(name, unit string, goal *Goal) Row {
		return Row{Scenario: "scale", What: what + ": " + name, Unit: unit, Less: true, Goal: goal, Series: []Series{{Name: "pacad"}}}
	}
	rows := []Row{
		row("applied through the socket, durable and in force", "s", &Goal{Hold: 20, Aim: 3}),
		row("restart, to the first packet forwarded", "s", nil),
		row("resident memory before any", "MiB", nil),
		row("resident memory after they were applied", "MiB", nil),
		row("resident memory after the restart", "MiB", nil),
	}
	for range b.roundsOr(scaleRounds) {
		figures, err := scaleOnce(ctx, b)
		if err != nil {
			return nil, err
		}
		for i, v := range figures {
			rows[i].Series[0].Samples = append(rows[i].Series[0].Samples, v)
		}
		b.tell(12*time.Second, "scale: %s: applied in %.1f s, restart in %.1f s, %.0f MiB", what, figures[0], figures[1], figures[4])
		if err := b.forget(); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// scaleOnce is a figure for each row.
func scaleOnce(ctx context.Context, b *bench) (figures [5]float64, err error) {
	p := plainParams
	j, err := b.job(ctx, p)
	if err != nil {
		return figures, err
	}
	j.policy = b.path("scale.db")
	p.Records = scaleRecords
	r, err := pacad{}.start(ctx, j)
	if err != nil {
		return figures, err
	}
	d := r.(*daemon)
	figures[2] = d.resident()
	begin := time.Now()
	err = d.setUp(ctx, p)
	figures[0], figures[3] = time.Since(begin).Seconds(), d.resident()
	if err := errors.Join(err, d.stop()); err != nil {
		return figures, err
	}

	if r, err = (pacad{}).start(ctx, j); err != nil {
		return figures, err
	}
	d = r.(*daemon)
	err = untilSending(ctx, d)
	figures[1], figures[4] = time.Since(d.started).Seconds(), d.resident()
	if err == nil {
		var status *connect.Response[pacav1.StatusResponse]
		if status, err = d.Status(ctx, connect.NewRequest(&pacav1.StatusRequest{})); err == nil {
			if n := status.Msg.Counts.LookupRecords; n != scaleRecords+1 {
				err = fmt.Errorf("%d lookup records after the restart", n)
			}
		}
	}
	return figures, errors.Join(err, d.stop())
}

// resident is the memory of the process in MiB, DPDK's included.
func (d *daemon) resident() float64 {
	kib, _ := strconv.Atoi(find(read(fmt.Sprintf("/proc/%d/status", d.pid())), `VmRSS:\s+(\d+)`))
	return float64(kib >> 10)
}
