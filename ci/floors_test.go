// Package ci holds the project's own laws as tests: who may import whom, who may
// speak C, what the hot path must not touch, how things are named, and that the
// README tells the truth.
package ci

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const root = ".." // of the repository, seen from here

type edict struct {
	pkg string
	may []string
	why string // what a forbidden edge would break
	hot bool   // also held to hotBans
}

// law says which packages of paca each package may import. A name that ends in
// /... stands for everything below it. Who is not listed may import nothing of
// paca, and must be added here with a thought for the floor it stands on.
var law = []edict{
	{pkg: "dataplane/packet", why: "headers are what they are, whatever paca does with them", hot: true},
	{pkg: "dataplane/mbuf", why: "a buffer knows no packet, so that tests can make one of plain memory", hot: true},
	{pkg: "dataplane/count", why: "everyone counts; a counter that imports its users closes a circle", hot: true},
	{pkg: "dataplane/dpdk", may: []string{"dataplane/mbuf"}, why: "the binding speaks DPDK's words, not paca's"},
	{pkg: "dataplane/policy", may: []string{"dataplane/packet"}, why: "policy is what was decided, not how it is carried or stored"},
	{pkg: "dataplane/fib", may: []string{"dataplane/packet", "dataplane/policy", "dataplane/unseen"}, why: "workers read it: it must stay pure data", hot: true},
	{pkg: "dataplane/fib/fibtest", may: []string{"dataplane/fib", "dataplane/policy"}, why: "tables for tests, of plain policy"},
	{pkg: "dataplane/port", may: []string{"dataplane/mbuf"}, why: "the contract is the same over DPDK and memory"},
	{pkg: "dataplane/port/ethdev", may: []string{"dataplane/mbuf", "dataplane/port", "dataplane/dpdk"}, why: "ports know no packets, no policy"},
	{pkg: "dataplane/port/memport", may: []string{"dataplane/mbuf", "dataplane/port"}, why: "tests of the pure-Go packages run on it without DPDK"},
	{pkg: "dataplane/port/porttest", may: []string{"dataplane/mbuf", "dataplane/port"}, why: "one contract test for every kind of port"},
	{pkg: "dataplane/respond", may: []string{"dataplane/packet", "dataplane/mbuf", "dataplane/fib", "dataplane/count"}, why: "answers are functions from frame to frame", hot: true},
	{pkg: "dataplane/respond/dhcp", may: []string{"dataplane/packet"}, why: "a function from frame to frame, with a codec that allocates: no worker may import it"},
	{pkg: "dataplane/offload", may: []string{"dataplane/packet", "dataplane/mbuf", "dataplane/count", "dataplane/port"}, why: "what a device would do with a frame is a function of the frame", hot: true},
	{pkg: "dataplane/neigh", may: []string{"dataplane/packet"}, why: "a state machine fed with time and frames; who feeds it is not its business"},
	{pkg: "dataplane/unseen", why: "what a pointer is hidden for is not its business", hot: true},
	{pkg: "dataplane/timeslice", why: "what it knows of Go's runtime is all that it knows", hot: true},
	{pkg: "dataplane/worker", may: []string{"dataplane/timeslice", "dataplane/unseen", "dataplane/packet", "dataplane/mbuf", "dataplane/policy", "dataplane/fib", "dataplane/count", "dataplane/port", "dataplane/respond", "dataplane/offload"},
		why: "dataplane knows no mode, and the loop runs in tests without DPDK", hot: true},

	{pkg: "modes/nvgre", may: []string{"dataplane/packet", "dataplane/mbuf", "dataplane/fib", "dataplane/count", "dataplane/offload"}, why: "modes know no port and no other mode", hot: true},
	{pkg: "modes/rewrite", may: []string{"dataplane/packet", "dataplane/mbuf", "dataplane/fib", "dataplane/count", "dataplane/offload"}, why: "modes know no port and no other mode", hot: true},
	{pkg: "modes", may: []string{"modes/...", "dataplane/policy", "dataplane/worker"}, why: "a literal list, by policy's numbers, of what the loop calls"},

	{pkg: "conf", why: "what was asked for stays plain words: its types enter neither dataplane nor modes"},

	{pkg: "ctrl/api/convert", may: []string{"ctrl/api/...", "dataplane/policy", "dataplane/packet"}, why: "between wire and policy stands one pure package, for both ends of the socket"},
	{pkg: "ctrl/api/...", why: "the API is wire format; programs without a dataplane speak it", may: []string{"ctrl/api/..."}},
	{pkg: "ctrl/store", may: []string{"dataplane/policy", "dataplane/packet"}, why: "stores keep policy, they do not act on it"},
	{pkg: "ctrl/client", may: []string{"ctrl/api/..."}, why: "pacactl is built on it and has no DPDK"},
	{pkg: "ctrl/server", may: []string{"ctrl/api/...", "ctrl/store", "dataplane/count", "dataplane/policy", "dataplane/packet"}, why: "it answers questions through an interface; ctrl/daemon stands behind that"},
	{pkg: "ctrl/server/servertest", may: []string{"ctrl/server", "ctrl/store", "ctrl/api/...", "dataplane/policy"}, why: "a host of paper, for tests on both sides of the socket"},
	{pkg: "ctrl/metrics", may: []string{"dataplane/count", "dataplane/port"}, why: "it reads counters, it steers nothing"},
	{pkg: "ctrl/daemon", may: []string{"conf", "dataplane/...", "modes/...", "ctrl/store", "ctrl/server", "ctrl/metrics", "ctrl/api/...", "ctrl/policyfile"}, why: "it knits; programs stand above it"},
	{pkg: "ctrl/pacad", may: []string{"conf", "ctrl/daemon", "ctrl/server", "ctrl/metrics", "ctrl/api/..."}, why: "main is short: what it does is in ctrl/daemon"},
	{pkg: "ctrl/pacactl/ps1", may: []string{"dataplane/policy", "dataplane/packet"}, why: "a script becomes changes of policy before anyone speaks to a daemon: pure, so that it can be fuzzed"},
	{pkg: "ctrl/policyfile", may: []string{"conf", "dataplane/policy"}, why: "files become objects of policy in one place, with DPDK or without"},
	{pkg: "ctrl/pacactl", may: []string{"ctrl/api/...", "ctrl/client", "ctrl/pacactl/ps1", "ctrl/policyfile", "conf", "dataplane/policy"}, why: "it builds and runs where no DPDK is"},

	{pkg: "perf/...", may: []string{"conf", "dataplane/...", "modes/...", "ctrl/...", "perf/...", "ci/topo"}, why: "the stopwatch may look at anything"},

	{pkg: "ci", may: []string{"dataplane/count", "conf", "ctrl/metrics"}, why: "the laws look at the code from outside"},
	{pkg: "ci/topo", why: "it knows namespaces and processes, nothing of paca"},
	{pkg: "ci/tally", why: "it reads what go test says"},
	{pkg: "ci/demo", may: []string{"ci/topo"}, why: "it shows what a user sees: programs, not packages"},
	{pkg: "ci/e2e", may: []string{"ci/topo", "dataplane/count"}, why: "it drives programs, not packages; drop names come from the one list"},
}

