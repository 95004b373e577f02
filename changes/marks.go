package changes

import (
	"encoding/binary"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/outbox"
)

// The recorder's bucket holds the number of the newest cycle, when the newest
// list was fetched (Unix time in nanoseconds), and two turns; all 8 bytes
// big-endian. Cycles take a turn when they begin, other lists when they are
// recorded, by counting turn up: so turns tell which cycles began before a list
// was recorded, whatever clocks say. recorded is the highest turn of a list that
// is recorded.
var (
	recorderBucket = []byte("matchrelay/recorder")
	cycleKey       = []byte("cycle")
	fetchedKey     = []byte("fetched_at")
	turnKey        = []byte("turn")
	recordedKey    = []byte("recorded")
)

// MaxSkew is how far Metadata.FetchedAt may be ahead of the recorder's clock.
const MaxSkew = 5 * time.Minute

func mark(tx *bbolt.Tx, key []byte) uint64 {
	b := tx.Bucket(recorderBucket)
	if b == nil {
		return 0
	}
	value := b.Get(key)
	if len(value) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(value)
}

func setMark(tx *bbolt.Tx, key []byte, n uint64) error {
	b, err := tx.CreateBucketIfNotExists(recorderBucket)
	if err != nil {
		return err
	}
	return b.Put(key, binary.BigEndian.AppendUint64(nil, n))
}

// cycle is the number of the newest cycle, 0 before the first.
func cycle(tx *bbolt.Tx) uint64 { return mark(tx, cycleKey) }

func nextCycle(tx *bbolt.Tx) (uint64, error) {
	n := cycle(tx) + 1
	return n, setMark(tx, cycleKey, n)
}

func nextTurn(tx *bbolt.Tx) (uint64, error) {
	n := mark(tx, turnKey) + 1
	return n, setMark(tx, turnKey, n)
}

// fetched is when the newest list was fetched; the zero time if that is not
// known, or cannot be: a clock was wrong then, and must not lock out the lists
// of those that are right.
func fetched(tx *bbolt.Tx, now time.Time) time.Time {
	n := mark(tx, fetchedKey)
	if t := time.Unix(0, int64(n)); n != 0 && !t.After(now.Add(MaxSkew)) {
		return t
	}
	return time.Time{}
}

// checkFetched refuses a list that is older than the newest (of a cycle, by its
// turn alone), and a time that cannot be: it would lock out every list until
// then.
func checkFetched(tx *bbolt.Tx, meta Metadata, now time.Time) error {
	if meta.turn != 0 {
		if mark(tx, recordedKey) > meta.turn {
			return fmt.Errorf("%w: that was recorded after the cycle of this one had begun", ErrStale)
		}
		return nil
	}
	at := meta.FetchedAt
	if at.IsZero() {
		return nil
	}
	newest := fetched(tx, now)
	switch {
	case at.After(now.Add(MaxSkew)):
		return fmt.Errorf("fetched_at: %w: %s is in the future; expected a time up to %v after now, which is %s: look at the clocks", outbox.ErrInvalid,
			at.UTC().Format(time.RFC3339Nano), MaxSkew, now.UTC().Format(time.RFC3339))
	case at.Year() < 1970:
		return fmt.Errorf("fetched_at: %w: expected a time since 1970", outbox.ErrInvalid)
	case at.Before(newest):
		return fmt.Errorf("%w: this one was fetched at %s, the newest at %s", ErrStale, at.UTC().Format(time.RFC3339Nano),
			newest.UTC().Format(time.RFC3339Nano))
	}
	return nil
}

// noteTurn keeps that the list of a turn is recorded; 0 takes one.
func noteTurn(tx *bbolt.Tx, turn uint64) (err error) {
	if turn == 0 {
		if turn, err = nextTurn(tx); err != nil {
			return err
		}
	}
	return setMark(tx, recordedKey, turn)
}

// noteFetched keeps when a list was fetched that is recorded. The time never
// goes back, but for one that no longer counts (see fetched).
func noteFetched(tx *bbolt.Tx, at, now time.Time) error {
	if at.IsZero() {
		at = now
	}
	if !at.After(fetched(tx, now)) {
		return nil
	}
	return setMark(tx, fetchedKey, uint64(at.UnixNano()))
}
