package changes

import (
	"context"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/schema"
)

// A Resynced says what a resync sends.
type Resynced struct {
	Matches   int      `json:"matches"`
	Sequences []uint64 `json:"sequences"` // of the events that were appended to the outbox
}

// Operator is who asks for a resync, and why: it goes into the audit log.
type Operator struct{ Actor, Reason string }

// Resync appends a match_updates event that repeats the whole stored list, for
// subscribers who have lost it: without changes, but with has_changes true,
// since they skip an update without, and "resync": true in its metadata. The
// event and the audit entry are written in one transaction, if the list is still
// the one that was read. With Options.EventsOff nothing is appended.
//
// Errors: ErrNoState, ErrState, and those of outbox.Append and Update.
func (r *Recorder) Resync(ctx context.Context, by Operator) (Resynced, error) {
	var done Resynced
	err := ahead(ctx, r.outbox, r.resyncing, func(tx *bbolt.Tx, finish func() (Resynced, error)) error {
		resynced, err := finish()
		done = resynced
		if err != nil || len(resynced.Sequences) == 0 {
			return err
		}
		return r.outbox.AppendAudit(tx, outbox.AuditEntry{Actor: by.Actor, Action: "resync", Count: resynced.Matches, Reason: by.Reason})
	})
	if err != nil {
		return Resynced{}, fmt.Errorf("resync: %w", err)
	}
	return done, nil
}

// PreviewResync is Resync that writes nothing: it tells how many matches would
// be sent.
func (r *Recorder) PreviewResync(_ context.Context) (Resynced, error) {
	var stored reader
	err := r.outbox.View(func(tx *bbolt.Tx) error { return stored.recorded(tx) })
	var matches []schema.Match
	if err == nil {
		matches, err = stored.matches()
	}
	if err != nil {
		return Resynced{}, fmt.Errorf("resync: %w", err)
	}
	return Resynced{Matches: len(matches), Sequences: []uint64{}}, nil
}

// recorded is read where there is a list.
func (r *reader) recorded(tx *bbolt.Tx) error {
	if tx.Bucket(stateBucket) == nil {
		return ErrNoState
	}
	return r.read(tx)
}

// resyncing is the job of a resync.
func (r *Recorder) resyncing(tx *bbolt.Tx) func(context.Context) func(*bbolt.Tx) (Resynced, error) {
	var stored reader
	err := stored.recorded(tx)
	cycle := cycle(tx)
	return func(context.Context) func(*bbolt.Tx) (Resynced, error) {
		var matches []schema.Match
		if err == nil {
			matches, err = stored.matches()
		}
		if err != nil {
			return failing[Resynced](err)
		}
		m, err := schema.NewMatchUpdate(schema.MatchUpdate{
			Source: r.opts.Source, Time: r.opts.Now(), Matches: matches, Cycle: cycle, Metadata: map[string]any{"resync": true},
		})
		if err != nil {
			return failing[Resynced](err)
		}
		return func(tx *bbolt.Tx) (Resynced, error) {
			sequences, err := r.append(tx, m)
			if err == nil && len(sequences) > 0 {
				err = markState(tx, sequences)
			}
			return Resynced{Matches: len(matches), Sequences: sequences}, err
		}
	}
}
