//go:build amd64 || arm64

package unseen

//go:noescape
func fetch(refs *uintptr, n int, on uintptr)
