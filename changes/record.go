package changes

import (
	"context"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/schema"
)

// Record compares a match list with the stored one. When anything changed, it
// stores the new list and appends one match_updates event with the whole list,
// in one transaction; otherwise it notes only when the list was fetched. The
// lists are compared before the transaction, so that other writers do not wait
// for that, and once more if another list was recorded meanwhile.
//
// Errors: ErrEmptyList, ErrStale, ErrState, schema.ErrMessage (Metadata.Extra),
// outbox.ErrInvalid (Metadata.FetchedAt), and those of outbox.Append and Update.
// On any error, ctx.Err() too, neither state nor event is kept.
func (r *Recorder) Record(ctx context.Context, matches []schema.Match, meta Metadata) (Summary, error) {
	var s Summary
	err := ahead(ctx, r.outbox, r.recording(newList(matches), meta), alone(&s))
	if err != nil {
		return Summary{}, fmt.Errorf("record %d matches: %w", len(matches), err)
	}
	r.log(s)
	return s, nil
}

// RecordWith is Record in a transaction that also does what do does, so that
// the caller's state commits together with the list and its events. do calls
// record once, or not at all if there is no reason to. It is a closure of
// outbox.Update: it may run several times. When record fails nothing is kept,
// also if do drops the error.
func (r *Recorder) RecordWith(ctx context.Context, matches []schema.Match, meta Metadata, do func(tx *bbolt.Tx, record func() (Summary, error)) error) error {
	return ahead(ctx, r.outbox, r.recording(newList(matches), meta), func(tx *bbolt.Tx, finish func() (Summary, error)) error {
		return do(tx, func() (Summary, error) {
			s, err := finish()
			if err != nil {
				return Summary{}, fmt.Errorf("record %d matches: %w", len(matches), err)
			}
			return s, nil
		})
	})
}

// RecordTx is Record within the caller's own write transaction; RecordWith is
// for one of outbox.Update, and keeps nobody waiting while it compares. When it
// fails the caller has to roll back.
func (r *Recorder) RecordTx(tx *bbolt.Tx, matches []schema.Match, meta Metadata) (Summary, error) {
	s, err := r.recording(newList(matches), meta)(tx)(context.Background())(tx)
	if err != nil {
		return Summary{}, fmt.Errorf("record %d matches: %w", len(matches), err)
	}
	return s, nil
}

// Preview is Record that writes nothing: it tells what would change.
func (r *Recorder) Preview(ctx context.Context, matches []schema.Match, meta Metadata) (Summary, error) {
	l := newList(matches)
	var c comparison
	err := r.outbox.View(func(tx *bbolt.Tx) (err error) {
		c, err = r.compare(tx, l, meta)
		return err
	})
	var s Summary
	if err == nil {
		s, err = r.diff(ctx, c)
	}
	if err != nil {
		return Summary{}, fmt.Errorf("compare %d matches: %w", len(matches), err)
	}
	return s, nil
}

// compare finds where the stored list differs in bytes, and whether it may be
// replaced.
func (r *Recorder) compare(tx *bbolt.Tx, l list, meta Metadata) (comparison, error) {
	if err := checkFetched(tx, meta, r.opts.Now()); err != nil {
		return comparison{}, err
	}
	c, err := l.compare(tx)
	if err == nil && len(l.matches) == 0 && c.stored > 0 && !meta.AllowEmpty {
		err = ErrEmptyList
	}
	return c, err
}

// diff says what a comparison means.
func (r *Recorder) diff(ctx context.Context, c comparison) (Summary, error) {
	prev, err := c.prev.matches()
	if err != nil {
		return Summary{}, err
	}
	s, err := differ{now: r.opts.Now(), location: r.opts.Location}.diff(ctx, prev, c.curr.matches)
	s.Matches, s.Cycle = c.listed, c.cycle
	return s, err
}

// recording is the job of recording a list.
func (r *Recorder) recording(l list, meta Metadata) job[Summary] {
	return func(tx *bbolt.Tx) func(context.Context) func(*bbolt.Tx) (Summary, error) {
		c, err := r.compare(tx, l, meta)
		return func(ctx context.Context) func(*bbolt.Tx) (Summary, error) {
			if err != nil {
				return failing[Summary](err)
			}
			return r.prepare(ctx, l, meta, c)
		}
	}
}

// prepare makes all that is written when a list is recorded.
func (r *Recorder) prepare(ctx context.Context, l list, meta Metadata, c comparison) func(*bbolt.Tx) (Summary, error) {
	s, err := r.diff(ctx, c)
	if err != nil {
		return failing[Summary](err)
	}
	if !s.Changed() {
		return func(tx *bbolt.Tx) (Summary, error) { return s, r.noteFetched(tx, meta) }
	}
	m, err := schema.NewMatchUpdate(schema.MatchUpdate{
		Source: r.opts.Source, Time: r.opts.Now(), Matches: l.matches, Changes: s.Changes,
		New: s.New, Updated: s.Updated, Cancelled: s.Cancelled, Removed: s.Removed,
		Cycle: s.Cycle, Metadata: meta.Extra,
	})
	if err != nil {
		return failing[Summary](err)
	}
	records := c.curr.records()
	return func(tx *bbolt.Tx) (Summary, error) {
		s := s // a transaction may be run again
		err := r.noteFetched(tx, meta)
		if err == nil {
			err = store(tx, records, s.Removed)
		}
		if err != nil {
			return s, fmt.Errorf("store the match list: %w", err)
		}
		if s.Sequences, err = r.append(tx, m); err != nil {
			return s, err
		}
		return s, markState(tx, s.Sequences)
	}
}

func (r *Recorder) noteFetched(tx *bbolt.Tx, meta Metadata) error {
	if err := noteFetched(tx, meta.FetchedAt, r.opts.Now()); err != nil {
		return err
	}
	return noteTurn(tx, meta.turn)
}
