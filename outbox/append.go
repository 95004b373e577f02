package outbox

import (
	"context"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// Event is one message to be published, as given to Append.
type Event struct {
	// Topic decides the channel that the relay publishes to: 1 to 64 of a-z, 0-9, '_', '-', '.'.
	Topic string `json:"topic"`
	// MessageID is the identity that the message carries itself, kept through every retry and replay: 1 to 64 bytes of
	// printable ASCII without spaces, unique within one call of Append.
	MessageID string `json:"message_id"`
	// Payload is published byte for byte: 1 byte to Options.MaxEventBytes.
	Payload []byte `json:"payload"`
	// Key is an optional idempotency key of at most 200 bytes: while an event with this key is in the log, appending it
	// again returns the old sequence and changes nothing, whatever has become of that event: KeyState tells whether it was
	// parked or discarded.
	Key string `json:"key"`
	// Snapshot marks an event that holds the whole state as of now. The newest one of a topic is never pruned.
	Snapshot bool `json:"snapshot"`
	// Urgent lets the event use the reserve that is left when the outbox is full (UrgentReserve).
	Urgent bool `json:"urgent"`
	// TraceParent is an optional W3C trace context of at most 200 bytes.
	TraceParent string `json:"trace_parent"`
}

func (e Event) validate(maxBytes int) error {
	if !validTopic(e.Topic) {
		return invalid("topic %q: expected 1 to 64 of a-z, 0-9, '_', '-', '.'", e.Topic)
	}
	if !printable(e.MessageID, 64) {
		return invalid("message ID of a %s event: expected 1 to 64 bytes of printable ASCII without spaces", e.Topic)
	}
	if len(e.Key) > 200 {
		return invalid("idempotency key of %d bytes: expected at most 200", len(e.Key))
	}
	if len(e.TraceParent) > 200 {
		return invalid("trace parent of %d bytes: expected at most 200", len(e.TraceParent))
	}
	if len(e.Payload) == 0 {
		return invalid("payload of message %s is empty", e.MessageID)
	}
	if len(e.Payload) > maxBytes {
		return fmt.Errorf("%w: message %s has %d bytes, the limit is %d (OUTBOX_MAX_EVENT_BYTES); publish less at once or raise the limit, but keep it below what Redis and its subscribers' output buffers take",
			ErrTooLarge, e.MessageID, len(e.Payload), maxBytes)
	}
	return nil
}

func validTopic(s string) bool {
	if len(s) == 0 || len(s) > 64 {
		return false
	}
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.') {
			return false
		}
	}
	return true
}

func printable(s string, most int) bool {
	if len(s) == 0 || len(s) > most {
		return false
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return true
}

// Append adds events to the log within the caller's transaction, which may come from Update or be any write transaction
// on the same database. The events are durable once that transaction has committed, and gone if it rolls back. The relay
// wakes on the commit. Append returns the sequences in the order of the events: every event in the outbox has its own,
// dense and ascending; only for a Key that is in the log already, the old one comes back.
//
// All events are checked before the first is written. Errors: ErrInvalid, ErrTooLarge, ErrFull, ErrFailed. Within Update, a closure
// whose Append failed fails as a whole, even if it drops the error; in a transaction of the caller's own, the caller has
// to roll back.
func (o *Outbox) Append(tx *bolt.Tx, events ...Event) (sequences []uint64, err error) {
	defer func() {
		if err != nil {
			o.spoil(tx, err)
		}
	}()
	if tx == nil || tx.DB() != o.db || !tx.Writable() {
		return nil, fmt.Errorf("append: %w", invalid("expected an open write transaction on the outbox's own database"))
	}
	seen := make(map[string]bool, len(events))
	for _, e := range events {
		if err := e.validate(o.opts.MaxEventBytes); err != nil {
			return nil, fmt.Errorf("append: %w", err)
		}
		if seen[e.MessageID] {
			return nil, fmt.Errorf("append: %w", invalid("message ID %s is given twice", e.MessageID))
		}
		seen[e.MessageID] = true
	}
	l := o.ledger(tx)
	err = o.failure()
	if err == nil && !l.shared { // Update has looked
		err = o.checkIdentity()
	}
	if err != nil {
		return nil, fmt.Errorf("append: %w", err)
	}
	for _, e := range events {
		sequence, err := o.appendOne(l, e, 0)
		if err != nil {
			return nil, fmt.Errorf("append %s event: %w", e.Topic, err)
		}
		sequences = append(sequences, sequence)
	}
	if err := l.save(); err != nil {
		return nil, fmt.Errorf("append: %w", err)
	}
	o.signalOnCommit(l)
	return sequences, nil
}

// KeyState says which event of the log has a Key, and what has become of it: after Append has returned an old sequence, whether
// that was delivered, still waits, or was parked or discarded, so that the producer's retry sends nothing. It is 0 and "" when no
// event has the key. tx is any transaction on the outbox's database. Errors: ErrDamaged.
func (o *Outbox) KeyState(tx *bolt.Tx, key string) (sequence uint64, state State, err error) {
	if tx == nil || tx.DB() != o.db {
		return 0, "", fmt.Errorf("key state: %w", invalid("expected an open transaction on the outbox's own database"))
	}
	l := openLedger(tx)
	old := keySequence(l.get(keysBucket, []byte(key)))
	if topic, v := l.find(old); v != nil {
		sequence, state = old, l.info(topic, old, v).State
	}
	if l.err != nil {
		return 0, "", fmt.Errorf("key state: %w", l.err)
	}
	return sequence, state, nil
}

// appendOne writes one event that was checked. The caller saves the ledger.
func (o *Outbox) appendOne(l *ledger, e Event, replayOf uint64) (uint64, error) {
	if e.Key != "" {
		// A record that was too damaged to tell its key may have left it behind when it was pruned.
		old := keySequence(l.get(keysBucket, []byte(e.Key)))
		if _, v := l.find(old); v != nil {
			return old, nil
		}
	}
	sequence := l.number(keyLast) + 1
	value := encodeRecord(sequence, e, replayOf, o.opts.Now(), l.room)
	size := uint64(len(value) + recordOverhead)
	if err := o.makeRoom(l, e, size); err != nil {
		return 0, err
	}
	if log := l.makeBucket(logPrefix + e.Topic); l.err == nil {
		log.FillPercent = 0.9 // keys only ever grow
		l.err = log.Put(sequenceKey(sequence), value)
	}
	if e.Key != "" {
		l.put(keysBucket, []byte(e.Key), sequenceKey(sequence))
	}
	s := l.topic(e.Topic)
	s.last = sequence
	s.appended++
	s.bytes += size
	if e.Snapshot && replayOf == 0 {
		s.snapshot = sequence
	}
	l.setNumber(keyLast, sequence)
	l.setNumber(keyBytes, l.number(keyBytes)+size)
	return sequence, l.err
}

// Add appends events in a transaction of their own; see Append and Update.
func (o *Outbox) Add(ctx context.Context, events ...Event) ([]uint64, error) {
	var sequences []uint64
	err := o.Update(ctx, func(tx *bolt.Tx) (err error) {
		sequences, err = o.Append(tx, events...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return sequences, nil
}
