package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// scenario is a file of perf/scenarios: traffic, and those that are measured with
// it. Keys that have several values are a sweep: every combination is a row, but for
// those with fewer flows than records, whose traffic would not meet every record.
type scenario struct {
	name string

	About     string           `toml:"about"` // in a line
	Mode      oneOrMore        `toml:"mode"`
	Direction oneOrMore        `toml:"direction"`
	Frame     oneOrMore        `toml:"frame"`   // bytes, or "IMIX"
	Flows     oneOrMore        `toml:"flows"`   // different frames
	Records   oneOrMore        `toml:"records"` // lookup records that they are spread over
	Cores     oneOrMore        `toml:"cores"`
	Queues    oneOrMore        `toml:"queues"` // that frames come by; 0: one to a core
	CA        oneOrMore        `toml:"ca"`     // version of the VMs' IP
	PA        oneOrMore        `toml:"pa"`     // and of the hosts'
	Pages     oneOrMore        `toml:"pages"`  // of all memory: "2M", "4K"
	Peers     []string         `toml:"peers"`
	Rounds    int              `toml:"rounds"`
	Goals     map[string]*Goal `toml:"goals"` // by peer: of pacad's ratio to it
	Self      []self           `toml:"self"`

	points []Params // of the sweep, in order
}

// self asks that every program is also compared with itself: with the point of
// the sweep that differs in the keys that are given.
type self struct {
	Flows   int   `toml:"flows"`
	Records int   `toml:"records"`
	Cores   int   `toml:"cores"`
	Goal    *Goal `toml:"goal"` // of pacad, where those keys have their last values
}

// oneOrMore are the values of a key that may be a sweep.
type oneOrMore []string

// UnmarshalTOML implements toml.Unmarshaler.
func (o *oneOrMore) UnmarshalTOML(v any) error {
	values, ok := v.([]any)
	if !ok {
		values = []any{v}
	}
	*o = nil
	for _, v := range values {
		switch v.(type) {
		case string, int64:
			*o = append(*o, fmt.Sprint(v))
		default:
			return fmt.Errorf("%v is no number or word", v)
		}
	}
	return nil
}

// readScenarios reads all files of a folder, in the order of their names. Pages are instead
// of their own, if any.
func readScenarios(dir string, quick bool, pages string) ([]part, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.toml"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s holds no scenarios", dir)
	}
	var all []part
	var faults []error
	for _, file := range files {
		s, err := readScenario(file, quick, pages)
		faults = append(faults, err)
		if err == nil {
			all = append(all, part{name: s.name, about: s.About, takes: s.takes, memory: s.memory, measure: s.measure})
		}
	}
	return all, errors.Join(faults...)
}

// readScenario reads one file; quick leaves the ends of a sweep, the middle of a long one, and
// one kind of pages. An error names the file and every key that is wrong in it.
func readScenario(file string, quick bool, pages string) (*scenario, error) {
	s := &scenario{
		name: strings.TrimSuffix(filepath.Base(file), ".toml"), Rounds: 5,
		Frame: oneOrMore{"60"}, Flows: oneOrMore{"1024"}, Records: oneOrMore{"1024"}, Cores: oneOrMore{"1"}, Queues: oneOrMore{"0"}, CA: oneOrMore{"4"}, PA: oneOrMore{"4"}, Pages: oneOrMore{huge},
	}
	meta, err := toml.DecodeFile(file, s)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var faults []error
	fault := func(key, format string, args ...any) {
		faults = append(faults, fmt.Errorf("%s: %s: %s", file, key, fmt.Sprintf(format, args...)))
	}
	for _, key := range meta.Undecoded() {
		fault(key.String(), "there is no such key")
	}
	s.checkKeys(fault)
	if pages != "" {
		s.Pages = oneOrMore{pages}
	}
	if quick {
		s.Pages = s.Pages[:1]
		for _, o := range []*oneOrMore{&s.Frame, &s.Flows, &s.Records, &s.Cores, &s.CA, &s.PA} {
			switch v := *o; {
			case len(v) > 3:
				*o = oneOrMore{v[0], v[len(v)/2], v[len(v)-1]}
			case len(v) > 2:
				*o = oneOrMore{v[0], v[2]}
			}
		}
	}
	if len(faults) == 0 { // or the points are nonsense
		s.expand(fault)
	}
	return s, errors.Join(faults...)
}

// checkKeys is what each key tells by itself.
func (s *scenario) checkKeys(fault func(key, format string, args ...any)) {
	if s.About == "" {
		fault("about", "is missing; say in a line what is measured")
	}
	words := func(key string, values oneOrMore, good ...string) {
		if len(values) == 0 && key != "peers" { // of those there may be none
			fault(key, "is missing; one or more of %s", strings.Join(good, ", "))
		}
		for _, v := range values {
			if !slices.Contains(good, v) {
				fault(key, "%q is none of %s", v, strings.Join(good, ", "))
			}
		}
	}
	numbers := func(key string, values oneOrMore, low, high int) {
		for _, v := range values {
			if n, err := strconv.Atoi(v); err != nil || n < low || n > high {
				fault(key, "%s is no number from %d to %d", v, low, high)
			}
		}
	}
	words("mode", s.Mode, "nvgre", "rewrite")
	words("direction", s.Direction, "egress", "ingress")
	words("ca", s.CA, "4", "6")
	words("pa", s.PA, "4", "6")
	words("pages", s.Pages, huge, ordinary)
	numbers("frame", slices.DeleteFunc(slices.Clone(s.Frame), func(v string) bool { return v == "IMIX" }), smallest(4), 1514)
	numbers("flows", s.Flows, 1, 1<<20)
	numbers("records", s.Records, 1, 1<<22)
	numbers("cores", s.Cores, 1, 64)
	numbers("queues", s.Queues, 0, 64)
	numbers("rounds", oneOrMore{strconv.Itoa(s.Rounds)}, 1, 1000)
	words("peers", s.Peers, peerNames()...)
	for peer, goal := range s.Goals {
		if !slices.Contains(s.Peers, peer) {
			fault("goals", "%q is none of the peers", peer)
		}
		goal.check("goals."+peer, fault)
	}
	for _, own := range s.Self {
		if own.base(Params{}) == (Params{}) {
			fault("self", "takes flows, records or cores, of a point of the sweep")
		}
		own.Goal.check("self.goal", fault)
	}
}

