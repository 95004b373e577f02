package outbox

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
)

func TestSettleRefusesWhatItCouldNotStore(t *testing.T) {
	o := openTemp(t, Options{})
	for name, r := range map[string]Receipt{
		"no topic":                         {},
		"an accepted ID that is no ID":     {Topic: "a", Progress: Progress{Accepted: Mark{1, "a b"}}},
		"an accepted ID that is too long":  {Topic: "a", Progress: Progress{Accepted: Mark{1, strings.Repeat("a", 65)}}},
		"a run that is longer than a byte": {Topic: "a", Progress: Progress{Run: strings.Repeat("r", 256)}},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorIs(t, o.Settle(ctx, r), ErrInvalid)
		})
	}
}

func TestAReceiptMovesTheCursorAndCountsEachEventOnce(t *testing.T) {
	o := openTemp(t, Options{})
	add(t, o, events("a", "1", "2", "3", "4")...)
	add(t, o, events("b", "5")...)
	origin := origin(t, o)
	progress := Progress{Accepted: Mark{3, "3"}, Run: "run", TailFrom: 2, Receivers: 2}
	for name, r := range map[string]Receipt{
		"once":                  {Topic: "a", Through: 3, Unheard: []uint64{2, 9, 5}, Origin: origin, Progress: progress},
		"the same again":        {Topic: "a", Through: 3, Unheard: []uint64{2}, Origin: origin, Progress: progress},
		"one behind the cursor": {Topic: "a", Through: 1, Unheard: []uint64{2}, Origin: origin, Progress: progress},
	} {
		t.Run(name, func(t *testing.T) {
			settle(t, o, "a", 3, 2, 9, 5)
			require.NoError(t, o.Settle(ctx, r))
			require.NoError(t, o.Flush(ctx))
			require.Equal(t, []string{"1 delivered 1", "2 unheard 2", "3 delivered 3", "4 pending 4", "5 pending 5"}, states(t, o))
			s := topicStats(t, o, "a")
			require.EqualValues(t, []uint64{3, 1, 1, 3}, []uint64{s.Delivered, s.Unheard, s.Pending, s.Cursor})
			require.Equal(t, progress, s.Progress)
		})
	}
	t.Run("one that tells late that no one heard an event", func(t *testing.T) {
		settle(t, o, "a", 3, 1)
		require.Equal(t, []string{"1 unheard 1", "2 unheard 2", "3 delivered 3", "4 pending 4", "5 pending 5"}, states(t, o))
	})
	t.Run("one beyond the last event", func(t *testing.T) {
		settle(t, o, "a", 1000)
		require.EqualValues(t, 4, topicStats(t, o, "a").Cursor)
	})
	t.Run("one for a topic without events keeps its progress", func(t *testing.T) {
		require.NoError(t, o.Settle(ctx, Receipt{Topic: "new", Through: 7, Progress: Progress{Receivers: 5}}))
		p, err := o.Position(ctx, "new")
		require.NoError(t, err)
		require.Zero(t, p.Progress.Receivers, "what is not flushed does not show")
		require.NoError(t, o.Flush(ctx))
		p, err = o.Position(ctx, "new")
		require.NoError(t, err)
		require.Equal(t, Position{Origin: origin, Progress: Progress{Receivers: 5}}, p)
	})
}

func origin(t testing.TB, o *Outbox) string {
	t.Helper()
	p, err := o.Position(ctx, "a")
	require.NoError(t, err)
	return p.Origin
}

func TestReceiptsOfOneTopicAreMerged(t *testing.T) {
	o := openTemp(t, Options{})
	add(t, o, events("a", "1", "2", "3")...)
	origin := origin(t, o)
	require.NoError(t, o.Settle(ctx, Receipt{Topic: "a", Through: 2, Unheard: []uint64{1}, Origin: origin, Progress: Progress{Receivers: 1}}))
	require.NoError(t, o.Settle(ctx, Receipt{Topic: "a", Through: 1, Unheard: []uint64{2}, Origin: origin, Progress: Progress{Receivers: 2}}))
	require.NoError(t, o.Flush(ctx))
	require.Equal(t, []string{"1 unheard 1", "2 unheard 2", "3 pending 3"}, states(t, o))
	require.Equal(t, 2, topicStats(t, o, "a").Progress.Receivers, "the later progress holds")
}

