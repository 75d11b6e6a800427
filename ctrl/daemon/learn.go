package daemon

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"time"

	"paca/ctrl/server"
	"paca/dataplane/fib"
	"paca/dataplane/neigh"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
	"paca/dataplane/respond/dhcp"
	"paca/dataplane/worker"
)

// sighting is what a frame tells of a VM's CA (A16).
type sighting struct {
	vnic
	ca netip.Addr
	// firm: the frame may take the CA from another VM that was seen with it: its new
	// owner announces it (A12).
	firm bool
	// lease is what a DHCP server's acknowledgement gives it for, 0: the VM itself was
	// seen with it. Any VM of the virtual subnet that has no dhcp_guard can send one, to
	// whom it likes. So it takes nothing from anybody: it adds a CA while there is plenty
	// of room, and makes a lease longer.
	lease time.Duration
}

// learnRate is how much may be learned of one port, of what its VM says and of what
// servers say to it: each costs a write to disk, and makes a revision.
var learnRate = rate{burst: 32, perSecond: 1}

// learnCA takes in what tells of the CA of a VM with an L2Only record (A16).
func (c *control) learnCA(now time.Time, p *worker.ControlFrame) {
	f, frame := c.fib.Load(), p.Bytes()
	vm := vmPort(f, p.Port)
	var l packet.Layout
	if vm == nil || packet.Parse(frame, &l) != packet.OK {
		return
	}
	s, ok := sight(frame, &l, vm)
	if !ok {
		return
	}
	e := f.Lookup(vm.RD, s.ca)
	if e != nil && e.VSID == vm.VSID && e.MAC == s.mac && e.Flags&fib.LocalVM != 0 {
		c.guests.lend(now, &s) // known by now, and perhaps renewed
		return
	}
	learning := &c.learning
	if s.lease > 0 {
		learning = &c.leasing
		s.firm = e != nil && c.guests.over(now, vnic{policy.VSID(e.VSID), e.MAC}, s.ca)
	}
	if learning.take(now, p.Port, learnRate) {
		c.propose(c.sighted(now, s))
	}
}

// sighted proposes what policy becomes of what was seen.
func (c *control) sighted(now time.Time, s sighting) proposal {
	return proposal{s.vnic, func(b *policy.Book) ([]policy.Change, error) {
		have, limit := c.guests.learned(s.vnic)
		return s.decide(b, have, limit, c.guests.settled(now, spot{s.vsid, s.ca}))
	}, func() { c.guests.lend(now, &s) }}
}

// sight reads an untagged ARP or ND frame from the VM behind p, or a DHCP server's
// message to it.
func sight(frame []byte, l *packet.Layout, p *fib.Port) (s sighting, ok bool) {
	s.vnic = vnic{policy.VSID(p.VSID), p.MAC}
	if packet.DHCPServer(frame, l) {
		ca, mac, lease, ok := dhcp.Ack(frame, l)
		s.ca, s.lease = ca, lease
		return s, ok && mac == p.MAC && concrete(ca)
	}
	m, ok := neigh.Classify(frame, l)
	if !ok || packet.Ethernet(frame).Src() != p.MAC || m.SenderMAC != p.MAC && !m.SenderMAC.IsZero() {
		return s, false
	}
	s.ca = m.Sender
	switch m.Kind {
	case neigh.ARPRequest:
		s.firm = m.Sender == m.Target
	case neigh.ARPReply:
		s.firm = m.Sender == m.Target || !m.Solicited
	case neigh.NA:
		s.firm = m.Override && !m.Solicited
	}
	return s, concrete(s.ca)
}

// concrete says whether a CA may be one VM's. Probes for duplicates come from none,
// and link-local addresses have no records (A11).
func concrete(ca netip.Addr) bool {
	return ca.IsValid() && !ca.IsUnspecified() && !ca.IsMulticast() && !ca.IsLoopback() && !ca.IsLinkLocalUnicast() && !ca.Is4In6()
}

