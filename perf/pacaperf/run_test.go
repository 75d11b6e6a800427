package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A scenario from the file to the plots, with the real programs. How fast they are
// is not judged: whoever runs this may be busy.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "pacad")
	if out, err := exec.Command("go", "build", "-o", program, "paca/ctrl/pacad").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	scenarios := filepath.Join(dir, "scenarios")
	text := strings.Replace(good, `"egress"`, `["egress", "ingress"]`, 1) + "frame = \"IMIX\"\nflows = 64\nrecords = 64\nrounds = 2\n[goals]\n\"testpmd mac\" = { hold = 0.1, aim = 0.2 }\n"
	if err := os.Mkdir(scenarios, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(scenarios, "short.toml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	scratch := filepath.Join(dir, "tmp")
	if err := os.Mkdir(scratch, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", scratch)
	out := filepath.Join(dir, "results")
	if err := run(t.Context(), []string{"-pacad", program, "-scenarios", scenarios, "-window", "200ms", "-rounds", "1", "-out", out, "short"}); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(scratch); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	r, err := readReport(filepath.Join(out, "latest.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Rows) != 2 || r.Machine.CPU == "" || r.Machine.DPDK == "" || r.Machine.Kernel == "" || r.Machine.Memory == 0 {
		t.Fatalf("%+v", r)
	}
	for _, row := range r.Rows {
		if len(row.Series) != 2 || len(row.Ratios) != 1 || row.Ratios[0].Goal == nil {
			t.Errorf("%s: %+v", row.What, row)
			continue
		}
		for _, s := range row.Series {
			if len(s.Samples) != 1 || s.Samples[0] <= 0 {
				t.Errorf("%s: %s: %v", row.What, s.Name, s.Samples)
			}
		}
	}
	if table := read(filepath.Join(out, "latest.md")); !strings.Contains(table, "| nvgre ingress, IMIX, 1 core, 64 flows, 64 records | pacad |") {
		t.Error(table)
	}
}
