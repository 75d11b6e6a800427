package ps1

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// What a script says, before anything of it is done.
type (
	statement struct {
		line   int
		assign string // the variable, in lower case; empty: none
		pipe   *pipeline
	}
	pipeline struct {
		head     expr // nil if it begins with a command
		commands []*command
	}
	command struct {
		line  int
		name  string
		args  []argument
		where []condition // of Where-Object
	}
	// argument is a parameter's name, a value, or, after a colon, both.
	argument struct {
		param string
		value expr
		splat bool
		line  int
	}
	// condition is $_.property -eq value, or -ne.
	condition struct {
		property string
		negate   bool
		value    expr
		line     int
	}

	expr     any // of the types that follow
	literal  struct{ v value }
	variable struct {
		name string // lower case
		line int
	}
	property struct {
		of   expr
		name string
		line int
	}
	interpolated struct { // a string in double quotes
		parts []expr
		line  int
	}
	list struct {
		items []expr
		line  int
	}
	table struct {
		keys   []string
		values []expr
		line   int
	}
	sub struct{ body []statement }
)

// maxDepth bounds parentheses within parentheses.
const maxDepth = 32

type parser struct {
	file  string
	src   string
	at    int
	line  int
	depth int
}

// stop ends the translation; Translate recovers it.
func stop(file string, line int, format string, args ...any) {
	panic(&Error{file, line, fmt.Sprintf(format, args...)})
}

func (p *parser) fail(format string, args ...any) { stop(p.file, p.line, format, args...) }

// parse reads a whole script.
func parse(file string, script []byte) []statement {
	p := &parser{file: file, line: 1}
	p.src = p.decode(script)
	body := p.statements()
	if !p.end() {
		p.fail("%s closes nothing", p.shown())
	}
	return body
}

// decode takes UTF-8, and UTF-16 if it says so: what Windows' editors write.
func (p *parser) decode(b []byte) string {
	s := string(b)
	if le := strings.HasPrefix(s, "\xff\xfe"); le || strings.HasPrefix(s, "\xfe\xff") {
		units := make([]uint16, 0, len(b)/2)
		for i := 2; i+1 < len(b); i += 2 {
			if le {
				units = append(units, uint16(b[i])|uint16(b[i+1])<<8)
			} else {
				units = append(units, uint16(b[i])<<8|uint16(b[i+1]))
			}
		}
		s = string(utf16.Decode(units))
	}
	s = strings.TrimPrefix(s, "\ufeff")
	s = strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
	for n, line := range strings.Split(s, "\n") {
		if !utf8.ValidString(line) || strings.ContainsRune(line, 0) {
			stop(p.file, n+1, "this is not text in UTF-8; save the script as such")
		}
	}
	return s
}

func (p *parser) end() bool { return p.at == len(p.src) }

func (p *parser) peek() rune {
	if p.end() {
		return -1
	}
	r, _ := utf8.DecodeRuneInString(p.src[p.at:])
	return r
}

// after is the rune behind the next one.
func (p *parser) after() rune {
	q := *p
	q.next()
	return q.peek()
}

func (p *parser) next() rune {
	r := p.peek()
	if r < 0 {
		return r
	}
	p.at += utf8.RuneLen(r)
	if r == '\n' {
		p.line++
	}
	return r
}

func (p *parser) take(s string) bool {
	if !strings.HasPrefix(p.src[p.at:], s) {
		return false
	}
	for range utf8.RuneCountInString(s) {
		p.next()
	}
	return true
}

// shown is what comes next, for messages.
func (p *parser) shown() string {
	rest := p.src[p.at:]
	if end := strings.IndexFunc(rest, unicode.IsSpace); end > 0 {
		rest = rest[:end]
	}
	if r := []rune(rest); len(r) > 24 {
		rest = string(r[:24]) + "…"
	}
	switch {
	case p.end():
		return "the end of the file"
	case p.peek() == '\n':
		return "the end of the line"
	}
	if strings.IndexFunc(rest, func(r rune) bool { return !unicode.IsPrint(r) }) >= 0 {
		return strconv.Quote(rest)
	}
	return "'" + rest + "'"
}

