// Package neigh is address resolution on the provider side: which MAC has the
// next hop of a provider address (L16), by ARP (RFC 826) and by IPv6 neighbor
// discovery (RFC 4861); and whether an address of ours is ours alone (P14, RFC
// 5227, RFC 4862): address.go.
//
// Floor 1. Table is a pure state machine: one control goroutine owns it, time
// is passed in, frames go out through a function. It holds no packets (workers
// do, while a next hop is unresolved), reads no clock, knows no port and no
// policy, and imports packet only.
//
// The life of a neighbor's entry that is not static:
//
//	        Want             answer
//	None ---------> Incomplete ---------> Reachable <------------------+
//	  ^                 |    ^                |                        |
//	  |                 |    |                | Reachable time over    | answer
//	  |   3 unanswered  |    |                v                        |
//	  |                 |    +----------- Probe (keeps the MAC) -------+
//	  |                 v      3 unanswered
//	  +-------------- Failed ---> Incomplete, if wanted meanwhile
//	     not wanted
//
// What a neighbour says unasked changes an entry that exists, never makes one,
// and is asked back at once: such an entry is in Probe.
package neigh

import (
	"cmp"
	"iter"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"paca/dataplane/packet"
)

// Key names a neighbour: its address, on the link behind a port in a VLAN.
type Key struct {
	Port uint16
	VLAN uint16 // VLAN identifier; 0 = untagged
	Addr netip.Addr
}

// Source is one of our own addresses, with the MAC that speaks for it.
type Source struct {
	MAC  packet.MAC
	Addr netip.Addr
}

// State says what is known of a neighbour.
type State uint8

const (
	None       State = iota // no entry
	Incomplete              // asked, MAC not known
	Reachable               // MAC confirmed lately
	Probe                   // MAC known and in use, being confirmed
	Failed                  // did not answer
	Static                  // MAC configured
)

func (s State) String() string {
	return [...]string{"none", "incomplete", "reachable", "probe", "failed", "static"}[s]
}

// Resolved reports that packets can be sent.
func (s State) Resolved() bool { return s == Reachable || s == Probe || s == Static }

// Entry is one neighbour as All shows it.
type Entry struct {
	MAC   packet.MAC // zero unless State is Resolved
	State State
	From  Source // who asked last; zero if static
}

// Config are the table's limits. A field that is 0 has the default.
type Config struct {
	FirstRetransmit time.Duration // from the first question to the second: 250 ms, so that one lost frame costs little
	Retransmit      time.Duration // between further questions: 1 s
	Tries           int           // questions before giving up: 3
	Failed          time.Duration // before a neighbour that failed is asked again: 1 s
	Reachable       time.Duration // before a MAC is confirmed anew: 30 s
	MaxEntries      int           // entries that are not static: 4096
	NoDetection     bool          // our addresses are Preferred, whoever claims them

	Random func(below time.Duration) time.Duration // what RFC 5227 wants random; rand.N
}

// Table is the neighbours. It is not safe for concurrent use.
type Table struct {
	cfg        Config
	entries    map[Key]*entry
	dynamic    int // entries that are not static
	own        map[Key]*own
	duplicates uint64    // times that one of own became Duplicate
	next       time.Time // not later than the earliest due time; zero if nothing is due
	changed    bool      // since the last Tick
	frame      []byte    // room to build frames in
}

type entry struct {
	Entry
	due    time.Time // of the next question, or of giving up
	tries  int       // questions asked in this state
	wanted bool      // asked for while Failed
}

// New makes an empty table.
func New(cfg Config) *Table {
	cfg.FirstRetransmit = cmp.Or(cfg.FirstRetransmit, 250*time.Millisecond)
	cfg.Retransmit = cmp.Or(cfg.Retransmit, time.Second)
	cfg.Tries = cmp.Or(cfg.Tries, 3)
	cfg.Failed = cmp.Or(cfg.Failed, time.Second)
	cfg.Reachable = cmp.Or(cfg.Reachable, 30*time.Second)
	cfg.MaxEntries = cmp.Or(cfg.MaxEntries, 4096)
	if cfg.Random == nil {
		cfg.Random = rand.N[time.Duration]
	}
	return &Table{cfg: cfg, entries: map[Key]*entry{}, own: map[Key]*own{}}
}

