// Package timeslice lets a goroutine that polls for as long as the program runs keep
// its thread.
//
// Go's runtime has a watchdog that asks a goroutine to give way once it has run for
// 10 ms. One that is locked to a thread cannot give way to another on the same thread:
// the thread hands over what it needs to run Go (its P), sleeps, and is woken when a
// second thread has found nothing better to do, which takes two wake-ups across cores,
// 30 to 130 µs on a virtual machine, a hundred times a second, for nothing. The runtime
// has no word for "this one is to stay", so Renew says the only thing that the
// watchdog understands: that the goroutine was scheduled anew just now. The garbage
// collector's requests to stop are others, and are honoured as ever. Nor does it say so
// where a goroutine or a timer waits for this very P: Ps that have work do not look after
// others, so it would wait for as long as they all have.
//
// Floor 1. It imports nothing, and knows the layout of three structures of the runtime:
// of the versions of Go that a file here is for.
package timeslice
