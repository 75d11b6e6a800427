package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"paca/ci/topo"
)

// refusal runs `pacad run` on a configuration that it is to refuse, in host1, and
// returns the lines about the configuration; what else it says is its log.
func (l *lab) refusal(t *testing.T, config string) []string {
	t.Helper()
	before := residue(l)
	cmd := l.Command(t.Context(), topo.Host1, pacad(), "run", "-c", config)
	out, err := cmd.CombinedOutput()
	if err == nil || cmd.ProcessState.ExitCode() != 2 {
		t.Fatalf("exit code %d, want 2; it said:\n%s", cmd.ProcessState.ExitCode(), out)
	}
	if after := residue(l); !slices.Equal(before, after) {
		t.Errorf("left behind: before %v, after %v", before, after)
	}
	var lines []string
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		if !logLine.MatchString(line) {
			lines = append(lines, line)
		}
	}
	return lines
}

var logLine = regexp.MustCompile(`^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d (DEBUG|INFO|WARN|ERROR) `)

// residue is where a pacad could leave something: the lab's folder, DPDK's
// run-time folder, huge pages.
func residue(l *lab) []string {
	var all []string
	for _, pattern := range []string{l.dir + "/*.sock*", "/var/run/dpdk/*", "/dev/hugepages/*"} {
		found, _ := filepath.Glob(pattern)
		all = append(all, found...)
	}
	links, err := l.output(topo.Host1, "ip", "-brief", "link")
	return append(all, links, fmt.Sprint(err))
}

