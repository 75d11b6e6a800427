package main

import (
	"context"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/client"
)

func (c *ctl) drops() *cobra.Command {
	var all bool
	command := c.asks("drops", "Show dropped packets by port and reason", func(ctx context.Context, daemon *client.Client, _ []string) error {
		return c.listDrops(ctx, daemon, all)
	})
	command.Example = example("pacactl drops")
	command.Flags().BoolVar(&all, "all", false, "also reasons that nothing was dropped for")
	return command
}

func (c *ctl) listDrops(ctx context.Context, daemon *client.Client, zero bool) error {
	all, err := client.All(daemon.ListDrops(ctx, connect.NewRequest(&pacav1.ListDropsRequest{IncludeZero: zero})))
	if err != nil {
		return err
	}
	return c.show(all, func() string {
		var rows [][]string
		for _, d := range all.Drops {
			rows = append(rows, []string{d.Port, d.Reason, decimal(d.Packets), d.Help})
		}
		return layOut([]column{{"PORT", text}, {"REASON", fixed}, {"PACKETS", number}, {"MEANING", text}}, rows)
	})
}
