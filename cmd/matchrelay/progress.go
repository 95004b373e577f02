package main

import "fmt"

// progress tells on a terminal how far a long action has come; elsewhere it says nothing.
type progress struct {
	a         *app
	verb      string
	done, of  int
	displayed bool
}

func (a *app) progress(verb string, of int) *progress { return &progress{a: a, verb: verb, of: of} }

func (p *progress) at(done int) {
	p.done = done
	if p.a.terminal(p.a.stderr) {
		p.displayed = true
		fmt.Fprintf(p.a.stderr, "\r%s %d of %d", p.verb, p.done, p.of)
	}
}

// end ends the line.
func (p *progress) end() {
	if p.displayed {
		fmt.Fprintln(p.a.stderr)
	}
}
