package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"paca/ctrl/api/convert"
	pacav1 "paca/ctrl/api/paca/v1"
	"paca/dataplane/policy"
)

// churnLoad is one way of changing policy while a host forwards at full speed.
type churnLoad struct {
	name            string
	clients, perSet int
	wanted          int // changes per second; 0: as many as can be
}

var churnLoads = []churnLoad{
	{"single changes, 10,000/s wanted", 32, 1, 10_000},
	{"single changes, as many as can be", 32, 1, 0},
	{"sets of 1,000, as many as can be", 4, 1000, 0},
}

const (
	churnRounds  = 3
	churnRecords = 100_000 // besides those that the traffic needs, and only these change
)

func churnTakes(b *bench) time.Duration {
	return time.Duration(b.roundsOr(churnRounds)) * (2*time.Second + warmUp + b.window*time.Duration(1+len(churnLoads)))
}

// churn measures what changing policy costs a host that forwards 60-byte frames
// into NVGRE. Policy is durable all the while: every set is on disk before it is
// acknowledged.
func churn(ctx context.Context, b *bench) ([]Row, error) {
	rest := Row{Scenario: "churn", What: "at rest", Unit: "Mpps", Series: []Series{{Name: "pacad"}}}
	rates, changes, drops := make([]Row, len(churnLoads)), make([]Row, len(churnLoads)), make([]Row, len(churnLoads))
	for i, l := range churnLoads {
		rates[i] = Row{Scenario: "churn", What: l.name, Unit: "Mpps", Series: []Series{{Name: "pacad"}}}
		changes[i] = Row{Scenario: "churn", What: l.name + ": changes", Unit: "changes/s", Series: []Series{{Name: "pacad"}}}
		drops[i] = Row{Scenario: "churn", What: l.name + ": dropped", Unit: "packets", Less: true, Series: []Series{{Name: "pacad"}}}
	}
	for range b.roundsOr(churnRounds) {
		if err := churnRound(ctx, b, &rest, rates, changes, drops); err != nil {
			return nil, err
		}
	}
	rows := []Row{rest}
	for i := range churnLoads {
		rates[i].Series = append(rates[i].Series, Series{"pacad, at rest", rest.Series[0].Samples})
		rates[i].compare("pacad", "pacad, at rest", nil)
		rows = append(rows, rates[i], changes[i], drops[i])
	}
	return rows, nil
}

func churnRound(ctx context.Context, b *bench, rest *Row, rates, changes, drops []Row) (err error) {
	p := b.plain()
	j, err := b.job(ctx, p)
	if err != nil {
		return err
	}
	j.policy = b.path("churn.db") // its own: each round begins anew
	if err := os.RemoveAll(j.policy); err != nil {
		return err
	}
	r, err := pacad{}.start(ctx, j)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.stop()) }()
	d := r.(*daemon)
	p.Records += churnRecords
	if err := errors.Join(d.setUp(ctx, p), untilSending(ctx, d), sleep(ctx, warmUp)); err != nil {
		return err
	}
	add := func(row *Row, v float64) { row.Series[0].Samples = append(row.Series[0].Samples, v) }
	now, err := measureRate(ctx, d, p.Cores, b.window)
	if err != nil {
		return err
	}
	add(rest, now.pps/1e6)
	b.tell(2*time.Second+warmUp+b.window, "churn: at rest: %.2f Mpps", now.pps/1e6)
	var c changer
	for i, l := range churnLoads {
		before, err := d.port(ctx, "vm")
		if err != nil {
			return err
		}
		pps, perSecond, err := c.during(ctx, b, d, l)
		if err != nil {
			return err
		}
		after, err := d.port(ctx, "vm")
		if err != nil {
			return err
		}
		add(&rates[i], pps/1e6)
		add(&changes[i], perSecond)
		add(&drops[i], float64(after.DroppedPackets-before.DroppedPackets))
		b.tell(b.window, "churn: %s: %.0f changes/s, %.2f Mpps", l.name, perSecond, pps/1e6)
	}
	return nil
}

// changer moves records from one host to another and back: each visit is a change.
type changer struct {
	moved [churnRecords]bool
}

// during measures the rate while clients change policy, and the changes.
func (c *changer) during(ctx context.Context, b *bench, d *daemon, l churnLoad) (pps, perSecond float64, err error) {
	perSecond, err = c.under(ctx, d, l, func() (err error) {
		now, err := measureRate(ctx, d, plainParams.Cores, b.window)
		pps = now.pps
		return err
	})
	return pps, perSecond, err
}

// under does something while clients change policy, and measures the changes.
func (c *changer) under(ctx context.Context, d *daemon, l churnLoad, do func() error) (perSecond float64, err error) {
	stop := make(chan struct{})
	var done atomic.Int64
	var clients sync.WaitGroup
	var failed atomic.Pointer[error]
	for i := range l.clients {
		clients.Go(func() {
			if err := c.client(ctx, d, l, i, stop, &done); err != nil {
				failed.Store(&err)
			}
		})
	}
	start := time.Now()
	err = do()
	took := time.Since(start)
	n := done.Load()
	close(stop)
	clients.Wait()
	if e := failed.Load(); e != nil {
		err = errors.Join(err, *e)
	}
	return float64(n) / took.Seconds(), err
}

// client applies one set after the other until told to stop. The number of sets
// is a multiple of that of clients, so no two have a record in common.
func (c *changer) client(ctx context.Context, d *daemon, l churnLoad, number int, stop <-chan struct{}, done *atomic.Int64) error {
	due, pause := time.Now(), time.Duration(0)
	if l.wanted > 0 {
		pause = time.Second * time.Duration(l.clients*l.perSet) / time.Duration(l.wanted)
	}
	for n := number; ; n = (n + l.clients) % (churnRecords / l.perSet) {
		select {
		case <-stop:
			return nil
		default:
		}
		due = due.Add(pause)
		time.Sleep(time.Until(due))
		set := plainParams.records(1024+n*l.perSet, 1024+(n+1)*l.perSet)
		for i := range set {
			moved := &c.moved[n*l.perSet+i]
			if *moved = !*moved; *moved {
				record := set[i].Object.(policy.LookupRecord)
				record.PA = plus("172.17.0.1", n%250)
				set[i].Object = record
			}
		}
		answer, err := d.Apply(ctx, connect.NewRequest(&pacav1.ApplyRequest{Changes: convert.FromChanges(set)}))
		if err == nil && answer.Msg.Changed != uint64(l.perSet) {
			err = fmt.Errorf("%d of %d changes changed anything", answer.Msg.Changed, l.perSet)
		}
		if err != nil {
			return err
		}
		done.Add(int64(l.perSet))
	}
}
