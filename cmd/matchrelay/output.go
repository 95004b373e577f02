package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/table"
	"golang.org/x/term"
)

// format is the value of --output.
type format string

const (
	formatTable format = "table" // for people
	formatJSON  format = "json"  // one document
	formatJSONL format = "jsonl" // one document a line
)

// String, Set and Type make format a flag.
func (f *format) String() string { return string(*f) }

func (f *format) Set(s string) error {
	switch v := format(s); v {
	case formatTable, formatJSON, formatJSONL:
		*f = v
		return nil
	}
	return fmt.Errorf("expected table, json or jsonl")
}

func (*format) Type() string { return "format" }

// print writes one result: as JSON, or as the text that table makes.
func (a *app) print(v any, text func(w io.Writer)) error {
	if a.output != formatTable {
		return a.printJSON(v)
	}
	var b bytes.Buffer
	text(&b)
	if _, err := a.stdout.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

func (a *app) printJSON(v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if a.output == formatJSON {
		e.SetIndent("", "  ")
	}
	err := e.Encode(v)
	if err == nil {
		_, err = a.stdout.Write(escaped(b.Bytes()))
	}
	if err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

// printList writes a list: as one document, as one document an item, or as the text that table makes.
func printList[T any](a *app, list []T, table func(w io.Writer)) error {
	if a.output != formatJSONL {
		return a.print(list, table)
	}
	for _, item := range list {
		if err := a.printJSON(item); err != nil {
			return err
		}
	}
	return nil
}

// oneLine makes text fit for a line of a terminal: nothing in it moves the cursor, or commands anything.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
}

// mostText is how many bytes are shown of a text from outside: of a server, a match list, an event.
const mostText = 200

// brief is oneLine for text from outside.
func brief(s string) string {
	if len(s) > mostText {
		s = strings.ToValidUTF8(s[:mostText-len("…")], "") + "…"
	}
	return oneLine(s)
}

// harmless is oneLine for a text of several lines.
func harmless(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		lines[i] = oneLine(line)
	}
	return strings.Join(lines, "\n")
}

// escaped is JSON that means the same, but does not command a terminal.
func escaped(text []byte) []byte {
	out := make([]byte, 0, len(text))
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		if r == '\n' || r == '\t' || unicode.IsPrint(r) || r == utf8.RuneError {
			out = append(out, text[:n]...)
		} else {
			for _, unit := range utf16.Encode([]rune{r}) {
				out = fmt.Appendf(out, "\\u%04x", unit)
			}
		}
		text = text[n:]
	}
	return out
}

// printRaw writes bytes as they are, but on a terminal nothing that commands it.
func (a *app) printRaw(b []byte) error {
	if a.terminal(a.stdout) {
		b = escaped(b)
	}
	if _, err := a.stdout.Write(b); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

// textTable shows texts on one line.
type textTable struct{ table.Writer }

// painted is text of our own that has colours.
type painted string

// AppendRow implements table.Writer.
func (t textTable) AppendRow(cells table.Row, config ...table.RowConfig) {
	cells = slices.Clone(cells)
	for i, cell := range cells {
		if v := reflect.ValueOf(cell); v.Kind() == reflect.String && v.Type() != reflect.TypeFor[painted]() {
			cells[i] = oneLine(v.String())
		}
	}
	t.Writer.AppendRow(cells, config...)
}

// newTable makes a table with lines as light as possible.
func newTable(header ...any) table.Writer {
	t := table.NewWriter()
	style := table.StyleLight
	style.Options = table.OptionsNoBordersAndSeparators
	style.Options.SeparateHeader = true
	style.Options.SeparateColumns = true
	style.Box.MiddleVertical, style.Box.MiddleSeparator = " ", "─"
	t.SetStyle(style)
	if len(header) > 0 {
		t.AppendHeader(header)
	}
	return textTable{t}
}

// render writes a table without spaces at the ends of its lines.
func render(w io.Writer, t table.Writer) {
	for line := range strings.Lines(t.Render()) {
		fmt.Fprintln(w, strings.TrimRight(line, " \n"))
	}
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// colors says whether a stream gets colours.
func (a *app) colors(stream io.Writer) palette {
	return palette(!a.noColor && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && a.terminal(stream))
}

// palette paints text for a terminal, or leaves it as it is.
type palette bool

func (p palette) paint(code, s string) string {
	if !p || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (p palette) bold(s string) string   { return p.paint("1", s) }
func (p palette) faint(s string) string  { return p.paint("2", s) }
func (p palette) red(s string) string    { return p.paint("31", s) }
func (p palette) green(s string) string  { return p.paint("32", s) }
func (p palette) yellow(s string) string { return p.paint("33", s) }
func (p palette) cyan(s string) string   { return p.paint("36", s) }

// sequences names a run of sequences: "#4", "#4..#6", or "" for none.
func sequences(numbers []uint64) string {
	switch n := len(numbers); n {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf("#%d", numbers[0])
	default:
		return fmt.Sprintf("#%d..#%d", numbers[0], numbers[n-1])
	}
}

// count puts a number before a noun.
func count(n int, noun string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case strings.HasSuffix(noun, "ch"):
		noun += "e"
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
