// Package dpdk is paca's binding to DPDK 22.11, and the only place that says
// import "C": the environment (EAL), buffer pools and Ethernet devices, in
// DPDK's own words. C is thin shims in shim.h and shim.c; every decision is
// made in Go, most of them in port/ethdev.
//
// Floor 1. It may import dataplane/mbuf and nothing else of paca.
//
// On the hot path are RxBurst, TxBurst, TxPrepareBurst, Mempool.Alloc and Mempool.Free:
// one call of C each per burst, no allocation. It is less than a call of cgo (go126.go),
// but for devices of the kernel's: receiving nothing takes 8.5 ns, and 23 by cgo; one
// packet from net_null and back 40, and 86; bursts of 32 save 1.7 ns a packet.
package dpdk

/*
#cgo pkg-config: libdpdk
#include <stdlib.h>
#include "shim.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"paca/dataplane/mbuf"
)

// Errors to tell apart with errors.Is.
var (
	ErrInitialized    = errors.New("dpdk: eal is already initialized")
	ErrNotInitialized = errors.New("dpdk: eal is not initialized")
	ErrLayout         = errors.New("dpdk: this library's buffers differ from those paca was built for")
)

// Config says how to start the EAL.
type Config struct {
	Args []string     // EAL's arguments, the program's name not included
	Log  *slog.Logger // default slog.Default(); records carry component=dpdk
}

var eal struct {
	sync.Mutex
	tried, ready bool
	log          *logPipe
}

// Init starts the EAL, once per process; a failed start cannot be repeated
// either. It runs on an OS thread of its own that lives as long as the process.
//
// Unless Args choose lcores, the EAL gets one that may run on any CPU of the
// process, and workers join by RegisterThread. So no thread is pinned: the EAL
// pins its caller to its first lcore's CPU and Go's threads, started later from
// it, would inherit that.
func Init(c Config) error {
	eal.Lock()
	defer eal.Unlock()
	if eal.tried {
		return ErrInitialized
	}
	eal.tried = true
	if err := checkLayout(); err != nil {
		return err
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	l, err := openLog(c.Log.With("component", "dpdk"))
	if err != nil {
		return err
	}
	eal.log = l

	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- l.explain(func() error { return initHere(c.Args) })
		select {} // the EAL's main thread must not end
	}()
	if err := <-done; err != nil {
		return fmt.Errorf("dpdk: eal init: %w", err)
	}
	eal.ready = true
	return nil
}

// initHere starts the EAL on the calling thread and gives it back its CPUs.
func initHere(args []string) error {
	var cpus unix.CPUSet
	if err := unix.SchedGetaffinity(0, &cpus); err != nil {
		return fmt.Errorf("get affinity: %w", err)
	}
	argv := []string{"paca"}
	if !choosesLcores(args) {
		argv = append(argv, "--lcores", "0@("+cpuList(&cpus)+")")
	}
	argv = append(argv, args...)

	// Never freed: the EAL keeps pointers to its arguments.
	cargv := (*[1 << 16]*C.char)(C.calloc(C.size_t(len(argv)+1), C.size_t(unsafe.Sizeof((*C.char)(nil)))))
	for i, a := range argv {
		cargv[i] = C.CString(a)
	}
	rc := C.shim_eal_init(C.int(len(argv)), &cargv[0])
	if err := unix.SchedSetaffinity(0, &cpus); err != nil {
		return fmt.Errorf("restore affinity: %w", err)
	}
	return errnoOf(rc)
}

func choosesLcores(args []string) bool {
	return slices.ContainsFunc(args, func(a string) bool {
		return strings.HasPrefix(a, "-l") || strings.HasPrefix(a, "-c") || strings.HasPrefix(a, "--lcores")
	})
}

// cpuList writes a set as "0,1,5".
func cpuList(set *unix.CPUSet) string {
	var list []string
	for cpu := range len(set) * 64 {
		if set.IsSet(cpu) {
			list = append(list, strconv.Itoa(cpu))
		}
	}
	return strings.Join(list, ",")
}

// checkLayout compares mbuf's idea of a buffer with the library's headers.
func checkLayout() error {
	theirs := make(map[string]C.struct_shim_value)
	var n C.int
	fields := C.shim_fields(&n)
	for _, v := range unsafe.Slice(fields, n) {
		theirs[C.GoString(v.name)] = v
	}
	var errs []error
	for _, f := range mbuf.Layout() {
		v, ok := theirs[f.Name]
		if !ok || uint64(v.offset) != uint64(f.Offset) || uint64(v.size) != uint64(f.Size) {
			errs = append(errs, fmt.Errorf("%w: %s at %d of %d bytes, not at %d of %d", ErrLayout, f.Name, v.offset, v.size, f.Offset, f.Size))
		}
	}
	constants := C.shim_constants(&n)
	for _, v := range unsafe.Slice(constants, n) {
		theirs[C.GoString(v.name)] = v
	}
	for _, c := range mbuf.Constants() {
		if v, ok := theirs[c.Name]; !ok || uint64(v.offset) != c.Value {
			errs = append(errs, fmt.Errorf("%w: %s is %#x, not %#x", ErrLayout, c.Name, v.offset, c.Value))
		}
	}
	return errors.Join(errs...)
}

// RegisterThread gives the calling OS thread an lcore id, and with it caches in
// every pool. The caller has locked its goroutine to the thread and set the
// thread's CPU before.
func RegisterThread() error {
	if err := ready(); err != nil {
		return err
	}
	if err := errnoOf(C.shim_thread_register()); err != nil {
		return fmt.Errorf("dpdk: register thread: %w", err)
	}
	return nil
}

// UnregisterThread gives the lcore id back; the thread that registered calls it.
func UnregisterThread() { C.rte_thread_unregister() }

// LcoreID is the calling thread's lcore id, false if it has none.
func LcoreID() (int, bool) {
	id := C.rte_lcore_id()
	return int(id), id != C.LCORE_ID_ANY
}

func ready() error {
	eal.Lock()
	defer eal.Unlock()
	if !eal.ready {
		return ErrNotInitialized
	}
	return nil
}

// errnoOf turns a C result into an error: nil unless negative. DPDK has error
// numbers of its own above the system's.
func errnoOf(rc C.int) error {
	switch {
	case rc >= 0:
		return nil
	case rc <= -1000:
		return errors.New(strings.ToLower(C.GoString(C.rte_strerror(-rc))))
	}
	return syscall.Errno(-rc)
}
