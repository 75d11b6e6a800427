package main

import (
	"math"
	"path/filepath"
	"strings"
	"testing"
)

// What perf reports, as it reported it.
const perfSaid = ` 20.78% |[.] paca/dataplane/worker.(*Worker).fromVM  |pacad                |-      -            
 16.00% |[.] 0x0000000000002f31                       |librte_net_null.so.23.0|-      -            
 12.20% |[.] 0x00000000000041c8                       |librte_net_pcap.so.23.0|-      -            
 10.20% |[.] 0x00000000000041d0                       |librte_net_pcap.so.23.0|-      -            
  2.22% |[.] _cgo_fbf5d4a2962b_Cfunc_shim_rx_burst    |pacad                |-      -            
  1.11% |[.] __tls_get_addr                           |ld-linux-x86-64.so.2 |-      -            
  0.67% |[k] finish_task_switch.isra.0                |[kernel.kallsyms]    |-      -            

`

func TestProfile(t *testing.T) {
	got, err := parseProfile(perfSaid, "pacad")
	want := []Function{
		{"librte_net_pcap", "C", 0.224}, {"worker.(*Worker).fromVM", "Go", 0.2078}, {"librte_net_null", "C", 0.16},
		{"shim_rx_burst", "C", 0.0222}, {"__tls_get_addr", "C", 0.0111}, {"finish_task_switch.isra.0", "kernel", 0.0067},
	}
	if err != nil || len(got) != len(want) {
		t.Fatalf("%+v, %v", got, err)
	}
	for i := range want {
		if got[i].Name != want[i].Name || got[i].In != want[i].In || math.Abs(got[i].Share-want[i].Share) > 1e-9 {
			t.Errorf("%+v, want %+v", got[i], want[i])
		}
	}
	if _, err := parseProfile("Error:\n", "pacad"); err == nil {
		t.Error("no samples, and no error")
	}

	dir := t.TempDir()
	r := &Report{Rows: []Row{{Scenario: "profile", What: "w", Series: []Series{{"pacad", []float64{50}}, {"testpmd io", []float64{10}}}, Functions: got}}}
	if err := save(dir, r); err != nil {
		t.Fatal(err)
	}
	text := read(filepath.Join(dir, "profile.md"))
	for _, line := range []string{"| `worker.(*Worker).fromVM` | Go | 20.8 % | 10.39 |", "| others | | 36.8 % | 18.41 |", "| **testpmd io** | | | **10** |"} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no %s in\n%s", line, text)
		}
	}
	// 40 Mpps are 25 ns, the devices take 10 of them, and 0.5 of 50 Mpps takes 40.
	row := Row{Scenario: "s", What: "v", Params: &plainParams, Series: []Series{{"pacad", []float64{40}}, {"testpmd io", []float64{100}}, {"testpmd mac", []float64{50}}}}
	row.compare("pacad", "testpmd mac", &Goal{0.5, 1})
	r.Rows = append(r.Rows, row)
	if err := save(dir, r); err != nil {
		t.Fatal(err)
	}
	if text, line := read(filepath.Join(dir, "profile.md")), "| v | testpmd mac | 10.0 | 15.0 | 30.0 | 10.0 |\n"; !strings.Contains(text, line) {
		t.Errorf("no %s in\n%s", line, text)
	}
	// A report without functions leaves none of another's.
	r.Rows[0].Functions = nil
	if err := save(dir, r); err != nil || exists(filepath.Join(dir, "profile.md")) {
		t.Errorf("%v", err)
	}
}
