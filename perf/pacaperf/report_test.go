package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write testdata anew")

// fixed is a report with something of everything.
func fixed() *Report {
	r := &Report{
		Machine: Machine{CPU: "A <CPU>", Cores: 2, Memory: 1024, Kernel: "6.1", DPDK: "22.11", OVS: "3.1.0", Go: "go1.26", Paca: "v1"},
		Command: "make perf",
		Date:    time.Date(2026, 11, 22, 13, 0, 0, 0, time.UTC),
	}
	packets := func(scenario string, p Params, series ...Series) *Row {
		p.Bytes = p.average()
		row := Row{Scenario: scenario, What: p.what(), Unit: "Mpps", Params: &p, Series: series}
		for _, s := range series[1:] {
			row.compare(series[0].Name, s.Name, nil)
		}
		r.Rows = append(r.Rows, row)
		return &r.Rows[len(r.Rows)-1]
	}
	p := plainParams
	row := packets("nvgre-egress", p, Series{"pacad", []float64{20, 22, 18}}, Series{"testpmd mac", []float64{40, 40, 40}}, Series{"OVS-DPDK", []float64{8, 8, 10}})
	row.Ratios[0].Goal, row.Ratios[1].Goal = &Goal{0.6, 0.9}, &Goal{1.5, 2.2}
	for _, frame := range []string{"60", "508", "1514", "IMIX"} {
		p := p
		p.Frame = frame
		packets("sizes", p, Series{"pacad", []float64{20, 22, 18}}, Series{"testpmd mac", []float64{40, 40, 40}})
	}
	for _, n := range []int{1024, 65536, 1000000} {
		p := p
		p.Flows, p.Records = 1000000, n
		row := packets("records", p, Series{"pacad", []float64{10}}, Series{"testpmd io", []float64{30}})
		row.Notes, row.Disturbed = []string{"a note"}, 1
		if n == 1000000 {
			row.Series = append(row.Series, Series{"pacad, 1,024 records", []float64{16}})
			row.compare("pacad", "pacad, 1,024 records", &Goal{0.35, 0.6})
		}
	}
	r.Rows = append(r.Rows,
		Row{Scenario: "latency", What: "p99.9 at 50 %", Unit: "µs", Less: true, Series: []Series{{"pacad", []float64{30, 31}}, {"testpmd macswap", []float64{20, 20}}}},
		Row{Scenario: "scale", What: "resident", Unit: "MiB", Less: true, Goal: &Goal{1536, 512}, Series: []Series{{"pacad", []float64{1234.4}}}},
		Row{Scenario: "scale", What: "lost", Unit: "packets", Less: true, Goal: &Goal{0, 0}, Series: []Series{{"pacad", []float64{0}}}})
	latency := &r.Rows[len(r.Rows)-3]
	latency.compare("pacad", "testpmd macswap", &Goal{2, 1.2})
	return r
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	if err := writeTable(&b, fixed()); err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/report.md"
	if *update {
		if err := os.WriteFile(golden, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want := read(golden); b.String() != want {
		t.Errorf("got\n%s\nwant, of %s,\n%s", b.String(), golden, want)
	}
	for line := range strings.SplitSeq(b.String(), "\n") { // Markdown wants as many cells in every line
		if strings.HasPrefix(line, "|") && !slices.Contains([]int{6, 7, 9}, strings.Count(line, "|")) {
			t.Errorf("%d bars in %s", strings.Count(line, "|"), line)
		}
	}
}

func TestFigure(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.01234: "0.0123", 0.85: "0.85", 2: "2", 2.346: "2.35", 23.45: "23.4", 234.4: "234", 999.7: "1,000", 12345.6: "12,346", -2.5: "-2.5"} {
		if got := figure(v); got != want {
			t.Errorf("%v is written %s, want %s", v, got, want)
		}
	}
}

// elements counts the elements of a drawing, which is well-formed, and gathers its
// words.
func elements(t *testing.T, svg string) (n map[string]int, words string) {
	t.Helper()
	n = map[string]int{}
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return n, words
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, svg)
		}
		switch token := token.(type) {
		case xml.StartElement:
			n[token.Name.Local]++
		case xml.CharData:
			words += string(token) + "\n"
		}
	}
}

