package daemon

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"paca/ctrl/api"
	pacav1 "paca/ctrl/api/paca/v1"
	"paca/dataplane/fib"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
)

// How a path is tested: so many sizes at most, enough for the largest port's, each so
// many times, waiting so long for an answer.
const (
	testSizes = 16
	testTries = 2
	testWait  = 500 * time.Millisecond

	// What is tried when the largest does not pass: every IPv4 host takes as much, and
	// every link of IPv6 carries it.
	testFloor4 = 576
	testFloor6 = 1280
)

// pathTest finds out with echo requests, padded with zeros and not to be fragmented,
// what the way from a PA of this host to one of another host carries: whether a
// packet of one size passes, or the largest that does. It does not look at what is
// known of the path, and changes nothing of it.
//
// It is a state machine of the control plane's: step sends what is due, hear takes
// answers.
type pathTest struct {
	src, dst netip.Addr
	port     uint16 // of src
	mtu      int    // of that port
	ident    uint16 // of the echo requests

	probes   []pathProbe // what came of each size, in the order in which they were tried
	attempts int         // packets sent

	only  int // the size to try, 0: find the largest
	floor int
	low   int  // the largest that passed, or 0
	high  int  // the smallest that did not, or beyond what the port carries
	told  bool // a router told what is below high

	size int // on its way; 0: none
	seq  uint16
	sent []time.Time // when each try of size was, the last with number seq
	due  time.Time   // of the next try, or of giving up
	over bool

	done chan struct{} // closed when it is over
}

// pathProbe is what came of packets of one size, in bytes of the outer IP packet.
type pathProbe struct {
	size      int
	roundTrip time.Duration // 0: none came back
	reason    string        // why not, as far as it is known
}

// newPathTest makes a test of the way from a PA on a port of this MTU. size is the only
// one to try in bytes of the outer IP packet, or 0.
func newPathTest(src, dst netip.Addr, port uint16, mtu, size int, ident uint16) *pathTest {
	t := &pathTest{
		src: src, dst: dst, port: port, mtu: mtu, ident: ident, only: size,
		floor: testFloor4, high: mtu + 1,
		done: make(chan struct{}),
	}
	if dst.Is6() {
		t.floor = testFloor6
	}
	return t
}

// step sends what is due over the FIB's way to the PA, and says when it wants to be
// called again; zero: it is over.
func (t *pathTest) step(now time.Time, f *fib.FIB, send func(port uint16, frame []byte, size int)) time.Time {
	for t.size != 0 || t.start(now) {
		switch {
		case now.Before(t.due):
			return t.due
		case len(t.sent) == testTries:
			t.failed("no answer", t.size)
			continue
		}
		adj := wayTo(f, t.src, t.dst)
		if adj == nil || adj.State != fib.AdjReady {
			t.failed("no way there: "+wayState(adj), t.size)
			continue
		}
		t.seq++
		t.sent, t.due = append(t.sent, now), now.Add(testWait)
		t.attempts++
		frame := t.request(adj)
		send(t.port, frame, len(frame)-t.headers()+t.size)
		return t.due
	}
	t.over = true
	close(t.done)
	return time.Time{}
}

// start begins with the next size that the port carries, if there is one.
func (t *pathTest) start(now time.Time) bool {
	for {
		if t.size = t.next(); t.size == 0 {
			return false
		}
		t.sent, t.due = t.sent[:0], now
		t.probes = append(t.probes, pathProbe{size: t.size})
		if t.size <= t.mtu {
			return true
		}
		t.failed(fmt.Sprintf("larger than the port's mtu of %d", t.mtu), t.size)
	}
}

// next is the size to be tried now, 0: none any more.
func (t *pathTest) next() int {
	tried := len(t.probes)
	switch {
	case t.only != 0 && tried == 0:
		return t.only
	case t.only != 0, tried == testSizes, t.high-t.low <= 1:
		return 0
	case tried == 0:
		return t.mtu
	case t.told:
		return t.high - 1
	case t.low > 0:
		return (t.low + t.high) / 2
	case t.floor < t.high:
		return t.floor
	}
	return 0
}

// failed ends the tries of a size: one of high does not pass.
func (t *pathTest) failed(why string, high int) {
	t.probes[len(t.probes)-1].reason = why
	t.told = high < t.size
	t.high = min(t.high, high)
	t.size = 0
}

func (t *pathTest) passed(roundTrip time.Duration) {
	t.probes[len(t.probes)-1].roundTrip = max(roundTrip, 1)
	t.told = false
	t.low = max(t.low, t.size)
	t.size = 0
}

