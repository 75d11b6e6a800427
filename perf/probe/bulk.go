package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"paca/dataplane/mbuf"
	"paca/dataplane/timeslice"
)

// Bulk is a run of one TCP sender, as a kernel with segmentation offload sends: frames
// as large as IP has them, that others are to cut. It has no receiver's window to wait
// for, but one of its own.
type Bulk struct {
	Headers []byte // Ethernet, IPv4 without options, TCP
	Payload int    // bytes in each frame; the checksum is left to others
	Segment int    // bytes of payload to cut it to; 0: it is not to be cut
	Flight  int    // bytes of payload that may be on their way
	Added   int    // bytes of headers that what comes back has more than Headers

	Length, WarmUp time.Duration
}

// BulkResult is what a Bulk came to.
type BulkResult struct {
	Elapsed  time.Duration
	Sent     uint64 // bytes of payload
	Received uint64
	Frames   uint64 // received, of whatever size
	Largest  int    // of these in bytes
	Stalls   uint64 // times that nothing came back for so long that what was on its way is lost
}

const (
	ethernet, ipv4 = 14, 20 // header lengths
	tcpSeq         = ethernet + ipv4 + 4
	stall          = 20 * time.Millisecond
	large          = 4 // frames that are sent before those that came back are looked for, if they are to be cut
)

// RunBulk sends as fast as the window lets it. The same holds of ports and goroutine as
// with Run, but that the pool is DPDK's, and Out sends checksums and, with Segment,
// frames in several buffers that it has cut.
func (p *Probe) RunBulk(b Bulk) (*BulkResult, error) {
	if len(b.Headers) < ethernet+ipv4+20 || b.Payload <= 0 || b.Length <= 0 || b.Flight < b.Payload {
		return nil, errors.New("probe: no plan for a TCP sender")
	}
	wants := mbuf.SendL4Checksum
	if b.Segment > 0 {
		wants |= mbuf.SendTSO | mbuf.SendSegments
	}
	if !p.Out.Offloads().Uses.Has(wants) {
		return nil, fmt.Errorf("probe: the other end takes no frames that are unfinished like these: %013b, wanted %013b", p.Out.Offloads(), wants)
	}
	p.drain(10 * time.Millisecond)
	s := &sender{Probe: p, Bulk: b, headers: append([]byte(nil), b.Headers...)}
	if b.WarmUp > 0 {
		if err := s.run(b.WarmUp); err != nil {
			return nil, err
		}
	}
	s.BulkResult = BulkResult{}
	err := s.run(b.Length)
	return &s.BulkResult, err
}

// sender is a Bulk under way.
type sender struct {
	*Probe
	Bulk
	BulkResult

	headers []byte
	flight  int // bytes of payload
}

func (s *sender) run(length time.Duration) error {
	begin := time.Now()
	var now, quiet, renewed time.Duration
	for ; now < length; now = time.Since(begin) {
		if now-renewed > time.Millisecond {
			timeslice.Renew()
			renewed = now
		}
		n := burst
		if s.Segment > 0 {
			n = large
		}
		if n = min(n, (s.Flight-s.flight)/s.Payload); n > 0 {
			if err := s.send(n); err != nil {
				return err
			}
		}
		if s.receive() {
			quiet = now
		} else if now-quiet > stall && s.flight > 0 {
			s.Stalls++
			s.flight, quiet = 0, now
		}
	}
	s.Elapsed = time.Since(begin)
	return nil
}

// send sends up to n frames.
func (s *sender) send(n int) error {
	for i := range n {
		m, err := s.frame()
		if err != nil {
			return err
		}
		s.tx[i] = m
	}
	taken := s.Out.Tx(0, s.tx[:n])
	s.Pool.Free(s.tx[taken:n])
	// Those that were not taken are sent anew, with their numbers.
	s.count(-(n - taken) * s.Payload)
	s.flight += taken * s.Payload
	s.Sent += uint64(taken * s.Payload)
	return nil
}

// count moves the sequence number.
func (s *sender) count(bytes int) {
	seq := s.headers[tcpSeq:]
	binary.BigEndian.PutUint32(seq, binary.BigEndian.Uint32(seq)+uint32(bytes))
}

// frame makes the next frame. Of its payload nothing is written: it is what the
// buffers were left with.
func (s *sender) frame() (*mbuf.Mbuf, error) {
	const room = mbuf.DefaultDataRoom - mbuf.Headroom
	var pkts [64]*mbuf.Mbuf
	n := (len(s.headers) + s.Payload + room - 1) / room
	if n > len(pkts) {
		return nil, fmt.Errorf("probe: %d bytes are too many", s.Payload)
	}
	if !s.Pool.Alloc(pkts[:n]) {
		return nil, errors.New("probe: no buffer")
	}
	m := pkts[0]
	m.SetData(s.headers)
	rest, last := s.Payload, m
	m.Append(min(rest, m.Tailroom()))
	rest -= m.Len() - len(s.headers)
	for _, next := range pkts[1:n] {
		next.Reset()
		next.Append(min(rest, room))
		rest -= next.Len()
		m.JoinAfter(last, next)
		last = next
	}
	offload := mbuf.TxOffload{L2Len: ethernet, L3Len: ipv4, L4Len: uint8(len(s.headers) - ethernet - ipv4)}
	flags := mbuf.TxIPv4 | mbuf.TxTCPChecksum
	if s.Segment > 0 {
		flags |= mbuf.TxTCPSegment
		offload.SegmentSize = uint16(s.Segment)
	}
	m.SetFlags(flags)
	m.SetTxOffload(offload)
	s.count(s.Payload)
	return m, nil
}

// receive takes what came back.
func (s *sender) receive() bool {
	n := s.Back.Rx(0, s.rx[:])
	for _, m := range s.rx[:n] {
		payload := m.Len() - len(s.headers) - s.Added
		if payload <= 0 {
			continue // none of ours
		}
		s.Frames++
		s.Largest = max(s.Largest, m.Len())
		s.Received += uint64(payload)
		s.flight = max(0, s.flight-payload)
	}
	s.Pool.Free(s.rx[:n])
	return n > 0
}
