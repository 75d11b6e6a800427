package dpdk

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"paca/dataplane/mbuf"
)

// logged is what DPDK logged since the start of the test binary.
var logged struct {
	sync.Mutex
	bytes.Buffer
}

type logWriter struct{}

func (logWriter) Write(b []byte) (int, error) {
	logged.Lock()
	defer logged.Unlock()
	return logged.Buffer.Write(b)
}

func logText() string {
	logged.Lock()
	defer logged.Unlock()
	return logged.String()
}

var cpusBefore unix.CPUSet

// initArg names the environment variable with one more argument for an EAL
// whose start shall fail.
const initArg = "PACA_TEST_EAL_ARG"

var args = []string{"--no-huge", "-m", "256", "--no-shconf", "--no-pci", "--no-telemetry"}

// TestMain starts the EAL as any user can: no huge pages, no PCI, no files.
// (--in-memory would be the way to say "no files", but 22.11 refuses it
// together with --no-huge.)
func TestMain(m *testing.M) {
	if err := unix.SchedGetaffinity(0, &cpusBefore); err != nil {
		panic(err)
	}
	if err := RegisterThread(); !errors.Is(err, ErrNotInitialized) {
		panic(fmt.Sprint("before Init: ", err))
	}
	if name := os.Getenv(faultArg); name != "" {
		commitFault(name)
		return
	}
	if arg := os.Getenv(initArg); arg != "" {
		fmt.Println(Init(Config{Args: append(args, arg), Log: slog.New(slog.DiscardHandler)}))
		return
	}
	err := Init(Config{
		Args: append(args, "--log-level=lib.eal:debug"),
		Log:  slog.New(slog.NewTextHandler(logWriter{}, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func TestInitTwice(t *testing.T) {
	if err := Init(Config{}); !errors.Is(err, ErrInitialized) {
		t.Errorf("got %v", err)
	}
}

func TestInitPinsNoThread(t *testing.T) {
	var now unix.CPUSet
	tasks, _ := filepath.Glob("/proc/self/task/*/comm")
	for _, comm := range tasks {
		name, err := os.ReadFile(comm)
		if err != nil {
			continue // the thread ended
		}
		var tid int
		fmt.Sscanf(filepath.Base(filepath.Dir(comm)), "%d", &tid)
		if unix.SchedGetaffinity(tid, &now) == nil && now != cpusBefore {
			t.Errorf("thread %d %q may run on cpus %s, the process on %s", tid, bytes.TrimSpace(name), cpuList(&now), cpuList(&cpusBefore))
		}
	}
	if len(tasks) < 3 {
		t.Errorf("only %d threads looked at", len(tasks))
	}
}

func TestLogComesThroughSlog(t *testing.T) {
	text := logText()
	for _, want := range []string{"component=dpdk", "level=INFO", "level=DEBUG", "EAL: "} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in the log of the EAL's start:\n%s", want, text)
		}
	}
}

func TestLayoutIsChecked(t *testing.T) {
	if err := checkLayout(); err != nil {
		t.Error(err)
	}
}

func TestRegisterThread(t *testing.T) {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		done <- func() error {
			if _, ok := LcoreID(); ok {
				return errors.New("a new thread has an lcore id")
			}
			if err := RegisterThread(); err != nil {
				return err
			}
			if id, ok := LcoreID(); !ok || id == 0 {
				return fmt.Errorf("registered, lcore id %d, %v", id, ok)
			}
			UnregisterThread()
			if _, ok := LcoreID(); ok {
				return errors.New("unregistered, but still with an lcore id")
			}
			return nil
		}()
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func newPool(t testing.TB, n int) *Mempool {
	t.Helper()
	p, err := NewMempool(t.Name(), n, 0, mbuf.DefaultDataRoom)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.Available() != n {
			t.Errorf("%d of %d buffers came back", p.Available(), n)
		}
		p.Close()
	})
	return p
}

func TestMempool(t *testing.T) {
	p := newPool(t, 8)
	pkts := make([]*mbuf.Mbuf, 8)
	if !p.Alloc(pkts) || p.Available() != 0 || p.Alloc(make([]*mbuf.Mbuf, 1)) {
		t.Fatalf("pool of 8: %d left after 8", p.Available())
	}
	for i, m := range pkts {
		if m.Headroom() != mbuf.Headroom || m.Tailroom() != mbuf.DefaultDataRoom-mbuf.Headroom || m.Len() != 0 || m.Segments() != 1 {
			t.Errorf("fresh buffer: headroom %d, tailroom %d, %d bytes, %d segments", m.Headroom(), m.Tailroom(), m.Len(), m.Segments())
		}
		if !m.SetData(bytes.Repeat([]byte{byte(i)}, 60)) {
			t.Error("no room for 60 bytes")
		}
	}
	pkts[6].Join(pkts[7])
	pkts[5].Join(pkts[6])
	p.Free(pkts[:6])
	if p.Available() != 8 {
		t.Errorf("%d of 8 back after freeing a chain of 3 and 5 singles", p.Available())
	}
	p.Alloc(pkts)
	for _, m := range pkts {
		if m.Segments() != 1 || m.Next() != nil || m.Len() != 0 {
			t.Error("a buffer kept something of its former life")
		}
	}
	p.Free(pkts)
	p.Free(nil)
	if !p.Alloc(nil) {
		t.Error("nothing cannot be allocated")
	}
}

func TestMempoolErrors(t *testing.T) {
	newPool(t, 8)
	for _, c := range []struct {
		name           string
		n, cache, room int
		want           string
	}{
		{t.Name(), 8, 0, 2176, "file exists"},
		{"none", 0, 0, 2176, "out of range"},
		{"tiny", 8, 0, 128, "out of range"},
		{"cache", 1000, 600, 2176, "invalid argument"},
		{"large", 1 << 20, 0, 2176, "cannot allocate memory"},
	} {
		p, err := NewMempool(c.name, c.n, c.cache, c.room)
		if err == nil {
			p.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "mempool "+c.name) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// start probes a device and starts it with one queue each way.
func start(t testing.TB, devargs string, pool *Mempool) PortID {
	t.Helper()
	id, err := Probe(devargs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(DevStop(id), Detach(id)); err != nil {
			t.Error(err)
		}
	})
	rx, tx, err := AdjustDescriptors(id, 256, 256)
	if err := errors.Join(err,
		DevConfigure(id, DevConf{RxQueues: 1, TxQueues: 1}),
		RxQueueSetup(id, 0, rx, pool),
		TxQueueSetup(id, 0, tx),
		DevStart(id)); err != nil {
		t.Fatal(err)
	}
	return id
}

func TestBursts(t *testing.T) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) { throughRing(t, way) })
	}
}

