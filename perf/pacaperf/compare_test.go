package main

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

func TestNoise(t *testing.T) {
	// Half of 2, half of 4, 3 % of 100.
	if got := noise([]float64{100, 99, 101}, []float64{90, 88, 92}); got != 1+2+3 {
		t.Errorf("%v", got)
	}
}

func TestChange(t *testing.T) {
	for _, c := range []struct {
		change
		worse, better bool
	}{
		{change{old: 10, new: 10, noise: 1}, false, false},
		{change{old: 10, new: 9, noise: 1}, false, false},
		{change{old: 10, new: 8.9, noise: 1}, true, false},
		{change{old: 10, new: 11.1, noise: 1}, false, true},
		{change{old: 10, new: 8.9, noise: 1, less: true}, false, true},
		{change{old: 10, new: 11.1, noise: 1, less: true}, true, false},
		{change{old: 0, new: 1, less: true}, true, false}, // a packet lost where none was
	} {
		if c.change.worse() != c.worse || c.change.better() != c.better {
			t.Errorf("%+v: worse %v, better %v", c.change, c.change.worse(), c.change.better())
		}
	}
}

// compared is what compare says of two reports.
func compared(t *testing.T, old, new *Report) (string, error) {
	t.Helper()
	dir := t.TempDir()
	a, b := filepath.Join(dir, "old.json"), filepath.Join(dir, "new.json")
	if err := errors.Join(old.write(a), new.write(b)); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err := compareFiles(&out, a, b)
	return out.String(), err
}

func TestCompare(t *testing.T) {
	slower := func(by float64, series string) *Report {
		r := fixed()
		row := &r.Rows[0]
		s := row.series(series)
		for i := range s.Samples {
			s.Samples[i] /= by
		}
		row.Ratios = nil
		row.compare("pacad", "testpmd mac", nil)
		row.compare("pacad", "OVS-DPDK", nil)
		return r
	}
	for _, c := range []struct {
		name   string
		new    *Report
		failed bool
		want   []string
	}{
		{"the same", fixed(), false, []string{" 0 worse, 0 better"}},
		{"within noise", slower(1.05, "pacad"), false, []string{" 0 worse, 0 better"}},
		{"half as fast", slower(2, "pacad"), true, []string{"WORSE   nvgre-egress: nvgre egress, 60 B, 1 core: pacad ÷ testpmd mac: 0.25, was 0.5 (-50 %", " 2 worse, 0 better"}},
		{"twice as fast", slower(0.5, "pacad"), false, []string{"better  nvgre-egress", " 0 worse, 2 better"}},
		// A peer that became faster is pacad that fell behind.
		{"a peer is faster", slower(0.5, "OVS-DPDK"), true, []string{" 1 worse, 0 better"}},
	} {
		out, err := compared(t, fixed(), c.new)
		if errors.Is(err, errRegressed) != c.failed {
			t.Errorf("%s: %v\n%s", c.name, err, out)
		}
		for _, w := range c.want {
			if !strings.Contains(out, w) {
				t.Errorf("%s: no %q in\n%s", c.name, w, out)
			}
		}
	}
}

// On a machine that was busy, all programs are slower: that is no regression. A row
// without a peer is compared as it is, but not across machines.
func TestCompareMachines(t *testing.T) {
	busy := fixed()
	for i := range busy.Rows {
		for _, s := range busy.Rows[i].Series {
			for j := range s.Samples {
				s.Samples[j] /= 3
			}
		}
	}
	lost := len(busy.Rows) - 1
	busy.Rows[lost].Series[0].Samples[0] = 7
	if out, err := compared(t, fixed(), busy); !errors.Is(err, errRegressed) || !strings.Contains(out, " 1 worse, 1 better") {
		t.Errorf("%v\n%s", err, out) // more lost, less memory; ratios are what they were
	}
	busy.Machine.CPU = "another"
	if out, err := compared(t, fixed(), busy); err != nil || !strings.Contains(out, " 0 worse, 0 better") {
		t.Errorf("%v\n%s", err, out)
	}
	busy.Rows = busy.Rows[1:]
	if out, err := compared(t, fixed(), busy); err != nil || !strings.Contains(out, "not measured any more: nvgre-egress: nvgre egress, 60 B, 1 core") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestRunUsage(t *testing.T) {
	for _, args := range [][]string{{"-pages", "8K", "list"}, {"-records", "0", "list"}, {"-records", "8000001", "list"}, {"compare", "one.json"}, {"show"}, {"-scenarios", "../scenarios", "nonsense"}, {"-scenarios", t.TempDir()}, {"show", "/nonexistent.json"}} {
		if err := run(t.Context(), args); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}
