package changes_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/schema"
)

const listOne, listTwo = `[{"matchid":1}]`, `[{"matchid":1},{"matchid":2}]`

func TestAListThatIsOlderThanTheRecordedOneIsRefused(t *testing.T) {
	o, r := open(t, outbox.Options{}, changes.Options{})
	at := func(list string, fetched time.Time) error {
		_, err := r.Record(ctx, parse(t, list), changes.Metadata{FetchedAt: fetched})
		return err
	}
	require.NoError(t, at(listOne, noon.Add(-time.Hour)))
	require.NoError(t, at(listTwo, noon.Add(-time.Hour)), "the same moment is not older")
	require.ErrorIs(t, at(listOne, noon.Add(-time.Hour-1)), changes.ErrStale)
	require.NoError(t, at(listTwo, noon.Add(-time.Minute)), "nothing changes but the time")
	err := at(listOne, noon.Add(-2*time.Minute))
	require.ErrorIs(t, err, changes.ErrStale)
	require.ErrorContains(t, err, "this one was fetched at 2025-05-06T11:58:00Z, the newest at 2025-05-06T11:59:00Z")
	_, err = r.Preview(ctx, parse(t, listOne), changes.Metadata{FetchedAt: noon.Add(-2 * time.Minute)})
	require.ErrorIs(t, err, changes.ErrStale)
	require.Len(t, messages(t, o), 2)
	state, err := r.State(ctx)
	require.NoError(t, err)
	require.Len(t, state, 2)

	require.NoError(t, at(listOne, time.Time{}), "a list without a time is the newest")
	require.ErrorIs(t, at(listTwo, noon.Add(-1)), changes.ErrStale)
}

func TestTheTimeOfAListIsKeptOnlyWithIt(t *testing.T) {
	_, r := open(t, outbox.Options{}, changes.Options{})
	_, err := r.Record(ctx, parse(t, listOne), changes.Metadata{FetchedAt: noon.Add(-time.Hour)})
	require.NoError(t, err)
	_, err = r.Record(ctx, parse(t, `[]`), changes.Metadata{FetchedAt: noon})
	require.ErrorIs(t, err, changes.ErrEmptyList)
	_, err = r.Record(ctx, parse(t, listTwo), changes.Metadata{FetchedAt: noon.Add(-time.Minute)})
	require.NoError(t, err, "the list that was refused is forgotten")
}

func TestAWrongClockLocksOutNobody(t *testing.T) {
	now := noon
	_, r := open(t, outbox.Options{}, changes.Options{Now: func() time.Time { return now }})
	record := func(fetched time.Time) error {
		_, err := r.Record(ctx, parse(t, listOne), changes.Metadata{FetchedAt: fetched})
		return err
	}
	err := record(noon.Add(changes.MaxSkew + time.Second))
	require.ErrorIs(t, err, outbox.ErrInvalid)
	require.ErrorContains(t, err, "fetched_at: ")
	require.ErrorContains(t, err, "look at the clocks")
	require.ErrorIs(t, record(time.Unix(-1, 0)), outbox.ErrInvalid)
	require.NoError(t, record(noon.Add(changes.MaxSkew)))
	require.ErrorIs(t, record(noon), changes.ErrStale)
	require.NoError(t, record(time.Time{}))
	require.ErrorIs(t, record(noon), changes.ErrStale, "a list without a time sets nothing back")

	now = noon.Add(-time.Hour) // this machine's own clock was an hour ahead
	require.NoError(t, record(now.Add(-time.Minute)))
	require.ErrorIs(t, record(now.Add(-2*time.Minute)), changes.ErrStale)
}

func TestACycleDoesNotUndoWhatCameWhileItFetched(t *testing.T) {
	now := noon
	o, r := open(t, outbox.Options{}, changes.Options{Now: func() time.Time { now = now.Add(time.Second); return now }})
	_, err := r.Cycle(ctx, func(context.Context) ([]schema.Match, error) {
		_, err := r.Record(ctx, parse(t, listTwo), changes.Metadata{FetchedAt: now.Add(time.Second)})
		require.NoError(t, err)
		return parse(t, listOne), nil
	})
	require.ErrorIs(t, err, changes.ErrStale)
	all := messages(t, o)
	require.Equal(t, []string{"processing_status", "match_updates", "processing_status", "system_alert"},
		[]string{all[0].Type, all[1].Type, all[2].Type, all[3].Type})
	_, err = r.Cycle(ctx, func(context.Context) ([]schema.Match, error) { return parse(t, listOne), nil })
	require.NoError(t, err)
}

