package main

import (
	"errors"
	"net"
	"os"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// flows is how many flows of 60-byte UDP frames a capture holds.
const flows = 1024

var (
	macVM, macPeer       = mac("10:10:10:10:11:05"), mac("10:10:10:10:11:07")
	macUplink, macRouter = mac("02:00:00:00:01:0a"), mac("02:00:00:00:01:01")
	caVM, caPeer         = net.IPv4(10, 1, 1, 11), net.IPv4(10, 1, 1, 12)
	paHere, paThere      = net.IPv4(192, 168, 1, 10), net.IPv4(192, 168, 2, 20)
)

// policy is of one virtual subnet, of mode %s.
const policy = `
[[virtual_subnet]]
vsid = 6001
rdid = "{11111111-2222-3333-4444-000000000000}"
prefixes = ["10.1.1.0/24"]
mode = "%s"
[[lookup_record]]
vsid = 6001
ca = "10.1.1.11"
mac = "10:10:10:10:11:05"
pa = "192.168.1.10"
[[lookup_record]]
vsid = 6001
ca = "10.1.1.12"
mac = "10:10:10:10:11:07"
pa = "192.168.2.20"
`

// The rest of the host files. Memory is ordinary, as testpmd's is.
const common = `
[eal]
memory = "512MiB"
hugepages = "none"
[workers]
cores = [%[2]d]
idle = "poll"
[[provider_address]]
address = "192.168.1.10/24"
port = "uplink"
[[provider_route]]
port = "uplink"
prefix = "0.0.0.0/0"
next_hop = "192.168.1.1"
[[neighbor]]
port = "uplink"
address = "192.168.1.1"
mac = "02:00:00:00:01:01"
`

// egress is VM to fabric: 60-byte frames in, 102-byte NVGRE frames out.
func egress() scenario {
	return scenario{
		name: "nvgre-egress", mode: "nvgre", peer: "mac", out: "uplink",
		frames: each1024(func(flow int) []gopacket.SerializableLayer {
			return tenant(macVM, macPeer, caVM, caPeer, flow)
		}),
		host: common + outbound,
	}
}

// rewriteEgress is VM to fabric: 60-byte frames in, as large ones out.
func rewriteEgress() scenario {
	s := egress()
	s.name, s.mode, s.peer = "rewrite-egress", "rewrite", "csum"
	return s
}

// Ports of a host that sends what its VM says, and of one whose VM hears.
const (
	outbound = `
[[port]]
name = "vm"
role = "vm"
vsid = 6001
mac = "10:10:10:10:11:05"
device = "vdev:net_pcap0,rx_pcap=%[1]s,infinite_rx=1"
[[port]]
name = "uplink"
role = "uplink"
device = "vdev:net_null1,no-rx=1"
`
	inbound = `
[[port]]
name = "uplink"
role = "uplink"
device = "vdev:net_pcap0,rx_pcap=%[1]s,infinite_rx=1"
[[port]]
name = "vm"
role = "vm"
vsid = 6001
mac = "10:10:10:10:11:05"
device = "vdev:net_null1,no-rx=1"
`
)

// ingress is fabric to VM: 102-byte NVGRE frames in, 60-byte frames out.
func ingress() scenario {
	return scenario{
		name: "nvgre-ingress", mode: "nvgre", peer: "mac", out: "vm",
		frames: each1024(func(flow int) []gopacket.SerializableLayer {
			return append([]gopacket.SerializableLayer{
				&layers.Ethernet{SrcMAC: macRouter, DstMAC: macUplink, EthernetType: layers.EthernetTypeIPv4},
				&layers.IPv4{Version: 4, TTL: 127, Id: uint16(flow), Flags: layers.IPv4DontFragment, Protocol: layers.IPProtocolGRE, SrcIP: paThere, DstIP: paHere},
				&layers.GRE{KeyPresent: true, Key: 6001<<8 | uint32(flow&0xff), Protocol: layers.EthernetTypeTransparentEthernetBridging},
			}, tenant(macPeer, macVM, caPeer, caVM, flow)...)
		}),
		host: common + inbound,
	}
}

// rewriteIngress is fabric to VM: 60-byte frames in and out.
func rewriteIngress() scenario {
	return scenario{
		name: "rewrite-ingress", mode: "rewrite", peer: "csum", out: "vm",
		frames: each1024(func(flow int) []gopacket.SerializableLayer {
			return tenant(macRouter, macUplink, paThere, paHere, flow)
		}),
		host: common + inbound,
	}
}

// tenant is a 60-byte UDP frame of a VM.
func tenant(src, dst net.HardwareAddr, from, to net.IP, flow int) []gopacket.SerializableLayer {
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: from, DstIP: to}
	udp := &layers.UDP{SrcPort: layers.UDPPort(1024 + flow), DstPort: 4789}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		panic(err) // ip is an IP layer
	}
	return []gopacket.SerializableLayer{
		&layers.Ethernet{SrcMAC: src, DstMAC: dst, EthernetType: layers.EthernetTypeIPv4},
		ip, udp, gopacket.Payload(make([]byte, 60-14-20-8)),
	}
}

func each1024(frame func(flow int) []gopacket.SerializableLayer) [][]byte {
	frames := make([][]byte, flows)
	for i := range frames {
		b := gopacket.NewSerializeBuffer()
		if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, frame(i)...); err != nil {
			panic(err) // the layers above are whole
		}
		frames[i] = b.Bytes()
	}
	return frames
}

func writeCapture(path string, frames [][]byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := pcapgo.NewWriter(f)
	err = w.WriteFileHeader(65535, layers.LinkTypeEthernet)
	for _, frame := range frames {
		err = errors.Join(err, w.WritePacket(gopacket.CaptureInfo{Timestamp: time.Unix(0, 0), CaptureLength: len(frame), Length: len(frame)}, frame))
	}
	return errors.Join(err, f.Close())
}

func mac(s string) net.HardwareAddr {
	m, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}
