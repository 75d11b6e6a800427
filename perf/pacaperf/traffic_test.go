package main

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// Frames have the size that was asked for, and no layer in them is broken.
func TestCaptures(t *testing.T) {
	for _, p := range []Params{
		{Mode: "nvgre", Direction: "egress", Frame: "60", CA: 4, PA: 4},
		{Mode: "nvgre", Direction: "ingress", Frame: "60", CA: 4, PA: 4},
		{Mode: "nvgre", Direction: "ingress", Frame: "64", CA: 6, PA: 6},
		{Mode: "nvgre", Direction: "egress", Frame: "IMIX", CA: 6, PA: 4},
		{Mode: "rewrite", Direction: "ingress", Frame: "1514", CA: 4, PA: 4},
	} {
		p.Flows, p.Records, p.Cores = 25, 5, 2
		dir := t.TempDir()
		paths := []string{filepath.Join(dir, "a"), filepath.Join(dir, "b")}
		if err := p.writeCaptures(paths, p.flows(), p.size); err != nil {
			t.Fatal(err)
		}
		tunnel := 0
		if p.Mode == "nvgre" && p.Direction == "ingress" {
			tunnel = 14 + 20 + 8
			if p.PA == 6 {
				tunnel += 20
			}
		}
		all := 0
		for q, path := range paths {
			frames, err := readCapture(path)
			if err != nil {
				t.Fatal(err)
			}
			for i, f := range frames {
				if want := p.size(q+i*len(paths)) + tunnel; len(f) != want {
					t.Errorf("%s: frame %d of queue %d has %d bytes, not %d", p.what(), i, q, len(f), want)
				}
				packet := gopacket.NewPacket(f, layers.LayerTypeEthernet, gopacket.Default)
				if packet.ErrorLayer() != nil || packet.Layer(layers.LayerTypeUDP) == nil {
					t.Errorf("%s: %s", p.what(), packet.Dump())
				}
			}
			all += len(frames)
		}
		if all != p.Flows {
			t.Errorf("%s: %d frames of %d flows", p.what(), all, p.Flows)
		}
	}
}

// All records are met, about as often as each other, and the same ones in each run.
func TestFlows(t *testing.T) {
	p := Params{Flows: 100_000, Records: 100}
	flows := p.flows()
	if !slices.Equal(flows, p.flows()) {
		t.Error("other flows the second time")
	}
	met := make([]int, p.Records)
	for _, f := range flows {
		met[f.record]++
	}
	if slices.Min(met) < 850 || slices.Max(met) > 1150 {
		t.Errorf("of 1000 on average, %d to %d", slices.Min(met), slices.Max(met))
	}
}

// No two VMs have anything in common, but for a PA in NVGRE, which is a host's.
func TestRemotes(t *testing.T) {
	for _, mode := range []string{"nvgre", "rewrite"} {
		seen, hosts := map[any]bool{}, map[any]bool{}
		for i := range 10_000 {
			e := remote(i*100, mode)
			for _, id := range []any{[6]byte(e.mac), e.ca4, e.ca6} {
				if seen[id] {
					t.Fatalf("%s: record %d has what another has: %v", mode, i, id)
				}
				seen[id] = true
			}
			if !subnets[0].Contains(e.ca4) || !subnets[1].Contains(e.ca6) {
				t.Fatalf("%s: record %d is outside: %v, %v", mode, i, e.ca4, e.ca6)
			}
			hosts[e.pa4], hosts[e.pa6] = true, true
		}
		want := 2 * 10_000
		if mode == "nvgre" {
			want = 2 * (10_000*100/recordsPerHost + 1)
		}
		if len(hosts) != want {
			t.Errorf("%s: %d PAs, want %d", mode, len(hosts), want)
		}
	}
}

func TestMix(t *testing.T) {
	p := Params{Frame: "IMIX", CA: 4}
	seen := map[int]int{}
	for i := range 12 {
		seen[p.size(i)]++
	}
	if seen[60] != 7 || seen[590] != 4 || seen[1514] != 1 || p.average() != (7*60+4*590+1514)/12.0 {
		t.Errorf("%v, on average %v", seen, p.average())
	}
}
