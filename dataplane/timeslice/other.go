//go:build !go1.26 || go1.27

package timeslice

// Known says whether this version of Go is, so that Renew has an effect.
const Known = false

// Renew does nothing: the runtime is of another version than those known here.
func Renew() {}
