package integration_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// streaming are relayOptions with streams that nothing is trimmed from.
func streaming() relay.Options {
	opts := relayOptions()
	opts.Streams, opts.StreamMaxLen = true, 100_000
	return opts
}

// seen puts together what there is to judge, at the end: what was committed, what the subscribers got, what the streams
// hold, and what is counted. The relay's own alerts are left out.
func seen(t *testing.T, box *outbox.Outbox, streams redis.Cmdable, subscribers ...*redistest.Subscriber) redistest.History {
	t.Helper()
	h := redistest.History{
		Appended:    committed(t, box),
		Subscribers: map[string][]redistest.Event{},
		Streams:     map[string][]redistest.StreamEntry{},
		Status:      map[string]redistest.TopicCounts{},
	}
	for i, sub := range subscribers {
		h.Subscribers[fmt.Sprint("subscriber ", i)] = history(sub)
	}
	if streams != nil {
		for _, topic := range []string{updates, statuses} {
			h.Streams[topic+" stream"] = redistest.ReadStream(t, streams, relay.StreamKey(channels[topic]))
		}
	}
	stats, err := box.Stats(context.Background())
	require.NoError(t, err)
	for _, s := range stats.Topics {
		if s.Topic != alerts {
			h.Status[s.Topic] = redistest.TopicCounts{Appended: s.Appended, Pending: s.Pending, Delivered: s.Delivered, Unheard: s.Unheard,
				Parked: s.Parked, Discarded: s.Discarded, Replayed: s.Replayed}
		}
	}
	return h
}

// requireRight wants nothing to be wrong with a history; of many findings it shows the first.
func requireRight(t *testing.T, h redistest.History) {
	t.Helper()
	findings := h.Check()
	require.Empty(t, findings[:min(len(findings), 10)], "%d findings", len(findings))
}

func TestRedisForgetsUnderLoadAndTheStreamsEndCompleteAndWithoutRepeats(t *testing.T) {
	t.Parallel()
	for _, cause := range []struct {
		name    string
		options redistest.Options
		dies    bool // Redis dies, and the tail comes again
		forget  func(t *testing.T, server *redistest.Server, box *outbox.Outbox, r *relay.Relay)
	}{
		{name: "SIGKILL without persistence", dies: true, forget: func(t *testing.T, server *redistest.Server, _ *outbox.Outbox, _ *relay.Relay) {
			server.Kill()
			server.Start()
		}},
		{name: "AOF cut short", options: redistest.Options{Persistence: redistest.AOF}, dies: true,
			forget: func(t *testing.T, server *redistest.Server, _ *outbox.Outbox, _ *relay.Relay) {
				server.Kill()
				files, err := filepath.Glob(filepath.Join(server.Dir(), "appendonlydir", "*.incr.aof"))
				require.NoError(t, err)
				require.Len(t, files, 1)
				info, err := os.Stat(files[0])
				require.NoError(t, err)
				require.NoError(t, os.Truncate(files[0], info.Size()*2/3))
				server.Start()
			}},
		{name: "a snapshot that is older", options: redistest.Options{Persistence: redistest.RDB}, dies: true,
			forget: func(t *testing.T, server *redistest.Server, box *outbox.Outbox, _ *relay.Relay) {
				require.NoError(t, server.Client().Save(context.Background()).Err())
				appended := len(committed(t, box))
				eventually(t, "more is appended", func() bool { return len(committed(t, box)) > appended+200 })
				server.Kill()
				server.Start()
			}},
		{name: "FLUSHALL", forget: func(t *testing.T, server *redistest.Server, box *outbox.Outbox, _ *relay.Relay) {
			for range 5 {
				require.NoError(t, server.Client().FlushAll(context.Background()).Err())
				before := len(committed(t, box)) // one more at least is published after that
				eventually(t, "more is appended", func() bool { return len(committed(t, box)) > before+2*writers })
			}
		}},
		{name: "eviction", forget: func(t *testing.T, server *redistest.Server, _ *outbox.Outbox, r *relay.Relay) {
			ctx, client := context.Background(), server.Client()
			require.NoError(t, client.ConfigSet(ctx, "maxmemory-policy", "allkeys-random").Err())
			require.NoError(t, client.ConfigSet(ctx, "maxmemory", "8mb").Err())
			filler := strings.Repeat("x", 100<<10)
			for i := 0; r.Health().Topics[updates].Amnesias == 0 || r.Health().Topics[statuses].Amnesias == 0; i++ {
				require.NoError(t, client.Set(ctx, fmt.Sprint("filler", i%200), filler, 0).Err())
			}
			require.NoError(t, client.ConfigSet(ctx, "maxmemory", "0").Err())
		}},
	} {
		t.Run(cause.name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t, cause.options)
			subs := []*redistest.Subscriber{subscribe(t, server, 0), subscribe(t, server, 500*time.Millisecond)}
			box := openBox(t, filepath.Join(t.TempDir(), "outbox.db"))
			r, stop := startRelay(t, box, server.Addr(), streaming())
			var mayRepeat map[string]bool
			total := len(appendDuring(t, box, func() {
				waitSafe(t, box, updates, statuses)
				tail := tailsOf(t, box)
				cause.forget(t, server, box, r)
				if cause.dies {
					mayRepeat = tail.mayRepeat(t, box, committed(t, box))
				}
			}))
			waitEmpty(t, box)
			for _, sub := range subs {
				eventually(t, "every event has arrived", func() bool { return len(distinct(history(sub))) == total })
			}
			h := seen(t, box, server.Client(), subs...)
			h.MayRepeat = mayRepeat
			requireRight(t, h)
			eventually(t, "all is well", func() bool { return r.Health().State == relay.Delivering })
			health := r.Health()
			require.NotZero(t, health.Topics[updates].Amnesias+health.Topics[statuses].Amnesias, "it was noticed")
			eventually(t, "and alerted", func() bool { return len(subs[0].Messages("test:alerts")) > 0 })
			stop()
			requireSound(t, box)
		})
	}
}

