// Package mbuf is Go's view of a DPDK packet buffer. A Mbuf has the memory
// layout of the library's rte_mbuf (DPDK 22.11), so the same value is read and
// written by Go and by poll-mode drivers with nothing copied between them.
// Which memory it lives in is not its business: DPDK's mempool in production
// (dataplane/dpdk checks the layout at start), a Heap in tests and benchmarks.
//
// Floor 1. It imports nothing of paca and knows no port, mode or policy.
//
// Ownership: whoever received a buffer from Rx or Alloc owns it until it hands
// it to Tx (for those Tx accepted) or Free. Nothing here locks.
package mbuf

import "unsafe"

// Headroom is the space in bytes kept before the data of a fresh buffer
// (RTE_PKTMBUF_HEADROOM): room for the largest outer header, 66 bytes (O29).
const Headroom = 128

// DefaultDataRoom is the usual size in bytes of a buffer's data area, headroom
// included (RTE_MBUF_DEFAULT_BUF_SIZE).
const DefaultDataRoom = 2048 + Headroom

// Mbuf is one packet buffer, or one segment of a packet. Fields that only
// drivers use are blank; their place is what matters.
type Mbuf struct {
	bufAddr unsafe.Pointer // start of the data area
	_       uint64         // buf_iova
	dataOff uint16         // first data byte, from bufAddr
	refcnt  uint16
	nbSegs  uint16
	port    uint16
	olFlags uint64
	ptype   uint32
	pktLen  uint32 // all segments
	dataLen uint16 // this segment
	vlanTCI uint16
	rssHash uint32
	_       uint32 // hash, upper half
	_       uint16 // vlan_tci_outer
	bufLen  uint16
	pool    unsafe.Pointer

	next      unsafe.Pointer // second cache line
	txOffload uint64
	_         unsafe.Pointer // shinfo
	privSize  uint16
	_         uint16    // timesync
	_         [9]uint32 // dynfield1
}

// Data returns the bytes of the first segment. The slice is valid until the
// buffer is sent, freed or changed in length; nothing is copied.
func (m *Mbuf) Data() []byte {
	const max = 1 << 16 // beyond any length: nothing is left to be checked
	return (*[max]byte)(unsafe.Add(m.bufAddr, m.dataOff))[:m.dataLen:m.dataLen]
}

// FrontLen is the length of Front in bytes: room for the headers of a frame in a
// tunnel, IPv6 in IPv6.
const FrontLen = 160

// Front is where the data begin, for reading and writing headers without a check of
// each access: what lies behind the end of Data is undefined. It is nil if the
// buffer ends before. It is valid for as long as Data is.
func (m *Mbuf) Front() *[FrontLen]byte {
	if !m.hasFront() {
		return nil
	}
	return m.Start()
}

func (m *Mbuf) hasFront() bool { return int(m.dataOff)+FrontLen <= int(m.bufLen) }

// Start is Front for who knows that it is there.
func (m *Mbuf) Start() *[FrontLen]byte { return (*[FrontLen]byte)(unsafe.Add(m.bufAddr, m.dataOff)) }

// Size is the length of Data in bytes.
func (m *Mbuf) Size() int { return int(m.dataLen) }

// IsPlain says whether Plain is ok.
func (m *Mbuf) IsPlain(none uint64) bool { return m.hasFront() && m.Whole(none) }

// Len is the packet's length in bytes over all its segments.
func (m *Mbuf) Len() int { return int(m.pktLen) }

// Segments is the number of buffers that the packet is made of.
func (m *Mbuf) Segments() int { return int(m.nbSegs) }

// Whole says that the packet is in one buffer with none of the flags.
func (m *Mbuf) Whole(none uint64) bool { return m.nbSegs == 1 && m.olFlags&none == 0 }

// Plain is the Front and the length in bytes of a packet that is in one buffer, with none
// of the flags. ok is false where it is not so, or Front would be nil.
func (m *Mbuf) Plain(none uint64) (front *[FrontLen]byte, size uint16, ok bool) {
	if !m.IsPlain(none) {
		return nil, 0, false
	}
	return m.Start(), m.dataLen, true
}

// Next is the segment behind this one, nil at the end of the packet.
func (m *Mbuf) Next() *Mbuf { return (*Mbuf)(m.next) }

// Port is the number that SetPort, or the driver that received the packet, wrote
// into it.
func (m *Mbuf) Port() uint16 { return m.port }

// SetPort writes a port's number into the packet.
func (m *Mbuf) SetPort(n uint16) { m.port = n }

