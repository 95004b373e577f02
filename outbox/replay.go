package outbox

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// replayStep is how many events one transaction of Replay takes.
const replayStep = 200

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
	// Sequences are the new ones, in the order of the old ones.
	Sequences []uint64 `json:"sequences"`
}

// Replay appends parked and unheard events again, in the order of their sequences: each gets a new sequence, keeps its
// message ID, and is replayed once only. It works in steps of some hundred events, each a transaction that also holds the
// audit entry; when it is interrupted, calling it again goes on with the rest.
// Errors: ErrNotFound for a sequence that does not exist, and those of Update and Append.
func (o *Outbox) Replay(ctx context.Context, sequences []uint64, opts ReplayOptions) (ReplayResult, error) {
	sequences = slices.Compact(slices.Sorted(slices.Values(sequences)))
	total := ReplayResult{Sequences: []uint64{}}
	done := 0
	for chunk := range slices.Chunk(sequences, replayStep) {
		var part ReplayResult
		step := func(tx *bolt.Tx) (err error) {
			part, err = o.replayTx(tx, chunk, opts)
			return err
		}
		var err error
		if opts.DryRun {
			err = o.View(step)
		} else {
			err = o.Update(ctx, step)
		}
		if err != nil {
			return total, fmt.Errorf("replay: %w", err)
		}
		total.Matched += part.Matched
		total.Eligible += part.Eligible
		total.Superseded += part.Superseded
		total.Ineligible += part.Ineligible
		total.Replayed += len(part.Sequences)
		total.Sequences = append(total.Sequences, part.Sequences...)
		if done += len(chunk); opts.Progress != nil {
			opts.Progress(done)
		}
	}
	return total, nil
}

func (o *Outbox) replayTx(tx *bolt.Tx, sequences []uint64, opts ReplayOptions) (ReplayResult, error) {
	var result ReplayResult
	l, err := openLedger(tx)
	if err != nil {
		return result, err
	}
	newest := map[string]uint64{}
	for _, sequence := range sequences {
		topic, v := l.find(sequence)
		if v == nil {
			return result, fmt.Errorf("event #%d: %w", sequence, ErrNotFound)
		}
		result.Matched++
		info, err := l.info(topic, sequence, v)
		if err != nil {
			return result, err
		}
		entry := readEntry(topic, sequence, v)
		if info.State != Parked && info.State != Unheard || entry.Err != nil {
			result.Ineligible++
			continue
		}
		if _, known := newest[topic]; !known {
			newest[topic] = l.newestSnapshot(topic)
		}
		if entry.Snapshot && sequence < newest[topic] && !opts.AllowStale {
			result.Superseded++
			continue
		}
		result.Eligible++
		if opts.DryRun {
			continue
		}
		as, err := o.replayOne(l, entry, info.State)
		if err != nil {
			return result, fmt.Errorf("event #%d: %w", sequence, err)
		}
		result.Sequences = append(result.Sequences, as)
	}
	if opts.DryRun || len(result.Sequences) == 0 {
		return result, nil
	}
	if err := l.audit(AuditEntry{Time: o.opts.Now().UTC(), Actor: opts.Actor, Action: "replay", Filter: opts.Filter,
		Count: len(result.Sequences), Reason: opts.Reason}); err != nil {
		return result, err
	}
	tx.OnCommit(o.signal)
	return result, l.save()
}

// replayOne appends the event again and takes the old one out of the parked or unheard.
func (o *Outbox) replayOne(l *ledger, e Entry, state State) (uint64, error) {
	s, err := l.topic(e.Topic)
	if err != nil {
		return 0, err
	}
	key := sequenceKey(e.Sequence)
	// The newest snapshot of the log must be the newest state, so an older one is only a message when it is replayed.
	as, err := o.appendOne(l, Event{Topic: e.Topic, MessageID: e.MessageID, Payload: e.Payload,
		Snapshot: e.Snapshot && e.Sequence == s.snapshot, Urgent: true, TraceParent: e.TraceParent}, e.Sequence)
	if err != nil {
		return 0, err
	}
	if state == Unheard {
		s.unheard--
		return as, l.bucket(unheardPrefix, e.Topic).Delete(key)
	}
	if err := l.bucket(parkedPrefix, e.Topic).Delete(key); err != nil {
		return 0, err
	}
	s.parked--
	s.replayed++
	closed, err := l.makeBucket(closedPrefix, e.Topic)
	if err != nil {
		return 0, err
	}
	value, err := json.Marshal(closing{Action: Replayed, As: as, At: o.opts.Now().UTC()})
	if err != nil {
		return 0, err
	}
	return as, closed.Put(key, value)
}

// newestSnapshot is the sequence of the newest snapshot of a topic that subscribers got or will get.
func (l *ledger) newestSnapshot(topic string) uint64 {
	c := l.bucket(logPrefix, topic).Cursor()
	for k, v := c.Last(); k != nil; k, v = c.Prev() {
		r, _, err := decodeHeader(v)
		if err == nil && r.snapshot() && !l.has(parkedPrefix, topic, k) && !l.has(closedPrefix, topic, k) &&
			!l.has(unheardPrefix, topic, k) {
			return keySequence(k)
		}
	}
	return 0
}
