//go:build !go1.26 || go1.27

package dpdk

import "unsafe"

// call is as cgo does it: nobody has looked at what this version of Go would make of
// less.
func call(fn, arg unsafe.Pointer) int32 { return callSlow(fn, arg) }