func throughRing(t *testing.T, way directions) {
	pool := newPool(t, 1023)
	id := start(t, "net_ring0", pool) // receives what it sends
	slow[id] = way
	pkts := make([]*mbuf.Mbuf, 32)
	if n := RxBurst(id, 0, pkts); n != 0 {
		t.Fatalf("%d packets from an idle ring", n)
	}
	pool.Alloc(pkts)
	for i, m := range pkts {
		m.SetData(bytes.Repeat([]byte{byte(i)}, 60+i))
	}
	if n := TxBurst(id, 0, pkts); n != 32 {
		t.Fatalf("%d of 32 taken", n)
	}
	clear(pkts)
	if n := RxBurst(id, 0, pkts); n != 32 {
		t.Fatalf("%d of 32 received", n)
	}
	for i, m := range pkts {
		if want := bytes.Repeat([]byte{byte(i)}, 60+i); !bytes.Equal(m.Data(), want) {
			t.Errorf("packet %d: %x", i, m.Data())
		}
	}
	if n := testing.AllocsPerRun(100, func() {
		RxBurst(id, 0, pkts[:TxBurst(id, 0, pkts)])
		pool.Free(pkts)
		pool.Alloc(pkts)
	}); n != 0 {
		t.Errorf("%v allocations per burst", n)
	}
	pool.Free(pkts)
	if RxBurst(id, 0, nil) != 0 || TxBurst(id, 0, nil) != 0 {
		t.Error("a burst of nothing moved something")
	}

	s, err := StatsGet(id)
	if err != nil || s.IPackets == 0 || s.IPackets != s.OPackets {
		t.Errorf("stats %+v, %v", s, err)
	}
	xs, err := XStatsGet(id)
	if err != nil || len(xs) == 0 {
		t.Errorf("xstats %v, %v", xs, err)
	}
	for _, x := range xs {
		if x.Name == "rx_good_packets" && x.Value != s.IPackets {
			t.Errorf("%s is %d, stats say %d", x.Name, x.Value, s.IPackets)
		}
	}
	if l, err := LinkGet(id); err != nil || !l.Up {
		t.Errorf("link %+v, %v", l, err)
	}
	if i, err := DevInfoGet(id); err != nil || i.Driver != "net_ring" {
		t.Errorf("info %+v, %v", i, err)
	}
	if got, err := PortByName("net_ring0"); err != nil || got != id {
		t.Errorf("port %d by name, %v; want %d", got, err, id)
	}
}

// TestHotPlugAgain plugs and unplugs more devices than a process can have at
// once.
func TestHotPlugAgain(t *testing.T) {
	for range MaxPorts + 5 {
		id, err := Probe("net_null7,size=100")
		if err != nil {
			t.Fatal(err)
		}
		if err := Detach(id); err != nil {
			t.Fatal(err)
		}
		if _, err := PortByName("net_null7"); err == nil {
			t.Fatal("device is still there")
		}
	}
}

func TestProbeErrorsSayWhy(t *testing.T) {
	for devargs, want := range map[string]string{
		"net_unheardof0":              "net_unheardof0",
		"0000:ff:1f.7":                "0000:ff:1f.7",
		"net_pcap0,rx_pcap=/nowhere":  "No such file",
		"net_null0,size=1,nonsense=2": "nonsense",
	} {
		id, err := Probe(devargs)
		if err == nil {
			Detach(id)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, should mention %q", devargs, err, want)
		}
	}
}

// TestInitFailureIsExplained starts the EAL wrongly in a process of its own:
// the error says why, and of all that EAL prints (a page of usage to stdout,
// FATAL to stderr) nothing comes through.
func TestInitFailureIsExplained(t *testing.T) {
	for arg, want := range map[string]string{
		"--nonsense":     "nonsense",
		"--main-lcore=9": "Main lcore is not enabled",
	} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), initArg+"="+arg)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v", arg, err)
		}
		text := strings.TrimSpace(string(out))
		if !strings.HasPrefix(text, "dpdk: eal init: ") || !strings.Contains(text, want) || strings.Contains(text, "\n") {
			t.Errorf("%s: want one line that mentions %q, got:\n%s", arg, want, text)
		}
	}
}
