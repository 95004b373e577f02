package relay_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

func TestTheEndOfTheContextEndsEveryWaitAtOnce(t *testing.T) {
	t.Parallel()
	for _, wait := range []struct {
		name    string
		state   relay.State
		prepare func(r *rig, opts *relay.Options) relay.Source
	}{
		{"for Redis to come back", relay.RedisDown, func(r *rig, _ *relay.Options) relay.Source {
			r.server.Kill()
			return r.box
		}},
		{"for rights", relay.Blocked, func(r *rig, _ *relay.Options) relay.Source {
			require.NoError(r.t, r.server.Client().Do(context.Background(), "ACL", "SETUSER", "default", "-evalsha").Err())
			return r.box
		}},
		{"for subscribers that a topic requires", relay.Held, func(r *rig, opts *relay.Options) relay.Source {
			opts.MinReceivers = map[string]int{"news": 1}
			return r.box
		}},
		{"for subscribers that were there before", relay.Waiting, func(r *rig, opts *relay.Options) relay.Source {
			gone := r.subscribe(redistest.SubscriberOptions{})
			r.settleNews(r.t)
			gone.Close()
			r.server.Kill()
			r.server.Start()
			return r.box
		}},
		{"at an event that fails by itself", relay.Blocked, func(r *rig, opts *relay.Options) relay.Source {
			opts.BlockOnPoison = true
			r.settleNews(r.t)
			r.waitDelivered("alerts")
			r.addOversized()
			return r.box
		}},
		{"for room on the disk", relay.Blocked, func(r *rig, _ *relay.Options) relay.Source {
			return failing(r.box, "Read", outbox.ErrDiskFull, -1)
		}},
		{"for the next check of an idle Redis", relay.Delivering, func(r *rig, _ *relay.Options) relay.Source { return r.box }},
	} {
		t.Run(wait.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, redistest.Options{Config: []string{"proto-max-bulk-len 1mb"}})
			r.server.Start()
			r.add("news", 1)
			opts := quick()
			source := wait.prepare(r, &opts)
			opts.RetryDelay, opts.RetryMaxDelay, opts.RejoinWait, opts.HealthInterval = time.Hour, time.Hour, time.Hour, time.Hour
			if opts.BlockOnPoison {
				opts.RetryDelay, opts.RetryMaxDelay = 10*time.Millisecond, 10*time.Millisecond
			}
			opts.UntilEmpty = wait.state != relay.Delivering
			r.startBetween(opts, source, r.front())
			eventually(t, "it waits", func() bool {
				h := r.relay.Health()
				news := h.Topics["news"]
				return news.State == wait.state && (news.State != relay.Waiting || strings.Contains(news.LastError, "subscribers are back")) &&
					(opts.UntilEmpty || r.topic("news").Pending == 0)
			})
			r.halt() // otherwise it would take an hour
			require.Equal(t, relay.NotRunning, r.relay.Health().State)
		})
	}
}

func TestACallThatIsUnderWayIsWaitedForAndSettled(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	front := r.front()
	under, goOn := make(chan struct{}), make(chan struct{})
	front.publish = func(next func() ([]relay.Reply, error), batches []relay.Batch) ([]relay.Reply, error) {
		if len(batches[0].Events) > 0 {
			close(under)
			<-goOn
		}
		return next()
	}
	r.addMany("news", 100)
	opts := quick()
	opts.Channels = map[string]string{"news": channels["news"]}
	r.startTarget(opts, front)
	<-under
	halted := make(chan error, 1)
	go func() { halted <- r.stop() }()
	close(goOn)
	require.NoError(t, <-halted)
	r.stop = nil
	p, err := r.box.Position(context.Background(), "news")
	require.NoError(t, err)
	require.Equal(t, uint64(100), p.Cursor, "written, not only noted")
}

func TestAFrozenRedisDelaysTheEndByOneTimeOut(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	r.add("news", 1)
	late := &lateCalls{Target: relay.NewRedis(r.client, time.Second)}
	r.startTarget(quick(), late)
	r.waitDelivered("news")
	r.server.Freeze()
	r.add("news", 1)
	eventually(t, "the outage is seen", func() bool { return r.relay.Health().Topics["news"].State == relay.RedisDown })
	r.halt()
	require.LessOrEqual(t, int(late.n.Load()), len(channels), "no topic begins another call")
	r.server.Thaw()
}

// lateCalls counts the calls that a relay sends although it is to end. One for each topic may have been about to be sent.
type lateCalls struct {
	relay.Target
	n atomic.Int64
}

func (l *lateCalls) Publish(ctx context.Context, batches ...relay.Batch) ([]relay.Reply, error) {
	if ctx.Err() != nil {
		l.n.Add(1)
	}
	return l.Target.Publish(ctx, batches...)
}

func TestRelay_EndsWhileATransactionOfTheProcessorsOwnIsOpen(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	require.NoError(t, r.box.Close())
	db, err := bolt.Open(r.path, 0o600, nil)
	require.NoError(t, err)
	r.box, err = outbox.New(db, outbox.Options{})
	require.NoError(t, err)
	r.server.Start()
	r.add("news", 3)
	opened := make(chan *bolt.Tx, 1)
	front := r.front()
	front.publish = func(next func() ([]relay.Reply, error), batches []relay.Batch) ([]relay.Reply, error) {
		if len(batches[0].Events) > 0 {
			tx, err := db.Begin(true)
			if err != nil {
				return nil, err
			}
			opened <- tx
		}
		return next()
	}
	opts := quick()
	opts.Channels = map[string]string{"news": channels["news"]}
	r.startTarget(opts, front)
	tx := <-opened
	r.halt()
	require.NoError(t, tx.Rollback())

	require.NoError(t, r.box.Flush(context.Background()))
	require.Zero(t, r.topic("news").Pending, "it was settled")
	require.NoError(t, errors.Join(r.box.Close(), db.Close()))
	r.open()
}

func TestAnOutageIsToldOncePerTopic(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	log := &logged{}
	opts := quick()
	opts.Logger = log.logger()
	opts.RetryMaxDelay = 20 * time.Millisecond
	front := r.front()
	calls := make(chan struct{}, 10_000)
	front.publish = func(next func() ([]relay.Reply, error), _ []relay.Batch) ([]relay.Reply, error) {
		calls <- struct{}{}
		return next()
	}
	r.add("news", 1)
	r.startTarget(opts, front)
	for range 50 {
		<-calls
	}
	r.relay.RetryNow()
	r.server.Start()
	r.waitDelivered("news")
	eventually(t, "both are back", func() bool { return log.count("delivering again") == 2 })
	require.Equal(t, 2, log.count("level=WARN"), "one line for each of the two topics")
	require.Empty(t, r.alertKinds(), "nothing for an operator to do")
}

func TestRetryNowEndsABackoff(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	opts := quick()
	opts.RetryDelay, opts.RetryMaxDelay = time.Hour, time.Hour
	r.add("news", 1)
	r.start(opts)
	eventually(t, "it is down", func() bool { return r.relay.Health().Topics["news"].State == relay.RedisDown })
	r.server.Start()
	eventually(t, "it is up", func() bool { r.relay.RetryNow(); return r.topic("news").Pending == 0 })
}
