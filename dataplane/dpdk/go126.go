//go:build go1.26 && !go1.27

package dpdk

import "unsafe"

// call has a C function do a burst, on the stack that the thread was made with, and
// returns what it returns. To the scheduler this is a stretch of Go as any other. cgo
// takes leave of it before and comes back after, so that the garbage collector need not
// wait; that is four fifths of its time. So what is called like this must be back in
// microseconds, since all of Go waits for it when the world is stopped, and it must not
// call Go.
//
// It is how the runtime itself calls C, and what cgo does between leaving and coming
// back. What it stands on, as this version has it:
//
//   - in C it is not the goroutine that runs but the thread's own one, g0:
//     isAsyncSafePoint refuses to preempt that, so the goroutine stays on its thread, and
//     its stack, which arg may point to, where it is;
//   - signals are handled on a stack of Go's (sigaltstack), whatever the thread is doing;
//   - sigprof finds no frame of Go's, and files a sample under runtime._ExternalCode;
//   - sighandler makes no panic of a fault, since a panic is the goroutine's. As in cgo
//     the process ends with status 2, and says the signal, its PC and its address first,
//     then what the stacks look like. It is the same where the stack ends (8 MiB for a
//     thread, unless limits say otherwise), below which nothing is mapped.
//
// A stack of our own, switched to in assembly, takes 3.6 ns less. But with that the
// runtime believes that a fault in C is the goroutine's: it makes it a panic, fails at
// that, and says nothing of the signal; and at the end of the stack, where it has no room
// to do so, the process is gone without a word.
//
//go:linkname call runtime.asmcgocall
//go:noescape
func call(fn, arg unsafe.Pointer) int32
