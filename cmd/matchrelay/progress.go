package main

import "fmt"

// progress tells on a terminal how far a long action has come; elsewhere it is nil.
func (a *app) progress(verb string, of int) func(done int) {
	if !a.terminal(a.stderr) {
		return nil
	}
	return func(done int) {
		fmt.Fprintf(a.stderr, "\r%s %d of %d", verb, done, of)
		if done == of {
			fmt.Fprintln(a.stderr)
		}
	}
}
