package control

import (
	"encoding/json"
	"errors"
	"os"
	"os/user"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/outbox"
)

func TestStatus(t *testing.T) {
	t.Run("of an empty outbox without a relay", func(t *testing.T) {
		g := start(t, openBox(t), nil, patient)
		s, err := g.client.Status(t.Context())
		require.NoError(t, err)
		require.Nil(t, s.Relay)
		require.Zero(t, s.Outbox.Events)
		info, err := os.Stat(s.File.Path)
		require.NoError(t, err)
		require.Equal(t, info.Sys().(*syscall.Stat_t).Ino, s.File.Inode)
		_, text := g.ask("GET", "/v1/status", "")
		require.Contains(t, text, `"relay":null`)
	})
	t.Run("has the counters of the outbox", func(t *testing.T) {
		g := startFull(t)
		want, err := g.box.Stats(t.Context())
		require.NoError(t, err)
		s, err := g.client.Status(t.Context())
		require.NoError(t, err)
		require.Equal(t, toJSON(t, want), toJSON(t, s.Outbox))
		_, text := g.ask("GET", "/v1/status", "")
		require.Contains(t, text, `"topic":"system_alert","last_sequence":5,"cursor":`)
		require.NotContains(t, text, "070-1740605")
	})
	t.Run("of a closed outbox", func(t *testing.T) {
		box := openBox(t)
		g := start(t, box, nil, patient)
		require.NoError(t, box.Close())
		_, err := g.client.Status(t.Context())
		require.ErrorIs(t, err, outbox.ErrClosed)
	})
}

func toJSON(t *testing.T, v any) string {
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return string(b)
}

func TestEventsAreThoseThatTheOutboxLists(t *testing.T) {
	g := startFull(t)
	at := time.Now().UTC().Add(-time.Hour)
	for name, f := range map[string]outbox.Filter{
		"all":             {},
		"a topic":         {Topic: "system_alert"},
		"no such topic":   {Topic: "other"},
		"a state":         {State: outbox.Unheard},
		"delivered":       {State: outbox.Delivered},
		"a page":          {After: 1, Limit: 2},
		"the last page":   {After: 5},
		"a range":         {After: 1, Through: 4},
		"a time":          {Since: at, Until: at.Add(2*time.Hour + time.Nanosecond)},
		"too early":       {Until: at},
		"an error":        {Error: "too odd"},
		"an odd error":    {Error: "&limit=1 \n%"},
		"several at once": {Topic: "match_updates", State: outbox.Delivered, After: 1, Limit: 1},
	} {
		t.Run(name, func(t *testing.T) {
			want, err := g.box.List(t.Context(), f)
			require.NoError(t, err)
			require.Equal(t, want, mustList(t, g.client, f))
		})
	}
	status, text := g.ask("GET", "/v1/events?topic=other", "")
	require.Equal(t, 200, status)
	require.Empty(t, text)
	_, text = g.ask("GET", "/v1/events", "")
	require.NotContains(t, text, "070-1740605")

	enough := errors.New("enough")
	require.ErrorIs(t, g.client.Each(t.Context(), outbox.Filter{}, func(outbox.Info) error { return enough }), enough)
}

func TestPagesOfTheServerDoNotShow(t *testing.T) {
	lim := patient
	lim.page = 2
	box := openBox(t)
	fill(t, box)
	g := start(t, box, nil, lim)
	for _, limit := range []int{0, 1, 2, 3, 4, 5, 6} {
		want, err := box.List(t.Context(), outbox.Filter{Limit: limit})
		require.NoError(t, err)
		require.Equal(t, want, mustList(t, g.client, outbox.Filter{Limit: limit}), limit)
	}
}

func TestAnEventIsShownWithItsPayloadOnlyWhenThatIsAskedFor(t *testing.T) {
	g := startFull(t)
	wantEntry, wantInfo, err := g.box.Get(t.Context(), 4)
	require.NoError(t, err)
	entry, info, err := g.client.Payload(t.Context(), 4)
	require.NoError(t, err)
	require.Equal(t, wantEntry, entry)
	require.Equal(t, wantInfo, info)
	entry, info, err = g.client.Get(t.Context(), 4)
	require.NoError(t, err)
	require.Equal(t, wantInfo, info)
	require.Empty(t, entry.Payload)
	for _, path := range []string{"/v1/events/4", "/v1/events/4?payload=0"} {
		_, text := g.ask("GET", path, "")
		require.NotContains(t, text, "payload")
	}
	_, _, err = g.client.Get(t.Context(), 99)
	require.ErrorIs(t, err, outbox.ErrNotFound)
	require.ErrorContains(t, err, "event #99: not found: it was never appended")
	_, _, err = g.client.Get(t.Context(), 0)
	require.ErrorIs(t, err, outbox.ErrInvalid)
}

