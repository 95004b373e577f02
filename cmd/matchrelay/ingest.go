package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/config"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/schema"
)

func (a *app) ingestCommand() *cobra.Command {
	var dryRun, allowEmpty bool
	cmd := &cobra.Command{
		Use:   "ingest FILE|URL|-",
		Short: "Record one match list",
		Long: `Ingest compares a match list (a file, an http:// or https:// URL, or - for standard input) with the recorded one and
writes the new state and the events that follow from it to the outbox, in one transaction. A relay delivers them. An outbox without a list first imports that
of PREVIOUS_MATCHES_FILE, if there is one.

An empty list after one with matches is refused, for a failing source looks like that, unless --allow-empty is given.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.ingest(cmd.Context(), args[0], dryRun, changes.Metadata{AllowEmpty: allowEmpty})
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would change, write nothing")
	cmd.Flags().BoolVar(&allowEmpty, "allow-empty", false, "an empty list means that every match was removed")
	return cmd
}

func (a *app) ingest(ctx context.Context, file string, dryRun bool, meta changes.Metadata) error {
	cfg, err := a.load(nil)
	if err != nil {
		return err
	}
	matches, err := a.readInput(ctx, file, cfg)
	if err != nil {
		return err
	}
	record := a.record
	if dryRun {
		record = a.preview
	}
	summary, err := record(ctx, cfg, matches, meta)
	if err != nil {
		return err
	}
	return a.print(summary, func(w io.Writer) { writeSummary(w, summary, dryRun) })
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
	if err != nil {
		return nil, err
	}
	return src.fetch(ctx)
}

func (a *app) record(ctx context.Context, cfg *config.Config, matches []schema.Match, meta changes.Metadata) (summary changes.Summary, err error) {
	log := a.logger(cfg)
	o, err := openOutbox(cfg, log, false)
	if err != nil {
		return summary, err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	recorder, err := newRecorder(o, cfg, nil)
	if err != nil {
		return summary, err
	}
	if err := importPrevious(ctx, recorder, cfg, log); err != nil {
		return summary, err
	}
	return recorder.Record(ctx, matches, meta)
}

// preview compares without writing. Where no list is recorded it compares with the one that would be imported, and makes
// no outbox.
func (a *app) preview(ctx context.Context, cfg *config.Config, matches []schema.Match, meta changes.Metadata) (summary changes.Summary, err error) {
	o, err := openOutbox(cfg, a.logger(cfg), true)
	if errors.Is(err, outbox.ErrNotFound) {
		return previewFirst(cfg, matches, meta)
	}
	if err != nil {
		return summary, err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	recorder, err := newRecorder(o, cfg, nil)
	if err != nil {
		return summary, err
	}
	if has, err := recorder.HasState(ctx); err != nil {
		return summary, err
	} else if !has {
		return previewFirst(cfg, matches, meta)
	}
	return recorder.Preview(ctx, matches, meta)
}

func previewFirst(cfg *config.Config, matches []schema.Match, meta changes.Metadata) (changes.Summary, error) {
	previous, _, err := readPrevious(cfg)
	if err != nil {
		return changes.Summary{}, err
	}
	if len(matches) == 0 && len(previous) > 0 && !meta.AllowEmpty {
		return changes.Summary{}, changes.ErrEmptyList
	}
	return changes.Diff(previous, matches, time.Now()), nil
}

func writeSummary(w io.Writer, s changes.Summary, dryRun bool) {
	fmt.Fprintf(w, "%s: %d new, %d updated, %d cancelled, %d removed; %s\n", count(s.Matches, "match"), len(s.New), len(s.Updated),
		len(s.Cancelled), len(s.Removed), count(len(s.Changes), "change"))
	switch {
	case dryRun:
		fmt.Fprintln(w, "nothing was written (--dry-run)")
	case len(s.Sequences) > 0:
		fmt.Fprintf(w, "stored as event %s; deliver it with: matchrelay relay --until-empty\n", sequences(s.Sequences))
	default:
		fmt.Fprintln(w, "no event was stored")
	}
}
