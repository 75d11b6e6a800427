package policy

import (
	"bytes"
	"cmp"
	"iter"
	"net/netip"
	"slices"

	"paca/dataplane/packet"
)

// records is every lookup record of a Book. A record is a slot without
// pointers, so that a million of them are 48 MB which the garbage collector
// does not read. Slots are named by number, from 1; chains through them lead
// from a virtual subnet to its records and from a PA to its users.
type records struct {
	chunks [][]slot // of chunkSlots each: they never move
	free   uint32   // chain by next[bySubnet] of slots without a record
	used   uint32   // slots ever used

	at       index[place]
	bySubnet map[VSID]chain
	pas      []users // by number, from 1
	freePAs  []uint32
	byPA     index[address]    // in pas
	labels   map[uint32]labels // of those that have any
}

const chunkSlots = 4096

// The chains a slot is in.
const (
	bySubnet = iota
	byPA
	numChains
)

type slot struct {
	ca         [16]byte
	pa         uint32 // in pas; 0: a router record's, which is nobody's (P21)
	vsid       VSID
	mac        packet.MAC
	typ        RecordType
	flags      uint8
	next, prev [numChains]uint32
}

// Flags of a slot, and of a record on disk.
const (
	caIPv6 = 1 << iota
	_      // was an IPv6 PA's in a slot
	useVMMAC
	labelled
)

// chain is the slots that have something in common.
type chain struct{ first, count uint32 }

// users are those of a PA.
type users struct {
	address
	chain
	rewrite uint32 // in rewrite subnets
}

type labels struct{ vmName, customerID, context string }

// address is a netip.Addr without a pointer.
type address struct {
	bytes [16]byte
	six   uint8
}

const noAddr = 0xff

// addressOf is a, or what no record has if a is the zero Addr or has a zone.
func addressOf(a netip.Addr) (n address) {
	if !a.IsValid() || a.Zone() != "" {
		return address{six: noAddr}
	}
	if a.Is4() {
		v4 := a.As4()
		copy(n.bytes[:], v4[:])
		return n
	}
	return address{a.As16(), 1}
}

func (n *address) addr() netip.Addr {
	if n.six == 0 {
		return netip.AddrFrom4([4]byte(n.bytes[:4]))
	}
	return netip.AddrFrom16(n.bytes)
}

// place is what only one record may have: a concrete CA in a VSID, or a MAC in
// it for a wildcard (P6). With the MAC of any record it is its identity (P5).
// It has no padding, so that maps hash it as bytes.
type place struct {
	ca   [16]byte
	vsid VSID
	mac  packet.MAC
	six  uint8
	_    uint8
}

func identityOf(vsid VSID, ca netip.Addr, mac packet.MAC) place {
	a := addressOf(ca)
	return place{ca: a.bytes, vsid: vsid, mac: mac, six: a.six}
}

// place is where the identity stands.
func (p place) place() place {
	if p.ca != ([16]byte{}) {
		p.mac = packet.MAC{}
	}
	return p
}

func newRecords() *records {
	t := &records{bySubnet: map[VSID]chain{}, pas: make([]users, 1), labels: map[uint32]labels{}}
	t.at = newIndex(func(n uint32) place { return t.slot(n).identity().place() })
	t.byPA = newIndex(func(n uint32) address { return t.pas[n].address })
	return t
}

func (t *records) slot(n uint32) *slot { return &t.chunks[n/chunkSlots][n%chunkSlots] }

func (t *records) len() int { return t.at.all }

// find is the slot of the record with that identity; 0 is none.
func (t *records) find(id place) uint32 {
	n := t.at.find(id.place())
	if n != 0 && t.slot(n).mac != id.mac {
		return 0
	}
	return n
}

// record is what is in slot n.
func (t *records) record(n uint32) LookupRecord {
	s := t.slot(n)
	ca := address{s.ca, s.flags & caIPv6}
	r := LookupRecord{VSID: s.vsid, CA: ca.addr(), MAC: s.mac, PA: RouterPA, Type: s.typ, UseVMMAC: s.flags&useVMMAC != 0}
	if s.pa != 0 {
		r.PA = t.pas[s.pa].addr()
	}
	if s.flags&labelled != 0 {
		l := t.labels[n]
		r.VMName, r.CustomerID, r.Context = l.vmName, l.customerID, l.context
	}
	return r
}

func (s *slot) identity() place {
	return place{ca: s.ca, vsid: s.vsid, mac: s.mac, six: s.flags & caIPv6}
}

// insert takes a record whose place is free; rewrite is the mode of its virtual
// subnet.
func (t *records) insert(r *LookupRecord, rewrite bool) {
	n := t.free
	if n != 0 {
		t.free = t.slot(n).next[bySubnet]
	} else {
		t.used++
		n = t.used
		if int(n/chunkSlots) == len(t.chunks) {
			t.chunks = append(t.chunks, make([]slot, chunkSlots))
		}
	}
	id := identityOf(r.VSID, r.CA, r.MAC)
	*t.slot(n) = slot{ca: id.ca, vsid: id.vsid, mac: id.mac, flags: id.six}
	t.at.add(n)
	c := t.bySubnet[r.VSID]
	t.link(&c, bySubnet, n)
	t.bySubnet[r.VSID] = c
	t.fill(n, r, rewrite)
}

