package changes_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/schema"
)

// state changes the stored list behind the recorder's back.
func (k kept) state(change func(b *bbolt.Bucket) error) {
	k.t.Helper()
	require.NoError(k.t, k.box.Update(ctx, func(tx *bbolt.Tx) error { return change(tx.Bucket([]byte("matchrelay/state"))) }))
}

func (k kept) problems() []string {
	k.t.Helper()
	problems, err := changes.VerifyState(ctx, k.box)
	require.NoError(k.t, err)
	return problems
}

func TestTheStoredListEqualsTheLog(t *testing.T) {
	off := func(k kept) *changes.Recorder {
		r, err := changes.NewRecorder(k.box, changes.Options{EventsOff: true})
		require.NoError(k.t, err)
		return r
	}
	for name, do := range map[string]func(k kept){
		"without a list":           func(kept) {},
		"after one list":           func(k kept) { k.record(one) },
		"after several":            func(k kept) { k.record(one); k.record(two); k.record(three) },
		"after one without change": func(k kept) { k.record(two); k.record(two) },
		"after one of other bytes without change": func(k kept) {
			k.record(two)
			k.record(`[ {"matchid": 2} , {"matchid":"1"} ]`)
		},
		"after an import": func(k kept) {
			_, err := k.r.Import(ctx, parse(k.t, two))
			require.NoError(k.t, err)
		},
		"after a list without events": func(k kept) {
			k.record(one)
			_, err := off(k).Record(ctx, parse(k.t, three), changes.Metadata{})
			require.NoError(k.t, err)
		},
		"after a resync of such a list": func(k kept) {
			_, err := off(k).Record(ctx, parse(k.t, three), changes.Metadata{})
			require.NoError(k.t, err)
			_, err = k.r.Resync(ctx, changes.Operator{})
			require.NoError(k.t, err)
		},
		"after a resync without events": func(k kept) {
			k.record(two)
			_, err := off(k).Resync(ctx, changes.Operator{})
			require.NoError(k.t, err)
		},
		"with its event replayed, and the original pruned": func(k kept) {
			k.record(one)
			k.record(two)
			k.settle(2, 2)
			_, err := k.box.Replay(ctx, []uint64{2}, outbox.ReplayOptions{})
			require.NoError(k.t, err)
			k.settle(3)
			*k.now = k.now.Add(30 * 24 * time.Hour)
			_, err = k.box.Prune(ctx)
			require.NoError(k.t, err)
			_, _, err = k.box.Get(ctx, 2)
			require.ErrorIs(k.t, err, outbox.ErrNotFound)
		},
		"with a newer match update of somebody else": func(k kept) {
			k.record(one)
			k.append(three)
		},
		"with a newer match update of somebody else, and its own pruned": func(k kept) {
			k.record(one)
			k.append(three)
			k.settle(2)
			*k.now = k.now.Add(30 * 24 * time.Hour)
			_, err := k.box.Prune(ctx)
			require.NoError(k.t, err)
			_, _, err = k.box.Get(ctx, 1)
			require.ErrorIs(k.t, err, outbox.ErrNotFound)
		},
	} {
		t.Run(name, func(t *testing.T) {
			k := keep(t, outbox.Options{})
			do(k)
			require.Empty(t, k.problems())
		})
	}
}

// append appends a match update as a processor without a recorder does.
func (k kept) append(list string) {
	m, err := schema.NewMatchUpdate(schema.MatchUpdate{Matches: parse(k.t, list)})
	require.NoError(k.t, err)
	_, err = k.box.Add(ctx, changes.Event(m))
	require.NoError(k.t, err)
}

func TestAStoredListThatDiffersFromTheLogIsToldById(t *testing.T) {
	const secret = `[{"matchid":1,"domaruppdraglista":[{"domareid":1,"personnamn":"Åsa Exempelsson"}]},{"matchid":2},{"matchid":3}]`
	for _, tt := range []struct {
		name string
		do   func(k kept)
		says string
	}{
		{"a match is missing", func(k kept) {
			k.record(secret)
			k.state(func(b *bbolt.Bucket) error { return b.Delete([]byte("1")) })
		}, "the stored match list differs from match_updates #1, with which it was recorded, in match 1"},
		{"one is other, and one more is there", func(k kept) {
			k.record(secret)
			var record []byte
			other := keep(t, outbox.Options{})
			other.record(`[{"matchid":1},{"matchid":4}]`)
			other.state(func(b *bbolt.Bucket) error { record = append(record, b.Get([]byte("1"))...); return nil })
			k.state(func(b *bbolt.Bucket) error { return b.Put([]byte("1"), record) })
			other.state(func(b *bbolt.Bucket) error { record = append([]byte(nil), b.Get([]byte("4"))...); return nil })
			k.state(func(b *bbolt.Bucket) error { return b.Put([]byte("4"), record) })
		}, "in 2 matches: 1, 4"},
		{"all are gone", func(k kept) {
			k.record(secret)
			k.state(func(b *bbolt.Bucket) error {
				for _, id := range []string{"1", "2", "3"} {
					if err := b.Delete([]byte(id)); err != nil {
						return err
					}
				}
				return nil
			})
		}, "in 3 matches: 1, 2, 3"},
		{"after a resync", func(k kept) {
			_, err := k.r.Import(ctx, parse(k.t, secret))
			require.NoError(k.t, err)
			_, err = k.r.Resync(ctx, changes.Operator{})
			require.NoError(k.t, err)
			k.state(func(b *bbolt.Bucket) error { return b.Delete([]byte("2")) })
		}, "differs from match_updates #1, with which it was recorded, in match 2"},
		{"a record is damaged", func(k kept) {
			k.record(secret)
			k.state(func(b *bbolt.Bucket) error { return b.Put([]byte("1"), []byte("short")) })
		}, "the stored match list is damaged: match 1: the record is cut short"},
		{"its event is not there", func(k kept) {
			k.record(secret)
			require.NoError(t, k.box.Update(ctx, func(tx *bbolt.Tx) error {
				return tx.Bucket([]byte("matchrelay/recorder")).Put([]byte("state"), []byte{0, 0, 0, 0, 0, 0, 0, 9})
			}))
		}, "match_updates #9, with which the stored match list was recorded, is not in the log"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := keep(t, outbox.Options{})
			tt.do(k)
			problems := k.problems()
			require.Len(t, problems, 1)
			require.Contains(t, problems[0], tt.says)
			require.NotContains(t, problems[0], "Exempelsson")
		})
	}
}

func TestManyMatchesThatDifferAreCounted(t *testing.T) {
	k := keep(t, outbox.Options{})
	list := []byte{'['}
	for i := range 99 {
		list = fmt.Appendf(list, `{"matchid":"m%02d"},`, i)
	}
	k.record(string(append(list, `{"matchid":"n"}]`...)))
	k.state(func(b *bbolt.Bucket) error {
		for i := range 99 {
			if err := b.Delete(fmt.Appendf(nil, "m%02d", i)); err != nil {
				return err
			}
		}
		return nil
	})
	require.Contains(t, k.problems()[0], "in 99 matches: m00, m01, ")
	require.Contains(t, k.problems()[0], ", m49 and 49 more")
}
