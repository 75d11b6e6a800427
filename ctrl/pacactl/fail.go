package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"paca/ctrl/api"
	pacav1 "paca/ctrl/api/paca/v1"
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
	Message  string `json:"message"`         // of a refused set, its first fault
	Code     string `json:"code,omitempty"`  // of the API, ERROR_CODE_…
	Field    string `json:"field,omitempty"` // of the request
	Rule     string `json:"rule,omitempty"`  // of the specification
	ExitCode int    `json:"exit_code"`

	Faults     []fault `json:"faults,omitempty"`      // of a refused set, the first of them
	FaultCount uint32  `json:"fault_count,omitempty"` // of all
}

// fault is one fault of a refused set.
type fault struct {
	Message string `json:"message"` // with where it is: in the file, or the object
	Object  string `json:"object"`
	Index   uint32 `json:"index"` // in the set
	Field   string `json:"field,omitempty"`
	Problem string `json:"problem"`
	Rule    string `json:"rule,omitempty"`
}

// usage is an error of the command line that only came out later.
type usage struct{ error }

// unusable is a file or script that cannot be read or understood: the daemon was not
// asked for any change.
type unusable struct{ error }

// fail says what went wrong and picks the exit code.
func (c *ctl) fail(to io.Writer, args []string, err error) int {
	if errors.Is(err, errDiffers) || errors.Is(err, errRefused) || errors.Is(err, errNothingPassed) {
		return exitRefused
	}
	f := c.explain(err)
	if c.format == formatTable {
		c.format = wanted(args)
	}
	if c.format != formatTable {
		_ = c.encode(to, map[string]failure{"error": f}) // where would a second error go?
		return f.ExitCode
	}
	for _, fault := range f.Faults {
		fmt.Fprintf(to, "pacactl: %s\n", fault.Message)
	}
	if hidden := int(f.FaultCount) - len(f.Faults); hidden > 0 {
		fmt.Fprintf(to, "pacactl: and %d faults more\n", hidden)
	}
	if len(f.Faults) > 0 {
		return f.ExitCode
	}
	for line := range strings.Lines(f.Message) {
		fmt.Fprintf(to, "pacactl: %s\n", strings.TrimSuffix(line, "\n"))
	}
	return f.ExitCode
}

func (c *ctl) explain(err error) failure {
	f := failure{Message: err.Error(), ExitCode: exitRefused}
	var refused *connect.Error
	var late usage
	var local unusable
	switch {
	case !c.asked || errors.As(err, &late):
		f.ExitCode = exitUsage
		f.Message += "; see pacactl --help"
	case errors.As(err, &local):
		f.ExitCode = exitUsage
	case errors.Is(err, client.ErrUnreachable):
		f.ExitCode = exitUnreachable
		f.Message = fmt.Sprintf("no pacad answers on %s: %v; is it running? --socket names another", c.socket, innermost(err))
	case errors.Is(err, context.Canceled):
		f.Message = "interrupted"
	case errors.Is(err, errNotFound):
		f.Code = pacav1.ErrorCode_ERROR_CODE_NOT_FOUND.String()
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
			f.FaultCount = d.FaultCount
			set := &changeSet{}
			var r *refusal
			if errors.As(err, &r) {
				set = r.set
			}
			for _, one := range d.Faults {
				f.Faults = append(f.Faults, fault{set.word(one), one.Object, one.Index, one.Field, one.Problem, one.Rule})
			}
			if len(f.Faults) > 0 {
				f.Message = f.Faults[0].Message
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

// wanted looks for -o in a command line that could not be parsed.
func wanted(args []string) format {
	all := " " + strings.Join(args, " ") + " "
	for _, f := range []format{formatJSON, formatYAML} {
		for _, form := range []string{" -o ", " -o", " -o=", " --output ", " --output="} {
			if strings.Contains(all, form+string(f)+" ") {
				return f
			}
		}
	}
	return formatTable
}

func missingVerb(n *cobra.Command) error {
	var verbs []string
	for _, v := range n.Commands() {
		verbs = append(verbs, v.Name())
	}
	return fmt.Errorf("%s needs a verb: %s", n.Name(), strings.Join(verbs, ", "))
}
