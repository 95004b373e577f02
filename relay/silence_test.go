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

func TestSilence_WhatDeadConnectionsWereSentComesAgainWhenASubscriberIsNew(t *testing.T) {
	for name, now := range map[string][]string{"in the place of the dead one": {"after"}, "beside the dead one": {"one", "after"}} {
		t.Run(name, func(t *testing.T) {
			virtually(t, func(v virtual) {
				goesSilent(v)
				v.redis.connections(now...)
				v.after(relay.DefaultRejoinWait)
				require.Len(t, v.redis.got("news"), 7, "the two that were sent since came again")
				v.requireGot(v.appended[3:])
				v.redis.connections(append(now, "another")...)
				v.after(time.Minute)
				require.Len(t, v.redis.got("news"), 7, "the time for subscribers to come back is over")
				require.Zero(t, v.topic("news").Progress.TailFrom)
			})
		})
	}
}

func TestSilence_WhatWasSentComesAgainToEachThatComesBack(t *testing.T) {
	virtually(t, func(v virtual) {
		goesSilent(v)
		v.redis.connections("after")
		v.after(2 * time.Second)
		require.Len(t, v.redis.got("news"), 7)
		v.redis.connections("after", "second")
		v.after(relay.DefaultRejoinWait)
		require.Len(t, v.redis.got("news"), 9)
		v.requireGot(v.appended[3:])
	})
}

func TestSilence_EndsWithALookAlthoughTheConnectionIsOfTheLastMoment(t *testing.T) {
	virtually(t, func(v virtual) {
		goesSilent(v) // for 15 s, Redis has answered
		v.after(relay.DefaultRejoinWait - 15*time.Second - 100*time.Millisecond)
		v.redis.connections("after")
		v.after(soon)
		require.Len(t, v.redis.got("news"), 7)
	})
}

func TestSilence_IsNoticedByATopicThatWasIdle(t *testing.T) {
	virtually(t, func(v virtual) {
		opts := quick()
		opts.HealthInterval, opts.RejoinWait = time.Hour, relay.DefaultRejoinWait
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
		v.redis.connections("after")
		v.after(5 * soon)
		require.Len(t, v.redis.got("news"), 3)
	})
}

func TestSilence_IsNoticedByARelayThatBeginsInIt(t *testing.T) {
	virtually(t, func(v virtual) {
		opts := quick()
		opts.RejoinWait = relay.DefaultRejoinWait
		v.run(opts)
		v.add("news", 1)
		v.after(10 * time.Second)
		v.redis.silence()
		v.halt()
		v.run(opts)
		v.after(time.Minute)
		v.redis.heal()
		v.after(10 * time.Second)
		v.redis.connections("after")
		v.add("news", 2)
		v.after(relay.DefaultRejoinWait)
		require.Len(t, v.redis.got("news"), 5, "the two that were sent since came again")
		v.requireGot(v.appended[1:])
	})
}

// They were there when the network went silent, and may be dead as well.
func TestSilence_WhatWasSentJustBeforeComesAgainToo(t *testing.T) {
	virtually(t, func(v virtual) {
		opts := quick()
		opts.RejoinWait = relay.DefaultRejoinWait
		v.run(opts)
		v.add("news", 1)
		v.after(10 * time.Second)
		v.add("news", 2)
		v.after(0)
		v.redis.silence()
		v.after(time.Minute)
		v.redis.connections("after")
		v.redis.heal()
		v.after(10 * time.Second)
		require.Len(t, v.redis.got("news"), 5)
		v.requireGot(v.appended[1:])
	})
}

func TestSilence_IsHeldUntilTheRequiredSubscribersAreThere(t *testing.T) {
	virtually(t, func(v virtual) {
		opts := quick()
		opts.RejoinWait, opts.MinReceivers = relay.DefaultRejoinWait, map[string]int{"news": 1}
		v.run(opts)
		v.add("news", 1)
		v.after(10 * time.Second)
		v.redis.silence()
		v.after(time.Minute)
		v.redis.heal()
		v.after(10 * time.Second)
		v.add("news", 1)
		v.after(soon)
		v.redis.subscribers(0)
		v.redis.connections("of another channel")
		v.after(10 * relay.DefaultRejoinWait)
		require.Len(t, v.redis.got("news"), 2)
		v.redis.connections("of another channel", "after")
		v.redis.subscribers(1)
		v.after(10 * soon)
		require.Len(t, v.redis.got("news"), 3)
	})
}

