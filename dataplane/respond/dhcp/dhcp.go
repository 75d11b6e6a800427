// Package dhcp is the DHCPv4 server that every virtual subnet has on every host
// (A14): what policy knows of a VM it tells the VM, and nothing of it crosses
// the fabric. It keeps no leases, since policy is the lease; Answer is a function
// from frame to frame. Ack reads what another's server told a VM, to learn from
// (A16).
//
// Floor 1, but not the hot path: messages are few, and make garbage. It knows
// frames, and no tables, ports or workers.
package dhcp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"

	"paca/dataplane/packet"
)

// Lease is what one VM is told.
type Lease struct {
	CA     netip.Addr   // its own
	Prefix netip.Prefix // of its virtual subnet, with CA in it
	Router netip.Addr   // the router CA (P20); the zero Addr if it is to hear of none
	DNS    []netip.Addr // those of IPv4 are told, as many as fit
	MTU    uint16       // largest IP packet in bytes (M1); 0: not told
	MAC    packet.MAC   // the router's, which the answers come from
}

// Time is how long a lease is good for. Policy does not end it; a client that
// asks again after half of the time learns what has changed.
const Time = 24 * time.Hour

// What Answer's errors wrap.
var (
	ErrMalformed = errors.New("malformed DHCP message") // by the VM
	ErrLease     = errors.New("no DHCP lease")          // that could be told
)

// maxMessage is the longest IP packet in bytes that every client takes (RFC 2131
// 2).
const maxMessage = 576

const ttl = 64

// Answer is the frame that answers the DHCPv4 client's message in an untagged
// frame that packet.Parse accepted: OFFER, ACK or NAK, as RFC 2131 has it. It is
// nil where the client is to hear nothing: after DECLINE and RELEASE, when it has
// chosen another server, when a relay speaks for it. The caller knows that the
// lease is that of the frame's source MAC; a client that gives another one as its
// own has an error.
//
// UDP checksums are not looked at: the message comes from a VM of this host,
// whose kernel may leave them to a NIC that is none.
func Answer(frame []byte, l *packet.Layout, lease *Lease) (reply []byte, err error) {
	if l.Tags != 0 || !packet.DHCPClient(frame, l) {
		return nil, fmt.Errorf("dhcp: %w: not from client to server, or tagged", ErrMalformed)
	}
	server, err := lease.server()
	if err != nil {
		return nil, err
	}
	in, err := decode(frame, l)
	if err != nil {
		return nil, err
	}
	client := packet.Ethernet(frame).Src()
	switch {
	case in.OpCode != dhcpv4.OpcodeBootRequest:
		return nil, fmt.Errorf("dhcp: %w: operation %d from a client", ErrMalformed, in.OpCode)
	case packet.MAC(in.ClientHWAddr) != client || client.IsMulticast():
		return nil, fmt.Errorf("dhcp: %w: %v speaks for %v", ErrMalformed, client, in.ClientHWAddr)
	case !in.GatewayIPAddr.IsUnspecified():
		return nil, nil // a relay's, which has servers of its own
	}

	typ := in.MessageType()
	switch typ {
	case dhcpv4.MessageTypeDiscover:
		typ = dhcpv4.MessageTypeOffer
	case dhcpv4.MessageTypeRequest:
		if id := in.ServerIdentifier(); id != nil && address(id) != server {
			return nil, nil // it took another's offer
		}
		switch wanted := asked(in); {
		case wanted.IsUnspecified():
			return nil, fmt.Errorf("dhcp: %w: request for no address", ErrMalformed)
		case wanted == lease.CA:
			typ = dhcpv4.MessageTypeAck
		default:
			typ = dhcpv4.MessageTypeNak
		}
	case dhcpv4.MessageTypeInform:
		if address(in.ClientIPAddr) != lease.CA {
			return nil, nil // no other address of its own is of any use to it (P18)
		}
		typ = dhcpv4.MessageTypeAck
	case dhcpv4.MessageTypeNone:
		return nil, fmt.Errorf("dhcp: %w: no message type", ErrMalformed)
	default:
		return nil, nil
	}

	out := &dhcpv4.DHCPv4{
		OpCode:        dhcpv4.OpcodeBootReply,
		HWType:        in.HWType,
		TransactionID: in.TransactionID,
		Flags:         in.Flags,
		ClientHWAddr:  in.ClientHWAddr,
		Options:       dhcpv4.OptionsFromList(dhcpv4.OptMessageType(typ), dhcpv4.OptServerIdentifier(server.AsSlice())),
	}
	if id := in.Options.Get(dhcpv4.OptionClientIdentifier); id != nil {
		out.UpdateOption(dhcpv4.OptClientIdentifier(id)) // RFC 6842
	}
	to, toIP := client, lease.CA
	if typ == dhcpv4.MessageTypeNak {
		to, toIP = packet.Broadcast, packet.LimitedBroadcast // whatever address it believes to have (RFC 2131 4.1)
	} else {
		if in.MessageType() != dhcpv4.MessageTypeInform { // which has its address for longer than we know
			out.YourIPAddr = lease.CA.AsSlice()
			out.UpdateOption(dhcpv4.OptIPAddressLeaseTime(Time))
			out.UpdateOption(dhcpv4.OptRenewTimeValue(Time / 2))
			out.UpdateOption(dhcpv4.OptRebindingTimeValue(Time * 7 / 8))
		}
		if in.MessageType() != dhcpv4.MessageTypeDiscover {
			out.ClientIPAddr = in.ClientIPAddr
		}
		if in.IsBroadcast() && in.ClientIPAddr.IsUnspecified() {
			to, toIP = packet.Broadcast, packet.LimitedBroadcast
		}
		lease.describe(out)
	}
	b := out.ToBytes()
	if most := maxMessage - packet.IPv4Len - packet.UDPLen; len(b) > most {
		return nil, fmt.Errorf("dhcp: %w: client identifier of %d bytes", ErrMalformed, len(in.Options.Get(dhcpv4.OptionClientIdentifier)))
	}
	return wrap(b, to, lease.MAC, server, toIP), nil
}