func TestPlots(t *testing.T) {
	dir := t.TempDir()
	if err := save(dir, fixed()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		file                 string
		bars, points, curves int
		words                []string
	}{
		{"peers.svg", 3, 0, 3, []string{"nvgre egress", "pacad", "testpmd mac", "OVS-DPDK", "20\n", "A <CPU>"}},
		{"sizes.svg", 0, 3 * 2, 2, []string{"nvgre egress: million packets per second over frame size", "508", "1,514"}}, // a mix has no size
		{"records.svg", 0, 3 * 2, 2, []string{"nvgre egress, 1,000,000 flows: million packets per second over lookup records", "65,536"}},
	} {
		n, words := elements(t, read(filepath.Join(dir, c.file)))
		// The ground, and a swatch for each curve.
		if n["rect"] != 1+c.curves+c.bars || n["circle"] != c.points {
			t.Errorf("%s: %v, want %d bars, %d points, %d curves", c.file, n, c.bars, c.points, c.curves)
		}
		for _, w := range c.words {
			if !strings.Contains(words, w) {
				t.Errorf("%s does not say %q", c.file, w)
			}
		}
	}
	again, err := readReport(filepath.Join(dir, "latest.json"))
	if err != nil || len(again.Rows) != len(fixed().Rows) {
		t.Errorf("%v, %v", again, err)
	}
	// A report without packets draws nothing.
	empty := t.TempDir()
	if err := writePlots(empty, &Report{Rows: []Row{{Scenario: "scale", Series: []Series{{"pacad", []float64{1}}}}}}); err != nil {
		t.Error(err)
	}
	if files, _ := os.ReadDir(empty); len(files) > 0 {
		t.Errorf("drew %v", files)
	}
}

// A bar is as high as its figure, and inside.
func TestBars(t *testing.T) {
	bar := regexp.MustCompile(`<rect x="[0-9.]+" y="([0-9.-]+)" width="[0-9.]+" height="([0-9.]+)" fill`)
	var heights []float64
	for _, m := range bar.FindAllStringSubmatch(draw(peerPanels(fixed()), ""), -1) {
		y, _ := strconv.ParseFloat(m[1], 64)
		height, _ := strconv.ParseFloat(m[2], 64)
		if y < 0 || y+height > fieldHeight+1 {
			break // the legend's
		}
		heights = append(heights, height)
	}
	// 20, 40 and 8 Mpps.
	if len(heights) != 3 || math.Abs(heights[0]/heights[1]-0.5) > 0.01 || math.Abs(heights[2]/heights[1]-0.2) > 0.01 || heights[1] < fieldHeight/2 {
		t.Errorf("%v", heights)
	}
}

func TestScale(t *testing.T) {
	for _, highest := range []float64{0.004, 0.9, 1, 7, 8.1, 42, 99, 12345} {
		step := niceStep(highest)
		if n := highest / step; n < 2 || n > 8 {
			t.Errorf("up to %v in steps of %v", highest, step)
		}
	}
}

// What the repository shows is drawn from the figures beside it, which are of one run.
func TestResults(t *testing.T) {
	r, err := readReport("../results/latest.json")
	if err != nil {
		t.Fatal("nothing is shown: make perf; ", err)
	}
	again := t.TempDir()
	if err := save(again, r); err != nil {
		t.Fatal(err)
	}
	drawn, shown := files(t, again), files(t, "../results")
	if !slices.Equal(drawn, shown) {
		t.Errorf("there is %v, but of that report there is %v", shown, drawn)
	}
	for _, name := range drawn {
		if read(filepath.Join(again, name)) != read(filepath.Join("../results", name)) {
			t.Errorf("%s is not drawn from latest.json: go run ./perf/pacaperf -out perf/results show perf/results/latest.json", name)
		}
	}
}

// files names what is in a folder.
func files(t *testing.T, folder string) (names []string) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}