func (g *Goal) check(key string, fault func(key, format string, args ...any)) {
	if g != nil && (g.Hold <= 0 || g.Aim < g.Hold) {
		fault(key, "wants hold and aim, and an aim is no less than what is held to")
	}
}

// expand makes the points of the sweep.
func (s *scenario) expand(fault func(key, format string, args ...any)) {
	s.points = []Params{{}}
	for _, key := range []struct {
		values oneOrMore
		set    func(p *Params, v string, n int)
	}{
		{s.Pages, func(p *Params, v string, _ int) { p.Pages = v }},
		{s.Mode, func(p *Params, v string, _ int) { p.Mode = v }},
		{s.Direction, func(p *Params, v string, _ int) { p.Direction = v }},
		{s.CA, func(p *Params, _ string, n int) { p.CA = n }},
		{s.PA, func(p *Params, _ string, n int) { p.PA = n }},
		{s.Cores, func(p *Params, _ string, n int) { p.Cores = n }},
		{s.Queues, func(p *Params, _ string, n int) { p.Queues = n }},
		{s.Flows, func(p *Params, _ string, n int) { p.Flows = n }},
		{s.Records, func(p *Params, _ string, n int) { p.Records = n }},
		{s.Frame, func(p *Params, v string, _ int) { p.Frame = v }},
	} {
		var next []Params
		for _, p := range s.points {
			for _, v := range key.values {
				n, _ := strconv.Atoi(v)
				key.set(&p, v, n)
				next = append(next, p)
			}
		}
		s.points = next
	}
	s.points = slices.DeleteFunc(s.points, func(p Params) bool { return p.Flows < p.Records })
	if len(s.points) == 0 {
		fault("flows", "are fewer than records")
	}
	for i := range s.points {
		p := &s.points[i]
		p.Bytes = p.average()
		if p.Mode == "rewrite" && p.CA != p.PA {
			fault("pa", "rewrite puts PAs in the place of CAs: they are of one version")
		}
		if p.Queues > p.Cores {
			fault("queues", "are more than cores")
		}
		if p.Frame != "IMIX" && p.size(0) < smallest(p.CA) {
			fault("frame", "%s bytes do not hold IPv6 and UDP; at least %d", p.Frame, smallest(6))
		}
	}
	for _, own := range s.Self {
		if !slices.ContainsFunc(s.points, func(p Params) bool { return own.base(p) == p }) {
			fault("self", "is no point of the sweep")
		}
	}
}

// base is the point that p is compared with.
func (s self) base(p Params) Params {
	for _, key := range []struct{ of, to *int }{{&p.Flows, &s.Flows}, {&p.Records, &s.Records}, {&p.Cores, &s.Cores}} {
		if *key.to != 0 {
			*key.of = *key.to
		}
	}
	return p
}

// name is what the point is called beside others.
func (s self) name() string {
	var words []string
	for _, key := range []struct {
		n     int
		thing string
	}{{s.Flows, "flow"}, {s.Records, "record"}, {s.Cores, "core"}} {
		if key.n != 0 {
			words = append(words, counted(key.n, key.thing))
		}
	}
	return strings.Join(words, ", ")
}

// goalAt is the goal of a point; most have none.
func (s self) goalAt(p, last Params) *Goal {
	if s.base(last) == last || s.Flows != 0 && p.Flows != last.Flows || s.Records != 0 && p.Records != last.Records || s.Cores != 0 && p.Cores != last.Cores {
		return nil
	}
	return s.Goal
}

// what names a point within any scenario; the names stay the same from report to
// report.
func (p Params) what() string {
	s := []string{p.Mode + " " + p.Direction, p.Frame + " B", counted(p.Cores, "core")}
	if p.Frame == "IMIX" {
		s[1] = p.Frame
	}
	if p.Queues != 0 {
		s = append(s, counted(p.Queues, "queue"))
	}
	if p.Flows != 1024 || p.Records != 1024 {
		s = append(s, counted(p.Flows, "flow"), counted(p.Records, "record"))
	}
	if p.CA != 4 || p.PA != 4 {
		s = append(s, fmt.Sprintf("IPv%d in IPv%d", p.CA, p.PA))
	}
	if p.Pages == ordinary {
		s = append(s, onOrdinary)
	}
	return strings.Join(s, ", ")
}

// onOrdinary ends the name of what was measured on such pages.
const onOrdinary = "4 KiB pages"

// counted is how many there are of a thing.
func counted(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return grouped(n) + " " + thing
}

// grouped is a number as people write it.
func grouped(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
