package dpdk

import (
	"runtime"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// C functions as a compiler leaves them: there is no cgo in tests.
var (
	overflow = []byte{0xe8, 0xfb, 0xff, 0xff, 0xff} // call itself
	wait     = []byte{
		0xc7, 0x47, 0x04, 1, 0, 0, 0, // movl $1, 4(%rdi): here we are
		0xf3, 0x90, // pause
		0x8b, 0x07, // mov (%rdi), %eax
		0x85, 0xc0, // test %eax, %eax
		0x74, 0xf8, // je to pause
		0xc3, // ret
	}
)

// code makes a function of its instructions. Its memory stays for as long as the
// process.
func code(instructions []byte) unsafe.Pointer {
	page, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		panic(err)
	}
	copy(page, instructions)
	if err := unix.Mprotect(page, unix.PROT_READ|unix.PROT_EXEC); err != nil {
		panic(err)
	}
	return unsafe.Pointer(&page[0])
}

func init() {
	faults["stack"] = func(PortID) { call(code(overflow), nil) }
}

// The garbage collector does not wait for what asks the kernel.
func TestKernelsWayLetsTheWorldStop(t *testing.T) {
	fn, arg, returned := code(wait), new([2]uint32), make(chan int32)
	go func() { returned <- callSlow(fn, unsafe.Pointer(arg)) }()
	for atomic.LoadUint32(&arg[1]) == 0 {
		runtime.Gosched()
	}
	runtime.GC()
	atomic.StoreUint32(&arg[0], 7)
	if got := <-returned; got != 7 {
		t.Errorf("it returned %d, not 7", got)
	}
}
