package modes_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/ip4defrag"
	"github.com/google/gopacket/layers"
)

// wholeAgain fails unless fragments of at most limit bytes of IP are, put together by
// gopacket, the packet in sent.
func wholeAgain(t testing.TB, fragments [][]byte, sent []byte, limit int) {
	t.Helper()
	d := ip4defrag.NewIPv4Defragmenter()
	var whole *layers.IPv4
	for i, f := range fragments {
		r := read(t, f)
		if r.size > limit || len(f) != 14+r.size {
			t.Errorf("fragment %d is of %d bytes in a frame of %d, the limit is %d", i, r.size, len(f), limit)
		}
		in := r.ip4
		out, err := d.DefragIPv4WithTimestamp(in, time.Unix(0, 0))
		if err != nil {
			t.Fatal(err)
		}
		if out != nil {
			if i != len(fragments)-1 {
				t.Errorf("whole after %d of %d fragments", i+1, len(fragments))
			}
			whole = out
		}
	}
	if whole == nil {
		t.Fatalf("%d fragments make no packet", len(fragments))
	}
	was := gopacket.NewPacket(sent, layers.LayerTypeEthernet, gopacket.Default).Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	if !bytes.Equal(whole.Payload, was.Payload) || !whole.SrcIP.Equal(was.SrcIP) || !whole.DstIP.Equal(was.DstIP) || whole.Id != was.Id || whole.Protocol != was.Protocol {
		t.Errorf("put together: %+v, want %+v", whole, was)
	}
}
