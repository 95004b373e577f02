package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/PitchConnect/matchrelay/config"
	"github.com/PitchConnect/matchrelay/outbox"
)

// tailPoll is how often tail looks for a process that has the outbox open while there is none.
const tailPoll = time.Second

func (a *app) eventsTailCommand() *cobra.Command {
	var s selection
	var last int
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "List the newest events, and then those that are appended, as they come",
		Long: `Tail lists the last events (-n), or those behind a sequence (--after), and goes on with those that are appended, until
Ctrl-C, SIGTERM, or --limit. Its output is that of list; a state is the one that the event had when it was read.

Only the process that has the outbox open can append, and tells of it through its control socket. While there is none, tail
does not keep the file, but looks once a second for the next one, and goes on where it was: no event is left out or
listed twice.`,
		Example: `  matchrelay events tail
  matchrelay events tail --match 6186203 -n 0 -o jsonl`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if last < 0 {
				return usageError(errors.New("-n: expected 0 or more"))
			}
			if cmd.Flags().Changed("after") {
				if cmd.Flags().Changed("lines") {
					return usageError(errors.New("-n, --after: only one of them says where to begin"))
				}
				last = -1
			}
			return a.tailEvents(cmd.Context(), s, last)
		},
	}
	s.addTopic(cmd.Flags())
	cmd.Flags().IntVarP(&last, "lines", "n", 10, "begin with so many of the last events")
	cmd.Flags().Uint64Var(&s.after, "after", 0, "begin behind this sequence")
	cmd.Flags().IntVar(&s.limit, "limit", 0, "end after so many events (default: never)")
	return cmd
}

// tailEvents lists the last events (-1: those behind --after), and follows the log.
func (a *app) tailEvents(ctx context.Context, s selection, last int) error {
	cfg, err := a.load(nil)
	if err != nil {
		return err
	}
	chosen, err := s.choice(cfg, time.Now())
	if err != nil {
		return err
	}
	t := &tail{a: a, cfg: cfg, choice: chosen, out: listWriter{a: a, zone: cfg.Processor.Location}}
	if err := t.run(ctx, last); !errors.Is(err, errEnough) && ctx.Err() == nil {
		t.out.abandon()
		return err
	}
	if t.out.n > 0 || a.output == formatJSON {
		if err := t.out.end(); err != nil {
			return err
		}
	}
	return t.reached.tell(a)
}

// tail follows the log. Where it stands is choice.After, whoever has the file next.
type tail struct {
	a       *app
	cfg     *config.Config
	choice  choice
	out     listWriter
	reached extent
	known   uint64 // the highest sequence that the outbox is known to have had
}

var errEnough = errors.New("as many events as were asked for")

// run returns an error always: errEnough, or why it cannot go on.
func (t *tail) run(ctx context.Context, last int) error {
	o, err := openToRead(ctx, t.cfg, t.a.logger(t.cfg))
	if err != nil {
		return err
	}
	t.known, err = lastSequence(ctx, o)
	if err == nil {
		err = t.begin(ctx, o, last)
	}
	for {
		if live, ok := o.(*liveStore); ok && err == nil {
			err = t.follow(ctx, live)
		}
		if err = errors.Join(err, o.Close()); err != nil {
			return err
		}
		if o, err = t.next(ctx); err != nil {
			return err
		}
	}
}

// begin shows the last events, or all behind --after. It looks for them from the end of the log, in windows that grow.
func (t *tail) begin(ctx context.Context, o store, last int) error {
	if last < 0 {
		return t.list(ctx, o, t.choice, func(info outbox.Info) error {
			t.choice.After = info.Sequence
			return t.write(info)
		})
	}
	through := t.known
	t.choice.After = through
	var found []outbox.Info
	for width := uint64(max(last, listPage)); through > 0 && len(found) < last; width *= 2 {
		window := t.choice
		window.Through, window.After = through, through-min(width, through)
		var newest []outbox.Info
		err := t.list(ctx, o, window, func(info outbox.Info) error {
			if newest = append(newest, info); len(found)+len(newest) > last {
				newest = newest[1:]
			}
			return nil
		})
		if err != nil {
			return err
		}
		found = append(newest, found...)
		through = window.After
	}
	for _, info := range found {
		if err := t.write(info); err != nil {
			return err
		}
	}
	return nil
}

func lastSequence(ctx context.Context, o store) (uint64, error) {
	if live, ok := o.(*liveStore); ok {
		return live.status.Outbox.LastSequence, nil
	}
	stats, err := o.(*outbox.Outbox).Stats(ctx)
	return stats.LastSequence, err
}

func (t *tail) list(ctx context.Context, o store, c choice, each func(outbox.Info) error) error {
	c.Limit = 0
	reached, err := c.each(ctx, o, each)
	t.reached.add(reached)
	return err
}

// follow shows what is appended, until the process that has the outbox is gone.
func (t *tail) follow(ctx context.Context, live *liveStore) error {
	keep, f, err := t.choice.on(live)
	if err != nil {
		return err
	}
	f.Limit = 0
	err = live.Tail(ctx, f, func(info outbox.Info) error {
		chosen, err := keep(ctx, &info)
		if t.reached.missed(err) {
			fmt.Fprintf(t.a.stderr, "matchrelay: left out, since it cannot be read: %s\n", oneLine(err.Error()))
			err = nil
		}
		if err != nil { // it is shown by the next process
			return err
		}
		t.choice.After = info.Sequence
		t.known = max(t.known, info.Sequence)
		if !chosen {
			return nil
		}
		return t.write(info)
	})
	if gone(err) {
		return nil
	}
	return err
}

// gone says whether a process cannot be asked, or not any more.
func gone(err error) bool {
	if err == nil {
		return false
	}
	code, _ := explain(err)
	return code == exitUnreachable || errors.Is(err, outbox.ErrClosed)
}

func (t *tail) write(info outbox.Info) error {
	if err := t.out.write(info); err != nil {
		return err
	}
	if t.out.n == t.choice.Limit {
		return errEnough
	}
	return nil
}

// next waits for a process that has the outbox open.
func (t *tail) next(ctx context.Context) (*liveStore, error) {
	for waiting := false; ; waiting = true {
		live, err := dialOwner(ctx, t.cfg)
		switch {
		case err == nil && live.status.Outbox.LastSequence < t.known:
			t.known = live.status.Outbox.LastSequence
			t.choice.After = min(t.choice.After, t.known)
			fmt.Fprintf(t.a.stderr, "matchrelay: the outbox is an older copy than before; going on behind #%d\n", t.choice.After)
			return live, nil
		case err == nil:
			t.known = live.status.Outbox.LastSequence
			if waiting {
				fmt.Fprintln(t.a.stderr, "matchrelay: a process has the outbox open: going on")
			}
			return live, nil
		case !gone(err):
			return nil, err
		case !waiting:
			fmt.Fprintln(t.a.stderr, "matchrelay: no process that serves the control socket has the outbox open, so nothing is appended; waiting for one")
		}
		if err := wait(ctx, tailPoll); err != nil {
			return nil, err
		}
	}
}
