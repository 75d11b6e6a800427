// Command pacaperf measures pacad.
//
//	pacaperf [FLAGS] pairs    against dpdk-testpmd (the default)
//	pacaperf [FLAGS] churn    while its policy changes
//	pacaperf [FLAGS] scale    with a million lookup records
//
// pairs takes the same virtual devices, the same frames, one forwarding core
// each, in turn, in one run.
//
// Traffic comes from net_pcap with infinite_rx=1, which copies a preloaded file
// into fresh buffers as fast as it is polled, and goes to net_null. Beside NVGRE
// testpmd runs its mac mode, which writes two MAC addresses and looks nothing up,
// beside IP rewrite its csum mode, which computes checksums; pacad runs everything
// that the specification asks for.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"paca/perf/probe"
)

var (
	pacad   = flag.String("pacad", "bin/pacad", "the pacad to measure")
	rounds  = flag.Int("rounds", 5, "measurements of each, in turn")
	seconds = flag.Int("seconds", 3, "length of one measurement")
	core    = flag.Int("core", 1, "forwarding core; the rest of either program runs on another")
)

// scenario is one direction of traffic.
type scenario struct {
	name   string
	mode   string // of the virtual subnet
	peer   string // testpmd's forward mode
	frames [][]byte
	host   string // host file of pacad, %[1]s the capture and %[2]d the core
	out    string // pacad's port that sends
}

func main() {
	flag.Parse()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "pacaperf:", err)
		os.Exit(1)
	}
}

func run() error {
	if flag.Arg(0) == "probe" {
		return probe.Serve(os.Stdin, os.Stdout)
	}
	dir, err := os.MkdirTemp("", "pacaperf")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	what := "pairs"
	if flag.NArg() > 0 {
		what = flag.Arg(0)
	}
	do, ok := map[string]func(dir string) error{"pairs": pairs, "churn": churn, "scale": scale, "latency": latency}[what]
	if !ok {
		return fmt.Errorf("%q is not pairs, churn or scale", what)
	}
	machine()
	return do(dir)
}

// pairs measures both programs in every scenario.
func pairs(dir string) error {
	fmt.Println("| scenario | testpmd mode | pacad Mpps | testpmd Mpps | ratio | pacad ns/packet | pacad Mpps, every round | testpmd Mpps, every round |")
	fmt.Println("|---|---|---|---|---|---|---|---|")
	for _, s := range []scenario{egress(), ingress(), rewriteEgress(), rewriteIngress()} {
		if err := s.measure(dir); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// machine says what the figures were taken on.
func machine() {
	model := "unknown CPU"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if m := regexp.MustCompile(`(?m)^model name\s*:\s*(.*)$`).FindSubmatch(b); m != nil {
			model = string(m[1])
		}
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	dpdk, _ := exec.Command("pkg-config", "--modversion", "libdpdk").Output()
	fmt.Printf("%s, %d cores; Linux %s; DPDK %s; %s; %d rounds of %d s\n\n", model, runtime.NumCPU(),
		strings.TrimSpace(string(kernel)), strings.TrimSpace(string(dpdk)), runtime.Version(), *rounds, *seconds)
}

// measure runs both programs in turn and prints a row of the table.
func (s scenario) measure(dir string) error {
	capture := filepath.Join(dir, s.name+".pcap")
	if err := writeCapture(capture, s.frames); err != nil {
		return err
	}
	var ours, theirs, ratios []float64
	for range *rounds {
		a, err := s.pacad(dir, capture)
		if err != nil {
			return fmt.Errorf("pacad: %w", err)
		}
		b, err := testpmd(capture, s.peer)
		if err != nil {
			return fmt.Errorf("testpmd: %w", err)
		}
		ours, theirs, ratios = append(ours, a), append(theirs, b), append(ratios, a/b)
		fmt.Fprintf(os.Stderr, "%s: pacad %.1f Mpps, testpmd %.1f Mpps, ratio %.2f\n", s.name, a/1e6, b/1e6, a/b)
	}
	fmt.Printf("| %s | %s | %.1f | %.1f | %.2f | %.1f | %s | %s |\n", s.name, s.peer, median(ours)/1e6, median(theirs)/1e6,
		median(ratios), 1e9/median(ours), each(ours), each(theirs))
	return nil
}

func each(v []float64) string {
	var s []string
	for _, x := range v {
		s = append(s, fmt.Sprintf("%.1f", x/1e6))
	}
	return strings.Join(s, " ")
}

// pacad measures packets per second that a pacad of its own sends.
func (s scenario) pacad(dir, capture string) (float64, error) {
	p, err := start(dir, fmt.Sprintf(s.host, capture, *core)+"\n[policy]\nstore = \"memory\"\nseed = \"policy.toml\"\n", fmt.Sprintf(policy, s.mode))
	if err != nil {
		return 0, err
	}
	defer p.stop()
	if err := p.untilSending(s.out); err != nil {
		return 0, err
	}
	time.Sleep(warmUp)
	return p.rate(s.out, time.Duration(*seconds)*time.Second)
}

const warmUp = time.Second

var txRate = regexp.MustCompile(`Tx-pps:\s+(\d+)`)

// testpmd measures what dpdk-testpmd says that it sends per second.
func testpmd(capture, mode string) (float64, error) {
	main := 0
	if *core == 0 {
		main = 1
	}
	cmd := exec.Command("dpdk-testpmd", "--no-huge", "-m", "512", "--no-shconf", "--no-pci", "--no-telemetry",
		"-l", fmt.Sprintf("%d,%d", main, *core), "--main-lcore", strconv.Itoa(main),
		"--vdev", "net_pcap0,rx_pcap="+capture+",infinite_rx=1", "--vdev", "net_null1,no-rx=1",
		"--", "--forward-mode="+mode, "--nb-cores=1", "--auto-start", "--stats-period=1", "--no-lsc-interrupt", "--total-num-mbufs=16384")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	limit := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
	defer limit.Stop()

	// Each second it shows one rate for each of the two ports, of which one
	// sends. The first ones are warm-up.
	var rates []float64
	var text []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		text = append(text, lines.Text())
		m := txRate.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		if rate, _ := strconv.ParseFloat(m[1], 64); rate > 0 {
			if rates = append(rates, rate); len(rates) == 2+*seconds {
				_ = cmd.Process.Signal(syscall.SIGINT)
			}
		}
	}
	err = cmd.Wait() // it may or may not call the interrupt a failure
	if len(rates) < 2+*seconds {
		return 0, fmt.Errorf("showed %d rates: %w\n%s", len(rates), err, strings.Join(text, "\n"))
	}
	return median(rates[2 : 2+*seconds]), nil
}
