package dpdk

/*
#include "shim.h"
*/
import "C"

import (
	"unsafe"

	"paca/dataplane/mbuf"
)

// callKernel is call for C that asks the kernel, which may take its time: as cgo does
// it, the scheduler knows. It is on the runtime's list of what others may link to.
//
//go:linkname callKernel runtime.cgocall
//go:noescape
func callKernel(fn, arg unsafe.Pointer) int32

// kernel are the ports whose drivers make system calls at each burst. They are too slow
// to feel cgo, and what the kernel takes for 64 packets, or to find memory for them, is
// too long for other workers to wait when the garbage collector stops the world.
var kernel [MaxPorts]bool

var kernelDrivers = map[string]bool{"net_af_packet": true, "net_af_xdp": true, "net_tap": true, "net_tun": true}

// burst asks a queue of a port for something.
func burst(fn unsafe.Pointer, port PortID, queue int, pkts []*mbuf.Mbuf) uint32 {
	arg := unsafe.Pointer(&C.struct_shim_burst{pkts: array(pkts), n: C.uint32_t(len(pkts)), port: C.uint16_t(port), queue: C.uint16_t(queue)})
	if kernel[port] {
		return uint32(callKernel(fn, arg))
	}
	return uint32(call(fn, arg))
}

// poolBurst asks a pool, which never asks the kernel.
func poolBurst(fn unsafe.Pointer, pool *C.struct_rte_mempool, pkts []*mbuf.Mbuf) int32 {
	return call(fn, unsafe.Pointer(&C.struct_shim_burst{pkts: array(pkts), n: C.uint32_t(len(pkts)), pool: pool}))
}

// array is the C view of a burst.
func array(pkts []*mbuf.Mbuf) **C.struct_rte_mbuf {
	return (**C.struct_rte_mbuf)(unsafe.Pointer(unsafe.SliceData(pkts)))
}
