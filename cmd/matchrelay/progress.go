package main

import "fmt"

// progress tells on a terminal how far an action on many events has come; elsewhere it says nothing.
type progress struct {
	a         *app
	verb      string // "replayed"
	of        int
	displayed bool
}

func (a *app) progress(verb string, of int) *progress { return &progress{a: a, verb: verb, of: of} }

// at says how many events were looked at, and with how many of them it was done.
func (p *progress) at(looked, done int) {
	if p.a.terminal(p.a.stderr) {
		p.displayed = true
		fmt.Fprintf(p.a.stderr, "\r%d of %d looked at, %d %s", looked, p.of, done, p.verb)
	}
}

// end ends the line.
func (p *progress) end() {
	if p.displayed {
		fmt.Fprintln(p.a.stderr)
	}
}
