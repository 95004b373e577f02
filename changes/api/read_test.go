package api

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay/control"
	"github.com/PitchConnect/matchrelay/schema"
)

func TestMatchesAreReadWithoutPersonalDataUnlessItIsAskedFor(t *testing.T) {
	g := startPlain(t)
	require.Equal(t, "[]\n", g.ok(g.do("GET", "/v1/matches", "")).body)
	g.ok(g.post("/v1/matches", two))
	g.ok(g.post("/v1/matches", strings.Replace(two, `"n":1.0`, `"n":2.0`, 1)))
	for _, path := range []string{"/v1/matches", "/v1/matches?raw=0", "/v1/matches/2", "/v1/matches/2/history"} {
		a := g.ok(g.do("GET", path, ""))
		require.NotContains(t, a.body, phone, path)
		require.Contains(t, a.body, `"match_id":"2"`, path)
	}
	require.Equal(t, "["+`{ "matchid":"2", "n":2.0, "x":"<&>", "domaruppdraglista":[{"mobiltelefon":"`+phone+`"}]},{"matchid":1,"speldatum":"2030-01-02"}`+"]\n",
		g.ok(g.do("GET", "/v1/matches?raw=1", "")).body)
	require.Contains(t, g.ok(g.do("GET", "/v1/matches/2?raw=1", "")).body, phone)
	require.Contains(t, g.ok(g.do("GET", "/v1/matches/2/history", "")).body, `"field":"n","from":null,"to":null,"hidden":true}`)
	history := g.ok(g.do("GET", "/v1/matches/2/history?raw=1", ""))
	require.Equal(t, "application/x-ndjson", history.header.Get("Content-Type"))
	require.Contains(t, history.body, `"from":1.0,"to":2.0,"hidden":false}`)

	for _, tt := range []struct {
		path   string
		status int
		code   string
	}{
		{"/v1/matches/9", 404, "not_found"}, {"/v1/matches/9/history", 404, "not_found"}, {"/v1/matches?at=2020-01-01T00:00:00Z", 404, "not_found"},
		{"/v1/matches?at=today", 400, "invalid"}, {"/v1/matches?raw=yes", 400, "invalid"}, {"/v1/matches/2?at=1", 400, "invalid"},
		{"/v1/matches/2/history?at=2020-01-01T00:00:00Z", 400, "unknown_parameter"}, {"/v1/matches/2?since=1", 400, "unknown_parameter"},
	} {
		a := g.do("GET", tt.path, "")
		require.Equal(t, tt.status, a.status, tt.path)
		require.Equal(t, tt.code, a.code(), tt.path)
	}
}

