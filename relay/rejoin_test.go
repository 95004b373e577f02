package relay_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/relay"
)

func TestTheWaitForSubscribersGoesOnThroughHiccupsOfTheNetwork(t *testing.T) {
	for name, away := range map[string]time.Duration{"short ones": 0, "as long as the network is well": 500 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			waitThroughHiccups(t, away)
		})
	}
}

func waitThroughHiccups(t *testing.T, away time.Duration) {
	r := newRig(t, redistest.Options{Persistence: redistest.AOF})
	r.server.Start()
	proxy := redistest.NewProxy(t, r.server.Addr())
	client := relay.NewClient(relay.ClientOptions{Addrs: []string{proxy.Addr()}, DialTimeout: time.Second})
	t.Cleanup(func() { _ = client.Close() })
	stays, leaves := r.subscribe(redistest.SubscriberOptions{}), r.subscribe(redistest.SubscriberOptions{})
	opts := quick()
	opts.RejoinWait = time.Second
	r.startTarget(opts, relay.NewRedis(client, time.Second))
	r.add("news", 3)
	stays.WaitFor(3)
	r.waitDelivered("news")
	r.server.Kill()
	leaves.Close()
	r.server.Start()
	stays.WaitSubscribed(2)
	r.add("news", 1)
	waited := func() bool { return r.topic("news").Pending == 0 }
	for hiccup := 0; !waited(); hiccup++ {
		require.Less(t, hiccup, 100, "the wait begins anew each time")
		eventually(t, "it waits, or is through", func() bool { return r.relay.Health().Topics["news"].State == relay.Waiting || waited() })
		time.Sleep(400 * time.Millisecond) // the network is well for a while, shorter than the wait
		proxy.Reset()
		eventually(t, "it is interrupted", func() bool { return r.relay.Health().Topics["news"].State != relay.Waiting || waited() })
		time.Sleep(away)
		proxy.Heal()
	}
	r.requireComplete(stays, mayRepeatOf(r.appended[:3]))
}

func TestALongOutageGivesSubscribersTheirTimeAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{Persistence: redistest.AOF})
	r.server.Start()
	front, back := redistest.NewProxy(t, r.server.Addr()), redistest.NewProxy(t, r.server.Addr())
	client := relay.NewClient(relay.ClientOptions{Addrs: []string{front.Addr()}, DialTimeout: time.Second})
	t.Cleanup(func() { _ = client.Close() })
	leaves := r.subscribe(redistest.SubscriberOptions{})
	var away atomic.Bool
	stays := redistest.Subscribe(t, back.Addr(), redistest.SubscriberOptions{Channels: []string{"test:news", "test:alerts"}, Resolve: func() string {
		if away.Load() {
			return ""
		}
		return back.Addr()
	}})
	stays.WaitSubscribed(1)
	opts := quick()
	opts.RejoinWait = 5 * time.Second
	r.startTarget(opts, relay.NewRedis(client, time.Second))
	r.add("news", 3)
	stays.WaitFor(3)
	eventually(t, "the tail is known to be safe", func() bool { return r.topic("news").Pending == 0 && r.topic("news").Progress.TailFrom == 0 })
	r.server.Kill()
	leaves.Close()
	r.server.Start()
	stays.WaitSubscribed(2)
	waiting := func() bool { return r.relay.Health().Topics["news"].State == relay.Waiting }
	eventually(t, "it waits for the one that left", waiting)
	began := time.Now()
	eventually(t, "most of the wait is over", func() bool { return time.Since(began) > 3500*time.Millisecond })
	r.add("news", 1)
	require.EqualValues(t, 1, r.topic("news").Pending)
	away.Store(true)
	front.Reset()
	back.Reset()
	began = time.Now()
	eventually(t, "the outage lasts as long as the wait", func() bool { return time.Since(began) > 5*time.Second })
	front.Heal()
	back.Heal()
	eventually(t, "it waits again", waiting)
	began = time.Now()
	eventually(t, "what was left of the wait is over", func() bool { return time.Since(began) > 2500*time.Millisecond })
	require.EqualValues(t, 1, r.topic("news").Pending)
	away.Store(false)
	r.waitDelivered("news")
	require.Zero(t, r.topic("news").Unheard, "it waited for the one that is back")
	stays.WaitFor(4)
	r.requireComplete(stays, nil)
}

func TestWhatWasDeliveredBeforeATopicIsHeldDoesNotComeAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{Persistence: redistest.AOF})
	r.server.Start()
	first := r.subscribe(redistest.SubscriberOptions{})
	opts := quick()
	opts.MinReceivers = map[string]int{"news": 1}
	opts.RejoinWait = time.Millisecond
	r.start(opts)
	r.add("news", 3)
	first.WaitFor(3)
	first.Close()
	r.add("news", 1)
	eventually(t, "it is held", func() bool { return r.relay.Health().Topics["news"].State == relay.Held })
	held := time.Now()
	eventually(t, "Redis has outlived what it was given", func() bool { return time.Since(held) > 4*time.Second })
	require.Zero(t, r.topic("news").Progress.TailFrom, "and the file knows")
	r.halt()
	r.server.Kill()
	r.server.Start()
	r.start(opts)
	second := r.subscribe(redistest.SubscriberOptions{})
	r.waitDelivered("news")
	second.WaitFor(1)
	require.Len(t, r.received(second), 1)
	require.Equal(t, r.appended[3].MessageID, r.received(second)[0].MessageID)
}
