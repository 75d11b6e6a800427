// Package unseen has pointers that the garbage collector does not see.
//
// While the collector marks, a program tells it of every pointer that it writes into
// the heap, and of every one that it overwrites. A worker notes several pointers for
// each packet, to buffers and to what was looked up, and telling of them takes five
// times as long as the packet's whole trip: at every collection, for as long as
// it marks, a host forwards at half its rate. But all that a worker points to is held
// elsewhere anyway, buffers by their pool, records by the FIB that is in force for the
// turn. So it notes them as numbers.
//
// Whoever has a Ref sees to it that what it refers to stays reachable by a true
// pointer as long as the Ref is read. The collector moves nothing.
//
// Floor 1. It imports nothing.
package unseen

import "unsafe"

// Ref refers to a T, or to nothing as its zero value.
type Ref[T any] uintptr

// To refers to what p points to.
func To[T any](p *T) Ref[T] { return Ref[T](uintptr(unsafe.Pointer(p))) }

// Get is the pointer.
func (r Ref[T]) Get() *T { return *(**T)(unsafe.Pointer(&r)) }

// Pointers shows references as the pointers that they are. Nothing is to be written
// through the slice.
func Pointers[T any](refs []Ref[T]) []*T {
	return unsafe.Slice((**T)(unsafe.Pointer(unsafe.SliceData(refs))), len(refs))
}

// Copy is copy, from pointers to references.
func Copy[T any](dst []Ref[T], src []*T) int {
	return copy(dst, unsafe.Slice((*Ref[T])(unsafe.Pointer(unsafe.SliceData(src))), len(src)))
}
