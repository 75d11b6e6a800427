package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// What the programs beside us print, as they printed it.
func TestStatistics(t *testing.T) {
	text := read("testdata/testpmd-show-port-stats.txt")
	blocks := portStatistics.FindAllString(text, -1)
	if len(blocks) != 2 {
		t.Fatalf("%d answers in\n%s", len(blocks), text)
	}
	for i, want := range []uint64{204640, 208384} {
		if n, err := testpmdSent(blocks[i]); err != nil || n != want {
			t.Errorf("%d, %v; testpmd said %d", n, err, want)
		}
	}
	// An answer that is not yet whole is none.
	if half := text[:strings.Index(text, "Throughput")]; portStatistics.MatchString(half) {
		t.Errorf("half an answer is taken for one:\n%s", half)
	}
	if _, err := testpmdSent("testpmd> "); err == nil {
		t.Error("no number, and no error")
	}

	text = read("testdata/ovs-dpctl-show.txt")
	for port, want := range map[string]uint64{"uplink": 38065924, "vm": 0, "br-phy": 0} {
		if n, err := ovsSent(text, port); err != nil || n != want {
			t.Errorf("%s: %d, %v; OVS said %d", port, n, err, want)
		}
	}
	if _, err := ovsSent(text, "nothing"); err == nil {
		t.Error("a port that is not there has statistics")
	}
}

// fake sends 2000 packets for each time that it is asked.
type fake struct {
	asked uint64
	stuck bool
	shut  bool
}

func (f *fake) sent(context.Context) (uint64, error) {
	if !f.stuck {
		f.asked++
	}
	return f.asked * 2000, nil
}
func (f *fake) pid() int    { return -1 } // has had no core yet, as far as Linux counts
func (f *fake) stop() error { f.shut = true; return nil }

func TestMeasureRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // whose time is exact
		r, err := measureRate(t.Context(), &fake{}, 1, 50*time.Millisecond)
		if err != nil || r.pps != 2000/0.05 {
			t.Errorf("%+v, %v: 2000 packets in 50 ms", r, err)
		}
		if r, err := calmRate(t.Context(), &fake{}, 1, 50*time.Millisecond); err != nil || r.pps == 0 || !r.disturbed() {
			t.Errorf("%+v, %v: 2000 packets, of a program that had no core", r, err)
		}
		begin := time.Now()
		if _, err := measureRate(t.Context(), &fake{stuck: true}, 1, time.Millisecond); err == nil || time.Since(begin) != patience {
			t.Errorf("a program that sends nothing: %v after %s", err, time.Since(begin))
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := measureRate(ended, &fake{}, 1, time.Hour); !errors.Is(err, context.Canceled) {
			t.Errorf("interrupted: %v", err)
		}
	})
}

// What was measured before there was a choice of pages was on ordinary ones, and is not
// taken for the same on others.
func TestPages(t *testing.T) {
	old := fixed()
	for i := range old.Rows {
		if old.Rows[i].Params != nil {
			old.Rows[i].Params.Pages = ""
		}
	}
	if out, err := compared(t, old, fixed()); err != nil || strings.Count(out, "4 KiB pages") != len(old.Rows) {
		t.Errorf("%v\n%s", err, out)
	}
}

// A process knows how long it has been running.
func TestCPUTime(t *testing.T) {
	before := cpuTime("/proc/self")
	for deadline := time.Now().Add(time.Minute); cpuTime("/proc/self")-before < 30*time.Millisecond; {
		if time.Now().After(deadline) {
			t.Fatalf("%s, after a minute of work %s", before, cpuTime("/proc/self"))
		}
	}
	if cpuTime("/proc/nothing") != 0 {
		t.Error("no process, but it has been running")
	}
}
