package relay_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/relay"
)

// amnesias are ways in which a living Redis forgets.
var amnesias = map[string]func(r *rig){
	"everything is flushed":            func(r *rig) { r.do("FLUSHALL") },
	"the mark is evicted":              func(r *rig) { r.do("DEL", r.markKey()) },
	"the stream is evicted":            func(r *rig) { r.do("DEL", newsStream) },
	"mark and stream are evicted":      func(r *rig) { r.do("DEL", r.markKey(), newsStream) },
	"mark and stream are older copies": func(r *rig) { r.rewind(7) },
	"only the mark is an older copy": func(r *rig) {
		e := r.entries()[3].Values
		r.do("HSET", r.markKey(), "seq", e["sequence"], "id", e["id"], "stream_seq", e["sequence"], "stream_id", e["id"])
	},
}

// rewind takes Redis back to when it had accepted n events of news.
func (r *rig) rewind(n int) {
	entries := r.entries()
	for _, e := range entries[n:] {
		r.do("XDEL", newsStream, e.ID)
	}
	last := entries[n-1].Values
	r.do("HSET", r.markKey(), "seq", last["sequence"], "id", last["id"], "stream_seq", last["sequence"], "stream_id", last["id"])
}

func TestAmnesiaWithAStream(t *testing.T) {
	t.Parallel()
	for name, forget := range amnesias {
		for _, idle := range []bool{false, true} {
			t.Run(name+map[bool]string{false: ", noticed by the next batch", true: ", noticed while idle"}[idle], func(t *testing.T) {
				t.Parallel()
				r := newRig(t, redistest.Options{})
				r.server.Start()
				sub := r.subscribe(redistest.SubscriberOptions{})
				opts := streaming()
				if !idle {
					opts.HealthInterval = time.Hour
				}
				r.start(opts)
				r.add("news", 5)
				r.addMany("news", 700) // more than one chunk of the repair
				sub.WaitFor(705)
				r.waitOutlived()
				forget(r)
				if !idle {
					r.add("news", 1)
				}
				eventually(t, "the amnesia is noticed", func() bool { return len(r.alertKinds()) > 0 })
				r.add("news", 10)
				sub.WaitFor(len(r.appended) + 1)
				r.waitDelivered("news")
				r.requireStream(r.news(), "complete, without repeats")
				r.requireComplete(sub, nil)
				require.Equal(t, []string{"redis_amnesia"}, r.alertKinds())
				h := r.relay.Health().Topics["news"]
				require.Equal(t, 1, h.Amnesias)
				require.Equal(t, map[string]int{"everything is flushed": 705, "the stream is evicted": 705, "mark and stream are evicted": 705,
					"mark and stream are older copies": 698}[name], h.Readded)
			})
		}
	}
}

func TestAStreamThatWasCutByHandIsLeftAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	r.start(streaming())
	r.add("news", 5)
	r.waitDelivered("news")
	r.do("XTRIM", newsStream, "MAXLEN", 0)
	r.add("news", 2)
	r.waitDelivered("news")
	r.requireStream(r.news()[5:])
	require.Empty(t, r.alertKinds())
	e := r.entries()[0].Values
	r.do("HSET", r.markKey(), "seq", e["sequence"], "id", e["id"]) // forgotten, but the stream's mark says that nothing is missing
	r.do("XTRIM", newsStream, "MAXLEN", 0)
	r.add("news", 1)
	r.waitDelivered("news")
	r.requireStream(r.news()[7:])
	require.Equal(t, []string{"redis_amnesia"}, r.alertKinds())
}

func TestOnlyWhatAStreamKeepsIsAddedAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	opts := streaming()
	opts.StreamMaxLen = 100
	r.start(opts)
	r.addMany("news", 1000)
	r.waitDelivered("news")
	r.do("FLUSHALL")
	r.add("news", 1)
	r.waitDelivered("news")
	r.requireStream(r.news()[900:])
	require.Equal(t, 100, r.relay.Health().Topics["news"].Readded)
}

