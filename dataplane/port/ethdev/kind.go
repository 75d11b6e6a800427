package ethdev

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"paca/dataplane/mbuf"
	"paca/dataplane/port"
)

// ErrDevice marks a device string that cannot be understood.
var ErrDevice = errors.New("not a device")

// plug is a device ready to be probed.
type plug struct {
	devargs     string
	iface       string       // the kernel's interface it is, if so: its MTU counts, not the driver's
	promiscuous bool         // ask the driver for frames to any address
	paired      bool         // the driver wants as many receive as transmit queues
	hint        string       // what to look at should the probe fail
	close       func() error // undoes what open did, nil: nothing
}

// kinds are the device strings "kind:argument" and how each is plugged. What is
// neither is a PCI address.
var kinds = []struct {
	name, syntax string
	open         func(c *Config, arg string) (plug, error)
}{
	{"tap", "tap:NAME", tap},
	{"af_packet", "af_packet:IFACE", afPacket},
	{"af_xdp", "af_xdp:IFACE", afXDP},
	{"vhost-user", "vhost-user:PATH[,client]", vhostUser},
	{"virtio-user", "virtio-user:PATH", virtioUser},
	{"memif", "memif:PATH[,id=N,role=server|client]", memif},
	{"vdev", "vdev:DPDK-VDEV-STRING", vdev},
}

var pciAddress = regexp.MustCompile(`^([0-9a-fA-F]{4}:)?[0-9a-fA-F]{2}:[01][0-9a-fA-F]\.[0-7](,|$)`)

// open finds the kind of c.Device and prepares it. What it returns, error or
// not, is to be unplugged.
func open(c *Config) (plug, error) {
	if pciAddress.MatchString(c.Device) {
		return pci(c, c.Device)
	}
	name, arg, _ := strings.Cut(c.Device, ":")
	var syntax []string
	for _, k := range kinds {
		if k.name == name {
			if arg == "" {
				return plug{}, fmt.Errorf("%w: want %s", ErrDevice, k.syntax)
			}
			return k.open(c, arg)
		}
		syntax = append(syntax, k.syntax)
	}
	return plug{}, fmt.Errorf("%w: want a PCI address or one of %s", ErrDevice, strings.Join(syntax, ", "))
}

// serial numbers the virtual devices of this process: DPDK knows each by a name
// that must be its alone.
var serial atomic.Uint32

// vdevArgs joins a driver, made unique by a number, with its arguments. The
// syntax has no quotes, so that a comma in a value is a fault.
func vdevArgs(driver string, args ...string) (string, error) {
	for _, a := range args {
		if strings.Contains(a, ",") {
			return "", fmt.Errorf("%w: %q contains a comma", ErrDevice, a)
		}
	}
	return fmt.Sprintf("%s%d,%s", driver, serial.Add(1)-1, strings.Join(args, ",")), nil
}

func pci(_ *Config, arg string) (plug, error) {
	addr, rest, _ := strings.Cut(strings.ToLower(arg), ",")
	if strings.Count(addr, ":") == 1 {
		addr = "0000:" + addr
	}
	dir := filepath.Join("/sys/bus/pci/devices", addr)
	if _, err := os.Stat(dir); err != nil {
		return plug{}, fmt.Errorf("no PCI device %s on this machine", addr)
	}
	p := plug{devargs: addr, promiscuous: true, hint: "it is bound to no kernel driver; bind it to vfio-pci"}
	if rest != "" {
		p.devargs += "," + arg[strings.Index(arg, ",")+1:]
	}
	if driver, err := os.Readlink(filepath.Join(dir, "driver")); err == nil {
		p.hint = fmt.Sprintf("it is bound to the kernel's driver %s; most devices must be bound to vfio-pci", filepath.Base(driver))
	}
	return p, nil
}

