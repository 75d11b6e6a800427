package policy

import (
	"fmt"
	"strings"
)

// Offload is work on packets that a port's device may be able to take off
// software, by the word with which an operator forbids it.
type Offload uint8

// The offloads. Stores keep the numbers.
const (
	TSO           Offload = iota // TCP frames larger than the MTU: cut by the device, taken from it uncut
	GRETSO                       // the same within a tunnel
	TxChecksum                   // IPv4, TCP and UDP checksums of what is sent
	OuterChecksum                // of the outer IPv4 header of a tunnel packet
	RxChecksum                   // verdicts on checksums of what is received
	MultiSegment                 // frames in several buffers
	VLANTag                      // tags put in and taken out
	NumOffloads
)

var offloadNames = [NumOffloads]string{"tso", "gre_tso", "tx_checksum", "outer_checksum", "rx_checksum", "multi_segment", "vlan"}

// String is the offload's word in configuration.
func (o Offload) String() string {
	if o < NumOffloads {
		return offloadNames[o]
	}
	return fmt.Sprintf("offload %d", uint8(o))
}

// ParseOffload is the inverse of String.
func ParseOffload(s string) (Offload, error) {
	for o, name := range offloadNames {
		if s == name {
			return Offload(o), nil
		}
	}
	return 0, fmt.Errorf("offload %q is not one of %s", s, strings.Join(offloadNames[:], ", "))
}

// Offloads is a set of them.
type Offloads uint8

// OffloadsOf makes a set.
func OffloadsOf(all ...Offload) (s Offloads) {
	for _, o := range all {
		s |= 1 << o
	}
	return s
}

// Has says whether o is in the set.
func (s Offloads) Has(o Offload) bool { return s>>o&1 != 0 }
