package probe

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"paca/dataplane/dpdk"
	"paca/dataplane/mbuf"
	"paca/dataplane/port/ethdev"
)

var eal = []string{"--no-huge", "-m", "128", "--no-shconf", "--no-pci", "--no-telemetry"}

// TestMain is a probe if it is told to be one.
func TestMain(m *testing.M) {
	if os.Getenv("PACA_TEST_PROBE") != "" {
		if err := Serve(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func self() *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "PACA_TEST_PROBE=1")
	return cmd
}

// A probe in a process of its own, through shared memory, to a loop that loses every
// hundredth frame.
func TestProcess(t *testing.T) {
	if err := dpdk.Init(dpdk.Config{Args: eal, Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	pool, err := dpdk.NewMempool("loop", 8191, 0, mbuf.DefaultDataRoom)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var ports [2]*ethdev.Port
	for i := range ports {
		if ports[i], err = ethdev.New(ethdev.Config{Device: fmt.Sprintf("memif:%s/%d", dir, i), Pool: pool}); err != nil {
			t.Fatal(err)
		}
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		pkts := make([]*mbuf.Mbuf, 32)
		for seen := 0; ; {
			select {
			case <-stop:
				return
			default:
			}
			for _, m := range pkts[:ports[0].Rx(0, pkts)] {
				one := []*mbuf.Mbuf{m}
				if seen++; seen%100 == 0 || ports[1].Tx(0, one) == 0 {
					pool.Free(one)
				}
			}
			runtime.Gosched()
		}
	}()
	p, err := Start(self(), Setup{EAL: eal, Out: "memif:" + dir + "/0,role=client", Back: "memif:" + dir + "/1,role=client", Ring: 1024})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		r, err := p.Run(Plan{Rate: 10_000, Length: 100 * time.Millisecond, Frames: [][]byte{make([]byte, 60)}})
		if err != nil {
			t.Fatal(err)
		}
		if r.Sent != 1000 || r.Received != 990 || r.Lost != 10 || r.Reordered != 0 || r.Duplicated != 0 {
			t.Errorf("%+v", counts(r))
		}
	}
	if _, err := p.Run(Plan{}); err == nil || !strings.Contains(err.Error(), "no plan") {
		t.Errorf("no plan at all: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	close(stop)
	<-stopped
	for _, port := range ports {
		if err := port.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestProcessThatCannot(t *testing.T) {
	nowhere := "memif:" + filepath.Join(t.TempDir(), "none", "m")
	if _, err := Start(self(), Setup{EAL: eal, Out: nowhere, Back: nowhere, Ring: 1024}); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("got %v", err)
	}
}