// Asked is the address that the DHCPREQUEST or DHCPINFORM in a frame which
// packet.Parse accepted is about: who has several leases tells the client of that
// one. It is not valid for other messages.
func Asked(frame []byte, l *packet.Layout) (ca netip.Addr) {
	if l.Tags != 0 || !packet.DHCPClient(frame, l) {
		return ca
	}
	in, err := decode(frame, l)
	if err != nil {
		return ca
	}
	switch in.MessageType() {
	case dhcpv4.MessageTypeRequest:
		return asked(in)
	case dhcpv4.MessageTypeInform:
		return address(in.ClientIPAddr)
	}
	return ca
}

// asked is the address that a client names which it was offered, or had before, in an
// option; the one that it has, in the header (RFC 2131 4.3.2).
func asked(in *dhcpv4.DHCPv4) netip.Addr {
	if ca := address(in.RequestedIPAddress()); ca.IsValid() {
		return ca
	}
	return address(in.ClientIPAddr)
}

// server is the identity of the server: the router CA, or what it would be
// (P20): no VM has that address.
func (lease *Lease) server() (netip.Addr, error) {
	refuse := func(why string, what any) (netip.Addr, error) {
		return netip.Addr{}, fmt.Errorf("dhcp: %w: %s %v", ErrLease, why, what)
	}
	server := lease.Router
	if !server.IsValid() && lease.Prefix.IsValid() {
		server = lease.Prefix.Masked().Addr().Next()
	}
	switch {
	case !lease.CA.Is4() || lease.CA.IsUnspecified():
		return refuse("CA", lease.CA)
	case !lease.Prefix.IsValid() || !lease.Prefix.Contains(lease.CA):
		return refuse("CA outside of", lease.Prefix)
	case !server.Is4() || server == lease.CA || !lease.Router.IsValid() && !lease.Prefix.Contains(server):
		return refuse("no router in", lease.Prefix)
	case lease.MAC.IsZero() || lease.MAC.IsMulticast():
		return refuse("router at", lease.MAC)
	}
	return server, nil
}

