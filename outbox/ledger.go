package outbox

import (
	"encoding/binary"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"
	"strings"

	bolt "go.etcd.io/bbolt"
)

// Buckets, all at the top level of the file and under one prefix, so that a processor can keep its own beside them.
const (
	bucketPrefix  = "matchrelay/"
	metaBucket    = bucketPrefix + "meta"     // format, origin, previous, epoch, last, bytes, topic/<name>, shown/<name>, given/<name>
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
	keyPrevious = "previous" // origins, the latest first, a space between them; missing in a file of the first epoch
	keyEpoch    = "epoch"
	keyLast     = "last"
	keyBytes    = "bytes"
	topicPrefix = "topic/"
	shownPrefix = "shown/" // <topic>: the newest snapshot, by its first sequence, that subscribers got and that was pruned
	givenPrefix = "given/" // <topic>: the newest event that was delivered and pruned; missing in a file that an older version pruned last

	// Format is the version of the file format that this package writes and the newest that it opens.
	Format = 1
	// recordOverhead is what bbolt keeps beside each key and value.
	recordOverhead = 8 + 16
)

// Mark is one event as Redis knows it: sequence and message ID. The zero Mark means none.
type Mark struct {
	Sequence  uint64 `json:"sequence"`
	MessageID string `json:"message_id"`
}

