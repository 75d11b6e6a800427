package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A scenario from the file to the plots, with the real programs. How fast they are
// is not judged: whoever runs this may be busy, and have no huge pages to spare.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "pacad")
	if out, err := exec.Command("go", "build", "-o", program, "paca/ctrl/pacad").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	scenarios := filepath.Join(dir, "scenarios")
	text := strings.Replace(good, `"egress"`, `["egress", "ingress"]`, 1) + "frame = \"IMIX\"\nflows = 64\nrecords = 64\nrounds = 2\n[goals]\n\"testpmd mac\" = { hold = 0.1, aim = 0.2 }\n"
	if err := os.Mkdir(scenarios, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(scenarios, "short.toml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	scratch := filepath.Join(dir, "tmp")
	if err := os.Mkdir(scratch, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", scratch)
	out := filepath.Join(dir, "results")
	if err := run(t.Context(), []string{"-pacad", program, "-scenarios", scenarios, "-pages", "4K", "-window", "200ms", "-rounds", "1", "-out", out, "short"}); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(scratch); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	r, err := readReport(filepath.Join(out, "latest.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Rows) != 2 || r.Machine.CPU == "" || r.Machine.DPDK == "" || r.Machine.Kernel == "" || r.Machine.Memory == 0 {
		t.Fatalf("%+v", r)
	}
	for _, row := range r.Rows {
		if len(row.Series) != 2 || len(row.Ratios) != 1 || row.Ratios[0].Goal == nil {
			t.Errorf("%s: %+v", row.What, row)
			continue
		}
		for _, s := range row.Series {
			if len(s.Samples) != 1 || s.Samples[0] <= 0 {
				t.Errorf("%s: %s: %v", row.What, s.Name, s.Samples)
			}
		}
	}
	if table := read(filepath.Join(out, "latest.md")); !strings.Contains(table, "| nvgre ingress, IMIX, 1 core, 64 flows, 64 records, 4 KiB pages | pacad |") {
		t.Error(table)
	}
}

// A part that fails is told by name, and the others are measured. Who interrupts wants an
// end.
func TestFailure(t *testing.T) {
	b := &bench{log: io.Discard, pages: ordinary, dir: t.TempDir()}
	a := func(name string, err error) part {
		return part{name: name, takes: func(*bench) time.Duration { return time.Second }, memory: plainMemory, measure: func(context.Context, *bench) ([]Row, error) {
			if err != nil {
				return nil, err
			}
			return []Row{{Scenario: name, What: "w", Unit: "Mpps", Series: []Series{{"pacad", []float64{1}}}}}, nil
		}}
	}
	parts := []part{a("first", nil), a("second", errors.New("it burns\nat length")), a("third", nil)}
	r, err := b.measure(t.Context(), parts)
	if err != nil || len(r.Rows) != 2 || r.Rows[1].Scenario != "third" || r.Rows[1].What != "w, 4 KiB pages" || !slices.Equal(r.Failed, []Failure{{"second", "it burns"}}) {
		t.Errorf("%+v, %v", r, err)
	}
	none := Row{Series: []Series{{"pacad", []float64{1}}, {"testpmd io", []float64{0}}}}
	none.compare("pacad", "testpmd io", nil)
	if err := finite([]Row{none}); err == nil {
		t.Error("a ratio to nothing is one")
	}
	var table bytes.Buffer
	if err := b.show(&table, r); err == nil || !strings.Contains(err.Error(), "second") || !strings.Contains(table.String(), "- second: it burns\n") {
		t.Errorf("%v\n%s", err, table.String())
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.measure(ended, parts); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}