func TestWhatRedisForgetsUnacknowledgedComesAgainWithTheSameMessageID(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	sub := subscribe(t, server, 0)
	box := openBox(t, filepath.Join(t.TempDir(), "outbox.db"))
	proxy := redistest.NewProxy(t, server.Addr())
	var mu sync.Mutex
	acknowledged := map[string]bool{}
	opts := streaming()
	opts.Observe = func(_ string, entries []outbox.Entry) {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range entries {
			acknowledged[e.MessageID] = true
		}
	}
	r, stop := startRelay(t, box, proxy.Addr(), opts)
	mayRepeat := map[string]bool{}
	for range 5 {
		addSteps(t, box, 20)
		waitEmpty(t, box)
		proxy.CutReplies()
		addSteps(t, box, 20)
		eventually(t, "answers are lost", func() bool { return r.Health().Topics[updates].State == relay.RedisDown })
		require.NoError(t, server.Client().FlushAll(context.Background()).Err())
		mu.Lock()
		for _, e := range committed(t, box) {
			if !acknowledged[e.MessageID] {
				mayRepeat[e.MessageID] = true
			}
		}
		mu.Unlock()
		proxy.Heal()
		waitEmpty(t, box)
	}
	require.NotEmpty(t, mayRepeat)
	total := len(committed(t, box))
	eventually(t, "all has arrived", func() bool { return len(distinct(history(sub))) == total })
	h := seen(t, box, server.Client(), sub)
	h.MayRepeat = mayRepeat
	requireRight(t, h)
	require.Greater(t, len(history(sub)), total, "some did come again")
	stop()
}

func TestAnOlderCopyOfTheOutboxWithStreams(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	sub := subscribe(t, server, 0)
	db := filepath.Join(t.TempDir(), "outbox.db")
	box := openBox(t, db)
	relayFor := func(steps int) {
		_, stop := startRelay(t, box, server.Addr(), streaming())
		addSteps(t, box, steps)
		waitEmpty(t, box)
		stop()
	}
	relayFor(50)
	addSteps(t, box, 50) // pending in the copy
	require.NoError(t, box.Close())
	copyFile(t, db, db+".copy")
	box = openBox(t, db)
	relayFor(50)
	original := committed(t, box)
	require.NoError(t, box.Close())

	require.NoError(t, os.Remove(db))
	copyFile(t, db+".copy", db)
	box = openBox(t, db)
	addSteps(t, box, 50)
	relayFor(50)
	copied := committed(t, box)
	everything := append(slices.Clip(original), copied[2*100:]...)
	eventually(t, "all has arrived", func() bool { return len(distinct(history(sub))) == len(everything) })
	stats, err := box.Stats(context.Background())
	require.NoError(t, err)
	require.Equal(t, uint64(2), stats.Epoch, "status tells of the new epoch")
	eventually(t, "and an alert does", func() bool { return len(sub.Messages("test:alerts")) == 1 })

	h := seen(t, box, server.Client(), sub)
	h.Status = nil // of the copy, which does not know what the original appended after it
	h.Appended = everything
	h.MayRepeat = distinct(original[2*50 : 2*100]) // on Pub/Sub; in the stream, nothing comes twice
	requireRight(t, h)
	requireSound(t, box)
}
