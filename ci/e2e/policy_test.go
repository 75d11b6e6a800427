package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"paca/ci/topo"
)

// bare is a host file with nothing but an uplink: all else is policy.
const bare = `
[host]
name = %[1]q
[eal]
memory = "256MiB"
hugepages = "none"
[workers]
cores = [%[2]d]
[[port]]
name = "uplink0"
role = "uplink"
device = "af_packet:uplink0"
[policy]
store = "bolt:%[3]s/%[1]s.db"
[control]
socket = "%[3]s/%[1]s.sock"
[metrics]
listen = "127.0.0.1:9470"
`

// bareHosts starts both hosts without policy.
func (l *lab) bareHosts() map[string]*topo.Daemon {
	l.t.Helper()
	hosts := map[string]*topo.Daemon{}
	for core, name := range []string{topo.Host1, topo.Host2} {
		l.write(name+".toml", fmt.Sprintf(bare, name, core, l.dir))
		hosts[name] = l.start(name)
	}
	return hosts
}

// pacactl runs one command against a host and fails the test unless it does as
// wanted.
func (l *lab) pacactl(host string, args ...string) string {
	l.t.Helper()
	out, err := exec.CommandContext(l.t.Context(), pacactl(), append(args, "--socket", l.socket(host))...).CombinedOutput()
	if err != nil {
		l.t.Fatalf("pacactl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// fiveSteps plugs the VMs in and runs the examples' PowerShell on both hosts.
func (l *lab) fiveSteps() {
	l.t.Helper()
	for _, h := range []struct{ host, port, mac string }{
		{topo.Host1, "blue1", "10:10:10:10:11:05"},
		{topo.Host2, "blue2", "10:10:10:10:11:07"},
	} {
		l.pacactl(h.host, "port", "add", "--name", h.port, "--role", "vm", "--device", "af_packet:"+h.port, "--mac", h.mac)
		l.pacactl(h.host, "ps1", "../../conf/examples/blue-"+h.host+".ps1")
	}
}

func (l *lab) ping(from, to string) {
	l.t.Helper()
	if out, err := l.output(from, "ping", "-c", "3", "-i", "0.2", "-W", "2", to); err != nil {
		l.t.Errorf("%v\n%s", err, out)
	}
}

// The five-step HNV setup as PowerShell, on two hosts that know nothing, then a
// kill -9: policy and the plugged ports are there again.
func TestFiveStepsOfHNV(t *testing.T) {
	l := newLab(t, false)
	hosts := l.bareHosts()
	l.fiveSteps()
	l.ping(topo.Blue1, "10.1.1.12")

	if out := l.pacactl(topo.Host1, "ps1", "../../conf/examples/blue-host1.ps1", "--dry-run"); strings.Contains(out, "error") {
		t.Errorf("a dry run of what is in force says\n%s", out)
	}
	before := l.pacactl(topo.Host1, "export")
	if err := hosts[topo.Host1].Kill(); err != nil {
		t.Fatal(err)
	}
	l.start(topo.Host1)
	if after := l.pacactl(topo.Host1, "export"); after != before {
		t.Errorf("policy after kill -9\n%s\nbefore\n%s", after, before)
	}
	l.ping(topo.Blue1, "10.1.1.12")

	// A VM stops and starts without anything else noticing.
	l.pacactl(topo.Host1, "port", "del", "--name", "blue1")
	if out, err := l.output(topo.Blue1, "ping", "-c", "1", "-W", "1", "10.1.1.12"); err == nil {
		t.Errorf("a VM that was plugged out gets through\n%s", out)
	}
	l.pacactl(topo.Host1, "port", "add", "--name", "blue1", "--role", "vm", "--device", "af_packet:blue1", "--mac", "10:10:10:10:11:05", "--vsid", "6001")
	l.ping(topo.Blue1, "10.1.1.12")
}

// A record's PA changes back and forth under a 100 Hz ping to another CA, which
// loses nothing; and under garbage on the control socket.
func TestL40OthersDoNotNotice(t *testing.T) {
	l := newLab(t, false)
	l.bareHosts()
	l.fiveSteps()
	l.ping(topo.Blue1, "10.1.1.12") // caches are warm
	l.pacactl(topo.Host1, "lookup-record", "add", "--vsid", "6001", "--ca", "10.1.1.50", "--mac", "10:10:10:10:11:50", "--pa", "192.168.2.20")

	stop := make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			pa := []string{"192.168.2.21", "192.168.2.20"}[i%2]
			out, err := exec.Command(pacactl(), "lookup-record", "set", "--vsid", "6001", "--ca", "10.1.1.50", "--mac", "10:10:10:10:11:50", "--pa", pa, "--socket", l.socket(topo.Host1)).CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, out)
				return
			}
		}
	})
	others.Go(func() {
		random := rand.New(rand.NewPCG(1, 2))
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			c, err := net.Dial("unix", l.socket(topo.Host1))
			if err != nil {
				t.Error(err)
				return
			}
			garbage := make([]byte, random.IntN(2000))
			for i := range garbage {
				garbage[i] = byte(random.Uint32())
			}
			_, _ = c.Write(garbage)
			_ = c.Close()
		}
	})
	out, err := l.output(topo.Blue1, "ping", "-q", "-c", "300", "-i", "0.01", "-W", "2", "10.1.1.12")
	close(stop)
	others.Wait()
	if err != nil || !strings.Contains(out, " 300 received") {
		t.Errorf("%v\n%s", err, out)
	}
}

