package dhcp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"paca/dataplane/packet"
)

var (
	macVM     = packet.MAC{0x10, 0x10, 0x10, 0x10, 0x11, 0x05}
	macRouter = packet.MAC{2, 0x50, 0x41, 0x43, 0x41, 1}
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func testLease() *Lease {
	return &Lease{
		CA:     addr("10.1.1.11"),
		Prefix: netip.MustParsePrefix("10.1.1.0/24"),
		Router: addr("10.1.1.1"),
		DNS:    []netip.Addr{addr("10.1.1.53"), addr("fd00:1::53"), addr("10.1.2.53")},
		MTU:    1458,
		MAC:    macRouter,
	}
}

// ask is a client's message of that type with those options; change gets at the
// rest of it. gopacket writes it.
func ask(t testing.TB, typ layers.DHCPMsgType, change func(d *layers.DHCPv4), options ...layers.DHCPOption) []byte {
	t.Helper()
	d := &layers.DHCPv4{Operation: layers.DHCPOpRequest, HardwareType: layers.LinkTypeEthernet, HardwareLen: 6, Xid: 0xdeadbeef, Secs: 3,
		ClientIP: net.IPv4zero.To4(), YourClientIP: net.IPv4zero.To4(), NextServerIP: net.IPv4zero.To4(), RelayAgentIP: net.IPv4zero.To4(), ClientHWAddr: macVM[:]}
	if typ != layers.DHCPMsgTypeUnspecified {
		d.Options = append(d.Options, layers.NewDHCPOption(layers.DHCPOptMessageType, []byte{byte(typ)}))
	}
	d.Options = append(d.Options, options...)
	if change != nil {
		change(d)
	}
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: d.ClientIP, DstIP: net.IPv4bcast.To4()}
	udp := &layers.UDP{SrcPort: 68, DstPort: 67}
	udp.SetNetworkLayerForChecksum(ip)
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: macVM[:], DstMAC: packet.Broadcast[:], EthernetType: layers.EthernetTypeIPv4}, ip, udp, d); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func ip4(s string) net.IP { return addr(s).AsSlice() }

func option(code layers.DHCPOpt, data ...byte) layers.DHCPOption {
	return layers.NewDHCPOption(code, data)
}

func requested(s string) layers.DHCPOption { return option(layers.DHCPOptRequestIP, ip4(s)...) }
func serverID(s string) layers.DHCPOption  { return option(layers.DHCPOptServerID, ip4(s)...) }

func answer(t testing.TB, frame []byte, lease *Lease) ([]byte, error) {
	t.Helper()
	var l packet.Layout
	if f := packet.Parse(frame, &l); f != packet.OK {
		t.Fatalf("the test made a bad frame: %v", f)
	}
	return Answer(frame, &l, lease)
}

// read takes a server's frame apart with gopacket and holds it to what every
// answer must be.
func read(t testing.TB, frame []byte) (eth *layers.Ethernet, ip *layers.IPv4, d *layers.DHCPv4) {
	t.Helper()
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
	if e := p.ErrorLayer(); e != nil {
		t.Fatalf("gopacket cannot read %x: %v", frame, e.Error())
	}
	eth, _ = p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	ip, _ = p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	udp, _ := p.Layer(layers.LayerTypeUDP).(*layers.UDP)
	d, _ = p.Layer(layers.LayerTypeDHCPv4).(*layers.DHCPv4)
	if d == nil {
		t.Fatalf("no DHCP in %v", p)
	}
	if udp.SrcPort != 67 || udp.DstPort != 68 || int(udp.Length) != len(frame)-34 || int(ip.Length) != len(frame)-14 || ip.Length > 576 || ip.TTL != 64 {
		t.Errorf("IP %+v, UDP %+v", ip, udp)
	}
	if len(udp.Payload) < 300 {
		t.Errorf("message of %d bytes: BOOTP's clients want 300", len(udp.Payload))
	}
	ipSum, udpSum := ip.Checksum, udp.Checksum
	udp.SetNetworkLayerForChecksum(ip)
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{ComputeChecksums: true}, ip, udp, gopacket.Payload(udp.Payload)); err != nil {
		t.Fatal(err)
	}
	if ip.Checksum != ipSum || udp.Checksum != udpSum || udpSum == 0 {
		t.Errorf("checksums %#04x and %#04x, gopacket computes %#04x and %#04x", ipSum, udpSum, ip.Checksum, udp.Checksum)
	}
	return eth, ip, d
}