func TestARepairThatIsInterruptedGoesOnWithoutRepeats(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]func(next func() (relay.Reply, error)) (relay.Reply, error){
		"before a step": func(func() (relay.Reply, error)) (relay.Reply, error) { return relay.Reply{}, errors.New("cut off") },
		"after a step, its answer lost": func(next func() (relay.Reply, error)) (relay.Reply, error) {
			_, _ = next()
			return relay.Reply{}, errors.New("cut off")
		},
		"by another relay": func(next func() (relay.Reply, error)) (relay.Reply, error) {
			_, _ = next()
			return next() // the second finds another mark than it was told
		},
		"by a refusal": func(next func() (relay.Reply, error)) (relay.Reply, error) {
			return relay.Reply{Outcome: relay.Refused, Err: redisError("NOPERM")}, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, redistest.Options{})
			r.server.Start()
			sub := r.subscribe(redistest.SubscriberOptions{})
			front := r.front()
			var steps atomic.Int64
			front.restore = func(next func() (relay.Reply, error)) (relay.Reply, error) {
				if n := steps.Add(1); n%2 == 0 && n < 12 {
					return cut(next)
				}
				return next()
			}
			r.startTarget(streaming(), front)
			r.addMany("news", 1000)
			sub.WaitFor(1000)
			r.waitDelivered("news")
			r.do("FLUSHALL")
			r.add("news", 1)
			r.waitDelivered("news")
			r.requireStream(r.news())
			r.waitArrived(sub, r.appended)
			r.requireComplete(sub, nil)
		})
	}
}

func TestOfTwoRelaysOnlyOneFillsAnEmptyStream(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	front := r.front()
	second := make(chan relay.Reply, 1)
	front.restore = func(next func() (relay.Reply, error)) (relay.Reply, error) {
		reply, err := next()
		again, againErr := next()
		require.NoError(t, againErr)
		second <- again
		return reply, err
	}
	r.startTarget(streaming(), front)
	r.add("news", 5)
	r.waitDelivered("news")
	r.do("DEL", newsStream)
	r.add("news", 1)
	r.waitDelivered("news")
	require.Equal(t, relay.Lost, (<-second).Outcome)
	r.requireStream(r.news())
}

func TestTwoRelaysRepairTogetherWithoutRepeats(t *testing.T) {
	t.Parallel()
	for _, name := range slices.Sorted(maps.Keys(amnesias)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, redistest.Options{})
			r.server.Start()
			r.start(streaming())
			r.addMany("news", 1000)
			r.waitDelivered("news")
			r.halt()
			amnesias[name](r)
			ctx, stop := context.WithCancel(context.Background())
			ended := make(chan error, 2)
			for range 2 {
				other := relay.New(r.box, relay.NewRedis(r.client, socketTimeout), streaming())
				go func() { ended <- other.Run(ctx) }()
			}
			r.addMany("news", 500)
			r.waitDelivered("news")
			stop()
			require.NoError(t, errors.Join(<-ended, <-ended))
			r.requireStream(r.news())
		})
	}
}

func TestAnEventThatRedisDoesNotTakeAgainDoesNotStopTheRepair(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{Keep: redistest.KeepMessageID})
	log := &logged{}
	opts := streaming()
	opts.Logger = log.logger()
	r.start(opts)
	r.add("news", 5)
	for range 2 { // neighbours
		r.addEvent(message("news", strings.Repeat("x", 2<<20)))
	}
	r.add("news", 5)
	sub.WaitFor(12)
	r.waitDelivered("news")
	r.do("CONFIG", "SET", "proto-max-bulk-len", "1mb")
	r.do("FLUSHALL")
	r.add("news", 5)
	r.waitDelivered("news")
	r.requireStream(slices.Delete(r.news(), 5, 7))
	require.Equal(t, 2, log.count("gives up adding an event"))
	r.do("CONFIG", "SET", "proto-max-bulk-len", "512mb")
	r.do("FLUSHALL")
	r.add("news", 1)
	r.waitDelivered("news")
	r.requireStream(r.news(), "the next time they are tried again")
	require.Zero(t, r.topic("news").Parked)
	r.waitArrived(sub, r.appended)
	r.requireComplete(sub, nil)
}

func TestAnEventThatARestartedRedisDoesNotTakeAgainDoesNotStopTheRepair(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	opts := streaming()
	opts.RejoinWait = -1
	r.start(opts)
	r.add("news", 1)
	r.addEvent(message("news", strings.Repeat("x", 2<<20)))
	r.add("news", 1)
	sub.WaitFor(3)
	r.waitOutlived()
	r.relay.Pause()
	r.server.Kill()
	r.server.Start()
	r.do("CONFIG", "SET", "proto-max-bulk-len", "1mb")
	r.relay.Resume()
	r.add("news", 1)
	r.waitDelivered("news")
	r.requireStream(slices.Delete(r.news(), 1, 2))
}