// describe adds the network to a reply that is otherwise complete.
func (lease *Lease) describe(out *dhcpv4.DHCPv4) {
	out.UpdateOption(dhcpv4.OptSubnetMask(net.CIDRMask(lease.Prefix.Bits(), 32)))
	if lease.Router.IsValid() {
		out.UpdateOption(dhcpv4.OptRouter(lease.Router.AsSlice()))
	}
	if lease.MTU >= packet.MinMTU4 { // RFC 2132 5.1
		out.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionInterfaceMTU, dhcpv4.Uint16(lease.MTU).ToBytes()))
	}
	var dns []net.IP
	for _, a := range lease.DNS {
		if a.Is4() {
			dns = append(dns, a.AsSlice())
		}
	}
	// An option of up to 63 addresses, if the rest of the message is short.
	const fixed = 240 // header and magic cookie, bytes
	rest := maxMessage - packet.IPv4Len - packet.UDPLen - fixed - len(out.Options.ToBytes()) - 1 - 2
	if dns = dns[:min(len(dns), max(rest, 0)/4, 63)]; len(dns) != 0 {
		out.UpdateOption(dhcpv4.OptDNS(dns...))
	}
}

// wrap puts a server's message into a frame.
func wrap(message []byte, to, from packet.MAC, src, dst netip.Addr) []byte {
	frame := make([]byte, packet.EthernetLen+packet.IPv4Len+packet.UDPLen+len(message))
	packet.Ethernet(frame).Encode(packet.EthernetFields{Dst: to, Src: from, EtherType: packet.EtherTypeIPv4})
	ip := packet.IPv4(frame[packet.EthernetLen:])
	ip.Encode(packet.IPv4Fields{TotalLen: uint16(len(ip)), TTL: ttl, Protocol: packet.ProtoUDP, Src: src.As4(), Dst: dst.As4()})
	udp := packet.UDP(ip[packet.IPv4Len:])
	copy(udp[packet.UDPLen:], message)
	udp.Encode(packet.UDPFields{SrcPort: packet.DHCPServerPort, DstPort: packet.DHCPClientPort, Length: uint16(len(udp))})
	sum := packet.Checksum(udp, packet.PseudoHeader4(src.As4(), dst.As4(), packet.ProtoUDP, uint16(len(udp))))
	if sum == 0 {
		sum = 0xffff // 0 would mean that there is none (R10)
	}
	udp.SetChecksum(sum)
	return frame
}

// Ack reads the DHCPACK of a lease in a frame that packet.Parse accepted: the
// address, who may use it and for how long. ok is false for any other frame; also
// for the ACK of an INFORM, which leases nothing.
func Ack(frame []byte, l *packet.Layout) (ca netip.Addr, mac packet.MAC, lease time.Duration, ok bool) {
	if l.EtherType != packet.EtherTypeIPv4 || l.Flags&packet.IsFragment != 0 || !packet.DHCPServer(frame, l) {
		return
	}
	in, err := decode(frame, l)
	if err != nil || in.OpCode != dhcpv4.OpcodeBootReply || in.MessageType() != dhcpv4.MessageTypeAck {
		return
	}
	ca, lease, mac = address(in.YourIPAddr), in.IPAddressLeaseTime(0), packet.MAC(in.ClientHWAddr)
	if first := ca.As4()[0]; lease == 0 || first == 0 || first == 127 || first >= 224 || mac.IsZero() || mac.IsMulticast() {
		return netip.Addr{}, packet.MAC{}, 0, false
	}
	return ca, mac, lease, true
}

// decode reads the DHCP message in a UDP packet between Ethernet machines.
func decode(frame []byte, l *packet.Layout) (*dhcpv4.DHCPv4, error) {
	udp := packet.UDP(frame[l.L4:l.End])
	n := int(udp.Length())
	if n < packet.UDPLen || n > len(udp) {
		return nil, fmt.Errorf("dhcp: %w: UDP length %d", ErrMalformed, n)
	}
	in, err := dhcpv4.FromBytes(udp[packet.UDPLen:n])
	if err != nil {
		return nil, fmt.Errorf("dhcp: %w: %w", ErrMalformed, err)
	}
	if in.HWType != iana.HWTypeEthernet || len(in.ClientHWAddr) != len(packet.MAC{}) {
		return nil, fmt.Errorf("dhcp: %w: hardware type %d with addresses of %d bytes", ErrMalformed, in.HWType, len(in.ClientHWAddr))
	}
	return in, nil
}

// address is an address of four bytes, the zero Addr if ip has another length.
func address(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip.To4())
	return a
}
