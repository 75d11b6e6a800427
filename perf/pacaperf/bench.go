package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// part is something to measure that has a name.
type part struct {
	name    string
	about   string
	takes   func(*bench) time.Duration // about; for the time left
	memory  func(*bench) int           // of huge pages, in MiB, at most
	measure func(context.Context, *bench) ([]Row, error)
}

func indexName(parts []part, name string) int {
	return slices.IndexFunc(parts, func(p part) bool { return p.name == name })
}

// bench is one run: what was asked for, and how far it is.
type bench struct {
	pacad     string // program
	scenarios string // folder
	out       string // folder, or ""
	command   string
	rounds    int // 0: what the part says
	window    time.Duration
	quick     bool
	pages     string // "": what the scenario says, and huge ones for other parts
	cores     []int  // that may forward, in order of use
	free      int    // MiB of memory at the start
	records   int    // of scale; 0: what it says

	dir string // scratch; gone at the end
	log io.Writer

	begun       time.Time
	total, done time.Duration // of what was estimated
}

// warmUp is how long a program forwards before it is measured.
const warmUp = 500 * time.Millisecond

// measure measures parts one after the other, on huge pages that it borrows. One that
// fails does not keep others from being measured.
func (b *bench) measure(ctx context.Context, parts []part) (_ *Report, err error) {
	report := &Report{Machine: thisMachine(b.pacad), Command: b.command, Date: time.Now().UTC().Truncate(time.Second)}
	most := 0
	for _, p := range parts {
		b.total += p.takes(b)
		most = max(most, p.memory(b))
	}
	if b.pages != ordinary {
		giveBack, err := reserve(hugeFolder, most)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, giveBack()) }()
	}
	fmt.Fprintf(b.log, "measuring takes about %s\n", b.total.Round(time.Second))
	b.begun = time.Now()
	before := time.Duration(0)
	for _, p := range parts {
		rows, err := p.measure(ctx, b)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err == nil {
			err = finite(rows)
		}
		if err != nil {
			fmt.Fprintf(b.log, "%s: failed: %v\n", p.name, err)
			report.Failed = append(report.Failed, Failure{p.name, firstLine(err.Error())})
			rows = nil
		}
		for i := range rows {
			if b.pages == ordinary && rows[i].Params == nil {
				rows[i].onOrdinary()
			}
		}
		report.Rows = append(report.Rows, rows...)
		before += p.takes(b)
		b.done = before
		if err := b.forget(); err != nil {
			return nil, err
		}
	}
	return report, nil
}

// finite is an error if a ratio is of nothing, which no report can hold.
func finite(rows []Row) error {
	for _, row := range rows {
		for _, ratio := range row.Ratios {
			for _, v := range ratio.Samples {
				if math.IsInf(v, 0) || math.IsNaN(v) {
					return fmt.Errorf("%s: nothing was measured of %s", row.What, ratio.To)
				}
			}
		}
	}
	return nil
}

// plain is plainParams on the pages of this run.
func (b *bench) plain() Params {
	p := plainParams
	p.Pages = cmp.Or(b.pages, p.Pages)
	return p
}

// tell says what was found, and how long the rest will take: what has just been
// done was estimated to take cost.
func (b *bench) tell(cost time.Duration, format string, args ...any) {
	b.done = min(b.done+cost, b.total)
	left := "?"
	if b.done > 0 {
		took := time.Since(b.begun)
		left = time.Duration(float64(took) * float64(b.total-b.done) / float64(b.done)).Round(time.Second).String()
	}
	fmt.Fprintf(b.log, "%s (%s left)\n", fmt.Sprintf(format, args...), left)
}

// roundsOr is the number of rounds that was asked for, or else n.
func (b *bench) roundsOr(n int) int {
	if b.rounds > 0 {
		return b.rounds
	}
	return n
}

// path is a file in the scratch folder.
func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

// forwarding are the n cores that forward. The rest of every program runs on
// control, which is one of them only if the machine has no other.
func (b *bench) forwarding(n int) (cores []int, control int, err error) {
	if n > len(b.cores) {
		return nil, 0, fmt.Errorf("%d cores shall forward, and there are %d", n, len(b.cores))
	}
	return b.cores[:n], b.cores[len(b.cores)-1], nil
}

// ownCores are the cores of this process; the first one, which the kernel likes
// best, comes last.
func ownCores() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("cpu affinity: %w", err)
	}
	var cores []int
	for i := 0; len(cores) < set.Count(); i++ {
		if set.IsSet(i) {
			cores = append(cores, i)
		}
	}
	return append(cores[1:], cores[0]), nil
}

// parseCores reads a list like "1,0".
func parseCores(s string) (cores []int, err error) {
	for word := range strings.SplitSeq(s, ",") {
		core, err := strconv.Atoi(word)
		if err != nil || core < 0 || slices.Contains(cores, core) {
			return nil, fmt.Errorf("%q is no list of different cores, like 1,0", s)
		}
		cores = append(cores, core)
	}
	return cores, nil
}
