package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/PitchConnect/matchrelay/outbox"
)

func (a *app) compactCommand() *cobra.Command {
	var limit time.Duration
	cmd := &cobra.Command{
		Use:   "compact",
		Short: "Rewrite the outbox file without the space that nothing uses",
		Long: `Compact makes the file smaller, which never happens by itself: the space of what is removed is used again, not given
back. The new file is written beside the old one, verified, and takes its name; on any error the old one stays as it is.
Nobody may have the file open: stop the processor and the relay first, or it says who has it and exits with 4.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.compact(cmd.Context(), limit) },
	}
	cmd.Flags().DurationVar(&limit, "timeout", verifyLimit, "give up when verifying the new file takes longer")
	return cmd
}

func (a *app) compact(ctx context.Context, limit time.Duration) error {
	cfg, err := a.load(nil)
	if err != nil {
		return err
	}
	if limit <= 0 {
		return errNoLimit
	}
	result, err := outbox.Compact(ctx, cfg.Outbox.Path, a.verifier(limit))
	if errors.Is(err, outbox.ErrDamaged) {
		return exit(exitUnverified, fmt.Errorf("%w; look at it with: matchrelay check", err))
	}
	if err != nil {
		return err
	}
	return a.print(result, func(w io.Writer) {
		if result.After == result.Before {
			fmt.Fprintf(w, "%s, %s: %s, nothing to gain\n", result.Path, count(result.Events, "event"), byteText(result.Before))
			return
		}
		fmt.Fprintf(w, "%s, %s: %s before, %s now\n", result.Path, count(result.Events, "event"), byteText(result.Before), byteText(result.After))
	})
}
