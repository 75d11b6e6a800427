package conf

import (
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// lineIndex says on which line each key of a TOML document stands, because the
// TOML library does not. Keys are written as faults write them: "port[1].mtu",
// "workers.cores[0]", parts that are not bare keys in quotes. A table that is
// never opened by a header of its own stands where its first key does.
type lineIndex map[string]int

// at finds the line of key or, when the document does not have it, of the
// nearest table around it; line 1 is the document as a whole.
func (x lineIndex) at(key string) int {
	for key != "" {
		if n, ok := x[key]; ok {
			return n
		}
		key = enclosing(key)
	}
	return 1
}

// enclosing cuts the last part off a key: "port[1].mtu" → "port[1]" → "port" → "".
func enclosing(key string) string {
	quoted := false
	cut := 0
	for i := 0; i < len(key); i++ {
		switch {
		case quoted && key[i] == '\\':
			i++
		case key[i] == '"':
			quoted = !quoted
		case !quoted && (key[i] == '.' || key[i] == '['):
			cut = i
		}
	}
	return key[:cut]
}

// indexLines scans a document that the TOML library has accepted. It follows
// headers, keys and values only as far as it must to know where the next key
// starts. On anything else it stops early and never panics.
func indexLines(doc string) lineIndex {
	s := scanner{doc: doc, line: 1, index: lineIndex{}, elements: map[string]int{}}
	s.document()
	return s.index
}

type scanner struct {
	doc      string
	pos      int
	line     int
	index    lineIndex
	elements map[string]int // elements so far of each array of tables
}

func (s *scanner) document() {
	table := ""
	for s.skipBlank(); s.pos < len(s.doc); s.skipBlank() {
		start := s.pos
		if s.doc[s.pos] == '[' {
			table = s.header()
		} else {
			s.keyValue(table)
		}
		if s.pos == start {
			return
		}
	}
}

// header reads "[a.b]" or "[[a.b]]" and returns the path of the table it opens.
func (s *scanner) header() string {
	array := strings.HasPrefix(s.doc[s.pos:], "[[")
	s.pos++
	if array {
		s.pos++
	}
	path := ""
	parts := s.key()
	for i, part := range parts {
		path = dot(path, part)
		s.note(path)
		if array && i == len(parts)-1 {
			s.elements[path]++
		}
		// A path through an array of tables means its newest element.
		if n := s.elements[path]; n > 0 {
			path = element(path, n-1)
			s.note(path)
		}
	}
	s.take(']')
	s.take(']')
	return path
}

// keyValue reads "a.b = value" inside table.
func (s *scanner) keyValue(table string) {
	path := table
	for _, part := range s.key() {
		path = dot(path, part)
		s.note(path)
	}
	s.skipSpace()
	if s.take('=') {
		s.skipSpace()
		s.value(path)
	}
}

// key reads a dotted key.
func (s *scanner) key() []string {
	var parts []string
	for {
		s.skipSpace()
		start := s.pos
		switch {
		case s.pos < len(s.doc) && (s.doc[s.pos] == '"' || s.doc[s.pos] == '\''):
			s.text()
			parts = append(parts, unquote(s.doc[start:s.pos]))
		default:
			for s.pos < len(s.doc) && isBare(s.doc[s.pos]) {
				s.pos++
			}
			if s.pos == start {
				return parts
			}
			parts = append(parts, s.doc[start:s.pos])
		}
		s.skipSpace()
		if !s.take('.') {
			return parts
		}
	}
}

// value skips over the value of the key path and notes the keys inside it.
func (s *scanner) value(path string) {
	if s.pos == len(s.doc) {
		return
	}
	switch s.doc[s.pos] {
	case '"', '\'':
		s.text()
	case '[':
		s.pos++
		for i := 0; s.more(']'); i++ {
			s.note(element(path, i))
			start := s.pos
			s.value(element(path, i))
			s.skipBlank()
			if !s.take(',') && s.pos == start {
				return
			}
		}
	case '{':
		s.pos++
		for s.more('}') {
			start := s.pos
			s.keyValue(path)
			s.skipBlank()
			if !s.take(',') && s.pos == start {
				return
			}
		}
	default: // number, boolean, date
		if n := strings.IndexAny(s.doc[s.pos:], ",]}#\n"); n >= 0 {
			s.pos += n
		} else {
			s.pos = len(s.doc)
		}
	}
}

// more says whether another element comes before the closing bracket, and
// steps over the bracket if not.
func (s *scanner) more(closing byte) bool {
	s.skipBlank()
	return s.pos < len(s.doc) && !s.take(closing)
}

// text skips over a string in any of TOML's four forms.
func (s *scanner) text() {
	quote := s.doc[s.pos : s.pos+1]
	if triple := strings.Repeat(quote, 3); strings.HasPrefix(s.doc[s.pos:], triple) {
		quote = triple
	}
	s.pos += len(quote)
	for s.pos < len(s.doc) {
		switch {
		case s.doc[s.pos] == '\\' && quote[0] == '"':
			s.pos++ // the character behind it cannot end the string
			s.step()
		case strings.HasPrefix(s.doc[s.pos:], quote):
			s.pos += len(quote)
			// Up to two quotes may stand right before the closing three.
			for len(quote) == 3 && s.take(quote[0]) {
			}
			return
		default:
			s.step()
		}
	}
}

// step moves over one byte and counts lines.
func (s *scanner) step() {
	if s.pos < len(s.doc) {
		if s.doc[s.pos] == '\n' {
			s.line++
		}
		s.pos++
	}
}

func (s *scanner) take(c byte) bool {
	if s.pos < len(s.doc) && s.doc[s.pos] == c {
		s.pos++
		return true
	}
	return false
}

func (s *scanner) skipSpace() {
	for s.take(' ') || s.take('\t') {
	}
}

// skipBlank moves over space, line ends and comments.
func (s *scanner) skipBlank() {
	for s.pos < len(s.doc) {
		switch s.doc[s.pos] {
		case ' ', '\t', '\r', '\n':
			s.step()
		case '#':
			for s.pos < len(s.doc) && s.doc[s.pos] != '\n' {
				s.pos++
			}
		default:
			return
		}
	}
}

// note keeps the first line on which a key is met.
func (s *scanner) note(path string) {
	if _, ok := s.index[path]; !ok {
		s.index[path] = s.line
	}
}

// unquote takes the quotes and escapes off a quoted key, in the library's way.
func unquote(raw string) string {
	var v struct{ K string }
	if _, err := toml.Decode("K = "+raw, &v); err != nil {
		return raw
	}
	return v.K
}

func isBare(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

// dot adds a part to a path, in quotes unless it is a bare key.
func dot(path, part string) string {
	bare := part != ""
	for i := range len(part) {
		bare = bare && isBare(part[i])
	}
	if !bare {
		part = strconv.Quote(part)
	}
	if path == "" {
		return part
	}
	return path + "." + part
}

func element(path string, i int) string {
	return path + "[" + strconv.Itoa(i) + "]"
}
