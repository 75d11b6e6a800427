// Package respond is what paca answers in the network's place: towards a VM it
// is the ARP and ND proxy of its virtual subnet (guest.go), towards the fabric
// the owner of this host's PAs (provider.go), towards both a router that sends
// ICMP errors and echo replies (icmp.go). Each function looks at one frame,
// turns it into the answer in place if there is one, and says what to do with
// it; nothing is kept.
//
// Floor 1. It knows tables and frames, and no port or worker.
package respond

import (
	"paca/dataplane/count"
	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
)

// Verdict is what is to be done with a frame: one of Drop, Reply and Forward, or
// Learn, which may also come with Drop or Reply.
type Verdict struct {
	Drop    count.Reason
	Reply   bool // the frame is the answer now: back to the port it came from
	Forward bool // nothing to answer: on its way like any other
	Learn   bool // the control plane wants a copy, of the frame as it was
}

func drop(r count.Reason) Verdict { return Verdict{Drop: r} }

// advertise turns the frame in m into a neighbor advertisement.
func advertise(m *mbuf.Mbuf, na *packet.NAFrame) Verdict {
	n := packet.NDFrameLen
	if na.VLAN != 0 {
		n += packet.VLANLen
	}
	m.Trim(m.Len())
	b := m.Append(n)
	if b == nil {
		return drop(count.Headroom)
	}
	packet.AppendNA(b[:0], na)
	return Verdict{Reply: true}
}

// answerNS fills in what follows from the solicitation that is answered: to
// whom, and with which flags (A9, RFC 4861 7.2.4).
func answerNS(frame []byte, l *packet.Layout, target [16]byte, mac packet.MAC) packet.NAFrame {
	na := packet.NAFrame{
		DstMAC:    packet.Ethernet(frame).Src(),
		SrcMAC:    mac,
		VLAN:      l.TCI,
		Src:       target,
		Dst:       packet.IPv6(frame[l.L3:]).Src(),
		Target:    target,
		TargetMAC: mac,
		Flags:     packet.NDOverride | packet.NDSolicited,
	}
	if na.Dst == ([16]byte{}) {
		na.Dst = packet.AllNodes
		na.DstMAC = packet.GroupMAC(packet.AllNodes)
		na.Flags = packet.NDOverride
	}
	return na
}