// headers is the length of the IP and ICMP headers in bytes.
func (t *pathTest) headers() int {
	if t.dst.Is4() {
		return packet.IPv4Len + packet.ICMPLen
	}
	return packet.IPv6Len + packet.ICMPLen
}

// request is the echo request, but for its padding. Zeros add nothing to a checksum.
func (t *pathTest) request(adj *fib.Adj) []byte {
	ethernet := int(adj.Len) - packet.NVGRELen - (t.headers() - packet.ICMPLen)
	frame := make([]byte, ethernet+t.headers())
	copy(frame, adj.Header[:ethernet])
	ip, icmp := frame[ethernet:], frame[len(frame)-packet.ICMPLen:]
	echo := packet.ICMPFields{Rest: uint32(t.ident)<<16 | uint32(t.seq)}
	if t.dst.Is4() {
		packet.IPv4(ip).Encode(packet.IPv4Fields{
			TotalLen: uint16(t.size), ID: t.seq, Fragment: packet.IPv4DontFragment, TTL: 128, Protocol: packet.ProtoICMP, Src: t.src.As4(), Dst: t.dst.As4(),
		})
		echo.Type = packet.ICMPv4EchoRequest
		packet.ICMPv4(icmp).Encode(echo)
		return frame
	}
	src, dst, length := t.src.As16(), t.dst.As16(), t.size-packet.IPv6Len
	packet.IPv6(ip).Encode(packet.IPv6Fields{PayloadLen: uint16(length), NextHeader: packet.ProtoICMPv6, HopLimit: 128, Src: src, Dst: dst})
	echo.Type = packet.ICMPv6EchoRequest
	m := packet.ICMPv6(icmp)
	m.Encode(echo, src, dst)
	m.SetChecksum(0)
	m.SetChecksum(packet.Checksum(m, packet.PseudoHeader6(src, dst, packet.ProtoICMPv6, uint32(length)))) // of the whole, not of what is here
	return frame
}

// hear takes in an ICMP message to the PA that the test is from, and reports whether
// it was an answer.
func (t *pathTest) hear(now time.Time, frame []byte, l *packet.Layout) bool {
	if t.size == 0 || l.L4 == 0 {
		return false
	}
	var from, to netip.Addr
	var reply, tooBig bool
	mtu := 0
	msg := packet.ICMPv4(frame[l.L4:l.End]) // of either version, for what they have in common
	body := msg[packet.ICMPLen:]
	switch {
	case l.EtherType == packet.EtherTypeIPv4 && l.Proto == packet.ProtoICMP && t.src.Is4():
		ip := packet.IPv4(frame[l.L3:])
		from, to = ip.Src(), ip.Dst()
		reply = msg.Type() == packet.ICMPv4EchoReply
		tooBig = msg.Type() == packet.ICMPv4Unreachable && msg.Code() == packet.ICMPv4FragmentationNeeded
		mtu = int(msg.MTU())
	case l.EtherType == packet.EtherTypeIPv6 && l.Proto == packet.ProtoICMPv6 && t.src.Is6():
		ip := packet.IPv6(frame[l.L3:])
		from, to = ip.SrcAddr(), ip.DstAddr()
		reply = msg.Type() == packet.ICMPv6EchoReply
		tooBig = msg.Type() == packet.ICMPv6PacketTooBig
		mtu = int(packet.ICMPv6(msg).MTU())
	}
	if to != t.src {
		return false
	}
	if reply {
		try := t.try(msg)
		if from != t.dst || try < 0 {
			return false
		}
		t.passed(now.Sub(t.sent[try]))
		return true
	}
	if !t.quoted(body) {
		return false
	}
	switch {
	case !tooBig:
		t.failed(fmt.Sprintf("%v says that it does not get there (ICMP type %d, code %d)", from, msg.Type(), msg.Code()), t.size)
	case mtu >= minTestSize && mtu < t.size:
		t.failed(fmt.Sprintf("too big: the next hop after %v takes %d bytes", from, mtu), mtu+1)
	default:
		t.failed(fmt.Sprintf("too big, says %v", from), t.size)
	}
	return true
}

// minTestSize is the least that an IPv4 hop may carry (RFC 791).
const minTestSize = 68

