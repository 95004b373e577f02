package relay_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
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

// damagedTail is an outbox that cannot read its first events once they are delivered.
type damagedTail struct {
	*outbox.Outbox
	damaged atomic.Bool
}

func (d *damagedTail) Read(ctx context.Context, r outbox.Range) ([]outbox.Entry, error) {
	if d.damaged.Load() && r.After < 3 {
		return nil, fmt.Errorf("a page of it: %w", outbox.ErrDamaged)
	}
	return d.Outbox.Read(ctx, r)
}

func TestATailThatCannotBeReadKeepsNothingElseWaiting(t *testing.T) {
	virtually(t, func(v virtual) {
		log := &logged{}
		opts := quick()
		opts.Logger = log.logger()
		source := &damagedTail{Outbox: v.box}
		v.startBetween(opts, source, v.redis)
		v.add("news", 3)
		v.after(0)
		v.redis.kill()
		source.damaged.Store(true)
		v.redis.start()
		v.add("news", 2)
		v.after(opts.RejoinWait)
		require.Zero(t, v.pending())
		v.requireGot(nil)
		require.Equal(t, 1, log.count("what subscribers may have missed of news is not published again"))
		require.Equal(t, relay.Delivering, v.state())
	})
}
