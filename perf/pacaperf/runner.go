package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"
)

// programs are pacad and the peers of a scenario that can be measured here, and
// why others cannot.
func (s *scenario) programs() (all []program, notes []string) {
	all = []program{pacad{}}
	for _, p := range peers() {
		if !slices.Contains(s.Peers, p.name()) {
			continue
		}
		if why := p.why(s.points[0]); why != "" {
			notes = append(notes, why)
			continue
		}
		all = append(all, p)
	}
	return all, notes
}

// each calls f for every program that can be measured at every point.
func (s *scenario) each(programs []program, f func(Params, program) error) error {
	for _, p := range s.points {
		for _, prog := range programs {
			if prog.why(p) != "" {
				continue
			}
			if err := f(p, prog); err != nil {
				return fmt.Errorf("%s: %s: %w", p.what(), prog.name(), err)
			}
		}
	}
	return nil
}

func (s *scenario) takes(b *bench) (sum time.Duration) {
	programs, _ := s.programs()
	_ = s.each(programs, func(p Params, prog program) error {
		sum += cost(b, p, prog)
		return nil
	})
	return sum * time.Duration(b.roundsOr(s.Rounds))
}

// cost is about how long one measurement takes.
func cost(b *bench, p Params, prog program) time.Duration {
	return prog.takes(p) + warmUp + b.window
}

// sample names a series while it is measured.
type sample struct {
	Params
	program string
}

// measure measures a scenario: first that every program does what it should to
// every frame, then how fast, all points and programs in turn, as often as there
// are rounds.
func (s *scenario) measure(ctx context.Context, b *bench) ([]Row, error) {
	programs, notes := s.programs()
	if err := s.check(ctx, b, programs); err != nil {
		return nil, err
	}
	rounds := b.roundsOr(s.Rounds)
	samples := map[sample][]float64{}
	for round := range rounds {
		err := s.each(programs, func(p Params, prog program) error {
			j, err := b.job(ctx, p)
			if err != nil {
				return err
			}
			pps, err := rate(ctx, prog, j, b.window)
			if err != nil {
				return err
			}
			at := sample{p, prog.name()}
			samples[at] = append(samples[at], pps/1e6)
			b.tell(cost(b, p, prog), "%s: %s: round %d of %d: %s %.2f Mpps", s.name, p.what(), round+1, rounds, prog.name(), pps/1e6)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return s.rows(samples, programs, notes), b.forget()
}

// rows makes a row of every point.
func (s *scenario) rows(samples map[sample][]float64, programs []program, notes []string) []Row {
	var rows []Row
	for i, p := range s.points {
		r := Row{Scenario: s.name, What: p.what(), Unit: "Mpps", Params: &s.points[i], Notes: notes}
		for _, prog := range programs {
			if v := samples[sample{p, prog.name()}]; v != nil {
				r.Series = append(r.Series, Series{prog.name(), v})
			}
		}
		for _, peer := range r.Series[1:] {
			r.compare(r.Series[0].Name, peer.Name, s.Goals[peer.Name])
		}
		if s.Self != nil && s.Self.base(p) != p {
			s.compareSelf(&r, samples, i == len(s.points)-1)
		}
		rows = append(rows, r)
	}
	return rows
}

// compareSelf adds every program at the point that this one is compared with.
func (s *scenario) compareSelf(r *Row, samples map[sample][]float64, last bool) {
	base := s.Self.base(*r.Params)
	at := counted(base.Cores, "core")
	if s.Self.Records != 0 {
		at = counted(base.Records, "record")
	}
	for i, own := range slices.Clone(r.Series) {
		v := samples[sample{base, own.Name}]
		if v == nil {
			continue
		}
		name := own.Name + ", " + at
		r.Series = append(r.Series, Series{name, v})
		var goal *Goal
		if i == 0 && last {
			goal = s.Self.Goal
		}
		r.compare(own.Name, name, goal)
	}
}

// job is such traffic, over and over, to a device that takes all; with pacad's
// policy.
func (b *bench) job(ctx context.Context, p Params) (job, error) {
	captures, err := b.captures(p)
	if err != nil {
		return job{}, err
	}
	j, err := b.bareJob(p)
	if err != nil {
		return job{}, err
	}
	j.in, j.out = rxPcap(captures, true), "net_null1,no-rx=1"
	j.policy, err = b.store(ctx, p)
	return j, err
}

// bareJob has neither devices nor policy.
func (b *bench) bareJob(p Params) (job, error) {
	forwards, control, err := b.forwarding(p.Cores)
	return job{Params: p, b: b, forwards: forwards, control: control, buffers: p.Flows + spare*p.Cores}, err
}

// captures are the files that hold a scenario's frames, made once.
func (b *bench) captures(p Params) (paths []string, err error) {
	for q := range p.Cores {
		paths = append(paths, b.path(fmt.Sprintf("rx-%s-%s-%s-%d-%d-%d-%d-%d-of-%d.pcap", p.Mode, p.Direction, p.Frame, p.Flows, p.Records, p.CA, p.PA, q, p.Cores)))
	}
	if exists(paths[len(paths)-1]) {
		return paths, nil
	}
	return paths, p.writeCaptures(paths, p.flows(), p.size)
}

// forget removes what a scenario has left in the scratch folder.
func (b *bench) forget() error {
	if err := os.RemoveAll(b.dir); err != nil {
		return err
	}
	return os.Mkdir(b.dir, 0o700)
}
