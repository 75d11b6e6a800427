package ethdev

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"paca/dataplane/dpdk"
	"paca/dataplane/mbuf"
	"paca/dataplane/port"
	"paca/dataplane/port/porttest"
)

// TestMain starts the EAL as any user can.
func TestMain(m *testing.M) {
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("PACA_TEST_LOG") != "" {
		log = slog.Default()
	}
	err := dpdk.Init(dpdk.Config{
		Args: []string{"--no-huge", "-m", "256", "--no-shconf", "--no-pci", "--no-telemetry"},
		Log:  log,
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// poolSize exceeds what the largest test device can swallow.
const poolSize = 4095

// newPool makes a pool that must be whole again when the test ends.
func newPool(t testing.TB, n, dataRoom int) *dpdk.Mempool {
	t.Helper()
	pool, err := dpdk.NewMempool(fmt.Sprint("pool", serial.Add(1)), n, 0, dataRoom)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if got := pool.Available(); got != n {
			t.Errorf("%d of %d buffers came back", got, n)
		}
		pool.Close()
	})
	return pool
}

func newPort(t testing.TB, c Config) *Port {
	t.Helper()
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		drain(p, c.Pool)
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// drain takes out what a test left in the device.
func drain(p *Port, pool port.Pool) {
	pkts := make([]*mbuf.Mbuf, 64)
	for q := range p.Info().RxQueues {
		for range 100 {
			n := p.Rx(q, pkts)
			pool.Free(pkts[:n])
			if n == 0 {
				break
			}
		}
	}
}

// sendThrough sends frames by another port.
func sendThrough(t *testing.T, p *Port, pool port.Pool, frames [][]byte) {
	for end := time.Now().Add(5 * time.Second); len(frames) > 0; frames = frames[1:] {
		pkts := make([]*mbuf.Mbuf, 1)
		if !pool.Alloc(pkts) || !pkts[0].SetData(frames[0]) {
			t.Fatal("no buffer for a frame")
		}
		for p.Tx(0, pkts) == 0 {
			if time.Now().After(end) {
				pool.Free(pkts)
				t.Fatal("the far end takes no frame")
			}
		}
	}
}

// receiveFrom takes what another port has received.
func receiveFrom(p *Port, pool port.Pool) (frames [][]byte) {
	pkts := make([]*mbuf.Mbuf, 32)
	n := p.Rx(0, pkts)
	for _, m := range pkts[:n] {
		frames = append(frames, bytes.Clone(m.Data()))
	}
	pool.Free(pkts[:n])
	return frames
}

// between makes the subject of two ports with a wire between them.
func between(t *testing.T, p, far *Port, pool, farPool *dpdk.Mempool, backlog int) porttest.Subject {
	return porttest.Subject{
		Port: p, Pool: pool,
		Send:    func(fs [][]byte) { sendThrough(t, far, farPool, fs) },
		Receive: func() [][]byte { return receiveFrom(far, farPool) },
		Backlog: backlog,
	}
}

func TestContractRing(t *testing.T) {
	porttest.Run(t, func(t *testing.T) porttest.Subject {
		pool := newPool(t, poolSize, mbuf.DefaultDataRoom)
		// A ring port receives what it sends.
		p := newPort(t, Config{Device: fmt.Sprint("vdev:net_ring", serial.Add(1)), Pool: pool})
		s := between(t, p, p, pool, pool, 1024)
		s.NoBytes = true
		return s
	})
}

func TestContractMemif(t *testing.T) {
	porttest.Run(t, func(t *testing.T) porttest.Subject {
		pool, farPool := newPool(t, poolSize, mbuf.DefaultDataRoom), newPool(t, poolSize, mbuf.DefaultDataRoom)
		path := filepath.Join(t.TempDir(), "memif.sock")
		p := newPort(t, Config{Device: "memif:" + path + ",id=7", Pool: pool})
		// The driver is not prepared for both sides to leave at once: its thread that
		// hears of the far end is still at it when the link is down.
		t.Cleanup(func() { waitForLink(t, false, p); time.Sleep(20 * time.Millisecond) })
		far := newPort(t, Config{Device: "memif:" + path + ",id=7,role=client", Pool: farPool})
		waitForLink(t, true, p, far)
		return between(t, p, far, pool, farPool, 2048)
	})
}

func TestO23_O29ContractVhostVirtio(t *testing.T) {
	porttest.Run(t, func(t *testing.T) porttest.Subject {
		p, far, pool, farPool := wire(t, mbuf.AllOffloads, mbuf.AllOffloads)
		return between(t, p, far, pool, farPool, 2048)
	})
}

func waitForLink(t *testing.T, up bool, ports ...*Port) {
	t.Helper()
	if !within(func() bool { return !slices.ContainsFunc(ports, func(p *Port) bool { return p.LinkUp() != up }) }) {
		t.Fatalf("the link does not become up=%v", up)
	}
}

func TestContractAFPacket(t *testing.T) {
	porttest.Run(t, func(t *testing.T) porttest.Subject {
		ownNamespace(t)
		run(t, "ip link add pacaA mtu 1600 type veth peer name pacaB mtu 1600")
		run(t, "ip link set pacaB up")
		pool := newPool(t, poolSize, mbuf.DefaultDataRoom)
		p := newPort(t, Config{Device: "af_packet:pacaA", Pool: pool})
		if got := p.Info().MTU; got != 1600 {
			t.Errorf("mtu %d, the interface has 1600", got)
		}
		return onInterface(t, p, pool, "pacaB")
	})
}

func TestContractAFPacketJumbo(t *testing.T) {
	porttest.Run(t, func(t *testing.T) porttest.Subject {
		ownNamespace(t)
		run(t, "ip link add pacaA type veth peer name pacaB mtu 9000")
		run(t, "ip link set pacaB up")
		pool := newPool(t, 2047, DataRoom(9000))
		p := newPort(t, Config{Device: "af_packet:pacaA", MTU: 9000, Pool: pool})
		if i, err := net.InterfaceByName("pacaA"); err != nil || i.MTU != 9000 || p.Info().MTU != 9000 {
			t.Errorf("mtu 9000 asked for, port has %d, interface %+v, %v", p.Info().MTU, i, err)
		}
		return onInterface(t, p, pool, "pacaB")
	})
}

func TestContractTap(t *testing.T) {
	porttest.Run(t, func(t *testing.T) porttest.Subject {
		ownNamespace(t)
		pool := newPool(t, poolSize, mbuf.DefaultDataRoom)
		p := newPort(t, Config{Device: "tap:pacaT", MTU: 1400, Pool: pool})
		if i, err := net.InterfaceByName("pacaT"); err != nil || i.MTU != 1400 || [6]byte(i.HardwareAddr) != p.Info().MAC {
			t.Errorf("interface %+v, %v; port %+v", i, err, p.Info())
		}
		return onInterface(t, p, pool, "pacaT")
	})
}

// W24: a tap that is the kernel's share of a network card has that card's MAC, and
// what is sent to it is the kernel's.
func TestW24TapWithMAC(t *testing.T) {
	ownNamespace(t)
	pool := newPool(t, poolSize, mbuf.DefaultDataRoom)
	mac := [6]byte{2, 0, 0, 0, 1, 0x0a}
	p := newPort(t, Config{Device: "tap:pacaT", MTU: 1500, Pool: pool, MAC: mac})
	i, err := net.InterfaceByName("pacaT")
	if err != nil || [6]byte(i.HardwareAddr) != mac || p.Info().MAC != mac || i.Flags&net.FlagUp == 0 {
		t.Fatalf("interface %+v, %v; port %+v", i, err, p.Info())
	}
	run(t, "ip addr add 192.168.7.1/24 dev pacaT")
	run(t, "ip neigh add 192.168.7.2 lladdr 02:00:00:00:00:99 dev pacaT")
	sent := ping(mac, [6]byte{2, 0, 0, 0, 0, 0x99})
	if !within(func() bool {
		sendThrough(t, p, pool, [][]byte{sent})
		return slices.ContainsFunc(receiveFrom(p, pool), func(f []byte) bool {
			return len(f) >= 34 && [6]byte(f) == [6]byte(sent[6:12]) && [6]byte(f[6:]) == mac && f[23] == 1 && f[34] == 0
		})
	}) {
		t.Error("the kernel does not answer what is sent to the tap's MAC")
	}
}

// ping is an echo request from 192.168.7.2 to 192.168.7.1.
func ping(dst, src [6]byte) []byte {
	f := slices.Concat(dst[:], src[:], []byte{8, 0,
		0x45, 0, 0, 28, 0, 1, 0, 0, 64, 1, 0, 0, 192, 168, 7, 2, 192, 168, 7, 1,
		8, 0, 0xf7, 0xfe, 0, 1, 0, 0})
	sum := uint32(0)
	for i := 14; i < 34; i += 2 {
		sum += uint32(f[i])<<8 | uint32(f[i+1])
	}
	sum = sum>>16 + sum&0xffff
	f[24], f[25] = byte(^sum>>8), byte(^sum)
	return f
}

// TestAFPacketVLAN: the kernel keeps tags beside its packets; the driver puts
// them back into the data, both ways.
func TestAFPacketVLAN(t *testing.T) {
	ownNamespace(t)
	run(t, "ip link add pacaA type veth peer name pacaB")
	pool := newPool(t, poolSize, mbuf.DefaultDataRoom)
	a := newPort(t, Config{Device: "af_packet:pacaA", Pool: pool})
	b := newPort(t, Config{Device: "af_packet:pacaB", Pool: pool})
	plain := porttest.Frame(1, 100)
	tagged := slices.Concat(plain[:12], []byte{0x81, 0, 0x60, 7}, plain[12:])
	sendThrough(t, b, pool, [][]byte{tagged})
	if !within(func() bool {
		return slices.ContainsFunc(receiveFrom(a, pool), func(f []byte) bool { return bytes.Equal(f, tagged) })
	}) {
		t.Error("the tagged frame did not come as it was sent")
	}
}

// TestAFPacketHearsTheHost: what the host's own kernel sends on the interface
// is received too, as if it came from the wire.
func TestAFPacketHearsTheHost(t *testing.T) {
	ownNamespace(t)
	run(t, "ip link add pacaA type veth peer name pacaB")
	pool := newPool(t, poolSize, mbuf.DefaultDataRoom)
	p := newPort(t, Config{Device: "af_packet:pacaA", Pool: pool})
	sent := porttest.Frame(1, 100)
	run(t, "ip link set pacaB up")
	host := onInterface(t, p, pool, "pacaA")
	if !within(func() bool { // the kernel sends nothing before it has seen the carrier
		host.Send([][]byte{sent})
		return slices.ContainsFunc(receiveFrom(p, pool), func(f []byte) bool { return bytes.Equal(f, sent) })
	}) {
		t.Error("not received: the package doc says that it is")
	}
}

// TestTapJumbo: DPDK 22.11's tap driver carries no more than this.
func TestTapJumbo(t *testing.T) {
	ownNamespace(t)
	pool := newPool(t, 511, DataRoom(9000))
	if _, err := New(Config{Device: "tap:pacaT", MTU: 9000, Pool: pool}); err == nil || !strings.Contains(err.Error(), "mtu: 9000 is above the device's maximum of 1504") {
		t.Error(err)
	}
	if _, err := net.InterfaceByName("pacaT"); err == nil {
		t.Error("the interface stayed behind")
	}
}

// TestAFXDP: this driver does not keep the whole contract. It may hold a frame
// back until the next burst, and its fill ring, 2,048 buffers, is not given
// back at the end. So its pool is not asked for them.
func TestAFXDP(t *testing.T) {
	ownNamespace(t)
	run(t, "ip link add pacaA type veth peer name pacaB")
	run(t, "ip link set pacaB up")
	pool, err := dpdk.NewMempool(t.Name(), 8191, 0, mbuf.DefaultDataRoom)
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(Config{Device: "af_xdp:pacaA", Pool: pool})
	if err != nil {
		t.Skip("SKIP: ", err)
	}
	s := onInterface(t, p, pool, "pacaB")
	exchange(t, s, 60)
	exchange(t, s, 1514)
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// exchange passes one frame either way, sent again once in a while: a link that was
// just made may lose what comes first.
func exchange(t *testing.T, s porttest.Subject, size int) {
	t.Helper()
	want := porttest.Frame(size, size)
	pkts := make([]*mbuf.Mbuf, 1)
	const pause = 200 * time.Millisecond
	var sent time.Time
	again := func() bool {
		due := time.Since(sent) > pause
		if due {
			sent = time.Now()
		}
		return due
	}
	received := within(func() bool {
		if again() {
			s.Send([][]byte{want})
		}
		n := s.Port.Rx(0, pkts)
		ok := n == 1 && bytes.Equal(pkts[0].Data(), want)
		s.Pool.Free(pkts[:n])
		return ok
	})
	if !received {
		t.Errorf("a frame of %d bytes was not received", size)
	}
	sent = time.Time{}
	if !within(func() bool {
		if again() {
			if !s.Pool.Alloc(pkts) || !pkts[0].SetData(want) || s.Port.Tx(0, pkts) != 1 {
				t.Fatal("not taken")
			}
		}
		return slices.ContainsFunc(s.Receive(), func(f []byte) bool { return bytes.Equal(f, want) })
	}) {
		t.Errorf("a frame of %d bytes was not sent", size)
	}
}

// within tries for some seconds.
func within(ok func() bool) bool {
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		if ok() {
			return true
		}
	}
	return false
}

// ownNamespace moves the test to a network namespace of its own, which ends
// with it: the goroutine's thread is never unlocked.
func ownNamespace(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIP: needs root")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skip("SKIP: no network namespace: ", err)
	}
}

func run(t testing.TB, command string) {
	t.Helper()
	words := strings.Fields(command)
	if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", command, err, out)
	}
}

