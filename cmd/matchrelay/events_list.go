package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/PitchConnect/matchrelay/outbox"
)

func (a *app) eventsListCommand() *cobra.Command {
	var s selection
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List events in order, without their payloads",
		Long: `List shows the events that all the given filters choose, the oldest first. Nothing is left out silently: with --limit it
says when there are more, and from where to go on.

Only a relay that runs knows which pending events are held, that is, wait for a subscriber. With --match the payload of
every match update that the other filters choose is read.`,
		Example: `  matchrelay events list --state parked
  matchrelay events list --topic match_updates --since 2h -o jsonl
  matchrelay events list --match 6186203 --limit 100 --after 4711`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.listEvents(cmd.Context(), s) },
	}
	s.addTo(cmd.Flags())
	return cmd
}

func (a *app) listEvents(ctx context.Context, s selection) (err error) {
	cfg, err := a.load(nil)
	if err != nil {
		return err
	}
	chosen, err := s.choice(cfg, time.Now())
	if err != nil {
		return err
	}
	o, err := openToRead(ctx, cfg, a.logger(cfg))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	out := listWriter{a: a, zone: cfg.Processor.Location}
	reached, err := chosen.each(ctx, o, out.write)
	if err != nil {
		out.abandon()
		return err
	}
	return errors.Join(out.end(), reached.tell(a))
}

// listWriter writes events one by one; a table has columns of fixed width, since later rows are not known yet.
type listWriter struct {
	a    *app
	zone *time.Location
	n    int

	damaged int // of them
	example uint64
}

const listRow = "%8v  %-17s  %-9s  %-19s  %9v  %-36s  %s"

func (w *listWriter) write(info outbox.Info) (err error) {
	out := w.a.stdout
	if info.Damaged {
		w.damaged++
		w.example = info.Sequence
	}
	switch w.a.output {
	case formatTable:
		if w.n == 0 {
			if _, err = fmt.Fprintf(out, listRow+"\n", "SEQUENCE", "TOPIC", "STATE", "APPENDED", "BYTES", "MESSAGE ID", "NOTE"); err != nil {
				return err
			}
		}
		_, err = fmt.Fprintln(out, oneLine(fmt.Sprintf(listRow, info.Sequence, info.Topic, info.State,
			appended(info, w.zone, time.DateTime), info.Bytes, info.MessageID, brief(note(info)))))
	case formatJSON:
		separator := ","
		if w.n == 0 {
			separator = "["
		}
		if _, err = fmt.Fprintln(out, separator); err == nil {
			err = w.a.printJSON(info)
		}
	default:
		err = w.a.printJSON(info)
	}
	w.n++
	return err
}

func (w *listWriter) end() (err error) {
	switch {
	case w.a.output == formatJSON && w.n == 0:
		_, err = fmt.Fprintln(w.a.stdout, "[]")
	case w.a.output == formatJSON:
		_, err = fmt.Fprintln(w.a.stdout, "]")
	case w.a.output == formatTable && w.n == 0:
		fmt.Fprintln(w.a.stderr, "no such events")
	}
	if err == nil && w.damaged > 0 {
		err = fmt.Errorf("%w: %s cannot be read, such as #%d; restore a backup", outbox.ErrDamaged, count(w.damaged, "event"), w.example)
	}
	return err
}

// appended is when an event was, "" when that cannot be read any more.
func appended(info outbox.Info, zone *time.Location, layout string) string {
	if info.Damaged {
		return ""
	}
	return info.AppendedAt.In(zone).Format(layout)
}

// abandon ends what was begun, so that it is whole JSON also when the list is not.
func (w *listWriter) abandon() {
	if w.n > 0 {
		_ = w.end() // why it could not be completed is told
	}
}

// note says what is special about an event.
func note(info outbox.Info) string {
	switch {
	case info.Attempts > 0:
		return fmt.Sprintf("%s (%s)", info.LastError, count(info.Attempts, "attempt"))
	case info.ReplayOf > 0:
		return fmt.Sprintf("replay of #%d", info.ReplayOf)
	}
	return info.LastError
}
