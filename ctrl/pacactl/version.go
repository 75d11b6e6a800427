package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
)

// version asks no daemon: it is about this program.
func (c *ctl) version() *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Show the version of pacactl", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
		c.asked = true
		if c.format == formatJSON {
			encoder := json.NewEncoder(c.out)
			encoder.SetIndent("", "  ")
			return encoder.Encode(map[string]string{"version": version})
		}
		_, err := fmt.Fprintln(c.out, version)
		return err
	}}
}