// Why nothing is learned.
var (
	errLearnLimit = errors.New("as many CAs were learned of the port as dynamic_ip_limit allows (L32)")
	errLearnOther = errors.New("another VM was seen with the CA, and nothing announces that it moved (A12)")
	errLearnTold  = errors.New("DHCP servers may fill half of the port's dynamic_ip_limit: the CA is learned when the VM uses it (A16)")
	errLearnMoves = errors.New("several VMs announce the CA in turn: it stays for a while (A12)")
	errLearnL2    = errors.New("the VM has no L2Only record behind a PA of this host (A15)")
	errLearnWhere = errors.New("no VM of the virtual subnet may have the CA (P11, P20)")
	errLearnFixed = errors.New("the CA has a record that was not learned (A17)")
)

// decide says what policy becomes of what was seen, given how many CAs of the VM
// were learned, how many may be, and whether the CA may move: nothing if it knows
// already, and an error if it must not be.
func (s *sighting) decide(b *policy.Book, have, limit int, settled bool) ([]policy.Change, error) {
	vs, ok := b.Subnet(s.vsid)
	l2, isL2 := l2Only(b, s.vnic, s.ca.Is6())
	switch {
	case !ok || !isL2 || !assigned(b, l2.PA):
		return nil, errLearnL2
	case !habitable(&vs, s.ca):
		return nil, errLearnWhere
	}
	record := policy.LookupRecord{VSID: s.vsid, CA: s.ca, MAC: s.mac, PA: l2.PA, Type: policy.Dynamic}
	put := policy.Change{Verb: policy.Put, Object: record}
	old, held := b.Holder(s.vsid, s.ca)
	switch {
	case held && old.Type != policy.Dynamic:
		if old.MAC == s.mac {
			return nil, nil
		}
		return nil, errLearnFixed
	case held && old.MAC == s.mac:
		if old.PA == l2.PA {
			return nil, nil
		}
		old.PA = l2.PA // the VM came here from another host, which had learned it
		return []policy.Change{{Verb: policy.Put, Object: old}}, nil
	case held && !s.firm:
		return nil, errLearnOther
	case held && !settled:
		return nil, errLearnMoves
	case have >= limit:
		return nil, errLearnLimit
	case s.lease > 0 && have >= limit/2:
		return nil, errLearnTold
	case held:
		return []policy.Change{{Verb: policy.Delete, Object: old}, put}, nil
	}
	return []policy.Change{put}, nil
}

// l2Only is the L2Only record of a VM for one IP family (P7).
func l2Only(b *policy.Book, v vnic, v6 bool) (policy.LookupRecord, bool) {
	ca := netip.IPv4Unspecified()
	if v6 {
		ca = netip.IPv6Unspecified()
	}
	o, _ := b.Get(policy.RecordKey(v.vsid, ca, v.mac))
	r, ok := o.(policy.LookupRecord)
	return r, ok && r.Type == policy.L2Only
}

// assigned says whether a PA is this host's.
func assigned(b *policy.Book, pa netip.Addr) bool {
	_, ok := b.Get(policy.ProviderAddress{Prefix: netip.PrefixFrom(pa, pa.BitLen())}.Key())
	return ok
}

// habitable says whether a VM of the virtual subnet may have the CA: one of its
// prefixes has it, and it is neither the router's nor that of the prefix itself
// nor, of IPv4, the broadcast's.
func habitable(vs *policy.VirtualSubnet, ca netip.Addr) bool {
	for _, p := range vs.Prefixes {
		if !p.Contains(ca) {
			continue
		}
		router, ok := policy.RouterCA(p)
		if !ok {
			return true // all of two addresses are hosts', or the only one is
		}
		return ca != router && ca != p.Addr() && !(ca.Is4() && !p.Contains(ca.Next()))
	}
	return false
}

