package outbox

import (
	"context"
	"fmt"
	"time"
)

// Stats are the counters of an outbox. They are kept in the transactions that change them; reading them scans nothing.
type Stats struct {
	Origin       string
	Epoch        uint64 // 1, and one more for each fresh origin
	LastSequence uint64
	Events       uint64 // in the log now
	Bytes        uint64 // of the log now: what Options.MaxBytes caps
	FileBytes    int64
	Topics       []TopicStats // sorted by name
}

// TopicStats are the counters of one topic. Appended = Pending + Delivered + Parked + Discarded + Replayed.
type TopicStats struct {
	Topic         string
	LastSequence  uint64
	Cursor        uint64 // highest settled sequence
	Appended      uint64 // since the file was made, as are Delivered, Discarded, Replayed
	Pending       uint64 // now
	Delivered     uint64 // unheard ones included
	Unheard       uint64 // now: in the log and not replayed
	Parked        uint64 // now
	Discarded     uint64
	Replayed      uint64 // parked ones that went out again under a new sequence
	OldestPending time.Time
	Progress      Progress
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
			t := TopicStats{Topic: name, LastSequence: s.last, Cursor: s.cursor, Appended: s.appended, Pending: s.pending(),
				Delivered: s.delivered, Unheard: s.unheard, Parked: s.parked, Discarded: s.discarded, Replayed: s.replayed,
				Progress: s.Progress}
			if r, _, err := decodeHeader(l.record(name, l.firstPending(name, s))); err == nil {
				t.OldestPending = r.appended
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
