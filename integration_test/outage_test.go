package integration_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// appendConcurrently has writers append n events each, and returns when all are committed.
func appendConcurrently(t *testing.T, box *outbox.Outbox, writers, n int, pace time.Duration) {
	t.Helper()
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			for range n / 2 {
				if err := commitStep(box, nil); err != nil {
					t.Error(err)
					return
				}
				<-time.After(pace)
			}
		})
	}
	group.Wait()
}

const (
	writers         = 8
	eventsPerWriter = 250
	pace            = 20 * time.Millisecond // of each writer: the load lasts some seconds and spans the fault
)

func TestRedisKilledUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	for name, persistence := range map[string]redistest.Persistence{"without persistence": redistest.None, "with AOF": redistest.AOF} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t, redistest.Options{Persistence: persistence})
			sub := subscribe(t, server, 3*time.Second)
			box := openBox(t, filepath.Join(t.TempDir(), "outbox.db"))
			_, stop := startRelay(t, box, server.Addr(), relayOptions())

			var killed time.Time
			var fault sync.WaitGroup
			fault.Go(func() {
				<-time.After(time.Second)
				killed = time.Now()
				server.Kill()
				server.Start()
			})
			appendConcurrently(t, box, writers, eventsPerWriter, pace)
			fault.Wait()
			waitEmpty(t, box)

			state := committed(t, box)
			require.Len(t, state, writers*eventsPerWriter)
			eventually(t, "every event has arrived", func() bool { return len(distinct(history(sub))) == len(state) })
			// Redis had what arrived in the two seconds before the kill, and what never arrived before it.
			mayRepeat := distinct(state)
			for _, m := range sub.Messages() {
				if m.At.Before(killed.Add(-2*time.Second - 100*time.Millisecond)) {
					delete(mayRepeat, redistest.EnvelopeID(m.Payload))
				}
			}
			require.Empty(t, redistest.Check(state, history(sub), mayRepeat))
			stop()
			requireSound(t, box)
		})
	}
}

func distinct(events []redistest.Event) map[string]bool {
	ids := map[string]bool{}
	for _, e := range events {
		ids[e.MessageID] = true
	}
	return ids
}

func TestRedisFrozenForTenSecondsUnderLoadCostsNothing(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	sub := subscribe(t, server, 3*time.Second)
	box := openBox(t, filepath.Join(t.TempDir(), "outbox.db"))
	r, stop := startRelay(t, box, server.Addr(), relayOptions())
	var fault sync.WaitGroup
	fault.Go(func() {
		<-time.After(time.Second)
		server.Freeze()
		<-time.After(10 * time.Second)
		server.Thaw()
	})
	appendConcurrently(t, box, writers, eventsPerWriter, pace)
	require.Equal(t, relay.RedisDown, r.Health().State)
	fault.Wait()
	waitEmpty(t, box)
	sub.WaitFor(writers * eventsPerWriter)
	require.Empty(t, redistest.Check(committed(t, box), history(sub), nil), "each event once, in order")
	stop()
	requireSound(t, box)
}

func TestAReplyThatIsCutOffUnderLoadPublishesNothingTwice(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	sub := subscribe(t, server, 0)
	box := openBox(t, filepath.Join(t.TempDir(), "outbox.db"))
	proxy := redistest.NewProxy(t, server.Addr())
	r, stop := startRelay(t, box, proxy.Addr(), relayOptions())
	var fault sync.WaitGroup
	fault.Go(func() {
		for range 10 {
			<-time.After(150 * time.Millisecond)
			proxy.CutReplies()
			<-time.After(50 * time.Millisecond)
			proxy.Heal()
		}
	})
	appendConcurrently(t, box, writers, eventsPerWriter, pace)
	fault.Wait()
	waitEmpty(t, box)
	sub.WaitFor(writers * eventsPerWriter)
	require.Empty(t, redistest.Check(committed(t, box), history(sub), nil), "each event once, in order")
	require.Equal(t, relay.Delivering, r.Health().State)
	stop()
	requireSound(t, box)
}

func TestAClosureThatFailsOrPanicsLeavesNothingAndHarmsNobody(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	sub := subscribe(t, server, 0)
	box := openBox(t, filepath.Join(t.TempDir(), "outbox.db"))
	_, stop := startRelay(t, box, server.Addr(), relayOptions())
	failure := errors.New("the processor found something wrong")
	spoiled := []byte("spoiled")
	var group sync.WaitGroup
	for worker := range writers {
		group.Go(func() {
			for i := range 50 {
				switch (worker + i) % 4 {
				case 0:
					err := box.Update(context.Background(), func(tx *bolt.Tx) error {
						_ = spoil(box, tx, spoiled)
						return failure
					})
					if !errors.Is(err, failure) {
						t.Error(err)
					}
				case 1:
					if got := panicOf(func() {
						_ = box.Update(context.Background(), func(tx *bolt.Tx) error {
							_ = spoil(box, tx, spoiled)
							panic(failure)
						})
					}); got != failure {
						t.Error(got)
					}
				default:
					if err := commitStep(box, nil); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	group.Wait()
	waitEmpty(t, box)
	state := committed(t, box)
	require.Len(t, state, 2*writers*25, "every step that neither failed nor panicked")
	require.Equal(t, state, logged(t, box))
	sub.WaitFor(len(state))
	require.Empty(t, redistest.Check(state, history(sub), nil))
	require.NoError(t, box.View(func(tx *bolt.Tx) error {
		require.Nil(t, tx.Bucket(spoiled))
		return nil
	}))
	stop()
	requireSound(t, box)
}

// spoil writes state and an event that must both be gone.
func spoil(box *outbox.Outbox, tx *bolt.Tx, bucket []byte) error {
	_, err := tx.CreateBucketIfNotExists(bucket)
	_, appendErr := box.Append(tx, newEvent(updates, "must never be seen"))
	return errors.Join(err, appendErr)
}

func panicOf(f func()) (value any) {
	defer func() { value = recover() }()
	f()
	return nil
}
