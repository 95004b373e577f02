package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/config"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/schema"
)

func (a *app) matchesCommand() *cobra.Command {
	cmd := group(&cobra.Command{Use: "matches", Short: "Look at the recorded matches, and how they came about"})
	cmd.AddCommand(a.matchesListCommand(), a.matchesShowCommand(), a.matchesHistoryCommand())
	return cmd
}

// matchFlags choose which state is shown, and how much of it.
type matchFlags struct {
	at  string
	raw bool
}

func (f *matchFlags) addTo(flags *pflag.FlagSet) {
	flags.StringVar(&f.at, "at", "", "as the log held it at a time (2025-09-21T10:30:00Z, 2025-09-21) or a duration ago (2h)")
	flags.BoolVar(&f.raw, "raw", false, "print the JSON as it was recorded; it holds personal data")
}

// readMatches reads the recorded list, or the one of an earlier time, in the order of date and kick-off.
func (a *app) readMatches(ctx context.Context, at string) (matches []schema.Match, err error) {
	cfg, err := a.load(nil)
	if err != nil {
		return nil, err
	}
	moment, err := parseTime("--at", at, cfg.Processor.Location, time.Now())
	if err != nil {
		return nil, err
	}
	o, err := openOutbox(cfg, a.logger(cfg), true)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	if at == "" {
		matches, err = state(ctx, o, cfg)
	} else {
		var then changes.Snapshot
		then, err = changes.At(ctx, o, moment.In(cfg.Processor.Location))
		matches = then.Matches
	}
	if err != nil {
		return nil, err
	}
	sortMatches(matches)
	return matches, nil
}

func state(ctx context.Context, o *outbox.Outbox, cfg *config.Config) ([]schema.Match, error) {
	recorder, err := newRecorder(o, cfg, nil)
	if err != nil {
		return nil, err
	}
	return recorder.State(ctx)
}

func sortMatches(matches []schema.Match) {
	outlines := make(map[string]schema.Outline, len(matches))
	for _, m := range matches {
		outlines[m.ID()] = m.Outline()
	}
	slices.SortStableFunc(matches, func(x, y schema.Match) int {
		a, b := outlines[x.ID()], outlines[y.ID()]
		return cmp.Or(cmp.Compare(a.Date, b.Date), cmp.Compare(a.Time, b.Time), cmp.Compare(a.ID, b.ID))
	})
}

// findMatch looks for a match by its id. Errors: outbox.ErrNotFound.
func findMatch(matches []schema.Match, id string) (schema.Match, error) {
	i := slices.IndexFunc(matches, func(m schema.Match) bool { return m.ID() == id })
	if i < 0 {
		return schema.Match{}, fmt.Errorf("match %q: %w; matchrelay matches list shows the ids", id, outbox.ErrNotFound)
	}
	return matches[i], nil
}

// plainText makes text from outside safe to print: nothing in it can command a terminal.
func plainText(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
}
