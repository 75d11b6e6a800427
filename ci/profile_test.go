package ci

import (
	"go/ast"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// The profile that pacad is compiled with is of functions that it has, most of them at
// least, and has no word beside their names.
func TestProfile(t *testing.T) {
	const file = "ctrl/pacad/default.pgo"
	profile, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	exist := functions(t)
	var names, gone []string
	for len(profile) > 0 {
		field, kind, tag := protowire.ConsumeTag(profile)
		size := protowire.ConsumeFieldValue(field, kind, profile[max(tag, 0):])
		if tag < 0 || size < 0 || kind != protowire.BytesType {
			t.Fatalf("%s is not what make pgo writes", file)
		}
		text, _ := protowire.ConsumeBytes(profile[tag:])
		profile = profile[tag+size:]
		switch s := string(text); {
		case field == 3: // mappings
			t.Errorf("%s knows a program's file: make pgo", file)
		case field != 6 || s == "" || s == "samples" || s == "count":
		case !strings.HasPrefix(s, "paca/") || strings.HasSuffix(s, ".go"):
			t.Errorf("%s has %q: make pgo", file, s)
		default:
			if names = append(names, s); !exist[s] {
				gone = append(gone, s)
			}
		}
	}
	if len(names) < 30 || len(gone) > len(names)/5 {
		t.Errorf("%s has %d functions, of which these are gone: make pgo\n%s", file, len(names), strings.Join(gone, "\n"))
	}
}

// functions are those of paca, by the linker's names.
func functions(t *testing.T) map[string]bool {
	all := map[string]bool{}
	eachFunction(t, func(_ *source, _ *ast.FuncDecl, name string) { all[name] = true })
	return all
}

// eachFunction shows each of the functions that functions lists.
func eachFunction(t *testing.T, show func(s *source, f *ast.FuncDecl, name string)) {
	all := sources(t)
	for i := range all {
		s := &all[i]
		for _, d := range s.syntax.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || s.test {
				continue
			}
			of := ""
			if f.Recv != nil {
				switch r := f.Recv.List[0].Type.(type) {
				case *ast.Ident:
					of = r.Name + "."
				case *ast.StarExpr:
					if r, ok := r.X.(*ast.Ident); ok {
						of = "(*" + r.Name + ")."
					}
				}
			}
			show(s, f, "paca/"+s.dir+"."+of+f.Name.Name)
		}
	}
}
