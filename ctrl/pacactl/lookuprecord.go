package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/client"
)

func (c *ctl) lookupRecord() *cobra.Command {
	selector := &pacav1.ListLookupRecordsRequest{}
	list := c.asks("list", "List lookup records and where their packets go", func(ctx context.Context, daemon *client.Client) error {
		return c.listLookupRecords(ctx, daemon, selector)
	})
	flags := list.Flags()
	flags.Func("vsid", "only of these virtual subnets", func(s string) error {
		for number := range strings.SplitSeq(s, ",") {
			v, err := strconv.ParseUint(number, 10, 32)
			if err != nil {
				return fmt.Errorf("%q is not a number of 32 bits", number)
			}
			selector.Vsid = append(selector.Vsid, uint32(v))
		}
		return nil
	})
	flags.StringSliceVar(&selector.Ca, "ca", nil, "only of these customer addresses")
	flags.StringSliceVar(&selector.Pa, "pa", nil, "only behind these provider addresses")
	flags.StringSliceVar(&selector.Mac, "mac", nil, "only of these MACs")
	return noun("lookup-record", "Which CA lives behind which PA", list)
}

func (c *ctl) listLookupRecords(ctx context.Context, daemon *client.Client, selector *pacav1.ListLookupRecordsRequest) error {
	all, err := client.All(daemon.ListLookupRecords(ctx, connect.NewRequest(selector)))
	if err != nil {
		return err
	}
	return c.show(all, func() string {
		var rows [][]string
		for _, r := range all.LookupRecords {
			rows = append(rows, []string{strconv.Itoa(int(r.Vsid)), r.Ca, r.Mac, r.Pa, r.Mode, destination(r)})
		}
		return layOut([]column{{"VSID", number}, {"CA", text}, {"MAC", fixed}, {"PA", text}, {"MODE", fixed}, {"GOES TO", text}}, rows)
	})
}

// destination says where packets for a record go.
func destination(r *pacav1.LookupRecord) string {
	switch {
	case r.Port != "":
		return "port " + r.Port
	case r.NextHop != "":
		return r.NextHop + " " + r.NextHopState
	case r.NextHopState != "":
		return r.NextHopState
	}
	return "-"
}
