package relay_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

func TestAProcessThatDiesTogetherWithRedisPublishesWhatSubscribersMayHaveMissed(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{Persistence: redistest.AOF})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	r.start(quick())
	r.add("news", 3)
	sub.WaitFor(3)
	r.waitOutlived()
	r.halt()
	r.startBetween(quick(), forgetful{r.box}, r.front()) // what it settles dies with it
	r.add("news", 5)
	sub.WaitFor(8)
	r.halt()
	r.server.Kill()
	r.server.Start()
	sub.WaitSubscribed(2)
	r.start(quick())
	r.waitDelivered("news")
	mayRepeat := mayRepeatOf(r.appended[3:])
	eventually(t, "the last five came again", func() bool { return len(r.received(sub)) == 13 })
	r.requireComplete(sub, mayRepeat)
}

// forgetful is an outbox whose process dies before anything is settled.
type forgetful struct{ *outbox.Outbox }

func (forgetful) Settle(context.Context, outbox.Receipt) error { return nil }

func TestARedisThatDiesAgainWhileTheTailIsPublishedAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{Persistence: redistest.AOF})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	front := r.front()
	var deaths atomic.Int64
	front.republish = func(next func() (relay.Reply, error), _ relay.Batch) (relay.Reply, error) {
		if deaths.Load() == 0 { // before the script runs
			deaths.Add(1)
			r.server.Kill()
			r.server.Start()
			return next()
		}
		reply, err := next()
		if err != nil { // a server that has just been started may not know all scripts yet
			return reply, err
		}
		switch deaths.Add(1) {
		case 2: // after it has run, its answer lost
			r.server.Kill()
			r.server.Start()
			return relay.Reply{}, errors.New("cut off")
		case 3: // the answer is lost, and Redis lives
			return relay.Reply{}, errors.New("cut off")
		case 4: // it has seen them in this run already
			assert.Zero(t, reply.Published)
		}
		return reply, nil
	}
	fail := front.mute("test:news")
	r.startTarget(quick(), front)
	r.addMany("news", 10)
	sub.WaitFor(10)
	r.waitDelivered("news")
	r.server.Kill()
	r.server.Start()
	fail()
	r.add("news", 10)
	r.waitDelivered("news")
	mayRepeat := mayRepeatOf(r.appended)
	eventually(t, "all has arrived", func() bool {
		got := r.received(sub)
		return got[len(got)-1] == r.appended[19]
	})
	r.requireComplete(sub, mayRepeat)
	require.Equal(t, int64(4), deaths.Load())
}

func TestRelayDeath_OfATailOnlyWhatRedisDoesNotTakeAnyMoreIsGivenUp(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	r.addMany("news", 7)
	misfit := r.appended[3].MessageID
	log := &logged{}
	opts := quick()
	opts.Logger = log.logger()
	front := r.front()
	fail := front.mute("test:news")
	front.republish = func(next func() (relay.Reply, error), b relay.Batch) (relay.Reply, error) {
		if slices.ContainsFunc(b.Events, func(e outbox.Entry) bool { return e.MessageID == misfit }) {
			return relay.Reply{}, io.EOF // as Redis answers what is too large for it
		}
		return next()
	}
	r.startTarget(opts, front)
	r.waitDelivered("news")
	sub.WaitFor(7)
	r.server.Kill()
	r.server.Start()
	fail()
	r.add("news", 3)
	r.waitDelivered("news")
	sub.WaitFor(7 + 6 + 3)
	r.requireComplete(sub, mayRepeatOf(r.appended[:7]))
	again := map[string]int{}
	for _, e := range r.received(sub) {
		again[e.MessageID]++
	}
	for i, e := range r.appended[:7] {
		want := 2
		if i == 3 {
			want = 1
		}
		require.Equal(t, want, again[e.MessageID], "#%d", i+1)
	}
	require.Zero(t, r.topic("news").Parked)
	require.Equal(t, 1, log.count("gives up publishing an event again"))
}

