package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/config"
	"github.com/PitchConnect/matchrelay/schema"
)

// importPrevious makes the list of PREVIOUS_MATCHES_FILE the first state of an outbox that has none. Once there is a state,
// the file is not even looked at: it may be gone.
func importPrevious(ctx context.Context, recorder *changes.Recorder, cfg *config.Config, log *slog.Logger) error {
	has, err := recorder.HasState(ctx)
	if err != nil || has {
		return err
	}
	matches, found, err := readPrevious(cfg)
	if err != nil || !found {
		return err
	}
	imported, err := recorder.Import(ctx, matches)
	if err == nil && imported {
		log.Info("previous match list imported; only what changes from it on is told", "file", cfg.Processor.PreviousMatches, "matches", len(matches))
	}
	return err
}

// checkPrevious says of an outbox that is not made yet what importPrevious would say, so that none is made in vain.
func checkPrevious(cfg *config.Config) error {
	if _, err := os.Stat(cfg.Outbox.Path); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	_, _, err := readPrevious(cfg)
	return err
}

// readPrevious reads the list of PREVIOUS_MATCHES_FILE. Only a file that nobody asked for may be missing.
func readPrevious(cfg *config.Config) (matches []schema.Match, found bool, err error) {
	p := cfg.Processor
	matches, err = readList(p.PreviousMatches)
	switch {
	case err == nil:
		return matches, true, nil
	case errors.Is(err, fs.ErrNotExist) && !p.PreviousRequired:
		return nil, false, nil
	}
	return nil, false, usageError(fmt.Errorf(`PREVIOUS_MATCHES_FILE: %w; expected a readable JSON list of matches, {"matches": [...]} or {"matchlista": [...]}; `+
		"correct the setting or the file, or take both away to begin without a list; nothing was recorded", err))
}
