package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/PitchConnect/matchrelay/changes/api"
)

func (a *app) matchesHistoryCommand() *cobra.Command {
	var raw bool
	cmd := &cobra.Command{
		Use:   "history ID",
		Short: "List what changed in one match, as the log tells it",
		Long: `History lists the changes of one match in the match updates that the log still holds (OUTBOX_RETENTION), oldest first.

Values of fields that may hold personal data (referees, contacts, and every field that is not known) are hidden.`,
		Example: `  matchrelay matches history 6186203
  matchrelay matches history 6186203 -o jsonl`,
		Args: oneArgument,
		RunE: func(cmd *cobra.Command, args []string) error { return a.matchHistory(cmd.Context(), args[0], raw) },
	}
	cmd.Flags().BoolVar(&raw, "raw", false, "show all values; they hold personal data")
	return cmd
}

func (a *app) matchHistory(ctx context.Context, id string, raw bool) error {
	cfg, err := a.load(nil)
	if err != nil {
		return err
	}
	var rows []api.Change
	unread := a.withMatches(ctx, cfg, openToRead, func(s matchStore) (err error) {
		rows, err = s.History(ctx, id, raw)
		return err
	})
	switch {
	case unread != nil && len(rows) == 0:
		return unread
	case unread != nil:
		unread = exit(exitPartly, fmt.Errorf("some match updates cannot be read: %w", unread))
	case len(rows) == 0:
		fmt.Fprintln(a.stderr, "no changes in the log")
	}
	printErr := printList(a, rows, func(w io.Writer) {
		if len(rows) > 0 {
			writeHistory(w, rows, cfg.Processor.Location)
		}
	})
	return errors.Join(printErr, unread)
}

func writeHistory(w io.Writer, rows []api.Change, zone *time.Location) {
	t := newTable("sequence", "time", "category", "field", "from", "to")
	for _, r := range rows {
		from, to := valueText(r.From), valueText(r.To)
		if r.Hidden {
			from, to = "(hidden)", "(hidden)"
		}
		t.AppendRow([]any{r.Sequence, r.Time.In(zone).Format(time.DateTime), r.Category, brief(r.Field), from, to})
	}
	render(w, t)
}

// valueText is a JSON value on one line; there is nothing to see of null.
func valueText(value json.RawMessage) string {
	var b bytes.Buffer
	if len(value) == 0 || string(value) == "null" || json.Compact(&b, value) != nil {
		return ""
	}
	return brief(b.String())
}
