package outbox

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
)

func TestReplay(t *testing.T) {
	snapshot := func(id string) Event { e := event("a", id); e.Snapshot = true; return e }
	for name, tc := range map[string]struct {
		appended []Event
		unheard  []uint64 // of topic a, settled through the last event
		parked   []uint64 // before that
		replay   []uint64
		stale    bool
		want     ReplayResult
		states   []string
	}{
		"of a parked event closes it": {
			appended: events("a", "1", "2"), parked: []uint64{1}, replay: []uint64{1},
			want:   ReplayResult{Matched: 1, Eligible: 1, Replayed: 1, Sequences: []uint64{3}},
			states: []string{"1 replayed 1", "2 delivered 2", "3 pending 1"},
		},
		"of unheard events, named twice and out of order, keeps their order": {
			appended: events("a", "1", "2"), unheard: []uint64{1, 2}, replay: []uint64{2, 1, 2},
			want:   ReplayResult{Matched: 2, Eligible: 2, Replayed: 2, Sequences: []uint64{3, 4}},
			states: []string{"1 delivered 1", "2 delivered 2", "3 pending 1", "4 pending 2"},
		},
		"of a delivered event is refused": {
			appended: events("a", "1"), replay: []uint64{1},
			want:   ReplayResult{Matched: 1, Ineligible: 1, Sequences: []uint64{}},
			states: []string{"1 delivered 1"},
		},
		"of a snapshot that a newer one supersedes is refused": {
			appended: []Event{snapshot("1"), snapshot("2")}, unheard: []uint64{1}, replay: []uint64{1},
			want:   ReplayResult{Matched: 1, Superseded: 1, Sequences: []uint64{}},
			states: []string{"1 unheard 1", "2 delivered 2"},
		},
		"of a superseded snapshot can be forced": {
			appended: []Event{snapshot("1"), snapshot("2")}, unheard: []uint64{1}, replay: []uint64{1}, stale: true,
			want:   ReplayResult{Matched: 1, Eligible: 1, Replayed: 1, Sequences: []uint64{3}},
			states: []string{"1 delivered 1", "2 delivered 2", "3 pending 1"},
		},
		"of a snapshot is right when nobody has a newer one": {
			appended: []Event{snapshot("1"), snapshot("2")}, unheard: []uint64{1}, parked: nil, replay: []uint64{1, 2},
			want:   ReplayResult{Matched: 2, Superseded: 1, Ineligible: 1, Sequences: []uint64{}},
			states: []string{"1 unheard 1", "2 delivered 2"},
		},
		"of snapshots that nobody heard sends them in order": {
			appended: []Event{snapshot("1"), snapshot("2"), event("a", "3")}, unheard: []uint64{1, 2}, replay: []uint64{1, 2},
			want:   ReplayResult{Matched: 2, Eligible: 2, Replayed: 2, Sequences: []uint64{4, 5}},
			states: []string{"1 delivered 1", "2 delivered 2", "3 delivered 3", "4 pending 1", "5 pending 2"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := openTemp(t, Options{})
			add(t, o, tc.appended...)
			for _, sequence := range tc.parked {
				require.NoError(t, o.Park(ctx, "a", sequence, Failure{}))
			}
			settle(t, o, "a", uint64(len(tc.appended)), tc.unheard...)
			options := ReplayOptions{AllowStale: tc.stale, DryRun: true, Actor: "operator", Filter: "topic=a", Reason: "test"}

			before := states(t, o)
			dry, err := o.Replay(ctx, tc.replay, options)
			require.NoError(t, err)
			planned := tc.want
			planned.Replayed, planned.Sequences = 0, []uint64{}
			require.Equal(t, planned, dry, "a dry run counts the same")
			require.Equal(t, before, states(t, o))

			options.DryRun = false
			got, err := o.Replay(ctx, tc.replay, options)
			require.NoError(t, err)
			require.Equal(t, tc.want, got)
			require.Equal(t, tc.states, states(t, o))
			require.Len(t, audit(t, o), min(1, tc.want.Replayed), "an entry for each transaction that changed something")

			again, err := o.Replay(ctx, tc.replay, options)
			require.NoError(t, err)
			require.Zero(t, again.Replayed, "each is replayed once only")
		})
	}
}

func TestAReplayedSnapshotIsAsOldAsWhatItRepeats(t *testing.T) {
	o := openTemp(t, Options{})
	for _, id := range []string{"1", "2", "3"} {
		e := event("a", id)
		e.Snapshot = true
		add(t, o, e)
	}
	settle(t, o, "a", 2, 1, 2)
	require.NoError(t, o.Park(ctx, "a", 3, Failure{}))
	replay := func(sequence uint64) ReplayResult {
		result, err := o.Replay(ctx, []uint64{sequence}, ReplayOptions{})
		require.NoError(t, err)
		return result
	}
	require.Equal(t, []uint64{4}, replay(2).Sequences)
	require.Equal(t, 1, replay(1).Superseded, "subscribers have the state of #2, which is newer")
	settle(t, o, "a", 4, 4)
	require.Equal(t, []uint64{5}, replay(4).Sequences)
	entry, _, err := o.Get(ctx, 5)
	require.NoError(t, err)
	require.EqualValues(t, 2, entry.ReplayOf)
	require.True(t, entry.Snapshot)
	require.Equal(t, []uint64{6}, replay(3).Sequences, "the newest state of all")
	settle(t, o, "a", 6)
	add(t, o, event("a", "7"))
	settle(t, o, "a", 7)
	require.NoError(t, o.db.View(func(tx *bolt.Tx) error {
		require.EqualValues(t, 6, openLedger(tx).topic("a").snapshot, "which now is #6, and kept")
		return nil
	}))
}

