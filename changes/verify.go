package changes

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/schema"
)

// stateKey of the recorder's bucket holds the sequence of the match update that
// the state equals, 8 bytes big-endian. It is 0 for a list that no event tells:
// one that was imported, or recorded with Options.EventsOff. Files of older
// versions do not have it.
var stateKey = []byte("state")

// markState notes, in the transaction that stores the state, which events tell
// it: one or none.
func markState(tx *bbolt.Tx, sequences []uint64) error {
	b, err := tx.CreateBucketIfNotExists(recorderBucket)
	if err != nil {
		return err
	}
	sequence := uint64(0)
	if len(sequences) > 0 {
		sequence = sequences[0]
	}
	return b.Put(stateKey, binary.BigEndian.AppendUint64(nil, sequence))
}

// stateMark is the sequence of the event that the state equals, 0 when there is
// none or it is not known.
func stateMark(tx *bbolt.Tx) uint64 {
	b := tx.Bucket(recorderBucket)
	if b == nil {
		return 0
	}
	value := b.Get(stateKey)
	if len(value) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(value)
}

// VerifyState rebuilds the match list from the log and compares it with the
// stored one, byte for byte: the problems that it finds name ids of matches,
// and nothing else of them. It is an outbox.Check.
//
// The list was stored with the match update that holds it, which the log keeps.
// A list that was imported, or recorded with Options.EventsOff, has no event to
// be compared with; it is only read. Where somebody else has appended match
// updates after that event, the newest of them is as good.
func VerifyState(ctx context.Context, o *outbox.Outbox) (problems []string, err error) {
	var stored []schema.Match
	var mark uint64
	err = o.View(func(tx *bbolt.Tx) (err error) {
		mark = stateMark(tx)
		stored, err = Matches(tx)
		return err
	})
	if errors.Is(err, ErrState) {
		return []string{err.Error()}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("verify the stored match list: %w", err)
	}
	if mark == 0 {
		return nil, nil
	}
	log, err := updates(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("verify the stored match list: %w", err)
	}
	return problemsOf(ctx, o, stored, mark, log), nil
}

func problemsOf(ctx context.Context, o *outbox.Outbox, stored []schema.Match, mark uint64, log []loggedUpdate) []string {
	own := slices.IndexFunc(log, func(u loggedUpdate) bool { return u.first == mark })
	newest := len(log) - 1
	later := newest >= 0 && log[newest].first > mark
	var differing []string
	for _, i := range []int{own, newest} {
		if i < 0 || log[i].first < mark {
			continue
		}
		told, err := log[i].read(ctx, o)
		if err != nil {
			return []string{fmt.Sprintf("the stored match list cannot be compared: %v", err)}
		}
		ids := difference(stored, told.Matches)
		if len(ids) == 0 {
			return nil
		}
		if i == own {
			differing = ids
		}
	}
	switch {
	case own >= 0:
		return []string{fmt.Sprintf("the stored match list differs from match_updates #%d, with which it was recorded, in %s", mark, listed(differing))}
	case later: // the log may have let go of it
		return nil
	}
	return []string{fmt.Sprintf("match_updates #%d, with which the stored match list was recorded, is not in the log", mark)}
}

// difference returns the ids of the matches that are in one list only, or are
// other bytes there, sorted.
func difference(a, b []schema.Match) (ids []string) {
	raw := map[string]string{}
	for _, m := range a {
		raw[m.ID()] = string(m.Raw())
	}
	for _, m := range b {
		before, both := raw[m.ID()]
		delete(raw, m.ID())
		if !both || before != string(m.Raw()) {
			ids = append(ids, m.ID())
		}
	}
	for id := range raw {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

const maxListed = 50

// listed names matches, the first ones when there are many.
func listed(ids []string) string {
	what := "match"
	if len(ids) > 1 {
		what = fmt.Sprintf("%d matches:", len(ids))
	}
	more := ""
	if n := len(ids) - maxListed; n > 0 {
		ids, more = ids[:maxListed], fmt.Sprintf(" and %d more", n)
	}
	return what + " " + strings.Join(ids, ", ") + more
}
