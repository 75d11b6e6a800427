//go:build go1.26 && !go1.27 && linux && (amd64 || arm64)

package timeslice

import (
	"debug/dwarf"
	"debug/elf"
	"os/exec"
	"path/filepath"
	"testing"
	"unsafe"
)

// The runtime's structures are what this package believes. A program is built for the
// purpose: test binaries have no debug information.
func TestLayout(t *testing.T) {
	program := filepath.Join(t.TempDir(), "program")
	if out, err := exec.Command("go", "build", "-o", program, "./testdata/program.go").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	f, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.DWARF()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int64{}
	for r := info.Reader(); ; {
		e, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if e == nil {
			break
		}
		name, _ := e.Val(dwarf.AttrName).(string)
		if e.Tag != dwarf.TagStructType || name != "runtime.m" && name != "runtime.p" {
			continue
		}
		s, err := info.Type(e.Offset)
		if err != nil {
			t.Fatal(err)
		}
		for _, field := range s.(*dwarf.StructType).Field {
			found[name+"."+field.Name] = field.ByteOffset
		}
	}
	for field, at := range map[string]uintptr{
		"runtime.m.p":         unsafe.Offsetof(m{}.p),
		"runtime.p.schedtick": unsafe.Offsetof(p{}.schedtick),
	} {
		if got, ok := found[field]; !ok || got != int64(at) {
			t.Errorf("%s is at byte %d (found: %v), not at %d", field, got, ok, at)
		}
	}
}

// What Renew moves belongs to the goroutine that calls it, on whatever thread that is.
func TestRenew(t *testing.T) {
	for range 1000 {
		pin()
		tick := &getm().p.schedtick
		was := *tick
		Renew() // pins are counted
		now := *tick
		unpin()
		if now != was+1 {
			t.Fatalf("%d time slices became %d", was, now)
		}
	}
}
