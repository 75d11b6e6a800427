package main

import (
	"strings"
	"testing"
)

func TestTally(t *testing.T) {
	const stream = `
{"Action":"output","Package":"p","Test":"TestA","Output":"noise\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestB","Output":"b_test.go:1: wrong\n"}
{"Action":"fail","Package":"p","Test":"TestB"}
{"Action":"skip","Package":"p","Test":"TestC"}
{"Action":"fail","Package":"p"}
{"ImportPath":"q","Action":"build-output","Output":"q.go:1: syntax error\n"}
{"Action":"fail","Package":"q"}
{"Action":"skip","Package":"no-tests"}
go: a word of its own`
	var out strings.Builder
	tl := newTally(&out)
	if err := tl.read(strings.NewReader(stream)); err != nil {
		t.Fatal(err)
	}
	// p fails through TestB; q, which has no test that failed, counts itself.
	if tl.passed != 1 || tl.failed != 2 || tl.skipped != 1 {
		t.Errorf("%d passed, %d failed, %d skipped; want 1, 2, 1", tl.passed, tl.failed, tl.skipped)
	}
	for _, want := range []string{"b_test.go:1: wrong", "q.go:1: syntax error", "go: a word of its own"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("output lacks %q:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "noise") {
		t.Error("output of a test that passed is shown")
	}
}

// A table of rules, held to a run: one rule shown, one by a test that was skipped,
// one by a test that failed the second time, one by a test that is no more.
func TestConform(t *testing.T) {
	const stream = `
{"Action":"pass","Package":"paca/modes","Test":"TestL1Port"}
{"Action":"pass","Package":"paca/modes","Test":"TestL2Source"}
{"Action":"skip","Package":"paca/ci/e2e","Test":"TestL3Skipped"}
{"Action":"skip","Package":"paca/ci/e2e","Test":"TestL1Again"}
{"Action":"fail","Package":"paca/modes","Test":"TestL2Source"}
{"Action":"pass","Package":"paca/modes","Test":"TestL2Source"}
`
	const table = `
| rule | in a line | tests | result |
|---|---|---|---|
| L1 | one | ci/e2e: TestL1Again; modes: TestL1Port | pass |
| L2 | two | modes: TestL1Port, TestL2Source | pass |
| L3 | three | ci/e2e: TestL3Skipped | pass |
| L4 | four |  | not applicable: no |
| L5 | five | modes: TestL1Port, TestL5Gone | different: yes |
`
	var out strings.Builder
	tl := newTally(&out)
	if err := tl.read(strings.NewReader(stream)); err != nil {
		t.Fatal(err)
	}
	tl.conform(table)
	if tl.failed != 2 { // L2's test, and L5's that did not run
		t.Errorf("%d failed, want 2", tl.failed)
	}
	for _, want := range []string{
		"L5 is to be shown by TestL5Gone in modes, which did not run",
		"L2 is not shown: TestL2Source in modes failed",
		"conformance: 5 rules, 1 shown by passing tests, 2 different or not applicable, 1 whose tests were skipped or are missing\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("output lacks %q:\n%s", want, out.String())
		}
	}
}
