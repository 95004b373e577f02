package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/changes/api"
	"github.com/PitchConnect/matchrelay/config"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/schema"
)

// ingestFlags are the flags of ingest.
type ingestFlags struct {
	dryRun, allowEmpty bool
	fetchedAt          string
}

func (a *app) ingestCommand() *cobra.Command {
	var flags ingestFlags
	cmd := &cobra.Command{
		Use:   "ingest FILE|URL|-",
		Short: "Record one match list",
		Long: `Ingest compares a match list (a file, an http:// or https:// URL, or - for standard input) with the recorded one and
writes the new state and the events that follow from it to the outbox, in one transaction. A relay delivers them. An outbox
without a list first imports that of PREVIOUS_MATCHES_FILE, if there is one. While another process has the outbox open, that
process records the list.

An empty list after one with matches is refused, for a failing source looks like that, unless --allow-empty is given. With
--fetched-at, a list that is older than the recorded one is refused; without, it is the newest.`,
		Args: oneArgument,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.ingest(cmd.Context(), args[0], flags)
		},
	}
	cmd.Flags().BoolVar(&flags.dryRun, "dry-run", false, "say what would change, write nothing")
	cmd.Flags().BoolVar(&flags.allowEmpty, "allow-empty", false, "an empty list means that every match was removed")
	cmd.Flags().StringVar(&flags.fetchedAt, "fetched-at", "", "when the list was asked for (2025-09-21T10:30:00Z), or how long ago (2m)")
	return cmd
}

func (a *app) ingest(ctx context.Context, file string, flags ingestFlags) error {
	cfg, err := a.load(nil)
	if err != nil {
		return err
	}
	meta := changes.Metadata{AllowEmpty: flags.allowEmpty}
	if meta.FetchedAt, err = parseTime("--fetched-at", flags.fetchedAt, cfg.Processor.Location, time.Now()); err != nil {
		return err
	}
	if ahead := time.Until(meta.FetchedAt); ahead > changes.MaxSkew {
		return usageError(fmt.Errorf("--fetched-at: expected a time that is not in the future (by %v at most); look at the clocks", changes.MaxSkew))
	}
	matches, err := a.readInput(ctx, file, cfg)
	if err != nil {
		return err
	}
	summary, next, err := a.record(ctx, cfg, matches, flags.dryRun, meta)
	if err != nil {
		return err
	}
	return a.print(summary, func(w io.Writer) { writeSummary(w, summary, flags.dryRun, next) })
}

func (a *app) readInput(ctx context.Context, name string, cfg *config.Config) ([]schema.Match, error) {
	if name == "-" {
		input := a.input(ctx)
		defer input.Close()
		matches, err := schema.DecodeMatches(input)
		if err != nil {
			return nil, fmt.Errorf("match list on standard input: %w", err)
		}
		return matches, nil
	}
	src, err := newSource(name, cfg)
	if name == "" || errors.Is(err, errSource) {
		return nil, usageError(errors.New("FILE|URL|-: expected a file, an http:// or https:// URL with a host, or - for standard input"))
	}
	if err != nil {
		return nil, err
	}
	return src.fetch(ctx)
}

// record records, or tells what that would change, and what comes next. There need be no outbox: it is made then, but for a
// dry run.
func (a *app) record(ctx context.Context, cfg *config.Config, matches []schema.Match, dryRun bool, meta changes.Metadata) (counts changes.Counts, next string, err error) {
	do := func(s matchStore) (err error) {
		next = delivery(s)
		if dryRun {
			counts, err = s.Preview(ctx, matches, meta)
		} else {
			counts, err = s.Record(ctx, matches, meta)
		}
		return err
	}
	err = a.withMatches(ctx, cfg, openStore, do)
	if _, statErr := os.Stat(cfg.Outbox.Path); !errors.Is(err, outbox.ErrNotFound) || !errors.Is(statErr, fs.ErrNotExist) {
		return counts, next, err
	}
	previous, _, err := readPrevious(cfg) // before the file is made, which would be in vain
	if err != nil {
		return counts, next, err
	}
	if dryRun {
		counts, err = api.PreviewFirst(previous, matches, meta, time.Now())
		return counts, next, err
	}
	o, err := openOutbox(cfg, a.logger(cfg), false)
	if err != nil {
		return counts, next, err
	}
	err = withOwn(o, cfg, a.logger(cfg), do)
	return counts, next, errors.Join(err, o.Close())
}

func writeSummary(w io.Writer, s changes.Counts, dryRun bool, next string) {
	fmt.Fprintf(w, "%s: %d new, %d updated, %d cancelled, %d removed; %s\n", count(s.Matches, "match"), s.New, s.Updated,
		s.Cancelled, s.Removed, count(s.Changes, "change"))
	switch {
	case dryRun:
		fmt.Fprintln(w, "nothing was written (--dry-run)")
	case len(s.Sequences) > 0:
		fmt.Fprintf(w, "stored as event %s; %s\n", sequences(s.Sequences), next)
	default:
		fmt.Fprintln(w, "no event was stored")
	}
}
