package outbox

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
)

// StepEvents is how many events one transaction of Replay or Discard takes.
const StepEvents = 200

// ReplayOptions say how to replay.
type ReplayOptions struct {
	// AllowStale also replays a snapshot although a newer one of its topic was delivered or is pending: subscribers are
	// set back to the older state.
	AllowStale bool
	// DryRun only counts.
	DryRun bool
	// Actor, Filter and Reason go into the audit log.
	Actor, Filter, Reason string
	// Progress, if set, is called after each transaction with the number of events looked at so far.
	Progress func(done int)
}

// ReplayResult counts what became, or with DryRun would become, of the events that were named.
type ReplayResult struct {
	Matched    int `json:"matched"`
	Eligible   int `json:"eligible"`
	Superseded int `json:"superseded"` // a newer snapshot was delivered or is pending
	Ineligible int `json:"ineligible"` // neither parked nor unheard, or damaged
	Replayed   int `json:"replayed"`
	// Sequences are the new ones, in their order.
	Sequences []uint64 `json:"sequences"`
}

// Add counts a part in.
func (r *ReplayResult) Add(part ReplayResult) {
	r.Matched += part.Matched
	r.Eligible += part.Eligible
	r.Superseded += part.Superseded
	r.Ineligible += part.Ineligible
	r.Replayed += part.Replayed
	if r.Sequences = append(r.Sequences, part.Sequences...); r.Sequences == nil {
		r.Sequences = []uint64{}
	}
}

// Replay appends parked and unheard events again, in the order in which they were appended first: each gets a new sequence
// and keeps its message ID. It is replayed once only, but its replay can be, when nobody hears that either. It works in steps
// of StepEvents, each a transaction that also holds the audit entry; when it is interrupted, calling it again goes on with
// the rest.
// Errors: ErrNotFound for a sequence that does not exist, and those of Update and Append.
func (o *Outbox) Replay(ctx context.Context, sequences []uint64, opts ReplayOptions) (ReplayResult, error) {
	total := ReplayResult{Sequences: []uint64{}}
	sequences, err := o.byFirst(sequences)
	if err != nil {
		return total, fmt.Errorf("replay: %w", err)
	}
	var part ReplayResult
	err = o.inSteps(ctx, sequences, opts.DryRun, opts.Progress, func(l *ledger, chunk []uint64) (err error) {
		if part, err = o.replayStep(l, chunk, opts); err == nil && len(part.Sequences) > 0 {
			o.signalOnCommit(l)
		}
		return err
	}, func() {
		part.Replayed = len(part.Sequences)
		total.Add(part)
	})
	if err != nil {
		return total, fmt.Errorf("replay: %w", err)
	}
	return total, nil
}

// byFirst sorts sequences by those under which their events were appended first: the replay of an old event that nobody heard
// is older than what was appended before it.
func (o *Outbox) byFirst(sequences []uint64) ([]uint64, error) {
	first := make(map[uint64]uint64, len(sequences))
	err := o.read(func(l *ledger) error {
		for _, sequence := range sequences {
			_, v := l.find(sequence)
			r, _, _ := decodeHeader(v) // what is not there, or damaged, is told by its step
			first[sequence] = r.first(sequence)
		}
		return nil
	})
	return slices.SortedFunc(maps.Keys(first), func(a, b uint64) int {
		return cmp.Or(cmp.Compare(first[a], first[b]), cmp.Compare(a, b))
	}), err
}

// replayStep replays some sequences, or only counts them, within one transaction.
func (o *Outbox) replayStep(l *ledger, sequences []uint64, opts ReplayOptions) (ReplayResult, error) {
	result := ReplayResult{Matched: len(sequences)}
	for _, sequence := range sequences {
		if _, v := l.find(sequence); v == nil {
			return result, cmp.Or(l.err, fmt.Errorf("event #%d: %w", sequence, ErrNotFound))
		}
	}
	newest := map[string]uint64{}
	for _, sequence := range sequences {
		topic, v := l.find(sequence)
		if v == nil { // in a full outbox, those before have pushed it out
			result.Ineligible++
			continue
		}
		state := l.info(topic, sequence, v).State
		entry := readEntry(topic, sequence, v)
		if state != Parked && state != Unheard || entry.Err != nil {
			result.Ineligible++
			continue
		}
		if entry.Snapshot && !opts.AllowStale {
			if _, known := newest[topic]; !known {
				newest[topic] = l.newestSnapshot(topic)
			}
			if cmp.Or(entry.ReplayOf, sequence) < newest[topic] {
				result.Superseded++
				continue
			}
		}
		result.Eligible++
		if opts.DryRun {
			continue
		}
		as, err := o.replayOne(l, entry, state)
		if err != nil {
			return result, fmt.Errorf("event #%d: %w", sequence, err)
		}
		result.Sequences = append(result.Sequences, as)
	}
	if len(result.Sequences) == 0 {
		return result, l.err
	}
	l.audit(AuditEntry{Time: o.opts.Now().UTC(), Actor: opts.Actor, Action: "replay", Filter: opts.Filter,
		Count: len(result.Sequences), Reason: opts.Reason})
	return result, l.save()
}

// replayOne appends the event again and takes the old one out of the parked or unheard.
func (o *Outbox) replayOne(l *ledger, e Entry, state State) (uint64, error) {
	s := l.topic(e.Topic)
	key := sequenceKey(e.Sequence)
	if state == Unheard { // first, since making room for the new one may remove the old one
		l.remove(unheardPrefix+e.Topic, key)
		s.unheard--
	}
	as, err := o.appendOne(l, Event{Topic: e.Topic, MessageID: e.MessageID, Payload: e.Payload, Snapshot: e.Snapshot,
		Urgent: true, TraceParent: e.TraceParent}, cmp.Or(e.ReplayOf, e.Sequence))
	if err != nil {
		return 0, err
	}
	if s.snapshot == e.Sequence {
		s.snapshot = as
	}
	if state == Parked {
		l.remove(parkedPrefix+e.Topic, key)
		l.encode(closedPrefix+e.Topic, e.Sequence, closing{Action: Replayed, As: as, At: o.opts.Now().UTC()})
		s.parked--
		s.replayed++
	}
	return as, nil
}

// newestSnapshot is the newest snapshot of a topic that subscribers got or will get, by the sequence under which it was
// appended first: a replay is as old as what it repeats.
func (l *ledger) newestSnapshot(topic string) (newest uint64) {
	newest = l.number(shownPrefix + topic)
	c := l.tx.Bucket([]byte(logPrefix + topic)).Cursor()
	for k, v := c.Last(); k != nil; k, v = c.Prev() {
		sequence := keySequence(k)
		r, _, err := decodeHeader(v)
		if err != nil || !l.shown(topic, sequence, r) {
			continue
		}
		newest = max(newest, r.first(sequence))
		if r.replayOf == 0 {
			break // all before it are older
		}
	}
	return newest
}

// shown says whether an event is a snapshot that subscribers got, or will get.
func (l *ledger) shown(topic string, sequence uint64, r record) bool {
	return r.snapshot() && !l.has(parkedPrefix, topic, sequence) && !l.has(closedPrefix, topic, sequence) &&
		!l.has(unheardPrefix, topic, sequence)
}

// first is the sequence under which an event was appended first.
func (r record) first(sequence uint64) uint64 { return cmp.Or(r.replayOf, sequence) }
