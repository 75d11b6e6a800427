package conf

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Fault is one thing wrong with a file, in words for the one who wrote it.
type Fault struct {
	File string
	Line int    // from 1; 0 = not about a line
	Key  string // "port[1].mtu"; empty = not about a key
	Msg  string // what is wrong; what to do
}

// Error is "host1.toml:12: port[1].mtu: 80 is below 1280; use 1280 to 9702".
func (f *Fault) Error() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.Line > 0 {
		fmt.Fprintf(&b, ":%d", f.Line)
	}
	if f.Key != "" {
		b.WriteString(": " + f.Key)
	}
	b.WriteString(": " + f.Msg)
	return b.String()
}

// join puts faults in the order of their lines.
func join(faults []*Fault) error {
	slices.SortStableFunc(faults, func(a, b *Fault) int { return cmp.Compare(a.Line, b.Line) })
	errs := make([]error, len(faults))
	for i, f := range faults {
		errs[i] = f
	}
	return errors.Join(errs...)
}
