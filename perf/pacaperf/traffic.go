package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// The world of every scenario: one VM here, which talks with the VMs of as many
// lookup records as there are, a thousand behind each host.
var (
	vm = end{
		mac: mac("10:10:10:10:11:05"),
		ca4: netip.MustParseAddr("10.1.1.11"), ca6: netip.MustParseAddr("fd00:1::11"),
		pa4: netip.MustParseAddr("192.168.1.10"), pa6: netip.MustParseAddr("fd00:3::10"),
	}
	macUplink, macGateway = mac("02:00:00:00:01:0a"), mac("02:00:00:00:01:01")
	gateway4, gateway6    = netip.MustParseAddr("192.168.1.1"), netip.MustParseAddr("fd00:3::1")
	subnets               = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00:1::/64")}
)

const (
	vsid           = 6001
	recordsPerHost = 1024
)

// end is one VM and what is in front of it.
type end struct {
	mac      net.HardwareAddr
	ca4, ca6 netip.Addr
	pa4, pa6 netip.Addr
}

// remote is the VM of lookup record i. In rewrite mode each has a PA of its own.
func remote(i int, mode string) end {
	e := end{mac: binary.BigEndian.AppendUint32([]byte{2, 0x10}, uint32(i)), ca4: plus("10.128.0.0", i), ca6: plus("fd00:1::1:0:0:0", i)}
	if mode == "rewrite" {
		e.pa4, e.pa6 = plus("100.64.0.1", i), plus("fd00:2::1:0:0:0", i)
	} else {
		e.pa4, e.pa6 = plus("172.16.0.1", i/recordsPerHost), plus("fd00:2::1", i/recordsPerHost)
	}
	return e
}

// plus is the i-th address after the given one.
func plus(address string, i int) netip.Addr {
	b := netip.MustParseAddr(address).AsSlice()
	last := b[len(b)-4:]
	binary.BigEndian.PutUint32(last, binary.BigEndian.Uint32(last)+uint32(i))
	a, _ := netip.AddrFromSlice(b)
	return a
}

func (e end) ca(version int) netip.Addr { return pick(version, e.ca4, e.ca6) }
func (e end) pa(version int) netip.Addr { return pick(version, e.pa4, e.pa6) }

func pick(version int, v4, v6 netip.Addr) netip.Addr {
	if version == 6 {
		return v6
	}
	return v4
}

// imix is the simple Internet mix, 7:4:1, as frames without FCS.
var imix = [...]int{60, 590, 60, 60, 590, 60, 1514, 60, 590, 60, 60, 590}

// size is how large the VM's frame number i is, Ethernet header included and FCS not.
func (p Params) size(i int) int {
	if p.Frame == "IMIX" {
		return max(imix[i%len(imix)], smallest(p.CA))
	}
	n, _ := strconv.Atoi(p.Frame) // a scenario's
	return n
}

// smallest is the smallest frame that a scenario may have: Ethernet's of IPv4, and
// of IPv6 one that holds its headers.
func smallest(ca int) int {
	if ca == 6 {
		return 64
	}
	return 60
}

// average is the VM's mean frame in bytes.
func (p Params) average() float64 {
	sum := 0
	for i := range imix {
		sum += p.size(i)
	}
	return float64(sum) / float64(len(imix))
}

// flow is one of a scenario's: the record that it is with, and its source port.
type flow struct {
	record, port int
}

// flows are as many as the scenario has, with records chosen uniformly at random,
// the same ones in every run.
func (p Params) flows() []flow {
	random := rand.New(rand.NewPCG(1, 2))
	flows := make([]flow, p.Flows)
	for i := range flows {
		flows[i] = flow{random.IntN(p.Records), 1024 + i%60000}
	}
	return flows
}

// tenant is a flow's frame as the VM says or hears it.
func (p Params) tenant(f flow, size int) []gopacket.SerializableLayer {
	far := remote(f.record, p.Mode)
	if p.Direction == "egress" {
		return udp(vm.mac, far.mac, vm.ca(p.CA), far.ca(p.CA), f.port, size)
	}
	return udp(far.mac, vm.mac, far.ca(p.CA), vm.ca(p.CA), f.port, size)
}

