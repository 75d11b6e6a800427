package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// writeTable writes a report as Markdown.
func writeTable(w io.Writer, r *Report) error {
	var s strings.Builder
	fmt.Fprintf(&s, "# Measured\n\n`%s`, %s.\n\n%s.\n\n%s\n", r.Command, r.Date.Format("2006-01-02 15:04 MST"), r.Machine, legend)
	if r.Failed != nil {
		s.WriteString("\n## Failed\n\n")
		for _, f := range r.Failed {
			fmt.Fprintf(&s, "- %s: %s\n", f.Scenario, f.Error)
		}
	}
	writeGoals(&s, r)
	for i, row := range r.Rows {
		if i == 0 || r.Rows[i-1].Scenario != row.Scenario {
			writeScenario(&s, r.Rows[i:])
		}
	}
	_, err := io.WriteString(w, s.String())
	return err
}

const legend = `Figures are medians over rounds in which the programs took turns; a ratio is taken within each round. Gbit/s are of the VM's frames, from
Ethernet header to payload: without FCS, preamble and gap, and without what a tunnel adds. Nanoseconds are of one core. The memory of all programs is
huge pages of 2 MiB, where 4 KiB are not named.`

// String is the machine in a line.
func (m Machine) String() string {
	s := []string{fmt.Sprintf("%s, %s, %d MiB", m.CPU, counted(m.Cores, "core"), m.Memory)}
	for _, v := range []struct{ name, version string }{
		{"Linux", m.Kernel}, {"DPDK", m.DPDK}, {"Open vSwitch", m.OVS}, {"Go", strings.TrimPrefix(m.Go, "go")}, {"paca", m.Paca},
	} {
		if v.version != "" {
			s = append(s, v.name+" "+v.version)
		}
	}
	return strings.Join(s, "; ")
}

// writeGoals is a table of all that the project holds itself to.
func writeGoals(s *strings.Builder, r *Report) {
	var lines []string
	line := func(row *Row, what string, samples []float64, unit string, g *Goal) {
		if g == nil {
			return
		}
		sign := "≥ "
		if row.Less {
			sign = "≤ "
		}
		v := median(samples)
		verdict := g.verdict(v, row.Less)
		if row.Disturbed > 0 {
			verdict += ", disturbed"
		}
		lines = append(lines, fmt.Sprintf("| %s: %s | %s | %s | %s | %s |", row.Scenario, what, figure(v)+unit, sign+figure(g.Hold), sign+figure(g.Aim), verdict))
	}
	for i := range r.Rows {
		row := &r.Rows[i]
		line(row, row.What, row.Series[0].Samples, " "+row.Unit, row.Goal)
		for _, ratio := range row.Ratios {
			line(row, fmt.Sprintf("%s: %s ÷ %s", row.What, ratio.Of, ratio.To), ratio.Samples, "", ratio.Goal)
		}
	}
	if lines != nil {
		s.WriteString("\n## Goals\n\n| what | measured | to hold | aim | |\n|---|---|---|---|---|\n" + strings.Join(lines, "\n") + "\n")
	}
}

// writeScenario is a table of the rows that begin rows and are of one scenario.
func writeScenario(s *strings.Builder, rows []Row) {
	end := slices.IndexFunc(rows, func(r Row) bool { return r.Scenario != rows[0].Scenario })
	if end >= 0 {
		rows = rows[:end]
	}
	packets := rows[0].Params != nil
	fmt.Fprintf(s, "\n## %s\n\n", rows[0].Scenario)
	if packets {
		s.WriteString("| traffic | program | Mpps | min..max | Gbit/s | ns/packet | ratio to it | min..max |\n|---|---|---|---|---|---|---|---|\n")
	} else {
		s.WriteString("| what | of | measured | min..max | ratio to it | min..max |\n|---|---|---|---|---|---|\n")
	}
	var notes []string
	disturbed := 0
	for _, r := range rows {
		disturbed += r.Disturbed
		for i, series := range r.Series {
			what := r.What
			if i > 0 {
				what = ""
			}
			v := median(series.Samples)
			cells := []string{what, series.Name, figure(v), spread(series.Samples)}
			switch {
			case r.Params != nil && !strings.Contains(series.Name, ", "): // with this traffic
				cells = append(cells, figure(v*r.Params.Bytes*8/1000), figure(1000/v*float64(r.Params.Cores)))
			case packets:
				cells = append(cells, "", "")
			default:
				cells[2] += " " + r.Unit
			}
			s.WriteString("| " + strings.Join(append(cells, r.ratioTo(series.Name)...), " | ") + " |\n")
		}
		for _, n := range r.Notes {
			if !slices.Contains(notes, n) {
				notes = append(notes, n)
			}
		}
	}
	if disturbed > 0 {
		notes = append(notes, fmt.Sprintf("%s disturbed: a program had less than %.0f %% of its cores", counted(disturbed, "sample"), 100*fairShare))
	}
	for _, n := range notes {
		s.WriteString("\n" + strings.ToUpper(n[:1]) + n[1:] + ".\n")
	}
}

// ratioTo is the ratio of another series to one, and its spread, or nothing twice.
func (r *Row) ratioTo(name string) []string {
	i := slices.IndexFunc(r.Ratios, func(x Ratio) bool { return x.To == name })
	if i < 0 {
		return []string{"", ""}
	}
	x := r.Ratios[i]
	s := figure(median(x.Samples))
	if x.Of != r.Series[0].Name {
		s += " (" + x.Of + ")"
	}
	return []string{s, spread(x.Samples)}
}

func spread(v []float64) string { return figure(slices.Min(v)) + ".." + figure(slices.Max(v)) }

// figure is a number in the three digits that mean something.
func figure(v float64) string {
	if math.Abs(v) >= 999.5 {
		return grouped(int(math.Round(v)))
	}
	return fmt.Sprintf("%.3g", v)
}
