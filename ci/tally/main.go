// Tally reads the output of one or more `go test -json` runs, prints a line per
// package and the full output of what failed, and closes with how many tests
// passed, failed and were skipped. It exits 1 if anything failed, or, with
// -strict, was skipped.
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

	output       map[[2]string][]string // by package and test, until its end
	failedInside map[string]bool        // packages that a failed test already speaks for
	w            io.Writer
}

func main() {
	strict := flag.Bool("strict", false, "a skipped test is a failure")
	flag.Parse()

	t := &tally{output: map[[2]string][]string{}, failedInside: map[string]bool{}, w: os.Stdout}
	if err := t.read(os.Stdin); err != nil {
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
	out := strings.Join(t.output[[2]string{e.Package, e.Test}], "")
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
