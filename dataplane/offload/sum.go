package offload

import (
	"math/bits"

	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
)

// fold adds the carries of a one's complement sum of words back in.
func fold(sum uint32) uint16 {
	sum = sum>>16 + sum&0xffff
	return uint16(sum>>16 + sum)
}

// sumOf is the one's complement sum of b.
func sumOf(b []byte) uint32 { return uint32(^packet.Checksum(b, 0)) }

// copySum copies src to dst, which is as long, and returns the one's complement sum
// of it. One loop for both is not faster: the second look is at the first cache.
func copySum(dst, src []byte) uint32 {
	copy(dst, src)
	return sumOf(dst)
}

// reader reads a packet of several segments from front to end.
type reader struct {
	m    *mbuf.Mbuf
	rest []byte // of m
}

// readFrom is a reader from an offset in the first segment on.
func readFrom(m *mbuf.Mbuf, at int) reader { return reader{m, m.Data()[at:]} }

// next is up to n bytes that lie together, at least one.
func (r *reader) next(n int) []byte {
	for len(r.rest) == 0 {
		r.m = r.m.Next()
		r.rest = r.m.Data()
	}
	n = min(n, len(r.rest))
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

// sum is the one's complement sum of the next n bytes.
func (r *reader) sum(n int) uint32 {
	var sum uint32
	for at := 0; at < n; {
		b := r.next(n - at)
		sum += turned(sumOf(b), at)
		at += len(b)
	}
	return sum
}

// copySum fills dst with the next bytes and returns their sum.
func (r *reader) copySum(dst []byte) uint32 {
	if len(dst) <= len(r.rest) {
		b := r.rest[:len(dst)]
		r.rest = r.rest[len(dst):]
		return copySum(dst, b)
	}
	var sum uint32
	for at := 0; at < len(dst); {
		b := r.next(len(dst) - at)
		sum += turned(copySum(dst[at:at+len(b)], b), at)
		at += len(b)
	}
	return sum
}

// copy fills dst with the next bytes.
func (r *reader) copy(dst []byte) {
	for len(dst) > 0 {
		dst = dst[copy(dst, r.next(len(dst))):]
	}
}

// turned is the sum of bytes, folded, that begin at an offset: at an odd one each is
// the other half of its word.
func turned(sum uint32, at int) uint32 {
	s := fold(sum)
	if at%2 != 0 {
		s = bits.ReverseBytes16(s)
	}
	return uint32(s)
}
