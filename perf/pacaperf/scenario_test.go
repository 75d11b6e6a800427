package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const good = `about = "a test"
mode = "nvgre"
direction = "egress"
peers = ["testpmd mac"]
`

func scenarioFrom(t *testing.T, text string, quick bool) (*scenario, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "bad.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return readScenario(file, quick, "")
}

// Every fault names the file and the key.
func TestScenarioFaults(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{good + `frames = 60`, "bad.toml: frames: there is no such key"},
		{good + "[goals.\"testpmd mac\"]\nhold = 1\naim = 2\nhope = 3", `bad.toml: goals."testpmd mac".hope: there is no such key`},
		{strings.Replace(good, "about", "# about", 1), "bad.toml: about: is missing"},
		{strings.Replace(good, "nvgre", "vxlan", 1), `bad.toml: mode: "vxlan" is none of nvgre, rewrite`},
		{strings.Replace(good, "mode", "# mode", 1), "bad.toml: mode: is missing"},
		{strings.Replace(good, "mac", "macs", 1), `bad.toml: peers: "testpmd macs" is none of`},
		{good + `frame = 59`, "bad.toml: frame: 59 is no number from 60 to 1514"},
		{good + `frame = "imix"`, "bad.toml: frame: imix is no number"},
		{good + `frame = [60, 1.5]`, `"frame"): 1.5 is no number or word`},
		{good + "frame = 60\nca = 6", "bad.toml: frame: 60 bytes do not hold IPv6 and UDP; at least 64"},
		{good + `flows = 0`, "bad.toml: flows: 0 is no number"},
		{good + `records = 2000`, "bad.toml: flows: are fewer than records"},
		{good + `cores = -1`, "bad.toml: cores: -1 is no number"},
		{good + `queues = 2`, "bad.toml: queues: are more than cores"},
		{good + `rounds = 0`, "bad.toml: rounds: 0 is no number"},
		{good + `rounds = "many"`, `bad.toml: toml: line 5 (last key "rounds")`},
		{good + `pages = "1G"`, `bad.toml: pages: "1G" is none of 2M, 4K`},
		{good + `ca = 5`, `bad.toml: ca: "5" is none of 4, 6`},
		{strings.Replace(good, "nvgre", "rewrite", 1) + `pa = 6`, "bad.toml: pa: rewrite puts PAs in the place of CAs"},
		{good + "[goals]\n\"testpmd io\" = { hold = 1, aim = 2 }", `bad.toml: goals: "testpmd io" is none of the peers`},
		{good + "[goals]\n\"testpmd mac\" = { hold = 2, aim = 1 }", "bad.toml: goals.testpmd mac: wants hold and aim"},
		{good + "[[self]]\ngoal = { hold = 1, aim = 2 }", "bad.toml: self: takes flows, records or cores"},
		{good + "[[self]]\ncores = 2", "bad.toml: self: is no point of the sweep"},
		{good + `frame = `, "bad.toml: toml: line 5"},
	} {
		_, err := scenarioFrom(t, c.text, false)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v\nis not %q, of\n%s", err, c.want, c.text)
		}
	}
	if _, err := scenarioFrom(t, good, false); err != nil {
		t.Errorf("nothing is wrong: %v", err)
	}
}

// The scenarios of the project are good, in full and in short.
func TestScenarios(t *testing.T) {
	for _, quick := range []bool{false, true} {
		all, err := readScenarios("../scenarios", quick, "")
		if err != nil || len(all) < 8 {
			t.Errorf("%d scenarios, %v", len(all), err)
		}
	}
}

func names(points []Params) (names []string) {
	for _, p := range points {
		names = append(names, p.what())
	}
	return names
}

func TestSweep(t *testing.T) {
	text := good + "flows = [1024, 5000]\nrecords = [1_024, 5_000]\nframe = [60, 124, \"IMIX\"]\ncores = [1, 2]\n[[self]]\nrecords = 1024\ngoal = { hold = 0.5, aim = 0.6 }\n[[self]]\ncores = 1\nflows = 1024\nrecords = 1024"
	s, err := scenarioFrom(t, text, false)
	if err != nil {
		t.Fatal(err)
	}
	// Fewer flows than records are no point.
	if len(s.points) != 3*2*3 {
		t.Errorf("%d points: %v", len(s.points), names(s.points))
	}
	first := Params{Mode: "nvgre", Direction: "egress", Frame: "60", Bytes: 60, Flows: 1024, Records: 1024, Cores: 1, CA: 4, PA: 4, Pages: huge}
	if s.points[0] != first {
		t.Errorf("%+v is not %+v", s.points[0], first)
	}
	last := s.points[len(s.points)-1]
	if got, want := last.what(), "nvgre egress, IMIX, 2 cores, 5,000 flows, 5,000 records"; got != want {
		t.Errorf("%q is not %q", got, want)
	}
	if base := s.Self[0].base(last); base.Records != 1024 || base.Flows != 5000 || base.Cores != 2 {
		t.Errorf("%+v", base)
	}
	if base, want := s.Self[1].base(last), (Params{Mode: "nvgre", Direction: "egress", Frame: "IMIX", Bytes: last.Bytes, Flows: 1024, Records: 1024, Cores: 1, CA: 4, PA: 4, Pages: huge}); base != want {
		t.Errorf("%+v is not %+v", base, want)
	}
	if got := s.Self[1].name(); got != "1,024 flows, 1,024 records, 1 core" {
		t.Error(got)
	}
	goals := 0
	for _, p := range s.points {
		if s.Self[0].goalAt(p, last) != nil {
			goals++
			if p.Records != 5000 {
				t.Errorf("a goal at %s", p.what())
			}
		}
	}
	if goals != 6 {
		t.Errorf("%d points have a goal, want those with the most records", goals)
	}

	if s, err := scenarioFrom(t, good+`pages = ["2M", "4K"]`, false); err != nil || len(s.points) != 2 || s.points[1].Pages != ordinary {
		t.Errorf("%v, %v", names(s.points), err)
	}
	if s, err := scenarioFrom(t, good+`pages = ["2M", "4K"]`, true); err != nil || len(s.points) != 1 {
		t.Errorf("%v, %v", names(s.points), err)
	}
	if s, err = scenarioFrom(t, text, true); err != nil || len(s.points) != 3*2*2 {
		t.Errorf("%v in short: %v", err, names(s.points))
	}
	whats := names(s.points)
	slices.Sort(whats)
	if len(slices.Compact(whats)) != len(s.points) {
		t.Errorf("two points have one name: %v", whats)
	}
}