// PowerShell takes typographic quotes and dashes, which pasted scripts have, for
// the plain ones.
func isDouble(r rune) bool { return r == '"' || r >= '\u201c' && r <= '\u201e' }
func isSingle(r rune) bool { return r == '\'' || r >= '\u2018' && r <= '\u201b' }
func isDash(r rune) bool   { return r == '-' || r >= '\u2013' && r <= '\u2015' }

func isLetter(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '_' }
func isDigit(r rune) bool  { return r >= '0' && r <= '9' }
func isName(r rune) bool   { return isLetter(r) || isDigit(r) }

// space skips what stands between tokens of a line: spaces, comments, and line
// ends behind a backtick.
func (p *parser) space() {
	for {
		r := p.peek()
		switch {
		case r == '\n' || r < 0:
			return
		case unicode.IsSpace(r):
			p.next()
		case r == '#':
			for r := p.peek(); r >= 0 && r != '\n'; r = p.peek() {
				p.next()
			}
		case strings.HasPrefix(p.src[p.at:], "<#"):
			open := p.line
			for !p.take("#>") {
				if p.next() < 0 {
					stop(p.file, open, "the comment <# is not closed")
				}
			}
		case r == '`':
			p.next()
			if p.peek() != '\n' {
				p.fail("a backtick continues a line only as its last character")
			}
			p.next()
		default:
			return
		}
	}
}

// lines skips line ends, too.
func (p *parser) lines() {
	for p.space(); p.peek() == '\n'; p.space() {
		p.next()
	}
}

func (p *parser) enter() {
	if p.depth++; p.depth > maxDepth {
		p.fail("more than %d parentheses within each other", maxDepth)
	}
}

func (p *parser) leave() { p.depth-- }

// statements reads up to the end of the script or a closing parenthesis.
func (p *parser) statements() []statement {
	var all []statement
	for {
		for p.lines(); p.peek() == ';'; p.lines() {
			p.next()
		}
		if r := p.peek(); r < 0 || r == ')' || r == '}' {
			return all
		}
		all = append(all, p.statement())
		p.space()
		if r := p.peek(); r >= 0 && !strings.ContainsRune("\n;)}", r) {
			p.fail("%s is not understood here", p.shown())
		}
	}
}

func (p *parser) statement() statement {
	s := statement{line: p.line}
	if p.peek() == '$' && p.after() != '(' {
		q := *p
		name := q.variable().name
		q.space()
		switch r := q.peek(); {
		case r == '=' && q.after() != '=':
			q.next()
			q.lines()
			*p = q
			s.assign = name
		case strings.ContainsRune("+-*/%", r) && q.after() == '=':
			q.fail("%s is not understood: assign with =", q.shown())
		}
	}
	s.pipe = p.pipeline()
	return s
}

func (p *parser) pipeline() *pipeline {
	pipe := &pipeline{}
	r := p.peek()
	if isLetter(r) || r == '?' || r == '%' {
		pipe.commands = append(pipe.commands, p.command())
	} else {
		pipe.head = p.values(false)
	}
	for p.space(); p.peek() == '|'; p.space() {
		p.next()
		if p.peek() == '|' {
			p.fail("|| is not understood")
		}
		p.lines()
		pipe.commands = append(pipe.commands, p.command())
	}
	return pipe
}

// keywords begin statements that a list of changes has no need of.
var keywords = []string{"if", "else", "elseif", "for", "foreach", "while", "do", "until", "switch", "function", "filter", "param", "begin", "process", "end",
	"try", "catch", "finally", "trap", "throw", "return", "exit", "break", "continue", "class", "enum", "using", "workflow", "data", "in", "configuration"}