// What operators without pacactl type: JSON over the socket.
func TestCurl(t *testing.T) {
	l := newLab(t, false)
	l.bareHosts()
	curl := func(method, request string) map[string]any {
		t.Helper()
		out, err := exec.Command("curl", "-sS", "--unix-socket", l.socket(topo.Host1), "-H", "Content-Type: application/json",
			"-d", request, "http://paca/paca.v1.Control/"+method).Output()
		if err != nil {
			t.Fatal(err)
		}
		var answer map[string]any
		if err := json.Unmarshal(out, &answer); err != nil {
			t.Fatalf("%s: %v\n%s", method, err, out)
		}
		return answer
	}
	if a := curl("Status", "{}"); a["name"] != topo.Host1 {
		t.Errorf("Status: %v", a)
	}
	put := `{"changes":[{"put":{"virtualSubnet":{"vsid":6001,"rdid":"{11111111-2222-3333-4444-000000000000}","prefixes":["10.1.1.0/24"],"mode":"nvgre"}}}]}`
	if a := curl("Apply", put); a["revision"] != "1" {
		t.Errorf("Apply: %v", a)
	}
	bad := strings.Replace(put, "10.1.1.0/24", "10.1.1.1/24", 1)
	if a := fmt.Sprint(curl("Apply", bad)); !regexp.MustCompile(`invalid_argument`).MatchString(a) || !strings.Contains(a, "P11") {
		t.Errorf("a bad Apply: %v", a)
	}
}

// A store that cannot be read: refused and left as it is; with --recover-from the
// operator goes on from an export, and the file is still there.
func TestUnreadableStore(t *testing.T) {
	l := newLab(t, false)
	l.write("host1.toml", fmt.Sprintf(bare, topo.Host1, 0, l.dir))
	garbage := strings.Repeat("this is no policy\n", 1000)
	db := l.write("host1.db", garbage)
	out, err := l.output(topo.Host1, pacad(), "run", "-c", filepath.Join(l.dir, "host1.toml"))
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(out, "policy.store: ") || !strings.Contains(out, "host1.toml:") {
		t.Errorf("%v\n%s", err, out)
	}
	if b, err := os.ReadFile(db); err != nil || string(b) != garbage {
		t.Error("the file was touched", err)
	}

	export := l.write("export.toml", l.example("policy.toml"))
	ctx, stop := context.WithCancel(t.Context())
	cmd := l.Command(ctx, topo.Host1, pacad(), "run", "-c", filepath.Join(l.dir, "host1.toml"), "--recover-from", export)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { stop(); _ = cmd.Wait() }()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		out, err := exec.Command(pacactl(), "lookup-record", "list", "--socket", l.socket(topo.Host1)).CombinedOutput()
		if err == nil {
			if !strings.Contains(string(out), "10.1.1.12") {
				t.Errorf("recovered policy:\n%s", out)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	kept, _ := filepath.Glob(db + ".unreadable-*")
	if len(kept) != 1 {
		t.Fatalf("kept: %v", kept)
	}
	if b, err := os.ReadFile(kept[0]); err != nil || string(b) != garbage {
		t.Error("what was kept is not what was there", err)
	}
}
