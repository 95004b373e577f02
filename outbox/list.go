package outbox

import (
	"context"
	"encoding/json"
	"fmt"
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

// List returns what is known of the events that a filter selects, in order of their sequences. Payloads are not read.
func (o *Outbox) List(_ context.Context, f Filter) ([]Info, error) {
	var list []Info
	err := o.View(func(tx *bolt.Tx) error {
		l, err := openLedger(tx)
		if err != nil {
			return err
		}
		return l.walk(f, func(info Info) bool {
			list = append(list, info)
			return f.Limit == 0 || len(list) < f.Limit
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	return list, nil
}

// walk calls each for the events of a filter, merging the topics, until it returns false.
func (l *ledger) walk(f Filter, each func(Info) bool) error {
	type head struct {
		topic string
		c     *bolt.Cursor
		k     []byte
	}
	var heads []*head
	for _, topic := range l.names() {
		if f.Topic != "" && f.Topic != topic {
			continue
		}
		s, err := l.topic(topic)
		if err != nil {
			return err
		}
		prefix, from := logPrefix, f.After+1
		switch f.State {
		case Parked:
			prefix = parkedPrefix
		case Unheard:
			prefix = unheardPrefix
		case Discarded, Replayed:
			prefix = closedPrefix
		case Pending, Held:
			from = max(from, s.cursor+1)
		}
		if b := l.bucket(prefix, topic); b != nil {
			h := &head{topic: topic, c: b.Cursor()}
			if h.k, _ = h.c.Seek(sequenceKey(from)); h.k != nil {
				heads = append(heads, h)
			}
		}
	}
	for len(heads) > 0 {
		i := 0
		for j := range heads {
			if keySequence(heads[j].k) < keySequence(heads[i].k) {
				i = j
			}
		}
		h := heads[i]
		sequence := keySequence(h.k)
		if f.Through != 0 && sequence > f.Through {
			return nil
		}
		info, err := l.info(h.topic, sequence, l.bucket(logPrefix, h.topic).Get(h.k))
		if err != nil {
			return err
		}
		if f.selects(info) && !each(info) {
			return nil
		}
		if h.k, _ = h.c.Next(); h.k == nil {
			heads = slices.Delete(heads, i, i+1)
		}
	}
	return nil
}

func (f Filter) selects(i Info) bool {
	state := f.State == "" || f.State == i.State || f.State == Delivered && i.State == Unheard
	return state &&
		(f.Since.IsZero() || !i.AppendedAt.Before(f.Since)) &&
		(f.Until.IsZero() || i.AppendedAt.Before(f.Until)) &&
		(f.Error == "" || strings.Contains(i.LastError, f.Error))
}

// info puts together what is known of the event with record v.
func (l *ledger) info(topic string, sequence uint64, v []byte) (Info, error) {
	s, err := l.topic(topic)
	if err != nil {
		return Info{}, err
	}
	info := Info{Sequence: sequence, Topic: topic}
	key := sequenceKey(sequence)
	r, _, err := decodeHeader(v)
	if err != nil {
		info.LastError = err.Error()
	}
	info.MessageID, info.AppendedAt, info.Bytes, info.ReplayOf = r.messageID, r.appended, r.size, r.replayOf
	switch {
	case l.has(parkedPrefix, topic, key):
		var f Failure
		if err := json.Unmarshal(l.bucket(parkedPrefix, topic).Get(key), &f); err != nil {
			return info, fmt.Errorf("%w: parked %s #%d: %w", ErrDamaged, topic, sequence, err)
		}
		info.State, info.Attempts, info.LastError = Parked, f.Attempts, f.Class+": "+f.Text
	case l.has(closedPrefix, topic, key):
		var c closing
		if err := json.Unmarshal(l.bucket(closedPrefix, topic).Get(key), &c); err != nil {
			return info, fmt.Errorf("%w: closed %s #%d: %w", ErrDamaged, topic, sequence, err)
		}
		info.State = c.Action
	case sequence > s.cursor:
		info.State = Pending
	case l.has(unheardPrefix, topic, key):
		info.State = Unheard
	default:
		info.State = Delivered
	}
	return info, nil
}
