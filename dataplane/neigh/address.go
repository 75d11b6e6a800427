package neigh

import (
	"iter"
	"maps"
	"slices"
	"time"

	"paca/dataplane/packet"
)

// AddressState is what duplicate address detection knows of an address of ours,
// in HNV's numbers (P14). None of ours is ever deprecated.
type AddressState uint8

// The states of an address. All but Duplicate are sent from.
const (
	Unassigned AddressState = 0 // HNV's "invalid"
	Tentative  AddressState = 1 // asking whether somebody else has it
	Duplicate  AddressState = 2 // somebody else has it
	Preferred  AddressState = 4 // nobody else does, as far as was heard
)

func (s AddressState) String() string {
	return [...]string{"invalid", "tentative", "duplicate", "deprecated", "preferred"}[s]
}

// Address is one of ours, as Addresses shows it.
type Address struct {
	MAC   packet.MAC
	State AddressState
	By    packet.MAC // who claimed it last; zero: nobody did
}

// How an address is probed, announced and defended (RFC 5227 1.1).
const (
	probes           = 3
	probeInterval    = time.Second
	probeWait        = time.Second     // before the first probe, at most
	announceWait     = 2 * time.Second // after the last one, for answers
	announcements    = 3
	announceInterval = time.Second
	defendInterval   = 10 * time.Second // claims that are closer together are one too many
	retryInterval    = time.Minute      // a duplicate is probed again
)

// own is an address of ours.
//
//	Assign           nobody answers
//	------> Tentative ------------> Preferred (announces itself)
//	            | somebody does    ^  | two claims within 10 s; the
//	            v                  |  | first is answered by an announcement
//	        Duplicate <------------|--+
//	            |   nobody answers |
//	            +------------------+ probed again after a minute
type own struct {
	Address
	probing bool
	left    int       // probes or announcements to be sent
	due     time.Time // of the next of them, or of a duplicate's first probe; zero: nothing is
	claimed time.Time // when a claim was heard last
}

// Assign makes from an address of ours on the link behind a port, in a VLAN.
// Everybody is asked whether they have it (ARP probe of RFC 5227, neighbor
// solicitation of RFC 4862), and told that it is ours when nobody does
// (gratuitous ARP, unsolicited neighbor advertisement of RFC 4861 7.2.6).
//
// It is in use meanwhile (optimistic, as in RFC 4429): a host that starts anew
// must not be silent for four seconds. Should the address turn out to be another
// machine's, some neighbor may have sent that machine's packets here for that
// long.
func (t *Table) Assign(now time.Time, port, vlan uint16, from Source) {
	o := &own{Address: Address{MAC: from.MAC}}
	t.own[Key{port, vlan, from.Addr}] = o
	if t.cfg.NoDetection {
		t.prefer(now, o)
	} else {
		o.State = Tentative
		t.probe(now.Add(t.cfg.Random(probeWait)), o)
	}
}

func (t *Table) probe(at time.Time, o *own) {
	o.probing, o.left, o.due = true, probes, at
	t.next = earlier(t.next, o.due)
}

func (t *Table) prefer(now time.Time, o *own) {
	o.State, o.probing, o.left, o.due = Preferred, false, announcements, now
	t.next = earlier(t.next, o.due)
}

// Contest takes in a message that came in on port in vlan, and reports whether it
// claims an address of ours for another machine: it speaks from that address, or
// probes for it while we do. Our own MAC claims nothing: a frame of ours came
// back.
func (t *Table) Contest(now time.Time, port, vlan uint16, m Message) bool {
	k := Key{port, vlan, m.Sender}
	probe := m.Sender.IsUnspecified()
	if probe {
		k.Addr = m.Target
	}
	o := t.own[k]
	if o == nil || m.By == o.MAC || probe && !o.probing { // its probe is answered, not contested
		return false
	}
	last := o.claimed
	o.By, o.claimed = m.By, now
	switch {
	case t.cfg.NoDetection:
	case o.State == Preferred && (last.IsZero() || now.Sub(last) >= defendInterval):
		// RFC 5227 2.4 (b): say once that it is ours.
		o.left, o.due = max(o.left, 1), now
	default:
		if o.State != Duplicate {
			t.duplicates++
		}
		o.State, o.probing, o.left = Duplicate, false, 0
		o.due = now.Add(retryInterval)
	}
	t.next = earlier(t.next, o.due)
	return true
}

