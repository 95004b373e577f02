package relay_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

func TestNothingMakesTheRelaySpin(t *testing.T) {
	t.Parallel()
	for name, odd := range map[string]func(reply *relay.Reply, guard bool, call int) error{
		"two servers behind one address": func(reply *relay.Reply, guard bool, call int) error {
			reply.Run = fmt.Sprint("run", call)
			if !guard {
				reply.Outcome = relay.OtherRun
			}
			return nil
		},
		"a mark that is evicted at once": func(reply *relay.Reply, guard bool, _ int) error {
			if reply.Outcome = relay.Lost; guard {
				reply.Outcome = relay.OK
			}
			reply.Mark = outbox.Mark{}
			return nil
		},
		"a publish that fails in a way that nobody knows": func(_ *relay.Reply, guard bool, _ int) error {
			if guard {
				return nil
			}
			return errors.New("odd")
		},
		"a script that is forgotten again and again": func(_ *relay.Reply, guard bool, _ int) error {
			if guard {
				return nil
			}
			return redisError("NOSCRIPT No matching script.")
		},
		"a subscriber that comes and goes": func(reply *relay.Reply, guard bool, _ int) error {
			if reply.Receivers = 1; !guard {
				reply.Outcome = relay.TooFew
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, redistest.Options{})
			r.server.Start()
			front := r.front()
			calls := make(chan struct{}, 10_000)
			var n atomic.Int64
			var sane atomic.Bool
			front.publish = func(next func() ([]relay.Reply, error), batches []relay.Batch) ([]relay.Reply, error) {
				guard := len(batches[0].Events) == 0
				if sane.Load() || batches[0].Channel != channels["news"] {
					return next()
				}
				call := int(n.Add(1))
				calls <- struct{}{}
				reply := relay.Reply{Outcome: relay.OK, Mark: batches[0].Predecessor, Run: batches[0].Run}
				if err := odd(&reply, guard, call); err != nil {
					return nil, err
				}
				return []relay.Reply{reply}, nil
			}
			front.restore = func(func() (relay.Reply, error)) (relay.Reply, error) {
				return relay.Reply{Outcome: relay.Lost}, nil // somebody else was faster, again and again
			}
			r.add("news", 1)
			opts := quick()
			opts.RetryDelay, opts.RetryMaxDelay = 100*time.Millisecond, 100*time.Millisecond
			opts.MinReceivers = map[string]int{"news": 1}
			log := &logged{}
			opts.Logger = log.logger()
			if strings.Contains(name, "evicted") {
				r.settleNews(t)
			}
			began := time.Now()
			r.startTarget(opts, front)
			for range 60 {
				<-calls
			}
			require.Greater(t, time.Since(began), 350*time.Millisecond, "60 calls without a rest")
			sane.Store(true)
			sub := r.subscribe(redistest.SubscriberOptions{})
			r.waitDelivered("news")
			sub.WaitFor(1)
			require.Zero(t, r.topic("news").Parked)
			require.LessOrEqual(t, log.count("level=WARN"), 10)
		})
	}
}

// redisError is an answer of Redis.
type redisError string

func (e redisError) Error() string { return string(e) }

func (redisError) RedisError() {}

// settleNews delivers what is there, and adds one more.
func (r *rig) settleNews(t *testing.T) {
	opts := quick()
	opts.UntilEmpty = true
	require.NoError(t, relay.New(r.box, r.front(), opts).Run(context.Background()))
	r.add("news", 1)
}

func TestPoisonAnywhereInAPipelineIsParkedAloneAndOtherTopicsGoOn(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{Config: []string{"proto-max-bulk-len 1mb"}})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	for _, n := range []int{0, 30, 100, 0, 0, 5} { // poison first, in the middle, several in a row, and last
		if n > 0 {
			r.addMany("news", n)
		}
		r.addOversized()
	}
	r.addMany("alerts", 1000)
	began := time.Now()
	r.start(quick())
	sub.WaitFor(1135)
	r.waitDelivered("news")
	r.requireComplete(sub, nil)
	require.Equal(t, uint64(6), r.topic("news").Parked)
	kinds := r.alertKinds()
	require.NotEmpty(t, kinds)
	require.Subset(t, []string{"event_parked"}, kinds)
	require.LessOrEqual(t, len(kinds), 1+int(time.Since(began)/time.Minute), "one alert for all of them, in a minute")
}

func TestATimeOutIsNeverAnAttempt(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	front := r.front()
	var fails atomic.Int64
	front.publish = func(next func() ([]relay.Reply, error), batches []relay.Batch) ([]relay.Reply, error) {
		if len(batches[0].Events) == 1 && fails.Add(1) <= 10 {
			return nil, context.DeadlineExceeded
		}
		return next()
	}
	r.add("news", 1)
	r.startTarget(quick(), front)
	r.waitDelivered("news")
	require.Zero(t, r.topic("news").Parked)
}

func TestARedisThatTakesNoPublishFromScriptsParksNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{Config: []string{`rename-command PUBLISH ""`}})
	r.server.Start()
	r.add("news", 3)
	r.start(quick())
	eventually(t, "it is told", func() bool {
		h := r.relay.Health().Topics["news"]
		return h.State == relay.Blocked && strings.Contains(h.LastError, "lacks or renames a command")
	})
	eventually(t, "the alert", func() bool { return len(r.alertKinds()) > 0 })
	require.Equal(t, "redis_refused", r.alertKinds()[0])
	r.halt()
	require.Equal(t, uint64(3), r.topic("news").Pending)
}

