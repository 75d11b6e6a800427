package daemon

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"paca/conf"
	"paca/dataplane/policy"
)

// writeFiles makes a host file and its policy file from the demo's, each with
// one text replaced.
func writeFiles(t *testing.T, hostOld, hostNew, policyOld, policyNew string) string {
	t.Helper()
	dir := t.TempDir()
	replace := func(name, old, new string) string {
		b, err := os.ReadFile("../../conf/examples/" + name)
		if err != nil {
			t.Fatal(err)
		}
		s := string(b)
		if !strings.Contains(s, old) {
			t.Fatalf("%s has no %q", name, old)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(strings.Replace(s, old, new, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	replace("policy.toml", policyOld, policyNew)
	return replace("host1.toml", hostOld, hostNew)
}

func TestCheckGood(t *testing.T) {
	if err := Check(writeFiles(t, "", "", "", "")); err != nil {
		t.Error(err)
	}
}

// Faults that only the whole policy shows are told with file, line and key, all
// at once.
func TestCheckFindsFaultsOfTheWhole(t *testing.T) {
	for _, c := range []struct {
		name                                   string
		hostOld, hostNew, policyOld, policyNew string
		want                                   []string
	}{
		{"P6", "", "", `ca = "10.1.1.12"`, `ca = "10.1.1.11"`, []string{"policy.toml:", "lookup_record[2].ca: ", "(P6)"}},
		{"P20", "", "", `ca = "10.1.1.12"`, `ca = "10.1.1.1"`, []string{"policy.toml:", "lookup_record[2].ca: ", "(P20)"}},
		{"P4", "", "", `"10.1.1.0/24", "fd00`, `"10.1.1.0/24", "10.1.1.128/25", "fd00`, []string{"policy.toml:", "virtual_subnet[0].prefixes: ", "(P4)"}},
		{"P16", `next_hop = "192.168.1.1"`, `next_hop = "172.16.0.1"`, "", "", []string{"host1.toml:", "provider_route[0].next_hop: ", "(P16)"}},
		{"both files", `next_hop = "192.168.1.1"`, `next_hop = "172.16.0.1"`, `ca = "10.1.1.12"`, `ca = "10.1.1.1"`, []string{"(P16)", "(P20)"}},
	} {
		err := Check(writeFiles(t, c.hostOld, c.hostNew, c.policyOld, c.policyNew))
		if err == nil {
			t.Errorf("%s: no fault", c.name)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q is not in\n%v", c.name, want, err)
			}
		}
		for line := range strings.SplitSeq(err.Error(), "\n") {
			if !strings.Contains(line, ".toml:") {
				t.Errorf("%s: line without a place: %s", c.name, line)
			}
		}
	}
}

func TestMachineFaults(t *testing.T) {
	c, err := conf.Load(writeFiles(t, "cores = [0]", "cores = [0, 999]", "", ""))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cores(c); err == nil || !strings.Contains(err.Error(), "workers.cores[1]: ") {
		t.Errorf("core 999: %v", err)
	}
	c, err = conf.Load(writeFiles(t, "hugepages = \"none\"", "hugepages = \"1G\"", "", ""))
	if err != nil {
		t.Fatal(err)
	}
	c.EAL.Memory = 1 << 30 // MiB: more than any machine has
	var log bytes.Buffer
	h := &host{conf: c, book: policy.NewBook(), log: slog.New(slog.NewTextHandler(&log, nil))}
	if _, err := h.ealArgs(); err == nil || !strings.Contains(err.Error(), "eal.hugepages: ") {
		t.Errorf("no pages: %v", err)
	}
	c.EAL.Hugepages = conf.HugepagesAuto
	if args, err := h.ealArgs(); err != nil || !strings.Contains(strings.Join(args, " "), "--no-huge") {
		t.Errorf("auto without pages: %v, %v", args, err)
	}
	if !strings.Contains(log.String(), "ordinary pages") {
		t.Errorf("auto without pages says %q", log.String())
	}
}

func TestBuffers(t *testing.T) {
	h := &host{conf: &conf.Config{EAL: conf.EAL{Memory: 64}, Workers: conf.Workers{Cores: []int{1}}}}
	if n := h.buffers(2048); n < 8000 || n > 32<<20/2048 {
		t.Errorf("%d buffers of 2 KiB are not half of 64 MiB", n)
	}
	h.conf.EAL.Buffers = 2_000_000
	if n := h.buffers(2048); n != 2_000_000 {
		t.Errorf("%d buffers, 2000000 were configured", n)
	}
}
