package ci

import (
	"fmt"
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A test vouches for the rules that its name begins with: TestL22Spoofed,
// TestM6_M8TooBig.
var (
	named = regexp.MustCompile(`^Test((?:[A-Z]\d+_)*[A-Z]\d+)`)
	late  = regexp.MustCompile(`[a-z_](?:[LAMNWRO]\d+)`) // where nobody looks for it
)

// vouching finds the test functions of the repository that name rules, as
// folder.Function, by rule.
func vouching(t *testing.T) map[string][]string {
	byRule := map[string][]string{}
	known := map[string]bool{}
	for _, r := range rules {
		known[r.id] = true
	}
	for _, s := range sources(t) {
		for _, d := range s.syntax.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || !s.test || f.Recv != nil || !strings.HasPrefix(f.Name.Name, "Test") {
				continue
			}
			name := f.Name.Name
			begins := named.FindString(name)
			if begins == "" {
				begins = "Test"
			}
			if m := late.FindString(name[len(begins)-1:]); m != "" {
				t.Errorf("%s: %s names %s behind other words: rules come first, joined by _", s.path, name, m[1:])
			}
			if begins == "Test" {
				continue
			}
			for _, id := range strings.Split(begins[len("Test"):], "_") {
				if n, _ := strconv.Atoi(id[1:]); !known[id] && (n < 1 || n > numbered[id[0]]) {
					t.Errorf("%s: %s names %s, which is no rule", s.path, name, id)
				}
				byRule[id] = append(byRule[id], s.dir+"."+name)
			}
		}
	}
	for _, tests := range byRule {
		slices.Sort(tests)
	}
	return byRule
}

// Every rule has a row that says what paca makes of it; every rule that is
// implemented has a test with its number; docs/conformance.md is that table. That
// the tests it names pass is for ci/tally to say, which sees them run.
func TestConformance(t *testing.T) {
	byRule := vouching(t)
	var b strings.Builder
	b.WriteString(`# Conformance

What paca makes of the rules for forwarding packets: the wire format (W), forwarding (L), ARP, neighbor discovery, DHCP and broadcast (A), MTU (M),
messages between hosts (N), IP rewrite (R), and offloads (O). A test shows a rule if its name begins with the rule's number. ` + "`make test`" + ` fails if a test of this table
fails, or is missing.

| rule | in a line | tests | result |
|---|---|---|---|
`)
	for _, r := range rules {
		result := "pass"
		switch r.state {
		case different:
			result = "different: " + r.why
		case notApplicable:
			result = "not applicable: " + r.why
		default:
			if r.why != "" {
				t.Errorf("%s is implemented: it needs no excuse", r.id)
			}
			if len(byRule[r.id]) == 0 {
				result = "no test"
				t.Errorf("%s (%s) is implemented, but no test names it", r.id, r.line)
			}
		}
		if r.state != implemented && r.why == "" {
			t.Errorf("%s does not say why it is not as the specification has it", r.id)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.id, r.line, list(byRule[r.id]), result)
	}

	path := filepath.Join(root, "docs/conformance.md")
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != b.String() {
		t.Errorf("docs/conformance.md is not what rules and tests say (%v): go test ./ci -run Conformance -update", err)
	}
}

// list puts the tests of one folder behind its name.
func list(tests []string) string {
	var all []string
	folder := ""
	for _, test := range tests {
		dir, name, _ := strings.Cut(test, ".")
		if dir == folder {
			all[len(all)-1] += ", " + name
			continue
		}
		folder = dir
		all = append(all, dir+": "+name)
	}
	return strings.Join(all, "; ")
}

// The table has every rule once, in the order of the specification, whose numbering
// has gaps.
func TestRulesAreWhole(t *testing.T) {
	var want []string
	for _, s := range []struct {
		letter string
		ranges [][2]int
	}{
		{"W", [][2]int{{1, 30}}},
		{"L", [][2]int{{1, 18}, {20, 25}, {30, 32}, {40, 40}}},
		{"A", [][2]int{{1, 17}, {20, 24}}},
		{"M", [][2]int{{1, 14}}},
		{"N", [][2]int{{1, 12}}},
		{"R", [][2]int{{1, 25}}},
		{"O", [][2]int{{1, 11}, {20, 35}}},
	} {
		for _, r := range s.ranges {
			for n := r[0]; n <= r[1]; n++ {
				want = append(want, fmt.Sprint(s.letter, n))
			}
		}
	}
	var got []string
	for _, r := range rules {
		got = append(got, r.id)
		if r.line == "" || strings.ContainsAny(r.line+r.why, "|\n") {
			t.Errorf("%s: %q, %q", r.id, r.line, r.why)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("rules\n%v, want\n%v", got, want)
	}
}