func options(d *layers.DHCPv4) map[layers.DHCPOpt][]byte {
	m := map[layers.DHCPOpt][]byte{}
	for _, o := range d.Options {
		if o.Type != layers.DHCPOptPad && o.Type != layers.DHCPOptEnd {
			m[o.Type] = o.Data
		}
	}
	return m
}

// What an OFFER and an ACK tell of the test's lease.
func leased(typ layers.DHCPMsgType) map[layers.DHCPOpt][]byte {
	return map[layers.DHCPOpt][]byte{
		layers.DHCPOptMessageType:  {byte(typ)},
		layers.DHCPOptServerID:     ip4("10.1.1.1"),
		layers.DHCPOptSubnetMask:   {255, 255, 255, 0},
		layers.DHCPOptRouter:       ip4("10.1.1.1"),
		layers.DHCPOptDNS:          append(ip4("10.1.1.53"), ip4("10.1.2.53")...),
		layers.DHCPOptInterfaceMTU: {1458 >> 8, 1458 & 0xff},
		layers.DHCPOptLeaseTime:    {0, 1, 0x51, 0x80}, // 86,400 s
		layers.DHCPOptT1:           {0, 0, 0xa8, 0xc0}, // 43,200 s
		layers.DHCPOptT2:           {0, 1, 0x27, 0x50}, // 75,600 s
	}
}

