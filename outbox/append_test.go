package outbox

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
)

func TestAppendChecksEveryEventBeforeItWritesOne(t *testing.T) {
	o := openTemp(t, Options{MaxEventBytes: 100})
	good := event("a", "good")
	for name, tc := range map[string]struct {
		spoil func(e *Event)
		want  error
		text  string
	}{
		"no topic":                     {func(e *Event) { e.Topic = "" }, ErrInvalid, `topic ""`},
		"a topic with capitals":        {func(e *Event) { e.Topic = "Topic" }, ErrInvalid, `topic "Topic"`},
		"a topic of 65 bytes":          {func(e *Event) { e.Topic = strings.Repeat("a", 65) }, ErrInvalid, "1 to 64"},
		"no message ID":                {func(e *Event) { e.MessageID = "" }, ErrInvalid, "message ID"},
		"a message ID with a space":    {func(e *Event) { e.MessageID = "a b" }, ErrInvalid, "message ID"},
		"a message ID beyond ASCII":    {func(e *Event) { e.MessageID = "å" }, ErrInvalid, "message ID"},
		"a message ID of 65 bytes":     {func(e *Event) { e.MessageID = strings.Repeat("a", 65) }, ErrInvalid, "1 to 64"},
		"the message ID of another":    {func(e *Event) { e.MessageID = "good" }, ErrInvalid, "given twice"},
		"a key of 201 bytes":           {func(e *Event) { e.Key = strings.Repeat("k", 201) }, ErrInvalid, "key of 201"},
		"a trace parent of 201 bytes":  {func(e *Event) { e.TraceParent = strings.Repeat("t", 201) }, ErrInvalid, "trace parent of 201"},
		"no payload":                   {func(e *Event) { e.Payload = nil }, ErrInvalid, "payload of message bad is empty"},
		"a payload that is over limit": {func(e *Event) { e.Payload = make([]byte, 101) }, ErrTooLarge, "101 bytes, the limit is 100"},
	} {
		t.Run(name, func(t *testing.T) {
			bad := event("a", "bad")
			tc.spoil(&bad)
			sequences, err := o.Add(ctx, good, bad)
			require.ErrorIs(t, err, tc.want)
			require.ErrorContains(t, err, tc.text)
			require.Nil(t, sequences)
			require.Empty(t, states(t, o))
		})
	}
}

func TestAppendWantsAnOpenWriteTransactionOfItsOwnDatabase(t *testing.T) {
	o, other := openTemp(t, Options{}), openTemp(t, Options{})
	require.NoError(t, o.View(func(tx *bolt.Tx) error {
		_, err := o.Append(tx, event("a", "id"))
		require.ErrorIs(t, err, ErrInvalid)
		return nil
	}))
	var ended *bolt.Tx
	require.NoError(t, other.Update(ctx, func(tx *bolt.Tx) error {
		ended = tx
		_, err := o.Append(tx, event("a", "id"))
		require.ErrorIs(t, err, ErrInvalid)
		return nil
	}))
	for _, tx := range []*bolt.Tx{nil, ended} {
		_, err := o.Append(tx, event("a", "id"))
		require.ErrorIs(t, err, ErrInvalid)
	}
}

func TestAppendInATransactionOfTheCallersOwn(t *testing.T) {
	db, err := bolt.Open(filepath.Join(t.TempDir(), "own.db"), 0o600, nil)
	require.NoError(t, err)
	defer db.Close()
	o, err := New(db, Options{})
	require.NoError(t, err)
	appendOwn := func(id string, result error) error {
		return db.Update(func(tx *bolt.Tx) error {
			require.NoError(t, putState(tx, id))
			_, err := o.Append(tx, event("a", id))
			require.NoError(t, err)
			return result
		})
	}
	require.NoError(t, appendOwn("one", nil))
	require.Error(t, appendOwn("rolled-back", fmt.Errorf("refused")))
	require.NoError(t, appendOwn("two", nil))
	require.Equal(t, []string{"one", "two"}, stateKeys(t, o))
	require.Equal(t, []string{"1 pending one", "2 pending two"}, states(t, o))
	requireClean(t, o)

	require.NoError(t, o.Settle(ctx, Receipt{Topic: "a", Through: 1}))
	require.NoError(t, o.Close(), "Close writes the receipt and leaves the database open")
	again, err := New(db, Options{})
	require.NoError(t, err, "the buckets are there already")
	require.Equal(t, []string{"1 delivered one", "2 pending two"}, states(t, again))
	require.NoError(t, again.Close())
}

