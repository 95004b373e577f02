package relay_test

import (
	"context"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/relay"
)

func TestWhatASlowSubscriberHasStillToReadComesAgainWhenRedisDies(t *testing.T) {
	for name, c := range map[string]struct{ events, size int }{ // more than the kernel buffers
		"a backlog": {24, 512 << 10}, "one large event": {1, 12 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, redistest.Options{Persistence: redistest.AOF, Config: []string{patientBuffers}})
			r.server.Start()
			sub, read := r.subscribeStuck()
			front := r.front()
			var looks atomic.Int64
			front.buffers = func(next func() ([]relay.Buffer, error)) ([]relay.Buffer, error) {
				looks.Add(1)
				return next()
			}
			opts := quick()
			opts.MaxBuffer = 1 << 30 // for the sake of the backlog, nobody looks
			r.startTarget(opts, front)
			r.add("news", 1) // at which the subscriber is stuck
			for range c.events {
				r.addEvent(message("news", strings.Repeat("x", c.size)))
			}
			r.waitDelivered("news")
			eventually(t, "Redis has long been known to have taken them", func() bool { return looks.Load() >= 2 })
			require.Positive(t, r.inBuffers(), "the subscriber is behind")
			require.NotZero(t, r.topic("news").Progress.TailFrom)
			r.server.Kill()
			read()
			r.server.Start()
			eventually(t, "all have arrived", func() bool {
				arrived := map[string]bool{}
				for _, m := range r.received(sub) {
					arrived[m.MessageID] = true
				}
				return len(arrived) == 1+c.events
			})
			eventually(t, "nothing is left to send again", func() bool { return r.topic("news").Progress.TailFrom == 0 })
			require.Zero(t, r.inBuffers())
			r.requireComplete(sub, mayRepeatOf(r.appended))
		})
	}
}

func TestALookAtTheBuffersThatFailsIsNoFaultOfAnEvent(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	front := r.front()
	var looks atomic.Int64
	front.buffers = func(next func() ([]relay.Buffer, error)) ([]relay.Buffer, error) {
		if looks.Add(1) <= 3 {
			return nil, io.EOF
		}
		return next()
	}
	opts := quick()
	opts.MaxRetries = 1
	r.startTarget(opts, front)
	for looks.Load() < 5 { // never idle for as long as it takes to look in peace
		r.add("news", 1)
		sub.WaitFor(len(r.appended))
	}
	r.waitDelivered("news")
	require.Zero(t, r.topic("news").Parked)
	r.requireComplete(sub, nil)
}

// inBuffers is how many bytes are in the output buffers of subscribers.
func (r *rig) inBuffers() (bytes int64) {
	r.t.Helper()
	buffers, _, err := relay.NewRedis(r.client, socketTimeout).Buffers(context.Background())
	require.NoError(r.t, err)
	for _, b := range buffers {
		bytes += b.Bytes
	}
	return bytes
}

func TestLooksAtTheBuffersThatAlwaysFailStopNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	front := r.front()
	var looks atomic.Int64
	front.buffers = func(func() ([]relay.Buffer, error)) ([]relay.Buffer, error) {
		looks.Add(1)
		return nil, context.DeadlineExceeded
	}
	r.startTarget(quick(), front)
	r.add("news", 1)
	sub.WaitFor(1)
	eventually(t, "it has looked in vain", func() bool { return looks.Load() >= 2 })
	r.add("news", 5)
	sub.WaitFor(6)
	r.waitDelivered("news")
	r.requireComplete(sub, nil)
}

// stuckReader is a subscriber of another channel that reads nothing, with something in its output buffer.
func (r *rig) stuckReader() {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.server.Addr())
	require.NoError(r.t, err)
	r.t.Cleanup(func() { _ = conn.Close() })
	require.NoError(r.t, conn.(*net.TCPConn).SetReadBuffer(4096))
	_, err = conn.Write([]byte("SUBSCRIBE other\r\n"))
	require.NoError(r.t, err)
	eventually(r.t, "its output buffer holds something", func() bool {
		require.NoError(r.t, r.server.Client().Publish(context.Background(), "other", strings.Repeat("x", 256<<10)).Err())
		return r.inBuffers() > 0
	})
}

func TestARelayUntilEmptyEndsBesideASubscriberThatReadsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	r.stuckReader()
	opts := quick()
	opts.UntilEmpty = true
	r.add("news", 3)
	ctx, cancel := context.WithTimeout(context.Background(), redistest.Patience)
	defer cancel()
	require.NoError(t, relay.New(r.box, r.front(), opts).Run(ctx))
	require.NoError(t, ctx.Err(), "it ended by itself")
	r.requireComplete(sub, nil)
	require.NoError(t, r.box.Flush(context.Background()))
	require.EqualValues(t, 1, r.topic("news").Progress.TailFrom, "the next relay knows what a death of Redis could take")
}

// odd is an error reply in words of its own.
type odd string

func (o odd) Error() string { return string(o) }
func (odd) RedisError()     {}

func TestARedisThatRefusesToTellOfBuffersInItsOwnWordsIsNoOutage(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	front := r.front()
	var looks atomic.Int64
	front.buffers = func(func() ([]relay.Buffer, error)) ([]relay.Buffer, error) {
		looks.Add(1)
		return nil, odd("ERR syntax error")
	}
	opts := quick()
	opts.UntilEmpty = true
	r.add("news", 3)
	ctx, cancel := context.WithTimeout(context.Background(), redistest.Patience)
	defer cancel()
	require.NoError(t, relay.New(r.box, front, opts).Run(ctx))
	require.NoError(t, ctx.Err(), "it ended by itself")
	require.LessOrEqual(t, looks.Load(), int64(2))
	r.requireComplete(sub, nil)
}

func TestWhatIsDiscardedDuringAnOutageIsNotSentAfterIt(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	front := r.front()
	var down atomic.Bool
	var looked atomic.Int64
	front.buffers = func(next func() ([]relay.Buffer, error)) ([]relay.Buffer, error) {
		if looked.Add(1) == 1 { // after a round trip, and with the next part of the backlog read already
			down.Store(true)
		}
		if down.Load() {
			return nil, io.EOF
		}
		return next()
	}
	front.publish = func(next func() ([]relay.Reply, error), _ []relay.Batch) ([]relay.Reply, error) {
		if down.Load() {
			return nil, io.EOF
		}
		time.Sleep(300 * time.Millisecond) // a slow network
		return next()
	}
	r.addMany("news", 16000)
	r.startTarget(quick(), front)
	eventually(t, "the outage shows", func() bool { return down.Load() && r.relay.Health().Topics["news"].State == relay.RedisDown })
	eventually(t, "what has arrived is settled", func() bool { return r.topic("news").Delivered == uint64(len(sub.Messages())) })
	discarded := r.discardPending("news")
	down.Store(false)
	r.add("news", 1)
	r.waitDelivered("news")
	due := 16001 - discarded
	sub.WaitFor(due)
	require.Equal(t, due, len(sub.Messages()))
}
