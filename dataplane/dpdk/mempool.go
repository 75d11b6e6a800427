package dpdk

/*
#include <stdlib.h>
#include "shim.h"
*/
import "C"

import (
	"fmt"
	"unsafe"

	"paca/dataplane/mbuf"
)

// Mempool is a pool of packet buffers. Any thread may use it; registered ones
// through a cache of their own.
type Mempool struct {
	name     string
	dataRoom int
	pool     *C.struct_rte_mempool
}

// NewMempool makes a pool of n buffers of dataRoom bytes, headroom included.
// Each registered thread keeps up to 1.5 times cache of them, which count as
// available; cache is at most 512.
func NewMempool(name string, n, cache, dataRoom int) (*Mempool, error) {
	if err := ready(); err != nil {
		return nil, err
	}
	if n < 1 || cache < 0 || dataRoom <= mbuf.Headroom || dataRoom > 65535 {
		return nil, fmt.Errorf("dpdk: mempool %s: %d buffers of %d bytes, cache %d: out of range", name, n, dataRoom, cache)
	}
	p := &Mempool{name: name, dataRoom: dataRoom}
	cname := C.CString(name)
	defer C.free(unsafe.Pointer(cname))
	err := eal.log.explain(func() error {
		return errnoOf(C.shim_pool_create(cname, C.uint(n), C.uint(cache), C.uint16_t(dataRoom), &p.pool))
	})
	if err != nil {
		return nil, fmt.Errorf("dpdk: mempool %s: %d buffers of %d bytes: %w", name, n, dataRoom, err)
	}
	return p, nil
}

// Alloc fills pkts with empty buffers, all or none.
func (p *Mempool) Alloc(pkts []*mbuf.Mbuf) bool {
	if len(pkts) == 0 {
		return true
	}
	return poolBurst(C.shim_alloc, p.pool, pkts) == 0
}

// Free gives packets back, with all their segments, each to its own pool.
func (p *Mempool) Free(pkts []*mbuf.Mbuf) {
	if len(pkts) > 0 {
		poolBurst(C.shim_free, p.pool, pkts)
	}
}

// Available is the number of free buffers, those in caches included.
func (p *Mempool) Available() int { return int(C.rte_mempool_avail_count(p.pool)) }

// DataRoom is the size in bytes of a buffer, headroom included.
func (p *Mempool) DataRoom() int { return p.dataRoom }

// Close frees the pool's memory. No buffer may be in use.
func (p *Mempool) Close() { C.rte_mempool_free(p.pool) }
