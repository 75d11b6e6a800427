package main

import (
	"context"
	"fmt"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/client"
)

func (c *ctl) nextHop() *cobra.Command {
	q := &pacav1.NextHopRequest{}
	command := c.asks("next-hop [SRC-CA] DST-CA --vsid N", "Say what would happen to a packet, step by step", func(ctx context.Context, daemon *client.Client, args []string) error {
		q.DstCa = args[len(args)-1]
		if len(args) == 2 {
			q.SrcCa = args[0]
		}
		r, err := daemon.NextHop(ctx, connect.NewRequest(q))
		if err != nil {
			return err
		}
		return c.show(r.Msg, func() string { return nextHopText(r.Msg) })
	})
	command.Args = cobra.RangeArgs(1, 2)
	vsid := &field{name: "vsid", help: "virtual subnet of the sender", complete: vsids}
	c.flag(command, q.ProtoReflect(), vsid, vsid.help, nil)
	_ = command.MarkFlagRequired("vsid") // it is there
	command.Long = "Say what would happen to a packet from SRC-CA, or from any sender, to DST-CA: the code\n" +
		"that forwards gives the answer. Nothing is sent."
	command.Example = example("pacactl next-hop 10.1.1.11 10.1.1.12 --vsid 6001")
	return command
}

func nextHopText(r *pacav1.NextHopResponse) string {
	var b strings.Builder
	line := func(name, value string) {
		if value != "" && value != "0" {
			fmt.Fprintf(&b, "%-14s%s\n", name, value)
		}
	}
	line("verdict", r.Verdict)
	line("next hop", r.NextHopCa)
	line("source mac", r.SourceMac)
	line("next hop mac", r.NextHopMac)
	line("egress vsid", decimal(uint64(r.EgressVsid)))
	line("pa", r.Pa)
	line("local port", r.LocalPort)
	b.WriteString("\n")
	var rows [][]string
	for i, s := range r.Steps {
		rows = append(rows, []string{decimal(uint64(i + 1)), s.Text, s.Rule})
	}
	b.WriteString(layOut([]column{{"STEP", number}, {"WHAT", text}, {"RULE", fixed}}, rows))
	return b.String()
}
