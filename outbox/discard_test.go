package outbox

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
)

var givenUp = DiscardOptions{Actor: "operator", Filter: "topic=a", Reason: "of no use"}

func discard(t testing.TB, o *Outbox, sequences ...uint64) DiscardResult {
	t.Helper()
	result, err := o.Discard(ctx, sequences, givenUp)
	require.NoError(t, err)
	requireClean(t, o)
	return result
}

func TestDiscard(t *testing.T) {
	for name, tc := range map[string]struct {
		settled, parked uint64 // through #settled, then the next one is parked if parked is 1
		discard         []uint64
		want            DiscardResult
		states          []string
		cursor          uint64
	}{
		"of a parked event closes it": {
			settled: 1, parked: 1, discard: []uint64{2},
			want:   DiscardResult{Matched: 1, Eligible: 1, Discarded: 1},
			states: []string{"1 delivered 1", "2 discarded 2", "3 pending 3", "4 pending 4"}, cursor: 2,
		},
		"of the first pending event moves the cursor": {
			settled: 1, discard: []uint64{2},
			want:   DiscardResult{Matched: 1, Eligible: 1, Pending: 1, Discarded: 1},
			states: []string{"1 delivered 1", "2 discarded 2", "3 pending 3", "4 pending 4"}, cursor: 2,
		},
		"of a later pending event leaves the cursor": {
			settled: 1, discard: []uint64{3},
			want:   DiscardResult{Matched: 1, Eligible: 1, Pending: 1, Discarded: 1},
			states: []string{"1 delivered 1", "2 pending 2", "3 discarded 3", "4 pending 4"}, cursor: 1,
		},
		"of all, named twice and out of order": {
			settled: 1, parked: 1, discard: []uint64{4, 3, 2, 2, 1},
			want:   DiscardResult{Matched: 4, Eligible: 3, Pending: 2, Ineligible: 1, Discarded: 3},
			states: []string{"1 delivered 1", "2 discarded 2", "3 discarded 3", "4 discarded 4"}, cursor: 4,
		},
		"of a delivered event is refused": {
			settled: 1, discard: []uint64{1},
			want:   DiscardResult{Matched: 1, Ineligible: 1},
			states: []string{"1 delivered 1", "2 pending 2", "3 pending 3", "4 pending 4"}, cursor: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := openTemp(t, Options{})
			add(t, o, events("a", "1", "2", "3", "4")...)
			settle(t, o, "a", tc.settled)
			if tc.parked > 0 {
				require.NoError(t, o.Park(ctx, "a", tc.settled+1, Failure{}))
			}
			before := states(t, o)
			plan := givenUp
			plan.DryRun = true
			dry, err := o.Discard(ctx, tc.discard, plan)
			require.NoError(t, err)
			planned := tc.want
			planned.Discarded = 0
			require.Equal(t, planned, dry, "a dry run counts the same")
			require.Equal(t, before, states(t, o))

			require.Equal(t, tc.want, discard(t, o, tc.discard...))
			require.Equal(t, tc.states, states(t, o))
			s := topicStats(t, o, "a")
			require.EqualValues(t, []uint64{uint64(tc.want.Discarded), tc.cursor}, []uint64{s.Discarded, s.Cursor})
			require.Equal(t, s.Appended, s.Pending+s.Delivered+s.Parked+s.Discarded+s.Replayed)
			require.Len(t, audit(t, o), min(1, tc.want.Discarded))
			require.Zero(t, discard(t, o, tc.discard...).Discarded, "each once only")
		})
	}
}

func TestDiscardNeedsAReasonAndEventsThatExist(t *testing.T) {
	o := openTemp(t, Options{})
	add(t, o, events("a", "1", "2")...)
	_, err := o.Discard(ctx, []uint64{1}, DiscardOptions{Reason: " \n"})
	require.ErrorIs(t, err, ErrInvalid)
	_, err = o.Discard(ctx, []uint64{1, 9}, givenUp)
	require.ErrorIs(t, err, ErrNotFound)
	require.ErrorContains(t, err, "#9")
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	for _, dry := range []bool{false, true} {
		_, err = o.Discard(cancelled, []uint64{1}, DiscardOptions{Reason: "x", DryRun: dry})
		require.ErrorIs(t, err, context.Canceled)
	}
	require.Equal(t, []string{"1 pending 1", "2 pending 2"}, states(t, o))
	require.Empty(t, audit(t, o))
	require.Equal(t, DiscardResult{}, discard(t, o))
}

func TestWhatIsDeliveredButNotYetSettledIsNotDiscarded(t *testing.T) {
	for _, dry := range []bool{false, true} {
		o := openTemp(t, Options{})
		add(t, o, event("a", "1"))
		require.NoError(t, o.Settle(ctx, Receipt{Topic: "a", Through: 1, Origin: origin(t, o)}))
		result, err := o.Discard(ctx, []uint64{1}, DiscardOptions{Reason: "x", DryRun: dry})
		require.NoError(t, err)
		require.Equal(t, DiscardResult{Matched: 1, Ineligible: 1}, result)
	}
}

