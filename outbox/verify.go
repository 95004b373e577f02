package outbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Report is the result of Verify.
type Report struct {
	Events   int      `json:"events"`   // records that were read
	Problems []string `json:"problems"` // empty when all is well; sentences without payloads
}

// Verify reads the whole file: the pages of bbolt, while writers wait; then, in one read transaction, the checksum of every
// record, gaps in the sequences, every counter against what is there, cursors and indexes. An error means that it could
// not be read; what was found wrong is in the report. Damage within a page of bbolt can lead bbolt in circles: verify a
// file that is suspect in a process of its own, with a time limit.
func (o *Outbox) Verify(ctx context.Context) (Report, error) {
	v := verifier{report: Report{Problems: []string{}}}
	_ = o.Flush(ctx) // without it the counters are older, not wrong
	err := o.verifyPages(ctx, &v)
	if err == nil && len(v.report.Problems) == 0 { // what stands on damaged pages means nothing, and reading it may lead in circles
		err = o.read(func(l *ledger) error {
			v.l = l
			for _, topic := range l.names() {
				if err := v.topic(ctx, topic); err != nil {
					return err
				}
			}
			v.totals()
			v.keys()
			return nil
		})
	}
	if errors.Is(err, ErrDamaged) {
		v.problem("%v", err)
		err = nil
	}
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
	s := v.l.topic(topic)
	v.appended += s.appended
	v.prunedTo = max(v.prunedTo, s.prunedTo)
	var records, pending, size, highest uint64
	for sequence, value := range v.l.from(logPrefix+topic, 0) {
		if err := ctx.Err(); err != nil {
			return err
		}
		v.sequences = append(v.sequences, sequence)
		records++
		size += uint64(len(value) + recordOverhead)
		highest = sequence
		if sequence > s.cursor && !v.l.has(closedPrefix, topic, sequence) {
			pending++
		}
		r, err := decodeRecord(sequence, value)
		if err != nil {
			v.problem("%s #%d: %v", topic, sequence, err)
		} else if r.key != "" && keySequence(v.l.get(keysBucket, []byte(r.key))) != sequence {
			v.problem("%s #%d: the index of idempotency keys does not point to it", topic, sequence)
		}
	}
	v.bytes += size
	v.report.Events += int(records)
	v.expect(topic, "events", s.appended-s.pruned, records)
	v.expect(topic, "pending", s.pending(), pending)
	v.expect(topic, "bytes", s.bytes, size)
	v.expect(topic, "parked", s.parked, v.marks(parkedPrefix, topic, s.cursor))
	v.expect(topic, "unheard", s.unheard, v.marks(unheardPrefix, topic, s.cursor))
	if closed := v.marks(closedPrefix, topic, s.cursor); closed > s.discarded+s.replayed {
		v.problem("%s: %d events are marked discarded or replayed, the counters say %d", topic, closed, s.discarded+s.replayed)
	}
	if highest != s.last && s.prunedTo != s.last {
		v.problem("%s: the newest event should be #%d, the log ends at #%d", topic, s.last, highest)
	}
	if s.cursor > s.last || s.Accepted.Sequence > s.last || s.prunedTo > s.cursor {
		v.problem("%s: cursor #%d, accepted #%d, pruned to #%d and last event #%d contradict each other",
			topic, s.cursor, s.Accepted.Sequence, s.prunedTo, s.last)
	}
	for next := range v.l.from(logPrefix+topic, s.cursor+1) {
		if v.l.has(closedPrefix, topic, next) {
			v.problem("%s: the cursor #%d should have passed over #%d, which is not pending", topic, s.cursor, next)
		}
		break
	}
	if s.snapshot != 0 && !v.l.has(logPrefix, topic, s.snapshot) {
		v.problem("%s: the newest snapshot #%d is missing", topic, s.snapshot)
	}
	if shown := v.l.number(shownPrefix + topic); shown > s.prunedTo {
		v.problem("%s: snapshot #%d is said to be pruned, and that has come to #%d", topic, shown, s.prunedTo)
	}
	if given := v.l.number(givenPrefix + topic); given > s.prunedTo {
		v.problem("%s: delivered #%d is said to be pruned, and that has come to #%d", topic, given, s.prunedTo)
	}
	return nil
}

// marks counts the entries of a bucket beside the log and checks that each belongs to a settled event. Discarded ones
// may be ahead of the cursor, but not next to it.
func (v *verifier) marks(prefix, topic string, cursor uint64) (n uint64) {
	for sequence, value := range v.l.from(prefix+topic, 0) {
		n++
		ahead := sequence > cursor
		if prefix == closedPrefix && ahead {
			var c closing
			v.l.decode(topic, sequence, value, &c)
			ahead = c.Action != Discarded
		}
		if ahead || !v.l.has(logPrefix, topic, sequence) {
			v.problem("%s #%d: marked in %s, but not a settled event of the log", topic, sequence, prefix)
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
	for _, sequence := range append(v.sequences, last+1) {
		if sequence > next {
			v.problem("events #%d to #%d are missing", next, sequence-1)
		}
		next = max(next, sequence+1)
	}
}

func (v *verifier) keys() {
	keys := v.l.tx.Bucket([]byte(keysBucket))
	if keys == nil {
		return
	}
	c := keys.Cursor()
	for key, value := c.First(); key != nil; key, value = c.Next() {
		if _, record := v.l.find(keySequence(value)); record == nil {
			v.problem("an idempotency key points to event #%d, which is not there", keySequence(value))
		}
	}
}