func TestA14Answer(t *testing.T) {
	const (
		offer = layers.DHCPMsgTypeOffer
		ack   = layers.DHCPMsgTypeAck
		nak   = layers.DHCPMsgTypeNak
	)
	ciaddr := func(s string) func(d *layers.DHCPv4) { return func(d *layers.DHCPv4) { d.ClientIP = ip4(s) } }
	broadcast := func(d *layers.DHCPv4) { d.Flags = 0x8000 }
	id := option(layers.DHCPOptClientID, 0xff, 1, 2, 3, 4)
	for _, tt := range []struct {
		name   string
		frame  []byte
		typ    layers.DHCPMsgType // 0: no reply
		yiaddr string
		ciaddr string
		flood  bool
		without,
		with []layers.DHCPOption // options that differ from leased
	}{
		{name: "DISCOVER", frame: ask(t, layers.DHCPMsgTypeDiscover, nil), typ: offer, yiaddr: "10.1.1.11"},
		{name: "DISCOVER, to be answered by broadcast", frame: ask(t, layers.DHCPMsgTypeDiscover, broadcast), typ: offer, yiaddr: "10.1.1.11", flood: true},
		{name: "DISCOVER with another wish", frame: ask(t, layers.DHCPMsgTypeDiscover, nil, requested("10.1.1.99")), typ: offer, yiaddr: "10.1.1.11"},
		{name: "DISCOVER with a client identifier (RFC 6842)", frame: ask(t, layers.DHCPMsgTypeDiscover, nil, id), typ: offer, yiaddr: "10.1.1.11", with: []layers.DHCPOption{id}},
		{name: "DISCOVER with an address", frame: ask(t, layers.DHCPMsgTypeDiscover, ciaddr("10.9.9.9")), typ: offer, yiaddr: "10.1.1.11"},
		{name: "REQUEST of our offer", frame: ask(t, layers.DHCPMsgTypeRequest, nil, serverID("10.1.1.1"), requested("10.1.1.11")), typ: ack, yiaddr: "10.1.1.11"},
		{name: "REQUEST of our offer, by broadcast", frame: ask(t, layers.DHCPMsgTypeRequest, broadcast, serverID("10.1.1.1"), requested("10.1.1.11")), typ: ack, yiaddr: "10.1.1.11", flood: true},
		{name: "REQUEST of what we did not offer", frame: ask(t, layers.DHCPMsgTypeRequest, nil, serverID("10.1.1.1"), requested("10.1.1.12")), typ: nak},
		{name: "REQUEST of another's offer", frame: ask(t, layers.DHCPMsgTypeRequest, nil, serverID("10.1.1.2"), requested("10.1.1.11"))},
		{name: "REQUEST after a reboot", frame: ask(t, layers.DHCPMsgTypeRequest, nil, requested("10.1.1.11")), typ: ack, yiaddr: "10.1.1.11"},
		{name: "REQUEST after a reboot, elsewhere", frame: ask(t, layers.DHCPMsgTypeRequest, nil, requested("192.168.0.7"), id), typ: nak, with: []layers.DHCPOption{id}},
		{name: "REQUEST to renew", frame: ask(t, layers.DHCPMsgTypeRequest, ciaddr("10.1.1.11")), typ: ack, yiaddr: "10.1.1.11", ciaddr: "10.1.1.11"},
		{name: "REQUEST to renew, by broadcast", frame: ask(t, layers.DHCPMsgTypeRequest, func(d *layers.DHCPv4) { ciaddr("10.1.1.11")(d); broadcast(d) }), typ: ack, yiaddr: "10.1.1.11", ciaddr: "10.1.1.11"},
		{name: "REQUEST to renew another address", frame: ask(t, layers.DHCPMsgTypeRequest, ciaddr("10.1.1.12")), typ: nak},
		{name: "INFORM", frame: ask(t, layers.DHCPMsgTypeInform, ciaddr("10.1.1.11")), typ: ack, ciaddr: "10.1.1.11",
			without: []layers.DHCPOption{option(layers.DHCPOptLeaseTime), option(layers.DHCPOptT1), option(layers.DHCPOptT2)}},
		{name: "INFORM from another address", frame: ask(t, layers.DHCPMsgTypeInform, ciaddr("10.1.1.12"))},
		{name: "INFORM from none", frame: ask(t, layers.DHCPMsgTypeInform, nil)},
		{name: "DECLINE", frame: ask(t, layers.DHCPMsgTypeDecline, nil, serverID("10.1.1.1"), requested("10.1.1.11"))},
		{name: "RELEASE", frame: ask(t, layers.DHCPMsgTypeRelease, ciaddr("10.1.1.11"), serverID("10.1.1.1"))},
		{name: "OFFER", frame: ask(t, layers.DHCPMsgTypeOffer, nil)},
		{name: "type of another RFC", frame: ask(t, layers.DHCPMsgType(10), nil)},
		{name: "DISCOVER by a relay", frame: ask(t, layers.DHCPMsgTypeDiscover, func(d *layers.DHCPv4) { d.RelayAgentIP = ip4("10.1.1.5") })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := bytes.Clone(tt.frame)
			got, err := answer(t, tt.frame, testLease())
			if err != nil || !bytes.Equal(tt.frame, before) {
				t.Fatalf("error %v, or the request changed", err)
			}
			if (got != nil) != (tt.typ != 0) {
				t.Fatalf("reply %x", got)
			}
			if got == nil {
				return
			}
			eth, ip, d := read(t, got)
			to, toIP, flags := macVM, addr("10.1.1.11"), binary.BigEndian.Uint16(tt.frame[52:])
			if tt.flood || tt.typ == nak {
				to, toIP = packet.Broadcast, addr("255.255.255.255")
			}
			if !bytes.Equal(eth.DstMAC, to[:]) || !bytes.Equal(eth.SrcMAC, macRouter[:]) || !ip.DstIP.Equal(toIP.AsSlice()) || !ip.SrcIP.Equal(ip4("10.1.1.1")) {
				t.Errorf("%v %v to %v %v, want to %v %v", eth.SrcMAC, ip.SrcIP, eth.DstMAC, ip.DstIP, to, toIP)
			}
			yiaddr, ciaddr := net.IPv4zero, net.IPv4zero
			if tt.yiaddr != "" {
				yiaddr = ip4(tt.yiaddr)
			}
			if tt.ciaddr != "" {
				ciaddr = ip4(tt.ciaddr)
			}
			if d.Operation != layers.DHCPOpReply || d.HardwareType != layers.LinkTypeEthernet || d.HardwareLen != 6 || !bytes.Equal(d.ClientHWAddr, macVM[:]) ||
				d.Xid != 0xdeadbeef || d.Flags != flags || d.HardwareOpts != 0 || !d.YourClientIP.Equal(yiaddr) || !d.ClientIP.Equal(ciaddr) ||
				!d.NextServerIP.Equal(net.IPv4zero) || !d.RelayAgentIP.Equal(net.IPv4zero) {
				t.Errorf("message %+v, want yiaddr %v, ciaddr %v", d, yiaddr, ciaddr)
			}
			want := leased(tt.typ)
			if tt.typ == nak {
				want = map[layers.DHCPOpt][]byte{layers.DHCPOptMessageType: {byte(nak)}, layers.DHCPOptServerID: ip4("10.1.1.1")}
			}
			for _, o := range tt.without {
				delete(want, o.Type)
			}
			for _, o := range tt.with {
				want[o.Type] = o.Data
			}
			have := options(d)
			for o, data := range want {
				if !bytes.Equal(have[o], data) {
					t.Errorf("option %v is %v, want %v", o, have[o], data)
				}
				delete(have, o)
			}
			if len(have) != 0 {
				t.Errorf("options that nobody wanted: %v", have)
			}
		})
	}
}

