package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
)

// settleWithin is when a receipt that no commit carried along is written by itself.
const settleWithin = 500 * time.Millisecond

// Receipt is the relay's word that Redis has every event of a topic up to and including Through, but for those that are
// parked or discarded.
type Receipt struct {
	Topic   string `json:"topic"`
	Through uint64 `json:"through"`
	// Unheard are the events among them that nobody was subscribed to: those that are settled by it, or, when they were published
	// again, earlier ones.
	Unheard []uint64 `json:"unheard"`
	// Origin is that which the relay published under. When the file has taken a fresh one since, Progress.Accepted
	// means nothing any more and is dropped.
	Origin string `json:"origin"`
	// Progress replaces what is stored.
	Progress Progress `json:"progress"`
}

// Settle takes note of a receipt. It is written by the next commit, whoever makes it, or within a second; Flush writes it
// at once. Until then a crash only means that the events are sent again, and Redis refuses them. A receipt behind the
// cursor does not move it back. Errors: ErrInvalid, ErrFailed, ErrClosed.
func (o *Outbox) Settle(_ context.Context, r Receipt) error {
	switch p := r.Progress; {
	case o.opts.ReadOnly:
		return fmt.Errorf("settle: %w", errReadOnly)
	case !validTopic(r.Topic):
		return fmt.Errorf("settle: %w", invalid("topic %q", r.Topic))
	case p.Accepted.MessageID != "" && !printable(p.Accepted.MessageID, 64):
		return fmt.Errorf("settle %s: %w", r.Topic, invalid("accepted message ID: expected at most 64 bytes of printable ASCII"))
	case len(p.Run) > 255:
		return fmt.Errorf("settle %s: %w", r.Topic, invalid("run of %d bytes: expected at most 255", len(p.Run)))
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.unusable(); err != nil {
		return err
	}
	r.Unheard = append([]uint64(nil), r.Unheard...)
	o.receipts[r.Topic] = mergeReceipts(o.receipts[r.Topic], &r)
	o.armFlush()
	return nil
}

// mergeReceipts puts the later receipt onto the earlier one, which may be nil.
func mergeReceipts(earlier, later *Receipt) *Receipt {
	if earlier == nil {
		return later
	}
	return &Receipt{
		Topic:    later.Topic,
		Through:  max(earlier.Through, later.Through),
		Unheard:  append(earlier.Unheard, later.Unheard...),
		Origin:   later.Origin,
		Progress: later.Progress,
	}
}

// armFlush starts the timer that writes the receipts, unless it runs; the caller holds mu.
func (o *Outbox) armFlush() {
	if o.flushing || o.closed {
		return
	}
	o.flushing = true
	o.background.Add(1)
	o.flushTimer = time.AfterFunc(settleWithin, func() {
		defer o.background.Done()
		o.mu.Lock()
		o.flushing = false
		o.mu.Unlock()
		err := o.Flush(context.Background()) // which arms the timer again when it fails
		if err == nil || errors.Is(err, ErrClosed) || errors.Is(err, ErrFailed) {
			return
		}
		o.mu.Lock()
		warned := o.stuck
		o.stuck = true
		o.mu.Unlock()
		if !warned {
			o.opts.Logger.Warn("cannot settle delivered events yet; trying again all the time", "path", o.path, "error", err)
		}
	})
}

// Flush writes every receipt that is not written yet.
func (o *Outbox) Flush(ctx context.Context) error {
	o.mu.Lock()
	idle := len(o.receipts) == 0 && !o.settling
	o.mu.Unlock()
	if idle {
		return o.Err()
	}
	return o.Update(ctx, func(*bolt.Tx) error { return nil })
}

// takeReceipts hands the receipts to a commit, which puts them back or drops them.
func (o *Outbox) takeReceipts() map[string]*Receipt {
	o.mu.Lock()
	defer o.mu.Unlock()
	taken := o.receipts
	o.receipts = map[string]*Receipt{}
	o.settling = len(taken) > 0
	return taken
}

func (o *Outbox) dropReceipts() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.settling, o.stuck = false, false
}

func (o *Outbox) putBackReceipts(taken map[string]*Receipt) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.settling = false
	for topic, r := range taken {
		if later := o.receipts[topic]; later != nil {
			r = mergeReceipts(r, later)
		}
		o.receipts[topic] = r
	}
	if len(o.receipts) > 0 {
		o.armFlush()
	}
}

// applyReceipts moves cursors and counters. Events are counted from the log, so that a receipt that comes twice, or
// covers what was parked meanwhile, counts nothing twice.
func (l *ledger) applyReceipts(receipts map[string]*Receipt) error {
	for topic, r := range receipts {
		s := l.topic(topic)
		if s.Progress = r.Progress; r.Origin != l.origin() {
			s.Accepted = Mark{}
		}
		if through := min(r.Through, s.last); through > s.cursor {
			closed := l.among(closedPrefix, topic)
			for sequence := range l.from(logPrefix+topic, s.cursor+1) {
				if sequence > through {
					break
				}
				if !closed(sequence) {
					s.delivered++
				}
			}
			s.cursor = through
			l.passClosed(topic, s)
		}
		for _, sequence := range r.Unheard {
			if sequence <= min(r.Through, s.cursor) && l.has(logPrefix, topic, sequence) &&
				!l.has(parkedPrefix, topic, sequence) && !l.has(closedPrefix, topic, sequence) && !l.has(unheardPrefix, topic, sequence) {
				l.put(unheardPrefix+topic, sequenceKey(sequence), []byte{})
				s.unheard++
			}
		}
	}
	return l.err
}
