package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) checkCommand() *cobra.Command {
	var limit time.Duration
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Verify the outbox file: pages, checksums, counters, cursors, and the match list against the log",
		Long: `Check reads the whole file, in a process of its own that damage cannot make this one follow: exit code 0 when it is
sound, 5 when it is not. While another process has the file, it exits with 4; verify a backup then.

It also rebuilds the match list from the log, and names the matches that the stored one holds otherwise. A list that no
event tells has nothing to be compared with: one that was imported, or recorded with REDIS_PUBSUB_ENABLED=false.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.check(cmd.Context(), limit) },
	}
	cmd.Flags().DurationVar(&limit, "timeout", verifyLimit, "call it damaged when it takes longer")
	return cmd
}

func (a *app) check(ctx context.Context, limit time.Duration) error {
	cfg, err := a.load(nil)
	if err != nil {
		return err
	}
	if limit <= 0 {
		return errNoLimit
	}
	report, err := a.verifier(limit)(ctx, cfg.Outbox.Path)
	if err != nil {
		return err
	}
	return a.printReport(cfg.Outbox.Path, report, "restore a backup with: matchrelay backup restore FILE")
}

var errNoLimit = usageError(errors.New("--timeout: expected more than 0"))