// fabric is the same frame on the network between hosts; uplink is the MAC there.
func (p Params) fabric(f flow, size int, uplink net.HardwareAddr) []gopacket.SerializableLayer {
	from, to := vm.pa(p.PA), remote(f.record, p.Mode).pa(p.PA)
	src, dst := uplink, macGateway
	if p.Direction == "ingress" {
		from, to, src, dst = to, from, dst, src
	}
	if p.Mode == "rewrite" {
		return udp(src, dst, from, to, f.port, size)
	}
	l := []gopacket.SerializableLayer{&layers.Ethernet{SrcMAC: src, DstMAC: dst, EthernetType: etherType(from)}}
	if from.Is4() {
		l = append(l, &layers.IPv4{Version: 4, TTL: 127, Flags: layers.IPv4DontFragment, Protocol: layers.IPProtocolGRE, SrcIP: from.AsSlice(), DstIP: to.AsSlice()})
	} else {
		l = append(l, &layers.IPv6{Version: 6, HopLimit: 127, NextHeader: layers.IPProtocolGRE, SrcIP: from.AsSlice(), DstIP: to.AsSlice()})
	}
	l = append(l, &layers.GRE{KeyPresent: true, Key: vsid<<8 | uint32(f.port&0xff), Protocol: layers.EthernetTypeTransparentEthernetBridging})
	return append(l, p.tenant(f, size)...)
}

// input is what a program receives.
func (p Params) input(f flow, size int) []gopacket.SerializableLayer {
	if p.Direction == "egress" {
		return p.tenant(f, size)
	}
	return p.fabric(f, size, macUplink)
}

func udp(src, dst net.HardwareAddr, from, to netip.Addr, port, size int) []gopacket.SerializableLayer {
	udp := &layers.UDP{SrcPort: layers.UDPPort(port), DstPort: 9}
	var ip interface {
		gopacket.NetworkLayer
		gopacket.SerializableLayer
	}
	headers := 14 + 8
	if from.Is4() {
		ip = &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
		headers += 20
	} else {
		ip = &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolUDP, SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
		headers += 40
	}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		panic(err) // it is an IP layer
	}
	return []gopacket.SerializableLayer{
		&layers.Ethernet{SrcMAC: src, DstMAC: dst, EthernetType: etherType(from)},
		ip, udp, gopacket.Payload(make([]byte, size-headers)),
	}
}

func etherType(a netip.Addr) layers.EthernetType {
	if a.Is4() {
		return layers.EthernetTypeIPv4
	}
	return layers.EthernetTypeIPv6
}

// frame is the bytes of layers, lengths and checksums filled in, in b's memory.
func frame(b gopacket.SerializeBuffer, l []gopacket.SerializableLayer) []byte {
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, l...); err != nil {
		panic(err) // the layers above are whole
	}
	return b.Bytes()
}

// writeCaptures writes the frames of flows for as many receive queues as there are
// paths, dealt out in turn.
func (p Params) writeCaptures(paths []string, flows []flow, size func(i int) int) error {
	b := gopacket.NewSerializeBuffer()
	for q, path := range paths {
		if err := writeCapture(path, func(yield func([]byte) bool) {
			for i := q; i < len(flows) && yield(frame(b, p.input(flows[i], size(i)))); i += len(paths) {
			}
		}); err != nil {
			return err
		}
	}
	return nil
}

func writeCapture(path string, frames iter.Seq[[]byte]) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriterSize(file, 1<<20)
	w := pcapgo.NewWriter(buffered)
	err = w.WriteFileHeader(65535, layers.LinkTypeEthernet)
	for f := range frames {
		err = errors.Join(err, w.WritePacket(gopacket.CaptureInfo{Timestamp: time.Unix(0, 0), CaptureLength: len(f), Length: len(f)}, f))
	}
	if err := errors.Join(err, buffered.Flush(), file.Close()); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func mac(s string) net.HardwareAddr {
	m, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}

// plainParams is the traffic that everything else is compared with: 60-byte frames
// of 1,024 flows to as many VMs, into NVGRE over IPv4, on huge pages.
var plainParams = Params{Mode: "nvgre", Direction: "egress", Frame: "60", Bytes: 60, Flows: 1024, Records: 1024, Cores: 1, CA: 4, PA: 4, Pages: huge}
