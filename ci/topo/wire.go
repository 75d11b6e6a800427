package topo

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Wire is a raw hold on one interface of the picture: whole frames out, whole
// frames in, VLAN tags where they were on the wire. It does not see what it sent
// itself.
type Wire struct {
	fd  int
	buf [65536]byte
	oob [64]byte
}

// Open takes hold of an interface of a namespace.
func (t *Topology) Open(ns, iface string) (*Wire, error) {
	w := &Wire{}
	err := t.Enter(ns, func() (err error) {
		w.fd, err = rawSocket(iface)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("topo: wire %s in %s: %w", iface, ns, err)
	}
	return w, nil
}

// Enter runs f on one thread inside the namespace; a socket made there belongs
// to the namespace for good. The thread comes back before it serves anyone else.
func (t *Topology) Enter(ns string, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			done <- err
			return
		}
		defer home.Close()
		err = setns(filepath.Join("/run/netns", t.NS(ns)))
		if err == nil {
			err = f()
		}
		if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back == nil {
			runtime.UnlockOSThread() // else the thread ends with this goroutine
		} else {
			err = errors.Join(err, back)
		}
		done <- err
	}()
	return <-done
}

func setns(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return unix.Setns(int(file.Fd()), unix.CLONE_NEWNET)
}

func rawSocket(iface string) (int, error) {
	link, err := net.InterfaceByName(iface)
	if err != nil {
		return -1, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0) // protocol 0: nothing arrives before bind
	if err != nil {
		return -1, err
	}
	all := uint16(unix.ETH_P_ALL)
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1), // the kernel takes tags out of the frame: this says which
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP,
			&unix.PacketMreq{Ifindex: int32(link.Index), Type: unix.PACKET_MR_PROMISC}),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all<<8 | all>>8, Ifindex: link.Index}),
	)
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// Send puts one frame on the wire.
func (w *Wire) Send(frame []byte) error {
	_, err := unix.Write(w.fd, frame)
	return err
}

// Recv returns the next frame, or os.ErrDeadlineExceeded when none comes in time.
func (w *Wire) Recv(timeout time.Duration) ([]byte, error) {
	deadline := time.Now().Add(timeout)
	for {
		left := max(time.Until(deadline), 0)
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}}, int(left/time.Millisecond))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return nil, os.ErrDeadlineExceeded
		}
		return w.read()
	}
}

func (w *Wire) read() ([]byte, error) {
	n, oobn, _, _, err := unix.Recvmsg(w.fd, w.buf[:], w.oob[:], 0)
	if err != nil {
		return nil, err
	}
	frame := append(make([]byte, 0, n+4), w.buf[:n]...)
	messages, err := unix.ParseSocketControlMessage(w.oob[:oobn])
	if err != nil || n < 12 {
		return frame, err
	}
	for _, m := range messages {
		if m.Header.Level != unix.SOL_PACKET || m.Header.Type != unix.PACKET_AUXDATA || len(m.Data) < 20 {
			continue
		}
		// struct tpacket_auxdata, host order: status, len, snaplen, mac, net, vlan_tci, vlan_tpid
		if binary.NativeEndian.Uint32(m.Data)&unix.TP_STATUS_VLAN_VALID == 0 {
			continue
		}
		tag := binary.BigEndian.AppendUint16(nil, binary.NativeEndian.Uint16(m.Data[18:]))
		tag = binary.BigEndian.AppendUint16(tag, binary.NativeEndian.Uint16(m.Data[16:]))
		frame = append(frame[:12], append(tag, frame[12:]...)...)
	}
	return frame, nil
}

// Drain throws away what has arrived so far.
func (w *Wire) Drain() {
	for {
		if _, err := w.Recv(0); err != nil {
			return
		}
	}
}

// Close lets go of the interface.
func (w *Wire) Close() error { return unix.Close(w.fd) }

// WritePcap writes frames as a capture file that tshark reads.
func WritePcap(out io.Writer, frames [][]byte) error {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, 0xa1b2c3d4)
	b = le.AppendUint16(b, 2) // version 2.4
	b = le.AppendUint16(b, 4)
	b = append(b, make([]byte, 8)...) // time zone, accuracy
	b = le.AppendUint32(b, 65536)
	b = le.AppendUint32(b, 1) // Ethernet
	for i, f := range frames {
		b = le.AppendUint32(b, uint32(i)) // seconds: the frames' order
		b = le.AppendUint32(b, 0)
		b = le.AppendUint32(b, uint32(len(f)))
		b = le.AppendUint32(b, uint32(len(f)))
		b = append(b, f...)
	}
	_, err := out.Write(b)
	return err
}
