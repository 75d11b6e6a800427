// Package fib is what workers read: an immutable, compiled form of a
// policy.Book and the neighbours of the provider side, whose large tables hold no
// Go pointers. The control plane has a Compiler make each version of it and
// publishes it through one atomic.Pointer; a worker loads it once per burst and
// never sees half a change. A new FIB shares what did not change.
//
//	port ──► Port{VSID, RD, MAC}              who is asking (L1, L2)
//	(RD, CA) ──► Entry{VSID, MAC, Dest}       whom an address belongs to (L3, L9, L22)
//	Dest ──► Local{port, PA}                  a VM of this host (L15)
//	     └─► Remote{PA, way}                  a PA of the fabric
//	(way, source PA) ──► Adj{outer header}    how to get there (L16)
//	VSID ──► Subnet{ports, PAs, routers}      where its broadcasts go (A20, A21), who speaks for it
//	(VSID, MAC) ──► Entry                     VMs without a CA, gateways (L3, L10)
//	(RD, prefix) ──► Entry of a gateway       what no record tells (L7)
//	PA ──► Owner{RD, CA, Entry}               the VM that has a PA to itself (R6)
//
// PAs that have the same next hop from each PA of this host share a way, so that
// a fabric with a PA for every VM costs a Remote for each, and no header.
//
// Floor 1. It imports policy and packet, and no port, mode or worker.
package fib

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"paca/dataplane/packet"
	"paca/dataplane/policy"
	"paca/dataplane/unseen"
)

// The indexes that mean "there is none".
const (
	None    = ^uint16(0) // port or PA
	NoRoute = ^uint32(0) // next hop
)

// Absent is the Role in Ports of an index that no port has.
const Absent = ^policy.Role(0)

// FIB is one version of everything a worker must know. Nothing in it changes
// after it was published.
type FIB struct {
	Version  uint64 // differs from that of the FIB before
	Ports    []Port // by port index, some perhaps Absent
	Locals   []Local
	PAs      []PA       // PAs assigned on this host
	NextHops []Neighbor // PA next hops in use, resolved or not

	// ExternalRouter says that packets between virtual subnets go to whoever has
	// the router's address, and not by the distributed router (L18).
	ExternalRouter bool

	table4      table[slot4]
	table6      table[slot6]
	macs        table[slotMAC]
	owners4     table[slotPA4]
	owners6     table[slotPA6]
	subnets     table[subnetSlot]
	subnetPages pages[Subnet]
	domains     pages[domain]
	remotes     []Remote // PAs of the fabric, by Entry.Dest
	adjs        [][]Adj  // by source PA, then Remote.way
	shared4     []shared4
	shared6     []shared6
	groups      []paGroup
}

// Port is a port as policy sees it.
type Port struct {
	Role policy.Role
	VSID uint32 // of a VM port; 0: not virtualized (L1)
	RD   uint32 // routing domain of the VSID; 0: none
	MAC  packet.MAC
	MTU  uint16 // largest IP packet in bytes

	Flags      PortFlags
	Home4      uint16 // first IPv4 PA of this host that the VM's records name; None: none does
	Home6      uint16 // likewise IPv6
	Peer       uint16 // an uplink's host port, and a host port's uplink; None without one (W20)
	StormLimit uint32 // packets per second that broadcasts and multicasts from a VM become; 0: any number
}

// Owns says whether e, perhaps nil, is a record of the VM behind p (L3).
func (p *Port) Owns(e *Entry) bool { return e != nil && e.VSID == p.VSID && e.MAC == p.MAC }

// PortFlags are what a VM port may and may not do (L31).
type PortFlags uint8

// The flags of a Port.
const (
	MACSpoofing PortFlags = 1 << iota
	DHCPGuard
	RouterGuard
)

// Owner4 is a lookup record with its IPv4 CA, as one is found by the PA that it has
// to itself (R2, R6).
type Owner4 struct {
	Key uint64 // of Key4: one word to compare
	Entry
}

// Key4 is a routing domain with an IPv4 CA in host order, the former in the upper half.
func Key4(rd, ca uint32) uint64 { return uint64(rd)<<32 | uint64(ca) }

// RD is the routing domain.
func (o *Owner4) RD() uint32 { return uint32(o.Key >> 32) }

// CA is the customer address in host order.
func (o *Owner4) CA() uint32 { return uint32(o.Key) }

// Owner6 is Owner4 for an IPv6 CA.
type Owner6 struct {
	CA [16]byte
	RD uint32
	Entry
}

