package changes_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/schema"
	"github.com/PitchConnect/matchrelay/schema/fogistest"
)

// meanwhile is called when the message is built, which comes after the comparison.
type meanwhile func()

func (f meanwhile) MarshalJSON() ([]byte, error) {
	f()
	return []byte("null"), nil
}

func during(f func()) changes.Metadata {
	return changes.Metadata{Extra: map[string]any{"during": meanwhile(f)}}
}

func TestRecord_KeepsNoOtherWriterWaiting(t *testing.T) {
	o, r := open(t, outbox.Options{}, changes.Options{})
	n := 0
	write := func() {
		n++
		_, err := o.Add(ctx, outbox.Event{Topic: "other", MessageID: fmt.Sprint("m", n), Payload: []byte("x")})
		require.NoError(t, err, "while lists are compared")
	}
	for name, record := range map[string]func(list []schema.Match) error{
		"Record": func(list []schema.Match) error {
			_, err := r.Record(ctx, list, during(write))
			return err
		},
		"RecordWith": func(list []schema.Match) error {
			return r.RecordWith(ctx, list, during(write), func(_ *bbolt.Tx, record func() (changes.Summary, error)) error {
				_, err := record()
				return err
			})
		},
	} {
		before := n
		require.NoError(t, record(parse(t, `[{"matchid":"`+name+`"}]`)))
		require.Equal(t, before+1, n, "another event is no reason to compare again")
	}
}

func TestRecord_ComparesAgainWhenAnotherListCameMeanwhile(t *testing.T) {
	for name, others := range map[string]int{"once": 1, "each time": 100} {
		t.Run(name, func(t *testing.T) {
			o, r := open(t, outbox.Options{}, changes.Options{})
			_, err := r.Record(ctx, parse(t, listOne), changes.Metadata{})
			require.NoError(t, err)
			compared, came := 0, 0
			s, err := r.Record(ctx, parse(t, listTwo), during(func() {
				compared++
				if compared > others {
					return
				}
				other := parse(t, fmt.Sprintf(`[{"matchid":"other-%d"}]`, compared))
				_, err := r.Record(ctx, other, changes.Metadata{})
				if errors.Is(err, outbox.ErrNested) { // within the transaction, where nobody can come in between
					return
				}
				require.NoError(t, err)
				came++
			}))
			require.NoError(t, err)
			require.Equal(t, min(others, 3), came)
			require.Equal(t, came+1, compared)
			require.Equal(t, []string{"1", "2"}, s.New)
			require.Equal(t, []string{fmt.Sprint("other-", came)}, s.Removed)
			requireEachTellsTheDifference(t, o, r)
		})
	}
}

