package conf

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/BurntSushi/toml"
)

// document is one TOML file while it is being read, and afterwards the memory
// of where its keys stood.
type document struct {
	file   string
	lines  func() lineIndex // made when first asked for: a good file needs none
	faults []*Fault
}

// parse checks the syntax of data.
func parse(file string, data []byte) (*document, *table, error) {
	text := strings.TrimPrefix(string(data), "\uFEFF")
	d := &document{file: file, lines: sync.OnceValue(func() lineIndex { return indexLines(text) })}
	root := map[string]any{}
	if _, err := toml.Decode(text, &root); err != nil {
		var syntax toml.ParseError
		if !errors.As(err, &syntax) {
			return nil, nil, &Fault{File: file, Msg: err.Error()}
		}
		return nil, nil, &Fault{File: file, Line: syntax.Position.Line, Key: syntax.LastKey, Msg: "not TOML: " + syntax.Message}
	}
	return d, &table{doc: d, values: root}, nil
}

// fault makes the Fault of a key, on its line.
func (d *document) fault(key, format string, args ...any) *Fault {
	return &Fault{File: d.file, Line: d.lines().at(key), Key: key, Msg: fmt.Sprintf(format, args...)}
}

func (d *document) addFault(key, format string, args ...any) {
	d.faults = append(d.faults, d.fault(key, format, args...))
}

// table is one TOML table being read. Every key read is taken from values, so
// what is left is unknown.
type table struct {
	doc    *document
	path   string
	values map[string]any
	known  []string
}

func (t *table) key(name string) string { return dot(t.path, name) }

func (t *table) take(name string) (any, bool) {
	t.known = append(t.known, name)
	v, ok := t.values[name]
	delete(t.values, name)
	return v, ok
}

// optional reads a value into dst, which keeps its default when the key is
// absent. It reports whether dst now holds a good value from the file.
func optional[T any](t *table, name string, dst *T, parse func(any) (T, error)) bool {
	v, ok := t.take(name)
	if !ok {
		return false
	}
	parsed, err := parse(v)
	if err != nil {
		t.doc.addFault(t.key(name), "%v", err)
		return false
	}
	*dst = parsed
	return true
}

// required reads a value that has no default; missing says why it is needed.
func required[T any](t *table, name string, dst *T, parse func(any) (T, error), missing string) bool {
	if _, ok := t.values[name]; !ok {
		t.known = append(t.known, name)
		t.doc.addFault(t.key(name), "is missing; %s", missing)
		return false
	}
	return optional(t, name, dst, parse)
}

// list reads an array; every element is judged by itself. It reports whether
// dst now holds a good list from the file.
func list[T any](t *table, name string, dst *[]T, parse func(any) (T, error)) bool {
	v, ok := t.take(name)
	if !ok {
		return false
	}
	values, ok := elements(v)
	if !ok {
		t.doc.addFault(t.key(name), "%s; write a list, [...]", not(v, "a list"))
		return false
	}
	*dst = make([]T, len(values))
	good := true
	for i, v := range values {
		parsed, err := parse(v)
		if err != nil {
			t.doc.addFault(element(t.key(name), i), "%v", err)
			good = false
		}
		(*dst)[i] = parsed
	}
	return good
}

// refuse reports a key that has no business in this table.
func (t *table) refuse(name, why string) {
	if _, ok := t.take(name); ok {
		t.doc.addFault(t.key(name), "%s; remove it", why)
	}
}

// table reads the subtable name, if it is there.
func (t *table) table(name string, read func(*table)) {
	v, ok := t.take(name)
	if !ok {
		v = map[string]any{} // so that what it requires is missed
	}
	values, ok := v.(map[string]any)
	if !ok {
		form := "[" + name + "]"
		if t.path != "" {
			form = name + " = { ... }"
		}
		t.doc.addFault(t.key(name), "%s; write %s", not(v, "a table"), form)
		return
	}
	sub := &table{doc: t.doc, path: t.key(name), values: values}
	read(sub)
	sub.unknown()
}

