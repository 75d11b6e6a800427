package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// What readings become: a row for each point, ratios by round to every peer and to
// the program itself, goals where they belong.
func TestRows(t *testing.T) {
	s, err := scenarioFrom(t, strings.Replace(good, `"testpmd mac"`, `"testpmd io", "OVS-DPDK"`, 1)+`
flows = [1024, 4096]
records = [1024, 4096]
[goals]
"testpmd io" = { hold = 0.5, aim = 0.9 }
[[self]]
records = 1024
goal = { hold = 0.35, aim = 0.6 }
[[self]]
flows = 1024
records = 1024
`, false)
	if err != nil {
		t.Fatal(err)
	}
	readings := map[sample][]reading{}
	add := func(p Params, program string, mpps ...float64) {
		for _, v := range mpps {
			readings[sample{p, program}] = append(readings[sample{p, program}], reading{v * 1e6, 1})
		}
	}
	small, same, large := s.points[0], s.points[1], s.points[2]
	for _, p := range s.points {
		add(p, "testpmd io", 40, 50)
	}
	add(small, "pacad", 20, 40)
	add(same, "pacad", 10, 20)
	add(large, "pacad", 5, 15)
	add(small, "OVS-DPDK", 10, 10)
	readings[sample{same, "pacad"}][1].share = 0.5
	rows := s.rows(s.points, readings, []program{pacad{}, testpmd{"io"}, ovs{}}, []string{"n"})
	if len(rows) != 3 {
		t.Fatalf("%d rows", len(rows))
	}
	for i, want := range []struct {
		series    string
		disturbed int
	}{
		{"pacad; testpmd io; OVS-DPDK", 0},
		{"pacad; testpmd io; pacad, 1,024 flows, 1,024 records; testpmd io, 1,024 flows, 1,024 records", 1},
		{"pacad; testpmd io; pacad, 1,024 records; testpmd io, 1,024 records; pacad, 1,024 flows, 1,024 records; testpmd io, 1,024 flows, 1,024 records", 1},
	} {
		var names []string
		for _, s := range rows[i].Series {
			names = append(names, s.Name)
		}
		if got := strings.Join(names, "; "); got != want.series || rows[i].Disturbed != want.disturbed {
			t.Errorf("row %d: %s, %d disturbed; want %s, %d", i, got, rows[i].Disturbed, want.series, want.disturbed)
		}
	}
	for _, want := range []struct {
		row     int
		of, to  string
		samples []float64
		goal    float64 // to hold; 0 for none
	}{
		{0, "pacad", "testpmd io", []float64{0.5, 0.8}, 0.5},
		{0, "pacad", "OVS-DPDK", []float64{2, 4}, 0},
		{1, "pacad", "pacad, 1,024 flows, 1,024 records", []float64{0.5, 0.5}, 0},
		{2, "pacad", "pacad, 1,024 records", []float64{0.5, 0.75}, 0.35},
		{2, "pacad", "pacad, 1,024 flows, 1,024 records", []float64{0.25, 0.375}, 0},
		{2, "testpmd io", "testpmd io, 1,024 records", []float64{1, 1}, 0},
	} {
		i := slices.IndexFunc(rows[want.row].Ratios, func(r Ratio) bool { return r.Of == want.of && r.To == want.to })
		if i < 0 {
			t.Errorf("row %d has no %s ÷ %s", want.row, want.of, want.to)
			continue
		}
		r := rows[want.row].Ratios[i]
		if !slices.Equal(r.Samples, want.samples) || (r.Goal != nil) != (want.goal > 0) || r.Goal != nil && r.Goal.Hold != want.goal {
			t.Errorf("row %d, %s ÷ %s: %v, %+v", want.row, want.of, want.to, r.Samples, r.Goal)
		}
	}
}

// What a machine cannot hold is left out, and why is said.
func TestHere(t *testing.T) {
	s, err := scenarioFrom(t, good+"flows = [1024, 1_000_000]\ncores = [1, 2]", false)
	if err != nil {
		t.Fatal(err)
	}
	points, _, notes := s.here(&bench{cores: []int{0}, free: 2000})
	if len(points) != 1 || points[0] != plainParams {
		t.Errorf("%v", points)
	}
	text := strings.Join(notes, "\n")
	for _, want := range []string{"2 cores: not measured on a machine of 1 core", "1,000,000 flows: not measured, wants"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not said in\n%s", want, text)
		}
	}
	points, programs, notes := s.here(&bench{cores: []int{0, 1}, free: 1 << 20})
	if len(points) != 4 || len(programs) != 2 || len(notes) != 0 {
		t.Errorf("%v, %v, %v", points, programs, notes)
	}
}

// The time left shrinks with what was estimated and is done.
func TestTell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // whose time stands still
		var out bytes.Buffer
		b := &bench{log: &out, total: 40 * time.Second, begun: time.Now().Add(-20 * time.Second)}
		b.tell(10*time.Second, "a")
		b.tell(10*time.Second, "b %d", 1)
		b.tell(100*time.Second, "c")
		if got, want := out.String(), "a (1m0s left)\nb 1 (20s left)\nc (0s left)\n"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	})
}
