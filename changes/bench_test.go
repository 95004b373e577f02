package changes_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/schema"
	"github.com/PitchConnect/matchrelay/schema/fogistest"
)

// From the bytes of a list of 1,000 matches (5 MB), of which one has changed,
// to the commit of state and event.
func BenchmarkRecord1000MatchesWithOneChange(b *testing.B) {
	_, r := open(b, outbox.Options{}, changes.Options{})
	feed := fogistest.New(1, 1000, noon)
	record := func(list []byte) changes.Summary {
		matches, err := schema.ParseMatches(list)
		require.NoError(b, err)
		s, err := r.Record(ctx, matches, changes.Metadata{})
		require.NoError(b, err)
		return s
	}
	lists := [][]byte{feed.JSON()}
	feed.Apply(fogistest.NewKickOff)
	lists = append(lists, feed.JSON())
	record(lists[0])
	b.SetBytes(int64(len(lists[0])))
	b.ReportAllocs()
	for i := 1; b.Loop(); i++ {
		require.Len(b, record(lists[i%2]).Changes, 1)
	}
}

func BenchmarkCompare1000UnchangedMatches(b *testing.B) {
	_, r := open(b, outbox.Options{}, changes.Options{})
	matches := parse(b, string(fogistest.List(1, 1000, noon)))
	_, err := r.Record(ctx, matches, changes.Metadata{})
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		_, err := r.Preview(ctx, matches, changes.Metadata{})
		require.NoError(b, err)
	}
}
