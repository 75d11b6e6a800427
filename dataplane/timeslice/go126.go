//go:build go1.26 && !go1.27 && linux && (amd64 || arm64)

package timeslice

import _ "unsafe" // for linkname

// Known says whether this version of Go, on such a machine, is: whether Renew has an
// effect.
const Known = true

// Renew begins a new time slice for the calling goroutine, unless others wait for its P:
// then the watchdog shall have its way. It takes a few nanoseconds, and those of reading
// the clock where there are timers; once in some milliseconds will do.
//
// The race detector knows nothing of Ps, and of who has one to itself.
//
//go:norace
func Renew() {
	pin() // to this P, which is nobody else's so long
	if p := getm().p; p.runqhead == p.runqtail && p.runnext == 0 && !due(p.minWhenHeap) && !due(p.minWhenModified) {
		p.schedtick++
	}
	unpin()
}

// due says whether it is time for the first of some timers; 0 is that of none.
func due(when int64) bool { return when != 0 && when <= nanotime() }

// m is runtime.m, p is runtime.p, as far as they matter here; the test compares them
// with the originals.
type m struct {
	_ [208]byte
	p *p
}

type p struct {
	_                  [16]byte
	schedtick          uint32 // counts time slices; the watchdog looks whether it moves
	_                  [380]byte
	runqhead, runqtail uint32 // goroutines that wait, but for
	_                  [256 * 8]byte
	runnext            uintptr // that one
	_                  [11256]byte
	// timers.
	minWhenHeap, minWhenModified int64
}

// All four are on the runtime's own list of what others may link to.

//go:linkname pin runtime.procPin
func pin() int

//go:linkname unpin runtime.procUnpin
func unpin()

//go:linkname getm runtime.getm
func getm() *m

//go:linkname nanotime runtime.nanotime
func nanotime() int64