func TestSilence_ASubscriberThatComesAndGoesDoesNotGetItForEver(t *testing.T) {
	virtually(t, func(v virtual) {
		goesSilent(v)
		for i := range 600 {
			v.redis.connections(fmt.Sprint("connection ", i))
			v.after(soon / 5)
		}
		require.LessOrEqual(t, len(v.redis.got("news")), 5+7*2)
	})
}

func TestSilence_OneAfterTheOtherDoesNotKeepTheTailForEver(t *testing.T) {
	virtually(t, func(v virtual) {
		goesSilent(v)
		for range 20 {
			v.redis.silence()
			v.after(20 * time.Second)
			v.redis.heal()
			v.after(20 * time.Second)
		}
		v.add("news", 1)
		v.after(soon)
		require.Greater(t, v.topic("news").Progress.TailFrom, uint64(5))
	})
}

func TestSilence_NothingComesAgain(t *testing.T) {
	for name, since := range map[string]func(v virtual){
		"as long as no subscriber is new": func(v virtual) {
			v.after(time.Hour)
		},
		"when the time for subscribers to come back is over": func(v virtual) {
			v.after(relay.DefaultRejoinWait)
			v.redis.connections("after")
		},
		"when a subscriber was new before anything was sent": func(v virtual) {
			v.after(2 * relay.DefaultRejoinWait)
			v.redis.silence()
			v.after(time.Minute)
			v.redis.heal()
			v.after(soon)
			v.redis.connections("after")
			v.after(2 * relay.DefaultRejoinWait)
		},
		"when Redis does not tell how old connections are": func(v virtual) {
			v.redis.change(func() { v.redis.untoldAge = true })
			v.redis.connections("after")
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
			v.run(quick())
			v.add("news", 3)
			v.after(10 * time.Second)
			v.redis.cut()
			v.after(time.Minute)
			v.redis.heal()
			v.after(10 * time.Second)
			v.add("news", 2)
			v.after(soon)
			v.redis.connections("after")
			v.after(time.Minute)
			v.requireGot(nil)
		})
	})
}

func TestSilence_ADeathOfRedisEndsAllConnections(t *testing.T) {
	virtually(t, func(v virtual) {
		goesSilent(v)
		v.redis.kill()
		v.redis.connections("after")
		v.after(5 * time.Second)
		v.redis.start()
		v.after(2 * relay.DefaultRejoinWait)
		require.Len(t, v.redis.got("news"), 7, "the tail, once")
		v.redis.connections("after", "another")
		v.after(time.Minute)
		require.Len(t, v.redis.got("news"), 7)
	})
}

func TestSilence_UntilEmptyWaitsForItsEnd(t *testing.T) {
	virtually(t, func(v virtual) {
		opts := quick()
		opts.RejoinWait, opts.UntilEmpty = relay.DefaultRejoinWait, true
		v.add("news", 1)
		v.redis.silence()
		v.run(opts)
		v.after(time.Minute)
		v.redis.heal()
		v.after(10 * time.Second)
		require.Zero(t, v.pending())
		v.redis.connections("after")
		v.after(relay.DefaultRejoinWait)
		require.Len(t, v.redis.got("news"), 2)
		require.Equal(t, relay.NotRunning, v.state())
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

func TestSilence_WhoIsNotBackYetIsWaitedForWhenRedisDies(t *testing.T) {
	virtually(t, func(v virtual) {
		v.redis.subscribers(2)
		opts := quick()
		opts.RejoinWait = relay.DefaultRejoinWait
		v.run(opts)
		v.add("news", 1)
		v.after(10 * time.Second)
		v.redis.silence()
		v.after(time.Minute)
		v.redis.heal()
		v.redis.subscribers(1)
		v.after(10 * time.Second)
		v.add("news", 1)
		v.after(soon)
		v.redis.subscribers(3) // two have come back, beside a dead one
		v.after(soon)
		v.redis.subscribers(1)
		v.redis.kill()
		v.after(time.Second)
		v.redis.start()
		v.after(10 * time.Second)
		require.Equal(t, relay.Waiting, v.state())
		v.redis.subscribers(2)
		v.after(soon)
		require.Equal(t, relay.Delivering, v.state())
		v.after(2 * relay.DefaultRejoinWait)
		v.redis.subscribers(1)
		v.after(soon)
		require.Equal(t, 1, v.topic("news").Progress.Receivers, "they are counted anew when it is over")
	})
}
