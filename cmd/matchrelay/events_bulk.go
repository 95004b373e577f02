package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/user"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/PitchConnect/matchrelay/config"
	"github.com/PitchConnect/matchrelay/outbox"
)

// bulkFlags are the flags of an operator's action beside what it acts on.
type bulkFlags struct {
	dryRun, yes bool
	reason      string
	rate        float64 // events per second; 0 is as fast as possible
}

func (f *bulkFlags) addTo(cmd *cobra.Command, reason string) {
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "say what would be done, do nothing")
	cmd.Flags().BoolVar(&f.yes, "yes", false, "do not ask")
	cmd.Flags().StringVar(&f.reason, "reason", "", reason)
}

// pace returns how many events a step takes, and how long one step lasts: what one transaction of the outbox takes, or with a
// rate about a second's worth, since each step is a commit and an entry in the audit log. Between two steps an action tells
// how far it has come, and can be interrupted; it is the same through the control socket and on the file.
func (f bulkFlags) pace() (size int, every time.Duration, err error) {
	if f.rate == 0 {
		return outbox.StepEvents, 0, nil
	}
	if !(f.rate >= 0.001) || math.IsInf(f.rate, 0) {
		return 0, 0, usageError(errors.New("--rate: expected events per second, from 0.001 on (0: as fast as possible)"))
	}
	size = int(min(math.Ceil(f.rate), outbox.StepEvents))
	return size, time.Duration(float64(size) / f.rate * float64(time.Second)), nil
}

// bulk is an action on every event of a selection: it is planned, asked for, and then done step by step. R is what the outbox
// says that it did, or would do.
type bulk[R any] struct {
	states   []outbox.State // that are chosen where neither --seq nor --state names any
	done     string         // "replayed"
	act      func(ctx context.Context, o store, sequences []uint64, dryRun bool) (R, error)
	add      func(total *R, part R)
	count    func(R) (eligible, done int)
	question func(plan R) string
	plan     func(w io.Writer, plan R)
	result   func(w io.Writer, result R)
	refused  func(R) error // of events that were chosen and cannot be acted on
}

// run does it. What is done stays done, whatever comes then: the same command goes on with the rest.
func (b bulk[R]) run(ctx context.Context, a *app, s selection, flags bulkFlags) (err error) {
	cfg, err := a.load(nil)
	if err != nil {
		return err
	}
	chosen, err := s.choice(cfg, time.Now())
	if err != nil {
		return err
	}
	size, every, err := flags.pace()
	if err != nil {
		return err
	}
	o := &borrowed{a: a, cfg: cfg}
	if err := o.take(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.giveBack()) }()
	sequences, reached, err := b.choose(ctx, o.store, chosen, s.sequences != "")
	if err != nil {
		return err
	}
	plan, err := b.act(ctx, o.store, sequences, true)
	if err != nil {
		return err
	}
	eligible, _ := b.count(plan)
	if flags.dryRun || eligible == 0 {
		err := errors.Join(a.print(plan, func(w io.Writer) { b.plan(w, plan) }), reached.tell(a))
		if flags.dryRun {
			return err
		}
		return errors.Join(err, b.refused(plan))
	}
	if !flags.yes {
		// Others may use the file while the question waits.
		if err := errors.Join(o.giveBack(), a.confirm(ctx, b.question(plan), func(w io.Writer) { b.plan(w, plan) })); err != nil {
			return err
		}
		if err := o.take(ctx); err != nil {
			return err
		}
	}
	result, err := b.steps(ctx, o, sequences, size, every)
	_, done := b.count(result)
	if err != nil && done == 0 {
		return err
	}
	printErr := a.print(result, func(w io.Writer) { b.result(w, result) })
	if err != nil {
		if errors.Is(err, context.Canceled) {
			err = errors.New("it was interrupted")
		}
		err = exit(exitPartly, fmt.Errorf("%d of %d are %s: %w; run it again for the rest", done, eligible, b.done, err))
		return errors.Join(err, printErr)
	}
	return errors.Join(printErr, reached.tell(a), b.refused(result))
}

