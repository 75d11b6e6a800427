// Command pacad is the dataplane of one host.
//
//	pacad run -c FILE      forward until SIGINT or SIGTERM
//	pacad check -c FILE    validate the host file and its policy, start nothing
//	pacad version
//
// Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"paca/conf"
	"paca/ctrl/daemon"
)

// version is set by the linker.
var version = "dev"

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	var file, recoverFrom string
	root := &cobra.Command{
		Use:           "pacad",
		Short:         "Hyper-V Network Virtualization dataplane of one host",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	started := false // an error before that is one of usage
	add := func(use, short string, do func(ctx context.Context) error) *cobra.Command {
		c := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
			started = true
			return do(c.Context())
		}}
		root.AddCommand(c)
		return c
	}
	withFile := func(c *cobra.Command) {
		c.Flags().StringVarP(&file, "config", "c", "/etc/paca/paca.toml", "host file")
	}
	forward := add("run", "forward until SIGINT or SIGTERM", func(ctx context.Context) error {
		return daemon.Run(ctx, file, recoverFrom, version)
	})
	withFile(forward)
	forward.Flags().StringVar(&recoverFrom, "recover-from", "", "policy file (of pacactl export) to start from should the store be unreadable; the store's file is kept under another name")
	withFile(add("check", "validate the host file and its policy, start nothing", func(context.Context) error {
		if err := daemon.Check(file); err != nil {
			return err
		}
		fmt.Println(file + ": good")
		return nil
	}))
	add("version", "print the version", func(context.Context) error {
		fmt.Println(version)
		return nil
	})

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process whatever it is at
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	go func() {
		for range hup {
			slog.Warn("SIGHUP: files are read at start only; restart to apply them")
		}
	}()

	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, err) // one line for each fault
	var fault *conf.Fault
	if !started || errors.As(err, &fault) {
		return 2
	}
	return 1
}
