package main

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay/control"
)

func (a *app) checkCommand() *cobra.Command {
	var limit time.Duration
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Verify the outbox file: pages, checksums, counters, cursors, and the match list against the log",
		Long: `Check reads the whole file, in a process of its own that damage cannot make this one follow: exit code 0 when it is
sound, 5 when it is not.

While a process has the outbox open, a copy of this moment is taken through its control socket, checked beside the file, and
removed; for that there must be room for the file twice. When no process has it, no other can open it meanwhile: do not
check a large one while its processor is about to start, but a backup, with matchrelay backup verify.

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
	live, err := dialOwner(ctx, cfg)
	var report outbox.Report
	switch {
	case err == nil:
		report, err = outbox.VerifyCopy(ctx, cfg.Outbox.Path, a.verifier(limit), func(w io.Writer) error {
			_, err := live.Backup(ctx, w)
			return err
		})
		err = errors.Join(err, live.Close())
	case errors.Is(err, control.ErrNotRunning), errors.Is(err, errOtherOutbox):
		report, err = a.verifier(limit)(ctx, cfg.Outbox.Path)
	}
	if errors.Is(err, outbox.ErrDamaged) { // says the process that has it open, which goes on
		report, err = outbox.Report{Problems: []string{"the process that has it open cannot read it: it is damaged or was truncated"}}, nil
	}
	if err != nil {
		return err
	}
	return a.printReport(cfg.Outbox.Path, report, "restore a backup with: matchrelay backup restore FILE")
}

var errNoLimit = usageError(errors.New("--timeout: expected more than 0"))
