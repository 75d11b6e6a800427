// Package ps1 reads the policy part of PowerShell scripts for Hyper-V Network
// Virtualization and says what it changes: all verbs of the NetWNV cmdlets that
// make sense here (spec section C), and of Set-VMNetworkAdapter the VSID, the
// switches and the limit of a port (C7). A script becomes one set of changes,
// which is applied whole or not at all; what is not understood stops the
// translation with FILE:LINE.
//
// Parsing (parse.go) makes statements of text, running (run.go) makes values of
// statements and calls cmdlets, whose tables of parameters are in cmdlets.go
// and nouns.go. Cmdlets change a state (state.go), which remembers what was
// before; at the end, what differs is the set of changes.
//
// Floor 3, and pure: it imports policy and packet, opens no file and speaks to
// no daemon. Policy as it is comes in as Env.
package ps1

import (
	"errors"
	"fmt"
	"iter"
	"net/netip"

	"paca/dataplane/policy"
)

// Env is what a script meets on the host.
type Env struct {
	// Objects is all policy in force. Ports among it are found by their MAC.
	Objects iter.Seq[policy.Object]
	// Uplink stands for whatever network adapter a script names. If it is
	// empty, an uplink that bears the adapter's name does, else the only one.
	Uplink string
}

// Program is a script, understood.
type Program struct {
	// Changes in an order that could also be made one by one: what goes
	// first, then what comes, each kind after those it refers to.
	Changes []policy.Change
	// Output of Get-, Select- and Write-, in the script's order.
	Output []Output

	file   string
	lines  []int           // of Changes
	before []policy.Object // what Changes replace or delete; nil for what they add
}

// Output is one thing that a script wants shown: Text, or a question to the
// daemon, which is best asked when the changes are in force.
type Output struct {
	Line    int
	Text    string // without the last line end; an object is followed by an empty line
	NextHop *NextHop
}

// NextHop is the question of Select-NetVirtualizationNextHop (C6).
type NextHop struct {
	VSID     policy.VSID
	Src, Dst netip.Addr // Src may be the zero Addr
}

// Error is what stopped a script.
type Error struct {
	File string
	Line int
	Text string
}

func (e *Error) Error() string { return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Text) }

// Locate names the script's line instead of the index in Changes in each fault
// that is found in err; an error without faults is returned as it is.
func (p *Program) Locate(err error) error {
	faults := policy.Faults(err)
	if len(faults) == 0 {
		return err
	}
	var located []error
	for _, f := range faults {
		if f.Index < 0 || f.Index >= len(p.lines) {
			located = append(located, f)
			continue
		}
		located = append(located, &Error{p.file, p.lines[f.Index], fmt.Sprintf("%s.%s: %s", f.Object, f.Field, f.Text())})
	}
	return errors.Join(located...)
}
