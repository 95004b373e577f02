package outbox

import (
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
		var n int
		if !o.prunable(before) {
			return total, nil
		}
		err := o.Update(ctx, func(tx *bolt.Tx) error {
			l, err := openLedger(tx)
			if err != nil {
				return err
			}
			n, err = l.prune(func(c candidate, removed int) bool {
				return removed < step && c.record.appended.Before(before)
			})
			return err
		})
		if errors.Is(err, ErrDiskFull) && step > 1 {
			step = 1
			continue
		}
		if err != nil {
			return total, fmt.Errorf("prune: %w", err)
		}
		total += n
	}
}

// prunable says whether Prune would find anything, without a write transaction.
func (o *Outbox) prunable(before time.Time) (found bool) {
	_ = o.View(func(tx *bolt.Tx) error {
		l, err := openLedger(tx)
		if err != nil {
			return err
		}
		c, ok, err := l.oldest(nil)
		found = ok && c.record.appended.Before(before)
		return err
	})
	return found
}

// prune removes candidates, oldest first, while more says so.
func (l *ledger) prune(more func(c candidate, removed int) bool) (int, error) {
	from := map[string]uint64{}
	removed := 0
	for {
		c, ok, err := l.oldest(from)
		if err != nil || !ok || !more(c, removed) {
			return removed, errors.Join(err, l.save())
		}
		if err := l.remove(c); err != nil {
			return removed, fmt.Errorf("prune %s #%d: %w", c.topic, c.sequence, err)
		}
		from[c.topic] = c.sequence
		removed++
	}
}

// oldest finds the delivered event with the lowest sequence, looking in each topic behind from.
func (l *ledger) oldest(from map[string]uint64) (best candidate, found bool, err error) {
	for _, topic := range l.names() {
		c, ok, err := l.oldestOf(topic, from[topic])
		if err != nil {
			return best, false, err
		}
		if ok && (!found || c.sequence < best.sequence) {
			best, found = c, true
		}
	}
	return best, found, nil
}

func (l *ledger) oldestOf(topic string, after uint64) (candidate, bool, error) {
	s, err := l.topic(topic)
	if err != nil {
		return candidate{}, false, err
	}
	log := l.bucket(logPrefix, topic)
	if log == nil {
		return candidate{}, false, nil
	}
	c := log.Cursor()
	for k, v := c.Seek(sequenceKey(after + 1)); k != nil; k, v = c.Next() {
		sequence := keySequence(k)
		if sequence > s.cursor || s.TailFrom != 0 && sequence >= s.TailFrom {
			break // not delivered, or perhaps to be published again
		}
		if sequence == s.snapshot || l.has(parkedPrefix, topic, k) {
			continue
		}
		r, _, err := decodeHeader(v)
		if err != nil {
			r = record{storedSize: len(v)} // damaged and delivered: the oldest there is
		}
		return candidate{topic, sequence, r}, true, nil
	}
	return candidate{}, false, nil
}

// remove deletes a candidate with everything that refers to it.
func (l *ledger) remove(c candidate) error {
	s, err := l.topic(c.topic)
	if err != nil {
		return err
	}
	key := sequenceKey(c.sequence)
	if l.has(unheardPrefix, c.topic, key) {
		if err := l.bucket(unheardPrefix, c.topic).Delete(key); err != nil {
			return err
		}
		s.unheard--
	}
	if b := l.bucket(closedPrefix, c.topic); b != nil {
		if err := b.Delete(key); err != nil {
			return err
		}
	}
	if keys := l.tx.Bucket([]byte(keysBucket)); keys != nil && c.record.key != "" {
		if err := keys.Delete([]byte(c.record.key)); err != nil {
			return err
		}
	}
	if err := l.bucket(logPrefix, c.topic).Delete(key); err != nil {
		return err
	}
	size := uint64(c.record.storedSize + recordOverhead)
	s.pruned++
	s.prunedTo = max(s.prunedTo, c.sequence)
	s.bytes -= size
	return l.setNumber(keyBytes, l.number(keyBytes)-size)
}

// makeRoom sees to it that need more bytes fit under the cap, removing delivered events before their time if it must.
func (o *Outbox) makeRoom(l *ledger, e Event, need int) error {
	limit := o.opts.MaxBytes
	if !e.Urgent {
		limit -= o.opts.reserve()
	}
	fits := func() bool { return int64(l.number(keyBytes))+int64(need) <= limit }
	if fits() {
		return nil
	}
	if _, err := l.prune(func(candidate, int) bool { return !fits() }); err != nil {
		return err
	}
	if !fits() {
		return fmt.Errorf("%w: %d bytes are pending or parked, the limit is %d (OUTBOX_MAX_BYTES); deliver them (is Redis up?), replay or discard what is parked, or raise the limit",
			ErrFull, l.number(keyBytes), o.opts.MaxBytes)
	}
	return nil
}
