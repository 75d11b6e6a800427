package worker

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"testing"

	"paca/dataplane/count"
	"paca/dataplane/packet"
)

// One writer, one reader: nothing lost, nothing twice, in order. Run with -race.
func TestRingInOrder(t *testing.T) {
	const n = 20000
	var r Ring
	go func() {
		var frame [60]byte
		for i := range uint32(n) {
			binary.BigEndian.PutUint32(frame[:], i)
			for !r.Push(uint16(i), Learn, frame[:]) {
				runtime.Gosched()
			}
		}
	}()
	for i := range uint32(n) {
		c := r.Peek()
		for c == nil {
			runtime.Gosched()
			c = r.Peek()
		}
		if got := binary.BigEndian.Uint32(c.Bytes()); got != i || c.Port != uint16(i) || len(c.Bytes()) != 60 {
			t.Fatalf("frame %d: number %d, port %d, %d bytes", i, got, c.Port, len(c.Bytes()))
		}
		r.Pop()
	}
	if r.Peek() != nil {
		t.Error("the ring is not empty")
	}
}

func TestRingBounds(t *testing.T) {
	var r Ring
	if !r.Push(0, Stray, make([]byte, MaxControlFrame+1)) {
		t.Error("a long frame was not taken")
	}
	if c := r.Peek(); len(c.Bytes()) != MaxControlFrame || c.Len != MaxControlFrame+1 || c.Kind != Stray {
		t.Errorf("%d bytes of %d, kind %d", len(c.Bytes()), c.Len, c.Kind)
	}
	r.Pop()
	long := bytes.Repeat([]byte{7}, MaxControlFrame)
	for i := range RingSize {
		if !r.Push(1, Neighbor, long) {
			t.Fatalf("full after %d frames", i)
		}
	}
	if r.Push(1, Neighbor, long) {
		t.Error("a full ring took a frame")
	}
	if got := r.Peek().Bytes(); !bytes.Equal(got, long) {
		t.Errorf("got %x", got)
	}
	r.Pop()
	if !r.Push(1, Neighbor, long) {
		t.Error("no room after Pop")
	}
}

// A fault of Parse is counted as the reason of the same name: drop relies on
// their values being the same.
func TestFaultsAreReasons(t *testing.T) {
	for fault, reason := range map[packet.Fault]count.Reason{
		packet.OK:            count.Kept,
		packet.Runt:          count.Runt,
		packet.IPVersion:     count.IPVersion,
		packet.IPHeader:      count.IPHeader,
		packet.IPLength:      count.IPLength,
		packet.IPv6Extension: count.IPv6Extension,
		packet.VLANTags:      count.VLANTags,
		packet.MultiSegment:  count.MultiSegment,
	} {
		if count.Reason(fault) != reason {
			t.Errorf("fault %v counts as %v", fault, count.Reason(fault))
		}
	}
}
