package changes_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/outbox"
)

func TestAnImportedListIsTheFirstStateAndNoEvent(t *testing.T) {
	o, r := open(t, outbox.Options{}, changes.Options{})
	has, err := r.HasState(ctx)
	require.NoError(t, err)
	require.False(t, has)

	old := parse(t, `[{"matchid":1,"avsparkstid":"17:00"},{"matchid":"2"},{"matchid":3}]`)
	imported, err := r.Import(ctx, old)
	require.NoError(t, err)
	require.True(t, imported)
	require.Empty(t, messages(t, o))
	state, err := r.State(ctx)
	require.NoError(t, err)
	require.ElementsMatch(t, raws(old), raws(state))
	has, err = r.HasState(ctx)
	require.NoError(t, err)
	require.True(t, has)

	_, err = r.Record(ctx, nil, changes.Metadata{})
	require.ErrorIs(t, err, changes.ErrEmptyList, "the imported list counts")
	s, err := r.Record(ctx, parse(t, `[{"matchid":1,"avsparkstid":"18:00"},{"matchid":2},{"matchid":4}]`), changes.Metadata{})
	require.NoError(t, err)
	require.Equal(t, []string{"1"}, s.Updated)
	require.Equal(t, []string{"4"}, s.New)
	require.Equal(t, []string{"3"}, s.Removed)
	require.Len(t, messages(t, o), 1)
}

func TestAListIsImportedOnce(t *testing.T) {
	for name, first := range map[string]string{"of matches": `[{"matchid":1}]`, "that is empty": `[]`} {
		t.Run(name, func(t *testing.T) {
			_, r := open(t, outbox.Options{}, changes.Options{})
			imported, err := r.Import(ctx, parse(t, first))
			require.NoError(t, err)
			require.True(t, imported)
			imported, err = r.Import(ctx, parse(t, `[{"matchid":2}]`))
			require.NoError(t, err)
			require.False(t, imported)
			state, err := r.State(ctx)
			require.NoError(t, err)
			require.ElementsMatch(t, raws(parse(t, first)), raws(state))
		})
	}
}

func TestNothingIsImportedOverARecordedList(t *testing.T) {
	_, r := open(t, outbox.Options{}, changes.Options{EventsOff: true})
	_, err := r.Record(ctx, parse(t, `[{"matchid":1}]`), changes.Metadata{})
	require.NoError(t, err)
	imported, err := r.Import(ctx, parse(t, `[{"matchid":2}]`))
	require.NoError(t, err)
	require.False(t, imported)
}

func TestAClosedOutboxImportsNothing(t *testing.T) {
	o, r := open(t, outbox.Options{}, changes.Options{})
	require.NoError(t, o.Close())
	_, err := r.Import(ctx, parse(t, `[{"matchid":1}]`))
	require.ErrorIs(t, err, outbox.ErrClosed)
	require.ErrorContains(t, err, "import 1 matches")
	_, err = r.HasState(ctx)
	require.ErrorIs(t, err, outbox.ErrClosed)
}
