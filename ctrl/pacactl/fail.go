package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"paca/ctrl/api"
	"paca/ctrl/client"
)

// The exit codes, besides 0.
const (
	exitRefused     = 1
	exitUsage       = 2
	exitUnreachable = 3
)

// failure is an error as scripts see it.
type failure struct {
	Message  string `json:"message"`
	Code     string `json:"code,omitempty"`  // of the API, ERROR_CODE_…
	Field    string `json:"field,omitempty"` // of the request
	Rule     string `json:"rule,omitempty"`  // of the specification
	ExitCode int    `json:"exit_code"`
}

// fail says what went wrong and picks the exit code.
func (c *ctl) fail(to io.Writer, args []string, err error) int {
	f := c.explain(err)
	if c.format == formatJSON || wantsJSON(args) {
		encoder := json.NewEncoder(to)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		_ = encoder.Encode(map[string]failure{"error": f}) // where would a second error go?
		return f.ExitCode
	}
	fmt.Fprintf(to, "pacactl: %s\n", f.Message)
	return f.ExitCode
}

func (c *ctl) explain(err error) failure {
	f := failure{Message: err.Error(), ExitCode: exitRefused}
	var refused *connect.Error
	switch {
	case !c.asked:
		f.ExitCode = exitUsage
		f.Message += "; see pacactl --help"
	case errors.Is(err, client.ErrUnreachable):
		f.ExitCode = exitUnreachable
		f.Message = fmt.Sprintf("no pacad answers on %s: %v; is it running? --socket names another", c.socket, innermost(err))
	case errors.Is(err, context.Canceled):
		f.Message = "interrupted"
	case errors.As(err, &refused) && !connect.IsWireError(err): // the daemon did not say it
		f.ExitCode = exitUnreachable
		f.Message = fmt.Sprintf("pacad on %s went silent: %v", c.socket, innermost(err))
	case errors.As(err, &refused):
		f.Message = refused.Message()
		if refused.Code() == connect.CodeUnimplemented {
			f.Message += "; is pacad older than pacactl?"
		}
		if d := api.Detail(err); d != nil {
			f.Code, f.Field, f.Rule = d.Code.String(), d.Field, d.Rule
			if d.Rule != "" {
				f.Message += " (" + d.Rule + ")"
			}
		}
	}
	return f
}

// innermost is what the system said, without the layers that
// passed it on.
func innermost(err error) error {
	for {
		switch wrapped := err.(type) {
		case interface{ Unwrap() error }:
			if wrapped.Unwrap() == nil {
				return err
			}
			err = wrapped.Unwrap()
		case interface{ Unwrap() []error }:
			all := wrapped.Unwrap()
			err = all[len(all)-1]
		default:
			return err
		}
	}
}

// wantsJSON looks for -o json in a command line that could not be parsed.
func wantsJSON(args []string) bool {
	all := " " + strings.Join(args, " ") + " "
	for _, form := range []string{" -o json ", " -ojson ", " -o=json ", " --output json ", " --output=json "} {
		if strings.Contains(all, form) {
			return true
		}
	}
	return false
}

func missingVerb(n *cobra.Command) error {
	var verbs []string
	for _, v := range n.Commands() {
		verbs = append(verbs, v.Name())
	}
	return fmt.Errorf("%s needs a verb: %s", n.Name(), strings.Join(verbs, ", "))
}
