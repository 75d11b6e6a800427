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
	tl := &tally{output: map[[2]string][]string{}, failedInside: map[string]bool{}, w: &out}
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
