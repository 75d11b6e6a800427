// Command pacactl asks a running pacad what it knows, and changes its policy.
//
//	pacactl NOUN add|set|del|list|show ...
//	pacactl apply -f FILE, diff -f FILE, export, ps1 FILE, watch
//	pacactl next-hop [SRC-CA] DST-CA --vsid N, mtu, mtu test PA
//	pacactl migrate --vsid N --ca A --to PA
//	pacactl status, workers, drops, neighbor list, version, completion SHELL
//
// The nouns are virtual-subnet, lookup-record, customer-route, provider-address,
// provider-route, port and global. Each stands in a file of its own, as a table of
// the fields that the API's message has; what can be done with nouns is in noun.go,
// once.
//
// Every command takes --socket and -o table|json|yaml. JSON is the API's own, with
// the names of ctrl/api/paca/v1/control.proto; as in all protobuf JSON, 64-bit
// numbers are strings. With -o json or yaml an error is that too, on stderr.
//
// Exit codes: 0 done, 1 refused by the daemon, 2 wrong usage, which is also a file
// or script that cannot be read or understood, 3 daemon unreachable.
//
// Floor 3. It is pure Go: it builds and runs with no DPDK on the machine, and
// imports nothing of paca but the API, its client, and policy with its files.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"paca/ctrl/client"
)

// version is set by the linker.
var version = "dev"

// The patience is for a daemon that takes the question and does not answer.
const (
	patience     = time.Minute
	longPatience = 10 * time.Minute // for all of policy at once
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// ctl is one run of the program.
type ctl struct {
	socket string
	format format
	in     io.Reader
	out    io.Writer
	asked  bool // the command line was understood
}

// nouns are what policy is made of.
var nouns = []*noun{virtualSubnets, lookupRecords, customerRoutes, providerAddresses, providerRoutes, ports, global}

func run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) (code int) {
	c := &ctl{format: formatTable, in: in, out: out}
	root := c.root()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errOut)
	if err := root.ExecuteContext(ctx); err != nil {
		return c.fail(errOut, args, err)
	}
	return 0
}

// root is all commands.
func (c *ctl) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "pacactl",
		Short: "Ask a running pacad what it knows, and change its policy",
		Long: `Ask a running pacad what it knows, and change its policy.

Each change is made whole or not at all, and is durable and in force when the
command ends. What is refused is refused with every fault and the rule that it
breaks.

Exit codes: 0 done; 1 refused by the daemon, or diff found a difference, or
nothing passed in mtu test; 2 wrong usage, or a file or script that cannot be read
or understood; 3 daemon unreachable.

For completion in a shell: pacactl completion bash|zsh|fish|powershell.`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.PersistentFlags().StringVar(&c.socket, "socket", "/run/paca/paca.sock", "control socket of the pacad to ask")
	root.PersistentFlags().VarP(&c.format, "output", "o", "table, json or yaml")
	c.completes(root, "output", &field{words: []string{string(formatTable), string(formatJSON), string(formatYAML)}})
	for _, n := range nouns {
		if n == global {
			root.AddCommand(c.global())
			continue
		}
		root.AddCommand(c.verbs(n))
	}
	root.AddCommand(c.apply(), c.diff(), c.export(), c.ps1(), c.migrate(), c.watch(), c.nextHop(), c.mtu())
	root.AddCommand(c.status(), c.workers(), c.drops(), c.neighbor(), c.version())
	return root
}

// noVerb is a command that only groups verbs; called alone it is wrong usage.
func noVerb(use, short string, verbs ...*cobra.Command) *cobra.Command {
	n := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(n *cobra.Command, _ []string) error {
		return missingVerb(n)
	}}
	n.AddCommand(verbs...)
	return n
}

// question is what a command has to say to the daemon.
type question func(context.Context, *client.Client, []string) error

// asks makes a command that talks to the daemon.
func (c *ctl) asks(use, short string, ask question) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: c.asking(patience, ask)}
}

// asking gives up when the daemon keeps silent for all of patience; 0 is for ever.
func (c *ctl) asking(patience time.Duration, ask question) func(*cobra.Command, []string) error {
	return func(command *cobra.Command, args []string) error {
		c.asked = true
		ctx := command.Context()
		if patience > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, patience)
			defer cancel()
		}
		daemon := client.Dial(c.socket)
		defer daemon.Close()
		return ask(ctx, daemon, args)
	}
}

// example indents the lines of an example as cobra wants them.
func example(lines string) string {
	return "  " + strings.ReplaceAll(lines, "\n", "\n  ")
}
