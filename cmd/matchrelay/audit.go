package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/PitchConnect/matchrelay/outbox"
)

func (a *app) auditCommand() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Tell who replayed or discarded what, and why",
		Long:  `Audit shows the actions of operators and those of the relay on the whole file, the newest last.`,
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.audit(cmd.Context(), limit) },
	}
	cmd.Flags().IntVar(&limit, "limit", 0, "only the newest ones, at most so many (default: all)")
	return cmd
}

func (a *app) audit(ctx context.Context, limit int) (err error) {
	cfg, err := a.load(nil)
	if err != nil {
		return err
	}
	if limit < 0 {
		return usageError(errors.New("--limit: expected 0 (all) or more"))
	}
	o, err := openToRead(ctx, cfg, a.logger(cfg))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	entries, err := o.Audit(ctx, limit)
	if err != nil {
		return err
	}
	if a.output == formatTable && len(entries) == 0 {
		fmt.Fprintln(a.stderr, "nothing was replayed or discarded yet")
		return nil
	}
	return printList(a, entries, func(w io.Writer) { writeAudit(w, entries, cfg.Processor.Location) })
}

func writeAudit(w io.Writer, entries []outbox.AuditEntry, zone *time.Location) {
	t := newTable("TIME", "ACTOR", "ACTION", "COUNT", "FILTER", "REASON")
	for _, e := range entries {
		t.AppendRow([]any{e.Time.In(zone).Format(time.DateTime), brief(e.Actor), brief(e.Action), e.Count, brief(e.Filter), brief(e.Reason)})
	}
	render(w, t)
}
