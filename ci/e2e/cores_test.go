package e2e

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"paca/ci/topo"
)

// workersOf is what pacactl workers tells of a host.
type workersOf struct {
	Workers []struct {
		Core                                             int
		Load                                             float64
		RxPackets, TxPackets, GivenPackets, TakenPackets string
		Queues                                           []string
	}
	Imbalance, Seconds float64
}

func (l *lab) workers(host string) (w workersOf) {
	l.t.Helper()
	text := strings.ReplaceAll(l.pacactl(host, "workers", "-o", "json"), "_packets", "Packets")
	if err := json.Unmarshal([]byte(text), &w); err != nil {
		l.t.Fatalf("%v: %s", err, text)
	}
	return w
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// inOrder sends UDP by several flows for a second, slowly, and looks at what the
// receiving end says of order.
func (l *lab) inOrder(t *testing.T, client, server, to string) {
	t.Helper()
	listen := l.Command(t.Context(), server, "iperf3", "-s", "-1")
	if err := listen.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listen.Process.Kill(); _ = listen.Wait() }()
	var out []byte
	for range 200 { // until the server listens
		out, _ = l.Command(t.Context(), client, "iperf3", "-c", to, "-u", "-P", "8", "-b", "1M", "-l", "200", "-t", "1", "-J").Output()
		if !strings.Contains(string(out), "Connection refused") {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	var said struct {
		End struct {
			Streams []struct {
				UDP struct {
					Packets    int
					OutOfOrder int `json:"out_of_order"`
				}
			}
		}
	}
	if err := json.Unmarshal(out, &said); err != nil || len(said.End.Streams) != 8 {
		t.Fatalf("%v: %s", err, out)
	}
	for i, s := range said.End.Streams {
		if s.UDP.Packets == 0 || s.UDP.OutOfOrder != 0 {
			t.Errorf("flow %d: of %d packets, %d out of order", i, s.UDP.Packets, s.UDP.OutOfOrder)
		}
	}
}

// O32: two workers on each host, Blue rewritten, but for once, beside Red in nvgre, between kernels:
// all flows arrive whole and in order, and both workers have their share, whoever deals
// it out.
func TestO32_R22_W5TwoWorkers(t *testing.T) {
	rewritten := func(l *lab, w world) { l.runRewrittenAs(w) }
	for _, c := range []struct {
		name, workers, uplink, spread string
		run                           func(*lab, world)
	}{
		{"the workers, of one queue", "cores = [0, 1]", "queues = 1", "software", rewritten},
		{"the workers, of two queues", "cores = [0, 1]\nspread = \"software\"", "", "software", rewritten},
		{"the kernel", "cores = [0, 1]", "", "the kernel, by inner headers", rewritten},
		{"the kernel, by packet sockets", "cores = [0, 1]", "", "the kernel, by inner headers", func(l *lab, w world) { l.run(w) }},
		{"nobody", "cores = [0, 1]\nspread = \"none\"", "", "none", rewritten},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, false)
			c.run(l, world{workers: c.workers, uplink: c.uplink})
			for i := range 4 {
				l.exchange(t, topo.Blue1, topo.Blue2, "10.1.1.12", 200_000+i)
				l.exchange(t, topo.Red1, topo.Red2, "10.1.1.12", 200_000+i)
				l.exchange(t, topo.Red2, topo.Red1, "fd00:10:1:1::11", 100_000+i)
				l.exchange(t, topo.Blue2, topo.Blue1, "fd00:10:1:1::11", 100_000+i)
			}
			l.inOrder(t, topo.Blue1, topo.Blue2, "10.1.1.12")
			l.inOrder(t, topo.Red1, topo.Red2, "10.1.1.12")

			for _, host := range []string{topo.Host1, topo.Host2} {
				w := l.workers(host)
				if len(w.Workers) != 2 || w.Seconds <= 0 || w.Imbalance < 1 || w.Imbalance > 2 {
					t.Fatalf("%+v", w)
				}
				given, taken := 0, 0
				for i, worker := range w.Workers {
					g, k := number(t, worker.GivenPackets), number(t, worker.TakenPackets)
					given, taken = given+g, taken+k
					carried := number(t, worker.RxPackets) - g + k
					if worker.Core != i || worker.Load < 0 || worker.Load > 1 || carried < 100 || number(t, worker.TxPackets) < 100 {
						t.Errorf("%s: worker %+v", host, worker)
					}
				}
				if given < taken || (given > 0) != (c.spread == "software") {
					t.Errorf("%s: %d given, %d taken", host, given, taken)
				}
				if port := l.pacactl(host, "port", "show", "uplink0"); !strings.Contains(port, c.spread) {
					t.Errorf("%s: spread is not %q:\n%s", host, c.spread, port)
				}
			}
		})
	}
}

// What the machine cannot do is said at the line that wants it.
func TestO32Refused(t *testing.T) {
	l := newLab(t, true)
	for _, c := range []struct{ workers, uplink, want string }{
		{"cores = [0, 1]\nspread = \"nic\"", "queues = 1", "workers.spread: port uplink0: the device does not spread NVGRE: it has one queue"},
		{"cores = [0, 1]", "queues = 100", "port[0].queues: "},
	} {
		w := world{kind: "tap", workers: c.workers, uplink: c.uplink}
		l.write("policy.toml", w.policyFile(l))
		file := l.write("host1.toml", strings.Replace(w.hostFile(l, topo.Host1), "af_packet:uplink0", "tap:spare0", 1))
		out, err := l.output(topo.Host1, pacad(), "run", "-c", file)
		if e, ok := err.(*exec.ExitError); !ok || e.ExitCode() != 2 || !strings.Contains(out, fmt.Sprintf("%s:", file)) || !strings.Contains(out, c.want) {
			t.Errorf("%v: want %q\n%s", err, c.want, out)
		}
	}
}
