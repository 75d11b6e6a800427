package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"
)

// Report is what one run has measured. Files of it are read by later versions:
// fields are added, never given another meaning.
type Report struct {
	Machine Machine   `json:"machine"`
	Command string    `json:"command"` // that makes such a report
	Date    time.Time `json:"date"`
	Rows    []Row     `json:"rows"`
	Failed  []Failure `json:"failed,omitempty"` // what could not be measured
}

// Failure is a scenario that has no rows.
type Failure struct {
	Scenario string `json:"scenario"`
	Error    string `json:"error"` // in a line
}

// Machine is what the figures hold for. What is not installed is empty.
type Machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory int    `json:"memory_mib"`
	Kernel string `json:"kernel"`
	DPDK   string `json:"dpdk"`
	OVS    string `json:"ovs"`
	Go     string `json:"go"`
	Paca   string `json:"paca"`
}

// Row is one thing that was measured, of pacad and of those beside it. All
// samples of a row are of one run and taken in turn.
type Row struct {
	Scenario string   `json:"scenario"`         // its file's or subcommand's name: "nvgre-egress", "latency"
	What     string   `json:"what"`             // within the scenario: "60 B, 1 core"
	Unit     string   `json:"unit"`             // of every sample: "Mpps", "µs", "MiB", "packets"
	Less     bool     `json:"less,omitempty"`   // is better; otherwise more is
	Params   *Params  `json:"params,omitempty"` // of a packet rate: what plots draw over
	Series   []Series `json:"series"`           // pacad's first
	Ratios   []Ratio  `json:"ratios,omitempty"`
	Goal     *Goal    `json:"goal,omitempty"`  // of the first series' median
	Notes    []string `json:"notes,omitempty"` // what a reader must know

	// Functions are where the first series' time goes, the most first.
	Functions []Function `json:"functions,omitempty"`

	// Disturbed is how many of the samples others have spoiled, by using the cores.
	Disturbed int `json:"disturbed,omitempty"`
}

// Params say which traffic a packet rate is of.
type Params struct {
	Mode      string  `json:"mode"`
	Direction string  `json:"direction"`
	Frame     string  `json:"frame"`       // "60", "IMIX": the VM's, with Ethernet header and without FCS
	Bytes     float64 `json:"frame_bytes"` // of it, on average
	Flows     int     `json:"flows"`
	Records   int     `json:"records"`
	Cores     int     `json:"cores"`
	Queues    int     `json:"queues,omitempty"` // that frames come by; 0: one to a core
	CA        int     `json:"ca"`               // 4 or 6
	PA        int     `json:"pa"`
	Pages     string  `json:"pages"` // of all memory: "2M" or "4K"
}

// Series are the samples of one program, one for each round, in order.
type Series struct {
	Name    string    `json:"name"` // "pacad", "testpmd mac"
	Samples []float64 `json:"samples"`
}

// Ratio is one series divided by another, round by round.
type Ratio struct {
	Of      string    `json:"of"`
	To      string    `json:"to"`
	Samples []float64 `json:"samples"`
	Goal    *Goal     `json:"goal,omitempty"` // of the median
}

// Goal is what the project holds itself to and what it aims at: at least that,
// or of a row where less is better, at most.
type Goal struct {
	Hold float64 `json:"hold"`
	Aim  float64 `json:"aim"`
}

// median, of an even number the mean of the two in the middle. v is not empty.
func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// series is the one of that name; nil if the row has none.
func (r *Row) series(name string) *Series {
	for i := range r.Series {
		if r.Series[i].Name == name {
			return &r.Series[i]
		}
	}
	return nil
}

// compare adds the ratio of two of the row's series, which have as many samples.
func (r *Row) compare(of, to string, goal *Goal) {
	a, b := r.series(of).Samples, r.series(to).Samples
	ratio := Ratio{Of: of, To: to, Goal: goal, Samples: make([]float64, len(a))}
	for i := range a {
		ratio.Samples[i] = a[i] / b[i]
	}
	r.Ratios = append(r.Ratios, ratio)
}

// verdict says what became of a goal: "aim met", "held" or "missed".
func (g Goal) verdict(v float64, less bool) string {
	atLeast := func(bound float64) bool { return less && v <= bound || !less && v >= bound }
	switch {
	case atLeast(g.Aim):
		return "aim met"
	case atLeast(g.Hold):
		return "held"
	}
	return "missed"
}

// readReport reads what write wrote.
func readReport(path string) (*Report, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := new(Report)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if slices.ContainsFunc(r.Rows, func(row Row) bool { return row.Params != nil && row.Params.Pages == "" }) {
		for i := range r.Rows { // from before there was a choice
			r.Rows[i].onOrdinary()
		}
	}
	return r, nil
}

// onOrdinary says that a row is of ordinary pages.
func (r *Row) onOrdinary() {
	r.What += ", " + onOrdinary
	if r.Params != nil {
		r.Params.Pages = ordinary
	}
}

// write writes the report as JSON.
func (r *Report) write(path string) error {
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}
