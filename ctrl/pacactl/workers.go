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

func (c *ctl) workers() *cobra.Command {
	command := c.asks("workers", "Show what each worker does, and how evenly they share the work", func(ctx context.Context, daemon *client.Client, _ []string) error {
		r, err := daemon.Workers(ctx, connect.NewRequest(&pacav1.WorkersRequest{}))
		if err != nil {
			return err
		}
		return c.show(r.Msg, func() string { return workersText(r.Msg) })
	})
	command.Long = `Show what each worker does, and how evenly they share the work.

LOAD is the part of the last seconds in which a worker had something to do, PACKETS/S
what it carried in those: what it received, without what it gave to its peers, and
what they gave it. The other columns count from the start. BEHIND are packets that it
dropped since the peer whose they were had too many: drop reason worker_queue.`
	command.Example = example("pacactl workers\npacactl workers -o json")
	return command
}

func workersText(r *pacav1.WorkersResponse) string {
	var rows, polled [][]string
	for _, w := range r.Workers {
		load, rate, queues := "-", "-", "-"
		if r.Seconds > 0 {
			load, rate = fmt.Sprintf("%.1f", 100*w.Load), strconv.FormatFloat(w.PacketsPerSecond, 'f', 0, 64)
		}
		if len(w.Queues) > 0 {
			queues = strings.Join(w.Queues, " ")
		}
		rows = append(rows, []string{strconv.Itoa(int(w.Core)), load, rate, decimal(w.RxPackets), decimal(w.GivenPackets), decimal(w.TakenPackets),
			decimal(w.TxPackets), decimal(w.DroppedPackets), decimal(w.QueueDrops)})
		polled = append(polled, []string{strconv.Itoa(int(w.Core)), queues})
	}
	table := layOut([]column{{"CORE", number}, {"LOAD %", number}, {"PACKETS/S", number}, {"RECEIVED", number}, {"GIVEN", number}, {"TAKEN", number},
		{"SENT", number}, {"DROPPED", number}, {"BEHIND", number}}, rows)
	if r.Seconds > 0 && len(r.Workers) > 1 {
		even := "no load"
		if r.Imbalance > 0 {
			even = fmt.Sprintf("%.2f: the busiest worker's load over the mean", r.Imbalance)
		}
		table += fmt.Sprintf("\nimbalance %s, of the last %.0f s\n", even, r.Seconds)
	}
	return table + "\n" + layOut([]column{{"CORE", number}, {"QUEUES", text}}, polled)
}
