package main

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"slices"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"paca/ctrl/api/convert"
	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/client"
	"paca/ctrl/policyfile"
	"paca/dataplane/policy"
)

// fromFile is the flags of the commands that read a policy file.
type fromFile struct {
	name    string
	replace bool
}

func (f *fromFile) flags(command *cobra.Command) {
	command.Flags().StringVarP(&f.name, "file", "f", "", "policy file; - is standard input")
	_ = command.MarkFlagRequired("file") // it is there
	_ = command.MarkFlagFilename("file", "toml")
	command.Flags().BoolVar(&f.replace, "replace", false, "also delete what the file lacks, but for what the host file says and what hosts learned")
}

func (c *ctl) apply() *cobra.Command {
	var from fromFile
	var how change
	command := c.asks("apply", "Make policy what a file says", nil)
	command.RunE = c.asking(longPatience, func(ctx context.Context, daemon *client.Client, _ []string) error {
		return c.applyFile(ctx, daemon, from, how, c.report)
	})
	from.flags(command)
	how.flags(command)
	command.Long = "Add what a policy file says and policy lacks, and replace what differs: everything or, if\n" +
		"any of it is refused, nothing. What the file does not speak of stays, unless --replace.\n" +
		learnedStays
	command.Example = example("pacactl apply -f policy.toml\npacactl apply -f policy.toml --replace --dry-run")
	return command
}

const learnedStays = "Addresses that hosts learned (type dynamic) stay even then, of\n" +
	"VMs that have an l2-only record in the file, unless it has records of type dynamic itself."

// errDiffers ends diff with exit code 1 and without a message.
var errDiffers = errors.New("policy differs from the file")

func (c *ctl) diff() *cobra.Command {
	var from fromFile
	how := change{dryRun: true}
	command := c.asks("diff", "Say what applying a file would change", nil)
	command.RunE = c.asking(longPatience, func(ctx context.Context, daemon *client.Client, _ []string) error {
		return c.applyFile(ctx, daemon, from, how, func(ctx context.Context, daemon *client.Client, how change, answer *pacav1.ApplyResponse) error {
			if answer.Changed == 0 && c.format == formatTable {
				return nil
			}
			if err := c.report(ctx, daemon, how, answer); err != nil || answer.Changed == 0 {
				return err
			}
			return errDiffers
		})
	})
	from.flags(command)
	how.expect(command)
	command.Long = "Say what applying a policy file would change, and exit with 1 if anything would: + is new,\n" +
		"- goes, ~ becomes other. " + learnedStays
	command.Example = example("pacactl diff -f policy.toml --replace")
	return command
}

func (c *ctl) applyFile(ctx context.Context, daemon *client.Client, from fromFile, how change,
	report func(context.Context, *client.Client, change, *pacav1.ApplyResponse) error) error {
	file, err := from.read(c.in)
	if err != nil {
		return unusable{err}
	}
	answer, err := apply(ctx, daemon, how, sight(from.replace), func() (*changeSet, error) {
		set := &changeSet{locate: func(f *pacav1.Fault) string {
			if int(f.Index) >= len(file.Objects) {
				return ""
			}
			return file.Fault(int(f.Index), f.Field, "%s", faultText(f)).Error()
		}}
		for _, o := range file.Objects {
			set.changes = append(set.changes, convert.FromChange(policy.Change{Verb: policy.Put, Object: o}))
		}
		if !from.replace {
			return set, nil
		}
		rest, err := leftovers(ctx, daemon, file)
		set.changes = append(set.changes, rest...)
		return set, err
	})
	if err != nil {
		return err
	}
	return report(ctx, daemon, how, answer)
}

func (f *fromFile) read(in io.Reader) (*policyfile.File, error) {
	if f.name != "-" {
		return policyfile.Load(f.name)
	}
	data, err := io.ReadAll(in)
	if err != nil {
		return nil, err
	}
	return policyfile.Parse("standard input", data)
}

// leftovers deletes what policy has and the file has not, but for what hosts learned:
// no file of an operator's can have that, and VMs would be cut off until they are
// learned anew.
func leftovers(ctx context.Context, daemon *client.Client, file *policyfile.File) ([]*pacav1.Change, error) {
	kept := map[policy.Key]bool{policy.Global{}.Key(): true}
	for _, o := range file.Objects {
		kept[o.Key()] = true
	}
	learned := learnable(file)
	var changes []*pacav1.Change
	_, err := export(ctx, daemon, func(m *pacav1.Object, o policy.Object) {
		if !kept[o.Key()] && !learned(o) {
			changes = append(changes, &pacav1.Change{Change: &pacav1.Change_Delete{Delete: m}})
		}
	})
	return changes, err
}

// learnable says of an object if it is a record that hosts could have learned of what
// a file says, and not from the file.
func learnable(file *policyfile.File) func(policy.Object) bool {
	learns := map[policy.Key]bool{} // l2-only records
	prefixes := map[policy.VSID][]netip.Prefix{}
	for _, o := range file.Objects {
		switch o := o.(type) {
		case policy.VirtualSubnet:
			prefixes[o.VSID] = o.Prefixes
		case policy.LookupRecord:
			switch o.Type {
			case policy.L2Only:
				learns[o.Key()] = true
			case policy.Dynamic:
				return func(policy.Object) bool { return false }
			}
		}
	}
	return func(o policy.Object) bool {
		r, ok := o.(policy.LookupRecord)
		any := netip.IPv4Unspecified()
		if r.CA.Is6() {
			any = netip.IPv6Unspecified()
		}
		return ok && r.Type == policy.Dynamic && learns[policy.RecordKey(r.VSID, any, r.MAC)] &&
			slices.ContainsFunc(prefixes[r.VSID], func(p netip.Prefix) bool { return p.Contains(r.CA) })
	}
}

// export visits all policy but what the host file says.
func export(ctx context.Context, daemon *client.Client, visit func(*pacav1.Object, policy.Object)) (revision uint64, err error) {
	stream, err := daemon.Export(ctx, connect.NewRequest(&pacav1.ExportRequest{}))
	if err != nil {
		return 0, err
	}
	defer stream.Close()
	for stream.Receive() {
		revision = stream.Msg().Revision
		for _, m := range stream.Msg().Objects {
			if hostFile(m) {
				continue
			}
			o, err := convert.Object(m)
			if err != nil {
				return 0, err
			}
			visit(m, o)
		}
	}
	return revision, stream.Err()
}

func hostFile(o *pacav1.Object) bool {
	return o.GetPort().GetHostFile() || o.GetProviderAddress().GetHostFile() || o.GetProviderRoute().GetHostFile()
}

func (c *ctl) export() *cobra.Command {
	command := c.asks("export", "Write all policy as a file that apply takes", nil)
	command.RunE = c.asking(longPatience, func(ctx context.Context, daemon *client.Client, _ []string) error {
		if c.format != formatTable {
			all, err := client.All(daemon.Export(ctx, connect.NewRequest(&pacav1.ExportRequest{})))
			if err != nil {
				return err
			}
			return c.show(all, nil)
		}
		var objects []policy.Object
		if _, err := export(ctx, daemon, func(_ *pacav1.Object, o policy.Object) { objects = append(objects, o) }); err != nil {
			return err
		}
		return policyfile.Write(c.out, slices.Values(objects))
	})
	command.Long = "Write all policy as a policy file (TOML), which apply takes back to no change. Ports, provider\n" +
		"addresses and provider routes of the host file are left out: they cannot be changed here.\n" +
		"With -o json or yaml, everything is in it."
	command.Example = example("pacactl export")
	return command
}
