// Package nvgre carries tenant frames inside GRE with a key (RFC 7637, spec
// section W).
//
// Before, as the VM sent it, and after, as the fabric sees it:
//
//	          ┌──────────┬────────┬─────────┐
//	          │ Ethernet │ CA  IP │ payload │
//	          └──────────┴────────┴─────────┘
//	                ▼ destination MAC := the record's (L12), tags off (W7)
//	┌──────────┬───────────┬────────────────┬──────────┬────────┬─────────┐
//	│ Ethernet │ PA IP     │ GRE            │ Ethernet │ CA  IP │ payload │
//	│ [VLAN]   │ proto 47  │ VSID ‖ FlowID  │          │        │         │
//	└──────────┴───────────┴────────────────┴──────────┴────────┴─────────┘
//	 14 or 18    20 or 40    8                14
//
// One PA per host serves every VM; 42 bytes of IP MTU go to an IPv4 PA, 62 to
// an IPv6 one (W19).
//
// Floor 2. A mode knows packets and tables, and no port, worker or
// configuration file.
package nvgre

// Config is what an operator may choose.
type Config struct {
	// ZeroFlowID writes FlowID 0 and, on IPv6, flow label 0, for peers that
	// match the whole 32-bit key, as Linux gretap does (W5).
	ZeroFlowID bool
	// ZeroTOS writes outer DSCP and ECN 0 instead of copying the tenant's
	// (W16).
	ZeroTOS bool
	// FirstID is the first outer IPv4 identification. Those of a host's workers
	// begin apart (W12).
	FirstID uint16
}

// NVGRE is the mode, for one worker.
type NVGRE struct {
	flowMask uint32 // all ones, or 0 for ZeroFlowID
	tosMask  uint32 // 0xff, or 0 for ZeroTOS
	id       uint16 // next outer IPv4 identification (W12)
}

// New makes the mode for one worker.
func New(c Config) *NVGRE {
	n := &NVGRE{flowMask: ^uint32(0), tosMask: 0xff, id: c.FirstID}
	if c.ZeroFlowID {
		n.flowMask = 0
	}
	if c.ZeroTOS {
		n.tosMask = 0
	}
	return n
}
