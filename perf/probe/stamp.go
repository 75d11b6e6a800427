package probe

import (
	"encoding/binary"
	"time"
)

// StampLen is how many bytes at the end of each frame are the probe's own. A plan has
// zeros there, and checksums that were right with those are right with any stamp.
const StampLen = 18

// stamp is what a frame says of itself: number, run, and the time since the run's
// begin at which it was to be sent. It stands in the order of the machine, and ends in
// the word that makes its 16-bit words add up to 0xffff, which is a zero to checksums.
type stamp struct {
	run uint16
	seq uint64 // below 1<<48
	at  time.Duration
}

func (s stamp) put(frame []byte) {
	b := frame[len(frame)-StampLen:]
	head := uint64(s.run)<<48 | s.seq
	binary.NativeEndian.PutUint64(b, head)
	binary.NativeEndian.PutUint64(b[8:], uint64(s.at))
	binary.NativeEndian.PutUint16(b[16:], ^sum(head, uint64(s.at)))
}

// stampOf reads the stamp of a frame; false if it has none, or a damaged one.
func stampOf(frame []byte) (stamp, bool) {
	if len(frame) < StampLen {
		return stamp{}, false
	}
	b := frame[len(frame)-StampLen:]
	head, at := binary.NativeEndian.Uint64(b), binary.NativeEndian.Uint64(b[8:])
	s := stamp{run: uint16(head >> 48), seq: head & (1<<48 - 1), at: time.Duration(at)}
	return s, binary.NativeEndian.Uint16(b[16:]) == ^sum(head, at)
}

// sum adds 16-bit words in one's complement (RFC 1071).
func sum(a, b uint64) uint16 {
	s := a>>32 + a&0xffffffff + b>>32 + b&0xffffffff
	s = s>>32 + s&0xffffffff
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	return uint16(s>>16 + s)
}
