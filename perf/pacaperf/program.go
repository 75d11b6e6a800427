package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/gopacket"
)

// program is what can be measured: pacad or one of those beside it.
type program interface {
	// name is that of its series.
	name() string
	// why says why it cannot be measured with such traffic here; "" if it can.
	why(Params) string
	// takes is about how long it takes to start and stop.
	takes(Params) time.Duration
	// start returns once the program forwards.
	start(context.Context, job) (running, error)
	// wants is what must come of the frame of a flow, and whether its MAC
	// addresses are the program's to choose.
	wants(p Params, f flow, size int) (frame []gopacket.SerializableLayer, anyMAC bool)
}

// running is a program that forwards.
type running interface {
	// sent is how many packets have left, at the time when it returns or just
	// before.
	sent(context.Context) (uint64, error)
	pid() int
	stop() error
}

// job is what a program is started for.
type job struct {
	Params
	b        *bench
	in, out  string // devices, as DPDK's --vdev has them
	forwards []int  // cores
	control  int    // core of all else
	buffers  int    // in a pool
	mtu      int    // of the uplink; 0: room for any outer header
	policy   string // file of pacad's store, with the lookup records
}

// spare buffers are for each core besides those that the capture is kept in.
const spare = 16 << 10

// memory is what DPDK may take in MiB.
func (j job) memory() int {
	buffer := 2560 // bytes
	if j.Pages == ordinary {
		buffer = 4 << 10 // no two are on one page
	}
	return 512 + 9*j.buffers/8*buffer>>20
}

// peers are those that pacad is measured beside, in the order of plots and tables.
func peers() []program {
	return []program{testpmd{"io"}, testpmd{"mac"}, testpmd{"csum"}, ovs{}}
}

func peerNames() (names []string) {
	for _, p := range peers() {
		names = append(names, p.name())
	}
	return names
}

// rxPcap is the device that plays captures, one to a queue: once, or over and over
// from memory.
func rxPcap(captures []string, forever bool) string {
	s := "net_pcap0,rx_pcap=" + strings.Join(captures, ",rx_pcap=")
	if forever {
		s += ",infinite_rx=1"
	}
	return s
}

// fairShare is how much of its cores a program must have had for its rate to mean
// something. The rest is somebody else's: a machine may have other things to do.
const fairShare = 0.97

// patience with a program that does nothing: a million frames and records are read first, and
// cores may be somebody else's.
const patience = time.Minute

// reading is one measurement.
type reading struct {
	pps   float64
	share float64 // of its cores that the program had, 1 being all
}

func (r reading) disturbed() bool { return r.share < fairShare }

// rate starts a program and measures its packets per second.
func rate(ctx context.Context, p program, j job, window time.Duration) (_ reading, err error) {
	r, err := steady(ctx, p, j)
	if err != nil {
		return reading{}, err
	}
	defer func() { err = errors.Join(err, r.stop()) }()
	return calmRate(ctx, r, j.Cores, window)
}

// calmRate is packets per second, measured once more if the program was disturbed, and
// again: the least disturbed reading.
func calmRate(ctx context.Context, r running, cores int, window time.Duration) (best reading, err error) {
	for range 3 {
		now, err := measureRate(ctx, r, cores, window)
		if err != nil {
			return best, err
		}
		if best.pps == 0 || now.share > best.share { // Linux may not have counted any time yet
			best = now
		}
		if !best.disturbed() {
			break
		}
	}
	return best, nil
}

// steady starts a program and returns once it is warm.
func steady(ctx context.Context, p program, j job) (running, error) {
	r, err := p.start(ctx, j)
	if err != nil {
		return nil, err
	}
	if err = untilSending(ctx, r); err == nil {
		err = sleep(ctx, warmUp)
	}
	if err != nil {
		return nil, errors.Join(err, r.stop())
	}
	return r, nil
}

// measureRate is packets per second in a window that begins now, of a program that
// forwards on so many cores. A window in which it could send nothing, since others
// had its cores, goes on, up to a minute.
func measureRate(ctx context.Context, r running, cores int, window time.Duration) (reading, error) {
	before, err := r.sent(ctx)
	if err != nil {
		return reading{}, err
	}
	begin, worked := time.Now(), cpuTime(proc(r.pid()))
	for time.Since(begin) < patience {
		if err := sleep(ctx, window); err != nil {
			return reading{}, err
		}
		after, err := r.sent(ctx)
		if err != nil {
			return reading{}, err
		}
		if took := time.Since(begin).Seconds(); after > before {
			share := (cpuTime(proc(r.pid())) - worked).Seconds() / took / float64(cores)
			return reading{float64(after-before) / took, share}, nil
		}
	}
	return reading{}, fmt.Errorf("sent nothing in %s", patience)
}

// proc is where Linux tells of a process.
func proc(pid int) string { return fmt.Sprintf("/proc/%d", pid) }

// cpuTime is how long a process has been running on any core, or a thread: its folder.
func cpuTime(folder string) time.Duration {
	_, stat, _ := strings.Cut(read(folder+"/stat"), ") ") // its name may have anything in it
	fields := strings.Fields(stat)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * time.Second / 100 // Linux counts for us in hundredths
}

// untilSending waits for a program's first packets.
func untilSending(ctx context.Context, r running) error {
	for deadline := time.Now().Add(patience); ; {
		n, err := r.sent(ctx)
		if err != nil {
			return err
		}
		if n > 1000 { // more than what a program says for itself
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("has sent %d packets in %s", n, patience)
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}

// sleep is interrupted with ctx.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
