package relay_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

func TestMain(m *testing.M) {
	relay.QuietClientLog()
	goleak.VerifyTestMain(m, redistest.Leaks()...)
}

func TestEventsAppendedWhileRedisIsAwayArriveOnceAndInOrder(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.start(quick())
	r.add("news", 50)
	r.addMany("news", 3000)
	r.add("alerts", 5)
	eventually(t, "the relay sees the outage", func() bool { return r.relay.Health().State == relay.RedisDown })
	r.halt()

	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	r.start(quick())
	sub.WaitFor(3055)
	r.waitDelivered("news")
	r.waitDelivered("alerts")
	r.requireComplete(sub, nil)
	require.Equal(t, relay.Delivering, r.relay.Health().State)
	require.Equal(t, uint64(3050), r.topic("news").Delivered)
	require.Zero(t, r.topic("news").Unheard)
}

func TestARunningRelayDeliversEachEventAsItIsAppended(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	r.start(quick())
	for i := range 20 {
		r.add("news", 1)
		sub.WaitFor(i + 1)
	}
	r.requireComplete(sub, nil)
}

func TestWhatNobodyHearsIsCountedAndCanBeReplayed(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	r.start(quick())
	sequences := r.add("news", 3)
	r.waitDelivered("news")
	require.Equal(t, uint64(3), r.topic("news").Unheard)

	sub := r.subscribe(redistest.SubscriberOptions{})
	result, err := r.box.Replay(context.Background(), sequences, outbox.ReplayOptions{})
	require.NoError(t, err)
	require.Equal(t, 3, result.Replayed)
	sub.WaitFor(3)
	r.requireComplete(sub, nil)
	eventually(t, "they are heard now", func() bool { return r.topic("news").Unheard == 0 && r.topic("news").Pending == 0 })
}

func TestATopicThatRequiresASubscriberIsHeldWhileOthersGoOn(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	opts := quick()
	opts.MinReceivers = map[string]int{"news": 1}
	r.start(opts)
	r.add("news", 5)
	r.add("alerts", 5)
	r.waitDelivered("alerts")
	eventually(t, "news are held", func() bool { return r.relay.Health().Topics["news"].State == relay.Held })
	require.Equal(t, relay.Held, r.relay.Health().State)
	require.Equal(t, uint64(5), r.topic("news").Pending)

	sub := r.subscribe(redistest.SubscriberOptions{Channels: []string{"test:news"}})
	sub.WaitFor(5)
	eventually(t, "nothing is held", func() bool { return r.relay.Health().State == relay.Delivering })
	require.Zero(t, r.topic("news").Unheard)
}

func TestAHeldTopicIsPublishedUnheardWhenHoldMaxIsOver(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	opts := quick()
	opts.MinReceivers = map[string]int{"news": 1}
	opts.HoldMax = 600 * time.Millisecond
	r.start(opts)
	r.add("news", 5)
	r.waitDelivered("news")
	require.Equal(t, uint64(5), r.topic("news").Unheard)
}

func TestAFlushedRedisIsGivenItsMarkBackAndNothingIsPublishedTwice(t *testing.T) {
	t.Parallel()
	for _, idle := range []bool{false, true} {
		t.Run(map[bool]string{false: "noticed by the next event", true: "noticed while idle"}[idle], func(t *testing.T) {
			t.Parallel()
			r := newRig(t, redistest.Options{})
			r.server.Start()
			sub := r.subscribe(redistest.SubscriberOptions{})
			opts := quick()
			if !idle {
				opts.HealthInterval = time.Hour
			}
			r.start(opts)
			r.add("news", 10)
			sub.WaitFor(10)
			require.NoError(t, r.server.Client().FlushAll(context.Background()).Err())
			if !idle {
				r.add("news", 1)
			}
			eventually(t, "the amnesia is noticed", func() bool { return len(r.alertKinds()) > 0 })
			r.add("news", 10)
			r.waitDelivered("news")
			sub.WaitFor(len(r.appended) + 1)
			r.requireComplete(sub, nil)
			require.Equal(t, []string{"redis_amnesia"}, r.alertKinds())
			stats, err := r.box.Stats(context.Background())
			require.NoError(t, err)
			require.Equal(t, uint64(1), stats.Epoch, "the file is the right one")
		})
	}
}

func TestAfterParkingAnEventTheNextIsNoAmnesia(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	r.start(quick())
	r.add("news", 3)
	sub.WaitFor(3)
	r.halt()
	parked := r.add("news", 1)[0]
	require.NoError(t, r.box.Park(context.Background(), "news", parked, outbox.Failure{Class: "poison"}))
	r.appended = r.appended[:3]
	r.start(quick())
	r.add("news", 3)
	sub.WaitFor(6)
	r.waitDelivered("news")
	r.requireComplete(sub, nil)
	require.Empty(t, r.alertKinds())
}

func TestKilledRedis(t *testing.T) {
	t.Parallel()
	for name, persistence := range map[string]redistest.Persistence{"without persistence": redistest.None, "with AOF": redistest.AOF} {
		t.Run(name+": the last two seconds come again, nothing else does, nothing is lost", func(t *testing.T) {
			t.Parallel()
			r := newRig(t, redistest.Options{Persistence: persistence})
			r.server.Start()
			sub := r.subscribe(redistest.SubscriberOptions{Reconnect: time.Second})
			front := r.front()
			r.startTarget(quick(), front)
			r.add("news", 20)
			sub.WaitFor(20)
			r.waitOutlived()
			fail := front.mute("test:news")
			r.addMany("news", 20)
			mayRepeat := mayRepeatOf(r.appended[20:])
			sub.WaitFor(40)
			r.waitDelivered("news")
			r.server.Kill()
			fail()
			r.add("news", 20)
			r.server.Start()
			sub.WaitSubscribed(2)
			r.waitDelivered("news")
			eventually(t, "the last one is there", func() bool {
				got := r.received(sub)
				return got[len(got)-1] == r.appended[59]
			})
			r.requireComplete(sub, mayRepeat)
			require.Len(t, r.received(sub), 80, "the tail came again")
		})
	}
}

func TestAFrozenRedisCostsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	r.startTarget(quick(), relay.NewRedis(r.client, time.Second))
	r.add("news", 20)
	sub.WaitFor(20)
	r.server.Freeze()
	r.add("news", 20)
	eventually(t, "time-outs are an outage", func() bool { return r.relay.Health().State == relay.RedisDown })
	r.server.Thaw()
	sub.WaitFor(40)
	r.waitDelivered("news")
	r.requireComplete(sub, nil)
}

func TestAnOlderCopyOfTheFileTakesAFreshOrigin(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	r.start(quick())
	r.add("news", 10)
	sub.WaitFor(10)
	r.halt()
	require.NoError(t, r.box.Close())
	copyFile(t, r.path, r.path+".copy")
	r.open()
	r.start(quick())
	r.add("news", 10)
	sub.WaitFor(20)
	r.halt()
	require.NoError(t, r.box.Close())

	copyFile(t, r.path+".copy", r.path)
	r.open()
	r.add("news", 15) // sequences that Redis has seen under this origin, with other message IDs
	r.start(quick())
	r.waitDelivered("news")
	eventually(t, "all that was ever appended has arrived", func() bool { return len(r.received(sub)) == 35 })
	r.requireComplete(sub, nil)
	require.Equal(t, []string{"outbox_rolled_back"}, r.alertKinds())
	stats, err := r.box.Stats(context.Background())
	require.NoError(t, err)
	require.Equal(t, uint64(2), stats.Epoch)
}
