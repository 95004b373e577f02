package api

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/outbox"
)

// The bucket of this package holds, for each key, what was answered:
//
//	answers   the key -> byte 0: format 1; bytes 1-32: SHA-256 of the request; the rest: the answer
//	order     8 bytes big-endian, counted up -> 8 bytes Unix time in nanoseconds, the key
//
// Keys leave order from its front only, so that the difference of its ends is how many there are.
var (
	bucket        = []byte("matchrelay/api")
	answersBucket = []byte("answers")
	orderBucket   = []byte("order")
)

const answerFormat byte = 1

// keeping says how long keys are kept, and how many.
type keeping struct {
	time   time.Duration
	number uint64
}

var standard = keeping{7 * 24 * time.Hour, 100_000}

// pruneStep is how many keys at most go in the transaction of a new one.
const pruneStep = 4

// once is the closure of a transaction that does something under a key, or finds out what was answered when it was done.
// The answer and what do writes are committed together, so a key is never without its effect nor the effect without its key.
func (a *API) once(tx *bbolt.Tx, key string, sum hash, do func() ([]byte, error)) (answer []byte, replayed bool, err error) {
	if answer, replayed, err = find(tx, key, sum); err != nil || replayed {
		return answer, replayed, err
	}
	if answer, err = do(); err == nil && key != "" {
		err = remember(tx, key, sum, answer, a.opts.Now(), a.keep)
	}
	return answer, false, err
}

// answered looks whether a key was answered already, without a write: also when the disk is full.
func (a *API) answered(key string, sum hash) (answer []byte, found bool, err error) {
	if key == "" {
		return nil, false, nil
	}
	err = a.recorder.Outbox().View(func(tx *bbolt.Tx) (err error) {
		answer, found, err = find(tx, key, sum)
		return err
	})
	return answer, found, err
}

func find(tx *bbolt.Tx, key string, sum hash) (answer []byte, found bool, err error) {
	b := tx.Bucket(bucket)
	if b == nil || key == "" {
		return nil, false, nil
	}
	value := b.Bucket(answersBucket).Get([]byte(key))
	const head = 1 + len(sum)
	switch {
	case value == nil:
		return nil, false, nil
	case len(value) < head || value[0] != answerFormat:
		return nil, false, fmt.Errorf("%w: the answer of an Idempotency-Key cannot be read; restore a backup, or use another key", outbox.ErrDamaged)
	case !bytes.Equal(value[1:head], sum[:]):
		return nil, false, ErrKeyReused
	}
	return bytes.Clone(value[head:]), true, nil
}

func remember(tx *bbolt.Tx, key string, sum hash, answer []byte, now time.Time, keep keeping) error {
	b, err := tx.CreateBucketIfNotExists(bucket)
	if err != nil {
		return err
	}
	answers, err := b.CreateBucketIfNotExists(answersBucket)
	if err != nil {
		return err
	}
	order, err := b.CreateBucketIfNotExists(orderBucket)
	if err != nil {
		return err
	}
	n, err := order.NextSequence()
	if err != nil {
		return err
	}
	value := append(append([]byte{answerFormat}, sum[:]...), answer...)
	if err := answers.Put([]byte(key), value); err != nil {
		return err
	}
	place := binary.BigEndian.AppendUint64(nil, n)
	if err := order.Put(place, append(binary.BigEndian.AppendUint64(nil, uint64(now.UnixNano())), key...)); err != nil {
		return err
	}
	return prune(answers, order, n, now, keep)
}

// prune removes the oldest keys that are over age or number, a few at a time. newest is the last of the order.
func prune(answers, order *bbolt.Bucket, newest uint64, now time.Time, keep keeping) error {
	for range pruneStep {
		first, _ := order.Cursor().First()
		if len(first) != 8 {
			return errOrder
		}
		place := binary.BigEndian.Uint64(first)
		stored, key, err := at(order, place)
		// A time in the future comes of a clock that was wrong. The key is as old as one behind it, at least: of those in the next
		// place, the second next, the fourth, and so on, whose time may be right.
		for step := uint64(1); err == nil && stored.After(now) && step <= newest-place; step *= 2 {
			stored, _, err = at(order, place+step)
		}
		if err != nil {
			return err
		}
		if now.Sub(stored) <= keep.time && newest-place < keep.number {
			return nil
		}
		if err := answers.Delete(key); err != nil {
			return err
		}
		if err := order.Delete(first); err != nil {
			return err
		}
	}
	return nil
}

var errOrder = fmt.Errorf("%w: the order of Idempotency-Keys cannot be read; restore a backup", outbox.ErrDamaged)

// at reads a place of the order: a key, and when it was stored.
func at(order *bbolt.Bucket, place uint64) (stored time.Time, key []byte, err error) {
	value := order.Get(binary.BigEndian.AppendUint64(nil, place))
	if len(value) < 8 {
		return stored, nil, errOrder
	}
	return time.Unix(0, int64(binary.BigEndian.Uint64(value))), value[8:], nil
}
