package mutants

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
)

// All are the mutants of this module.
func All() []Mutant {
	return slices.Concat(ofOutbox, ofRelay, ofScripts, ofControl, ofChanges, ofSimulation)
}

// Select returns the mutants whose name, or file, contains one of the words, without regard to case; all for no words.
func Select(list []Mutant, words []string) []Mutant {
	if len(words) == 0 {
		return list
	}
	var some []Mutant
	for _, m := range list {
		text := strings.ToLower(m.File + " " + m.Name)
		if slices.ContainsFunc(words, func(word string) bool { return strings.Contains(text, strings.ToLower(word)) }) {
			some = append(some, m)
		}
	}
	return some
}

// Try runs mutants, some at a time, each after its tests have passed without it, and calls told, one at a time, with what became
// of them. args go to the test programs. The error says of which mutants nothing is known, and why; one that survives is no
// error.
func Try(ctx context.Context, list []Mutant, atOnce int, told func(Mutant, Result), args ...string) error {
	return inFolder(func(root, folder string) error {
		o := originals{root: root, folder: folder, args: args, builds: map[string]func() (program, error){}, passed: map[string]func() error{}}
		var mu sync.Mutex
		var errs []error
		var workers errgroup.Group
		workers.SetLimit(max(1, atOnce))
		for _, m := range list {
			workers.Go(func() error {
				if ctx.Err() != nil {
					return nil
				}
				err := o.pass(ctx, m)
				var result Result
				if err == nil {
					result, err = Run(ctx, m, args...)
				}
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					errs = append(errs, err)
				} else {
					told(m, result)
				}
				return nil
			})
		}
		_ = workers.Wait()
		return errors.Join(append(errs, ctx.Err())...)
	})
}

// originals are the test programs without a fault: each is built once, and each command run once.
type originals struct {
	root, folder string
	args         []string

	mu     sync.Mutex
	builds map[string]func() (program, error) // guarded by mu: by package
	passed map[string]func() error            // guarded by mu: by command
}

// pass makes an error of tests that fail without the mutant: they would catch nothing.
func (o *originals) pass(ctx context.Context, m Mutant) error {
	o.mu.Lock()
	build := o.builds[m.In]
	if build == nil {
		p := program{root: o.root, in: m.In, path: filepath.Join(o.folder, fmt.Sprint("tests-", len(o.builds)))}
		build = sync.OnceValues(func() (program, error) { return p, p.build(ctx) })
		o.builds[m.In] = build
	}
	command := fmt.Sprint(m.In, m.pattern(), m.Env)
	pass := o.passed[command]
	if pass == nil {
		pass = sync.OnceValue(func() error {
			p, err := build()
			var result Result
			if err == nil {
				result, err = p.run(ctx, m, o.args)
			}
			if err == nil && (result.Caught || result.TimedOut) {
				err = fmt.Errorf("its tests fail without it:\n%s", result.Output)
			}
			return m.wrong(err)
		})
		o.passed[command] = pass
	}
	o.mu.Unlock()
	return pass()
}