func TestA14Malformed(t *testing.T) {
	discover := func() []byte { return ask(t, layers.DHCPMsgTypeDiscover, nil) }
	mod := func(frame []byte, change func(f []byte)) []byte { change(frame); return frame }
	shorter := func(n int) []byte { // of a message of n bytes
		f := discover()[:42+n]
		packet.IPv4(f[14:]).SetTotalLen(uint16(len(f) - 14))
		packet.UDP(f[34:]).SetLength(uint16(len(f) - 34))
		return f
	}
	for name, frame := range map[string][]byte{
		"no type":                       ask(t, layers.DHCPMsgTypeUnspecified, nil),
		"REQUEST of nothing":            ask(t, layers.DHCPMsgTypeRequest, nil),
		"REQUEST of our offer, no more": ask(t, layers.DHCPMsgTypeRequest, nil, serverID("10.1.1.1")),
		"REQUEST of 0.0.0.0":            ask(t, layers.DHCPMsgTypeRequest, nil, requested("0.0.0.0")),
		"REQUEST of half an address":    ask(t, layers.DHCPMsgTypeRequest, nil, option(layers.DHCPOptRequestIP, 10, 1)),
		"reply":                         ask(t, layers.DHCPMsgTypeDiscover, func(d *layers.DHCPv4) { d.Operation = layers.DHCPOpReply }),
		"for another MAC":               ask(t, layers.DHCPMsgTypeDiscover, func(d *layers.DHCPv4) { d.ClientHWAddr = macRouter[:] }),
		"from a group":                  mod(ask(t, layers.DHCPMsgTypeDiscover, func(d *layers.DHCPv4) { d.ClientHWAddr = packet.Broadcast[:] }), func(f []byte) { copy(f[6:], packet.Broadcast[:]) }),
		"hardware type":                 mod(discover(), func(f []byte) { f[43] = 6 }),
		"address length":                mod(discover(), func(f []byte) { f[44] = 8 }),
		"address length of 255":         mod(discover(), func(f []byte) { f[44] = 255 }),
		"magic cookie":                  mod(discover(), func(f []byte) { f[42+236]++ }),
		"option beyond the message":     mod(discover(), func(f []byte) { f[42+241] = 255 }),
		"no end":                        shorter(243),
		"no options":                    shorter(240),
		"no magic cookie":               shorter(239),
		"half a header":                 shorter(100),
		"nothing":                       shorter(0),
		"UDP length below its header":   mod(discover(), func(f []byte) { f[38], f[39] = 0, 7 }),
		"UDP length beyond the packet":  mod(discover(), func(f []byte) { f[38]++ }),
		"UDP length one too long":       mod(append(discover(), 0xff), func(f []byte) { packet.UDP(f[34:]).SetLength(uint16(len(f) - 34)) }),
		"client identifier":             ask(t, layers.DHCPMsgTypeDiscover, nil, option(layers.DHCPOptClientID, make([]byte, 255)...), option(layers.DHCPOptClientID, make([]byte, 100)...)),
		"tagged":                        append(append(bytes.Clone(discover()[:12]), 0x81, 0, 0, 5), discover()[12:]...),
		"from a server":                 mod(discover(), func(f []byte) { f[35], f[37] = 67, 68 }),
	} {
		got, err := answer(t, frame, testLease())
		if got != nil || !errors.Is(err, ErrMalformed) || !strings.HasPrefix(err.Error(), "dhcp: ") {
			t.Errorf("%s: %x, %v", name, got, err)
		}
	}
}