func tap(c *Config, arg string) (plug, error) {
	if len(arg) >= unix.IFNAMSIZ || strings.ContainsAny(arg, "/ ") {
		return plug{}, fmt.Errorf("%w: %q cannot be an interface's name: at most 15 bytes, no slash or blank", ErrDevice, arg)
	}
	f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		return plug{}, err
	}
	f.Close()
	p := plug{paired: true}
	if !capable(unix.CAP_NET_ADMIN) {
		p.hint = "CAP_NET_ADMIN is missing"
	}
	args := []string{"iface=" + arg}
	if c.MAC != [6]byte{} {
		args = append(args, "mac="+net.HardwareAddr(c.MAC[:]).String())
	}
	p.devargs, err = vdevArgs("net_tap", args...)
	return p, err
}

// afPacket shares rings of frames with the kernel.
func afPacket(c *Config, arg string) (plug, error) {
	p, err := kernelInterface(arg)
	if err != nil {
		return p, err
	}
	mtu := c.MTU
	if mtu == 0 {
		if mtu, err = interfaceMTU(arg); err != nil {
			return p, err
		}
	}
	size := ringFrame(mtu)
	p.devargs, err = vdevArgs("net_af_packet", "iface="+arg,
		fmt.Sprintf("qpairs=%d", c.pairs()),
		fmt.Sprintf("framesz=%d", size),
		// Whole pages of whole frames: size is a multiple of 1024.
		fmt.Sprintf("blocksz=%d", size*max(4, os.Getpagesize()/1024)),
		fmt.Sprintf("framecnt=%d", c.Descriptors))
	return p, err
}

// ringFrame is the size of one frame of a packet ring: the kernel puts a header
// of up to 80 bytes in front of the data. The driver then wants buffers that
// hold such a frame.
func ringFrame(mtu int) int { return max(2048, (mtu+overhead+80+1023)/1024*1024) }

// DataRoom is the size of buffers, headroom included, that ports of this MTU
// need.
func DataRoom(mtu int) int { return mbuf.Headroom + ringFrame(mtu) }

func afXDP(c *Config, arg string) (plug, error) {
	p, err := kernelInterface(arg)
	if err != nil {
		return p, err
	}
	if !capable(unix.CAP_NET_ADMIN) || !capable(unix.CAP_BPF) {
		p.hint = "CAP_NET_ADMIN and CAP_BPF are needed"
	}
	n := c.pairs()
	if c.Queues == 0 {
		n = min(n, rxQueuesOf(arg))
	}
	p.devargs, err = vdevArgs("net_af_xdp", "iface="+arg, fmt.Sprintf("queue_count=%d", n))
	return p, err
}

// kernelInterface readies an interface of the kernel: up, and promiscuous for
// as long as the port is open, however the process ends.
func kernelInterface(name string) (plug, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return plug{}, fmt.Errorf("no interface %s in this network namespace; create it, or name one of ip link", name)
	}
	s, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0) // protocol 0: receives nothing
	if err != nil {
		return plug{}, denied("open a packet socket", err, "CAP_NET_RAW")
	}
	p := plug{iface: name, paired: true, close: func() error { return unix.Close(s) }}
	mreq := &unix.PacketMreq{Ifindex: int32(i.Index), Type: unix.PACKET_MR_PROMISC}
	if err := unix.SetsockoptPacketMreq(s, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, mreq); err != nil {
		return p, denied("make promiscuous", err, "CAP_NET_RAW")
	}
	if i.Flags&net.FlagUp == 0 {
		return p, setUp(s, name)
	}
	return p, nil
}

func setUp(socket int, iface string) error {
	req, err := unix.NewIfreq(iface)
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(socket, unix.SIOCGIFFLAGS, req); err != nil {
		return err
	}
	req.SetUint16(req.Uint16() | unix.IFF_UP)
	return denied("set up", unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, req), "CAP_NET_ADMIN")
}

// interfaceMTU is the largest L3 packet of a kernel's interface in bytes.
func interfaceMTU(iface string) (int, error) {
	i, err := net.InterfaceByName(iface)
	if err != nil {
		return 0, err
	}
	return i.MTU, nil
}