func (p *parser) command() *command {
	c := &command{line: p.line}
	start := p.at
	if r := p.peek(); r == '?' || r == '%' {
		p.next()
	} else {
		for r := p.peek(); isName(r) || isDash(r); r = p.peek() {
			p.next()
		}
	}
	c.name = strings.Map(func(r rune) rune {
		if isDash(r) {
			return '-'
		}
		return r
	}, p.src[start:p.at])
	if c.name == "" {
		p.fail("%s is not understood where a command's name should be", p.shown())
	}
	if slices.Contains(keywords, strings.ToLower(c.name)) {
		p.fail("%s is not understood: say each change by a line of its own", c.name)
	}
	if !p.delimited() && p.peek() != '{' {
		p.fail("%s is not understood behind %s", p.shown(), c.name)
	}
	name := strings.ToLower(c.name)
	if name == "where" || name == "where-object" || name == "?" {
		p.space()
		c.where = p.where()
		return c
	}
	if why, ok := refused[name]; ok {
		p.fail("%s is refused: %s", c.name, why)
	}
	if known[name] == nil {
		p.fail("%s is not understood", c.name)
	}
	p.space()
	for !p.closed() {
		c.args = append(c.args, p.argument())
		p.space()
	}
	return c
}

// delimited says whether a token may end here.
func (p *parser) delimited() bool {
	r := p.peek()
	return r < 0 || unicode.IsSpace(r) || strings.ContainsRune(";|),}`", r)
}

// closed says whether a command ends here.
func (p *parser) closed() bool {
	r := p.peek()
	return r < 0 || strings.ContainsRune("\n;|)}", r)
}

func (p *parser) argument() argument {
	a := argument{line: p.line}
	switch r := p.peek(); {
	case isDash(r) && isLetter(p.after()):
		a.param = p.dashed()
		if p.peek() == ':' {
			p.next()
			p.space()
			a.value = p.values(true)
		} else if !p.delimited() {
			p.fail("-%s: %s is not understood", a.param, p.shown())
		}
	case r == '@' && isLetter(p.after()):
		p.next()
		a.splat, a.value = true, &variable{p.name(), a.line}
	default:
		a.value = p.values(true)
	}
	return a
}

// dashed reads -Name.
func (p *parser) dashed() string {
	p.next()
	return p.name()
}

func (p *parser) name() string {
	start := p.at
	for isName(p.peek()) {
		p.next()
	}
	return p.src[start:p.at]
}

// where reads {$_.Property -eq value -and …} or Property -eq value.
func (p *parser) where() []condition {
	if q := *p; isDash(q.peek()) && isLetter(q.after()) {
		if name := q.dashed(); strings.EqualFold(name, "FilterScript") {
			q.space()
			*p = q
		}
	}
	if p.peek() != '{' {
		name := p.name()
		if name == "" {
			p.fail("%s is not understood: a condition is {$_.MacAddress -eq \"…\"}", p.shown())
		}
		return []condition{p.compare(name, true)}
	}
	p.next()
	var all []condition
	for {
		p.lines()
		if !p.take("$_.") {
			p.fail("%s is not understood: a condition begins with $_ and a property, like $_.MacAddress", p.shown())
		}
		all = append(all, p.compare(p.name(), false))
		p.lines()
		if p.peek() == '}' {
			p.next()
			return all
		}
		if r := p.peek(); !isDash(r) || !strings.EqualFold(p.dashed(), "and") {
			p.fail("behind a condition comes -and or }, and nothing else is understood")
		}
	}
}

func (p *parser) compare(property string, argument bool) condition {
	c := condition{property: property, line: p.line}
	p.space()
	if !isDash(p.peek()) {
		p.fail("%s is not understood behind %s: compare with -eq or -ne", p.shown(), property)
	}
	switch op := p.dashed(); strings.ToLower(op) {
	case "eq", "ieq":
	case "ne", "ine":
		c.negate = true
	default:
		p.fail("-%s is not understood: compare with -eq or -ne", op)
	}
	p.space()
	c.value = p.value(argument)
	return c
}