// onInterface makes the subject of a port and the kernel's interface at the far
// end of its wire.
func onInterface(t *testing.T, p *Port, pool *dpdk.Mempool, name string) porttest.Subject {
	t.Helper()
	i, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	all := uint16(unix.ETH_P_ALL)<<8 | uint16(unix.ETH_P_ALL)>>8 // network order
	s, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(s) })
	if err := errors.Join(
		unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20),
		unix.SetsockoptTimeval(s, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 10_000}),
		unix.Bind(s, &unix.SockaddrLinklayer{Protocol: all, Ifindex: i.Index}),
	); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1<<16)
	return porttest.Subject{
		Port: p, Pool: pool,
		Send: func(fs [][]byte) {
			for _, f := range fs {
				if _, err := unix.Write(s, f); err != nil {
					t.Fatal(err)
				}
			}
		},
		Receive: func() [][]byte {
			n, err := unix.Read(s, buf)
			if err != nil {
				return nil
			}
			return [][]byte{bytes.Clone(buf[:n])}
		},
	}
}

// TestFlood: a device that always has packets, to one that takes all.
func TestFlood(t *testing.T) {
	file := filepath.Join(t.TempDir(), "in.pcap")
	writePcap(t, file, 8)
	pool := newPool(t, poolSize, mbuf.DefaultDataRoom)
	in := newPort(t, Config{Device: fmt.Sprintf("vdev:net_pcap%d,rx_pcap=%s,infinite_rx=1", serial.Add(1), file), Pool: pool})
	out := newPort(t, Config{Device: fmt.Sprintf("vdev:net_null%d,no-rx=1", serial.Add(1)), Pool: pool})
	pkts := make([]*mbuf.Mbuf, 32)
	seen := 0
	for range 1000 {
		n := in.Rx(0, pkts)
		for i, m := range pkts[:n] {
			if !bytes.Equal(m.Data(), porttest.Frame((seen+i)%8, 60)) {
				t.Fatalf("packet %d: %x", seen+i, m.Data())
			}
		}
		seen += n
		if sent := out.Tx(0, pkts[:n]); sent != n {
			t.Fatalf("%d of %d taken", sent, n)
		}
	}
	if s := out.Stats(); s.TxPackets != uint64(seen) || seen < 31_000 {
		t.Errorf("%d packets seen, %d sent", seen, s.TxPackets)
	}
	if n := out.Rx(0, pkts); n != 0 {
		t.Errorf("net_null with no-rx=1 received %d", n)
	}
}

