package api

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/outbox"
)

const replayed = "Idempotency-Replayed"

func TestTheSameKeyGivesTheSameAnswer(t *testing.T) {
	g := startPlain(t)
	first := g.ok(g.post("/v1/matches?allow_empty=1&fetched_at=2025-09-21T10:30:00Z", one, "Idempotency-Key: a key of mine~"))
	require.Empty(t, first.header.Get(replayed))
	g.ok(g.post("/v1/matches", two))
	again := g.ok(g.post("/v1/matches?fetched_at=2025-09-21T10:30:00Z&allow_empty=1", one, "Idempotency-Key: a key of mine~"))
	require.Equal(t, "true", again.header.Get(replayed))
	require.Equal(t, first.body, again.body, "although the list is stale by now")
	require.Equal(t, first.header.Get("Content-Type"), again.header.Get("Content-Type"))
	require.Len(t, g.events(), 2)

	first = g.ok(g.post("/v1/events", status, "Idempotency-Key: another"))
	again = g.ok(g.post("/v1/events", status, "Idempotency-Key: another"))
	require.Equal(t, first.body, again.body)
	require.Equal(t, "true", again.header.Get(replayed))
	require.Len(t, g.events(), 3)
}

func TestARepeatedRequestTellsThatItsEventIsNotSent(t *testing.T) {
	g := startPlain(t)
	post := func(key string) http.Header {
		return g.ok(g.post("/v1/events", status, "Idempotency-Key: "+key)).header
	}
	for _, key := range []string{"parked", "discarded", "pending"} {
		require.Empty(t, post(key).Get("Event-State"))
	}
	require.NoError(t, g.box.Park(ctx, "processing_status", 1, outbox.Failure{Class: "poison", Text: "too large"}))
	_, err := g.box.Discard(ctx, []uint64{2}, outbox.DiscardOptions{Reason: "a test", Actor: "me"})
	require.NoError(t, err)
	require.Equal(t, "parked", post("parked").Get("Event-State"))
	require.Equal(t, "discarded", post("discarded").Get("Event-State"))
	require.Empty(t, post("pending").Get("Event-State"))
}

func TestTheSameKeyWithAnotherRequestIsRefused(t *testing.T) {
	g := startPlain(t)
	g.ok(g.post("/v1/matches", one, "Idempotency-Key: k"))
	for _, tt := range []struct{ path, body string }{
		{"/v1/matches", two}, {"/v1/matches", one + " "}, {"/v1/matches", "no list"}, {"/v1/matches?allow_empty=1", one}, {"/v1/events", status}, {"/v1/events", one},
	} {
		a := g.post(tt.path, tt.body, "Idempotency-Key: k")
		require.Equal(t, 422, a.status, a.body)
		require.Equal(t, "key_reused", a.code())
	}
	require.Len(t, g.events(), 1)
	require.Contains(t, g.ok(g.post("/v1/matches?dry_run=1", two, "Idempotency-Key: k")).body, `"new":1`, "a dry run uses no key")
	g.ok(g.post("/v1/matches?dry_run=1", one, "Idempotency-Key: dry"))
	g.ok(g.post("/v1/matches", two, "Idempotency-Key: dry"))
}

func TestARequestThatFailsMayBeRepeated(t *testing.T) {
	g := startPlain(t)
	g.ok(g.post("/v1/matches", one))
	require.Equal(t, "empty_list", g.post("/v1/matches", "[]", "Idempotency-Key: k").code())
	require.Equal(t, "empty_list", g.post("/v1/matches", "[]", "Idempotency-Key: k").code())
	a := g.ok(g.post("/v1/matches", two, "Idempotency-Key: k"))
	require.Empty(t, a.header.Get(replayed))
}

func TestAKeyOutlivesItsProcess(t *testing.T) {
	g := startPlain(t)
	first := g.ok(g.post("/v1/events", status, "Idempotency-Key: k"))
	recorder, err := changes.NewRecorder(g.box, changes.Options{})
	require.NoError(t, err)
	body, found, err := New(recorder, Options{}).answered("k", hashOfPost(t, "/v1/events", status))
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, first.body, string(body))
}

