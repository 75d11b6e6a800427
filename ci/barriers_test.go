package ci

import (
	"go/ast"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// handed are the functions by which packets pass between workers: the walk that counts
// instructions has only one.
var handed = []string{"(*belt).put", "(*Worker).deal", "(*Worker).take", "(*Worker).fetch"}

// seen are the functions on the way of ordinary packets in which the collector is told of
// pointers after all, with the reason. One in which it no longer is must go.
var seen = map[string]string{
	"dataplane/worker.(*Worker).fromVM": "of a packet that is not ordinary",
}

// While the collector marks, each pointer that is written into the heap is told to it,
// which takes longer than all else that is done with a packet: those on the way of
// ordinary packets are dataplane/unseen's.
func TestNoWriteBarriers(t *testing.T) {
	walked, err := os.ReadFile(filepath.Join(root, "modes/testdata/instructions.txt"))
	if err != nil {
		t.Fatal(err)
	}
	hot := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^ +[0-9.]+ +((?:dataplane|modes)/\S+?)(?:\[\.\.\.\])?$`).FindAllSubmatch(walked, -1) {
		hot[string(m[1])] = true
	}
	if len(hot) < 30 {
		t.Fatalf("%d functions of instructions.txt are known", len(hot))
	}
	for _, f := range handed {
		hot["dataplane/worker."+f] = true
	}
	build := exec.Command("go", "build", "-gcflags=paca/...=-d=wb=1", "./modes/...")
	build.Dir = root
	out, err := build.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	barriers := map[string][]int{} // lines, by file
	for _, m := range regexp.MustCompile(`(?m)^(?:\./)?(\S+\.go):(\d+):\d+: write barrier$`).FindAllSubmatch(out, -1) {
		line, _ := strconv.Atoi(string(m[2]))
		barriers[string(m[1])] = append(barriers[string(m[1])], line)
	}
	found, known := map[string]bool{}, map[string]bool{}
	eachFunction(t, func(s *source, f *ast.FuncDecl, name string) {
		if name = strings.TrimPrefix(name, "paca/"); !hot[name] {
			return
		}
		known[name] = true
		from, to := s.set.Position(f.Pos()).Line, s.set.Position(f.End()).Line
		for _, line := range barriers[s.path] {
			if from <= line && line <= to {
				if found[name] = true; seen[name] == "" {
					t.Errorf("%s:%d: %s tells the collector of a pointer", s.path, line, name)
				}
			}
		}
	})
	for _, f := range handed {
		if !known["dataplane/worker."+f] {
			t.Errorf("there is no %s", f)
		}
	}
	for f := range seen {
		if !found[f] {
			t.Errorf("%s tells the collector of nothing: its line in seen must go", f)
		}
	}
}