// writePcap writes n test frames as a classic pcap file.
func writePcap(t *testing.T, path string, n int) {
	t.Helper()
	w := new(bytes.Buffer)
	word := func(v ...uint32) {
		for _, v := range v {
			w.Write([]byte{byte(v), byte(v >> 8), byte(v >> 16), byte(v >> 24)})
		}
	}
	word(0xa1b2c3d4, 4<<16|2, 0, 0, 65535, 1)
	for i := range n {
		word(0, 0, 60, 60)
		w.Write(porttest.Frame(i, 60))
	}
	if err := os.WriteFile(path, w.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestQueues(t *testing.T) {
	pool := newPool(t, poolSize, mbuf.DefaultDataRoom)
	p := newPort(t, Config{Device: fmt.Sprint("vdev:net_null", serial.Add(1)), Queues: 2, Workers: 3, Pool: pool})
	if i := p.Info(); i.RxQueues != 2 || i.TxQueues != 3 || i.TxShared || !i.LinkUp {
		t.Errorf("%+v", i)
	}
	pkts := make([]*mbuf.Mbuf, 32)
	for q := range 3 {
		if n := p.Tx(q, pkts[:p.Rx(q%2, pkts)]); n != 32 {
			t.Errorf("queue %d: %d of 32", q, n)
		}
	}
	if s := p.Stats(); s.RxPackets != 96 || s.TxPackets != 96 {
		t.Errorf("%+v", s)
	}
}

// TestAFPacketQueues: frames spread over all queues of both directions.
func TestAFPacketQueues(t *testing.T) {
	ownNamespace(t)
	run(t, "ip link add pacaA type veth peer name pacaB")
	run(t, "ip link set pacaB up")
	pool := newPool(t, poolSize, mbuf.DefaultDataRoom)
	p := newPort(t, Config{Device: "af_packet:pacaA", Workers: 3, Pool: pool})
	if i := p.Info(); i.RxQueues != 3 || i.TxQueues != 3 {
		t.Fatalf("%+v: queues of af_packet come in pairs", i)
	}
}

func TestClosedPort(t *testing.T) {
	pool := newPool(t, poolSize, mbuf.DefaultDataRoom)
	p, err := New(Config{Device: fmt.Sprint("vdev:net_null", serial.Add(1)), Pool: pool})
	if err != nil {
		t.Fatal(err)
	}
	pkts := make([]*mbuf.Mbuf, 32)
	pool.Free(pkts[:p.Rx(0, pkts)])
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if s := p.Stats(); s.RxPackets != 32 {
		t.Errorf("stats after Close: %+v", s)
	}
	if _, err := p.XStats(); err == nil || p.LinkUp() || p.Close() == nil {
		t.Error("a closed port still answers")
	}
}

// TestSocketOfTheDead: a listening socket left by a killed process is no
// obstacle, one in use and a plain file are.
func TestSocketOfTheDead(t *testing.T) {
	dir := t.TempDir()
	dead, alive, plain := filepath.Join(dir, "dead"), filepath.Join(dir, "alive"), filepath.Join(dir, "plain")
	for _, path := range []string{dead, alive} {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		if path == dead {
			l.Close()
		} else {
			defer l.Close()
		}
	}
	os.WriteFile(plain, nil, 0o600)
	pool := newPool(t, poolSize, mbuf.DefaultDataRoom)
	for _, kind := range []string{"vhost-user:", "memif:"} {
		if kind == "memif:" { // the first port removed or replaced it
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead})
			if err != nil {
				t.Fatal(err)
			}
			l.SetUnlinkOnClose(false)
			l.Close()
		}
		p, err := New(Config{Device: kind + dead, Pool: pool})
		if err != nil {
			t.Errorf("%s: %v", kind, err)
		} else if err := p.Close(); err != nil {
			t.Error(err)
		}
		if _, err := New(Config{Device: kind + alive, Pool: pool}); err == nil || !strings.Contains(err.Error(), "another process listens") {
			t.Errorf("%s in use: %v", kind, err)
		}
		if _, err := New(Config{Device: kind + plain, Pool: pool}); err == nil || !strings.Contains(err.Error(), "is no socket") {
			t.Errorf("%s on a file: %v", kind, err)
		}
		os.Remove(dead)
	}
}