func TestCycle_UndoesNoListThatCameAfterItBegan_WhenTheClockWasSetBack(t *testing.T) {
	for name, record := range map[string]func(r *changes.Recorder, now time.Time) error{
		"of a cycle": func(r *changes.Recorder, _ time.Time) error {
			_, err := r.Cycle(ctx, func(context.Context) ([]schema.Match, error) { return parse(t, listTwo), nil })
			return err
		},
		"of a source without times": func(r *changes.Recorder, _ time.Time) error {
			_, err := r.Record(ctx, parse(t, listTwo), changes.Metadata{})
			return err
		},
		"of a source with times": func(r *changes.Recorder, now time.Time) error {
			_, err := r.Record(ctx, parse(t, listTwo), changes.Metadata{FetchedAt: now})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			now := noon
			_, r := open(t, outbox.Options{}, changes.Options{Now: func() time.Time { return now }})
			_, err := r.Record(ctx, parse(t, listTwo), changes.Metadata{FetchedAt: noon.Add(-2 * time.Minute)})
			require.NoError(t, err)
			_, err = r.Cycle(ctx, func(context.Context) ([]schema.Match, error) {
				now = noon.Add(-time.Minute)
				require.NoError(t, record(r, now), "it changes nothing, and is the newest all the same")
				return parse(t, listOne), nil
			})
			require.ErrorIs(t, err, changes.ErrStale)
			state, err := r.State(ctx)
			require.NoError(t, err)
			require.Len(t, state, 2)
			_, err = r.Cycle(ctx, func(context.Context) ([]schema.Match, error) { return parse(t, listOne), nil })
			require.NoError(t, err, "the next one sees what is there now")
		})
	}
}

func TestCycle_FollowsOneThatBeganEarlier(t *testing.T) {
	now := noon
	_, r := open(t, outbox.Options{}, changes.Options{Now: func() time.Time { return now }})
	begun, recorded, ended := make(chan bool), make(chan bool), make(chan error, 1)
	go func() {
		_, err := r.Cycle(ctx, func(context.Context) ([]schema.Match, error) {
			begun <- true
			<-recorded
			return parse(t, listOne), nil
		})
		ended <- err
	}()
	<-begun
	now = noon.Add(-time.Minute)
	_, err := r.Cycle(ctx, func(context.Context) ([]schema.Match, error) {
		recorded <- true
		require.NoError(t, <-ended)
		return parse(t, listTwo), nil
	})
	require.NoError(t, err, "its list was asked for later")
	state, err := r.State(ctx)
	require.NoError(t, err)
	require.Len(t, state, 2)
}

func TestAClockThatIsSetBackFailsNoCycle(t *testing.T) {
	now := noon
	_, r := open(t, outbox.Options{}, changes.Options{Now: func() time.Time { return now }})
	for _, list := range []string{listOne, listTwo, listOne} {
		_, err := r.Cycle(ctx, func(context.Context) ([]schema.Match, error) { return parse(t, list), nil })
		require.NoError(t, err)
		now = now.Add(-time.Minute)
	}
	_, err := r.Record(ctx, parse(t, listTwo), changes.Metadata{FetchedAt: noon.Add(-1)})
	require.ErrorIs(t, err, changes.ErrStale, "the time of the newest list did not go back")
}

func TestAMessageOfTheCallersOwnInATransaction(t *testing.T) {
	for _, off := range []bool{false, true} {
		o, r := open(t, outbox.Options{}, changes.Options{Source: "mine", EventsOff: off})
		m, err := r.Message(schema.TypeSystemAlert, []byte(`{"alert_type":"x","severity":"info","message":"y","details":{}}`))
		require.NoError(t, err)
		require.Equal(t, "mine", m.Source)
		require.Equal(t, noon, m.Timestamp)
		require.Same(t, o, r.Outbox())
		var sequences []uint64
		require.NoError(t, o.Update(ctx, func(tx *bbolt.Tx) error {
			sequences, err = r.AppendTx(tx, m)
			return err
		}))
		require.Equal(t, off, len(sequences) == 0)
	}
}