// values reads one value, or several with commas between them. As arguments,
// words need no quotes.
func (p *parser) values(argument bool) expr {
	first := p.value(argument)
	q := *p
	q.space()
	if q.peek() != ',' {
		return first
	}
	l := &list{[]expr{first}, p.line}
	for q.peek() == ',' {
		q.next()
		q.lines()
		l.items = append(l.items, q.value(argument))
		*p = q
		q.space()
	}
	return l
}

func (p *parser) value(argument bool) expr {
	p.enter()
	defer p.leave()
	var e expr
	line := p.line
	switch r := p.peek(); {
	case r == '$' && p.after() == '(', r == '(':
		p.take("$")
		p.next()
		e = &sub{p.enclosed(line, ')')}
	case r == '$':
		v := p.variable()
		e = &v
	case r == '@' && p.after() == '(':
		p.take("@(")
		e = &list{[]expr{&sub{p.enclosed(line, ')')}}, line}
	case r == '@' && p.after() == '{':
		p.take("@{")
		return p.table(line)
	case r == '@':
		p.fail("%s is not understood: here-strings and the like have no use here", p.shown())
	case isDouble(r):
		e = p.double()
	case isSingle(r):
		e = p.single()
	case r == '{':
		p.fail("a script block is not understood here; a GUID in braces stands in quotes")
	case r == '[':
		p.fail("%s is not understood: types and methods have no use here", p.shown())
	case argument:
		e = p.word()
	case isDigit(r) || isDash(r) && isDigit(p.after()):
		e = p.number()
	default:
		p.fail("%s is not understood where a value should be", p.shown())
	}
	for p.peek() == '.' && isLetter(p.after()) {
		switch e.(type) {
		case *variable, *property, *sub:
		default:
			p.fail("%s is not understood behind a value", p.shown())
		}
		p.next()
		e = &property{e, p.name(), line}
	}
	if !p.delimited() {
		if argument {
			p.fail("%s is not understood within an argument: put the whole in quotes", p.shown())
		}
		p.fail("%s is not understood behind a value", p.shown())
	}
	return e
}

// enclosed reads statements up to the bracket that closes what line opened.
func (p *parser) enclosed(line int, closing rune) []statement {
	body := p.statements()
	if p.next() != closing {
		stop(p.file, line, "%q is missing", closing)
	}
	return body
}

// variable reads $name or ${name}.
func (p *parser) variable() variable {
	v := variable{line: p.line}
	p.next()
	if p.peek() == '{' {
		p.next()
		v.name = strings.ToLower(p.name())
		if p.next() != '}' {
			stop(p.file, v.line, "a variable's name in ${} is letters and digits")
		}
	} else {
		v.name = strings.ToLower(p.name())
		if p.peek() == ':' && isName(p.after()) {
			p.fail("$%s%s is not understood: variables of drives and scopes have no use here", v.name, p.shownWord())
		}
	}
	if v.name == "" {
		p.fail("$ is not followed by a variable's name")
	}
	return v
}

// shownWord is the colon and the name behind it.
func (p *parser) shownWord() string {
	q := *p
	q.next()
	return ":" + q.name()
}

// double reads a string in double quotes, in which variables are replaced.
func (p *parser) double() expr {
	s := &interpolated{line: p.line}
	var text strings.Builder
	flush := func() {
		if text.Len() > 0 {
			s.parts = append(s.parts, &literal{text.String()})
			text.Reset()
		}
	}
	p.next()
	for {
		switch r := p.peek(); {
		case r < 0:
			stop(p.file, s.line, "the string is not closed")
		case isDouble(r):
			p.next()
			if !isDouble(p.peek()) {
				flush()
				return s
			}
			text.WriteRune(p.next())
		case r == '`':
			p.next()
			switch r := p.next(); r {
			case 'n':
				text.WriteByte('\n')
			case 't':
				text.WriteByte('\t')
			case 'r', '0', 'a', 'b', 'e', 'f', 'u', 'v':
				p.fail("the escape `%c is not understood", r)
			case -1:
			default:
				text.WriteRune(r)
			}
		case r == '$' && p.after() == '(':
			flush()
			p.enter()
			line := p.line
			p.take("$(")
			s.parts = append(s.parts, &sub{p.enclosed(line, ')')})
			p.leave()
		case r == '$' && (isName(p.after()) || p.after() == '{'):
			flush()
			v := p.variable()
			s.parts = append(s.parts, &v)
		default:
			text.WriteRune(p.next())
		}
	}
}