func TestA14Leases(t *testing.T) {
	many := slices.Repeat([]netip.Addr{addr("10.1.1.53")}, 200)
	frame := ask(t, layers.DHCPMsgTypeDiscover, nil)
	for _, tt := range []struct {
		name   string
		change func(l *Lease)
		want   map[layers.DHCPOpt][]byte // nil values are absent; no map: no lease
		server string
	}{
		{"no router", func(l *Lease) { l.Router = netip.Addr{} }, map[layers.DHCPOpt][]byte{layers.DHCPOptRouter: nil, layers.DHCPOptServerID: ip4("10.1.1.1")}, "10.1.1.1"},
		{"another router", func(l *Lease) { l.Router = addr("10.1.1.254") }, map[layers.DHCPOpt][]byte{layers.DHCPOptRouter: ip4("10.1.1.254"), layers.DHCPOptServerID: ip4("10.1.1.254")}, "10.1.1.254"},
		{"router elsewhere", func(l *Lease) { l.Router = addr("169.254.1.1"); l.Prefix = netip.MustParsePrefix("10.1.1.11/32") },
			map[layers.DHCPOpt][]byte{layers.DHCPOptRouter: ip4("169.254.1.1"), layers.DHCPOptSubnetMask: {255, 255, 255, 255}}, "169.254.1.1"},
		{"wider prefix, not masked", func(l *Lease) { l.Prefix = netip.MustParsePrefix("10.1.1.11/12"); l.Router = netip.Addr{} },
			map[layers.DHCPOpt][]byte{layers.DHCPOptSubnetMask: {255, 240, 0, 0}}, "10.0.0.1"},
		{"no MTU", func(l *Lease) { l.MTU = 0 }, map[layers.DHCPOpt][]byte{layers.DHCPOptInterfaceMTU: nil}, "10.1.1.1"},
		{"no DNS", func(l *Lease) { l.DNS = nil }, map[layers.DHCPOpt][]byte{layers.DHCPOptDNS: nil}, "10.1.1.1"},
		{"DNS of IPv6 alone", func(l *Lease) { l.DNS = l.DNS[1:2] }, map[layers.DHCPOpt][]byte{layers.DHCPOptDNS: nil}, "10.1.1.1"},
		{"more DNS than fit into an option", func(l *Lease) { l.DNS = many }, map[layers.DHCPOpt][]byte{layers.DHCPOptDNS: bytes.Repeat(ip4("10.1.1.53"), 63)}, "10.1.1.1"},

		{"no CA", func(l *Lease) { l.CA = netip.Addr{} }, nil, ""},
		{"CA of L2Only", func(l *Lease) { l.CA = netip.IPv4Unspecified() }, nil, ""},
		{"CA of L2Only, in a prefix", func(l *Lease) { l.CA = netip.IPv4Unspecified(); l.Prefix = netip.MustParsePrefix("0.0.0.0/0") }, nil, ""},
		{"CA of IPv6", func(l *Lease) { l.CA = addr("fd00:1::11"); l.Prefix = netip.MustParsePrefix("fd00:1::/64") }, nil, ""},
		{"CA outside of the prefix", func(l *Lease) { l.CA = addr("10.1.2.11") }, nil, ""},
		{"no prefix", func(l *Lease) { l.Prefix = netip.Prefix{} }, nil, ""},
		{"no prefix, no router", func(l *Lease) { l.Prefix, l.Router = netip.Prefix{}, netip.Addr{} }, nil, ""},
		{"prefix of IPv6", func(l *Lease) { l.Prefix = netip.MustParsePrefix("::/0") }, nil, ""},
		{"CA of the router", func(l *Lease) { l.Router = l.CA }, nil, ""},
		{"no room for a router", func(l *Lease) { l.Prefix = netip.MustParsePrefix("10.1.1.11/32"); l.Router = netip.Addr{} }, nil, ""},
		{"CA where the router would be", func(l *Lease) { l.Prefix = netip.MustParsePrefix("10.1.1.10/31"); l.Router = netip.Addr{} }, nil, ""},
		{"the last address", func(l *Lease) {
			l.CA = addr("255.255.255.255")
			l.Prefix = netip.MustParsePrefix("255.255.255.255/32")
			l.Router = netip.Addr{}
		}, nil, ""},
		{"router of IPv6", func(l *Lease) { l.Router = addr("fd00:1::1") }, nil, ""},
		{"no MAC", func(l *Lease) { l.MAC = packet.MAC{} }, nil, ""},
		{"group's MAC", func(l *Lease) { l.MAC = packet.Broadcast }, nil, ""},
	} {
		lease := testLease()
		tt.change(lease)
		got, err := answer(t, frame, lease)
		if tt.want == nil {
			if got != nil || !errors.Is(err, ErrLease) || !strings.HasPrefix(err.Error(), "dhcp: ") {
				t.Errorf("%s: %x, %v", tt.name, got, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		_, ip, d := read(t, got)
		have := options(d)
		for o, data := range tt.want {
			if !bytes.Equal(have[o], data) || (have[o] == nil) != (data == nil) {
				t.Errorf("%s: option %v is %v, want %v", tt.name, o, have[o], data)
			}
		}
		if ip.SrcIP.String() != tt.server {
			t.Errorf("%s: from %v, want %s", tt.name, ip.SrcIP, tt.server)
		}
	}
	// The longest answer that a client must take, with what else fills it.
	lease := testLease()
	lease.DNS = many
	for n := range 256 {
		got, err := answer(t, ask(t, layers.DHCPMsgTypeDiscover, nil, option(layers.DHCPOptClientID, make([]byte, n)...)), lease)
		if err != nil {
			t.Fatalf("client identifier of %d bytes: %v", n, err)
		}
		if n >= 2 { // below, gopacket's writer leaves the option out
			_, ip, d := read(t, got)
			if dns := options(d)[layers.DHCPOptDNS]; n > 20 && (576-int(ip.Length) >= 4 || len(dns) == 0) && len(dns) != 252 {
				t.Errorf("client identifier of %d bytes: %d of DNS in %d", n, len(dns), ip.Length)
			}
		}
	}
}

// R10: a UDP checksum that comes out as 0 is sent as its other form.
func TestA14_R10ChecksumOfZero(t *testing.T) {
	discover := func(xid uint32) []byte {
		return ask(t, layers.DHCPMsgTypeDiscover, func(d *layers.DHCPv4) { d.Xid = xid })
	}
	got, err := answer(t, discover(0), testLease())
	if err != nil {
		t.Fatal(err)
	}
	got, err = answer(t, discover(uint32(packet.UDP(got[34:]).Checksum())), testLease())
	if err != nil {
		t.Fatal(err)
	}
	if sum := packet.UDP(got[34:]).Checksum(); sum != 0xffff {
		t.Errorf("checksum %#04x", sum)
	}
}

// reply is a server's message.
func reply(t testing.TB, typ layers.DHCPMsgType, change func(d *layers.DHCPv4), options ...layers.DHCPOption) []byte {
	frame := ask(t, typ, func(d *layers.DHCPv4) {
		d.Operation, d.YourClientIP = layers.DHCPOpReply, ip4("10.1.1.77")
		if change != nil {
			change(d)
		}
	}, options...)
	frame[35], frame[37] = 67, 68
	return frame
}

func TestA16Ack(t *testing.T) {
	day := option(layers.DHCPOptLeaseTime, 0, 1, 0x51, 0x80)
	yiaddr := func(s string) func(d *layers.DHCPv4) { return func(d *layers.DHCPv4) { d.YourClientIP = ip4(s) } }
	tagged := reply(t, layers.DHCPMsgTypeAck, nil, day)
	tagged = append(append(bytes.Clone(tagged[:12]), 0x81, 0, 0, 5), tagged[12:]...)
	cut := reply(t, layers.DHCPMsgTypeAck, nil, day)[:200]
	packet.IPv4(cut[14:]).SetTotalLen(uint16(len(cut) - 14))
	message := reply(t, layers.DHCPMsgTypeAck, nil, day)[42:]
	over6 := append(make([]byte, 62), message...)
	packet.Ethernet(over6).SetEtherType(packet.EtherTypeIPv6)
	packet.IPv6(over6[14:]).Encode(packet.IPv6Fields{PayloadLen: uint16(len(over6) - 54), NextHeader: packet.ProtoUDP})
	packet.UDP(over6[54:]).Encode(packet.UDPFields{SrcPort: 547, DstPort: 546, Length: uint16(len(over6) - 54)})
	ours, err := answer(t, ask(t, layers.DHCPMsgTypeRequest, nil, requested("10.1.1.11")), testLease())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		frame []byte
		ca    string // "": tells nothing
		lease time.Duration
	}{
		{"ACK", reply(t, layers.DHCPMsgTypeAck, nil, day), "10.1.1.77", 24 * time.Hour},
		{"ACK of our own", ours, "10.1.1.11", 24 * time.Hour},
		{"ACK in a VLAN", tagged, "10.1.1.77", 24 * time.Hour},
		{"ACK for ever", reply(t, layers.DHCPMsgTypeAck, nil, option(layers.DHCPOptLeaseTime, 255, 255, 255, 255)), "10.1.1.77", (1<<32 - 1) * time.Second},
		{"ACK of an INFORM", reply(t, layers.DHCPMsgTypeAck, yiaddr("0.0.0.0")), "", 0},
		{"ACK of nothing", reply(t, layers.DHCPMsgTypeAck, yiaddr("0.0.0.0"), day), "", 0},
		{"ACK of a group", reply(t, layers.DHCPMsgTypeAck, yiaddr("224.0.0.1"), day), "", 0},
		{"ACK of loopback", reply(t, layers.DHCPMsgTypeAck, yiaddr("127.0.0.1"), day), "", 0},
		{"ACK of everyone", reply(t, layers.DHCPMsgTypeAck, yiaddr("255.255.255.255"), day), "", 0},
		{"ACK without a time", reply(t, layers.DHCPMsgTypeAck, nil), "", 0},
		{"ACK for no time", reply(t, layers.DHCPMsgTypeAck, nil, option(layers.DHCPOptLeaseTime, 0, 0, 0, 0)), "", 0},
		{"ACK for a group", reply(t, layers.DHCPMsgTypeAck, func(d *layers.DHCPv4) { d.ClientHWAddr = packet.Broadcast[:] }, day), "", 0},
		{"ACK for no MAC", reply(t, layers.DHCPMsgTypeAck, func(d *layers.DHCPv4) { d.ClientHWAddr = make([]byte, 6) }, day), "", 0},
		{"OFFER", reply(t, layers.DHCPMsgTypeOffer, nil, day), "", 0},
		{"NAK", reply(t, layers.DHCPMsgTypeNak, nil, day), "", 0},
		{"ACK that is a request", reply(t, layers.DHCPMsgTypeAck, func(d *layers.DHCPv4) { d.Operation = layers.DHCPOpRequest }, day), "", 0},
		{"ACK to a server", ask(t, layers.DHCPMsgTypeAck, func(d *layers.DHCPv4) { d.Operation, d.YourClientIP = layers.DHCPOpReply, ip4("10.1.1.77") }, day), "", 0},
		{"ACK in a first fragment", func() []byte { f := reply(t, layers.DHCPMsgTypeAck, nil, day); f[20] = 0x20; return f }(), "", 0},
		{"ACK cut off", cut, "", 0},
		{"ACK over IPv6", over6, "", 0},
		{"REQUEST", ask(t, layers.DHCPMsgTypeRequest, nil, requested("10.1.1.11")), "", 0},
		{"ARP", packet.AppendARP(nil, &packet.ARPFrame{}), "", 0},
	} {
		var l packet.Layout
		if f := packet.Parse(tt.frame, &l); f != packet.OK {
			t.Fatalf("%s: %v", tt.name, f)
		}
		ca, mac, lease, ok := Ack(tt.frame, &l)
		if tt.ca == "" {
			if ok || ca.IsValid() || mac != (packet.MAC{}) || lease != 0 {
				t.Errorf("%s: %v, %v, %v, %v", tt.name, ca, mac, lease, ok)
			}
			continue
		}
		if !ok || ca.String() != tt.ca || mac != macVM || lease != tt.lease {
			t.Errorf("%s: %v, %v, %v, %v, want %s for %v", tt.name, ca, mac, lease, ok, tt.ca, tt.lease)
		}
	}
}

// Whatever a VM or a tenant's server sends is answered by a good frame, refused
// with an error, or met with silence.
func FuzzAnswer(f *testing.F) {
	for _, typ := range []layers.DHCPMsgType{layers.DHCPMsgTypeDiscover, layers.DHCPMsgTypeRequest, layers.DHCPMsgTypeInform, layers.DHCPMsgTypeDecline} {
		for _, frame := range [][]byte{
			ask(f, typ, nil), ask(f, typ, nil, requested("10.1.1.11"), option(layers.DHCPOptClientID, 1, 2, 3)), ask(f, typ, nil, requested("10.1.1.12")),
			ask(f, typ, func(d *layers.DHCPv4) { d.ClientIP = ip4("10.1.1.11"); d.Flags = 0x8000 }, serverID("10.1.1.1")),
		} {
			f.Add(frame[42:])
		}
	}
	f.Add(reply(f, layers.DHCPMsgTypeAck, nil, option(layers.DHCPOptLeaseTime, 0, 0, 1, 0))[42:])
	f.Fuzz(func(t *testing.T, message []byte) {
		if len(message) > 1400 {
			return
		}
		// The message is what is fuzzed; around it is what a client sends it in.
		frame := wrap(message, packet.Broadcast, macVM, netip.IPv4Unspecified(), packet.LimitedBroadcast)
		var l packet.Layout
		if fault := packet.Parse(frame, &l); fault != packet.OK {
			t.Fatal(fault)
		}
		if ca, mac, lease, ok := Ack(frame, &l); ok && (!ca.Is4() || ca.IsUnspecified() || mac.IsZero() || lease <= 0) {
			t.Fatalf("ACK %x: %v, %v, %v", message, ca, mac, lease)
		}
		frame[35], frame[37] = 68, 67
		before := bytes.Clone(frame)
		got, err := Answer(frame, &l, testLease())
		if !bytes.Equal(before, frame) || err != nil && (got != nil || !errors.Is(err, ErrMalformed)) {
			t.Fatalf("%x: %x, %v", message, got, err)
		}
		if got == nil {
			return
		}
		if fault := packet.Parse(got, &l); fault != packet.OK || int(l.End) != len(got) || l.End-l.L3 > 576 || !packet.DHCPServer(got, &l) || !packet.VerifyIPv4(packet.IPv4(got[14:])) ||
			packet.Checksum(got[34:], packet.PseudoHeader4([4]byte(got[26:]), [4]byte(got[30:]), 17, uint16(len(got)-34))) != 0 ||
			!bytes.Equal(got[42+4:42+8], message[4:8]) || !bytes.Equal(got[42+28:42+44], append(macVM[:], make([]byte, 10)...)) {
			t.Fatalf("%x answered by %x", message, got)
		}
		if ca, mac, lease, ok := Ack(got, &l); ok && (ca != addr("10.1.1.11") || mac != macVM || lease != Time) {
			t.Fatalf("%x answered by an ACK of %v for %v", message, ca, mac)
		}
	})
}
