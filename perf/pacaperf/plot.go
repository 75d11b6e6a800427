package main

import (
	"errors"
	"fmt"
	"html"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// writePlots draws what a report has to draw: packets per second of every program
// (peers.svg), over frame sizes (sizes.svg) and over lookup records (records.svg), and
// how long packets are on their way (latency.svg).
// They are plain SVG, a rectangle and a line being what a library would write, too.
func writePlots(dir string, r *Report) error {
	for name, panels := range map[string][]panel{"peers.svg": peerPanels(r), "sizes.svg": sizePanels(r), "records.svg": recordPanels(r), "latency.svg": latencyPanels(r)} {
		file := filepath.Join(dir, name)
		if len(panels) == 0 {
			if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) { // an older report's
				return err
			}
			continue
		}
		text := draw(panels, r.Machine.String(), r.Command+", "+r.Date.Format("2006-01-02"))
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// panel is one chart: bars where curves have no x, else lines.
type panel struct {
	title  string
	xlabel string
	groups []string // below bars; nil for lines
	log    bool     // x is logarithmic
	curves []curve
}

// curve is a program's, through points or on bars, in Mpps.
type curve struct {
	name   string
	points []xy
}

type xy struct{ x, y, low, high float64 }

// colors are a program's in every plot.
var colors = map[string]string{"pacad": "#0b6e4f", "testpmd io": "#b0b7c3", "testpmd mac": "#6f7f99", "testpmd csum": "#4b5a75", macswap.name(): "#6f7f99", "OVS-DPDK": "#d9822b"}

func at(x float64, s Series) xy {
	return xy{x, median(s.Samples), slices.Min(s.Samples), slices.Max(s.Samples)}
}

// curveOf is the curve of a name, which it adds if there is none yet.
func (p *panel) curveOf(name string) *curve {
	i := slices.IndexFunc(p.curves, func(c curve) bool { return c.name == name })
	if i < 0 {
		i = len(p.curves)
		p.curves = append(p.curves, curve{name: name})
	}
	return &p.curves[i]
}

// peerPanels: the plain traffic of every mode and direction, for each kind of pages.
func peerPanels(r *Report) (panels []panel) {
	for _, pages := range []struct{ kind, title string }{{huge, "huge pages of 2 MiB"}, {ordinary, "ordinary pages of 4 KiB"}} {
		p := peerPanel(r, pages.kind)
		p.title = "60-byte frames, 1,024 flows, one core, " + pages.title + ": million packets per second"
		if p.groups != nil {
			panels = append(panels, p)
		}
	}
	return panels
}

// peerPanel is of one kind of pages, from the rows that have the most programs.
func peerPanel(r *Report, pages string) (p panel) {
	best := map[string]Row{}
	for _, row := range r.Rows {
		if row.Params == nil {
			continue
		}
		plain := plainParams
		plain.Mode, plain.Direction, plain.Pages = row.Params.Mode, row.Params.Direction, pages
		if *row.Params != plain {
			continue
		}
		group := plain.Mode + " " + plain.Direction
		if _, seen := best[group]; !seen {
			p.groups = append(p.groups, group)
		}
		if len(row.Series) > len(best[group].Series) {
			best[group] = row
		}
	}
	slices.Sort(p.groups)
	for i, group := range p.groups {
		for _, s := range best[group].Series {
			if colors[s.Name] != "" {
				c := p.curveOf(s.Name)
				c.points = append(c.points, at(float64(i), s))
			}
		}
	}
	return p
}

// sizePanels: one for each sweep over frame sizes. A mix has no size.
func sizePanels(r *Report) []panel {
	return sweepPanels(r, panel{title: "frame size", xlabel: "bytes of the VM's frame"},
		func(p Params) float64 { return p.Bytes }, func(p *Params) { p.Frame, p.Bytes = "60", 60 })
}

// recordPanels: one for each sweep over lookup records.
func recordPanels(r *Report) []panel {
	return sweepPanels(r, panel{title: "lookup records", xlabel: "lookup records, destinations uniformly random", log: true},
		func(p Params) float64 { return float64(p.Records) }, func(p *Params) { p.Records = plainParams.Records })
}

// sweepPanels draws lines over x, through the rows of a scenario that differ in
// nothing else, which is what same makes the same.
func sweepPanels(r *Report, like panel, x func(Params) float64, same func(*Params)) (panels []panel) {
	type sweep struct {
		scenario string
		Params
	}
	var order []sweep
	of := map[sweep][]Row{}
	for _, row := range r.Rows {
		if row.Params == nil || row.Params.Frame == "IMIX" {
			continue
		}
		s := sweep{row.Scenario, *row.Params}
		same(&s.Params)
		if of[s] == nil {
			order = append(order, s)
		}
		of[s] = append(of[s], row)
	}
	for _, s := range order {
		if len(of[s]) < 2 {
			continue
		}
		p := like
		p.title = s.Mode + " " + s.Direction
		if s.Flows != plainParams.Flows {
			p.title += ", " + counted(s.Flows, "flow")
		}
		if s.Pages == ordinary {
			p.title += ", " + onOrdinary
		}
		p.title += ": million packets per second over " + like.title
		for _, row := range of[s] {
			for _, series := range row.Series {
				if colors[series.Name] != "" {
					c := p.curveOf(series.Name)
					c.points = append(c.points, at(x(*row.Params), series))
				}
			}
		}
		panels = append(panels, p)
	}
	return panels
}

// Measures of a panel in pixels: the field that is drawn in, and what is around it.
const (
	fieldWidth, fieldHeight        = 620.0, 260.0
	marginLeft, marginTop          = 56.0, 40.0
	marginRight, marginBottom      = 24.0, 46.0
	legendHeight, footer, tickSize = 24.0, 8.0, 4.0
	captionLine                    = 13.0
	panelHeight                    = marginTop + fieldHeight + marginBottom + legendHeight
)

// draw draws panels below each other, and lines of text.
func draw(panels []panel, caption ...string) string {
	var s strings.Builder
	width, height := marginLeft+fieldWidth+marginRight, panelHeight*float64(len(panels))+footer+captionLine*float64(len(caption))
	fmt.Fprintf(&s, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" width="%g" height="%g" font-family="sans-serif" font-size="12" fill="#222">`+"\n", width, height, width, height)
	fmt.Fprintf(&s, `<rect width="%g" height="%g" fill="#fff"/>`+"\n", width, height)
	for i, p := range panels {
		fmt.Fprintf(&s, `<g transform="translate(%g %g)">`+"\n", marginLeft, panelHeight*float64(i)+marginTop)
		p.draw(&s)
		s.WriteString("</g>\n")
	}
	for i, c := range caption {
		text(&s, marginLeft, height-captionLine*(float64(len(caption)-i)-0.5), `font-size="9" fill="#777"`, c)
	}
	s.WriteString("</svg>\n")
	return s.String()
}

func text(s *strings.Builder, x, y float64, attributes, content string) {
	fmt.Fprintf(s, `<text x="%.1f" y="%.1f" %s>%s</text>`+"\n", x, y, attributes, html.EscapeString(content))
}

func line(s *strings.Builder, x1, y1, x2, y2 float64, color string) {
	fmt.Fprintf(s, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s"/>`+"\n", x1, y1, x2, y2, color)
}

// draw draws title, axes, what is measured, and the legend.
func (p panel) draw(s *strings.Builder) {
	text(s, 0, -16, `font-size="14" font-weight="bold"`, p.title)
	highest := 0.0
	for _, c := range p.curves {
		for _, at := range c.points {
			highest = max(highest, at.high)
		}
	}
	step := niceStep(highest)
	top := step * math.Ceil(highest/step)
	y := func(v float64) float64 { return fieldHeight * (1 - v/top) }
	for v := 0.0; v <= top+step/2; v += step {
		line(s, 0, y(v), fieldWidth, y(v), "#e4e7ec")
		text(s, -8, y(v)+4, `text-anchor="end"`, fmt.Sprintf("%g", v))
	}
	if p.groups != nil {
		p.bars(s, y)
	} else {
		p.lines(s, y)
	}
	line(s, 0, fieldHeight, fieldWidth, fieldHeight, "#222")
	text(s, fieldWidth/2, fieldHeight+36, `text-anchor="middle"`, p.xlabel)
	x := 0.0
	for _, c := range p.curves {
		fmt.Fprintf(s, `<rect x="%.1f" y="%.1f" width="12" height="12" fill="%s"/>`+"\n", x, fieldHeight+marginBottom, colors[c.name])
		text(s, x+17, fieldHeight+marginBottom+10.5, "", c.name)
		x += 34 + 6.6*float64(len(c.name))
	}
}

// bars draws a group for each name, with a whisker from lowest to highest.
func (p panel) bars(s *strings.Builder, y func(float64) float64) {
	slot := fieldWidth / float64(len(p.groups))
	for g, name := range p.groups {
		text(s, slot*(float64(g)+0.5), fieldHeight+18, `text-anchor="middle"`, name)
		var has []int // curves with a bar here
		for i, c := range p.curves {
			if slices.ContainsFunc(c.points, func(at xy) bool { return at.x == float64(g) }) {
				has = append(has, i)
			}
		}
		width := min(40, slot*0.8/float64(len(has)))
		left := slot*(float64(g)+0.5) - width*float64(len(has))/2
		for n, i := range has {
			c := p.curves[i]
			at := c.points[slices.IndexFunc(c.points, func(at xy) bool { return at.x == float64(g) })]
			x := left + width*float64(n)
			fmt.Fprintf(s, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`+"\n", x+1, y(at.y), width-2, fieldHeight-y(at.y), colors[c.name])
			line(s, x+width/2, y(at.low), x+width/2, y(at.high), "#222")
			text(s, x+width/2, y(at.high)-4, `text-anchor="middle" font-size="10"`, figure(at.y))
		}
	}
}

// lines draws curves with whiskers; their points, and only those, are marked on x.
func (p panel) lines(s *strings.Builder, y func(float64) float64) {
	var xs []float64
	for _, c := range p.curves {
		for _, at := range c.points {
			if !slices.Contains(xs, at.x) {
				xs = append(xs, at.x)
			}
		}
	}
	slices.Sort(xs)
	scale := func(v float64) float64 { return v }
	if p.log {
		scale = math.Log
	}
	low, high := scale(xs[0]), scale(xs[len(xs)-1])
	x := func(v float64) float64 { return 16 + (fieldWidth-32)*(scale(v)-low)/(high-low) }
	for _, v := range xs {
		line(s, x(v), fieldHeight, x(v), fieldHeight+tickSize, "#222")
		text(s, x(v), fieldHeight+18, `text-anchor="middle"`, grouped(int(v)))
	}
	for _, c := range p.curves {
		var path strings.Builder
		for i, at := range c.points {
			fmt.Fprintf(&path, "%c%.1f %.1f", "ML"[min(i, 1)], x(at.x), y(at.y))
			line(s, x(at.x), y(at.low), x(at.x), y(at.high), colors[c.name])
			fmt.Fprintf(s, `<circle cx="%.1f" cy="%.1f" r="3.5" fill="%s"/>`+"\n", x(at.x), y(at.y), colors[c.name])
		}
		fmt.Fprintf(s, `<path d="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", path.String(), colors[c.name])
	}
}

// niceStep is between grid lines: 1, 2 or 5 times a power of ten, four to eight
// lines in all.
func niceStep(highest float64) float64 {
	step := math.Pow(10, math.Floor(math.Log10(max(highest, 1e-9)/4)))
	for _, n := range []float64{1, 2, 5, 10} {
		if highest/(step*n) <= 8 {
			return step * n
		}
	}
	return step * 10
}
