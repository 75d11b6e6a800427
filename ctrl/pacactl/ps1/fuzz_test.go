package ps1

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"paca/dataplane/policy"
)

// Whatever a script says, it ends, in an *Error or in changes that are the same
// every time and that policy can judge: none about an object twice, no Add of
// what is there, no Replace or Delete of what is not.
func FuzzTranslate(f *testing.F) {
	for _, pattern := range []string{"testdata/*.ps1", "../../../conf/examples/*.ps1"} {
		files, err := filepath.Glob(pattern)
		if err != nil || files == nil {
			f.Fatalf("%s: %v, %v", pattern, files, err)
		}
		for _, file := range files {
			script, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(script)
		}
	}
	f.Add([]byte(onLink + "\n" + record() + "\n" + record("-Rule 0", "-CustomerAddress 10.9.1.8")))
	blue, _ := after(f, bare(), host1)
	there := map[policy.Key]bool{}
	for _, o := range blue {
		there[o.Key()] = true
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		p, err := Translate("x", script, envOf(blue))
		if err != nil {
			if e := (*Error)(nil); !errors.As(err, &e) || e.Line < 1 || e.Text == "" {
				t.Fatalf("stops with %#v", err)
			}
			return
		}
		if again, err := Translate("x", script, envOf(blue)); err != nil || told(again) != told(p) {
			t.Fatalf("the second time it says\n%s\n%v\nnot\n%s", told(again), err, told(p))
		}
		seen := map[policy.Key]bool{}
		for _, c := range p.Changes {
			k := c.Object.Key()
			if seen[k] || there[k] != (c.Verb != policy.Add) {
				t.Errorf("change %v of %v makes no sense", c.Verb, c.Object)
			}
			seen[k] = true
		}
		b := bookOf(t, blue)
		if _, err := b.Apply(p.Changes); err != nil {
			if len(policy.Faults(err)) == 0 {
				t.Errorf("policy says %v", err)
			}
			_ = p.Locate(err).Error()
		}
	})
}
