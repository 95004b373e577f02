package relay_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/relay"
)

// goesSilent lets a relay with a subscriber live through a minute in which the network drops everything. What it sends then goes
// to a connection that Redis still counts.
func goesSilent(v virtual) {
	opts := quick()
	opts.RejoinWait = relay.DefaultRejoinWait
	v.redis.change(func() { v.redis.clients = []string{"before"} })
	v.run(opts)
	v.add("news", 3)
	v.after(10 * time.Second)
	v.redis.silence()
	v.after(time.Minute)
	require.Equal(v.t, relay.RedisDown, v.state())
	v.redis.heal()
	v.after(10 * time.Second)
	v.add("news", 2)
	v.after(5 * time.Second)
	require.Zero(v.t, v.pending())
	v.requireGot(nil)
}

func (v virtual) connections(names ...string) { v.redis.change(func() { v.redis.clients = names }) }

func TestSilence_WhatDeadConnectionsWereSentComesAgainWhenASubscriberIsNew(t *testing.T) {
	for name, now := range map[string][]string{"in the place of the dead one": {"after"}, "beside the dead one": {"before", "after"}} {
		t.Run(name, func(t *testing.T) {
			virtually(t, func(v virtual) {
				goesSilent(v)
				v.connections(now...)
				v.after(2 * soon)
				require.Len(t, v.redis.got("news"), 7, "the two that were sent since came again")
				v.requireGot(v.appended[3:])
				v.after(2 * relay.DefaultRejoinWait)
				v.connections(append(now, "another")...)
				v.after(time.Minute)
				require.Len(t, v.redis.got("news"), 7, "the time for subscribers to come back is over")
				require.Zero(t, v.topic("news").Progress.TailFrom)
			})
		})
	}
}

func TestSilence_IsNoticedByATopicThatWasIdle(t *testing.T) {
	virtually(t, func(v virtual) {
		v.connections("before")
		opts := quick()
		opts.HealthInterval = time.Hour
		v.run(opts)
		v.add("news", 1)
		v.add("alerts", 1)
		v.after(10 * time.Second)
		v.redis.silence()
		v.add("alerts", 1)
		v.after(time.Minute)
		v.redis.heal()
		v.after(10 * time.Second)
		v.add("news", 1)
		v.after(soon)
		v.connections("after")
		v.after(2 * soon)
		require.Len(t, v.redis.got("news"), 3)
	})
}

func TestSilence_IsNoticedByARelayThatBeginsInIt(t *testing.T) {
	virtually(t, func(v virtual) {
		opts := quick()
		opts.RejoinWait = relay.DefaultRejoinWait
		v.connections("before")
		v.run(opts)
		v.add("news", 1)
		v.after(10 * time.Second)
		v.redis.silence()
		v.halt()
		v.run(opts)
		v.after(time.Minute)
		v.redis.heal()
		v.after(10 * time.Second)
		v.add("news", 2)
		v.after(soon)
		v.connections("after")
		v.after(2 * soon)
		require.Len(t, v.redis.got("news"), 5, "the two that were sent since came again")
		v.requireGot(v.appended[1:])
	})
}

func TestSilence_ASubscriberThatComesAndGoesDoesNotGetItForEver(t *testing.T) {
	virtually(t, func(v virtual) {
		goesSilent(v)
		for i := range 60 {
			v.connections(fmt.Sprint("connection ", i))
			v.after(soon)
		}
		require.LessOrEqual(t, len(v.redis.got("news")), 5+(1+8)*2)
	})
}

// They were there when the network went silent, and may be dead as well.
func TestSilence_WhatWasSentJustBeforeComesAgainToo(t *testing.T) {
	virtually(t, func(v virtual) {
		v.connections("before")
		v.run(quick())
		v.add("news", 1)
		v.after(10 * time.Second)
		v.add("news", 2)
		v.after(0)
		v.redis.silence()
		v.after(time.Minute)
		v.connections("after")
		v.redis.heal()
		v.after(10 * time.Second)
		require.Len(t, v.redis.got("news"), 5)
		v.requireGot(v.appended[1:])
	})
}

func TestSilence_NothingComesAgain(t *testing.T) {
	for name, since := range map[string]func(v virtual){
		"as long as no subscriber is new": func(v virtual) {
			v.after(time.Hour)
		},
		"when the time for subscribers to come back is over": func(v virtual) {
			v.after(relay.DefaultRejoinWait)
			v.connections("after")
		},
		"when a subscriber was new before anything was sent": func(v virtual) {
			v.after(2 * relay.DefaultRejoinWait)
			v.redis.silence()
			v.after(time.Minute)
			v.redis.heal()
			v.after(soon)
			v.connections("after")
			v.after(2 * relay.DefaultRejoinWait)
		},
	} {
		t.Run(name, func(t *testing.T) {
			virtually(t, func(v virtual) {
				goesSilent(v)
				since(v)
				v.after(time.Minute)
				v.requireGot(nil)
				require.Zero(t, v.topic("news").Progress.TailFrom)
			})
		})
	}
	t.Run("when connections were reset", func(t *testing.T) {
		virtually(t, func(v virtual) {
			v.connections("before")
			v.run(quick())
			v.add("news", 3)
			v.after(10 * time.Second)
			v.redis.cut()
			v.after(time.Minute)
			v.redis.heal()
			v.after(10 * time.Second)
			v.add("news", 2)
			v.after(soon)
			v.connections("after")
			v.after(time.Minute)
			v.requireGot(nil)
		})
	})
}

func TestSilence_ADeathOfRedisEndsAllConnections(t *testing.T) {
	virtually(t, func(v virtual) {
		goesSilent(v)
		v.redis.kill()
		v.connections("after")
		v.redis.start()
		v.after(time.Minute)
		require.Len(t, v.redis.got("news"), 7, "the tail, once")
		v.connections("after", "another")
		v.after(time.Minute)
		require.Len(t, v.redis.got("news"), 7)
	})
}

func TestSilence_OfARealNetworkLosesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	ours, theirs := redistest.NewProxy(t, r.server.Addr()), redistest.NewProxy(t, r.server.Addr())
	sub := redistest.Subscribe(t, theirs.Addr(), redistest.SubscriberOptions{Channels: []string{"test:news"}})
	sub.WaitSubscribed(1)
	client := relay.NewClient(relay.ClientOptions{Addrs: []string{ours.Addr()}})
	defer client.Close()
	opts := quick()
	opts.HealthInterval, opts.RejoinWait = 100*time.Millisecond, redistest.Patience
	r.startTarget(opts, relay.NewRedis(client, 500*time.Millisecond))
	r.add("news", 3)
	sub.WaitFor(3)
	ours.HalfOpen()
	theirs.HalfOpen()
	eventually(t, "calls time out", func() bool { return r.relay.Health().State == relay.RedisDown })
	ours.Heal()
	r.add("news", 2)
	r.waitDelivered("news")
	require.Zero(t, r.topic("news").Unheard, "Redis counts the dead connection")
	theirs.Redirect(r.server.Addr())
	theirs.Heal()
	sub.WaitFor(5)
	r.requireComplete(sub, mayRepeatOf(r.appended))
}
