package relay_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

func TestWhatNobodyHeardIsKnownEvenWhenTheAnswerWasCutOff(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	front := r.front()
	var cut atomic.Bool
	front.publish = func(next func() ([]relay.Reply, error), batches []relay.Batch) ([]relay.Reply, error) {
		replies, err := next()
		if len(batches[0].Events) > 0 && cut.Swap(false) {
			return nil, errors.New("cut off")
		}
		return replies, err
	}
	r.startTarget(quick(), front)
	r.add("news", 1)
	r.waitDelivered("news")
	cut.Store(true)
	r.addMany("news", 700) // several batches
	r.waitDelivered("news")
	require.Equal(t, uint64(701), r.topic("news").Unheard)

	sub := r.subscribe(redistest.SubscriberOptions{})
	cut.Store(true)
	r.addMany("news", 300)
	r.waitDelivered("news")
	cut.Store(true)
	r.add("news", 1)
	r.waitDelivered("news")
	sub.WaitFor(301)
	require.Equal(t, uint64(701), r.topic("news").Unheard, "what was heard is not counted")
}

func TestWhatNobodyHeardIsKnownAlthoughALaterBatchOfTheSameCallWasHeard(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	front := r.front()
	var cut atomic.Bool
	var sub *redistest.Subscriber
	front.publish = func(next func() ([]relay.Reply, error), batches []relay.Batch) ([]relay.Reply, error) {
		if len(batches) < 2 || !cut.Swap(false) {
			return next()
		}
		_, err := front.Target.Publish(context.Background(), batches[0])
		require.NoError(t, err)
		sub = r.subscribe(redistest.SubscriberOptions{})
		_, err = front.Target.Publish(context.Background(), batches[1])
		require.NoError(t, err)
		return nil, errors.New("cut off")
	}
	cut.Store(true)
	r.startTarget(quick(), front)
	r.addMany("news", 400)
	r.waitDelivered("news")
	require.Equal(t, uint64(200), r.topic("news").Unheard)
	sub.WaitFor(200)
	eventually(t, "a guard has cleared the list", func() bool {
		return r.server.Client().HGet(context.Background(), r.markKey(), "unheard").Val() == ""
	})
}

// Redis keeps the latest thousand until the file has stored them.
func TestUnheard_OnADiskThatStaysFullIsNoMoreThanRedisKeeps(t *testing.T) {
	virtually(t, func(v virtual) {
		opts := quick()
		opts.MinReceivers, opts.HoldMax = map[string]int{"news": 1}, time.Minute
		v.redis.subscribers(0)
		v.add("news", 3000)
		source := failing(v.box, "Flush", outbox.ErrDiskFull, -1)
		v.startBetween(opts, source, v.redis)
		v.after(time.Hour)
		published := len(v.redis.got("news"))
		require.Positive(t, published, "RELAY_HOLD_MAX is over")
		require.LessOrEqual(t, published, 1000)
		require.Equal(t, relay.Held, v.state())
		require.Contains(t, v.relay.Health().LastError, "disk")
		v.redis.subscribers(1)
		v.after(soon)
		require.Zero(t, v.pending(), "a full disk holds up nothing that someone hears")
		v.halt()
		require.EqualValues(t, published, v.topic("news").Unheard)
	})
}

func TestUnheard_GoesOnOnceTheDiskHasRoom(t *testing.T) {
	virtually(t, func(v virtual) {
		v.redis.subscribers(0)
		v.add("news", 3000)
		source := failing(v.box, "Flush", outbox.ErrDiskFull, 100)
		v.startBetween(quick(), source, v.redis)
		v.after(time.Hour)
		require.Zero(t, v.pending())
		v.halt()
		require.EqualValues(t, 3000, v.topic("news").Unheard)
	})
}
