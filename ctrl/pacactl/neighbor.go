package main

import (
	"context"
	"strconv"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/client"
)

func (c *ctl) neighbor() *cobra.Command {
	list := c.asks("list", "List next hops and whether they answer", c.listNeighbors)
	list.Example = example("pacactl neighbor list")
	return noVerb("neighbor", "Next hops on the provider network", list)
}

func (c *ctl) listNeighbors(ctx context.Context, daemon *client.Client, _ []string) error {
	all, err := client.All(daemon.ListNeighbors(ctx, connect.NewRequest(&pacav1.ListNeighborsRequest{})))
	if err != nil {
		return err
	}
	return c.show(all, func() string {
		var rows [][]string
		for _, n := range all.Neighbors {
			vlan, mac := "-", "-"
			if n.Vlan != 0 {
				vlan = strconv.Itoa(int(n.Vlan))
			}
			if n.Mac != "" {
				mac = n.Mac
			}
			rows = append(rows, []string{n.Port, vlan, n.Address, mac, n.State})
		}
		return layOut([]column{{"PORT", text}, {"VLAN", number}, {"ADDRESS", text}, {"MAC", fixed}, {"STATE", fixed}}, rows)
	})
}