// quoted says whether an ICMP error is about a packet on its way: it quotes its IP
// header and at least the first eight bytes behind.
func (t *pathTest) quoted(body []byte) bool {
	var src, dst netip.Addr
	var echo []byte
	switch {
	case t.src.Is4() && len(body) >= packet.IPv4Len+packet.ICMPLen:
		ip := packet.IPv4(body) // ours: without options
		if body[0] == 0x45 && ip.Protocol() == packet.ProtoICMP && body[packet.IPv4Len] == packet.ICMPv4EchoRequest {
			src, dst, echo = ip.Src(), ip.Dst(), body[packet.IPv4Len:]
		}
	case t.src.Is6() && len(body) >= packet.IPv6Len+packet.ICMPLen:
		ip := packet.IPv6(body)
		if ip.NextHeader() == packet.ProtoICMPv6 && body[packet.IPv6Len] == packet.ICMPv6EchoRequest {
			src, dst, echo = ip.SrcAddr(), ip.DstAddr(), body[packet.IPv6Len:]
		}
	}
	return echo != nil && src == t.src && dst == t.dst && t.try(echo) >= 0
}

// try says which of the requests on their way an echo message is about, an index
// into sent; -1: none.
func (t *pathTest) try(echo packet.ICMPv4) int {
	back := t.seq - echo.Sequence() // 0: the last that was sent
	if echo.Ident() != t.ident || int(back) >= len(t.sent) {
		return -1
	}
	return len(t.sent) - 1 - int(back)
}

// wayTo is how a PA of this host gets to a PA of the fabric; nil: it is none of this
// host's, or no record has the other.
func wayTo(f *fib.FIB, src, dst netip.Addr) *fib.Adj {
	own := f.OwnPA(src)
	if own == fib.None {
		return nil
	}
	return f.Way(dst, own)
}

func wayState(adj *fib.Adj) string {
	if adj == nil {
		return "it is no more of policy"
	}
	return adj.State.String()
}

