package outbox

import (
	"context"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// Report is the result of Verify.
type Report struct {
	Events   int      `json:"events"`   // records that were read
	Problems []string `json:"problems"` // empty when all is well; sentences without payloads
}

// Verify reads the whole file within one read transaction: the checksum of every record, gaps in the sequences, every
// counter against what is there, cursors, indexes, and the pages of bbolt itself. An error means that it could not be
// read; what was found wrong is in the report.
func (o *Outbox) Verify(ctx context.Context) (Report, error) {
	v := verifier{report: Report{Problems: []string{}}}
	_ = o.Flush(ctx) // without it the counters are older, not wrong
	err := o.View(func(tx *bolt.Tx) error {
		for err := range tx.Check() {
			v.problem("bbolt: %v", err)
		}
		var err error
		if v.l, err = openLedger(tx); err != nil {
			return err
		}
		for _, topic := range v.l.names() {
			if err := v.topic(ctx, topic); err != nil {
				return err
			}
		}
		v.totals()
		v.keys()
		return nil
	})
	if err != nil {
		return v.report, fmt.Errorf("verify: %w", err)
	}
	return v.report, nil
}

type verifier struct {
	l         *ledger
	report    Report
	sequences []uint64
	appended  uint64
	bytes     uint64
	prunedTo  uint64
}

func (v *verifier) problem(format string, args ...any) {
	v.report.Problems = append(v.report.Problems, fmt.Sprintf(format, args...))
}

func (v *verifier) expect(topic, what string, counted, found uint64) {
	if counted != found {
		v.problem("%s: the counter says %d %s, the log has %d", topic, counted, what, found)
	}
}

func (v *verifier) topic(ctx context.Context, topic string) error {
	s, err := v.l.topic(topic)
	if err != nil {
		return err
	}
	v.appended += s.appended
	v.prunedTo = max(v.prunedTo, s.prunedTo)
	var records, pending, size, highest uint64
	if log := v.l.bucket(logPrefix, topic); log != nil {
		c := log.Cursor()
		for k, value := c.First(); k != nil; k, value = c.Next() {
			if err := ctx.Err(); err != nil {
				return err
			}
			sequence := keySequence(k)
			v.sequences = append(v.sequences, sequence)
			records++
			size += uint64(len(value) + recordOverhead)
			highest = sequence
			if sequence > s.cursor && !v.l.has(closedPrefix, topic, k) {
				pending++
			}
			if r, err := decodeRecord(sequence, value); err != nil {
				v.problem("%s #%d: %v", topic, sequence, err)
			} else if keys := v.l.tx.Bucket([]byte(keysBucket)); r.key != "" && (keys == nil || keys.Get([]byte(r.key)) == nil) {
				v.problem("%s #%d: its idempotency key is not in the index", topic, sequence)
			}
		}
	}
	v.bytes += size
	v.report.Events += int(records)
	v.expect(topic, "events", s.appended-s.pruned, records)
	v.expect(topic, "pending", s.pending(), pending)
	v.expect(topic, "bytes", s.bytes, size)
	v.expect(topic, "parked", s.parked, v.marks(parkedPrefix, topic, s.cursor))
	v.expect(topic, "unheard", s.unheard, v.marks(unheardPrefix, topic, s.cursor))
	if highest != s.last && s.prunedTo != s.last {
		v.problem("%s: the newest event should be #%d, the log ends at #%d", topic, s.last, highest)
	}
	if s.cursor > s.last || s.Accepted.Sequence > s.last {
		v.problem("%s: cursor #%d or accepted #%d is behind the last event #%d", topic, s.cursor, s.Accepted.Sequence, s.last)
	}
	return nil
}

// marks counts the entries of a bucket beside the log and checks that each belongs to a settled event.
func (v *verifier) marks(prefix, topic string, cursor uint64) (n uint64) {
	b := v.l.bucket(prefix, topic)
	if b == nil {
		return 0
	}
	c := b.Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		n++
		if !v.l.has(logPrefix, topic, k) || keySequence(k) > cursor {
			v.problem("%s #%d: marked in %s, but not a settled event of the log", topic, keySequence(k), prefix)
		}
	}
	return n
}

// totals checks what all topics share: the sequences are dense, so that a missing one was pruned or lost.
func (v *verifier) totals() {
	last := v.l.number(keyLast)
	if v.appended != last {
		v.problem("the topics count %d events, the last sequence is #%d", v.appended, last)
	}
	v.expect("all topics", "bytes", v.l.number(keyBytes), v.bytes)
	slices.Sort(v.sequences)
	next := v.prunedTo + 1
	for _, sequence := range v.sequences {
		if sequence < next {
			continue
		}
		if sequence > next {
			v.problem("events #%d to #%d are missing", next, sequence-1)
		}
		next = sequence + 1
	}
	if next <= last {
		v.problem("events #%d to #%d are missing", next, last)
	}
}

func (v *verifier) keys() {
	keys := v.l.tx.Bucket([]byte(keysBucket))
	if keys == nil {
		return
	}
	c := keys.Cursor()
	for _, value := c.First(); value != nil; _, value = c.Next() {
		if _, record := v.l.find(keySequence(value)); record == nil {
			v.problem("an idempotency key points to event #%d, which is not there", keySequence(value))
		}
	}
}
