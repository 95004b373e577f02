package outbox

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPrune_KeepsPendingEventsHoweverOldTheyAre(t *testing.T) {
	clock := newClock()
	o := openTemp(t, Options{Now: clock.Now})
	add(t, o, events("a", "1", "2", "3")...)
	add(t, o, events("b", "4")...)
	settle(t, o, "a", 1)
	clock.advance(2 * DefaultRetention)
	n, err := o.Prune(ctx)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, []string{"2 pending 2", "3 pending 3", "4 pending 4"}, states(t, o), "the first ones behind the cursors, too")
}

func TestPark_PassesOverWhatWasDiscardedBehindTheEvent(t *testing.T) {
	o := openTemp(t, Options{})
	add(t, o, events("a", "1", "2", "3", "4")...)
	_, err := o.Discard(ctx, []uint64{2, 3}, DiscardOptions{Reason: "test"})
	require.NoError(t, err)
	require.EqualValues(t, 0, topicStats(t, o, "a").Cursor, "the first event is pending")
	require.NoError(t, o.Park(ctx, "a", 1, Failure{}))
	require.EqualValues(t, 3, topicStats(t, o, "a").Cursor)
	require.Equal(t, []string{"1 parked 1", "2 discarded 2", "3 discarded 3", "4 pending 4"}, states(t, o))
	requireClean(t, o)
}

func TestReplay_RefusesAStaleSnapshotThatWasReplayedBefore(t *testing.T) {
	o := openTemp(t, Options{})
	older, newer := event("a", "older"), event("a", "newer")
	older.Snapshot, newer.Snapshot = true, true
	add(t, o, older, newer)
	settle(t, o, "a", 2, 1)
	allowed, err := o.Replay(ctx, []uint64{1}, ReplayOptions{AllowStale: true})
	require.NoError(t, err)
	require.Equal(t, []uint64{3}, allowed.Sequences)
	settle(t, o, "a", 3, 3)

	again, err := o.Replay(ctx, []uint64{3}, ReplayOptions{})
	require.NoError(t, err)
	require.Equal(t, ReplayResult{Matched: 1, Superseded: 1, Sequences: []uint64{}}, again, "it is as old as what it repeats")
	require.Equal(t, []string{"1 delivered older", "2 delivered newer", "3 unheard older"}, states(t, o))
}
