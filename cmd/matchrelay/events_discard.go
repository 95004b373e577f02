package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/PitchConnect/matchrelay/outbox"
)

// discardFlags are the flags of events discard beside the selection.
type discardFlags struct {
	dryRun, yes bool
	reason      string
}

func (a *app) eventsDiscardCommand() *cobra.Command {
	var s selection
	var flags discardFlags
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
	cmd.Flags().BoolVar(&flags.dryRun, "dry-run", false, "say what would be done, do nothing")
	cmd.Flags().BoolVar(&flags.yes, "yes", false, "do not ask")
	cmd.Flags().StringVar(&flags.reason, "reason", "", "why (required); noted in the audit log")
	return cmd
}

func (a *app) discard(ctx context.Context, s selection, flags discardFlags) (err error) {
	cfg, err := a.load(nil)
	if err != nil {
		return err
	}
	if s.empty() {
		return usageError(errors.New("say which events: --seq 42, --state parked, --state pending, or another filter"))
	}
	if strings.TrimSpace(flags.reason) == "" {
		return usageError(errors.New("--reason: say why; it goes into the audit log"))
	}
	filter, err := s.filter(cfg, time.Now())
	if err != nil {
		return err
	}
	o, err := openStore(ctx, cfg, a.logger(cfg))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	chosen, err := chosenToDiscard(ctx, o, filter, s.sequences != "")
	if err != nil {
		return err
	}
	opts := outbox.DiscardOptions{DryRun: true, Actor: actor(), Filter: s.text(), Reason: flags.reason}
	plan, err := o.Discard(ctx, chosen, opts)
	if err != nil {
		return err
	}
	if flags.dryRun || plan.Eligible == 0 {
		printErr := a.print(plan, func(w io.Writer) { writeDiscardPlan(w, plan) })
		if flags.dryRun {
			return printErr
		}
		return errors.Join(printErr, notDiscarded(plan))
	}
	if !flags.yes {
		question := fmt.Sprintf("Give %s up for good?", count(plan.Eligible, "event"))
		// Others may use the file while the question waits.
		if err := errors.Join(o.Close(), a.confirm(ctx, question, func(w io.Writer) { writeDiscardPlan(w, plan) })); err != nil {
			return err
		}
		again, err := openStore(ctx, cfg, a.logger(cfg))
		if err != nil {
			return err
		}
		o = again
	}
	opts.DryRun, opts.Progress = false, a.progress("discarded", len(chosen))
	result, err := o.Discard(ctx, chosen, opts)
	if err != nil && result.Discarded > 0 {
		err = exit(exitPartly, fmt.Errorf("%d of %d are discarded: %w; run it again for the rest", result.Discarded, plan.Eligible, err))
	}
	printErr := a.print(result, func(w io.Writer) { fmt.Fprintf(w, "%s discarded\n", count(result.Discarded, "event")) })
	return errors.Join(err, printErr, notDiscarded(result))
}

// chosenToDiscard returns the sequences of a filter: all of a range, so that what cannot be discarded shows, else of the
// state, else only parked ones. A single sequence that does not exist is outbox.ErrNotFound.
func chosenToDiscard(ctx context.Context, o store, f outbox.Filter, named bool) (chosen []uint64, err error) {
	if f.State == "" && !named {
		f.State = outbox.Parked
	}
	err = eachEvent(ctx, o, f, func(info outbox.Info) error {
		chosen = append(chosen, info.Sequence)
		return nil
	})
	if err == nil && len(chosen) == 0 && f.Through == f.After+1 {
		_, _, err = o.Get(ctx, f.Through)
	}
	return chosen, err
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
