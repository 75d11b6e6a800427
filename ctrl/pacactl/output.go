package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// format is the value of -o.
type format string

const (
	formatTable format = "table"
	formatJSON  format = "json"
)

// String implements pflag.Value.
func (f *format) String() string { return string(*f) }

// Type implements pflag.Value.
func (f *format) Type() string { return "FORMAT" }

// Set implements pflag.Value.
func (f *format) Set(s string) error {
	switch format(s) {
	case formatTable, formatJSON:
		*f = format(s)
		return nil
	}
	return fmt.Errorf("use table or json")
}

// show prints an answer: as it is in JSON, else through table.
func (c *ctl) show(answer proto.Message, table func() string) error {
	page := ""
	if c.format == formatJSON {
		compact, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}.Marshal(answer)
		if err != nil {
			return err
		}
		// protojson's spaces differ from build to build on purpose.
		var pretty bytes.Buffer
		if err := json.Indent(&pretty, compact, "", "  "); err != nil {
			return err
		}
		page = pretty.String() + "\n"
	} else {
		page = table()
	}
	_, err := io.WriteString(c.out, page)
	return err
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

// layOut makes a table.
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

	var b strings.Builder
	for _, r := range append([][]string{heads}, rows...) {
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