// Progress is what the relay knows of one topic beyond the cursor. It is stored with the cursor.
type Progress struct {
	// Accepted is the event that Redis last confirmed. Parked and discarded events move the cursor, never this.
	Accepted Mark `json:"accepted"`
	// Run identifies the Redis process that confirmed it (its run_id).
	Run string `json:"run"`
	// TailFrom is the first event whose delivery that process might not have finished when it was last heard of:
	// from there on, events are published again when Run has changed. 0 means none.
	TailFrom uint64 `json:"tail_from"`
	// Receivers is how many subscribers the topic's channel had when it was last looked at.
	Receivers int `json:"receivers"`
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

func (s *topicState) decode(b []byte) error {
	fields := s.numbers()
	if len(b) < 8*(len(fields)+1) {
		return fmt.Errorf("%w: %d bytes are too short", ErrDamaged, len(b))
	}
	for _, n := range fields {
		*n, b = binary.BigEndian.Uint64(b), b[8:]
	}
	s.Receivers, b = int(binary.BigEndian.Uint64(b)), b[8:]
	for _, text := range []*string{&s.Accepted.MessageID, &s.Run} {
		if len(b) == 0 || len(b) < 1+int(b[0]) {
			return fmt.Errorf("%w: they end inside a field", ErrDamaged)
		}
		*text, b = string(b[1:1+int(b[0])]), b[1+int(b[0]):]
	}
	if len(b) > 0 {
		return fmt.Errorf("%w: %d bytes too many", ErrDamaged, len(b))
	}
	return nil
}

// ledger reads and writes the outbox's buckets within one transaction. Nothing is cached between transactions: whatever
// rolls back takes its counters along. The first error sticks in err, and nothing is written after it.
type ledger struct {
	tx      *bolt.Tx
	topics  map[string]*topicState
	numbers map[string]uint64     // that were set, by key in the meta bucket
	fronts  map[string]*candidate // each topic's oldest event that may be removed, nil for none; see oldest
	shared  bool                  // by all closures of a commit: counters are written once, at its end
	signals bool                  // the commit wakes who waits for events
	room    *room                 // for records, until the commit; nil: each has its own
	err     error
}

func newLedger(tx *bolt.Tx) *ledger {
	return &ledger{tx: tx, topics: map[string]*topicState{}, numbers: map[string]uint64{}}
}

func openLedger(tx *bolt.Tx) *ledger {
	l := newLedger(tx)
	if tx.Bucket([]byte(metaBucket)) == nil {
		l.err = fmt.Errorf("%w: it has no bucket %s; point to an outbox file, or move this one away", ErrForeign, metaBucket)
	}
	return l
}

// get returns the value of a key, valid until the next write, or nil.
func (l *ledger) get(bucket string, key []byte) []byte {
	if b := l.tx.Bucket([]byte(bucket)); b != nil {
		return b.Get(key)
	}
	return nil
}

// put stores a value and makes the bucket when there is none.
func (l *ledger) put(bucket string, key, value []byte) {
	if b := l.makeBucket(bucket); l.err == nil {
		l.err = b.Put(key, value)
	}
}

// remove deletes a key, which need not be there.
func (l *ledger) remove(bucket string, key []byte) {
	if b := l.tx.Bucket([]byte(bucket)); b != nil && l.err == nil {
		l.err = b.Delete(key)
	}
}

// makeBucket returns a bucket and makes it when there is none; it is nil only when err is set.
func (l *ledger) makeBucket(name string) (b *bolt.Bucket) {
	if b = l.tx.Bucket([]byte(name)); b == nil && l.err == nil {
		b, l.err = l.tx.CreateBucket([]byte(name))
	}
	return b
}

// from yields the sequences and values of a bucket, beginning with a sequence. The bucket must not change meanwhile.
func (l *ledger) from(bucket string, first uint64) iter.Seq2[uint64, []byte] {
	return func(yield func(uint64, []byte) bool) {
		b := l.tx.Bucket([]byte(bucket))
		if b == nil {
			return
		}
		c := b.Cursor()
		for k, v := c.Seek(sequenceKey(first)); k != nil && yield(keySequence(k), v); {
			k, v = c.Next()
		}
	}
}

// record returns the stored record of an event, or nil.
func (l *ledger) record(topic string, sequence uint64) []byte {
	return l.get(logPrefix+topic, sequenceKey(sequence))
}

// has says whether the topic's bucket of a kind holds the sequence.
func (l *ledger) has(prefix, topic string, sequence uint64) bool {
	return l.get(prefix+topic, sequenceKey(sequence)) != nil
}

// among is has for many sequences, asked for in rising order: a bucket of few, or none, is looked at once.
func (l *ledger) among(prefix, topic string) func(sequence uint64) bool {
	b := l.tx.Bucket([]byte(prefix + topic))
	if b == nil {
		return func(uint64) bool { return false }
	}
	c := b.Cursor()
	var next uint64 // the first one in the bucket that is not below the latest sequence
	return func(sequence uint64) bool {
		if next < sequence {
			next = math.MaxUint64
			if k, _ := c.Seek(sequenceKey(sequence)); k != nil {
				next = keySequence(k)
			}
		}
		return next == sequence
	}
}

func (l *ledger) number(key string) uint64 {
	if n, set := l.numbers[key]; set {
		return n
	}
	return keySequence(l.get(metaBucket, []byte(key)))
}

func (l *ledger) setNumber(key string, n uint64) { l.numbers[key] = n }

// mostPrevious is how many former origins a file remembers: what a stream still holds of older ones was trimmed long ago.
const mostPrevious = 16

func (l *ledger) previous() []string {
	if list := l.get(metaBucket, []byte(keyPrevious)); list != nil {
		return strings.Fields(string(list))
	}
	return nil
}

// setOrigin replaces the origin and remembers the one before.
func (l *ledger) setOrigin(fresh string) {
	previous := append([]string{l.origin()}, l.previous()...)
	l.put(metaBucket, []byte(keyPrevious), []byte(strings.Join(previous[:min(len(previous), mostPrevious)], " ")))
	l.put(metaBucket, []byte(keyOrigin), []byte(fresh))
}

func (l *ledger) origin() string { return string(l.get(metaBucket, []byte(keyOrigin))) }

// topic returns the counters of a topic, zero for one that has no event yet.
func (l *ledger) topic(name string) *topicState {
	if s, ok := l.topics[name]; ok {
		return s
	}
	s := &topicState{}
	if b := l.get(metaBucket, []byte(topicPrefix+name)); b != nil {
		if err := s.decode(b); err != nil && l.err == nil {
			l.err = fmt.Errorf("counters of topic %s: %w; restore a backup", name, err)
		}
	}
	l.topics[name] = s
	return s
}

// names lists the topics that have counters, saved or not, sorted.
func (l *ledger) names() []string {
	names := slices.Collect(maps.Keys(l.topics))
	meta := l.tx.Bucket([]byte(metaBucket))
	if meta == nil {
		return nil
	}
	c := meta.Cursor()
	for k, _ := c.Seek([]byte(topicPrefix)); strings.HasPrefix(string(k), topicPrefix); k, _ = c.Next() {
		names = append(names, string(k[len(topicPrefix):]))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// save writes back numbers, and the counters of every topic that was looked at, and returns the first error of all. A shared
// ledger is written when all closures have run.
func (l *ledger) save() error {
	if l.shared {
		return l.err
	}
	return l.write()
}

func (l *ledger) write() error {
	for _, key := range slices.Sorted(maps.Keys(l.numbers)) {
		l.put(metaBucket, []byte(key), sequenceKey(l.numbers[key]))
	}
	for _, name := range slices.Sorted(maps.Keys(l.topics)) {
		l.put(metaBucket, []byte(topicPrefix+name), l.topics[name].encode())
	}
	return l.err
}
