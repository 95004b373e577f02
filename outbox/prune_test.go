package outbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
)

func TestPruneRemovesDeliveredEventsAfterTheRetentionPeriod(t *testing.T) {
	clock := newClock()
	o := openTemp(t, Options{Now: clock.Now, Retention: time.Hour})
	snapshot := event("a", "snapshot")
	snapshot.Snapshot = true
	add(t, o, event("a", "old"), event("b", "old-too"), snapshot, event("a", "parked"), event("a", "unheard"),
		event("a", "discarded-later"), event("a", "tail"), event("a", "pending"))
	settle(t, o, "b", 2)
	settle(t, o, "a", 3)
	require.NoError(t, o.Park(ctx, "a", 4, Failure{}))
	settle(t, o, "a", 6, 5)
	settleTail(t, o, "a", 7, 7)

	prune := func() int {
		n, err := o.Prune(ctx)
		require.NoError(t, err)
		return n
	}
	clock.advance(time.Hour)
	require.Zero(t, prune(), "nothing is older than an hour")
	clock.advance(1)
	require.Equal(t, 4, prune())
	require.Equal(t, []string{"3 delivered snapshot", "4 parked parked", "7 delivered tail", "8 pending pending"}, states(t, o))
	p, err := o.Position(ctx, "a")
	require.NoError(t, err)
	require.EqualValues(t, 6, p.PrunedTo)
	require.EqualValues(t, 6, p.PrunedDelivered)
	require.Zero(t, topicStats(t, o, "a").Unheard)

	_, err = o.Replay(ctx, []uint64{4}, ReplayOptions{})
	require.NoError(t, err)
	settleTail(t, o, "a", 9, 0)
	require.Equal(t, 3, prune(), "the replayed one goes, and the tail, but not the newest snapshot")
	require.Equal(t, []string{"3 delivered snapshot", "9 delivered parked"}, states(t, o))
	stats, err := o.Stats(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 2, stats.Events)
}

func TestPruneWorksInSmallTransactionsUntilItIsDone(t *testing.T) {
	clock := newClock()
	o := openTemp(t, Options{Now: clock.Now})
	var list []Event
	for i := range 2*pruneStep + 1 {
		list = append(list, event("a", fmt.Sprint(i)))
	}
	add(t, o, list...)
	settle(t, o, "a", uint64(len(list)))
	clock.advance(DefaultRetention + 1)
	before := commits(t, o)
	n, err := o.Prune(ctx)
	require.NoError(t, err)
	require.Equal(t, len(list), n)
	require.Equal(t, before+3, commits(t, o))
	stats, err := o.Stats(ctx)
	require.NoError(t, err)
	require.Zero(t, stats.Bytes)
	require.EqualValues(t, len(list), stats.LastSequence, "no sequence is used again")
	require.Equal(t, []uint64{uint64(len(list) + 1)}, add(t, reopen(t, o), event("a", "next")))
}

// commits is how many transactions the file has seen.
func commits(t testing.TB, o *Outbox) (n int) {
	t.Helper()
	require.NoError(t, o.View(func(tx *bolt.Tx) error { n = tx.ID(); return nil }))
	return n
}

func TestPruneEndsWithItsContext(t *testing.T) {
	clock := newClock()
	o := openTemp(t, Options{Now: clock.Now})
	add(t, o, event("a", "1"))
	settle(t, o, "a", 1)
	clock.advance(DefaultRetention + 1)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	n, err := o.Prune(ended)
	require.ErrorIs(t, err, context.Canceled)
	require.Zero(t, n)
}

// Subscribers have what was delivered, also when it is in the file no more.
func TestReplay_OfASnapshotIsRefusedAlsoWhenTheNewerOneIsPruned(t *testing.T) {
	clock := newClock()
	o := openTemp(t, Options{Now: clock.Now})
	snapshot := func(id string) Event { e := event("a", id); e.Snapshot = true; return e }
	add(t, o, snapshot("old"), snapshot("delivered"), snapshot("refused"))
	require.NoError(t, o.Park(ctx, "a", 1, Failure{}))
	settle(t, o, "a", 2)
	require.NoError(t, o.Park(ctx, "a", 3, Failure{}))
	clock.advance(DefaultRetention + 1)
	n, err := o.Prune(ctx)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, []string{"1 parked old", "3 parked refused"}, states(t, o))

	result, err := o.Replay(ctx, []uint64{1, 3}, ReplayOptions{})
	require.NoError(t, err)
	require.Equal(t, ReplayResult{Matched: 2, Eligible: 1, Superseded: 1, Replayed: 1, Sequences: []uint64{4}}, result)
	require.Equal(t, []string{"1 parked old", "3 replayed refused", "4 pending refused"}, states(t, o))
}

func TestPrune_LooksAtParkedEventsOnce(t *testing.T) {
	clock := newClock()
	o := openTemp(t, Options{Now: clock.Now})
	const parked, delivered = 200, 300
	for i := range parked {
		sequence := add(t, o, event("parked", fmt.Sprint("p-", i)))[0]
		require.NoError(t, o.Park(ctx, "parked", sequence, Failure{}))
	}
	many := make([]Event, delivered)
	for i := range many {
		many[i] = event("delivered", fmt.Sprint("d-", i))
	}
	settle(t, o, "delivered", slices.Max(add(t, o, many...)))
	looks := func(prune int) (n int64) {
		abort := errors.New("not really")
		require.ErrorIs(t, o.Update(ctx, func(tx *bolt.Tx) error {
			stats := tx.Stats()
			before := stats.GetCursorCount()
			require.Equal(t, prune, o.ledger(tx).prune(func(_ candidate, removed int) bool { return removed < prune }))
			stats = tx.Stats()
			n = stats.GetCursorCount() - before
			return abort
		}), abort)
		return n
	}
	one := looks(1)
	require.Greater(t, one, int64(parked), "each parked event is a look")
	require.Less(t, looks(delivered-1)-one, int64(100*delivered), "the number of looks grows with what is removed, not with what is parked")
	clock.advance(2 * DefaultRetention)
	n, err := o.Prune(ctx)
	require.NoError(t, err)
	require.Equal(t, delivered, n)
}
