package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
)

// errRegressed is what compare ends with when a figure is worse than it was.
var errRegressed = errors.New("worse than before, beyond noise")

// change is what became of one figure between two reports.
type change struct {
	what     string
	old, new float64 // medians
	noise    float64 // difference that means nothing
	less     bool    // is better
}

// worse and better are beyond noise.
func (c change) worse() bool {
	d := c.new - c.old
	if c.less {
		d = -d
	}
	return d < -c.noise
}

func (c change) better() bool { return math.Abs(c.new-c.old) > c.noise && !c.worse() }

// noise is how far apart the medians of two series may be and mean nothing: half
// the spread of both, and 3 % of the old one.
func noise(old, new []float64) float64 {
	half := func(v []float64) float64 { return (slices.Max(v) - slices.Min(v)) / 2 }
	return half(old) + half(new) + 0.03*math.Abs(median(old))
}

// compareReports compares the figures that both reports have: of a row with ratios,
// those of pacad to its peers, which hold on a machine that has other things to do
// as well and on another machine; of a row without any, pacad's own, if the
// machine is the same.
func compareReports(old, new *Report) (changes []change, gone []string) {
	same := old.Machine.CPU == new.Machine.CPU && old.Machine.Cores == new.Machine.Cores
	for _, was := range old.Rows {
		name := was.Scenario + ": " + was.What
		i := slices.IndexFunc(new.Rows, func(r Row) bool { return r.Scenario == was.Scenario && r.What == was.What })
		if i < 0 {
			gone = append(gone, name)
			continue
		}
		is := new.Rows[i]
		add := func(what string, a, b []float64) {
			changes = append(changes, change{what: what, old: median(a), new: median(b), noise: noise(a, b), less: was.Less})
		}
		for _, a := range was.Ratios {
			for _, b := range is.Ratios {
				if a.Of == was.Series[0].Name && a.Of == b.Of && a.To == b.To {
					add(name+": "+a.Of+" ÷ "+a.To, a.Samples, b.Samples)
				}
			}
		}
		if same && len(was.Ratios) == 0 && len(is.Ratios) == 0 {
			add(name+", "+was.Unit, was.Series[0].Samples, is.Series[0].Samples)
		}
	}
	return changes, gone
}

// compareFiles says what changed between two reports. Its error is errRegressed if
// something became worse.
func compareFiles(w io.Writer, oldFile, newFile string) error {
	old, err := readReport(oldFile)
	if err != nil {
		return err
	}
	new, err := readReport(newFile)
	if err != nil {
		return err
	}
	changes, gone := compareReports(old, new)
	fmt.Fprintf(w, "old: %s; %s\nnew: %s; %s\n\n", old.Date.Format("2006-01-02 15:04"), old.Machine, new.Date.Format("2006-01-02 15:04"), new.Machine)
	worse, better := 0, 0
	for _, c := range changes {
		word := "better"
		switch {
		case c.worse():
			word = "WORSE"
			worse++
		case c.better():
			better++
		default:
			continue
		}
		fmt.Fprintf(w, "%-6s  %s: %s, was %s (%+.0f %%, noise ±%.0f %%)\n", word, c.what, figure(c.new), figure(c.old), percent(c.new-c.old, c.old), percent(c.noise, c.old))
	}
	for _, name := range gone {
		fmt.Fprintf(w, "not measured any more: %s\n", name)
	}
	fmt.Fprintf(w, "%d figures: %d worse, %d better, the rest within noise\n", len(changes), worse, better)
	if worse > 0 {
		return errRegressed
	}
	return nil
}

func percent(part, whole float64) float64 {
	if whole == 0 {
		return math.Inf(1)
	}
	return 100 * part / math.Abs(whole)
}