func TestAReceiptRidesOnTheNextCommitAndSurvivesItsRollBack(t *testing.T) {
	o := openTemp(t, Options{})
	add(t, o, events("a", "1", "2")...)
	require.NoError(t, o.Settle(ctx, Receipt{Topic: "a", Through: 1, Unheard: []uint64{1}}))
	require.Error(t, o.Update(ctx, func(*bolt.Tx) error {
		require.NoError(t, o.Settle(ctx, Receipt{Topic: "a", Through: 2, Unheard: []uint64{2}}), "while a commit has the first in hand")
		return errors.New("refused")
	}))
	require.Equal(t, []string{"1 pending 1", "2 pending 2"}, states(t, o))
	add(t, o, event("a", "3"))
	require.Equal(t, []string{"1 unheard 1", "2 unheard 2", "3 pending 3"}, states(t, o))
	require.NoError(t, o.Flush(ctx), "nothing is left")
}

func TestFlushWaitsForACommitThatHasTheReceiptsInHand(t *testing.T) {
	o := openTemp(t, Options{})
	add(t, o, event("a", "1"))
	require.NoError(t, o.Settle(ctx, Receipt{Topic: "a", Through: 1}))
	release := holdCommit(t, o)
	flushed := make(chan error, 1)
	go func() { flushed <- o.Flush(ctx) }()
	requireQueued(t, o, 1)
	require.NoError(t, release())
	require.NoError(t, <-flushed)
	require.Equal(t, []string{"1 delivered 1"}, states(t, o))
}

func TestAReceiptIsWrittenWithinASecondThoughNobodyCommits(t *testing.T) {
	path := t.TempDir() + "/outbox.db"
	synctest.Test(t, func(t *testing.T) {
		o, err := Open(path, Options{})
		require.NoError(t, err)
		add(t, o, event("a", "1"))
		require.NoError(t, o.Settle(ctx, Receipt{Topic: "a", Through: 1}))
		time.Sleep(time.Second) // of the bubble's clock
		synctest.Wait()
		require.Equal(t, []string{"1 delivered 1"}, states(t, o))
		require.NoError(t, o.Close())
	})
	requireSound(t, path)
}

func TestAReceiptThatCannotBeWrittenIsTriedAgain(t *testing.T) {
	path := t.TempDir() + "/outbox.db"
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		o, err := Open(path, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		require.NoError(t, err)
		add(t, o, event("a", "1"))
		var counters []byte
		swap := func(value []byte) {
			require.NoError(t, o.db.Update(func(tx *bolt.Tx) error {
				l := openLedger(tx)
				counters = bytes.Clone(l.get(metaBucket, []byte("topic/a")))
				l.put(metaBucket, []byte("topic/a"), value)
				return l.err
			}))
		}
		swap([]byte("cut"))
		require.NoError(t, o.Settle(ctx, Receipt{Topic: "a", Through: 1}))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.Equal(t, 1, strings.Count(log.String(), "cannot settle"), "with one warning")
		swap(counters)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.Equal(t, []string{"1 delivered 1"}, states(t, o))
		require.NoError(t, o.Close())
	})
	requireSound(t, path)
}

func TestCloseWritesWhatIsSettledAndTheTimerTouchesNothingAfterwards(t *testing.T) {
	path := t.TempDir() + "/outbox.db"
	synctest.Test(t, func(t *testing.T) {
		o, err := Open(path, Options{})
		require.NoError(t, err)
		add(t, o, event("a", "1"))
		require.NoError(t, o.Settle(ctx, Receipt{Topic: "a", Through: 1}))
		require.NoError(t, o.Close())
		time.Sleep(time.Minute)
		o, err = Open(path, Options{})
		require.NoError(t, err)
		require.Equal(t, []string{"1 delivered 1"}, states(t, o))
		require.NoError(t, o.Close())
	})
	requireSound(t, path)
}

func TestAReceiptOfAnEarlierOriginKeepsTheCursorButNotWhatRedisAccepted(t *testing.T) {
	o := openTemp(t, Options{})
	add(t, o, events("a", "1", "2")...)
	before := origin(t, o)
	_, err := o.NewOrigin(ctx, before)
	require.NoError(t, err)
	require.NoError(t, o.Settle(ctx, Receipt{Topic: "a", Through: 1, Origin: before,
		Progress: Progress{Accepted: Mark{1, "1"}, TailFrom: 1, Run: "run", Receivers: 2}}))
	require.NoError(t, o.Flush(ctx))
	p, err := o.Position(ctx, "a")
	require.NoError(t, err)
	require.EqualValues(t, 1, p.Cursor)
	require.Equal(t, Progress{Run: "run", TailFrom: 1, Receivers: 2}, p.Progress)
}

func TestFlushGivesUpWithItsContext(t *testing.T) {
	o := openTemp(t, Options{})
	require.NoError(t, o.Settle(ctx, Receipt{Topic: "a"}))
	ended, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, o.Flush(ended), context.Canceled)
}
