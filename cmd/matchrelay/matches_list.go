package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/PitchConnect/matchrelay/schema"
)

func (a *app) matchesListCommand() *cobra.Command {
	var flags matchFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the recorded matches, without personal data",
		Long: `List shows the match list that the outbox holds, by date and kick-off.

With --at it is the list of the newest match update that was recorded at that time or before, rebuilt from the log. The
log goes back as far as OUTBOX_RETENTION, and does not hold a list that was imported.`,
		Example: `  matchrelay matches list
  matchrelay matches list --at 2h -o jsonl
  matchrelay matches list --raw > list.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.listMatches(cmd.Context(), flags) },
	}
	flags.addTo(cmd.Flags())
	return cmd
}

func (a *app) listMatches(ctx context.Context, flags matchFlags) error {
	cfg, err := a.load(nil)
	if err != nil {
		return err
	}
	at, err := flags.moment(cfg)
	if err != nil {
		return err
	}
	var outlines []schema.Outline
	var matches []schema.Match
	err = a.withMatches(ctx, cfg, openToRead, func(s matchStore) (err error) {
		if flags.raw {
			matches, err = s.Matches(ctx, at)
		} else {
			outlines, err = s.Outlines(ctx, at)
		}
		return err
	})
	if err != nil {
		return err
	}
	if flags.raw {
		return a.writeRaw(matches)
	}
	if a.output == formatTable && len(outlines) == 0 {
		fmt.Fprintln(a.stderr, "no matches")
		return nil
	}
	return printList(a, outlines, func(w io.Writer) { writeOutlines(w, outlines) })
}

// writeRaw writes matches as a list that ingest reads: each byte for byte, or with jsonl on a line of its own.
func (a *app) writeRaw(matches []schema.Match) error {
	var b bytes.Buffer
	if a.output == formatJSONL {
		for _, m := range matches {
			if err := json.Compact(&b, m.Raw()); err != nil {
				return fmt.Errorf("match %s: %w", m.ID(), err)
			}
			b.WriteByte('\n')
		}
	} else {
		b.WriteByte('[')
		for i, m := range matches {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteByte('\n')
			b.Write(m.Raw())
		}
		b.WriteString("\n]\n")
	}
	return a.printRaw(b.Bytes())
}

func writeOutlines(w io.Writer, outlines []schema.Outline) {
	t := newTable("id", "date", "time", "match", "venue", "referees", "note")
	for _, o := range outlines {
		t.AppendRow([]any{brief(o.ID), brief(o.Date), brief(o.Time), teams(o), brief(o.Venue), o.Referees, matchNote(o)})
	}
	render(w, t)
}

func teams(o schema.Outline) string {
	if o.Home == "" && o.Away == "" {
		return ""
	}
	return brief(o.Home + " - " + o.Away)
}

// matchNote says why a match is not played as planned.
func matchNote(o schema.Outline) string {
	var notes []string
	for _, n := range []struct {
		is   bool
		text string
	}{{o.Cancelled, "cancelled"}, {o.Postponed, "postponed"}, {o.Interrupted, "interrupted"}} {
		if n.is {
			notes = append(notes, n.text)
		}
	}
	return strings.Join(notes, ", ")
}