func TestSequencesAreDenseOverAllTopicsAndSurviveReopening(t *testing.T) {
	o := openTemp(t, Options{})
	require.Equal(t, []uint64{1, 2}, add(t, o, event("a", "1"), event("b", "2")))
	o = reopen(t, o)
	require.Equal(t, []uint64{3, 4}, add(t, o, event("b", "3"), event("a", "4")))
	require.Equal(t, []uint64{}, append([]uint64{}, add(t, o)...), "appending nothing is nothing")
	require.Equal(t, []string{"1", "2", "3", "4"}, ids(t, o))
}

func TestAnIdempotencyKeyIsAppendedOnceWhileItsEventIsInTheLog(t *testing.T) {
	clock := newClock()
	o := openTemp(t, Options{Now: clock.Now})
	keyed := func(id string) Event { e := event("a", id); e.Key = "key"; return e }
	require.Equal(t, []uint64{1, 1, 2}, add(t, o, keyed("one"), keyed("two"), event("a", "three")), "twice in one call")
	require.Equal(t, []uint64{1}, add(t, o, keyed("four")), "in another call")
	elsewhere := keyed("five")
	elsewhere.Topic = "b"
	require.Equal(t, []uint64{1}, add(t, o, elsewhere), "in another topic")

	settle(t, o, "a", 1, 1)
	replay, err := o.Replay(ctx, []uint64{1}, ReplayOptions{})
	require.NoError(t, err)
	require.Equal(t, []uint64{3}, replay.Sequences, "a replay is a new event without a key")
	require.Equal(t, []uint64{1}, add(t, o, keyed("six")))

	clock.advance(DefaultRetention + 1)
	pruned, err := o.Prune(ctx)
	require.NoError(t, err)
	require.Equal(t, 1, pruned)
	require.Equal(t, []uint64{4}, add(t, o, keyed("seven")), "its event was pruned, and the key with it")
}

func TestKeyState_TellsThatARetrySendsNothing(t *testing.T) {
	o := openTemp(t, Options{})
	keyed := func(key string) Event { e := event("a", "m-"+key); e.Key = key; return e }
	state := func(key string) (sequence uint64, state State) {
		require.NoError(t, o.View(func(tx *bolt.Tx) (err error) {
			sequence, state, err = o.KeyState(tx, key)
			return err
		}))
		return sequence, state
	}
	want := func(key string, wantSequence uint64, wantState State) {
		t.Helper()
		sequence, got := state(key)
		require.Equal(t, wantSequence, sequence)
		require.Equal(t, wantState, got)
	}
	add(t, o, keyed("parked"), keyed("discarded"), keyed("pending"))
	require.NoError(t, o.Park(ctx, "a", 1, Failure{Class: "poison", Text: "too large"}))
	_, err := o.Discard(ctx, []uint64{2}, DiscardOptions{Reason: "a test", Actor: "me"})
	require.NoError(t, err)
	want("parked", 1, Parked)
	want("discarded", 2, Discarded)
	want("pending", 3, Pending)
	want("another", 0, "")
	require.NoError(t, o.Update(ctx, func(tx *bolt.Tx) error {
		sequences, err := o.Append(tx, keyed("parked"), keyed("new"))
		require.NoError(t, err)
		require.Equal(t, []uint64{1, 4}, sequences)
		sequence, state, err := o.KeyState(tx, "parked")
		require.NoError(t, err)
		require.Equal(t, []any{uint64(1), Parked}, []any{sequence, state})
		sequence, state, err = o.KeyState(tx, "new")
		require.NoError(t, err)
		require.Equal(t, []any{uint64(4), Pending}, []any{sequence, state})
		return nil
	}))
	_, _, err = o.KeyState(nil, "new")
	require.ErrorIs(t, err, ErrInvalid)
}

func TestAKeyWhoseEventIsGoneIsNotTrusted(t *testing.T) {
	o := openTemp(t, Options{})
	require.NoError(t, o.db.Update(func(tx *bolt.Tx) error {
		l := openLedger(tx)
		l.put(keysBucket, []byte("key"), sequenceKey(77))
		return l.save()
	}))
	e := event("a", "id")
	e.Key = "key"
	require.Equal(t, []uint64{1}, add(t, o, e))
}