// remove is insert taken back.
func (t *records) remove(r *LookupRecord, rewrite bool) {
	p := identityOf(r.VSID, r.CA, r.MAC).place()
	n := t.at.find(p)
	t.empty(n, rewrite)
	t.at.remove(n)
	c := t.bySubnet[r.VSID]
	t.unlink(&c, bySubnet, n)
	if c.count == 0 {
		delete(t.bySubnet, r.VSID)
	} else {
		t.bySubnet[r.VSID] = c
	}
	*t.slot(n) = slot{next: [numChains]uint32{bySubnet: t.free}}
	t.free = n
}

// replace puts a record where one with its identity is.
func (t *records) replace(r *LookupRecord, rewrite bool) {
	n := t.at.find(identityOf(r.VSID, r.CA, r.MAC).place())
	t.empty(n, rewrite)
	t.fill(n, r, rewrite)
}

// fill writes into slot n what is not identity.
func (t *records) fill(n uint32, r *LookupRecord, rewrite bool) {
	s := t.slot(n)
	s.typ = r.Type
	if r.UseVMMAC {
		s.flags |= useVMMAC
	}
	if l := (labels{r.VMName, r.CustomerID, r.Context}); l != (labels{}) {
		s.flags |= labelled
		t.labels[n] = l
	}
	if r.Router() {
		return
	}
	s.pa = t.pa(addressOf(r.PA))
	u := &t.pas[s.pa]
	t.link(&u.chain, byPA, n)
	if rewrite {
		u.rewrite++
	}
}

// pa is the number of a PA, which has one from now on.
func (t *records) pa(a address) uint32 {
	n := t.byPA.find(a)
	if n != 0 {
		return n
	}
	if last := len(t.freePAs) - 1; last >= 0 {
		n = t.freePAs[last]
		t.freePAs = t.freePAs[:last]
		t.pas[n].address = a
	} else {
		n = uint32(len(t.pas))
		t.pas = append(t.pas, users{address: a})
	}
	t.byPA.add(n)
	return n
}

// empty is fill taken back.
func (t *records) empty(n uint32, rewrite bool) {
	s := t.slot(n)
	if s.flags&labelled != 0 {
		delete(t.labels, n)
	}
	if s.pa != 0 {
		u := &t.pas[s.pa]
		t.unlink(&u.chain, byPA, n)
		if rewrite {
			u.rewrite--
		}
		if u.count == 0 {
			t.byPA.remove(s.pa)
			*u = users{}
			t.freePAs = append(t.freePAs, s.pa)
		}
	}
	s.flags &= caIPv6
	s.pa, s.next[byPA], s.prev[byPA] = 0, 0, 0
}

// usersOf is who has a PA.
func (t *records) usersOf(pa netip.Addr) users { return t.pas[t.byPA.find(addressOf(pa))] }

func (t *records) link(c *chain, which int, n uint32) {
	t.slot(n).next[which] = c.first
	if c.first != 0 {
		t.slot(c.first).prev[which] = n
	}
	c.first = n
	c.count++
}

func (t *records) unlink(c *chain, which int, n uint32) {
	s := t.slot(n)
	if next := s.next[which]; next != 0 {
		t.slot(next).prev[which] = s.prev[which]
	}
	if prev := s.prev[which]; prev != 0 {
		t.slot(prev).next[which] = s.next[which]
	} else {
		c.first = s.next[which]
	}
	c.count--
}

// remode counts anew the users of PAs when a virtual subnet with records
// changes its mode.
func (t *records) remode(v VSID, rewrite bool) {
	for n := range t.in(v) {
		switch u := &t.pas[t.slot(n).pa]; {
		case t.slot(n).pa == 0:
		case rewrite:
			u.rewrite++
		default:
			u.rewrite--
		}
	}
}

// in is the slots of a virtual subnet.
func (t *records) in(v VSID) iter.Seq[uint32] { return t.chain(t.bySubnet[v], bySubnet) }

// behind is the slots whose records have a PA, but for router records.
func (t *records) behind(pa netip.Addr) iter.Seq[uint32] { return t.chain(t.usersOf(pa).chain, byPA) }

func (t *records) chain(c chain, which int) iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for n := c.first; n != 0; n = t.slot(n).next[which] {
			if !yield(n) {
				return
			}
		}
	}
}

// neighbor is another user of the PA of the record in slot n; 0 is none.
func (t *records) neighbor(n uint32) uint32 {
	return max(t.slot(n).next[byPA], t.slot(n).prev[byPA])
}

// all is every slot with a record.
func (t *records) all() iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for n := uint32(1); n <= t.used; n++ {
			if t.slot(n).vsid != 0 && !yield(n) {
				return
			}
		}
	}
}

// sorted is every slot with a record in the order of Keys.
func (t *records) sorted() []uint32 {
	all := make([]uint32, 0, t.len())
	for n := range t.all() {
		all = append(all, n)
	}
	slices.SortFunc(all, func(x, y uint32) int {
		a, b := t.slot(x), t.slot(y)
		if c := cmp.Compare(a.vsid, b.vsid); c != 0 {
			return c
		}
		if c := cmp.Compare(a.flags&caIPv6, b.flags&caIPv6); c != 0 {
			return c
		}
		if c := bytes.Compare(a.ca[:], b.ca[:]); c != 0 {
			return c
		}
		return bytes.Compare(a.mac[:], b.mac[:])
	})
	return all
}
