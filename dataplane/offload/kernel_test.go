package offload

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"paca/dataplane/count"
	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
)

// Kinds of a virtio-net header (virtio 1.2, 5.1.6).
const (
	needsChecksum = 1
	gsoTCPv4      = 1
	gsoUDP        = 3
	gsoTCPv6      = 4
)

// virtioHeader is what a guest writes before a frame: 10 bytes, little-endian.
func (s *sent) virtioHeader(l *packet.Layout) []byte {
	kind, at := byte(gsoTCPv4), uint16(tcpChecksum)
	switch {
	case s.UDP:
		kind, at = gsoUDP, udpChecksum
	case s.V6:
		kind = gsoTCPv6
	}
	headers := l.L4 + 8
	if !s.UDP {
		headers = l.L4 + 20 + uint16(len(s.TCPOptions))
	}
	b := []byte{needsChecksum, kind}
	for _, v := range []uint16{headers, uint16(s.Size), l.L4, at} {
		b = binary.LittleEndian.AppendUint16(b, v)
	}
	return b
}

// tap opens a tap device in the network namespace of the calling thread.
func tap(t *testing.T, name string, flags uint16) *os.File {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skip(err)
	}
	req, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		t.Fatalf("tap: %v", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // so that reads know deadlines
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), name)
	t.Cleanup(func() { f.Close() })
	return f
}

// O9 as Linux has it: a long frame that a guest would send, written into a tap with
// its virtio header and bridged to one that can do nothing, comes out as the frames
// that Segment makes.
func TestO9AgainstLinux(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, for a network namespace")
	}
	runtime.LockOSThread() // never unlocked: the thread, and the namespace with it, end with the goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skip(err)
	}
	in, out := tap(t, "in", unix.IFF_VNET_HDR), tap(t, "out", 0)
	for _, name := range []string{"all", "default"} {
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"link", "add", "br0", "type", "bridge", "mcast_snooping", "0"},
		{"link", "set", "in", "master", "br0", "up"},
		{"link", "set", "out", "master", "br0", "up"},
		{"link", "set", "br0", "up"},
	} {
		if msg, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v: %s", args, err, msg)
		}
	}

	r := random(t)
	h, sg := mbuf.NewHeap(3000, mbuf.DefaultDataRoom), NewSegmenter(1)
	buf := make([]byte, 1<<16)
	compared := 0
	for compared < 400 {
		s := anything(r)
		s.Tag = false
		s.Size = 200 + r.IntN(1200)
		if s.UDP {
			s.Size &^= 7 // Linux believes its guests that it is
		}
		if len(s.Payload) <= s.Size || s.pieces() > MaxPieces {
			continue
		}
		m := h.Packet(s.whole(), room)
		l := s.layout(t, m)
		frames, reason := sg.Segment(h, m, &l, s.pending(), Nothing)
		if reason != count.Kept {
			t.Fatalf("%v: %v", s, reason)
		}
		if _, err := in.Write(append(s.virtioHeader(&l), s.whole()...)); err != nil {
			t.Fatalf("%v: %v", s, err)
		}
		var ident []byte
		for i, f := range frames {
			got := f.AppendTo(nil)
			out.SetReadDeadline(time.Now().Add(5 * time.Second))
			n, err := out.Read(buf)
			if err != nil {
				t.Fatalf("%v: frame %d of %d: %v", s, i, len(frames), err)
			}
			want := buf[:n]
			if s.V6 && s.UDP {
				// Each has an identification of its own making, the same in all fragments.
				if at := l.L4 + 4; ident == nil {
					ident = bytes.Clone(want[at : at+4])
				}
				copy(got[l.L4+4:], ident)
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("%v: frame %d of %d\n   ours %x\nLinux's %x", s, i, len(frames), got, want)
			}
		}
		compared++
		h.Free(append(frames[:len(frames):len(frames)], m))
	}
	t.Log(compared, "long frames compared")
}
