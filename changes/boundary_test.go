package changes_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/schema"
)

func TestRecord_TellsOfRemovalsAlone(t *testing.T) {
	o, r := open(t, outbox.Options{}, changes.Options{})
	_, err := r.Record(ctx, parse(t, listTwo), changes.Metadata{})
	require.NoError(t, err)
	s, err := r.Record(ctx, parse(t, listOne), changes.Metadata{})
	require.NoError(t, err)
	require.Equal(t, []string{"2"}, s.Removed)
	require.Equal(t, []uint64{2}, s.Sequences)
	all := messages(t, o)
	require.Len(t, all, 2)
	update, err := all[1].MatchUpdate()
	require.NoError(t, err)
	require.Equal(t, []string{"2"}, update.Removed)
	state, err := r.State(ctx)
	require.NoError(t, err)
	require.Equal(t, raws(update.Matches), raws(state))
}

func TestRecord_RefusesAListThatIsOlderByANanosecond(t *testing.T) {
	o, r := open(t, outbox.Options{}, changes.Options{})
	newest := noon.Add(-time.Second / 2)
	_, err := r.Record(ctx, parse(t, listTwo), changes.Metadata{FetchedAt: newest})
	require.NoError(t, err)
	_, err = r.Record(ctx, parse(t, listOne), changes.Metadata{FetchedAt: newest.Add(-1)})
	require.ErrorIs(t, err, changes.ErrStale)
	require.Len(t, messages(t, o), 1)
	_, err = r.Record(ctx, parse(t, listOne), changes.Metadata{FetchedAt: newest.Add(1)})
	require.NoError(t, err)
}

func TestCycle_DoesNotUndoAListThatCameWhileItFetchedAfterEarlierOnes(t *testing.T) {
	now := noon
	_, r := open(t, outbox.Options{}, changes.Options{Now: func() time.Time { now = now.Add(time.Second); return now }})
	_, err := r.Record(ctx, parse(t, listOne), changes.Metadata{FetchedAt: noon.Add(-time.Hour)})
	require.NoError(t, err)
	_, err = r.Cycle(ctx, func(context.Context) ([]schema.Match, error) {
		_, err := r.Record(ctx, parse(t, listTwo), changes.Metadata{FetchedAt: now.Add(time.Second)})
		require.NoError(t, err)
		return parse(t, listOne), nil
	})
	require.ErrorIs(t, err, changes.ErrStale)
	state, err := r.State(ctx)
	require.NoError(t, err)
	require.Len(t, state, 2)
}

func TestDiff_SeesThatAListOfAnUnknownFieldGetsShorterOrLonger(t *testing.T) {
	shorter, longer := parse(t, `[{`+base+`,"x":[1]}]`), parse(t, `[{`+base+`,"x":[1,2]}]`)
	require.Len(t, changes.Diff(shorter, longer, long).Changes, 1)
	require.Len(t, changes.Diff(longer, shorter, long).Changes, 1)
}
