package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"paca/perf/probe"
)

// loopChurn is policy changing at the rate that the project holds itself to. One core
// is left for the probe, for pacad's control plane and for the clients: changes come
// in small sets, so that it suffices.
// As many clients as that let one wait for the disk while others are served.
var loopChurn = churnLoad{"10,000 changes/s, in sets of 10", 40, 10, 10_000}

const (
	lossLength = time.Minute
	lossLoad   = 80 // percent of the rate without loss
)

func lossTakes(b *bench) time.Duration {
	return time.Duration(b.roundsOr(1)) * (searchTakes + lossLength + 5*time.Second)
}

// loss counts the packets that are lost in a minute while policy changes, at a part of
// the rate without loss, which is looked for while policy changes, too: then the probe
// has as little of its core in both.
func loss(ctx context.Context, b *bench) ([]Row, error) {
	rows := newRows("loss")
	for range b.roundsOr(1) {
		if err := lossRound(ctx, b, rows); err != nil {
			return nil, err
		}
	}
	return rows.rows, nil
}

func lossRound(ctx context.Context, b *bench, rows *rowSet) (err error) {
	l, d, err := openChurnLoop(ctx, b, pacad{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	c := new(changer)
	noDrop := 0.0
	if _, err := c.under(ctx, d, loopChurn, func() (err error) {
		noDrop, err = l.noDrop()
		return err
	}); err != nil {
		return err
	}
	b.tell(searchTakes, "loss: no drop at %.2f Mpps", noDrop/1e6)
	before, err := d.dropped(ctx)
	if err != nil {
		return err
	}
	var r *probe.Result
	changes, err := c.under(ctx, d, loopChurn, func() (err error) {
		r, err = l.send(noDrop*lossLoad/100, lossLength)
		return err
	})
	if err != nil {
		return err
	}
	after, err := d.dropped(ctx)
	if err != nil {
		return err
	}
	name := pacad{}.name()
	rows.add("rate without loss, policy changing", "Mpps", name, noDrop/1e6)
	rows.add(fmt.Sprintf("sent at %d %% of it for %s", lossLoad, lossLength), "Mpps", name, float64(r.Sent)/r.Elapsed.Seconds()/1e6)
	row := rows.add("policy changes meanwhile", "changes/s", name, changes)
	row.Less, row.Goal = false, &Goal{Hold: 0.99 * float64(loopChurn.wanted), Aim: 0.99 * float64(loopChurn.wanted)}
	rows.add("packets lost", "packets", name, float64(r.Lost)).Goal = &Goal{}
	rows.add("packets dropped, as pacad counts", "packets", name, float64(after-before))
	rows.add("packets that found a full ring, and waited", "packets", name, float64(r.Refused))
	rows.add("packets that the probe was too late to send", "packets", name, float64(r.Planned-r.Sent))
	b.tell(lossLength, "loss: %.0f changes/s: %s", changes, brief(r))
	return nil
}

// openChurnLoop closes the loop through a program, the plain traffic in it; pacad with
// more records, to be changed.
func openChurnLoop(ctx context.Context, b *bench, p program) (*loop, *daemon, error) {
	j, err := b.bareJob(b.plain())
	if err != nil {
		return nil, nil, err
	}
	j.policy = b.path("loop.db")
	if err := os.RemoveAll(j.policy); err != nil {
		return nil, nil, err
	}
	l, err := openLoop(ctx, p, j)
	if err != nil {
		return nil, nil, err
	}
	d, ok := l.run.(*daemon)
	if !ok {
		return l, nil, nil
	}
	j.Records += churnRecords
	if err := d.setUp(ctx, j.Params); err != nil {
		return nil, nil, errors.Join(err, l.close())
	}
	return l, d, nil
}

// dropped is how many packets pacad has dropped, for whatever reason.
func (d *daemon) dropped(ctx context.Context) (n uint64, err error) {
	for _, name := range []string{"vm", "uplink"} {
		p, err := d.port(ctx, name)
		if err != nil {
			return 0, err
		}
		n += p.DroppedPackets
	}
	return n, nil
}
