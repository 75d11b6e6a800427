package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/reflect/protoreflect"

	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/client"
)

func (c *ctl) watch() *cobra.Command {
	var after uint64
	command := &cobra.Command{Use: "watch", Short: "Tell every change of policy, and what the host notices, until interrupted", Args: cobra.NoArgs}
	command.RunE = c.asking(0, func(ctx context.Context, daemon *client.Client, _ []string) error {
		q := &pacav1.WatchRequest{}
		if command.Flags().Changed("after") {
			q.AfterRevision = &after
		}
		stream, err := daemon.Watch(ctx, connect.NewRequest(q))
		if err != nil {
			return err
		}
		defer stream.Close()
		for stream.Receive() {
			if err := c.tell(stream.Msg()); err != nil {
				return err
			}
		}
		if errors.Is(ctx.Err(), context.Canceled) {
			return nil // the one who watches has enough
		}
		if err := stream.Err(); err != nil {
			return err
		}
		return fmt.Errorf("%w: it ended the watch", client.ErrUnreachable)
	})
	command.Flags().Uint64Var(&after, "after", 0, "begin with the changes after this revision; without it, with those to come")
	command.Long = "Tell every change of policy until interrupted: its revision, + and a new object or its new state, -\n" +
		"and the identity of one that is gone. In between, what the host notices from now on: the time (UTC), ! and\n" +
		"what it is: policy-mismatch (a VM sent to a CA without a record), redirect and unreachable (another host\n" +
		"says where a VM is now, or that it has none), customer-address (a CA was learned, moved or given up),\n" +
		"provider-address (a PA of this host is in another state), path-mtu. With -o json each message is one line."
	command.Example = example("pacactl watch --after 1")
	return command
}

var watchColumns = []column{{"", number}, {"", fixed}, {"", fixed}, {"", text}, {"", text}}

// tell prints one message of a watch. The first says only where it starts.
func (c *ctl) tell(m *pacav1.WatchResponse) error {
	if c.format != formatTable {
		return c.showOne(m)
	}
	var rows [][]string
	for _, one := range m.Changes {
		sign := "+"
		if one.GetDelete() != nil {
			sign = "-"
		}
		rows = append(rows, append([]string{decimal(m.Revision)}, changeLine(sign, object(one), nil)...))
	}
	for _, n := range m.Notices {
		rows = append(rows, noticeLine(n))
	}
	if m.NoticesLost > 0 {
		rows = append(rows, []string{"", "!", "lost", fmt.Sprintf("%d notices, for want of being read", m.NoticesLost), ""})
	}
	return c.show(m, func() string { return layOut(watchColumns, rows) })
}

// noticeLine is a line about what the host noticed.
func noticeLine(n *pacav1.Notice) []string {
	var who, what []string
	m := n.ProtoReflect()
	for _, name := range []protoreflect.Name{"vsid", "ca", "mac", "pa", "new_pa", "reason"} {
		d := descriptor(m, name)
		if !m.Has(d) {
			continue
		}
		word := strings.ReplaceAll(string(name), "_", "-") + "=" + m.Get(d).String()
		switch name {
		case "new_pa":
			what = append(what, word)
		case "reason":
			what = append(what, n.Reason)
		default:
			who = append(who, word)
		}
	}
	return []string{time.UnixMilli(n.TimeMs).UTC().Format("15:04:05"), "!", n.Kind, strings.Join(who, " "), strings.Join(what, " ")}
}
