package outbox

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	bolt "go.etcd.io/bbolt"
)

// Failure says why an event is parked. It holds no payload and no credential.
type Failure struct {
	Attempts int       `json:"attempts"`
	First    time.Time `json:"first"`
	Last     time.Time `json:"last"`
	Class    string    `json:"class"` // "poison", "damaged"
	Text     string    `json:"text"`
}

// Park sets an event aside so that its topic goes on. It must be the first pending event of the topic. Parking one that
// is parked changes nothing. Errors: ErrInvalid, ErrNotFound, and those of Update.
func (o *Outbox) Park(ctx context.Context, topic string, sequence uint64, f Failure) error {
	err := o.Update(ctx, func(tx *bolt.Tx) error {
		l := o.ledger(tx)
		s := l.topic(topic)
		if !l.has(logPrefix, topic, sequence) {
			return cmp.Or(l.err, ErrNotFound)
		}
		if l.has(parkedPrefix, topic, sequence) {
			return nil
		}
		if first := l.firstPending(topic, s); first != sequence {
			return invalid("only the first pending event can be parked, which is #%d (0: none)", first)
		}
		l.encode(parkedPrefix+topic, sequence, f)
		s.parked++
		s.cursor = sequence
		l.passClosed(topic, s)
		return l.save()
	})
	if err != nil {
		return fmt.Errorf("park %s #%d: %w", topic, sequence, err)
	}
	return nil
}

// firstPending is the lowest sequence of a topic that is not settled, or 0.
func (l *ledger) firstPending(topic string, s *topicState) uint64 {
	for sequence := range l.from(logPrefix+topic, s.cursor+1) {
		if !l.has(closedPrefix, topic, sequence) {
			return sequence
		}
	}
	return 0
}

// NewOrigin gives the file a fresh origin and the next epoch, and appends events (an alert) in the same transaction: the
// relay does so when Redis knows more of the origin than the file, which must then be an older copy. What Redis accepted
// is forgotten, so that every pending event goes out under the new origin. When the origin is not from any more, somebody
// else was first, and nothing happens. It returns the origin that holds now.
func (o *Outbox) NewOrigin(ctx context.Context, from string, events ...Event) (origin string, err error) {
	fresh := uuid.NewString()
	err = o.Update(ctx, func(tx *bolt.Tx) error {
		l := o.ledger(tx)
		if origin = l.origin(); origin != from {
			return l.err
		}
		origin = fresh
		l.setOrigin(fresh)
		l.setNumber(keyEpoch, l.number(keyEpoch)+1)
		for _, name := range l.names() {
			l.topic(name).Accepted = Mark{}
		}
		l.audit(AuditEntry{Time: o.opts.Now().UTC(), Actor: "relay", Action: "new origin", Filter: from, Count: 1,
			Reason: "the file is an older copy than what Redis has seen"})
		if err := l.save(); err != nil {
			return err
		}
		_, err := o.Append(tx, events...)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("take a new origin: %w", err)
	}
	return origin, nil
}
