// Command pacactl asks a running pacad what it knows.
//
//	pacactl status
//	pacactl port list
//	pacactl lookup-record list [--vsid N] [--ca ADDRESS] [--pa ADDRESS] [--mac MAC]
//	pacactl drops [--all]
//	pacactl neighbor list
//	pacactl version
//
// Every command takes --socket and -o table|json. JSON is the API's own, with the
// names of ctrl/api/paca/v1/control.proto; as in all protobuf JSON, 64-bit numbers
// are strings. With -o json an error is JSON too, on stderr.
//
// Exit codes: 0 done, 1 refused by the daemon, 2 wrong usage, 3 daemon
// unreachable.
//
// Floor 3. It is pure Go: it builds and runs with no DPDK on the machine, and
// imports nothing of paca but the API and its client.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"paca/ctrl/client"
)

// version is set by the linker.
var version = "dev"

// patience is for a daemon that takes the question and does not answer.
const patience = time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// ctl is one run of the program.
type ctl struct {
	socket string
	format format
	out    io.Writer
	asked  bool // the command line was understood
}

func run(ctx context.Context, args []string, out, errOut io.Writer) (code int) {
	c := &ctl{format: formatTable, out: out}
	root := &cobra.Command{
		Use:           "pacactl",
		Short:         "Ask a running pacad what it knows",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.PersistentFlags().StringVar(&c.socket, "socket", "/run/paca/paca.sock", "control socket of the pacad to ask")
	root.PersistentFlags().VarP(&c.format, "output", "o", "table or json")
	root.AddCommand(c.status(), c.port(), c.lookupRecord(), c.drops(), c.neighbor(), c.version())
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errOut)
	if err := root.ExecuteContext(ctx); err != nil {
		return c.fail(errOut, args, err)
	}
	return 0
}

// noun is a command that only groups verbs; called alone it is wrong usage.
func noun(use, short string, verbs ...*cobra.Command) *cobra.Command {
	n := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(n *cobra.Command, _ []string) error {
		return missingVerb(n)
	}}
	n.AddCommand(verbs...)
	return n
}

// asks makes a command that puts one question to the daemon.
func (c *ctl) asks(use, short string, ask func(context.Context, *client.Client) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(command *cobra.Command, _ []string) error {
		c.asked = true
		ctx, cancel := context.WithTimeout(command.Context(), patience)
		defer cancel()
		daemon := client.Dial(c.socket)
		defer daemon.Close()
		return ask(ctx, daemon)
	}}
}
