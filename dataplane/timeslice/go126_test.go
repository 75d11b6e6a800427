//go:build go1.26 && !go1.27 && linux && (amd64 || arm64)

package timeslice

import (
	"debug/dwarf"
	"debug/elf"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
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
		if e.Tag != dwarf.TagStructType || name != "runtime.m" && name != "runtime.p" && name != "runtime.timers" {
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
	timers := found["runtime.p.timers"]
	for _, f := range []struct {
		name string
		is   int64
		want uintptr
	}{
		{"m.p", found["runtime.m.p"], unsafe.Offsetof(m{}.p)},
		{"p.schedtick", found["runtime.p.schedtick"], unsafe.Offsetof(p{}.schedtick)},
		{"p.runqhead", found["runtime.p.runqhead"], unsafe.Offsetof(p{}.runqhead)},
		{"p.runqtail", found["runtime.p.runqtail"], unsafe.Offsetof(p{}.runqtail)},
		{"p.runnext", found["runtime.p.runnext"], unsafe.Offsetof(p{}.runnext)},
		{"p.timers.minWhenHeap", timers + found["runtime.timers.minWhenHeap"], unsafe.Offsetof(p{}.minWhenHeap)},
		{"p.timers.minWhenModified", timers + found["runtime.timers.minWhenModified"], unsafe.Offsetof(p{}.minWhenModified)},
	} {
		if f.is != int64(f.want) {
			t.Errorf("%s is at byte %d, not at %d", f.name, f.is, f.want)
		}
	}
}

// Who shares a P with a goroutine that renews its time slice gets a turn all the same,
// also where no other P could help out.
func TestOthersHaveTheirTurn(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for name, begin := range map[string]func(f func()){
		"goroutine": func(f func()) { go f() },
		"timer":     func(f func()) { time.AfterFunc(time.Millisecond, f) },
	} {
		var ran atomic.Bool
		begin(func() { ran.Store(true) })
		for end := time.Now().Add(20 * time.Second); !ran.Load() && time.Now().Before(end); {
			Renew()
		}
		if !ran.Load() {
			t.Errorf("a %s waited in vain", name)
		}
	}
}

// What Renew moves belongs to the goroutine that calls it, on whatever thread that is.
func TestRenew(t *testing.T) {
	const turns = 1000
	moved := uint32(0)
	for range turns {
		pin()
		tick := &getm().p.schedtick
		was := *tick
		Renew() // pins are counted
		now := *tick
		unpin()
		if now-was > 1 {
			t.Fatalf("%d time slices became %d", was, now)
		}
		moved += now - was
	}
	if moved < turns/2 { // now and then somebody waits
		t.Errorf("%d of %d began", moved, turns)
	}
}
