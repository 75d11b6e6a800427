// Package fibtest makes FIBs of plain policy for the tests of those who read them.
//
// Floor 1. It imports fib and policy.
package fibtest

import (
	"testing"

	"paca/dataplane/fib"
	"paca/dataplane/policy"
)

// Compile makes a FIB of policy with all its ports open.
func Compile(t testing.TB, set *policy.Set, r fib.Resolve) *fib.FIB {
	t.Helper()
	return fib.NewCompiler().Compile(Book(t, set), Devices(set), r)
}

// Book is the set as a Book; a set with a fault fails the test.
func Book(t testing.TB, set *policy.Set) *policy.Book {
	t.Helper()
	var all []policy.Change
	all = puts(all, set.Ports)
	all = puts(all, set.ProviderAddresses)
	all = puts(all, set.ProviderRoutes)
	all = puts(all, set.VirtualSubnets)
	all = puts(all, set.CustomerRoutes)
	all = puts(all, set.LookupRecords)
	if set.Global != (policy.Global{}) {
		all = append(all, policy.Change{Verb: policy.Put, Object: set.Global})
	}
	b := policy.NewBook()
	if _, err := b.Apply(all); err != nil {
		t.Fatal(err)
	}
	return b
}

func puts[O policy.Object](to []policy.Change, objects []O) []policy.Change {
	for _, o := range objects {
		to = append(to, policy.Change{Verb: policy.Put, Object: o})
	}
	return to
}

// Devices are the ports of a set, open in their order, with their MACs.
func Devices(set *policy.Set) fib.Devices {
	d := fib.Devices{}
	for i, p := range set.Ports {
		d[p.Name] = fib.Device{Index: uint16(i), MAC: p.MAC}
	}
	return d
}
