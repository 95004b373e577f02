package outbox

import (
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// Event is one message to be published, as given to Append.
type Event struct {
	// Topic decides the channel that the relay publishes to: 1 to 64 of a-z, 0-9, '_', '-', '.'.
	Topic string
	// MessageID is the identity that the message carries itself, kept through every retry and replay: 1 to 64 bytes of
	// printable ASCII without spaces, unique within one call of Append.
	MessageID string
	// Payload is published byte for byte: 1 byte to Options.MaxEventBytes.
	Payload []byte
	// Key is an optional idempotency key of at most 200 bytes: while an event with this key is in the log, appending it
	// again returns the old sequence and changes nothing.
	Key string
	// Snapshot marks an event that holds the whole state as of now. The newest one of a topic is never pruned.
	Snapshot bool
	// Urgent lets the event use the reserve that is left when the outbox is full (UrgentReserve).
	Urgent bool
	// TraceParent is an optional W3C trace context of at most 200 bytes.
	TraceParent string
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
// dense and ascending.
//
// All events are checked before the first is written. Errors: ErrInvalid, ErrTooLarge, ErrFull. Within Update, a closure
// whose Append failed fails as a whole, even if it drops the error; in a transaction of the caller's own, the caller has
// to roll back.
func (o *Outbox) Append(tx *bolt.Tx, events ...Event) (sequences []uint64, err error) {
	defer func() {
		if err != nil {
			o.spoil(tx, err)
		}
	}()
	if tx == nil || !tx.Writable() {
		return nil, fmt.Errorf("append: %w", invalid("the transaction is not a write transaction"))
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
	l, err := openLedger(tx)
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
	tx.OnCommit(o.signal)
	return sequences, nil
}

// appendOne writes one event that was checked. The caller saves the ledger.
func (o *Outbox) appendOne(l *ledger, e Event, replayOf uint64) (uint64, error) {
	if e.Key != "" {
		keys, err := l.makeBucket(keysBucket, "")
		if err != nil {
			return 0, err
		}
		if old := keys.Get([]byte(e.Key)); old != nil {
			return keySequence(old), nil
		}
	}
	sequence := l.number(keyLast) + 1
	value := encodeRecord(sequence, e, replayOf, o.opts.Now())
	if err := o.makeRoom(l, e, len(value)+recordOverhead); err != nil {
		return 0, err
	}
	log, err := l.makeBucket(logPrefix, e.Topic)
	if err != nil {
		return 0, err
	}
	log.FillPercent = 0.9 // keys only ever grow
	if err := log.Put(sequenceKey(sequence), value); err != nil {
		return 0, fmt.Errorf("store event: %w", err)
	}
	if e.Key != "" {
		if err := l.tx.Bucket([]byte(keysBucket)).Put([]byte(e.Key), sequenceKey(sequence)); err != nil {
			return 0, fmt.Errorf("store idempotency key: %w", err)
		}
	}
	s, err := l.topic(e.Topic)
	if err != nil {
		return 0, err
	}
	s.last = sequence
	s.appended++
	s.bytes += uint64(len(value) + recordOverhead)
	if e.Snapshot {
		s.snapshot = sequence
	}
	if err := l.setNumber(keyLast, sequence); err != nil {
		return 0, err
	}
	return sequence, l.setNumber(keyBytes, l.number(keyBytes)+uint64(len(value)+recordOverhead))
}

// signal wakes whoever reads Wake; it never blocks.
func (o *Outbox) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// Wake receives after every commit that appended an event. It holds one signal: several commits may share one, and a
// reader looks at every topic when it gets it. One reader only.
func (o *Outbox) Wake() <-chan struct{} { return o.wake }
