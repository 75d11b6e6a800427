package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"time"
)

// here are the points of a scenario that this machine has cores and memory for, the
// programs that can be measured at them, and why others cannot.
func (s *scenario) here(b *bench) (points []Params, programs []program, notes []string) {
	note := func(format string, args ...any) {
		if n := fmt.Sprintf(format, args...); !slices.Contains(notes, n) {
			notes = append(notes, n)
		}
	}
	for _, p := range s.points {
		needs := p.memory() + p.Records>>10 // and a KiB for a record, at most
		switch {
		case p.Cores > len(b.cores):
			note("%s: not measured on a machine of %s", counted(p.Cores, "core"), counted(len(b.cores), "core"))
		case needs > b.free:
			note("%s: not measured, wants %d MiB of free memory", counted(p.Flows, "flow"), needs)
		default:
			points = append(points, p)
		}
	}
	programs = []program{pacad{}}
	for _, peer := range peers() {
		if !slices.Contains(s.Peers, peer.name()) {
			continue
		}
		programs = append(programs, peer)
		for _, p := range points {
			if why := peer.why(p); why != "" {
				note("%s", why)
			}
		}
	}
	return points, programs, notes
}

// memory is what a program has for such traffic, in MiB.
func (p Params) memory() int { return job{Params: p, buffers: p.buffers()}.memory() }

// memory is that of the scenario's largest point on huge pages.
func (s *scenario) memory(b *bench) (most int) {
	points, _, _ := s.here(b)
	for _, p := range points {
		if p.Pages == huge {
			most = max(most, p.memory())
		}
	}
	return most
}

// each calls f for every program that can be measured, at every point.
func each(points []Params, programs []program, f func(Params, program) error) error {
	for _, p := range points {
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
	points, programs, _ := s.here(b)
	_ = each(points, programs, func(p Params, prog program) error {
		sum += cost(b, p, prog) * time.Duration(b.roundsOr(s.Rounds))
		return nil
	})
	_ = checks(points, programs, func(p Params, prog program) error {
		sum += checkTakes(p, prog)
		return nil
	})
	return sum
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
	points, programs, notes := s.here(b)
	if err := s.check(ctx, b, points, programs); err != nil {
		return nil, err
	}
	rounds, readings := b.roundsOr(s.Rounds), map[sample][]reading{}
	for round := range rounds {
		err := each(points, programs, func(p Params, prog program) error {
			j, err := b.job(ctx, p)
			if err != nil {
				return err
			}
			r, err := rate(ctx, prog, j, b.window)
			if err != nil {
				return err
			}
			at := sample{p, prog.name()}
			readings[at] = append(readings[at], r)
			text := fmt.Sprintf("%s: %s: round %d of %d: %s %.2f Mpps", s.name, p.what(), round+1, rounds, prog.name(), r.pps/1e6)
			if r.disturbed() {
				text += fmt.Sprintf(", disturbed: it had %.0f %% of its cores", 100*r.share)
			}
			b.tell(cost(b, p, prog), "%s", text)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return s.rows(points, readings, programs, notes), nil
}

// rows makes a row of every point.
func (s *scenario) rows(points []Params, readings map[sample][]reading, programs []program, notes []string) []Row {
	var rows []Row
	for i, p := range points {
		r := Row{Scenario: s.name, What: p.what(), Unit: "Mpps", Params: &points[i], Notes: notes}
		for _, prog := range programs {
			r.read(prog.name(), readings[sample{p, prog.name()}])
		}
		for _, peer := range r.Series[1:] {
			r.compare(r.Series[0].Name, peer.Name, s.Goals[peer.Name])
		}
		for _, own := range s.Self {
			own.compare(&r, readings, s.points[len(s.points)-1])
		}
		rows = append(rows, r)
	}
	return rows
}

// read adds a series, if there is one.
func (r *Row) read(name string, readings []reading) bool {
	if readings == nil {
		return false
	}
	s := Series{Name: name}
	for _, one := range readings {
		s.Samples = append(s.Samples, one.pps/1e6)
		if one.disturbed() {
			r.Disturbed++
		}
	}
	r.Series = append(r.Series, s)
	return true
}

// compare adds every program of a row at the point that the row is compared with.
func (s self) compare(r *Row, readings map[sample][]reading, last Params) {
	base := s.base(*r.Params)
	if base == *r.Params {
		return
	}
	for _, own := range r.Series {
		name := own.Name + ", " + s.name()
		if !r.read(name, readings[sample{base, own.Name}]) {
			continue
		}
		var goal *Goal
		if own.Name == r.Series[0].Name {
			goal = s.goalAt(*r.Params, last)
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
	return job{Params: p, b: b, forwards: forwards, control: control, buffers: p.buffers()}, err
}

// buffers are enough for a capture that is played from memory, and for what is
// under way on every core.
func (p Params) buffers() int { return p.Flows + spare*p.Cores }

// queues are those that frames come by.
func (p Params) queues() int { return cmp.Or(p.Queues, p.Cores) }

// captures are the files that hold a scenario's frames, made once.
func (b *bench) captures(p Params) (paths []string, err error) {
	for q := range p.queues() {
		paths = append(paths, b.path(fmt.Sprintf("rx-%s-%s-%s-%d-%d-%d-%d-%d-of-%d.pcap", p.Mode, p.Direction, p.Frame, p.Flows, p.Records, p.CA, p.PA, q, p.queues())))
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
