// Command pacaperf measures pacad, beside others and by itself.
//
//	pacaperf [FLAGS] [NAME ...]    measures, and prints a table
//	pacaperf compare OLD NEW       says what changed between two reports
//	pacaperf [-out DIR] show FILE  prints the table of a report, or draws it anew
//	pacaperf list                  says which names there are, and about how long each takes
//
// A NAME is that of a file in perf/scenarios, packets per second beside
// dpdk-testpmd and OVS-DPDK, or of one of the parts below; without any, all is
// measured.
//
// Floor 4, the stopwatch. It drives finished programs and nothing imports it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"paca/perf/probe"
)

// parts are what is measured besides scenarios.
var parts = []part{
	{name: "churn", about: "forwarding while policy changes", takes: churnTakes, memory: plainMemory, measure: churn},
	{name: "scale", about: "a million lookup records, and eight: time and memory", takes: scaleTakes, memory: plainMemory, measure: scale},
	{name: "latency", about: "how long packets are on their way, beside testpmd", takes: latencyTakes, memory: loopMemory, measure: latency},
	{name: "loss", about: "packets lost in a minute of policy changing", takes: lossTakes, memory: loopMemory, measure: loss},
	{name: "profile", about: "where a worker's time goes, by function, and what testpmd takes", takes: profileTakes, memory: plainMemory, measure: profile},
	{name: "bulk", about: "bytes of TCP from VMs that leave cutting to others, beside OVS-DPDK", takes: bulkTakes, memory: func(*bench) int { return 3 * bulkMemory }, measure: bulk},
}

func plainMemory(*bench) int { return plainParams.memory() }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	err := run(ctx, os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "pacaperf:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == "probe" { // which we start ourselves
		return probe.Serve(os.Stdin, os.Stdout)
	}
	b, names, err := parseFlags(args)
	if err != nil {
		return err
	}
	switch command := append(names, "")[0]; {
	case command == "compare" && len(names) == 3:
		return compareFiles(os.Stdout, names[1], names[2])
	case command == "show" && len(names) == 2:
		report, err := readReport(names[1])
		if err != nil {
			return err
		}
		return b.show(os.Stdout, report)
	case command == "compare" || command == "show":
		return errors.New("usage: compare OLD.json NEW.json; show REPORT.json")
	}
	all, err := readScenarios(b.scenarios, b.quick, b.pages)
	if err != nil {
		return err
	}
	all = append(all, parts...)
	if len(names) > 0 && names[0] == "list" {
		for _, p := range all {
			fmt.Printf("%-16s %6s  %s\n", p.name, p.takes(b).Round(time.Second), p.about)
		}
		return nil
	}
	chosen, err := choose(all, names)
	if err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "pacaperf"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	report, err := b.measure(ctx, chosen)
	if err != nil {
		return err
	}
	return b.show(os.Stdout, report)
}

// show prints a report, and saves it. What has failed is an error.
func (b *bench) show(w io.Writer, r *Report) error {
	if b.out != "" {
		if err := save(b.out, r); err != nil {
			return err
		}
	}
	err := writeTable(w, r)
	for _, f := range r.Failed {
		err = errors.Join(err, fmt.Errorf("%s has failed: %s", f.Scenario, f.Error))
	}
	return err
}

// parseFlags makes a bench of the command line; what is left are names.
func parseFlags(args []string) (*bench, []string, error) {
	b := &bench{log: os.Stderr, command: strings.TrimSpace("pacaperf " + strings.Join(args, " ")), free: freeMemory()}
	f := flag.NewFlagSet("pacaperf", flag.ContinueOnError)
	f.StringVar(&b.pacad, "pacad", "bin/pacad", "the pacad to measure")
	f.StringVar(&b.scenarios, "scenarios", "perf/scenarios", "folder of the scenarios")
	f.StringVar(&b.out, "out", "", "folder for latest.json, latest.md and plots")
	f.StringVar(&b.command, "command", b.command, "what the report says that it was made with")
	f.IntVar(&b.rounds, "rounds", 0, "measurements of each, in turn; 0: as many as the scenario says")
	f.DurationVar(&b.window, "window", 2*time.Second, "length of one measurement")
	f.Func("records", "lookup records of scale, up to 8,000,000 (default: a million, and eight)", func(s string) (err error) {
		if b.records, err = strconv.Atoi(s); err == nil && (b.records < 1 || b.records > scaleMost) {
			err = errors.New("from 1 to 8,000,000 can be had")
		}
		return err
	})
	f.BoolVar(&b.quick, "quick", false, "a first impression: one round of one second, of sweeps the ends")
	f.Func("pages", "of all memory, 2M or 4K, instead of what scenarios say", func(s string) error {
		if b.pages = s; s != huge && s != ordinary {
			return fmt.Errorf("%q is none of %s, %s", s, huge, ordinary)
		}
		return nil
	})
	f.Func("cores", "cores that may forward, in order of use (default: all, the first one last)", func(s string) (err error) {
		b.cores, err = parseCores(s)
		return err
	})
	if err := f.Parse(args); err != nil {
		return nil, nil, err
	}
	if b.quick {
		b.rounds, b.window = 1, time.Second
	}
	var err error
	if b.cores == nil {
		b.cores, err = ownCores()
	}
	return b, f.Args(), err
}

// choose picks parts by name, in the order of the names; without names, all.
func choose(all []part, names []string) ([]part, error) {
	if len(names) == 0 {
		return all, nil
	}
	var chosen []part
	for _, name := range names {
		i := indexName(all, name)
		if i < 0 {
			return nil, fmt.Errorf("nothing is called %q; see: pacaperf list", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// save writes a report in all its forms.
func save(dir string, r *Report) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := r.write(filepath.Join(dir, "latest.json")); err != nil {
		return err
	}
	table, err := os.Create(filepath.Join(dir, "latest.md"))
	if err != nil {
		return err
	}
	if err := errors.Join(writeTable(table, r), table.Close()); err != nil {
		return err
	}
	return errors.Join(writePlots(dir, r), writeProfile(filepath.Join(dir, "profile.md"), r))
}
