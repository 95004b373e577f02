package relay_test

import (
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/relay"
)

func TestATailIsNotGivenUpBecauseRedisDiesWhileItIsPublishedAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{Persistence: redistest.AOF})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	front := r.front()
	var calls atomic.Int64
	front.republish = func(next func() (relay.Reply, error), _ relay.Batch) (relay.Reply, error) {
		if calls.Add(1) <= relay.DefaultMaxRetries+1 {
			r.server.Kill()
			r.server.Start()
			return relay.Reply{}, io.EOF
		}
		return next()
	}
	fail := front.mute("test:news")
	r.startTarget(quick(), front)
	r.addMany("news", 3)
	sub.WaitFor(3)
	r.waitDelivered("news")
	r.server.Kill()
	r.server.Start()
	fail()
	r.add("news", 1)
	r.waitDelivered("news")
	sub.WaitFor(7)
	require.EqualValues(t, relay.DefaultMaxRetries+2, calls.Load())
	r.requireComplete(sub, mayRepeatOf(r.appended[:3]))
}

func TestALargeTailWhoseAnswerIsCutOffComesAgainOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{Persistence: redistest.AOF})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	front := r.front()
	var calls atomic.Int64
	front.republish = func(next func() (relay.Reply, error), _ relay.Batch) (relay.Reply, error) {
		reply, err := next()
		if calls.Add(1) == 3 {
			return relay.Reply{}, errors.New("cut off")
		}
		return reply, err
	}
	fail := front.mute("test:news")
	r.startTarget(quick(), front)
	r.addMany("news", 600)
	sub.WaitFor(600)
	r.server.Kill()
	r.server.Start()
	fail()
	r.add("news", 1)
	r.waitDelivered("news")
	sub.WaitFor(1201)
	require.Equal(t, 1201, len(sub.Messages()), "each once before the death, and once after it")
}

func TestTail_ThatNoOneHearsIsUnheardEvenWhenTheAnswerWasCutOff(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{Persistence: redistest.AOF})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	front := r.front()
	var calls atomic.Int64
	front.republish = func(next func() (relay.Reply, error), _ relay.Batch) (relay.Reply, error) {
		reply, err := next()
		if calls.Add(1) == 1 {
			return relay.Reply{}, errors.New("cut off")
		}
		return reply, err
	}
	fail := front.mute("test:news")
	opts := quick()
	opts.RejoinWait = time.Millisecond
	r.startTarget(opts, front)
	r.addMany("news", 3)
	sub.WaitFor(3)
	r.waitDelivered("news")
	sub.Close()
	r.server.Kill()
	r.server.Start()
	fail()
	require.Eventually(t, func() bool { return r.topic("news").Unheard == 3 }, redistest.Patience, time.Millisecond)
	require.EqualValues(t, 2, calls.Load())
}
