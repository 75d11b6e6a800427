package daemon

import (
	"net/netip"
	"runtime"
	"sync/atomic"
	"time"

	"paca/ctrl/metrics"
	"paca/ctrl/server"
	"paca/dataplane/count"
	"paca/dataplane/fib"
	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
	"paca/dataplane/unseen"
	"paca/dataplane/worker"
	"paca/modes/nvgre"
)

// nve is what hosts tell each other of where VMs are (N1-N12): UNREACHABLE and
// REDIRECT to who sends what is for a VM that is not here, and what others say of
// what we sent.
type nve struct {
	act bool // a REDIRECT changes policy (N12)

	sentTo buckets[netip.Addr] // by PA
	sent   bucket
	heard  buckets[netip.Addr]
	acted  recent[redirect]
	acts   bucket
	mode   *nvgre.NVGRE // puts the outer header on
	buffer [1]*mbuf.Mbuf

	// Messages that were sent, and that were believed (E9), by NVEKind.
	out, in [2]atomic.Uint64
}

// Rates of NVE control messages, to or from one PA and in all.
var (
	nvePerPA = rate{burst: 10, perSecond: 10}
	nveInAll = rate{burst: 100, perSecond: 100}
)

// actRate is how many REDIRECTs may change policy: each looks at all records of its
// VSID.
var actRate = rate{burst: 100, perSecond: 10}

// maxMessage is the longest message that is sent, in bytes with its outer header:
// one that every path carries (N6).
const maxMessage = packet.EthernetLen + 1280

func newNVE() *nve {
	n := &nve{mode: nvgre.New(nvgre.Config{})}
	mbuf.NewHeap(1, mbuf.Headroom+worker.MaxControlFrame).Alloc(n.buffer[:])
	return n
}

// messages is what was sent and believed so far (E9). Any goroutine may ask.
func (c *control) messages() metrics.NVE {
	n := c.nve
	return metrics.NVE{
		UnreachablesSent: n.out[0].Load(), RedirectsSent: n.out[1].Load(),
		UnreachablesBelieved: n.in[0].Load(), RedirectsBelieved: n.in[1].Load(),
	}
}

// tunnel is a tunnel packet, as far as a worker could copy it: what it quotes may
// be cut.
type tunnel struct {
	src, dst netip.Addr // PAs
	srcMAC   packet.MAC // the sender's, or of the router on our link
	gre      []byte     // from its header on
	vsid     uint32
	inner    []byte // tenant's frame
	dstMAC   packet.MAC
	from, to netip.Addr // CAs; not valid where there are none
}

// open reads a tunnel packet whose outer header a worker found to be NVGRE's.
func (t *tunnel) open(frame []byte) bool {
	var l packet.Layout
	if parseCut(frame, &l) != packet.OK || l.Proto != packet.ProtoGRE || l.L4 == 0 || l.Flags&packet.IsFragment != 0 {
		return false
	}
	t.src, t.dst = addresses(frame, &l)
	t.srcMAC = packet.Ethernet(frame).Src()
	t.gre = frame[l.L4:l.End]
	if len(t.gre) < packet.NVGRELen+packet.EthernetLen {
		return false
	}
	t.vsid = packet.NVGRE(t.gre).VSID()
	t.inner = t.gre[packet.NVGRELen:]
	t.dstMAC = packet.Ethernet(t.inner).Dst()
	if l, ok := t.layout(); ok {
		t.from, t.to = addresses(t.inner, &l)
	}
	return true
}

// layout is the tenant's frame's. The frame itself stays as it was: it is quoted.
func (t *tunnel) layout() (l packet.Layout, ok bool) {
	var whole [worker.MaxControlFrame]byte
	n := copy(whole[:], t.inner)
	return l, parseCut(whole[:n], &l) == packet.OK && l.Tags == 0
}

// parseCut is packet.Parse for a frame that may be cut: its IP length is made to
// say so.
func parseCut(frame []byte, l *packet.Layout) packet.Fault {
	fault := packet.Parse(frame, l)
	if fault != packet.IPLength {
		return fault
	}
	switch ip := frame[l.L3:]; l.EtherType {
	case packet.EtherTypeIPv4:
		packet.IPv4(ip).SetTotalLen(uint16(min(len(ip), int(packet.IPv4(ip).TotalLen()))))
	case packet.EtherTypeIPv6:
		packet.IPv6(ip).SetPayloadLen(uint16(min(len(ip)-packet.IPv6Len, int(packet.IPv6(ip).PayloadLen()))))
	}
	return packet.Parse(frame, l)
}

// addresses are the source and destination of a frame's network packet, of ARP
// sender and target; not valid if it has none.
func addresses(frame []byte, l *packet.Layout) (src, dst netip.Addr) {
	switch b := frame[l.L3:]; l.EtherType {
	case packet.EtherTypeIPv4:
		return packet.IPv4(b).Src(), packet.IPv4(b).Dst()
	case packet.EtherTypeIPv6:
		return packet.IPv6(b).SrcAddr(), packet.IPv6(b).DstAddr()
	case packet.EtherTypeARP:
		if arp := packet.ARP(b); arp.IsEthernetIPv4() {
			return netip.AddrFrom4(arp.SenderIP()), netip.AddrFrom4(arp.TargetIP())
		}
	}
	return src, dst
}