func TestRecordWith_RunsOnlyOnWhatWasCompared(t *testing.T) {
	_, r := open(t, outbox.Options{}, changes.Options{})
	_, err := r.Record(ctx, parse(t, listOne), changes.Metadata{})
	require.NoError(t, err)
	came, ran := false, 0
	err = r.RecordWith(ctx, parse(t, listTwo), during(func() {
		if !came {
			came = true
			_, err := r.Record(ctx, parse(t, `[{"matchid":"other"}]`), changes.Metadata{})
			require.NoError(t, err)
		}
	}), func(_ *bbolt.Tx, record func() (changes.Summary, error)) error {
		ran++
		s, err := record()
		require.NoError(t, err, "that another list came first is no failure")
		require.Equal(t, []string{"other"}, s.Removed)
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, 1, ran)
}

// What is in the file was within the limits of its time.
func TestRecord_ReadsAListThatALaterLimitWouldRefuse(t *testing.T) {
	o, r := open(t, outbox.Options{}, changes.Options{})
	many := `[{"matchid":1,"attendance":1e1000,"kontaktpersoner":[` + strings.Repeat(`{},`, schema.MaxPeople) + `{}]}]`
	_, err := schema.ParseMatches([]byte(many))
	require.ErrorIs(t, err, schema.ErrMatchList)
	stored, err := schema.ParseStored([]byte(many))
	require.NoError(t, err)
	_, err = r.Record(ctx, stored, changes.Metadata{})
	require.NoError(t, err)
	problems, err := changes.VerifyState(ctx, o)
	require.NoError(t, err)
	require.Empty(t, problems)
	_, err = r.State(ctx)
	require.NoError(t, err)
	_, err = r.Resync(ctx, changes.Operator{})
	require.NoError(t, err)
	s, err := r.Record(ctx, parse(t, listTwo), changes.Metadata{})
	require.NoError(t, err)
	require.Equal(t, []string{"1"}, s.Updated)
	problems, err = changes.VerifyState(ctx, o)
	require.NoError(t, err)
	require.Empty(t, problems)
}

func TestRecord_NumbersAnUpdateByTheCycleThatBeganMeanwhile(t *testing.T) {
	o, r := open(t, outbox.Options{}, changes.Options{})
	began := false
	_, err := r.Record(ctx, parse(t, listOne), during(func() {
		if !began {
			began = true
			_, err := r.Cycle(ctx, func(context.Context) ([]schema.Match, error) { return nil, errors.New("away") })
			require.Error(t, err)
		}
	}))
	require.NoError(t, err)
	all := messages(t, o)
	update, err := all[len(all)-1].MatchUpdate()
	require.NoError(t, err)
	require.EqualValues(t, 1, update.Cycle)
}

func TestResync_RepeatsTheListThatIsStoredWhenItCommits(t *testing.T) {
	o, r := open(t, outbox.Options{}, changes.Options{})
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			_, err := r.Record(ctx, parse(t, fmt.Sprintf(`[{"matchid":%d}]`, i)), changes.Metadata{})
			require.NoError(t, err)
			_, err = r.Resync(ctx, changes.Operator{})
			require.NoError(t, err)
		})
	}
	all.Wait()
	requireEachTellsTheDifference(t, o, r)
}

func TestRecord_AtOnceEachTellsTheDifferenceToTheOneBefore(t *testing.T) {
	o, r := open(t, outbox.Options{}, changes.Options{})
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(i)))
			for range 20 {
				var list []string
				for id := range 6 {
					if kickOff := random.IntN(4); kickOff > 0 {
						list = append(list, fmt.Sprintf(`{"matchid":%d,"avsparkstid":"1%d:00"}`, id, kickOff))
					}
				}
				_, err := r.Record(ctx, parse(t, "["+strings.Join(list, ",")+"]"), changes.Metadata{AllowEmpty: true})
				require.NoError(t, err)
			}
		})
	}
	all.Wait()
	requireEachTellsTheDifference(t, o, r)
}

// requireEachTellsTheDifference compares each match update with the one before, and the state with the last.
func requireEachTellsTheDifference(t *testing.T, o *outbox.Outbox, r *changes.Recorder) {
	t.Helper()
	var before []schema.Match
	for _, m := range messages(t, o) {
		if m.Type != schema.TypeMatchUpdates {
			continue
		}
		u, err := m.MatchUpdate()
		require.NoError(t, err)
		want := changes.Diff(before, u.Matches, noon)
		require.ElementsMatch(t, want.New, u.New)
		require.ElementsMatch(t, want.Updated, u.Updated)
		require.ElementsMatch(t, want.Removed, u.Removed)
		before = u.Matches
	}
	state, err := r.State(ctx)
	require.NoError(t, err)
	require.ElementsMatch(t, raws(before), raws(state))
	problems, err := changes.VerifyState(ctx, o)
	require.NoError(t, err)
	require.Empty(t, problems)
}

// ending is a context that ends when it has been looked at so often.
type ending struct {
	context.Context
	looks *int
}

func (c ending) Err() error {
	if *c.looks--; *c.looks < 0 {
		return context.Canceled
	}
	return nil
}

