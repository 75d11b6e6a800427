package main

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/gopacket"
)

// sends are what a program is to send of flows.
func sends(prog program, p Params, flows []flow) (frames [][]byte) {
	for _, f := range flows {
		l, _ := prog.wants(p, f, 100)
		frames = append(frames, bytes.Clone(frame(gopacket.NewSerializeBuffer(), l)))
	}
	return frames
}

// A capture is judged by what is in it: every frame once, and as it should be.
func TestJudge(t *testing.T) {
	nvgre := Params{Mode: "nvgre", Direction: "egress", Flows: 8, Records: 8, Cores: 1, CA: 4, PA: 4}
	nvgre6 := nvgre
	nvgre6.CA, nvgre6.PA = 6, 6
	inbound := nvgre
	inbound.Direction = "ingress"
	rewrite := nvgre
	rewrite.Mode = "rewrite"
	for _, c := range []struct {
		name    string
		p       Params
		program program
		damage  func(frames [][]byte) [][]byte
		want    string // "" if it is good
	}{
		{"nothing", nvgre, pacad{}, func(f [][]byte) [][]byte { return f }, ""},
		{"nothing", nvgre6, ovs{}, func(f [][]byte) [][]byte { return f }, ""},
		{"nothing", inbound, pacad{}, func(f [][]byte) [][]byte { return f }, ""},
		{"nothing", rewrite, pacad{}, func(f [][]byte) [][]byte { return f }, ""},
		{"nothing", nvgre, testpmd{"csum"}, func(f [][]byte) [][]byte { return f }, ""},
		{"more of its own", nvgre, pacad{}, func(f [][]byte) [][]byte { return append([][]byte{make([]byte, 60)}, f...) }, ""},
		{"another flow id", nvgre, pacad{}, func(f [][]byte) [][]byte { f[3][14+20+7]++; return f }, ""},
		{"MAC of an uplink", rewrite, pacad{}, func(f [][]byte) [][]byte { f[3][11]++; return f }, ""},
		{"MAC addresses", nvgre, testpmd{"mac"}, func(f [][]byte) [][]byte { f[3][0]++; return f }, ""},
		{"MAC addresses", nvgre, testpmd{"io"}, func(f [][]byte) [][]byte { f[3][0]++; return f }, "of 8 frames, 8 came out and 1 are not"},
		{"MAC of a VM", inbound, pacad{}, func(f [][]byte) [][]byte { f[3][0]++; return f }, "and 1 are not"},
		{"one lost", nvgre, pacad{}, func(f [][]byte) [][]byte { return f[1:] }, "of 8 frames, 7 came out and 1 are not"},
		{"all lost", nvgre, pacad{}, func([][]byte) [][]byte { return nil }, "of 8 frames, 0 came out and 8 are not"},
		{"none encapsulated", nvgre, ovs{}, func([][]byte) [][]byte { return sends(testpmd{"io"}, nvgre, nvgre.flows()) }, "and 8 are not"},
		{"one twice, one lost", nvgre, pacad{}, func(f [][]byte) [][]byte { f[1] = f[0]; return f }, "and 1 are not"},
		{"outer checksum", nvgre, pacad{}, func(f [][]byte) [][]byte { f[3][14+10]++; return f }, "outer header's checksum is wrong"},
		{"another VSID", nvgre, pacad{}, func(f [][]byte) [][]byte { f[3][14+20+6]++; return f }, "and 1 are not"},
		{"GRE with a checksum", nvgre, pacad{}, func(f [][]byte) [][]byte { f[3][14+20] |= 0x80; return f }, "no NVGRE header"},
		{"another PA", nvgre6, pacad{}, func(f [][]byte) [][]byte { f[3][14+39]++; return f }, "and 1 are not"},
		{"the VM's bytes", nvgre, ovs{}, func(f [][]byte) [][]byte { f[3][len(f[3])-1]++; return f }, "and 1 are not"},
		{"address not rewritten", rewrite, pacad{}, func([][]byte) [][]byte { return sends(testpmd{"io"}, rewrite, rewrite.flows()) }, "and 8 are not"},
	} {
		flows := c.p.flows()
		out := filepath.Join(t.TempDir(), "out.pcap")
		if err := writeCapture(out, slices.Values(c.damage(sends(c.program, c.p, flows)))); err != nil {
			t.Fatal(err)
		}
		err := c.p.judge(c.program, flows, func(int) int { return 100 }, out)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s of %s %s, changed: %s: %v, want %q", c.program.name(), c.p.Mode, c.p.Direction, c.name, err, c.want)
		}
	}
}
