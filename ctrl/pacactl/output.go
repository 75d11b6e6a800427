package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// format is the value of -o.
type format string

const (
	formatTable format = "table"
	formatJSON  format = "json"
	formatYAML  format = "yaml"
)

// String implements pflag.Value.
func (f *format) String() string { return string(*f) }

// Type implements pflag.Value.
func (f *format) Type() string { return "FORMAT" }

// Set implements pflag.Value.
func (f *format) Set(s string) error {
	switch format(s) {
	case formatTable, formatJSON, formatYAML:
		*f = format(s)
		return nil
	}
	return fmt.Errorf("use table, json or yaml")
}

// show prints an answer: as it is in JSON or YAML, else through table.
func (c *ctl) show(answer proto.Message, table func() string) error {
	if c.format == formatTable {
		_, err := io.WriteString(c.out, table())
		return err
	}
	compact, err := toJSON(answer)
	if err != nil {
		return err
	}
	return c.encode(c.out, json.RawMessage(compact))
}

// showOne prints one answer of many: JSON in a line, YAML as a document.
func (c *ctl) showOne(answer proto.Message) error {
	compact, err := toJSON(answer)
	if err != nil {
		return err
	}
	if c.format == formatYAML {
		if _, err := io.WriteString(c.out, "---\n"); err != nil {
			return err
		}
		return c.encode(c.out, json.RawMessage(compact))
	}
	var line bytes.Buffer // protojson's spaces differ from build to build on purpose
	if err := json.Compact(&line, compact); err != nil {
		return err
	}
	line.WriteByte('\n')
	_, err = c.out.Write(line.Bytes())
	return err
}

func toJSON(answer proto.Message) ([]byte, error) {
	return protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}.Marshal(answer)
}

// encode writes what encoding/json can, in JSON or YAML.
func (c *ctl) encode(to io.Writer, v any) error {
	var page bytes.Buffer
	encoder := json.NewEncoder(&page)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(v); err != nil {
		return err
	}
	if c.format == formatYAML {
		// JSON is YAML, but for the looks. Its keys keep their order.
		var node yaml.Node
		if err := yaml.Unmarshal(page.Bytes(), &node); err != nil {
			return err
		}
		plain(&node)
		page.Reset()
		encoder := yaml.NewEncoder(&page)
		encoder.SetIndent(2)
		if err := encoder.Encode(&node); err != nil {
			return err
		}
	}
	_, err := to.Write(page.Bytes())
	return err
}

// plain makes a tree of YAML look like YAML: blocks, and quotes where needed.
func plain(n *yaml.Node) {
	n.Style = 0
	for _, below := range n.Content {
		plain(below)
	}
}

// pageWidth is what a table keeps to, in characters.
const pageWidth = 100

// column is one column of a table.
type column struct {
	head string
	kind columnKind
}

type columnKind int

const (
	text   columnKind = iota // broken into lines, at spaces if it has any, when the page is full
	fixed                    // never broken
	number                   // never broken, at the right
)

// layOut makes a table. Without any head it has no line of heads.
func layOut(columns []column, rows [][]string) string {
	widths := make([]int, len(columns))
	heads := make([]string, len(columns))
	for i, c := range columns {
		heads[i] = c.head
		widths[i] = utf8.RuneCountInString(c.head)
		for _, r := range rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(r[i]))
		}
	}
	narrow(columns, widths)

	lines := append([][]string{heads}, rows...)
	if strings.Join(heads, "") == "" {
		lines = rows
	}
	var b strings.Builder
	for _, r := range lines {
		cells := make([][]string, len(r))
		height := 0
		for i := range r {
			cells[i] = wrap(r[i], widths[i])
			height = max(height, len(cells[i]))
		}
		for n := range height {
			var line strings.Builder
			for i, c := range cells {
				cell := ""
				if n < len(c) {
					cell = c[n]
				}
				pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
				if columns[i].kind == number {
					cell, pad = pad, cell
				}
				line.WriteString(cell + pad + "  ")
			}
			b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
		}
	}
	return b.String()
}

// narrow takes width off the widest column of text until the page holds the
// table or nothing gives any more.
func narrow(columns []column, widths []int) {
	const least = 8
	for {
		total, widest := 2*(len(widths)-1), -1
		for i, w := range widths {
			total += w
			if columns[i].kind == text && w > least && (widest < 0 || w > widths[widest]) {
				widest = i
			}
		}
		if total <= pageWidth || widest < 0 {
			return
		}
		widths[widest]--
	}
}

// wrap breaks s into lines of at most width characters, between words where it
// can.
func wrap(s string, width int) []string {
	lines := []string{""}
	for _, word := range strings.Fields(s) {
		letters := []rune(word)
		last := &lines[len(lines)-1]
		if used := utf8.RuneCountInString(*last); used > 0 {
			if used+1+len(letters) <= width {
				*last += " " + word
				continue
			}
			lines = append(lines, "")
		}
		for len(letters) > width {
			lines[len(lines)-1] = string(letters[:width])
			lines, letters = append(lines, ""), letters[width:]
		}
		lines[len(lines)-1] = string(letters)
	}
	return lines
}

func oneOf(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

func parseUint32(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number of 32 bits", s)
	}
	return uint32(n), nil
}

func parseBool(s string) (bool, error) {
	b, err := strconv.ParseBool(s)
	if err != nil {
		return false, fmt.Errorf("%q is neither true nor false", s)
	}
	return b, nil
}
