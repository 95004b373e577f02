package relay_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/relay"
)

// requireQuiet checks that nothing is delivered for some minutes.
func (v virtual) requireQuiet(n int) {
	v.t.Helper()
	v.after(10 * time.Minute)
	require.Len(v.t, v.redis.got("news"), n)
	require.Equal(v.t, relay.Paused, v.relay.Health().State)
}

func TestAPausedRelaySendsNothingAndGoesOnInOrder(t *testing.T) {
	virtually(t, func(v virtual) {
		v.run(quick())
		v.add("news", 3)
		v.after(soon)
		require.Zero(t, v.pending())
		paused := time.Now()
		v.relay.Pause()
		h := v.relay.Health()
		require.Equal(t, relay.Paused, h.State)
		require.Equal(t, paused, h.Since)
		require.Contains(t, h.LastError, "matchrelay resume")
		require.Equal(t, relay.Paused, h.Topics["news"].State)
		require.Equal(t, relay.Paused, h.Topics["alerts"].State)
		v.add("news", 3)
		v.addMany("news", 1000)
		v.requireQuiet(3)
		require.Equal(t, 1003, v.pending())

		v.relay.Pause() // twice is once
		require.Equal(t, paused, v.relay.Health().Since)
		v.relay.RetryNow()
		v.requireQuiet(3)
		v.relay.Resume()
		v.relay.Resume()
		v.after(soon)
		require.Zero(t, v.pending())
		v.requireGot(nil)
		require.Equal(t, relay.Delivering, v.relay.Health().State)
	})
}

func TestWhatIsDiscardedDuringAPauseIsNotSentAfterIt(t *testing.T) {
	virtually(t, func(v virtual) {
		v.redis.onEvents = func() { v.relay.Pause() } // in the middle of a backlog, of which the next part is being read
		v.addMany("news", 8000)
		v.run(quick())
		v.after(soon)
		arrived := len(v.redis.got("news"))
		require.NotZero(t, arrived)
		v.requireQuiet(arrived)
		require.EqualValues(t, arrived, v.topic("news").Delivered)
		require.Equal(t, 8000-arrived, v.discardPending("news"))
		v.redis.change(func() { v.redis.onEvents = nil })
		v.add("news", 1)
		v.relay.Resume()
		v.after(soon)
		require.Zero(t, v.pending())
		require.Equal(t, append(v.appended[:arrived:arrived], v.appended[8000]), v.redis.got("news"))
	})
}

// TestPause_OutlastsARestartOfRedis has a real Redis, and a subscriber that really loses its connection. While it is paused the
// relay looks at Redis once, whether that has outlived what it was given: here that look meets another process.
func TestPause_OutlastsARestartOfRedis(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{Persistence: redistest.AOF})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	const before, during, after = 0, 1, 2
	var phase, calls atomic.Int64 // calls about news, during the pause
	front, restarted, looked := r.front(), make(chan struct{}), make(chan relay.Reply, 1)
	let := sync.OnceFunc(func() { close(restarted) })
	defer let()
	front.publish = func(next func() ([]relay.Reply, error), batches []relay.Batch) ([]relay.Reply, error) {
		first := batches[0]
		switch {
		case first.Channel == channels["news"] && phase.Load() == during:
			calls.Add(1)
			assert.Empty(t, first.Events, "it only looks")
			replies, err := insist(front, restarted, next)
			looked <- replies[0]
			return replies, err
		case len(first.Events) > 0 && phase.Load() == before:
			phase.Store(during)
			r.relay.Pause() // what is under way ends first
		}
		return next()
	}
	front.buffers = func(next func() ([]relay.Buffer, error)) ([]relay.Buffer, error) {
		if phase.Load() == during {
			return insist(front, restarted, next)
		}
		return next()
	}
	r.addMany("news", 3)
	r.startTarget(quick(), front)
	sub.WaitFor(3)
	mayRepeat := mayRepeatOf(r.appended)
	r.server.Kill()
	r.add("news", 3)
	r.server.Start()
	sub.WaitSubscribed(2)
	r.relay.RetryNow()
	let()
	require.Equal(t, relay.OtherRun, (<-looked).Outcome)
	require.Equal(t, relay.Paused, r.relay.Health().State)
	require.EqualValues(t, 3, r.topic("news").Pending)
	require.EqualValues(t, 1, calls.Load())
	require.Len(t, sub.Messages(), 3)
	phase.Store(after)
	r.relay.Resume()
	sub.WaitFor(9)
	r.waitDelivered("news")
	r.requireComplete(sub, mayRepeat)
}

// insist calls when a server is there again, until the connection is one to the process that is there now, and that has the scripts.
func insist[T any](front *target, restarted <-chan struct{}, call func() (T, error)) (answer T, err error) {
	<-restarted
	for {
		if answer, err = call(); err == nil {
			return answer, nil
		}
		_ = front.Load(context.Background())
	}
}

