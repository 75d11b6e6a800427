//go:build linux && amd64 && !race

package modes_test

import (
	"cmp"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// call is one that a profile-guided compiler finds again: by names, and by the lines
// from the first of the caller to the call.
type call struct {
	caller, callee string
	line           int
}

// countCalls counts the calls between functions of paca among steps, of a program in
// which they are not inlined.
func countCalls(t *testing.T, calls map[call]int, pcs []uintptr) {
	ours := func(f string) bool {
		return strings.HasPrefix(f, "paca/") && !strings.HasPrefix(f, "paca/modes_test.")
	}
	for i, pc := range pcs[1:] {
		callee := runtime.FuncForPC(pc)
		if callee.Entry() != pc || !ours(callee.Name()) {
			continue
		}
		caller, _ := runtime.CallersFrames([]uintptr{pcs[i] + 1}).Next() // pcs[i]
		if !ours(caller.Function) {
			continue
		}
		if caller.Func == nil {
			t.Fatalf("%s is inlined: -gcflags=paca/...=-l", caller.Function)
		}
		file, first := caller.Func.FileLine(caller.Func.Entry())
		if line := sourceLine(t, file, first); !strings.HasPrefix(line, "func ") {
			t.Fatalf("%s:%d, %q: %s does not begin there", file, first, line, caller.Function)
		}
		calls[call{caller.Function, callee.Name(), caller.Line - first}]++
	}
}

// writeProfile writes calls in the format of pprof, with no word of where they were
// counted: no file, no address. Every function begins in line 1.
func writeProfile(t *testing.T, file string, calls map[call]int) {
	varint := func(b []byte, field protowire.Number, n int) []byte {
		return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), uint64(n))
	}
	block := func(b []byte, field protowire.Number, v []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), v)
	}
	const sampleType, sample, location, function, text = 1, 2, 4, 5, 6 // fields of a Profile
	texts := []string{"", "samples", "count"}
	profile := block(nil, sampleType, varint(varint(nil, 1, 1), 2, 2)) // the numbers of these
	locations := 0
	place := func(name string, line int) (id int) {
		f := slices.Index(texts, name)
		if f < 0 {
			f = len(texts)
			texts = append(texts, name)
			profile = block(profile, function, varint(varint(varint(varint(nil, 1, f), 2, f), 3, f), 5, 1))
		}
		locations++
		profile = block(profile, location, block(varint(nil, 1, locations), 4, varint(varint(nil, 1, f), 2, 1+line)))
		return locations
	}
	for _, c := range slices.SortedFunc(maps.Keys(calls), func(a, b call) int {
		return cmp.Or(cmp.Compare(a.caller, b.caller), cmp.Compare(a.line, b.line), cmp.Compare(a.callee, b.callee))
	}) {
		to, from := place(c.callee, 0), place(c.caller, c.line)
		profile = block(profile, sample, varint(varint(varint(nil, 1, to), 1, from), 2, calls[c]))
	}
	for _, s := range texts {
		profile = block(profile, text, []byte(s))
	}
	if err := os.WriteFile(file, profile, 0o644); err != nil {
		t.Fatal(err)
	}
}
