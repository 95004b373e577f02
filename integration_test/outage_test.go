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

const (
	writers = 8
	pace    = 40 * time.Millisecond // of each writer
)

// appendDuring has writers append at a pace for as long as the fault takes, and returns what they have committed.
func appendDuring(t *testing.T, box *outbox.Outbox, fault func()) (state []redistest.Event) {
	t.Helper()
	whileWriting(t, pace, fault, func(int) error { return commitStep(box, nil) })
	return committed(t, box)
}

// whileWriting has each writer do its next step at a pace for as long as the fault takes.
func whileWriting(t *testing.T, pace time.Duration, fault func(), step func(n int) error) {
	t.Helper()
	over := make(chan struct{})
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			for n := 0; ; n++ {
				if err := step(n); err != nil {
					t.Error(err)
					return
				}
				select {
				case <-over:
					return
				case <-time.After(pace):
				}
			}
		})
	}
	defer group.Wait()
	defer close(over)
	fault()
}

func TestRedisKilledUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	for name, persistence := range map[string]redistest.Persistence{"without persistence": redistest.None, "with AOF": redistest.AOF} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t, redistest.Options{Persistence: persistence})
			sub := subscribe(t, server, time.Second)
			box := openBox(t, filepath.Join(t.TempDir(), "outbox.db"))
			_, stop := startRelay(t, box, server.Addr(), relayOptions())

			var mayRepeat map[string]bool
			state := appendDuring(t, box, func() {
				waitSafe(t, box, updates, statuses)
				tail := tailsOf(t, box)
				server.Kill()
				mayRepeat = tail.mayRepeat(t, box, committed(t, box))
				server.Start()
			})
			waitEmpty(t, box)
			eventually(t, "every event has arrived", func() bool { return len(distinct(history(sub))) == len(state) })
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
	state := appendDuring(t, box, func() {
		sub.WaitFor(writers * 10)
		server.Freeze()
		over := time.After(10 * time.Second)
		eventually(t, "Redis is known to be down", func() bool { return r.Health().State == relay.RedisDown })
		<-over
		require.Equal(t, relay.RedisDown, r.Health().State)
		server.Thaw()
	})
	waitEmpty(t, box)
	sub.WaitFor(len(state))
	require.Empty(t, redistest.Check(state, history(sub), nil), "each event once, in order")
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
	state := appendDuring(t, box, func() {
		for range 10 {
			arrived := sub.Count()
			sub.WaitFor(arrived + 2*writers)
			proxy.CutReplies()
			eventually(t, "replies are missed", func() bool { return r.Health().State == relay.RedisDown })
			proxy.Heal()
		}
	})
	waitEmpty(t, box)
	sub.WaitFor(len(state))
	require.Empty(t, redistest.Check(state, history(sub), nil), "each event once, in order")
	eventually(t, "all is well", func() bool { return r.Health().State == relay.Delivering })
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