// hotBans is what a hot package must not import outside its tests, since each
// allocates, locks or blocks where 20 million packets a second pass.
var hotBans = map[string]string{
	"log":           "a packet never makes a log line",
	"log/slog":      "a packet never makes a log line",
	"net/http":      "serving is for floor 3",
	"encoding/json": "formats are for floor 3",
	"reflect":       "the hot path knows its types",
	"os":            "files and processes are for floor 3",
	"os/exec":       "files and processes are for floor 3",
	"context":       "the loop stops on a flag of its own",
	"fmt":           "the hot path formats nothing",
	"sync":          "the hot path takes no lock; what is shared is read atomically",
	"time":          "time is passed in, or asked once per burst where an exemption says so",
	"regexp":        "text is for floors 1 (conf) and 3",
}

// exempt are the files of hot packages that may import something banned after
// all, with the reason. One that no longer does must go.
var exempt = map[[2]string]string{
	{"dataplane/packet/ethernet.go", "fmt"}: "a MAC is read and written as text, by configuration and people",
	{"dataplane/worker/worker.go", "time"}:  "the idle back-off sleeps, and time without packets is measured",
	{"dataplane/worker/doze.go", "time"}:    "the idle back-off sleeps",
	{"dataplane/worker/limit.go", "time"}:   "rates are limited by a clock that is asked once per turn, when first needed",
}