// lease is when what a DHCP server gave to a VM of this host ends (A17). It does not
// outlive the process: what was learned before stays until the VM goes, or another
// VM comes with its CA. It goes with the record of its CA.
type lease struct {
	ends  time.Time
	until time.Time // the record stays
}

// lend takes in that a CA which was learned of a VM was leased to it, or is for
// longer. The record is given some more time than the lease has: a VM that renews
// late, or whose server's answer was lost on the way to the control plane, must not
// lose its CA for that.
func (g *guests) lend(now time.Time, s *sighting) {
	vm := g.of[s.vnic]
	if s.lease == 0 || vm == nil || !vm.cas[s.ca].learned {
		return
	}
	l := lease{now.Add(s.lease), now.Add(s.lease + s.lease/8)}
	if l.until.After(vm.leases[s.ca].until) {
		vm.leases[s.ca] = l
		g.ends = soonest(g.ends, l.until)
	}
}

// over says whether a VM of this host had a CA by a lease that ended since: its server
// may give it to another.
func (g *guests) over(now time.Time, of vnic, ca netip.Addr) bool {
	vm := g.of[of]
	if vm == nil {
		return false
	}
	l, leased := vm.leases[ca]
	return leased && !now.Before(l.ends)
}

// ended takes out the leases that ended, and proposes that what they were for goes.
func (g *guests) ended(now time.Time) (all []proposal) {
	if g.ends.IsZero() || now.Before(g.ends) {
		return nil
	}
	g.ends = time.Time{}
	for of, vm := range g.of {
		for ca, l := range vm.leases {
			if now.Before(l.until) {
				g.ends = soonest(g.ends, l.until)
				continue
			}
			delete(vm.leases, ca)
			all = append(all, proposal{vnic: of, decide: func(b *policy.Book) ([]policy.Change, error) {
				r, ok := b.Holder(of.vsid, ca)
				if !ok || r.Type != policy.Dynamic || r.MAC != of.mac || !assigned(b, r.PA) {
					return nil, nil
				}
				return []policy.Change{{Verb: policy.Delete, Object: r}}, nil
			}})
		}
	}
	return all
}

// move is that a CA went from one VM to another: it stays with it for a second, and
// twice as long each time if it goes on from VM to VM (A12). Each move is a revision
// that all who follow policy take in.
type move struct {
	pause time.Duration
	until time.Time
}

const (
	movePause     = time.Second
	movePauseMost = time.Minute // also how long a CA must stay for this to be forgotten
)

// settled says whether a CA may move.
func (g *guests) settled(now time.Time, at spot) bool {
	m, moved := g.moves[at]
	return !moved || !now.Before(m.until)
}

// moved takes in that a CA did.
func (g *guests) moved(now time.Time, at spot) {
	if g.moves == nil {
		g.moves = map[spot]move{}
	}
	past := func(m move) bool { return now.Sub(m.until) >= movePauseMost }
	if len(g.moves) >= maxKeys { // no more than learnRate makes in the time that they are kept
		maps.DeleteFunc(g.moves, func(_ spot, m move) bool { return past(m) })
	}
	m, again := g.moves[at]
	if m.pause = min(2*m.pause, movePauseMost); !again || past(m) {
		m.pause = movePause
	}
	m.until = now.Add(m.pause)
	g.moves[at] = m
}

// proposal is a change of policy that this host comes to by itself.
type proposal struct {
	vnic // whom it is about: one at a time
	// decide makes the set when its turn has come, in the goroutine that changes
	// policy: what is right depends on what policy is then.
	decide func(*policy.Book) ([]policy.Change, error)
	// done, if there is one, is called when policy is as decide has it, under
	// control.mu.
	done func()
}

// propose never blocks: what there is no room for is seen or told again.
func (c *control) propose(p proposal) {
	select {
	case c.proposals <- p:
	default:
	}
}

// leasePause is how often leases are looked at.
const leasePause = 10 * time.Second

