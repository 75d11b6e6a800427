package policy

import (
	"encoding/binary"
	"net/netip"

	"paca/dataplane/packet"
)

// Kind is a kind of object. Its values are part of what stores keep.
type Kind uint8

// The kinds, in the order in which a set of changes is best read.
const (
	KindGlobal Kind = iota + 1
	KindPort
	KindProviderAddress
	KindProviderRoute
	KindVirtualSubnet
	KindCustomerRoute
	KindLookupRecord
	numKinds
)

var kindNames = [numKinds]string{"object", "global", "port", "provider_address", "provider_route", "virtual_subnet", "customer_route", "lookup_record"}

// String is the kind's name in configuration, "lookup_record".
func (k Kind) String() string {
	if k >= numKinds {
		k = 0
	}
	return kindNames[k]
}

// Key identifies an object among all of policy: its Kind, then the fields that
// cannot change in an object's life, such that keys of one kind sort as people
// list them.
type Key string

// Kind is the kind of the object that k identifies; 0 if k is empty.
func (k Key) Kind() Kind {
	if k == "" {
		return 0
	}
	return Kind(k[0])
}

// Object is one object of policy: Global, Port, ProviderAddress, ProviderRoute,
// VirtualSubnet, CustomerRoute or LookupRecord, as values.
type Object interface {
	Kind() Kind
	// Key is the object's identity. What follows from it for changes is in
	// P5 and P8.
	Key() Key
}

// Global is the host-wide settings (C5). There is always exactly one.
type Global struct {
	UseExternalRouter bool // L18
}

// Kind and Key implement Object, here and below.
func (Global) Kind() Kind          { return KindGlobal }
func (Port) Kind() Kind            { return KindPort }
func (ProviderAddress) Kind() Kind { return KindProviderAddress }
func (ProviderRoute) Kind() Kind   { return KindProviderRoute }
func (VirtualSubnet) Kind() Kind   { return KindVirtualSubnet }
func (CustomerRoute) Kind() Kind   { return KindCustomerRoute }
func (LookupRecord) Kind() Kind    { return KindLookupRecord }

func (Global) Key() Key { return Key([]byte{byte(KindGlobal)}) }
func (p Port) Key() Key { return Key(append([]byte{byte(KindPort)}, p.Name...)) }

func (a ProviderAddress) Key() Key {
	return Key(appendAddr([]byte{byte(KindProviderAddress)}, a.Prefix.Addr()))
}

func (r ProviderRoute) Key() Key {
	b := append([]byte{byte(KindProviderRoute)}, r.Port...)
	b = appendPrefix(append(b, 0), r.Prefix) // names have no zero byte
	return Key(appendAddr(b, r.NextHop))
}

func (v VirtualSubnet) Key() Key {
	return Key(binary.BigEndian.AppendUint32([]byte{byte(KindVirtualSubnet)}, uint32(v.VSID)))
}

func (r CustomerRoute) Key() Key {
	b := append([]byte{byte(KindCustomerRoute)}, r.RDID[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(r.VSID))
	return Key(appendAddr(appendPrefix(b, r.Prefix), r.NextHop))
}

func (r LookupRecord) Key() Key { return RecordKey(r.VSID, r.CA, r.MAC) }

// RecordKey is the key of a lookup record. A concrete CA is unique in its VSID
// whatever the MAC (P6), yet the MAC belongs to the identity (P5): a record that
// changes it is another record.
func RecordKey(vsid VSID, ca netip.Addr, mac packet.MAC) Key {
	var room [32]byte
	b := append(room[:0], byte(KindLookupRecord))
	b = binary.BigEndian.AppendUint32(b, uint32(vsid))
	b = appendAddr(b, ca)
	return Key(append(b, mac[:]...))
}

// appendAddr writes the length first, so that IPv4 sorts before IPv6. What
// no object keeps, the zero Addr and addresses with zones, is not mistaken for
// what one may.
func appendAddr(b []byte, a netip.Addr) []byte {
	if !a.IsValid() || a.Zone() != "" {
		return append(b, 0)
	}
	if a.Is4() {
		v4 := a.As4()
		return append(append(b, 4), v4[:]...)
	}
	v6 := a.As16()
	return append(append(b, 16), v6[:]...)
}

func appendPrefix(b []byte, p netip.Prefix) []byte {
	return append(appendAddr(b, p.Addr()), byte(p.Bits()))
}

// Verb is what a change does to its object.
type Verb uint8

// The verbs.
const (
	Add     Verb = iota + 1 // must not exist yet
	Replace                 // must exist; all that is not identity is replaced
	Put                     // either
	Delete                  // must exist; only the identity of Object counts
)

// Change is one change of policy.
type Change struct {
	Verb   Verb
	Object Object
}
