package schema_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/schema"
	"github.com/PitchConnect/matchrelay/schema/fogistest"
)

var day = time.Date(2025, 5, 6, 0, 0, 0, 0, time.UTC)

// forLists runs a benchmark for a usual list, ten and a hundred times as much. The time for each match has to stay the same.
func forLists(b *testing.B, run func(b *testing.B, list []byte)) {
	for _, matches := range []int{60, 600, 6000} {
		b.Run(fmt.Sprintf("matches=%d", matches), func(b *testing.B) {
			list := fogistest.List(1, matches, day)
			b.SetBytes(int64(len(list)))
			b.ReportAllocs()
			run(b, list)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(matches), "ns/match")
		})
	}
}

func BenchmarkParse(b *testing.B) {
	forLists(b, func(b *testing.B, list []byte) {
		for b.Loop() {
			_, err := schema.ParseMatches(list)
			require.NoError(b, err)
		}
	})
}

func BenchmarkBuildUpdate(b *testing.B) {
	forLists(b, func(b *testing.B, list []byte) {
		matches, err := schema.ParseMatches(list)
		require.NoError(b, err)
		for b.Loop() {
			_, err := schema.NewMatchUpdate(schema.MatchUpdate{Matches: matches})
			require.NoError(b, err)
		}
	})
}

func BenchmarkReadUpdate(b *testing.B) {
	forLists(b, func(b *testing.B, list []byte) {
		matches, err := schema.ParseMatches(list)
		require.NoError(b, err)
		built, err := schema.NewMatchUpdate(schema.MatchUpdate{Matches: matches})
		require.NoError(b, err)
		for b.Loop() {
			m, err := schema.Decode(built.Bytes())
			require.NoError(b, err)
			_, err = m.MatchUpdate()
			require.NoError(b, err)
		}
	})
}

// Allocations count the work.
func TestLists_TakeWorkInProportionToTheirMatches(t *testing.T) {
	work := func(n int) float64 {
		list := fogistest.List(1, n, day)
		return testing.AllocsPerRun(1, func() {
			matches, err := schema.ParseMatches(list)
			require.NoError(t, err)
			m, err := schema.NewMatchUpdate(schema.MatchUpdate{Matches: matches})
			require.NoError(t, err)
			u, err := m.MatchUpdate()
			require.NoError(t, err)
			require.Len(t, u.Matches, n)
			for _, match := range u.Matches {
				match.Outline()
			}
		})
	}
	few, many := work(60), work(600)
	require.Less(t, many, 11*few, "%.0f and %.0f allocations", few, many)
}
