package outbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
)

// pruneStep is how many events one transaction of Prune removes: a large delete would need as much free disk again.
const pruneStep = 500

// candidate is the oldest event of a topic that may be removed.
type candidate struct {
	topic    string
	sequence uint64
	record   record
}

// Prune removes delivered events that are older than Options.Retention, oldest first, in small transactions, and returns
// how many. Pending and parked events stay, and so does the newest snapshot of each topic. On a full disk it goes on
// event by event, as long as that works.
func (o *Outbox) Prune(ctx context.Context) (int, error) {
	before := o.opts.Now().Add(-o.opts.Retention)
	total, step := 0, pruneStep
	for {
		due, err := o.prunable(before)
		if !due || err != nil {
			return total, err
		}
		var n int
		err = o.Update(ctx, func(tx *bolt.Tx) error {
			l := o.ledger(tx)
			n = l.prune(func(c candidate, removed int) bool {
				return removed < step && c.record.appended.Before(before)
			})
			return l.save()
		})
		switch {
		case errors.Is(err, ErrDiskFull) && step > 1:
			step = 1
		case err != nil:
			return total, fmt.Errorf("prune: %w", err)
		default:
			total, step = total+n, min(2*step, pruneStep)
		}
	}
}

// prunable says whether Prune would find anything, without a write transaction.
func (o *Outbox) prunable(before time.Time) (due bool, err error) {
	err = o.read(func(l *ledger) error {
		c, ok := l.oldest()
		due = ok && c.record.appended.Before(before)
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("prune: %w", err)
	}
	return due, nil
}

// prune removes candidates, oldest first, while more says so, and returns how many. The caller saves the ledger.
func (l *ledger) prune(more func(c candidate, removed int) bool) (removed int) {
	for {
		c, ok := l.oldest()
		if !ok || !more(c, removed) {
			return removed
		}
		l.removeEvent(c)
		l.fronts[c.topic] = l.oldestOf(c.topic, c.sequence)
		removed++
	}
}

// oldest finds the delivered event with the lowest sequence. What stays in front of it, however much is parked there, is looked
// at once in a transaction.
func (l *ledger) oldest() (best candidate, found bool) {
	if l.fronts == nil {
		l.fronts = map[string]*candidate{}
	}
	for _, topic := range l.names() {
		c, known := l.fronts[topic]
		if !known {
			c = l.oldestOf(topic, 0)
			l.fronts[topic] = c
		}
		if c != nil && (!found || c.sequence < best.sequence) {
			best, found = *c, true
		}
	}
	return best, found
}

// oldestOf finds a topic's delivered event with the lowest sequence behind after, or nil.
func (l *ledger) oldestOf(topic string, after uint64) *candidate {
	s := l.topic(topic)
	for sequence, v := range l.from(logPrefix+topic, after+1) {
		if sequence > s.cursor || s.TailFrom != 0 && sequence >= s.TailFrom {
			break // not delivered, or perhaps to be published again
		}
		if sequence == s.snapshot || l.has(parkedPrefix, topic, sequence) {
			continue
		}
		r, _, err := decodeHeader(v)
		if err != nil {
			r = record{storedSize: len(v)} // damaged and delivered: older than any other
		}
		return &candidate{topic, sequence, r}
	}
	return nil
}

// removeEvent deletes a candidate with everything that refers to it.
func (l *ledger) removeEvent(c candidate) {
	s := l.topic(c.topic)
	key := sequenceKey(c.sequence)
	if l.shown(c.topic, c.sequence, c.record) {
		l.setNumber(shownPrefix+c.topic, max(l.number(shownPrefix+c.topic), c.record.first(c.sequence)))
	}
	if !l.has(closedPrefix, c.topic, c.sequence) {
		l.setNumber(givenPrefix+c.topic, max(l.number(givenPrefix+c.topic), c.sequence))
	}
	if l.has(unheardPrefix, c.topic, c.sequence) {
		l.remove(unheardPrefix+c.topic, key)
		s.unheard--
	}
	l.remove(closedPrefix+c.topic, key)
	if name := []byte(c.record.key); keySequence(l.get(keysBucket, name)) == c.sequence {
		l.remove(keysBucket, name)
	}
	l.remove(logPrefix+c.topic, key)
	size := uint64(c.record.storedSize + recordOverhead)
	s.pruned++
	s.prunedTo = max(s.prunedTo, c.sequence)
	s.bytes -= size
	l.setNumber(keyBytes, l.number(keyBytes)-size)
}

// makeRoom sees to it that need more bytes fit under the cap, removing delivered events before their time if it must.
func (o *Outbox) makeRoom(l *ledger, e Event, need uint64) error {
	limit := o.opts.MaxBytes
	if !e.Urgent {
		limit -= o.opts.reserve()
	}
	fits := func() bool { return l.number(keyBytes)+need <= uint64(limit) }
	if fits() {
		return nil
	}
	more := func(candidate, int) bool { return !fits() }
	before := l.fronts != nil
	if l.prune(more); !fits() && before { // other closures of the commit may have settled some since it was looked
		l.fronts = nil
		l.prune(more)
	}
	if !fits() {
		return cmp.Or(l.err, fmt.Errorf("%w: %d bytes are pending or parked, the limit is %d (OUTBOX_MAX_BYTES); deliver them (is Redis up?), replay or discard what is parked, or raise the limit",
			ErrFull, l.number(keyBytes), o.opts.MaxBytes))
	}
	return nil
}
