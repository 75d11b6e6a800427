// Tally reads the output of one or more `go test -json` runs, prints a line per
// package and the full output of what failed, and closes with how many tests
// passed, failed and were skipped. It exits 1 if anything failed, or, with
// -strict, was skipped.
//
// With -conformance FILE it also says how many rules of that table are shown by
// tests that passed. The runs were all tests then: one that the table names and
// that did not run is a failure.
//
// Part of ci: nothing imports it.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
)

// event is what go test -json writes, one on a line; see `go doc test2json`.
type event struct {
	Action     string
	Package    string
	ImportPath string // of a build event, where Package is empty
	Test       string
	Elapsed    float64
	Output     string
}

type tally struct {
	passed, failed, skipped int

	ended        map[[2]string]string   // how each test ended, worst of all runs
	output       map[[2]string][]string // by package and test, until its end
	failedInside map[string]bool        // packages that a failed test already speaks for
	w            io.Writer
}

func main() {
	strict := flag.Bool("strict", false, "a skipped test is a failure")
	conformance := flag.String("conformance", "", "table of rules and the tests that show them")
	flag.Parse()

	t := newTally(os.Stdout)
	err := t.read(os.Stdin)
	if err == nil && *conformance != "" {
		var table []byte
		if table, err = os.ReadFile(*conformance); err == nil {
			t.conform(string(table))
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "tally:", err)
		os.Exit(1)
	}
	bad := t.failed > 0 || *strict && t.skipped > 0
	if t.passed == 0 && !bad {
		fmt.Fprintln(t.w, "no test ran")
		bad = true
	}
	fmt.Fprintf(t.w, "%d passed, %d failed, %d skipped\n", t.passed, t.failed, t.skipped)
	if bad {
		os.Exit(1)
	}
}

func newTally(w io.Writer) *tally {
	return &tally{ended: map[[2]string]string{}, output: map[[2]string][]string{}, failedInside: map[string]bool{}, w: w}
}

func (t *tally) read(r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Fprintln(t.w, lines.Text()) // go itself speaking, not a test
			continue
		}
		t.add(e)
	}
	return lines.Err()
}

func (t *tally) add(e event) {
	key := [2]string{e.Package, e.Test}
	switch e.Action {
	case "output":
		t.output[key] = append(t.output[key], e.Output)
		return
	case "build-output":
		fmt.Fprint(t.w, e.Output)
		return
	case "pass", "fail", "skip":
	default:
		return
	}

	if e.Test == "" {
		t.endPackage(e)
	} else {
		t.endTest(e)
	}
	delete(t.output, key)
}

func (t *tally) endTest(e event) {
	key := [2]string{e.Package, e.Test}
	out := strings.Join(t.output[key], "")
	if before := t.ended[key]; before != "fail" && before != "pass" || e.Action == "fail" {
		t.ended[key] = e.Action
	}
	switch e.Action {
	case "pass":
		t.passed++
	case "skip":
		t.skipped++
		fmt.Fprintf(t.w, "skip  %s %s\n%s", e.Package, e.Test, out)
	case "fail":
		t.failed++
		t.failedInside[e.Package] = true
		fmt.Fprintf(t.w, "FAIL  %s %s\n%s", e.Package, e.Test, out)
	}
}

func (t *tally) endPackage(e event) {
	switch e.Action {
	case "pass":
		fmt.Fprintf(t.w, "ok    %-40s %6.1fs\n", e.Package, e.Elapsed)
	case "fail":
		fmt.Fprintf(t.w, "FAIL  %s\n", e.Package)
		if !t.failedInside[e.Package] { // did not build, or died outside any test
			t.failed++
			for key, out := range t.output {
				if key[0] == e.Package {
					fmt.Fprint(t.w, strings.Join(out, ""))
				}
			}
		}
	}
}

var row = regexp.MustCompile(`(?m)^\| ([A-Z]\d+) \| [^|]* \| ([^|]*) \| ([^|]*) \|$`)

// conform holds a table, as docs/conformance.md, to the tests that ran. Its rows
// are rule, line, tests as "folder: TestA, TestB; folder: TestC", result.
func (t *tally) conform(table string) {
	rules := row.FindAllStringSubmatch(table, -1)
	shown, skipped, apart := 0, 0, 0
	for _, r := range rules {
		id, tests, result := r[1], r[2], r[3]
		passed := 0
		for _, group := range strings.Split(tests, "; ") {
			folder, names, ok := strings.Cut(group, ": ")
			if !ok {
				continue // none
			}
			for _, name := range strings.Split(names, ", ") {
				switch how := t.ended[[2]string{"paca/" + folder, name}]; how {
				case "pass":
					passed++
				case "":
					t.failed++
					fmt.Fprintf(t.w, "FAIL  %s is to be shown by %s in %s, which did not run\n", id, name, folder)
				case "fail": // counted and shown where it failed
					fmt.Fprintf(t.w, "FAIL  %s is not shown: %s in %s failed\n", id, name, folder)
					passed = -1 << 30
				}
			}
		}
		switch {
		case result != "pass":
			apart++
		case passed > 0:
			shown++
		case passed == 0:
			skipped++
		}
	}
	fmt.Fprintf(t.w, "conformance: %d rules, %d shown by passing tests, %d different or not applicable", len(rules), shown, apart)
	if skipped > 0 {
		fmt.Fprintf(t.w, ", %d whose tests were skipped or are missing", skipped)
	}
	fmt.Fprintln(t.w)
}
