package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/PitchConnect/matchrelay/outbox"
)

func (a *app) eventsDiscardCommand() *cobra.Command {
	var s selection
	var flags bulkFlags
	cmd := &cobra.Command{
		Use:   "discard",
		Short: "Give parked and pending events up for good",
		Long: `Discard sets each chosen event aside that is parked or pending: it is never published, and cannot be replayed. Without
--seq and --state, only parked events are chosen.

Why is required: --reason goes into the audit log. Without a terminal to ask on, nothing is done unless --yes is given.`,
		Example: `  matchrelay events discard --state parked --topic system_alert --reason "of last season" --dry-run
  matchrelay events discard --seq 40..45 --reason "test data" --yes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.discard(cmd.Context(), s, flags) },
	}
	s.addTo(cmd.Flags())
	flags.addTo(cmd, "why (required); noted in the audit log")
	return cmd
}

func (a *app) discard(ctx context.Context, s selection, flags bulkFlags) error {
	if s.empty() {
		return usageError(errors.New("say which events: --seq 42, --state parked, --state pending, or another filter"))
	}
	if strings.TrimSpace(flags.reason) == "" {
		return usageError(errors.New("--reason: say why; it goes into the audit log"))
	}
	opts := outbox.DiscardOptions{Actor: actor(), Filter: s.text(), Reason: flags.reason}
	return bulk[outbox.DiscardResult]{
		states: []outbox.State{outbox.Parked},
		done:   "discarded",
		act: func(ctx context.Context, o store, sequences []uint64, dryRun bool) (outbox.DiscardResult, error) {
			opts.DryRun = dryRun
			return o.Discard(ctx, sequences, opts)
		},
		add:   (*outbox.DiscardResult).Add,
		count: func(r outbox.DiscardResult) (int, int) { return r.Eligible, r.Discarded },
		question: func(plan outbox.DiscardResult) string {
			return fmt.Sprintf("Give %s up for good?", count(plan.Eligible, "event"))
		},
		plan: writeDiscardPlan,
		result: func(w io.Writer, r outbox.DiscardResult) {
			fmt.Fprintf(w, "%s discarded\n", count(r.Discarded, "event"))
		},
		refused: notDiscarded,
	}.run(ctx, a, s, flags)
}

func writeDiscardPlan(w io.Writer, p outbox.DiscardResult) {
	fmt.Fprintf(w, "%s chosen: %d can be discarded, of which %d pending; %d neither parked nor pending; nothing was done\n",
		count(p.Matched, "event"), p.Eligible, p.Pending, p.Ineligible)
}

// notDiscarded tells of events that were chosen and are neither parked nor pending.
func notDiscarded(r outbox.DiscardResult) error {
	if r.Ineligible == 0 {
		return nil
	}
	code := exitPartly
	if r.Discarded == 0 {
		code = exitFailure
	}
	return exit(code, fmt.Errorf("%s not discarded; only parked and pending events can be discarded", count(r.Ineligible, "event")))
}
