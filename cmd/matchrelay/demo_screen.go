package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// screen writes the demo's lines; on a terminal there is also a last line that changes.
type screen struct {
	out    io.Writer
	live   bool // a terminal
	colors palette
	footed bool // the last line is there
}

// line writes a line that stays.
func (s *screen) line(text string) {
	s.foot("")
	fmt.Fprintln(s.out, text)
}

// event writes a line with the time.
func (s *screen) event(text string) {
	s.line(s.colors.faint(time.Now().Format(time.TimeOnly)) + "  " + text)
}

// foot changes the last line of a terminal; "" takes it away.
func (s *screen) foot(text string) {
	if !s.live || text == "" && !s.footed {
		return
	}
	fmt.Fprint(s.out, "\r\x1b[K"+text)
	s.footed = text != ""
}

// backlog is the progress line of an outage: a bar with one block per event.
func (s *screen) backlog(waiting, of int) {
	width := min(waiting, 40)
	bar := strings.Repeat("█", width) + strings.Repeat("░", max(0, min(of, 40)-width))
	s.foot(fmt.Sprintf("          %s %s", s.colors.yellow(bar), count(waiting, "event")+" waiting in the outbox"))
}

// Widths of the demo's columns: 80 in all.
const (
	whatWidth  = 39
	smallWidth = 8
)

func (s *screen) header() {
	s.line(s.colors.bold("time      " + pad("detected", whatWidth) + "  " + pad("stored", smallWidth) + "  published  received"))
}

// change writes one row: what was detected, where it is stored, and how long after that it was published and received.
func (s *screen) change(what, stored, published, received string) {
	paint := s.colors.green
	if received == "" {
		paint = s.colors.yellow
	}
	s.event(pad(what, whatWidth) + "  " + s.colors.cyan(pad(stored, smallWidth)) + "  " + paint(pad(published, smallWidth+1)+"  "+received))
}

// pad cuts or fills a text to a width.
func pad(text string, width int) string {
	if n := utf8.RuneCountInString(text); n <= width {
		return text + strings.Repeat(" ", width-n)
	}
	return string([]rune(text)[:width-1]) + "…"
}

// since writes a time between two events in milliseconds.
func since(from, to time.Time) string {
	return fmt.Sprintf("%.1f ms", max(0, float64(to.Sub(from).Microseconds())/1000))
}

// conclude writes the closing table.
func (s *screen) conclude(r demoResult, kills bool) {
	header := []any{"topic", "sent", "received", "missing", "repeated", "out of order"}
	if kills {
		header = append(header, "again")
	}
	t := newTable(header...)
	for _, v := range r.Topics {
		row := []any{v.Topic, v.Sent, v.Received, v.Missing, v.Repeated, v.OutOfOrder}
		if kills {
			row = append(row, v.Again)
		}
		t.AppendRow(row)
	}
	render(s.out, t)
	if kills {
		s.line("again: sent in about the last second before the kill, repeated with the same message ID")
	}
	s.line("")
	for _, problem := range r.Problems {
		s.line(s.colors.red("outbox: " + problem))
	}
	if !r.Good {
		s.line(s.colors.red("NOT every event arrived once and in order"))
		return
	}
	s.line(s.colors.green(fmt.Sprintf("Every one of %d events arrived, in order; the outbox file verifies.", r.Sent)))
	s.line("Next: make run (stays up), or your own list: matchrelay run --source FILE")
}
