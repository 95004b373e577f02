package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// event is a line of `go test -json`; see `go doc test2json` and `go help buildjson`.
type event struct {
	Action     string
	Package    string
	ImportPath string // of a package that is built
	Test       string
	Output     string
}

// report reads events and prints what a reader wants to know of them.
type report struct {
	to       io.Writer
	packages map[string]*suite // those that have not ended
	ended    int               // packages that have, and had tests
	tests    int               // that have ended, without subtests
	failed   []string
}

// suite is what is known of the tests of a package.
type suite struct {
	lines  []line
	began  map[string]bool // tests that have not ended
	failed []string
}

type line struct{ test, text string }

func newReport(to io.Writer) *report { return &report{to: to, packages: map[string]*suite{}} }

// read reads to the end. What is no event is printed as it is.
func (r *report) read(from io.Reader) error {
	lines := bufio.NewReader(from)
	for {
		text, err := lines.ReadString('\n')
		if text != "" {
			var e event
			if json.Unmarshal([]byte(text), &e) == nil && e.Action != "" {
				r.take(e)
			} else {
				fmt.Fprint(r.to, text)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *report) take(e event) {
	if e.Package == "" { // of a build
		fmt.Fprint(r.to, e.Output)
		return
	}
	s := r.packages[e.Package]
	if s == nil {
		s = &suite{began: map[string]bool{}}
		r.packages[e.Package] = s
	}
	switch e.Action {
	case "start":
		fmt.Fprintf(r.to, "run \t%s\n", e.Package)
	case "run":
		s.began[e.Test] = true
	case "output":
		s.lines = append(s.lines, line{e.Test, e.Output})
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.end(e, s)
			return
		}
		delete(s.began, e.Test)
		if !strings.Contains(e.Test, "/") {
			r.tests++
		}
		if e.Action == "fail" {
			s.failed = append(s.failed, e.Test)
		} else {
			s.forget(e.Test)
		}
	}
}

// end prints what is to be said of a package.
func (r *report) end(e event, s *suite) {
	delete(r.packages, e.Package)
	for _, l := range s.lines {
		if l.test == "" && (e.Action == "fail" || closes(l.text)) || e.Action == "fail" && !progress(l.text) || isNote(l.text) {
			fmt.Fprint(r.to, l.text)
		}
	}
	if e.Action != "skip" { // it has no tests
		r.ended++
	}
	if e.Action == "fail" {
		r.failed = append(r.failed, s.culprits(e.Package)...)
	}
}

// culprits are the tests that failed, without those that failed because of a subtest, and those that did not end; else the
// package itself.
func (s *suite) culprits(name string) (culprits []string) {
	name = name[strings.LastIndex(name, "/")+1:]
	failed := append(slices.Clone(s.failed), slices.Sorted(maps.Keys(s.began))...)
	for _, test := range failed {
		if !slices.ContainsFunc(failed, func(other string) bool { return strings.HasPrefix(other, test+"/") }) {
			culprits = append(culprits, name+"."+test)
		}
	}
	if len(culprits) == 0 {
		culprits = []string{"package " + name}
	}
	return culprits
}

// forget drops what a test said that passed, but for a report of the race detector: that may be about another test.
func (s *suite) forget(test string) {
	if slices.ContainsFunc(s.lines, func(l line) bool { return l.test == test && strings.Contains(l.text, "DATA RACE") }) {
		return
	}
	s.lines = slices.DeleteFunc(s.lines, func(l line) bool { return l.test == test && !isNote(l.text) })
}

// isNote says whether a line is one that tests print to be read even when they pass, as the seed that was drawn.
func isNote(text string) bool { return strings.HasPrefix(text, "note: ") }

// closes says whether a line is Go's last one of a package.
func closes(text string) bool {
	return strings.HasPrefix(text, "ok  \t") || strings.HasPrefix(text, "?   \t") || strings.HasPrefix(text, "FAIL\t") ||
		strings.HasPrefix(text, "\t") && strings.Contains(text, "coverage:")
}

// progress says whether a line only says that a test begins, waits or goes on.
func progress(text string) bool {
	for _, p := range []string{"=== RUN ", "=== PAUSE ", "=== CONT ", "=== NAME "} {
		if strings.HasPrefix(text, p) {
			return true
		}
	}
	return false
}

// verdict is the last line.
func (r *report) verdict(name string, passed bool, took time.Duration) string {
	if passed {
		return fmt.Sprintf("%s: passed, %s, %s in %s", name, counted(r.ended, "package"), counted(r.tests, "test"), spoken(took))
	}
	for pkg, s := range r.packages { // go test itself was ended
		r.failed = append(r.failed, s.culprits(pkg)...)
	}
	slices.Sort(r.failed)
	text := fmt.Sprintf("%s: failed after %s", name, spoken(took))
	if len(r.failed) > 0 {
		text += ": these tests failed: " + strings.Join(r.failed, ", ")
	}
	return text
}

// counted is a number of things, with commas.
func counted(n int, what string) string {
	digits := strconv.Itoa(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	if n != 1 {
		what += "s"
	}
	return digits + " " + what
}

func spoken(d time.Duration) string {
	seconds := int(d.Round(time.Second).Seconds())
	if seconds < 60 {
		return fmt.Sprintf("%d s", seconds)
	}
	return fmt.Sprintf("%d min %d s", seconds/60, seconds%60)
}
