package main

import (
	"context"
	"strconv"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/client"
)

func (c *ctl) port() *cobra.Command {
	return noun("port", "Ports of the host", c.asks("list", "List ports and what went through them", c.listPorts))
}

func (c *ctl) listPorts(ctx context.Context, daemon *client.Client) error {
	all, err := client.All(daemon.ListPorts(ctx, connect.NewRequest(&pacav1.ListPortsRequest{})))
	if err != nil {
		return err
	}
	return c.show(all, func() string {
		var rows [][]string
		for _, p := range all.Ports {
			vsid, link := "-", "down"
			if p.Vsid != 0 {
				vsid = strconv.Itoa(int(p.Vsid))
			}
			if p.LinkUp {
				link = "up"
			}
			rows = append(rows, []string{p.Name, p.Role, vsid, link, decimal(p.RxPackets), decimal(p.TxPackets),
				decimal(p.GetDeviceStats().GetRxMissed()), decimal(p.DroppedPackets), p.Device})
		}
		return layOut([]column{{"NAME", text}, {"ROLE", fixed}, {"VSID", number}, {"LINK", fixed}, {"RX", number}, {"TX", number},
			{"MISSED", number}, {"DROPPED", number}, {"DEVICE", text}}, rows)
	})
}
