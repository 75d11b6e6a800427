package main

import (
	"encoding/json"
	"strings"
	"testing"

	pacav1 "paca/ctrl/api/paca/v1"
)

func TestM1MTU(t *testing.T) {
	socket := furnished(t)
	var all strings.Builder
	for _, args := range [][]string{
		{"mtu"}, {"mtu", "--vsid", "6001"}, {"mtu", "--pa", "2001:db8::30,192.168.9.9"}, {"mtu", "--vsid", "5001"},
		{"mtu", "test", "192.168.2.20"}, {"mtu", "test", "192.168.2.20", "--size", "1400", "--from", "192.168.1.10"},
	} {
		all.WriteString("$ pacactl " + strings.Join(args, " ") + "\n" + done(t, socket, args...) + "\n")
	}
	for _, args := range [][]string{{"mtu", "test", "192.168.9.9"}, {"mtu", "test", "192.168.2.20", "--size", "1401"}} {
		code, out, errOut := call(socket, args...)
		if code != 1 || errOut != "" {
			t.Errorf("%q: exit code %d, %s", args, code, errOut)
		}
		all.WriteString("$ pacactl " + strings.Join(args, " ") + "\n" + out + "\n")
	}
	golden(t, "mtu.txt", all.String())

	var answer struct {
		Largest int
		Probes  []struct {
			Size   int
			Passed bool
		}
	}
	if err := json.Unmarshal([]byte(done(t, socket, "mtu", "test", "192.168.2.20", "-o", "json")), &answer); err != nil || answer.Largest != 1400 || len(answer.Probes) != 4 {
		t.Errorf("%+v, %v", answer, err)
	}
	for _, tt := range []struct {
		code int
		args string
		says string
	}{
		{2, "mtu test", "accepts 1 arg(s)"},
		{2, "mtu 192.168.2.20", "unknown command"},
		{2, "mtu test 192.168.2.20 --size big", `"big" is not a number of 32 bits`},
		{1, "mtu test 192.168.2.20 --size 67", "size 67 is not in 68 to 9702 bytes (M1)"},
		{1, "mtu test host2", `pa "host2" is not an IP address`},
		{1, "mtu test 192.168.2.20 --from 192.168.1.11", "192.168.1.11 is not a provider address of this host (P13)"},
		{1, "mtu --vsid 1", "vsid 1 is not in 4096 to 16777214 (W4)"},
		{1, "mtu --pa x", `pa "x" is not an IP address`},
	} {
		if got := refused(t, tt.code, socket, strings.Fields(tt.args)...); !strings.Contains(got, tt.says) {
			t.Errorf("%s: says %s, want %s", tt.args, got, tt.says)
		}
	}
}

func TestMicroseconds(t *testing.T) {
	for n, want := range map[uint32]string{0: "0 µs", 999: "999 µs", 1000: "1 ms", 1250: "1.2 ms", 12345678: "12345.7 ms"} {
		if got := microseconds(n); got != want {
			t.Errorf("%d is %s, want %s", n, got, want)
		}
	}
	if got := limitedBy(&pacav1.PathMTU{LimitedBy: "guess"}); got != "guess" { // of a newer daemon
		t.Errorf("a limit by a guess is by %s", got)
	}
}
