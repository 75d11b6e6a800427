package neigh

import (
	"net/netip"

	"paca/dataplane/packet"
)

// Kind is what a message is.
type Kind uint8

const (
	ARPRequest Kind = iota + 1
	ARPReply
	NS // neighbor solicitation
	NA // neighbor advertisement
)

func (k Kind) String() string {
	return [...]string{"", "ARP request", "ARP reply", "neighbor solicitation", "neighbor advertisement"}[k]
}

// Message is one ARP or neighbor discovery message.
type Message struct {
	Kind      Kind
	Sender    netip.Addr // whose MAC it tells: for an advertisement, its target. Unspecified in a probe for duplicates
	SenderMAC packet.MAC // zero if the message does not tell it
	Target    netip.Addr // who is asked for, or told
	Solicited bool       // an answer to us, as far as the message says
	Override  bool       // replaces a MAC known before
	By        packet.MAC // who says it: ARP's sender, ND's Ethernet source
}

// Classify reads the ARP or neighbor discovery message in a frame that
// packet.Parse accepted. It is false for anything else, for ARP that is not of
// IPv4 over Ethernet, and for what RFC 4861 says to discard.
func Classify(frame []byte, l *packet.Layout) (m Message, ok bool) {
	switch l.EtherType {
	case packet.EtherTypeARP:
		arp := packet.ARP(frame[l.L3:l.End])
		if !arp.IsEthernetIPv4() {
			return m, false
		}
		m = Message{
			Sender:    netip.AddrFrom4(arp.SenderIP()),
			SenderMAC: arp.SenderMAC(),
			Target:    netip.AddrFrom4(arp.TargetIP()),
			Override:  true,
			By:        arp.SenderMAC(),
		}
		switch arp.Op() {
		case packet.ARPOpRequest:
			m.Kind = ARPRequest
		case packet.ARPOpReply:
			m.Kind = ARPReply
			m.Solicited = !packet.Ethernet(frame).Dst().IsMulticast()
		default:
			return Message{}, false
		}
		return m, true

	case packet.EtherTypeIPv6:
		if l.Proto != packet.ProtoICMPv6 || l.L4 == 0 {
			return m, false
		}
		switch packet.ICMPv6(frame[l.L4:l.End]).Type() {
		case packet.ICMPv6NeighborSolicit:
			target, mac, _, ok := packet.ParseNS(frame, l)
			if !ok {
				return m, false
			}
			return Message{
				Kind:      NS,
				Sender:    packet.IPv6(frame[l.L3:]).SrcAddr(),
				SenderMAC: mac,
				Target:    netip.AddrFrom16(target),
				Override:  true,
				By:        packet.Ethernet(frame).Src(),
			}, true
		case packet.ICMPv6NeighborAdvert:
			target, mac, _, flags, ok := packet.ParseNA(frame, l)
			if !ok {
				return m, false
			}
			return Message{
				Kind:      NA,
				Sender:    netip.AddrFrom16(target),
				SenderMAC: mac,
				Target:    netip.AddrFrom16(target),
				Solicited: flags&packet.NDSolicited != 0,
				Override:  flags&packet.NDOverride != 0,
				By:        packet.Ethernet(frame).Src(),
			}, true
		}
	}
	return m, false
}
