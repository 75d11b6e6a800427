// Package e2e drives the finished programs over network namespaces: what goes in
// at one end, what comes out at the other, what was counted, and what an operator
// reads when something is wrong. Frames are made and judged by scapy and tshark.
//
// Part of ci; it holds nothing but tests, and needs root.
package e2e

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"paca/ci/topo"
	"paca/dataplane/count"
)

// python is Debian's, which has Debian's scapy, whatever else is in the PATH.
const python = "/usr/bin/python3"

// programs is the folder of the pacad and pacactl under test.
var programs string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Geteuid() != 0 {
		return m.Run() // every test skips
	}
	dir, err := os.MkdirTemp("", "paca-e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	programs = dir
	build := exec.Command("go", "build", "-o", dir, "./ctrl/pacad", "./ctrl/pacactl")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%s\n%s", err, out)
		return 1
	}
	if err := topo.Sweep("e2e"); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return m.Run()
}

func pacad() string   { return filepath.Join(programs, "pacad") }
func pacactl() string { return filepath.Join(programs, "pacactl") }

// lab is a picture with the folder that its configuration is written to.
type lab struct {
	*topo.Topology
	t   *testing.T
	dir string
}

// newLab builds the plain picture for one test and takes it down with it.
func newLab(t *testing.T, silent bool) *lab {
	t.Helper()
	return newLabWith(t, topo.Options{Silent: silent})
}

// newLabWith builds a picture with more in it.
func newLabWith(t *testing.T, o topo.Options) *lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIP: needs root")
	}
	o.Instance = fmt.Sprintf("e2e%d", os.Getpid())
	net, err := topo.New(o)
	if err != nil {
		t.Fatal(err)
	}
	// Not t.TempDir: its names are too long for a socket's.
	dir, err := os.MkdirTemp("", "paca")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			logs, _ := filepath.Glob(filepath.Join(dir, "*.log"))
			for _, l := range logs {
				said, _ := os.ReadFile(l)
				t.Logf("%s:\n%s", filepath.Base(l), said)
			}
		}
		if err := net.Close(); err != nil {
			t.Error(err)
		}
		if left := topo.Leftovers(o.Instance); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		_ = os.RemoveAll(dir)
	})
	return &lab{net, t, dir}
}

// write puts a file into the lab's folder.
func (l *lab) write(name, content string) string {
	l.t.Helper()
	path := filepath.Join(l.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		l.t.Fatal(err)
	}
	return path
}

// example is a file of conf/examples, its sockets moved to the lab's folder.
func (l *lab) example(name string) string {
	l.t.Helper()
	text, err := os.ReadFile(filepath.Join("../../conf/examples", name))
	if err != nil {
		l.t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), "/run/paca/", l.dir+"/")
}

func (l *lab) socket(host string) string { return filepath.Join(l.dir, host+".sock") }

// start starts the pacad of a host with a configuration written already.
func (l *lab) start(host string) *topo.Daemon {
	l.t.Helper()
	d, err := l.Start(host, topo.Setup{
		Program: pacad(),
		Config:  filepath.Join(l.dir, host+".toml"),
		Socket:  l.socket(host),
		LogFile: filepath.Join(l.dir, host+".log"),
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return d
}

// examples starts both hosts as the demo does.
func (l *lab) examples() (host1, host2 *topo.Daemon) {
	l.t.Helper()
	for _, name := range []string{"host1.toml", "host2.toml", "policy.toml"} {
		l.write(name, l.example(name))
	}
	return l.start(topo.Host1), l.start(topo.Host2)
}

// open takes hold of an interface until the test ends.
func (l *lab) open(ns, iface string) *topo.Wire {
	l.t.Helper()
	w, err := l.Open(ns, iface)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = w.Close() })
	return w
}

// output runs a command inside a namespace; failing is the caller's to judge.
func (l *lab) output(ns string, args ...string) (string, error) {
	out, err := l.Command(l.t.Context(), ns, args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

var dropLine = regexp.MustCompile(`(?m)^paca_drops_total\{port="([^"]*)",reason="([^"]*)"\} (\S+)$`)

// drops are the drops that a host has counted, by reason, those of all ports
// together; reasons that counted nothing are absent.
func (l *lab) drops(host string) map[string]int {
	l.t.Helper()
	text, err := l.output(host, "curl", "-s", "-S", "--max-time", "5", "http://127.0.0.1:9470/metrics")
	if err != nil {
		l.t.Fatalf("metrics of %s: %v: %s", host, err, text)
	}
	lines := dropLine.FindAllStringSubmatch(text, -1)
	if len(lines) == 0 {
		l.t.Fatalf("metrics of %s say nothing about drops", host)
	}
	sum := map[string]int{}
	for _, m := range lines {
		if _, known := count.ReasonOf(m[2]); !known {
			l.t.Errorf("drop reason %q is not on the list", m[2])
		}
		n, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			l.t.Fatal(err)
		}
		if n > 0 {
			sum[m[2]] += int(n)
		}
	}
	return sum
}

// expectDrops waits until the drops since before are exactly those wanted.
func (l *lab) expectDrops(host string, before, want map[string]int) {
	l.t.Helper()
	for deadline := time.Now().Add(time.Second); ; time.Sleep(5 * time.Millisecond) {
		got := l.drops(host)
		for reason, n := range before {
			if got[reason] -= n; got[reason] == 0 {
				delete(got, reason)
			}
		}
		if maps.Equal(got, want) {
			return
		}
		if time.Now().After(deadline) {
			l.t.Errorf("dropped %v, want %v", got, want)
			return
		}
	}
}

// ask runs a Python script of testdata, the question on its standard input, and
// decodes its answer.
func ask(t *testing.T, script string, question, answer any) {
	t.Helper()
	in, err := json.Marshal(question)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python, filepath.Join("testdata", script))
	cmd.Stdin = strings.NewReader(string(in))
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, complaint.String())
	}
	if err := json.Unmarshal(out, answer); err != nil {
		t.Fatalf("%s answered %q: %v", script, out, err)
	}
}

// hexOf is text as ping -p takes it.
func hexOf(text string) string { return hex.EncodeToString([]byte(text)) }