// strayed takes in a tunnel packet of a VM that is not here (L24) and tells its
// sender (N7, N8). Nobody is told who policy does not know, and no NVE message
// makes another.
func (c *control) strayed(now time.Time, p *worker.ControlFrame) {
	var t tunnel
	if !t.open(p.Bytes()) {
		return
	}
	if l, ok := t.layout(); !ok || packet.IsNVE(t.inner, &l) || t.dstMAC.IsMulticast() {
		return
	}
	f := c.fib.Load()
	own := f.OwnPA(t.dst)
	if own == fib.None {
		return
	}
	to := t.sender(f)
	if to == nil {
		return
	}
	adj := f.Adj(to, own)
	if adj.State != fib.AdjReady || !c.nve.sentTo.take(now, t.src, nvePerPA) || !c.nve.sent.take(now, nveInAll) {
		return
	}
	m := packet.NVEFields{
		Kind: packet.NVEUnreachable, DstMAC: t.srcMAC, SrcMAC: f.PAs[own].MAC,
		Src: t.dst, Dst: t.src, Quote: t.gre,
	}
	if pa := t.whereabouts(f); pa.IsValid() && pa.Is4() == t.dst.Is4() { // else it cannot be said
		m.Kind, m.Dst = packet.NVERedirect, pa
	}
	var room [maxMessage]byte
	limit := min(adj.Limit[fib.NVGRE], f.Remote(to).Limit[fib.NVGRE])
	inner := packet.AppendNVE(room[:0], &m, min(len(room)-int(adj.Len), packet.EthernetLen+int(limit)))
	frame := c.nve.wrap(f, inner, &fib.Entry{VSID: t.vsid, MAC: t.srcMAC, Dest: to.Dest}, adj) // N9
	if frame != nil && c.workers[0].Inject.Push(adj.Port, worker.NVE, frame) {
		c.nve.out[index(m.Kind)].Add(1)
	}
}

// index is that of a kind of message in nve's counters.
func index(k packet.NVEKind) int {
	if k == packet.NVERedirect {
		return 1
	}
	return 0
}

// flat is an address as the fib has it, v4 in the first four bytes.
func flat(a netip.Addr) (b [16]byte, v6 bool) {
	copy(b[:], a.AsSlice())
	return b, a.Is6()
}

// sender is a record that lives behind the PA which sent the packet, of the VSID or
// the source CA's, nil if policy knows none: of the routing domain, who is not
// among the VMs of the VSID may send to them through the distributed router (L22).
func (t *tunnel) sender(f *fib.FIB) *fib.Entry {
	vs := f.Subnet(t.vsid)
	if vs == nil {
		return nil
	}
	pa, v6 := flat(t.src)
	if t.from.IsValid() {
		if e := f.Lookup(vs.RD, t.from); e != nil && f.BehindPA(e, &pa, v6) {
			return e
		}
	}
	for i := range vs.Remotes {
		if e := &vs.Remotes[i]; f.BehindPA(e, &pa, v6) {
			return e
		}
	}
	return nil
}

// record is the one that the packet was meant for: of its VSID, CA and MAC, or of a
// VM or gateway whose CA no record tells.
func record(f *fib.FIB, vsid uint32, ca netip.Addr, mac packet.MAC) *fib.Entry {
	if !ca.IsValid() {
		return nil
	}
	if e := f.Lookup(f.Domain(vsid), ca); e != nil {
		if e.VSID != vsid || e.MAC != mac || e.Flags&fib.RouterCA != 0 {
			return nil
		}
		return e
	}
	return f.ByMAC(vsid, mac, ca.Is6())
}

// home is the PA that a record's VM lives behind.
func home(f *fib.FIB, e *fib.Entry) netip.Addr {
	if e.Flags&fib.LocalVM != 0 {
		return f.PAs[f.Locals[e.Dest].PA].IP()
	}
	return f.Remote(e).IP()
}

// whereabouts is the PA that the packet should have been sent to; not valid if
// policy does not know better than the sender.
func (t *tunnel) whereabouts(f *fib.FIB) netip.Addr {
	e := record(f, t.vsid, t.to, t.dstMAC)
	if e == nil {
		return netip.Addr{}
	}
	if e.Flags&fib.LocalVM != 0 && f.Locals[e.Dest].Port == fib.None {
		return netip.Addr{} // it is to come, or gone
	}
	if pa := home(f, e); pa != t.dst && pa != t.src {
		return pa
	}
	return netip.Addr{}
}

// wrap puts the outer header on; nil if it does not fit.
func (n *nve) wrap(f *fib.FIB, inner []byte, e *fib.Entry, adj *fib.Adj) []byte {
	m := n.buffer[0]
	if !m.SetData(inner) {
		return nil
	}
	var drops [1]count.Reason
	n.mode.Egress(n.buffer[:], []fib.Hop{{Entry: unseen.To(e), PA: unseen.To(f.Remote(e)), Adj: unseen.To(adj)}}, drops[:], new(count.Events))
	runtime.KeepAlive(f)
	if drops[0] != count.Kept {
		return nil
	}
	return m.Data()
}

