// Command try runs mutants against the tests that are to catch them, and prints a table:
//
//	go run ./integration_test/mutants/try               # all
//	go run ./integration_test/mutants/try fsync lane.go # those whose name or file contains one of the words
//
// It fails when one survives, does not compile, or has tests that fail without it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/PitchConnect/matchrelay/integration_test/mutants"
)

func main() {
	atOnce := flag.Int("at-once", 6, "how many mutants are tried at once: most of their tests wait for something that never comes")
	verbose := flag.Bool("v", false, "print the output of the tests, too")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := try(ctx, flag.Args(), *atOnce, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, err)
		stop()
		os.Exit(1)
	}
}

func try(ctx context.Context, words []string, atOnce int, verbose bool) error {
	list := mutants.Select(mutants.All(), words)
	if len(list) == 0 {
		return fmt.Errorf("no mutant has a name or file with %q", words)
	}
	survived := 0
	err := mutants.Try(ctx, list, atOnce, func(m mutants.Mutant, r mutants.Result) {
		by := "caught by " + r.By
		switch {
		case !r.Caught && r.TimedOut:
			by = "SURVIVED: its tests did not end"
		case !r.Caught:
			by = "SURVIVED"
		case r.TimedOut:
			by = "caught: its tests did not end"
		}
		if !r.Caught {
			survived++
		}
		fmt.Printf("%5.1f s  %-21s %s: %s\n", r.Took.Seconds(), m.File, m.Name, by)
		for _, note := range r.Notes() {
			fmt.Println("         " + note)
		}
		if verbose {
			fmt.Println(r.Output)
		}
	})
	if survived > 0 {
		err = errors.Join(err, fmt.Errorf("%d of %d mutants survived", survived, len(list)))
	}
	if err != nil {
		return err
	}
	fmt.Printf("all %d mutants were caught\n", len(list))
	return nil
}
