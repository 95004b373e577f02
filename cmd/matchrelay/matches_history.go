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

	"github.com/PitchConnect/matchrelay/changes"
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
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.matchHistory(cmd.Context(), args[0], raw) },
	}
	cmd.Flags().BoolVar(&raw, "raw", false, "show all values; they hold personal data")
	return cmd
}

// pastChange is one row of matches history.
type pastChange struct {
	Sequence uint64          `json:"sequence"`
	Time     time.Time       `json:"time"`
	MatchID  string          `json:"match_id"`
	Category string          `json:"category"`
	Priority string          `json:"priority"`
	Field    string          `json:"field"`
	From     json.RawMessage `json:"from"`
	To       json.RawMessage `json:"to"`
	Hidden   bool            `json:"hidden"` // from and to are left out: they may hold personal data
}

func (a *app) matchHistory(ctx context.Context, id string, raw bool) (err error) {
	cfg, err := a.load(nil)
	if err != nil {
		return err
	}
	o, err := openOutbox(cfg, a.logger(cfg), true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	history, unread := changes.History(ctx, o, id)
	if unread != nil && len(history) == 0 {
		return unread
	}
	if len(history) == 0 {
		// A match that is recorded may have no history: it was imported, or its changes are older than the log.
		matches, err := state(ctx, o, cfg)
		if err != nil {
			return err
		}
		if _, err := findMatch(matches, id); err != nil {
			return err
		}
		fmt.Fprintln(a.stderr, "no changes in the log")
	}
	rows := []pastChange{}
	for _, c := range history {
		row := pastChange{Sequence: c.Sequence, Time: c.Time, MatchID: c.MatchID, Category: string(c.Category),
			Priority: string(c.Priority), Field: c.Field, Hidden: !raw && changes.Personal(c.Field)}
		if !row.Hidden {
			row.From, row.To = c.Previous, c.Current
		}
		rows = append(rows, row)
	}
	printErr := printList(a, rows, func(w io.Writer) {
		if len(rows) > 0 {
			writeHistory(w, rows, cfg.Processor.Location)
		}
	})
	if unread != nil {
		unread = exit(exitPartly, fmt.Errorf("some match updates cannot be read: %w", unread))
	}
	return errors.Join(printErr, unread)
}

func writeHistory(w io.Writer, rows []pastChange, zone *time.Location) {
	t := newTable("sequence", "time", "category", "field", "from", "to")
	for _, r := range rows {
		from, to := valueText(r.From), valueText(r.To)
		if r.Hidden {
			from, to = "(hidden)", "(hidden)"
		}
		t.AppendRow([]any{r.Sequence, r.Time.In(zone).Format(time.DateTime), r.Category, plainText(r.Field), from, to})
	}
	render(w, t)
}

// valueText is a JSON value on one line; there is nothing to see of null.
func valueText(value json.RawMessage) string {
	var b bytes.Buffer
	if len(value) == 0 || string(value) == "null" || json.Compact(&b, value) != nil {
		return ""
	}
	return plainText(b.String())
}
