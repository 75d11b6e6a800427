package dpdk

/*
#include "shim.h"
*/
import "C"

import (
	"unsafe"

	"paca/dataplane/mbuf"
)

// callSlow is call for C that may take its time: as cgo does it, the scheduler knows. It
// is on the runtime's list of what others may link to.
//
//go:linkname callSlow runtime.cgocall
//go:noescape
func callSlow(fn, arg unsafe.Pointer) int32

// directions of a port.
type directions struct{ rx, tx bool }

// slow are the bursts that may take too long for other workers to wait when the garbage
// collector stops the world.
var slow [MaxPorts]directions

// slowDrivers are those that make system calls at each burst, 64 of them or one for 64
// packets, and would not feel the difference; and vhost, which sends under a lock that
// the library holds while it maps a VM's memory. To receive, it does not wait for it.
var slowDrivers = map[string]directions{
	"net_af_packet": {true, true}, "net_af_xdp": {true, true}, "net_tap": {true, true}, "net_tun": {true, true},
	"net_vhost": {tx: true},
}

// burst asks a queue of a port for something.
func burst(fn unsafe.Pointer, port PortID, queue int, pkts []*mbuf.Mbuf, mayWait bool) uint32 {
	arg := unsafe.Pointer(&C.struct_shim_burst{pkts: array(pkts), n: C.uint32_t(len(pkts)), port: C.uint16_t(port), queue: C.uint16_t(queue)})
	if mayWait {
		return uint32(callSlow(fn, arg))
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
