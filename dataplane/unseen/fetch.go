package unseen

import "unsafe"

// Fetch has the processor read what refs refer to into its caches, the line of the
// first byte and that of the one so many bytes on, for those who read it next, and
// does not wait. Nothing has to be there. On processors that it has no words for, it
// does nothing.
func Fetch[T any](refs []Ref[T], on uintptr) {
	fetch((*uintptr)(unsafe.Pointer(unsafe.SliceData(refs))), len(refs), on)
}
