package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/client"
)

func (c *ctl) mtu() *cobra.Command {
	q := &pacav1.ListPathMTUsRequest{}
	command := c.asks("mtu", "Show how large packets may be on their way to other hosts", func(ctx context.Context, daemon *client.Client, _ []string) error {
		return c.listMTUs(ctx, daemon, q)
	})
	for _, f := range []field{
		{name: "vsid", help: "only of these virtual subnets", complete: vsids},
		{name: "pa", help: "only to these provider addresses"},
	} {
		c.flag(command, q.ProtoReflect(), &f, f.help, nil)
	}
	command.Long = "Show, for each virtual subnet and each PA of another host with VMs of it, the largest IP packet that a VM\n" +
		"may send there, and what sets this limit: the MTU of the uplink's port, or what was learned of the way."
	command.AddCommand(c.testPath())
	return command
}

func (c *ctl) listMTUs(ctx context.Context, daemon *client.Client, q *pacav1.ListPathMTUsRequest) error {
	all, err := client.All(daemon.ListPathMTUs(ctx, connect.NewRequest(q)))
	if err != nil {
		return err
	}
	return c.show(all, func() string {
		var rows [][]string
		for _, m := range all.PathMtus {
			rows = append(rows, []string{strconv.Itoa(int(m.Vsid)), m.Pa, m.SourcePa, decimal(uint64(m.Limit)), limitedBy(m)})
		}
		return layOut([]column{{"VSID", number}, {"PA", text}, {"FROM PA", text}, {"LARGEST", number}, {"SET BY", text}}, rows)
	})
}

// limitedBy words what sets the limit of a way.
func limitedBy(m *pacav1.PathMTU) string {
	switch {
	case m.PathMtu != 0 && m.LimitedBy == "path":
		return fmt.Sprintf("path MTU %d, learned %v ago", m.PathMtu, time.Duration(m.AgeSeconds)*time.Second)
	case m.PortMtu != 0:
		return fmt.Sprintf("port %s, MTU %d", m.Port, m.PortMtu)
	}
	return m.LimitedBy
}

func (c *ctl) testPath() *cobra.Command {
	q := &pacav1.TestPathRequest{}
	command := c.asks("test PA", "Find out with real packets what the way to a PA carries", func(ctx context.Context, daemon *client.Client, args []string) error {
		q.Pa = args[0]
		r, err := daemon.TestPath(ctx, connect.NewRequest(q))
		if err != nil {
			return err
		}
		if err := c.show(r.Msg, func() string { return testText(r.Msg) }); err != nil || r.Msg.Largest != 0 {
			return err
		}
		return errNothingPassed
	})
	command.Args = cobra.ExactArgs(1)
	for _, f := range []field{
		{name: "source_pa", flag: "from", help: "provider address of this host to send from; without it one that reaches PA"},
		{name: "size", help: "try only this size: of the whole outer IP packet, in bytes"},
	} {
		c.flag(command, q.ProtoReflect(), &f, f.help, nil)
	}
	command.Long = "Send packets that nobody may break up from this host to the PA of another, and say which sizes arrived and\n" +
		"came back: the largest, if none is given. If none did, the exit code is 1. Sizes are of the whole outer IP packet in bytes; a VM's packet\n" +
		"may be 42 smaller, or 62 between IPv6 PAs."
	command.Example = example("pacactl mtu test 192.168.2.20\npacactl mtu test 192.168.2.20 --size 1400 --from 192.168.1.10")
	return command
}

// errNothingPassed ends a test with exit code 1 when it has said what it found.
var errNothingPassed = errors.New("nothing passed")

func testText(r *pacav1.TestPathResponse) string {
	var rows [][]string
	for _, p := range r.Probes {
		result := p.Reason
		if p.Passed {
			result = "passed, " + microseconds(p.RoundTripUs)
		}
		rows = append(rows, []string{decimal(uint64(p.Size)), result})
	}
	page := layOut([]column{{"SIZE", number}, {"RESULT", text}}, rows)
	way := fmt.Sprintf("from %s to %s, %s sent", r.SourcePa, r.Pa, amount(r.Attempts, "packet", "packets"))
	if r.Largest == 0 {
		return page + "nothing passed " + way + "\n"
	}
	return page + fmt.Sprintf("largest that passed: %d, %s; %s\n", r.Largest, microseconds(r.RoundTripUs), way)
}

func microseconds(n uint32) string {
	if n < 1000 {
		return fmt.Sprintf("%d µs", n)
	}
	return strings.TrimSuffix(strconv.FormatFloat(float64(n)/1000, 'f', 1, 64), ".0") + " ms"
}