// testPath tests the way to a PA of the fabric from one of this host's, or the
// likeliest if source is the zero Addr, and waits for the end. One test runs at a
// time: others wait for theirs.
func (c *control) testPath(ctx context.Context, pa, source netip.Addr, size int) (*pathTest, error) {
	select {
	case c.testing <- struct{}{}:
		defer func() { <-c.testing }()
	case <-ctx.Done():
		return nil, fmt.Errorf("another path is being tested: %w", ctx.Err())
	}
	t, err := c.beginTest(pa, source, size)
	if err != nil {
		return nil, err
	}
	c.wakeUp()
	select {
	case <-t.done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.test = nil
	return t, err
}

func (c *control) beginTest(pa, source netip.Addr, size int) (*pathTest, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.fib.Load()
	from, best, theirs := -1, 0, false
	for i := range f.PAs {
		own := &f.PAs[i]
		switch {
		case own.IP() == pa:
			return nil, api.Refuse(pacav1.ErrorCode_ERROR_CODE_INVALID, "pa", "P13", "%v is a provider address of this host", pa)
		case source.IsValid() && own.IP() != source, own.Port == fib.None, own.V6 != pa.Is6():
			continue
		}
		adj := f.Way(pa, uint16(i))
		if adj == nil {
			return nil, api.Refuse(pacav1.ErrorCode_ERROR_CODE_NOT_FOUND, "pa", "P5", "no lookup record has provider address %v", pa)
		}
		rank := 2 * int(adj.State)
		if f.Owner(own.IP()) == 0 {
			rank++ // rather from the host's own
		} else if f.Owner(pa) != 0 {
			theirs = true // and the VM's of pa to answer
			continue
		}
		if from < 0 || rank > best {
			from, best = i, rank
		}
	}
	switch {
	case from >= 0:
	case theirs:
		return nil, api.Refuse(pacav1.ErrorCode_ERROR_CODE_INVALID, "source_pa", "R5", "%v is a rewritten VM's own: only a provider address of this host that is no VM's own can test the way to it", pa)
	case source.IsValid():
		return nil, api.Refuse(pacav1.ErrorCode_ERROR_CODE_NOT_FOUND, "source_pa", "P13", "%v is not a provider address of this host on an open port, in the family of %v", source, pa)
	default:
		return nil, api.Refuse(pacav1.ErrorCode_ERROR_CODE_NOT_FOUND, "source_pa", "P13", "this host has no provider address on an open port in the family of %v", pa)
	}
	own := &f.PAs[from]
	c.test = newPathTest(own.IP(), pa, own.Port, int(f.Ports[own.Port].MTU), size, uint16(rand.Uint32()))
	return c.test, nil
}

// TestPath implements server.Host.
func (h *report) TestPath(ctx context.Context, pa, source netip.Addr, size int) (*pacav1.TestPathResponse, error) {
	t, err := h.control.testPath(ctx, pa, source, size)
	if err != nil {
		return nil, err
	}
	r := &pacav1.TestPathResponse{Pa: t.dst.String(), SourcePa: t.src.String(), Largest: uint32(t.low), Attempts: uint32(t.attempts)}
	for _, p := range t.probes {
		us := uint32(0)
		if p.roundTrip > 0 {
			us = uint32(max(1, p.roundTrip.Microseconds()))
			if r.RoundTripUs == 0 || us < r.RoundTripUs {
				r.RoundTripUs = us
			}
		}
		r.Probes = append(r.Probes, &pacav1.PathProbe{Size: uint32(p.size), Passed: us > 0, RoundTripUs: us, Reason: p.reason})
	}
	return r, nil
}

// PathMTUs implements server.Host.
func (h *report) PathMTUs() []*pacav1.PathMTU {
	h.mu.RLock()
	defer h.mu.RUnlock()
	h.control.mu.Lock() // no newer version is made meanwhile, in places of f.Locals that are free
	f, now := h.fib.Load(), time.Now()
	learned := maps.Collect(h.control.paths.All())
	senders := map[uint32]uint16{} // the PA that VMs of a virtual subnet send from, by VSID
	for _, l := range f.Locals {
		if l.Port != fib.None && int(l.Port) < len(f.Ports) {
			senders[f.Ports[l.Port].VSID] = l.PA
		}
	}
	h.control.mu.Unlock()
	if len(f.PAs) == 0 {
		return nil
	}
	type row struct {
		pa netip.Addr
		*pacav1.PathMTU
	}
	var all []row
	for o := range h.book.All(policy.KindVirtualSubnet) {
		vsid := uint32(o.(policy.VirtualSubnet).VSID)
		s := f.Subnet(vsid)
		if s == nil {
			continue
		}
		remotes := s.Remotes
		if s.Mode == policy.Rewrite {
			remotes = (*host)(h).rewritten(f, s)
		}
		for i := range remotes {
			pa, m := f.Remote(&remotes[i]).IP(), (*host)(h).pathMTU(f, &remotes[i], senders[vsid])
			m.Vsid, m.Pa = vsid, pa.String()
			if path, ok := learned[pa]; ok {
				m.PathMtu, m.AgeSeconds = uint32(path.MTU), uint64(max(0, now.Sub(path.Told)).Seconds())
			}
			all = append(all, row{pa, m})
		}
	}
	slices.SortFunc(all, func(a, b row) int { return cmp.Or(cmp.Compare(a.Vsid, b.Vsid), a.pa.Compare(b.pa)) })
	mtus := make([]*pacav1.PathMTU, len(all))
	for i := range all {
		mtus[i] = all[i].PathMTU
	}
	return mtus
}

// rewritten are the VMs of a rewrite subnet on other hosts, each with its PA. The
// caller holds h.mu.
func (h *host) rewritten(f *fib.FIB, s *fib.Subnet) (all []fib.Entry) {
	for r := range h.book.RecordsIn(policy.VSID(s.VSID)) {
		e := f.Lookup(s.RD, r.CA)
		if r.CA.IsUnspecified() {
			e = f.ByMAC(s.VSID, r.MAC, r.CA.Is6())
		}
		if e != nil && e.Flags&(fib.LocalVM|fib.RouterCA) == 0 {
			all = append(all, *e)
		}
	}
	return all
}

// pathMTU is how large packets may be on their way to the PA of e: from the PA
// source if there is a way from that, else from the PA that has the best. The caller
// holds h.mu.
func (h *host) pathMTU(f *fib.FIB, e *fib.Entry, source uint16) *pacav1.PathMTU {
	if int(source) >= len(f.PAs) {
		source = 0
	}
	for s := range f.PAs {
		if f.Adj(e, source).State < fib.AdjUnresolved && f.Adj(e, uint16(s)).State > f.Adj(e, source).State {
			source = uint16(s)
		}
	}
	adj, remote := f.Adj(e, source), f.Remote(e)
	if adj.State < fib.AdjUnresolved {
		return &pacav1.PathMTU{LimitedBy: "no way: " + adj.State.String()}
	}
	m := &pacav1.PathMTU{
		SourcePa:  f.PAs[source].IP().String(),
		Limit:     uint32(adj.Limit[e.Mode]),
		LimitedBy: "port",
		Port:      h.portName(adj.Port),
		PortMtu:   uint32(f.Ports[adj.Port].MTU),
	}
	if remote.Limit[e.Mode] < adj.Limit[e.Mode] {
		m.Limit, m.LimitedBy = uint32(remote.Limit[e.Mode]), "path"
	}
	return m
}