// Each fault: one line with file, line and key, what is wrong and what to do.
func TestRefusedConfiguration(t *testing.T) {
	l := newLab(t, true)
	l.write("policy.toml", l.example("policy.toml"))
	good := l.example("host1.toml")

	const secondBlue = `
[[port]]
name = "blue1"
role = "vm"
device = "tap:another"
vsid = 6001
mac = "10:10:10:10:11:09"
`
	for _, tc := range []struct {
		name     string
		from, to string // text that is replaced, the first time it occurs
		faulty   string // text of the line that the message must name
		key      string
		says     string
	}{
		{"unknown key", `idle = "adaptive"`, `idel = "adaptive"`, "idel", "workers.idel", "unknown"},
		{"bad CIDR", "192.168.1.10/24", "192.168.1.10/33", "192.168.1.10/33", "provider_address[0].address", "192.168.1.10/33"},
		{"VSID 4095 (W4)", "vsid = 6001", "vsid = 4095", "vsid = 4095", "port[1].vsid", "4096"},
		{"VSID 16777215 (W4)", "vsid = 6001", "vsid = 16777215", "vsid = 16777215", "port[1].vsid", "16777214"},
		{"duplicate port", "[[provider_address]]", secondBlue + "[[provider_address]]", "", "port[3].name", "port[1].name"},
		{"unknown device kind", "af_packet:blue1", "pigeon:blue1", "pigeon:blue1", "port[1].device", "pigeon"},
		{"missing interface", "af_packet:blue1", "af_packet:nobody", "af_packet:nobody", "port[1].device", "nobody"},
		{"no huge pages", `hugepages = "none" `, `hugepages = "2M" `, `"2M"`, "eal.hugepages", "2M pages"},
		{"core that does not exist", "cores = [0]", "cores = [1000]", "cores = [1000]", "workers.cores[0]", "1000"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			text := strings.Replace(good, tc.from, tc.to, 1)
			if text == good {
				t.Fatalf("the example has no %q", tc.from)
			}
			if tc.key == "eal.hugepages" {
				text = strings.Replace(text, "256MiB", "1024GiB", 1) // wherever this runs, so many are not there
			}
			if tc.faulty == "" { // the name inside what was put in
				tc.faulty = "name = \"blue1\"\nrole = \"vm\"\ndevice = \"tap:another\""
			}
			config := l.write("bad.toml", text)
			want := fmt.Sprintf("%s:%d: %s: ", config, lineOf(text, tc.faulty), tc.key)
			lines := l.refusal(t, config)
			if len(lines) != 1 || !strings.Contains(lines[0], want) || !strings.Contains(lines[0], tc.says) {
				t.Errorf("said\n%s\nwant one line with %q and %q", strings.Join(lines, "\n"), want, tc.says)
			}
			if len(lines) == 1 && !strings.Contains(lines[0], ";") {
				t.Errorf("%q does not say what to do", lines[0])
			}
		})
	}

	t.Run("all faults at once", func(t *testing.T) {
		text := strings.NewReplacer("vsid = 6001", "vsid = 4095", "192.168.1.10/24", "192.168.1.10/33", "mtu = 1500", "mut = 1500").Replace(good)
		if lines := l.refusal(t, l.write("bad.toml", text)); len(lines) != 3 {
			t.Errorf("said\n%s\nwant three lines", strings.Join(lines, "\n"))
		}
	})
	t.Run("policy file", func(t *testing.T) {
		policy := l.write("bad-policy.toml", strings.Replace(l.example("policy.toml"), "vsid = 6001", "vsid = 4095", 1))
		config := l.write("bad.toml", strings.Replace(good, `"policy.toml"`, `"bad-policy.toml"`, 1))
		lines := l.refusal(t, config)
		if len(lines) == 0 || !strings.Contains(lines[0], policy+":") || !strings.Contains(lines[0], "virtual_subnet[0].vsid") {
			t.Errorf("said\n%s\nwant the policy file, its line and virtual_subnet[0].vsid", strings.Join(lines, "\n"))
		}
	})
	t.Run("someone else's file in the socket's place", func(t *testing.T) {
		notes := l.write("host1.sock", "notes")
		config := l.write("bad.toml", good)
		want := fmt.Sprintf("%s:%d: control.socket: ", config, lineOf(good, "socket = "))
		if lines := l.refusal(t, config); len(lines) != 1 || !strings.Contains(lines[0], want) {
			t.Errorf("said\n%s\nwant one line with %q", strings.Join(lines, "\n"), want)
		}
		if text, err := os.ReadFile(notes); err != nil || string(text) != "notes" {
			t.Errorf("the file is not as it was: %q, %v", text, err)
		}
		if err := os.Remove(notes); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("no such file", func(t *testing.T) {
		absent := filepath.Join(l.dir, "absent.toml")
		if lines := l.refusal(t, absent); len(lines) != 1 || !strings.Contains(lines[0], absent) {
			t.Errorf("said %q", lines)
		}
	})
	t.Run("check says the same and starts nothing", func(t *testing.T) {
		config := l.write("bad.toml", strings.Replace(good, "vsid = 6001", "vsid = 4095", 1))
		cmd := l.Command(t.Context(), topo.Host1, pacad(), "check", "-c", config)
		out, _ := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), "port[1].vsid") {
			t.Errorf("exit code %d:\n%s", cmd.ProcessState.ExitCode(), out)
		}
		cmd = l.Command(t.Context(), topo.Host1, pacad(), "check", "-c", l.write("host1.toml", good))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("a good file: %v\n%s", err, out)
		}
	})
}

// A second pacad on one socket is refused before it touches a port; the first
// does not notice.
func TestSocketInUse(t *testing.T) {
	l := newLab(t, false)
	l.examples()
	config := filepath.Join(l.dir, "host1.toml")
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	lines := l.refusal(t, config)
	want := fmt.Sprintf("%s:%d: control.socket: ", config, lineOf(string(text), "socket = "))
	if len(lines) != 1 || !strings.Contains(lines[0], want) {
		t.Errorf("said\n%s\nwant one line with %q", strings.Join(lines, "\n"), want)
	}
	if out, err := l.output(topo.Blue1, "ping", "-c", "2", "-i", "0.1", "-W", "2", "10.1.1.12"); err != nil {
		t.Errorf("the first pacad suffered: %v\n%s", err, out)
	}
}

// lineOf is the number of the line where text begins.
func lineOf(file, text string) int {
	return strings.Count(file[:strings.Index(file, text)], "\n") + 1
}