// A name tells points apart, whatever they differ in.
func TestWhat(t *testing.T) {
	seen := map[string]bool{}
	for _, change := range []func(*Params){
		func(*Params) {},
		func(p *Params) { p.Mode = "rewrite" },
		func(p *Params) { p.Direction = "ingress" },
		func(p *Params) { p.Frame = "124" },
		func(p *Params) { p.Frame = "IMIX" },
		func(p *Params) { p.Flows = 1000 },
		func(p *Params) { p.Records = 1 },
		func(p *Params) { p.Cores = 2 },
		func(p *Params) { p.Cores, p.Queues = 2, 1 },
		func(p *Params) { p.CA = 6 },
		func(p *Params) { p.PA = 6 },
		func(p *Params) { p.Pages = ordinary },
	} {
		p := plainParams
		change(&p)
		if seen[p.what()] {
			t.Errorf("two are called %q", p.what())
		}
		seen[p.what()] = true
	}
}

func TestChoose(t *testing.T) {
	all := []part{{name: "a"}, {name: "b"}, {name: "c"}}
	if got, err := choose(all, []string{"c", "a"}); err != nil || len(got) != 2 || got[0].name != "c" || got[1].name != "a" {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := choose(all, nil); err != nil || len(got) != 3 {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := choose(all, []string{"d"}); err == nil || !strings.Contains(err.Error(), `"d"`) {
		t.Error(err)
	}
}

func TestCores(t *testing.T) {
	b := &bench{cores: []int{1, 0}}
	if forwards, control, err := b.forwarding(1); err != nil || !slices.Equal(forwards, []int{1}) || control != 0 {
		t.Errorf("%v, %d, %v", forwards, control, err)
	}
	if forwards, control, err := b.forwarding(2); err != nil || !slices.Equal(forwards, []int{1, 0}) || control != 0 {
		t.Errorf("%v, %d, %v", forwards, control, err)
	}
	if _, _, err := b.forwarding(3); err == nil {
		t.Error("three of two cores forward")
	}
	if own, err := ownCores(); err != nil || own[len(own)-1] != slices.Min(own) || !slices.IsSorted(own[:len(own)-1]) {
		t.Errorf("%v, %v: the first core comes last", own, err)
	}
	if cores, err := parseCores("3,1"); err != nil || !slices.Equal(cores, []int{3, 1}) {
		t.Errorf("%v, %v", cores, err)
	}
	for _, bad := range []string{"", "1,", "1,1", "-1", "a"} {
		if _, err := parseCores(bad); err == nil {
			t.Errorf("%q is a list of cores", bad)
		}
	}
}

func TestGrouped(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", -1000: "-1,000", -999: "-999", 1234567: "1,234,567"} {
		if got := grouped(n); got != want {
			t.Errorf("%d is written %q", n, got)
		}
	}
}

// Commands that perf/README.md shows have flags and names that there are.
func TestREADME(t *testing.T) {
	all, err := readScenarios("../scenarios", false, "")
	if err != nil {
		t.Fatal(err)
	}
	all = append(all, parts...)
	shown := 0
	for line := range strings.Lines(read("../README.md")) {
		command, _, _ := strings.Cut(line, "#")
		words := strings.Fields(command)
		if len(words) == 0 || words[0] != "bin/pacaperf" {
			continue
		}
		shown++
		_, names, err := parseFlags(words[1:])
		if err == nil && (len(names) == 0 || names[0] != "list" && names[0] != "compare") {
			_, err = choose(all, names)
		}
		if err != nil {
			t.Errorf("%s: %v", strings.TrimSpace(line), err)
		}
	}
	if shown == 0 {
		t.Error("it shows none")
	}
}
