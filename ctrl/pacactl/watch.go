package main

import (
	"context"
	"errors"
	"fmt"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/client"
)

func (c *ctl) watch() *cobra.Command {
	var after uint64
	command := &cobra.Command{Use: "watch", Short: "Tell every change of policy until interrupted", Args: cobra.NoArgs}
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
	command.Long = "Tell every change of policy until interrupted: + and a new object or its new state, - and\n" +
		"the identity of one that is gone. With -o json each message is one line."
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
	return c.show(m, func() string { return layOut(watchColumns, rows) })
}
