package outbox

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
)

// openSample opens an outbox with two topics, of which #2 is parked, #3 unheard and #5 a snapshot with a key.
// It is not verified when the test has ended.
func openSample(t testing.TB) *Outbox {
	t.Helper()
	o := openAt(t, filepath.Join(t.TempDir(), "outbox.db"), Options{})
	last := event("a", "5")
	last.Snapshot, last.Key = true, "key"
	add(t, o, event("a", "1"), event("a", "2"), event("a", "3"), event("b", "4"), last)
	settle(t, o, "a", 1)
	require.NoError(t, o.Park(ctx, "a", 2, Failure{}))
	settle(t, o, "a", 3, 3)
	require.NoError(t, o.Update(ctx, func(tx *bolt.Tx) error { // a processor's own, nested
		b, err := tx.CreateBucketIfNotExists([]byte("own"))
		if err != nil {
			return err
		}
		inner, err := b.CreateBucketIfNotExists([]byte("inner"))
		if err != nil {
			return err
		}
		return inner.Put([]byte("key"), []byte("value"))
	}))
	requireClean(t, o)
	return o
}

func TestVerifyFindsEveryKindOfDamage(t *testing.T) {
	counters := func(change func(s *topicState)) func(l *ledger) {
		return func(l *ledger) { change(l.topic("a")); l.err = l.save() }
	}
	for name, tc := range map[string]struct {
		damage func(l *ledger)
		want   string
	}{
		"a flipped byte in a record": {func(l *ledger) {
			v := bytes.Clone(l.record("a", 1))
			v[len(v)-1] ^= 1
			l.put(logPrefix+"a", sequenceKey(1), v)
		}, "a #1: checksum mismatch"},
		"a missing event":             {func(l *ledger) { l.remove(logPrefix+"b", sequenceKey(4)) }, "events #4 to #4 are missing"},
		"a missing newest event":      {func(l *ledger) { l.remove(logPrefix+"a", sequenceKey(5)) }, "events #5 to #5 are missing"},
		"a log that ends too early":   {func(l *ledger) { l.remove(logPrefix+"a", sequenceKey(5)) }, "the newest event should be #5, the log ends at #3"},
		"a pruned snapshot":           {func(l *ledger) { l.setNumber(shownPrefix+"a", 9) }, "snapshot #9 is said to be pruned, and that has come to #0"},
		"a pruned delivered event":    {func(l *ledger) { l.setNumber(givenPrefix+"a", 9) }, "delivered #9 is said to be pruned, and that has come to #0"},
		"a missing snapshot":          {counters(func(s *topicState) { s.snapshot = 9 }), "snapshot #9 is missing"},
		"a wrong number of events":    {counters(func(s *topicState) { s.appended++ }), "the counter says 5 events, the log has 4"},
		"a wrong sum of events":       {counters(func(s *topicState) { s.appended++; s.pruned++ }), "count 6 events, the last sequence is #5"},
		"a wrong number delivered":    {counters(func(s *topicState) { s.delivered-- }), "2 pending, the log has 1"},
		"a wrong number parked":       {counters(func(s *topicState) { s.parked, s.delivered = 2, 1 }), "2 parked, the log has 1"},
		"a wrong number unheard":      {counters(func(s *topicState) { s.unheard = 0 }), "0 unheard, the log has 1"},
		"a wrong size":                {counters(func(s *topicState) { s.bytes++ }), "a: the counter says"},
		"a wrong total size":          {func(l *ledger) { l.setNumber(keyBytes, 1) }, "all topics: the counter says 1 bytes"},
		"a cursor behind the end":     {counters(func(s *topicState) { s.cursor = 9 }), "contradict"},
		"accepted behind the end":     {counters(func(s *topicState) { s.Accepted.Sequence = 9 }), "contradict"},
		"pruned behind the cursor":    {counters(func(s *topicState) { s.prunedTo = 4 }), "contradict"},
		"parked but not there":        {func(l *ledger) { l.put(parkedPrefix+"a", sequenceKey(7), []byte("{}")) }, "a #7: marked in matchrelay/parked/"},
		"unheard but pending":         {func(l *ledger) { l.put(unheardPrefix+"a", sequenceKey(5), []byte{}) }, "a #5: marked in matchrelay/unheard/"},
		"closed but never counted":    {func(l *ledger) { l.put(closedPrefix+"a", sequenceKey(1), []byte("{}")) }, "1 events are marked discarded or replayed, the counters say 0"},
		"a key without its index":     {func(l *ledger) { l.remove(keysBucket, []byte("key")) }, "a #5: the index of idempotency keys"},
		"a key that points nowhere":   {func(l *ledger) { l.put(keysBucket, []byte("other"), sequenceKey(9)) }, "points to event #9"},
		"counters that are cut":       {func(l *ledger) { l.put(metaBucket, []byte("topic/a"), []byte("cut")) }, "counters of topic a: the outbox file is damaged"},
		"a topic without counters":    {func(l *ledger) { l.remove(metaBucket, []byte("topic/b")) }, "the topics count 4 events"},
		"an unknown record version":   {func(l *ledger) { l.put(logPrefix+"b", sequenceKey(4), bytes.Repeat([]byte{9}, 50)) }, "b #4: record version 9"},
		"a record that is too short":  {func(l *ledger) { l.put(logPrefix+"b", sequenceKey(4), []byte{1}) }, "b #4: record of 1 bytes is too short"},
		"a last sequence that is low": {func(l *ledger) { l.setNumber(keyLast, 3) }, "the last sequence is #3"},
	} {
		t.Run(name, func(t *testing.T) {
			o := openSample(t)
			require.NoError(t, o.db.Update(func(tx *bolt.Tx) error {
				l := openLedger(tx)
				tc.damage(l)
				return l.save()
			}))
			report, err := o.Verify(ctx)
			require.NoError(t, err)
			require.Contains(t, strings.Join(report.Problems, "\n"), tc.want)
		})
	}
}