// choose returns the sequences to act on, in the order in which their events were appended first: all of a range, so that what cannot be acted on shows, else those of the states.
// A single sequence that does not exist is outbox.ErrNotFound.
func (b bulk[R]) choose(ctx context.Context, o store, c choice, named bool) (chosen []uint64, reached extent, err error) {
	each := []outbox.State{c.State}
	if c.State == "" && !named {
		each = b.states
	}
	var events []outbox.Info
	for _, c.State = range each {
		part, err := c.each(ctx, o, func(info outbox.Info) error {
			events = append(events, info)
			return nil
		})
		if err != nil {
			return nil, reached, err
		}
		reached.add(part)
	}
	slices.SortFunc(events, func(a, b outbox.Info) int { return cmp.Compare(a.Sequence, b.Sequence) })
	if c.Limit > 0 && len(events) > c.Limit { // of several states, each up to the limit
		events, reached.more = events[:c.Limit], true
	}
	if len(events) > 0 {
		reached.last = events[len(events)-1].Sequence
	} else if c.single && c.match == "" {
		_, _, err = o.Get(ctx, c.Through)
	}
	// A replay is as old as what it repeats: steps go by that.
	slices.SortStableFunc(events, func(a, b outbox.Info) int {
		return cmp.Compare(cmp.Or(a.ReplayOf, a.Sequence), cmp.Or(b.ReplayOf, b.Sequence))
	})
	for _, e := range events {
		chosen = append(chosen, e.Sequence)
	}
	return chosen, reached, err
}

// steps acts on the sequences in order. A step that has begun is finished when ctx ends: only so is it known what was done.
func (b bulk[R]) steps(ctx context.Context, o *borrowed, sequences []uint64, size int, every time.Duration) (total R, err error) {
	progress := o.a.progress(b.done, len(sequences))
	defer progress.end()
	next := time.Now()
	for i := 0; i < len(sequences); i += size {
		if err := o.rest(ctx, next); err != nil {
			return total, err
		}
		next = time.Now().Add(every) // never makes up for time that was lost: a rate is at most that
		step := sequences[i:min(i+size, len(sequences))]
		part, err := b.act(context.WithoutCancel(ctx), o.store, step, false)
		b.add(&total, part)
		if err != nil {
			return total, err
		}
		_, done := b.count(total)
		progress.at(i+len(step), done)
	}
	return total, nil
}

// borrowed is a store that is given back while nothing is done with it, for nobody else could have the file meanwhile.
type borrowed struct {
	a     *app
	cfg   *config.Config
	store store // nil while it is given back
}

func (b *borrowed) take(ctx context.Context) error {
	o, err := openStore(ctx, b.cfg, b.a.logger(b.cfg))
	if err == nil {
		b.store = o
	}
	return err
}

func (b *borrowed) giveBack() error {
	if b.store == nil {
		return nil
	}
	o := b.store
	b.store = nil
	return o.Close()
}

// handover is how long a step waits for the next process that has the file, or for the file to be free, when the store was
// given back.
const handover = 10 * time.Second

// rest gives the store back until a time, if that is to come.
func (b *borrowed) rest(ctx context.Context, until time.Time) error {
	if time.Until(until) <= 0 || ctx.Err() != nil {
		return ctx.Err()
	}
	if err := b.giveBack(); err != nil {
		return err
	}
	if err := wait(ctx, time.Until(until)); err != nil {
		return err
	}
	err := b.take(ctx)
	for end := time.Now().Add(handover); gone(err) && time.Now().Before(end) && wait(ctx, lookAgain) == nil; {
		err = b.take(ctx)
	}
	return err
}

// wait waits, and returns ctx's error when that ends before.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// actor is who runs this program, for the audit log.
func actor() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "uid " + strconv.Itoa(os.Getuid())
}
