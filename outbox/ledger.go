package outbox

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// Buckets, all at the top level of the file and under one prefix, so that a processor can keep its own beside them.
const (
	bucketPrefix  = "matchrelay/"
	metaBucket    = bucketPrefix + "meta"     // format, origin, epoch, last, bytes, topic/<name>
	logPrefix     = bucketPrefix + "log/"     // <topic>: sequence -> record
	parkedPrefix  = bucketPrefix + "parked/"  // <topic>: sequence -> Failure as JSON
	unheardPrefix = bucketPrefix + "unheard/" // <topic>: sequence -> nothing
	closedPrefix  = bucketPrefix + "closed/"  // <topic>: sequence -> Closing as JSON
	keysBucket    = bucketPrefix + "keys"     // idempotency key -> sequence
	auditBucket   = bucketPrefix + "audit"    // counter -> AuditEntry as JSON
)

const (
	keyFormat   = "format"
	keyOrigin   = "origin"
	keyEpoch    = "epoch"
	keyLast     = "last"
	keyBytes    = "bytes"
	topicPrefix = "topic/"

	// Format is the version of the file format that this package writes and the newest that it opens.
	Format = 1
	// recordOverhead is what bbolt keeps beside each key and value.
	recordOverhead = 8 + 16
)

// Mark is one event as Redis knows it: sequence and message ID. The zero Mark means none.
type Mark struct {
	Sequence  uint64
	MessageID string
}

// Progress is what the relay knows of one topic beyond the cursor. It is stored with the cursor.
type Progress struct {
	// Accepted is the event that Redis last confirmed. Parked and discarded events move the cursor, never this.
	Accepted Mark
	// Run identifies the Redis process that confirmed it (its run_id).
	Run string
	// TailFrom is the first event whose delivery that process might not have finished when it was last heard of:
	// from there on, events are published again when Run has changed. 0 means none.
	TailFrom uint64
	// Receivers is how many subscribers the topic's channel had when it was last looked at.
	Receivers int
}

// topicState is everything that is counted about one topic. Counters say how many since the file was made,
// but Unheard and Parked how many there are now.
type topicState struct {
	last, cursor, snapshot                                    uint64
	appended, delivered, unheard, parked, discarded, replayed uint64
	pruned, prunedTo, bytes                                   uint64
	Progress
}

func (s *topicState) numbers() []*uint64 {
	return []*uint64{&s.last, &s.cursor, &s.snapshot, &s.appended, &s.delivered, &s.unheard, &s.parked, &s.discarded,
		&s.replayed, &s.pruned, &s.prunedTo, &s.bytes, &s.Accepted.Sequence, &s.TailFrom}
}

func (s *topicState) pending() uint64 {
	return s.appended - s.delivered - s.parked - s.discarded - s.replayed
}

func (s *topicState) encode() []byte {
	b := make([]byte, 0, 192)
	for _, n := range s.numbers() {
		b = binary.BigEndian.AppendUint64(b, *n)
	}
	b = binary.BigEndian.AppendUint64(b, uint64(s.Receivers))
	for _, text := range []string{s.Accepted.MessageID, s.Run} {
		b = append(append(b, byte(len(text))), text...)
	}
	return b
}

func decodeTopicState(b []byte) (*topicState, error) {
	s := &topicState{}
	fields := s.numbers()
	if len(b) < 8*(len(fields)+1)+2 {
		return nil, fmt.Errorf("%w: counters of %d bytes", ErrDamaged, len(b))
	}
	for _, n := range fields {
		*n, b = binary.BigEndian.Uint64(b), b[8:]
	}
	s.Receivers, b = int(binary.BigEndian.Uint64(b)), b[8:]
	for _, text := range []*string{&s.Accepted.MessageID, &s.Run} {
		if len(b) == 0 || len(b) < 1+int(b[0]) {
			return nil, fmt.Errorf("%w: counters end inside a field", ErrDamaged)
		}
		*text, b = string(b[1:1+int(b[0])]), b[1+int(b[0]):]
	}
	return s, nil
}

// ledger reads and writes the counters within one transaction. Nothing is cached between transactions: whatever rolls
// back takes its counters along.
type ledger struct {
	tx     *bolt.Tx
	meta   *bolt.Bucket
	topics map[string]*topicState
}

func openLedger(tx *bolt.Tx) (*ledger, error) {
	meta := tx.Bucket([]byte(metaBucket))
	if meta == nil {
		return nil, fmt.Errorf("%w: the transaction belongs to a file without %s; open it with outbox.New", ErrForeign, metaBucket)
	}
	return &ledger{tx: tx, meta: meta, topics: map[string]*topicState{}}, nil
}

func (l *ledger) number(key string) uint64 { return keySequence(l.meta.Get([]byte(key))) }

func (l *ledger) setNumber(key string, n uint64) error {
	return l.meta.Put([]byte(key), sequenceKey(n))
}

func (l *ledger) origin() string { return string(l.meta.Get([]byte(keyOrigin))) }

// topic returns the counters of a topic, zero for one that has no event yet.
func (l *ledger) topic(name string) (*topicState, error) {
	if s, ok := l.topics[name]; ok {
		return s, nil
	}
	s := &topicState{}
	if b := l.meta.Get([]byte(topicPrefix + name)); b != nil {
		var err error
		if s, err = decodeTopicState(b); err != nil {
			return nil, fmt.Errorf("topic %s: %w", name, err)
		}
	}
	l.topics[name] = s
	return s, nil
}

// names lists the topics that have counters, sorted.
func (l *ledger) names() []string {
	var names []string
	c := l.meta.Cursor()
	for k, _ := c.Seek([]byte(topicPrefix)); strings.HasPrefix(string(k), topicPrefix); k, _ = c.Next() {
		names = append(names, string(k[len(topicPrefix):]))
	}
	return names
}

// save writes back the counters of every topic that was looked at.
func (l *ledger) save() error {
	names := make([]string, 0, len(l.topics))
	for name := range l.topics {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := l.meta.Put([]byte(topicPrefix+name), l.topics[name].encode()); err != nil {
			return fmt.Errorf("store counters of %s: %w", name, err)
		}
	}
	return nil
}

// bucket returns the topic's bucket of a kind, or nil.
func (l *ledger) bucket(prefix, topic string) *bolt.Bucket {
	return l.tx.Bucket([]byte(prefix + topic))
}

// makeBucket returns the topic's bucket of a kind and makes it when there is none.
func (l *ledger) makeBucket(prefix, topic string) (*bolt.Bucket, error) {
	name := []byte(prefix + topic)
	if b := l.tx.Bucket(name); b != nil {
		return b, nil
	}
	b, err := l.tx.CreateBucket(name)
	if err != nil && err != berrors.ErrBucketExists {
		return nil, fmt.Errorf("make bucket %s: %w", name, err)
	}
	return b, nil
}

// has says whether the topic's bucket of a kind holds the key.
func (l *ledger) has(prefix, topic string, key []byte) bool {
	b := l.bucket(prefix, topic)
	return b != nil && b.Get(key) != nil
}
