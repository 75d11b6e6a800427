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

	"github.com/prometheus/client_golang/prometheus"

	"paca/conf"
	"paca/ctrl/metrics"
	"paca/dataplane/count"
)

var update = flag.Bool("update", false, "write the documents that the code makes anew")

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
	generated(t, "docs/drops.md", b.String())
}

// docs/events.md is the list of events as the code has it.
func TestDropsAndEventsDocument(t *testing.T) {
	var b strings.Builder
	b.WriteString(`# Events

What is done with packets besides passing them on or [dropping](drops.md) them, by the port that they came in by, as
` + "`paca_events_total{port,event}`" + ` has it for Prometheus. Letters with numbers are rules of the specification.

| event | counts |
|---|---|
`)
	for e := range count.NumEvents {
		fmt.Fprintf(&b, "| `%s` | %s |\n", e.Name(), e.Help())
	}
	generated(t, "docs/events.md", b.String())
}

// docs/metrics.md is the list of metrics as the code has it.
func TestMetricsDocument(t *testing.T) {
	var b strings.Builder
	b.WriteString(`# Metrics

What Prometheus reads at ` + "`/metrics` of `[metrics] listen`" + `. There is no label per flow, VM or address: their number would grow with the tenants'. Names that
end in ` + "`_total`" + ` count from the start of pacad and never fall; the others are as they are now.

| metric | labels | means |
|---|---|---|
`)
	all := make(chan *prometheus.Desc)
	go func() {
		metrics.NewCollector(nil, "").Describe(all)
		close(all)
	}()
	for d := range all {
		var name, help, unit, labels string
		if _, err := fmt.Sscanf(d.String(), "Desc{fqName: %q, help: %q, unit: %q, constLabels: {}, variableLabels: {%s", &name, &help, &unit, &labels); err != nil {
			t.Fatalf("%s: %v", d, err)
		}
		if labels = strings.Trim(labels, "}"); labels != "" {
			labels = "`" + strings.ReplaceAll(labels, ",", "`, `") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", name, labels, strings.TrimSuffix(help, "."))
	}
	generated(t, "docs/metrics.md", b.String())
}

// generated holds a document to what the code says, or with -update makes it so.
func generated(t *testing.T, file, text string) {
	path := filepath.Join(root, file)
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if have, err := os.ReadFile(path); err != nil || string(have) != text {
		t.Errorf("%s is not what the code says (%v): go test ./ci -run Document -update", file, err)
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
	return found
}

// The configuration reference is a host file and policy files that paca accepts,
// and has every table and key that there is.
func TestConfigurationReference(t *testing.T) {
	const reference = "docs/configuration.md"
	hosts, policies := 0, 0
	all := ""
	for _, b := range blocks(t, reference, "toml") {
		var err error
		if strings.Contains(b, "[workers]") { // policy files have ports, too
			hosts++
			_, err = conf.Parse(reference, []byte(b))
		} else {
			policies++
			_, err = conf.ParsePolicy(reference, []byte(b))
		}
		if err != nil {
			t.Errorf("lines count from the block's first:\n%v", err)
		}
		all += "\n" + b
	}
	if hosts != 1 || policies != 2 {
		t.Errorf("%d host files and %d policy files, want one and two", hosts, policies)
	}
	for _, file := range []string{"conf/host.go", "conf/policy.go"} {
		code, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		words := regexp.MustCompile(`(?:(?:required|optional|list)\(t, |root\.tables?\()"(\w+)"`)
		found := words.FindAllStringSubmatch(string(code), -1)
		if len(found) < 15 {
			t.Errorf("%s has %d keys only: does this test still know how they are read?", file, len(found))
		}
		for _, m := range found {
			key := m[1]
			if !strings.Contains(all, "\n"+key+" = ") && !strings.Contains(all, "["+key+"]") {
				t.Errorf("%s does not have %s of %s", reference, key, file)
			}
		}
	}
}

// The API's reference has every method and every error code, and the limits that
// the server has.
func TestAPIReference(t *testing.T) {
	read := func(file string) string {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	reference, proto := read("docs/api.md"), read("ctrl/api/paca/v1/control.proto")
	for _, m := range regexp.MustCompile(`(?m)^  (?:rpc (\w+)|(ERROR_CODE_\w+) = [1-9])`).FindAllStringSubmatch(proto, -1) {
		if !strings.Contains(reference, "`"+m[1]+m[2]+"`") {
			t.Errorf("docs/api.md does not have %s%s", m[1], m[2])
		}
	}
	for _, limit := range []struct{ file, code, says string }{
		{"ctrl/server/guard.go", `maxRequest += 1 << 20`, "1 MiB"},
		{"ctrl/server/guard.go", `maxStream += 5 \* time\.Minute`, "in 5 minutes"},
		{"ctrl/server/change.go", `maxChanges += 4 << 20`, "4,194,304 changes"},
		{"ctrl/server/change.go", `maxApplied += 10_000`, "| 10,000 |"},
		{"ctrl/server/guard.go", `rate: 50_000`, "50,000 a second"},
		{"ctrl/server/guard.go", `conns: 512`, "| 512;"},
		{"ctrl/server/guard.go", `requests: 1024`, "| 1,024, of them"},
		{"ctrl/server/guard.go", `streams: 16`, "of them 16 `ApplyStream`"},
		{"ctrl/server/guard.go", `tests: 4`, "4 `TestPath`"},
		{"ctrl/daemon/notice.go", `maxHeard = 512`, "slow | 512 |"},
		{"ctrl/server/server.go", `read: 10 \* time\.Second, idle: 60 \* time\.Second, stuck: 30 \* time\.Second`, "| 10 s; for an answer to move on 30 s; between requests 60 s |"},
		{"ctrl/server/refuse.go", `maxFaults += 20`, "the first 20 faults"},
		{"ctrl/store/history.go", `windowEvents += 1024`, "| 1,024 revisions"},
		{"ctrl/store/history.go", `windowChanges += 128 << 10`, "131,072 changes |"},
	} {
		if !regexp.MustCompile(limit.code).MatchString(read(limit.file)) {
			t.Errorf("%s no longer has %s: correct docs/api.md, which says %q, and this test", limit.file, limit.code, limit.says)
		}
		if !strings.Contains(reference, limit.says) {
			t.Errorf("docs/api.md does not say %q", limit.says)
		}
	}
}

// documents are the Markdown files that a user reads.
func documents(t *testing.T) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(root, "docs/*.md"))
	if err != nil || len(all) == 0 {
		t.Fatal(err)
	}
	for i := range all {
		all[i], _ = filepath.Rel(root, all[i])
	}
	return append(all, "README.md", "CONTRIBUTING.md")
}

// Every command that the documents show is one: targets exist, pacad does what is
// said, pacactl knows the words. Commands that ask a running pacad are run, in
// earnest, in ci/e2e.
func TestREADMECommands(t *testing.T) {
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "bin")+"/", "./ctrl/pacad", "./ctrl/pacactl")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range []string{"conf", "Makefile"} {
		abs, err := filepath.Abs(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(abs, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range documents(t) {
		for line := range strings.Lines(strings.Join(blocks(t, file, "sh"), "")) {
			command := strings.TrimSpace(line)
			word, rest, _ := strings.Cut(command, " ")
			switch word {
			case "make": // what it would do
				command = "make -n " + rest
			case "pacactl": // there is no pacad to ask
				command = `pacactl() { bin/pacactl "$@" --help; }; ` + command
			case "bin/pacad":
			case "alias", "curl", "grpcurl", "-d", "":
				continue // ci/e2e
			default:
				if strings.HasPrefix(command, "{") || strings.HasPrefix(command, `"`) || strings.HasPrefix(command, "http://paca/") {
					continue // the rest of a curl
				}
				t.Errorf("%s: nobody checks %q", file, command)
				continue
			}
			run := exec.CommandContext(t.Context(), "bash", "-c", command)
			run.Dir = dir
			if out, err := run.CombinedOutput(); err != nil {
				t.Errorf("%s: %s: %v\n%s", file, command, err, out)
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
	for _, file := range documents(t) {
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
