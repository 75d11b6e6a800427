package main

import (
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		v    []float64
		want float64
	}{
		{[]float64{3}, 3},
		{[]float64{9, 1, 5}, 5},
		{[]float64{4, 1, 3, 100}, 3.5},
	} {
		if got := median(c.v); got != c.want {
			t.Errorf("median of %v: %v, want %v", c.v, got, c.want)
		}
	}
}

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		goal Goal
		v    float64
		less bool
		want string
	}{
		{Goal{0.6, 0.9}, 0.9, false, "aim met"},
		{Goal{0.6, 0.9}, 0.6, false, "held"},
		{Goal{0.6, 0.9}, 0.59, false, "missed"},
		{Goal{2, 1.2}, 1.2, true, "aim met"},
		{Goal{2, 1.2}, 2, true, "held"},
		{Goal{2, 1.2}, 2.1, true, "missed"},
		{Goal{0, 0}, 0, true, "aim met"},
	} {
		if got := c.goal.verdict(c.v, c.less); got != c.want {
			t.Errorf("%v of %+v: %s, want %s", c.v, c.goal, got, c.want)
		}
	}
}

// A ratio is of one round: rounds of a noisy machine are not mixed.
func TestRatioByRound(t *testing.T) {
	r := Row{Series: []Series{{"pacad", []float64{1, 4, 9}}, {"testpmd mac", []float64{2, 4, 6}}}}
	r.compare("pacad", "testpmd mac", &Goal{0.6, 0.9})
	want := []Ratio{{Of: "pacad", To: "testpmd mac", Samples: []float64{0.5, 1, 1.5}, Goal: &Goal{0.6, 0.9}}}
	if !reflect.DeepEqual(r.Ratios, want) {
		t.Errorf("%+v, want %+v", r.Ratios, want)
	}
}

func TestReportFile(t *testing.T) {
	want := &Report{
		Machine: Machine{CPU: "c", Cores: 2, Kernel: "6.1"},
		Command: "make perf",
		Date:    time.Date(2026, 11, 22, 13, 0, 0, 0, time.UTC),
		Rows: []Row{{
			Scenario: "s", What: "w", Unit: "µs", Less: true,
			Params: &Params{Mode: "nvgre", Frame: "60", Bytes: 60, Pages: huge},
			Series: []Series{{"pacad", []float64{1.5}}, {"testpmd mac", []float64{3}}},
			Ratios: []Ratio{{Of: "pacad", To: "testpmd mac", Samples: []float64{0.5}, Goal: &Goal{0.6, 0.9}}},
			Goal:   &Goal{3, 2}, Notes: []string{"n"},
		}},
		Failed: []Failure{{"t", "why"}},
	}
	path := filepath.Join(t.TempDir(), "r.json")
	if err := want.write(path); err != nil {
		t.Fatal(err)
	}
	got, err := readReport(path)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
}