// tables reads the array of tables name.
func (t *table) tables(name string, read func(*table)) {
	v, ok := t.take(name)
	if !ok {
		return
	}
	list, ok := elements(v)
	for _, e := range list {
		_, table := e.(map[string]any)
		ok = ok && table
	}
	if !ok {
		t.doc.addFault(t.key(name), "%s; write [[%s]] once for each", not(v, "a list of tables"), name)
		return
	}
	for i, e := range list {
		values := e.(map[string]any)
		sub := &table{doc: t.doc, path: element(t.key(name), i), values: values}
		read(sub)
		sub.unknown()
	}
}

// elements sees an array as one kind of thing, written inline or with [[headers]].
func elements(v any) ([]any, bool) {
	if tables, ok := v.([]map[string]any); ok {
		list := make([]any, len(tables))
		for i, t := range tables {
			list[i] = t
		}
		return list, true
	}
	list, ok := v.([]any)
	return list, ok
}

// unknown reports every key that nobody asked for.
func (t *table) unknown() {
	for _, name := range slices.Sorted(maps.Keys(t.values)) {
		advice := "known here: " + strings.Join(t.known, ", ")
		if near := nearest(name, t.known); near != "" {
			advice = "did you mean " + near + "?"
		}
		t.doc.addFault(t.key(name), "unknown key; %s", advice)
	}
}

// nearest finds the known key that name is a slip of the keyboard away from.
func nearest(name string, known []string) string {
	best, bestDistance := "", 1+max(1, len(name)/3)
	for _, k := range known {
		d := distance(strings.ReplaceAll(strings.ToLower(name), "-", "_"), k)
		if d < bestDistance {
			best, bestDistance = k, d
		}
	}
	return best
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// not words a value of the wrong TOML type.
func not(v any, want string) string {
	switch v := v.(type) {
	case string:
		return fmt.Sprintf("%q is a string, not %s", v, want)
	case int64, float64, bool:
		return fmt.Sprintf("%v is not %s", v, want)
	case []any, []map[string]any:
		return "is a list, not " + want
	case map[string]any:
		return "is a table, not " + want
	default:
		return "a date or time is not " + want
	}
}

// The readers of single values. Each says what is wrong and what to do.

func text(v any) (string, error) {
	s, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("%s; put it in quotes", not(v, "a string"))
	}
	return s, nil
}

func boolean(v any) (bool, error) {
	b, ok := v.(bool)
	if !ok {
		return false, fmt.Errorf("%s; use true or false", not(v, "a boolean"))
	}
	return b, nil
}

func integer[T ~int | ~uint16 | ~uint32](low, high T) func(any) (T, error) {
	return func(v any) (T, error) {
		n, ok := v.(int64)
		switch {
		case !ok:
			return 0, fmt.Errorf("%s; use %d to %d, without quotes", not(v, "a whole number"), low, high)
		case n < int64(low):
			return 0, fmt.Errorf("%d is below %d; use %d to %d", n, low, low, high)
		case n > int64(high):
			return 0, fmt.Errorf("%d is above %d; use %d to %d", n, high, low, high)
		}
		return T(n), nil
	}
}

// vsid takes the numbers a virtual subnet may have. // W4
var vsid = integer[uint32](4096, 16777214)

func oneOf[T ~string](choices ...T) func(any) (T, error) {
	quoted := make([]string, len(choices))
	for i, c := range choices {
		quoted[i] = strconv.Quote(string(c))
	}
	offer := strings.Join(quoted, ", ")
	return func(v any) (T, error) {
		s, ok := v.(string)
		switch {
		case !ok:
			return "", fmt.Errorf("%s; use one of %s", not(v, "a string"), offer)
		case !slices.Contains(choices, T(s)):
			return "", fmt.Errorf("%q is unknown; use one of %s", s, offer)
		}
		return T(s), nil
	}
}

var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// name is a word that goes into commands and metric labels.
func name(v any) (string, error) {
	s, err := text(v)
	if err == nil && !validName.MatchString(s) {
		err = fmt.Errorf("%q is not a name; use up to 63 letters, digits, dots, dashes and underscores, the first a letter or digit", s)
	}
	return s, err
}