func TestRecord_EndsInTheMiddleOfAComparisonWithItsContext(t *testing.T) {
	o, r := open(t, outbox.Options{}, changes.Options{})
	list := parse(t, string(fogistest.List(1, 200, noon)))
	looks := 100
	_, err := r.Record(ending{ctx, &looks}, list, changes.Metadata{})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, -2, looks, "it looks at it for each match, and goes no further")
	looks = 100
	_, err = r.Preview(ending{ctx, &looks}, list, changes.Metadata{})
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, messages(t, o))
	has, err := r.HasState(ctx)
	require.NoError(t, err)
	require.False(t, has)

	looks = 100
	_, err = r.Cycle(ending{ctx, &looks}, fetch(list))
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, "started failed alert", story(t, messages(t, o)))
	has, err = r.HasState(ctx)
	require.NoError(t, err)
	require.False(t, has)
}

func TestRecord_EndsInTheMiddleOfOneLargeMatchWithItsContext(t *testing.T) {
	o, r := open(t, outbox.Options{}, changes.Options{})
	match := func(version int) []schema.Match {
		var referees, fields strings.Builder
		for i := range schema.MaxPeople {
			fmt.Fprintf(&referees, `,{"domareid":%d,"personnamn":"%d"}`, i, version)
			fmt.Fprintf(&fields, `,"field-%d":%d`, i, version)
		}
		people := "[" + referees.String()[1:] + "]"
		return parse(t, `[{"matchid":1,"domaruppdraglista":`+people+`,"kontaktpersoner":`+people+fields.String()+`}]`)
	}
	_, err := r.Record(ctx, match(1), changes.Metadata{})
	require.NoError(t, err)
	const plenty = 1 << 20
	looks := plenty
	_, err = r.Preview(ending{ctx, &looks}, match(2), changes.Metadata{})
	require.NoError(t, err)
	whole := plenty - looks
	require.Greater(t, whole, 3*schema.MaxPeople, "a look for each referee, contact and field")
	for at := 1; at < whole; at += schema.MaxPeople / 3 {
		looks = at
		_, err := r.Record(ending{ctx, &looks}, match(2), changes.Metadata{})
		require.ErrorIs(t, err, context.Canceled)
		require.Greater(t, looks, -20, "it goes no further")
		require.Len(t, messages(t, o), 1)
	}
	state, err := r.State(ctx)
	require.NoError(t, err)
	require.Equal(t, string(match(1)[0].Raw()), string(state[0].Raw()))
	s, err := r.Record(ctx, match(2), changes.Metadata{})
	require.NoError(t, err)
	require.Equal(t, []string{"1"}, s.Updated)
}

func TestRecordWith_KeepsAllOrNothing(t *testing.T) {
	o, r := open(t, outbox.Options{}, changes.Options{})
	mine := []byte("mine")
	has := func() (has bool) {
		require.NoError(t, o.View(func(tx *bbolt.Tx) error { has = tx.Bucket(mine) != nil; return nil }))
		return has
	}
	with := func(list string, before bool, after error) error {
		return r.RecordWith(ctx, parse(t, list), changes.Metadata{}, func(tx *bbolt.Tx, record func() (changes.Summary, error)) error {
			_, err := tx.CreateBucketIfNotExists(mine)
			require.NoError(t, err)
			if before {
				_, _ = record()
			}
			return after
		})
	}
	broken := errors.New("broken")
	require.ErrorIs(t, with(listOne, true, broken), broken)
	require.Empty(t, messages(t, o))
	require.False(t, has())

	require.NoError(t, with(listOne, false, nil))
	require.Empty(t, messages(t, o), "nothing is recorded that was not asked for")
	require.True(t, has())

	require.NoError(t, with(listOne, true, nil))
	require.Len(t, messages(t, o), 1)

	require.NoError(t, o.Update(ctx, func(tx *bbolt.Tx) error { return tx.DeleteBucket(mine) }))
	err := with(`[]`, true, nil)
	require.ErrorIs(t, err, changes.ErrEmptyList, "also when the caller drops it")
	require.False(t, has())
}