// setInterfaceMTU does what the drivers of the kernel's interfaces do not: they
// carry frames larger than Ethernet's usual, but cannot be told to.
func setInterfaceMTU(iface string, mtu int) error {
	if now, err := interfaceMTU(iface); err != nil || now == mtu {
		return err
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	req, err := unix.NewIfreq(iface)
	if err != nil {
		return err
	}
	req.SetUint32(uint32(mtu))
	return denied("interface "+iface, unix.IoctlIfreq(s, unix.SIOCSIFMTU, req), "CAP_NET_ADMIN")
}

// denied names the capability whose lack made a step fail.
func denied(step string, err error, capability string) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%s: %w: %s is needed", step, err, capability)
	}
	return fmt.Errorf("%s: %w", step, err)
}

// capable tells whether the process has a capability (unix.CAP_*).
func capable(capability int) bool {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&h, &data[0]) == nil && data[capability/32].Effective&(1<<(capability%32)) != 0
}

// vhostUser is the host's side of a VM's network card.
func vhostUser(c *Config, arg string) (plug, error) {
	path, option, given := strings.Cut(arg, ",")
	client := 0
	switch {
	case option == "client":
		client = 1
	case given:
		return plug{}, fmt.Errorf("%w: option %q of vhost-user is unknown; there is only client", ErrDevice, option)
	default:
		if err := freeSocket(path); err != nil {
			return plug{}, err
		}
	}
	// With tso a VM may send frames of 64 KiB, to be cut by whoever must. With
	// legacy-ol-flags off, frames that a VM left its checksums of to others say so as
	// received packets of every other driver do.
	tso := "tso=0"
	if port.Usable(c.Offloads).Has(mbuf.ReceiveLarge) {
		tso = "tso=1"
	}
	devargs, err := vdevArgs("net_vhost", "iface="+path, fmt.Sprintf("client=%d", client), tso, "legacy-ol-flags=0",
		fmt.Sprintf("queues=%d", c.pairs()))
	return plug{devargs: devargs, paired: true}, err
}

// virtioUser is a network card whose host side is another process.
func virtioUser(c *Config, arg string) (plug, error) {
	if _, err := os.Stat(arg); err != nil {
		return plug{}, fmt.Errorf("%w: the vhost-user side must be there first", err)
	}
	devargs, err := vdevArgs("net_virtio_user", "path="+arg, fmt.Sprintf("queues=%d", c.agreed()))
	return plug{devargs: devargs, promiscuous: true, paired: true}, err
}

// memif is a port in memory shared with another process. Unless told otherwise
// this is the side that listens.
func memif(c *Config, arg string) (plug, error) {
	path, options, _ := strings.Cut(arg, ",")
	id, role := "0", "server"
	for o := range strings.SplitSeq(options, ",") {
		key, value, _ := strings.Cut(o, "=")
		switch _, err := strconv.ParseUint(value, 10, 32); {
		case o == "":
		case key == "id" && err == nil:
			id = value
		case key == "role" && slices.Contains([]string{"server", "client"}, value):
			role = value
		default:
			return plug{}, fmt.Errorf("%w: option %q of memif is unknown; there are id=N and role=server|client", ErrDevice, o)
		}
	}
	if role == "server" {
		if err := freeSocket(path); err != nil {
			return plug{}, err
		}
	}
	devargs, err := vdevArgs("net_memif", "role="+role, "id="+id, "socket="+path, "socket-abstract=no",
		fmt.Sprintf("bsize=%d", ringFrame(c.MTU)))
	return plug{devargs: devargs}, err
}

// freeSocket makes way for a socket at path: the one of a process that died is
// removed, as no driver does, and one that is in use is an error.
func freeSocket(path string) error {
	s, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Dir(path)); err != nil {
			return err
		}
		return nil
	}
	if err != nil {
		return err
	}
	if s.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s exists and is no socket", path)
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		conn.Close()
		return fmt.Errorf("%s: another process listens there", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}

func vdev(_ *Config, arg string) (plug, error) {
	return plug{devargs: arg, promiscuous: true}, nil
}
