package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/google/gopacket"

	"paca/perf/probe"
)

// loop is a program that forwards, and a probe at its other ends: in shared memory
// (memif), which a core can fill and empty several times as fast as a core forwards.
// The program forwards on a core of its own. The probe, which polls, has to share
// another with everything else.
type loop struct {
	run    running
	probe  *probe.Process
	frames [][]byte
}

// ringBits is the size of all rings, as a power of two: what a network card can have.
const ringBits = 12

const (
	loopBuffers = 4 << ringBits // more than without
	probeMemory = 256           // MiB
)

// loopMemory is what both programs have on huge pages, in MiB.
func loopMemory(b *bench) int {
	return job{Params: plainParams, buffers: plainParams.buffers() + loopBuffers}.memory() + probeMemory
}

// openLoop starts a program between two ports, and a probe. The job lacks only
// devices.
func openLoop(ctx context.Context, p program, j job) (_ *loop, err error) {
	dir, err := os.MkdirTemp(j.b.dir, "loop")
	if err != nil {
		return nil, err
	}
	device := func(i int, role string) string {
		return fmt.Sprintf("net_memif%d,role=%s,socket=%s/%d,socket-abstract=no,rsize=%d", i, role, dir, i, ringBits)
	}
	j.in, j.out = device(0, "server"), device(1, "server")
	j.buffers += loopBuffers
	j.mtu = 1500 // is what memif has
	l := new(loop)
	if l.run, err = p.start(ctx, j); err != nil {
		return nil, err
	}
	if l.probe, err = startProbe(ctx, probe.Setup{
		EAL:  eal(j.Pages, probeMemory),
		Core: j.control, Out: "vdev:" + device(0, "client"), Back: "vdev:" + device(1, "client"), Ring: 1 << ringBits, GiveWay: true,
	}); err != nil {
		return nil, errors.Join(err, l.run.stop())
	}
	b := gopacket.NewSerializeBuffer()
	for i, f := range j.flows() {
		l.frames = append(l.frames, append([]byte(nil), frame(b, j.input(f, j.size(i)))...))
	}
	return l, nil
}

// startProbe starts this program anew, as a probe.
func startProbe(ctx context.Context, s probe.Setup) (*probe.Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "probe")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return probe.Start(cmd, s)
}

// close ends the probe, then the program: the driver does not bear both at once.
func (l *loop) close() error { return errors.Join(l.probe.Close(), l.run.stop()) }

// send sends at a rate, 0 for as fast as can be.
func (l *loop) send(pps float64, length time.Duration) (*probe.Result, error) {
	return l.probe.Run(probe.Plan{Rate: pps, Length: length, WarmUp: 100 * time.Millisecond, Frames: l.frames})
}

// Of the search for the rate without loss.
const (
	trial  = 250 * time.Millisecond
	trials = 8 // each halves what is not known
	tries  = 3 // of a trial: what else goes on in a machine is not the program's fault
)

// noDrop is the highest rate, to a hundredth, at which the loop takes every frame when
// it is due and gives all of them back, in short trials like those of RFC 2544. The loop
// is as fast as the slower of the two: the probe may be that.
func (l *loop) noDrop() (pps float64, err error) {
	r, err := l.send(0, trial)
	if err != nil {
		return 0, err
	}
	low, high := 0.0, 1.1*float64(r.Received)/r.Elapsed.Seconds()
	for range trials {
		pps := (low + high) / 2
		good, err := l.bears(pps)
		if err != nil {
			return 0, err
		}
		if good {
			low = pps
		} else {
			high = pps
		}
	}
	if low == 0 {
		return 0, fmt.Errorf("frames are lost at %.0f packets per second", high)
	}
	return low, nil
}

func (l *loop) bears(pps float64) (bool, error) {
	for range tries {
		r, err := l.send(pps, trial)
		if err != nil {
			return false, err
		}
		if r.Received == r.Planned && r.Refused == 0 && r.Elapsed < trial+trial/50 {
			return true, nil
		}
	}
	return false, nil
}

// searchTakes is about how long noDrop does.
const searchTakes = trials * 2 * (trial + 150*time.Millisecond)