// AddStatic makes k known for good. Nothing learned overwrites it.
func (t *Table) AddStatic(k Key, mac packet.MAC) {
	e := t.entries[k]
	if e == nil {
		e = &entry{}
		t.entries[k] = e
	} else if e.State != Static {
		t.dynamic--
	}
	t.set(e, Static, mac, time.Time{})
	e.From = Source{}
}

// Delete forgets k, a neighbor, static or not, or an address of ours.
func (t *Table) Delete(k Key) {
	delete(t.own, k)
	if e := t.entries[k]; e != nil {
		t.remove(k, e)
	}
}

// Keep deletes every neighbor that is not static, and every address of ours, that
// is not among those in use.
func (t *Table) Keep(used map[Key]bool) {
	maps.DeleteFunc(t.own, func(k Key, _ *own) bool { return !used[k] })
	for k, e := range t.entries {
		if e.State != Static && !used[k] {
			t.remove(k, e)
		}
	}
}

func (t *Table) remove(k Key, e *entry) {
	if e.State != Static {
		t.dynamic--
	}
	delete(t.entries, k)
	t.changed = true
}

// Want asks for the MAC of k on behalf of from, an address of the same family.
// It may be called for every packet. False means that k will not be resolved:
// it is no neighbour's address, or the table is full of others.
func (t *Table) Want(now time.Time, k Key, from Source) bool {
	if e := t.entries[k]; e != nil {
		if e.State != Static {
			e.From = from
			e.wanted = true
		}
		return true
	}
	if !askable(k.Addr) || k.Addr.Is4() != from.Addr.Is4() || t.dynamic >= t.cfg.MaxEntries {
		return false
	}
	e := &entry{Entry: Entry{From: from}}
	t.entries[k] = e
	t.dynamic++
	t.set(e, Incomplete, packet.MAC{}, now)
	return true
}

// askable reports an address that one neighbour can have.
func askable(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && !a.Is4In6() && a.Zone() == "" &&
		a != packet.LimitedBroadcast
}

// Learn records that k is at mac, if k has an entry that is not static.
// solicited means that the neighbour answered us; only that confirms. It
// reports whether workers must be told.
func (t *Table) Learn(now time.Time, k Key, mac packet.MAC, solicited bool) (changed bool) {
	e := t.entries[k]
	if e == nil || e.State == Static || mac.IsZero() || mac.IsMulticast() {
		return false
	}
	switch {
	case e.State == Reachable && mac != e.MAC:
		// A second answer, or one nobody asked for: take it, and ask back.
		return t.set(e, Probe, mac, now)
	case solicited:
		return t.set(e, Reachable, mac, now.Add(t.cfg.Reachable))
	case mac != e.MAC:
		return t.set(e, Probe, mac, now)
	}
	return false
}

// Hear learns from a message that came in on port in vlan.
func (t *Table) Hear(now time.Time, port, vlan uint16, m Message) (changed bool) {
	k := Key{port, vlan, m.Sender}
	e := t.entries[k]
	if e == nil {
		return false
	}
	mac := m.SenderMAC
	if m.Kind == NA && e.State.Resolved() {
		switch {
		case mac.IsZero(): // a confirmation may leave the option out (RFC 4861 4.4)
			mac = e.MAC
		case mac != e.MAC && !m.Override: // must not replace what is known (RFC 4861 7.2.5)
			if e.State == Reachable {
				t.set(e, Probe, e.MAC, now)
			}
			return false
		}
	}
	return t.Learn(now, k, mac, m.Solicited)
}

// set moves e to a state in which something is due at a time, and reports
// whether a worker would notice.
func (t *Table) set(e *entry, s State, mac packet.MAC, due time.Time) bool {
	// Reachable and Probe are alike to workers.
	changed := e.MAC != mac || e.State != s && !(e.State.Resolved() && s.Resolved())
	e.State, e.MAC, e.due = s, mac, due
	e.tries = 0
	e.wanted = false
	t.next = earlier(t.next, due)
	t.changed = t.changed || changed
	return changed
}

