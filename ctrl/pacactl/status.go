package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/client"
)

func (c *ctl) status() *cobra.Command {
	command := c.asks("status", "Show what the host is and how its workers do", func(ctx context.Context, daemon *client.Client, _ []string) error {
		r, err := daemon.Status(ctx, connect.NewRequest(&pacav1.StatusRequest{}))
		if err != nil {
			return err
		}
		return c.show(r.Msg, func() string { return statusText(r.Msg) })
	})
	command.Example = example("pacactl status -o json")
	return command
}

func statusText(s *pacav1.StatusResponse) string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-10s%s\n", name, fmt.Sprintf(format, args...))
	}
	n := s.GetCounts()
	line("host", "%s", s.Name)
	line("pacad", "%s, pid %d, up %s, since %s", s.Version, s.Pid,
		time.Duration(s.UptimeSeconds)*time.Second, time.Unix(s.Started, 0).UTC().Format(time.RFC3339))
	line("policy", "version %d: %s, %s, %s", s.PolicyVersion,
		amount(n.GetVirtualSubnets(), "virtual subnet", "virtual subnets"),
		amount(n.GetLookupRecords(), "lookup record", "lookup records"),
		amount(n.GetCustomerRoutes(), "customer route", "customer routes"))
	line("provider", "%s, %s, %s",
		amount(n.GetProviderAddresses(), "address", "addresses"),
		amount(n.GetProviderRoutes(), "route", "routes"),
		amount(n.GetNeighbors(), "neighbor", "neighbors"))
	line("fib", "version %d", s.FibVersion)
	line("ports", "%d", n.GetPorts())
	b.WriteString("\n")

	var rows [][]string
	for _, w := range s.Workers {
		busy := "-"
		if polls := w.PollsEmpty + w.PollsValid; polls > 0 {
			busy = fmt.Sprintf("%.1f", 100*float64(w.PollsValid)/float64(polls))
		}
		rows = append(rows, []string{strconv.Itoa(int(w.Core)), decimal(w.PollsValid), decimal(w.PollsEmpty), busy, decimal(w.Sleeps)})
	}
	b.WriteString(layOut([]column{{"CORE", number}, {"POLLS VALID", number}, {"POLLS EMPTY", number}, {"VALID %", number}, {"SLEEPS", number}}, rows))
	return b.String()
}

func amount(n uint32, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }
