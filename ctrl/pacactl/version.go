package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

// version asks no daemon: it is about this program.
func (c *ctl) version() *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Show the version of pacactl", Example: example("pacactl version"), Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
		c.asked = true
		if c.format != formatTable {
			return c.encode(c.out, map[string]string{"version": version})
		}
		_, err := fmt.Fprintln(c.out, version)
		return err
	}}
}