func TestAFileWithoutTheOutboxesBucketIsForeignToEverything(t *testing.T) {
	o := openSample(t)
	require.NoError(t, o.db.Update(func(tx *bolt.Tx) error { return tx.DeleteBucket([]byte(metaBucket)) }))
	_, err := o.Verify(ctx)
	require.ErrorIs(t, err, ErrForeign)
	_, err = o.Stats(ctx)
	require.ErrorIs(t, err, ErrForeign)
	_, err = o.List(ctx, Filter{})
	require.ErrorIs(t, err, ErrForeign)
	_, err = o.Prune(ctx)
	require.ErrorIs(t, err, ErrForeign)
	_, err = o.Add(ctx, event("a", "6"))
	require.ErrorIs(t, err, ErrForeign)
	_, err = o.Add(ctx)
	require.ErrorIs(t, err, ErrForeign)
	_, err = o.Read(ctx, Range{Topic: "a"})
	require.ErrorIs(t, err, ErrForeign)
	_, err = o.NewOrigin(ctx, "")
	require.ErrorIs(t, err, ErrForeign)
	_, err = o.Replay(ctx, []uint64{2}, ReplayOptions{})
	require.ErrorIs(t, err, ErrForeign)
	require.NoError(t, o.Settle(ctx, Receipt{Topic: "a"}))
	require.ErrorIs(t, o.Flush(ctx), ErrForeign)
	require.ErrorIs(t, o.Close(), ErrForeign, "the receipt could not be written")
}

func TestDamagedCountersStopEveryWriteOfTheirTopic(t *testing.T) {
	o := openSample(t)
	require.NoError(t, o.db.Update(func(tx *bolt.Tx) error {
		l := openLedger(tx)
		l.put(metaBucket, []byte("topic/a"), []byte("cut"))
		return l.err
	}))
	_, err := o.Add(ctx, event("a", "6"))
	require.ErrorIs(t, err, ErrDamaged)
	require.ErrorContains(t, err, "counters of topic a")
	_, err = o.Position(ctx, "a")
	require.ErrorIs(t, err, ErrDamaged)
	p, err := o.Position(ctx, "b")
	require.NoError(t, err)
	_, err = o.NewOrigin(ctx, p.Origin)
	require.ErrorIs(t, err, ErrDamaged)
	add(t, o, event("b", "6"))
}

func TestVerifyWhileOthersWrite(t *testing.T) {
	o := openTemp(t, Options{})
	done := make(chan struct{})
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				cancelled, cancel := context.WithCancel(ctx)
				time.AfterFunc(time.Duration(i%5)*100*time.Microsecond, cancel) // some while they wait
				_, err := o.Add(cancelled, Event{Topic: "a", MessageID: fmt.Sprint(w, "-", i), Payload: []byte("x")})
				if err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
				cancel()
			}
		})
	}
	for range 20 {
		requireClean(t, o)
	}
	close(done)
	writers.Wait()
	require.ErrorIs(t, o.Update(ctx, func(*bolt.Tx) error { _, err := o.Verify(ctx); return err }), ErrNested)
}