// single reads a string in single quotes, in which all stands for itself.
func (p *parser) single() expr {
	line := p.line
	var text strings.Builder
	p.next()
	for {
		switch r := p.next(); {
		case r < 0:
			stop(p.file, line, "the string is not closed")
		case isSingle(r):
			if !isSingle(p.peek()) {
				return &literal{text.String()}
			}
			text.WriteRune(p.next())
		default:
			text.WriteRune(r)
		}
	}
}

// word reads an argument without quotes. One that is a number remembers how it
// was written: 001122334455 may be a MAC.
func (p *parser) word() expr {
	start := p.at
	for r := p.peek(); !p.delimited() && !isDouble(r) && !isSingle(r) && !strings.ContainsRune("$(){}<>&", r); r = p.peek() {
		p.next()
	}
	word := p.src[start:p.at]
	if word == "" {
		switch r := p.peek(); r {
		case '<', '>', '&':
			p.fail("%c is not understood: a script is not a place to redirect or to start programs", r)
		}
		p.fail("%s is not understood where a value should be", p.shown())
	}
	if n, ok := integer(word); ok {
		return &literal{number{n, word}}
	}
	return &literal{word}
}

func (p *parser) number() expr {
	start := p.at
	p.next()
	for r := p.peek(); isName(r) || r == '.'; r = p.peek() {
		p.next()
	}
	word := p.src[start:p.at]
	n, ok := integer(word)
	if !ok {
		p.fail("%q is not a whole number; put it in quotes if it is text", word)
	}
	return &literal{number{n, strconv.FormatInt(n, 10)}}
}

// integer reads decimal digits or 0x and hex digits, as PowerShell does.
func integer(s string) (int64, bool) {
	digits, sign := s, ""
	if strings.HasPrefix(s, "-") {
		digits, sign = s[1:], "-"
	}
	base := 10
	if len(digits) > 2 && (strings.HasPrefix(digits, "0x") || strings.HasPrefix(digits, "0X")) {
		digits, base = digits[2:], 16
	}
	if strings.ContainsAny(digits, "+-_") {
		return 0, false
	}
	n, err := strconv.ParseInt(sign+digits, base, 64)
	return n, err == nil
}

// table reads the inside of @{key = value; …}.
func (p *parser) table(line int) expr {
	t := &table{line: line}
	for {
		for p.lines(); p.peek() == ';'; p.lines() {
			p.next()
		}
		switch r := p.peek(); {
		case r == '}':
			p.next()
			return t
		case r < 0:
			stop(p.file, line, "%q is missing", '}')
		}
		var key string
		switch r := p.peek(); {
		case isSingle(r):
			key = p.single().(*literal).v.(string)
		case isDouble(r):
			s := p.double().(*interpolated)
			if len(s.parts) == 1 {
				if l, ok := s.parts[0].(*literal); ok {
					key = l.v.(string)
				}
			}
		default:
			key = p.name()
		}
		if p.space(); key == "" || p.peek() != '=' {
			p.fail("%s is not understood: a table is @{Name = value; …}", p.shown())
		}
		p.next()
		p.lines()
		t.keys = append(t.keys, key)
		t.values = append(t.values, &sub{[]statement{p.statement()}})
		p.space()
		if r := p.peek(); r >= 0 && !strings.ContainsRune("\n;}", r) {
			p.fail("%s is not understood behind a table's value", p.shown())
		}
	}
}