// tell sends what is due for an address of ours.
func (t *Table) tell(now time.Time, k Key, o *own, send func(port uint16, frame []byte)) {
	if o.State == Duplicate && !o.probing {
		t.probe(now, o)
	}
	switch {
	case o.probing && o.left > 0:
		t.sendProbe(k, o, send)
		if o.left--; o.left > 0 {
			o.due = now.Add(probeInterval)
		} else {
			o.due = now.Add(announceWait)
		}
		return
	case o.probing:
		t.prefer(now, o)
	}
	t.sendAnnouncement(k, o, send)
	o.due = now.Add(announceInterval)
	if o.left--; o.left == 0 {
		o.due = time.Time{}
	}
}

func (t *Table) sendProbe(k Key, o *own, send func(port uint16, frame []byte)) {
	if k.Addr.Is4() {
		t.frame = packet.AppendARP(t.frame[:0], &packet.ARPFrame{
			DstMAC: packet.Broadcast,
			SrcMAC: o.MAC,
			VLAN:   k.VLAN,
			ARPFields: packet.ARPFields{
				Op:        packet.ARPOpRequest,
				SenderMAC: o.MAC,
				TargetIP:  k.Addr.As4(),
			},
		})
	} else {
		target := k.Addr.As16()
		group := packet.SolicitedNode(target)
		t.frame = packet.AppendNS(t.frame[:0], &packet.NSFrame{
			DstMAC: packet.GroupMAC(group),
			SrcMAC: o.MAC,
			VLAN:   k.VLAN,
			Dst:    group,
			Target: target,
		})
	}
	send(k.Port, t.frame)
}

func (t *Table) sendAnnouncement(k Key, o *own, send func(port uint16, frame []byte)) {
	if k.Addr.Is4() {
		ip := k.Addr.As4()
		t.frame = packet.AppendARP(t.frame[:0], &packet.ARPFrame{
			DstMAC: packet.Broadcast,
			SrcMAC: o.MAC,
			VLAN:   k.VLAN,
			ARPFields: packet.ARPFields{
				Op:        packet.ARPOpRequest,
				SenderMAC: o.MAC,
				SenderIP:  ip,
				TargetIP:  ip,
			},
		})
	} else {
		ip := k.Addr.As16()
		t.frame = packet.AppendNA(t.frame[:0], &packet.NAFrame{
			DstMAC:    packet.GroupMAC(packet.AllNodes),
			SrcMAC:    o.MAC,
			VLAN:      k.VLAN,
			Src:       ip,
			Dst:       packet.AllNodes,
			Target:    ip,
			TargetMAC: o.MAC,
			Flags:     packet.NDOverride,
		})
	}
	send(k.Port, t.frame)
}

// Address says what is known of an address of ours.
func (t *Table) Address(k Key) Address {
	if o := t.own[k]; o != nil {
		return o.Address
	}
	return Address{}
}

// Addresses yields ours, by port, VLAN and address.
func (t *Table) Addresses() iter.Seq2[Key, Address] {
	return func(yield func(Key, Address) bool) {
		for _, k := range slices.SortedFunc(maps.Keys(t.own), Key.compare) {
			if !yield(k, t.own[k].Address) {
				return
			}
		}
	}
}

// Duplicates counts the times that an address of ours became Duplicate (E5).
func (t *Table) Duplicates() uint64 { return t.duplicates }
