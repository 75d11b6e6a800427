//go:build go1.26 && !go1.27 && linux && (amd64 || arm64)

package timeslice

import _ "unsafe" // for linkname

// Known says whether this version of Go, on such a machine, is: whether Renew has an
// effect.
const Known = true

// Renew begins a new time slice for the calling goroutine. It takes a few
// nanoseconds; once in some milliseconds will do.
//
// The race detector knows nothing of Ps, and of who has one to itself.
//
//go:norace
func Renew() {
	pin() // to this P, which is nobody else's so long
	getm().p.schedtick++
	unpin()
}

// m is runtime.m, p is runtime.p, as far as they matter here; the test compares them
// with the originals.
type m struct {
	_ [208]byte
	p *p
}

type p struct {
	_         [16]byte
	schedtick uint32 // counts time slices; the watchdog looks whether it moves
}

// All three are on the runtime's own list of what others may link to.

//go:linkname pin runtime.procPin
func pin() int

//go:linkname unpin runtime.procUnpin
func unpin()

//go:linkname getm runtime.getm
func getm() *m