// TestConcurrentRequestsRecordOncePerKey lets many clients post events under few keys, each with a body of its own or one that
// was used by another key, all at once.
func TestConcurrentRequestsRecordOncePerKey(t *testing.T) {
	g := startPlain(t)
	const keys, clients = 20, 16
	body := func(k int) string {
		return fmt.Sprintf(`{"type":"system_alert","payload":{"alert_type":"x","severity":"info","message":"key %d","details":{}}}`, k)
	}
	var mu sync.Mutex
	answers := map[int]map[string]int{} // by key: how often an answer came
	var all sync.WaitGroup
	for c := range clients {
		order := rand.New(rand.NewPCG(1, uint64(c))).Perm(keys)
		all.Go(func() {
			for _, k := range order {
				a := g.post("/v1/events", body(k), "Idempotency-Key: key-"+strconv.Itoa(k))
				other := g.post("/v1/events", body(k+1), "Idempotency-Key: key-"+strconv.Itoa(k))
				mu.Lock()
				if a.status != 200 || other.status != 422 {
					t.Errorf("%d %s, %d %s", a.status, a.body, other.status, other.body)
				}
				if answers[k] == nil {
					answers[k] = map[string]int{}
				}
				answers[k][a.body]++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	events := g.events()
	require.Len(t, events, keys)
	seen := map[uint64]bool{}
	for k := range keys {
		require.Len(t, answers[k], 1, "one answer for each key, however often it is asked")
		for body, n := range answers[k] {
			require.Equal(t, clients, n)
			var p Posted
			require.NoError(t, json.Unmarshal([]byte(body), &p))
			require.Len(t, p.Sequences, 1)
			require.Contains(t, events[p.Sequences[0]-1], fmt.Sprintf(`"key %d"`, k))
			require.Contains(t, events[p.Sequences[0]-1], p.MessageID)
			seen[p.Sequences[0]] = true
		}
	}
	require.Len(t, seen, keys)
	report, err := g.box.Verify(ctx)
	require.NoError(t, err)
	require.Empty(t, report.Problems)
}

func TestConcurrentListsUnderOneKeyAreRecordedOnce(t *testing.T) {
	g := startPlain(t)
	var all sync.WaitGroup
	bodies := make([]string, 16)
	for i := range bodies {
		all.Go(func() { bodies[i] = g.post("/v1/matches", two, "Idempotency-Key: k").body })
	}
	all.Wait()
	for _, body := range bodies {
		require.Equal(t, bodies[0], body)
	}
	require.Contains(t, bodies[0], `"new":2`)
	require.Len(t, g.events(), 1)
}

func hashOfPost(t *testing.T, path, body string) hash {
	t.Helper()
	r, err := http.NewRequest("POST", path, nil)
	require.NoError(t, err)
	return hashOf(r, parseQuery(r), []byte(body))
}

// stored counts the keys in both buckets, which must agree.
func stored(t *testing.T, g *rig) (n int) {
	t.Helper()
	require.NoError(t, g.box.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucket)
		require.Equal(t, b.Bucket(answersBucket).Stats().KeyN, b.Bucket(orderBucket).Stats().KeyN)
		n = b.Bucket(orderBucket).Stats().KeyN
		return b.Bucket(orderBucket).ForEach(func(_, v []byte) error {
			require.NotNil(t, b.Bucket(answersBucket).Get(v[8:]))
			return nil
		})
	}))
	return n
}

func TestKeysAreKeptForAWeekAndTheOldestGoFirst(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	g := start(t, outbox.Options{}, changes.Options{}, Options{Now: func() time.Time { return now }})
	remembered := func(n int) bool {
		_, found, err := g.api.answered("key-"+strconv.Itoa(n), hash{})
		require.NoError(t, err)
		return found
	}
	next := 0
	put := func(n int) {
		for range n {
			err := g.box.Update(ctx, func(tx *bbolt.Tx) error {
				_, _, err := g.api.once(tx, "key-"+strconv.Itoa(next), hash{}, func() ([]byte, error) { return []byte("{}"), nil })
				return err
			})
			require.NoError(t, err)
			next++
		}
	}
	put(10)
	now = now.Add(7 * 24 * time.Hour)
	put(1)
	require.Equal(t, 11, stored(t, g))
	now = now.Add(time.Second)
	put(1)
	require.Equal(t, 12-pruneStep, stored(t, g), "a few at a time")
	require.False(t, remembered(3))
	require.True(t, remembered(4))
	put(3)
	require.Equal(t, 5, stored(t, g), "only what is a week old")
	require.True(t, remembered(10))

	g.api.keep.number = 7
	put(10)
	require.Equal(t, 7, stored(t, g))
	require.False(t, remembered(next-8))
	require.True(t, remembered(next-7))
	g.api.keep.number = 1
	put(10)
	require.Equal(t, 1, stored(t, g), "never the one that was just put")

	now = now.Add(-365 * 24 * time.Hour) // a clock that was wrong removes nothing
	put(1)
	require.True(t, remembered(next-1))
}

func TestKeys_OfAClockThatWasAheadAreKeptForAWeekToo(t *testing.T) {
	now := time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC)
	g := start(t, outbox.Options{}, changes.Options{}, Options{Now: func() time.Time { return now }})
	next := 0
	put := func(n int) {
		for range n {
			require.NoError(t, g.box.Update(ctx, func(tx *bbolt.Tx) error {
				_, _, err := g.api.once(tx, "key-"+strconv.Itoa(next), hash{}, func() ([]byte, error) { return []byte("{}"), nil })
				return err
			}))
			next++
		}
	}
	put(10)
	now = now.Add(-10 * 365 * 24 * time.Hour)
	put(20)
	now = now.Add(7 * 24 * time.Hour)
	put(1)
	require.Equal(t, 31, stored(t, g))
	now = now.Add(time.Second)
	put(8)
	require.Equal(t, 9, stored(t, g), "all 30 of a week ago are gone, and what came later is there")
}

func TestTheStandardIsAWeek(t *testing.T) {
	require.Equal(t, keeping{7 * 24 * time.Hour, 100_000}, New(nil, Options{}).keep)
}

func TestAnAnswerThatCannotBeReadIsDamage(t *testing.T) {
	g := startPlain(t)
	g.ok(g.post("/v1/events", status, "Idempotency-Key: k"))
	spoil := func(part []byte, value []byte) {
		require.NoError(t, g.box.Update(ctx, func(tx *bbolt.Tx) error {
			b := tx.Bucket(bucket).Bucket(part)
			k, _ := b.Cursor().First()
			return b.Put(k, value)
		}))
	}
	spoil(answersBucket, []byte{9})
	a := g.post("/v1/events", status, "Idempotency-Key: k")
	require.Equal(t, 500, a.status)
	require.Equal(t, "damaged", a.code())
	spoil(orderBucket, []byte{9})
	a = g.post("/v1/events", status, "Idempotency-Key: other")
	require.Equal(t, "damaged", a.code())
	require.Len(t, g.events(), 1)
}
