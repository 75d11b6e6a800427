package dpdk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"paca/dataplane/mbuf"
)

// ways are those by which bursts get to C.
var ways = map[string]directions{"call": {}, "callSlow": {true, true}}

func TestSlowPorts(t *testing.T) {
	pool := newPool(t, 2047)
	for device, want := range map[string]directions{
		"net_ring0":               {},
		"net_af_packet0,iface=lo": {true, true},
		"net_vhost0,iface=" + filepath.Join(t.TempDir(), "vhost.sock"): {tx: true},
	} {
		if id := start(t, device, pool); slow[id] != want {
			t.Errorf("%s: %v, want %v", device, slow[id], want)
		}
	}
}

var soak = flag.Duration("soak", 1500*time.Millisecond, "how long TestCallsUnderStress takes")

// Bursts of several threads carry what they are given, and nothing falls over, while the
// runtime does all that it ever does to a goroutine: it collects garbage, moves stacks,
// asks for preemption, takes profiles and traces.
func TestCallsUnderStress(t *testing.T) {
	pool := newPool(t, 2047)
	var stop, stopped atomic.Bool
	var workers, others sync.WaitGroup
	threads := make(chan int, 4)
	for i := range cap(threads) {
		id := start(t, fmt.Sprint("net_ring", i), pool)
		slow[id] = directions{i == 3, i == 3}
		workers.Go(func() {
			runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
			threads <- unix.Gettid()
			if i%2 == 0 {
				if err := RegisterThread(); err != nil {
					t.Error(err)
				}
				defer UnregisterThread()
			}
			turns := 0
			for r := rand.New(rand.NewPCG(1, uint64(i))); !stop.Load() && !t.Failed(); turns++ {
				if err := deeper(r.IntN(64), func() error { return thereAndBack(id, pool, r) }); err != nil {
					t.Error(err)
				}
			}
			t.Logf("worker %d: %d bursts", i, turns)
		})
	}
	// A rate of one's own: StartCPUProfile says that it cannot have its 100 Hz, and
	// takes what there is.
	runtime.SetCPUProfileRate(1000)
	if err := errors.Join(pprof.StartCPUProfile(io.Discard), trace.Start(io.Discard)); err != nil {
		t.Error(err)
	}
	others.Go(func() {
		for !stopped.Load() {
			runtime.GC()
		}
	})
	others.Go(func() {
		for range cap(threads) {
			tid := <-threads
			others.Go(func() {
				for !stopped.Load() {
					unix.Tgkill(os.Getpid(), tid, unix.SIGURG) // gone at the end
					time.Sleep(50 * time.Microsecond)
				}
			})
		}
	})
	time.Sleep(*soak)
	stop.Store(true)
	workers.Wait()
	stopped.Store(true)
	others.Wait()
	trace.Stop()
	pprof.StopCPUProfile()
}

// deeper does something with so many frames below it, of half a kilobyte: at each turn
// the stack grows, shrinks or moves.
//
//go:noinline
func deeper(n int, do func() error) error {
	var room [512]byte
	room[n] = 1
	if n == 0 {
		return do()
	}
	err := deeper(n-1, do)
	if room[n] != 1 {
		return errors.New("the stack is not what it was")
	}
	return err
}

// thereAndBack sends a few packets into a ring and takes them out of it.
func thereAndBack(id PortID, pool *Mempool, r *rand.Rand) error {
	var burst [64]*mbuf.Mbuf // on the stack, which must stay where it is
	pkts := burst[:1+r.IntN(64)]
	if !pool.Alloc(pkts) {
		return errors.New("no buffers")
	}
	first := r.Uint64()
	for i, m := range pkts {
		m.SetData(binary.BigEndian.AppendUint64(nil, first+uint64(i)))
	}
	if n := TxBurst(id, 0, pkts); n != len(pkts) {
		return fmt.Errorf("%d of %d taken", n, len(pkts))
	}
	clear(burst[:])
	if n := RxBurst(id, 0, burst[:]); n != len(pkts) {
		return fmt.Errorf("%d of %d received", n, len(pkts))
	}
	for i, m := range pkts {
		if got := binary.BigEndian.Uint64(m.Data()); got != first+uint64(i) {
			return fmt.Errorf("packet %d has %#x, sent as %#x", i, got, first+uint64(i))
		}
	}
	pool.Free(pkts)
	return nil
}

// faultArg names the environment variable with the fault that a process shall commit.
const faultArg = "PACA_TEST_FAULT"

// faults are what C can do wrong at a burst.
var faults = map[string]func(id PortID){
	"packet": func(id PortID) { TxBurst(id, 0, nowhere()) },
	"packet, slow port": func(id PortID) {
		slow[id].tx = true
		TxBurst(id, 0, nowhere())
	},
	"free": func(PortID) { new(Mempool).Free(nowhere()) },
}

// nowhere is a burst of one packet at an address where nothing is.
func nowhere() []*mbuf.Mbuf {
	addresses := []uintptr{64}
	return unsafe.Slice((**mbuf.Mbuf)(unsafe.Pointer(&addresses[0])), 1)
}

func commitFault(name string) {
	fail := func(err error) {
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	fail(Init(Config{Args: args, Log: slog.New(slog.DiscardHandler)}))
	pool, err := NewMempool("pool", 511, 0, mbuf.DefaultDataRoom)
	fail(err)
	id, err := Probe("net_null0,no-rx=1")
	fail(err)
	fail(errors.Join(DevConfigure(id, DevConf{RxQueues: 1, TxQueues: 1}), RxQueueSetup(id, 0, 64, pool), TxQueueSetup(id, 0, 64), DevStart(id)))
	done := make(chan any)
	go func() {
		runtime.LockOSThread()
		defer func() { done <- recover() }()
		faults[name](id)
	}()
	fmt.Println("went on:", <-done)
}

// A fault in C ends the process, which says what it was, and whose but for the end of a
// stack: what the runtime shows of that ends there, too. Nothing recovers from it.
func TestFaultsEndTheProcess(t *testing.T) {
	for name := range faults {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), faultArg+"="+name)
		out, err := cmd.CombinedOutput()
		if err == nil || !bytes.HasPrefix(out, []byte("SIGSEGV: segmentation violation\nPC=0x")) {
			t.Errorf("%s: %v, and no word of the signal at first:\n%s", name, err, out)
		}
		if name != "stack" && (!strings.Contains(string(out), "paca/dataplane/dpdk.commitFault") || err.Error() != "exit status 2") {
			t.Errorf("%s: %v, and not a word of who called:\n%s", name, err, out)
		}
	}
}

// Bursts from and to nowhere: a driver that does as little as can be.
func BenchmarkBurst(b *testing.B) {
	for _, size := range []int{0, 1, 4, 32, 64} {
		for _, way := range []string{"call", "callSlow"} {
			b.Run(fmt.Sprintf("%d/%s", size, way), func(b *testing.B) {
				pool := newPool(b, 511)
				id := start(b, fmt.Sprintf("net_null8,no-rx=%d", max(0, 1-size)), pool)
				slow[id] = ways[way]
				pkts := make([]*mbuf.Mbuf, max(1, size))
				for b.Loop() {
					if n := RxBurst(id, 0, pkts); n > 0 {
						TxBurst(id, 0, pkts[:n])
					}
				}
			})
		}
	}
}