// earlier is the earlier of two due times, of which zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Tick sends what is due and gives up what is overdue. A frame belongs to send
// only until it returns. changed reports that for some entry the MAC, or whether
// it is asked for, resolved or failed, is not what it was at the last Tick.
func (t *Table) Tick(now time.Time, send func(port uint16, frame []byte)) (changed bool) {
	if !t.next.IsZero() && !now.Before(t.next) {
		var next time.Time
		for k, o := range t.own {
			if !o.due.IsZero() && !now.Before(o.due) {
				t.tell(now, k, o, send)
			}
			next = earlier(next, o.due)
		}
		for k, e := range t.entries {
			if e.State == Static {
				continue
			}
			if !now.Before(e.due) {
				t.expire(now, k, e, send)
			}
			next = earlier(next, e.due)
		}
		t.next = next // not what entries had on the way
	}
	changed = t.changed
	t.changed = false
	return changed
}

// expire does what is due for one entry.
func (t *Table) expire(now time.Time, k Key, e *entry, send func(port uint16, frame []byte)) {
	if e.State == Reachable {
		t.set(e, Probe, e.MAC, now)
	}
	if e.State == Failed {
		if !e.wanted {
			t.remove(k, e)
			e.due = time.Time{}
			return
		}
		t.set(e, Incomplete, packet.MAC{}, now)
	}
	if e.tries == t.cfg.Tries {
		if e.State == Incomplete {
			t.set(e, Failed, packet.MAC{}, now.Add(t.cfg.Failed))
			return
		}
		// Nobody at that MAC any more: ask everybody.
		t.set(e, Incomplete, packet.MAC{}, now)
	}
	t.sendQuestion(k, e, send)
	e.tries++
	e.due = now.Add(t.cfg.Retransmit)
	if e.tries == 1 {
		e.due = now.Add(t.cfg.FirstRetransmit)
	}
}

// sendQuestion asks everybody, or in Probe the one who had the address.
func (t *Table) sendQuestion(k Key, e *entry, send func(port uint16, frame []byte)) {
	if k.Addr.Is4() {
		f := packet.ARPFrame{
			DstMAC: packet.Broadcast,
			SrcMAC: e.From.MAC,
			VLAN:   k.VLAN,
			ARPFields: packet.ARPFields{
				Op:        packet.ARPOpRequest,
				SenderMAC: e.From.MAC,
				SenderIP:  e.From.Addr.As4(),
				TargetIP:  k.Addr.As4(),
			},
		}
		if e.State == Probe {
			f.DstMAC = e.MAC
			f.TargetMAC = e.MAC
		}
		t.frame = packet.AppendARP(t.frame[:0], &f)
	} else {
		target := k.Addr.As16()
		group := packet.SolicitedNode(target)
		f := packet.NSFrame{
			DstMAC: packet.GroupMAC(group),
			SrcMAC: e.From.MAC,
			VLAN:   k.VLAN,
			Src:    e.From.Addr.As16(),
			Dst:    group,
			Target: target,
		}
		if e.State == Probe {
			f.DstMAC = e.MAC
			f.Dst = target
		}
		t.frame = packet.AppendNS(t.frame[:0], &f)
	}
	send(k.Port, t.frame)
}

// Lookup says what is known of k; mac is zero unless the state is Resolved.
func (t *Table) Lookup(k Key) (mac packet.MAC, state State) {
	if e := t.entries[k]; e != nil {
		return e.MAC, e.State
	}
	return packet.MAC{}, None
}

// Next is when Tick has something to do; zero if it has not.
func (t *Table) Next() time.Time { return t.next }

// All yields every entry, by port, VLAN and address.
func (t *Table) All() iter.Seq2[Key, Entry] {
	return func(yield func(Key, Entry) bool) {
		for _, k := range slices.SortedFunc(maps.Keys(t.entries), Key.compare) {
			if e := t.entries[k]; e != nil && !yield(k, e.Entry) {
				return
			}
		}
	}
}

func (k Key) compare(o Key) int {
	return cmp.Or(cmp.Compare(k.Port, o.Port), cmp.Compare(k.VLAN, o.VLAN), k.Addr.Compare(o.Addr))
}