// redirect is a REDIRECT that may be believed.
type redirect struct {
	vnic
	ca       netip.Addr
	from, to netip.Addr // PAs
}

// heardNVE takes in an NVE control message (N1-N11).
func (c *control) heardNVE(now time.Time, p *worker.ControlFrame) {
	var t tunnel
	if !t.open(p.Bytes()) {
		return
	}
	l, _ := t.layout()
	m, ok := packet.ParseNVE(t.inner, &l)
	if !ok {
		c.quietly(now, "an NVE control message cannot be read", "from", t.src)
		return
	}
	f := c.fib.Load()
	if why := t.disbelieve(f, &m); why != "" {
		c.quietly(now, "an NVE control message is not believed", "from", t.src, "vsid", m.VSID, "ca", m.CA, "why", why, "rule", "N10")
		return
	}
	// Each PA has so many: of those that policy knows, for anybody may make up others.
	if !c.nve.heard.take(now, t.src, nvePerPA) {
		return
	}
	c.nve.in[index(m.Kind)].Add(1)
	n := server.Notice{Kind: server.Unreachable, VSID: policy.VSID(m.VSID), CA: m.CA, PA: t.src, MAC: m.MAC}
	if m.Kind == packet.NVERedirect {
		n.Kind, n.NewPA = server.Redirect, m.Dst
	}
	c.notice(now, n)
	if !c.nve.act || m.Kind != packet.NVERedirect {
		return
	}
	r := redirect{vnic{policy.VSID(m.VSID), m.MAC}, m.CA, t.src, m.Dst}
	if again, _ := c.nve.acted.again(now, r, tellPause); again || !c.nve.acts.take(now, actRate) {
		return
	}
	c.propose(proposal{vnic: r.vnic, decide: r.decide})
}

// disbelieve says why a message is not to be believed (N10); empty: it is.
func (t *tunnel) disbelieve(f *fib.FIB, m *packet.NVEMessage) string {
	if m.Src != t.src {
		return "the inner source is not the outer one"
	}
	if m.VSID != t.vsid {
		return "it comes in another VSID than it speaks of" // N9
	}
	e := record(f, m.VSID, m.CA, m.MAC)
	if e == nil || e.Flags&fib.LocalVM != 0 || home(f, e) != t.src {
		return "the VM does not live behind that PA"
	}
	if m.Kind != packet.NVERedirect {
		return ""
	}
	pa := m.Dst
	usable := pa.IsValid() && !pa.IsUnspecified() && !pa.IsMulticast() && !pa.IsLoopback() && !pa.Is4In6() && pa != packet.LimitedBroadcast && pa != policy.RouterPA
	switch own := f.OwnPA(pa); {
	case !usable || pa == t.src:
		return "the new PA is none"
	case own != fib.None && !behindPort(f, m.VSID, m.MAC):
		return "the new PA is ours, and the VM is not here"
	case own == fib.None && !sendable(f, pa):
		return "the new PA is of a family that this host has no PA of"
	}
	return ""
}

// behindPort says whether a VM has a port of this host.
func behindPort(f *fib.FIB, vsid uint32, mac packet.MAC) bool {
	for i := range f.Ports {
		if p := &f.Ports[i]; p.Role == policy.VM && p.VSID == vsid && p.MAC == mac {
			return true
		}
	}
	return false
}

// sendable says whether this host has a PA of pa's family.
func sendable(f *fib.FIB, pa netip.Addr) bool {
	for i := range f.PAs {
		if f.PAs[i].V6 == pa.Is6() {
			return true
		}
	}
	return false
}

// decide moves all records of the VM that live behind the PA which spoke, and no
// others: that host says what became of what it had.
func (r *redirect) decide(b *policy.Book) (changes []policy.Change, err error) {
	for rec := range b.RecordsIn(r.vsid) {
		if rec.MAC == r.mac && rec.PA == r.from {
			rec.PA = r.to
			changes = append(changes, policy.Change{Verb: policy.Put, Object: rec})
		}
	}
	return changes, nil
}

// missed takes in a frame from a VM for a CA without a record (L13, E11).
func (c *control) missed(now time.Time, p *worker.ControlFrame) {
	f, frame := c.fib.Load(), p.Bytes()
	vm := vmPort(f, p.Port)
	var l packet.Layout
	if vm == nil || parseCut(frame, &l) != packet.OK {
		return
	}
	src, dst := addresses(frame, &l)
	if !dst.IsValid() {
		return
	}
	n := server.Notice{Kind: server.PolicyMismatch, VSID: policy.VSID(vm.VSID), CA: dst}
	if e := f.Lookup(vm.RD, src); e != nil && e.Flags&fib.LocalVM != 0 {
		n.PA = home(f, e)
	}
	c.notice(now, n)
}
