package relay_test

import (
	"context"
	"errors"
	"io"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

func TestTail_HoldsWhatWasAcceptedWithALostAnswer(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{Persistence: redistest.AOF})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{Reconnect: 50 * time.Millisecond})
	front := r.front()
	var cut, slow atomic.Bool
	front.publish = func(next func() ([]relay.Reply, error), batches []relay.Batch) ([]relay.Reply, error) {
		replies, err := next()
		if len(batches[0].Events) > 0 && cut.Swap(false) {
			return nil, errors.New("cut off")
		}
		return replies, err
	}
	front.buffers = func(next func() ([]relay.Buffer, error)) ([]relay.Buffer, error) {
		if slow.Load() { // for a minute, nothing that was sent is known to have been read
			return []relay.Buffer{{Client: "slow", Bytes: 1 << 20}}, nil
		}
		return next()
	}
	r.startTarget(quick(), front)
	r.add("news", 3)
	sub.WaitFor(3)
	eventually(t, "the tail is known to be safe", func() bool { return r.topic("news").Pending == 0 && r.topic("news").Progress.TailFrom == 0 })
	slow.Store(true)
	cut.Store(true)
	r.add("news", 1)
	r.waitDelivered("news")
	require.EqualValues(t, 4, r.topic("news").Progress.TailFrom)
	r.server.Kill()
	r.server.Start()
	sub.WaitSubscribed(2)
	eventually(t, "the fourth came again", func() bool { return len(r.received(sub)) == 5 })
	r.requireComplete(sub, mayRepeatOf(r.appended[3:]))
}

func TestNewOrigin_IsTakenByAllTopics(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	r.start(quick())
	r.add("alerts", 1)
	r.waitDelivered("alerts")
	r.foreignMark("news")
	r.add("news", 1)
	r.waitDelivered("news")
	require.Equal(t, []string{"outbox_rolled_back"}, r.alertKinds())
	last := r.add("alerts", 1)[0]
	r.waitDelivered("alerts")
	r.requireComplete(sub, nil)
	stats, err := r.box.Stats(context.Background())
	require.NoError(t, err)
	marked, err := r.server.Client().HGet(context.Background(), relay.MarkKey("test:alerts", stats.Origin), "seq").Result()
	require.NoError(t, err)
	require.Equal(t, strconv.FormatUint(last, 10), marked, "the other topic goes on under the fresh origin")
}

// renewal is an outbox that takes its time to say that it has a fresh origin.
type renewal struct{ *outbox.Outbox }

func (s renewal) NewOrigin(ctx context.Context, from string, events ...outbox.Event) (string, error) {
	origin, err := s.Outbox.NewOrigin(ctx, from, events...)
	time.Sleep(time.Second)
	return origin, err
}

// The file may be a copy of one that another relay drains under the former origin.
func TestNewOrigin_IsThatOfWhatIsAppendedWithIt(t *testing.T) {
	virtually(t, func(v virtual) {
		former := v.origin()
		v.redis.marks[relay.MarkKey(channels["news"], former)] = outbox.Mark{Sequence: 77, MessageID: "another"}
		v.startBetween(quick(), renewal{v.box}, v.redis)
		v.after(time.Minute)
		require.Equal(t, []string{"outbox_rolled_back"}, v.alertKinds())
		require.Len(t, v.redis.got("alerts"), 1)
		require.Empty(t, v.redis.marks[relay.MarkKey(channels["alerts"], former)])
	})
}

func TestConsume_KnowsItsLastEntryByMoreThanItsID(t *testing.T) {
	t.Parallel()
	r := startedReader(t, redistest.Options{})
	r.addAs("5-1", originA, 1, "m-1")
	r.start()
	r.wait(1)
	r.halt()
	r.do("DEL", newsStream) // Redis forgets, and others get the IDs
	r.addAs("4-1", originA, 2, "m-2")
	r.addAs("5-1", originA, 3, "m-3")
	r.start()
	r.wait(1, 2, 3)
}

func TestPublish_CountsOnlyWhatRedisTookOfABatch(t *testing.T) {
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
		part := batches[0]
		part.Events = part.Events[:2]
		replies, err := front.Target.Publish(context.Background(), part)
		require.NoError(t, err)
		replies[0].Outcome, replies[0].Err = relay.Refused, odd("OOM command not allowed")
		return replies, nil
	}
	r.addMany("news", 5)
	r.startTarget(quick(), front)
	r.waitDelivered("news")
	r.requireComplete(sub, nil)
	require.EqualValues(t, 5, r.topic("news").Delivered)
}

func TestPoison_IsNoEventThatFailsWhileAnotherRunOfRedisAnswers(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	front := r.front()
	var fails atomic.Int64
	died := false // the lane of news alone looks at it
	front.publish = func(next func() ([]relay.Reply, error), batches []relay.Batch) ([]relay.Reply, error) {
		if batches[0].Channel != channels["news"] {
			return next()
		}
		if len(batches[0].Events) > 0 && fails.Add(1) <= 12 {
			died = true
			return nil, io.EOF
		}
		replies, err := next()
		if err == nil && died && batches[0].Run != "" {
			replies[0].Outcome = relay.OtherRun
		}
		died = died && batches[0].Run != "" // who asks for any run finds one
		return replies, err
	}
	r.add("news", 1)
	r.startTarget(quick(), front)
	r.waitDelivered("news")
	require.Zero(t, r.topic("news").Parked)
	r.requireComplete(sub, nil)
	require.Greater(t, fails.Load(), int64(12))
}

func TestConsume_HandsNothingOverAgainWhenItReadsFromTheStart(t *testing.T) {
	t.Parallel()
	r := startedReader(t, redistest.Options{})
	r.add(originA, 1, 2)
	r.start()
	r.wait(1, 2)
	r.halt()
	r.do("DEL", newsStream)
	r.addAs("1-1", originA, 1, "m-1")
	r.addAs("1-2", originA, 2, "m-2")
	r.add(originA, 3)
	r.start()
	r.wait(1, 2, 3)
}
