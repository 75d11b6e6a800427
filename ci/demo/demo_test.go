package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"paca/ci/topo"
)

// TestMain lets the test binary be the web server that the demo starts in VMs:
// to itself, it is the demo.
func TestMain(m *testing.M) {
	if len(os.Args) == 5 && os.Args[1] == "-serve-as" {
		fmt.Fprintln(os.Stderr, serve(os.Args[2], os.Args[4]))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// The demo as `make demo` runs it, but for its name and its sockets, which leave
// room for one that is up already.
func TestDemo(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIP: needs root")
	}
	if err := topo.Sweep("demo"); err != nil {
		t.Error(err)
	}
	dir, err := os.MkdirTemp("", "paca") // t.TempDir is too long a name for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	build := exec.Command("go", "build", "-o", dir, "./ctrl/pacad", "./ctrl/pacactl")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	run := filepath.Join(dir, "run")
	for _, name := range []string{"host1.toml", "host2.toml", "policy.toml"} {
		text, err := os.ReadFile(filepath.Join("../../conf/examples", name))
		if err != nil {
			t.Fatal(err)
		}
		moved := strings.ReplaceAll(string(text), "/run/paca/", run+"/")
		if err := os.WriteFile(filepath.Join(dir, name), []byte(moved), 0o644); err != nil {
			t.Fatal(err)
		}
	}

	d := demo{instance: fmt.Sprintf("demo%d", os.Getpid()), bin: dir, conf: dir}
	if err := d.locate(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := d.run(ctx, false); err != nil {
		t.Error(err)
	}
	if len(d.results) < 15 {
		t.Errorf("the demo showed %d things only", len(d.results))
	}
	if left := topo.Leftovers(d.instance); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := os.Stat(run); !os.IsNotExist(err) {
		t.Errorf("left behind: %s (%v)", run, err)
	}
}

// A demo that cannot start leaves the machine as it was, also if it was to be
// kept.
func TestDemoWithoutPacad(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIP: needs root")
	}
	d := demo{instance: fmt.Sprintf("demo%d", os.Getpid()), bin: t.TempDir(), conf: "../../conf/examples"}
	if err := d.locate(); err != nil {
		t.Fatal(err)
	}
	for i := range d.hosts {
		d.hosts[i].socket = filepath.Join(t.TempDir(), "sock")
		d.hosts[i].logFile = d.hosts[i].socket + ".log"
	}
	if err := d.run(t.Context(), true); err == nil {
		t.Error("a demo without pacad is a success")
	}
	if left := topo.Leftovers(d.instance); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