// TestTheClientIsTheAPI asks both the same.
func TestTheClientIsTheAPI(t *testing.T) {
	g := startPlain(t)
	client := NewClient(g.control)
	_, err := client.PreviewResync(ctx)
	require.ErrorIs(t, err, changes.ErrNoState)
	meta := changes.Metadata{FetchedAt: time.Now().Add(-time.Minute)}
	plan, err := client.Preview(ctx, parse(t, two), meta)
	require.NoError(t, err)
	counts, err := client.Record(ctx, parse(t, two), meta)
	require.NoError(t, err)
	require.Equal(t, []uint64{1}, counts.Sequences)
	counts.Sequences = []uint64{}
	require.Equal(t, counts, plan)
	_, err = client.Record(ctx, parse(t, one), changes.Metadata{FetchedAt: meta.FetchedAt.Add(-1)})
	require.ErrorIs(t, err, changes.ErrStale)
	require.ErrorContains(t, err, "record 1 matches: the match list is older than the recorded one")
	_, err = client.Record(ctx, nil, changes.Metadata{})
	require.ErrorIs(t, err, changes.ErrEmptyList)
	_, err = client.Record(ctx, parse(t, one), changes.Metadata{FetchedAt: time.Now().Add(time.Hour)})
	require.ErrorIs(t, err, outbox.ErrInvalid)

	for _, at := range []time.Time{{}, time.Now()} {
		matches, err := client.Matches(ctx, at)
		require.NoError(t, err)
		own, err := g.api.Matches(ctx, at)
		require.NoError(t, err)
		require.Equal(t, raws(own), raws(matches))
		outlines, err := client.Outlines(ctx, at)
		require.NoError(t, err)
		ownOutlines, err := g.api.Outlines(ctx, at)
		require.NoError(t, err)
		require.Equal(t, ownOutlines, outlines)
		m, err := client.Match(ctx, "2", at)
		require.NoError(t, err)
		require.Equal(t, string(own[0].Raw()), string(m.Raw()))
		o, err := client.Outline(ctx, "2", at)
		require.NoError(t, err)
		require.Equal(t, own[0].Outline(), o)
		ownOutline, err := g.api.Outline(ctx, "2", at)
		require.NoError(t, err)
		require.Equal(t, ownOutline, o)
	}
	_, err = g.api.Outline(ctx, "9", time.Time{})
	require.ErrorIs(t, err, outbox.ErrNotFound)
	ownCounts, err := g.api.Record(ctx, parse(t, two), changes.Metadata{})
	require.NoError(t, err)
	again, err := client.Record(ctx, parse(t, two), changes.Metadata{})
	require.NoError(t, err)
	require.Equal(t, ownCounts, again)
	history, err := client.History(ctx, "2", true)
	require.NoError(t, err)
	own, err := g.api.History(ctx, "2", true)
	require.NoError(t, err)
	a, _ := json.Marshal(own)
	b, _ := json.Marshal(history)
	require.JSONEq(t, string(a), string(b))
	for _, id := range []string{"9", "", ".", "..", "a/b", "%"} {
		_, err := client.Match(ctx, id, time.Time{})
		require.ErrorIs(t, err, outbox.ErrNotFound, id)
		_, err = client.Outline(ctx, id, time.Time{})
		require.ErrorIs(t, err, outbox.ErrNotFound, id)
		_, err = client.History(ctx, id, false)
		require.ErrorIs(t, err, outbox.ErrNotFound, id)
	}
	resync, err := client.PreviewResync(ctx)
	require.NoError(t, err)
	require.Equal(t, changes.Resynced{Matches: 2, Sequences: []uint64{}}, resync)
	resync, err = client.Resync(ctx, changes.Operator{Reason: "lost"})
	require.NoError(t, err)
	require.Equal(t, []uint64{2}, resync.Sequences)

	counts, err = client.Record(ctx, nil, changes.Metadata{AllowEmpty: true})
	require.NoError(t, err)
	require.Equal(t, 2, counts.Removed)
	history, err = client.History(ctx, "1", false)
	require.NoError(t, err)
	require.Len(t, history, 2)
}

func raws(matches []schema.Match) (list []string) {
	for _, m := range matches {
		list = append(list, string(m.Raw()))
	}
	return list
}

func TestAHistoryThatIsNotCompleteSaysSo(t *testing.T) {
	g := startPlain(t)
	g.ok(g.post("/v1/matches", two))
	_, err := g.box.Add(ctx, outbox.Event{Topic: schema.TypeMatchUpdates, MessageID: "odd", Payload: []byte(phone), Snapshot: true})
	require.NoError(t, err)
	list, err := NewClient(g.control).History(ctx, "2", false)
	require.ErrorContains(t, err, "match_updates #2: ")
	require.Len(t, list, 1)
	_, err = NewClient(g.control).History(ctx, "9", false)
	require.ErrorContains(t, err, "match_updates #2: ")
	require.NotContains(t, err.Error(), phone)
	_, err = NewClient(g.control).Matches(ctx, time.Now())
	require.ErrorContains(t, err, "match_updates #2: ")
}

func TestAProcessorWithoutTheAPIIsToldApart(t *testing.T) {
	g := startPlain(t)
	require.ErrorContains(t, recognised(&control.Error{Code: "unknown_path", Message: "no"}), "api.Routes")
	_, err := NewClient(g.control).Outline(ctx, "a/history/b", time.Time{})
	require.ErrorIs(t, err, outbox.ErrNotFound)
}

func TestALargeListIsReadWhole(t *testing.T) {
	g := startPlain(t)
	var list []string
	for i := range 3000 {
		list = append(list, fmt.Sprintf(`{"matchid":%d,"x":"%2000d"}`, i, i))
	}
	matches := parse(t, "["+strings.Join(list, ",")+"]")
	client := NewClient(g.control)
	_, err := client.Record(ctx, matches, changes.Metadata{})
	require.NoError(t, err)
	again, err := client.Matches(ctx, time.Time{})
	require.NoError(t, err)
	require.Equal(t, slices.Sorted(slices.Values(raws(matches))), slices.Sorted(slices.Values(raws(again))))
}
