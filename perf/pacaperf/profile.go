package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Function is one that a worker's thread runs, and how much of its time that takes.
type Function struct {
	Name  string  `json:"name"` // without its package's path; of a library without names, the library
	In    string  `json:"in"`   // "Go", "C" or "kernel"
	Share float64 `json:"share"`
}

// profiled is the traffic, beside which programs.
func (b *bench) profiled(do func(p Params, prog program) error) error {
	p := b.plain()
	points := make([]Params, 0, 4)
	for _, p.Mode = range []string{"nvgre", "rewrite"} {
		for _, p.Direction = range []string{"egress", "ingress"} {
			points = append(points, p)
		}
	}
	return each(points, []program{pacad{}, testpmd{"io"}, testpmd{"mac"}, testpmd{"csum"}}, do)
}

func profileTakes(b *bench) (sum time.Duration) {
	_ = b.profiled(func(p Params, prog program) error {
		sum += cost(b, p, prog)
		if prog == (pacad{}) {
			sum += b.window + time.Second
		}
		return nil
	})
	return sum
}

// profile tells where the time of a worker goes, by function, and what testpmd takes on the
// same devices.
func profile(ctx context.Context, b *bench) ([]Row, error) {
	if _, err := exec.LookPath("perf"); err != nil {
		return nil, errors.New("perf is not installed: apt-get install linux-perf")
	}
	rows := newRows("profile")
	err := b.profiled(func(p Params, prog program) (err error) {
		j, err := b.job(ctx, p)
		if err != nil {
			return err
		}
		r, err := steady(ctx, prog, j)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, r.stop()) }()
		now, err := calmRate(ctx, r, p.Cores, b.window)
		if err != nil {
			return err
		}
		row := rows.add(p.what(), "ns/packet", prog.name(), 1e9/now.pps)
		if now.disturbed() {
			row.Disturbed++
		}
		if prog == (pacad{}) {
			row.Functions, err = functions(ctx, b, r.pid())
		}
		b.tell(cost(b, p, prog), "profile: %s: %s %.1f ns/packet", p.what(), prog.name(), 1e9/now.pps)
		return err
	})
	for i := range rows.rows {
		row := &rows.rows[i]
		for _, s := range row.Series[1:] {
			row.compare(row.Series[0].Name, s.Name, nil)
		}
	}
	return rows.rows, err
}

// functions are those of the busiest thread of a process, sampled for a window.
func functions(ctx context.Context, b *bench, pid int) ([]Function, error) {
	threads, _ := filepath.Glob(proc(pid) + "/task/*")
	if threads == nil {
		return nil, fmt.Errorf("process %d has no threads", pid)
	}
	busiest := slices.MaxFunc(threads, func(a, b string) int { return cmp.Compare(cpuTime(a), cpuTime(b)) })
	data := b.path("perf.data")
	defer os.Remove(data)
	perf := func(args ...string) (string, error) {
		out, err := exec.CommandContext(ctx, "perf", args...).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("perf %s: %w: %s", args[0], err, firstLine(string(out)))
		}
		return string(out), err
	}
	if _, err := perf("record", "-q", "-e", "cpu-clock", "-F", "5000", "-t", filepath.Base(busiest), "-o", data, "--", "sleep", fmt.Sprint(b.window.Seconds())); err != nil {
		return nil, err
	}
	text, err := perf("report", "-q", "-i", data, "--stdio", "-g", "none", "-t", "|", "--sort", "symbol,dso")
	if err != nil {
		return nil, err
	}
	return parseProfile(text, filepath.Base(b.pacad))
}

var (
	profileLine = regexp.MustCompile(`^\s*([0-9.]+)%\s*\|\[(.)\] (.+?)\s*\|(\S+)`)
	unnamed     = regexp.MustCompile(`^0x[0-9a-f]+$`)
	glue        = regexp.MustCompile(`^_cgo_[0-9a-f]+_Cfunc_`)
)

