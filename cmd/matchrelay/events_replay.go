package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/PitchConnect/matchrelay/outbox"
)

func (a *app) eventsReplayCommand() *cobra.Command {
	var s selection
	var flags bulkFlags
	var allowStale bool
	cmd := &cobra.Command{
		Use:   "replay",
		Short: "Append parked and unheard events again, to be delivered once more",
		Long: `Replay appends each chosen event that is parked or unheard again, under a new sequence and with the same message ID.

A match update that is older than one already delivered would set subscribers back, and is left out unless --allow-stale
is given. Without a terminal to ask on, nothing is done unless --yes is given. Every replay is noted in the audit log.

Ctrl-C ends it after the step that it is at; what is replayed stays replayed, and the same command goes on with the rest.
A parked event is replayed once only; one that was unheard can be replayed again when no one hears its replay either.
They go in the order in which they were appended first. With --rate the file is free between two steps.`,
		Example: `  matchrelay events replay --state parked --topic system_alert --dry-run
  matchrelay events replay --seq 40..45 --yes --reason "subscriber was misconfigured"
  matchrelay events replay --state unheard --rate 10`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.replay(cmd.Context(), s, flags, allowStale) },
	}
	s.addTo(cmd.Flags())
	flags.addTo(cmd, "noted in the audit log")
	cmd.Flags().BoolVar(&allowStale, "allow-stale", false, "also match updates that are older than what was delivered")
	cmd.Flags().Float64Var(&flags.rate, "rate", 0, "at most so many events per second (default: as fast as possible)")
	return cmd
}

func (a *app) replay(ctx context.Context, s selection, flags bulkFlags, allowStale bool) error {
	if s.empty() {
		return usageError(errors.New("say which events: --seq 42, --state parked, --state unheard, or another filter"))
	}
	opts := outbox.ReplayOptions{AllowStale: allowStale, Actor: actor(), Filter: s.text(), Reason: flags.reason}
	return bulk[outbox.ReplayResult]{
		states: []outbox.State{outbox.Parked, outbox.Unheard},
		done:   "replayed",
		act: func(ctx context.Context, o store, sequences []uint64, dryRun bool) (outbox.ReplayResult, error) {
			opts.DryRun = dryRun
			return o.Replay(ctx, sequences, opts)
		},
		add:   (*outbox.ReplayResult).Add,
		count: func(r outbox.ReplayResult) (int, int) { return r.Eligible, r.Replayed },
		question: func(plan outbox.ReplayResult) string {
			return fmt.Sprintf("Append %s again, to be delivered once more?", count(plan.Eligible, "event"))
		},
		plan:    writePlan,
		result:  writeReplayed,
		refused: notReplayed,
	}.run(ctx, a, s, flags)
}

func writePlan(w io.Writer, p outbox.ReplayResult) {
	fmt.Fprintf(w, "%s chosen: %d can be replayed, %d superseded by a newer match update, %d neither parked nor unheard; nothing was done\n",
		count(p.Matched, "event"), p.Eligible, p.Superseded, p.Ineligible)
}

func writeReplayed(w io.Writer, r outbox.ReplayResult) {
	fmt.Fprintf(w, "%s appended again as %s\n", count(r.Replayed, "event"), sequences(r.Sequences))
}

// notReplayed tells of events that were chosen and not replayed.
func notReplayed(r outbox.ReplayResult) error {
	left := r.Matched - r.Replayed
	if left == 0 {
		return nil
	}
	code := exitPartly
	if r.Replayed == 0 {
		code = exitFailure
	}
	next := "only parked and unheard events can be replayed"
	if r.Superseded > 0 {
		next = "send the current list with: matchrelay resync, or add --allow-stale to send the older one"
	}
	return exit(code, fmt.Errorf("%s not replayed; %s", count(left, "event"), next))
}
