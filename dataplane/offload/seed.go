package offload

import (
	"encoding/binary"

	"paca/dataplane/packet"
)

// checksumAt is where the checksum of the TCP or UDP packet lies in its frame.
func checksumAt(l *packet.Layout) int {
	if l.Proto == packet.ProtoTCP {
		return int(l.L4) + tcpChecksum
	}
	return int(l.L4) + udpChecksum
}

// InvertSeed turns the sum of the pseudo-header, which an unfinished frame has in place
// of its checksum, into its complement, which changes with the addresses as a checksum
// does (R8), and back again (R23).
func InvertSeed(frame []byte, l *packet.Layout) {
	at := checksumAt(l)
	seed := ^binary.BigEndian.Uint16(frame[at:])
	if seed == 0 {
		seed = 0xffff // its equal, which does not say that UDP has no checksum (R10)
	}
	binary.BigEndian.PutUint16(frame[at:], seed)
}

// SeedWithoutLength takes the length out of the sum of the pseudo-header: a device that
// cuts a frame wants it so (O20, O22).
func SeedWithoutLength(frame []byte, l *packet.Layout) {
	at := checksumAt(l)
	seed := uint32(binary.BigEndian.Uint16(frame[at:]))
	binary.BigEndian.PutUint16(frame[at:], fold(seed+uint32(^uint16(end(frame, l)-int(l.L4)))))
}

// mendSeed puts the length into the sum of the pseudo-header of a received frame that is
// to be cut, should it not be there: DPDK's vhost leaves it out, as cards want it and
// virtio does not. A sum that is neither is its sender's, who knows better (R23).
func mendSeed(frame []byte, l *packet.Layout) {
	at := checksumAt(l)
	whole, got := seed(frame, l), uint32(binary.BigEndian.Uint16(frame[at:]))
	if fold(got+uint32(uint16(end(frame, l)-int(l.L4))))%0xffff == whole%0xffff {
		binary.BigEndian.PutUint16(frame[at:], whole)
	}
}
