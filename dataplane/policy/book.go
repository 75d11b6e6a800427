package policy

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
)

// Book is all policy of one host, indexed, so that a set of changes costs what
// it touches and not what there is. One goroutine changes it; there are no
// locks inside.
type Book struct {
	objects map[Key]Object
	pinned  map[Key]bool
	before  map[Key]Object // since Begin
}

// NewBook is a Book with nothing in it but the default Global.
func NewBook() *Book {
	return &Book{objects: map[Key]Object{Global{}.Key(): Global{}}, pinned: map[Key]bool{}}
}

// Apply makes all changes or none. The order of changes does not matter; two
// changes of one Key are a Fault. What holds after the whole set must satisfy
// every rule. applied is what really changed, as Put and Delete with whole
// objects, in the order of changes. err joins Faults, whose Index is that of the
// change.
func (b *Book) Apply(changes []Change) (applied []Change, err error) {
	objects, applied, err := b.try(changes)
	if err == nil {
		b.objects = objects
	}
	return applied, err
}

// Check answers as Apply would and changes nothing. Like Apply it is for the
// one goroutine that changes the Book.
func (b *Book) Check(changes []Change) (applied []Change, err error) {
	_, applied, err = b.try(changes)
	return applied, err
}

// Begin starts a group of Apply calls which Rollback can take back, for when
// their being stored fails; End closes the group and lets them stand.
func (b *Book) Begin() { b.before = b.objects }

// Rollback takes back every Apply since Begin and closes the group.
func (b *Book) Rollback() { b.objects, b.before = b.before, nil }

// End closes the group that Begin opened.
func (b *Book) End() { b.before = nil }

func (b *Book) try(changes []Change) (map[Key]Object, []Change, error) {
	objects := maps.Clone(b.objects)
	var applied []Change
	var faults []error
	for i, c := range changes {
		k := c.Object.Key()
		old, exists := b.objects[k]
		fault := func(cause error) {
			faults = append(faults, &Fault{Object: k.Kind().String(), Index: i, Problem: fmt.Sprint(cause), Cause: cause})
		}
		switch {
		case c.Verb == Add && exists:
			fault(ErrExists)
		case (c.Verb == Replace || c.Verb == Delete) && !exists:
			fault(ErrNotFound)
		case exists && b.pinned[k]:
			fault(ErrPinned)
		case c.Verb == Delete:
			delete(objects, k)
			applied = append(applied, Change{Delete, old})
		default:
			objects[k] = c.Object
			applied = append(applied, Change{Put, c.Object})
		}
	}
	faults = append(faults, (&Book{objects: objects}).Set().Validate())
	return objects, applied, errors.Join(faults...)
}

// Pin makes Apply refuse to delete or to change the objects of keys, which the
// host's file holds.
func (b *Book) Pin(keys ...Key) {
	for _, k := range keys {
		b.pinned[k] = true
	}
}

// Pinned says whether the object of k is the host file's.
func (b *Book) Pinned(k Key) bool { return b.pinned[k] }

// Get is the object that k identifies.
func (b *Book) Get(k Key) (Object, bool) {
	o, ok := b.objects[k]
	return o, ok
}

// Subnet is the virtual subnet of v.
func (b *Book) Subnet(v VSID) (VirtualSubnet, bool) {
	vs, ok := b.objects[VirtualSubnet{VSID: v}.Key()].(VirtualSubnet)
	return vs, ok
}

// Len is how many objects of a kind there are.
func (b *Book) Len(kind Kind) (n int) {
	for k := range b.objects {
		if k.Kind() == kind {
			n++
		}
	}
	return n
}

// All is every object of a kind in the order of their Keys. The Book must not
// change meanwhile.
func (b *Book) All(kind Kind) iter.Seq[Object] {
	return func(yield func(Object) bool) {
		for _, k := range slices.Sorted(maps.Keys(b.objects)) {
			if k.Kind() == kind && !yield(b.objects[k]) {
				return
			}
		}
	}
}

// Records is every lookup record in no order, for those who read them all: it
// neither sorts nor allocates. The Book must not change meanwhile.
func (b *Book) Records() iter.Seq[LookupRecord] {
	return func(yield func(LookupRecord) bool) {
		for _, o := range b.objects {
			if r, ok := o.(LookupRecord); ok && !yield(r) {
				return
			}
		}
	}
}

// Set is everything in the Book as a plain Set, each list in the order of Keys.
func (b *Book) Set() *Set {
	s := &Set{}
	for kind := KindGlobal; kind < numKinds; kind++ {
		for o := range b.All(kind) {
			switch o := o.(type) {
			case Global:
				s.Global = o
			case Port:
				s.Ports = append(s.Ports, o)
			case ProviderAddress:
				s.ProviderAddresses = append(s.ProviderAddresses, o)
			case ProviderRoute:
				s.ProviderRoutes = append(s.ProviderRoutes, o)
			case VirtualSubnet:
				s.VirtualSubnets = append(s.VirtualSubnets, o)
			case CustomerRoute:
				s.CustomerRoutes = append(s.CustomerRoutes, o)
			case LookupRecord:
				s.LookupRecords = append(s.LookupRecords, o)
			}
		}
	}
	return s
}
