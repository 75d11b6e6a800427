package main

import (
	"context"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/client"
)

// global is the one object of its kind: it is never added, listed or deleted.
var global = &noun{
	name:   "global",
	one:    "global settings",
	short:  "Settings of the host as a whole",
	object: "global",
	fields: []field{
		{name: "use_external_router", part: free, help: "packets between virtual subnets go to an external router"},
	},
}

func (c *ctl) global() *cobra.Command {
	get := func(ctx context.Context, daemon *client.Client) (*pacav1.GetResponse, error) {
		r, err := daemon.Get(ctx, connect.NewRequest(&pacav1.GetRequest{Object: global.wrap(global.new())}))
		if err != nil {
			return nil, err
		}
		return r.Msg, nil
	}
	show := c.asks("show", "Show the global settings", func(ctx context.Context, daemon *client.Client, _ []string) error {
		r, err := get(ctx, daemon)
		if err != nil {
			return err
		}
		return c.show(r, func() string { return sheet(r.Object.GetGlobal().ProtoReflect()) })
	})
	show.Example = example("pacactl global show")

	var how change
	news := global.new()
	set := c.asks("set", "Change the global settings", func(ctx context.Context, daemon *client.Client, _ []string) error {
		return c.send(ctx, daemon, how, blind, func() (*changeSet, error) {
			return &changeSet{changes: []*pacav1.Change{{Change: &pacav1.Change_Put{Put: global.wrap(news)}}}}, nil
		})
	})
	set.Example = example("pacactl global set --use-external-router=true")
	for i := range global.fields {
		f := &global.fields[i]
		c.flag(set, news, f, f.help, nil)
		_ = set.MarkFlagRequired(f.flagName()) // with a second field, read the first before
	}
	how.flags(set)
	return noVerb(global.name, global.short, show, set)
}