// proposeAll takes proposals the way that all change of policy goes, many at a
// time, of each VM one: the next is judged by what policy became of it (L32).
func (h *host) proposeAll(ctx context.Context) {
	var waiting []proposal
	ends := time.NewTicker(leasePause)
	defer ends.Stop()
	for {
		if len(waiting) == 0 {
			select {
			case <-ctx.Done():
				return
			case p := <-h.control.proposals:
				waiting = append(waiting, p)
			case now := <-ends.C:
				h.control.mu.Lock()
				waiting = h.control.guests.ended(now)
				h.control.mu.Unlock()
				continue
			}
		}
		for more := true; more && len(waiting) < maxBatch; {
			select {
			case p := <-h.control.proposals:
				waiting = append(waiting, p)
			default:
				more = false
			}
		}
		type sending struct {
			proposal
			*request
		}
		sent := map[vnic]sending{}
		var rest []proposal
		for _, p := range waiting {
			if _, busy := sent[p.vnic]; busy {
				rest = append(rest, p)
				continue
			}
			r := &request{decide: p.decide, done: make(chan outcome, 1)}
			if err := h.submit(ctx, r); err != nil {
				return // the host is stopping
			}
			sent[p.vnic] = sending{p, r}
		}
		waiting = rest
		for _, s := range sent {
			h.proposed(s.proposal, h.wait(s.request))
		}
	}
}

// proposed tells what came of a proposal. What it did to the CAs of VMs is told
// when it is in force.
func (h *host) proposed(of proposal, o outcome) {
	c := h.control
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if o.err == nil && of.done != nil {
		of.done()
	}
	switch {
	case o.err == errStopping:
	case errors.Is(o.err, server.ErrUnavailable):
		if c.logged.take(now, logRate) {
			c.log.Error("what was learned cannot be kept", "vsid", of.vsid, "mac", of.mac, "error", o.err)
		}
	case errors.Is(o.err, errLearnLimit):
		c.notice(now, server.Notice{Kind: server.CustomerAddress, VSID: of.vsid, MAC: of.mac, Reason: errLearnLimit.Error()})
	case o.err != nil:
		c.quietly(now, "a CA is not learned", "vsid", of.vsid, "mac", of.mac, "why", o.err)
	case len(o.applied) > 0:
		if c.logged.take(now, logRate) {
			c.log.Info("policy change", "by", "this host", "vsid", of.vsid, "mac", of.mac, "revision", o.revision, "changed", len(o.applied))
		}
	}
}

// logRate bounds what guests and the fabric make us log.
var logRate = rate{burst: 20, perSecond: 1}

// quietly is a line in the log for who looks for one. The caller holds c.mu.
func (c *control) quietly(now time.Time, what string, args ...any) {
	if c.whispered.take(now, logRate) {
		c.log.Debug(what, args...)
	}
}

// tellPause is how long a notice is not repeated.
const tellPause = time.Second

// notice publishes a notice of what frames made us see, unless it was told lately. One
// kind has no more room for what a guest can make us say than another: a scan of
// addresses must not hide that a VM moved. What there is no room for is lost. The
// caller holds c.mu.
func (c *control) notice(now time.Time, n server.Notice) {
	told := c.noticed[n.Kind]
	if told == nil {
		told = &recent[server.Notice]{}
		c.noticed[n.Kind] = told
	}
	switch again, room := told.again(now, n, tellPause); {
	case again:
	case !room:
		c.unsaid++
	default:
		n.Time = now
		c.notify(n)
	}
}

// vmPort is the port of a VM in a virtual subnet, nil if the index is none's.
func vmPort(f *fib.FIB, index uint16) *fib.Port {
	if int(index) >= len(f.Ports) {
		return nil
	}
	if p := &f.Ports[index]; p.Role == policy.VM && p.RD != 0 {
		return p
	}
	return nil
}
