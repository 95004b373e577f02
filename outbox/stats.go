package outbox

import (
	"context"
	"fmt"
	"time"
)

// Stats are the counters of an outbox. They are kept in the transactions that change them; reading them scans nothing.
type Stats struct {
	Origin       string       `json:"origin"`
	Epoch        uint64       `json:"epoch"` // 1, and one more for each fresh origin
	LastSequence uint64       `json:"last_sequence"`
	Events       uint64       `json:"events"` // in the log now
	Bytes        uint64       `json:"bytes"`  // of the log now: what Options.MaxBytes caps
	FileBytes    int64        `json:"file_bytes"`
	Topics       []TopicStats `json:"topics"` // sorted by name
}

// TopicStats are the counters of one topic. Appended = Pending + Delivered + Parked + Discarded + Replayed.
type TopicStats struct {
	Topic         string    `json:"topic"`
	LastSequence  uint64    `json:"last_sequence"`
	Cursor        uint64    `json:"cursor"`    // highest settled sequence
	PrunedTo      uint64    `json:"pruned_to"` // highest sequence that retention has removed
	Appended      uint64    `json:"appended"`  // since the file was made, as are Delivered, Discarded, Replayed
	Pending       uint64    `json:"pending"`   // now
	Delivered     uint64    `json:"delivered"` // unheard ones included
	Unheard       uint64    `json:"unheard"`   // now: in the log and not replayed
	Parked        uint64    `json:"parked"`    // now
	Discarded     uint64    `json:"discarded"`
	Replayed      uint64    `json:"replayed"` // parked ones that went out again under a new sequence
	OldestPending time.Time `json:"oldest_pending,omitzero"`
	Progress      Progress  `json:"progress"`
}

// Stats returns the counters, after writing what is settled if that is possible.
func (o *Outbox) Stats(ctx context.Context) (Stats, error) {
	if err := o.Flush(ctx); err != nil {
		o.opts.Logger.Warn("cannot settle before counting; the counters lag behind", "path", o.path, "error", err)
	}
	var stats Stats
	err := o.read(func(l *ledger) error {
		stats = Stats{Origin: l.origin(), Epoch: l.number(keyEpoch), LastSequence: l.number(keyLast),
			Bytes: l.number(keyBytes), FileBytes: l.tx.Size()}
		for _, name := range l.names() {
			s := l.topic(name)
			t := TopicStats{Topic: name, LastSequence: s.last, Cursor: s.cursor, PrunedTo: s.prunedTo, Appended: s.appended, Pending: s.pending(),
				Delivered: s.delivered, Unheard: s.unheard, Parked: s.parked, Discarded: s.discarded, Replayed: s.replayed,
				Progress: s.Progress}
			if t.Pending > 0 { // else pages are read that may be damaged
				if r, _, err := decodeHeader(l.record(name, l.firstPending(name, s))); err == nil {
					t.OldestPending = r.appended
				}
			}
			stats.Events += s.appended - s.pruned
			stats.Topics = append(stats.Topics, t)
		}
		return nil
	})
	if err != nil {
		return Stats{}, fmt.Errorf("read counters: %w", err)
	}
	return stats, nil
}
