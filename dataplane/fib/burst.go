package fib

import (
	"paca/dataplane/packet"
	"paca/dataplane/policy"
)

// NVGRE is the Mode of an Entry whose VM is reached by NVGRE, for the mode itself,
// which does not import policy.
const NVGRE = policy.NVGRE

// Hop is what a worker found out about an outbound packet and a mode needs to
// send it (L7-L16).
type Hop struct {
	Entry *Entry  // the destination's record
	PA    *Remote // where that lives
	Adj   *Adj    // the way there, AdjReady
	Hash  uint32  // packet.FlowHash of the tenant's frame (W5)
}

// Arrival is what a worker found out about a tunnel packet from the fabric, and
// what the mode makes of it.
type Arrival struct {
	Outer packet.Layout // of the whole frame
	PA    uint16        // in: the PA of this host it is for, an index into PAs
	Port  uint16        // out: the VM port that gets the tenant's frame
}
