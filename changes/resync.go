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
// list is read, the event appended and the audit entry written in one transaction. With Options.EventsOff
// nothing is appended.
//
// Errors: ErrNoState, ErrState, and those of outbox.Append and Update.
func (r *Recorder) Resync(ctx context.Context, by Operator) (Resynced, error) {
	var done Resynced
	err := r.outbox.Update(ctx, func(tx *bbolt.Tx) error {
		resynced, err := r.resync(tx)
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
	plan := Resynced{Sequences: []uint64{}}
	err := r.outbox.View(func(tx *bbolt.Tx) error {
		matches, err := recorded(tx)
		plan.Matches = len(matches)
		return err
	})
	if err != nil {
		return Resynced{}, fmt.Errorf("resync: %w", err)
	}
	return plan, nil
}

// recorded is Matches where there is a list.
func recorded(tx *bbolt.Tx) ([]schema.Match, error) {
	if tx.Bucket(stateBucket) == nil {
		return nil, ErrNoState
	}
	return Matches(tx)
}

func (r *Recorder) resync(tx *bbolt.Tx) (Resynced, error) {
	matches, err := recorded(tx)
	if err != nil {
		return Resynced{}, err
	}
	m, err := schema.NewMatchUpdate(schema.MatchUpdate{
		Source: r.opts.Source, Time: r.opts.Now(), Matches: matches, Cycle: cycle(tx), Metadata: map[string]any{"resync": true},
	})
	if err != nil {
		return Resynced{}, err
	}
	sequences, err := r.append(tx, m)
	if err == nil && len(sequences) > 0 {
		err = markState(tx, sequences)
	}
	return Resynced{Matches: len(matches), Sequences: sequences}, err
}
