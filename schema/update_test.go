package schema_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/schema"
)

func TestTheMatchesWhoseChangesAnUpdateTells(t *testing.T) {
	change := func(id string) schema.DetailedChange {
		return schema.DetailedChange{MatchID: id, Category: schema.TimeChange, Priority: schema.Low}
	}
	for name, tt := range map[string]struct {
		update schema.MatchUpdate
		want   []string
	}{
		"none":                            {schema.MatchUpdate{Matches: parse(t, odd)}, nil},
		"those of the detailed changes":   {schema.MatchUpdate{Changes: []schema.DetailedChange{change("2"), change("1"), change("2")}}, []string{"1", "2"}},
		"those that the metadata lists":   {schema.MatchUpdate{New: []string{"4"}, Updated: []string{"3"}, Cancelled: []string{"2"}, Removed: []string{"1"}}, []string{"1", "2", "3", "4"}},
		"both, and each once":             {schema.MatchUpdate{New: []string{"1"}, Changes: []schema.DetailedChange{change("1"), change("2")}}, []string{"1", "2"}},
		"but not those of the match list": {schema.MatchUpdate{Matches: parse(t, odd), Removed: []string{"1"}}, []string{"1"}},
	} {
		m, err := schema.NewMatchUpdate(tt.update)
		require.NoError(t, err, name)
		got, err := m.ChangedMatches()
		require.NoError(t, err, name)
		require.Equal(t, tt.want, got, name)
	}
	status, err := schema.NewStatus(schema.Status{State: schema.StatusStarted})
	require.NoError(t, err)
	_, err = status.ChangedMatches()
	require.ErrorIs(t, err, schema.ErrMessage)
}
