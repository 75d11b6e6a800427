package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"

	"paca/perf/probe"
)

// looped is a program that forwards between two memif ports, and a probe that is at the
// other end of both. The program forwards on one core; the probe and everything else
// share another.
type looped struct {
	*probe.Process
	pacad *running // nil: another program
	stop  func() error
}

// loopPacad closes the loop through pacad, in the direction of the frames that will be
// sent.
func loopPacad(dir, mode string, outbound bool) (*looped, error) {
	host := fmt.Sprintf(common, "", *core) + fmt.Sprintf(loopPorts, dir) + "\n[policy]\nstore = \"memory\"\nseed = \"policy.toml\"\n"
	p, err := start(dir, host, fmt.Sprintf(policy, mode)+bigSubnet)
	if err != nil {
		return nil, err
	}
	l := &looped{pacad: p, stop: func() error { p.stop(); return nil }}
	return l, l.probe(dir, outbound)
}

const loopPorts = `
[[port]]
name = "vm"
role = "vm"
vsid = 6001
mac = "10:10:10:10:11:05"
device = "memif:%[1]s/vm.memif"
[[port]]
name = "uplink"
role = "uplink"
device = "memif:%[1]s/uplink.memif"
`

// loopTestpmd closes the loop through testpmd.
func loopTestpmd(dir string) (*looped, error) {
	other := 1 - min(*core, 1)
	cmd := exec.Command("dpdk-testpmd", "--no-huge", "-m", "512", "--no-shconf", "--no-pci", "--no-telemetry",
		"-l", fmt.Sprintf("%d,%d", other, *core), "--main-lcore", strconv.Itoa(other),
		"--vdev", "net_memif0,role=server,socket-abstract=no,socket="+dir+"/vm.memif",
		"--vdev", "net_memif1,role=server,socket-abstract=no,socket="+dir+"/uplink.memif",
		"--", "--forward-mode=macswap", "--nb-cores=1", "--auto-start", "--no-lsc-interrupt", "--total-num-mbufs=16384", "--burst=64")
	for _, s := range []string{"vm", "uplink"} {
		_ = os.Remove(filepath.Join(dir, s+".memif"))
	}
	end, err := cmd.StdinPipe() // it forwards until that ends
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	l := &looped{stop: func() error {
		_, err := io.WriteString(end, "\n")
		limit := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		defer limit.Stop()
		return errors.Join(err, cmd.Wait())
	}}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(dir + "/uplink.memif"); err == nil {
			break
		}
		if time.Now().After(deadline) {
			return nil, errors.Join(errors.New("testpmd does not listen"), l.stop())
		}
	}
	return l, l.probe(dir, true)
}

// probe starts the probe at the other ends.
func (l *looped) probe(dir string, outbound bool) error {
	out, back := "memif:"+dir+"/vm.memif,role=client", "memif:"+dir+"/uplink.memif,role=client"
	if !outbound {
		out, back = back, out
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	l.Process, err = probe.Start(exec.Command(self, "probe"), probe.Setup{
		EAL:  []string{"--no-huge", "-m", "256", "--no-shconf", "--no-pci", "--no-telemetry"},
		Core: 1 - min(*core, 1), Out: out, Back: back, MTU: 1500,
	})
	if err != nil {
		return errors.Join(err, l.stop())
	}
	return nil
}

// close ends the probe, then the program: memif does not bear both at once.
func (l *looped) close() error { return errors.Join(l.Process.Close(), l.stop()) }

// stamped are frames for the probe, 60 bytes of UDP as a VM sends them, or as the
// fabric brings them in NVGRE.
func stamped(outbound bool) [][]byte {
	return each1024(func(flow int) []gopacket.SerializableLayer {
		if outbound {
			return withRoom(tenant(macVM, macPeer, caVM, caPeer, flow))
		}
		return append([]gopacket.SerializableLayer{
			&layers.Ethernet{SrcMAC: macRouter, DstMAC: macUplink, EthernetType: layers.EthernetTypeIPv4},
			&layers.IPv4{Version: 4, TTL: 127, Id: uint16(flow), Flags: layers.IPv4DontFragment, Protocol: layers.IPProtocolGRE, SrcIP: paThere, DstIP: paHere},
			&layers.GRE{KeyPresent: true, Key: 6001<<8 | uint32(flow&0xff), Protocol: layers.EthernetTypeTransparentEthernetBridging},
		}, withRoom(tenant(macPeer, macVM, caPeer, caVM, flow))...)
	})
}

func withRoom(l []gopacket.SerializableLayer) []gopacket.SerializableLayer {
	return append(l[:len(l)-1], gopacket.Payload(probe.Room[:]))
}

var _ = runtime.LockOSThread
var _ unix.CPUSet