// source is one Go file of the repository.
type source struct {
	dir, path string // relative to the root, slashes
	test      bool
	imports   []string
	set       *token.FileSet
	syntax    *ast.File
}

// sources parses every Go file, whatever its build constraints, so that the law
// does not depend on the machine that reads it.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	set := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if name := d.Name(); rel != "." && (name[0] == '.' || name[0] == '_' || name == "testdata" || rel == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") {
			return nil
		}
		syntax, err := parser.ParseFile(set, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		s := source{dir: filepath.ToSlash(filepath.Dir(rel)), path: rel, test: strings.HasSuffix(rel, "_test.go"), set: set, syntax: syntax}
		for _, i := range syntax.Imports {
			p, _ := strconv.Unquote(i.Path.Value)
			s.imports = append(s.imports, p)
		}
		all = append(all, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func matches(pattern, pkg string) bool {
	if below, ok := strings.CutSuffix(pattern, "/..."); ok {
		return pkg == below || strings.HasPrefix(pkg, below+"/")
	}
	return pattern == pkg
}

func TestImportLaw(t *testing.T) {
	used := map[[2]string]bool{}
	for _, s := range sources(t) {
		at := slices.IndexFunc(law, func(l edict) bool { return matches(l.pkg, s.dir) })
		if at < 0 {
			t.Errorf("%s: package %s stands on no floor: give it a row in ci/floors_test.go", s.path, s.dir)
			continue
		}
		l := law[at]
		for _, imported := range s.imports {
			if pkg, ours := strings.CutPrefix(imported, "paca/"); ours && !s.test {
				ok := slices.ContainsFunc(l.may, func(p string) bool { return matches(p, pkg) })
				if !ok {
					t.Errorf("%s imports %s: not allowed: %s", s.path, pkg, l.why)
				}
			}
			if reason, banned := hotBans[imported]; l.hot && banned && !s.test {
				if exception := [2]string{s.path, imported}; exempt[exception] != "" {
					used[exception] = true
					continue
				}
				t.Errorf("%s imports %s on the hot path: %s", s.path, imported, reason)
			}
		}
	}
	for exception := range exempt {
		if !used[exception] {
			t.Errorf("%s does not import %s: its exemption is to be removed", exception[0], exception[1])
		}
	}
}

// Tests may look further than the code they test, but not up to what imports
// it for a living, nor into DPDK: tests of pure Go run where no DPDK is.
func TestImportLawOfTests(t *testing.T) {
	all := sources(t)
	direct := map[string][]string{}
	for _, s := range all {
		if !s.test {
			direct[s.dir] = append(direct[s.dir], ours(s.imports)...)
		}
	}
	var needsDPDK func(pkg string, seen map[string]bool) bool
	needsDPDK = func(pkg string, seen map[string]bool) bool {
		if pkg == "dataplane/dpdk" {
			return true
		}
		if seen[pkg] {
			return false
		}
		seen[pkg] = true
		return slices.ContainsFunc(direct[pkg], func(p string) bool { return needsDPDK(p, seen) })
	}
	for _, s := range all {
		if !s.test {
			continue
		}
		for _, p := range ours(s.imports) {
			if needsDPDK(p, map[string]bool{}) && !needsDPDK(s.dir, map[string]bool{}) {
				t.Errorf("%s imports %s, which needs DPDK: %s would no longer be tested without it", s.path, p, s.dir)
			}
			if matches("perf/...", p) && !matches("perf/...", s.dir) {
				t.Errorf("%s imports %s: nothing imports the stopwatch", s.path, p)
			}
		}
	}
	for _, pkg := range []string{"ctrl/pacactl", "ctrl/client", "ctrl/metrics", "conf", "dataplane/worker", "modes"} {
		if needsDPDK(pkg, map[string]bool{}) {
			t.Errorf("%s needs DPDK, directly or through what it imports", pkg)
		}
	}
}

func ours(imports []string) []string {
	var pkgs []string
	for _, i := range imports {
		if p, ok := strings.CutPrefix(i, "paca/"); ok {
			pkgs = append(pkgs, p)
		}
	}
	return pkgs
}

func TestOnlyDPDKSpeaksC(t *testing.T) {
	for _, s := range sources(t) {
		if slices.Contains(s.imports, "C") && s.dir != "dataplane/dpdk" {
			t.Errorf(`%s says import "C": only dataplane/dpdk may`, s.path)
		}
	}
}

// A package says what it is for before anything else.
func TestPackageDoc(t *testing.T) {
	documented, packages := map[string]bool{}, map[string]bool{}
	for _, s := range sources(t) {
		if s.test && s.dir != "ci" {
			continue
		}
		generated := ast.IsGenerated(s.syntax)
		packages[s.dir] = packages[s.dir] || !generated
		if s.syntax.Doc != nil && !generated {
			documented[s.dir] = true
		}
	}
	for dir, written := range packages {
		if written && !documented[dir] && dir != "ci/e2e" {
			t.Errorf("%s has no package doc", dir)
		}
	}
}

func TestNames(t *testing.T) {
	top := []string{"dataplane", "modes", "ctrl", "conf", "perf", "ci"}
	vague := []string{"util", "utils", "common", "helper", "helpers", "manager", "misc", "pkg", "internal", "base"}
	for _, s := range sources(t) {
		parts := strings.Split(s.dir, "/")
		if !slices.Contains(top, parts[0]) {
			t.Errorf("%s: code lives in %v", s.path, top)
		}
		for _, p := range parts {
			if slices.Contains(vague, p) {
				t.Errorf("%s: a folder called %s says nothing about what is in it", s.path, p)
			}
		}
		for _, d := range s.syntax.Decls {
			f, ok := d.(*ast.FuncDecl)
			if ok && f.Recv == nil && f.Name.Name == "init" && !s.test && !ast.IsGenerated(s.syntax) {
				t.Errorf("%s: func init: what exists is said in a list that can be read, not registered", s.path)
			}
		}
	}
}

// What is kept can be read: no program that a build left behind, no profile but the one
// that the compiler takes.
func TestNoBinaries(t *testing.T) {
	git := exec.Command("git", "-c", "safe.directory=*", "ls-files", "-z") // whoever owns the files
	git.Dir = root
	kept, err := git.Output()
	if _, no := os.Stat(filepath.Join(root, ".git")); no != nil || errors.Is(err, exec.ErrNotFound) {
		return // without git nobody knows what is kept
	}
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	for _, file := range strings.Split(strings.TrimSuffix(string(kept), "\x00"), "\x00") {
		text, err := os.ReadFile(filepath.Join(root, file))
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted, and git not told yet
		}
		if err != nil {
			t.Fatal(err)
		}
		if bytes.IndexByte(text, 0) >= 0 && file != "ctrl/pacad/default.pgo" {
			t.Errorf("%s: not a text", file)
		}
	}
}

// Identical file names in every mode: who knows one knows all.
func TestModesLookAlike(t *testing.T) {
	files := map[string][]string{}
	for _, s := range sources(t) {
		if strings.HasPrefix(s.dir, "modes/") && !s.test {
			files[s.dir] = append(files[s.dir], filepath.Base(s.path))
		}
	}
	for dir, have := range files {
		for _, want := range []string{"doc.go", "egress.go", "ingress.go", "offload.go"} {
			if !slices.Contains(have, want) {
				t.Errorf("%s has no %s; it has %s", dir, want, fmt.Sprint(have))
			}
		}
	}
}
