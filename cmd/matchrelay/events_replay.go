package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/PitchConnect/matchrelay/outbox"
)

// replayFlags are the flags of events replay beside the selection.
type replayFlags struct {
	dryRun, yes, allowStale bool
	reason                  string
}

func (a *app) eventsReplayCommand() *cobra.Command {
	var s selection
	var flags replayFlags
	cmd := &cobra.Command{
		Use:   "replay",
		Short: "Append parked and unheard events again, to be delivered once more",
		Long: `Replay appends each chosen event that is parked or unheard again, under a new sequence and with the same message ID.

A match update that is older than one already delivered would set subscribers back, and is left out unless --allow-stale
is given. Without a terminal to ask on, nothing is done unless --yes is given. Every replay is noted in the audit log.`,
		Example: `  matchrelay events replay --state parked --topic system_alert --dry-run
  matchrelay events replay --seq 40..45 --yes --reason "subscriber was misconfigured"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.replay(cmd.Context(), s, flags) },
	}
	s.addTo(cmd.Flags())
	cmd.Flags().BoolVar(&flags.dryRun, "dry-run", false, "say what would be done, do nothing")
	cmd.Flags().BoolVar(&flags.yes, "yes", false, "do not ask")
	cmd.Flags().BoolVar(&flags.allowStale, "allow-stale", false, "also match updates that are older than what was delivered")
	cmd.Flags().StringVar(&flags.reason, "reason", "", "noted in the audit log")
	return cmd
}

func (a *app) replay(ctx context.Context, s selection, flags replayFlags) (err error) {
	cfg, err := a.load(nil)
	if err != nil {
		return err
	}
	if s.empty() {
		return usageError(errors.New("say which events: --seq 42, --state parked, --state unheard, or another filter"))
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
	chosen, err := choose(ctx, o, filter, s.sequences != "")
	if err != nil {
		return err
	}
	opts := outbox.ReplayOptions{AllowStale: flags.allowStale, DryRun: true, Actor: actor(), Filter: s.text(), Reason: flags.reason}
	plan, err := o.Replay(ctx, chosen, opts)
	if err != nil {
		return err
	}
	if flags.dryRun || plan.Eligible == 0 {
		return errors.Join(a.print(plan, func(w io.Writer) { writePlan(w, plan) }), refused(plan, flags.dryRun))
	}
	if !flags.yes {
		question := fmt.Sprintf("Append %s again, to be delivered once more?", count(plan.Eligible, "event"))
		// Others may use the file while the question waits.
		if err := errors.Join(o.Close(), a.confirm(ctx, question, func(w io.Writer) { writePlan(w, plan) })); err != nil {
			return err
		}
		again, err := openStore(ctx, cfg, a.logger(cfg))
		if err != nil {
			return err
		}
		o = again
	}
	opts.DryRun = false
	result, err := o.Replay(ctx, chosen, opts)
	if err != nil && result.Replayed > 0 {
		err = exit(exitPartly, fmt.Errorf("%d of %d are replayed: %w; run it again for the rest", result.Replayed, plan.Eligible, err))
	}
	printErr := a.print(result, func(w io.Writer) {
		fmt.Fprintf(w, "%s appended again as %s\n", count(result.Replayed, "event"), sequences(result.Sequences))
	})
	return errors.Join(err, printErr, refused(result, false))
}

// choose returns the sequences to replay: all of a range, so that what cannot be replayed shows, else only those parked or
// unheard. A single sequence that does not exist is outbox.ErrNotFound.
func choose(ctx context.Context, o store, f outbox.Filter, named bool) (chosen []uint64, err error) {
	each := []outbox.State{f.State}
	if f.State == "" && !named {
		each = []outbox.State{outbox.Parked, outbox.Unheard}
	}
	for _, f.State = range each {
		if err := eachEvent(ctx, o, f, func(info outbox.Info) error {
			chosen = append(chosen, info.Sequence)
			return nil
		}); err != nil {
			return nil, err
		}
	}
	if len(chosen) == 0 && f.Through == f.After+1 {
		_, _, err = o.Get(ctx, f.Through)
	}
	return chosen, err
}

func writePlan(w io.Writer, p outbox.ReplayResult) {
	fmt.Fprintf(w, "%s chosen: %d can be replayed, %d superseded by a newer match update, %d neither parked nor unheard; nothing was done\n",
		count(p.Matched, "event"), p.Eligible, p.Superseded, p.Ineligible)
}

// refused tells of events that were chosen and not replayed.
func refused(r outbox.ReplayResult, dryRun bool) error {
	left := r.Matched - r.Replayed
	if dryRun || left == 0 {
		return nil
	}
	code := exitPartly
	if r.Replayed == 0 {
		code = exitFailure
	}
	next := "only parked and unheard events can be replayed"
	if r.Superseded > 0 {
		next = "record the list again for a current match update, or add --allow-stale to send the older one"
	}
	return exit(code, fmt.Errorf("%s not replayed; %s", count(left, "event"), next))
}

// actor is who runs this program, for the audit log.
func actor() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "uid " + strconv.Itoa(os.Getuid())
}
