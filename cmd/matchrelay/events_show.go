package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/PitchConnect/matchrelay/outbox"
)

func (a *app) eventsShowCommand() *cobra.Command {
	var payload bool
	cmd := &cobra.Command{
		Use:   "show SEQUENCE",
		Short: "Show what is known of one event, or its payload",
		Args:  oneArgument,
		RunE: func(cmd *cobra.Command, args []string) error {
			sequence, err := strconv.ParseUint(args[0], 10, 64)
			if err != nil || sequence == 0 {
				return usageError(errors.New("SEQUENCE: expected a number from 1 on, as events list shows it"))
			}
			return a.showEvent(cmd.Context(), sequence, payload)
		},
	}
	cmd.Flags().BoolVar(&payload, "payload", false, "print the payload only, byte for byte; it holds personal data")
	return cmd
}

// eventDetails is the result of events show.
type eventDetails struct {
	outbox.Info
	Snapshot    bool   `json:"snapshot"`
	TraceParent string `json:"trace_parent"`
	Damaged     string `json:"damaged"` // why the record cannot be published, or ""
}

func (a *app) showEvent(ctx context.Context, sequence uint64, payload bool) error {
	cfg, err := a.load(nil)
	if err != nil {
		return err
	}
	o, err := openToRead(ctx, cfg, a.logger(cfg))
	if err != nil {
		return err
	}
	get := o.Get
	if payload {
		get = withPayload(o)
	}
	entry, info, err := get(ctx, sequence)
	if err := errors.Join(err, o.Close()); err != nil {
		return err
	}
	if payload {
		if entry.Err != nil {
			return fmt.Errorf("event #%d: %w", sequence, entry.Err)
		}
		return a.printRaw(entry.Payload)
	}
	details := eventDetails{Info: info, Snapshot: entry.Snapshot, TraceParent: entry.TraceParent}
	if entry.Err != nil {
		details.Damaged = entry.Err.Error()
	}
	err = a.print(details, func(w io.Writer) { writeDetails(w, details, cfg.Processor.Location) })
	if err == nil && entry.Err != nil {
		err = fmt.Errorf("event #%d: %w: %w; restore a backup", sequence, outbox.ErrDamaged, entry.Err)
	}
	return err
}

func writeDetails(w io.Writer, d eventDetails, zone *time.Location) {
	for _, row := range []struct {
		name string
		text any
	}{
		{"sequence", d.Sequence}, {"topic", d.Topic}, {"state", d.State}, {"message ID", d.MessageID},
		{"appended", appended(d.Info, zone, "2006-01-02 15:04:05.000 MST")}, {"bytes", d.Bytes},
		{"note", note(d.Info)}, {"trace parent", d.TraceParent}, {"damaged", d.Damaged},
	} {
		if row.text != "" {
			fmt.Fprintf(w, "%-13s %s\n", row.name, brief(fmt.Sprint(row.text)))
		}
	}
}
