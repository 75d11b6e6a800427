package offload

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"paca/dataplane/count"
	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
)

// rteGSO builds testdata/rte_gso.c and gives it records of frames to cut.
func rteGSO(t testing.TB, records []byte) *bytes.Reader {
	t.Helper()
	flags, err := exec.Command("pkg-config", "--cflags", "--libs", "libdpdk").Output()
	if errors.Is(err, exec.ErrNotFound) || err != nil {
		t.Skip("no DPDK here to compare with")
	}
	bin := filepath.Join(t.TempDir(), "rte_gso")
	args := append([]string{"-O3", "-o", bin, "testdata/rte_gso.c"}, strings.Fields(string(flags))...)
	if out, err := exec.Command("cc", args...).CombinedOutput(); err != nil {
		t.Fatalf("cc: %v: %s", err, out)
	}
	cmd := exec.Command(bin, "--no-huge", "-m", "128", "--no-shconf", "--no-pci", "--no-telemetry", "--log-level=error")
	cmd.Stdin = bytes.NewReader(records)
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("rte_gso: %v: %s", err, problems.Bytes())
	}
	return bytes.NewReader(out)
}

// tunnel is the NVGRE header in front of a frame of that length.
func tunnel(id uint16, length int) []byte {
	b := []byte{2, 0, 0, 0, 1, 1, 2, 0, 0, 0, 1, 0x0a, 8, 0}
	ip := binary.BigEndian.AppendUint16([]byte{0x45, 0}, uint16(28+length))
	ip = binary.BigEndian.AppendUint16(ip, id)
	ip = append(ip, 0x40, 0, 128, 47, 0, 0, 192, 168, 1, 10, 192, 168, 2, 20)
	binary.BigEndian.PutUint16(ip[10:], ^slowSum(ip))
	return append(append(b, ip...), 0x20, 0, 0x65, 0x58, 0x00, 0x17, 0x71, 0x5a)
}

// record asks for a frame to be cut as s says it, perhaps behind an outer header.
func record(b []byte, s *sent, outer []byte, repeat uint32) []byte {
	flags := mbuf.TxIPv4 | mbuf.TxIPChecksum | mbuf.TxTCPSegment
	l4 := uint32(20 + len(s.TCPOptions))
	headers := 14 + 20 + len(s.IPOptions)
	if s.UDP {
		flags = mbuf.TxIPv4 | mbuf.TxIPChecksum | mbuf.TxUDPSegment
		l4 = 8
	} else {
		headers += int(l4)
	}
	words := []uint32{0, 0, 14, uint32(20 + len(s.IPOptions)), l4}
	whole := append(outer, s.whole()...)
	if len(outer) > 0 {
		words[0], words[1], words[2] = 14, 20, 22 // O20
		flags |= mbuf.TxOuterIPv4 | mbuf.TxOuterIPChecksum | mbuf.TxTunnelGRE
	}
	words = append(words, uint32(len(outer)+headers+s.Size), uint32(flags), uint32(flags>>32), repeat, uint32(len(whole)))
	for _, w := range words {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	return append(b, whole...)
}

func word(t testing.TB, r io.Reader) uint32 {
	t.Helper()
	var w uint32
	if err := binary.Read(r, binary.LittleEndian, &w); err != nil {
		t.Fatal(err)
	}
	return w
}

// O26: where rte_gso can cut, TCP over IPv4, plain or behind NVGRE over IPv4, its
// frames are ours to the last bit once their checksums are made: whether the outer
// headers are put on before, as it has them, or after, as a worker does. Where it cannot,
// nobody is here to compare with but the twin and the kernel.
func TestO26AgainstRteGSO(t *testing.T) {
	r := random(t)
	h, sg := mbuf.NewHeap(3000, mbuf.DefaultDataRoom), NewSegmenter(1)
	var all []*sent
	var records []byte
	inTunnel := func(i int) bool { return i%2 == 0 }
	for range 300 {
		s := anything(r)
		s.V6, s.Tag, s.Extension, s.UDP = false, false, nil, false
		s.Flags &^= packet.TCPCwr // which rte_gso leaves on all
		s.IPOptions = nil
		if s.pieces() == 1 {
			continue // rte_gso leaves it alone, checksum undone
		}
		if m := len(s.Payload)/250 + 16; s.Size < m { // rte_gso has room for 512 frames of two buffers
			s.Size = m
		}
		var outer []byte
		if inTunnel(len(all)) {
			outer = tunnel(s.ID^0x1234, len(s.whole()))
		}
		all = append(all, s)
		records = record(records, s, outer, 0)
	}
	out := rteGSO(t, records)
	for k, s := range all {
		m := h.Packet(s.whole(), room)
		l := s.layout(t, m)
		frames, reason := sg.Segment(h, m, &l, s.pending(), Nothing)
		if reason != count.Kept {
			t.Fatalf("%v: %v", s, reason)
		}
		word(t, out)
		word(t, out)
		n := word(t, out)
		if int(n) != len(frames) {
			t.Fatalf("%v: rte_gso makes %d frames, we make %d", s, n, len(frames))
		}
		for i := range n {
			want := make([]byte, word(t, out))
			io.ReadFull(out, want)
			got := frames[i].AppendTo(nil)
			if inTunnel(k) {
				got = append(tunnel(s.ID^0x1234+uint16(i), len(got)), got...)
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("%v: frame %d\n    ours %x\nrte_gso's %x", s, i, got, want)
			}
		}
		h.Free(frames)
		if frames[0] != m {
			h.Free([]*mbuf.Mbuf{m})
		}
	}
	t.Log(len(all), "long frames compared")
}

// BenchmarkRteGSO is what rte_gso needs for the frame of BenchmarkSegment/tcp4, at
// best, without checksums and with those that DPDK's own functions make; and what
// Segment needs at best, which makes them too.
func BenchmarkRteGSO(b *testing.B) {
	s := super(false, false)
	out := rteGSO(b, record(nil, s, nil, 20000))
	cut, sums := word(b, out), word(b, out)
	h, sg := mbuf.NewHeap(4096, mbuf.DefaultDataRoom), NewSegmenter(1)
	m := h.Packet(s.whole(), room)
	l := s.layout(b, m)
	ours := time.Hour
	for range 20000 {
		start := time.Now()
		frames, _ := sg.Segment(h, m, &l, s.pending(), Nothing)
		h.Free(frames)
		ours = min(ours, time.Since(start))
	}
	for b.Loop() {
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(cut), "ns-rte_gso")
	b.ReportMetric(float64(sums), "ns-rte_gso+checksums")
	b.ReportMetric(float64(ours), "ns-Segment")
}