func TestAPauseOutlastsEveryOutage(t *testing.T) {
	virtually(t, func(v virtual) {
		v.run(quick())
		v.add("news", 3)
		v.after(time.Minute)
		v.redis.kill()
		v.after(soon)
		require.Equal(t, relay.RedisDown, v.relay.Health().State)
		v.relay.Pause()
		v.redis.start()
		v.add("news", 3)
		v.requireQuiet(3)
		v.redis.kill()
		v.requireQuiet(3)
		v.redis.start()
		v.relay.Resume()
		v.after(soon)
		require.Zero(t, v.pending())
		v.requireGot(nil)
	})
}

func TestATopicThatWaitsForSubscribersCanBePaused(t *testing.T) {
	virtually(t, func(v virtual) {
		opts := quick()
		opts.MinReceivers = map[string]int{"news": 1}
		opts.HoldMax = 400 * time.Millisecond
		v.redis.subscribers(0)
		v.run(opts)
		v.relay.Pause()
		v.add("news", 3)
		v.requireQuiet(0)
		require.Equal(t, 3, v.pending())
		v.redis.subscribers(1)
		v.relay.Resume()
		v.after(soon)
		v.requireGot(nil)
		require.Zero(t, v.topic("news").Unheard)
		v.relay.Pause()
		ended := time.Now()
		v.halt()
		require.Equal(t, ended, time.Now(), "a paused relay ends at once")
		require.Equal(t, relay.NotRunning, v.relay.Health().State)
	})
}

func TestWhatWasDeliveredBeforeAPauseDoesNotComeAgainAfterIt(t *testing.T) {
	virtually(t, func(v virtual) {
		opts := quick()
		opts.HealthInterval = 24 * time.Hour
		v.run(opts)
		v.add("news", 3)
		v.after(0)
		require.NotZero(t, v.topic("news").Progress.TailFrom)
		v.relay.Pause()
		v.after(4 * time.Second)
		require.Zero(t, v.topic("news").Progress.TailFrom, "Redis is known to have outlived it")
		v.redis.kill()
		v.redis.start()
		v.add("news", 3)
		v.requireQuiet(3)
		v.relay.Resume()
		v.after(soon)
		require.Zero(t, v.pending())
		v.requireGot(nil)
	})
}

func TestAnOutageThatBeginsInAPauseIsSeenWhenItEnds(t *testing.T) {
	virtually(t, func(v virtual) {
		v.run(quick())
		v.add("news", 3)
		v.after(0)
		v.relay.Pause()
		v.redis.kill() // before it is known to have outlived what it was given
		v.add("news", 3)
		v.requireQuiet(3)
		v.relay.Resume()
		v.after(soon)
		require.Equal(t, relay.RedisDown, v.relay.Health().State)
		v.redis.start()
		v.after(soon)
		require.Zero(t, v.pending())
		require.Len(t, v.redis.got("news"), 9, "the first three came again")
		v.requireGot(v.appended[:3])
	})
}

func TestAPauseDoesNotCountAsWaitingForSubscribers(t *testing.T) {
	virtually(t, func(v virtual) {
		opts := quick()
		opts.MinReceivers = map[string]int{"news": 1}
		opts.HoldMax = 3 * time.Second
		v.redis.subscribers(0)
		v.run(opts)
		v.add("news", 1)
		v.after(2900 * time.Millisecond)
		require.Equal(t, relay.Held, v.state())
		v.relay.Pause()
		v.after(opts.HoldMax) // the operator fixes the subscriber
		v.relay.Resume()
		v.after(2900 * time.Millisecond)
		require.Equal(t, relay.Held, v.state())
		v.redis.subscribers(1)
		v.after(soon)
		require.Zero(t, v.pending())
		require.Zero(t, v.topic("news").Unheard)
	})
}

func TestAPauseDoesNotCountAsWaitingForSubscribersOfATail(t *testing.T) {
	virtually(t, func(v virtual) {
		opts := quick()
		opts.MinReceivers = map[string]int{"news": 1}
		opts.HoldMax = 10 * time.Minute
		diesAndLosesItsSubscriber(v, opts)
		v.after(opts.HoldMax - 5*time.Minute)
		v.relay.Pause()
		v.after(opts.HoldMax)
		v.relay.Resume()
		v.after(opts.HoldMax - 5*time.Minute)
		require.Equal(t, relay.Held, v.state())
		v.redis.subscribers(1)
		v.after(soon)
		require.Len(t, v.redis.got("news"), 6, "all three once more")
		require.Zero(t, v.topic("news").Unheard)
	})
}
