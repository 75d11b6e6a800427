package main

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/google/gopacket"
)

// testpmd is DPDK's own program in one of its forward modes: io touches no packet
// and so is the limit of the devices, mac writes two MAC addresses, csum computes
// checksums, here in software. None looks anything up.
type testpmd struct{ mode string }

func (t testpmd) name() string { return "testpmd " + t.mode }

func (t testpmd) why(p Params) string {
	if p.queues() < p.Cores {
		return "testpmd and OVS-DPDK give each core a queue, and do not deal one out"
	}
	if _, err := exec.LookPath("dpdk-testpmd"); err != nil {
		return "dpdk-testpmd is not installed"
	}
	return ""
}

func (t testpmd) takes(p Params) time.Duration {
	return 1200*time.Millisecond + time.Duration(p.Flows)*4*time.Microsecond
}

func (t testpmd) start(ctx context.Context, j job) (running, error) {
	// The main core only reads commands: it may be one that forwards, too.
	lcores := []string{fmt.Sprintf("0@%d", j.control)}
	for i, core := range j.forwards {
		lcores = append(lcores, fmt.Sprintf("%d@%d", i+1, core))
	}
	n := strconv.Itoa(j.Cores)
	// What it answers would stay in its buffer, were it not for stdbuf.
	cmd := exec.CommandContext(ctx, "stdbuf", append(append([]string{"-oL", "dpdk-testpmd"}, eal(j.Pages, j.memory())...),
		"--lcores", strings.Join(lcores, ","), "--main-lcore", "0", "--vdev", j.in, "--vdev", j.out,
		"--", "--interactive", "--forward-mode="+t.mode, "--nb-cores="+n, "--rxq="+n, "--txq="+n, "--total-num-mbufs="+strconv.Itoa(j.buffers),
		"--no-lsc-interrupt", "--disable-link-check", "--no-flush-rx")...)
	commands, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	c, err := spawn(cmd)
	if err != nil {
		return nil, err
	}
	r := &testpmdRun{child: c, commands: commands}
	_, err = r.ask(ctx, "start\n", regexp.MustCompile(`packet forwarding - ports=`))
	if err != nil {
		_ = r.stop()
		return nil, err
	}
	return r, nil
}

type testpmdRun struct {
	*child
	commands io.WriteCloser
}

// ask types a command and waits for what it answers.
func (r *testpmdRun) ask(ctx context.Context, command string, answer *regexp.Regexp) (string, error) {
	before, found := r.said.len(), ""
	if _, err := io.WriteString(r.commands, command); err != nil {
		return "", fmt.Errorf("%w; it said:\n%s", err, r.said.tail())
	}
	err := r.until("answer to "+strings.TrimSpace(command), time.Minute, func() bool {
		found = answer.FindString(r.said.since(before))
		return found != "" || ctx.Err() != nil
	})
	if err == nil {
		err = ctx.Err()
	}
	return found, err
}

// Its statistics of the port that sends end in a line of the same signs as they
// begin with.
var portStatistics = regexp.MustCompile(`(?s)#+ NIC statistics for port 1 +#+.*?\n +#{40,}`)

func (r *testpmdRun) sent(ctx context.Context) (uint64, error) {
	text, err := r.ask(ctx, "show port stats 1\n", portStatistics)
	if err != nil {
		return 0, err
	}
	return testpmdSent(text)
}

// testpmdSent reads the statistics of a port.
func testpmdSent(text string) (uint64, error) {
	n, err := strconv.ParseUint(find(text, `TX-packets: (\d+)`), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("testpmd's statistics are none: %w\n%s", err, text)
	}
	return n, nil
}

// stop: a signal would clean up beside the end of its commands, which does so, too.
func (r *testpmdRun) stop() error {
	_ = r.commands.Close() // or it is gone already
	return r.end()
}

// wants: the frame that came; mac and csum write MAC addresses.
func (t testpmd) wants(p Params, f flow, size int) (l []gopacket.SerializableLayer, anyMAC bool) {
	return p.input(f, size), t.mode != "io"
}
