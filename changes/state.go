package changes

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
	"go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/schema"
)

// The state is a top-level bucket with a record per match, under its id:
//
//	byte 0       format: 1 plain, 2 zstd
//	bytes 1-32   SHA-256 of the match as it was given
//	the rest     the match
//
// It equals the newest match update, since it is only rewritten together with
// one; but before the first, it may be a list that was imported without an
// event, and with Options.EventsOff it is ahead of the newest.
// The bucket is there from the first list on, also when that was empty.
// Comparing an unchanged list needs the hashes alone.
var stateBucket = []byte("matchrelay/state")

const (
	formatPlain byte = 1
	formatZstd  byte = 2
	headerSize       = 1 + sha256.Size
)

type hash = [sha256.Size]byte

// These two start no goroutines as long as only EncodeAll and DecodeAll are used.
var (
	encoder = sync.OnceValue(func() *zstd.Encoder {
		e, _ := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest)) // fails on bad options only
		return e
	})
	decoder = sync.OnceValue(func() *zstd.Decoder {
		d, _ := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(schema.MaxListBytes)) // fails on bad options only
		return d
	})
)

func encodeRecord(h hash, raw []byte) []byte {
	record := append(make([]byte, 0, headerSize+len(raw)), formatZstd)
	record = append(record, h[:]...)
	record = encoder().EncodeAll(raw, record)
	if len(record)-headerSize >= len(raw) { // too short to gain by it
		record[0] = formatPlain
		record = append(record[:headerSize], raw...)
	}
	return record
}

// hashOf is the hash in a record, nil if the record is cut short.
func hashOf(record []byte) []byte {
	if len(record) < headerSize {
		return nil
	}
	return record[1:headerSize]
}

// decodeRecord appends the match in a record to list, checked against its hash.
func decodeRecord(list []byte, id, record []byte) ([]byte, error) {
	damaged := func(what string) error {
		return fmt.Errorf("%w: match %s: %s; restore a backup of the file", ErrState, id, what)
	}
	if len(record) < headerSize {
		return nil, damaged("the record is cut short")
	}
	start := len(list)
	switch record[0] {
	case formatPlain:
		list = append(list, record[headerSize:]...)
	case formatZstd:
		// Into the list itself it would copy that for every match: DecodeAll grows a slice by no more than it needs.
		raw, err := decoder().DecodeAll(record[headerSize:], nil)
		if err != nil {
			return nil, damaged("it cannot be decompressed")
		}
		list = append(list, raw...)
	default:
		return nil, damaged(fmt.Sprintf("unknown record format %d, perhaps of a newer version", record[0]))
	}
	if h := sha256.Sum256(list[start:]); !bytes.Equal(h[:], record[1:headerSize]) {
		return nil, damaged("its bytes do not have its hash")
	}
	return list, nil
}

// Matches reads the stored match list, sorted by the text of the ids. The
// matches do not belong to the transaction. Errors wrap ErrState.
func Matches(tx *bbolt.Tx) ([]schema.Match, error) {
	var r reader
	if err := r.read(tx); err != nil {
		return nil, err
	}
	return r.matches()
}

// A reader collects records into one JSON list, which is parsed at the end: that
// needs no transaction any more.
type reader struct{ list []byte }

// read adds all records.
func (r *reader) read(tx *bbolt.Tx) error {
	if b := tx.Bucket(stateBucket); b != nil {
		return b.ForEach(r.add)
	}
	return nil
}

func (r *reader) add(id, record []byte) error {
	list, err := decodeRecord(append(r.list, ','), id, record)
	if err == nil {
		r.list = list
	}
	return err
}

func (r *reader) matches() ([]schema.Match, error) {
	if len(r.list) == 0 {
		return []schema.Match{}, nil
	}
	r.list[0] = '['
	matches, err := schema.ParseStored(append(r.list, ']'))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	return matches, nil
}

// A list is a match list with what is compared first.
type list struct {
	matches []schema.Match
	hashes  []hash
}

func newList(matches []schema.Match) list {
	l := list{matches: matches, hashes: make([]hash, len(matches))}
	for i, m := range matches {
		l.hashes[i] = sha256.Sum256(m.Raw())
	}
	return l
}

// A record is what is stored of a match.
type record struct {
	id    string
	value []byte
}

func (l list) records() []record {
	records := make([]record, len(l.matches))
	for i, m := range l.matches {
		records[i] = record{m.ID(), encodeRecord(l.hashes[i], m.Raw())}
	}
	return records
}

// A comparison holds where a list and the state differ in bytes.
type comparison struct {
	stored int    // matches in the state
	listed int    // matches in the list
	cycle  uint64 // number of the newest cycle
	prev   reader // stored, but gone from the list or other there
	curr   list   // listed, but not stored or other there; in the order of the list
}

func (l list) compare(tx *bbolt.Tx) (comparison, error) {
	c := comparison{listed: len(l.matches), cycle: cycle(tx)}
	equal := make([]bool, len(l.matches))
	if b := tx.Bucket(stateBucket); b != nil {
		index := make(map[string]int, len(l.matches))
		for i, m := range l.matches {
			index[m.ID()] = i
		}
		err := b.ForEach(func(id, record []byte) error {
			c.stored++
			i, listed := index[string(id)]
			if listed && bytes.Equal(hashOf(record), l.hashes[i][:]) {
				equal[i] = true
				return nil
			}
			return c.prev.add(id, record)
		})
		if err != nil {
			return c, err
		}
	}
	for i, same := range equal {
		if !same {
			c.curr.matches = append(c.curr.matches, l.matches[i])
			c.curr.hashes = append(c.curr.hashes, l.hashes[i])
		}
	}
	return c, nil
}

// store puts records into the state, and takes matches out of it. The bucket's
// own sequence counts these writes (see version).
func store(tx *bbolt.Tx, records []record, removed []string) error {
	b, err := tx.CreateBucketIfNotExists(stateBucket)
	if err == nil {
		_, err = b.NextSequence()
	}
	if err != nil {
		return err
	}
	for _, id := range removed {
		if err := b.Delete([]byte(id)); err != nil {
			return err
		}
	}
	for _, r := range records {
		if err := b.Put([]byte(r.id), r.value); err != nil {
			return err
		}
	}
	return nil
}
