package integration_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
)

// TestKills_LoseNothing kills Redis again and again, at moments drawn from SEED, and tells how many events came again for each
// kill: make kills KILLS=200.
func TestKills_LoseNothing(t *testing.T) {
	t.Parallel()
	kills := 3
	if text := os.Getenv("KILLS"); text != "" {
		var err error
		kills, err = strconv.Atoi(text)
		require.NoError(t, err, "KILLS")
	}
	seed := rand.Uint64()
	if text := os.Getenv("SEED"); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err, "SEED")
	}
	fmt.Printf("note: kills: SEED=%d\n", seed)
	for name, c := range map[string]struct {
		batch int
		pause time.Duration
		slow  int // bytes per second that the slow subscriber reads
	}{
		"a hundred events a second": {1, 10 * time.Millisecond, 300 << 10},
		"as fast as they go":        {50, 0, 10 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, uint64(c.batch)))
			server := redistest.Start(t, redistest.Options{Persistence: redistest.AOF})
			box := openBox(t, filepath.Join(t.TempDir(), "outbox.db"))
			subscribers := map[string]*redistest.Subscriber{}
			for name, rate := range map[string]int{"prompt": 0, "slow": c.slow} {
				subscribers[name] = redistest.Subscribe(t, server.Addr(), redistest.SubscriberOptions{
					Channels: []string{channels[updates]}, BytesPerSecond: rate, Keep: redistest.KeepMessageID})
				subscribers[name].WaitSubscribed(1)
			}
			_, stop := startRelay(t, box, server.Addr(), relayOptions())
			var appended []redistest.Event
			var writing sync.WaitGroup
			ctx, end := context.WithCancel(t.Context())
			writing.Go(func() {
				for ctx.Err() == nil {
					events := make([]outbox.Event, c.batch)
					for i := range events {
						events[i] = newEvent(updates, strings.Repeat("x", 900))
						appended = append(appended, redistest.Event{Topic: updates, MessageID: events[i].MessageID})
					}
					if _, err := box.Add(context.Background(), events...); err != nil {
						t.Error(err)
						return
					}
					for backlog(t, box) > 2000 && ctx.Err() == nil {
						time.Sleep(time.Millisecond)
					}
					time.Sleep(c.pause)
				}
			})
			defer writing.Wait()
			defer end()
			for range kills {
				before := map[string]int{}
				for name, sub := range subscribers {
					before[name] = sub.Count()
				}
				eventually(t, "events flow", func() bool {
					for name, sub := range subscribers {
						if sub.Count() < before[name]+100 {
							return false
						}
					}
					return true
				})
				time.Sleep(time.Duration(random.Int64N(int64(2 * time.Second))))
				server.Kill()
				server.Start()
			}
			end()
			writing.Wait()
			waitEmpty(t, box)
			stop()
			text := fmt.Sprintf("note: %s: %d kills, %d events;", name, kills, len(appended))
			for name, sub := range subscribers {
				eventually(t, "every event has arrived", func() bool { return len(distinct(history(sub))) == len(appended) })
				got := history(sub)
				all := map[string]bool{}
				for _, e := range appended {
					all[e.MessageID] = true
				}
				require.Empty(t, redistest.Check(appended, got, all))
				text += fmt.Sprintf(" %d came again to the %s subscriber;", len(got)-len(appended), name)
			}
			fmt.Println(text)
			requireSound(t, box)
		})
	}
}

// backlog is how many events are pending.
func backlog(t *testing.T, box *outbox.Outbox) (pending uint64) {
	stats, err := box.Stats(context.Background())
	if err != nil {
		t.Error(err)
	}
	for _, topic := range stats.Topics {
		pending += topic.Pending
	}
	return pending
}
