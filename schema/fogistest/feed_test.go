package fogistest_test

import (
	"bytes"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/schema"
	"github.com/PitchConnect/matchrelay/schema/fogistest"
)

var day = time.Date(2025, 5, 6, 0, 0, 0, 0, time.UTC)

func TestTheSameSeedGivesTheSameList(t *testing.T) {
	require.Equal(t, fogistest.List(7, 15, day), fogistest.List(7, 15, day))
	require.NotEqual(t, fogistest.List(7, 15, day), fogistest.List(8, 15, day))
}

func TestAListLooksLikeOneOfFOGIS(t *testing.T) {
	list := fogistest.List(1, 100, day)
	matches, err := schema.ParseMatches(list)
	require.NoError(t, err)
	require.Len(t, matches, 100)
	fields := 0
	for range matches[0].Members() {
		fields++
	}
	require.InDelta(t, 85, fields, 10)
	require.InDelta(t, 5000, len(list)/100, 1000)
	require.Contains(t, string(list), "<")
	require.Contains(t, string(list), "å")
}

func TestNobodyInAListIsReal(t *testing.T) {
	list := fogistest.List(1, 100, day)
	for _, mail := range regexp.MustCompile(`[^" ]+@[^" ]+`).FindAll(list, -1) {
		require.Regexp(t, `^[a-z.]+@example\.com$`, string(mail))
	}
	for _, phone := range regexp.MustCompile(`"07[^"]+`).FindAll(list, -1) {
		require.Regexp(t, `^"070-17406(0[5-9]|[1-9]\d)$`, string(phone))
	}
}

func TestEveryChangeGivesAnotherListOfGoodMatches(t *testing.T) {
	feed := fogistest.New(1, 3, day)
	before := feed.JSON()
	for i := range 5 * len(fogistest.Kinds()) {
		change := feed.Next(i)
		after := feed.JSON()
		require.NotEqual(t, before, after, change.Description)
		matches, err := schema.ParseMatches(after)
		require.NoError(t, err)
		require.Len(t, matches, feed.Len())
		require.Equal(t, change.Kind != fogistest.RemovedMatch, bytes.Contains(after, []byte(change.MatchID)))
		before = after
	}
}

func TestAnUnknownKindOfChangePanics(t *testing.T) {
	require.Panics(t, func() { fogistest.New(1, 1, day).Apply("magic") })
}