func TestReplay(t *testing.T) {
	g := startFull(t)
	ctx := t.Context()
	all := []uint64{5, 4, 3, 2, 1, 4}
	plan, err := g.client.Replay(ctx, all, outbox.ReplayOptions{DryRun: true})
	require.NoError(t, err)
	require.Equal(t, outbox.ReplayResult{Matched: 5, Eligible: 1, Superseded: 1, Ineligible: 3, Sequences: []uint64{}}, plan)
	require.Len(t, mustList(t, g.client, outbox.Filter{}), 5)

	result, err := g.client.Replay(ctx, all, outbox.ReplayOptions{Actor: "somebody else", Filter: "--seq 1..5", Reason: "mended"})
	require.NoError(t, err)
	require.Equal(t, []uint64{6}, result.Sequences)
	result, err = g.client.Replay(ctx, []uint64{2}, outbox.ReplayOptions{AllowStale: true})
	require.NoError(t, err)
	require.Equal(t, []uint64{7}, result.Sequences)
	result, err = g.client.Replay(ctx, nil, outbox.ReplayOptions{})
	require.NoError(t, err)
	require.Equal(t, outbox.ReplayResult{Sequences: []uint64{}}, result)

	_, err = g.client.Replay(ctx, []uint64{99}, outbox.ReplayOptions{})
	require.ErrorIs(t, err, outbox.ErrNotFound)

	me, err := user.Current()
	require.NoError(t, err)
	var audit []outbox.AuditEntry
	require.NoError(t, g.box.View(func(tx *bolt.Tx) error {
		return tx.Bucket([]byte("matchrelay/audit")).ForEach(func(_, v []byte) error {
			var e outbox.AuditEntry
			err := json.Unmarshal(v, &e)
			audit = append(audit, e)
			return err
		})
	}))
	require.Len(t, audit, 2)
	require.Equal(t, me.Username, audit[0].Actor, "as the system tells")
	require.Equal(t, "--seq 1..5", audit[0].Filter)
	require.Equal(t, "mended", audit[0].Reason)
}

func TestDiscardAndAudit(t *testing.T) {
	g := startFull(t)
	ctx := t.Context()
	empty, err := g.client.Audit(ctx, 0)
	require.NoError(t, err)
	require.Empty(t, empty)
	waiting := len(mustList(t, g.client, outbox.Filter{State: outbox.Parked})) + len(mustList(t, g.client, outbox.Filter{State: outbox.Pending}))
	opts := outbox.DiscardOptions{DryRun: true, Actor: "somebody else", Filter: "--seq 1..5", Reason: "test data"}
	plan, err := g.client.Discard(ctx, []uint64{1, 2, 3, 4, 5}, opts)
	require.NoError(t, err)
	require.Equal(t, waiting, plan.Eligible)
	require.Zero(t, plan.Discarded)
	opts.DryRun = false
	result, err := g.client.Discard(ctx, []uint64{5, 4, 3, 2, 1, 99}, opts)
	require.ErrorIs(t, err, outbox.ErrNotFound)
	require.Zero(t, result.Discarded, "nothing of a step with one that is not there")
	result, err = g.client.Discard(ctx, []uint64{5, 4, 3, 2, 1}, opts)
	require.NoError(t, err)
	require.Equal(t, waiting, result.Discarded)
	require.Len(t, mustList(t, g.client, outbox.Filter{State: outbox.Discarded}), waiting)
	_, err = g.client.Discard(ctx, []uint64{1}, outbox.DiscardOptions{})
	require.ErrorIs(t, err, outbox.ErrInvalid, "a reason is required")

	_, err = g.client.Replay(ctx, []uint64{1, 2, 3, 4, 5}, outbox.ReplayOptions{AllowStale: true, Reason: "second thoughts"})
	require.NoError(t, err)
	me, err := user.Current()
	require.NoError(t, err)
	audit, err := g.client.Audit(ctx, 0)
	require.NoError(t, err)
	require.Equal(t, "discard", audit[0].Action)
	require.Equal(t, []string{me.Username, "--seq 1..5", "test data"}, []string{audit[0].Actor, audit[0].Filter, audit[0].Reason})
	newest, err := g.client.Audit(ctx, 1)
	require.NoError(t, err)
	require.Equal(t, audit[len(audit)-1:], newest)
}

func TestReplayOfMoreThanOneRequestTakesAndWhatWasDoneBeforeAnError(t *testing.T) {
	box := openBox(t)
	n := MaxSequences + 500
	many(t, box, n)
	position, err := box.Position(t.Context(), "news")
	require.NoError(t, err)
	var sequences []uint64
	for i := range n {
		sequences = append(sequences, uint64(i+1))
	}
	require.NoError(t, box.Settle(t.Context(), outbox.Receipt{Topic: "news", Through: uint64(n), Unheard: sequences, Origin: position.Origin}))
	require.NoError(t, box.Flush(t.Context()))
	g := start(t, box, nil, patient)
	slices.Reverse(sequences)
	result, err := g.client.Replay(t.Context(), append(sequences, uint64(10*n)), outbox.ReplayOptions{})
	require.ErrorIs(t, err, outbox.ErrNotFound)
	require.Less(t, result.Replayed, n)
	require.GreaterOrEqual(t, result.Replayed, MaxSequences+400, "all but the last step, of both requests")
	require.Len(t, result.Sequences, result.Replayed)
	require.True(t, slices.IsSorted(result.Sequences))
	rest, err := g.client.Replay(t.Context(), sequences, outbox.ReplayOptions{})
	require.NoError(t, err)
	require.Equal(t, n, result.Replayed+rest.Replayed)
	list := mustList(t, g.client, outbox.Filter{State: outbox.Pending})
	require.Len(t, list, n)
	for i, info := range list {
		require.EqualValues(t, i+1, info.ReplayOf, "in order")
	}
}
