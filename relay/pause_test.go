package relay_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/relay"
)

// requireQuiet checks that nothing is delivered for a while.
func (r *rig) requireQuiet(sub *redistest.Subscriber, n int) {
	r.t.Helper()
	require.Never(r.t, func() bool { return len(sub.Messages()) != n }, 700*time.Millisecond, 20*time.Millisecond)
	require.Equal(r.t, relay.Paused, r.relay.Health().State)
}

func TestAPausedRelaySendsNothingAndGoesOnInOrder(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{Reconnect: 50 * time.Millisecond})
	r.start(quick())
	r.add("news", 3)
	sub.WaitFor(3)
	r.waitDelivered("news")
	before := time.Now()
	r.relay.Pause()
	h := r.relay.Health()
	require.Equal(t, relay.Paused, h.State)
	require.WithinDuration(t, before, h.Since, time.Second)
	require.Contains(t, h.LastError, "matchrelay resume")
	require.Equal(t, relay.Paused, h.Topics["news"].State)
	require.Equal(t, relay.Paused, h.Topics["alerts"].State)
	r.add("news", 3)
	r.addMany("news", 1000)
	r.requireQuiet(sub, 3)
	require.EqualValues(t, 1003, r.topic("news").Pending)

	r.relay.Pause() // twice is once
	require.Equal(t, h.Since, r.relay.Health().Since)
	r.relay.RetryNow()
	r.requireQuiet(sub, 3)
	r.relay.Resume()
	r.relay.Resume()
	sub.WaitFor(1006)
	r.waitDelivered("news")
	r.requireComplete(sub, nil)
	require.Equal(t, relay.Delivering, r.relay.Health().State)
}

func TestWhatIsDiscardedDuringAPauseIsNotSentAfterIt(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	front := r.front()
	front.publish = func(next func() ([]relay.Reply, error), batches []relay.Batch) ([]relay.Reply, error) {
		if len(batches[0].Events) > 0 {
			r.relay.Pause() // in the middle of a backlog, of which the next part is being read
		}
		return next()
	}
	r.addMany("news", 8000)
	r.startTarget(quick(), front)
	eventually(t, "it is paused", func() bool { return r.relay.Health().State == relay.Paused })
	arrived := 0
	eventually(t, "what was under way has arrived", func() bool {
		before := arrived
		arrived = len(sub.Messages())
		return arrived > 0 && arrived == before && r.topic("news").Delivered == uint64(arrived)
	})
	r.requireQuiet(sub, arrived)
	r.discardPending("news")
	r.add("news", 1)
	eventually(t, "the new event has arrived", func() bool {
		r.relay.Resume()
		return r.topic("news").Pending == 0
	})
	sub.WaitFor(arrived + 1)
	require.Equal(t, arrived+1, len(sub.Messages()))
}

func TestAPauseOutlastsARestartOfRedis(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{Persistence: redistest.AOF})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{Reconnect: 50 * time.Millisecond})
	r.start(quick())
	r.add("news", 3)
	sub.WaitFor(3)
	eventually(t, "the tail is known to be safe", func() bool { return r.topic("news").Pending == 0 && r.topic("news").Progress.TailFrom == 0 })
	r.server.Kill()
	eventually(t, "the relay sees the outage", func() bool {
		r.relay.RetryNow()
		return r.relay.Health().State == relay.RedisDown
	})
	r.relay.Pause()
	r.server.Start()
	sub.WaitSubscribed(2)
	r.add("news", 3)
	r.requireQuiet(sub, 3)
	r.relay.Resume()
	sub.WaitFor(6)
	r.waitDelivered("news")
	r.requireComplete(sub, nil)
}

func TestATopicThatWaitsForSubscribersCanBePaused(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	opts := quick()
	opts.MinReceivers = map[string]int{"news": 1}
	opts.HoldMax = 400 * time.Millisecond
	r.start(opts)
	r.relay.Pause()
	r.add("news", 3)
	require.Never(t, func() bool { return r.topic("news").Pending != 3 }, 700*time.Millisecond, 20*time.Millisecond)
	sub := r.subscribe(redistest.SubscriberOptions{})
	r.relay.Resume()
	sub.WaitFor(3)
	r.relay.Pause()
	r.halt() // a paused relay ends at once
	require.Equal(t, relay.NotRunning, r.relay.Health().State)
	r.requireComplete(sub, nil)
}

func TestWhatWasDeliveredBeforeAPauseDoesNotComeAgainAfterIt(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{Persistence: redistest.AOF})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{Reconnect: 50 * time.Millisecond})
	opts := quick()
	opts.HealthInterval = time.Hour
	r.start(opts)
	r.add("news", 3)
	sub.WaitFor(3)
	r.relay.Pause()
	eventually(t, "the tail is known to be safe", func() bool { return r.topic("news").Pending == 0 && r.topic("news").Progress.TailFrom == 0 })
	r.server.Kill()
	r.server.Start()
	sub.WaitSubscribed(2)
	r.add("news", 3)
	r.requireQuiet(sub, 3)
	r.relay.Resume()
	sub.WaitFor(6)
	r.waitDelivered("news")
	r.requireComplete(sub, nil)
}

func TestAnOutageThatBeginsInAPauseIsSeenWhenItEnds(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{Persistence: redistest.AOF})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{Reconnect: 50 * time.Millisecond})
	r.start(quick())
	r.add("news", 3)
	sub.WaitFor(3)
	r.waitDelivered("news")
	mayRepeat := mayRepeatOf(r.appended)
	r.relay.Pause()
	r.server.Kill() // before it is known to have outlived what it was given
	r.add("news", 3)
	require.Never(t, func() bool { return r.relay.Health().State != relay.Paused }, 3*time.Second, 20*time.Millisecond)
	r.relay.Resume()
	eventually(t, "the relay sees the outage", func() bool { return r.relay.Health().State == relay.RedisDown })
	r.server.Start()
	sub.WaitSubscribed(2)
	r.waitDelivered("news")
	sub.WaitFor(9)
	r.requireComplete(sub, mayRepeat)
}

func TestAPauseDoesNotCountAsWaitingForSubscribers(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	opts := quick()
	opts.MinReceivers = map[string]int{"news": 1}
	opts.HoldMax = 3 * time.Second
	r.start(opts)
	r.add("news", 1)
	eventually(t, "it is held", func() bool { return r.relay.Health().Topics["news"].State == relay.Held })
	r.relay.Pause()
	<-time.After(opts.HoldMax) // the operator mends the subscriber
	r.relay.Resume()
	eventually(t, "it is held again", func() bool { return r.relay.Health().Topics["news"].State == relay.Held })
	sub := r.subscribe(redistest.SubscriberOptions{})
	sub.WaitFor(1)
	r.waitDelivered("news")
	require.Zero(t, r.topic("news").Unheard)
}
