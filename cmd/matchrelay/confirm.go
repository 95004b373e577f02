package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// confirm asks on a terminal whether to go on. Where there is none it writes the plan, and asks for --yes.
func (a *app) confirm(ctx context.Context, question string, plan func(w io.Writer)) error {
	if !a.terminal(a.stdin) {
		plan(a.stderr)
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
