package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/PitchConnect/matchrelay/schema"
)

func (a *app) matchesShowCommand() *cobra.Command {
	var flags matchFlags
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show one match, or its JSON",
		Example: `  matchrelay matches show 6186203
  matchrelay matches show 6186203 --at 2025-09-21T10:30 --raw`,
		Args: oneArgument,
		RunE: func(cmd *cobra.Command, args []string) error { return a.showMatch(cmd.Context(), args[0], flags) },
	}
	flags.addTo(cmd.Flags())
	return cmd
}

func (a *app) showMatch(ctx context.Context, id string, flags matchFlags) error {
	cfg, err := a.load(nil)
	if err != nil {
		return err
	}
	at, err := flags.moment(cfg)
	if err != nil {
		return err
	}
	var o schema.Outline
	var m schema.Match
	err = a.withMatches(ctx, cfg, openToRead, func(s matchStore) (err error) {
		if flags.raw {
			m, err = s.Match(ctx, id, at)
		} else {
			o, err = s.Outline(ctx, id, at)
		}
		return err
	})
	if err != nil {
		return err
	}
	if flags.raw {
		return a.printRaw(append(m.Raw()[:len(m.Raw()):len(m.Raw())], '\n'))
	}
	return a.print(o, func(w io.Writer) { writeOutline(w, o) })
}

func writeOutline(w io.Writer, o schema.Outline) {
	for _, row := range []struct {
		name string
		text any
	}{
		{"id", brief(o.ID)}, {"number", brief(o.Number)}, {"date", brief(o.Date)}, {"time", brief(o.Time)}, {"match", teams(o)},
		{"venue", brief(o.Venue)}, {"competition", brief(o.Competition)}, {"referees", o.Referees}, {"note", matchNote(o)},
	} {
		if row.text != "" {
			fmt.Fprintf(w, "%-13s %v\n", row.name, row.text)
		}
	}
}