func TestWhatWasReplayedAndNotHeardAgainKeepsItsPlace(t *testing.T) {
	for name, snapshot := range map[string]bool{"snapshots": true, "other events": false} {
		t.Run(name, func(t *testing.T) {
			o := openTemp(t, Options{})
			const n = StepEvents + 10 // the oldest one is in the last step, were they sorted by their sequences
			for i := range n {
				add(t, o, Event{Topic: "a", MessageID: fmt.Sprint(i + 1), Payload: []byte("x"), Snapshot: snapshot})
			}
			all := func() (unheard []uint64) {
				list, err := o.List(ctx, Filter{State: Unheard})
				require.NoError(t, err)
				for _, info := range list {
					unheard = append(unheard, info.Sequence)
				}
				return unheard
			}
			nobodyListens := func(through uint64) {
				var missed []uint64
				list, err := o.List(ctx, Filter{State: Pending})
				require.NoError(t, err)
				for _, info := range list {
					missed = append(missed, info.Sequence)
				}
				settle(t, o, "a", through, missed...)
			}
			nobodyListens(n)
			result, err := o.Replay(ctx, []uint64{1}, ReplayOptions{})
			require.NoError(t, err)
			require.Equal(t, []uint64{n + 1}, result.Sequences)
			nobodyListens(n + 1)

			result, err = o.Replay(ctx, all(), ReplayOptions{})
			require.NoError(t, err)
			require.Equal(t, n, result.Replayed)
			list, err := o.List(ctx, Filter{State: Pending})
			require.NoError(t, err)
			for i, info := range list {
				require.EqualValues(t, i+1, info.ReplayOf, "as they were appended first")
			}
			require.Len(t, list, n)
		})
	}
}

func TestAnOlderSnapshotStaysBehindTheReplayOfANewerOneAcrossCalls(t *testing.T) {
	o := openTemp(t, Options{})
	for _, id := range []string{"1", "2"} {
		add(t, o, Event{Topic: "a", MessageID: id, Payload: []byte("x"), Snapshot: true})
	}
	settle(t, o, "a", 2, 1, 2)
	_, err := o.Replay(ctx, []uint64{1}, ReplayOptions{})
	require.NoError(t, err)
	settle(t, o, "a", 3, 3)
	result, err := o.Replay(ctx, []uint64{2}, ReplayOptions{})
	require.NoError(t, err)
	require.Equal(t, []uint64{4}, result.Sequences)
	for _, dry := range []bool{true, false} {
		result, err = o.Replay(ctx, []uint64{3}, ReplayOptions{DryRun: dry})
		require.NoError(t, err)
		require.Equal(t, 1, result.Superseded, "#3 is as old as #1, #4 as #2")
	}
}

func TestReplayOfAnUnknownSequenceChangesNothing(t *testing.T) {
	o := openTemp(t, Options{})
	add(t, o, event("a", "1"))
	settle(t, o, "a", 1, 1)
	result, err := o.Replay(ctx, []uint64{1, 2}, ReplayOptions{})
	require.ErrorIs(t, err, ErrNotFound)
	require.ErrorContains(t, err, "#2")
	require.Zero(t, result.Replayed)
	require.Equal(t, []string{"1 unheard 1"}, states(t, o))
}

func TestReplayWorksInStepsAndGoesOnAfterAnInterruption(t *testing.T) {
	o := openTemp(t, Options{})
	const n = 2*StepEvents + 1
	var list []Event
	for i := range n {
		list = append(list, event("a", time.Duration(i).String()))
	}
	sequences := add(t, o, list...)
	settle(t, o, "a", n, sequences...)
	var steps []int
	_, err := o.Replay(ctx, append(sequences, 1<<40), ReplayOptions{Progress: func(done int) { steps = append(steps, done) }})
	require.ErrorIs(t, err, ErrNotFound, "in the last step")
	require.Equal(t, []int{StepEvents, 2 * StepEvents}, steps)
	result, err := o.Replay(ctx, sequences, ReplayOptions{})
	require.NoError(t, err)
	require.Equal(t, 1, result.Replayed, "only the rest")
	require.Len(t, audit(t, o), 3)
	s := topicStats(t, o, "a")
	require.EqualValues(t, []uint64{2 * n, n, n, 0}, []uint64{s.Appended, s.Delivered, s.Pending, s.Unheard})
}

func TestReplayThatDoesNotFitFailsAsAWhole(t *testing.T) {
	o := openTemp(t, Options{MaxBytes: 4000})
	payload := make([]byte, 1000)
	add(t, o, Event{Topic: "a", MessageID: "1", Payload: payload})
	require.NoError(t, o.Park(ctx, "a", 1, Failure{}))
	require.NoError(t, o.Close())
	o = openAt(t, o.Path(), Options{MaxBytes: 1500})
	_, err := o.Replay(ctx, []uint64{1}, ReplayOptions{})
	require.ErrorIs(t, err, ErrFull)
	require.Equal(t, []string{"1 parked 1"}, states(t, o))
}
