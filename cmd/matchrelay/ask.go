package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
)

// ask has a question answered on a terminal. Anything but yes is an error, and so is that there is no terminal.
func (a *app) ask(ctx context.Context, question string) error {
	if !a.terminal(a.stdin) {
		return usageError(errors.New("there is no terminal to ask on; add --yes to do it"))
	}
	fmt.Fprintf(a.stderr, "%s [y/N] ", question)
	input := a.input(ctx)
	defer input.Close()
	answer, _ := bufio.NewReader(input).ReadString('\n')
	if ctx.Err() != nil {
		return fmt.Errorf("nothing was done: %w", ctx.Err())
	}
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return exit(exitFailure, errors.New("nothing was done"))
	}
	return nil
}

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