func TestAMarkWhoseEventIsPrunedIsAmnesia(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	require.NoError(t, r.box.Close())
	var err error
	r.box, err = outbox.Open(r.path, outbox.Options{Retention: time.Millisecond})
	require.NoError(t, err)
	r.server.Start()
	r.add("news", 3)
	r.settleNews(t)
	eventually(t, "the first are pruned", func() bool {
		_, err := r.box.Prune(context.Background())
		require.NoError(t, err)
		p, err := r.box.Position(context.Background(), "news")
		require.NoError(t, err)
		return p.PrunedTo == 3
	})
	stats, err := r.box.Stats(context.Background())
	require.NoError(t, err)
	require.NoError(t, r.server.Client().HSet(context.Background(), "matchrelay:{test:news}:hwm:"+stats.Origin,
		"seq", 1, "id", r.appended[0].MessageID).Err())
	r.start(quick())
	r.waitDelivered("news")
	require.Equal(t, []string{"redis_amnesia"}, r.alertKinds())
}

func TestAPublishThatIsRefusedInTheMiddleOfABatchGoesOnThere(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	front := r.front()
	var refused atomic.Bool
	front.publish = func(next func() ([]relay.Reply, error), batches []relay.Batch) ([]relay.Reply, error) {
		if len(batches[0].Events) < 5 || refused.Swap(true) {
			return next()
		}
		batches[0].Events = batches[0].Events[:2]
		replies, err := front.Target.Publish(context.Background(), batches[0])
		require.NoError(t, err)
		replies[0].Outcome, replies[0].Err = relay.Refused, redisError("OOM command not allowed")
		return replies, nil
	}
	r.addMany("news", 5)
	r.startTarget(quick(), front)
	sub.WaitFor(6)
	r.waitDelivered("news")
	r.requireComplete(sub, nil)
	require.Equal(t, []string{"redis_full"}, r.alertKinds())
}

func TestAScriptThatCannotBeLoadedIsAFailureLikeAnyOther(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	require.NoError(t, r.server.Client().Do(context.Background(), "ACL", "SETUSER", "default", "-script").Err())
	r.add("news", 1)
	opts := quick()
	opts.Observe = func(string, []outbox.Entry) {}
	r.start(opts)
	eventually(t, "it is told", func() bool {
		h := r.relay.Health().Topics["news"]
		return h.State == relay.Blocked && strings.Contains(h.LastError, "+script|load")
	})
	require.NoError(t, r.server.Client().Do(context.Background(), "ACL", "SETUSER", "default", "+@all").Err())
	r.waitDelivered("news")
}

func TestFailuresWhileRedisIsRepaired(t *testing.T) {
	t.Parallel()
	cut := func(next func() (relay.Reply, error), n int64) (relay.Reply, error) {
		reply, err := next()
		switch n {
		case 1:
			return relay.Reply{}, errors.New("cut off")
		case 2:
			return relay.Reply{Outcome: relay.Refused, Err: redisError("NOPERM")}, nil
		case 3:
			return relay.Reply{Outcome: relay.OtherRun}, nil
		}
		return reply, err
	}
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	front := r.front()
	var restores, republishes atomic.Int64
	front.restore = func(next func() (relay.Reply, error)) (relay.Reply, error) { return cut(next, restores.Add(1)) }
	front.republish = func(next func() (relay.Reply, error), _ relay.Batch) (relay.Reply, error) {
		return cut(next, republishes.Add(1))
	}
	fail := front.mute("test:news")
	r.startTarget(quick(), front)
	r.addMany("news", 5)
	sub.WaitFor(5)
	r.waitDelivered("news")
	r.server.Kill() // without persistence: the mark is gone, and the tail has to come again
	r.server.Start()
	fail()
	r.add("news", 5)
	r.waitDelivered("news")
	mayRepeat := mayRepeatOf(r.appended)
	eventually(t, "all has arrived", func() bool {
		got := r.received(sub)
		return got[len(got)-1] == r.appended[9]
	})
	r.requireComplete(sub, mayRepeat)
	require.GreaterOrEqual(t, restores.Load(), int64(1))
	require.GreaterOrEqual(t, republishes.Load(), int64(4))
}

func TestAnEventIsNotSuspectedWhenTheGuardAfterItFails(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	front := r.front()
	var fails atomic.Int64
	down := false
	front.publish = func(next func() ([]relay.Reply, error), batches []relay.Batch) ([]relay.Reply, error) {
		if batches[0].Channel != channels["news"] {
			return next()
		}
		if len(batches[0].Events) > 0 && fails.Add(1) <= 20 {
			down = true
			return nil, io.EOF
		}
		if down { // the guard that follows
			down = false
			return nil, io.EOF
		}
		return next()
	}
	r.add("news", 2)
	r.startTarget(quick(), front)
	sub.WaitFor(2)
	r.waitDelivered("news")
	require.Zero(t, r.topic("news").Parked)
	require.Greater(t, fails.Load(), int64(20))
}
