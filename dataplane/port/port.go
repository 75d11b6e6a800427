// Package port is the contract between the poll loop and whatever carries
// frames: a burst in, a burst out, and what to know about the device. Two kinds
// honour it, port/ethdev over DPDK and port/memport in memory, and one contract
// test (porttest) holds both to it.
//
// Floor 1. It knows buffers, not packets: no policy, no mode.
package port

import "paca/dataplane/mbuf"

// MaxBurst is the largest number of packets handed to Rx or Tx at once.
const MaxBurst = 64

// Port is one device with one or more queues. A queue of one direction belongs
// to one worker; different queues may be used concurrently. Transmit queues are
// numbered by worker: a port that has fewer shares them, and makes workers wait for
// each other, for a burst.
type Port interface {
	// Rx fills pkts from the front with received packets and returns how many;
	// it never blocks. The caller owns them.
	Rx(queue int, pkts []*mbuf.Mbuf) int

	// Tx queues packets from the front of pkts and returns how many were
	// taken; it never blocks. Those belong to the port, the rest to the caller.
	Tx(queue int, pkts []*mbuf.Mbuf) int

	// Info says what the device is. It does not change while the port is open.
	Info() Info

	// Offloads says what the device does in software's place. It may change while
	// the port is open: of a VM's card, the VM's driver decides when it starts. Any
	// thread may ask.
	Offloads() Offloads

	// Stats reads the device's own counters. Any thread may ask.
	Stats() Stats

	// Close stops the device and frees what it holds. No queue may be in use,
	// during or after it.
	Close() error
}

// Pool hands out and takes back packet buffers.
type Pool interface {
	// Alloc fills pkts with empty single-segment buffers, all or none.
	Alloc(pkts []*mbuf.Mbuf) bool
	// Free gives back packets, with all their segments.
	Free(pkts []*mbuf.Mbuf)
}

// Info describes an open port.
type Info struct {
	Device   string  // as configured, "af_packet:eth0"
	Driver   string  // "net_af_packet"; "mem" for memport
	MAC      [6]byte // the device's own address, zero where it has none
	MTU      int     // largest L3 packet in bytes, the Ethernet header not counted
	RxQueues int
	TxQueues int    // of the device
	TxShared bool   // workers may have to wait for each other to send
	Inner    string // how the device spreads NVGRE over RxQueues by what is inside; "": it does not
	LinkUp   bool   // at open; devices without link state are up
}

// Offloads are what a device can do in software's place, and what it does for this
// port: a packet may ask for no other.
type Offloads struct {
	Has, Uses mbuf.Offloads
	Buffers   int // that one packet may be sent in, with SendSegments; 0: any number
}

// Usable is what is left of a choice of offloads without those that are of no use,
// or that no device offers, because another is missing (O23).
func Usable(o mbuf.Offloads) mbuf.Offloads {
	if !o.Has(mbuf.SendL4Checksum | mbuf.SendSegments) {
		o &^= mbuf.SendTSO | mbuf.SendGRETSO
	}
	if !o.Has(mbuf.SendIPv4Checksum | mbuf.SendOuterChecksum) {
		o &^= mbuf.SendGRETSO
	}
	if o&(mbuf.SendTSO|mbuf.SendGRETSO) == 0 {
		o &^= mbuf.SendSegments // software cuts frames into single buffers
	}
	if !o.Has(mbuf.ReceiveL4Checksum | mbuf.ReceiveSegments) {
		o &^= mbuf.ReceiveLarge
	}
	if !o.Has(mbuf.ReceiveLarge) {
		o &^= mbuf.ReceiveSegments
	}
	return o
}

// Stats are totals since the port was opened.
type Stats struct {
	RxPackets, RxBytes uint64
	TxPackets, TxBytes uint64
	RxMissed           uint64 // lost by the device for want of a poll
	RxNoBuffer         uint64 // lost for want of a buffer
	RxErrors, TxErrors uint64
}
