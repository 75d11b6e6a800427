package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"paca/ci/topo"
)

// result is one row of the closing table.
type result struct {
	what, seen string
	err        error
}

// check runs one part of the showing and keeps what came of it.
func (d *demo) check(ctx context.Context, what string, f func(context.Context) (seen string, err error)) {
	if ctx.Err() != nil {
		return // interrupted: the rest is not shown
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	seen, err := f(ctx)
	mark := "✓"
	if err != nil {
		mark, seen = "✗", err.Error()
	}
	fmt.Printf("  %s %s: %s\n", mark, what, seen)
	d.results = append(d.results, result{what, seen, err})
}

func (d *demo) title(s string) { fmt.Printf("\n── %s\n", s) }

// show is the showing, in the order in which it is seen.
func (d *demo) show(ctx context.Context) {
	tenants := []struct {
		name             string
		one, other, vsid string
	}{
		{"Blue", topo.Blue1, topo.Blue2, "6001"},
		{"Red", topo.Red1, topo.Red2, "5001"},
	}

	d.title("Inside each tenant: ping and TCP, both families")
	for _, t := range tenants {
		for _, to := range []string{"10.1.1.12", "fd00:10:1:1::12"} {
			d.check(ctx, t.name+": ping "+to, func(ctx context.Context) (string, error) { return d.ping(ctx, t.one, to) })
			d.check(ctx, t.name+": iperf3 to "+to, func(ctx context.Context) (string, error) { return d.iperf(ctx, t.one, t.other, to) })
		}
	}
	d.check(ctx, "Blue: a full packet of 1458 bytes, not to be fragmented", func(ctx context.Context) (string, error) {
		return d.ping(ctx, topo.Blue1, "10.1.1.12", "-M", "do", "-s", "1430")
	})

	d.title("Between the tenants: nothing, though the addresses are the same")
	for _, t := range tenants {
		d.check(ctx, t.name+": who answers at http://10.1.1.12/", func(ctx context.Context) (string, error) {
			return d.whoAnswers(ctx, t.one, t.other)
		})
	}
	d.check(ctx, "port 8080, which exists in Red alone", d.onlyInRed)
	d.check(ctx, "Blue's pings, counted at both VMs called 10.1.1.12", d.whereItGoes)

	d.title("On the router: one packet of each tenant, as tshark reads it")
	for _, t := range tenants {
		d.check(ctx, t.name+": NVGRE with VSID "+t.vsid, func(ctx context.Context) (string, error) {
			return d.onTheWire(ctx, t.one, t.vsid)
		})
	}

	d.title("What pacad counted")
	for _, h := range d.hosts {
		d.check(ctx, "pacactl on "+h.name, func(ctx context.Context) (string, error) { return d.ctl(ctx, h) })
		d.check(ctx, "/metrics on "+h.name, func(ctx context.Context) (string, error) { return d.metrics(ctx, h) })
	}
}

// output runs a command inside a VM, host or router; a failure carries what the
// command said.
func (d *demo) output(ctx context.Context, ns string, args ...string) (string, error) {
	return said(d.net.Command(ctx, ns, args...))
}

func said(cmd *exec.Cmd) (string, error) {
	out, err := cmd.CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil {
		lines := strings.Split(text, "\n")
		return text, fmt.Errorf("%w: %s", err, lines[len(lines)-1])
	}
	return text, nil
}

var (
	pingLoss = regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`)
	pingTime = regexp.MustCompile(`= [\d.]+/([\d.]+)/`)
)

func (d *demo) ping(ctx context.Context, vm, to string, more ...string) (string, error) {
	out, err := d.output(ctx, vm, append([]string{"ping", "-c", "5", "-i", "0.1", "-W", "2", to}, more...)...)
	loss := pingLoss.FindStringSubmatch(out)
	if loss == nil {
		return "", fmt.Errorf("ping: %w", errors.Join(err, errors.New(out)))
	}
	seen := loss[2] + " of " + loss[1] + " back"
	if loss[1] != loss[2] {
		return "", errors.New(seen)
	}
	if t := pingTime.FindStringSubmatch(out); t != nil {
		seen += ", " + t[1] + " ms"
	}
	return seen, err
}

func (d *demo) iperf(ctx context.Context, client, server, to string) (string, error) {
	listen := d.net.Command(ctx, server, "iperf3", "-s", "-1")
	if err := listen.Start(); err != nil {
		return "", err
	}
	defer func() { _ = listen.Process.Kill(); _ = listen.Wait() }()
	var report struct {
		Error string // with -J an error is in the report, and the exit code 0
		End   struct {
			Received struct {
				Rate float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}
	for range 20 { // until the server listens
		out, err := d.output(ctx, client, "iperf3", "-c", to, "-t", "2", "-J")
		report.Error = ""
		if err := errors.Join(err, json.Unmarshal([]byte(out), &report)); err != nil {
			return "", err
		}
		if report.Error == "" {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if report.Error != "" {
		return "", errors.New(report.Error)
	}
	if report.End.Received.Rate == 0 {
		return "", errors.New("nothing received")
	}
	return fmt.Sprintf("%.0f Mbit/s", report.End.Received.Rate/1e6), nil
}

func (d *demo) whoAnswers(ctx context.Context, from, want string) (string, error) {
	who, err := d.output(ctx, from, "curl", "-s", "-S", "--max-time", "5", "http://10.1.1.12/")
	if err == nil && who != want {
		err = fmt.Errorf("%s, not %s", who, want)
	}
	return who + " does", err
}

func (d *demo) onlyInRed(ctx context.Context) (string, error) {
	get := []string{"curl", "-s", "-S", "--max-time", "5", "http://10.1.1.12:8080/"}
	if who, err := d.output(ctx, topo.Red1, get...); err != nil || who != topo.Red2 {
		return "", fmt.Errorf("red itself got %q, %w", who, err)
	}
	if who, err := d.output(ctx, topo.Blue1, get...); err == nil {
		return "", fmt.Errorf("blue reached %s", who)
	}
	return "answers Red; Blue is refused, by its own blue2", nil
}

// whereItGoes sends marked pings in Blue and listens at both VMs that have the
// address they go to.
func (d *demo) whereItGoes(ctx context.Context) (string, error) {
	const mark = "of Blue!"
	count := map[string]int{}
	wires := map[string]*topo.Wire{}
	for _, vm := range []string{topo.Blue2, topo.Red2} {
		w, err := d.net.Open(vm, "eth0")
		if err != nil {
			return "", err
		}
		defer w.Close()
		wires[vm] = w
	}
	if _, err := d.ping(ctx, topo.Blue1, "10.1.1.12", "-p", hex.EncodeToString([]byte(mark))); err != nil {
		return "", err
	}
	for vm, w := range wires {
		for {
			frame, err := w.Recv(200 * time.Millisecond)
			if err != nil {
				break
			}
			if bytes.Contains(frame, []byte(mark)) {
				count[vm]++
			}
		}
	}
	seen := fmt.Sprintf("blue2 got %d, red2 got %d", count[topo.Blue2], count[topo.Red2])
	if count[topo.Blue2] != 5 || count[topo.Red2] != 0 {
		return "", errors.New(seen)
	}
	return seen, nil
}

// onTheWire takes one packet of a tenant's ping off the router and has tshark
// say what it is.
func (d *demo) onTheWire(ctx context.Context, vm, vsid string) (string, error) {
	w, err := d.net.Open(topo.Router, topo.ToHost1)
	if err != nil {
		return "", err
	}
	defer w.Close()
	if _, err := d.ping(ctx, vm, "10.1.1.12"); err != nil {
		return "", err
	}
	frame, err := w.Recv(time.Second)
	for err == nil && (len(frame) < 24 || frame[12] != 0x08 || frame[13] != 0x00 || frame[23] != 47) {
		frame, err = w.Recv(time.Second) // ARP and ND of the provider side
	}
	if err != nil {
		return "", fmt.Errorf("no GRE on the router: %w", err)
	}

	folder, err := os.MkdirTemp("", "paca-demo")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(folder)
	capture := filepath.Join(folder, "one.pcap")
	file, err := os.Create(capture)
	if err != nil {
		return "", err
	}
	if err := errors.Join(topo.WritePcap(file, [][]byte{frame}), file.Close()); err != nil {
		return "", err
	}
	text, err := tshark(ctx, capture, "-V", "-O", "gre")
	if err != nil {
		return "", err
	}
	fmt.Println(indent(text))

	fields, err := tshark(ctx, capture, "-T", "fields", "-E", "separator= ",
		"-e", "ip.src", "-e", "ip.dst", "-e", "gre.proto", "-e", "gre.key")
	if err != nil {
		return "", err
	}
	var outs, ins string
	var proto, key uint32
	if _, err := fmt.Sscanf(fields, "%s %s %v %v", &outs, &ins, &proto, &key); err != nil {
		return "", fmt.Errorf("tshark's fields %q: %w", fields, err)
	}
	// tshark lists outer and inner address together: "192.168.1.10,10.1.1.11".
	seen := fmt.Sprintf("VSID %d, FlowID %d, %s → %s", key>>8, key&0xff,
		strings.Replace(outs, ",", " carries ", 1), strings.Replace(ins, ",", " carries ", 1))
	if fmt.Sprint(key>>8) != vsid || proto != 0x6558 || outs != topo.PA1+",10.1.1.11" || ins != topo.PA2+",10.1.1.12" {
		return "", errors.New(seen)
	}
	return fmt.Sprintf("key 0x%08x is VSID %d (0x%06x) and FlowID %d (0x%02x)", key, key>>8, key>>8, key&0xff, key&0xff), nil
}

// tshark warns on stderr that it runs as root: only its answer counts.
func tshark(ctx context.Context, capture string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "tshark", append([]string{"-r", capture}, args...)...).Output()
	if err != nil {
		return "", fmt.Errorf("tshark: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

func (d *demo) ctl(ctx context.Context, h host) (string, error) {
	for _, args := range [][]string{{"status"}, {"port", "list"}, {"drops"}} {
		args = append([]string{"--socket", h.socket}, args...)
		out, err := said(exec.CommandContext(ctx, filepath.Join(d.bin, "pacactl"), args...))
		if err != nil {
			return "", err
		}
		fmt.Printf("\n  $ pacactl %s\n%s\n", strings.Join(args, " "), indent(out))
	}
	return "status, ports and drops answered", nil
}

var metricLine = regexp.MustCompile(`(?m)^paca_port_\w*packets_total\{.*\} (\S+)`)

func (d *demo) metrics(ctx context.Context, h host) (string, error) {
	out, err := d.output(ctx, h.name, "curl", "-s", "-S", "--max-time", "5", "http://"+h.metrics+"/metrics")
	if err != nil {
		return "", err
	}
	lines := metricLine.FindAllString(out, -1)
	fmt.Printf("\n  $ curl %s/metrics | grep packets\n%s\n", h.metrics, indent(strings.Join(lines, "\n")))
	moved := 0
	for _, m := range metricLine.FindAllStringSubmatch(out, -1) {
		if m[1] != "0" {
			moved++
		}
	}
	if moved == 0 {
		return "", errors.New("no port has counted a packet")
	}
	return fmt.Sprintf("%d packet counters, %d of them moved", len(lines), moved), nil
}

func indent(text string) string {
	return "    " + strings.ReplaceAll(text, "\n", "\n    ")
}

// table is the showing at a glance; it is an error if anything did not hold.
func (d *demo) table() error {
	width := 0
	for _, r := range d.results {
		width = max(width, len([]rune(r.what)))
	}
	failed := 0
	d.title("At a glance")
	for _, r := range d.results {
		mark := "✓"
		if r.err != nil {
			mark = "✗"
			failed++
		}
		fmt.Printf("  %s %-*s  %s\n", mark, width, r.what, r.seen)
	}
	if failed == 0 {
		fmt.Printf("\n  all %d held\n", len(d.results))
		return nil
	}
	for i, h := range d.hosts {
		fmt.Printf("\n  pacad on %s said:\n%s\n", h.name, indent(d.daemons[i].Log()))
	}
	return fmt.Errorf("%d of %d did not hold", failed, len(d.results))
}
