package outbox

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
)

func TestParkTakesTheFirstPendingEventOnly(t *testing.T) {
	o := openTemp(t, Options{})
	add(t, o, events("a", "1", "2", "3")...)
	failure := Failure{Attempts: 3, Class: "poison", Text: "too big"}
	settle(t, o, "a", 1)
	require.ErrorIs(t, o.Park(ctx, "a", 9, failure), ErrNotFound)
	require.ErrorIs(t, o.Park(ctx, "b", 2, failure), ErrNotFound)
	require.ErrorIs(t, o.Park(ctx, "a", 1, failure), ErrInvalid, "it was delivered")
	require.ErrorContains(t, o.Park(ctx, "a", 3, failure), "which is #2")
	require.NoError(t, o.Park(ctx, "a", 2, failure))
	require.NoError(t, o.Park(ctx, "a", 2, failure), "it is parked already")
	require.Equal(t, []string{"1 delivered 1", "2 parked 2", "3 pending 3"}, states(t, o))

	entries, err := o.Read(ctx, Range{Topic: "a", Events: 10, Bytes: 1000})
	require.NoError(t, err)
	require.Len(t, entries, 2, "the parked one is passed over")
	_, info, err := o.Get(ctx, 2)
	require.NoError(t, err)
	require.Equal(t, 3, info.Attempts)
	require.Equal(t, "poison: too big", info.LastError)

	settle(t, o, "a", 3, 2)
	s := topicStats(t, o, "a")
	require.EqualValues(t, []uint64{2, 1, 0}, []uint64{s.Delivered, s.Parked, s.Unheard}, "settled past it, it stays parked")
	require.ErrorContains(t, o.Park(ctx, "a", 3, failure), "0: none")
}

func TestAFreshOriginForgetsWhatRedisAcceptedAndHappensOnce(t *testing.T) {
	clock := newClock()
	o := openTemp(t, Options{Now: clock.Now})
	add(t, o, events("a", "1", "2")...)
	before := origin(t, o)
	require.NoError(t, o.Settle(ctx, Receipt{Topic: "a", Through: 1, Origin: before, Progress: Progress{Accepted: Mark{1, "1"}, TailFrom: 1, Run: "run"}}))
	fresh, err := o.NewOrigin(ctx, before, event("alerts", "3"))
	require.NoError(t, err)
	require.NotEqual(t, before, fresh)
	again, err := o.NewOrigin(ctx, before, event("alerts", "4"))
	require.NoError(t, err)
	require.Equal(t, fresh, again, "somebody else was first")
	_, err = o.NewOrigin(ctx, fresh, event("NO TOPIC", "4"))
	require.ErrorIs(t, err, ErrInvalid)

	stats, err := o.Stats(ctx)
	require.NoError(t, err)
	require.Equal(t, fresh, stats.Origin)
	require.EqualValues(t, 2, stats.Epoch)
	p, err := o.Position(ctx, "a")
	require.NoError(t, err)
	require.Equal(t, Position{Origin: fresh, Previous: []string{before}, Cursor: 1, Last: 2, Progress: Progress{Run: "run", TailFrom: 1}}, p)
	require.Equal(t, []string{"1 delivered 1", "2 pending 2", "3 pending 3"}, states(t, o))
	require.Len(t, audit(t, o), 1)
	require.Contains(t, audit(t, o)[0], `"action":"new origin","filter":"`+before)
}

func TestAFileRemembersItsFormerOriginsAndNotTooMany(t *testing.T) {
	o := openTemp(t, Options{})
	origins := []string{origin(t, o)}
	for range 20 {
		fresh, err := o.NewOrigin(ctx, origins[0])
		require.NoError(t, err)
		origins = append([]string{fresh}, origins...)
	}
	p, err := reopen(t, o).Position(ctx, "a")
	require.NoError(t, err)
	require.Equal(t, origins[0], p.Origin)
	require.Equal(t, origins[1:17], p.Previous)
}

func audit(t testing.TB, o *Outbox) (entries []string) {
	t.Helper()
	require.NoError(t, o.View(func(tx *bolt.Tx) error {
		for _, v := range openLedger(tx).from(auditBucket, 0) {
			entries = append(entries, string(v))
		}
		return nil
	}))
	return entries
}

func TestDamagedCountersOfOneTopicFailTheirOwnCallersOnly(t *testing.T) {
	o, err := Open(filepath.Join(t.TempDir(), "outbox.db"), Options{})
	require.NoError(t, err)
	defer o.Close()
	add(t, o, event("b", "one"))
	require.NoError(t, o.Park(ctx, "b", 1, Failure{}))
	require.NoError(t, o.db.Update(func(tx *bolt.Tx) error {
		return tx.Bucket([]byte(metaBucket)).Put([]byte("topic/b"), []byte("x"))
	}))
	entered, goOn := make(chan struct{}), make(chan struct{})
	first := make(chan error, 1)
	go func() {
		first <- o.Update(ctx, func(*bolt.Tx) error {
			close(entered)
			<-goOn
			return nil
		})
	}()
	<-entered
	parked, added := make(chan error, 1), make(chan error, 1)
	go func() { parked <- o.Park(ctx, "b", 1, Failure{}) }()
	requireQueued(t, o, 1)
	go func() {
		_, err := o.Add(ctx, event("a", "two"))
		added <- err
	}()
	requireQueued(t, o, 2) // both share the next commit
	close(goOn)
	require.NoError(t, <-first)
	require.ErrorIs(t, <-parked, ErrDamaged)
	require.NoError(t, <-added)
}
