package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/client"
	"paca/dataplane/policy"
)

// migrate changes the PA of all records of a VM in one set (L40). Which those are,
// is looked up anew as long as policy moves meanwhile.
func (c *ctl) migrate() *cobra.Command {
	how := change{list: true}
	var vm pacav1.LookupRecord // its VSID, CA and new PA
	command := c.asks("migrate --vsid N --ca A --to PA", "Tell where a VM lives now: all its records, at once", func(ctx context.Context, daemon *client.Client, _ []string) error {
		ca, to, err := addressesOf(&vm)
		if err != nil {
			return usage{err}
		}
		var lines [][]string
		answer, err := apply(ctx, daemon, how, sighted, func() (*changeSet, error) {
			records, err := recordsOf(ctx, daemon, vm.Vsid, ca)
			if err != nil {
				return nil, err
			}
			set := &changeSet{}
			lines = nil
			for _, r := range records {
				if r.Pa == to.String() {
					continue
				}
				before := proto.Clone(lookupRecords.bare(r).Interface()).ProtoReflect()
				r.Pa = to.String()
				after := lookupRecords.wrap(lookupRecords.bare(r))
				set.changes = append(set.changes, &pacav1.Change{Change: &pacav1.Change_Replace{Replace: after}})
				lines = append(lines, changeLine("~", after, lookupRecords.wrap(before)))
			}
			if len(set.changes) == 0 {
				return nil, fmt.Errorf("%w: %v of VSID %d is behind %v already", errNoMove, ca, vm.Vsid, to)
			}
			return set, nil
		})
		if err != nil {
			return err
		}
		return c.show(answer, func() string {
			done := "changed"
			if how.dryRun {
				done = "would change"
			}
			return layOut(changeColumns, lines) + fmt.Sprintf("%s %s, revision %d\n", amount(uint32(answer.Changed), "record", "records"), done, answer.Revision)
		})
	})
	for _, f := range []field{
		{name: "vsid", help: "virtual subnet of the VM", complete: vsids},
		{name: "ca", help: "one of its customer addresses"},
		{name: "pa", flag: "to", help: "provider address of the host that it lives on now"},
	} {
		c.flag(command, vm.ProtoReflect(), &f, f.help, nil)
		_ = command.MarkFlagRequired(f.flagName()) // it is there
	}
	how.flags(command)
	command.Long = "Give all lookup records of a VM, of IPv4 and IPv6, wildcards too, the PA of the host that it lives on now,\n" +
		"in one set: packets go to the one host until the set is in force, and then to the other. The VM is known by\n" +
		"one of its CAs; its records are those of the virtual subnet with the same MAC. Each host of the tenant is\n" +
		"told by itself, the new one first. If policy moves meanwhile, its records are looked up anew."
	command.Example = example("pacactl migrate --vsid 6001 --ca 10.1.1.12 --to 192.168.3.30\npacactl migrate --vsid 6001 --ca 10.1.1.12 --to 192.168.3.30 --dry-run")
	return command
}

// errNoMove is a migration that cannot be, or need not.
var errNoMove = errors.New("nothing moves")

func addressesOf(vm *pacav1.LookupRecord) (ca, to netip.Addr, err error) {
	if ca, err = netip.ParseAddr(vm.Ca); err != nil {
		return ca, to, fmt.Errorf("--ca %q is not an IP address", vm.Ca)
	}
	if to, err = netip.ParseAddr(vm.Pa); err != nil {
		return ca, to, fmt.Errorf("--to %q is not an IP address", vm.Pa)
	}
	return ca, to, nil
}

// recordsOf is all records of the VM that has a CA.
func recordsOf(ctx context.Context, daemon *client.Client, vsid uint32, ca netip.Addr) ([]*pacav1.LookupRecord, error) {
	list := func(q *pacav1.ListLookupRecordsRequest) ([]*pacav1.LookupRecord, error) {
		q.Vsid = []uint32{vsid}
		all, err := client.All(daemon.ListLookupRecords(ctx, connect.NewRequest(q)))
		if err != nil {
			return nil, err
		}
		return all.LookupRecords, nil
	}
	found, err := list(&pacav1.ListLookupRecordsRequest{Ca: []string{ca.String()}})
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, fmt.Errorf("%w lookup record: %v of VSID %d", errNotFound, ca, vsid)
	case len(found) > 1: // wildcards
		return nil, fmt.Errorf("%w: %d VMs of VSID %d have a record of %v; choose one by another of its addresses", errNoMove, len(found), vsid, ca)
	case found[0].Pa == policy.RouterPA.String():
		return nil, fmt.Errorf("%w: %v of VSID %d is the distributed router, which every host has (P21)", errNoMove, ca, vsid)
	}
	if pa, err := netip.ParseAddr(found[0].Pa); err == nil && pa.IsMulticast() {
		return nil, fmt.Errorf("%w: %v of VSID %d is a group, and no VM (A20)", errNoMove, ca, vsid)
	}
	all, err := list(&pacav1.ListLookupRecordsRequest{Mac: []string{found[0].Mac}})
	return slices.DeleteFunc(all, func(r *pacav1.LookupRecord) bool { return r.Pa == policy.RouterPA.String() }), err
}