func address(v any) (netip.Addr, error) {
	s, err := text(v)
	if err != nil {
		return netip.Addr{}, err
	}
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		return a, fmt.Errorf("%q is not an IP address; write 192.168.1.10 or 2001:db8::10", s)
	case a.Zone() != "":
		return a, fmt.Errorf("%q has a zone; write the address without %%%s", s, a.Zone())
	case a.Is4In6():
		return a, fmt.Errorf("%q is an IPv4 address in IPv6 clothes; write %s", s, a.Unmap())
	}
	return a, nil
}

// cidr is an address with the length of its subnet's prefix.
func cidr(v any) (netip.Prefix, error) {
	s, err := text(v)
	if err != nil {
		return netip.Prefix{}, err
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return p, fmt.Errorf("%q is not an address with a prefix length; write 192.168.1.10/24 or 2001:db8::10/64", s)
	case p.Addr().Is4In6():
		return p, fmt.Errorf("%q is an IPv4 prefix in IPv6 clothes; write it as IPv4", s)
	}
	return p, nil
}

// prefix is a cidr without host bits.
func prefix(v any) (netip.Prefix, error) {
	p, err := cidr(v)
	if err == nil && p != p.Masked() {
		err = fmt.Errorf("%q has bits behind its %d-bit prefix; write %s", p, p.Bits(), p.Masked())
	}
	return p, err
}

// unicastMAC is what a network card can have as its own.
func unicastMAC(v any) ([6]byte, error) {
	mac, err := anyMAC(v)
	if err == nil && mac[0]&1 != 0 {
		err = fmt.Errorf("%q is a multicast address; use one whose first byte is even", v)
	}
	return mac, err
}

// anyMAC is where a frame can go.
func anyMAC(v any) (mac [6]byte, err error) {
	s, err := text(v)
	if err != nil {
		return mac, err
	}
	digits := s
	if len(s) == 17 {
		for i := 2; i < 17; i += 3 {
			if s[i] != s[2] || s[i] != ':' && s[i] != '-' {
				digits = ""
			}
		}
		if digits != "" {
			digits = strings.ReplaceAll(s, s[2:3], "")
		}
	}
	if !unhex(mac[:], digits) {
		return mac, fmt.Errorf("%q is not a MAC address; write 02:00:00:00:01:01", s)
	}
	if mac == [6]byte{} {
		return mac, fmt.Errorf("%q is no card's address; use one that is not all zero", s)
	}
	return mac, nil
}

// guid is a routing domain's, with or without braces.
func guid(v any) (id [16]byte, err error) {
	s, err := text(v)
	if err != nil {
		return id, err
	}
	bare := s
	if strings.HasPrefix(s, "{") && strings.HasSuffix(s, "}") {
		bare = s[1 : len(s)-1]
	}
	groups := strings.Split(bare, "-")
	ok := len(groups) == 5
	for i, n := range []int{8, 4, 4, 4, 12} {
		ok = ok && len(groups[i]) == n
	}
	if !ok || !unhex(id[:], strings.Join(groups, "")) {
		return id, fmt.Errorf("%q is not a GUID; write {11111111-2222-3333-4444-000000000000}", s)
	}
	if id == [16]byte{} {
		return id, fmt.Errorf("%q is the empty GUID; give the routing domain one of its own", s)
	}
	return id, nil
}

// unhex fills dst from exactly as many hexadecimal digits.
func unhex(dst []byte, digits string) bool {
	if len(digits) != 2*len(dst) {
		return false
	}
	for i := range dst {
		n, err := strconv.ParseUint(digits[2*i:2*i+2], 16, 8)
		if err != nil {
			return false
		}
		dst[i] = byte(n)
	}
	return true
}

// socketPath is one that fits a socket address (108 bytes, the last one zero).
func socketPath(v any) (string, error) {
	s, err := text(v)
	if err != nil {
		return s, err
	}
	return s, checkSocketPath(s)
}

func checkSocketPath(s string) error {
	switch {
	case !filepath.IsAbs(s):
		return fmt.Errorf("%q is not an absolute path; start it with /", s)
	case len(s) > 107:
		return fmt.Errorf("path of %d bytes is too long for a socket; use at most 107", len(s))
	}
	return nil
}
