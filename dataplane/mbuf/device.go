package mbuf

// Offloads is a set of what devices do with packets in the place of software. For
// what they do when they send, a packet asks by its flags.
type Offloads uint16

// The offloads.
const (
	SendIPv4Checksum  Offloads = 1 << iota // TxIPChecksum
	SendL4Checksum                         // TxTCPChecksum and TxUDPChecksum
	SendOuterChecksum                      // TxOuterIPChecksum
	SendTSO                                // TxTCPSegment
	SendGRETSO                             // TxTCPSegment with TxTunnelGRE, and what else a tunnel packet asks for
	SendSegments                           // packets in several buffers
	SendVLAN                               // TxVLAN

	ReceiveIPv4Checksum  // RxIPChecksum… verdicts
	ReceiveL4Checksum    // RxL4Checksum… verdicts; the other side may leave checksums to be computed
	ReceiveOuterChecksum // RxOuterIPChecksumBad on tunnel packets whose outer IPv4 header is bad
	ReceiveLarge         // RxLRO: packets larger than the MTU
	ReceiveSegments      // packets in several buffers
	ReceiveVLAN          // RxVLANStripped

	AllOffloads = 1<<iota - 1
)

// Has says whether all of what are in the set.
func (o Offloads) Has(what Offloads) bool { return o&what == what }
