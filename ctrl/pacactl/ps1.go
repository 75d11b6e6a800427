package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"paca/ctrl/api/convert"
	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/client"
	"paca/ctrl/pacactl/ps1"
	"paca/dataplane/policy"
)

func (c *ctl) ps1() *cobra.Command {
	var uplink string
	var how change
	command := &cobra.Command{Use: "ps1 FILE", Short: "Run the policy part of an HNV PowerShell script", Args: cobra.ExactArgs(1)}
	command.RunE = c.asking(longPatience, func(ctx context.Context, daemon *client.Client, args []string) error {
		script, err := os.ReadFile(args[0])
		if args[0] == "-" {
			script, err = io.ReadAll(c.in)
		}
		if err != nil {
			return unusable{err}
		}
		var program *ps1.Program
		answer, err := apply(ctx, daemon, how, sighted, func() (*changeSet, error) {
			var objects []policy.Object
			stream, err := client.All(daemon.Export(ctx, connect.NewRequest(&pacav1.ExportRequest{})))
			if err != nil {
				return nil, err
			}
			for _, m := range stream.Objects {
				o, err := convert.Object(m)
				if err != nil {
					return nil, err
				}
				objects = append(objects, o)
			}
			program, err = ps1.Translate(args[0], script, ps1.Env{Objects: slices.Values(objects), Uplink: uplink})
			if err != nil {
				return nil, unusable{err}
			}
			return &changeSet{changes: convert.FromChanges(program.Changes), locate: func(f *pacav1.Fault) string {
				return program.Locate(&policy.Fault{Object: f.Object, Index: int(f.Index), Field: f.Field, Problem: f.Problem, Rule: f.Rule}).Error()
			}}, nil
		})
		if err != nil {
			return err
		}
		if how.dryRun && c.format == formatTable {
			_, err := io.WriteString(c.out, strings.Join(append(program.Commands(), ""), "\n"))
			return err
		}
		if err := c.report(ctx, daemon, how, answer); err != nil || c.format != formatTable {
			return err
		}
		refused, err := c.outputs(ctx, daemon, program.Output, command.ErrOrStderr())
		if err == nil && refused && answer.Changed == 0 {
			return errRefused
		}
		return err
	})
	command.Flags().StringVar(&uplink, "uplink", "", "uplink that stands for the script's network adapters")
	c.completes(command, "uplink", &field{complete: uplinks})
	how.flags(command)
	command.Flags().Lookup("dry-run").Usage = "print the commands of pacactl that would do the same, and change nothing"
	command.Long = "Run the policy part of an HNV PowerShell script as it stands: the NetWNV cmdlets, and of\n" +
		"Set-VMNetworkAdapter -VirtualSubnetId, -MacAddressSpoofing, -DhcpGuard, -RouterGuard and\n" +
		"-DynamicIPAddressLimit. It becomes one set of changes, made whole or not at all;\n" +
		"what is not understood, or does not fit policy as it is, stops it before anything is changed,\n" +
		"with exit code 2. What the script shows comes after the number of changes, and its questions\n" +
		"(Select-NetVirtualizationNextHop) are asked then; of one that is refused stderr has a line, and the\n" +
		"exit code is 1 if nothing was changed, else 0. With -o json or yaml nothing is shown or asked."
	command.Example = example("pacactl ps1 setup.ps1 --dry-run\npacactl ps1 setup.ps1 --uplink uplink0")
	return command
}

// errRefused ends a script with exit code 1 when stderr has said why.
var errRefused = errors.New("a question was refused")

// outputs prints what a script shows. Its questions are asked when its changes are
// in force, so that a refused one is no refusal of the script: it is told on errOut.
func (c *ctl) outputs(ctx context.Context, daemon *client.Client, all []ps1.Output, errOut io.Writer) (refused bool, err error) {
	for _, o := range all {
		page := o.Text + "\n"
		if q := o.NextHop; q != nil {
			request := &pacav1.NextHopRequest{Vsid: uint32(q.VSID), DstCa: q.Dst.String()}
			if q.Src.IsValid() {
				request.SrcCa = q.Src.String()
			}
			r, err := daemon.NextHop(ctx, connect.NewRequest(request))
			if err != nil {
				refused = true
				fmt.Fprintf(errOut, "pacactl: line %d: %s\n", o.Line, c.explain(err).Message)
				continue
			}
			page = nextHopText(r.Msg)
		}
		if _, err := io.WriteString(c.out, page); err != nil {
			return refused, err
		}
	}
	return refused, nil
}