// Entry is what a (routing domain, CA) resolves to: its lookup record.
type Entry struct {
	VSID  uint32
	Dest  uint32 // with LocalVM set: index into Locals; else a PA of the fabric, for Remote and Adj
	MAC   packet.MAC
	Mode  policy.Mode
	Flags EntryFlags
}

// is says whether e and o are of the same lookup record, or of the same router
// address without one, whatever became of its PA.
func (e *Entry) is(o *Entry) bool {
	return e.VSID == o.VSID && e.MAC == o.MAC && (e.Flags^o.Flags)&^LocalVM == 0
}

// EntryFlags qualify an Entry.
type EntryFlags uint8

// The flags of an Entry.
const (
	LocalVM  EntryFlags = 1 << iota // the PA is one of this host's
	RouterCA                        // the distributed router's address in VSID (P20); Dest means nothing
	Wildcard                        // a gateway's MAC, whatever the CA (C1.1)
	L2Only                          // a VM's MAC whose CA no record tells (C1.1)
	Learned                         // a CA that was seen in use, and may be another's again (A16)
	OwnMAC                          // frames for the PA have the VM's MAC (R7)
)

// Local is a VM behind a PA of this host.
type Local struct {
	Port uint16 // None: no port has the record's VSID and MAC
	PA   uint16 // index into PAs
}

// PA is an address of this host on the physical network (P13).
type PA struct {
	Addr [16]byte // IPv4 in the first four bytes
	V6   bool
	VLAN uint16
	Port uint16 // None: its uplink is not open
	MAC  packet.MAC

	Duplicate bool // another machine has it: it is neither sent from nor answered for (P14)
}

// Remote is an address of another host on the physical network.
type Remote struct {
	Addr  [16]byte // IPv4 in the first four bytes
	V6    bool
	Sum   uint16 // ones' complement sum of an IPv4 Addr
	Limit Limits // what the path was found to carry (M10); 0xffff: nothing was found
	way   uint32 // those with the same next hops have the same
}

// Limits are the largest IP packets of VMs in bytes, by mode (M5).
type Limits [policy.NumModes]uint16

// Any says whether there is a limit: of a Remote, that something was found.
func (l *Limits) Any() bool { return *l != [...]uint16{0xffff, 0xffff} }

// paGroup is a multicast group of PAs that this host receives (A20).
type paGroup struct {
	addr [16]byte
	v6   bool
}

// shared4 is an IPv4 PA of this host that is no VM's alone.
type shared4 struct {
	addr uint32
	at   uint16 // index into PAs
}

type shared6 struct {
	addr [16]byte
	at   uint16
}

// IP is the address in the form that people and configuration use.
func (p *PA) IP() netip.Addr { return unflat(p.Addr, p.V6) }

// IP is the address in the form that people and configuration use.
func (r *Remote) IP() netip.Addr { return unflat(r.Addr, r.V6) }

// U32 is an IPv4 address in host order.
func (r *Remote) U32() uint32 { return binary.BigEndian.Uint32(r.Addr[:]) }

// AdjState says whether an Adj can be sent to.
type AdjState uint8

// The states of an adjacency.
const (
	AdjNoRoute    AdjState = iota // no provider route (L16)
	AdjFamily                     // source and destination PA of different families (W14)
	AdjDuplicate                  // the source PA is another machine's too (P14)
	AdjUnresolved                 // the next hop's MAC is not known yet
	AdjFailed                     // the next hop did not answer
	AdjReady
)

// String names the state as reports do.
func (s AdjState) String() string {
	return [...]string{"no-route", "no-source", "duplicate", "incomplete", "failed", "reachable"}[s]
}

// MaxOuter is the largest outer header in bytes: tagged Ethernet, IPv6, GRE
// with key.
const MaxOuter = 14 + 4 + 40 + 8

// Adj is the way from one PA of this host over a next hop, with the outer header
// ready to be copied. What differs from packet to packet is zero in it: the
// destination PA (a Remote's Addr), length fields, identification, IPv4 checksum
// and GRE key.
type Adj struct {
	Header  [MaxOuter + 6]byte
	Len     uint8 // of Header in bytes
	State   AdjState
	V6      bool
	Port    uint16 // the uplink
	Limit   Limits
	Ready   Limits // Limit when State is AdjReady, else 0: one comparison for both
	NextHop uint32 // index into NextHops; NoRoute without one
	Sum     uint32 // sum of the 16-bit words of the IPv4 header in Header
}