func TestAnEventThatIsDiscardedInFlightStaysDiscarded(t *testing.T) {
	for name, flying := range map[string][]uint64{"the first": {1}, "a later one": {2}, "the last": {3}, "all": {1, 2, 3}} {
		t.Run(name, func(t *testing.T) {
			o := openTemp(t, Options{})
			add(t, o, events("a", "1", "2", "3")...)
			n := uint64(discard(t, o, flying...).Discarded) // the relay has read them before
			settle(t, o, "a", 3, 1, 2, 3)
			s := topicStats(t, o, "a")
			require.Equal(t, []uint64{n, 3 - n, 3 - n, 0, 3}, []uint64{s.Discarded, s.Delivered, s.Unheard, s.Pending, s.Cursor})
			requireClean(t, o)
			require.ErrorIs(t, o.Park(ctx, "a", flying[0], Failure{}), ErrInvalid, "as the relay expects of one that an operator took")
		})
	}
}

func TestDiscardedEventsAreNeitherReadNorReplayed(t *testing.T) {
	o := openTemp(t, Options{})
	add(t, o, events("a", "1", "2", "3")...)
	discard(t, o, 2)
	entries, err := o.Read(ctx, Range{Topic: "a", Events: 9, Bytes: 1000})
	require.NoError(t, err)
	require.Len(t, entries, 2)
	replayed, err := o.Replay(ctx, []uint64{2}, ReplayOptions{})
	require.NoError(t, err)
	require.Equal(t, 1, replayed.Ineligible)
	require.NoError(t, o.Park(ctx, "a", 1, Failure{}))
	require.EqualValues(t, 2, topicStats(t, o, "a").Cursor, "it passes over #2, too")
}

func TestDiscardingWhatIsParkedMakesRoom(t *testing.T) {
	o := openTemp(t, Options{MaxBytes: 6000})
	big := func(id string) Event { return Event{Topic: "a", MessageID: id, Payload: noise(1000)} }
	add(t, o, big("1"), big("2"))
	require.NoError(t, o.Park(ctx, "a", 1, Failure{}))
	_, err := o.Add(ctx, big("3"))
	require.ErrorIs(t, err, ErrFull)
	discard(t, o, 1, 2)
	add(t, o, big("3"))
	require.Equal(t, []string{"2 discarded 2", "3 pending 3"}, states(t, o))
}

func TestTheNewestSnapshotStaysWhenItIsDiscarded(t *testing.T) {
	clock := newClock()
	o := openTemp(t, Options{Now: clock.Now})
	e := event("a", "1")
	e.Snapshot = true
	add(t, o, e, event("a", "2"))
	discard(t, o, 1, 2)
	clock.advance(DefaultRetention + time.Second)
	n, err := o.Prune(ctx)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, []string{"1 discarded 1"}, states(t, o))
}

func TestDiscardWorksInStepsAndGoesOnAfterAnInterruption(t *testing.T) {
	o := openTemp(t, Options{})
	const n = 2*StepEvents + 1
	var list []Event
	for i := range n {
		list = append(list, event("a", fmt.Sprint(i)))
	}
	sequences := add(t, o, list...)
	var steps []int
	opts := givenUp
	opts.Progress = func(done int) { steps = append(steps, done) }
	result, err := o.Discard(ctx, append(sequences, 1<<40), opts)
	require.ErrorIs(t, err, ErrNotFound, "in the last step")
	require.Equal(t, []int{StepEvents, 2 * StepEvents}, steps)
	require.Equal(t, 2*StepEvents, result.Discarded)
	require.Equal(t, 1, discard(t, o, sequences...).Discarded, "only the rest")
	entries, err := o.Audit(ctx, 0)
	require.NoError(t, err)
	require.Len(t, entries, 3)
	require.Equal(t, 1, entries[2].Count)
}

func TestAuditTellsTheNewestLast(t *testing.T) {
	clock := newClock()
	o := openTemp(t, Options{Now: clock.Now})
	entries, err := o.Audit(ctx, 0)
	require.NoError(t, err)
	require.Empty(t, entries)
	require.NotNil(t, entries)
	add(t, o, events("a", "1", "2")...)
	discard(t, o, 1)
	clock.advance(time.Hour)
	discard(t, o, 2)
	want := AuditEntry{Time: clock.Now(), Actor: "operator", Action: "discard", Filter: "topic=a", Count: 1, Reason: "of no use"}
	entries, err = o.Audit(ctx, 1)
	require.NoError(t, err)
	require.Equal(t, []AuditEntry{want}, entries)
	entries, err = o.Audit(ctx, 0)
	require.NoError(t, err)
	require.Len(t, entries, 2)
	require.Equal(t, want, entries[1])
	_, err = o.Audit(ctx, -1)
	require.ErrorIs(t, err, ErrInvalid)

	require.NoError(t, o.db.Update(func(tx *bolt.Tx) error { return tx.Bucket([]byte(auditBucket)).Put(sequenceKey(2), []byte("no JSON")) }))
	_, err = o.Audit(ctx, 0)
	require.ErrorIs(t, err, ErrDamaged)
}

func TestVerifyFindsClosedEventsWhereNoneCanBe(t *testing.T) {
	for _, tc := range []struct {
		sequence uint64
		action   State
		want     string
	}{
		{2, Replayed, "a #2: marked in matchrelay/closed/, but not a settled event of the log"},
		{1, Discarded, "a: the cursor #0 should have passed over #1, which is not pending"},
	} {
		o := openAt(t, t.TempDir()+"/outbox.db", Options{})
		add(t, o, events("a", "1", "2")...)
		require.NoError(t, o.db.Update(func(tx *bolt.Tx) error {
			l := openLedger(tx)
			l.encode(closedPrefix+"a", tc.sequence, closing{Action: tc.action})
			l.topic("a").discarded++
			return l.save()
		}))
		report, err := o.Verify(ctx)
		require.NoError(t, err)
		require.Equal(t, []string{tc.want}, report.Problems)
	}
}
