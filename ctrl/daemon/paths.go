package daemon

import (
	"net/netip"
	"strconv"
	"time"

	"paca/ctrl/server"
	"paca/dataplane/fib"
	"paca/dataplane/packet"
	"paca/dataplane/worker"
)

// heardICMP takes in ICMP or ICMPv6 for a PA of this host: answers to a path test,
// and what the fabric says of path MTUs (M10).
//
// Anyone who can send to a PA can forge the latter. It is believed when it quotes a
// packet that this host may have sent: from the PA it came to, with the VSID of a
// virtual subnet that has VMs behind the PA it is about. Who knows these can make
// tenants' packets to that PA smaller, and never larger, for ten minutes.
func (c *control) heardICMP(now time.Time, p *worker.ControlFrame) {
	frame := p.Bytes()
	if int(p.Len) > len(frame) {
		shorten(frame)
	}
	var l packet.Layout
	if packet.Parse(frame, &l) != packet.OK {
		return
	}
	if c.test != nil && c.test.port == p.Port && c.test.hear(now, frame, &l) {
		return
	}
	src, dst, size, mtu, ok := packet.ParseTooBig(frame, &l)
	if !ok {
		return
	}
	f := c.fib.Load()
	own := localPA(f, p.Port, l.TCI&packet.VIDMask, src)
	if own == nil || !behind(f, quotedVSID(frame, &l), dst) {
		return
	}
	changed, evicted := c.paths.TooBig(now, dst, size, mtu, int(f.Ports[p.Port].MTU))
	if evicted.IsValid() {
		c.pathMTU(evicted, 0)
	}
	if changed {
		c.pathMTU(dst, c.paths.MTU(dst))
	}
}

// pathMTU has the compiler told of a path MTU; 0: it is unknown again.
func (c *control) pathMTU(pa netip.Addr, mtu int) {
	is := "unknown"
	if mtu != 0 {
		is = strconv.Itoa(mtu)
	}
	c.log.Debug("path MTU", "address", pa, "is", is)
	c.notify(server.Notice{Kind: server.PathMTU, PA: pa, Reason: is})
	c.facts.pathMTU[pa] = uint16(mtu)
	c.news = true
}

// localPA is this host's PA of that address on a port, in a VLAN, or nil.
func localPA(f *fib.FIB, port, vlan uint16, addr netip.Addr) *fib.PA {
	for i := range f.PAs {
		if pa := &f.PAs[i]; pa.Port == port && pa.VLAN == vlan && pa.IP() == addr {
			return pa
		}
	}
	return nil
}

// quotedVSID is the VSID of the packet that a frame is about which ParseTooBig took.
func quotedVSID(frame []byte, l *packet.Layout) uint32 {
	quote := frame[l.L4+packet.ICMPLen : l.End]
	header := packet.IPv6Len
	if l.EtherType == packet.EtherTypeIPv4 {
		header = packet.IPv4(quote).HeaderLen()
	}
	return packet.NVGRE(quote[header:]).VSID()
}

// behind says whether a virtual subnet has VMs behind a PA of the fabric.
func behind(f *fib.FIB, vsid uint32, pa netip.Addr) bool {
	s := f.Subnet(vsid)
	if s == nil {
		return false
	}
	for i := range s.Remotes {
		if f.Remote(&s.Remotes[i]).IP() == pa {
			return true
		}
	}
	return false
}

// shorten makes the beginning of an IP packet, untagged or tagged once, look like the
// whole of it.
func shorten(frame []byte) {
	l3 := packet.EthernetLen
	if packet.Ethernet(frame).EtherType() == packet.EtherTypeVLAN {
		l3 += packet.VLANLen
	}
	switch ip := frame[l3:]; ip[0] >> 4 {
	case 4:
		packet.IPv4(ip).SetTotalLen(uint16(len(ip)))
	case 6:
		packet.IPv6(ip).SetPayloadLen(uint16(len(ip) - packet.IPv6Len))
	}
}