func TestARedisThatDiesWhileItsSubscribersAreWaitedFor(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	stays := r.subscribe(redistest.SubscriberOptions{})
	leaves := r.subscribe(redistest.SubscriberOptions{})
	r.settleNewsOf(t, 1)
	leaves.Close()
	r.server.Kill()
	opts := quick()
	opts.RejoinWait = time.Hour
	r.add("news", 1)
	r.start(opts)
	front := func() relay.TopicHealth { return r.relay.Health().Topics["news"] }
	r.server.Start()
	r.waitRejoin("1 of 2")
	r.server.Kill()
	eventually(t, "the outage is seen", func() bool { return front().State == relay.RedisDown })
	r.server.Start()
	r.waitRejoin("1 of 2")
	r.server.Freeze() // and comes back as another process between two looks
	r.server.Kill()
	r.server.Start()
	r.waitSubscribers(r.server.Client(), 1)
	r.subscribe(redistest.SubscriberOptions{}) // in place of the one that left
	r.waitDelivered("news")
	eventually(t, "the last one has arrived", func() bool {
		got := r.received(stays)
		return len(got) > 0 && got[len(got)-1] == r.appended[1]
	})
}

// settleNewsOf adds n events and delivers them.
func (r *rig) settleNewsOf(t *testing.T, n int) {
	r.add("news", n)
	opts := quick()
	opts.UntilEmpty = true
	require.NoError(t, relay.New(r.box, r.front(), opts).Run(context.Background()))
}

func TestADamagedRecordInTheTailIsLeftOut(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprint(n, " events"), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, redistest.Options{Persistence: redistest.AOF})
			r.server.Start()
			sub := r.subscribe(redistest.SubscriberOptions{})
			front := r.front()
			front.mute("test:news")
			r.startTarget(quick(), front)
			r.addMany("news", n)
			sub.WaitFor(n)
			r.waitDelivered("news")
			r.halt()
			require.NoError(t, r.box.Close())
			damage(t, r.path, "news", 1)
			r.open()
			r.server.Kill()
			r.server.Start()
			sub.WaitSubscribed(2)
			r.start(quick())
			eventually(t, "the others come again", func() bool { return len(r.received(sub)) == n+n-1 })
			next := message("news", "next")
			r.addEvent(next)
			eventually(t, "it goes on", func() bool { return len(r.received(sub)) == n+n })
			require.NoError(t, r.stop())
			r.stop = nil
			require.NoError(t, r.box.Close())
			require.NoError(t, os.Remove(r.path)) // damaged on purpose
			r.open()
		})
	}
}

// unwritten is an outbox that writes nothing down but when it is told to, until it is killed.
type unwritten struct {
	*outbox.Outbox
	mu       sync.Mutex
	receipts []outbox.Receipt // guarded by mu
	killed   bool             // guarded by mu
}

func (u *unwritten) Settle(_ context.Context, r outbox.Receipt) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.receipts = append(u.receipts, r)
	return nil
}

func (u *unwritten) Flush(ctx context.Context) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.killed {
		return nil
	}
	for _, r := range u.receipts {
		if err := u.Outbox.Settle(ctx, r); err != nil {
			return err
		}
	}
	u.receipts = nil
	return u.Outbox.Flush(ctx)
}

func (u *unwritten) kill() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.killed = true
}

func TestRelayDeath_WhatTheNewRedisWasGivenIsNotPublishedAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{Persistence: redistest.AOF})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	front := r.front()
	fail := front.mute("test:news") // the three are not known to have left the buffers
	r.startTarget(quick(), front)
	r.addMany("news", 3)
	sub.WaitFor(3)
	r.waitDelivered("news")
	r.halt()
	fail()
	require.EqualValues(t, 1, r.topic("news").Progress.TailFrom)
	r.server.Kill()
	r.server.Start()
	sub.WaitSubscribed(2)

	source := &unwritten{Outbox: r.box}
	r.startBetween(quick(), source, relay.NewRedis(r.client, time.Second))
	sub.WaitFor(6) // the three come again
	r.add("news", 1)
	sub.WaitFor(7)
	source.kill() // before it could write down that the fourth was taken
	r.halt()

	r.start(quick())
	r.add("news", 1)
	r.waitDelivered("news")
	sub.WaitFor(8)
	r.requireComplete(sub, mayRepeatOf(r.appended[:3]))
}
