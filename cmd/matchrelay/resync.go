package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/PitchConnect/matchrelay/changes"
)

func (a *app) resyncCommand() *cobra.Command {
	var flags bulkFlags
	cmd := &cobra.Command{
		Use:   "resync",
		Short: "Send subscribers the whole current list again",
		Long: `Resync appends a match update with the whole recorded list and no changes, for subscribers who have lost it. It is
delivered in its turn, after what is pending already.

Without a terminal to ask on, nothing is done unless --yes is given.`,
		Example: `  matchrelay resync --dry-run
  matchrelay resync --yes && matchrelay relay --until-empty`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.resync(cmd.Context(), flags) },
	}
	flags.addTo(cmd, "noted in the audit log")
	return cmd
}

func (a *app) resync(ctx context.Context, flags bulkFlags) error {
	cfg, err := a.load(nil)
	if err != nil {
		return err
	}
	if !cfg.Redis.Enabled {
		return usageError(errors.New("REDIS_PUBSUB_ENABLED is false: no event is appended; set it to true"))
	}
	var plan, done changes.Resynced
	err = a.withMatches(ctx, cfg, openStore, func(s matchStore) (err error) {
		plan, err = s.PreviewResync(ctx)
		return err
	})
	if err != nil {
		return err
	}
	writePlan := func(w io.Writer) {
		fmt.Fprintf(w, "a match update with %s would be appended; nothing was done\n", count(plan.Matches, "match"))
	}
	if flags.dryRun {
		return a.print(plan, writePlan)
	}
	if !flags.yes { // others may use the file meanwhile
		question := fmt.Sprintf("Send subscribers the whole list of %s again?", count(plan.Matches, "match"))
		if err := a.confirm(ctx, question, writePlan); err != nil {
			return err
		}
	}
	var next string
	err = a.withMatches(ctx, cfg, openStore, func(s matchStore) (err error) {
		next = delivery(s)
		done, err = s.Resync(ctx, changes.Operator{Actor: actor(), Reason: flags.reason})
		return err
	})
	if err != nil {
		return err
	}
	return a.print(done, func(w io.Writer) { writeResynced(w, done, next) })
}

func writeResynced(w io.Writer, r changes.Resynced, next string) {
	fmt.Fprintf(w, "%s stored as event %s; %s\n", count(r.Matches, "match"), sequences(r.Sequences), next)
}