// Join hangs tail, a packet of its own until now, behind the last segment of m.
func (m *Mbuf) Join(tail *Mbuf) {
	last := m
	for last.next != nil {
		last = last.Next()
	}
	last.next = unsafe.Pointer(tail)
	m.nbSegs += tail.nbSegs
	m.pktLen += tail.pktLen
}

// Share adds n owners to a packet. Each of them only reads it, and hands it to Tx or
// Free like its own; it is free when the last one did.
func (m *Mbuf) Share(n int) {
	for ; m != nil; m = m.Next() {
		m.refcnt += uint16(n)
	}
}

// Shared says that others read this buffer too: it must not be written.
func (m *Mbuf) Shared() bool { return m.refcnt != 1 }

// JoinAfter is Join for who knows the last segment of m.
func (m *Mbuf) JoinAfter(last, tail *Mbuf) {
	last.next = unsafe.Pointer(tail)
	m.nbSegs += tail.nbSegs
	m.pktLen += tail.pktLen
}

// Prepend makes n bytes of room in front of the data and returns the data with
// the new bytes, whose content is undefined, first. It returns nil and changes
// nothing when the headroom is too small.
func (m *Mbuf) Prepend(n int) []byte {
	if n > int(m.dataOff) {
		return nil
	}
	m.dataOff -= uint16(n)
	m.dataLen += uint16(n)
	m.pktLen += uint32(n)
	return m.Data()
}

// PrependA is Prepend for as many bytes as a T takes, which is all that it returns. Who
// asked for Headroom before is not asked to look at what it returns.
func PrependA[T any](m *Mbuf) *T {
	var t T
	n := int(unsafe.Sizeof(t))
	if m.Headroom() < n {
		return nil
	}
	m.dataOff -= uint16(n)
	m.dataLen += uint16(n)
	m.pktLen += uint32(n)
	return (*T)(unsafe.Add(m.bufAddr, m.dataOff))
}

// AppendTo appends the packet's bytes, of all its segments, to b.
func (m *Mbuf) AppendTo(b []byte) []byte {
	for ; m != nil; m = m.Next() {
		b = append(b, m.Data()...)
	}
	return b
}

// Adj takes n bytes off the front. It reports false, and changes nothing, when
// the first segment is shorter than that.
func (m *Mbuf) Adj(n int) bool {
	if n > int(m.dataLen) {
		return false
	}
	m.dataOff += uint16(n)
	m.dataLen -= uint16(n)
	m.pktLen -= uint32(n)
	return true
}

// Cut leaves of a single-segment packet what lies from offset start to offset end of its
// data, both in bytes and within them.
func (m *Mbuf) Cut(start, end uint16) {
	m.dataOff += start
	m.dataLen = end - start
	m.pktLen = uint32(end - start)
}

// Append adds n bytes, of undefined content, behind the data of a
// single-segment packet and returns the whole data. It returns nil and changes
// nothing when there is no room.
func (m *Mbuf) Append(n int) []byte {
	if n > m.Tailroom() {
		return nil
	}
	m.dataLen += uint16(n)
	m.pktLen += uint32(n)
	return m.Data()
}

// Trim takes n bytes off the end of a single-segment packet. It reports false,
// and changes nothing, when there are fewer.
func (m *Mbuf) Trim(n int) bool {
	if n > int(m.dataLen) {
		return false
	}
	m.dataLen -= uint16(n)
	m.pktLen -= uint32(n)
	return true
}

// Headroom is the free space in bytes before the data.
func (m *Mbuf) Headroom() int { return int(m.dataOff) }

// Tailroom is the free space in bytes behind the data of this segment.
func (m *Mbuf) Tailroom() int { return int(m.bufLen) - int(m.dataOff) - int(m.dataLen) }

// Reset empties the buffer: one segment, no data, default headroom, no flags.
func (m *Mbuf) Reset() {
	m.dataOff = min(Headroom, m.bufLen)
	m.nbSegs = 1
	m.SetFlags(0)
	m.ptype = 0
	m.pktLen = 0
	m.dataLen = 0
	m.vlanTCI = 0
	m.next = nil
	m.txOffload = 0
}

// SetData replaces the content by a copy of b. It reports false, leaving the
// buffer empty, when b is longer than the room behind the headroom.
func (m *Mbuf) SetData(b []byte) bool {
	m.Reset()
	d := m.Append(len(b))
	if d == nil {
		return false
	}
	copy(d, b)
	return true
}