// parseProfile reads what perf reports of a program that is Go and C, libraries included.
func parseProfile(text, program string) (all []Function, err error) {
	for line := range strings.Lines(text) {
		m := profileLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		percent, _ := strconv.ParseFloat(m[1], 64)
		f := Function{Name: m[3], In: "C", Share: percent / 100}
		library, _, _ := strings.Cut(filepath.Base(m[4]), ".so")
		switch {
		case m[2] == "k":
			f.In = "kernel"
		case library == program && strings.Contains(f.Name, "."):
			f.In, f.Name = "Go", f.Name[strings.LastIndex(f.Name, "/")+1:]
		case unnamed.MatchString(f.Name):
			f.Name = library
		default:
			f.Name = glue.ReplaceAllString(f.Name, "")
		}
		i := slices.IndexFunc(all, func(g Function) bool { return g.Name == f.Name && g.In == f.In })
		if i < 0 {
			all = append(all, f)
		} else {
			all[i].Share += f.Share
		}
	}
	if all == nil {
		return nil, fmt.Errorf("perf has no samples:\n%s", text)
	}
	slices.SortStableFunc(all, func(a, b Function) int { return cmp.Compare(b.Share, a.Share) })
	return all, nil
}

// writeProfile writes what a report has of functions as Markdown, or removes an older report's.
func writeProfile(path string, r *Report) error {
	var s strings.Builder
	fmt.Fprintf(&s, "# Where the nanoseconds go\n\n`%s`, %s.\n\n%s.\n\n%s\n", r.Command, r.Date.Format("2006-01-02 15:04 MST"), r.Machine, profileLegend)
	any := false
	for _, row := range r.Rows {
		if row.Functions == nil {
			continue
		}
		any = true
		total := median(row.Series[0].Samples)
		fmt.Fprintf(&s, "\n## %s\n\n| function | in | share | ns/packet |\n|---|---|---|---|\n", row.What)
		rest := 1.0
		for _, f := range row.Functions {
			if f.Share >= 0.005 {
				fmt.Fprintf(&s, "| `%s` | %s | %.1f %% | %.2f |\n", f.Name, f.In, 100*f.Share, f.Share*total)
				rest -= f.Share
			}
		}
		fmt.Fprintf(&s, "| others | | %.1f %% | %.2f |\n", 100*rest, rest*total)
		for _, p := range row.Series {
			fmt.Fprintf(&s, "| **%s** | | | **%s** |\n", p.Name, figure(median(p.Samples)))
		}
	}
	if !any {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	}
	writeBudgets(&s, r)
	return os.WriteFile(path, []byte(s.String()), 0o644)
}

// writeBudgets is a table of what goals leave for the trip of a packet, in nanoseconds: all that
// is not the devices', which testpmd io has as well.
func writeBudgets(s *strings.Builder, r *Report) {
	var lines []string
	for _, row := range r.Rows {
		devices := row.series("testpmd io")
		if row.Params == nil || devices == nil {
			continue
		}
		ns := func(mpps float64) float64 { return 1000 / mpps * float64(row.Params.Cores) }
		above := func(took float64) string { return fmt.Sprintf("%.1f", took-ns(median(devices.Samples))) }
		for _, ratio := range row.Ratios {
			if ratio.Goal != nil && row.series(ratio.To) != nil {
				peer := ns(median(row.series(ratio.To).Samples))
				lines = append(lines, fmt.Sprintf("| %s | %s | %s | %s | %s | %s |", row.What, ratio.To, above(peer), above(ns(median(row.Series[0].Samples))), above(peer/ratio.Goal.Hold), above(peer/ratio.Goal.Aim)))
			}
		}
	}
	if lines != nil {
		fmt.Fprintf(s, "\n## What goals leave\n\nNanoseconds of a packet above those of testpmd io: what the devices do not take.\n\n"+
			"| traffic | beside | which takes | pacad takes | to hold it may take | to reach the aim |\n|---|---|---|---|---|---|\n%s\n", strings.Join(lines, "\n"))
	}
}

const profileLegend = `Samples of the worker's thread, by function; functions that the compiler put into others are theirs. What testpmd takes for a packet with
the same devices is below each: in the mode io these are all that takes time.`
