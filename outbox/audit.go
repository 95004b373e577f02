package outbox

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// AuditEntry is one action of an operator, or of the relay on the whole file.
type AuditEntry struct {
	Time   time.Time `json:"time"`
	Actor  string    `json:"actor"`
	Action string    `json:"action"`
	Filter string    `json:"filter"`
	Count  int       `json:"count"`
	Reason string    `json:"reason"`
}

// Audit returns the newest entries of the audit log, at most limit (0: all), the newest last. Errors: ErrInvalid,
// ErrDamaged, ErrClosed.
func (o *Outbox) Audit(_ context.Context, limit int) ([]AuditEntry, error) {
	entries := []AuditEntry{}
	if limit < 0 {
		return entries, fmt.Errorf("read the audit log: %w", invalid("a limit of %d: expected 0 (all) or more", limit))
	}
	err := o.read(func(l *ledger) error {
		b := l.tx.Bucket([]byte(auditBucket))
		if b == nil {
			return nil
		}
		c := b.Cursor()
		for k, v := c.Last(); k != nil && (limit == 0 || len(entries) < limit); k, v = c.Prev() {
			var e AuditEntry
			if err := json.Unmarshal(v, &e); err != nil {
				return fmt.Errorf("%w: entry %d cannot be read; restore a backup", ErrDamaged, keySequence(k))
			}
			entries = append(entries, e)
		}
		return nil
	})
	if err != nil {
		return []AuditEntry{}, fmt.Errorf("read the audit log: %w", err)
	}
	slices.Reverse(entries)
	return entries, nil
}

// AppendAudit adds an entry to the audit log in the caller's transaction, for what an operator does to a processor's own
// state. Time is the outbox's clock when it is zero. Errors: ErrForeign, those of bbolt.
func (o *Outbox) AppendAudit(tx *bolt.Tx, e AuditEntry) error {
	if e.Time.IsZero() {
		e.Time = o.opts.Now().UTC()
	}
	l := o.ledger(tx)
	l.audit(e)
	if l.err != nil {
		return fmt.Errorf("append to the audit log: %w", l.err)
	}
	return nil
}

func (l *ledger) audit(e AuditEntry) {
	l.encode(auditBucket, l.next(auditBucket), e)
}

// next counts up the bucket's own sequence.
func (l *ledger) next(bucket string) (n uint64) {
	if b := l.makeBucket(bucket); l.err == nil {
		n, l.err = b.NextSequence()
	}
	return n
}
