//go:build !go1.26 || go1.27 || !linux || !(amd64 || arm64)

package timeslice

// Known says whether this version of Go, on such a machine, is: whether Renew has an
// effect.
const Known = false

// Renew does nothing: the runtime is of another version, or for another machine, than
// those known here.
func Renew() {}
