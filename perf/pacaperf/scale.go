package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"

	pacav1 "paca/ctrl/api/paca/v1"
)

// scale measures a million lookup records: through the socket as one set, and
// at a restart.
func scale(dir string) error {
	const records = 1_000_000
	s := egress()
	capture := filepath.Join(dir, "scale.pcap")
	if err := writeCapture(capture, s.frames); err != nil {
		return err
	}
	host := fmt.Sprintf(s.host, capture, *core) + fmt.Sprintf("\n[policy]\nstore = \"bolt:%s\"\nseed = \"policy.toml\"\n", filepath.Join(dir, "policy.db"))
	fmt.Println("| what | figure |")
	fmt.Println("|---|---|")
	p, err := start(dir, host, fmt.Sprintf(policy, s.mode)+bigSubnet)
	if err != nil {
		return err
	}
	empty := p.resident()
	begin := time.Now()
	if err := p.fill(records); err != nil {
		p.stop()
		return err
	}
	fmt.Printf("| 1 M records applied through the socket, durable and in force | %.1f s |\n", time.Since(begin).Seconds())
	fmt.Printf("| resident memory of pacad before and after | %d and %d MiB |\n", empty, p.resident())
	p.stop()

	if p, err = start(dir, host, fmt.Sprintf(policy, s.mode)+bigSubnet); err != nil {
		return err
	}
	defer p.stop()
	if err := p.untilSending(s.out); err != nil {
		return err
	}
	fmt.Printf("| restart with them, from exec to the first packet forwarded | %.1f s |\n", time.Since(p.started).Seconds())
	status, err := p.Status(context.Background(), connect.NewRequest(&pacav1.StatusRequest{}))
	if err != nil {
		return err
	}
	if n := status.Msg.Counts.LookupRecords; n != records+2 {
		return fmt.Errorf("%d lookup records after the restart", n)
	}
	fmt.Printf("| resident memory after the restart | %d MiB |\n", p.resident())
	return nil
}

// resident is the memory of the process in MiB, DPDK's included.
func (p *running) resident() int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	n, _ := strconv.Atoi(strings.Fields(rest)[0])
	return n >> 10
}