func TestTheByteCap(t *testing.T) {
	const limit = 40 << 10
	payload := make([]byte, 1000)
	kilobyte := func(id string) Event { return Event{Topic: "a", MessageID: id, Payload: payload} }
	fill := func(t *testing.T, o *Outbox) (n int) {
		for {
			_, err := o.Add(ctx, kilobyte(fmt.Sprint("fill-", n)))
			if err != nil {
				require.ErrorIs(t, err, ErrFull)
				require.ErrorContains(t, err, "OUTBOX_MAX_BYTES")
				return n
			}
			n++
		}
	}
	t.Run("refuses an event, and the caller's state with it, when all is pending", func(t *testing.T) {
		o := openTemp(t, Options{MaxBytes: limit})
		n := fill(t, o)
		require.InDelta(t, limit/2/1062, n, 1, "half of so small a cap is the reserve")
		require.ErrorIs(t, o.Update(ctx, func(tx *bolt.Tx) error {
			require.NoError(t, putState(tx, "lost"))
			_, _ = o.Append(tx, kilobyte("more"))
			return nil
		}), ErrFull)
		require.Empty(t, stateKeys(t, o))
		require.Len(t, ids(t, o), n)
	})
	t.Run("leaves the reserve to urgent events", func(t *testing.T) {
		o := openTemp(t, Options{MaxBytes: limit})
		fill(t, o)
		urgent := kilobyte("urgent")
		urgent.Urgent = true
		add(t, o, urgent)
	})
	t.Run("removes delivered events before their time, the oldest first", func(t *testing.T) {
		o := openTemp(t, Options{MaxBytes: limit})
		n := fill(t, o)
		settle(t, o, "a", 3)
		add(t, o, kilobyte("more"))
		require.Equal(t, "fill-1", ids(t, o)[0])
		require.Len(t, ids(t, o), n)
	})
	t.Run("keeps the newest snapshot, what is parked and what may be published again", func(t *testing.T) {
		o := openTemp(t, Options{MaxBytes: limit})
		first := kilobyte("snapshot")
		first.Snapshot = true
		add(t, o, first, kilobyte("parked"), kilobyte("tail"))
		n := 3 + fill(t, o)
		settle(t, o, "a", 1)
		require.NoError(t, o.Park(ctx, "a", 2, Failure{}))
		settleTail(t, o, "a", 3, 3)
		_, err := o.Add(ctx, kilobyte("more"))
		require.ErrorIs(t, err, ErrFull)
		require.Len(t, ids(t, o), n)
	})
	t.Run("does not keep an operator from replaying", func(t *testing.T) {
		o := openTemp(t, Options{MaxBytes: limit})
		n := uint64(fill(t, o))
		settle(t, o, "a", n, sequencesTo(n)...)
		add(t, o, kilobyte("more"))
		require.NoError(t, o.Close())
		o = openAt(t, o.Path(), Options{MaxBytes: limit / 4}) // half of it must go
		unheard, err := o.List(ctx, Filter{State: Unheard})
		require.NoError(t, err)
		require.NotEmpty(t, unheard)
		var sequences []uint64
		for _, info := range unheard {
			sequences = append(sequences, info.Sequence)
		}
		result, err := o.Replay(ctx, sequences, ReplayOptions{})
		require.NoError(t, err)
		require.Equal(t, len(sequences), result.Replayed+result.Ineligible, "some were pushed out by those before them")
		require.NotZero(t, result.Replayed)
		require.NotZero(t, result.Ineligible)
		require.Zero(t, topicStats(t, o, "a").Unheard)
	})
}

// settleTail settles with a tail that may be published again.
func settleTail(t testing.TB, o *Outbox, topic string, through, tailFrom uint64) {
	t.Helper()
	p, err := o.Position(ctx, topic)
	require.NoError(t, err)
	require.NoError(t, o.Settle(ctx, Receipt{Topic: topic, Through: through, Origin: p.Origin, Progress: Progress{TailFrom: tailFrom}}))
	require.NoError(t, o.Flush(ctx))
}

func sequencesTo(n uint64) (list []uint64) {
	for i := uint64(1); i <= n; i++ {
		list = append(list, i)
	}
	return list
}

func TestPayloadsComeBackByteForByte(t *testing.T) {
	o := openTemp(t, Options{})
	noise := noise(3 << 20)
	payloads := map[string][]byte{
		"small":         []byte("x"),
		"repetitive":    bytes.Repeat([]byte(`{"matchid": 6186203, "lag1namn": "IFK Göteborg"}`), 100_000),
		"noise":         noise,
		"at-the-border": bytes.Repeat([]byte("a"), compressFrom),
	}
	for id, payload := range payloads {
		add(t, o, Event{Topic: "a", MessageID: id, Payload: payload, TraceParent: "00-trace", Snapshot: id == "small"})
	}
	entries, err := o.Read(ctx, Range{Topic: "a", Events: 10, Bytes: 100 << 20})
	require.NoError(t, err)
	require.Len(t, entries, len(payloads))
	for _, e := range entries {
		require.NoError(t, e.Err)
		require.True(t, bytes.Equal(payloads[e.MessageID], e.Payload), e.MessageID)
		require.Equal(t, "00-trace", e.TraceParent)
		require.Equal(t, e.MessageID == "small", e.Snapshot)
	}
	stats, err := o.Stats(ctx)
	require.NoError(t, err)
	require.Less(t, stats.Bytes, uint64(len(noise)+100<<10), "what is repetitive was compressed")
}
