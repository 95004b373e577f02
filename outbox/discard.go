package outbox

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	bolt "go.etcd.io/bbolt"
)

// DiscardOptions say how to discard.
type DiscardOptions struct {
	// DryRun only counts.
	DryRun bool
	// Actor, Filter and Reason go into the audit log. A reason is required.
	Actor, Filter, Reason string
	// Progress, if set, is called after each transaction with the number of events looked at so far.
	Progress func(done int)
}

// DiscardResult counts what became, or with DryRun would become, of the events that were named.
type DiscardResult struct {
	Matched    int `json:"matched"`
	Eligible   int `json:"eligible"`
	Pending    int `json:"pending"`    // those of the eligible that are pending, not parked
	Ineligible int `json:"ineligible"` // neither parked nor pending
	Discarded  int `json:"discarded"`
}

// Add counts a part in.
func (r *DiscardResult) Add(part DiscardResult) {
	r.Matched += part.Matched
	r.Eligible += part.Eligible
	r.Pending += part.Pending
	r.Ineligible += part.Ineligible
	r.Discarded += part.Discarded
}

// Discard sets parked and pending events aside for good: they are never published, and never replayed. Their records stay
// in the log until the retention period is over, as those of delivered events do. It works in steps of StepEvents,
// each a transaction that also holds the audit entry; when it is interrupted, calling it again goes on with the rest.
//
// A running relay passes over discarded events from its next read on. One that it has in flight already may still be
// published, and counts as discarded nevertheless.
//
// Errors: ErrInvalid without a reason, ErrNotFound for a sequence that does not exist (nothing of its step is discarded),
// and those of Update.
func (o *Outbox) Discard(ctx context.Context, sequences []uint64, opts DiscardOptions) (DiscardResult, error) {
	var total DiscardResult
	if strings.TrimSpace(opts.Reason) == "" {
		return total, fmt.Errorf("discard: %w", invalid("a reason is required"))
	}
	sequences = slices.Compact(slices.Sorted(slices.Values(sequences)))
	if opts.DryRun {
		_ = o.Flush(ctx) // without it, what is delivered but not settled counts as pending
	}
	var part DiscardResult
	err := o.inSteps(ctx, sequences, opts.DryRun, opts.Progress, func(l *ledger, chunk []uint64) (err error) {
		part, err = o.discardStep(l, chunk, opts)
		return err
	}, func() { total.Add(part) })
	if err != nil {
		return total, fmt.Errorf("discard: %w", err)
	}
	return total, nil
}

// inSteps takes sequences StepEvents at a time, each step within a transaction: one that only reads when it is a dry run. taken
// is called when the transaction of a step has committed.
func (o *Outbox) inSteps(ctx context.Context, sequences []uint64, dryRun bool, progress func(done int),
	step func(l *ledger, chunk []uint64) error, taken func()) error {
	done := 0
	for chunk := range slices.Chunk(sequences, StepEvents) {
		err := ctx.Err()
		switch {
		case err != nil:
		case dryRun:
			err = o.read(func(l *ledger) error { return step(l, chunk) })
		default:
			err = o.Update(ctx, func(tx *bolt.Tx) error { return step(o.ledger(tx), chunk) })
		}
		if err != nil {
			return err
		}
		taken()
		if done += len(chunk); progress != nil {
			progress(done)
		}
	}
	return nil
}

// discardStep discards some sequences, or only counts them, within one transaction.
func (o *Outbox) discardStep(l *ledger, sequences []uint64, opts DiscardOptions) (DiscardResult, error) {
	result := DiscardResult{Matched: len(sequences)}
	now := o.opts.Now().UTC()
	for _, sequence := range sequences {
		topic, v := l.find(sequence)
		if v == nil {
			return result, cmp.Or(l.err, fmt.Errorf("event #%d: %w", sequence, ErrNotFound))
		}
		state := l.info(topic, sequence, v).State
		if state != Parked && state != Pending {
			result.Ineligible++
			continue
		}
		result.Eligible++
		if state == Pending {
			result.Pending++
		}
		if opts.DryRun {
			continue
		}
		result.Discarded++
		s := l.topic(topic)
		if state == Parked {
			l.remove(parkedPrefix+topic, sequenceKey(sequence))
			s.parked--
		}
		l.encode(closedPrefix+topic, sequence, closing{Action: Discarded, At: now})
		s.discarded++
		l.passClosed(topic, s)
	}
	if result.Discarded == 0 {
		return result, l.err
	}
	l.audit(AuditEntry{Time: now, Actor: opts.Actor, Action: "discard", Filter: opts.Filter, Count: result.Discarded,
		Reason: opts.Reason})
	return result, l.save()
}

// passClosed moves the cursor over the closed events right behind it: the first event behind a cursor is pending, always,
// so that nothing waits for retention behind one that will never be delivered.
func (l *ledger) passClosed(topic string, s *topicState) {
	for sequence := range l.from(logPrefix+topic, s.cursor+1) {
		if !l.has(closedPrefix, topic, sequence) {
			return
		}
		s.cursor = sequence
	}
}
