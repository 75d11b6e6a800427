package fib

import (
	"encoding/binary"

	"paca/dataplane/packet"
	"paca/dataplane/policy"
	"paca/dataplane/unseen"
)

// NVGRE is the Mode of an Entry whose VM is reached by NVGRE, for the mode itself,
// which does not import policy.
const NVGRE = policy.NVGRE

// Hop is what a worker found out about an outbound packet and a mode needs to
// send it (L7-L16). What it refers to is the FIB's, in force until the packet is sent.
type Hop struct {
	Entry  unseen.Ref[Entry]  // the destination's record
	PA     unseen.Ref[Remote] // where that lives
	Adj    unseen.Ref[Adj]    // the way there, AdjReady
	Hash   uint32             // packet.FlowHash of the tenant's frame, for NVGRE (W5)
	TOS    uint8              // packet.TOS of it, likewise (W16)
	Size   uint16             // of its IP packet in bytes, with what pads it
	Layout packet.Layout      // of it; with EtherType 0 it is that of Plain, and nothing of it is filled in
	Plain  unseen.Ref[packet.Plain4]
}

// Addrs4 is the source and destination PA, as packet.Plain4 has them, of a Hop whose
// Adj is of Outer4 bytes.
func (h *Hop) Addrs4() uint64 {
	const source = packet.EthernetLen + 12
	return uint64(binary.LittleEndian.Uint32(h.Adj.Get().Header[source:])) | uint64(binary.LittleEndian.Uint32(h.PA.Get().Addr[:]))<<32
}

// Addrs6 is the source and destination PA of a Hop whose Adj is of Outer6 bytes.
func (h *Hop) Addrs6() (src, dst *[16]byte) {
	return (*[16]byte)(h.Adj.Get().Header[packet.EthernetLen+8:]), &h.PA.Get().Addr
}

// Arrival is what a worker found out about a packet from the fabric for a mode, and
// what the mode makes of it.
type Arrival struct {
	Outer    packet.Layout      // of the whole frame
	PA       uint16             // in: the PA of this host it is for, an index into PAs; None: for a group of them
	Port     uint16             // out: the VM port that gets the tenant's frame
	Kind     ArrivalKind        // in: ToVM
	Plain    bool               // in: the frame is a packet.Plain4, in one buffer that has a Front
	Verified bool               // in: the device found the outer IPv4 header's checksum right (O31)
	Cut      bool               // in: it is to be cut, so that it fits (M12)
	VSID     uint32             // out, with ToGroup: the virtual subnet whose VMs get it
	To4      unseen.Ref[Owner4] // in: the VM that has the IPv4 PA to itself, for rewrite; 0 for IPv6, never that of a packet before
	To6      unseen.Ref[Owner6] // likewise IPv6; read if To4 is 0
}

// ArrivalKind says whom a packet from the fabric is for.
type ArrivalKind uint8

// The kinds of arrivals.
const (
	ToVM      ArrivalKind = iota
	ToNewVM               // a DHCP server's message to a VM whose CA is learned (A16)
	ToGroup               // to all VMs of a virtual subnet on this host (L25)
	ToControl             // an NVE control message (N1); the packet is unchanged
	ToPA                  // ICMP that is none of the VM's whose PA it is for (R18); the packet is unchanged
)
