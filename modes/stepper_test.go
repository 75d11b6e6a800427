//go:build linux && amd64 && !race

package modes_test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// stepper takes a thread of another process of this program from breakpoint to
// breakpoint, one instruction at a time. The same work is the same instructions on
// every run and every machine, whoever else is at work there.
type stepper struct {
	t    *testing.T
	cmd  *exec.Cmd
	said *bufio.Reader   // by the process
	tid  int             // of the thread
	regs unix.PtraceRegs // where it stands
}

const followed = "PACA_FOLLOWED" // is set in the other process

// follow runs the test at hand in another process as well, which must call
// beFollowed. Until leave the caller is bound to its thread.
func follow(t *testing.T) *stepper {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &stepper{t: t, cmd: exec.CommandContext(t.Context(), exe, "-test.run=^"+t.Name()+"$")}
	// No collector, no signals, and copying and clearing as every amd64 can do it.
	s.cmd.Env = append(os.Environ(), followed+"=1", "GOGC=off",
		"GODEBUG=asyncpreemptoff=1,cpu.avx=off,cpu.avx2=off,cpu.erms=off,cpu.fsrm=off")
	stdin, err := s.cmd.StdinPipe()
	s.must("asking", err)
	stdout, err := s.cmd.StdoutPipe()
	s.must("hearing", err)
	s.said = bufio.NewReader(stdout)
	runtime.LockOSThread() // by which the kernel knows who follows
	s.must("starting", s.cmd.Start())
	_, err = fmt.Fscanln(s.said, &s.tid)
	s.must("finding", err)
	s.must("seizing", unix.PtraceSeize(s.tid))
	_, err = fmt.Fprintln(stdin)
	s.must("telling", err)
	if !s.trapped() {
		s.resume(s.run)
	}
	return s
}

// beFollowed binds the caller to its thread and waits until that is followed.
func beFollowed(t *testing.T) {
	runtime.LockOSThread()
	fmt.Println(unix.Gettid())
	if _, err := os.Stdin.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	runtime.Breakpoint()
}

// leave has the process end by itself, and well.
func (s *stepper) leave() {
	s.must("leaving", unix.PtraceDetach(s.tid))
	runtime.UnlockOSThread()
	said, _ := io.ReadAll(s.said)
	if err := s.cmd.Wait(); err != nil {
		s.t.Fatalf("%v\n%s", err, said)
	}
}

func (s *stepper) must(what string, err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatalf("%s the process to follow: %v", what, err)
	}
}

// steps are the instructions between two breakpoints, by their addresses, without
// those of the functions that apart is told the names of. The scheduler's turns, which
// come by the clock, are not among them either.
func (s *stepper) steps(apart func(function string) bool) (pcs []uintptr) {
	s.resume(s.run)
	from := s.regs.Rip
	if f := runtime.FuncForPC(uintptr(from)); f == nil || f.Name() != "runtime.breakpoint" {
		s.t.Fatalf("%#x is not in runtime.breakpoint: this program is not where it was linked to be", from)
	}
	for {
		s.resume(s.step)
		if s.regs.Rip == from {
			return pcs
		}
		pc := uintptr(s.regs.Rip)
		if f := runtime.FuncForPC(pc); f.Entry() == pc {
			switch name := f.Name(); {
			case strings.HasPrefix(name, "runtime.morestack"):
				pcs = s.begin(pcs)
			case apart(name):
				s.over()
			}
		}
		pcs = append(pcs, uintptr(s.regs.Rip))
	}
}

// over has the thread return from the function that it is about to begin.
func (s *stepper) over() {
	var word, code [8]byte
	_, err := unix.PtracePeekData(s.tid, uintptr(s.regs.Rsp), word[:])
	s.must("reading", err)
	back := binary.NativeEndian.Uint64(word[:])
	_, err = unix.PtracePeekText(s.tid, uintptr(back), code[:])
	s.must("reading", err)
	trap := code
	trap[0] = 0xcc // int3
	_, err = unix.PtracePokeText(s.tid, uintptr(back), trap[:])
	s.must("stopping", err)
	s.resume(s.run)
	s.regs.Rip = back
	s.must("moving", unix.PtraceSetRegs(s.tid, &s.regs))
	_, err = unix.PtracePokeText(s.tid, uintptr(back), code[:])
	s.must("mending", err)
}

// begin is for a function that was sent to the scheduler instead of beginning, and
// begins once more: it takes back the steps that it had made.
func (s *stepper) begin(pcs []uintptr) []uintptr {
	s.over()
	entry := runtime.FuncForPC(uintptr(s.regs.Rip)).Entry()
	for uintptr(s.regs.Rip) != entry {
		s.resume(s.step)
	}
	for last := uintptr(0); last != entry; pcs = pcs[:len(pcs)-1] {
		last = pcs[len(pcs)-1]
	}
	return pcs
}

func (s *stepper) run() error  { return unix.PtraceCont(s.tid, 0) }
func (s *stepper) step() error { return unix.PtraceSingleStep(s.tid) }

// resume has the thread go on to its next trap. Signals are kept from it.
func (s *stepper) resume(how func() error) {
	for again := true; again; again = !s.trapped() {
		s.must("resuming", how())
	}
}

// trapped awaits that the thread stops, and says whether it is for a trap.
func (s *stepper) trapped() bool {
	var status unix.WaitStatus
	_, err := unix.Wait4(s.tid, &status, unix.WALL, nil)
	s.must("awaiting", err)
	if !status.Stopped() {
		said, _ := io.ReadAll(s.said)
		s.t.Fatalf("the process that was followed ended: %#x\n%s", status, said)
	}
	s.must("reading", unix.PtraceGetRegs(s.tid, &s.regs))
	return status.StopSignal() == unix.SIGTRAP
}
