package powerloss

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math/rand/v2"

	bolt "go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/outbox"
)

var stateBucket = []byte("my state")

// written is what the state says of the events of its transaction.
type written struct {
	Sequence  uint64 `json:"sequence"`
	MessageID string `json:"message_id"`
	Size      int    `json:"size"`
}

// commit makes a transaction of state and events.
func commit(o *outbox.Outbox, key string, sizes []int) error {
	return o.Update(ctx, func(tx *bolt.Tx) error {
		var events []outbox.Event
		var state []written
		for i, size := range sizes {
			size = max(size, 1)
			id := fmt.Sprintf("%s/%d", bytes.ReplaceAll([]byte(key), []byte(" "), []byte("-")), i)
			events = append(events, outbox.Event{Topic: topic, MessageID: id, Payload: payload(id, size)})
			state = append(state, written{MessageID: id, Size: size})
		}
		sequences, err := o.Append(tx, events...)
		if err != nil {
			return err
		}
		for i, sequence := range sequences {
			state[i].Sequence = sequence
		}
		value, err := json.Marshal(state)
		if err != nil {
			return err
		}
		b, err := tx.CreateBucketIfNotExists(stateBucket)
		if err != nil {
			return err
		}
		return b.Put([]byte(key), value)
	})
}

// payload is that of the message of an ID: noise, which does not get smaller.
func payload(id string, size int) []byte {
	h := fnv.New64a()
	h.Write([]byte(id))
	var start [32]byte
	h.Sum(start[:0])
	b := make([]byte, size)
	_, _ = rand.NewChaCha8(start).Read(b)
	return b
}

// holding is what a file holds.
type holding struct {
	sum  string          // of every key and value in it
	keys map[string]bool // of the state
}

// readFile verifies a file as the command does, and more: each transaction is there whole or not at all.
func readFile(path string) (h holding, err error) {
	err = verified(path, changes.VerifyState, func(ctx context.Context, o *outbox.Outbox) (problems []string, err error) {
		h, problems, err = read(ctx, o)
		return problems, err
	})
	return h, err
}

// sumOfFile verifies a file, and says what it holds: where that is what another file held, nothing else can be wrong.
func sumOfFile(path string) (sum string, err error) {
	err = verified(path, func(_ context.Context, o *outbox.Outbox) (problems []string, err error) {
		return nil, o.View(func(tx *bolt.Tx) (err error) { sum, err = sumOf(tx); return err })
	})
	return sum, err
}

func verified(path string, checks ...outbox.Check) error {
	report, err := outbox.VerifyFileWith(checks...)(ctx, path)
	if err == nil && len(report.Problems) > 0 {
		err = fmt.Errorf("it does not verify: %q", report.Problems)
	}
	return err
}

func read(ctx context.Context, o *outbox.Outbox) (h holding, problems []string, err error) {
	h.keys = map[string]bool{}
	expected := map[uint64]written{}
	err = o.View(func(tx *bolt.Tx) (err error) {
		if h.sum, err = sumOf(tx); err != nil {
			return err
		}
		b := tx.Bucket(stateBucket)
		if b == nil {
			return nil
		}
		return b.ForEach(func(key, value []byte) error {
			h.keys[string(key)] = true
			var events []written
			if err := json.Unmarshal(value, &events); err != nil {
				return err
			}
			for _, e := range events {
				expected[e.Sequence] = e
			}
			return nil
		})
	})
	if err != nil {
		return h, nil, err
	}
	position, err := o.Position(ctx, topic)
	if err != nil {
		return h, nil, err
	}
	list, err := o.List(ctx, outbox.Filter{Topic: topic})
	if err != nil {
		return h, nil, err
	}
	for _, info := range list {
		e, ok := expected[info.Sequence]
		delete(expected, info.Sequence)
		if !ok && info.ReplayOf == 0 && !matchUpdate(info) {
			problems = append(problems, fmt.Sprintf("event %d is there without its state", info.Sequence))
		}
		if !ok {
			continue
		}
		entry, _, err := o.Get(ctx, info.Sequence)
		if err != nil {
			return h, nil, err
		}
		if entry.MessageID != e.MessageID || !bytes.Equal(entry.Payload, payload(e.MessageID, e.Size)) {
			problems = append(problems, fmt.Sprintf("event %d is another one", info.Sequence))
		}
	}
	for sequence := range expected {
		if sequence > position.PrunedTo {
			problems = append(problems, fmt.Sprintf("the state is there without its event %d", sequence))
		}
	}
	return h, problems, nil
}

// matchUpdate says whether an event is one of the recorder's, whose state changes.VerifyState compares.
func matchUpdate(info outbox.Info) bool { return !bytes.Contains([]byte(info.MessageID), []byte("/")) }

// sumOf is the sum of every key and value in a file, wherever its pages are, with the size that tells it from one that was
// compacted.
func sumOf(tx *bolt.Tx) (string, error) {
	h := sha256.New()
	var walk func(b *bolt.Bucket) error
	walk = func(b *bolt.Bucket) error {
		fmt.Fprintf(h, "{%d", b.Sequence())
		err := b.ForEach(func(k, v []byte) error {
			fmt.Fprintf(h, "%d %d ", len(k), len(v))
			h.Write(k)
			h.Write(v)
			if v == nil {
				return walk(b.Bucket(k))
			}
			return nil
		})
		fmt.Fprint(h, "}")
		return err
	}
	err := tx.ForEach(func(name []byte, b *bolt.Bucket) error {
		fmt.Fprintf(h, "%q", name)
		return walk(b)
	})
	return fmt.Sprintf("%x in %d", h.Sum(nil)[:8], tx.Size()), err
}
