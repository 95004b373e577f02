package outbox

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"
)

// Entry is an event as read from the log. It is a copy: nothing of it belongs to a transaction.
type Entry struct {
	Topic       string
	Sequence    uint64
	MessageID   string
	Payload     []byte
	AppendedAt  time.Time
	ReplayOf    uint64 // the sequence under which this event was appended first, if it is a replay, or 0
	Snapshot    bool
	TraceParent string
	// Err is not nil when the record is damaged (its CRC does not match); the other fields may then be empty or wrong.
	Err error
}

// Position is where one topic stands.
type Position struct {
	Origin   string   `json:"origin"`    // of the file
	Previous []string `json:"previous"`  // the origins before it, the latest first
	Cursor   uint64   `json:"cursor"`    // highest settled sequence
	Last     uint64   `json:"last"`      // highest sequence of the topic
	PrunedTo uint64   `json:"pruned_to"` // highest sequence of the topic that retention has removed
	// PrunedDelivered is the highest of them that was delivered, not discarded or replayed; 0 when none was, or that is not known:
	// files of older versions do not tell.
	PrunedDelivered uint64   `json:"pruned_delivered"`
	Progress        Progress `json:"progress"`
}

// Position reads where a topic stands in the file; receipts that are not flushed yet do not show.
func (o *Outbox) Position(_ context.Context, topic string) (Position, error) {
	var p Position
	err := o.read(func(l *ledger) error {
		s := l.topic(topic)
		p = Position{Origin: l.origin(), Previous: l.previous(), Cursor: s.cursor, Last: s.last, PrunedTo: s.prunedTo,
			PrunedDelivered: l.number(givenPrefix + topic), Progress: s.Progress}
		return nil
	})
	if err != nil {
		return Position{}, fmt.Errorf("read position of %s: %w", topic, err)
	}
	return p, nil
}

// Range selects events of one topic for Read.
type Range struct {
	Topic   string `json:"topic"`
	After   uint64 `json:"after"`   // only sequences above
	Through uint64 `json:"through"` // only sequences up to and including; 0 means no end
	Events  int    `json:"events"`  // at most so many
	Bytes   int    `json:"bytes"`   // at most so many bytes of payload, but always one event
}

// When Read has found backlogFrom events, it makes room for as many as are asked for, but not for more than backlogRoom.
const backlogFrom, backlogRoom = 32, 1024

// Read returns events of one topic in order, but for those that are parked, discarded or replayed under a new sequence.
func (o *Outbox) Read(_ context.Context, r Range) ([]Entry, error) {
	var entries []Entry
	err := o.read(func(l *ledger) error {
		if r.After == math.MaxUint64 { // there is no sequence above
			return nil
		}
		size := 0
		parked, closed := l.among(parkedPrefix, r.Topic), l.among(closedPrefix, r.Topic)
		for sequence, v := range l.from(logPrefix+r.Topic, r.After+1) {
			if len(entries) >= r.Events || r.Through != 0 && sequence > r.Through {
				break
			}
			if parked(sequence) || closed(sequence) {
				continue
			}
			if size += payloadSize(v); size > r.Bytes && len(entries) > 0 {
				break
			}
			if len(entries) == backlogFrom {
				entries = slices.Grow(entries, min(r.Events, backlogRoom)-backlogFrom)
			}
			entries = append(entries, readEntry(r.Topic, sequence, v))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read %s events: %w", r.Topic, err)
	}
	return entries, nil
}

func readEntry(topic string, sequence uint64, v []byte) Entry {
	r, err := decodeRecord(sequence, v)
	return Entry{
		Topic: topic, Sequence: sequence, MessageID: r.messageID, Payload: r.payload, AppendedAt: r.appended,
		ReplayOf: r.replayOf, Snapshot: r.snapshot(), TraceParent: r.trace, Err: err,
	}
}

// Back returns the sequence behind which the last n events of a topic begin that Read returns, counted back from and including
// through: the topic has n of them after it up to through, or fewer when it is 0.
func (o *Outbox) Back(_ context.Context, topic string, through uint64, n int) (after uint64, err error) {
	err = o.read(func(l *ledger) error {
		b := l.tx.Bucket([]byte(logPrefix + topic))
		if b == nil {
			return nil
		}
		c := b.Cursor()
		k, _ := c.Seek(sequenceKey(through + 1))
		if k == nil {
			k, _ = c.Last()
		} else {
			k, _ = c.Prev()
		}
		for n > 0 && k != nil {
			if at := keySequence(k); !l.has(parkedPrefix, topic, at) && !l.has(closedPrefix, topic, at) {
				n--
			}
			k, _ = c.Prev()
		}
		after = keySequence(k)
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("count back %s events: %w", topic, err)
	}
	return after, nil
}

// MessageID returns the message ID of one event of a topic, or of whichever topic has it when that is "". It is "" when there is no
// such event (any more), or its record is damaged beyond reading.
func (o *Outbox) MessageID(_ context.Context, topic string, sequence uint64) (string, error) {
	var id string
	err := o.read(func(l *ledger) error {
		var v []byte
		if topic == "" {
			_, v = l.find(sequence)
		} else {
			v = l.record(topic, sequence)
		}
		if v == nil {
			return nil
		}
		if r, _, err := decodeHeader(v); err == nil {
			id = r.messageID
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("look up %s #%d: %w", topic, sequence, err)
	}
	return id, nil
}

// Get returns one event and what is known of it. Errors: ErrNotFound.
func (o *Outbox) Get(_ context.Context, sequence uint64) (Entry, Info, error) {
	var entry Entry
	var info Info
	err := o.read(func(l *ledger) error {
		topic, v := l.find(sequence)
		if v == nil {
			return fmt.Errorf("%w: it was never appended, or pruned after the retention period", ErrNotFound)
		}
		entry = readEntry(topic, sequence, v)
		info = l.info(topic, sequence, v)
		return nil
	})
	if err != nil {
		return Entry{}, Info{}, fmt.Errorf("event #%d: %w", sequence, err)
	}
	return entry, info, nil
}

// find looks for a sequence in every topic.
func (l *ledger) find(sequence uint64) (topic string, v []byte) {
	for _, topic := range l.names() {
		if v := l.record(topic, sequence); v != nil {
			return topic, v
		}
	}
	return "", nil
}
