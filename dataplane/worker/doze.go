package worker

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Operations of futex(2), within the process.
const (
	futexWait = 0 | 128
	futexWake = 1 | 128
)

// nap is a sleep that is so short that a peer does better not to wake who sleeps it: that
// takes the peer longer than most of its bursts.
const nap = 100 * time.Microsecond

// doze sleeps for d, or if that is no nap until a peer gives something. It says so first
// and looks again then, as peers give first and look then.
func (w *Worker) doze(d time.Duration) {
	says := uint32(0)
	if d > nap && len(w.from) > 0 {
		says = 1
	}
	w.asleep.Store(says)
	if !w.waiting() {
		t := unix.NsecToTimespec(int64(d))
		// Cut short by a signal: polls sooner, no harm.
		unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&w.asleep)), futexWait, uintptr(says), uintptr(unsafe.Pointer(&t)), 0, 0)
	}
	w.asleep.Store(0)
}

// wake ends a peer's doze.
func (w *Worker) wake() {
	if w.asleep.Load() == 1 && w.asleep.CompareAndSwap(1, 0) {
		unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&w.asleep)), futexWake, 1, 0, 0, 0)
	}
}
