package conf

import (
	"maps"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

func TestLineIndex(t *testing.T) {
	const doc = `# comment with [brackets] and = "quotes
title = "a # no comment" # [x]
multi = """
[not.a.header]
quoted \"""
no.key = 3 "" """""
literal = '''
'key = 1' ''' # x
"quo.ted \u0041" = 'it''s'
`
	const tables = `
a.b.c = [ 1, # one
  [2,
   3], { x = 1, "y z" = { w = [
   4] } },
]
d = 1979-05-27 07:32:00
[t.u]
v = true
[[p]]
name = 1
[p.sub]
k = 1
[[p.q]]
r = 1
[[p.q]]
r = 2
[[p]]
[[p.q]]
  r = 3
inline = [{m = 1},
  {m = 2}]
`
	got := indexLines(strings.Replace(doc, `'it''s'`, `"it's"`, 1) + tables)
	want := map[string]int{
		`title`: 2, `multi`: 3, `literal`: 7, `"quo.ted A"`: 9,
		`a`: 11, `a.b`: 11, `a.b.c`: 11, `a.b.c[0]`: 11, `a.b.c[1]`: 12, `a.b.c[1][0]`: 12, `a.b.c[1][1]`: 13,
		`a.b.c[2]`: 13, `a.b.c[2].x`: 13, `a.b.c[2]."y z"`: 13, `a.b.c[2]."y z".w`: 13, `a.b.c[2]."y z".w[0]`: 14,
		`d`: 16, `t`: 17, `t.u`: 17, `t.u.v`: 18,
		`p`: 19, `p[0]`: 19, `p[0].name`: 20, `p[0].sub`: 21, `p[0].sub.k`: 22,
		`p[0].q`: 23, `p[0].q[0]`: 23, `p[0].q[0].r`: 24, `p[0].q[1]`: 25, `p[0].q[1].r`: 26,
		`p[1]`: 27, `p[1].q`: 28, `p[1].q[0]`: 28, `p[1].q[0].r`: 29,
		`p[1].q[0].inline`: 30, `p[1].q[0].inline[0]`: 30, `p[1].q[0].inline[0].m`: 30,
		`p[1].q[0].inline[1]`: 31, `p[1].q[0].inline[1].m`: 31,
	}
	if !maps.Equal(map[string]int(got), want) {
		for k, n := range want {
			if got[k] != n {
				t.Errorf("%s is on line %d, want %d", k, got[k], n)
			}
		}
		for k, n := range got {
			if want[k] == 0 {
				t.Errorf("%s on line %d is no key", k, n)
			}
		}
	}
	for key, n := range map[string]int{
		`p[0].mtu`: 19, `p[7].x.y`: 19, `nothing`: 1, ``: 1, `a.b.c[2]."y z"."]\"[."`: 13, `"quo.ted A".x`: 9,
	} {
		if got.at(key) != n {
			t.Errorf("%s is missed on line %d, want %d", key, got.at(key), n)
		}
	}
}

// The library and the scanner must agree on which keys a document has: every
// path of the decoded tree has a line, and nothing else has one.
func FuzzLineIndex(f *testing.F) {
	seed(f, "testdata/host.toml")
	f.Add([]byte("a.b = [1, {c = \"\"\"x\n\"\"\"}]\n[[d.e]]\n'f\"' = 1\n[[d.e]]\n"))
	f.Add([]byte("\"\\u0041\\n\" = {\n x = 1,\n}\r\n# z"))
	f.Fuzz(func(t *testing.T, data []byte) {
		index := indexLines(string(data)) // whatever it is, no panic
		tree := map[string]any{}
		if _, err := toml.Decode(string(data), &tree); err != nil || strings.HasPrefix(string(data), "\uFEFF") {
			return
		}
		want := map[string]bool{}
		paths(want, "", tree)
		last := 1 + strings.Count(string(data), "\n")
		for k := range want {
			if n := index[k]; n < 1 || n > last {
				t.Fatalf("%s is on line %d of %d in\n%s", k, n, last, data)
			}
		}
		for k := range index {
			if !want[k] {
				t.Fatalf("%s is no key of\n%s", k, data)
			}
		}
	})
}

func paths(to map[string]bool, path string, v any) {
	if path != "" {
		to[path] = true
	}
	if list, ok := elements(v); ok {
		for i, e := range list {
			paths(to, element(path, i), e)
		}
	}
	if table, ok := v.(map[string]any); ok {
		for k, e := range table {
			paths(to, dot(path, k), e)
		}
	}
}
