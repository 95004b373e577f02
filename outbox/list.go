package outbox

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
)

// State of an event.
type State string

// States. Held and unheard are refinements of pending and delivered: a filter on pending also finds held events, one on
// delivered also unheard ones. Only a running relay knows of held events, so the outbox itself never reports them.
const (
	Pending   State = "pending"   // not yet settled
	Held      State = "held"      // pending, and waiting for a subscriber
	Delivered State = "delivered" // Redis has it
	Unheard   State = "unheard"   // delivered, but nobody was subscribed; can be replayed
	Parked    State = "parked"    // cannot be published as it is; set aside, can be replayed
	Discarded State = "discarded" // given up by an operator
	Replayed  State = "replayed"  // was parked; goes out again under a new sequence
)

// Info is what is known of an event beside its payload.
type Info struct {
	Sequence   uint64    `json:"sequence"`
	Topic      string    `json:"topic"`
	State      State     `json:"state"`
	MessageID  string    `json:"message_id"`
	AppendedAt time.Time `json:"appended_at"`
	Bytes      int       `json:"bytes"` // payload size, uncompressed
	Attempts   int       `json:"attempts"`
	LastError  string    `json:"last_error"`
	ReplayOf   uint64    `json:"replay_of"`
	// Damaged: the checksum of the record does not match. Only its sequence, topic and state are known, and LastError says more.
	Damaged bool `json:"damaged,omitempty"`
}

// Filter selects events for List. The zero value selects all.
type Filter struct {
	Topic   string
	State   State
	After   uint64    // only sequences above: the last one of the page before
	Through uint64    // only sequences up to and including; 0 means no end
	Since   time.Time // appended at or after
	Until   time.Time // appended before
	Error   string    // parked events whose error contains this
	Limit   int       // 0 means no limit
}

// closing is why an event is neither pending nor parked though Redis never took it.
type closing struct {
	Action State     `json:"action"` // Discarded or Replayed
	As     uint64    `json:"as,omitempty"`
	At     time.Time `json:"at"`
}

// List returns what is known of the events that a filter selects, in order of their sequences. A record that is
// damaged is among them.
func (o *Outbox) List(ctx context.Context, f Filter) ([]Info, error) {
	var list []Info
	err := o.read(func(l *ledger) error {
		l.walk(ctx, f, func(info Info) bool {
			list = append(list, info)
			return f.Limit == 0 || len(list) < f.Limit
		})
		return ctx.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	return list, nil
}

// walk calls each for the events of a filter, merging the topics, until it returns false or ctx ends.
func (l *ledger) walk(ctx context.Context, f Filter, each func(Info) bool) {
	if f.After == math.MaxUint64 { // there is no sequence above
		return
	}
	type head struct {
		topic string
		at    *bolt.Cursor
		key   []byte
	}
	var heads []*head
	for _, topic := range l.names() {
		if f.Topic != "" && f.Topic != topic {
			continue
		}
		prefix, first := logPrefix, f.After+1
		switch f.State {
		case Parked:
			prefix = parkedPrefix
		case Unheard:
			prefix = unheardPrefix
		case Discarded, Replayed:
			prefix = closedPrefix
		case Pending, Held:
			first = max(first, l.topic(topic).cursor+1)
		}
		if b := l.tx.Bucket([]byte(prefix + topic)); b != nil {
			at := b.Cursor()
			if key, _ := at.Seek(sequenceKey(first)); key != nil {
				heads = append(heads, &head{topic, at, key})
			}
		}
	}
	for len(heads) > 0 && ctx.Err() == nil {
		h := slices.MinFunc(heads, func(a, b *head) int { return bytes.Compare(a.key, b.key) })
		sequence := keySequence(h.key)
		if f.Through != 0 && sequence > f.Through {
			return
		}
		info := l.info(h.topic, sequence, l.record(h.topic, sequence))
		if f.selects(info) && !each(info) {
			return
		}
		if h.key, _ = h.at.Next(); h.key == nil {
			heads = slices.DeleteFunc(heads, func(other *head) bool { return other == h })
		}
	}
}

func (f Filter) selects(i Info) bool {
	state := f.State == "" || f.State == i.State || f.State == Delivered && i.State == Unheard
	return state &&
		(f.Since.IsZero() || !i.AppendedAt.Before(f.Since)) &&
		(f.Until.IsZero() || i.AppendedAt.Before(f.Until)) &&
		(f.Error == "" || strings.Contains(i.LastError, f.Error))
}

// info puts together what is known of the event with record v.
func (l *ledger) info(topic string, sequence uint64, v []byte) Info {
	info := Info{Sequence: sequence, Topic: topic}
	if r, _, err := checkRecord(sequence, v); err != nil {
		info.Damaged, info.LastError = true, err.Error()
	} else {
		info.MessageID, info.AppendedAt, info.Bytes, info.ReplayOf = r.messageID, r.appended, r.size, r.replayOf
	}
	key := sequenceKey(sequence)
	switch parked, closed := l.get(parkedPrefix+topic, key), l.get(closedPrefix+topic, key); {
	case parked != nil:
		var f Failure
		l.decode(topic, sequence, parked, &f)
		info.State, info.Attempts, info.LastError = Parked, f.Attempts, f.Class+": "+f.Text
	case closed != nil:
		var c closing
		l.decode(topic, sequence, closed, &c)
		info.State = c.Action
	case sequence > l.topic(topic).cursor:
		info.State = Pending
	case l.has(unheardPrefix, topic, sequence):
		info.State = Unheard
	default:
		info.State = Delivered
	}
	return info
}

// decode reads what is stored as JSON about an event.
func (l *ledger) decode(topic string, sequence uint64, value []byte, into any) {
	if err := json.Unmarshal(value, into); err != nil && l.err == nil {
		l.err = fmt.Errorf("%w: the mark of %s #%d cannot be read; restore a backup", ErrDamaged, topic, sequence)
	}
}

// encode stores something about an event as JSON; the types that it is given cannot fail.
func (l *ledger) encode(bucket string, sequence uint64, from any) {
	value, _ := json.Marshal(from)
	l.put(bucket, sequenceKey(sequence), value)
}
