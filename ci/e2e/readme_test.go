package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"paca/ci/topo"
)

// elsewhere is what of the documents' commands is not run here, by how it begins,
// and why. grpcurl, which Debian has not, is run where it is.
var elsewhere = map[string]string{
	"make ":      "TestREADMECommands in ci; what the targets build is tested by itself",
	"bin/pacad ": "TestREADMECommands in ci",
}

// endless are commands that run until interrupted, and then have done well.
var endless = []string{"pacactl watch"}

// documents are the files whose commands are run, each against a demo of its own.
func documents(t *testing.T) []string {
	t.Helper()
	all, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	return append([]string{"../../README.md"}, all...)
}

var shBlock = regexp.MustCompile("(?s)```sh\n(.*?)```")

// commands are those of a document's sh blocks, with their comments; a line that
// ends in a backslash, or within quotes, goes on in the next.
func commands(t *testing.T, document string) []string {
	t.Helper()
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, block := range shBlock.FindAllStringSubmatch(string(text), -1) {
		command := ""
		for line := range strings.Lines(block[1]) {
			command += line
			if !strings.HasSuffix(line, "\\\n") && strings.Count(command, "'")%2 == 0 {
				if command = strings.TrimSpace(command); command != "" && command[0] != '#' {
					all = append(all, command)
				}
				command = ""
			}
		}
	}
	return all
}

// Every command that the documents show does what they say, in their order, on a
// host as the demo's; only the socket's place is another. A comment that says "exit
// code N" is held to it.
func TestDocumentedCommands(t *testing.T) {
	exitCode := regexp.MustCompile(`#.*exit code (\d)`)
	for _, document := range documents(t) {
		all := commands(t, document)
		if len(all) == 0 {
			continue
		}
		t.Run(filepath.Base(document), func(t *testing.T) {
			l := newLab(t, false)
			l.examples()
			root, err := filepath.Abs("../..")
			if err != nil {
				t.Fatal(err)
			}
			for link, to := range map[string]string{"conf": filepath.Join(root, "conf"), "bin": programs} {
				if err := os.Symlink(to, filepath.Join(l.dir, link)); err != nil {
					t.Fatal(err)
				}
			}
			alias := "alias pacactl='bin/pacactl --socket /run/paca/host1.sock'"
			for _, command := range all {
				if strings.HasPrefix(command, "alias ") {
					alias = command
					continue
				}
				if why := without(command); why != "" {
					t.Logf("not run: %s: %s", command, why)
					continue
				}
				want := 0
				if m := exitCode.FindStringSubmatch(command); m != nil {
					want, _ = strconv.Atoi(m[1])
				}
				script := strings.ReplaceAll("shopt -s expand_aliases\n"+alias+"\n"+command, "/run/paca/", l.dir+"/")
				out, code := l.shell(script, isEndless(command))
				t.Logf("$ %s\n%s", command, out)
				if code != want {
					t.Errorf("%s: exit code %d, want %d\n%s", command, code, want, out)
				}
				if strings.HasPrefix(command, "curl") && strings.Contains(out, `"code"`) {
					t.Errorf("%s is refused:\n%s", command, out)
				}
			}
		})
	}
}

func without(command string) string {
	if strings.HasPrefix(command, "grpcurl ") {
		if _, err := exec.LookPath("grpcurl"); err != nil {
			return "there is none here; reflection is tested in ctrl/server"
		}
	}
	for begin, why := range elsewhere {
		if strings.HasPrefix(command, begin) {
			return why
		}
	}
	return ""
}

func isEndless(command string) bool {
	for _, begin := range endless {
		if strings.HasPrefix(command, begin) {
			return true
		}
	}
	return false
}

// shell runs a script in the lab's folder; one without end is interrupted after a
// second, as by Ctrl-C.
func (l *lab) shell(script string, endless bool) (out string, code int) {
	l.t.Helper()
	cmd := exec.CommandContext(l.t.Context(), "bash", "-c", script)
	cmd.Dir = l.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	if endless {
		interrupt := time.AfterFunc(time.Second, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) })
		defer interrupt.Stop()
	}
	_ = cmd.Wait() // the exit code says it
	return said.String(), cmd.ProcessState.ExitCode()
}

// A store that cannot be read is refused and left alone; an export takes its place
// if it is told to.
func TestRecoverFrom(t *testing.T) {
	l := newLab(t, true)
	hosts := l.bareHosts()
	l.pacactl(topo.Host1, "port", "add", "blue1", "--role", "vm", "--device", "af_packet:blue1", "--mac", "10:10:10:10:11:05")
	l.pacactl(topo.Host1, "ps1", "../../conf/examples/blue-host1.ps1")
	before := l.pacactl(topo.Host1, "export")
	export := l.write("export.toml", before)
	if err := hosts[topo.Host1].Stop(); err != nil {
		t.Fatal(err)
	}

	store := filepath.Join(l.dir, "host1.db")
	damaged, err := os.ReadFile(store)
	if err != nil {
		t.Fatal(err)
	}
	copy(damaged[len(damaged)/2:], "damage")
	copy(damaged, make([]byte, 64))
	if err := os.WriteFile(store, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	lines := l.refusal(t, filepath.Join(l.dir, "host1.toml"))
	if len(lines) != 1 || !strings.Contains(lines[0], "policy.store: ") || !strings.Contains(lines[0], store) {
		t.Errorf("said\n%s\nwant one line with policy.store and %s", strings.Join(lines, "\n"), store)
	}
	if is, err := os.ReadFile(store); err != nil || !bytes.Equal(is, damaged) {
		t.Errorf("the refused file is not as it was (%v)", err)
	}

	recovering := l.write("recovering", "#!/bin/sh\nexec "+pacad()+` "$@" --recover-from `+export+"\n")
	if err := os.Chmod(recovering, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Start(topo.Host1, topo.Setup{
		Program: recovering,
		Config:  filepath.Join(l.dir, "host1.toml"),
		Socket:  l.socket(topo.Host1),
		LogFile: filepath.Join(l.dir, "host1.log"),
	}); err != nil {
		t.Fatal(err)
	}
	if after := l.pacactl(topo.Host1, "export"); after != before {
		t.Errorf("policy after recovery\n%s\nbefore\n%s", after, before)
	}
	aside, _ := filepath.Glob(store + ".unreadable-*")
	if len(aside) != 1 {
		t.Fatalf("the damaged file was kept as %v", aside)
	}
	if is, err := os.ReadFile(aside[0]); err != nil || !bytes.Equal(is, damaged) {
		t.Errorf("the file set aside is not as it was (%v)", err)
	}
}
