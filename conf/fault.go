package conf

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// Fault is one thing wrong with a file, in words for the one who wrote it.
type Fault struct {
	File string
	Line int    // from 1; 0 = not about a line
	Key  string // "port[1].mtu"; empty = not about a key
	Msg  string // what is wrong; what to do

	cause error // nil unless the system said no
}

// Unwrap is what the system said.
func (f *Fault) Unwrap() error { return f.cause }

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

// unreadable is the fault of a file that cannot be read at all.
func unreadable(file string, err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err // the fault names the file
	}
	return &Fault{File: file, Msg: fmt.Sprintf("%v; name a file that exists and can be read", err), cause: err}
}