// Neighbor is a next hop of the provider side and, once known, its MAC.
type Neighbor struct {
	Port  uint16
	VLAN  uint16
	Addr  netip.Addr
	From  uint16 // a PA of this host that has it on link, to ask from
	MAC   packet.MAC
	State AdjState // AdjUnresolved, AdjFailed or AdjReady
}

// Lookup4 finds the record of an IPv4 CA in a routing domain, or nil. ca is the
// address in host order, 10.0.0.1 = 0x0A000001.
func (f *FIB) Lookup4(rd, ca uint32) *Entry {
	if o := find4(&f.table4, Key4(rd, ca)); o != nil {
		return &o.Entry
	}
	return nil
}

// LookupAll4 is Lookup4 for many CAs, into entries, which has room for them.
func (f *FIB) LookupAll4(rd uint32, cas []uint32, entries []unseen.Ref[Entry]) {
	findAll4(&f.table4, rd, cas, entries)
}

// Lookup6 finds the record of an IPv6 CA in a routing domain, or nil.
func (f *FIB) Lookup6(rd uint32, ca *[16]byte) *Entry {
	if o := find6(&f.table6, rd, ca); o != nil {
		return &o.Entry
	}
	return nil
}

// LookupAll6 is Lookup6 for many CAs, into entries, which has room for them.
func (f *FIB) LookupAll6(rd uint32, cas [][16]byte, entries []unseen.Ref[Entry]) {
	findAll6(&f.table6, rd, cas, entries)
}

// Lookup is Lookup4 or Lookup6, for those who are not in a hurry.
func (f *FIB) Lookup(rd uint32, ca netip.Addr) *Entry {
	if ca.Is4() {
		return f.Lookup4(rd, host4(ca))
	}
	b := ca.As16()
	return f.Lookup6(rd, &b)
}

// Owner4 finds the VM that has an IPv4 PA to itself, wherever it lives, or nil (R5,
// R6). pa is in host order.
func (f *FIB) Owner4(pa uint32) *Owner4 {
	if f.owners4.all == 0 {
		return nil
	}
	return f.Record4(f.KeyOf4(pa))
}

// KeyOf4 is the Key of the VM that has an IPv4 PA in host order to itself, 0 if none has.
func (f *FIB) KeyOf4(pa uint32) uint64 { return findPA4(&f.owners4, pa) }

// Record4 finds the record that has a Key, or nil.
func (f *FIB) Record4(key uint64) *Owner4 { return find4(&f.table4, key) }

// Owner6 is Owner4 for an IPv6 PA.
func (f *FIB) Owner6(pa *[16]byte) *Owner6 {
	if f.owners6.all == 0 {
		return nil
	}
	s := findPA6(&f.owners6, pa)
	return find6(&f.table6, s.rd, &s.ca)
}

// Owner is the routing domain of the VM that has a PA to itself, 0 if none has. It is
// for those who are not in a hurry.
func (f *FIB) Owner(pa netip.Addr) (rd uint32) {
	addr, v6 := flat(pa)
	if v6 {
		if o := f.Owner6(&addr); o != nil {
			rd = o.RD
		}
	} else if o := f.Owner4(binary.BigEndian.Uint32(addr[:])); o != nil {
		rd = o.RD()
	}
	return rd
}

// Domain is the routing domain of a VSID, 0 when no virtual subnet has it.
func (f *FIB) Domain(vsid uint32) uint32 { return findSubnet(&f.subnets, vsid).rd }

// ByMAC finds the L2Only or GatewayWildcard record of a MAC in a virtual subnet
// for one IP family, or nil.
func (f *FIB) ByMAC(vsid uint32, mac packet.MAC, v6 bool) *Entry {
	s := slotMAC{key: macKey(mac, v6), vsid: vsid}
	at, from := f.macs.home(&s)
	if i, found := find(f.macs.chunks[at], from, &s); found {
		return &f.macs.chunks[at][i].Entry
	}
	return nil
}

// PAGroup says whether a multicast PA, v4 in the first four bytes, is one that this
// host receives (W20).
func (f *FIB) PAGroup(pa *[16]byte, v6 bool) bool {
	for i := range f.groups {
		if f.groups[i].addr == *pa && f.groups[i].v6 == v6 {
			return true
		}
	}
	return false
}

// Adj is the way from PA source (an index into PAs) to the PA of e, which must
// not be LocalVM.
func (f *FIB) Adj(e *Entry, source uint16) *Adj { return f.AdjTo(&f.remotes[e.Dest], source) }

