package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

const manDir = "../../docs/man"

// commands are all commands, groups too.
func commands(root *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{root}
	for _, c := range root.Commands() {
		all = append(all, commands(c)...)
	}
	return all
}

// docs/man holds a page for each command, as the commands themselves have it:
// make man.
func TestManPages(t *testing.T) {
	c := &ctl{format: formatTable, out: io.Discard}
	root := c.root()
	root.DisableAutoGenTag = true
	made := map[string]string{}
	for _, command := range commands(root) {
		command.DisableAutoGenTag = true
		name := strings.ReplaceAll(command.CommandPath(), " ", "-")
		var page bytes.Buffer
		header := &doc.GenManHeader{Title: strings.ToUpper(name), Section: "1", Source: "paca", Manual: "paca"}
		if err := doc.GenMan(command, header, &page); err != nil {
			t.Fatal(err)
		}
		// A page is as old as what it says, not as its making.
		dated := regexp.MustCompile(`(?m)^(\.TH "[^"]*" "1") "[^"]*"`)
		made[name+".1"] = dated.ReplaceAllString(page.String(), `$1 ""`)
	}
	if *update {
		old, err := filepath.Glob(filepath.Join(manDir, "pacactl*.1"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range old {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.MkdirAll(manDir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, page := range made {
			if err := os.WriteFile(filepath.Join(manDir, name), []byte(page), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	there, err := filepath.Glob(filepath.Join(manDir, "pacactl*.1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range there {
		if _, ok := made[filepath.Base(file)]; !ok {
			t.Errorf("%s is the page of no command: make man", file)
		}
	}
	for name, page := range made {
		text, err := os.ReadFile(filepath.Join(manDir, name))
		if err != nil || string(text) != page {
			t.Errorf("docs/man/%s is not what the command says (%v): make man", name, err)
		}
	}
}

// Every command that does something shows how, and every flag says what for.
func TestEveryCommandIsDocumented(t *testing.T) {
	c := &ctl{format: formatTable, out: io.Discard}
	for _, command := range commands(c.root()) {
		if command.Short == "" {
			t.Errorf("%s says nothing about itself", command.CommandPath())
		}
		if command.HasSubCommands() == (command.Example != "") {
			t.Errorf("%s: a command has examples if it has no verbs", command.CommandPath())
		}
		for _, line := range strings.Split(command.Example, "\n") {
			if command.Example != "" && !slices.Equal(strings.Fields(line)[:len(strings.Fields(command.CommandPath()))], strings.Fields(command.CommandPath())) {
				t.Errorf("%s has an example of something else: %s", command.CommandPath(), line)
			}
		}
	}
}