func TestErrorsSayWhatIsWrong(t *testing.T) {
	pool := newPool(t, 511, mbuf.DefaultDataRoom)
	for _, c := range []struct {
		device string
		mtu    int
		want   string
	}{
		{"eth0", 0, "not a device: want a PCI address or one of tap:NAME, af_packet:IFACE, af_xdp:IFACE, vhost-user:PATH[,client], virtio-user:PATH, memif:PATH[,id=N,role=server|client], vdev:DPDK-VDEV-STRING"},
		{"tun:x", 0, "not a device: want a PCI address or one of tap:NAME"},
		{"tap:", 0, "not a device: want tap:NAME"},
		{"0000:ff:1f.7", 0, "no PCI device 0000:ff:1f.7 on this machine"},
		{"FF:1f.7,mprq_en=1", 0, "no PCI device 0000:ff:1f.7 on this machine"},
		{"tap:averylongname123", 0, "at most 15 bytes"},
		{"tap:a,b", 0, "contains a comma"},
		{"af_packet:eth9", 0, "af_packet:eth9: no interface eth9 in this network namespace"},
		{"af_xdp:eth9", 0, "af_xdp:eth9: no interface eth9 in this network namespace"},
		{"vhost-user:/tmp/x,server", 0, `option "server" of vhost-user is unknown`},
		{"vhost-user:/nowhere/x", 0, "/nowhere: no such file or directory"},
		{"virtio-user:/nowhere/x", 0, "the vhost-user side must be there first"},
		{"memif:/tmp/x,id=x", 0, `option "id=x" of memif is unknown`},
		{"memif:/tmp/x,role=master", 0, `option "role=master" of memif is unknown`},
		{"vdev:net_unheardof0", 0, "net_unheardof0"},
		{"vdev:net_null99,no-rx=1", 2027, "mtu: 2027, but the pool's buffers hold frames of 2048 bytes"},
		{"vdev:net_null99,no-rx=1", 45, "mtu: 45 is below the device's minimum of 46"},
	} {
		p, err := New(Config{Name: "uplink0", Device: c.device, MTU: c.mtu, Pool: pool})
		if err == nil {
			t.Errorf("%s opened", c.device)
			p.Close()
			continue
		}
		if text := err.Error(); !strings.HasPrefix(text, "ethdev: port uplink0: "+c.device) || !strings.Contains(text, c.want) || strings.Contains(text, "\n") {
			t.Errorf("%s:\n got %s\nwant %s", c.device, text, c.want)
		}
	}
	if _, err := New(Config{Device: "vdev:net_ring99", Queues: 1000, Pool: pool}); !errors.Is(err, ErrQueues) || !strings.Contains(err.Error(), "queues: 1000 asked for, the device has 16") {
		t.Errorf("1000 queues: %v", err)
	}
}

// TestErrorsForWantOfPrivilege gives up the thread's privileges, if it has any;
// the thread ends with the test.
func TestErrorsForWantOfPrivilege(t *testing.T) {
	runtime.LockOSThread()
	var none [2]unix.CapUserData
	if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0]); err != nil {
		t.Fatal(err)
	}
	pool := newPool(t, 511, mbuf.DefaultDataRoom)
	for device, want := range map[string]string{
		"af_packet:lo": "CAP_NET_RAW is needed",
		"af_xdp:lo":    "CAP_NET_RAW is needed",
		"tap:pacaT":    "CAP_NET_ADMIN is missing",
	} {
		if _, err := New(Config{Device: device, Pool: pool}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, should mention %q", device, err, want)
		}
	}
}

// TestSeveralOfAKind: no two devices of a process share a name.
func TestSeveralOfAKind(t *testing.T) {
	pool := newPool(t, poolSize, mbuf.DefaultDataRoom)
	dir := t.TempDir()
	for i := range 3 {
		newPort(t, Config{Device: fmt.Sprintf("vhost-user:%s/%d", dir, i), Pool: pool})
		newPort(t, Config{Device: fmt.Sprintf("memif:%s/m%d", dir, i), Pool: pool})
	}
}