// AdjTo is the way from PA source (an index into PAs) to r.
func (f *FIB) AdjTo(r *Remote, source uint16) *Adj {
	return &f.adjs[source][r.way]
}

// Ways are the ways from a PA of this host.
type Ways struct {
	remotes []Remote
	adjs    []Adj
}

// From is the ways from PA source (an index into PAs).
func (f *FIB) From(source uint16) Ways { return Ways{f.remotes, f.adjs[source]} }

// To is the PA of e, which must be neither LocalVM nor RouterCA, and the way there.
func (w *Ways) To(e *Entry) (*Remote, *Adj) {
	r := &w.remotes[e.Dest]
	return r, &w.adjs[r.way]
}

// Remote is the PA of e, which must be neither LocalVM nor RouterCA.
func (f *FIB) Remote(e *Entry) *Remote { return &f.remotes[e.Dest] }

// Limit is the largest IP packet in bytes that gets from a VM to that of e, which
// must be neither LocalVM nor RouterCA, by way of a (M5).
func (f *FIB) Limit(e *Entry, a *Adj) int {
	return int(min(a.Limit[e.Mode], f.remotes[e.Dest].Limit[e.Mode]))
}

// Way is how PA source (an index into PAs) gets to a PA of the fabric, nil when no
// record has that. It searches, for those who are not in a hurry.
func (f *FIB) Way(pa netip.Addr, source uint16) *Adj {
	addr, v6 := flat(pa)
	for i := range f.remotes {
		r := &f.remotes[i]
		if r.Addr == addr && r.V6 == v6 && int(r.way) < len(f.adjs[source]) { // else a newer version's, in a place that is free here
			return f.AdjTo(r, source)
		}
	}
	return nil
}

// PAGroups are the groups of PAs that this host receives, in order.
func (f *FIB) PAGroups() []netip.Addr {
	all := make([]netip.Addr, len(f.groups))
	for i := range f.groups {
		all[i] = unflat(f.groups[i].addr, f.groups[i].v6)
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return all
}

// BestAdj is the readiest of the ways to the PA of e, which must not be LocalVM,
// from any PA of this host, of which there is at least one.
func (f *FIB) BestAdj(e *Entry) *Adj {
	best := f.Adj(e, 0)
	for s := range f.PAs {
		if a := f.Adj(e, uint16(s)); a.State > best.State {
			best = a
		}
	}
	return best
}

// BehindPA says whether e's VM lives on another host, behind the given PA, v4 in
// the first four bytes (L22).
func (f *FIB) BehindPA(e *Entry, pa *[16]byte, v6 bool) bool {
	if e.Flags&(LocalVM|RouterCA) != 0 {
		return false
	}
	r := &f.remotes[e.Dest]
	return r.V6 == v6 && r.Addr == *pa
}

// BehindPA4 is BehindPA for an IPv4 PA in host order. Addresses that were just
// written byte by byte are slow to compare: the words of it stay in registers.
func (f *FIB) BehindPA4(e *Entry, pa uint32) bool {
	if e.Flags&(LocalVM|RouterCA) != 0 {
		return false
	}
	r := &f.remotes[e.Dest]
	return !r.V6 && binary.BigEndian.Uint32(r.Addr[:]) == pa
}

// SharedPA4 finds the PA of this host with that address in host order, or None, among
// those that are no VM's alone. There are few of these: a search in order is the
// fastest there is.
func (f *FIB) SharedPA4(pa uint32) uint16 {
	for i := range f.shared4 {
		if s := &f.shared4[i]; s.addr == pa {
			return s.at
		}
	}
	return None
}

// SharedPA6 is SharedPA4 for an IPv6 PA.
func (f *FIB) SharedPA6(pa *[16]byte) uint16 {
	for i := range f.shared6 {
		if s := &f.shared6[i]; s.addr == *pa {
			return s.at
		}
	}
	return None
}

// LocalPA finds the PA of this host with that address, v4 in the first four
// bytes, or None. It searches all, for control frames.
func (f *FIB) LocalPA(pa *[16]byte, v6 bool) uint16 {
	for i := range f.PAs {
		if f.PAs[i].Addr == *pa && f.PAs[i].V6 == v6 {
			return uint16(i)
		}
	}
	return None
}

// OwnPA is LocalPA, for those who are not in a hurry.
func (f *FIB) OwnPA(pa netip.Addr) uint16 {
	a, v6 := flat(pa)
	return f.LocalPA(&a, v6)
}

// Records is the number of entries, router addresses included.
func (f *FIB) Records() int { return f.table4.all + f.table6.all + f.macs.all }