func TestADamagedRecordIsReportedAndCanBeParkedAndPruned(t *testing.T) {
	clock := newClock()
	o := openAt(t, filepath.Join(t.TempDir(), "outbox.db"), Options{Now: clock.Now})
	e := event("a", "1")
	e.Key = "key"
	add(t, o, e, event("a", "2"), event("a", "3"))
	require.NoError(t, o.db.Update(func(tx *bolt.Tx) error {
		l := openLedger(tx)
		size := len(l.record("a", 1))
		l.put(logPrefix+"a", sequenceKey(1), bytes.Repeat([]byte{0xff}, size))
		v := bytes.Clone(l.record("a", 2))
		v[len(v)-1] ^= 1
		l.put(logPrefix+"a", sequenceKey(2), v)
		return l.err
	}))
	entries, err := o.Read(ctx, Range{Topic: "a", Events: 9, Bytes: 1000})
	require.NoError(t, err)
	require.Len(t, entries, 3)
	require.ErrorContains(t, entries[0].Err, "record version 255")
	require.ErrorIs(t, entries[1].Err, errCRC)
	require.NoError(t, entries[2].Err)
	id, err := o.MessageID(ctx, "a", 1)
	require.NoError(t, err)
	require.Empty(t, id, "of a record that cannot be read")
	_, info, err := o.Get(ctx, 1)
	require.NoError(t, err)
	require.Equal(t, Pending, info.State)
	require.Contains(t, info.LastError, "record version")

	require.NoError(t, o.Park(ctx, "a", 1, Failure{Class: "damaged"}))
	require.NoError(t, o.Park(ctx, "a", 2, Failure{Class: "damaged"}))
	result, err := o.Replay(ctx, []uint64{1, 2}, ReplayOptions{AllowStale: true})
	require.NoError(t, err)
	require.Equal(t, 2, result.Ineligible)
	require.NoError(t, o.db.Update(func(tx *bolt.Tx) error { // as if it had been damaged after its delivery
		l := openLedger(tx)
		l.remove(parkedPrefix+"a", sequenceKey(1))
		l.topic("a").parked--
		l.topic("a").delivered++
		return l.save()
	}))
	n, err := o.Prune(ctx)
	require.NoError(t, err)
	require.Equal(t, 1, n, "before the retention period has ended, for it is of no use")
	report, err := o.Verify(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"a #2: checksum mismatch", "an idempotency key points to event #1, which is not there"}, report.Problems)
	require.Equal(t, []uint64{4}, add(t, o, e), "the key that was left behind is not trusted")
	report, err = o.Verify(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"a #2: checksum mismatch"}, report.Problems)
}

func TestMarksThatCannotBeReadAreDamage(t *testing.T) {
	for _, prefix := range []string{parkedPrefix, closedPrefix} {
		o := openSample(t)
		require.NoError(t, o.db.Update(func(tx *bolt.Tx) error {
			l := openLedger(tx)
			l.put(prefix+"a", sequenceKey(1), []byte("no JSON"))
			return l.err
		}))
		_, _, err := o.Get(ctx, 1)
		require.ErrorIs(t, err, ErrDamaged)
		_, err = o.Replay(ctx, []uint64{1}, ReplayOptions{})
		require.ErrorIs(t, err, ErrDamaged)
	}
}

func TestNoFlippedByteOfAMetaPageOrAPageHeaderEndsTheProcess(t *testing.T) {
	o := openSample(t)
	require.NoError(t, o.Close())
	whole, err := os.ReadFile(o.Path())
	require.NoError(t, err)
	pageSize := int(binary.LittleEndian.Uint32(whole[metaOffset+metaPageSize:]))
	found := 0
	for page := range len(whole) / pageSize {
		end := 16 // of the page's header
		if page < 2 {
			end += metaSize
		}
		for offset := range end {
			damaged := bytes.Clone(whole)
			damaged[page*pageSize+offset] ^= 0xff
			path := filepath.Join(t.TempDir(), fmt.Sprintf("%d-%d.db", page, offset))
			require.NoError(t, os.WriteFile(path, damaged, 0o600))
			o, err := Open(path, Options{})
			if err != nil {
				found++
				continue
			}
			report, err := o.Verify(ctx)
			require.NoError(t, err)
			if len(report.Problems) > 0 {
				found++
			} else {
				_, err = o.Stats(ctx)
				require.NoError(t, err)
				_, err = o.Add(ctx, event("a", "new"), event("b", "new-too"))
				require.NoError(t, err)
			}
			_ = o.Close()
		}
	}
	require.NotZero(t, found)
}
