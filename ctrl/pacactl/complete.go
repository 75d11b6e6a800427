package main

import (
	"context"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/client"
)

// completion offers values for a flag or an argument while a shell waits.
type completion func(*ctl, context.Context) []string

// hurry is how long a shell is kept waiting.
const hurry = time.Second

func (c *ctl) completes(command *cobra.Command, flag string, f *field) {
	offer := f.complete
	if f.words != nil {
		offer = func(*ctl, context.Context) []string { return f.words }
	}
	if offer == nil {
		offer = func(*ctl, context.Context) []string { return nil }
	}
	_ = command.RegisterFlagCompletionFunc(flag, func(command *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return offer(c, command.Context()), cobra.ShellCompDirectiveNoFileComp
	}) // fails only for a flag that is not there
}

func portNames(c *ctl, ctx context.Context) []string { return c.portsOf(ctx) }

func uplinks(c *ctl, ctx context.Context) []string { return c.portsOf(ctx, "uplink") }

func (c *ctl) portsOf(ctx context.Context, roles ...string) (names []string) {
	ctx, cancel := context.WithTimeout(ctx, hurry)
	defer cancel()
	daemon := client.Dial(c.socket)
	defer daemon.Close()
	all, err := client.All(daemon.ListPorts(ctx, connect.NewRequest(&pacav1.ListPortsRequest{Role: roles})))
	if err != nil {
		return nil
	}
	for _, p := range all.Ports {
		names = append(names, p.Name)
	}
	return names
}

// vsids offers virtual subnets with their prefixes.
func vsids(c *ctl, ctx context.Context) (offers []string) {
	ctx, cancel := context.WithTimeout(ctx, hurry)
	defer cancel()
	daemon := client.Dial(c.socket)
	defer daemon.Close()
	all, err := client.All(daemon.ListVirtualSubnets(ctx, connect.NewRequest(&pacav1.ListVirtualSubnetsRequest{})))
	if err != nil {
		return nil
	}
	for _, v := range all.VirtualSubnets {
		offers = append(offers, cobra.CompletionWithDesc(strconv.Itoa(int(v.Vsid)), strings.Join(v.Prefixes, " ")))
	}
	return offers
}
