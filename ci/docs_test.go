package ci

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"paca/conf"
	"paca/dataplane/count"
)

var update = flag.Bool("update", false, "write docs/drops.md anew")

// docs/drops.md is the list of drop reasons as the code has it.
func TestDropsDocument(t *testing.T) {
	var b strings.Builder
	b.WriteString(`# Drops

A packet that does not come out is counted, once, under one of these names, by the port that it came in by: ` + "`pacactl drops`" + `
lists them, and ` + "`paca_drops_total{port,reason}`" + ` has them for Prometheus. Letters with numbers are rules of the specification.

| reason | means |
|---|---|
`)
	for r := count.Kept + 1; r < count.NumReasons; r++ {
		fmt.Fprintf(&b, "| `%s` | %s |\n", r.Name(), r.Help())
	}
	path := filepath.Join(root, "docs/drops.md")
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != b.String() {
		t.Errorf("docs/drops.md is not what dataplane/count says (%v): go test ./ci -run Drops -update", err)
	}
}

// blocks are the fenced blocks of one language in a Markdown file.
func blocks(t *testing.T, file, language string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		found = append(found, m[1])
	}
	if len(found) == 0 {
		t.Fatalf("%s has no %s block", file, language)
	}
	return found
}

// The configuration reference of the README is a host file and a policy file
// that paca accepts.
func TestREADMEConfiguration(t *testing.T) {
	hosts, policies := 0, 0
	for _, b := range blocks(t, "README.md", "toml") {
		var err error
		if strings.Contains(b, "[[port]]") {
			hosts++
			_, err = conf.Parse("README.md", []byte(b))
		} else {
			policies++
			_, err = conf.ParsePolicy("README.md", []byte(b))
		}
		if err != nil {
			t.Errorf("lines count from the block's first:\n%v", err)
		}
	}
	if hosts != 1 || policies != 1 {
		t.Errorf("%d host files and %d policy files, want one of each", hosts, policies)
	}
}

// Every command of the README is one: targets exist, programs know the words.
func TestREADMECommands(t *testing.T) {
	bin := t.TempDir()
	build := exec.Command("go", "build", "-o", bin, "./ctrl/pacad", "./ctrl/pacactl")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, b := range blocks(t, "README.md", "sh") {
		for line := range strings.Lines(b) {
			command, _, _ := strings.Cut(line, "#")
			args := strings.Fields(command)
			if len(args) == 0 {
				continue
			}
			switch args[0] {
			case "make": // what it would do
				args = append(args, "-n")
			case "bin/pacactl": // there is no pacad to ask
				args = append(args, "--help")
				fallthrough
			case "bin/pacad":
				args[0] = filepath.Join(bin, filepath.Base(args[0]))
			default:
				t.Errorf("nobody checks %q", command)
				continue
			}
			run := exec.CommandContext(t.Context(), args[0], args[1:]...)
			run.Dir = root
			if out, err := run.CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", strings.TrimSpace(command), err, out)
			}
		}
	}
}

// The examples that the demo runs are good by themselves.
func TestExamples(t *testing.T) {
	for _, name := range []string{"host1.toml", "host2.toml"} {
		if _, err := conf.Load(filepath.Join(root, "conf/examples", name)); err != nil {
			t.Error(err)
		}
	}
	if _, err := conf.LoadPolicy(filepath.Join(root, "conf/examples/policy.toml")); err != nil {
		t.Error(err)
	}
}

// Files and folders that the documents name exist.
func TestDocumentsNameWhatExists(t *testing.T) {
	tree := regexp.MustCompile("`((?:dataplane|modes|ctrl|conf|perf|ci|docs|\\.ci)/[A-Za-z0-9_./-]*)`")
	for _, file := range []string{"README.md", "CONTRIBUTING.md"} {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range tree.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "NAME") {
				continue
			}
			if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
				t.Errorf("%s names %s, which does not exist", file, m[1])
			}
		}
	}
}
